"""An association that we asked for: what the peer accepted, and its end in order."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from twisted.internet.defer import CancelledError, Deferred

from ..dimse.messages import CFindRQ, CGetRQ, CMoveRQ
from ..errors import AssociationRetired, DimsetlsError
from ..identity.presenting import Standing
from ..tls.faults import TransportFault
from ..ul.negotiation import Agreement
from .events import Parties
from .session import Association

if TYPE_CHECKING:
    from .protocol import AssociationProtocol
    from .requests import Performer


class Releasing(Protocol):
    """Who asks for the release."""

    async def release(self) -> None: ...

    def ask_for_release(self, retired: AssociationRetired | None = None) -> None: ...


@dataclass(frozen=True, slots=True)
class ContextAnswer:
    """What the peer said to one proposed presentation context; `result` is a `ContextResult` or a reserved value."""

    context_id: int
    abstract_syntax: str
    transfer_syntaxes: tuple[str, ...]
    result: int | None
    """None: it said nothing."""


class RequestedAssociation(Association):
    """An association that we asked for. As a context manager it is released at the end, or aborted on an exception.

    `answers` says of every proposed context what became of it, `standing` what the peer made of our user identity:
    None where none was presented.
    """

    def __init__(
        self,
        requestor: Releasing,
        protocol: AssociationProtocol,
        parties: Parties,
        agreement: Agreement,
        services: Performer | None,
        answers: tuple[ContextAnswer, ...],
        standing: Standing | None,
    ) -> None:
        super().__init__(protocol, parties, agreement, services=services, is_requestor=True)
        self.answers = answers
        self.standing = standing
        self._requestor = requestor
        self._awaiting_quiet: list[Deferred[None]] = []

    async def release(self) -> None:
        """Release the association in order, and wait until it is.

        Operations under way are completed first (PS3.7 Annex A.5), those that can be cancelled are. What the peer
        asked is answered first as well, so a handler of this association cannot await it.
        """
        if isinstance(self.ended, AssociationRetired):
            return
        try:
            for invocation in self._invoking.outstanding:
                if isinstance(invocation.message, CFindRQ | CGetRQ | CMoveRQ):
                    invocation.ignore()
                    await self.cancel(invocation)
            while self._is_under_way and self.ended is None:
                quiet: Deferred[None] = Deferred()
                self._awaiting_quiet.append(quiet)
                await quiet
            await self._requestor.release()
        except CancelledError:
            self.abort()
            raise

    async def __aenter__(self) -> RequestedAssociation:
        return self

    async def __aexit__(self, kind: type[BaseException] | None, error: object, traceback: object) -> None:
        if self.ended is None:
            if kind is None or self._retired is not None:
                await self.release()
            else:
                self.abort()

    @property
    def _is_under_way(self) -> bool:
        """Whether an operation of ours is, or one of the peer's that has come whole and is not answered."""
        return bool(self._invoking.outstanding) or self._performing.busy

    def end(self, error: DimsetlsError) -> None:
        super().end(error)
        self._settled()

    def _settled(self) -> None:
        super()._settled()
        if not self._is_under_way or self.ended is not None:
            waiting, self._awaiting_quiet = self._awaiting_quiet, []
            for quiet in waiting:
                quiet.callback(None)

    def _retire(self, fault: TransportFault) -> None:
        self._requestor.ask_for_release(self._retired)
