"""What a [credential] section presents: read, or asked for, anew for each association."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from twisted.internet.threads import deferToThread

from ..errors import ConfigurationError
from ..identity.credentials import Credential as Identity
from ..identity.credentials import (
    JSONWebToken,
    KerberosTicket,
    Requirement,
    SAMLAssertion,
    Secret,
    Username,
    UsernameAndPasscode,
)
from ..identity.oauth.sources import TokenFile, TokenSource, TokenVariable
from ..identity.presenting import Presentation
from ..tls.passphrase import Passphrase
from .credentials import Credential

if TYPE_CHECKING:
    from ..identity.kerberos.client import KerberosUser
    from ..identity.oauth.client_credentials import ClientCredentials


class Presenter(Protocol):
    """What can be presented to any number of peers; `private_type` is one's own type for an access token."""

    async def present(self, private_type: int | None) -> Presentation: ...

    def refused(self) -> None: ...

    def close(self) -> None: ...


@dataclass(frozen=True, slots=True)
class Presents:
    """What is presented to one peer (see `IdentitySource`)."""

    presenter: Presenter
    private_type: int | None = None

    async def presentation(self) -> Presentation:
        return await self.presenter.present(self.private_type)

    def refused(self) -> None:
        self.presenter.refused()


def presenter(section: Credential, environment: Mapping[str, str] = os.environ) -> Presenter:
    """What presents as the section says. Raises ConfigurationError, each problem behind the option that it is with."""
    match section.type:
        case "kerberos":
            return Tickets(_kerberos_user(section), section.answer)
        case "bearer":
            return _Token(_token_source(section, environment), section.answer)
        case "client-credentials":
            return _Token(_client_credentials(section), section.answer)
    return _Read(_reader(section, environment), section.answer)


class _Read:
    """A user name, or what is in a file or a variable."""

    def __init__(self, read: Callable[[], Identity], requirement: Requirement) -> None:
        read().wipe()  # what cannot be used is said before it is needed
        self._read, self._requirement = read, requirement

    async def present(self, private_type: int | None) -> Presentation:
        return Presentation(self._read(), requirement=self._requirement)

    def refused(self) -> None:
        """It is read anew anyway."""

    def close(self) -> None:
        """Nothing is held."""


class _Token:
    """An access token."""

    def __init__(self, source: TokenSource, requirement: Requirement) -> None:
        self._source, self._requirement = source, requirement

    async def present(self, private_type: int | None) -> Presentation:
        token = await self._source.token()
        return Presentation(access_token=token, requirement=self._requirement, private_type=private_type)

    def refused(self) -> None:
        self._source.forget()

    def close(self) -> None:
        self._source.close()


class Tickets:
    """A Kerberos ticket for each association, for it can be used once; who answers must prove to be the service."""

    def __init__(self, user: KerberosUser, requirement: Requirement) -> None:
        self._user, self._requirement = user, requirement

    async def present(self, private_type: int | None) -> Presentation:
        exchange = self._user.exchange()
        ticket = KerberosTicket(await deferToThread(exchange.token))
        return Presentation(ticket, requirement=self._requirement, verify_response=exchange.verify_response)

    def refused(self) -> None:
        """The next ticket is another one."""

    def close(self) -> None:
        """Nothing is held."""


def _kerberos_user(section: Credential) -> KerberosUser:
    from ..identity.kerberos.client import KerberosUser  # libkrb5: for whom a section asks for it

    assert section.service is not None
    return KerberosUser(
        section.service, credential_cache=section.credential_cache, client_keytab=section.client_keytab,
        principal=section.user, form=section.form,
    )  # fmt: skip


def _reader(section: Credential, environment: Mapping[str, str]) -> Callable[[], Identity]:
    user = section.user or ""
    if section.type == "username":
        return lambda: Username(user)
    is_whole = section.type == "saml"  # an assertion has lines
    option, path = ("passcode-file", section.passcode_file) if section.type == "passcode" else (
        "token-file", section.token_file)

    def read() -> Secret:
        if section.variable is not None:
            return Secret(_variable(section.variable, environment))
        try:
            place = Passphrase.parse(path or "")
            return Secret(place.content() if is_whole else place())
        except ConfigurationError as error:
            raise ConfigurationError(*(f"{option}: {problem}" for problem in error.problems)) from None

    match section.type:
        case "passcode":
            return lambda: UsernameAndPasscode(user, read())
        case "saml":
            return lambda: SAMLAssertion(read())
    return lambda: JSONWebToken(read())


def _token_source(section: Credential, environment: Mapping[str, str]) -> TokenSource:
    if section.variable is not None:
        _variable(section.variable, environment)
        return TokenVariable(section.variable, environment)
    try:
        place = Passphrase.parse(section.token_file or "")
        place()
    except ConfigurationError as error:
        raise ConfigurationError(*(f"token-file: {problem}" for problem in error.problems)) from None
    return TokenFile(place)


def _variable(name: str, environment: Mapping[str, str]) -> bytes:
    if found := environment.get(name):
        return os.fsencode(found)
    raise ConfigurationError(f"variable: found no environment variable {name}, or an empty one, expected a secret")


def _client_credentials(section: Credential) -> ClientCredentials:
    from ..identity.oauth.client_credentials import ClientCredentials  # HTTP: the same

    assert section.url is not None
    assert section.trust_roots is not None
    assert section.client_id is not None
    return ClientCredentials(
        url=section.url, trust_roots=section.trust_roots, client_id=section.client_id,
        client_secret=section.client_secret, certificate=section.certificate, private_key=section.private_key,
        private_key_passphrase=section.private_key_passphrase, scope=section.scope, resource=section.resource,
        audience=section.audience, request_deadline=section.request_deadline,
    )  # fmt: skip
