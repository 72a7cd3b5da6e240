"""What is written before the data set in a Part 10 file: preamble and file meta information (PS3.10 §7.1)."""

from __future__ import annotations

import os
import struct
from functools import lru_cache

from ..association.part10 import read_file_meta
from ..uids import IMPLEMENTATION_CLASS_UID, IMPLEMENTATION_VERSION_NAME

# A received instance gets zeros: whoever fills a preamble can hide a program in it (PS3.10 §7.5).
_PREFIX = bytes(128) + b"DICM"
_GROUP_LENGTH = struct.Struct("<HH2sHI")
_HEADER = struct.Struct("<HH2sH")
_COMPARED_AT_ONCE = 1 << 18


def file_meta(
    sop_class_uid: str, sop_instance_uid: str, transfer_syntax_uid: str, calling_ae_title: str, called_ae_title: str
) -> bytes:
    """Everything that precedes the data set of an instance received with C-STORE; the UIDs are valid ones.

    The AE titles become Sending and Receiving Application Entity Title, which unlike Source Application Entity Title
    say which end of the association they were (PS3.10 Table 7.1-1).
    """
    before, after = _same_for_many(
        sop_class_uid, len(sop_instance_uid), transfer_syntax_uid, calling_ae_title, called_ae_title
    )
    return b"".join((before, sop_instance_uid.encode("ascii"), after))


def same_data_set(one: str, other: str) -> bool:
    """Whether two Part 10 files hold the same data set, whoever sent them and whoever wrote their meta information.

    The same bytes in two transfer syntaxes are two data sets. Raises OSError.
    """
    with open(one, "rb") as first, open(other, "rb") as second:
        meta, other_meta = read_file_meta(first), read_file_meta(second)
        if meta is None or other_meta is None or not meta.transfer_syntax_uid:
            return False
        if meta.transfer_syntax_uid != other_meta.transfer_syntax_uid:
            return False
        length = os.fstat(first.fileno()).st_size - meta.data_set_offset
        if length != os.fstat(second.fileno()).st_size - other_meta.data_set_offset:
            return False
        first.seek(meta.data_set_offset)
        second.seek(other_meta.data_set_offset)
        while block := first.read(_COMPARED_AT_ONCE):
            if block != second.read(_COMPARED_AT_ONCE):
                return False
        return True


@lru_cache(maxsize=256)
def _same_for_many(
    sop_class_uid: str, length: int, transfer_syntax_uid: str, calling_ae_title: str, called_ae_title: str
) -> tuple[bytes, bytes]:
    """What is before and after a SOP Instance UID of that length: the same for most of a series, so made once."""
    version = _HEADER.pack(0x0002, 0x0001, b"OB", 0) + struct.pack("<I", 2) + b"\x00\x01"
    before = version + _uid(0x0002, sop_class_uid) + _HEADER.pack(0x0002, 0x0003, b"UI", length + (length & 1))
    after = (
        b"\0" * (length & 1)
        + _uid(0x0010, transfer_syntax_uid)
        + _uid(0x0012, IMPLEMENTATION_CLASS_UID)
        + _text(0x0013, b"SH", IMPLEMENTATION_VERSION_NAME)
        + _text(0x0017, b"AE", calling_ae_title)
        + _text(0x0018, b"AE", called_ae_title)
    )
    group_length = len(before) + length + len(after)
    return _PREFIX + _GROUP_LENGTH.pack(0x0002, 0x0000, b"UL", 4, group_length) + before, after


def _uid(element: int, uid: str) -> bytes:
    value = uid.encode("ascii")
    return _HEADER.pack(0x0002, element, b"UI", len(value) + (len(value) & 1)) + value + b"\0" * (len(value) & 1)


def _text(element: int, vr: bytes, text: str) -> bytes:
    value = text.encode("ascii", "replace")
    return _HEADER.pack(0x0002, element, vr, len(value) + (len(value) & 1)) + value + b" " * (len(value) & 1)
