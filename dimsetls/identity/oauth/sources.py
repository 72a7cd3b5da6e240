"""Where our requestor finds the access token that it presents: a file, or the environment."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Protocol

from ...errors import ConfigurationError
from ...tls.passphrase import Passphrase
from ..bearer import is_b64token
from ..credentials import AccessToken, Secret


class TokenSource(Protocol):
    """Where access tokens come from."""

    async def token(self) -> AccessToken:
        """One to present now, for the caller to wipe. Raises ConfigurationError or IdentityError."""

    def forget(self) -> None:
        """The peer did not accept the last one."""

    def close(self) -> None:
        """Let go of what is held."""


class _Read:
    """Read anew each time anyway."""

    __slots__ = ()

    def forget(self) -> None:
        """Nothing is kept."""

    def close(self) -> None:
        """Nothing is held."""


@dataclass(frozen=True, slots=True)
class TokenFile(_Read):
    """The first line of a file, read each time: something else renews it."""

    place: Passphrase

    async def token(self) -> AccessToken:
        return _access_token(self.place(), f"token file {self.place.path}")


@dataclass(frozen=True, slots=True)
class TokenVariable(_Read):
    """A variable of the environment, looked up each time."""

    name: str
    environment: Mapping[str, str] = field(default_factory=lambda: os.environ, repr=False)

    async def token(self) -> AccessToken:
        found = self.environment.get(self.name, "")
        return _access_token(os.fsencode(found), f"environment variable {self.name}")


def _access_token(octets: bytes, where: str) -> AccessToken:
    token = octets.strip()
    if not is_b64token(token):
        found = "nothing" if not token else "characters outside b64token (RFC 6750 §2.1)"
        raise ConfigurationError(f"{where}: found {found}; expected an access token")
    return AccessToken(Secret(token))
