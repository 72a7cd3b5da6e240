"""[jwt NAME]: signed JSON Web Tokens of one issuer, verified here (RFC 7519, RFC 8725, RFC 9068)."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from twisted.internet.interfaces import IReactorTime
from zope.interface import implementer

from ...errors import ConfigurationError, IdentityDenied, IdentityUnknown
from ...tls.material import TrustRoots
from ...tls.passphrase import Passphrase
from ..credentials import AccessToken, Credential, JSONWebToken, Method
from ..interfaces import IAuthenticator, Presenter, Verified
from .claims import GROUPS, ROLES, SCOPES, ClaimRules, Trace, untraced
from .client import noting
from .compact import CompactToken, Malformed, NotAToken
from .fetch import JSONResource
from .jwks import (
    ASYMMETRIC,
    LONGEST_KEY_ID,
    SYMMETRIC,
    BadSignature,
    FetchedKeys,
    KeyFile,
    KeySource,
    VerificationKey,
    read_secret,
)

ALGORITHMS = ("ES256", "ES384", "PS256", "PS384", "RS256", "RS384")
"""Allowed unless configured otherwise: RFC 9068 §2.1 demands RS256, SMART backend services RS384 and ES384."""

TYPES = ("at+jwt",)
"""RFC 9068 §2.1."""

_ABSENT = "absent"
"""The word in the configuration for a token without a type."""

_ID_TOKEN_CLAIMS = ("nonce", "at_hash", "c_hash", "s_hash")
"""OpenID Connect Core §2, §3.3.2.11: an access token has no use for them."""


@implementer(IAuthenticator)
class JWTAuthenticator:
    """Verifies tokens of one issuer, as type 5 and as bearer tokens. Those of others are unknown to it.

    The keyword arguments are the options of the section. Raises ConfigurationError with every problem, each behind
    its option. Nothing is asked over the network before a token comes that needs it.
    """

    methods = frozenset({Method.JWT, Method.BEARER})
    cacheable = False  # a check takes less than a millisecond, and has to look at the peer's certificate anew

    def __init__(
        self,
        *,
        name: str,
        issuer: str,
        audience: Sequence[str],
        jwks_url: str | None = None,
        trust_roots: str | Path | None = None,
        jwks_file: str | Path | None = None,
        shared_secret: str | None = None,
        algorithms: Sequence[str] | None = None,
        types: Sequence[str] | None = None,
        id_tokens: bool = False,
        require_claims: Sequence[str] | None = None,
        require_binding: bool = False,
        leeway: float = 30.0,
        subject_claim: str = "sub",
        group_claims: Sequence[str] | None = None,
        role_claims: Sequence[str] | None = None,
        scope_claims: Sequence[str] | None = None,
        keys_fresh: float = 300.0,
        keys_stale: float = 3600.0,
        request_deadline: float = 5.0,
        reactor: IReactorTime | None = None,
        seconds: Callable[[], float] = time.monotonic,
        now: Callable[[], float] = time.time,
        trace: Trace = untraced,
    ) -> None:
        self.name, self.issuer, self.trace = name, issuer, trace
        self._now = now
        self._algorithms = tuple(algorithms or (ALGORITHMS if shared_secret is None else SYMMETRIC[:1]))
        self._types = frozenset(map(_media_type, types or TYPES))
        self._id_tokens = id_tokens
        self._secret: VerificationKey | None = None
        self._keys: KeySource | None = None
        public, secret = ([each for each in self._algorithms if each in family] for family in (ASYMMETRIC, SYMMETRIC))
        problems = [
            *self._misfits(),
            *_misplaced_keys(public, secret, jwks_url, trust_roots, jwks_file, shared_secret),
        ]
        if keys_stale < keys_fresh:
            problems.append(f"keys-stale: found {keys_stale:g} s; expected keys-fresh, {keys_fresh:g} s, or more")
        demanded = ("iat",) if require_claims is None else require_claims
        with noting(problems, "audience"):
            self._rules = ClaimRules(
                name, issuer, frozenset(audience), tuple(dict.fromkeys(("iss", "aud", "exp", *demanded))), leeway,
                subject_claim, tuple(group_claims or GROUPS), tuple(role_claims or ROLES),
                tuple(scope_claims or SCOPES), require_binding,
            )  # fmt: skip
        with noting(problems, "shared-secret"):
            if shared_secret is not None and secret:
                self._secret = read_secret(Passphrase.parse(shared_secret)(), secret)
        with noting(problems, "jwks-file"):
            if jwks_file is not None:
                self._keys = KeyFile(jwks_file)
        roots: TrustRoots | None = None
        with noting(problems, "trust-roots"):
            roots = TrustRoots.load(trust_roots) if trust_roots is not None else None
        with noting(problems, "jwks-url"):
            if jwks_url is not None:
                resource = JSONResource(jwks_url, roots or TrustRoots(()), deadline=request_deadline, reactor=reactor)
                self._keys = FetchedKeys(name, resource, fresh=keys_fresh, stale=keys_stale, seconds=seconds)
        if problems:
            raise ConfigurationError(*problems)

    async def verify(self, credential: Credential, presenter: Presenter) -> Verified:
        assert isinstance(credential, JSONWebToken | AccessToken)
        token = self._parse(credential)
        self._judge_issuer(token.claims.get("iss"))
        algorithm, key_id = self._judge_header(token.header)
        key = await self._find_key(key_id, algorithm)
        try:
            key.verify(token.octets, algorithm)
        except BadSignature as error:
            raise self._denied(f"the token's signature is not good ({error})", is_security_alert=True) from None
        self.trace("signature: good")
        self._judge_kind(token.claims)
        return self._rules.judge(token.claims, presenter, self._now(), self.trace)

    def close(self) -> None:
        if self._keys is not None:
            self._keys.close()

    def _parse(self, credential: JSONWebToken | AccessToken) -> CompactToken:
        """An access token in another form may be one for introspection: this back end just does not know it."""
        try:
            token = CompactToken.parse(credential.token.reveal())
        except NotAToken as error:
            if credential.method is Method.BEARER:
                raise IdentityUnknown(f"[{self.name}] does not know the access token: it is {error}") from None
            raise self._denied(f"the token is {error}") from None
        except Malformed as error:
            raise self._denied(f"the token {error}") from None
        self.trace("form: a signed token in compact form")
        return token

    def _judge_issuer(self, issuer: object) -> None:
        """Before anything is verified: it only decides whose keys are tried, and those verify this issuer's alone."""
        if not isinstance(issuer, str):
            raise self._denied("the token has no claim iss that is a text; expected its issuer")
        if issuer != self.issuer:
            raise IdentityUnknown(f"[{self.name}] knows tokens of {self.issuer}; this one says {issuer[:200]!r}")
        self.trace(f"issuer: {issuer}")

    def _judge_header(self, header: Mapping[str, Any]) -> tuple[str, str | None]:
        """Algorithm and key id, and no more: jwk, jku, x5u, x5c are the sender's word for itself (RFC 8725 §3.10)."""
        if "crit" in header or "b64" in header:
            raise self._denied("the token's header has demands (crit); expected none, as none are known here")
        kind = header.get("typ", _ABSENT)
        if not isinstance(kind, str) or _media_type(kind) not in self._types:
            raise self._denied(f"the token is of type {_quoted(kind)}; expected {' or '.join(sorted(self._types))}")
        algorithm, key_id = header["alg"], header.get("kid")
        if not isinstance(algorithm, str) or algorithm not in self._algorithms:
            # No issuer signs with nothing, or with its public key as a secret. Who forges tokens tries both.
            forged = isinstance(algorithm, str) and (algorithm.lower() == "none" or algorithm in SYMMETRIC)
            raise self._denied(f"the token is signed with {_quoted(algorithm)}; expected {', '.join(self._algorithms)}",
                               is_security_alert=forged)
        if not (key_id is None or (isinstance(key_id, str) and len(key_id) <= LONGEST_KEY_ID)):
            raise self._denied(f"the token's kid is not a text of up to {LONGEST_KEY_ID} characters")
        self.trace(f"header: {algorithm}, type {kind}, key {_quoted(key_id) if key_id is not None else 'not named'}")
        return algorithm, key_id

    async def _find_key(self, key_id: str | None, algorithm: str) -> VerificationKey:
        found = None
        if algorithm in SYMMETRIC:
            found = self._secret  # the one there is, whatever it is called
        elif self._keys is not None:
            found = await self._keys.find(key_id, algorithm)
        if found is None:
            which = f"no key {_quoted(key_id)}" if key_id is not None else "not exactly one key"
            raise self._denied(f"the issuer has {which} for {algorithm}; expected the one that signed the token")
        self.trace("key: it is one of the issuer's")
        return found

    def _judge_kind(self, claims: Mapping[str, Any]) -> None:
        """An ID token tells its client who logged in; it is no permission to come here with it (RFC 8725 §3.12)."""
        if not self._id_tokens and (marks := list(_marks_of_id_token(claims))):
            raise self._denied(f"the token is an ID token, as its {', '.join(marks)} shows; expected an access token")

    def _misfits(self) -> Iterator[str]:
        known = (*ASYMMETRIC, *SYMMETRIC)
        if unknown := [each for each in self._algorithms if each not in known]:
            yield f"algorithms: found {', '.join(unknown)}; expected some of {', '.join(known)}"
        if not self.issuer:
            yield "issuer: found nothing; expected the claim iss of the tokens, letter by letter"
        if self._id_tokens and self._types == frozenset(TYPES):
            yield (f"id-tokens: found yes, while ID tokens are of another type than at+jwt; expected JWT or {_ABSENT} "
                   "among types")

    def _denied(self, sentence: str, *, is_security_alert: bool = False) -> IdentityDenied:
        return self._rules.denied(sentence, is_security_alert=is_security_alert)


def _misplaced_keys(
    public: Sequence[str],
    secret: Sequence[str],
    url: str | None,
    trust_roots: str | Path | None,
    file: str | Path | None,
    shared_secret: str | None,
) -> Iterator[str]:
    """What is wrong with where the keys for these public-key and secret-key algorithms are to come from."""
    if url is not None and file is not None:
        yield "jwks-file: found it beside jwks-url; expected one of them"
    if public and url is None and file is None:
        yield f"jwks-url: found neither it nor jwks-file; expected the keys for {', '.join(public)}"
    if not public and (url is not None or file is not None):
        yield f"algorithms: found none that public keys verify; expected one of {', '.join(ASYMMETRIC)}, or no key set"
    if url is not None and trust_roots is None:
        yield "trust-roots: found none; expected the authorities that the certificate at jwks-url comes from"
    if secret and shared_secret is None:
        yield f"shared-secret: found none; expected the secret for {', '.join(secret)}"
    if shared_secret is not None and not secret:
        yield f"algorithms: found none that uses shared-secret; expected one of {', '.join(SYMMETRIC)}, or no secret"


def _marks_of_id_token(claims: Mapping[str, Any]) -> Iterator[str]:
    yield from (name for name in _ID_TOKEN_CLAIMS if name in claims)
    if claims.get("typ") == "ID":  # Keycloak
        yield "typ"
    if claims.get("token_use") == "id":  # Amazon Cognito
        yield "token_use"


def _media_type(kind: str) -> str:
    """RFC 7515 §4.1.9: letter case does not count, and `application/` may be left out."""
    return kind.lower().removeprefix("application/")


def _quoted(value: object) -> str:
    """What a header says, as a line of the log can show it."""
    return repr(value[:64]) if isinstance(value, str) else f"of JSON type {type(value).__name__}"
