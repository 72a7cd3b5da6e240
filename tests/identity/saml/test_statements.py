from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest

from dimsetls.errors import IdentityDenied, IdentityUnknown
from dimsetls.identity.saml.signature import PinnedCertificates
from dimsetls.identity.saml.statements import Statements, read_assertion

from ...servers.saml_idp import (
    BEARER,
    HOLDER_OF_KEY,
    SAML,
    SENDER_VOUCHES,
    A,
    IdentityProvider,
    P,
    attribute,
    bearer,
    hl7_role,
    holder_of_key,
)

IDP = IdentityProvider()
PINNED = PinnedCertificates((IDP.certificate,))


def read(document: bytes, issuer: str = IDP.issuer) -> Statements:
    return read_assertion(document, issuer, PINNED, datetime.now(UTC))


def said(name: Any = "alice", **wishes: Any) -> Statements:
    return read(IDP.assertion(name, **wishes))


def refusal(name: Any = "alice", **wishes: Any) -> str:
    with pytest.raises(IdentityDenied) as caught:
        said(name, **wishes)
    return str(caught.value)


def test_all_that_an_assertion_says():
    begin = datetime.now(UTC).timestamp()
    session = A.AuthnStatement(AuthnInstant="2026-01-01T00:00:00Z", SessionNotOnOrAfter="2030-01-01T00:00:00.25Z")
    found = said(
        identifier="_1", statements=[session], conditions=[A.OneTimeUse(), A.ProxyRestriction()],
        audiences=[["a", "b"], ["c"]],
        confirmations=[bearer(60, Recipient="r", Address="192.0.2.1", InResponseTo="_q")],
    )  # fmt: skip
    assert (found.identifier, found.name, found.signer) == ("_1", "alice", f'"CN={IDP.issuer}"')
    assert begin - 5 < found.issued <= begin + 60
    assert found.not_before == found.issued
    assert found.not_on_or_after == found.issued + 300
    assert found.audiences == (frozenset("ab"), frozenset("c"))
    assert found.is_for_one_use
    assert found.session_ends == datetime(2030, 1, 1, tzinfo=UTC).timestamp()
    (confirmation,) = found.confirmations
    assert confirmation.method == BEARER
    assert (confirmation.recipient, confirmation.address, confirmation.in_response_to) == ("r", "192.0.2.1", "_q")
    assert confirmation.not_on_or_after == found.issued + 60
    assert confirmation.not_before is None
    assert found.attributes == {"urn:oasis:names:tc:xacml:2.0:subject:role": ("radiologist",), "groups": ("ct", "mr")}


def test_what_is_not_said():
    found = said(start=None, audiences=[], confirmations=[A.SubjectConfirmation(Method=SENDER_VOUCHES)], attributes={})
    assert found.not_before is found.session_ends is None
    assert found.audiences == ()
    assert not found.is_for_one_use
    assert found.attributes == {}
    (confirmation,) = found.confirmations
    assert (confirmation.method, confirmation.not_on_or_after, confirmation.certificates) == (SENDER_VOUCHES, None, ())
    assert said(confirmations=[]).confirmations == ()


def test_another_issuer_is_unknown_before_anything_is_verified():
    document = IDP.assertion().replace(b"alice", b"mallory")
    with pytest.raises(IdentityUnknown, match=r"is of the issuer 'https://idp.hospital.example', expected 'other'"):
        read(document, "other")


def test_a_long_name_of_an_issuer_is_cut_in_the_sentence():
    with pytest.raises(IdentityUnknown) as caught:
        read(IDP.assertion().replace(b"https://idp", b"\n" + b"x" * 1000))
    assert len(str(caught.value)) < 250
    assert str(caught.value).isprintable()


def test_the_certificates_of_the_holders():
    (confirmation,) = said(confirmations=[holder_of_key(b"\x30\x01\xff")]).confirmations
    assert (confirmation.method, confirmation.certificates) == (HOLDER_OF_KEY, (b"\x30\x01\xff",))
    spaced = holder_of_key(b"\0" * 60)
    spaced.find(".//{*}X509Certificate").text = "\n AAAA\r\n\tAAAA "
    assert said(confirmations=[spaced]).confirmations[0].certificates == (b"\0" * 6,)
    spaced.find(".//{*}X509Certificate").text = "no base64!"
    assert "a certificate that is not base64" in refusal(confirmations=[spaced])


@pytest.mark.parametrize(("name", "words"), [
    ([A.NameID("alice"), A.NameID("mallory")], "more than one NameID, expected one"),
    ([], "0 elements NameID are in Subject, expected one"),
    ([A.BaseID()], "0 elements NameID are in Subject, expected one"),
    ([A.NameID("alice", A.NameID("mallory"))], "more than one NameID"),
    ([A.NameID("alice", A.x())], "NameID has elements in it, expected text alone"),
    ([A.NameID("alice"), A.SubjectConfirmation(A.NameID("gateway"), Method=SENDER_VOUCHES)], "more than one NameID"),
    ([A.EncryptedID()], "'EncryptedID' in it, expected all in the clear"),
])  # fmt: skip
def test_the_subject_has_one_name(name, words):
    assert words in refusal(name)


def test_a_name_identifier_among_the_attributes_is_no_name_of_the_subject():
    assert said(attributes={"urn:oid:1.3.6.1.4.1.5923.1.1.1.10": [A.NameID("persistent")]}).name == "alice"


def test_values_of_attributes():
    found = said(attributes={
        "roles": ["one", " two\n", "", hl7_role("46255001", "2.16.840.1.113883.6.96"), A.x("nothing"),
                  hl7_role("code without a system", "")],
        "": ["no name"],
    }, statements=[A.AttributeStatement(attribute("roles", "zero"), attribute("roles", "zero again"))])  # fmt: skip
    assert found.attributes["roles"] == ("zero", "zero again", "one", "two", "46255001^^2.16.840.1.113883.6.96")


@pytest.mark.parametrize("element", ["Subject", "Conditions"])
def test_a_part_that_must_be_there_once(element):
    for count in (0, 2):
        built = IDP.build()
        part = built.find(f"{{{SAML}}}{element}")
        built.remove(part)
        built.extend([part] if not count else [part, A(element)])
        if not count:
            built.remove(part)
        with pytest.raises(IdentityDenied, match=f"{count} elements {element} are in Assertion, expected one"):
            read(IDP.sign(built))


def test_conditions_that_are_not_understood():
    words = "the assertion has the conditions 'Condition', 'Extensions', which are not understood here"
    assert refusal(conditions=[A.Condition(), A.OneTimeUse(), P.Extensions()]) == words


@pytest.mark.parametrize("text", [
    "2030-01-01T00:00:00", "2030-01-01T00:00:00+00:00", "2030-01-01T00:00:00+01:00", "2030-01-01", "20300101T000000Z",
    "2030-13-01T00:00:00Z", "2030-01-01T24:30:00Z", "2030-01-01T00:00:00.Z", "", "1893456000", "२०३०-01-01T00:00:00Z",
    "2030-01-01T00:00:00Z\n2020-01-01T00:00:00Z",
])  # fmt: skip
def test_times_that_are_not_as_saml_writes_them(text):
    built = IDP.build()
    built.find(f"{{{SAML}}}Conditions").set("NotOnOrAfter", text)
    with pytest.raises(IdentityDenied, match=r"NotOnOrAfter is .*, expected a time in UTC such as 2025-01-31T12:0"):
        read(IDP.sign(built))


def test_times_of_all_years():
    for text in ("0001-01-01T00:00:00Z", "9999-12-31T23:59:59.999999999Z"):
        built = IDP.build()
        built.find(f"{{{SAML}}}Conditions").set("NotOnOrAfter", text)
        found = read(IDP.sign(built)).not_on_or_after
        assert f"{datetime.fromtimestamp(found, UTC):%Y}" == text[:4].lstrip("0")


def test_an_assertion_without_an_end_or_a_beginning():
    assert "does not say when it was issued and when it ends" in refusal(end=None)
    built = IDP.build()
    del built.attrib["IssueInstant"]
    with pytest.raises(IdentityDenied, match="does not say when it was issued"):
        read(IDP.sign(built))
