"""The class that a service of one's own derives from, and several of them behind one AE title."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Awaitable, Collection, Sequence
from dataclasses import replace
from functools import lru_cache
from typing import TYPE_CHECKING

from zope.interface import implementer

from ..association.interfaces import IServiceProvider
from ..association.outcomes import Move
from ..association.requests import (
    ActionRequest,
    CreateRequest,
    DeleteRequest,
    EchoRequest,
    EventReportRequest,
    FindRequest,
    GetAttributesRequest,
    GetRequest,
    MoveRequest,
    Request,
    SetAttributesRequest,
    StoreRequest,
)
from ..dimse.command import Element
from ..dimse.status import Status
from ..errors import ServiceError
from ..uids import EXPLICIT_VR_LITTLE_ENDIAN, IMPLICIT_VR_LITTLE_ENDIAN, VERIFICATION
from ..ul.negotiation import Support
from ..ul.pdus import CommonExtendedNegotiation, ExtendedNegotiation

if TYPE_CHECKING:
    from ..association.instances import Instance
    from ..association.outcomes import Answer, Match, NormalizedAnswer, OpenDestination


@implementer(IServiceProvider)
class ServiceProvider:
    """Derive from it, say which abstract syntaxes you serve, and write the handlers.

    A handler is an `async def` that returns the status to answer, or yields what there are several of. What it raises
    never ends the association: `ServiceError` answers its status, anything else is logged and answered with a
    failure: C000H, unable to process, for a query or retrieval, 0110H, processing failure, for all others.
    Verification is always served, as every AE that accepts associations should (PS3.4 Annex A).
    """

    abstract_syntaxes: Collection[str] = ()
    transfer_syntaxes: Sequence[str] = (EXPLICIT_VR_LITTLE_ENDIAN, IMPLICIT_VR_LITTLE_ENDIAN)
    """The preferred one first: of those that a context proposes, the first in this list is taken."""

    def support(self, abstract_syntax: str, common: CommonExtendedNegotiation | None) -> Support | None:
        """What is supported for an abstract syntax; see `IServiceProvider`."""
        if abstract_syntax == VERIFICATION or abstract_syntax in self.abstract_syntaxes:
            return _support(tuple(self.transfer_syntaxes))
        return None

    def extended(self, item: ExtendedNegotiation) -> bytes | None:
        """The answer to SOP Class Extended Negotiation; see `IServiceProvider`."""
        return None

    async def perform(self, request: Request) -> Answer:
        """Call the handler for the request."""
        match request:
            case EchoRequest():
                return await self.c_echo(request)
            case StoreRequest():
                return await self.c_store(request)
            case FindRequest():
                return self.c_find(request)
            case GetRequest():
                return self.c_get(request)
            case MoveRequest():
                return Move(self.c_move(request), self.move_destination(request))
            case EventReportRequest():
                return await self.n_event_report(request)
            case GetAttributesRequest():
                return await self.n_get(request)
            case SetAttributesRequest():
                return await self.n_set(request)
            case ActionRequest():
                return await self.n_action(request)
            case CreateRequest():
                return await self.n_create(request)
            case DeleteRequest():
                return await self.n_delete(request)

    async def c_echo(self, request: EchoRequest) -> int:
        """Answer C-ECHO (PS3.7 §9.1.5)."""
        return Status.SUCCESS

    async def c_store(self, request: StoreRequest) -> int:
        """Keep what C-STORE sends (PS3.7 §9.1.1). Success means that it is safely stored (PS3.4 §B.2.2)."""
        raise _not_served("store")

    async def c_find(self, request: FindRequest) -> AsyncGenerator[Match, None]:
        """Yield a Dataset for each match (PS3.7 §9.1.2), or FF01H and one where optional keys were not supported.

        It is an async generator, asked for the next match when the peer has taken the last. A C-CANCEL closes it
        where it stands: CancelledError is raised where it awaits, GeneratorExit where it yields.
        """
        raise _not_served("query")
        yield

    async def c_get(self, request: GetRequest) -> AsyncGenerator[Instance, None]:
        """Yield each instance to send (PS3.7 §9.1.3). All are known before the first is sent, for they are counted."""
        raise _not_served("retrieve")
        yield

    async def c_move(self, request: MoveRequest) -> AsyncGenerator[Instance, None]:
        """Yield each instance to send to the move destination (PS3.7 §9.1.4); as `c_get`."""
        raise _not_served("retrieve")
        yield

    def move_destination(self, request: MoveRequest) -> OpenDestination | None:
        """How to reach the AE `request.move_destination`; None: it is not known, and answered A801H.

        It is a function from presentation contexts to an association for ``async with``, as `association` gives it or
        an `AssociationPool`; called where there is something to send.
        """
        return None

    async def n_event_report(self, request: EventReportRequest) -> NormalizedAnswer:
        """Take notice of an event (PS3.7 §10.1.1). These six return a status, or a status and a Dataset."""
        raise _not_served("take notifications")

    async def n_get(self, request: GetAttributesRequest) -> NormalizedAnswer:
        """Return the attributes of a managed SOP instance (PS3.7 §10.1.2)."""
        raise _not_served("manage")

    async def n_set(self, request: SetAttributesRequest) -> NormalizedAnswer:
        """Change attributes (PS3.7 §10.1.3)."""
        raise _not_served("manage")

    async def n_action(self, request: ActionRequest) -> NormalizedAnswer:
        """Do what `request.action_type_id` stands for (PS3.7 §10.1.4)."""
        raise _not_served("manage")

    async def n_create(self, request: CreateRequest) -> NormalizedAnswer:
        """Create the SOP instance `request.sop_instance_uid` (PS3.7 §10.1.5)."""
        raise _not_served("manage")

    async def n_delete(self, request: DeleteRequest) -> NormalizedAnswer:
        """Delete a SOP instance (PS3.7 §10.1.6)."""
        raise _not_served("manage")


@lru_cache(64)
def _support(transfer_syntaxes: tuple[str, ...]) -> Support:
    """It is asked for with every operation."""
    return Support(transfer_syntaxes)


def _not_served(what: str) -> ServiceError:
    return ServiceError(Status.SOP_CLASS_NOT_SUPPORTED, f"this AE does not {what}", (Element.COMMAND_FIELD,))


@implementer(IServiceProvider)
class Services:
    """Several service providers as one: the first that supports an abstract syntax has it.

    Another may have it for the requestor in its other role: storage takes instances of a SOP class, C-GET sends them.
    """

    def __init__(self, *providers: IServiceProvider) -> None:
        self._providers = providers

    def support(self, abstract_syntax: str, common: CommonExtendedNegotiation | None) -> Support | None:
        asked = (provider.support(abstract_syntax, common) for provider in self._providers)
        supports = [support for support in asked if support is not None]
        if len(supports) < 2:
            return supports[0] if supports else None
        return replace(
            supports[0],
            requestor_may_be_scu=any(support.requestor_may_be_scu for support in supports),
            requestor_may_be_scp=any(support.requestor_may_be_scp for support in supports),
        )

    def extended(self, item: ExtendedNegotiation) -> bytes | None:
        answers = (provider.extended(item) for provider in self._providers)
        return next((answer for answer in answers if answer is not None), None)

    def perform(self, request: Request) -> Awaitable[Answer]:
        uid = request.context.abstract_syntax
        offered = request.association.peer.common_extended_negotiations
        common = {item.sop_class_uid: item for item in offered}.get(uid) if offered else None
        # Whoever notifies is the SCP (PS3.7 §7.5.1); of all other operations it is the SCU that invokes.
        is_notification = isinstance(request, EventReportRequest)
        for provider in self._providers:
            support = provider.support(uid, common)  # asked as it was when the context was negotiated
            if support and (support.requestor_may_be_scp if is_notification else support.requestor_may_be_scu):
                return provider.perform(request)
        raise ServiceError(Status.SOP_CLASS_NOT_SUPPORTED, "no service of this AE supports the SOP class")
