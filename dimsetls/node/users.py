"""`dimsetls user`: who is in a users file. A passcode is asked for, never an argument: others see the arguments."""

from __future__ import annotations

import argparse
import fcntl
import json
import os
import sys
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from getpass import GetPassWarning, getpass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import ConfigurationError, IdentityDenied

if TYPE_CHECKING:
    from ..identity.credentials import Secret
    from ..identity.users import User, Users

SHORTEST = 8
"""Characters of a passcode that is not weak."""

_HEADING = """\
# Users of dimsetls: change them with `dimsetls user`, or by hand.
"""


# The command line -----------------------------------------------------------------------------------------------------


def add_user(commands: Any) -> None:
    """Add the command to argparse's sub-commands."""
    user = commands.add_parser("user", help="add, change, delete and list the users of a users file",
                               description="Add, change, delete and list the users of a users file.",
                               epilog="Example: dimsetls user add alice --group radiology --file var/users")
    kinds = user.add_subparsers(dest="user_command", required=True, metavar="COMMAND")

    def kind(name: str, what: str, example: str) -> argparse.ArgumentParser:
        parser: argparse.ArgumentParser = kinds.add_parser(
            name, help=what, description=f"{what[0].upper()}{what[1:]}.", epilog=f"Example: dimsetls user {example}",
        )  # fmt: skip
        place = parser.add_mutually_exclusive_group(required=True)
        place.add_argument("--file", metavar="FILE", help="the users file")
        place.add_argument("--config", metavar="FILE", help="the INI file whose section [users NAME] names it")
        parser.add_argument("--section", metavar="NAME", help="which [users NAME], if the INI file has several")
        return parser

    add = kind("add", "add a user, and make the file if it is missing",
               "add alice --group radiology --file var/users")
    passwd = kind("passwd", "give a user another passcode", "passwd alice --file var/users")
    change = kind("change", "change groups and roles of a user, disable or enable the account",
                  "change alice --disable --file var/users")
    delete = kind("del", "delete a user", "del alice --file var/users")
    listing = kind("list", "list the users", "list --json --file var/users")
    for parser in (add, passwd, change, delete):
        parser.add_argument("name", metavar="NAME", help="the user name, letter by letter")
    for parser in (add, change):
        for option in ("group", "role"):
            one = parser.add_mutually_exclusive_group()
            one.add_argument(f"--{option}", metavar=option[0].upper(), action="append", dest=f"{option}s",
                             help=f"a {option}; again for each further one"
                                  + (", in place of those there are" if parser is change else ""))
            if parser is change:
                one.add_argument(f"--no-{option}s", action="store_const", const=[], dest=f"{option}s",
                                 help=f"take all {option}s away")
        state = parser.add_mutually_exclusive_group()
        state.add_argument("--disable", action="store_true", default=None, dest="disabled", help="refuse the user")
        if parser is change:
            state.add_argument("--enable", action="store_false", default=None, dest="disabled",
                               help="do not, any more")
    for parser in (add, passwd):
        source = parser.add_mutually_exclusive_group()
        source.add_argument("--passcode-stdin", action="store_true",
                            help="read the passcode from standard input, instead of asking for it twice")
        if parser is add:
            source.add_argument("--no-passcode", action="store_true",
                                help="none: the name can only be asserted by a certificate")
        parser.add_argument("--weak-passcode", action="store_true",
                            help=f"take one of less than {SHORTEST} characters, or the user name")
    listing.add_argument("--json", action="store_true", help="as JSON")


def run_user(parsed: argparse.Namespace) -> Iterator[str]:
    """Do as the command line says; yields what to print. ConfigurationError, with nothing changed, if it cannot be."""
    path = Path(parsed.file) if parsed.file else configured(Path(parsed.config), parsed.section)
    match parsed.user_command:
        case "list":
            users = _read(path)
            yield _json(users) if parsed.json else "\n".join(_table(users)) or f"{path} has no users."
        case "add":
            name = _name(parsed.name)
            _judge_new(_read(path, may_be_missing=True), name, path)
            passcode = None if parsed.no_passcode else _passcode(parsed, name)
            add(path, name, passcode, _names(parsed.groups), _names(parsed.roles), bool(parsed.disabled))
            yield f"Added {name} to {path}."
        case "passwd":
            name = _existing(_read(path), _name(parsed.name), path).name
            change(path, name, passcode=_passcode(parsed, name))
            yield f"{name} in {path} has another passcode."
        case "change":
            name = _name(parsed.name)
            if parsed.groups is None and parsed.roles is None and parsed.disabled is None:
                raise ConfigurationError(f"found nothing to change of {name}, expected --group, --no-groups, --role, "
                                         "--no-roles, --disable or --enable")
            changed = change(
                path, name, disabled=parsed.disabled,
                groups=None if parsed.groups is None else _names(parsed.groups),
                roles=None if parsed.roles is None else _names(parsed.roles),
            )  # fmt: skip
            yield f"{path} now has:\n{_line(changed, len(name))}"
        case "del":
            name = _name(parsed.name)
            delete(path, name)
            yield f"Deleted {name} from {path}."


def configured(ini: Path, section: str | None) -> Path:
    """The users file that an INI file names."""
    from .ini import parse

    try:
        sections, _ = parse(ini.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        why = error.strerror if isinstance(error, OSError) else "it is not text in UTF-8"
        raise ConfigurationError(f"{ini} cannot be read: {why}; expected a configuration of dimsetls") from None
    files = {each.name: each.entries["file"].text for each in sections
             if each.kind == "users" and "file" in each.entries}
    if section is None and len(files) == 1:
        [section] = files
    if section not in files:
        found = ", ".join(f"[users {name}]" for name in files) or "no [users NAME] with a file"
        what = f"[users {section}]" if section else "one of them, by --section" if files else "one"
        raise ConfigurationError(f"{ini}: found {found}, expected {what}; or name the file by --file")
    return ini.absolute().parent / files[section]


def _table(users: Users) -> Iterator[str]:
    width = max(map(len, users.by_name), default=0)
    for user in users.by_name.values():
        yield _line(user, width)


def _line(user: User, width: int) -> str:
    parts = [user.name.ljust(width), "disabled" if user.disabled else "enabled "]
    parts += [f"groups: {', '.join(user.groups)}"] if user.groups else []
    parts += [f"roles: {', '.join(user.roles)}"] if user.roles else []
    parts += ["no passcode"] if user.passcode is None else []
    return "  ".join(parts).rstrip()


def _json(users: Users) -> str:
    return json.dumps([
        {"name": user.name, "groups": user.groups, "roles": user.roles, "disabled": user.disabled,
         "has_passcode": user.passcode is not None}
        for user in users.by_name.values()
    ], ensure_ascii=False, indent=2)  # fmt: skip


# What is typed --------------------------------------------------------------------------------------------------------


def _name(text: str) -> str:
    from ..identity.credentials import Caps, read_username

    try:
        return read_username(os.fsencode(text), Caps())
    except IdentityDenied as error:
        raise ConfigurationError(f"{text!r} cannot be a user name: {error}") from None


def _names(items: Sequence[str] | None) -> tuple[str, ...]:
    from ..identity.users import names

    try:
        return names(",".join(items or ()))
    except ValueError as error:
        raise ConfigurationError(f"--group and --role: {error}") from None


def _passcode(parsed: argparse.Namespace, name: str) -> Secret:
    from ..identity.credentials import Caps, Secret

    octets = _from_stdin() if parsed.passcode_stdin else _ask(name)
    longest = Caps().passcode
    if not 1 <= len(octets) <= longest:
        found = f"more than {longest} bytes" if octets else "nothing"
        raise ConfigurationError(f"found {found} as the passcode, expected 1 to {longest} bytes")
    if not parsed.weak_passcode:
        text = octets.decode(errors="replace")
        if len(text) < SHORTEST or text.casefold() == name.casefold():
            found = f"less than {SHORTEST} characters" if len(text) < SHORTEST else "the user name"
            raise ConfigurationError(f"found {found} as the passcode, expected at least {SHORTEST} characters that are "
                                     "not the user name; --weak-passcode takes it nevertheless")
    return Secret(octets)


def _from_stdin() -> bytes:
    from ..identity.credentials import Caps

    if sys.stdin.isatty():
        raise ConfigurationError("--passcode-stdin at a terminal would show the passcode; leave the option out to be "
                                 "asked for it, or pipe it in")
    # One more than there may be, and the end of the line.
    octets = sys.stdin.buffer.read(Caps().passcode + 3).removesuffix(b"\n").removesuffix(b"\r")
    if b"\n" in octets:
        raise ConfigurationError("found several lines in standard input, expected the passcode alone in one")
    return octets


def _ask(name: str) -> bytes:
    """Twice, from a terminal, which does not show it."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", GetPassWarning)  # that it would be shown
            first = getpass(f"Passcode of {name}: ")
            second = getpass("Once more: ")
        octets, again = first.encode(), second.encode()
    except (GetPassWarning, EOFError):
        raise ConfigurationError("there is no terminal to ask for the passcode, expected one, or "
                                 "--passcode-stdin") from None
    except UnicodeError:
        raise ConfigurationError("found a passcode that the terminal does not send in UTF-8, expected UTF-8, or "
                                 "--passcode-stdin") from None
    except KeyboardInterrupt:
        raise ConfigurationError("interrupted: nothing was changed") from None
    if octets != again:
        raise ConfigurationError("found two different passcodes, expected the same twice; nothing was changed")
    return octets


# The file -------------------------------------------------------------------------------------------------------------


def add(path: Path, name: str, passcode: Secret | None, groups: tuple[str, ...] = (), roles: tuple[str, ...] = (),
        disabled: bool = False) -> User:
    """Add a user, and make the file if it is missing. ConfigurationError if there is one of that name."""
    from ..identity.users import PasscodeHash, User

    user = User(name, PasscodeHash.make(passcode) if passcode else None, groups, roles, disabled)
    with _edited(path, may_be_missing=True) as (lines, users):
        _judge_new(users, name, path)
        if lines and lines[-1]:
            lines.append("")
        lines += user.lines
    return user


def change(path: Path, name: str, *, passcode: Secret | None = None, groups: tuple[str, ...] | None = None,
           roles: tuple[str, ...] | None = None, disabled: bool | None = None) -> User:
    """Change what is given, and leave the rest. ConfigurationError if there is no such user."""
    from ..identity.users import PasscodeHash

    given: dict[str, Any] = {"groups": groups, "roles": roles, "disabled": disabled,
                             "passcode": PasscodeHash.make(passcode) if passcode else None}
    given = {field: value for field, value in given.items() if value is not None}
    with _edited(path) as (lines, users):
        user = replace(_existing(users, name, path), **given)
        section = _section(lines, name)
        comments = [line for line in lines[section] if line.lstrip()[:1] in ("#", ";")]
        lines[section] = [user.lines[0], *comments, *user.lines[1:]]
    return user


def delete(path: Path, name: str) -> None:
    """Delete a user. ConfigurationError if there is no such user."""
    with _edited(path) as (lines, users):
        _existing(users, name, path)
        section = _section(lines, name)
        following = section.stop < len(lines) and not lines[section.stop]
        del lines[section.start : section.stop + following]


def _section(lines: list[str], name: str) -> slice:
    """The lines of a user. Blank lines and comments above the next one belong to that."""
    from ..identity.users import header

    starts = [number for number, line in enumerate(lines) if header(line) is not None]
    start = next(number for number in starts if _name(header(lines[number]) or "") == name)
    stop = next((number for number in starts if number > start), len(lines))
    while not lines[stop - 1].strip() or lines[stop - 1].lstrip()[0] in "#;":
        stop -= 1
    return slice(start, stop)


def _read(path: Path, may_be_missing: bool = False) -> Users:
    from ..identity.users import parse, read

    if may_be_missing and not os.path.lexists(path):
        return parse("", str(path))
    return read(path)[1]


def _judge_new(users: Users, name: str, path: Path) -> None:
    for each in users.by_name:
        if each.casefold() == name.casefold():
            raise ConfigurationError(f"{path} has a user {each!r} already, expected a name that differs from all "
                                     "others in more than letter case")


def _existing(users: Users, name: str, path: Path) -> User:
    from ..tls.policy import nearest

    if name not in users.by_name:
        near = nearest(name, users.by_name)
        raise ConfigurationError(f"{path} has no user {name!r}" + (f"; did you mean {near}?" if near else ""))
    return users.by_name[name]


@contextmanager
def _edited(path: Path, may_be_missing: bool = False) -> Iterator[tuple[list[str], Users]]:
    """The lines of the file to be changed in place, and its users as they were. The file is whole at every moment.

    Nothing is written if the block raises, or if what came out could not be read.
    """
    from ..identity.users import parse, read

    path = Path(os.path.realpath(path))  # a link stays one
    try:
        with _locked(path.parent):
            is_new = may_be_missing and not path.exists()
            text, users = (_HEADING, parse("", str(path))) if is_new else read(path)
            lines = text.removesuffix("\n").split("\n")
            yield lines, users
            text = "\n".join(lines) + "\n"
            parse(text, str(path))
            _replace(path, text.encode())
    except OSError as error:
        raise ConfigurationError(f"{path} cannot be written: {error.strerror}; expected a directory where this user "
                                 "may write") from None


@contextmanager
def _locked(directory: Path) -> Iterator[None]:
    """Wait for others that change users here. It is the directory that is locked, for the file is replaced."""
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _replace(path: Path, content: bytes) -> None:
    """Put another file in its place: with its owner, for root may do this for a service that is another user."""
    from tempfile import mkstemp

    descriptor, temporary = mkstemp(prefix=f".{path.name}.", dir=path.parent)  # mode 0600
    try:
        with open(descriptor, "wb") as file:
            file.write(content)
            if path.exists():
                before = path.stat()
                os.fchown(descriptor, before.st_uid, -1)
                os.fchmod(descriptor, before.st_mode & 0o600)
            file.flush()
            os.fsync(descriptor)
        os.replace(temporary, path)
    except BaseException:
        os.unlink(temporary)
        raise
