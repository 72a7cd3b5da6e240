"""Sessions that are taken up again at a node of two workers, of which each has keys that the other has not."""

from __future__ import annotations

import os
import re
import socket
import ssl
import subprocess
from collections.abc import Iterator
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from signal import SIGHUP

import pytest
from cryptography.hazmat.primitives.serialization import Encoding

from dimsetls.testing import DevelopmentAuthority

from .running import DEADLINE, Node, Service
from .sender import Rejected, Sender, client_context
from .test_workers import worker_of

pytestmark = pytest.mark.peers

IN_A_ROW = 12


@pytest.fixture(scope="module")
def authority() -> DevelopmentAuthority:
    return DevelopmentAuthority("resumption")


@pytest.fixture
def keys(node: Node, authority: DevelopmentAuthority) -> Path:
    """The folder of keys that the node reads, with an empty revocation list."""
    folder = node.directory / "keys"
    folder.mkdir()
    (folder / "ca.pem").write_bytes(authority.own.certificate_pem)
    authority.issue_server().write(folder / "server.pem", folder / "server.key")
    authority.issue_client().write(folder / "client.pem", folder / "client.key")
    (folder / "ca.crl").write_bytes(authority.crl().public_bytes(Encoding.PEM))
    node.set("node", workers=2)
    node.set("tls secure", certificate=folder / "server.pem", private_key=folder / "server.key",
             trust_roots=folder / "ca.pem", revocation_check=None, revocation_lists=folder / "ca.crl",
             resumption="1h")  # fmt: skip
    return folder


@pytest.fixture
def service(node: Node, keys: Path) -> Iterator[Service]:
    with node.running() as service:
        service.expect(" 2 workers serve")
        yield service


class Client:
    """It offers the session of its last association, and knows which worker that was at."""

    def __init__(self, service: Service, keys: Path, title: str) -> None:
        self._service, self._title = service, title
        self._context = client_context(keys)
        self._session: ssl.SSLSession | None = None
        self.was_resumed: list[bool] = []
        self.workers: list[int] = []

    def call(self, before_tls: bytes = b"", called: str = "DIMSETLS") -> Sender:
        plain = socket.create_connection(("127.0.0.1", self._service.port(called)), DEADLINE)
        plain.sendall(before_tls)
        connection = self._context.wrap_socket(plain, server_hostname="localhost", session=self._session)
        before = len(self._service.lines(rf"\] started {self._title} at "))
        with suppress(Rejected):
            peer = Sender(connection, calling=self._title, called=called)
            self.was_resumed.append(connection.session_reused is True)
            self._session = connection.session
            self.workers.append(worker_of(self._service.expect(rf"\] started {self._title} at ", before + 1)[before]))
            return peer
        raise AssertionError("the connection ended")

    def associate(self, times: int = 1, **how: object) -> None:
        for _ in range(times):
            peer = self.call(**how)  # type: ignore[arg-type]
            assert peer.echo() == 0x0000
            peer.release()


def reload(service: Service) -> None:
    before = len(service.lines("#info. reloaded "))
    os.kill(service.process.pid, SIGHUP)
    service.expect("#info. reloaded ", before + 1)


def test_a_ticket_finds_the_worker_that_gave_it(service: Service, keys: Path) -> None:
    one, other = Client(service, keys, "ONE"), Client(service, keys, "OTHER")
    with one.call(), other.call():
        pass
    for client in one, other:
        client.associate(IN_A_ROW)
        assert client.was_resumed == [False] + [True] * IN_A_ROW
        assert len(set(client.workers)) == 1
    assert {one.workers[0], other.workers[0]} == {1, 2}


def test_associations_that_last_are_spread_whatever_tickets_say(service: Service, keys: Path) -> None:
    client = Client(service, keys, "SCANNER")
    client.associate()
    ticket = client._session
    lasting = []
    for _ in range(6):
        client._session = ticket  # one for all, as it should not be (RFC 8446 §C.4) but is
        lasting.append(client.call())
    workers = client.workers[1:]
    assert sorted(map(workers.count, (1, 2))) in ([2, 4], [3, 3])
    for peer in lasting:
        assert peer.echo() == 0x0000
        peer.release()


def test_the_first_association_after_a_reload_begins_anew_and_the_next_do_not(service: Service, keys: Path) -> None:
    client = Client(service, keys, "AFTER")
    client.associate(2)
    reload(service)
    client.associate(1 + IN_A_ROW)
    assert client.was_resumed == [False, True, False] + [True] * IN_A_ROW


def test_who_is_revoked_is_refused_by_every_worker(
    service: Service, keys: Path, authority: DevelopmentAuthority
) -> None:
    bad = authority.issue_client()
    for path, pem in (("client.pem", bad.certificate_pem), ("client.key", bad.private_key_pem)):
        (keys / path).write_bytes(pem)
    one, other = Client(service, keys, "ONE"), Client(service, keys, "OTHER")
    with one.call(), other.call():
        pass
    for client in one, other:
        client.associate(2)
    assert {one.workers[-1], other.workers[-1]} == {1, 2}
    authority.revoke(bad)
    (keys / "ca.crl").write_bytes(authority.crl().public_bytes(Encoding.PEM))
    reload(service)
    for client in one, other:
        for _ in range(2):
            with pytest.raises((ssl.SSLError, AssertionError), match=r"(?i)certificate.revoked|connection ended"):
                client.associate()
    refused = service.expect("certificate-revoked", 4)
    assert {worker_of(line) for line in refused} == {1, 2}
    assert one.was_resumed + other.was_resumed == [False, True, True] * 2


def test_who_soon_expires_is_never_resumed(service: Service, keys: Path, authority: DevelopmentAuthority) -> None:
    soon = authority.issue_client(not_after=datetime.now(UTC) + timedelta(minutes=50))
    for path, pem in (("client.pem", soon.certificate_pem), ("client.key", soon.private_key_pem)):
        (keys / path).write_bytes(pem)
    client = Client(service, keys, "SOON")
    client.associate(4)
    assert client.was_resumed == [False] * 4


def test_openssl_resumes(service: Service, keys: Path) -> None:
    file = keys / "session"

    def call(*options: object) -> str:
        command = ["openssl", "s_client", "-connect", f"127.0.0.1:{service.port()}", "-cert", keys / "client.pem",
                   "-key", keys / "client.key", "-CAfile", keys / "ca.pem", "-alpn", "dicom", "-sess_out", file,
                   *options]  # fmt: skip
        how = ""
        with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
            assert process.stdin is not None
            assert process.stdout is not None
            try:
                for line in process.stdout:
                    if "Post-Handshake New Session Ticket" in line:
                        process.stdin.close()  # it ends by itself, with the last ticket written whole
                    if found := re.match(r"(New|Reused), TLSv1.3", line):
                        how = found[1]
                process.wait(DEADLINE)
            finally:
                process.kill()
        return how

    assert call() == "New"
    assert [call("-sess_in", file) for _ in range(4)] == ["Reused"] * 4


def test_a_ticket_is_found_behind_a_proxy(node: Node, keys: Path) -> None:
    node.set("tls secure", development_certificates_outside_loopback="i understand the risk")
    node.set("listener proxied", endpoint="haproxy:tcp:0:interface=127.0.0.1", tls="secure", aes="PROXIED")
    node.set("ae PROXIED", services="verification")
    headers = [
        b"PROXY TCP4 192.0.2.7 192.0.2.1 4711 2762\r\n",
        b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0c" + bytes((192, 0, 2, 7, 192, 0, 2, 1)) + b"\x12\x67\x0a\xca",
    ]
    with node.running() as service:
        client = Client(service, keys, "BEHIND")
        client.associate(before_tls=headers[0], called="PROXIED")
        for header in headers:
            client.associate(IN_A_ROW // 2, before_tls=header, called="PROXIED")
        assert client.was_resumed == [False] + [True] * IN_A_ROW
        service.expect(r"\] started BEHIND at 192\.0\.2\.7:4711 to PROXIED")
