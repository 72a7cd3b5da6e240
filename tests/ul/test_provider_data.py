"""P-DATA through the provider: fragments are handed on as they come, and nothing is handed on afterwards."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable
from itertools import pairwise
from pathlib import Path
from types import FrameType
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

import dimsetls.ul
from dimsetls.codes import ProviderReason
from dimsetls.errors import RemoteProtocolError
from dimsetls.ul.effects import AssociateConfirmation, Effect, Indicate, ProviderAbortIndication
from dimsetls.ul.pdus import Abort
from dimsetls.ul.provider import Piece, UpperLayerProvider
from dimsetls.ul.states import Action, State
from dimsetls.ul.writer import LARGEST_PDU_LENGTH, write_fragments

from .performer import PLACES, Collector, Fragment, Performer, established, reach, requestor
from .wire import RELEASE_RP, RELEASE_RQ, USER_ABORT, ac, p_data, pdv, read

UL = str(Path(dimsetls.ul.__file__).parent)


def chunks(wire: bytes, cuts: Iterable[int]) -> list[bytes]:
    edges = [0, *sorted({cut % (len(wire) + 1) for cut in cuts}), len(wire)]
    return [wire[a:b] for a, b in pairwise(edges)]


def singly(wire: bytes) -> list[bytes]:
    return [wire[i : i + 1] for i in range(len(wire))]


def deliver(performer: Performer, pieces: Iterable[bytes]) -> bytes:
    return b"".join(map(performer.receive, pieces))


# Fragments arrive whole, in order, however they are cut ---------------------------------------------------------

_fragments = st.tuples(st.sampled_from([1, 3, 255]), st.integers(0, 255), st.binary(max_size=40))
_streams = st.lists(st.lists(_fragments, min_size=1, max_size=4), max_size=6)


@settings(deadline=None, max_examples=150)
@given(_streams, st.lists(st.integers(0, 2000), max_size=12), st.booleans())
@example([[(1, 0, b"")], [(1, 2, b""), (1, 2, b"x")]], [], False)
def test_the_receiver_sees_the_same_fragments_however_they_are_cut(
    stream: list[list[Fragment]], cuts: list[int], is_requestor: bool
) -> None:
    wire = b"".join(p_data(*(pdv(*fragment) for fragment in values)) for values in stream)
    wanted = [fragment for values in stream for fragment in values]
    for pieces in ([wire], singly(wire), chunks(wire, cuts)):
        performer = established(is_requestor=is_requestor)
        assert deliver(performer, pieces) == b""
        assert performer.receiver.fragments == wanted
        assert performer.provider.pdus_received == 1 + len(stream)
        assert (performer.state, performer.provider.mid_pdu) == (State.STA6, False)


def test_a_fragment_is_handed_on_before_it_is_complete() -> None:
    performer = established()
    wire = p_data(pdv(1, 0, bytes(100)), pdv(1, 2, bytes(10)))
    performer.receive(wire[:12])
    assert performer.receiver.unfinished == b""
    assert performer.provider.mid_pdu
    performer.receive(wire[12:50])
    assert performer.receiver.unfinished == bytes(38)
    performer.receive(wire[50:113])
    assert performer.receiver.fragments == [(1, 0, bytes(100))]
    assert performer.receiver.unfinished is None
    performer.receive(wire[113:])
    assert performer.receiver.fragments[1:] == [(1, 2, bytes(10))]
    assert not performer.provider.mid_pdu


def test_what_lies_inside_one_fragment_is_not_copied() -> None:
    seen: list[Piece] = []

    class Keeping(Collector):
        def take(self, piece: Piece) -> None:
            seen.append(piece)
            super().take(piece)

    performer = established()
    performer.provider.receiver = Keeping()
    performer.receive(p_data(pdv(1, 0, bytes(9000)))[:12])
    record = bytes(4000)
    performer.receive(record)
    assert len(seen) == 1
    assert seen[0] is record
    rest = bytes(5000) + RELEASE_RQ
    performer.receive(rest)
    assert isinstance(seen[1], memoryview)
    assert seen[1].obj is rest


def test_a_header_alone_makes_no_empty_piece() -> None:
    # DCMTK writes the twelve bytes of both headers and the fragment apart.
    performer = established()
    performer.receive(p_data(pdv(1, 3, b"abcd"))[:12])
    assert performer.receiver.calls == 1


def test_data_coalesced_with_the_answer_waits_for_the_confirmation() -> None:
    performer = requestor()
    provider = performer.provider
    provider.receiver = None
    effects = provider.receive(ac() + p_data(pdv(1, 3, b"abcd")))
    assert [type(effect.indication) for effect in effects if isinstance(effect, Indicate)] == [AssociateConfirmation]
    receiver = provider.receiver = Collector()
    assert receiver.calls == 0
    assert provider.receive(b"") == []
    assert receiver.fragments == [(1, 3, b"abcd")]


def test_data_coalesced_with_a_release_comes_before_it_and_none_after() -> None:
    performer = established()
    deliver(performer, [p_data(pdv(1, 3, b"abcd")) + RELEASE_RQ + p_data(pdv(1, 3, b"late"))])
    assert performer.receiver.fragments == [(1, 3, b"abcd")]
    assert performer.actions[-2:] == [Action.AR_2, Action.AA_8]


def test_data_still_comes_after_a_release_request_and_not_after_its_answer() -> None:
    # PS3.8 §7.2.2.1: AR-6.
    performer = established(is_requestor=True)
    performer.call("release_request")
    performer.receive(p_data(pdv(1, 3, b"abcd"), pdv(1, 2, b"")) + RELEASE_RP + p_data(pdv(1, 3, b"late")))
    assert performer.receiver.fragments == [(1, 3, b"abcd"), (1, 2, b"")]
    assert (performer.state, performer.transport) == (State.STA1, "closing")
    performer.finish()


def test_a_release_request_in_the_middle_of_a_fragment_does_not_cut_it() -> None:
    performer = established(is_requestor=True)
    wire = p_data(pdv(1, 3, b"abcdefgh"))
    performer.receive(wire[:15])
    performer.call("release_request")
    performer.receive(wire[15:])
    assert performer.receiver.fragments == [(1, 3, b"abcdefgh")]


def test_without_a_receiver_data_goes_nowhere() -> None:
    performer = established()
    performer.provider.receiver = None
    assert deliver(performer, [p_data(pdv(1, 3, b"abcd"), pdv(1, 2, b""))]) == b""
    assert performer.provider.pdus_received == 2


# In the wrong state ------------------------------------------------------------------------------------------------

_REFUSING = [place for place in PLACES if place.values[0] not in (State.STA1, State.STA4, State.STA6, State.STA7)]


@pytest.mark.parametrize(("state", "is_requestor"), _REFUSING)
def test_data_in_the_wrong_state_is_judged_by_its_header_and_skipped(state: State, is_requestor: bool) -> None:
    performer = reach(state, is_requestor=is_requestor)
    calls = performer.receiver.calls
    wire = p_data(pdv(1, 3, bytes(1000)))
    answers = {State.STA2: Abort(0, 0), State.STA13: None}
    sent = performer.receive(wire[:6])
    assert (read(sent) if sent else None) == answers.get(state, Abort(2, ProviderReason.UNEXPECTED_PDU))
    assert performer.state is State.STA13
    performer.receive(wire[6:500])
    assert performer.state is State.STA13
    performer.receive(wire[500:] + USER_ABORT)  # framing goes on behind it
    assert performer.actions[-1] is Action.AA_2
    assert performer.receiver.calls == calls
    performer.finish()


# Malformed -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("good", "bad"),
    [
        (b"", "04 00 00000006  00000000 01 03"),  # a PDV of no bytes at all
        (b"", "04 00 00000006  00000001 01 03"),
        (b"", "04 00 00000008  00000005 01 03"),  # a PDV over the end of its PDU
        (b"", "04 00 00000008  ffffffff 01 03"),
        (b"", "04 00 00000009  00000004 01 03"),  # one byte is left behind the PDV
        (b"", "04 00 0000000d  00000004 01 03"),  # five are
        (b"ab", "04 00 00000010  00000004 01 00 6162  00000005 01 02"),
        (b"ab", "04 00 00000010  00000004 01 00 6162  00000003 01 02"),
    ],
)
def test_a_pdv_that_does_not_fill_its_pdu_is_refused_with_its_header(good: bytes, bad: str) -> None:
    for pieces in ([bytes.fromhex(bad)], singly(bytes.fromhex(bad))):
        performer = established()
        assert deliver(performer, pieces[:-1]) == b""
        assert read(deliver(performer, pieces[-1:])) == Abort(2, ProviderReason.INVALID_PDU_PARAMETER_VALUE)
        assert performer.actions[-1] is Action.AA_8
        assert [data for _, _, data in performer.receiver.fragments] == ([good] if good else [])
        assert performer.receive(USER_ABORT) == b""  # where the next PDU begins is unknown: nothing is read any more
        performer.finish()


# The receiver ends the association ------------------------------------------------------------------------------


class Interrupting(Collector):
    """Does something in the middle of the nth callback."""

    def __init__(self, nth: int, interrupt: Callable[[], None]) -> None:
        super().__init__()
        self._nth, self._interrupt = nth, interrupt

    def _count(self) -> None:
        if self.calls == self._nth:
            self._interrupt()

    def take_whole(self, context_id: int, control: int, piece: memoryview) -> bool:
        is_taken = super().take_whole(context_id, control, piece)
        if is_taken:
            self._count()
        return is_taken

    def begin_fragment(self, context_id: int, control: int, length: int) -> Callable[[Piece], object]:
        take = super().begin_fragment(context_id, control, length)
        self._count()
        return take

    def take(self, piece: Piece) -> None:
        super().take(piece)
        self._count()

    def end_fragment(self) -> None:
        super().end_fragment()
        self._count()


STREAM = p_data(pdv(1, 1, b"abcdef"), pdv(1, 3, b""), pdv(1, 0, b"gh")) + p_data(pdv(1, 2, b"ijklmnop"))
CUTS = {"whole": [STREAM], "singly": singly(STREAM), "inside": chunks(STREAM, [14, 20, 41, 51, 53])}


def _calls(pieces: list[bytes]) -> int:
    performer = established()
    deliver(performer, pieces)
    return int(performer.receiver.calls)


EVERY_CALLBACK = [(cut, nth) for cut, pieces in CUTS.items() for nth in range(1, _calls(pieces) + 1)]


@pytest.mark.parametrize(("cut", "nth"), EVERY_CALLBACK)
def test_an_abort_request_inside_a_callback_is_the_last_callback(cut: str, nth: int) -> None:
    performer = established()
    receiver = Interrupting(nth, lambda: performer.call("abort_request"))
    performer.provider.receiver = receiver
    before = len(performer.sent)
    deliver(performer, CUTS[cut])
    assert read(bytes(performer.sent[before:])) == Abort(0, 0)
    assert (receiver.calls, performer.state) == (nth, State.STA13)
    assert performer.provider.mid_pdu is False
    performer.receive(p_data(pdv(1, 2, b"more")) + USER_ABORT)
    assert (receiver.calls, performer.actions[-1]) == (nth, Action.AA_2)
    performer.finish()


@pytest.mark.parametrize(("cut", "nth"), EVERY_CALLBACK)
def test_a_transport_lost_inside_a_callback_is_the_last_callback(cut: str, nth: int) -> None:
    performer = established()
    receiver = Interrupting(nth, performer.lose)
    performer.provider.receiver = receiver
    for piece in CUTS[cut]:
        effects: list[Effect] = performer.provider.receive(piece)
        assert effects == []
    assert (receiver.calls, performer.actions[-1]) == (nth, Action.AA_4)
    performer.finish()


@pytest.mark.parametrize(("cut", "nth"), EVERY_CALLBACK)
def test_a_receiver_that_raises_ends_the_association_with_its_reason(cut: str, nth: int) -> None:
    def complain() -> None:
        raise RemoteProtocolError("a data set where a command is due", ProviderReason.UNEXPECTED_PDU_PARAMETER)

    performer = established()
    receiver = performer.provider.receiver = Interrupting(nth, complain)
    sent = deliver(performer, CUTS[cut])
    assert read(sent) == Abort(2, ProviderReason.UNEXPECTED_PDU_PARAMETER)
    (indication,) = performer.indications[1:]
    assert isinstance(indication, ProviderAbortIndication)
    assert (indication.reason, indication.by_peer) == (ProviderReason.UNEXPECTED_PDU_PARAMETER, False)
    assert receiver.calls == nth
    performer.finish()


@pytest.mark.parametrize("end", ["abort", "lose"])
@pytest.mark.parametrize(("cut", "nth"), EVERY_CALLBACK)
def test_a_receiver_that_ends_the_association_and_then_complains(cut: str, nth: int, end: str) -> None:
    performer = established()

    def end_and_complain() -> None:
        if end == "abort":
            performer.call("abort_request")
        else:
            performer.lose()
        raise RemoteProtocolError("and it was wrong too")

    receiver = performer.provider.receiver = Interrupting(nth, end_and_complain)
    for piece in CUTS[cut]:
        performer.perform(performer.provider.receive(piece))
    assert performer.state is (State.STA13 if end == "abort" else State.STA1)
    assert receiver.calls == nth
    performer.finish()


def test_an_abort_request_in_the_middle_of_a_fragment_stops_its_pieces() -> None:
    performer = established()
    wire = p_data(pdv(1, 0, bytes(100)), pdv(1, 2, bytes(100)))
    performer.receive(wire[:50])
    calls = performer.receiver.calls
    performer.call("abort_request")
    performer.receive(wire[50:60])
    performer.receive(wire[60:] + RELEASE_RQ + USER_ABORT)
    assert performer.receiver.calls == calls
    assert performer.actions[-2:] == [Action.AA_6, Action.AA_2]


def test_an_abort_request_between_two_pdvs_skips_the_rest_of_the_pdu() -> None:
    wire = p_data(pdv(1, 0, b"ab"), pdv(1, 2, b"cd"))
    for cut in range(14, 21):  # after the first PDV, and inside the header of the second
        performer = established()
        performer.receive(wire[:cut])
        performer.call("abort_request")
        performer.receive(wire[cut:] + USER_ABORT)
        assert performer.receiver.fragments == [(1, 0, b"ab")]
        assert performer.actions[-1] is Action.AA_2


# The cost ----------------------------------------------------------------------------------------------------------


def lines_in_ul(call: Callable[[], object]) -> int:
    """How many Python lines inside dimsetls/ul the call executes: the same on every machine, on every day."""
    count = 0

    def trace(frame: FrameType, event: str, argument: Any) -> Any:
        nonlocal count
        if not frame.f_code.co_filename.startswith(UL):
            return None
        if event == "line":
            count += 1
        return trace

    before = sys.gettrace()
    sys.settrace(trace)
    try:
        call()
    finally:
        sys.settrace(before)
    return count


class Sink:
    """A receiver as cheap as can be."""

    def __init__(self) -> None:
        self.pieces: list[Piece] = []

    def take_whole(self, context_id: int, control: int, piece: memoryview) -> bool:
        self.pieces.append(piece)
        return True

    def begin_fragment(self, context_id: int, control: int, length: int) -> Callable[[Piece], object]:
        return self.pieces.append

    def end_fragment(self) -> None:
        pass


def _ready() -> UpperLayerProvider:
    provider = established().provider
    provider.receiver = Sink()
    return provider


def test_a_tls_record_inside_a_fragment_costs_five_lines() -> None:
    provider = _ready()
    (wire,) = write_fragments(1, False, bytes(LARGEST_PDU_LENGTH - 6), 0)
    provider.receive(wire[:16384])
    assert lines_in_ul(lambda: provider.receive(wire[16384:32768])) <= 5


def test_a_pdu_that_is_whole_costs_five_lines_more() -> None:
    provider = _ready()
    (wire,) = write_fragments(1, False, bytes(LARGEST_PDU_LENGTH - 6), 0)
    one, two, three = (lines_in_ul(lambda count=count: provider.receive(wire * count)) for count in (1, 2, 3))  # type: ignore[misc]
    assert (two - one, three - two) == (5, 5)


def test_a_pdu_of_eight_tls_records_costs_86_lines() -> None:
    provider = _ready()
    (wire,) = write_fragments(1, False, bytes(LARGEST_PDU_LENGTH - 6), 0)
    records = [wire[at : at + 16384] for at in range(0, len(wire), 16384)]
    assert len(records) == 8
    costs = [lines_in_ul(lambda record=record: provider.receive(record)) for record in records]  # type: ignore[misc]
    assert sum(costs) <= 86, costs  # 37 for its headers, 5 for each of six records inside, 18 for its end
    assert not provider.mid_pdu
