"""An index made anew from the files of its store, or compared with them; both tell how far they are as they go."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Final

from .index import Index, Stored, Tables
from .records import Entry, read_entry
from .visibility import origin_of

_BATCH: Final = 100


@dataclass(frozen=True, slots=True)
class Step:
    """How far it is: `done` of `total`, and one sentence on what was found wrong there, or nothing."""

    done: int
    total: int
    problem: str = ""


def rebuild(root: Path, index: Index) -> Iterator[Step]:
    """Make the index anew from the files under `root`; `index` is not open, and is not when this has ended.

    If it ends early, no node opens the index until a rebuild has ended. A node that runs meanwhile may go on storing,
    and finds what is indexed so far. Raises ConfigurationError, OSError and sqlite3.Error.
    """
    total = sum(1 for _ in files(root))
    index.open(to_rebuild=True)
    try:
        batch: list[Entry] = []
        done = 0
        for done, path in enumerate(files(root), 1):
            entry, problem = _read(root, path)
            if entry is not None:
                batch.append(entry)
            if len(batch) == _BATCH:
                yield from (Step(done, total, each) for each in index.write(partial(_put_all, batch)))
                batch = []
            yield Step(done, max(total, done), problem)
        yield from (Step(done, max(total, done), each) for each in index.write(partial(_put_all, batch)))
        index.finish_rebuild()
    finally:
        index.close()


def verify(root: Path, index: Index) -> Iterator[Step]:
    """Compare an open index with the files under `root`, both ways; nothing is changed.

    Raises OSError and sqlite3.Error.
    """
    total = index.count() + sum(1 for _ in files(root))
    for done, problem in enumerate(_problems(root, index), 1):
        yield Step(done, max(total, done), problem)


def _problems(root: Path, index: Index) -> Iterator[str]:
    """One for each row, then for each file; empty where nothing is wrong."""
    for chunk in index.every():
        for stored in chunk:
            problem = _problem_of_row(root, stored)
            is_still_so = problem and index.write(partial(_find, stored.sop_instance_uid)) == stored
            yield problem if is_still_so else ""
    for path in files(root):
        yield _problem_of_file(root, path, index)


def files(root: Path) -> Iterator[str]:
    """The paths, relative to `root`, of all files under it but hidden ones, and what is in hidden directories."""
    for directory, directories, names in os.walk(root):
        directories[:] = sorted(name for name in directories if not name.startswith("."))
        for name in sorted(names):
            if not name.startswith("."):
                yield os.path.relpath(os.path.join(directory, name), root)


def _read(root: Path, path: str) -> tuple[Entry | None, str]:
    try:
        entry = read_entry(root, path)
    except OSError as error:
        return None, f"{path}: expected a file that can be read, got {error.strerror}"
    return entry, "" if entry else f"{path}: expected a Part 10 file of an instance, got something else; not indexed"


def _put_all(batch: list[Entry], tables: Tables) -> list[str]:
    problems = []
    for entry in batch:
        stored = tables.find(entry.sop_instance_uid)
        if stored is not None and stored.path != entry.path:
            problems.append(f"{entry.path}: expected one file of instance {entry.sop_instance_uid}, "
                            f"got {stored.path} too, which is indexed; remove one")  # fmt: skip
        else:
            tables.put(entry)
    return problems


def _problem_of_row(root: Path, stored: Stored) -> str:
    try:
        size = (root / stored.path).stat().st_size
    except OSError as error:
        return f"{stored.path}: expected the file of instance {stored.sop_instance_uid}, got {error.strerror}"
    return "" if size == stored.size else f"{stored.path}: expected {stored.size} bytes, got {size}"


def _problem_of_file(root: Path, path: str, index: Index) -> str:
    entry, problem = _read(root, path)
    if entry is None:
        return problem
    stored = index.find(entry.sop_instance_uid)
    if stored is None or stored.path != path:
        # A file appears just before its row is committed: ask again when no transaction is under way.
        stored = index.write(partial(_find, entry.sop_instance_uid))
    if stored is None:
        is_still_so = (root / path).is_file()
        return f"{path}: expected its instance {entry.sop_instance_uid} in the index, got none" if is_still_so else ""
    if stored.path != path:
        return f"{path}: expected instance {entry.sop_instance_uid} at {stored.path}, got another file of it"
    with index.reading() as tables:
        known = tables.values(entry.sop_instance_uid)
    values = {**entry.values, **origin_of(entry.values)}
    different = [keyword for keyword, value in known.items() if values.get(keyword, "") != value]
    return f"{path}: expected what the index has, got other values of {', '.join(different)}" if different else ""


def _find(sop_instance_uid: str, tables: Tables) -> Stored | None:
    return tables.find(sop_instance_uid)

