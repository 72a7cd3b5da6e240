from __future__ import annotations

import os
import stat
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.x509 import ocsp
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from dimsetls.tls.authority import DEVELOPMENT_ORGANISATION, DevelopmentAuthority, is_development_certificate
from dimsetls.tls.material import KeyMaterial, TrustRoots


def extension(certificate: x509.Certificate, kind: type) -> x509.Extension:
    return certificate.extensions.get_extension_for_class(kind)


def test_the_authority_may_sign_certificates_and_nothing_else(authority):
    root = authority.own.certificate
    constraints = extension(root, x509.BasicConstraints)
    assert constraints.critical
    assert (constraints.value.ca, constraints.value.path_length) == (True, 0)
    usage = extension(root, x509.KeyUsage)
    assert usage.critical
    assert usage.value.key_cert_sign
    assert usage.value.crl_sign
    assert not usage.value.digital_signature


@pytest.mark.parametrize(("issue", "usages"), [
    ("issue_server", {ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH}),
    ("issue_client", {ExtendedKeyUsageOID.CLIENT_AUTH}),
])
def test_what_it_issues(authority, issue, usages):
    issued = getattr(authority, issue)()
    certificate, root = issued.certificate, authority.own.certificate
    certificate.verify_directly_issued_by(root)
    assert isinstance(issued.private_key, ec.EllipticCurvePrivateKey)
    assert issued.private_key.curve.name == "secp256r1"
    assert isinstance(certificate.signature_hash_algorithm, SHA256)
    assert not extension(certificate, x509.BasicConstraints).value.ca
    assert extension(certificate, x509.BasicConstraints).critical
    assert extension(certificate, x509.KeyUsage).value.digital_signature
    assert not extension(certificate, x509.KeyUsage).value.key_cert_sign
    assert set(extension(certificate, x509.ExtendedKeyUsage).value) == usages
    names = extension(certificate, x509.SubjectAlternativeName).value
    assert names.get_values_for_type(x509.DNSName) == ["localhost"]
    assert names.get_values_for_type(x509.IPAddress) == [ip_address("127.0.0.1"), ip_address("::1")]
    own_key, issuer_key = (extension(each, x509.SubjectKeyIdentifier).value.digest for each in (certificate, root))
    assert extension(certificate, x509.AuthorityKeyIdentifier).value.key_identifier == issuer_key != own_key


def test_it_lives_for_ninety_days(authority):
    for each in (authority.own.certificate, authority.issue_client().certificate):
        assert each.not_valid_after_utc - each.not_valid_before_utc == timedelta(days=90)
        assert each.not_valid_before_utc < datetime.now(UTC) < each.not_valid_after_utc


def test_dates_names_and_keys_can_be_wished_for(authority):
    yesterday = datetime.now(UTC).replace(microsecond=0) - timedelta(days=1)
    key = rsa.generate_private_key(65537, 2048)
    issued = authority.issue_server("CT 1", names=["ct1.example", "192.0.2.7"], private_key=key, not_after=yesterday)
    assert issued.certificate.not_valid_after_utc == yesterday
    assert issued.private_key is key
    assert issued.certificate.subject.get_attributes_for_oid(NameOID.COMMON_NAME)[0].value == "CT 1"
    names = extension(issued.certificate, x509.SubjectAlternativeName).value
    assert names.get_values_for_type(x509.DNSName) == ["ct1.example"]


def test_development_certificates_are_marked_and_known(authority):
    assert "DEVELOPMENT" in DEVELOPMENT_ORGANISATION
    assert "not for clinical use" in DEVELOPMENT_ORGANISATION
    assert is_development_certificate(authority.own.certificate)
    assert is_development_certificate(authority.issue_server().certificate)


def test_other_certificates_are_not_taken_for_development_certificates():
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "hospital")])
    now = datetime.now(UTC)
    other = (
        x509.CertificateBuilder().subject_name(name).issuer_name(name).public_key(key.public_key()).serial_number(1)
        .not_valid_before(now).not_valid_after(now + timedelta(days=1)).sign(key, SHA256())
    )
    assert not is_development_certificate(other)


def test_files_are_written_once_and_the_key_is_its_owner_s_alone(authority, tmp_path):
    certificate_path, key_path = tmp_path / "server.pem", tmp_path / "server.key"
    issued = authority.issue_server()
    previous = os.umask(0)
    try:
        issued.write(certificate_path, key_path)
    finally:
        os.umask(previous)
    assert stat.S_IMODE(key_path.stat().st_mode) == 0o600
    assert stat.S_IMODE(certificate_path.stat().st_mode) == 0o644
    assert KeyMaterial.load(certificate_path, key_path).certificate == issued.certificate
    content = key_path.read_bytes()
    with pytest.raises(FileExistsError):
        authority.issue_server().write(certificate_path, key_path)
    assert key_path.read_bytes() == content


def test_its_certificate_makes_a_file_of_trust_roots(tmp_path):
    authority = DevelopmentAuthority()
    authority.own.write(tmp_path / "ca.pem", tmp_path / "ca.key")
    assert TrustRoots.load(tmp_path / "ca.pem") == authority.trust_roots


def test_no_repr_shows_a_key(authority):
    issued = authority.issue_server()
    assert "PrivateKey" not in repr(issued) + repr(issued.material)


def test_an_intermediate_authority_and_what_it_issues():
    root = DevelopmentAuthority("root", path_length=1)
    issuing = DevelopmentAuthority("issuing", issuer=root)
    issuing.own.certificate.verify_directly_issued_by(root.own.certificate)
    issued = issuing.issue_server()
    issued.certificate.verify_directly_issued_by(issuing.own.certificate)
    assert issued.material.chain == (issued.certificate, issuing.own.certificate)
    assert issuing.trust_roots == root.trust_roots == TrustRoots((root.own.certificate,))
    assert x509.load_pem_x509_certificates(issued.certificate_pem) == [*issued.material.chain]


def test_it_lists_what_it_revoked_and_signs_the_list(authority):
    good, bad = authority.issue_client().certificate, authority.issue_client()
    authority.revoke(bad)
    crl = authority.crl()
    assert crl.is_signature_valid(authority.own.certificate.public_key())
    assert crl.get_revoked_certificate_by_serial_number(bad.certificate.serial_number) is not None
    assert crl.get_revoked_certificate_by_serial_number(good.serial_number) is None
    assert crl.last_update_utc < datetime.now(UTC) < crl.next_update_utc


def test_it_answers_for_what_it_issued(authority):
    good, bad = authority.issue_client(), authority.issue_client()
    authority.revoke(bad)
    for issued, status in ((good, ocsp.OCSPCertStatus.GOOD), (bad, ocsp.OCSPCertStatus.REVOKED)):
        answer = ocsp.load_der_ocsp_response(authority.ocsp_response(issued))
        assert (answer.serial_number, answer.certificate_status) == (issued.certificate.serial_number, status)
    assert set(extension(authority.issue_responder().certificate, x509.ExtendedKeyUsage).value) == {
        ExtendedKeyUsageOID.OCSP_SIGNING
    }
