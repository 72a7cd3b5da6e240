from __future__ import annotations

import shutil
import sqlite3
from pathlib import Path

import pydicom.data
import pytest

from dimsetls.errors import ConfigurationError
from dimsetls.services.index import Index
from dimsetls.services.upkeep import Step, rebuild, verify

from .archives import an_archive, ask, body, keep

DATA = Path(pydicom.data.__file__).parent


def an_unopened(root: Path) -> Index:
    return Index(root / ".index.db", durable=False)


def rebuilt(root: Path) -> list[str]:
    return [step.problem for step in rebuild(root, an_unopened(root)) if step.problem]


def problems(root: Path) -> list[str]:
    index = an_unopened(root)
    index.open()
    try:
        steps = list(verify(root, index))
    finally:
        index.close()
    assert [step.done for step in steps] == list(range(1, len(steps) + 1))
    return [step.problem for step in steps if step.problem]


@pytest.fixture
def root(tmp_path):
    store = an_archive(tmp_path)
    for number in range(1, 8):
        keep(store, f"1.1.1.{number}", body(number=number))
    store.close()
    return tmp_path


def dump(root: Path) -> list[str]:
    with sqlite3.connect(root / ".index.db") as connection:
        lines = [line for line in connection.iterdump() if line.startswith("INSERT")]
    connection.close()
    return lines


def test_what_is_rebuilt_is_what_was_stored(root):
    before = dump(root)
    assert problems(root) == []
    steps = list(rebuild(root, an_unopened(root)))
    assert [step for step in steps if step.done] == [Step(number, 7) for number in range(1, 8)]
    assert dump(root) == before
    assert problems(root) == []


def test_verify_finds_what_was_tampered_with(root):
    (root / "1.1/1.1.1.1.dcm").unlink()
    with open(root / "1.1/1.1.1.2.dcm", "ab") as file:
        file.write(b"more")
    (root / "1.1/1.1.1.3.dcm").write_bytes(b"no instance")
    shutil.copy(root / "1.1/1.1.1.4.dcm", root / "1.1/copy.dcm")
    (root / "1.1/1.1.1.5.dcm").rename(root / "1.1/moved.dcm")
    changed = (root / "1.1/1.1.1.6.dcm").read_bytes().replace(b"\x13\0IS\x02\x006 ", b"\x13\0IS\x02\x009 ")
    (root / "1.1/1.1.1.6.dcm").write_bytes(changed)
    index = an_unopened(root)
    index.open()
    index.remove("1.1.1.7")
    index.close()
    assert problems(root) == [
        "1.1/1.1.1.1.dcm: expected the file of instance 1.1.1.1, got No such file or directory",
        f"1.1/1.1.1.2.dcm: expected {len(changed)} bytes, got {len(changed) + 4}",
        f"1.1/1.1.1.3.dcm: expected {len(changed)} bytes, got 11",
        "1.1/1.1.1.5.dcm: expected the file of instance 1.1.1.5, got No such file or directory",
        "1.1/1.1.1.3.dcm: expected a Part 10 file of an instance, got something else; not indexed",
        "1.1/1.1.1.6.dcm: expected what the index has, got other values of InstanceNumber",
        "1.1/1.1.1.7.dcm: expected its instance 1.1.1.7 in the index, got none",
        "1.1/copy.dcm: expected instance 1.1.1.4 at 1.1/1.1.1.4.dcm, got another file of it",
        "1.1/moved.dcm: expected instance 1.1.1.5 at 1.1/1.1.1.5.dcm, got another file of it",
    ]
    (root / "1.1/copy.dcm").unlink()
    assert len(rebuilt(root)) == 1
    assert len(problems(root)) == 1


def test_two_files_of_one_instance_are_told(root):
    shutil.copy(root / "1.1/1.1.1.4.dcm", root / "1.1/copy.dcm")
    assert rebuilt(root) == ["1.1/copy.dcm: expected one file of instance 1.1.1.4, got 1.1/1.1.1.4.dcm too, "
                             "which is indexed; remove one"]  # fmt: skip


def test_a_rebuild_that_did_not_end_bars_the_index(root):
    steps = rebuild(root, an_unopened(root))
    next(steps)
    steps.close()
    with pytest.raises(ConfigurationError, match="got one whose rebuild did not end; run `dimsetls index rebuild`"):
        an_unopened(root).open()
    assert rebuilt(root) == problems(root) == []


@pytest.mark.parametrize("damage", [b"", b"no database at all" * 300])
def test_what_is_no_index_any_more_can_be_rebuilt(root, damage):
    (root / ".index.db").write_bytes(damage)
    assert rebuilt(root) == problems(root) == []


def test_a_node_may_store_meanwhile(root):
    steps = rebuild(root, an_unopened(root))
    next(steps)
    store = Index(root / ".index.db")
    with pytest.raises(ConfigurationError):
        store.open()
    assert list(steps)[-1].done == 7
    assert problems(root) == []


@pytest.mark.filterwarnings("ignore")
def test_the_files_of_pydicom(tmp_path):
    """Real files, all character sets among them, found by what pydicom reads in them."""
    copied = {}
    for path in sorted([*DATA.glob("charset_files/*.dcm"), *DATA.glob("test_files/*.dcm")]):
        shutil.copy(path, tmp_path / path.name)
        copied[path.name] = pydicom.dcmread(path, force=True)
    unreadable = [problem for problem in rebuilt(tmp_path) if "got something else" in problem]
    assert len(unreadable) < 12
    index = an_unopened(tmp_path)
    index.open()
    by_path = {stored.path: stored for chunk in index.every() for stored in chunk}
    assert len(by_path) > 50
    for name in ("chrArab.dcm", "chrFren.dcm", "chrGerm.dcm", "chrGreek.dcm", "chrH31.dcm", "chrHbrw.dcm", "chrI2.dcm",
                 "chrRuss.dcm", "chrX1.dcm", "chrX2.dcm", "JPEG2000.dcm", "ExplVR_BigEnd.dcm"):  # fmt: skip
        truth = copied[name]
        found = ask(index, "STUDY", PatientName=str(truth.PatientName), SpecificCharacterSet="ISO_IR 192",
                    StudyInstanceUID="", unknown_matches=False)  # fmt: skip
        assert str(truth.PatientName) in {str(each.PatientName) for each in found}, name
    index.close()
    others = [problem for problem in problems(tmp_path) if problem not in unreadable]
    assert [problem for problem in others if "got another file of it" not in problem] == []  # some come several times
