"""The rows of both mappings as tables: credentials as the gate has them, fields as they stand in a request."""

from __future__ import annotations

import subprocess
import sys
import unicodedata
from base64 import b64encode
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import assume, example, given
from hypothesis import strategies as st

from dimsetls.codes import UserIdentityType
from dimsetls.errors import IdentityDenied
from dimsetls.identity.base64url import encode
from dimsetls.identity.credentials import (
    AccessToken,
    Caps,
    CertificateAlone,
    JSONWebToken,
    KerberosTicket,
    Presented,
    SAMLAssertion,
    Secret,
    Username,
    UsernameAndPasscode,
    read_identity,
    write_identity,
)
from dimsetls.identity.http.mapping import (
    LONGEST_FIELD,
    AuthorizationField,
    EmptyPassword,
    HTTPPolicy,
    Reason,
    Refused,
    from_http,
    to_http,
    without_access_token,
)
from dimsetls.identity.http.outcomes import REFUSALS

from ...servers.saml_idp import IdentityProvider
from .test_tokens import ES256, PACS, ap_req, gss, jwt, spnego

NOTHING_AGREED = HTTPPolicy()
AGREED = HTTPPolicy(utf8=True, negotiate=True, http_service="dicom", bearer_extension=True, access_token_in_query=True)
"""Whatever can be agreed on, one key for both services included."""

ASSERTION = IdentityProvider().assertion()
JWT = jwt(ES256, {"sub": "alice"})
OPAQUE = b"mF_9.B5f-4.1JqM"
DPOP = jwt(ES256, {"cnf": {"jkt": "x"}})
HTTP_TICKET = ap_req("HTTP", "pacs.example.org")


def basic(text: str | bytes) -> bytes:
    return b"Basic " + b64encode(text.encode() if isinstance(text, str) else text)


def negotiate(octets: bytes) -> bytes:
    return b"Negotiate " + b64encode(octets)


def passcode(name: str, secret: bytes) -> UsernameAndPasscode:
    return UsernameAndPasscode(name, Secret(secret))


def field_of(credential: Any, policy: HTTPPolicy = NOTHING_AGREED) -> bytes | Reason | None:
    """The field of one credential, or why there is none."""
    presented = Presented(access_token=credential) if isinstance(credential, AccessToken) else Presented(credential)
    found = to_http(presented, policy)
    if isinstance(found, AuthorizationField):
        return found.value.reveal()
    return found.reason if isinstance(found, Refused) else None


def credential_of(*fields: bytes, policy: HTTPPolicy = NOTHING_AGREED, **elsewhere: bytes) -> Any:
    """The credential of a request, or why there is none."""
    found = from_http(fields, policy, **elsewhere)
    return found.reason if isinstance(found, Refused) else found


# What is lossless -----------------------------------------------------------------------------------------------------

LOSSLESS = [
    (passcode("test", "123£".encode()), b"Basic dGVzdDoxMjPCow=="),  # RFC 7617 §2.1
    (passcode("Aladdin", b"open sesame"), b"Basic QWxhZGRpbjpvcGVuIHNlc2FtZQ=="),  # RFC 7617 §2
    (passcode("a", b":b:"), basic("a::b:")),  # the first colon ends the name
    (passcode("Jörg", "päss".encode()), basic("Jörg:päss")),
    (passcode("a", "e\u0308".encode()), basic("a:e\u0308")),  # a passcode is octets, and is not normalized
    (KerberosTicket(Secret(gss(PACS))), negotiate(gss(PACS))),
    (KerberosTicket(Secret(spnego(PACS))), negotiate(spnego(PACS))),
    (SAMLAssertion(Secret(ASSERTION)), b"Bearer " + encode(ASSERTION)),
    (JSONWebToken(Secret(JWT)), b"Bearer " + JWT),
    (JSONWebToken(Secret(jwt({"alg": "dir", "enc": "x"}, {}, b"", b"aXY", b"dGFn"))),
     b"Bearer " + jwt({"alg": "dir", "enc": "x"}, {}, b"", b"aXY", b"dGFn")),
    (AccessToken(Secret(OPAQUE)), b"Bearer " + OPAQUE),
    (AccessToken(Secret(b"abc+/~==")), b"Bearer abc+/~=="),
]  # fmt: skip


@pytest.mark.parametrize(("credential", "field"), LOSSLESS)
def test_both_ways(credential, field):
    assert field_of(credential, AGREED) == field
    assert credential_of(field, policy=AGREED) == credential


@pytest.mark.parametrize(("empty", "credential"), [
    (EmptyPassword.USERNAME, Username("alice")), (EmptyPassword.PASSCODE, passcode("alice", b"")),
])  # fmt: skip
def test_an_empty_password_is_what_both_sides_agreed_that_it_is(empty, credential):
    policy = HTTPPolicy(empty_password=empty)
    assert field_of(credential, policy) == basic("alice:")
    assert credential_of(basic("alice:"), policy=policy) == credential


def test_the_wire_to_the_wire():
    """From sub-item 58H through HTTP to sub-item 58H, octet for octet."""
    for credential, _ in LOSSLESS:
        if not isinstance(credential, AccessToken):
            item = write_identity(credential, True)
            field = field_of(read_identity(item, Caps()), AGREED)
            assert write_identity(credential_of(field, policy=AGREED), True) == item


def test_a_jwt_comes_back_in_type_5_whichever_way_it_came():
    """HTTP does not say what carried it; the token is the same."""
    assert field_of(AccessToken(Secret(JWT))) == field_of(JSONWebToken(Secret(JWT))) == b"Bearer " + JWT
    found = credential_of(b"Bearer " + JWT)
    assert write_identity(found, False).user_identity_type == UserIdentityType.JSON_WEB_TOKEN


def test_the_jwt_of_an_rfc_folded_over_lines():
    lines = [b"eyJhbGciOiJFUzI1NiIsImtpZCI6IjllciJ9.eyJhdWQiOiJodHRwczovL2JhY2tlbmQuZXhhbXBsZS5jb20iLCJpc3MiOiJodHR",
             b"wczovL2FzLmV4YW1wbGUuY29tIiwiZXhwIjoxNDQxOTE3NTkzLCJpYXQiOjE0NDE5MTc1MzMsInN1YiI6ImJkY0BleGFtcGxlLmNvb",
             b"SIsInNjb3BlIjoiYXBpIn0.40y3ZgQedw6rxf59WlwHDD9jryFOr0_Wh3CGozQBihNBhnXEQgU85AI9x3KmsPottVMLPIWvmDCMy5-",
             b"kdXjwhw"]  # fmt: skip
    token = b"".join(lines)
    assert credential_of(b"Bearer " + token) == JSONWebToken(Secret(token))
    assert credential_of(b"Bearer " + b"\r\n ".join(lines)) is Reason.MALFORMED


def test_no_credential_is_none():
    assert credential_of() is None
    assert credential_of(query=b"limit=10&access_tokens=x", form=b"a=b") is None
    assert to_http(Presented(), NOTHING_AGREED) is None
    assert field_of(CertificateAlone()) is None


letters = st.characters(blacklist_categories=["Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"], blacklist_characters=":")
names = st.text(letters, min_size=1, max_size=60).map(lambda name: unicodedata.normalize("NFC", name.strip()))
passwords = st.text(st.characters(blacklist_categories=["Cs"]), min_size=1, max_size=100)


@given(names, passwords)
@example("a", "::")
def test_names_and_passcodes_come_back_octet_for_octet(name, password):
    assume(name)
    found = field_of(credential := passcode(name, password.encode()), AGREED)
    if isinstance(found, Reason):
        assert found in (Reason.CONTROL_CHARACTER, Reason.USER_NAME, Reason.COLON)
        assert not (password + name).isprintable() or not name.isascii()
    else:
        assert credential_of(found, policy=AGREED) == credential


@given(st.binary(max_size=80) | passwords.map(str.encode), st.sampled_from([b"Basic", b"Bearer"]), st.booleans())
def test_whatever_maps_from_http_goes_back_to_the_same_field(octets, scheme, encodes):
    token = b64encode(octets) if encodes else octets
    found = credential_of(scheme + b" " + token, policy=AGREED)
    if not isinstance(found, Reason):
        assert field_of(found, AGREED) == scheme + b" " + token.strip(b" \t")


@given(st.binary(max_size=120), st.sampled_from([KerberosTicket, SAMLAssertion, JSONWebToken, AccessToken]))
def test_whatever_maps_from_dimse_comes_back_the_same(octets, kind):
    found = field_of(kind(Secret(octets)), AGREED)
    if not isinstance(found, Reason):
        assert credential_of(found, policy=AGREED).token == Secret(octets)


# From DIMSE to HTTP: what is refused ----------------------------------------------------------------------------------


NOT_TO_HTTP = [
    (Username("alice"), NOTHING_AGREED, Reason.USERNAME_ALONE),
    (Username("alice"), HTTPPolicy(empty_password=EmptyPassword.PASSCODE), Reason.USERNAME_ALONE),
    (passcode("alice", b""), NOTHING_AGREED, Reason.EMPTY_PASSWORD),
    (passcode("alice", b""), HTTPPolicy(empty_password=EmptyPassword.USERNAME), Reason.EMPTY_PASSWORD),
    (passcode("HOSPITAL:alice", b"x"), AGREED, Reason.COLON),
    (Username("a:b"), HTTPPolicy(empty_password=EmptyPassword.USERNAME), Reason.COLON),
    (passcode("alice", b"a\nb"), AGREED, Reason.CONTROL_CHARACTER),
    (passcode("alice", b"a\x7f"), AGREED, Reason.CONTROL_CHARACTER),
    (passcode("alice", b"\xff\xfe"), AGREED, Reason.NOT_TEXT),
    (passcode("a\nb", b"x"), AGREED, Reason.USER_NAME),
    (passcode("Jo\u0308rg", b"x"), AGREED, Reason.USER_NAME),
    (passcode("alice ", b"x"), AGREED, Reason.USER_NAME),
    (passcode("Jörg", b"x"), NOTHING_AGREED, Reason.NOT_ASCII),
    (passcode("alice", "£".encode()), NOTHING_AGREED, Reason.NOT_ASCII),
    (KerberosTicket(Secret(gss(HTTP_TICKET))), NOTHING_AGREED, Reason.NEGOTIATE),
    (KerberosTicket(Secret(gss(PACS))), HTTPPolicy(negotiate=True), Reason.ANOTHER_SERVICE),
    (KerberosTicket(Secret(PACS)), AGREED, Reason.NOT_KERBEROS),  # no frame, and none can be put around it
    (KerberosTicket(Secret(b"x")), AGREED, Reason.NOT_KERBEROS),
    (SAMLAssertion(Secret(b"<x/>")), AGREED, Reason.NOT_AN_ASSERTION),
    (SAMLAssertion(Secret(encode(ASSERTION))), AGREED, Reason.NOT_AN_ASSERTION),
    (SAMLAssertion(Secret(b" " + ASSERTION)), AGREED, Reason.NOT_AN_ASSERTION),
    (JSONWebToken(Secret(OPAQUE)), AGREED, Reason.NOT_A_JWT),
    (JSONWebToken(Secret(JWT + b"\r\nX: y")), AGREED, Reason.NOT_A_JWT),
    (JSONWebToken(Secret(DPOP)), AGREED, Reason.DPOP),
    (AccessToken(Secret(DPOP)), AGREED, Reason.DPOP),
    (AccessToken(Secret(b"a b")), AGREED, Reason.NOT_A_B64TOKEN),
    (AccessToken(Secret(b"a\r\nX: y")), AGREED, Reason.NOT_A_B64TOKEN),
    (AccessToken(Secret(b"")), AGREED, Reason.NOT_A_B64TOKEN),
    (JSONWebToken(Secret(JWT)), HTTPPolicy(caps=Caps(jwt=10)), Reason.TOO_LONG),
    (passcode("alice", b"x" * 1025), AGREED, Reason.TOO_LONG),
    (passcode("a" * 256, b"x"), AGREED, Reason.USER_NAME),
]


@pytest.mark.parametrize(("credential", "policy", "reason"), NOT_TO_HTTP)
def test_not_to_http(credential, policy, reason):
    assert field_of(credential, policy) is reason


def test_a_ticket_for_http_that_came_by_dimse():
    """A client that asks for it by that name, and frames it."""
    credential = KerberosTicket(Secret(spnego(HTTP_TICKET)))
    assert field_of(credential, HTTPPolicy(negotiate=True)) == negotiate(spnego(HTTP_TICKET))


def test_an_identity_and_a_token_are_two_credentials():
    both = Presented(JSONWebToken(Secret(JWT)), access_token=AccessToken(Secret(JWT)))
    found = to_http(both, AGREED)
    assert isinstance(found, Refused)
    assert found.reason is Reason.SEVERAL


def test_a_token_in_a_private_identity_type_is_a_token():
    found = to_http(Presented(AccessToken(Secret(OPAQUE))), NOTHING_AGREED)
    assert isinstance(found, AuthorizationField)
    assert found.value == Secret(b"Bearer " + OPAQUE)


# From HTTP to DIMSE: what is refused ----------------------------------------------------------------------------------

NTLM_TOKEN = b"NTLMSSP\0\1\0\0\0"

FIELDS = [
    (basic("alice:"), NOTHING_AGREED, Reason.EMPTY_PASSWORD),
    (basic("alice"), AGREED, Reason.MALFORMED_BASIC),
    (basic(b"al\xffice:x"), AGREED, Reason.MALFORMED_BASIC),
    (basic("alice:a\nb"), AGREED, Reason.MALFORMED_BASIC),
    (basic("al\0ice:x"), AGREED, Reason.MALFORMED_BASIC),
    (basic(""), AGREED, Reason.MALFORMED),
    (b"Basic YTpi=", AGREED, Reason.MALFORMED_BASIC),
    (b"Basic YTpj====", AGREED, Reason.MALFORMED_BASIC),
    (b"Basic YTpiYz", AGREED, Reason.MALFORMED_BASIC),
    (b"Basic YTpiYx==", AGREED, Reason.MALFORMED_BASIC),  # bits left over
    (b"Basic YTpi-_8=", AGREED, Reason.MALFORMED_BASIC),  # base64url
    (b"Basic YT!pi", AGREED, Reason.MALFORMED),
    (basic(":x"), AGREED, Reason.USER_NAME),
    (basic("Jo\u0308rg:x"), AGREED, Reason.USER_NAME),
    (basic(" alice:x"), AGREED, Reason.USER_NAME),
    (basic("a\u200bb:x"), AGREED, Reason.USER_NAME),
    (basic("alice:" + "x" * 1025), AGREED, Reason.TOO_LONG),
    (b"Bearer", AGREED, Reason.MALFORMED),
    (b"Bearer ", AGREED, Reason.MALFORMED),
    (b"Bearer a b", AGREED, Reason.MALFORMED),
    (b'Bearer token="x"', AGREED, Reason.MALFORMED),
    (b"Bearer a,b", AGREED, Reason.MALFORMED),
    (b"Bearer a\r\nX: y", AGREED, Reason.MALFORMED),
    (b"Bearer =", AGREED, Reason.MALFORMED),
    (b"Bearer \xe4", AGREED, Reason.MALFORMED),
    (b"Bearer\tabc", AGREED, Reason.MALFORMED),
    (b"", AGREED, Reason.MALFORMED),
    (b"  ", AGREED, Reason.MALFORMED),
    (b"B\xe4rer abc", AGREED, Reason.MALFORMED),
    (b"Basic, Bearer abc", AGREED, Reason.MALFORMED),
    (basic("a:b") + b", Bearer abc", AGREED, Reason.MALFORMED),
    (b"Bearer abc, " + basic("a:b"), AGREED, Reason.MALFORMED),
    (b"Bearer " + OPAQUE, NOTHING_AGREED, Reason.OPAQUE),
    (b"Bearer " + encode(b"<x/>"), NOTHING_AGREED, Reason.OPAQUE),
    (b"Bearer " + encode(b"<!DOCTYPE x>" + ASSERTION), NOTHING_AGREED, Reason.OPAQUE),
    (b"Bearer " + encode(ASSERTION) + b"==", NOTHING_AGREED, Reason.OPAQUE),
    (b"Bearer " + DPOP, AGREED, Reason.DPOP),
    (b"Bearer " + b"x" * 16385, AGREED, Reason.TOO_LONG),
    (b"Bearer " + jwt(ES256, "x" * 16384), AGREED, Reason.TOO_LONG),
    (b"Bearer " + encode(ASSERTION.replace(b"alice", b"a" * 65400)), AGREED, Reason.TOO_LONG),
    (b"Bearer " + b"x" * LONGEST_FIELD, AGREED, Reason.TOO_LONG),
    (b"DPoP " + JWT, AGREED, Reason.SCHEME),
    (b'Digest username="alice", realm="x", nonce="y", uri="/", response="z"', AGREED, Reason.SCHEME),
    (b"Digest x, " + basic("a:b"), AGREED, Reason.SCHEME),
    (b"NTLM " + b64encode(NTLM_TOKEN), AGREED, Reason.SCHEME),
    (b"AWS4-HMAC-SHA256 Credential=x", AGREED, Reason.SCHEME),
    (b"x" * 1000, AGREED, Reason.SCHEME),
    (negotiate(spnego(PACS)), NOTHING_AGREED, Reason.NEGOTIATE),
    (negotiate(spnego(HTTP_TICKET)), AGREED, Reason.ANOTHER_SERVICE),
    (negotiate(PACS), AGREED, Reason.NOT_KERBEROS),
    (negotiate(NTLM_TOKEN), AGREED, Reason.NOT_KERBEROS),
    (negotiate(b"\xa1\x07\x30\x05\xa0\x03\x0a\x01\x01"), AGREED, Reason.NOT_KERBEROS),  # a further leg
    (b"Negotiate", AGREED, Reason.MALFORMED),
    (b"Negotiate YII", AGREED, Reason.MALFORMED),
]


@pytest.mark.parametrize(("field", "policy", "reason"), FIELDS)
def test_not_from_http(field, policy, reason):
    assert credential_of(field, policy=policy) is reason


@pytest.mark.parametrize("field", [b"bearer " + JWT, b"BEARER   " + JWT, b" \tBearer " + JWT + b"\t "])
def test_the_scheme_has_no_letter_case_and_white_space_around_does_not_count(field):
    assert credential_of(field) == JSONWebToken(Secret(JWT))


@pytest.mark.parametrize("service", ["dicom", "dicom/pacs.example.org", "dicom/pacs.example.org@HOSPITAL.EXAMPLE"])
def test_a_service_may_be_named_in_part(service):
    policy = replace(AGREED, dicom_service=service)
    assert credential_of(negotiate(gss(PACS)), policy=policy) == KerberosTicket(Secret(gss(PACS)))
    for other in ("dico", "dicom/pacs", "pacs.example.org", "HOSPITAL.EXAMPLE", ""):
        policy = replace(AGREED, dicom_service=other)
        assert credential_of(negotiate(gss(PACS)), policy=policy) is Reason.ANOTHER_SERVICE


@pytest.mark.parametrize(("fields", "elsewhere"), [
    ([basic("a:b"), b"Bearer " + JWT], {}),
    ([b"Bearer " + JWT, b"Bearer " + JWT], {}),
    ([b"Bearer " + JWT], {"query": b"access_token=x"}),
    ([b"Bearer " + JWT], {"query": b"a=b&access%5Ftoken=x&c"}),
    ([basic("a:b")], {"query": b"access_token="}),
    ([b"Bearer " + JWT], {"form": b"access_token=x"}),
    ([], {"query": b"access_token=x", "form": b"access_token=x"}),
    ([], {"query": b"access_token=x&access_token=x"}),
])  # fmt: skip
@pytest.mark.parametrize("policy", [NOTHING_AGREED, AGREED])
def test_several_credentials_are_none(fields, elsewhere, policy):
    """RFC 9110 §11.6.2, RFC 6750 §2: and none of them is chosen, whatever is configured."""
    assert credential_of(*fields, policy=policy, **elsewhere) is Reason.SEVERAL


def test_an_access_token_in_the_query_only_where_it_is_agreed_on():
    query = b"limit=1&access_token=" + JWT
    assert credential_of(query=query) is Reason.IN_QUERY
    assert credential_of(query=query, policy=AGREED) == JSONWebToken(Secret(JWT))
    assert credential_of(query=b"access_token=a%2Bb+c%3D", policy=AGREED) == AccessToken(Secret(b"a+b+c="))
    assert credential_of(query=b"access_token=a%20b", policy=AGREED) is Reason.NOT_A_B64TOKEN
    assert credential_of(query=b"access_token=", policy=AGREED) is Reason.NOT_A_B64TOKEN
    assert credential_of(query=b"access_token", policy=AGREED) is Reason.NOT_A_B64TOKEN
    assert credential_of(query=b"access_token=" + b"x" * 16385, policy=AGREED) is Reason.TOO_LONG


def test_an_access_token_in_a_form_never():
    assert credential_of(form=b"access_token=" + JWT, policy=AGREED) is Reason.IN_FORM


@pytest.mark.parametrize(("query", "rest"), [
    (b"", b""), (b"a=b", b"a=b"), (b"access_token=x", b""), (b"a=b&access_token=x&c=d", b"a=b&c=d"),
    (b"access%5ftoken=x&a", b"a"), (b"my_access_token=x", b"my_access_token=x"), (b"access_token=x&access_token", b""),
])  # fmt: skip
def test_a_query_without_the_token(query, rest):
    assert without_access_token(query) == rest


# All reasons ----------------------------------------------------------------------------------------------------------


def test_every_reason_that_an_http_request_meets_has_its_answer():
    met = {reason for _, _, reason in FIELDS} | {Reason.SEVERAL, Reason.IN_QUERY, Reason.IN_FORM, Reason.NOT_A_B64TOKEN}
    assert met == set(REFUSALS)


def test_sentences_have_no_secret_and_fit_a_line():
    for field, policy, _ in FIELDS:
        found = from_http([field], policy)
        assert isinstance(found, Refused)
        assert found.sentence.isprintable()
        assert len(found.sentence) < 300
        token = field.partition(b" ")[2].decode("latin-1")
        assert len(token) < 8 or token not in found.sentence


def test_no_credential_is_shown():
    found = to_http(Presented(passcode("alice", b"s3cret")), AGREED)
    assert repr(found) == "AuthorizationField(value=<secret>)"


def test_the_user_name_may_be_longer_where_the_caps_say_so():
    policy = replace(AGREED, caps=Caps(username=1000))
    assert credential_of(basic("a" * 256 + ":x"), policy=policy) == passcode("a" * 256, b"x")
    with pytest.raises(IdentityDenied):
        read_identity(write_identity(passcode("a" * 256, b"x"), False), Caps())


def test_the_mapping_is_pure():
    """It needs neither a reactor nor the extras."""
    script = "import sys, dimsetls.identity.http.mapping, dimsetls.identity.http.outcomes; print(*sys.modules)"
    command = [sys.executable, "-c", script]
    loaded = subprocess.run(command, capture_output=True, text=True, check=True).stdout.split()
    heavy = ("twisted", "OpenSSL", "cryptography", "lxml", "signxml", "gssapi", "joserfc", "ldap3")
    assert [name for name in loaded if name.partition(".")[0] in heavy] == []
