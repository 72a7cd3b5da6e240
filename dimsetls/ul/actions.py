"""The actions of PS3.8 Tables 9-6 to 9-9: each takes what the event carries and yields effects.

The next state is the table's, not the action's; only AE-6 and AR-8 choose between two, and do so by what
they return.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from ..codes import AbortSource, ProviderReason, RejectResult, RejectSource
from ..errors import RemoteProtocolError
from .effects import (
    AbortIndication,
    AssociateConfirmation,
    AssociateIndication,
    CloseTransport,
    Effect,
    Indicate,
    OpenTransport,
    ProviderAbortIndication,
    ReleaseConfirmation,
    ReleaseIndication,
    SendPDU,
    StartArtim,
    StopArtim,
)
from .pdus import PDU, Abort, AssociateAC, AssociateRJ, AssociateRQ, ReleaseRP, ReleaseRQ
from .states import Action, Event, State


class Occurrence(NamedTuple):
    """An event with all that came with it; each action reads what its event carries.

    `pdu`: received, or to be sent. `error`: why a PDU is invalid or out of place. `reason` and `detail`: why
    the transport closed.
    """

    event: Event
    is_requestor: bool
    pdu: PDU | None = None
    error: RemoteProtocolError | None = None
    reason: int = ProviderReason.REASON_NOT_SPECIFIED
    detail: str = ""


Outcome = tuple[list[Effect], State | None]
"""Effects, and the next state where the table leaves a choice."""


def _send(occurrence: Occurrence) -> Effect:
    assert occurrence.pdu is not None
    return SendPDU(occurrence.pdu)


def _open(occurrence: Occurrence) -> Outcome:  # AE-1
    return [OpenTransport()], None


def _send_only(occurrence: Occurrence) -> Outcome:  # AE-2, AE-7, DT-1, AR-7
    return [_send(occurrence)], None


def _confirm(occurrence: Occurrence) -> Outcome:  # AE-3
    assert isinstance(occurrence.pdu, AssociateAC)
    return [Indicate(AssociateConfirmation(occurrence.pdu))], None


def _confirm_rejection(occurrence: Occurrence) -> Outcome:  # AE-4
    assert isinstance(occurrence.pdu, AssociateRJ)
    return [Indicate(AssociateConfirmation(occurrence.pdu)), CloseTransport()], None


def _await_request(occurrence: Occurrence) -> Outcome:  # AE-5
    return [StartArtim()], None


def _judge_request(occurrence: Occurrence) -> Outcome:  # AE-6
    request = occurrence.pdu
    assert isinstance(request, AssociateRQ)
    if request.protocol_version & 1:
        return [StopArtim(), Indicate(AssociateIndication(request))], State.STA3
    rejection = AssociateRJ(RejectResult.REJECTED_PERMANENT, RejectSource.SERVICE_PROVIDER_ACSE, 2)
    return [StopArtim(), SendPDU(rejection), StartArtim()], State.STA13


def _send_and_time(occurrence: Occurrence) -> Outcome:  # AE-8
    return [_send(occurrence), StartArtim()], None


def _deliver(occurrence: Occurrence) -> Outcome:  # DT-2, AR-6: fragments went to the receiver as they came
    return [], None


def _request_release(occurrence: Occurrence) -> Outcome:  # AR-1
    return [SendPDU(ReleaseRQ())], None


def _indicate_release(occurrence: Occurrence) -> Outcome:  # AR-2
    return [Indicate(ReleaseIndication())], None


def _confirm_release_and_close(occurrence: Occurrence) -> Outcome:  # AR-3
    return [Indicate(ReleaseConfirmation()), CloseTransport()], None


def _respond_release_and_time(occurrence: Occurrence) -> Outcome:  # AR-4
    return [SendPDU(ReleaseRP()), StartArtim()], None


def _stop_timer(occurrence: Occurrence) -> Outcome:  # AR-5, AA-5
    return [StopArtim()], None


def _collide(occurrence: Occurrence) -> Outcome:  # AR-8
    next_state = State.STA9 if occurrence.is_requestor else State.STA10
    return [Indicate(ReleaseIndication(collision=True))], next_state


def _respond_release(occurrence: Occurrence) -> Outcome:  # AR-9
    return [SendPDU(ReleaseRP())], None


def _confirm_release(occurrence: Occurrence) -> Outcome:  # AR-10
    return [Indicate(ReleaseConfirmation())], None


def _abort_as_user(occurrence: Occurrence) -> Outcome:  # AA-1
    # The table has source service-user here even where the provider found the error, as in Sta2.
    return [SendPDU(Abort(AbortSource.SERVICE_USER, 0)), StartArtim()], None


def _close(occurrence: Occurrence) -> Outcome:  # AA-2
    return [StopArtim(), CloseTransport()], None


def _indicate_abort(occurrence: Occurrence) -> Outcome:  # AA-3
    abort = occurrence.pdu
    assert isinstance(abort, Abort)
    if abort.source == AbortSource.SERVICE_USER:
        return [Indicate(AbortIndication()), CloseTransport()], None
    detail = f"the peer's provider aborted the association (source {abort.source}, reason {abort.reason})"
    return [Indicate(ProviderAbortIndication(abort.reason, detail, by_peer=True)), CloseTransport()], None


def _indicate_loss(occurrence: Occurrence) -> Outcome:  # AA-4
    return [Indicate(ProviderAbortIndication(occurrence.reason, occurrence.detail))], None


def _ignore(occurrence: Occurrence) -> Outcome:  # AA-6
    return [], None


def _why(occurrence: Occurrence) -> RemoteProtocolError:
    assert occurrence.error is not None
    return occurrence.error


def _abort_again(occurrence: Occurrence) -> Outcome:  # AA-7
    return [SendPDU(Abort(AbortSource.SERVICE_PROVIDER, _why(occurrence).reason))], None


def _abort_as_provider(occurrence: Occurrence) -> Outcome:  # AA-8
    error = _why(occurrence)
    return [
        SendPDU(Abort(AbortSource.SERVICE_PROVIDER, error.reason)),
        Indicate(ProviderAbortIndication(error.reason, str(error))),
        StartArtim(),
    ], None


PERFORM: dict[Action, Callable[[Occurrence], Outcome]] = {
    Action.AE_1: _open,
    Action.AE_2: _send_only,
    Action.AE_3: _confirm,
    Action.AE_4: _confirm_rejection,
    Action.AE_5: _await_request,
    Action.AE_6: _judge_request,
    Action.AE_7: _send_only,
    Action.AE_8: _send_and_time,
    Action.DT_1: _send_only,
    Action.DT_2: _deliver,
    Action.AR_1: _request_release,
    Action.AR_2: _indicate_release,
    Action.AR_3: _confirm_release_and_close,
    Action.AR_4: _respond_release_and_time,
    Action.AR_5: _stop_timer,
    Action.AR_6: _deliver,
    Action.AR_7: _send_only,
    Action.AR_8: _collide,
    Action.AR_9: _respond_release,
    Action.AR_10: _confirm_release,
    Action.AA_1: _abort_as_user,
    Action.AA_2: _close,
    Action.AA_3: _indicate_abort,
    Action.AA_4: _indicate_loss,
    Action.AA_5: _stop_timer,
    Action.AA_6: _ignore,
    Action.AA_7: _abort_again,
    Action.AA_8: _abort_as_provider,
}
