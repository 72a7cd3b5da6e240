from __future__ import annotations

import fcntl
import os
import sqlite3
import stat
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from dimsetls.errors import ConfigurationError, LocalProtocolError
from dimsetls.services.index import SCHEMA, TABLES, Index

from .archives import CT, an_entry, an_index


def counts(index: Index) -> dict[str, int]:
    with index.reading() as tables:
        return {table: tables.execute(f"SELECT count(*) FROM {table}").fetchone()[0] for table in TABLES.values()}


def test_an_instance_is_found_by_its_uid_with_what_sending_it_takes(tmp_path):
    index = an_index(tmp_path, an_entry(1), an_entry(2))
    stored = index.find("1.1.1.2")
    assert (stored.sop_class_uid, stored.path, stored.size) == (CT, "a/1.1.1.2.dcm", 1002)
    assert index.find("9.9") is None
    assert set(index.find_all(["1.1.1.1", "9.9"])) == {"1.1.1.1"}
    assert counts(index) == {"patient": 1, "study": 1, "series": 1, "instance": 2}
    assert [[each.sop_instance_uid for each in chunk] for chunk in index.every()] == [["1.1.1.1", "1.1.1.2"]]
    assert index.count() == 2
    index.close()


def test_an_index_outlives_its_opening(tmp_path):
    an_index(tmp_path, an_entry()).close()
    index = an_index(tmp_path)
    assert index.find("1.1.1.1") is not None
    index.close()


def test_a_second_instance_with_the_uid_takes_the_place_of_the_first(tmp_path):
    index = an_index(tmp_path, an_entry(), an_entry(StudyInstanceUID="1.2", PatientID="P2", SOPInstanceUID="1.1.1.1"))
    assert counts(index) == {"patient": 1, "study": 1, "series": 1, "instance": 1}
    with index.reading() as tables:
        assert tables.values("1.1.1.1")["PatientID"] == "P2"
    index.close()


def test_what_is_empty_is_removed_with_its_last_instance(tmp_path):
    index = an_index(tmp_path, an_entry(1), an_entry(2), an_entry(3, SeriesInstanceUID="1.1.2"))
    assert index.remove("1.1.1.3").path == "a/1.1.1.3.dcm"
    assert counts(index) == {"patient": 1, "study": 1, "series": 1, "instance": 2}
    index.remove("1.1.1.1")
    index.remove("1.1.1.2")
    assert counts(index) == {"patient": 0, "study": 0, "series": 0, "instance": 0}
    assert index.remove("1.1.1.2") is None
    index.close()


def test_nobody_gets_the_data_of_another(tmp_path):
    """One Study Instance UID under two patients is two studies; patients without an ID are never one."""
    index = an_index(
        tmp_path, an_entry(1), an_entry(2, PatientID="P2"), an_entry(3, IssuerOfPatientID="H2"),
        an_entry(4, PatientID=""), an_entry(5, PatientID="", StudyInstanceUID="1.2"),
    )  # fmt: skip
    assert counts(index)["patient"] == 5
    index.close()


def test_what_an_earlier_instance_lacked_is_filled_in_and_what_it_had_is_kept(tmp_path):
    index = an_index(tmp_path, an_entry(1, StudyDate=""), an_entry(2, StudyDate="20200101", AccessionNumber="A2"))
    with index.reading() as tables:
        assert tables.execute("SELECT StudyDate, AccessionNumber FROM study").fetchall() == [("20200101", "A1")]
    index.close()


def test_a_job_that_fails_takes_back_its_own_writes_only(tmp_path):
    index = an_index(tmp_path)

    def fail(tables):
        tables.put(an_entry(1))
        raise ValueError("meant")

    with pytest.raises(ValueError, match="meant"):
        index.write(fail)
    index.write(lambda tables: tables.put(an_entry(2)))
    assert [index.find(uid) is None for uid in ("1.1.1.1", "1.1.1.2")] == [True, False]
    index.close()


def test_those_who_write_at_once_share_a_transaction(tmp_path):
    """While one is at work the others queue up; a failure among them, or before the commit, hits whom it should."""
    index = an_index(tmp_path)
    is_in, go_on, together = threading.Event(), threading.Event(), []

    def first(tables):
        is_in.set()
        assert go_on.wait(10)
        tables.put(an_entry(1))

    def later(number):
        def job(tables):
            together.append(id(tables))
            tables.put(an_entry(number))
            if number == 5:
                raise ValueError("meant")
        return job

    with ThreadPoolExecutor(10) as pool:
        leader = pool.submit(index.write, first)
        assert is_in.wait(10)
        others = [pool.submit(index.write, later(number)) for number in range(2, 9)]
        while len(index._waiting) < 7:
            pass
        go_on.set()
        leader.result()
        assert [type(other.exception()) for other in others].count(ValueError) == 1
    assert len(set(together)) == 1
    assert len(together) == 7
    assert index.count() == 7
    index.close()


def test_what_is_done_before_the_commit_is_done_once_and_its_failure_is_everybodys(tmp_path):
    index = an_index(tmp_path)
    done = []

    def job(tables):
        tables.put(an_entry(1))
        tables.before_commit["directory"] = lambda: done.append(1)
        tables.before_commit["directory"] = lambda: done.append(2)

    index.write(job)
    assert done == [2]

    def broken(tables):
        tables.put(an_entry(2))
        tables.before_commit["directory"] = lambda: os.stat("/no/such")

    with pytest.raises(OSError, match="No such file"):
        index.write(broken)
    assert index.find("1.1.1.2") is None
    index.close()


WRITER = """
import sys
sys.path[:0] = {path!r}
from pathlib import Path
from tests.services.archives import an_entry, an_index
index = an_index(Path({directory!r}))
for number in range(100):
    index.write(lambda tables: tables.put(an_entry(number, SOPInstanceUID=f"2.{{sys.argv[1]}}.{{number}}")))
index.close()
"""


def test_two_processes_and_their_threads_write_at_once(tmp_path):
    an_index(tmp_path).close()
    script = WRITER.format(path=[os.getcwd()], directory=str(tmp_path))
    writers = [subprocess.Popen([sys.executable, "-c", script, str(number)]) for number in (1, 2)]
    index = an_index(tmp_path)
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda number: index.write(lambda tables: tables.put(an_entry(number))), range(50)))
    assert [writer.wait(60) for writer in writers] == [0, 0]
    assert counts(index) == {"patient": 1, "study": 1, "series": 1, "instance": 250}
    index.close()


def test_the_files_are_not_for_the_world(tmp_path):
    before = os.umask(0)
    try:
        index = an_index(tmp_path, an_entry())
        modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in tmp_path.iterdir()}
    finally:
        os.umask(before)
    assert modes == dict.fromkeys(("index.db", "index.db-wal", "index.db-shm"), 0o640)
    index.close()


@pytest.mark.parametrize("durable", [False, True])
def test_it_is_as_durable_as_it_promises(tmp_path, durable):
    index = Index(tmp_path / "index.db", durable=durable)
    index.open()
    assert index.write(lambda tables: tables.execute("PRAGMA synchronous").fetchone()) == ((2 if durable else 1),)
    assert index.write(lambda tables: tables.execute("PRAGMA journal_mode").fetchone()) == ("wal",)
    index.close()


def test_an_index_of_another_version_is_to_be_rebuilt(tmp_path):
    an_index(tmp_path).close()
    with sqlite3.connect(tmp_path / "index.db") as connection:
        connection.execute(f"PRAGMA user_version = {SCHEMA + 1}")
    connection.close()
    with pytest.raises(ConfigurationError, match="expected one of version 2, got one of version 3; run"):
        an_index(tmp_path)


@pytest.mark.parametrize("make", [
    lambda path: path.write_bytes(b"no database at all" * 100),
    lambda path: path.mkdir(),
])
def test_what_cannot_be_opened_says_so(tmp_path, make):
    make(tmp_path / "index.db")
    index = Index(tmp_path / "index.db")
    with pytest.raises(ConfigurationError, match=r"index /.*: expected a file that SQLite can read and write, got"):
        index.open()
    with pytest.raises(LocalProtocolError):
        index.find("1.2")
    with pytest.raises(LocalProtocolError):
        index.write(lambda tables: None)


def test_reading_ends_well_when_the_index_is_closed_meanwhile(tmp_path):
    index = an_index(tmp_path, an_entry())
    with index.reading() as tables:
        index.close()
        assert tables.find("1.1.1.1") is not None
    index.close()


def test_those_who_write_in_turn_wait_for_each_other_and_for_nobody_who_died(tmp_path):
    one, other = (Index(tmp_path / "index.db", in_turn=True) for _ in range(2))
    for index in one, other:
        index.open()
    begun, go_on, order = threading.Event(), threading.Event(), []

    def first(tables):
        begun.set()
        assert go_on.wait(30)
        order.append("first")

    writing = threading.Thread(target=one.write, args=(first,))
    writing.start()
    assert begun.wait(30)
    waiting = threading.Thread(target=other.write, args=(lambda tables: order.append("second"),))
    waiting.start()
    held = os.open(tmp_path / "index.lock", os.O_RDWR)
    with pytest.raises(BlockingIOError):
        fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
    go_on.set()
    writing.join()
    waiting.join()
    assert order == ["first", "second"]
    one.close()
    other.write(lambda tables: order.append("third"))
    assert order[2:] == ["third"]
    fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
    os.close(held)
    other.close()
