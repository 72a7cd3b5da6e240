"""The security chapter of the conformance statement: TLS, certificates and revocation as they are configured."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

from cryptography.hazmat.primitives.asymmetric import ec, rsa

from ...tls.authority import is_development_certificate
from ...tls.contexts import ServerConnectionCreator
from ...tls.judgement import CURVES, SMALLEST_RSA_KEY
from ...tls.material import SOON, KeyMaterial
from ...tls.policy import ClientCertificate, TLSPolicy, TLSVersion
from ...tls.resumption import KEYS_LAST
from ...tls.revocation import CRLCheck
from ...tls.usage import RECORDS_PER_KEY
from ..config import AE, DICOM_TLS_PORT, TLS, Certificate, Config, Listener
from .answers import seconds
from .identity import user_identity
from .requirements import checked, claims_b12, iana_name, tls_sections, versions
from .text import Bullets, Section, code, codes, facts, fair, good, poor, see, table

_ASKED = {
    ClientCertificate.REQUIRED: "A peer must show a certificate; without one the handshake fails.",
    ClientCertificate.OPTIONAL: "A peer may show a certificate; one that is shown is verified, and a peer without one "
                                "is not authenticated.",
    ClientCertificate.NONE: "A peer is not asked for a certificate and not authenticated.",
}


_NOT_REVOKED = {
    CRLCheck.CHAIN: ("Neither it nor any authority in its chain is revoked, by lists that are current.",),
    CRLCheck.LEAF: ("It is not revoked, by a list that is current.",),
    CRLCheck.WAIVED: (),
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
            f"Peers must reach the ports of {see('TCP ports')}. {_outward(config)} Certificates are judged by the "
            "clock of the operating system, which must be kept right by other means; no directory is asked.",
        )),
        _ports(config),
        *(_secure_transport(config, tls, key_material.get(tls.name), connections.get(tls.name)) for tls in used),
        user_identity(config),
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


def plain_listeners(config: Config) -> tuple[Listener, ...]:
    return tuple(listener for listener in config.listeners if listener.tls is None)


def responders(config: Config) -> tuple[str, ...]:
    """Where OCSP responses are fetched, as the option has it."""
    asked = (each.ocsp_responder for tls in tls_sections(config) for each in _certificates(tls))
    return tuple(dict.fromkeys(place for place in asked if place is not None))


def _certificates(tls: TLS) -> tuple[TLS | Certificate, ...]:
    """The sections whose certificates the node may show, the one for everyone first."""
    return tls, *(tls.named_certificates or ())


def _outward(config: Config) -> str:
    """What connections the node opens, in a sentence."""
    places = ["the one that the certificate names" if each == "certificate" else code(each)
              for each in responders(config)]
    peers = codes(f"{peer.host}:{peer.port}" for peer in config.peers if peer.host is not None)
    moves = f" For a C-MOVE it opens one to its destination, over TLS: {peers}." if peers else ""
    if not places:
        return f"The node opens no connection by itself{'' if moves else ' and needs no name server'}.{moves}"
    return "The node opens connections by itself only to OCSP responders, by HTTP, to renew what it staples: " \
        f"{', '.join(places)}; for a responder with a name it needs a name server.{moves}"


def _resumption(tls: TLS) -> str:
    """Whether sessions are resumed, and under which conditions."""
    if tls.resumption is None or tls.policy.maximum_version < TLSVersion.TLS_1_3:
        return "off, by ticket as by session cache: every connection makes a full handshake"
    life, key_life = (seconds(times * tls.resumption.total_seconds()) for times in (1, KEYS_LAST))
    return f"TLS 1.3 only, by tickets that are good for {life}, and never beyond the end of the peer's chain or of a " \
        "revocation list; always with a key exchange (psk_dhe_ke). Their key is made at random, is changed after " \
        f"{key_life} and at each reload, and never leaves the process."


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
                ("Narrowed by", codes(_narrowing(tls)) or "nothing: all of the profile is admitted"),
                ("Listeners", codes(listener.name for listener in config.listeners if listener.tls == tls)),
                ("Role", "TLS server; the node opens no TLS connection itself"),
                ("Verified", "at each start and reload, by handshakes in memory; if OpenSSL, as the system configures "
                 "it, does otherwise than this table, the configuration is not used"),
                ("Versions", f"{versions(policy)}; the highest that both sides speak is taken. SSL, TLS 1.0 and TLS "
                             "1.1 are never negotiated."),
                *_suites(policy),
                ("Groups for the key exchange", codes(policy.groups)),
                ("Signature algorithms", codes(policy.signature_algorithms)),
                ("Preference", "the server's order, which is the order above"),
                ("Security level of OpenSSL", str(policy.security_level)),
                ("Application protocol (ALPN)", f"{code(policy.alpn.decode())}; a client that offers only others is "
                 f"refused with alert 120 ({code('no_application_protocol')}), one that offers none is "
                 + ("refused as well, after the handshake" if tls.require_alpn else "accepted")),
                ("Server name (SNI)", _server_names(tls)),
                ("Renegotiation", "off; an attempt is refused"),
                ("Compression", "off"),
                ("Resumption", _resumption(tls)),
                ("Early data (0-RTT)", "off"),
                ("Use of one key", f"the association ends before AES-GCM has protected {RECORDS_PER_KEY['GCM']} "
                 "records with it (RFC 9325 §4.4), by A-ABORT between two operations; a warning comes before"),
                ("Post-handshake authentication", "off"),
            )),
            *(fair("Not enforced on this machine: ") + code(remark) for remark in remarks),
        )),
        _authentication(tls),
        _key_management(config, tls, material),
        _revocation(config, tls),
    ))


def _narrowing(tls: TLS) -> Iterator[str]:
    """The options that leave less than the profile."""
    for option in ("minimum-version", "maximum-version", "cipher-suites", "tls13-cipher-suites", "groups"):
        part = option.replace("-", "_")
        if getattr(tls.policy, part) != getattr(tls.profile, part):
            yield option


def _server_names(tls: TLS) -> str:
    """What becomes of the name that a client asks for."""
    others, alert = tls.named_certificates or (), f"refused with alert 112 ({code('unrecognized_name')})"
    if not others:
        return f"a name that is not in the certificate is {alert}" if tls.strict_server_names \
            else "noted; there is one certificate for every name"
    own, more = code(f"[tls {tls.name}]"), codes((f"[certificate {each.name}]" for each in others), " or ")
    unknown = f"is {alert}" if tls.strict_server_names else f"gets that of {own}"
    return f"chooses the certificate of {own} or {more} by the DNS names in it, a wildcard standing for the " \
        f"left-most label. A client that asks for no name gets that of {own}; one that asks for a name in none of " \
        f"them {unknown}"


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
        "It is meant for TLS client authentication, if it has an extended key usage, and for digitalSignature, if it "
        "has a key usage.",
        f"Keys in the chain are RSA of {SMALLEST_RSA_KEY} bits or more, or ECDSA on {_or(CURVES)}, or Ed25519; "
        "signatures in it use SHA-256 or better.",
        "It can be read in full; one that OpenSSL accepts and a stricter reader does not is refused.",
        *_NOT_REVOKED[tls.revocation_check],
    )
    return Section(f"Mutual authentication: [tls {tls.name}]", (
        f"Client certificate: {mark(rule.value)}. {_ASKED[rule]}",
        *(() if rule is ClientCertificate.NONE else ("A certificate that is shown is accepted if:", Bullets(checks))),
        "The name in a client's certificate is compared with its address or AE title only where a "
        f"{code('[peer]')} section says so, see {see('Association level security')}.",
    ))


def _key_management(config: Config, tls: TLS, material: KeyMaterial | None) -> Section:
    rows = [
        *(row for section in _certificates(tls) for row in _files(config, section)),
        ("Trust roots", f"PEM file {_shown(config, tls.trust_roots)}" if tls.trust_roots is not None
         else "none, as no client certificate is asked for"),
        ("Key generation and enrolment", "outside this product, by the site's authority; "
         f"{code('dimsetls pki import-p12')} takes PKCS #12 files apart"),
        ("Change", "on SIGHUP the files are read again, revocation lists too: new connections use them, established "
                   "associations go on; files that cannot be used leave the old ones in force. Several authorities may "
                   "be trusted at once, so that one can follow the other"),
        ("Checks before use", "the key belongs to the certificate, and each certificate was issued by the next; RSA of "
                              f"{SMALLEST_RSA_KEY} bits or more, ECDSA on {_or(CURVES)}, or Ed25519; SHA-256 or "
                              "better; valid now; meant for digitalSignature and TLS server authentication, if it has "
                              "a key usage and an extended one"),
        ("Warning", f"at each start and reload, from {SOON.days} days before a certificate or trust root ends"),
        ("Development certificates", "accepted everywhere: " + poor("not for clinical use")
         if tls.development_certificates_outside_loopback else "refused outside loopback addresses"),
    ]
    return Section(f"Key management: [tls {tls.name}]", (
        facts(rows), *(() if material is None else (facts(_certificate(material), ("Certificate in use", "")),)),
    ))


def _files(config: Config, section: TLS | Certificate) -> Iterator[tuple[str, str]]:
    """Where one certificate of ours and its key are."""
    of = _of(section)
    secret = section.private_key_passphrase
    if secret is None:
        protection = "not encrypted"
    elif secret.startswith("credential:"):
        protection = f"may be encrypted, its passphrase is the systemd credential {code(secret.partition(':')[2])}"
    else:
        protection = f"may be encrypted, its passphrase is in {_shown(config, secret)}, as protected as the key"
    yield f"Certificate and chain{of}", f"PEM file {_shown(config, section.certificate)}"
    yield f"Private key{of}", (f"PEM file {_shown(config, section.private_key)}, {protection}; only its owner may read "
                               "it: a key that others can read stops the start")


def _of(section: TLS | Certificate) -> str:
    return f" of {code(f'[certificate {section.name}]')}" if isinstance(section, Certificate) else ""


def _shown(config: Config, path: object) -> str:
    """A path, relative to the configuration where it lies beside or below it."""
    return code(str(path).removeprefix(f"{config.path.absolute().parent}/"))


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


def _revocation(config: Config, tls: TLS) -> Section:
    check = checked(tls)
    lists = ", ".join(_shown(config, path) for path in tls.revocation_lists or ())
    rows = [("Certificates of peers", {
        CRLCheck.CHAIN: f"{good('all of the chain')} is looked up in revocation lists (CRL)",
        CRLCheck.LEAF: f"{fair('only the own certificate')} of a peer is looked up in revocation lists (CRL), no "
                       "authority's",
        CRLCheck.WAIVED: f"{poor('not checked')}, a risk that the configuration accepts in words. A certificate is "
                         f"withdrawn by short lifetimes, or by taking its authority out of {code('trust-roots')}, or, "
                         f"where AE titles are bound to certificates, its rule out of the {code('[peer]')} section, "
                         "and reloading",
        None: "none is asked for, so there is none to check",
    }[check])]
    if check in (CRLCheck.CHAIN, CRLCheck.LEAF):
        rows += [
            ("Lists", f"{lists}, in PEM or DER; read at the start and on SIGHUP, not fetched by the node"),
            ("What a list must be", "complete, signed by a known authority with SHA-256 or better, current, and with "
                                    "an end (nextUpdate); one that is not stops the start"),
            ("A list that is missing or has gone stale", "peers of its authority are refused, with alert 48 "
             f"({code('unknown_ca')}) or 45 ({code('certificate_expired')}); a warning comes before, at each start and "
             "reload"),
        ]
    rows += [(f"Our certificate{_of(section)}", _stapled(config, section)) for section in _certificates(tls)]
    return Section(f"Revocation: [tls {tls.name}]", (facts(rows),))


def _stapled(config: Config, section: TLS | Certificate) -> str:
    """What is stapled to one certificate of ours (RFC 6066 §8)."""
    if section.ocsp_response is not None:
        source = f"the file {_shown(config, section.ocsp_response)}, which something else renews"
    elif section.ocsp_responder is not None:
        place = section.ocsp_responder
        source = f"{'the responder that it names' if place == 'certificate' else code(place)}, asked by HTTP"
    else:
        return "no OCSP response is stapled"
    return f"an OCSP response is stapled for clients that ask, from {source}; it is judged before use, and renewed " \
        "before its end; none is sent if there is none that is good"


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
