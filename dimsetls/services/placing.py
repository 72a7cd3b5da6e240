"""A file and its row in the index appear together, or neither does; with them what is to be forwarded is queued.

The file appears inside the transaction that writes its row, so both are decided by who holds the one lock of SQLite:
no two processes store one instance. What a transaction cannot take back is the file, so before that appears, its path
is noted in a file that the store keeps open for this. Of a process that was killed in between, the next store to open
finds the note and does what was left to do. In normal running nothing has to be looked for.
"""

from __future__ import annotations

import errno
import os
import sqlite3
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from .forwarding.queue import Queue
from .index import Index, Tables
from .promises import NOTES, Duplicates, Outcome
from .records import Entry, entry, read_entry, reader

if TYPE_CHECKING:
    from .elements import ElementReader
    from .filesystem import FileStore

class Indexing:
    """What a store with an index does beside its files. The index fails as files do: with an OSError."""

    def __init__(self, index: Index) -> None:
        self._index = index
        self.queue = Queue(index)

    def open(self) -> None:
        """Open the index. Raises as it does."""
        self._index.open()
        self.queue.prepare()

    def reader(self, transfer_syntax_uid: str, also: Iterable[int]) -> ElementReader:
        """What picks the values of the index, and those of some other tags, as a data set goes by."""
        return reader(transfer_syntax_uid, also)

    def place(
        self, store: FileStore, temporary: str, path: str, size: int, transfer_syntax_uid: str,
        values: Mapping[str, str], raw: Mapping[int, bytes],
    ) -> tuple[str, Outcome]:  # fmt: skip
        """As `place`; the row is made of what was said of the instance, and of what was picked of its data set."""
        row = entry(raw, transfer_syntax_uid, values["SOPClassUID"], values["SOPInstanceUID"], path, size,
                    values["CallingAETitle"], values["CalledAETitle"])  # fmt: skip
        with _os_errors():
            return place(store, self._index, temporary, row)

    def recover(self, root: Path, directory: Path) -> None:
        """As `recover`."""
        with _os_errors():
            recover(root, self._index, self.queue, directory)


@contextmanager
def _os_errors() -> Iterator[None]:
    try:
        yield
    except sqlite3.Error as error:
        is_full = getattr(error, "sqlite_errorcode", 0) == sqlite3.SQLITE_FULL
        raise OSError(errno.ENOSPC if is_full else errno.EIO, str(error)) from error


def place(store: FileStore, index: Index, temporary: str, entry: Entry) -> tuple[str, Outcome]:
    """Let a complete file appear at the path of its entry, with its row; a duplicate is treated as the policy has it.

    Returns where the instance is. Raises OSError and sqlite3.Error; if the commit failed, the file may be there without
    its row until the sender tries again.
    """
    final, outcome = index.write(partial(_place, store, temporary, entry))
    if outcome is None:
        # Comparing takes as long as the instance is large, and what it is compared with stays: no need for the lock.
        outcome = store.place_duplicate(temporary, final)
        if store.queue is not None:
            store.queue.add_stored(entry)
    return final, outcome


def _place(store: FileStore, temporary: str, entry: Entry, tables: Tables) -> tuple[str, Outcome | None]:
    """Inside the transaction; no outcome: it is a duplicate of the file at the path returned, which is to be kept."""
    replace = store.duplicates is Duplicates.REPLACE
    final = f"{store.root}/{entry.path}"
    stored = tables.find(entry.sop_instance_uid)
    other = f"{store.root}/{stored.path}" if stored is not None else final
    if stored is not None and not replace and os.path.isfile(other):
        return other, None
    store.note(entry.path)
    tables.after_commit[store] = store.forget_notes
    outcome: Outcome | None = Outcome.STORED
    known: Entry | None = entry
    try:
        store.appear(temporary, final)
    except FileExistsError:
        if replace:
            os.rename(temporary, final)
            outcome = Outcome.REPLACED
        else:  # it was stored while there was no index
            outcome, known = None, read_entry(store.root, entry.path)
    directories = {os.path.dirname(final)}
    if other != final:
        with suppress(FileNotFoundError):
            os.unlink(other)
            outcome = Outcome.REPLACED
            directories.add(os.path.dirname(other))
    try:
        if known is not None:
            tables.put(known)
        if outcome is not None and store.queue is not None:
            store.queue.add(tables, entry, is_new=True)
    except sqlite3.Error:
        if outcome is Outcome.STORED:
            os.unlink(final)  # only its row will be taken back
        raise
    for directory in directories if store.durable else ():
        tables.before_commit[directory] = partial(store.settle, directory)
    return final, outcome


def recover(root: Path, index: Index, queue: Queue, directory: Path) -> None:
    """Finish what a store no longer alive was about to place, by the notes in its directory of incoming files.

    Raises OSError and sqlite3.Error.
    """
    with suppress(FileNotFoundError):
        for path in (directory / NOTES).read_text("utf-8").splitlines():
            with suppress(FileNotFoundError):  # it did not come to that
                if (entry := read_entry(root, path)) is not None:
                    index.write(partial(_adopt, root, queue, entry))


def _adopt(root: Path, queue: Queue, entry: Entry, tables: Tables) -> None:
    stored = tables.find(entry.sop_instance_uid)
    if stored is not None and stored.path != entry.path and (root / stored.path).is_file():
        # Its sender has no Success, the sender of the other has.
        (root / entry.path).unlink(missing_ok=True)
    else:
        tables.put(entry)
        queue.add(tables, entry, is_new=True)  # it may take the place of one that was sent
