"""Whether a worker still answers: one that does not is passed by, and ended when it will not come back."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.logger import Logger

log = Logger(namespace="dimsetls.node")

BEAT: Final = 5.0
"""Seconds between two looks."""
SILENT: Final = 3
"""Looks in a row at which a worker that was asked has not answered: it gets no more connections."""
DEAD: Final = 36
"""The same until it is ended: 3 minutes. A disk that stands still for so long has cost its associations anyhow.

Looks are counted, not seconds: where the machine slept, or the clock was set, there was one look, and no answer late.
"""


class Pulse:
    """Asks one worker, by `ask`, whether it is there, until it has `answered`. `changed` is called when it is silent or
    no longer so, `dead` when it will not come back.
    """

    def __init__(
        self, number: int, clock: IReactorTime, ask: Callable[[], None], changed: Callable[[], None],
        dead: Callable[[], None],
    ) -> None:  # fmt: skip
        self._number = number
        self._clock = clock
        self._ask, self._changed, self._dead = ask, changed, dead
        self._is_asked = False
        self._missed = 0
        self._next: IDelayedCall | None = None

    @property
    def is_silent(self) -> bool:
        return self._missed >= SILENT

    def start(self) -> None:
        """Ask now, and look again and again."""
        self._look()

    def stop(self) -> None:
        if self._next is not None and self._next.active():
            self._next.cancel()

    def answered(self) -> None:
        """It is there."""
        was_silent = self.is_silent
        self._is_asked, self._missed = False, 0
        if was_silent:
            log.warn("worker {number} answers again", number=self._number)
            self._changed()

    def _look(self) -> None:
        self._next = self._clock.callLater(BEAT, self._look)
        if not self._is_asked:
            self._is_asked = True
            self._ask()
            return
        self._missed += 1
        if self._missed == SILENT:
            log.critical("worker {number} has not answered for {seconds:g} s, and gets no connections until it does",
                         number=self._number, seconds=SILENT * BEAT)  # fmt: skip
            self._changed()
        elif self._missed == DEAD:
            log.critical("worker {number} has not answered for {seconds:g} s, and is killed", number=self._number,
                         seconds=DEAD * BEAT)  # fmt: skip
            self.stop()
            self._dead()
