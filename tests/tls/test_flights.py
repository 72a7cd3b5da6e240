from __future__ import annotations

from typing import Any

import pytest
from OpenSSL import SSL

from dimsetls.tls import flights
from dimsetls.tls.contexts import ClientConnectionCreator, ServerConnectionCreator
from dimsetls.tls.flights import GROUPS, SIGNATURES, SUITES
from dimsetls.tls.policy import BCP195_RFC9325, PROFILES, TLSVersion

FATAL_40 = bytes.fromhex("15 0303 0002 02 28")


def spoken(connection: Any, heard: bytes = b"") -> bytes:
    if heard:
        connection.bio_write(heard)
    with pytest.raises(SSL.Error):
        connection.do_handshake()
    written: bytes = connection.bio_read(1 << 16)
    return written


@pytest.fixture
def answer(authority: Any) -> Any:
    creator = ServerConnectionCreator(BCP195_RFC9325, authority.issue_server().material, authority.trust_roots)
    return lambda hello: flights.read_answer(spoken(creator.serverConnectionForTLS(None), hello))


@pytest.mark.parametrize("policy", PROFILES.values(), ids=PROFILES)
def test_everything_that_a_profile_names_has_a_number_that_is_offered(policy):
    assert {SUITES[name] for name in policy.cipher_suites + policy.tls13_cipher_suites} <= {*flights.ALL_SUITES}
    assert {GROUPS[name] for name in policy.groups} <= {*flights.ALL_GROUPS}
    assert {SIGNATURES[name] for name in policy.signature_algorithms} <= {*flights.ALL_SIGNATURES}


def test_no_signalling_value_is_offered_as_a_suite():
    assert not {0x00FF, 0x5600} & {*flights.ALL_SUITES}


def test_our_client_is_read_as_openssl_writes_it(authority):
    creator = ClientConnectionCreator(BCP195_RFC9325, authority.trust_roots, server_name="localhost")
    hello = flights.read_client_hello(spoken(creator.clientConnectionForTLS(None)))
    assert hello.version == TLSVersion.TLS_1_2
    assert hello.versions == (TLSVersion.TLS_1_3, TLSVersion.TLS_1_2)
    assert {SUITES[name] for name in BCP195_RFC9325.cipher_suites} < {*hello.suites}
    assert {SIGNATURES[name] for name in BCP195_RFC9325.signature_algorithms} == {*hello.signature_algorithms}
    assert {GROUPS["X25519"], GROUPS["P-256"], GROUPS["P-384"]} <= {*hello.groups}
    assert hello.compressions == b"\0"
    assert hello.extensions[flights.ALPN].endswith(b"dicom")
    assert hello.extensions[flights.SERVER_NAME].endswith(b"localhost")


def test_a_server_of_tls_1_2_answers_in_the_clear(answer):
    found = answer(flights.client_hello(version=TLSVersion.TLS_1_2, groups=[GROUPS["P-256"]]))
    assert (found.alert, found.version) == (None, TLSVersion.TLS_1_2)
    assert found.suite == SUITES["ECDHE-ECDSA-AES256-GCM-SHA384"]
    assert (found.group, found.prime_bits, found.compression, found.has_session_id) == (GROUPS["P-256"], 0, 0, False)
    assert flights.EXTENDED_MASTER_SECRET in found.extensions
    assert {*found.requested_signature_algorithms} == {*SIGNATURES.values()}


def test_a_server_of_tls_1_3_asks_for_the_key_share_that_is_missing(answer):
    found = answer(flights.client_hello(version=TLSVersion.TLS_1_3, groups=[GROUPS["P-384"]]))
    assert (found.alert, found.version, found.group) == (None, TLSVersion.TLS_1_3, GROUPS["P-384"])
    assert found.suite == SUITES["TLS_AES_256_GCM_SHA384"]
    assert found.requested_signature_algorithms is None  # it would be encrypted


def test_a_refusal_is_an_alert(answer):
    assert answer(flights.client_hello(version=TLSVersion.TLS_1_2, suites=[0x002F])).alert == 40
    assert answer(flights.client_hello(version=0x0302)).alert == 70
    assert flights.read_answer(FATAL_40).alert == 40


def test_a_server_hello_of_ours_is_read_back_and_understood(authority):
    creator = ClientConnectionCreator(BCP195_RFC9325, authority.trust_roots, server_name="localhost")
    suite = SUITES["ECDHE-ECDSA-AES256-GCM-SHA384"]
    extensions = {flights.RENEGOTIATION_INFO: b"\0", flights.EXTENDED_MASTER_SECRET: b""}
    for version, alert in ((0x0302, 70), (TLSVersion.TLS_1_2, None)):
        hello = flights.server_hello(version=version, suite=suite, extensions=extensions)
        found = flights.read_answer(hello)
        assert (found.version, found.suite, found.extensions) == (version, suite, extensions)
        connection = creator.clientConnectionForTLS(None)
        spoken(connection)
        connection.bio_write(hello)
        with pytest.raises(SSL.Error):
            connection.do_handshake()
        assert [each.number for each in connection.evidence.alerts] == ([alert] if alert else [])


@pytest.mark.parametrize("length", range(0, 60, 7))
def test_half_an_answer_reads_as_far_as_it_goes(length):
    hello = flights.server_hello(version=TLSVersion.TLS_1_2, suite=0xC02C, extensions={})
    assert flights.read_answer(hello[:length]).alert is None
