from __future__ import annotations

import json
import subprocess
import sys
from ipaddress import ip_address
from typing import Any

import pytest
from twisted.internet.address import IPv4Address, IPv6Address
from twisted.internet.endpoints import TCP4ClientEndpoint, TCP4ServerEndpoint
from twisted.internet.interfaces import IStreamClientEndpoint, IStreamServerEndpoint
from twisted.internet.protocol import Factory
from twisted.internet.testing import MemoryReactorClock
from twisted.protocols.haproxy import proxyEndpoint
from zope.interface.verify import verifyObject

from dimsetls.tls.contexts import ClientConnectionCreator, ServerConnectionCreator
from dimsetls.tls.endpoints import CurrentConnections, DicomTLSClientEndpoint, DicomTLSServerEndpoint, Transport
from dimsetls.tls.policy import BCP195_RFC9325
from dimsetls.tls.transport import TLSTransport

V1_HEADER = b"PROXY TCP4 198.51.100.7 198.51.100.1 40000 2762\r\n"
V2_HEADER = bytes.fromhex("0d0a0d0a000d0a515549540a 21 21 0024") + bytes.fromhex(
    "20010db8000000000000000000000007 20010db8000000000000000000000001 9c40 0aca"
)


@pytest.fixture
def accepting(authority) -> ServerConnectionCreator:
    return ServerConnectionCreator(BCP195_RFC9325, authority.issue_server().material, authority.trust_roots)


@pytest.fixture
def requesting(authority) -> ClientConnectionCreator:
    client = authority.issue_client().material
    return ClientConnectionCreator(BCP195_RFC9325, authority.trust_roots, client, server_name="localhost")


def listening(endpoint: Any, protocol: Any) -> Any:
    """The protocol that the endpoint's listening port builds for its first connection."""
    reactor = MemoryReactorClock()
    endpoint(reactor).listen(Factory.forProtocol(lambda: protocol))
    [(_, factory, *_)] = reactor.tcpServers
    return factory.buildProtocol(IPv4Address("TCP", "192.0.2.1", 50000))


def connecting(creator: Any, protocol: Any) -> Any:
    reactor = MemoryReactorClock()
    endpoint = DicomTLSClientEndpoint(TCP4ClientEndpoint(reactor, "192.0.2.2", 2762), creator)
    connected: list[Any] = []
    endpoint.connect(Factory.forProtocol(lambda: protocol)).addCallback(connected.append)
    [(_, _, factory, *_)] = reactor.tcpClients
    return factory.buildProtocol(IPv4Address("TCP", "192.0.2.2", 2762)), connected


def test_the_interfaces(accepting, requesting):
    reactor = MemoryReactorClock()
    assert verifyObject(IStreamServerEndpoint, DicomTLSServerEndpoint(TCP4ServerEndpoint(reactor, 0), accepting))
    assert verifyObject(IStreamClientEndpoint, DicomTLSClientEndpoint(TCP4ClientEndpoint(reactor, "h", 1), requesting))


def test_client_and_server_meet(accepting, requesting, wire_between, user):
    other = type(user)()
    server = listening(lambda reactor: DicomTLSServerEndpoint(TCP4ServerEndpoint(reactor, 0), accepting), user)
    client, connected = connecting(requesting, other)
    wire_between(server, client).pump()
    assert connected == [other]  # the embedder's protocol, not the layer of TLS under it
    assert user.session is not None
    assert other.session is not None
    other.transport.write(b"hello")
    assert user.received == b""


@pytest.mark.parametrize(("header", "peer"), [
    (V1_HEADER, IPv4Address("TCP", "198.51.100.7", 40000)),
    (V2_HEADER, IPv6Address("TCP", "2001:db8::7", 40000)),
], ids=["version 1", "version 2"])
@pytest.mark.parametrize("outside", [False, True], ids=["dicomtls:haproxy:tcp", "haproxy:dicomtls:tcp"])
def test_a_proxy_header_comes_before_tls_whichever_way_the_endpoints_are_nested(
    accepting, requesting, wire_between, user, header, peer, outside
):
    def nested(reactor: Any) -> Any:
        tcp = TCP4ServerEndpoint(reactor, 0)
        if outside:
            return proxyEndpoint(DicomTLSServerEndpoint(tcp, accepting))
        return DicomTLSServerEndpoint(proxyEndpoint(tcp), accepting)

    server, (client, _) = listening(nested, user), connecting(requesting, type(user)())
    wire = wire_between(server, client)
    wire.client_end.sent.insert(0, header)
    wire.pump()
    assert user.session is not None
    seen = user.transport.getPeer()
    assert (type(seen), ip_address(seen.host), seen.port) == (type(peer), ip_address(peer.host), peer.port)


def test_tls_without_the_expected_proxy_header_is_turned_away(accepting, requesting, wire_between, user):
    def nested(reactor: Any) -> Any:
        return DicomTLSServerEndpoint(proxyEndpoint(TCP4ServerEndpoint(reactor, 0)), accepting)

    wire_between(listening(nested, user), connecting(requesting, type(user)())[0]).pump()
    assert user.session is None
    assert user.reason is not None


def test_a_factory_may_decline_a_connection(accepting):
    class Full(Factory):
        def buildProtocol(self, addr: Any) -> None:
            return None

    reactor = MemoryReactorClock()
    DicomTLSServerEndpoint(TCP4ServerEndpoint(reactor, 0), accepting).listen(Full())
    assert reactor.tcpServers[0][1].buildProtocol(IPv4Address("TCP", "192.0.2.1", 50000)) is None


def test_what_carries_tls_may_be_exchanged_for_new_connections(accepting, user):
    current = CurrentConnections(accepting, Transport.STREAM)
    reactor = MemoryReactorClock()
    DicomTLSServerEndpoint(TCP4ServerEndpoint(reactor, 0), current).listen(Factory.forProtocol(lambda: user))
    [(_, factory, *_)] = reactor.tcpServers
    made = [factory.buildProtocol(None)]
    current.transport = Transport.MEMORY
    made.append(factory.buildProtocol(None))
    assert [isinstance(each, TLSTransport) for each in made] == [True, False]


def test_what_is_written_leaves_at_once(link):
    """Nothing is gathered until the next turn of the reactor, where an abort would lose it."""
    wire = link().pump()
    wire.client_user.transport.write(b"P-DATA-TF")
    assert len(wire.client_end.sent) == 1


LOOPBACK = """
import json, sys
from twisted.internet import defer, task
from twisted.internet.address import IPv4Address, IPv6Address
from twisted.internet.endpoints import UNIXClientEndpoint, clientFromString, serverFromString
from twisted.internet.protocol import Factory, Protocol
from dimsetls.tls.authority import DevelopmentAuthority
from dimsetls.tls.contexts import ClientConnectionCreator
from dimsetls.tls import endpoints
from dimsetls.tls.endpoints import DicomTLSClientEndpoint
from dimsetls.tls.material import KeyMaterial, TrustRoots
from dimsetls.tls.policy import BCP195_RFC9325
from dimsetls.tls.session import read_session

folder = sys.argv[1]
endpoints.DEFAULT_TRANSPORT = endpoints.Transport(sys.argv[2])
files = f"certKey={folder}/node.pem:privateKey={folder}/node.key:trustRoots={folder}/ca.pem"
SIZE = 1 << 20

class Echo(Protocol):
    def dataReceived(self, data):
        self.transport.write(data)

class Caller(Protocol):
    def __init__(self):
        self.heard, self.over = 0, defer.Deferred()
    def connectionMade(self):
        self.tcp = isinstance(self.transport.getPeer(), IPv4Address | IPv6Address)
        if self.tcp:
            self.transport.setTcpNoDelay(True)
        self.transport.write(bytes(SIZE))
    def handshakeCompleted(self):
        pass
    def dataReceived(self, data):
        self.heard += len(data)
        if self.heard == SIZE:
            self.version = read_session(self.transport).version
            self.no_delay = bool(self.transport.getTcpNoDelay()) if self.tcp else None
            self.transport.loseConnection()
    def connectionLost(self, reason):
        self.over.callback(None)

async def call(endpoint):
    caller = await endpoint.connect(Factory.forProtocol(Caller))
    await caller.over
    return caller.heard, caller.version, caller.no_delay

async def main(reactor):
    results = {}
    for name, inner, address in (
        ("IPv4", "0:interface=127.0.0.1", "127.0.0.1"),
        ("IPv6", "0:interface=\\\\:\\\\:1", "\\\\:\\\\:1"),
        ("tcp6 inside", "tcp6:0:interface=\\\\:\\\\:1", "\\\\:\\\\:1"),
    ):
        port = await serverFromString(reactor, f"dicomtls:{inner}:{files}").listen(Factory.forProtocol(Echo))
        number = port.getHost().port
        client = clientFromString(reactor, f"dicomtls:host={address}:port={number}:serverName=localhost:{files}")
        results[name] = await call(client)
        await port.stopListening()
    port = await serverFromString(reactor, f"dicomtls:unix:{folder}/socket:{files}").listen(Factory.forProtocol(Echo))
    creator = ClientConnectionCreator(
        BCP195_RFC9325, TrustRoots.load(f"{folder}/ca.pem"),
        KeyMaterial.load(f"{folder}/node.pem", f"{folder}/node.key"), server_name="localhost",
    )
    results["unix inside"] = await call(
        DicomTLSClientEndpoint(UNIXClientEndpoint(reactor, f"{folder}/socket"), creator)
    )
    await port.stopListening()
    print(json.dumps(results))

task.react(lambda reactor: defer.ensureDeferred(main(reactor)))
"""


@pytest.mark.parametrize("transport", list(Transport))
def test_on_the_real_reactor(tmp_path, authority, transport):
    """A MiB there and back over IPv4, IPv6 and a UNIX socket; the TCP socket can be tuned through TLS."""
    authority.own.write(tmp_path / "ca.pem", tmp_path / "ca.key")
    authority.issue_server().write(tmp_path / "node.pem", tmp_path / "node.key")
    run = subprocess.run(
        [sys.executable, "-c", LOOPBACK, str(tmp_path), transport],
        capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert run.returncode == 0, run.stderr
    over_tcp = [1 << 20, "TLSv1.3", True]
    assert json.loads(run.stdout) == {
        "IPv4": over_tcp, "IPv6": over_tcp, "tcp6 inside": over_tcp,
        "unix inside": [1 << 20, "TLSv1.3", None],
    }
