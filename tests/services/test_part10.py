from __future__ import annotations

from io import BytesIO

import pydicom
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydicom.dataset import Dataset, FileMetaDataset

from dimsetls.services.part10 import FileMeta, file_meta, read_file_meta, same_data_set
from dimsetls.uids import (
    EXPLICIT_VR_LITTLE_ENDIAN,
    IMPLEMENTATION_CLASS_UID,
    IMPLEMENTATION_VERSION_NAME,
    IMPLICIT_VR_LITTLE_ENDIAN,
)

CT = "1.2.840.10008.5.1.4.1.1.2"
DATA_SET = b"\x10\x00\x10\x00PN\x04\x00Doe "


@pytest.mark.parametrize("instance", ["1.2.3", "1.2.33", "2.25." + "9" * 59])
@pytest.mark.parametrize(("calling", "called"), [("STORESCU", "DIMSETLS"), ("ODD", "A"), ("S" * 16, "")])
def test_pydicom_reads_back_every_element(instance, calling, called):
    meta = file_meta(CT, instance, EXPLICIT_VR_LITTLE_ENDIAN, calling, called)
    read = pydicom.dcmread(BytesIO(meta + DATA_SET))
    assert read.preamble == bytes(128)
    assert {element.keyword: element.value for element in read.file_meta} == {
        "FileMetaInformationGroupLength": len(meta) - 128 - 4 - 12,
        "FileMetaInformationVersion": b"\x00\x01",
        "MediaStorageSOPClassUID": CT,
        "MediaStorageSOPInstanceUID": instance,
        "TransferSyntaxUID": EXPLICIT_VR_LITTLE_ENDIAN,
        "ImplementationClassUID": IMPLEMENTATION_CLASS_UID,
        "ImplementationVersionName": IMPLEMENTATION_VERSION_NAME,
        "SendingApplicationEntityTitle": calling,
        "ReceivingApplicationEntityTitle": called,
    }
    assert read.PatientName == "Doe"
    assert len(meta) % 2 == 0


def test_odd_values_are_padded_as_their_vr_has_it():
    meta = file_meta(CT, "1.2", EXPLICIT_VR_LITTLE_ENDIAN, "ODD", "EVEN")
    assert b"\x02\x00\x03\x00UI\x04\x001.2\0" in meta
    assert b"\x02\x00\x17\x00AE\x04\x00ODD " in meta
    assert meta.endswith(b"\x02\x00\x18\x00AE\x04\x00EVEN")


def test_an_ae_title_outside_the_default_repertoire_still_gives_a_file():
    meta = file_meta(CT, "1.2", EXPLICIT_VR_LITTLE_ENDIAN, "RÖNTGEN\udcff", "B")
    assert pydicom.dcmread(BytesIO(meta + DATA_SET)).file_meta.SendingApplicationEntityTitle == "R?NTGEN?"


def test_reads_where_its_own_data_set_begins():
    meta = file_meta(CT, "1.2.3", EXPLICIT_VR_LITTLE_ENDIAN, "A", "B")
    for data_set in (DATA_SET, b""):
        assert read_file_meta(BytesIO(meta + data_set)) == FileMeta(EXPLICIT_VR_LITTLE_ENDIAN, len(meta), CT, "1.2.3")


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


@pytest.mark.parametrize(("syntax", "body", "same"), [
    (EXPLICIT_VR_LITTLE_ENDIAN, DATA_SET * 60_000, True),
    (EXPLICIT_VR_LITTLE_ENDIAN, DATA_SET * 60_000 + b"\0", False),
    (EXPLICIT_VR_LITTLE_ENDIAN, DATA_SET * 59_999 + DATA_SET[:-1] + b"\0", False),
    (IMPLICIT_VR_LITTLE_ENDIAN, DATA_SET * 60_000, False),
    (None, DATA_SET * 60_000, False),
])
def test_data_sets_are_compared_without_their_meta_information(tmp_path, syntax, body, same):
    one, other = tmp_path / "one", tmp_path / "other"
    one.write_bytes(file_meta(CT, "1.2", EXPLICIT_VR_LITTLE_ENDIAN, "A", "B") + DATA_SET * 60_000)
    other.write_bytes((file_meta(CT, "1.2", syntax, "ANOTHER_ONE", "C") if syntax else b"") + body)
    assert same_data_set(str(one), str(other)) is same
    assert same_data_set(str(other), str(one)) is same
