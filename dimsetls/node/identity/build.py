"""Sections become back ends, gates and permissions; whatever is wrong with what they point at is said at once."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from importlib import import_module
from typing import Any

from twisted.internet.interfaces import IReactorTime

from ...errors import ConfigurationError
from ...identity.authorization import Authorization
from ...identity.authorization import Rule as Permit
from ...identity.cache import Successes
from ...identity.gate import Gate, IdentityPolicy
from ...identity.interfaces import IAuthenticator, IForeseeing, IRemembering, Memory
from ...identity.lockout import Failures
from .sections import BackEnd, Identity, Rule

CLASSES: Mapping[str, tuple[str, str]] = {
    "users": ("dimsetls.identity.users", "UsersFile"),
    "ldap": ("dimsetls.identity.ldap.directory", "LDAPDirectory"),
    "kerberos": ("dimsetls.identity.kerberos.authenticator", "Kerberos"),
    "saml": ("dimsetls.identity.saml.authenticator", "SAMLAuthenticator"),
    "jwt": ("dimsetls.identity.oauth.jwt", "JWTAuthenticator"),
    "introspection": ("dimsetls.identity.oauth.introspection", "IntrospectionAuthenticator"),
    "certificate-identity": ("dimsetls.identity.certificate", "CertificateIdentity"),
}
"""Kind of section to the module and the class of its back end; imported when one is configured, as some want extras."""


def authenticator(back_end: BackEnd) -> IAuthenticator:
    """The back end of a section. Raises ConfigurationError."""
    module, name = CLASSES[back_end.kind]
    made: Callable[..., IAuthenticator] = getattr(import_module(module), name)
    return made(name=str(back_end), **back_end.options)


def permit(rule: Rule) -> Permit:
    """What one section permits."""
    return Permit(
        rule.name,
        frozenset(rule.may),
        frozenset(rule.users or ()),
        frozenset(rule.groups or ()),
        frozenset(rule.roles or ()),
        frozenset(rule.scopes or ()),
        frozenset(rule.realms or ()),
        rule.certificates or (),
        frozenset(rule.calling_ae_titles or ()),
        rule.unidentified,
        frozenset(rule.sop_classes) if rule.sop_classes is not None else None,
        sees=rule.view,
    )


def authorization(rules: tuple[Rule, ...]) -> Authorization:
    """What the rules of one AE permit."""
    return Authorization(map(permit, rules))


def impatience(identities: Iterable[Identity]) -> Iterator[str]:
    """A sentence for each back end that is given up before it has tried all that it can."""
    for identity in identities:
        asked = {str(each): each for back_ends in identity.back_ends.values() for each in back_ends}
        for name, back_end in asked.items():
            takes, option = _patience(back_end)
            if takes >= identity.deadline:
                yield (f"[{name}] may need {takes:g} s ({option}), and [identity {identity.name}] gives it up after "
                       f"{identity.deadline:g} s (deadline): what it would try last is never tried; shorten the one or "
                       "lengthen the other")


def _patience(back_end: BackEnd) -> tuple[float, str]:
    """How long a back end waits for others, and what says so."""
    options = back_end.options
    match back_end.kind:
        case "ldap":
            servers, each = len(options["servers"]), options["timeout"]
            return servers * each, f"{servers} servers with a timeout of {each:g} s" if servers > 1 else "timeout"
        case "introspection":
            return options["request_deadline"], "request-deadline"
        case "jwt" if options["jwks_url"]:
            return options["request_deadline"], "request-deadline"
    return 0.0, ""


@dataclass(frozen=True)
class IdentityParts:
    """The back ends of a configuration by section, and what is made with them."""

    authenticators: Mapping[str, IAuthenticator]

    def gate(
        self, identity: Identity, private_types: Mapping[str, int], clock: IReactorTime,
        lockout: Failures, successes: Successes,
    ) -> Gate:  # fmt: skip
        policy = IdentityPolicy(
            identity.policy,
            {method: tuple(self.authenticators[str(back_end)] for back_end in back_ends)
             for method, back_ends in identity.back_ends.items()},
            identity.asserting_certificates or (),
            identity.certificates or (),
            private_types,
            identity.caps,
            identity.lockout,
            identity.deadline,
            identity.remember_successes,
            identity.when_expired,
            identity.refusal_time,
        )  # fmt: skip
        return Gate(policy, clock, lockout=lockout, successes=successes)

    def take_over(self, former: IdentityParts) -> None:
        """Let no back end forget what it must know: an assertion that was used up stays so. What was only fetched is
        fetched again."""
        for section, each in self.authenticators.items():
            before = former.authenticators.get(section)
            if before is not None and IRemembering.providedBy(each):
                IRemembering(each).take_over(before)

    def share(self, memory: Callable[[str], Memory]) -> None:
        """Let back ends remember in these, by issuer, what must not be forgotten by any process."""
        for each in self.authenticators.values():
            if IRemembering.providedBy(each):
                IRemembering(each).share(memory)

    def warnings(self, now: datetime) -> tuple[str, ...]:
        """What works now and soon will not."""
        foreseeing = [IForeseeing(each) for each in self.authenticators.values() if IForeseeing.providedBy(each)]
        return tuple(warning for each in foreseeing for warning in each.warnings(now))

    def close(self) -> None:
        for each in self.authenticators.values():
            each.close()


def parts(back_ends: tuple[BackEnd, ...], report: Callable[[BackEnd, ConfigurationError], Any]) -> IdentityParts:
    """Every back end that is configured; what cannot be used is reported and left out."""
    made = {}
    for back_end in back_ends:
        try:
            made[str(back_end)] = authenticator(back_end)
        except ConfigurationError as error:
            report(back_end, error)
    return IdentityParts(made)
