"""Revocation against OpenSSL's own programs: what they staple we judge, what we staple they read; their responder."""

from __future__ import annotations

import re
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from threading import Timer

import pytest
from cryptography.hazmat.primitives.serialization import Encoding
from OpenSSL import SSL
from twisted.python.failure import Failure

from dimsetls.tls.authority import DevelopmentAuthority, DevelopmentCertificate
from dimsetls.tls.bindings import was_resumed
from dimsetls.tls.contexts import ClientConnectionCreator, ServerConnectionCreator
from dimsetls.tls.evidence import ObservedConnection
from dimsetls.tls.faults import classify
from dimsetls.tls.policy import BCP195_RFC9325
from dimsetls.tls.revocation import CRLCheck, Revocation

from .running import DEADLINE

pytestmark = pytest.mark.peers

VERSIONS = ["-tls1_2", "-tls1_3"]
PAST = datetime.now(UTC) - timedelta(days=1)


@pytest.fixture
def authority(tmp_path) -> DevelopmentAuthority:
    made = DevelopmentAuthority()
    made.own.write(tmp_path / "ca.pem", tmp_path / "ca.key")
    return made


def files(directory: Path, name: str, certificate: DevelopmentCertificate) -> list[str]:
    """The options of OpenSSL's programs for a certificate and its key."""
    certificate.write(directory / f"{name}.pem", directory / f"{name}.key")
    return ["-cert", str(directory / f"{name}.pem"), "-key", str(directory / f"{name}.key")]


def outcome(connection: SSL.Connection, sock: socket.socket) -> str:
    """`established`, or the name of the fault that ended the handshake or came right behind it."""
    assert isinstance(connection, ObservedConnection)
    sock.settimeout(DEADLINE)
    try:
        _drive(connection, sock, connection.do_handshake)
        connection.shutdown()
        _flush(connection, sock)
        _drive(connection, sock, lambda: connection.recv(1))  # TLS 1.3: a client's refusal comes late
    except SSL.ZeroReturnError:
        return "established"
    except SSL.Error as error:
        fault = classify(Failure(error), connection.evidence)
        return "established" if fault.name in ("truncated", "closed-unreleased") else fault.name
    raise AssertionError("data came that nobody sent")


def _drive(connection: SSL.Connection, sock: socket.socket, step: Callable[[], object]) -> None:
    while True:
        try:
            step()
            return
        except SSL.WantReadError:
            _flush(connection, sock)
            if data := sock.recv(65536):
                connection.bio_write(data)
            else:
                connection.bio_shutdown()
        finally:
            _flush(connection, sock)


def _flush(connection: SSL.Connection, sock: socket.socket) -> None:
    try:
        sock.sendall(connection.bio_read(65536))
    except (SSL.WantReadError, OSError):
        pass  # nothing to send, or nobody there any more


@contextmanager
def listening(*command: str) -> Iterator[int]:
    """A program that prints `ACCEPT` and where it listens; its port."""
    process = subprocess.Popen(
        ["openssl", *command], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )
    assert process.stdout is not None
    giving_up = Timer(DEADLINE, process.kill)
    giving_up.start()
    try:
        ports = (re.match(r"ACCEPT .*:(\d+)", line) for line in process.stdout)
        yield next(int(found[1]) for found in ports if found)
    finally:
        giving_up.cancel()
        process.kill()
        process.communicate()


def called_by_s_client(acceptor: ServerConnectionCreator, *options: str) -> tuple[str, str]:
    """What s_client prints when it calls the acceptor, and what the acceptor says of it."""
    with socket.create_server(("127.0.0.1", 0)) as server, ThreadPoolExecutor(1) as thread:
        server.settimeout(DEADLINE)

        def accept() -> str:
            sock, _ = server.accept()
            with sock:
                return outcome(acceptor.serverConnectionForTLS(None), sock)

        accepted = thread.submit(accept)
        where = f"127.0.0.1:{server.getsockname()[1]}"
        run = subprocess.run(
            ["openssl", "s_client", "-connect", where, "-servername", "localhost", *options],
            stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=DEADLINE, check=False,
        )
        return run.stdout, accepted.result(DEADLINE)


@pytest.mark.parametrize("version", VERSIONS)
def test_s_client_reads_the_status_that_we_staple(authority, tmp_path, version):
    server = authority.issue_server()
    options = [version, "-status", *files(tmp_path, "client", authority.issue_client())]
    for response, seen in (
        (authority.ocsp_response(server), "Cert Status: good"),
        (authority.ocsp_response(server, responder=authority.issue_responder()), "Cert Status: good"),
        (b"", "OCSP response: no response sent"),
    ):
        acceptor = ServerConnectionCreator(
            BCP195_RFC9325, server.material, authority.trust_roots,
            stapled={server.certificate: lambda response=response: response},
        )
        printed, fault = called_by_s_client(acceptor, *options)
        assert seen in printed
        assert fault == "established"


@pytest.mark.parametrize("version", VERSIONS)
def test_s_client_with_a_certificate_on_our_list_is_refused(authority, tmp_path, version):
    good, revoked = authority.issue_client(), authority.issue_client()
    authority.revoke(revoked)
    (tmp_path / "ca.crl").write_bytes(authority.crl().public_bytes(Encoding.PEM))
    revocation = Revocation.load(CRLCheck.CHAIN, [tmp_path / "ca.crl"], authority.trust_roots.certificates)
    acceptor = ServerConnectionCreator(
        BCP195_RFC9325, authority.issue_server().material, authority.trust_roots, revocation=revocation
    )
    assert called_by_s_client(acceptor, version, *files(tmp_path, "good", good))[1] == "established"
    assert called_by_s_client(acceptor, version, *files(tmp_path, "bad", revoked))[1] == "certificate-revoked"


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize(("respond", "judged"), [
    (lambda authority, server: authority.ocsp_response(server), "established"),
    (lambda authority, server: authority.ocsp_response(server, next_update=PAST), "certificate-status-stale"),
    (lambda authority, server: authority.ocsp_response(authority.issue_server()), "bad-certificate-status"),
    (lambda authority, server: authority.revoke(server) or authority.ocsp_response(server), "certificate-revoked"),
    (None, "certificate-status-missing"),
], ids=["good", "stale", "another's", "revoked", "none"])
def test_we_judge_the_status_that_s_server_staples(authority, tmp_path, version, respond, judged):
    server = authority.issue_server()
    options = [version, *files(tmp_path, "server", server), "-naccept", "1"]
    if respond is not None:
        (tmp_path / "response").write_bytes(respond(authority, server))
        options += ["-status_file", str(tmp_path / "response")]
    requestor = ClientConnectionCreator(
        BCP195_RFC9325, authority.trust_roots, server_name="localhost", revocation=Revocation(require_stapled=True)
    )
    with (
        listening("s_server", "-accept", "127.0.0.1:0", *options) as port,
        socket.create_connection(("127.0.0.1", port), DEADLINE) as sock,
    ):
        assert outcome(requestor.clientConnectionForTLS(None), sock) == judged


FETCH = """
import sys
from twisted.internet import defer, task
from twisted.logger import globalLogBeginner, textFileLogObserver
from twisted.web.client import Agent
from dimsetls.tls.material import KeyMaterial, TrustRoots
from dimsetls.tls.stapling import Stapling

async def main(reactor):
    globalLogBeginner.beginLoggingTo([textFileLogObserver(sys.stderr)], redirectStandardIO=False)
    folder, url = sys.argv[1:]
    material = KeyMaterial.load(f"{folder}/server.pem", f"{folder}/server.key")
    stapling = Stapling.from_responder(material, TrustRoots.load(f"{folder}/ca.pem"), url)
    stapling.start(reactor, Agent(reactor))
    while not stapling.current() and not stapling._trouble:
        await task.deferLater(reactor, 0.01)
    print("good" if stapling.current() else "none")
    stapling.stop()

task.react(lambda reactor: defer.ensureDeferred(main(reactor)))
"""


@pytest.mark.parametrize(("status", "fetched", "said"), [
    ("V\t{end}\t\t{serial}\tunknown\t/CN=server", "good", ""),
    ("R\t{end}\t{end}\t{serial}\tunknown\t/CN=server", "none", "its authority revoked it on"),
    ("", "none", "the responder does not know the certificate"),
], ids=["good", "revoked", "unknown"])
def test_we_ask_the_responder_of_openssl(authority, tmp_path, status, fetched, said):
    server = authority.issue_server()
    files(tmp_path, "server", server)
    end = f"{server.certificate.not_valid_after_utc:%y%m%d%H%M%SZ}"
    entry = status.format(end=end, serial=f"{server.certificate.serial_number:X}".zfill(40))
    (tmp_path / "index.txt").write_text(f"{entry}\n" if entry else "")
    ca = ["-CA", f"{tmp_path}/ca.pem", "-rsigner", f"{tmp_path}/ca.pem", "-rkey", f"{tmp_path}/ca.key"]
    with listening("ocsp", "-index", f"{tmp_path}/index.txt", *ca, "-port", "0", "-ndays", "1") as port:
        run = subprocess.run(
            [sys.executable, "-c", FETCH, str(tmp_path), f"http://localhost:{port}"],
            capture_output=True, text=True, timeout=DEADLINE, check=False,
        )
    assert run.stdout.split() == [fetched], run.stderr
    assert said in run.stderr
    assert "Traceback" not in run.stderr


# Resumption ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("lifetime", [None, timedelta(hours=1)], ids=["off", "on"])
def test_s_client_takes_its_session_up_again_only_where_it_may(authority, tmp_path, version, lifetime):
    def acceptor() -> ServerConnectionCreator:
        return ServerConnectionCreator(
            BCP195_RFC9325, authority.issue_server().material, authority.trust_roots, resumption=lifetime
        )

    options = [version, *files(tmp_path, "client", authority.issue_client()), "-CAfile", str(tmp_path / "ca.pem")]
    session, ours = tmp_path / "session.pem", acceptor()
    # Nobody says anything, and the ticket of TLS 1.3 comes behind the handshake.
    printed, said = called_by_s_client(ours, *options, "-sess_out", str(session), "-ign_eof")
    assert (said, "New, TLSv1" in printed) == ("established", True)
    assert session.exists() is (version == "-tls1_3")
    if session.exists():
        printed, said = called_by_s_client(ours, *options, "-sess_in", str(session), "-ign_eof")
        assert said == "established"
        assert ("Reused, TLSv1.3" in printed) is (lifetime is not None)
        printed, said = called_by_s_client(acceptor(), *options, "-sess_in", str(session), "-ign_eof")
        assert (said, "New, TLSv1" in printed) == ("established", True)


def test_a_session_of_s_server_is_taken_up_again(authority, tmp_path):
    server = files(tmp_path, "server", authority.issue_server())
    client = ClientConnectionCreator(
        BCP195_RFC9325, authority.trust_roots, authority.issue_client().material, server_name="localhost",
        resumption=timedelta(hours=1),
    )  # fmt: skip
    resumed = []
    with listening("s_server", "-accept", "127.0.0.1:0", "-tls1_3", "-Verify", "2", "-CAfile",
                   str(tmp_path / "ca.pem"), "-alpn", "dicom", "-naccept", "3", "-rev", *server) as port:
        for _ in range(3):
            connection = client.clientConnectionForTLS(None)
            with socket.create_connection(("127.0.0.1", port), DEADLINE) as sock:
                _drive(connection, sock, connection.do_handshake)
                connection.send(b"abc\n")  # behind which comes what s_server answers, and before that its tickets
                answer = []
                _drive(connection, sock, lambda: answer.append(connection.recv(10)))  # noqa: B023
                connection.shutdown()
                _flush(connection, sock)
            assert answer == [b"cba\n"]
            resumed.append(was_resumed(connection))
    assert resumed == [False, True, True]
