from __future__ import annotations

from dataclasses import replace
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from dimsetls.errors import LocalProtocolError
from dimsetls.ul.pdus import (
    PDU,
    PDV,
    Abort,
    AssociateAC,
    AssociateRJ,
    AssociateRQ,
    AsynchronousOperationsWindow,
    CommonExtendedNegotiation,
    ExtendedNegotiation,
    PDataTF,
    PresentationContextAC,
    PresentationContextRQ,
    ReleaseRP,
    ReleaseRQ,
    RoleSelection,
    UserIdentityAC,
    UserIdentityRQ,
    UserInformation,
)
from dimsetls.ul.writer import LARGEST_PDU_LENGTH, write_fragments, write_pdu

from .wire import CT, ECHOED, FULL_AC, FULL_RQ, IMPLICIT, MEANINGS, anatomy, read, rq, vector

# What a peer sent with a reserved byte set is not what we send for the same meaning.
CANONICAL = [name for name in MEANINGS if name != "a-associate-rq-echoscu"]


@pytest.mark.parametrize("name", CANONICAL)
def test_a_meaning_becomes_its_vector(name: str) -> None:
    assert write_pdu(MEANINGS[name]) == vector(name)


def test_reserved_fields_are_sent_as_zero() -> None:
    theirs = vector("a-associate-rq-echoscu")
    assert theirs[105] == 0xFF
    assert write_pdu(MEANINGS["a-associate-rq-echoscu"]) == theirs[:105] + b"\0" + theirs[106:]


def test_titles_are_padded_with_spaces_to_16_characters() -> None:
    wire = write_pdu(replace(FULL_RQ, called_ae_title="A", calling_ae_title="SIXTEEN_LETTERS_", echoed=b""))
    assert wire[10:74] == b"A               SIXTEEN_LETTERS_" + bytes(32)


def test_the_answer_sends_back_the_64_bytes_of_the_request() -> None:
    request = read(rq())
    assert isinstance(request, AssociateRQ)
    assert write_pdu(replace(FULL_AC, echoed=request.echoed))[10:74] == ECHOED


def test_items_go_out_in_ascending_order() -> None:
    # PS3.8 §9.3.2.3: some old receivers expect it of the sub-items too.
    for wire in (write_pdu(FULL_RQ), write_pdu(FULL_AC)):
        for depth, start in ((1, 74), (2, wire.rindex(b"\x51\0\0\4"))):
            fields = [field for field in anatomy(wire) if field.is_length and not field.inner and field.depth == depth]
            types = [wire[field.offset - 2] for field in fields if field.offset > start]
            assert len(types) > 2
            assert all(first <= second for first, second in pairwise(types))


# Round trips -----------------------------------------------------------------------------------------------------

_uids = st.lists(st.integers(0, 10**9), min_size=1, max_size=6).map(lambda numbers: ".".join(map(str, numbers)))
_ids = st.integers(0, 127).map(lambda n: 2 * n + 1)
_titles = st.text(st.characters(min_codepoint=33, max_codepoint=126), min_size=1, max_size=16)
_opaque = st.binary(max_size=40)


def _tuples(
    elements: st.SearchStrategy[object], least: int = 0, unique: str = ""
) -> st.SearchStrategy[tuple[object, ...]]:
    by = (lambda element: getattr(element, unique)) if unique else None
    return st.lists(elements, min_size=least, max_size=3, unique_by=by).map(tuple)


_user = st.builds(
    UserInformation,
    st.integers(0, 2**32 - 1),
    _uids,
    st.none() | _titles,
    st.none() | st.builds(AsynchronousOperationsWindow, st.integers(0, 65535), st.integers(0, 65535)),
    _tuples(st.builds(RoleSelection, _uids, st.booleans(), st.booleans()), unique="sop_class_uid"),
    _tuples(st.builds(ExtendedNegotiation, _uids, _opaque)),
    _tuples(st.builds(CommonExtendedNegotiation, _uids, _uids, _tuples(_uids))),
    st.none() | st.builds(UserIdentityRQ, st.integers(0, 255), st.booleans(), _opaque, _opaque),
    st.none() | st.builds(UserIdentityAC, _opaque),
)
_versions = st.integers(0, 32767).map(lambda n: 2 * n + 1)
_echoed = st.binary(min_size=64, max_size=64)
_contexts_rq = _tuples(st.builds(PresentationContextRQ, _ids, _uids, _tuples(_uids, 1)), 1, "context_id")
_contexts_ac = _tuples(st.builds(PresentationContextAC, _ids, st.integers(0, 255), _uids), 1, "context_id")
_bytes = st.integers(0, 255)
PDUS: st.SearchStrategy[PDU] = st.one_of(
    st.builds(AssociateRQ, _titles, _titles, _uids, _contexts_rq, _user, _versions),
    st.builds(AssociateAC, _uids, _contexts_ac, _user, _versions, _echoed),
    st.builds(AssociateRJ, _bytes, _bytes, _bytes),
    st.builds(PDataTF, _tuples(st.builds(PDV, _bytes, _bytes, _opaque), 1)),
    st.just(ReleaseRQ()),
    st.just(ReleaseRP()),
    st.builds(Abort, _bytes, _bytes),
)


@settings(deadline=None, max_examples=200)
@given(PDUS)
def test_every_pdu_survives_the_wire(pdu: PDU) -> None:
    wire = write_pdu(pdu)
    again = read(wire)
    assert again == pdu
    assert write_pdu(again) == wire


def test_the_most_contexts_there_can_be() -> None:
    contexts = tuple(PresentationContextRQ(n, CT, (IMPLICIT,) * 20) for n in range(1, 256, 2))
    request = replace(FULL_RQ, presentation_contexts=contexts)
    assert read(write_pdu(request)) == request


# What does not fit ----------------------------------------------------------------------------------------------


def _rq_with(**changes: Any) -> AssociateRQ:
    return replace(FULL_RQ, user_information=replace(FULL_RQ.user_information, **changes))


@pytest.mark.parametrize(
    "pdu",
    [
        replace(FULL_RQ, called_ae_title="", echoed=b""),
        replace(FULL_RQ, calling_ae_title="SEVENTEEN_LETTERS", echoed=b""),
        replace(FULL_RQ, called_ae_title="RÖNTGEN", echoed=b""),
        replace(FULL_RQ, echoed=bytes(63)),
        replace(FULL_AC, echoed=b""),
        replace(FULL_RQ, protocol_version=0x10000),
        replace(FULL_RQ, application_context="1.2.²"),
        replace(FULL_RQ, presentation_contexts=(PresentationContextRQ(256, CT, (IMPLICIT,)),)),
        replace(FULL_AC, presentation_contexts=(PresentationContextAC(1, 256, IMPLICIT),)),
        replace(FULL_RQ, presentation_contexts=(PresentationContextRQ(1, CT, (IMPLICIT,) * 4000),)),
        _rq_with(maximum_length=2**32),
        _rq_with(maximum_length=-1),
        _rq_with(implementation_version_name="Ä"),
        _rq_with(asynchronous_operations_window=AsynchronousOperationsWindow(65536, 1)),
        _rq_with(extended_negotiations=(ExtendedNegotiation(CT, bytes(65535)),)),
        _rq_with(user_identity=UserIdentityRQ(2, False, bytes(65536))),
        _rq_with(user_identity=UserIdentityRQ(2, False, bytes(65400))),  # fits its field, but not the item around it
        _rq_with(user_identity=UserIdentityRQ(256, False, b"")),
        AssociateRJ(1, 1, 256),
        AssociateRJ(-1, 1, 1),
        Abort(2, 256),
        PDataTF((PDV(256, 3, b""),)),
    ],
)
def test_a_value_that_does_not_fit_its_field_is_a_local_error(pdu: PDU) -> None:
    with pytest.raises(LocalProtocolError) as caught:
        write_pdu(pdu)
    assert "x00" not in str(caught.value)  # the message names lengths, never an opaque value, which may be a secret


# Fragments ---------------------------------------------------------------------------------------------------------


@settings(deadline=None)
@given(st.booleans(), st.binary(max_size=400), st.integers(8, 60))
@example(False, bytes(100), 15)  # room for nine bytes, of which eight are used
@example(True, bytes(101), 106)
def test_fragments_fit_and_add_up(is_command: bool, data: bytes, maximum_length: int) -> None:
    pdus = write_fragments(7, is_command, data, maximum_length)
    values = []
    for wire in pdus:
        again = read(wire)
        assert isinstance(again, PDataTF)
        assert len(wire) - 6 <= maximum_length  # PS3.8 D.1: the maximum is for the PDU-length
        (value,) = again.values
        assert (value.context_id, value.is_command) == (7, is_command)
        assert value.control & ~3 == 0  # PS3.8 E.2: bits 2 to 7 are sent as zero
        values.append(value)
    assert b"".join(value.fragment for value in values) == data
    assert [value.is_last for value in values] == [False] * (len(values) - 1) + [True]
    assert all(len(value.fragment) % 2 == 0 for value in values[:-1])  # PS3.8 E.1
    assert all(len(value.fragment) > (maximum_length - 6) - 2 for value in values[:-1])  # no PDU smaller than need be


@pytest.mark.parametrize("maximum_length", [0, LARGEST_PDU_LENGTH, 2**32 - 1])
def test_without_a_limit_a_pdu_fills_eight_tls_records(maximum_length: int) -> None:
    pdus = write_fragments(1, False, memoryview(bytes(300_000)), maximum_length)
    assert [len(wire) for wire in pdus] == [131072, 131072, 300_000 - 2 * 131_060 + 12]


def test_no_data_is_one_empty_last_fragment() -> None:
    assert write_fragments(1, True, b"", 16384) == [write_pdu(PDataTF((PDV(1, 3, b""),)))]


@pytest.mark.parametrize("maximum_length", [1, 6, 7])
def test_a_maximum_that_leaves_no_room(maximum_length: int) -> None:
    with pytest.raises(LocalProtocolError, match="no room"):
        write_fragments(1, True, b"ab", maximum_length)
