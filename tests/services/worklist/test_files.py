"""Worklist files: read when they change, left out and named when they cannot be used."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest
from twisted.internet.defer import execute

from dimsetls.association.datasets import encode
from dimsetls.errors import ServiceError
from dimsetls.services.worklist import WorklistDirectory, files
from dimsetls.uids import IMPLICIT_VR_LITTLE_ENDIAN

from ...association.pair import Running, all_of
from .scheduled import a_procedure, write


class Directory:
    """A directory, and what it schedules at the moment."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._worklist = WorklistDirectory(path, run=execute)

    def put(self, name: str, **values: Any) -> Path:
        return write(self.path / name, a_procedure(**values))

    @property
    def patients(self) -> list[str]:
        return [each.PatientID for each in Running(all_of(self._worklist())).result]


@pytest.fixture
def directory(tmp_path: Path) -> Directory:
    return Directory(tmp_path)


def test_files_are_on_the_worklist_in_the_order_of_their_names(directory: Directory) -> None:
    assert directory.patients == []
    directory.put("b.wl", PatientID="P2")
    directory.put("a.WL", PatientID="P1")
    directory.put("c.dcm", PatientID="P3")
    directory.put(".d.wl", PatientID="P4")
    assert directory.patients == ["P1", "P2"]


def test_more_files_than_are_read_at_once(directory: Directory) -> None:
    for number in range(120):
        directory.put(f"{number:03}.wl", PatientID=f"P{number}")
    assert directory.patients == [f"P{number}" for number in range(120)]


def test_changes_are_seen_and_only_they_are_read(directory: Directory, monkeypatch: pytest.MonkeyPatch) -> None:
    read: list[str] = []
    once = files._read
    monkeypatch.setattr(files, "_read", lambda path, size: (read.append(path.name), once(path, size))[1])
    for name in ("a.wl", "b.wl"):
        directory.put(name, PatientID=name)
    assert directory.patients == directory.patients == ["a.wl", "b.wl"]
    assert read == ["a.wl", "b.wl"]
    directory.put("b.wl", PatientID="other").rename(directory.path / "new")
    (directory.path / "new").rename(directory.path / "b.wl")
    assert directory.patients == ["a.wl", "other"]
    assert read == ["a.wl", "b.wl", "b.wl"]
    (directory.path / "a.wl").unlink()
    assert directory.patients == ["other"]


def test_a_bare_data_set_is_read_as_dcmtk_reads_it(directory: Directory) -> None:
    (directory.path / "a.wl").write_bytes(encode(a_procedure(), IMPLICIT_VR_LITTLE_ENDIAN))
    assert directory.patients == ["P1"]


def test_a_file_that_cannot_be_used_is_named_once_and_does_not_stop_the_others(
    directory: Directory, logged: list[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(files, "_LARGEST", 4096)
    good = directory.put("good.wl")
    (directory.path / "text.wl").write_text("Doe^John is to come tomorrow")
    (directory.path / "cut.wl").write_bytes(good.read_bytes()[:-3])
    (directory.path / "long.wl").write_bytes(bytes(4097))
    (directory.path / "none.wl").mkdir()
    empty = a_procedure()
    empty.ScheduledProcedureStepSequence = []
    write(directory.path / "empty.wl", empty)
    for _ in range(2):
        assert directory.patients == ["P1"]
    said = {Path(event["path"]).name: event["problem"] for event in logged if "problem" in event}
    assert len(said) == len([event for event in logged if "problem" in event])
    assert said == {
        "text.wl": "expected a DICOM file, got something else, or a part of one",
        "cut.wl": "expected a DICOM file, got something else, or a part of one",
        "long.wl": "expected at most 4096 bytes, got 4097",
        "none.wl": "expected a file that can be read, got Is a directory",
        "empty.wl": "expected a Scheduled Procedure Step Sequence with a step, got none",
    }
    directory.put("text.wl", PatientID="P2")
    assert directory.patients == ["P1", "P2"]


def test_a_directory_that_is_gone_is_c000(directory: Directory) -> None:
    os.rmdir(directory.path)
    with pytest.raises(ServiceError) as caught:
        _ = directory.patients
    assert caught.value.status == 0xC000
