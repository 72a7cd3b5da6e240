"""What a performed procedure step must have, and how it may change (PS3.4 F.7.1, F.7.2). All of it pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Final

from pydicom.datadict import tag_for_keyword
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence

from ...dimse.status import Status
from ...errors import ServiceError
from ...uids import is_valid_uid
from ..moments import date_span, time_span

IN_PROGRESS, COMPLETED, DISCONTINUED = "IN PROGRESS", "COMPLETED", "DISCONTINUED"

_NO_UPDATE: Final = 0xA710
"""Error ID of a step that is over (PS3.4 Table F.7.2-2)."""

_STATUS: Final = "PerformedProcedureStepStatus"
_SERIES: Final = "PerformedSeriesSequence"
_CHARACTER_SET: Final = "SpecificCharacterSet"


@dataclass(frozen=True, slots=True)
class _Needs:
    """What a data set or an item must have: `required` with a value (type 1), `may_be_empty` (type 2); `items` have
    needs of their own."""

    required: str
    may_be_empty: str = ""
    items: Mapping[str, _Needs] = field(default_factory=dict)


# PS3.4 Table F.7.2-1, N-CREATE: what the SCU must send. That is also what items that N-SET sends must have, and what
# the final state demands of a series. Codes are taken as they are: devices copy them from worklists, which may leave
# out the Code Meaning that is of type 1 here (Tables K.6-1 and 8-2b).
_REFERENCE: Final = _Needs("ReferencedSOPClassUID ReferencedSOPInstanceUID")
_STEP: Final = _Needs(
    "ScheduledStepAttributesSequence PerformedProcedureStepID PerformedStationAETitle PerformedProcedureStepStartDate "
    "PerformedProcedureStepStartTime PerformedProcedureStepStatus Modality",
    "PatientName PatientID PatientBirthDate PatientSex ReferencedPatientSequence PerformedStationName "
    "PerformedLocation PerformedProcedureStepDescription PerformedProcedureTypeDescription ProcedureCodeSequence "
    "PerformedProcedureStepEndDate PerformedProcedureStepEndTime StudyID PerformedProtocolCodeSequence "
    "PerformedSeriesSequence",
    {
        "ScheduledStepAttributesSequence": _Needs(
            "StudyInstanceUID",
            "ReferencedStudySequence AccessionNumber RequestedProcedureID RequestedProcedureDescription "
            "ScheduledProcedureStepID ScheduledProcedureStepDescription ScheduledProtocolCodeSequence",
            {"ReferencedStudySequence": _REFERENCE},
        ),
        "ReferencedPatientSequence": _REFERENCE,
        _SERIES: _Needs(
            "SeriesInstanceUID ProtocolName",
            "PerformingPhysicianName OperatorsName SeriesDescription RetrieveAETitle ReferencedImageSequence "
            "ReferencedNonImageCompositeSOPInstanceSequence",
            {"ReferencedImageSequence": _REFERENCE, "ReferencedNonImageCompositeSOPInstanceSequence": _REFERENCE},
        ),
    },
)
# "Not allowed" in the column of N-SET of the same table.
_FIXED: Final = """
    ScheduledStepAttributesSequence PatientName PatientID IssuerOfPatientID IssuerOfPatientIDQualifiersSequence
    OtherPatientIDsSequence PatientBirthDate PatientSex ReferencedPatientSequence AdmissionID
    IssuerOfAdmissionIDSequence ServiceEpisodeID IssuerOfServiceEpisodeIDSequence ServiceEpisodeDescription
    PerformedProcedureStepID PerformedStationAETitle PerformedStationName PerformedLocation
    PerformedProcedureStepStartDate PerformedProcedureStepStartTime Modality StudyID
"""
# Final state, type 1. A step without series there is not, even one that made no instances (note 2 of the table).
_FINAL: Final = ("PerformedProcedureStepEndDate", "PerformedProcedureStepEndTime", _SERIES)

_UIDS: Final = ("StudyInstanceUID", "SeriesInstanceUID")
_SPANS: Final = {
    "PerformedProcedureStepStartDate": date_span, "PerformedProcedureStepStartTime": time_span,
    "PerformedProcedureStepEndDate": date_span, "PerformedProcedureStepEndTime": time_span,
}  # fmt: skip


def check_new(attributes: Dataset) -> None:
    """Raise ServiceError for what a step cannot be created with: 0120H, 0121H or 0106H, with the attributes meant."""
    _check(attributes)
    if attributes[_STATUS].value != IN_PROGRESS:
        raise ServiceError(Status.INVALID_ATTRIBUTE_VALUE, f"expected {IN_PROGRESS} in {_STATUS}", _tags([_STATUS]))


def changed(before: Dataset, changes: Dataset) -> Dataset:
    """The step as it is after an N-SET. Raises ServiceError: 0110H where it is over, 0106H, 0120H and 0121H.

    Attributes that may not change may come if they come as they are: many devices send them along. Attributes that
    N-CREATE did not have may come too: a device shall not send them (note 5 of Table F.7.2-1), but there is no status
    for it, and the reason why a step was discontinued is worth more than the rule.
    """
    if before.get(_STATUS) != IN_PROGRESS:
        comment = "Performed Procedure Step Object may no longer be updated"  # as PS3.4 prints it
        raise ServiceError(Status.PROCESSING_FAILURE, comment, error_id=_NO_UPDATE)
    fixed = [keyword for keyword in _FIXED.split()
             if keyword in changes and (before.get(keyword) or None) != (changes.get(keyword) or None)]  # fmt: skip
    _refuse(Status.INVALID_ATTRIBUTE_VALUE, fixed, "no change")
    after = Dataset(dict(before.items()))
    after.update(dict(changes.items()))
    if after.get(_CHARACTER_SET) != before.get(_CHARACTER_SET):
        after.SpecificCharacterSet = "ISO_IR 192"  # that of the change does not replace the other (PS3.4 F.7.2.2.3)
    _check(after)
    status = after[_STATUS].value
    if status not in (IN_PROGRESS, COMPLETED, DISCONTINUED):
        comment = f"expected {IN_PROGRESS}, {COMPLETED} or {DISCONTINUED}"
        raise ServiceError(Status.INVALID_ATTRIBUTE_VALUE, comment, _tags([_STATUS]))
    if status != IN_PROGRESS:
        _refuse(Status.MISSING_ATTRIBUTE_VALUE, [keyword for keyword in _FINAL if not after.get(keyword)])
    return after


def _check(attributes: Dataset) -> None:
    # PS3.4 §5.4.2.1 has both for N-SET too, though the statuses of N-SET in PS3.7 §10.1.3.1.9 are without 0120H.
    _refuse(Status.MISSING_ATTRIBUTE, _missing(attributes, _STEP))
    _refuse(Status.MISSING_ATTRIBUTE_VALUE, _empty(attributes, _STEP))
    _refuse(Status.INVALID_ATTRIBUTE_VALUE, _unreadable(attributes), "another value")


def _missing(attributes: Dataset, needs: _Needs) -> Iterator[str]:
    """Attributes of type 1 and 2 that are not there, in items too."""
    yield from (key for key in (*needs.required.split(), *needs.may_be_empty.split()) if key not in attributes)
    for item, its_needs in _items(attributes, needs):
        yield from _missing(item, its_needs)


def _empty(attributes: Dataset, needs: _Needs) -> Iterator[str]:
    """Attributes of type 1 without a value, in items too."""
    yield from (keyword for keyword in needs.required.split() if not attributes.get(keyword))
    for item, its_needs in _items(attributes, needs):
        yield from _empty(item, its_needs)


def _unreadable(attributes: Dataset) -> Iterator[str]:
    """Attributes that later readers rely on, and that are not what their VR says."""
    yield from (keyword for keyword, span in _SPANS.items()
                if (value := attributes.get(keyword)) and span(str(value)) is None)  # fmt: skip
    for item, _ in _items(attributes, _STEP):
        yield from (keyword for keyword in _UIDS if keyword in item and not is_valid_uid(str(item.get(keyword))))


def _items(attributes: Dataset, needs: _Needs) -> Iterator[tuple[Dataset, _Needs]]:
    for keyword, its_needs in needs.items.items():
        sequence = attributes.get(keyword)
        if sequence is not None and not isinstance(sequence, Sequence):  # the VR is the peer's choice
            _refuse(Status.INVALID_ATTRIBUTE_VALUE, [keyword], "a sequence")
        yield from ((item, its_needs) for item in sequence or ())


def _refuse(status: Status, keywords: Iterable[str], what: str = "a value") -> None:
    found = list(dict.fromkeys(keywords))
    if not found:
        return
    what = "" if status is Status.MISSING_ATTRIBUTE else f"{what} in "
    more = f" and {len(found) - 1} more" if len(found) > 1 else ""
    raise ServiceError(status, f"expected {what}{found[0]}{more}", _tags(found))


def _tags(keywords: Iterable[str]) -> tuple[int, ...]:
    return tuple(tag for keyword in keywords if (tag := tag_for_keyword(keyword)) is not None)
