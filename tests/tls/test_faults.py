from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from OpenSSL import SSL
from OpenSSL._util import lib
from twisted.internet import error
from twisted.python.failure import Failure

from dimsetls.tls.conditions import CONDITIONS, FaultClass
from dimsetls.tls.evidence import Alert, Evidence, Refusal
from dimsetls.tls.faults import TransportFault, classify, handshake_timeout
from dimsetls.tls.policy import TLSVersion

SENT_FATAL, RECEIVED_FATAL = (lambda n: Alert(True, 2, n)), (lambda n: Alert(False, 2, n))


def ssl_error(*reasons: str) -> SSL.Error:
    return SSL.Error([("SSL routines", "", reason) for reason in reasons])


def evidence(
    *alerts: Alert, server: bool = True, done: bool = True, first: bytes = b"\x16\x03\x01", code: int | None = None,
    renegotiations: int = 0,
) -> Evidence:
    refusals = [] if code is None else [Refusal(code, 0, "CN=peer")]
    return Evidence(server, first, True, done, renegotiations, list(alerts), refusals)


def judged(failure: BaseException | None, seen: Evidence | None) -> str:
    return classify(None if failure is None else Failure(failure), seen).name


# Without TLS ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("failure", "name"), [
    (error.ConnectionRefusedError(), "connect-failed"),
    (error.TimeoutError(), "connect-failed"),
    (error.NoRouteError(), "connect-failed"),
    (error.DNSLookupError("no such host"), "connect-failed"),
    (error.ConnectionLost(), "connection-lost"),
    (error.ConnectionDone(), "connection-lost"),
    (error.ConnectionAborted(), "aborted-locally"),
    (None, "connection-lost"),
    (ssl_error("whatever"), "unclassified"),
])
def test_without_tls_the_exception_decides(failure, name):
    assert judged(failure, None) == name


# With TLS: the exception first ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("failure", [
    error.ConnectionLost(), SSL.SysCallError(-1, "Unexpected EOF"), SSL.Error([]), SSL.Error(),
    ssl_error("unexpected eof while reading"),
])
def test_every_way_to_say_end_of_file(failure):
    assert judged(failure, evidence()) == "truncated"
    assert judged(failure, evidence(done=False)) == "closed-in-handshake"


def test_the_decode_error_that_openssl_reports_at_the_end_of_file_was_never_sent():
    spurious = evidence(SENT_FATAL(50))
    assert judged(error.ConnectionLost(), spurious) == "truncated"
    assert classify(Failure(error.ConnectionLost()), spurious).alert is None
    assert judged(ssl_error("length mismatch"), evidence(SENT_FATAL(50), done=False)) == "decode-error"


def test_an_alert_read_before_the_end_of_file_explains_it():
    assert judged(error.ConnectionLost(), evidence(RECEIVED_FATAL(48))) == "peer-unknown-ca"


@pytest.mark.parametrize("failure", [error.ConnectionDone(), SSL.ZeroReturnError()])
def test_an_orderly_close(failure):
    assert judged(failure, evidence(Alert(False, 1, 0))) == "closed-unreleased"
    assert judged(failure, evidence(done=False)) == "closed-in-handshake"


def test_nothing_is_missing_after_a_close_notify_however_the_stream_then_ends():
    """Over a UNIX socket Twisted reports ConnectionLost even then."""
    assert judged(error.ConnectionLost(), evidence(Alert(False, 1, 0))) == "closed-unreleased"
    assert judged(error.ConnectionLost(), evidence(Alert(True, 1, 0))) == "truncated"  # ours is not theirs


@pytest.mark.parametrize(("failure", "name"), [
    (SSL.SysCallError(104, "ECONNRESET"), "transport-error"),
    (error.ConnectionAborted(), "aborted-locally"),
    (ssl_error("wrong version number"), "wrong-record-version"),
    (ssl_error("a reason of the future"), "unclassified"),
    (None, "unclassified"),
    (RuntimeError("not ours"), "unclassified"),
])
def test_what_else_ends_tls_without_an_alert(failure, name):
    assert judged(failure, evidence()) == name


# Then alerts, X509 codes, texts --------------------------------------------------------------------------------------


@pytest.mark.parametrize("number", [n for n in range(256) if n != 50])
def test_every_alert_number_has_a_code_even_one_that_nobody_knows(number):
    """A sent 100 or 0 is never fatal; all others map to 0x200 + n and 0x300 + n, or to unclassified."""
    for alert, base in ((SENT_FATAL(number), 0x200), (RECEIVED_FATAL(number), 0x300)):
        fault = classify(Failure(ssl_error("")), evidence(alert))
        assert fault.alert == number
        assert fault.reason in (base + number, 0x4FF)
        assert CONDITIONS[fault.name].reason == fault.reason


@pytest.mark.parametrize(("alert", "reasons", "name"), [
    (20, ["cipher operation failed", "decryption failed or bad record mac", "record layer failure"], "record-mac"),
    (80, ["invalid aad", "internal error", "record layer failure"], "record-malformed"),
    (80, ["internal error"], "internal-error"),
    (22, ["packet length too long"], "record-overflow"),
    (10, ["bad record type", "record layer failure"], "unexpected-message"),
    (70, ["wrong version number", "record layer failure"], "wrong-record-version"),
    (50, ["wrong version number", "record layer failure"], "wrong-record-version"),
    (40, ["no shared cipher"], "no-shared-cipher"),
    (40, ["no suitable key share"], "no-shared-group"),
    (40, ["no suitable signature algorithm"], "no-shared-sigalg"),
    (40, ["no shared signature algorithms"], "no-shared-sigalg"),
    (40, ["peer did not return a certificate"], "no-client-certificate"),
    (40, ["something new"], "handshake-failure"),
    (47, ["wrong curve"], "certificate-wrong-curve"),
    (47, ["bad extension"], "illegal-parameter"),
    (116, ["peer did not return a certificate"], "certificate-required"),
    (112, ["callback failed"], "server-name-unknown"),
])
def test_text_tells_apart_what_shares_an_alert(alert, reasons, name):
    assert judged(ssl_error(*reasons), evidence(SENT_FATAL(alert))) == name
    assert judged(ssl_error(*(reason.upper() for reason in reasons)), evidence(SENT_FATAL(alert))) == name


@pytest.mark.parametrize(("code", "alert", "name"), [
    (2, 48, "chain-incomplete"), (3, 48, "crl-unavailable"), (7, 51, "decrypt-error"),
    (9, 42, "certificate-not-yet-valid"), (10, 45, "certificate-expired"), (18, 48, "self-signed"),
    (19, 48, "self-signed"), (20, 48, "unknown-ca"), (21, 48, "chain-incomplete"), (23, 44, "certificate-revoked"),
    (26, 43, "unsupported-certificate"), (62, 42, "certificate-name-mismatch"), (64, 42, "certificate-name-mismatch"),
    (66, 42, "certificate-key-too-small"), (67, 42, "certificate-key-too-small"), (68, 42, "certificate-weak-hash"),
    (79, 48, "chain-invalid"), (1, 80, "internal-error"),
])
def test_the_x509_code_decides_over_the_alert(code, alert, name):
    seen = evidence(SENT_FATAL(alert), done=False, code=code)
    fault = classify(Failure(ssl_error("certificate verify failed")), seen)
    assert (fault.name, fault.reason) == (name, 0x200 + alert)
    assert f"X509 error {code} at depth 0 (CN=peer)" in fault.detail


def test_openssl_s_own_refusal_comes_before_ours():
    seen = evidence(SENT_FATAL(42), done=False, code=13)
    seen.name_mismatch, seen.unreadable = "expected a, the certificate is for b", "the certificate cannot be read"
    assert judged(ssl_error("certificate verify failed"), seen) == "bad-certificate"
    seen.refusals.clear()
    assert judged(ssl_error("certificate verify failed"), seen) == "certificate-name-mismatch"


def test_renegotiation_is_named_when_the_peer_gives_up_over_it():
    asked = evidence(Alert(True, 1, 100), RECEIVED_FATAL(40), renegotiations=1)
    assert judged(ssl_error("tls alert handshake failure"), asked) == "renegotiation"
    assert judged(error.ConnectionLost(), evidence(Alert(True, 1, 100), renegotiations=1)) == "truncated"


# The peer's first bytes ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("first", "name"), [
    (bytes.fromhex("0100000000cd0001"), "plaintext-dicom"),
    (bytes.fromhex("0700"), "plaintext-dicom"),
    (b"GET / HTTP/1.1\r\n", "http"),
    (b"CONNECT pacs:443", "http"),
    (b"PRI * HTTP/2.0\r\n", "http"),
    (b"SSH-2.0-OpenSSH", "not-tls"),
    (bytes.fromhex("0101"), "not-tls"),
    (bytes.fromhex("0800"), "not-tls"),
    (b"\x00", "not-tls"),
])
def test_what_speaks_no_tls_is_known_by_its_first_bytes(first, name):
    for failure in (ssl_error("wrong version number"), error.ConnectionLost()):
        fault = classify(Failure(failure), evidence(done=False, first=first))
        assert fault.name == name
        assert first.hex(" ") in fault.detail
    answered = evidence(done=False, server=False, first=first)
    assert judged(ssl_error("wrong version number"), answered) == "plaintext-answer"


def test_a_first_record_that_is_an_alert():
    first = bytes.fromhex("15030100020228")
    assert judged(ssl_error("unexpected message"), evidence(SENT_FATAL(10), done=False, first=first)) == "alert-first"
    received = evidence(RECEIVED_FATAL(40), done=False, server=False, first=first)
    assert judged(ssl_error("tls alert handshake failure"), received) == "peer-handshake-failure"


@pytest.mark.parametrize(("seen", "name"), [
    (None, "silent-peer"),
    (evidence(done=False, first=b""), "silent-peer"),
    (evidence(done=False, first=bytes.fromhex("010000")), "plaintext-dicom"),
    (evidence(done=False), "handshake-timeout"),
])
def test_the_handshake_timer_tells_silence_from_slowness(seen, name):
    assert handshake_timeout(seen).name == name


# The value -----------------------------------------------------------------------------------------------------------


def test_a_condition_can_be_named():
    fault = TransportFault.named("idle-timeout", detail="600 s")
    assert (fault.reason, fault.fault_class, fault.detail) == (0x432, FaultClass.TRANSPORT, "600 s")
    assert fault.sentence == CONDITIONS["idle-timeout"].sentence
    assert str(fault) == f"{fault.sentence} (idle-timeout: 600 s)"
    assert str(TransportFault.named("silent-peer")).endswith(" (silent-peer)")


def test_the_detail_is_one_printable_line():
    seen = evidence(SENT_FATAL(48), done=False)
    seen.refusals.append(Refusal(20, 0, "CN=evil\nERROR all is lost\x1b[2J"))
    detail = classify(Failure(ssl_error("certificate verify failed")), seen).detail
    assert detail.isprintable()
    assert "CN=evil\N{REPLACEMENT CHARACTER}ERROR" in detail


# Against the installed OpenSSL ---------------------------------------------------------------------------------------


def flip_last_bit(record: bytes) -> bytes:
    return record[:-1] + bytes([record[-1] ^ 1])


def established(link: Callable[..., Any], policy: Any) -> Any:
    wire = link(policy).pump()
    assert wire.server_user.session is not None
    return wire


def faults(wire: Any) -> tuple[TransportFault, TransportFault]:
    return wire.server_user.fault, wire.client_user.fault


@pytest.mark.parametrize("writer", ["client", "server"])
def test_a_tampered_record_gives_both_sides_an_integrity_fault(link, policy, writer):
    """PS3.15 B.12: on a failed integrity check both sides issue an A-P-ABORT with their reason."""
    wire = established(link, policy)
    end, user = (wire.client_end, wire.client_user) if writer == "client" else (wire.server_end, wire.server_user)
    user.transport.write(b"P-DATA-TF")
    end.sent[-1] = flip_last_bit(end.sent[-1])
    wire.pump()
    detecting, other = faults(wire) if writer == "client" else faults(wire)[::-1]
    assert (detecting.reason, detecting.name, detecting.alert) == (0x214, "record-mac", 20)
    assert (other.reason, other.name, other.alert) == (0x314, "peer-bad-record-mac", 20)
    assert detecting.fault_class is other.fault_class is FaultClass.INTEGRITY
    assert wire.server_user.received == wire.client_user.received == b""


def test_replayed_reordered_and_dropped_records(link, policy):
    for disturb in (
        lambda sent: [sent[0], sent[0]],
        lambda sent: sent[::-1],
        lambda sent: sent[1:],
    ):
        wire = established(link, policy)
        wire.client_user.transport.write(b"one")
        wire.client_user.transport.write(b"two")
        wire.client_end.sent[:] = disturb(wire.client_end.sent)
        wire.pump()
        assert [fault.reason for fault in faults(wire)] == [0x214, 0x314]


@pytest.mark.parametrize(("record", "in_1_2", "in_1_3"), [
    ("15 03 03 00 02 02 28", 0x214, 0x20A),  # a forged alert is not believed
    ("17 03 03 00 05 68 65 6c 6c 6f", 0x214, 0x214),
    ("17 03 03 00 00", 0x214, 0x214),
    ("17 03 03 48 00", 0x216, 0x216),
    ("17 02 00 00 05 68 65 6c 6c 6f", 0x405, 0x405),
    ("16 03 03 00 05 68 65 6c 6c 6f", 0x214, 0x20A),
])
def test_injected_records_are_integrity_faults(link, policy, record, in_1_2, in_1_3):
    wire = established(link, policy)
    wire.server.dataReceived(bytes.fromhex(record))
    wire.pump()
    fault = wire.server_user.fault
    assert fault.reason == (in_1_2 if policy.maximum_version == TLSVersion.TLS_1_2 else in_1_3)
    assert fault.fault_class is FaultClass.INTEGRITY
    assert wire.client_user.fault.fault_class in (FaultClass.INTEGRITY, FaultClass.POLICY, FaultClass.NEGOTIATION)
    assert 0x300 < wire.client_user.fault.reason < 0x400


def test_a_cut_is_a_truncation_on_both_sides(link, policy):
    wire = established(link, policy).cut()
    assert [fault.reason for fault in faults(wire)] == [0x401, 0x401]
    assert [fault.alert for fault in faults(wire)] == [None, None]


def test_a_cut_inside_a_record_is_a_truncation_and_delivers_nothing(link, policy):
    wire = established(link, policy)
    wire.client_user.transport.write(b"P-DATA-TF")
    wire.server.dataReceived(wire.client_end.sent.pop()[:-1])
    wire.cut()
    assert wire.server_user.fault.reason == 0x401
    assert wire.server_user.received == b""


def test_an_orderly_close_is_told_from_a_cut(link, policy):
    wire = established(link, policy)
    wire.client_user.transport.loseConnection()
    wire.pump()
    assert wire.server_user.fault.name == "closed-unreleased"


def test_an_abort_is_a_truncation_at_the_other_side(link, policy):
    wire = established(link, policy)
    wire.client_user.transport.abortConnection()
    wire.pump()
    assert wire.server_user.fault.name == "truncated"


@pytest.mark.parametrize(("first", "name"), [
    (bytes.fromhex("0100000000cd00010000"), "plaintext-dicom"),
    (b"GET / HTTP/1.1\r\nHost: pacs\r\n\r\n", "http"),
    (b"CONNECT pacs:443 HTTP/1.1\r\n\r\n", "http"),
    (b"SSH-2.0-OpenSSH_9.2\r\n", "not-tls"),
])
@pytest.mark.parametrize("size", [1, 1000])
def test_strangers_on_a_tls_port(link, first, name, size):
    """Whole or byte by byte."""
    wire = link()
    wire.client_end.sent.clear()
    for at in range(0, len(first), size):
        if not wire.server_end.disconnecting:
            wire.server.dataReceived(first[at:at + size])
    wire.pump()
    assert wire.server_user.fault.name == name


def test_a_server_that_answers_in_plaintext(link):
    wire = link()
    wire.client.dataReceived(bytes.fromhex("07000000000400000201"))  # A-ABORT
    wire.pump()
    assert wire.client_user.fault.name == "plaintext-answer"


def test_a_peer_that_goes_away_before_the_end_of_the_handshake(link):
    for sent in (0, 1):
        wire = link()
        if sent:
            wire.server.dataReceived(wire.client_end.sent.pop(0))
        wire.cut()
        assert [fault.name for fault in faults(wire)] == ["closed-in-handshake", "closed-in-handshake"]


def test_garbage_for_a_handshake_message(link):
    wire = link()
    hello = bytearray(wire.client_end.sent.pop(0))
    hello[9:11] = b"\x09\x09"  # the version in the ClientHello
    hello[43] = 0xFF  # the length of the session id
    wire.client_end.sent.append(bytes(hello))
    wire.pump()
    assert [fault.name for fault in faults(wire)] == ["decode-error", "peer-decode-error"]


@pytest.mark.skipif(not hasattr(lib, "SSL_CTX_set1_curves_list"), reason="this pyOpenSSL cannot restrict groups")
def test_a_certificate_on_a_curve_outside_the_policy(link, authority):
    client = authority.issue_client(private_key=ec.generate_private_key(ec.SECP521R1()))

    def only_1_2(context: SSL.Context) -> None:
        context.use_certificate(client.certificate)
        context.use_privatekey(client.private_key)
        context.set_max_proto_version(SSL.TLS1_2_VERSION)

    assert link(raw_client=only_1_2).pump().server_user.fault.name == "certificate-wrong-curve"
