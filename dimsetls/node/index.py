"""`dimsetls index`: make the index of a store anew, or compare it with its files."""

from __future__ import annotations

import argparse
import json
import sqlite3
import sys
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, Final, TextIO

from ..errors import ConfigurationError
from ..tls.policy import nearest
from .arguments import DEFAULT_CONFIG, default_config

if TYPE_CHECKING:
    from ..services.upkeep import Step
    from .config import Config, Storage

_COMMANDS: Final = {
    "rebuild": ("make an index anew from the files of its store",
                "Read every file of a store and make its index anew. A node that runs meanwhile goes on storing, and "
                "finds what is indexed so far."),
    "verify": ("compare an index with the files of its store",
               "Report what is indexed and not there, there and not indexed, or different; nothing is changed."),
}  # fmt: skip


def add_index(commands: Any) -> None:
    """The command line of `dimsetls index`."""
    parser: argparse.ArgumentParser = commands.add_parser(
        "index", help="make or verify the index of a store",
        description="Make or verify the indexes in which query and retrieve find what is stored.",
        epilog="Example: dimsetls index rebuild --config var/dimsetls.ini",
    )
    actions = parser.add_subparsers(dest="action", required=True, metavar="ACTION")
    for name, (short, long) in _COMMANDS.items():
        action = actions.add_parser(
            name, help=short, description=f"{long} Exit status 1 says that problems were found.",
            epilog=f"Example: dimsetls index {name} --config var/dimsetls.ini --storage archive",
        )  # fmt: skip
        action.add_argument("--config", metavar="FILE", help=f"the INI file ({DEFAULT_CONFIG})")
        action.add_argument("--storage", metavar="NAME", help="the [storage] section; without, all that are indexed")
        action.add_argument("--json", action="store_true", help="print one JSON object")


def run_index(parsed: argparse.Namespace) -> int:
    """Do it; problems go to standard output, how far it is to standard error. Raises ConfigurationError."""
    from .reading import load

    found: list[str] = []
    reports: list[dict[str, object]] = []
    for storage in chosen(load(parsed.config or default_config()), parsed.storage):
        done, problems = 0, list[str]()
        progress = _Progress(storage.name, sys.stderr)
        try:
            for step in _steps(parsed.action, storage):
                done = step.done
                progress.show(step)
                if step.problem:
                    problems.append(step.problem)
                    progress.clear()
                    if not parsed.json:
                        sys.stdout.write(f"{step.problem}\n")
        except (OSError, sqlite3.Error) as error:
            progress.clear()
            raise ConfigurationError(
                f"[storage {storage.name}] expected a store and an index that can be read and written, got {error}; "
                f"correct their owner, mode or file system and run dimsetls index {parsed.action} again"
            ) from error
        progress.clear()
        if parsed.action == "rebuild":
            what, done, words = "indexed", done - len(problems), "indexed"  # a file with a problem is not
        else:
            what, words = "compared", "rows and files compared"
        if not parsed.json:
            sys.stdout.write(f"[storage {storage.name}] {done} {words}, {len(problems) or 'no'} "
                             f"problem{'' if len(problems) == 1 else 's'} found\n")
        reports.append({"name": storage.name, what: done, "problems": problems})
        found += problems
    if parsed.json:
        sys.stdout.write(f"{json.dumps({'storages': reports})}\n")
    return 1 if found else 0


def _steps(action: str, storage: Storage) -> Iterator[Step]:
    from ..services.upkeep import rebuild, verify
    from .stores import index_of

    index = index_of(storage)
    if action == "rebuild":
        yield from rebuild(storage.directory, index)
        return
    index.open()
    try:
        yield from verify(storage.directory, index)
    finally:
        index.close()


def chosen(config: Config, name: str | None) -> list[Storage]:
    """The section of that name, or all, with an index. Raises ConfigurationError if there is none."""
    indexed = {storage.name: storage for storage in config.storages if storage.index}
    if name is None and indexed:
        return list(indexed.values())
    if name in indexed:
        return [indexed[name]]
    if name in {storage.name for storage in config.storages}:
        raise ConfigurationError(f"{config.path}: [storage {name}] has no index, expected index = yes in it")
    meant = nearest(name, indexed) if name else None
    raise ConfigurationError(
        f"{config.path}: found no {f'[storage {name}]' if name else '[storage] with index = yes'}, expected one"
        + (f"; did you mean {meant}?" if meant else "")
    )


class _Progress:
    """How far it is: on a terminal one line that is written again and again, otherwise a line for every tenth."""

    def __init__(self, name: str, output: TextIO) -> None:
        self._name = name
        self._output = output
        self._parts = 1000 if output.isatty() else 10
        self._shown = 0

    def show(self, step: Step) -> None:
        part = self._parts * step.done // max(step.total, 1)
        if part == self._shown:
            return
        self._shown = part
        line = f"[storage {self._name}] {step.done} of {step.total} ({100 * step.done // max(step.total, 1)} %)"
        self._output.write(f"\r{line}\x1b[K" if self._output.isatty() else f"{line}\n")
        self._output.flush()

    def clear(self) -> None:
        if self._output.isatty():
            self._output.write("\r\x1b[K")
            self._output.flush()
