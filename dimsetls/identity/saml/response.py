"""The SAML response that says that an assertion was accepted (SAML core §3.2.2), for sub-item 59H."""

from __future__ import annotations

from datetime import datetime
from secrets import token_hex
from xml.sax.saxutils import quoteattr

_SUCCESS = "urn:oasis:names:tc:SAML:2.0:status:Success"


def success(identifier: str, now: datetime) -> bytes:
    """Success, in response to the assertion with that ID, which is all that it says of it.

    It is not signed: the peer knows by TLS who it is from.
    """
    return (
        f'<samlp:Response xmlns:samlp="urn:oasis:names:tc:SAML:2.0:protocol" ID="_{token_hex(16)}" Version="2.0"'
        f' IssueInstant="{now:%Y-%m-%dT%H:%M:%SZ}" InResponseTo={quoteattr(identifier)}>'
        f'<samlp:Status><samlp:StatusCode Value="{_SUCCESS}"/></samlp:Status></samlp:Response>'
    ).encode()
