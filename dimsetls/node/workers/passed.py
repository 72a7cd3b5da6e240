"""Connections that the main process has accepted, in the worker that it has chosen for them."""

from __future__ import annotations

import socket
from collections.abc import Callable
from typing import Any, cast

from twisted.internet import reactor
from twisted.internet.address import IPv4Address
from twisted.internet.defer import Deferred, succeed
from twisted.internet.interfaces import (
    IAddress,
    IListeningPort,
    IProtocolFactory,
    IReactorSocket,
    IStreamServerEndpoint,
)
from twisted.protocols.haproxy import proxyEndpoint
from zope.interface import implementer

from ..config import Listener
from ..places import place_of

_PROXY = "haproxy:"


def is_proxied(listener: Listener) -> bool:
    """Whether a PROXY header comes before all else."""
    return listener.transport.startswith(_PROXY)


def transport_of(listener: Listener) -> str:
    """The endpoint string of where a listener's connections are accepted: a PROXY header is read by the worker."""
    return listener.transport.removeprefix(_PROXY)


def name_of(listener: Listener) -> str:
    """The name by which both processes know where a listener is bound."""
    return repr(place_of(listener))


class Passed:
    """Takes descriptors as they come, each before the notice that says where it was accepted."""

    def __init__(self) -> None:
        self.received = 0
        self._descriptors: list[int] = []
        self._factories: dict[str, IProtocolFactory] = {}

    def endpoint(self, listener: Listener) -> IStreamServerEndpoint:
        """Where the listener gets its connections."""
        endpoint: IStreamServerEndpoint = _Endpoint(self._factories, name_of(listener))
        return proxyEndpoint(endpoint) if is_proxied(listener) else endpoint

    def descriptor(self, number: int) -> None:
        """A connection, whose notice comes next."""
        self._descriptors.append(number)

    def connection(self, place: str) -> None:
        """The notice about the first of them. Where nobody listens any more it is closed."""
        self.received += 1
        connection = socket.socket(fileno=(number := self._descriptors.pop(0)))
        connection.setblocking(False)
        try:
            if (factory := self._factories.get(place)) is not None:
                adopt = cast(Callable[[int, int, Any], object], IReactorSocket(reactor).adoptStreamConnection)
                adopt(number, connection.family, factory)
        except OSError:
            pass  # the peer has gone already
        finally:
            connection.close()  # what was adopted is a duplicate


@implementer(IStreamServerEndpoint)
class _Endpoint:
    def __init__(self, factories: dict[str, IProtocolFactory], place: str) -> None:
        self._factories = factories
        self._place = place

    def listen(self, factory: IProtocolFactory) -> Deferred[IListeningPort]:
        self._factories[self._place] = factory
        factory.doStart()
        return succeed(_Port(self._factories, self._place))


@implementer(IListeningPort)
class _Port:
    """As long as it listens, connections of the place find their factory."""

    def __init__(self, factories: dict[str, IProtocolFactory], place: str) -> None:
        self._factories = factories
        self._place = place

    def startListening(self) -> None:
        """It does from the start."""

    def stopListening(self) -> None:
        if (factory := self._factories.pop(self._place, None)) is not None:
            factory.doStop()

    def getHost(self) -> IAddress:
        return IPv4Address("TCP", "0.0.0.0", 0)  # noqa: S104 - only the main process knows
