"""Answers from a real TLS server, in memory, and some made by hand."""

import ssl

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dimsetls.node.probe.hello import (
    CLASS_OF,
    LARGEST_FLIGHT,
    P_256,
    P_384,
    SMALL_GROUPS,
    SSL_3_0,
    SUITES,
    TLS_1_1,
    TLS_1_2,
    TLS_1_3,
    X25519,
    SuiteClass,
    client_hello,
    read_alert,
    read_flight,
    suite_name,
    version_name,
)
from dimsetls.tls.flights import ALPN, ENCRYPT_THEN_MAC, EXTENDED_MASTER_SECRET, RENEGOTIATION_INFO

from .toys import Keys

pytestmark = pytest.mark.filterwarnings("ignore:ssl.TLSVersion:DeprecationWarning")

RANDOM = bytes(range(32))
HANDSHAKE_FAILURE, PROTOCOL_VERSION = 40, 70


@pytest.fixture(scope="module")
def keys(tmp_path_factory):
    return Keys(tmp_path_factory.mktemp("pki"))


def answer(context, hello):
    """What OpenSSL as a server says to a ClientHello."""
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    server = context.wrap_bio(incoming, outgoing, server_side=True)
    incoming.write(hello)
    with pytest.raises((ssl.SSLWantReadError, ssl.SSLError)):
        server.do_handshake()
    return outgoing.read()


def suites(*kinds):
    return [suite for kind in kinds for suite in SUITES[kind]]


def test_what_a_good_server_answers(keys):
    heard = answer(keys.context(), client_hello(RANDOM, suites(SuiteClass.RECOMMENDED), groups=(P_256,)))
    flight = read_flight(heard)
    assert flight.version == TLS_1_2
    assert CLASS_OF[flight.suite] is SuiteClass.RECOMMENDED
    assert flight.compression == 0
    assert flight.group == "P-256"
    assert flight.extensions >= {RENEGOTIATION_INFO, EXTENDED_MASTER_SECRET}
    assert flight.downgraded, "it could have spoken TLS 1.3, and says so"
    assert flight.certificate_requested
    assert flight.complete
    assert read_alert(heard) is None


@pytest.mark.parametrize(("group", "name"), [(P_256, "P-256"), (P_384, "P-384"), (X25519, "X25519")])
def test_a_group_that_is_offered_alone_is_taken(keys, group, name):
    hello = client_hello(RANDOM, suites(SuiteClass.RECOMMENDED), groups=(group,))
    assert read_flight(answer(keys.context(), hello)).group == name


@pytest.mark.parametrize(("kinds", "wishes", "alert"), [
    (list(SuiteClass)[:3], {}, HANDSHAKE_FAILURE),
    ([SuiteClass.STATIC, SuiteClass.CBC], {}, HANDSHAKE_FAILURE),
    ([SuiteClass.RECOMMENDED], {"groups": SMALL_GROUPS}, HANDSHAKE_FAILURE),
    ([SuiteClass.CBC], {"version": TLS_1_1}, PROTOCOL_VERSION),
    ([SuiteClass.STATIC], {"version": SSL_3_0}, HANDSHAKE_FAILURE),
])
def test_what_a_good_server_refuses(keys, kinds, wishes, alert):
    heard = answer(keys.context(), client_hello(RANDOM, suites(*kinds), **wishes))
    assert read_alert(heard) == alert
    assert read_flight(heard) is None


@pytest.mark.parametrize(("ciphers", "kind"), [
    ("NULL-SHA256", SuiteClass.NULL),
    ("AECDH-AES128-SHA", SuiteClass.ANONYMOUS),
    ("AES128-SHA", SuiteClass.STATIC),
    ("ECDHE-RSA-AES256-SHA384", SuiteClass.CBC),
])
def test_a_weak_server_takes_what_it_is_offered(keys, ciphers, kind):
    context = keys.context(ciphers=f"{ciphers}:@SECLEVEL=0", newest=ssl.TLSVersion.TLSv1_2)
    flight = read_flight(answer(context, client_hello(RANDOM, suites(*SuiteClass))))
    assert CLASS_OF[flight.suite] is kind
    assert not flight.downgraded
    assert ENCRYPT_THEN_MAC in flight.extensions


def test_an_old_server_answers_in_its_own_version(keys):
    context = keys.context(ciphers="ALL:@SECLEVEL=0", oldest=ssl.TLSVersion.TLSv1, newest=ssl.TLSVersion.TLSv1)
    flight = read_flight(answer(context, client_hello(RANDOM, suites(SuiteClass.CBC), version=TLS_1_1)))
    assert version_name(flight.version) == "TLS 1.0"


def test_the_server_name_and_the_application_protocol_arrive(keys):
    context = keys.context(alpn=("dicom",))
    called = []
    context.sni_callback = lambda server, name, _: called.append(name)
    hello = client_hello(RANDOM, suites(SuiteClass.RECOMMENDED), server_name="pacs.example", alpn=b"dicom")
    flight = read_flight(answer(context, hello))
    assert called == ["pacs.example"]
    assert ALPN in flight.extensions


def test_an_answer_comes_in_any_pieces(keys):
    heard = answer(keys.context(), client_hello(RANDOM, suites(SuiteClass.RECOMMENDED)))
    known = [read_flight(heard[:size]) for size in range(len(heard) + 1)]
    assert known[0] is None
    assert known[-1].complete
    assert [flight.complete for flight in known if flight is not None].count(True) == 1


def record(kind, body, version=b"\x03\x03"):
    return bytes((kind,)) + version + len(body).to_bytes(2, "big") + body


def message(kind, body):
    return bytes((kind,)) + len(body).to_bytes(3, "big") + body


def server_hello(suite, extensions=b"", random=RANDOM):
    end = suite.to_bytes(2, "big") + b"\0"
    return message(2, b"\x03\x03" + random + b"\0" + end + len(extensions).to_bytes(2, "big") + extensions)


def test_dhe_shows_its_size():
    prime = (1 << 1023 | 1).to_bytes(128, "big")
    exchange = message(12, len(prime).to_bytes(2, "big") + prime + b"\0\1\2")
    flight = read_flight(record(0x16, server_hello(0x0033) + exchange + message(14, b"")))
    assert (flight.dh_bits, flight.group, flight.complete) == (1024, "", True)


def test_tls_1_3_shows_its_version_and_group_and_then_encrypts():
    extensions = b"\0\x2b\0\2\x03\x04" + b"\0\x33\0\4\0\x1d\0\0"
    hidden = record(0x14, b"\1") + record(0x17, bytes(50))
    flight = read_flight(record(0x16, server_hello(0x1302, extensions)) + hidden)
    assert (flight.version, flight.group, flight.complete) == (TLS_1_3, "X25519", False)


def test_one_message_may_span_records():
    whole = server_hello(0xC02F)
    assert read_flight(record(0x16, whole[:5]) + record(0x16, whole[5:])).suite == 0xC02F


def test_a_warning_is_no_refusal():
    assert read_alert(record(0x15, b"\1\x70") + record(0x15, b"\2\x28")) == HANDSHAKE_FAILURE
    assert read_alert(record(0x15, b"\1\x70")) is None


@pytest.mark.parametrize("heard", [b"HTTP/1.1 400 Bad Request\r\n", b"\x07\0\0\0\0\4\0\0\0\0", b"\x16\x02\0\0\0"])
def test_what_is_no_tls_is_refused(heard):
    with pytest.raises(ValueError, match="cannot begin with"):
        read_flight(heard)
    with pytest.raises(ValueError, match="cannot begin with"):
        read_alert(heard)


@pytest.mark.parametrize("body", [b"", bytes(37), bytes(34) + b"\xff" + bytes(10)])
def test_a_server_hello_that_lies_is_refused(body):
    with pytest.raises(ValueError, match="too short"):
        read_flight(record(0x16, message(2, body)))


@given(st.binary(max_size=80))
def test_nothing_that_a_peer_says_is_more_than_no_tls(body):
    messages = body, message(2, body), server_hello(0x33, body) + body
    for heard in (body, *(record(0x16, each) for each in messages)):
        try:
            read_alert(heard)
            read_flight(heard)
        except ValueError:
            pass


def test_every_suite_has_one_name_and_one_class():
    assert len(CLASS_OF) == sum(map(len, SUITES.values()))
    assert suite_name(0xC02F) == "TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256"
    assert suite_name(0xFFFF) == "FFFFH"
    assert len(client_hello(RANDOM, CLASS_OF)) < LARGEST_FLIGHT
