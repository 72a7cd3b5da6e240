"""One huge instance, and hundreds of peers that never finish their handshake."""

from __future__ import annotations

import os
import shutil
import socket
import ssl
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from . import dcmtk
from .running import Node, Service, eventually
from .sender import Sender, client_context, connect, data_set, instance_uid

pytestmark = pytest.mark.peers

MIB = 1 << 20
STUCK = 500


@pytest.fixture
def roomy(tmp_path: Path) -> Iterator[Path]:
    """A directory with room for more than 1 GiB: in memory if there is so much, as a slow disk tells nothing here."""
    for place in Path("/dev/shm"), tmp_path:
        if place.is_dir() and shutil.disk_usage(place).free > 1536 * MIB:
            directory = place / f"dimsetls-{os.getpid()}"
            directory.mkdir()
            yield directory
            shutil.rmtree(directory)
            return
    pytest.fail(f"expected 1.5 GiB of free space in /dev/shm or {tmp_path}")


def test_an_instance_of_1_gib_takes_no_memory(node: Node, pki: Path, roomy: Path) -> None:
    node.set("storage archive", directory=roomy)
    with node.running() as service:
        sender = Sender(connect(("127.0.0.1", service.port()), client_context(pki)))
        assert sender.echo() == 0x0000
        before = service.memory("VmRSS")
        uid = instance_uid(1)
        size = sender.maximum_length - 6  # so each piece is one PDU
        head = data_set(uid)
        sender.begin_store(uid)
        sender.data([head], last=False)
        sender.data(pieces(size), last=True)
        assert sender.status() == 0x0000
        sender.release()
        peak = service.memory("VmHWM")
        assert peak - before < 32 * MIB
        assert peak < 64 * MIB  # in all, Python, twistd and OpenSSL included
    (path,) = roomy.rglob("*.dcm")
    with path.open("rb") as file:
        file.seek(132)
        assert file.read(8)[4:] == b"UL\4\0"
        file.seek(int.from_bytes(file.read(4), "little"), os.SEEK_CUR)
        assert file.read(len(head)) == head
        assert all(file.read(size) == piece for piece in pieces(size))
        assert file.read() == b""


def pieces(size: int) -> Iterator[bytes]:
    """1 GiB and a little in pieces of one size, no two of them alike."""
    block = bytes(range(256)) * (size // 256 + 1)
    return (number.to_bytes(8, "big") + block[: size - 8] for number in range(1024 * MIB // size + 1))


def client_hello() -> bytes:
    outgoing = ssl.MemoryBIO()
    connection = ssl.create_default_context().wrap_bio(ssl.MemoryBIO(), outgoing, server_hostname="localhost")
    with pytest.raises(ssl.SSLWantReadError):
        connection.do_handshake()
    return outgoing.read()


def get_stuck(service: Service, stack: ExitStack) -> list[socket.socket]:
    """Open connections of which half say nothing and half say half of a ClientHello."""
    hello = client_hello()
    stuck = []
    for number in range(STUCK):
        connection = stack.enter_context(socket.create_connection(("127.0.0.1", service.port())))
        if number % 2:
            connection.sendall(hello[: len(hello) // 2])
        connection.setblocking(False)
        stuck.append(connection)
    return stuck


def is_open(connection: socket.socket) -> bool:
    try:
        return connection.recv(1) != b""
    except BlockingIOError:
        return True
    except ConnectionError:
        return False


def test_stuck_handshakes_delay_nobody(node: Node, pki: Path) -> None:
    node.set("limits normal", tls_handshake_timeout="1h")
    with node.running() as service, ExitStack() as stack:
        stuck = get_stuck(service, stack)
        descriptors = Path(f"/proc/{service.process.pid}/fd")
        eventually(lambda: len(list(descriptors.iterdir())) > STUCK, "the service has not accepted all connections")
        took = []
        for _ in range(5):
            start = time.monotonic()
            answer = dcmtk.echoscu(service, pki)
            took.append(time.monotonic() - start)
            assert answer.returncode == 0, answer.stdout
        assert all(map(is_open, stuck))  # none was given up for it
        # It takes less than 0.1 s, most of it to start echoscu. The best of five, for a machine may have a bad second.
        assert min(took) < 1


def test_the_oldest_of_too_many_stuck_handshakes_go(node: Node, pki: Path) -> None:
    node.set("limits normal", tls_handshake_timeout="1h", pending_connections=100)
    with node.running() as service, ExitStack() as stack:
        stuck = get_stuck(service, stack)
        service.expect(r"\(pending-limit\)", STUCK - 100)
        assert dcmtk.echoscu(service, pki).returncode == 0
        eventually(lambda: sum(map(is_open, stuck)) <= 100, "too many connections stayed")
        assert list(map(is_open, stuck)) == [False] * 401 + [True] * 99  # and one for echoscu


def test_a_stuck_handshake_is_given_up(node: Node, pki: Path) -> None:
    node.set("limits normal", tls_handshake_timeout="1s")
    with node.running() as service, ExitStack() as stack:
        stuck = get_stuck(service, stack)
        service.expect(r"\((silent-peer|handshake-timeout)", STUCK)
        assert len(service.lines(r"\(silent-peer\)")) == len(service.lines(r"\(handshake-timeout")) == STUCK // 2
        eventually(lambda: not any(map(is_open, stuck)), "a connection stayed")
        assert dcmtk.echoscu(service, pki).returncode == 0
