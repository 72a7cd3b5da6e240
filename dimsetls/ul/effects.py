"""The contract between the pure core and whatever performs it: what to do next, in order.

An adapter gets a list of effects from each call of :class:`~dimsetls.ul.provider.UpperLayerProvider` and
performs them one by one. It decides nothing.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias

from .pdus import PDU, AssociateAC, AssociateRJ, AssociateRQ


@dataclass(frozen=True, slots=True)
class AssociateIndication:
    """A-ASSOCIATE indication (PS3.8 §7.1): a peer asks for an association; answer with accept or reject."""

    request: AssociateRQ


@dataclass(frozen=True, slots=True)
class AssociateConfirmation:
    """A-ASSOCIATE confirmation (PS3.8 §7.1): the peer accepted or rejected."""

    answer: AssociateAC | AssociateRJ


@dataclass(frozen=True, slots=True)
class ReleaseIndication:
    """A-RELEASE indication (PS3.8 §7.2): the peer releases; answer with the release response.

    `collision` is true where we had asked for release ourselves.
    """

    collision: bool = False


@dataclass(frozen=True, slots=True)
class ReleaseConfirmation:
    """A-RELEASE confirmation (PS3.8 §7.2): our release is complete."""


@dataclass(frozen=True, slots=True)
class AbortIndication:
    """A-ABORT indication (PS3.8 §7.3): the peer's user ended the association."""


@dataclass(frozen=True, slots=True)
class ProviderAbortIndication:
    """A-P-ABORT indication (PS3.8 §7.4).

    `reason` is a value of Table 9-26 or a local one from 0x100 up; `detail` one sentence for the operator;
    `by_peer` whether the peer's provider sent it.
    """

    reason: int
    detail: str
    by_peer: bool = False


Indication: TypeAlias = (
    AssociateIndication
    | AssociateConfirmation
    | ReleaseIndication
    | ReleaseConfirmation
    | AbortIndication
    | ProviderAbortIndication
)


@dataclass(frozen=True, slots=True)
class SendPDU:
    """Write this PDU to the transport, after everything sent before."""

    pdu: PDU


@dataclass(frozen=True, slots=True)
class Indicate:
    """Tell the local service user."""

    indication: Indication


@dataclass(frozen=True, slots=True)
class StartArtim:
    """Start, or restart, the ARTIM timer (PS3.8 §9.1.5); on expiry call `artim_expired`."""


@dataclass(frozen=True, slots=True)
class StopArtim:
    """Stop the ARTIM timer if it runs."""


@dataclass(frozen=True, slots=True)
class OpenTransport:
    """Open the transport connection; then call `transport_confirmed` or `transport_closed`."""


@dataclass(frozen=True, slots=True)
class CloseTransport:
    """Close the transport connection in order, after what was sent."""


Effect: TypeAlias = SendPDU | Indicate | StartArtim | StopArtim | OpenTransport | CloseTransport
