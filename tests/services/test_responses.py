from __future__ import annotations

from io import BytesIO

import pytest
from pydicom import dcmread, dcmwrite
from pydicom.dataset import Dataset

from dimsetls.services.models import STUDY_ROOT, read_query
from dimsetls.services.responses import response

from .archives import an_entry, an_index, ask, identifier

pytestmark = pytest.mark.filterwarnings("ignore:Invalid value for VR")


def through_the_wire(data_set: Dataset) -> Dataset:
    wire = BytesIO()
    dcmwrite(wire, data_set, implicit_vr=True, little_endian=True)
    return dcmread(BytesIO(wire.getvalue()), force=True)


def test_a_response_has_the_keys_that_were_asked_for_and_what_goes_with_all(tmp_path):
    index = an_index(tmp_path, an_entry(PatientSex="M"))
    (found,) = ask(index, "STUDY", StudyInstanceUID="", PatientName="D*", StudyDescription="")
    assert {element.keyword: element.value for element in found} == {
        "QueryRetrieveLevel": "STUDY", "RetrieveAETitle": "ARCHIVE", "InstanceAvailability": "ONLINE",
        "StudyInstanceUID": "1.1", "PatientName": "Doe^John", "StudyDescription": None,
    }  # fmt: skip
    index.close()


@pytest.mark.parametrize(("name", "asked", "answered"), [
    ("Doe", "", None),
    ("Doe", "ISO_IR 100", "ISO_IR 100"),
    ("Müller", "ISO_IR 100", "ISO_IR 100"),
    ("Müller", "", "ISO_IR 192"),
    ("Müller", "ISO_IR 192", "ISO_IR 192"),
    ("Иванов", "ISO_IR 144", "ISO_IR 144"),
    ("Иванов", "ISO_IR 100", "ISO_IR 192"),
    ("山田", "ISO_IR 13", "ISO_IR 192"),  # its Python codec could, itself it cannot
    ("山田", ["", "ISO 2022 IR 87"], "ISO_IR 192"),
    ("王", "GB18030", "GB18030"),
    ("Müller", "no such set", "ISO_IR 192"),
])
def test_the_character_set_is_that_of_the_request_if_it_will_do(tmp_path, name, asked, answered):
    index = an_index(tmp_path, an_entry(PatientName=name))
    (found,) = ask(index, "STUDY", PatientName="", SpecificCharacterSet=asked)
    assert found.get("SpecificCharacterSet") == answered
    assert through_the_wire(found).PatientName == name
    index.close()


def test_all_kinds_of_values_come_through_the_wire(tmp_path):
    index = an_index(tmp_path, an_entry(
        Rows="512", ImageType="ORIGINAL\\PRIMARY", NumberOfFrames="3", ConceptNameCodeSequence=
        '[{"CodeValue": ["C1"], "CodeMeaning": ["Schädel"]}, {"CodeValue": ["C2"]}]', ImageComments="a\nb",
    ))  # fmt: skip
    (found,) = ask(index, "IMAGE", StudyInstanceUID="1.1", SeriesInstanceUID="1.1.1", Rows=None, ImageType="",
                   NumberOfFrames="", ConceptNameCodeSequence=[], ImageComments="", Columns=None)  # fmt: skip
    found = through_the_wire(found)
    assert (found.Rows, list(found.ImageType), found.NumberOfFrames, found.ImageComments, found.Columns) == (
        512, ["ORIGINAL", "PRIMARY"], 3, "a\nb", None)  # fmt: skip
    assert [item.CodeValue for item in found.ConceptNameCodeSequence] == ["C1", "C2"]
    assert found.ConceptNameCodeSequence[0].CodeMeaning == "Schädel"
    index.close()


@pytest.mark.parametrize("keyword", ["InstanceNumber", "NumberOfFrames", "Rows"])
def test_a_stored_number_that_is_none_is_answered_empty(keyword):
    above = {"StudyInstanceUID": "1", "SeriesInstanceUID": "1.1"}
    query = read_query(STUDY_ROOT, identifier("IMAGE", **above, **{keyword: None}))
    entity = {"StudyInstanceUID": ("1",), "SeriesInstanceUID": ("1.1",), keyword: ("no number",)}
    assert response(query, entity, "A")[keyword].value is None
