"""What there is one of in a node, however many processes it has; and which of them does what is done once."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from twisted.internet import reactor
from twisted.internet.endpoints import serverFromString
from twisted.internet.interfaces import IReactorTime, IStreamServerEndpoint

from ..association.limits import AssociationCount
from ..identity.lockout import Failures, Lockout
from .config import Listener

if TYPE_CHECKING:
    from ..services.commitment import Claims


def _bound(listener: Listener) -> IStreamServerEndpoint:
    """Where a process listens that accepts connections itself. Raises LookupError."""
    endpoint: IStreamServerEndpoint = serverFromString(reactor, listener.transport)
    return endpoint


@dataclass(frozen=True)
class Commons:
    """As one process has it that is the whole node; a worker gets others, see `workers.remote`."""

    lockout: Failures
    endpoint: Callable[[Listener], IStreamServerEndpoint] = _bound
    count: Callable[[Listener], AssociationCount] = lambda listener: AssociationCount()
    changed: Callable[[], None] = lambda: None
    """There is a connection more or less."""
    share: int = 1
    """How many processes there are, for bounds that each keeps for itself."""
    is_worker: bool = False
    """Whether another process listens, watches over files and signals, and says what is so for all."""
    calls: bool = True
    """Whether this is the process that forwards, and that calls peers to report to them."""
    claims: Callable[[Path], Claims | None] = lambda path: None
    hand_over: Callable[[str, str], None] = lambda ae_title, peer: None
    """From an AE title of ours to the peer that is to be called, where this process is not the one."""
    queued: Callable[[], None] = lambda: None
    """Something is to be forwarded, where this process is not the one. Called in any thread."""


def own(clock: IReactorTime) -> Commons:
    """The commons of a node of one process."""
    return Commons(Lockout(clock.seconds))
