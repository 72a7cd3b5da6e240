"""What a server's certificate chain shows to a client that calls it by a name and trusts certain authorities."""

from __future__ import annotations

from ipaddress import ip_address
from typing import TypeVar

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.x509.oid import AuthorityInformationAccessOID, ExtendedKeyUsageOID
from OpenSSL.crypto import X509, X509Store, X509StoreContext, X509StoreContextError
from service_identity import CertificateError, VerificationError
from service_identity.cryptography import verify_certificate_hostname, verify_certificate_ip_address

from ...tls.material import TrustRoots
from .observations import CertificateSeen

_Extension = TypeVar("_Extension", bound=x509.ExtensionType)
_SERVING = (ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.ANY_EXTENDED_KEY_USAGE)


def is_address(host: str) -> bool:
    """Whether `host` is an IP address and no name."""
    try:
        ip_address(host)
    except ValueError:
        return False
    return True


def is_for(certificate: x509.Certificate, host: str) -> bool:
    """Whether the certificate names `host`, by RFC 9525: in subjectAltName, never in the common name."""
    try:
        if is_address(host):
            verify_certificate_ip_address(certificate, host)
        else:
            verify_certificate_hostname(certificate, host)
    except (VerificationError, CertificateError, ValueError):
        return False
    return True


def untrusted(chain: tuple[x509.Certificate, ...], roots: TrustRoots) -> str:
    """Why the chain does not lead to one of the roots, in OpenSSL's words; empty if it does."""
    store = X509Store()
    for root in roots.certificates:
        store.add_cert(X509.from_cryptography(root))
    own, *issuers = map(X509.from_cryptography, chain)
    try:
        X509StoreContext(store, own, issuers).verify_certificate()
    except X509StoreContextError as error:
        return str(error)
    return ""


def certificate_seen(certificate: x509.Certificate) -> CertificateSeen:
    key, bits = _key(certificate)
    names = _extension(certificate, x509.SubjectAlternativeName)
    usages = _extension(certificate, x509.ExtendedKeyUsage)
    points = _extension(certificate, x509.CRLDistributionPoints)
    access = _extension(certificate, x509.AuthorityInformationAccess)
    return CertificateSeen(
        subject=certificate.subject.rfc4514_string(),
        issuer=certificate.issuer.rfc4514_string(),
        names=() if names is None else (
            *names.get_values_for_type(x509.DNSName), *map(str, names.get_values_for_type(x509.IPAddress))
        ),
        key=key,
        key_bits=bits,
        signature_hash=_signature_hash(certificate),
        not_before=certificate.not_valid_before_utc,
        not_after=certificate.not_valid_after_utc,
        serves=usages is None or not {*usages}.isdisjoint(_SERVING),
        crl_urls=() if points is None else tuple(
            name.value for point in points for name in point.full_name or ()
            if isinstance(name, x509.UniformResourceIdentifier)
        ),
        ocsp_urls=() if access is None else tuple(
            each.access_location.value for each in access
            if each.access_method == AuthorityInformationAccessOID.OCSP
            and isinstance(each.access_location, x509.UniformResourceIdentifier)
        ),
        sha256=certificate.fingerprint(SHA256()).hex(),
    )


def _extension(certificate: x509.Certificate, kind: type[_Extension]) -> _Extension | None:
    try:
        return certificate.extensions.get_extension_for_class(kind).value
    except (x509.ExtensionNotFound, x509.DuplicateExtension, x509.UnsupportedGeneralNameType, ValueError):
        return None


def _key(certificate: x509.Certificate) -> tuple[str, int]:
    try:
        key = certificate.public_key()
    except (ValueError, UnsupportedAlgorithm):
        return "of unknown kind", 0
    if isinstance(key, rsa.RSAPublicKey):
        return "RSA", key.key_size
    if isinstance(key, ec.EllipticCurvePublicKey):
        return "ECDSA", key.curve.key_size
    return type(key).__name__.strip("_").removesuffix("PublicKey"), getattr(key, "key_size", 0)


def _signature_hash(certificate: x509.Certificate) -> str:
    try:
        algorithm = certificate.signature_hash_algorithm
    except UnsupportedAlgorithm:
        return "unknown"
    return algorithm.name if algorithm is not None else ""
