"""The security chapter of the conformance statement: TLS as configured, and PS3.15 B.12 requirement by requirement."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping

from cryptography.hazmat.primitives.asymmetric import ec, rsa

from ..tls.authority import is_development_certificate
from ..tls.contexts import ServerConnectionCreator
from ..tls.judgement import CURVES, SMALLEST_RSA_KEY
from ..tls.material import KeyMaterial
from ..tls.policy import ClientCertificate, TLSPolicy, TLSVersion
from .config import AE, DICOM_TLS_PORT, TLS, Config, Listener
from .conformance_text import Bullets, Section, Table, code, codes, facts, fair, good, poor, see, table

_SUITE = re.compile(r"(ECDHE|DHE)-(ECDSA|RSA)-(AES(?:128|256)-(?:GCM|CCM|CCM8)(?:-SHA\d+)?|CHACHA20-POLY1305)")
"""Suites that RFC 9325 §4.1 and §4.2 allow: forward secrecy and authenticated encryption."""

_ASKED = {
    ClientCertificate.REQUIRED: "A peer must show a certificate; without one the handshake fails.",
    ClientCertificate.OPTIONAL: "A peer may show a certificate; one that is shown is verified, and a peer without one "
                                "is not authenticated.",
    ClientCertificate.NONE: "A peer is not asked for a certificate and not authenticated.",
}


def security(
    config: Config, key_material: Mapping[str, KeyMaterial], connections: Mapping[str, ServerConnectionCreator]
) -> Section:
    """All of the chapter; what was loaded is described as far as it is given."""
    used = tls_sections(config)
    plain = plain_listeners(config)
    protected = "Every association" if not plain else \
        f"Except on the listeners {codes(each.name for each in plain)}, which are {poor('not protected')}, every " \
        "association"
    return Section("Security", (
        f"{protected} is protected by TLS from its first byte. There is no upgrade from plain DICOM; a peer of a TLS "
        "port that speaks anything else is disconnected, and the log names what it spoke.",
        Section("External network requirements", (
            f"Peers must reach the ports of {see('TCP ports')}; the node opens no connection by itself and needs no "
            "name server, directory or time server. Certificates are judged by the clock of the operating system, "
            "which must be kept right by other means.",
        )),
        _ports(config),
        *(_secure_transport(config, tls, key_material.get(tls.name), connections.get(tls.name)) for tls in used),
        Section("User identity", (
            "User identity negotiation (sub-item 58H, PS3.7 D.3.3.7) is not supported: an identity that a peer sends "
            "is neither verified nor answered, and no association is rejected for it or for want of it. A positive "
            "response is never sent. None of the profiles PS3.15 B.4 to B.7 is claimed.",
        )),
        _association_level(config),
        Section("Other security profiles", (Bullets((
            "Audit trail (PS3.15 A.5, IHE ATNA): not supported. Associations, refusals and TLS failures are written to "
            "the log, a certificate that claims another's AE title as a security alert.",
            "DICOMweb: not offered, so no port is shared with it.",
            "Digital signatures, attribute confidentiality, media security: not supported. Signatures in data sets are "
            "kept as they are and not verified.",
            "Data at rest is not encrypted. Files are readable for their owner and group only.",
        )),)),
    ))


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


def plain_listeners(config: Config) -> tuple[Listener, ...]:
    return tuple(listener for listener in config.listeners if listener.tls is None)


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


def _ports(config: Config) -> Section:
    def rows() -> Iterator[tuple[str, ...]]:
        for listener in config.listeners:
            registered = " (registered as dicom-tls)" if listener.port == DICOM_TLS_PORT else ""
            port = code(listener.endpoint) if listener.endpoint is not None else (
                f"{listener.port}{registered}" if listener.port else "any free one, chosen at the start")
            where = "as the endpoint says" if listener.endpoint is not None else code(listener.interface)
            protocol = "DIMSE over TLS" if listener.tls is not None else poor("DIMSE without TLS")
            yield code(listener.name), port, where, protocol, code(listener.tls.name) if listener.tls else "none"

    return Section("TCP ports", (
        "Ports are set by the configuration; those of this one are:",
        table("Listener | Port | Address | Protocol | TLS", rows()),
    ))


def _secure_transport(
    config: Config, tls: TLS, material: KeyMaterial | None, connection: ServerConnectionCreator | None
) -> Section:
    policy = tls.policy
    claim = f"Claimed: {policy.title}. {see('Requirements of PS3.15 B.12')} has it requirement by requirement."
    if not claims_b12(tls):
        claim = f"Configured: {policy.title}. Conformance to PS3.15 B.12 is {poor('not claimed')} for it."
    elif policy.cannot:
        claim = f"Claimed {fair('in part')}: {policy.title}. What is missing is said below."
    not_enforced = connection.not_enforced if connection is not None else ()
    remarks = [remark for remark in not_enforced if remark not in policy.cannot]
    return Section(f"Secure transport connection: [tls {tls.name}]", (
        claim,
        *((Bullets(policy.cannot),) if policy.cannot else ()),
        Section(f"Negotiation: [tls {tls.name}]", (
            facts((
                ("Profile", code(policy.name)),
                ("Listeners", codes(listener.name for listener in config.listeners if listener.tls == tls)),
                ("Role", "TLS server; the node opens no TLS connection itself"),
                ("Versions", f"{versions(policy)}; the highest that both sides speak is taken. SSL, TLS 1.0 and TLS "
                             "1.1 are never negotiated."),
                *_suites(policy),
                ("Groups for the key exchange", codes(policy.groups)),
                ("Signature algorithms", codes(policy.signature_algorithms)),
                ("Preference", "the server's order, which is the order above"),
                ("Security level of OpenSSL", str(policy.security_level)),
                ("Application protocol (ALPN)", f"{code(policy.alpn.decode())}; a client that offers only others is "
                 f"refused with alert 120 ({code('no_application_protocol')}), one that offers none is accepted"),
                ("Server name (SNI)", "accepted and noted; there is one certificate, so no name is refused"),
                ("Renegotiation", "off; an attempt is refused"),
                ("Compression", "off"),
                ("Resumption", "off, by ticket as by session cache: every connection makes a full handshake"),
                ("Early data (0-RTT)", "off"),
                ("Post-handshake authentication", "off"),
            )),
            *(fair("Not enforced on this machine: ") + code(remark) for remark in remarks),
        )),
        _authentication(tls),
        _key_management(config, tls, material),
        _revocation(tls),
    ))


def _suites(policy: TLSPolicy) -> Iterator[tuple[str, str]]:
    if policy.maximum_version >= TLSVersion.TLS_1_3:
        yield "Cipher suites of TLS 1.3", codes(policy.tls13_cipher_suites)
    if policy.minimum_version <= TLSVersion.TLS_1_2:
        yield "Cipher suites of TLS 1.2", codes(map(iana_name, policy.cipher_suites))


def _authentication(tls: TLS) -> Section:
    rule = tls.client_certificate
    mark = {ClientCertificate.REQUIRED: good, ClientCertificate.OPTIONAL: fair, ClientCertificate.NONE: poor}[rule]
    checks = (
        "It is valid at the time of the handshake.",
        f"Its chain leads to one of the trust roots in {code('trust-roots')}, which are all that is trusted.",
        "It is meant for TLS client authentication, if it has an extended key usage.",
        f"Keys in the chain are RSA of {SMALLEST_RSA_KEY} bits or more, or ECDSA on {_or(CURVES)}, or Ed25519; "
        "signatures in it use SHA-256 or better.",
        "It can be read in full; one that OpenSSL accepts and a stricter reader does not is refused.",
    )
    return Section(f"Mutual authentication: [tls {tls.name}]", (
        f"Client certificate: {mark(rule.value)}. {_ASKED[rule]}",
        *(() if rule is ClientCertificate.NONE else ("A certificate that is shown is accepted if:", Bullets(checks))),
        "The name in a client's certificate is compared with its address or AE title only where a "
        f"{code('[peer]')} section says so, see {see('Association level security')}.",
    ))


def _key_management(config: Config, tls: TLS, material: KeyMaterial | None) -> Section:
    where = config.path.absolute().parent

    def shown(path: object) -> str:
        return code(str(path).removeprefix(f"{where}/"))

    roots = f"PEM file {shown(tls.trust_roots)}" if tls.trust_roots is not None \
        else "none, as no client certificate is asked for"
    rows = [
        ("Certificate and chain", f"PEM file {shown(tls.certificate)}"),
        ("Private key", f"PEM file {shown(tls.private_key)}, which only its owner may read; a key that others can read "
                        "stops the start"),
        ("Trust roots", roots),
        ("Key generation and enrolment", "outside this product, by the site's authority"),
        ("Change", "on SIGHUP the files are read again: new connections use them, established associations go on; "
                   "files that cannot be used leave the old ones in force. Several authorities may be trusted at once"),
        ("Checks before use", f"the key belongs to the certificate; RSA of {SMALLEST_RSA_KEY} bits or more, ECDSA on "
                              f"{_or(CURVES)}, or Ed25519; SHA-256 or better; valid now"),
        ("Development certificates", "accepted everywhere: " + poor("not for clinical use")
         if tls.development_certificates_outside_loopback else "refused outside loopback addresses"),
    ]
    return Section(f"Key management: [tls {tls.name}]", (
        facts(rows), *(() if material is None else (facts(_certificate(material), ("Certificate in use", "")),)),
    ))


def _certificate(material: KeyMaterial) -> Iterator[tuple[str, str]]:
    certificate = material.certificate
    yield "Subject", code(certificate.subject.rfc4514_string())
    yield "Issuer", code(certificate.issuer.rfc4514_string())
    yield "Valid until", f"{certificate.not_valid_after_utc:%Y-%m-%d %H:%M} UTC"
    key = certificate.public_key()
    match key:
        case rsa.RSAPublicKey():
            kind = f"RSA, {key.key_size} bits"
        case ec.EllipticCurvePublicKey():
            kind = f"ECDSA, {key.curve.name}"
        case _:
            kind = "Ed25519"
    yield "Key", kind
    yield "Certificates sent", str(len(material.chain))
    if is_development_certificate(certificate):
        yield "Purpose", poor("development, not for clinical use")


def _revocation(tls: TLS) -> Section:
    return Section(f"Revocation: [tls {tls.name}]", (
        f"Revocation is {poor('not checked')}: neither certificate revocation lists nor OCSP are consulted, and no "
        "OCSP response is stapled to our certificate. A certificate is withdrawn by short lifetimes, or by taking its "
        f"authority out of {code('trust-roots')}, or, where AE titles are bound to certificates, its rule out of the "
        f"{code('[peer]')} section, and reloading.",
    ))


def _association_level(config: Config) -> Section:
    reached = tuple(dict.fromkeys(ae for listener in config.listeners for ae in listener.aes))

    def rows() -> Iterator[tuple[str, ...]]:
        for ae in reached:
            for peer in ae.peers or ():
                addresses = "anywhere" if peer.addresses is None else codes(peer.addresses)
                bound = "any" if peer.certificates is None else codes(peer.certificates, " or ")
                yield code(ae.title), code(peer.ae_title), addresses, bound
            if ae.peers is None:
                yield code(ae.title), "any", "anywhere", "any"
                for peer in config.peers:
                    if peer.certificates is not None:
                        yield code(ae.title), code(peer.ae_title), "anywhere", codes(peer.certificates, " or ")

    return Section("Association level security", (
        "Who may open an association, once TLS has let it through; any certificate is one that TLS accepts, or none "
        "where none is required. Anyone else is rejected, see "
        f"{see('Association acceptance and A-ASSOCIATE-RJ')}. A calling AE title with a certificate rule is bound to "
        "those certificates; another certificate that claims it is rejected and logged as a security alert.",
        table("Called AE | Calling AE title | From | Certificate", rows()),
    ))


def _met(config: Config, tls: TLS) -> Iterator[str]:
    """One cell for each of `_REQUIREMENTS`."""
    policy = tls.policy
    listeners = [listener for listener in config.listeners if listener.tls == tls]
    weak = _weak(policy)
    yield fair("met in part") + ": TLS 1.2 and later, forward secrecy and authenticated encryption only; revocation " \
        f"(RFC 9325 §7.5) is not checked, {see(f'Revocation: [tls {tls.name}]')}" if claims_b12(tls) \
        else poor("not met") + ": " + (codes(map(iana_name, weak)) or "the policy is weaker than RFC 9325 recommends")
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


def _on_registered_port(listeners: Iterable[Listener]) -> str:
    others = [listener for listener in listeners if listener.port != DICOM_TLS_PORT or listener.endpoint is not None]
    if not others:
        return good("met")
    return fair("another port") + ": " + codes(others) + "; a recommendation only"


def _weak(policy: TLSPolicy) -> list[str]:
    """Suites that RFC 9325 says should not be used: no forward secrecy, no authenticated encryption, or DHE."""
    return [suite for suite in policy.cipher_suites
            if not (match := _SUITE.fullmatch(suite)) or match[1] == "DHE"]


def _or(names: Iterable[str]) -> str:
    return codes(names, " or ")


def callers(config: Config, ae: AE) -> str:
    """Who may call this AE, in words."""
    if ae.peers is not None:
        return codes(peer.ae_title for peer in ae.peers)
    secured = all(
        listener.tls is not None and listener.tls.client_certificate is ClientCertificate.REQUIRED
        for listener in config.listeners if ae in listener.aes
    )
    return "anyone whose certificate is accepted" if secured else poor("anyone, also without a certificate")
