"""base64url without padding (RFC 4648 §5), in the one spelling that encoding gives."""

from __future__ import annotations

from base64 import urlsafe_b64decode, urlsafe_b64encode


def encode(octets: bytes) -> bytes:
    return urlsafe_b64encode(octets).rstrip(b"=")


def decode(text: bytes) -> bytes | None:
    """The octets, or None: other characters, white space, padding, or bits that are left over are no base64url."""
    try:
        octets = urlsafe_b64decode(text + b"==")
    except ValueError:
        return None
    return octets if encode(octets) == text else None
