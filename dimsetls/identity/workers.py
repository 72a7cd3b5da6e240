"""Threads for back ends that block: few, never waited for without end, and with a bounded queue in front."""

from __future__ import annotations

from collections.abc import Callable
from threading import Thread
from typing import Any, TypeVar

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorFromThreads
from twisted.python.failure import Failure
from twisted.python.threadpool import ThreadPool

from ..errors import IdentityUnavailable

T = TypeVar("T")


class Slots:
    """How many checks one back end may have under way; one more is refused at once instead of waiting for ever."""

    def __init__(self, name: str, limit: int) -> None:
        self._name = name
        self._limit = limit
        self._taken = 0

    def take(self) -> None:
        if self._taken >= self._limit:
            raise IdentityUnavailable(f"[{self._name}] has {self._taken} checks under way, and takes no more at once")
        self._taken += 1

    def give_back(self) -> None:
        self._taken -= 1


class Workers:
    """A pool of threads of one back end's own: one directory that hangs holds up nobody else.

    `threads` checks run at once and `waiting` more may wait. A check that is cancelled keeps its thread until its
    call returns; `abort` is there to make it.
    """

    def __init__(self, name: str, reactor: IReactorFromThreads, *, threads: int = 4, waiting: int = 64) -> None:
        self._slots = Slots(name, threads + waiting)
        self._name = name
        self._reactor = reactor
        self._pool = ThreadPool(0, threads, f"dimsetls {name}")
        self._pool.threadFactory = _Daemon
        self._aborts: dict[object, Callable[[], None]] = {}
        self._closed = False

    def run(self, call: Callable[[], T], abort: Callable[[], None] = lambda: None) -> Deferred[T]:
        """Call in a thread. Cancelling the Deferred calls `abort` in the reactor thread, and never starts what waits.

        Raises IdentityUnavailable where too many wait, and after `close`.
        """
        if self._closed:
            raise self._gone()
        self._slots.take()
        if not self._pool.started:
            self._pool.start()
        key = object()
        self._aborts[key] = abort

        def cancel(deferred: Deferred[T]) -> None:
            if key in self._aborts:
                self._aborts.pop(key)()

        def work() -> T:
            if key not in self._aborts:  # it was cancelled, and nobody hears this, or the back end was closed
                raise self._gone()
            return call()

        def done(success: bool, result: T | Failure) -> None:
            self._reactor.callFromThread(finish, result)

        def finish(result: T | Failure) -> None:
            self._slots.give_back()
            self._aborts.pop(key, None)
            if not deferred.called:
                deferred.callback(result)  # a Failure goes to the errbacks
            elif isinstance(result, Failure):
                result.cleanFailure()

        deferred: Deferred[T] = Deferred(cancel)
        self._pool.callInThreadWithCallback(done, work)
        return deferred

    def close(self) -> None:
        """Give up what runs and what waits, and let the threads end when their calls return; it waits for none."""
        if self._closed:
            return
        self._closed = True
        while self._aborts:
            self._aborts.popitem()[1]()
        if self._pool.started:
            # It joins its threads: not here, where a call that hangs would hang the reactor.
            _Daemon(target=self._pool.stop, name=f"dimsetls {self._name} ends").start()

    def _gone(self) -> IdentityUnavailable:
        return IdentityUnavailable(f"[{self._name}] was closed: the configuration changed, or the service ends")


class _Daemon(Thread):
    """A thread that the process does not wait for at its end: what it waits for may never come."""

    def __init__(self, *arguments: Any, **keywords: Any) -> None:
        super().__init__(*arguments, **keywords, daemon=True)
