"""What a [saml] section can choose from; apart from what it takes to check an assertion."""

from __future__ import annotations

from enum import Enum


class Confirmation(Enum):
    """How a presenter may show that the assertion is its own; the value is the word for it in the configuration.

    sender-vouches is none of them: it is the sender's word that it acts for the user, and no proof.
    """

    BEARER = "bearer"
    HOLDER_OF_KEY = "holder-of-key"

    @property
    def urn(self) -> str:
        """SAML profiles §3."""
        return f"urn:oasis:names:tc:SAML:2.0:cm:{self.value}"


class Use(Enum):
    """How often one assertion counts; the value is the word for it in the configuration.

    ONCE_PER_CERTIFICATE: the first use binds it to the TLS client certificate, with which it may be used again.
    """

    ONCE = "once"
    ONCE_PER_CERTIFICATE = "once-per-certificate"
    AS_LONG_AS_VALID = "as-long-as-valid"


class Answer(Enum):
    """The content of the positive response, if the peer asks for one; the value is the word for it in the
    configuration. PS3.7 D.3.3.7.2 has a SAML response there, of which many a peer makes nothing."""

    EMPTY = "empty"
    RESPONSE = "response"
