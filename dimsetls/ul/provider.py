"""The upper layer service provider of PS3.8 §9.2: one object an association, pure.

Bytes and calls go in, an ordered list of effects comes out. There is no I/O here, no clock and no thread, so
every run can be replayed from its inputs.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from typing import Protocol

from ..codes import PDUType, ProviderReason
from ..errors import LocalProtocolError, RemoteProtocolError
from .actions import PERFORM, Occurrence
from .buffer import LengthLimits, judge_length, judge_type
from .effects import Effect
from .pdus import PDU, AssociateAC, AssociateRJ, AssociateRQ, PDataTF
from .reader import read_pdu
from .states import TRANSITIONS, Action, Event, State

Piece = bytes | memoryview


class FragmentReceiver(Protocol):
    """Takes the PDVs of an established association as they arrive (P-DATA indication, PS3.8 §7.6).

    A fragment comes as `begin_fragment`, any number of pieces to the function that it returned, `end_fragment`. One
    that fills its PDU and is here as a whole is offered to `take_whole` first, which returns False if it wants it in
    that way too. Pieces are only valid during the call. Each of these may raise `RemoteProtocolError`, which ends the
    association, or call the provider; once the association is over, none of them is called again.
    """

    @property
    def octets(self) -> int:
        """Bytes of data sets received so far."""

    def take_whole(self, context_id: int, control: int, piece: memoryview) -> bool: ...

    def begin_fragment(self, context_id: int, control: int, length: int) -> Callable[[Piece], object]: ...

    def end_fragment(self) -> None: ...


Trace = Callable[[State, Occurrence, Action, State], None]

_EVENTS = {
    PDUType.A_ASSOCIATE_RQ: Event.ASSOCIATE_RQ_PDU,
    PDUType.A_ASSOCIATE_AC: Event.ASSOCIATE_AC_PDU,
    PDUType.A_ASSOCIATE_RJ: Event.ASSOCIATE_RJ_PDU,
    PDUType.P_DATA_TF: Event.P_DATA_TF_PDU,
    PDUType.A_RELEASE_RQ: Event.RELEASE_RQ_PDU,
    PDUType.A_RELEASE_RP: Event.RELEASE_RP_PDU,
    PDUType.A_ABORT: Event.ABORT_PDU,
}
# Actions that read the PDU; for all others the header is enough, and the body is skipped as it comes.
_READS_BODY = frozenset({Action.AE_3, Action.AE_4, Action.AE_6, Action.AA_3})
_P_DATA_TF = int(PDUType.P_DATA_TF)  # a member of an enumeration is slow to look up
_SENDS_DATA = State.STA6, State.STA8
_PDU_HEADER = struct.Struct(">BxI").unpack_from
_PDV_HEADER = struct.Struct(">IBB").unpack_from
_BOTH_HEADERS = struct.Struct(">BxIIBB").unpack_from


def _discard(piece: Piece) -> None:
    """Where bytes go that nobody waits for."""


def _leave(context_id: int, control: int, piece: memoryview) -> bool:
    """Take no fragment as a whole."""
    return False


class UpperLayerProvider:
    """State, framing and table of one association.

    `receiver` must be set before data can come, that is before accept or on the confirmation.
    `trace(state, occurrence, action, next state)` is called for every event but P-DATA-TF received in order.
    """

    __slots__ = (
        "_fragment_left", "_held", "_is_requestor", "_limits", "_lost", "_need", "_pdu_left", "_piece",
        "_takes_data", "error", "pdus_received", "receiver", "state", "trace",
    )  # fmt: skip

    def __init__(self, *, is_requestor: bool, limits: LengthLimits | None = None, trace: Trace | None = None) -> None:
        self.state = State.STA1
        self.receiver: FragmentReceiver | None = None
        self.error: RemoteProtocolError | None = None
        """The peer's first violation, also where the table raises no indication (AA-1 in Sta2)."""
        self.pdus_received = 0
        self.trace = trace
        self._is_requestor = is_requestor
        self._limits = limits or LengthLimits()
        self._takes_data = False  # Sta6 or Sta7
        self._lost = False  # framing is lost, or the transport is to be closed: no further byte is read
        # Framing. `_held` keeps an incomplete header or A-ASSOCIATE/RJ/RELEASE/ABORT PDU until it has `_need`
        # bytes; P-DATA is never held: `_pdu_left` and `_fragment_left` count what is still to come.
        self._held = bytearray()
        self._need = 0
        self._pdu_left = 0
        self._fragment_left = 0
        self._piece: Callable[[Piece], object] = _discard

    # Calls of the local user and the transport -----------------------------------------------------------

    def associate_request(self) -> list[Effect]:
        """A-ASSOCIATE request: open the transport; the A-ASSOCIATE-RQ goes with `transport_confirmed`."""
        return self._occur(Event.ASSOCIATE_REQUEST)

    def transport_confirmed(self, request: AssociateRQ) -> list[Effect]:
        """The transport connection that we asked for is open: send the request."""
        self._announce(request)
        return self._occur(Event.TRANSPORT_CONFIRMATION, pdu=request)

    def transport_indication(self) -> list[Effect]:
        """A peer opened a transport connection to us."""
        return self._occur(Event.TRANSPORT_INDICATION)

    def associate_accept(self, answer: AssociateAC) -> list[Effect]:
        """A-ASSOCIATE response (accept)."""
        self._announce(answer)
        return self._occur(Event.ASSOCIATE_RESPONSE_ACCEPT, pdu=answer)

    def associate_reject(self, answer: AssociateRJ) -> list[Effect]:
        """A-ASSOCIATE response (reject)."""
        return self._occur(Event.ASSOCIATE_RESPONSE_REJECT, pdu=answer)

    def data_request(self, data: PDataTF) -> list[Effect]:
        """P-DATA request."""
        return self._occur(Event.P_DATA_REQUEST, pdu=data)

    def check_data_request(self) -> None:
        """Raise `LocalProtocolError` unless P-DATA may be sent now; for those who frame fragments themselves."""
        if self.state not in _SENDS_DATA:
            raise LocalProtocolError(f"P-DATA cannot be sent in {self.state.name}; the association is not open")

    def release_request(self) -> list[Effect]:
        """A-RELEASE request."""
        return self._occur(Event.RELEASE_REQUEST)

    def release_response(self) -> list[Effect]:
        """A-RELEASE response."""
        return self._occur(Event.RELEASE_RESPONSE)

    def abort_request(self) -> list[Effect]:
        """A-ABORT request. Where the association is over already, nothing is left to abort."""
        if (Event.ABORT_REQUEST, self.state) not in TRANSITIONS:
            return []
        return self._occur(Event.ABORT_REQUEST)

    def artim_expired(self) -> list[Effect]:
        """The ARTIM timer ran out."""
        return self._occur(Event.ARTIM_EXPIRED)

    def transport_closed(self, reason: int, detail: str) -> list[Effect]:
        """The transport connection is gone, whoever closed it; `reason` and `detail` go into the A-P-ABORT."""
        if self.state is State.STA1:  # closed by ourselves, as the table asked
            return []
        return self._occur(Event.TRANSPORT_CLOSED, reason=reason, detail=detail)

    @property
    def mid_pdu(self) -> bool:
        """Whether a PDU has begun to arrive and is not complete."""
        return bool(self._held or self._pdu_left or self._fragment_left)

    # Bytes from the peer -----------------------------------------------------------------------------------

    def receive(self, data: Piece) -> list[Effect]:
        """Take bytes from the transport.

        Returns after the first PDU that causes effects; perform them, then call again with `b""` until nothing
        comes. So a fragment never overtakes an indication.
        """
        try:
            # The hot path: all of `data` lies inside one fragment. One comparison and one call for each TLS record.
            if (left := self._fragment_left) > len(data):
                self._fragment_left = left - len(data)
                self._piece(data)
                return []
            if self._held or self._lost:
                if self._lost:
                    return []
                self._held += data
                if len(self._held) < self._need:
                    return []
                data = bytes(self._held)
                self._held.clear()
            return self._frame(data)
        except RemoteProtocolError as error:
            if self._lost:  # the receiver complains of an association that it has ended itself
                return []
            return self._violated(Event.INVALID_PDU, error)

    def _frame(self, data: Piece) -> list[Effect]:
        view, at, end = memoryview(data), 0, len(data)
        while at < end and not self._lost:
            if left := self._fragment_left:
                taken = min(left, end - at)
                self._fragment_left = left - taken
                self._piece(view[at : at + taken])
                at += taken
                if taken < left:
                    return []
                self._end_fragment()
            elif self._pdu_left:  # between two PDVs of a P-DATA-TF
                if not self._takes_data:  # the association ended inside it: its rest goes nowhere
                    self._fragment_left, self._pdu_left = self._pdu_left, 0
                    continue
                if end - at < 6:
                    return self._hold(view[at:], 6)
                length, context_id, control = _PDV_HEADER(view, at)
                at += 6
                self._begin_fragment(self._pdu_left, length, context_id, control)
            elif self._takes_data and end - at >= 12 and view[at] == _P_DATA_TF:
                at = self._take_data(view, at, end)
            else:
                judge_type(view[at])
                if end - at < 6:
                    return self._hold(view[at:], 6)
                pdu_type, length = _PDU_HEADER(view, at)
                judge_length(pdu_type, length, self._limits)
                event = _EVENTS[pdu_type]
                transition = TRANSITIONS.get((event, self.state))
                if transition and transition.action in _READS_BODY:
                    if end - at < 6 + length:
                        return self._hold(view[at:], 6 + length)
                    pdu = read_pdu(pdu_type, bytes(view[at + 6 : at + 6 + length]))
                    at += 6 + length
                    self.pdus_received += 1
                    effects = self._occur(event, pdu=pdu)
                elif event is Event.P_DATA_TF_PDU and self._takes_data:
                    at += 6
                    self.pdus_received += 1
                    self._pdu_left = length
                    continue
                elif length == 4 and end - at < 10 and event is not Event.P_DATA_TF_PDU:
                    return self._hold(view[at:], 10)
                else:
                    # The header decides. What is left of the body goes nowhere, as it comes.
                    skipped = min(length, end - at - 6)
                    at += 6 + skipped
                    self.pdus_received += 1
                    self._fragment_left, self._piece = length - skipped, _discard
                    effects = self._judge(event)
                if effects or self._lost:
                    if at < end and not self._lost:
                        self._hold(view[at:], 0)
                    return effects
        return []

    def _take_data(self, view: memoryview, at: int, end: int) -> int:
        """DT-2 and AR-6 without the general machinery: no object, no table look-up for a PDU.

        Returns where what was not taken begins: the first bytes of a fragment, or of another PDU.
        """
        take = self.receiver.take_whole if self.receiver is not None else _leave
        most = self._limits.p_data
        while self._takes_data and end - at >= 12 and view[at] == _P_DATA_TF:
            _, pdu_length, length, context_id, control = _BOTH_HEADERS(view, at)
            start, at = at + 12, at + 10 + length
            self.pdus_received += 1
            if at > end or not (6 <= length + 4 == pdu_length <= most and take(context_id, control, view[start:at])):
                if not 6 <= pdu_length <= most:
                    self.pdus_received -= 1  # it is none
                    judge_length(_P_DATA_TF, pdu_length, self._limits)
                self._begin_fragment(pdu_length, length, context_id, control)
                return start
        return at

    def _hold(self, rest: memoryview, need: int) -> list[Effect]:
        self._held += rest
        self._need = need
        return []

    def _begin_fragment(self, pdu_left: int, length: int, context_id: int, control: int) -> None:
        rest = pdu_left - 4 - length
        if length < 2 or rest < 0 or 0 < rest < 6:
            raise RemoteProtocolError(f"a PDV claims {length} bytes, its PDU has {pdu_left - 4} left")
        self._pdu_left = rest
        self._fragment_left = length - 2
        if self.receiver is not None:
            piece = self.receiver.begin_fragment(context_id, control, length - 2)
            if self._takes_data:  # still
                self._piece = piece
            if not self._fragment_left:
                self._end_fragment()

    def _end_fragment(self) -> None:
        piece, self._piece = self._piece, _discard
        if piece is not _discard and self.receiver is not None:
            self.receiver.end_fragment()

    def _announce(self, pdu: AssociateRQ | AssociateAC) -> None:
        """From here on the peer's P-DATA is judged by what this PDU says that we take (PS3.8 Annex D.1)."""
        announced = pdu.user_information.maximum_length
        self._limits = LengthLimits(announced or self._limits.p_data, self._limits.associate)

    # The table -----------------------------------------------------------------------------------------------

    def _judge(self, event: Event) -> list[Effect]:
        """A PDU whose header is all we need: legal here, or out of place."""
        transition = TRANSITIONS.get((event, self.state))
        if transition and transition.action in (Action.AA_1, Action.AA_7, Action.AA_8):
            sentence = f"{event.name.removesuffix('_PDU')} came in {self.state.name}, where it is not expected"
            return self._violated(event, RemoteProtocolError(sentence, ProviderReason.UNEXPECTED_PDU))
        return self._occur(event)

    def _violated(self, event: Event, error: RemoteProtocolError) -> list[Effect]:
        self.error = self.error or error
        if event is Event.INVALID_PDU:
            self._lost = True  # where the next PDU begins is unknown from here on
            self._held.clear()
            self._pdu_left = self._fragment_left = 0
            self._piece = _discard
        return self._occur(event, error=error)

    def _occur(
        self,
        event: Event,
        *,
        pdu: PDU | None = None,
        error: RemoteProtocolError | None = None,
        reason: int = ProviderReason.REASON_NOT_SPECIFIED,
        detail: str = "",
    ) -> list[Effect]:
        state = self.state
        transition = TRANSITIONS.get((event, state))
        if transition is None:
            raise LocalProtocolError(f"{event.name} is not permitted in {state.name} (PS3.8 Table 9-10)")
        occurrence = Occurrence(event, self._is_requestor, pdu, error, reason, detail)
        effects, chosen = PERFORM[transition.action](occurrence)
        self.state = chosen or transition.next_states[0]
        self._takes_data = self.state in (State.STA6, State.STA7)
        if not self._takes_data:
            self._piece = _discard  # the association may have ended inside a fragment
        if self.state is State.STA1:
            self._lost = True
        if self.trace:
            self.trace(state, occurrence, transition.action, self.state)
        return effects
