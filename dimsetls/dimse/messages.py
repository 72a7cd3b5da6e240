"""DIMSE messages as typed data, to and from command sets: what they have in common, and DIMSE-C (PS3.7 §9.3).

The fields of a message are elements of its command set, in lower case as in `Element`; the names are the standard's.
A field whose default is empty (None, "", ()) is an optional or conditional element, any other a mandatory one.
"""

from __future__ import annotations

import re
from dataclasses import MISSING, dataclass, fields
from enum import Enum
from typing import Any, ClassVar, TypeVar

from ..codes import CommandField, Priority
from ..errors import LocalProtocolError, RemoteProtocolError
from .command import AT_ELEMENTS, DATA_SET_FOLLOWS, NO_DATA_SET, TEXT_ELEMENTS, CommandSet, Element, Misshapen, Value
from .status import Status, StatusClass, status_class

_T = TypeVar("_T")

LONGEST_COMMENT = 64
"""Characters of an Error Comment, whose value representation is LO."""


class DataSet(Enum):
    """Whether a data set follows the command set."""

    NONE = "no data set"
    ALLOWED = "a data set or none"
    REQUIRED = "a data set"


class ElementError(RemoteProtocolError):
    """An element of a command set is not as PS3.7 has it.

    A request is answered `status`; `element` is the offending one, which is also its tag.
    """

    def __init__(self, sentence: str, element: Element, status: int = Status.MISTYPED_ARGUMENT) -> None:
        super().__init__(sentence)
        self.element = element
        self.status = status


class MissingElement(ElementError):
    """A message lacks an element that PS3.7 makes mandatory."""


class InvalidElement(ElementError):
    """An element has a value that its value representation, or its message, does not allow."""


class Message:
    """What all messages share."""

    __slots__ = ()

    COMMAND_FIELD: ClassVar[CommandField]
    DATA_SET: ClassVar[DataSet] = DataSet.NONE

    @property
    def name(self) -> str:
        """As the standard prints it: C-STORE-RQ."""
        return self.COMMAND_FIELD.name.replace("_", "-")

    @property
    def data_set(self) -> DataSet:
        """Whether a data set follows this message."""
        return self.DATA_SET

    def command(self, has_data_set: bool | None = None) -> CommandSet:
        """The command set to send. Where a data set is allowed, say whether one follows; none does by default."""
        rule = self.data_set
        if has_data_set is None:
            has_data_set = rule is DataSet.REQUIRED
        elif rule is (DataSet.NONE if has_data_set else DataSet.REQUIRED):
            given = "one" if has_data_set else "none"
            raise LocalProtocolError(f"{self.name} needs {rule.value} and was given {given}")
        command = _command_of(self)
        command[Element.COMMAND_FIELD] = self.COMMAND_FIELD
        command[Element.COMMAND_DATA_SET_TYPE] = DATA_SET_FOLLOWS if has_data_set else NO_DATA_SET
        return command


@dataclass(frozen=True, slots=True)
class RequestMessage(Message):
    """What all requests share but C-CANCEL-RQ. `RESPONSE` is the class of their responses."""

    RESPONSE: ClassVar[type[ResponseMessage]]

    message_id: int

    @property
    def sop_class_uid(self) -> str:
        """Affected or Requested SOP Class UID, whichever this operation has."""
        raise NotImplementedError

    @property
    def sop_instance_uid(self) -> str | None:
        """Affected or Requested SOP Instance UID; None for an operation or a message without."""
        instance: str | None = getattr(self, "affected_sop_instance_uid", None)
        return instance


@dataclass(frozen=True, slots=True)
class AffectedRequest(RequestMessage):
    """A request about an affected SOP class."""

    affected_sop_class_uid: str

    @property
    def sop_class_uid(self) -> str:
        return self.affected_sop_class_uid


_ResponseT = TypeVar("_ResponseT", bound="ResponseMessage")


@dataclass(frozen=True, slots=True)
class ResponseMessage(Message):
    """What all responses share; Annex C says which statuses the last three go with."""

    DATA_SETS: ClassVar[dict[StatusClass, DataSet]] = {}
    """By class of status; where it says nothing there is no data set."""

    message_id_being_responded_to: int
    status: int
    affected_sop_class_uid: str | None = None
    offending_element: tuple[int, ...] = ()
    error_comment: str = ""
    error_id: int | None = None

    @property
    def data_set(self) -> DataSet:
        return self.DATA_SETS.get(status_class(self.status), DataSet.NONE)

    @classmethod
    def to(cls: type[_ResponseT], request: RequestMessage, status: int = Status.SUCCESS, **elements: Any) -> _ResponseT:
        """The response to a request: what is to be equal in both is taken from it, `elements` are further fields."""
        echoed: dict[str, Any] = {
            "affected_sop_class_uid": request.sop_class_uid,
            "affected_sop_instance_uid": request.sop_instance_uid,
            "event_type_id": getattr(request, "event_type_id", None),
            "action_type_id": getattr(request, "action_type_id", None),
        }
        ours = {name: echoed[name] for name, _, _ in elements_of(cls) if name in echoed}
        return cls(request.message_id, status, **(ours | elements))


@dataclass(frozen=True, slots=True)
class CEchoRSP(ResponseMessage):
    """C-ECHO-RSP (PS3.7 Table 9.3-13)."""

    COMMAND_FIELD = CommandField.C_ECHO_RSP


@dataclass(frozen=True, slots=True)
class CEchoRQ(AffectedRequest):
    """C-ECHO-RQ (PS3.7 Table 9.3-12)."""

    COMMAND_FIELD = CommandField.C_ECHO_RQ
    RESPONSE = CEchoRSP


@dataclass(frozen=True, slots=True)
class CStoreRSP(ResponseMessage):
    """C-STORE-RSP (PS3.7 Table 9.3-2)."""

    COMMAND_FIELD = CommandField.C_STORE_RSP

    affected_sop_instance_uid: str | None = None


@dataclass(frozen=True, slots=True)
class CStoreRQ(AffectedRequest):
    """C-STORE-RQ (PS3.7 Table 9.3-1); the move originator is who asked for the C-MOVE that this is a part of."""

    COMMAND_FIELD = CommandField.C_STORE_RQ
    DATA_SET = DataSet.REQUIRED
    RESPONSE = CStoreRSP

    affected_sop_instance_uid: str
    priority: int = Priority.MEDIUM
    move_originator_ae_title: str | None = None
    move_originator_message_id: int | None = None


@dataclass(frozen=True, slots=True)
class CFindRSP(ResponseMessage):
    """C-FIND-RSP (PS3.7 Table 9.3-4): an identifier follows a pending one and no other."""

    COMMAND_FIELD = CommandField.C_FIND_RSP
    DATA_SETS = {StatusClass.PENDING: DataSet.REQUIRED}  # noqa: RUF012


@dataclass(frozen=True, slots=True)
class CFindRQ(AffectedRequest):
    """C-FIND-RQ (PS3.7 Table 9.3-3)."""

    COMMAND_FIELD = CommandField.C_FIND_RQ
    DATA_SET = DataSet.REQUIRED
    RESPONSE = CFindRSP

    priority: int = Priority.MEDIUM


@dataclass(frozen=True, slots=True)
class RetrieveResponse(ResponseMessage):
    """What C-GET-RSP and C-MOVE-RSP share. A pending one has all four numbers (PS3.7 §9.1.3.1.6 ff.)."""

    # The identifier is the Failed SOP Instance UID List (PS3.4 C.4.2.1.4.2).
    DATA_SETS = dict.fromkeys((StatusClass.WARNING, StatusClass.FAILURE, StatusClass.CANCEL), DataSet.ALLOWED)

    number_of_remaining_suboperations: int | None = None
    number_of_completed_suboperations: int | None = None
    number_of_failed_suboperations: int | None = None
    number_of_warning_suboperations: int | None = None


@dataclass(frozen=True, slots=True)
class CGetRSP(RetrieveResponse):
    """C-GET-RSP (PS3.7 Table 9.3-7)."""

    COMMAND_FIELD = CommandField.C_GET_RSP


@dataclass(frozen=True, slots=True)
class CGetRQ(AffectedRequest):
    """C-GET-RQ (PS3.7 Table 9.3-6)."""

    COMMAND_FIELD = CommandField.C_GET_RQ
    DATA_SET = DataSet.REQUIRED
    RESPONSE = CGetRSP

    priority: int = Priority.MEDIUM


@dataclass(frozen=True, slots=True)
class CMoveRSP(RetrieveResponse):
    """C-MOVE-RSP (PS3.7 Table 9.3-10)."""

    COMMAND_FIELD = CommandField.C_MOVE_RSP


@dataclass(frozen=True, slots=True)
class CMoveRQ(AffectedRequest):
    """C-MOVE-RQ (PS3.7 Table 9.3-9)."""

    COMMAND_FIELD = CommandField.C_MOVE_RQ
    DATA_SET = DataSet.REQUIRED
    RESPONSE = CMoveRSP

    move_destination: str
    priority: int = Priority.MEDIUM


@dataclass(frozen=True, slots=True)
class CCancelRQ(Message):
    """C-CANCEL-RQ (PS3.7 Tables 9.3-5, 9.3-8 and 9.3-11): ends a C-FIND, C-GET or C-MOVE; has no response."""

    COMMAND_FIELD = CommandField.C_CANCEL_RQ

    message_id_being_responded_to: int


# Of any operation -------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Response:
    """A response to any operation, also to one that nobody knows (0211H): the elements that a failure is told with."""

    command_field: int
    message_id_being_responded_to: int
    status: int
    error_comment: str = ""
    affected_sop_class_uid: str | None = None
    affected_sop_instance_uid: str | None = None
    offending_element: tuple[int, ...] = ()

    def command(self) -> CommandSet:
        return _command_of(self) | {Element.COMMAND_DATA_SET_TYPE: NO_DATA_SET}


def answer(command: CommandSet, status: int, comment: str = "", offending_element: tuple[int, ...] = ()) -> Response:
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
        offending_element,
    )


# Fields and elements ----------------------------------------------------------------------------------------------


def number(command: CommandSet, element: Element) -> int:
    """A mandatory element that is a number. Raises `MissingElement` or `InvalidElement`."""
    value = command.get(element)
    if not isinstance(value, int):
        raise _no_value(element, value)
    return value


def _no_value(element: Element, value: object) -> ElementError:
    if isinstance(value, Misshapen):
        return InvalidElement(value.sentence, element)
    return MissingElement(f"the command set lacks {element.name} (0000,{element:04X})", element)


def read_message(kind: type[_T], command: CommandSet) -> _T:
    """The fields of a class of messages out of a command set; other elements are no concern of theirs.

    Raises `MissingElement` where a mandatory element is absent, `InvalidElement` where one has the wrong length.
    """
    values: list[object] = []
    for element, of, default in _forms.get(kind) or _forms_of(kind):
        value = command.get(element)
        if isinstance(value, of) and (value or value == 0):
            values.append(value)
        elif default is not MISSING and not isinstance(value, Misshapen):
            values.append(default)
        else:
            raise _no_value(Element(element), value)
    return kind(*values)


def _forms_of(kind: type[Any]) -> tuple[tuple[int, type[Value], object], ...]:
    """Each field of a class of messages: its element, the type of its value, and what it is without; or MISSING."""
    _forms[kind] = forms = tuple(
        (int(element), _TYPES[element], MISSING if is_mandatory else field.default)
        for field, (_, element, is_mandatory) in zip(fields(kind), elements_of(kind), strict=True)
    )
    return forms


def elements_of(kind: type[Any]) -> tuple[tuple[str, Element, bool], ...]:
    """Each field of a class of messages: its name, its element, and whether it is mandatory."""
    if kind not in _elements:
        _elements[kind] = tuple(
            (each.name, Element[each.name.upper()], each.default not in _EMPTY) for each in fields(kind)
        )
    return _elements[kind]


_elements: dict[type, tuple[tuple[str, Element, bool], ...]] = {}
_forms: dict[type, tuple[tuple[int, type[Value], object], ...]] = {}
_EMPTY: tuple[object, ...] = (None, "", ())
_TYPES: dict[Element, type[Value]] = {
    each: str if each in TEXT_ELEMENTS else tuple if each in AT_ELEMENTS else int for each in Element
}
_NOT_IN_LO = re.compile(r"[^ -\[\]-~]")  # outside the default repertoire, control characters, backslash


def _command_of(message: object) -> CommandSet:
    command: CommandSet = {}
    for name, element, _ in elements_of(type(message)):
        value = getattr(message, name)
        if element is Element.ERROR_COMMENT:
            value = _NOT_IN_LO.sub("?", value)[:LONGEST_COMMENT]
        if value not in _EMPTY:
            command[element] = value
    return command
