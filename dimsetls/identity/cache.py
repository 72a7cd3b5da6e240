"""Successes that are remembered for a short time, under a keyed hash: the secret itself is not kept."""

from __future__ import annotations

import struct
from collections import OrderedDict
from collections.abc import Callable
from hashlib import sha256
from secrets import token_bytes

from .credentials import CertificateAlone, Credential, Username, UsernameAndPasscode
from .interfaces import Presenter, Verified

REMEMBERED = 10000
"""Successes that are kept; then the oldest goes."""

_LENGTHS = struct.Struct(">5I").pack


class Successes:
    """What back ends found good lately. A token's success is kept no longer than the token is valid.

    That a user was disabled or has another passcode meanwhile is seen when the time is over, not before.

    `now` is POSIX time. The key lives in this object only, so what is kept tells nothing without it.
    """

    def __init__(self, now: Callable[[], float]) -> None:
        self._now = now
        self._key = token_bytes(32)
        self._kept: OrderedDict[bytes, tuple[float, Verified]] = OrderedDict()

    def find(self, back_end: str, credential: Credential, presenter: Presenter) -> Verified | None:
        key = self._hash(back_end, credential, presenter)
        found = self._kept.get(key)
        if found is None:
            return None
        if found[0] <= self._now():
            del self._kept[key]
            return None
        return found[1]

    def keep(
        self, back_end: str, credential: Credential, presenter: Presenter, verified: Verified, seconds: float
    ) -> None:
        until = min(self._now() + seconds, verified.until if verified.until is not None else float("inf"))
        key = self._hash(back_end, credential, presenter)
        self._kept.pop(key, None)
        self._kept[key] = (until, verified)
        while len(self._kept) > REMEMBERED:
            self._kept.popitem(last=False)

    def clear(self) -> None:
        """Forget everything: the configuration was read again."""
        self._kept.clear()

    def _hash(self, back_end: str, credential: Credential, presenter: Presenter) -> bytes:
        """Over what the back end was asked, the certificate included: a token may be bound to it.

        The lengths come first, so that none begins with another: then SHA-256 that begins with a key is as good as
        HMAC, which takes three times as long, since OpenSSL looks up what it needs for it each time.
        """
        match credential:
            case Username(name):
                user, secret = name.encode(), b""
            case UsernameAndPasscode(name, passcode):
                user, secret = name.encode(), passcode.reveal()
            case CertificateAlone():
                user = secret = b""
            case _:
                user, secret = b"", credential.token.reveal()
        certificate = presenter.certificate.sha256 if presenter.certificate else ""
        parts = back_end.encode(), credential.method.value.encode(), certificate.encode(), user, secret
        return sha256(b"".join((self._key, _LENGTHS(*map(len, parts)), *parts))).digest()
