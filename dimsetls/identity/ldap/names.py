"""Names as a directory writes them: what a user typed goes in escaped, what comes back is taken apart."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import TypeAlias

RDN: TypeAlias = tuple[tuple[str, str], ...]
"""One step of a name: attribute type and value, more than one pair if they are joined by `+`."""

_IN_FILTERS = frozenset("*()\\\0")
_IN_NAMES = frozenset(',+"\\<>;=\0# ')  # the last two count only at the ends of a value, but may be escaped anywhere

# RFC 4514 §3; spaces around types and values may be there (RFC 2253 §4), and are no part of them unless escaped.
_PAIR = re.compile(
    r" *([A-Za-z][\w-]*|\d+(?:\.\d+)*) *= *((?:\\[0-9A-Fa-f]{2}|\\.|[^\\,;+\"<>\0])*?) *([,+]|\Z)",
    re.ASCII | re.DOTALL,
)
_ESCAPED = re.compile(rb"\\([0-9A-Fa-f]{2})|\\(.)", re.DOTALL)


def escape_in_filter(value: str) -> str:
    """A value that stands for itself in a search filter (RFC 4515 §3)."""
    return _escape(value, _IN_FILTERS)


def escape_in_name(value: str) -> str:
    """A value that stands for itself in a distinguished name (RFC 4514 §2.4)."""
    return _escape(value, _IN_NAMES)


def _escape(value: str, special: frozenset[str]) -> str:
    return "".join(f"\\{ord(each):02x}" if each in special else each for each in value)


def fill(template: str, escape: Callable[[str], str], **values: str) -> str:
    """The template with `{name}` replaced, in one pass: a value that looks like a placeholder stays what it is."""
    return re.sub(rf"\{{({'|'.join(values)})\}}", lambda found: escape(values[found[1]]), template)


def parse_name(text: str) -> tuple[RDN, ...]:
    """The steps of a distinguished name, the entry's own first. ValueError where it is none."""
    steps: list[RDN] = []
    pairs: list[tuple[str, str]] = []
    position, separator = 0, ","
    while separator:
        found = _PAIR.match(text, position)
        if found is None:
            raise ValueError(f"no distinguished name: {text!r}")
        kind, value, separator = found.groups()
        pairs.append((kind.lower(), _ESCAPED.sub(_unescape, value.encode()).decode()))
        position = found.end()
        if separator != "+":
            steps.append(tuple(pairs))
            pairs = []
    return tuple(steps)


def _unescape(found: re.Match[bytes]) -> bytes:
    return bytes.fromhex(found[1].decode()) if found[1] else found[2]


def name_below(text: str, base: str) -> str | None:
    """The value of a name's first step if the name is below the base; None if it is not, or is no name."""
    try:
        steps, above = parse_name(text), parse_name(base)
    except ValueError:
        return None
    depth = len(steps) - len(above)
    return steps[0][0][1] if depth > 0 and _folded(steps[depth:]) == _folded(above) else None


def _folded(steps: tuple[RDN, ...]) -> list[list[tuple[str, str]]]:
    """For comparing as directories compare names: without letter case and with single spaces."""
    return [sorted((kind, " ".join(value.split()).casefold()) for kind, value in step) for step in steps]
