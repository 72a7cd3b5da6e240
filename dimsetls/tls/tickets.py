"""Which key a client's ticket was made with, read from the ClientHello that offers it (RFC 8446 §4.2.11).

OpenSSL begins each ticket with 16 bytes that name its key (RFC 5077 §4). They are no secret: a client shows them to
the whole network. Nothing is decided by them but which of several processes is asked first.
"""

from __future__ import annotations

import struct
from typing import Final

KEY_NAME: Final = 16
LONGEST: Final = 5 + (1 << 14)
"""Bytes of a record with its header; no client needs more than one for its first message."""

_PRE_SHARED_KEY = 41
_EXTENSIONS = 64  # more than there are in use
_BEFORE_SESSION_ID = 5 + 4 + 2 + 32  # headers of record and message, version, random


def key_name(data: bytes) -> bytes | int:
    """The name of the key, of the first ticket that is offered; empty if there is none, or no ClientHello; a number
    if it takes so many bytes to tell."""
    if not b"\x16\x03".startswith(data[:2]):
        return b""
    if len(data) < 5:
        return 5
    end = 5 + int.from_bytes(data[3:5], "big")
    if not _BEFORE_SESSION_ID < end <= LONGEST:
        return b""
    if len(data) < end:
        return end
    try:
        return _first_ticket(data, end)[:KEY_NAME]
    except (IndexError, struct.error):
        return b""  # OpenSSL has an alert for it


def _first_ticket(data: bytes, end: int) -> bytes:
    at = _BEFORE_SESSION_ID
    at += 1 + data[at]
    at += 2 + int.from_bytes(data[at : at + 2], "big")  # cipher suites
    at += 1 + data[at]  # compressions
    at += 2
    for _ in range(_EXTENSIONS):
        if at >= end:
            break
        kind, length = struct.unpack_from(">HH", data, at)
        if kind == _PRE_SHARED_KEY:
            (size,) = struct.unpack_from(">H", data, at + 6)
            return data[at + 8 : min(at + 8 + size, end)]
        at += 4 + length
    return b""
