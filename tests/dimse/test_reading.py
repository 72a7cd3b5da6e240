"""Command sets to typed messages: what is read, what is forgiven, what is refused and how that is answered."""

from __future__ import annotations

from io import BytesIO
from typing import Any

import pynetdicom.dimse_messages
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydicom.datadict import keyword_for_tag
from pynetdicom.dsutils import encode

from dimsetls.codes import CommandField, Priority
from dimsetls.dimse import reading
from dimsetls.dimse.command import AE_ELEMENTS, AT_ELEMENTS, UI_ELEMENTS, Element, read_command, write_command
from dimsetls.dimse.messages import (
    CCancelRQ,
    CEchoRQ,
    CEchoRSP,
    CFindRQ,
    CFindRSP,
    CGetRSP,
    CMoveRQ,
    CStoreRQ,
    CStoreRSP,
    InvalidElement,
    MissingElement,
    elements_of,
    number,
)
from dimsetls.dimse.normalized import (
    NActionRQ,
    NActionRSP,
    NCreateRQ,
    NCreateRSP,
    NDeleteRQ,
    NEventReportRQ,
    NEventReportRSP,
    NGetRQ,
)
from dimsetls.dimse.reading import mismatch, read_request, read_response
from dimsetls.dimse.status import Status
from dimsetls.errors import RemoteProtocolError

from .vectors import REQUESTS, RESPONSES, VECTORS, name

E = Element


def read(command: Any) -> Any:
    return (read_response if command[E.COMMAND_FIELD] & 0x8000 else read_request)(command)


@pytest.mark.parametrize("vector", VECTORS, ids=name)
def test_these_bytes_say_exactly_this(vector):
    assert read(read_command(vector.wire)) == vector.message


@pytest.mark.parametrize("vector", VECTORS, ids=name)
def test_pynetdicom_writes_the_same_bytes(vector):
    theirs = getattr(pynetdicom.dimse_messages, vector.message.COMMAND_FIELD.name)()
    primitive = pynetdicom.dimse_messages._MSG_TO_PRIMITVE[vector.message.COMMAND_FIELD.name.rpartition("_")[0]]()
    for field, element, _ in elements_of(type(vector.message)):
        if (value := getattr(vector.message, field)) not in (None, "", ()):
            setattr(primitive, keyword_for_tag(element), list(value) if isinstance(value, tuple) else value)
    if vector.has_data_set:
        setattr(primitive, pynetdicom.dimse_messages._DATASET_KEYWORDS[type(theirs).__name__], BytesIO(b"\x08\0\x16\0"))
    theirs.primitive_to_message(primitive)
    assert encode(theirs.command_set, True, True) == vector.wire


def test_there_is_a_class_for_every_command_field():
    assert {*reading.REQUESTS, *reading.RESPONSES, CommandField.C_CANCEL_RQ} == set(CommandField)
    assert {kind.RESPONSE.COMMAND_FIELD: field | 0x8000 for field, kind in reading.REQUESTS.items()} == {
        field: field for field in reading.RESPONSES
    }


def test_an_operation_that_ps3_7_does_not_know_is_none():
    for field in set(range(0x8000)) - {*reading.REQUESTS, CommandField.C_CANCEL_RQ}:
        assert read_request({E.COMMAND_FIELD: field}) is None


@pytest.mark.parametrize("field", [0x8002, 0x8FFF, 0xFFFF, 0x0001])
def test_a_response_that_no_operation_has_is_the_peers_error(field):
    with pytest.raises(RemoteProtocolError, match=f"Command Field {field:04X}H, which no operation has"):
        read_response({E.COMMAND_FIELD: field, E.MESSAGE_ID_BEING_RESPONDED_TO: 1, E.STATUS: 0})


# Mandatory elements, by the tables of PS3.7 and not by our own: what remains of a message when one is taken away.

OF_RESPONSES = {0x0002, 0x0901, 0x0902, 0x0903, 0x1000, 0x1002, 0x1005, 0x1008, 0x1020, 0x1021, 0x1022, 0x1023}
OPTIONAL = {"C-STORE-RQ": {0x1030, 0x1031}, "N-GET-RQ": {0x1005}, "N-CREATE-RQ": {0x1000}} | {
    vector.message.name: OF_RESPONSES for vector in RESPONSES
}


@pytest.mark.parametrize("vector", VECTORS, ids=name)
def test_a_mandatory_element_is_missed_and_an_optional_one_is_not(vector):
    whole = read_command(vector.wire)
    for element in sorted(set(whole) - {E.COMMAND_GROUP_LENGTH, E.COMMAND_FIELD, E.COMMAND_DATA_SET_TYPE}):
        rest = {number: value for number, value in whole.items() if number != element}
        if element in OPTIONAL.get(vector.message.name, ()):
            assert type(read(rest)) is type(vector.message)
            continue
        with pytest.raises(MissingElement) as raised:
            read(rest)
        assert str(raised.value) == f"the command set lacks {E(element).name} (0000,{element:04X})"
        assert raised.value.element == element
        assert raised.value.status == Status.MISTYPED_ARGUMENT


@pytest.mark.parametrize("vector", VECTORS, ids=name)
def test_an_empty_element_is_as_good_as_none(vector):
    whole = vector.message.command(vector.has_data_set)
    for element in UI_ELEMENTS | AE_ELEMENTS:
        if element in whole and element not in OPTIONAL.get(vector.message.name, ()):
            with pytest.raises(MissingElement, match=element.name):
                read(read_command(write_command(whole | {element: ""})))
            with pytest.raises(MissingElement, match=element.name):
                read(read_command(write_command(whole | {element: "  "})))


# Values ------------------------------------------------------------------------------------------------------------


BAD_UIDS = ["1..2", "1.02", ".1", "1.", "x", "1.2\\1.3", "../../etc", "1.2.3\0.4", "1 2", "1." + "2" * 63]


@pytest.mark.parametrize("uid", BAD_UIDS)
@pytest.mark.parametrize(("message", "element", "status"), [
    (CEchoRQ(1, "1.2"), E.AFFECTED_SOP_CLASS_UID, 0x0122),
    (CStoreRQ(1, "1.2", "1.3"), E.AFFECTED_SOP_INSTANCE_UID, 0x0117),
    (NGetRQ(1, "1.2", "1.3"), E.REQUESTED_SOP_CLASS_UID, 0x0122),
    (NDeleteRQ(1, "1.2", "1.3"), E.REQUESTED_SOP_INSTANCE_UID, 0x0117),
    (NCreateRQ(1, "1.2", "1.3"), E.AFFECTED_SOP_INSTANCE_UID, 0x0117),
])  # fmt: skip
def test_what_is_no_uid_is_refused_by_the_status_for_it(message, element, status, uid):
    with pytest.raises(InvalidElement) as raised:
        read_request(message.command() | {element: uid})
    assert (raised.value.element, raised.value.status) == (element, status)
    assert str(raised.value).startswith(f"{element.name} (0000,{element:04X}) is no UID: ")


@pytest.mark.parametrize("title", ["A" * 17, "A\\B", "A\nB", "\x1b[2J", "M\xdcLLER", "\x7f"])
@pytest.mark.parametrize(("message", "element", "status"), [
    (CMoveRQ(1, "1.2", "AE"), E.MOVE_DESTINATION, 0xA801),
    (CStoreRQ(1, "1.2", "1.3"), E.MOVE_ORIGINATOR_AE_TITLE, 0x0212),
])  # fmt: skip
def test_what_is_no_ae_title_is_refused_by_the_status_for_it(message, element, status, title):
    with pytest.raises(InvalidElement) as raised:
        read_request(message.command() | {element: title})
    assert (raised.value.element, raised.value.status) == (element, status)
    assert "is no AE title: " in str(raised.value)


@pytest.mark.parametrize("title", ["A", "a", "A" * 16, "MOVE SCU", "#1!~"])
def test_these_are_ae_titles(title):
    assert read_request(CMoveRQ(1, "1.2", title).command()) == CMoveRQ(1, "1.2", title)


def test_a_refusal_shows_control_characters_as_such_and_no_more_than_64_characters():
    with pytest.raises(InvalidElement) as raised:
        read_request(CEchoRQ(1, "\x1b" * 5000).command())
    assert "\x1b" not in str(raised.value)
    assert len(str(raised.value)) < 400


@pytest.mark.parametrize("priority", [0, 1, 2, 3, 0xFFFF])
def test_no_priority_is_a_reason_to_refuse(priority):
    read = read_request(CStoreRQ(1, "1.2", "1.3", priority).command())
    assert read == CStoreRQ(1, "1.2", "1.3", priority if priority < 3 else Priority.MEDIUM)


@pytest.mark.parametrize("vector", [vector for vector in VECTORS if vector.has_data_set], ids=name)
def test_a_data_set_that_is_due_has_to_come(vector):
    command = read_command(vector.wire) | {E.COMMAND_DATA_SET_TYPE: 0x0101}
    if vector.message.data_set is not reading.DataSet.REQUIRED:
        assert read(command) == vector.message
        return
    with pytest.raises(InvalidElement, match=f"{vector.message.name} came without a data set") as raised:
        read(command)
    assert (raised.value.element, raised.value.status) == (E.COMMAND_DATA_SET_TYPE, 0x0212)


@pytest.mark.parametrize("kind", [0x0000, 0x0001, 0x0102, 0x0100, 0xFFFF])
@pytest.mark.parametrize("vector", VECTORS, ids=name)
def test_a_data_set_that_nobody_asked_for_is_forgiven_whatever_it_is_announced_by(vector, kind):
    assert read(read_command(vector.wire) | {E.COMMAND_DATA_SET_TYPE: kind}) == vector.message


def test_a_pending_response_without_numbers_is_forgiven():
    assert read_response(CGetRSP(1, 0xFF00).command()) == CGetRSP(1, 0xFF00)


def test_a_comment_that_is_too_long_and_a_message_id_in_a_response_are_forgiven():
    command = CStoreRSP(1, 0xC000).command() | {E.ERROR_COMMENT: "x" * 200, E.MESSAGE_ID: 4711}
    assert read_response(command) == CStoreRSP(1, 0xC000, error_comment="x" * 200)


# On the wire -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("vector", VECTORS, ids=name)
def test_a_missing_or_wrong_group_length_is_forgiven(vector):
    for start in (b"", vector.wire[:8] + bytes(4), vector.wire[:8] + b"\xff" * 4):
        assert read(read_command(start + vector.wire[12:])) == vector.message


@pytest.mark.parametrize("vector", VECTORS, ids=name)
def test_retired_and_unknown_elements_are_skipped(vector):
    wire = vector.wire[:12] + b"\0\0\1\0\4\0\0\0what" + vector.wire[12:] + b"\0\0\x10\x40\4\0\0\0ever"
    assert read(read_command(wire)) == vector.message


@pytest.mark.parametrize("vector", VECTORS, ids=name)
def test_an_odd_length_and_a_number_of_another_length_are_refused(vector):
    def read_all(wire):
        command = read_command(wire)
        for element in (E.COMMAND_FIELD, E.COMMAND_DATA_SET_TYPE):  # which the assembler reads
            number(command, element)
        return read(command)

    def refused(wire):
        with pytest.raises(InvalidElement) as raised:
            read_all(wire)
        return raised.value

    at = 12
    while at < len(vector.wire):
        element = int.from_bytes(vector.wire[at + 2 : at + 4], "little")
        length = int.from_bytes(vector.wire[at + 4 : at + 8], "little")
        end = at + 8 + length
        before, value, after = vector.wire[: at + 4], vector.wire[at + 8 : end], vector.wire[end:]
        error = refused(before + (length + 1).to_bytes(4, "little") + value + b"\0" + after)
        assert (error.element, error.status) == (element, 0x0212)
        if length == 2:
            error = refused(before + b"\4\0\0\0" + value + b"\0\0" + after)
            assert f"(0000,{element:04X}) has 4 bytes, not 2" in str(error)
        at = end


UIDS = st.from_regex(r"(0|[1-9][0-9]{0,5})(\.(0|[1-9][0-9]{0,5})){0,7}", fullmatch=True)
AE_TITLES = st.from_regex(r"[!-\[\]-~]([ -\[\]-~]{0,14}[!-\[\]-~])?", fullmatch=True)
COMMENTS = st.from_regex(r"[!-\[\]-~]([ -\[\]-~]{0,62}[!-\[\]-~])?", fullmatch=True)
TAGS = st.lists(st.integers(0, 2**32 - 1), min_size=1, max_size=9).map(tuple)


def values(element: Element) -> st.SearchStrategy[Any]:
    if element in UI_ELEMENTS:
        return UIDS
    if element in AE_ELEMENTS:
        return AE_TITLES
    if element is E.PRIORITY:
        return st.sampled_from(Priority)
    if element is E.STATUS:
        return st.sampled_from(Status) | st.integers(0, 0xFFFF)
    return COMMENTS if element is E.ERROR_COMMENT else TAGS if element in AT_ELEMENTS else st.integers(0, 0xFFFF)


def messages(kind: Any) -> st.SearchStrategy[Any]:
    mandatory = {field: values(element) for field, element, is_mandatory in elements_of(kind) if is_mandatory}
    optional = {field: values(element) for field, element, is_mandatory in elements_of(kind) if not is_mandatory}
    return st.fixed_dictionaries(mandatory, optional=optional).map(lambda fields: kind(**fields))


KINDS = [*reading.REQUESTS.values(), *reading.RESPONSES.values(), CCancelRQ]


@given(st.sampled_from(KINDS).flatmap(messages))
def test_whatever_is_written_is_read_again(message):
    assert read(read_command(write_command(message.command()))) == message


VALUES = st.one_of(st.integers(0, 0xFFFF), st.text(max_size=70), TAGS)
FIELDS = st.fixed_dictionaries({E.COMMAND_FIELD: st.sampled_from(CommandField)})


@given(FIELDS, st.dictionaries(st.sampled_from(Element), VALUES))
def test_any_command_set_is_a_message_or_the_peers_error(fields, command):
    for read in (read_request, read_response):
        try:
            read(command | fields)
        except RemoteProtocolError:
            pass


# Whether it is an answer -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("vector", REQUESTS, ids=name)
def test_the_response_to_a_request_is_an_answer_to_it_and_to_no_other(vector):
    for kind in reading.RESPONSES.values():
        made = {"affected_sop_instance_uid": "1.2.9"} if kind is NCreateRSP else {}
        response = kind.to(vector.message, **({} if vector.message.sop_instance_uid else made))
        if kind is vector.message.RESPONSE:
            assert mismatch(vector.message, response) is None
        else:
            assert mismatch(vector.message, response) == f"{response.name} came in answer to {vector.message.name}"


def test_what_a_response_leaves_out_is_no_mismatch():
    assert mismatch(CStoreRQ(1, "1.2", "1.3"), CStoreRSP(1, 0)) is None
    assert mismatch(NActionRQ(1, "1.2", "1.3", 5), NActionRSP(1, 0)) is None


@pytest.mark.parametrize(("request_", "response", "sentence"), [
    (CEchoRQ(1, "1.2"), CEchoRSP(2, 0),
     "C-ECHO-RSP has 2 in MESSAGE_ID_BEING_RESPONDED_TO, C-ECHO-RQ had 1"),
    (CFindRQ(1, "1.2"), CFindRSP(1, 0xFF00, "1.2.3"),
     "C-FIND-RSP has '1.2.3' in AFFECTED_SOP_CLASS_UID, C-FIND-RQ had '1.2'"),
    (CStoreRQ(1, "1.2", "1.3"), CStoreRSP(1, 0, "1.2", affected_sop_instance_uid="1.4"),
     "C-STORE-RSP has '1.4' in AFFECTED_SOP_INSTANCE_UID, C-STORE-RQ had '1.3'"),
    (NActionRQ(1, "1.2", "1.3", 5), NActionRSP(1, 0, "1.2", affected_sop_instance_uid="\x1b" * 9000),
     "N-ACTION-RSP has '" + "\\x1b" * 16 + "\\ in AFFECTED_SOP_INSTANCE_UID, N-ACTION-RQ had '1.3'"),
    (NActionRQ(1, "1.2", "1.3", 5), NActionRSP(1, 0, action_type_id=6),
     "N-ACTION-RSP has 6 in ACTION_TYPE_ID, N-ACTION-RQ had 5"),
    (NEventReportRQ(1, "1.2", "1.3", 0), NEventReportRSP(1, 0, event_type_id=1),
     "N-EVENT-REPORT-RSP has 1 in EVENT_TYPE_ID, N-EVENT-REPORT-RQ had 0"),
])  # fmt: skip
def test_what_a_response_repeats_has_to_be_equal(request_, response, sentence):
    assert mismatch(request_, response) == sentence


@pytest.mark.parametrize(("status", "uid", "is_answer"), [
    (0x0000, "1.2.9", True), (0x0107, "1.2.9", True), (0x0110, None, True), (0x0110, "x", True),
    (0x0000, None, False), (0x0116, None, False), (0x0000, "../x", False),
])  # fmt: skip
def test_an_instance_that_the_scp_created_has_to_have_a_uid(status, uid, is_answer):
    response = NCreateRSP(1, status, affected_sop_instance_uid=uid)
    expected = None if is_answer else "N-CREATE-RSP does not say by a UID what was created"
    assert mismatch(NCreateRQ(1, "1.2"), response) == expected


def test_an_instance_that_the_scu_named_need_not_be_named_again():
    assert mismatch(NCreateRQ(1, "1.2", "1.3"), NCreateRSP(1, 0)) is None
