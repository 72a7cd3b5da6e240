"""What the sections of a configuration become: application entities, with their services, stores and archives."""

from __future__ import annotations

import time

from twisted.internet.interfaces import IReactorFromThreads, IReactorTime

from ..association.admission import ApplicationEntity
from ..association.interfaces import IServiceProvider
from ..identity.cache import Successes
from ..identity.gate import Gate
from ..identity.lockout import Lockout
from ..services.archive import Archive
from ..services.filesystem import FileStore
from ..services.provider import Services
from ..services.query_retrieve import QueryRetrieve
from ..services.storage import Storage
from ..services.verification import Verification
from .config import AE, Config, Listener
from .config import Storage as StorageSection
from .destinations import destinations
from .identity.build import authorization
from .identity.sections import Identity
from .prepare import Prepared
from .stores import store_of


class Entities:
    """Makes application entities; keeps what outlives a reload: stores, archives, lock-out, remembered successes."""

    def __init__(self, reactor: IReactorTime) -> None:
        self._reactor = reactor
        self._lockout = Lockout(reactor.seconds)
        self._successes = Successes(time.time)
        self._stores: dict[StorageSection, FileStore] = {}
        self._open: set[StorageSection] = set()
        self._archives: dict[tuple[StorageSection, str], Archive] = {}

    def open_stores(self, config: Config) -> None:
        """Open those stores of the configuration that are not open yet. Raises ConfigurationError.

        One that the configuration has no more stays open for those who write to it.
        """
        used = {ae.storage for listener in config.listeners for ae in listener.aes if ae.storage is not None}
        for section in used - self._open:
            self._store(section).open()
            self._open.add(section)

    def of(self, listener: Listener, prepared: Prepared) -> list[ApplicationEntity]:
        """The application entities of a listener; they serve once their stores are open."""
        return [self._entity(ae, ae.identity or listener.identity, prepared) for ae in listener.aes]

    def forget_successes(self) -> None:
        """Let every identity be checked anew."""
        self._successes.clear()

    def close(self) -> None:
        """Close archives and stores; nobody uses them any more."""
        for archive in self._archives.values():
            archive.close()
        for store in self._stores.values():
            store.close()

    def _store(self, section: StorageSection) -> FileStore:
        if section not in self._stores:
            self._stores[section] = store_of(section)
        return self._stores[section]

    def _entity(self, ae: AE, identity: Identity | None, prepared: Prepared) -> ApplicationEntity:
        peers = prepared.config.peers
        providers: list[IServiceProvider] = []
        if "verification" in ae.services:
            providers.append(Verification())
        if "storage" in ae.services and ae.storage is not None:
            store = self._store(ae.storage)
            providers.append(
                Storage(store, transfer_syntaxes=ae.transfer_syntaxes, accept_unknown=ae.unknown_sop_classes)
            )
        if ae.storage is not None and ae.storage.index and {"query", "retrieve"} & set(ae.services):
            providers.append(self._query_retrieve(ae, ae.storage, prepared))
        return ApplicationEntity(
            ae.title,
            Services(*providers),
            lambda caller: ae.refusal(caller, peers),
            ae.maximum_length,
            ae.maximum_operations_invoked,
            gate=self._gate(ae, identity, prepared) if identity is not None else None,
            authorization=authorization(ae.rules) if ae.rules is not None else None,
        )

    def _query_retrieve(self, ae: AE, section: StorageSection, prepared: Prepared) -> QueryRetrieve:
        store = self._store(section)
        assert store.index is not None  # as the section has one
        archive = self._archives.get((section, ae.title))
        if archive is None:  # after a reload the one of before goes on, with its threads
            archive = Archive(store.index, ae.title, IReactorFromThreads(self._reactor))
            self._archives[section, ae.title] = archive
        return QueryRetrieve(
            archive,
            store.root,
            query="query" in ae.services,
            retrieve="retrieve" in ae.services,
            destinations=destinations(ae.title, prepared.config.peers, prepared.peers, self._reactor),
            storage_syntaxes=ae.transfer_syntaxes,
            accept_unknown=ae.unknown_sop_classes,
        )

    def _gate(self, ae: AE, identity: Identity, prepared: Prepared) -> Gate:
        callers = ae.peers if ae.peers is not None else prepared.config.peers
        private_types = {peer.ae_title: peer.bearer_identity_type for peer in callers if peer.bearer_identity_type}
        return prepared.identity.gate(identity, private_types, self._reactor, self._lockout, self._successes)
