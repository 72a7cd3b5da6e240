from __future__ import annotations

import pytest

from dimsetls.identity.base64url import encode
from dimsetls.identity.oauth.compact import (
    LONGEST_HEADER,
    LONGEST_SIGNATURE,
    LONGEST_TOKEN,
    CompactToken,
    Malformed,
    NotAToken,
)

HEAD, CLAIMS, SIGNATURE = encode(b'{"alg":"ES256"}'), encode(b'{"sub":"alice"}'), encode(b"signature")


def joined(*parts: bytes) -> bytes:
    return b".".join(parts)


def test_a_token_is_taken_apart() -> None:
    token = CompactToken.parse(joined(HEAD, CLAIMS, SIGNATURE))
    assert (token.header, token.claims) == ({"alg": "ES256"}, {"sub": "alice"})
    assert SIGNATURE.decode() not in repr(token)


@pytest.mark.parametrize(("octets", "why"), [
    (b"", "of 1 part, where a JWT has three"),
    (b"opaque", "of 1 part"),
    (b"a.b", "of 2 parts"),
    (joined(HEAD, CLAIMS, SIGNATURE, SIGNATURE), "of 4 parts"),
    (joined(*[HEAD] * 6), "of 6 parts"),
    (b"." * 60000, "of 6 parts"),
    (b"..", "header is not JSON"),
    (b"a.b.c", "header is not base64url"),
    (joined(HEAD + b"=", CLAIMS, SIGNATURE), "header is not base64url"),
    (joined(encode(b"ES256"), CLAIMS, SIGNATURE), "header is not JSON"),
    (joined(encode(b'["alg"]'), CLAIMS, SIGNATURE), "header is JSON, but not an object"),
    (joined(encode(b'{"typ":"JWT"}'), CLAIMS, SIGNATURE), "header has no alg"),
    (joined(encode(b'{"alg":"none","alg":"ES256"}'), CLAIMS, SIGNATURE), "'alg' more than once"),
    (joined(b"A" * (LONGEST_HEADER + 1), CLAIMS, SIGNATURE), f"expected up to {LONGEST_HEADER}"),
])  # fmt: skip
def test_what_is_in_no_form_of_a_token(octets: bytes, why: str) -> None:
    with pytest.raises(NotAToken, match=why):
        CompactToken.parse(octets)


@pytest.mark.parametrize(("octets", "why"), [
    (joined(encode(b'{"alg":"RSA-OAEP","enc":"A128GCM"}'), b"AA", b"AA", b"AA", b"AA"), "encrypted"),
    (joined(HEAD, b"", SIGNATURE), "claims that are not JSON"),
    (joined(HEAD, CLAIMS + b"=", SIGNATURE), "not in base64url"),
    (joined(HEAD, CLAIMS + b"\n", SIGNATURE), "not in base64url"),
    (joined(HEAD, CLAIMS, SIGNATURE + b"*"), "not in base64url"),
    (joined(HEAD, encode(b"a")[:-1] + b"R", SIGNATURE), "not in base64url"),  # bits that are left over
    (joined(HEAD, encode(b"claims"), SIGNATURE), "claims that are not JSON"),
    (joined(HEAD, encode(b'{"sub":"a","sub":"b"}'), SIGNATURE), "'sub' more than once"),
    (joined(HEAD, encode(b'{"a":' + b"[" * 5000 + b"]" * 5000 + b"}"), SIGNATURE), "more than 16 levels"),
    (joined(HEAD, b"A" * LONGEST_TOKEN, SIGNATURE), f"expected up to {LONGEST_TOKEN}"),
    (joined(HEAD, CLAIMS, b"A" * (LONGEST_SIGNATURE + 1)), f"{LONGEST_SIGNATURE + 1} of them for its signature"),
])  # fmt: skip
def test_a_token_that_cannot_be_verified(octets: bytes, why: str) -> None:
    with pytest.raises(Malformed, match=why):
        CompactToken.parse(octets)
