from __future__ import annotations

import pytest

from dimsetls.errors import IdentityDenied
from dimsetls.identity.bearer import (
    BearerResult,
    is_b64token,
    read_result,
    read_token,
    token_of,
    write_result,
    write_token,
)
from dimsetls.identity.credentials import AccessToken, Caps, Secret
from dimsetls.uids import BEARER_TOKEN, VERIFICATION
from dimsetls.ul.pdus import ExtendedNegotiation

CAPS = Caps()
TOKEN = b"mF_9.B5f-4.1JqM~+/=="
OTHER = ExtendedNegotiation(VERIFICATION, b"\x01\x00" + TOKEN)


def item(information):
    return ExtendedNegotiation(BEARER_TOKEN, information)


def refusal(*items, caps=CAPS):
    with pytest.raises(IdentityDenied) as caught:
        read_token(items, caps)
    return str(caught.value)


@pytest.mark.parametrize("requested", [True, False])
def test_a_token_is_written_and_read(requested):
    written = write_token(AccessToken(Secret(TOKEN)), requested)
    assert written == item(bytes((1, requested)) + TOKEN)
    assert read_token([OTHER, written], CAPS) == (AccessToken(Secret(TOKEN)), requested)


def test_what_is_on_its_way_shows_no_token():
    written = write_token(AccessToken(Secret(TOKEN)), True)
    assert "mF_9" not in repr(written)
    assert "mF_9" not in repr(read_token([written], CAPS))


def test_none_is_none():
    assert read_token([], CAPS) is None
    assert read_token([OTHER], CAPS) is None


def test_two_bearer_items_are_refused():
    assert refusal(item(b"\1\0x"), OTHER, item(b"\1\0x")) == "2 bearer items came, one is expected"


@pytest.mark.parametrize("information", [b"", b"\1", b"\0\0x", b"\2\0x", b"\1\2x", b"\1\x81x"])
def test_another_version_and_unknown_flags_are_refused(information):
    assert refusal(item(information)) == "the bearer item is not of version 1 with known flags"


@pytest.mark.parametrize("token", [b"a b", b"a\r\nX: y", b"=", b"a=b", b"a\0", b"a\n", "ü".encode(), b"a,b", b'"a"'])
def test_what_is_no_b64token_is_refused_and_not_shown(token):
    assert not is_b64token(token)
    assert refusal(item(b"\1\0" + token)) == "the bearer token has characters outside b64token (RFC 6750 §2.1)"


def test_a_token_is_neither_empty_nor_longer_than_its_cap():
    assert refusal(item(b"\1\0")) == "the bearer field has 0 octets, expected 1 to 16384"
    assert refusal(item(b"\1\0" + b"x" * 6), caps=Caps(bearer=5)) == "the bearer field has 6 octets, expected 1 to 5"
    assert token_of(b"x" * 5, Caps(bearer=5)) == Secret(b"x" * 5)


@pytest.mark.parametrize("result", BearerResult)
def test_a_result_is_written_and_read(result):
    assert write_result(result) == item(bytes((1, result)))
    assert read_result([OTHER, write_result(result)]) is result


@pytest.mark.parametrize("items", [[], [OTHER], [item(b"")], [item(b"\1")], [item(b"\2\0")], [item(b"\1\2")],
                                   [item(b"\1\0" + TOKEN)]])
def test_what_is_no_answer_is_none(items):
    assert read_result(items) is None
