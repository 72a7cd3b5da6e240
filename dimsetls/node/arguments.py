"""What the commands share: a parser whose examples can be pasted, types of arguments, where a configuration is found.

Importing this loads nothing heavy, so that help and usage answer at once.
"""

from __future__ import annotations

import argparse
import os
from collections.abc import Callable
from enum import IntEnum
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

from ..errors import ConfigurationError

if TYPE_CHECKING:
    from .values import ValueType


class ExitStatus(IntEnum):
    """How a command ends; the same for all of them."""

    DONE = 0
    FAILED = 1
    USAGE = 2
    NO_ASSOCIATION = 3
    INTERRUPTED = 130

    @property
    def meaning(self) -> str:
        return _MEANINGS[self]


_MEANINGS = {
    ExitStatus.DONE: "all is done, and well",
    ExitStatus.FAILED: "something failed, was lost, or was found wrong; a sentence says what",
    ExitStatus.USAGE: "wrong usage, a key or certificate that cannot be used included; nobody was called",
    ExitStatus.NO_ASSOCIATION: "the peer was not reached, speaks no DICOM, or did not accept the association",
    ExitStatus.INTERRUPTED: "interrupted by Ctrl-C or SIGTERM; what was done until then is reported",
}


class Parser(argparse.ArgumentParser):
    """An argument parser; lines of its texts that hold an example or begin with a space stay as they are."""

    def __init__(self, **wishes: Any) -> None:
        wishes.setdefault("formatter_class", _Formatter)
        # An option that is guessed from its beginning may not be what is meant: --passcode is not --passcode-stdin.
        super().__init__(allow_abbrev=False, **wishes)

    def parse_args(self, args: Any = None, namespace: Any = None) -> Any:
        """As argparse does, but what follows an option that there is not is not repeated: it may be a secret."""
        parsed, unknown = self.parse_known_args(args, namespace)
        if unknown:
            options = [word.partition("=")[0] for word in unknown if word.startswith("-")]
            self.error(f"unrecognized: {', '.join(options) or 'an argument too many'}")
        return parsed

    def refuse(self, sentence: str) -> NoReturn:
        """End for arguments that are good each for itself, where the usage would say nothing new."""
        self.exit(ExitStatus.USAGE, f"{self.prog}: {sentence}\n")


class _Formatter(argparse.HelpFormatter):
    def _fill_text(self, text: str, width: int, indent: str) -> str:
        return "\n".join(
            line if line.startswith(("Example: ", " ")) else super(_Formatter, self)._fill_text(line, width, indent)
            for line in text.splitlines()
        )


# Types of arguments ---------------------------------------------------------------------------------------------------


def ae_title(text: str) -> Any:
    """An AE title, as the configuration has it."""
    from .values import AE_TITLE

    return _read(AE_TITLE, text)


def port(text: str) -> Any:
    from .values import PORT

    return _read(PORT, text)


def interface(text: str) -> Any:
    """An address to listen on."""
    from .values import ADDRESS

    return _read(ADDRESS, text)


def size(text: str) -> Any:
    """Bytes, with a unit or none."""
    from . import values

    return _read(values.size("1B", "999999GiB"), text)


def number(low: int, high: int) -> Callable[[str], Any]:
    """A whole number."""

    def parse(text: str) -> Any:
        from . import values

        return _read(values.integer(low, high), text)

    return parse


def host_and_port(text: str) -> tuple[str, int]:
    """Host and port, the host in A-labels; an IPv6 address stands in brackets."""
    host, colon, digits = text.rpartition(":")
    bracketed = host.startswith("[") and host.endswith("]")
    name = ""
    if colon and digits.isascii() and digits.isdigit() and 0 < int(digits) < 65536 and (bracketed or ":" not in host):
        try:
            name = host[1:-1] if bracketed else host.rstrip(".").encode("idna").decode("ascii")
        except UnicodeError:
            pass  # no name that DNS could know
    if not name:
        raise argparse.ArgumentTypeError(f"found {text!r}, expected HOST:PORT such as pacs.example:2762 or [::1]:2762")
    return name, int(digits)


def seconds(text: str) -> float:
    """A time to wait."""
    try:
        value = float(text)
    except ValueError:
        value = 0.0
    if not 0 < value <= 600:
        raise argparse.ArgumentTypeError(f"found {text!r}, expected a number of seconds, at most 600")
    return value


def _read(kind: ValueType, text: str) -> Any:
    try:
        return kind.parse(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from None


# The configuration ----------------------------------------------------------------------------------------------------


DEFAULT_CONFIG = "default: $DIMSETLS_CONFIG, or the first there is of ./dimsetls.ini, " \
                 "~/.config/dimsetls/dimsetls.ini and /etc/dimsetls/dimsetls.ini"
"""For help texts."""


def default_config() -> Path:
    """The INI file that is meant where none is named. Raises ConfigurationError.

    That of another user, lying in the directory where somebody happens to be, is not read: it could send what is to
    be stored, and passcodes, to a peer of its own.
    """
    if named := os.environ.get("DIMSETLS_CONFIG"):
        return Path(named)
    places = config_places()
    found = next((path for path in places if path.is_file()), None)
    if found is None:
        raise ConfigurationError(
            f"found no configuration, expected {', '.join(map(str, places))}, the path of one in $DIMSETLS_CONFIG, or "
            "--config FILE; dimsetls init DIR writes one"
        )
    if (owner := found.lstat().st_uid) not in (0, os.geteuid()):
        raise ConfigurationError(
            f"found {found} of user id {owner}, expected a configuration of your own or of root; to use this one, say "
            f"--config {found}"
        )
    return found


def config_places() -> list[Path]:
    """Where it is looked for, in this order."""
    home = os.environ.get("XDG_CONFIG_HOME") or os.path.expanduser("~/.config")
    return [Path(place) / "dimsetls.ini" for place in ("", f"{home}/dimsetls", "/etc/dimsetls")]
