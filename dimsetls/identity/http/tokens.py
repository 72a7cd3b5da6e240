"""What a token is, seen from outside: enough to know where it belongs, and no word of it is verified. Pure."""

from __future__ import annotations

from xml.parsers.expat import ExpatError, ParserCreate

from .. import base64url
from ..jsontext import UnreadableJSON, read_object
from ..kerberos import tokens
from ..kerberos.tokens import Form, Malformed, element, whole

_ASSERTION = "urn:oasis:names:tc:SAML:2.0:assertion Assertion"


def is_jwt(token: bytes) -> bool:
    """Whether this has the form of a JWT: a JWS of three parts, or a JWE of five (RFC 7515 §3.1, RFC 7516 §3.1)."""
    parts = token.split(b".", 5)
    if len(parts) not in (3, 5) or any(base64url.decode(part) is None for part in parts):
        return False
    header = _object(parts[0])
    return "alg" in header and (len(parts) == 3 or "enc" in header)


def is_bound_to_a_dpop_key(token: bytes) -> bool:
    """Whether a JWT is for a key that each request has to prove (RFC 9449 §6.1); without the proof it is worthless."""
    parts = token.split(b".", 3)
    confirmation = _object(parts[1]).get("cnf") if len(parts) == 3 else None
    return isinstance(confirmation, dict) and "jkt" in confirmation


def is_assertion(octets: bytes) -> bool:
    """Whether this is one XML document in UTF-8 whose root is a SAML 2.0 assertion, without a DTD."""
    roots: list[str] = []

    def start(name: str, attributes: dict[str, str]) -> None:
        if not roots:
            roots.append(name)

    def doctype(*declared: object) -> None:
        raise ValueError("a DTD came")

    if not octets.startswith(b"<"):
        return False
    parser = ParserCreate("utf-8", " ")
    parser.StartElementHandler, parser.StartDoctypeDeclHandler = start, doctype
    try:
        parser.Parse(octets, True)
    except (ExpatError, ValueError):
        return False
    return roots == [_ASSERTION]


def service_of(octets: bytes) -> str:
    """The service that a Kerberos token is for, as `dicom/pacs.example.org@REALM` (RFC 4120 §5.3, §6.2).

    The name is in the clear in the ticket, and only its service can tell if it is true. Raises Malformed: also for an
    AP-REQ without the frame of GSS-API, of which HTTP knows nothing (RFC 4559 §4.1).
    """
    token = tokens.read(octets)
    if token.form is Form.AP_REQ:
        raise Malformed("an AP-REQ without the frame of GSS-API (6EH), expected 60H as RFC 4559 has it")
    ticket = whole(tokens.ticket_of(token.ap_req), 0x61, "ticket")
    _, fields = element(whole(ticket, 0x30, "ticket"), 0xA0, "tkt-vno")
    realm, fields = element(fields, 0xA1, "realm")
    principal, _ = element(fields, 0xA2, "sname")
    _, name = element(whole(principal, 0x30, "sname"), 0xA0, "name-type")
    strings, parts = whole(whole(name, 0xA1, "name-string"), 0x30, "name-string"), []
    while strings:
        part, strings = element(strings, 0x1B, "part of the service's name")
        parts.append(part)
    return f"{_text(b'/'.join(parts))}@{_text(whole(realm, 0x1B, 'realm'))}"


def _text(octets: bytes) -> str:
    text = octets.decode("utf-8", "replace")
    return text if text.isprintable() else repr(text)


def _object(part: bytes) -> dict[str, object]:
    """The JSON object in a part of a JWT; an empty one for all else."""
    try:
        return read_object(base64url.decode(part) or b"")
    except UnreadableJSON:
        return {}
