"""A JSON Web Token taken apart, and nothing more: no word of it is verified yet (RFC 7515 §3.1, RFC 7519 §3)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from .. import base64url
from ..jsontext import UnreadableJSON, read_object

LONGEST_TOKEN = 65400
"""Octets: what fits into an A-ASSOCIATE-RQ."""
LONGEST_HEADER, LONGEST_SIGNATURE = 8192, 2048
"""Octets in base64url: a header may carry a chain of certificates, which is not looked at; RSA of 8192 bits signs."""


class NotAToken(ValueError):
    """It is in no form of a JWT, signed or encrypted; the message says in which form it is."""


class Malformed(ValueError):
    """It is meant to be a JWT, and is none that can be verified; the message says why."""


@dataclass(frozen=True, slots=True)
class CompactToken:
    """A JWS in compact form. `header` has an alg, of whatever type."""

    header: Mapping[str, Any]
    claims: Mapping[str, Any]
    octets: bytes = field(repr=False)

    @classmethod
    def parse(cls, octets: bytes) -> CompactToken:
        """Raises NotAToken, or Malformed."""
        parts = octets.split(b".", 5)
        header = _read_header(parts)
        if len(parts) == 5:
            raise Malformed("is encrypted (JWE); expected a signed one")
        if len(octets) > LONGEST_TOKEN or len(parts[2]) > LONGEST_SIGNATURE:
            raise Malformed(f"has {len(octets)} octets, {len(parts[2])} of them for its signature; expected up to "
                            f"{LONGEST_TOKEN} and {LONGEST_SIGNATURE}")
        claims = base64url.decode(parts[1])
        if claims is None or base64url.decode(parts[2]) is None:
            raise Malformed("is not in base64url (RFC 7515 §7.1)")
        try:
            return cls(header, read_object(claims), octets)
        except UnreadableJSON as error:
            raise Malformed(f"has claims that are {error}") from None


def _read_header(parts: list[bytes]) -> dict[str, Any]:
    if len(parts) not in (3, 5):
        raise NotAToken(f"of {len(parts)} part{'s' if len(parts) > 1 else ''}, where a JWT has three")
    if len(parts[0]) > LONGEST_HEADER:
        raise NotAToken(f"no JWT, as its header has {len(parts[0])} octets; expected up to {LONGEST_HEADER}")
    octets = base64url.decode(parts[0])
    if octets is None:
        raise NotAToken("no JWT, as its header is not base64url")
    try:
        header = read_object(octets)
    except UnreadableJSON as error:
        raise NotAToken(f"no JWT, as its header is {error}") from None
    if "alg" not in header:
        raise NotAToken("no JWT, as its header has no alg")
    return header
