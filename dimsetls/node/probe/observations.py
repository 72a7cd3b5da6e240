"""What the probe saw of a peer, as plain data: :mod:`.examination` fills it in, :mod:`.verdict` judges it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from enum import Enum

from .hello import ServerFlight, SuiteClass

MOST_CONNECTIONS = 15
"""The probe never opens more; they come one after the other."""


class Language(Enum):
    """What the peer speaks on the port."""

    TLS = "TLS"
    DICOM = "DICOM without TLS"
    HTTP = "HTTP without TLS"
    OTHER = "neither TLS nor DICOM"
    NOTHING = "nothing"


class Ending(Enum):
    """What became of something that was tried."""

    COMPLETED = "went along"
    REFUSED = "refused with a TLS alert"
    CLOSED = "closed the connection"
    SILENT = "did not answer in time"
    GARBLED = "answered what makes no sense"
    UNREACHABLE = "could not be reached"


@dataclass(frozen=True, slots=True)
class Reaction:
    """How the peer took it."""

    ending: Ending
    alert: int | None = None
    """The alert of a refusal (RFC 8446 §6)."""

    @property
    def is_refusal(self) -> bool:
        """The peer would not: it said so with an alert, or it hung up."""
        return self.ending in (Ending.REFUSED, Ending.CLOSED)


@dataclass(frozen=True, slots=True)
class HelloSeen:
    """A ClientHello made by hand, and the answer."""

    reaction: Reaction
    offered: frozenset[SuiteClass]
    flight: ServerFlight | None = None


@dataclass(frozen=True, slots=True)
class CertificateSeen:
    """One certificate of the peer's chain."""

    subject: str
    issuer: str
    names: tuple[str, ...]
    """All of subjectAltName that can be a server's name or address."""
    key: str
    """Kind of key: RSA, ECDSA, Ed25519, or what it is called."""
    key_bits: int
    signature_hash: str
    """Empty for signatures without a hash of their own, such as Ed25519."""
    not_before: datetime
    not_after: datetime
    serves: bool
    """The extended key usage allows TLS servers, or there is none."""
    crl_urls: tuple[str, ...] = ()
    ocsp_urls: tuple[str, ...] = ()
    sha256: str = ""

    @property
    def is_self_issued(self) -> bool:
        return self.subject == self.issuer


class Answer(Enum):
    """How the peer answered an A-ASSOCIATE-RQ."""

    ACCEPTED = "accepted"
    REJECTED = "rejected"
    ABORTED = "aborted"
    NOTHING = "no answer"
    HTTP = "answered in HTTP"
    OTHER = "answered what is not DICOM"


@dataclass(frozen=True, slots=True)
class AssociationSeen:
    """One A-ASSOCIATE-RQ, and what followed."""

    called: str
    calling: str
    answer: Answer = Answer.NOTHING
    words: str = ""
    rejection: tuple[int, int, int] | None = None
    """Result, source, reason (PS3.8 Table 9-21)."""
    contexts: Mapping[str, str | None] | None = None
    """Proposed SOP class to the transfer syntax agreed on, None where it was not accepted."""
    implementation_class_uid: str = ""
    implementation_version_name: str = ""
    maximum_length: int = 0
    echo: int | None = None
    """Status of the C-ECHO, None where there was none."""
    identity_answered: bool | None = None
    """A User Identity item (58H) was answered with 59H; None where none was sent."""
    released: bool = False
    damaged_record: Reaction | None = None
    """To a TLS record that fails its integrity check, sent on the established association."""

    @property
    def speaks_dicom(self) -> bool:
        return self.answer in (Answer.ACCEPTED, Answer.REJECTED, Answer.ABORTED)


@dataclass(frozen=True, slots=True)
class SessionSeen:
    """A whole handshake by OpenSSL, and what was done with it."""

    reaction: Reaction
    """REFUSED too where the refusal came after our own handshake was complete, as in TLS 1.3."""
    words: str = ""
    """Why it failed."""
    first_bytes: bytes = b""
    """Of whatever the peer said."""
    flight: ServerFlight | None = None
    version: int | None = None
    """The version of a handshake that completed on our side."""
    cipher_suite: str = ""
    """As OpenSSL names it."""
    group: str = ""
    alpn: str = ""
    server_name: str | None = None
    """What was sent as SNI."""
    certificate_requested: bool = False
    certificate_authorities: tuple[str, ...] = ()
    """Those from which the peer asks for a client certificate."""
    chain: tuple[CertificateSeen, ...] = ()
    """As the peer sent it, its own certificate first."""
    untrusted: str | None = None
    """Why the chain does not lead to the given authorities; empty if it does, None if none were given."""
    name_matches: bool | None = None
    """Its own certificate is for the host that was called (RFC 9525)."""
    staple: str = ""
    """Status in the stapled OCSP response; empty if there is none."""
    tickets: int = 0
    early_data: int = 0
    """Bytes of 0-RTT data that the peer's tickets admit."""
    renegotiation: Reaction | None = None
    association: AssociationSeen | None = None

    @property
    def admitted(self) -> bool:
        """The peer kept the connection after it knew who we are: it answered on it."""
        return self.association is not None and self.association.answer is not Answer.NOTHING


@dataclass(frozen=True, slots=True)
class Observations:
    """All that was seen. What is None or missing was not asked, for want of reason, means or connections."""

    host: str
    port: int
    when: datetime
    language: Language
    connections: int
    trouble: str = ""
    """Why nothing more could be seen."""
    has_certificate: bool = False
    """We had a client certificate to present."""
    stranger: SessionSeen | None = None
    """Without a certificate, everything offered."""
    client: SessionSeen | None = None
    """The same with our certificate."""
    impostor: SessionSeen | None = None
    """With a certificate that we made up."""
    tls12: SessionSeen | None = None
    """TLS 1.2 with the profile's suites alone, then renegotiation."""
    other_name: SessionSeen | None = None
    """To a server name that does not exist."""
    other_protocols: SessionSeen | None = None
    """Offering h2 and http/1.1 only; the same connection as `other_name` where that was not refused."""
    plain: AssociationSeen | None = None
    """Without TLS."""
    old_versions: Mapping[int, HelloSeen] | None = None
    forbidden: tuple[HelloSeen, ...] = ()
    """Suites that MUST NOT be used, again without those once taken."""
    discouraged: tuple[HelloSeen, ...] = ()
    """The same for those that SHOULD NOT."""
    dhe: HelloSeen | None = None
    small_groups: HelloSeen | None = None
    ordinary: HelloSeen | None = None
    """TLS 1.2 as the profile has it, but with P-256 alone, with compression, and without ALPN."""
    nobody: SessionSeen | None = None
    """For an AE title that does not exist."""
    unknown_caller: SessionSeen | None = None
    """From an AE title that does not exist, with a user identity; at its end the damaged record."""
    identity: SessionSeen | None = None
    """The same from our own AE title, where the unknown one was turned away."""

    @property
    def regular(self) -> SessionSeen | None:
        """Us as the peer is meant to see us: with a certificate if we have one."""
        return self.client or self.stranger

    @property
    def sessions(self) -> tuple[SessionSeen, ...]:
        """Every whole handshake that was tried."""
        tried = (self.stranger, self.client, self.impostor, self.tls12, self.other_name, self.other_protocols,
                 self.nobody, self.unknown_caller, self.identity)  # fmt: skip
        return tuple(each for each in tried if each is not None)

    @property
    def hellos(self) -> tuple[HelloSeen, ...]:
        """Every ClientHello made by hand."""
        alone = (self.dhe, self.small_groups, self.ordinary)
        found = (*(self.old_versions or {}).values(), *self.forbidden, *self.discouraged, *alone)
        return tuple(each for each in found if each is not None)

    @property
    def flights(self) -> tuple[ServerFlight, ...]:
        """Every answer to a ClientHello."""
        answers = (*(each.flight for each in self.hellos), *(each.flight for each in self.sessions))
        return tuple(flight for flight in answers if flight is not None)
