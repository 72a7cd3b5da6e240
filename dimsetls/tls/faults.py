"""Whatever ends a connection is classified here, once.

The surer evidence decides first: the type of the exception, the alerts seen on the wire, OpenSSL's verdict on
the certificate, and last the text of the error, which differs between versions of OpenSSL.
"""

from __future__ import annotations

from dataclasses import dataclass

from OpenSSL import SSL
from twisted.internet.error import ConnectError, ConnectionAborted, ConnectionDone, ConnectionLost, DNSLookupError
from twisted.python.failure import Failure

from .conditions import ALERTS, BY_REASON, CONDITIONS, FaultClass
from .evidence import FATAL, Alert, Evidence, Refusal, RefusedAfterHandshake

_UNEXPECTED_MESSAGE, _HANDSHAKE_FAILURE, _DECODE_ERROR = 10, 40, 50
_RECORD_TYPES, _ALERT_RECORD = range(0x14, 0x18), b"\x15"
# The starts of HTTP methods: a peer that trickles is cut off after five bytes, the header of a TLS record.
_HTTP = (b"GET ", b"HEAD ", b"POST ", b"PUT ", b"DELET", b"OPTIO", b"PATCH", b"TRACE", b"CONNE", b"PRI *")
# Of a record's header. At the start of a handshake OpenSSL sends no alert over it.
_WRONG_VERSION = "wrong version number"

_X509_CODES = {
    2: "chain-incomplete",
    3: "crl-unavailable",
    7: "decrypt-error",
    9: "certificate-not-yet-valid",
    10: "certificate-expired",
    11: "crl-not-yet-valid",
    12: "crl-expired",
    18: "self-signed",
    19: "self-signed",
    20: "unknown-ca",
    21: "chain-incomplete",
    22: "chain-invalid",
    23: "certificate-revoked",
    24: "chain-invalid",
    25: "chain-invalid",
    26: "unsupported-certificate",
    32: "chain-invalid",
    33: "crl-unavailable",
    62: "certificate-name-mismatch",
    64: "certificate-name-mismatch",
    66: "certificate-key-too-small",
    67: "certificate-key-too-small",
    68: "certificate-weak-hash",
    79: "chain-invalid",
}
"""OpenSSL's verification codes. One that is not here is judged by the alert it caused."""

_PHRASES = {
    10: {
        "too many warn alerts": "message-flood",
        "too many key updates": "message-flood",
        "record too small": "message-flood",
    },
    40: {
        "peer did not return a certificate": "no-client-certificate",
        "no shared cipher": "no-shared-cipher",
        "no suitable key share": "no-shared-group",
        "no suitable signature algorithm": "no-shared-sigalg",
        "no shared signature algorithms": "no-shared-sigalg",
        "unsafe legacy renegotiation disabled": "no-secure-renegotiation",
        "no renegotiation": "peer-no-renegotiation",
    },
    # The last eight bytes of ServerHello.random say that the server could have done better (RFC 8446 §4.1.3).
    47: {"wrong curve": "certificate-wrong-curve", "inappropriate fallback": "version-downgrade"},
    # Before version 4, OpenSSL took a record too short for its protection for an error of its own.
    80: {"invalid aad": "record-malformed"},
}
"""Alert sent to what the error says, where several conditions share the alert."""


@dataclass(frozen=True, slots=True)
class TransportFault:
    """The end of one connection: a row of the table, the alert on the wire if any, and what was seen."""

    reason: int
    name: str
    fault_class: FaultClass
    sentence: str
    alert: int | None = None
    detail: str = ""

    def __str__(self) -> str:
        """The sentence, and in parentheses the name and what was seen, as every line of the log has it."""
        return f"{self.sentence} ({self.name}{': ' if self.detail else ''}{self.detail})"

    @classmethod
    def named(cls, name: str, *, alert: int | None = None, detail: str = "") -> TransportFault:
        """The condition of that name in :data:`dimsetls.tls.conditions.CONDITIONS`; how timers and checks report."""
        row = CONDITIONS[name]
        return cls(row.reason, row.name, row.fault_class, row.sentence, alert, detail)


def classify(failure: Failure | None, evidence: Evidence | None) -> TransportFault:
    """Why the connection was lost: `failure` is connectionLost's reason, `evidence` what connectionMade found.

    Call it for ends that nobody asked for; what our own timers and checks ended, they name themselves.
    """
    error = failure.value if failure is not None else None
    if evidence is None:
        return TransportFault.named(_without_tls(error), detail=_printable(_text(error)))
    alert = _fatal_alert(error, evidence)
    return TransportFault.named(
        _with_tls(error, evidence, alert),
        alert=alert.number if alert is not None else None,
        detail=_printable(_detail(error, evidence, alert)),
    )


def handshake_timeout(evidence: Evidence | None) -> TransportFault:
    """What the handshake timer found when it ran out: silence, a peer that speaks no TLS, or a slow one."""
    if evidence is None or not evidence.first_bytes:
        return TransportFault.named("silent-peer")
    return TransportFault.named(_other_language(evidence) or "handshake-timeout", detail=_heard(evidence))


def _without_tls(error: BaseException | None) -> str:
    match error:
        case ConnectError() | DNSLookupError():
            return "connect-failed"
        case ConnectionAborted():
            return "aborted-locally"
        case SSL.Error():
            return "unclassified"
        case _:
            return "connection-lost"


def _with_tls(error: BaseException | None, evidence: Evidence, alert: Alert | None) -> str:
    if not evidence.handshake_completed and (language := _other_language(evidence)):
        return language
    if isinstance(error, ConnectionAborted):
        return "aborted-locally"
    if isinstance(error, RefusedAfterHandshake):
        return error.condition
    for refusal in evidence.refusals:
        if refusal.code in _X509_CODES:
            return _X509_CODES[refusal.code]
    if not evidence.refusals and evidence.name_mismatch:
        return "certificate-name-mismatch"
    if not evidence.refusals and evidence.rule_mismatch:
        return "certificate-not-allowed"
    if not evidence.refusals and evidence.unreadable:
        return "verification-refused"
    # OpenSSL sends alert 113 whatever we found in the stapled status; the row says what it was.
    if not evidence.refusals and evidence.status_refusal is not None:
        return evidence.status_refusal.condition
    if alert is not None:
        return _by_alert(alert, evidence, _text(error).casefold())
    if evidence.closed_in_order or isinstance(error, ConnectionDone | SSL.ZeroReturnError):
        return "closed-unreleased" if evidence.handshake_completed else "closed-in-handshake"
    if _is_end_of_file(error):
        return "truncated" if evidence.handshake_completed else "closed-in-handshake"
    if isinstance(error, SSL.SysCallError):
        return "transport-error"
    return "wrong-record-version" if _WRONG_VERSION in _text(error).casefold() else "unclassified"


def _by_alert(alert: Alert, evidence: Evidence, text: str) -> str:
    if not alert.sent:
        # OpenSSL's client takes our warning no_renegotiation (100) for the end.
        if evidence.renegotiations and alert.number == _HANDSHAKE_FAILURE:
            return "renegotiation"
        return BY_REASON.get(0x300 + alert.number, CONDITIONS["unclassified"]).name
    if evidence.handshake_completed and _WRONG_VERSION in text:
        return "wrong-record-version"
    if alert.number == _UNEXPECTED_MESSAGE and evidence.is_server and evidence.first_bytes.startswith(_ALERT_RECORD):
        return "alert-first"
    for phrase, name in _PHRASES.get(alert.number, {}).items():
        if phrase in text:
            return name
    return BY_REASON.get(0x200 + alert.number, CONDITIONS["unclassified"]).name


def _fatal_alert(error: BaseException | None, evidence: Evidence) -> Alert | None:
    """The alert that ended the connection: the first fatal one, for TLS does not outlive it."""
    fatal = next((alert for alert in evidence.alerts if alert.level == FATAL), None)
    # At the end of the TCP stream OpenSSL reports decode_error as sent. It is not.
    if fatal is not None and fatal.sent and fatal.number == _DECODE_ERROR and _is_end_of_file(error):
        return None
    return fatal


def _is_end_of_file(error: BaseException | None) -> bool:
    """Whether the TCP stream simply ended; OpenSSL and Twisted have four ways to say so."""
    match error:
        case SSL.SysCallError():
            return error.args[:1] == (-1,)
        case SSL.ZeroReturnError():
            return False
        case SSL.Error():
            return not _reasons(error) or "unexpected eof" in _text(error).casefold()
        case _:
            return isinstance(error, ConnectionLost)


def _other_language(evidence: Evidence) -> str:
    """The condition that the peer's first bytes prove, if they do not begin a TLS record."""
    first = evidence.first_bytes
    if not first or first[0] in _RECORD_TYPES:
        return ""
    if not evidence.is_server:
        return "plaintext-answer"
    if 0x01 <= first[0] <= 0x07 and first[1:2] == b"\0":  # PDU type and the reserved byte (PS3.8 §9.3)
        return "plaintext-dicom"
    return "http" if first.startswith(_HTTP) else "not-tls"


def _detail(error: BaseException | None, evidence: Evidence, alert: Alert | None) -> str:
    seen = []
    if alert is not None:
        way = "sent" if alert.sent else "received"
        seen.append(f"{way} alert {alert.number} {ALERTS.get(alert.number, 'unknown')}")
    seen += map(_refused, evidence.refusals)
    seen += filter(None, (evidence.name_mismatch, evidence.rule_mismatch, evidence.unreadable))
    if evidence.status_refusal is not None:
        seen.append(evidence.status_refusal.sentence)
    if not evidence.handshake_completed and _other_language(evidence):
        seen.append(_heard(evidence))
    if text := _text(error):
        seen.append(text)
    return "; ".join(seen)


def _refused(refusal: Refusal) -> str:
    if refusal.cause:
        return f'the certificate "{refusal.subject}" at depth {refusal.depth} {refusal.cause}'
    return f"X509 error {refusal.code} at depth {refusal.depth} ({refusal.subject})"


def _heard(evidence: Evidence) -> str:
    return f"first bytes {evidence.first_bytes.hex(' ')}"


def _reasons(error: SSL.Error) -> list[str]:
    """The reason of each entry of OpenSSL's error queue; the right one may be anywhere in it."""
    return [str(entry[-1]) for entry in error.args[0]] if error.args and isinstance(error.args[0], list) else []


def _text(error: BaseException | None) -> str:
    if isinstance(error, SSL.Error) and not isinstance(error, SSL.SysCallError):
        return "; ".join(_reasons(error))
    return str(error) if error is not None else ""


def _printable(text: str) -> str:
    """Names in a certificate are the peer's to choose, and this goes to a log: one line, no control characters."""
    if text.isprintable():
        return text
    return "".join(character if character.isprintable() else "\N{REPLACEMENT CHARACTER}" for character in text)
