"""Performs the effects of one provider in memory and holds it to its contract at every step."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from dimsetls.codes import ProviderReason
from dimsetls.errors import LocalProtocolError
from dimsetls.ul.actions import Occurrence
from dimsetls.ul.buffer import LengthLimits
from dimsetls.ul.effects import (
    AbortIndication,
    AssociateConfirmation,
    AssociateIndication,
    CloseTransport,
    Effect,
    Indicate,
    Indication,
    OpenTransport,
    ProviderAbortIndication,
    ReleaseConfirmation,
    SendPDU,
    StartArtim,
    StopArtim,
)
from dimsetls.ul.pdus import AssociateRJ
from dimsetls.ul.provider import Piece, UpperLayerProvider
from dimsetls.ul.states import TRANSITIONS, Action, Event, State
from dimsetls.ul.writer import write_pdu

from .wire import FULL_AC, FULL_RQ, RELEASE_RP, RELEASE_RQ, ac, rq

Fragment = tuple[int, int, bytes]


class Collector:
    """A receiver that keeps what it gets and insists on begin, pieces, end."""

    def __init__(self) -> None:
        self.fragments: list[Fragment] = []
        self.calls = 0
        self._open: tuple[int, int, int, bytearray] | None = None

    def take_whole(self, context_id: int, control: int, piece: memoryview) -> bool:
        assert self._open is None
        if len(piece) % 4:  # some, so that both ways are gone
            return False
        self.calls += 1
        self.fragments.append((context_id, control, bytes(piece)))
        return True

    def begin_fragment(self, context_id: int, control: int, length: int) -> Callable[[Piece], object]:
        assert self._open is None
        self.calls += 1
        self._open = context_id, control, length, bytearray()
        return self.take

    def take(self, piece: Piece) -> None:
        assert self._open is not None
        self.calls += 1
        self._open[3].extend(piece)

    def end_fragment(self) -> None:
        assert self._open is not None
        self.calls += 1
        context_id, control, length, data = self._open
        assert len(data) == length
        self._open = None
        self.fragments.append((context_id, control, bytes(data)))

    @property
    def unfinished(self) -> bytes | None:
        return None if self._open is None else bytes(self._open[3])


class Performer:
    """An adapter as plain as can be: the transport is a byte string, the timer a flag."""

    def __init__(self, *, is_requestor: bool, limits: LengthLimits | None = None) -> None:
        self.provider = UpperLayerProvider(is_requestor=is_requestor, limits=limits, trace=self._trace)
        self.receiver: Any = Collector()
        self.provider.receiver = self.receiver
        self.sent = bytearray()
        self.transport = "none"  # none, opening, open, closing, closed
        self.artim = False
        self.indications: list[Indication] = []
        self.final: Indication | None = None
        self.ended_locally = False
        self.told = False  # whether the user knows of an association
        self.actions: list[Action] = []
        self.effects: list[Effect] = []

    @property
    def state(self) -> State:
        return self.provider.state

    @property
    def has_transport(self) -> bool:
        return self.transport in ("open", "closing")

    def _trace(self, state: State, occurrence: Occurrence, action: Action, next_state: State) -> None:
        transition = TRANSITIONS[occurrence.event, state]
        assert (transition.action, next_state in transition.next_states) == (action, True)
        assert self.state is next_state
        self.actions.append(action)
        if action in (Action.AE_8, Action.AR_4) or occurrence.event is Event.ABORT_REQUEST:
            self.ended_locally = True

    # Events --------------------------------------------------------------------------------------------------

    def receive(self, data: bytes) -> bytes:
        """Feed bytes as the contract has it, to the end; return what was sent meanwhile."""
        assert self.has_transport
        before = len(self.sent)
        effects = self.provider.receive(data)
        while effects:
            self.perform(effects)
            effects = self.provider.receive(b"")
        self._check()
        return bytes(self.sent[before:])

    def call(self, name: str, *arguments: Any) -> None:
        """A call of the local user or of the transport. An empty cell leaves everything as it was."""
        before = self.state
        try:
            effects = getattr(self.provider, name)(*arguments)
        except LocalProtocolError:
            assert self.state is before
            raise
        if name == "artim_expired":
            self.artim = False
        if name in ("transport_confirmed", "transport_indication"):
            self.transport = "open"
        if name == "transport_closed":
            self.transport = "closed"
        if name == "associate_request":
            self.told = True
        self.perform(effects)

    def lose(self) -> None:
        self.call("transport_closed", 0x100, "the line is cut")

    def perform(self, effects: list[Effect]) -> None:
        for effect in effects:
            self._perform(effect)
        self.effects += effects
        self._check()

    def _perform(self, effect: Effect) -> None:
        match effect:
            case SendPDU(pdu):
                assert self.transport == "open"  # nothing after CloseTransport, nothing without a transport
                self.sent += write_pdu(pdu)
            case Indicate(indication):
                assert self.final is None, "nothing follows the final indication"
                assert not self.ended_locally, "nothing follows the user's own end"
                self.indications.append(indication)
                self.told = self.told or isinstance(indication, AssociateIndication)
                if self._is_final(indication):
                    self.final = indication
            case StartArtim():
                # The one restart that the table has: a first PDU that is no A-ASSOCIATE-RQ (AA-1 in Sta2).
                assert not self.artim or self.actions[-1] is Action.AA_1
                self.artim = True
            case StopArtim():
                # "Stop ARTIM if running" finds none where the user gives up before the transport is there.
                assert self.artim or self.actions[-1] is Action.AA_2
                self.artim = False
            case OpenTransport():
                assert self.transport == "none"
                self.transport = "opening"
            case CloseTransport():
                assert self.transport in ("open", "opening")
                self.transport = "closing" if self.transport == "open" else "closed"

    def _is_final(self, indication: Indication) -> bool:
        match indication:
            case AbortIndication() | ProviderAbortIndication():
                return True
            case AssociateConfirmation(answer):
                return isinstance(answer, AssociateRJ)
            case ReleaseConfirmation():
                return self.actions[-1] is Action.AR_3  # after AR-10 a release response is still owed (Sta12)
        return False

    def _check(self) -> None:
        assert self.artim == (self.state in (State.STA2, State.STA13))
        if self.state is State.STA1 and self.transport != "none":
            assert self.transport in ("closing", "closed")
            # One end for each association that the user knew of: told by us, or said by the user.
            assert (self.final is not None) + self.ended_locally == self.told

    def finish(self) -> None:
        """Let the transport go and check that all is at rest, and stays so."""
        if self.transport in ("opening", "open", "closing"):
            self.lose()
        assert self.state is State.STA1
        assert not self.artim
        indications = len(self.indications)
        for late in (b"", RELEASE_RQ, b"\xff"):
            assert self.provider.receive(late) == []
        assert self.provider.transport_closed(ProviderReason.REASON_NOT_SPECIFIED, "again") == []
        assert self.provider.abort_request() == []
        assert len(self.indications) == indications


def acceptor(limits: LengthLimits | None = None) -> Performer:
    """An acceptor in Sta2."""
    performer = Performer(is_requestor=False, limits=limits)
    performer.call("transport_indication")
    return performer


def requestor(limits: LengthLimits | None = None) -> Performer:
    """A requestor in Sta5."""
    performer = Performer(is_requestor=True, limits=limits)
    performer.call("associate_request")
    performer.call("transport_confirmed", FULL_RQ)
    return performer


def established(*, is_requestor: bool = False, limits: LengthLimits | None = None) -> Performer:
    """Either side in Sta6."""
    performer = requestor(limits) if is_requestor else acceptor(limits)
    performer.receive(ac() if is_requestor else rq())
    if not is_requestor:
        performer.call("associate_accept", FULL_AC)
    return performer


def reach(state: State, *, is_requestor: bool) -> Performer:
    """A provider that real events have brought into `state`."""
    match state:
        case State.STA1:
            return Performer(is_requestor=is_requestor)
        case State.STA2:
            return acceptor()
        case State.STA3:
            performer = acceptor()
            performer.receive(rq())
            return performer
        case State.STA4:
            performer = Performer(is_requestor=True)
            performer.call("associate_request")
            return performer
        case State.STA5:
            return requestor()
    performer = established(is_requestor=is_requestor)
    match state:
        case State.STA7 | State.STA9 | State.STA10 | State.STA11 | State.STA12:
            performer.call("release_request")
            if state is not State.STA7:
                performer.receive(RELEASE_RQ)
            if state is State.STA11:
                performer.call("release_response")
            if state is State.STA12:
                performer.receive(RELEASE_RP)
        case State.STA8:
            performer.receive(RELEASE_RQ)
        case State.STA13:
            performer.call("abort_request")
    return performer


SIDES = {
    **dict.fromkeys(State, (False, True)),
    **dict.fromkeys((State.STA2, State.STA3, State.STA10, State.STA12), (False,)),
    **dict.fromkeys((State.STA4, State.STA5, State.STA9, State.STA11), (True,)),
}
"""Which sides a state exists on: acceptor (False), requestor (True)."""

PLACES = [pytest.param(state, side, id=f"{state.name}-{'requestor' if side else 'acceptor'}")
          for state, sides in SIDES.items() for side in sides]  # fmt: skip
