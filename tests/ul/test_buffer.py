"""What the header of a PDU decides: before its body comes, and before memory is taken for it."""

from __future__ import annotations

import sys
import tracemalloc
from types import FrameType

import pytest

from dimsetls.codes import ProviderReason
from dimsetls.errors import RemoteProtocolError
from dimsetls.ul.buffer import LengthLimits, judge_length, judge_type
from dimsetls.ul.effects import AssociateIndication
from dimsetls.ul.pdus import Abort
from dimsetls.ul.states import Action, State
from dimsetls.ul.writer import LARGEST_PDU_LENGTH

from .performer import PLACES, Performer, acceptor, established, reach
from .wire import USER_ABORT, ac, item, p_data, pdv, read, rq_with, short

INVALID, UNRECOGNIZED = ProviderReason.INVALID_PDU_PARAMETER_VALUE, ProviderReason.UNRECOGNIZED_PDU
LISTENING = [place for place in PLACES if place.values[0] not in (State.STA1, State.STA4)]
NO_PDU = [0x00, *range(0x08, 0x100)]


def header(pdu_type: int, length: int) -> bytes:
    return bytes((pdu_type, 0)) + length.to_bytes(4, "big")


def refusal(performer: Performer, wire: bytes) -> Abort:
    """The A-ABORT that answers `wire` and nothing less of it."""
    for byte in wire[:-1]:
        assert performer.receive(bytes([byte])) == b""
    abort = read(performer.receive(wire[-1:]))
    assert isinstance(abort, Abort)
    assert performer.provider.error is not None
    return abort


# The first byte ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("pdu_type", NO_PDU)
def test_a_first_byte_that_begins_no_pdu_is_refused_alone(pdu_type: int) -> None:
    with pytest.raises(RemoteProtocolError, match=f"{pdu_type:02X}H does not exist") as caught:
        judge_type(pdu_type)
    assert caught.value.reason is UNRECOGNIZED
    performer = established()
    assert refusal(performer, bytes([pdu_type])) == Abort(2, UNRECOGNIZED)


def test_the_seven_types_pass() -> None:
    for pdu_type in range(1, 8):
        judge_type(pdu_type)


@pytest.mark.parametrize(("state", "is_requestor"), LISTENING)
def test_an_unknown_type_is_refused_in_every_state(state: State, is_requestor: bool) -> None:
    performer = reach(state, is_requestor=is_requestor)
    wanted = Abort(0, 0) if state is State.STA2 else Abort(2, UNRECOGNIZED)  # AA-1, else AA-8 or AA-7
    assert refusal(performer, b"\xff") == wanted
    assert performer.receive(USER_ABORT * 3) == b""  # framing is lost: nothing more is read
    assert performer.state is State.STA13
    performer.finish()


def test_a_client_hello_is_recognized() -> None:
    performer = acceptor()
    assert refusal(performer, b"\x16") == Abort(0, 0)
    assert "TLS ClientHello" in str(performer.provider.error)


# The six bytes of the header -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("length", [2**32 - 1, 2**31, 256 * 1024 + 1])
@pytest.mark.parametrize("pdu_type", range(1, 8))
@pytest.mark.parametrize(("state", "is_requestor"), LISTENING)
def test_a_claim_of_too_much_is_refused_with_the_sixth_byte(
    state: State, is_requestor: bool, pdu_type: int, length: int
) -> None:
    performer = reach(state, is_requestor=is_requestor)
    wanted = Abort(0, 0) if state is State.STA2 else Abort(2, INVALID)
    assert refusal(performer, header(pdu_type, length)) == wanted
    assert performer.receive(bytes(100)) == b""
    performer.finish()


@pytest.mark.parametrize("pdu_type", range(1, 8))
def test_a_claim_of_four_gibibytes_takes_no_memory(pdu_type: int) -> None:
    performer = acceptor()
    tracemalloc.start()
    try:
        before, _ = tracemalloc.get_traced_memory()
        performer.receive(header(pdu_type, 2**32 - 1))
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak - before < 64 * 1024


def test_a_length_within_the_limit_takes_no_memory_either_before_its_bytes_come() -> None:
    performer = acceptor(LengthLimits(associate=2**32 - 1))
    tracemalloc.start()
    try:
        performer.receive(header(1, 2**32 - 1) + bytes(1000))
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 64 * 1024
    assert performer.state is State.STA2


@pytest.mark.parametrize("pdu_type", [3, 5, 6, 7])
@pytest.mark.parametrize("length", [0, 3, 5, 10])
def test_pdus_of_fixed_length_have_no_other(pdu_type: int, length: int) -> None:
    with pytest.raises(RemoteProtocolError, match=f"claims {length} bytes, exactly 4") as caught:
        judge_length(pdu_type, length, LengthLimits())
    assert caught.value.reason is INVALID
    judge_length(pdu_type, 4, LengthLimits())


@pytest.mark.parametrize("limit", [6, 16384, LARGEST_PDU_LENGTH])
def test_p_data_is_held_to_the_maximum_that_we_announced(limit: int) -> None:
    limits = LengthLimits(p_data=limit)
    judge_length(4, limit, limits)
    with pytest.raises(RemoteProtocolError, match=f"claims {limit + 1} bytes; we announced a maximum of {limit}"):
        judge_length(4, limit + 1, limits)
    for length in range(6):
        with pytest.raises(RemoteProtocolError, match="too few"):
            judge_length(4, length, limits)


@pytest.mark.parametrize("together", [False, True])
def test_p_data_over_our_maximum_delivers_nothing(together: bool) -> None:
    performer = established(limits=LengthLimits(p_data=100))
    assert performer.receive(p_data(pdv(1, 1, bytes(94)))) == b""
    over = p_data(pdv(1, 3, bytes(95)))
    if together:  # the fast path sees both headers at once
        assert read(performer.receive(over)) == Abort(2, INVALID)
    else:
        assert refusal(performer, over[:6]) == Abort(2, INVALID)
    assert performer.receiver.fragments == [(1, 1, bytes(94))]
    assert performer.actions[-1] is Action.AA_8


@pytest.mark.parametrize("pdu_type", [1, 2])
def test_associate_pdus_have_their_own_cap(pdu_type: int) -> None:
    limits = LengthLimits(p_data=6, associate=1000)
    judge_length(pdu_type, 1000, limits)
    with pytest.raises(RemoteProtocolError, match="claims 1001 bytes; at most 1000 are taken"):
        judge_length(pdu_type, 1001, limits)


# A-ASSOCIATE at its cap, one byte at a time ---------------------------------------------------------------------------


def largest_rq() -> bytes:
    """An A-ASSOCIATE-RQ of exactly 256 KiB behind its header: four items nobody knows fill it."""
    request = rq_with(item(0x58, b"\1\0" + short(b"name") + short(b"")))
    left = 256 * 1024 - (len(request) - 6)
    body = request[6:] + item(0xEE, bytes(65535)) * 3
    body += item(0xEE, bytes(left - 3 * 65539 - 4))
    return header(1, len(body)) + body


def test_a_request_at_the_cap_is_taken() -> None:
    wire = largest_rq()
    assert len(wire) == 6 + 256 * 1024
    performer = acceptor()
    assert performer.receive(wire) == b""
    assert isinstance(performer.indications[0], AssociateIndication)


def test_a_request_at_the_cap_trickled_by_single_bytes_costs_one_append_each() -> None:
    # Only `receive` may run for each byte; whatever looks at what has come so far runs a fixed number of times.
    wire, calls = largest_rq(), 0
    performer = acceptor()
    receive = performer.provider.receive

    def count(frame: FrameType, event: str, argument: object) -> None:
        nonlocal calls
        calls += frame.f_code.co_name != "receive"

    before = sys.gettrace()
    sys.settrace(count)
    try:
        for at in range(len(wire) - 1):
            receive(wire[at : at + 1])
    finally:
        sys.settrace(before)
    assert calls < 10
    performer.receive(wire[-1:])
    assert performer.state is State.STA3


def test_an_answer_before_its_last_byte_is_not_an_answer() -> None:
    performer = reach(State.STA5, is_requestor=True)
    wire = ac()
    for byte in wire[:-1]:
        performer.receive(bytes([byte]))
        assert performer.state is State.STA5
        assert performer.provider.mid_pdu
    performer.receive(wire[-1:])
    assert performer.state is State.STA6
