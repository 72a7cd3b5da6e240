"""The facts of an established TLS connection, read once after the handshake.

Only this module makes a TLSSession: whoever holds one knows that a handshake under our policy was completed.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime
from functools import lru_cache
from hashlib import sha256
from sys import intern

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from OpenSSL.crypto import FILETYPE_ASN1, dump_certificate

from .evidence import UNREADABLE, ObservedConnection, connection_of

REMEMBERED_CERTIFICATES = 1024
"""Parsed certificates kept: the same few modalities call again and again."""


@dataclass(frozen=True, slots=True)
class PeerCertificate:
    """What the peer's certificate says of the peer. Fingerprints are SHA-256, lower-case hexadecimal."""

    subject: str
    """As RFC 4514 writes it; so is the issuer."""
    issuer: str
    serial: int
    dns_names: tuple[str, ...]
    ip_addresses: tuple[str, ...]
    uris: tuple[str, ...]
    not_before: datetime
    not_after: datetime
    sha256: str
    spki_sha256: str
    """Of SubjectPublicKeyInfo: the key's fingerprint, which outlives a renewal with the same key."""
    der: bytes = field(repr=False)

    @property
    def names(self) -> tuple[str, ...]:
        """All of subjectAltName, DNS names first."""
        return self.dns_names + self.ip_addresses + self.uris

    @classmethod
    def of(cls, certificate: x509.Certificate) -> PeerCertificate:
        return cls.of_der(certificate.public_bytes(Encoding.DER))

    @classmethod
    def of_der(cls, der: bytes) -> PeerCertificate:
        """The certificate's facts, parsed once for each certificate ever seen, within reason."""
        return _parse(der)


@dataclass(frozen=True, slots=True)
class TLSSession:
    """What was negotiated, and with whom."""

    version: str
    """`TLSv1.2` or `TLSv1.3`."""
    cipher_suite: str
    """As OpenSSL names it."""
    group: str | None
    """The key exchange group; None where pyOpenSSL (before 26.0) cannot tell."""
    alpn: str | None
    server_name: str | None
    """The SNI name, sent or received."""
    peer: PeerCertificate | None
    channel_binding: bytes = field(default=b"", repr=False)
    """`tls-exporter`, 32 octets that name this connection alone, for identities that are bound to it (RFC 9266)."""


def shown_by(connection: ObservedConnection) -> PeerCertificate | None:
    """The certificate of the peer, as it was judged in this handshake, or is brought back by a session."""
    evidence = connection.evidence
    if evidence.certificate:
        return PeerCertificate.of_der(evidence.certificate)
    certificate = connection.get_peer_certificate()
    if certificate is None:
        return None
    found = PeerCertificate.of_der(dump_certificate(FILETYPE_ASN1, certificate))
    evidence.certificate = found.der
    return found


def read_session(transport: object) -> TLSSession | None:
    """The facts of the connection under a Twisted transport; None where there is no TLS, or no handshake completed."""
    connection = connection_of(transport)
    if not isinstance(connection, ObservedConnection) or not connection.evidence.handshake_completed:
        return None
    alpn = connection.get_alpn_proto_negotiated()
    server_name = connection.get_servername()
    group_name: Callable[[], str | None] = getattr(connection, "get_group_name", lambda: None)
    return TLSSession(
        version=intern(connection.get_protocol_version_name()),  # few words for all of ten thousand connections
        cipher_suite=intern(connection.get_cipher_name() or ""),
        group=group_name(),
        alpn=alpn.decode("ascii", "replace") if alpn else None,
        server_name=server_name.decode("ascii", "replace") if server_name else None,
        peer=shown_by(connection),
        # An empty context and none differ on TLS 1.2; RFC 9266 §2 has an empty one.
        channel_binding=connection.export_keying_material(b"EXPORTER-Channel-Binding", 32, b""),
    )


@lru_cache(REMEMBERED_CERTIFICATES)
def _parse(der: bytes) -> PeerCertificate:
    certificate = x509.load_der_x509_certificate(der)
    names = _alternative_names(certificate)
    key = certificate.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    return PeerCertificate(
        subject=certificate.subject.rfc4514_string(),
        issuer=certificate.issuer.rfc4514_string(),
        serial=certificate.serial_number,
        dns_names=tuple(names.get_values_for_type(x509.DNSName)),
        ip_addresses=tuple(str(address) for address in names.get_values_for_type(x509.IPAddress)),
        uris=tuple(names.get_values_for_type(x509.UniformResourceIdentifier)),
        not_before=certificate.not_valid_before_utc,
        not_after=certificate.not_valid_after_utc,
        sha256=sha256(der).hexdigest(),
        spki_sha256=sha256(key).hexdigest(),
        der=der,
    )


def _alternative_names(certificate: x509.Certificate) -> x509.SubjectAlternativeName:
    """subjectAltName; empty if absent, or if the extensions cannot be read: such a certificate is nobody's."""
    try:
        return certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except (x509.ExtensionNotFound, *UNREADABLE):
        return x509.SubjectAlternativeName([])
