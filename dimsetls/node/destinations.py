"""How a node calls its peers: one place where a [peer] section becomes something that opens associations."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING

from twisted.internet.endpoints import HostnameEndpoint
from twisted.internet.interfaces import IReactorTime

from ..association.pool import AssociationPool
from ..association.protocol import Timeouts
from ..association.remote import Remote
from ..errors import ConfigurationError
from ..tls.endpoints import DicomTLSClientEndpoint
from .config import Peer
from .credentials import Credential
from .presenting import Presenter, Presents, presenter

if TYPE_CHECKING:
    from ..association.outcomes import OpenDestination
    from .prepare import Prepared


def remote_of(prepared: Prepared, peer: Peer, calling_ae_title: str, reactor: IReactorTime) -> Remote | None:
    """The peer as it is called by one AE of ours; None where its section does not say where it is.

    Raises ConfigurationError where what is to be presented was not prepared, and cannot be used.
    """
    if peer.host is None or peer.tls is None or peer.name not in prepared.peers:
        return None
    presents = None
    if (credential := peer.presents) is not None:
        made = prepared.presenters.get(credential.name) or _made(credential)
        presents = Presents(made, peer.bearer_identity_type if credential.is_token else None)
    reached = HostnameEndpoint(reactor, peer.host, peer.port, peer.connect_timeout)
    timeouts = Timeouts(
        tls_handshake=peer.connect_timeout,
        connect=peer.connect_timeout,
        answer=peer.answer_timeout,
        response=peer.response_timeout,
        idle=max(Timeouts().idle, 2 * peer.idle_timeout),  # the pool releases it long before
    )
    host = f"[{peer.host}]" if ":" in peer.host else peer.host
    return Remote(
        DicomTLSClientEndpoint(reached, prepared.peers[peer.name], peer.tls.transport),
        peer.ae_title,
        calling_ae_title,
        identity=presents,
        timeouts=timeouts,
        associations=peer.associations,
        operations=peer.operations,
        idle=peer.idle_timeout,
        address=f"{host}:{peer.port}",
    )


def _made(credential: Credential) -> Presenter:
    try:
        return presenter(credential)
    except ConfigurationError as error:
        raise ConfigurationError(*(f"[credential {credential.name}] {each}" for each in error.problems)) from None


class Destinations:
    """The peers that one configuration says how to call, as remotes of a pool."""

    def __init__(self, prepared: Prepared, pool: AssociationPool, reactor: IReactorTime) -> None:
        self.prepared = prepared
        self.pool = pool
        self._reactor = reactor
        self._by_title = {peer.ae_title: peer for peer in prepared.config.peers if peer.name in prepared.peers}
        self._remotes: dict[tuple[str, str], Remote | None] = {}
        self._for_moves: dict[Remote, Remote] = {}

    def remote(self, peer: Peer, calling_ae_title: str) -> Remote | None:
        """The peer as it is called by one AE of ours, always the same object; None where it cannot be."""
        key = peer.name, calling_ae_title
        if key not in self._remotes:
            self._remotes[key] = remote_of(self.prepared, peer, calling_ae_title, self._reactor)
        return self._remotes[key]

    def titled(self, ae_title: str, calling_ae_title: str) -> Remote | None:
        """The peer with that AE title."""
        peer = self._by_title.get(ae_title)
        return None if peer is None else self.remote(peer, calling_ae_title)

    def for_moves(self, calling_ae_title: str) -> Callable[[str], OpenDestination | None]:
        """The destinations of C-MOVE at one AE of ours, by their AE titles.

        None is kept when the C-MOVE is over: many a receiver, DCMTK's storescp for one, takes a single association at
        a time, and many take its end for the end of the study.
        """

        def destination(ae_title: str) -> OpenDestination | None:
            remote = self.titled(ae_title, calling_ae_title)
            if remote is None:
                return None
            return partial(self.pool.association, self._for_moves.setdefault(remote, replace(remote, idle=0.0)))

        return destination
