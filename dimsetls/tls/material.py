"""Certificates and keys from an operator's files, checked in full before OpenSSL sees them.

OpenSSL reports one problem at a time, in its own words, and often only when a peer calls.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from pathlib import Path

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_pem_private_key

from ..errors import ConfigurationError
from .judgement import Role, misuses, weaknesses

PrivateKey = rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey | ed25519.Ed25519PrivateKey

SOON = timedelta(days=30)
"""How long before its end a certificate is worth a warning."""

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
    def load(
        cls, certificate_path: str | Path, key_path: str | Path, passphrase: Callable[[], bytes] | None = None
    ) -> KeyMaterial:
        """Read two PEM files, or one that holds both; ConfigurationError with every problem of either.

        `passphrase` is called if the key is encrypted, and only then.
        """
        problems: list[str] = []
        chain = _read_certificates(certificate_path, problems)
        key = _read_key(key_path, passphrase, problems)
        for certificate in chain:
            what = f"certificate {name_of(certificate)} in {certificate_path}"
            problems += _out_of_date(certificate, what)
            problems += [f"{what} {each.sentence}" for each in weaknesses(certificate)]
        if chain and key is not None and not _belong_together(chain[0], key):
            problems.append(_mismatch(chain, key, certificate_path, key_path))
        elif chain:
            what = f"certificate {name_of(chain[0])} in {certificate_path}"
            problems += [f"{what} {each.sentence}" for each in misuses(chain[0], frozenset(Role))]
            problems += _broken_chain(chain, certificate_path)
        if problems or key is None:
            raise ConfigurationError(*problems)
        return cls(tuple(chain), key)

    def warnings(self, now: datetime) -> tuple[str, ...]:
        """A sentence for each certificate that ends soon."""
        return tuple(_ends_soon(self.chain, "certificate", now))


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
            what = f"trust root {name_of(root)} in {path}"
            problems += [f"{what} {each.sentence}" for each in weaknesses(root)]
        if problems:
            raise ConfigurationError(*problems)
        return cls(tuple(certificates))

    def warnings(self, now: datetime) -> tuple[str, ...]:
        """A sentence for each root that ends soon, or has ended beside a good one."""
        return tuple(_ends_soon(self.certificates, "trust root", now))


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


def _read_key(path: str | Path, passphrase: Callable[[], bytes] | None, problems: list[str]) -> PrivateKey | None:
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
        key = _decode_key(content, passphrase)
    except ConfigurationError as error:
        problems += [f"key file {path}: {problem}" for problem in error.problems]
        return None
    except (ValueError, UnsupportedAlgorithm):
        problems.append(f"key file {path} holds {_kind(content, _KEY)}; expected a private key in PEM")
        return None
    if not isinstance(key, PrivateKey):
        problems.append(f"key file {path} holds a key that TLS here does not use; expected RSA, ECDSA or Ed25519")
        return None
    return key


def _decode_key(content: bytes, passphrase: Callable[[], bytes] | None) -> object:
    try:
        return load_pem_private_key(content, password=None)
    except TypeError:  # that is how the library says that it is encrypted
        pass
    if passphrase is None:
        raise ConfigurationError("found that it is encrypted, expected its passphrase from a file or a systemd "
                                 "credential, or a key without one, mode 0600")
    try:
        return load_pem_private_key(content, password=passphrase())
    except ValueError:
        sentence = "the passphrase does not open the key; expected the one it was encrypted with"
        raise ConfigurationError(sentence) from None


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


def _ends_soon(certificates: Iterable[x509.Certificate], what: str, now: datetime) -> Iterator[str]:
    for certificate in certificates:
        end = certificate.not_valid_after_utc
        if end < now:
            yield f"{what} {name_of(certificate)} expired on {end:%Y-%m-%d %H:%M} UTC: remove it, or renew it"
        elif end - now < SOON:
            days = (end - now).days
            left = f"in {days} day{'s' if days != 1 else ''}" if days else "within a day"
            yield f"{what} {name_of(certificate)} expires on {end:%Y-%m-%d %H:%M} UTC, {left}: renew it"


def _broken_chain(chain: Sequence[x509.Certificate], path: str | Path) -> Iterator[str]:
    """Peers see the chain as it is in the file, and many need it in order and without gaps (RFC 5246 §7.4.2)."""
    for number, (certificate, issuer) in enumerate(pairwise(chain), start=2):
        try:
            certificate.verify_directly_issued_by(issuer)
        except (ValueError, TypeError, InvalidSignature, UnsupportedAlgorithm):
            wanted = certificate.issuer.rfc4514_string()
            yield (f"certificate {number} in {path} is {name_of(issuer)}, which did not issue the one before it, "
                   f"{name_of(certificate)}; expected its issuer, \"{wanted}\", or nothing more")
            return


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
