"""TLS, referrals, and answers that are none."""

from __future__ import annotations

import socket
import subprocess
import sys
from datetime import UTC, datetime

import pytest
from cryptography.hazmat.primitives.asymmetric import ec

from dimsetls.errors import IdentityDenied, IdentityUnavailable
from dimsetls.identity.ldap.connection import DirectoryConnection, DirectoryServer, ServerFailed, client_context
from dimsetls.tls.authority import DevelopmentAuthority
from dimsetls.tls.material import TrustRoots

from ...servers.odd_directory import OddDirectory, ber, result, server_context
from ...servers.slapd import SUFFIX, Slapd
from .scene import GOOD, LONG, TEMPLATE, unavailable


def test_a_server_of_an_unknown_authority(make, check, directory, tmp_path):
    other = tmp_path / "other.pem"
    DevelopmentAuthority("other").own.write(other, tmp_path / "other.key")
    for url in (directory.ldaps, directory.ldap):
        found = check(make(url, trust_roots=other), "alice")
        unavailable(found, "has no TLS that we accept", "self-signed certificate")


def test_the_roots_of_the_system_are_trusted_where_none_are_given(make, check, directory, monkeypatch):
    unavailable(check(make(trust_roots=None), "alice"), "has no TLS that we accept")
    monkeypatch.setenv("SSL_CERT_FILE", str(directory.trust_roots))
    assert check(make(trust_roots=None), "alice") == GOOD[0][1]


@pytest.mark.parametrize("scheme", ["ldaps", "ldap"])
def test_a_certificate_for_another_name(make, check, authority, tmp_path, scheme):
    slapd = Slapd(tmp_path, authority, certificate=authority.issue_server(names=["other.example.org", "127.0.0.2"]))
    try:
        found = check(make(getattr(slapd, scheme)), "alice")
        unavailable(found, "has no TLS that we accept", "not valid for 'localhost'")
        numeric = getattr(slapd, scheme).replace("localhost", "127.0.0.1")
        unavailable(check(make(numeric), "alice"), "not valid for '127.0.0.1'")
    finally:
        slapd.stop()


@pytest.mark.parametrize(("wishes", "words"), [
    ({"private_key": ec.generate_private_key(ec.SECP521R1())}, "curve secp521r1"),
    ({"not_after": datetime(2020, 1, 1, tzinfo=UTC)}, "certificate has expired"),
], ids=["curve", "expired"])
def test_a_certificate_that_is_not_good_enough(make, check, odd, authority, tmp_path, wishes, words):
    authority.issue_server(**wishes).write(tmp_path / "weak.pem", tmp_path / "weak.key")
    server = OddDirectory(result(0x61, 0), server_context(tmp_path / "weak.pem", tmp_path / "weak.key"))
    try:
        unavailable(check(make(server.url), "alice"), "has no TLS that we accept", words)
        assert server.received == b""
    finally:
        server.stop()


def test_a_certificate_for_clients_alone(make, check, authority, tmp_path):
    client = authority.issue_client(names=["localhost"])
    slapd = Slapd(tmp_path, authority, certificate=client)
    try:
        unavailable(check(make(slapd.ldaps), "alice"), "has no TLS that we accept", "certificate purpose")
    finally:
        slapd.stop()


def test_nothing_older_than_tls_1_2_and_no_suite_without_forward_secrecy(directory):
    context = client_context(TrustRoots.load(directory.trust_roots))
    assert context.minimum_version == 0x0303
    assert {suite["kea"] for suite in context.get_ciphers()} <= {"kx-ecdhe", "kx-any"}
    assert all(suite["aead"] for suite in context.get_ciphers())


def test_a_server_without_tls_is_told_nothing(make, check, odd, authority, tmp_path):
    slapd = Slapd(tmp_path, authority, with_tls=False)
    try:
        unavailable(check(make(slapd.ldap), "alice"), "StartTLS", "protocolError", "nothing is sent without TLS")
    finally:
        slapd.stop()
    accepting = odd(result(0x78, 0), secure=False)  # it says yes to StartTLS, and means nothing by it
    unavailable(check(make(accepting.url, dn_template=TEMPLATE), "alice"), "has no TLS that we accept")
    assert b"alice" not in accepting.received
    unavailable(check(make(accepting.url.replace("ldap:", "ldaps:")), "alice"), "has no TLS that we accept")


def test_answers_before_tls_count_for_nothing(make, check, odd):
    """As one in the middle could add them to the answer to StartTLS."""
    two = odd(lambda message: result(0x78, 0)(message) + result(0x61, 0)(ber(0x02, b"\x02")), secure=False)
    unavailable(check(make(two.url, dn_template=TEMPLATE), "alice"), "cannot be reached")


def test_requests_do_not_wait_for_acknowledgements(directory):
    connection = DirectoryConnection(
        DirectoryServer.parse(directory.ldaps), client_context(TrustRoots.load(directory.trust_roots)), LONG
    )
    connection.open()
    try:
        assert connection._link.socket.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
    finally:
        connection.close()


# Referrals ------------------------------------------------------------------------------------------------------------


def test_referrals_are_not_followed(make, check, directory):
    assert check(make(search_base=SUFFIX), "alice") == GOOD[0][1]  # it comes with a reference to the other server
    unavailable(check(make(search_base=f"ou=elsewhere,{SUFFIX}"), "alice"), "referral (10); referrals are not followed")
    template = f"uid={{user}},ou=elsewhere,{SUFFIX}"
    found = check(make(dn_template=template), "alice")
    assert isinstance(found, IdentityDenied | IdentityUnavailable)
    with pytest.raises(BlockingIOError):
        directory.trap.accept()


# Odd answers ----------------------------------------------------------------------------------------------------------


ODD = {
    "operations error": result(0x61, 1),
    "referral": result(0x61, 10),
    "confidentiality required": result(0x61, 13),
    "busy": result(0x61, 51),
    "unavailable": result(0x61, 52),
    "other": result(0x61, 80),
    "no such code": result(0x61, 112),
    "not a bind": result(0x78, 0),
    "not a result": result(0x64, 0),
    "broken control": result(0x61, 0, controls=ber(0xA0, b"\x30\x03\x04\x09x")),
    "nothing": lambda message: b"",
    "web server": lambda message: b"HTTP/1.1 400 Bad Request\r\n\r\n" * 20,
    "garbage": lambda message: ber(0x30, b"\xff" * 9),
    "other message": lambda message: result(0x61, 0)(ber(0x02, b"\x7f")),
    "disconnection": lambda message: result(0x61, 0)(ber(0x02, b"\0")),
}


@pytest.mark.parametrize("answer", ODD.values(), ids=ODD)
def test_answers_that_say_nothing_of_the_user(make, check, odd, answer):
    server = odd(answer)
    unavailable(check(make(server.url, dn_template=TEMPLATE, timeout=0.2), "alice"), server.url)


def test_a_server_that_hangs_before_tls_has_no_fault_in_its_tls(directory):
    connection = DirectoryConnection(
        DirectoryServer.parse(directory.ldaps), client_context(TrustRoots.load(directory.trust_roots)), 0.05
    )
    with directory.frozen(), pytest.raises(ServerFailed, match=r"gave no answer within 0\.05 s$"):
        connection.open()
    connection.close()


def test_servers_are_named_as_they_are_asked():
    urls = ["ldaps://ldap.example.org", "LDAP://ldap.example.org/", "ldaps://[2001:db8::1]:1636", "ldap://127.0.0.1:1"]
    assert [str(DirectoryServer.parse(url)) for url in urls] == [
        "ldaps://ldap.example.org:636", "ldap://ldap.example.org:389", "ldaps://[2001:db8::1]:1636", "ldap://127.0.0.1:1",
    ]  # fmt: skip


def test_importing_warns_of_nothing():
    subprocess.run([sys.executable, "-W", "error", "-c", "import dimsetls.identity.ldap.directory"], check=True)
