"""What is to be forwarded, in the file of the index: an instance is stored, indexed and queued, or nothing of it is.

There is one row for each instance and peer, however many rules name the peer; the first that takes the instance has
it. The row stays when the instance was sent, so that it is not sent again when it is stored again. A replaced instance
is another `version`, and to be sent anew; what is still heard of the one before does not count.

Everything here waits for the disk and is meant for worker threads. Times are those of the wall, for they outlive the
process; a clock that was set back makes nothing wait for ever.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from enum import Enum
from typing import Final

from ..index import Index, Tables
from ..records import Entry
from .rules import Rule
from .verdict import Verdict

_COLUMNS: Final = ("id, version, rule, peer, SOPClassUID, SOPInstanceUID, TransferSyntaxUID, path, ae, "
                   "state, attempts, refusals, since, due, error")
_SCHEMA: Final = (
    # `ae` is the one that received it, `since` when it began to wait, `due` when it is to be tried, or was sent.
    """CREATE TABLE IF NOT EXISTS forward (
        id INTEGER PRIMARY KEY AUTOINCREMENT, version INTEGER NOT NULL DEFAULT 1,
        rule TEXT NOT NULL, peer TEXT NOT NULL, SOPClassUID TEXT NOT NULL, SOPInstanceUID TEXT NOT NULL,
        TransferSyntaxUID TEXT NOT NULL, path TEXT NOT NULL, ae TEXT NOT NULL, state TEXT NOT NULL,
        attempts INTEGER NOT NULL DEFAULT 0, refusals INTEGER NOT NULL DEFAULT 0, since REAL NOT NULL,
        due REAL NOT NULL, error TEXT NOT NULL DEFAULT '', UNIQUE (SOPInstanceUID, peer))""",
    "CREATE INDEX IF NOT EXISTS forward_waiting ON forward (rule, peer, due, id) WHERE state = 'waiting'",
    "CREATE INDEX IF NOT EXISTS forward_since ON forward (rule, peer, since) WHERE state = 'waiting'",
    "CREATE INDEX IF NOT EXISTS forward_dead ON forward (rule, peer) WHERE state = 'dead'",
    # A peer that cannot be reached waits here, and not in each of its rows.
    """CREATE TABLE IF NOT EXISTS forward_hold (
        rule TEXT NOT NULL, peer TEXT NOT NULL, failures INTEGER NOT NULL, due REAL NOT NULL, error TEXT NOT NULL,
        PRIMARY KEY (rule, peer))""",
)
_AT_ONCE: Final = 1000
"""Rows that are changed in one transaction: those who store wait meanwhile."""


class State(Enum):
    """Where an instance is on its way to a peer."""

    WAITING = "waiting"
    SENT = "sent"
    DEAD = "dead"


@dataclass(frozen=True, slots=True)
class Item:
    """One instance for one peer. `path` is relative to the store, `ae_title` that of the AE which received it."""

    number: int
    version: int
    rule: str
    peer: str
    sop_class_uid: str
    sop_instance_uid: str
    transfer_syntax_uid: str
    path: str
    ae_title: str
    state: State
    attempts: int
    refusals: int
    since: float
    due: float
    error: str


@dataclass(frozen=True, slots=True)
class Hold:
    """A peer that is left alone until `due`, after so many failures in a row, the last for `error`."""

    failures: int
    due: float
    error: str


@dataclass(frozen=True, slots=True)
class Tally:
    """How much there is of one rule for one peer; `oldest` is since when the oldest waits, None: nothing does."""

    rule: str
    peer: str
    waiting: int
    dead: int
    sent: int
    oldest: float | None
    hold: Hold | None


@dataclass(frozen=True, slots=True)
class Selection:
    """Which items are meant: those that fit all that is not None."""

    rule: str | None = None
    peer: str | None = None
    states: tuple[State, ...] | None = None
    sop_instance_uids: tuple[str, ...] | None = None

    @property
    def where(self) -> tuple[str, list[object]]:
        """The condition in SQL, and its values."""
        states = tuple(state.value for state in self.states) if self.states is not None else None
        lists = (("rule", _one(self.rule)), ("peer", _one(self.peer)), ("state", states),
                 ("SOPInstanceUID", self.sop_instance_uids))  # fmt: skip
        found = [(column, values) for column, values in lists if values is not None]
        conditions = [f"{column} IN ({', '.join('?' * len(values))})" for column, values in found]
        return " AND ".join(conditions) or "1", [value for _, values in found for value in values]


class Queue:
    """The queue in the file of an index, which is open when this is used.

    `rules` say what is queued as it is stored. `news` is called, in any thread, when something was.
    """

    def __init__(self, index: Index, now: Callable[[], float] = time.time) -> None:
        self.rules: tuple[Rule, ...] = ()
        self.news: Callable[[], None] = lambda: None
        self._index = index
        self._now = now

    def prepare(self) -> None:
        """Make the tables where they are missing. Raises sqlite3.Error."""
        self._index.write(_create)

    # As an instance is stored ----------------------------------------------------------------------------------------

    def add(self, tables: Tables, entry: Entry, *, is_new: bool) -> None:
        """Queue an instance for every peer of the rules that take it, in the transaction that stores it.

        One that is not new, as it was stored before, is queued only where that was never done.
        """
        again = """UPDATE SET version = version + 1, rule = excluded.rule, SOPClassUID = excluded.SOPClassUID,
            TransferSyntaxUID = excluded.TransferSyntaxUID, path = excluded.path, ae = excluded.ae,
            state = 'waiting', attempts = 0, refusals = 0, since = excluded.since, due = excluded.due, error = ''"""
        statement = f"""INSERT INTO forward
            (rule, peer, SOPClassUID, SOPInstanceUID, TransferSyntaxUID, path, ae, state, since, due)
            VALUES (?, ?, ?, ?, ?, ?, ?, 'waiting', ?, ?)
            ON CONFLICT (SOPInstanceUID, peer) DO {again if is_new else "NOTHING"}"""  # noqa: S608
        peers: dict[str, str] = {}
        for rule in self.rules:
            for peer in rule.peers if rule.takes(entry) else ():
                peers.setdefault(peer, rule.name)
        now = self._now()
        for peer, name in peers.items():
            tables.execute(statement, (
                name, peer, entry.values["SOPClassUID"], entry.sop_instance_uid, entry.transfer_syntax_uid, entry.path,
                entry.values.get("ReceivingApplicationEntityTitle", ""), now, now,
            ))  # fmt: skip
        if peers:
            tables.after_commit[self] = self.news

    def add_stored(self, entry: Entry) -> None:
        """Queue what is stored already, when it has come again and its sender is told that it is stored."""
        if self.rules:
            self._index.write(lambda tables: self._add_stored(tables, entry))

    def _add_stored(self, tables: Tables, entry: Entry) -> None:
        stored = tables.find(entry.sop_instance_uid)
        if stored is not None:
            values = {**entry.values, "SOPClassUID": stored.sop_class_uid}
            self.add(tables, Entry(values, stored.transfer_syntax_uid, stored.path, stored.size), is_new=False)

    # For whoever sends -----------------------------------------------------------------------------------------------

    def pick(self, rule: Rule, peer: str, most: int) -> tuple[list[Item], float | None]:
        """What is to be sent to a peer now, the oldest first; and, if nothing is, the seconds until something will be.

        None: nothing waits. All picked at once came to one AE of ours.
        """
        now, which = self._now(), (rule.name, peer)
        with self._index.reading() as tables:
            hold = _hold(tables, *which)
            if hold is not None and 0 < hold.due - now <= rule.back_off.longest:
                return [], hold.due - now
            where = "FROM forward WHERE state = 'waiting' AND rule = ? AND peer = ?"
            rows = tables.execute(
                f"SELECT {_COLUMNS} {where} AND due <= ? ORDER BY due, id LIMIT ?", (*which, now, most)
            ).fetchall()
            if rows:
                items = list(map(_item, rows))
                return [item for item in items if item.ae_title == items[0].ae_title], 0.0
            first = tables.execute(f"SELECT min(due) {where}", which).fetchone()[0]
        if first is not None and first - now > rule.back_off.longest:  # the clock was set back
            self._index.write(lambda tables: tables.execute(
                "UPDATE forward SET due = ? WHERE state = 'waiting' AND rule = ? AND peer = ? AND due > ?",
                (now, *which, now + rule.back_off.longest)).close())  # fmt: skip
            return [], 0.0
        return [], None if first is None else first - now

    def settle(self, rule: Rule, results: Iterable[tuple[Item, Verdict, str]]) -> list[Item]:
        """Write down what became of items, and why; returns those that were not sent, as they are now.

        What was replaced, tried anew or dropped meanwhile is left as it is.
        """
        return self._index.write(lambda tables: self._settle(tables, rule, results))

    def _settle(self, tables: Tables, rule: Rule, results: Iterable[tuple[Item, Verdict, str]]) -> list[Item]:
        now, left = self._now(), []
        for item, verdict, sentence in results:
            attempts, refusals = item.attempts + 1, item.refusals + (verdict is Verdict.REFUSED)
            state, due = State.WAITING, now
            if verdict is Verdict.SENT:
                state = State.SENT
            elif verdict is Verdict.DEAD or refusals >= rule.attempts or now - item.since >= rule.give_up_after:
                state = State.DEAD
            else:
                due = now + rule.back_off.delay(attempts)
            row = tables.execute(
                "UPDATE forward SET state = ?, attempts = ?, refusals = ?, due = ?, error = ? "  # noqa: S608
                f"WHERE id = ? AND version = ? AND state = 'waiting' RETURNING {_COLUMNS}",
                (state.value, attempts, refusals, due, sentence, item.number, item.version)).fetchone()  # fmt: skip
            if row is not None and state is not State.SENT:
                left.append(_item(row))
        return left

    def hold(self, rule: Rule, peer: str, sentence: str) -> Hold:
        """Leave a peer alone for a while, longer after each failure; give up what has waited for too long."""
        held = self._index.write(lambda tables: self._hold(tables, rule, peer, sentence))
        error = f"gave up after {rule.give_up_after:g} s: {sentence}"
        statement = ("UPDATE forward SET state = 'dead', error = ? WHERE id IN (SELECT id FROM forward "
                     "WHERE state = 'waiting' AND rule = ? AND peer = ? AND since <= ? LIMIT ?)")
        values = error, rule.name, peer, self._now() - rule.give_up_after, _AT_ONCE
        while self._index.write(lambda tables: tables.execute(statement, values).rowcount) == _AT_ONCE:
            pass
        return held

    def _hold(self, tables: Tables, rule: Rule, peer: str, sentence: str) -> Hold:
        former = _hold(tables, rule.name, peer)
        failures = former.failures + 1 if former is not None else 1
        hold = Hold(failures, self._now() + rule.back_off.delay(failures), sentence)
        tables.execute("INSERT OR REPLACE INTO forward_hold VALUES (?, ?, ?, ?, ?)",
                       (rule.name, peer, hold.failures, hold.due, hold.error))  # fmt: skip
        return hold

    def release(self, rule: Rule, peer: str) -> None:
        """The peer answers again."""
        self._index.write(lambda tables: _release(tables, Selection(rule.name, peer)))

    # For operators ---------------------------------------------------------------------------------------------------

    def tallies(self, *, with_sent: bool = False) -> list[Tally]:
        """How much there is by rule and peer; what was sent is counted only if asked for, which takes longer."""
        states = tuple(State) if with_sent else (State.WAITING, State.DEAD)
        counts: dict[tuple[str, str], dict[State, int]] = {}
        oldest: dict[tuple[str, str], float] = {}
        with self._index.reading() as tables:
            for state in states:
                # By itself each state has an index that leaves out all that was sent.
                for rule, peer, number, since in tables.execute(
                    f"SELECT rule, peer, count(*), {'min(since)' if state is State.WAITING else '0'} "  # noqa: S608
                    f"FROM forward WHERE state = '{state.value}' GROUP BY rule, peer"
                ).fetchall():  # fmt: skip
                    counts.setdefault((rule, peer), {})[state] = number
                    if state is State.WAITING:
                        oldest[rule, peer] = since
            holds = {row[:2]: Hold(*row[2:]) for row in tables.execute(
                "SELECT rule, peer, failures, due, error FROM forward_hold").fetchall()}  # fmt: skip
        tallies = []
        for rule, peer in sorted({*counts, *holds}):
            found = counts.get((rule, peer), {})
            waiting, dead, sent = (found.get(state, 0) for state in (State.WAITING, State.DEAD, State.SENT))
            tallies.append(Tally(rule, peer, waiting, dead, sent, oldest.get((rule, peer)), holds.get((rule, peer))))
        return tallies

    def items(self, selection: Selection, most: int) -> list[Item]:
        """The items that are meant, the oldest first."""
        where, values = selection.where
        with self._index.reading() as tables:
            rows = tables.execute(f"SELECT {_COLUMNS} FROM forward WHERE {where} ORDER BY since, id LIMIT ?",  # noqa: S608
                                  (*values, most)).fetchall()  # fmt: skip
        return list(map(_item, rows))

    def retry(self, selection: Selection) -> int:
        """Try items now, as if for the first time, and let their peers be called; returns how many there were."""
        self._index.write(lambda tables: _release(tables, selection))
        now = self._now()
        return self._in_chunks(
            selection, "UPDATE forward SET state = 'waiting', attempts = 0, refusals = 0, since = ?, due = ?, "
            "error = ''", (now, now),
        )  # fmt: skip

    def drop(self, selection: Selection) -> int:
        """Forget items: they are not sent, unless they are stored again; returns how many there were."""
        return self._in_chunks(selection, "DELETE FROM forward", ())

    def _in_chunks(self, selection: Selection, statement: str, values: tuple[object, ...]) -> int:
        where, wanted = selection.where
        done, last = 0, 0
        while True:
            with self._index.reading() as tables:
                ids = [number for (number,) in tables.execute(
                    f"SELECT id FROM forward WHERE {where} AND id > ? ORDER BY id LIMIT {_AT_ONCE}",  # noqa: S608
                    (*wanted, last)).fetchall()]  # fmt: skip
            if not ids:
                return done
            last = ids[-1]
            places = ", ".join("?" * len(ids))
            done += self._index.write(lambda tables, ids=ids, places=places: tables.execute(  # type: ignore[misc]
                f"{statement} WHERE id IN ({places}) AND {where}", (*values, *ids, *wanted)).rowcount)  # fmt: skip


def _create(tables: Tables) -> None:
    for statement in _SCHEMA:
        tables.execute(statement)


def _item(row: tuple[object, ...]) -> Item:
    values = [State(value) if place == 9 else value for place, value in enumerate(row)]
    return Item(*values)  # type: ignore[arg-type]  # the columns are in this order


def _hold(tables: Tables, rule: str, peer: str) -> Hold | None:
    row = tables.execute("SELECT failures, due, error FROM forward_hold WHERE rule = ? AND peer = ?",
                         (rule, peer)).fetchone()  # fmt: skip
    return Hold(*row) if row else None


def _release(tables: Tables, selection: Selection) -> None:
    where, values = Selection(selection.rule, selection.peer).where
    tables.execute(f"DELETE FROM forward_hold WHERE {where}", values)  # noqa: S608


def _one(value: str | None) -> tuple[str, ...] | None:
    return None if value is None else (value,)
