"""User identities and HTTP's Authorization field: what maps, both ways, and why the rest does not. Pure.

A mapping here loses nothing: octets that go over come back the same. What cannot do that is `Refused` with its reason,
and never changed until it fits. docs/explanation/identity-across-dimse-and-http.md has the tables and their grounds.
"""

from __future__ import annotations

import re
from base64 import b64decode, b64encode
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from enum import Enum
from urllib.parse import unquote_to_bytes

from ...errors import IdentityDenied
from .. import base64url
from ..bearer import is_b64token
from ..credentials import (
    AccessToken,
    Caps,
    CertificateAlone,
    Credential,
    JSONWebToken,
    KerberosTicket,
    Presented,
    SAMLAssertion,
    Secret,
    Username,
    UsernameAndPasscode,
    read_username,
)
from ..kerberos.tokens import Malformed
from .tokens import is_assertion, is_bound_to_a_dpop_key, is_jwt, service_of

_SCHEME = re.compile(rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]+")

LONGEST_FIELD = 131072
"""Octets of an Authorization field: base64 of the longest that fits into sub-item 58H, and more than that is no use."""


class EmptyPassword(Enum):
    """What `Basic` with an empty password is. Both sides must mean the same, so as a rule it is nothing."""

    REFUSED = "refused"
    USERNAME = "username"
    """Type 1."""
    PASSCODE = "passcode"
    """Type 2 with an empty passcode."""


@dataclass(frozen=True, slots=True)
class HTTPPolicy:
    """What both sides of a mapping have agreed on beyond the standards; as it comes, they have not."""

    empty_password: EmptyPassword = EmptyPassword.REFUSED
    utf8: bool = False
    """The HTTP server has announced `charset="UTF-8"` (RFC 7617 §2.1); without that, ASCII alone goes to it."""
    negotiate: bool = False
    """Clients get tickets for the service on the far side; by itself a ticket is good for one service only."""
    http_service: str = "HTTP"
    """The principal that tickets in `Negotiate` are for, in full or its first part."""
    dicom_service: str = "dicom"
    """The principal that tickets in type 3 are for, in full or its first part."""
    bearer_extension: bool = False
    """The DIMSE side knows the bearer extension, which carries what no user identity type does."""
    access_token_in_query: bool = False
    """Take `access_token` from the query; RFC 6750 §2.3 advises against it, as it ends in logs."""
    caps: Caps = field(default_factory=Caps)


class Reason(Enum):
    """Why a credential does not map."""

    SEVERAL = "several credentials"
    MALFORMED = "malformed Authorization field"
    TOO_LONG = "too long"
    SCHEME = "scheme without a counterpart"
    MALFORMED_BASIC = "malformed Basic credentials"
    USER_NAME = "user name of another form"
    EMPTY_PASSWORD = "empty password"  # noqa: S105
    USERNAME_ALONE = "user name alone"
    COLON = "colon in the user name"
    CONTROL_CHARACTER = "control character"
    NOT_TEXT = "passcode that is not text"
    NOT_ASCII = "characters outside ASCII"
    NEGOTIATE = "Kerberos not agreed on"
    NOT_KERBEROS = "no Kerberos token for GSS-API"
    ANOTHER_SERVICE = "ticket for another service"
    NOT_AN_ASSERTION = "no SAML assertion in XML"
    NOT_A_JWT = "no JSON Web Token"
    NOT_A_B64TOKEN = "no bearer token"
    OPAQUE = "opaque token"
    DPOP = "token bound to a DPoP key"
    IN_QUERY = "access token in the query"
    IN_FORM = "access token in the form"


@dataclass(frozen=True, slots=True)
class Refused:
    """A credential that does not map; the sentence is for the log and holds no secret."""

    reason: Reason
    sentence: str


@dataclass(frozen=True, slots=True)
class AuthorizationField:
    """The value of an Authorization field (RFC 9110 §11.6.2), unprintable as it is a credential."""

    value: Secret


# From DIMSE to HTTP ---------------------------------------------------------------------------------------------------


def to_http(presented: Presented, policy: HTTPPolicy) -> AuthorizationField | Refused | None:
    """The field for what came with an A-ASSOCIATE-RQ; None: nothing did, or a certificate alone, which is a node's."""
    credentials = [each for each in (presented.identity, presented.access_token) if each is not None]
    if len(credentials) > 1:
        return Refused(Reason.SEVERAL, "a user identity and an access token came, and HTTP has one Authorization field")
    if not credentials:
        return None
    if (refused := _too_long(credentials[0], policy)) is not None:
        return refused
    match credentials[0]:
        case Username(name):
            return _write_basic(name, b"", EmptyPassword.USERNAME, policy)
        case UsernameAndPasscode(name, passcode):
            return _write_basic(name, passcode.reveal(), EmptyPassword.PASSCODE, policy)
        case KerberosTicket(token):
            return _ticket(token, policy.http_service, policy) or _field(b"Negotiate", b64encode(token.reveal()))
        case SAMLAssertion(token):
            if not is_assertion(token.reveal()):
                return Refused(Reason.NOT_AN_ASSERTION, "type 4 holds no SAML 2.0 assertion in XML, expected one")
            return _field(b"Bearer", base64url.encode(token.reveal()))
        case JSONWebToken(token):
            if not is_jwt(token.reveal()):
                return Refused(Reason.NOT_A_JWT, "type 5 holds no JWT in compact form, expected one")
            return _dpop(token) or _field(b"Bearer", token.reveal())
        case AccessToken(token):
            if not is_b64token(token.reveal()):
                sentence = "the access token has characters that a bearer token has not (RFC 6750 §2.1)"
                return Refused(Reason.NOT_A_B64TOKEN, sentence)
            return _dpop(token) or _field(b"Bearer", token.reveal())
        case _:
            return None  # a certificate alone


def _write_basic(
    name: str, passcode: bytes, empty: EmptyPassword, policy: HTTPPolicy
) -> AuthorizationField | Refused:
    """RFC 7617 §2: `name ":" passcode` in base64, where the first colon ends the name."""
    if not passcode and policy.empty_password is not empty:
        if empty is EmptyPassword.USERNAME:
            return Refused(Reason.USERNAME_ALONE, "a user name alone came, and Basic always has a password")
        return Refused(Reason.EMPTY_PASSWORD, "an empty passcode came, expected one")
    if ":" in name:
        return Refused(Reason.COLON, "the user name has a colon, where Basic ends the name (RFC 7617 §2)")
    if (refused := _other_name(name, policy)) is not None:
        return refused
    try:
        text = passcode.decode()
    except UnicodeDecodeError:
        return Refused(Reason.NOT_TEXT, "the passcode is not UTF-8, and Basic has text alone (RFC 7617 §2)")
    if _has_control(text):
        return Refused(Reason.CONTROL_CHARACTER, "the passcode has a control character (RFC 7617 §2)")
    if not policy.utf8 and not (name + text).isascii():
        return Refused(Reason.NOT_ASCII, "name or passcode is not ASCII, and no UTF-8 was announced (RFC 7617 §2.1)")
    return _field(b"Basic", b64encode(name.encode() + b":" + passcode))


def _field(scheme: bytes, token68: bytes) -> AuthorizationField:
    return AuthorizationField(Secret(scheme + b" " + token68))


# From HTTP to DIMSE ---------------------------------------------------------------------------------------------------


def from_http(
    authorization: Sequence[bytes], policy: HTTPPolicy, *, query: bytes = b"", form: bytes = b""
) -> Credential | Refused | None:
    """The credential of an HTTP request; None: there is none.

    `authorization` has the value of each Authorization field as it came: Proxy-Authorization is for the proxy, and
    not to be looked at here. `query` is that of the target; `form` a body of application/x-www-form-urlencoded.
    """
    in_query, in_form = _access_tokens(query), _access_tokens(form)
    count = len(authorization) + len(in_query) + len(in_form)
    if count > 1:
        return Refused(Reason.SEVERAL, f"{count} credentials came in one request, expected one (RFC 6750 §2)")
    if count == 0:
        return None
    if in_form:
        return Refused(Reason.IN_FORM, "an access token came in a form, expected the Authorization field")
    if in_query and not policy.access_token_in_query:
        return Refused(Reason.IN_QUERY, "an access token came in the query, expected the Authorization field")
    mapped = _read_bearer(in_query[0], policy) if in_query else _read_field(authorization[0], policy)
    return mapped if isinstance(mapped, Refused) else _too_long(mapped, policy) or mapped


def without_access_token(query: bytes) -> bytes:
    """A query as it may be logged and sent on."""
    return b"&".join(pair for pair in query.split(b"&") if not _access_tokens(pair))


def _access_tokens(query: bytes) -> list[bytes]:
    pairs = (pair.partition(b"=") for pair in query.split(b"&"))
    return [unquote_to_bytes(value) for name, _, value in pairs if unquote_to_bytes(name) == b"access_token"]


def _read_field(value: bytes, policy: HTTPPolicy) -> Credential | Refused:
    """One credential by its scheme (RFC 9110 §11.4), in token68 and in no other form."""
    if len(value) > LONGEST_FIELD:
        sentence = f"the Authorization field has {len(value)} octets, expected up to {LONGEST_FIELD}"
        return Refused(Reason.TOO_LONG, sentence)
    scheme, _, token = value.strip(b" \t").partition(b" ")
    if not _SCHEME.fullmatch(scheme):
        return Refused(Reason.MALFORMED, "the Authorization field does not begin with a scheme (RFC 9110 §11.4)")
    readers = {b"basic": _read_basic, b"negotiate": _read_negotiate, b"bearer": _read_bearer}
    if (read := readers.get(scheme.lower())) is None:
        return Refused(Reason.SCHEME, f"the scheme {scheme.decode()[:40]} came, expected Basic, Bearer or Negotiate")
    if not is_b64token(token := token.lstrip(b" ")):
        return Refused(Reason.MALFORMED, "the scheme is not followed by one token68 alone (RFC 9110 §11.2)")
    return read(token, policy)


def _read_basic(token: bytes, policy: HTTPPolicy) -> Credential | Refused:
    octets = _canonical(token)
    try:
        name, colon, password = (octets or b"").decode().partition(":")
    except UnicodeDecodeError:
        return Refused(Reason.MALFORMED_BASIC, "name or password is not UTF-8, as was announced (RFC 7617 §2.1)")
    if not colon or _has_control(name + password):
        return Refused(Reason.MALFORMED_BASIC, "Basic is not base64 of name, colon and password in text (RFC 7617 §2)")
    if (refused := _other_name(name, policy)) is not None:
        return refused
    if password or policy.empty_password is EmptyPassword.PASSCODE:
        return UsernameAndPasscode(name, Secret(password.encode()))
    if policy.empty_password is EmptyPassword.USERNAME:
        return Username(name)
    return Refused(Reason.EMPTY_PASSWORD, "the password is empty, expected one")


def _read_negotiate(token: bytes, policy: HTTPPolicy) -> Credential | Refused:
    octets = _canonical(token)
    if octets is None:
        return Refused(Reason.MALFORMED, "Negotiate is not followed by base64 (RFC 4559 §4.2)")
    ticket = Secret(octets)
    return _ticket(ticket, policy.dicom_service, policy) or KerberosTicket(ticket)


def _read_bearer(token: bytes, policy: HTTPPolicy) -> Credential | Refused:
    """A token of three kinds goes to three places: only a look inside tells which."""
    if not is_b64token(token):
        sentence = "the access token has characters that a bearer token has not (RFC 6750 §2.1)"
        return Refused(Reason.NOT_A_B64TOKEN, sentence)
    if is_jwt(token):
        return _dpop(Secret(token)) or JSONWebToken(Secret(token))
    octets = base64url.decode(token)
    if octets is not None and is_assertion(octets):
        return SAMLAssertion(Secret(octets))
    if not policy.bearer_extension:
        return Refused(Reason.OPAQUE, "an opaque token came, for which PS3.7 has no type, and the bearer extension is "
                                      "not agreed on: exchange it for a JWT (RFC 8693), or introspect it (RFC 7662)")
    return AccessToken(Secret(token))


# Both ways ------------------------------------------------------------------------------------------------------------


def _ticket(token: Secret, service: str, policy: HTTPPolicy) -> Refused | None:
    """Why a Kerberos token cannot go to a service as it is: nobody without its keys can make it one for another."""
    if not policy.negotiate:
        return Refused(Reason.NEGOTIATE, "a Kerberos token came, and it is not agreed that clients get tickets for the "
                                         "service on the far side")
    try:
        found = service_of(token.reveal())
    except Malformed as error:
        return Refused(Reason.NOT_KERBEROS, f"the token is {error}")
    name = found.rpartition("@")[0]
    if service not in (found, name, name.partition("/")[0]):
        return Refused(Reason.ANOTHER_SERVICE, f"the ticket is for {found[:200]}, expected {service}: it cannot be "
                                               "changed, only its client or a delegation can get another")
    return None


def _dpop(token: Secret) -> Refused | None:
    """RFC 9449 §7.1: what is bound to a key is not to be taken as if it were not."""
    if is_bound_to_a_dpop_key(token.reveal()):
        return Refused(Reason.DPOP, "the token is bound to a DPoP key, and neither Bearer nor PS3.7 carries its proof")
    return None


def _other_name(name: str, policy: HTTPPolicy) -> Refused | None:
    """Why a user name is not the same on both sides: 58H has names in NFC and what can be seen of them."""
    try:
        if read_username(name.encode(), policy.caps) == name:
            return None
        return Refused(Reason.USER_NAME, "the user name is not in Unicode form NFC, in which names are compared")
    except IdentityDenied as error:
        return Refused(Reason.USER_NAME, str(error))


def _too_long(credential: Credential, policy: HTTPPolicy) -> Refused | None:
    if isinstance(credential, Username | CertificateAlone):
        return None
    secret = credential.passcode if isinstance(credential, UsernameAndPasscode) else credential.token
    try:
        policy.caps.judge(credential.method, max(len(secret), 1))  # an empty one is another matter
    except IdentityDenied as error:
        return Refused(Reason.TOO_LONG, str(error))
    return None


def _canonical(token68: bytes) -> bytes | None:
    """What base64 stands for, if this is how it is written; other spellings of the same octets would not come back."""
    try:
        octets = b64decode(token68, validate=True)
    except ValueError:
        return None
    return octets if b64encode(octets) == token68 else None


def _has_control(text: Iterable[str]) -> bool:
    """CTL of RFC 5234, which RFC 7617 §2 forbids."""
    return any(character < " " or character == "\x7f" for character in text)
