from datetime import UTC, datetime, timedelta

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import dsa, ec, ed25519, rsa
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.x509.oid import AuthorityInformationAccessOID, NameOID

from dimsetls.node.probe.certificates import certificate_seen, is_for, untrusted
from dimsetls.testing import DevelopmentAuthority
from dimsetls.tls.material import TrustRoots

NOW = datetime.now(UTC)


@pytest.fixture(scope="module")
def authority():
    return DevelopmentAuthority()


def self_signed(key, *extensions, common_name="pacs.example"):
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common_name)])
    builder = (
        x509.CertificateBuilder().subject_name(name).issuer_name(name).public_key(key.public_key()).serial_number(1)
        .not_valid_before(NOW).not_valid_after(NOW + timedelta(days=1))
    )
    for extension in extensions:
        builder = builder.add_extension(extension, critical=False)
    return builder.sign(key, None if isinstance(key, ed25519.Ed25519PrivateKey) else SHA256())


def url(text):
    return x509.UniformResourceIdentifier(text)


@pytest.mark.parametrize(("host", "expected"), [
    ("pacs.example", True), ("PACS.example", True), ("a.wards.example", True), ("b.a.wards.example", False),
    ("other.example", False), ("192.0.2.1", True), ("192.0.2.2", False), ("2001:db8::1", True), ("::1", False),
])
def test_names_are_found_in_subject_alternative_name(authority, host, expected):
    names = ("pacs.example", "*.wards.example", "192.0.2.1", "2001:db8::1")
    assert is_for(authority.issue_server(names=names).certificate, host) is expected


def test_the_common_name_is_nobodys_name():
    assert not is_for(self_signed(ec.generate_private_key(ec.SECP256R1())), "pacs.example")


def test_trust(authority):
    server = authority.issue_server().certificate
    assert untrusted((server,), authority.trust_roots) == ""
    assert "issuer" in untrusted((server,), DevelopmentAuthority().trust_roots)
    assert "issuer" in untrusted((server,), TrustRoots(()))
    old = authority.issue_server(not_after=NOW - timedelta(days=1)).certificate
    assert "expired" in untrusted((old,), authority.trust_roots)


@pytest.mark.parametrize(("key", "kind", "bits", "signed"), [
    (rsa.generate_private_key(65537, 1024), "RSA", 1024, "sha256"),
    (ec.generate_private_key(ec.SECP384R1()), "ECDSA", 384, "sha256"),
    (ed25519.Ed25519PrivateKey.generate(), "Ed25519", 0, ""),
    (dsa.generate_private_key(1024), "DSA", 1024, "sha256"),
], ids=["rsa", "ecdsa", "ed25519", "dsa"])
def test_keys_and_hashes(key, kind, bits, signed):
    seen = certificate_seen(self_signed(key))
    assert (seen.key, seen.key_bits, seen.signature_hash) == (kind, bits, signed)
    assert seen.is_self_issued
    assert seen.serves, "without extended key usage, every use is allowed"


def test_where_revocations_are_published():
    points = x509.CRLDistributionPoints([x509.DistributionPoint([url("http://ca.example/crl")], None, None, None)])
    access = x509.AuthorityInformationAccess([
        x509.AccessDescription(AuthorityInformationAccessOID.OCSP, url("http://ca.example/ocsp")),
        x509.AccessDescription(AuthorityInformationAccessOID.CA_ISSUERS, url("http://ca.example/ca.pem")),
    ])
    seen = certificate_seen(self_signed(ec.generate_private_key(ec.SECP256R1()), points, access))
    assert (seen.crl_urls, seen.ocsp_urls) == (("http://ca.example/crl",), ("http://ca.example/ocsp",))


def test_names_usage_and_dates(authority):
    made = authority.issue_server(names=("pacs.example", "192.0.2.1"))
    seen = certificate_seen(made.certificate)
    assert seen.names == ("pacs.example", "192.0.2.1")
    assert seen.serves
    assert not seen.is_self_issued
    assert seen.not_after == made.certificate.not_valid_after_utc
    assert (seen.crl_urls, seen.ocsp_urls) == ((), ())
    assert not certificate_seen(authority.issue_client().certificate).serves
