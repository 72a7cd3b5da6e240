"""What the gate gives to a back end, and what it gets back."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass, field
from datetime import datetime
from typing import Protocol

from twisted.internet.defer import Deferred
from zope.interface import Attribute, Interface

from ..tls.session import PeerCertificate
from .credentials import Credential


@dataclass(frozen=True, slots=True)
class Presenter:
    """Who presents a credential. AE titles are claimed; address, certificate and channel binding are known."""

    address: str
    calling_ae_title: str
    called_ae_title: str
    certificate: PeerCertificate | None = None
    """Verified by TLS; None: the peer showed none, or there is no TLS."""
    channel_binding: bytes | None = field(default=None, repr=False)
    """The `tls-exporter` of this connection (RFC 9266), 32 octets; None where there is no TLS."""


@dataclass(frozen=True, slots=True)
class Verified:
    """What a back end found to be true of a credential."""

    name: str
    """The user's canonical name as the back end has it, never as it was typed."""
    realm: str
    """Where the name means something: a Kerberos realm, an issuer, a directory."""
    groups: frozenset[str] = frozenset()
    roles: frozenset[str] = frozenset()
    scopes: frozenset[str] | None = None
    """What an access token is limited to; None: it is not limited by scopes."""
    until: float | None = None
    """POSIX time from which on it is true no more; None: without a term."""
    server_response: bytes = field(default=b"", repr=False)
    """For sub-item 59H: AP-REP, or the SAML response."""


class IAuthenticator(Interface):
    """A back end that can tell whether credentials are good: `verify` is asked for each association."""

    name: str = Attribute("The section of the configuration that it comes from: `ldap hospital`.")
    methods = Attribute("The `Method`s whose credentials it can check, a frozenset.")
    trace: Callable[[str], None] = Attribute("Called with one sentence for each step of a check, no secret in it.")
    cacheable: bool = Attribute("Whether a success may be remembered; not where a token is good for one use.")

    def verify(credential: Credential, presenter: Presenter) -> Awaitable[Verified]:
        """Check a credential of one of `methods`. It must not block the reactor.

        Raises `IdentityUnknown` where another back end may know the user, `IdentityDenied` where the credential is
        not good, `IdentityUnavailable` where that cannot be told. Whatever else it raises is taken for the last.
        It is cancelled at the deadline and when the peer goes away: what it waits for must give up then.
        """

    def close() -> None:
        """Let go of threads and connections; checks that run are given up."""


class Memory(Protocol):
    """What was used of one issuer, remembered in one place, which may be another process."""

    def claim(self, identifier: str, certificate: str, until: float, now: float) -> str | Deferred[str | None] | None:
        """Note the first use, and who made it, by the fingerprint of its certificate; None: this is the first.

        Else the fingerprint that came with the first use, "" if there was none. `until` and `now` are POSIX times.
        Raises IdentityUnavailable, or the Deferred fails with it, where that cannot be told or there is no room.
        """


class IRemembering(IAuthenticator):
    """A back end that must not forget what it has seen when the configuration is read again."""

    def take_over(former: IAuthenticator) -> None:
        """Go on from where the back end of the same section was. Both are asked until the former one is closed."""

    def share(memory: Callable[[str], Memory]) -> None:
        """Remember in the `memory` of the issuer, as several processes have this back end."""


class IForeseeing(IAuthenticator):
    """A back end that rests on what ends, such as certificates."""

    def warnings(now: datetime) -> Iterable[str]:
        """A sentence for each thing that works now and soon will not."""
