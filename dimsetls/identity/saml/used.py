"""Assertions that cannot be used again, kept by who checks them or, for several workers, by their main process."""

from __future__ import annotations

from ...errors import IdentityUnavailable


class Used:
    """The assertions that were used, each until it ends. Only good ones come in, so no stranger can fill it."""

    def __init__(self, limit: int = 100000) -> None:
        self._limit = limit
        self._first: dict[str, tuple[float, str]] = {}

    def claim(self, identifier: str, certificate: str, until: float, now: float) -> str | None:
        """See `Memory`."""
        first = self.first(identifier, now)
        if first is None and not self.note(identifier, certificate, until, now):
            raise IdentityUnavailable("more assertions were used lately than can be remembered")
        return first

    def first(self, identifier: str, now: float) -> str | None:
        """The fingerprint of the certificate of the first use, "" if it came without one; None if it was not used."""
        until, certificate = self._first.get(identifier, (now, ""))
        return certificate if now < until else None

    def note(self, identifier: str, certificate: str, until: float, now: float) -> bool:
        """Note the first use. False if there is no room: to forget one that is still valid would let it in again."""
        if len(self._first) >= self._limit:
            self._first = {key: use for key, use in self._first.items() if now < use[0]}
        if len(self._first) >= self._limit:
            return False
        self._first[identifier] = until, certificate
        return True
