from __future__ import annotations

import re

from dimsetls.codes import ProviderReason
from dimsetls.tls.conditions import ALERTS, BY_REASON, CONDITIONS, FaultClass

# Rows of the failure table: code, name, class, typed a second time.
EXPECTED = """
0 reason-not-specified protocol | 1 unrecognized-pdu protocol | 2 unexpected-pdu protocol
4 unrecognized-pdu-parameter protocol | 5 unexpected-pdu-parameter protocol | 6 invalid-pdu-parameter-value protocol
101 connect-failed transport | 102 connection-lost transport | 103 aborted-locally transport
104 pending-limit policy | 20A unexpected-message integrity | 20A message-flood policy | 214 record-mac integrity
214 record-malformed integrity | 216 record-overflow integrity | 228 handshake-failure negotiation
228 no-shared-cipher negotiation | 228 no-shared-group negotiation | 228 no-shared-sigalg negotiation
228 no-secure-renegotiation negotiation
228 no-client-certificate authentication | 22A bad-certificate authentication
22A certificate-not-yet-valid authentication | 22A certificate-key-too-small authentication
22A certificate-weak-hash authentication | 22A certificate-name-mismatch authentication
22A crl-not-yet-valid authentication | 22B unsupported-certificate authentication
22C certificate-revoked authentication | 22D certificate-expired authentication | 22D crl-expired authentication
22E certificate-unknown authentication | 22F illegal-parameter negotiation
22F certificate-wrong-curve authentication | 22F version-downgrade integrity | 230 unknown-ca authentication
230 self-signed authentication | 230 chain-incomplete authentication | 230 chain-invalid authentication
230 crl-unavailable authentication | 232 decode-error integrity | 233 decrypt-error integrity
246 protocol-version negotiation | 247 insufficient-security negotiation | 250 internal-error policy
250 verification-refused policy | 256 inappropriate-fallback negotiation | 270 server-name-unknown negotiation
271 bad-certificate-status authentication | 271 certificate-status-stale authentication
271 certificate-status-missing authentication | 271 certificate-status-stale authentication
271 certificate-status-missing authentication | 274 certificate-required authentication
278 no-application-protocol negotiation | 30A peer-unexpected-message integrity | 314 peer-bad-record-mac integrity
315 peer-decryption-failed integrity | 316 peer-record-overflow integrity | 328 peer-handshake-failure negotiation
32A peer-bad-certificate authentication | 32B peer-unsupported-certificate authentication
32C peer-certificate-revoked authentication | 32D peer-certificate-expired authentication
32E peer-certificate-unknown authentication | 32F peer-illegal-parameter negotiation
330 peer-unknown-ca authentication | 331 peer-access-denied authentication | 332 peer-decode-error integrity
333 peer-decrypt-error integrity | 346 peer-protocol-version negotiation | 347 peer-insufficient-security negotiation
350 peer-internal-error policy | 356 peer-inappropriate-fallback negotiation | 364 peer-no-renegotiation policy
370 peer-unrecognized-name negotiation | 371 peer-bad-certificate-status authentication
374 peer-certificate-required authentication | 378 peer-no-application-protocol negotiation | 401 truncated integrity
403 transport-error transport | 404 closed-unreleased transport | 405 wrong-record-version integrity
406 closed-in-handshake transport | 410 alpn-absent policy | 411 renegotiation policy
420 plaintext-dicom negotiation | 421 http negotiation | 422 not-tls negotiation | 423 plaintext-answer negotiation
424 tls-on-plaintext-port negotiation | 425 alert-first negotiation | 430 handshake-timeout transport
431 silent-peer transport | 432 idle-timeout transport | 433 close-timeout transport | 434 pdu-timeout transport
435 write-timeout transport | 436 answer-timeout transport | 437 response-timeout transport
440 below-policy policy | 441 certificate-not-allowed policy | 442 token-certificate-mismatch authentication
443 key-usage-limit policy | 450 local-key-unusable policy | 4FF unclassified transport
"""


def listed() -> list[tuple[int, str, FaultClass]]:
    rows = [row.split() for line in EXPECTED.strip().splitlines() for row in line.split(" | ")]
    return [(int(code, 16), name, FaultClass(fault_class)) for code, name, fault_class in rows]


def test_the_table():
    rows = [(row.reason, row.name, row.fault_class) for row in CONDITIONS.values()]
    generated = {row for row in rows if re.match(r"(sent|peer)-", row[1])} - {*listed()}
    assert {*rows} - generated == {*listed()}
    assert len(rows) == len({*rows})


# Every alert of RFC 8446 §6 and RFC 5246 §7.2, typed a second time; close_notify is no failure.
RFC_8446 = {*range(42, 52), 10, 20, 22, 40, 70, 71, 80, 86, 90, 109, 110, 112, 113, 115, 116, 120}
RFC_5246 = {*range(40, 52), 10, 20, 21, 22, 30, 60, 70, 71, 80, 90, 100, 110}


def test_every_alert_has_a_code_both_ways():
    assert {*ALERTS} >= RFC_8446 | RFC_5246 | {0}
    for number in {*ALERTS} - {0}:
        assert 0x200 + number in BY_REASON
        assert 0x300 + number in BY_REASON


def test_the_numbering_is_closed():
    """No code is outside the ranges, and none of 200H and 300H is of an alert that does not exist."""
    for row in CONDITIONS.values():
        match row.reason >> 8:
            case 0:
                assert row.reason in {*ProviderReason}
                assert row.fault_class is FaultClass.PROTOCOL
            case 2 | 3:
                assert row.reason & 0xFF in ALERTS
            case other:
                assert other in (1, 4)
    assert {*ProviderReason} <= {*BY_REASON}


def test_a_code_leads_to_its_most_general_row():
    general = {0x20A: "unexpected-message", 0x214: "record-mac", 0x228: "handshake-failure", 0x22A: "bad-certificate",
               0x22D: "certificate-expired", 0x22F: "illegal-parameter", 0x230: "unknown-ca", 0x250: "internal-error",
               0x271: "bad-certificate-status"}  # fmt: skip
    assert {code: BY_REASON[code].name for code in general} == general


def test_the_three_texts_make_one_sentence():
    for row in CONDITIONS.values():
        assert row.sentence == f"{row.meaning}: {row.cause}; {row.remedy}."
        assert row.meaning[0].isupper()
        for text in (row.meaning, row.cause, row.remedy):
            assert text
            assert text == text.strip()
            assert not text.endswith(".")
            assert not re.search(r": |; |\. |  ", text), text


def test_only_what_the_standard_numbers_looks_like_the_wire():
    """A code of ours does not fit into the byte of an A-ABORT (PS3.8 Table 9-26)."""
    assert {row.reason for row in CONDITIONS.values() if row.reason <= 0xFF} == {*ProviderReason}
