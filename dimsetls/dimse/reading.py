"""Command sets to typed messages, judged: which message it is, and whether its elements are what PS3.7 allows.

Strict where a wrong value would be acted on: mandatory elements, UIDs, AE titles, a data set that is due.
Forgiving where nothing hangs on it: retired and superfluous elements, a Message ID in a response, a priority out of
range, which is taken for medium, comments that are too long, counters that a pending response lacks, a data set that
nobody asked for.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace
from typing import TypeAlias

from ..codes import CommandField, Priority
from ..errors import RemoteProtocolError
from ..uids import is_valid_uid
from .command import AE_ELEMENTS, NO_DATA_SET, UI_ELEMENTS, CommandSet, Element
from .messages import (
    CCancelRQ,
    CEchoRQ,
    CFindRQ,
    CGetRQ,
    CMoveRQ,
    CStoreRQ,
    DataSet,
    InvalidElement,
    Message,
    RequestMessage,
    ResponseMessage,
    elements_of,
    number,
    read_message,
)
from .normalized import NActionRQ, NCreateRQ, NCreateRSP, NDeleteRQ, NEventReportRQ, NGetRQ, NSetRQ
from .status import Status, StatusClass, status_class

Request: TypeAlias = (
    CEchoRQ | CStoreRQ | CFindRQ | CGetRQ | CMoveRQ
    | NEventReportRQ | NGetRQ | NSetRQ | NActionRQ | NCreateRQ | NDeleteRQ
)  # fmt: skip
"""Every request that is answered; C-CANCEL-RQ is not."""

REQUESTS: dict[int, type[Request]] = {
    kind.COMMAND_FIELD: kind
    for kind in (CEchoRQ, CStoreRQ, CFindRQ, CGetRQ, CMoveRQ, NEventReportRQ, NGetRQ, NSetRQ, NActionRQ, NCreateRQ,
                 NDeleteRQ)
}  # fmt: skip
RESPONSES: dict[int, type[ResponseMessage]] = {kind.RESPONSE.COMMAND_FIELD: kind.RESPONSE for kind in REQUESTS.values()}
_AE_TITLE = re.compile(r"[ !-\[\]-~]{1,16}\Z")  # the default repertoire without backslash and control characters
_JUDGED: dict[type, tuple[tuple[str, Element, Callable[[str], object]], ...]] = {
    kind: tuple((name, each, is_valid_uid if each in UI_ELEMENTS else _AE_TITLE.match)
                for name, each, _ in elements_of(kind) if each in UI_ELEMENTS | AE_ELEMENTS)
    for kind in REQUESTS.values()
}  # fmt: skip
"""The fields whose text is judged, and what it has to pass; what is no text was judged when it was decoded."""

_PRIORITIES = frozenset(map(int, Priority))
_PRIORITIZED = CStoreRQ, CFindRQ, CGetRQ, CMoveRQ
_COMMAND_FIELD, _COMMAND_DATA_SET_TYPE = Element.COMMAND_FIELD, Element.COMMAND_DATA_SET_TYPE
_REQUIRED = DataSet.REQUIRED  # a member of an enumeration is slow to look up
_REFUSALS = {
    Element.AFFECTED_SOP_CLASS_UID: Status.SOP_CLASS_NOT_SUPPORTED,
    Element.REQUESTED_SOP_CLASS_UID: Status.SOP_CLASS_NOT_SUPPORTED,
    Element.AFFECTED_SOP_INSTANCE_UID: Status.INVALID_SOP_INSTANCE,
    Element.REQUESTED_SOP_INSTANCE_UID: Status.INVALID_SOP_INSTANCE,
    Element.MOVE_DESTINATION: Status.MOVE_DESTINATION_UNKNOWN,
}


def read_request(command: CommandSet) -> Request | CCancelRQ | None:
    """The request in a command set; None for an operation that PS3.7 does not know (answer 0211H).

    Raises `MissingElement` or `InvalidElement`, which say what to answer.
    """
    field = number(command, _COMMAND_FIELD)
    kind = REQUESTS.get(field)
    if kind is None:
        return read_message(CCancelRQ, command) if field == CommandField.C_CANCEL_RQ else None
    message: Request = read_message(kind, command)
    for name, element, is_valid in _JUDGED[kind]:
        text = getattr(message, name)
        if text is not None and not is_valid(text):
            raise _invalid(element, text)
    if kind.DATA_SET is _REQUIRED:
        _judge_data_set(message, command)
    if isinstance(message, _PRIORITIZED) and message.priority not in _PRIORITIES:
        return replace(message, priority=Priority.MEDIUM)
    return message


def read_response(command: CommandSet) -> ResponseMessage:
    """The response in a command set, of the class that its Command Field names.

    Raises `MissingElement` or `InvalidElement`, or `RemoteProtocolError` if PS3.7 knows no such response.
    """
    field = number(command, Element.COMMAND_FIELD)
    kind = RESPONSES.get(field)
    if kind is None:
        raise RemoteProtocolError(f"a response came with Command Field {field:04X}H, which no operation has")
    message = read_message(kind, command)
    _judge_data_set(message, command)
    return message


def mismatch(request: RequestMessage, response: ResponseMessage) -> str | None:
    """Why this is no response to that request, in a sentence; None if it is one.

    What a response repeats has to be equal (PS3.7 §9.1, §10.1); an instance that the SCP created has to have a UID.
    """
    if type(response) is not request.RESPONSE:
        return f"{response.name} came in answer to {request.name}"
    for name, asked, element in _repeated(type(response)):
        got, expected = getattr(response, name), getattr(request, asked)
        if got != expected and None not in (got, expected):
            return f"{response.name} has {repr(got)[:66]} in {element.name}, {request.name} had {expected!r}"
    if isinstance(response, NCreateRSP) and request.sop_instance_uid is None:
        was_created = status_class(response.status) in (StatusClass.SUCCESS, StatusClass.WARNING)
        if was_created and not is_valid_uid(response.affected_sop_instance_uid or ""):
            return "N-CREATE-RSP does not say by a UID what was created"
    return None


def _repeated(kind: type[ResponseMessage]) -> tuple[tuple[str, str, Element], ...]:
    """The fields of a response that repeat one of its request: their names in both, and their elements."""
    if kind not in _repetitions:
        _repetitions[kind] = tuple(
            (name, _REPEATED.get(element, name), element) for name, element, _ in elements_of(kind)
            if element in _REPEATED or element in (Element.EVENT_TYPE_ID, Element.ACTION_TYPE_ID)
        )  # fmt: skip
    return _repetitions[kind]


_repetitions: dict[type, tuple[tuple[str, str, Element], ...]] = {}
_REPEATED = {
    Element.MESSAGE_ID_BEING_RESPONDED_TO: "message_id",
    Element.AFFECTED_SOP_CLASS_UID: "sop_class_uid",
    Element.AFFECTED_SOP_INSTANCE_UID: "sop_instance_uid",
}


def _invalid(element: Element, text: str) -> InvalidElement:
    what = "UID" if element in UI_ELEMENTS else "AE title"
    sentence = f"{element.name} (0000,{element:04X}) is no {what}: {text[:64]!r}"
    return InvalidElement(sentence, element, _REFUSALS.get(element, Status.MISTYPED_ARGUMENT))


def _judge_data_set(message: Message, command: CommandSet) -> None:
    if message.data_set is _REQUIRED and number(command, _COMMAND_DATA_SET_TYPE) == NO_DATA_SET:
        raise InvalidElement(f"{message.name} came without a data set", _COMMAND_DATA_SET_TYPE)
