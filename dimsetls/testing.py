"""For the tests of those who build on dimsetls: associations in memory, and a throwaway certification authority.

A `Link` stands for network, reactor and clock. Both sides use it as any other endpoint, with TLS or without:

>>> from dimsetls.association.acceptor import AcceptorFactory, ApplicationEntity
>>> from dimsetls.services.verification import Verification
>>> link = Link()
>>> serving, calling = tls_endpoints(link, DevelopmentAuthority())
>>> port = serving.listen(AcceptorFactory(ApplicationEntity("DIMSETLS", Verification()), clock=link))
>>> peer = Peer.connect(link, calling)
>>> peer.send(bytes.fromhex("ff0000000000"))  # a PDU type that PS3.8 does not have
[Abort(source=0, reason=0)]

Bytes move and time passes only in `pump`, `advance` and what calls them, so that every run is the same.
`associate(calling, …, clock=link)` connects in the same way as `Peer`; pump afterwards.

Certificates stay in memory; `certificate.write(certificate_path, key_path)` makes PEM files where files are needed.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

from twisted.internet.abstract import FileDescriptor
from twisted.internet.address import IPv4Address
from twisted.internet.defer import Deferred, fail, succeed
from twisted.internet.error import ConnectError, ConnectionAborted, ConnectionDone
from twisted.internet.interfaces import (
    IAddress,
    IListeningPort,
    IProtocol,
    IProtocolFactory,
    IStreamClientEndpoint,
    IStreamServerEndpoint,
)
from twisted.internet.main import CONNECTION_DONE, CONNECTION_LOST
from twisted.internet.protocol import Factory, Protocol, connectionDone
from twisted.internet.task import Clock
from twisted.python.failure import Failure
from zope.interface import implementer

from .tls.authority import DevelopmentAuthority, DevelopmentCertificate, is_development_certificate
from .tls.contexts import ClientConnectionCreator, ServerConnectionCreator
from .tls.endpoints import DicomTLSClientEndpoint, DicomTLSServerEndpoint
from .tls.policy import TLSPolicy, profile
from .ul.pdus import PDU
from .ul.reader import read_pdu
from .ul.writer import write_pdu

__all__ = [
    "ClientConnectionCreator",
    "DevelopmentAuthority",
    "DevelopmentCertificate",
    "End",
    "Link",
    "Peer",
    "ServerConnectionCreator",
    "is_development_certificate",
    "profile",
    "tamper",
    "tls_endpoints",
]

SOCKET_BUFFER = 64 * 1024
"""Bytes that arrive at an end before they are read; then the other end's output has to wait."""


class End(FileDescriptor):
    """One end of a connection in memory. Buffers, producers and closing are Twisted's own.

    What a test may do to it: `pauseProducing()` stops reading, `loseConnection()` sends a FIN after what was written,
    `abortConnection()` an RST, and `on_the_way` alters what it sends.
    """

    def __init__(self, link: Link, protocol: IProtocol, address: IAddress) -> None:
        super().__init__(link)  # type: ignore[arg-type]  # all of a reactor that is needed here is callLater
        self._link = link
        self.connected = 1
        self.on_the_way: Callable[[bytes], bytes] = bytes
        self.other = self
        self.is_reading = self.is_writing = False
        self._protocol = protocol
        self._address = address
        self._arrived = bytearray()
        self._closed: Exception | None = None  # by the other end: what a read says of it
        self._aborting = False

    # The network's side ----------------------------------------------------------------------------------------

    def connect(self, other: End) -> None:
        self.other = other
        self.startReading()
        self._protocol.makeConnection(self)

    @property
    def readable(self) -> bool:
        return self.is_reading and not self._aborting and bool(self._arrived or self._closed)

    @property
    def writable(self) -> bool:
        return self.is_writing and not self._aborting and bool(self._closed or self.other.room)

    @property
    def room(self) -> int:
        return SOCKET_BUFFER - len(self._arrived)

    def read(self) -> None:
        """Pass on what arrived; after the last byte, that the other end closed."""
        if self._arrived:
            data, self._arrived = bytes(self._arrived), bytearray()
            self._protocol.dataReceived(data)
        elif self._closed:
            self.connectionLost(Failure(self._closed))

    def flush(self) -> None:
        """Send what there is room for."""
        if why := self.doWrite():  # type: ignore[no-untyped-call]
            self.connectionLost(Failure(why))

    def writeSomeData(self, data: bytes) -> int | BaseException:  # noqa: N802 - here and below, Twisted's names
        if self._closed:
            return CONNECTION_LOST
        taken = bytes(data[: self.other.room])
        self.other._arrived += self.on_the_way(taken)
        return len(taken)

    # A transport, as far as FileDescriptor leaves it open ---------------------------------------------------------

    def startReading(self) -> None:  # noqa: N802
        self.is_reading = True

    def stopReading(self) -> None:  # noqa: N802
        self.is_reading = False

    def startWriting(self) -> None:  # noqa: N802
        self.is_writing = True

    def stopWriting(self) -> None:  # noqa: N802
        self.is_writing = False

    def connectionLost(self, reason: Failure) -> None:
        if not self.disconnected:
            super().connectionLost(reason)  # type: ignore[no-untyped-call]
            self.other._closed = CONNECTION_DONE if reason.check(ConnectionDone) else CONNECTION_LOST
            self._protocol.connectionLost(reason)

    def abortConnection(self) -> None:
        if not self.disconnected and not self._aborting:
            self._aborting = True
            self._link.callLater(0, self.connectionLost, Failure(ConnectionAborted()))

    def getPeer(self) -> IAddress:
        return self.other._address

    def getHost(self) -> IAddress:
        return self._address


@implementer(IStreamServerEndpoint, IStreamClientEndpoint)
class Link(Clock):
    """A network with one address to listen on, to which any number connect; also the clock of all of them."""

    def __init__(self) -> None:
        super().__init__()
        self.server_address: IAddress = IPv4Address("TCP", "192.0.2.2", 2762)
        self.client_address: IAddress = IPv4Address("TCP", "192.0.2.1", 50000)
        """Whence the next connection comes."""
        self.ends: list[End] = []
        """Both ends of every open connection, the client's first."""
        self._factory: IProtocolFactory | None = None

    def listen(self, protocolFactory: IProtocolFactory) -> Deferred[IListeningPort]:  # noqa: N803
        """Listen; what listened here before is replaced."""
        self._factory = protocolFactory
        return succeed(_Port(self))

    def stop_listening(self) -> None:
        self._factory = None

    def connect(self, protocolFactory: IProtocolFactory) -> Deferred[IProtocol]:  # noqa: N803
        """Connect to whoever listens, as far as TCP; refused if nobody does."""
        if self._factory is None:
            return fail(ConnectError(string="nobody listens on the link"))
        server = self._factory.buildProtocol(self.client_address)
        client = protocolFactory.buildProtocol(self.server_address)
        assert server is not None, "the listening factory built no protocol"
        assert client is not None, "the connecting factory built no protocol"
        ends = End(self, client, self.client_address), End(self, server, self.server_address)
        self.ends += ends
        ends[0].connect(ends[1])
        ends[1].connect(ends[0])
        return succeed(client)

    def pump(self, timings: Iterable[float] = ()) -> None:
        """Let these times pass one by one; then carry bytes, and make calls that are due, until all is done."""
        super().pump(timings)
        super().advance(0)
        while self._turn():
            super().advance(0)

    def advance(self, amount: float) -> None:
        """Let time pass, with whatever follows from it."""
        super().advance(amount)
        self.pump()

    def _turn(self) -> bool:
        """Let every end that is ready read once and write once; whether any was."""
        acts = 0
        for end in self.ends:
            if end.readable:
                acts += 1
                end.read()
            if end.writable:
                acts += 1
                end.flush()
        self.ends = [end for end in self.ends if not end.disconnected]
        return acts > 0


@implementer(IListeningPort)
class _Port:
    def __init__(self, link: Link) -> None:
        self._link = link

    def startListening(self) -> None:
        """It listens from the start."""

    def stopListening(self) -> None:
        self._link.stop_listening()

    def getHost(self) -> IAddress:
        return self._link.server_address


class Peer(Protocol):
    """The other side of a connection, played by a test: sends PDUs or any bytes, and keeps the PDUs that come.

    It follows no rule of PS3.8 and closes nothing by itself.
    """

    def __init__(self, link: Link) -> None:
        self.received: list[PDU] = []
        self.lost: Failure | None = None
        """Why the connection is gone, once it is."""
        self._link = link
        self._incomplete = b""

    @classmethod
    def connect(cls, link: Link, endpoint: IStreamClientEndpoint | None = None) -> Peer:
        """A peer that calls whoever listens, through an endpoint of `tls_endpoints` or without TLS."""
        peer = cls(link)
        (endpoint or link).connect(Factory.forProtocol(lambda: peer))
        link.pump()
        return peer

    @classmethod
    def listen(cls, link: Link, endpoint: IStreamServerEndpoint | None = None) -> Peer:
        """A peer that waits for one call, through an endpoint of `tls_endpoints` or without TLS."""
        peer = cls(link)
        (endpoint or link).listen(Factory.forProtocol(lambda: peer))
        return peer

    @property
    def end(self) -> End:
        """This side's end of the connection, below TLS if there is TLS."""
        assert self.transport is not None
        below = getattr(self.transport, "transport", self.transport)
        assert isinstance(below, End)
        return below

    def send(self, *what: PDU | bytes) -> list[PDU]:
        """Send, pump, and return the PDUs that came meanwhile."""
        assert self.transport is not None
        before = len(self.received)
        self.transport.write(b"".join(each if isinstance(each, bytes) else write_pdu(each) for each in what))
        self._link.pump()
        return self.received[before:]

    def trickle(self, data: bytes, seconds: float) -> list[PDU]:
        """Send one byte, wait `seconds`, and so on until all is sent or the connection is gone; return what came."""
        before = len(self.received)
        for position in range(len(data)):
            if self.lost is not None:
                break
            self.send(data[position : position + 1])
            self._link.advance(seconds)
        return self.received[before:]

    def close(self) -> None:
        """Close in order: after close_notify, where there is TLS."""
        assert self.transport is not None
        self.transport.loseConnection()
        self._link.pump()

    def cut(self) -> None:
        """Close TCP under TLS, without close_notify, as a process that dies does."""
        self.end.loseConnection()  # type: ignore[no-untyped-call]
        self._link.pump()

    def dataReceived(self, data: bytes) -> None:
        rest = self._incomplete + data
        while len(rest) >= 6 and len(rest) >= (end := 6 + int.from_bytes(rest[2:6], "big")):
            self.received.append(read_pdu(rest[0], rest[6:end]))
            rest = rest[end:]
        self._incomplete = rest

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        self.lost = reason


def tls_endpoints(
    link: Link, authority: DevelopmentAuthority, policy: TLSPolicy | None = None
) -> tuple[DicomTLSServerEndpoint, DicomTLSClientEndpoint]:
    """Where to listen and where to connect for TLS over a link; each side's certificate is from `authority`."""
    policy = policy or profile("bcp195-rfc9325")
    roots = authority.trust_roots
    server = ServerConnectionCreator(policy, authority.issue_server().material, roots)
    client = ClientConnectionCreator(policy, roots, authority.issue_client().material, server_name="localhost")
    return DicomTLSServerEndpoint(link, server), DicomTLSClientEndpoint(link, client)


def tamper(data: bytes) -> bytes:
    """The same bytes but for one bit, as a broken or hostile network delivers them; for `End.on_the_way`."""
    return data[:-1] + bytes((data[-1] ^ 1,)) if data else data
