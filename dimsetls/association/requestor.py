"""Requesting an association: connect, negotiate, use, release (PS3.8 §7.1, PS3.7 Annex A)."""

from __future__ import annotations

import secrets
from collections.abc import Iterable
from typing import TYPE_CHECKING, cast

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IAddress, IDelayedCall, IProtocol, IStreamClientEndpoint
from twisted.internet.protocol import Factory
from twisted.python.failure import Failure

from ..dimse.messages import CEchoRQ
from ..errors import (
    AssociationAborted,
    AssociationError,
    AssociationRejected,
    AssociationReleased,
    AssociationRetired,
    LocalProtocolError,
    ProviderAborted,
    RemoteProtocolError,
)
from ..tls.faults import TransportFault, classify
from ..tls.session import TLSSession
from ..uids import (
    APPLICATION_CONTEXT,
    EXPLICIT_VR_LITTLE_ENDIAN,
    IMPLEMENTATION_CLASS_UID,
    IMPLEMENTATION_VERSION_NAME,
    IMPLICIT_VR_LITTLE_ENDIAN,
    VERIFICATION,
)
from ..ul.buffer import LengthLimits
from ..ul.effects import (
    AbortIndication,
    AssociateConfirmation,
    AssociateIndication,
    Indication,
    ProviderAbortIndication,
    ReleaseConfirmation,
    ReleaseIndication,
)
from ..ul.negotiation import AcceptedContext, Agreement, read_answer
from ..ul.pdus import AssociateAC, AssociateRJ, AssociateRQ, PresentationContextRQ, RoleSelection, UserInformation
from ..ul.provider import UpperLayerProvider
from ..ul.writer import LARGEST_PDU_LENGTH
from .events import Parties
from .protocol import AssociationProtocol, Timeouts
from .session import Association
from .timers import Clock

if TYPE_CHECKING:
    from .interfaces import IServiceProvider

NATIVE = (EXPLICIT_VR_LITTLE_ENDIAN, IMPLICIT_VR_LITTLE_ENDIAN)


def propose(abstract_syntax: str, *transfer_syntaxes: str) -> tuple[str, tuple[str, ...]]:
    """One presentation context to propose; without transfer syntaxes the two that every peer knows."""
    return abstract_syntax, transfer_syntaxes or NATIVE


def associate(
    endpoint: IStreamClientEndpoint,
    *,
    calling_ae_title: str,
    called_ae_title: str,
    contexts: Iterable[tuple[str, tuple[str, ...]]] = (propose(VERIFICATION),),
    role_selections: tuple[RoleSelection, ...] = (),
    services: IServiceProvider | None = None,
    timeouts: Timeouts | None = None,
    answer_timeout: float = 30.0,
    clock: Clock | None = None,
) -> Deferred[RequestedAssociation]:
    """Open an association through an endpoint; the Deferred fires when it is accepted.

    `contexts` are (abstract syntax, transfer syntaxes) pairs, at most 128, see `propose`. `services` answers
    what the peer may ask of us where a role was negotiated for it. `answer_timeout` bounds the peer's answer to
    A-ASSOCIATE-RQ and to A-RELEASE-RQ, in seconds.

    Fails with `AssociationRejected`, `AssociationAborted` or `ProviderAborted`; the last carries the reason why
    the connection, the TLS handshake or the protocol failed.
    """
    if clock is None:
        from twisted.internet import reactor

        clock = cast(Clock, reactor)
    request = AssociateRQ(
        called_ae_title,
        calling_ae_title,
        APPLICATION_CONTEXT,
        tuple(
            PresentationContextRQ(2 * number + 1, abstract, transfer)
            for number, (abstract, transfer) in enumerate(contexts)
        ),
        UserInformation(
            LARGEST_PDU_LENGTH,
            IMPLEMENTATION_CLASS_UID,
            IMPLEMENTATION_VERSION_NAME,
            role_selections=role_selections,
        ),
    )
    if not 1 <= len(request.presentation_contexts) <= 128:
        raise LocalProtocolError(f"{len(request.presentation_contexts)} contexts to propose; 1 to 128 are possible")
    requestor = Requestor(endpoint, request, services, timeouts or Timeouts(), answer_timeout, clock)
    return requestor.start()


class RequestedAssociation(Association):
    """An association that we asked for. As a context manager it is released at the end, or aborted on an exception."""

    def __init__(
        self,
        requestor: Requestor,
        protocol: AssociationProtocol,
        parties: Parties,
        agreement: Agreement,
        services: IServiceProvider | None,
    ) -> None:
        super().__init__(protocol, parties, agreement, services=services, is_requestor=True)
        self._requestor = requestor

    def context(self, abstract_syntax: str) -> AcceptedContext:
        """An accepted context for an abstract syntax."""
        for context in self.contexts.values():
            if context.abstract_syntax == abstract_syntax:
                return context
        peer = self.parties.called_ae_title
        raise LocalProtocolError(f"{peer} accepted no presentation context for {abstract_syntax}")

    async def echo(self) -> int:
        """C-ECHO; the status of the answer."""
        response = await self.request(self.context(VERIFICATION), CEchoRQ(self.new_message_id(), VERIFICATION))
        return response.status

    async def release(self) -> None:
        """Release the association in order, and wait until it is."""
        if not isinstance(self.ended, AssociationRetired):
            await self._requestor.release()

    async def __aenter__(self) -> RequestedAssociation:
        return self

    async def __aexit__(self, kind: type[BaseException] | None, error: object, traceback: object) -> None:
        if self.ended is None:
            if kind is None or self._retired is not None:
                await self.release()
            else:
                self.abort()

    def _retire(self, fault: TransportFault) -> None:
        self._requestor.ask_for_release(self._retired)


class Requestor:
    """The user of one association on the requestor's side (see `AssociationUser`)."""

    def __init__(
        self,
        endpoint: IStreamClientEndpoint,
        request: AssociateRQ,
        services: IServiceProvider | None,
        timeouts: Timeouts,
        answer_timeout: float,
        clock: Clock,
    ) -> None:
        self._endpoint = endpoint
        self._request = request
        self._services = services
        self._answer_timeout = answer_timeout
        self._clock = clock
        self._provider = UpperLayerProvider(is_requestor=True, limits=LengthLimits(LARGEST_PDU_LENGTH))
        self._protocol = AssociationProtocol(self._provider, timeouts, clock, self._open)
        self._protocol.user = self
        self._association: RequestedAssociation | None = None
        self._waiting: Deferred[RequestedAssociation] | None = None
        self._releasing: list[Deferred[None]] = []
        self._retired: AssociationRetired | None = None  # asked for release by itself
        self._deadline: IDelayedCall | None = None
        self._tls: TLSSession | None = None
        self._connecting: Deferred[IProtocol] | None = None

    def start(self) -> Deferred[RequestedAssociation]:
        waiting: Deferred[RequestedAssociation] = Deferred(self._cancel)
        self._waiting = waiting
        self._protocol.associate_request()
        return waiting

    async def release(self) -> None:
        if self._retired is None:
            self.ask_for_release()
        released: Deferred[None] = Deferred()
        self._releasing.append(released)
        await released

    def ask_for_release(self, retired: AssociationRetired | None = None) -> None:
        if self._retired is None:
            self._protocol.release_request()  # first: where it is not permitted, nothing has begun
            self._retired = retired
            self._await_answer("A-RELEASE-RP")

    # From the protocol -----------------------------------------------------------------------------------------

    def connected(self) -> None:
        pass

    def secured(self, session: TLSSession | None) -> None:
        self._tls = session
        self._await_answer("answer to A-ASSOCIATE-RQ")
        self._protocol.transport_confirmed(self._request)

    def indicated(self, indication: Indication) -> None:
        match indication:
            case AssociateConfirmation(answer):
                self._confirm(answer)
            case ReleaseIndication(collision):
                self._protocol.release_response()
                if not collision:
                    self._end(AssociationReleased("the peer released the association"))
            case ReleaseConfirmation():
                self._end(self._retired or AssociationReleased("the association was released"))
            case AbortIndication():
                self._end(AssociationAborted("the peer aborted the association"))
            case ProviderAbortIndication(reason, detail):
                self._end(ProviderAborted(reason, detail))
            case AssociateIndication():
                pass  # no peer can ask us: the table answers an A-ASSOCIATE-RQ with AA-8

    def expired(self, sentence: str) -> None:
        assert self._protocol.cause is not None
        self._end(ProviderAborted(self._protocol.cause.reason, sentence))

    def closed(self, fault: TransportFault) -> None:
        self._end(ProviderAborted(fault.reason, str(fault)))

    def busy(self) -> bool:
        return self._association is not None and self._association.busy

    # What happens ----------------------------------------------------------------------------------------------

    def _open(self) -> None:
        self._connecting = self._endpoint.connect(_OneProtocol(self._protocol))
        self._connecting.addErrback(self._connect_failed)

    def _connect_failed(self, failure: Failure) -> None:
        self._protocol.connect_failed(classify(failure, None))

    def _cancel(self, waiting: Deferred[RequestedAssociation]) -> None:
        self._waiting = None  # it fails with CancelledError, whatever follows from this
        self._protocol.abort()
        if self._connecting is not None:
            self._connecting.cancel()

    def _await_answer(self, what: str) -> None:
        self._deadline = self._clock.callLater(self._answer_timeout, self._no_answer, what)

    def _no_answer(self, what: str) -> None:
        fault = TransportFault.named("answer-timeout", detail=f"no {what} within {self._answer_timeout:g} s")
        self._end(ProviderAborted(fault.reason, str(fault)))
        self._protocol.abort()

    def _confirm(self, answer: AssociateAC | AssociateRJ) -> None:
        if isinstance(answer, AssociateRJ):
            self._end(AssociationRejected(answer.result, answer.source, answer.reason))
            return
        try:
            agreement = read_answer(self._request, answer)
        except RemoteProtocolError as error:
            self._end(ProviderAborted(error.reason, str(error)))
            self._protocol.abort()
            return
        parties = Parties(
            secrets.token_hex(4), self._protocol.peer, self._request.calling_ae_title,
            self._request.called_ae_title, self._tls,
        )  # fmt: skip
        association = RequestedAssociation(self, self._protocol, parties, agreement, self._services)
        self._association = association
        self._provider.receiver = association.receiver
        self._cancel_deadline()
        waiting, self._waiting = self._waiting, None
        if waiting is not None:
            waiting.callback(association)

    def _end(self, error: AssociationError) -> None:
        self._cancel_deadline()
        waiting, self._waiting = self._waiting, None
        releasing, self._releasing = self._releasing, []
        if self._association is not None:
            self._association.end(error)
        if waiting is not None:
            waiting.errback(error)
        for released in releasing:
            if isinstance(error, AssociationReleased):
                released.callback(None)
            else:
                released.errback(error)

    def _cancel_deadline(self) -> None:
        deadline, self._deadline = self._deadline, None
        if deadline is not None and deadline.active():
            deadline.cancel()


class _OneProtocol(Factory):
    """Hands out the one protocol that waits for its transport."""

    noisy = False

    def __init__(self, protocol: AssociationProtocol) -> None:
        self._protocol = protocol

    def buildProtocol(self, addr: IAddress | None) -> AssociationProtocol:
        self._protocol.factory = self
        return self._protocol


