from __future__ import annotations

import os
import signal
import sqlite3
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from dimsetls.errors import ConfigurationError, ServiceError
from dimsetls.services import placing
from dimsetls.services.filesystem import Duplicates, Durability, FileStore, Outcome
from dimsetls.services.forwarding.queue import Queue
from dimsetls.services.index import Index, Tables
from dimsetls.services.layout import Layout
from dimsetls.services.upkeep import files, verify

from .archives import an_archive, ask, body, keep


def problems(store: FileStore) -> list[str]:
    return [step.problem for step in verify(store.root, store.index) if step.problem]


def left_behind(root: Path) -> list[str]:
    return [path.name for path in (root / ".incoming").rglob("*") if path.is_file() and path.name != "lock"
            and path.stat().st_size]  # fmt: skip


@pytest.mark.parametrize("fsync", Durability)
def test_an_instance_is_there_and_indexed(tmp_path, fsync):
    store = an_archive(tmp_path, fsync=fsync)
    stored = keep(store)
    assert stored.outcome is Outcome.STORED
    assert stored.path == tmp_path / "1.1/1.1.1.1.dcm"
    row = store.index.find("1.1.1.1")
    assert (row.path, row.size) == ("1.1/1.1.1.1.dcm", stored.size)
    assert [each.PatientName for each in ask(store.index, "STUDY", PatientName="doe*")] == ["Doe^John"]
    assert left_behind(tmp_path) == problems(store) == []
    store.close()


@pytest.mark.parametrize(("policy", "outcome", "study"), [
    (Duplicates.KEEP, Outcome.ALREADY_PRESENT, "1.1"),
    (Duplicates.REPLACE, Outcome.REPLACED, "1.2"),
    (Duplicates.IDENTICAL, None, "1.1"),
    (Duplicates.REFUSE, None, "1.1"),
])
def test_the_same_uid_in_another_study_is_a_duplicate(tmp_path, policy, outcome, study):
    store = an_archive(tmp_path, duplicates=policy)
    keep(store)
    if outcome is None:
        with pytest.raises(ServiceError) as caught:
            keep(store, data=body("1.2"))
        assert caught.value.status == 0x0111
    else:
        assert keep(store, data=body("1.2")).outcome is outcome
    assert list(files(tmp_path)) == [f"{study}/1.1.1.1.dcm"]
    assert [each.StudyInstanceUID for each in ask(store.index, "STUDY", StudyInstanceUID="")] == [study]
    assert left_behind(tmp_path) == problems(store) == []
    store.close()


@pytest.mark.parametrize(("policy", "outcome", "name"), [
    (Duplicates.IDENTICAL, Outcome.ALREADY_PRESENT, "Doe^John"),
    (Duplicates.REPLACE, Outcome.REPLACED, "New"),
    (Duplicates.KEEP, Outcome.ALREADY_PRESENT, "Doe^John"),
])
def test_the_same_uid_at_the_same_place(tmp_path, policy, outcome, name):
    store = an_archive(tmp_path, duplicates=policy, fsync=Durability.FULL)
    first = keep(store)
    again = keep(store, data=body() if policy is Duplicates.IDENTICAL else body(name="New"))
    assert (again.outcome, again.path) == (outcome, first.path)
    assert [each.PatientName for each in ask(store.index, "STUDY", PatientName="")] == [name]
    assert left_behind(tmp_path) == problems(store) == []
    store.close()


def test_a_file_that_was_stored_without_an_index_is_indexed_when_it_comes_again(tmp_path):
    plain = FileStore(tmp_path, layout=Layout("{StudyInstanceUID}/{SOPInstanceUID}.dcm"), fsync=Durability.NONE)
    plain.open()
    keep(plain)
    plain.close()
    store = an_archive(tmp_path)
    assert len(problems(store)) == 1
    assert keep(store).outcome is Outcome.ALREADY_PRESENT
    assert problems(store) == []
    store.close()


def test_a_row_whose_file_is_gone_does_not_stand_in_the_way(tmp_path):
    store = an_archive(tmp_path)
    keep(store).path.unlink()
    assert keep(store, data=body("1.2")).outcome is Outcome.STORED
    assert problems(store) == []
    store.close()


def test_a_data_set_that_cannot_be_read_is_stored_and_known_by_its_uid(tmp_path):
    store = an_archive(tmp_path)
    stored = keep(store, data=b"\0" * 20)
    assert "expected a VR" in stored.remark
    assert store.index.find("1.1.1.1").path == "unknown/1.1.1.1.dcm"
    assert ask(store.index, "STUDY", StudyInstanceUID="") == []
    assert problems(store) == []
    store.close()


def test_a_data_set_that_ends_before_all_values_is_no_remark(tmp_path):
    store = an_archive(tmp_path)
    assert keep(store).remark == ""
    store.close()


def test_many_threads_store_at_once(tmp_path):
    store = an_archive(tmp_path, fsync=Durability.FULL)
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda number: keep(store, f"1.1.1.{number % 50}"), range(100)))
    assert store.index.count() == 50
    assert left_behind(tmp_path) == problems(store) == []
    store.close()


def test_two_threads_that_store_one_uid_in_two_studies_leave_one(tmp_path):
    store = an_archive(tmp_path, duplicates=Duplicates.REPLACE)
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda number: keep(store, data=body(f"1.{number}")), range(1, 21)))
    assert store.index.count() == 1
    assert len(list(files(tmp_path))) == 1
    assert problems(store) == []
    store.close()


def test_an_index_that_takes_nothing_more_is_a_refusal_and_leaves_no_file(tmp_path, monkeypatch):
    store = an_archive(tmp_path)
    put = Tables.put

    def fail(self: Tables, entry: object) -> None:
        error = sqlite3.OperationalError("database or disk is full")
        error.sqlite_errorcode = sqlite3.SQLITE_FULL
        raise error

    monkeypatch.setattr(Tables, "put", fail)
    with pytest.raises(ServiceError) as caught:
        keep(store)
    assert (caught.value.status, caught.value.comment) == (0xA700, "store is full")
    monkeypatch.setattr(Tables, "put", put)
    assert list(files(tmp_path)) == problems(store) == []
    assert keep(store).outcome is Outcome.STORED
    store.close()


@pytest.mark.parametrize("again", [False, True])
def test_what_a_failed_commit_leaves_is_indexed_when_it_comes_again_or_the_store_closes(tmp_path, monkeypatch, again):
    store = an_archive(tmp_path, fsync=Durability.FULL)
    settle = FileStore.settle

    def fail(self: FileStore, directory: str) -> None:
        raise OSError("directory will not sync")

    monkeypatch.setattr(FileStore, "settle", fail)
    with pytest.raises(ServiceError) as caught:
        keep(store)
    assert (caught.value.status, caught.value.comment) == (0xA700, "store cannot keep the instance")
    assert store.index.find("1.1.1.1") is None
    monkeypatch.setattr(FileStore, "settle", settle)
    if again:
        assert keep(store).outcome is Outcome.ALREADY_PRESENT
    store.close()
    store.open()
    assert store.index.find("1.1.1.1") is not None
    assert problems(store) == []
    store.close()


def test_a_store_whose_index_cannot_be_opened_says_so_and_leaves_nothing(tmp_path):
    (tmp_path / ".index.db").write_bytes(b"no database" * 200)
    with pytest.raises(ConfigurationError, match="dimsetls index rebuild"):
        an_archive(tmp_path)
    assert [path.name for path in (tmp_path / ".incoming").iterdir()] == ["lock"]


# --- kill -9 at each step ---------------------------------------------------------------------------------------------

STEPS = {
    "note": (FileStore, "note", FileStore.note),
    "appear": (FileStore, "appear", None),
    "appeared": (FileStore, "appear", FileStore.appear),
    "renamed": (os, "rename", os.rename),
    "unlinked": (os, "unlink", os.unlink),
    "put": (Tables, "put", Tables.put),
    "settled": (FileStore, "settle", FileStore.settle),
    "written": (Index, "write", Index.write),
}
"""Where a call is replaced by one that does it, or does not, and then is the end of the process."""


def killed(root: Path, step: str, policy: Duplicates, uid: str, study: str, no_links: bool = False) -> bool:
    """Whether the step was reached while another process stored a second instance."""
    child = os.fork()
    if not child:
        store = an_archive(root, duplicates=policy, fsync=Durability.FULL)
        keep(store)
        store._hard_links = not no_links
        place, name, call = STEPS[step]

        def last(*arguments: object, **options: object) -> None:
            if call is not None:
                call(*arguments, **options)
            os.kill(os.getpid(), signal.SIGKILL)

        setattr(place, name, last)
        try:
            keep(store, uid, body(study, name="New"))
        finally:
            os._exit(0)
    return os.WIFSIGNALED(os.waitpid(child, 0)[1])


@pytest.mark.parametrize("no_links", [False, True])
@pytest.mark.parametrize("step", ["note", "appear", "appeared", "put", "settled", "written"])
def test_killed_while_storing_leaves_both_or_neither(tmp_path, step, no_links):
    assert killed(tmp_path, step, Duplicates.IDENTICAL, "1.1.1.2", "1.1", no_links)
    store = an_archive(tmp_path)
    there = (tmp_path / "1.1/1.1.1.2.dcm").is_file()
    assert (store.index.find("1.1.1.2") is not None) == there == (step not in ("note", "appear"))
    assert store.index.find("1.1.1.1") is not None
    assert left_behind(tmp_path) == problems(store) == []
    store.close()


@pytest.mark.parametrize("study", ["1.1", "1.2"])
@pytest.mark.parametrize("step", ["note", "appear", "appeared", "renamed", "unlinked", "put", "settled", "written"])
def test_killed_while_replacing_leaves_one_of_the_two(tmp_path, step, study):
    reached = killed(tmp_path, step, Duplicates.REPLACE, "1.1.1.1", study)
    assert reached or (step, study) in (("appeared", "1.1"), ("unlinked", "1.1"), ("renamed", "1.2"))
    store = an_archive(tmp_path)
    (path,) = files(tmp_path)
    assert store.index.find("1.1.1.1").path == path
    assert problems(store) == []
    assert left_behind(tmp_path) == []
    store.close()


def test_what_was_never_acknowledged_gives_way_to_what_was(tmp_path):
    """A process dies with its instance in place but not indexed, and another stores the same UID elsewhere."""
    first = an_archive(tmp_path)
    second = an_archive(tmp_path)
    incoming = Path(first._incoming)
    keep(first, data=body("1.2"))
    first.index.remove("1.1.1.1")
    (incoming / "notes").write_text("1.2/1.1.1.1.dcm\n")
    keep(second)
    placing.recover(tmp_path, second.index, second.queue, incoming)
    assert list(files(tmp_path)) == ["1.1/1.1.1.1.dcm"]
    assert problems(second) == []
    first.close()
    second.close()


def test_notes_of_what_did_not_come_to_be_are_passed_over(tmp_path):
    index = Index(tmp_path / ".index.db", durable=False)
    index.open()
    placing.recover(tmp_path, index, Queue(index), tmp_path)  # of a store without an index there are none
    (tmp_path / "notes").write_text("gone.dcm\nhere.dcm\ncut")
    (tmp_path / "here.dcm").write_bytes(b"no instance")
    placing.recover(tmp_path, index, Queue(index), tmp_path)
    assert index.count() == 0
    index.close()


WRITER = """
import sys
sys.path[:0] = [{directory!r}]
from pathlib import Path
from tests.services.archives import an_archive, body, keep
store = an_archive(Path({root!r}))
for number in range(60):
    keep(store, f"1.1.1.{{number}}")
    keep(store, f"2.1.{{sys.argv[1]}}.{{number}}", body("1.2"))
store.close()
"""


def test_two_processes_store_at_once(tmp_path):
    script = WRITER.format(directory=os.getcwd(), root=str(tmp_path))
    writers = [subprocess.Popen([sys.executable, "-c", script, str(number)]) for number in (1, 2)]
    assert [writer.wait(60) for writer in writers] == [0, 0]
    store = an_archive(tmp_path)
    assert store.index.count() == 180
    assert len(list(files(tmp_path))) == 180
    assert left_behind(tmp_path) == problems(store) == []
    store.close()
