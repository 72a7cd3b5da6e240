"""PDUs to bytes (PS3.8 §9.3). Reserved fields are zero; items go out in ascending order of type."""

from __future__ import annotations

import struct
from functools import lru_cache

from ..codes import ItemType, PDUType
from ..errors import LocalProtocolError
from .pdus import (
    ECHOED_LENGTH,
    PDU,
    PDV,
    Abort,
    AssociateAC,
    AssociateRJ,
    AssociateRQ,
    PDataTF,
    ReleaseRP,
    ReleaseRQ,
    UserInformation,
)

_PDU_HEADER = struct.Struct(">BxI").pack
_ITEM_HEADER = struct.Struct(">BxH").pack
_PDV_HEADER = struct.Struct(">IBB").pack
_SINGLE_PDV = struct.Struct(">BxIIBB")
_SINGLE_PDV_HEADER = _SINGLE_PDV.pack
_P_DATA_TF = int(PDUType.P_DATA_TF)


def write_pdu(pdu: PDU) -> bytes:
    """One PDU as it goes on the wire. A value that does not fit its field raises `LocalProtocolError`."""
    try:
        return _write(pdu)
    except (ValueError, OverflowError, struct.error) as error:
        raise LocalProtocolError(f"a value of {type(pdu).__name__} does not fit its field: {error}") from error


def _write(pdu: PDU) -> bytes:
    match pdu:
        case PDataTF():
            return _pdu(PDUType.P_DATA_TF, b"".join(map(_pdv, pdu.values)))
        case AssociateRQ():
            return _associate(PDUType.A_ASSOCIATE_RQ, pdu.protocol_version, pdu.echoed or _titles(pdu), _rq_items(pdu))
        case AssociateAC():
            return _associate(PDUType.A_ASSOCIATE_AC, pdu.protocol_version, pdu.echoed, _ac_items(pdu))
        case AssociateRJ():
            return _pdu(PDUType.A_ASSOCIATE_RJ, bytes((0, pdu.result, pdu.source, pdu.reason)))
        case ReleaseRQ():
            return _pdu(PDUType.A_RELEASE_RQ, bytes(4))
        case ReleaseRP():
            return _pdu(PDUType.A_RELEASE_RP, bytes(4))
        case Abort():
            return _pdu(PDUType.A_ABORT, bytes((0, 0, pdu.source, pdu.reason)))


def write_fragments(
    context_id: int, is_command: bool, data: bytes | memoryview, maximum_length: int, *, is_last: bool = True
) -> list[bytes]:
    """A whole command or data set as P-DATA-TF PDUs of one PDV each, the last one marked so (PS3.8 Annex E).

    Where more of the same is to follow, `is_last` is false and none is marked.

    `maximum_length` is what the peer announced (0: no limit); a fragment has at most that less 6 bytes, and an
    even number of them.
    """
    room = min(maximum_length or LARGEST_PDU_LENGTH, LARGEST_PDU_LENGTH) - 6 & ~1
    if room < 2:
        raise LocalProtocolError(f"the peer's maximum length {maximum_length} leaves no room for data; 8 is the least")
    size, kind, last = len(data), 1 if is_command else 0, 2 if is_last else 0
    if size <= room:
        return [_SINGLE_PDV_HEADER(_P_DATA_TF, size + 6, size + 2, context_id, kind | last) + data]
    view, pdus = memoryview(data), []
    for start in range(0, size, room):
        piece = view[start : start + room]
        n, control = len(piece), kind | last if start + room >= size else kind
        pdus.append(_SINGLE_PDV_HEADER(_P_DATA_TF, n + 6, n + 2, context_id, control) + piece)
    return pdus


P_DATA_HEADER = _SINGLE_PDV.size
"""Bytes of a P-DATA-TF PDU with one PDV that come before the data."""


def put_p_data_header(buffer: bytearray | memoryview, at: int, octets: int, context_id: int, is_last: bool) -> None:
    """Begin a P-DATA-TF PDU with one PDV, whose `octets` of a data set the buffer has, or will have, behind it."""
    _SINGLE_PDV.pack_into(buffer, at, _P_DATA_TF, octets + 6, octets + 2, context_id, 2 if is_last else 0)


LARGEST_PDU_LENGTH = 131066
"""What we announce and the most we send: with its header 131072 bytes, exactly eight full TLS records."""


def _pdu(pdu_type: int, body: bytes) -> bytes:
    return _PDU_HEADER(pdu_type, len(body)) + body


def _pdv(value: PDV) -> bytes:
    return _PDV_HEADER(len(value.fragment) + 2, value.context_id, value.control) + value.fragment


def _item(item_type: int, *parts: bytes) -> bytes:
    value = b"".join(parts)
    if len(value) > 0xFFFF:
        raise LocalProtocolError(f"item {item_type:02X}H would be {len(value)} bytes long; an item holds at most 65535")
    return _ITEM_HEADER(item_type, len(value)) + value


def _text(item_type: int, text: str) -> bytes:
    return _item(item_type, text.encode("ascii"))


def _short(text: str | bytes) -> bytes:
    """A value with a 2 byte length of its own, as inside sub-items."""
    value = text.encode("ascii") if isinstance(text, str) else text
    if len(value) > 0xFFFF:
        raise LocalProtocolError(f"a field would be {len(value)} bytes long; it holds at most 65535")
    return len(value).to_bytes(2, "big") + value


def _titles(rq: AssociateRQ) -> bytes:
    titles = [title.encode("ascii") for title in (rq.called_ae_title, rq.calling_ae_title)]
    for title in titles:
        if not 1 <= len(title) <= 16:
            raise LocalProtocolError(f"AE title {title!r} is {len(title)} characters long; 1 to 16 are allowed")
    return b"".join(title.ljust(16) for title in titles) + bytes(32)


def _associate(pdu_type: int, version: int, echoed: bytes, items: list[bytes]) -> bytes:
    if len(echoed) != ECHOED_LENGTH:
        raise LocalProtocolError(f"{len(echoed)} bytes to echo, {ECHOED_LENGTH} expected")
    return _pdu(pdu_type, b"".join((version.to_bytes(2, "big"), bytes(2), echoed, *items)))


def _rq_items(rq: AssociateRQ) -> list[bytes]:
    return [
        _text(ItemType.APPLICATION_CONTEXT, rq.application_context),
        *(
            _item(
                ItemType.PRESENTATION_CONTEXT_RQ,
                bytes((context.context_id, 0, 0, 0)),
                _text(ItemType.ABSTRACT_SYNTAX, context.abstract_syntax),
                *(_text(ItemType.TRANSFER_SYNTAX, uid) for uid in context.transfer_syntaxes),
            )
            for context in rq.presentation_contexts
        ),
        _user_information(rq.user_information),
    ]


def _ac_items(ac: AssociateAC) -> list[bytes]:
    return [
        _text(ItemType.APPLICATION_CONTEXT, ac.application_context),
        *(_answered(each.context_id, each.result, each.transfer_syntax) for each in ac.presentation_contexts),
        _user_information(ac.user_information),
    ]


@lru_cache(1024)
def _answered(context_id: int, result: int, transfer_syntax: str) -> bytes:
    """The same device proposes the same contexts each time, and has the same answers."""
    syntax = _text(ItemType.TRANSFER_SYNTAX, transfer_syntax)
    return _item(ItemType.PRESENTATION_CONTEXT_AC, bytes((context_id, 0, result, 0)), syntax)


def _user_information(user: UserInformation) -> bytes:
    items = [
        _item(ItemType.MAXIMUM_LENGTH, user.maximum_length.to_bytes(4, "big")),
        _text(ItemType.IMPLEMENTATION_CLASS_UID, user.implementation_class_uid),
    ]
    if window := user.asynchronous_operations_window:
        numbers = (window.maximum_number_operations_invoked, window.maximum_number_operations_performed)
        items.append(_item(ItemType.ASYNCHRONOUS_OPERATIONS_WINDOW, struct.pack(">HH", *numbers)))
    for role in user.role_selections:
        flags = bytes((role.scu_role, role.scp_role))
        items.append(_item(ItemType.SCP_SCU_ROLE_SELECTION, _short(role.sop_class_uid), flags))
    if user.implementation_version_name is not None:
        items.append(_text(ItemType.IMPLEMENTATION_VERSION_NAME, user.implementation_version_name))
    for extended in user.extended_negotiations:
        information = extended.service_class_application_information
        items.append(_item(ItemType.SOP_CLASS_EXTENDED_NEGOTIATION, _short(extended.sop_class_uid), information))
    for common in user.common_extended_negotiations:
        related = b"".join(map(_short, common.related_general_sop_class_uids))
        parts = _short(common.sop_class_uid), _short(common.service_class_uid), _short(related)
        items.append(_item(ItemType.SOP_CLASS_COMMON_EXTENDED_NEGOTIATION, *parts))
    if identity := user.user_identity:
        flags = bytes((identity.user_identity_type, identity.positive_response_requested))
        fields = _short(identity.primary_field), _short(identity.secondary_field)
        items.append(_item(ItemType.USER_IDENTITY_RQ, flags, *fields))
    if response := user.user_identity_response:
        items.append(_item(ItemType.USER_IDENTITY_AC, _short(response.server_response)))
    return _item(ItemType.USER_INFORMATION, *items)
