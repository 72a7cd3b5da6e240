"""Whether a value matches a key of a query: PS3.4 C.2.2.2, and nothing of where values come from. All of it pure.

A value is a tuple of decoded strings, one for each value of a multi-valued attribute; for a sequence a tuple of items.
An empty one is unknown, and not for the keys here to judge. Where the standard leaves a choice:

* Person names are compared without case, accents (of Latin, Greek and Cyrillic letters), width of characters, padding
  and empty components at the end. A key with one component group matches any group of a name; one with several, as
  ``YAMADA=山田``, compares each with the group at its place, an empty one with nothing. All else is compared exactly.
* IS and DS are compared as numbers: 007 is 7.
* A date, time or date-time of less precision stands for all moments in it: 1030 is from 10:30:00 to 10:30:59.999999.
* A key with several values matches what any of them matches.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal, InvalidOperation
from typing import Final, TypeAlias

from ..dimse.status import Status
from ..errors import ServiceError
from ..uids import is_valid_uid
from .moments import SPANS, Span

Item: TypeAlias = Mapping[str, "Values"]
Values: TypeAlias = Sequence["str | Item"]
"""What an attribute has: strings, or the items of a sequence, each with its attributes by keyword."""

WILDCARD_VRS: Final = frozenset(["AE", "CS", "LO", "LT", "PN", "SH", "ST", "UC", "UR", "UT"])
"""VRs in which ``*`` and ``?`` stand for others (PS3.4 C.2.2.2.4)."""

SINGLE_VALUE_VRS: Final = frozenset(["LT", "ST", "UR", "UT"])
"""VRs in which a backslash is a character and separates nothing (PS3.5 §6.2)."""

INTEGER_VRS: Final = frozenset(["IS", "SL", "SS", "SV", "UL", "US", "UV"])
NUMBER_VRS: Final = INTEGER_VRS | {"DS", "FD", "FL"}

_GB_2312: Final = "\x1b$)A"  # the escape sequence of ISO 2022 IR 58 (PS3.5 K.2)
_ACCENTS: Final = dict.fromkeys(range(0x0300, 0x0370))  # combining; not the voicing marks of kana


class IdentifierError(ServiceError):
    """The identifier does not match the SOP class: A900H, with the offending elements (PS3.4 C.4.1.1.4)."""

    def __init__(self, comment: str, *offending_elements: int) -> None:
        super().__init__(Status.IDENTIFIER_DOES_NOT_MATCH_SOP_CLASS, comment)
        self.offending_elements = offending_elements


def without_escapes(text: str) -> str:
    """Text that pydicom has decoded: of ISO 2022 IR 58, alone of all, it leaves the escape sequences in."""
    return text.replace(_GB_2312, "")


@dataclass(frozen=True, slots=True)
class Universal:
    """A key of zero length, or ``*``: it asks for the value and matches all (PS3.4 C.2.2.2.3)."""

    def matches(self, values: Values) -> bool:
        return True


@dataclass(frozen=True, slots=True)
class Exactly:
    """Single value matching, of UIDs list matching (PS3.4 C.2.2.2.1, C.2.2.2.2); `wanted` is normalized by VR."""

    vr: str
    wanted: frozenset[str]

    def matches(self, values: Values) -> bool:
        normal = _NORMAL.get(self.vr, str)
        return any(isinstance(value, str) and normal(value) in self.wanted for value in values)


@dataclass(frozen=True, slots=True)
class Wildcard:
    """Wild card matching (PS3.4 C.2.2.2.4); person names have their own class."""

    patterns: tuple[str, ...]
    _compiled: tuple[Glob, ...] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "_compiled", tuple(map(Glob, self.patterns)))

    def matches(self, values: Values) -> bool:
        return any(isinstance(value, str) and glob.matches(value) for value in values for glob in self._compiled)


@dataclass(frozen=True, slots=True)
class PersonName:
    """Single value or wild card matching of PN; each of `names` is folded, its groups apart."""

    names: tuple[tuple[str, ...], ...]
    _compiled: tuple[tuple[Glob, ...], ...] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "_compiled", tuple(tuple(map(Glob, groups)) for groups in self.names))

    def matches(self, values: Values) -> bool:
        return any(self._is(groups, fold_name(value))
                   for value in values if isinstance(value, str) for groups in self._compiled)  # fmt: skip

    @staticmethod
    def _is(wanted: tuple[Glob, ...], found: tuple[str, ...]) -> bool:
        if len(wanted) == 1:
            return any(wanted[0].matches(group) for group in found)
        padded = found + ("",) * (len(wanted) - len(found))
        return all(not glob.pattern or glob.matches(group) for glob, group in zip(wanted, padded, strict=False))


@dataclass(frozen=True, slots=True)
class Range:
    """Range matching, and single value matching of dates and times (PS3.4 C.2.2.2.5, C.2.2.2.1).

    `first` and `last` are moments as `moments` writes them, both included; None: open.
    """

    vr: str
    first: str | None
    last: str | None
    is_range: bool = True

    def matches(self, values: Values) -> bool:
        return any(self.includes(span) for value in values
                   if isinstance(value, str) and (span := SPANS[self.vr](value)) is not None)  # fmt: skip

    def includes(self, span: Span) -> bool:
        """Whether any moment of the span is in the range."""
        return (self.first is None or span[1] >= self.first) and (self.last is None or span[0] <= self.last)


@dataclass(frozen=True, slots=True)
class SequenceKey:
    """Sequence matching: some item matches all keys of the one in the request (PS3.4 C.2.2.2.6)."""

    keys: Mapping[str, Key]

    def matches(self, values: Values) -> bool:
        return any(self.matches_item(item) for item in values if not isinstance(item, str))

    def matches_item(self, item: Item) -> bool:
        return all(key.matches(item.get(keyword, ())) for keyword, key in self.keys.items())


Key: TypeAlias = Universal | Exactly | Wildcard | PersonName | Range | SequenceKey


def read_key(tag: int, vr: str, texts: Sequence[str]) -> Key:
    """The key that an element of an identifier is, unless it is a sequence. Raises IdentifierError."""
    texts = [text for text in texts if text]
    if not texts or (vr in WILDCARD_VRS and any(not text.strip("*") for text in texts)):
        return Universal()
    if vr in SPANS:
        return _read_range(tag, vr, texts)
    if vr == "PN":
        return PersonName(tuple(fold_name(text) for text in texts))
    if vr in WILDCARD_VRS and any("*" in text or "?" in text for text in texts):
        return Wildcard(tuple(texts))
    if vr == "UI":
        _demand(all(map(is_valid_uid, texts)), tag, "expected UIDs without wild cards")
    elif vr in NUMBER_VRS:
        _demand(all(number(text) is not None for text in texts), tag, "expected numbers without wild cards or ranges")
    elif vr not in WILDCARD_VRS:
        _demand(vr == "AS" and all(re.fullmatch("[0-9]{3}[DWMY]", text) for text in texts), tag,
                "expected no value, or one that its VR can be matched by")  # fmt: skip
    normal = _NORMAL.get(vr, str)
    return Exactly(vr, frozenset(normal(text) for text in texts))


def combined(date: Key, time: Key) -> Range | None:
    """Two ranges as one of date-times (PS3.4 C.2.2.2.5, when negotiated); None if they are not two ranges."""
    if not (isinstance(date, Range) and date.is_range and isinstance(time, Range) and time.is_range):
        return None
    first = None if date.first is None else date.first + (time.first or "000000.000000")
    last = None if date.last is None else date.last + (time.last or "235959.999999")
    return Range("DT", first, last)


def fold_name(name: str) -> tuple[str, ...]:
    """The component groups of a person's name without what matching does not regard; empty ones at the end left out."""
    text = unicodedata.normalize("NFKD", name).casefold()
    text = unicodedata.normalize("NFC", text.translate(_ACCENTS))
    groups = ["^".join(part.strip() for part in group.split("^")).rstrip("^") for group in text.split("=")]
    while groups and not groups[-1]:
        groups.pop()
    return tuple(groups)


def number(text: str) -> str | None:
    """A number in the one way of writing it; None if it is none."""
    try:
        value = Decimal(text.strip())
    except InvalidOperation:
        return None
    if not value.is_finite() or abs(value.adjusted()) > 400:  # beyond every IS, DS and double
        return None
    return format(value.normalize() + 0, "f")


class Glob:
    """A pattern with ``*`` and ``?``. What is between stars is looked for once, so no pattern takes long."""

    __slots__ = ("_first", "_inner", "_last", "_least", "pattern")

    def __init__(self, pattern: str) -> None:
        self.pattern = pattern
        first, *rest = pattern.split("*")
        self._first = _piece(first)
        self._last = _piece(rest[-1]) if rest else None
        self._inner = [_piece(piece) for piece in rest[:-1] if piece]
        self._least = len(rest[-1]) if rest else 0

    def matches(self, text: str) -> bool:
        if self._last is None:
            return self._first.fullmatch(text) is not None
        match = self._first.match(text)
        for piece in self._inner:
            match = match and piece.search(text, match.end())
        at = len(text) - self._least
        return match is not None and match.end() <= at and self._last.fullmatch(text, at) is not None


def _piece(text: str) -> re.Pattern[str]:
    return re.compile(".".join(map(re.escape, text.split("?"))), re.DOTALL)


def _read_range(tag: int, vr: str, texts: Sequence[str]) -> Key:
    _demand(len(texts) == 1, tag, f"expected one {vr} or one range of them")
    span_of, text = SPANS[vr], texts[0]
    if (span := span_of(text)) is not None:
        return Range(vr, *span, is_range=False)
    # A hyphen may also belong to an offset from UTC, so each is tried as the one between two moments.
    for at in (index for index, character in enumerate(text) if character == "-"):
        first, last = text[:at].strip(), text[at + 1:].strip()
        ends = [span_of(end) for end in (first, last) if end]
        if ends and None not in ends:
            start, stop = span_of(first), span_of(last)
            return Range(vr, start and start[0], stop and stop[1])
    raise IdentifierError(f"expected one {vr} or a range of two", tag)


def _demand(condition: bool, tag: int, comment: str) -> None:
    if not condition:
        raise IdentifierError(comment, tag)


def _number_or_text(text: str) -> str:
    return number(text) or text


_NORMAL: Final[Mapping[str, Callable[[str], str]]] = dict.fromkeys(NUMBER_VRS, _number_or_text)
