"""What OpenSSL tells only while it happens: alerts, verdicts on certificates, the first bytes of the peer.

When the connection is lost, all that remains is one exception, whose text differs between versions of OpenSSL.
:mod:`dimsetls.tls.faults` judges by this evidence first.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from OpenSSL import SSL

from .policy import TLSVersion

FATAL = 2
"""Level of an alert that ends the connection (RFC 8446 §6)."""

NOTED = SSL.SSL_CB_ALERT | SSL.SSL_CB_HANDSHAKE_START | SSL.SSL_CB_HANDSHAKE_DONE
"""What is evidence among the steps that OpenSSL tells of."""

CLOSE_NOTIFY = 0
"""The alert that ends a connection in order; whoever ends it otherwise may have been cut off (RFC 8446 §6.1)."""

KEPT_ALERTS = 16
"""Warnings kept for each connection: a peer may send any number. What ends the connection is always kept."""

KEPT_BYTES = 16
"""Enough of the peer's first bytes to tell TLS, DICOM and HTTP apart."""

FOREVER = datetime.max.replace(tzinfo=UTC)
"""When nothing ends of its own accord."""

UNREADABLE = (
    ValueError,
    UnsupportedAlgorithm,
    x509.InvalidVersion,
    x509.DuplicateExtension,
    x509.UnsupportedGeneralNameType,
)
"""What cryptography raises over certificates that OpenSSL, which reads less strictly, lets pass."""


@dataclass(frozen=True, slots=True)
class Alert:
    """One alert record, sent by us or received (RFC 8446 §6)."""

    sent: bool
    level: int
    number: int


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why a certificate is not accepted: X509 code, depth in the chain, whose it is, and our cause if it is ours."""

    code: int
    depth: int
    subject: str
    cause: str = ""


@dataclass(frozen=True, slots=True)
class StatusRefusal:
    """Why the status (OCSP) of a server's certificate is not good enough: a row of the failure table, and the cause."""

    condition: str
    sentence: str


@dataclass(slots=True)
class Evidence:
    """What is known of one connection; it grows as the connection lives and outlives it.

    It refers to no other object, so keeping it keeps nothing alive.
    """

    is_server: bool
    first_bytes: bytes = b""
    octets: int = field(default=0, kw_only=True)
    """Bytes that came from the network; counted for each read of the socket, not for each record."""
    chain_end: datetime = field(default=FOREVER, kw_only=True)
    """When the first certificate of the peer's chain ends; of a session that is resumed, the one that it began with."""
    certificate: bytes = field(default=b"", kw_only=True, repr=False)
    """The peer's own, as DER, once it is judged, or a session has brought it back."""
    handshake_started: bool = False
    handshake_completed: bool = False
    renegotiations: int = 0
    """Attempts of the peer to negotiate again (TLS 1.2); all are refused."""
    alerts: list[Alert] = field(default_factory=list)
    refusals: list[Refusal] = field(default_factory=list)
    name_mismatch: str = ""
    """On a client: why the certificate is not that of the server we meant."""
    rule_mismatch: str = ""
    """On a client: why the certificate is none that our rules accept for the server."""
    unreadable: str = ""
    """Why a certificate that OpenSSL accepts cannot be read."""
    status_refusal: StatusRefusal | None = None
    """On a client: what is wrong with the status that the server stapled to its certificate, or left out."""

    def came(self, octets: bytes) -> None:
        """These came from the network."""
        self.octets += len(octets)
        if len(self.first_bytes) < KEPT_BYTES:
            self.first_bytes = (self.first_bytes + bytes(octets[:KEPT_BYTES]))[:KEPT_BYTES]

    @property
    def closed_in_order(self) -> bool:
        """Whether the peer said that it sends no more, so that nothing can be missing."""
        return any(alert.number == CLOSE_NOTIFY and not alert.sent for alert in self.alerts)


class ObservedConnection(SSL.Connection):
    """An SSL connection over memory BIOs that carries its evidence.

    The application data of a connection would be the natural place, but Twisted keeps its own protocol there.
    """

    def __init__(self, context: SSL.Context, *, is_server: bool) -> None:
        super().__init__(context, None)
        self.evidence = Evidence(is_server)
        if is_server:
            self.set_accept_state()
        else:
            self.set_connect_state()

    def bio_write(self, buf: Any) -> int:
        self.evidence.came(buf)
        return super().bio_write(buf)

    def do_handshake(self) -> None:
        try:
            super().do_handshake()
        except SSL.ZeroReturnError:
            # close_notify in the middle of it: pyOpenSSL gives no error queue, in which Twisted looks for a cause.
            raise SSL.ZeroReturnError([("dimsetls", "", "closed in the handshake")]) from None


class RefusedAfterHandshake(SSL.Error):
    """The handshake was complete, and a check of ours refused the connection: no alert can say so any more.

    `condition` is the row of the failure table. Twisted looks for an error queue, a list of triples, in the arguments.
    """

    def __init__(self, condition: str, sentence: str) -> None:
        super().__init__([("dimsetls", "", sentence)])
        self.condition = condition


def evidence_of(transport: object) -> Evidence | None:
    """The evidence of the TLS connection under a Twisted transport; None where there is no TLS of ours.

    Ask at connectionMade and keep it: after connectionLost the transport knows its TLS connection no more.
    """
    connection = connection_of(transport)
    return connection.evidence if isinstance(connection, ObservedConnection) else None


def connection_of(transport: object) -> SSL.Connection | None:
    """The SSL connection under a Twisted transport, None over plain TCP or a UNIX socket."""
    handle = getattr(transport, "getHandle", lambda: None)()
    return handle if isinstance(handle, SSL.Connection) else None


def record_event(connection: SSL.Connection, where: int, value: int) -> None:
    """The info callback of every context, for what is `NOTED`."""
    assert isinstance(connection, ObservedConnection)
    evidence = connection.evidence
    if where & SSL.SSL_CB_ALERT:
        alert = Alert(bool(where & SSL.SSL_CB_WRITE), value >> 8, value & 0xFF)
        if alert.level == FATAL or alert.number == CLOSE_NOTIFY or len(evidence.alerts) < KEPT_ALERTS:
            evidence.alerts.append(alert)
    elif where & SSL.SSL_CB_HANDSHAKE_DONE:
        evidence.handshake_completed = True
    elif where & SSL.SSL_CB_HANDSHAKE_START:
        evidence.handshake_started = True
        # TLS 1.3 has no renegotiation; there, a start after the end is a new ticket or key.
        if evidence.handshake_completed and connection.get_protocol_version() == TLSVersion.TLS_1_2:
            evidence.renegotiations += 1


def record_verdict(connection: SSL.Connection, certificate: bytes, code: int, depth: int) -> bool:
    """The verify callback of every context: takes OpenSSL's verdict as it is, and notes a refusal.

    Nowhere else can X509 code and depth be seen; the exception says "certificate verify failed", whatever the cause.
    """
    assert isinstance(connection, ObservedConnection)
    if code:
        try:
            subject = x509.load_der_x509_certificate(certificate).subject.rfc4514_string()
        except UNREADABLE:
            subject = "unreadable subject"
        connection.evidence.refusals.append(Refusal(code, depth, subject))
    return not code
