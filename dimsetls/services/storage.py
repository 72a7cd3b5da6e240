"""The Storage Service Class as SCP (PS3.4 Annex B): instances go to a file store as they come, bit for bit."""

from __future__ import annotations

from collections.abc import Sequence

from twisted.internet.threads import deferToThread
from twisted.logger import Logger

from ..association.requests import StoreRequest
from ..dimse.status import Status
from ..ul.negotiation import Support
from ..ul.pdus import CommonExtendedNegotiation
from .filesystem import FileStore
from .known import is_stored, transfer_syntaxes
from .provider import ServiceProvider

log = Logger(namespace="dimsetls.storage")


class Storage(ServiceProvider):
    """Keeps every instance of a storage SOP class in `store`, in the transfer syntax in which it comes.

    `accept_unknown` admits private storage classes, and standard ones newer than the dictionary of pydicom.
    """

    def __init__(
        self, store: FileStore, *, transfer_syntaxes: Sequence[str] | None = None, accept_unknown: bool = False
    ) -> None:
        self.transfer_syntaxes = tuple(all_transfer_syntaxes() if transfer_syntaxes is None else transfer_syntaxes)
        self._store = store
        self._accept_unknown = accept_unknown
        self._support = Support(self.transfer_syntaxes)

    def support(self, abstract_syntax: str, common: CommonExtendedNegotiation | None) -> Support | None:
        return self._support if is_stored(abstract_syntax, self._accept_unknown) else None

    async def c_store(self, request: StoreRequest) -> int:
        """Stream the data set to a hidden file; answer Success when it has appeared in the store, whole."""
        parties = request.association.parties
        incoming = self._store.begin(
            request.sop_class_uid,
            request.sop_instance_uid,
            request.transfer_syntax,
            parties.calling_ae_title,
            parties.called_ae_title,
        )
        try:
            await request.data.copy_to(incoming)
            # Waits for the disk, so it is done in a thread; without fsync and index it is a rename, faster done here.
            waits = self._store.durable or self._store.index is not None
            stored = await deferToThread(incoming.commit) if waits else incoming.commit()
        except BaseException:
            incoming.discard()
            raise
        if stored.remark:
            log.info("[{association}] the layout went without: {remark}", association=parties.association,
                     remark=stored.remark)  # fmt: skip
        return Status.SUCCESS


def all_transfer_syntaxes() -> Sequence[str]:
    """Every transfer syntax that can be stored, the preferred one first."""
    return tuple(transfer_syntaxes().values())
