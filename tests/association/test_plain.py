"""What is written as plain is what pydicom writes, byte for byte; and what is not plain is left to it."""

from __future__ import annotations

import warnings
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydicom import Dataset
from pydicom.config import IGNORE
from pydicom.dataelem import DataElement

from dimsetls.association.datasets import _written, decode, encode
from dimsetls.association.plain import encode_plain
from dimsetls.uids import EXPLICIT_VR_LITTLE_ENDIAN

from .pair import dataset

TEXT_VRS = ("AE", "AS", "CS", "DA", "DS", "DT", "IS", "LO", "LT", "PN", "SH", "ST", "TM", "UI", "UT")
NUMBER_VRS = ("US", "SS", "UL", "SL", "FD", "FL")
CHARACTER_SETS = [
    None, "", "ISO_IR 6", "ISO_IR 100", "ISO_IR 192", "ISO_IR 13", "ISO_IR 144", "GB18030", "none",
    ["", "ISO 2022 IR 87"], ["ISO_IR 100"],
]  # fmt: skip

texts = st.one_of(
    st.text(st.sampled_from("Aa1 ^=\\~.-ü\x1b\n\tЖ漢\0"), max_size=9),
    st.sampled_from([
        "DOE^JANE", "20260101", "1.2.840.10008.1.2", "3.14", "-7", "MR\\CT", "Müller^Jürgen", "x" * 70_000,
    ]),
)
values = st.one_of(texts, st.none(), st.lists(texts, max_size=3), st.integers(-70_000, 5_000_000_000),
                   st.floats(allow_nan=False), st.lists(st.integers(0, 70_000), max_size=3))  # fmt: skip
elements = st.tuples(
    st.sampled_from([0x00020010, 0x00080001, 0x00080016, 0x00080020, 0x00100000, 0x00100010, 0x00200010, 0x00291001]),
    st.sampled_from(TEXT_VRS + NUMBER_VRS), values,
)  # fmt: skip


@settings(max_examples=600, deadline=None)
@given(st.sampled_from(CHARACTER_SETS), st.lists(elements, max_size=5), st.booleans(), st.booleans())
def test_what_is_plain_is_what_pydicom_writes(character_set, chosen, implicit, is_twice):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        made = Dataset()
        if character_set is not None:
            made[0x00080005] = DataElement(0x00080005, "CS", character_set)
        for tag, vr, value in chosen:
            try:
                made[tag] = DataElement(tag, vr, value, validation_mode=IGNORE)
            except Exception:  # pydicom has no such value
                continue
        plain = encode_plain(made, implicit)
        if plain is not None:
            assert plain == _written(made, implicit, True)
            if is_twice:
                assert encode_plain(made, implicit) in (None, plain)


MATCH: dict[str, Any] = {
    "SpecificCharacterSet": "ISO_IR 192", "QueryRetrieveLevel": "STUDY", "RetrieveAETitle": ["ONE", "OTHER"],
    "ModalitiesInStudy": ["MR", "CT"], "PatientName": "Müller^Jürgen", "StudyInstanceUID": "1.2.3",
    "StudyDate": "20260101", "StudyTime": "101500.5", "PatientID": "7", "StudyID": "", "PatientWeight": "70.50",
    "NumberOfStudyRelatedInstances": 12, "Rows": 512, "PixelSpacing": [0.5, 0.25], "StudyDescription": None,
}  # fmt: skip


@pytest.mark.parametrize("implicit", [True, False])
@pytest.mark.parametrize("keyword", [*MATCH, *"*"])
def test_what_a_match_is_made_of_is_plain(keyword, implicit):
    made = dataset(**(MATCH if keyword == "*" else {keyword: MATCH[keyword]}))
    if keyword == "PatientName":
        made.SpecificCharacterSet = "ISO_IR 100"
    assert encode_plain(made, implicit) == _written(made, implicit, True)


def pixels() -> Dataset:
    return dataset(PixelData=b"\0\0")


@pytest.mark.parametrize("made", [
    dataset(OtherPatientIDsSequence=[Dataset()]), pixels(), dataset(PatientName="Жук"), dataset(SimpleFrameList=[1, 2]),
    dataset(SpecificCharacterSet="ISO_IR 144"), dataset(SpecificCharacterSet=["", "ISO 2022 IR 87"]),
    dataset(RedPaletteColorLookupTableDescriptor=[1, 2, 3]), dataset(ImageComments="x" * 70_000),
    decode(encode(dataset(PatientName="Doe"), EXPLICIT_VR_LITTLE_ENDIAN), EXPLICIT_VR_LITTLE_ENDIAN),
], ids=str)  # fmt: skip
def test_what_is_not_plain_is_left_to_pydicom(made):
    assert encode_plain(made, False) is None
