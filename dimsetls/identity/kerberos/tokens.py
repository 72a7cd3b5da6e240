"""The forms of a Kerberos token, told apart by their octets alone; pure.

PS3.7 D.3.3.7.1 says "Kerberos Service ticket encoded in accordance with RFC 1510". A ticket by itself proves nothing,
so it is taken for an AP-REQ, which holds the ticket and shows the session key. An AP-REQ comes as it is or in the frame
of GSS-API (RFC 4121 §4.1), and that alone or as the first choice of SPNEGO (RFC 4178 §4.2). libkrb5 passes over what
follows a token; here every length must come out even.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum


class Form(Enum):
    """How an AP-REQ, and with it the AP-REP, is carried; the value is the word for it in the configuration."""

    AP_REQ = "ap-req"
    GSS = "gss"
    SPNEGO = "spnego"


class ChannelBinding(Enum):
    """What holds for binding a token to the TLS connection; the value is the word for it in the configuration."""

    NONE = "none"
    """It is not looked at."""
    OPTIONAL = "optional"
    """A token that is bound must be bound to this connection."""
    REQUIRED = "required"
    """Every token must be. That rules out a raw AP-REQ: nobody looks for a binding in it."""


class Malformed(Exception):
    """These octets are no token that is accepted here; the message says what they look like."""


@dataclass(frozen=True, slots=True)
class Token:
    """What came: `octets` is the AP-REQ itself, or its GSS-API frame, free of SPNEGO."""

    form: Form
    octets: bytes = field(repr=False)
    mechanism: bytes = b""
    """The object identifier by which SPNEGO's initiator called Kerberos; it is answered with the same."""

    @property
    def ap_req(self) -> bytes:
        return self.octets if self.form is Form.AP_REQ else ap_req_of(self.octets)

    def answer(self, octets: bytes) -> bytes:
        """What is answered in this form: AP-REP, its GSS-API frame or nothing, as the library made it."""
        if self.form is not Form.SPNEGO:
            return octets
        accepted = _write(0xA0, _write(0x0A, b"\x00"))
        response = _write(0xA2, _write(0x04, octets)) if octets else b""
        return _write(0xA1, _write(0x30, accepted + _write(0xA1, _write(0x06, self.mechanism)) + response))


def read(octets: bytes) -> Token:
    """The token in a primary field. Raises Malformed."""
    if not octets:
        raise Malformed("no octets at all")
    if octets.startswith(b"NTLMSSP\0"):
        raise Malformed("NTLM, expected Kerberos")
    if octets[0] in _OTHER_MESSAGES:
        raise Malformed(_OTHER_MESSAGES[octets[0]])
    if octets[0] == _AP_REQ:
        whole(octets, _AP_REQ, "AP-REQ")
        return Token(Form.AP_REQ, octets)
    if octets[0] == _FRAME:
        return _read_frame(octets)
    if octets[:1] in (b"Y", b"b"):
        raise Malformed("text that looks like base64, expected the octets themselves")
    raise Malformed(f"octets that begin with {octets[0]:02X}H, expected 6EH (AP-REQ) or 60H (GSS-API, SPNEGO)")


def frame(token_id: bytes, message: bytes) -> bytes:
    """A Kerberos message in the frame of GSS-API."""
    return _write(_FRAME, _write(0x06, _KERBEROS) + token_id + message)


def ap_req_of(octets: bytes) -> bytes:
    """The AP-REQ in a frame of GSS-API. Raises Malformed."""
    _, rest = element(whole(octets, _FRAME, "GSS-API token"), 0x06, "mechanism")
    ap_req = rest.removeprefix(AP_REQ_ID)
    whole(ap_req, _AP_REQ, "AP-REQ in the GSS-API token")
    return ap_req


def ticket_of(ap_req: bytes) -> bytes:
    """The ticket in an AP-REQ (RFC 4120 §5.5.1). Raises Malformed."""
    fields = whole(whole(ap_req, _AP_REQ, "AP-REQ"), 0x30, "AP-REQ")
    for tag, what in ((0xA0, "pvno"), (0xA1, "msg-type"), (0xA2, "ap-options")):
        _, fields = element(fields, tag, what)
    return element(fields, 0xA3, "ticket")[0]


def is_ap_rep(octets: bytes) -> bool:
    """Whether this is one AP-REP, as far as its frame tells."""
    try:
        whole(octets, 0x6F, "AP-REP")
    except Malformed:
        return False
    return True


AP_REQ_ID, AP_REP_ID = b"\x01\x00", b"\x02\x00"
_FRAME, _AP_REQ = 0x60, 0x6E
_KERBEROS = bytes.fromhex("2a864886f712010202")  # 1.2.840.113554.1.2.2
_KERBEROS_OF_MICROSOFT = bytes.fromhex("2a864882f712010202")  # 1.2.840.48018.1.2.2, from a bit lost in Windows 2000
_SPNEGO = bytes.fromhex("2b0601050502")  # 1.3.6.1.5.5.2
_NAMES = {
    "1.3.6.1.4.1.311.2.2.10": "NTLM",
    "1.3.6.1.4.1.311.2.2.30": "NegoEx",
    "1.3.6.1.5.2.5": "IAKERB",
    "1.2.840.113554.1.2.2.3": "Kerberos user to user",
}
_OTHER_MESSAGES = {
    0x61: "a bare ticket (61H), which proves nothing: who saw it pass could send it; expected an AP-REQ",
    0x6F: "an AP-REP (6FH), which is an answer; expected an AP-REQ",
    0x76: "KRB-CRED (76H), which hands the user's tickets over; expected an AP-REQ, and the client is to be corrected",
    0x7E: "KRB-ERROR (7EH), expected an AP-REQ",
    0xA0: "SPNEGO without the frame of GSS-API (A0H), expected 60H",
    0xA1: "a response of SPNEGO (A1H), expected its first token",
}


def _read_frame(octets: bytes) -> Token:
    mechanism, rest = element(whole(octets, _FRAME, "GSS-API token"), 0x06, "mechanism")
    if mechanism == _SPNEGO:
        return _read_spnego(rest)
    if mechanism != _KERBEROS:
        raise Malformed(f"a GSS-API token of mechanism {_named(mechanism)}, expected Kerberos or SPNEGO")
    if rest[:2] != AP_REQ_ID:
        raise Malformed(f"a GSS-API token with {rest[:2].hex().upper()}H inside, expected 0100H (AP-REQ)")
    whole(rest[2:], _AP_REQ, "AP-REQ in the GSS-API token")
    return Token(Form.GSS, octets)


def _read_spnego(octets: bytes) -> Token:
    """NegTokenInit. Only its first mechanism has a token with it, and there is no second exchange for the others."""
    fields = whole(whole(octets, 0xA0, "NegTokenInit of SPNEGO"), 0x30, "NegTokenInit of SPNEGO")
    mechanisms, fields = element(fields, 0xA0, "list of mechanisms")
    preferred, _ = element(whole(mechanisms, 0x30, "list of mechanisms"), 0x06, "mechanism")
    if preferred not in (_KERBEROS, _KERBEROS_OF_MICROSOFT):
        raise Malformed(f"SPNEGO that prefers {_named(preferred)}, expected Kerberos first")
    if fields[:1] == b"\xa1":
        _, fields = element(fields, 0xA1, "flags")
    token, fields = element(fields, 0xA2, "token of the preferred mechanism")
    if fields[:1] == b"\xa3":
        _, fields = element(fields, 0xA3, "mechListMIC")
    if fields:
        raise Malformed(f"SPNEGO with {len(fields)} octets too many in NegTokenInit")
    inner = _read_frame(whole(token, 0x04, "token in SPNEGO"))
    if inner.form is not Form.GSS:
        raise Malformed("SPNEGO in SPNEGO, expected Kerberos in it")
    return Token(Form.SPNEGO, inner.octets, preferred)


def whole(octets: bytes, tag: int, what: str) -> bytes:
    """The contents of an element of DER that must be all there is."""
    contents, rest = element(octets, tag, what)
    if rest:
        raise Malformed(f"{len(rest)} octets after the {what}, expected none")
    return contents


def element(octets: bytes, tag: int, what: str) -> tuple[bytes, bytes]:
    """The contents of the first element of DER, and what follows it."""
    if octets[:1] != bytes((tag,)):
        raise Malformed(f"{octets[:1].hex().upper() or 'nothing'} in place of {tag:02X}H where the {what} begins")
    start, length = 2, octets[1] if len(octets) > 1 else 0x80
    if length >= 0x80:
        start += length & 0x7F
        if not 3 <= start <= 6 or len(octets) < start:
            raise Malformed(f"a {what} without a length")
        length = int.from_bytes(octets[2:start])
    if start + length > len(octets):
        raise Malformed(f"a {what} of {length} octets of which {len(octets) - start} came")
    return octets[start : start + length], octets[start + length :]


def _write(tag: int, contents: bytes) -> bytes:
    size = len(contents)
    if size < 0x80:
        return bytes((tag, size)) + contents
    length = size.to_bytes((size.bit_length() + 7) // 8)
    return bytes((tag, 0x80 | len(length))) + length + contents


def _named(identifier: bytes) -> str:
    """An object identifier in dots (X.690 §8.19), with the name of what is often met."""
    arcs, arc = [], 0
    for octet in identifier[:32]:
        arc = arc << 7 | octet & 0x7F
        if not octet & 0x80:
            arcs.append(arc)
            arc = 0
    if not arcs:
        return "without a name"
    root = min(arcs[0] // 40, 2)
    dotted = ".".join(map(str, (root, arcs[0] - 40 * root, *arcs[1:])))
    return f"{dotted} ({_NAMES[dotted]})" if dotted in _NAMES else dotted
