"""What all messages share, and DIMSE-C; which bytes they are is in `vectors`."""

from __future__ import annotations

from functools import partial

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dimsetls.codes import CommandField, Priority
from dimsetls.dimse.command import CommandSet, Element, read_command, write_command
from dimsetls.dimse.messages import (
    CCancelRQ,
    CEchoRQ,
    CEchoRSP,
    CFindRQ,
    CFindRSP,
    CGetRQ,
    CGetRSP,
    CMoveRQ,
    CMoveRSP,
    CStoreRQ,
    CStoreRSP,
    DataSet,
    MissingElement,
    Response,
    answer,
    number,
    read_message,
)
from dimsetls.dimse.status import Status
from dimsetls.errors import LocalProtocolError, RemoteProtocolError

from .vectors import COMPOSITE, VECTORS, name

CT = "1.2.840.10008.5.1.4.1.1.2"
SERVED = [CEchoRQ(0xFFFF, "1.2.840.10008.1.1"), CStoreRQ(1, CT, "1.2.3"), CStoreRQ(0, CT, "1.2.3", 2, "MOVE SCU", 0)]
OF_ANY_OPERATION = [
    Response(CommandField.C_ECHO_RSP, 1, 0),
    Response(CommandField.C_STORE_RSP, 0, 0xA700, "store is full", CT, "1.2.3", (0x00000110, 0x00100020)),
    Response(0x8999, 1, 0x0211),
]


def over_the_wire(command: CommandSet) -> CommandSet:
    return read_command(write_command(command))


@pytest.mark.parametrize("vector", COMPOSITE, ids=name)
def test_a_message_is_exactly_these_bytes(vector):
    assert write_command(vector.message.command(vector.has_data_set)) == vector.wire


REQUEST = {0x0002, 0x0100, 0x0110, 0x0800}
RESPONSE = {0x0002, 0x0100, 0x0120, 0x0800, 0x0900, 0x0901, 0x0902, 0x0903}


@pytest.mark.parametrize(("message", "elements"), [
    (CEchoRQ(1, "1.2"), REQUEST),
    (CEchoRSP(1, 0, "1.2", (1,), "c", 1), RESPONSE),
    (CStoreRQ(1, "1.2", "1.3"), REQUEST | {0x0700, 0x1000}),
    (CStoreRQ(1, "1.2", "1.3", 0, "AE", 0), REQUEST | {0x0700, 0x1000, 0x1030, 0x1031}),
    (CStoreRSP(1, 0, "1.2", (1,), "c", 1, "1.3"), RESPONSE | {0x1000}),
    (CFindRQ(1, "1.2"), REQUEST | {0x0700}),
    (CFindRSP(1, 0, "1.2", (1,), "c", 1), RESPONSE),
    (CGetRQ(1, "1.2"), REQUEST | {0x0700}),
    (CGetRSP(1, 0, "1.2", (1,), "c", 1, 0, 0, 0, 0), RESPONSE | {0x1020, 0x1021, 0x1022, 0x1023}),
    (CMoveRQ(1, "1.2", "AE"), REQUEST | {0x0600, 0x0700}),
    (CMoveRSP(1, 0, "1.2", (1,), "c", 1, 0, 0, 0, 0), RESPONSE | {0x1020, 0x1021, 0x1022, 0x1023}),
    (CCancelRQ(1), {0x0100, 0x0120, 0x0800}),
    (CMoveRSP(1, 0), {0x0100, 0x0120, 0x0800, 0x0900}),
    (OF_ANY_OPERATION[0], {0x0100, 0x0120, 0x0800, 0x0900}),
    (OF_ANY_OPERATION[1], {0x0002, 0x0100, 0x0120, 0x0800, 0x0900, 0x0901, 0x0902, 0x1000}),
])  # fmt: skip
def test_a_message_has_exactly_the_elements_of_its_table(message, elements):
    """PS3.7 Tables 9.3-1 to 9.3-13."""
    assert set(message.command()) == elements


def test_the_name_of_a_message_is_the_standards():
    assert [each.name for each in (CEchoRQ(1, "1.2"), CMoveRSP(1, 0))] == ["C-ECHO-RQ", "C-MOVE-RSP"]
    assert {each.message.name for each in VECTORS} == {each.name.replace("_", "-") for each in CommandField}


@pytest.mark.parametrize(("message", "rule"), [
    (CEchoRQ(1, "1.2"), DataSet.NONE), (CEchoRSP(1, 0), DataSet.NONE), (CCancelRQ(1), DataSet.NONE),
    (CStoreRQ(1, "1.2", "1.3"), DataSet.REQUIRED), (CStoreRSP(1, 0xB000), DataSet.NONE),
    (CFindRQ(1, "1.2"), DataSet.REQUIRED), (CGetRQ(1, "1.2"), DataSet.REQUIRED),
    (CMoveRQ(1, "1.2", "AE"), DataSet.REQUIRED),
    (CFindRSP(1, 0xFF00), DataSet.REQUIRED), (CFindRSP(1, 0xFF01), DataSet.REQUIRED),
    (CFindRSP(1, 0), DataSet.NONE), (CFindRSP(1, 0xFE00), DataSet.NONE), (CFindRSP(1, 0xC001), DataSet.NONE),
    *((kind(1, status), rule) for kind in (CGetRSP, CMoveRSP) for status, rule in (
        (0xFF00, DataSet.NONE), (0, DataSet.NONE), (0xB000, DataSet.ALLOWED), (0xFE00, DataSet.ALLOWED),
        (0xA702, DataSet.ALLOWED))),
])  # fmt: skip
def test_the_message_and_its_status_say_whether_a_data_set_follows(message, rule):
    assert message.data_set is rule
    kinds = {has: message.command(has)[Element.COMMAND_DATA_SET_TYPE] for has in (False, True) if
             rule is DataSet.ALLOWED or has is (rule is DataSet.REQUIRED)}  # fmt: skip
    assert kinds == {has: 0x0001 if has else 0x0101 for has in kinds}
    default = message.command()[Element.COMMAND_DATA_SET_TYPE]
    assert default == (0x0001 if rule is DataSet.REQUIRED else 0x0101)


@pytest.mark.parametrize(("message", "has_data_set", "sentence"), [
    (CEchoRQ(1, "1.2"), True, "C-ECHO-RQ needs no data set and was given one"),
    (CFindRSP(1, 0), True, "C-FIND-RSP needs no data set and was given one"),
    (CMoveRQ(1, "1.2", "AE"), False, "C-MOVE-RQ needs a data set and was given none"),
    (CFindRSP(1, 0xFF00), False, "C-FIND-RSP needs a data set and was given none"),
])  # fmt: skip
def test_a_data_set_that_is_out_of_place_is_not_announced(message, has_data_set, sentence):
    with pytest.raises(LocalProtocolError) as raised:
        message.command(has_data_set)
    assert str(raised.value) == sentence


@pytest.mark.parametrize(("request_", "response"), [
    (CEchoRQ(9, "1.2"), CEchoRSP(9, 0, "1.2")),
    (CStoreRQ(9, "1.2", "1.3", Priority.LOW, "AE", 1), CStoreRSP(9, 0, "1.2", affected_sop_instance_uid="1.3")),
    (CFindRQ(9, "1.2"), CFindRSP(9, 0, "1.2")),
    (CGetRQ(9, "1.2"), CGetRSP(9, 0, "1.2")),
    (CMoveRQ(9, "1.2", "AE"), CMoveRSP(9, 0, "1.2")),
])  # fmt: skip
def test_a_response_takes_from_its_request_what_is_equal_in_both(request_, response):
    assert request_.RESPONSE.to(request_) == response


def test_a_response_says_what_else_it_is_given():
    request = CMoveRQ(9, "1.2", "NOWHERE")
    response = CMoveRSP.to(request, Status.MOVE_DESTINATION_UNKNOWN, error_comment="ask the operator", error_id=3,
                           offending_element=(Element.MOVE_DESTINATION,), number_of_failed_suboperations=2)  # fmt: skip
    assert response == CMoveRSP(9, 0xA801, "1.2", (0x0600,), "ask the operator", 3, None, None, 2, None)
    with pytest.raises(TypeError):
        CMoveRSP.to(request, 0, event_type_id=1)


def test_the_uids_of_a_request_have_one_name_for_all():
    assert (CEchoRQ(1, "1.2").sop_class_uid, CEchoRQ(1, "1.2").sop_instance_uid) == ("1.2", None)
    assert (CStoreRQ(1, "1.2", "1.3").sop_class_uid, CStoreRQ(1, "1.2", "1.3").sop_instance_uid) == ("1.2", "1.3")


def test_an_error_comment_is_at_most_64_characters_of_the_default_repertoire():
    for response in (Response(0x8030, 1, 0x0110, "x" * 100), CEchoRSP(1, 0x0110, error_comment="x" * 100)):
        assert response.command()[Element.ERROR_COMMENT] == "x" * 64
    assert CEchoRSP(1, 0x0110, error_comment="für\n\\ \0~").command()[Element.ERROR_COMMENT] == "f?r?? ?~"


# Of any operation -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("response", OF_ANY_OPERATION)
def test_a_response_to_any_operation_comes_back_from_the_wire(response):
    assert read_message(Response, over_the_wire(response.command())) == response


@pytest.mark.parametrize("element", [
    Element.COMMAND_FIELD, Element.MESSAGE_ID_BEING_RESPONDED_TO, Element.STATUS,
])  # fmt: skip
def test_a_response_without_a_mandatory_element_is_refused(element):
    command = OF_ANY_OPERATION[1].command()
    del command[element]
    with pytest.raises(MissingElement, match=element.name):
        read_message(Response, command)


def test_a_missing_element_is_the_peers_error():
    assert issubclass(MissingElement, RemoteProtocolError)
    with pytest.raises(MissingElement):
        number({Element.MESSAGE_ID: "1"}, Element.MESSAGE_ID)


def test_an_answer_has_bit_15_and_the_message_id_and_uids_of_its_request():
    assert answer(SERVED[1].command(), 0xA700, "full") == Response(0x8001, 1, 0xA700, "full", CT, "1.2.3")
    assert answer(SERVED[0].command(), 0) == Response(0x8030, 0xFFFF, 0, "", "1.2.840.10008.1.1", None)
    requested = {Element.COMMAND_FIELD: 0x0110, Element.MESSAGE_ID: 9, Element.REQUESTED_SOP_CLASS_UID: "1.2",
                 Element.REQUESTED_SOP_INSTANCE_UID: "1.3"}  # fmt: skip
    assert answer(requested, 0x0211) == Response(0x8110, 9, 0x0211, "", "1.2", "1.3")
    assert answer(requested, 0x0212, "no", (0x1001,)) == Response(0x8110, 9, 0x0212, "no", "1.2", "1.3", (0x1001,))


def test_a_request_without_a_message_id_cannot_be_answered():
    with pytest.raises(MissingElement, match="MESSAGE_ID"):
        answer({Element.COMMAND_FIELD: 0x0030}, 0)


VALUES = st.one_of(st.integers(0, 0xFFFF), st.text(max_size=70), st.tuples(st.integers(0, 2**32 - 1)))


@given(st.dictionaries(st.sampled_from(Element), VALUES))
def test_any_command_set_is_a_message_or_the_peers_error(command):
    for read in (partial(read_message, Response), lambda command: write_command(answer(command, 0x0110).command())):
        try:
            read(command)
        except RemoteProtocolError:
            pass
