"""What the two transports promise alike, on a wire in memory; and what ours does besides, on sockets.

That failures are told in the same words is for tests/tls/test_failures.py and tests/association, with
`--tls-transport=stream` and `memory`.
"""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from OpenSSL import SSL
from twisted.internet.error import ConnectionAborted, ConnectionDone, ConnectionLost
from twisted.internet.interfaces import INegotiated, IOpenSSLClientConnectionCreator, ISystemHandle, ITransport
from twisted.internet.protocol import Factory
from twisted.internet.tcp import Connection
from twisted.internet.testing import MemoryReactorClock
from twisted.python.failure import Failure
from zope.interface import implementer
from zope.interface.verify import verifyObject

from dimsetls.testing import Link, tls_endpoints
from dimsetls.tls import endpoints
from dimsetls.tls.endpoints import DicomTLSFactory, Transport
from dimsetls.tls.policy import TLSVersion
from dimsetls.tls.transport import ITakesViews
from dimsetls.tls.transport_room import RECORD

from .conftest import User
from .provocations import Bench

MEGABYTE = bytes(range(256)) * 4096


class Meddler(User):
    """Does `when_made`, `when_secure` and `when_told` as these things happen to it."""

    when_made = when_secure = when_told = staticmethod(lambda user: None)

    def connectionMade(self) -> None:
        super().connectionMade()
        self.when_made(self)

    def handshakeCompleted(self) -> None:
        super().handshakeCompleted()
        self.when_secure(self)

    def dataReceived(self, data: bytes) -> None:
        super().dataReceived(data)
        self.when_told(self)


@implementer(ITakesViews)
class Borrower(User):
    """Keeps what it is given, as it is given it."""

    def __init__(self) -> None:
        super().__init__()
        self.pieces: list[Any] = []

    def dataReceived(self, data: Any) -> None:
        self.pieces.append(data)
        super().dataReceived(bytes(data))


class Producer:
    """Remembers what a transport asked it to do; `produce` is done when it is asked for more."""

    def __init__(self, produce: Callable[[], object] = lambda: None) -> None:
        self.asked: list[str] = []
        self._produce = produce

    def pauseProducing(self) -> None:
        self.asked.append("pause")

    def resumeProducing(self) -> None:
        self.asked.append("resume")
        self._produce()

    def stopProducing(self) -> None:
        self.asked.append("stop")


class Call:
    """A client that calls a server, over a link in memory; the link's ends can be full."""

    def __init__(self, authority: Any, transport: Transport, server: Any = None, client: Any = None) -> None:
        self.server, self.client = server or Meddler(), client or Meddler()
        self.link = Link()
        serving, calling = tls_endpoints(self.link, authority)
        serving._transport = calling._transport = transport
        serving.listen(Factory.forProtocol(lambda: self.server))
        calling.connect(Factory.forProtocol(lambda: self.client))
        self.client_end, self.server_end = self.link.ends

    def pump(self) -> Call:
        self.link.pump()
        return self

    @property
    def faults(self) -> list[str]:
        """Of client and server."""
        return [user.fault.name for user in (self.client, self.server)]


@pytest.fixture(params=list(Transport))
def transport(request: pytest.FixtureRequest) -> Transport:
    return request.param


@pytest.fixture
def call(authority, transport) -> Callable[..., Call]:
    return lambda **users: Call(authority, transport, **users)


@pytest.fixture
def ours(authority) -> Callable[..., Call]:
    return lambda **users: Call(authority, Transport.STREAM, **users)


# Both -----------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [1, RECORD, RECORD + 1, 10 * RECORD + 7, len(MEGABYTE)])
def test_what_is_written_arrives_both_ways(call, size):
    made = call().pump()
    made.client.transport.write(MEGABYTE[:size])
    made.server.transport.writeSequence([MEGABYTE[: size // 2], MEGABYTE[size // 2 : size]])
    made.pump()
    assert made.server.received == made.client.received == MEGABYTE[:size]


def test_what_is_written_before_the_handshake_is_complete_arrives_in_order(call):
    client = Meddler()
    client.when_made = lambda user: user.transport.writeSequence([b"one ", b"two "])
    made = call(client=client).pump()
    made.client.transport.write(b"three")
    assert made.pump().server.received == b"one two three"


def test_an_end_in_order_is_told_as_such_and_what_was_written_before_it_arrives(call):
    made = call().pump()
    made.client.transport.write(MEGABYTE)
    made.client.transport.loseConnection()
    made.client.transport.write(b"and this too late")
    made.pump()
    assert made.server.received == MEGABYTE
    assert made.faults == ["closed-unreleased", "closed-unreleased"]


def test_what_comes_after_our_close_notify_is_still_received(call):
    made = call().pump()
    made.client_end.pauseProducing()
    made.server.transport.write(b"on the way")
    made.pump()
    made.client.transport.loseConnection()
    made.client_end.resumeProducing()
    assert made.pump().client.received == b"on the way"
    assert made.faults == ["closed-unreleased", "closed-unreleased"]


@pytest.mark.parametrize("is_up", [False, True])
def test_an_end_without_close_notify_is_a_loss(call, is_up):
    made = call()
    if is_up:
        made.pump()
    made.client_end.loseConnection()
    assert made.pump().faults == ["truncated" if is_up else "closed-in-handshake"] * 2


def test_closing_before_the_handshake_is_complete_breaks_off(call):
    made = call()
    made.client.transport.loseConnection()
    made.pump()
    assert made.server.session is None
    assert made.server.reason.check(ConnectionLost)


def test_closing_before_the_handshake_is_complete_waits_for_what_was_written(call):
    client = Meddler()
    client.when_made = lambda user: (user.transport.write(b"farewell"), user.transport.loseConnection())
    made = call(client=client).pump()
    assert made.server.received == b"farewell"
    assert made.faults == ["closed-unreleased", "closed-unreleased"]


def test_a_protocol_may_break_off_wherever_it_is_called(call):
    for moment in ("when_made", "when_secure", "when_told"):
        server = Meddler()
        setattr(server, moment, lambda user: user.transport.abortConnection())
        made = call(server=server).pump()
        made.client.transport.write(b"x")
        made.pump()
        assert made.client.reason.check(ConnectionLost), moment
        assert made.server.reason is not None
        assert made.server.received in (b"", b"x")
        assert not made.link.ends


def test_a_protocol_may_close_wherever_it_is_called(call):
    for moment in ("when_secure", "when_told"):
        server = Meddler()
        setattr(server, moment, lambda user: (user.transport.write(b"bye"), user.transport.loseConnection()))
        made = call(server=server).pump()
        made.client.transport.write(b"x")
        made.pump()
        assert made.client.received == b"bye", moment
        assert made.faults == ["closed-unreleased", "closed-unreleased"]


def test_a_reason_of_the_protocols_own_is_what_it_is_told(call):
    """As Twisted's own connection creators do it, in a callback of OpenSSL's."""
    made = call().pump()
    made.server.transport.failVerification(Failure(ZeroDivisionError()))
    made.pump()
    assert made.client.fault.name == "truncated"
    assert made.server.reason.check(ZeroDivisionError)


def test_a_producer_waits_while_the_network_takes_nothing(call):
    made = call().pump()
    producer = Producer()
    made.client.transport.registerProducer(producer, True)
    made.server_end.pauseProducing()
    made.client.transport.write(MEGABYTE)
    made.pump()
    assert set(producer.asked) == {"pause"}
    made.server_end.resumeProducing()
    made.pump()
    assert producer.asked[-1] == "resume"
    assert made.server.received == MEGABYTE


def test_the_end_waits_for_the_producer(call):
    made = call().pump()
    made.client.transport.registerProducer(Producer(), True)
    made.client.transport.loseConnection()
    made.client.transport.write(b"more")
    made.pump()
    assert made.client.reason is made.server.reason is None
    made.client.transport.unregisterProducer()
    made.pump()
    assert made.server.received == b"more"
    assert made.faults == ["closed-unreleased", "closed-unreleased"]


def test_a_producer_hears_of_the_end(call):
    made = call().pump()
    producer = Producer()
    made.client.transport.registerProducer(producer, True)
    made.server.transport.abortConnection()
    made.pump()
    assert producer.asked == ["stop"]


def test_a_producer_that_comes_too_late_is_stopped(call):
    made = call().pump()
    made.server.transport.write(b"x")
    late = Producer()
    made.client.when_told = lambda user: user.transport.abortConnection() or user.transport.registerProducer(late, True)
    made.pump()
    assert late.asked == ["stop"]


def test_there_is_one_producer_at_a_time(call):
    made = call().pump()
    made.client.transport.registerProducer(Producer(), True)
    with pytest.raises(RuntimeError, match="never unregistered"):
        made.client.transport.registerProducer(Producer(), True)


@pytest.mark.parametrize("name", list(Transport))
def test_what_is_written_while_new_keys_are_agreed_waits_for_them(link_between, authority, stranger, monkeypatch, name):
    """Contexts of ours never renegotiate; those of an embedder may."""
    monkeypatch.setattr(endpoints, "DEFAULT_TRANSPORT", name)
    bench = Bench(TLSVersion.TLS_1_2, link_between, authority, stranger)
    wire = bench.link(bench.raw_server(lambda context: None), bench.raw_client(lambda context: None)).pump()
    connection = wire.server.getHandle()
    assert connection.renegotiate()
    connection.do_handshake()  # asks the client for a ClientHello
    for word in (b"first ", b"second"):
        wire.server_user.transport.write(word)
        wire.pump()
    assert wire.client_user.received == b"first second"
    assert connection.total_renegotiations() == 1


def test_a_refusal_is_told_to_the_peer_before_the_end(authority, stranger, transport):
    made = Call(authority, transport)
    mistrusting = tls_endpoints(made.link, stranger)[1]
    mistrusting._transport = transport
    made.client = User()
    mistrusting.connect(Factory.forProtocol(lambda: made.client))
    made.pump()
    assert made.faults == ["self-signed", "peer-unknown-ca"]


# Ours -----------------------------------------------------------------------------------------------------------------


def test_many_records_are_handed_on_in_one_piece(ours):
    made = ours(server=Borrower()).pump()
    made.client.transport.write(MEGABYTE[: 3 * RECORD])
    made.pump()
    assert [len(piece) for piece in made.server.pieces] == [3 * RECORD]


def test_views_are_for_those_who_take_them(ours):
    made = ours(server=Borrower()).pump()
    made.client.transport.write(b"seen")
    made.server.transport.write(b"heard")
    made.pump()
    assert isinstance(made.server.pieces[0], memoryview)
    assert type(made.client.received) is bytes
    assert (made.server.received, made.client.received) == (b"seen", b"heard")


def test_a_view_is_lent_for_the_time_of_the_call(ours):
    """Or a store would be full of other instances' pixels: whoever keeps one sees it change."""
    made = ours(server=Borrower()).pump()
    for word in (b"first", b"other"):
        made.client.transport.write(word)
        made.pump()
    assert bytes(made.server.pieces[0]) == b"other"
    assert made.server.received == b"firstother"


def test_two_connections_that_are_read_at_once_do_not_share_their_room(ours):
    inner = ours(server=Borrower()).pump()
    inner.client.transport.write(b"inner")
    seen = []

    @implementer(ITakesViews)
    class Outer(User):
        def dataReceived(self, data: Any) -> None:
            inner.pump()
            seen.append(bytes(data))

    outer = ours(server=Outer()).pump()
    outer.client.transport.write(b"outer")
    outer.pump()
    assert (seen, inner.server.received) == ([b"outer"], b"inner")


def test_a_producer_that_is_to_be_asked_is_asked_until_it_has_no_more(ours):
    made = ours()
    pieces = [MEGABYTE[at : at + 100_000] for at in range(0, len(MEGABYTE), 100_000)]

    def produce() -> None:
        if pieces:
            made.client.transport.write(pieces.pop(0))
        else:
            made.client.transport.unregisterProducer()

    made.client.transport.registerProducer(Producer(produce), False)
    assert made.pump().server.received == MEGABYTE
    assert pieces == []


def test_an_answer_takes_the_last_words_of_the_handshake_with_it(ours, monkeypatch):
    """The tickets of TLS 1.3, where a request comes with the end of the client's handshake."""
    server, client = Meddler(), Meddler()
    client.when_secure = lambda user: user.transport.write(b"question")
    server.when_told = lambda user: user.transport.write(b"answer")
    made = ours(server=server, client=client)
    written, write = [], made.server_end.write
    monkeypatch.setattr(made.server_end, "write", lambda data: written.append(data) or write(data))
    made.pump()
    assert client.received == b"answer"
    assert len(written) == 2


def test_after_breaking_off_nothing_goes_out_not_even_a_close_notify(ours):
    made = ours().pump()
    said = []
    made.client_end.on_the_way = lambda data: said.append(data) or data
    made.client.transport.abortConnection()
    made.client.transport.write(b"late")
    made.pump()
    assert said == []
    assert made.client.reason.check(ConnectionAborted)
    assert made.faults == ["aborted-locally", "truncated"]


# On sockets -----------------------------------------------------------------------------------------------------------


class Sockets:
    """Two TCP transports of Twisted with TLS on top, of which a test calls what a reactor would call."""

    def __init__(self, link: Any, server: Any, client: Any) -> None:
        made = link()
        self.users = server, client
        self.ends = []
        for end, user, creator, is_client in zip(
            socket.socketpair(), self.users, (made.server_creator, made.client_creator), (False, True), strict=True
        ):
            below = DicomTLSFactory(creator, is_client, Factory.forProtocol(lambda user=user: user), Transport.STREAM)
            protocol = below.buildProtocol(None)
            transport = Connection(end, protocol, MemoryReactorClock())
            transport.connected = 1
            self.ends.append(transport)
            transport.startReading()
            protocol.makeConnection(transport)
        self.server, self.client = self.ends

    def read(self, end: Any) -> None:
        if end in end.reactor.readers and (why := end.doRead()):
            end.connectionLost(Failure(why))

    def write(self, end: Any) -> None:
        if end in end.reactor.writers and (why := end.doWrite()):
            end.connectionLost(Failure(why))

    def pump(self, turns: int = 200) -> Sockets:
        for _ in range(turns):
            for end in self.ends:
                if not end.disconnected:
                    self.read(end)
                if not end.disconnected:
                    self.write(end)
                end.reactor.advance(0)
        return self

    def close(self) -> None:
        for end in self.ends:
            if not end.disconnected:
                end.connectionLost(Failure(ConnectionDone()))


@pytest.fixture
def sockets(link) -> Iterator[Callable[..., Sockets]]:
    made = []

    def make(server: Any = None, client: Any = None) -> Sockets:
        made.append(Sockets(link, server or Meddler(), client or Meddler()))
        return made[-1].pump()

    yield make
    for each in made:
        each.close()


def test_an_answer_is_on_the_wire_before_the_reactor_turns(sockets):
    server = Meddler()
    server.when_told = lambda user: user.transport.write(b"answer")
    pair = sockets(server)
    client = pair.users[1]
    client.transport.write(b"question")
    pair.write(pair.client)
    pair.read(pair.server)
    pair.read(pair.client)
    assert client.received == b"answer"
    assert pair.server not in pair.server.reactor.writers


def test_what_is_written_behind_the_answer_is_gathered(sockets):
    server = Meddler()
    server.when_told = lambda user: [user.transport.write(b"%d " % number) for number in range(1000)]
    pair = sockets(server)
    client = pair.users[1]
    client.transport.write(b"question")
    pair.write(pair.client)
    pair.read(pair.server)
    pair.read(pair.client)
    assert client.received == b"0 "
    pair.write(pair.server)
    pair.read(pair.client)
    assert client.received == b"".join(b"%d " % number for number in range(1000))


def test_a_whole_pdu_goes_in_one_piece(sockets):
    pair = sockets()
    server, client = pair.users
    client.transport.write(b"question")
    pair.pump()
    server.transport.write(MEGABYTE[: 8 * RECORD])  # as long as what we announce
    taken = pair.client.getHandle().recv(1 << 20)
    assert len(taken) > 8 * RECORD
    assert pair.server not in pair.server.reactor.writers


def test_data_in_bulk_goes_at_once_and_then_lets_others_have_their_turn(sockets):
    pair = sockets()
    server, client = pair.users
    producer = Producer()
    server.transport.registerProducer(producer, True)
    client.transport.write(b"question")
    pair.pump()
    pdu, writes = bytearray(8 * RECORD), 0
    while producer.asked[-1:] != ["pause"]:
        for at in range(0, len(pdu), RECORD):
            pdu[at] = writes
        server.transport.write(memoryview(pdu))
        writes += 1
        assert writes < 50, "the others never have their turn"
        if pair.server not in pair.server.reactor.writers:
            pair.read(pair.client)
            pair.read(pair.client)  # one read is a little less than a PDU's records
            assert len(client.received) == writes * len(pdu)
    assert writes >= 4
    pair.pump()
    assert producer.asked[-1] == "resume"
    assert client.received[:: len(pdu)] == bytes(range(writes))


def test_a_peer_that_takes_nothing_stops_the_producer_until_it_takes_all(sockets):
    pair = sockets()
    server, client = pair.users
    producer = Producer()
    server.transport.registerProducer(producer, True)
    pair.client.pauseProducing()
    written = 0
    while producer.asked[-1:] != ["pause"]:
        server.transport.write(MEGABYTE)
        pair.write(pair.server)
        written += len(MEGABYTE)
        assert written < 50 * len(MEGABYTE), "the socket takes without end"
    pair.client.resumeProducing()
    pair.pump(1000)
    assert producer.asked[-1] == "resume"
    assert client.received == MEGABYTE * (written // len(MEGABYTE))


def test_writing_to_a_peer_that_is_gone_ends_the_connection(sockets):
    pair = sockets()
    server, client = pair.users
    client.transport.abortConnection()
    pair.client.reactor.advance(0)
    server.transport.write(b"hello?")
    server.transport.write(b"anybody?")
    pair.write(pair.server)
    assert server.reason.check(ConnectionLost)


def test_the_interfaces(sockets):
    transport = sockets().users[0].transport
    for interface in (ITransport, ISystemHandle, INegotiated):
        assert verifyObject(interface, transport)
    assert transport.negotiatedProtocol == b"dicom"
    assert transport.getPeerCertificate().to_cryptography() is not None
    assert isinstance(transport.getHandle(), SSL.Connection)
    assert isinstance(transport.getTcpKeepAlive(), bool)  # as all that TLS has no part in, it is the socket's


def test_a_connection_creator_of_somebody_elses_will_do(link):
    """One that makes plain connections of pyOpenSSL, with nothing of ours in them."""
    @implementer(IOpenSSLClientConnectionCreator)
    class Foreign:
        def clientConnectionForTLS(self, protocol: object) -> SSL.Connection:
            connection = SSL.Connection(SSL.Context(SSL.TLS_CLIENT_METHOD), None)
            connection.set_connect_state()
            return connection

    wire = type(link())(link().server_creator, Foreign()).pump()
    assert wire.server_user.fault.name == "certificate-required"
    assert wire.client_user.evidence is None
    assert "certificate required" in str(wire.client_user.reason.value)
