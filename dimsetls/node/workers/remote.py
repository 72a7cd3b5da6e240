"""What a worker has in the place of its own counts and memories: those of the main process, asked for each time."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import asdict
from functools import lru_cache
from itertools import count
from pathlib import Path
from typing import Any, TypeVar

from twisted.internet.defer import CancelledError, Deferred
from twisted.python.failure import Failure

from ...association.limits import AssociationCount, Congested, Limits
from ...errors import AssociationError, IdentityUnavailable
from ...identity.lockout import Kind, LockoutPolicy, Subject
from .channel import Channel, NoAnswer

T = TypeVar("T")


class RemoteCount(AssociationCount):
    """The associations of one place, of which this process knows its own."""

    _tickets = count(1)

    def __init__(self, channel: Channel, place: str) -> None:
        super().__init__()
        self._channel = channel
        self._place = place
        self._held: defaultdict[tuple[str, str], list[int]] = defaultdict(list)

    def take(self, limits: Limits, address: str, calling_ae_title: str) -> Deferred[str | None]:
        ticket = next(self._tickets)

        def taken(refusal: str | None) -> str | None:
            if refusal is None:
                self._held[address, calling_ae_title].append(ticket)
                self.add(address, calling_ae_title)
            return refusal

        def not_taken(failure: Failure) -> Any:
            # It may be granted still, after the peer went away or too late.
            self._channel.tell("leave place", ticket=ticket)
            if failure.check(NoAnswer):
                raise Congested(f"the main process was asked for a place: {failure.value}")
            return failure

        asked = self._channel.ask(
            "take place", ticket=ticket, place=self._place, address=address, title=calling_ae_title
        )
        return asked.addCallbacks(taken, not_taken)

    def remove(self, address: str, calling_ae_title: str) -> None:
        super().remove(address, calling_ae_title)
        tickets = self._held[address, calling_ae_title]
        self._channel.tell("leave place", ticket=tickets.pop())
        if not tickets:
            del self._held[address, calling_ae_title]


class RemoteLockout:
    """The failures of all workers (see `Failures`).

    As long as the main process says that nobody has to wait, nobody is asked about, which is two round trips of three
    for an association. Once somebody has to, it says so before it gives out another connection or place.
    """

    def __init__(self, channel: Channel) -> None:
        self._channel = channel
        self._is_quiet = False
        self._counting = 0
        """Failures of ours that it may not have counted yet."""

    def refusal(self, subjects: Iterable[Subject], policy: LockoutPolicy) -> Deferred[str | None] | None:
        if self._is_quiet and not self._counting:
            return None

        def answered(answer: dict[str, Any]) -> str | None:
            self._is_quiet = answer["is_quiet"]
            refusal: str | None = answer["refusal"]
            return refusal

        asked = self._channel.ask("may try", subjects=_pairs(subjects), policy=_plain(policy))
        return asked.addCallback(answered).addErrback(_unavailable)

    def failed(self, subjects: Iterable[Subject], policy: LockoutPolicy) -> Deferred[list[Subject]]:
        self._counting += 1

        def counted(result: Any) -> Any:
            self._counting -= 1
            if isinstance(result, Failure):  # it may be counted all the same, or never
                self._is_quiet = False
            return result

        asked = self._channel.ask("failed", subjects=_pairs(subjects), policy=_plain(policy)).addBoth(counted)
        locked = asked.addCallback(lambda pairs: [Subject(Kind(kind), value) for kind, value in pairs])
        return locked.addErrback(_unavailable)

    def ask_again(self) -> None:
        """Somebody has to wait."""
        self._is_quiet = False

    def succeeded(self, subject: Subject) -> None:
        (pair,) = _pairs([subject])
        self._channel.tell("succeeded", subject=pair)


class RemoteMemory:
    """The assertions of one issuer that were used at any worker (see `Memory`)."""

    def __init__(self, channel: Channel, issuer: str) -> None:
        self._channel = channel
        self._issuer = issuer

    def claim(self, identifier: str, certificate: str, until: float, now: float) -> Deferred[str | None]:
        asked = self._channel.ask(
            "use", issuer=self._issuer, identifier=identifier, certificate=certificate, until=until, now=now
        )
        return asked.addCallback(_first).addErrback(_unavailable)


class RemoteClaims:
    """The promises in one file that are being reported by any worker (see `Claims`)."""

    def __init__(self, channel: Channel, path: Path) -> None:
        self.ours: set[int] = set()
        self._channel = channel
        self._path = str(path)

    def take(self, number: int) -> bool | Deferred[bool]:
        if number in self.ours:
            return False
        self.ours.add(number)

        def taken(is_ours: bool) -> bool:
            if not is_ours:
                self.ours.discard(number)
            return is_ours

        def not_taken(failure: Failure) -> Any:
            self.give_back(number)
            if failure.check(NoAnswer):
                raise AssociationError(f"the main process was asked whether to report: {failure.value}")
            return failure

        return self._channel.ask("claim", path=self._path, number=number).addCallbacks(taken, not_taken)

    def give_back(self, number: int) -> None:
        self.ours.discard(number)
        self._channel.tell("give back", path=self._path, number=number)


@lru_cache
def _plain(policy: LockoutPolicy) -> dict[str, Any]:
    return asdict(policy)


def _pairs(subjects: Iterable[Subject]) -> list[list[str]]:
    return [[each.kind.value, each.value] for each in subjects]


def _first(answer: dict[str, Any]) -> str | None:
    if "unavailable" in answer:
        raise IdentityUnavailable(answer["unavailable"])
    first: str | None = answer["first"]
    return first


def _unavailable(failure: Failure) -> Any:
    failure.trap(NoAnswer, CancelledError, IdentityUnavailable)
    if failure.check(NoAnswer):
        raise IdentityUnavailable(f"the main process was asked: {failure.value}")
    return failure
