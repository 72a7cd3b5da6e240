"""What a handler gets: the typed request, its association, and the data set as a stream or as a Dataset."""

from __future__ import annotations

from collections.abc import Awaitable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Generic, Protocol, TypeAlias, TypeVar

from ..dimse.messages import AffectedRequest, CEchoRQ, CFindRQ, CGetRQ, CMoveRQ, CStoreRQ, RequestMessage
from ..dimse.normalized import NActionRQ, NCreateRQ, NDeleteRQ, NEventReportRQ, NEventReportRSP, NGetRQ, NSetRQ
from ..dimse.status import Status
from ..errors import DimsetlsError, ServiceError
from ..identity.principal import Principal
from ..identity.sight import EVERYTHING, Sight
from ..ul.negotiation import AcceptedContext
from ..ul.pdus import UserInformation
from .datasets import LARGEST, UnreadableDataSet, decode
from .events import Parties
from .instances import Instance, part10
from .stream import DataSetStream, DataSetTooLong

if TYPE_CHECKING:
    from pydicom.dataset import Dataset, FileDataset

    from .outcomes import Answer

_Message = TypeVar("_Message", bound=RequestMessage)
_Query = TypeVar("_Query", bound=AffectedRequest)


class RequestingAssociation(Protocol):
    """What a handler sees of the association that its request came on.

    `parties` says who: peer address, AE titles, TLS facts with the peer's certificate. `contexts` maps
    presentation context IDs to what was agreed, `peer` is the peer's user information. `ended` says why the
    association is over, None while it is not.
    """

    parties: Parties
    contexts: Mapping[int, AcceptedContext]
    peer: UserInformation
    ended: DimsetlsError | None

    @property
    def principal(self) -> Principal | None:
        """The user whose identity was verified; None: nobody's was."""

    def abort(self) -> None:
        """Abort the association (A-ABORT, source service-user)."""

    def context(
        self, abstract_syntax: str, transfer_syntax: str | None = None, *, as_scp: bool = False
    ) -> AcceptedContext:
        """An accepted context in which we are the SCU, or the SCP. Raises `LocalProtocolError` if there is none."""
        raise NotImplementedError

    async def n_event_report(
        self, sop_class_uid: str, sop_instance_uid: str, event_type_id: int,
        information: Dataset | bytes | None = None, *, abstract_syntax: str | None = None,
    ) -> tuple[NEventReportRSP, Dataset | None]:  # fmt: skip
        """Notify the peer, as the SCP of a managed class does (PS3.7 §10.1.1); the response and the event reply."""
        raise NotImplementedError


@dataclass(frozen=True, slots=True)
class EchoRequest:
    """C-ECHO (PS3.7 §9.1.5)."""

    association: RequestingAssociation
    context: AcceptedContext
    message: CEchoRQ


@dataclass(frozen=True, slots=True)
class StoreRequest:
    """C-STORE (PS3.7 §9.1.1). `data` is the data set as it arrives, in the transfer syntax of the context."""

    association: RequestingAssociation
    context: AcceptedContext
    message: CStoreRQ
    data: DataSetStream

    @property
    def sop_class_uid(self) -> str:
        return self.message.affected_sop_class_uid

    @property
    def sop_instance_uid(self) -> str:
        return self.message.affected_sop_instance_uid

    @property
    def transfer_syntax(self) -> str:
        return self.context.transfer_syntax

    async def dataset(self) -> FileDataset:
        """The instance as pydicom reads it, with file meta, whole in memory.

        What pydicom cannot read is a `ServiceError` that answers C000H, cannot understand. Values are read when they
        are looked at, and may fail then.
        """
        data = await self.data.read()
        try:
            return part10(Instance(self.sop_class_uid, self.sop_instance_uid, self.transfer_syntax, b""), data)
        except Exception as error:
            raise ServiceError(Status.CANNOT_UNDERSTAND, "the data set cannot be read") from error


@dataclass(frozen=True, slots=True)
class QueryRequest(Generic[_Query]):
    """What C-FIND, C-GET and C-MOVE share: `data` is the identifier as it arrives.

    `sees` says which instances the rules let the user see, and whoever answers is to keep to it.
    """

    association: RequestingAssociation
    context: AcceptedContext
    message: _Query
    data: DataSetStream
    sees: Sight = EVERYTHING
    _read: list[Dataset] = field(default_factory=list, repr=False, compare=False)

    @property
    def sop_class_uid(self) -> str:
        """Of the information model."""
        return self.message.affected_sop_class_uid

    async def identifier(self) -> Dataset:
        """The identifier. One that cannot be read, or is too long, is a `ServiceError` that answers so."""
        if not self._read:
            failures = Status.UNABLE_TO_PROCESS, Status.OUT_OF_RESOURCES
            self._read.append(await _dataset(self.data, self.context, *failures))
        return self._read[0]


@dataclass(frozen=True, slots=True)
class FindRequest(QueryRequest[CFindRQ]):
    """C-FIND (PS3.7 §9.1.2)."""


@dataclass(frozen=True, slots=True)
class GetRequest(QueryRequest[CGetRQ]):
    """C-GET (PS3.7 §9.1.3)."""


@dataclass(frozen=True, slots=True)
class MoveRequest(QueryRequest[CMoveRQ]):
    """C-MOVE (PS3.7 §9.1.4)."""

    @property
    def move_destination(self) -> str:
        return self.message.move_destination


@dataclass(frozen=True, slots=True)
class NormalizedRequest(Generic[_Message]):
    """What the operations and notifications of DIMSE-N share. `data` is None where no data set came."""

    association: RequestingAssociation
    context: AcceptedContext
    message: _Message
    data: DataSetStream | None
    _read: list[Dataset] = field(default_factory=list, repr=False, compare=False)

    @property
    def sop_class_uid(self) -> str:
        """It is that of the context, or belongs to the Meta SOP Class that the context is for."""
        return self.message.sop_class_uid

    @property
    def sop_instance_uid(self) -> str:
        assert self.message.sop_instance_uid is not None  # but in N-CREATE, which has its own
        return self.message.sop_instance_uid

    async def dataset(self) -> Dataset | None:
        """The data set; None where none came. One that cannot be read is a `ServiceError` that answers so."""
        if self.data is None:
            return None
        if not self._read:
            failures = Status.PROCESSING_FAILURE, Status.RESOURCE_LIMITATION
            self._read.append(await _dataset(self.data, self.context, *failures))
        return self._read[0]


@dataclass(frozen=True, slots=True)
class EventReportRequest(NormalizedRequest[NEventReportRQ]):
    """N-EVENT-REPORT (PS3.7 §10.1.1)."""

    @property
    def event_type_id(self) -> int:
        return self.message.event_type_id


@dataclass(frozen=True, slots=True)
class GetAttributesRequest(NormalizedRequest[NGetRQ]):
    """N-GET (PS3.7 §10.1.2)."""

    @property
    def attributes(self) -> tuple[int, ...]:
        """Tags of what is asked for; none: all."""
        return self.message.attribute_identifier_list


@dataclass(frozen=True, slots=True)
class SetAttributesRequest(NormalizedRequest[NSetRQ]):
    """N-SET (PS3.7 §10.1.3)."""


@dataclass(frozen=True, slots=True)
class ActionRequest(NormalizedRequest[NActionRQ]):
    """N-ACTION (PS3.7 §10.1.4)."""

    @property
    def action_type_id(self) -> int:
        return self.message.action_type_id


@dataclass(frozen=True, slots=True)
class CreateRequest(NormalizedRequest[NCreateRQ]):
    """N-CREATE (PS3.7 §10.1.5)."""

    new_uid: str = ""

    @property
    def sop_instance_uid(self) -> str:
        """As the requestor wants it, or a new one where it leaves the choice to us; the answer says which."""
        return self.message.affected_sop_instance_uid or self.new_uid


@dataclass(frozen=True, slots=True)
class DeleteRequest(NormalizedRequest[NDeleteRQ]):
    """N-DELETE (PS3.7 §10.1.6)."""


Request: TypeAlias = (
    EchoRequest | StoreRequest | FindRequest | GetRequest | MoveRequest | EventReportRequest | GetAttributesRequest
    | SetAttributesRequest | ActionRequest | CreateRequest | DeleteRequest
)  # fmt: skip


class Performer(Protocol):
    """Whoever does what requests ask; see `IServiceProvider`."""

    def perform(self, request: Request) -> Awaitable[Answer]: ...


async def _dataset(data: DataSetStream, context: AcceptedContext, unreadable: int, too_long: int) -> Dataset:
    try:
        return decode(await data.read(LARGEST), context.transfer_syntax)
    except DataSetTooLong as error:
        raise ServiceError(too_long, f"the data set has more than {LARGEST} bytes") from error
    except UnreadableDataSet as error:
        raise ServiceError(unreadable, "the data set cannot be read", error.tags) from error
