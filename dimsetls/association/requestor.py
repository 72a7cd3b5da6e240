"""Requesting an association: connect, negotiate, use, release (PS3.8 §7.1, PS3.7 Annex A)."""

from __future__ import annotations

import secrets
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import replace
from functools import wraps
from typing import TYPE_CHECKING, ParamSpec, cast

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IAddress, IDelayedCall, IProtocol, IStreamClientEndpoint
from twisted.internet.protocol import Factory
from twisted.logger import Logger
from twisted.python.failure import Failure

from ..errors import (
    AssociationAborted,
    AssociationError,
    AssociationRejected,
    AssociationReleased,
    AssociationRetired,
    IdentityNotVerified,
    LocalProtocolError,
    ProviderAborted,
    RemoteProtocolError,
)
from ..identity.presenting import Presentation, Standing
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
from ..ul.negotiation import Agreement, read_answer
from ..ul.pdus import (
    AssociateAC,
    AssociateRJ,
    AssociateRQ,
    AsynchronousOperationsWindow,
    CommonExtendedNegotiation,
    ExtendedNegotiation,
    PresentationContextRQ,
    RoleSelection,
    UserInformation,
)
from ..ul.provider import UpperLayerProvider
from ..ul.writer import LARGEST_PDU_LENGTH, write_pdu
from .events import Parties
from .protocol import AssociationProtocol, Timeouts
from .requested import ContextAnswer, RequestedAssociation
from .timers import Clock

if TYPE_CHECKING:
    from .interfaces import IServiceProvider

log = Logger(namespace="dimsetls.association")

NATIVE = (EXPLICIT_VR_LITTLE_ENDIAN, IMPLICIT_VR_LITTLE_ENDIAN)


def propose(abstract_syntax: str, *transfer_syntaxes: str) -> tuple[str, tuple[str, ...]]:
    """One presentation context to propose; without transfer syntaxes the two that every peer knows."""
    return abstract_syntax, transfer_syntaxes or NATIVE


def as_scp(*sop_class_uids: str) -> tuple[RoleSelection, ...]:
    """Role selections to offer to be SCP too for SOP classes: for the storage classes that a C-GET may bring."""
    return tuple(RoleSelection(uid, True, True) for uid in sop_class_uids)


def associate(
    endpoint: IStreamClientEndpoint,
    *,
    calling_ae_title: str,
    called_ae_title: str,
    contexts: Iterable[tuple[str, tuple[str, ...]]] = (propose(VERIFICATION),),
    role_selections: tuple[RoleSelection, ...] = (),
    extended_negotiations: tuple[ExtendedNegotiation, ...] = (),
    common_extended_negotiations: tuple[CommonExtendedNegotiation, ...] = (),
    window: AsynchronousOperationsWindow | None = None,
    identity: Presentation | None = None,
    maximum_length: int = LARGEST_PDU_LENGTH,
    services: IServiceProvider | None = None,
    timeouts: Timeouts | None = None,
    clock: Clock | None = None,
) -> Deferred[RequestedAssociation]:
    """Open an association through an endpoint; the Deferred fires when it is accepted. Cancel it to give up.

    `contexts` are (abstract syntax, transfer syntaxes) pairs, at most 128, see `propose`; for instances to send see
    `propose_for`. `window` offers more than one operation at a time, `identity` presents a user. `services` answers
    what the peer may ask of us where a role was negotiated for it.

    Fails with `AssociationRejected`, `AssociationAborted`, `IdentityNotVerified` or `ProviderAborted`; the last
    carries the reason why the connection, the TLS handshake or the protocol failed, or which deadline passed.
    """
    if clock is None:
        from twisted.internet import reactor

        clock = cast(Clock, reactor)
    proposed = list(contexts)
    user_information = UserInformation(
        maximum_length,
        IMPLEMENTATION_CLASS_UID,
        IMPLEMENTATION_VERSION_NAME,
        window,
        role_selections,
        extended_negotiations,
        common_extended_negotiations,
    )
    if identity is not None:
        known = {abstract for abstract, _ in proposed}
        proposed += [propose(uid) for uid in identity.abstract_syntaxes if uid not in known]
        user_information = identity.add_to(user_information)
    if not 1 <= len(proposed) <= 128:
        raise LocalProtocolError(f"{len(proposed)} contexts to propose; 1 to 128 are possible")
    request = AssociateRQ(
        called_ae_title,
        calling_ae_title,
        APPLICATION_CONTEXT,
        tuple(
            PresentationContextRQ(2 * number + 1, abstract, transfer)
            for number, (abstract, transfer) in enumerate(proposed)
        ),
        user_information,
    )
    write_pdu(request)  # what does not fit is the caller's mistake, and said before anything is connected
    return Requestor(endpoint, request, identity, services, timeouts or Timeouts(), clock).start()


_Wishes = ParamSpec("_Wishes")


def _managed(
    opening: Callable[_Wishes, Awaitable[RequestedAssociation]],
) -> Callable[_Wishes, AbstractAsyncContextManager[RequestedAssociation]]:
    @wraps(opening)
    @asynccontextmanager
    async def managed(*args: _Wishes.args, **keywords: _Wishes.kwargs) -> AsyncIterator[RequestedAssociation]:
        async with await opening(*args, **keywords) as opened:
            yield opened

    return managed


association = _managed(associate)
"""An association for ``async with``, called as `associate`: released at the end, aborted by an exception or a
cancellation."""


class Requestor:
    """The user of one association on the requestor's side (see `AssociationUser`)."""

    def __init__(
        self,
        endpoint: IStreamClientEndpoint,
        request: AssociateRQ,
        identity: Presentation | None,
        services: IServiceProvider | None,
        timeouts: Timeouts,
        clock: Clock,
    ) -> None:
        self._endpoint = endpoint
        self._request = request
        self._identity = identity
        self._services = services
        self._timeouts = timeouts
        self._clock = clock
        self._provider = UpperLayerProvider(is_requestor=True, limits=LengthLimits(LARGEST_PDU_LENGTH))
        self._protocol = AssociationProtocol(self._provider, timeouts, clock, self._open)
        self._protocol.user = self
        self._association: RequestedAssociation | None = None
        self._waiting: Deferred[RequestedAssociation] | None = None
        self._releasing: list[Deferred[None]] = []
        self._is_released = False  # asked for
        self._is_late = False
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
        if self._retired is None and not (self._is_released and retired):
            self._protocol.release_request()  # first: where it is not permitted, nothing has begun
            self._is_released, self._retired = True, retired
            self._await_answer("A-RELEASE-RP")

    # From the protocol -----------------------------------------------------------------------------------------

    def connected(self) -> None:
        self._cancel_deadline()

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
        self._deadline = self._clock.callLater(self._timeouts.connect, self._not_connected)
        self._connecting = self._endpoint.connect(_OneProtocol(self._protocol))
        self._connecting.addErrback(self._connect_failed)

    def _not_connected(self) -> None:
        self._is_late = True
        if self._connecting is not None:
            self._connecting.cancel()

    def _connect_failed(self, failure: Failure) -> None:
        fault = classify(failure, None)
        if self._is_late:
            detail = f"no connection within {self._timeouts.connect:g} s"
            fault = TransportFault.named("connect-failed", detail=detail)
        self._protocol.connect_failed(fault)

    def _cancel(self, waiting: Deferred[RequestedAssociation]) -> None:
        self._waiting = None  # it fails with CancelledError, whatever follows from this
        self._protocol.abort()
        if self._connecting is not None:
            self._connecting.cancel()

    def _await_answer(self, what: str) -> None:
        self._deadline = self._clock.callLater(self._timeouts.answer, self._no_answer, what)

    def _no_answer(self, what: str) -> None:
        fault = TransportFault.named("answer-timeout", detail=f"no {what} within {self._timeouts.answer:g} s")
        self._end(ProviderAborted(fault.reason, str(fault)))
        self._protocol.abort()

    def _confirm(self, answer: AssociateAC | AssociateRJ) -> None:
        if isinstance(answer, AssociateRJ):
            self._end(AssociationRejected(answer.result, answer.source, answer.reason))
            return
        try:
            agreement = self._agreement(answer)
            standing = self._judged(answer)
        except (RemoteProtocolError, IdentityNotVerified) as error:
            self._end(ProviderAborted(error.reason, str(error)) if isinstance(error, RemoteProtocolError) else error)
            self._protocol.abort()
            return
        parties = Parties(
            secrets.token_hex(4), self._protocol.peer, self._request.calling_ae_title,
            self._request.called_ae_title, self._tls,
        )  # fmt: skip
        results = {each.context_id: each.result for each in answer.presentation_contexts}
        answers = tuple(
            ContextAnswer(each.context_id, each.abstract_syntax, each.transfer_syntaxes, results.get(each.context_id))
            for each in self._request.presentation_contexts
        )
        opened = RequestedAssociation(self, self._protocol, parties, agreement, self._services, answers, standing)
        self._association = opened
        self._provider.receiver = opened.receiver
        self._cancel_deadline()
        waiting, self._waiting = self._waiting, None
        if waiting is not None:
            waiting.callback(opened)

    def _agreement(self, answer: AssociateAC) -> Agreement:
        """What was agreed on, and never more than was offered. Raises `RemoteProtocolError`."""
        if answer.application_context != self._request.application_context:
            sentence = f"the peer answered with application context {answer.application_context}"
            raise RemoteProtocolError(f"{sentence}, {self._request.application_context} was proposed")
        agreement = read_answer(self._request, answer)
        ours, window = self._request.user_information.asynchronous_operations_window, agreement.window
        if ours is None:
            return agreement
        return replace(agreement, window=AsynchronousOperationsWindow(
            _least(ours.maximum_number_operations_invoked, window.maximum_number_operations_invoked),
            _least(ours.maximum_number_operations_performed, window.maximum_number_operations_performed),
        ))  # fmt: skip

    def _judged(self, answer: AssociateAC) -> Standing | None:
        """What the peer made of our identity. Raises `IdentityNotVerified` where that is not enough."""
        if self._identity is None:
            return None
        decision = self._identity.judge(answer.user_information)
        if not decision.continues:
            raise IdentityNotVerified(decision.sentence or "the peer did not verify our user identity")
        if decision.sentence:
            log.warn("{called_ae_title} at {peer}: {sentence}", sentence=decision.sentence, peer=self._protocol.peer,
                     called_ae_title=self._request.called_ae_title)  # fmt: skip
        return decision.standing

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


def _least(offered: int, answered: int) -> int:
    """The smaller of two numbers of operations, of which 0 is no bound."""
    return min(filter(None, (offered, answered)), default=0)
