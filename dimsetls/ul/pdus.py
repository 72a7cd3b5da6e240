"""The seven PDUs of PS3.8 §9.3 and the items inside them, as plain data.

Text is `str` and padding is gone; anything the standard leaves opaque stays `bytes`. A credential never
shows in a repr.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TypeAlias

from ..codes import ContextResult


@dataclass(frozen=True, slots=True)
class PresentationContextRQ:
    """A proposed presentation context (PS3.8 Table 9-13)."""

    context_id: int
    abstract_syntax: str
    transfer_syntaxes: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class PresentationContextAC:
    """The answer to one proposed context (PS3.8 Table 9-18).

    `transfer_syntax` means something only where `result` is acceptance; otherwise it is whatever came.
    """

    context_id: int
    result: int
    transfer_syntax: str

    @property
    def accepted(self) -> bool:
        return self.result == ContextResult.ACCEPTANCE


@dataclass(frozen=True, slots=True)
class AsynchronousOperationsWindow:
    """53H: operations that may be outstanding, from the requestor's point of view; 0 is no limit (PS3.7 D.3.3.3)."""

    maximum_number_operations_invoked: int = 1
    maximum_number_operations_performed: int = 1


@dataclass(frozen=True, slots=True)
class RoleSelection:
    """54H: roles of the requestor for every context of one SOP class (PS3.7 D.3.3.4)."""

    sop_class_uid: str
    scu_role: bool
    scp_role: bool


@dataclass(frozen=True, slots=True)
class ExtendedNegotiation:
    """56H: SOP Class Extended Negotiation, opaque to this layer (PS3.7 D.3.3.5)."""

    sop_class_uid: str
    service_class_application_information: bytes = field(repr=False)  # it may hold a bearer token


@dataclass(frozen=True, slots=True)
class CommonExtendedNegotiation:
    """57H: SOP Class Common Extended Negotiation, in a request only (PS3.7 D.3.3.6)."""

    sop_class_uid: str
    service_class_uid: str
    related_general_sop_class_uids: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class UserIdentityRQ:
    """58H: the identity that the requestor presents (PS3.7 D.3.3.7.1)."""

    user_identity_type: int
    positive_response_requested: bool
    primary_field: bytes = field(repr=False)
    secondary_field: bytes = field(default=b"", repr=False)


@dataclass(frozen=True, slots=True)
class UserIdentityAC:
    """59H: the acceptor's positive answer to an identity (PS3.7 D.3.3.7.2)."""

    server_response: bytes = field(default=b"", repr=False)


@dataclass(frozen=True, slots=True)
class UserInformation:
    """50H with its sub-items (PS3.8 Annex D, PS3.7 D.3.3).

    `maximum_length` bounds the PDU-length of P-DATA-TF sent *to* the party that states it; 0 is no limit.
    """

    maximum_length: int
    implementation_class_uid: str
    implementation_version_name: str | None = None
    asynchronous_operations_window: AsynchronousOperationsWindow | None = None
    role_selections: tuple[RoleSelection, ...] = ()
    extended_negotiations: tuple[ExtendedNegotiation, ...] = ()
    common_extended_negotiations: tuple[CommonExtendedNegotiation, ...] = ()
    user_identity: UserIdentityRQ | None = None
    user_identity_response: UserIdentityAC | None = None


ECHOED_LENGTH = 64
"""Bytes 11–74 of an A-ASSOCIATE-RQ, which the A-ASSOCIATE-AC sends back as they came (PS3.8 Table 9-17)."""


@dataclass(frozen=True, slots=True)
class AssociateRQ:
    """A-ASSOCIATE-RQ (PS3.8 Table 9-11). AE titles are stripped of padding and not yet judged."""

    called_ae_title: str
    calling_ae_title: str
    application_context: str
    presentation_contexts: tuple[PresentationContextRQ, ...]
    user_information: UserInformation
    protocol_version: int = 1
    echoed: bytes = field(default=b"", repr=False, compare=False)
    """The 64 bytes that the answer returns: both titles as padded by the peer, and the reserved field."""


@dataclass(frozen=True, slots=True)
class AssociateAC:
    """A-ASSOCIATE-AC (PS3.8 Table 9-17)."""

    application_context: str
    presentation_contexts: tuple[PresentationContextAC, ...]
    user_information: UserInformation
    protocol_version: int = 1
    echoed: bytes = field(default=bytes(ECHOED_LENGTH), repr=False, compare=False)


@dataclass(frozen=True, slots=True)
class AssociateRJ:
    """A-ASSOCIATE-RJ (PS3.8 Table 9-21). Plain integers, since a peer may send reserved values."""

    result: int
    source: int
    reason: int


@dataclass(frozen=True, slots=True)
class PDV:
    """One presentation data value: a fragment of a command or data set (PS3.8 Table 9-23, Annex E)."""

    context_id: int
    control: int
    fragment: bytes = field(repr=False)

    @property
    def is_command(self) -> bool:
        return bool(self.control & 1)

    @property
    def is_last(self) -> bool:
        return bool(self.control & 2)


@dataclass(frozen=True, slots=True)
class PDataTF:
    """P-DATA-TF (PS3.8 Table 9-22): one or more PDVs of one message."""

    values: tuple[PDV, ...]


@dataclass(frozen=True, slots=True)
class ReleaseRQ:
    """A-RELEASE-RQ (PS3.8 Table 9-24)."""


@dataclass(frozen=True, slots=True)
class ReleaseRP:
    """A-RELEASE-RP (PS3.8 Table 9-25)."""


@dataclass(frozen=True, slots=True)
class Abort:
    """A-ABORT (PS3.8 Table 9-26). The reason is not significant where the source is the service-user."""

    source: int
    reason: int


PDU: TypeAlias = AssociateRQ | AssociateAC | AssociateRJ | PDataTF | ReleaseRQ | ReleaseRP | Abort
