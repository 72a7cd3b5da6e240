"""Promises on disk."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from pathlib import Path

import pytest

from dimsetls.errors import ConfigurationError, LocalProtocolError, ServiceError
from dimsetls.services.commitment import transactions as module
from dimsetls.services.commitment.references import Reference
from dimsetls.services.commitment.transactions import Promise, Transactions

ONE, TWO = Reference("1.2", "1.2.3"), Reference("1.2", "1.2.4")


@pytest.fixture
def transactions(tmp_path: Path) -> Iterator[Transactions]:
    made = Transactions(tmp_path / "promises.db")
    made.open()
    yield made
    made.close()


def test_a_promise_is_there_after_the_process(transactions: Transactions) -> None:
    promise = transactions.add("DIMSETLS", "CT1", "1.9", [ONE, TWO], 7.5)
    assert promise == Promise(1, "CT1", "1.9", 7.5, is_duplicate=False)
    again = Transactions(transactions.path)
    again.open()
    assert again.pending("DIMSETLS") == again.pending("DIMSETLS", "CT1") == [promise]
    assert again.references(1) == [ONE, TWO]
    assert again.pending("OTHER") == again.pending("DIMSETLS", "CT2") == []
    again.close()


def test_what_is_reported_is_forgotten(transactions: Transactions) -> None:
    transactions.add("DIMSETLS", "CT1", "1.9", [ONE], 0)
    transactions.forget(1)
    assert transactions.pending("DIMSETLS") == transactions.references(1) == []
    assert transactions.add("DIMSETLS", "CT1", "1.9", [ONE], 0) is not None


def test_the_same_request_is_one_promise_and_another_with_its_uid_a_duplicate(transactions: Transactions) -> None:
    transactions.add("DIMSETLS", "CT1", "1.9", [ONE], 0)
    assert transactions.add("DIMSETLS", "CT1", "1.9", [ONE], 1) is None
    other = transactions.add("DIMSETLS", "CT1", "1.9", [TWO], 2)
    assert other is not None
    assert other.is_duplicate
    elsewhere = [transactions.add("DIMSETLS", "CT2", "1.9", [TWO], 3), transactions.add("AE2", "CT1", "1.9", [TWO], 3)]
    assert [each and each.is_duplicate for each in elsewhere] == [False, False]


def test_a_peer_cannot_pile_them_up(transactions: Transactions, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_MOST", 2)
    for uid in ("1.1", "1.2"):
        transactions.add("DIMSETLS", "CT1", uid, [ONE], 0)
    with pytest.raises(ServiceError) as caught:
        transactions.add("DIMSETLS", "CT1", "1.3", [ONE], 0)
    assert caught.value.status == 0x0213
    assert transactions.add("DIMSETLS", "CT2", "1.3", [ONE], 0) is not None


def test_only_the_group_may_read_it(transactions: Transactions) -> None:
    assert transactions.path.stat().st_mode & 0o007 == 0


def test_what_cannot_be_used_is_said(tmp_path: Path) -> None:
    (tmp_path / "text").write_text("no database, but long enough to be taken for one: " * 50)
    with pytest.raises(ConfigurationError, match="expected a file that SQLite can read and write"):
        Transactions(tmp_path / "text").open()
    with sqlite3.connect(tmp_path / "newer") as connection:
        connection.execute("PRAGMA user_version = 99")
    with pytest.raises(ConfigurationError, match="got version 99"):
        Transactions(tmp_path / "newer").open()
    with pytest.raises(LocalProtocolError, match="call open"):
        Transactions(tmp_path / "closed").pending("DIMSETLS")
