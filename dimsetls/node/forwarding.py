"""The forwarding from the stores of a configuration; it outlives a reload."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from twisted.application.service import MultiService
from twisted.internet.defer import Deferred, DeferredList
from twisted.internet.interfaces import IReactorFromThreads

from ..association.remote import Remote
from ..services.forwarding.rules import Rule
from .commons import Commons
from .config import Storage
from .destinations import Destinations
from .entities import Entities
from .prepare import Prepared
from .stores import rules_of

if TYPE_CHECKING:
    from ..services.forwarding.queue import Queue
    from ..services.forwarding.service import Forwarding


class Forwardings(MultiService):
    """One for each directory that is stored to and has an index. They start once the stores are open."""

    def __init__(self, entities: Entities, reactor: IReactorFromThreads, commons: Commons) -> None:
        super().__init__()
        self._commons = commons
        self._entities = entities
        self._reactor = reactor
        self._forwardings: dict[Path, Forwarding] = {}
        self._queues: set[Queue] = set()

    def configure(self, prepared: Prepared) -> None:
        """Let all forward by the rules of this configuration; those whose store is in it no more forward nothing."""
        used = {ae.storage for listener in prepared.config.listeners for ae in listener.aes if ae.storage is not None}
        sections: dict[Path, list[Storage]] = {}
        for section in prepared.config.storages:
            if section.index and section in used:
                sections.setdefault(section.directory.resolve(), []).append(section)
        reach = partial(_remote, self._entities.destinations(prepared))
        for queue in self._queues:
            queue.rules = ()
        for directory, same in sections.items():
            for section in same:
                store = self._entities.store(section)
                assert store.queue is not None  # as there is an index
                store.queue.rules = rules_of(section)
                self._queues.add(store.queue)
                if not self._commons.calls:
                    store.queue.news = self._commons.queued
                elif directory not in self._forwardings:
                    from ..services.forwarding.service import Forwarding  # SQLite and pydicom, as the index

                    self._forwardings[directory] = Forwarding(store.root, store.queue, self._reactor)
        for directory, forwarding in self._forwardings.items():
            rules = [rule for section in sections.get(directory, ()) for rule in rules_of(section)]
            forwarding.configure(tuple(dict.fromkeys(rules)), reach)
            if forwarding.parent is None:
                forwarding.setServiceParent(self)

    def wake(self) -> None:
        """Another process has queued something."""
        for forwarding in self._forwardings.values():
            forwarding.wake()

    async def drain(self, timeout: float) -> None:
        """Send no more; what is at hand may be completed for so many seconds."""
        await DeferredList([Deferred.fromCoroutine(each.drain(timeout)) for each in self._forwardings.values()])


def _remote(destinations: Destinations, rule: Rule, peer: str, calling_ae_title: str) -> Remote | None:
    peers = {each.name: each for each in destinations.prepared.config.peers}
    return destinations.remote(peers[peer], calling_ae_title) if peer in peers else None
