from __future__ import annotations

import pytest
from OpenSSL import SSL
from twisted.internet.testing import StringTransport

from dimsetls.tls.evidence import KEPT_ALERTS, KEPT_BYTES, Alert, ObservedConnection, evidence_of, record_event

WARNING_READ = SSL.SSL_CB_ALERT | SSL.SSL_CB_READ


def connection() -> ObservedConnection:
    return ObservedConnection(SSL.Context(SSL.TLS_METHOD), is_server=True)


def test_evidence_is_found_at_connection_made_and_outlives_the_connection(link):
    wire = link()
    seen = wire.server_user.evidence
    assert seen is evidence_of(wire.server)
    assert seen.is_server
    assert not wire.client_user.evidence.is_server
    wire.pump()
    assert seen.handshake_started
    assert seen.handshake_completed
    wire.cut()
    assert evidence_of(wire.server) is None
    assert seen.handshake_completed


@pytest.mark.parametrize("transport", [StringTransport(), object(), None])
def test_there_is_no_evidence_without_tls(transport):
    assert evidence_of(transport) is None


@pytest.mark.parametrize("size", [1, 3, 1000])
def test_the_first_bytes_are_kept_however_they_come(size):
    observed, data = connection(), bytes(range(40))
    for at in range(0, len(data), size):
        observed.bio_write(data[at:at + size])
    assert observed.evidence.first_bytes == data[:KEPT_BYTES]
    assert observed.bio_write(b"more") == 4


def test_alerts_are_kept_with_direction_level_and_number(link, policy):
    wire = link(policy, name="pacs.example").pump()
    assert wire.client_user.evidence.alerts == [Alert(sent=True, level=2, number=42)]
    assert wire.server_user.evidence.alerts == [Alert(sent=False, level=2, number=42)]


def test_a_refused_certificate_is_kept_with_code_depth_and_subject(link, policy, stranger):
    wire = link(policy, client=stranger.issue_client("somebody")).pump()
    [refusal] = wire.server_user.evidence.refusals
    assert (refusal.code, refusal.depth) == (20, 0)
    assert refusal.subject.startswith("CN=somebody,")


def test_a_good_connection_leaves_only_its_close(link, policy):
    wire = link(policy).pump()
    wire.client_user.transport.loseConnection()
    wire.pump()
    assert wire.server_user.evidence.refusals == []
    assert [alert.number for alert in wire.server_user.evidence.alerts] == [0, 0]
    assert wire.server_user.evidence.renegotiations == 0


def test_a_flood_of_warnings_is_cut_short_and_the_fatal_alert_is_kept():
    observed = connection()
    for _ in range(10 * KEPT_ALERTS):
        record_event(observed, WARNING_READ, 1 << 8 | 90)
    record_event(observed, WARNING_READ, 2 << 8 | 40)
    assert len(observed.evidence.alerts) == KEPT_ALERTS + 1
    assert observed.evidence.alerts[-1] == Alert(sent=False, level=2, number=40)
