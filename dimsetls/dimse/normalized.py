"""The messages of DIMSE-N (PS3.7 §10.3): operations and notifications on managed objects.

N-GET, N-SET, N-ACTION and N-DELETE name a requested SOP instance, N-CREATE and N-EVENT-REPORT an affected one;
their responses always name the affected one.
"""

from __future__ import annotations

from dataclasses import dataclass

from ..codes import CommandField
from .messages import AffectedRequest, DataSet, RequestMessage, ResponseMessage
from .status import StatusClass

_ALLOWED = dict.fromkeys(StatusClass, DataSet.ALLOWED)  # a failure may show the values that were wrong (Annex C.5)


@dataclass(frozen=True, slots=True)
class RequestedRequest(RequestMessage):
    """A request about a requested SOP instance."""

    requested_sop_class_uid: str
    requested_sop_instance_uid: str

    @property
    def sop_class_uid(self) -> str:
        return self.requested_sop_class_uid

    @property
    def sop_instance_uid(self) -> str:
        return self.requested_sop_instance_uid


@dataclass(frozen=True, slots=True)
class NormalizedResponse(ResponseMessage):
    """What all responses of DIMSE-N share. The list is of attributes that a status is about (Annex C.4.2, C.5)."""

    affected_sop_instance_uid: str | None = None
    attribute_identifier_list: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class NEventReportRSP(NormalizedResponse):
    """N-EVENT-REPORT-RSP (PS3.7 Table 10.3-2); the data set is the event reply."""

    COMMAND_FIELD = CommandField.N_EVENT_REPORT_RSP
    DATA_SETS = _ALLOWED

    event_type_id: int | None = None


@dataclass(frozen=True, slots=True)
class NEventReportRQ(AffectedRequest):
    """N-EVENT-REPORT-RQ (PS3.7 Table 10.3-1); the data set is the event information."""

    COMMAND_FIELD = CommandField.N_EVENT_REPORT_RQ
    DATA_SET = DataSet.ALLOWED
    RESPONSE = NEventReportRSP

    affected_sop_instance_uid: str
    event_type_id: int


@dataclass(frozen=True, slots=True)
class NGetRSP(NormalizedResponse):
    """N-GET-RSP (PS3.7 Table 10.3-4); the data set is the attribute list."""

    COMMAND_FIELD = CommandField.N_GET_RSP
    DATA_SETS = {  # noqa: RUF012
        StatusClass.SUCCESS: DataSet.REQUIRED,
        StatusClass.WARNING: DataSet.ALLOWED,
    }


@dataclass(frozen=True, slots=True)
class NGetRQ(RequestedRequest):
    """N-GET-RQ (PS3.7 Table 10.3-3); without an attribute identifier list it asks for all attributes."""

    COMMAND_FIELD = CommandField.N_GET_RQ
    RESPONSE = NGetRSP

    attribute_identifier_list: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class NSetRSP(NormalizedResponse):
    """N-SET-RSP (PS3.7 Table 10.3-6); the data set is the attribute list."""

    COMMAND_FIELD = CommandField.N_SET_RSP
    DATA_SETS = _ALLOWED


@dataclass(frozen=True, slots=True)
class NSetRQ(RequestedRequest):
    """N-SET-RQ (PS3.7 Table 10.3-5); the data set is the modification list."""

    COMMAND_FIELD = CommandField.N_SET_RQ
    DATA_SET = DataSet.REQUIRED
    RESPONSE = NSetRSP


@dataclass(frozen=True, slots=True)
class NActionRSP(NormalizedResponse):
    """N-ACTION-RSP (PS3.7 Table 10.3-8); the data set is the action reply."""

    COMMAND_FIELD = CommandField.N_ACTION_RSP
    DATA_SETS = _ALLOWED

    action_type_id: int | None = None


@dataclass(frozen=True, slots=True)
class NActionRQ(RequestedRequest):
    """N-ACTION-RQ (PS3.7 Table 10.3-7); the data set is the action information."""

    COMMAND_FIELD = CommandField.N_ACTION_RQ
    DATA_SET = DataSet.ALLOWED
    RESPONSE = NActionRSP

    action_type_id: int


@dataclass(frozen=True, slots=True)
class NCreateRSP(NormalizedResponse):
    """N-CREATE-RSP (PS3.7 Table 10.3-10); names the instance if the request did not. The data set is its attributes."""

    COMMAND_FIELD = CommandField.N_CREATE_RSP
    DATA_SETS = _ALLOWED


@dataclass(frozen=True, slots=True)
class NCreateRQ(AffectedRequest):
    """N-CREATE-RQ (PS3.7 Table 10.3-9); without an instance UID the SCP makes one. The data set is its attributes."""

    COMMAND_FIELD = CommandField.N_CREATE_RQ
    DATA_SET = DataSet.ALLOWED
    RESPONSE = NCreateRSP

    affected_sop_instance_uid: str | None = None


@dataclass(frozen=True, slots=True)
class NDeleteRSP(NormalizedResponse):
    """N-DELETE-RSP (PS3.7 Table 10.3-12)."""

    COMMAND_FIELD = CommandField.N_DELETE_RSP


@dataclass(frozen=True, slots=True)
class NDeleteRQ(RequestedRequest):
    """N-DELETE-RQ (PS3.7 Table 10.3-11)."""

    COMMAND_FIELD = CommandField.N_DELETE_RQ
    RESPONSE = NDeleteRSP
