"""The forwarding from one store: a sender for each rule and peer, in the one process that sends."""

from __future__ import annotations

import fcntl
import os
import sqlite3
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any, Final, cast

from twisted.application.service import Service
from twisted.internet.defer import CancelledError, Deferred, DeferredList
from twisted.internet.interfaces import IDelayedCall, IReactorFromThreads
from twisted.internet.threads import deferToThreadPool
from twisted.logger import Logger
from twisted.python.threadpool import ThreadPool

from ...association.back_off import BackOff
from ...association.pool import AssociationPool
from ...association.remote import Remote
from ...association.timers import Clock
from .queue import Queue, Tally
from .rules import Rule
from .sender import LOOK_EVERY, Sender

log = Logger(namespace="dimsetls.forwarding")

LOCK: Final = ".forward.lock"
"""In the directory of the store: held by the process that sends, where several share the store."""
RELEASE_WITHIN: Final = 2.0
"""Seconds for peers to answer our A-RELEASE-RQ in the end."""
_THREADS: Final = 2
_MOST_ASSOCIATIONS: Final = 100_000  # each rule bounds its own

Reach = Callable[[Rule, str, str], Remote | None]
"""From a rule, the name of a peer and an AE title of ours to that peer, each time to the same object; see `Sender`."""


class Forwarding(Service):
    """Sends on what `queue` holds of the store at `root`, which is open while this runs. The reactor is a clock too."""

    def __init__(self, root: Path, queue: Queue, reactor: IReactorFromThreads) -> None:
        self.root = root
        self._queue = queue
        self._reactor = reactor
        self._clock = cast(Clock, reactor)
        self._threads = ThreadPool(0, _THREADS, "dimsetls forwarding")
        # How long a failed peer is left alone is written in the queue, for that outlives the process.
        self._pool = AssociationPool(associations=_MOST_ASSOCIATIONS, back_off=BackOff(0.0, 0.0), clock=self._clock)
        self._wanted: dict[tuple[str, str], tuple[Rule, Callable[[str], Remote | None]]] = {}
        self._senders: dict[tuple[str, str], Sender] = {}
        self._ending: set[Deferred[None]] = set()
        self._lock = -1
        self._again: IDelayedCall | None = None
        self._was_told = False  # that another process sends
        self._is_draining = False

    def configure(self, rules: tuple[Rule, ...], reach: Reach) -> None:
        """From now on these rules hold for what waits; what is queued is said by the rules of the queue itself."""
        self._wanted = {
            (rule.name, peer): (rule, partial(reach, rule, peer)) for rule in rules for peer in rule.peers
        }  # fmt: skip
        if self.running:
            self._match()
            self._name_left_behind()

    def startService(self) -> None:
        super().startService()
        self._threads.start()
        self._queue.news = self._told
        self._match()
        self._name_left_behind()

    async def drain(self, timeout: float) -> None:
        """Send no more. What is at hand may be completed for so many seconds, and is then broken off."""
        self._is_draining = True
        if self._again is not None:
            self._again.cancel()
        for which in list(self._senders):
            self._end(which)
        await self._within(timeout, DeferredList(list(self._ending)))
        await self._within(RELEASE_WITHIN, Deferred.fromCoroutine(self._pool.close()))

    def stopService(self) -> None:
        super().stopService()
        self._queue.news = lambda: None
        self._threads.stop()
        if self._lock >= 0:
            os.close(self._lock)
            self._lock = -1

    # Numbers -------------------------------------------------------------------------------------------------------

    @property
    def sent(self) -> dict[tuple[str, str], int]:
        """Instances sent since the start, by names of rule and peer."""
        return {which: sender.sent for which, sender in self._senders.items()}

    def tallies(self) -> Deferred[list[Tally]]:
        """What waits and what is dead, by rule and peer. Fails with sqlite3.Error."""
        return self._run(self._queue.tallies)

    # Senders -------------------------------------------------------------------------------------------------------

    def _match(self) -> None:
        """Have the senders that are wanted, unless another process has them."""
        if self._is_draining or not (self._wanted or self._senders) or not self._is_ours():
            return
        for which in self._senders.keys() - self._wanted.keys():
            self._end(which)
        for which, (rule, remote) in self._wanted.items():
            if which in self._senders:
                self._senders[which].rule, self._senders[which].remote = rule, remote
            else:
                self._senders[which] = Sender(
                    rule, which[1], self._queue, self.root, remote, self._pool, self._run, self._clock
                )
                self._senders[which].start()

    def _is_ours(self) -> bool:
        """Whether this process is the one that sends; if not, it is asked again from time to time."""
        if self._lock >= 0 or self._again is not None:
            return self._lock >= 0
        fd = os.open(self.root / LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(fd)
            if not self._was_told:
                log.info("another process forwards what is stored in {root}; this one will when that ends",
                         root=str(self.root))  # fmt: skip
            self._was_told = True
            self._again = self._clock.callLater(LOOK_EVERY, self._match_again)
            return False
        self._lock = fd
        return True

    def _match_again(self) -> None:
        self._again = None
        self._match()

    def _end(self, which: tuple[str, str]) -> None:
        ending = Deferred.fromCoroutine(self._senders.pop(which).stop())
        self._ending.add(ending)
        ending.addBoth(lambda result: self._ending.discard(ending))

    def _told(self) -> None:
        self._reactor.callFromThread(self.wake)

    def wake(self) -> None:
        """Something was queued, perhaps by another process."""
        for sender in self._senders.values():
            sender.wake()

    def _name_left_behind(self) -> None:
        """Say what waits for rules and peers that the configuration has no more."""
        self.tallies().addCallbacks(self._named, self._not_named)

    def _named(self, tallies: list[Tally]) -> None:
        for tally in tallies:
            if (tally.rule, tally.peer) not in self._wanted and tally.waiting + tally.dead:
                log.warn("{number} instances in {root} are kept for [forward {rule}] to [peer {peer}], which the "
                         "configuration has no more: bring it back, or see dimsetls queue drop",
                         number=tally.waiting + tally.dead, root=str(self.root), rule=tally.rule,
                         peer=tally.peer)  # fmt: skip

    def _not_named(self, failure: Any) -> None:
        failure.trap(sqlite3.Error)
        log.error("{root}: expected a queue that can be read, got {sentence}", root=str(self.root),
                  sentence=str(failure.value))  # fmt: skip

    # Threads and times ---------------------------------------------------------------------------------------------

    def _run(self, call: Callable[[], Any]) -> Deferred[Any]:
        return deferToThreadPool(self._reactor, self._threads, call)

    async def _within(self, seconds: float, awaited: Deferred[Any]) -> None:
        over = self._clock.callLater(seconds, awaited.cancel)
        with suppress(CancelledError):
            await awaited
        if over.active():
            over.cancel()
