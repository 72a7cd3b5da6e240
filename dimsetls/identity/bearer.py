"""The bearer extension: an OAuth access token beside or instead of a user identity.

It is carried by SOP Class Extended Negotiation (PS3.7 D.3.3.5) for a private SOP class under our root, which is
also proposed as a presentation context. Peers that do not know it refuse the context and skip the item.
docs/reference/bearer-extension.md has the bytes.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from enum import IntEnum

from ..errors import IdentityDenied
from ..uids import BEARER_TOKEN
from ..ul.pdus import ExtendedNegotiation
from .credentials import AccessToken, Caps, Method, Secret

VERSION = 1
_RESPONSE_REQUESTED = 0x01
_B64TOKEN = re.compile(rb"[A-Za-z0-9\-._~+/]+=*\Z")


class BearerResult(IntEnum):
    """The result byte of the answer. A token that is refused has none: the association is rejected."""

    ACCEPTED = 0
    IGNORED = 1


def is_b64token(octets: bytes) -> bool:
    """Whether these are the characters of a bearer token (RFC 6750 §2.1); nothing else may meet an HTTP header."""
    return _B64TOKEN.match(octets) is not None


def write_token(token: AccessToken, response_requested: bool) -> ExtendedNegotiation:
    """The 56H sub-item for an A-ASSOCIATE-RQ."""
    flags = _RESPONSE_REQUESTED if response_requested else 0
    return ExtendedNegotiation(BEARER_TOKEN, bytes((VERSION, flags)) + token.token.reveal())


def read_token(items: Iterable[ExtendedNegotiation], caps: Caps) -> tuple[AccessToken, bool] | None:
    """The access token of a request and whether an answer is requested; None if none came. Raises IdentityDenied."""
    found = [item for item in items if item.sop_class_uid == BEARER_TOKEN]
    if not found:
        return None
    if len(found) > 1:
        raise IdentityDenied(f"{len(found)} bearer items came, one is expected")
    information = found[0].service_class_application_information
    if len(information) < 2 or information[0] != VERSION or information[1] & ~_RESPONSE_REQUESTED:
        raise IdentityDenied(f"the bearer item is not of version {VERSION} with known flags")
    return AccessToken(token_of(information[2:], caps)), bool(information[1] & _RESPONSE_REQUESTED)


def token_of(octets: bytes, caps: Caps) -> Secret:
    """The token, its length and characters checked. Raises IdentityDenied."""
    caps.judge(Method.BEARER, len(octets))
    if not is_b64token(octets):
        raise IdentityDenied("the bearer token has characters outside b64token (RFC 6750 §2.1)")
    return Secret(octets)


def write_result(result: BearerResult) -> ExtendedNegotiation:
    """The 56H sub-item for an A-ASSOCIATE-AC."""
    return ExtendedNegotiation(BEARER_TOKEN, bytes((VERSION, result)))


def read_result(items: Iterable[ExtendedNegotiation]) -> BearerResult | None:
    """What an A-ASSOCIATE-AC says of our token; None: the peer does not know the extension, or answers nonsense."""
    for item in items:
        information = item.service_class_application_information
        if item.sop_class_uid == BEARER_TOKEN and len(information) == 2 and information[0] == VERSION:
            return BearerResult(information[1]) if information[1] in list(BearerResult) else None
    return None
