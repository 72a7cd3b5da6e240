"""Rules that say which certificate is meant, by what it holds: names, subject, key, or issuer and serial number.

Written as terms: `dns:ct1.hospital.example`, `uri:urn:dicom:ct1`, `ip:10.1.2.3`, `subject:CN=CT1`,
`issuer:O=Hospital CA`, `serial:1F2E`, `spki:<SHA-256 of the SubjectPublicKeyInfo in hexadecimal>`. Terms joined
by ` and ` must all hold; a list of rules is satisfied by any of them.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from ipaddress import ip_address

from cryptography import x509

from .session import PeerCertificate


@dataclass(frozen=True, slots=True)
class Term:
    """One condition on a certificate."""

    kind: str
    value: str

    def __str__(self) -> str:
        return f"{self.kind}:{self.value}"

    def matches(self, certificate: PeerCertificate) -> bool:
        return _KINDS[self.kind].matches(self.value, certificate)


@dataclass(frozen=True, slots=True)
class CertificateRule:
    """Terms that must all hold. Only a certificate that was verified against our trust roots is to be asked."""

    terms: tuple[Term, ...]

    def __str__(self) -> str:
        return " and ".join(map(str, self.terms))

    def matches(self, certificate: PeerCertificate) -> bool:
        return all(term.matches(certificate) for term in self.terms)

    @classmethod
    def parse(cls, text: str) -> CertificateRule:
        """Raises ValueError with what is expected."""
        terms = tuple(_parse_term(term.strip()) for term in re.split(r"\s+and\s+", text.strip()))
        if any(term.kind == "serial" for term in terms) and not any(term.kind == "issuer" for term in terms):
            raise ValueError("a serial number means something only with its issuer: issuer:CN=… and serial:…")
        return cls(terms)


@dataclass(frozen=True, slots=True)
class _Kind:
    """How one kind of term is written, made canonical, and compared."""

    expected: str
    canonical: Callable[[str], str]
    matches: Callable[[str, PeerCertificate], bool]


def _parse_term(text: str) -> Term:
    kind, colon, value = text.partition(":")
    kind, value = kind.strip(), value.strip()
    if not colon or kind not in _KINDS or not value:
        raise ValueError(f"{text!r} is no condition on a certificate; expected one of {', '.join(_KINDS)} and a colon")
    try:
        return Term(kind, _KINDS[kind].canonical(value))
    except ValueError:
        raise ValueError(f"{text!r} is no condition on a certificate; expected {_KINDS[kind].expected}") from None


def _dns(value: str) -> str:
    labels = value.rstrip(".").casefold()
    if not re.fullmatch(r"[a-z0-9_-]+(\.[a-z0-9_-]+)*", labels):
        raise ValueError
    return labels


def _hexadecimal(value: str) -> str:
    digits = value.replace(":", "").casefold()
    return f"{int(digits, 16):x}"


def _fingerprint(value: str) -> str:
    digits = value.replace(":", "").casefold()
    if not re.fullmatch(r"[0-9a-f]{64}", digits):
        raise ValueError
    return digits


def _attribute(value: str) -> str:
    """`CN=CT1` as RFC 4514 writes it."""
    name = x509.Name.from_rfc4514_string(value)
    if len(list(name)) != 1:
        raise ValueError
    return name.rfc4514_string()


@lru_cache(1024)
def _attributes(name: str) -> frozenset[str]:
    return frozenset(x509.Name([attribute]).rfc4514_string() for attribute in x509.Name.from_rfc4514_string(name))


def _has_attribute(value: str, name: str) -> bool:
    try:
        return value in _attributes(name)
    except ValueError:
        return False  # a name that its own text cannot give back is nobody's


# A certificate with a wildcard in a DNS name is not any one node: names are compared letter by letter.
_KINDS: dict[str, _Kind] = {
    "dns": _Kind("a DNS name", _dns, lambda value, peer: value in (name.casefold() for name in peer.dns_names)),
    "uri": _Kind("a URI", str, lambda value, peer: value in peer.uris),
    "ip": _Kind("an IP address", lambda text: str(ip_address(text)), lambda value, peer: value in peer.ip_addresses),
    "subject": _Kind(
        "one attribute such as CN=CT1", _attribute, lambda value, peer: _has_attribute(value, peer.subject)
    ),
    "issuer": _Kind(
        "one attribute such as CN=Hospital CA", _attribute, lambda value, peer: _has_attribute(value, peer.issuer)
    ),
    "serial": _Kind("a hexadecimal number", _hexadecimal, lambda value, peer: value == f"{peer.serial:x}"),
    "spki": _Kind("64 hexadecimal digits", _fingerprint, lambda value, peer: value == peer.spki_sha256),
}
