"""What is to be said of a peer, and done about it; pure: observations in, sentences out.

What the standards forbid (shall, MUST) is a fault and costs conformance; what they advise against (SHOULD) is a
warning; the rest is a note. Section numbers are those of RFC 9325 where no other document is named.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import timedelta
from enum import Enum

from ...tls.flights import EXTENDED_MASTER_SECRET, RENEGOTIATION_INFO
from ...uids import VERIFICATION
from .hello import (
    NULL_COMPRESSION,
    TLS_1_2,
    TLS_1_3,
    SuiteClass,
    version_name,
)
from .inference import (
    demands_certificate,
    downgrades,
    encrypts_then_macs,
    example,
    preferred_class,
    refusal_words,
    suite_states,
    took_association,
    version_states,
)
from .observations import Answer, CertificateSeen, Ending, Observations, SessionSeen

LEAST_BITS = {"RSA": 2048, "ECDSA": 224, "DSA": 1 << 16}
"""Smallest keys (§4.5); DSA has no place in TLS 1.3 and none in the profile."""
LEAST_DH_BITS = 2048
SOON = timedelta(days=30)
"""A certificate that expires within this time is worth a warning."""

_CALLED_NOT_RECOGNIZED = (1, 7)
_UNRECOGNIZED_NAME, _NO_APPLICATION_PROTOCOL = 112, 120
_ECDHE_ONLY = "Allow ECDHE with AES-GCM only there."


class Weight(Enum):
    """Of one finding."""

    FAULT = "fault"
    WARNING = "warning"
    NOTE = "note"


@dataclass(frozen=True, slots=True)
class Finding:
    """Something that was found, and what to do about it."""

    weight: Weight
    requirement: int | None
    """The number of the requirement of B.12 that it concerns; None for what does not concern TLS."""
    sentence: str
    advice: str = ""


def findings(seen: Observations) -> tuple[Finding, ...]:
    """All of them, faults first."""
    found = [
        *_on_versions(seen), *_on_suites(seen), *_on_tls12(seen), *_on_certificates(seen),
        *_on_mutual_authentication(seen), *_on_names(seen), *_on_associations(seen),
    ]  # fmt: skip
    return tuple(sorted(found, key=lambda finding: list(Weight).index(finding.weight)))


def _fault(requirement: int, sentence: str, advice: str) -> Finding:
    return Finding(Weight.FAULT, requirement, sentence, advice)


def _warning(requirement: int, sentence: str, advice: str) -> Finding:
    return Finding(Weight.WARNING, requirement, sentence, advice)


def _note(sentence: str, advice: str = "") -> Finding:
    return Finding(Weight.NOTE, None, sentence, advice)


def _on_versions(seen: Observations) -> Iterator[Finding]:
    states = version_states(seen)
    if old := [version_name(version) for version, spoken in states.items() if spoken and version < TLS_1_2]:
        yield _fault(1, f"It accepts {listed(old)}, which MUST NOT be negotiated (RFC 8996).",
                     "Let TLS 1.2 be the oldest version there.")
    if states[TLS_1_2] is False:
        yield _fault(3, "It does not speak TLS 1.2, so many clients cannot call it.",
                     "Enable TLS 1.2 there; a product that has it but is set to TLS 1.3 alone conforms all the same.")
    if downgrades(seen):
        yield _fault(6, "It can speak TLS 1.3, but chose an older version although 1.3 was offered.",
                     "Let it prefer TLS 1.3.")
    elif states[TLS_1_3] is False:
        yield _warning(4, "It does not speak TLS 1.3, which it SHOULD (§3.1.1).", "Enable TLS 1.3 there.")
    if any(session.early_data for session in seen.sessions):
        yield _fault(1, "It accepts early data (0-RTT), which can be replayed (§3.10: MUST NOT).",
                     "Switch early data off there.")


def _on_suites(seen: Observations) -> Iterator[Finding]:
    states = suite_states(seen)
    for kind in (SuiteClass.NULL, SuiteClass.ANONYMOUS, SuiteClass.BROKEN):
        if states[kind]:
            number = 1 if kind is SuiteClass.BROKEN else 9
            yield _fault(number, f"It accepts cipher suites {kind.value}: {example(seen, kind)}.", _ECDHE_ONLY)
    for kind in (SuiteClass.TRIPLE_DES, SuiteClass.STATIC, SuiteClass.CBC):
        if states[kind] and not (kind is SuiteClass.CBC and encrypts_then_macs(seen)):
            suite = example(seen, kind)
            yield _warning(1, f"It accepts cipher suites {kind.value}: {suite} (§4.1, §4.2: SHOULD NOT).", _ECDHE_ONLY)
    bits = min((flight.dh_bits for flight in seen.flights if flight.dh_bits), default=0)
    if 0 < bits < LEAST_DH_BITS:
        yield _fault(1, f"Its DHE group has {bits} bits; {LEAST_DH_BITS} are required (§4.5).",
                     "Leave DHE out there, or give it a larger group.")
    elif states[SuiteClass.DHE]:
        yield _warning(1, f"It accepts finite-field DHE ({bits or 'unknown'} bits), which it SHOULD NOT (§4.1).",
                       "Leave DHE out there unless old peers need it.")
    yield from _on_forward_secrecy(seen)


def _on_forward_secrecy(seen: Observations) -> Iterator[Finding]:
    states = suite_states(seen)
    if version_states(seen)[TLS_1_2] and states[SuiteClass.RECOMMENDED] is False:
        advice = "Enable ECDHE with AES-GCM there, for the kind of key that its certificate has."
        if states[SuiteClass.DHE] or states[SuiteClass.CBC]:
            yield _warning(1, "In TLS 1.2 it has none of the suites of §4.2 for its kind of key.", advice)
        else:
            yield _fault(1, "In TLS 1.2 it has no suite with forward secrecy, which it MUST support and prefer (§4.1).",
                         advice)
    elif preferred_class(seen) in (SuiteClass.NULL, SuiteClass.STATIC):
        yield _fault(1, "Offered everything, it prefers a suite without forward secrecy (§4.1: MUST prefer it).",
                     "Put ECDHE with AES-GCM first there.")


def _on_tls12(seen: Observations) -> Iterator[Finding]:
    if seen.small_groups is not None and (small := seen.small_groups.flight) is not None:
        yield _fault(1, f"It accepts the group {small.group or '?'}, of less than 224 bits (§4.5: MUST NOT).",
                     "Allow X25519, P-256 and P-384 only there.")
    if any(flight.compression != NULL_COMPRESSION for flight in seen.flights):
        yield _warning(1, "It compresses, which can betray what is encrypted (§3.3: SHOULD NOT).",
                       "Switch TLS compression off there.")
    if seen.tls12 is None or (flight := seen.tls12.flight) is None or flight.version != TLS_1_2:
        return
    if seen.ordinary is not None and seen.ordinary.reaction.is_refusal:
        if seen.ordinary.reaction.alert == _NO_APPLICATION_PROTOCOL:
            yield _note("It turns away clients that offer no ALPN, as many DICOM clients do.")
        else:
            yield _warning(1, "It does not support the group P-256, which it SHOULD (§4.2.1).", "Enable P-256 there.")
    required = {RENEGOTIATION_INFO: "renegotiation_info", EXTENDED_MASTER_SECRET: "extended_master_secret"}
    if missing := [name for number, name in required.items() if number not in flight.extensions]:
        yield _fault(1, f"In TLS 1.2 it lacks {listed(missing)} (§3.5: MUST).", "Bring its TLS library up to date.")
    if seen.tls12.renegotiation is not None and seen.tls12.renegotiation.ending is Ending.COMPLETED:
        yield _warning(1, "It lets clients renegotiate, which costs it much and them little (§3.5).",
                       "Switch renegotiation off there.")


def _on_certificates(seen: Observations) -> Iterator[Finding]:
    session = next((each for each in seen.sessions if each.chain), None)
    if session is None:
        return
    own = session.chain[0]
    if session.name_matches is False:
        names = listed(own.names) if own.names else "no name at all in subjectAltName"
        yield _fault(1, f"Its certificate is not for {seen.host}, but for {names}; clients must refuse it (RFC 9525).",
                     f"Call it by a name in the certificate, or have one issued for {seen.host}.")
    if session.untrusted:
        yield _fault(1, f"Its certificate does not lead to the given authorities: {session.untrusted}.",
                     "Have it send its intermediate certificates, or give with --ca the authority that issued it.")
    if not own.serves:
        yield _fault(1, "Its certificate's extended key usage does not allow TLS servers.",
                     "Have one issued with serverAuth.")
    for certificate in session.chain:
        yield from _on_certificate(certificate, seen)
    if session.staple not in ("", "good"):
        yield _fault(1, f"The OCSP response that it staples says: {session.staple}.",
                     "Find out why; if the certificate is revoked, replace it and its key.")
    if not (own.crl_urls or own.ocsp_urls or session.staple):
        yield _note("Its certificate names neither a CRL nor an OCSP responder, and it staples nothing: how clients "
                    "learn of a revocation cannot be seen (§7.5).")


def _on_certificate(certificate: CertificateSeen, seen: Observations) -> Iterator[Finding]:
    what = f'The certificate "{certificate.subject}"'
    if certificate.not_after < seen.when:
        yield _fault(1, f"{what} expired on {certificate.not_after:%Y-%m-%d %H:%M} UTC.", "Have it renewed.")
    elif certificate.not_after < seen.when + SOON:
        days = (certificate.not_after - seen.when).days
        yield _warning(1, f"{what} expires in {days} days, on {certificate.not_after:%Y-%m-%d}.", "Have it renewed.")
    if certificate.not_before > seen.when:
        yield _fault(1, f"{what} is not valid before {certificate.not_before:%Y-%m-%d %H:%M} UTC.",
                     "Compare the clocks of both machines.")
    least = LEAST_BITS.get(certificate.key, 0)
    if certificate.key_bits < least:
        yield _fault(1, f"{what} has a key too weak: {certificate.key} of {certificate.key_bits} bits (§4.5).",
                     "Have one issued with RSA of 2048 bits or more, or P-256.")
    # A root's signature on itself is not what makes it trusted.
    if certificate.signature_hash in ("md5", "sha1") and not certificate.is_self_issued:
        yield _fault(1, f"{what} is signed with {certificate.signature_hash.upper()} (RFC 9155: MUST NOT).",
                     "Have one issued with SHA-256 or better.")


def _on_mutual_authentication(seen: Observations) -> Iterator[Finding]:
    stranger, client = seen.stranger, seen.client
    if stranger is not None and stranger.admitted:
        asks = "asks for a client certificate but does without" if stranger.certificate_requested \
            else "asks for no client certificate"
        yield _warning(12, f"It {asks}: whoever reaches the port is let in.",
                       "Demand client certificates there, unless the network alone decides who may call.")
    if seen.impostor is not None and seen.impostor.admitted:
        yield _fault(10, "It demands a client certificate but takes any, even one made up for this test.",
                     "Have it verify client certificates against your own authority.")
    give = "Give with --cert and --key a certificate from an authority that it trusts"
    if client is not None and not client.admitted and client.certificate_requested:
        yield _note(f"It refused our client certificate ({refusal_words(client.reaction)}), so DICOM was not tested.",
                    f"{give}{_authorities(client)}.")
    if client is None and stranger is not None and demands_certificate(seen):
        yield _note("It demands a client certificate and none was given, so DICOM was not tested.",
                    f"{give}{_authorities(stranger)}.")


def _on_names(seen: Observations) -> Iterator[Finding]:
    other = seen.other_protocols
    if other is not None and other.alpn:
        yield _fault(13, f"By ALPN it agreed to {other.alpn}: HTTP shares the port with DIMSE.",
                     "Give DICOMweb a port of its own.")
    elif other is not None and other.flight is not None:
        if seen.regular is not None and seen.regular.alpn == "dicom":
            yield _warning(1, "It goes on with a client whose ALPN offers h2 and http/1.1 only (§3.8).",
                           "Have it refuse with alert 120 no_application_protocol.")
        else:
            yield _warning(1, "It takes no notice of ALPN: neither selects dicom nor refuses others (§3.8).",
                           "Enable ALPN with the protocol dicom there, if its software can.")
    if seen.stranger is not None and seen.stranger.reaction.alert == _UNRECOGNIZED_NAME:
        yield _note("It turns away clients that do not call it by one of its names.", "Probe it by its name.")
    if seen.other_name is not None and seen.other_name.flight is not None:
        yield _warning(1, "It goes on with a client that calls it by a name it does not have (§3.7: SHOULD NOT).",
                       "Have it refuse unknown server names with alert 112 unrecognized_name.")


def _on_associations(seen: Observations) -> Iterator[Finding]:
    association = seen.regular.association if seen.regular is not None else None
    if association is None:
        return
    if association.rejection is not None and association.rejection[1:] == _CALLED_NOT_RECOGNIZED:
        yield _note(f"It does not know the AE title {association.called}.",
                    "Give its own with --ae to have associations tested.")
    elif association.answer in (Answer.REJECTED, Answer.ABORTED):
        yield _note(f"There was no association: {association.words}.",
                    "Look in its log; it may want another calling AE title (--calling-ae).")
    elif (association.contexts or {}).get(VERIFICATION) is None:
        yield _note("It does not accept the Verification SOP Class, as whoever accepts associations shall (PS3.4 A.1).",
                    "Enable C-ECHO there.")
    elif association.echo != 0:
        status = "no answer" if association.echo is None else f"status {association.echo:04X}H"
        yield _note(f"C-ECHO failed: {status}.", "Look in its log.")
    if took_association(seen.nobody):
        yield _note("It answers to any called AE title (PS3.8 Annex C.2 has it check).",
                    "Have it answer to its own AE title only.")
    if took_association(seen.unknown_caller):
        yield _note("It accepts any calling AE title.",
                    "Have it accept AE titles that it knows, each from its own certificate.")


def _authorities(session: SessionSeen) -> str:
    names = session.certificate_authorities
    return f": {'; '.join(names)}" if names else ""


def listed(words: Iterable[str]) -> str:
    """One, two and three."""
    *first, last = words
    return f"{', '.join(first)} and {last}" if first else last
