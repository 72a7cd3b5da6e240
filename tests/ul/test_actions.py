"""Every cell of PS3.8 Table 9-10, reached by real events, and what its action does according to Tables 9-6 to 9-9."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from dimsetls.codes import ProviderReason
from dimsetls.errors import LocalProtocolError, RemoteProtocolError
from dimsetls.ul.actions import PERFORM
from dimsetls.ul.effects import (
    AbortIndication,
    AssociateConfirmation,
    AssociateIndication,
    Effect,
    Indicate,
    ProviderAbortIndication,
    ReleaseIndication,
    SendPDU,
)
from dimsetls.ul.pdus import PDV, Abort, AssociateRJ, PDataTF
from dimsetls.ul.states import Action, Event, State
from dimsetls.ul.writer import write_pdu

from .performer import PLACES, Collector, Performer, acceptor, established, reach
from .test_states import CELLS
from .wire import (
    FULL_AC,
    FULL_RQ,
    RELEASE_RP,
    RELEASE_RQ,
    RJ,
    USER_ABORT,
    ac,
    p_data,
    pdu,
    pdv,
    read,
    rq,
    vector,
)

REJECTION = AssociateRJ(2, 3, 2)
DATA = PDataTF((PDV(1, 3, b"abcd"),))

# How each event comes about; those of the peer are bytes.
LOCAL: dict[Event, Callable[[Performer], None]] = {
    Event.ASSOCIATE_REQUEST: lambda performer: performer.call("associate_request"),
    Event.TRANSPORT_CONFIRMATION: lambda performer: performer.call("transport_confirmed", FULL_RQ),
    Event.TRANSPORT_INDICATION: lambda performer: performer.call("transport_indication"),
    Event.ASSOCIATE_RESPONSE_ACCEPT: lambda performer: performer.call("associate_accept", FULL_AC),
    Event.ASSOCIATE_RESPONSE_REJECT: lambda performer: performer.call("associate_reject", REJECTION),
    Event.P_DATA_REQUEST: lambda performer: performer.call("data_request", DATA),
    Event.RELEASE_REQUEST: lambda performer: performer.call("release_request"),
    Event.RELEASE_RESPONSE: lambda performer: performer.call("release_response"),
    Event.ABORT_REQUEST: lambda performer: performer.call("abort_request"),
    Event.TRANSPORT_CLOSED: lambda performer: performer.lose(),
    Event.ARTIM_EXPIRED: lambda performer: performer.call("artim_expired"),
}
REMOTE: dict[Event, bytes] = {
    Event.ASSOCIATE_AC_PDU: ac(),
    Event.ASSOCIATE_RJ_PDU: RJ,
    Event.ASSOCIATE_RQ_PDU: rq(),
    Event.P_DATA_TF_PDU: p_data(pdv(1, 3, b"abcd")),
    Event.RELEASE_RQ_PDU: RELEASE_RQ,
    Event.RELEASE_RP_PDU: RELEASE_RP,
    Event.ABORT_PDU: USER_ABORT,
    Event.INVALID_PDU: b"\x08",
}
# Calls that are answered by nothing where the table has no cell: the association is over, or not begun.
LENIENT = (Event.ABORT_REQUEST, Event.TRANSPORT_CLOSED)

A_ABORT_BY_USER = bytes.fromhex("07 00 00000004 00 00 00 00")
A_ABORT_UNRECOGNIZED = bytes.fromhex("07 00 00000004 00 00 02 01")
A_ABORT_UNEXPECTED = bytes.fromhex("07 00 00000004 00 00 02 02")
PROVIDER_ABORT = "A-ABORT with source 2 and the reason for it"

EFFECTS: dict[str, list[bytes | str]] = {
    "AE-1": ["OpenTransport"],
    "AE-2": [vector("a-associate-rq-full")],
    "AE-3": ["AssociateConfirmation"],
    "AE-4": ["AssociateConfirmation", "CloseTransport"],
    "AE-5": ["StartArtim"],
    "AE-6": ["StopArtim", "AssociateIndication"],
    "AE-7": [vector("a-associate-ac-full")],
    "AE-8": [vector("a-associate-rj"), "StartArtim"],
    "DT-1": [p_data(pdv(1, 3, b"abcd"))],
    "DT-2": [],
    "AR-1": [vector("a-release-rq")],
    "AR-2": ["ReleaseIndication"],
    "AR-3": ["ReleaseConfirmation", "CloseTransport"],
    "AR-4": [vector("a-release-rp"), "StartArtim"],
    "AR-5": ["StopArtim"],
    "AR-6": [],
    "AR-7": [p_data(pdv(1, 3, b"abcd"))],
    "AR-8": ["ReleaseIndication"],
    "AR-9": [vector("a-release-rp")],
    "AR-10": ["ReleaseConfirmation"],
    "AA-1": [A_ABORT_BY_USER, "StartArtim"],
    "AA-2": ["StopArtim", "CloseTransport"],
    "AA-3": ["AbortIndication", "CloseTransport"],
    "AA-4": ["ProviderAbortIndication"],
    "AA-5": ["StopArtim"],
    "AA-6": [],
    "AA-7": [PROVIDER_ABORT],
    "AA-8": [PROVIDER_ABORT, "ProviderAbortIndication", "StartArtim"],
}


def described(effects: list[Effect]) -> list[bytes | str]:
    found: list[bytes | str] = []
    for effect in effects:
        match effect:
            case SendPDU(to_send):
                found.append(write_pdu(to_send))
            case Indicate(indication):
                found.append(type(indication).__name__)
            case _:
                found.append(type(effect).__name__)
    return found


def expected(action: str, event: Event) -> list[bytes | str]:
    abort = A_ABORT_UNRECOGNIZED if event is Event.INVALID_PDU else A_ABORT_UNEXPECTED
    return [abort if effect is PROVIDER_ABORT else effect for effect in EFFECTS[action]]


def occur(performer: Performer, event: Event) -> list[Effect]:
    performer.effects.clear()
    if event in LOCAL:
        LOCAL[event](performer)
    else:
        performer.receive(REMOTE[event])
    return performer.effects


def test_every_event_and_action_is_driven() -> None:
    assert {*LOCAL, *REMOTE} == set(Event)
    assert set(PERFORM) == set(Action)
    assert EFFECTS.keys() == {action.value for action in Action}


@pytest.mark.parametrize(("state", "is_requestor"), PLACES)
def test_real_events_reach_every_state(state: State, is_requestor: bool) -> None:
    performer = reach(state, is_requestor=is_requestor)
    assert performer.state is state
    assert performer.provider.error is None


@pytest.mark.parametrize("event", Event)
@pytest.mark.parametrize(("state", "is_requestor"), PLACES)
def test_each_cell_does_what_its_action_says(state: State, is_requestor: bool, event: Event) -> None:
    performer = reach(state, is_requestor=is_requestor)
    if (event, state) not in CELLS:
        if event in LENIENT:
            assert occur(performer, event) == []
        elif event in LOCAL:
            with pytest.raises(LocalProtocolError, match=rf"{event.name} is not permitted in {state.name} "):
                occur(performer, event)
        else:  # bytes before there is a transport: the caller's mistake
            with pytest.raises(LocalProtocolError):
                performer.provider.receive(REMOTE[event])
        assert performer.state is state
        return
    action, states = CELLS[event, state]
    before = len(performer.receiver.fragments)
    assert described(occur(performer, event)) == expected(action, event)
    wanted = {"3|13": 3, "9|10": 9 if is_requestor else 10}.get(states)
    assert performer.state == (wanted or int(states))
    assert len(performer.receiver.fragments) - before == (action in ("DT-2", "AR-6"))
    performer.finish()


# What the indications carry --------------------------------------------------------------------------------------


def test_the_user_gets_the_request_and_the_answer() -> None:
    performer = acceptor()
    performer.receive(vector("a-associate-rq-full"))
    assert performer.indications == [AssociateIndication(FULL_RQ)]
    performer = reach(State.STA5, is_requestor=True)
    performer.receive(vector("a-associate-ac-full"))
    assert performer.indications == [AssociateConfirmation(FULL_AC)]
    performer = reach(State.STA5, is_requestor=True)
    performer.receive(vector("a-associate-rj"))
    assert performer.indications == [AssociateConfirmation(REJECTION)]


@pytest.mark.parametrize("version", [0, 2, 0xFFFE])
def test_ae_6_rejects_another_protocol_version(version: int) -> None:
    performer = acceptor()
    sent = performer.receive(rq(b"not items of version 1", version=version))
    assert sent == bytes.fromhex("03 00 00000004 00 01 02 02")  # permanent, provider (ACSE), version not supported
    assert described(performer.effects[-3:]) == ["StopArtim", sent, "StartArtim"]
    assert (performer.state, performer.indications) == (State.STA13, [])
    performer.finish()


@pytest.mark.parametrize("version", [1, 3, 0xFFFF])
def test_ae_6_takes_any_protocol_version_whose_bit_0_is_set(version: int) -> None:
    performer = acceptor()
    assert performer.receive(rq(version=version)) == b""
    assert performer.state is State.STA3


def test_a_collision_is_told_from_a_plain_release() -> None:
    plain = reach(State.STA8, is_requestor=False)
    assert plain.indications[-1] == ReleaseIndication(collision=False)
    for state, is_requestor in ((State.STA9, True), (State.STA10, False)):
        assert reach(state, is_requestor=is_requestor).indications[-1] == ReleaseIndication(collision=True)


@pytest.mark.parametrize(("source", "reason"), [(2, 0), (2, 2), (2, 6), (2, 3), (1, 0), (77, 255)])
def test_aa_3_tells_the_peers_provider_from_its_user(source: int, reason: int) -> None:
    performer = established()
    performer.receive(pdu(7, bytes((0xFF, 0xFF, source, reason))))
    (indication,) = performer.indications[1:]
    assert isinstance(indication, ProviderAbortIndication)
    assert (indication.reason, indication.by_peer) == (reason, True)
    assert f"source {source}, reason {reason}" in indication.detail


def test_aa_3_does_not_test_the_reason_of_a_user() -> None:
    performer = established()
    performer.receive(pdu(7, bytes((0, 0, 0, 99))))
    assert performer.indications[1:] == [AbortIndication()]


def test_aa_4_carries_why_the_transport_was_lost() -> None:
    performer = established()
    performer.call("transport_closed", 0x123, "the peer's certificate has expired")
    assert performer.indications[1:] == [ProviderAbortIndication(0x123, "the peer's certificate has expired")]


@pytest.mark.parametrize("reason", ProviderReason)
def test_aa_8_gives_one_reason_on_the_wire_and_to_the_user(reason: ProviderReason) -> None:
    class Refusing(Collector):
        def end_fragment(self) -> None:
            raise RemoteProtocolError("not that", reason)

    performer = established()
    performer.provider.receiver = Refusing()
    sent = performer.receive(p_data(pdv(1, 3, b"abcdef")))
    assert read(sent) == Abort(2, reason)
    assert performer.indications[1:] == [ProviderAbortIndication(reason, "not that")]
    assert performer.provider.error is not None
    assert performer.provider.error.reason is reason


def test_aa_1_in_sta2_names_its_cause_though_the_table_has_no_indication() -> None:
    performer = acceptor()
    assert performer.receive(RELEASE_RQ) == A_ABORT_BY_USER
    assert performer.indications == []
    assert performer.provider.error is not None
    assert performer.provider.error.reason is ProviderReason.UNEXPECTED_PDU
    assert "RELEASE_RQ came in STA2" in str(performer.provider.error)


def test_the_first_violation_is_the_one_that_is_kept() -> None:
    performer = established()
    performer.receive(RELEASE_RP)
    performer.receive(b"\x16")
    assert performer.actions[-2:] == [Action.AA_8, Action.AA_7]
    assert performer.provider.error is not None
    assert performer.provider.error.reason is ProviderReason.UNEXPECTED_PDU
