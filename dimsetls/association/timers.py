"""Deadlines of phases, without a timer or a clock call on the data path.

A phase is whatever lasts: the same PDU still incomplete, the association still idle, our output still stuck.
It is looked at now and then by its token; a phase has lasted too long when the same token was seen all
through the timeout. So a byte now and then does not prolong anything, and a PDU costs nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable
from typing import Protocol

from twisted.internet.interfaces import IDelayedCall

LOOKS = 8
"""How often a phase is looked at during its timeout: it ends at most an eighth late, never early."""


class Clock(Protocol):
    """The part of `IReactorTime` that deadlines need; `twisted.internet.task.Clock` in tests."""

    def seconds(self) -> float: ...

    def callLater(  # noqa: N802 - Twisted's name
        self, delay: float, callable: Callable[..., object], *args: object  # noqa: A002 - Twisted's name
    ) -> IDelayedCall: ...


class PhaseTimer:
    """Calls `expired()` when `phase()` has returned the same token, not None, for `timeout` seconds.

    `watch()` starts looking and may be called at any time; looking stops by itself when `phase()` is None.
    """

    __slots__ = ("_call", "_clock", "_expired", "_phase", "_since", "_timeout", "_token", "watching")

    def __init__(
        self, clock: Clock, timeout: float, phase: Callable[[], Hashable | None], expired: Callable[[], None]
    ) -> None:
        self._clock = clock
        self._timeout = timeout
        self._phase = phase
        self._expired = expired
        self._call: IDelayedCall | None = None
        self._token: Hashable | None = None
        self._since = 0.0
        self.watching = False  # plain, for the data path asks

    def watch(self) -> None:
        """Look from now on, if it does not already."""
        if not self.watching:
            self.watching = True
            self._token, self._since = self._phase(), self._clock.seconds()
            self._look_later()

    def cancel(self) -> None:
        """Stop looking."""
        if self.watching:
            self.watching = False
            assert self._call is not None
            self._call.cancel()

    def _look_later(self) -> None:
        self._call = self._clock.callLater(self._timeout / LOOKS, self._look)

    def _look(self) -> None:
        token, now = self._phase(), self._clock.seconds()
        if token != self._token:
            self._token, self._since = token, now
        if token is not None and now - self._since < self._timeout:
            self._look_later()
            return
        self.watching = False
        if token is not None:
            self._expired()
