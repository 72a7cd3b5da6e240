from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dimsetls.codes import ProviderReason
from dimsetls.errors import RemoteProtocolError
from dimsetls.ul.pdus import AssociateAC, AssociateRJ, AssociateRQ, PDataTF, RoleSelection
from dimsetls.ul.reader import read_pdu

from .wire import (
    CLASS_UID,
    CT,
    ECHOED,
    FULL_RQ,
    IMPLICIT,
    MAXIMUM_LENGTH,
    MEANINGS,
    NAME,
    STORAGE,
    USER,
    VERIFICATION,
    Field,
    ac,
    anatomy,
    context_ac,
    context_rq,
    item,
    p_data,
    pdu,
    pdv,
    put,
    read,
    rq,
    rq_with,
    short,
    vector,
)

ASSOCIATE_VECTORS = [name for name in MEANINGS if name.startswith(("a-associate-rq", "a-associate-ac"))]
BAD_UIDS = [b"", b".", b"1.", b".1", b"1..2", b"1.02", b"00", b"1.2a", b"1.-2", b" 1.2", b"1.2\0\0", b"1.2  ", b"1 .2"]
BAD_UIDS += [b"1." + b"2" * 63, "1.²".encode(), b"\xb2.1", b"1.2\n"]


def read_request(wire: bytes) -> AssociateRQ:
    request = read(wire)
    assert isinstance(request, AssociateRQ)
    return request


def read_answer(wire: bytes) -> AssociateAC:
    answer = read(wire)
    assert isinstance(answer, AssociateAC)
    return answer


def refused(wire: bytes, words: str, reason: ProviderReason = ProviderReason.INVALID_PDU_PARAMETER_VALUE) -> None:
    with pytest.raises(RemoteProtocolError, match=words) as caught:
        read(wire)
    assert caught.value.reason is reason


@pytest.mark.parametrize("name", MEANINGS)
def test_a_vector_means_what_is_typed_beside_it(name: str) -> None:
    assert read(vector(name)) == MEANINGS[name]


def test_identities_are_read_though_they_never_show() -> None:
    identity = read_request(vector("a-associate-rq-full")).user_information.user_identity
    assert identity is not None
    assert (identity.primary_field, identity.secondary_field) == (b"radiology", b"a passcode")
    response = read_answer(vector("a-associate-ac-full")).user_information.user_identity_response
    assert response is not None
    assert response.server_response == b"ticket"


# Reserved fields, versions, titles ---------------------------------------------------------------------------


@pytest.mark.parametrize("filling", [0x01, 0x7F, 0xFF])
@pytest.mark.parametrize("name", ASSOCIATE_VECTORS)
def test_reserved_fields_are_not_tested(name: str, filling: int) -> None:
    wire = vector(name)
    for field in anatomy(wire):
        if not field.is_length:
            wire = put(wire, field, int.from_bytes(bytes([filling]) * field.size, "big"))
    assert wire != vector(name)
    assert read(wire) == MEANINGS[name]


def test_reserved_fields_of_the_short_pdus_are_not_tested() -> None:
    assert read(pdu(3, bytes((0xFF, 1, 2, 1)))) == AssociateRJ(1, 2, 1)
    for name in ("a-release-rq", "a-release-rp"):
        assert read(vector(name)[:6] + b"\xff\xff\xff\xff") == MEANINGS[name]
    assert read(vector("a-abort-provider")[:6] + b"\xff\xff\x02\x06") == MEANINGS["a-abort-provider"]


def test_the_64_bytes_to_echo_are_kept_as_they_came() -> None:
    # PS3.8 Table 9-17: both titles with their padding and the reserved field.
    called, calling, reserved = b"  DIMSETLS      ", b"\0\xff not a title! ", bytes(range(0xE0, 0x100))
    wire = bytearray(rq())
    wire[10:74] = called + calling + reserved
    request = read_request(bytes(wire))
    assert request.echoed == called + calling + reserved
    assert request.called_ae_title == "DIMSETLS"  # spaces on both sides are padding (PS3.8 §9.3.2)
    assert read_answer(ac()).echoed == ECHOED


@pytest.mark.parametrize("version", [0x0001, 0x0003, 0x8001, 0xFFFF])
def test_only_bit_0_of_the_protocol_version_counts(version: int) -> None:
    assert read_request(rq(version=version)).protocol_version == version
    assert read_answer(ac(version=version)).protocol_version == version


@pytest.mark.parametrize("version", [0x0000, 0x0002, 0xFFFE])
def test_a_request_of_another_version_is_not_judged_further(version: int) -> None:
    # AE-6 answers it with a reject, whatever its items would mean in that version.
    request = read_request(rq(b"\x99", version=version))
    assert (request.protocol_version, request.called_ae_title, request.echoed) == (version, "DIMSETLS", ECHOED)
    refused(ac(version=version), "protocol version")


@pytest.mark.parametrize("length", [0, 1, 67])
def test_an_associate_pdu_shorter_than_its_fixed_part(length: int) -> None:
    refused(pdu(1, bytes(length)), "fixed part")
    refused(pdu(2, bytes(length)), "fixed part")


# Items ---------------------------------------------------------------------------------------------------------


def test_unknown_items_and_sub_items_are_skipped_at_every_level() -> None:
    strange = item(0x00, b"") + item(0x0F, b"abc") + item(0xFF, bytes(300))
    syntaxes = (strange, item(0x30, VERIFICATION), strange, item(0x40, IMPLICIT), strange)
    user = item(0x50, strange + MAXIMUM_LENGTH + item(0x5A, b"later") + CLASS_UID + strange)
    items = (strange, NAME, strange, context_rq(1, *syntaxes), context_ac(9), strange, user, strange)
    assert read(rq(*items)) == read(rq())
    answer = (strange, NAME, context_rq(8), context_ac(1, 0, strange, item(0x40, IMPLICIT), strange), strange, user)
    assert read(ac(*answer)) == read(ac())


def test_a_context_that_came_before_is_not_read_again() -> None:
    first, second = (read(rq()) for _ in range(2))
    assert isinstance(first, AssociateRQ)
    assert isinstance(second, AssociateRQ)
    assert first.presentation_contexts[0] is second.presentation_contexts[0]


def test_of_a_context_that_is_long_nothing_is_kept() -> None:
    syntaxes = [item(0x40, b"1.2.3.%d" % number) for number in range(100)]
    first, second = (read(rq(NAME, context_rq(1, item(0x30, CT), *syntaxes), USER)) for _ in range(2))
    assert isinstance(first, AssociateRQ)
    assert isinstance(second, AssociateRQ)
    assert first == second
    assert first.presentation_contexts[0] is not second.presentation_contexts[0]


def test_sub_items_come_in_any_order() -> None:
    request = vector("a-associate-rq-full")
    lengths = [field.offset for field in anatomy(request) if field.depth == 2 and field.is_length and not field.inner]
    starts = [offset - 2 for offset in lengths if offset > 299]  # those of the user information
    parts = [request[a:b] for a, b in zip(starts, [*starts[1:], len(request)], strict=True)]
    assert len(parts) == 9
    shuffled = request[: starts[0]] + b"".join(reversed(parts))
    information, again = FULL_RQ.user_information, read_request(shuffled).user_information
    assert set(again.role_selections) == set(information.role_selections)
    assert again.user_identity == information.user_identity
    assert again.common_extended_negotiations == information.common_extended_negotiations


@pytest.mark.parametrize(
    ("wire", "words"),
    [
        (rq(context_rq(), USER), "0 application context"),
        (rq(NAME, NAME, context_rq(), USER), "2 application context"),
        (rq(NAME, USER), "no presentation context"),
        (rq(NAME, context_rq()), "0 user information"),
        (rq(NAME, context_rq(), USER, USER), "2 user information"),
        (rq(NAME, context_rq(1, item(0x40, IMPLICIT)), USER), "0 abstract syntax"),
        (rq(NAME, context_rq(1, *[item(0x30, CT)] * 2, item(0x40, IMPLICIT)), USER), "2 abstract syntax"),
        (rq(NAME, context_rq(1, item(0x30, CT)), USER), "no transfer syntax"),
        (rq(NAME, context_rq(), item(0x50, CLASS_UID)), "mandatory sub-item 51H"),
        (rq(NAME, context_rq(), item(0x50, MAXIMUM_LENGTH)), "mandatory sub-item 52H"),
        (rq(NAME, context_rq(), item(0x50, b"")), "mandatory sub-item"),
        (rq(NAME, item(0x20, b"\x01\0\0"), USER), "3 bytes, at least 4"),
        (ac(context_ac(), USER), "0 application context"),
        (ac(NAME, USER), "no presentation context"),
        (ac(NAME, context_ac()), "0 user information"),
        (ac(NAME, context_ac(1, 0, item(0x30, CT)), USER), "0 transfer syntax"),
        (ac(NAME, context_ac(1, 0, *[item(0x40, IMPLICIT)] * 2), USER), "2 transfer syntax"),
        (ac(NAME, item(0x21, b"\x01\0"), USER), "2 bytes, at least 4"),
    ],
)
def test_a_mandatory_item_is_there_exactly_once(wire: bytes, words: str) -> None:
    refused(wire, words)


@pytest.mark.parametrize("context_id", [0, 2, 128, 254])
def test_even_context_ids_are_refused(context_id: int) -> None:
    refused(rq(NAME, context_rq(1), context_rq(context_id), USER), f"ID {context_id} is even")
    refused(ac(NAME, context_ac(1), context_ac(context_id), USER), f"ID {context_id} is even")


@pytest.mark.parametrize("context_id", [1, 255])
def test_repeated_context_ids_are_refused(context_id: int) -> None:
    refused(rq(NAME, context_rq(context_id), context_rq(77), context_rq(context_id), USER), "more than once")
    refused(ac(NAME, context_ac(context_id), context_ac(77), context_ac(context_id), USER), "more than once")


def test_128_contexts_in_any_order() -> None:
    wanted = [*range(255, 0, -2)]
    request = read_request(rq(NAME, *map(context_rq, wanted), USER))
    assert [context.context_id for context in request.presentation_contexts] == wanted
    answer = read_answer(ac(NAME, *map(context_ac, wanted), USER))
    assert [context.context_id for context in answer.presentation_contexts] == wanted


# UIDs ------------------------------------------------------------------------------------------------------------

PLACES_OF_A_UID: dict[str, Callable[[bytes], bytes]] = {
    "application context": lambda uid: rq(item(0x10, uid), context_rq(), USER),
    "application context of the answer": lambda uid: ac(item(0x10, uid), context_ac(), USER),
    "abstract syntax": lambda uid: rq(NAME, context_rq(1, item(0x30, uid), item(0x40, IMPLICIT)), USER),
    "transfer syntax": lambda uid: rq(NAME, context_rq(1, item(0x30, CT), item(0x40, uid)), USER),
    "second transfer syntax": lambda uid: rq(
        NAME, context_rq(1, item(0x30, CT), item(0x40, IMPLICIT), item(0x40, uid)), USER
    ),
    "accepted transfer syntax": lambda uid: ac(NAME, context_ac(1, 0, item(0x40, uid)), USER),
    "implementation class": lambda uid: rq(NAME, context_rq(), item(0x50, MAXIMUM_LENGTH + item(0x52, uid))),
    "role selection": lambda uid: rq_with(item(0x54, short(uid) + b"\1\0")),
    "extended negotiation": lambda uid: rq_with(item(0x56, short(uid) + b"\1")),
    "common extended, SOP class": lambda uid: rq_with(item(0x57, short(uid) + short(STORAGE) + short(b""))),
    "common extended, service class": lambda uid: rq_with(item(0x57, short(CT) + short(uid) + short(b""))),
    "common extended, related": lambda uid: rq_with(
        item(0x57, short(CT) + short(STORAGE) + short(short(CT) + short(uid)))
    ),
}  # fmt: skip


@pytest.mark.parametrize("uid", BAD_UIDS)
@pytest.mark.parametrize("place", PLACES_OF_A_UID)
def test_what_is_not_a_uid_is_refused(place: str, uid: bytes) -> None:
    refused(PLACES_OF_A_UID[place](uid), "not a UID")


@pytest.mark.parametrize("place", PLACES_OF_A_UID)
def test_a_uid_has_up_to_64_characters_and_one_byte_of_padding_is_forgiven(place: str) -> None:
    longest = b"1.0." + b"9" * 60
    plain = read(PLACES_OF_A_UID[place](longest))
    for padding in (b"\0", b" "):
        assert read(PLACES_OF_A_UID[place](longest + padding)) == plain


@pytest.mark.parametrize("result", [1, 2, 3, 4, 255])
@pytest.mark.parametrize("sub_items", [b"", item(0x40, b""), item(0x40, b"\xff\x00"), item(0x40, b"x" * 99)])
def test_the_transfer_syntax_of_a_refused_context_is_not_tested(result: int, sub_items: bytes) -> None:
    # PS3.8 Table 9-18: its value has no meaning there. Reserved results are refusals too.
    wire = ac(NAME, item(0x21, bytes((1, 0, result, 0)) + sub_items), USER)
    context = read_answer(wire).presentation_contexts[0]
    assert context.result == result
    assert not context.accepted


# Sub-items of the user information -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    "sub_item",
    [
        item(0x51, bytes(3)),
        item(0x51, bytes(5)),
        item(0x53, bytes(3)),
        item(0x53, bytes(5)),
        item(0x54, short(CT)),
        item(0x54, short(CT) + b"\1"),
        item(0x54, short(CT) + b"\1\1\1"),
        item(0x54, b"\0"),
        item(0x56, b"\0"),
        item(0x56, b"\0\x30" + CT.encode()),
        item(0x57, short(CT)),
        item(0x57, short(CT) + short(STORAGE)),
        item(0x57, short(CT) + short(STORAGE) + short(b"\0")),
        item(0x57, short(CT) + short(STORAGE) + short(b"\0\x50" + CT.encode())),
        item(0x58, b""),
        item(0x58, b"\1\0" + short(b"user")),
        item(0x58, b"\1\0" + short(b"user") + b"\0\5pass"),
        item(0x58, b"\1\0" + short(b"user") + short(b"") + b"\0"),
        item(0x59, b""),
        item(0x59, b"\0\5abc"),
        item(0x59, short(b"abc") + b"\0"),
    ],
)
def test_a_sub_item_of_the_wrong_length_is_refused(sub_item: bytes) -> None:
    others = b"" if sub_item[0] == 0x51 else MAXIMUM_LENGTH
    user = item(0x50, others + CLASS_UID + sub_item)
    refused(rq(NAME, context_rq(), user), "long, |left")
    refused(ac(NAME, context_ac(), user), "long, |left")


@pytest.mark.parametrize("sub_item", [
    MAXIMUM_LENGTH,
    CLASS_UID,
    item(0x53, bytes(4)),
    item(0x55, b"NAME"),
    item(0x58, b"\1\0" + short(b"user") + short(b"")),
    item(0x59, short(b"")),
])  # fmt: skip
def test_sub_items_that_stand_at_most_once(sub_item: bytes) -> None:
    refused(rq_with(sub_item, sub_item), f"more than one sub-item {sub_item[0]:02X}H")


def test_roles_of_one_sop_class_may_be_said_twice_but_not_differently() -> None:
    scu, scp = (item(0x54, short(CT) + flags) for flags in (b"\1\0", b"\0\1"))
    assert read_request(rq_with(scu, scu)).user_information.role_selections == (RoleSelection(CT, True, False),)
    refused(rq_with(scu, scp), "contradict")


@pytest.mark.parametrize(
    ("flags", "roles"), [(b"\1\1", (True, True)), (b"\0\1", (False, True)), (b"\2\xff", (False, False))]
)
def test_a_role_is_offered_by_1_alone(flags: bytes, roles: tuple[bool, bool]) -> None:
    (selection,) = read_request(rq_with(item(0x54, short(CT) + flags))).user_information.role_selections
    assert (selection.scu_role, selection.scp_role) == roles


def test_a_version_name_loses_its_padding() -> None:
    wire = rq_with(item(0x55, b"DIMSETLS_0.1 \0"))
    assert read_request(wire).user_information.implementation_version_name == "DIMSETLS_0.1"


def test_common_extended_negotiation_of_a_later_version_may_be_longer() -> None:
    # PS3.7 Table D.3-12: bytes after the related general SOP classes are reserved for later versions.
    body = short(CT) + short(STORAGE) + short(b"")
    assert read(rq_with(item(0x57, body + b"more"))) == read(rq_with(item(0x57, body)))


# Lying lengths ---------------------------------------------------------------------------------------------------


def lengths(name: str) -> list[Field]:
    return [field for field in anatomy(vector(name)) if field.is_length and field.depth]


@pytest.mark.parametrize("name", ["a-associate-rq-full", "a-associate-ac-full"])
def test_a_length_that_lies_is_refused_or_leaves_a_consistent_pdu(name: str) -> None:
    wire = vector(name)
    for field in lengths(name):
        true = int.from_bytes(wire[field.offset : field.offset + field.size], "big")
        for lie in {*range(64), *range(max(0, true - 64), true + 64), 0x7FFF, 0x8000, 0xFFFF} - {true}:
            try:
                meaning = read(put(wire, field, lie))
            except RemoteProtocolError:
                continue
            assert abs(lie - true) > 1  # a boundary can only move by a whole item or a whole UID component,
            assert meaning != MEANINGS[name]  # and then something is missing


@pytest.mark.parametrize("name", ASSOCIATE_VECTORS)
def test_items_fill_the_pdu_exactly(name: str) -> None:
    wire = vector(name)
    for cut in range(1, len(wire) - 6):
        with pytest.raises(RemoteProtocolError):
            read(pdu(wire[0], wire[6:-cut]))
    for trailing in (b"\0", b"\x55\0\0", b"\x55\0\0\1"):
        refused(pdu(wire[0], wire[6:] + trailing), "left")


# P-DATA-TF and the fixed-length PDUs ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("body", "words"),
    [
        (b"", "without a presentation data value"),
        (pdv(1, 2, b"ab") + b"\0", "1 bytes are left"),
        (pdv(1, 2, b"ab") + bytes(5), "5 bytes are left"),
        (b"\0\0\0\0\1\2", "claims 0 bytes"),
        (b"\0\0\0\1\1\2", "claims 1 bytes"),
        (b"\0\0\0\5\1\2ab", "claims 5 bytes, its PDU has 4"),
        (b"\xff\xff\xff\xff\1\2ab", "claims 4294967295 bytes"),
        (pdv(1, 2, b"ab") + b"\0\0\0\3\1\2", "claims 3 bytes, its PDU has 2"),
    ],
)
def test_pdvs_fill_their_p_data_tf_exactly(body: bytes, words: str) -> None:
    refused(pdu(4, body), words)


def test_the_upper_bits_of_a_control_header_are_never_checked() -> None:
    read_back = read(p_data(pdv(1, 0xFD, b"ab"), pdv(1, 0xFE, b""), pdv(1, 0xFC, b"c")))
    assert isinstance(read_back, PDataTF)
    kinds = [(value.is_command, value.is_last, value.fragment) for value in read_back.values]
    assert kinds == [(True, False, b"ab"), (False, True, b""), (False, False, b"c")]


@pytest.mark.parametrize("pdu_type", [3, 5, 6, 7])
@pytest.mark.parametrize("length", [0, 3, 5])
def test_fixed_length_pdus_have_four_bytes(pdu_type: int, length: int) -> None:
    refused(pdu(pdu_type, bytes(length)), "fixed length 4")


@pytest.mark.parametrize("pdu_type", [0, 8, 0x16, 0xFF])
def test_a_type_that_does_not_exist(pdu_type: int) -> None:
    refused(pdu(pdu_type, b""), f"type {pdu_type:02X}H", ProviderReason.UNRECOGNIZED_PDU)


# Whatever else comes -----------------------------------------------------------------------------------------------


def survives(pdu_type: int, body: bytes) -> None:
    with suppress(RemoteProtocolError):  # and nothing else
        read_pdu(pdu_type, body)


@settings(deadline=None)
@given(st.integers(0, 255), st.binary(max_size=300))
def test_any_body_is_read_or_refused(pdu_type: int, body: bytes) -> None:
    survives(pdu_type, body)


@settings(deadline=None, max_examples=200)
@given(st.data())
def test_any_damage_is_read_or_refused(data: st.DataObject) -> None:
    wire = bytearray(vector(data.draw(st.sampled_from(ASSOCIATE_VECTORS))))
    for _ in range(data.draw(st.integers(1, 4))):
        wire[data.draw(st.integers(6, len(wire) - 1))] = data.draw(st.integers(0, 255))
    survives(wire[0], bytes(wire[6:]))


_items = st.recursive(
    st.builds(item, st.sampled_from([0x10, 0x30, 0x40, *range(0x51, 0x5B)]), st.binary(max_size=40)),
    lambda inner: st.builds(
        lambda kind, head, values: item(kind, head + b"".join(values)),
        st.sampled_from([0x20, 0x21, 0x50]),
        st.sampled_from([b"", b"\1\0\0\0"]),
        st.lists(inner, max_size=5),
    ),
    max_leaves=12,
)


@settings(deadline=None, max_examples=200)
@given(st.sampled_from([rq, ac]), st.lists(_items, max_size=6))
def test_any_items_are_read_or_refused(build: Callable[..., bytes], items: list[bytes]) -> None:
    wire = build(b"", *items)
    survives(wire[0], wire[6:])
