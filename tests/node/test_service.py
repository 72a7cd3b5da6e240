"""`twistd dimsetls` as operators run it: starting, refusing to start, stopping."""

from __future__ import annotations

import os
import resource
import shlex
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing, suppress
from pathlib import Path
from signal import SIGINT, SIGTERM

import pytest

from dimsetls import __version__
from dimsetls.ul.pdus import Abort

from ..peers import dcmtk
from ..peers.instances import data_set_of, named
from ..peers.running import DEADLINE, TWISTD, Node, Service, eventually
from ..peers.sender import Sender, client_context, connect, data_set, instance_uid

ROOT = Path(__file__).parents[2]


@pytest.fixture
def taken() -> Iterator[int]:
    """A port on which somebody else listens."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server.getsockname()[1]


def sender(service: Service, pki: Path) -> Sender:
    return Sender(connect(("127.0.0.1", service.port()), client_context(pki)))


def run(command: list[str], directory: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command, cwd=directory, capture_output=True, text=True, timeout=DEADLINE, check=False)


# Starting

def test_it_says_where_it_listens_and_how_to_try_it(node: Node) -> None:
    with node.running() as service:
        (line,) = service.expect(" listens on ")
        assert f"dimsetls {__version__} listens on 127.0.0.1:{service.port()} as DIMSETLS " in line
        assert "TLS profile bcp195-rfc9325" in line


@pytest.mark.peers
def test_what_it_says_can_be_pasted(node: Node) -> None:
    environment = {**os.environ, "PATH": str(Path(dcmtk.find("echoscu")).parent)}
    with node.running() as service:
        for program, end in ("echoscu", ""), ("storescu", f" {named('CT_small.dcm').path}"):
            (line,) = service.expect(rf"in another terminal: {program} ")
            command = line.split("in another terminal: ")[1].removesuffix(" FILE") + end
            shell = ["/bin/sh", "-c", command]
            subprocess.run(shell, cwd=node.directory, env=environment, timeout=DEADLINE, check=True)
    assert len(node.stored()) == 1


@pytest.mark.peers
def test_make_serve_makes_a_node_and_runs_it(tmp_path: Path) -> None:
    venv = Path(sys.executable).parent.parent
    make = ["make", "-f", str(ROOT / "Makefile"), "-o", str(venv / ".installed"), f"VENV={venv}", "PORT=0", "serve"]
    service = Service(make, cwd=tmp_path)
    try:
        (line,) = service.expect("in another terminal: echoscu ")
        words = shlex.split(line.split("in another terminal: echoscu ")[1])
        subprocess.run([dcmtk.find("echoscu"), *words], cwd=tmp_path, timeout=DEADLINE, check=True)
        service.stop()
    finally:
        service.kill()
    service.expect("dimsetls.node#info. stopped")
    assert (tmp_path / "var/dimsetls.ini").exists()


def test_check_reports_and_changes_nothing(node: Node, taken: int) -> None:
    node.set("listener main", port=taken)  # which is in use: check does not try to listen
    before = {path: path.stat().st_mtime_ns for path in (node.write(), *node.store.rglob("*"))}
    answer = run([TWISTD, "dimsetls", "--check", "--config", str(node.directory / "dimsetls.ini")], node.directory)
    assert (answer.returncode, answer.stderr) == (0, "")
    assert answer.stdout.startswith(f"{node.directory}/dimsetls.ini: no problems found\nlistener main: 127.0.0.1:")
    assert before == {path: path.stat().st_mtime_ns for path in before}
    assert {path.name for path in node.directory.iterdir()} == {"dimsetls.ini", "store"}


@pytest.mark.parametrize("options", [("--nodaemon",), ("--pidfile=pid", "--logfile=log")], ids=["foreground", "daemon"])
@pytest.mark.parametrize("check", [False, True])
def test_a_wrong_configuration_is_reported_at_once(node: Node, options: tuple[str, ...], check: bool) -> None:
    node.set("node", log_levl="info")
    node.set("listener main", aes="NOBODY", port=70000)
    node.set("tls secure", private_key=node.pki / "client.key")
    node.set("storage archive", directory="nowhere")
    command = node.command(*options) + ["--check"] * check
    answer = run(command, node.directory)
    assert (answer.returncode, answer.stdout) == (1, "")
    lines = answer.stderr.splitlines()
    assert [line.split(": ")[1] for line in lines] == [
        "[node] log-levl", "[listener main] aes", "[listener main] port", "[tls secure] private-key",
        "[storage archive] directory",
    ]  # fmt: skip
    assert all(line.startswith(f"{node.directory}/dimsetls.ini:") for line in lines)
    assert {path.name for path in node.directory.iterdir()} == {"dimsetls.ini", "store"}


def test_a_configuration_is_needed(tmp_path: Path) -> None:
    answer = run([TWISTD, "--nodaemon", "--pidfile=", "dimsetls"], tmp_path)
    assert answer.returncode == 1
    said = answer.stdout + answer.stderr
    assert said.splitlines()[-1].endswith(": --config FILE is missing; `dimsetls init DIR` writes one")
    assert "Traceback" not in said


def test_a_port_in_use(node: Node, taken: int) -> None:
    node.set("listener main", port=taken)
    service = node.start()
    assert service.wait() == 1
    (line,) = service.lines("#(warn|error|critical)")
    assert f"[listener main] cannot listen on 127.0.0.1:{taken}: Address already in use; free it, or choose" in line
    assert "Traceback" not in service.log
    assert not service.lines(" listens on ")


def test_a_port_in_use_is_told_to_who_starts_a_daemon(node: Node, taken: int) -> None:
    node.set("listener main", port=taken)
    answer = run(node.command("--pidfile=pid", "--logfile=log"), node.directory)
    assert answer.returncode == 1
    assert f"cannot listen on 127.0.0.1:{taken}" in answer.stderr
    assert "Traceback" not in answer.stderr
    eventually(lambda: not (node.directory / "pid").exists(), "the PID file stayed")
    log = (node.directory / "log").read_text()
    assert log.count("cannot listen on") == 1
    assert "Traceback" not in log


def test_one_of_two_ports_in_use(node: Node, taken: int) -> None:
    node.set("listener second", port=taken, tls="secure", aes="DIMSETLS")
    service = node.start()
    assert service.wait() == 1
    (line,) = service.lines("#(warn|error|critical)")
    assert "[listener second] cannot listen on " in line


def test_a_store_that_cannot_be_written(node: Node) -> None:
    (node.store / ".incoming").touch()  # a mode would not stop root
    service = node.start()
    assert service.wait() == 1
    (line,) = service.lines("#(warn|error|critical)")
    assert f"store {node.store}: expected a directory in which this process can create, lock, link and sync" in line
    assert "Traceback" not in service.log
    assert not service.lines(" listens on ")  # who waits for that line is not misled


def test_a_daemon(node: Node, pki: Path) -> None:
    log, pid = node.directory / "log", node.directory / "pid"
    answer = run(node.command(f"--pidfile={pid}", f"--logfile={log}"), node.directory)
    assert (answer.returncode, answer.stdout, answer.stderr) == (0, "", "")
    process = int(pid.read_text())
    try:
        eventually(lambda: " listens on " in log.read_text(), "it did not start to listen")
        port = int(log.read_text().split(" listens on 127.0.0.1:")[1].split()[0])
        with Sender(connect(("127.0.0.1", port), client_context(pki))) as peer:
            assert peer.store(instance_uid(1), data_set(instance_uid(1))) == 0x0000
            peer.release()
    finally:
        os.kill(process, SIGTERM)
    eventually(lambda: not pid.exists(), "the daemon did not end")
    assert "[dimsetls.node#info] stopped" in log.read_text()
    assert len(node.stored()) == 1
    node.assert_discreet(log.read_text())


def test_it_takes_all_the_descriptors_it_may_have(node: Node) -> None:
    with node.running("sh", "-c", 'ulimit -S -n 256; exec "$@"', "sh") as service:
        soft, hard = resource.prlimit(service.process.pid, resource.RLIMIT_NOFILE)
        assert soft == hard > 256


# Stopping

def test_a_store_under_way_may_finish(node: Node, pki: Path) -> None:
    node.set("node", drain_timeout="1h")
    content = data_set(instance_uid(1), 200_000)
    with node.running() as service:
        idle = connect(("127.0.0.1", service.port()), client_context(pki))
        peer = sender(service, pki)
        peer.begin_store(instance_uid(1))
        peer.data([content[:100_000]], last=False)
        service.process.terminate()
        service.expect(r"\bstopping; 1 association")
        with closing(idle), suppress(OSError):
            assert idle.recv(1) == b""  # what asks for nothing is cut at once
        eventually(lambda: refuses(service), "the port is still open")
        peer.data([content[100_000:]], last=True)
        assert peer.status() == 0x0000
        assert peer.echo() == 0x0000
        assert service.process.poll() is None
        peer.release()
        assert service.wait() == -SIGTERM
        service.expect("dimsetls.node#info. stopped")
    (path,) = node.stored().values()
    assert data_set_of(path) == content


def refuses(service: Service) -> bool:
    try:
        socket.create_connection(("127.0.0.1", service.port()), DEADLINE).close()
    except ConnectionRefusedError:
        return True
    return False


@pytest.mark.parametrize(("timeout", "seconds"), [("0s", "0"), ("100ms", "0.1")])
def test_what_does_not_finish_is_aborted(node: Node, pki: Path, timeout: str, seconds: str) -> None:
    node.set("node", drain_timeout=timeout)
    with node.running() as service:
        peer = sender(service, pki)
        peer.begin_store(instance_uid(1))
        peer.data([data_set(instance_uid(1), 100_000)], last=False)
        service.process.terminate()
        answer = peer.receive()
        assert isinstance(answer, Abort)
        assert answer.source == 0
        peer.cut()
        assert service.wait() == -SIGTERM
        (line,) = service.lines(r"\baborted SENDER\b")
        assert f"the service stops and waited for {seconds} s" in line
    assert node.stored() == {}
    assert node.leftovers() == []


def test_a_peer_that_ignores_our_abort_does_not_hold_the_service(node: Node, pki: Path) -> None:
    node.set("node", drain_timeout="0s")
    with node.running() as service, sender(service, pki) as peer:
        assert peer.echo() == 0x0000
        assert service.stop() == -SIGTERM
        assert not service.lines("#(error|critical)")


@pytest.mark.parametrize("number", [SIGTERM, SIGINT])
def test_it_ends_by_the_signal_that_stopped_it(node: Node, pki: Path, number: int) -> None:
    with node.running() as service:
        peer = sender(service, pki)
        assert peer.echo() == 0x0000
        peer.release()
        service.process.send_signal(number)
        assert service.wait() == -number  # as twistd has it, and systemd takes it for success
        service.expect("dimsetls.node#info. stopped")


def test_being_told_twice_to_stop(node: Node, pki: Path) -> None:
    node.set("node", drain_timeout="1h")
    service = node.start()
    try:
        with sender(service, pki) as peer:
            service.process.terminate()
            service.expect(r"\bstopping; 1 association")
            service.process.terminate()
            service.expect("#info. is stopping already; 1 associations are left, SIGKILL would not wait for them$")
            service.process.send_signal(SIGINT)
            service.expect("is stopping already", 2)
            assert peer.echo() == 0x0000
            peer.release()
        assert service.wait() == -SIGTERM
        assert not service.lines("Traceback|Unhandled|ReactorNotRunning|#(error|critical)")
    finally:
        service.kill()
