"""From what a handler answers to what is sent: matches one by one, sub-operations, the end of the operation."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable
from typing import TYPE_CHECKING, Any, TypeAlias

from twisted.internet.defer import CancelledError, Deferred
from twisted.logger import Logger

from ..dimse.command import CommandSet, Element, write_command
from ..dimse.messages import CFindRQ, CGetRQ, CMoveRQ, CStoreRSP
from ..dimse.reading import Request as RequestMessage
from ..dimse.status import Status, StatusClass, status_class
from ..errors import AssociationError, ConfigurationError, DimsetlsError, IdentityError, ServiceError
from ..ul.negotiation import AcceptedContext
from .datasets import encode
from .instances import Instance, propose_for
from .outbox import Outbox
from .outcomes import Move, Outcome
from .requests import (
    ActionRequest,
    CreateRequest,
    DeleteRequest,
    EventReportRequest,
    FindRequest,
    GetAttributesRequest,
    GetRequest,
    MoveRequest,
    NormalizedRequest,
    SetAttributesRequest,
)
from .retrieving import SubOperations
from .running import start
from .stream import DataSetStream

if TYPE_CHECKING:
    from .session import Association

log = Logger(namespace="dimsetls.association")

_DONE = (StatusClass.SUCCESS, StatusClass.WARNING)
_END = object()


Answered: TypeAlias = (
    FindRequest | GetRequest | MoveRequest | EventReportRequest | GetAttributesRequest | SetAttributesRequest
    | ActionRequest | CreateRequest | DeleteRequest
)  # fmt: skip
"""Requests that are answered by more than a status."""


class Operation:
    """One operation that the peer invoked and that is not answered yet."""

    __slots__ = ("command", "context", "has_data_set", "is_cancelled", "is_stopped", "message", "message_id",
                 "step", "stream")  # fmt: skip

    def __init__(
        self, message_id: int, context: AcceptedContext, command: CommandSet, stream: DataSetStream, has_data_set: bool
    ) -> None:
        self.message_id = message_id
        self.context = context
        self.command = command
        self.stream = stream
        self.has_data_set = has_data_set
        self.message: RequestMessage | None = None
        self.is_cancelled = self.is_stopped = False
        self.step: Deferred[Any] | None = None
        """What the handler does just now, where it can be stopped."""

    def cancel(self) -> None:
        """C-CANCEL: for the operations that have one, and ignored for others."""
        if isinstance(self.message, CFindRQ | CGetRQ | CMoveRQ):
            self.is_cancelled = True
            self.stop()

    def stop(self) -> None:
        self.is_stopped = True
        if self.step is not None:
            self.step.cancel()


class Answering:
    """Sends what comes before the final response of an operation, and says what that is to be."""

    def __init__(self, association: Association, outbox: Outbox) -> None:
        self._association = association
        self._outbox = outbox

    async def outcome(self, operation: Operation, request: Answered, result: Any) -> Outcome:
        """The end of the operation, once everything before it was sent. `result` is what the handler returned."""
        match request:
            case FindRequest():
                return await self._find(operation, result)
            case GetRequest():
                return await self._get(operation, request, result)
            case MoveRequest():
                return await self._move(operation, request, result)
            case NormalizedRequest():
                status, dataset = result if isinstance(result, tuple) else (result, None)
                given = {}
                if isinstance(request, CreateRequest) and status_class(status) in _DONE:
                    given["affected_sop_instance_uid"] = request.sop_instance_uid
                return Outcome(status, dataset=dataset, elements=given)

    async def _steps(self, operation: Operation, handler: AsyncIterator[Any]) -> AsyncGenerator[Any, None]:
        """What a handler yields, until it ends or is stopped; then it is closed, wherever it stands."""

        async def step() -> Any:
            return await anext(handler, _END)

        try:
            while not operation.is_stopped:
                result = start(step())
                if isinstance(result, Deferred):
                    operation.step = result
                    try:
                        result = await result
                    except CancelledError:
                        if operation.is_stopped:
                            return
                        raise
                    finally:
                        operation.step = None
                if result is _END or operation.is_stopped:
                    return
                yield result
        finally:
            if hasattr(handler, "aclose"):
                await handler.aclose()

    async def _find(self, operation: Operation, matches: AsyncIterator[Any]) -> Outcome:
        context, message = operation.context, operation.message
        assert message is not None
        commands: dict[int, bytes] = {}  # of pending responses, by status: the same for each match
        steps = self._steps(operation, matches)
        try:
            async for match in steps:
                status, dataset = match if isinstance(match, tuple) else (Status.PENDING, match)
                if status_class(status) is not StatusClass.PENDING:
                    raise TypeError(f"a match came with status {status:04X}H, expected FF00H or FF01H")
                data = encode(dataset, context.transfer_syntax)
                await self._data_set_over(operation)
                if status not in commands:
                    commands[status] = write_command(message.RESPONSE.to(message, status).command(True))
                await self._outbox.send(context.context_id, commands[status], data, is_paced=True)
        finally:
            await steps.aclose()
        return Outcome(Status.CANCEL if operation.is_cancelled else Status.SUCCESS)

    async def _collect(self, operation: Operation, instances: AsyncIterator[Instance]) -> SubOperations:
        steps = self._steps(operation, instances)
        try:
            found = [instance async for instance in steps]
        finally:
            await steps.aclose()
        await self._data_set_over(operation)
        return SubOperations(self._association.parties.association, found)

    async def _data_set_over(self, operation: Operation) -> None:
        """No response but a failure goes out before the request is complete (PS3.7 §9.3.1.3)."""
        operation.stream.discard()
        await operation.stream.wait_until_ended()

    def _reporter(self, operation: Operation, work: SubOperations) -> Callable[[], Awaitable[None]]:
        message, context_id = operation.message, operation.context.context_id
        assert message is not None

        async def report() -> None:
            pending = write_command(message.RESPONSE.to(message, Status.PENDING, **work.numbers).command(False))
            await self._outbox.send(context_id, pending, is_paced=True)

        return report

    async def _get(self, operation: Operation, request: GetRequest, instances: AsyncIterator[Instance]) -> Outcome:
        work = await self._collect(operation, instances)
        association, priority = self._association, request.message.priority

        async def store(instance: Instance) -> CStoreRSP:
            return await association.store(instance, priority=priority)

        report = self._reporter(operation, work)
        await work.perform(store, association.window, lambda: operation.is_stopped, report)
        return work.outcome(operation.is_cancelled)

    async def _move(self, operation: Operation, request: MoveRequest, move: Move) -> Outcome:
        if move.open_destination is None:
            sentence = f"move destination {request.move_destination} is not known here"
            raise ServiceError(Status.MOVE_DESTINATION_UNKNOWN, sentence, (Element.MOVE_DESTINATION,))
        work = await self._collect(operation, move.instances)
        if not work.remaining or operation.is_stopped:
            return work.outcome(operation.is_cancelled)
        originator = self._association.parties.calling_ae_title, request.message.message_id
        priority = request.message.priority
        report = self._reporter(operation, work)
        comment = "the move destination cannot be reached"
        try:
            async with move.open_destination(propose_for(work.instances)) as destination:
                comment = "the association with the move destination ended"

                async def store(instance: Instance) -> CStoreRSP:
                    return await destination.store(instance, priority=priority, originator=originator)

                await work.perform(store, destination.window, lambda: operation.is_stopped, report)
        except (AssociationError, IdentityError, ConfigurationError) as error:
            if self._association.ended is not None:
                raise
            self._log(request, error)
            if work.remaining:
                work.fail_rest()
                return work.outcome(operation.is_cancelled, comment)
        return work.outcome(operation.is_cancelled)

    def _log(self, request: MoveRequest, error: DimsetlsError) -> None:
        log.warn(
            "[{association}] no association with the move destination {title}, or no longer: {sentence}",
            association=self._association.parties.association, title=request.move_destination, sentence=str(error),
        )  # fmt: skip
