"""A verdict for people, with colours where there is a terminal, or as JSON for programs; pure."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import fields, is_dataclass
from datetime import datetime
from enum import Enum
from textwrap import wrap
from typing import Any

from pydicom.uid import UID

from ...codes import REJECT_REASONS
from .findings import Weight
from .hello import NULL_COMPRESSION, SuiteClass, version_name
from .inference import demands_certificate, example, refusal_words, suite_states, version_states
from .observations import (
    Answer,
    AssociationSeen,
    CertificateSeen,
    Ending,
    HelloSeen,
    Observations,
    Reaction,
    SessionSeen,
)
from .verdict import Conclusion, Status, Verdict

WIDTH = 110
_RED, _GREEN, _YELLOW, _GREY, _BOLD, _OFF = "\x1b[31m", "\x1b[32m", "\x1b[33m", "\x1b[90m", "\x1b[1m", "\x1b[0m"
_COLOURS: dict[Enum, str] = {
    Status.MET: _GREEN, Status.NOT_MET: _RED, Status.UNSEEN: _GREY, Status.NOT_TESTED: _YELLOW,
    Weight.FAULT: _RED, Weight.WARNING: _YELLOW, Weight.NOTE: _GREY,
    Conclusion.CONFORMANT: _GREEN, Conclusion.NOT_CONFORMANT: _RED, Conclusion.NO_DICOM: _YELLOW,
}  # fmt: skip
_MARKS = {Status.MET: "met", Status.NOT_MET: "not met", Status.UNSEEN: "unseen", Status.NOT_TESTED: "not tested"}


def as_text(seen: Observations, verdict: Verdict, *, colours: bool = False) -> Iterator[str]:
    """The lines of a report: the verdict, what was seen, each requirement, what to do."""

    def paint(colour: str, text: str) -> str:
        return f"{colour}{text}{_OFF}" if colours else text

    yield paint(_BOLD + _COLOURS[verdict.conclusion], _printable(verdict.headline))
    if facts := tuple(describe(seen)):
        plural = "" if seen.connections == 1 else "s"
        yield from ("", paint(_BOLD, f"Seen in {seen.connections} connection{plural}"))
        for label, text in facts:
            first, *more = _wrapped(text, 24)
            yield f"  {label:<22}{first}"
            yield from (" " * 24 + line for line in more)
    if verdict.judgements:
        yield from ("", paint(_BOLD, "PS3.15 B.12, sentence by sentence"))
        for each in verdict.judgements:
            mark = paint(_COLOURS[each.status], f"{_MARKS[each.status]:<12}")
            yield f"  {each.requirement.number:>2}  {mark}{each.requirement.strength.value:<13}{each.requirement.text}"
            yield from (" " * 18 + line for line in _wrapped(each.evidence, 18))
    if verdict.findings:
        yield from ("", paint(_BOLD, "What to do (sections are those of RFC 9325)"))
        for finding in verdict.findings:
            first, *more = _wrapped(finding.sentence, 11)
            yield f"  {paint(_COLOURS[finding.weight], f'{finding.weight.value:<9}')}{first}"
            yield from (" " * 11 + line for line in (*more, *_wrapped(finding.advice, 11)))


def as_json(seen: Observations, verdict: Verdict) -> str:
    """The same as one JSON object; `observations` has every detail."""
    return json.dumps({
        "host": seen.host,
        "port": seen.port,
        "conclusion": verdict.conclusion.name.lower().replace("_", "-"),
        "exit_status": verdict.conclusion.value,
        "headline": verdict.headline,
        "requirements": [
            _plain(each.requirement) | {"status": each.status.value, "evidence": each.evidence}
            for each in verdict.judgements
        ],
        "findings": _plain(verdict.findings),
        "facts": dict(describe(seen)),
        "observations": _plain(seen),
    }, indent=2)  # fmt: skip


def describe(seen: Observations) -> Iterator[tuple[str, str]]:
    """What was seen, a label and a line each."""
    if seen.stranger is not None and (seen.stranger.flight is not None or seen.hellos):
        yield "TLS versions", _versions(seen)
        yield "Cipher suites", _suites(seen)
        yield from _once("Groups", _groups(seen))
        yield "Application protocol", _protocols(seen)
        yield "Server name", _server_name(seen)
        yield from _certificate(seen)
        yield from _once("Client certificate", _client_certificate(seen))
        yield from _once("Renegotiation", _reaction(seen.tls12.renegotiation if seen.tls12 is not None else None))
        yield from _once("Compression", _compression(seen))
        yield "Session tickets", _tickets(seen)
    yield from _association(seen)


def _once(label: str, text: str) -> Iterator[tuple[str, str]]:
    if text:
        yield label, text


def _sorted_out(states: Mapping[str, bool | None]) -> str:
    """Accepted, refused, unknown."""
    said = {True: "accepted", False: "refused", None: "unknown"}
    names = {words: [name for name, state in states.items() if state is value] for value, words in said.items()}
    return "; ".join(f"{words}: {', '.join(those)}" for words, those in names.items() if those)


def _versions(seen: Observations) -> str:
    states = version_states(seen)
    chosen = seen.stranger.flight.version if seen.stranger is not None and seen.stranger.flight is not None else None
    preferred = f"; preferred: {version_name(chosen)}" if chosen is not None else ""
    return _sorted_out({version_name(version): state for version, state in states.items()}) + preferred


def _suites(seen: Observations) -> str:
    agreed = {each.cipher_suite: version_name(each.version) for each in seen.sessions if each.version is not None}
    with_versions = [f"{suite} ({version})" for suite, version in agreed.items()]
    states = {kind: state for kind, state in suite_states(seen).items() if kind is not SuiteClass.RECOMMENDED}
    named = {f"{kind.value}{f' {example(seen, kind)}' if state else ''}": state for kind, state in states.items()}
    return "; ".join((*with_versions, _sorted_out(named)))


def _groups(seen: Observations) -> str:
    named = dict.fromkeys(flight.group for flight in seen.flights if flight.group)
    sizes = dict.fromkeys(f"DHE of {flight.dh_bits} bits" for flight in seen.flights if flight.dh_bits)
    return ", ".join((*named, *sizes))


def _protocols(seen: Observations) -> str:
    regular, other = seen.regular, seen.other_protocols
    words = [f"ALPN {regular.alpn} selected" if regular is not None and regular.alpn else "ALPN not selected"]
    if other is not None:
        words.append(f"offered h2 and http/1.1 only: {other.alpn or _taken(other)}")
    return "; ".join(words)


def _taken(session: SessionSeen) -> str:
    return Ending.COMPLETED.value if session.flight is not None else refusal_words(session.reaction)


def _server_name(seen: Observations) -> str:
    sent = seen.stranger.server_name if seen.stranger is not None else None
    words = [f"{sent} sent" if sent else "none sent, as an address was called"]
    if seen.other_name is not None:
        words.append(f"a name that does not exist: {_taken(seen.other_name)}")
    return "; ".join(words)


def _certificate(seen: Observations) -> Iterator[tuple[str, str]]:
    session = next((each for each in seen.sessions if each.chain), None)
    if session is None:
        return
    own = session.chain[0]
    days = (own.not_after - seen.when).days
    yield "Certificate", f"{own.subject}; for {', '.join(own.names) or 'no name'}; issued by {own.issuer}"
    yield "Validity", f"{_key(own)}; until {own.not_after:%Y-%m-%d} ({days} days); SHA-256 {own.sha256}"
    name = "is for" if session.name_matches else "is not for"
    trust = {None: "not checked against an authority (--ca)", "": "leads to the given authorities"}
    judged = trust.get(session.untrusted, f"not trusted: {session.untrusted}")
    yield "Trust", f"{name} {seen.host}; chain of {len(session.chain)}, {judged}"
    hints = (*(f"CRL {url}" for url in own.crl_urls), *(f"OCSP {url}" for url in own.ocsp_urls))
    yield "Revocation", "; ".join((*hints, f"stapled response: {session.staple or 'none'}"))


def _key(certificate: CertificateSeen) -> str:
    signed = f", signed with {certificate.signature_hash.upper()}" if certificate.signature_hash else ""
    return f"{certificate.key}{f' {certificate.key_bits} bits' if certificate.key_bits else ''}{signed}"


def _client_certificate(seen: Observations) -> str:
    stranger = seen.stranger
    if stranger is None or (demands := demands_certificate(seen)) is None:
        return ""
    if not demands:
        return "asked for, but not demanded" if stranger.certificate_requested else "not asked for"
    words = [f"demanded; none: {refusal_words(stranger.reaction)}"]
    if seen.impostor is not None:
        words.append(f"one made up: {'accepted' if seen.impostor.admitted else refusal_words(seen.impostor.reaction)}")
    if seen.client is not None:
        words.append(f"ours: {'accepted' if seen.client.admitted else refusal_words(seen.client.reaction)}")
    return "; ".join(words)


def _reaction(reaction: Reaction | None) -> str:
    return refusal_words(reaction) if reaction is not None else ""


def _compression(seen: Observations) -> str:
    ordinary: HelloSeen | None = seen.ordinary
    if any(flight.compression != NULL_COMPRESSION for flight in seen.flights):
        return "used"
    return "offered, not used" if ordinary is not None and ordinary.flight is not None else ""


def _tickets(seen: Observations) -> str:
    most = max((each.tickets for each in seen.sessions), default=0)
    early = max((each.early_data for each in seen.sessions), default=0)
    return f"{most or 'none'}; early data: {f'up to {early} bytes' if early else 'none'}"


def _association(seen: Observations) -> Iterator[tuple[str, str]]:
    regular = seen.regular
    association = seen.plain or (regular.association if regular is not None else None)
    if association is None:
        if regular is not None and regular.words and not seen.trouble:
            yield "Association", f"none: {regular.words}"
        return
    answer = association.words or association.answer.value
    yield "Association", f"{association.calling} to {association.called}: {answer}"
    if association.answer is not Answer.ACCEPTED:
        return
    who = " ".join(filter(None, (association.implementation_version_name, association.implementation_class_uid)))
    yield "Implementation", f"{who}; maximum length {association.maximum_length or 'without limit'}"
    yield "C-ECHO", "no answer" if association.echo is None else f"status {association.echo:04X}H"
    yield "SOP classes", _sop_classes(association)
    for label, session in (("Unknown called AE", seen.nobody), ("Unknown calling AE", seen.unknown_caller)):
        if session is not None:
            yield label, _answer(session)
    for session in (seen.identity, seen.unknown_caller):
        if session is not None and session.association is not None and session.association.answer is Answer.ACCEPTED:
            yield "User identity", "answered" if session.association.identity_answered else "not answered"
            yield from _once("Damaged record", _reaction(session.association.damaged_record))
            return


def _sop_classes(association: AssociationSeen) -> str:
    """How many, and by name those that are fewer."""
    contexts = association.contexts or {}
    accepted = [UID(sop_class).name for sop_class, agreed in contexts.items() if agreed is not None]
    refused = [UID(sop_class).name for sop_class, agreed in contexts.items() if agreed is None]
    which, names = ("accepted", accepted) if len(accepted) < len(refused) else ("not", refused)
    return f"{len(accepted)} of {len(contexts)} accepted" + (f"; {which}: {', '.join(names)}" if names else "")


def _answer(session: SessionSeen) -> str:
    if (association := session.association) is None:
        return _reaction(session.reaction)
    if association.rejection is not None:
        return f"rejected: {REJECT_REASONS.get(association.rejection[1:], 'reserved reason')}"
    return association.words or association.answer.value


def _wrapped(text: str, indent: int) -> list[str]:
    return wrap(_printable(text), WIDTH - indent, break_long_words=False, break_on_hyphens=False)


def _printable(text: str) -> str:
    """Names are the peer's to choose, and this goes to a terminal: no control characters."""
    return "".join(character if character.isprintable() else "\N{REPLACEMENT CHARACTER}" for character in text)


def _plain(value: Any) -> Any:
    """As JSON has it: objects by field, enumerations by name, the rest as text."""
    if is_dataclass(value) and not isinstance(value, type):
        return {each.name: _plain(getattr(value, each.name)) for each in fields(value)}
    if isinstance(value, Enum):
        return value.name.lower().replace("_", "-")
    if isinstance(value, datetime):
        return value.isoformat()
    if isinstance(value, bytes):
        return value.hex()
    if isinstance(value, Mapping):
        return {str(_plain(key)): _plain(each) for key, each in value.items()}
    if isinstance(value, frozenset):
        return sorted(map(_plain, value))
    return [_plain(each) for each in value] if isinstance(value, tuple) else value
