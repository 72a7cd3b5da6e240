"""What a TLS connection must be: named profiles as data (PS3.15 Annex B, BCP 195)."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from difflib import get_close_matches
from enum import Enum, IntEnum

from ..errors import ConfigurationError


class TLSVersion(IntEnum):
    """A protocol version as on the wire (RFC 8446 §4.2.1); nothing older may be negotiated (RFC 8996)."""

    TLS_1_2 = 0x0303
    TLS_1_3 = 0x0304


class ClientCertificate(Enum):
    """Whether the server asks the client for a certificate. B.12 has servers support mutual authentication."""

    REQUIRED = "required"
    OPTIONAL = "optional"
    NONE = "none"


@dataclass(frozen=True, slots=True)
class TLSPolicy:
    """Everything a profile fixes, in the names OpenSSL uses, each list in order of preference."""

    name: str
    title: str
    minimum_version: TLSVersion
    maximum_version: TLSVersion
    cipher_suites: tuple[str, ...]
    """For TLS 1.2."""
    tls13_cipher_suites: tuple[str, ...]
    groups: tuple[str, ...]
    signature_algorithms: tuple[str, ...]
    security_level: int
    client_certificate: ClientCertificate = ClientCertificate.REQUIRED
    alpn: bytes = b"dicom"
    """The one name in IANA's registry for the upper layer protocol over TLS."""

    def with_client_certificate(self, rule: ClientCertificate) -> TLSPolicy:
        """The same policy with another rule for client certificates (B.12: a server may be configured so)."""
        return replace(self, client_certificate=rule)


BCP195_RFC9325 = TLSPolicy(
    name="bcp195-rfc9325",
    title="BCP 195 RFC 8996, 9325 TLS Secure Transport Connection Profile (PS3.15 B.12)",
    minimum_version=TLSVersion.TLS_1_2,
    maximum_version=TLSVersion.TLS_1_3,
    # RFC 9325 §4.1 and §4.2: forward secrecy, AEAD only; DHE SHOULD NOT be used in TLS 1.2.
    cipher_suites=(
        "ECDHE-ECDSA-AES256-GCM-SHA384",
        "ECDHE-RSA-AES256-GCM-SHA384",
        "ECDHE-ECDSA-AES128-GCM-SHA256",
        "ECDHE-RSA-AES128-GCM-SHA256",
        "ECDHE-ECDSA-CHACHA20-POLY1305",
        "ECDHE-RSA-CHACHA20-POLY1305",
    ),
    tls13_cipher_suites=("TLS_AES_256_GCM_SHA384", "TLS_CHACHA20_POLY1305_SHA256", "TLS_AES_128_GCM_SHA256"),
    # A closed list also keeps the ClientHello in one packet: the hybrid groups OpenSSL adds make it 1.5 kB,
    # and old servers lose their way in that.
    groups=("X25519", "P-256", "P-384"),
    # RFC 9325 §4.5: SHA-256 or better; SHA-1 and MD5 MUST NOT (RFC 9155).
    signature_algorithms=(
        "ecdsa_secp256r1_sha256",
        "ecdsa_secp384r1_sha384",
        "ed25519",
        "rsa_pss_rsae_sha256",
        "rsa_pss_rsae_sha384",
        "rsa_pss_rsae_sha512",
        "rsa_pss_pss_sha256",
        "rsa_pss_pss_sha384",
        "rsa_pss_pss_sha512",
        "rsa_pkcs1_sha256",
        "rsa_pkcs1_sha384",
        "rsa_pkcs1_sha512",
    ),
    security_level=2,
)

PROFILES: dict[str, TLSPolicy] = {policy.name: policy for policy in (BCP195_RFC9325,)}
"""Name to profile; the first is the default."""


def profile(name: str) -> TLSPolicy:
    """The profile of that name, or ConfigurationError naming the nearest one."""
    try:
        return PROFILES[name]
    except KeyError:
        raise ConfigurationError(f"there is no TLS profile {name!r}; {did_you_mean(name, PROFILES)}") from None


def nearest(word: str, valid: Iterable[str]) -> str | None:
    """The valid word that `word` was probably meant to be, if any is near."""
    folded = {each.casefold(): each for each in valid}
    near = get_close_matches(word.casefold(), folded, n=1)
    return folded[near[0]] if near else None


def did_you_mean(word: str, valid: Iterable[str]) -> str:
    """Half a sentence that leads from an unknown word to the valid ones, the nearest first if one is near."""
    words = list(valid)
    expected = f"expected {'one of ' if len(words) > 1 else ''}{', '.join(words)}"
    near = nearest(word, words)
    return f"did you mean {near}? ({expected})" if near else expected
