"""[introspection NAME]: access tokens that only their authorization server can read; it is asked (RFC 7662)."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from twisted.internet.interfaces import IReactorTime
from zope.interface import implementer

from ...errors import ConfigurationError, IdentityUnavailable, IdentityUnknown
from ..cache import Successes
from ..credentials import AccessToken, Credential, Method
from ..interfaces import IAuthenticator, Presenter, Verified
from ..workers import Slots
from .claims import GROUPS, ROLES, SCOPES, ClaimRules, Trace, untraced
from .client import OAuthClient, noting
from .fetch import NotFetched


@implementer(IAuthenticator)
class IntrospectionAuthenticator:
    """Asks an authorization server whether an access token is active, and what it permits.

    The keyword arguments are the options of the section. Raises ConfigurationError with every problem, each behind
    its option.
    """

    methods = frozenset({Method.BEARER})
    cacheable = False  # it remembers for itself: a token that was revoked must not be good for longer than is said here

    def __init__(
        self,
        *,
        name: str,
        url: str,
        trust_roots: str | Path,
        issuer: str,
        audience: Sequence[str],
        client_id: str,
        client_secret: str | None = None,
        certificate: str | Path | None = None,
        private_key: str | Path | None = None,
        private_key_passphrase: str | None = None,
        require_claims: Sequence[str] | None = None,
        require_binding: bool = False,
        leeway: float = 30.0,
        subject_claim: str = "sub",
        group_claims: Sequence[str] | None = None,
        role_claims: Sequence[str] | None = None,
        scope_claims: Sequence[str] | None = None,
        remember: float = 30.0,
        requests: int = 16,
        request_deadline: float = 5.0,
        reactor: IReactorTime | None = None,
        now: Callable[[], float] = time.time,
        trace: Trace = untraced,
    ) -> None:
        self.name, self.trace = name, trace
        self._issuer, self._remember, self._now = issuer, remember, now
        self._remembered = Successes(now)
        self._slots = Slots(name, requests)
        problems: list[str] = []
        if not issuer:
            problems.append("issuer: found nothing; expected the name of the authorization server, its iss")
        with noting(problems, "audience"):
            self._rules = ClaimRules(
                name, issuer, frozenset(audience), ("aud", *(require_claims or ())), leeway, subject_claim,
                tuple(group_claims or GROUPS), tuple(role_claims or ROLES), tuple(scope_claims or SCOPES),
                require_binding,
            )  # fmt: skip
        try:
            self._server = OAuthClient(
                url=url, trust_roots=trust_roots, client_id=client_id, client_secret=client_secret,
                certificate=certificate, private_key=private_key, private_key_passphrase=private_key_passphrase,
                deadline=request_deadline, reactor=reactor,
            )  # fmt: skip
        except ConfigurationError as error:
            problems += error.problems
        if problems:
            raise ConfigurationError(*problems)

    async def verify(self, credential: Credential, presenter: Presenter) -> Verified:
        assert isinstance(credential, AccessToken)
        if remembered := self._remembered.find(self.name, credential, presenter):
            self.trace("memory: the server said lately that the token is active")
            return remembered
        claims = await self._ask(credential)
        now = self._now()
        verified = self._rules.judge(claims, presenter, now, self.trace)
        # The leeway is for clocks that differ; a memory has no use for it.
        left = verified.until - self._rules.leeway - now if verified.until is not None else self._remember
        self._remembered.keep(self.name, credential, presenter, verified, min(self._remember, left))
        return verified

    def close(self) -> None:
        """Forget what was remembered. Requests that run end by their deadline."""
        self._remembered.clear()

    async def _ask(self, credential: AccessToken) -> dict[str, Any]:
        """What the server says of a token that is active."""
        self._slots.take()
        try:
            claims = await self._server.post({"token": credential.token.reveal(), "token_type_hint": "access_token"})
        except NotFetched as error:
            if error.code == "unsupported_token_type":  # RFC 7009 §2.2.1, borrowed by servers that make JWTs as well
                raise IdentityUnknown(f"[{self.name}] does not examine tokens of this form: {error}") from None
            why = f"{error}; check client-id and its proof" if error.status in (401, 403) else str(error)
            raise IdentityUnavailable(f"[{self.name}] cannot tell whether the token is active: {why}") from None
        finally:
            self._slots.give_back()
        active, issuer = claims.get("active"), claims.get("iss")
        if not isinstance(active, bool):
            raise IdentityUnavailable(f"[{self.name}] cannot tell whether the token is active: {self._server.url} "
                                      "answered without true or false in active (RFC 7662 §2.2)")
        if not active:
            # It says no more: expired, revoked, made up, or a token of another server, which may be asked next.
            raise IdentityUnknown(f"[{self.name}] says that the token is not active: it expired, was revoked, or is "
                                  "none of its own")
        if issuer is not None and issuer != self._issuer:
            raise self._rules.denied(f"the token is of issuer {str(issuer)[:200]!r}; expected {self._issuer}")
        self.trace(f"server: {self._server.url} says that the token is active")
        return claims
