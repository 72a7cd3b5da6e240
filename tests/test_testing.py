"""The kit for embedders: what it promises, and that a test can rest on it."""

from __future__ import annotations

import doctest

import pytest
from twisted.internet.address import IPv4Address
from twisted.internet.defer import Deferred
from twisted.internet.error import ConnectError, ConnectionAborted, ConnectionDone, ConnectionLost
from twisted.internet.interfaces import IListeningPort, IStreamClientEndpoint, IStreamServerEndpoint, ITransport
from twisted.internet.protocol import Factory, Protocol
from twisted.python.failure import Failure
from zope.interface.verify import verifyObject

from dimsetls import testing
from dimsetls.association.acceptor import AcceptorFactory
from dimsetls.association.admission import ApplicationEntity
from dimsetls.association.requestor import associate
from dimsetls.services.verification import Verification
from dimsetls.testing import SOCKET_BUFFER, DevelopmentAuthority, Link, Peer, tamper, tls_endpoints
from dimsetls.ul.pdus import Abort, ReleaseRQ


class Talker(Protocol):
    """Keeps what happens to it."""

    def __init__(self) -> None:
        self.received = b""
        self.paused = 0
        self.reason: Failure | None = None

    def connectionMade(self) -> None:
        self.transport.registerProducer(self, True)

    def dataReceived(self, data: bytes) -> None:
        self.received += data

    def connectionLost(self, reason: Failure) -> None:
        self.reason = reason

    def pauseProducing(self) -> None:
        self.paused += 1

    def resumeProducing(self) -> None:
        self.paused = 0

    def stopProducing(self) -> None:
        pass


def talkers(link: Link) -> tuple[Talker, Talker]:
    """A client and a server, connected."""
    client, server = Talker(), Talker()
    link.listen(Factory.forProtocol(lambda: server))
    link.connect(Factory.forProtocol(lambda: client))
    return client, server


def failures(deferred: Deferred[object]) -> list[Failure]:
    found: list[Failure] = []
    deferred.addErrback(found.append)
    return found


def test_the_example_in_its_documentation_is_true():
    results = doctest.testmod(testing)
    assert results.attempted > 5
    assert results.failed == 0


def test_it_provides_what_twisted_expects():
    link = Link()
    assert verifyObject(IStreamServerEndpoint, link)
    assert verifyObject(IStreamClientEndpoint, link)
    ports: list[object] = []
    link.listen(Factory.forProtocol(Talker)).addCallback(ports.append)
    assert verifyObject(IListeningPort, ports[0])
    link.connect(Factory.forProtocol(Talker))
    assert verifyObject(ITransport, link.ends[0])


def test_bytes_move_only_when_pumped_and_in_order():
    link = Link()
    client, server = talkers(link)
    client.transport.write(b"one ")
    client.transport.writeSequence([b"two ", b"three"])
    server.transport.write(b"answer")
    assert (client.received, server.received) == (b"", b"")
    link.pump()
    assert (client.received, server.received) == (b"answer", b"one two three")


def test_the_two_ends_have_each_others_addresses():
    link = Link()
    link.client_address = IPv4Address("TCP", "192.0.2.77", 1)
    client, server = talkers(link)
    assert server.transport.getPeer() == client.transport.getHost() == IPv4Address("TCP", "192.0.2.77", 1)
    assert client.transport.getPeer() == server.transport.getHost() == link.server_address


def test_an_end_that_does_not_read_fills_up_and_pauses_the_others_producer():
    link = Link()
    client, server = talkers(link)
    client.transport.pauseProducing()
    server.transport.write(bytes(SOCKET_BUFFER))
    link.pump()
    assert (client.received, server.paused) == (b"", 0)  # it fits
    for _ in range(5):
        server.transport.write(bytes(SOCKET_BUFFER))
        link.pump()
    assert server.paused
    client.transport.resumeProducing()
    link.pump()
    assert (len(client.received), server.paused) == (6 * SOCKET_BUFFER, 0)


def reasons(client: Talker, server: Talker) -> list[type]:
    return [type(side.reason.value) if side.reason else None for side in (client, server)]


def test_a_fin_comes_after_the_last_byte_to_both():
    link = Link()
    client, server = talkers(link)
    client.transport.write(b"last")
    client.transport.unregisterProducer()
    client.transport.loseConnection()
    link.pump()
    assert server.received == b"last"
    assert reasons(client, server) == [ConnectionDone, ConnectionDone]
    assert link.ends == []


def test_an_rst_drops_what_was_not_sent():
    link = Link()
    client, server = talkers(link)
    client.transport.write(b"lost")
    client.transport.abortConnection()
    client.transport.abortConnection()
    link.pump()
    assert server.received == b""
    assert reasons(client, server) == [ConnectionAborted, ConnectionLost]
    assert (link.ends, link.getDelayedCalls()) == ([], [])


def test_writing_to_an_end_that_is_gone_fails():
    link = Link()
    client, server = talkers(link)
    server.transport.pauseProducing()  # it never sees the FIN
    client.transport.unregisterProducer()
    client.transport.loseConnection()
    link.pump()
    server.transport.write(b"nobody listens")
    link.pump()
    assert reasons(client, server) == [ConnectionDone, ConnectionLost]


def test_a_connection_that_nobody_accepts_is_refused():
    link = Link()
    [failure] = failures(link.connect(Factory.forProtocol(Talker)))
    assert failure.check(ConnectError)
    link.listen(Factory.forProtocol(Talker)).addCallback(lambda port: port.stopListening())
    assert len(failures(link.connect(Factory.forProtocol(Talker)))) == 1


def test_calls_come_when_they_are_due_and_what_they_cause_happens():
    link = Link()
    client, server = talkers(link)
    link.callLater(0, client.transport.write, b"now")
    link.callLater(5, client.transport.write, b" later")
    link.pump()
    assert server.received == b"now"
    link.advance(4.9)
    assert server.received == b"now"
    link.advance(0.1)
    assert server.received == b"now later"
    link.pump([1.0, 1.0])
    assert link.seconds() == 7.0


def test_tampering_changes_one_bit():
    before = bytes(range(10))
    after = tamper(before)
    assert [a ^ b for a, b in zip(before, after, strict=True)] == [0] * 9 + [1]
    assert tamper(b"") == b""


def test_what_is_on_the_way_can_be_altered():
    link = Link()
    client, server = talkers(link)
    client.transport.on_the_way = tamper
    client.transport.write(b"abc")
    server.transport.write(b"abc")
    link.pump()
    assert (client.received, server.received) == (b"abc", b"abb")


def listening(link: Link) -> AcceptorFactory:
    return AcceptorFactory(ApplicationEntity("DIMSETLS", Verification()), clock=link, observers=())


def test_a_peer_gets_whole_pdus_and_keeps_the_rest():
    link = Link()
    link.listen(Factory.forProtocol(Talker))
    peer = Peer.connect(link)
    peer.dataReceived(b"\x07\x00\x00\x00\x00\x04\x00\x00\x02")
    assert peer.received == []
    peer.dataReceived(b"\x01" + b"\x05\x00\x00\x00\x00\x04\x00\x00\x00\x00" + b"\x07")
    assert peer.received == [Abort(2, 1), ReleaseRQ()]


def test_a_peer_trickles_until_it_is_no_longer_wanted():
    link = Link()
    link.listen(listening(link))
    peer = Peer.connect(link)
    assert peer.trickle(bytes((1, 0, 0, 0, 0, 200)) + bytes(200), 1.0) == []
    assert peer.lost is not None
    assert link.seconds() == 30.0


@pytest.mark.parametrize("over_tls", [False, True])
def test_our_requestor_and_acceptor_meet_on_a_link(over_tls):
    link = Link()
    serving, calling = tls_endpoints(link, DevelopmentAuthority()) if over_tls else (link, link)
    serving.listen(listening(link))
    statuses = []

    async def echo() -> None:
        asked = associate(calling, calling_ae_title="PEER", called_ae_title="DIMSETLS", clock=link)
        async with await asked as association:
            assert (association.parties.tls is not None) is over_tls
            statuses.append(await association.echo())

    done = Deferred.fromCoroutine(echo())
    link.pump()
    assert done.called
    assert failures(done) == []
    assert statuses == [0]
    assert link.getDelayedCalls() == []
