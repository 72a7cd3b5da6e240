from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dimsetls.codes import CommandField
from dimsetls.dimse.command import CommandSet, Element, read_command, write_command
from dimsetls.dimse.messages import (
    CEchoRQ,
    CStoreRQ,
    MissingElement,
    Response,
    answer,
    number,
    read_request,
    read_response,
    text,
)
from dimsetls.errors import RemoteProtocolError

CT = "1.2.840.10008.5.1.4.1.1.2"
MESSAGES = [
    CEchoRQ(0xFFFF, "1.2.840.10008.1.1"),
    CStoreRQ(1, CT, "1.2.3"),
    CStoreRQ(0, CT, "1.2.3", 2, "MOVE SCU", 0),
]
RESPONSES = [
    Response(CommandField.C_ECHO_RSP, 1, 0),
    Response(CommandField.C_STORE_RSP, 0, 0xA700, "store is full", CT, "1.2.3"),
]


def over_the_wire(command: CommandSet) -> CommandSet:
    return read_command(write_command(command))


@pytest.mark.parametrize("message", MESSAGES)
def test_requests_come_back_from_the_wire(message):
    assert read_request(over_the_wire(message.command())) == message


@pytest.mark.parametrize("response", RESPONSES)
def test_responses_come_back_from_the_wire(response):
    assert read_response(over_the_wire(response.command())) == response


@pytest.mark.parametrize(("message", "elements"), [
    (MESSAGES[0], {0x0002, 0x0100, 0x0110, 0x0800}),
    (MESSAGES[1], {0x0002, 0x0100, 0x0110, 0x0700, 0x0800, 0x1000}),
    (MESSAGES[2], {0x0002, 0x0100, 0x0110, 0x0700, 0x0800, 0x1000, 0x1030, 0x1031}),
    (RESPONSES[0], {0x0100, 0x0120, 0x0800, 0x0900}),
    (RESPONSES[1], {0x0002, 0x0100, 0x0120, 0x0800, 0x0900, 0x0902, 0x1000}),
])  # fmt: skip
def test_a_message_has_exactly_the_elements_of_its_table(message, elements):
    """PS3.7 Tables 9.3-1, 9.3-2, 9.3-12 and 9.3-13."""
    assert set(message.command()) == elements


def test_only_a_store_request_says_that_a_data_set_follows():
    assert [each.command()[Element.COMMAND_DATA_SET_TYPE] for each in (*MESSAGES, *RESPONSES)] == [
        0x0101, 0x0001, 0x0001, 0x0101, 0x0101,
    ]  # fmt: skip


@pytest.mark.parametrize("message", MESSAGES)
def test_each_mandatory_element_that_is_missing_is_named(message):
    optional = {Element.MOVE_ORIGINATOR_AE_TITLE, Element.MOVE_ORIGINATOR_MESSAGE_ID, Element.COMMAND_DATA_SET_TYPE}
    for element in set(message.command()) - optional:
        command = message.command()
        del command[element]
        with pytest.raises(MissingElement, match=f"lacks {Element(element).name} "):
            read_request(command)


@pytest.mark.parametrize("element", [
    Element.COMMAND_FIELD, Element.MESSAGE_ID_BEING_RESPONDED_TO, Element.STATUS,
])  # fmt: skip
def test_a_response_without_a_mandatory_element_is_refused(element):
    command = RESPONSES[1].command()
    del command[element]
    with pytest.raises(MissingElement, match=element.name):
        read_response(command)


def test_a_missing_element_is_the_peers_error():
    assert issubclass(MissingElement, RemoteProtocolError)
    with pytest.raises(MissingElement):
        number({Element.MESSAGE_ID: "1"}, Element.MESSAGE_ID)
    with pytest.raises(MissingElement):
        text({Element.AFFECTED_SOP_CLASS_UID: ""}, Element.AFFECTED_SOP_CLASS_UID)


def test_any_other_operation_is_none_of_ours():
    for field in set(range(0x10000)) - {CommandField.C_ECHO_RQ, CommandField.C_STORE_RQ}:
        assert read_request({Element.COMMAND_FIELD: field}) is None


def test_an_answer_has_bit_15_and_the_message_id_and_uids_of_its_request():
    assert answer(MESSAGES[1].command(), 0xA700, "full") == Response(0x8001, 1, 0xA700, "full", CT, "1.2.3")
    assert answer(MESSAGES[0].command(), 0) == Response(0x8030, 0xFFFF, 0, "", "1.2.840.10008.1.1", None)
    requested = {Element.COMMAND_FIELD: 0x0110, Element.MESSAGE_ID: 9, Element.REQUESTED_SOP_CLASS_UID: "1.2",
                 Element.REQUESTED_SOP_INSTANCE_UID: "1.3"}  # fmt: skip
    assert answer(requested, 0x0211) == Response(0x8110, 9, 0x0211, "", "1.2", "1.3")


def test_a_request_without_a_message_id_cannot_be_answered():
    with pytest.raises(MissingElement, match="MESSAGE_ID"):
        answer({Element.COMMAND_FIELD: 0x0030}, 0)


def test_an_error_comment_is_at_most_64_characters():
    assert len(Response(0x8030, 1, 0x0110, "x" * 100).command()[Element.ERROR_COMMENT]) == 64


VALUES = st.one_of(st.integers(0, 0xFFFF), st.text(max_size=70), st.tuples(st.integers(0, 2**32 - 1)))


@given(st.dictionaries(st.sampled_from(Element), VALUES))
def test_any_command_set_is_a_message_or_the_peers_error(command):
    for read in (read_request, read_response, lambda command: write_command(answer(command, 0x0110).command())):
        try:
            read(command)
        except RemoteProtocolError:
            pass
