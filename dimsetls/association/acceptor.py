"""Accepting associations: who is let in, what is agreed, and what is told to observers (PS3.8 §7.1)."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Iterable, Mapping
from dataclasses import astuple, replace
from typing import TYPE_CHECKING, Any, cast

from twisted.internet.defer import CancelledError, Deferred, maybeDeferred
from twisted.internet.interfaces import IAddress, IDelayedCall
from twisted.internet.protocol import Factory
from twisted.logger import Logger
from twisted.python.failure import Failure

from ..codes import REJECT_REASONS
from ..errors import (
    AssociationAborted,
    AssociationError,
    AssociationReleased,
    IdentityDenied,
    IdentityError,
    ProviderAborted,
)
from ..identity.authorization import Permission
from ..identity.gate import Admission, Expiry, stripped
from ..identity.interfaces import Presenter
from ..tls.faults import TransportFault
from ..tls.session import TLSSession
from ..ul.buffer import LengthLimits
from ..ul.effects import (
    AbortIndication,
    AssociateIndication,
    Indication,
    ProviderAbortIndication,
    ReleaseConfirmation,
    ReleaseIndication,
)
from ..ul.negotiation import AcceptorPolicy, answer_request
from ..ul.pdus import AssociateRJ, AssociateRQ
from ..ul.provider import UpperLayerProvider
from ..ul.writer import LARGEST_PDU_LENGTH
from .admission import REJECT, ApplicationEntity, Caller, Offer, Rejection, judge
from .events import (
    AssociationEnded,
    AssociationLog,
    AssociationRefused,
    AssociationStarted,
    ConnectionFailed,
    Event,
    Parties,
)
from .limits import AssociationCount, Congested, Limits
from .protocol import AssociationProtocol, Timeouts
from .running import start
from .session import Association
from .tide import Tide
from .timers import Clock

if TYPE_CHECKING:
    from .interfaces import IAssociationObserver

log = Logger(namespace="dimsetls.association")

class AcceptorFactory(Factory):
    """Builds the acceptor's side of associations; give it to any stream server endpoint.

    `entities` are the AEs to be reached here. The clock is the global reactor unless one is given; so is the count of
    associations the factory's own, unless it shares one. `connections` tells how many there are, with and without an
    association, and `changed` is called when there is one more or less.
    """

    noisy = False

    def __init__(
        self,
        entities: ApplicationEntity | Iterable[ApplicationEntity],
        *,
        limits: Limits | None = None,
        timeouts: Timeouts | None = None,
        associate_length: int = LengthLimits().associate,
        observers: Iterable[IAssociationObserver] | None = None,
        clock: Clock | None = None,
        count: AssociationCount | None = None,
        changed: Callable[[], None] = lambda: None,
    ) -> None:
        self.count = count or AssociationCount()
        self._changed = changed
        self.configure(entities, limits=limits, timeouts=timeouts, associate_length=associate_length)
        self.draining = False
        self._observers = [AssociationLog()] if observers is None else list(observers)
        self._clock = clock
        self._acceptors: dict[Acceptor, None] = {}  # an ordered set: the oldest comes first
        self.pending: dict[Acceptor, None] = {}
        """Those without an A-ASSOCIATE-RQ yet, oldest first."""
        self._tide = Tide()
        self._drained: Deferred[None] | None = None

    def configure(
        self,
        entities: ApplicationEntity | Iterable[ApplicationEntity],
        *,
        limits: Limits | None = None,
        timeouts: Timeouts | None = None,
        associate_length: int = LengthLimits().associate,
    ) -> None:
        """What holds for connections from now on; associations that exist keep what they began with."""
        if isinstance(entities, ApplicationEntity):
            entities = (entities,)
        self.entities: Mapping[str, ApplicationEntity] = {entity.ae_title: entity for entity in entities}
        self.limits = limits or Limits()
        self.timeouts = timeouts or Timeouts()
        self._associate_length = associate_length

    def buildProtocol(self, addr: IAddress | None) -> AssociationProtocol:
        if self._clock is None:
            from twisted.internet import reactor

            self._clock = cast(Clock, reactor)
        # The PDUs of the AEs here may be of different lengths; which AE is called is known only after the first one.
        longest = max((entity.maximum_length for entity in self.entities.values()), default=LARGEST_PDU_LENGTH)
        provider = UpperLayerProvider(is_requestor=False, limits=LengthLimits(longest, self._associate_length))
        assert self._clock is not None
        protocol = AssociationProtocol(provider, self.timeouts, self._clock)
        protocol.factory = self
        protocol.user = Acceptor(self, provider, protocol, self._clock)
        return protocol

    @property
    def connections(self) -> int:
        return len(self._acceptors)

    def tell(self, event: Event) -> None:
        """Pass an event to every observer; one that fails does not hinder the others."""
        for observer in self._observers:
            try:
                observer.observe(event)
            except Exception:
                log.failure("observer {observer!r} failed", observer=observer)

    def opened(self, acceptor: Acceptor) -> None:
        """A connection came. Where too many are pending, the oldest of them goes: a good peer is never the oldest."""
        self._acceptors[acceptor] = self.pending[acceptor] = None
        self._tide.stands_at(len(self._acceptors))
        if len(self.pending) > self.limits.pending:
            oldest = next(iter(self.pending))
            del self.pending[oldest]
            oldest.cut("pending-limit")
        self._changed()

    def closed(self, acceptor: Acceptor) -> None:
        self.pending.pop(acceptor, None)
        self._acceptors.pop(acceptor, None)
        self._tide.stands_at(len(self._acceptors))
        self._changed()
        if self._drained is not None and not self._acceptors:
            self._drained.callback(None)
            self._drained = None

    def drain(self) -> Deferred[None]:
        """Take no further association; fires when the last connection is closed. Those without one are cut now."""
        self.draining = True
        drained: Deferred[None] = Deferred()
        for acceptor in list(self._acceptors):
            if acceptor.is_idle:
                acceptor.cut("aborted-locally")
        if self._acceptors:
            self._drained = drained
        else:
            drained.callback(None)
        return drained

    def abort_all(self, sentence: str) -> None:
        """A-ABORT to every association that still runs."""
        for acceptor in list(self._acceptors):
            acceptor.shut_down(sentence)


class Acceptor:
    """The user of one association on the acceptor's side (see `AssociationUser`)."""

    def __init__(
        self, factory: AcceptorFactory, provider: UpperLayerProvider, protocol: AssociationProtocol, clock: Clock
    ) -> None:
        self._factory = factory
        self._provider = provider
        self._protocol = protocol
        self._clock = clock
        self._parties = Parties(secrets.token_hex(4), "")
        self._association: Association | None = None
        self._started = 0.0
        self._told = False  # that this connection came to nothing
        self._outcome: tuple[str, str, int | None] | None = None
        self._checking: Deferred[Any] | None = None
        """What an answer waits for: a place among the associations, then who the user is."""
        self._term: IDelayedCall | None = None
        self._is_counted = False  # among the associations, from the moment that its identity is looked at

    # From the protocol -----------------------------------------------------------------------------------------

    def connected(self) -> None:
        self._parties = Parties(self._parties.association, self._protocol.peer)
        self._factory.opened(self)

    def secured(self, session: TLSSession | None) -> None:
        self._parties = Parties(self._parties.association, self._protocol.peer, tls=session)
        self._protocol.transport_indication()

    def indicated(self, indication: Indication) -> None:
        match indication:
            case AssociateIndication(request):
                self._judge(request)
            case ReleaseIndication():
                self._protocol.release_response()
                self._end("released", AssociationReleased("the peer released the association"))
            case AbortIndication():
                self._stop_checking()
                self._end("aborted", AssociationAborted("the peer aborted the association"))
            case ProviderAbortIndication(reason, detail):
                self._stop_checking()
                self._end("provider-aborted", ProviderAborted(reason, detail), reason)
            case ReleaseConfirmation():
                pass  # the acceptor never asks for release (PS3.7 Annex A.5)

    def expired(self, sentence: str) -> None:
        if self._association is None:
            self._refused(sentence)
        else:
            cause = self._protocol.cause
            assert cause is not None
            self._end("expired", ProviderAborted(cause.reason, sentence), cause.reason)

    def closed(self, fault: TransportFault) -> None:
        self._stop_checking()
        self._uncount()
        if self._term is not None and self._term.active():
            self._term.cancel()
        if self._association is not None:
            self._tell_end(self._association, fault)
        elif not self._told:
            self._close_without_association(fault)
        self._factory.closed(self)

    def _tell_end(self, association: Association, fault: TransportFault) -> None:
        parties = self._parties
        association.end(AssociationError("the association is over"))
        outcome, detail, reason = self._outcome or ("aborted", str(association.ended), None)
        if reason is None and fault.name == "close-timeout":  # nothing is lost, so the outcome stays what it was
            detail, reason = detail or str(fault), fault.reason
        seconds = self._clock.seconds() - self._started
        self._factory.tell(AssociationEnded(
            parties, outcome, detail, reason, association.operations, association.failures,
            association.instances, association.octets, seconds,
        ))  # fmt: skip

    def busy(self) -> bool:
        return self._association is not None and self._association.busy

    # From the factory ------------------------------------------------------------------------------------------

    @property
    def is_idle(self) -> bool:
        """Whether there is no association on this connection, not yet or not at all."""
        return self._association is None and self._checking is None

    def cut(self, condition: str) -> None:
        """End the connection at once, for a condition of the failure table."""
        self._protocol.drop(TransportFault.named(condition))

    def shut_down(self, sentence: str) -> None:
        self._end("aborted", AssociationError(sentence))
        self._protocol.abort()

    # What happens ----------------------------------------------------------------------------------------------

    def _judge(self, request: AssociateRQ) -> None:
        """Cheap checks first, in the order of what a stranger should learn least from."""
        self._factory.pending.pop(self, None)
        known = self._parties
        self._parties = parties = Parties(
            known.association, known.peer, request.calling_ae_title, request.called_ae_title, known.tls
        )
        address = self._protocol.peer_host
        certificate = parties.tls.peer if parties.tls else None
        verdict = judge(request, Caller(request.calling_ae_title, address, certificate), self._factory.entities)
        if isinstance(verdict, ApplicationEntity):
            if not self._factory.draining:
                self._take_place(request, verdict, address)
                return
            verdict = Rejection("temporary congestion", "the service is shutting down")
        self._reject(verdict)

    def _take_place(self, request: AssociateRQ, entity: ApplicationEntity, address: str) -> None:
        """Go on with a place among the associations, or reject."""
        refusal = self._factory.count.take(self._factory.limits, address, self._parties.calling_ae_title)
        if isinstance(refusal, Deferred):
            self._checking = refusal
            refusal.addCallbacks(self._placed, self._not_placed, (request, entity))
            refusal.addErrback(self._cannot_accept)
        else:
            self._placed(refusal, request, entity)

    def _placed(self, refusal: str | None, request: AssociateRQ, entity: ApplicationEntity) -> None:
        self._checking = None
        if refusal is not None:
            self._reject(Rejection("local limit exceeded", refusal))
            return
        self._is_counted = True
        self._identify(request, entity)

    def _not_placed(self, failure: Failure) -> None:
        failure.trap(Congested, CancelledError)
        self._checking = None
        if isinstance(failure.value, Congested):
            self._unanswered(failure.value)

    def _identify(self, request: AssociateRQ, entity: ApplicationEntity) -> None:
        """Ask who the user is, last of all: strangers do not reach the directory. The place is held meanwhile."""
        offered = request.user_information
        tls = self._parties.tls
        presenter = Presenter(
            self._protocol.peer_host, request.calling_ae_title, request.called_ae_title,
            tls.peer if tls else None, tls.channel_binding if tls else None,
        )  # fmt: skip
        # From here on nobody keeps a credential but the gate, and only while it checks.
        kept = stripped(offered)
        is_there = kept is not offered
        if is_there:
            request = replace(request, user_information=kept)
        if entity.gate is None:
            note = "a user identity came, and none is checked here" if is_there else ""
            self._accept(Admission(note=note), request, entity, presenter)
            return
        self._checking = checking = maybeDeferred(start, entity.gate.admit(offered, presenter))
        checking.addCallbacks(self._accept, self._not_identified, (request, entity, presenter))
        checking.addErrback(self._cannot_accept)

    def _not_identified(self, failure: Failure) -> None:
        failure.trap(IdentityError, CancelledError)
        self._checking = None
        error = failure.value
        if isinstance(error, IdentityDenied):
            self._reject(Rejection("user identity", str(error), error.is_security_alert))
        elif isinstance(error, IdentityError):
            self._unanswered(error)

    def _unanswered(self, error: IdentityError | Congested) -> None:
        self._reject(Rejection("temporary congestion", str(error)))

    def _cannot_accept(self, failure: Failure) -> None:
        log.failure("[{association}] an association was not answered", failure, association=self._parties.association)
        self._protocol.abort()

    def _stop_checking(self) -> None:
        checking, self._checking = self._checking, None
        if checking is not None:
            checking.cancel()

    def _uncount(self) -> None:
        if self._is_counted:
            self._is_counted = False
            self._factory.count.remove(self._protocol.peer_host, self._parties.calling_ae_title)

    def _accept(
        self, admission: Admission, request: AssociateRQ, entity: ApplicationEntity, presenter: Presenter
    ) -> None:
        self._checking = None
        if self._factory.draining:
            self._reject(Rejection("temporary congestion", "the service is shutting down"))
            return
        if admission.principal is not None:
            known = self._parties
            self._parties = Parties(
                known.association, known.peer, known.calling_ae_title, known.called_ae_title, known.tls,
                admission.principal,
            )  # fmt: skip
        services = entity.services
        expiry = entity.gate.policy.expiry if entity.gate else Expiry.IGNORE
        permission = Permission(entity.authorization, admission.principal, presenter, expiry)
        offer = Offer(entity, permission, request.user_information.role_selections)
        policy = AcceptorPolicy(
            offer.support, services.extended, entity.maximum_length,
            entity.maximum_operations_invoked, entity.maximum_operations_performed,
        )  # fmt: skip
        answer, agreement = answer_request(request, policy)
        if admission.response is not None or admission.extended is not None:
            answer = replace(answer, user_information=admission.answer(answer.user_information))
        association = Association(
            self._protocol, self._parties, agreement, services=services, is_requestor=False, permission=permission
        )
        self._association = association
        self._provider.receiver = association.receiver
        self._started = self._clock.seconds()
        peer = request.user_information
        self._factory.tell(AssociationStarted(
            self._parties, len(agreement.contexts), len(request.presentation_contexts),
            peer.implementation_version_name or peer.implementation_class_uid,
            "; ".join(filter(None, (admission.note, offer.note))),
        ))  # fmt: skip
        self._protocol.accept(answer)
        if (seconds := permission.seconds_to_abort()) is not None:
            self._term = self._clock.callLater(seconds, self._identity_expired)

    def _identity_expired(self) -> None:
        self.shut_down(f"the identity of {self._parties.principal} has expired")

    def _reject(self, rejection: Rejection) -> None:
        self._uncount()
        answer = AssociateRJ(*REJECT[rejection.what])
        self._refused(rejection.sentence, answer, rejection.is_security_alert)
        self._protocol.reject(answer)

    def _refused(self, sentence: str, answer: AssociateRJ | None = None, is_security_alert: bool = False) -> None:
        self._told = True
        result, source, reason = astuple(answer) if answer else (None, None, None)
        self._factory.tell(
            AssociationRefused(self._parties, sentence, result, source, reason, is_security_alert)
        )

    def _close_without_association(self, fault: TransportFault) -> None:
        if violation := self._protocol.violation:
            self._refused(violation)
        elif rejection := self._protocol.rejection:  # AE-6: of a request in another version there is no indication
            sentence = REJECT_REASONS[rejection.source, rejection.reason]
            self._refused(sentence, rejection)
        else:
            self._factory.tell(ConnectionFailed(self._parties, fault))

    def _end(self, outcome: str, error: AssociationError, reason: int | None = None) -> None:
        """The first cause counts; what follows from it does not."""
        if self._association is not None and self._outcome is None:
            self._outcome = (outcome, "" if outcome == "released" else str(error), reason)
            self._association.end(error)

