"""What a node answers when it does not do what a peer asks: the tables of the conformance statement that say so.

The code that answers is the truth. A test walks it and finds every rejection, abort reason and status in these
tables, and nothing in them that the code does not send.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from ...association.admission import REJECT
from ...association.datasets import LARGEST
from ...association.protocol import LINGER_AFTER_EXPIRY
from ...association.retrieving import MOST
from ...codes import REJECT_REASONS, AbortSource, ContextResult, ProviderReason, RejectResult, RejectSource
from ...dimse.status import Service, Status, describe, status_class
from ...services.filesystem import Duplicates
from ...tls.conditions import CONDITIONS, Condition, FaultClass
from ...uids import APPLICATION_CONTEXT
from ..config import AE, Config, Limits
from .text import Bullets, Section, code, codes, good, see, table


@dataclass(frozen=True, slots=True)
class Criterion:
    """One check of an A-ASSOCIATE-RQ; `what` is its key in `REJECT`, None for the check of the provider (AE-6)."""

    what: str | None
    condition: str

    @property
    def triple(self) -> tuple[int, int, int]:
        """Result, source and reason of the A-ASSOCIATE-RJ."""
        if self.what is None:
            return RejectResult.REJECTED_PERMANENT, RejectSource.SERVICE_PROVIDER_ACSE, 2
        return REJECT[self.what]


CRITERIA = (
    Criterion(None, "Bit 0 of the protocol version is not set."),
    Criterion("application context", f"The application context name is not {code(APPLICATION_CONTEXT)}."),
    Criterion("called AE title", "The called AE title is none of this listener's."),
    Criterion("calling AE title", "The calling AE title is no AE title (PS3.5 §6.2)."),
    Criterion("calling AE title", "The AE does not admit the caller: by its AE title, its address, or the certificate "
              "to which the AE title is bound."),
    Criterion("no reason", "The peer takes P-DATA-TF PDUs of 1 to 7 bytes, which leaves no room for data."),
    Criterion("temporary congestion", "The service is shutting down."),
    Criterion("local limit exceeded", "A limit of associations is reached: in all, from the peer's address, or from "
              "the calling AE title."),
    Criterion("user identity", "A user identity is required and none is presented that is supported, or one that is "
              "presented is not good, or failed too often of late."),
    Criterion("temporary congestion", "Nobody can tell whether the user identity is good: a back end is down, late, or "
              "has too many to check. So it is where the main process of several workers does not answer them."),
    Criterion("temporary congestion", "The service began to shut down while the identity was checked."),
)
"""What is checked, in this order; the first that fails is answered."""

ABORTS = {
    ProviderReason.UNRECOGNIZED_PDU: "A PDU type that does not exist.",
    ProviderReason.UNEXPECTED_PDU: "A PDU that PS3.8 Table 9-10 does not allow in the present state, for instance a "
                                   "second A-ASSOCIATE-RQ.",
    ProviderReason.UNEXPECTED_PDU_PARAMETER: "A fragment on a presentation context that was not accepted, or out of "
                                             "place among others; more operations at once than the asynchronous "
                                             "operations window allows; a response to nothing.",
    ProviderReason.INVALID_PDU_PARAMETER_VALUE: "A length that contradicts its surroundings or is over its limit; an "
                                                "item that is malformed or missing; a command set that cannot be read.",
}
"""The reasons of an A-ABORT from the provider (source 2), with what the peer did."""

_SERVICES = {
    "storage": Service.STORAGE, "query": Service.FIND, "retrieve": Service.MOVE, "worklist": Service.WORKLIST,
    "procedure-steps": Service.PROCEDURE_STEP,
}  # fmt: skip
_TOO_LONG = f"An identifier of more than {LARGEST} bytes"
_UNSUPPORTED = "C-FIND, with a match, where a key of the identifier is not supported"
_BAD_IDENTIFIER = "An identifier that breaks a rule of its information model; Offending Element says where"
_UNABLE = "An identifier that cannot be read, or an unforeseen failure; the log has its cause"

STATUSES: Mapping[Status, Mapping[str, str]] = {
    Status.SUCCESS: {
        "": "C-ECHO",
        "storage": "C-STORE of an instance that is stored",
        "query": "C-FIND when all matches were sent",
        "retrieve": "C-GET and C-MOVE when every instance was sent and stored, or none matches",
        "commitment": "N-ACTION when the request is written down",
        "worklist": "C-FIND when all matches were sent",
        "procedure-steps": "N-CREATE and N-SET when the step is kept, N-GET with all that was asked for",
    },
    Status.OPTIONAL_ATTRIBUTES_NOT_SUPPORTED: {
        "procedure-steps": "N-GET of attributes that the step does not all have; those that it has are sent",
    },
    Status.PENDING: {
        "query": "C-FIND, with a match",
        "worklist": "C-FIND, with a match",
        "retrieve": "C-GET and C-MOVE after each sub-operation but the last, with the four numbers",
    },
    Status.PENDING_WARNING: {"query": _UNSUPPORTED, "worklist": _UNSUPPORTED},
    Status.CANCEL: {
        "query": "C-FIND that a C-CANCEL ended",
        "worklist": "C-FIND that a C-CANCEL ended",
        "retrieve": "C-GET and C-MOVE that a C-CANCEL ended",
    },
    Status.SUBOPERATIONS_COMPLETE_WITH_FAILURES: {
        "retrieve": "C-GET and C-MOVE where some sub-operations failed or were answered with a warning",
    },
    Status.INVALID_ATTRIBUTE_VALUE: {
        "procedure-steps": "N-CREATE that is not IN PROGRESS; N-CREATE and N-SET with a value that its attribute "
                           "cannot have; N-SET of what may not change",
    },
    Status.PROCESSING_FAILURE: {
        "": "An unforeseen failure of the service; the log has its cause",
        "commitment": "N-ACTION with a data set that cannot be read",
        "procedure-steps": "N-SET of a step that is over, with Error ID A710H; a data set that cannot be read",
    },
    Status.DUPLICATE_SOP_INSTANCE: {
        "storage": "C-STORE of an instance that is already stored and may not come again",
        "procedure-steps": "N-CREATE of a step that there is already",
    },
    Status.NO_SUCH_SOP_INSTANCE: {
        "commitment": "N-ACTION on another than the well-known SOP instance",
        "procedure-steps": "N-SET and N-GET of a step that there is not",
    },
    Status.NO_SUCH_EVENT_TYPE: {"normalized": "N-EVENT-REPORT of an event that storage commitment does not have"},
    Status.INVALID_ARGUMENT_VALUE: {
        "commitment": "N-ACTION without Transaction UID or references, or with what is no UID; Offending Element says "
                      "where",
    },
    Status.INVALID_SOP_INSTANCE: {"": "A SOP Instance UID in the command that is not a UID"},
    Status.MISSING_ATTRIBUTE: {
        "procedure-steps": "N-CREATE, or an item that N-SET sends, without required attributes; it says which",
    },
    Status.MISSING_ATTRIBUTE_VALUE: {
        "procedure-steps": "N-CREATE and N-SET that leave a required attribute without value; N-SET to a final state "
                           "that lacks what it needs",
    },
    Status.NO_SUCH_ACTION_TYPE: {"commitment": "N-ACTION of another type than 1"},
    Status.SOP_CLASS_NOT_SUPPORTED: {
        "": "The SOP class is not a UID or not that of the presentation context; the role was not negotiated; the AE "
            "has no service for it",
    },
    Status.NOT_AUTHORIZED: {
        "": "No rule of the AE permits the operation to this user, or the user's identity has expired",
    },
    Status.DUPLICATE_INVOCATION: {"": "An operation with this Message ID is not answered yet"},
    Status.UNRECOGNIZED_OPERATION: {
        "": "An operation that PS3.7 does not have",
        "procedure-steps": "An operation of the other of the two SOP classes",
    },
    Status.MISTYPED_ARGUMENT: {
        "": "A mandatory element of the command is missing, or has no value of its kind; an operation that needs a "
            "data set came without; Offending Element says which",
    },
    Status.RESOURCE_LIMITATION: {
        "normalized": "The data set of a DIMSE-N operation is too long",
        "commitment": f"N-ACTION with a data set of more than {LARGEST} bytes, with too many others not reported yet, "
                      "or that cannot be written down",
        "procedure-steps": f"A data set of more than {LARGEST} bytes, or a step that cannot be kept",
    },
    Status.OUT_OF_RESOURCES: {
        "storage": "C-STORE of an instance that the store cannot keep; the disk may be full",
        "query": _TOO_LONG,
        "worklist": _TOO_LONG,
        "retrieve": _TOO_LONG,
    },
    Status.UNABLE_TO_COUNT_MATCHES: {"retrieve": f"C-GET and C-MOVE that more than {MOST} instances match"},
    Status.UNABLE_TO_PERFORM_SUBOPERATIONS: {
        "retrieve": "C-GET and C-MOVE of which every sub-operation failed, as when the destination cannot be reached",
    },
    Status.MOVE_DESTINATION_UNKNOWN: {
        "": "C-MOVE to what is no AE title",
        "retrieve": "C-MOVE to an AE that the configuration does not know, or not how to reach",
    },
    Status.IDENTIFIER_DOES_NOT_MATCH_SOP_CLASS: {
        "storage": "C-STORE, where the store has an index, of a data set whose SOP Class UID or SOP Instance UID is "
                   "not that of the command",
        "query": _BAD_IDENTIFIER,
        "worklist": _BAD_IDENTIFIER,
        "retrieve": _BAD_IDENTIFIER,
    },
    Status.UNABLE_TO_PROCESS: {"query": _UNABLE, "worklist": _UNABLE, "retrieve": _UNABLE},
}
"""Every status that is answered, and when: by the service of an AE that brings it, "" for what any AE answers.

No AE of a configuration has the service normalized; it stands for the services of embedders.
"""

RESERVED = frozenset((
    "below-policy", "local-key-unusable", "tls-on-plaintext-port", "token-certificate-mismatch",
))
"""Conditions that have a code but that nothing reports yet."""


def rejections() -> Section:
    """Acceptance criteria in order, each with its A-ASSOCIATE-RJ."""
    results = {RejectResult.REJECTED_PERMANENT: "rejected-permanent",
               RejectResult.REJECTED_TRANSIENT: "rejected-transient"}
    sources = {RejectSource.SERVICE_USER: "service-user", RejectSource.SERVICE_PROVIDER_ACSE: "service-provider (ACSE)",
               RejectSource.SERVICE_PROVIDER_PRESENTATION: "service-provider (presentation)"}

    def rows() -> Iterator[tuple[str, ...]]:
        for number, criterion in enumerate(CRITERIA, 1):
            result, source, reason = criterion.triple
            yield (str(number), criterion.condition, f"{result} {results[RejectResult(result)]}",
                   f"{source} {sources[RejectSource(source)]}", f"{reason} {REJECT_REASONS[source, reason]}")

    return Section("Association acceptance and A-ASSOCIATE-RJ", (
        "A request is checked in this order, and the first check that fails is answered with A-ASSOCIATE-RJ (PS3.8 "
        "Table 9-21). TLS comes first: a peer whose certificate is not accepted never gets so far. A request "
        "that cannot be read is answered with A-ABORT (0,0).",
        table("Order | Rejected when | Result | Source | Reason", rows()),
        "A request that passes is accepted, also if none of its presentation contexts is.",
    ))


def context_results() -> Section:
    """What is said of each presentation context."""
    return Section("Presentation context acceptance", (
        "Each presentation context is judged by itself (PS3.8 Table 9-18). Of its transfer syntaxes, the first in the "
        "list of the called AE is taken, in whatever order the peer proposes them; but who proposes the SCP role "
        "alone, for C-GET, and a compressed one first, gets that one.",
        table("Result | Meaning | When", (
            (str(int(ContextResult.ACCEPTANCE)), "acceptance", "The AE serves the abstract syntax and one of the "
             "transfer syntaxes."),
            (str(int(ContextResult.USER_REJECTION)), "user-rejection", "No rule of the AE permits to this user what "
             "the abstract syntax is for, or none of the roles proposed for it is served: where nothing is stored, a "
             "storage class is accepted for the requestor as SCP of C-GET alone."),
            (str(int(ContextResult.ABSTRACT_SYNTAX_NOT_SUPPORTED)), "abstract-syntax-not-supported", "No service of "
             "the AE takes it."),
            (str(int(ContextResult.TRANSFER_SYNTAXES_NOT_SUPPORTED)), "transfer-syntaxes-not-supported", "None of "
             "those proposed is in the AE's list."),
        )),
    ))


def aborts(config: Config) -> Section:
    """Every A-ABORT that is sent, and what is done with those that come."""
    user = str(int(AbortSource.SERVICE_USER))
    own = (
        "Anything but a readable A-ASSOCIATE-RQ came first (AA-1 of PS3.8 Table 9-10).",
        f"A deadline of the association passed: idle, PDU or write timeout, see {see('Timers and limits')}.",
        f"The service stops and the association has not ended within {seconds(config.node.drain_timeout)}.",
        "An operation cannot be answered because the service fails; the log has the cause.",
    )
    provider = str(int(AbortSource.SERVICE_PROVIDER))
    rows = [(f"{user} service-user", "0", condition) for condition in own]
    rows += [(f"{provider} service-provider", f"{reason.value} {reason.name.replace('_', '-').casefold()}", condition)
             for reason, condition in ABORTS.items()]
    return Section("A-ABORT", (
        "These A-ABORTs are sent (PS3.8 Table 9-26).",
        table("Source | Reason | When", rows),
        "An A-ABORT of the peer ends the association: its operations fail, no partial instance is kept, and nothing is "
        "sent in return. After a failure of TLS no A-ABORT is sent, only the alert that TLS names.",
    ))


def provider_aborts() -> Section:
    """How an A-P-ABORT comes about; the codes are in an annex."""
    return Section("A-P-ABORT", (
        "The local user of an association gets an A-P-ABORT indication when the peer breaks the protocol (with the "
        "reason of the A-ABORT that is then sent), when the peer's provider aborts (with the reason that it gives), "
        "and when the connection is lost (Evt17, AA-4 of PS3.8 Table 9-10), whichever side was the requestor. For lost "
        f"connections and failures of TLS the reasons are implementation-specific: {see('Provider reasons')} has all. "
        "They never go on the wire.",
    ))


def timers(config: Config) -> Section:
    """Every timer and limit, as configured for each listener."""
    sets = list(dict.fromkeys(listener.limits for listener in config.listeners))
    columns = "What | When it is exceeded | " + " | ".join(
        f"Limits {code(each.name)} for {codes(place.name for place in config.listeners if place.limits == each)}"
        for each in sets)

    def row(what: str, then: str, value: str, form: object = str) -> tuple[str, ...]:
        return what, then, *(seconds(number) if form is seconds else f"{number:,}".replace(",", " ")
                             for number in (getattr(each, value) for each in sets))

    return Section("Timers and limits", (
        "A time counts from the start of its phase, not from the last byte, so a peer cannot prolong it by sending "
        "little. The associations of a listener are those of all its AEs together.",
        table(columns, (
            row("TLS handshake, from the connection to its end", "The connection is cut.", "tls_handshake_timeout",
                seconds),
            row("ARTIM: from the end of the handshake to a complete A-ASSOCIATE-RQ; from our last PDU to the peer's "
                "close", "The connection is closed (AA-2).", "artim_timeout", seconds),
            row("Association without a message, while nothing is being done for the peer", "A-ABORT (0,0).",
                "idle_timeout", seconds),
            row("One PDU, from its first byte to its last", "A-ABORT (0,0) on an association; before, ARTIM counts.",
                "pdu_timeout", seconds),
            row("Peer takes nothing of what we send", "A-ABORT (0,0) is written and the connection cut at once.",
                "write_timeout", seconds),
            row("Peer answers what is asked of it on its own association, such as the C-STOREs of its C-GET",
                "A-ABORT (0,0).", "response_timeout", seconds),
            row("Simultaneous associations as acceptor", _limit(), "associations"),
            row("Of these, from one address", _limit(), "associations_per_address"),
            row("Of these, from one calling AE title", _limit(), "associations_per_calling_ae"),
            row("Connections in the handshake or without A-ASSOCIATE-RQ", "The oldest of them is cut.",
                "pending_connections"),
            row("Length of an A-ASSOCIATE-RQ, in bytes", "A-ABORT (0,0).", "associate_pdu_length"),
        )),
        f"When ARTIM has expired, a peer that does not close its end is cut off after {seconds(LINGER_AFTER_EXPIRY)}. "
        "When the service stops, no association is accepted any more and those that run may finish within "
        f"{seconds(config.node.drain_timeout)}.",
    ))


def _limit() -> str:
    result, source, reason = REJECT["local limit exceeded"]
    return f"A-ASSOCIATE-RJ ({result},{source},{reason})."


def statuses(aes: tuple[AE, ...]) -> Section:
    """Every status that these AEs answer."""
    services = {"", *(service for ae in aes for service in ae.services)}
    stores = {ae.storage for ae in aes if ae.storage is not None and "storage" in ae.services}
    may_refuse = any(store.duplicates in (Duplicates.IDENTICAL, Duplicates.REFUSE) for store in stores)

    def rows() -> Iterator[tuple[str, ...]]:
        for status, conditions in STATUSES.items():
            said = {service: text for service, text in conditions.items() if service in services}
            if status is Status.DUPLICATE_SOP_INSTANCE and not may_refuse:
                said.pop("storage", None)
            if said:
                meanings = dict.fromkeys(describe(status, _SERVICES.get(each)).partition(": ")[2] for each in said)
                when = "; ".join(dict.fromkeys(said.values()))
                yield f"{status:04X}H", status_class(status).value.capitalize(), " or ".join(meanings), f"{when}."

    return Section("DIMSE statuses", (
        "These statuses are answered (PS3.7 Annex C; PS3.4 B.2.3, C.4, F.7, J.3 and K.4), and no other.",
        table("Status | Class | Meaning | When", rows()),
        Bullets((
            "A failure carries Error Comment (0000,0902) where there is more to say: never a path, patient data or a "
            "secret.",
            "A failure that is known before the data set is complete is answered when all of it has come.",
            "C-CANCEL for an operation that is not under way is ignored (PS3.7 §9.3.2.3).",
            "A command without Command Field or Message ID cannot be answered: A-ABORT (2,6).",
        )),
    ))


def provider_reasons() -> Section:
    """The whole table of A-P-ABORT reasons."""
    rows = [row for row in CONDITIONS.values() if row.name not in RESERVED]
    generic = [row for row in rows if row.meaning.startswith("TLS ended with the alert")]

    def code_of(row: Condition) -> str:
        return f"{row.reason:X}H" if row.reason > max(ProviderReason) else str(row.reason)

    def kind(row: Condition) -> str:
        return good("integrity") if row.fault_class is FaultClass.INTEGRITY else row.fault_class.value

    return Section("Provider reasons", (
        "The provider reasons of A-P-ABORT that this implementation issues, as PS3.15 B.12 requires. Those of class "
        f"{good('integrity')} are the ones B.12 speaks of: a record that failed its integrity check, or a connection "
        "cut so that data may be missing. The connection is dropped as TLS says and the users of both sides get an "
        "A-P-ABORT: here 200H + n where this side detected it and sent alert n, 300H + n where the peer did, 400H and "
        "above where there is no alert. Several conditions may share a code; the name tells them apart in the log. "
        "Before an association exists there is nobody to indicate an A-P-ABORT to on the acceptor's side; then the "
        "log has code and name.",
        "The reasons of PS3.8 Table 9-26 are the only ones that go on the wire; those not in "
        f"{see('A-ABORT')} are indicated only if the peer sends them.",
        table("Code | Name | Class | Meaning | Usual cause", (
            (code_of(row), code(row.name), kind(row), row.meaning, row.cause) for row in rows if row not in generic
        )),
        "An alert without a row of its own has a generic name:",
        table("Code | Name", ((code_of(row), code(row.name)) for row in generic)),
        "Reserved for later, and issued by nothing in this version: " + codes(sorted(RESERVED)) + ".",
    ))


def seconds(value: float) -> str:
    """A time as a person writes it."""
    return f"{value:g} s"


def limits_of(limits: Limits) -> str:
    """The number of associations in one sentence."""
    return (f"{limits.associations} as acceptor, {limits.associations_per_address} from one address, "
            f"{limits.associations_per_calling_ae} from one calling AE title")
