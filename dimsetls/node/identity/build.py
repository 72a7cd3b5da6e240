"""Sections become back ends, gates and permissions; whatever is wrong with what they point at is said at once."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib import import_module
from typing import Any

from twisted.internet.interfaces import IReactorTime

from ...errors import ConfigurationError
from ...identity.authorization import Authorization
from ...identity.authorization import Rule as Permit
from ...identity.cache import Successes
from ...identity.gate import Gate, IdentityPolicy
from ...identity.interfaces import IAuthenticator
from ...identity.lockout import Lockout
from .sections import BackEnd, Identity, Rule

CLASSES: Mapping[str, tuple[str, str]] = {
    "users": ("dimsetls.identity.users", "UsersFile"),
    "ldap": ("dimsetls.identity.ldap", "LDAPDirectory"),
    "kerberos": ("dimsetls.identity.kerberos", "Kerberos"),
    "saml": ("dimsetls.identity.saml", "SAMLAuthenticator"),
    "jwt": ("dimsetls.identity.jwt", "JWTAuthenticator"),
    "introspection": ("dimsetls.identity.introspection", "IntrospectionAuthenticator"),
    "certificate-identity": ("dimsetls.identity.certificate", "CertificateIdentity"),
}
"""Kind of section to the module and the class of its back end; imported when one is configured, as some want extras."""


def authenticator(back_end: BackEnd) -> IAuthenticator:
    """The back end of a section. Raises ConfigurationError."""
    module, name = CLASSES[back_end.kind]
    made: Callable[..., IAuthenticator] = getattr(import_module(module), name)
    return made(name=str(back_end), **back_end.options)


def authorization(rules: tuple[Rule, ...]) -> Authorization:
    """What the rules of one AE permit."""
    return Authorization(
        Permit(
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
        )
        for rule in rules
    )


@dataclass(frozen=True)
class IdentityParts:
    """The back ends of a configuration by section, and what is made with them."""

    authenticators: Mapping[str, IAuthenticator]

    def gate(
        self, identity: Identity, private_types: Mapping[str, int], clock: IReactorTime,
        lockout: Lockout, successes: Successes,
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
