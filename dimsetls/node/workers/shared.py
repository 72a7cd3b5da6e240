"""What all workers have in common, kept in the main process; what one of them held is free again when it ends."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable
from typing import Any

from twisted.internet.interfaces import IReactorTime

from ...association.limits import AssociationCount, Limits
from ...errors import IdentityUnavailable
from ...identity.lockout import Kind, Lockout, LockoutPolicy, Subject
from ...identity.saml.used import Used


class Shared:
    """Associations of each place, failures to identify, assertions that were used, reports that are being made.

    `limits` says what holds at a place; None: nobody listens there any more. `tell_all` says something to all workers.
    """

    def __init__(
        self, clock: IReactorTime, limits: Callable[[str], Limits | None], tell_all: Callable[[str], None]
    ) -> None:
        self._limits = limits
        self._tell_all = tell_all
        self._counts: defaultdict[str, AssociationCount] = defaultdict(AssociationCount)
        self._held: defaultdict[int, dict[int, tuple[str, str, str]]] = defaultdict(dict)
        self._lockout = Lockout(clock.seconds)
        self._used: defaultdict[str, Used] = defaultdict(Used)
        self._claims: dict[tuple[str, int], int] = {}

    def held_by(self, worker: int) -> int:
        """How many associations the worker has."""
        return len(self._held[worker])

    @property
    def associations(self) -> int:
        return sum(map(len, self._held.values()))

    def release(self, worker: int) -> None:
        """The worker has ended, and so has all that it held."""
        for place, address, title in self._held.pop(worker, {}).values():
            self._counts[place].remove(address, title)
        self._claims = {what: who for what, who in self._claims.items() if who != worker}

    def hears(self, worker: int) -> dict[str, Callable[..., Any]]:
        """What a worker may ask and tell."""
        def of_this(call: Callable[..., Any]) -> Callable[..., Any]:
            return lambda **values: call(worker, **values)

        return {
            "take place": of_this(self._take), "leave place": of_this(self._leave),
            "may try": self._may_try, "failed": self._failed, "succeeded": self._succeeded,
            "use": self._use, "claim": of_this(self._claim), "give back": of_this(self._give_back),
        }  # fmt: skip

    # Associations --------------------------------------------------------------------------------------------------

    def _take(self, worker: int, ticket: int, place: str, address: str, title: str) -> str | None:
        limits = self._limits(place)
        if limits is None:
            return "nobody listens any more where this connection came in"
        refusal = self._counts[place].take(limits, address, title)
        assert refusal is None or isinstance(refusal, str)
        if refusal is None:
            self._held[worker][ticket] = place, address, title
        return refusal

    def _leave(self, worker: int, ticket: int) -> None:
        """What was refused has no ticket, and nothing to leave."""
        if (held := self._held[worker].pop(ticket, None)) is not None:
            place, address, title = held
            self._counts[place].remove(address, title)

    # Identities ----------------------------------------------------------------------------------------------------

    def _may_try(self, subjects: list[list[str]], policy: dict[str, Any]) -> dict[str, Any]:
        refusal = self._lockout.refusal(map(_subject, subjects), LockoutPolicy(**policy))
        return {"refusal": refusal, "is_quiet": self._lockout.is_quiet}

    def _failed(self, subjects: list[list[str]], policy: dict[str, Any]) -> list[list[str]]:
        locked = self._lockout.failed(map(_subject, subjects), LockoutPolicy(**policy))
        if not self._lockout.is_quiet:
            self._tell_all("ask again")  # before the answer, and before any connection or place that is given from now
        return [[each.kind.value, each.value] for each in locked]

    def _succeeded(self, subject: list[str]) -> None:
        self._lockout.succeeded(_subject(subject))

    def _use(self, issuer: str, identifier: str, certificate: str, until: float, now: float) -> dict[str, Any]:
        try:
            return {"first": self._used[issuer].claim(identifier, certificate, until, now)}
        except IdentityUnavailable as error:
            return {"unavailable": str(error)}

    # Reports -------------------------------------------------------------------------------------------------------

    def _claim(self, worker: int, path: str, number: int) -> bool:
        return self._claims.setdefault((path, number), worker) == worker

    def _give_back(self, worker: int, path: str, number: int) -> None:
        if self._claims.get((path, number)) == worker:
            del self._claims[path, number]


def _subject(pair: list[str]) -> Subject:
    kind, value = pair
    return Subject(Kind(kind), value)
