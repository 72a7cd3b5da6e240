"""The Query/Retrieve Service Class as SCP (PS3.4 Annex C): FIND, MOVE and GET over an archive."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from ..association.instances import Instance
from ..association.requests import FindRequest, GetRequest, MoveRequest, RequestingAssociation
from ..association.retrieving import MOST
from ..dimse.status import Status
from ..errors import ServiceError
from ..ul.negotiation import Support
from ..ul.pdus import CommonExtendedNegotiation, ExtendedNegotiation
from .archive import Archive
from .known import is_stored
from .models import MODELS, Model, Negotiated
from .provider import ServiceProvider
from .storage import all_transfer_syntaxes

if TYPE_CHECKING:
    from ..association.outcomes import Match, OpenDestination


class QueryRetrieve(ServiceProvider):
    """Answers queries of the Patient Root, the Study Root and, retired, Patient/Study Only, and sends what is stored.

    `root` is where the paths of the archive begin. `destinations` knows how to reach a move destination by its AE
    title, None: it does not. With C-GET, storage SOP classes may be proposed for the requestor as SCP, in
    `storage_syntaxes`, the preferred one first. What a peer does not accept as it is stored is sent in a transfer
    syntax without compression, if pydicom can decode it.
    """

    def __init__(
        self,
        archive: Archive,
        root: Path,
        *,
        query: bool = True,
        retrieve: bool = True,
        destinations: Callable[[str], OpenDestination | None] = lambda ae_title: None,
        storage_syntaxes: Sequence[str] | None = None,
        accept_unknown: bool = False,
    ) -> None:
        finds = {model.find for model in MODELS.values()}
        self.abstract_syntaxes = frozenset(uid for uid in MODELS if (query if uid in finds else retrieve))
        self._archive = archive
        self._root = root
        self._retrieve = retrieve
        self._destinations = destinations
        self._accept_unknown = accept_unknown
        self._support = Support(tuple(self.transfer_syntaxes))
        syntaxes = tuple(all_transfer_syntaxes() if storage_syntaxes is None else storage_syntaxes)
        self._received = Support(syntaxes, requestor_may_be_scu=False, requestor_may_be_scp=True)

    def support(self, abstract_syntax: str, common: CommonExtendedNegotiation | None) -> Support | None:
        if abstract_syntax in self.abstract_syntaxes:
            return self._support
        if self._retrieve and is_stored(abstract_syntax, self._accept_unknown):
            return self._received
        return None

    def extended(self, item: ExtendedNegotiation) -> bytes | None:
        if item.sop_class_uid not in self.abstract_syntaxes:
            return None
        return _agreed(item).answer(len(item.service_class_application_information))

    async def c_find(self, request: FindRequest) -> AsyncGenerator[Match, None]:
        """Yield what matches, as fast as the peer takes it."""
        model, negotiated = _model(request.sop_class_uid), _negotiated(request.association, request.sop_class_uid)
        matches = self._archive.query(model, await request.identifier(), negotiated=negotiated, sees=request.sees)
        status = Status.PENDING_WARNING if matches.has_unsupported_keys else Status.PENDING
        try:
            async for match in matches:
                yield status, match
        finally:
            await matches.aclose()

    def c_get(self, request: GetRequest) -> AsyncGenerator[Instance, None]:
        return self._instances(request)

    def c_move(self, request: MoveRequest) -> AsyncGenerator[Instance, None]:
        return self._instances(request)

    def move_destination(self, request: MoveRequest) -> OpenDestination | None:
        return self._destinations(request.move_destination)

    async def _instances(self, request: GetRequest | MoveRequest) -> AsyncGenerator[Instance, None]:
        model, negotiated = _model(request.sop_class_uid), _negotiated(request.association, request.sop_class_uid)
        selection = await self._archive.retrieve(
            model, await request.identifier(), negotiated=negotiated, sees=request.sees
        )
        if len(selection) > MOST:  # or they would all be fetched first
            sentence = f"{len(selection)} instances match; {MOST} can be counted"
            raise ServiceError(Status.UNABLE_TO_COUNT_MATCHES, sentence)
        async for chunk in selection:
            for stored in chunk:
                yield Instance(
                    stored.sop_class_uid, stored.sop_instance_uid, stored.transfer_syntax_uid,
                    self._root / stored.path, convert=True,
                )  # fmt: skip


def _model(sop_class_uid: str) -> Model:
    model = MODELS.get(sop_class_uid)
    if model is None:
        raise ServiceError(Status.SOP_CLASS_NOT_SUPPORTED, "the SOP class is no information model")
    return model


def _negotiated(association: RequestingAssociation, sop_class_uid: str) -> Negotiated:
    """What this association agreed on for the SOP class."""
    items = association.peer.extended_negotiations
    return next((_agreed(item) for item in items if item.sop_class_uid == sop_class_uid), Negotiated())


def _agreed(item: ExtendedNegotiation) -> Negotiated:
    information = item.service_class_application_information
    if item.sop_class_uid != MODELS[item.sop_class_uid].find:
        information = information[:1]  # of C-MOVE and C-GET the second byte is about enhanced images (PS3.4 C.5.2.1)
    return Negotiated.read(information)
