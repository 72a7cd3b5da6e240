"""Performed procedure steps as files."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest
from pydicom import Dataset
from twisted.internet.defer import execute

from dimsetls.association.datasets import decode, encode
from dimsetls.errors import ConfigurationError, ServiceError
from dimsetls.services.procedure_steps import StepFiles, changed, files
from dimsetls.uids import EXPLICIT_VR_LITTLE_ENDIAN

from ...association.pair import Running, dataset
from .performed import a_step, the_end

UID = "1.2.3.4"


class Kept:
    def __init__(self, path: Path) -> None:
        self.path = path
        self.files = StepFiles(path, run=execute)
        self.files.open()

    def create(self, uid: str = UID, **values: Any) -> None:
        Running(self.files.create(uid, as_received(a_step(**values)))).result  # noqa: B018 - raises

    def read(self, uid: str = UID) -> Any:
        return Running(self.files.read(uid)).result

    def change(self, changes: Dataset, uid: str = UID) -> Any:
        return Running(self.files.change(uid, lambda before: changed(before, as_received(changes)))).result

    @property
    def names(self) -> list[str]:
        return sorted(name for name in os.listdir(self.path) if name != ".lock")


def as_received(data_set: Dataset) -> Dataset:
    return decode(encode(data_set, EXPLICIT_VR_LITTLE_ENDIAN), EXPLICIT_VR_LITTLE_ENDIAN)


@pytest.fixture
def kept(tmp_path: Path) -> Kept:
    return Kept(tmp_path / "steps")


def test_a_step_comes_back_as_it_was(kept: Kept) -> None:
    kept.create()
    assert kept.names == [f"{UID}.json"]
    assert kept.read() == a_step()
    assert (kept.path / f"{UID}.json").stat().st_mode & 0o007 == 0


def test_the_file_is_dicom_json_in_utf_8(kept: Kept) -> None:
    kept.create(PatientName="Müller^Jörg", SpecificCharacterSet="ISO_IR 100")
    content = json.loads((kept.path / f"{UID}.json").read_bytes().decode("utf-8"))
    assert content["00100010"]["Value"] == [{"Alphabetic": "Müller^Jörg"}]
    assert content["00080005"]["Value"] == ["ISO_IR 192"]
    assert content["00080018"]["Value"] == [UID]
    assert kept.read().PatientName == "Müller^Jörg"
    kept.create("1.2.3.5", SpecificCharacterSet="ISO_IR 100")
    assert "SpecificCharacterSet" not in kept.read("1.2.3.5")


def test_character_sets_may_differ_from_one_message_to_the_next(kept: Kept) -> None:
    kept.create(PatientName="Müller^Jörg", SpecificCharacterSet="ISO_IR 100")
    changes = the_end(PerformedProcedureStepDescription="Ελλάδα", SpecificCharacterSet="ISO_IR 126")
    assert kept.change(changes).PerformedProcedureStepDescription == "Ελλάδα"
    step = as_received(kept.read())
    assert (step.PatientName, step.PerformedProcedureStepDescription) == ("Müller^Jörg", "Ελλάδα")


def test_there_is_one_of_a_uid(kept: Kept) -> None:
    kept.create()
    with pytest.raises(ServiceError) as caught:
        kept.create(PatientID="P2")
    assert caught.value.status == 0x0111
    assert kept.read().PatientID == "P1"


def test_a_change_is_kept_or_nothing_of_it(kept: Kept) -> None:
    kept.create()
    with pytest.raises(ServiceError):
        kept.change(the_end("DONE"))
    assert kept.read() == a_step()
    after = kept.change(the_end())
    assert after.PerformedProcedureStepStatus == kept.read().PerformedProcedureStepStatus == "COMPLETED"
    with pytest.raises(ServiceError) as caught:
        kept.change(the_end())
    assert caught.value.error_id == 0xA710


def test_what_comes_again_as_it_was_is_the_same_after_the_disk(kept: Kept) -> None:
    others = [dataset(PatientID="P2", IssuerOfPatientID="Elsewhere")]
    kept.create(OtherPatientIDsSequence=others)
    assert kept.change(a_step(OtherPatientIDsSequence=others)) == a_step(OtherPatientIDsSequence=others)


def test_there_is_none_of_another_uid(kept: Kept) -> None:
    assert kept.read("9.9") is kept.change(the_end(), "9.9") is None
    with pytest.raises(ServiceError, match="expected a UID"):
        kept.read("../steps/1.2.3.4")


def test_what_a_killed_process_left_is_swept(kept: Kept) -> None:
    kept.create()
    (kept.path / ".new").write_text("{ half of")
    again = Kept(kept.path)
    assert again.names == [f"{UID}.json"]
    assert again.read() == a_step()


def test_a_disk_that_is_full_is_0213h_and_changes_nothing(kept: Kept, monkeypatch: pytest.MonkeyPatch) -> None:
    kept.create()

    def full(fd: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(files.os, "fsync", full)
    for call in (lambda: kept.create("1.2.3.5"), lambda: kept.change(the_end())):
        with pytest.raises(ServiceError) as caught:
            call()
        assert caught.value.status == 0x0213
    assert (kept.read(), kept.read("1.2.3.5")) == (a_step(), None)


def test_a_directory_that_cannot_be_used_is_said(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(ConfigurationError, match="expected a directory in which this process can create"):
        StepFiles(tmp_path / "file").open()
