"""Scheduled procedures for tests."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian

from ...association.pair import dataset

_STEP = {
    "Modality": "CT", "ScheduledStationAETitle": "CT1", "ScheduledProcedureStepStartDate": "20260301",
    "ScheduledProcedureStepStartTime": "101500", "ScheduledPerformingPhysicianName": "Who^Doctor",
    "ScheduledProcedureStepID": "SPS1", "ScheduledProcedureStepDescription": "Thorax",
}
_REST = {
    "PatientName": "Doe^John", "PatientID": "P1", "AccessionNumber": "A1", "StudyInstanceUID": "1.2.3",
    "RequestedProcedureID": "RP1", "PatientBirthDate": "19700101", "PatientSex": "M",
}


def a_step(**values: Any) -> Dataset:
    """An item of a Scheduled Procedure Step Sequence; None takes an attribute away."""
    return dataset(**{keyword: value for keyword, value in (_STEP | values).items() if value is not None})


def a_procedure(*steps: Dataset, **values: Any) -> Dataset:
    """What is scheduled, with one step unless others are given; values of a step go to that."""
    inner = {keyword: values.pop(keyword) for keyword in _STEP if keyword in values}
    made = dataset(**{keyword: value for keyword, value in (_REST | values).items() if value is not None})
    made.ScheduledProcedureStepSequence = list(steps) or [a_step(**inner)]
    return made


def a_question(character_set: str = "", **values: Any) -> Dataset:
    """An identifier; keys of a step go to its sequence."""
    inner = {keyword: values.pop(keyword) for keyword in (*_STEP, "ScheduledProtocolCodeSequence") if keyword in values}
    made = dataset(**values)
    if character_set:
        made.SpecificCharacterSet = character_set
    made.ScheduledProcedureStepSequence = [dataset(**inner)]
    return made


def write(path: Path, procedure: Dataset) -> Path:
    """As a DICOM file, as dump2dcm of DCMTK makes them."""
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID = "1.2.276.0.7230010.3.1.0.1", "1.2.3.4"
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    procedure.file_meta = meta
    procedure.save_as(path, enforce_file_format=True)
    return path
