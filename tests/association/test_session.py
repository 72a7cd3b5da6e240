"""DIMSE over an association: what a handler gets, what the peer is answered, and what is aborted."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dimsetls.association.events import AssociationEnded
from dimsetls.codes import CommandField
from dimsetls.dimse.command import DATA_SET_FOLLOWS, NO_DATA_SET, Element, write_command
from dimsetls.dimse.messages import CEchoRQ, CStoreRQ, Response
from dimsetls.errors import (
    ServiceError,
)
from dimsetls.uids import VERIFICATION
from dimsetls.ul.pdus import PDV, Abort, PDataTF, ReleaseRQ
from dimsetls.ul.writer import write_fragments

from .stage import (
    CT,
    INSTANCE,
    MR,
    WINDOW_OF_TWO,
    Manual,
    Services,
    Stage,
    command,
    data_set,
    echo,
    responses,
    statuses,
    store,
    store_command,
)


def raising(error: BaseException) -> Services:
    async def handle(request: object) -> int:
        raise error

    return Services(handle)


def returning(value: object) -> Services:
    async def handle(request: object) -> Any:
        return value

    return Services(handle)


# Echo and store, end to end ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("over_tls", [False, True])
def test_an_echo_is_answered_with_success_on_its_context_and_under_its_message_id(authority, over_tls):
    peer = Stage(tls=authority if over_tls else None).associated()
    [answer] = peer.send(echo(0xFFFF))
    assert isinstance(answer, PDataTF)
    assert [(value.context_id, value.control) for value in answer.values] == [(1, 3)]
    assert responses([answer]) == [
        Response(CommandField.C_ECHO_RSP, 0xFFFF, 0, affected_sop_class_uid=VERIFICATION)
    ]


@pytest.mark.parametrize("over_tls", [False, True])
@pytest.mark.parametrize("length", [0, 1, 16378, 16379, 300_000])
def test_a_store_reaches_the_handler_bit_for_bit(authority, length, over_tls):
    stage = Stage(tls=authority if over_tls else None)
    data = bytes(number % 251 for number in range(length))
    answer = stage.associated().send(store(data, 0x1234))
    assert stage.services.data == [data]
    assert responses(answer) == [
        Response(CommandField.C_STORE_RSP, 0x1234, 0, affected_sop_class_uid=CT, affected_sop_instance_uid=INSTANCE)
    ]


def test_a_store_in_one_pdu_of_many_values_and_empty_fragments():
    stage = Stage()
    message = CStoreRQ(1, CT, INSTANCE).command()
    fragments = [pdu[12:] for pdu in write_fragments(3, True, write_command(message), 64)]
    values = [PDV(3, 1, each) for each in fragments[:-1]] + [PDV(3, 3, fragments[-1])]
    values += [PDV(3, 0, b""), PDV(3, 0, b"ab"), PDV(3, 0, b""), PDV(3, 2, b"")]
    assert statuses(stage.associated().send(PDataTF(tuple(values)))) == [(1, 0)]
    assert stage.services.data == [b"ab"]


@pytest.mark.parametrize("over_tls", [False, True])
def test_a_conversation_byte_by_byte(authority, over_tls):
    stage = Stage(tls=authority if over_tls else None)
    peer = stage.associated()
    answers = []
    for position, byte in enumerate(conversation := echo(1) + store(b"instance", 2) + echo(3)):
        answers += peer.send(bytes((byte,)))
        assert len(answers) < 3 or position == len(conversation) - 1
    assert statuses(answers) == [(1, 0), (2, 0), (3, 0)]
    assert stage.services.data == [b"instance"]


def test_a_conversation_in_one_piece():
    peer = Stage().associated()
    assert statuses(peer.send(echo(1) + store(b"instance", 2) + echo(3))) == [(1, 0), (2, 0), (3, 0)]


def test_an_echo_with_a_data_set_is_answered_after_it():
    stage = Stage()
    peer = stage.associated()
    with_data = CEchoRQ(5, VERIFICATION).command() | {Element.COMMAND_DATA_SET_TYPE: DATA_SET_FOLLOWS}
    assert peer.send(command(with_data)) == []
    assert peer.send(data_set(bytes(1 << 20), 1)[: 16384 * 2]) == []
    assert statuses(peer.send(data_set(bytes(1 << 20), 1)[16384 * 2 :])) == [(5, 0)]
    assert statuses(peer.send(echo(6))) == [(6, 0)]


@pytest.mark.parametrize("kind", [0x0000, 0x0001, 0x0102, 0xFFFF])
def test_any_command_data_set_type_but_0101_says_that_a_data_set_follows(kind):
    stage = Stage()
    message = CStoreRQ(1, CT, INSTANCE).command() | {Element.COMMAND_DATA_SET_TYPE: kind}
    assert statuses(stage.associated().send(command(message, 3) + data_set(b"data"))) == [(1, 0)]
    assert stage.services.data == [b"data"]


# What is answered with a failure -----------------------------------------------------------------------------------


def failure_of(stage: Stage, *what: bytes) -> tuple[int, str]:
    """The one response to this, which is a failure; the association goes on, and counts it."""
    peer = stage.associated()
    [response] = responses(peer.send(*what))
    [after] = peer.send(echo(99))
    assert responses([after])[0].message_id_being_responded_to == 99
    peer.send(ReleaseRQ())
    peer.close()
    ended = stage.told(AssociationEnded)
    assert (ended.outcome, ended.failures >= 1, ended.instances) == ("released", True, 0)
    assert stage.is_quiet
    return response.status, response.error_comment


def test_a_sop_class_that_is_not_that_of_the_context_is_0122():
    assert failure_of(Stage(), store(b"data", sop_class=MR))[0] == 0x0122
    assert failure_of(Stage(), command(CEchoRQ(1, CT).command(), 1))[0] == 0x0122


@pytest.mark.parametrize("field", [0x0000, 0x0002, 0x0011, 0x0151, 0x7FFF])
def test_an_operation_that_is_not_known_is_0211_and_says_which(field):
    message = {Element.AFFECTED_SOP_CLASS_UID: VERIFICATION, Element.COMMAND_FIELD: field, Element.MESSAGE_ID: 1,
               Element.COMMAND_DATA_SET_TYPE: NO_DATA_SET}  # fmt: skip
    stage = Stage()
    assert failure_of(stage, command(message)) == (0x0211, f"operation {field:04X}H is not known here")


def test_the_answer_to_an_operation_that_is_not_known_has_bit_15_and_its_uids():
    message = {Element.REQUESTED_SOP_CLASS_UID: VERIFICATION, Element.COMMAND_FIELD: CommandField.N_GET_RQ,
               Element.MESSAGE_ID: 7, Element.COMMAND_DATA_SET_TYPE: NO_DATA_SET,
               Element.REQUESTED_SOP_INSTANCE_UID: INSTANCE}  # fmt: skip
    [response] = responses(Stage().associated().send(command(message)))
    assert response.command_field == CommandField.N_GET_RSP
    assert (response.affected_sop_class_uid, response.affected_sop_instance_uid) == (VERIFICATION, INSTANCE)


@pytest.mark.parametrize("missing", [
    Element.AFFECTED_SOP_CLASS_UID, Element.AFFECTED_SOP_INSTANCE_UID, Element.PRIORITY,
])  # fmt: skip
def test_a_missing_mandatory_element_is_0212_and_says_which(missing):
    message = CStoreRQ(1, CT, INSTANCE).command()
    del message[missing]
    status, comment = failure_of(Stage(), command(message, 3), data_set(b"data"))
    assert status == 0x0212
    assert comment == f"the command set lacks {missing.name} (0000,{missing:04X})"[:64]


def test_a_store_without_a_data_set_is_0212():
    message = CStoreRQ(1, CT, INSTANCE).command() | {Element.COMMAND_DATA_SET_TYPE: NO_DATA_SET}
    assert failure_of(Stage(), command(message, 3)) == (0x0212, "C-STORE-RQ came without a data set")


def test_a_message_id_that_is_in_use_is_0210_and_the_first_is_answered_all_the_same():
    services = Manual()
    peer = Stage(services, maximum_operations_invoked=2).associated(**WINDOW_OF_TWO)
    peer.send(echo(1))
    assert statuses(peer.send(echo(1))) == [(1, 0x0210)]
    before = len(peer.received)
    services.finish[0].callback(0)
    peer._link.pump()
    assert statuses(peer.received[before:]) == [(1, 0)]
    assert len(services.requests) == 1


@pytest.mark.parametrize("value", [None, "0000", -1, 0x10000, 1.0, object()])
def test_a_handler_that_returns_no_status_is_0110_and_logged(logged, value):
    assert failure_of(Stage(returning(value)), echo()) == (0x0110, "")
    assert "a status from 0 to FFFFH is expected" in logged[0]["log_format"]


def test_a_handler_that_raises_service_error_is_answered_with_its_status_and_comment(logged):
    services = raising(ServiceError(0xA700, "the store is full, and this sentence is longer than LO can hold"))
    status, comment = failure_of(Stage(services), store(b"data"))
    assert (status, comment) == (0xA700, "the store is full, and this sentence is longer than LO can hold"[:64])
    warning = next(event for event in logged if "message_id" in event)
    assert (warning["status"], warning["message_id"], warning["calling_ae_title"]) == ("A700H", 1, "PEER")


@pytest.mark.parametrize("status", [-1, 0x10000])
def test_a_service_error_with_a_status_that_is_none_is_0110_and_logged(logged, status):
    assert failure_of(Stage(raising(ServiceError(status))), echo()) == (0x0110, "")
    assert any("a status from 0 to FFFFH is expected" in event["log_format"] for event in logged)


@pytest.mark.parametrize("error", [ValueError("what a secret"), KeyError(), AssertionError(), RecursionError()])
def test_a_handler_that_raises_anything_is_0110_and_logged_but_not_told_to_the_peer(logged, error):
    assert failure_of(Stage(raising(error)), store(b"data")) == (0x0110, "")
    assert next(event["log_failure"].value for event in logged if "log_failure" in event) is error


def test_a_handler_that_wants_to_end_the_process_ends_its_association_and_is_logged(logged):
    stage = Stage(raising(SystemExit(1)))
    assert stage.associated().send(echo()) == [Abort(0, 0)]
    assert any(isinstance(event["log_failure"].value, SystemExit) for event in logged if "log_failure" in event)


def test_a_failure_is_answered_only_after_the_whole_data_set():
    peer = Stage(raising(ServiceError(0xA700))).associated()
    whole = data_set(bytes(1 << 20))
    assert peer.send(store_command(), whole[:500_000]) == []
    assert statuses(peer.send(whole[500_000:])) == [(1, 0xA700)]


def test_success_is_answered_only_after_the_whole_data_set():
    peer = Stage(returning(0)).associated()
    assert peer.send(store_command(), data_set(bytes(100))[:-1]) == []
    assert statuses(peer.send(b"\0")) == [(1, 0)]


@pytest.mark.parametrize("status", [0x0000, 0x0001, 0xB000, 0xB006, 0xB007])
def test_a_warning_is_no_failure_and_its_instance_counts(status):
    stage = Stage(returning(status))
    peer = stage.associated()
    assert statuses(peer.send(store(b"data"))) == [(1, status)]
    peer.close()
    ended = stage.told(AssociationEnded)
    assert (ended.operations, ended.failures, ended.instances, ended.octets) == (1, 0, 1, 4)


# What aborts -------------------------------------------------------------------------------------------------------


def abort_of(what: bytes, **request: Any) -> tuple[int, str]:
    """The provider reason with which this is aborted, the same on the wire and in the event, and its sentence."""
    stage = Stage()
    peer = stage.associated(**request)
    answer = peer.send(what)
    assert isinstance(answer[-1], Abort)
    assert answer[-1].source == 2
    peer.close()
    ended = stage.told(AssociationEnded)
    assert (ended.outcome, ended.provider_reason) == ("provider-aborted", answer[-1].reason)
    assert stage.is_quiet
    return answer[-1].reason, ended.detail


@pytest.mark.parametrize("context_id", [0, 2, 7])
def test_a_context_that_was_not_accepted(context_id):
    assert abort_of(echo(context_id=context_id)) == (5, f"presentation context {context_id} was not accepted")


def test_a_data_set_where_a_command_is_due():
    assert abort_of(data_set(b"data")) == (5, "a data set fragment came where a command fragment was due")


def test_a_command_where_a_data_set_is_due():
    reason, sentence = abort_of(store_command() + store_command(2))
    assert (reason, sentence) == (5, "a command fragment came where a data set fragment was due")


def test_a_message_that_changes_its_context():
    reason, sentence = abort_of(store_command() + data_set(b"data", 1))
    assert (reason, sentence) == (5, "presentation context 1 came inside a message on context 3")


def test_a_command_set_longer_than_64_kib():
    pdus = b"".join(write_fragments(1, True, bytes(65538), 16384))
    assert abort_of(pdus) == (6, "a command set is longer than 65536 bytes")


def test_a_command_set_that_cannot_be_read():
    assert abort_of(b"".join(write_fragments(1, True, b"\x08\0\0\0\0\0\0\0", 16384)))[0] == 6


@pytest.mark.parametrize("missing", [Element.COMMAND_FIELD, Element.MESSAGE_ID, Element.COMMAND_DATA_SET_TYPE])
def test_a_command_that_cannot_even_be_answered(missing):
    message = CEchoRQ(1, VERIFICATION).command()
    del message[missing]
    assert abort_of(command(message)) == (6, f"the command set lacks {missing.name} (0000,{missing:04X})")


def test_a_response_to_nothing():
    response = Response(CommandField.C_ECHO_RSP, 4711, 0).command()
    assert abort_of(command(response)) == (5, "a response came to message 4711, which is not outstanding")


@pytest.mark.parametrize(("window", "keywords"), [(1, {}), (2, WINDOW_OF_TWO)])
def test_an_operation_more_than_the_window_allows(window, keywords):
    services = Manual()
    stage = Stage(services, maximum_operations_invoked=2)
    peer = stage.associated(**keywords)
    assert peer.send(*(echo(number) for number in range(window))) == []
    assert peer.send(echo(window)) == [Abort(2, 5)]
    assert len(services.requests) == window
    for finish in services.finish:
        finish.callback(0)  # answers that nobody waits for
    peer.close()
    assert f"the window is {window}" in stage.told(AssociationEnded).detail
    assert stage.is_quiet


@settings(max_examples=200, deadline=None)
@given(st.data())
def test_whatever_a_peer_says_it_is_answered_or_aborted_and_nothing_breaks(data):
    """A good conversation with bytes changed, dropped and repeated: no exception, one end, and nothing left."""
    stage = Stage(maximum_operations_invoked=2)
    peer = stage.associated(**WINDOW_OF_TWO)
    conversation = echo(1) + store(b"instance" * 4, 2) + echo(3)
    for _ in range(data.draw(st.integers(1, 3))):
        at = data.draw(st.integers(0, len(conversation)))
        instead, dropped = data.draw(st.binary(max_size=4)), data.draw(st.integers(0, 4))
        conversation = conversation[:at] + instead + conversation[at + dropped :]
    peer.send(conversation)
    peer.close()
    assert stage.kinds == ["AssociationStarted", "AssociationEnded"]
    assert stage.is_quiet
