"""What a Part 10 file says of itself before its data set: its file meta information, read (PS3.10 §7.1)."""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import BinaryIO, Final

SHORT_VRS: Final = frozenset(
    b"AE AS AT CS DA DS DT FD FL IS LO LT PN SH SL SS ST TM UI UL US".split()
)
"""VRs whose length field has two bytes; all others, and every future one, have four (PS3.5 §6.2, §7.1.2)."""

_PREAMBLE = 128
_HEADER = struct.Struct("<HH2sH")
_LONGEST_VALUE = 66  # bytes; a UID has at most 64 (PS3.5 §6.2), and one that has more must not be cut to one
_LONG_HEADER = 12  # bytes
_WINDOW = 1024  # bytes read at once: nearly always all of it
_MOST = 1 << 20  # bytes of file meta information; private information may be in it


@dataclass(frozen=True, slots=True)
class FileMeta:
    """What a Part 10 file says of its data set, and where that is; `data_set_offset` counts from the first byte.

    What it does not say is empty.
    """

    transfer_syntax_uid: str
    data_set_offset: int
    sop_class_uid: str = ""
    sop_instance_uid: str = ""
    sending_ae_title: str = ""
    """The calling AE title of the C-STORE that it came with."""
    receiving_ae_title: str = ""
    """The called one."""


def read_file_meta(file: BinaryIO) -> FileMeta | None:
    """The file meta information of a Part 10 file open at its first byte, which is then at its data set.

    None if it is no such file, or has more than 1 MiB of it. Raises OSError.
    """
    start, window = file.tell(), file.read(_WINDOW)
    if window[_PREAMBLE : _PREAMBLE + 4] != b"DICM":
        return None
    values, at, begun = dict.fromkeys((0x0002, 0x0003, 0x0010, 0x0017, 0x0018), ""), _PREAMBLE + 4, 0
    # The group ends where another begins: its length element is not always there, nor always right.
    while True:
        if at + _LONG_HEADER + _LONGEST_VALUE > len(window):
            if (begun := begun + at) > _MOST:
                return None
            file.seek(start + begun)
            window, at = file.read(_WINDOW), 0
            if len(window) < 8:
                break
        group, element, vr, length = _HEADER.unpack_from(window, at)
        if group != 0x0002:
            break
        at += 8
        if vr not in SHORT_VRS:
            length = int.from_bytes(window[at : at + 4], "little")
            at += 4
        if element in values:
            text = window[at : at + min(length, _LONGEST_VALUE)]
            values[element] = text.rstrip(b"\0 ").decode("ascii", "replace")
        at += length
    offset = begun + at
    file.seek(start + offset)
    return FileMeta(values[0x0010], offset, values[0x0002], values[0x0003], values[0x0017], values[0x0018])
