"""Sub-items 58H and 56H that no proper program sends: refused, and the node goes on."""

from __future__ import annotations

import socket
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from OpenSSL import SSL

from dimsetls.uids import BEARER_TOKEN
from dimsetls.ul.pdus import Abort
from dimsetls.ul.reader import read_pdu
from dimsetls.ul.writer import write_pdu

from ...servers.kdc import Form
from ..running import DEADLINE, Service
from .cases import passcode
from .hospital import ANNA, Hospital
from .peers import DENIED, Call, Line, Shown, call, raw, request
from .proof import Ticket

pytestmark = pytest.mark.peers

ABORT = Abort(0, 0)
"""What a request that cannot be read is answered: Evt19 in Sta2 is AA-1 (PS3.8 Table 9-10)."""
GOOD = b"\x02\x01" + struct.pack(">H", 4) + b"anna" + struct.pack(">H", len(ANNA.encode())) + ANNA.encode()


def item(kind: int, content: bytes, length: int | None = None) -> bytes:
    return struct.pack(">BxH", kind, len(content) if length is None else length) + content


def field(content: bytes, length: int | None = None) -> bytes:
    return struct.pack(">H", len(content) if length is None else length) + content


def bearer(content: bytes) -> bytes:
    return item(0x56, field(BEARER_TOKEN.encode()) + content)


SENT: dict[str, tuple[bytes, object]] = {
    "two identities": (item(0x58, GOOD) * 2, ABORT),
    "two different identities": (item(0x58, GOOD) + item(0x58, b"\x01\0" + field(b"root") + field(b"")), ABORT),
    "item shorter than its fields": (item(0x58, GOOD[:-1]), ABORT),
    "item longer than its fields": (item(0x58, GOOD + b"\0"), ABORT),
    "item beyond the PDU": (item(0x58, GOOD, 0xFFFF), ABORT),
    "primary field beyond the item": (item(0x58, b"\x01\0" + field(b"anna", 0xFFFF) + field(b"")), ABORT),
    "secondary field beyond the item": (item(0x58, b"\x02\0" + field(b"anna") + field(b"x", 500)), ABORT),
    "no secondary length": (item(0x58, b"\x01\0" + field(b"anna")), ABORT),
    "empty item": (item(0x58, b""), ABORT),
    "secondary field with a name alone": (item(0x58, b"\x01\0" + field(b"anna") + field(ANNA.encode())), DENIED),
    "secondary field with a token": (item(0x58, b"\x05\0" + field(b"a.b.c") + field(b"x")), DENIED),
    "no name": (item(0x58, b"\x01\0" + field(b"") + field(b"")), DENIED),
    "no token": (item(0x58, b"\x05\0" + field(b"") + field(b"")), DENIED),
    "type 0": (item(0x58, b"\x00\0" + field(b"anna") + field(b"")), DENIED),
    "type 6": (item(0x58, b"\x06\0" + field(b"anna") + field(b"")), DENIED),
    "type 255": (item(0x58, b"\xff\0" + field(b"anna") + field(b"")), DENIED),
    "a private type of somebody else": (item(0x58, b"\xfe\0" + field(b"token") + field(b"")), DENIED),
    "NUL in a name": (item(0x58, b"\x01\0" + field(b"anna\0") + field(b"")), DENIED),
    "line feed in a name": (item(0x58, b"\x01\0" + field(b"anna\n2026 started anna") + field(b"")), DENIED),
    "right-to-left override in a name": (item(0x58, b"\x01\0" + field("\u202eanna".encode()) + field(b"")), DENIED),
    "two bearer items": (bearer(b"\x01\x01abc") * 2, DENIED),
    "bearer of another version": (bearer(b"\x02\x01abc"), DENIED),
    "bearer with unknown flags": (bearer(b"\x01\x81abc"), DENIED),
    "bearer without a token": (bearer(b"\x01\x01"), DENIED),
    "bearer without anything": (bearer(b""), DENIED),
    "bearer with a header": (bearer(b"\x01\x01Bearer abc"), DENIED),
    "bearer with a line feed": (bearer(b"\x01\x01abc\r\nX-User: root"), DENIED),
    "bearer with a NUL": (bearer(b"\x01\x01abc\0"), DENIED),
}


def with_items(pdu: bytes, items: bytes) -> bytes:
    """The A-ASSOCIATE-RQ with further sub-items in its user information, which is its last item."""
    at = pdu.rindex(b"\x50\x00", 0, pdu.rindex(b"\x51\x00\x00\x04"))
    (length,) = struct.unpack(">H", pdu[at + 2 : at + 4])
    whole = pdu[:at] + struct.pack(">BxH", 0x50, length + len(items)) + pdu[at + 4 :] + items
    return whole[:2] + struct.pack(">I", len(whole) - 6) + whole[6:]


@pytest.mark.parametrize("name", SENT)
def test_what_breaks_the_rules_is_refused(service: Service, hospital: Hospital, pki: Path, name: str) -> None:
    items, expected = SENT[name]
    calling = call(service, pki, "MAIN")
    before = len(service.lines(r"\] refused 127\.0\.0\.1:\d+ "))
    with Line(calling) as line:
        line.send(with_items(write_pdu(request(calling, Shown())), items))
        octets = line.receive()
        assert read_pdu(octets[0], octets[6:]) == expected
    if expected == DENIED:
        (said,) = service.expect(rf"refused {calling.calling} at .*\(1,2,1\): ")
    else:
        said = service.expect(r"\] refused 127\.0\.0\.1:\d+ ", before + 1)[-1]
        assert "58H" in said or "50H" in said
    assert said.count("started") == 0 or "\\n" in said  # nobody writes a line of the log
    assert raw(call(service, pki, "MAIN"), passcode("anna", ANNA)(hospital)).status == 0


def test_an_answer_that_is_asked_for_oddly_is_not_given(service: Service, pki: Path) -> None:
    """Positive-response-requested is 0 or 1; other values mean nothing, and so ask for nothing."""
    calling = call(service, pki, "MAIN")
    with Line(calling) as line:
        line.send(with_items(write_pdu(request(calling, Shown())), item(0x58, b"\x02\x02" + GOOD[2:])))
        octets = line.receive()
        assert octets[0] == 2
        assert b"\x59\0\0\x02\0\0" not in octets
    service.expect(rf"started {calling.calling} .* for anna of local by passcode")


# Channel binding ------------------------------------------------------------------------------------------------------


@contextmanager
def connected(calling: Call) -> Iterator[tuple[SSL.Connection, bytes]]:
    """A connection, and what its two ends alone know (RFC 9266)."""
    context = SSL.Context(SSL.TLS_METHOD)
    context.use_certificate_file(str(calling.pki / "client.pem"))
    context.use_privatekey_file(str(calling.pki / "client.key"))
    with socket.create_connection(calling.address, DEADLINE) as plain:
        plain.settimeout(None)  # or pyOpenSSL would have it do without waiting
        connection = SSL.Connection(context, plain)
        connection.set_connect_state()
        connection.do_handshake()
        yield connection, connection.export_keying_material(b"EXPORTER-Channel-Binding", 32, b"")


@pytest.mark.parametrize("form", ["gss", "spnego"])
def test_a_ticket_is_bound_to_its_connection(service: Service, hospital: Hospital, pki: Path, form: Form) -> None:
    calling = call(service, pki, "BOUND")
    with connected(calling) as (connection, binding), Line(calling, connection) as line:
        ticket = Ticket(hospital, form, binding=binding)
        answer = line.associate(request(calling, ticket.shown()))
        response = answer.accepted.user_information.user_identity_response
        assert response is not None
        ticket.prove(response.server_response)
    for how, sentence in ((bytes(32), "is refused: .*another connection"), (None, "is not bound to this connection")):
        stranger = call(service, pki, "BOUND")
        with connected(stranger) as (connection, _), Line(stranger, connection) as line:
            ticket = Ticket(hospital, form, binding=how)
            assert line.associate(request(stranger, ticket.shown())).pdu == DENIED
        (said,) = service.expect(f"refused {stranger.calling} at .*{sentence}")
        assert ("SECURITY ALERT" in said) == (how is not None)
