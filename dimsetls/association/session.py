"""DIMSE over an established association (PS3.7): messages in, operations, responses out. Serves both roles."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from twisted.internet.defer import Deferred
from twisted.logger import Logger
from twisted.python.failure import Failure

from ..codes import CommandField, ProviderReason
from ..dimse.assembly import DataSetSink, MessageAssembler
from ..dimse.command import CommandSet, Element, write_command
from ..dimse.messages import CEchoRQ, CStoreRQ, MissingElement, Response, answer, number, read_request, read_response
from ..dimse.status import Status, StatusClass, status_class
from ..errors import (
    AssociationError,
    AssociationRetired,
    DimsetlsError,
    LocalProtocolError,
    RemoteProtocolError,
    ServiceError,
)
from ..identity.authorization import Permission
from ..identity.principal import Principal
from ..tls.faults import TransportFault
from ..tls.usage import Wear
from ..ul.negotiation import AcceptedContext, Agreement
from ..ul.pdus import UserInformation
from ..ul.writer import write_fragments
from .events import Parties
from .requests import EchoRequest, Performer, Request, StoreRequest
from .stream import DataSetStream

if TYPE_CHECKING:
    from .protocol import AssociationProtocol

log = Logger(namespace="dimsetls.association")


class Operation:
    """One operation that the peer invoked and that is not answered yet."""

    __slots__ = ("command", "context", "message_id", "stream")

    def __init__(self, message_id: int, context: AcceptedContext, command: CommandSet, stream: DataSetStream) -> None:
        self.message_id = message_id
        self.context = context
        self.command = command
        self.stream = stream


class Association:
    """An established association, as handlers and callers see it.

    `parties` says who: peer address, AE titles, TLS facts with the peer's certificate. `contexts` maps
    presentation context IDs to what was agreed. `peer` is the peer's user information.
    """

    def __init__(
        self,
        protocol: AssociationProtocol,
        parties: Parties,
        agreement: Agreement,
        *,
        services: Performer | None,
        is_requestor: bool,
        permission: Permission | None = None,
    ) -> None:
        self.parties = parties
        self.contexts: Mapping[int, AcceptedContext] = agreement.contexts
        self.peer: UserInformation = agreement.peer
        self.operations = self.failures = self.instances = 0
        self.ended: DimsetlsError | None = None
        """Why the association is over; None while it is not."""
        self._protocol = protocol
        self._services = services
        self._permission = permission
        self._is_requestor = is_requestor
        window = agreement.window
        self._window = (
            window.maximum_number_operations_performed if is_requestor else window.maximum_number_operations_invoked
        )
        self._performing: dict[int, Operation] = {}
        self._running: set[Deferred[None]] = set()
        self._invoked: dict[int, Deferred[Response]] = {}
        self._next_message_id = 1
        self._wear = Wear.FRESH
        self._retired: AssociationRetired | None = None  # what a further request is refused with
        self.receiver = MessageAssembler(self.contexts, self._begin_message)

    @property
    def principal(self) -> Principal | None:
        """The user whose identity was verified; None: nobody's was."""
        return self.parties.principal

    # What users call ---------------------------------------------------------------------------------------------

    def abort(self) -> None:
        """Abort the association (A-ABORT, source service-user)."""
        self._protocol.abort()
        self.end(AssociationError("the association was aborted here"))

    def request(
        self, context: AcceptedContext, message: CEchoRQ | CStoreRQ, data: bytes | None = None
    ) -> Deferred[Response]:
        """Send a request, with its data set if it has one; the Deferred fires with the response.

        Fails with `AssociationError` if the association ends first. `AssociationRetired` is raised where the keys of
        TLS have protected enough.
        """
        self._spare_the_keys()
        if self._retired is not None:
            raise self._retired
        if self.ended is not None:
            raise LocalProtocolError(f"the association is over: {self.ended}")
        if message.message_id in self._invoked:
            raise LocalProtocolError(f"message ID {message.message_id} is in use")
        self._send(context.context_id, message.command(), data)
        deferred: Deferred[Response] = Deferred()
        self._invoked[message.message_id] = deferred
        return deferred

    def new_message_id(self) -> int:
        """A Message ID that no outstanding request of ours has."""
        while self._next_message_id in self._invoked:
            self._next_message_id = self._next_message_id % 0xFFFF + 1
        message_id, self._next_message_id = self._next_message_id, self._next_message_id % 0xFFFF + 1
        return message_id

    # What the acceptor and the requestor call ----------------------------------------------------------------

    @property
    def busy(self) -> bool:
        """Whether an operation waits for us, and not for the rest of its data set."""
        return any(operation.stream.ended for operation in self._performing.values())

    @property
    def octets(self) -> int:
        """Bytes of data sets received."""
        return self.receiver.octets

    def end(self, error: DimsetlsError) -> None:
        """The association is over: fail what is under way. Handlers see it where they read or send."""
        if self.ended is not None:
            return
        self.ended = error
        for operation in list(self._performing.values()):
            operation.stream.fail(error)
        invoked, self._invoked = self._invoked, {}
        for deferred in invoked.values():
            deferred.errback(error)

    # The keys of TLS, which cannot be renewed here ---------------------------------------------------------------

    def _spare_the_keys(self) -> None:
        """End before they protect more than they may (RFC 9325 §4.4): no further request, and then in order."""
        usage = self._protocol.key_usage
        if usage is None or self.ended is not None or (wear := usage.wear) is Wear.FRESH:
            return
        if self._wear is Wear.FRESH:
            log.warn(
                "[{association}] the association with {peer} will soon have to end: {usage}",
                association=self.parties.association, peer=self.parties.peer, usage=str(usage),
            )  # fmt: skip
        self._wear = wear
        if wear is Wear.WORN:
            return
        fault = TransportFault.named("key-usage-limit", detail=str(usage))
        self._retired = self._retired or AssociationRetired(fault.reason, str(fault))
        if wear is Wear.OVERDUE:
            self._protocol.expire(fault)
        elif not self._performing and not self._invoked:
            self._retire(fault)

    def _retire(self, fault: TransportFault) -> None:
        """Nothing is under way: end. An acceptor never asks for release (PS3.7 Annex A.5), so it aborts."""
        self._protocol.expire(fault)

    # Messages from the peer --------------------------------------------------------------------------------------

    def _begin_message(self, context_id: int, command: CommandSet, has_data_set: bool) -> DataSetSink | None:
        stream = DataSetStream(lambda waiting: self._protocol.hold(stream, waiting))
        if not has_data_set:
            stream.end()
        field = number(command, Element.COMMAND_FIELD)
        if self.ended is not None or field == CommandField.C_CANCEL_RQ:
            stream.discard()  # a cancel for an operation that is not under way is ignored (PS3.7 §9.3.2.3)
        elif field & 0x8000:
            stream.discard()
            self._respond_received(read_response(command))
        else:
            self._invoke(Operation(number(command, Element.MESSAGE_ID), self.contexts[context_id], command, stream))
        return stream if has_data_set else None

    def _respond_received(self, response: Response) -> None:
        deferred = self._invoked.pop(response.message_id_being_responded_to, None)
        if deferred is None:
            sentence = f"a response came to message {response.message_id_being_responded_to}, which is not outstanding"
            raise RemoteProtocolError(sentence, ProviderReason.UNEXPECTED_PDU_PARAMETER)
        self._spare_the_keys()
        deferred.callback(response)

    def _invoke(self, operation: Operation) -> None:
        if self._window and len(self._performing) >= self._window:
            raise RemoteProtocolError(
                f"an operation came while {len(self._performing)} were outstanding, the window is {self._window}",
                ProviderReason.UNEXPECTED_PDU_PARAMETER,
            )
        is_duplicate = operation.message_id in self._performing
        if not is_duplicate:
            self._performing[operation.message_id] = operation
        running = Deferred.fromCoroutine(self._perform(operation, is_duplicate))
        self._running.add(running)
        running.addErrback(self._cannot_answer).addBoth(lambda _: self._running.discard(running))

    def _cannot_answer(self, failure: Failure) -> None:
        """What gets past `_perform`, such as SystemExit in a handler, leaves a peer that waits for ever."""
        log.failure("[{association}] an operation was not answered", failure, association=self.parties.association)
        self.abort()

    async def _perform(self, operation: Operation, is_duplicate: bool) -> None:
        """Run one operation to its answer; no exception that a handler raises gets out of here."""
        if is_duplicate:
            status, comment = int(Status.DUPLICATE_INVOCATION), "the message ID is in use"
        else:
            status, comment = await self._status_of(operation)
        operation.stream.discard()
        # An early failure is answered after the whole data set: few requestors expect it earlier (PS3.7 §9.3.1.3).
        await operation.stream.wait_until_ended()
        if not is_duplicate:
            del self._performing[operation.message_id]
        if self.ended is not None:
            return
        self.operations += 1
        if status_class(status) is StatusClass.FAILURE:
            self.failures += 1
        elif operation.command.get(Element.COMMAND_FIELD) == CommandField.C_STORE_RQ:
            self.instances += 1
        self._send(operation.context.context_id, answer(operation.command, status, comment).command(), None)
        self._spare_the_keys()

    async def _status_of(self, operation: Operation) -> tuple[int, str]:
        try:
            request = self._typed_request(operation)
            if self._services is None:
                raise ServiceError(Status.SOP_CLASS_NOT_SUPPORTED, "no service is offered here")
            self._authorize(operation)
            status, comment = await self._services.perform(request), ""
        except ServiceError as error:
            self._log_refusal(operation, error)
            status, comment = error.status, error.comment
        except Exception:
            if self.ended is None:
                log.failure("[{association}] an operation failed", association=self.parties.association)
            return Status.PROCESSING_FAILURE, ""
        if isinstance(status, int) and 0 <= status <= 0xFFFF:
            return status, comment
        log.error(
            "[{association}] the handler answered {status!r}; a status from 0 to FFFFH is expected",
            association=self.parties.association, status=status,
        )  # fmt: skip
        return Status.PROCESSING_FAILURE, ""

    def _authorize(self, operation: Operation) -> None:
        """Raise ServiceError where the user may not do this, or may do nothing any more."""
        if self._permission is None:
            return
        field = number(operation.command, Element.COMMAND_FIELD)
        refused = self._permission.judge(field, operation.context.abstract_syntax)
        if refused is None:
            return
        if refused.ends_association:
            self.abort()
        raise ServiceError(Status.NOT_AUTHORIZED) from PermissionError(refused.sentence)

    def _typed_request(self, operation: Operation) -> Request:
        try:
            message = read_request(operation.command)
        except MissingElement as error:
            raise ServiceError(Status.MISTYPED_ARGUMENT, str(error)) from error
        if message is None:
            field = number(operation.command, Element.COMMAND_FIELD)
            raise ServiceError(Status.UNRECOGNIZED_OPERATION, f"operation {field:04X}H is not known here")
        context = operation.context
        if message.affected_sop_class_uid != context.abstract_syntax:
            raise ServiceError(Status.SOP_CLASS_NOT_SUPPORTED, "the SOP class is not that of the presentation context")
        if not (context.requestor_is_scp if self._is_requestor else context.requestor_is_scu):
            raise ServiceError(Status.SOP_CLASS_NOT_SUPPORTED, "the role for this was not negotiated")
        if isinstance(message, CEchoRQ):
            return EchoRequest(self, context, message)
        if operation.stream.ended:
            raise ServiceError(Status.MISTYPED_ARGUMENT, "C-STORE without a data set")
        return StoreRequest(self, context, message, operation.stream)

    def _log_refusal(self, operation: Operation, error: ServiceError) -> None:
        if self.ended is None:
            log.warn(
                "[{association}] answered {status} to message {message_id} of {calling_ae_title}: {sentence}",
                association=self.parties.association, status=f"{error.status:04X}H",
                message_id=operation.message_id, calling_ae_title=self.parties.calling_ae_title,
                sentence=str(error.__cause__ or error),
            )  # fmt: skip

    def _send(self, context_id: int, command: CommandSet, data: bytes | None) -> None:
        maximum = self.peer.maximum_length
        pdus = list(write_fragments(context_id, True, write_command(command), maximum))
        if data is not None:
            pdus += write_fragments(context_id, False, data, maximum)
        self._protocol.send_data(pdus)
