"""DIMSE messages as typed data, to and from command sets (PS3.7 §9.3).

The elements of each message, and which are mandatory, follow PS3.7 Tables 9.3-1 ff.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias

from ..codes import CommandField, Priority
from ..errors import RemoteProtocolError
from .command import DATA_SET_FOLLOWS, NO_DATA_SET, CommandSet, Element


@dataclass(frozen=True, slots=True)
class CEchoRQ:
    """C-ECHO-RQ (PS3.7 §9.3.5.1)."""

    message_id: int
    affected_sop_class_uid: str

    def command(self) -> CommandSet:
        return {
            Element.AFFECTED_SOP_CLASS_UID: self.affected_sop_class_uid,
            Element.COMMAND_FIELD: CommandField.C_ECHO_RQ,
            Element.MESSAGE_ID: self.message_id,
            Element.COMMAND_DATA_SET_TYPE: NO_DATA_SET,
        }


@dataclass(frozen=True, slots=True)
class CStoreRQ:
    """C-STORE-RQ (PS3.7 §9.3.1.1)."""

    message_id: int
    affected_sop_class_uid: str
    affected_sop_instance_uid: str
    priority: int = Priority.MEDIUM
    move_originator_ae_title: str | None = None
    move_originator_message_id: int | None = None

    def command(self) -> CommandSet:
        command: CommandSet = {
            Element.AFFECTED_SOP_CLASS_UID: self.affected_sop_class_uid,
            Element.COMMAND_FIELD: CommandField.C_STORE_RQ,
            Element.MESSAGE_ID: self.message_id,
            Element.PRIORITY: self.priority,
            Element.COMMAND_DATA_SET_TYPE: DATA_SET_FOLLOWS,
            Element.AFFECTED_SOP_INSTANCE_UID: self.affected_sop_instance_uid,
        }
        if self.move_originator_ae_title is not None:
            command[Element.MOVE_ORIGINATOR_AE_TITLE] = self.move_originator_ae_title
        if self.move_originator_message_id is not None:
            command[Element.MOVE_ORIGINATOR_MESSAGE_ID] = self.move_originator_message_id
        return command


Request: TypeAlias = CEchoRQ | CStoreRQ


@dataclass(frozen=True, slots=True)
class Response:
    """Any response: the elements common to all (PS3.7 §9.3), and the instance that it is about if it says so."""

    command_field: int
    message_id_being_responded_to: int
    status: int
    error_comment: str = ""
    affected_sop_class_uid: str | None = None
    affected_sop_instance_uid: str | None = None

    def command(self) -> CommandSet:
        command: CommandSet = {
            Element.COMMAND_FIELD: self.command_field,
            Element.MESSAGE_ID_BEING_RESPONDED_TO: self.message_id_being_responded_to,
            Element.COMMAND_DATA_SET_TYPE: NO_DATA_SET,
            Element.STATUS: self.status,
        }
        if self.error_comment:
            command[Element.ERROR_COMMENT] = self.error_comment[:64]  # LO has at most 64 characters
        if self.affected_sop_class_uid:
            command[Element.AFFECTED_SOP_CLASS_UID] = self.affected_sop_class_uid
        if self.affected_sop_instance_uid:
            command[Element.AFFECTED_SOP_INSTANCE_UID] = self.affected_sop_instance_uid
        return command


class MissingElement(RemoteProtocolError):
    """A request lacks an element that PS3.7 makes mandatory."""


def number(command: CommandSet, element: Element) -> int:
    """A mandatory number of a command set."""
    value = command.get(element)
    if not isinstance(value, int):
        raise MissingElement(f"the command set lacks {element.name} (0000,{element:04X})")
    return value


def text(command: CommandSet, element: Element) -> str:
    """A mandatory text of a command set."""
    value = command.get(element)
    if not isinstance(value, str) or not value:
        raise MissingElement(f"the command set lacks {element.name} (0000,{element:04X})")
    return value


def read_request(command: CommandSet) -> Request | None:
    """The request in a command set; None for an operation that we do not know.

    Raises `MissingElement` where a mandatory element is absent.
    """
    match number(command, Element.COMMAND_FIELD):
        case CommandField.C_ECHO_RQ:
            return CEchoRQ(number(command, Element.MESSAGE_ID), text(command, Element.AFFECTED_SOP_CLASS_UID))
        case CommandField.C_STORE_RQ:
            originator = command.get(Element.MOVE_ORIGINATOR_AE_TITLE)
            originator_id = command.get(Element.MOVE_ORIGINATOR_MESSAGE_ID)
            return CStoreRQ(
                number(command, Element.MESSAGE_ID),
                text(command, Element.AFFECTED_SOP_CLASS_UID),
                text(command, Element.AFFECTED_SOP_INSTANCE_UID),
                number(command, Element.PRIORITY),
                originator if isinstance(originator, str) else None,
                originator_id if isinstance(originator_id, int) else None,
            )
    return None


def read_response(command: CommandSet) -> Response:
    """The response in a command set. Raises `MissingElement` where a mandatory element is absent."""
    comment = command.get(Element.ERROR_COMMENT)
    sop_class = command.get(Element.AFFECTED_SOP_CLASS_UID)
    sop_instance = command.get(Element.AFFECTED_SOP_INSTANCE_UID)
    return Response(
        number(command, Element.COMMAND_FIELD),
        number(command, Element.MESSAGE_ID_BEING_RESPONDED_TO),
        number(command, Element.STATUS),
        comment if isinstance(comment, str) else "",
        sop_class if isinstance(sop_class, str) else None,
        sop_instance if isinstance(sop_instance, str) else None,
    )


def answer(command: CommandSet, status: int, comment: str = "") -> Response:
    """The response to the request in `command`, whatever operation it is.

    Raises `MissingElement` where it has no Message ID, so that nothing can be answered.
    """
    sop_class = command.get(Element.AFFECTED_SOP_CLASS_UID) or command.get(Element.REQUESTED_SOP_CLASS_UID)
    instance = command.get(Element.AFFECTED_SOP_INSTANCE_UID) or command.get(Element.REQUESTED_SOP_INSTANCE_UID)
    return Response(
        number(command, Element.COMMAND_FIELD) | 0x8000,
        number(command, Element.MESSAGE_ID),
        status,
        comment,
        sop_class if isinstance(sop_class, str) else None,
        instance if isinstance(instance, str) else None,
    )
