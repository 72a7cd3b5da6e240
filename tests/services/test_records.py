from __future__ import annotations

import shutil
from io import BytesIO
from pathlib import Path

import pydicom
import pydicom.data
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import UID

from dimsetls.services.models import ATTRIBUTES
from dimsetls.services.records import LONGEST_INDEXED, SEQUENCES, TAGS, entry, read_entry, reader, split
from dimsetls.uids import (
    DEFLATED_EXPLICIT_VR_LITTLE_ENDIAN,
    EXPLICIT_VR_BIG_ENDIAN,
    EXPLICIT_VR_LITTLE_ENDIAN,
    IMPLICIT_VR_LITTLE_ENDIAN,
)

from .archives import CT

DATA = Path(pydicom.data.__file__).parent
NOT_READABLE = {"SC_rgb_jpeg.dcm"}  # says Explicit VR and is Implicit VR
FILES = [path for path in sorted([*DATA.glob("test_files/*.dcm"), *DATA.glob("charset_files/*.dcm")])
         if path.read_bytes()[128:132] == b"DICM" and path.name not in NOT_READABLE]  # fmt: skip


def write(path: Path, data_set: Dataset, syntax: str) -> None:
    data_set.file_meta = FileMetaDataset()
    data_set.file_meta.MediaStorageSOPClassUID = UID(CT)
    data_set.file_meta.MediaStorageSOPInstanceUID = UID("1.2.3")
    data_set.file_meta.TransferSyntaxUID = UID(syntax)
    pydicom.dcmwrite(path, data_set, enforce_file_format=True)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_real_files_are_read_as_pydicom_reads_them(path):
    found = read_entry(path.parent, path.name)
    truth = pydicom.dcmread(path)
    needed = ("MediaStorageSOPClassUID", "MediaStorageSOPInstanceUID", "TransferSyntaxUID")
    if not all(truth.file_meta.get(keyword) for keyword in needed):
        assert found is None
        return
    assert found.sop_instance_uid == truth.file_meta.MediaStorageSOPInstanceUID
    assert found.size == path.stat().st_size
    assert found.transfer_syntax_uid == truth.file_meta.TransferSyntaxUID
    for keyword, attribute in ATTRIBUTES.items():
        element = truth.get(attribute.tag)
        if attribute.computed or attribute.vr == "SQ" or keyword in ("SOPClassUID", "SOPInstanceUID"):
            continue
        values = [] if element is None or element.is_empty else element.value if element.VM > 1 else [element.value]
        texts = [str(value).strip() for value in values]
        if attribute.vr == "DA":
            texts = [text.replace(".", "") for text in texts]
        assert list(split(keyword, found.values.get(keyword, ""))) == (texts if any(texts) else []), keyword


def test_real_files_are_there():
    assert len(FILES) > 60


def a_data_set() -> Dataset:
    data_set = Dataset()
    data_set.SpecificCharacterSet = "ISO_IR 192"
    data_set.SOPClassUID, data_set.SOPInstanceUID = CT, "1.2.3"
    data_set.StudyDate, data_set.PatientName, data_set.Rows = "20240131", "Müller^Jürgen=山田", 512
    data_set.OtherPatientIDs = ["A", "B"]
    data_set.ImageType = ["ORIGINAL", "PRIMARY"]
    data_set.PatientComments = "with a \\ and  spaces "
    item = Dataset()
    item.RequestedProcedureID, item.RequestedProcedureDescription = "R1", "Schädel"
    other = Dataset()
    other.RequestedProcedureID = "R2"
    inner = Dataset()
    inner.CodeValue = "x"
    other.ScheduledProtocolCodeSequence = [inner]
    data_set.RequestAttributesSequence = [item, other]
    data_set.PixelData = bytes(100_000)
    data_set["PixelData"].VR = "OW"
    return data_set


@pytest.mark.parametrize("undefined", [False, True])
@pytest.mark.parametrize("syntax", [IMPLICIT_VR_LITTLE_ENDIAN, EXPLICIT_VR_LITTLE_ENDIAN, EXPLICIT_VR_BIG_ENDIAN,
                                    DEFLATED_EXPLICIT_VR_LITTLE_ENDIAN])
def test_all_kinds_of_values_in_all_encodings(tmp_path, syntax, undefined):
    data_set = a_data_set()
    data_set["RequestAttributesSequence"].is_undefined_length = undefined
    for item in data_set.RequestAttributesSequence:
        item.is_undefined_length_sequence_item = undefined
    write(tmp_path / "a.dcm", data_set, syntax)
    found = read_entry(tmp_path, "a.dcm")
    values = {keyword: split(keyword, value) for keyword, value in found.values.items()}
    assert values == {
        "SOPClassUID": (CT,), "SOPInstanceUID": ("1.2.3",),
        "StudyDate": ("20240131",), "PatientName": ("Müller^Jürgen=山田",), "Rows": ("512",),
        "OtherPatientIDs": ["A", "B"], "ImageType": ["ORIGINAL", "PRIMARY"],
        "PatientComments": ("with a \\ and  spaces",),
        "RequestAttributesSequence": [
            {"RequestedProcedureID": ["R1"], "RequestedProcedureDescription": ["Schädel"]},
            {"RequestedProcedureID": ["R2"]},
        ],
    }  # fmt: skip


@pytest.mark.filterwarnings("ignore:The value length")
def test_what_is_too_long_is_unknown_and_what_follows_is_not(tmp_path):
    data_set = a_data_set()
    data_set.PatientComments = "x" * (LONGEST_INDEXED + 2)
    data_set.RequestAttributesSequence[0].RequestedProcedureDescription = "x" * LONGEST_INDEXED
    data_set["RequestAttributesSequence"].is_undefined_length = True
    data_set.CompletionFlag = "PARTIAL"
    write(tmp_path / "a.dcm", data_set, EXPLICIT_VR_LITTLE_ENDIAN)
    values = read_entry(tmp_path, "a.dcm").values
    assert "PatientComments" not in values
    assert "RequestAttributesSequence" not in values
    assert values["ImageType"] == "ORIGINAL\\PRIMARY"
    assert values["CompletionFlag"] == "PARTIAL"


def test_the_uids_are_those_by_which_it_is_stored_whatever_the_data_set_says():
    raw = {0x0008_0018: b"9.9\0", 0x0008_0016: b"9\0"}
    assert entry(raw, IMPLICIT_VR_LITTLE_ENDIAN, CT, "1.2.3", "a", 1).values == {
        "SOPClassUID": CT, "SOPInstanceUID": "1.2.3"}  # fmt: skip


def test_a_chinese_name_is_read_without_its_escape_sequences():
    """The example of PS3.5 K.3."""
    name = b"Zhang^XiaoDong=\x1b$)A\xd5\xc5^\x1b$)A\xd0\xa1\xb6\xab= "
    raw = {0x0008_0005: b"\\ISO 2022 IR 58", 0x0010_0010: name}
    assert entry(raw, IMPLICIT_VR_LITTLE_ENDIAN, CT, "1.2.3", "a", 1).values["PatientName"] == "Zhang^XiaoDong=张^小东"


def test_what_is_no_part_10_file_has_no_entry(tmp_path):
    (tmp_path / "a.dcm").write_bytes(b"no")
    assert read_entry(tmp_path, "a.dcm") is None
    shutil.copy(DATA / "test_files" / "no_meta.dcm", tmp_path / "b.dcm")
    assert read_entry(tmp_path, "b.dcm") is None


@pytest.mark.filterwarnings("ignore")
@settings(max_examples=300, deadline=None)
@given(
    st.dictionaries(st.sampled_from([*TAGS, 0x0008_0005]), st.binary(max_size=40), max_size=8),
    st.sampled_from([IMPLICIT_VR_LITTLE_ENDIAN, EXPLICIT_VR_LITTLE_ENDIAN, EXPLICIT_VR_BIG_ENDIAN]),
    st.sampled_from(["ISO_IR 100", "\\ISO 2022 IR 87", "GB18030", "utf8", "", "x\\y"]),
)
def test_no_bytes_of_a_peer_raise(raw, syntax, character_set):
    found = entry({0x0008_0005: character_set.encode(), **raw}, syntax, CT, "1.2.3", "a", 1)
    for keyword, value in found.values.items():
        value.encode()
        split(keyword, value)


@pytest.mark.filterwarnings("ignore")
def test_a_sequence_nested_without_end_is_unknown():
    tag = next(iter(SEQUENCES))
    nested = (b"\xfe\xff\x00\xe0\xff\xff\xff\xff" + tag.to_bytes(4, "little")[2:] + tag.to_bytes(4, "little")[:2]
              + b"\xff\xff\xff\xff") * (LONGEST_INDEXED // 16)  # fmt: skip
    assert set(entry({tag: nested}, IMPLICIT_VR_LITTLE_ENDIAN, CT, "1.2", "a", 1).values) == {
        "SOPClassUID", "SOPInstanceUID"}  # fmt: skip


@pytest.mark.parametrize("cut", [1, 3, 7, 1000])
def test_pieces_of_any_size_give_the_same(tmp_path, cut):
    write(tmp_path / "a.dcm", a_data_set(), EXPLICIT_VR_LITTLE_ENDIAN)
    whole = (tmp_path / "a.dcm").read_bytes()
    start = whole.index(b"\x08\x00\x05\x00CS")
    data = BytesIO(whole[start:start + 4000])
    elements = reader(EXPLICIT_VR_LITTLE_ENDIAN)
    while piece := data.read(cut):
        elements.feed(piece)
    assert elements.error == ""
    found = entry(elements.values, EXPLICIT_VR_LITTLE_ENDIAN, CT, "1.2.3", "a.dcm", len(whole))
    assert found == read_entry(tmp_path, "a.dcm")
