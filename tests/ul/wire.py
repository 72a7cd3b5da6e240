"""PDUs as bytes, typed by hand or framed here, and what they mean. Nothing in this file goes through our writer."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from dimsetls.ul.pdus import (
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
from dimsetls.ul.reader import read_pdu

VECTORS = Path(__file__).parent.parent / "vectors"
_TOKEN = re.compile(r'"[^"]*"|[0-9a-f]{2}')

VERIFICATION = "1.2.840.10008.1.1"
IMPLICIT = "1.2.840.10008.1.2"
EXPLICIT = "1.2.840.10008.1.2.1"
JPEG_LOSSLESS = "1.2.840.10008.1.2.4.70"
CT = "1.2.840.10008.5.1.4.1.1.2"
ENHANCED_CT = "1.2.840.10008.5.1.4.1.1.2.1"
STORAGE = "1.2.840.10008.4.2"
APPLICATION_CONTEXT = "1.2.840.10008.3.1.1.1"


def vector(name: str) -> bytes:
    """The bytes of `tests/vectors/NAME.hex`: hex pairs, text in quotes, and comments from # to the end of a line."""
    found = b""
    for line in (VECTORS / f"{name}.hex").read_text().splitlines():
        for token in _TOKEN.findall(line.partition("#")[0]):
            found += token[1:-1].encode() if token[0] == '"' else bytes.fromhex(token)
    return found


_DCMTK = UserInformation(16384, "1.2.276.0.7230010.3.0.3.6.7", "OFFIS_DCMTK_367")
_EXTENDED = (ExtendedNegotiation(CT, bytes((2, 0, 3, 0, 1, 0))),)
ECHOED = b"DIMSETLS        MODALITY 1      remember these 32 reserved bytes"

FULL_RQ = AssociateRQ(
    "DIMSETLS",
    "MODALITY 1",
    APPLICATION_CONTEXT,
    (
        PresentationContextRQ(1, VERIFICATION, (IMPLICIT,)),
        PresentationContextRQ(3, CT, (JPEG_LOSSLESS, EXPLICIT)),
        PresentationContextRQ(255, ENHANCED_CT, (IMPLICIT,)),
    ),
    UserInformation(
        131066,
        "1.2.40.0.13.1.3",
        "dcm4che-5.31.2",
        AsynchronousOperationsWindow(8, 1),
        (RoleSelection(CT, True, False), RoleSelection(ENHANCED_CT, True, True)),
        _EXTENDED,
        (CommonExtendedNegotiation(ENHANCED_CT, STORAGE, (CT,)),),
        UserIdentityRQ(2, True, b"radiology", b"a passcode"),
    ),
    echoed=ECHOED,
)
FULL_AC = AssociateAC(
    APPLICATION_CONTEXT,
    (
        PresentationContextAC(255, 3, IMPLICIT),
        PresentationContextAC(1, 0, IMPLICIT),
        PresentationContextAC(3, 0, JPEG_LOSSLESS),
    ),
    UserInformation(
        0,
        "1.2.40.0.13.1.3",
        "dcm4che-5.31.2",
        AsynchronousOperationsWindow(4, 1),
        (RoleSelection(CT, True, False),),
        _EXTENDED,
        user_identity_response=UserIdentityAC(b"ticket"),
    ),
    echoed=ECHOED,
)
MEANINGS: dict[str, PDU] = {
    "a-associate-rq-echoscu": AssociateRQ(
        "DIMSETLS", "ECHOSCU", APPLICATION_CONTEXT, (PresentationContextRQ(1, VERIFICATION, (IMPLICIT,)),), _DCMTK
    ),
    "a-associate-rq-full": FULL_RQ,
    "a-associate-ac-storescp": AssociateAC(
        APPLICATION_CONTEXT,
        (PresentationContextAC(1, 0, IMPLICIT),),
        _DCMTK,
        echoed=b"DIMSETLS        ECHOSCU         " + bytes(32),
    ),
    "a-associate-ac-full": FULL_AC,
    "a-associate-rj": AssociateRJ(2, 3, 2),
    "p-data-tf-echo-rq": PDataTF(
        (
            PDV(
                1,
                3,
                b"\0\0\0\0\x04\0\0\0\x38\0\0\0"
                b"\0\0\x02\0\x12\0\0\0" + VERIFICATION.encode() + b"\0"
                b"\0\0\0\x01\x02\0\0\0\x30\0"
                b"\0\0\x10\x01\x02\0\0\0\x01\0"
                b"\0\0\0\x08\x02\0\0\0\x01\x01",
            ),
        )
    ),
    "p-data-tf-two-values": PDataTF(
        (PDV(3, 3, b"\x02\0\0\0\x02\x01"), PDV(3, 0, b"\x08\0\x05\0\x0a\0")),
    ),
    "a-release-rq": ReleaseRQ(),
    "a-release-rp": ReleaseRP(),
    "a-abort-user": Abort(0, 0),
    "a-abort-provider": Abort(2, 6),
}
"""What each vector means, typed a second time."""


def read(wire: bytes) -> PDU:
    """The PDU in `wire`, whose PDU-length must be true."""
    assert int.from_bytes(wire[2:6], "big") == len(wire) - 6
    return read_pdu(wire[0], wire[6:])


# Framing by hand ---------------------------------------------------------------------------------------------


def pdu(pdu_type: int, body: bytes) -> bytes:
    return bytes((pdu_type, 0)) + len(body).to_bytes(4, "big") + body


def item(item_type: int, value: bytes | str) -> bytes:
    value = value.encode() if isinstance(value, str) else value
    return bytes((item_type, 0)) + len(value).to_bytes(2, "big") + value


def short(value: bytes | str) -> bytes:
    value = value.encode() if isinstance(value, str) else value
    return len(value).to_bytes(2, "big") + value


def pdv(context_id: int, control: int, fragment: bytes) -> bytes:
    return (len(fragment) + 2).to_bytes(4, "big") + bytes((context_id, control)) + fragment


def p_data(*values: bytes) -> bytes:
    return pdu(4, b"".join(values))


NAME = item(0x10, APPLICATION_CONTEXT)
MAXIMUM_LENGTH = item(0x51, bytes((0, 0, 0x40, 0)))
CLASS_UID = item(0x52, "1.2.3")
USER = item(0x50, MAXIMUM_LENGTH + CLASS_UID)


def context_rq(context_id: int = 1, *sub_items: bytes) -> bytes:
    sub_items = sub_items or (item(0x30, VERIFICATION), item(0x40, IMPLICIT))
    return item(0x20, bytes((context_id, 0, 0, 0)) + b"".join(sub_items))


def context_ac(context_id: int = 1, result: int = 0, *sub_items: bytes) -> bytes:
    return item(0x21, bytes((context_id, 0, result, 0)) + b"".join(sub_items or (item(0x40, IMPLICIT),)))


def rq(*items: bytes, version: int = 1) -> bytes:
    """An A-ASSOCIATE-RQ of these items, or of the fewest it can have."""
    items = items or (NAME, context_rq(), USER)
    return pdu(1, version.to_bytes(2, "big") + bytes(2) + ECHOED + b"".join(items))


def ac(*items: bytes, version: int = 1) -> bytes:
    """An A-ASSOCIATE-AC of these items, or of the fewest it can have."""
    items = items or (NAME, context_ac(), USER)
    return pdu(2, version.to_bytes(2, "big") + bytes(2) + ECHOED + b"".join(items))


def rq_with(*sub_items: bytes) -> bytes:
    """An A-ASSOCIATE-RQ with these user information sub-items besides the mandatory ones."""
    return rq(NAME, context_rq(), item(0x50, MAXIMUM_LENGTH + CLASS_UID + b"".join(sub_items)))


RELEASE_RQ, RELEASE_RP = pdu(5, bytes(4)), pdu(6, bytes(4))
RJ = pdu(3, bytes((0, 1, 1, 7)))
USER_ABORT, PROVIDER_ABORT = pdu(7, bytes(4)), pdu(7, bytes((0, 0, 2, 5)))


# The anatomy of an A-ASSOCIATE PDU ------------------------------------------------------------------------------


@dataclass(frozen=True)
class Field:
    """Where a length or reserved field lies in a PDU: `depth` counts the items around it."""

    offset: int
    size: int
    depth: int
    is_length: bool
    inner: bool = False
    """Whether it is a length inside a sub-item, not that of an item."""


def anatomy(wire: bytes) -> Iterator[Field]:
    """Every length and every reserved field of an A-ASSOCIATE-RQ or -AC, found without our reader."""
    yield Field(1, 1, 0, False)
    yield Field(2, 4, 0, True)
    yield Field(8, 2, 0, False)
    yield from _anatomy_of_items(wire, 74, len(wire), 1)


def _anatomy_of_items(wire: bytes, at: int, end: int, depth: int) -> Iterator[Field]:
    while at < end:
        item_type, value = wire[at], at + 4
        value_end = value + int.from_bytes(wire[at + 2 : at + 4], "big")
        if item_type != 0x57:  # there it is the sub-item version
            yield Field(at + 1, 1, depth, False)
        yield Field(at + 2, 2, depth, True)
        if item_type in (0x20, 0x21):
            for reserved in (1, 2, 3) if item_type == 0x20 else (1, 3):
                yield Field(value + reserved, 1, depth, False)
            yield from _anatomy_of_items(wire, value + 4, value_end, depth + 1)
        elif item_type == 0x50:
            yield from _anatomy_of_items(wire, value, value_end, depth + 1)
        else:
            # How many fields with a length of their own stand where inside the sub-item.
            start, count = {0x54: (0, 1), 0x56: (0, 1), 0x57: (0, 3), 0x58: (2, 2), 0x59: (0, 1)}.get(item_type, (0, 0))
            inner = value + start
            for _ in range(count):
                yield Field(inner, 2, depth, True, inner=True)
                inner += 2 + int.from_bytes(wire[inner : inner + 2], "big")
            if item_type == 0x57:  # the last of the three is itself a list of such fields
                yield Field(inner - 27, 2, depth, True, inner=True)
        at = value_end


def put(wire: bytes, field: Field, value: int) -> bytes:
    changed = bytearray(wire)
    changed[field.offset : field.offset + field.size] = value.to_bytes(field.size, "big")
    return bytes(changed)
