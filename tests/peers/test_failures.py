"""DCMTK behind a network that alters one bit or hangs up, on real sockets: what both sides make of it."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from pydicom.data import get_testdata_file

from . import dcmtk
from .running import DEADLINE, Node, Service

pytestmark = pytest.mark.peers

CT = Path(str(get_testdata_file("CT_small.dcm")))  # 39 kB, so that byte 20000 is in the middle of its C-STORE
MIDDLE = 20000


class Network:
    """Carries one connection to a service; `meddle(from_client, before, data)` says what becomes of each read.

    `before` is what has come from the client by then. What is None is the end of the connection.
    """

    def __init__(self, service: Service, meddle: Callable[[bool, int, bytes], bytes | None]) -> None:
        self._target = ("127.0.0.1", service.port())
        self._meddle = meddle
        self._from_client = 0
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._thread = threading.Thread(target=self._carry, daemon=True)
        self._thread.start()

    def port(self, called: str) -> int:
        """As of the service behind."""
        port: int = self._listener.getsockname()[1]
        return port

    def _carry(self) -> None:
        client, _ = self._listener.accept()
        server = socket.create_connection(self._target, DEADLINE)
        back = threading.Thread(target=self._pass, args=(server, client, False), daemon=True)
        with self._listener, client, server:
            back.start()
            self._pass(client, server, True)
            back.join(DEADLINE)

    def _pass(self, source: socket.socket, sink: socket.socket, from_client: bool) -> None:
        try:
            while data := source.recv(4096):
                before = self._from_client
                self._from_client += len(data) if from_client else 0
                altered = self._meddle(from_client, before, data)
                if altered is None:
                    source.shutdown(socket.SHUT_RDWR)
                    break
                sink.sendall(altered)
            sink.shutdown(socket.SHUT_WR)
        except OSError:
            pass  # the other direction has ended it


def flipped(data: bytes, at: int) -> bytes:
    return data[:at] + bytes([data[at] ^ 1]) + data[at:][1:]


def flip_the_data(from_client: bool, before: int, data: bytes) -> bytes:
    is_here = from_client and before <= MIDDLE < before + len(data)
    return flipped(data, MIDDLE - before) if is_here else data


def flip_the_answer(from_client: bool, before: int, data: bytes) -> bytes:
    return data if from_client or before < MIDDLE else flipped(data, len(data) - 1)


def hang_up(from_client: bool, before: int, data: bytes) -> bytes | None:
    return None if from_client and before > MIDDLE else data


@pytest.fixture
def service(node: Node) -> Iterator[Service]:
    with node.running() as service:
        yield service


@pytest.mark.parametrize(("meddle", "sentence", "stored"), [
    (flip_the_data, "A TLS record failed its integrity check", 0),
    (flip_the_answer, "The peer reports that a record of ours failed its integrity check", 1),
    (hang_up, "The connection was cut without TLS close_notify", 0),
])  # fmt: skip
def test_storescu_on_a_network_that_meddles(node, service, pki, meddle, sentence, stored):
    sending = dcmtk.storescu(Network(service, meddle), pki, [CT])  # type: ignore[arg-type]
    assert sending.returncode != 0
    (line,) = service.expect("provider-aborted")
    assert sentence in line
    assert len([*node.store.rglob("*.dcm")]) == stored
    assert dcmtk.storescu(service, pki, [CT]).returncode == 0
    assert len([*node.store.rglob("*.dcm")]) == 1
    assert not service.lines("Traceback")


def test_storescu_on_a_network_that_does_not(node, service, pki):
    sending = dcmtk.storescu(Network(service, lambda from_client, before, data: data), pki, [CT])  # type: ignore[arg-type]
    assert sending.returncode == 0, sending.stdout
    assert len([*node.store.rglob("*.dcm")]) == 1
