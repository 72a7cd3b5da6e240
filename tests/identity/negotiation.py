"""First tokens of SPNEGO, written by hand in DER (RFC 4178 §4.2), and the mechanisms that peers offer in them."""

from __future__ import annotations

KERBEROS = "06092a864886f712010202"
MICROSOFT = "06092a864882f712010202"
NTLM = "060a2b06010401823702020a"
NEGOEX = "060a2b06010401823702021e"
SPNEGO = "06062b0601050502"


def der(tag, *contents):
    """An element whose length has as many octets as it needs."""
    whole = b"".join(each if isinstance(each, bytes) else bytes.fromhex(each) for each in contents)
    size = len(whole)
    length = bytes((size,)) if size < 128 else bytes((0x82,)) + size.to_bytes(2)
    return bytes((tag,)) + length + whole


def init(*fields):
    return der(0x60, SPNEGO, der(0xA0, der(0x30, *fields)))


def mechanisms(*names):
    return der(0xA0, der(0x30, *names))
