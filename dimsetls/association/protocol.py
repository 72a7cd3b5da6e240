"""One association on one transport: performs the effects of the upper layer, and knows no rule of DICOM.

Data flows one way: `dataReceived` → provider → effects → here → the user of the association.
"""

from __future__ import annotations

import socket
from collections.abc import Callable, Hashable, Iterable
from dataclasses import dataclass
from functools import lru_cache
from ipaddress import ip_address
from typing import Any
from typing import Protocol as Typing

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IDelayedCall, IHandshakeListener, IPushProducer
from twisted.internet.protocol import Protocol, connectionDone
from twisted.logger import Logger
from twisted.python.failure import Failure
from zope.interface import implementer

from ..tls.evidence import Evidence, evidence_of
from ..tls.faults import TransportFault, classify, handshake_timeout
from ..tls.session import TLSSession, read_session
from ..tls.transport import ITakesViews, TLSTransport
from ..tls.usage import KeyUsage
from ..ul.effects import (
    CloseTransport,
    Effect,
    Indicate,
    Indication,
    OpenTransport,
    SendPDU,
    StartArtim,
    StopArtim,
)
from ..ul.pdus import AssociateAC, AssociateRJ, AssociateRQ
from ..ul.provider import UpperLayerProvider
from ..ul.states import State
from ..ul.writer import write_pdu
from .timers import Clock, PhaseTimer

log = Logger(namespace="dimsetls.association")

LINGER_AFTER_EXPIRY = 1.0
"""Seconds for our close_notify to leave once a deadline has passed; then the transport is cut."""


@dataclass(frozen=True, slots=True)
class Timeouts:
    """Deadlines in seconds, each from the start of its phase and not from the last byte."""

    tls_handshake: float = 10.0
    artim: float = 30.0
    """From the end of the handshake to a complete A-ASSOCIATE-RQ, and from our last PDU to the peer's close."""
    idle: float = 300.0
    pdu: float = 60.0
    """From the first byte of a PDU to its last."""
    write: float = 60.0
    """From the moment that the peer stops taking our output."""
    connect: float = 30.0
    """From our wish for a connection to having one, before any TLS."""
    answer: float = 30.0
    """To the peer's answer to our A-ASSOCIATE-RQ or A-RELEASE-RQ."""
    response: float = 300.0
    """From a request of ours, or the last of its responses, to the next response."""


class AssociationUser(Typing):
    """What an association's protocol tells its user."""

    def connected(self) -> None:
        """There is a transport; a TLS handshake may still be running."""

    def secured(self, session: TLSSession | None) -> None:
        """The transport is ready for the upper layer; None where it is a plain one."""

    def indicated(self, indication: Indication) -> None:
        """A service primitive of PS3.8 §7."""

    def expired(self, sentence: str) -> None:
        """A deadline or limit of ours is reached and the association is being aborted, see `cause`."""

    def closed(self, fault: TransportFault) -> None:
        """The transport is gone. Any A-P-ABORT that this means was indicated before."""

    def busy(self) -> bool:
        """Whether we are working for the peer, so that silence is not idleness."""


@implementer(IHandshakeListener, IPushProducer, ITakesViews)
class AssociationProtocol(Protocol):
    """The adapter between a Twisted transport and an `UpperLayerProvider`.

    `open_transport` performs OpenTransport for a requestor. `user` is set by whoever builds the protocol, before
    the connection is made.
    """

    user: AssociationUser
    transport: Any  # ITCPTransport, or TLS or a PROXY header over one

    def __init__(
        self,
        provider: UpperLayerProvider,
        timeouts: Timeouts,
        clock: Clock,
        open_transport: Callable[[], object] | None = None,
    ) -> None:
        self._provider = provider
        self._timeouts = timeouts
        self._clock = clock
        self._open_transport = open_transport
        self._evidence: Evidence | None = None
        self._key_usage: KeyUsage | None = None
        self._handshake_deadline: IDelayedCall | None = None
        self._artim: IDelayedCall | None = None
        self._close_deadline: IDelayedCall | None = None
        self._quick: socket.socket | None = None  # that is told TCP_QUICKACK for each read
        self._has_answered = False  # what came last
        self._holds: dict[Hashable, None] = {}  # as a set; empty, a set takes three times as much
        self._rested_at: int | None = None  # with so many PDUs received; None before the first look
        self._stalls = 0
        self._stalled = self._is_paced = False
        self._awaiting_output: list[Deferred[None]] = []
        self._pdu_timer = PhaseTimer(clock, timeouts.pdu, self._pdu_phase, self._pdu_expired)
        self._idle_timer = PhaseTimer(clock, timeouts.idle, self._idle_phase, self._idle_expired)
        self._write_timer = PhaseTimer(clock, timeouts.write, self._write_phase, self._write_expired)
        self.peer = "unknown address"
        """The peer's address as text: `10.1.2.3:49152`, `[fd00::1]:49152` or `unix`."""
        self.peer_host = ""
        """The peer's address without port, for counting."""
        self.rejection: AssociateRJ | None = None
        """The A-ASSOCIATE-RJ that went out, whether the user decided on it or the provider (AE-6)."""
        self.cause: TransportFault | None = None
        """Why the connection ends, where that is our own doing."""

    # The transport ---------------------------------------------------------------------------------------------

    def connectionMade(self) -> None:
        transport = self.transport
        self._evidence = evidence_of(transport)
        self.peer_host, self.peer = _address(transport.getPeer())
        self._quick = _tune(transport)
        transport.registerProducer(self, True)
        self.user.connected()
        if self._evidence is None:
            self.user.secured(None)
        else:
            timeout = self._timeouts.tls_handshake
            self._handshake_deadline = self._clock.callLater(timeout, self._handshake_expired)

    def handshakeCompleted(self) -> None:
        if self._handshake_deadline is not None:
            self._handshake_deadline.cancel()
            self._handshake_deadline = None
        self.peer_host, self.peer = _address(self.transport.getPeer())  # of the PROXY header, if there was one
        session = read_session(self.transport)
        self._key_usage = KeyUsage.of(session.cipher_suite) if session is not None else None
        self.user.secured(session)

    def dataReceived(self, data: bytes | memoryview) -> None:
        self._has_answered = False
        effects = self._provider.receive(data)
        while effects:
            self.perform(effects)
            effects = self._provider.receive(b"")
        if not self._pdu_timer.watching and self._provider.mid_pdu:
            self._pdu_timer.watch()
        # Without quick ACKs a peer with Nagle's algorithm waits 40 ms for each answer (DCMTK's default; measured 55 to
        # 70 times slower). An answer carries the ACK itself.
        if self._quick is not None and not self._has_answered:
            self._quick.setsockopt(socket.IPPROTO_TCP, socket.TCP_QUICKACK, 1)

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        for call in (self._handshake_deadline, self._artim, self._close_deadline):
            if call is not None and call.active():
                call.cancel()
        for timer in (self._pdu_timer, self._idle_timer, self._write_timer):
            timer.cancel()
        self._quick = None  # the socket is closed, be it by what its last bytes brought about
        fault = self.cause or classify(reason, self._evidence)
        self.perform(self._provider.transport_closed(fault.reason, str(fault)))
        self.user.closed(fault)
        self._output_resumed()  # last: whoever waits finds that it is over

    def connect_failed(self, fault: TransportFault) -> None:
        """The transport that OpenTransport asked for could not be opened."""
        self.perform(self._provider.transport_closed(fault.reason, str(fault)))
        self.user.closed(fault)

    # The user ------------------------------------------------------------------------------------------------------

    def associate_request(self) -> None:
        self.perform(self._provider.associate_request())

    def transport_confirmed(self, request: AssociateRQ) -> None:
        self.perform(self._provider.transport_confirmed(request))

    def transport_indication(self) -> None:
        self.perform(self._provider.transport_indication())

    def accept(self, answer: AssociateAC) -> None:
        self.perform(self._provider.associate_accept(answer))

    def reject(self, answer: AssociateRJ) -> None:
        self.perform(self._provider.associate_reject(answer))

    def send_data(self, pdus: Iterable[bytes], *, is_paced: bool = False) -> None:
        """Write whole P-DATA-TF PDUs, in one piece: two small segments would wait for each other's ACK.

        Who paces waits for `output` before each call. Whoever does not, answers: then no further request is read
        from a peer that takes no answers.
        """
        self._write(b"".join(pdus), is_paced)

    def send_lent(self, pdus: memoryview) -> None:
        """The same, paced, out of memory that the caller uses again when this returns."""
        self._write(pdus if isinstance(self.transport, TLSTransport) else bytes(pdus), True)

    def _write(self, data: bytes | memoryview, is_paced: bool) -> None:
        self._provider.check_data_request()
        self._is_paced = is_paced
        self._has_answered = True
        self.transport.write(data)
        if self._stalled and not is_paced:
            self.hold("output", True)
        if self._key_usage is not None:
            self._key_usage.wrote(len(data))

    @property
    def is_stalled(self) -> bool:
        """Whether the peer takes nothing: it has not read what was sent before."""
        return self._stalled

    async def output(self) -> None:
        """Wait while the peer takes nothing; returns also where the connection is gone."""
        while self._stalled:
            deferred: Deferred[None] = Deferred()
            self._awaiting_output.append(deferred)
            await deferred

    def response_deadline(self, expired: Callable[[], object]) -> IDelayedCall:
        """Call back when a response has been outstanding for too long; for whoever waits for one to reset or cancel."""
        return self._clock.callLater(self._timeouts.response, expired)

    @property
    def timeouts(self) -> Timeouts:
        return self._timeouts

    @property
    def key_usage(self) -> KeyUsage | None:
        """What the connection's keys have protected so far; None where there is no limit that they could reach."""
        if self._key_usage is not None and self._evidence is not None:
            receiver = self._provider.receiver
            self._key_usage.read(self._evidence.octets, receiver.octets if receiver else 0)
        return self._key_usage

    def release_request(self) -> None:
        self.perform(self._provider.release_request())

    def release_response(self) -> None:
        self.perform(self._provider.release_response())

    def abort(self) -> None:
        """A-ABORT request; nothing happens where the association is over."""
        self.perform(self._provider.abort_request())

    def drop(self, fault: TransportFault) -> None:
        """Cut the transport at once, and give `fault` as the reason."""
        self.cause = self.cause or fault
        self.transport.abortConnection()

    def expire(self, fault: TransportFault) -> None:
        """Abort the association, and give `fault` as the reason; nothing happens where there is none."""
        if self.established or self._provider.state is State.STA3:
            self.cause = self.cause or fault
            self.user.expired(str(self.cause))
            self.abort()

    def hold(self, why: Hashable, waiting: bool) -> None:
        """Stop reading from the peer while anyone's `why` is waiting."""
        before = bool(self._holds)
        if waiting:
            self._holds[why] = None
        else:
            self._holds.pop(why, None)
        if bool(self._holds) is not before and self.transport is not None:
            (self.transport.pauseProducing if waiting else self.transport.resumeProducing)()

    @property
    def pdus_received(self) -> int:
        return self._provider.pdus_received

    @property
    def is_held(self) -> bool:
        """Whether the peer waits for us: nothing is read from it."""
        return bool(self._holds)

    @property
    def established(self) -> bool:
        return State.STA6 <= self._provider.state <= State.STA12

    @property
    def violation(self) -> str:
        """What the peer did wrong first, or nothing."""
        return str(self._provider.error or "")

    # Effects -------------------------------------------------------------------------------------------------------

    def perform(self, effects: Iterable[Effect]) -> None:
        for effect in effects:
            match effect:
                case SendPDU(pdu):
                    if isinstance(pdu, AssociateRJ):
                        self.rejection = pdu
                    self._has_answered = True
                    self.transport.write(write_pdu(pdu))
                case Indicate(indication):
                    self.user.indicated(indication)
                case StartArtim():
                    self._stop_artim()
                    self._artim = self._clock.callLater(self._timeouts.artim, self._artim_expired)
                case StopArtim():
                    self._stop_artim()
                case CloseTransport():
                    self._close(self._timeouts.artim)
                case OpenTransport():
                    assert self._open_transport is not None
                    self._open_transport()
        if self.established and not self._idle_timer.watching:
            self._idle_timer.watch()

    def _stop_artim(self) -> None:
        artim, self._artim = self._artim, None
        if artim is not None and artim.active():
            artim.cancel()

    def _close(self, linger: float) -> None:
        """Close in order; a peer that does not do its part within `linger` seconds is cut off."""
        transport = self.transport
        if transport is None or self._close_deadline is not None:
            return
        transport.unregisterProducer()
        self._holds.clear()
        transport.resumeProducing()  # or the peer's close would never be read
        transport.loseConnection()
        self._close_deadline = self._clock.callLater(linger, self._close_expired, linger)

    # Deadlines -----------------------------------------------------------------------------------------------------

    def _handshake_expired(self) -> None:
        self.drop(handshake_timeout(self._evidence))

    def _artim_expired(self) -> None:
        self._artim = None
        if self._provider.state is State.STA2:
            seconds = self._timeouts.artim
            self.user.expired(f"no complete A-ASSOCIATE-RQ came within {seconds:g} s (ARTIM); the connection is closed")
        else:
            self._not_closed(self._timeouts.artim)
        effects = self._provider.artim_expired()
        self._close(LINGER_AFTER_EXPIRY)
        self.perform(effects)

    def _close_expired(self, linger: float) -> None:
        self._not_closed(linger)
        self.transport.abortConnection()

    def _not_closed(self, seconds: float) -> None:
        self.cause = self.cause or TransportFault.named("close-timeout", detail=f"{seconds:g} s")

    def _pdu_phase(self) -> Hashable | None:
        if not self._provider.mid_pdu or self._holds:
            return None
        return self._provider.pdus_received

    def _pdu_expired(self) -> None:
        detail = f"{self._timeouts.pdu:g} s from its first byte"
        self.expire(TransportFault.named("pdu-timeout", detail=detail))

    def _idle_phase(self) -> Hashable | None:
        if not self.established:
            return None
        if self.user.busy() or self._holds:
            return object()  # equal to no other look: the silence is ours
        received = self._provider.pdus_received
        if self._rested_at is None:
            self._rested_at = -1  # it has only begun
        elif received != self._rested_at and isinstance(self.transport, TLSTransport):
            self._rested_at = received
            self.transport.rest()
        return received

    def _idle_expired(self) -> None:
        self.expire(TransportFault.named("idle-timeout", detail=f"{self._timeouts.idle:g} s"))

    def _write_phase(self) -> Hashable | None:
        return self._stalls if self._stalled else None

    def _write_expired(self) -> None:
        self.expire(TransportFault.named("write-timeout", detail=f"{self._timeouts.write:g} s"))
        # An A-ABORT would wait behind the output that the peer does not take.
        self.transport.abortConnection()

    # IPushProducer: the transport's output buffer is full, or empty again -----------------------------------------

    def pauseProducing(self) -> None:
        if self._stalled:
            return  # told again for every write meanwhile; it is one stall
        self._stalled = True
        self._stalls += 1
        if not self._is_paced:
            self.hold("output", True)
        self._write_timer.watch()

    def resumeProducing(self) -> None:
        self.hold("output", False)
        self._output_resumed()

    def _output_resumed(self) -> None:
        self._stalled = False
        waiting, self._awaiting_output = self._awaiting_output, []
        for deferred in waiting:
            deferred.callback(None)

    def stopProducing(self) -> None:
        """The transport is going; connectionLost follows."""


def _address(peer: object) -> tuple[str, str]:
    host, port = getattr(peer, "host", None), getattr(peer, "port", None)
    if host is None:
        return "unix", "unix"
    host = _shortened(host)
    return host, f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


@lru_cache(256)
def _shortened(host: str) -> str:
    """Twisted passes on what a PROXY header says, and an IPv6 address in full length."""
    try:
        return str(ip_address(host))
    except ValueError:
        return host


def _tune(transport: object) -> socket.socket | None:
    """Set TCP_NODELAY; return the socket that is to be told TCP_QUICKACK, where there is such a thing."""
    sock = _socket_below(transport)
    if sock is None or sock.family not in (socket.AF_INET, socket.AF_INET6):
        return None
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return sock if hasattr(socket, "TCP_QUICKACK") else None


def _socket_below(transport: object) -> socket.socket | None:
    """The socket under any number of wrappers (TLS, PROXY protocol); None in memory."""
    while transport is not None:
        handle = getattr(transport, "getHandle", lambda: None)()
        if isinstance(handle, socket.socket):
            return handle
        transport = getattr(transport, "transport", None)
    return None
