from __future__ import annotations

import inspect
import re
import sys
import time
import traceback
from base64 import urlsafe_b64encode
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from lxml import etree
from twisted.internet.defer import Deferred
from zope.interface.verify import verifyObject

from dimsetls.errors import ConfigurationError, IdentityDenied, IdentityUnavailable, IdentityUnknown
from dimsetls.identity.credentials import Method, SAMLAssertion, Secret
from dimsetls.identity.interfaces import IAuthenticator, IForeseeing, IRemembering, Presenter, Verified
from dimsetls.identity.saml.authenticator import XUA_ROLE, SAMLAuthenticator
from dimsetls.identity.saml.choices import Answer, Confirmation, Use
from dimsetls.identity.saml.structure import DEEPEST
from dimsetls.identity.saml.used import Used
from dimsetls.tls.session import PeerCertificate

from ...servers.saml_idp import (
    BEARER,
    SENDER_VOUCHES,
    WRAPPINGS,
    A,
    IdentityProvider,
    bearer,
    hl7_role,
    holder_of_key,
    moment,
    self_signed,
    serialized,
)
from ..stage import Calls

IDP = IdentityProvider()
ANNA, BERT = (PeerCertificate.of(self_signed(IDP.key, name)) for name in ("anna", "bert"))
AUDIENCE = IDP.audience


class Stand:
    """Back ends that are closed at the end, asked by a reactor that is turned by hand."""

    def __init__(self, directory: Any) -> None:
        self.certificate = IDP.write_certificate(directory / "idp.pem")
        self.reactor = Calls()
        self.made: list[SAMLAuthenticator] = []
        self.steps: list[str] = []

    def back_end(self, **options: Any) -> SAMLAuthenticator:
        given = {"issuer": IDP.issuer, "certificates": [self.certificate], "audience": [AUDIENCE],
                 "reactor": self.reactor, "trace": self.steps.append} | options  # fmt: skip
        self.made.append(SAMLAuthenticator("saml hospital", **given))
        return self.made[-1]

    def outcome(self, document: bytes, back_end: SAMLAuthenticator | None = None, **presenter: Any) -> Any:
        """What is found, or the exception."""
        about = {"address": "192.0.2.1", "calling_ae_title": "CT1", "called_ae_title": "PACS"} | presenter
        asked = (back_end or self.back_end()).verify(SAMLAssertion(Secret(document)), Presenter(**about))
        return self.reactor.outcome(asked)

    def found(self, document: bytes, back_end: SAMLAuthenticator | None = None, **presenter: Any) -> Verified:
        verified = self.outcome(document, back_end, **presenter)
        assert isinstance(verified, Verified), verified
        return verified

    def refusal(self, document: bytes, back_end: SAMLAuthenticator | None = None, **presenter: Any) -> IdentityDenied:
        error = self.outcome(document, back_end, **presenter)
        assert isinstance(error, IdentityDenied), error
        assert str(error).startswith("[saml hospital] ")
        assert "alice" not in str(error)
        return error


@pytest.fixture
def stand(tmp_path):
    made = Stand(tmp_path)
    yield made
    for back_end in made.made:
        back_end.close()


def test_a_good_assertion(stand):
    before = time.time()
    verified = stand.found(IDP.assertion())
    assert (verified.name, verified.realm) == ("alice", IDP.issuer)
    assert (verified.groups, verified.roles) == ({"ct", "mr"}, {"radiologist"})
    assert verified.scopes is None
    assert before + 299 + 60 <= verified.until <= time.time() + 300 + 60  # the other clock may be behind ours
    assert verified.server_response == b""


def test_it_is_a_back_end(stand):
    back_end = stand.back_end()
    for interface in (IAuthenticator, IRemembering, IForeseeing):
        assert verifyObject(interface, back_end)
    assert (back_end.name, back_end.methods, back_end.cacheable) == ("saml hospital", {Method.SAML}, False)


def test_it_is_answered_with_a_saml_response_where_that_is_wanted(stand):
    back_end, document = stand.back_end(response=Answer.RESPONSE), IDP.assertion()
    before = datetime.now(UTC).replace(microsecond=0)
    answer = stand.found(document, back_end).server_response
    root = etree.fromstring(answer)
    protocol = "{urn:oasis:names:tc:SAML:2.0:protocol}"
    assert [each.tag for each in root.iter()] == [protocol + name for name in ("Response", "Status", "StatusCode")]
    assert root.get("InResponseTo") == etree.fromstring(document).get("ID")
    assert root.get("Version") == "2.0"
    assert before <= datetime.fromisoformat(root.get("IssueInstant")) <= datetime.now(UTC)
    assert root[0][0].get("Value") == "urn:oasis:names:tc:SAML:2.0:status:Success"
    assert b"alice" not in answer
    another = etree.fromstring(stand.found(IDP.assertion(), back_end).server_response)
    assert another.get("ID") != root.get("ID")


def test_it_is_checked_in_a_thread_and_can_be_cancelled(stand):
    asked = Deferred.fromCoroutine(
        stand.back_end().verify(SAMLAssertion(Secret(IDP.assertion())), Presenter("192.0.2.1", "CT1", "PACS"))
    )
    assert not asked.called
    asked.addErrback(lambda failure: failure.type.__name__)
    asked.cancel()
    assert stand.reactor.outcome(asked) == "CancelledError"


def test_each_step_is_told_without_the_assertion(stand):
    stand.found(IDP.assertion())
    assert [step.split(" ")[0:3] for step in stand.steps] == [
        ["the", "assertion", "has"], ["its", "form", "is"], ["it", "is", "valid"], ["it", "is", "made"],
        ["it", "is", "confirmed"], ["it", "is", "about"], ["it", "was", "not"],
    ]  # fmt: skip
    assert stand.steps[4] == f"it is confirmed by {BEARER}"
    assert stand.steps[5] == "it is about 'alice', groups ['ct', 'mr'], roles ['radiologist']"


# Attacks: what test_structure and test_signature refuse is refused here -----------------------------------------------


def attacks() -> dict[str, bytes]:
    good = IDP.assertion()
    bare = good.partition(b"?>\n")[2]
    found = {how: serialized(wrap(good)) for how, wrap in WRAPPINGS.items()}
    return found | {
        "unsigned": serialized(IDP.build()),
        "another key": IdentityProvider(IDP.issuer).assertion(),
        "changed": good.replace(b"<saml:NameID>alice", b"<saml:NameID>mallory"),
        "DOCTYPE": b"<!DOCTYPE x>" + bare,
        "comment": good.replace(b"alice", b"al<!-- -->ice"),
        "UTF-16": good.decode().encode("utf-16"),
        "deep": good.replace(b"</saml:Attribute", b"<a>" * DEEPEST + b"</a>" * DEEPEST + b"</saml:Attribute", 1),
        "two names": IDP.assertion([A.NameID("bob"), A.NameID("mallory")]),
        "nothing": b"",
        "noise": bytes(range(256)),
    }


ATTACKS = attacks()


@pytest.mark.parametrize("how", ATTACKS)
def test_attacks(how, stand):
    error = stand.refusal(ATTACKS[how])
    assert not isinstance(error, IdentityUnknown)


def test_another_issuer_is_somebody_elses(stand):
    other = IdentityProvider("https://other.example")
    error = stand.refusal(other.assertion())
    assert isinstance(error, IdentityUnknown)
    assert "of the issuer 'https://other.example', expected 'https://idp.hospital.example'" in str(error)


def test_nothing_of_the_assertion_is_in_a_sentence(stand):
    secret = "s3cret"
    for document in (IDP.assertion(secret, audiences=[]), IDP.assertion([A.NameID(secret), A.NameID("x")]),
                     IDP.assertion(secret).replace(b"<saml:NameID>", b"<saml:NameID>x")):  # fmt: skip
        assert secret not in str(stand.refusal(document))
    assert not any(secret in step for step in stand.steps)


def test_a_refusal_keeps_nothing_of_the_assertion_alive(stand):
    for document in (IDP.assertion(audiences=[]), IDP.assertion(audiences=[]).replace(b"ct", b"mr", 1), b"<saml:x/>"):
        error = stand.refusal(document)
        assert error.__context__ is error.__cause__ is None
        frames = [frame.f_locals for frame, _ in traceback.walk_tb(error.__traceback__)]
        assert len(frames) >= 1
        assert not any("saml:" in repr(value) for frame in frames for value in frame.values())


# Time -----------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("times", "words"), [
    ({"start": 90}, "the assertion is not valid before 2"),
    ({"issued": 90, "start": None}, "the assertion is not valid before 2"),
    ({"issued": 90, "start": 0}, "the assertion is not valid before 2"),
    ({"issued": -200, "start": -200, "end": -90}, "the assertion ended at 2"),
    ({"end": 3700}, "lives for 3700 s, expected 3600 s at the most (maximum-lifetime)"),
    ({"start": -200, "end": 3500}, "lives for 3700 s"),
    ({"issued": -200, "end": 3500}, "lives for 3700 s"),
])  # fmt: skip
def test_outside_its_time(times, words, stand):
    assert words in str(stand.refusal(IDP.assertion(**times)))


@pytest.mark.parametrize("times", [
    {"start": 30}, {"start": None}, {"issued": 30, "start": 30}, {"issued": -200, "start": -200, "end": -30},
    {"end": 3600},
])  # fmt: skip
def test_within_its_time_by_a_clock_that_differs_a_little(times, stand):
    stand.found(IDP.assertion(**times))


def test_the_skew_and_the_lifetime_are_options(stand):
    back_end = stand.back_end(clock_skew=0.0, maximum_lifetime=60.0)
    assert "lives for 300 s, expected 60 s" in str(stand.refusal(IDP.assertion(), back_end))
    assert "not valid before" in str(stand.refusal(IDP.assertion(start=30), back_end))
    assert "ended at" in str(stand.refusal(IDP.assertion(issued=-50, start=-50, end=-30), back_end))
    stand.found(IDP.assertion(issued=-5, start=-5, end=50), back_end)


def test_the_session_with_the_identity_provider_may_end_before(stand):
    def with_session(end: float) -> bytes:
        return IDP.assertion(statements=[A.AuthnStatement(AuthnInstant=moment(), SessionNotOnOrAfter=moment(end))])

    assert stand.found(with_session(100)).until <= time.time() + 100 + 60
    assert "the session with the identity provider ended at 2" in str(stand.refusal(with_session(-100)))


def test_a_pinned_certificate_that_ends_while_the_service_runs(stand):
    clock = [time.time()]
    back_end = stand.back_end(now=lambda: clock[0])
    clock[0] += timedelta(days=400).total_seconds()
    assert "every certificate that is pinned for the issuer is outd" in str(stand.refusal(IDP.assertion(), back_end))


# Audience -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("audiences", "found"), [
    ([], "nobody"), ([["urn:other"]], "'urn:other'"), ([[]], "nobody"),
    ([[AUDIENCE], ["urn:other"]], f"'{AUDIENCE}' and 'urn:other'"), ([["x", "urn:pac"]], "'urn:pac', 'x'"),
])  # fmt: skip
def test_made_out_to_others(audiences, found, stand):
    error = stand.refusal(IDP.assertion(audiences=audiences))
    assert str(error) == f"[saml hospital] the assertion is made out to {found}, expected '{AUDIENCE}'"


@pytest.mark.parametrize("audiences", [[["urn:other", AUDIENCE]], [[AUDIENCE], [AUDIENCE, "urn:other"]], [["second"]]])
def test_made_out_to_us_among_others(audiences, stand):
    stand.found(IDP.assertion(audiences=audiences), stand.back_end(audience=[AUDIENCE, "second"]))


# Subject confirmation, made when its test runs: it ends a time after that ---------------------------------------------


@pytest.mark.parametrize(("confirmations", "words"), [
    (list, "no subject confirmation holds: there is none"),
    (lambda: [A.SubjectConfirmation(Method=SENDER_VOUCHES)], f"its method is '{SENDER_VOUCHES}'"),
    (lambda: [A.SubjectConfirmation(A.SubjectConfirmationData())], "its method is '', expected bearer or holder-of-"),
    (lambda: [bearer(None)], "a bearer's does not say when it ends"),
    (lambda: [A.SubjectConfirmation(Method=BEARER)], "a bearer's does not say when it ends"),
    (lambda: [bearer(-90)], "it ended at 2"),
    (lambda: [bearer(NotBefore="2100-01-01T00:00:00Z")], "it is not valid before 2100-01-01 00:00:00 UTC"),
    (lambda: [bearer(InResponseTo="_1")], "it answers a request, and none was sent from here"),
    (lambda: [bearer(Recipient="https://other.example")], f"is 'https://other.example', expected '{AUDIENCE}'"),
    (lambda: [bearer(Address="192.0.2.7")], "it is for the address '192.0.2.7', the peer's is 192.0.2.1"),
    (lambda: [bearer(Address="ct1.example")], "it is for the address 'ct1.example', the peer's is 192.0.2.1"),
    (lambda: [holder_of_key(ANNA.der)], "it is for the holder of another certificate than none"),
    (lambda: [bearer(-90), bearer(Address="::1")], "it ended at"),
])  # fmt: skip
def test_confirmations_that_do_not_hold(confirmations, words, stand):
    error = stand.refusal(IDP.assertion(confirmations=confirmations()))
    assert "no subject confirmation holds: " in str(error)
    assert words in str(error)


@pytest.mark.parametrize("confirmations", [
    lambda: [bearer(-30)],
    lambda: [bearer(Recipient=AUDIENCE)],
    lambda: [bearer(Address="192.0.2.1")],
    lambda: [bearer(-90), bearer()],
    lambda: [holder_of_key(ANNA.der), bearer()],
    lambda: [A.SubjectConfirmation(Method=SENDER_VOUCHES), bearer()],
])  # fmt: skip
def test_one_confirmation_that_holds_is_enough(confirmations, stand):
    stand.found(IDP.assertion(confirmations=confirmations()))


def test_a_recipient_that_is_configured_must_be_named_by_a_bearer(stand):
    back_end = stand.back_end(recipient="dicom://pacs")
    stand.found(IDP.assertion(confirmations=[bearer(Recipient="dicom://pacs")]), back_end)
    words = str(stand.refusal(IDP.assertion(), back_end))
    assert "its recipient is not said, expected 'dicom://pacs'" in words
    stand.refusal(IDP.assertion(confirmations=[bearer(Recipient=AUDIENCE)]), back_end)
    stand.found(IDP.assertion(confirmations=[holder_of_key(ANNA.der)]), back_end, certificate=ANNA)
    stand.refusal(IDP.assertion(confirmations=[holder_of_key(ANNA.der, Recipient="x")]), back_end, certificate=ANNA)


def test_the_holder_of_a_key_shows_its_certificate_to_tls(stand):
    def document() -> bytes:
        return IDP.assertion(confirmations=[holder_of_key(ANNA.der)])

    stand.found(document(), certificate=ANNA)
    assert "the holder of another certificate than CN=bert" in str(stand.refusal(document(), certificate=BERT))
    assert "another certificate than none" in str(stand.refusal(document()))


def test_bearers_can_be_excluded(stand):
    back_end = stand.back_end(confirmation=[Confirmation.HOLDER_OF_KEY])
    assert "cm:bearer', expected holder-of-key" in str(stand.refusal(IDP.assertion(), back_end))
    stand.found(IDP.assertion(confirmations=[holder_of_key(ANNA.der)]), back_end, certificate=ANNA)


# Use ------------------------------------------------------------------------------------------------------------------


def test_once(stand):
    back_end, document = stand.back_end(), IDP.assertion()
    stand.found(document, back_end, certificate=ANNA)
    error = stand.refusal(document, back_end, certificate=ANNA)
    assert "was used before, with this certificate; expected one that was not (use)" in str(error)
    assert not error.is_security_alert  # a second association of the same peer
    error = stand.refusal(document, back_end, certificate=BERT)
    assert "was used before, with another certificate" in str(error)
    assert error.is_security_alert
    stand.found(IDP.assertion(), back_end, certificate=ANNA)


def test_its_first_use_binds_it_to_a_certificate(stand):
    back_end, document = stand.back_end(use=Use.ONCE_PER_CERTIFICATE), IDP.assertion()
    for _ in range(3):
        stand.found(document, back_end, certificate=ANNA)
    for other in (BERT, None):
        assert stand.refusal(document, back_end, certificate=other).is_security_alert
    without = IDP.assertion()
    stand.found(without, back_end)
    assert "was used before, without a certificate, as now;" in str(stand.refusal(without, back_end))


def test_as_long_as_valid(stand):
    back_end, document = stand.back_end(use=Use.AS_LONG_AS_VALID), IDP.assertion()
    for certificate in (ANNA, ANNA, BERT, None):
        stand.found(document, back_end, certificate=certificate)


@pytest.mark.parametrize("use", Use)
def test_an_assertion_for_one_use_counts_once_whatever_is_configured(use, stand):
    back_end, document = stand.back_end(use=use), IDP.assertion(conditions=[A.OneTimeUse()])
    stand.found(document, back_end, certificate=ANNA)
    stand.refusal(document, back_end, certificate=ANNA)


def test_two_uses_at_once_are_two(stand):
    back_end, document = stand.back_end(), IDP.assertion()
    both = [Deferred.fromCoroutine(back_end.verify(SAMLAssertion(Secret(document)), Presenter("::1", "A", "B")))
            for _ in range(2)]  # fmt: skip
    outcomes = [type(stand.reactor.outcome(each)) for each in both]
    assert sorted(outcomes, key=str) == [IdentityDenied, Verified]


def test_only_good_assertions_are_noted(stand):
    used = Used(limit=1)
    back_end, document = stand.back_end(used=used), IDP.assertion()
    stand.refusal(document.replace(b"alice", b"mallory"), back_end)
    stand.refusal(IDP.assertion(audiences=[]), back_end)
    stand.refusal(IDP.assertion([A.NameID("")]), back_end)
    stand.found(document, back_end)
    error = stand.outcome(IDP.assertion(), back_end)
    assert isinstance(error, IdentityUnavailable)
    assert str(error) == "[saml hospital] more assertions were used lately than can be remembered"


def test_what_was_used_is_given_on_when_the_configuration_is_read_again(stand):
    before, document = stand.back_end(), IDP.assertion()
    stand.found(document, before)
    after, of_another_issuer = stand.back_end(), stand.back_end(issuer="urn:another")
    for back_end in (after, of_another_issuer):
        back_end.take_over(before)
    stand.refusal(document, after)
    while_both_serve = IDP.assertion()
    stand.found(while_both_serve, before)
    assert "was used before" in str(stand.refusal(while_both_serve, after))
    assert of_another_issuer._used is not before._used


def test_what_was_used_is_forgotten_when_it_has_ended():
    used = Used(limit=2)
    assert used.note("a", "x", until=10.0, now=0.0)
    assert used.note("b", "", until=20.0, now=0.0)
    assert (used.first("a", 9.9), used.first("b", 9.9), used.first("c", 9.9)) == ("x", "", None)
    assert not used.note("c", "", until=30.0, now=9.9)
    assert used.first("a", 10.0) is None
    assert used.note("c", "", until=30.0, now=10.0)
    assert (used.first("a", 9.9), used.first("c", 10.0)) == (None, "")


# Names, groups, roles -------------------------------------------------------------------------------------------------


def test_the_name_from_an_attribute(stand):
    back_end = stand.back_end(name_attribute="uid")
    assert stand.found(IDP.assertion("_transient", attributes={"uid": ["anna"]}), back_end).name == "anna"
    for values, count in (([], 0), (["anna", "bert"], 2)):
        error = stand.refusal(IDP.assertion("_transient", attributes={"uid": values}), back_end)
        assert f"the attribute 'uid' has {count} values, expected one, the user's name (name-attribute)" in str(error)


@pytest.mark.parametrize(("name", "words"), [
    ("", "the username field has 0 octets"), ("a\u200bb", "control, format or unassigned"),
    ("x" * 256, "has 256 octets"),
])  # fmt: skip
def test_names_that_are_not_seen(name, words, stand):
    assert words in str(stand.refusal(IDP.assertion(name)))


def test_a_name_is_one_string_however_it_was_written(stand):
    assert stand.found(IDP.assertion("Jo\u0308rg")).name == "Jörg"


def test_groups_and_roles_from_configured_attributes(stand):
    role = hl7_role("46255001", "2.16.840.1.113883.6.96")
    attributes = {"memberOf": ["radiology"], "more": ["ct", "mr"], XUA_ROLE: [role]}
    back_end = stand.back_end(group_attributes=["memberOf", "more", "none"], role_attributes=[XUA_ROLE, "memberOf"])
    verified = stand.found(IDP.assertion(attributes=attributes), back_end)
    assert verified.groups == {"radiology", "ct", "mr"}
    assert verified.roles == {"46255001^^2.16.840.1.113883.6.96", "radiology"}
    none = stand.found(IDP.assertion(), stand.back_end(group_attributes=None, role_attributes=None))
    assert none.groups == none.roles == frozenset()


# Encoding -------------------------------------------------------------------------------------------------------------


def test_base64url_only_where_it_is_configured(stand):
    document = IDP.assertion()
    wrapped = urlsafe_b64encode(document).rstrip(b"=")
    assert "not an XML document" in str(stand.refusal(wrapped))
    back_end = stand.back_end(base64url=True, use=Use.AS_LONG_AS_VALID)
    stand.found(wrapped, back_end)
    stand.found(document, back_end)
    for bad in (wrapped + b"=", b" " + wrapped, wrapped + b"\n", wrapped[:-1] + b"*", b""):
        stand.refusal(bad, back_end)


# Configuration --------------------------------------------------------------------------------------------------------


def problems(stand: Stand, **options: Any) -> tuple[str, ...]:
    with pytest.raises(ConfigurationError) as caught:
        stand.back_end(**options)
    return caught.value.problems


def test_every_problem_is_named(stand, tmp_path):
    assert problems(stand, issuer="", audience=[], confirmation=[], certificates=[tmp_path / "none"]) == (
        "issuer: found nothing, expected at least one",
        "audience: found nothing, expected at least one",
        "confirmation: found nothing, expected at least one",
        f"certificates: certificate file {tmp_path / 'none'} cannot be read: No such file or directory; "
        "expected a PEM file",
    )


def test_without_the_extra(stand, monkeypatch):
    for module in ("signature", "statements", "structure"):
        monkeypatch.delitem(sys.modules, f"dimsetls.identity.saml.{module}")
        monkeypatch.delattr(f"dimsetls.identity.saml.{module}")
    monkeypatch.setitem(sys.modules, "lxml", None)
    assert problems(stand) == (
        "signxml and lxml, which check SAML assertions, are not installed; expected both: pip install 'dimsetls[saml]'",
    )


def test_certificates_that_end_are_told_of(stand, tmp_path):
    soon = IdentityProvider(IDP.issuer, days=(-1, 20)).write_certificate(tmp_path / "soon.pem")
    now = datetime.now(UTC)
    assert stand.back_end().warnings(now) == ()
    (warning,) = stand.back_end(certificates=[stand.certificate, soon]).warnings(now)
    assert warning.startswith('[saml hospital] pinned certificate "CN=https://idp.hospital.example" is valid from 2')


def test_the_page_has_every_option_and_its_default():
    page = (Path(__file__).parents[3] / "docs" / "how-to" / "identity-saml.md").read_text()
    rows = re.findall(r"^\| `([a-z0-9-]+)` \|(.*?)\|", page.partition("## Who may use")[0], re.MULTILINE)
    parameters = inspect.signature(SAMLAuthenticator).parameters.values()
    ours = [each for each in parameters if each.name not in ("name", "used", "reactor", "now", "trace")]
    assert [name.replace("-", "_") for name, _ in rows] == [each.name for each in ours]
    for (_, default), parameter in zip(rows, ours, strict=True):
        found = parameter.default
        words = {inspect.Parameter.empty: "", None: "none", False: "`no`", 60.0: "`60s`", 3600.0: "`1h`"}
        several = found if isinstance(found, tuple) else (found,)
        listed = ", ".join(str(getattr(each, "value", each)) for each in several)
        assert default.strip() == words.get(found, f"`{listed}`")
