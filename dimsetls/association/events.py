"""What becomes of connections and associations, as data for observers: log, audit, metrics.

No event holds patient data or a secret.
"""

from __future__ import annotations

from dataclasses import dataclass
from time import time
from typing import TypeAlias

from twisted.logger import Logger, LogLevel

from ..identity.principal import Principal
from ..tls.faults import TransportFault
from ..tls.session import TLSSession


@dataclass(frozen=True, slots=True)
class Parties:
    """Who is at the two ends. `association` is the id that runs through every line about it."""

    association: str
    peer: str
    calling_ae_title: str = ""
    called_ae_title: str = ""
    tls: TLSSession | None = None
    principal: Principal | None = None
    """The user whose identity was verified."""

    @property
    def certificate(self) -> str:
        return self.tls.peer.subject if self.tls and self.tls.peer else "no certificate"

    @property
    def protection(self) -> str:
        return f"{self.tls.version} {self.tls.cipher_suite}" if self.tls else "no TLS"


@dataclass(frozen=True, slots=True)
class ConnectionFailed:
    """A connection ended before any association was asked for, and not in order."""

    parties: Parties
    fault: TransportFault


@dataclass(frozen=True, slots=True)
class AssociationRefused:
    """An association was asked for and not given: A-ASSOCIATE-RJ, or A-ABORT for a request that cannot be read."""

    parties: Parties
    sentence: str
    result: int | None = None
    """Result, source and reason of the A-ASSOCIATE-RJ; None where it was an A-ABORT."""
    source: int | None = None
    reason: int | None = None
    is_security_alert: bool = False
    """Whether a certificate claimed an AE title that is bound to another's."""


@dataclass(frozen=True, slots=True)
class AssociationStarted:
    """An association was accepted."""

    parties: Parties
    contexts_accepted: int
    contexts_proposed: int
    implementation: str
    note: str = ""
    """What else to say of how it was negotiated: an identity that was ignored."""


@dataclass(frozen=True, slots=True)
class AssociationEnded:
    """An association is over."""

    parties: Parties
    outcome: str
    """`released`, `aborted` (by a user), `provider-aborted` (A-P-ABORT) or `expired` (a deadline or limit of ours)."""
    detail: str
    provider_reason: int | None
    """The code of the condition (:mod:`dimsetls.tls.conditions`), where the end has one."""
    operations: int
    failures: int
    """Operations answered with a failure status."""
    instances: int
    """Instances stored."""
    octets: int
    """Bytes of data sets received."""
    seconds: float


Event: TypeAlias = ConnectionFailed | AssociationRefused | AssociationStarted | AssociationEnded


class AssociationLog:
    """Writes one line for each event to `twisted.logger`; every value is also a field of its own, for JSON.

    Text from the peer is escaped, so that it cannot forge a line.
    """

    def observe(self, event: Event) -> None:
        who = event.parties
        fields: dict[str, object] = {
            "association": who.association,
            "peer": who.peer,
            "calling_ae_title": printable(who.calling_ae_title),
            "called_ae_title": printable(who.called_ae_title),
            "certificate": printable(who.certificate),
            "protection": who.protection,
            "user": printable(str(who.principal)) if who.principal else None,
        }
        match event:
            case ConnectionFailed(fault=fault):
                fields |= {"fault": fault.name, "provider_reason": fault.reason, "sentence": fault.sentence}
                fields |= {"seen": f": {printable(fault.detail)}" if fault.detail else ""}
                self._line("warn", "[{association}] no association with {peer}: {sentence} ({fault}{seen})", fields)
            case AssociationRefused():
                fields |= {"sentence": printable(event.sentence), "result": event.result, "source": event.source}
                fields |= {"reason": event.reason, "is_security_alert": event.is_security_alert}
                answer = "" if event.result is None else " with A-ASSOCIATE-RJ ({result},{source},{reason})"
                asker = _WHO if who.called_ae_title else "{peer}"  # a request that cannot be read names nobody
                level, alert = ("error", "SECURITY ALERT: ") if event.is_security_alert else ("warn", "")
                self._line(level, f"[{{association}}] {alert}refused {asker} {_HOW}{answer}: {{sentence}}", fields)
            case AssociationStarted():
                fields |= {"contexts_accepted": event.contexts_accepted, "contexts_proposed": event.contexts_proposed}
                fields |= {"implementation": printable(event.implementation)}
                fields["for_user"] = f"for {fields['user']}, " if who.principal else ""
                line = f"[{{association}}] started {_WHO} {_HOW}, {{for_user}}"
                line += "{contexts_accepted} of {contexts_proposed} contexts, peer is {implementation}{note}"
                fields["note"] = f"; {printable(event.note)}" if event.note else ""
                self._line("info", line, fields)
            case AssociationEnded():
                for name in ("outcome", "provider_reason", "operations", "failures", "instances", "octets", "seconds"):
                    fields[name] = getattr(event, name)
                fields |= {"seconds": round(event.seconds, 3), "detail": printable(event.detail)}
                line = f"[{{association}}] {{outcome}} {_WHO}: {{operations}} operations, {{failures}} failed, "
                line += "{instances} instances, {octets} bytes in {seconds} s{explanation}"
                fields["explanation"] = f"; {printable(event.detail)}" if event.detail else ""
                level = "info" if event.outcome == "released" and not event.failures else "warn"
                self._line(level, line, fields)

    def _line(self, level: str, line: str, fields: dict[str, object]) -> None:
        """Hand an event to Twisted as its `emit` does, which sorts all levels for each to see whether ours is one."""
        log.observer(fields | {
            "log_logger": log, "log_level": _LEVELS[level], "log_namespace": log.namespace, "log_source": None,
            "log_format": line, "log_time": time(),
        })  # fmt: skip


log = Logger(namespace="dimsetls.association")

_LEVELS = {level.name: level for level in LogLevel.iterconstants()}  # which Twisted goes through for each look-up
_WHO = "{calling_ae_title} at {peer} to {called_ae_title}"
_HOW = "({protection}, {certificate})"


def printable(text: str) -> str:
    """The text with everything but printable ASCII escaped; a certificate's or AE title's bytes are the peer's.

    The section sign of our own sentences is left as it is.
    """
    if text.isascii() and text.isprintable():
        return text
    return "§".join(part.encode("unicode_escape").decode("ascii") for part in text.split("§"))
