from __future__ import annotations

from io import BytesIO

import pydicom
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydicom.dataset import Dataset, FileMetaDataset

from dimsetls.association.part10 import FileMeta, read_file_meta
from dimsetls.services.part10 import file_meta
from dimsetls.uids import EXPLICIT_VR_LITTLE_ENDIAN

CT = "1.2.840.10008.5.1.4.1.1.2"
DATA_SET = b"\x10\x00\x10\x00PN\x04\x00Doe "


def test_reads_where_its_own_data_set_begins():
    meta = file_meta(CT, "1.2.3", EXPLICIT_VR_LITTLE_ENDIAN, "A", "B")
    expected = FileMeta(EXPLICIT_VR_LITTLE_ENDIAN, len(meta), CT, "1.2.3", "A", "B")
    for data_set in (DATA_SET, b""):
        for before in (b"", b"something else"):
            file = BytesIO(before + meta + data_set)
            file.seek(len(before))
            assert read_file_meta(file) == expected
            assert file.read() == data_set


@pytest.mark.parametrize("group_length", [None, 4, 4000])
def test_reads_files_of_others(group_length):
    """Long forms, elements we never write, and a length element that is missing or wrong."""
    data_set = Dataset()
    data_set.PatientName = "Doe"
    data_set.file_meta = FileMetaDataset()
    data_set.file_meta.MediaStorageSOPClassUID = CT
    data_set.file_meta.MediaStorageSOPInstanceUID = "1.2.3"
    data_set.file_meta.TransferSyntaxUID = EXPLICIT_VR_LITTLE_ENDIAN
    data_set.file_meta.SendingPresentationAddress = "dicom:sender.example:11112"
    data_set.file_meta.PrivateInformationCreatorUID = "1.2.9"
    data_set.file_meta.PrivateInformation = bytes(70_000)
    file = BytesIO()
    pydicom.dcmwrite(file, data_set, enforce_file_format=True)
    whole = file.getvalue()
    length = b"" if group_length is None else whole[132:140] + group_length.to_bytes(4, "little")
    changed = whole[:132] + length + whole[144:]
    meta = read_file_meta(BytesIO(changed))
    assert meta is not None
    assert meta.transfer_syntax_uid == EXPLICIT_VR_LITTLE_ENDIAN
    assert changed[meta.data_set_offset:] == DATA_SET


@given(st.binary(max_size=300), st.integers(0, 600))
def test_what_is_no_part_10_file_is_none_or_at_least_no_error(noise, cut):
    assert read_file_meta(BytesIO(noise[:131])) is None
    assert read_file_meta(BytesIO(bytes(132) + noise)) is None
    read_file_meta(BytesIO(bytes(128) + b"DICM" + noise))
    meta = file_meta(CT, "1.2.3", EXPLICIT_VR_LITTLE_ENDIAN, "A", "B")
    read_file_meta(BytesIO((meta + DATA_SET)[:cut]))


def test_more_than_a_mebibyte_is_none() -> None:
    meta = file_meta(CT, "1.2.3", EXPLICIT_VR_LITTLE_ENDIAN, "A", "B")
    private = b"\x02\x00\x02\x01OB\0\0"
    assert read_file_meta(BytesIO(meta + private + (1000).to_bytes(4, "little") + bytes(1000))) is not None
    assert read_file_meta(BytesIO(meta + private + (1 << 20).to_bytes(4, "little") + bytes(1 << 20))) is None


def test_a_uid_that_is_too_long_is_not_cut_to_one_that_is_not() -> None:
    meta = read_file_meta(BytesIO(file_meta(CT, "1." + "2" * 70, EXPLICIT_VR_LITTLE_ENDIAN, "A", "B")))
    assert meta is not None
    assert len(meta.sop_instance_uid) > 64
