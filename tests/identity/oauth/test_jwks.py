from __future__ import annotations

import base64
import json
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import rsa
from joserfc import jwt
from joserfc.jwk import ECKey, Key, OctKey, OKPKey, RSAKey
from twisted.internet.defer import Deferred

from dimsetls.errors import ConfigurationError, IdentityUnavailable
from dimsetls.identity.oauth.fetch import JSONResource
from dimsetls.identity.oauth.jwks import (
    ASYMMETRIC,
    LONGEST_KEY_ID,
    SYMMETRIC,
    BadSignature,
    FetchedKeys,
    KeyFile,
    choose,
    read_keys,
    read_secret,
)

from ...servers.oauth import AuthorizationServer
from ..loop import Loop

P256 = ECKey.generate_key("P-256", {"kid": "p256"})
RSA = RSAKey.generate_key(2048, {"kid": "rsa"})
KEYS: dict[str, Key] = {
    "ES256": P256,
    "ES384": ECKey.generate_key("P-384"),
    "ES512": ECKey.generate_key("P-521"),
    **dict.fromkeys(("RS256", "RS384", "RS512", "PS256", "PS384", "PS512"), RSA),
    **dict.fromkeys(("Ed25519", "EdDSA"), OKPKey.generate_key("Ed25519")),
}
SMALL_RSA = {"kty": "RSA", "e": "AQAB", "n": base64.urlsafe_b64encode(
    rsa.generate_private_key(65537, 1024).public_key().public_numbers().n.to_bytes(128)).rstrip(b"=").decode()}

pytestmark = pytest.mark.filterwarnings("ignore::joserfc.errors.SecurityWarning")


def public(key: Key, **members: Any) -> dict[str, Any]:
    return key.as_dict(private=False) | members


def signed(key: Key, algorithm: str, **header: Any) -> bytes:
    return jwt.encode({"alg": algorithm, **header}, {"sub": "alice"}, key, algorithms=[algorithm]).encode()


# One key ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("algorithm", ASYMMETRIC)
def test_a_key_verifies_what_it_signed_and_nothing_else(algorithm: str) -> None:
    key = KEYS[algorithm]
    (found,), refused = read_keys({"keys": [public(key)]})
    assert refused == []
    token = signed(key, algorithm)
    found.verify(token, algorithm)
    head, _, signature = token.split(b".")
    altered = b".".join((head, base64.urlsafe_b64encode(b'{"sub":"bob"}').rstrip(b"="), signature))
    for bad in (altered, token[:-8] + b"AAAAAAAA", head + b".e30.", b"..", token + b".x"):
        with pytest.raises(BadSignature):
            found.verify(bad, algorithm)


def test_a_key_verifies_only_what_the_header_says_too() -> None:
    (found,), _ = read_keys({"keys": [public(RSA)]})
    with pytest.raises(BadSignature, match="UnsupportedAlgorithm"):
        found.verify(signed(RSA, "RS256"), "PS256")


def test_a_key_that_names_its_algorithm_is_for_that_alone() -> None:
    (free, bound), _ = read_keys({"keys": [public(RSA), public(RSA, alg="PS256")]})
    assert free.algorithms == {"RS256", "RS384", "RS512", "PS256", "PS384", "PS512"}
    assert bound.algorithms == {"PS256"}


def test_no_key_shows_itself() -> None:
    (found,), _ = read_keys({"keys": [public(P256)]})
    assert repr(found) == "VerificationKey(key_id='p256', algorithms=frozenset({'ES256'}))"


@pytest.mark.parametrize(("jwk", "why"), [
    (P256.as_dict(private=True), "key 1 is secret"),
    (RSA.as_dict(private=True), "key 1 is secret"),
    ({"kty": "oct", "k": "c2VjcmV0"}, "key 1 is secret"),
    (SMALL_RSA, "key 1 has 1024 bits; expected 2048 or more"),
    (public(P256, x="AAAA"), "key 1 cannot be read as a key"),
    (public(P256, x=7), "key 1 cannot be read as a key"),
    (public(P256, key_ops=["encrypt"]), "key 1 cannot be read as a key"),
    ({"kty": "RSA", "kid": "x"}, "key 1 cannot be read as a key"),
    (public(P256, kid=7), "key 1 has a kid that is no text"),
    (public(P256, kid="x" * (LONGEST_KEY_ID + 1)), "key 1 has a kid that is no text"),
    ("a", "key 1 is not an object"),
])  # fmt: skip
def test_other_keys_are_left_out(jwk: object, why: str, tmp_path: Path) -> None:
    keys, refused = read_keys({"keys": [jwk, public(RSA)]})
    assert [key.key_id for key in keys] == ["rsa"]
    assert len(refused) == 1
    assert refused[0].startswith(why)
    file = tmp_path / "jwks.json"
    file.write_text(json.dumps({"keys": [jwk, public(RSA)]}))
    with pytest.raises(ConfigurationError, match=f"^file {file}: {why}"):
        KeyFile(file)


@pytest.mark.parametrize("jwk", [
    public(RSA, use="enc"),
    public(ECKey.generate_key("secp256k1")),
    public(OKPKey.generate_key("X25519")),
    public(P256, alg="RS256"),
    public(P256, alg=7),
    public(P256, kty="AKP"),
    public(P256, kty=["EC"]),
    {},
])  # fmt: skip
def test_keys_for_something_else_are_passed_over(jwk: dict[str, Any]) -> None:
    keys, refused = read_keys({"keys": [jwk, public(RSA)]})
    assert ([key.key_id for key in keys], refused) == (["rsa"], [])


# Which key ----------------------------------------------------------------------------------------------------------


def test_a_key_is_chosen_by_id_and_algorithm() -> None:
    keys, _ = read_keys({"keys": [public(P256), public(RSA), public(KEYS["ES384"], kid="p384")]})
    p256, rsa, p384 = keys
    assert choose(keys, "p256", "ES256") is p256
    assert choose(keys, "rsa", "PS512") is rsa
    assert choose(keys, None, "ES384") is p384
    for key_id, algorithm in (("p256", "ES384"), ("rsa", "ES256"), ("P256", "ES256"), ("", "ES256"), ("p256", "HS256"),
                              ("../../etc/passwd", "ES256"), ("p256\0", "ES256"), ("p256", "none")):  # fmt: skip
        assert choose(keys, key_id, algorithm) is None


def test_a_key_that_is_not_the_only_one_is_not_guessed() -> None:
    two, _ = read_keys({"keys": [public(P256, kid="same"), public(ECKey.generate_key("P-256"), kid="same")]})
    assert choose(two, "same", "ES256") is None
    assert choose(two, None, "ES256") is None


# A file -------------------------------------------------------------------------------------------------------------


def test_keys_from_a_file(tmp_path: Path, loop: Loop) -> None:
    (tmp_path / "jwks.json").write_text(json.dumps({"keys": [public(P256)]}))
    keys = KeyFile(tmp_path / "jwks.json")
    found = loop.wait(keys.find("p256", "ES256"))
    assert found is not None
    found.verify(signed(P256, "ES256"), "ES256")
    assert loop.wait(keys.find("other", "ES256")) is None
    keys.close()


@pytest.mark.parametrize(("content", "why"), [
    ("", "is not JSON; expected a JSON Web Key Set"),
    ("-----BEGIN PUBLIC KEY-----", "is not JSON"),
    ("[]", "is JSON, but not an object"),
    ("{}", "found no list keys"),
    ('{"keys": {}}', "found no list keys"),
    ('{"keys": []}', "holds no key"),
])  # fmt: skip
def test_a_file_without_keys(content: str, why: str, tmp_path: Path) -> None:
    (tmp_path / "jwks.json").write_text(content)
    with pytest.raises(ConfigurationError, match=why):
        KeyFile(tmp_path / "jwks.json")


def test_no_file(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match=f"file {tmp_path}/none cannot be read: No such file"):
        KeyFile(tmp_path / "none")


# The issuer ---------------------------------------------------------------------------------------------------------


class Issuer:
    """The keys of the authorization server, with a clock that stands unless it is moved."""

    def __init__(self, server: AuthorizationServer, loop: Loop) -> None:
        self.server, self.loop, self.time = server, loop, 0.0
        roots = server.authority.trust_roots
        resource = JSONResource(f"{server.issuer}/jwks", roots, deadline=0.3, reactor=loop.reactor)
        self.keys = FetchedKeys("jwt test", resource, fresh=300, pause=10, stale=3600, seconds=lambda: self.time)

    def key_id(self, algorithm: str = "ES256") -> str:
        """The id of the key that the server signs with now."""
        (head, _, _) = self.server.token(f"urn:dimsetls:{algorithm.lower()}")["access_token"].split(".")
        return json.loads(base64.urlsafe_b64decode(head + "=="))["kid"]  # type: ignore[no-any-return]

    def find(self, key_id: str | None, algorithm: str = "ES256") -> str:
        """The id of the key that is found, or what is said instead."""
        try:
            found = self.loop.wait(self.keys.find(key_id, algorithm))
        except IdentityUnavailable as error:
            return str(error)
        return found.key_id or "" if found is not None else "unknown"

    def requests(self) -> int:
        return self.server.counts().get("/jwks", 0)


@pytest.fixture
def issuer(oauth: AuthorizationServer, loop: Loop) -> Issuer:
    return Issuer(oauth, loop)


def test_keys_are_asked_for_once(issuer: Issuer) -> None:
    key_id = issuer.key_id()
    assert [issuer.find(key_id) for _ in range(5)] == [key_id] * 5
    assert issuer.find(issuer.key_id("RS256"), "RS256").startswith("RS256")
    assert issuer.requests() == 1


def test_keys_are_asked_for_again_when_they_are_not_fresh(issuer: Issuer) -> None:
    key_id = issuer.key_id()
    assert issuer.find(key_id) == key_id
    issuer.time = 300
    assert issuer.find(key_id) == key_id
    assert issuer.requests() == 1
    issuer.time = 301
    assert issuer.find(key_id) == key_id
    assert issuer.requests() == 1


def test_who_asks_at_once_shares_a_request(issuer: Issuer, loop: Loop) -> None:
    key_id = issuer.key_id()
    found = loop.all(*(issuer.keys.find(key_id, "ES256") for _ in range(20)))
    assert [each.key_id for each in found] == [key_id] * 20
    assert issuer.requests() == 1


def test_a_new_key_of_the_issuer_is_found(issuer: Issuer) -> None:
    old = issuer.key_id()
    assert issuer.find(old) == old
    issuer.time = 20
    issuer.server.rotate()
    new = issuer.key_id()
    assert new != old
    assert (issuer.find(new), issuer.find(old)) == (new, old)
    assert issuer.requests() == 2


def test_a_key_that_the_issuer_has_withdrawn_is_not(issuer: Issuer) -> None:
    old = issuer.key_id()
    assert issuer.find(old) == old
    issuer.server.rotate()
    issuer.server.rotate()
    issuer.time = 301
    assert issuer.find(old) == "unknown"


@pytest.mark.parametrize("made_up", ["../../etc/passwd", "https://attacker.example/jwks", "' OR 1=1 --", "x" * 256])
def test_made_up_key_ids_make_few_requests(issuer: Issuer, made_up: str) -> None:
    known = issuer.key_id()
    assert [issuer.find(f"{made_up[:-1]}{number}") for number in range(10)] == ["unknown"] * 10
    assert issuer.find(known) == known
    assert issuer.server.counts() == {"/token": 1, "/jwks": 1}
    issuer.time = 10
    assert issuer.find(made_up) == "unknown"
    assert issuer.requests() == 1


@pytest.mark.parametrize(("fault", "why"), [
    ({"status": 503}, "HTTP status 503"),
    ({"delay": 60000}, "no whole answer within 0.3 s"),
    ({"status": 200, "headers": {"Content-Type": "application/json"}, "body": '{"keys": []}'}, "has no key that"),
    ({"status": 200, "headers": {"Content-Type": "application/json"}, "body": '{"keys": [{"kty": "oct", "k": "AA"}]}'},
     "has no key that verifies: key 1 is secret"),
    ({"status": 200, "headers": {"Content-Type": "text/html"}, "body": "<html>"}, "content type 'text/html'"),
])  # fmt: skip
def test_without_keys_nobody_can_tell(issuer: Issuer, fault: dict[str, Any], why: str) -> None:
    key_id = issuer.key_id()
    issuer.server.fault("/jwks", **fault)
    for _ in range(3):  # and it is not asked again at once
        said = issuer.find(key_id)
        assert said.startswith(f"[jwt test] has no keys of the issuer: {issuer.server.issuer}/jwks ")
        assert why in said
    assert issuer.requests() == 1
    issuer.time = 10
    assert issuer.find(key_id) == key_id


def test_the_keys_of_before_serve_until_they_are_stale(issuer: Issuer) -> None:
    key_id = issuer.key_id()
    assert issuer.find(key_id) == key_id
    with issuer.server.hung():
        for issuer.time in (301, 305, 320, 3600):
            assert issuer.find(key_id) == key_id
        assert "cannot ask for new ones" in issuer.find("another")
        issuer.time = 3601
        assert "has no keys of the issuer" in issuer.find(key_id)
    issuer.time = 3700
    assert issuer.find(key_id) == key_id


def test_closing_gives_up_what_waits(issuer: Issuer, loop: Loop) -> None:
    waits = Deferred.fromCoroutine(issuer.keys.find("any", "ES256"))
    issuer.keys.close()
    assert "the configuration changed, or the service ends" in str(loop.error(waits))


# Shared secrets -----------------------------------------------------------------------------------------------------

RANDOM = bytes(range(100, 164))


@pytest.mark.parametrize("algorithm", SYMMETRIC)
def test_a_shared_secret_verifies(algorithm: str) -> None:
    found = read_secret(base64.b64encode(RANDOM) + b"\n", [algorithm])
    found.verify(signed(OctKey.import_key(RANDOM), algorithm), algorithm)
    with pytest.raises(BadSignature):
        found.verify(signed(OctKey.import_key(RANDOM[::-1]), algorithm), algorithm)
    assert base64.b64encode(RANDOM).decode() not in repr(found)


@pytest.mark.parametrize(("text", "algorithms", "why"), [
    (b"correct horse battery staple", ["HS256"], "found what is not base64; expected 32 random octets"),
    (b"hunter2", ["HS256"], "found what is not base64"),
    (base64.b64encode(RANDOM[:31]), ["HS256"], "found 31 octets, 31 of them different"),
    (base64.b64encode(RANDOM[:32]), ["HS256", "HS512"], "found 32 octets, 32 of them different; expected 64 random"),
    (base64.b64encode(b"password" * 8), ["HS512"], "found 64 octets, 7 of them different"),
    (base64.b64encode(bytes(32)), ["HS256"], "found 32 octets, 1 of them different"),
])  # fmt: skip
def test_a_secret_that_can_be_guessed_is_refused(text: bytes, algorithms: list[str], why: str) -> None:
    with pytest.raises(ConfigurationError, match=why) as caught:
        read_secret(text, algorithms)
    assert text.decode() not in str(caught.value)
