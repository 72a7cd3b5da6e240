"""dcmjs-dimse, which speaks TLS itself, asks our archive: what it finds, gets and stores is what was stored."""

from __future__ import annotations

from pathlib import Path

import pytest

from . import dcmjs
from .archives import WITNESS
from .instances import in_directory, named, sent
from .ours import KEEPER, MODEST, Ours

pytestmark = pytest.mark.peers


def test_dcmjs_finds_names_in_every_script(ours: Ours) -> None:
    everybody = {"PatientID": "NAMED*", "PatientName": "", "StudyInstanceUID": "", "SpecificCharacterSet": "ISO_IR 192"}
    operations = [{"do": "find", "level": "study", "keys": {**everybody, "PatientName": patient.pattern}}
                  for patient in ours.patients]  # fmt: skip
    answers = dcmjs.scu(ours.service.port(), ours.pki, {"do": "echo"}, *operations)["answers"]
    assert {answer["status"] for answer in answers} == {0}
    for patient, answer in zip(ours.patients, answers[1:], strict=True):
        matches = {match["PatientID"]: match for match in answer["matches"]}
        match = matches[patient.patient_id]
        assert match["StudyInstanceUID"] == patient.study_instance_uid
        assert "=".join(match["PatientName"][0].values()) == patient.name


def test_dcmjs_gets_and_moves_every_file(ours: Ours, tmp_path: Path) -> None:
    studies = ours.studies(ours.in_studies)
    ours.empty()
    pairs = {(each.sop_class_uid, each.transfer_syntax_uid) for each in ours.in_studies}
    answers = dcmjs.scu(
        ours.service.port(), ours.pki, *({"do": "get", "study": uid, "directory": str(tmp_path)} for uid in studies),
        *({"do": "move", "study": uid, "destination": WITNESS} for uid in studies), contexts=sorted(pairs),
    )["answers"]  # fmt: skip
    assert {(answer["status"], answer["failed"]) for answer in answers} == {(0, 0)}
    assert sum(answer["completed"] for answer in answers) == 2 * len(ours.in_studies)
    got = {uid: (syntax, path.read_bytes()) for path in tmp_path.iterdir() for syntax, uid in [path.name.split("-")]}
    assert got == in_directory(ours.witness) == sent(ours.in_studies)


def test_dcmjs_is_told_what_fails(ours: Ours) -> None:
    """It gets no JPEG 2000 that it did not ask for, and neither does a destination that takes none."""
    [image] = [each for each in ours.in_studies if each.name == "J2K_pixelrep_mismatch.dcm"]
    study = ours.study(image)
    assert [each for each in ours.in_studies if ours.study(each) == study] == [image]
    answers = dcmjs.scu(
        ours.service.port(), ours.pki, {"do": "get", "study": study},
        *({"do": "move", "study": study, "destination": title} for title in (MODEST, "NOWHERE")),
    )["answers"]  # fmt: skip
    statuses = [(answer["status"], answer.get("failed")) for answer in answers]
    assert statuses == [(0xA702, 1), (0xA702, 1), (0xA801, None)]


STORED = ("CT_small.dcm", "SC_rgb_jpeg_dcmtk.dcm", "JPGExtended.dcm", "SC_rgb_jpeg_gdcm.dcm",
          "MR_small_jpeg_ls_lossless.dcm", "JPEGLSNearLossless_16.dcm", "MR_small_jp2klossless.dcm", "JPEG2000.dcm",
          "MR_small_RLE.dcm", "chrH31.dcm", "chrX2.dcm")  # fmt: skip
"""One for each transfer syntax that it can write, and names. It writes neither what is deflated nor Big Endian."""


def test_what_dcmjs_stores_is_what_it_sends(ours: Ours) -> None:
    """It encodes data sets anew, so DCMTK's storescp is the witness of what it sends."""
    files = [*map(named, STORED)]
    operations = [{"do": "store", "path": str(each.path)} for each in files]
    ours.empty()
    for port in (ours.service.port(), ours.witness_port):
        answers = dcmjs.scu(port, ours.pki, *operations, called=KEEPER)["answers"]
        assert [answer["status"] for answer in answers] == [0] * len(files)
    kept = in_directory(ours.kept)
    assert kept == in_directory(ours.witness)
    assert {uid: syntax for uid, (syntax, _) in kept.items()} == {
        each.sop_instance_uid: each.transfer_syntax_uid for each in files
    }
