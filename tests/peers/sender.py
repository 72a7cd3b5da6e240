"""A requestor on a blocking socket: it can do what no proper program does, such as stop half-way."""

from __future__ import annotations

import socket
import ssl
import struct
from collections.abc import Iterable
from pathlib import Path

from dimsetls.dimse.command import CommandSet, read_command, write_command
from dimsetls.dimse.messages import CEchoRQ, CStoreRQ, Response, read_message
from dimsetls.uids import APPLICATION_CONTEXT, EXPLICIT_VR_LITTLE_ENDIAN, ROOT, VERIFICATION
from dimsetls.ul.pdus import (
    PDU,
    Abort,
    AssociateAC,
    AssociateRQ,
    PDataTF,
    PresentationContextRQ,
    ReleaseRP,
    ReleaseRQ,
    UserIdentityRQ,
    UserInformation,
)
from dimsetls.ul.reader import read_pdu
from dimsetls.ul.writer import write_pdu

from .running import DEADLINE

CT_IMAGE_STORAGE = "1.2.840.10008.5.1.4.1.1.2"
IMPLEMENTATION = f"{ROOT}.3"
ECHO, STORE = 1, 3
"""Presentation context IDs."""


def client_context(pki: Path, version: ssl.TLSVersion | None = None) -> ssl.SSLContext:
    """Mutual TLS as an ordinary Python program has it; of that version alone, if one is given."""
    context = ssl.create_default_context(cafile=str(pki / "ca.pem"))
    context.load_cert_chain(pki / "client.pem", pki / "client.key")
    if version is not None:
        context.minimum_version = context.maximum_version = version
    return context


def connect(
    address: tuple[str, int] | str, context: ssl.SSLContext, *, before_tls: bytes = b""
) -> ssl.SSLSocket:
    """TLS to a TCP port, or to a UNIX socket if `address` is a path; `before_tls` is sent in the clear first."""
    if isinstance(address, str):
        plain = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        plain.settimeout(DEADLINE)
        plain.connect(address)
    else:
        plain = socket.create_connection(address, DEADLINE)
        plain.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    plain.sendall(before_tls)
    return context.wrap_socket(plain, server_hostname="localhost")


def instance_uid(number: int) -> str:
    """A SOP Instance UID of the tests' own."""
    return f"{IMPLEMENTATION}.{number}"


def data_set(uid: str, size: int = 0) -> bytes:
    """A CT image in Explicit VR Little Endian: its UIDs, and `size` bytes of pixels that tell where they are."""
    elements = [
        (0x0008, 0x0016, CT_IMAGE_STORAGE), (0x0008, 0x0018, uid),
        (0x0020, 0x000D, f"{IMPLEMENTATION}.1"), (0x0020, 0x000E, f"{IMPLEMENTATION}.2"),
    ]  # fmt: skip
    head = b"".join(_uid_element(*element) for element in elements)
    return head + struct.pack("<HH2sHI", 0x7FE0, 0x0010, b"OW", 0, size) + pixels(0, size)


def pixels(start: int, size: int) -> bytes:
    """`size` bytes of an endless row in which no place looks like another nearby; both are multiples of 4."""
    return b"".join(number.to_bytes(4, "little") for number in range(start // 4, (start + size) // 4))


def _uid_element(group: int, element: int, value: str) -> bytes:
    encoded = value.encode() + b"\0" * (len(value) % 2)
    return struct.pack("<HH2sH", group, element, b"UI", len(encoded)) + encoded


class Rejected(Exception):
    """The answer to the A-ASSOCIATE-RQ was something else than an A-ASSOCIATE-AC: `pdu`, or None for the end."""

    def __init__(self, pdu: PDU | None) -> None:
        super().__init__(str(pdu))
        self.pdu = pdu


class Sender:
    """An association that proposes Verification and CT Image Storage in Explicit VR Little Endian."""

    def __init__(
        self, sock: socket.socket, *, calling: str = "SENDER", called: str = "DIMSETLS",
        identity: UserIdentityRQ | None = None,
    ) -> None:  # fmt: skip
        self._socket = sock
        self._message_id = 0
        self.send(AssociateRQ(
            called, calling, APPLICATION_CONTEXT,
            (
                PresentationContextRQ(ECHO, VERIFICATION, (EXPLICIT_VR_LITTLE_ENDIAN,)),
                PresentationContextRQ(STORE, CT_IMAGE_STORAGE, (EXPLICIT_VR_LITTLE_ENDIAN,)),
            ),
            UserInformation(16384, IMPLEMENTATION, "SENDER", user_identity=identity),
        ))  # fmt: skip
        answer = self.receive()
        if not isinstance(answer, AssociateAC):
            sock.close()
            raise Rejected(answer)
        self.maximum_length = answer.user_information.maximum_length
        self.accepted = {context.context_id for context in answer.presentation_contexts if context.result == 0}

    def __enter__(self) -> Sender:
        return self

    def __exit__(self, *exception: object) -> None:
        self._socket.close()

    def send(self, pdu: PDU) -> None:
        self._socket.sendall(write_pdu(pdu))

    def receive(self) -> PDU | None:
        """The next PDU; None at the end of the connection."""
        header = self._read(6)
        return read_pdu(header[0], self._read(int.from_bytes(header[2:6], "big"))) if header else None

    def echo(self) -> int:
        """C-ECHO; its status."""
        self._command(ECHO, CEchoRQ(self._next_message_id(), VERIFICATION).command())
        return self.status()

    def begin_store(self, uid: str) -> None:
        """The command of a C-STORE; `data` must follow."""
        self._command(STORE, CStoreRQ(self._next_message_id(), CT_IMAGE_STORAGE, uid).command())

    def data(self, pieces: Iterable[bytes], *, last: bool) -> None:
        """Bytes of the data set, in as few PDUs as the acceptor takes for each piece; `last` ends it."""
        room = self.maximum_length - 6
        for piece in pieces:
            for start in range(0, len(piece), room):
                self._pdv(STORE, 0, piece[start : start + room])
        if last:
            self._pdv(STORE, 2, b"")

    def status(self) -> int:
        """The status of the next response."""
        pdu = self.receive()
        assert isinstance(pdu, PDataTF), f"expected a response, got {pdu}"
        (value,) = pdu.values
        return read_message(Response, read_command(value.fragment)).status

    def store(self, uid: str, content: bytes) -> int:
        """A whole C-STORE; its status."""
        self.begin_store(uid)
        self.data([content], last=True)
        return self.status()

    def release(self) -> None:
        """Release the association, and see the connection closed by the other side after ours."""
        self.send(ReleaseRQ())
        assert self.receive() == ReleaseRP()
        self._socket.close()

    def abort(self) -> None:
        """A-ABORT, source service-user."""
        self.send(Abort(0, 0))
        self._socket.close()

    def cut(self) -> None:
        """End as a process that dies does: TCP without close_notify and without a word."""
        socket.close(self._socket.detach())

    def _next_message_id(self) -> int:
        self._message_id = self._message_id % 0xFFFF + 1
        return self._message_id

    def _command(self, context_id: int, command: CommandSet) -> None:
        self._pdv(context_id, 3, write_command(command))

    def _pdv(self, context_id: int, control: int, fragment: bytes) -> None:
        length = len(fragment)
        self._socket.sendall(struct.pack(">BxIIBB", 4, length + 6, length + 2, context_id, control) + fragment)

    def _read(self, length: int) -> bytes:
        data = b""
        while len(data) < length:
            try:
                piece = self._socket.recv(length - len(data))
            except (ConnectionError, ssl.SSLError):
                piece = b""
            if not piece:
                assert not data, f"the connection ended after {len(data)} of {length} bytes"
                return b""
            data += piece
        return data
