"""The users file: user names and passcodes without a server, in text that `dimsetls user` writes and anyone can read.

::

    # Users of dimsetls.

    [alice]
    passcode = $scrypt$ln=15,r=8,p=1$c2FsdHNhbHRzYWx0c2FsdA$…
    groups = radiology, night shift
    roles = technician

    [bob]
    disabled = yes

A section is a user, and each of its options may be left out; a line that begins with # or ; is a comment. Without a
passcode the name can only be asserted by a certificate. A passcode is kept as scrypt's hash, as PHC strings have it.
"""

from __future__ import annotations

import hashlib
import os
import re
import stat
import unicodedata
from base64 import b64decode, b64encode
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from hmac import compare_digest
from pathlib import Path
from secrets import token_bytes
from threading import Lock
from typing import TypeAlias

from twisted.internet.interfaces import IReactorFromThreads
from twisted.logger import Logger
from zope.interface import implementer

from ..errors import ConfigurationError, IdentityDenied, IdentityUnknown
from ..tls.policy import did_you_mean
from .credentials import Caps, Credential, Method, Secret, Username, UsernameAndPasscode, read_username
from .interfaces import IAuthenticator, Presenter, Verified
from .workers import Workers

log = Logger(namespace="dimsetls.identity")

MEMORY = 64 << 20
"""The most that one check may take, in bytes."""

_PHC = re.compile(r"\$scrypt\$ln=([0-9]{1,2}),r=([0-9]{1,2}),p=([0-9]{1,2})\$([A-Za-z0-9+/]+)\$([A-Za-z0-9+/]+)")
_HEADER = re.compile(r"\[(.*)\]")
_OPTIONS = ("passcode", "groups", "roles", "disabled")


# Passcodes ------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Cost:
    """The work that one guess takes (RFC 7914 §2): `ln` is the binary logarithm of N. ValueError beyond the bounds."""

    ln: int = 15
    r: int = 8
    p: int = 1

    def __post_init__(self) -> None:
        if not (10 <= self.ln <= 20 and 8 <= self.r <= 32 and 1 <= self.p <= 16) or self.memory > MEMORY:
            raise ValueError(f"ln={self.ln},r={self.r},p={self.p}: expected ln from 10, r 8 to 32, p 1 to 16, "
                             f"and no more than {MEMORY >> 20} MiB in all")

    @property
    def memory(self) -> int:
        return 128 * self.r << self.ln

    def hash(self, passcode: Secret, salt: bytes) -> bytes:
        """32 octets. A passcode in UTF-8 is taken in NFC, so that it does not matter how a keyboard composes it."""
        # Twice the memory, as OpenSSL counts its own bookkeeping too.
        return hashlib.scrypt(_composed(passcode.reveal()), salt=salt, n=1 << self.ln, r=self.r, p=self.p,
                              maxmem=2 * MEMORY, dklen=32)


def _composed(passcode: bytes) -> bytes:
    try:
        return unicodedata.normalize("NFC", passcode.decode()).encode()
    except UnicodeDecodeError:
        return passcode


@dataclass(frozen=True, slots=True)
class PasscodeHash:
    """What is kept of a passcode."""

    cost: Cost
    salt: bytes = field(repr=False)
    digest: bytes = field(repr=False)

    @classmethod
    def make(cls, passcode: Secret, cost: Cost | None = None) -> PasscodeHash:
        cost, salt = cost or Cost(), token_bytes(16)
        return cls(cost, salt, cost.hash(passcode, salt))

    @classmethod
    def parse(cls, text: str) -> PasscodeHash:
        """From a PHC string. Raises ValueError, whose message does not show the text: it may be a passcode."""
        if not (match := _PHC.fullmatch(text)):
            raise ValueError("expected $scrypt$ln=…,r=…,p=…$salt$hash")
        cost = Cost(int(match[1]), int(match[2]), int(match[3]))
        salt, digest = (b64decode(part + "=" * (-len(part) % 4)) for part in (match[4], match[5]))
        if not 8 <= len(salt) <= 64 or len(digest) != 32:
            raise ValueError("expected a salt of 8 to 64 octets and a hash of 32")
        return cls(cost, salt, digest)

    @property
    def text(self) -> str:
        """The PHC string."""
        salt, digest = (b64encode(part).decode().rstrip("=") for part in (self.salt, self.digest))
        return f"$scrypt$ln={self.cost.ln},r={self.cost.r},p={self.cost.p}${salt}${digest}"

    def is_of(self, passcode: Secret) -> bool:
        return compare_digest(self.cost.hash(passcode, self.salt), self.digest)


# The file -------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class User:
    """One section of the file."""

    name: str
    passcode: PasscodeHash | None = None
    groups: tuple[str, ...] = ()
    roles: tuple[str, ...] = ()
    disabled: bool = False

    @property
    def lines(self) -> list[str]:
        """The section as the file has it."""
        options = {
            "passcode": self.passcode.text if self.passcode else "",
            "groups": ", ".join(self.groups),
            "roles": ", ".join(self.roles),
            "disabled": "yes" if self.disabled else "",
        }
        return [f"[{self.name}]", *(f"{option} = {value}" for option, value in options.items() if value)]


class Users:
    """The users of one file by name."""

    def __init__(self, by_name: Mapping[str, User]) -> None:
        self.by_name = by_name
        self._costs = {user.passcode.cost for user in by_name.values() if user.passcode} or {Cost()}

    def admit(self, name: str, passcode: Secret) -> bool:
        """Whether this is the user's passcode. It takes the same time for every name, also for one of nobody."""
        user = self.by_name.get(name)
        kept = user.passcode if user else None
        found = False
        for cost in self._costs:  # one, or two while a new one comes into use
            is_theirs = kept is not None and kept.cost == cost
            tried = kept if kept is not None and is_theirs else PasscodeHash(cost, bytes(16), bytes(32))
            found |= tried.is_of(passcode) and is_theirs
        return found


def read(path: Path) -> tuple[str, Users]:
    """The text of the file, and the users in it. ConfigurationError: it cannot be used, or others may read it."""
    try:
        with open(path, "rb") as file:
            mode = stat.S_IMODE(os.fstat(file.fileno()).st_mode)
            content = file.read()
    except OSError as error:
        raise ConfigurationError(f"{path} cannot be read: {error.strerror}; expected a file of users, such as "
                                 "`dimsetls user add` makes") from None
    if mode & 0o077:
        raise ConfigurationError(f"{path} is open to group or others (mode {mode:04o}); expected 0600 or 0400: "
                                 f"chmod 600 {path}")
    try:
        text = content.decode()
    except UnicodeDecodeError:
        raise ConfigurationError(f"{path} is not text in UTF-8, expected a file of users") from None
    return text, parse(text, str(path))


def header(line: str) -> str | None:
    """The name in the line that begins a user's section; None if it is another line."""
    match = _HEADER.fullmatch(line.strip())
    return match[1].strip() if match else None


def parse(text: str, path: str) -> Users:
    """The users of a text. Raises ConfigurationError with every mistake, its place, and no value of a passcode."""
    sections: dict[str, dict[str, str]] = {}
    users: dict[str, User] = {}
    folded: dict[str, str] = {}
    problems: list[str] = []
    options: dict[str, str] | None = None
    for number, line in enumerate(map(str.strip, text.split("\n")), start=1):
        try:
            if not line or line[0] in "#;":
                continue
            if (name := header(line)) is not None:
                options = {}  # of nobody, if the name is wrong
                name = _name(name)
                if (other := folded.setdefault(name.casefold(), name)) != name or name in sections:
                    raise ValueError(f"found [{name}] although there is [{other}], expected each user once, and names "
                                     "that differ in more than letter case")
                sections[name] = options
                continue
            option, equals, value = (part.strip() for part in line.partition("="))
            if not equals or options is None:
                raise ValueError("found a line that is neither, expected [user name], and below it option = value")
            if option not in _OPTIONS:
                raise ValueError(f"found the option {option[:20]!r}, {did_you_mean(option, _OPTIONS)}")
            if option in options:
                raise ValueError(f"found {option} a second time, expected once")
            options[option] = value
            _judge(option, value)
        except ValueError as error:
            problems.append(f"{path}:{number}: {error}")
    if problems:
        raise ConfigurationError(*problems)
    for name, options in sections.items():
        passcode = options.get("passcode")
        users[name] = User(name, PasscodeHash.parse(passcode) if passcode else None, names(options.get("groups", "")),
                           names(options.get("roles", "")), options.get("disabled") == "yes")
    return Users(users)


def _name(text: str) -> str:
    try:
        return read_username(text.encode(), Caps())
    except IdentityDenied as error:
        raise ValueError(f"found a [ ] whose name cannot be used, {error}") from None


def _judge(option: str, value: str) -> None:
    """Raise ValueError where this is no value of the option."""
    if option == "passcode":
        try:
            PasscodeHash.parse(value)
        except ValueError as error:
            raise ValueError(f"found a passcode that is not such a hash, {error}; `dimsetls user passwd` "
                             "makes one") from None
    elif option == "disabled" and value not in ("yes", "no"):
        raise ValueError(f"found disabled = {value[:20]!r}, expected yes or no")
    elif option in ("groups", "roles"):
        names(value)


def names(text: str) -> tuple[str, ...]:
    """Groups or roles: names separated by commas, none empty, none twice. Raises ValueError."""
    items = tuple(unicodedata.normalize("NFC", part.strip()) for part in text.split(",")) if text else ()
    if len(set(items)) < len(items) or not all(item and item.isprintable() for item in items):
        raise ValueError(f"found {text[:60]!r}, expected printable names, separated by commas, each once")
    return items


# The back end ---------------------------------------------------------------------------------------------------------

_State: TypeAlias = tuple[int, ...]


@implementer(IAuthenticator)
class UsersFile:
    """Back end `[users NAME]`. The file is read again when it has changed; one that cannot be used changes nothing.

    The realm is NAME unless one is given. ConfigurationError at construction if the file cannot be used. `trace` is
    told each step of a check.
    """

    methods = frozenset({Method.USERNAME, Method.PASSCODE})
    cacheable = True

    def __init__(
        self, *, name: str, file: Path, realm: str | None = None, threads: int = 2, waiting: int = 64,
        reactor: IReactorFromThreads | None = None, trace: Callable[[str], None] = lambda sentence: None,
    ) -> None:  # fmt: skip
        self.name = name
        self.trace = trace
        self._file = file
        self._realm = realm or name.rpartition(" ")[2]
        self._lock = Lock()
        self._problems: tuple[str, ...] = ()
        self._state = _state(file)
        try:
            _, self._users = read(file)
        except ConfigurationError as error:
            raise ConfigurationError(*(f"file: {problem}" for problem in error.problems)) from None
        self._reactor = reactor if reactor is not None else _default_reactor()
        self._workers = Workers(name, self._reactor, threads=threads, waiting=waiting)

    async def verify(self, credential: Credential, presenter: Presenter) -> Verified:
        match credential:
            case Username(name):
                return await self._workers.run(lambda: self._check(name, None))
            case UsernameAndPasscode(name, passcode):
                return await self._workers.run(lambda: self._check(name, passcode))
        raise IdentityDenied(f"[{self.name}] got {credential.method.value}, expected a user name")

    def close(self) -> None:
        self._workers.close()

    # In a thread -----------------------------------------------------------------------------------------------

    def _check(self, name: str, passcode: Secret | None) -> Verified:
        users = self._current()
        is_right = users.admit(name, passcode) if passcode is not None else True
        user = users.by_name.get(name)
        self._say(f"{self._file} has {len(users.by_name)} users, {name!r} is {'one' if user else 'none'} of them")
        if user is None:
            raise IdentityUnknown(f"[{self.name}] has no user {name!r}")
        if user.disabled:
            raise IdentityDenied(f"[{self.name}] {name!r} is disabled")
        if user.passcode is None and passcode is not None:
            raise IdentityDenied(f"[{self.name}] {name!r} has no passcode here, the name can only be asserted by a "
                                 "certificate")
        if not is_right:
            raise IdentityDenied(f"[{self.name}] the passcode of {name!r} is wrong")
        self._say(f"groups are {', '.join(user.groups) or 'none'}, roles are {', '.join(user.roles) or 'none'}")
        return Verified(user.name, self._realm, frozenset(user.groups), frozenset(user.roles))

    def _current(self) -> Users:
        """The users as the file has them now; as it had them, if it cannot be used now."""
        with self._lock:
            state = _state(self._file)
            if state != self._state:
                try:
                    _, users = read(self._file)
                except ConfigurationError as error:
                    if error.problems != self._problems:
                        self._problems = error.problems
                        self._reactor.callFromThread(self._tell_problems, error.problems)
                else:
                    self._users, self._state, self._problems = users, state, ()
                    self._reactor.callFromThread(
                        log.info, "[{name}] read {file} again: {users} users",
                        name=self.name, file=str(self._file), users=len(users.by_name),
                    )  # fmt: skip
            return self._users

    def _tell_problems(self, problems: tuple[str, ...]) -> None:
        for problem in problems:
            log.error("[{name}] {problem}; the users stay as they were read before", name=self.name, problem=problem)

    def _say(self, sentence: str) -> None:
        self._reactor.callFromThread(self.trace, sentence)


def _state(path: Path) -> _State:
    """What differs when a file has changed; empty if it is not there."""
    try:
        found = os.stat(path)
    except OSError:
        return ()
    return (found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns)


def _default_reactor() -> IReactorFromThreads:
    from twisted.internet import reactor  # here, for importing it installs it

    return IReactorFromThreads(reactor)
