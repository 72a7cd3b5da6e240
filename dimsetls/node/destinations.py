"""How a node reaches its peers: the destinations of C-MOVE, each over TLS as its [peer] section says."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING

from twisted.internet.defer import Deferred
from twisted.internet.endpoints import HostnameEndpoint
from twisted.internet.interfaces import IReactorTime

from ..association.requested import RequestedAssociation
from ..association.requestor import associate
from ..tls.contexts import ClientConnectionCreator
from ..tls.endpoints import DicomTLSClientEndpoint
from .config import Peer

if TYPE_CHECKING:
    from ..association.outcomes import OpenDestination


def destinations(
    ae_title: str, peers: Sequence[Peer], connections: Mapping[str, ClientConnectionCreator], reactor: IReactorTime
) -> Callable[[str], OpenDestination | None]:
    """From the AE title of a peer to what opens an association with it, in which we are `ae_title`.

    `connections` are by the names of the peers; a peer without one cannot be reached.
    """
    endpoints = {
        peer.ae_title: DicomTLSClientEndpoint(HostnameEndpoint(reactor, peer.host, peer.port), connections[peer.name])
        for peer in peers if peer.host is not None and peer.name in connections
    }

    def destination(title: str) -> OpenDestination | None:
        endpoint = endpoints.get(title)
        if endpoint is None:
            return None

        def reach(contexts: Sequence[tuple[str, tuple[str, ...]]]) -> Deferred[RequestedAssociation]:
            return associate(endpoint, calling_ae_title=ae_title, called_ae_title=title, contexts=contexts)

        return reach

    return destination
