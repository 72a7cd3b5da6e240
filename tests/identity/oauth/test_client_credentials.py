from __future__ import annotations

import base64
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from dimsetls.errors import ConfigurationError, IdentityDenied, IdentityUnavailable
from dimsetls.identity.credentials import AccessToken, Method
from dimsetls.identity.oauth.client_credentials import ClientCredentials
from dimsetls.identity.oauth.sources import TokenFile, TokenVariable
from dimsetls.tls.passphrase import Passphrase

from ...servers.oauth import BOUND, ES256, MODALITY, OPAQUE, AuthorizationServer
from ..loop import Loop

JSON = {"Content-Type": "application/json"}


class Clock:
    time = 0.0

    def __call__(self) -> float:
        return self.time


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def source(oauth: AuthorizationServer, loop: Loop, clock: Clock) -> Callable[..., ClientCredentials]:
    """Make a source of tokens; whatever the test does not name is as it should be."""

    def make(**options: Any) -> ClientCredentials:
        good = {"url": f"{oauth.issuer}/token", "trust_roots": oauth.trust_roots, "client_id": MODALITY.client_id,
                "client_secret": oauth.secret, "resource": OPAQUE, "request_deadline": 0.3, "reactor": loop.reactor,
                "seconds": clock}
        return ClientCredentials(**{**good, **options})

    return make


def text(token: AccessToken) -> str:
    assert token.method is Method.BEARER
    return token.token.reveal().decode()


def claims(token: AccessToken) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(base64.urlsafe_b64decode(text(token).split(".")[1] + "=="))
    return found


# The grant ------------------------------------------------------------------------------------------------------------


def test_a_token_is_had(source: Callable[..., ClientCredentials], loop: Loop) -> None:
    found = claims(loop.wait(source(resource=ES256, scope="dicom.store").token()))
    assert (found["aud"], found["scope"], found["client_id"]) == (ES256, "dicom.store", "modality")


def test_a_token_bound_to_our_certificate(
    source: Callable[..., ClientCredentials], oauth: AuthorizationServer, loop: Loop, tmp_path: Path
) -> None:
    (tmp_path / "secret").write_text(BOUND.secret)
    (tmp_path / "secret").chmod(0o600)
    certificate, key = oauth.key_pair("modality")
    bound = source(resource=ES256, client_id=BOUND.client_id, client_secret=str(tmp_path / "secret"),
                   certificate=certificate, private_key=key)
    assert set(claims(loop.wait(bound.token()))["cnf"]) == {"x5t#S256"}


def test_a_token_is_kept_until_shortly_before_its_end(
    source: Callable[..., ClientCredentials], oauth: AuthorizationServer, loop: Loop, clock: Clock
) -> None:
    tokens = source()
    first = text(loop.wait(tokens.token()))
    clock.time = 569
    assert text(loop.wait(tokens.token())) == first
    assert oauth.counts() == {"/token": 1}
    clock.time = 570
    assert text(loop.wait(tokens.token())) != first
    assert oauth.counts() == {"/token": 1}


def test_whoever_has_a_token_may_wipe_it(source: Callable[..., ClientCredentials], loop: Loop) -> None:
    tokens = source()
    first = loop.wait(tokens.token())
    kept = text(first)
    first.wipe()
    assert text(loop.wait(tokens.token())) == kept


def test_a_token_that_was_not_accepted_is_forgotten(
    source: Callable[..., ClientCredentials], oauth: AuthorizationServer, loop: Loop
) -> None:
    tokens = source()
    first = text(loop.wait(tokens.token()))
    tokens.forget()
    assert text(loop.wait(tokens.token())) != first
    assert oauth.counts() == {"/token": 2}


def test_who_asks_at_once_shares_a_request(
    source: Callable[..., ClientCredentials], oauth: AuthorizationServer, loop: Loop
) -> None:
    tokens = source()
    found = {text(each) for each in loop.all(*(tokens.token() for _ in range(10)))}
    assert len(found) == 1
    assert oauth.counts() == {"/token": 1}


@pytest.mark.parametrize(("lifetime", "kept_for"), [
    ('"expires_in":3600', 3569), ('"expires_in":40', 19), ('"expires_in":1', 0.4),
    ('"expires_in":0', None), ('"expires_in":-5', None), ('"expires_in":"3600"', None), ('"expires_in":true', None),
    ('"scope":"a"', None),
])  # fmt: skip
def test_lifetimes(
    source: Callable[..., ClientCredentials], oauth: AuthorizationServer, loop: Loop, clock: Clock,
    lifetime: str, kept_for: float | None,
) -> None:  # fmt: skip
    body = f'{{"access_token":"t","token_type":"bearer",{lifetime}}}'
    oauth.fault("/token", times=2, status=200, headers=JSON, body=body)
    tokens = source()
    loop.wait(tokens.token())
    clock.time = kept_for or 0
    loop.wait(tokens.token())
    assert oauth.counts() == {"/token": 1 if kept_for is not None else 2}


@pytest.mark.parametrize(("answer", "kind", "why"), [
    ({"status": 401, "body": '{"error":"invalid_client"}'}, IdentityDenied, r"status 401 \(invalid_client\)"),
    ({"status": 400, "body": '{"error":"invalid_scope"}'}, IdentityDenied, r"status 400 \(invalid_scope\)"),
    ({"status": 503, "body": ""}, IdentityUnavailable, "status 503"),
    ({"status": 200, "body": "[]"}, IdentityUnavailable, "not an object"),
    ({"delay": 60000}, IdentityUnavailable, "no whole answer within 0.3 s"),
    ({"status": 200, "body": '{"access_token":"t","token_type":"DPoP"}'}, IdentityDenied, "'DPoP'; expected Bearer"),
    ({"status": 200, "body": '{"access_token":"t"}'}, IdentityDenied, "'None'; expected Bearer"),
    ({"status": 200, "body": '{"token_type":"Bearer"}'}, IdentityDenied, "no access_token in b64token"),
    ({"status": 200, "body": '{"access_token":7,"token_type":"Bearer"}'}, IdentityDenied, "no access_token"),
    ({"status": 200, "body": '{"access_token":"a b\\r\\nX: y","token_type":"Bearer"}'}, IdentityDenied, "no access_t"),
    ({"status": 200, "body": '{"access_token":"ä","token_type":"Bearer"}'}, IdentityDenied, "no access_token"),
])  # fmt: skip
def test_no_token_is_had(
    source: Callable[..., ClientCredentials], oauth: AuthorizationServer, loop: Loop,
    answer: dict[str, Any], kind: type, why: str,
) -> None:  # fmt: skip
    tokens = source()
    oauth.fault("/token", **{"headers": JSON, **answer})
    with pytest.raises(kind, match=why):
        loop.wait(tokens.token())
    assert text(loop.wait(tokens.token()))  # and the next time it is asked again


def test_what_the_server_does_not_grant(source: Callable[..., ClientCredentials], loop: Loop) -> None:
    with pytest.raises(IdentityDenied, match=r"no access token for us: .* \(invalid_target\)"):
        loop.wait(source(resource="urn:unknown").token())


def test_no_secret_is_shown(source: Callable[..., ClientCredentials], loop: Loop) -> None:
    tokens = source()
    token = text(loop.wait(tokens.token()))
    assert token not in repr(vars(tokens))
    tokens.close()


def test_mistakes_of_an_operator(source: Callable[..., ClientCredentials]) -> None:
    with pytest.raises(ConfigurationError, match=r"url: found 'http://localhost/'; expected https://"):
        source(url="http://localhost/")


# Files and variables --------------------------------------------------------------------------------------------------


def test_a_token_from_a_file_is_read_each_time(tmp_path: Path, loop: Loop) -> None:
    path = tmp_path / "token"
    path.touch(0o600)
    tokens = TokenFile(Passphrase(path))
    for content in ("first.token\n", "second.token"):
        path.write_text(content)
        assert text(loop.wait(tokens.token())) == content.strip()


@pytest.mark.parametrize(("content", "mode", "why"), [
    ("", 0o600, "begins with an empty line"),
    ("a b", 0o600, "found characters outside b64token"),
    ("Bearer abc", 0o600, "found characters outside b64token"),
    ("  \n", 0o600, "found nothing; expected an access token"),
    ("open.to.all", 0o644, "is open to group or others"),
])  # fmt: skip
def test_files_that_do_not_do(tmp_path: Path, loop: Loop, content: str, mode: int, why: str) -> None:
    path = tmp_path / "token"
    path.write_text(content)
    path.chmod(mode)
    with pytest.raises(ConfigurationError, match=why) as caught:
        loop.wait(TokenFile(Passphrase(path)).token())
    assert not content.strip() or content not in str(caught.value)


def test_a_token_from_the_environment(loop: Loop) -> None:
    environment = {"TOKEN": "first"}
    tokens = TokenVariable("TOKEN", environment)
    assert text(loop.wait(tokens.token())) == "first"
    environment["TOKEN"] = "second"
    assert text(loop.wait(tokens.token())) == "second"
    del environment["TOKEN"]
    with pytest.raises(ConfigurationError, match="environment variable TOKEN: found nothing; expected an access token"):
        loop.wait(tokens.token())
    assert "second" not in repr(TokenVariable("TOKEN", {"TOKEN": "second"}))
