"""The data sets of Storage Commitment (PS3.4 Tables J.3-1 and J.3-2), between their bytes and plain data.

A request may name tens of thousands of instances. So they are read item by item and written as bytes, and never stand
in memory as data elements all at once.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from io import BytesIO
from sys import intern
from typing import Final

from pydicom.filereader import read_sequence_item

from ...association.datasets import LARGEST
from ...dimse.status import Status
from ...errors import ServiceError
from ...uids import EXPLICIT_VR_BIG_ENDIAN, IMPLICIT_VR_LITTLE_ENDIAN, is_valid_uid
from ..elements import ElementReader

_RETRIEVE_AE_TITLE: Final = 0x0008_0054
_SOP_CLASS_UID: Final = 0x0008_1150
_SOP_INSTANCE_UID: Final = 0x0008_1155
_TRANSACTION_UID: Final = 0x0008_1195
_FAILURE_REASON: Final = 0x0008_1197
_FAILED: Final = 0x0008_1198
_REFERENCED: Final = 0x0008_1199

_ITEM: Final = 0xFFFE_E000
_UNDEFINED: Final = 0xFFFF_FFFF


@dataclass(frozen=True, slots=True)
class Reference:
    """An instance that is asked about."""

    sop_class_uid: str
    sop_instance_uid: str


@dataclass(frozen=True, slots=True)
class Report:
    """What became of a request: what is committed, and what is not with the Failure Reason (PS3.3 C.14.1.1)."""

    transaction_uid: str
    committed: tuple[Reference, ...] = ()
    failed: Mapping[Reference, int] = field(default_factory=dict)
    retrieve_ae_title: str = ""

    @property
    def event_type_id(self) -> int:
        """1: all is committed; 2: not all is (PS3.4 Table J.3-2)."""
        return 2 if self.failed else 1


def read_request(data: bytes, transfer_syntax_uid: str) -> tuple[str, list[Reference]]:
    """Transaction UID and references of the action information. Raises ServiceError with what is wrong."""
    elements = _top_level(data, transfer_syntax_uid, (_TRANSACTION_UID, _REFERENCED))
    transaction_uid = _transaction_uid(elements)
    if not elements.values.get(_REFERENCED):
        raise _invalid("expected one or more items in Referenced SOP Sequence", _REFERENCED)
    items = _items(elements.values[_REFERENCED], transfer_syntax_uid)
    return transaction_uid, [reference for reference, _ in items]


def read_report(data: bytes, transfer_syntax_uid: str) -> Report:
    """The event information of a report. Raises ServiceError with what is wrong."""
    wanted = (_RETRIEVE_AE_TITLE, _TRANSACTION_UID, _FAILED, _REFERENCED)
    elements = _top_level(data, transfer_syntax_uid, wanted)
    committed = _items(elements.values.get(_REFERENCED, b""), transfer_syntax_uid)
    failed = _items(elements.values.get(_FAILED, b""), transfer_syntax_uid)
    title = _text(elements.values.get(_RETRIEVE_AE_TITLE, b""))
    return Report(_transaction_uid(elements), tuple(reference for reference, _ in committed), dict(failed), title)


def write_request(transaction_uid: str, references: Iterable[Reference], transfer_syntax_uid: str) -> bytes:
    """The action information of a request."""
    writer = _Writer(transfer_syntax_uid)
    return writer.uid(_TRANSACTION_UID, transaction_uid) + writer.sequence(
        _REFERENCED, (writer.reference(reference) for reference in references)
    )


def write_report(report: Report, transfer_syntax_uid: str) -> bytes:
    """The event information of a report; a sequence without items is left out (PS3.4 Table J.3-2, type 1C)."""
    writer = _Writer(transfer_syntax_uid)
    failed = (
        writer.reference(reference) + writer.element(_FAILURE_REASON, b"US", struct.pack(writer.order + "H", reason))
        for reference, reason in report.failed.items()
    )
    committed = (writer.reference(reference) for reference in report.committed)
    title = report.retrieve_ae_title.encode("ascii")
    return b"".join((
        writer.element(_RETRIEVE_AE_TITLE, b"AE", title + b" " * (len(title) & 1)) if title else b"",
        writer.uid(_TRANSACTION_UID, report.transaction_uid),
        writer.sequence(_FAILED, failed) if report.failed else b"",
        writer.sequence(_REFERENCED, committed) if report.committed else b"",
    ))


# Reading -----------------------------------------------------------------------------------------------------------


def _top_level(data: bytes, transfer_syntax_uid: str, wanted: Sequence[int]) -> ElementReader:
    elements = ElementReader(transfer_syntax_uid, wanted, frozenset((_FAILED, _REFERENCED)), LARGEST)
    elements.feed(data)
    if elements.error:
        raise ServiceError(Status.PROCESSING_FAILURE, "the data set cannot be read") from ValueError(elements.error)
    return elements


def _transaction_uid(elements: ElementReader) -> str:
    uid = _text(elements.values.get(_TRANSACTION_UID, b""))
    if not is_valid_uid(uid):
        raise _invalid("expected a UID in Transaction UID", _TRANSACTION_UID)
    return uid


def _items(raw: bytes, transfer_syntax_uid: str) -> Iterator[tuple[Reference, int]]:
    """The references in the items of a sequence, each with its Failure Reason, or 0."""
    is_implicit = transfer_syntax_uid == IMPLICIT_VR_LITTLE_ENDIAN
    is_little = transfer_syntax_uid != EXPLICIT_VR_BIG_ENDIAN
    header = struct.Struct("<HHI" if is_little else ">HHI")
    file, at, number = BytesIO(raw), 0, 0
    while at < len(raw):
        number += 1
        try:
            group, element, length = header.unpack_from(raw, at)
            end = at + header.size + length
            if group << 16 | element != _ITEM or (length != _UNDEFINED and end > len(raw)):
                raise ValueError(f"expected a whole item at byte {at}")
            item = read_sequence_item(file, is_implicit, is_little, "iso8859")
            at = file.tell()
            if item is None or (length != _UNDEFINED and at != end):
                raise ValueError(f"expected item {number} to end with an element")
            # As bytes: pydicom would warn of what it thinks of each value.
            found = {tag: bytes(element.value or b"") for tag in (_SOP_CLASS_UID, _SOP_INSTANCE_UID, _FAILURE_REASON)
                     if (element := item.get_item(tag)) is not None}  # fmt: skip
        except Exception as error:  # whatever pydicom makes of bytes that are the peer's choice
            raise ServiceError(Status.PROCESSING_FAILURE, "the data set cannot be read") from error
        uids = []
        for name, tag in (("Class", _SOP_CLASS_UID), ("Instance", _SOP_INSTANCE_UID)):
            uids.append(_text(found.get(tag, b"")))
            if not is_valid_uid(uids[-1]):
                raise _invalid(f"expected a UID in Referenced SOP {name} UID of item {number}", tag)
        reason = int.from_bytes(found.get(_FAILURE_REASON, b""), "little" if is_little else "big")
        yield Reference(intern(uids[0]), uids[1]), reason


def _text(value: bytes) -> str:
    return value.decode("ascii", "replace").strip("\0 ")


def _invalid(comment: str, tag: int) -> ServiceError:
    """What is missing in an argument, or wrong, is an invalid argument value (PS3.7 C.5.6)."""
    return ServiceError(Status.INVALID_ARGUMENT_VALUE, comment, (tag,))


# Writing -----------------------------------------------------------------------------------------------------------


class _Writer:
    """Elements as bytes, in one of the transfer syntaxes without compression."""

    def __init__(self, transfer_syntax_uid: str) -> None:
        self.order = ">" if transfer_syntax_uid == EXPLICIT_VR_BIG_ENDIAN else "<"
        self._is_implicit = transfer_syntax_uid == IMPLICIT_VR_LITTLE_ENDIAN

    def element(self, tag: int, vr: bytes, value: bytes) -> bytes:
        group, element = tag >> 16, tag & 0xFFFF
        if self._is_implicit:
            return struct.pack(self.order + "HHI", group, element, len(value)) + value
        if vr == b"SQ":
            return struct.pack(self.order + "HH2sHI", group, element, vr, 0, len(value)) + value
        return struct.pack(self.order + "HH2sH", group, element, vr, len(value)) + value

    def uid(self, tag: int, uid: str) -> bytes:
        value = uid.encode("ascii")
        return self.element(tag, b"UI", value + b"\0" * (len(value) & 1))

    def reference(self, reference: Reference) -> bytes:
        return (self.uid(_SOP_CLASS_UID, reference.sop_class_uid)
                + self.uid(_SOP_INSTANCE_UID, reference.sop_instance_uid))  # fmt: skip

    def sequence(self, tag: int, items: Iterable[bytes]) -> bytes:
        header = struct.Struct(self.order + "HHI")
        return self.element(tag, b"SQ", b"".join(header.pack(0xFFFE, 0xE000, len(item)) + item for item in items))
