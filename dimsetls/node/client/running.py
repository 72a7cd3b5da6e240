"""One coroutine in the reactor of this process, from its start to its end."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

from twisted.internet.defer import Deferred
from twisted.python.failure import Failure

_Result = TypeVar("_Result")


def run(operation: Callable[[], Coroutine[Any, Any, _Result]]) -> _Result:
    """Run it, once in the life of a process: a reactor does not start again.

    Raises what it raises, which is CancelledError after SIGINT or SIGTERM: these cancel it.
    """
    from twisted.internet import reactor

    outcome: list[_Result | Failure] = []
    running: list[Deferred[Any]] = []
    is_stopping = False

    def start() -> None:
        deferred = Deferred.fromCoroutine(operation())
        running.append(deferred)
        deferred.addBoth(end)

    def end(result: _Result | Failure) -> None:
        outcome.append(result)
        if not is_stopping:
            reactor.stop()

    def cancel() -> None:
        nonlocal is_stopping
        is_stopping = True
        for deferred in running:
            deferred.cancel()

    reactor.addSystemEventTrigger("before", "shutdown", cancel)
    reactor.callWhenRunning(start)
    reactor.run()
    (result,) = outcome
    if isinstance(result, Failure):
        result.raiseException()
    return result
