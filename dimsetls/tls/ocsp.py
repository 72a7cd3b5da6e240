"""What an OCSP responder says of one certificate, judged (RFC 6960): bytes and a time go in, a verdict comes out.

The server judges what it is about to staple in the same way as the client what comes with a certificate.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from datetime import datetime, timedelta

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, padding, rsa
from cryptography.hazmat.primitives.asymmetric.types import CertificatePublicKeyTypes
from cryptography.hazmat.primitives.hashes import MD5, SHA1, HashAlgorithm
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509 import ocsp
from cryptography.x509.oid import AuthorityInformationAccessOID, ExtendedKeyUsageOID

from .evidence import UNREADABLE, StatusRefusal

SKEW = timedelta(minutes=5)
"""How far ahead the responder's clock may be."""

_BAD, _STALE, _MISSING = "bad-certificate-status", "certificate-status-stale", "certificate-status-missing"
_REVOKED = "certificate-revoked"
"""Rows of the failure table."""


class StatusRefused(Exception):
    """The certificate status cannot be relied on, or says that the certificate is revoked."""

    def __init__(self, condition: str, sentence: str) -> None:
        super().__init__(sentence)
        self.refusal = StatusRefusal(condition, sentence)


def judge(der: bytes, certificate: x509.Certificate, issuer: x509.Certificate, now: datetime) -> datetime:
    """Until when the response vouches for the certificate; StatusRefused if it does not (RFC 6960 §3.2)."""
    try:
        response = ocsp.load_der_ocsp_response(der)
        if response.response_status is not ocsp.OCSPResponseStatus.SUCCESSFUL:
            raise StatusRefused(_BAD, f"expected an OCSP response, the responder answered "
                                      f"{response.response_status.name.lower().replace('_', ' ')}")
        if not any(_is_signed_by(response, key) for key in _responder_keys(response, issuer, now)):
            raise StatusRefused(_BAD, "expected an OCSP response signed by the certificate's issuer or by a responder "
                                      "that it authorised, this one is signed by neither")
        single = _for_certificate(response, certificate, issuer)
    except UNREADABLE as error:
        raise StatusRefused(_BAD, f"expected an OCSP response, found what cannot be read as one: {error}") from None
    return _end_of(single, now)


def stapled_refusal(
    der: bytes, chain: Sequence[x509.Certificate], now: datetime, *, required: bool
) -> StatusRefusal | None:
    """Why a client has to refuse a server for the status that it stapled, or left out; `chain` was verified."""
    try:
        if der:
            judge(der, chain[0], chain[min(1, len(chain) - 1)], now)
        elif required:
            raise StatusRefused(_MISSING, "expected a stapled OCSP response as configured, the server sent none")
        elif must_staple(chain[0]):
            raise StatusRefused(_MISSING, "expected a stapled OCSP response as the certificate demands (RFC 7633), the "
                                          "server sent none")
    except StatusRefused as refused:
        return refused.refusal
    return None


def request(certificate: x509.Certificate, issuer: x509.Certificate) -> bytes:
    """The DER that asks a responder for the certificate's status."""
    # SHA-1 only names the issuer here, and is what every responder knows (RFC 5019 §2.1.1).
    builder = ocsp.OCSPRequestBuilder().add_certificate(certificate, issuer, SHA1())  # noqa: S303
    return builder.build().public_bytes(Encoding.DER)


def responder_url(certificate: x509.Certificate) -> str | None:
    """Where the certificate says that its status can be asked for (RFC 5280 §4.2.2.1)."""
    try:
        descriptions = certificate.extensions.get_extension_for_class(x509.AuthorityInformationAccess).value
    except x509.ExtensionNotFound:
        return None
    places = (each.access_location for each in descriptions if each.access_method == AuthorityInformationAccessOID.OCSP)
    return next((place.value for place in places if isinstance(place, x509.UniformResourceIdentifier)), None)


def must_staple(certificate: x509.Certificate) -> bool:
    """Whether the certificate is good only together with a stapled status (TLS feature status_request, RFC 7633)."""
    try:
        features = certificate.extensions.get_extension_for_class(x509.TLSFeature).value
    except x509.ExtensionNotFound:
        return False
    return x509.TLSFeatureType.status_request in features


def issuer_of(certificate: x509.Certificate, candidates: Iterable[x509.Certificate]) -> x509.Certificate | None:
    """The one of the candidates that signed the certificate."""
    return next((candidate for candidate in candidates if _issued(certificate, candidate)), None)


def _responder_keys(
    response: ocsp.OCSPResponse, issuer: x509.Certificate, now: datetime
) -> Iterator[CertificatePublicKeyTypes]:
    """Keys whose signature counts: the issuer's, and those of responders that it certified (RFC 6960 §4.2.2.2).

    Whether such a responder is revoked in its turn is not asked: their certificates are short-lived.
    """
    yield issuer.public_key()
    for delegate in response.certificates:
        try:
            usages = delegate.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
        except x509.ExtensionNotFound:
            continue
        current = delegate.not_valid_before_utc <= now <= delegate.not_valid_after_utc
        strong = not isinstance(delegate.signature_hash_algorithm, MD5 | SHA1)
        if ExtendedKeyUsageOID.OCSP_SIGNING in usages and current and strong and _issued(delegate, issuer):
            yield delegate.public_key()


def _issued(certificate: x509.Certificate, issuer: x509.Certificate) -> bool:
    try:
        certificate.verify_directly_issued_by(issuer)
    except (InvalidSignature, TypeError, *UNREADABLE):
        return False
    return True


def _is_signed_by(response: ocsp.OCSPResponse, key: CertificatePublicKeyTypes) -> bool:
    """Whether the key made the signature, with a hash that cannot be forged (RFC 9325 §4.5)."""
    signature, signed, digest = response.signature, response.tbs_response_bytes, response.signature_hash_algorithm
    try:
        match key, digest:
            case _, MD5() | SHA1():
                return False
            case rsa.RSAPublicKey(), HashAlgorithm():
                key.verify(signature, signed, padding.PKCS1v15(), digest)
            case ec.EllipticCurvePublicKey(), HashAlgorithm():
                key.verify(signature, signed, ec.ECDSA(digest))
            case ed25519.Ed25519PublicKey(), None:
                key.verify(signature, signed)
            case _:
                return False
    except InvalidSignature:
        return False
    return True


def _for_certificate(
    response: ocsp.OCSPResponse, certificate: x509.Certificate, issuer: x509.Certificate
) -> ocsp.OCSPSingleResponse:
    """The answer for this certificate: one response may hold several."""
    for single in response.responses:
        builder = ocsp.OCSPRequestBuilder().add_certificate(certificate, issuer, single.hash_algorithm)
        asked = builder.build()
        if (single.serial_number, single.issuer_name_hash, single.issuer_key_hash) == (
            asked.serial_number, asked.issuer_name_hash, asked.issuer_key_hash,
        ):
            return single
    raise StatusRefused(_BAD, f"expected an OCSP response for the certificate with serial number "
                              f"{certificate.serial_number:X}, this one is for another")


def _end_of(single: ocsp.OCSPSingleResponse, now: datetime) -> datetime:
    start, end = single.this_update_utc, single.next_update_utc
    if single.certificate_status is ocsp.OCSPCertStatus.REVOKED:  # and stays so, however old the news
        raise StatusRefused(_REVOKED, f"expected a certificate in force, its authority revoked it on "
                                      f"{single.revocation_time_utc:%Y-%m-%d %H:%M} UTC")
    if single.certificate_status is not ocsp.OCSPCertStatus.GOOD:
        raise StatusRefused(_BAD, "expected the status good, the responder does not know the certificate")
    if end is None:
        raise StatusRefused(_STALE, "expected an OCSP response that says when it goes stale (nextUpdate), this one "
                                    "does not")
    if not start - SKEW <= now < end:
        raise StatusRefused(_STALE, f"expected an OCSP response that is current, this one is good from "
                                    f"{start:%Y-%m-%d %H:%M} to {end:%Y-%m-%d %H:%M} UTC")
    return end
