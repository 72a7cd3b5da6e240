"""TLS for programs that have none: on the way to the service, and in front of a server of theirs."""

from __future__ import annotations

import asyncio
import socket
import ssl
import threading
from asyncio import StreamReader, StreamWriter
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from .running import DEADLINE
from .sender import client_context


@contextmanager
def tunnel(port: int, pki: Path) -> Iterator[int]:
    """The port to call without TLS; what comes there goes to `port` over mutual TLS, with the client's certificate."""
    with _carrying(port, near=None, far=client_context(pki)) as opened:
        yield opened


@contextmanager
def entrance(port: int, pki: Path) -> Iterator[int]:
    """The port to call over mutual TLS; what comes there with a certificate goes to `port` without TLS."""
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH, cafile=str(pki / "ca.pem"))
    context.load_cert_chain(pki / "server.pem", pki / "server.key")
    context.verify_mode = ssl.CERT_REQUIRED
    with _carrying(port, near=context, far=None) as opened:
        yield opened


@contextmanager
def _carrying(port: int, near: ssl.SSLContext | None, far: ssl.SSLContext | None) -> Iterator[int]:
    """One thread carries both directions of all connections: OpenSSL does not allow two to use the same one."""
    with socket.create_server(("127.0.0.1", 0)) as server, asyncio.Runner() as runner:
        loop, serving = runner.get_loop(), _serve(server, port, near, far)
        thread = threading.Thread(target=lambda: runner.run(serving), daemon=True)
        thread.start()
        yield server.getsockname()[1]
        loop.call_soon_threadsafe(lambda: [task.cancel() for task in asyncio.all_tasks(loop)])
        thread.join(DEADLINE)


async def _serve(server: socket.socket, port: int, near: ssl.SSLContext | None, far: ssl.SSLContext | None) -> None:
    async def carry(reader: StreamReader, writer: StreamWriter) -> None:
        name = "localhost" if far else None
        with suppress(asyncio.CancelledError, OSError):
            from_far, to_far = await asyncio.open_connection("127.0.0.1", port, ssl=far, server_hostname=name)
            await asyncio.gather(_copy(reader, writer, to_far), _copy(from_far, to_far, writer))
        writer.close()

    with suppress(asyncio.CancelledError):
        async with await asyncio.start_server(carry, sock=server, ssl=near) as serving:
            await serving.serve_forever()


async def _copy(source: StreamReader, back: StreamWriter, sink: StreamWriter) -> None:
    """`back` is the other direction of the connection that `source` reads from."""
    taken: socket.socket = back.get_extra_info("socket")
    with suppress(OSError):
        while data := await source.read(65536):
            # Or a sender that uses Nagle's algorithm waits 40 ms for it, again and again; the kernel soon forgets this.
            taken.setsockopt(socket.IPPROTO_TCP, socket.TCP_QUICKACK, 1)
            sink.write(data)
            await sink.drain()
    sink.close()
