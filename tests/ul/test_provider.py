"""The provider as a whole: calls, framing of what is not P-DATA, and the promises that hold for any sequence of events.

`Performer` checks at every step that nothing is sent after the close, that ARTIM runs in Sta2 and Sta13 and nowhere
else, and that each association that the user knew of ends once.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from dimsetls.errors import LocalProtocolError
from dimsetls.ul.actions import Occurrence
from dimsetls.ul.effects import AssociateIndication, ReleaseConfirmation, ReleaseIndication
from dimsetls.ul.pdus import PDV, AssociateRJ, PDataTF
from dimsetls.ul.provider import UpperLayerProvider
from dimsetls.ul.states import Action, Event, State

from .performer import PLACES, Fragment, Performer, acceptor, established, reach
from .wire import (
    FULL_AC,
    FULL_RQ,
    MEANINGS,
    PROVIDER_ABORT,
    RELEASE_RP,
    RELEASE_RQ,
    RJ,
    USER_ABORT,
    ac,
    p_data,
    pdu,
    pdv,
    rq,
    vector,
)

REJECTION = AssociateRJ(2, 3, 2)
DATA = PDataTF((PDV(1, 3, b"abcd"),))

# Calls -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("state", "is_requestor"), PLACES)
def test_data_may_be_sent_in_sta6_and_sta8_only(state: State, is_requestor: bool) -> None:
    performer = reach(state, is_requestor=is_requestor)
    if state in (State.STA6, State.STA8):
        performer.provider.check_data_request()
        performer.call("data_request", DATA)
        assert performer.sent.endswith(p_data(pdv(1, 3, b"abcd")))
    else:
        with pytest.raises(LocalProtocolError, match=state.name):
            performer.provider.check_data_request()
        with pytest.raises(LocalProtocolError, match=state.name):
            performer.provider.data_request(DATA)


def test_the_trace_sees_every_event_but_data_in_order() -> None:
    seen: list[tuple[int, str, int]] = []

    def trace(state: State, occurrence: Occurrence, action: Action, next_state: State) -> None:
        seen.append((state, action.value, next_state))

    provider = UpperLayerProvider(is_requestor=False, trace=trace)
    provider.transport_indication()
    provider.receive(rq())
    provider.associate_accept(FULL_AC)
    provider.receive(p_data(pdv(1, 3, b"abcd")))
    provider.receive(RELEASE_RQ)
    provider.receive(p_data(pdv(1, 3, b"abcd")))
    provider.transport_closed(0, "gone")
    assert seen == [(1, "AE-5", 2), (2, "AE-6", 3), (3, "AE-7", 6), (6, "AR-2", 8), (8, "AA-8", 13), (13, "AR-5", 1)]


def test_effects_belong_to_the_caller() -> None:
    provider = acceptor().provider
    provider.receive(b"").append(Any)  # type: ignore[arg-type]
    provider.abort_request().append(Any)  # type: ignore[arg-type]
    assert provider.receive(b"") == provider.abort_request() == []


# Framing ---------------------------------------------------------------------------------------------------------


def test_one_pdu_that_causes_effects_is_taken_at_a_time() -> None:
    performer = established()
    provider, receiver = performer.provider, performer.receiver
    coalesced = p_data(pdv(1, 3, b"abcd")) + RELEASE_RQ + USER_ABORT
    (effect,) = provider.receive(coalesced)
    assert effect.indication == ReleaseIndication()  # type: ignore[union-attr]
    assert (provider.state, receiver.fragments) == (State.STA8, [(1, 3, b"abcd")])
    assert provider.mid_pdu
    assert [type(effect).__name__ for effect in provider.receive(b"")] == ["Indicate", "CloseTransport"]
    assert provider.receive(b"") == []
    assert provider.state is State.STA1


@pytest.mark.parametrize("name", ["a-associate-rq-echoscu", "a-associate-rq-full"])
def test_a_request_with_trailing_bytes_leaves_them_to_the_next_pdu(name: str) -> None:
    wire = vector(name) + RELEASE_RQ[:3]
    for pieces in ([wire], [wire[:7], wire[7:]], [wire[i : i + 1] for i in range(len(wire))]):
        performer = acceptor()
        for piece in pieces:
            performer.receive(piece)
        assert performer.indications == [AssociateIndication(MEANINGS[name])]  # type: ignore[arg-type]
        assert (performer.state, performer.provider.mid_pdu) == (State.STA3, True)
        performer.receive(RELEASE_RQ[3:])
        assert performer.actions[-1] is Action.AA_8


@pytest.mark.parametrize(
    ("state", "is_requestor"),
    [place for place in PLACES if place.values[0] not in (State.STA1, State.STA2, State.STA4)],
)
def test_a_request_in_the_wrong_state_is_judged_by_its_header(state: State, is_requestor: bool) -> None:
    performer = reach(state, is_requestor=is_requestor)
    wire = pdu(1, bytes(5000))  # no item in it would be legal
    assert performer.receive(wire[:6]) == bytes.fromhex("07 00 00000004 00 00 02 02")
    assert performer.actions[-1].value == ("AA-7" if state is State.STA13 else "AA-8")
    for at in range(6, 5006, 1000):
        assert performer.receive(wire[at : at + 1000]) == b""
    performer.receive(USER_ABORT)
    assert performer.actions[-1] is Action.AA_2
    performer.finish()


def test_a_half_received_pdu_shows() -> None:
    performer = acceptor()
    assert not performer.provider.mid_pdu
    performer.receive(rq()[:1])
    assert performer.provider.mid_pdu
    performer.receive(rq()[1:])
    assert not performer.provider.mid_pdu


def test_pdus_are_counted() -> None:
    performer = established()
    performer.receive(p_data(pdv(1, 1, b"ab"), pdv(1, 3, b"cd")) + p_data(pdv(1, 2, b"")) + RELEASE_RQ)
    assert performer.provider.pdus_received == 4


# Any bytes, however cut ---------------------------------------------------------------------------------------------

_fragments = st.builds(pdv, st.sampled_from([1, 3]), st.integers(0, 3), st.binary(max_size=20))
_whole = st.one_of(
    st.sampled_from([RELEASE_RQ, RELEASE_RP, RJ, USER_ABORT, PROVIDER_ABORT, rq(), ac(), rq(version=2)]),
    st.lists(_fragments, min_size=1, max_size=3).map(lambda values: p_data(*values)),
)
_flawed = st.one_of(
    st.binary(max_size=30),
    st.builds(pdu, st.integers(0, 9), st.binary(max_size=30)),
    st.tuples(_whole, st.integers(0, 40), st.integers(0, 255)).map(
        lambda drawn: drawn[0][: drawn[1]] + bytes([drawn[2]]) + drawn[0][drawn[1] + 1 :]
    ),
)
# Mostly data, so that sequences live long enough to say something.
_bytes = st.one_of(_fragments.map(p_data), _fragments.map(p_data), _whole, _flawed)


@settings(deadline=None, max_examples=200)
@given(
    st.sampled_from([place.values for place in PLACES if place.values[0] not in (State.STA1, State.STA4)]),
    st.lists(_bytes, max_size=6).map(b"".join),
    st.lists(st.integers(0, 300), max_size=8),
)
def test_where_bytes_are_cut_changes_nothing(place: tuple[State, bool], wire: bytes, cuts: list[int]) -> None:
    runs = []
    edges = [0, *sorted(cut % (len(wire) + 1) for cut in cuts), len(wire)]
    for bounds in ([0, len(wire)], range(len(wire) + 1), edges):
        performer = reach(place[0], is_requestor=place[1])
        for start, end in pairwise(bounds):
            performer.receive(wire[start:end])
        provider = performer.provider
        runs.append(
            (
                performer.effects,
                performer.actions,
                performer.receiver.fragments,
                performer.receiver.unfinished,
                provider.pdus_received,
                provider.mid_pdu,
                str(provider.error),
            )
        )
        performer.finish()
    assert runs[0] == runs[1] == runs[2]


# Any events, from a peer that keeps no rule --------------------------------------------------------------------------

_CALLS: dict[Event, tuple[str, *tuple[Any, ...]]] = {
    Event.ASSOCIATE_RESPONSE_ACCEPT: ("associate_accept", FULL_AC),
    Event.ASSOCIATE_RESPONSE_REJECT: ("associate_reject", REJECTION),
    Event.P_DATA_REQUEST: ("data_request", DATA),
    Event.RELEASE_REQUEST: ("release_request",),
    Event.RELEASE_RESPONSE: ("release_response",),
    Event.ABORT_REQUEST: ("abort_request",),
}


def attempt(performer: Performer, event: Event) -> bool:
    """Make a local call at whatever moment; the only complaint is `LocalProtocolError`, which changes nothing."""
    try:
        performer.call(*_CALLS[event])
    except LocalProtocolError:
        return False
    return True


@settings(deadline=None, max_examples=300)
@given(st.sampled_from([place.values for place in PLACES]), st.lists(st.sampled_from([*_CALLS]) | _bytes, max_size=12))
def test_no_sequence_of_events_breaks_a_promise(place: tuple[State, bool], events: list[Event | bytes]) -> None:
    performer = reach(place[0], is_requestor=place[1])
    for event in events:
        if isinstance(event, Event):
            attempt(performer, event)
        elif performer.has_transport:
            performer.receive(event)
            if event[:1] == b"\x07" and performer.artim:
                performer.call("artim_expired")
    if performer.transport == "none":
        performer.call("associate_request" if place[1] else "transport_indication")
    performer.finish()


# Two providers and the line between them ---------------------------------------------------------------------------


_SIDES = st.sampled_from([0, 1])
_seldom = st.integers(0, 19).map(lambda odds: odds == 7)
_values = st.tuples(st.just(1), st.integers(0, 3), st.binary(max_size=50))


def _any_in(*states: State) -> Callable[[Association], bool]:
    return lambda self: any(side.state in states for side in self.sides)


class Association(RuleBasedStateMachine):
    """Two providers on a line that delivers any number of bytes at a time, and may break."""

    def __init__(self) -> None:
        super().__init__()
        self.sides = (Performer(is_requestor=True), Performer(is_requestor=False))
        self.delivered = [0, 0]  # how much of what each side sent has reached the other
        self.data: tuple[list[Fragment], list[Fragment]] = ([], [])  # what each side has sent

    @initialize(is_agreed=st.sampled_from([True, True, True, False]))
    def connect(self, is_agreed: bool) -> None:
        requesting, accepting = self.sides
        requesting.call("associate_request")
        accepting.call("transport_indication")
        requesting.call("transport_confirmed", FULL_RQ)
        if is_agreed:
            self.deliver(0, 1000)
            accepting.call("associate_accept", FULL_AC)
            self.deliver(1, 1000)

    @rule(sender=_SIDES, amount=st.sampled_from([1, 7, 40, 1000, 1000]))
    def deliver(self, sender: int, amount: int) -> None:
        source, target = self.sides[sender], self.sides[1 - sender]
        piece = bytes(source.sent[self.delivered[sender] : self.delivered[sender] + amount])
        self.delivered[sender] += len(piece)
        if not target.has_transport:
            return
        if piece:
            target.receive(piece)
        elif source.transport in ("closing", "closed"):  # all has come, and then the end of the stream
            target.lose()

    @precondition(_any_in(State.STA3))
    @rule(is_accepted=st.booleans())
    def answer(self, is_accepted: bool) -> None:
        attempt(self.sides[1], Event.ASSOCIATE_RESPONSE_ACCEPT if is_accepted else Event.ASSOCIATE_RESPONSE_REJECT)

    @precondition(_any_in(State.STA6, State.STA8))
    @rule(side=_SIDES, values=st.lists(_values, min_size=1, max_size=3))
    def send_data(self, side: int, values: list[Fragment]) -> None:
        if self.sides[side].state in (State.STA6, State.STA8):
            self.sides[side].call("data_request", PDataTF(tuple(PDV(*value) for value in values)))
            self.data[side].extend(values)

    @precondition(_any_in(State.STA6))
    @rule(side=_SIDES)
    def request_release(self, side: int) -> None:
        attempt(self.sides[side], Event.RELEASE_REQUEST)

    @precondition(_any_in(State.STA8, State.STA9, State.STA12))
    @rule(side=_SIDES)
    def respond_release(self, side: int) -> None:
        attempt(self.sides[side], Event.RELEASE_RESPONSE)

    @rule(side=_SIDES, really=_seldom)
    def request_abort(self, side: int, really: bool) -> None:
        if really:
            attempt(self.sides[side], Event.ABORT_REQUEST)

    @rule(side=_SIDES, really=_seldom)
    def let_artim_expire(self, side: int, really: bool) -> None:
        if really and self.sides[side].artim:
            self.sides[side].call("artim_expired")

    @rule(side=_SIDES, really=_seldom)
    def cut_the_line(self, side: int, really: bool) -> None:
        if really and self.sides[side].has_transport:
            self.sides[side].lose()

    @invariant()
    def two_of_a_kind_never_violate_the_protocol(self) -> None:
        for side in self.sides:
            assert side.provider.error is None
            assert Action.AA_8 not in side.actions

    def teardown(self) -> None:
        for sender in (0, 1, 0, 1):
            self.deliver(sender, 1 << 20)
        for side in self.sides:
            side.finish()
        for sent, source, target in zip(self.data, self.sides, reversed(self.sides), strict=True):
            received = target.receiver.fragments
            assert received == sent[: len(received)]
            if isinstance(target.final, ReleaseConfirmation) and Action.AR_4 in source.actions:
                assert received == sent  # an orderly release loses nothing


def test_two_providers_on_one_line() -> None:
    run_state_machine_as_test(Association, settings=settings(deadline=None, max_examples=150, stateful_step_count=40))


def converse(*events: tuple[int, str]) -> tuple[Performer, Performer]:
    """Two established providers; after each call on one side everything is delivered to both."""
    sides = (established(is_requestor=True), established(is_requestor=False))
    seen = [len(side.sent) for side in sides]
    for number, name in events:
        if number < 2:
            sides[number].call(name)
            continue
        for sender in (0, 1):
            piece = bytes(sides[sender].sent[seen[sender] :])
            seen[sender] += len(piece)
            sides[1 - sender].receive(piece)
    return sides


def test_an_orderly_release() -> None:
    requesting, accepting = converse((0, "release_request"), (2, ""), (1, "release_response"), (2, ""))
    assert [action.value for action in requesting.actions[-2:]] == ["AR-1", "AR-3"]
    assert [action.value for action in accepting.actions[-2:]] == ["AR-2", "AR-4"]
    assert accepting.state is State.STA13
    for side in (requesting, accepting):
        side.finish()


def test_a_release_collision() -> None:
    # PS3.8 §7.2.2.7: requestor 7, 9, 11, 1; acceptor 7, 10, 12, 13.
    both_ask = (0, "release_request"), (1, "release_request"), (2, "")
    requesting, accepting = converse(*both_ask, (0, "release_response"), (2, ""), (1, "release_response"), (2, ""))
    assert [action.value for action in requesting.actions[-4:]] == ["AR-1", "AR-8", "AR-9", "AR-3"]
    assert [action.value for action in accepting.actions[-4:]] == ["AR-1", "AR-8", "AR-10", "AR-4"]
    assert (requesting.state, accepting.state) == (State.STA1, State.STA13)
    for side in (requesting, accepting):
        side.finish()
