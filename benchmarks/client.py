"""The load: one neutral requestor for every peer, with just enough PS3.8 and PS3.7 to store, echo and associate.

It must never be the bottleneck, so the PDUs of an instance are laid out once in one buffer; for each C-STORE only
the instance UID and the message ID are patched, and each PDU goes to OpenSSL in one write, as real senders do.
It runs as its own process (``python -m benchmarks.client '{"kind": ...}'``), with one more for each of several
associations, and prints one JSON object.
"""

from __future__ import annotations

import json
import multiprocessing
import random
import struct
import sys
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass
from enum import StrEnum
from functools import partial
from multiprocessing.synchronize import Barrier
from pathlib import Path

from OpenSSL import SSL

from dimsetls.uids import (
    APPLICATION_CONTEXT,
    EXPLICIT_VR_LITTLE_ENDIAN,
    IMPLICIT_VR_LITTLE_ENDIAN,
    ROOT,
    STUDY_ROOT_FIND,
    VERIFICATION,
)

from .tls import TIMEOUT, Connection, PeerError, client_context

CT_IMAGE_STORAGE = "1.2.840.10008.5.1.4.1.1.2"
CALLED_AE = "BENCHMARK"
USER, PASSCODE = "benchmark", "correct horse battery"
"""Presented where associations are the work (PS3.7 D.3.3.7); DCMTK and pynetdicom take no notice."""
IMPLEMENTATION = f"{ROOT}.2"
MAXIMUM_LENGTH = 131066
"""What the client announces and never exceeds itself: 131072 bytes on the wire, eight full TLS records."""
ECHO_CONTEXT, STORE_CONTEXT = 1, 3
FIND_CONTEXT = ECHO_CONTEXT  # of an association that asks, and does nothing else
COMMAND, DATA, LAST = 1, 0, 2  # message control header of a PDV (PS3.8 E.2)
_BLOCK = 1_000_003  # the period of the pixel data: prime, so that no displaced fragment compares equal


class Kind(StrEnum):
    """What a load does on its associations."""

    STORE = "store"  # C-STORE `count` instances on each association
    ECHO = "echo"  # C-ECHO on each association
    FIND = "find"  # C-FIND with `count` pending responses, again and again
    ASSOCIATE = "associate"  # TLS handshake, A-ASSOCIATE, C-ECHO and release, again and again


@dataclass(frozen=True, slots=True)
class Load:
    """One piece of work, done for `seconds` or else `count` times.

    `keys` is the folder of ca.pem, client.pem and client.key; `size` is that of an instance and `longest` that of a PDU
    that is sent, in bytes.
    """

    kind: Kind
    port: int
    keys: str
    associations: int = 1
    count: int = 0
    size: int = 0
    seconds: float = 0.0
    resumed: bool = False  # take the session of the association before up again, if the peer lets us
    longest: int = MAXIMUM_LENGTH
    first: int = 0  # the number of the first instance


@dataclass(frozen=True, slots=True)
class Did:
    """What came of it; `seconds` runs from the moment all associations are open until the last has its answer."""

    seconds: float
    operations: int
    cpu: float  # seconds of the client's processors


# The instance that is stored

def instance_uid(association: int, number: int) -> str:
    """The SOP Instance UID of one instance; all have the same length, so that they can be patched in."""
    return f"{IMPLEMENTATION}.{100 + association}.{1_000_000 + number}"


def element(group: int, number: int, vr: str, value: bytes) -> bytes:
    """One data element in Explicit VR Little Endian, short form (PS3.5 §7.1.2)."""
    value += (b"\0" if vr == "UI" else b" ") * (len(value) % 2)
    return struct.pack("<HH2sH", group, number, vr.encode(), len(value)) + value


def data_set(size: int, uid: str) -> bytearray:
    """A CT image of `size` bytes in Explicit VR Little Endian."""
    header = b"".join((
        element(0x0008, 0x0008, "CS", b"ORIGINAL\\PRIMARY\\AXIAL"),
        element(0x0008, 0x0016, "UI", CT_IMAGE_STORAGE.encode()),
        element(0x0008, 0x0018, "UI", uid.encode()),
        element(0x0008, 0x0020, "DA", b"20260101"),
        element(0x0008, 0x0030, "TM", b"120000"),
        element(0x0008, 0x0050, "SH", b"1"),
        element(0x0008, 0x0060, "CS", b"CT"),
        element(0x0010, 0x0010, "PN", b"LOAD^BENCHMARK"),
        element(0x0010, 0x0020, "LO", b"BENCHMARK"),
        element(0x0020, 0x000D, "UI", f"{IMPLEMENTATION}.1".encode()),
        element(0x0020, 0x000E, "UI", f"{IMPLEMENTATION}.2".encode()),
        element(0x0020, 0x0013, "IS", b"1"),
        element(0x0028, 0x0002, "US", struct.pack("<H", 1)),
        element(0x0028, 0x0004, "CS", b"MONOCHROME2"),
        element(0x0028, 0x0010, "US", struct.pack("<H", 512)),
        element(0x0028, 0x0011, "US", struct.pack("<H", 512)),
        element(0x0028, 0x0100, "US", struct.pack("<H", 16)),
        element(0x0028, 0x0101, "US", struct.pack("<H", 12)),
        element(0x0028, 0x0102, "US", struct.pack("<H", 11)),
        element(0x0028, 0x0103, "US", struct.pack("<H", 0)),
    ))
    pixels = (size - len(header) - 12) // 2 * 2
    header += struct.pack("<HH2sHI", 0x7FE0, 0x0010, b"OW", 0, pixels)
    result = bytearray(len(header) + pixels)
    result[:len(header)] = header
    block = random.Random(pixels).randbytes(_BLOCK)
    for start in range(len(header), len(result), _BLOCK):
        result[start:start + _BLOCK] = block[:len(result) - start]
    return result


# PDUs and messages

def item(kind: int, value: bytes) -> bytes:
    """An item or sub-item of an A-ASSOCIATE PDU (PS3.8 §9.3.2)."""
    return struct.pack(">BxH", kind, len(value)) + value


_CONTEXTS = (
    (ECHO_CONTEXT, VERIFICATION, IMPLICIT_VR_LITTLE_ENDIAN),
    (STORE_CONTEXT, CT_IMAGE_STORAGE, EXPLICIT_VR_LITTLE_ENDIAN),
)
_FIND_CONTEXTS = ((FIND_CONTEXT, STUDY_ROOT_FIND, IMPLICIT_VR_LITTLE_ENDIAN),)


def associate_rq(proposed: tuple[tuple[int, str, str], ...] = _CONTEXTS, *, identity: bool = False) -> bytes:
    """The A-ASSOCIATE-RQ that proposes Verification and CT Image Storage, or other contexts."""
    contexts = b"".join(
        item(0x20, struct.pack(">Bxxx", context) + item(0x30, abstract.encode()) + item(0x40, transfer.encode()))
        for context, abstract, transfer in proposed
    )
    user = item(0x51, struct.pack(">I", MAXIMUM_LENGTH)) + item(0x52, IMPLEMENTATION.encode()) + item(0x55, b"LOAD")
    if identity:
        fields = b"".join(struct.pack(">H", len(field)) + field for field in (USER.encode(), PASSCODE.encode()))
        user += item(0x58, b"\2\0" + fields)
    body = struct.pack(">H2x16s16s32x", 1, CALLED_AE.ljust(16).encode(), b"LOAD".ljust(16))
    body += item(0x10, APPLICATION_CONTEXT.encode()) + contexts + item(0x50, user)
    return struct.pack(">BxI", 0x01, len(body)) + body


def command(context: int, *elements: tuple[int, bytes]) -> bytes:
    """A command set of `(element number, value)` as one P-DATA-TF PDU (PS3.7 §6.3.1, PS3.8 §9.3.5)."""
    body = b"".join(struct.pack("<HHI", 0, number, len(value)) + value for number, value in elements)
    body = struct.pack("<HHII", 0, 0, 4, len(body)) + body
    return struct.pack(">BxIIBB", 0x04, len(body) + 6, len(body) + 2, context, COMMAND | LAST) + body


def c_echo_rq() -> bytes:
    """A C-ECHO-RQ (PS3.7 §9.3.5.1)."""
    return command(ECHO_CONTEXT, (0x0002, VERIFICATION.encode() + b"\0"), (0x0100, b"\x30\0"), (0x0110, b"\1\0"),
                   (0x0800, b"\x01\x01"))


def c_find_rq() -> bytes:
    """A C-FIND-RQ with its identifier: all studies, by their UIDs (PS3.7 §9.3.2.1)."""
    request = command(FIND_CONTEXT, (0x0002, STUDY_ROOT_FIND.encode() + b"\0" * (len(STUDY_ROOT_FIND) % 2)),
                      (0x0100, b"\x20\0"), (0x0110, b"\1\0"), (0x0700, b"\0\0"), (0x0800, b"\0\0"))
    level, uid = b"\x08\0\x52\0\6\0\0\0STUDY ", b"\x20\0\x0d\0\0\0\0\0"
    length = len(level + uid)
    return request + struct.pack(">BxIIBB", 0x04, length + 6, length + 2, FIND_CONTEXT, DATA | LAST) + level + uid


def c_store_rq(message_id: int, uid: str) -> bytes:
    """A C-STORE-RQ (PS3.7 §9.3.1.1)."""
    return command(STORE_CONTEXT, (0x0002, CT_IMAGE_STORAGE.encode() + b"\0" * (len(CT_IMAGE_STORAGE) % 2)),
                   (0x0100, b"\1\0"), (0x0110, struct.pack("<H", message_id)), (0x0700, b"\0\0"), (0x0800, b"\0\0"),
                   (0x1000, uid.encode() + b"\0" * (len(uid) % 2)))


class Instance:
    """The data set of one association's instances, laid out as P-DATA-TF PDUs of at most `maximum` bytes."""

    def __init__(self, association: int, size: int, maximum: int) -> None:
        self.association = association
        uid = instance_uid(association, 0)
        source = memoryview(data_set(size, uid))
        payload = (maximum - 6) // 2 * 2  # a fragment has even length (PS3.8 E.1)
        parts: list[bytes | memoryview] = []
        for start in range(0, len(source), payload):
            fragment = source[start:start + payload]
            last = LAST if start + payload >= len(source) else 0
            length = len(fragment)
            parts += (struct.pack(">BxIIBB", 0x04, length + 6, length + 2, STORE_CONTEXT, DATA | last), fragment)
        self.wire = bytearray().join(parts)
        self.uid_at = self.wire.index(uid.encode())
        view = memoryview(self.wire)
        self.pdus = [view[start:start + payload + 12] for start in range(0, len(self.wire), payload + 12)]

    def store(self, association: Association, number: int) -> None:
        """Send the instance under its own UID and wait for Success."""
        association.expect_success(0x8001, self.send(association, number))

    def send(self, association: Association, number: int, part: slice = slice(None)) -> int:
        """Send the instance, or a part of its PDUs; the message ID."""
        uid = instance_uid(self.association, number)
        self.wire[self.uid_at:self.uid_at + len(uid)] = uid.encode()
        message_id = 1 + number % 0xFFFF
        association.send(c_store_rq(message_id, uid))
        for pdu in self.pdus[part]:
            association.send(pdu)
        return message_id


class Association:
    """One association over TLS 1.3, from the handshake to the release; or from a `session` of another."""

    def __init__(self, load: Load, context: SSL.Context, session: SSL.Session | None = None) -> None:
        self.tls = Connection(load.port, context, session)
        self.send = self.tls.send
        self.buffer = self.echoed = b""
        self.at = 0  # where in the buffer the next PDU begins
        self.send(_ASSOCIATE_RQ[load.kind])
        self.maximum = min(self._maximum(self._pdu(0x02)) or load.longest, load.longest)

    def echo(self) -> None:
        """One C-ECHO round trip; an answer that is the same as the first, which was read, is not read again."""
        self.send(_C_ECHO_RQ)
        data = self.tls.receive()
        if data != self.echoed:
            self.buffer, self.at = data, 0
            self.echoed = self.expect_success(0x8030, 1)

    def find(self, count: int) -> None:
        """One C-FIND, whose responses must be `count` pending ones, each with an identifier, and Success."""
        self.send(_C_FIND_RQ)
        matches, is_pending = 0, False
        while True:
            body = self._pdu(0x04)
            if not body[5] & COMMAND:
                matches += is_pending
                is_pending = False
                continue
            at = body.index(_STATUS) + len(_STATUS)
            status = body[at:at + 2]
            if status == b"\0\0" and matches == count:
                return
            if status != b"\0\xff" or is_pending:
                raise PeerError(f"after {matches} of {count} matches came status {status[::-1].hex()}")
            is_pending = True

    def release(self) -> None:
        """A-RELEASE, then close_notify and close."""
        self.send(struct.pack(">BxII", 0x05, 4, 0))
        self._pdu(0x06)
        self.tls.close()

    def expect_success(self, field: int, message_id: int) -> bytes:
        """Read one response and check that it answers `message_id` with Success; return its PDU."""
        body = self._pdu(0x04)
        found, at = {}, 6
        while at < len(body):
            number, length = struct.unpack_from("<2xHI", body, at)
            at += 8 + length
            if length == 2:
                found[number] = int.from_bytes(body[at - 2:at], "little")
        answer = found.get(0x0100), found.get(0x0120), found.get(0x0900)
        if answer != (field, message_id, 0):
            raise PeerError(f"expected command {field:#06x}, message {message_id}, status 0, but came {answer}")
        return struct.pack(">BxI", 0x04, len(body)) + body

    def _pdu(self, kind: int) -> bytes:
        """The body of the next PDU, which must be of type `kind`."""
        while len(self.buffer) < self.at + 6 or len(self.buffer) < self.at + 6 + self._length():
            data = self.tls.receive()
            if not data:
                raise PeerError(f"expected a PDU of type {kind}, but the peer closed the connection")
            self.buffer, self.at = self.buffer[self.at:] + data, 0
        start, self.at = self.at, self.at + 6 + self._length()
        found, body = self.buffer[start], self.buffer[start + 6:self.at]
        if found != kind:
            raise PeerError(f"expected a PDU of type {kind}, but came type {found} with {body[:4].hex()}")
        return body

    def _length(self) -> int:
        return int.from_bytes(self.buffer[self.at + 2:self.at + 6])

    @staticmethod
    def _maximum(accept: bytes) -> int:
        """The maximum length that the A-ASSOCIATE-AC announces, after a check that both contexts are accepted."""
        at, end, maximum = 68, len(accept), 0
        while at < end:
            kind, length = struct.unpack_from(">BxH", accept, at)
            if kind == 0x21 and accept[at + 6] != 0:
                raise PeerError(f"presentation context {accept[at + 4]} was refused with result {accept[at + 6]}")
            if kind == 0x51:
                (maximum,) = struct.unpack_from(">I", accept, at + 4)
            at += 4 if kind == 0x50 else 4 + length  # into the user information, over everything else
        return maximum


_ASSOCIATE_RQ = {
    Kind.STORE: associate_rq(), Kind.ECHO: associate_rq(), Kind.FIND: associate_rq(_FIND_CONTEXTS),
    Kind.ASSOCIATE: associate_rq(identity=True),
}
_C_ECHO_RQ, _C_FIND_RQ = c_echo_rq(), c_find_rq()
_STATUS = struct.pack("<HHI", 0x0000, 0x0900, 2)


# The kinds of work

def run(load: Load) -> Did:
    """Do the work."""
    processes = multiprocessing.get_context("fork")  # not threads: they would wait for each other's Python
    start = processes.Barrier(load.associations)
    with ProcessPoolExecutor(load.associations, processes, _begin, (start,)) as pool:
        results = pool.map(_work, [load] * load.associations, range(load.associations))
        began, ended, done, cpu = zip(*results, strict=True)
    return Did(max(ended) - min(began), sum(done) * (load.count if load.kind is Kind.FIND else 1), sum(cpu))


_start: Barrier
"""Where the processes of one load wait for each other."""


def _begin(start: Barrier) -> None:
    global _start
    _start = start


def _work(load: Load, number: int) -> tuple[float, float, int, float]:
    """One association, or one after the other; when it began and ended, how much it did, and its processor time."""
    context = client_context(Path(load.keys))
    if load.kind is Kind.ASSOCIATE:
        sessions = [_associate_once(load, context, None)]
        return _repeat(load, lambda _: sessions.append(_associate_once(load, context, sessions.pop())))
    association = Association(load, context)
    if load.kind is Kind.STORE:
        did = _repeat(load, partial(Instance(number, load.size, association.maximum).store, association))
    elif load.kind is Kind.FIND:
        did = _repeat(load, lambda _: association.find(load.count))
    else:
        did = _repeat(load, lambda _: association.echo())
    association.release()
    return did


def _associate_once(load: Load, context: SSL.Context, session: SSL.Session | None) -> SSL.Session | None:
    """From handshake to release; the session that the next may take up again, if the load has it so."""
    association = Association(load, context, session)
    association.echo()
    if session is not None and not association.tls.is_resumed:
        raise PeerError("the peer did not take the session up again")
    found = association.tls.session if load.resumed else None
    association.release()
    return found


def _repeat(load: Load, once: Callable[[int], None]) -> tuple[float, float, int, float]:
    _start.wait(TIMEOUT)
    began, cpu, number = time.monotonic(), time.process_time(), load.first
    until, end = began + load.seconds, load.first + load.count
    while time.monotonic() < until if load.seconds else number < end:
        once(number)
        number += 1
    return began, time.monotonic(), number - load.first, time.process_time() - cpu


if __name__ == "__main__":
    request = json.loads(sys.argv[1])
    print(json.dumps(asdict(run(Load(**{**request, "kind": Kind(request["kind"])})))))
