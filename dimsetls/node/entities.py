"""What the sections of a configuration become: application entities, with their services, stores and archives.

A service beyond verification and storage is imported where it is made: who has no index, worklist or procedure steps
loads neither SQLite nor pydicom for them.
"""

from __future__ import annotations

import time
from contextlib import suppress
from typing import TYPE_CHECKING

from twisted.internet import defer, task
from twisted.internet.interfaces import IReactorFromThreads, IReactorTime

from ..association.admission import ApplicationEntity
from ..association.interfaces import IServiceProvider
from ..association.pool import AssociationPool
from ..identity.cache import Successes
from ..identity.gate import Gate
from ..services.filesystem import FileStore
from ..services.provider import Services
from ..services.storage import Storage
from ..services.verification import Verification
from .commons import Commons, own
from .config import AE, Config, Listener
from .config import ProcedureSteps as ProcedureStepsSection
from .config import Storage as StorageSection
from .config import Worklist as WorklistSection
from .destinations import Destinations
from .identity.build import authorization
from .identity.sections import Identity
from .prepare import Prepared
from .stores import store_of

if TYPE_CHECKING:
    from ..services.archive import Archive
    from ..services.commitment import Commitment
    from ..services.procedure_steps import StepFiles
    from ..services.query_retrieve import QueryRetrieve
    from ..services.worklist import Worklist, WorklistDirectory
    from .commitments import Commitments

_MOST_CALLS = 1000
"""Associations that we ask for, at once and in all; for each peer its section says how many."""
_LONGEST_RELEASE = 5.0
"""Seconds for peers to agree to the release of their associations when the node stops; then these are aborted."""


class Entities:
    """Makes application entities; keeps what outlives a reload: stores, archives, lock-out, remembered successes."""

    def __init__(self, reactor: IReactorTime, commons: Commons | None = None) -> None:
        self._reactor = reactor
        self._commons = commons or own(reactor)
        self.pool = AssociationPool(associations=_MOST_CALLS, clock=reactor)
        """Associations with peers that we call, of all configurations: what a reload changes ends as it falls idle."""
        self._destinations: Destinations | None = None
        self._successes = Successes(time.time)
        self._stores: dict[StorageSection, FileStore] = {}
        self._open: set[StorageSection] = set()
        self._archives: dict[tuple[StorageSection, str], Archive] = {}
        self._commitments: Commitments | None = None
        self._worklists: dict[WorklistSection, WorklistDirectory] = {}
        self._procedure_steps: dict[ProcedureStepsSection, StepFiles] = {}

    def open_stores(self, config: Config) -> None:
        """Open those stores of the configuration that are not open yet. Raises ConfigurationError.

        One that the configuration has no more stays open for those who write to it.
        """
        used = {ae.storage for listener in config.listeners for ae in listener.aes if ae.storage is not None}
        for section in used - self._open:
            self.store(section).open()
            self._open.add(section)
        if self._commitments is not None:
            self._commitments.open(config)
        for steps in {ae.procedure_steps for listener in config.listeners for ae in listener.aes}:
            if steps is not None:
                self._steps(steps).open()

    def begin(self, prepared: Prepared) -> None:
        """Let what is done unasked be done by this configuration: stores are open, and listeners are what it says."""
        if self._commitments is not None:
            self._commitments.configure(self.destinations(prepared))

    def of(self, listener: Listener, prepared: Prepared) -> list[ApplicationEntity]:
        """The application entities of a listener; they serve once their stores are open."""
        return [self._entity(ae, ae.identity or listener.identity, prepared) for ae in listener.aes]

    def destinations(self, prepared: Prepared) -> Destinations:
        """The peers that this configuration says how to call; all share one pool of associations."""
        if self._destinations is None or self._destinations.prepared is not prepared:
            self._destinations = Destinations(prepared, self.pool, self._reactor)
        return self._destinations

    def report(self, ae_title: str, peer: str) -> None:
        """Tell a peer what another process has promised, or could not tell it."""
        if self._commitments is not None:
            self._commitments.report(ae_title, peer)

    def resume_reports(self) -> None:
        """Tell all what is promised, as a process has ended that did not come to it."""
        if self._commitments is not None:
            self._commitments.resume()

    def forget_successes(self) -> None:
        """Let every identity be checked anew."""
        self._successes.clear()

    async def release(self) -> None:
        """Release the associations with peers that we called; nothing is sent any more."""
        if self._commitments is not None:
            self._commitments.stop()
        released = defer.Deferred.fromCoroutine(self.pool.close()).addTimeout(_LONGEST_RELEASE, self._reactor)
        with suppress(defer.TimeoutError):
            await released
        # The last release is told while its bytes are read: not before they are may the reactor end, and cut them off.
        await task.deferLater(self._reactor, 0.0)

    def close(self) -> None:
        """Close archives and stores; nobody uses them any more."""
        for archive in self._archives.values():
            archive.close()
        if self._commitments is not None:
            self._commitments.close()
        for store in self._stores.values():
            store.close()

    def store(self, section: StorageSection) -> FileStore:
        """The store of a section, open or not yet."""
        if section not in self._stores:
            self._stores[section] = store_of(section, in_turn=self._commons.is_worker)
        return self._stores[section]

    def _entity(self, ae: AE, identity: Identity | None, prepared: Prepared) -> ApplicationEntity:
        peers = prepared.config.peers
        providers: list[IServiceProvider] = []
        if "verification" in ae.services:
            providers.append(Verification())
        if "storage" in ae.services and ae.storage is not None:
            store = self.store(ae.storage)
            providers.append(
                Storage(store, transfer_syntaxes=ae.transfer_syntaxes, accept_unknown=ae.unknown_sop_classes)
            )
        if ae.storage is not None and ae.storage.index and {"query", "retrieve"} & set(ae.services):
            providers.append(self._query_retrieve(ae, ae.storage, prepared))
        if ae.storage is not None and ae.storage.index and "commitment" in ae.services:
            providers.append(self._commitment(ae, ae.storage))
        if "worklist" in ae.services and ae.worklist is not None:
            providers.append(self._worklist(ae.worklist))
        if "procedure-steps" in ae.services and ae.procedure_steps is not None:
            from ..services.procedure_steps import ProcedureSteps

            providers.append(ProcedureSteps(self._steps(ae.procedure_steps)))
        return ApplicationEntity(
            ae.title,
            Services(*providers),
            lambda caller: ae.refusal(caller, peers),
            ae.maximum_length,
            ae.maximum_operations_invoked,
            maximum_operations_performed=ae.maximum_operations_performed,
            gate=self._gate(ae, identity, prepared) if identity is not None else None,
            authorization=authorization(ae.rules) if ae.rules is not None else None,
        )

    def _query_retrieve(self, ae: AE, section: StorageSection, prepared: Prepared) -> QueryRetrieve:
        from ..services.query_retrieve import QueryRetrieve

        return QueryRetrieve(
            self._archive(ae, section),
            self.store(section).root,
            query="query" in ae.services,
            retrieve="retrieve" in ae.services,
            destinations=self.destinations(prepared).for_moves(ae.title),
            storage_syntaxes=ae.transfer_syntaxes,
            accept_unknown=ae.unknown_sop_classes,
        )

    def _archive(self, ae: AE, section: StorageSection) -> Archive:
        """The archive of an AE; after a reload the one of before goes on, with its threads."""
        from ..services.archive import Archive

        if (section, ae.title) not in self._archives:
            index = self.store(section).index
            assert index is not None  # as the section has one
            self._archives[section, ae.title] = Archive(index, ae.title, IReactorFromThreads(self._reactor))
        return self._archives[section, ae.title]

    def _commitment(self, ae: AE, section: StorageSection) -> Commitment:
        from .commitments import Commitments

        if self._commitments is None:
            self._commitments = Commitments(self._reactor, self._commons)
        return self._commitments.provider(ae, section, self.store(section), self._archive(ae, section))

    def _worklist(self, section: WorklistSection) -> Worklist:
        from ..services.worklist import Worklist, WorklistDirectory

        return Worklist(self._worklists.setdefault(section, WorklistDirectory(section.directory)))

    def _steps(self, section: ProcedureStepsSection) -> StepFiles:
        from ..services.procedure_steps import StepFiles

        return self._procedure_steps.setdefault(section, StepFiles(section.directory))

    def _gate(self, ae: AE, identity: Identity, prepared: Prepared) -> Gate:
        callers = ae.peers if ae.peers is not None else prepared.config.peers
        private_types = {peer.ae_title: peer.bearer_identity_type for peer in callers if peer.bearer_identity_type}
        return prepared.identity.gate(identity, private_types, self._reactor, self._commons.lockout, self._successes)
