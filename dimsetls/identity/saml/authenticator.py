"""Type 4: a SAML 2.0 assertion of one identity provider, as UTF-8 XML in the primary field.

PS3.7 Table D.3-14 does not say how it is encoded there; senders put the XML, and so it is read.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from datetime import UTC, datetime
from ipaddress import ip_address
from pathlib import Path
from typing import TYPE_CHECKING

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorFromThreads
from zope.interface import implementer

from ...errors import ConfigurationError, IdentityDenied, IdentityUnavailable
from ..base64url import decode
from ..credentials import Caps, Credential, Method, SAMLAssertion, read_username
from ..interfaces import IAuthenticator, IForeseeing, IRemembering, Memory, Presenter, Verified
from ..workers import Workers
from .choices import Answer, Confirmation, Use
from .response import success
from .used import Used

if TYPE_CHECKING:
    from .statements import Statements, SubjectConfirmation

XUA_ROLE = "urn:oasis:names:tc:xacml:2.0:subject:role"
"""The attribute with the user's roles, as IHE XUA has it (ITI TF-2 §3.40)."""


@implementer(IRemembering, IForeseeing)
class SAMLAuthenticator:
    """Checks the assertions of one issuer, whose certificates are pinned. Times are seconds.

    Another issuer's are unknown here, so several of these can stand side by side. Raises ConfigurationError.
    """

    methods = frozenset({Method.SAML})
    cacheable = False  # whether an assertion may be used again is what `use` says

    def __init__(
        self,
        name: str,
        *,
        issuer: str,
        certificates: Iterable[Path],
        audience: Iterable[str],
        recipient: str | None = None,
        confirmation: Iterable[Confirmation] = tuple(Confirmation),
        use: Use = Use.ONCE,
        clock_skew: float = 60.0,
        maximum_lifetime: float = 3600.0,
        name_attribute: str | None = None,
        group_attributes: Iterable[str] | None = ("groups",),
        role_attributes: Iterable[str] | None = (XUA_ROLE,),
        base64url: bool = False,
        response: Answer = Answer.EMPTY,
        used: Memory | None = None,
        reactor: IReactorFromThreads | None = None,
        now: Callable[[], float] = time.time,
        trace: Callable[[str], None] = lambda sentence: None,
    ) -> None:
        try:
            from .signature import PinnedCertificates
            from .statements import read_assertion
        except ImportError:
            raise ConfigurationError("signxml and lxml, which check SAML assertions, are not installed; expected both: "
                                     "pip install 'dimsetls[saml]'") from None
        self.name, self.trace = name, trace
        self._used: Memory = used or Used()
        self._issuer, self._audience, self._recipient = issuer, frozenset(audience), recipient
        self._confirmation, self._use = frozenset(confirmation), use
        self._skew, self._maximum_lifetime = clock_skew, maximum_lifetime
        self._name_attribute = name_attribute
        self._group_attributes, self._role_attributes = tuple(group_attributes or ()), tuple(role_attributes or ())
        self._base64url, self._answer = base64url, response
        self._now, self._read_assertion = now, read_assertion
        named = {"issuer": issuer, "audience": self._audience, "confirmation": self._confirmation}
        problems = [f"{option}: found nothing, expected at least one" for option, given in named.items() if not given]
        try:
            self._pinned = PinnedCertificates.load(certificates, self._time())
        except ConfigurationError as error:
            problems += (f"certificates: {problem}" for problem in error.problems)
        if problems:
            raise ConfigurationError(*problems)
        if reactor is None:
            from twisted.internet import reactor as installed

            reactor = IReactorFromThreads(installed)
        self._reactor = reactor
        self._workers = Workers(name, reactor, threads=2)

    def warnings(self, now: datetime) -> tuple[str, ...]:
        """A sentence for each pinned certificate that ends soon, or is of no use beside a good one."""
        return tuple(f"[{self.name}] {sentence}" for sentence in self._pinned.warnings(now))

    def take_over(self, former: IAuthenticator) -> None:
        """What was used there is used here too, and the reverse, while checks that began there go on."""
        if isinstance(former, SAMLAuthenticator) and former._issuer == self._issuer:
            self._used = former._used

    def share(self, memory: Callable[[str], Memory]) -> None:
        """What is used up is so for all who share the memory of this issuer."""
        self._used = memory(self._issuer)

    async def verify(self, credential: Credential, presenter: Presenter) -> Verified:
        """Whom an assertion is about, if it is good and not used up. See `IAuthenticator`."""
        assert isinstance(credential, SAMLAssertion)
        try:
            # A good one takes a millisecond, a hostile one more: so in a thread.
            statements = await self._workers.run(lambda: self._read(credential.token.reveal()))
            verified = self._judge(statements, presenter)
            # Last, for only good ones are noted; and in one thread of one process, where two uses are never at once.
            await self._judge_use(statements, presenter)
            return verified
        except IdentityDenied as error:
            denied = type(error)(f"[{self.name}] {error}", is_security_alert=error.is_security_alert)
        raise denied  # out here, or what was caught would live on in it, with the assertion in its frames

    def close(self) -> None:
        self._workers.close()

    def _read(self, octets: bytes) -> Statements:
        if self._base64url and not octets.lstrip().startswith(b"<"):
            octets = decode(octets) or b""
        self._reactor.callFromThread(self.trace, f"the assertion has {len(octets)} octets")
        return self._read_assertion(octets, self._issuer, self._pinned, self._time())

    def _judge(self, statements: Statements, presenter: Presenter) -> Verified:
        """Who it is, if the assertion is valid now, for us, and from this presenter."""
        self.trace(f"its form is good, and so is its signature, with {statements.signer}")
        self._judge_time(statements)
        if not statements.audiences or not all(self._audience & audience for audience in statements.audiences):
            found = " and ".join(", ".join(map(repr, sorted(each))) for each in statements.audiences) or "nobody"
            raise IdentityDenied(f"the assertion is made out to {found[:300]}, expected {_any_of(self._audience)}")
        self.trace("it is made out to this node")
        objections = []
        for confirmation in statements.confirmations:
            if (objection := self._objection(confirmation, presenter)) is None:
                self.trace(f"it is confirmed by {confirmation.method}")
                break
            objections.append(objection)
        else:
            raise IdentityDenied(f"no subject confirmation holds: {'; '.join(objections[:5]) or 'there is none'}")
        name = self._name(statements)
        groups = frozenset(value for each in self._group_attributes for value in statements.attributes.get(each, ()))
        roles = frozenset(value for each in self._role_attributes for value in statements.attributes.get(each, ()))
        self.trace(f"it is about {name!r}, groups {sorted(groups)}, roles {sorted(roles)}")
        end = min(statements.not_on_or_after, statements.session_ends or statements.not_on_or_after)
        answer = success(statements.identifier, self._time()) if self._answer is Answer.RESPONSE else b""
        return Verified(name, self._issuer, groups, roles, None, end + self._skew, answer)

    def _judge_time(self, statements: Statements) -> None:
        now, start, end = self._now(), statements.not_before, statements.not_on_or_after
        begin = max(statements.issued, start if start is not None else statements.issued)
        if now + self._skew < begin:
            raise IdentityDenied(f"the assertion is not valid before {_shown(begin)}, it is {_shown(now)} here")
        for what, term in (("assertion", end), ("session with the identity provider", statements.session_ends)):
            if term is not None and now >= term + self._skew:
                raise IdentityDenied(f"the {what} ended at {_shown(term)}, it is {_shown(now)} here")
        lifetime = end - min(statements.issued, start if start is not None else statements.issued)
        if lifetime > self._maximum_lifetime:
            raise IdentityDenied(f"the assertion lives for {lifetime:.0f} s, expected {self._maximum_lifetime:.0f} s "
                                 "at the most (maximum-lifetime)")
        self.trace(f"it is valid from {_shown(begin)} to {_shown(end)}")

    def _objection(self, confirmation: SubjectConfirmation, presenter: Presenter) -> str | None:
        """Why a subject confirmation does not hold; None if it does (SAML core §2.4.1.2, profiles §3)."""
        now, end = self._now(), confirmation.not_on_or_after
        method = next((each for each in self._confirmation if each.urn == confirmation.method), None)
        if method is None:
            words = " or ".join(sorted(each.value for each in self._confirmation))
            return f"its method is {confirmation.method[:100]!r}, expected {words}"
        if method is Confirmation.BEARER and end is None:
            return "a bearer's does not say when it ends"
        if end is not None and now >= end + self._skew:
            return f"it ended at {_shown(end)}, it is {_shown(now)} here"
        if confirmation.not_before is not None and now + self._skew < confirmation.not_before:
            return f"it is not valid before {_shown(confirmation.not_before)}, it is {_shown(now)} here"
        if confirmation.in_response_to is not None:
            return "it answers a request, and none was sent from here"
        expected = {self._recipient} if self._recipient else self._audience
        # A holder of a key is known by it; who bears an assertion to us must say so, where that is configured.
        may_be_silent = method is Confirmation.HOLDER_OF_KEY or not self._recipient
        if confirmation.recipient not in expected and not (may_be_silent and confirmation.recipient is None):
            found = "not said" if confirmation.recipient is None else repr(confirmation.recipient[:100])
            return f"its recipient is {found}, expected {_any_of(expected)}"
        if confirmation.address is not None and not _is_same(confirmation.address, presenter.address):
            return f"it is for the address {confirmation.address[:60]!r}, the peer's is {presenter.address}"
        if method is Confirmation.HOLDER_OF_KEY:
            shown = presenter.certificate
            if shown is None or shown.der not in confirmation.certificates:
                return f"it is for the holder of another certificate than {shown.subject if shown else 'none'}"
        return None

    def _name(self, statements: Statements) -> str:
        if self._name_attribute:
            found = statements.attributes.get(self._name_attribute, ())
            if len(found) != 1:
                raise IdentityDenied(f"the attribute {self._name_attribute!r} has {len(found)} values, expected one, "
                                     "the user's name (name-attribute)")
            return read_username(found[0].encode(), Caps())
        return read_username(statements.name.encode(), Caps())

    async def _judge_use(self, statements: Statements, presenter: Presenter) -> None:
        """Whether it was used up before; if not, that it was used now (SAML core §2.5.1.5)."""
        if self._use is Use.AS_LONG_AS_VALID and not statements.is_for_one_use:
            return
        now, certificate = self._now(), presenter.certificate.sha256 if presenter.certificate else ""
        try:
            first = self._used.claim(statements.identifier, certificate, statements.not_on_or_after + self._skew, now)
            if isinstance(first, Deferred):
                first = await first
        except IdentityUnavailable as error:
            raise IdentityUnavailable(f"[{self.name}] {error}") from None
        if first is None:
            self.trace("it was not used before")
            return
        is_again = self._use is Use.ONCE_PER_CERTIFICATE and not statements.is_for_one_use
        if not (is_again and first and first == certificate):
            same = "with this certificate" if certificate else "without a certificate, as now"
            how = same if first == certificate else "with another certificate"
            raise IdentityDenied(f"the assertion was used before, {how}; expected one that was not (use)",
                                 is_security_alert=first != certificate)
        self.trace("it was used before with the same certificate, as it may be")

    def _time(self) -> datetime:
        return datetime.fromtimestamp(self._now(), UTC)


def _is_same(address: str, other: str) -> bool:
    try:
        return ip_address(address) == ip_address(other)
    except ValueError:
        return False


def _any_of(names: Iterable[str]) -> str:
    return " or ".join(map(repr, sorted(names)))


def _shown(posix: float) -> str:
    return f"{datetime.fromtimestamp(posix, UTC):%Y-%m-%d %H:%M:%S} UTC"
