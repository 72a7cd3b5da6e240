"""What we are to an authorization server: a client with an id, and a secret or a certificate to prove it."""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import quote_plus, urlencode

from twisted.internet.interfaces import IReactorTime

from ...errors import ConfigurationError
from ...tls.material import KeyMaterial, TrustRoots
from ...tls.passphrase import Passphrase
from ..credentials import Secret
from .fetch import JSONResource


class OAuthClient:
    """Posts forms to one endpoint of an authorization server, as a client that it knows.

    The secret goes into HTTP Basic (RFC 6749 §2.3.1); a certificate authenticates by TLS (RFC 8705 §2), or is what
    tokens are to be bound to. Files are read at once. Raises ConfigurationError with every problem, its option first.
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
        deadline: float = 5.0,
        reactor: IReactorTime | None = None,
    ) -> None:
        problems: list[str] = []
        secret = material = roots = resource = None
        if not client_id or not client_id.isprintable():
            problems.append(f"client-id: found {client_id!r}; expected the id that the authorization server gave us")
        if (certificate is None) != (private_key is None):
            problems.append("certificate: found one of certificate and private-key; expected both, or neither")
        elif client_secret is None and certificate is None:
            problems.append("client-secret: found neither a secret nor a certificate; expected one, to prove the id")
        with noting(problems, "client-secret"):
            secret = Secret(Passphrase.parse(client_secret)()) if client_secret is not None else None
        with noting(problems, "certificate"):
            if certificate is not None and private_key is not None:
                material = load_key_material(certificate, private_key, private_key_passphrase)
        with noting(problems, "trust-roots"):
            roots = TrustRoots.load(trust_roots)
        with noting(problems, "url"):
            resource = JSONResource(
                url, roots or TrustRoots(()), material, deadline=deadline, reactor=reactor
            )
        if problems or resource is None:
            raise ConfigurationError(*problems)
        self.url = url
        self._resource, self._client_id, self._secret = resource, client_id, secret

    async def post(self, form: Mapping[str, str | bytes]) -> dict[str, Any]:
        """What the endpoint answers. Raises NotFetched."""
        if self._secret is None:
            return await self._resource.post(urlencode({**form, "client_id": self._client_id}).encode(), {})
        return await self._resource.post(urlencode(form).encode(), {"Authorization": self._basic(self._secret)})

    def _basic(self, secret: Secret) -> str:
        """Id and secret are form-encoded before they are joined: either may hold a colon."""
        pair = f"{quote_plus(self._client_id)}:{quote_plus(secret.reveal())}"
        return f"Basic {b64encode(pair.encode()).decode()}"


def load_key_material(certificate: str | Path, private_key: str | Path, passphrase: str | None) -> KeyMaterial:
    """Raises ConfigurationError."""
    source = Passphrase.parse(passphrase) if passphrase is not None else None
    return KeyMaterial.load(certificate, private_key, source)


@contextmanager
def noting(problems: list[str], option: str) -> Iterator[None]:
    """Collect the problems of one option, so that all of a section are reported together."""
    try:
        yield
    except ConfigurationError as error:
        problems += (f"{option}: {problem}" for problem in error.problems)
