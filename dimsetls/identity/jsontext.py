"""JSON from outside, read so that no two readers can differ over it (RFC 8259, RFC 8725 §2.4, §3.7)."""

from __future__ import annotations

import json
import math
import re
from typing import Any

DEEPEST = 16
"""Objects and arrays within each other; what tokens, key sets and answers carry has five or so."""

_STRING = re.compile(r'"(?:[^"\\]|\\.)*"')
_SURROGATE = re.compile(r"\\u[dD][89a-fA-F]")


class UnreadableJSON(ValueError):
    """It is not one JSON object, or not one that is read the same by everybody; the message says what it is instead."""


def read_object(octets: bytes) -> dict[str, Any]:
    """The object in `octets`. Raises UnreadableJSON.

    UTF-8 alone, every name once in its object, numbers that are numbers, text that can be written again.
    """
    try:
        text = octets.decode()
    except UnicodeDecodeError:
        raise UnreadableJSON("not UTF-8") from None
    _judge_depth(text)
    try:
        value = json.loads(
            text, object_pairs_hook=_without_repetition, parse_constant=_no_number, parse_float=_finite
        )
        if _SURROGATE.search(text):  # half of a pair alone is no character, and would fail wherever it is written
            json.dumps(value, ensure_ascii=False).encode()
    except UnreadableJSON:
        raise
    except (ValueError, RecursionError):
        raise UnreadableJSON("not JSON") from None
    if not isinstance(value, dict):
        raise UnreadableJSON("JSON, but not an object")
    return value


def _judge_depth(text: str) -> None:
    """Before anything is built of it: the parser recurses."""
    depth = 0
    for bracket in re.findall(r"[\[{\]}]", _STRING.sub("", text)):
        depth += 1 if bracket in "[{" else -1
        if depth > DEEPEST:
            raise UnreadableJSON(f"JSON of more than {DEEPEST} levels")


def _without_repetition(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Of a name that comes twice one reader takes the first and another the last (RFC 7519 §4)."""
    found = dict(pairs)
    if len(found) < len(pairs):
        names = [name for name, _ in pairs]
        repeated = next(name for name in names if names.count(name) > 1)
        raise UnreadableJSON(f"JSON with the name {repeated[:40]!r} more than once in one object")
    return found


def _no_number(word: str) -> float:
    raise UnreadableJSON(f"JSON with {word}, which is no number")


def _finite(text: str) -> float:
    number = float(text)
    if math.isinf(number):
        raise UnreadableJSON("JSON with a number that is too large")
    return number
