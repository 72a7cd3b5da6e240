"""DIMSE over an established association (PS3.7): who gets the messages that come. Serves both roles."""

from __future__ import annotations

from collections.abc import Awaitable, Mapping
from typing import TYPE_CHECKING

from twisted.internet.defer import Deferred
from twisted.logger import Logger

from ..codes import CommandField
from ..dimse.assembly import DataSetSink, MessageAssembler
from ..dimse.command import CommandSet, Element
from ..dimse.messages import RequestMessage, ResponseMessage, number
from ..dimse.reading import read_response
from ..errors import AssociationError, AssociationRetired, DimsetlsError, LocalProtocolError
from ..tls.faults import TransportFault
from ..tls.usage import Wear
from ..ul.negotiation import AcceptedContext, Agreement
from ..ul.pdus import UserInformation
from .answering import Operation
from .events import Parties
from .invoking import InvokingUser, StoreHandler
from .operations import Operations
from .outbox import Outbox
from .performing import PerformingUser
from .requests import Performer, Request, StoreRequest
from .stream import NO_DATA_SET, DataSetStream

if TYPE_CHECKING:
    from ..identity.authorization import Permission
    from ..identity.principal import Principal
    from .outcomes import Answer
    from .protocol import AssociationProtocol

log = Logger(namespace="dimsetls.association")

_COMMAND_FIELD, _MESSAGE_ID = Element.COMMAND_FIELD, Element.MESSAGE_ID  # a member of an enumeration is slow to look up
_C_CANCEL_RQ = CommandField.C_CANCEL_RQ


class Association(Operations):
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
        self.ended: DimsetlsError | None = None
        """Why the association is over; None while it is not."""
        self._protocol = protocol
        self._is_requestor = is_requestor
        window = agreement.window
        ours, theirs = window.maximum_number_operations_invoked, window.maximum_number_operations_performed
        if not is_requestor:
            ours, theirs = theirs, ours
        self._outbox = Outbox(protocol, agreement.peer.maximum_length)
        self._performing = PerformingUser(self, self._outbox, services, permission, theirs, is_requestor)
        self._invoking = InvokingUser(protocol, self._outbox, ours, self.violated, self._performing, self._settled)
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
        self, context: AcceptedContext, message: RequestMessage, data: bytes | None = None
    ) -> Deferred[ResponseMessage]:
        """Send a request that has one response, with its data set if it has one; the Deferred fires with the response.

        Fails with `AssociationError` if the association ends first. `AssociationRetired` is raised where the keys of
        TLS have protected enough. For what comes before and after see the operations, each of which has its own call.
        """
        invocation = self._invoke(context, message, data)

        async def final() -> ResponseMessage:
            received = await invocation.next()
            assert received is not None  # it is the first
            return received[0]

        return Deferred.fromCoroutine(final())

    def check_usable(self) -> None:
        """Raise what a further request is refused with, if it is."""
        self._spare_the_keys()
        if self._retired is not None:
            raise self._retired
        if self.ended is not None:
            raise LocalProtocolError(f"the association is over: {self.ended}")

    # What the acceptor and the requestor call ----------------------------------------------------------------

    @property
    def busy(self) -> bool:
        """Whether silence of the peer is no idleness: it waits for us, or we for a response, which has a deadline."""
        return self._performing.busy or bool(self._invoking.outstanding)

    @property
    def octets(self) -> int:
        """Bytes of data sets received."""
        return self.receiver.octets

    @property
    def operations(self) -> int:
        """Operations answered; `failures` of them with a failure, and `instances` were stored by them."""
        return self._performing.operations

    @property
    def failures(self) -> int:
        return self._performing.failures

    @property
    def instances(self) -> int:
        return self._performing.instances

    def end(self, error: DimsetlsError) -> None:
        """The association is over: fail what is under way. Handlers see it where they read or send."""
        if self.ended is None:
            self.ended = error
            self._performing.end(error)
            self._invoking.end(error)

    # What its parts call -------------------------------------------------------------------------------------------

    def violated(self, error: DimsetlsError) -> None:
        """The association cannot go on, for a reason that the upper layer does not see: abort it."""
        self.end(error)
        self._protocol.abort()

    def operation_is_over(self) -> None:
        """One that we perform; whether it was answered or not."""
        self._settled()

    def receiver_of(self, request: Request) -> Performer | None:
        """Who takes the instances of a C-GET of ours; None for any other request."""
        if isinstance(request, StoreRequest) and (handler := self._invoking.store_handler()) is not None:
            return _Receiver(handler)
        return None

    def _settled(self) -> None:
        """An operation is over, of ours or of the peer's."""
        self._spare_the_keys()

    # The keys of TLS, which cannot be renewed here ---------------------------------------------------------------

    def _spare_the_keys(self) -> None:
        """End before they protect more than they may (RFC 9325 §4.4): no further request, and then in order."""
        usage = self._protocol.key_usage
        if usage is None or self.ended is not None or usage.is_fresh:
            return
        wear = usage.wear
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
        self._invoking.drop_waiting(self._retired)
        if wear is Wear.OVERDUE:
            self._protocol.expire(fault)
        elif not self._performing.outstanding and not self._invoking.outstanding:
            self._retire(fault)

    def _retire(self, fault: TransportFault) -> None:
        """Nothing is under way: end. An acceptor never asks for release (PS3.7 Annex A.5), so it aborts."""
        self._protocol.expire(fault)

    # Messages from the peer --------------------------------------------------------------------------------------

    def _begin_message(self, context_id: int, command: CommandSet, has_data_set: bool) -> DataSetSink | None:
        field = number(command, _COMMAND_FIELD)
        if self.ended is None and field & 0x8000:
            return self._invoking.begin_response(context_id, read_response(command), has_data_set)
        stream = NO_DATA_SET
        if has_data_set:
            stream = DataSetStream(lambda waiting: self._protocol.hold(stream, waiting))
        if self.ended is not None:
            stream.discard()
        elif field == _C_CANCEL_RQ:
            stream.discard()
            self._performing.cancel(number(command, Element.MESSAGE_ID_BEING_RESPONDED_TO))
        else:
            message_id, context = number(command, _MESSAGE_ID), self.contexts[context_id]
            self._performing.begin(Operation(message_id, context, command, stream, has_data_set))
        return stream if has_data_set else None


class _Receiver:
    """Takes the instances of a C-GET, with the handler of its caller."""

    def __init__(self, handler: StoreHandler) -> None:
        self._handler = handler

    def perform(self, request: Request) -> Awaitable[Answer]:
        assert isinstance(request, StoreRequest)
        return self._handler(request)
