from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from dimsetls.errors import ConfigurationError
from dimsetls.identity.oauth.client import OAuthClient
from dimsetls.identity.oauth.fetch import NotFetched

from ...servers.oauth import BY_CERTIFICATE, ES256, MODALITY, AuthorizationServer
from ..loop import Loop

GRANT = {"grant_type": "client_credentials", "resource": ES256}


@pytest.fixture
def client(oauth: AuthorizationServer, loop: Loop) -> Callable[..., OAuthClient]:
    """Make a client of the token endpoint; whatever the test does not name is as it should be."""

    def make(**options: Any) -> OAuthClient:
        good = {"url": f"{oauth.issuer}/token", "trust_roots": oauth.trust_roots, "client_id": MODALITY.client_id,
                "client_secret": oauth.secret, "reactor": loop.reactor}
        return OAuthClient(**{**good, **options})

    return make


def by_certificate(oauth: AuthorizationServer, name: str = "node") -> dict[str, Any]:
    certificate, key = oauth.key_pair(name)
    return {"client_id": BY_CERTIFICATE, "client_secret": None, "certificate": certificate, "private_key": key}


def test_a_secret_proves_who_we_are(client: Callable[..., OAuthClient], loop: Loop) -> None:
    """With a colon and a plus sign in it, which mean something else where they stand (RFC 6749 §2.3.1)."""
    assert loop.wait(client().post(GRANT))["token_type"] == "Bearer"


def test_a_certificate_proves_who_we_are(
    client: Callable[..., OAuthClient], oauth: AuthorizationServer, loop: Loop
) -> None:
    assert loop.wait(client(**by_certificate(oauth)).post(GRANT))["token_type"] == "Bearer"


def test_another_proof_is_refused(
    client: Callable[..., OAuthClient], oauth: AuthorizationServer, loop: Loop, tmp_path: Path
) -> None:
    (tmp_path / "secret").write_text("wrong")
    (tmp_path / "secret").chmod(0o600)
    wrong = {"client_secret": str(tmp_path / "secret")}
    for options in (wrong, {"client_id": "unknown"}, by_certificate(oauth, "other")):
        error = loop.error(client(**options).post(GRANT))
        assert isinstance(error, NotFetched)
        assert (error.status, error.code) == (401, "invalid_client")
        assert "HTTP status 401 (invalid_client); expected 200" in str(error)


def test_no_client_shows_its_secret(client: Callable[..., OAuthClient]) -> None:
    assert MODALITY.secret not in repr(vars(client()))


def test_a_secret_from_systemd(
    client: Callable[..., OAuthClient], oauth: AuthorizationServer, loop: Loop, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", str(oauth.directory))
    assert loop.wait(client(client_secret="credential:secret").post(GRANT))["expires_in"] == 600


@pytest.mark.parametrize(("options", "why"), [
    ({"url": "http://localhost/token"}, "url: found 'http://localhost/token'; expected https://HOST/PATH"),
    ({"client_id": ""}, "client-id: found ''; expected the id"),
    ({"client_id": "a\nb"}, r"client-id: found 'a\nb'; expected the id"),
    ({"client_secret": None}, "client-secret: found neither a secret nor a certificate; expected one"),
    ({"client_secret": "/none"}, "client-secret: passphrase file /none cannot be read"),
    ({"client_secret": "credential:../x"}, "client-secret: passphrase 'credential:../x' names no credential"),
    ({"certificate": "CERTIFICATE"}, "certificate: found one of certificate and private-key; expected both"),
    ({"private_key": "KEY"}, "certificate: found one of certificate and private-key"),
    ({"certificate": "KEY", "private_key": "KEY"}, "certificate: certificate file"),
    ({"certificate": "CERTIFICATE", "private_key": "OTHER"}, "certificate: key file"),
    ({"trust_roots": "/none"}, "trust-roots: certificate file /none cannot be read"),
])  # fmt: skip
def test_mistakes_of_an_operator(
    client: Callable[..., OAuthClient], oauth: AuthorizationServer, options: dict[str, Any], why: str
) -> None:
    certificate, key = oauth.key_pair("node")
    places = {"CERTIFICATE": certificate, "KEY": key, "OTHER": oauth.key_pair("other")[1]}
    with pytest.raises(ConfigurationError) as caught:
        client(**{option: places.get(value, value) for option, value in options.items()})
    (problem,) = caught.value.problems
    assert problem.startswith(why)


def test_all_mistakes_are_told_together(client: Callable[..., OAuthClient]) -> None:
    with pytest.raises(ConfigurationError) as caught:
        client(url="x", client_id="", client_secret="/none", trust_roots="/none")
    assert [problem.partition(":")[0] for problem in caught.value.problems] == [
        "client-id", "client-secret", "trust-roots", "url"]
