"""What was promised and is not reported yet, in a SQLite file: it outlives the process, and a loss of power.

Everything here waits for the disk and is meant for worker threads.
"""

from __future__ import annotations

import os
import sqlite3
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from ...dimse.status import Status
from ...errors import ConfigurationError, LocalProtocolError, ServiceError
from .references import Reference

_SCHEMA: Final = 1
_FILE_MODE: Final = 0o640
_BUSY_S: Final = 30.0
_MOST: Final = 1000
"""Requests of one peer that are not reported yet: one that never hears its reports must not fill the disk."""


@dataclass(frozen=True, slots=True)
class Promise:
    """A request that was answered with Success, and since when (POSIX time) it waits to be reported.

    With `is_duplicate` its Transaction UID was already that of another one of the same peer.
    """

    number: int
    peer: str
    transaction_uid: str
    since: float
    is_duplicate: bool


class Transactions:
    """The promises in the file `path`; those of several application entities may share it."""

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = Path(path).absolute()
        self._lock = threading.Lock()
        self._connection: sqlite3.Connection | None = None

    def open(self) -> None:
        """Open the file, and make it where it is missing. Raises ConfigurationError."""
        try:
            os.close(os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, _FILE_MODE))
            self._connection = sqlite3.connect(
                self.path, timeout=_BUSY_S, isolation_level=None, check_same_thread=False
            )
            self._connection.execute("PRAGMA journal_mode = WAL")
            self._connection.execute("PRAGMA synchronous = FULL")
            version = self._connection.execute("PRAGMA user_version").fetchone()[0]
            if version == 0:
                with self._writing() as connection:
                    connection.execute(
                        "CREATE TABLE IF NOT EXISTS promise (number INTEGER PRIMARY KEY AUTOINCREMENT, "
                        "ae TEXT NOT NULL, peer TEXT NOT NULL, transaction_uid TEXT NOT NULL, since REAL NOT NULL, "
                        "is_duplicate INTEGER NOT NULL, instances TEXT NOT NULL)"
                    )
                    connection.execute("CREATE INDEX IF NOT EXISTS promise_peer ON promise (ae, peer)")
                    connection.execute(f"PRAGMA user_version = {_SCHEMA}")
        except (OSError, sqlite3.Error) as error:
            self.close()
            raise ConfigurationError(
                f"commitments {self.path}: expected a file that SQLite can read and write, got {error}; correct its "
                "path, owner or mode"
            ) from error
        if version not in (0, _SCHEMA):
            self.close()
            raise ConfigurationError(
                f"commitments {self.path}: expected a file of version {_SCHEMA}, got version {version}; run the "
                "dimsetls that wrote it until all is reported"
            )

    def close(self) -> None:
        """Let go of the file."""
        with self._lock:
            if self._connection is not None:
                self._connection.close()
            self._connection = None

    def add(
        self, ae_title: str, peer: str, transaction_uid: str, references: Sequence[Reference], now: float
    ) -> Promise | None:
        """Write a promise down; None where the same request waits already: it came twice.

        Raises ServiceError (0213H) where the peer has too many, and sqlite3.Error.
        """
        instances = "\n".join(f"{each.sop_class_uid} {each.sop_instance_uid}" for each in references)
        with self._writing() as connection:
            waiting = connection.execute("SELECT count(*) FROM promise WHERE ae = ? AND peer = ?", (ae_title, peer))
            if waiting.fetchone()[0] >= _MOST:
                raise ServiceError(Status.RESOURCE_LIMITATION, f"{_MOST} requests are not reported yet")
            same = "FROM promise WHERE ae = ? AND peer = ? AND transaction_uid = ?"
            uid = (ae_title, peer, transaction_uid)
            if connection.execute(f"SELECT 1 {same} AND instances = ?", (*uid, instances)).fetchone():
                return None
            is_duplicate = connection.execute(f"SELECT 1 {same}", uid).fetchone() is not None
            made = connection.execute(
                "INSERT INTO promise (ae, peer, transaction_uid, since, is_duplicate, instances) "
                "VALUES (?, ?, ?, ?, ?, ?)", (*uid, now, is_duplicate, instances),
            )  # fmt: skip
        return Promise(made.lastrowid or 0, peer, transaction_uid, now, is_duplicate)

    def pending(self, ae_title: str, peer: str | None = None) -> list[Promise]:
        """What is promised by an application entity, the oldest first; to one peer, or to all."""
        which, values = ("AND peer = ?", (ae_title, peer)) if peer is not None else ("", (ae_title,))
        with self._lock:
            rows = self._open_connection.execute(
                "SELECT number, peer, transaction_uid, since, is_duplicate FROM promise "  # noqa: S608
                f"WHERE ae = ? {which} ORDER BY number", values,
            ).fetchall()  # fmt: skip
        return [Promise(number, to, uid, since, bool(twice)) for number, to, uid, since, twice in rows]

    def references(self, number: int) -> list[Reference]:
        """The instances of a promise; none, if it is kept no more."""
        with self._lock:
            row = self._open_connection.execute("SELECT instances FROM promise WHERE number = ?", (number,)).fetchone()
        return [Reference(*line.split(" ")) for line in row[0].split("\n")] if row else []

    def forget(self, number: int) -> None:
        """It is reported, or given up."""
        with self._writing() as connection:
            connection.execute("DELETE FROM promise WHERE number = ?", (number,))

    @property
    def _open_connection(self) -> sqlite3.Connection:
        if self._connection is None:
            raise LocalProtocolError("the promises of storage commitment are not open: call open() first")
        return self._connection

    @contextmanager
    def _writing(self) -> Iterator[sqlite3.Connection]:
        with self._lock:
            connection = self._open_connection
            connection.execute("BEGIN IMMEDIATE")
            try:
                yield connection
                connection.execute("COMMIT")
            except BaseException:
                if connection.in_transaction:
                    connection.execute("ROLLBACK")
                raise
