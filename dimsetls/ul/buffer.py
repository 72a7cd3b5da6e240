"""What a PDU header alone decides, before any memory is taken for the body (PS3.8 §9.3.1)."""

from __future__ import annotations

from dataclasses import dataclass

from ..codes import PDUType, ProviderReason
from ..errors import RemoteProtocolError
from .writer import LARGEST_PDU_LENGTH

_FIXED = frozenset({PDUType.A_ASSOCIATE_RJ, PDUType.A_RELEASE_RQ, PDUType.A_RELEASE_RP, PDUType.A_ABORT})
_TLS_HANDSHAKE = 0x16  # first byte of a ClientHello record (RFC 8446 §5.1)
_HTTP = frozenset(b"GHPDCOT")  # first letters of the methods, GET to TRACE


@dataclass(frozen=True, slots=True)
class LengthLimits:
    """The longest PDU-length we take, in bytes.

    `p_data` is what we announce as maximum length (PS3.8 Annex D.1); `associate` caps A-ASSOCIATE-RQ and -AC,
    for which the standard gives no bound.
    """

    p_data: int = LARGEST_PDU_LENGTH
    associate: int = 256 * 1024


def judge_type(pdu_type: int) -> None:
    """Refuse a first byte that begins no PDU, without waiting for more."""
    if 0x01 <= pdu_type <= 0x07:
        return
    hint = ""
    if pdu_type == _TLS_HANDSHAKE:
        hint = "; it looks like a TLS ClientHello on a port without TLS"
    elif pdu_type in _HTTP:
        hint = "; it looks like an HTTP request on a DICOM port"
    raise RemoteProtocolError(f"PDU type {pdu_type:02X}H does not exist{hint}", ProviderReason.UNRECOGNIZED_PDU)


def judge_length(pdu_type: int, length: int, limits: LengthLimits) -> None:
    """Refuse a PDU-length that this type cannot have or that is over its limit."""
    if pdu_type == PDUType.P_DATA_TF:
        if length > limits.p_data:
            raise RemoteProtocolError(f"a P-DATA-TF claims {length} bytes; we announced a maximum of {limits.p_data}")
        if length < 6:
            raise RemoteProtocolError(f"a P-DATA-TF claims {length} bytes, too few for one PDV")
    elif pdu_type in _FIXED:
        if length != 4:
            raise RemoteProtocolError(f"a {PDUType(pdu_type).name} PDU claims {length} bytes, exactly 4 are expected")
    elif length > limits.associate:
        name = PDUType(pdu_type).name
        raise RemoteProtocolError(f"an {name} PDU claims {length} bytes; at most {limits.associate} are taken")
