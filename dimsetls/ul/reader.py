"""Bytes to PDUs (PS3.8 §9.3). Whatever is wrong raises `RemoteProtocolError` with its wire reason.

Reserved fields are never tested, unknown items and sub-items are skipped (§9.3.1), and every nested length
must fill its parent exactly.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from functools import lru_cache
from typing import TypeVar

from ..codes import ItemType, PDUType, ProviderReason
from ..errors import RemoteProtocolError
from ..uids import is_valid_uid
from .pdus import (
    PDU,
    PDV,
    Abort,
    AssociateAC,
    AssociateRJ,
    AssociateRQ,
    AsynchronousOperationsWindow,
    CommonExtendedNegotiation,
    ExtendedNegotiation,
    PDataTF,
    PresentationContextAC,
    PresentationContextRQ,
    ReleaseRP,
    ReleaseRQ,
    RoleSelection,
    UserIdentityAC,
    UserIdentityRQ,
    UserInformation,
)

_T = TypeVar("_T")
_KNOWN = 512  # bytes of a context above which it is read each time, or a peer could have us keep much
_NO_USER_INFORMATION = UserInformation(0, "")


def read_pdu(pdu_type: int, body: bytes) -> PDU:
    """The PDU of this type whose variable field is `body` (the header and its length are already judged)."""
    match pdu_type:
        case PDUType.A_ASSOCIATE_RQ:
            return _read_rq(body)
        case PDUType.A_ASSOCIATE_AC:
            return _read_ac(body)
        case PDUType.A_ASSOCIATE_RJ:
            return AssociateRJ(*_four(body)[1:])
        case PDUType.P_DATA_TF:
            return PDataTF(tuple(_pdvs(body)))
        case PDUType.A_RELEASE_RQ:
            _four(body)
            return ReleaseRQ()
        case PDUType.A_RELEASE_RP:
            _four(body)
            return ReleaseRP()
        case PDUType.A_ABORT:
            return Abort(*_four(body)[2:])
    raise RemoteProtocolError(f"PDU type {pdu_type:02X}H does not exist", ProviderReason.UNRECOGNIZED_PDU)


def _four(body: bytes) -> bytes:
    if len(body) != 4:
        raise RemoteProtocolError(f"a PDU of fixed length 4 came with length {len(body)}")
    return body


def _pdvs(body: bytes) -> Iterator[PDV]:
    if not body:
        raise RemoteProtocolError("a P-DATA-TF came without a presentation data value")
    offset = 0
    while offset < len(body):
        if len(body) - offset < 6:
            raise RemoteProtocolError(f"{len(body) - offset} bytes are left in a P-DATA-TF, too few for a PDV")
        length, context_id, control = struct.unpack_from(">IBB", body, offset)
        end = offset + 4 + length
        if length < 2 or end > len(body):
            raise RemoteProtocolError(f"a PDV claims {length} bytes, its PDU has {len(body) - offset - 4}")
        yield PDV(context_id, control, body[offset + 6 : end])
        offset = end


def _read_rq(body: bytes) -> AssociateRQ:
    version, echoed = _frame(body)
    called, calling = _title(echoed[:16]), _title(echoed[16:32])
    if not version & 1:
        # Only bit 0 says "version 1" (Table 9-11); how the rest of another version reads is unknown. AE-6 rejects it.
        return AssociateRQ(called, calling, "", (), _NO_USER_INFORMATION, version, echoed)
    name, values, user = _parts(body, ItemType.PRESENTATION_CONTEXT_RQ)
    contexts = tuple(_known_context(each) if len(each) <= _KNOWN else _context_rq(each) for each in values)
    _check_ids([context.context_id for context in contexts])
    return AssociateRQ(called, calling, name, contexts, _user_information(user), version, echoed)


def _read_ac(body: bytes) -> AssociateAC:
    version, echoed = _frame(body)
    if not version & 1:
        raise RemoteProtocolError(f"A-ASSOCIATE-AC has protocol version {version:04X}H, bit 0 is not set")
    name, values, user = _parts(body, ItemType.PRESENTATION_CONTEXT_AC)
    contexts = tuple(map(_context_ac, values))
    _check_ids([context.context_id for context in contexts])
    return AssociateAC(name, contexts, _user_information(user), version, echoed)


def _frame(body: bytes) -> tuple[int, bytes]:
    if len(body) < 68:
        raise RemoteProtocolError(f"an A-ASSOCIATE PDU of {len(body)} bytes; its fixed part alone has 68")
    return int.from_bytes(body[:2], "big"), body[4:68]


def _title(field: bytes) -> str:
    # latin-1 cannot fail; whether the title is allowed is the acceptor's question and answered with a reject.
    return field.decode("latin-1").strip(" ")


def _items(value: bytes, where: str) -> Iterator[tuple[int, bytes]]:
    """The (type, value) of each item; together they must fill `value` exactly."""
    offset, end = 0, len(value)
    while offset < end:
        if end - offset < 4:
            raise RemoteProtocolError(f"{end - offset} bytes are left in {where}, too few for an item header")
        item_type, length = struct.unpack_from(">BxH", value, offset)
        offset += 4
        if length > end - offset:
            raise RemoteProtocolError(
                f"item {item_type:02X}H claims {length} bytes, {where} has {end - offset} left"
            )
        yield item_type, value[offset : offset + length]
        offset += length


def _parts(body: bytes, context_item: ItemType) -> tuple[str, list[bytes], bytes]:
    """Application context name, the values of the context items, the value of the user information item."""
    where = "the A-ASSOCIATE PDU"
    names: list[str] = []
    contexts: list[bytes] = []
    users: list[bytes] = []
    for item_type, value in _items(body[68:], where):
        if item_type == context_item:
            contexts.append(value)
        elif item_type == ItemType.APPLICATION_CONTEXT:
            names.append(_uid(value, "the application context name"))
        elif item_type == ItemType.USER_INFORMATION:
            users.append(value)
    return _one(names, "application context", where), contexts, _one(users, "user information", where)


def _one(found: list[_T], what: str, where: str) -> _T:
    if len(found) != 1:
        raise RemoteProtocolError(f"{where} has {len(found)} {what} items, exactly one is expected")
    return found[0]


def _check_ids(context_ids: list[int]) -> None:
    if not context_ids:
        raise RemoteProtocolError("the A-ASSOCIATE PDU has no presentation context")
    for context_id in context_ids:
        if not context_id & 1:
            raise RemoteProtocolError(f"presentation context ID {context_id} is even; odd numbers 1 to 255 are allowed")
    if len(set(context_ids)) != len(context_ids):
        twice = next(c for c in context_ids if context_ids.count(c) > 1)
        raise RemoteProtocolError(f"presentation context ID {twice} is used more than once")


def _context_rq(value: bytes) -> PresentationContextRQ:
    if len(value) < 4:
        raise RemoteProtocolError(f"a presentation context item of {len(value)} bytes, at least 4 are expected")
    where = f"presentation context {value[0]}"
    abstract: list[str] = []
    transfer: list[str] = []
    for item_type, uid in _items(value[4:], where):
        if item_type == ItemType.ABSTRACT_SYNTAX:
            abstract.append(_uid(uid, f"the abstract syntax of {where}"))
        elif item_type == ItemType.TRANSFER_SYNTAX:
            transfer.append(_uid(uid, f"a transfer syntax of {where}"))
    if not transfer:
        raise RemoteProtocolError(f"{where} has no transfer syntax")
    return PresentationContextRQ(value[0], _one(abstract, "abstract syntax", where), tuple(transfer))


@lru_cache(1024)
def _known_context(value: bytes) -> PresentationContextRQ:
    """The same device proposes the same contexts each time, some a hundred and more of them."""
    return _context_rq(value)


def _context_ac(value: bytes) -> PresentationContextAC:
    if len(value) < 4:
        raise RemoteProtocolError(f"a presentation context item of {len(value)} bytes, at least 4 are expected")
    context_id, result = value[0], value[2]
    where = f"presentation context {context_id}"
    transfer = [uid for item_type, uid in _items(value[4:], where) if item_type == ItemType.TRANSFER_SYNTAX]
    if result != 0:
        # The transfer syntax of a refused context has no meaning and is not tested (Table 9-18).
        text = transfer[0].decode("latin-1") if transfer else ""
        return PresentationContextAC(context_id, result, text)
    uid = _uid(_one(transfer, "transfer syntax", where), f"the transfer syntax of {where}")
    return PresentationContextAC(context_id, result, uid)


def _uid(value: bytes, what: str) -> str:
    # UIDs are not padded here (PS3.8 Annex F.1); one trailing NUL or space of a sloppy peer is forgiven.
    if value[-1:] in (b"\0", b" "):
        value = value[:-1]
    text = value.decode("latin-1")
    if not is_valid_uid(text):
        raise RemoteProtocolError(f"{what} is {text[:70]!r}, which is not a UID")
    return text


class _Cursor:
    """Reads the fields of one sub-item; running over its end is the peer's error."""

    __slots__ = ("_offset", "_value", "_where")

    def __init__(self, value: bytes, where: str) -> None:
        self._value, self._where, self._offset = value, where, 0

    def take(self, length: int) -> bytes:
        end = self._offset + length
        if end > len(self._value):
            raise RemoteProtocolError(
                f"{self._where} is {len(self._value)} bytes long, at least {end} are expected"
            )
        taken, self._offset = self._value[self._offset : end], end
        return taken

    def number(self, length: int) -> int:
        return int.from_bytes(self.take(length), "big")

    def short(self) -> bytes:
        return self.take(self.number(2))

    def uid(self) -> str:
        return _uid(self.short(), f"the UID in {self._where}")

    def rest(self) -> bytes:
        return self.take(len(self._value) - self._offset)

    @property
    def at_end(self) -> bool:
        return self._offset == len(self._value)

    def end(self) -> None:
        if not self.at_end:
            raise RemoteProtocolError(
                f"{self._where} is {len(self._value)} bytes long, {self._offset} are expected"
            )


def _user_information(value: bytes) -> UserInformation:
    where = "the user information item"
    single: dict[int, _Cursor] = {}
    roles: dict[str, RoleSelection] = {}
    extended: list[ExtendedNegotiation] = []
    common: list[CommonExtendedNegotiation] = []
    for item_type, sub_item in _items(value, where):
        cursor = _Cursor(sub_item, _SUB_ITEM[item_type])
        if item_type in _SINGLE:
            if item_type in single:
                raise RemoteProtocolError(f"{where} has more than one sub-item {item_type:02X}H")
            single[item_type] = cursor
        elif item_type == ItemType.SCP_SCU_ROLE_SELECTION:
            role = RoleSelection(cursor.uid(), cursor.number(1) == 1, cursor.number(1) == 1)
            cursor.end()
            if roles.setdefault(role.sop_class_uid, role) != role:
                raise RemoteProtocolError(f"two role selections for {role.sop_class_uid} contradict each other")
        elif item_type == ItemType.SOP_CLASS_EXTENDED_NEGOTIATION:
            extended.append(ExtendedNegotiation(cursor.uid(), cursor.rest()))
        elif item_type == ItemType.SOP_CLASS_COMMON_EXTENDED_NEGOTIATION:
            common.append(_common(cursor))
    for mandatory in (ItemType.MAXIMUM_LENGTH, ItemType.IMPLEMENTATION_CLASS_UID):
        if mandatory not in single:
            raise RemoteProtocolError(f"{where} lacks the mandatory sub-item {mandatory:02X}H")
    length = single[ItemType.MAXIMUM_LENGTH]
    maximum_length = length.number(4)
    length.end()
    window = identity = response = name = None
    if cursor_53 := single.get(ItemType.ASYNCHRONOUS_OPERATIONS_WINDOW):
        window = AsynchronousOperationsWindow(cursor_53.number(2), cursor_53.number(2))
        cursor_53.end()
    if cursor_55 := single.get(ItemType.IMPLEMENTATION_VERSION_NAME):
        name = cursor_55.rest().decode("latin-1").strip(" \0")
    if cursor_58 := single.get(ItemType.USER_IDENTITY_RQ):
        identity = UserIdentityRQ(cursor_58.number(1), cursor_58.number(1) == 1, cursor_58.short(), cursor_58.short())
        cursor_58.end()
    if cursor_59 := single.get(ItemType.USER_IDENTITY_AC):
        response = UserIdentityAC(cursor_59.short())
        cursor_59.end()
    return UserInformation(
        maximum_length,
        _uid(single[ItemType.IMPLEMENTATION_CLASS_UID].rest(), "the implementation class UID"),
        name,
        window,
        tuple(roles.values()),
        tuple(extended),
        tuple(common),
        identity,
        response,
    )


_SINGLE = frozenset(
    {
        ItemType.MAXIMUM_LENGTH,
        ItemType.IMPLEMENTATION_CLASS_UID,
        ItemType.ASYNCHRONOUS_OPERATIONS_WINDOW,
        ItemType.IMPLEMENTATION_VERSION_NAME,
        ItemType.USER_IDENTITY_RQ,
        ItemType.USER_IDENTITY_AC,
    }
)
"""Sub-items that stand at most once; any other type that we do not know is skipped."""

_SUB_ITEM = tuple(f"sub-item {item_type:02X}H" for item_type in range(256))  # made once, and not for each that comes


def _common(cursor: _Cursor) -> CommonExtendedNegotiation:
    sop_class, service_class = cursor.uid(), cursor.uid()
    related = _Cursor(cursor.short(), "the related general SOP classes of sub-item 57H")
    uids = []
    while not related.at_end:
        uids.append(related.uid())
    return CommonExtendedNegotiation(sop_class, service_class, tuple(uids))  # the rest is for later versions
