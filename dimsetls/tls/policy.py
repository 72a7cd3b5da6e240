"""What a TLS connection must be: named profiles as data (PS3.15 Annex B, BCP 195)."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from enum import Enum, IntEnum

from ..errors import ConfigurationError


class TLSVersion(IntEnum):
    """A protocol version as on the wire (RFC 8446 §4.2.1); nothing older may be negotiated (RFC 8996)."""

    TLS_1_2 = 0x0303
    TLS_1_3 = 0x0304

    def __str__(self) -> str:
        return f"TLS 1.{self - 0x0301}"


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
    """For TLS 1.2; none where the policy leaves TLS 1.2 out, and so it is with those of TLS 1.3."""
    tls13_cipher_suites: tuple[str, ...]
    groups: tuple[str, ...]
    signature_algorithms: tuple[str, ...]
    security_level: int
    client_certificate: ClientCertificate = ClientCertificate.REQUIRED
    alpn: bytes = b"dicom"
    """The one name in IANA's registry for the upper layer protocol over TLS."""
    cannot: tuple[str, ...] = ()
    """What the profile asks for and OpenSSL does not have, a sentence each."""

    @property
    def is_legacy(self) -> bool:
        """Whether it is weaker than RFC 9325 recommends, so that its name alone must not turn it on."""
        return self.name.startswith(LEGACY)

    def with_client_certificate(self, rule: ClientCertificate) -> TLSPolicy:
        """The same policy with another rule for client certificates (B.12: a server may be configured so)."""
        return replace(self, client_certificate=rule)

    def narrow(
        self,
        *,
        minimum_version: TLSVersion | None = None,
        maximum_version: TLSVersion | None = None,
        cipher_suites: Sequence[str] = (),
        tls13_cipher_suites: Sequence[str] = (),
        groups: Sequence[str] = (),
    ) -> TLSPolicy:
        """The same policy with less in it, in the order given; what is not given stays.

        Raises ConfigurationError with every value that would widen it, and if nothing is left; each problem begins with
        the keyword that it is with.
        """
        low = minimum_version or self.minimum_version
        high = maximum_version or self.maximum_version
        problems = [*self._beyond(low, high, "maximum_version" if minimum_version is None else "minimum_version")]
        chosen: dict[str, tuple[str, ...]] = {}
        for part, wanted, version in (
            ("cipher_suites", cipher_suites, TLSVersion.TLS_1_2),
            ("tls13_cipher_suites", tls13_cipher_suites, TLSVersion.TLS_1_3),
            ("groups", groups, low),
        ):
            listed: tuple[str, ...] = getattr(self, part)
            problems += [
                f"{part}: {value!r} is not in the TLS profile {self.name}, which can be narrowed and not widened; "
                f"{did_you_mean(value, listed) if listed else 'expected none, as it has none'}"
                for value in wanted if value not in listed
            ]
            if low <= version <= high:
                chosen[part] = tuple(dict.fromkeys(wanted)) or listed
            elif wanted and not problems:
                problems.append(f"{part}: {', '.join(wanted)} cannot be used, as {version} is left out by the "
                                "versions; expected the one or the other")
            else:
                chosen[part] = ()
        if problems:
            raise ConfigurationError(*problems)
        return replace(self, minimum_version=low, maximum_version=high, **chosen)  # type: ignore[arg-type]

    def _beyond(self, low: TLSVersion, high: TLSVersion, given: str) -> Iterator[str]:
        if low < self.minimum_version:
            yield (f"minimum_version: {low} is below that of the TLS profile {self.name}; "
                   f"expected {self.minimum_version} or above")
        if high > self.maximum_version:
            yield (f"maximum_version: {high} is above that of the TLS profile {self.name}; "
                   f"expected {self.maximum_version} or below")
        if low > high:
            yield f"{given}: {low} as the least and {high} as the highest version leave none; expected a range"


LEGACY = "legacy-"
"""How the name of a profile begins that needs a second switch."""


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

# A configuration of B.12: the product speaks TLS 1.2 as well, the site has no peer that needs it.
TLS13_ONLY = replace(
    BCP195_RFC9325.narrow(minimum_version=TLSVersion.TLS_1_3),
    name="tls13-only",
    title="BCP 195 RFC 8996, 9325 TLS Secure Transport Connection Profile (PS3.15 B.12), TLS 1.3 only",
)

BCP195_RFC9325_MODIFIED = replace(
    BCP195_RFC9325,
    name="bcp195-rfc9325-modified",
    title="Modified BCP 195 RFC 8996, 9325 TLS Secure Transport Connection Profile (PS3.15 B.13), as far as OpenSSL "
          "has its suites",
    cipher_suites=(
        *BCP195_RFC9325.cipher_suites,
        "ECDHE-ECDSA-AES256-CCM",
        "ECDHE-ECDSA-AES128-CCM",
    ),
    tls13_cipher_suites=(*BCP195_RFC9325.tls13_cipher_suites, "TLS_AES_128_CCM_SHA256"),
    cannot=(
        "PS3.15 B.13 asks a server for TLS_AES_128_CCM_8_SHA256, TLS_ECDHE_ECDSA_WITH_AES_256_CCM_8 and "
        "TLS_ECDHE_ECDSA_WITH_AES_128_CCM_8, which OpenSSL offers only at a security level that lets in weak keys as "
        "well: they are left out, so the claim of a B.13 server is not complete",
        "PS3.15 B.13 allows Camellia-GCM suites, which OpenSSL does not have: they are left out",
        "PS3.15 B.13 allows DHE suites, which RFC 9325 §4.1 advises against: they are left out",
    ),
)

# RFC 9325 §4.1 advises against DHE in TLS 1.2; B.10 and B.11 made it mandatory, so some peers have nothing else.
LEGACY_BCP195_ND = replace(
    BCP195_RFC9325,
    name=f"{LEGACY}bcp195-nd",
    title="Non-Downgrading BCP 195 TLS Secure Transport Connection Profile (PS3.15 B.10, retired), for peers of B.9 "
          "to B.11",
    cipher_suites=(
        *BCP195_RFC9325.cipher_suites,
        "DHE-RSA-AES256-GCM-SHA384",
        "DHE-RSA-AES128-GCM-SHA256",
    ),
    # RFC 7919: who offers any of these in TLS 1.2 is given DHE with one of them, or none.
    groups=(*BCP195_RFC9325.groups, "ffdhe2048", "ffdhe3072"),
    cannot=(
        "PS3.15 B.9 (retired) lets a peer go down to TLS 1.0, which RFC 8996 forbids: TLS 1.2 is the least here",
        "PS3.15 B.11 (retired) allows Camellia-GCM suites, which OpenSSL does not have: they are left out",
    ),
)

PROFILES: dict[str, TLSPolicy] = {
    policy.name: policy for policy in (BCP195_RFC9325, BCP195_RFC9325_MODIFIED, TLS13_ONLY, LEGACY_BCP195_ND)
}
"""Name to profile; the first is the default."""


def profile(name: str) -> TLSPolicy:
    """The profile of that name, or ConfigurationError naming the nearest one."""
    try:
        return PROFILES[name]
    except KeyError:
        raise ConfigurationError(f"there is no TLS profile {name!r}; {did_you_mean(name, PROFILES)}") from None


def nearest(word: str, valid: Iterable[str]) -> str | None:
    """The valid word that `word` was probably meant to be, if any is near."""
    from difflib import get_close_matches  # for who makes a mistake

    folded = {each.casefold(): each for each in valid}
    near = get_close_matches(word.casefold()[:200], folded, n=1)  # its time grows with the square of the length
    return folded[near[0]] if near else None


def did_you_mean(word: str, valid: Iterable[str]) -> str:
    """Half a sentence that leads from an unknown word to the valid ones, the nearest first if one is near."""
    words = list(valid)
    expected = f"expected {'one of ' if len(words) > 1 else ''}{', '.join(words)}"
    near = nearest(word, words)
    return f"did you mean {near}? ({expected})" if near else expected
