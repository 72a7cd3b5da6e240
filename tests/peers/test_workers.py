"""A node of two workers, as peers and operators find it: one node, whichever process answers."""

from __future__ import annotations

import os
import re
import socket
import subprocess
import threading
from collections.abc import Iterator
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from signal import SIGCONT, SIGHUP, SIGKILL, SIGSTOP, SIGTERM

import pytest

from dimsetls.identity.credentials import Secret
from dimsetls.identity.users import Cost, PasscodeHash, User
from dimsetls.testing import DevelopmentAuthority
from dimsetls.ul.pdus import AssociateRJ, UserIdentityRQ

from ..secrets import secret
from ..servers.saml_idp import IdentityProvider
from . import dcmtk
from .instances import data_set_of, named
from .running import DEADLINE, Node, Service, eventually
from .sender import Rejected, Sender, client_context, connect, data_set, instance_uid
from .test_durability import FLAT, Storing, all_is_there

pytestmark = pytest.mark.peers

DENIED, LIMIT = AssociateRJ(1, 2, 1), AssociateRJ(2, 3, 2)
PASSCODE = secret("correct horse", "a passcode of the workers' tests")


def sender(service: Service, pki: Path, called: str = "DIMSETLS", calling: str = "SENDER", **more: object) -> Sender:
    connection = connect(("127.0.0.1", service.port(called)), client_context(pki))
    return Sender(connection, called=called, calling=calling, **more)  # type: ignore[arg-type]


def workers(service: Service) -> dict[int, int]:
    """Of the workers that are children of the service, the process ID by number."""
    found = {}
    for pid in Path(f"/proc/{service.process.pid}/task/{service.process.pid}/children").read_text().split():
        with suppress(FileNotFoundError):  # it has ended just now
            line = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
            if line[1:3] == [b"-P", b"-c"]:  # and not the copy of the main process that is about to become one
                found[int(line[5])] = int(pid)
    return found


def lives(pid: int) -> bool:
    """Whether the process runs; one that has ended may wait for ever to be asked for its status."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except FileNotFoundError:
        return False


def worker_of(line: str) -> int:
    """Which worker has logged it."""
    found = re.search(r"#\w+, worker (\d+)\]", line)
    assert found, line
    return int(found[1])


@pytest.fixture(scope="module")
def idp() -> IdentityProvider:
    return IdentityProvider()


@pytest.fixture(scope="module")
def two(pki: Path, idp: IdentityProvider, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Node, Service]]:
    node = Node(tmp_path_factory.mktemp("two"), pki)
    users = node.directory / "users"
    hashed = PasscodeHash.make(Secret(PASSCODE.encode()), Cost(10, 8, 1))
    users.write_text("\n".join(User("anna", hashed).lines) + "\n")
    users.chmod(0o600)
    node.set("node", workers=2)
    node.set("storage archive", layout=FLAT, index="yes")
    node.set("listener few", port=0, tls="secure", aes="FEW", limits="few")
    node.set("ae FEW", services="verification")
    node.set("limits few", associations=3, associations_per_calling_ae=2)
    node.set("tls secure", development_certificates_outside_loopback="i understand the risk")  # for the proxied
    node.set("listener local", endpoint=f"unix:{node.directory}/socket", tls="secure", aes="LOCAL")
    node.set("ae LOCAL", services="verification")
    node.set("listener proxied", endpoint="haproxy:tcp:0:interface=127.0.0.1", tls="secure", aes="PROXIED")
    node.set("ae PROXIED", services="verification")
    node.set("listener guarded", port=0, tls="secure", aes="GUARDED", identity="staff")
    node.set("ae GUARDED", services="verification")
    node.set("users local", file=users)
    node.set("saml idp", issuer=idp.issuer, audience=idp.audience,
             certificates=idp.write_certificate(node.directory / "idp.pem"))  # fmt: skip
    node.set("identity staff", passcode="users local", saml="idp", failures_per_user=3, failure_delay="0s",
             refusal_time="0s")  # fmt: skip
    with node.running() as service:
        yield node, service


def test_both_serve_and_share_one_store(two: tuple[Node, Service], pki: Path) -> None:
    node, service = two
    for _ in range(2):
        assert dcmtk.echoscu(service, pki).returncode == 0
        assert dcmtk.storescu(service, pki, [named("CT_small.dcm").path]).returncode == 0  # the second is a duplicate
    assert {worker_of(line) for line in service.expect(r"\] released (ECHOSCU|STORESCU) at .* 0 failed", 4)} == {1, 2}
    assert len(node.stored()) == 1
    same = instance_uid(77)
    with sender(service, pki) as one, sender(service, pki) as other:
        assert one.store(same, data_set(same, 4000)) == 0x0000
        assert other.store(same, data_set(same, 4000)) == 0x0000
        assert other.store(same, data_set(same, 8000)) == 0x0111  # it is another one, and whoever came first counts
        one.release()
        other.release()
    assert data_set_of(node.store / f"{same}.dcm") == data_set(same, 4000)


def test_a_unix_socket_and_a_proxy_in_front(two: tuple[Node, Service], pki: Path) -> None:
    node, service = two
    for calling in ("BESIDE1", "BESIDE2"):
        beside = Sender(connect(str(node.directory / "socket"), client_context(pki)), called="LOCAL", calling=calling)
        assert beside.echo() == 0x0000
        beside.release()
    header = b"PROXY TCP4 192.0.2.7 192.0.2.1 4711 2762\r\n"
    there = connect(("127.0.0.1", service.port("PROXIED")), client_context(pki), before_tls=header)
    Sender(there, called="PROXIED", calling="BEHIND").release()
    service.expect(r"\] released BESIDE\d at .* 0 failed", 2)
    service.expect(r"\] started BEHIND at 192\.0\.2\.7:4711 to PROXIED")


def test_associations_that_last_are_spread_evenly(two: tuple[Node, Service], pki: Path) -> None:
    _, service = two
    before = len(service.lines(r"\] started LASTING at "))
    lasting = [sender(service, pki, calling="LASTING") for _ in range(6)]
    started = [worker_of(line) for line in service.expect(r"\] started LASTING at ", before + 6)[before:]]
    assert sorted(started) == [1, 1, 1, 2, 2, 2]
    for each in lasting:
        assert each.echo() == 0x0000
        each.release()


def test_a_limit_holds_for_all_together(two: tuple[Node, Service], pki: Path) -> None:
    _, service = two
    first, second = (sender(service, pki, "FEW", "ONE") for _ in range(2))
    with pytest.raises(Rejected) as rejected:
        sender(service, pki, "FEW", "ONE")
    assert rejected.value.pdu == LIMIT
    third = sender(service, pki, "FEW", "TWO")
    with pytest.raises(Rejected) as rejected:
        sender(service, pki, "FEW", "THREE")
    assert rejected.value.pdu == LIMIT
    assert {worker_of(line) for line in service.lines(r"\] started (ONE|TWO) at ")} == {1, 2}
    service.expect(r"refused THREE at .*3 associations exist, the limit is 3")
    first.release()
    service.expect(r"\] released ONE at ")
    sender(service, pki, "FEW", "THREE").release()
    second.cut()
    third.release()
    service.expect(r"\] (provider-aborted|aborted) ONE at ")
    service.expect(r"\] released TWO at ")


def test_guesses_count_wherever_they_are_made(two: tuple[Node, Service], pki: Path) -> None:
    _, service = two
    wrong = UserIdentityRQ(2, False, b"anna", secret(b"battery staple", "a wrong passcode"))
    right = UserIdentityRQ(2, False, b"anna", PASSCODE.encode())
    sender(service, pki, "GUARDED", "GOOD", identity=right).release()
    for _ in range(3):
        with pytest.raises(Rejected) as rejected:
            sender(service, pki, "GUARDED", "GUESSER", identity=wrong)
        assert rejected.value.pdu == DENIED
    (alert,) = service.expect("SECURITY ALERT: user 'anna' is locked out")
    assert "after 3 failed identities" in alert
    for number in (1, 2):
        with pytest.raises(Rejected) as rejected:
            sender(service, pki, "GUARDED", "LATE", identity=right)
        assert rejected.value.pdu == DENIED
        service.expect(r"\] refused LATE at .*user 'anna' failed 3 times", number)
    assert {worker_of(line) for line in service.lines(r"\] refused (GUESSER|LATE) at ")} == {1, 2}


def test_an_assertion_is_used_up_for_all(two: tuple[Node, Service], pki: Path, idp: IdentityProvider) -> None:
    _, service = two
    identity = UserIdentityRQ(4, False, secret(idp.assertion(), "an assertion of the workers' tests"))
    first = sender(service, pki, "GUARDED", "FIRST", identity=identity)  # and stays, so the others are busy with others
    for _ in range(3):
        with pytest.raises(Rejected) as rejected:
            sender(service, pki, "GUARDED", "AGAIN", identity=identity)
        assert rejected.value.pdu == DENIED
    first.release()
    refused = service.expect(r"\] refused AGAIN at .*the assertion was used before", 3)
    (started,) = service.expect(r"\] started FIRST at ")
    assert {worker_of(line) for line in refused} - {worker_of(started)}


def test_kill_9_of_a_worker_in_the_middle_of_stores(node: Node, pki: Path) -> None:
    node.set("node", workers=2)
    node.set("storage archive", layout=FLAT, index="yes")
    node.set("limits normal", associations=4)
    service = node.start()
    try:
        service.expect(" 2 workers serve")
        storing = [Storing(service.port(), pki, number) for number in (1, 2)]
        quiet = {1: sender(service, pki, calling="QUIET1"), 2: sender(service, pki, calling="QUIET2")}
        eventually(lambda: all(len(each.acknowledged) >= 20 for each in storing), "not enough was stored")
        killed, spared = (workers(service)[number] for number in (1, 2))
        at = {title: worker_of(service.expect(rf"\] started {title} at ")[0])
              for title in ("SENDER1", "SENDER2", "QUIET1", "QUIET2")}  # fmt: skip
        os.kill(killed, SIGKILL)
        service.expect(r"#critical\] worker 1 ended by signal 9; 2 associations ended with it, and it is started again")
        victim, other = (storing[number - 1] for number in sorted((1, 2), key=lambda n: at[f"SENDER{n}"]))
        victim.join()
        had = len(other.acknowledged)
        eventually(lambda: len(other.acknowledged) > had + 20, "the other did not go on")
        for number, peer in quiet.items():
            if at[f"QUIET{number}"] == 2:
                assert peer.echo() == 0x0000
        eventually(lambda: 1 in workers(service) and workers(service)[1] != killed, "it was not started again")
        # The places of those that ended are free, and the new one has the next: the other has two.
        eventually(lambda: started_by(service, pki) == 1, "the new one does not serve")
        assert workers(service)[2] == spared
        assert service.stop() == -SIGTERM
        other.join()
    finally:
        service.kill()
        print(service.log)  # noqa: T201
    all_is_there(node, storing)
    assert list(node.store.glob(".incoming/*/")) == []
    assert not service.lines("Traceback|Unhandled")


def started_by(service: Service, pki: Path) -> int:
    """Which worker an association of now gets."""
    before = len(service.lines(r"\] started PROBE at "))
    sender(service, pki, calling="PROBE").release()
    return worker_of(service.expect(r"\] started PROBE at ", before + 1)[before])


def test_reload_refusal_and_drain(node: Node, pki: Path) -> None:
    node.set("node", workers=2, drain_timeout="20s")
    with node.running() as service:
        before = workers(service)
        lasting = [sender(service, pki, calling="LASTING") for _ in range(2)]
        node.set("ae SECOND", services="verification")
        node.set("listener second", port=0, tls="secure", aes="SECOND")
        node.set("ae DIMSETLS", peers="known")
        node.set("peer known", ae_title="KNOWN")
        node.write()
        os.kill(service.process.pid, SIGHUP)
        service.expect("#info. reloaded ")
        for _ in range(4):
            sender(service, pki, "SECOND", "KNOWN").release()
        assert {worker_of(line) for line in service.expect(r"\] released KNOWN at .* to SECOND", 4)} == {1, 2}
        for _ in range(4):
            with pytest.raises(Rejected):
                sender(service, pki, calling="STRANGER")
        assert {worker_of(line) for line in service.expect(r"\] refused STRANGER at ", 4)} == {1, 2}

        # The main process cannot see what is wrong with this; one worker that refuses is enough.
        (node.directory / "bad").mkdir()
        (node.directory / "bad/.incoming").write_text("not a directory")
        node.set("storage bad", directory="bad")
        node.set("ae SECOND", services="storage", storage="bad")
        node.write()
        os.kill(service.process.pid, SIGHUP)
        service.expect(r"#error\] not reloaded: worker 1: store .*bad")
        service.expect("the configuration of before stays in force")
        for _ in range(2):
            with sender(service, pki, "SECOND", "STILL") as still:
                assert still.echo() == 0x0000
                still.release()
        assert workers(service) == before

        # One that dies now finds other files than those in force: it is not to be half of what was refused.
        os.kill(before[2], SIGKILL)
        service.expect(r"#critical\] worker 2 cannot serve: it found other files in or behind .* than those in force")
        with sender(service, pki, "SECOND", "STILL") as still:
            assert still.echo() == 0x0000
            still.release()
        node.set("ae SECOND", services="verification", storage=None)
        node.sections.pop("storage bad")
        node.write()
        eventually(lambda: started_by_second(service, pki) == 2, "the worker did not come back")

        half = lasting[0]
        half.begin_store(instance_uid(5))
        half.data([data_set(instance_uid(5), 400_000)[:200_000]], last=False)
        service.process.terminate()
        service.expect(r"#info\] stopping; \d associations have 20 s to finish")
        half.data([data_set(instance_uid(5), 400_000)[200_000:]], last=True)
        assert half.status() == 0x0000
        half.release()
        assert service.wait() == -SIGTERM
        service.expect("#info. stopped")
    assert [data_set_of(path) for path in node.stored().values()] == [data_set(instance_uid(5), 400_000)]


def test_a_worker_that_stands_still_is_passed_by_and_replaced(node: Node, pki: Path, tmp_path: Path) -> None:
    node.set("node", workers=2)
    (tmp_path / "hasty").mkdir()
    (tmp_path / "hasty/sitecustomize.py").write_text(HASTY)
    service = node.start(env={**os.environ, "PYTHONPATH": str(tmp_path / "hasty")})
    try:
        service.expect(" 2 workers serve")
        before = workers(service)
        os.kill(before[1], SIGSTOP)
        service.expect(r"#critical\] worker 1 has not answered for 0\.6 s, and gets no connections until it does")
        assert [started_by(service, pki) for _ in range(4)] == [2] * 4
        os.kill(before[1], SIGCONT)
        service.expect(r"#warn\] worker 1 answers again")
        assert {started_by(service, pki) for _ in range(2)} == {1, 2}
        lasting = [sender(service, pki, calling="LASTING") for _ in range(2)]
        at = [worker_of(line) for line in service.expect(r"\] started LASTING at ", 2)]
        os.kill(before[1], SIGSTOP)
        service.expect(r"#critical\] worker 1 has not answered for 4 s, and is killed")
        service.expect(r"#critical\] worker 1 ended by signal 9; 1 associations ended with it, and it is started again")
        assert lasting[at.index(2)].echo() == 0x0000
        lasting[at.index(2)].release()
        eventually(lambda: started_by(service, pki) == 1, "it was not started again")
        assert workers(service)[2] == before[2]
        assert service.stop() == -SIGTERM
    finally:
        service.kill()
        print(service.log)  # noqa: T201
    assert not service.lines("Traceback|Unhandled")


HASTY = """
from dimsetls.node.workers import pulse
pulse.BEAT, pulse.DEAD = 0.2, 20
"""


def started_by_second(service: Service, pki: Path) -> int:
    before = len(service.lines(r"\] started KNOWN at "))
    sender(service, pki, "SECOND", "KNOWN").release()
    return worker_of(service.expect(r"\] started KNOWN at ", before + 1)[before])


def test_workers_end_with_the_main_process(node: Node, pki: Path) -> None:
    node.set("node", workers=2)
    service = node.start()
    try:
        service.expect(" 2 workers serve")
        peers = [sender(service, pki) for _ in range(2)]
        pids = workers(service).values()
        os.kill(service.process.pid, SIGKILL)
        eventually(lambda: not any(map(lives, pids)), "a worker goes on")
        for peer in peers:
            with pytest.raises((AssertionError, OSError)):
                assert peer.echo() == 0x0000
    finally:
        service.kill()


def test_workers_have_the_user_that_the_service_has(node: Node, pki: Path) -> None:
    """The port is one for root, and is bound by root; everything else is done by nobody."""
    assert os.geteuid() == 0, "only root can become somebody else: run this test as root"
    nobody = 65534
    node.set("node", workers=2)
    node.set("listener main", port=privileged_port())
    for path in node.directory, node.store:
        os.chown(path, nobody, nobody)
    # The Python of who runs the tests may be out of reach for nobody, and so may the keys: this one right is left.
    prefix = ["setpriv", "--inh-caps=+dac_override", "--ambient-caps=+dac_override", "--securebits=+no_setuid_fixup"]
    command = [*prefix, *node.command("--nodaemon", "--pidfile=", f"--uid={nobody}", f"--gid={nobody}")]
    service = Service(command, cwd=node.directory)
    try:
        service.expect(" 2 workers serve")
        pids = workers(service)
        with sender(service, pki) as one, sender(service, pki) as other:
            for number, peer in enumerate((one, other)):
                assert peer.store(instance_uid(number), data_set(instance_uid(number), 4000)) == 0x0000
                peer.release()
        assert {worker_of(line) for line in service.expect(r"\] released SENDER at ", 2)} == {1, 2}
        for pid in (service.process.pid, *pids.values()):
            status = Path(f"/proc/{pid}/status").read_text()
            assert re.findall(r"^[UG]id:\t(.*)$", status, re.MULTILINE) == ["\t".join([str(nobody)] * 4)] * 2
        assert {(path.stat().st_uid, path.stat().st_gid) for path in node.stored().values()} == {(nobody, nobody)}
        os.kill(pids[2], SIGKILL)  # another is started by one who is not root any more
        eventually(lambda: workers(service).get(2) not in (None, pids[2]), "it was not started again")
        os.kill(service.process.pid, SIGHUP)
        service.expect("#info. reloaded ")
        assert service.stop() == -SIGTERM
    finally:
        service.kill()
        print(service.log)  # noqa: T201
    assert len(node.stored()) == 2
    assert not service.lines("Traceback|Unhandled")


def privileged_port() -> int:
    """A port that is free, and for root alone where the system has such."""
    for port in range(1023, 512, -1):
        with suppress(OSError), socket.create_server(("127.0.0.1", port)):
            return port
    raise AssertionError("no port below 1024 is free")


class Responder(BaseHTTPRequestHandler):
    """Answers every question about one certificate; the server counts."""

    def do_GET(self) -> None:
        self.server.asked += 1  # type: ignore[attr-defined]
        self.send_response(200)
        self.end_headers()
        self.wfile.write(self.server.answer)  # type: ignore[attr-defined]

    def log_message(self, *arguments: object) -> None:
        """Not to the standard error."""


def test_what_is_stapled_is_fetched_once_for_all(node: Node) -> None:
    authority = DevelopmentAuthority("stapling")
    server, client = authority.issue_server(), authority.issue_client()
    keys = node.directory / "keys"
    keys.mkdir()
    for name, content in {
        "ca.pem": authority.own.certificate_pem, "server.pem": server.certificate_pem,
        "server.key": server.private_key_pem, "client.pem": client.certificate_pem,
        "client.key": client.private_key_pem,
    }.items():  # fmt: skip
        (keys / name).write_bytes(content)
        (keys / name).chmod(0o600)
    with ThreadingHTTPServer(("127.0.0.1", 0), Responder) as responder:
        responder.answer, responder.asked = authority.ocsp_response(server), 0  # type: ignore[attr-defined]
        threading.Thread(target=responder.serve_forever, daemon=True).start()
        node.set("node", workers=2)
        node.set("tls secure", certificate=keys / "server.pem", private_key=keys / "server.key",
                 trust_roots=keys / "ca.pem",
                 ocsp_responder=f"http://127.0.0.1:{responder.server_port}/ca")  # fmt: skip
        with node.running() as service:
            command = ["openssl", "s_client", "-connect", f"127.0.0.1:{service.port()}", "-status", "-cert",
                       keys / "client.pem", "-key", keys / "client.key", "-CAfile", keys / "ca.pem"]  # fmt: skip

            def is_stapled() -> bool:
                shown = subprocess.run(command, capture_output=True, text=True, input="", timeout=DEADLINE, check=False)
                return "OCSP Response Status: successful" in shown.stdout

            eventually(is_stapled, "nothing is stapled")
            assert [is_stapled() for _ in range(4)] == [True] * 4
        responder.shutdown()
        assert responder.asked == 1  # type: ignore[attr-defined]
