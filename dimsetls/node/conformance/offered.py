"""Which services the AEs of a configuration offer, asked of the objects that serve."""

from __future__ import annotations

from twisted.internet.interfaces import IReactorFromThreads, IReactorTime

from ...association.interfaces import IServiceProvider
from ...services.archive import Archive
from ...services.commitment import Commitment, Reports, Transactions, archived
from ...services.known import UIDS
from ...services.procedure_steps import ProcedureSteps, StepFiles
from ...services.provider import Services
from ...services.query_retrieve import QueryRetrieve
from ...services.storage import Storage
from ...services.verification import Verification
from ...services.worklist import Worklist, WorklistDirectory
from ..commitments import PROMISES
from ..config import AE, Config
from ..stores import index_of, store_of


def searches(ae: AE) -> bool:
    """Whether the AE answers queries or retrievals."""
    return "query" in ae.services or "retrieve" in ae.services


def reached(config: Config) -> tuple[AE, ...]:
    """The AEs that peers can call."""
    return tuple(dict.fromkeys(ae for listener in config.listeners for ae in listener.aes))


def services_of(ae: AE) -> Services:
    """The services of an AE as the node offers them, on a store that is never opened."""
    providers: list[IServiceProvider] = []
    if "verification" in ae.services:
        providers.append(Verification())
    if "storage" in ae.services and ae.storage is not None:
        store = store_of(ae.storage)
        providers.append(
            Storage(store, transfer_syntaxes=ae.transfer_syntaxes, accept_unknown=ae.unknown_sop_classes)
        )
    if ae.storage is not None and (searches(ae) or "commitment" in ae.services):
        from twisted.internet import reactor  # as late as possible: importing it chooses one for the process

        archive = Archive(index_of(ae.storage), ae.title, IReactorFromThreads(reactor))
        if searches(ae):
            providers.append(QueryRetrieve(
                archive, ae.storage.directory, query="query" in ae.services, retrieve="retrieve" in ae.services,
                storage_syntaxes=ae.transfer_syntaxes, accept_unknown=ae.unknown_sop_classes,
            ))  # fmt: skip
        if "commitment" in ae.services:
            promises = Transactions(ae.storage.directory / PROMISES)
            judge = archived(archive, store_of(ae.storage))
            clock = IReactorTime(reactor)
            providers.append(Commitment(Reports(promises, judge, ae.title, run=archive.run, clock=clock)))
    if "worklist" in ae.services and ae.worklist is not None:
        providers.append(Worklist(WorklistDirectory(ae.worklist.directory)))
    if "procedure-steps" in ae.services and ae.procedure_steps is not None:
        providers.append(ProcedureSteps(StepFiles(ae.procedure_steps.directory)))
    return Services(*providers)


def contexts(ae: AE) -> dict[str, tuple[str, ...]]:
    """Abstract syntax to transfer syntaxes, of everything in the dictionary for which the AE is SCP."""
    offered = services_of(ae)
    classes = (uid for uid, (_, kind, *_) in UIDS.items() if kind in ("SOP Class", "Meta SOP Class"))
    supports = ((uid, offered.support(uid, None)) for uid in classes)
    return {uid: support.transfer_syntaxes for uid, support in supports
            if support is not None and support.requestor_may_be_scu}
