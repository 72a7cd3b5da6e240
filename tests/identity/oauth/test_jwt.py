from __future__ import annotations

import base64
import hashlib
import hmac
import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from joserfc import jwt
from joserfc.jwk import ECKey, OctKey, RSAKey
from twisted.logger import globalLogPublisher
from zope.interface.verify import verifyObject

from dimsetls.errors import ConfigurationError, IdentityDenied, IdentityUnavailable, IdentityUnknown
from dimsetls.identity.credentials import AccessToken, Caps, JSONWebToken, Method, Secret, read_identity
from dimsetls.identity.interfaces import IAuthenticator, Presenter, Verified
from dimsetls.identity.oauth.jwt import JWTAuthenticator
from dimsetls.tls.authority import DevelopmentAuthority
from dimsetls.tls.material import KeyMaterial
from dimsetls.tls.session import PeerCertificate
from dimsetls.ul.pdus import UserIdentityRQ

from ...servers.oauth import BOUND, BRIEF, ES256, OPAQUE, RS256, AuthorizationServer
from ..loop import Loop

ISSUER = "https://issuer.example"
NOW = 1_800_000_000.0
KEY = ECKey.generate_key("P-256", {"kid": "k1"})
RSA = RSAKey.generate_key(2048, {"kid": "k2"})
OTHER = ECKey.generate_key("P-256", {"kid": "k1"})
HEADER = {"alg": "ES256", "typ": "at+jwt", "kid": "k1"}
CLAIMS = {"iss": ISSUER, "aud": "pacs", "sub": "alice", "exp": NOW + 600, "iat": NOW}
REPEATED = json.dumps(CLAIMS).replace('"sub"', '"sub": "root", "sub"').encode()
NOBODY = Presenter("192.0.2.1", "CT1", "PACS")


def encode(value: object) -> str:
    octets = value if isinstance(value, bytes) else json.dumps(value).encode()
    return base64.urlsafe_b64encode(octets).rstrip(b"=").decode()


def sign(header: dict[str, Any] | None = None, claims: dict[str, Any] | None = None, key: Any = KEY) -> str:
    """A token that is good but for what the test puts in its place; None takes a claim or a header away."""
    merged = [
        {name: value for name, value in (good | (other or {})).items() if value is not None}
        for good, other in ((HEADER, header), (CLAIMS, claims))
    ]
    signing_input = ".".join(map(encode, merged))
    model = jwt.JWSRegistry.algorithms[merged[0]["alg"]]
    return f"{signing_input}.{encode(model.sign(signing_input.encode(), key))}"


@pytest.fixture
def jwks(tmp_path: Path) -> Path:
    path = tmp_path / "jwks.json"
    path.write_text(json.dumps({"keys": [KEY.as_dict(private=False), RSA.as_dict(private=False)]}))
    return path


@pytest.fixture
def make(jwks: Path, loop: Loop) -> Callable[..., JWTAuthenticator]:
    """Make a back end with keys from a file; whatever the test does not name is as it should be."""

    def made(**options: Any) -> JWTAuthenticator:
        good = {"name": "jwt test", "issuer": ISSUER, "audience": ["pacs"], "jwks_file": jwks, "now": lambda: NOW}
        return JWTAuthenticator(**{**good, "reactor": loop.reactor, **options})

    return made


@pytest.fixture
def judge(loop: Loop, make: Callable[..., JWTAuthenticator]) -> Callable[..., Any]:
    """What a back end says of a token: Verified, or the exception."""

    def judged(token: str, presenter: Presenter = NOBODY, kind: type = JSONWebToken, **options: Any) -> Any:
        (found,) = loop.all(make(**options).verify(kind(Secret(token.encode())), presenter))
        assert not token or token not in str(found)
        return found

    return judged


def presenter(certificate: PeerCertificate) -> Presenter:
    return Presenter("192.0.2.1", "CT1", "PACS", certificate)


# Good tokens ----------------------------------------------------------------------------------------------------------


def test_it_is_a_back_end(make: Callable[..., JWTAuthenticator]) -> None:
    back_end = make()
    assert verifyObject(IAuthenticator, back_end)
    assert (back_end.name, back_end.methods) == ("jwt test", {Method.JWT, Method.BEARER})
    back_end.close()


@pytest.mark.parametrize("kind", [JSONWebToken, AccessToken])
def test_a_good_token(judge: Callable[..., Any], kind: type) -> None:
    assert judge(sign(), kind=kind) == Verified("alice", ISSUER, until=NOW + 630)


def test_a_good_token_of_another_algorithm(judge: Callable[..., Any]) -> None:
    token = sign({"alg": "PS256", "kid": "k2"}, key=RSA)
    assert judge(token).name == "alice"
    refused = judge(token, algorithms=["ES256", "RS256"])
    assert str(refused) == "[jwt test] the token is signed with 'PS256'; expected ES256, RS256"
    assert not refused.is_security_alert


def test_a_token_that_names_no_key(judge: Callable[..., Any]) -> None:
    assert judge(sign({"kid": None})).name == "alice"
    assert judge(sign({"alg": "RS256", "kid": None}, key=RSA)).name == "alice"


@pytest.mark.parametrize(("types", "kind"), [
    (None, "application/at+jwt"), (None, "AT+JWT"), (["JWT"], "jwt"), (["JWT", "absent"], None),
    (["at+jwt", "JWT"], "JWT"),
])  # fmt: skip
def test_types_that_are_configured(judge: Callable[..., Any], types: list[str] | None, kind: str | None) -> None:
    assert judge(sign({"typ": kind}), types=types).name == "alice"


def test_a_header_with_more_in_it(judge: Callable[..., Any]) -> None:
    assert judge(sign({"iss": ISSUER, "x5t": "AAAA", "x5c": ["A" * 3000]})).name == "alice"


def test_claims_of_the_configuration(judge: Callable[..., Any]) -> None:
    token = sign(claims={"upn": "alice@site", "realm_access": {"roles": ["ct"]}, "wids": ["g"], "scp": ["a"]})
    found = judge(token, subject_claim="upn", role_claims=["realm_access.roles"], group_claims=["wids"],
                  scope_claims=["scp"], leeway=0.0)
    assert found == Verified("alice@site", ISSUER, frozenset("g"), frozenset({"ct"}), frozenset("a"), NOW + 600)


def test_each_step_is_told(judge: Callable[..., Any]) -> None:
    told: list[str] = []
    judge(sign(), trace=told.append)
    assert [sentence.partition(":")[0] for sentence in told] == [
        "form", "issuer", "header", "key", "signature", "times", "audience", "confirmation", "subject"]


# Bad tokens -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("header", "claims", "why"), [
    ({"typ": None}, {}, "is of type 'absent'; expected at+jwt"),
    ({"typ": "JWT"}, {}, "is of type 'JWT'; expected at+jwt"),
    ({"typ": "logout+jwt"}, {}, "is of type 'logout+jwt'"),
    ({"typ": 7}, {}, "is of type of JSON type int"),
    ({"crit": ["exp"], "exp": NOW}, {}, "has demands (crit)"),
    ({"crit": []}, {}, "has demands (crit)"),
    ({"b64": False, "crit": ["b64"]}, {}, "has demands (crit)"),
    ({"b64": True}, {}, "has demands (crit)"),
    ({"kid": "k3"}, {}, "has no key 'k3' for ES256"),
    ({"kid": "k2"}, {}, "has no key 'k2' for ES256"),
    ({"kid": "../../etc/passwd"}, {}, "has no key '../../etc/passwd' for ES256"),
    ({"kid": "https://attacker.example/key"}, {}, "has no key 'https://attacker.example/key'"),
    ({"kid": "'; DROP TABLE keys\n"}, {}, r"""has no key "'; DROP TABLE keys\n" for"""),
    ({"kid": "k" * 256}, {}, "has no key '" + "k" * 64 + "' for"),
    ({"kid": "k" * 257}, {}, "kid is not a text of up to 256 characters"),
    ({"kid": 1}, {}, "kid is not a text"),
    ({"kid": ["k1"]}, {}, "kid is not a text"),
    ({"jwk": "no key"}, {}, "signature is not good (InvalidHeaderValueError)"),
    ({}, {"aud": "other"}, "is for 'other'; expected pacs"),
    ({}, {"aud": None}, "no claim aud; expected iss, aud, exp, iat"),
    ({}, {"exp": None}, "no claim exp"),
    ({}, {"iat": None}, "no claim iat"),
    ({}, {"iss": None}, "no claim iss that is a text"),
    ({}, {"iss": [ISSUER]}, "no claim iss that is a text"),
    ({}, {"sub": None}, "no claim sub that is a text"),
    ({}, {"exp": NOW - 31}, "expired at 2027-01-15 07:59:29 UTC"),
    ({}, {"exp": str(NOW + 600)}, "exp is not a time"),
    ({}, {"nbf": NOW + 31}, "not valid before"),
    ({}, {"iat": NOW + 31}, "issued at"),
    ({}, {"nonce": "n"}, "is an ID token, as its nonce shows; expected an access token"),
    ({}, {"at_hash": "n", "c_hash": "n"}, "is an ID token, as its at_hash, c_hash shows"),
    ({}, {"typ": "ID"}, "is an ID token, as its typ shows"),
    ({}, {"token_use": "id"}, "is an ID token, as its token_use shows"),
    ({}, {"cnf": {"jkt": "x"}}, "bound by other means than a certificate"),
])  # fmt: skip
def test_bad_tokens(judge: Callable[..., Any], header: dict[str, Any], claims: dict[str, Any], why: str) -> None:
    for kind in (JSONWebToken, AccessToken):
        found = judge(sign(header, claims), kind=kind)
        assert type(found) is IdentityDenied
        assert str(found).startswith("[jwt test] the ")
        assert why in str(found)


def test_a_token_of_another_key_is_an_alert(judge: Callable[..., Any]) -> None:
    found = judge(sign(key=OTHER))
    assert str(found) == "[jwt test] the token's signature is not good (BadSignatureError)"
    assert found.is_security_alert


def test_a_token_altered_on_the_way(judge: Callable[..., Any]) -> None:
    head, claims, signature = sign().split(".")
    forged = encode(CLAIMS | {"sub": "root"})
    for parts in ((head, forged, signature), (head, claims, signature[:-4] + "AAAA"), (head, claims, signature[:-2]),
                  (encode(HEADER | {"x": 1}), claims, signature)):  # fmt: skip
        assert judge(".".join(parts)).is_security_alert


@pytest.mark.parametrize("algorithm", ["none", "None", "NONE", "nOnE", "HS256", "HS512"])
@pytest.mark.parametrize("signature", ["", encode(b"x" * 32)])
def test_algorithms_that_forgers_try_are_an_alert(judge: Callable[..., Any], algorithm: str, signature: str) -> None:
    unsigned = f"{encode(HEADER | {'alg': algorithm})}.{encode(CLAIMS)}"
    found = judge(f"{unsigned}.{signature}")
    assert type(found) is IdentityDenied
    assert f"is signed with {algorithm!r}; expected ES256," in str(found)
    assert found.is_security_alert


def test_a_public_key_is_no_secret(judge: Callable[..., Any], tmp_path: Path) -> None:
    """HS256 with the issuer's public key in every form that a careless verifier might use as a secret."""
    public = RSA.public_key
    forms = [public.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo),
             public.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo),
             json.dumps(RSA.as_dict(private=False)).encode()]  # fmt: skip
    secret = tmp_path / "secret"
    secret.write_bytes(base64.b64encode(bytes(range(32))))
    secret.chmod(0o600)
    for form in forms:
        unsigned = f"{encode(HEADER | {'alg': 'HS256', 'kid': 'k2'})}.{encode(CLAIMS)}"
        token = f"{unsigned}.{encode(hmac.digest(form, unsigned.encode(), 'sha256'))}"
        assert judge(token).is_security_alert
        # Even where secrets are configured beside public keys, each kind of key stays with its own algorithms.
        found = judge(token, shared_secret=str(secret), algorithms=["RS256", "HS256"])
        assert "signature is not good" in str(found)


def test_keys_and_urls_in_a_token_are_not_looked_at(
    judge: Callable[..., Any], oauth: AuthorizationServer, make: Callable[..., JWTAuthenticator]
) -> None:
    jwk, place = OTHER.as_dict(private=False), f"{oauth.issuer}/jwks"
    header: dict[str, Any] = {"jwk": jwk, "jku": place, "x5u": place}
    assert judge(sign(header, key=OTHER)).is_security_alert
    assert "has no key 'k9'" in str(judge(sign(header | {"kid": "k9"}, key=OTHER)))
    assert judge(sign(header)).name == "alice"  # signed by the issuer, they are harmless
    for place in ("file:///etc/passwd", "http://169.254.169.254/"):
        assert isinstance(judge(sign({"jku": place}, key=OTHER)), IdentityDenied)
    assert oauth.counts() == {}


@pytest.mark.parametrize(("token", "why"), [
    ("", "of 1 part, where a JWT has three"),
    ("not a token", "of 1 part"),
    ("a.b.c", "header is not base64url"),
    (f"{encode(HEADER)}.{encode(CLAIMS)}", "of 2 parts"),
    (f"{encode(b'{}')}.{encode(CLAIMS)}.AAAA", "header has no alg"),
])  # fmt: skip
def test_what_is_no_token_is_unknown_as_an_access_token(judge: Callable[..., Any], token: str, why: str) -> None:
    as_token, as_access_token = judge(token), judge(token, kind=AccessToken)
    assert type(as_token) is IdentityDenied
    assert why in str(as_token)
    assert type(as_access_token) is IdentityUnknown
    assert why in str(as_access_token)


@pytest.mark.parametrize(("token", "why"), [
    (f"{encode({'alg': 'dir', 'enc': 'A128GCM'})}.AA.AA.AA.AA", "is encrypted (JWE); expected a signed one"),
    (f"{encode(HEADER)}.{encode(b'{' + b'[' * 9000)}.AAAA", "claims that are JSON of more than 16 levels"),
    (f"{encode(HEADER)}.{encode(b'{' + b' ' * 9 + b'}')}.AAAA", "no claim iss"),
    (f"{encode(HEADER)}.{encode(REPEATED)}.AAAA", "'sub' more than once"),
    (f"{encode(HEADER)}.{encode(CLAIMS)}.{'A' * 3000}", "3000 of them for its signature"),
    (f"{encode(HEADER)}.{encode(CLAIMS | {'pad': 'x' * 65 * 1024})}.AAAA", "expected up to 65400"),
])  # fmt: skip
def test_what_is_meant_to_be_a_token_is_denied_in_any_case(judge: Callable[..., Any], token: str, why: str) -> None:
    for kind in (JSONWebToken, AccessToken):
        found = judge(token, kind=kind)
        assert type(found) is IdentityDenied
        assert why in str(found)


def test_a_token_of_65_kib_does_not_come_this_far() -> None:
    with pytest.raises(IdentityDenied, match="65000 octets, expected 1 to 16384"):
        read_identity(UserIdentityRQ(5, True, b"x" * 65000), Caps())


def test_a_token_of_another_issuer_is_for_the_next_back_end(judge: Callable[..., Any]) -> None:
    for issuer in ("https://other.example", ISSUER + "/", ISSUER.upper()):
        for header in ({}, {"alg": "RS512"}, {"typ": "JWT"}, {"kid": "k9"}):
            found = judge(sign(header, {"iss": issuer}, key=RSA if header.get("alg") else KEY))
            assert type(found) is IdentityUnknown
            assert f"knows tokens of {ISSUER}; this one says {issuer!r}" in str(found)


def test_an_id_token_counts_if_configured(judge: Callable[..., Any]) -> None:
    token = sign({"typ": "JWT"}, {"nonce": "n", "aud": "client"})
    assert "is an ID token" in str(judge(token, types=["JWT"], audience=["client"]))
    assert judge(token, types=["JWT"], audience=["client"], id_tokens=True).name == "alice"


# Bound tokens ---------------------------------------------------------------------------------------------------------


def test_a_bound_token(judge: Callable[..., Any]) -> None:
    authority = DevelopmentAuthority()
    ours, theirs = (PeerCertificate.of(authority.issue_client(name).certificate) for name in ("ours", "theirs"))
    token = sign(claims={"cnf": {"x5t#S256": encode(hashlib.sha256(ours.der).digest())}})
    assert judge(token, presenter(ours), require_binding=True).name == "alice"
    assert "bound to another certificate than that of CN=theirs" in str(judge(token, presenter(theirs)))
    assert "the peer showed none" in str(judge(token))
    assert "bound to no certificate" in str(judge(sign(), presenter(ours), require_binding=True))


# Shared secrets -------------------------------------------------------------------------------------------------------


def test_a_shared_secret(judge: Callable[..., Any], tmp_path: Path) -> None:
    octets = bytes(range(32))
    secret = tmp_path / "secret"
    secret.write_bytes(base64.b64encode(octets))
    secret.chmod(0o600)
    options: dict[str, Any] = {"shared_secret": str(secret), "jwks_file": None}
    token = sign({"alg": "HS256", "kid": "any"}, key=OctKey.import_key(octets))
    assert judge(token, **options).name == "alice"
    assert judge(sign({"alg": "HS256"}, key=OctKey.import_key(octets[::-1])), **options).is_security_alert
    assert "is signed with 'ES256'; expected HS256" in str(judge(sign(), **options))


# The real server ------------------------------------------------------------------------------------------------------


@pytest.fixture
def real(oauth: AuthorizationServer, make: Callable[..., JWTAuthenticator]) -> Callable[..., JWTAuthenticator]:
    """Make a back end for the authorization server."""

    def made(**options: Any) -> JWTAuthenticator:
        good = {"issuer": oauth.issuer, "audience": [ES256, RS256, BRIEF], "jwks_file": None, "now": time.time,
                "jwks_url": f"{oauth.issuer}/jwks", "trust_roots": oauth.trust_roots, "request_deadline": 0.3}
        return make(**{**good, **options})

    return made


def credential(token: str) -> JSONWebToken:
    return JSONWebToken(Secret(token.encode()))


@pytest.mark.parametrize("audience", [ES256, RS256])
def test_tokens_of_the_real_server(
    real: Callable[..., JWTAuthenticator], oauth: AuthorizationServer, loop: Loop, audience: str
) -> None:
    back_end = real()
    alice = loop.wait(back_end.verify(credential(oauth.token(audience)["access_token"]), NOBODY))
    bob = loop.wait(back_end.verify(credential(oauth.token(audience, "bob")["access_token"]), NOBODY))
    assert (alice.name, alice.realm) == ("alice", oauth.issuer)
    assert (alice.groups, alice.roles) == ({"radiology"}, {"technician"})
    assert (bob.name, bob.groups, bob.roles) == ("bob", {"cardiology"}, {"46255001"})
    assert alice.scopes == {"dicom.query", "dicom.store"}
    assert alice.until is not None
    assert alice.until > time.time() + 600
    assert oauth.counts() == {"/token": 2, "/jwks": 1}


def test_a_token_that_lives_a_second(
    real: Callable[..., JWTAuthenticator], oauth: AuthorizationServer, loop: Loop
) -> None:
    asked = time.time()  # the token counts in whole seconds, and ends within two of this moment
    token = credential(oauth.token(BRIEF)["access_token"])
    assert loop.wait(real(leeway=1.0, now=lambda: asked).verify(token, NOBODY)).name == "alice"
    error = loop.error(real(leeway=1.0, now=lambda: asked + 30).verify(token, NOBODY))
    assert "the token expired at" in str(error)


def test_bound_tokens_of_the_real_server(
    real: Callable[..., JWTAuthenticator], oauth: AuthorizationServer, loop: Loop
) -> None:
    token = credential(oauth.token(ES256, client=BOUND)["access_token"])
    modality, other = (
        presenter(PeerCertificate.of(KeyMaterial.load(*oauth.key_pair(name)).certificate))
        for name in ("modality", "other")
    )
    assert loop.wait(real(require_binding=True).verify(token, modality)).name == "alice"
    assert "bound to another certificate" in str(loop.error(real().verify(token, other)))
    assert "the peer showed none" in str(loop.error(real().verify(token, NOBODY)))


def test_an_id_token_of_the_real_server(
    real: Callable[..., JWTAuthenticator], oauth: AuthorizationServer, loop: Loop
) -> None:
    token = credential(oauth.token(ES256)["id_token"])
    assert "is of type 'absent'" in str(loop.error(real(audience=["modality"]).verify(token, NOBODY)))
    tolerant: dict[str, Any] = {"audience": ["modality"], "types": ["absent"]}
    assert "is an ID token, as its nonce" in str(loop.error(real(**tolerant).verify(token, NOBODY)))
    assert loop.wait(real(**tolerant, id_tokens=True).verify(token, NOBODY)).name == "alice"


def test_an_opaque_token_is_for_introspection(
    real: Callable[..., JWTAuthenticator], oauth: AuthorizationServer, loop: Loop
) -> None:
    token = AccessToken(Secret(oauth.token(OPAQUE)["access_token"].encode()))
    assert isinstance(loop.error(real().verify(token, NOBODY)), IdentityUnknown)
    assert oauth.counts() == {"/token": 1}


def test_the_server_changes_its_keys(
    real: Callable[..., JWTAuthenticator], oauth: AuthorizationServer, loop: Loop
) -> None:
    clock = [0.0]
    back_end = real(seconds=lambda: clock[0])
    old = credential(oauth.token(ES256)["access_token"])
    assert loop.wait(back_end.verify(old, NOBODY)).name == "alice"
    oauth.rotate()
    new = credential(oauth.token(ES256)["access_token"])
    clock[0] = 10
    assert [loop.wait(back_end.verify(token, NOBODY)).name for token in (new, old, new)] == ["alice"] * 3
    assert oauth.counts()["/jwks"] == 2


def test_a_server_that_says_nothing_leaves_it_open(
    real: Callable[..., JWTAuthenticator], oauth: AuthorizationServer, loop: Loop
) -> None:
    token = credential(oauth.token(ES256)["access_token"])
    clock = [0.0]
    back_end = real(seconds=lambda: clock[0])
    with oauth.hung():
        found = loop.all(*(back_end.verify(token, NOBODY) for _ in range(5)))
    assert {type(each) for each in found} == {IdentityUnavailable}
    assert "gave no whole answer within 0.3 s" in str(found[0])
    clock[0] = 10
    assert loop.wait(back_end.verify(token, NOBODY)).name == "alice"


def test_no_secret_gets_into_the_log(
    real: Callable[..., JWTAuthenticator], oauth: AuthorizationServer, loop: Loop
) -> None:
    events: list[Any] = []
    globalLogPublisher.addObserver(events.append)
    try:
        oauth.fault("/jwks", status=503)
        token = oauth.token(ES256)["access_token"]
        loop.error(real().verify(credential(token), NOBODY))
    finally:
        globalLogPublisher.removeObserver(events.append)
    assert any(event.get("kept") for event in events)
    assert token.split(".")[2] not in repr(events)


# Configuration --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("options", "why"), [
    ({"audience": []}, "audience: found none; expected"),
    ({"issuer": ""}, "issuer: found nothing; expected"),
    ({"algorithms": ["none"]}, "algorithms: found none; expected some of ES256"),
    ({"algorithms": ["ES256", "HS256"]}, "shared-secret: found none; expected the secret for HS256"),
    ({"algorithms": ["ES256", "RS257"]}, "algorithms: found RS257; expected some of"),
    ({"jwks_file": None}, "jwks-url: found neither it nor jwks-file; expected the keys for ES256, ES384, PS256"),
    ({"jwks_file": "/none"}, "jwks-file: file /none cannot be read: No such file or directory"),
    ({"jwks_url": "https://localhost/jwks"}, "jwks-file: found it beside jwks-url; expected one of them"),
    ({"jwks_url": "https://localhost/jwks", "jwks_file": None}, "trust-roots: found none; expected the authorities"),
    ({"jwks_url": "http://localhost/jwks", "jwks_file": None, "trust_roots": "CA"},
     "jwks-url: found 'http://localhost/jwks'; expected https://"),
    ({"jwks_url": "https://localhost/jwks", "jwks_file": None, "trust_roots": "/none"},
     "trust-roots: certificate file /none cannot be read"),
    ({"keys_fresh": 60.0, "keys_stale": 30.0}, "keys-stale: found 30 s; expected keys-fresh, 60 s, or more"),
    ({"id_tokens": True}, "id-tokens: found yes, while ID tokens are of another type than at+jwt"),
    ({"shared_secret": "SECRET", "algorithms": ["ES256"]}, "algorithms: found none that uses shared-secret"),
    ({"shared_secret": "SECRET"}, "algorithms: found none that public keys verify"),
    ({"shared_secret": "PASSWORD", "jwks_file": None}, "shared-secret: found what is not base64"),
    ({"shared_secret": "/none", "jwks_file": None}, "shared-secret: passphrase file /none cannot be read"),
    ({"shared_secret": "OPEN", "jwks_file": None}, "is open to group or others"),
])  # fmt: skip
def test_mistakes_of_an_operator(
    make: Callable[..., JWTAuthenticator], tmp_path: Path, options: dict[str, Any], why: str
) -> None:
    secret, authority = base64.b64encode(bytes(range(32))), DevelopmentAuthority().own.certificate_pem
    files = {"SECRET": (secret, 0o600), "PASSWORD": (b"my dog's name", 0o600), "OPEN": (secret, 0o644),
             "CA": (authority, 0o644)}  # fmt: skip
    for name, (content, mode) in files.items():
        (tmp_path / name).write_bytes(content)
        (tmp_path / name).chmod(mode)
    placed = {option: str(tmp_path / value) if isinstance(value, str) and value in files else value
              for option, value in options.items()}
    with pytest.raises(ConfigurationError) as caught:
        make(**placed)
    assert any(why in problem for problem in caught.value.problems)
    assert all(problem.partition(": ")[0] in ALL_OPTIONS for problem in caught.value.problems)


ALL_OPTIONS = {"issuer", "audience", "algorithms", "jwks-url", "jwks-file", "trust-roots", "shared-secret",
               "keys-stale", "id-tokens"}  # fmt: skip


def test_all_mistakes_are_told_together(make: Callable[..., JWTAuthenticator]) -> None:
    with pytest.raises(ConfigurationError) as caught:
        make(issuer="", audience=[], jwks_file="/none", algorithms=["ES257"])
    assert len(caught.value.problems) >= 4
