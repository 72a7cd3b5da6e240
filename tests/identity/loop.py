"""A reactor that runs while a test waits for something, and at no other time."""

from __future__ import annotations

from collections.abc import Awaitable, Coroutine
from typing import Any, TypeVar

from twisted.internet.defer import Deferred
from twisted.internet.epollreactor import EPollReactor
from twisted.python.failure import Failure

T = TypeVar("T")

LONGEST = 30.0
"""Seconds after which what a test waits for is not coming any more."""


class Loop:
    """Turns a reactor that is not the installed one, so that no test depends on another's."""

    def __init__(self) -> None:
        self.reactor = EPollReactor()
        self.reactor.startRunning(installSignalHandlers=False)

    def wait(self, awaited: Coroutine[Any, Any, T] | Deferred[T]) -> T:
        """The result, when it is there; what it fails with is raised."""
        deferred = awaited if isinstance(awaited, Deferred) else Deferred.fromCoroutine(awaited)
        found: list[Any] = []
        deferred.addBoth(found.append)
        too_long = self.reactor.callLater(LONGEST, deferred.cancel)
        while not found:
            self.reactor.runUntilCurrent()
            if not found:
                self.reactor.doIteration(self.reactor.timeout())
        if too_long.active():
            too_long.cancel()
        if isinstance(found[0], Failure):
            raise found[0].value
        result: T = found[0]
        return result

    def error(self, awaited: Coroutine[Any, Any, Any] | Deferred[Any]) -> Exception:
        """What it fails with."""
        try:
            found = self.wait(awaited)
        except Exception as error:
            return error
        raise AssertionError(f"found {found!r}, expected a failure")

    def all(self, *awaited: Awaitable[T]) -> list[Any]:
        """What all of them come to, results and exceptions, begun at once."""
        found = [Deferred.fromCoroutine(_awaited(each)) for each in awaited]
        return [self._outcome(each) for each in found]

    def _outcome(self, deferred: Deferred[Any]) -> Any:
        try:
            return self.wait(deferred)
        except Exception as error:
            return error

    def end(self) -> None:
        self.reactor.fireSystemEvent("shutdown")
        self.reactor.runUntilCurrent()


async def _awaited(awaitable: Awaitable[T]) -> T:
    return await awaitable
