"""The command set: group 0000 in Implicit VR Little Endian, whatever the context's transfer syntax (PS3.7 §6.3.1)."""

from __future__ import annotations

import struct
from dataclasses import dataclass
from enum import IntEnum

from ..errors import LocalProtocolError, RemoteProtocolError

MAXIMUM_LENGTH = 64 * 1024
"""The longest command set we take, in bytes; real ones have a few hundred."""


class Element(IntEnum):
    """Element numbers of group 0000 (PS3.7 Table E.1-1)."""

    COMMAND_GROUP_LENGTH = 0x0000
    AFFECTED_SOP_CLASS_UID = 0x0002
    REQUESTED_SOP_CLASS_UID = 0x0003
    COMMAND_FIELD = 0x0100
    MESSAGE_ID = 0x0110
    MESSAGE_ID_BEING_RESPONDED_TO = 0x0120
    MOVE_DESTINATION = 0x0600
    PRIORITY = 0x0700
    COMMAND_DATA_SET_TYPE = 0x0800
    STATUS = 0x0900
    OFFENDING_ELEMENT = 0x0901
    ERROR_COMMENT = 0x0902
    ERROR_ID = 0x0903
    AFFECTED_SOP_INSTANCE_UID = 0x1000
    REQUESTED_SOP_INSTANCE_UID = 0x1001
    EVENT_TYPE_ID = 0x1002
    ATTRIBUTE_IDENTIFIER_LIST = 0x1005
    ACTION_TYPE_ID = 0x1008
    NUMBER_OF_REMAINING_SUBOPERATIONS = 0x1020
    NUMBER_OF_COMPLETED_SUBOPERATIONS = 0x1021
    NUMBER_OF_FAILED_SUBOPERATIONS = 0x1022
    NUMBER_OF_WARNING_SUBOPERATIONS = 0x1023
    MOVE_ORIGINATOR_AE_TITLE = 0x1030
    MOVE_ORIGINATOR_MESSAGE_ID = 0x1031


NO_DATA_SET = 0x0101
"""Command Data Set Type of a message without data set; any other value says that one follows."""
DATA_SET_FOLLOWS = 0x0001

Value = int | str | tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Misshapen:
    """In place of a value that has not a length that its value representation has; `sentence` says so."""

    sentence: str


CommandSet = dict[int, Value | Misshapen]
"""Element number to value: numbers, text without its padding, or (group << 16 | element) tuples for AT."""

# By value representation; the others are US, but for the group length, which is UL.
UI_ELEMENTS = frozenset({
    Element.AFFECTED_SOP_CLASS_UID, Element.REQUESTED_SOP_CLASS_UID,
    Element.AFFECTED_SOP_INSTANCE_UID, Element.REQUESTED_SOP_INSTANCE_UID,
})  # fmt: skip
AE_ELEMENTS = frozenset({Element.MOVE_DESTINATION, Element.MOVE_ORIGINATOR_AE_TITLE})
AT_ELEMENTS = frozenset({Element.OFFENDING_ELEMENT, Element.ATTRIBUTE_IDENTIFIER_LIST})
TEXT_ELEMENTS = UI_ELEMENTS | AE_ELEMENTS | {Element.ERROR_COMMENT}
_KNOWN = frozenset(map(int, Element))
_TEXTS = frozenset(map(int, TEXT_ELEMENTS))
_NUMBERS = _KNOWN - TEXT_ELEMENTS - AT_ELEMENTS - {Element.COMMAND_GROUP_LENGTH}
_HEADER = struct.Struct("<HHI")
_NUMBER = struct.Struct("<HHIH")
_GROUP_LENGTH = struct.Struct("<HHII")
_GROUP_LENGTH_HEADER = _HEADER.pack(0, 0, 4)


def read_command(data: bytes | bytearray) -> CommandSet:
    """The elements of a complete command set; retired and unknown ones are left out.

    A missing or wrong group length is forgiven (PS3.7 §6.3.1 does not rest on it); elements out of order, twice,
    of another group or with a length that lies are not. A value that has the wrong length only matters to who needs it.
    """
    command: CommandSet = {}
    at, end, previous, read_header = 0, len(data), -1, _HEADER.unpack_from
    if data.startswith(_GROUP_LENGTH_HEADER) and end >= 12:
        command[0] = int.from_bytes(data[8:12], "little")
        at, previous = 12, 0
    while end - at >= 8:
        group, element, length = read_header(data, at)
        value, at = at + 8, at + 8 + length
        if group or element <= previous or at > end:
            raise _misplaced(group, element, previous, f"{length} of {end - value} bytes")
        if length == 2 and element in _NUMBERS:  # as most are
            command[element] = data[value] | data[value + 1] << 8
        elif element in _TEXTS and length and not length & 1:
            command[element] = data[value:at].decode("latin-1").strip("\0 ")
        elif element in _KNOWN and length:  # an empty element says as much as an absent one
            command[element] = _read_value(element, bytes(data[value:at]))
        previous = element
    if at < end:
        raise RemoteProtocolError(f"{end - at} bytes are left in the command set, too few for an element")
    return command


def _misplaced(group: int, element: int, previous: int, claim: str) -> RemoteProtocolError:
    if group or element <= previous:
        return RemoteProtocolError(f"({group:04X},{element:04X}) is out of place in a command set")
    return RemoteProtocolError(f"command element (0000,{element:04X}) claims {claim} left")


def _read_value(element: int, value: bytes) -> Value | Misshapen:
    """What is neither a plain number nor text, or has not the length that it should have."""
    if element in TEXT_ELEMENTS:
        return _misshapen(element, value, "which is odd")
    if element in AT_ELEMENTS:
        if len(value) % 4:
            return _misshapen(element, value, "not 4 a tag")
        numbers = struct.unpack(f"<{len(value) // 2}H", value)
        return tuple(group << 16 | low for group, low in zip(numbers[::2], numbers[1::2], strict=True))
    expected = 2 if element else 4
    if len(value) != expected:
        return _misshapen(element, value, f"not {expected}")
    return int.from_bytes(value, "little")


def _misshapen(element: int, value: bytes, what: str) -> Misshapen:
    return Misshapen(f"{Element(element).name} (0000,{element:04X}) has {len(value)} bytes, {what}")


def write_command(command: CommandSet) -> bytes:
    """The command set with its group length, elements ascending.

    Raises `LocalProtocolError` where a number, say of sub-operations, needs more than 16 bits.
    """
    body = b"".join(write_element(element, command[element]) for element in sorted(command) if element)
    return _GROUP_LENGTH.pack(0, 0, 4, len(body)) + body


def write_element(element: int, value: Value | Misshapen) -> bytes:
    """One element; see `write_command`."""
    if isinstance(value, int):
        if not 0 <= value <= 0xFFFF:
            raise LocalProtocolError(f"command element (0000,{element:04X}) has 16 bits, too few for {value}")
        return _NUMBER.pack(0, element, 2, value)
    assert not isinstance(value, Misshapen)  # of what was read none is sent on
    if isinstance(value, tuple):
        encoded = b"".join(struct.pack("<HH", tag >> 16, tag & 0xFFFF) for tag in value)
    else:
        encoded = value.encode("ascii", "replace")
        if len(encoded) & 1:
            encoded += b"\0" if element in UI_ELEMENTS else b" "
    return _HEADER.pack(0, element, len(encoded)) + encoded
