"""Pick a few short values out of a data set while it streams past, holding nothing of it but what is picked.

The layout of a store needs a UID or two from the beginning of every instance, its index some sixty short values from
before the pixels. Nothing is decoded for that: headers are read, values are passed over by their length, and reading
ends as soon as the last wanted tag was seen or passed by (tags ascend, PS3.5 §7.1). What a peer may send is unbounded,
so what is held here is not: the wanted values, and at most one element header and one wanted value that were cut by the
end of a piece.
"""

from __future__ import annotations

import zlib
from collections.abc import Container, Iterable
from dataclasses import dataclass
from struct import Struct
from typing import Final, TypeAlias

from ..association.part10 import SHORT_VRS
from ..uids import DEFLATED_EXPLICIT_VR_LITTLE_ENDIAN, EXPLICIT_VR_BIG_ENDIAN, IMPLICIT_VR_LITTLE_ENDIAN

Piece: TypeAlias = bytes | bytearray | memoryview

SOP_CLASS_UID: Final = 0x0008_0016
SOP_INSTANCE_UID: Final = 0x0008_0018
STUDY_INSTANCE_UID: Final = 0x0020_000D
SERIES_INSTANCE_UID: Final = 0x0020_000E

LONGEST_VALUE: Final = 64
"""Bytes of the longest value that is picked, unless told: a UID with its padding (PS3.5 §6.2)."""

_DEFLATED: Final = frozenset((
    DEFLATED_EXPLICIT_VR_LITTLE_ENDIAN,
    "1.2.840.10008.1.2.4.95",   # JPIP Referenced Deflate
    "1.2.840.10008.1.2.4.205",  # JPIP HTJ2K Referenced Deflate
))
_INFLATE_STEP: Final = 1 << 16
# Deflate packs up to 1000:1. 4 MiB reach the series of any real data set; a hostile one costs a few milliseconds.
_INFLATE_MOST: Final = 1 << 22

_UNDEFINED: Final = 0xFFFF_FFFF
_ITEM: Final = 0xFFFE_E000
_ITEM_DELIMITATION: Final = 0xFFFE_E00D
_SEQUENCE_DELIMITATION: Final = 0xFFFE_E0DD
_LONGEST_HEADER: Final = 12


@dataclass(frozen=True, slots=True)
class _Encoding:
    """How headers are laid out (PS3.5 §7.1): group, element and what follows; the three of the standard are below."""

    explicit: bool
    header: Struct
    tag_and_length: Struct
    length: Struct


_IMPLICIT_LE: Final = _Encoding(False, Struct("<HHI"), Struct("<HHI"), Struct("<I"))
_EXPLICIT_LE: Final = _Encoding(True, Struct("<HH2sH"), Struct("<HHI"), Struct("<I"))
_EXPLICIT_BE: Final = _Encoding(True, Struct(">HH2sH"), Struct(">HHI"), Struct(">I"))
# Every other transfer syntax is Explicit VR Little Endian outside its pixel data (PS3.5 A.4).
_ENCODINGS: Final = {IMPLICIT_VR_LITTLE_ENDIAN: _IMPLICIT_LE, EXPLICIT_VR_BIG_ENDIAN: _EXPLICIT_BE}


class ElementReader:
    """Reads the values of `wanted` top-level tags from the pieces of one data set, given in order.

    `values` holds what was found so far, raw, by tag; of a tag in `sequences` the items, without what delimits the
    sequence. What has more than `longest` bytes is left out. `done` says that further pieces change nothing; `error`
    is one sentence on the first thing that could not be read, and empty otherwise. Nothing a peer sends makes it raise.
    """

    __slots__ = (
        "_catching",
        "_caught",
        "_depth",
        "_encoding",
        "_held",
        "_inflated",
        "_inflater",
        "_longest",
        "_outer",
        "_sequences",
        "_skip",
        "_unknown_depth",
        "_wanted",
        "done",
        "error",
        "values",
    )

    def __init__(
        self,
        transfer_syntax_uid: str,
        wanted: Iterable[int],
        sequences: Container[int] = (),
        longest: int = LONGEST_VALUE,
    ) -> None:
        self.values: dict[int, bytes] = {}
        self.error = ""
        self._sequences = sequences
        self._longest = longest
        self._catching = 0       # tag of the wanted sequence of undefined length that we are inside of, or 0
        self._caught = b""       # what came of it
        self._wanted = sorted(wanted, reverse=True)  # the next one is last
        self.done = not self._wanted
        self._encoding = self._outer = _ENCODINGS.get(transfer_syntax_uid, _EXPLICIT_LE)
        self._depth = 0          # even: among elements; odd: among the items of a sequence of undefined length
        self._unknown_depth = 0  # depth of the items of a UN of undefined length, 0 outside one
        self._skip = 0           # bytes of the next pieces that belong to an unwanted value
        self._held = b""         # the beginning of an element that was cut
        self._inflater = zlib.decompressobj(-zlib.MAX_WBITS) if transfer_syntax_uid in _DEFLATED else None
        self._inflated = 0

    def feed(self, piece: Piece) -> None:
        """Read the next bytes of the data set, as they came from the network; any size will do."""
        if self.done:
            return
        if self._inflater is None:
            self._take(piece)
        else:
            self._inflate(self._inflater, piece)

    def _inflate(self, inflater: zlib._Decompress, piece: Piece) -> None:
        while True:
            try:
                plain = inflater.decompress(piece, _INFLATE_STEP)
            except zlib.error:
                return self._fail("expected a raw deflate stream (PS3.5 A.5), got something else")
            self._take(plain)
            if self.done:
                return None
            self._inflated += len(plain)
            if self._inflated > _INFLATE_MOST:
                return self._fail(f"expected the wanted elements in the first {_INFLATE_MOST} inflated bytes, got none")
            if inflater.eof:
                return self._fail("expected the wanted elements, got the end of the deflate stream")
            piece = inflater.unconsumed_tail
            if not piece and len(plain) < _INFLATE_STEP:
                return None

    def _take(self, piece: Piece) -> None:
        size, at, seen = len(piece), self._skip, 0
        if self._held:
            # Complete the element that was cut in a small copy, then go on in the piece itself.
            joined = self._held + bytes(piece[:_LONGEST_HEADER + self._longest])
            at = self._read(joined, 0) - len(self._held)
            if at < 0:
                self._held = joined
                return
            seen = len(joined) - len(self._held)
            self._held = b""
        if self._catching and at > seen:
            self._catch(piece[seen:at])
        if at < size and not self.done:
            at = self._read(piece, at)
            if at < size:
                self._held = b"" if self.done else bytes(piece[at:])
        self._skip = max(at - size, 0)

    def _read(self, data: Piece, at: int) -> int:
        """Read elements from `at`; the answer is where the next one begins, which may lie beyond the end of `data`."""
        end, depth, wanted = len(data), self._depth, self._wanted
        encoding = self._encoding
        explicit, read_header = encoding.explicit, encoding.header.unpack_from
        caught = at  # from here on it is not caught yet
        while at + 8 <= end:
            if explicit and wanted and not depth:
                at = _pass_over(data, at, end, encoding, wanted[-1])
                if at + 8 > end:
                    break
            value = at + 8
            if depth & 1:
                group, element, length = encoding.tag_and_length.unpack_from(data, at)
                tag = group << 16 | element
                if tag == _ITEM:
                    if length == _UNDEFINED:
                        depth, length = depth + 1, 0
                elif tag == _SEQUENCE_DELIMITATION:
                    if depth == self._unknown_depth:
                        self._unknown_depth = 0
                        self._encoding = encoding = self._outer
                        explicit, read_header = encoding.explicit, encoding.header.unpack_from
                    depth, length = depth - 1, 0
                    if not depth and self._catching:
                        self._catch(data[caught:at], is_last=True)
                else:
                    self._fail(f"expected an item or the end of a sequence, got {_name(tag)}")
                    break
                at = value + length
                continue
            if explicit:
                group, element, vr, length = read_header(data, at)
                tag = group << 16 | element
                if vr not in SHORT_VRS and group != 0xFFFE:  # a delimitation item has no VR
                    if not (vr.isalpha() and vr.isupper()):
                        self._fail(f"expected a VR of two capital letters at {_name(tag)}, got {vr.hex().upper()}H")
                        break
                    value = at + 12
                    if value > end:
                        break
                    length = encoding.length.unpack_from(data, at + 8)[0]
            else:
                group, element, length = read_header(data, at)
                tag, vr = group << 16 | element, b""
            if group == 0xFFFE:
                if tag != _ITEM_DELIMITATION or not depth:
                    self._fail(f"expected a data element, got {_name(tag)}")
                    break
                depth, length = depth - 1, 0
            elif not depth and (not wanted or tag >= wanted[-1]):
                while wanted and tag > wanted[-1]:
                    wanted.pop()
                if wanted and tag == wanted[-1]:
                    is_sequence = tag in self._sequences
                    if is_sequence and explicit and vr != b"SQ":
                        pass  # a UN, encoded otherwise than the rest
                    elif is_sequence and length == _UNDEFINED:
                        self._catching, self._caught, caught = tag, b"", value
                    elif length > self._longest:
                        self._note(f"expected at most {self._longest} bytes in {_name(tag)}, got {length}")
                    elif value + length > end:
                        break
                    else:
                        self.values[tag] = bytes(data[value:value + length])
                    wanted.pop()
                if not wanted and not self._catching:
                    self.done = True
                    break
            if length == _UNDEFINED:
                depth, length = depth + 1, 0
                if vr == b"UN":
                    # Sequences inside a UN stay in Implicit VR Little Endian, whatever surrounds them (PS3.5 §6.2.2).
                    self._unknown_depth = depth
                    self._encoding = encoding = _IMPLICIT_LE
                    explicit, read_header = False, encoding.header.unpack_from
            at = value + length
        self._depth = depth
        if self._catching:
            self._catch(data[caught:min(at, end)])
        return at

    def _catch(self, piece: Piece, is_last: bool = False) -> None:
        """Keep what came of a sequence, unless it gets too long."""
        if len(self._caught) + len(piece) > self._longest:
            self._note(f"expected at most {self._longest} bytes in {_name(self._catching)}, got more")
            self._catching, self._caught = 0, b""
            return
        self._caught += bytes(piece)
        if is_last:
            self.values[self._catching] = self._caught
            self._catching, self._caught = 0, b""

    def _note(self, sentence: str) -> None:
        self.error = self.error or f"data set not readable: {sentence}"

    def _fail(self, sentence: str) -> None:
        self._note(sentence)
        self.done = True


def _pass_over(data: Piece, at: int, end: int, encoding: _Encoding, wanted: int) -> int:
    """Go past what most elements are: with an explicit VR, short, and before the next that is wanted."""
    read_header = encoding.header.unpack_from
    while at + 8 <= end:
        group, element, vr, length = read_header(data, at)
        if group << 16 | element >= wanted or vr not in SHORT_VRS:
            break
        at += 8 + length
    return at


def _name(tag: int) -> str:
    return f"({tag >> 16:04X},{tag & 0xFFFF:04X})"
