"""A remote application entity: where it is, as whom we call it, and who we say that we are."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol

from twisted.internet.interfaces import IStreamClientEndpoint

from ..errors import AssociationRejected, IdentityNotVerified
from ..identity.presenting import Presentation
from ..uids import VERIFICATION
from ..ul.pdus import AsynchronousOperationsWindow, RoleSelection
from .protocol import Timeouts
from .requested import RequestedAssociation
from .requestor import associate, propose
from .timers import Clock

if TYPE_CHECKING:
    from .interfaces import IServiceProvider


class IdentitySource(Protocol):
    """Where what we present comes from, anew for each association: a ticket serves once, and a token ends."""

    async def presentation(self) -> Presentation:
        """What to present now; its secrets are wiped afterwards. Raises IdentityError or ConfigurationError."""

    def refused(self) -> None:
        """The peer did not take what was presented last: nothing that is kept is to be presented again."""


@dataclass(frozen=True, slots=True, eq=False)
class Remote:
    """A peer and the one identity that we have with it; `open` calls it.

    Two objects are never equal, so that a pool never lets two identities share an association: who acts for several
    users makes one for each, and keeps it. `associations` is how many there may be at once in a pool, `operations` how
    many operations we ask to have outstanding on each (asynchronous operations window), `idle` the seconds for which
    a pool keeps an association that nobody uses. `opened` is told of each new association. `address` is where it is,
    in words for people.
    """

    endpoint: IStreamClientEndpoint = field(repr=False)
    called_ae_title: str
    calling_ae_title: str
    identity: Presentation | IdentitySource | None = field(default=None, repr=False)
    timeouts: Timeouts = field(default_factory=Timeouts)
    associations: int = 4
    operations: int = 1
    idle: float = 10.0
    opened: Callable[[RequestedAssociation], object] | None = None
    address: str = ""

    def __str__(self) -> str:
        return f"{self.called_ae_title} at {self.address}" if self.address else self.called_ae_title

    async def open(
        self,
        contexts: Iterable[tuple[str, tuple[str, ...]]] = (propose(VERIFICATION),),
        *,
        role_selections: tuple[RoleSelection, ...] = (),
        services: IServiceProvider | None = None,
        clock: Clock | None = None,
    ) -> RequestedAssociation:
        """An association with it: ``async with await remote.open() as association:``.

        Raises as `associate` does, and IdentityError or ConfigurationError where there is nothing to present.
        """
        window = AsynchronousOperationsWindow(self.operations, 1) if self.operations != 1 else None
        source = None if isinstance(self.identity, Presentation) else self.identity
        presentation = self.identity if isinstance(self.identity, Presentation) else None
        if source is not None:
            presentation = await source.presentation()
        try:
            association = await associate(
                self.endpoint, calling_ae_title=self.calling_ae_title, called_ae_title=self.called_ae_title,
                contexts=contexts, role_selections=role_selections, window=window, identity=presentation,
                services=services, timeouts=self.timeouts, clock=clock,
            )  # fmt: skip
        except (AssociationRejected, IdentityNotVerified):
            if source is not None:
                source.refused()
            raise
        finally:
            if source is not None and presentation is not None:
                presentation.wipe()
        if self.opened is not None:
            self.opened(association)
        return association
