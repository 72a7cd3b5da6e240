"""What we demand of certificates beyond a good signature, of a peer's as of our own: keys, hashes, usage.

OpenSSL lets more pass than RFC 9325 does: every curve of 224 bits or more, and keys that may not sign.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from enum import Enum, IntEnum

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.hashes import MD5, SHA1
from cryptography.x509.oid import ExtendedKeyUsageOID

from .evidence import UNREADABLE

SMALLEST_RSA_KEY = 2048
"""Bits (RFC 9325 §4.5)."""

SMALLEST_CURVE = 256
"""Bits; smaller ones are not merely other curves than ours."""

CURVES = ("secp256r1", "secp384r1")
"""Curves of the ECDSA signatures that the profiles negotiate."""


class Code(IntEnum):
    """OpenSSL's verification codes that our own objections go by: each has its alert and its row in the table."""

    UNSPECIFIED = 1
    UNSUITABLE_PURPOSE = 26
    WRONG_CURVE = 58
    NAME_MISMATCH = 62
    KEY_TOO_SMALL = 66
    AUTHORITY_KEY_TOO_SMALL = 67
    WEAK_HASH = 68


class Role(Enum):
    """What a certificate is used for: the end of the TLS connection that presents it."""

    CLIENT = "client"
    SERVER = "server"

    @property
    def usage(self) -> x509.ObjectIdentifier:
        """The purpose in extendedKeyUsage (RFC 5280 §4.2.1.12)."""
        return ExtendedKeyUsageOID.CLIENT_AUTH if self is Role.CLIENT else ExtendedKeyUsageOID.SERVER_AUTH


@dataclass(frozen=True, slots=True)
class Objection:
    """Why a certificate is not acceptable; the sentence lacks its subject, the certificate."""

    code: Code
    sentence: str


def weaknesses(certificate: x509.Certificate, *, end_entity: bool = True) -> Iterator[Objection]:
    """Keys and hashes below RFC 9325 §4.5, at any place of a chain."""
    small = Code.KEY_TOO_SMALL if end_entity else Code.AUTHORITY_KEY_TOO_SMALL
    try:
        key = certificate.public_key()
        algorithm = certificate.signature_hash_algorithm
    except (ValueError, UnsupportedAlgorithm):
        yield Objection(small, "has a key or signature of unknown kind; expected RSA, ECDSA or Ed25519")
        return
    if isinstance(key, rsa.RSAPublicKey):
        if key.key_size < SMALLEST_RSA_KEY:
            yield Objection(small, f"has an RSA key of {key.key_size} bits; expected {SMALLEST_RSA_KEY} or more")
    elif isinstance(key, ec.EllipticCurvePublicKey):
        if key.curve.name not in CURVES:
            code = small if key.key_size < SMALLEST_CURVE else Code.WRONG_CURVE
            yield Objection(code, f"has a key on curve {key.curve.name}; expected {' or '.join(CURVES)}")
    elif not isinstance(key, ed25519.Ed25519PublicKey):
        yield Objection(small, "has a key that TLS here does not use; expected RSA, ECDSA or Ed25519")
    # A root's signature on itself is not what makes it trusted.
    if isinstance(algorithm, MD5 | SHA1) and certificate.issuer != certificate.subject:
        yield Objection(Code.WEAK_HASH, f"is signed with {algorithm.name.upper()}; expected SHA-256 or better")


def misuses(certificate: x509.Certificate, roles: frozenset[Role]) -> Iterator[Objection]:
    """What an end entity's certificate says against its use in any of the roles; silence allows every use.

    Every key exchange here is signed, so a key usage without digitalSignature serves nobody (RFC 8446 §4.4.2.2).
    """
    try:
        extensions = certificate.extensions
    except UNREADABLE as error:
        yield Objection(Code.UNSPECIFIED, f"has extensions that cannot be read: {error}")
        return
    for extension in extensions:
        value = extension.value
        if isinstance(value, x509.KeyUsage) and not value.digital_signature:
            yield Objection(Code.UNSUITABLE_PURPOSE,
                            "has a key usage without digitalSignature; expected it, as the key signs the handshake")
        if isinstance(value, x509.ExtendedKeyUsage) and not any(role.usage in value for role in roles):
            found = ", ".join(sorted(_usage_name(usage) for usage in value))
            wanted = " or ".join(sorted(_usage_name(role.usage) for role in roles))
            yield Objection(Code.UNSUITABLE_PURPOSE, f"has the extended key usage {found}; expected {wanted}")


def _usage_name(usage: x509.ObjectIdentifier) -> str:
    return usage._name if usage._name != "Unknown OID" else usage.dotted_string
