"""A directory that does what a good one does not: it answers every request with what it was told to, or drips."""

from __future__ import annotations

import socket
import ssl
import threading
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

UNBIND = 0x42

Answer = Callable[[bytes], bytes]
"""Given the message ID of a request as BER: what to send."""


def result(operation: int, code: int, diagnostics: str = "", controls: bytes = b"") -> Answer:
    """An LDAPResult (RFC 4511 §4.1.9); operation 0x61 is a bind's, 0x78 an extended one's."""
    def answer(message_id: bytes) -> bytes:
        parts = ber(0x0A, bytes([code])) + ber(0x04, b"") + ber(0x04, diagnostics.encode())
        return ber(0x30, message_id + ber(operation, parts) + controls)

    return answer


def ber(tag: int, content: bytes) -> bytes:
    length = len(content)
    return bytes([tag]) + (bytes([length]) if length < 128 else b"\x82" + length.to_bytes(2, "big")) + content


class OddDirectory:
    """`answer` is sent to each request; without TLS from the first octet, unless there is a `context`.

    With `pace` an answer goes octet by octet, so many seconds apart, and after the last one come zeros for ever.
    """

    def __init__(self, answer: Answer, context: ssl.SSLContext | None = None, *, pace: float = 0) -> None:
        self._answer, self._context, self._pace = answer, context, pace
        self._listening = socket.create_server(("127.0.0.1", 0))
        self._ends = threading.Event()
        self.received = b""
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()

    @property
    def url(self) -> str:
        return f"{'ldaps' if self._context else 'ldap'}://localhost:{self._listening.getsockname()[1]}"

    def stop(self) -> None:
        self._ends.set()
        with suppress(OSError):
            self._listening.shutdown(socket.SHUT_RDWR)
        self._listening.close()
        self._thread.join()

    def _serve(self) -> None:
        while not self._ends.is_set():
            with suppress(OSError):
                connection, _ = self._listening.accept()
                with connection:
                    self._converse(connection)

    def _converse(self, plain: socket.socket) -> None:
        connection = self._context.wrap_socket(plain, server_side=True) if self._context else plain
        with connection:
            while request := connection.recv(65536):
                self.received += request
                if request[0] != 0x30:  # no LDAPMessage: TLS has begun, which this one cannot speak
                    return
                start = 2 if request[1] < 128 else 2 + (request[1] & 0x7F)
                end = start + 2 + request[start + 1]
                if request[end] == UNBIND:
                    return
                answer = self._answer(request[start:end])
                if not self._pace:
                    connection.sendall(answer)
                    continue
                for octet in answer:
                    connection.sendall(bytes([octet]))
                    self._ends.wait(self._pace)
                while not self._ends.wait(self._pace):
                    connection.sendall(b"\0")


def server_context(certificate: Path, key: Path) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    return context
