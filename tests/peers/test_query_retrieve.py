"""Query/Retrieve with the programs of others over mutual TLS: what they find and get is what was stored."""

from __future__ import annotations

import os
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import pydicom
import pytest
from pynetdicom import AE, build_role, evt
from pynetdicom.sop_class import (  # type: ignore[attr-defined]  # made when it is imported
    CTImageStorage,
    StudyRootQueryRetrieveInformationModelFind,
    StudyRootQueryRetrieveInformationModelGet,
    StudyRootQueryRetrieveInformationModelMove,
)

from dimsetls.node.cli import main
from dimsetls.uids import EXPLICIT_VR_LITTLE_ENDIAN

from . import dcmtk
from .instances import data_set_of, named
from .running import Node, Service, free_port, running
from .sender import client_context
from .tunnel import tunnel

pytestmark = pytest.mark.peers

CT, MR, RLE, JPEG_LS = "CT_small.dcm", "MR_small.dcm", "MR_small_RLE.dcm", "MR_small_jpeg_ls_lossless.dcm"
ALL = "-k", "QueryRetrieveLevel=STUDY", "-k", "StudyInstanceUID=1.2.3.1\\1.2.3.2\\1.2.3.3\\1.2.3.4"
NAME = "Yamada^Tarou=山田^太郎=やまだ^たろう"


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Four instances of four studies: CT with a name in three scripts, MR, and two compressed ones."""
    directory = tmp_path_factory.mktemp("files")
    made = []
    for number, name in enumerate((CT, MR, RLE, JPEG_LS), 1):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            ds = pydicom.dcmread(named(name).path)
            ds.SOPInstanceUID = ds.file_meta.MediaStorageSOPInstanceUID = f"1.2.3.{number}.1.1"
            ds.StudyInstanceUID, ds.SeriesInstanceUID = f"1.2.3.{number}", f"1.2.3.{number}.1"
            ds.PatientID = f"ARCHIVED-{number}"
            if name == CT:
                ds.SpecificCharacterSet, ds.PatientName = "ISO_IR 192", NAME
            ds.save_as(directory / f"{number}.dcm", enforce_file_format=True)
        made.append(directory / f"{number}.dcm")
    return made


@pytest.fixture
def archive(node: Node, pki: Path) -> tuple[Node, int]:
    """A node that queries and retrieves, and the port of its move destination HERE."""
    port = free_port()
    node.set("storage archive", index="yes", fsync="none")
    node.set("ae DIMSETLS", services="verification, storage, query, retrieve")
    node.set("peer here", ae_title="HERE", host="localhost", port=port, tls="secure")
    node.set("peer nobody", ae_title="NOBODY", host="localhost", port=free_port(), tls="secure")
    return node, port


def fill(service: Service, pki: Path, files: Sequence[Path]) -> None:
    """Store the files as they are."""
    ae = AE("FILLER")
    metas = [pydicom.filereader.read_file_meta_info(path) for path in files]
    for meta in metas:
        ae.add_requested_context(meta.MediaStorageSOPClassUID, meta.TransferSyntaxUID)
    association = ae.associate("127.0.0.1", service.port(), ae_title="DIMSETLS",
                               tls_args=(client_context(pki), "localhost"))
    assert association.is_established
    assert [association.send_c_store(path).Status for path in files] == [0] * len(files)
    association.release()


def command(name: str, service: Service, pki: Path, *options: object) -> tuple[int, str]:
    """Run one of DCMTK's programs; findscu alone of these speaks TLS itself."""
    if name == "findscu":
        tls = dcmtk.secured(pki)
        ended = dcmtk.run(name, *dcmtk.WAITS, "-aec", "DIMSETLS", *tls, *options, "127.0.0.1", service.port())
    else:
        with tunnel(service.port(), pki) as port:
            ended = dcmtk.run(name, *dcmtk.WAITS, "-aec", "DIMSETLS", *options, "127.0.0.1", port)
    return ended.returncode, ended.stdout


@contextmanager
def destination(pki: Path, directory: Path, port: int, *options: object) -> Iterator[Service]:
    """storescp as HERE, over mutual TLS."""
    directory.mkdir()
    scp = [dcmtk.find("storescp"), "-aet", "HERE", "--bit-preserving", *options, "--output-directory", directory,
           "+tls", pki / "server.key", pki / "server.pem", "+cf", pki / "ca.pem", port]
    with running(scp, port) as service:
        yield service


def kept(directory: Path) -> dict[str, tuple[str, bytes]]:
    """SOP Instance UID to transfer syntax and data set of the files in a directory."""
    metas = {path: pydicom.filereader.read_file_meta_info(path) for path in directory.iterdir()}
    return {m.MediaStorageSOPInstanceUID: (m.TransferSyntaxUID, data_set_of(path)) for path, m in metas.items()}


def test_findscu_finds_what_was_stored(
    archive: tuple[Node, int], pki: Path, files: list[Path], tmp_path: Path
) -> None:
    node, _ = archive
    with node.running() as service:
        fill(service, pki, files)
        out = tmp_path / "found"
        out.mkdir()
        keys = "-k", "QueryRetrieveLevel=STUDY", "-k", "StudyInstanceUID", "-k", "PatientName=yamada*", "-k", \
            "SpecificCharacterSet=ISO_IR 192", "-k", "ModalitiesInStudy"
        status, said = command("findscu", service, pki, "-S", *keys, "-X", "-od", out)
        assert status == 0, said
        [match] = [pydicom.dcmread(path, force=True) for path in out.iterdir()]
        assert (match.StudyInstanceUID, match.PatientName, match.ModalitiesInStudy) == ("1.2.3.1", NAME, "CT")
        status, said = command("findscu", service, pki, "-P", "-k", "QueryRetrieveLevel=PATIENT", "-k",
                               "PatientID=ARCHIVED*", "-k", "PatientName")
        assert (status, said.count("ARCHIVED-")) == (0, 4)
        _, said = command("findscu", service, pki, "-S", "-v", "-k", "QueryRetrieveLevel=SERIES", "-k", "Modality")
        assert "DataSetDoesNotMatchSOPClass" in said  # as DCMTK calls A900H


def test_movescu_has_the_instances_sent_to_storescp(
    archive: tuple[Node, int], pki: Path, files: list[Path], tmp_path: Path
) -> None:
    node, port = archive
    with node.running() as service, destination(pki, tmp_path / "moved", port, "+xa"):
        fill(service, pki, files)
        status, said = command("movescu", service, pki, "-S", "-aem", "HERE", *ALL)
        assert status == 0, said
    assert kept(tmp_path / "moved") == {uid: (syntax, data) for uid, syntax, data in map(what, files)}


def test_what_the_destination_does_not_take_fails_alone(
    archive: tuple[Node, int], pki: Path, files: list[Path], tmp_path: Path
) -> None:
    node, port = archive
    with node.running() as service, destination(pki, tmp_path / "moved", port, "+xe"):
        fill(service, pki, files)
        _, said = command("movescu", service, pki, "-S", "-aem", "HERE", *ALL)
        assert "SubOperationsCompleteOneOrMoreFailures" in said  # JPEG-LS needs a decoder that is not there
        service.expect("a sub-operation failed: 1.2.3.4.1.1 cannot be converted from 1.2.840.10008.1.2.4.80")
    moved = kept(tmp_path / "moved")
    assert {uid: moved[uid] for uid, _, _ in map(what, files[:2])} == {
        uid: (syntax, data) for uid, syntax, data in map(what, files[:2])
    }


def what(path: Path) -> tuple[str, str, bytes]:
    meta = pydicom.filereader.read_file_meta_info(path)
    return meta.MediaStorageSOPInstanceUID, meta.TransferSyntaxUID, data_set_of(path)


@pytest.mark.parametrize(("title", "status"), [
    ("UNKNOWN", "MoveDestinationUnknown"), ("NOBODY", "OutOfResourcesSubOperations"),
])  # fmt: skip
def test_movescu_is_told_what_is_wrong_with_the_destination(
    archive: tuple[Node, int], pki: Path, files: list[Path], title: str, status: str
) -> None:
    node, _ = archive
    with node.running() as service:
        fill(service, pki, files[:1])
        keys = "-k", "QueryRetrieveLevel=STUDY", "-k", "StudyInstanceUID=1.2.3.1"
        _, said = command("movescu", service, pki, "-S", "-v", "-aem", title, *keys)
        assert status in said  # as DCMTK calls A801H and A702H


def test_getscu_gets_what_was_stored_bit_for_bit(
    archive: tuple[Node, int], pki: Path, files: list[Path], tmp_path: Path
) -> None:
    node, _ = archive
    out = tmp_path / "got"
    out.mkdir()
    with node.running() as service:
        fill(service, pki, files)
        for number in (1, 2):
            status, said = command("getscu", service, pki, "-S", "+B", "-od", out, "-k", "QueryRetrieveLevel=STUDY",
                                   "-k", f"StudyInstanceUID=1.2.3.{number}")
            assert status == 0, said
    assert kept(out) == {uid: (syntax, data) for uid, syntax, data in map(what, files[:2])}


def test_pynetdicom_finds_gets_and_moves(
    archive: tuple[Node, int], pki: Path, files: list[Path], tmp_path: Path
) -> None:
    node, port = archive
    got: dict[str, bytes] = {}

    def take(event: evt.Event) -> int:
        got[event.request.AffectedSOPInstanceUID] = event.request.DataSet.getvalue()
        return 0

    ae = AE("SCU")
    for uid in (StudyRootQueryRetrieveInformationModelFind, StudyRootQueryRetrieveInformationModelGet,
                StudyRootQueryRetrieveInformationModelMove):  # fmt: skip
        ae.add_requested_context(uid)
    ae.add_requested_context(CTImageStorage, EXPLICIT_VR_LITTLE_ENDIAN)
    with node.running() as service, destination(pki, tmp_path / "moved", port, "+xa"):
        fill(service, pki, files)
        association = ae.associate(
            "127.0.0.1", service.port(), ae_title="DIMSETLS", tls_args=(client_context(pki), "localhost"),
            ext_neg=[build_role(CTImageStorage, scp_role=True)], evt_handlers=[(evt.EVT_C_STORE, take)],
        )  # fmt: skip
        assert association.is_established
        keys = pydicom.Dataset()
        keys.QueryRetrieveLevel, keys.StudyInstanceUID, keys.Modality = "STUDY", "1.2.3.1", "CT"
        found = [status.Status for status, _ in association.send_c_find(
            keys, StudyRootQueryRetrieveInformationModelFind)]  # fmt: skip
        assert found == [0xFF01, 0]
        del keys.Modality
        (*_, (final, _)) = association.send_c_get(keys, StudyRootQueryRetrieveInformationModelGet)
        assert (final.Status, final.NumberOfCompletedSuboperations) == (0, 1)
        (*_, (final, _)) = association.send_c_move(keys, "HERE", StudyRootQueryRetrieveInformationModelMove)
        assert (final.Status, final.NumberOfCompletedSuboperations) == (0, 1)
        association.release()
    uid, syntax, data = what(files[0])
    assert got == {uid: data}
    assert kept(tmp_path / "moved") == {uid: (syntax, data)}


def test_what_was_stored_before_is_found_after_a_rebuild(
    archive: tuple[Node, int], pki: Path, files: list[Path], capsys: pytest.CaptureFixture[str]
) -> None:
    node, _ = archive
    node.set("storage archive", index="no")
    node.set("ae DIMSETLS", services="verification, storage")
    with node.running() as service:
        fill(service, pki, files)
    assert not [name for name in os.listdir(node.store) if name.startswith(".index")]
    node.set("storage archive", index="yes")
    node.set("ae DIMSETLS", services="verification, storage, query, retrieve")
    ini = str(node.write())
    assert main(["index", "rebuild", "--config", ini]) == 0
    assert main(["index", "verify", "--config", ini]) == 0
    with node.running() as service:
        status, said = command("findscu", service, pki, "-S", "-k", "QueryRetrieveLevel=STUDY", "-k",
                               "StudyInstanceUID")
        assert (status, said.count("1.2.3.")) == (0, 4)
