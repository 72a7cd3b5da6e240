from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dimsetls.identity.base64url import decode, encode


@pytest.mark.parametrize(("octets", "text"), [
    (b"", b""), (b"f", b"Zg"), (b"fo", b"Zm8"), (b"foo", b"Zm9v"), (b"\xfb\xff\xfe", b"-__-"), (b"\0" * 3, b"AAAA"),
])  # fmt: skip
def test_one_spelling(octets, text):
    assert encode(octets) == text
    assert decode(text) == octets


@pytest.mark.parametrize("text", [
    b"Zg=", b"Zg==", b"Zm8=", b"Zh", b"Zm9", b"Z", b"Zm9vZ", b"+//+", b"Zg\n", b" Zg", b"Zm 9v", b"Zm9v.", b"\xff\xff",
    b"=", b"Zg=Zg", b"====",
])  # fmt: skip
def test_other_spellings_are_none(text):
    assert decode(text) is None


@given(st.binary())
def test_there_and_back(octets):
    assert decode(encode(octets)) == octets


@given(st.binary(max_size=12) | st.text(alphabet="Az09-_+/= \n", max_size=12).map(str.encode))
def test_whatever_is_read_is_written_so(text):
    octets = decode(text)
    assert octets is None or encode(octets) == text
