"""[credential NAME]: what the node presents to a peer, its options and what must go together in it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from ..identity.credentials import Requirement
from ..identity.kerberos.tokens import Form
from . import values
from .ini import Entry
from .language import Option, SectionKind

_TYPES = ("username", "passcode", "kerberos", "saml", "jwt", "bearer", "client-credentials")
_FILES = "a file that its owner alone may read (chmod 600), or credential:NAME for one that systemd passes on"

CREDENTIAL = SectionKind("credential", values.NAME,
                         "Who the node says that it is to a peer, for the option presents of a [peer].", (
    Option("type", values.choice(_TYPES), None,
           "What is presented: a user name, with a passcode, a Kerberos ticket, a SAML assertion, a JSON Web Token, an "
           "access token of the bearer extension; or such a token that an authorization server gives us (OAuth client "
           "credentials). A passcode or token is read anew for each association, so that it may be renewed at any "
           "time.", "passcode"),
    Option("answer", values.choice({each.value: each for each in (Requirement.REQUIRE, Requirement.PREFER)}), "require",
           "Whether the peer must say that it verified this, or the association is aborted. prefer goes on with a line "
           "in the log; an answer that is false ends the association anyway."),
    Option("user", values.WORD, "",
           "The user name. With kerberos the principal, where there are tickets of several.", "archive"),
    Option("passcode-file", values.PASSPHRASE, "", f"Where the passcode is, in the first line of {_FILES}.",
           "credential:pacs"),
    Option("token-file", values.PASSPHRASE, "",
           f"With saml, jwt and bearer: where it is, a token in the first line, of {_FILES}.", "pacs.token"),
    Option("variable", values.VARIABLE, "",
           "In place of the file: the variable of the environment that holds passcode, assertion or token.",
           "PACS_PASSCODE"),
    Option("service", values.WORD, "", "With kerberos: the peer's principal.", "dicom/pacs.hospital.example"),
    Option("client-keytab", values.PATH, "",
           "With kerberos: the key of the user; without it and credential-cache the cache of the process is used.",
           "archive.keytab"),
    Option("credential-cache", values.PATH, "", "With kerberos: in place of client-keytab, a file that something else "
           "keeps filled.", "archive.ccache"),
    Option("form", values.choice({each.value: each for each in Form}), "gss",
           "With kerberos: how the ticket is framed; ap-req alone is in PS3.7."),
    Option("url", values.HTTPS_URL, "", "With client-credentials: the token endpoint of the authorization server.",
           "https://login.hospital.example/token"),
    Option("trust-roots", values.PATH, "", "The authorities that its certificate comes from, as PEM.",
           "pki/hospital-ca.pem"),
    Option("client-id", values.WORD, "", "Who this node is to it.", "dimsetls"),
    Option("client-secret", values.PASSPHRASE, "", "Where our secret is: a file (chmod 600), or credential:NAME.",
           "credential:login"),
    Option("certificate", values.PATH, "", "Our certificate for it, as PEM; in place of the secret or beside it.",
           "pki/client.pem"),
    Option("private-key", values.PATH, "", "The key of the certificate, as PEM (chmod 600).", "pki/client.key"),
    Option("private-key-passphrase", values.PASSPHRASE, "", "Where the passphrase of an encrypted key is.",
           "credential:client-key"),
    Option("scope", values.WORD, "", "The scope that is asked for.", "dicom.store"),
    Option("resource", values.WORD, "", "For whom the token is, as a URI (RFC 8707).", "https://pacs.hospital.example"),
    Option("audience", values.WORD, "", "The same for servers that do not know resource.", "pacs"),
    Option("request-deadline", values.duration("100ms", "1m"), "5s", "How long one request to it may take in all."),
))

_PLACES = ("passcode-file", "token-file", "variable")
_SERVER = ("client-secret", "certificate", "private-key", "private-key-passphrase", "scope", "resource", "audience",
           "request-deadline")  # fmt: skip
_NEEDED: Mapping[str, tuple[str, ...]] = {
    "username": ("user",), "passcode": ("user",), "kerberos": ("service",),
    "client-credentials": ("url", "trust-roots", "client-id"),
}  # fmt: skip
_POSSIBLE: Mapping[str, tuple[str, ...]] = {
    "passcode": ("passcode-file", "variable"),
    "kerberos": ("user", "client-keytab", "credential-cache", "form"),
    "saml": ("token-file", "variable"), "jwt": ("token-file", "variable"), "bearer": ("token-file", "variable"),
    "client-credentials": _SERVER,
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Credential:
    """[credential NAME]; no secret is in it, only where it is."""

    name: str
    type: str
    answer: Requirement
    user: str | None
    passcode_file: str | None
    token_file: str | None
    variable: str | None
    service: str | None
    client_keytab: Path | None
    credential_cache: Path | None
    form: Form
    url: str | None
    trust_roots: Path | None
    client_id: str | None
    client_secret: str | None
    certificate: Path | None
    private_key: Path | None
    private_key_passphrase: str | None
    scope: str | None
    resource: str | None
    audience: str | None
    request_deadline: float

    @property
    def is_token(self) -> bool:
        """Whether it is an access token, for which a peer may have a user identity type of its own."""
        return self.type in ("bearer", "client-credentials")

    @property
    def is_complete(self) -> bool:
        """Whether all is there that the type needs, and nothing twice."""
        places = [place for place in _PLACES if place in _POSSIBLE.get(self.type, ())]
        return all(self._has(option) for option in _NEEDED.get(self.type, ())) and (
            not places or sum(map(self._has, places)) == 1
        )

    def _has(self, option: str) -> bool:
        return getattr(self, option.replace("-", "_")) is not None

    def contradictions(self, given: Mapping[str, Entry]) -> Iterator[tuple[str, str]]:
        """The option to change, and what is wrong with it; `given` are those in the file."""
        needed, possible = _NEEDED.get(self.type, ()), _POSSIBLE.get(self.type, ())
        for option in needed:
            if option not in given:
                yield option, f"found nothing, expected it, as type is {self.type}"
        for option in given:
            if option not in ("type", "answer", *needed, *possible):
                goes = ", ".join((*needed, *possible))
                yield option, f"found besides type = {self.type}, expected only what goes with it: {goes}"
        places = [place for place in _PLACES if place in possible]
        found = [place for place in places if place in given]
        if places and len(found) != 1:
            yield places[0], f"found {' and '.join(found) or 'nothing'}, expected one of {' and '.join(places)}"
