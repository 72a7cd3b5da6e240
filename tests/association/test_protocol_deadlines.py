"""Every deadline counts from the start of its phase and not from the last byte, and none outlives the connection."""

from __future__ import annotations

import pytest
from twisted.internet.error import ConnectionLost

from dimsetls.association.events import AssociationEnded, AssociationRefused, ConnectionFailed
from dimsetls.association.protocol import LINGER_AFTER_EXPIRY, Timeouts
from dimsetls.association.timers import LOOKS
from dimsetls.testing import End, Peer
from dimsetls.tls import endpoints
from dimsetls.tls.faults import TransportFault
from dimsetls.tls.transport import TLSTransport
from dimsetls.ul.pdus import Abort, AssociateRJ, ReleaseRP, ReleaseRQ
from dimsetls.ul.writer import write_pdu

from .stage import Manual, Stage, data_set, echo, open_fragment, request, statuses, store, store_command

T = Timeouts(tls_handshake=10.0, artim=30.0, idle=300.0, pdu=60.0, write=60.0)
LATE = 1 + 1 / LOOKS
"""A phase that lasts too long ends at most this much late."""


def says(condition: str, detail: str) -> str:
    return str(TransportFault.named(condition, detail=detail))


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
    [acceptor] = stage.factory._acceptors
    peer.end.pauseProducing()
    stage.link.advance(30.0)
    server = peer.end.other
    assert server.connected
    stage.link.advance(LINGER_AFTER_EXPIRY)
    assert not server.connected
    assert str(acceptor._protocol.cause) == says("close-timeout", "30 s")
    if end is release:
        ended = stage.told(AssociationEnded)
        assert (ended.outcome, ended.provider_reason) == ("released", 0x433)
        assert ended.detail == says("close-timeout", "30 s")
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
    assert (ended.outcome, ended.provider_reason, ended.detail) == ("expired", 0x432, says("idle-timeout", "300 s"))
    assert stage.is_quiet


def test_an_association_is_not_idle_while_a_handler_works():
    services = Manual()
    stage = Stage(services, timeouts=T)
    peer = stage.associated()
    peer.send(echo(9))
    stage.link.pump([10] * 100)
    assert peer.lost is None
    before = len(peer.received)
    services.finish[0].callback(0)
    stage.link.pump()
    assert statuses(peer.received[before:]) == [(9, 0)]
    stage.link.pump([10] * 29)
    assert peer.received[-1] != Abort(0, 0)
    stage.link.pump([10] * 10)
    assert peer.received[-1] == Abort(0, 0)


def test_an_association_is_not_idle_while_we_make_the_peer_wait():
    services = Manual()
    stage = Stage(services, timeouts=T)
    peer = stage.associated()
    data = bytes(1 << 20)
    peer.send(store(data))  # far more than is held for a handler that does not read
    stage.link.pump([10] * 100)
    assert peer.received[-1] != Abort(0, 0)
    services.finish[0].callback(0)
    before = len(peer.received)
    stage.link.pump()
    assert statuses(peer.received[before:]) == [(1, 0)]


def test_a_message_that_the_peer_does_not_go_on_with_is_idleness_though_a_handler_waits():
    stage = Stage(timeouts=T)
    peer = stage.associated()
    peer.send(store_command())
    stage.link.pump([10] * 40)
    assert peer.received[-1] == Abort(0, 0)


def test_an_association_that_rests_keeps_no_buffers_that_it_filled(authority, monkeypatch):
    monkeypatch.setattr(endpoints, "DEFAULT_TRANSPORT", endpoints.Transport.STREAM)  # Twisted's keeps what it has
    stage = Stage(tls=authority, timeouts=T)
    peer = stage.associated()
    rests = []
    (protocol,) = (acceptor._protocol for acceptor in stage.factory._acceptors)
    protocol.transport.rest = lambda: rests.append(stage.link.seconds())
    look = T.idle / LOOKS
    peer.send(store(bytes(1 << 18)))
    stage.link.pump([look] * 4)
    assert rests == [look]  # once, at the first look after something came
    peer.send(echo(9))
    stage.link.pump([look] * 2)
    assert rests == [look, 5 * look]


def test_an_association_that_has_only_begun_gives_no_buffers_back_yet(authority, monkeypatch):
    monkeypatch.setattr(endpoints, "DEFAULT_TRANSPORT", endpoints.Transport.STREAM)
    rests = []
    monkeypatch.setattr(TLSTransport, "rest", lambda transport: rests.append(transport))
    stage = Stage(tls=authority, timeouts=T)
    stage.associated()
    assert rests == []
    stage.link.advance(T.idle / LOOKS)
    assert len(rests) == 1


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
    assert (ended.outcome, ended.provider_reason) == ("expired", 0x434)
    assert ended.detail == says("pdu-timeout", "60 s from its first byte")
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
    assert (ended.outcome, ended.provider_reason, ended.detail) == ("expired", 0x435, says("write-timeout", "60 s"))
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
    stage = Stage(Manual(), timeouts=T)
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
