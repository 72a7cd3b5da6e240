"""The credentials that a peer can present, unprintable and wipeable, and sub-item 58H (PS3.7 D.3.3.7)."""

from __future__ import annotations

import unicodedata
from dataclasses import dataclass, field
from enum import Enum
from hmac import compare_digest
from typing import NoReturn, TypeAlias

from ..codes import UserIdentityType
from ..errors import IdentityDenied
from ..ul.pdus import UserIdentityRQ


class Requirement(Enum):
    """What is made of user identities; the value is the word for it in the configuration."""

    REQUIRE = "require"
    PREFER = "prefer"
    IGNORE = "ignore"


class Method(Enum):
    """How an identity is shown; the value is the word for it in configuration, log and events."""

    __hash__ = object.__hash__  # Python's own looks at the name, and takes ten times as long

    USERNAME = "username"
    PASSCODE = "passcode"
    KERBEROS = "kerberos"
    SAML = "saml"
    JWT = "jwt"
    BEARER = "bearer"
    CERTIFICATE = "certificate"


class Secret:
    """Octets that nothing prints, logs, pickles or copies by accident, and that can be overwritten.

    `reveal` gives bytes to those that must have them; these copies are out of reach, so make few and keep none.
    """

    __slots__ = ("_octets",)

    def __init__(self, octets: bytes) -> None:
        self._octets = bytearray(octets)

    def reveal(self) -> bytes:
        return bytes(self._octets)

    def wipe(self) -> None:
        """Overwrite what is held here; it is empty afterwards."""
        self._octets[:] = bytes(len(self._octets))
        self._octets.clear()

    def __len__(self) -> int:
        return len(self._octets)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Secret) and compare_digest(self._octets, other._octets)

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        return "<secret>"

    def __reduce__(self) -> NoReturn:
        raise TypeError("a secret is not to be pickled or copied")


@dataclass(frozen=True, slots=True)
class Username:
    """Type 1: a name, without any proof."""

    method = Method.USERNAME
    name: str

    def wipe(self) -> None:
        """There is nothing secret in it."""


@dataclass(frozen=True, slots=True)
class UsernameAndPasscode:
    """Type 2. The passcode is octets: the standard states no character set."""

    method = Method.PASSCODE
    name: str
    passcode: Secret

    def wipe(self) -> None:
        self.passcode.wipe()


@dataclass(frozen=True, slots=True)
class _Token:
    """A credential that is one opaque run of octets to everyone but its back end."""

    token: Secret

    def wipe(self) -> None:
        self.token.wipe()


class KerberosTicket(_Token):
    """Type 3: AP-REQ, as it is or in the frame of GSS-API or SPNEGO (RFC 4120, RFC 4121, RFC 4178)."""

    __slots__ = ()
    method = Method.KERBEROS


class SAMLAssertion(_Token):
    """Type 4: a signed SAML 2.0 assertion as XML."""

    __slots__ = ()
    method = Method.SAML


class JSONWebToken(_Token):
    """Type 5: a JWT in compact form, the text of an HTTP `Authorization: Bearer` field (RFC 7519)."""

    __slots__ = ()
    method = Method.JWT


class AccessToken(_Token):
    """The bearer extension: an OAuth access token, JWT or opaque, in the syntax b64token (RFC 6750 §2.1)."""

    __slots__ = ()
    method = Method.BEARER


@dataclass(frozen=True, slots=True)
class CertificateAlone:
    """No sub-item 58H: the certificate that TLS verified says who it is. It is in the `Presenter`."""

    method = Method.CERTIFICATE

    def wipe(self) -> None:
        """There is nothing secret in it."""


Credential: TypeAlias = (
    Username | UsernameAndPasscode | KerberosTicket | SAMLAssertion | JSONWebToken | AccessToken | CertificateAlone
)


@dataclass(frozen=True, slots=True)
class Caps:
    """The longest fields that are looked at, in octets. All user information shares 65 535."""

    username: int = 255
    passcode: int = 1024
    kerberos: int = 65400
    saml: int = 65400
    jwt: int = 16384
    bearer: int = 16384

    def judge(self, method: Method, octets: int) -> None:
        """Raise IdentityDenied where a field is empty or too long."""
        cap: int = getattr(self, method.value)
        if not 1 <= octets <= cap:
            raise IdentityDenied(f"the {method.value} field has {octets} octets, expected 1 to {cap}")


@dataclass(frozen=True, slots=True)
class Presented:
    """What came with an A-ASSOCIATE-RQ: at most one identity (58H), at most one access token."""

    identity: Credential | None = None
    positive_response_requested: bool = False
    access_token: AccessToken | None = None
    access_token_response_requested: bool = field(default=False)

    def wipe(self) -> None:
        for credential in (self.identity, self.access_token):
            if credential is not None:
                credential.wipe()


def read_identity(item: UserIdentityRQ, caps: Caps) -> Credential:
    """The credential in a 58H sub-item, its form checked and nothing else. Raises IdentityDenied."""
    primary, secondary = item.primary_field, item.secondary_field
    if item.user_identity_type != UserIdentityType.USERNAME_AND_PASSCODE and secondary:
        raise IdentityDenied(
            f"a secondary field came with user identity type {item.user_identity_type}, only type 2 has one"
        )
    match item.user_identity_type:
        case UserIdentityType.USERNAME:
            return Username(read_username(primary, caps))
        case UserIdentityType.USERNAME_AND_PASSCODE:
            caps.judge(Method.PASSCODE, len(secondary))
            return UsernameAndPasscode(read_username(primary, caps), Secret(secondary))
        case UserIdentityType.KERBEROS_SERVICE_TICKET:
            caps.judge(Method.KERBEROS, len(primary))
            return KerberosTicket(Secret(primary))
        case UserIdentityType.SAML_ASSERTION:
            caps.judge(Method.SAML, len(primary))
            return SAMLAssertion(Secret(primary))
        case UserIdentityType.JSON_WEB_TOKEN:
            caps.judge(Method.JWT, len(primary))
            return JSONWebToken(Secret(primary))
    raise IdentityDenied(f"user identity type {item.user_identity_type} came, PS3.7 knows 1 to 5")


def write_identity(credential: Credential, positive_response_requested: bool) -> UserIdentityRQ:
    """The 58H sub-item for a credential; an access token or a certificate has none (ValueError)."""
    match credential:
        case Username(name):
            return UserIdentityRQ(UserIdentityType.USERNAME, positive_response_requested, name.encode())
        case UsernameAndPasscode(name, passcode):
            kind = UserIdentityType.USERNAME_AND_PASSCODE
            return UserIdentityRQ(kind, positive_response_requested, name.encode(), passcode.reveal())
        case KerberosTicket(token):
            kind = UserIdentityType.KERBEROS_SERVICE_TICKET
            return UserIdentityRQ(kind, positive_response_requested, token.reveal())
        case SAMLAssertion(token):
            return UserIdentityRQ(UserIdentityType.SAML_ASSERTION, positive_response_requested, token.reveal())
        case JSONWebToken(token):
            return UserIdentityRQ(UserIdentityType.JSON_WEB_TOKEN, positive_response_requested, token.reveal())
    raise ValueError(f"{credential.method.value} has no sub-item 58H of its own")


def read_username(octets: bytes, caps: Caps) -> str:
    """A user name in NFC, so that the same name is the same string (after RFC 8265 §3.4, letter case preserved).

    The standard asks for UTF-8 and says no more. What cannot be seen could forge another's name, and is refused.
    """
    caps.judge(Method.USERNAME, len(octets))
    try:
        name = unicodedata.normalize("NFC", octets.decode())
    except UnicodeDecodeError:
        raise IdentityDenied("the user name is not UTF-8") from None
    # Python calls printable what is in none of these categories, and is no space but the usual one.
    is_seen = name.isprintable() or not any(unicodedata.category(character) in _UNSEEN for character in name)
    if not is_seen or name != name.strip():
        raise IdentityDenied("the user name has control, format or unassigned characters, or spaces around it")
    return name


_UNSEEN = frozenset({"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"})
"""Unicode general categories without a mark on paper."""
