"""Every credential of a test run, and everything that was said meanwhile: none of the first may be in the second.

`tests/conftest.py` gathers both, and `tests/test_discretion.py`, which comes last, looks for one in the other.
"""

from __future__ import annotations

import gc
import json
import re
import subprocess
from base64 import b64encode, urlsafe_b64encode
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from threading import Lock
from typing import Any, TypeVar
from urllib.parse import quote, quote_plus

from twisted.logger import LogEvent, eventAsText, globalLogPublisher
from twisted.python.failure import Failure

from dimsetls.errors import DimsetlsError
from dimsetls.identity.credentials import Secret

T = TypeVar("T", str, bytes)

SHORTEST, FEWEST = 8, 5
"""Octets, and how many of them differ: what is less, or letters alone, is a word or filling, and no credential."""
WINDOW = 32
"""Octets of a long credential that are looked for, at three places: to give away a part is bad enough."""

_secrets: dict[bytes, str] = {}
"""The credential, and what it is."""


def secret(credential: T, what: str) -> T:
    """Note a credential that is used from now on."""
    octets = credential.encode() if isinstance(credential, str) else credential
    if len(octets) >= SHORTEST and len(set(octets)) >= FEWEST and not octets.replace(b"_", b"").isalpha():
        _secrets.setdefault(octets, what)
    return credential


def known() -> dict[bytes, str]:
    return dict(_secrets)


class Evidence:
    """What was said, in files of one directory."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self._lock = Lock()
        self._file = open(directory / "said", "a", encoding="utf-8", errors="backslashreplace")  # noqa: SIM115

    def note(self, text: str) -> None:
        with self._lock:
            if not self._file.closed:
                self._file.write(f"{text}\n")

    def note_event(self, event: LogEvent) -> None:
        """A line of the log as it is written, and all its fields, which JSON lines have besides."""
        self.note(eventAsText(event))
        for name, value in event.items():
            self.note(f"{name} = {value!r}")
            if isinstance(value, Failure):
                with suppress(Exception):  # a traceback is of whatever a test made fail
                    self.note(value.getTraceback(detail="verbose"))

    def note_objects(self) -> None:
        """Whatever there is of ours now, as a debugger or a careless line of the log would show it."""
        for each in gc.get_objects():
            with suppress(Exception):  # some are half made, or are stand-ins of a test
                if type(each).__module__.startswith("dimsetls."):
                    self.note(repr(each))

    def found(self, secrets: dict[bytes, str]) -> list[str]:
        """What was given away, a sentence each."""
        self._file.flush()
        return list(search(self.directory, secrets))

    def close(self) -> None:
        self._file.close()


_gathering: list[Evidence] = []


def said(text: str) -> None:
    """Note what a program said."""
    for evidence in _gathering:
        evidence.note(text)


@contextmanager
def gathering(directory: Path) -> Iterator[Evidence]:
    """Note what is logged in this process and what is raised of ours; and whatever becomes a `Secret`, as a secret."""
    evidence = Evidence(directory)
    make_secret, make_error = Secret.__init__, DimsetlsError.__init__

    def made(self: Secret, octets: bytes) -> None:
        secret(bytes(octets), "a Secret")
        make_secret(self, octets)

    def raised(self: DimsetlsError, *arguments: object) -> None:
        evidence.note(f"{type(self).__name__}{arguments!r}")
        make_error(self, *arguments)

    patched: Any = Secret, DimsetlsError
    with ExitStack() as stack:
        for kind, former, noting in zip(patched, (make_secret, make_error), (made, raised), strict=True):
            kind.__init__ = noting
            stack.callback(setattr, kind, "__init__", former)
        globalLogPublisher.addObserver(evidence.note_event)
        stack.callback(globalLogPublisher.removeObserver, evidence.note_event)
        _gathering.append(evidence)
        stack.callback(_gathering.remove, evidence)
        stack.callback(evidence.close)
        yield evidence


# Looking --------------------------------------------------------------------------------------------------------------


def forms(octets: bytes) -> set[str]:
    """How a credential, or a part of a long one, may stand in a text."""
    return {form for part in _parts(octets) for form in _written(part) if len(form) >= SHORTEST}


_SIGNATURE = re.compile(rb"SignatureValue>\s*([^<]+?)\s*<")


def _parts(octets: bytes) -> Iterable[bytes]:
    if octets.lstrip().startswith(b"<"):  # XML: all but the signature is known to everybody
        octets = b"".join(_SIGNATURE.findall(octets))
    if len(octets) <= 2 * WINDOW:
        return [octets] if octets else []
    starts = (len(octets) // 3, 2 * len(octets) // 3, len(octets) - WINDOW)
    return [part for start in starts if len(set(part := octets[start : start + WINDOW])) >= FEWEST]


def _written(octets: bytes) -> Iterator[str]:
    yield octets.hex()
    yield octets.hex().upper()
    yield octets.hex(" ")
    yield repr(octets)[2:-1]
    yield quote(octets, safe="")
    yield quote_plus(octets, safe="")
    for start in range(3):  # it may stand anywhere in what is encoded: behind `alice:` as in HTTP's Basic
        aligned = bytes(start) + octets
        first, last = -(-start * 4 // 3), len(aligned) * 4 // 3  # characters that are of nothing else
        yield b64encode(aligned).decode()[first:last]
        yield urlsafe_b64encode(aligned).decode()[first:last]
    with suppress(UnicodeDecodeError):
        text = octets.decode()
        yield from (line for line in text.splitlines())
        yield repr(text)[1:-1]
        yield json.dumps(text)[1:-1]
        yield text.encode("unicode_escape").decode()


def search(directory: Path, secrets: dict[bytes, str]) -> Iterator[str]:
    """Each place below the directory where one of the secrets stands. grep does it: Python would take minutes."""
    wanted = {form: octets for octets in secrets for form in forms(octets) if "\n" not in form}
    if not wanted:
        return
    patterns = directory.with_name(f"{directory.name}.patterns")
    patterns.write_text("\n".join(wanted), encoding="utf-8")
    command = ["grep", "-raonF", "-f", str(patterns), str(directory)]
    done = subprocess.run(command, env={"LC_ALL": "C", "PATH": "/usr/bin:/bin"}, capture_output=True, check=False)
    assert done.returncode in (0, 1), done.stderr.decode()
    patterns.unlink()
    for line in sorted(set(done.stdout.decode(errors="replace").splitlines())):
        place, form = re.fullmatch(r"(.*?:\d+):(.*)", line, re.DOTALL).groups()  # type: ignore[union-attr]
        octets = wanted.get(form)
        what = secrets[octets] if octets is not None else "a credential"
        yield f"{place} has {what} of {len(octets or b'')} octets, as {form[:4]}… of {len(form)} characters"
