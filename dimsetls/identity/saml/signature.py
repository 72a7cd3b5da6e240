"""The signature of a SAML assertion, checked with the certificates that the operator has pinned, and no others.

What is read afterwards is what signxml gives back: the canonical octets that were verified, parsed once more.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from lxml import etree
from signxml.algorithms import DigestAlgorithm, SignatureMethod
from signxml.exceptions import SignXMLException
from signxml.verifier import SignatureConfiguration, XMLVerifier

from ...errors import ConfigurationError, IdentityDenied
from ...tls.judgement import SMALLEST_CURVE, SMALLEST_RSA_KEY
from ...tls.material import SOON, name_of
from .structure import DIGEST_METHODS, SIGNATURE_METHODS, Element, Outline, parser

logging.getLogger("signxml").setLevel(logging.INFO)  # with DEBUG it writes assertions to the log

_RULES = SignatureConfiguration(
    location="./",
    expect_references=1,
    signature_methods=frozenset(SignatureMethod(method) for method in SIGNATURE_METHODS),
    digest_algorithms=frozenset(DigestAlgorithm(method) for method in DIGEST_METHODS),
)


@dataclass(frozen=True, slots=True)
class PinnedCertificates:
    """The certificates with one of whose keys an identity provider signs: several while it changes its key."""

    certificates: tuple[x509.Certificate, ...]

    @classmethod
    def load(cls, paths: Iterable[Path], now: datetime) -> PinnedCertificates:
        """Read PEM files; ConfigurationError with every problem.

        An outdated one beside a good one is let pass, as two generations lie side by side while keys are changed.
        """
        problems: list[str] = []
        certificates = {certificate: path for path in paths for certificate in _read(path, problems)}
        is_usable = any(_is_current(certificate, now) for certificate in certificates)
        for certificate, path in certificates.items():
            what = f"certificate {name_of(certificate)} in {path}"
            problems += [f"{what} {objection}" for objection in _weak(certificate)]
            if not is_usable:
                problems.append(f"{what} {_dates(certificate)}; expected at least one that is valid now")
        if not certificates and not problems:
            problems.append("no certificate is configured; expected the one that the identity provider signs with")
        if problems:
            raise ConfigurationError(*problems)
        return cls(tuple(certificates))

    def warnings(self, now: datetime) -> tuple[str, ...]:
        """A sentence for each certificate that ends soon, or is of no use beside a good one."""
        return tuple(
            f"pinned certificate {name_of(certificate)} {_dates(certificate)}: "
            "see that the identity provider's next one is beside it in time"
            for certificate in self.certificates
            if not _is_current(certificate, now) or certificate.not_valid_after_utc - now < SOON
        )

    def verify(self, outline: Outline, now: datetime) -> tuple[Element, str]:
        """The assertion as it was signed, and the subject of the certificate. Raises IdentityDenied."""
        current = [certificate for certificate in self.certificates if _is_current(certificate, now)]
        if not current:
            raise IdentityDenied("every certificate that is pinned for the issuer is outdated, expected one valid now")
        for certificate in current:
            if (signed := _signed(outline, certificate)) is not None:
                return signed, name_of(certificate)
        raise IdentityDenied(
            f"the signature is not good with {' or '.join(map(name_of, current))}: the assertion was changed, "
            f"or signed with another key", is_security_alert=True,
        )  # fmt: skip


def _signed(outline: Outline, certificate: x509.Certificate) -> Element | None:
    try:
        result = XMLVerifier().verify(
            outline.root, x509_cert=certificate, expect_config=_RULES, id_attribute="ID", parser=parser(),
            validate_schema=False,  # the outline is stricter, but for prefix lists in CanonicalizationMethod
        )
    except (SignXMLException, etree.LxmlError, ValueError):
        return None
    assert not isinstance(result, list)
    signed = result.signed_xml
    if signed is None or signed.tag != outline.root.tag or signed.get("ID") != outline.identifier:
        return None
    return signed


def _read(path: Path, problems: list[str]) -> list[x509.Certificate]:
    try:
        return x509.load_pem_x509_certificates(path.read_bytes())
    except OSError as error:
        problems.append(f"certificate file {path} cannot be read: {error.strerror}; expected a PEM file")
    except (ValueError, UnsupportedAlgorithm):
        problems.append(f"certificate file {path} holds no usable certificate; expected one or more in PEM")
    return []


def _weak(certificate: x509.Certificate) -> Iterator[str]:
    """How the certificate itself is signed does not matter: it is pinned."""
    try:
        key: object = certificate.public_key()
    except (ValueError, UnsupportedAlgorithm):
        key = None
    if isinstance(key, rsa.RSAPublicKey):
        if key.key_size < SMALLEST_RSA_KEY:
            yield f"has an RSA key of {key.key_size} bits; expected {SMALLEST_RSA_KEY} or more"
    elif isinstance(key, ec.EllipticCurvePublicKey):
        if key.key_size < SMALLEST_CURVE:
            yield f"has a key on curve {key.curve.name}; expected one of {SMALLEST_CURVE} bits or more"
    else:
        yield "has a key that signs no assertion here; expected RSA or ECDSA"


def _dates(certificate: x509.Certificate) -> str:
    start, end = certificate.not_valid_before_utc, certificate.not_valid_after_utc
    return f"is valid from {start:%Y-%m-%d} to {end:%Y-%m-%d}"


def _is_current(certificate: x509.Certificate, now: datetime) -> bool:
    return certificate.not_valid_before_utc <= now <= certificate.not_valid_after_utc

