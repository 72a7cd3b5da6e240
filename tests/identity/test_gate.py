"""The gate before back ends that answer as the test says; time is a `task.Clock`."""

from __future__ import annotations

import gc
import sys
from dataclasses import replace
from datetime import UTC, datetime

import pytest
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.task import Clock
from twisted.logger import globalLogPublisher

from dimsetls.errors import IdentityDenied, IdentityUnavailable, IdentityUnknown
from dimsetls.identity.bearer import BearerResult, write_result, write_token
from dimsetls.identity.credentials import AccessToken, Caps, Method, Secret
from dimsetls.identity.gate import Admission, Gate, IdentityPolicy, Requirement, stripped
from dimsetls.identity.interfaces import Verified
from dimsetls.identity.lockout import Lockout, LockoutPolicy
from dimsetls.tls.rules import CertificateRule
from dimsetls.ul.pdus import (
    AsynchronousOperationsWindow,
    CommonExtendedNegotiation,
    ExtendedNegotiation,
    RoleSelection,
    UserIdentityAC,
    UserInformation,
)

from .stage import PLAIN, BackEnd, certificate, offered, outcome, presenter

ALICE = Verified("alice", "hospital", frozenset({"radiology"}), frozenset({"technician"}))
PASSCODE = offered(2, b"alice", b"open sesame")
TOKEN = b"mF_9.B5f-4.1JqM"
NOW = 1_800_000_000.0
GATEWAY = (CertificateRule.parse("dns:gateway.hospital.example"),)
COUNTS = LockoutPolicy(per_user=6, per_address=9, per_certificate=9, delay=1.0, lockout=100.0)


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def logged():
    events: list[str] = []

    def observe(event):
        events.append(str(event.get("log_format", "")).format_map({**event, "log_format": ""}))

    globalLogPublisher.addObserver(observe)
    yield events
    globalLogPublisher.removeObserver(observe)


def gate(clock, back_ends=(), *, method=Method.PASSCODE, more=None, requirement=Requirement.REQUIRE, **options):
    asked = {method: tuple(back_ends)} if back_ends else {}
    policy = IdentityPolicy(requirement, {**asked, **(more or {})}, **options)
    return Gate(policy, clock, now=lambda: NOW + clock.seconds())


def bearing(token=TOKEN, *, beside=PLAIN, response=False):
    """The user information of a request with an access token."""
    return replace(beside, extended_negotiations=(write_token(AccessToken(Secret(token)), response),))


def denied(found):
    assert isinstance(found, IdentityDenied), found
    return str(found)


def unavailable(found):
    assert isinstance(found, IdentityUnavailable), found
    return str(found)


def name(found):
    assert isinstance(found, Admission), found
    return found.principal.name if found.principal else None


# What is made of identities -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("shown", [PASSCODE, bearing(), offered(6, b"?"), offered(2, b"alice")])
def test_ignore_asks_nobody_and_says_so(clock, shown):
    users = BackEnd("users", ALICE)
    found = outcome(gate(clock, [users], requirement=Requirement.IGNORE).check(shown, presenter()))
    assert found == Admission(note="the user identity is ignored, as configured")
    assert users.asked == []


@pytest.mark.parametrize("requirement", [Requirement.IGNORE, Requirement.PREFER])
def test_who_shows_nothing_is_let_in_where_nothing_is_required(clock, requirement):
    found = outcome(gate(clock, [BackEnd("users", ALICE)], requirement=requirement).check(PLAIN, presenter()))
    assert found == Admission()


def test_who_shows_nothing_is_refused_where_something_is_required(clock):
    sentence = denied(outcome(gate(clock, [BackEnd("users", ALICE)]).check(PLAIN, presenter())))
    assert sentence == "a user identity is required, none came; configured are passcode"


def test_a_type_that_is_not_configured_is_no_identity(clock):
    shown = offered(5, TOKEN, response=True)
    preferring = gate(clock, [BackEnd("users", ALICE)], requirement=Requirement.PREFER)
    assert outcome(preferring.check(shown, presenter())) == Admission(
        note="the user identity is ignored: jwt is not configured"
    )
    assert denied(outcome(gate(clock, [BackEnd("users", ALICE)]).check(shown, presenter()))) == (
        "a user identity is required, jwt came, which is not configured; configured are passcode"
    )


@pytest.mark.parametrize("requirement", [Requirement.REQUIRE, Requirement.PREFER])
def test_what_is_shown_and_configured_must_be_good(clock, requirement):
    good = gate(clock, [BackEnd("users", ALICE)], requirement=requirement)
    assert name(outcome(good.check(PASSCODE, presenter()))) == "alice"
    bad = gate(clock, [BackEnd("users", IdentityDenied("[users] no"))], requirement=requirement)
    assert denied(outcome(bad.check(PASSCODE, presenter()))) == "[users] no"
    nobody = gate(clock, [BackEnd("users", IdentityUnavailable("[users] down"))], requirement=requirement)
    assert unavailable(outcome(nobody.check(PASSCODE, presenter()))) == "[users] down"


def test_a_principal_is_what_was_verified(clock):
    verified = replace(ALICE, until=NOW + 60)
    found = outcome(gate(clock, [BackEnd("users", verified)]).check(PASSCODE, presenter())).principal
    assert (found.name, found.realm, found.methods, found.back_ends) == (
        "alice", "hospital", (Method.PASSCODE,), ("users",)
    )
    assert (found.groups, found.roles, found.scopes) == ({"radiology"}, {"technician"}, None)
    assert (found.verified.timestamp(), found.until.timestamp()) == (NOW, NOW + 60)
    assert str(found) == "alice of hospital by passcode"


def test_the_name_is_that_of_the_back_end_and_not_what_was_typed(clock):
    checking = gate(clock, [BackEnd("ldap", ALICE)]).check(offered(2, b"ALICE", b"x"), presenter())
    assert name(outcome(checking)) == "alice"


@pytest.mark.parametrize("until", [1e12, 1e300, float("inf")])
def test_a_term_beyond_what_a_date_can_hold_is_the_last_date(clock, until):
    found = outcome(gate(clock, [BackEnd("jwt", replace(ALICE, until=until))]).check(PASSCODE, presenter()))
    assert found.principal.until.year == 9999
    assert found.principal.until <= datetime.max.replace(tzinfo=UTC)


@pytest.mark.parametrize("until", [NOW, NOW - 1, 0.0, -1e300, float("nan")])
def test_what_has_expired_is_refused_whatever_the_back_end_says(clock, until):
    found = outcome(gate(clock, [BackEnd("jwt", replace(ALICE, until=until))]).check(PASSCODE, presenter()))
    assert denied(found) == "[jwt] the identity of alice has expired"


# Who is asked ---------------------------------------------------------------------------------------------------------


def test_back_ends_are_asked_in_order_until_one_knows_the_user(clock):
    unknown = BackEnd("users", IdentityUnknown("[users] has no user"))
    knows, never = BackEnd("ldap one", ALICE), BackEnd("ldap two", ALICE)
    found = outcome(gate(clock, [unknown, knows, never]).check(PASSCODE, presenter()))
    assert found.principal.back_ends == ("ldap one",)
    assert [len(each.asked) for each in (unknown, knows, never)] == [1, 1, 0]


@pytest.mark.parametrize(("answer", "judge"), [
    (IdentityDenied("[users] wrong"), denied), (IdentityUnavailable("[users] down"), unavailable),
    (ValueError("?"), unavailable),
])
def test_nobody_is_asked_after_one_that_refuses_or_cannot_tell(clock, answer, judge):
    never = BackEnd("ldap", ALICE)
    judge(outcome(gate(clock, [BackEnd("users", answer), never]).check(PASSCODE, presenter())))
    assert never.asked == []


def test_a_user_whom_nobody_knows_is_refused_with_the_last_word(clock):
    back_ends = [BackEnd(each, IdentityUnknown(f"[{each}] has no user")) for each in ("one", "two")]
    assert denied(outcome(gate(clock, back_ends).check(PASSCODE, presenter()))) == "[two] has no user"


def test_each_method_has_back_ends_of_its_own(clock):
    users, jwt = BackEnd("users", ALICE), BackEnd("jwt", ALICE)
    both = gate(clock, [users], more={Method.JWT: (jwt,)})
    outcome(both.check(offered(5, TOKEN), presenter()))
    assert (users.secrets, jwt.secrets) == ([], [TOKEN])


# A name alone, and certificates ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("shown", [None, certificate("other.example")])
def test_a_name_alone_counts_only_with_a_certificate_that_may_assert_it(clock, shown):
    users = BackEnd("users", ALICE)
    asserting = gate(clock, [users], method=Method.USERNAME, asserting=GATEWAY)
    found = outcome(asserting.check(offered(1, b"alice"), presenter(shown=shown)))
    who = shown.subject if shown else "a peer without a certificate"
    assert denied(found) == f"{who} may not assert a user name here, by the configuration"
    assert found.is_security_alert
    assert users.asked == []
    assert name(outcome(asserting.check(offered(1, b"alice"), presenter(shown=certificate())))) == "alice"


def test_a_name_alone_counts_for_nobody_where_no_certificate_may_assert_one(clock):
    found = gate(clock, [BackEnd("users", ALICE)], method=Method.USERNAME)
    denied(outcome(found.check(offered(1, b"alice"), presenter(shown=certificate()))))


@pytest.mark.parametrize("offer", [PASSCODE, bearing()])
def test_identities_can_be_bound_to_certificates(clock, offer):
    users = BackEnd("users", ALICE)
    bound = gate(clock, [users], more={Method.BEARER: (users,)}, certificates=GATEWAY)
    found = outcome(bound.check(offer, presenter(shown=certificate("other.example"))))
    assert denied(found) == "CN=other.example may not present a user identity here, by the configuration"
    assert found.is_security_alert
    assert name(outcome(bound.check(offer, presenter(shown=certificate())))) == "alice"


def test_the_certificate_alone_says_who_it_is_where_nothing_else_is_shown(clock):
    rules = BackEnd("certificate-identity", ALICE)
    named = gate(clock, [rules], method=Method.CERTIFICATE)
    found = outcome(named.check(PLAIN, presenter(shown=certificate())))
    assert found.principal.methods == (Method.CERTIFICATE,)
    assert found.response is None
    assert denied(outcome(named.check(PLAIN, presenter()))).startswith("a user identity is required, none came")
    denied(outcome(named.check(PASSCODE, presenter(shown=certificate()))))  # and never where something else is shown
    assert len(rules.asked) == 1


def test_a_certificate_that_no_rule_names_is_nobody(clock):
    rules = BackEnd("certificate-identity", IdentityUnknown("no rule"))
    options = {"method": Method.CERTIFICATE}
    found = gate(clock, [rules], requirement=Requirement.PREFER, **options).check(PLAIN, presenter(shown=certificate()))
    assert outcome(found) == Admission()
    found = gate(clock, [rules], **options).check(PLAIN, presenter(shown=certificate()))
    assert denied(outcome(found)).startswith("a user identity is required")


# Two credentials ------------------------------------------------------------------------------------------------------


def both(clock, identity, token, **options):
    return gate(clock, [BackEnd("users", identity)], more={Method.BEARER: (BackEnd("jwt", token),)}, **options)


def test_identity_and_token_become_one_principal(clock):
    scopes = frozenset({"dicom.query"})
    token = Verified("alice", "issuer", frozenset({"night"}), frozenset({"reader"}), scopes, NOW + 9)
    found = outcome(both(clock, replace(ALICE, until=NOW + 20), token).check(bearing(beside=PASSCODE), presenter()))
    principal = found.principal
    assert (principal.methods, principal.back_ends) == ((Method.PASSCODE, Method.BEARER), ("users", "jwt"))
    assert (principal.groups, principal.roles) == ({"radiology", "night"}, {"technician", "reader"})
    assert (principal.realm, principal.scopes, principal.until.timestamp()) == ("hospital", {"dicom.query"}, NOW + 9)


def test_identity_and_token_must_be_of_one_user(clock):
    found = outcome(both(clock, ALICE, replace(ALICE, name="bob")).check(bearing(beside=PASSCODE), presenter()))
    assert denied(found) == "the user identity is that of 'alice', the access token is that of 'bob', expected both " \
                            "of one user"
    assert found.is_security_alert


@pytest.mark.parametrize("requirement", [Requirement.REQUIRE, Requirement.PREFER])
@pytest.mark.parametrize(("identity", "token"), [(ALICE, IdentityDenied("no")), (IdentityDenied("no"), ALICE)])
def test_a_good_one_does_not_make_up_for_a_bad_one(clock, requirement, identity, token):
    checking = both(clock, identity, token, requirement=requirement).check(bearing(beside=PASSCODE), presenter())
    assert denied(outcome(checking)) == "no"


# What is answered -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("kind", "method", "response"), [
    (1, Method.USERNAME, b""), (2, Method.PASSCODE, b""), (3, Method.KERBEROS, b"AP-REP"), (4, Method.SAML, b"AP-REP"),
    (5, Method.JWT, b""),
])
def test_a_positive_response_is_given_if_it_is_requested_and_has_content_for_types_3_and_4_alone(
    clock, kind, method, response
):
    back_end = BackEnd("any", replace(ALICE, server_response=b"AP-REP"))
    answering = gate(clock, [back_end], method=method, asserting=GATEWAY)
    secondary = b"x" if kind == 2 else b""
    here = presenter(shown=certificate())
    assert outcome(answering.check(offered(kind, b"alice", secondary, response=True), here)).response == (
        UserIdentityAC(response)
    )
    assert outcome(answering.check(offered(kind, b"alice", secondary), here)).response is None


def test_a_token_is_answered_if_that_is_requested_and_never_sent_back(clock):
    bearer = gate(clock, [BackEnd("jwt", ALICE)], method=Method.BEARER)
    found = outcome(bearer.check(bearing(response=True), presenter()))
    assert (found.extended, found.response) == (write_result(BearerResult.ACCEPTED), None)
    assert outcome(bearer.check(bearing(), presenter())).extended is None
    users = gate(clock, [BackEnd("users", ALICE)])
    found = outcome(users.check(bearing(beside=PASSCODE, response=True), presenter()))
    assert (found.extended, found.principal.name) == (write_result(BearerResult.IGNORED), "alice")
    assert found.note == "the user identity is ignored: bearer is not configured"


def test_the_answer_is_put_into_the_user_information_of_ours(clock):
    ours = replace(PLAIN, extended_negotiations=(ExtendedNegotiation("1.2.3", b"?"),))
    assert Admission().answer(ours) == ours
    admission = Admission(None, UserIdentityAC(), write_result(BearerResult.ACCEPTED))
    answer = admission.answer(ours)
    assert answer.user_identity_response == UserIdentityAC()
    assert answer.extended_negotiations == (*ours.extended_negotiations, write_result(BearerResult.ACCEPTED))


# A private identity type ----------------------------------------------------------------------------------------------


def test_a_private_type_is_a_bearer_token_from_the_peer_that_is_named_and_from_no_other(clock):
    jwt = BackEnd("jwt", ALICE)
    private = gate(clock, [jwt], method=Method.BEARER, private_types={"CALLING": 254})
    shown = offered(254, TOKEN, response=True)
    found = outcome(private.check(shown, presenter()))
    assert (name(found), found.response, jwt.secrets) == ("alice", UserIdentityAC(b""), [TOKEN])
    other = replace(presenter(), calling_ae_title="OTHER")
    assert denied(outcome(private.check(shown, other))) == "user identity type 254 came, PS3.7 knows 1 to 5"
    assert denied(outcome(private.check(offered(253, TOKEN), presenter()))).startswith("user identity type 253 came")


@pytest.mark.parametrize(("shown", "sentence"), [
    (offered(254, TOKEN, b"x"), "a secondary field came with a bearer token"),
    (bearing(beside=offered(254, TOKEN)), "two bearer tokens came, one is expected"),
    (offered(254, b"a b"), "the bearer token has characters outside b64token (RFC 6750 §2.1)"),
    (offered(254, b"x" * 16385), "the bearer field has 16385 octets, expected 1 to 16384"),
])
def test_a_private_type_with_more_or_less_than_a_token_is_refused(clock, shown, sentence):
    jwt = BackEnd("jwt", ALICE)
    private = gate(clock, [jwt], method=Method.BEARER, private_types={"CALLING": 254})
    assert denied(outcome(private.check(shown, presenter()))) == sentence
    assert jwt.asked == []


# What is malformed ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("shown", [
    offered(1, b"alice", b"x"), offered(5, TOKEN, b"x"), offered(6, b"x"), offered(0, b"x"), offered(2, b"alice"),
    offered(2, b"", b"x"), offered(2, b"al\nice", b"x"), offered(2, b"\xff", b"x"), offered(2, b"a" * 256, b"x"),
    offered(2, b"alice", b"x" * 1025), offered(5, b"x" * 16385), bearing(b"a b"), bearing(b"x" * 16385),
    replace(PLAIN, extended_negotiations=bearing().extended_negotiations * 2),
])
@pytest.mark.parametrize("requirement", [Requirement.REQUIRE, Requirement.PREFER])
def test_what_is_malformed_is_refused_counted_and_shown_to_nobody(clock, shown, requirement):
    back_end = BackEnd("any", ALICE)
    back_ends = dict.fromkeys((Method.USERNAME, Method.JWT, Method.BEARER), (back_end,))
    strict = gate(clock, [back_end], more=back_ends, requirement=requirement, lockout=LockoutPolicy(per_address=1))
    denied(outcome(strict.check(shown, presenter())))
    assert back_end.asked == []
    assert denied(outcome(strict.check(PASSCODE, presenter()))).startswith("address '192.0.2.1' failed 1 times")


def test_caps_are_those_of_the_policy(clock):
    short = gate(clock, [BackEnd("users", ALICE)], caps=Caps(passcode=4))
    assert "expected 1 to 4" in denied(outcome(short.check(PASSCODE, presenter())))


# Deadline, cancelling, what goes wrong --------------------------------------------------------------------------------


def test_a_back_end_that_is_late_is_cancelled_and_nobody_is_let_in(clock):
    cancelled = []
    late, never = BackEnd("ldap", Deferred(cancelled.append)), BackEnd("other", ALICE)
    checking = gate(clock, [late, never], deadline=3.0).check(PASSCODE, presenter())
    clock.advance(2.9)
    assert outcome(checking) is None
    clock.advance(0.1)
    assert unavailable(outcome(checking)) == "[ldap] gave no answer within 3 s"
    assert len(cancelled) == 1
    assert never.asked == []
    assert clock.getDelayedCalls() == []


def test_a_back_end_that_goes_on_after_it_is_cancelled_does_not_hold_up_the_deadline(clock):
    class Stubborn(BackEnd):
        async def verify(self, credential, presenter):
            try:
                await Deferred()
            except CancelledError:
                return await self.answer

    answers = [Deferred(), Deferred()]
    for answer, result in zip(answers, (ALICE, IdentityDenied("late")), strict=True):
        checking = gate(clock, [Stubborn("ldap", answer)], deadline=3.0).check(PASSCODE, presenter())
        clock.advance(3)
        assert unavailable(outcome(checking)) == "[ldap] gave no answer within 3 s"
        (answer.errback if isinstance(result, Exception) else answer.callback)(result)  # nobody is there to hear it
    del answers, answer, checking
    gc.collect()


def test_what_a_back_end_says_when_it_is_cancelled_counts_for_nothing(clock):
    def refuse(deferred):
        deferred.errback(IdentityDenied("[ldap] the connection ended"))

    late = gate(clock, [BackEnd("ldap", lambda _: Deferred(refuse))], deadline=3.0, lockout=LockoutPolicy(per_user=1))
    for _ in range(2):
        checking = late.check(PASSCODE, presenter())
        clock.advance(3)
        assert unavailable(outcome(checking)) == "[ldap] gave no answer within 3 s"


def test_when_the_peer_goes_away_the_back_end_is_cancelled_and_the_secret_wiped(clock):
    cancelled = []
    ldap = BackEnd("ldap", Deferred(cancelled.append))
    checking = gate(clock, [ldap]).check(PASSCODE, presenter())
    assert ldap.secrets == [b"open sesame"]
    checking.cancel()
    assert isinstance(outcome(checking), CancelledError)
    assert len(cancelled) == 1
    assert ldap.asked[0].passcode.reveal() == b""
    assert clock.getDelayedCalls() == []


def test_a_back_end_that_gives_up_by_itself_cannot_tell(clock):
    giving_up = BackEnd("ldap", Deferred())
    checking = gate(clock, [giving_up]).check(PASSCODE, presenter())
    giving_up.answer.cancel()  # as one that is closed does
    assert unavailable(outcome(checking)).startswith("[ldap] failed with CancelledError in ")


def test_an_unexpected_exception_is_unavailable_without_its_message(clock, logged):
    def fail(credential):
        secret = credential.passcode.reveal()
        raise RuntimeError(f"cannot bind with {secret!r}")

    found = outcome(gate(clock, [BackEnd("ldap", fail)]).check(PASSCODE, presenter()))
    assert unavailable(found).startswith("[ldap] failed with RuntimeError in fail, line ")
    assert (found.__cause__, found.__suppress_context__) == (None, True)
    assert any(line.startswith("[ldap] failed with RuntimeError") and line.endswith("test_gate.py") for line in logged)
    assert "sesame" not in repr([found, found.args, *logged])


@pytest.mark.parametrize("answer", [ALICE, IdentityDenied("no"), IdentityUnavailable("down"), ValueError("?")])
def test_secrets_are_wiped_whatever_comes_of_it(clock, answer):
    back_end = BackEnd("any", answer)
    checking = gate(clock, [back_end], more={Method.BEARER: (back_end,)}).check(bearing(beside=PASSCODE), presenter())
    outcome(checking)
    assert back_end.secrets[0] == b"open sesame"
    for each in back_end.asked:
        assert (each.passcode if each.method is Method.PASSCODE else each.token) == Secret(b"")


def test_nothing_that_the_gate_gives_out_shows_a_secret(clock):
    verified = replace(ALICE, server_response=b"answer-xyzzy")
    found = outcome(gate(clock, [BackEnd("any", verified)], method=Method.KERBEROS).check(
        offered(3, b"ticket-xyzzy", response=True), presenter()
    ))
    assert found.response.server_response == b"answer-xyzzy"
    assert "xyzzy" not in repr([found, verified, offered(3, b"ticket-xyzzy"), bearing(b"xyzzy")])


def test_stripped_keeps_everything_but_credentials():
    other = ExtendedNegotiation("1.2.3", b"?")
    kept = UserInformation(
        16384, "1.2.3.99", "A_PEER", AsynchronousOperationsWindow(2, 3), (RoleSelection("1.2.3", True, True),),
        (other,), (CommonExtendedNegotiation("1.2.3", "1.2.4"),), None, UserIdentityAC(b"!"),
    )  # fmt: skip
    shown = replace(kept, user_identity=PASSCODE.user_identity,
                    extended_negotiations=(other, *bearing().extended_negotiations))  # fmt: skip
    assert stripped(shown) == kept


# Guessing -------------------------------------------------------------------------------------------------------------


def guess(guarded, passcode=b"wrong", user=b"alice", **who):
    return outcome(guarded.check(offered(2, user, passcode), presenter(**who)))


def only(passcode):
    """A back end that takes this passcode."""
    return BackEnd("users", lambda credential: ALICE if credential.passcode.reveal() == passcode else
                   IdentityDenied("[users] wrong"))  # fmt: skip


def test_delays_grow_until_the_user_is_locked_out_and_the_right_passcode_with_them(clock, logged):
    users = only(b"right")
    guarded = gate(clock, [users], lockout=COUNTS)
    for number in range(6):
        assert denied(guess(guarded, address=f"192.0.2.{number}")) == "[users] wrong"
        clock.advance(2.0 ** max(0, number - 1))
    assert len(users.asked) == 6
    assert denied(guess(guarded, b"right")) == "user 'alice' failed 6 times, the next try is looked at in 84 s"
    assert len(users.asked) == 6
    assert [line for line in logged if "ALERT" in line] == [
        "SECURITY ALERT: user 'alice' is locked out for 100 s after 6 failed identities"
    ]
    clock.advance(84)
    assert name(guess(guarded, b"right")) == "alice"


def test_a_user_whom_nobody_knows_is_locked_out_alike(clock):
    guarded = gate(clock, [BackEnd("users", IdentityUnknown("[users] has no user"))], lockout=COUNTS)
    for number in range(6):
        guess(guarded, address=f"192.0.2.{number}")
        clock.advance(10)
    assert denied(guess(guarded)) == "user 'alice' failed 6 times, the next try is looked at in 90 s"


@pytest.mark.parametrize("by", ["address", "certificate"])
def test_guesses_at_many_users_are_counted_for_address_and_certificate(clock, by):
    users = only(b"right")
    guarded = gate(clock, [users], lockout=COUNTS)

    def who(number):
        shown = certificate(sha256="aa" * 32 if by == "certificate" else f"{number:064x}")
        return {"address": "192.0.2.1" if by == "address" else f"192.0.2.{number}", "shown": shown}

    for number in range(9):
        assert denied(guess(guarded, user=b"user%d" % number, **who(number))) == "[users] wrong"
        clock.advance(40)
    assert denied(guess(guarded, b"right", user=b"other", **who(9))).startswith(f"{by} ")
    assert name(guess(guarded, b"right", user=b"other", address="198.51.100.1")) == "alice"


def test_a_token_that_is_not_good_is_counted_for_the_address(clock):
    guarded = gate(clock, [BackEnd("jwt", IdentityDenied("bad"))], method=Method.BEARER,
                   lockout=LockoutPolicy(per_address=1))  # fmt: skip
    assert denied(outcome(guarded.check(bearing(), presenter()))) == "bad"
    assert denied(outcome(guarded.check(bearing(), presenter()))).startswith("address '192.0.2.1' failed 1 times")


@pytest.mark.parametrize(("refusal", "after"), [
    (IdentityUnknown("[ldap] there is no user"), 0.0), (IdentityUnknown("[ldap] there is no user"), 0.01),
    (IdentityDenied("[ldap] the passcode is wrong"), 0.2), (IdentityDenied("[ldap] the account is locked"), 0.49),
])  # fmt: skip
def test_the_time_of_a_refusal_does_not_tell_what_was_wrong(clock, refusal, after):
    answer = Deferred()
    checking = gate(clock, [BackEnd("ldap", answer)], refusal_time=0.5).check(PASSCODE, presenter())
    clock.advance(after)
    answer.errback(refusal)
    clock.advance(0.5 - after - 1e-6)
    assert not checking.called
    clock.advance(2e-6)
    assert denied(outcome(checking)) == str(refusal)


def test_whom_it_takes_longer_to_refuse_than_that_is_refused_at_once(clock):
    answer = Deferred()
    checking = gate(clock, [BackEnd("ldap", answer)], refusal_time=0.5).check(PASSCODE, presenter())
    clock.advance(0.6)
    answer.errback(IdentityDenied("[ldap] the passcode is wrong"))
    assert denied(outcome(checking)) == "[ldap] the passcode is wrong"


def test_a_lock_out_does_not_concern_who_shows_no_identity(clock):
    guarded = gate(clock, [only(b"right")], requirement=Requirement.PREFER, lockout=LockoutPolicy(per_address=1))
    guess(guarded)
    assert denied(guess(guarded, b"right")).startswith("address ")
    assert outcome(guarded.check(PLAIN, presenter())) == Admission()


def test_success_forgets_the_failures_of_the_user(clock):
    guarded = gate(clock, [only(b"right")], lockout=LockoutPolicy(per_user=3, per_address=0, delay=0.0))
    for _ in range(3):
        guess(guarded)
        guess(guarded)
        assert name(guess(guarded, b"right")) == "alice"


def test_what_cannot_be_told_is_no_failure(clock):
    guarded = gate(clock, [BackEnd("ldap", IdentityUnavailable("down"))], lockout=LockoutPolicy(per_user=1))
    for _ in range(3):
        assert unavailable(guess(guarded)) == "down"


def test_failures_are_counted_for_all_gates_of_a_node(clock):
    lockout = Lockout(clock.seconds)
    policy = IdentityPolicy(Requirement.REQUIRE, {Method.PASSCODE: (only(b"right"),)},
                            lockout=LockoutPolicy(per_user=1))
    one, two = Gate(policy, clock, lockout=lockout), Gate(policy, clock, lockout=lockout)
    guess(one)
    assert denied(guess(two, b"right")).startswith("user 'alice' failed 1 times")


# One guess at a time --------------------------------------------------------------------------------------------------


def test_of_a_burst_of_guesses_at_one_user_no_more_are_looked_at_than_one_by_one(clock):
    answers = []
    users = BackEnd("users", lambda _: answers.append(Deferred()) or answers[-1])
    guarded = gate(clock, [users], lockout=LockoutPolicy(per_user=3, per_address=0, delay=0.0))
    burst = [guarded.check(offered(2, b"alice", b"guess %d" % number), presenter()) for number in range(10)]
    for number in range(3):
        assert len(users.asked) == number + 1
        answers[number].errback(IdentityDenied("wrong"))
        clock.advance(0)
    found = []
    for checking in burst:
        clock.advance(0)
        found.append(denied(outcome(checking)))
    assert len(users.asked) == 3
    assert found[:3] == ["wrong"] * 3
    assert all(each.startswith("user 'alice' failed 3 times") for each in found[3:])
    assert guarded._turns == {}


def test_guesses_at_another_user_do_not_wait(clock):
    users = BackEnd("users", lambda _: Deferred())
    guarded = gate(clock, [users])
    for name in (b"alice", b"bob", b"Alice", b"alice"):
        guarded.check(offered(2, name, b"x"), presenter())
    assert [each.name for each in users.asked] == ["alice", "bob"]


def test_who_goes_away_while_waiting_for_a_turn_takes_none(clock):
    answers = [Deferred(), Deferred()]
    users = BackEnd("users", lambda _: answers[len(users.asked) - 1])
    guarded = gate(clock, [users])
    first, second, third = (guarded.check(PASSCODE, presenter()) for _ in range(3))
    second.cancel()
    assert isinstance(outcome(second), CancelledError)
    answers[0].callback(ALICE)
    clock.advance(0)
    assert len(users.asked) == 2
    answers[1].callback(ALICE)
    assert [name(outcome(each)) for each in (first, third)] == ["alice", "alice"]
    assert guarded._turns == {}


def test_who_has_no_turn_by_the_deadline_is_told_to_come_again(clock):
    hanging = BackEnd("ldap", lambda _: Deferred())
    guarded = gate(clock, [hanging], deadline=3.0)
    burst = [guarded.check(PASSCODE, presenter()) for _ in range(20)]
    clock.pump([3.0, 0.0])
    found = [outcome(checking) for checking in burst]
    assert unavailable(found[0]) == "[ldap] gave no answer within 3 s"
    assert {unavailable(each) for each in found[1:]} == {
        "other checks of user 'alice' took longer than 3 s, and this one had no turn"
    }
    assert len(hanging.asked) == 1
    assert guarded._turns == {}


def test_a_long_row_of_waiting_guesses_is_no_deep_stack(clock):
    answers = []
    users = BackEnd("users", lambda _: answers.append(Deferred()) or answers[-1])
    guarded = gate(clock, [users], lockout=LockoutPolicy(per_user=1, per_address=0))
    burst = [guarded.check(PASSCODE, presenter()) for _ in range(sys.getrecursionlimit())]
    answers[0].errback(IdentityDenied("wrong"))
    for _ in burst:
        clock.advance(0)
    found = [denied(outcome(checking)) for checking in burst]
    assert {each[:26] for each in found[1:]} == {"user 'alice' failed 1 time"}


# Remembered -----------------------------------------------------------------------------------------------------------


def test_a_success_is_remembered_as_long_as_configured_and_a_failure_never(clock):
    users = only(b"right")
    users.cacheable = True
    guarded = gate(clock, [users], remember=5.0, lockout=LockoutPolicy(per_user=0, per_address=0))
    for _ in range(2):
        assert name(guess(guarded, b"right")) == "alice"
        denied(guess(guarded))
    assert [each for each in users.secrets if each == b"right"] == [b"right"]
    assert len(users.asked) == 3
    clock.advance(5)
    guess(guarded, b"right")
    assert len(users.asked) == 4


@pytest.mark.parametrize(("cacheable", "remember"), [(False, 5.0), (True, 0.0)])
def test_nothing_is_remembered_unless_back_end_and_policy_allow_it(clock, cacheable, remember):
    users = BackEnd("users", ALICE, cacheable=cacheable)
    guarded = gate(clock, [users], remember=remember)
    for _ in range(2):
        guess(guarded)
    assert len(users.asked) == 2


def test_a_lock_out_holds_for_what_is_remembered(clock):
    users = only(b"right")
    users.cacheable = True
    guarded = gate(clock, [users], remember=50.0, lockout=LockoutPolicy(per_user=1))
    guess(guarded, b"right")
    guess(guarded)
    assert denied(guess(guarded, b"right")).startswith("user 'alice' failed 1 times")
