"""The index of stored instances: patients, studies, series and instances in one SQLite file, next to what it indexes.

Several processes may read and write it at once (WAL). Everything here waits for the disk and is meant for worker
threads, any number of them. Those that write at the same time share a transaction, and so its one sync.

A study belongs to a patient and a series to a study as their instances say: if two instances with one Study Instance
UID name two patients, there are two studies, and no one's data appear under another's name. A patient without an ID is
a new one for each study.
"""

from __future__ import annotations

import fcntl
import os
import sqlite3
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Generic, TypeVar

from ..errors import ConfigurationError, LocalProtocolError
from .matching import fold_name
from .models import ATTRIBUTES, LEVELS, Level
from .records import Entry
from .visibility import ORIGIN, origin_of

T = TypeVar("T")

SCHEMA: Final = 2
"""To be changed with the tables or with what is stored in them: an index of another number is to be rebuilt."""

_UNFINISHED: Final = 0x7FFF  # a rebuild began and did not end
_FILE_MODE: Final = 0o640
_BUSY_MS: Final = 30_000     # how long one process waits for another's transaction
_LONGEST_BATCH: Final = 256  # writers that share one transaction
_CHUNK: Final = 500

NAME_GROUPS: Final = ("NameAlphabetic", "NameIdeographic", "NamePhonetic")
"""Columns with the folded component groups of Patient's Name, for finding."""

TABLES: Final = {Level.PATIENT: "patient", Level.STUDY: "study", Level.SERIES: "series", Level.IMAGE: "instance"}
COLUMNS: Final = {
    level: tuple(a.keyword for a in ATTRIBUTES.values() if a.level is level and not a.computed) for level in LEVELS
}
"""The attributes that a row of each table has; all are text, empty if unknown."""

_OWN_COLUMNS: Final = {
    Level.PATIENT: ("identity TEXT NOT NULL UNIQUE", *(f"{name} TEXT NOT NULL DEFAULT ''" for name in NAME_GROUPS)),
    Level.STUDY: ("patient INTEGER NOT NULL REFERENCES patient", "UNIQUE (StudyInstanceUID, patient)"),
    Level.SERIES: ("study INTEGER NOT NULL REFERENCES study", "UNIQUE (SeriesInstanceUID, study)"),
    # The origin is no reference to SQLite, which would look at every instance before it lets go of one.
    Level.IMAGE: ("series INTEGER NOT NULL REFERENCES series", "origin INTEGER NOT NULL",
                  "TransferSyntaxUID TEXT NOT NULL", "path TEXT NOT NULL", "size INTEGER NOT NULL",
                  "UNIQUE (SOPInstanceUID)"),
}  # fmt: skip
_INDEXES: Final = (
    *((f"patient_{name}", f"patient ({name})") for name in ("PatientID", "PatientBirthDate", *NAME_GROUPS)),
    *((f"study_{name}", f"study ({name})") for name in ("patient", "StudyDate", "AccessionNumber", "StudyID")),
    *((f"series_{name}", f"series ({name})") for name in ("study", "Modality")),
    ("instance_series", "instance (series, origin)"),
)


@dataclass(frozen=True, slots=True)
class Stored:
    """What retrieving an instance takes; `path` is relative to the store, `size` in bytes that of the file."""

    sop_class_uid: str
    sop_instance_uid: str
    transfer_syntax_uid: str
    path: str
    size: int


STORED_COLUMNS: Final = "SOPClassUID, SOPInstanceUID, TransferSyntaxUID, path, size"


class Index:
    """The index in the file `path`. With `durable`, what was written outlives a power failure.

    With `in_turn`, those who write with it do so one after the other, as they come: SQLite has them sleep and look
    again, which takes far longer where several processes write all the time.
    """

    def __init__(self, path: str | os.PathLike[str], *, durable: bool = True, in_turn: bool = False) -> None:
        self.path = Path(path).absolute()
        self.durable = durable
        self._in_turn = in_turn
        self._turns = -1
        self._free: list[sqlite3.Connection] = []  # connections that only read, and that nobody uses now
        self._writer: sqlite3.Connection | None = None
        self._writing = threading.Lock()
        self._waiting: list[_Job[object]] = []
        self._lock = threading.Lock()  # around the two lists

    def open(self, *, to_rebuild: bool = False) -> None:
        """Open the index, and make it where it is missing; `to_rebuild` empties it. Raises ConfigurationError."""
        try:
            self._open(to_rebuild)
        except (OSError, sqlite3.Error) as error:
            self.close()
            raise ConfigurationError(
                f"index {self.path}: expected a file that SQLite can read and write, got {error}; correct its path, "
                f"owner or mode, or make it anew with `dimsetls index rebuild`"
            ) from error

    def _open(self, to_rebuild: bool) -> None:
        # SQLite gives its other files the mode of the first, and would make that readable to the world.
        os.close(os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, _FILE_MODE))
        try:
            self._writer = self._connect()
            version = _version(self._writer)
        except sqlite3.DatabaseError as error:
            if not to_rebuild or isinstance(error, sqlite3.OperationalError):
                raise
            self.close()  # it is no database, or no longer one
            for suffix in ("-wal", "-shm", ""):
                self.path.with_name(self.path.name + suffix).unlink(missing_ok=True)
            os.close(os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, _FILE_MODE))
            self._writer, version = self._connect(), 0
        if self._in_turn:
            self._turns = os.open(self.path.with_suffix(".lock"), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        self._writer.execute("PRAGMA journal_mode = WAL")
        self._writer.execute(f"PRAGMA synchronous = {'FULL' if self.durable else 'NORMAL'}")
        if to_rebuild:
            with _transaction(self._writer):
                for table in ("instance", "origin", "series", "study", "patient"):
                    self._writer.execute(f"DROP TABLE IF EXISTS {table}")
                _create(self._writer, _UNFINISHED)
        elif version == 0:
            with _transaction(self._writer):
                if _version(self._writer) == 0:  # another process may have been faster
                    _create(self._writer, SCHEMA)
        elif version != SCHEMA:
            what = "one whose rebuild did not end" if version == _UNFINISHED else f"one of version {version}"
            self.close()
            raise ConfigurationError(
                f"index {self.path}: expected one of version {SCHEMA}, got {what}; run `dimsetls index rebuild`"
            )

    def finish_rebuild(self) -> None:
        """Say that an index opened to be rebuilt holds all again."""
        self.write(lambda tables: tables.execute(f"PRAGMA user_version = {SCHEMA}"))

    def close(self) -> None:
        """Let go of the file; never raises. What is being written is waited for."""
        with self._writing, self._lock:
            connections, self._free = [*self._free, self._writer], []
            self._writer = None
            if self._turns >= 0:
                os.close(self._turns)
                self._turns = -1
        for connection in connections:
            if connection is not None:
                with suppress(sqlite3.Error):
                    connection.close()

    def write(self, job: Callable[[Tables], T]) -> T:
        """Call `job` in a transaction and return what it returns, once that is as safe as the index promises.

        What the job raises takes back what it did, not what others did in the same transaction. Raises sqlite3.Error
        if the transaction fails; then nothing of it was written.
        """
        mine = _Job(job)
        with self._lock:
            self._waiting.append(mine)  # type: ignore[arg-type]
        # Whoever is let in first works for all who wait; they find their job done when it is their turn.
        with self._writing:
            while not mine.done:
                with self._lock:
                    batch = self._waiting[:_LONGEST_BATCH]
                    del self._waiting[:_LONGEST_BATCH]
                self._perform(batch)
        if mine.error is not None:
            raise mine.error
        return mine.result[0]

    def _perform(self, batch: list[_Job[object]]) -> None:
        try:
            if self._writer is None:
                raise LocalProtocolError("write() to an index that is not open: call open() first")
            tables = Tables(self._writer)
            with self._turn(), _transaction(self._writer):
                for job in batch:
                    job.perform(tables)
                for call in tables.before_commit.values():
                    call()
            for call in tables.after_commit.values():
                call()
        except Exception as error:  # not lost: each who waits raises it
            for job in batch:
                job.error = job.error or error
        finally:
            for job in batch:
                job.done = True

    @contextmanager
    def _turn(self) -> Iterator[None]:
        if self._turns < 0:
            yield
            return
        fcntl.flock(self._turns, fcntl.LOCK_EX)
        try:
            yield
        finally:
            fcntl.flock(self._turns, fcntl.LOCK_UN)

    @contextmanager
    def reading(self) -> Iterator[Tables]:
        """The tables, to be read; each statement sees what was committed before it began."""
        with self._lock:
            if self._writer is None:
                raise LocalProtocolError("reading() of an index that is not open: call open() first")
            connection = self._free.pop() if self._free else None
        connection = connection or self._connect()
        try:
            yield Tables(connection)
        finally:
            with self._lock:
                is_open = self._writer is not None
                if is_open:
                    self._free.append(connection)
            if not is_open:
                connection.close()

    def find(self, sop_instance_uid: str) -> Stored | None:
        """The instance with this UID."""
        with self.reading() as tables:
            return tables.find(sop_instance_uid)

    def find_all(self, sop_instance_uids: Iterable[str]) -> dict[str, Stored]:
        """Those of the instances that are stored, by UID."""
        with self.reading() as tables:
            return {uid: found for uid in sop_instance_uids if (found := tables.find(uid)) is not None}

    def remove(self, sop_instance_uid: str) -> Stored | None:
        """Forget an instance, and the series, study and patient that had no other; returns what it was."""
        return self.write(lambda tables: tables.remove(sop_instance_uid))

    def count(self) -> int:
        """How many instances there are."""
        with self.reading() as tables:
            return int(tables.execute("SELECT count(*) FROM instance").fetchone()[0])

    def every(self) -> Iterator[list[Stored]]:
        """All instances, a chunk at a time; nothing is held between chunks."""
        last = 0
        while True:
            with self.reading() as tables:
                rows = tables.execute(
                    f"SELECT id, {STORED_COLUMNS} FROM instance WHERE id > ? ORDER BY id LIMIT {_CHUNK}",  # noqa: S608
                    (last,)).fetchall()  # fmt: skip
            if not rows:
                return
            last = rows[-1][0]
            yield [Stored(*row[1:]) for row in rows]

    def _connect(self) -> sqlite3.Connection:
        connection = sqlite3.connect(self.path, timeout=_BUSY_MS / 1000, isolation_level=None, check_same_thread=False)
        connection.execute("PRAGMA foreign_keys = ON")
        return connection


class Tables:
    """The tables as one transaction, or one reader, has them.

    `before_commit` and `after_commit` hold, by any key, what is to be done once when the jobs of the transaction are
    done, and once it is committed and the next has not begun in this process.
    """

    __slots__ = ("_connection", "after_commit", "before_commit")

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection
        self.before_commit: dict[object, Callable[[], None]] = {}
        self.after_commit: dict[object, Callable[[], None]] = {}

    def execute(self, statement: str, values: Iterable[object] = ()) -> sqlite3.Cursor:
        """Run a statement."""
        return self._connection.execute(statement, tuple(values))

    def find(self, sop_instance_uid: str) -> Stored | None:
        """The instance with this UID."""
        row = self.execute(
            f"SELECT {STORED_COLUMNS} FROM instance WHERE SOPInstanceUID = ?", (sop_instance_uid,)  # noqa: S608
        ).fetchone()
        return Stored(*row) if row else None

    def values(self, sop_instance_uid: str) -> dict[str, str]:
        """What is stored of an instance and its series, study and patient that its own file decides, by column."""
        columns = [f"instance.{column}" for column in COLUMNS[Level.IMAGE]]
        columns += ["SeriesInstanceUID", "StudyInstanceUID", "PatientID", *(f"origin.{column}" for column in ORIGIN)]
        row = self.execute(
            f"SELECT {', '.join(columns)} FROM instance JOIN series ON series.id = instance.series "  # noqa: S608
            "JOIN origin ON origin.id = instance.origin JOIN study ON study.id = series.study "
            "JOIN patient ON patient.id = study.patient WHERE SOPInstanceUID = ?",
            (sop_instance_uid,),
        ).fetchone()
        return dict(zip((column.rpartition(".")[2] for column in columns), row or (), strict=False))

    def put(self, entry: Entry) -> None:
        """Add an instance, in place of one with its UID."""
        values = entry.values
        self.remove(entry.sop_instance_uid)
        study_uid = values.get("StudyInstanceUID", "")
        patient_id = values.get("PatientID", "")
        identity = f"{values.get('IssuerOfPatientID', '')}\\{patient_id}" if patient_id else f"study {study_uid}"
        groups = fold_name(values.get("PatientName", ""))
        names = {name: group for name, group in zip(NAME_GROUPS, groups, strict=False) if group}
        patient = self._row(Level.PATIENT, values, {"identity": identity}, names)
        study = self._row(Level.STUDY, values, {"StudyInstanceUID": study_uid, "patient": patient}, {})
        series_uid = values.get("SeriesInstanceUID", "")
        series = self._row(Level.SERIES, values, {"SeriesInstanceUID": series_uid, "study": study}, {})
        row = {column: values.get(column, "") for column in COLUMNS[Level.IMAGE]}
        origin = self._origin(series, origin_of(values))
        self._insert("instance", row | {
            "series": series, "origin": origin, "TransferSyntaxUID": entry.transfer_syntax_uid,
            "path": entry.path, "size": entry.size,
        })  # fmt: skip

    def remove(self, sop_instance_uid: str) -> Stored | None:
        """Forget an instance, and the series, study and patient that had no other; returns what it was."""
        stored = self.find(sop_instance_uid)
        if stored is None:
            return None
        parent = self._parent("instance", "series", "SOPInstanceUID", sop_instance_uid)
        origin = self._parent("instance", "origin", "SOPInstanceUID", sop_instance_uid)
        self.execute("DELETE FROM instance WHERE SOPInstanceUID = ?", (sop_instance_uid,))
        self.execute("DELETE FROM origin WHERE id = ? AND NOT EXISTS "
                     "(SELECT 1 FROM instance WHERE series = ? AND origin = ?)", (origin, parent, origin))  # fmt: skip
        for table, child, above in (("series", "instance", "study"), ("study", "series", "patient"),
                                    ("patient", "study", "")):  # fmt: skip
            if self.execute(f"SELECT 1 FROM {child} WHERE {table} = ? LIMIT 1", (parent,)).fetchone():  # noqa: S608
                break
            grandparent = self._parent(table, above, "id", parent) if above else 0
            self.execute(f"DELETE FROM {table} WHERE id = ?", (parent,))  # noqa: S608
            parent = grandparent
        return stored

    def _parent(self, table: str, above: str, column: str, value: object) -> int:
        query = f"SELECT {above} FROM {table} WHERE {column} = ?"  # noqa: S608
        return int(self.execute(query, (value,)).fetchone()[0])

    def _row(
        self, level: Level, values: Mapping[str, str], unique: Mapping[str, object], also: Mapping[str, str]
    ) -> int:
        """The row of a patient, study or series, made if it is missing; what it did not know yet is filled in."""
        table = TABLES[level]
        mine = {**{column: value for column in COLUMNS[level] if (value := values.get(column))}, **also}
        where = " AND ".join(f"{column} = ?" for column in unique)
        columns = ", ".join(("id", *mine))
        found = self.execute(f"SELECT {columns} FROM {table} WHERE {where}", unique.values()).fetchone()  # noqa: S608
        if found is None:
            return self._insert(table, {**mine, **unique})
        news = [column for column, known in zip(mine, found[1:], strict=True) if not known]
        if news:
            assignments = ", ".join(f"{column} = ?" for column in news)
            self.execute(f"UPDATE {table} SET {assignments} WHERE id = ?",  # noqa: S608
                         (*(mine[column] for column in news), found[0]))  # fmt: skip
        return int(found[0])

    def _origin(self, series: int, values: Mapping[str, str]) -> int:
        row = {"series": series, **values}
        where = " AND ".join(f"{column} = ?" for column in row)
        found = self.execute(f"SELECT id FROM origin WHERE {where}", row.values()).fetchone()  # noqa: S608
        return int(found[0]) if found else self._insert("origin", row)

    def _insert(self, table: str, row: Mapping[str, object]) -> int:
        columns, places = ", ".join(row), ", ".join("?" * len(row))
        cursor = self.execute(f"INSERT INTO {table} ({columns}) VALUES ({places})", row.values())  # noqa: S608
        return cursor.lastrowid or 0


class _Job(Generic[T]):
    """What one thread wants done in a transaction, and what came of it."""

    __slots__ = ("_call", "done", "error", "result")

    def __init__(self, call: Callable[[Tables], T]) -> None:
        self._call = call
        self.result: list[T] = []
        self.error: Exception | None = None
        self.done = False

    def perform(self, tables: Tables) -> None:
        tables.execute("SAVEPOINT job")
        try:
            self.result.append(self._call(tables))
        except Exception as error:  # not lost: whoever waits for the job raises it
            self.error = error
            tables.execute("ROLLBACK TO job")
        tables.execute("RELEASE job")


@contextmanager
def _transaction(connection: sqlite3.Connection) -> Iterator[None]:
    connection.execute("BEGIN IMMEDIATE")
    try:
        yield
        connection.execute("COMMIT")
    except BaseException:
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        raise


def _version(connection: sqlite3.Connection) -> int:
    return int(connection.execute("PRAGMA user_version").fetchone()[0])


def _create(connection: sqlite3.Connection, version: int) -> None:
    for level in LEVELS:
        columns = ["id INTEGER PRIMARY KEY", *(f"{column} TEXT NOT NULL DEFAULT ''" for column in COLUMNS[level])]
        connection.execute(f"CREATE TABLE {TABLES[level]} ({', '.join((*columns, *_OWN_COLUMNS[level]))})")
    origin = ", ".join(f"{column} TEXT NOT NULL" for column in ORIGIN)
    connection.execute("CREATE TABLE origin (id INTEGER PRIMARY KEY, series INTEGER NOT NULL REFERENCES series, "
                       f"{origin}, UNIQUE (series, {', '.join(ORIGIN)}))")  # fmt: skip
    for name, columns_of in _INDEXES:
        connection.execute(f"CREATE INDEX {name} ON {columns_of}")
    connection.execute(f"PRAGMA user_version = {version}")
