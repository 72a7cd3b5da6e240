"""TLS for programs that have none: a port of 127.0.0.1 from which all goes on to the service over mutual TLS."""

from __future__ import annotations

import asyncio
import socket
import threading
from asyncio import StreamReader, StreamWriter
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from .running import DEADLINE
from .sender import client_context


@contextmanager
def tunnel(port: int, pki: Path) -> Iterator[int]:
    """The port to call; what comes there goes to `port`, with the client's certificate.

    One thread carries both directions: OpenSSL does not allow two to use the same connection.
    """
    with socket.create_server(("127.0.0.1", 0)) as server:
        loop = asyncio.new_event_loop()
        thread = threading.Thread(target=loop.run_until_complete, args=(_serve(server, port, pki),), daemon=True)
        thread.start()
        yield server.getsockname()[1]
        loop.call_soon_threadsafe(lambda: [task.cancel() for task in asyncio.all_tasks(loop)])
        thread.join(DEADLINE)
        loop.close()


async def _serve(server: socket.socket, port: int, pki: Path) -> None:
    async def carry(near: StreamReader, to_near: StreamWriter) -> None:
        context = client_context(pki)
        far, to_far = await asyncio.open_connection("127.0.0.1", port, ssl=context, server_hostname="localhost")
        await asyncio.gather(_copy(near, to_far), _copy(far, to_near))

    with suppress(asyncio.CancelledError):
        async with await asyncio.start_server(carry, sock=server) as serving:
            await serving.serve_forever()


async def _copy(source: StreamReader, sink: StreamWriter) -> None:
    with suppress(OSError):
        while data := await source.read(65536):
            sink.write(data)
            await sink.drain()
    sink.close()
