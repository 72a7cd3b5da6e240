"""Against guessing: failures counted per user, address and certificate, delays that grow, and a lock-out at the end."""

from __future__ import annotations

import math
import unicodedata
from collections import OrderedDict
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from enum import Enum
from typing import NamedTuple, Protocol

from twisted.internet.defer import Deferred

REMEMBERED = 20000
"""Subjects with failures that are kept; then the one whose last failure is the oldest is forgotten."""


class Kind(Enum):
    """What failures are counted for."""

    USER = "user"
    ADDRESS = "address"
    CERTIFICATE = "certificate"


class Subject(NamedTuple):
    """One user, address or certificate.

    Users are folded: directories see neither letter case nor width, and some no accents, so guesses have none either.
    """

    kind: Kind
    value: str

    @classmethod
    def user(cls, name: str) -> Subject:
        folded = unicodedata.normalize("NFKD", name).casefold()
        if not folded.isascii():
            folded = "".join(each for each in folded if not unicodedata.combining(each))
        return cls(Kind.USER, " ".join(folded.split()))

    def __str__(self) -> str:
        return f"{self.kind.value} {self.value!r}"


@dataclass(frozen=True, slots=True)
class LockoutPolicy:
    """How many failures lock a subject out, and for how long (seconds).

    From a third of the limit on there is a delay before the next try is looked at: `delay` at first, and longer after
    each failure, twice at the most, so that it comes to `lockout` at the limit and not before. A limit of 0 counts
    nothing. Failures are forgotten when none came for `lockout` seconds.
    """

    per_user: int = 10
    per_address: int = 50
    per_certificate: int = 50
    delay: float = 1.0
    lockout: float = 900.0

    def limit(self, kind: Kind) -> int:
        limits = {Kind.USER: self.per_user, Kind.ADDRESS: self.per_address, Kind.CERTIFICATE: self.per_certificate}
        return limits[kind]

    def pause(self, kind: Kind, failures: int) -> float:
        """Seconds for which no further try is looked at, after so many failures."""
        limit = self.limit(kind)
        if 0 < limit <= failures:
            return self.lockout
        steps, beyond = limit - max(1, limit // 3), failures - max(1, limit // 3)
        # Never as long as the lock-out: failures would be forgotten meanwhile, and the limit never reached.
        delay = min(self.delay, self.lockout / 2)
        if beyond < 0 or delay == 0 or limit == 0:
            return 0.0
        return float(delay * min(2.0, (self.lockout / delay) ** (1 / steps)) ** beyond)


class Failures(Protocol):
    """Failures counted in one place, which may be another process: then it takes a while to hear of it.

    A Deferred of these fails with IdentityUnavailable where nothing is heard.
    """

    def refusal(self, subjects: Iterable[Subject], policy: LockoutPolicy) -> str | Deferred[str | None] | None:
        """Why no try is looked at now, for the operator; None if one may be."""

    def failed(self, subjects: Iterable[Subject], policy: LockoutPolicy) -> list[Subject] | Deferred[list[Subject]]:
        """Count a failure for each; those that are locked out by it. It counts even if it is not waited for."""

    def succeeded(self, subject: Subject) -> None:
        """Forget a user's failures. Those of an address stay: one good account must not pay for guessing others."""


@dataclass(slots=True)
class _Record:
    failures: int
    last: float
    until: float


class Lockout:
    """The failures of a whole node: `seconds` is a monotonic clock. Guesses elsewhere on the node count as well."""

    def __init__(self, seconds: Callable[[], float]) -> None:
        self._seconds = seconds
        self._records: OrderedDict[Subject, _Record] = OrderedDict()
        self._paused_until = 0.0

    @property
    def is_quiet(self) -> bool:
        """Whether nobody has to wait at present, so that there is no `refusal` for anyone."""
        return self._seconds() >= self._paused_until

    def refusal(self, subjects: Iterable[Subject], policy: LockoutPolicy) -> str | None:
        """Why no try is looked at now, for the operator; None if one may be."""
        if self.is_quiet:  # as nearly always
            return None
        now = self._seconds()
        for subject in subjects:
            record = self._records.get(subject)
            if record is not None and now < record.until and policy.limit(subject.kind):
                wait = math.ceil(record.until - now)
                return f"{subject} failed {record.failures} times, the next try is looked at in {wait} s"
        return None

    def failed(self, subjects: Iterable[Subject], policy: LockoutPolicy) -> list[Subject]:
        """Count a failure for each; those that are locked out by it."""
        now, locked = self._seconds(), []
        for subject in subjects:
            limit = policy.limit(subject.kind)
            if not limit:
                continue
            record = self._records.pop(subject, None)
            if record is None or now - record.last > policy.lockout:
                record = _Record(0, now, now)
            record.failures += 1
            record.last = now
            record.until = now + policy.pause(subject.kind, record.failures)
            self._paused_until = max(self._paused_until, record.until)
            self._records[subject] = record
            if record.failures == limit:
                locked.append(subject)
        while len(self._records) > REMEMBERED:
            self._records.popitem(last=False)
        return locked

    def succeeded(self, subject: Subject) -> None:
        """Forget a user's failures. Those of an address stay: one good account must not pay for guessing others."""
        self._records.pop(subject, None)
