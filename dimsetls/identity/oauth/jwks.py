"""The keys that verify tokens: a JSON Web Key Set from a file or from its issuer (RFC 7517)."""

from __future__ import annotations

import time
import warnings
from base64 import b64decode
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from cryptography.hazmat.primitives.asymmetric import rsa
from twisted.internet.defer import CancelledError
from twisted.logger import Logger

from ...errors import ConfigurationError, IdentityUnavailable
from ...tls.judgement import SMALLEST_RSA_KEY
from ..jsontext import UnreadableJSON, read_object
from .compact import LONGEST_HEADER, LONGEST_SIGNATURE, LONGEST_TOKEN
from .fetch import LONGEST_ANSWER, JSONResource, NotFetched, Shared

try:
    from joserfc import jws
    from joserfc.errors import JoseError, SecurityWarning
    from joserfc.jwk import JWKRegistry, Key, OctKey
except ImportError:
    raise ConfigurationError(
        "the package joserfc is not installed; expected dimsetls with its extra jwt: pip install 'dimsetls[jwt]'"
    ) from None

# The algorithm has two names (RFC 9864 §2.2); issuers still write the older one, and an operator has to allow it.
warnings.filterwarnings("ignore", "EdDSA is deprecated", SecurityWarning)

log = Logger(namespace="dimsetls.identity")

LONGEST_KEY_ID = 256
"""Characters; more is nobody's name for a key."""

_RSA, _OKP = ("RSA", None), ("OKP", "Ed25519")
_FITS: dict[str, tuple[str, str | None]] = {
    "ES256": ("EC", "P-256"), "ES384": ("EC", "P-384"), "ES512": ("EC", "P-521"),
    "RS256": _RSA, "RS384": _RSA, "RS512": _RSA, "PS256": _RSA, "PS384": _RSA, "PS512": _RSA,
    "Ed25519": _OKP, "EdDSA": _OKP,
}  # fmt: skip
ASYMMETRIC = tuple(_FITS)
"""Signature algorithms that a set of public keys can verify (RFC 7518 §3.1, RFC 8037, RFC 9864)."""

_SHORTEST_SECRET = {"HS256": 32, "HS384": 48, "HS512": 64}
SYMMETRIC = tuple(_SHORTEST_SECRET)
"""Algorithms with a secret, of so many octets at the least (RFC 7518 §3.2). Who verifies by it can sign as well."""

_FEWEST_OCTETS = 16
"""Different ones in a secret: 32 random octets have fewer once in 10^13 times, a repeated word has always fewer."""


class BadSignature(Exception):
    """The signature is not that of the key, or the header is not what it may be; the message names the fault."""


@dataclass(frozen=True, slots=True)
class VerificationKey:
    """A key, and the algorithms that it verifies; with any other it is of no use (RFC 8725 §3.1)."""

    key_id: str | None
    algorithms: frozenset[str]
    key: Key = field(repr=False)

    def verify(self, token: bytes, algorithm: str) -> None:
        """Raises BadSignature if the token is not signed by this key with this algorithm."""
        registry = jws.JWSRegistry(algorithms=[algorithm], strict_check_header=False)
        registry.max_header_length, registry.max_payload_length = LONGEST_HEADER, LONGEST_TOKEN
        registry.max_signature_length = LONGEST_SIGNATURE
        try:
            jws.deserialize_compact(token, self.key, registry=registry)
        except (JoseError, ValueError, TypeError) as error:
            raise BadSignature(type(error).__name__) from None


class KeySource(Protocol):
    """Where a token's key is looked up by what the token's header says, which is anybody's word."""

    async def find(self, key_id: str | None, algorithm: str) -> VerificationKey | None:
        """The one key of that id and for that algorithm; None if there is none. Raises IdentityUnavailable."""

    def close(self) -> None:
        """Ask no more."""


class KeyFile:
    """Keys from a file, read once. Raises ConfigurationError if it holds none that can be used, or a private one."""

    def __init__(self, path: str | Path) -> None:
        expected = "expected a JSON Web Key Set of public keys"
        try:
            with open(path, "rb") as file:
                document = read_object(file.read(LONGEST_ANSWER + 1))
        except OSError as error:
            raise ConfigurationError(f"file {path} cannot be read: {error.strerror}; {expected}") from None
        except UnreadableJSON as error:
            raise ConfigurationError(f"file {path} is {error}; {expected}") from None
        self._keys, refused = read_keys(document)
        if refused:
            raise ConfigurationError(*(f"file {path}: {sentence}" for sentence in refused))
        if not self._keys:
            raise ConfigurationError(f"file {path} holds no key that verifies signatures; {expected}")

    async def find(self, key_id: str | None, algorithm: str) -> VerificationKey | None:
        return choose(self._keys, key_id, algorithm)

    def close(self) -> None:
        """There is nothing to close."""


class FetchedKeys:
    """Keys from their issuer, asked for when a token needs them.

    They are `fresh` seconds old before they are asked for again. A key that they lack is asked for at once, for the
    issuer may have changed its keys, but not again within `pause`: anybody can make up key ids. Where the issuer
    does not answer, what it said before serves until it is `stale`.
    """

    def __init__(
        self,
        name: str,
        resource: JSONResource,
        *,
        fresh: float = 300.0,
        pause: float = 10.0,
        stale: float = 3600.0,
        seconds: Callable[[], float] = time.monotonic,
    ) -> None:
        self._name, self._resource, self._seconds = name, resource, seconds
        self._fresh, self._pause, self._stale = fresh, pause, stale
        self._keys: tuple[VerificationKey, ...] = ()
        self._had = self._tried = float("-inf")
        self._trouble = ""
        self._closed = False
        self._refresh = Shared(self._fetch)

    async def find(self, key_id: str | None, algorithm: str) -> VerificationKey | None:
        is_due = self._seconds() - self._had > self._fresh or choose(self._keys, key_id, algorithm) is None
        if is_due and (self._refresh.is_running or self._seconds() - self._tried >= self._pause):
            await self._refresh.result()
        if self._seconds() - self._had > self._stale:
            raise IdentityUnavailable(f"[{self._name}] has no keys of the issuer: {self._trouble}")
        found = choose(self._keys, key_id, algorithm)
        if found is None and self._trouble:
            raise IdentityUnavailable(
                f"[{self._name}] does not know the token's key, and cannot ask for new ones: {self._trouble}"
            )
        return found

    def close(self) -> None:
        self._closed = True
        self._refresh.cancel()

    async def _fetch(self) -> None:
        """Never fails: the keys of before may still do."""
        self._tried = self._seconds()
        try:
            keys, refused = read_keys(await self._resource.get())
            if not keys:
                why = "; ".join(refused) or "none is for it"
                raise NotFetched(f"{self._resource.url} has no key that verifies: {why}")
        except (NotFetched, CancelledError) as error:  # a request that is cancelled may end in either
            self._fail("the configuration changed, or the service ends" if self._closed else str(error))
            return
        if self._trouble or {key.key_id for key in keys} != {key.key_id for key in self._keys}:
            log.info("[{name}] has {count} keys of {url}{left_out}", name=self._name, count=len(keys),
                     url=self._resource.url, left_out=f", and leaves out: {'; '.join(refused)}" if refused else "")
        self._keys, self._had, self._trouble = keys, self._seconds(), ""

    def _fail(self, cause: str) -> None:
        if not self._trouble and not self._closed:
            left = self._stale - (self._seconds() - self._had)
            kept = f"those of before serve for {left:.0f} s more" if left > 0 else "there are none"
            log.warn("[{name}] cannot ask for the issuer's keys: {cause}; {kept}",
                     name=self._name, cause=cause, kept=kept)
        self._trouble = cause


def choose(keys: Iterable[VerificationKey], key_id: str | None, algorithm: str) -> VerificationKey | None:
    """The one key for the algorithm with that id; without an id, the only one for the algorithm."""
    found = [key for key in keys if algorithm in key.algorithms and (key_id is None or key.key_id == key_id)]
    return found[0] if len(found) == 1 else None


def read_keys(document: dict[str, Any]) -> tuple[tuple[VerificationKey, ...], list[str]]:
    """The public keys of a set that verify signatures, and a sentence for each that is there for it and cannot be used.

    Keys for anything else, and of kinds that are not known here, are passed over (RFC 7517 §5).
    """
    listed = document.get("keys")
    if not isinstance(listed, list):
        return (), ["found no list keys; expected a JSON Web Key Set (RFC 7517 §5)"]
    keys, refused = [], []
    for number, jwk in enumerate(listed, start=1):
        try:
            key = _read_key(jwk)
        except _Unusable as error:
            refused.append(f"key {number} {error}")
        else:
            keys += [key] if key is not None else []
    return tuple(keys), refused


class _Unusable(Exception):
    """What is wrong with a key, as the rest of a sentence that begins with it."""


def _read_key(jwk: object) -> VerificationKey | None:
    if not isinstance(jwk, dict):
        raise _Unusable("is not an object")
    kind, curve, algorithm, key_id = (jwk.get(member) for member in ("kty", "crv", "alg", "kid"))
    if kind == "oct" or "d" in jwk:
        raise _Unusable("is secret, and is no secret here any more; expected public keys: replace it at the issuer")
    fitting = {name for name, fit in _FITS.items() if fit == (kind, None if kind == "RSA" else curve)}
    if algorithm is not None:
        fitting &= {algorithm} if isinstance(algorithm, str) else set()
    if not fitting or jwk.get("use", "sig") != "sig":
        return None
    if not (key_id is None or (isinstance(key_id, str) and 0 < len(key_id) <= LONGEST_KEY_ID)):
        raise _Unusable(f"has a kid that is no text of 1 to {LONGEST_KEY_ID} characters")
    try:
        key = JWKRegistry.import_key(jwk)
        key.check_key_op("verify")
    except (JoseError, ValueError, TypeError, KeyError):
        raise _Unusable("cannot be read as a key") from None
    if isinstance(key.public_key, rsa.RSAPublicKey) and key.public_key.key_size < SMALLEST_RSA_KEY:
        raise _Unusable(f"has {key.public_key.key_size} bits; expected {SMALLEST_RSA_KEY} or more")
    return VerificationKey(key_id, frozenset(fitting), key)


def read_secret(text: bytes, algorithms: Iterable[str]) -> VerificationKey:
    """A shared secret from its base64. Raises ConfigurationError for what a person may have made up (RFC 8725 §3.5)."""
    shortest = max(_SHORTEST_SECRET[algorithm] for algorithm in algorithms)
    expected = f"expected {shortest} random octets or more in base64: openssl rand -base64 {shortest}"
    try:
        secret = b64decode(text.strip(), validate=True)
    except ValueError:
        raise ConfigurationError(f"found what is not base64; {expected}") from None
    if len(secret) < shortest or len(set(secret)) < _FEWEST_OCTETS:
        raise ConfigurationError(f"found {len(secret)} octets, {len(set(secret))} of them different; {expected}")
    return VerificationKey(None, frozenset(algorithms), OctKey.import_key(secret))
