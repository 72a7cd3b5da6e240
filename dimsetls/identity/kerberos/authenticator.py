"""Back end `[kerberos NAME]`: Kerberos tokens for a service whose key is in a keytab (RFC 4120 §3.2, PS3.15 B.6).

It asks no KDC: what the KDC says is in the ticket, encrypted for this service. A token is good for one use, so every
form writes to one replay cache. The answer is AP-REP in the form that came, made with the session key.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from twisted.internet.interfaces import IReactorFromThreads
from zope.interface import implementer

from ...errors import ConfigurationError, IdentityDenied, IdentityError, IdentityUnavailable, IdentityUnknown
from ..credentials import Caps, Credential, KerberosTicket, Method, read_username
from ..interfaces import IAuthenticator, Presenter, Verified
from ..workers import Workers
from . import krb5
from .krb5 import Accepted, Code, Krb5Error
from .tokens import ChannelBinding, Form, Malformed, Token, read

if TYPE_CHECKING:
    from . import gss

BINDING_TYPE = b"tls-exporter:"
"""What stands in front of the octets of a channel binding: its type (RFC 5056 §2.1, RFC 9266)."""

GSS_IS_MISSING = "gssapi is not installed: pip install 'dimsetls[kerberos]'"

_HINTS = {
    Code.SKEW: "compare the clocks of this machine, the user's and the KDC's",
    Code.TICKET_NOT_YET_VALID: "compare the clocks of this machine, the user's and the KDC's",
    Code.TICKET_EXPIRED: "the user needs a new one",
    Code.BAD_INTEGRITY: "it was altered, or the KDC has another key for this service than the keytab",
    Code.KEY_VERSION: "the key was changed; the keytab needs the new one, or the user a new ticket",
    Code.REPEAT: "a token is good for one use",
}


@implementer(IAuthenticator)
class Kerberos:
    """Tokens for one service of one keytab. ConfigurationError at construction if they could not be checked.

    `service` is the principal, by default the only dicom/… of the keytab. `realms` are those whose users are accepted,
    by default the service's. Users of `strip_realms` are called by their name alone. `replay_cache` is a file, by
    default what krb5.conf says. Where gssapi is missing, only `forms` that do without it may be given.
    """

    methods = frozenset({Method.KERBEROS})
    cacheable = False  # a token is good for one use

    def __init__(
        self, *, name: str, keytab: Path, service: str | None = None, realms: Iterable[str] | None = None,
        strip_realms: Iterable[str] | None = None, allow_service_principals: bool = False,
        channel_binding: ChannelBinding = ChannelBinding.OPTIONAL, forms: Iterable[Form] | None = None,
        replay_cache: Path | None = None, threads: int = 4, waiting: int = 64,
        reactor: IReactorFromThreads | None = None, trace: Callable[[str], None] = lambda sentence: None,
    ) -> None:  # fmt: skip
        self.name = name
        self.trace = trace
        self._keytab, self._replay_cache, self._binding = keytab, replay_cache, channel_binding
        self._allow_service_principals = allow_service_principals
        self._forms = frozenset(forms if forms is not None else Form)
        problems = [*_replay_cache_problems(replay_cache)]
        if channel_binding is ChannelBinding.REQUIRED:
            self._forms -= {Form.AP_REQ}
        if not self._forms:
            problems.append("forms: ap-req alone cannot be bound to a connection, which channel-binding requires; "
                            "expected gss, spnego or both")
        try:
            self._service = _service(keytab, service)
            self._gss = _acceptor(keytab, self._service, replay_cache) if self._forms - {Form.AP_REQ} else None
        except ConfigurationError as error:
            raise ConfigurationError(*problems, *error.problems) from None
        self._realms = frozenset(realms or [self._service.rpartition("@")[2]])
        self._strip_realms = frozenset(strip_realms or ())
        problems += [
            f"strip-realms: {realm} is none of the accepted realms ({_listed(self._realms)}), expected one of them"
            for realm in sorted(self._strip_realms - self._realms)
        ]
        if problems:
            raise ConfigurationError(*problems)
        self._reactor = reactor if reactor is not None else _default_reactor()
        self._workers = Workers(name, self._reactor, threads=threads, waiting=waiting)

    async def verify(self, credential: Credential, presenter: Presenter) -> Verified:
        if not isinstance(credential, KerberosTicket):
            raise IdentityDenied(f"[{self.name}] got {credential.method.value}, expected a Kerberos token")
        return await self._workers.run(lambda: self._check(credential, presenter.channel_binding))

    def close(self) -> None:
        self._workers.close()

    # In a thread: it reads and writes files ----------------------------------------------------------------------

    def _check(self, credential: KerberosTicket, exporter: bytes | None) -> Verified:
        try:
            token = read(credential.token.reveal())
        except Malformed as error:
            raise IdentityDenied(f"[{self.name}] expected a Kerberos token and got {error}") from None
        self._say(f"the token is an AP-REQ in the form {token.form.value}, {len(credential.token)} octets")
        binding = self._judge_form(token, exporter)
        try:
            accepted = self._accept(token, binding)
        except Krb5Error as error:
            raise self._refusal(token, error) from None
        until = datetime.fromtimestamp(accepted.until, UTC)
        self._say(f"it is good for {self._service}, of {accepted.client!r}, until {until:%Y-%m-%d %H:%M:%S}Z, "
                  f"{'bound' if accepted.is_bound else 'not bound'} to this connection")
        if self._binding is ChannelBinding.REQUIRED and not accepted.is_bound:
            raise IdentityDenied(f"[{self.name}] the token of {accepted.client!r} is not bound to this connection, "
                                 "expected channel binding by tls-exporter")
        name, realm = self._name(accepted.client)
        answer = token.answer(accepted.answer)
        self._say(f"the user is {name!r} of {realm}, the answer has {len(answer)} octets")
        return Verified(name, realm, until=accepted.until, server_response=answer)

    def _judge_form(self, token: Token, exporter: bytes | None) -> bytes | None:
        """The channel binding that is expected, if there is one."""
        if token.form not in self._forms:
            why = " as channel binding is required" if self._binding is ChannelBinding.REQUIRED else ""
            raise IdentityDenied(f"[{self.name}] the token has the form {token.form.value}, accepted are "
                                 f"{', '.join(form.value for form in Form if form in self._forms)}{why}")
        if self._binding is ChannelBinding.REQUIRED and exporter is None:
            raise IdentityDenied(f"[{self.name}] channel binding is required, and there is no TLS to bind a token to")
        if self._binding is ChannelBinding.NONE or exporter is None:
            return None
        return BINDING_TYPE + exporter

    def _accept(self, token: Token, binding: bytes | None) -> Accepted:
        if token.form is Form.AP_REQ:
            return krb5.accept(token.octets, self._keytab, self._service, self._replay_cache)
        assert self._gss is not None
        return self._gss.accept(token.octets, binding)

    def _refusal(self, token: Token, error: Krb5Error) -> IdentityError:
        """What an error of libkrb5 means: of the token, or of this machine, which then cannot tell."""
        text = _printable(str(error))
        try:
            _service(self._keytab, self._service)
        except ConfigurationError as trouble:
            return IdentityUnavailable(f"[{self.name}] no token can be checked: {trouble.problems[0]}")
        if krb5.is_local(error.code):
            return IdentityUnavailable(f"[{self.name}] no token can be checked, libkrb5 says: {text}")
        meant = krb5.service_of(token.ap_req) if error.code in _NOT_DECRYPTED else self._service
        if meant != self._service:
            return IdentityUnknown(f"[{self.name}] the ticket is for {_printable(meant)}, expected {self._service}")
        if error.code in _HINTS:
            text += f" ({_HINTS[Code(error.code)]})"
        is_alarming = error.code == Code.REPEAT or error.is_other_channel
        return IdentityDenied(f"[{self.name}] the token for {self._service} is refused: {text}",
                              is_security_alert=is_alarming)

    def _name(self, client: str) -> tuple[str, str]:
        """The user's name and realm, by the rules for both."""
        principal, _, realm = client.rpartition("@")
        if "\\" in client:
            raise IdentityDenied(f"[{self.name}] the principal {client!r} has characters that are special in Kerberos, "
                                 "expected a plain name")
        if realm not in self._realms:
            raise IdentityDenied(f"[{self.name}] {client!r} is of realm {realm!r}, accepted are "
                                 f"{_listed(self._realms)}")
        if principal == _ANONYMOUS:
            raise IdentityDenied(f"[{self.name}] the token is of nobody ({_ANONYMOUS}), expected a user's")
        if "/" in principal and not self._allow_service_principals:
            raise IdentityDenied(f"[{self.name}] {client!r} is a service, or a user with an instance, and not allowed "
                                 "here; expected a user")
        try:
            return read_username((principal if realm in self._strip_realms else client).encode(), Caps()), realm
        except IdentityDenied as error:
            raise IdentityDenied(f"[{self.name}] the principal {client!r} is of no use: {error}") from None

    def _say(self, sentence: str) -> None:
        self._reactor.callFromThread(self.trace, f"[{self.name}] {sentence}")


_NOT_DECRYPTED = frozenset({Code.BAD_INTEGRITY, Code.NOT_US, Code.KEY_VERSION, Code.NO_KEY})
_ANONYMOUS = "WELLKNOWN/ANONYMOUS"  # RFC 8062 §3
_LONGEST_TEXT = 300


def _service(keytab: Path, service: str | None) -> str:
    """The full principal whose key is to be used. Raises ConfigurationError."""
    if unusable := krb5.keytab_problems(keytab):
        raise ConfigurationError(*(f"keytab: {sentence}" for sentence in unusable))
    held = krb5.principals(keytab)
    if service is None:
        dicom = [name for name in held if name.startswith("dicom/")]
        if len(dicom) == 1:
            return dicom[0]
        raise ConfigurationError(f"service: {keytab} holds {', '.join(held)}; expected one dicom/…, or one of these "
                                 "as service")
    try:
        wanted = krb5.full_name(service)
    except Krb5Error as error:
        raise ConfigurationError(f"service: {service!r} is no principal ({error}), expected one such as "
                                 "dicom/pacs.example.org@EXAMPLE.ORG") from None
    if wanted not in held:
        raise ConfigurationError(f"service: {wanted} has no key in {keytab}, which holds {', '.join(held)}; expected "
                                 "one of these, or a keytab of this service")
    return wanted


def _acceptor(keytab: Path, service: str, replay_cache: Path | None) -> gss.Acceptor:
    """What checks the forms of GSS-API. Raises ConfigurationError."""
    try:
        from .gss import Acceptor

        return Acceptor(keytab, service, replay_cache)
    except ImportError:
        raise ConfigurationError(f"forms: {GSS_IS_MISSING}; without it only forms = ap-req is possible") from None
    except Krb5Error as error:
        raise ConfigurationError(f"keytab: GSS-API cannot use {keytab} for {service}: {error}") from None


def _replay_cache_problems(file: Path | None) -> Iterable[str]:
    if file is None:
        return
    if file.exists():
        if not file.is_file() or not os.access(file, os.R_OK | os.W_OK):
            yield f"replay-cache: {file} is not a file that can be read and written, expected one or none yet"
    elif not file.parent.is_dir() or not os.access(file.parent, os.W_OK | os.X_OK):
        yield f"replay-cache: {file.parent} is not a directory that can be written to, expected one for {file.name}"


def _listed(names: Iterable[str]) -> str:
    return ", ".join(sorted(names))


def _printable(text: str) -> str:
    """The library's sentence as a log may have it: there are names in it that came with the token."""
    return "".join(each if each.isprintable() else "?" for each in text[:_LONGEST_TEXT])


def _default_reactor() -> IReactorFromThreads:
    from twisted.internet import reactor  # here, for importing it installs it

    return IReactorFromThreads(reactor)
