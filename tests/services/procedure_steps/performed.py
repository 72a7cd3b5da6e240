"""Performed procedure steps for tests."""

from __future__ import annotations

from typing import Any

from pydicom.dataset import Dataset

from ...association.pair import dataset


def a_step(**values: Any) -> Dataset:
    """What N-CREATE sends; None takes an attribute away."""
    scheduled = dataset(
        StudyInstanceUID="1.2.3", ReferencedStudySequence=[], AccessionNumber="", RequestedProcedureID="RP1",
        RequestedProcedureDescription="", ScheduledProcedureStepID="SPS1", ScheduledProcedureStepDescription="",
        ScheduledProtocolCodeSequence=[],
    )
    given = {
        "ScheduledStepAttributesSequence": [scheduled], "PatientName": "Doe^John", "PatientID": "P1",
        "PatientBirthDate": "", "PatientSex": "M", "ReferencedPatientSequence": [], "PerformedProcedureStepID": "PPS1",
        "PerformedStationAETitle": "CT1", "PerformedStationName": "", "PerformedLocation": "",
        "PerformedProcedureStepStartDate": "20260301", "PerformedProcedureStepStartTime": "101500",
        "PerformedProcedureStepStatus": "IN PROGRESS", "PerformedProcedureStepDescription": "",
        "PerformedProcedureTypeDescription": "", "ProcedureCodeSequence": [], "PerformedProcedureStepEndDate": "",
        "PerformedProcedureStepEndTime": "", "Modality": "CT", "StudyID": "", "PerformedProtocolCodeSequence": [],
        "PerformedSeriesSequence": [],
    }
    return dataset(**{keyword: value for keyword, value in (given | values).items() if value is not None})


def a_series(**values: Any) -> Dataset:
    """An item of Performed Series Sequence; None takes an attribute away."""
    given = {
        "SeriesInstanceUID": "1.2.3.1", "ProtocolName": "Thorax", "PerformingPhysicianName": "", "OperatorsName": "",
        "SeriesDescription": "", "RetrieveAETitle": "", "ReferencedImageSequence": [],
        "ReferencedNonImageCompositeSOPInstanceSequence": [],
    }
    return dataset(**{keyword: value for keyword, value in (given | values).items() if value is not None})


def the_end(status: str = "COMPLETED", **values: Any) -> Dataset:
    """What N-SET sends at the end."""
    given = {
        "PerformedProcedureStepStatus": status, "PerformedProcedureStepEndDate": "20260301",
        "PerformedProcedureStepEndTime": "103000", "PerformedSeriesSequence": [a_series()],
    }
    return dataset(**{keyword: value for keyword, value in (given | values).items() if value is not None})
