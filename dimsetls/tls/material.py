"""Certificates and keys from an operator's files, checked in full before OpenSSL sees them.

OpenSSL reports one problem at a time, in its own words, and often only when a peer calls.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.hashes import MD5, SHA1
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_pem_private_key

from ..errors import ConfigurationError

PrivateKey = rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey | ed25519.Ed25519PrivateKey

SMALLEST_RSA_KEY = 2048
"""Bits (RFC 9325 §4.5)."""

CURVES = ("secp256r1", "secp384r1")
"""Curves of the ECDSA signatures that the profiles negotiate."""

_CERTIFICATE, _KEY = b"CERTIFICATE", b"PRIVATE KEY"


@dataclass(frozen=True, slots=True)
class KeyMaterial:
    """A certificate chain, end entity first, and the private key that belongs to it."""

    chain: tuple[x509.Certificate, ...]
    private_key: PrivateKey = field(repr=False)

    @property
    def certificate(self) -> x509.Certificate:
        """The end entity's certificate."""
        return self.chain[0]

    @classmethod
    def load(cls, certificate_path: str | Path, key_path: str | Path) -> KeyMaterial:
        """Read two PEM files, or one that holds both; ConfigurationError with every problem of either."""
        problems: list[str] = []
        chain = _read_certificates(certificate_path, problems)
        key = _read_key(key_path, problems)
        for certificate in chain:
            what = f"certificate {name_of(certificate)} in {certificate_path}"
            problems += _out_of_date(certificate, what)
            problems += _weak(certificate, what)
        if chain and key is not None and not _belong_together(chain[0], key):
            problems.append(_mismatch(chain, key, certificate_path, key_path))
        if problems or key is None:
            raise ConfigurationError(*problems)
        return cls(tuple(chain), key)


@dataclass(frozen=True, slots=True)
class TrustRoots:
    """The certificates of the authorities (or single peers) to which a peer's chain must lead."""

    certificates: tuple[x509.Certificate, ...]

    @classmethod
    def load(cls, path: str | Path) -> TrustRoots:
        """Read a PEM file of one or more certificates; ConfigurationError with every problem.

        An outdated certificate beside a good one is let pass: it can vouch for nobody, and two generations
        of an authority lie side by side in every rollover.
        """
        problems: list[str] = []
        certificates = _read_certificates(path, problems)
        dates = [list(_out_of_date(root, f"trust root {name_of(root)} in {path}")) for root in certificates]
        if all(dates):
            problems += [sentence for sentences in dates for sentence in sentences]
        for root in certificates:
            problems += _weak(root, f"trust root {name_of(root)} in {path}")
        if problems:
            raise ConfigurationError(*problems)
        return cls(tuple(certificates))


def name_of(certificate: x509.Certificate) -> str:
    """The subject as RFC 4514 writes it, quoted for a message."""
    return f'"{certificate.subject.rfc4514_string()}"'


def _read_certificates(path: str | Path, problems: list[str]) -> list[x509.Certificate]:
    try:
        content = Path(path).read_bytes()
    except OSError as error:
        problems.append(f"certificate file {path} cannot be read: {error.strerror}; expected a PEM file")
        return []
    try:
        return x509.load_pem_x509_certificates(content)
    except (ValueError, UnsupportedAlgorithm):
        kind = _kind(content, _CERTIFICATE)
        problems.append(f"certificate file {path} holds {kind}; expected one or more certificates in PEM")
        return []


def _read_key(path: str | Path, problems: list[str]) -> PrivateKey | None:
    try:
        with open(path, "rb") as file:
            mode = stat.S_IMODE(os.fstat(file.fileno()).st_mode)
            content = file.read()
    except OSError as error:
        problems.append(f"key file {path} cannot be read: {error.strerror}; expected a private key in PEM")
        return None
    if mode & 0o077:
        problems.append(
            f"key file {path} is open to group or others (mode {mode:04o}); expected 0600 or 0400: chmod 600 {path}"
        )
    try:
        key = load_pem_private_key(content, password=None)
    except TypeError:
        problems.append(f"key file {path} is encrypted; expected a private key without a passphrase, mode 0600")
        return None
    except (ValueError, UnsupportedAlgorithm):
        problems.append(f"key file {path} holds {_kind(content, _KEY)}; expected a private key in PEM")
        return None
    if not isinstance(key, PrivateKey):
        problems.append(f"key file {path} holds a key that TLS here does not use; expected RSA, ECDSA or Ed25519")
        return None
    return key


def _kind(content: bytes, wanted: bytes) -> str:
    """What a file seems to hold that is not a usable `wanted`, the word on the first line of PEM."""
    other = {_CERTIFICATE: ("a private key", _KEY), _KEY: ("a certificate", _CERTIFICATE)}[wanted]
    if not content.strip():
        return "nothing"
    if wanted + b"-----" in content:
        return "damaged PEM"
    if other[1] + b"-----" in content:
        return other[0]
    return "binary (DER or PKCS #12)" if content[:1] == b"\x30" else "no PEM"


def _out_of_date(certificate: x509.Certificate, what: str) -> Iterator[str]:
    now, start, end = datetime.now(UTC), certificate.not_valid_before_utc, certificate.not_valid_after_utc
    if end < now:
        yield f"{what} expired on {end:%Y-%m-%d %H:%M} UTC; expected one that is valid now"
    if start > now:
        yield f"{what} is not valid before {start:%Y-%m-%d %H:%M} UTC; expected one that is valid now"


def _weak(certificate: x509.Certificate, what: str) -> Iterator[str]:
    """Keys and hashes that security level 2 of OpenSSL, and RFC 9325 §4.5, refuse."""
    try:
        key = certificate.public_key()
        algorithm = certificate.signature_hash_algorithm
    except (ValueError, UnsupportedAlgorithm):
        yield f"{what} has a key or signature of unknown kind; expected RSA, ECDSA or Ed25519"
        return
    if isinstance(key, rsa.RSAPublicKey):
        if key.key_size < SMALLEST_RSA_KEY:
            yield f"{what} has an RSA key of {key.key_size} bits; expected {SMALLEST_RSA_KEY} or more"
    elif isinstance(key, ec.EllipticCurvePublicKey):
        if key.curve.name not in CURVES:
            yield f"{what} has a key on curve {key.curve.name}; expected {' or '.join(CURVES)}"
    elif not isinstance(key, ed25519.Ed25519PublicKey):
        yield f"{what} has a key that TLS here does not use; expected RSA, ECDSA or Ed25519"
    # A root's signature on itself is not what makes it trusted.
    if isinstance(algorithm, MD5 | SHA1) and certificate.issuer != certificate.subject:
        yield f"{what} is signed with {algorithm.name.upper()}; expected SHA-256 or better"


def _belong_together(certificate: x509.Certificate, key: PrivateKey) -> bool:
    form = Encoding.DER, PublicFormat.SubjectPublicKeyInfo
    try:
        return certificate.public_key().public_bytes(*form) == key.public_key().public_bytes(*form)
    except (ValueError, UnsupportedAlgorithm):
        return False


def _mismatch(
    chain: Sequence[x509.Certificate], key: PrivateKey, certificate_path: str | Path, key_path: str | Path
) -> str:
    for certificate in chain[1:]:
        if _belong_together(certificate, key):
            return (
                f"certificate file {certificate_path} begins with {name_of(chain[0])}, but the key {key_path} belongs "
                f"to {name_of(certificate)}; expected the end entity's certificate first, then its issuers"
            )
    return f"key file {key_path} does not belong to {name_of(chain[0])} in {certificate_path}; expected its private key"
