"""Every code table of the standard that goes over the wire, member names as printed there.

Nothing else lives here: no behaviour, no text for people beyond the meaning the standard prints.
"""

from __future__ import annotations

from enum import IntEnum


class PDUType(IntEnum):
    """First byte of a PDU (PS3.8 §9.3)."""

    A_ASSOCIATE_RQ = 0x01
    A_ASSOCIATE_AC = 0x02
    A_ASSOCIATE_RJ = 0x03
    P_DATA_TF = 0x04
    A_RELEASE_RQ = 0x05
    A_RELEASE_RP = 0x06
    A_ABORT = 0x07


class ItemType(IntEnum):
    """First byte of an item or sub-item of an A-ASSOCIATE PDU (PS3.8 §9.3.2, PS3.7 D.3.3)."""

    APPLICATION_CONTEXT = 0x10
    PRESENTATION_CONTEXT_RQ = 0x20
    PRESENTATION_CONTEXT_AC = 0x21
    ABSTRACT_SYNTAX = 0x30
    TRANSFER_SYNTAX = 0x40
    USER_INFORMATION = 0x50
    MAXIMUM_LENGTH = 0x51
    IMPLEMENTATION_CLASS_UID = 0x52
    ASYNCHRONOUS_OPERATIONS_WINDOW = 0x53
    SCP_SCU_ROLE_SELECTION = 0x54
    IMPLEMENTATION_VERSION_NAME = 0x55
    SOP_CLASS_EXTENDED_NEGOTIATION = 0x56
    SOP_CLASS_COMMON_EXTENDED_NEGOTIATION = 0x57
    USER_IDENTITY_RQ = 0x58
    USER_IDENTITY_AC = 0x59


class UserIdentityType(IntEnum):
    """User-Identity-Type of sub-item 58H (PS3.7 Table D.3-14); other values are reserved."""

    USERNAME = 1
    USERNAME_AND_PASSCODE = 2
    KERBEROS_SERVICE_TICKET = 3
    SAML_ASSERTION = 4
    JSON_WEB_TOKEN = 5


class ContextResult(IntEnum):
    """Result/reason of one presentation context in an A-ASSOCIATE-AC (PS3.8 Table 9-18)."""

    ACCEPTANCE = 0
    USER_REJECTION = 1
    NO_REASON = 2
    ABSTRACT_SYNTAX_NOT_SUPPORTED = 3
    TRANSFER_SYNTAXES_NOT_SUPPORTED = 4


class RejectResult(IntEnum):
    """Result of an A-ASSOCIATE-RJ (PS3.8 Table 9-21). Permanent: do not retry unchanged."""

    REJECTED_PERMANENT = 1
    REJECTED_TRANSIENT = 2


class RejectSource(IntEnum):
    """Source of an A-ASSOCIATE-RJ (PS3.8 Table 9-21)."""

    SERVICE_USER = 1
    SERVICE_PROVIDER_ACSE = 2
    SERVICE_PROVIDER_PRESENTATION = 3


REJECT_REASONS: dict[tuple[int, int], str] = {
    (1, 1): "no reason given",
    (1, 2): "application context name not supported",
    (1, 3): "calling AE title not recognized",
    (1, 7): "called AE title not recognized",
    (2, 1): "no reason given",
    (2, 2): "protocol version not supported",
    (3, 1): "temporary congestion",
    (3, 2): "local limit exceeded",
}
"""(source, reason) of an A-ASSOCIATE-RJ to its printed meaning (PS3.8 Table 9-21); others are reserved."""


class AbortSource(IntEnum):
    """Source of an A-ABORT PDU (PS3.8 Table 9-26). 1 is reserved."""

    SERVICE_USER = 0
    SERVICE_PROVIDER = 2


class ProviderReason(IntEnum):
    """Reason of an A-ABORT whose source is the provider (PS3.8 Table 9-26). 3 is reserved.

    The A-P-ABORT indication takes these and, for TLS and transport, values from 0x100 up that never
    go on the wire (PS3.8 §7.4.1 note); see :mod:`dimsetls.tls.faults`.
    """

    REASON_NOT_SPECIFIED = 0
    UNRECOGNIZED_PDU = 1
    UNEXPECTED_PDU = 2
    UNRECOGNIZED_PDU_PARAMETER = 4
    UNEXPECTED_PDU_PARAMETER = 5
    INVALID_PDU_PARAMETER_VALUE = 6


class CommandField(IntEnum):
    """(0000,0100) Command Field (PS3.7 Table E.1-1). A response has bit 15 set."""

    C_STORE_RQ = 0x0001
    C_STORE_RSP = 0x8001
    C_GET_RQ = 0x0010
    C_GET_RSP = 0x8010
    C_FIND_RQ = 0x0020
    C_FIND_RSP = 0x8020
    C_MOVE_RQ = 0x0021
    C_MOVE_RSP = 0x8021
    C_ECHO_RQ = 0x0030
    C_ECHO_RSP = 0x8030
    N_EVENT_REPORT_RQ = 0x0100
    N_EVENT_REPORT_RSP = 0x8100
    N_GET_RQ = 0x0110
    N_GET_RSP = 0x8110
    N_SET_RQ = 0x0120
    N_SET_RSP = 0x8120
    N_ACTION_RQ = 0x0130
    N_ACTION_RSP = 0x8130
    N_CREATE_RQ = 0x0140
    N_CREATE_RSP = 0x8140
    N_DELETE_RQ = 0x0150
    N_DELETE_RSP = 0x8150
    C_CANCEL_RQ = 0x0FFF


class Priority(IntEnum):
    """(0000,0700) Priority (PS3.7 Table E.1-1)."""

    MEDIUM = 0
    HIGH = 1
    LOW = 2
