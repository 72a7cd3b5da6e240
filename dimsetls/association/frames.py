"""P-DATA-TF PDUs made around what is read from a file, in memory that is used again: nothing of it is copied here."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from io import FileIO

from ..ul.writer import LARGEST_PDU_LENGTH, P_DATA_HEADER, put_p_data_header

_ROOM = LARGEST_PDU_LENGTH + 6
"""Bytes of one write: the largest PDU that we send, with its header, or several smaller ones."""
_LEAST = 256   # bytes of room for which one more PDU is worth it
_AT_ONCE = 64  # PDUs; there is a limit to the pieces of memory that one read may fill

_spare: list[bytearray] = []  # as many as were ever in use at once


class Frames:
    """The PDUs of one write, each with at most `size` octets, an even number, of a data set that has `left` of them."""

    __slots__ = ("_context_id", "_end", "_size", "_view", "is_last", "left")

    def __init__(self, room: bytearray, context_id: int, size: int, left: int) -> None:
        self._view = memoryview(room)
        self._context_id = context_id
        self._size = size
        self._end = 0
        self.left = left
        self.is_last = False
        """Whether the data set ends with them."""

    def put(self, pdus: bytes) -> None:
        """Others, which go before."""
        self._view[: len(pdus)] = pdus
        self._end = len(pdus)

    def read(self, file: FileIO, is_cut: bool) -> int:
        """As many as there is room for, and how many octets they have; what `is_cut` ends with the next PDU.

        Raises OSError, and EOFError where the file is shorter than it was.
        """
        view, at, octets = self._view, self._end, 0
        parts: list[memoryview] = []
        while not self.is_last and _ROOM - at >= _LEAST and len(parts) < _AT_ONCE:
            length = min(self.left, self._size, (_ROOM - at - P_DATA_HEADER) & ~1)
            self.left -= length
            self.is_last = is_cut or not self.left
            odd = length & 1  # the last has a byte of padding then (PS3.5 §7.1.1)
            put_p_data_header(view, at, length + odd, self._context_id, self.is_last)
            at += P_DATA_HEADER
            parts.append(view[at : at + length])
            at += length
            octets += length
            if odd:
                view[at] = 0
                at += 1
        self._end = at
        if octets and os.readv(file.fileno(), parts) != octets:
            raise EOFError("the file is shorter than it was")
        return octets

    def take(self) -> memoryview:
        """What is to be written, before anything else is put here."""
        end, self._end = self._end, 0
        return self._view[:end]


@contextmanager
def lent(context_id: int, size: int, left: int) -> Iterator[Frames]:
    """Frames, whose memory others use afterwards."""
    room = _spare.pop() if _spare else bytearray(_ROOM)
    try:
        yield Frames(room, context_id, size, left)
    finally:
        _spare.append(room)
