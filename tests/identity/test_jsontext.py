from __future__ import annotations

import pytest

from dimsetls.identity.jsontext import DEEPEST, UnreadableJSON, read_object


def nested(levels: int) -> bytes:
    return b'{"a":' + b"[" * (levels - 1) + b"]" * (levels - 1) + b"}"


@pytest.mark.parametrize(("octets", "value"), [
    (b'{"sub":"alice","exp":1.5,"nested":{"a":[1,null,true]}}',
     {"sub": "alice", "exp": 1.5, "nested": {"a": [1, None, True]}}),
    (b' {"a": "[[[[[[[[[[[[[[[[[[[["} ', {"a": "[" * 20}),
    (rb'{"a":"\"[[[[[[[[[[[[[[[[[[[["}', {"a": '"' + "[" * 20}),
    (rb'{"a":"\ud83d\ude00"}', {"a": "\N{GRINNING FACE}"}),
    ('{"ä":"ö"}'.encode(), {"ä": "ö"}),
])  # fmt: skip
def test_an_object_is_read(octets: bytes, value: object) -> None:
    assert read_object(octets) == value


def test_the_deepest_object_is_read_and_one_deeper_is_not() -> None:
    assert read_object(nested(DEEPEST))
    with pytest.raises(UnreadableJSON, match=f"more than {DEEPEST} levels"):
        read_object(nested(DEEPEST + 1))


@pytest.mark.parametrize(("octets", "why"), [
    (b"", "not JSON"),
    (b"{", "not JSON"),
    (b'{"a":1}{"a":1}', "not JSON"),
    (b"\xef\xbb\xbf{}", "not JSON"),
    (b'{"a":"\xff"}', "not UTF-8"),
    (b"[]", "not an object"),
    (b"7", "not an object"),
    (b'{"sub":"a","sub":"b"}', "'sub' more than once"),
    (b'{"n":{"sub":"a","sub":"a"}}', "'sub' more than once"),
    (rb'{"sub":"a","\u0073ub":"b"}', "'sub' more than once"),
    (b'{"exp":NaN}', "NaN, which is no number"),
    (b'{"exp":-Infinity}', "-Infinity, which is no number"),
    (b'{"exp":1e999}', "too large"),
    (b'{"exp":' + b"9" * 5000 + b"}", "not JSON"),
    (rb'{"sub":"\ud83d"}', "not JSON"),
    (rb'{"\udc00":1}', "not JSON"),
    (b'{"a":"unterminated', "not JSON"),
    (b'{"a":' + b"[" * 100000, "levels"),
    (b"{" * 100000, "levels"),
])  # fmt: skip
def test_what_two_readers_may_read_in_two_ways_is_refused(octets: bytes, why: str) -> None:
    with pytest.raises(UnreadableJSON, match=why):
        read_object(octets)
