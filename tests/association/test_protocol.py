"""The transport and the timers: a deadline counts from the start of its phase, and no end leaves anything behind."""

from __future__ import annotations

import socket

import pytest
from twisted.internet.address import IPv4Address, IPv6Address, UNIXAddress
from twisted.internet.defer import Deferred
from twisted.internet.error import ConnectionDone, ConnectionLost
from twisted.python.failure import Failure

from dimsetls.association.acceptor import AcceptorFactory
from dimsetls.association.admission import ApplicationEntity
from dimsetls.association.events import AssociationEnded, AssociationRefused, AssociationStarted, ConnectionFailed
from dimsetls.association.protocol import LINGER_AFTER_EXPIRY, Timeouts
from dimsetls.association.timers import LOOKS
from dimsetls.services.verification import Verification
from dimsetls.testing import ClientConnectionCreator, End, Link, Peer, profile, tamper
from dimsetls.tls.endpoints import DicomTLSClientEndpoint
from dimsetls.ul.pdus import Abort, AssociateRJ, ReleaseRP, ReleaseRQ
from dimsetls.ul.writer import write_pdu

from .stage import Services, Stage, data_set, echo, open_fragment, request, statuses, store, store_command

T = Timeouts(tls_handshake=10.0, artim=30.0, idle=300.0, pdu=60.0, write=60.0)
LATE = 1 + 1 / LOOKS
"""A phase that lasts too long ends at most this much late."""


class Never(Services):
    """Handlers that wait for what the test does."""

    def __init__(self) -> None:
        self.waiting: list[Deferred[int]] = []
        super().__init__(self._wait)

    async def _wait(self, request: object) -> int:
        self.waiting.append(Deferred())
        return await self.waiting[-1]


# TLS handshake -------------------------------------------------------------------------------------------------


def test_a_silent_peer_has_until_the_handshake_deadline(authority):
    stage = Stage(tls=authority, timeouts=T)
    peer = Peer.connect(stage.link)  # TCP, and then nothing
    stage.link.advance(9.9)
    assert peer.lost is None
    stage.link.advance(0.1)
    assert peer.lost is not None
    assert stage.told(ConnectionFailed).fault.name == "silent-peer"
    assert stage.is_quiet


def test_a_trickled_handshake_gains_no_time(authority):
    stage = Stage(tls=authority, timeouts=T)
    peer = Peer.connect(stage.link)
    hello = b"\x16\x03\x01\x02\x00" + bytes(512)  # the record says that 512 bytes follow
    peer.trickle(hello[:200], 0.5)
    assert peer.lost is not None
    assert stage.link.seconds() == 10.0
    assert stage.told(ConnectionFailed).fault.name == "handshake-timeout"
    assert stage.is_quiet


def test_the_handshake_deadline_ends_with_the_handshake(authority):
    stage = Stage(tls=authority, timeouts=T)
    peer = stage.peer()
    stage.link.advance(29.9)
    assert peer.lost is None  # ARTIM, from the end of the handshake, has not run out yet
    stage.link.advance(0.1 + LINGER_AFTER_EXPIRY)
    assert peer.lost is not None


# ARTIM ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("over_tls", [False, True])
def test_artim_covers_a_trickled_request(authority, over_tls):
    stage = Stage(tls=authority if over_tls else None, timeouts=T)
    peer = stage.peer()
    peer.trickle(write_pdu(request()), 0.2)
    stage.link.advance(LINGER_AFTER_EXPIRY)
    assert peer.lost is not None
    assert peer.received == []  # AA-2 closes without an A-ABORT
    assert 30.0 <= stage.link.seconds() <= 30.0 + LINGER_AFTER_EXPIRY + 0.5
    sentence = "no complete A-ASSOCIATE-RQ came within 30 s (ARTIM); the connection is closed"
    assert stage.told(AssociationRefused).sentence == sentence
    assert stage.is_quiet


def test_a_request_just_in_time_is_accepted():
    stage = Stage(timeouts=T)
    wire = write_pdu(request())
    peer = stage.peer()
    peer.send(wire[:-1])
    stage.link.advance(29.9)
    peer.send(wire[-1:])
    assert stage.kinds == ["AssociationStarted"]
    stage.link.advance(200)
    assert peer.lost is None  # ARTIM is no deadline of an association


def reject(stage: Stage) -> Peer:
    peer = stage.peer()
    assert peer.send(request(called="OTHER")) == [AssociateRJ(1, 1, 7)]
    return peer


def release(stage: Stage) -> Peer:
    peer = stage.associated()
    assert peer.send(ReleaseRQ()) == [ReleaseRP()]
    return peer


def violate(stage: Stage) -> Peer:
    peer = stage.associated()
    assert peer.send(b"\xff") == [Abort(2, 1)]
    return peer


def violate_at_once(stage: Stage) -> Peer:
    peer = stage.peer()
    assert peer.send(b"\xff") == [Abort(0, 0)]
    return peer


@pytest.mark.parametrize("over_tls", [False, True])
@pytest.mark.parametrize("end", [reject, release, violate, violate_at_once])
def test_a_peer_that_does_not_close_after_our_last_pdu_is_closed_by_artim(authority, end, over_tls):
    stage = Stage(tls=authority if over_tls else None, timeouts=T)
    peer = end(stage)
    stage.link.advance(29.9)
    assert peer.lost is None
    stage.link.advance(0.1 + LINGER_AFTER_EXPIRY)
    assert peer.lost is not None
    assert stage.is_quiet


@pytest.mark.parametrize("end", [reject, release, violate, violate_at_once])
def test_a_peer_that_does_not_even_answer_close_notify_is_cut_off(authority, end):
    stage = Stage(tls=authority, timeouts=T)
    peer = end(stage)
    peer.end.pauseProducing()
    stage.link.advance(30.0)
    server = peer.end.other
    assert server.connected
    stage.link.advance(LINGER_AFTER_EXPIRY)
    assert not server.connected
    assert isinstance(peer.end._closed, ConnectionLost)  # an RST: nobody waits for this peer any longer
    assert stage.link.getDelayedCalls() == []
    assert stage.factory.count.total == 0


def test_what_comes_after_our_last_pdu_does_not_prolong_artim():
    stage = Stage(timeouts=T)
    peer = reject(stage)
    for _ in range(40):
        if peer.lost is None:
            peer.send(echo())
            stage.link.advance(1.0)
    assert peer.lost is not None
    assert stage.link.seconds() == 30.0
    assert stage.is_quiet


@pytest.mark.parametrize("over_tls", [False, True])
def test_after_the_peers_abort_the_transport_is_closed_at_once(authority, over_tls):
    stage = Stage(tls=authority if over_tls else None, timeouts=T)
    peer = stage.associated()
    peer.send(Abort(0, 0))
    assert not over_tls or peer.lost is not None
    peer.close()
    assert stage.is_quiet


def test_after_the_peers_abort_a_peer_that_ignores_close_notify_is_cut_off_in_the_end(authority):
    stage = Stage(tls=authority, timeouts=T)
    peer = stage.associated()
    server = peer.end.other
    peer.end.pauseProducing()
    peer.send(Abort(0, 0))
    assert server.connected
    stage.link.advance(T.artim)
    assert not server.connected


# Idle ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("over_tls", [False, True])
def test_an_idle_association_is_aborted(authority, over_tls):
    stage = Stage(tls=authority if over_tls else None, timeouts=T)
    peer = stage.associated()
    stage.link.advance(299)
    assert statuses(peer.send(echo())) == [(1, 0)]
    stage.link.pump([0.5] * 599)
    assert peer.received[-1] != Abort(0, 0)
    stage.link.pump([0.5] * (1 + 2 * 300 // LOOKS))
    assert peer.received[-1] == Abort(0, 0)
    peer.close()
    ended = stage.told(AssociationEnded)
    assert (ended.outcome, ended.detail) == ("expired", "nothing came on the association for 300 s")
    assert stage.is_quiet


def test_an_association_is_not_idle_while_a_handler_works():
    services = Never()
    stage = Stage(services, timeouts=T)
    peer = stage.associated()
    peer.send(echo(9))
    stage.link.pump([10] * 100)
    assert peer.lost is None
    before = len(peer.received)
    services.waiting[0].callback(0)
    stage.link.pump()
    assert statuses(peer.received[before:]) == [(9, 0)]
    stage.link.pump([10] * 29)
    assert peer.received[-1] != Abort(0, 0)
    stage.link.pump([10] * 10)
    assert peer.received[-1] == Abort(0, 0)


def test_an_association_is_not_idle_while_we_make_the_peer_wait():
    services = Never()
    stage = Stage(services, timeouts=T)
    peer = stage.associated()
    data = bytes(1 << 20)
    peer.send(store(data))  # far more than is held for a handler that does not read
    stage.link.pump([10] * 100)
    assert peer.received[-1] != Abort(0, 0)
    services.waiting[0].callback(0)
    before = len(peer.received)
    stage.link.pump()
    assert statuses(peer.received[before:]) == [(1, 0)]


def test_a_message_that_the_peer_does_not_go_on_with_is_idleness_though_a_handler_waits():
    stage = Stage(timeouts=T)
    peer = stage.associated()
    peer.send(store_command())
    stage.link.pump([10] * 40)
    assert peer.received[-1] == Abort(0, 0)


# A PDU that does not end -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("begun", [b"\x04", b"\x04\x00\x00\x00\x40", open_fragment(16384), open_fragment(16384) + b"x"])
def test_a_byte_now_and_then_does_not_prolong_a_half_received_pdu(begun):
    stage = Stage(timeouts=T)
    peer = stage.associated()
    peer.send(store_command() + begun)
    came = peer.trickle((open_fragment(16384)[len(begun):] if len(begun) < 12 else b"") + bytes(100), 1.0)
    assert came == [Abort(0, 0)]
    assert 60 <= stage.link.seconds() <= 60 * LATE + 100  # the rest of the 100 bytes is trickled in vain
    peer.close()
    ended = stage.told(AssociationEnded)
    assert (ended.outcome, ended.detail) == ("expired", "a PDU was not complete within 60 s of its first byte")
    assert ended.seconds >= 60
    assert stage.is_quiet


def test_a_half_received_pdu_expires_at_most_an_eighth_late():
    stage = Stage(timeouts=T)
    peer = stage.associated()
    peer.send(b"\x04\x00")
    stage.link.advance(59.9)
    assert peer.received[-1] != Abort(0, 0)
    stage.link.pump([0.1] * 80)
    assert peer.received[-1] == Abort(0, 0)


def test_a_slow_peer_whose_pdus_are_each_in_time_goes_on():
    stage = Stage(timeouts=T)
    peer = stage.associated()
    peer.send(store_command())
    for _ in range(10):
        pdu = open_fragment(8) + b"12345678"
        peer.send(pdu[:10])
        stage.link.pump([1] * 40)
        peer.send(pdu[10:])
    assert statuses(peer.send(data_set(b"last"))) == [(1, 0)]
    assert stage.services.data == [b"12345678" * 10 + b"last"]


# A peer that does not read ---------------------------------------------------------------------------------------


def output(end: End) -> int:
    """Bytes that wait to be sent."""
    return len(end.dataBuffer) - end.offset + end._tempDataLen


@pytest.mark.parametrize("over_tls", [False, True])
def test_a_peer_that_takes_no_answers_is_not_read_from_and_then_aborted(authority, over_tls):
    stage = Stage(tls=authority if over_tls else None, timeouts=T)
    peer = stage.associated()
    server = peer.end.other
    peer.end.pauseProducing()
    while server.is_reading:
        peer.send(echo() * 100)
    performed, waiting = len(stage.services.requests), output(server)
    assert 0 < waiting < 256 * 1024  # what is full, and what one more read caused
    for _ in range(59):
        peer.send(echo() * 100)
        stage.link.advance(1.0)
    assert (len(stage.services.requests), output(server)) == (performed, waiting)
    assert server.connected
    stage.link.pump([0.5] * (2 + 2 * 60 // LOOKS))
    assert not server.connected
    ended = stage.told(AssociationEnded)
    assert (ended.outcome, ended.detail) == ("expired", "the peer took nothing of our output for 60 s")
    assert stage.link.getDelayedCalls() == []
    assert stage.factory.count.total == 0


def test_a_peer_that_takes_no_answers_and_goes_leaves_no_timer():
    stage = Stage(timeouts=T)
    peer = stage.associated()
    peer.end.pauseProducing()
    while peer.end.other.is_reading:
        peer.send(echo() * 100)
    peer.end.abortConnection()
    stage.link.pump()
    assert stage.kinds == ["AssociationStarted", "AssociationEnded"]
    assert stage.is_quiet


def test_a_peer_that_takes_no_answers_is_still_closed_in_order_if_it_does_in_the_end(authority):
    stage = Stage(tls=authority, timeouts=T)
    peer = stage.associated()
    peer.end.pauseProducing()
    while peer.end.other.is_reading:
        peer.send(echo() * 100)
    stage.factory.abort_all("the service stops")
    stage.link.advance(T.artim)  # our close_notify waits behind the answers
    assert peer.end.other.connected
    peer.end.resumeProducing()
    stage.link.pump()
    assert peer.received[-1] == Abort(0, 0)
    assert stage.is_quiet


def test_a_peer_that_we_made_wait_may_still_close():
    stage = Stage(Never(), timeouts=T)
    peer = stage.associated()
    peer.send(store(bytes(2 << 20)))
    assert not peer.end.other.is_reading
    stage.factory.abort_all("the service stops")
    peer.close()
    assert stage.is_quiet


def test_a_peer_that_reads_again_in_time_gets_every_answer():
    stage = Stage(timeouts=T)
    peer = stage.associated()
    peer.end.pauseProducing()
    peer.send(b"".join(echo(number) for number in range(3000)))
    stage.link.pump([1.0] * 50)
    assert len(stage.services.requests) < 3000
    before = len(peer.received)
    peer.end.resumeProducing()
    stage.link.pump([1.0] * 50)
    assert statuses(peer.received[before:]) == [(number, 0) for number in range(3000)]
    assert peer.lost is None


# Ends that nobody asked for ----------------------------------------------------------------------------------------


def test_what_ends_tls_reaches_the_association_as_provider_abort_with_its_reason(authority):
    def alter(peer: Peer) -> None:
        peer.end.on_the_way = tamper
        peer.send(echo())

    def disconnect(peer: Peer) -> None:
        peer.end.abortConnection()
        peer._link.pump()

    for end, name, reason in (
        (alter, "provider-aborted", 0x214), (Peer.cut, "provider-aborted", 0x401),
        (disconnect, "provider-aborted", 0x401), (Peer.close, "provider-aborted", 0x404),
    ):  # fmt: skip
        stage = Stage(tls=authority)
        end(stage.associated())
        ended = stage.told(AssociationEnded)
        assert (ended.outcome, ended.provider_reason) == (name, reason)
        assert ended.detail.endswith(".")
        assert stage.is_quiet


@pytest.mark.parametrize("end", [Peer.close, Peer.cut, lambda peer: peer.end.abortConnection()])
def test_a_plain_connection_that_is_lost_is_a_provider_abort_too(end):
    stage = Stage()
    end(stage.associated())
    stage.link.pump()
    ended = stage.told(AssociationEnded)
    assert (ended.outcome, ended.provider_reason) == ("provider-aborted", 0x102)
    assert stage.is_quiet


def test_after_a_failed_record_no_pdu_is_sent(authority):
    stage = Stage(tls=authority)
    peer = stage.associated()
    before = len(peer.received)
    peer.end.on_the_way = tamper
    assert peer.send(echo()) == []
    assert len(peer.received) == before
    assert peer.lost is not None


@pytest.mark.parametrize(("said", "name"), [
    (write_pdu(request()), "plaintext-dicom"),
    (b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n", "http"),
    (b"SSH-2.0-OpenSSH_9.2\r\n", "not-tls"),
])  # fmt: skip
def test_a_peer_that_speaks_no_tls_is_told_so_and_nothing_else_happens(authority, said, name):
    stage = Stage(tls=authority)
    peer = Peer.connect(stage.link)
    peer.dataReceived = lambda data: None  # an alert
    peer.send(said)
    assert stage.told(ConnectionFailed).fault.name == name
    assert stage.kinds == ["ConnectionFailed"]
    peer.close()
    assert stage.is_quiet


def test_a_peer_without_a_certificate_fails_before_there_is_an_association(authority):
    stage = Stage(tls=authority)
    creator = ClientConnectionCreator(profile("bcp195-rfc9325"), authority.trust_roots, None, server_name="localhost")
    peer = Peer.connect(stage.link, DicomTLSClientEndpoint(stage.link, creator))
    assert peer.lost is not None
    failed = stage.told(ConnectionFailed)
    assert failed.fault.name in ("no-client-certificate", "certificate-required")
    assert (failed.parties.peer, failed.parties.tls) == ("192.0.2.1:50000", None)
    assert stage.kinds == ["ConnectionFailed"]


@pytest.mark.parametrize("over_tls", [False, True])
def test_a_connection_that_is_closed_without_a_word_is_told_once(authority, over_tls):
    stage = Stage(tls=authority if over_tls else None)
    peer = stage.peer()
    peer.close()
    assert stage.kinds == ["ConnectionFailed"]
    assert stage.is_quiet


def test_the_session_has_the_facts_of_the_tls_connection(authority):
    stage = Stage(tls=authority)
    stage.associated()
    parties = stage.told(AssociationStarted).parties
    assert parties.tls is not None
    assert (parties.tls.version, parties.tls.alpn) == ("TLSv1.3", "dicom")
    assert "development client" in parties.certificate


# Addresses and sockets -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("address", "peer"), [
    (IPv4Address("TCP", "192.0.2.7", 1024), "192.0.2.7:1024"),
    (IPv6Address("TCP", "2001:db8::7", 1024), "[2001:db8::7]:1024"),
    (UNIXAddress(None), "unix"),
])  # fmt: skip
def test_the_peer_as_text(address, peer):
    stage = Stage()
    stage.link.client_address = address
    stage.associated()
    assert stage.told(AssociationStarted).parties.peer == peer


def test_the_socket_below_any_wrappers_gets_no_delay():
    """The one thing that a memory transport has not: a real socket, under a wrapper as TLS or PROXY put there."""
    factory = AcceptorFactory(ApplicationEntity("DIMSETLS", Verification()), clock=Link())
    listener, client = socket.create_server(("127.0.0.1", 0)), socket.socket()
    client.connect(listener.getsockname())
    accepted, _ = listener.accept()

    class Below:
        def getHandle(self) -> socket.socket:
            return accepted

    class Above(Below):
        transport = Below()

        def getHandle(self) -> None:
            return None

        def getPeer(self) -> IPv4Address:
            return IPv4Address("TCP", "127.0.0.1", 1)

        def registerProducer(self, producer: object, streaming: bool) -> None:
            pass

    with listener, client, accepted:
        protocol = factory.buildProtocol(None)
        protocol.makeConnection(Above())
        assert accepted.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
        protocol.dataReceived(b"")  # TCP_QUICKACK, which a socket forgets and so cannot be asked for
        protocol.connectionLost(Failure(ConnectionDone()))
