"""A throwaway certification authority for development and tests. Nothing it signs belongs near a patient."""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path
from typing import TypedDict, Unpack

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec, ed25519
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509 import ocsp
from cryptography.x509.oid import AuthorityInformationAccessOID, ExtendedKeyUsageOID, NameOID

from .material import KeyMaterial, PrivateKey, TrustRoots

DEVELOPMENT_ORGANISATION = "dimsetls DEVELOPMENT - not for clinical use"
"""Organisation in the subject and issuer of every development certificate."""

LOOPBACK_NAMES = ("localhost", "127.0.0.1", "::1")
LIFETIME = timedelta(days=90)
STATUS_LIFETIME = timedelta(days=7)
"""Of revocation lists and OCSP responses."""

SKEW = timedelta(minutes=5)
"""How far back validity begins, for peers whose clock is a little behind."""


@dataclass(frozen=True, slots=True)
class DevelopmentCertificate:
    """A certificate and its key, still in memory."""

    certificate: x509.Certificate
    private_key: PrivateKey = field(repr=False)
    issuers: tuple[x509.Certificate, ...] = ()
    """The intermediate authorities up to but without the root."""

    @property
    def certificate_pem(self) -> bytes:
        """The certificate and its intermediate issuers, as a peer wants to see them."""
        return b"".join(each.public_bytes(Encoding.PEM) for each in self.material.chain)

    @property
    def private_key_pem(self) -> bytes:
        return self.private_key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())

    @property
    def material(self) -> KeyMaterial:
        """As the connection creators take it, without a detour through files."""
        return KeyMaterial((self.certificate, *self.issuers), self.private_key)

    def write(self, certificate_path: Path, key_path: Path) -> None:
        """Write two PEM files, the key with mode 0600; FileExistsError rather than overwrite either."""
        _write_new(key_path, self.private_key_pem, 0o600)
        _write_new(certificate_path, self.certificate_pem, 0o644)


class Wishes(TypedDict, total=False):
    """What may differ from certificate to certificate; `names` are DNS names and IP addresses for subjectAltName.

    `ocsp_url` is where the authority answers for the certificate; with `must_staple` a server has to send the answer.
    """

    names: Iterable[str]
    ocsp_url: str
    must_staple: bool
    private_key: PrivateKey
    not_before: datetime
    not_after: datetime


class DevelopmentAuthority:
    """A CA with an ECDSA P-256 key that lives for 90 days, unless told otherwise.

    With `issuer` it is an intermediate one; the issuer then needs a path length that allows it.
    """

    def __init__(
        self,
        common_name: str = "dimsetls development CA",
        *,
        issuer: DevelopmentAuthority | None = None,
        path_length: int = 0,
        not_before: datetime | None = None,
        not_after: datetime | None = None,
    ) -> None:
        key = new_key()
        start, end = _validity(not_before, not_after)
        name = _subject(common_name)
        unsigned = (
            _builder(name, issuer.own.certificate.subject if issuer else name, key, start, end)
            .add_extension(x509.BasicConstraints(ca=True, path_length=path_length), critical=True)
            .add_extension(_key_usage(authority=True), critical=True)
        )
        if issuer is not None:
            unsigned = unsigned.add_extension(issuer._key_identifier, critical=False)
        signed = unsigned.sign(issuer.own.private_key if issuer else key, SHA256())
        self.own: DevelopmentCertificate = DevelopmentCertificate(signed, key, issuer.chain if issuer else ())
        self.trust_roots: TrustRoots = issuer.trust_roots if issuer else TrustRoots((signed,))
        """What a peer of this authority's certificates trusts."""
        self.chain: tuple[x509.Certificate, ...] = (signed, *issuer.chain) if issuer else ()
        """What this authority's certificates are sent with."""
        self._revoked: dict[int, datetime] = {}

    def issue_server(
        self, common_name: str = "dimsetls development server", **wishes: Unpack[Wishes]
    ) -> DevelopmentCertificate:
        """A certificate for a node: server and client, since a node that accepts associations also requests them."""
        return self._issue(common_name, [ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH], **wishes)

    def issue_client(
        self, common_name: str = "dimsetls development client", **wishes: Unpack[Wishes]
    ) -> DevelopmentCertificate:
        """A certificate that authenticates a client and nothing else."""
        return self._issue(common_name, [ExtendedKeyUsageOID.CLIENT_AUTH], **wishes)

    def issue_responder(
        self, common_name: str = "dimsetls development OCSP responder", **wishes: Unpack[Wishes]
    ) -> DevelopmentCertificate:
        """A certificate that may sign OCSP responses in this authority's place (RFC 6960 §4.2.2.2)."""
        return self._issue(common_name, [ExtendedKeyUsageOID.OCSP_SIGNING], **wishes)

    def revoke(self, issued: DevelopmentCertificate) -> None:
        """Say in every revocation list and OCSP response from now on that the certificate is revoked."""
        self._revoked.setdefault(issued.certificate.serial_number, datetime.now(UTC))

    def crl(
        self, *, this_update: datetime | None = None, next_update: datetime | None = None
    ) -> x509.CertificateRevocationList:
        """The list of what is revoked; `public_bytes(Encoding.PEM)` makes a file of it."""
        start, end = _status_period(this_update, next_update)
        builder = (
            x509.CertificateRevocationListBuilder()
            .issuer_name(self.own.certificate.subject)
            .last_update(start)
            .next_update(end)
            .add_extension(self._key_identifier, critical=False)
            .add_extension(x509.CRLNumber(int(start.timestamp())), critical=False)
        )
        for serial, when in self._revoked.items():
            revoked = x509.RevokedCertificateBuilder().serial_number(serial).revocation_date(when).build()
            builder = builder.add_revoked_certificate(revoked)
        return builder.sign(self.own.private_key, SHA256())

    def ocsp_response(
        self,
        issued: DevelopmentCertificate,
        *,
        responder: DevelopmentCertificate | None = None,
        this_update: datetime | None = None,
        next_update: datetime | None = None,
    ) -> bytes:
        """What an OCSP responder says of a certificate now, as DER, signed by `responder` or this authority itself."""
        start, end = _status_period(this_update, next_update)
        signer = responder or self.own
        revoked = self._revoked.get(issued.certificate.serial_number)
        builder = ocsp.OCSPResponseBuilder().add_response(
            cert=issued.certificate,
            issuer=self.own.certificate,
            algorithm=SHA256(),
            cert_status=ocsp.OCSPCertStatus.REVOKED if revoked else ocsp.OCSPCertStatus.GOOD,
            this_update=start,
            next_update=end,
            revocation_time=revoked,
            revocation_reason=None,
        ).responder_id(ocsp.OCSPResponderEncoding.HASH, signer.certificate)
        if responder is not None:
            builder = builder.certificates([responder.certificate])
        digest = None if isinstance(signer.private_key, ed25519.Ed25519PrivateKey) else SHA256()
        return builder.sign(signer.private_key, digest).public_bytes(Encoding.DER)

    @property
    def _key_identifier(self) -> x509.AuthorityKeyIdentifier:
        identifier = self.own.certificate.extensions.get_extension_for_class(x509.SubjectKeyIdentifier).value
        return x509.AuthorityKeyIdentifier.from_issuer_subject_key_identifier(identifier)

    def _issue(
        self,
        common_name: str,
        usages: list[x509.ObjectIdentifier],
        *,
        names: Iterable[str] = LOOPBACK_NAMES,
        private_key: PrivateKey | None = None,
        not_before: datetime | None = None,
        not_after: datetime | None = None,
        ocsp_url: str | None = None,
        must_staple: bool = False,
    ) -> DevelopmentCertificate:
        key = private_key or new_key()
        start, end = _validity(not_before, not_after)
        unsigned = (
            _builder(_subject(common_name), self.own.certificate.subject, key, start, end)
            .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
            .add_extension(_key_usage(authority=False), critical=True)
            .add_extension(x509.ExtendedKeyUsage(usages), critical=False)
            .add_extension(self._key_identifier, critical=False)
        )
        if alternatives := [_general_name(name) for name in names]:
            unsigned = unsigned.add_extension(x509.SubjectAlternativeName(alternatives), critical=False)
        if ocsp_url:
            place = x509.UniformResourceIdentifier(ocsp_url)
            access = x509.AccessDescription(AuthorityInformationAccessOID.OCSP, place)
            unsigned = unsigned.add_extension(x509.AuthorityInformationAccess([access]), critical=False)
        if must_staple:
            unsigned = unsigned.add_extension(x509.TLSFeature([x509.TLSFeatureType.status_request]), critical=False)
        return DevelopmentCertificate(unsigned.sign(self.own.private_key, SHA256()), key, self.chain)


def new_key() -> ec.EllipticCurvePrivateKey:
    """A fresh ECDSA P-256 key (RFC 9325 §4.2)."""
    return ec.generate_private_key(ec.SECP256R1())


def is_development_certificate(certificate: x509.Certificate) -> bool:
    """Whether a development authority signed it: its key may lie on any developer's disk."""
    organisations = certificate.issuer.get_attributes_for_oid(NameOID.ORGANIZATION_NAME)
    return any(attribute.value == DEVELOPMENT_ORGANISATION for attribute in organisations)


def _write_new(path: Path, content: bytes, mode: int) -> None:
    with open(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode), "wb") as file:
        file.write(content)


def _validity(not_before: datetime | None, not_after: datetime | None) -> tuple[datetime, datetime]:
    start = not_before or datetime.now(UTC) - SKEW
    end = not_after or start + LIFETIME
    return not_before or min(start, end - LIFETIME), end


def _status_period(this_update: datetime | None, next_update: datetime | None) -> tuple[datetime, datetime]:
    start = this_update or datetime.now(UTC) - SKEW
    end = next_update or start + STATUS_LIFETIME
    return this_update or min(start, end - STATUS_LIFETIME), end


def _subject(common_name: str) -> x509.Name:
    return x509.Name([
        x509.NameAttribute(NameOID.ORGANIZATION_NAME, DEVELOPMENT_ORGANISATION),
        x509.NameAttribute(NameOID.COMMON_NAME, common_name),
    ])


def _general_name(name: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ip_address(name))
    except ValueError:
        return x509.DNSName(name)


def _builder(
    subject: x509.Name, issuer: x509.Name, key: PrivateKey, start: datetime, end: datetime
) -> x509.CertificateBuilder:
    """What every certificate of ours has (RFC 5280 §4.2.1)."""
    public = key.public_key()
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(public)
        .serial_number(x509.random_serial_number())
        .not_valid_before(start)
        .not_valid_after(end)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(public), critical=False)
    )


def _key_usage(*, authority: bool) -> x509.KeyUsage:
    """A CA signs certificates and CRLs; an end entity signs handshakes, and with ECDHE nothing else."""
    return x509.KeyUsage(
        digital_signature=not authority, key_cert_sign=authority, crl_sign=authority,
        content_commitment=False, key_encipherment=False, data_encipherment=False, key_agreement=False,
        encipher_only=False, decipher_only=False,
    )
