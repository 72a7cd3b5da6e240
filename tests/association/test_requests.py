from __future__ import annotations

import zlib

import pytest
from pydicom import Dataset
from pydicom.filebase import DicomBytesIO
from pydicom.filewriter import write_dataset

from dimsetls.association.requests import StoreRequest
from dimsetls.errors import AssociationError
from dimsetls.uids import (
    DEFLATED_EXPLICIT_VR_LITTLE_ENDIAN,
    EXPLICIT_VR_BIG_ENDIAN,
    EXPLICIT_VR_LITTLE_ENDIAN,
    IMPLICIT_VR_LITTLE_ENDIAN,
)

from .stage import CT, INSTANCE, Services, Stage, context, data_set, statuses, store, store_command


def encoded(transfer_syntax: str) -> bytes:
    """A small data set as it travels in this transfer syntax."""
    dataset = Dataset()
    dataset.SOPClassUID, dataset.SOPInstanceUID, dataset.PatientName, dataset.Rows = CT, INSTANCE, "Doe^Jane", 512
    buffer = DicomBytesIO()
    buffer.is_implicit_VR = transfer_syntax == IMPLICIT_VR_LITTLE_ENDIAN
    buffer.is_little_endian = transfer_syntax != EXPLICIT_VR_BIG_ENDIAN
    write_dataset(buffer, dataset)
    if transfer_syntax != DEFLATED_EXPLICIT_VR_LITTLE_ENDIAN:
        return buffer.getvalue()
    deflater = zlib.compressobj(wbits=-zlib.MAX_WBITS)
    stream = deflater.compress(buffer.getvalue()) + deflater.flush()
    return stream + b"\0" * (len(stream) & 1)


@pytest.mark.parametrize("transfer_syntax", [
    IMPLICIT_VR_LITTLE_ENDIAN, EXPLICIT_VR_LITTLE_ENDIAN, EXPLICIT_VR_BIG_ENDIAN, DEFLATED_EXPLICIT_VR_LITTLE_ENDIAN,
])  # fmt: skip
def test_a_handler_may_have_the_data_set_as_pydicom_reads_it(transfer_syntax):
    read = []

    async def handle(request: StoreRequest) -> int:
        dataset = await request.dataset()
        meta = dataset.file_meta
        read.append((dataset.PatientName, dataset.Rows))
        read.append((meta.TransferSyntaxUID, meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID))
        return 0

    class AnySyntax(Services):
        transfer_syntaxes = (transfer_syntax,)

    peer = Stage(AnySyntax(handle)).associated(context(3, CT, transfer_syntax))
    assert statuses(peer.send(store(encoded(transfer_syntax)))) == [(1, 0)]
    assert read == [("Doe^Jane", 512), (transfer_syntax, CT, INSTANCE)]


def test_a_data_set_that_pydicom_cannot_read_is_answered_a_failure(logged):
    async def handle(request: StoreRequest) -> int:
        await request.dataset()
        return 0

    class Deflated(Services):
        transfer_syntaxes = (DEFLATED_EXPLICIT_VR_LITTLE_ENDIAN,)

    peer = Stage(Deflated(handle)).associated(context(3, CT, DEFLATED_EXPLICIT_VR_LITTLE_ENDIAN))
    assert statuses(peer.send(store(b"not deflated"))) == [(1, 0xC000)]
    assert not [event for event in logged if event.get("log_failure")]
    assert "Error -3" in next(event["sentence"] for event in logged if "sentence" in event)


def test_the_request_names_what_was_sent():
    seen = []

    async def handle(request: StoreRequest) -> int:
        seen.append((request.sop_class_uid, request.sop_instance_uid, request.transfer_syntax))
        seen.append((request.context.context_id, request.association.parties.calling_ae_title))
        return 0

    peer = Stage(Services(handle)).associated()
    peer.send(store(b""))
    assert seen == [(CT, INSTANCE, EXPLICIT_VR_LITTLE_ENDIAN), (3, "PEER")]


def test_reading_a_dataset_of_an_association_that_ends_raises():
    raised = []

    async def handle(request: StoreRequest) -> int:
        try:
            await request.dataset()
        except AssociationError as error:
            raised.append(str(error))
        return 0

    peer = Stage(Services(handle)).associated()
    peer.send(store_command() + data_set(bytes(20000))[:16384])
    peer.cut()
    assert len(raised) == 1
