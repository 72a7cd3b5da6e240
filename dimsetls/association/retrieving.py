"""The C-STORE sub-operations of a C-GET or C-MOVE: counted, paced by the window, reported, cancelled (PS3.4 C.4.2)."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator, Sequence
from typing import TYPE_CHECKING, cast

from twisted.internet.defer import Deferred, DeferredList
from twisted.logger import Logger
from twisted.python.failure import Failure

from ..dimse.messages import ResponseMessage
from ..dimse.status import Status, StatusClass, status_class
from ..errors import InstanceError, LocalProtocolError, OperationFailed, ServiceError
from .instances import Instance
from .outcomes import Outcome

if TYPE_CHECKING:
    from pydicom.dataset import Dataset

log = Logger(namespace="dimsetls.association")

MOST = 0xFFFF
"""Sub-operations of one operation: their numbers have 16 bits."""
AT_ONCE = 8
"""Sub-operations outstanding where the window is not bounded."""

Store = Callable[[Instance], Awaitable[ResponseMessage]]
Report = Callable[[], Awaitable[None]]


class SubOperations:
    """The sub-operations of one operation, and how far they are."""

    def __init__(self, association: str, instances: Sequence[Instance]) -> None:
        if len(instances) > MOST:
            sentence = f"{len(instances)} instances match; {MOST} can be counted"
            raise ServiceError(Status.UNABLE_TO_COUNT_MATCHES, sentence)
        self._association = association
        self.instances = instances
        self._remaining = dict(enumerate(instances))
        self.completed = self.failed = self.warning = 0
        self._failed_uids: list[str] = []

    async def perform(self, store: Store, window: int, is_stopped: Callable[[], bool], report: Report) -> None:
        """Store one instance after the other, as many at once as the window allows, until done or stopped."""
        waiting = iter(enumerate(self.instances))
        workers = min(window or AT_ONCE, AT_ONCE, len(self.instances))
        running = [Deferred.fromCoroutine(self._work(waiting, store, is_stopped, report)) for _ in range(workers)]
        try:
            results = await DeferredList(running, consumeErrors=True)
        finally:
            for deferred in running:
                deferred.cancel()
        for is_good, failure in results:
            if not is_good:
                cast(Failure, failure).raiseException()

    async def _work(
        self, waiting: Iterator[tuple[int, Instance]], store: Store, is_stopped: Callable[[], bool], report: Report
    ) -> None:
        for number, instance in waiting:
            if is_stopped():
                return
            await self._store(instance, store)
            del self._remaining[number]
            if self.remaining and not is_stopped():
                await report()
            if is_stopped():
                return

    async def _store(self, instance: Instance, store: Store) -> None:
        try:
            response = await store(instance)
        except (OperationFailed, InstanceError, LocalProtocolError, OSError) as error:
            self._fail(instance, error)
        else:
            if status_class(response.status) is StatusClass.WARNING:
                self.warning += 1
            else:
                self.completed += 1

    def _fail(self, instance: Instance, error: Exception) -> None:
        self.failed += 1
        self._failed_uids.append(instance.sop_instance_uid)
        log.warn("[{association}] a sub-operation failed: {sentence}", association=self._association,
                 sentence=str(error))  # fmt: skip

    def fail_rest(self) -> None:
        """What remains has failed."""
        self._failed_uids += [instance.sop_instance_uid for instance in self._remaining.values()]
        self.failed += self.remaining
        self._remaining.clear()

    @property
    def remaining(self) -> int:
        return len(self._remaining)

    @property
    def numbers(self) -> dict[str, int]:
        """For a pending response, which has all four (PS3.7 §9.1.3.1)."""
        return {
            "number_of_remaining_suboperations": self.remaining,
            "number_of_completed_suboperations": self.completed,
            "number_of_failed_suboperations": self.failed,
            "number_of_warning_suboperations": self.warning,
        }

    def outcome(self, is_cancelled: bool, comment: str = "") -> Outcome:
        """The end of the operation: what its final response says (PS3.4 C.4.2.3.1, C.4.3.3.1)."""
        elements = self.numbers
        if is_cancelled:
            status = Status.CANCEL
        else:
            del elements["number_of_remaining_suboperations"]  # of the final ones only a cancel has it
            if self.failed and not (self.completed or self.warning):
                status = Status.UNABLE_TO_PERFORM_SUBOPERATIONS
            elif self.failed or self.warning:
                status = Status.SUBOPERATIONS_COMPLETE_WITH_FAILURES
            else:
                status = Status.SUCCESS
        return Outcome(status, comment, (), self._failed_list() if self._failed_uids else None, elements)

    def _failed_list(self) -> Dataset:
        from pydicom.dataset import Dataset

        dataset = Dataset()
        dataset.FailedSOPInstanceUIDList = self._failed_uids
        return dataset
