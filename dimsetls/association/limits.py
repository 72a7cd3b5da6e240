"""How much one listener takes on, counted in one place: where several processes serve it, in one of them."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

from twisted.internet.defer import Deferred


@dataclass(frozen=True, slots=True)
class Limits:
    """Upper bounds for one listener."""

    associations: int = 200
    per_address: int = 50
    per_calling_ae_title: int = 50
    pending: int = 1000
    """Connections in the TLS handshake or without an A-ASSOCIATE-RQ yet."""


class Congested(Exception):
    """Whether there is a place could not be told; the message says why."""


class AssociationCount:
    """The associations that exist, by peer address and by calling AE title."""

    def __init__(self) -> None:
        self.total = 0
        self._addresses: Counter[str] = Counter()
        self._titles: Counter[str] = Counter()

    def refusal(self, limits: Limits, address: str, calling_ae_title: str) -> str | None:
        """Why one more cannot be had: one sentence, or None if it can."""
        if self.total >= limits.associations:
            return f"{self.total} associations exist, the limit is {limits.associations}"
        if self._addresses[address] >= limits.per_address:
            return f"{address} has {self._addresses[address]} associations, the limit for one is {limits.per_address}"
        if self._titles[calling_ae_title] >= limits.per_calling_ae_title:
            has, limit = self._titles[calling_ae_title], limits.per_calling_ae_title
            return f"{calling_ae_title} has {has} associations, the limit for one calling AE title is {limit}"
        return None

    def take(self, limits: Limits, address: str, calling_ae_title: str) -> str | Deferred[str | None] | None:
        """Count one more, if it can be had; if not, one sentence that says why. It may take a while to know, and
        then fail with `Congested`.

        Whoever cancels the Deferred, and so never hears the answer, has not taken anything.
        """
        refusal = self.refusal(limits, address, calling_ae_title)
        if refusal is None:
            self.add(address, calling_ae_title)
        return refusal

    def add(self, address: str, calling_ae_title: str) -> None:
        self._change(address, calling_ae_title, 1)

    def remove(self, address: str, calling_ae_title: str) -> None:
        self._change(address, calling_ae_title, -1)

    def _change(self, address: str, calling_ae_title: str, by: int) -> None:
        self.total += by
        for counter, key in ((self._addresses, address), (self._titles, calling_ae_title)):
            counter[key] += by
            if not counter[key]:
                del counter[key]  # addresses and titles are the peers' to choose: keep only what is in use
