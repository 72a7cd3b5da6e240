"""The performing DIMSE service user (PS3.7 §7.5): operations that the peer invokes, each from request to response."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any
from uuid import uuid4

from twisted.internet.defer import Deferred
from twisted.logger import Logger
from twisted.python.failure import Failure

from ..codes import ProviderReason
from ..dimse.command import Element, write_command
from ..dimse.messages import CCancelRQ, CEchoRQ, CFindRQ, CGetRQ, CMoveRQ, CStoreRQ, ElementError, answer, number
from ..dimse.normalized import NActionRQ, NCreateRQ, NDeleteRQ, NEventReportRQ, NGetRQ, NSetRQ
from ..dimse.plain import write_plain_response
from ..dimse.reading import Request as RequestMessage
from ..dimse.reading import read_request
from ..dimse.status import Status, StatusClass, status_class
from ..errors import DimsetlsError, LocalProtocolError, RemoteProtocolError, ServiceError
from .answering import Answering, Operation
from .datasets import encode
from .outbox import Outbox
from .outcomes import Outcome
from .requests import (
    ActionRequest,
    CreateRequest,
    DeleteRequest,
    EchoRequest,
    EventReportRequest,
    FindRequest,
    GetAttributesRequest,
    GetRequest,
    MoveRequest,
    Performer,
    Request,
    SetAttributesRequest,
    StoreRequest,
)
from .running import start

if TYPE_CHECKING:
    from ..identity.authorization import Permission
    from .session import Association

log = Logger(namespace="dimsetls.association")

_PLAIN = CEchoRQ, CStoreRQ
_ANSWERED_BY_STATUS = EchoRequest, StoreRequest
_FAILURE = StatusClass.FAILURE
_REQUESTS: dict[type, type[Any]] = {
    CStoreRQ: StoreRequest, CFindRQ: FindRequest, CGetRQ: GetRequest, CMoveRQ: MoveRequest,
    NEventReportRQ: EventReportRequest, NGetRQ: GetAttributesRequest, NSetRQ: SetAttributesRequest,
    NActionRQ: ActionRequest, NDeleteRQ: DeleteRequest,
}  # fmt: skip

_PRINT = "1.2.840.10008.5.1.1."
_STEP = "1.2.840.10008.5.1.4.34.6."
_INSIDE: Mapping[str, frozenset[str]] = {
    _PRINT + "9": frozenset(_PRINT + each for each in ("1", "2", "4", "16")),  # Basic Grayscale Print Management
    _PRINT + "18": frozenset(_PRINT + each for each in ("1", "2", "4.1", "16")),  # Basic Color Print Management
    **{_STEP + number: frozenset({_STEP + "1"}) for number in "2345"},  # Unified Procedure Step (PS3.4 §CC.3.1.1)
}
"""SOP classes that are used in a context for another: those of a Meta SOP Class (PS3.4 H.3.2.2), and UPS Push."""

class PerformingUser:
    """Performs what the peer asks of one association, and counts it."""

    def __init__(
        self,
        association: Association,
        outbox: Outbox,
        services: Performer | None,
        permission: Permission | None,
        window: int,
        is_requestor: bool,
    ) -> None:
        self.operations = self.failures = self.instances = 0
        self._association = association
        self._outbox = outbox
        self._services = services
        self._permission = permission
        self._window = window
        self._is_requestor = is_requestor
        self._performing: dict[int, Operation] = {}
        self._running: dict[Deferred[None], None] = {}
        self._answering = Answering(association, outbox)

    @property
    def outstanding(self) -> int:
        return len(self._performing)

    @property
    def busy(self) -> bool:
        """Whether an operation waits for us, and not for the rest of its data set."""
        return any(operation.stream.ended for operation in self._performing.values())

    def begin(self, operation: Operation) -> None:
        """A request has begun to come. Raises `RemoteProtocolError` where there are too many."""
        if self._window and len(self._performing) >= self._window:
            raise RemoteProtocolError(
                f"an operation came while {len(self._performing)} were outstanding, the window is {self._window}",
                ProviderReason.UNEXPECTED_PDU_PARAMETER,
            )
        is_duplicate = operation.message_id in self._performing
        if not is_duplicate:
            self._performing[operation.message_id] = operation
        try:
            running = start(self._perform(operation, is_duplicate))
        except BaseException:
            self._cannot_answer(Failure())
            return
        if running is not None:
            self._running[running] = None
            running.addErrback(self._cannot_answer).addBoth(lambda _: self._running.pop(running, None))

    def cancel(self, message_id: int) -> None:
        """C-CANCEL; for an operation that is not under way it is ignored (PS3.7 §9.3.2.3)."""
        if (operation := self._performing.get(message_id)) is not None:
            operation.cancel()

    def end(self, error: DimsetlsError) -> None:
        """The association is over: handlers see it where they read or send, and generators are closed."""
        for operation in list(self._performing.values()):
            operation.stream.fail(error)
            operation.stop()

    # From request to response ------------------------------------------------------------------------------------

    def _cannot_answer(self, failure: Failure) -> None:
        """What gets past `_perform`, such as SystemExit in a handler, leaves a peer that waits for ever."""
        log.failure("[{association}] an operation was not answered", failure, association=self._id)
        self._association.abort()

    async def _perform(self, operation: Operation, is_duplicate: bool) -> None:
        """Run one operation to its answer; no exception that a handler raises gets out of here."""
        try:
            if is_duplicate:
                outcome = Outcome(Status.DUPLICATE_INVOCATION, "the message ID is in use", (Element.MESSAGE_ID,))
            else:
                outcome = await self._outcome_of(operation)
            if operation.has_data_set:
                operation.stream.discard()
                # An early failure is answered after the whole data set: few requestors expect it earlier (§9.3.1.3).
                if not operation.stream.ended:
                    await operation.stream.wait_until_ended()
            if self._association.ended is None:
                status, command, data = self._response(operation, outcome)
                try:
                    await self._outbox.send(operation.context.context_id, command, data)
                except LocalProtocolError:
                    pass  # the association ended, or is being released, before its turn came
                else:
                    self._count(operation, status)
        finally:
            if not is_duplicate:
                del self._performing[operation.message_id]
        self._association.operation_is_over()

    def _count(self, operation: Operation, status: int) -> None:
        """One more is answered."""
        self.operations += 1
        if status_class(status) is _FAILURE:
            self.failures += 1
        elif type(operation.message) is CStoreRQ:
            self.instances += 1

    def _response(self, operation: Operation, outcome: Outcome) -> tuple[int, bytes, bytes | None]:
        """The final response: status, command set, data set. Where what a handler answered makes none, a failure."""
        message, status, data = operation.message, outcome.status, None
        if message is None:
            response = answer(operation.command, status, outcome.comment, outcome.offending_elements)
            return status, write_command(response.command()), None
        if isinstance(message, _PLAIN) and outcome.is_plain:
            return status, write_plain_response(message, status), None
        try:
            if outcome.dataset is not None:
                data = encode(outcome.dataset, operation.context.transfer_syntax)
            typed = message.RESPONSE.to(
                message, status, error_comment=outcome.comment,
                offending_element=outcome.offending_elements, **(outcome.elements or {}),
            )  # fmt: skip
            return status, write_command(typed.command(data is not None)), data
        except Exception:
            log.failure("[{association}] the answer of a handler cannot be sent", association=self._id)
            status = _failure(message)
            return status, write_command(message.RESPONSE.to(message, status).command()), None

    async def _outcome_of(self, operation: Operation) -> Outcome:
        try:
            request = self._typed_request(operation)
            services = self._association.receiver_of(request) or self._services
            if services is None:
                raise ServiceError(Status.SOP_CLASS_NOT_SUPPORTED, "no service is offered here")
            if self._permission is not None and not self._permission.is_boundless:
                self._authorize(self._permission, operation)
            result: Any = await services.perform(request)
            if isinstance(request, _ANSWERED_BY_STATUS):
                outcome = Outcome(result)
            else:
                outcome = await self._answering.outcome(operation, request, result)
        except ServiceError as error:
            self._log_refusal(operation, error)
            outcome = _refused(operation.message, error)
        except Exception:
            if self._association.ended is None:
                log.failure("[{association}] an operation failed", association=self._id)
            return Outcome(_failure(operation.message))
        if isinstance(outcome.status, int) and 0 <= outcome.status <= 0xFFFF:
            return outcome
        log.error(
            "[{association}] the handler answered {status!r}; a status from 0 to FFFFH is expected",
            association=self._id, status=outcome.status,
        )  # fmt: skip
        return Outcome(_failure(operation.message))

    def _typed_request(self, operation: Operation) -> Request:
        try:
            message = read_request(operation.command)
        except ElementError as error:
            raise ServiceError(error.status, str(error), (int(error.element),)) from error
        if message is None:
            field = number(operation.command, Element.COMMAND_FIELD)
            sentence = f"operation {field:04X}H is not known here"
            raise ServiceError(Status.UNRECOGNIZED_OPERATION, sentence, (Element.COMMAND_FIELD,))
        assert not isinstance(message, CCancelRQ)  # it never comes here
        operation.message = message
        kind, context, sop_class = type(message), operation.context, message.sop_class_uid
        if sop_class != context.abstract_syntax:
            inside = _INSIDE.get(context.abstract_syntax, frozenset()) if kind in _NORMALIZED else ()
            if sop_class not in inside:
                raise _not_supported(message, "the SOP class is not that of the presentation context")
        # Whoever notifies is the SCP (PS3.7 §7.5.1); of all other operations it is the SCU that invokes.
        as_scp = kind is not NEventReportRQ
        if not (context.requestor_is_scp if self._is_requestor is as_scp else context.requestor_is_scu):
            raise _not_supported(message, "the role for this was not negotiated")
        association, stream = self._association, operation.stream
        if isinstance(message, CEchoRQ):
            return EchoRequest(association, context, message)
        data = stream if operation.has_data_set else None
        if isinstance(message, NCreateRQ):
            return CreateRequest(association, context, message, data, new_uid=f"2.25.{uuid4().int}")
        if kind in _QUERIES and self._permission is not None:
            sees = self._permission.sight(number(operation.command, Element.COMMAND_FIELD), context.abstract_syntax)
            query: Request = _REQUESTS[kind](association, context, message, stream, sees)
            return query
        request: Request = _REQUESTS[kind](association, context, message, data)
        return request

    def _authorize(self, permission: Permission, operation: Operation) -> None:
        """Raise ServiceError where the user may not do this, or may do nothing any more."""
        field = number(operation.command, Element.COMMAND_FIELD)
        refused = permission.judge(field, operation.context.abstract_syntax)
        if refused is None:
            return
        if refused.ends_association:
            self._association.abort()
        raise ServiceError(Status.NOT_AUTHORIZED) from PermissionError(refused.sentence)

    # For the log -------------------------------------------------------------------------------------------------

    @property
    def _id(self) -> str:
        return self._association.parties.association

    def _log_refusal(self, operation: Operation, error: ServiceError) -> None:
        if self._association.ended is None:
            log.warn(
                "[{association}] answered {status} to message {message_id} of {calling_ae_title}: {sentence}",
                association=self._id, status=f"{error.status:04X}H", message_id=operation.message_id,
                calling_ae_title=self._association.parties.calling_ae_title,
                sentence=str(error.__cause__ or error),
            )  # fmt: skip


_QUERIES = CFindRQ, CGetRQ, CMoveRQ
_NORMALIZED = (NEventReportRQ, NGetRQ, NSetRQ, NActionRQ, NCreateRQ, NDeleteRQ)


def _not_supported(message: RequestMessage, sentence: str) -> ServiceError:
    is_requested = hasattr(message, "requested_sop_class_uid")
    element = Element.REQUESTED_SOP_CLASS_UID if is_requested else Element.AFFECTED_SOP_CLASS_UID
    return ServiceError(Status.SOP_CLASS_NOT_SUPPORTED, sentence, (element,))


def _refused(message: RequestMessage | None, error: ServiceError) -> Outcome:
    """What a refusal is answered with. DIMSE-N has a list of its own for offending attributes (PS3.7 Annex C.5)."""
    offending = tuple(error.offending_elements)
    elements: dict[str, object] = {}
    if isinstance(message, _NORMALIZED) and (attributes := tuple(tag for tag in offending if tag >> 16)):
        elements["attribute_identifier_list"] = attributes
    if error.error_id is not None:
        elements["error_id"] = error.error_id
    return Outcome(error.status, error.comment, offending, elements=elements)


def _failure(message: RequestMessage | None) -> int:
    """What a handler's failure is answered with: queries have a code of their own (PS3.4 Tables C.4-1 to C.4-3)."""
    return Status.UNABLE_TO_PROCESS if isinstance(message, _QUERIES) else Status.PROCESSING_FAILURE
