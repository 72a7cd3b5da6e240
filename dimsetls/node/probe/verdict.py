"""The judgement on each requirement of PS3.15 B.12, and on the whole; pure."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from enum import Enum, IntEnum

from .findings import Finding, Weight, findings, listed
from .hello import TLS_1_1, TLS_1_2, TLS_1_3, SuiteClass
from .inference import demands_certificate, refusal_words, suite_states, version_states
from .observations import Answer, Ending, Language, Observations

DICOM_TLS_PORT = 2762


class Status(Enum):
    """Of one requirement."""

    MET = "met"
    NOT_MET = "not met"
    UNSEEN = "cannot be seen from outside"
    NOT_TESTED = "not tested"


class Strength(Enum):
    """How much B.12 insists. Only a `shall` that is not met costs conformance."""

    SHALL = "shall"
    MAY = "may"
    ENCOURAGED = "encouraged"
    RECOMMENDED = "recommended"


class Conclusion(IntEnum):
    """Of the whole; the value is the exit status of the command, where 2 is wrong usage."""

    CONFORMANT = 0
    NOT_CONFORMANT = 1
    NO_DICOM = 3


@dataclass(frozen=True, slots=True)
class Requirement:
    """One sentence of PS3.15 B.12, numbered in the order there; number 2 defines client and server."""

    number: int
    strength: Strength
    text: str


REQUIREMENTS = (
    Requirement(1, Strength.SHALL, "complies with BCP 195 (RFC 8996 and RFC 9325)"),
    Requirement(3, Strength.SHALL, "supports TLS 1.2"),
    Requirement(4, Strength.MAY, "supports TLS 1.3"),
    Requirement(5, Strength.SHALL, "as a client, tries TLS 1.3 where it supports it"),
    Requirement(6, Strength.SHALL, "as a server, prefers TLS 1.3 where the client offers it"),
    Requirement(7, Strength.SHALL, "speaks TLS from the first byte, with no upgrade inside the protocol"),
    Requirement(8, Strength.SHALL, "as a client, tries TLS even if it was not advertised"),
    Requirement(9, Strength.SHALL, "encrypts and protects everything: nothing is NULL or anonymous"),
    Requirement(10, Strength.SHALL, "as a server, supports mutual authentication"),
    Requirement(11, Strength.ENCOURAGED, "as a client, supports and uses mutual authentication"),
    Requirement(12, Strength.MAY, "may be configured to do without mutual authentication"),
    Requirement(13, Strength.SHALL, "keeps DICOMweb and DIMSE on different ports"),
    Requirement(14, Strength.RECOMMENDED, "listens on the registered port 2762 (dicom-tls)"),
    Requirement(15, Strength.SHALL, "drops the connection on a failed integrity check, with A-P-ABORT on both sides"),
    Requirement(16, Strength.SHALL, "documents its provider reasons in the conformance statement"),
    Requirement(17, Strength.SHALL, "documents ports and key management in the conformance statement"),
)


@dataclass(frozen=True, slots=True)
class Judgement:
    """One requirement, judged, with the evidence."""

    requirement: Requirement
    status: Status
    evidence: str


@dataclass(frozen=True, slots=True)
class Verdict:
    """All of it, the headline first."""

    conclusion: Conclusion
    headline: str
    judgements: tuple[Judgement, ...] = ()
    findings: tuple[Finding, ...] = ()


_ESSENTIAL = {1, 3, 9}
"""Without these nobody is called conformant. The others may be beyond reach for want of a certificate."""

Evidence = tuple[Status, str]
_UNCLEAR: Evidence = (Status.NOT_TESTED, "no clear answer")


def judge(seen: Observations) -> Verdict:
    """The verdict on one peer."""
    where = f"{seen.host}:{seen.port}"
    if seen.language is Language.DICOM:
        return _plain_dicom(where)
    if instead := _instead_of_dicom(seen):
        return Verdict(Conclusion.NO_DICOM, f"{where} {instead}")
    found = findings(seen)
    judgements = tuple(_judgements(seen, found))
    shown = {each.requirement.number for each in judgements if each.status is Status.MET}
    failed = [each.requirement.number for each in judgements
              if each.status is Status.NOT_MET and each.requirement.strength is Strength.SHALL]  # fmt: skip
    if failed:
        headline = f"{where} does not conform to PS3.15 B.12: {_numbered(failed)}."
    elif missing := sorted(_ESSENTIAL - shown):
        headline = f"{where} has not shown that it conforms to PS3.15 B.12: {_numbered(missing)} could not be tested."
    else:
        reservation = "" if seen.regular is not None and seen.regular.admitted else "; its DICOM was not seen"
        headline = f"{where} conforms to PS3.15 B.12 as far as can be seen from outside{reservation}."
        return Verdict(Conclusion.CONFORMANT, headline, judgements, found)
    return Verdict(Conclusion.NOT_CONFORMANT, headline, judgements, found)


def _numbered(requirements: list[int]) -> str:
    return f"requirement{'s' if len(requirements) > 1 else ''} {listed(map(str, requirements))}"


def _plain_dicom(where: str) -> Verdict:
    failed = {1: "no TLS", 3: "no TLS", 7: "it answered an A-ASSOCIATE-RQ in the clear", 9: "nothing is encrypted"}
    judgements = tuple(
        Judgement(each, Status.NOT_MET, failed[each.number]) if each.number in failed
        else Judgement(each, Status.NOT_TESTED, "no TLS")
        for each in REQUIREMENTS
    )  # fmt: skip
    finding = Finding(
        Weight.FAULT, 7, "It speaks DICOM without TLS: whoever is on the way can read and change what is sent.",
        f"Switch TLS on there, on a port of its own such as {DICOM_TLS_PORT}, and this port off.",
    )  # fmt: skip
    headline = f"{where} speaks DICOM without TLS, so it does not conform to PS3.15 B.12."
    return Verdict(Conclusion.NOT_CONFORMANT, headline, judgements, (finding,))


def _instead_of_dicom(seen: Observations) -> str:
    """What there is instead; empty if there is DICOM, or if it may hide behind a certificate that we lack."""
    if seen.trouble:
        return f"could not be reached: {seen.trouble}."
    match seen.language:
        case Language.HTTP:
            return "speaks HTTP without TLS, and not DICOM."
        case Language.OTHER:
            return "speaks neither TLS nor DICOM nor HTTP."
        case Language.NOTHING:
            return "takes connections, but answers neither TLS nor DICOM nor HTTP."
    regular = seen.regular
    if regular is None or regular.version is None:
        return ""
    if (association := regular.association) is not None:
        match association.answer:
            case Answer.HTTP:
                return "speaks HTTP over TLS, and not DICOM."
            case Answer.OTHER:
                return f"speaks TLS, but not DICOM: {association.words}."
            case Answer.NOTHING:
                return "speaks TLS, but closed the connection on an A-ASSOCIATE-RQ."
    elif regular.reaction.ending is Ending.SILENT:
        return "speaks TLS, but did not answer an A-ASSOCIATE-RQ in time."
    elif regular.reaction.ending is Ending.CLOSED and not regular.certificate_requested:
        return "speaks TLS, but broke off on an A-ASSOCIATE-RQ."
    return ""


def _judgements(seen: Observations, found: tuple[Finding, ...]) -> Iterator[Judgement]:
    """A fault decides; without one, the evidence."""
    evidence = _evidence(seen)
    for requirement in REQUIREMENTS:
        status, words = evidence[requirement.number]
        concerned = [each for each in found if each.requirement == requirement.number]
        if faults := [each.sentence for each in concerned if each.weight is Weight.FAULT]:
            status, words = Status.NOT_MET, " ".join(faults)
        elif requirement.number == 1 and concerned:
            words += f"; {len(concerned)} warning{'s' if len(concerned) > 1 else ''}, see what to do"
        yield Judgement(requirement, status, words)


def _evidence(seen: Observations) -> dict[int, Evidence]:
    versions, suites = version_states(seen), suite_states(seen)
    of_client = Status.UNSEEN, "here it is the server"
    of_statement = Status.UNSEEN, "look in its conformance statement"
    unprotected = suites[SuiteClass.NULL], suites[SuiteClass.ANONYMOUS]
    return {
        1: (Status.MET, "it accepted nothing that is forbidden")
        if versions[TLS_1_1] is not None and suites[SuiteClass.BROKEN] is not None
        else (Status.NOT_TESTED, "not all that is forbidden could be tried"),
        3: (Status.MET, "it does") if versions[TLS_1_2] else _UNCLEAR,
        4: {True: (Status.MET, "it does"), False: (Status.MET, "it does not, and need not"), None: _UNCLEAR}[
            versions[TLS_1_3]
        ],
        5: of_client,
        6: {
            True: (Status.MET, "offered TLS 1.3 and older versions, it chose TLS 1.3"),
            False: (Status.MET, "it has no TLS 1.3 to prefer"),
            None: _UNCLEAR,
        }[versions[TLS_1_3]],
        7: (Status.MET, "it answered a ClientHello with TLS"),
        8: of_client,
        9: (Status.MET, "it refused suites without encryption or authentication")
        if unprotected == (False, False) else _UNCLEAR,
        10: _on_certificate_request(seen),
        11: of_client,
        12: {
            True: (Status.MET, "it demands a client certificate"),
            False: (Status.MET, "it lets strangers in"),
            None: _UNCLEAR,
        }[demands_certificate(seen)],
        13: _on_other_protocols(seen),
        14: (Status.MET, "it does") if seen.port == DICOM_TLS_PORT
        else (Status.NOT_MET, f"it listens on {seen.port}, as it may"),
        15: _on_damage(seen),
        16: of_statement,
        17: of_statement,
    }  # fmt: skip


def _on_certificate_request(seen: Observations) -> Evidence:
    if not any(each.certificate_requested for each in seen.sessions):
        return Status.UNSEEN, "it asks for no client certificate, and may be so configured"
    words = ["it asks for a client certificate"]
    if seen.client is not None and seen.client.admitted:
        words.append("took ours")
    if seen.stranger is not None and demands_certificate(seen):
        words.append(f"turned away a stranger ({refusal_words(seen.stranger.reaction)})")
    if seen.impostor is not None and seen.impostor.reaction.is_refusal:
        words.append(f"turned away a made-up certificate ({refusal_words(seen.impostor.reaction)})")
    return Status.MET, listed(words)


def _on_other_protocols(seen: Observations) -> Evidence:
    other = seen.other_protocols
    if other is None or (other.flight is None and not other.reaction.is_refusal):
        return _UNCLEAR
    return Status.MET, "offered h2 and http/1.1 by ALPN, it took neither"


def _on_damage(seen: Observations) -> Evidence:
    for session in (seen.unknown_caller, seen.identity):
        damage = session.association.damaged_record if session is not None and session.association is not None else None
        if damage is None:
            continue
        if damage.is_refusal:
            words = f"{refusal_words(damage)}, and the end; whether its user was told cannot be seen"
            return Status.MET, f"a damaged record on an association: {words}"
        return Status.NOT_MET, f"a damaged record on an association: the peer {damage.ending.value}"
    return Status.NOT_TESTED, "there was no association on which to damage a record"
