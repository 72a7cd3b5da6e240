from __future__ import annotations

import logging
import subprocess
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from hypothesis import given, settings
from hypothesis import strategies as st
from lxml import etree
from signxml.algorithms import DigestAlgorithm, SignatureMethod

from dimsetls.errors import ConfigurationError, IdentityDenied
from dimsetls.identity.saml.signature import PinnedCertificates
from dimsetls.identity.saml.structure import outline

from ...servers.saml_idp import DS, SAML, WRAPPINGS, IdentityProvider, S, self_signed, serialized

IDP = IdentityProvider()
RSA = IdentityProvider(key=rsa.generate_private_key(65537, 2048))
PINNED = PinnedCertificates((IDP.certificate,))
GOOD = IDP.assertion()


def now() -> datetime:
    return datetime.now(UTC)


def verify(document: bytes, *certificates: object) -> bytes:
    """The name in the assertion that is good with one of the certificates."""
    signed, _ = PinnedCertificates(certificates or PINNED.certificates).verify(outline(document), now())
    return signed.find(f".//{{{SAML}}}NameID").text


def refusal(document: bytes, *certificates: object) -> IdentityDenied:
    with pytest.raises(IdentityDenied) as caught:
        verify(document, *certificates)
    return caught.value


def xmlsec1(document: bytes, certificate: object, directory: Path) -> bool:
    """What a program says of the signature that has nothing in common with ours but libxml2."""
    (directory / "key.pem").write_bytes(certificate.public_key().public_bytes(
        Encoding.PEM, PublicFormat.SubjectPublicKeyInfo
    ))  # fmt: skip
    (directory / "assertion.xml").write_bytes(document)
    command = ["xmlsec1", "--verify", "--enabled-key-data", "key-name", "--pubkey-pem", directory / "key.pem",
               "--id-attr:ID", f"{SAML}:Assertion", directory / "assertion.xml"]  # fmt: skip
    ended = subprocess.run(command, capture_output=True, text=True)
    assert ("OK" in ended.stderr + ended.stdout) is (ended.returncode == 0)
    return ended.returncode == 0


METHODS = [
    (IDP, SignatureMethod.ECDSA_SHA256, DigestAlgorithm.SHA256),
    (IDP, SignatureMethod.ECDSA_SHA384, DigestAlgorithm.SHA512),
    (IDP, SignatureMethod.ECDSA_SHA512, DigestAlgorithm.SHA384),
    (RSA, SignatureMethod.RSA_SHA256, DigestAlgorithm.SHA256),
    (RSA, SignatureMethod.RSA_SHA384, DigestAlgorithm.SHA384),
    (RSA, SignatureMethod.RSA_SHA512, DigestAlgorithm.SHA512),
]


@pytest.mark.parametrize(("idp", "method", "digest"), METHODS)
def test_rsa_and_ecdsa_with_sha_2_and_xmlsec1_agrees(idp, method, digest, tmp_path):
    document = idp.sign(idp.build("Jörg & Söhne"), method=method, digest=digest, prefixes=["saml"])
    assert verify(document, idp.certificate) == "Jörg & Söhne"
    assert xmlsec1(document, idp.certificate, tmp_path)
    changed = document.replace(b"radiologist", b"admin")
    assert not xmlsec1(changed, idp.certificate, tmp_path)
    assert refusal(changed, idp.certificate).is_security_alert


def test_what_xmlsec1_signs_is_verified(tmp_path):
    document = etree.fromstring(GOOD)
    for name in ("SignatureValue", "DigestValue"):
        document.find(f".//{{{DS}}}{name}").text = ""
    document.find(f".//{{{SAML}}}NameID").text = "bob"
    template, signed = tmp_path / "template.xml", tmp_path / "signed.xml"
    template.write_bytes(serialized(document))
    (tmp_path / "key.pem").write_bytes(IDP.private_key_pem)
    subprocess.run(["xmlsec1", "--sign", "--privkey-pem", tmp_path / "key.pem", "--id-attr:ID", f"{SAML}:Assertion",
                    "--output", signed, template], check=True, capture_output=True)  # fmt: skip
    assert verify(signed.read_bytes()) == "bob"


def test_rsa_pss():
    document = RSA.sign(RSA.build(), method=SignatureMethod.SHA256_RSA_MGF1)
    assert verify(document, RSA.certificate) == "alice"


@pytest.mark.parametrize("how", [
    "original_before_the_signature", "original_in_the_forged", "signature_in_the_forged", "forged_before_the_original",
    "original_in_extensions", "original_in_advice", "original_in_an_attribute", "original_behind_another_prefix",
])  # fmt: skip
def test_a_verifier_that_looks_at_the_signature_alone_takes_wrapped_ones(how, tmp_path):
    """So it is the shape that must be judged: see test_structure."""
    document = serialized(WRAPPINGS[how](GOOD))
    assert b"mallory" in document
    assert xmlsec1(document, IDP.certificate, tmp_path)
    with pytest.raises(IdentityDenied):
        outline(document)


@pytest.mark.parametrize("method", [
    SignatureMethod.ECDSA_SHA1, SignatureMethod.ECDSA_SHA224, SignatureMethod.ECDSA_SHA3_256,
])  # fmt: skip
def test_other_hashes_in_the_signature(method):
    assert "the signature algorithm is 'http" in str(refusal(IDP.sign(IDP.build(), method=method)))


@pytest.mark.parametrize("digest", [DigestAlgorithm.SHA1, DigestAlgorithm.SHA224, DigestAlgorithm.SHA3_256])
def test_other_hashes_in_the_digest(digest):
    error = refusal(IDP.sign(IDP.build(), digest=digest))
    assert "the digest algorithm is 'http" in str(error)
    assert "expected RSA or ECDSA with SHA-256, SHA-384 or SHA-512" in str(error)


def test_the_public_key_as_the_secret_of_an_hmac():
    for form in (Encoding.PEM, Encoding.DER):
        secret = IDP.certificate.public_bytes(form)
        document = IDP.sign(IDP.build(), method=SignatureMethod.HMAC_SHA256, key=secret)
        assert "the signature algorithm is 'http://www.w3.org/2001/04/xmldsig-more#hmac-s" in str(refusal(document))


def test_a_signature_of_the_other_family_of_keys():
    document = RSA.assertion()
    assert "is not good with" in str(refusal(document, IDP.certificate))
    assert "is not good with" in str(refusal(GOOD, RSA.certificate))


def test_another_key_with_its_own_certificate_beside_it():
    mallory = IdentityProvider(IDP.issuer)
    error = refusal(mallory.assertion())
    assert str(error) == (f'the signature is not good with "CN={IDP.issuer}": '
                          "the assertion was changed, or signed with another key")  # fmt: skip
    assert error.is_security_alert


def test_a_key_value_is_not_looked_at():
    mallory = IdentityProvider(IDP.issuer)
    document = etree.fromstring(mallory.assertion())
    info = document.find(f".//{{{DS}}}KeyInfo")
    for held in ([S.KeyValue(S.RSAKeyValue(S.Modulus("AQAB"), S.Exponent("AQAB")))], [S.RetrievalMethod(URI="http://x")]):
        info[:] = held
        assert "is not good with" in str(refusal(serialized(document)))
    good = etree.fromstring(GOOD)
    good.find(f".//{{{DS}}}KeyInfo")[:] = [S.KeyValue(S.RSAKeyValue())]
    assert verify(serialized(good)) == "alice"


@pytest.mark.parametrize(("old", "new"), [
    (b"alice", b"mallory"), (b"radiologist", b"admin"), (b"urn:example:pacs", b"urn:example:other"),
    (b"</saml:NameID>", b"</saml:NameID><saml:NameID>mallory</saml:NameID>"),
    (b"<saml:AuthnStatement", b"<saml:Advice/><saml:AuthnStatement"), (b"><saml:Issuer>", b"> <saml:Issuer>"),
])  # fmt: skip
def test_changed_content(old, new):
    assert old in GOOD
    assert "is not good with" in str(refusal(GOOD.replace(old, new)))


def test_a_shorter_signature():
    document = etree.fromstring(GOOD)
    for value in ("AAAA", "A" * 43, "=", " ", "A" * 4000):
        document.find(f".//{{{DS}}}SignatureValue").text = value
        refusal(serialized(document))


@settings(max_examples=60, deadline=None)
@given(st.integers(0, len(GOOD) - 1), st.binary(min_size=1, max_size=3))
def test_whatever_is_done_to_an_assertion_it_is_the_same_or_refused(at, inserted):
    try:
        found = verify(GOOD[:at] + inserted + GOOD[at:])
    except IdentityDenied:
        found = "alice"
    assert found == "alice"


def test_what_is_given_back_is_what_was_signed():
    """Not the tree that came, but the canonical octets of the digest, parsed."""
    found = outline(GOOD)
    signed, signer = PINNED.verify(found, now())
    assert signed is not found.root
    assert signed.find(f".//{{{DS}}}Signature") is None
    assert signer == f'"CN={IDP.issuer}"'


def test_two_certificates_during_a_change_of_keys():
    following = IdentityProvider(IDP.issuer)
    for provider in (IDP, following):
        assert verify(provider.assertion(), IDP.certificate, following.certificate) == "alice"


def test_a_certificate_counts_only_in_its_time():
    ended = self_signed(IDP.key, "ended", (-10, -1))
    coming = self_signed(IDP.key, "coming", (1, 10))
    sentence = "every certificate that is pinned for the issuer is outdated, expected one valid now"
    assert str(refusal(GOOD, ended, coming)) == sentence
    assert verify(GOOD, ended, coming, IDP.certificate) == "alice"
    pinned = PinnedCertificates((IDP.certificate,))
    with pytest.raises(IdentityDenied, match="outdated"):
        pinned.verify(outline(GOOD), now() + timedelta(days=366))


def test_assertions_are_in_no_log_whatever_its_level(caplog):
    with caplog.at_level(logging.DEBUG):
        verify(GOOD)
    assert "alice" not in caplog.text


# Files ----------------------------------------------------------------------------------------------------------------


def written(path: Path, *certificates: object) -> Path:
    path.write_bytes(b"".join(certificate.public_bytes(Encoding.PEM) for certificate in certificates))
    return path


def problems(*paths: Path) -> list[str]:
    with pytest.raises(ConfigurationError) as caught:
        PinnedCertificates.load(paths, now())
    return [problem.replace(str(paths[0].parent), "") for problem in caught.value.problems]


def test_files_with_one_and_with_several(tmp_path):
    other = IdentityProvider()
    one, two = written(tmp_path / "1", IDP.certificate), written(tmp_path / "2", other.certificate, IDP.certificate)
    assert PinnedCertificates.load([one, two], now()).certificates == (IDP.certificate, other.certificate)


def test_every_file_that_cannot_be_used_is_named(tmp_path):
    (tmp_path / "text").write_text("no PEM")
    (tmp_path / "damaged").write_bytes(IDP.certificate.public_bytes(Encoding.PEM).replace(b"MII", b"MIJ", 1))
    good = written(tmp_path / "good", IDP.certificate)
    assert problems(tmp_path / "none", tmp_path / "text", good, tmp_path / "damaged") == [
        "certificate file /none cannot be read: No such file or directory; expected a PEM file",
        "certificate file /text holds no usable certificate; expected one or more in PEM",
        "certificate file /damaged holds no usable certificate; expected one or more in PEM",
    ]


def test_no_file_at_all():
    with pytest.raises(ConfigurationError, match="no certificate is configured; expected the one that the identity"):
        PinnedCertificates.load([], now())


def test_weak_keys_and_keys_that_do_not_sign_xml(tmp_path):
    keys = {"small": rsa.generate_private_key(65537, 1024), "short": ec.generate_private_key(ec.SECP224R1())}
    certificates = [self_signed(key, name) for name, key in keys.items()]
    key = ed25519.Ed25519PrivateKey.generate()
    (tmp_path / "ed").write_bytes(self_signed(key, "ed", hashed=None).public_bytes(Encoding.PEM))
    assert problems(written(tmp_path / "weak", *certificates), tmp_path / "ed") == [
        'certificate "CN=small" in /weak has an RSA key of 1024 bits; expected 2048 or more',
        'certificate "CN=short" in /weak has a key on curve secp224r1; expected one of 256 bits or more',
        'certificate "CN=ed" in /ed has a key that signs no assertion here; expected RSA or ECDSA',
    ]


def test_certificates_that_have_all_ended_are_refused_and_one_beside_a_good_one_is_told_of(tmp_path):
    ended, soon = self_signed(IDP.key, "ended", (-10, -1)), self_signed(IDP.key, "soon", (-1, 20))
    (sentence,) = problems(written(tmp_path / "ended", ended))
    assert sentence.startswith('certificate "CN=ended" in /ended is valid from 2')
    assert sentence.endswith("; expected at least one that is valid now")
    coming = self_signed(IDP.key, "coming", (5, 300))
    paths = [tmp_path / "ended", written(tmp_path / "more", IDP.certificate, soon, coming)]
    warnings = PinnedCertificates.load(paths, now()).warnings(now())
    assert [warning.split('"')[1] for warning in warnings] == ["CN=ended", "CN=soon", "CN=coming"]
    assert warnings[0].endswith(": see that the identity provider's next one is beside it in time")
