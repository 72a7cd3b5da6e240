"""What a performed procedure step must have, and how it may change."""

from __future__ import annotations

from typing import Any

import pytest
from pydicom import Dataset
from pydicom.datadict import tag_for_keyword

from dimsetls.association.datasets import decode, encode
from dimsetls.errors import ServiceError
from dimsetls.services.procedure_steps.rules import changed, check_new
from dimsetls.uids import EXPLICIT_VR_LITTLE_ENDIAN

from ...association.pair import dataset
from .performed import a_series, a_step, the_end


def refused(call: Any, *arguments: Any) -> tuple[int, list[int]]:
    """The status, and the attributes that it is about."""
    with pytest.raises(ServiceError) as caught:
        call(*arguments)
    assert len(caught.value.comment) <= 64, caught.value.comment
    return caught.value.status, list(caught.value.offending_elements)


def tags(*keywords: str) -> list[int]:
    return [tag_for_keyword(keyword) or 0 for keyword in keywords]


def test_a_step_that_has_all_can_be_created() -> None:
    check_new(a_step())
    check_new(a_step(PerformedSeriesSequence=[a_series()], CommentsOnThePerformedProcedureStep="and more"))


@pytest.mark.parametrize("keyword", [element.keyword for element in a_step()])
def test_what_is_missing_is_0120h(keyword: str) -> None:
    assert refused(check_new, a_step(**{keyword: None})) == (0x0120, tags(keyword))


def test_all_that_is_missing_is_told_at_once() -> None:
    status, elements = refused(check_new, Dataset())
    assert (status, len(elements)) == (0x0120, 22)
    items = [dataset(StudyInstanceUID="1.2.3")]
    status, elements = refused(check_new, a_step(ScheduledStepAttributesSequence=items))
    assert (status, len(elements)) == (0x0120, 7)
    without = [a_series(ProtocolName=None, OperatorsName=None)]
    missing = tags("ProtocolName", "OperatorsName")
    assert refused(check_new, a_step(PerformedSeriesSequence=without)) == (0x0120, missing)


@pytest.mark.parametrize("keyword", [
    "PerformedProcedureStepID", "PerformedStationAETitle", "PerformedProcedureStepStartDate", "Modality",
    "PerformedProcedureStepStatus",
])  # fmt: skip
def test_what_has_no_value_is_0121h(keyword: str) -> None:
    assert refused(check_new, a_step(**{keyword: ""})) == (0x0121, tags(keyword))


def test_sequences_and_items_need_their_values() -> None:
    keyword = "ScheduledStepAttributesSequence"
    assert refused(check_new, a_step(**{keyword: []})) == (0x0121, tags(keyword))
    assert refused(check_new, a_step(PerformedSeriesSequence=[a_series(SeriesInstanceUID="")])) == (
        0x0121, tags("SeriesInstanceUID"),
    )


@pytest.mark.parametrize(("keyword", "value"), [
    ("PerformedProcedureStepStatus", "COMPLETED"), ("PerformedProcedureStepStatus", "IN_PROGRESS"),
    ("PerformedProcedureStepStartDate", "20261301"), ("PerformedProcedureStepStartTime", "25"),
])  # fmt: skip
@pytest.mark.filterwarnings("ignore:Invalid value for VR")
def test_a_value_that_is_none_is_0106h(keyword: str, value: str) -> None:
    assert refused(check_new, a_step(**{keyword: value})) == (0x0106, tags(keyword))


@pytest.mark.filterwarnings("ignore:Invalid value for VR")
def test_a_uid_that_is_none_is_0106h() -> None:
    series = [a_series(SeriesInstanceUID="1..2")]
    assert refused(check_new, a_step(PerformedSeriesSequence=series)) == (0x0106, tags("SeriesInstanceUID"))


# Changes -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("status", ["COMPLETED", "DISCONTINUED"])
def test_a_step_ends(status: str) -> None:
    before = a_step()
    after = changed(before, the_end(status))
    assert (after.PerformedProcedureStepStatus, after.PerformedProcedureStepEndDate) == (status, "20260301")
    assert after.PatientID == "P1"
    assert before == a_step()  # what was is not touched


def test_a_step_goes_on_with_what_changes() -> None:
    after = changed(a_step(), dataset(PerformedProcedureStepDescription="Thorax", ProcedureCodeSequence=[]))
    assert (after.PerformedProcedureStepStatus, after.PerformedProcedureStepDescription) == ("IN PROGRESS", "Thorax")


@pytest.mark.parametrize("status", ["COMPLETED", "DISCONTINUED"])
def test_a_step_that_is_over_does_not_change(status: str) -> None:
    over = changed(a_step(), the_end(status))
    for changes in (the_end(status), dataset(PerformedProcedureStepStatus="IN PROGRESS"), Dataset()):
        with pytest.raises(ServiceError) as caught:
            changed(over, changes)
        assert (caught.value.status, caught.value.error_id) == (0x0110, 0xA710)
        assert caught.value.comment == "Performed Procedure Step Object may no longer be updated"


@pytest.mark.parametrize("keyword", [
    "PatientName", "PatientID", "PatientBirthDate", "PatientSex", "PerformedProcedureStepID", "PerformedStationAETitle",
    "PerformedStationName", "PerformedLocation", "PerformedProcedureStepStartDate", "PerformedProcedureStepStartTime",
    "Modality", "StudyID",
])  # fmt: skip
def test_what_may_not_change_is_0106h_unless_it_is_the_same(keyword: str) -> None:
    same = a_step()
    assert changed(a_step(), dataset(**{keyword: getattr(same, keyword)})) == same
    other = {"Date": "20260302", "Time": "101501"}.get(keyword[-4:], "X1")
    assert refused(changed, a_step(), dataset(**{keyword: other})) == (0x0106, tags(keyword))
    assert changed(a_step(), same) == same


@pytest.mark.parametrize("keyword", [
    "IssuerOfPatientID", "IssuerOfPatientIDQualifiersSequence", "OtherPatientIDsSequence", "AdmissionID",
    "IssuerOfAdmissionIDSequence", "ServiceEpisodeID", "IssuerOfServiceEpisodeIDSequence", "ServiceEpisodeDescription",
])  # fmt: skip
def test_what_may_not_change_is_not_added(keyword: str) -> None:
    value: Any = [dataset(LocalNamespaceEntityID="Ward 3")] if keyword.endswith("Sequence") else "X1"
    check_new(a_step(**{keyword: value}))
    assert refused(changed, a_step(), dataset(**{keyword: value})) == (0x0106, tags(keyword))
    assert changed(a_step(**{keyword: value}), dataset(**{keyword: value})) == a_step(**{keyword: value})


def test_what_the_device_did_not_create_may_come_later() -> None:
    reason = dataset(CodeValue="110501", CodingSchemeDesignator="DCM", CodeMeaning="Equipment failure")
    end = the_end("DISCONTINUED", PerformedProcedureStepDiscontinuationReasonCodeSequence=[reason])
    assert changed(a_step(), end).PerformedProcedureStepDiscontinuationReasonCodeSequence == [reason]


def test_the_character_set_of_a_change_does_not_replace_that_of_the_step() -> None:
    before = a_step(SpecificCharacterSet="ISO_IR 100", PatientName="Müller^Jörg")
    same = dataset(SpecificCharacterSet="ISO_IR 100", PerformedProcedureStepDescription="Schädel")
    assert changed(before, same).SpecificCharacterSet == "ISO_IR 100"
    other = dataset(SpecificCharacterSet="ISO_IR 126", PerformedProcedureStepDescription="Κρανίο")
    after = decode(encode(changed(before, other), EXPLICIT_VR_LITTLE_ENDIAN), EXPLICIT_VR_LITTLE_ENDIAN)
    assert (after.PatientName, after.PerformedProcedureStepDescription) == ("Müller^Jörg", "Κρανίο")


def test_a_status_that_there_is_not_is_0106h() -> None:
    changes = dataset(PerformedProcedureStepStatus="DONE")
    assert refused(changed, a_step(), changes) == (0x0106, tags("PerformedProcedureStepStatus"))


def test_nothing_that_is_needed_is_taken_away() -> None:
    changes = dataset(PerformedProcedureStepStatus="")
    assert refused(changed, a_step(), changes) == (0x0121, tags("PerformedProcedureStepStatus"))


@pytest.mark.parametrize("status", ["COMPLETED", "DISCONTINUED"])
@pytest.mark.parametrize("keyword", [
    "PerformedProcedureStepEndDate", "PerformedProcedureStepEndTime", "PerformedSeriesSequence",
])  # fmt: skip
def test_a_step_that_is_over_has_an_end_and_series(keyword: str, status: str) -> None:
    assert refused(changed, a_step(), the_end(status, **{keyword: None})) == (0x0121, tags(keyword))
    empty: Any = [] if keyword.endswith("Sequence") else ""
    assert refused(changed, a_step(), the_end(status, **{keyword: empty})) == (0x0121, tags(keyword))


def test_what_the_end_needs_may_have_come_before() -> None:
    before = changed(a_step(), the_end("IN PROGRESS"))
    assert changed(before, dataset(PerformedProcedureStepStatus="COMPLETED")).PerformedSeriesSequence == [a_series()]


@pytest.mark.parametrize("status", ["IN PROGRESS", "COMPLETED", "DISCONTINUED"])
@pytest.mark.parametrize("keyword", [element.keyword for element in a_series()])
def test_each_series_has_what_it_needs(keyword: str, status: str) -> None:
    series = [a_series(), a_series(**{keyword: None})]
    assert refused(changed, a_step(), the_end(status, PerformedSeriesSequence=series)) == (0x0120, tags(keyword))


@pytest.mark.parametrize("keyword", ["ReferencedImageSequence", "ReferencedNonImageCompositeSOPInstanceSequence"])
def test_each_reference_has_two_uids(keyword: str) -> None:
    whole = dataset(ReferencedSOPClassUID="1.2.840.10008.5.1.4.1.1.2", ReferencedSOPInstanceUID="1.2.3.1.1")
    check_new(a_step(ReferencedPatientSequence=[whole]))
    assert changed(a_step(), the_end(PerformedSeriesSequence=[a_series(**{keyword: [whole]})]))
    for half, status in ((dataset(ReferencedSOPClassUID="1.2"), 0x0120),
                         (dataset(ReferencedSOPClassUID="1.2", ReferencedSOPInstanceUID=""), 0x0121)):
        expected = (status, tags("ReferencedSOPInstanceUID"))
        series = [a_series(**{keyword: [half]})]
        assert refused(changed, a_step(), the_end(PerformedSeriesSequence=series)) == expected
        assert refused(check_new, a_step(ReferencedPatientSequence=[half])) == expected
        scheduled = a_step().ScheduledStepAttributesSequence
        scheduled[0].ReferencedStudySequence = [half]
        assert refused(check_new, a_step(ScheduledStepAttributesSequence=scheduled)) == expected


def test_a_sequence_that_is_none_is_0106h() -> None:
    for value in ("X1", ["X1", "X2"]):
        changes = Dataset()
        changes.add_new("PerformedSeriesSequence", "LO", value)
        assert refused(changed, a_step(), changes) == (0x0106, tags("PerformedSeriesSequence"))
