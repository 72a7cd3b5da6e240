from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from ipaddress import ip_address
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.x509.oid import NameOID
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from zope.interface.verify import verifyObject

from dimsetls.errors import ConfigurationError, IdentityDenied, IdentityError, IdentityUnknown
from dimsetls.identity.certificate import CertificateIdentity, NameSource
from dimsetls.identity.credentials import CertificateAlone, Method
from dimsetls.identity.gate import Admission, Gate, IdentityPolicy, Requirement
from dimsetls.identity.interfaces import IAuthenticator, Presenter, Verified
from dimsetls.tls.rules import CertificateRule
from dimsetls.tls.session import PeerCertificate
from dimsetls.ul.pdus import UserInformation

NOT_AFTER = datetime(2100, 1, 2, 3, 4, 5, tzinfo=UTC)
KEY = ec.generate_private_key(ec.SECP256R1())
CT1 = (x509.DNSName("CT1.example"), x509.IPAddress(ip_address("2001:db8::1")),
       x509.UniformResourceIdentifier("urn:dicom:ct1"), x509.RFC822Name("anna@hospital.example"))  # fmt: skip


def certificate(
    *names: x509.GeneralName, common_names: Sequence[str] = ("CT 1",), extension: x509.ExtensionType | None = None
) -> PeerCertificate:
    def attributes(*values: str) -> list[x509.NameAttribute]:
        return [x509.NameAttribute(NameOID.COMMON_NAME, value) for value in values]

    organisation = x509.NameAttribute(NameOID.ORGANIZATION_NAME, "Hospital")
    address = x509.NameAttribute(NameOID.EMAIL_ADDRESS, "ct1@hospital.example")
    builder = (
        x509.CertificateBuilder()
        .subject_name(x509.Name([organisation, *attributes(*common_names), address]))
        .issuer_name(x509.Name([organisation, *attributes("Hospital CA")]))
        .public_key(KEY.public_key()).serial_number(7)
        .not_valid_before(datetime(2020, 1, 1, tzinfo=UTC)).not_valid_after(NOT_AFTER)
    )  # fmt: skip
    extension = extension or (x509.SubjectAlternativeName(names) if names else None)
    if extension is not None:
        builder = builder.add_extension(extension, critical=False)
    return PeerCertificate.of(builder.sign(KEY, SHA256()))


def back_end(
    name_from: str = "subject:CN", *, meant: str = "issuer:CN=Hospital CA", **options: Any
) -> CertificateIdentity:
    rules = tuple(map(CertificateRule.parse, meant.split(", ")))
    source = NameSource.parse(name_from)
    return CertificateIdentity("certificate-identity ct", certificates=rules, name_from=source, **options)


def verify(asked: CertificateIdentity, shown: PeerCertificate | None) -> Verified | IdentityError:
    """What is verified, or why nothing is."""
    found: list[Any] = []
    running = Deferred.fromCoroutine(asked.verify(CertificateAlone(), Presenter("192.0.2.1", "CT1", "ARCHIVE", shown)))
    running.addCallbacks(found.append, lambda failure: found.append(failure.value))
    (only,) = found
    assert isinstance(only, Verified | IdentityError)
    return only


@pytest.mark.parametrize(("source", "name"), [
    ("dns", "ct1.example"), ("ip", "2001:db8::1"), ("uri", "urn:dicom:ct1"), ("email", "anna@hospital.example"),
    ("subject:CN", "CT 1"), ("subject: O", "Hospital"), ("subject:2.5.4.3", "CT 1"),
    ("subject:1.2.840.113549.1.9.1", "ct1@hospital.example"), ("fixed:modality", "modality"),
])  # fmt: skip
def test_the_name_is_taken_from_where_the_rule_says(source: str, name: str) -> None:
    assert verify(back_end(source), certificate(*CT1)) == Verified(
        name, "CN=Hospital CA,O=Hospital", until=NOT_AFTER.timestamp()
    )


def test_groups_roles_and_a_realm_are_those_of_the_rule() -> None:
    asked = back_end(groups=("modalities", "ct"), roles=("acquirer",), realm="hospital")
    assert verify(asked, certificate()) == Verified(
        "CT 1", "hospital", frozenset({"ct", "modalities"}), frozenset({"acquirer"}), None, NOT_AFTER.timestamp()
    )


@pytest.mark.parametrize("meant", ["dns:ct2.example", "issuer:CN=Other", "issuer:CN=Hospital CA and dns:ct2.example"])
def test_another_back_end_may_know_a_certificate_that_is_not_meant_here(meant: str) -> None:
    refusal = verify(back_end(meant=meant), certificate(*CT1))
    assert isinstance(refusal, IdentityUnknown)
    assert str(refusal) == (
        "[certificate-identity ct] 1.2.840.113549.1.9.1=ct1@hospital.example,CN=CT 1,O=Hospital is none of the "
        "certificates that are meant"
    )


def test_without_a_certificate_nobody_is_known() -> None:
    refusal = verify(back_end(), None)
    assert isinstance(refusal, IdentityUnknown)
    assert "showed no certificate" in str(refusal)


def test_any_of_the_conditions_is_enough() -> None:
    assert isinstance(verify(back_end(meant="dns:ct2.example, dns:ct1.example"), certificate(*CT1)), Verified)


HIDDEN = "CT\u200b1"


@pytest.mark.parametrize(("source", "shown", "told"), [
    ("dns", lambda: certificate(), "has no name at dns, expected one"),
    ("email", lambda: certificate(x509.DNSName("a.example")), "has no name at email, expected one"),
    ("subject:OU", lambda: certificate(), "has no name at subject:OU, expected one"),
    ("dns", lambda: certificate(x509.DNSName("a.example"), x509.DNSName("b.example")),
     "has 2 names ('a.example', 'b.example') at dns, expected one"),
    ("subject:CN", lambda: certificate(common_names=("a", "b")), "has 2 names ('a', 'b') at subject:CN, expected one"),
    ("dns", lambda: certificate(x509.DNSName("*.example")), "is for '*.example', expected one name in full"),
    ("subject:CN", lambda: certificate(common_names=(HIDDEN,)), "is of no use: the user name has control, format"),
    ("uri", lambda: certificate(x509.UniformResourceIdentifier("urn:" + "x" * 252)), "256 octets, expected 1 to 255"),
    ("dns", lambda: certificate(extension=x509.UnrecognizedExtension(x509.OID_SUBJECT_ALTERNATIVE_NAME, b"\x30\x05")),
     "cannot be read for its names"),
])  # fmt: skip
def test_a_certificate_that_is_meant_and_names_nobody_in_particular_is_denied(
    source: str, shown: Callable[[], PeerCertificate], told: str
) -> None:
    refusal = verify(back_end(source), shown())
    assert isinstance(refusal, IdentityDenied)
    assert not isinstance(refusal, IdentityUnknown)
    assert str(refusal).startswith("[certificate-identity ct] ")
    assert told in str(refusal)


def test_the_same_name_twice_is_one_name() -> None:
    shown = certificate(x509.DNSName("ct1.example"), x509.DNSName("CT1.EXAMPLE"))
    found = verify(back_end("dns"), shown)
    assert isinstance(found, Verified)
    assert found.name == "ct1.example"


@pytest.mark.parametrize("text", [
    "", "cn", "dns:ct1", "subject", "subject:", "subject:Nothing", "subject:CN=a,O", "subject:9.9", "fixed", "fixed: ",
    "fixed:" + "x" * 256, "CN",
])  # fmt: skip
def test_what_is_no_place_for_a_name(text: str) -> None:
    with pytest.raises(ValueError, match="no place for a name, expected dns, uri, ip, email, subject:") as caught:
        NameSource.parse(text)
    assert caught.value.__cause__ is None


@pytest.mark.parametrize("text", ["dns", "subject:CN", "subject:2.5.4.3", "fixed:modality 1"])
def test_a_source_shows_as_it_was_written(text: str) -> None:
    assert str(NameSource.parse(text)) == text


def test_a_back_end_for_no_certificates_is_a_mistake() -> None:
    with pytest.raises(ConfigurationError, match="certificates: found none, expected at least one condition"):
        CertificateIdentity("certificate-identity ct", certificates=(), name_from=NameSource("dns"))


def test_it_is_an_authenticator_and_explains_its_steps() -> None:
    steps: list[str] = []
    asked = back_end("dns", trace=steps.append)
    verifyObject(IAuthenticator, asked)
    assert (asked.methods, asked.cacheable) == ({Method.CERTIFICATE}, False)
    verify(asked, certificate(*CT1))
    subject = "1.2.840.113549.1.9.1=ct1@hospital.example,CN=CT 1,O=Hospital"
    assert steps == [f"{subject} matches issuer:CN=Hospital CA", "its name, from dns, is 'ct1.example'"]
    steps.clear()
    verify(back_end(meant="dns:a.example, dns:b.example", trace=steps.append), certificate())
    assert steps == [f"{subject} is none of dns:a.example, dns:b.example"]


def admitted(shown: PeerCertificate, *back_ends: CertificateIdentity) -> Admission:
    policy = IdentityPolicy(Requirement.PREFER, {Method.CERTIFICATE: back_ends})
    found: list[Admission] = []
    presenter = Presenter("192.0.2.1", "CT1", "ARCHIVE", shown)
    Gate(policy, Clock()).check(UserInformation(16384, "1.2.3"), presenter).addCallback(found.append)
    return found[0]


def test_several_sections_are_asked_in_their_order() -> None:
    first = back_end("fixed:ct", meant="dns:ct1.example")
    second = back_end("subject:CN")
    for shown, name in [(certificate(*CT1), "ct"), (certificate(), "CT 1")]:
        principal = admitted(shown, first, second).principal
        assert principal is not None
        assert (principal.name, principal.methods, principal.until) == (name, (Method.CERTIFICATE,), NOT_AFTER)
    assert admitted(certificate(), first).principal is None
