"""Coroutines run on the spot as far as they go: a Deferred is made only for one that has to wait."""

from __future__ import annotations

from collections.abc import Coroutine, Generator
from contextvars import copy_context
from types import coroutine
from typing import Any, TypeVar

from twisted.internet.defer import Deferred

_T = TypeVar("_T")


def start(begun: Coroutine[Deferred[Any], Any, _T]) -> _T | Deferred[_T]:
    """What the coroutine returns, if it waits for nothing; else a Deferred, as `Deferred.fromCoroutine` makes it.

    What it raises before it waits is raised. It has a context of its own (contextvars), as it has with Twisted.
    """
    context = copy_context()
    try:
        awaited = context.run(begun.send, None)
    except StopIteration as end:
        result: _T = end.value
        return result
    return context.run(Deferred.fromCoroutine, _rest(begun, awaited))


@coroutine
def _rest(begun: Coroutine[Deferred[Any], Any, _T], awaited: Deferred[Any]) -> Generator[Any, Any, _T]:
    """The coroutine from where it waits."""
    try:
        while True:
            try:
                result = yield awaited
            except GeneratorExit:
                raise  # nobody knows of us any more, nor of the coroutine: it closes by itself
            except BaseException as error:
                awaited = begun.throw(error)
            else:
                awaited = begun.send(result)
    except StopIteration as end:
        returned: _T = end.value
        return returned
