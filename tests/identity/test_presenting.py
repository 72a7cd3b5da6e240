"""The requestor's decision, row by row, and what it sends."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import pytest

from dimsetls.codes import UserIdentityType
from dimsetls.errors import IdentityDenied, LocalProtocolError
from dimsetls.identity.bearer import BearerResult, read_token, write_result
from dimsetls.identity.credentials import (
    AccessToken,
    Caps,
    CertificateAlone,
    Credential,
    JSONWebToken,
    KerberosTicket,
    SAMLAssertion,
    Secret,
    Username,
    UsernameAndPasscode,
    read_identity,
)
from dimsetls.identity.gate import Requirement
from dimsetls.identity.presenting import Decision, Presentation, Standing
from dimsetls.uids import APPLICATION_CONTEXT, BEARER_TOKEN
from dimsetls.ul.pdus import AssociateRQ, ExtendedNegotiation, UserIdentityAC, UserIdentityRQ, UserInformation
from dimsetls.ul.writer import write_pdu

OURS = UserInformation(131066, "1.2.3", "OURS_1", extended_negotiations=(ExtendedNegotiation("1.2.3.4", b"x"),))
NAME = Username("anna")
PASSCODE = UsernameAndPasscode("anna", Secret(b"tr0ub4dor"))
TICKET = KerberosTicket(Secret(b"\x6e\x05ticket"))
ASSERTION = SAMLAssertion(Secret(b"<Assertion/>"))
JWT = JSONWebToken(Secret(b"e30.e30.c2ln"))
TOKEN = AccessToken(Secret(b"opaque-token~1"))
PREFER, REQUIRE = Requirement.PREFER, Requirement.REQUIRE
AUTHENTICATED, UNAUTHENTICATED, IGNORED = Standing.AUTHENTICATED, Standing.UNAUTHENTICATED, Standing.IGNORED


def verify_response(response: bytes) -> None:
    if response != b"AP-REP":
        raise IdentityDenied("the AP-REP is not that of the service")


def present(identity: Credential | None = None, token: AccessToken | None = None, **wishes: Any) -> Presentation:
    return Presentation(identity, token, verify_response=verify_response, **wishes)


def answer(response: bytes | None = None, *items: ExtendedNegotiation) -> UserInformation:
    return UserInformation(
        16384, "1.2.3", extended_negotiations=items,
        user_identity_response=None if response is None else UserIdentityAC(response),
    )  # fmt: skip


IDENTITIES: tuple[Credential, ...] = (NAME, PASSCODE, TICKET, ASSERTION, JWT)
each_identity = pytest.mark.parametrize("identity", IDENTITIES, ids=lambda each: each.method.value)
each_requirement = pytest.mark.parametrize("requirement", [PREFER, REQUIRE])
ECHOED = "credential back, which proves no check of it"


@each_identity
def test_not_asked_and_not_answered(identity: Credential) -> None:
    found = present(identity, positive_response_requested=False).judge(answer())
    assert found == Decision(True, UNAUTHENTICATED, "")


@each_identity
@pytest.mark.parametrize("response", [b"", b"something"])
def test_not_asked_and_answered_is_a_deviation_that_is_worth_nothing(identity: Credential, response: bytes) -> None:
    found = present(identity, positive_response_requested=False).judge(answer(response))
    assert found == Decision(True, UNAUTHENTICATED, "the peer sent a user identity response that was not asked for")


@each_requirement
@pytest.mark.parametrize(("identity", "response"), [
    (NAME, b""), (PASSCODE, b""), (TICKET, b"AP-REP"), (ASSERTION, b""), (ASSERTION, b"<Response/>"), (JWT, b""),
    (JWT, b"undefined by the standard"),
])  # fmt: skip
def test_asked_and_answered_as_it_should_be(identity: Credential, response: bytes, requirement: Requirement) -> None:
    assert present(identity, requirement=requirement).judge(answer(response)) == Decision(True, AUTHENTICATED, "")


@each_requirement
@pytest.mark.parametrize(("identity", "response"), [(NAME, b"welcome"), (PASSCODE, b"\0"), (PASSCODE, b"tr0ub4dor2")])
def test_content_where_there_is_none_is_a_deviation(
    identity: Credential, response: bytes, requirement: Requirement
) -> None:
    assert present(identity, requirement=requirement).judge(answer(response)) == Decision(
        True, AUTHENTICATED, f"the peer answered to the {identity.method.value} identity with {len(response)} octets, "
        "PS3.7 D.3.3.7.2 has none",
    )  # fmt: skip


@pytest.mark.parametrize(("identity", "response"), [
    (NAME, b"anna"), (PASSCODE, b"anna"), (PASSCODE, b"tr0ub4dor"), (ASSERTION, b"<Assertion/>"),
    (JWT, b"e30.e30.c2ln"),
])  # fmt: skip
def test_an_echo_proves_nothing_and_ends_what_is_required(identity: Credential, response: bytes) -> None:
    sentence = f"the peer sent our {identity.method.value} {ECHOED}"
    assert present(identity).judge(answer(response)) == Decision(True, UNAUTHENTICATED, sentence)
    assert present(identity, requirement=REQUIRE).judge(answer(response)) == Decision(False, UNAUTHENTICATED, sentence)


@each_requirement
@pytest.mark.parametrize(("response", "told"), [
    (b"\x6e\x05ticket", "the peer sent our Kerberos ticket back, expected the AP-REP that proves its own"),
    (b"AP-REQ", "the AP-REP is not that of the service"),
    (b"", "the AP-REP is not that of the service"),
])  # fmt: skip
def test_a_kerberos_answer_that_proves_nothing_always_ends_it(
    response: bytes, told: str, requirement: Requirement
) -> None:
    found = present(TICKET, requirement=requirement).judge(answer(response))
    assert found == Decision(False, UNAUTHENTICATED, told)


@each_identity
def test_asked_and_not_answered(identity: Credential) -> None:
    sentence = f"the peer gave no answer to the {identity.method.value} identity, and so did not check it"
    assert present(identity).judge(answer()) == Decision(True, IGNORED, sentence)
    assert present(identity, requirement=REQUIRE).judge(answer()) == Decision(False, IGNORED, sentence)


ACCEPTED, PASSED_OVER = write_result(BearerResult.ACCEPTED), write_result(BearerResult.IGNORED)
NO_ANSWER = "the peer gave no answer to the access token, and so did not check it"
NOT_ASKED = "the peer answered about an access token, which was not asked for"


@pytest.mark.parametrize(("asks", "items", "standing", "told"), [
    (False, (), UNAUTHENTICATED, ""),
    (False, (ACCEPTED,), UNAUTHENTICATED, NOT_ASKED),
    (True, (ACCEPTED,), AUTHENTICATED, ""),
    (True, (PASSED_OVER,), IGNORED, "the peer knows access tokens, and ignored ours"),
    (True, (), IGNORED, NO_ANSWER),
    (True, (ExtendedNegotiation(BEARER_TOKEN, b"\1\7"),), IGNORED, NO_ANSWER),
    (True, (ExtendedNegotiation(BEARER_TOKEN, b"\1\1" + b"opaque-token~1"),), IGNORED, NO_ANSWER),
])  # fmt: skip
def test_the_answer_to_an_access_token(
    asks: bool, items: tuple[ExtendedNegotiation, ...], standing: Standing, told: str
) -> None:
    found = present(token=TOKEN, positive_response_requested=asks).judge(answer(None, *items))
    assert found == Decision(True, standing, told)
    if asks:
        found = present(token=TOKEN, requirement=REQUIRE).judge(answer(None, *items))
        assert found == Decision(standing is AUTHENTICATED, standing, told)


@pytest.mark.parametrize(("response", "items", "standing"), [
    (b"", (ACCEPTED,), AUTHENTICATED),
    (None, (ACCEPTED,), IGNORED),
    (b"", (), IGNORED),
    (b"tr0ub4dor", (ACCEPTED,), UNAUTHENTICATED),
    (b"tr0ub4dor", (), IGNORED),
])  # fmt: skip
def test_of_identity_and_token_the_worse_counts(
    response: bytes | None, items: tuple[ExtendedNegotiation, ...], standing: Standing
) -> None:
    found = present(PASSCODE, TOKEN).judge(answer(response, *items))
    assert (found.continues, found.standing) == (True, standing)
    found = present(PASSCODE, TOKEN, requirement=REQUIRE).judge(answer(response, *items))
    assert (found.continues, found.standing) == (standing is AUTHENTICATED, standing)


def test_an_answer_to_what_was_never_sent_changes_nothing() -> None:
    both = answer(b"", ACCEPTED)
    assert present(PASSCODE, requirement=REQUIRE).judge(both) == Decision(True, AUTHENTICATED, NOT_ASKED)
    assert present(token=TOKEN, requirement=REQUIRE).judge(both) == Decision(
        True, AUTHENTICATED, "the peer sent a user identity response that was not asked for"
    )


@pytest.mark.parametrize(("response", "decision"), [
    (b"", Decision(True, AUTHENTICATED, "")),
    (b"opaque-token~1", Decision(False, UNAUTHENTICATED, f"the peer sent our bearer {ECHOED}")),
    (None, Decision(False, IGNORED, "the peer gave no answer to the bearer identity, and so did not check it")),
])  # fmt: skip
def test_a_token_in_58h_is_answered_like_an_identity(response: bytes | None, decision: Decision) -> None:
    assert present(token=TOKEN, private_type=254, requirement=REQUIRE).judge(answer(response)) == decision


# What is sent ----------------------------------------------------------------------------------------------------


@each_identity
@pytest.mark.parametrize("asks", [True, False])
def test_an_identity_goes_into_58h(identity: Credential, asks: bool) -> None:
    shown = present(identity, positive_response_requested=asks)
    sent = shown.add_to(OURS)
    assert sent.user_identity is not None
    assert sent.user_identity.positive_response_requested is asks
    assert read_identity(sent.user_identity, Caps()) == identity
    assert sent.extended_negotiations == OURS.extended_negotiations
    assert shown.abstract_syntaxes == ()


@pytest.mark.parametrize("asks", [True, False])
def test_a_token_goes_into_the_bearer_extension_beside_it(asks: bool) -> None:
    shown = present(PASSCODE, TOKEN, positive_response_requested=asks)
    sent = shown.add_to(OURS)
    assert sent.extended_negotiations[:1] == OURS.extended_negotiations
    assert read_token(sent.extended_negotiations, Caps()) == (TOKEN, asks)
    assert sent.user_identity is not None
    assert shown.abstract_syntaxes == (BEARER_TOKEN,)


def test_a_token_goes_into_58h_for_a_peer_that_takes_it_there() -> None:
    shown = present(token=TOKEN, private_type=254)
    assert shown.add_to(OURS).user_identity == UserIdentityRQ(254, True, b"opaque-token~1")
    assert shown.add_to(OURS).extended_negotiations == OURS.extended_negotiations
    assert shown.abstract_syntaxes == ()


def octets(information: UserInformation) -> int:
    """What the items within 50H take up; everything else in an A-ASSOCIATE-RQ without contexts is taken off."""
    around = 6 + 68 + 4 + len(APPLICATION_CONTEXT) + 4
    return len(write_pdu(AssociateRQ("A", "B", APPLICATION_CONTEXT, (), information))) - around


@pytest.mark.parametrize("make", [
    lambda secret: present(JSONWebToken(secret)),
    lambda secret: present(UsernameAndPasscode("anna", secret)),
    lambda secret: present(token=AccessToken(secret)),
    lambda secret: present(token=AccessToken(secret), private_type=6),
    lambda secret: present(UsernameAndPasscode("anna", Secret(b"x")), AccessToken(secret)),
], ids=["jwt", "passcode", "bearer", "private type", "both"])  # fmt: skip
def test_what_fits_to_the_last_octet_is_sent_and_one_more_is_not(make: Callable[[Secret], Presentation]) -> None:
    room = 65535 - octets(make(Secret(b"y")).add_to(OURS)) + 1
    assert octets(make(Secret(b"y" * room)).add_to(OURS)) == 65535
    for excess in (room + 1, 70000):
        with pytest.raises(LocalProtocolError) as caught:
            make(Secret(b"y" * excess)).add_to(OURS)
        assert str(caught.value).startswith("what is to be presented (")
        assert str(caught.value).endswith(" octets) does not fit: all user information of an A-ASSOCIATE-RQ has 65535 "
                                          "octets; a smaller ticket, assertion or token is needed")  # fmt: skip
        assert "yyyy" not in str(caught.value)
        assert caught.value.__suppress_context__


def test_the_sizes_of_what_does_not_fit_are_told() -> None:
    with pytest.raises(LocalProtocolError, match=re.escape("(passcode of 13 octets, bearer of 70000 octets)")):
        present(PASSCODE, AccessToken(Secret(b"y" * 70000))).add_to(OURS)


def test_another_fault_of_the_user_information_is_not_told_as_one_of_the_identity() -> None:
    with pytest.raises(LocalProtocolError, match="does not fit its field"):
        present(PASSCODE).add_to(UserInformation(131066, "é"))


@pytest.mark.parametrize(("wishes", "told"), [
    ({}, "nothing is presented, expected a user identity, an access token or both"),
    ({"identity": CertificateAlone()}, "came as certificate, expected one of types 1 to 5"),
    ({"identity": TOKEN}, "came as bearer, expected one of types 1 to 5"),
    ({"access_token": AccessToken(Secret(b"two words"))}, "outside b64token"),
    ({"identity": NAME, "requirement": Requirement.IGNORE}, "expected require or prefer"),
    ({"identity": NAME, "requirement": REQUIRE, "positive_response_requested": False},
     "require came without a request for the positive response"),
    ({"identity": TICKET}, "an answer that nothing is there to verify"),
    ({"identity": NAME, "private_type": 254}, "is for an access token alone"),
    ({"identity": NAME, "access_token": TOKEN, "private_type": 254}, "is for an access token alone"),
    ({"access_token": TOKEN, "private_type": UserIdentityType.JSON_WEB_TOKEN}, "type 5 came, expected one from 6"),
    ({"access_token": TOKEN, "private_type": 256}, "type 256 came, expected one from 6 to 255"),
])  # fmt: skip
def test_wishes_that_do_not_go_together(wishes: dict[str, Any], told: str) -> None:
    with pytest.raises(ValueError, match=told):
        Presentation(**wishes)


def test_a_ticket_without_a_question_needs_nobody_to_verify_an_answer() -> None:
    assert Presentation(TICKET, positive_response_requested=False).judge(answer()).continues


def test_no_secret_is_printed() -> None:
    assert "tr0ub4dor" not in repr(present(PASSCODE, TOKEN))
    assert "opaque" not in repr(present(PASSCODE, TOKEN))
