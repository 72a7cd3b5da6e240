"""Deadlines of phases, without a timer or a clock call on the data path.

A phase is whatever lasts: the same PDU still incomplete, the association still idle, our output still stuck.
It is looked at now and then by its token; a phase has lasted too long when the same token was seen all
through the timeout. So a byte now and then does not prolong anything, and a PDU costs nothing.

All phases with one timeout are looked at in turns, so that ten thousand associations that rest wake the process once
a second, and not each for itself: that took ten times the processor, and half a KiB for each (docs/benchmarks.md).
"""

from __future__ import annotations

from collections.abc import Callable, Hashable
from math import ceil, floor
from typing import Protocol
from weakref import WeakKeyDictionary

from twisted.internet.interfaces import IDelayedCall
from twisted.logger import Logger

log = Logger(namespace="dimsetls.association")

LOOKS = 8
"""How often a phase is looked at during its timeout: it ends at most an eighth late, never early."""

_TURNS = 32
"""In how many turns all are looked at once, and"""
_SHORTEST = 0.1
"""seconds between two turns at least, or it is fewer."""


class Clock(Protocol):
    """The part of `IReactorTime` that deadlines need; `twisted.internet.task.Clock` in tests."""

    def seconds(self) -> float: ...

    def callLater(  # noqa: N802 - Twisted's name
        self, delay: float, callable: Callable[..., object], *args: object  # noqa: A002 - Twisted's name
    ) -> IDelayedCall: ...


class _Round:
    """Looks at all phases that have one timeout; each belongs to a turn, and the turns follow each other."""

    __slots__ = ("_call", "_clock", "_next", "_start", "_step", "_turns", "_watched")

    def __init__(self, clock: Clock, timeout: float) -> None:
        look = timeout / LOOKS
        turns = min(max(1, floor(look / _SHORTEST)), _TURNS)
        self._clock = clock
        self._turns: list[dict[PhaseTimer, None]] = [{} for _ in range(turns)]
        self._step = look / turns
        self._start = 0.0
        self._next = 0  # turn since then
        self._watched = 0
        self._call: IDelayedCall | None = None

    def add(self, timer: PhaseTimer) -> dict[PhaseTimer, None]:
        """Look at it from now on; give where it stands, for `remove`."""
        now = self._clock.seconds()
        if self._call is None:
            self._start, self._next = now, 1
            self._call_later(now)
        turn = self._turns[ceil((now - self._start) / self._step) % len(self._turns)]
        turn[timer] = None
        self._watched += 1
        return turn

    def remove(self, timer: PhaseTimer, turn: dict[PhaseTimer, None]) -> None:
        del turn[timer]
        self._watched -= 1
        if not self._watched and self._call is not None:
            self._call.cancel()
            self._call = None

    def _call_later(self, now: float) -> None:
        self._call = self._clock.callLater(max(0.0, self._start + self._next * self._step - now), self._look)

    def _look(self) -> None:
        """At what is due: more than one turn where the process had no time for them."""
        now = self._clock.seconds()
        first, self._next = self._next, max(self._next, floor((now - self._start) / self._step)) + 1
        self._call_later(now)  # before what may fail, or end the last of them
        for number in range(max(first, self._next - len(self._turns)), self._next):
            for timer in list(self._turns[number % len(self._turns)]):
                try:
                    timer.look(now)
                except Exception:
                    log.failure("a deadline could not be kept")


_rounds: WeakKeyDictionary[Clock, dict[float, _Round]] = WeakKeyDictionary()


def _round(clock: Clock, timeout: float) -> _Round:
    rounds = _rounds.setdefault(clock, {})
    if timeout not in rounds:
        rounds[timeout] = _Round(clock, timeout)
    return rounds[timeout]


class PhaseTimer:
    """Calls `expired()` when `phase()` has returned the same token, not None, for `timeout` seconds.

    `watch()` starts looking and may be called at any time; looking stops by itself when `phase()` is None.
    """

    __slots__ = ("_clock", "_expired", "_phase", "_since", "_timeout", "_token", "_turn", "watching")

    def __init__(
        self, clock: Clock, timeout: float, phase: Callable[[], Hashable | None], expired: Callable[[], None]
    ) -> None:
        self._clock = clock
        self._timeout = timeout
        self._phase = phase
        self._expired = expired
        self._turn: dict[PhaseTimer, None] | None = None
        self._token: Hashable | None = None
        self._since = 0.0
        self.watching = False  # plain, for the data path asks

    def watch(self) -> None:
        """Look from now on, if it does not already."""
        if not self.watching:
            self.watching = True
            self._token, self._since = self._phase(), self._clock.seconds()
            self._turn = _round(self._clock, self._timeout).add(self)

    def cancel(self) -> None:
        """Stop looking."""
        if self.watching:
            self.watching = False
            turn, self._turn = self._turn, None
            assert turn is not None
            _round(self._clock, self._timeout).remove(self, turn)

    def look(self, now: float) -> None:
        """For those that go round."""
        if not self.watching:
            return  # what another one's end brought about
        token = self._phase()
        if token != self._token:
            self._token, self._since = token, now
        if token is not None and now - self._since < self._timeout:
            return
        self.cancel()
        if token is not None:
            self._expired()
