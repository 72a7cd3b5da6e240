"""What is sent: read from files of all kinds, and converted."""

from __future__ import annotations

from io import BytesIO
from pathlib import Path
from typing import Any

import pytest
from pydicom import Dataset, dcmread, dcmwrite
from pydicom.dataset import FileMetaDataset

from dimsetls.association.datasets import encode
from dimsetls.association.instances import Instance, propose_for, read_meta
from dimsetls.errors import InstanceError
from dimsetls.uids import (
    DEFLATED_EXPLICIT_VR_LITTLE_ENDIAN,
    EXPLICIT_VR_BIG_ENDIAN,
    EXPLICIT_VR_LITTLE_ENDIAN,
    IMPLICIT_VR_LITTLE_ENDIAN,
)

from .pair import Running, dataset
from .stage import CT, INSTANCE, MR

PREFIX = bytes(128) + b"DICM"
JPEG = "1.2.840.10008.1.2.4.50"


def image(transfer_syntax: str = EXPLICIT_VR_LITTLE_ENDIAN) -> Dataset:
    made = dataset(SOPClassUID=CT, SOPInstanceUID=INSTANCE, PatientName="Doe^Jane", Rows=2)
    made.file_meta = FileMetaDataset()
    made.file_meta.TransferSyntaxUID = transfer_syntax
    return made


def written(transfer_syntax: str, path: Path) -> Path:
    dcmwrite(path, image(transfer_syntax), enforce_file_format=True)
    return path


def data_of(instance: Instance) -> bytes:
    async def read() -> bytes:
        return b"".join([bytes(piece) async for piece in instance.pieces(100)])

    data = Running(read()).result
    assert isinstance(data, bytes)
    return data


@pytest.mark.parametrize("transfer_syntax", [
    IMPLICIT_VR_LITTLE_ENDIAN, EXPLICIT_VR_LITTLE_ENDIAN, EXPLICIT_VR_BIG_ENDIAN, DEFLATED_EXPLICIT_VR_LITTLE_ENDIAN,
])  # fmt: skip
def test_a_file_says_what_it_is_and_gives_its_data_set(transfer_syntax, tmp_path):
    path = written(transfer_syntax, tmp_path / "image")
    for what in (path, str(path), path.read_bytes(), path.open("rb")):
        instance = Instance.of(what)
        assert (instance.sop_class_uid, instance.sop_instance_uid) == (CT, INSTANCE)
        assert instance.transfer_syntax == transfer_syntax
        assert path.read_bytes().endswith(data := data_of(instance))
        assert len(data) > 40


def element(number: int, vr: bytes, value: bytes) -> bytes:
    length = len(value).to_bytes(2, "little") if vr != b"OB" else b"\0\0" + len(value).to_bytes(4, "little")
    return b"\x02\0" + number.to_bytes(2, "little") + vr + length + value


GOOD = [element(2, b"UI", CT.encode() + b"\0"), element(3, b"UI", INSTANCE.encode() + b"\0"),
        element(0x10, b"UI", b"1.2.840.10008.1.2\0")]  # fmt: skip


@pytest.mark.parametrize("group_length", [b"", element(0, b"UL", b"\xff\0\0\0"), element(0, b"UL", bytes(4))])
def test_a_group_length_that_is_missing_or_wrong_does_not_matter(group_length):
    file = BytesIO(PREFIX + group_length + element(1, b"OB", b"\0\1") + b"".join(GOOD) + b"\x08\0data")
    assert read_meta(file, "it") == (CT, INSTANCE, IMPLICIT_VR_LITTLE_ENDIAN)
    assert file.read() == b"\x08\0data"


@pytest.mark.parametrize(("data", "says"), [
    (b"", "it is no DICOM file"), (PREFIX[:-1], "no DICOM file"), (bytes(200), "no DICOM file"),
    (PREFIX, r"expected UIDs in its file meta information: \(0002,0002\) ''"),
    (PREFIX + b"".join(GOOD[:2]), r"\(0002,0010\) ''"),
    (PREFIX + GOOD[0] + element(3, b"UI", b"../x") + GOOD[2], "'../x'"),
    (PREFIX + element(1, b"OB", b"")[:8] + b"\xff\xff\xff\x7f" + b"".join(GOOD), "no DICOM file, or damaged"),
])  # fmt: skip
def test_what_is_no_dicom_file_is_refused(data, says):
    with pytest.raises(InstanceError, match=says):
        read_meta(BytesIO(data), "it")


@pytest.mark.parametrize("what", ["/nowhere", Dataset(), dataset(SOPClassUID=CT, SOPInstanceUID="x")])
def test_what_is_no_instance_is_refused(what):
    with pytest.raises(InstanceError):
        Instance.of(what)


def test_a_file_that_is_another_by_now_is_not_sent(tmp_path):
    instance = Instance.of(written(EXPLICIT_VR_LITTLE_ENDIAN, tmp_path / "image"))
    written(IMPLICIT_VR_LITTLE_ENDIAN, tmp_path / "image")
    with pytest.raises(InstanceError, match="no longer what it did"):
        data_of(instance)


def test_a_data_set_is_what_it_was_read_as(tmp_path):
    path = written(IMPLICIT_VR_LITTLE_ENDIAN, tmp_path / "image")
    assert Instance.of(dcmread(path)).transfer_syntax == IMPLICIT_VR_LITTLE_ENDIAN
    bare = image()
    del bare.file_meta
    assert Instance.of(bare).transfer_syntax == EXPLICIT_VR_LITTLE_ENDIAN
    assert Instance.of(Instance.of(path)) == Instance.of(path)


@pytest.mark.parametrize("kind", ["path", "bytes", "file", "data set"])
def test_native_transfer_syntaxes_are_converted_into_each_other(kind, tmp_path):
    path = written(EXPLICIT_VR_LITTLE_ENDIAN, tmp_path / "image")
    what: Any = {"path": path, "bytes": path.read_bytes(), "file": path.open("rb"), "data set": dcmread(path)}[kind]
    converted = Instance.of(what).converted(IMPLICIT_VR_LITTLE_ENDIAN)
    assert converted.transfer_syntax == IMPLICIT_VR_LITTLE_ENDIAN
    assert data_of(converted) == encode(image(), IMPLICIT_VR_LITTLE_ENDIAN)


@pytest.mark.parametrize(("transfer_syntax", "source"), [
    (JPEG, b"garbage"), (EXPLICIT_VR_BIG_ENDIAN, b""), (EXPLICIT_VR_LITTLE_ENDIAN, Path("/nowhere")),
])  # fmt: skip
def test_what_cannot_be_converted_is_said(transfer_syntax, source):
    with pytest.raises(InstanceError, match="cannot be converted"):
        Instance(CT, INSTANCE, transfer_syntax, source).converted(IMPLICIT_VR_LITTLE_ENDIAN)


def test_a_stream_can_be_read_once_and_is_not_converted():
    async def pieces() -> Any:
        yield b""

    with pytest.raises(InstanceError, match="comes as a stream"):
        Instance(CT, INSTANCE, EXPLICIT_VR_LITTLE_ENDIAN, pieces()).converted(IMPLICIT_VR_LITTLE_ENDIAN)


def test_a_data_set_that_cannot_be_encoded_is_said():
    bad = image()
    bad.add_new(0x00280010, "US", -1)
    with pytest.raises(InstanceError, match="cannot be encoded"):
        data_of(Instance.of(bad))


def test_contexts_are_proposed_for_each_class_and_transfer_syntax():
    def one(sop_class: str, transfer_syntax: str, convert: bool = False) -> Instance:
        return Instance(sop_class, INSTANCE, transfer_syntax, b"", convert)

    assert propose_for([one(CT, JPEG), one(MR, IMPLICIT_VR_LITTLE_ENDIAN), one(CT, JPEG)]) == (
        (CT, (JPEG,)), (MR, (IMPLICIT_VR_LITTLE_ENDIAN,)), (CT, (IMPLICIT_VR_LITTLE_ENDIAN,)),
    )  # fmt: skip
    assert (CT, (EXPLICIT_VR_LITTLE_ENDIAN,)) in propose_for([one(CT, JPEG, convert=True)])
    many = [one(f"1.2.{number}", JPEG) for number in range(200)]
    assert len(propose_for(many)) == 128
