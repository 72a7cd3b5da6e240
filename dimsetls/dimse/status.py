"""Status codes of responses as data: PS3.7 Annex C, and those of the service classes of PS3.4."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum, IntEnum


class Status(IntEnum):
    """(0000,0900) Status. Service classes use whole ranges (A7xxH, Cxxx…), so a status may be no member.

    Some codes have a name for each service that uses them; what they mean to which is in `MEANINGS`.
    """

    SUCCESS = 0x0000
    OPTIONAL_ATTRIBUTES_NOT_SUPPORTED = 0x0001
    NO_SUCH_ATTRIBUTE = 0x0105
    INVALID_ATTRIBUTE_VALUE = 0x0106
    ATTRIBUTE_LIST_ERROR = 0x0107
    PROCESSING_FAILURE = 0x0110
    DUPLICATE_SOP_INSTANCE = 0x0111
    NO_SUCH_SOP_INSTANCE = 0x0112
    NO_SUCH_EVENT_TYPE = 0x0113
    NO_SUCH_ARGUMENT = 0x0114
    INVALID_ARGUMENT_VALUE = 0x0115
    ATTRIBUTE_VALUE_OUT_OF_RANGE = 0x0116
    INVALID_SOP_INSTANCE = 0x0117
    NO_SUCH_SOP_CLASS = 0x0118
    CLASS_INSTANCE_CONFLICT = 0x0119
    MISSING_ATTRIBUTE = 0x0120
    MISSING_ATTRIBUTE_VALUE = 0x0121
    SOP_CLASS_NOT_SUPPORTED = 0x0122
    NO_SUCH_ACTION_TYPE = 0x0123
    NOT_AUTHORIZED = 0x0124
    DUPLICATE_INVOCATION = 0x0210
    UNRECOGNIZED_OPERATION = 0x0211
    MISTYPED_ARGUMENT = 0x0212
    RESOURCE_LIMITATION = 0x0213
    OUT_OF_RESOURCES = 0xA700
    UNABLE_TO_COUNT_MATCHES = 0xA701
    UNABLE_TO_PERFORM_SUBOPERATIONS = 0xA702
    INVALID_PRIOR_RECORD_KEY = 0xA710
    MOVE_DESTINATION_UNKNOWN = 0xA801
    DATA_SET_DOES_NOT_MATCH_SOP_CLASS = 0xA900
    IDENTIFIER_DOES_NOT_MATCH_SOP_CLASS = 0xA900
    CANNOT_UNDERSTAND = 0xC000
    UNABLE_TO_PROCESS = 0xC000
    COERCION_OF_DATA_ELEMENTS = 0xB000
    SUBOPERATIONS_COMPLETE_WITH_FAILURES = 0xB000
    RESPONSE_LIMIT_REACHED = 0xB001
    ELEMENTS_DISCARDED = 0xB006
    DATA_SET_DOES_NOT_MATCH_SOP_CLASS_WARNING = 0xB007
    CANCEL = 0xFE00
    PENDING = 0xFF00
    PENDING_WARNING = 0xFF01


class FailureReason(IntEnum):
    """(0008,1197) Failure Reason in the report of a Storage Commitment (PS3.3 C.14.1.1)."""

    PROCESSING_FAILURE = 0x0110
    NO_SUCH_OBJECT_INSTANCE = 0x0112
    CLASS_INSTANCE_CONFLICT = 0x0119
    REFERENCED_SOP_CLASS_NOT_SUPPORTED = 0x0122
    DUPLICATE_TRANSACTION_UID = 0x0131
    RESOURCE_LIMITATION = 0x0213


class StatusClass(Enum):
    """What a status means for the operation (PS3.7 Annex C)."""

    SUCCESS = "success"
    WARNING = "warning"
    FAILURE = "failure"
    CANCEL = "cancel"
    PENDING = "pending"


def status_class(status: int) -> StatusClass:
    """The class of any status; a value that the standard does not list is a failure."""
    return _CLASSES.get(status) or _CLASSES_BY_FIRST_DIGIT.get(status >> 12, StatusClass.FAILURE)


_CLASSES = {
    Status.SUCCESS: StatusClass.SUCCESS,
    0x0001: StatusClass.WARNING,
    Status.ATTRIBUTE_LIST_ERROR: StatusClass.WARNING,
    Status.ATTRIBUTE_VALUE_OUT_OF_RANGE: StatusClass.WARNING,
    Status.CANCEL: StatusClass.CANCEL,
    Status.PENDING: StatusClass.PENDING,
    Status.PENDING_WARNING: StatusClass.PENDING,
}
_CLASSES_BY_FIRST_DIGIT = {0xB: StatusClass.WARNING}


class Service(Enum):
    """Whose specific statuses these are. Verification and Storage Commitment have the general ones alone."""

    STORAGE = "Storage (PS3.4 B.2.3)"
    FIND = "Query/Retrieve, C-FIND (PS3.4 C.4.1.1.4)"
    MOVE = "Query/Retrieve, C-MOVE (PS3.4 C.4.2.1.5)"
    GET = "Query/Retrieve, C-GET (PS3.4 C.4.3.1.4)"
    PROCEDURE_STEP = "Modality Performed Procedure Step (PS3.4 Annex F)"
    PRINT = "Print Management (PS3.4 Annex H)"
    WORKLIST = "Modality Worklist (PS3.4 K.4.1.1.4)"
    EVENT_LOGGING = "Application Event Logging (PS3.4 Annex P)"
    RELEVANT_PATIENT_INFORMATION = "Relevant Patient Information Query (PS3.4 Annex Q)"
    MEDIA_CREATION = "Media Creation Management (PS3.4 Annex S)"
    SUBSTANCE_ADMINISTRATION = "Substance Administration Query (PS3.4 Annex V)"
    UNIFIED_PROCEDURE_STEP = "Unified Worklist and Procedure Step (PS3.4 Annex CC)"
    MACHINE_VERIFICATION = "RT Machine Verification (PS3.4 Annex DD)"
    NON_PATIENT_OBJECT_STORAGE = "Non-Patient Object Storage (PS3.4 Annex GG)"
    STORAGE_MANAGEMENT = "Storage Management (PS3.4 Annex KK)"


@dataclass(frozen=True, slots=True)
class Meaning:
    """What the statuses from `first` to `last` mean to one service, or to all (None)."""

    first: int
    last: int
    text: str
    service: Service | None = None

    @property
    def status_class(self) -> StatusClass:
        return status_class(self.first)

    @property
    def extent(self) -> int:
        """How many statuses it covers beyond the first."""
        return self.last - self.first


def meanings(status: int, service: Service | None = None) -> tuple[Meaning, ...]:
    """What the standard says of a status, or of a status from this service; the most specific first.

    Empty for what it does not list.
    """
    found = (row for row in MEANINGS if row.first <= status <= row.last and
             (service is None or row.service in (None, service)))  # fmt: skip
    return tuple(sorted(found, key=lambda row: (row.extent, row.service is None)))


def describe(status: int, service: Service | None = None) -> str:
    """A status in words: ``A801H, failure: move destination unknown``; without a service what it may mean."""
    found = meanings(status, service)
    of_all = [row for row in found if row.service is None]
    specific = found[:1] if service else of_all or [row for row in found if row.extent == found[0].extent]
    texts = " or ".join(dict.fromkeys(row.text for row in specific))
    return f"{status:04X}H, {status_class(status).value}{': ' if texts else ''}{texts}"


def _table(service: Service | None, rows: str) -> tuple[Meaning, ...]:
    """Rows of `code meaning`; an x in the code stands for any digit."""
    split = (row.strip().partition(" ") for row in rows.strip().splitlines())
    return tuple(
        Meaning(int(code.replace("x", "0"), 16), int(code.replace("x", "F"), 16), text.strip(), service)
        for code, _, text in split
    )


_QUERY = """
    A700 out of resources
    A900 the identifier does not match the SOP class
    Cxxx unable to process
    FF00 a match is supplied
    FF01 a match is supplied; optional keys were not supported
"""
_RETRIEVE = """
    A701 out of resources: unable to calculate the number of matches
    A702 out of resources: unable to perform sub-operations
    A900 the identifier does not match the SOP class
    AA00 none of the requested frames is in the SOP instance
    AA01 unable to create a new object for this SOP class
    AA02 unable to extract frames
    AA03 a request by time for a SOP instance without time
    AA04 invalid request
    B000 sub-operations are complete, one or more failed
    Cxxx unable to process
    FF00 sub-operations are continuing
"""

MEANINGS: tuple[Meaning, ...] = (
    *_table(None, """
        0000 success
        0105 no such attribute
        0106 invalid attribute value
        0107 attribute list error
        0110 processing failure
        0111 duplicate SOP instance
        0112 no such SOP instance
        0113 no such event type
        0114 no such argument
        0115 invalid argument value
        0116 attribute value out of range
        0117 invalid SOP instance
        0118 no such SOP class
        0119 class-instance conflict
        0120 missing attribute
        0121 missing attribute value
        0122 SOP class not supported
        0123 no such action type
        0124 not authorized
        0210 duplicate invocation
        0211 unrecognized operation
        0212 mistyped argument
        0213 resource limitation
        FE00 cancelled
    """),
    *_table(Service.STORAGE, """
        A7xx out of resources
        A9xx the data set does not match the SOP class
        B000 data elements were coerced
        B006 elements were discarded
        B007 the data set does not match the SOP class, and is stored
        Cxxx cannot understand
    """),
    *_table(Service.FIND, f"""
        A710 invalid prior record key
        B001 the limit of responses is reached, another request may find more
        {_QUERY.strip()}
    """),
    *_table(Service.MOVE, f"""
        A801 move destination unknown
        {_RETRIEVE.strip()}
    """),
    *_table(Service.GET, _RETRIEVE),
    *_table(Service.PROCEDURE_STEP, """
        0001 requested optional attributes are not supported
        0110 the performed procedure step may no longer be updated
    """),
    *_table(Service.PRINT, """
        B600 memory allocation is not supported
        B601 film session printing (collation) is not supported
        B602 the film session has no image boxes (empty page)
        B603 the film box has no image boxes (empty page)
        B604 the image is larger than its box and was demagnified
        B605 minimum or maximum density is out of the printer's range, which was used instead
        B609 the image is larger than its box and was cropped
        B60A the image or combined print image is larger than its box and was decimated
        C600 the film session has no film boxes
        C601 unable to create the print job, the queue is full
        C602 unable to create the print job, the queue is full
        C603 the image is larger than its box
        C605 the printer has not enough memory for the image
        C613 the combined print image is larger than its box
        C616 a film box that is not printed yet bars another
    """),
    *_table(Service.WORKLIST, _QUERY),
    *_table(Service.EVENT_LOGGING, """
        B101 the synchronization frame of reference is not that of the SCP
        B102 logged under another Study Instance UID
        B104 logged, though the IDs of the current study are inconsistent
        C101 no procedural logging for this Study Instance UID
        C102 the event information does not match the template
        C103 the event cannot be matched to a current study
        C104 not logged, for the IDs of the current study are inconsistent
        C10E the operator is not authorized to add to the medication administration record
        C110 the patient cannot be identified from Patient ID or Admission ID
        C111 the medication administration record could not be updated
    """),
    *_table(Service.RELEVANT_PATIENT_INFORMATION, """
        A700 out of resources
        A900 the identifier does not match the SOP class
        C000 unable to process
        C100 more than one match
        C200 unable to support the requested template
        FF00 a match is supplied
    """),
    *_table(Service.MEDIA_CREATION, """
        0001 requested optional attributes are not supported
        A510 media creation was already initiated for this SOP instance
        C201 the request is already completed
        C202 the request is already in progress and cannot be interrupted
        C203 cancellation denied
    """),
    *_table(Service.SUBSTANCE_ADMINISTRATION, _QUERY),
    *_table(Service.UNIFIED_PROCEDURE_STEP, f"""
        0001 requested optional attributes are not supported
        B300 the UPS was created with modifications
        B301 deletion lock not granted
        B304 the UPS is already CANCELED
        B305 invalid values were coerced to valid ones
        B306 the UPS is already COMPLETED
        C300 the UPS may no longer be updated
        C301 the correct Transaction UID was not provided
        C302 the UPS is already IN PROGRESS
        C303 a UPS may only become SCHEDULED by N-CREATE
        C304 the UPS does not meet the requirements of the requested final state
        C307 no such UPS, or not managed here
        C308 the receiving AE title is unknown
        C309 the UPS state that was provided is not SCHEDULED
        C310 the UPS is not yet IN PROGRESS
        C311 the UPS is already COMPLETED
        C312 the performer cannot be contacted
        C313 the performer chooses not to cancel
        C314 the action is not appropriate for the instance
        C315 event reports are not supported
        {_QUERY.strip()}
    """),
    *_table(Service.MACHINE_VERIFICATION, """
        C112 no such machine verification instance
        C221 the fraction group is not in the plan
        C222 the fraction group has no beams
        C223 already verifying, this request cannot be processed now
        C224 the beam is not in the fraction group
        C225 the device or accessory is not supported
        C226 the device or accessory is not in the beam
        C227 no such RT plan
    """),
    *_table(Service.NON_PATIENT_OBJECT_STORAGE, """
        A700 out of resources
        A900 the data set does not match the SOP class
        C000 cannot understand
    """),
    *_table(Service.STORAGE_MANAGEMENT, """
        B010 key attributes are not supported for matching
    """),
)  # fmt: skip
"""Every status that PS3.7 Annex C and PS3.4 give a meaning. FF00H and FF01H mean nothing without a service."""
