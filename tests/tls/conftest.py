"""Two protocols, TLS between them, and a wire in memory that a test can read, alter and cut."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from OpenSSL import SSL
from twisted.internet.address import IPv4Address
from twisted.internet.error import ConnectionAborted, ConnectionDone, ConnectionLost
from twisted.internet.interfaces import IHandshakeListener, IOpenSSLClientConnectionCreator, ITCPTransport
from twisted.internet.protocol import Factory, Protocol
from twisted.python.failure import Failure
from zope.interface import implementer

from dimsetls.tls.authority import DevelopmentAuthority
from dimsetls.tls.contexts import ClientConnectionCreator, ServerConnectionCreator
from dimsetls.tls.endpoints import DicomTLSFactory
from dimsetls.tls.evidence import ObservedConnection, evidence_of, record_event
from dimsetls.tls.faults import TransportFault, classify
from dimsetls.tls.policy import TLSPolicy, TLSVersion, profile
from dimsetls.tls.session import TLSSession, read_session


@implementer(IHandshakeListener)
class User(Protocol):
    """A protocol that remembers what happened to it."""

    session: TLSSession | None = None
    reason: Failure | None = None

    def __init__(self) -> None:
        self.received = b""

    def connectionMade(self) -> None:
        self.evidence = evidence_of(self.transport)

    def handshakeCompleted(self) -> None:
        self.session = read_session(self.transport)

    def dataReceived(self, data: bytes) -> None:
        self.received += data

    def connectionLost(self, reason: Failure) -> None:
        self.reason = reason

    @property
    def fault(self) -> TransportFault:
        assert self.reason is not None, "the connection is still up"
        return classify(self.reason, self.evidence)


@implementer(ITCPTransport)
class End:
    """One end of the wire, as a transport."""

    disconnecting = aborted = closed = False

    def __init__(self) -> None:
        self.sent: list[bytes] = []

    def write(self, data: bytes) -> None:
        if not self.disconnecting:
            self.sent.append(bytes(data))

    def writeSequence(self, data: list[bytes]) -> None:
        self.write(b"".join(data))

    def loseConnection(self) -> None:
        self.disconnecting = True

    def abortConnection(self) -> None:
        self.sent.clear()
        self.disconnecting = self.aborted = True

    def getPeer(self) -> IPv4Address:
        return IPv4Address("TCP", "192.0.2.1", 50000)

    def getHost(self) -> IPv4Address:
        return IPv4Address("TCP", "192.0.2.2", 2762)


class Wire:
    """What lies between a server's and a client's protocol, with an end for each."""

    def __init__(self, server: Any, client: Any) -> None:
        self.server, self.client = server, client
        self.server_end, self.client_end = End(), End()
        server.makeConnection(self.server_end)
        client.makeConnection(self.client_end)

    def pump(self) -> Wire:
        """Carry bytes both ways until nothing moves; who closes does so behind its bytes."""
        ways = ((self.client, self.client_end, self.server, self.server_end),
                (self.server, self.server_end, self.client, self.client_end))
        while self.client_end.sent or self.server_end.sent:
            for _, end, peer, peer_end in ways:
                while end.sent:
                    data = end.sent.pop(0)
                    if not peer_end.disconnecting:  # Twisted's TCP reads no more then
                        peer.dataReceived(data)
        for side, end, peer, peer_end in ways:
            if end.disconnecting and not end.closed:
                self._lose(side, end, ConnectionAborted if end.aborted else ConnectionDone)
                self._lose(peer, peer_end, ConnectionLost if end.aborted else ConnectionDone)
                return self.pump()
        return self

    def cut(self) -> Wire:
        """End TCP under TLS, in order: the two sides get what Twisted's TCP reports for a FIN."""
        self._lose(self.server, self.server_end, ConnectionDone)
        self._lose(self.client, self.client_end, ConnectionDone)
        return self

    @staticmethod
    def _lose(side: Any, end: End, reason: type[Exception]) -> None:
        if not end.closed:
            end.closed = end.disconnecting = True
            side.connectionLost(Failure(reason()))


class Link(Wire):
    """A wire with TLS from two connection creators at its ends, and a User above each."""

    def __init__(self, server_creator: Any, client_creator: Any) -> None:
        self.server_creator, self.client_creator = server_creator, client_creator
        self.server_user, self.client_user = User(), User()
        below_server = DicomTLSFactory(server_creator, False, Factory.forProtocol(lambda: self.server_user))
        below_client = DicomTLSFactory(client_creator, True, Factory.forProtocol(lambda: self.client_user))
        super().__init__(below_server.buildProtocol(None), below_client.buildProtocol(None))


@implementer(IOpenSSLClientConnectionCreator)
class RawClient:
    """A client that follows no policy but the test's."""

    def __init__(self, configure: Callable[[SSL.Context], object]) -> None:
        self._context = SSL.Context(SSL.TLS_CLIENT_METHOD)
        self._context.set_info_callback(record_event)
        configure(self._context)

    def clientConnectionForTLS(self, protocol: object) -> SSL.Connection:
        return ObservedConnection(self._context, is_server=False)


@pytest.fixture(scope="session")
def authority() -> DevelopmentAuthority:
    return DevelopmentAuthority()


@pytest.fixture(scope="session")
def stranger() -> DevelopmentAuthority:
    """An authority that nobody trusts."""
    return DevelopmentAuthority("stranger")


@pytest.fixture(params=[TLSVersion.TLS_1_2, TLSVersion.TLS_1_3], ids=["1.2", "1.3"])
def policy(request: pytest.FixtureRequest) -> TLSPolicy:
    """The default profile, narrowed to one version, then the other."""
    return replace(profile("bcp195-rfc9325"), minimum_version=request.param, maximum_version=request.param)


@pytest.fixture(scope="session")
def link(authority: DevelopmentAuthority) -> Callable[..., Link]:
    """Make a Link; whatever the test does not name is as it should be. Nothing has moved yet."""
    good_server, good_client = authority.issue_server(), authority.issue_client()
    default = profile("bcp195-rfc9325")

    def make(
        policy: TLSPolicy = default,
        *,
        server: Any = good_server,
        client: Any = good_client,
        server_policy: TLSPolicy = default,
        server_trusts: DevelopmentAuthority = authority,
        client_trusts: DevelopmentAuthority = authority,
        name: str = "localhost",
        raw_client: Callable[[SSL.Context], object] | None = None,
    ) -> Link:
        accepting = ServerConnectionCreator(server_policy, server.material, server_trusts.trust_roots)
        if raw_client is not None:
            return Link(accepting, RawClient(raw_client))
        material = client.material if client is not None else None
        return Link(accepting, ClientConnectionCreator(policy, client_trusts.trust_roots, material, server_name=name))

    return make


@pytest.fixture(scope="session")
def wire_between() -> type[Wire]:
    """A Wire between two protocols that a test made itself."""
    return Wire


@pytest.fixture
def user() -> User:
    return User()


@pytest.fixture(scope="session")
def link_between() -> type[Link]:
    """A Link between two connection creators that a test made itself."""
    return Link
