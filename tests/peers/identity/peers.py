"""Peers that present an identity, and what each of them gets on the wire."""

from __future__ import annotations

import os
import re
import ssl
import tempfile
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import cache
from itertools import count
from pathlib import Path
from typing import Any
from unittest.mock import patch

from pynetdicom import AE, evt
from pynetdicom.pdu_primitives import SOPClassExtendedNegotiation, UserIdentityNegotiation
from twisted.internet.endpoints import HostnameEndpoint

from dimsetls.association import associate
from dimsetls.association.protocol import AssociationProtocol
from dimsetls.dimse.command import read_command, write_command
from dimsetls.dimse.messages import CEchoRQ, Response, read_message
from dimsetls.errors import AssociationRejected
from dimsetls.identity.credentials import (
    AccessToken,
    Credential,
    JSONWebToken,
    KerberosTicket,
    SAMLAssertion,
    Secret,
    Username,
    UsernameAndPasscode,
)
from dimsetls.identity.gate import Requirement
from dimsetls.identity.presenting import Presentation, Standing
from dimsetls.tls.contexts import ClientConnectionCreator
from dimsetls.tls.endpoints import DicomTLSClientEndpoint
from dimsetls.tls.material import KeyMaterial, TrustRoots
from dimsetls.tls.policy import profile
from dimsetls.uids import (
    APPLICATION_CONTEXT,
    BEARER_TOKEN,
    EXPLICIT_VR_LITTLE_ENDIAN,
    IMPLICIT_VR_LITTLE_ENDIAN,
    VERIFICATION,
)
from dimsetls.ul.pdus import (
    PDU,
    AssociateAC,
    AssociateRJ,
    AssociateRQ,
    ExtendedNegotiation,
    PDataTF,
    PresentationContextRQ,
    ReleaseRQ,
    UserIdentityRQ,
    UserInformation,
)
from dimsetls.ul.reader import read_pdu
from dimsetls.ul.writer import write_fragments, write_pdu

from ...identity.loop import Loop
from .. import dcmtk
from ..instances import named
from ..running import DEADLINE, Service
from ..scu import _listening_to_nobody
from ..sender import CT_IMAGE_STORAGE, IMPLEMENTATION, client_context, connect

DENIED, UNAVAILABLE = AssociateRJ(1, 2, 1), AssociateRJ(2, 3, 1)
VERSION = 1
"""Of the bearer extension."""


@dataclass(frozen=True)
class Shown:
    """What is presented: sub-item 58H of a kind, an access token in 56H, or nothing at all."""

    kind: int | None = None
    primary: bytes = field(default=b"", repr=False)
    secondary: bytes = field(default=b"", repr=False)
    token: bytes | None = field(default=None, repr=False)
    prove: Callable[[bytes], None] | None = None
    """Given the server response: fails unless it proves who the node is."""
    asks: bool = True
    """For the positive response."""

    @property
    def secrets(self) -> list[bytes]:
        shown = (self.primary if self.kind != 1 else b"", self.secondary, self.token or b"")
        return [each for each in shown if len(each) > 7]


@dataclass(frozen=True)
class Answer:
    """What came back: the first PDU, as it is and read, and the status of the operation that followed an acceptance."""

    octets: bytes
    status: int | None = None

    @property
    def pdu(self) -> PDU:
        return read_pdu(self.octets[0], self.octets[6:])

    @property
    def accepted(self) -> AssociateAC:
        assert isinstance(self.pdu, AssociateAC), self.pdu
        return self.pdu


@dataclass(frozen=True)
class Call:
    """To whom, as whom and with whose keys."""

    service: Service
    pki: Path
    called: str
    calling: str

    @property
    def address(self) -> tuple[str, int]:
        return "127.0.0.1", self.service.port(self.called)


_number = count(1)


def call(service: Service, pki: Path, called: str, calling: str | None = None) -> Call:
    """With a calling AE title that nobody else has, so that the log can be asked for it."""
    return Call(service, pki, called, calling or f"PEER{next(_number)}")


# Our own PDUs ---------------------------------------------------------------------------------------------------------


def request(call: Call, shown: Shown, *classes: str) -> AssociateRQ:
    """An A-ASSOCIATE-RQ for Verification and CT storage, or for other SOP classes."""
    identity, extended = None, ()
    if shown.kind is not None:
        identity = UserIdentityRQ(shown.kind, shown.asks, shown.primary, shown.secondary)
    classes = classes or (VERIFICATION, CT_IMAGE_STORAGE)
    if shown.token is not None:
        extended = (ExtendedNegotiation(BEARER_TOKEN, bytes((VERSION, shown.asks)) + shown.token),)
        classes = (*classes, BEARER_TOKEN)
    contexts = tuple(
        PresentationContextRQ(2 * number + 1, uid, (EXPLICIT_VR_LITTLE_ENDIAN,)) for number, uid in enumerate(classes)
    )
    information = UserInformation(16384, IMPLEMENTATION, "RAW", user_identity=identity, extended_negotiations=extended)
    return AssociateRQ(call.called, call.calling, APPLICATION_CONTEXT, contexts, information)


class Line:
    """A connection of our own, over which anything can be sent."""

    def __init__(self, call: Call, connection: Any = None) -> None:
        self._socket = connection or connect(call.address, client_context(call.pki))

    def __enter__(self) -> Line:
        return self

    def __exit__(self, *exception: object) -> None:
        self._socket.close()

    def send(self, octets: bytes | PDU) -> None:
        self._socket.sendall(octets if isinstance(octets, bytes) else write_pdu(octets))

    def receive(self, octets: bytes = b"") -> bytes:
        """The octets of the next PDU, of which the first may be there already; none at the end."""
        while len(octets) < 6 or len(octets) < 6 + int.from_bytes(octets[2:6], "big"):
            wanted = (6 + int.from_bytes(octets[2:6], "big") if len(octets) >= 6 else 6) - len(octets)
            try:
                piece = self._socket.recv(wanted)
            except OSError:
                piece = b""
            if not piece:
                return b""
            octets += piece
        return octets

    def associate(self, request: AssociateRQ) -> Answer:
        self.send(request)
        return Answer(self.receive())

    def echo(self, context_id: int = 1) -> int | None:
        """The status; None where an A-ABORT or nothing came."""
        for fragment in write_fragments(context_id, True, write_command(CEchoRQ(1, VERIFICATION).command()), 16384):
            self.send(fragment)
        octets = self.receive()
        pdu = read_pdu(octets[0], octets[6:]) if octets else None
        if not isinstance(pdu, PDataTF):
            return None
        return read_message(Response, read_command(pdu.values[0].fragment)).status

    def release(self) -> None:
        self.send(ReleaseRQ())
        assert self.receive()[0] == 6

    @property
    def answer(self) -> PDU | None:
        """What came until now, if anything did."""
        self._socket.setblocking(False)
        try:
            first = self._socket.recv(1)
        except ssl.SSLWantReadError:
            return None
        finally:
            self._socket.settimeout(DEADLINE)
        octets = self.receive(first)
        assert octets, "the connection ended"
        return read_pdu(octets[0], octets[6:])


def raw(call: Call, shown: Shown) -> Answer:
    """PDUs of our own."""
    with Line(call) as line:
        answer = line.associate(request(call, shown))
        if not isinstance(answer.pdu, AssociateAC):
            return answer
        status = line.echo()
        line.release()
        return replace(answer, status=status)


# pynetdicom -----------------------------------------------------------------------------------------------------------


def pynetdicom(call: Call, shown: Shown) -> Answer:
    """pynetdicom's requestor; what it gets is taken from its own socket, and compared with what it makes of it."""
    ae = AE(call.calling)
    ae.acse_timeout = ae.dimse_timeout = ae.network_timeout = ae.connection_timeout = DEADLINE
    ae.add_requested_context(VERIFICATION, IMPLICIT_VR_LITTLE_ENDIAN)
    items: list[UserIdentityNegotiation | SOPClassExtendedNegotiation] = []
    if shown.kind is not None:
        identity = UserIdentityNegotiation()
        identity.user_identity_type = shown.kind
        identity.positive_response_requested = shown.asks
        identity.primary_field, identity.secondary_field = shown.primary, shown.secondary
        items.append(identity)
    if shown.token is not None:
        ae.add_requested_context(BEARER_TOKEN, IMPLICIT_VR_LITTLE_ENDIAN)
        carrier = SOPClassExtendedNegotiation()
        carrier.sop_class_uid = BEARER_TOKEN
        carrier.service_class_application_information = bytes((VERSION, shown.asks)) + shown.token
        items.append(carrier)
    came: list[bytes] = []
    association = ae.associate(
        *call.address, ae_title=call.called, ext_neg=items, tls_args=(client_context(call.pki), "localhost"),
        evt_handlers=[(evt.EVT_DATA_RECV, lambda event: came.append(event.data))],
    )
    answer = Answer(came[0])
    if not association.is_established:
        primitive = association.acceptor.primitive
        # Its reactor thread sets the primitive, and where the connection ends quickly it may do so never.
        assert primitive is None or answer.pdu == AssociateRJ(primitive.result, primitive.result_source, primitive.diagnostic)
        return answer
    with _listening_to_nobody(association):
        status = association.send_c_echo().Status
        association.release()
    found = [item for item in association.acceptor.user_information if isinstance(item, UserIdentityNegotiation)]
    response = answer.accepted.user_information.user_identity_response
    assert [item.server_response for item in found] == ([response.server_response] if response else [])
    return replace(answer, status=status)


# Our own requestor ----------------------------------------------------------------------------------------------------


def ours(call: Call, shown: Shown) -> Answer:
    """It demands that the node says it has verified what is presented, and by AP-REP who it is itself."""
    came: list[bytes] = []
    receive = AssociationProtocol.dataReceived

    def received(self: AssociationProtocol, data: bytes) -> None:
        came.append(bytes(data))  # a view may be of a buffer that is used again
        receive(self, data)

    with patch.object(AssociationProtocol, "dataReceived", received):
        status = _loop().wait(_associate(call, shown))
    octets = b"".join(came)
    return Answer(octets[: 6 + int.from_bytes(octets[2:6], "big")], status)


async def _associate(call: Call, shown: Shown) -> int | None:
    presentation = _presentation(shown)
    keys = KeyMaterial.load(call.pki / "client.pem", call.pki / "client.key")
    roots = TrustRoots.load(call.pki / "ca.pem")
    creator = ClientConnectionCreator(profile("bcp195-rfc9325"), roots, keys, server_name="localhost")
    reactor = _loop().reactor
    endpoint = DicomTLSClientEndpoint(HostnameEndpoint(reactor, *call.address, 10.0), creator)
    try:
        async with await associate(
            endpoint, calling_ae_title=call.calling, called_ae_title=call.called, identity=presentation, clock=reactor
        ) as association:  # fmt: skip
            expected = Standing.AUTHENTICATED if presentation is not None else None
            assert association.standing is expected
            return await association.echo()
    except AssociationRejected:
        return None


def _presentation(shown: Shown) -> Presentation | None:
    if shown.kind is None and shown.token is None:
        return None
    if shown.token is not None:
        return Presentation(access_token=AccessToken(Secret(shown.token)), requirement=Requirement.REQUIRE)
    if shown.kind not in _CREDENTIALS:
        token = AccessToken(Secret(shown.primary))
        return Presentation(access_token=token, private_type=shown.kind, requirement=Requirement.REQUIRE)
    prove = shown.prove or (lambda answer: None)
    return Presentation(_CREDENTIALS[shown.kind](shown), requirement=Requirement.REQUIRE, verify_response=prove)


_CREDENTIALS: dict[int | None, Callable[[Shown], Credential]] = {
    1: lambda shown: Username(shown.primary.decode()),
    2: lambda shown: UsernameAndPasscode(shown.primary.decode(), Secret(shown.secondary)),
    3: lambda shown: KerberosTicket(Secret(shown.primary)),
    4: lambda shown: SAMLAssertion(Secret(shown.primary)),
    5: lambda shown: JSONWebToken(Secret(shown.primary)),
}


@cache
def _loop() -> Loop:
    """A reactor of its own, for all calls."""
    return Loop()


def end_loop() -> None:
    """Its threads look up names; unless they end, the process does not."""
    if _loop.cache_info().currsize:
        _loop().end()
        _loop.cache_clear()


# DCMTK ----------------------------------------------------------------------------------------------------------------

_FILES = {3: "-kt", 4: "--saml", 5: "--jwt"}
_DUMP = re.compile(r"PDU Type: Associate Accept.*\n((?:D:(?:   ?[0-9a-f]{2})+ *\n)+)")
_REJECTED = re.compile(r"F: Result: Rejected (\w+), Source: Service (.*)\nF: Reason: (.*)")
_REASONS = {
    ("Permanent", "Provider (ACSE Related)", "No Reason"): DENIED,
    ("Transient", "Provider (Presentation Related)", "Temporary Congestion"): UNAVAILABLE,
}


def storescu(call: Call, shown: Shown) -> Answer:
    """DCMTK's storescu, which stores one image; it dumps what it gets in hexadecimal."""
    words: list[object] = ["-d", "-R", "-aet", call.calling, *(["-rsp"] if shown.asks and shown.kind else [])]
    with tempfile.TemporaryDirectory() as directory:
        if shown.kind in (1, 2):
            words += ["-usr", os.fsdecode(shown.primary)]
        if shown.kind == 2:
            words += ["-pwd", os.fsdecode(shown.secondary)] if shown.secondary else ["-epw"]
        elif shown.kind in _FILES:
            file = Path(directory) / "credential"
            file.write_bytes(shown.primary)
            words += [_FILES[shown.kind], file]
        done = dcmtk.storescu(call.service, call.pki, [named("CT_small.dcm").path], *words, called=call.called)
    if rejected := _REJECTED.search(done.stdout):
        assert done.returncode != 0
        answer = _REASONS[rejected[1], rejected[2], rejected[3]]
        return Answer(write_pdu(answer))
    dump = _DUMP.search(done.stdout)
    assert dump, f"storescu says: {done.stdout[-1500:]}"
    return Answer(bytes.fromhex(dump[1].replace("D:", "")), 0 if done.returncode == 0 else done.returncode)


PEERS: dict[str, Callable[[Call, Shown], Answer]] = {
    "raw": raw, "ours": ours, "pynetdicom": pynetdicom, "DCMTK": storescu,
}  # fmt: skip
