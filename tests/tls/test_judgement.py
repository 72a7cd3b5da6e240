from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.hashes import SHA256, SHA384
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from dimsetls.tls.judgement import Code, Role, misuses, weaknesses

CLIENT, SERVER, EITHER = frozenset({Role.CLIENT}), frozenset({Role.SERVER}), frozenset(Role)
NOTHING = dict.fromkeys(
    ("content_commitment", "key_encipherment", "data_encipherment", "key_agreement", "key_cert_sign", "crl_sign",
     "encipher_only", "decipher_only", "digital_signature"), False,
)  # fmt: skip


def signed(key: Any, *extensions: x509.ExtensionType, by: Any = None) -> x509.Certificate:
    issuer, subject = (x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)]) for name in ("issuer", "subject"))
    now = datetime.now(UTC)
    builder = (
        x509.CertificateBuilder().subject_name(subject).issuer_name(issuer).public_key(key.public_key())
        .serial_number(1).not_valid_before(now - timedelta(1)).not_valid_after(now + timedelta(1))
    )
    for extension in extensions:
        builder = builder.add_extension(extension, critical=False)
    return builder.sign(by or ec.generate_private_key(ec.SECP256R1()), SHA256())


def key_usage(**given: bool) -> x509.KeyUsage:
    return x509.KeyUsage(**(NOTHING | given))


@pytest.mark.parametrize("key", [
    ec.generate_private_key(ec.SECP256R1()), ec.generate_private_key(ec.SECP384R1()),
    rsa.generate_private_key(65537, 2048), ed25519.Ed25519PrivateKey.generate(),
])
def test_keys_that_are_strong_enough(key):
    assert [*weaknesses(signed(key))] == [*weaknesses(signed(key), end_entity=False)] == []


@pytest.mark.parametrize(("key", "codes", "words"), [
    (rsa.generate_private_key(65537, 1024), (Code.KEY_TOO_SMALL, Code.AUTHORITY_KEY_TOO_SMALL), "RSA key of 1024 bits"),
    (ec.generate_private_key(ec.SECP224R1()), (Code.KEY_TOO_SMALL, Code.AUTHORITY_KEY_TOO_SMALL), "curve secp224r1"),
    (ec.generate_private_key(ec.SECP521R1()), (Code.WRONG_CURVE, Code.WRONG_CURVE), "curve secp521r1"),
])
def test_keys_that_are_not(key, codes, words):
    for end_entity, code in zip((True, False), codes, strict=True):
        [objection] = weaknesses(signed(key), end_entity=end_entity)
        assert objection.code is code
        assert words in objection.sentence
        assert "; expected " in objection.sentence


def test_any_sha_2_will_do():
    key = rsa.generate_private_key(65537, 2048)
    certificate = signed(key, by=key)
    assert [*weaknesses(certificate)] == []
    builder = x509.CertificateBuilder().subject_name(certificate.subject).issuer_name(certificate.issuer)
    builder = builder.public_key(key.public_key()).serial_number(1)
    dated = builder.not_valid_before(certificate.not_valid_before_utc).not_valid_after(certificate.not_valid_after_utc)
    assert [*weaknesses(dated.sign(key, SHA384()))] == []


def test_a_certificate_that_says_nothing_of_its_use_may_be_used():
    silent = signed(ec.generate_private_key(ec.SECP256R1()))
    assert [*misuses(silent, CLIENT)] == [*misuses(silent, SERVER)] == []


@pytest.mark.parametrize(("usages", "refused"), [
    ([ExtendedKeyUsageOID.SERVER_AUTH], [CLIENT]),
    ([ExtendedKeyUsageOID.CLIENT_AUTH], [SERVER]),
    ([ExtendedKeyUsageOID.CLIENT_AUTH, ExtendedKeyUsageOID.SERVER_AUTH], []),
    ([ExtendedKeyUsageOID.CODE_SIGNING], [CLIENT, SERVER, EITHER]),
    ([ExtendedKeyUsageOID.ANY_EXTENDED_KEY_USAGE], [CLIENT, SERVER, EITHER]),  # as OpenSSL has it
])
def test_extended_key_usage_must_name_the_role(usages, refused):
    certificate = signed(ec.generate_private_key(ec.SECP256R1()), x509.ExtendedKeyUsage(usages))
    for roles in (CLIENT, SERVER, EITHER):
        found = [objection.code for objection in misuses(certificate, roles)]
        assert found == ([Code.UNSUITABLE_PURPOSE] if roles in refused else [])


def test_the_sentence_names_what_was_found_and_what_is_expected():
    certificate = signed(ec.generate_private_key(ec.SECP256R1()), x509.ExtendedKeyUsage([
        x509.ObjectIdentifier("1.2.3.4"), ExtendedKeyUsageOID.CLIENT_AUTH,
    ]))
    [objection] = misuses(certificate, SERVER)
    assert objection.sentence == "has the extended key usage 1.2.3.4, clientAuth; expected serverAuth"


@pytest.mark.parametrize(("usage", "good"), [
    (key_usage(digital_signature=True), True),
    (key_usage(digital_signature=True, key_encipherment=True), True),
    (key_usage(key_encipherment=True), False),  # static RSA, which no profile has
    (key_usage(key_agreement=True), False),
])
def test_key_usage_must_allow_signatures(usage, good):
    found = [objection.code for objection in misuses(signed(ec.generate_private_key(ec.SECP256R1()), usage), EITHER)]
    assert found == ([] if good else [Code.UNSUITABLE_PURPOSE])


def test_extensions_that_cannot_be_read_are_an_objection():
    broken = signed(
        ec.generate_private_key(ec.SECP256R1()),
        x509.UnrecognizedExtension(x509.ObjectIdentifier("2.5.29.15"), b"\x04\x00not a bit string"),
    )
    [objection] = misuses(broken, EITHER)
    assert objection.code is Code.UNSPECIFIED
    assert objection.sentence.startswith("has extensions that cannot be read: ")
