"""PKCS #12 files, as many authorities and Windows hand out keys, taken apart into the PEM that the node reads."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.hazmat.primitives.serialization.pkcs12 import load_pkcs12

from ..errors import ConfigurationError
from .material import PrivateKey


@dataclass(frozen=True, slots=True)
class Contents:
    """What a file holds, in PEM; `authorities` is empty if it holds no self-signed certificate."""

    chain: bytes
    """The key's own certificate first, then its issuers without the root."""
    private_key: bytes = field(repr=False)
    """Not encrypted any more."""
    authorities: bytes


def read(path: str | Path, passphrase: Callable[[], bytes] | None = None) -> Contents:
    """Take the file apart; ConfigurationError if it cannot be opened, or lacks a key or its certificate."""
    try:
        content = Path(path).read_bytes()
    except OSError as error:
        raise ConfigurationError(f"{path} cannot be read: {error.strerror}; expected a PKCS #12 file") from None
    if content[:1] != b"\x30":
        raise ConfigurationError(f"{path} is no PKCS #12 file; expected one, often with the ending .p12 or .pfx")
    try:
        found = load_pkcs12(content, passphrase() if passphrase is not None else None)
    except (ValueError, UnsupportedAlgorithm, TypeError):
        hint = "the passphrase given is wrong" if passphrase is not None else "it needs a passphrase"
        raise ConfigurationError(
            f"{path} cannot be opened: {hint}, or the file is damaged; expected a PKCS #12 file and the passphrase "
            "that it was made with"
        ) from None
    if found.key is None or found.cert is None:
        missing = "private key" if found.key is None else "certificate for its key"
        raise ConfigurationError(f"{path} holds no {missing}; expected a private key with its certificate")
    if not isinstance(found.key, PrivateKey):
        raise ConfigurationError(f"{path} holds a key that TLS here does not use; expected RSA, ECDSA or Ed25519")
    others = [each.certificate for each in found.additional_certs]
    chain = _in_order(found.cert.certificate, others)
    return Contents(
        chain=_pem(chain),
        private_key=found.key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()),
        authorities=_pem([each for each in others if each.issuer == each.subject]),
    )


def _in_order(certificate: x509.Certificate, others: Sequence[x509.Certificate]) -> list[x509.Certificate]:
    """Each followed by its issuer, as far as they are there; the root is for peers to have, not for us to send."""
    chain = [certificate]
    left = [each for each in others if each.issuer != each.subject]
    while issuer := next((each for each in left if each.subject == chain[-1].issuer), None):
        left.remove(issuer)
        chain.append(issuer)
    return chain


def _pem(certificates: Sequence[x509.Certificate]) -> bytes:
    return b"".join(each.public_bytes(Encoding.PEM) for each in certificates)
