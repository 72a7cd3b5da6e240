from __future__ import annotations

from io import BytesIO

import pydicom
import pytest

from dimsetls.services.part10 import file_meta, same_data_set
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
