"""Where a listener is bound: the main process accepts, and gives each connection to a worker."""

from __future__ import annotations

import errno
import os
import socket
from typing import Final, cast

from twisted.internet import reactor
from twisted.internet.endpoints import serverFromString
from twisted.internet.interfaces import IListeningPort, IReactorFDSet, IReactorTime, IReadDescriptor
from twisted.internet.protocol import Factory
from twisted.logger import Logger
from twisted.python.failure import Failure
from zope.interface import implementer

from ..config import Listener
from ..places import StartFailed, announce, start_failed
from .hellos import Give, Hellos
from .passed import is_proxied, name_of, transport_of

log = Logger(namespace="dimsetls.node")

AT_ONCE: Final = 16
"""Connections that are accepted before anything else gets its turn."""
REST: Final = 0.5
"""Seconds for which nothing is accepted when the system has no descriptors or memory left."""
_SHORT: Final = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM})


@implementer(IReadDescriptor)
class Door:
    """One listener. It opens once it is bound and `open` is called; while `shut`, connections wait in its backlog."""

    def __init__(self, listener: Listener, give: Give, hellos: Hellos) -> None:
        self.listener = listener
        self.name = name_of(listener)
        self._give = give
        self._hellos = hellos
        self._port: IListeningPort | None = None
        self._socket: socket.socket | None = None
        self._is_open = self._is_resting = False

    def bind(self) -> None:
        """Take the place to listen on. Raises StartFailed."""
        factory = Factory()
        factory.noisy = False
        failed: list[StartFailed] = []
        try:
            listening = serverFromString(reactor, transport_of(self.listener)).listen(factory)
        except LookupError as error:
            raise start_failed(self.listener, Failure(error)) from error
        listening.addCallbacks(self._bound, lambda failure: failed.append(start_failed(self.listener, failure)))
        if failed:
            raise failed[0]

    def _bound(self, port: IListeningPort) -> None:
        # Twisted binds; but what accepts there makes a transport of each connection, and that cannot be passed on.
        _readers().removeReader(cast(IReadDescriptor, port))
        self._port = port
        self._socket = socket.socket(fileno=os.dup(port.fileno()))  # type: ignore[attr-defined]

    def announce(self) -> None:
        """Say where it is."""
        if self._port is not None:
            announce(self.listener, self._port)

    def open(self) -> None:
        """Accept."""
        if self._socket is not None and not self._is_open and not self._is_resting:
            self._is_open = True
            _readers().addReader(self)

    def shut(self) -> None:
        """Accept nothing for now."""
        if self._is_open:
            self._is_open = False
            _readers().removeReader(self)

    def close(self) -> None:
        """Listen no more."""
        self.shut()
        self._hellos.close(self.name)
        if self._socket is not None:
            self._socket.close()
            self._socket = None
        if self._port is not None:
            self._port.stopListening()
            self._port = None

    # For the reactor -----------------------------------------------------------------------------------------------

    def fileno(self) -> int:
        return self._socket.fileno() if self._socket is not None else -1

    def doRead(self) -> None:
        for _ in range(AT_ONCE):
            if self._socket is None or not self._is_open:  # the last that was given filled the house
                return
            try:
                connection, _address = self._socket.accept()
            except (BlockingIOError, ConnectionAbortedError):
                return
            except OSError as error:
                if error.errno not in _SHORT:
                    raise
                self._rest(error)
                return
            connection.setblocking(False)
            if self.listener.tls is not None and self.listener.tls.resumption is not None:
                self._hellos.take(connection, self.name, is_proxied=is_proxied(self.listener))
            else:
                self._give(connection, self.name, b"")

    def connectionLost(self, reason: Failure) -> None:
        """The reactor ends, or reading has failed."""
        self._is_open = False

    def logPrefix(self) -> str:
        return "dimsetls"

    def _rest(self, error: OSError) -> None:
        log.error("nothing is accepted on {where} for {seconds:g} s: {why}", where=str(self.listener), seconds=REST,
                  why=error.strerror)  # fmt: skip
        self.shut()
        self._is_resting = True
        IReactorTime(reactor).callLater(REST, self._rested)

    def _rested(self) -> None:
        self._is_resting = False
        self.open()


def _readers() -> IReactorFDSet:
    return IReactorFDSet(reactor)
