"""What can be done on an association, in the few words that rules of authorization are written in."""

from __future__ import annotations

from enum import Enum

from ..codes import CommandField
from ..uids import BEARER_TOKEN, VERIFICATION


class Activity(Enum):
    """A kind of operation; the value is the word for it in configuration and log."""

    VERIFICATION = "verification"
    STORE = "store"
    QUERY = "query"
    RETRIEVE = "retrieve"
    NORMALIZED = "normalized"


_OPERATIONS: dict[int, Activity] = {
    CommandField.C_ECHO_RQ: Activity.VERIFICATION,
    CommandField.C_STORE_RQ: Activity.STORE,
    CommandField.C_FIND_RQ: Activity.QUERY,
    CommandField.C_MOVE_RQ: Activity.RETRIEVE,
    CommandField.C_GET_RQ: Activity.RETRIEVE,
    CommandField.N_EVENT_REPORT_RQ: Activity.NORMALIZED,
    CommandField.N_GET_RQ: Activity.NORMALIZED,
    CommandField.N_SET_RQ: Activity.NORMALIZED,
    CommandField.N_ACTION_RQ: Activity.NORMALIZED,
    CommandField.N_CREATE_RQ: Activity.NORMALIZED,
    CommandField.N_DELETE_RQ: Activity.NORMALIZED,
}


def activity_of(command_field: int) -> Activity | None:
    """What a request asks for; None for a Command Field that PS3.7 does not have."""
    return _OPERATIONS.get(command_field)


def activities_of(abstract_syntax: str, *, is_scu: bool, is_scp: bool) -> frozenset[Activity]:
    """What a presentation context can be used for by a requestor in these roles; nothing, for one of no operations.

    Whatever belongs to no other service class is storage. There the SCP is who receives the C-STOREs of a C-GET
    (PS3.4 §C.5.3), so a requestor in that role retrieves.
    """
    if abstract_syntax in _OTHER:
        return _OTHER[abstract_syntax]
    if abstract_syntax.startswith(_NORMALIZED) and abstract_syntax not in _STORED:
        return frozenset({Activity.NORMALIZED})
    roles = ((is_scu, Activity.STORE), (is_scp, Activity.RETRIEVE))
    return frozenset(activity for has_role, activity in roles if has_role)


_DICOM = "1.2.840.10008."

# SOP classes by PS3.6 Table A-1: what is named … - FIND, - MOVE and - GET is numbered alike within an information
# model. The numbers are the last component of each.
_INFORMATION_MODELS = {
    "5.1.4.1.2.1": (1, 2, 3),  # Patient Root
    "5.1.4.1.2.2": (1, 2, 3),  # Study Root
    "5.1.4.1.2.3": (1, 2, 3),  # Patient/Study Only (retired)
    "5.1.4.1.2.4": (None, 2, 3),  # Composite Instance Root Retrieve
    "5.1.4.1.2.5": (None, None, 3),  # Composite Instance Retrieve Without Bulk Data
    "5.1.4.20": (1, 2, 3),  # Defined Procedure Protocol
    "5.1.4.38": (2, 3, 4),  # Hanging Protocol
    "5.1.4.39": (2, 3, 4),  # Color Palette
    "5.1.4.43": (2, 3, 4),  # Generic Implant Template
    "5.1.4.44": (2, 3, 4),  # Implant Assembly Template
    "5.1.4.45": (2, 3, 4),  # Implant Template Group
    "5.1.4.1.1.200": (4, 5, 6),  # Protocol Approval
    "5.1.4.1.1.201": (2, 3, 4),  # Inventory
}
_QUERIES = (
    "5.1.4.31",  # Modality Worklist
    "5.1.4.32.1",  # General Purpose Worklist (retired)
    "5.1.4.37.1", "5.1.4.37.2", "5.1.4.37.3",  # Relevant Patient Information
    "5.1.4.41", "5.1.4.42",  # Product Characteristics, Substance Approval
    "5.1.4.1.1.201.6",  # Repository Query
)  # fmt: skip
_QUERIED_AND_NORMALIZED = (
    "5.1.4.32",  # General Purpose Worklist Management (retired)
    "5.1.4.34.4.2", "5.1.4.34.4.3",  # Unified Procedure Step: Watch and Pull as they were on trial
    "5.1.4.34.6.2", "5.1.4.34.6.3", "5.1.4.34.6.5",  # Watch, Pull, Query (PS3.4 §CC.2)
)  # fmt: skip

_OTHER: dict[str, frozenset[Activity]] = {
    VERIFICATION: frozenset({Activity.VERIFICATION}),
    BEARER_TOKEN: frozenset(),
    _DICOM + "5.1.4.1.1.201.5": frozenset({Activity.NORMALIZED}),  # Inventory Creation
} | {
    f"{_DICOM}{model}.{number}": frozenset({activity})
    for model, numbers in _INFORMATION_MODELS.items()
    for number, activity in zip(numbers, (Activity.QUERY, Activity.RETRIEVE, Activity.RETRIEVE), strict=True)
    if number is not None
} | {
    _DICOM + uid: frozenset({Activity.QUERY}) for uid in _QUERIES
} | {
    _DICOM + uid: frozenset({Activity.QUERY, Activity.NORMALIZED}) for uid in _QUERIED_AND_NORMALIZED
}  # fmt: skip

_NORMALIZED = tuple(_DICOM + arc for arc in (
    "1.9", "1.20.", "1.40", "1.42",  # study content, storage commitment, event and substance logging
    "3.1.2.",  # patients, visits, studies, results; performed procedure steps
    "5.1.1.",  # print, media creation, display
    "5.1.4.32.", "5.1.4.33", "5.1.4.34.",  # general purpose worklist, instance availability, procedure steps
))  # fmt: skip
_STORED = frozenset(_DICOM + uid for uid in (
    "5.1.1.27", "5.1.1.29", "5.1.1.30",  # Stored Print, Hardcopy Image (retired)
    "5.1.4.34.1", "5.1.4.34.7", "5.1.4.34.10",  # RT delivery instructions
))  # fmt: skip
"""Storage classes among those."""
