"""What a handler gets: the typed request, its association, and the data set as a stream or as a Dataset."""

from __future__ import annotations

from collections.abc import Awaitable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol, TypeAlias

from ..dimse.messages import CEchoRQ, CStoreRQ
from ..errors import DimsetlsError
from ..identity.principal import Principal
from ..uids import IMPLEMENTATION_CLASS_UID
from ..ul.negotiation import AcceptedContext
from ..ul.pdus import UserInformation
from .events import Parties
from .stream import DataSetStream

if TYPE_CHECKING:
    from pydicom.dataset import FileDataset


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

        What pydicom cannot read raises its exception; unless caught, the peer is answered a failure.
        """
        from pydicom import dcmread
        from pydicom.dataset import FileMetaDataset
        from pydicom.filebase import DicomBytesIO
        from pydicom.filewriter import write_file_meta_info
        from pydicom.uid import UID

        meta = FileMetaDataset()
        meta.MediaStorageSOPClassUID = UID(self.sop_class_uid)
        meta.MediaStorageSOPInstanceUID = UID(self.sop_instance_uid)
        meta.TransferSyntaxUID = UID(self.transfer_syntax)
        meta.ImplementationClassUID = UID(IMPLEMENTATION_CLASS_UID)
        part10 = DicomBytesIO()
        part10.write(bytes(128) + b"DICM")
        write_file_meta_info(part10, meta)
        part10.write(await self.data.read())
        part10.seek(0)
        return dcmread(part10)


Request: TypeAlias = EchoRequest | StoreRequest


class Performer(Protocol):
    """Whoever does what requests ask; see `IServiceProvider`."""

    def perform(self, request: Request) -> Awaitable[int]: ...
