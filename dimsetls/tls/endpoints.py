"""TLS around any stream endpoint of Twisted: TCP, UNIX, systemd, PROXY protocol, or an embedder's own."""

from __future__ import annotations

from enum import StrEnum
from typing import Any

from OpenSSL import SSL
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import (
    IAddress,
    IListeningPort,
    IOpenSSLClientConnectionCreator,
    IOpenSSLServerConnectionCreator,
    IProtocol,
    IProtocolFactory,
    IStreamClientEndpoint,
    IStreamServerEndpoint,
)
from twisted.protocols.haproxy._wrapper import HAProxyWrappingFactory
from twisted.protocols.tls import TLSMemoryBIOFactory, TLSMemoryBIOProtocol
from zope.interface import implementer

from .transport import TLSTransport


class Transport(StrEnum):
    """Which implementation carries TLS; on the wire, and to the protocol above, they are the same."""

    STREAM = "stream"
    """Ours: :mod:`dimsetls.tls.transport`."""
    MEMORY = "memory"
    """Twisted's."""


DEFAULT_TRANSPORT = Transport.STREAM


@implementer(IOpenSSLServerConnectionCreator)
class CurrentConnections:
    """Makes connections as the present `creator` does; exchange it, and new connections follow the new policy.

    So it is with `transport`, which counts where the endpoint was given none.
    """

    def __init__(self, creator: IOpenSSLServerConnectionCreator, transport: Transport | None = None) -> None:
        self.creator = creator
        self.transport = transport

    def serverConnectionForTLS(self, protocol: TLSMemoryBIOProtocol) -> SSL.Connection:
        return self.creator.serverConnectionForTLS(protocol)


class DicomTLSFactory(TLSMemoryBIOFactory):
    """Puts TLS under the protocols of another factory, which may still decline a connection by building None.

    Twisted's own factory gathers small writes until the next turn of the reactor. An association writes
    whole PDUs; for them that is one turn of delay and one copy, and bytes written just before an abort are lost.
    """

    def __init__(
        self,
        creator: IOpenSSLClientConnectionCreator | IOpenSSLServerConnectionCreator,
        is_client: bool,
        factory: IProtocolFactory,
        transport: Transport | None = None,
    ) -> None:
        super().__init__(creator, is_client, factory)
        self._creator = creator
        self._transport = transport
        self._connect: Any = getattr(creator, "clientConnectionForTLS" if is_client else "serverConnectionForTLS")

    def buildProtocol(self, addr: IAddress | None) -> Any:
        wrapped = self.wrappedFactory.buildProtocol(addr)
        if wrapped is None:
            return None
        current = self._creator.transport if isinstance(self._creator, CurrentConnections) else None
        if (self._transport or current or DEFAULT_TRANSPORT) is Transport.STREAM:
            return TLSTransport(self, wrapped, self._connect)
        return TLSMemoryBIOProtocol(self, wrapped)


@implementer(IStreamServerEndpoint)
class DicomTLSServerEndpoint:
    """Listens where `endpoint` listens, and answers with TLS.

    A protocol sees the PROXY header's peer, if there is one, from handshakeCompleted on: at connectionMade
    the header has not come yet.
    """

    def __init__(
        self,
        endpoint: IStreamServerEndpoint,
        creator: IOpenSSLServerConnectionCreator,
        transport: Transport | None = None,
    ) -> None:
        self._endpoint = endpoint
        self._creator = creator
        self._transport = transport

    def listen(self, factory: IProtocolFactory) -> Deferred[IListeningPort]:
        """Listen; a factory that reads PROXY headers (`haproxy:dicomtls:…`) is turned outside, where they come."""
        if isinstance(factory, HAProxyWrappingFactory):
            return self._endpoint.listen(type(factory)(self._with_tls(factory.wrappedFactory)))
        return self._endpoint.listen(self._with_tls(factory))

    def _with_tls(self, factory: IProtocolFactory) -> DicomTLSFactory:
        return DicomTLSFactory(self._creator, False, factory, self._transport)


@implementer(IStreamClientEndpoint)
class DicomTLSClientEndpoint:
    """Connects where `endpoint` connects, and speaks TLS. The Deferred fires before the handshake."""

    def __init__(
        self,
        endpoint: IStreamClientEndpoint,
        creator: IOpenSSLClientConnectionCreator,
        transport: Transport | None = None,
    ) -> None:
        self._endpoint = endpoint
        self._creator = creator
        self._transport = transport

    def connect(self, factory: IProtocolFactory) -> Deferred[IProtocol]:
        below = DicomTLSFactory(self._creator, True, factory, self._transport)
        connected: Deferred[Any] = self._endpoint.connect(below)
        return connected.addCallback(lambda tls: tls.wrappedProtocol)
