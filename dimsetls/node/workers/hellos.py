"""Connections whose first words are awaited, for these say which worker a client has a ticket of."""

from __future__ import annotations

import re
import socket
from collections.abc import Callable
from typing import Final

from twisted.internet import reactor
from twisted.internet.interfaces import IDelayedCall, IReactorFDSet, IReactorTime, IReadDescriptor
from twisted.python.failure import Failure
from zope.interface import implementer

from ...tls.tickets import LONGEST, key_name

WITHIN: Final = 0.5
"""Seconds for a client to say its first words; then it goes on without having been heard, and a worker waits."""
MOST: Final = 64
"""Connections that are waited for. One more goes on at once."""

_MOST_HEADER = 1 << 10  # bytes: of a longer PROXY header the rest is not looked for
_HEADER_1 = re.compile(rb"PROXY [^\r\n]{0,101}\r\n")
_SIGNATURE_2 = b"\r\n\r\n\0\r\nQUIT\n"

Give = Callable[[socket.socket, str, bytes], None]
"""Passes a connection on, with the name of where it was accepted and of the key that its ticket was made with."""


class Hellos:
    """Takes each connection until its ClientHello is there, which stays unread in the socket, then gives it on."""

    def __init__(self, give: Give) -> None:
        self._give = give
        self._awaited: set[_Awaited] = set()

    def take(self, connection: socket.socket, place: str, *, is_proxied: bool) -> None:
        """Give the connection on, now or within the time."""
        awaited = _Awaited(connection, place, is_proxied, self._heard)
        if not awaited.is_heard():
            if len(self._awaited) < MOST:
                self._awaited.add(awaited)
                awaited.wait()
            else:
                self._give(connection, place, b"")

    def close(self, place: str) -> None:
        """Nobody listens there any more."""
        for awaited in [each for each in self._awaited if each.place == place]:
            self._awaited.remove(awaited)
            awaited.release().close()

    def _heard(self, awaited: _Awaited, key: bytes) -> None:
        self._awaited.discard(awaited)
        self._give(awaited.release(), awaited.place, key)


@implementer(IReadDescriptor)
class _Awaited:
    """One of them. `heard` is called once, with what there is to know."""

    def __init__(
        self, connection: socket.socket, place: str, is_proxied: bool, heard: Callable[[_Awaited, bytes], None]
    ) -> None:
        self.place = place
        self._connection = connection
        self._is_proxied = is_proxied
        self._heard = heard
        self._seen = 0
        self._late: IDelayedCall | None = None

    def is_heard(self) -> bool:
        """Look at what is there; False: the rest is yet to come."""
        try:
            data = self._connection.recv(LONGEST + (_MOST_HEADER if self._is_proxied else 0), socket.MSG_PEEK)
        except BlockingIOError:
            return False
        except OSError:  # the worker will find out as well
            data = b""
        found = _key_name(data, self._is_proxied)
        if isinstance(found, bytes) or len(data) <= self._seen:
            self._heard(self, found if isinstance(found, bytes) else b"")
            return True
        self._seen = len(data)
        self._wake_at(found)
        return False

    def wait(self) -> None:
        """From now on the reactor looks."""
        IReactorFDSet(reactor).addReader(self)
        self._late = IReactorTime(reactor).callLater(WITHIN, self._heard, self, b"")

    def release(self) -> socket.socket:
        """The connection, as it was when it came."""
        if self._late is not None:
            IReactorFDSet(reactor).removeReader(self)
            if self._late.active():
                self._late.cancel()
        if self._seen:
            self._wake_at(1)
        return self._connection

    def _wake_at(self, size: int) -> None:
        """Be woken once so many bytes are there, and not for each piece; only TCP knows this."""
        self._connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVLOWAT, size)

    # For the reactor -----------------------------------------------------------------------------------------------

    def fileno(self) -> int:
        return self._connection.fileno()

    def doRead(self) -> None:
        self.is_heard()

    def connectionLost(self, reason: Failure) -> None:
        """The reactor ends, or reading has failed."""

    def logPrefix(self) -> str:
        return "dimsetls"


def _key_name(data: bytes, is_proxied: bool) -> bytes | int:
    """What `key_name` says of the data after a PROXY header."""
    start = _header_length(data) if is_proxied else 0
    if start > len(data):
        return start + 5
    found = key_name(data[start:]) if start >= 0 else b""
    return found if isinstance(found, bytes) else start + found


def _header_length(data: bytes) -> int:
    """Of a PROXY header, of version 1 or 2; -1 where there is none, or a longer one than is looked at."""
    if data.startswith(_SIGNATURE_2):
        length = 16 + int.from_bytes(data[14:16], "big") if len(data) >= 16 else 16
    elif found := _HEADER_1.match(data):
        length = found.end()
    elif len(data) < 107 and (b"PROXY ".startswith(data[:6]) or _SIGNATURE_2.startswith(data)):
        length = len(data) + 1
    else:
        length = -1
    return length if length <= _MOST_HEADER else -1
