from __future__ import annotations

import hashlib
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from OpenSSL import SSL
from twisted.internet.testing import StringTransport

from dimsetls.tls.policy import TLSVersion
from dimsetls.tls.session import PeerCertificate, read_session


def certificate_with(*extensions: x509.ExtensionType, name: str = "peer") -> x509.Certificate:
    key, now = ec.generate_private_key(ec.SECP256R1()), datetime.now(UTC)
    subject = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, name)])
    builder = (
        x509.CertificateBuilder().subject_name(subject).issuer_name(subject).public_key(key.public_key())
        .serial_number(4711).not_valid_before(now).not_valid_after(now + timedelta(days=1))
    )
    for extension in extensions:
        builder = builder.add_extension(extension, critical=False)
    return builder.sign(key, SHA256())


def test_the_facts_of_a_session(link, policy, authority):
    server, client = authority.issue_server("server"), authority.issue_client("client")
    wire = link(policy, server=server, client=client).pump()
    ours, theirs = wire.server_user.session, wire.client_user.session
    old = policy.maximum_version == TLSVersion.TLS_1_2
    for session in (ours, theirs):
        assert session.version == ("TLSv1.2" if old else "TLSv1.3")
        assert session.cipher_suite == ("ECDHE-ECDSA-AES256-GCM-SHA384" if old else "TLS_AES_256_GCM_SHA384")
        assert session.alpn == "dicom"
        assert session.server_name == "localhost"
        assert session.group == ("x25519" if hasattr(SSL.Connection, "get_group_name") else None)
    assert ours.peer.subject.startswith("CN=client,O=dimsetls DEVELOPMENT")
    assert theirs.peer.subject.startswith("CN=server,O=dimsetls DEVELOPMENT")


def test_a_certificate_s_facts(authority):
    certificate = authority.issue_client("CT 1", names=["ct1.example", "192.0.2.7", "2001:db8::7"]).certificate
    peer = PeerCertificate.of(certificate)
    der = certificate.public_bytes(Encoding.DER)
    spki = certificate.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    assert peer.subject == "CN=CT 1,O=dimsetls DEVELOPMENT - not for clinical use"
    assert peer.issuer == "CN=dimsetls development CA,O=dimsetls DEVELOPMENT - not for clinical use"
    assert peer.serial == certificate.serial_number
    assert (peer.dns_names, peer.ip_addresses, peer.uris) == (("ct1.example",), ("192.0.2.7", "2001:db8::7"), ())
    assert peer.names == ("ct1.example", "192.0.2.7", "2001:db8::7")
    assert (peer.not_before, peer.not_after) == (certificate.not_valid_before_utc, certificate.not_valid_after_utc)
    assert (peer.sha256, peer.spki_sha256) == (hashlib.sha256(der).hexdigest(), hashlib.sha256(spki).hexdigest())
    assert peer.der == der
    assert "der=" not in repr(peer)


def test_uris_are_read():
    uri = x509.UniformResourceIdentifier("urn:oid:1.2.840.10008")
    assert PeerCertificate.of(certificate_with(x509.SubjectAlternativeName([uri]))).uris == ("urn:oid:1.2.840.10008",)


@pytest.mark.parametrize("extensions", [
    [],
    [x509.UnrecognizedExtension(x509.SubjectAlternativeName.oid, b"\x30\x03\x82\x01\xff")],
    [x509.UnrecognizedExtension(x509.SubjectAlternativeName.oid, b"garbage")],
])
def test_a_certificate_whose_names_are_absent_or_unreadable_has_none(extensions):
    assert PeerCertificate.of(certificate_with(*extensions)).names == ()


def test_a_known_certificate_is_not_parsed_again(authority):
    certificate = authority.issue_client().certificate
    assert PeerCertificate.of(certificate) is PeerCertificate.of(certificate)


def test_there_is_no_session_before_the_handshake_is_complete(link):
    wire = link()
    assert read_session(wire.server) is None
    wire.server.dataReceived(wire.client_end.sent.pop(0))
    assert read_session(wire.server) is None


@pytest.mark.parametrize("transport", [StringTransport(), object(), None])
def test_there_is_no_session_without_tls(transport: Any):
    assert read_session(transport) is None
