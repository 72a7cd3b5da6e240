"""PS3.15 B.12 requirement by requirement, and what a TLS policy claims, for the conformance statement."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator

from ...tls.policy import ClientCertificate, TLSPolicy, TLSVersion
from ...tls.revocation import CRLCheck
from ..config import DICOM_TLS_PORT, TLS, Config, Listener
from .text import Section, Table, codes, fair, good, poor, see

_SUITE = re.compile(r"(ECDHE|DHE)-(ECDSA|RSA)-(AES(?:128|256)-(?:GCM|CCM|CCM8)(?:-SHA\d+)?|CHACHA20-POLY1305)")
"""Suites that RFC 9325 §4.1 and §4.2 allow: forward secrecy and authenticated encryption."""

_REQUIREMENTS = (
    "Comply with BCP 195: RFC 8996 and RFC 9325",
    "Support TLS 1.2",
    "May support TLS 1.3",
    "A client that supports TLS 1.3 tries to negotiate it",
    "A server prefers TLS 1.3 if the client offers it",
    "Strict TLS, not an upgrade inside a plain connection",
    "A client tries TLS whether or not it is advertised",
    "Everything is encrypted and integrity protected; nothing NULL",
    "A server supports mutual authentication, and may be configured not to use it",
    "A client is encouraged to use mutual authentication",
    "DICOMweb over TLS has other ports than DIMSE over TLS",
    f"Port {DICOM_TLS_PORT}, dicom-tls, is recommended",
    "When an integrity check fails the connection is dropped as TLS says, and both sides issue an A-P-ABORT with an "
    "implementation-specific provider reason",
    "The conformance statement documents these reasons",
    "The conformance statement tells the ports and how keys are managed",
)


_REVOCATION = {
    CRLCheck.CHAIN: (good("met"), "the whole chain of a peer is looked up in revocation lists"),
    CRLCheck.LEAF: (fair("met in part"), "of a peer's chain only its own certificate is looked up in revocation lists"),
    CRLCheck.WAIVED: (fair("met in part"), "revocation of peers' certificates is not checked"),
    None: (good("met"), "no certificate of a peer is asked for, so none is looked up"),
}


def requirements(config: Config) -> Iterator[Section]:
    """PS3.15 B.12, one row a requirement, one column a [tls] section in use; nothing where there is no TLS."""
    used = tls_sections(config)
    if not used:
        return
    rows = list(zip(*(_met(config, tls) for tls in used), strict=True))
    yield Section("Requirements of PS3.15 B.12", (
        "The requirements of the BCP 195 RFC 8996, 9325 TLS Secure Transport Connection Profile in our words, and how "
        "this configuration meets them. B.12 describes what a product can do; a configuration may narrow it.",
        Table(("Requirement", *(f"[tls {tls.name}]" for tls in used)),
              tuple((requirement, *cells) for requirement, cells in zip(_REQUIREMENTS, rows, strict=True))),
    ))


def tls_sections(config: Config) -> tuple[TLS, ...]:
    """The [tls] sections that listeners use."""
    return tuple(dict.fromkeys(listener.tls for listener in config.listeners if listener.tls is not None))


def checked(tls: TLS) -> CRLCheck | None:
    """Which certificates of peers are looked up in revocation lists; None where none is asked for."""
    return tls.revocation_check if tls.client_certificate is not ClientCertificate.NONE else None


def claims_b12(tls: TLS) -> bool:
    """Whether nothing in the policy contradicts B.12."""
    policy = tls.policy
    return policy.minimum_version >= TLSVersion.TLS_1_2 and policy.security_level >= 2 and not _weak(policy)


def iana_name(suite: str) -> str:
    """The registered name of a cipher suite that OpenSSL names in its own way; as it is where the two agree."""
    match = _SUITE.fullmatch(suite)
    if match is None:
        return suite
    exchange, signature, cipher = match.groups()
    cipher = re.sub(r"^AES(\d+)", r"AES_\1", cipher).replace("CCM8", "CCM_8").replace("-", "_")
    return f"TLS_{exchange}_{signature}_WITH_{cipher}" + ("_SHA256" if cipher.startswith("CHACHA20") else "")


def versions(policy: TLSPolicy) -> str:
    """The TLS versions that a policy admits, in words."""
    return " and ".join(str(each) for each in TLSVersion
                        if policy.minimum_version <= each <= policy.maximum_version)


def _met(config: Config, tls: TLS) -> Iterator[str]:
    """One cell for each of `_REQUIREMENTS`."""
    policy = tls.policy
    listeners = [listener for listener in config.listeners if listener.tls == tls]
    weak = _weak(policy)
    if claims_b12(tls):
        mark, looked_up = _REVOCATION[checked(tls)]
        yield mark + ": TLS 1.2 and later, forward secrecy and authenticated encryption only; " + looked_up + \
            f" (RFC 9325 §7.5), {see(f'Revocation: [tls {tls.name}]')}"
    else:
        yield poor("not met") + ": " + (codes(map(iana_name, weak)) or "weaker than RFC 9325 recommends")
    yield good("met") if policy.minimum_version <= TLSVersion.TLS_1_2 \
        else fair("switched off") + ": this configuration admits TLS 1.3 only"
    has_13 = policy.maximum_version >= TLSVersion.TLS_1_3
    yield good("met") if has_13 else fair("switched off") + ": optional"
    yield "no client in this node"
    yield good("met") + ": the highest common version is taken" if has_13 else "TLS 1.3 is switched off"
    yield good("met") + ": TLS from the first byte, no upgrade"
    yield "no client in this node"
    yield poor("not met") if any("NULL" in suite for suite in policy.cipher_suites) \
        else good("met") + ": no such suite is admitted"
    yield {
        ClientCertificate.REQUIRED: good("met") + ": a client certificate is required",
        ClientCertificate.OPTIONAL: fair("met in part") + ": a client may do without",
        ClientCertificate.NONE: fair("switched off") + ": B.12 permits this; peers are not authenticated",
    }[policy.client_certificate]
    yield "no client in this node"
    yield good("met") + ": no DICOMweb here"
    yield _on_registered_port(listeners)
    yield good("met") + f": {see('A-P-ABORT')}, acceptor and requestor alike"
    yield good("met") + f": {see('Provider reasons')}, class integrity"
    yield good("met") + f": {see('TCP ports')}, {see(f'Key management: [tls {tls.name}]')}"


def _on_registered_port(listeners: Iterable[Listener]) -> str:
    others = [listener for listener in listeners if listener.port != DICOM_TLS_PORT or listener.endpoint is not None]
    if not others:
        return good("met")
    return fair("another port") + ": " + codes(others) + "; a recommendation only"


def _weak(policy: TLSPolicy) -> list[str]:
    """Suites that RFC 9325 says should not be used: no forward secrecy, no authenticated encryption, or DHE."""
    return [suite for suite in policy.cipher_suites
            if not (match := _SUITE.fullmatch(suite)) or match[1] == "DHE"]
