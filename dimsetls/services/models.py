"""The information models of Query/Retrieve as data (PS3.4 C.6), and identifiers read by their rules (PS3.4 C.4)."""

from __future__ import annotations

import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Final, TypeAlias

from pydicom.datadict import dictionary_VM, dictionary_VR, keyword_for_tag, tag_for_keyword
from pydicom.dataelem import RawDataElement
from pydicom.dataset import Dataset

from .matching import (
    SINGLE_VALUE_VRS,
    Exactly,
    IdentifierError,
    Key,
    SequenceKey,
    Universal,
    read_key,
    without_escapes,
)
from .moments import offset


class Level(Enum):
    """(0008,0052) Query/Retrieve Level."""

    PATIENT = "PATIENT"
    STUDY = "STUDY"
    SERIES = "SERIES"
    IMAGE = "IMAGE"


LEVELS: Final = tuple(Level)
"""From the top down."""


@dataclass(frozen=True, slots=True)
class Attribute:
    """An attribute that the index knows: of which level it is, and whether it is worked out instead of stored.

    `is_single` says that it has at most one value.
    """

    keyword: str
    tag: int
    vr: str
    is_single: bool
    level: Level
    computed: bool


UNIQUE_KEYS: Final = {
    Level.PATIENT: "PatientID",
    Level.STUDY: "StudyInstanceUID",
    Level.SERIES: "SeriesInstanceUID",
    Level.IMAGE: "SOPInstanceUID",
}

REQUIRED_KEYS: Final = {
    Level.PATIENT: ("PatientName",),
    Level.STUDY: ("StudyDate", "StudyTime", "AccessionNumber", "StudyID"),
    Level.SERIES: ("Modality", "SeriesNumber"),
    Level.IMAGE: ("InstanceNumber",),
}
"""Of the Patient Root; of a model that begins with studies, those of patients are study keys (PS3.4 C.6.2.1.2)."""

OPTIONAL_KEYS: Final = {
    Level.PATIENT: """
        IssuerOfPatientID PatientBirthDate PatientBirthTime PatientSex OtherPatientIDs OtherPatientNames EthnicGroup
        PatientComments
    """,
    Level.STUDY: """
        StudyDescription ReferringPhysicianName NameOfPhysiciansReadingStudy AdmittingDiagnosesDescription
        ProcedureCodeSequence RequestingPhysician RequestedProcedureDescription PatientAge PatientSize PatientWeight
        Occupation AdditionalPatientHistory OtherStudyNumbers AdmissionID TimezoneOffsetFromUTC
    """,
    Level.SERIES: """
        SeriesDate SeriesTime SeriesDescription BodyPartExamined Laterality PatientPosition ProtocolName
        PerformingPhysicianName OperatorsName StationName InstitutionName InstitutionalDepartmentName Manufacturer
        ManufacturerModelName DeviceSerialNumber PerformedProcedureStepID PerformedProcedureStepDescription
        PerformedProcedureStepStartDate PerformedProcedureStepStartTime RequestAttributesSequence
    """,
    Level.IMAGE: """
        SOPClassUID ImageType AcquisitionNumber AcquisitionDate AcquisitionTime AcquisitionDateTime ContentDate
        ContentTime NumberOfFrames Rows Columns BitsAllocated ContentLabel ContentDescription ImageComments
        PresentationCreationDate PresentationCreationTime CompletionFlag VerificationFlag ConceptNameCodeSequence
    """,
}

COMPUTED_KEYS: Final = {
    Level.PATIENT: (
        "NumberOfPatientRelatedStudies", "NumberOfPatientRelatedSeries", "NumberOfPatientRelatedInstances",
    ),
    Level.STUDY: (
        "ModalitiesInStudy", "SOPClassesInStudy", "NumberOfStudyRelatedSeries", "NumberOfStudyRelatedInstances",
    ),
    Level.SERIES: ("NumberOfSeriesRelatedInstances",),
    Level.IMAGE: ("AvailableTransferSyntaxUID",),
}  # fmt: skip



def _attribute(keyword: str, level: Level, computed: bool) -> Attribute:
    tag = tag_for_keyword(keyword)
    assert tag is not None, keyword
    vr = dictionary_VR(tag)
    return Attribute(keyword, tag, vr, vr in SINGLE_VALUE_VRS or dictionary_VM(tag) == "1", level, computed)


ATTRIBUTES: Final[Mapping[str, Attribute]] = {
    keyword: _attribute(keyword, level, computed)
    for level in LEVELS
    for keywords, computed in (
        ((UNIQUE_KEYS[level], *REQUIRED_KEYS[level], *OPTIONAL_KEYS[level].split()), False),
        (COMPUTED_KEYS[level], True),
    )
    for keyword in keywords
}
"""All that can be asked for, by keyword."""

BY_TAG: Final[Mapping[int, Attribute]] = {attribute.tag: attribute for attribute in ATTRIBUTES.values()}

# Not keys: they say how the identifier is meant (PS3.4 C.4.1.1.3.1).
_CONTROL: Final = frozenset((0x0008_0005, 0x0008_0052, 0x0008_0053, 0x0008_0054, 0x0008_0056, 0x0008_0201))
_LEVEL_TAG: Final = 0x0008_0052
_NOT_TEXT: Final = frozenset((
    "AT", "FL", "FD", "OB", "OD", "OF", "OL", "OV", "OW", "SL", "SQ", "SS", "SV", "UL", "US", "UV",
))  # fmt: skip


@dataclass(frozen=True, slots=True)
class Model:
    """An information model: its levels from the top down, and the SOP classes that work by it."""

    name: str
    levels: tuple[Level, ...]
    find: str
    move: str
    get: str

    def levels_of(self, level: Level) -> tuple[Level, ...]:
        """The levels whose attributes are keys at this one: in the Study Root a patient's are those of a study."""
        return (Level.PATIENT, level) if level is self.levels[0] and level is Level.STUDY else (level,)

    def above(self, level: Level) -> tuple[Level, ...]:
        """The levels whose unique keys say where the entity hangs (PS3.4 C.4.1.2.1)."""
        return self.levels[: self.levels.index(level)]


def _model(name: str, levels: tuple[Level, ...], root: str) -> Model:
    uid = f"1.2.840.10008.5.1.4.1.2.{root}"
    return Model(name, levels, f"{uid}.1", f"{uid}.2", f"{uid}.3")


PATIENT_ROOT: Final = _model("Patient Root", LEVELS, "1")
STUDY_ROOT: Final = _model("Study Root", LEVELS[1:], "2")
PATIENT_STUDY_ONLY: Final = _model("Patient/Study Only (retired)", LEVELS[:2], "3")

MODELS: Final[Mapping[str, Model]] = {
    uid: model
    for model in (PATIENT_ROOT, STUDY_ROOT, PATIENT_STUDY_ONLY)
    for uid in (model.find, model.move, model.get)
}
"""By SOP Class UID."""


@dataclass(frozen=True, slots=True)
class Negotiated:
    """What was agreed by SOP Class Extended Negotiation; without, nothing (PS3.4 C.5.1.1, C.5.2.1, C.5.3.1)."""

    relational: bool = False          # unique keys of the levels above may be missing
    combined_date_time: bool = False  # a range of dates and one of times are one of date-times
    timezone_adjustment: bool = False  # dates and times are compared, and answered, in the zone of the identifier

    @classmethod
    def read(cls, information: bytes) -> Negotiated:
        """From Service Class Application Information, where a missing byte is a 0; fuzzy matching is never agreed."""
        offered = [byte == 1 for byte in information.ljust(4, b"\0")]
        return cls(offered[0], offered[1], offered[3])

    def answer(self, length: int) -> bytes:
        """The Service Class Application Information to answer one of `length` bytes with."""
        return bytes((self.relational, self.combined_date_time, False, self.timezone_adjustment, *bytes(4)))[:length]


NOTHING_NEGOTIATED: Final = Negotiated()

Keys: TypeAlias = Mapping[str, Key]


@dataclass(frozen=True, slots=True)
class Query:
    """An identifier of C-FIND, read: `keys` by keyword, those that only ask for a value included.

    `unsupported` are the tags of optional keys that the index does not have: responses are FF01H (PS3.4 C.4.1.1.4).
    `character_set` is that of the identifier; `timezone` its offset from UTC, if it is to be adjusted to.
    """

    model: Model
    level: Level
    keys: Keys
    unsupported: tuple[int, ...] = ()
    character_set: tuple[str, ...] = ()
    timezone: str = ""
    combined_date_time: bool = False


def read_query(model: Model, identifier: Dataset, negotiated: Negotiated = NOTHING_NEGOTIATED) -> Query:
    """Read the identifier of a C-FIND request. Raises IdentifierError.

    An optional key that is not supported at the level, such as Modality at that of studies, is no error; nor are keys
    of levels above, which need not be there but do what they say (as with relational queries, PS3.4 C.4.1.2.2).
    """
    level = _level(model, identifier)
    known = {each for name in (*model.above(level), level) for each in model.levels_of(name)}
    keys: dict[str, Key] = {}
    unsupported = []
    for tag in sorted(int(tag) for tag in identifier.keys()):  # noqa: SIM118 - a Dataset iterates over its elements
        attribute = BY_TAG.get(tag)
        if tag in _CONTROL or tag & 0xFFFF == 0:
            continue
        if attribute is None or attribute.level not in known:
            unsupported.append(tag)
        else:
            keys[attribute.keyword] = _key(identifier, tag, attribute.vr)
    for above in () if negotiated.relational else model.above(level):
        _demand_unique(keys, above)
    zone = ""
    if negotiated.timezone_adjustment and (texts := texts_of(identifier, 0x0008_0201)):
        zone = texts[0]
        if offset(zone) is None:
            raise IdentifierError("expected an offset such as +0100", 0x0008_0201)
    return Query(model, level, keys, tuple(unsupported), texts_of(identifier, 0x0008_0005), zone,
                 negotiated.combined_date_time)  # fmt: skip


def read_retrieval(model: Model, identifier: Dataset, negotiated: Negotiated = NOTHING_NEGOTIATED) -> Query:
    """Read the identifier of C-MOVE or C-GET: a query for instances by unique keys alone. Raises IdentifierError.

    Other keys are not to be there and not regarded, but a unique key below the level contradicts it.
    """
    level = _level(model, identifier)
    keys: dict[str, Key] = {}
    for each in model.levels:
        tag = ATTRIBUTES[UNIQUE_KEYS[each]].tag
        texts = texts_of(identifier, tag)
        if each in model.above(level) or each is level:
            keys[UNIQUE_KEYS[each]] = read_key(tag, ATTRIBUTES[UNIQUE_KEYS[each]].vr, texts)
        elif texts:
            raise IdentifierError(f"expected no key below the level {level.value}", tag)
    for above in () if negotiated.relational else model.above(level):
        _demand_unique(keys, above)
    _demand_unique(keys, level, most=1 if level is Level.PATIENT else None)
    return Query(model, Level.IMAGE, keys)


def texts_of(data_set: Dataset, tag: int) -> tuple[str, ...]:
    """The values of an element as text; of numbers what they are written as. Raises IdentifierError."""
    element = data_set.get_item(tag)
    if element is None:
        return ()
    if element.VR in _NOT_TEXT and (vr := dictionary_VR(tag)) not in _NOT_TEXT:
        raise IdentifierError(f"expected VR {vr}, came {element.VR}", tag)
    try:
        if isinstance(element, RawDataElement) and element.VR in ("IS", "DS"):
            # pydicom would raise for what is no number, and would not keep how it was written.
            value: object = (element.value or b"").decode("ascii", "replace").split("\\")
        else:
            value = data_set[tag].value
    except (ValueError, TypeError, LookupError, NotImplementedError, struct.error, AttributeError, OSError) as error:
        raise IdentifierError("expected a value as its VR has it", tag) from error
    several = value if isinstance(value, Sequence) and not isinstance(value, str | bytes) else [value]
    texts = tuple("" if each is None else without_escapes(str(each)).strip("\0 ") for each in several)
    return texts if any(texts) else ()


def _level(model: Model, identifier: Dataset) -> Level:
    texts = texts_of(identifier, _LEVEL_TAG)
    for level in model.levels:
        if texts == (level.value,):
            return level
    names = ", ".join(level.value for level in model.levels)
    raise IdentifierError(f"expected a level of {names}", _LEVEL_TAG)


def _key(identifier: Dataset, tag: int, vr: str) -> Key:
    if vr != "SQ":
        return read_key(tag, vr, texts_of(identifier, tag))
    try:
        element = identifier[tag]
    except (ValueError, TypeError, LookupError, NotImplementedError, struct.error, AttributeError, OSError) as error:
        raise IdentifierError("expected a sequence", tag) from error
    items = element.value if element.VR == "SQ" else None
    if items is None or len(items) > 1:
        raise IdentifierError("expected a sequence of one item (PS3.4 C.2.2.2.6)", tag)
    keys: dict[str, Key] = {}
    for item in items:
        for inner in map(int, item.keys()):
            if (keyword := keyword_for_tag(inner)) and (inner_vr := dictionary_VR(inner)) != "SQ":
                keys[keyword] = read_key(tag, inner_vr, texts_of(item, inner))
    return SequenceKey(keys) if keys else Universal()


def _demand_unique(keys: Keys, level: Level, most: int | None = 1) -> None:
    """The unique key of a level is there with one value, or up to `most` (None: any number)."""
    keyword = UNIQUE_KEYS[level]
    key = keys.get(keyword)
    if not isinstance(key, Exactly) or (most is not None and len(key.wanted) > most):
        what = "one value" if most else "one or more UIDs"
        raise IdentifierError(f"expected {what} of {keyword}, no wild card", ATTRIBUTES[keyword].tag)


PAIRS: Final = (
    ("StudyDate", "StudyTime"), ("SeriesDate", "SeriesTime"), ("AcquisitionDate", "AcquisitionTime"),
    ("ContentDate", "ContentTime"),
    ("PerformedProcedureStepStartDate", "PerformedProcedureStepStartTime"),
    ("PresentationCreationDate", "PresentationCreationTime"),
)  # fmt: skip
"""Dates and the times that go with them."""
