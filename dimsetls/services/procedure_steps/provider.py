"""Modality Performed Procedure Step as SCP: N-CREATE and N-SET by its rules, and N-GET (PS3.4 F.7, F.8)."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from pydicom.dataset import Dataset
from twisted.logger import Logger

from ...association.requests import (
    CreateRequest,
    GetAttributesRequest,
    RequestingAssociation,
    SetAttributesRequest,
)
from ...dimse.status import Status
from ...errors import ServiceError
from ...uids import PROCEDURE_STEP, PROCEDURE_STEP_RETRIEVE
from ..provider import ServiceProvider
from .interfaces import IStepStore
from .rules import changed, check_new

if TYPE_CHECKING:
    from ...association.outcomes import NormalizedAnswer

log = Logger(namespace="dimsetls.procedure_steps")


@dataclass(frozen=True, slots=True)
class Change:
    """What a device has told: the step as it is now, and the association on which that came."""

    sop_instance_uid: str
    attributes: Dataset
    association: RequestingAssociation

    @property
    def status(self) -> str:
        """IN PROGRESS, COMPLETED or DISCONTINUED."""
        return str(self.attributes.PerformedProcedureStepStatus)


class ProcedureSteps(ServiceProvider):
    """Keeps performed procedure steps in `store`, an `IStepStore`.

    `observe` is awaited for each change, once it is kept and before it is answered; what it raises is logged and takes
    nothing back.
    """

    abstract_syntaxes = (PROCEDURE_STEP, PROCEDURE_STEP_RETRIEVE)

    def __init__(self, store: IStepStore, observe: Callable[[Change], Awaitable[object]] | None = None) -> None:
        self._store = store
        self._observe = observe

    async def n_create(self, request: CreateRequest) -> NormalizedAnswer:
        """Keep a new step, which is IN PROGRESS."""
        _demand(request.sop_class_uid, PROCEDURE_STEP)
        uid = request.sop_instance_uid
        attributes = await request.dataset() or Dataset()
        check_new(attributes)
        await self._store.create(uid, attributes)
        await self._tell(Change(uid, attributes, request.association))
        return Status.SUCCESS

    async def n_set(self, request: SetAttributesRequest) -> NormalizedAnswer:
        """Change a step that is IN PROGRESS."""
        _demand(request.sop_class_uid, PROCEDURE_STEP)
        uid, changes = request.sop_instance_uid, await request.dataset() or Dataset()
        after = await self._store.change(uid, lambda before: changed(before, changes))
        if after is None:
            raise _unknown()
        await self._tell(Change(uid, after, request.association))
        return Status.SUCCESS

    async def n_get(self, request: GetAttributesRequest) -> NormalizedAnswer:
        """Return what is asked for; 0001H where the step does not have all of it (PS3.4 F.8.2.1)."""
        _demand(request.sop_class_uid, PROCEDURE_STEP_RETRIEVE)
        step = await self._store.read(request.sop_instance_uid)
        if step is None:
            raise _unknown()
        wanted = request.attributes or tuple(map(int, step.keys()))
        found = Dataset({element.tag: element for element in step if element.tag in wanted})
        if "SpecificCharacterSet" in step:
            found.SpecificCharacterSet = step.SpecificCharacterSet
        is_complete = all(tag in step for tag in wanted)
        return (Status.SUCCESS if is_complete else Status.OPTIONAL_ATTRIBUTES_NOT_SUPPORTED), found

    async def _tell(self, change: Change) -> None:
        parties = change.association.parties
        log.info(
            "[{association}] {peer} says that performed procedure step {step} is {status}",
            association=parties.association, peer=parties.calling_ae_title, step=change.sop_instance_uid,
            status=change.status,
        )  # fmt: skip
        if self._observe is None:
            return
        try:
            await self._observe(change)
        except Exception:
            log.failure("[{association}] an observer of procedure steps failed", association=parties.association)


def _demand(sop_class_uid: str, expected: str) -> None:
    """The operations of the two SOP classes are different ones."""
    if sop_class_uid != expected:
        raise ServiceError(Status.UNRECOGNIZED_OPERATION, "the SOP class does not have this operation")


def _unknown() -> ServiceError:
    return ServiceError(Status.NO_SUCH_SOP_INSTANCE, "no such performed procedure step")
