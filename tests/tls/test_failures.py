"""Every row of the table of failures that can be provoked is provoked, against the installed OpenSSL.

PROVOKED maps the names of rows to how; NOT_PROVOKED says of the others why not. Each provocation runs with TLS 1.2
and 1.3 unless it says otherwise, and nothing in it may be unclassified.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from OpenSSL import SSL
from OpenSSL._util import lib

from dimsetls.tls.conditions import ALERTS, CONDITIONS, FaultClass
from dimsetls.tls.evidence import KEPT_ALERTS
from dimsetls.tls.policy import TLSVersion

from . import provocations as deeds
from .crafted import (
    CERTIFICATE,
    PRE_SHARED_KEY,
    RENEGOTIATION_INFO,
    SIGNATURE_ALGORITHMS,
    SUPPORTED_VERSIONS,
    UNASSIGNED,
    alert,
    edit_extensions,
    flipped,
    renumbered,
    without,
)

V12, V13 = TLSVersion.TLS_1_2, TLSVersion.TLS_1_3
CAN_RESTRICT_GROUPS = hasattr(lib, "SSL_CTX_set1_curves_list")
TELLS_STUNTED_RECORDS_APART = SSL.OPENSSL_VERSION_NUMBER < 0x40000000  # by an internal error, alert 80


@dataclass(frozen=True)
class Case:
    """How to provoke a row at one end, and in which versions of TLS it exists."""

    at: str
    provoke: Callable[[deeds.Bench], Any]
    versions: tuple[TLSVersion, ...] = (V12, V13)
    is_possible: bool = True
    """Not every supported pyOpenSSL can do everything."""


def server(provoke: Callable[[deeds.Bench], Any], *versions: TLSVersion, is_possible: bool = True) -> Case:
    return Case("server", provoke, versions or (V12, V13), is_possible)


def client(provoke: Callable[[deeds.Bench], Any], *versions: TLSVersion, is_possible: bool = True) -> Case:
    return Case("client", provoke, versions or (V12, V13), is_possible)


LATER = datetime.now(UTC) + timedelta(days=30)
WARNINGS = alert(90, level=1).hex() * 10

PROVOKED: dict[str, Case] = {
    "unexpected-message": server(deeds.injected("16 03 03 00 04 0e 00 00 00", in_handshake=True)),
    "message-flood": server(deeds.injected(WARNINGS, in_handshake=True)),
    "record-mac": server(deeds.altered_record),
    "record-malformed": server(deeds.injected("15 03 03 00 02 02 28"), V12, is_possible=TELLS_STUNTED_RECORDS_APART),
    "record-overflow": server(deeds.injected("17 03 03 48 00")),
    "no-secure-renegotiation": client(
        deeds.server_flight(edit_extensions(without(RENEGOTIATION_INFO), of_client=False)), V12),
    "no-shared-cipher": server(deeds.no_common_cipher),
    "no-shared-group": server(deeds.no_common_group, V13, is_possible=CAN_RESTRICT_GROUPS),
    "no-shared-sigalg": server(deeds.no_common_signature),
    "no-client-certificate": server(deeds.no_certificate, V12),
    "bad-certificate": client(deeds.server_flight(flipped(6), CERTIFICATE), V12),
    "certificate-not-yet-valid": server(deeds.with_certificate(not_before=LATER)),
    "certificate-key-too-small": server(deeds.small_key),
    "certificate-weak-hash": server(deeds.weak_hash),
    "certificate-name-mismatch": client(deeds.called_for("elsewhere.example")),
    "crl-not-yet-valid": server(deeds.judged_by(deeds.crl, this_update=LATER, next_update=LATER)),
    "unsupported-certificate": client(deeds.client_s_certificate_at_the_server),
    "certificate-revoked": server(deeds.revoked),
    "certificate-expired": server(deeds.with_certificate(not_after=deeds.LONG_AGO)),
    "crl-expired": server(deeds.judged_by(deeds.crl, this_update=deeds.LONG_AGO, next_update=deeds.LONG_AGO)),
    "illegal-parameter": client(deeds.server_flight(deeds.compression)),
    "certificate-wrong-curve": server(deeds.wrong_curve, V12, is_possible=CAN_RESTRICT_GROUPS),
    "version-downgrade": client(deeds.downgrade),
    "unknown-ca": server(deeds.strangers_client),
    "self-signed": server(deeds.own_authority),
    "chain-incomplete": server(deeds.trusting_an_intermediate_only),
    "chain-invalid": server(deeds.issued_by_no_authority),
    "crl-unavailable": server(deeds.judged_by(deeds.no_crl)),
    "decode-error": server(deeds.client_hello(deeds.long_session_id)),
    "decrypt-error": server(deeds.forged_certificate),
    "protocol-version": server(deeds.other_version),
    "internal-error": server(deeds.bad_alpn_answer),
    "verification-refused": server(deeds.unreadable_certificate),
    "inappropriate-fallback": server(deeds.fallback, V12),
    "server-name-unknown": server(deeds.called_for("elsewhere.example", strict_names=True)),
    "bad-certificate-status": client(deeds.stapled(deeds.strangers_response)),
    "certificate-status-stale": client(deeds.stapled(deeds.stale_response)),
    "certificate-status-missing": client(deeds.stapled(lambda bench, issued: b"")),
    "certificate-required": server(deeds.no_certificate, V13),
    "no-application-protocol": server(deeds.offering(b"h2")),
    "sent-missing-extension": server(
        deeds.client_hello(edit_extensions(renumbered(SIGNATURE_ALGORITHMS, UNASSIGNED), of_client=True)), V13),
    "sent-unsupported-extension": client(
        deeds.server_flight(edit_extensions(renumbered(SUPPORTED_VERSIONS, PRE_SHARED_KEY), of_client=False)), V13),

    "truncated": server(deeds.cut),
    "closed-unreleased": server(deeds.closed),
    "wrong-record-version": server(deeds.injected("17 02 00 00 05 68 65 6c 6c 6f")),
    "closed-in-handshake": server(deeds.cut_in_handshake),
    "alpn-absent": server(deeds.offering(require_alpn=True)),
    "renegotiation": server(deeds.renegotiating_client, V12),
    "plaintext-dicom": server(deeds.first_words(bytes.fromhex("0100000000cd00010000"))),
    "http": server(deeds.first_words(b"GET / HTTP/1.1\r\nHost: pacs\r\n\r\n")),
    "not-tls": server(deeds.first_words(b"SSH-2.0-OpenSSH_9.2\r\n")),
    "plaintext-answer": client(deeds.plaintext_answer),
    "alert-first": server(deeds.first_words(alert(40))),
    "handshake-timeout": server(deeds.handshake_deadline(begun=True)),
    "silent-peer": server(deeds.handshake_deadline(begun=False)),
}
# What an alert of the peer's means for us does not depend on why it sent it.
PROVOKED |= {
    row.name: client(deeds.alert_to_client(row.reason - 0x300))
    for row in CONDITIONS.values() if row.reason >> 8 == 3
}  # fmt: skip

_UPPER_LAYER = "goes on the wire in an A-ABORT; tests/ul and tests/association"
_NOT_OPENSSL = "OpenSSL never sends this alert"

NOT_PROVOKED: dict[str, str] = {row.name: _UPPER_LAYER for row in CONDITIONS.values() if row.reason < 0x100} | {
    "connect-failed": "no TLS yet; tests/association/test_failures.py",
    "connection-lost": "no TLS; tests/association/test_failures.py",
    "aborted-locally": "no TLS; over TLS whoever breaks off says why; tests/association/test_failures.py",
    "pending-limit": "a limit of the acceptor's; tests/association/test_failures.py",
    "handshake-failure": "the general row; what OpenSSL says with this alert has rows of its own",
    "certificate-unknown": _NOT_OPENSSL,
    "insufficient-security": _NOT_OPENSSL,
    "transport-error": "Twisted never lets OpenSSL near the socket; an embedder's transport may",
    "tls-on-plaintext-port": "no TLS layer there; the acceptor names it in tests/association/test_acceptor.py",
    "close-timeout": "after our own close; tests/association/test_protocol_deadlines.py",
    "answer-timeout": "a deadline of the requestor's; tests/association/test_requestor.py",
    "response-timeout": "a deadline of who invokes an operation; tests/association/test_operations.py",
    "below-policy": "a context cannot negotiate it; the check of the effective policy stops the start",
    "certificate-not-allowed": "by the rules for a peer; tests/tls/test_contexts_certificates.py",
    "token-certificate-mismatch": "a matter of user identity",
    "key-usage-limit": "24 million records; tests/association/test_key_usage.py lowers the limit",
    "local-key-unusable": "the start fails in words; tests/tls/test_material.py",
    "unclassified": "what nobody foresaw",
} | {
    f"{what}-timeout": "aborted in order (Evt15), TLS or not; tests/association/test_protocol_deadlines.py"
    for what in ("idle", "pdu", "write")
} | {
    row.name: _NOT_OPENSSL for row in CONDITIONS.values()
    if row.name.startswith("sent-") and row.name not in PROVOKED
}  # fmt: skip


@pytest.fixture
def bench(link_between: Any, authority: Any, stranger: Any) -> Callable[[TLSVersion], deeds.Bench]:
    return lambda version: deeds.Bench(version, link_between, authority, stranger)


CASES = [
    pytest.param(name, case, version, id=f"{name}-{version.name[-3:]}")
    for name, case in PROVOKED.items() if case.is_possible for version in case.versions
]  # fmt: skip


@pytest.mark.parametrize(("name", "case", "version"), CASES)
def test_a_provoked_failure_has_its_row(bench, name, case, version):
    wire = case.provoke(bench(version))
    user, other = wire.server_user, wire.client_user
    if case.at == "client":
        user, other = other, user
    fault = getattr(user, "found", None) or user.fault
    assert (fault.name, fault.reason) == (name, CONDITIONS[name].reason), fault
    if fault.reason >> 8 in (2, 3) and name != "record-malformed":
        assert fault.alert == fault.reason & 0xFF
    if other.reason is not None:  # the connection is gone for the other side too
        assert other.fault.name != "unclassified", other.fault
        if fault.reason >> 8 == 2:
            assert other.fault.reason == 0x300 + fault.alert  # both sides know, each from its own end


def test_every_row_is_provoked_or_says_why_not():
    assert {*PROVOKED} | {*NOT_PROVOKED} == {*CONDITIONS}
    assert not {*PROVOKED} & {*NOT_PROVOKED}
    for reason in NOT_PROVOKED.values():
        for path in (word for word in reason.split() if word.startswith("tests/")):
            assert (Path(__file__).parents[2] / path).exists(), reason


# Whatever else the network does --------------------------------------------------------------------------------------


@pytest.mark.parametrize("version", [V12, V13])
@pytest.mark.parametrize("writer", ["client", "server"])
def test_no_flipped_bit_of_a_first_flight_is_unclassified(bench, version, writer):
    """Every ninth byte; a side that waits in vain for the rest of a record is then cut off."""
    for at in itertools.count(0, 9):
        wire = bench(version).link()
        if writer == "server":
            wire.server.dataReceived(b"".join(wire.client_end.sent))
            wire.client_end.sent.clear()
        end = wire.client_end if writer == "client" else wire.server_end
        flight = b"".join(end.sent)
        if at >= len(flight):
            break
        end.sent[:] = [flipped(at)(flight)]
        wire.pump().cut()
        for user in (wire.server_user, wire.client_user):
            assert user.fault.name != "unclassified", (at, flight[at], user.fault)
    assert at > 100


@pytest.mark.parametrize("version", [V12, V13])
@pytest.mark.parametrize("at", [0, 1, 2, 3, 4, 5, 12, 20, -1])
def test_no_flipped_bit_of_a_protected_record_is_unclassified(bench, version, at):
    """The type, the version, the length, the nonce, the data, the tag: each is an integrity failure at the reader's."""
    wire = bench(version).established()
    wire.client_user.transport.write(b"P-DATA-TF")
    wire.client_end.sent[-1] = flipped(at)(wire.client_end.sent[-1])
    wire.client_user.transport.write(b"P-DATA-TF" * 10000)
    wire.pump().cut()
    assert wire.server_user.fault.fault_class is FaultClass.INTEGRITY
    assert wire.server_user.fault.reason >> 8 == 2 or wire.server_user.fault.name == "wrong-record-version"
    assert wire.client_user.fault.fault_class is not FaultClass.TRANSPORT
    assert wire.client_user.fault.reason >> 8 == 3
    assert wire.server_user.received == b""


@pytest.mark.parametrize("version", [V12, V13])
def test_an_alert_that_nobody_knows_is_told_with_its_number(bench, version):
    number = next(number for number in range(1, 256) if number not in ALERTS)
    fault = deeds.alert_to_client(number)(bench(version)).client_user.fault
    assert (fault.name, fault.alert) == ("unclassified", number)
    assert f"received alert {number} unknown" in fault.detail


def test_a_flood_of_renegotiations_costs_a_warning_each_and_is_named(bench):
    wire = deeds.renegotiating_client(bench(V12))
    evidence = wire.server_user.evidence
    assert evidence.renegotiations == 1  # the client's library gives up at once; each further one is a new connection
    assert len(evidence.alerts) <= KEPT_ALERTS + 1
    assert wire.client_user.fault.name == "peer-no-renegotiation"
