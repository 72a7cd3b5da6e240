"""The certificate alone: who it says that its holder is, where no other identity is presented.

A certificate names a node as a rule. It names a user only by rules of the configuration, which say whose certificates
are meant and where in them the name stands.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from cryptography import x509
from zope.interface import implementer

from ..errors import ConfigurationError, IdentityDenied, IdentityUnknown
from ..tls.evidence import UNREADABLE
from ..tls.rules import CertificateRule
from ..tls.session import PeerCertificate
from .credentials import Caps, Credential, Method, read_username
from .interfaces import IAuthenticator, Presenter, Verified

_ALTERNATIVE_NAMES: dict[str, Callable[[x509.SubjectAlternativeName], Iterable[str]]] = {
    "dns": lambda names: (name.casefold() for name in names.get_values_for_type(x509.DNSName)),
    "uri": lambda names: names.get_values_for_type(x509.UniformResourceIdentifier),
    "ip": lambda names: map(str, names.get_values_for_type(x509.IPAddress)),
    "email": lambda names: names.get_values_for_type(x509.RFC822Name),
}


@dataclass(frozen=True, slots=True)
class NameSource:
    """Where a certificate's user name comes from, as written in the configuration.

    `dns`, `uri`, `ip` and `email` are subjectAltName; `subject:CN` is an attribute of the subject, by its name in
    RFC 4514 or its OID; `fixed:ct1` is that name for every certificate that is meant.
    """

    kind: str
    value: str = ""

    EXPECTED = "dns, uri, ip, email, subject: with an attribute such as CN, or fixed: with a name"

    def __str__(self) -> str:
        return f"{self.kind}:{self.value}" if self.value else self.kind

    @classmethod
    def parse(cls, text: str) -> NameSource:
        """Raises ValueError with what is expected."""
        kind, _, value = (part.strip() for part in text.partition(":"))
        try:
            match kind, value:
                case ("dns" | "uri" | "ip" | "email"), "":
                    return cls(kind)
                case "subject", _ if re.fullmatch(r"[A-Za-z]+|[0-9]+(\.[0-9]+)+", value):
                    _identifier(value)
                    return cls(kind, value)
                case "fixed", _:
                    return cls(kind, read_username(value.encode(), Caps()))
        except (ValueError, IdentityDenied):
            pass
        raise ValueError(f"{text!r} is no place for a name, expected {cls.EXPECTED}")

    def names(self, certificate: PeerCertificate) -> list[str]:
        """Every name of that kind in the certificate, each once. Raises what is in `UNREADABLE`."""
        if self.kind == "fixed":
            return [self.value]
        parsed = x509.load_der_x509_certificate(certificate.der)
        if self.kind == "subject":
            found = parsed.subject.get_attributes_for_oid(_identifier(self.value))
            return list(dict.fromkeys(attribute.value for attribute in found if isinstance(attribute.value, str)))
        try:
            names = parsed.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
        except x509.ExtensionNotFound:
            return []
        return list(dict.fromkeys(_ALTERNATIVE_NAMES[self.kind](names)))


def _identifier(attribute: str) -> x509.ObjectIdentifier:
    """The OID of an attribute of a subject. Raises ValueError for a name that RFC 4514 does not have."""
    (parsed,) = x509.Name.from_rfc4514_string(f"{attribute}=x")
    return parsed.oid


@implementer(IAuthenticator)
class CertificateIdentity:
    """`[certificate-identity NAME]`: the users of some certificates. Several are asked in their order.

    `certificates` says which are meant, `name_from` where the name is, `groups` and `roles` what everyone of them has.
    The realm is the certificate's issuer unless one is given. Raises ConfigurationError.
    """

    methods = frozenset({Method.CERTIFICATE})
    cacheable = False  # looking again costs less than remembering

    def __init__(
        self,
        name: str,
        *,
        certificates: Iterable[CertificateRule],
        name_from: NameSource,
        groups: Iterable[str] | None = None,
        roles: Iterable[str] | None = None,
        realm: str | None = None,
        trace: Callable[[str], None] = lambda sentence: None,
    ) -> None:
        self.name = name
        self.trace = trace
        self._rules = tuple(certificates)
        self._source = name_from
        self._groups, self._roles = frozenset(groups or ()), frozenset(roles or ())
        self._realm = realm
        if not self._rules:
            raise ConfigurationError("certificates: found none, expected at least one condition on certificates")

    async def verify(self, credential: Credential, presenter: Presenter) -> Verified:
        """Who the presenter's certificate says it is; TLS has verified the certificate. See `IAuthenticator`."""
        certificate = presenter.certificate
        if certificate is None:
            raise IdentityUnknown(f"[{self.name}] the peer showed no certificate, expected one")
        matching = next((rule for rule in self._rules if rule.matches(certificate)), None)
        if matching is None:
            self.trace(f"{certificate.subject} is none of {', '.join(map(str, self._rules))}")
            raise IdentityUnknown(f"[{self.name}] {certificate.subject} is none of the certificates that are meant")
        self.trace(f"{certificate.subject} matches {matching}")
        name = self._name(certificate)
        self.trace(f"its name, from {self._source}, is {name!r}")
        return Verified(
            name, self._realm or certificate.issuer, self._groups, self._roles, None, certificate.not_after.timestamp()
        )

    def close(self) -> None:
        """Nothing is held."""

    def _name(self, certificate: PeerCertificate) -> str:
        """The one name at the configured place: of several, or of a pattern for several, none is the user's."""
        try:
            names = self._source.names(certificate)
        except UNREADABLE:
            raise IdentityDenied(f"[{self.name}] {certificate.subject} cannot be read for its names") from None
        if len(names) != 1:
            found = f"{len(names)} names ({', '.join(map(repr, names[:5]))})" if names else "no name"
            raise IdentityDenied(f"[{self.name}] {certificate.subject} has {found} at {self._source}, expected one")
        if self._source.kind == "dns" and "*" in names[0]:
            raise IdentityDenied(f"[{self.name}] {certificate.subject} is for {names[0]!r}, expected one name in full")
        try:
            return read_username(names[0].encode(), Caps())
        except IdentityDenied as error:
            raise IdentityDenied(f"[{self.name}] the name in {certificate.subject} is of no use: {error}") from None
