"""Which scheduled steps match a question, and what is answered."""

from __future__ import annotations

from datetime import date, timedelta
from typing import Any

import pytest
from pydicom import Dataset

from dimsetls.association.datasets import decode, encode
from dimsetls.identity.sight import EVERYTHING, View
from dimsetls.services.matching import IdentifierError
from dimsetls.services.worklist.matching import read_question
from dimsetls.uids import EXPLICIT_VR_LITTLE_ENDIAN

from ...association.pair import dataset
from .scheduled import a_procedure, a_question, a_step


def asked(question: Dataset, *procedures: Dataset, sees: Any = EVERYTHING, **options: Any) -> list[Dataset]:
    """What is answered, as the peer reads it."""
    read = read_question(decode(encode(question, EXPLICIT_VR_LITTLE_ENDIAN), EXPLICIT_VR_LITTLE_ENDIAN))
    answers = [answer for each in procedures for answer in read.answers(each, sees, **options)]
    return [decode(encode(answer, EXPLICIT_VR_LITTLE_ENDIAN), EXPLICIT_VR_LITTLE_ENDIAN) for answer in answers]


@pytest.mark.parametrize(("keys", "matches"), [
    ({}, True),
    ({"PatientName": "DOE*"}, True), ({"PatientName": "Roe*"}, False),
    ({"PatientID": "P1"}, True), ({"PatientID": "P2"}, False), ({"PatientID": "P?"}, True),
    ({"Modality": "CT"}, True), ({"Modality": "MR"}, False),
    ({"ScheduledStationAETitle": "CT1"}, True), ({"ScheduledStationAETitle": "CT2"}, False),
    ({"ScheduledPerformingPhysicianName": "who^d*"}, True),
    ({"ScheduledProcedureStepStartDate": "20260301"}, True), ({"ScheduledProcedureStepStartDate": "20260302"}, False),
    ({"ScheduledProcedureStepStartDate": "20260201-20260301"}, True),
    ({"ScheduledProcedureStepStartDate": "20260302-"}, False),
    ({"ScheduledProcedureStepStartTime": "10"}, True), ({"ScheduledProcedureStepStartTime": "11-12"}, False),
    ({"StudyInstanceUID": "1.2.3\\1.2.4"}, True), ({"StudyInstanceUID": "1.2.4"}, False),
    ({"PatientSex": "F"}, False), ({"PatientBirthDate": "19700101"}, True),
    ({"Modality": "CT", "PatientID": "P2"}, False),
])  # fmt: skip
def test_keys(keys: dict[str, str], matches: bool) -> None:
    assert bool(asked(a_question(**keys), a_procedure())) is matches


def test_a_range_of_dates_and_one_of_times_are_one_from_moment_to_moment() -> None:
    question = a_question(ScheduledProcedureStepStartDate="20260228-20260302",
                          ScheduledProcedureStepStartTime="1800-0800")  # fmt: skip
    assert asked(question, a_procedure())
    for day, time in (("20260228", "1759"), ("20260302", "0801")):
        assert not asked(question, a_procedure(ScheduledProcedureStepStartDate=day,
                                               ScheduledProcedureStepStartTime=time))  # fmt: skip
    assert asked(question, a_procedure(ScheduledProcedureStepStartTime=None))


def test_a_step_without_a_value_matches_unless_that_is_off() -> None:
    question, procedure = a_question(ScheduledStationAETitle="CT2"), a_procedure(ScheduledStationAETitle="")
    assert asked(question, procedure)
    assert asked(question, a_procedure(ScheduledStationAETitle=None))
    assert not asked(question, procedure, unknown_matches=False)


def test_each_step_that_matches_is_a_response_of_its_own() -> None:
    steps = [a_step(ScheduledProcedureStepID=f"S{number}", Modality=modality)
             for number, modality in enumerate(("CT", "MR", "CT"))]  # fmt: skip
    answers = asked(a_question(Modality="CT", ScheduledProcedureStepID=""), a_procedure(*steps))
    steps = [list(answer.ScheduledProcedureStepSequence) for answer in answers]
    assert [[step.ScheduledProcedureStepID for step in each] for each in steps] == [["S0"], ["S2"]]


def test_what_was_asked_for_is_answered_and_nothing_else() -> None:
    question = a_question(PatientName="", AdmissionID="", Modality="", ScheduledStationAETitle="CT1")
    question.RequestedProcedureCodeSequence = []
    question.ReferencedStudySequence = []
    procedure = a_procedure()
    procedure.RequestedProcedureCodeSequence = [dataset(CodeValue="C1", CodingSchemeDesignator="99X")]
    [answer] = asked(question, procedure)
    assert {element.keyword for element in answer} == {
        "PatientName", "AdmissionID", "ScheduledProcedureStepSequence", "RequestedProcedureCodeSequence",
        "ReferencedStudySequence",
    }
    assert (answer.PatientName, answer.AdmissionID) == ("Doe^John", "")
    [step] = answer.ScheduledProcedureStepSequence
    assert {element.keyword: element.value for element in step} == {"Modality": "CT", "ScheduledStationAETitle": "CT1"}
    assert [item.CodeValue for item in answer.RequestedProcedureCodeSequence] == ["C1"]
    assert list(answer.ReferencedStudySequence) == []


def test_an_empty_sequence_asks_for_all_of_the_step() -> None:
    question = Dataset()
    question.ScheduledProcedureStepSequence = []
    [answer] = asked(question, a_procedure())
    assert answer.ScheduledProcedureStepSequence[0].ScheduledProcedureStepDescription == "Thorax"


def test_sequences_in_sequences_are_matched() -> None:
    step = a_step()
    step.ScheduledProtocolCodeSequence = [dataset(CodeValue="C1"), dataset(CodeValue="C2")]
    wanted, other = ([dataset(CodeValue=code, CodeMeaning="")] for code in ("C2", "C3"))
    [answer] = asked(a_question(ScheduledProtocolCodeSequence=wanted), a_procedure(step))
    [found] = answer.ScheduledProcedureStepSequence[0].ScheduledProtocolCodeSequence
    assert (found.CodeValue, found.CodeMeaning) == ("C2", "")
    assert not asked(a_question(ScheduledProtocolCodeSequence=other), a_procedure(step))


@pytest.mark.parametrize(("asked_in", "own", "answered_in"), [
    ("ISO_IR 100", "ISO_IR 100", "ISO_IR 100"),
    ("ISO_IR 192", "ISO_IR 100", "ISO_IR 192"),
    ("ISO_IR 144", "ISO_IR 100", "ISO_IR 100"),
    ("", "ISO_IR 100", "ISO_IR 100"),
    ("", "", "ISO_IR 192"),
])  # fmt: skip
def test_character_sets(asked_in: str, own: str, answered_in: str) -> None:
    procedure = a_procedure(PatientName="Müller^Jörg")
    if own:
        procedure.SpecificCharacterSet = own
    [answer] = asked(a_question(asked_in, PatientName="muller*", Modality=""), procedure)
    assert (answer.PatientName, answer.SpecificCharacterSet) == ("Müller^Jörg", answered_in)


def test_japanese_stays_as_devices_can_show_it() -> None:
    name = "Yamada^Tarou=山田^太郎=やまだ^たろう"
    procedure = a_procedure(PatientName=name)
    procedure.SpecificCharacterSet = ["", "ISO 2022 IR 87"]
    [answer] = asked(a_question(PatientName=""), decode(encode(procedure, EXPLICIT_VR_LITTLE_ENDIAN),
                                                        EXPLICIT_VR_LITTLE_ENDIAN))  # fmt: skip
    assert answer.PatientName == name
    assert "ISO 2022 IR 87" in answer.SpecificCharacterSet


def test_ascii_needs_no_character_set() -> None:
    [answer] = asked(a_question(PatientName=""), a_procedure())
    assert "SpecificCharacterSet" not in answer


def test_keys_that_nobody_knows_are_told_apart() -> None:
    question = a_question(PatientName="")
    question.add_new(0x00091001, "LO", "mine")
    read = read_question(question)
    assert read.unsupported == (0x00091001,)
    assert len(list(read.answers(a_procedure(), EVERYTHING))) == 1
    assert read_question(a_question("ISO_IR 100", PatientName="")).unsupported == ()


@pytest.mark.parametrize(("question", "element"), [
    (a_question(ScheduledProcedureStepStartDate="soon"), 0x00400002),
    (a_question(StudyInstanceUID="1.2.*"), 0x0020000D),
    (dataset(ScheduledProcedureStepSequence=[a_step(), a_step()]), 0x00400100),
])  # fmt: skip
def test_a_question_that_breaks_a_rule_names_its_element(question: Dataset, element: int) -> None:
    with pytest.raises(IdentifierError) as caught:
        read_question(question)
    assert (caught.value.status, caught.value.offending_elements) == (0xA900, (element,))


TODAY = f"{date.today():%Y%m%d}"
BEFORE = f"{date.today() - timedelta(5):%Y%m%d}"


@pytest.mark.parametrize(("view", "values", "is_seen"), [
    (View(modalities=frozenset({"CT"})), {}, True),
    (View(modalities=frozenset({"MR"})), {}, False),
    (View(institutions=frozenset({"Here"})), {"InstitutionName": "Here"}, True),
    (View(institutions=frozenset({"Here"})), {}, False),
    (View(patient_id_issuers=frozenset({"X"})), {"IssuerOfPatientID": "Y"}, False),
    (View(referring_physicians=frozenset({"who^doctor"})), {"ReferringPhysicianName": "Who^Doctor"}, True),
    (View(referring_physicians=frozenset({"山田^太郎"})), {"ReferringPhysicianName": "Yamada^Tarou=山田^太郎"}, True),
    (View(referring_physicians=frozenset({"Other"})), {"ReferringPhysicianName": "Who^Doctor"}, False),
    (View(days=3), {"ScheduledProcedureStepStartDate": TODAY}, True),
    (View(days=3), {"ScheduledProcedureStepStartDate": BEFORE}, False),
    (View(stored_by=frozenset({"CT1"})), {}, True),
])  # fmt: skip
def test_what_the_rules_let_a_user_see(view: View, values: dict[str, str], is_seen: bool) -> None:
    procedure = a_procedure(**values)
    assert bool(asked(a_question(), procedure, sees=(view,))) is is_seen
    assert asked(a_question(), procedure, sees=(view, View()))
    assert not asked(a_question(), procedure, sees=())
