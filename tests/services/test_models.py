from __future__ import annotations

from io import BytesIO

import pytest
from pydicom import dcmread
from pydicom.dataelem import RawDataElement
from pydicom.dataset import Dataset
from pydicom.tag import Tag

from dimsetls.services.matching import Exactly, IdentifierError, PersonName, SequenceKey, Universal, Wildcard
from dimsetls.services.models import (
    ATTRIBUTES,
    LEVELS,
    MODELS,
    PATIENT_ROOT,
    PATIENT_STUDY_ONLY,
    REQUIRED_KEYS,
    STUDY_ROOT,
    UNIQUE_KEYS,
    Level,
    Negotiated,
    read_query,
    read_retrieval,
)

from .archives import identifier


def offending(call, *arguments) -> tuple[int, ...]:
    with pytest.raises(IdentifierError) as caught:
        call(*arguments)
    assert caught.value.status == 0xA900
    assert len(caught.value.comment) <= 64
    return caught.value.offending_elements


def test_the_models_are_those_of_the_standard():
    """PS3.4 C.6: SOP classes and levels, typed again."""
    prefix = "1.2.840.10008.5.1.4.1.2."
    assert {uid.removeprefix(prefix): model.name.partition(" (")[0] for uid, model in MODELS.items()} == {
        "1.1": "Patient Root", "1.2": "Patient Root", "1.3": "Patient Root", "2.1": "Study Root", "2.2": "Study Root",
        "2.3": "Study Root", "3.1": "Patient/Study Only", "3.2": "Patient/Study Only", "3.3": "Patient/Study Only",
    }  # fmt: skip
    assert [level.value for level in PATIENT_ROOT.levels] == ["PATIENT", "STUDY", "SERIES", "IMAGE"]
    assert STUDY_ROOT.levels == LEVELS[1:]
    assert PATIENT_STUDY_ONLY.levels == LEVELS[:2]


def test_every_key_is_in_the_dictionary_of_its_level():
    for level in LEVELS:
        for keyword in (UNIQUE_KEYS[level], *REQUIRED_KEYS[level]):
            assert ATTRIBUTES[keyword].level is level
    assert ATTRIBUTES["ModalitiesInStudy"].computed
    assert ATTRIBUTES["StudyDescription"].vr == "LO"
    assert not ATTRIBUTES["ImageType"].is_single


def test_keys_are_read_and_say_how_they_match():
    query = read_query(STUDY_ROOT, identifier(
        "STUDY", PatientName="Doe*", PatientID="1", StudyDescription="*CT*", StudyInstanceUID=["1.2", "1.3"],
        ModalitiesInStudy="", SpecificCharacterSet="ISO_IR 100",
    ))  # fmt: skip
    assert query.level is Level.STUDY
    assert query.keys == {
        "PatientName": PersonName((("doe*",),)), "PatientID": Exactly("LO", frozenset(["1"])),
        "StudyDescription": Wildcard(("*CT*",)), "StudyInstanceUID": Exactly("UI", frozenset(["1.2", "1.3"])),
        "ModalitiesInStudy": Universal(),
    }  # fmt: skip
    assert query.character_set == ("ISO_IR 100",)
    assert query.unsupported == ()


def test_a_chinese_name_is_asked_for_without_its_escape_sequences():
    name = b"*=\x1b$)A\xd5\xc5^*"
    data_set = identifier("STUDY", SpecificCharacterSet=["", "ISO 2022 IR 58"])
    data_set[0x0010_0010] = RawDataElement(Tag(0x0010_0010), "PN", len(name), name, 0, False, True)
    query = read_query(STUDY_ROOT, data_set)
    assert query.keys["PatientName"].matches(["Zhang^XiaoDong=张^小东"])


def test_what_the_index_does_not_have_at_the_level_is_unsupported_and_no_error():
    data_set = identifier("STUDY", Modality="CT", ContrastBolusAgent="x", StudyDate="20240101")
    data_set.add_new(0x0009_0010, "LO", "ACME")
    query = read_query(STUDY_ROOT, data_set)
    assert query.unsupported == (0x0008_0060, 0x0009_0010, 0x0018_0010)
    assert list(query.keys) == ["StudyDate"]


def test_patient_attributes_are_study_keys_only_where_there_is_no_patient_level():
    assert "PatientName" in read_query(STUDY_ROOT, identifier("STUDY", PatientName="A")).keys
    assert "PatientName" in read_query(PATIENT_ROOT, identifier("PATIENT", PatientName="A")).keys
    assert offending(read_query, PATIENT_ROOT, identifier("STUDY", PatientName="A")) == (0x0010_0020,)


@pytest.mark.parametrize(("model", "data_set", "element"), [
    (STUDY_ROOT, Dataset(), 0x0008_0052),
    (STUDY_ROOT, identifier("PATIENT"), 0x0008_0052),
    (STUDY_ROOT, identifier("FRAME"), 0x0008_0052),
    (PATIENT_STUDY_ONLY, identifier("SERIES"), 0x0008_0052),
    (PATIENT_ROOT, identifier("STUDY"), 0x0010_0020),
    (PATIENT_ROOT, identifier("STUDY", PatientID="P*"), 0x0010_0020),
    (STUDY_ROOT, identifier("SERIES"), 0x0020_000D),
    (STUDY_ROOT, identifier("SERIES", StudyInstanceUID=["1.2", "1.3"]), 0x0020_000D),
    (STUDY_ROOT, identifier("IMAGE", StudyInstanceUID="1.2"), 0x0020_000E),
    (STUDY_ROOT, identifier("STUDY", ProcedureCodeSequence=[Dataset(), Dataset()]), 0x0008_1032),
])
def test_what_an_identifier_must_have(model, data_set, element):
    assert offending(read_query, model, data_set) == (element,)


def test_relational_queries_need_nothing_of_the_levels_above():
    query = read_query(STUDY_ROOT, identifier("IMAGE", PatientID="P1"), Negotiated(relational=True))
    assert list(query.keys) == ["PatientID"]


def test_a_sequence_key_has_the_keys_of_its_item():
    item = Dataset()
    item.CodeValue, item.CodeMeaning = "C*", ""
    query = read_query(STUDY_ROOT, identifier("STUDY", ProcedureCodeSequence=[item]))
    expected = SequenceKey({"CodeValue": Wildcard(("C*",)), "CodeMeaning": Universal()})
    assert query.keys["ProcedureCodeSequence"] == expected
    for empty in ([], [Dataset()]):
        query = read_query(STUDY_ROOT, identifier("STUDY", ProcedureCodeSequence=empty))
        assert query.keys["ProcedureCodeSequence"] == Universal()


def test_values_that_pydicom_cannot_read_name_their_element():
    wire = b"\x08\0\x52\0CS\x06\0STUDY \x20\0\x00\x12IS\x02\0x*" b"\x10\0\x20\0LO\x02\0P1"
    data_set = dcmread(BytesIO(wire.replace(b"\x20\0\x00\x12", b"\x20\0\x06\x12")), force=True)
    assert offending(read_query, STUDY_ROOT, data_set) == (0x0020_1206,)


def test_retrieval_is_by_unique_keys_alone():
    query = read_retrieval(STUDY_ROOT, identifier("SERIES", StudyInstanceUID="1", SeriesInstanceUID=["1.1", "1.2"],
                                                  PatientName="ignored"))  # fmt: skip
    assert query.level is Level.IMAGE
    assert query.keys == {"StudyInstanceUID": Exactly("UI", frozenset("1")),
                          "SeriesInstanceUID": Exactly("UI", frozenset(["1.1", "1.2"]))}  # fmt: skip


@pytest.mark.parametrize(("model", "data_set", "element"), [
    (STUDY_ROOT, identifier("STUDY"), 0x0020_000D),
    (STUDY_ROOT, identifier("STUDY", StudyInstanceUID="1", SOPInstanceUID="1.2"), 0x0008_0018),
    (STUDY_ROOT, identifier("SERIES", SeriesInstanceUID="1"), 0x0020_000D),
    (PATIENT_ROOT, identifier("PATIENT", PatientID="*"), 0x0010_0020),
    (PATIENT_ROOT, identifier("PATIENT", PatientID=["1", "2"]), 0x0010_0020),
])
def test_what_an_identifier_of_a_retrieval_must_have(model, data_set, element):
    assert offending(read_retrieval, model, data_set) == (element,)


def test_extended_negotiation():
    assert Negotiated.read(b"") == Negotiated()
    agreed = Negotiated.read(b"\1\1\1\1\1")
    assert agreed == Negotiated(relational=True, combined_date_time=True, timezone_adjustment=True)
    assert agreed.answer(5) == b"\1\1\0\1\0"
    assert Negotiated.read(b"\0\1").answer(2) == b"\0\1"
    zone = identifier("STUDY", TimezoneOffsetFromUTC="+0100")
    assert read_query(STUDY_ROOT, zone).timezone == ""
    assert read_query(STUDY_ROOT, zone, agreed).timezone == "+0100"
    zone.TimezoneOffsetFromUTC = "CET"
    assert offending(read_query, STUDY_ROOT, zone, agreed) == (0x0008_0201,)
