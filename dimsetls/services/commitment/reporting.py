"""Reports of storage commitment: each goes out on the association of its request, or on one of our own, until heard."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable, Container, Coroutine, Sequence
from contextlib import AbstractAsyncContextManager
from typing import Any, Final, Protocol, TypeAlias, TypeVar

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IDelayedCall
from twisted.logger import Logger

from ...association.back_off import BackOff
from ...association.requested import RequestedAssociation
from ...association.requestor import propose
from ...association.requests import RequestingAssociation
from ...association.timers import Clock
from ...dimse.status import FailureReason
from ...errors import AssociationError, DimsetlsError, OperationFailed
from ...uids import STORAGE_COMMITMENT, STORAGE_COMMITMENT_INSTANCE
from ...ul.pdus import RoleSelection
from .holdings import Judge
from .references import Reference, Report, write_report
from .transactions import Promise, Transactions

log = Logger(namespace="dimsetls.commitment")

T = TypeVar("T")

_CHUNK: Final = 500  # references that are judged at once
_AS_SCP: Final = (RoleSelection(STORAGE_COMMITMENT, scu_role=False, scp_role=True),)


class Run(Protocol):
    """Calls something that waits for the disk, in a thread."""

    def __call__(self, call: Callable[[], T], /) -> Awaitable[T]: ...


class Opening(Protocol):
    """Opens an association with a peer for ``async with``, as `AssociationPool.association` does."""

    def __call__(
        self, contexts: Sequence[tuple[str, tuple[str, ...]]], *, role_selections: tuple[RoleSelection, ...]
    ) -> AbstractAsyncContextManager[RequestedAssociation]: ...


Reach: TypeAlias = Callable[[str], Opening | None]
"""From the AE title of a peer to what opens an association with it; None: it is not known how."""


class Reports:
    """Keeps promises: tells who asked what became of it, first on the association of the request if that stands.

    Otherwise, and where that fails, an association is opened with the peer, in which we ask for the role of SCP. A peer
    that fails is left alone for a while, longer each time (`back_off`). After `keep_for` seconds a promise is given up,
    and logged as an error. `judge` says what is kept, when a report is made and not before. Where several processes
    serve one application entity, `claims` are made among all, and all but one `hand_over` to that the peers to call.
    """

    def __init__(
        self,
        transactions: Transactions,
        judge: Judge,
        ae_title: str,
        *,
        run: Run,
        clock: Clock,
        reach: Reach = lambda ae_title: None,
        keep_for: float = 86400.0,
        back_off: BackOff = BackOff(5.0, 900.0),  # noqa: B008 - it is frozen
        now: Callable[[], float] = time.time,
        claims: Claims | None = None,
        hand_over: Callable[[str], None] | None = None,
    ) -> None:
        self._transactions = transactions
        self._judge = judge
        self.ae_title = ae_title
        self._run = run
        self._clock = clock
        self._reach = reach
        self._keep_for = keep_for
        self._back_off = back_off
        self._now = now
        self._lines: dict[str, _Line] = {}
        self._claims = claims or OwnClaims()
        self._hand_over = hand_over
        self._tasks: set[Deferred[None]] = set()
        self._is_stopped = False

    def start(self) -> None:
        """Report what was promised before, perhaps by a process that was killed."""
        if self._hand_over is None:
            self._begin(self._resume())

    def call(self, peer: str) -> None:
        """Another process could not report to the peer on the association of its request."""
        self._wake(peer)

    def configure(self, reach: Reach, keep_for: float) -> None:
        """Go on with these; peers that failed are tried again at once."""
        self._reach, self._keep_for = reach, keep_for
        for peer in list(self._lines):
            self._wake(peer)

    def stop(self) -> None:
        """Report nothing more; what is promised stays written down for the next start."""
        self._is_stopped = True
        for line in self._lines.values():
            line.stop_waiting()
        for task in list(self._tasks):
            task.cancel()

    async def promise(
        self, association: RequestingAssociation, read: Callable[[], tuple[str, list[Reference]]]
    ) -> None:
        """Write down what `read` finds in a request; its report goes out once the request has been answered.

        The same request again, while it waits, is the same promise. Raises what `read` does, and sqlite3.Error.
        """
        peer, since = association.parties.calling_ae_title, self._now()
        promise = await self._run(lambda: self._transactions.add(self.ae_title, peer, *read(), since))
        if promise is not None:
            # The caller answers in this turn of the reactor, so the report comes after the answer.
            self._clock.callLater(0, self._answered, promise, association)

    # On the association of the request ------------------------------------------------------------------------------

    def _answered(self, promise: Promise, association: RequestingAssociation) -> None:
        if not self._is_stopped:
            self._begin(self._report_there(promise, association))

    async def _report_there(self, promise: Promise, association: RequestingAssociation) -> None:
        if association.ended is None:
            try:
                return await self._report(promise, association)
            except DimsetlsError as error:
                log.info(
                    "[{association}] could not report to {peer} on its own association: {sentence}",
                    association=association.parties.association, peer=promise.peer, sentence=str(error),
                )  # fmt: skip
        self._wake(promise.peer)
        return None

    # On an association of ours --------------------------------------------------------------------------------------

    async def _resume(self) -> None:
        pending = await self._run(lambda: self._transactions.pending(self.ae_title))
        for peer in dict.fromkeys(promise.peer for promise in pending):
            self._wake(peer)

    def _wake(self, peer: str) -> None:
        """Call the peer now, or again once the present call is over; or have it called by who calls."""
        if self._hand_over is not None:
            if not self._is_stopped:
                self._hand_over(peer)
            return
        line = self._lines.setdefault(peer, _Line())
        line.stop_waiting()
        if line.is_calling:
            line.is_wanted = True
        elif not self._is_stopped:
            line.is_calling = True
            self._begin(self._serve(peer, line))

    async def _serve(self, peer: str, line: _Line) -> None:
        line.is_wanted = False
        try:
            await self._call(peer)
            line.failures = 0
        except Exception as error:  # the judge's are anything, and what was promised is not lost by it
            if self._is_stopped:
                return
            line.failures += 1
            delay = self._back_off.delay(line.failures)
            line.waiting = self._clock.callLater(delay, self._wake, peer)
            if not isinstance(error, DimsetlsError):
                log.failure("a report of storage commitment to {peer} failed", peer=peer)
            log.warn(
                "{peer} has not heard what became of its storage commitment, and is called again in {delay:g} s: "
                "{sentence}", peer=peer, delay=delay, sentence=str(error) or type(error).__name__,
            )  # fmt: skip
        finally:
            line.is_calling = False
        if line.is_wanted:
            self._wake(peer)
        elif not line.failures:
            del self._lines[peer]

    async def _call(self, peer: str) -> None:
        """Report all that a peer waits for, on one association. Raises what prevented it."""
        due = [promise for promise in await self._pending(peer) if promise.number not in self._claims.ours]
        if not due:
            return
        opening = self._reach(peer)
        if opening is None:
            raise AssociationError(f"nobody knows how {peer} is reached; give its [peer] section a host")
        refusal: OperationFailed | None = None
        async with opening([propose(STORAGE_COMMITMENT)], role_selections=_AS_SCP) as association:
            for promise in due:
                try:
                    await self._report(promise, association)
                except OperationFailed as error:  # of this one; the next may be taken
                    refusal = error
        if refusal is not None:
            raise refusal

    async def _pending(self, peer: str) -> list[Promise]:
        pending = []
        for promise in await self._run(lambda: self._transactions.pending(self.ae_title, peer)):
            if self._now() - promise.since < self._keep_for:
                pending.append(promise)
                continue
            await self._forget(promise)
            log.error(
                "gave up: {peer} could not be told within {hours:g} h what became of its storage commitment "
                "{transaction}", peer=peer, hours=self._keep_for / 3600, transaction=promise.transaction_uid,
            )  # fmt: skip
        return pending

    # On any ----------------------------------------------------------------------------------------------------------

    async def _report(self, promise: Promise, association: RequestingAssociation) -> None:
        taken = self._claims.take(promise.number)
        if not (await taken if isinstance(taken, Deferred) else taken):
            return  # it is being reported
        try:
            syntax = association.context(STORAGE_COMMITMENT, as_scp=True).transfer_syntax
            report = await self._judged(promise, await self._run(lambda: self._transactions.references(promise.number)))
            if report is None:
                return
            data, event = await self._run(lambda: write_report(report, syntax)), report.event_type_id
            await association.n_event_report(STORAGE_COMMITMENT, STORAGE_COMMITMENT_INSTANCE, event, data)
            await self._forget(promise)
        finally:
            self._claims.give_back(promise.number)
        log.info(
            "[{association}] told {peer} of its storage commitment {transaction}: {committed} committed, {failed} not",
            association=association.parties.association, peer=promise.peer, transaction=promise.transaction_uid,
            committed=len(report.committed), failed=len(report.failed),
        )  # fmt: skip

    async def _judged(self, promise: Promise, references: Sequence[Reference]) -> Report | None:
        """What there is to report; nothing, where it was reported a moment ago."""
        if not references:
            return None
        if promise.is_duplicate:
            failed = dict.fromkeys(references, int(FailureReason.DUPLICATE_TRANSACTION_UID))
            return Report(promise.transaction_uid, (), failed)
        committed: list[Reference] = []
        failed = {}
        for at in range(0, len(references), _CHUNK):
            chunk = references[at:at + _CHUNK]
            for reference, reason in zip(chunk, await self._judge(chunk), strict=True):
                if reason is None:
                    committed.append(reference)
                else:
                    failed[reference] = int(reason)
        return Report(promise.transaction_uid, tuple(committed), failed, self.ae_title if committed else "")

    async def _forget(self, promise: Promise) -> None:
        await self._run(lambda: self._transactions.forget(promise.number))

    def _begin(self, task: Coroutine[Deferred[Any], Any, None]) -> None:
        """Let it run; what it raises, where that is foreseen by nobody, is logged."""
        running = Deferred.fromCoroutine(task)
        self._tasks.add(running)
        running.addErrback(self._failed).addBoth(lambda _: self._tasks.discard(running))

    def _failed(self, failure: Any) -> None:
        if not self._is_stopped:
            log.failure("reports of storage commitment stand still until the next one", failure)


class Claims(Protocol):
    """Who reports what, so that nothing is reported twice at once: in this process, or among several."""

    @property
    def ours(self) -> Container[int]:
        """What this process is reporting."""

    def take(self, number: int) -> bool | Deferred[bool]:
        """Whether this promise is ours to report now. The Deferred fails with AssociationError."""

    def give_back(self, number: int) -> None:
        """It is reported, or could not be."""


class OwnClaims:
    """The claims of one process."""

    def __init__(self) -> None:
        self.ours: set[int] = set()

    def take(self, number: int) -> bool:
        if number in self.ours:
            return False
        self.ours.add(number)
        return True

    def give_back(self, number: int) -> None:
        self.ours.discard(number)


class _Line:
    """The way to one peer: at most one call at a time."""

    __slots__ = ("failures", "is_calling", "is_wanted", "waiting")

    def __init__(self) -> None:
        self.failures = 0
        self.is_calling = self.is_wanted = False
        self.waiting: IDelayedCall | None = None

    def stop_waiting(self) -> None:
        waiting, self.waiting = self.waiting, None
        if waiting is not None and waiting.active():
            waiting.cancel()
