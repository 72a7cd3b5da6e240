from __future__ import annotations

import pytest

from dimsetls.association.admission import REJECT
from dimsetls.codes import REJECT_REASONS
from dimsetls.errors import IdentityDenied, IdentityUnavailable, IdentityUnknown
from dimsetls.identity.http.mapping import HTTPPolicy, Reason, Refused
from dimsetls.identity.http.outcomes import (
    CONGESTED,
    DENIED,
    INVALID_REQUEST,
    INVALID_TOKEN,
    REFUSALS,
    UNAUTHORIZED,
    HTTPAnswer,
    Unanswered,
    challenges,
    http_answer,
    http_status_of_operation,
    http_status_of_reject,
    read_negotiate,
    reject_of,
    reject_of_http,
    status_of_http,
    write_negotiate,
)
from dimsetls.ul.pdus import AssociateRJ


def test_rejections_are_those_of_the_acceptor():
    for reject, what in ((DENIED, "user identity"), (CONGESTED, "temporary congestion")):
        assert (reject.result, reject.source, reject.reason) == REJECT[what]


@pytest.mark.parametrize(("error", "answer", "reject"), [
    (IdentityDenied("x"), INVALID_TOKEN, DENIED),
    (IdentityUnknown("x"), INVALID_TOKEN, DENIED),
    (IdentityUnavailable("x"), HTTPAnswer(503), CONGESTED),
])  # fmt: skip
def test_what_a_back_end_says(error, answer, reject):
    assert http_answer(error) == answer
    assert reject_of(error) == reject


@pytest.mark.parametrize("reason", Reason)
def test_a_credential_that_does_not_map(reason):
    refused = Refused(reason, "x")
    assert reject_of(refused) == DENIED
    if reason in REFUSALS:
        assert http_answer(refused).status in (400, 401, 431)


def test_several_credentials_are_an_invalid_request():
    assert http_answer(Refused(Reason.SEVERAL, "x")) == INVALID_REQUEST == HTTPAnswer(400, "invalid_request")


REJECTS = [
    (1, 2, 1, 401), (1, 1, 1, 401),  # some acceptors say it so
    (1, 1, 2, 502), (1, 1, 3, 502), (1, 1, 7, 502), (1, 2, 2, 502), (1, 3, 1, 502), (1, 1, 9, 502),
    (2, 3, 1, 503), (2, 3, 2, 503), (2, 2, 1, 503), (2, 1, 1, 503),
]  # fmt: skip


@pytest.mark.parametrize(("result", "source", "reason", "status"), REJECTS)
def test_a_rejection(result, source, reason, status):
    assert http_status_of_reject(AssociateRJ(result, source, reason)) == status


def test_every_reason_of_a_rejection_is_in_the_table():
    assert {(source, reason) for result, source, reason, _ in REJECTS} > {*REJECT_REASONS}


def test_a_rejection_that_no_other_credential_helps_against():
    assert http_status_of_reject(DENIED, another_may_help=False) == 403
    assert http_status_of_reject(AssociateRJ(1, 1, 3), another_may_help=False) == 502
    assert http_status_of_reject(CONGESTED, another_may_help=False) == 503


def test_a_rejection_where_nothing_was_presented():
    assert http_status_of_reject(DENIED, presented=False) == 401
    assert http_status_of_reject(AssociateRJ(1, 1, 1), presented=False) == 502


@pytest.mark.parametrize(("status", "answer"), [
    (0x0124, 403), (0xA700, 503), (0xA701, 503), (0xA702, 503), (0xA801, None), (0x0000, None), (0xFF00, None),
    (0x0110, None), (0xC000, None), (0x0122, None), (0xA900, None),
])  # fmt: skip
def test_the_status_of_an_operation(status, answer):
    assert http_status_of_operation(status) == answer


@pytest.mark.parametrize(("status", "reject"), [
    (200, None), (204, None), (404, None), (405, None), (406, None), (301, None),
    (400, DENIED), (401, DENIED), (403, DENIED), (431, DENIED),
    (407, CONGESTED), (429, CONGESTED), (500, CONGESTED), (502, CONGESTED), (503, CONGESTED), (504, CONGESTED),
    (None, CONGESTED),
])  # fmt: skip
def test_an_http_server_that_is_asked_before_the_association_is_accepted(status, reject):
    assert reject_of_http(status) == reject


@pytest.mark.parametrize(("status", "answer"), [
    (401, 0x0124), (403, 0x0124), (429, 0xA700), (503, 0xA700), (200, None), (404, None), (400, None), (500, None),
])  # fmt: skip
def test_an_http_server_that_refuses_an_operation(status, answer):
    assert status_of_http(status) == answer


def test_a_peer_that_does_not_say_that_it_checked():
    assert {each.name: each.value for each in Unanswered} == {"CONTINUE": None, "BAD_GATEWAY": 502, "FORBIDDEN": 403}


def test_challenges_go_with_401_alone():
    policy = HTTPPolicy()
    assert challenges(UNAUTHORIZED, "PACS", policy) == ('Basic realm="PACS", charset="UTF-8"', 'Bearer realm="PACS"')
    assert challenges(INVALID_TOKEN, "PACS", HTTPPolicy(negotiate=True)) == (
        'Basic realm="PACS", charset="UTF-8"', 'Bearer realm="PACS", error="invalid_token"', "Negotiate",
    )  # fmt: skip
    for answer in (INVALID_REQUEST, HTTPAnswer(403), HTTPAnswer(503)):
        assert challenges(answer, "PACS", policy) == ()


@pytest.mark.parametrize("realm", ['a"b', "a\\b", "a\r\nX: y", "Ü", "a\x7fb"])
def test_a_realm_that_would_break_the_header(realm):
    with pytest.raises(ValueError, match="expected printable ASCII"):
        challenges(UNAUTHORIZED, realm, HTTPPolicy())


@pytest.mark.parametrize("octets", [b"\x60\x03abc", bytes(range(256)), b"\0"])
def test_the_server_side_of_kerberos_goes_both_ways(octets):
    assert read_negotiate([write_negotiate(octets).encode()]) == octets


@pytest.mark.parametrize(("values", "octets"), [
    ([], None), ([b"Negotiate"], None), ([b"Negotiate "], None), ([b"Negotiate *"], None), ([b"Basic YQ=="], None),
    ([b"Basic realm=x", b"negotiate  YQ== "], b"a"),
])  # fmt: skip
def test_the_server_side_of_kerberos_among_others(values, octets):
    assert read_negotiate(values) == octets
