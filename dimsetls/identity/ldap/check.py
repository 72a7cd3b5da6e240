"""One user at one directory server: found, proved by a bind, and read for the name and the groups. Runs in a thread."""

from __future__ import annotations

import re
import ssl
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from ...errors import IdentityDenied, IdentityUnavailable, IdentityUnknown
from ..credentials import Caps, Secret, read_username
from ..interfaces import Verified
from .connection import SUCCESS, Answer, DirectoryConnection, DirectoryServer, Entry, ServerFailed, is_filter
from .names import escape_in_filter, escape_in_name, fill, name_below, parse_name

REFERRAL, NO_SUCH_OBJECT, INVALID_CREDENTIALS = 10, 32, 49
"""Result codes (RFC 4511 Appendix A)."""

_REFUSALS = {
    19: "the directory takes no passcode for it at present (constraintViolation)",
    NO_SUCH_OBJECT: "there is no such entry",
    48: "the entry has no passcode to bind with (inappropriateAuthentication)",
    INVALID_CREDENTIALS: "the passcode is wrong, or the entry has none or does not exist (invalidCredentials)",
    50: "the entry may not bind (insufficientAccessRights)",
    53: "the directory is unwilling to let it bind (unwillingToPerform)",
}
"""Results of a bind that say something of the entry. All others are trouble with the server."""

_HINTS = {
    REFERRAL: "; referrals are not followed",
    NO_SUCH_OBJECT: "; there is no such entry to be seen",
}

_POLICY_ERRORS = {
    0: "the passcode has expired",
    1: "the account is locked",
    2: "the passcode was reset and must be changed first",
}
"""Of the password policy control (draft-behera-ldap-password-policy §6.2); the rest are not for a bind."""

_NO_SUCH_USER = "525"
_WINDOWS_ERRORS = {
    _NO_SUCH_USER: "the directory has no such user",
    "52e": "the passcode is wrong",
    "530": "the user may not log on at this time",
    "531": "the user may not log on from this computer",
    "532": "the passcode has expired",
    "533": "the account is disabled",
    "701": "the account has expired",
    "773": "the passcode was reset and must be changed first",
    "775": "the account is locked",
}
"""Active Directory answers invalidCredentials to all of these, and says in the text which one, in hexadecimal."""

_WINDOWS_ERROR = re.compile(r"\bdata ([0-9a-f]{3,8})\b")
_ATTRIBUTE = re.compile(r"[A-Za-z][A-Za-z0-9-]*|[0-9]+(\.[0-9]+)+")


@dataclass(frozen=True, slots=True)
class Layout:
    """Where a directory has its users and groups; the fields are the options of `[ldap NAME]`."""

    section: str
    realm: str
    dn_template: str
    search_base: str
    search_filter: str
    service_dn: str
    name_attribute: str
    group_base: str
    group_attribute: str
    group_filter: str
    required_group: str

    def problems(self) -> Iterator[str]:
        """What can be judged without the directory, a sentence each."""
        if bool(self.dn_template) == bool(self.search_base):
            found = "both" if self.dn_template else "neither"
            yield (f"search-base, dn-template: found {found}, expected search-base for finding users with a service "
                   "account, or dn-template for binding as the user at once")
        if self.search_base and not self.service_dn:
            yield "service-dn: found none, expected the account that searches below search-base"
        if self.dn_template and self.service_dn:
            yield f"service-dn: found {self.service_dn!r}, expected none, as dn-template needs no search"
        for option, value in (
            ("service-dn", self.service_dn), ("search-base", self.search_base), ("dn-template", self.dn_template),
            ("group-base", self.group_base),
        ):
            if value and not _is_name(value):
                yield f"{option}: found {value!r}, expected a distinguished name such as ou=people,dc=example,dc=org"
        if self.dn_template and "{user}" not in self.dn_template:
            yield f"dn-template: found {self.dn_template!r}, expected {{user}} in it, where the user's name goes"
        for option, value, places in (
            ("search-filter", self.search_filter, ("{user}",)), ("group-filter", self.group_filter, ("{dn}", "{user}")),
        ):
            if value and not (any(place in value for place in places) and is_filter(_sample(value))):
                yield f"{option}: found {value!r}, expected a search filter with {' or '.join(places)} in it"
        for option, value in (("name-attribute", self.name_attribute), ("group-attribute", self.group_attribute)):
            if not _ATTRIBUTE.fullmatch(value) and (value or option == "name-attribute"):
                yield f"{option}: found {value!r}, expected the name of an attribute"
        for option, value in (("group-filter", self.group_filter), ("required-group", self.required_group)):
            if value and not self.group_base:
                yield f"{option}: found {value!r} without group-base, expected the place below which groups count"


def _is_name(text: str) -> bool:
    try:
        parse_name(text)
    except ValueError:
        return False
    return True


def _sample(filter_: str) -> str:
    return fill(filter_, escape_in_filter, user="a", dn="uid=a")


class DirectoryCheck:
    """A check; `run` blocks, and `abort` ends it from the reactor's thread.

    `run` raises IdentityUnknown, IdentityDenied, IdentityUnavailable if no server could do better, or ServerFailed.
    """

    def __init__(
        self,
        layout: Layout,
        server: DirectoryServer,
        context: ssl.SSLContext,
        wait: float,
        service_passcode: Secret | None,
        tell: Callable[[str], None],
    ) -> None:
        self.has_begun = False
        self._layout = layout
        self._server = server
        self._context = context
        self._wait = wait
        self._service_passcode = service_passcode
        self._tell = tell
        self._connections: list[DirectoryConnection] = []
        self._is_aborted = False

    def run(self, user: str, passcode: Secret | None) -> Verified:
        """Check a passcode; without one, only look the user up."""
        self.has_begun = True
        self._tell(f"{self._server} is asked")
        try:
            if self._service_passcode is None:
                assert passcode is not None, "a look-up needs a service account"
                reader, entry = self._bind_by_template(user, passcode)
            else:
                reader, entry = self._search_then_bind(user, self._service_passcode, passcode)
            name = self._name_in(entry)
            groups = self._groups(reader, entry, name)
            self._judge_groups(entry, groups)
            return Verified(name, self._layout.realm, groups)
        finally:
            for connection in self._connections:
                connection.close()

    def abort(self) -> None:
        self._is_aborted = True
        for connection in self._connections:
            connection.abort()

    # The two ways to the entry ---------------------------------------------------------------------------------------

    def _bind_by_template(self, user: str, passcode: Secret) -> tuple[DirectoryConnection, Entry]:
        name = fill(self._layout.dn_template, escape_in_name, user=user)
        own = self._connect()
        self._prove(own, name, passcode)
        answer = own.search(name, "(objectClass=*)", self._attributes, whole_tree=False)
        if answer.code != SUCCESS or len(answer.entries) != 1:
            raise IdentityUnavailable(
                f"[{self._layout.section}] {name} is bound but may not read its own entry on {self._server}, which "
                f"answers {answer}; expected the right to read {', '.join(self._attributes)}"
            )
        return own, answer.entries[0]

    def _search_then_bind(
        self, user: str, service_passcode: Secret, passcode: Secret | None
    ) -> tuple[DirectoryConnection, Entry]:
        service = self._connect()
        self._bind_service(service, service_passcode)
        entry = self._find(service, user)
        if passcode is not None:
            self._prove(self._connect(), entry.name, passcode)  # a bind changes who a connection is, so not on that one
        return service, entry

    def _connect(self) -> DirectoryConnection:
        connection = DirectoryConnection(self._server, self._context, self._wait)
        self._connections.append(connection)
        if self._is_aborted:
            connection.abort()
        self._tell(f"the connection has {connection.open()}")
        return connection

    def _bind_service(self, connection: DirectoryConnection, passcode: Secret) -> None:
        name = self._layout.service_dn
        answer = connection.bind(name, passcode)
        if refusal := _refusal(answer):
            raise IdentityUnavailable(
                f"[{self._layout.section}] the service account {name} cannot bind at {self._server}: {refusal}; "
                "nobody can be checked until service-dn and service-passcode are right"
            )
        self._expect_success(answer, f"the bind of the service account {name}")
        self._tell(f"the service account {name} is bound")

    def _find(self, service: DirectoryConnection, user: str) -> Entry:
        layout = self._layout
        filter_ = fill(layout.search_filter, escape_in_filter, user=user)
        answer = service.search(layout.search_base, filter_, self._attributes, limit=2)
        self._tell(f"the search below {layout.search_base} with {filter_} answers {answer}, with "
                   f"{', '.join(entry.name for entry in answer.entries) or 'no entry'}")
        if len(answer.entries) > 1:
            raise IdentityDenied(
                f"[{layout.section}] the user name {user!r} belongs to {answer.entries[0].name} and "
                f"{answer.entries[1].name} at least, expected exactly one entry"
            )
        self._expect_success(answer, f"the search below {layout.search_base}")
        if not answer.entries:
            raise IdentityUnknown(f"[{layout.section}] there is no user {user!r} below {layout.search_base}")
        return answer.entries[0]

    def _prove(self, connection: DirectoryConnection, name: str, passcode: Secret) -> None:
        if not _is_utf8(passcode.reveal()):  # RFC 4511 §4.2; some older software sends Latin-1
            raise IdentityDenied(f"[{self._layout.section}] {name}: the passcode is not UTF-8, as directories keep it")
        answer = connection.bind(name, passcode)
        self._tell(f"the bind of {name} answers {answer}")
        refusal = _refusal(answer)
        if refusal is None:
            return self._expect_success(answer, f"the bind of {name}")
        sentence = f"[{self._layout.section}] {name}: {refusal}"
        if answer.code == NO_SUCH_OBJECT or _windows_error(answer) == _NO_SUCH_USER:
            raise IdentityUnknown(sentence)
        raise IdentityDenied(sentence)

    def _expect_success(self, answer: Answer, what: str) -> None:
        if answer.code != SUCCESS:
            raise ServerFailed(f"{self._server} answers {what} with {answer}{_HINTS.get(answer.code, '')}")

    # What the entry says -----------------------------------------------------------------------------------------

    @property
    def _attributes(self) -> tuple[str, ...]:
        layout = self._layout
        wanted = (layout.name_attribute, layout.group_attribute if layout.group_base else "")
        return tuple(filter(None, wanted))

    def _name_in(self, entry: Entry) -> str:
        attribute = self._layout.name_attribute
        values = entry.values.get(attribute.lower(), ())
        if len(values) != 1:
            raise IdentityUnavailable(
                f"[{self._layout.section}] {entry.name} shows {len(values)} values of {attribute}, expected one, as "
                "name-attribute says who the user is"
            )
        try:
            name = read_username(values[0].encode(), Caps())
        except IdentityDenied as error:
            sentence = f"[{self._layout.section}] the {attribute} of {entry.name} is no name to use: {error}"
            raise IdentityDenied(sentence) from None
        self._tell(f"its {attribute} is {name!r}")
        return name

    def _groups(self, reader: DirectoryConnection, entry: Entry, user: str) -> frozenset[str]:
        """The names of the user's groups below `group-base`; elsewhere anyone might make one of the same name."""
        layout = self._layout
        if not layout.group_base:
            return frozenset()
        names = [*entry.values.get(layout.group_attribute.lower(), ())]
        if layout.group_filter:
            filter_ = fill(layout.group_filter, escape_in_filter, user=user, dn=entry.name)
            answer = reader.search(layout.group_base, filter_)
            self._expect_success(answer, f"the search for groups below {layout.group_base}")
            names += [each.name for each in answer.entries]
        groups = frozenset(filter(None, (name_below(name, layout.group_base) for name in names)))
        self._tell(f"its groups below {layout.group_base} are {', '.join(sorted(groups)) or 'none'}")
        return groups

    def _judge_groups(self, entry: Entry, groups: frozenset[str]) -> None:
        required = self._layout.required_group
        if required and required.casefold() not in {group.casefold() for group in groups}:
            raise IdentityDenied(f"[{self._layout.section}] {entry.name} is not in the group {required}, as required")


def _is_utf8(octets: bytes) -> bool:
    try:
        octets.decode()
    except UnicodeDecodeError:
        return False
    return True


def _refusal(answer: Answer) -> str | None:
    """What a bind's answer says of the entry, if it refuses the entry: a reset passcode comes with success."""
    if answer.policy_error in _POLICY_ERRORS:
        return _POLICY_ERRORS[answer.policy_error]
    if code := _windows_error(answer):
        return _WINDOWS_ERRORS.get(code, f"Active Directory refuses it with error {code}")
    return _REFUSALS.get(answer.code)


def _windows_error(answer: Answer) -> str | None:
    found = _WINDOWS_ERROR.search(answer.diagnostics) if answer.code == INVALID_CREDENTIALS else None
    return found[1] if found else None
