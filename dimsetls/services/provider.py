"""The class that a service of one's own derives from, and several of them behind one AE title."""

from __future__ import annotations

from collections.abc import Collection, Sequence

from zope.interface import implementer

from ..association.interfaces import IServiceProvider
from ..association.requests import EchoRequest, Request, StoreRequest
from ..dimse.status import Status
from ..errors import ServiceError
from ..uids import EXPLICIT_VR_LITTLE_ENDIAN, IMPLICIT_VR_LITTLE_ENDIAN, VERIFICATION
from ..ul.negotiation import Support
from ..ul.pdus import CommonExtendedNegotiation, ExtendedNegotiation


@implementer(IServiceProvider)
class ServiceProvider:
    """Derive from it, say which abstract syntaxes you serve, and write the handlers.

    A handler is an `async def` that returns the status to answer. What it raises never ends the association:
    `ServiceError` answers its status, anything else is logged and answered 0110H, processing failure.
    Verification is always served, as every AE that accepts associations should (PS3.4 Annex A).
    """

    abstract_syntaxes: Collection[str] = ()
    transfer_syntaxes: Sequence[str] = (EXPLICIT_VR_LITTLE_ENDIAN, IMPLICIT_VR_LITTLE_ENDIAN)
    """The preferred one first: of those that a context proposes, the first in this list is taken."""

    def support(self, abstract_syntax: str, common: CommonExtendedNegotiation | None) -> Support | None:
        """What is supported for an abstract syntax; see `IServiceProvider`."""
        if abstract_syntax == VERIFICATION or abstract_syntax in self.abstract_syntaxes:
            return Support(tuple(self.transfer_syntaxes))
        return None

    def extended(self, item: ExtendedNegotiation) -> bytes | None:
        """The answer to SOP Class Extended Negotiation; see `IServiceProvider`."""
        return None

    async def perform(self, request: Request) -> int:
        """Call the handler for the request."""
        match request:
            case EchoRequest():
                return await self.c_echo(request)
            case StoreRequest():
                return await self.c_store(request)

    async def c_echo(self, request: EchoRequest) -> int:
        """Answer C-ECHO (PS3.7 §9.1.5)."""
        return Status.SUCCESS

    async def c_store(self, request: StoreRequest) -> int:
        """Keep what C-STORE sends (PS3.7 §9.1.1). Success means that it is safely stored (PS3.4 §B.2.2)."""
        raise ServiceError(Status.SOP_CLASS_NOT_SUPPORTED, "this AE does not store")


@implementer(IServiceProvider)
class Services:
    """Several service providers as one: the first that supports an abstract syntax has it."""

    def __init__(self, *providers: IServiceProvider) -> None:
        self._providers = providers

    def support(self, abstract_syntax: str, common: CommonExtendedNegotiation | None) -> Support | None:
        supports = (provider.support(abstract_syntax, common) for provider in self._providers)
        return next((support for support in supports if support is not None), None)

    def extended(self, item: ExtendedNegotiation) -> bytes | None:
        answers = (provider.extended(item) for provider in self._providers)
        return next((answer for answer in answers if answer is not None), None)

    async def perform(self, request: Request) -> int:
        uid = request.context.abstract_syntax
        common = {item.sop_class_uid: item for item in request.association.peer.common_extended_negotiations}
        for provider in self._providers:
            if provider.support(uid, common.get(uid)) is not None:  # asked as it was when the context was negotiated
                return await provider.perform(request)
        raise ServiceError(Status.SOP_CLASS_NOT_SUPPORTED, "no service of this AE supports the SOP class")
