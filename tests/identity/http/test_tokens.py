from __future__ import annotations

import json
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dimsetls.identity.base64url import encode
from dimsetls.identity.http.tokens import is_assertion, is_bound_to_a_dpop_key, is_jwt, service_of
from dimsetls.identity.kerberos.authenticator import krb5
from dimsetls.identity.kerberos.tokens import Malformed, read

from ...servers.saml_idp import SAML, IdentityProvider
from ..negotiation import KERBEROS, NTLM, der, init, mechanisms


def jwt(header: object, claims: object = None, *more: bytes) -> bytes:
    parts = [encode(json.dumps(each).encode()) for each in (header, claims or {})]
    return b".".join([*parts, *(more or (b"c2ln",))])


ES256 = {"alg": "ES256"}


@pytest.mark.parametrize(("token", "answer"), [
    (jwt(ES256), True),
    (jwt({"alg": "none"}, {}, b""), True),  # it says what it is, and nobody takes it
    (jwt(ES256, "no object"), True),  # its form is in its header
    (jwt({"alg": "dir", "enc": "A256GCM"}, {}, b"", b"aXY", b"dGFn"), True),
    (jwt({"alg": "dir"}, {}, b"", b"aXY", b"dGFn"), False),
    (jwt({"typ": "JWT"}), False),
    (jwt(["alg"]), False),
    (jwt(ES256, {}, b"c2ln", b"dGFn"), False),
    (jwt(ES256).rpartition(b".")[0], False),
    (jwt(ES256) + b"=", False),
    (jwt(ES256) + b"\n", False),
    (jwt(ES256, {}, b"+/=="), False),
    (b"mF_9.B5f-4.1JqM", False),  # the access token of RFC 6750
    (b"a.b.c", False),
    (b"..", False),
    (b"", False),
    (b"." * 100000, False),
])  # fmt: skip
def test_jwt(token, answer):
    assert is_jwt(token) is answer


@pytest.mark.parametrize(("claims", "answer"), [
    ({"cnf": {"jkt": "x"}}, True), ({"cnf": {"jkt": None}}, True),
    ({"cnf": {"x5t#S256": "x"}}, False), ({"cnf": "jkt"}, False), ({"cnf": ["jkt"]}, False), ({"jkt": "x"}, False),
    ({}, False),
])  # fmt: skip
def test_a_token_that_is_bound_to_a_dpop_key(claims, answer):
    assert is_bound_to_a_dpop_key(jwt(ES256, claims)) is answer


def test_what_is_no_jwt_is_bound_to_nothing_that_can_be_seen():
    assert not is_bound_to_a_dpop_key(b"opaque")
    assert not is_bound_to_a_dpop_key(b"a.!.c")


GOOD = IdentityProvider().assertion()
BARE = GOOD.partition(b"?>\n")[2]


@pytest.mark.parametrize(("octets", "answer"), [
    (GOOD, True), (BARE, True), (BARE + b"\n", True), (b'<Assertion xmlns="%s"/>' % SAML.encode(), True),
    (b"", False), (b"<", False), (BARE[:-1], False), (BARE + BARE, False), (b"\n" + BARE, False), (b"\0" + BARE, False),
    (b"<!DOCTYPE x>" + BARE, False), (b'<!DOCTYPE x [<!ENTITY e "e">]>' + BARE.replace(b"alice", b"&e;"), False),
    (BARE.replace(b"alice", b"&e;"), False), (BARE.replace(b"alice", b"\xff"), False),
    (BARE.replace(b"SAML:2.0", b"SAML:1.1"), False), (b"<saml:Assertion/>", False), (b"<Assertion/>", False),
    (b"<x>" + BARE + b"</x>", False), (GOOD.decode().encode("utf-16"), False),
    (b'<?xml version="1.0" encoding="latin-1"?>' + BARE.replace(b"alice", b"J\xf6rg"), False),
])  # fmt: skip
def test_assertion(octets, answer):
    assert is_assertion(octets) is answer


@given(st.binary(max_size=100))
def test_octets_that_are_nothing(octets):
    assert not is_assertion(b"<" + octets)
    assert not is_jwt(octets)
    assert not is_bound_to_a_dpop_key(octets)
    with suppress(Malformed):
        assert not service_of(octets)


# Kerberos -------------------------------------------------------------------------------------------------------------


def text(value: str) -> bytes:
    return der(0x1B, value.encode())


def ap_req(*name: str, realm: str = "HOSPITAL.EXAMPLE") -> bytes:
    """An AP-REQ with a ticket for a service, whose parts are encrypted with nothing (RFC 4120 §5.3, §5.5.1)."""
    principal = der(0x30, der(0xA0, "020103"), der(0xA1, der(0x30, *map(text, name))))
    encrypted = der(0x30, der(0xA0, "020112"), der(0xA2, der(0x04, b"sealed")))
    fields = der(0xA0, "020105"), der(0xA1, text(realm)), der(0xA2, principal), der(0xA3, encrypted)
    ticket = der(0xA3, der(0x61, der(0x30, *fields)))
    options = der(0xA0, "020105"), der(0xA1, "02010e"), der(0xA2, "03050000000000")
    return der(0x6E, der(0x30, *options, ticket, der(0xA4, encrypted)))


def gss(inner: bytes) -> bytes:
    return der(0x60, KERBEROS, "0100", inner)


def spnego(inner: bytes) -> bytes:
    return init(mechanisms(KERBEROS, NTLM), der(0xA2, der(0x04, gss(inner))))


PACS = ap_req("dicom", "pacs.example.org")


@pytest.mark.parametrize("framed", [gss, spnego])
@pytest.mark.parametrize("name", [("dicom", "pacs.example.org"), ("HTTP", "a.example"), ("krbtgt",), ("a", "b", "c")])
def test_the_service_that_a_ticket_is_for_and_libkrb5_agrees(name, framed):
    token = ap_req(*name)
    assert service_of(framed(token)) == "/".join(name) + "@HOSPITAL.EXAMPLE"
    assert krb5.service_of(token) == service_of(framed(token))


@pytest.mark.parametrize(("token", "words"), [
    (PACS, "an AP-REQ without the frame of GSS-API"),
    (read(gss(PACS)).ap_req[4:], "octets that begin with"),
    (init(mechanisms(NTLM, KERBEROS), der(0xA2, der(0x04, gss(PACS)))), "prefers .* expected Kerberos first"),
    (init(mechanisms(KERBEROS)), "nothing in place of A2H"),  # another leg would be needed
    (der(0xA1, der(0x30, "a0030a0101")), "a response of SPNEGO"),
    (b"NTLMSSP\0\1\0\0\0", "NTLM"),
    (b"", "no octets at all"),
    (gss(ap_req("dicom", realm="")[:-4]), "of which"),
    (gss(PACS.replace(b"\x1b\x05dicom", b"\x0c\x05dicom")), "0C in place of 1BH"),
])  # fmt: skip
def test_tokens_of_which_no_service_can_be_told(token, words):
    with pytest.raises(Malformed, match=words):
        service_of(token)


def test_a_name_that_a_log_cannot_show_is_shown_otherwise():
    assert service_of(gss(ap_req("dicom", "a\nb", realm="Ü"))) == "'dicom/a\\nb'@Ü"
    assert service_of(gss(ap_req("dicom").replace(b"dicom", b"dico\xff"))).isprintable()
