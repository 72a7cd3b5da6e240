"""TLS for programs that have none: a port of 127.0.0.1 from which all goes on to the service over mutual TLS."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from .running import DEADLINE
from .sender import client_context


@contextmanager
def tunnel(port: int, pki: Path) -> Iterator[int]:
    """The port to call; what comes there goes to `port`, a connection at a time, with the client's certificate."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        thread = threading.Thread(target=_serve, args=(server, port, pki), daemon=True)
        thread.start()
        yield server.getsockname()[1]
        server.shutdown(socket.SHUT_RDWR)  # ends accept()
        thread.join(DEADLINE)


def _serve(server: socket.socket, port: int, pki: Path) -> None:
    with suppress(OSError):
        while True:
            near, _ = server.accept()
            with near, client_context(pki).wrap_socket(
                socket.create_connection(("127.0.0.1", port), DEADLINE), server_hostname="localhost"
            ) as far:
                there = threading.Thread(target=_copy, args=(near, far), daemon=True)
                there.start()
                _copy(far, near)
                there.join(DEADLINE)


def _copy(source: socket.socket, sink: socket.socket) -> None:
    with suppress(OSError):
        while data := source.recv(65536):
            sink.sendall(data)
    with suppress(OSError):
        sink.shutdown(socket.SHUT_RDWR)
