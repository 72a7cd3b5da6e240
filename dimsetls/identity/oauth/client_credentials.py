"""The access token that our requestor presents, granted by an authorization server (RFC 6749 §4.4)."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

from twisted.internet.interfaces import IReactorTime

from ...errors import IdentityDenied, IdentityUnavailable
from ..bearer import is_b64token
from ..credentials import AccessToken, Secret
from .client import OAuthClient
from .fetch import NotFetched, Shared

_MARGIN = 30.0
"""Seconds before its end from which on a token is not presented any more: it has to last until the peer looks at it."""


class ClientCredentials:
    """Asks an authorization server for tokens of our own, and keeps each until shortly before it ends.

    Raises ConfigurationError with every problem, each behind its option.
    """

    def __init__(
        self,
        *,
        url: str,
        trust_roots: str | Path,
        client_id: str,
        client_secret: str | None = None,
        certificate: str | Path | None = None,
        private_key: str | Path | None = None,
        private_key_passphrase: str | None = None,
        scope: str | None = None,
        resource: str | None = None,
        audience: str | None = None,
        request_deadline: float = 5.0,
        reactor: IReactorTime | None = None,
        seconds: Callable[[], float] = time.monotonic,
    ) -> None:
        self._server = OAuthClient(
            url=url, trust_roots=trust_roots, client_id=client_id, client_secret=client_secret,
            certificate=certificate, private_key=private_key, private_key_passphrase=private_key_passphrase,
            deadline=request_deadline, reactor=reactor,
        )  # fmt: skip
        # `resource` is RFC 8707; `audience` is what servers have that do not know it.
        wishes = {"scope": scope, "resource": resource, "audience": audience}
        self._form = {"grant_type": "client_credentials", **{name: wish for name, wish in wishes.items() if wish}}
        self._seconds = seconds
        self._kept: tuple[float, Secret] | None = None
        self._request = Shared(self._ask)

    async def token(self) -> AccessToken:
        """The one that is kept, or a new one; who asks while a request runs waits for its answer."""
        if self._kept is not None and self._seconds() < self._kept[0]:
            return AccessToken(Secret(self._kept[1].reveal()))
        return AccessToken(Secret((await self._request.result()).reveal()))

    def forget(self) -> None:
        """Ask for a new one next time: the peer did not accept the one that is kept."""
        self._kept = None

    def close(self) -> None:
        self._request.cancel()
        self.forget()

    async def _ask(self) -> Secret:
        try:
            answer = await self._server.post(self._form)
        except NotFetched as error:
            if error.status in (400, 401, 403):  # RFC 6749 §5.2: asking again will not help
                raise IdentityDenied(f"no access token for us: {error}") from None
            raise IdentityUnavailable(f"no access token for us now: {error}") from None
        token, kind, lifetime = (answer.get(member) for member in ("access_token", "token_type", "expires_in"))
        if not isinstance(kind, str) or kind.lower() != "bearer":
            raise IdentityDenied(f"{self._server.url} gives tokens of type {str(kind)[:40]!r}; expected Bearer")
        if not isinstance(token, str) or not token.isascii() or not is_b64token(token.encode()):
            raise IdentityDenied(f"{self._server.url} gives no access_token in b64token (RFC 6750 §2.1)")
        secret = Secret(token.encode())
        if isinstance(lifetime, int | float) and not isinstance(lifetime, bool) and lifetime > 0:
            self._kept = self._seconds() + max(lifetime - _MARGIN, lifetime / 2), secret
        return secret
