"""Sends what one rule has queued for one peer, and does not rest while anything of it can be sent."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any, Final

from twisted.internet.defer import CancelledError, Deferred
from twisted.logger import Logger

from ...association.instances import Instance
from ...association.pool import AssociationPool
from ...association.remote import Remote
from ...association.timers import Clock
from ...errors import ConfigurationError, DimsetlsError
from .queue import Item, Queue, State
from .rules import Rule
from .verdict import Verdict, judge

log = Logger(namespace="dimsetls.forwarding")

Run = Callable[[Callable[[], Any]], Deferred[Any]]
"""Calls in a thread."""

LOOK_EVERY: Final = 2.0
"""Seconds after which the queue is looked at in any case: an operator may have changed it."""
BATCH: Final = 200
"""Items that are in memory at once."""
MOST_TOLD: Final = 10
"""Of those of a batch that failed, lines in the log."""


class Sender:
    """Sends what `rule` has queued for the peer of that name, from the store at `root`.

    `remote` says by an AE title of ours how to reach the peer, each time with the same object: a pool keeps
    associations by it. None: the configuration has the peer no more, or it cannot be reached.
    """

    def __init__(
        self, rule: Rule, peer: str, queue: Queue, root: Path, remote: Callable[[str], Remote | None],
        pool: AssociationPool, run: Run, clock: Clock,
    ) -> None:  # fmt: skip
        self.rule = rule
        self.remote = remote
        self.sent = 0
        """Instances since the start."""
        self._peer = peer
        self._queue = queue
        self._root = root
        self._pool = pool
        self._run = run
        self._clock = clock
        self._is_stopping = self._has_news = False
        self._is_full = False
        """Whether the peer has just said that it has no room."""
        self._may_be_held = True
        self._resting: Deferred[None] | None = None
        self._running: Deferred[None] | None = None

    def start(self) -> None:
        self._running = Deferred.fromCoroutine(self._work())

    def wake(self) -> None:
        """Something was queued."""
        self._has_news = True
        resting, self._resting = self._resting, None
        if resting is not None:
            resting.callback(None)

    async def stop(self) -> None:
        """Wait for the few instances that are at hand, and take no others; cancelled, break off what is under way."""
        self._is_stopping = True
        self.wake()
        running, self._running = self._running, None
        if running is not None:
            await running

    # One after the other -------------------------------------------------------------------------------------------

    async def _work(self) -> None:
        while not self._is_stopping:
            self._has_news = False
            try:
                items, wait = await self._run(lambda: self._queue.pick(self.rule, self._peer, BATCH))
                if items and not self._is_stopping:
                    await self._send(items)
                elif wait is None or wait > 0:
                    await self._rest(LOOK_EVERY if wait is None else min(wait, LOOK_EVERY))
            except CancelledError:
                return
            except Exception as error:  # of whatever kind: who ended here would let instances wait in silence
                if isinstance(error, sqlite3.Error):
                    log.error("[forward {rule}] expected a queue that can be read and written, got {sentence}; nothing "
                              "is sent to [peer {peer}] until it can", rule=self.rule.name, peer=self._peer,
                              sentence=str(error))  # fmt: skip
                else:
                    log.failure("[forward {rule}] to [peer {peer}]", rule=self.rule.name, peer=self._peer)
                await self._rest(LOOK_EVERY)

    async def _rest(self, seconds: float) -> None:
        if self._has_news or self._is_stopping:
            return
        resting: Deferred[None] = Deferred()
        self._resting = resting
        over = self._clock.callLater(seconds, self.wake)
        try:
            await resting
        finally:
            self._resting = None
            if over.active():
                over.cancel()

    # One batch -----------------------------------------------------------------------------------------------------

    async def _send(self, items: Sequence[Item]) -> None:
        """Send items that came to one AE. What is not reported was not sent, and waits."""
        rule, begun, before, why = self.rule, self._clock.seconds(), self.sent, ""
        try:
            remote = self.remote(rule.ae_title or items[0].ae_title)
        except ConfigurationError as error:
            remote, why = None, str(error)
        if remote is None:
            await self._hold(f"[peer {self._peer}]", why or "the configuration does not say how it is reached")
            return
        self._is_full = False
        results = _Results(self._queue, rule, self._run)
        sending = self._pool.store(
            remote, self._instances(items), associations=remote.associations, convert=rule.convert, attempts=1
        )
        try:
            async with sending:
                async for stored in sending:
                    item, verdict = items[stored.number], judge(stored.error)
                    self.sent += verdict is Verdict.SENT
                    self._is_full |= verdict is Verdict.BUSY
                    results.add(item, verdict, str(stored.error or ""))
            why = "it has no room" if self._is_full else ""
        except (DimsetlsError, OSError) as error:
            why = str(error)
        finally:
            left = await results.written()
        if (sent := self.sent - before) and self._may_be_held:
            await self._run(lambda: self._queue.release(rule, self._peer))
            self._may_be_held = False
        if sent:
            log.info("[forward {rule}] {sent} instances sent to {peer} in {seconds:.1f} s", rule=rule.name,
                     sent=sent, peer=str(remote), seconds=self._clock.seconds() - begun)  # fmt: skip
        self._tell(str(remote), left)
        if why:
            await self._hold(str(remote), why)

    def _instances(self, items: Sequence[Item]) -> Iterator[Instance]:
        for item in items:
            if self._is_stopping or self._is_full:
                return
            yield Instance(item.sop_class_uid, item.sop_instance_uid, item.transfer_syntax_uid,
                           self._root / item.path, self.rule.convert)  # fmt: skip

    async def _hold(self, remote: str, why: str) -> None:
        rule = self.rule
        self._may_be_held = True
        held = await self._run(lambda: self._queue.hold(rule, self._peer, why))
        log.warn("[forward {rule}] nothing is sent to {peer} for {seconds:g} s, failure {failures} in a row: {why}",
                 rule=rule.name, peer=remote, failures=held.failures, seconds=rule.back_off.delay(held.failures),
                 why=why)  # fmt: skip

    def _tell(self, remote: str, items: Sequence[Item]) -> None:
        for item in items[:MOST_TOLD]:
            what = "is given up, see dimsetls queue" if item.state is State.DEAD else \
                f"is tried again in {self.rule.back_off.delay(item.attempts):g} s"
            log.warn("[forward {rule}] {uid}, which came to {ae}, {what}: {peer} has not taken it: {sentence}",
                     rule=self.rule.name, uid=item.sop_instance_uid, ae=item.ae_title, what=what, peer=remote,
                     sentence=item.error)  # fmt: skip
        if (more := len(items) - MOST_TOLD) > 0:
            log.warn("[forward {rule}] {more} more instances were not taken by {peer}, see dimsetls queue",
                     rule=self.rule.name, more=more, peer=remote)  # fmt: skip


class _Results:
    """Writes down what became of items as fast as the disk takes it: several at once, where it is slower."""

    def __init__(self, queue: Queue, rule: Rule, run: Run) -> None:
        self._queue = queue
        self._rule = rule
        self._run = run
        self._news: list[tuple[Item, Verdict, str]] = []
        self._left: list[Item] = []
        self._error: sqlite3.Error | None = None
        self._is_writing = False
        self._writing: Deferred[None] | None = None

    def add(self, item: Item, verdict: Verdict, sentence: str) -> None:
        self._news.append((item, verdict, sentence))
        if not self._is_writing:
            self._is_writing = True
            self._writing = Deferred.fromCoroutine(self._write())

    async def _write(self) -> None:
        try:
            while self._news:
                news, self._news = self._news, []
                self._left += await self._run(partial(self._queue.settle, self._rule, news))
        except sqlite3.Error as error:
            self._error = error
        finally:
            self._is_writing = False

    async def written(self) -> list[Item]:
        """Wait until all is on disk; returns what was not sent. Raises sqlite3.Error: some of it may be sent again."""
        if self._writing is not None:
            await self._writing
        if self._error is not None:
            raise self._error
        return self._left
