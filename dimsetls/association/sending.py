"""Many instances on their way to one peer: over several associations at once, and what became of each."""

from __future__ import annotations

from collections import deque
from collections.abc import AsyncIterable, Callable, Coroutine, Iterable
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from twisted.internet.defer import CancelledError, Deferred, DeferredList, FirstError
from twisted.python.failure import Failure

from ..codes import RejectResult
from ..dimse.messages import CStoreRSP
from ..errors import (
    AssociationError,
    AssociationPostponed,
    AssociationRejected,
    AssociationRetired,
    DimsetlsError,
    IdentityDenied,
    IdentityNotVerified,
    IdentityUnavailable,
    InstanceError,
    LocalProtocolError,
    OperationFailed,
)
from .instances import Instance, propose_for
from .requested import RequestedAssociation
from .timers import Clock

if TYPE_CHECKING:
    from .instances import Sendable

Contexts = tuple[tuple[str, tuple[str, ...]], ...]
Open = Callable[[Contexts], AbstractAsyncContextManager[RequestedAssociation]]

AHEAD = 64
"""Instances that are looked at before their turn, for the contexts that they need; as many results may wait."""
AT_ONCE = 8
"""Operations outstanding on one association where the window is not bounded."""


@dataclass(frozen=True, slots=True)
class Stored:
    """What became of one of many instances: it is stored, perhaps with a warning, unless there is an `error`.

    `number` is its place in what was given, from 0, and `what` the thing itself. The error is an `OperationFailed`
    where the peer answered a failure, an `InstanceError` where it cannot be sent, or what ended the association.
    """

    number: int
    what: Sendable = field(repr=False)
    instance: Instance | None
    response: CStoreRSP | None = None
    error: DimsetlsError | OSError | None = None


@dataclass(frozen=True, slots=True)
class _Item:
    number: int
    what: Sendable
    instance: Instance

    @property
    def context(self) -> tuple[str, tuple[str, ...]]:
        return self.instance.sop_class_uid, (self.instance.transfer_syntax,)


class Sending:
    """Instances on their way, see `AssociationPool.store`; iterate over what becomes of them.

    As a context manager it ends at its end: what is under way then is broken off, and the rest is not sent.
    """

    def __init__(
        self,
        open_association: Open,
        instances: Iterable[Sendable] | AsyncIterable[Sendable],
        clock: Clock,
        ended: Callable[[Sending], object],
        *,
        associations: int,
        most_contexts: int,
        convert: bool,
        priority: int,
        attempts: int,
        sent: Callable[[int], object] | None,
    ) -> None:
        self._open_association = open_association
        self._source = instances
        self._clock = clock
        self._ended = ended
        self._associations = associations
        self._most_contexts = most_contexts
        self._convert = convert
        self._priority = priority
        self._attempts = attempts
        self._sent = sent
        self._ahead: deque[_Item] = deque()
        self._is_drained = False
        """Whether nothing more comes from the source."""
        self._contexts: Contexts = ()
        self._results: deque[Stored] = deque()
        self._running: list[Deferred[None]] | None = None
        """Whoever takes from the source, and one for each association; None: nothing was asked for yet."""
        self._left = 0
        self._error: BaseException | None = None
        self._tried = self._opened = 0
        """Associations that there are or may be, and those that there are."""
        self._waiting: list[tuple[Callable[[], bool], Deferred[None]]] = []

    # For whoever reads the results ---------------------------------------------------------------------------------

    def __aiter__(self) -> Sending:
        return self

    async def __anext__(self) -> Stored:
        if self._running is None:
            self._start()
        try:
            await self._until(lambda: bool(self._results) or not self._left)
        except CancelledError as error:
            self.cancel(error)
            raise
        if self._results:
            result = self._results.popleft()
            self._wake()
            return result
        if self._error is not None:
            raise self._error
        raise StopAsyncIteration

    async def __aenter__(self) -> Sending:
        return self

    async def __aexit__(self, kind: type[BaseException] | None, error: object, traceback: object) -> None:
        self.cancel(LocalProtocolError("the sending was ended"))

    def cancel(self, error: BaseException) -> None:
        """Break off what is under way, and send no more; `error` is raised to whoever reads on."""
        self._ended(self)
        if self._error is None and (self._left or self._running is None):
            self._error = error
        self._running = self._running or []
        for running in list(self._running):
            running.cancel()
        self._wake()

    # Its parts -----------------------------------------------------------------------------------------------------

    def _start(self) -> None:
        self._running, self._left = [], self._associations + 1
        for part in (self._take_ahead(), *(self._lane() for _ in range(self._associations))):
            running = Deferred.fromCoroutine(part)
            self._running.append(running)
            running.addBoth(self._over)

    def _over(self, result: Failure | None) -> None:
        """One of the parts is over. What it raises ends all of them."""
        self._left -= 1
        if isinstance(result, Failure):
            if self._error is None:
                self._error = result.value
            for running in self._running or ():
                running.cancel()
        if not self._left:
            self._ended(self)
        self._wake()

    async def _take_ahead(self) -> None:
        """Keep some instances ahead of their turn."""
        number = 0
        try:
            if isinstance(self._source, AsyncIterable):
                async for what in self._source:
                    await self._look_at(number, what)
                    number += 1
            else:
                for what in self._source:
                    await self._look_at(number, what)
                    number += 1
        except Exception as error:  # whatever the source raises: raised again, after what came before is sent
            self._error = self._error or error  # not the cancellation by what ended it all
        finally:
            self._is_drained = True
            self._wake()

    async def _look_at(self, number: int, what: Sendable) -> None:
        if len(self._ahead) >= AHEAD:
            await self._until(lambda: len(self._ahead) <= AHEAD // 2)  # not for each, which costs as much as a C-STORE
        try:
            instance = Instance.of(what, convert=self._convert)
        except InstanceError as error:
            await self._report(Stored(number, what, None, error=error))
        else:
            self._ahead.append(_Item(number, what, instance))
            self._wake()

    async def _lane(self) -> None:
        """One association after the other, as long as there is something to send and anybody who takes it."""
        failures = 0  # in a row
        while contexts := await self._needed():
            try:
                await self._use_one(contexts)
                failures = 0
            except AssociationPostponed as error:
                await self._pause(error.seconds)
            except (AssociationError, IdentityDenied, IdentityUnavailable) as error:
                failures += 1
                is_permanent = _is_permanent(error)
                if self._opened or (is_permanent and self._tried):
                    if is_permanent or failures >= self._attempts:
                        return  # the others have what we shall not: the peer takes only so many
                elif is_permanent or failures >= self._attempts:
                    raise

    async def _needed(self) -> Contexts:
        """The contexts in which the next instances can be sent; none: there are no more."""
        await self._until(lambda: bool(self._ahead) or self._is_drained)
        if self._ahead and self._ahead[0].context not in self._contexts:
            # With those of before, as far as there is room: where kinds alternate, each is proposed only once.
            now = propose_for(item.instance for item in self._ahead)
            before = tuple(context for context in self._contexts if context not in now)
            self._contexts = (*now, *before)[: self._most_contexts]
        return self._contexts if self._ahead else ()

    async def _use_one(self, contexts: Contexts) -> None:
        """Send what can be sent over one association. Raises what ended it where nothing was answered."""
        self._tried += 1
        try:
            async with self._open_association(contexts) as association:
                self._opened += 1
                try:
                    senders = min(association.window or AT_ONCE, AT_ONCE)
                    answered = sum(await _all(self._send(association, contexts) for _ in range(senders)))
                finally:
                    self._opened -= 1
                ended = association.ended
        finally:
            self._tried -= 1
        if isinstance(ended, AssociationError) and not isinstance(ended, AssociationRetired) and not answered:
            raise ended

    async def _send(self, association: RequestedAssociation, contexts: Contexts) -> int:
        """One instance after the other, as one of as many as the window allows; how many were answered."""
        answered = 0
        while self._ahead and self._ahead[0].context in contexts and association.ended is None:
            item = self._ahead.popleft()
            self._wake()
            response: CStoreRSP | None = None
            error: DimsetlsError | OSError | None = None
            try:
                response = await association.store(item.instance, priority=self._priority, sent=self._sent)
            except AssociationRetired:  # nothing of it was sent
                self._ahead.appendleft(item)
                break
            except (DimsetlsError, OSError) as caught:
                error = caught
            if response is not None or isinstance(error, OperationFailed):
                answered += 1
            await self._report(Stored(item.number, item.what, item.instance, response, error))
        return answered

    async def _report(self, result: Stored) -> None:
        await self._until(lambda: len(self._results) < AHEAD)
        self._results.append(result)
        self._wake()

    async def _pause(self, seconds: float) -> None:
        """Wait, unless the others are done before."""
        over = self._clock.callLater(seconds, self._wake)
        try:
            await self._until(lambda: not over.active() or (self._is_drained and not self._ahead))
        finally:
            if over.active():
                over.cancel()

    # Waiting -------------------------------------------------------------------------------------------------------

    async def _until(self, is_so: Callable[[], bool]) -> None:
        while not is_so():
            waiting: Deferred[None] = Deferred()
            self._waiting.append((is_so, waiting))
            await waiting

    def _wake(self) -> None:
        """Something has changed: let those go on for whom it is so now."""
        ready = [each for each in self._waiting if each[0]()]
        if ready:
            self._waiting = [each for each in self._waiting if each not in ready]
            for _, waiting in ready:
                waiting.callback(None)


async def _all(coroutines: Iterable[Coroutine[Any, Any, int]]) -> list[int]:
    """Run them together; when one fails or this is cancelled, all end."""
    running = [Deferred.fromCoroutine(coroutine) for coroutine in coroutines]
    try:
        return [result for _, result in await DeferredList(running, fireOnOneErrback=True, consumeErrors=True)]
    except FirstError as error:
        error.subFailure.raiseException()
    finally:
        for deferred in running:
            deferred.cancel()


def _is_permanent(error: DimsetlsError) -> bool:
    """Whether the peer will answer the same to another try."""
    if isinstance(error, AssociationRejected):
        return error.result == RejectResult.REJECTED_PERMANENT
    return isinstance(error, IdentityDenied | IdentityNotVerified)
