"""One coroutine in the reactor of this process, from its start to its end; and the association that it begins with."""

from __future__ import annotations

import gc
from collections.abc import AsyncIterator, Callable, Coroutine, Iterable
from contextlib import asynccontextmanager
from signal import SIGINT, SIGTERM, signal
from typing import TYPE_CHECKING, Any, TypeVar, cast

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorFromThreads
from twisted.internet.task import deferLater
from twisted.internet.tcp import Connection
from twisted.python.failure import Failure

from ...errors import (
    AssociationError,
    AssociationRejected,
    DimsetlsError,
    IdentityError,
    LocalProtocolError,
    OperationFailed,
)

if TYPE_CHECKING:
    from ...association import RequestedAssociation
    from ...ul.pdus import RoleSelection
    from .target import Target

_Result = TypeVar("_Result")
_PATIENCE = 2.0  # seconds for an end in order after an interruption


class NoAssociation(DimsetlsError):
    """There is no association with the peer: it was not reached, or did not accept one."""


@asynccontextmanager
async def calling(
    target: Target, contexts: Iterable[tuple[str, tuple[str, ...]]], role_selections: tuple[RoleSelection, ...] = ()
) -> AsyncIterator[RequestedAssociation]:
    """An association with the peer, for ``async with``. Raises `NoAssociation` where there can be none.

    It is released in order after a failure that leaves it as it is, and aborted after any other.
    """
    try:
        opened = await target.open(contexts, role_selections)
    except (AssociationError, IdentityError) as error:
        is_no_reason = isinstance(error, AssociationRejected) and (error.source, error.reason) == (2, 1)
        hint = "; a user identity that is missing or not accepted is answered so" if is_no_reason else ""
        raise NoAssociation(f"{error}{hint}") from error
    failure: DimsetlsError | None = None
    async with opened as association:
        try:
            yield association
        except (OperationFailed, LocalProtocolError) as error:
            failure = error
    if failure is not None:
        raise failure


def run(operation: Callable[[], Coroutine[Any, Any, _Result]]) -> _Result:
    """Run it, once in the life of a process: a reactor does not start again.

    Raises what it raises, which is CancelledError after SIGINT or SIGTERM: these cancel it.
    """
    from twisted.internet import reactor

    outcome: list[_Result | Failure] = []
    running: list[Deferred[None]] = []

    def start() -> None:
        ended = Deferred.fromCoroutine(operation()).addBoth(outcome.append)
        running.append(ended.addBoth(lambda _: Deferred.fromCoroutine(_quiet())))
        running[0].addBoth(lambda _: reactor.callLater(0, reactor.stop))

    def cancel() -> None:
        running[0].cancel()
        reactor.callLater(_PATIENCE, running[0].cancel)

    def interrupt(number: int, frame: object) -> None:
        IReactorFromThreads(reactor).callFromThread(cancel)

    # Not those of the reactor, which ends at the first and complains of the second. With us the second ends what is
    # done to end in order, such as waiting for the answer to a release.
    for number in (SIGINT, SIGTERM):
        signal(number, interrupt)
    reactor.callWhenRunning(start)
    gc.freeze()  # what was loaded and gathered stays: looking through it again and again took 5 % of a long transfer
    cast(Any, reactor).run(installSignalHandlers=False)
    (result,) = outcome
    if isinstance(result, Failure):
        result.raiseException()
    return result


async def _quiet() -> None:
    """Until no connection is open, or for a second: an A-ABORT that is on its way has to arrive."""
    from twisted.internet import reactor

    for _ in range(100):
        if not any(isinstance(each, Connection) for each in reactor.getReaders()):
            return
        await deferLater(reactor, 0.01)
