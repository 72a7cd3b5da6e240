from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from twisted.internet.defer import Deferred
from zope.interface.verify import verifyObject

from dimsetls.errors import ConfigurationError, IdentityDenied, IdentityUnavailable, IdentityUnknown
from dimsetls.identity.base64url import encode
from dimsetls.identity.bearer import BearerResult, write_result, write_token
from dimsetls.identity.credentials import AccessToken, Method, Secret
from dimsetls.identity.gate import Gate, IdentityPolicy, Requirement
from dimsetls.identity.interfaces import IAuthenticator, Presenter
from dimsetls.identity.oauth.introspection import IntrospectionAuthenticator
from dimsetls.identity.oauth.jwt import JWTAuthenticator
from dimsetls.tls.material import KeyMaterial
from dimsetls.tls.session import PeerCertificate
from dimsetls.ul.pdus import UserInformation

from ...servers.oauth import BOUND, BRIEF_OPAQUE, BY_CERTIFICATE, ES256, MODALITY, OPAQUE, AuthorizationServer
from ..loop import Loop

PATH = "/token/introspection"
NOBODY = Presenter("192.0.2.1", "CT1", "PACS")
NOW = 1_800_000_000.0


@pytest.fixture
def make(oauth: AuthorizationServer, loop: Loop) -> Callable[..., IntrospectionAuthenticator]:
    """Make a back end; whatever the test does not name is as it should be."""

    def made(**options: Any) -> IntrospectionAuthenticator:
        good = {"name": "introspection test", "url": f"{oauth.issuer}{PATH}", "trust_roots": oauth.trust_roots,
                "issuer": oauth.issuer, "audience": [OPAQUE, BRIEF_OPAQUE], "client_id": MODALITY.client_id,
                "client_secret": oauth.secret, "reactor": loop.reactor, "request_deadline": 0.3}
        return IntrospectionAuthenticator(**{**good, **options})

    return made


@pytest.fixture
def answered(
    make: Callable[..., IntrospectionAuthenticator], oauth: AuthorizationServer, loop: Loop
) -> Callable[..., Any]:
    """What a back end makes of an answer of the server: Verified, or the exception."""

    def judged(*, status: int = 200, kind: str = "application/json", body: str | None = None, **claims: Any) -> Any:
        good = {"active": True, "sub": "alice", "aud": OPAQUE, "exp": NOW + 600} | claims
        said = json.dumps({name: claim for name, claim in good.items() if claim is not None}) if body is None else body
        oauth.fault(PATH, status=status, headers={"Content-Type": kind}, body=said)
        (found,) = loop.all(make(now=lambda: NOW).verify(token("any-token"), NOBODY))
        assert "any-token" not in str(found)
        return found

    return judged


def token(text: str) -> AccessToken:
    return AccessToken(Secret(text.encode()))


def presenter(oauth: AuthorizationServer, name: str) -> Presenter:
    certificate = KeyMaterial.load(*oauth.key_pair(name)).certificate
    return Presenter("192.0.2.1", "CT1", "PACS", PeerCertificate.of(certificate))


# What the real server says --------------------------------------------------------------------------------------------


def test_it_is_a_back_end(make: Callable[..., IntrospectionAuthenticator]) -> None:
    back_end = make()
    assert verifyObject(IAuthenticator, back_end)
    assert (back_end.name, back_end.methods) == ("introspection test", {Method.BEARER})
    back_end.close()


def test_a_token_that_is_active(
    make: Callable[..., IntrospectionAuthenticator], oauth: AuthorizationServer, loop: Loop
) -> None:
    told: list[str] = []
    found = loop.wait(make(trace=told.append).verify(token(oauth.token(OPAQUE)["access_token"]), NOBODY))
    assert (found.name, found.realm, found.groups, found.roles) == (
        "alice", oauth.issuer, {"radiology"}, {"technician"})  # fmt: skip
    assert found.scopes == {"dicom.query", "dicom.store"}
    assert found.until is not None
    assert found.until > time.time() + 600
    assert [sentence.partition(":")[0] for sentence in told] == [
        "server", "times", "audience", "confirmation", "subject"]


def test_we_prove_who_we_are_by_certificate(
    make: Callable[..., IntrospectionAuthenticator], oauth: AuthorizationServer, loop: Loop
) -> None:
    certificate, key = oauth.key_pair("node")
    back_end = make(client_id=BY_CERTIFICATE, client_secret=None, certificate=certificate, private_key=key)
    assert loop.wait(back_end.verify(token(oauth.token(OPAQUE, "bob")["access_token"]), NOBODY)).roles == {"46255001"}


@pytest.mark.parametrize("text", ["made-up", "a.b.c", "A" * 9000, "a+/~b=="])
def test_a_token_that_nobody_issued(
    make: Callable[..., IntrospectionAuthenticator], loop: Loop, text: str
) -> None:
    error = loop.error(make().verify(token(text), NOBODY))
    assert type(error) is IdentityUnknown
    assert "[introspection test] says that the token is not active" in str(error)


def test_a_revoked_token(
    make: Callable[..., IntrospectionAuthenticator], oauth: AuthorizationServer, loop: Loop
) -> None:
    back_end, text = make(remember=0.0), oauth.token(OPAQUE)["access_token"]
    assert loop.wait(back_end.verify(token(text), NOBODY)).name == "alice"
    oauth.revoke(text)
    assert isinstance(loop.error(back_end.verify(token(text), NOBODY)), IdentityUnknown)


def test_a_token_for_somebody_else(
    make: Callable[..., IntrospectionAuthenticator], oauth: AuthorizationServer, loop: Loop
) -> None:
    error = loop.error(make(audience=["pacs"]).verify(token(oauth.token(OPAQUE)["access_token"]), NOBODY))
    assert type(error) is IdentityDenied
    assert f"the token is for '{OPAQUE}'; expected pacs" in str(error)


def test_bound_tokens(make: Callable[..., IntrospectionAuthenticator], oauth: AuthorizationServer, loop: Loop) -> None:
    back_end = make(require_binding=True)
    bound = token(oauth.token(OPAQUE, client=BOUND)["access_token"])
    assert loop.wait(back_end.verify(bound, presenter(oauth, "modality"))).name == "alice"
    error = loop.error(back_end.verify(bound, presenter(oauth, "other")))  # what is remembered is for one certificate
    assert isinstance(error, IdentityDenied)
    assert error.is_security_alert
    assert "the peer showed none" in str(loop.error(back_end.verify(bound, NOBODY)))
    free = token(oauth.token(OPAQUE)["access_token"])
    assert "bound to no certificate" in str(loop.error(back_end.verify(free, presenter(oauth, "modality"))))


def test_a_server_that_does_not_examine_such_tokens(
    make: Callable[..., IntrospectionAuthenticator], oauth: AuthorizationServer, loop: Loop
) -> None:
    """This one leaves its JWTs to be verified by whoever gets them."""
    error = loop.error(make().verify(token(oauth.token(ES256)["access_token"]), NOBODY))
    assert type(error) is IdentityUnknown
    assert "does not examine tokens of this form" in str(error)


def test_the_gate_asks_it_for_what_a_jwt_back_end_does_not_know(
    make: Callable[..., IntrospectionAuthenticator], oauth: AuthorizationServer, loop: Loop
) -> None:
    jwt = JWTAuthenticator(
        name="jwt test", issuer=oauth.issuer, audience=[ES256], jwks_url=f"{oauth.issuer}/jwks",
        trust_roots=oauth.trust_roots, reactor=loop.reactor,
    )  # fmt: skip
    policy = IdentityPolicy(Requirement.REQUIRE, {Method.BEARER: (jwt, make())})
    gate = Gate(policy, loop.reactor)
    for audience, back_end in ((ES256, "jwt test"), (OPAQUE, "introspection test")):
        carrier = write_token(token(oauth.token(audience)["access_token"]), True)
        admitted = loop.wait(gate.check(UserInformation(16384, "1.2.3", extended_negotiations=(carrier,)), NOBODY))
        assert admitted.principal is not None
        assert (admitted.principal.name, admitted.principal.back_ends) == ("alice", (back_end,))
        assert admitted.extended == write_result(BearerResult.ACCEPTED)
    assert oauth.counts() == {"/token": 2, "/jwks": 1, PATH: 1}


# What any server may say ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("claims", [{}, {"exp": None}, {"iss": None}, {"aud": ["other", OPAQUE]}, {"nbf": NOW}])
def test_answers_that_are_good(answered: Callable[..., Any], claims: dict[str, Any]) -> None:
    assert answered(**claims).name == "alice"


@pytest.mark.parametrize(("claims", "why"), [
    ({"iss": "https://other.example"}, "is of issuer 'https://other.example'; expected https://localhost:"),
    ({"iss": 7}, "is of issuer '7'"),
    ({"aud": None}, "no claim aud"),
    ({"aud": "other"}, "is for 'other'"),
    ({"sub": None}, "no claim sub"),
    ({"exp": NOW - 31}, "expired at"),
    ({"nbf": NOW + 31}, "not valid before"),
    ({"exp": "soon"}, "exp is not a time"),
    ({"cnf": {"jkt": "x"}}, "bound by other means"),
    ({"cnf": {"x5t#S256": encode(hashlib.sha256(b"").digest()).decode()}}, "the peer showed none"),
])  # fmt: skip
def test_answers_that_do_not_do(answered: Callable[..., Any], claims: dict[str, Any], why: str) -> None:
    found = answered(**claims)
    assert type(found) is IdentityDenied
    assert str(found).startswith("[introspection test] ")
    assert why in str(found)


@pytest.mark.parametrize("active", ["true", 1, None, [], "yes"])
def test_an_answer_that_is_neither_yes_nor_no(answered: Callable[..., Any], active: object) -> None:
    found = answered(active=active)
    assert isinstance(found, IdentityUnavailable)
    assert "answered without true or false in active (RFC 7662 §2.2)" in str(found)


@pytest.mark.parametrize(("answer", "why"), [
    ({"status": 401, "body": '{"error":"invalid_client"}'}, "401 (invalid_client); expected 200; check client-id"),
    ({"status": 403, "body": "{}"}, "403; expected 200; check client-id"),
    ({"status": 400, "body": '{"error":"invalid_request"}'}, "400 (invalid_request); expected 200"),
    ({"status": 503, "body": ""}, "503; expected 200"),
    ({"status": 302, "body": ""}, "302; expected 200"),
    ({"kind": "text/html"}, "content type 'text/html'"),
    ({"kind": "application/token-introspection+jwt"}, "content type 'application/token-introspection+jwt'"),
    ({"body": ""}, "not JSON"),
    ({"body": '{"active":false,"active":true}'}, "'active' more than once"),
    ({"body": '{"active":true,"sub":"' + "x" * 300000 + '"}'}, "more than 262144 bytes"),
])  # fmt: skip
def test_an_answer_that_tells_nothing(answered: Callable[..., Any], answer: dict[str, Any], why: str) -> None:
    found = answered(**answer)
    assert isinstance(found, IdentityUnavailable)
    assert str(found).startswith("[introspection test] cannot tell whether the token is active: https://localhost:")
    assert why in str(found)


def test_a_server_that_hangs(
    make: Callable[..., IntrospectionAuthenticator], oauth: AuthorizationServer, loop: Loop
) -> None:
    with oauth.hung():
        error = loop.error(make().verify(token("any-token"), NOBODY))
    assert isinstance(error, IdentityUnavailable)
    assert "gave no whole answer within 0.3 s" in str(error)


def test_only_so_many_requests_at_once(
    make: Callable[..., IntrospectionAuthenticator], oauth: AuthorizationServer, loop: Loop
) -> None:
    back_end, text = make(requests=2, request_deadline=5.0), oauth.token(OPAQUE)["access_token"]
    found = loop.all(*(back_end.verify(token(text), NOBODY) for _ in range(5)))
    assert [type(each).__name__ for each in found] == ["Verified"] * 2 + ["IdentityUnavailable"] * 3
    assert "has 2 checks under way" in str(found[2])
    assert loop.wait(back_end.verify(token(text), NOBODY)).name == "alice"


def test_who_gives_up_makes_room(
    make: Callable[..., IntrospectionAuthenticator], oauth: AuthorizationServer, loop: Loop
) -> None:
    back_end, text = make(requests=1), oauth.token(OPAQUE)["access_token"]
    gone = Deferred.fromCoroutine(back_end.verify(token(text), NOBODY))
    assert "has 1 checks under way" in str(loop.error(back_end.verify(token(text), NOBODY)))
    gone.cancel()
    assert loop.error(gone)
    assert loop.wait(back_end.verify(token(text), NOBODY)).name == "alice"


# What is remembered ---------------------------------------------------------------------------------------------------


def test_a_good_answer_is_remembered_for_a_short_time(
    make: Callable[..., IntrospectionAuthenticator], oauth: AuthorizationServer, loop: Loop
) -> None:
    clock, text = [time.time()], oauth.token(OPAQUE)["access_token"]
    back_end = make(remember=20.0, now=lambda: clock[0])
    oauth.counts()
    for _ in range(3):
        assert loop.wait(back_end.verify(token(text), NOBODY)).name == "alice"
    assert oauth.counts() == {PATH: 1}
    clock[0] += 20
    oauth.revoke(text)
    assert isinstance(loop.error(back_end.verify(token(text), NOBODY)), IdentityUnknown)


def test_it_is_forgotten_when_the_token_expires(
    make: Callable[..., IntrospectionAuthenticator], oauth: AuthorizationServer, loop: Loop
) -> None:
    clock = [time.time()]
    back_end, text = make(remember=600.0, now=lambda: clock[0]), oauth.token(BRIEF_OPAQUE)["access_token"]
    assert loop.wait(back_end.verify(token(text), NOBODY)).name == "alice"
    oauth.counts()
    clock[0] += 5.1  # the leeway would let it pass for longer, so the server is asked
    loop.all(back_end.verify(token(text), NOBODY))
    assert oauth.counts() == {PATH: 1}


def test_a_bad_answer_is_not_remembered(
    make: Callable[..., IntrospectionAuthenticator], oauth: AuthorizationServer, loop: Loop
) -> None:
    back_end = make()
    for _ in range(3):
        assert isinstance(loop.error(back_end.verify(token("made-up"), NOBODY)), IdentityUnknown)
    assert oauth.counts() == {PATH: 3}


def test_nothing_is_remembered_of_a_back_end_that_was_closed(
    make: Callable[..., IntrospectionAuthenticator], oauth: AuthorizationServer, loop: Loop
) -> None:
    back_end, text = make(), oauth.token(OPAQUE)["access_token"]
    loop.wait(back_end.verify(token(text), NOBODY))
    back_end.close()
    oauth.counts()
    loop.wait(back_end.verify(token(text), NOBODY))
    assert oauth.counts() == {PATH: 1}


def test_no_token_is_kept(
    make: Callable[..., IntrospectionAuthenticator], oauth: AuthorizationServer, loop: Loop
) -> None:
    back_end, text = make(), oauth.token(OPAQUE)["access_token"]
    loop.wait(back_end.verify(token(text), NOBODY))
    assert text not in repr(vars(back_end)) + repr(vars(back_end._remembered))


# Configuration --------------------------------------------------------------------------------------------------------


def test_mistakes_of_an_operator(make: Callable[..., IntrospectionAuthenticator], tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError) as caught:
        make(issuer="", audience=[], url="http://localhost/", client_secret=str(tmp_path / "none"), client_id="")
    assert [problem.partition(":")[0] for problem in caught.value.problems] == [
        "issuer", "audience", "client-id", "client-secret", "url"]
