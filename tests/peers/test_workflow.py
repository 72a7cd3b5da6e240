"""Storage commitment, worklist and performed procedure steps with the programs of others over mutual TLS."""

from __future__ import annotations

import json
import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from signal import SIGHUP, SIGKILL
from typing import Any

import pydicom
import pytest
from pydicom import Dataset
from pynetdicom import AE, evt
from pynetdicom.association import Association
from pynetdicom.sop_class import (  # type: ignore[attr-defined]  # made when it is imported
    CTImageStorage,
    ModalityPerformedProcedureStep,
    ModalityPerformedProcedureStepRetrieve,
    ModalityWorklistInformationFind,
    StorageCommitmentPushModel,
)

from dimsetls.dimse.status import FailureReason

from ..association.pair import dataset
from ..services.procedure_steps.performed import a_step, the_end
from ..services.worklist.scheduled import a_procedure, a_question, write
from . import dcmtk
from .instances import named
from .running import DEADLINE, Node, Service, eventually, free_port
from .scu import _listening_to_nobody, associated
from .sender import client_context

pytestmark = pytest.mark.peers

INSTANCE = "1.2.840.10008.1.20.1.1"
CT = named("CT_small.dcm")
UNKNOWN = "1.2.3.4.5"

Reports = list[tuple[int, Dataset]]


# Storage commitment --------------------------------------------------------------------------------------------------


@pytest.fixture
def committing(node: Node) -> tuple[Node, int]:
    """A node that commits, and the port on which peer SCU is called."""
    port = free_port()
    node.set("storage archive", index="yes", fsync="none")
    node.set("ae DIMSETLS", services="verification, storage, commitment")
    node.set("peer scu", ae_title="SCU", host="localhost", port=port, tls="secure")
    return node, port


def instance_uid() -> str:
    return str(pydicom.filereader.read_file_meta_info(CT.path).MediaStorageSOPInstanceUID)


def fill(service: Service, pki: Path) -> None:
    ae = AE("FILLER")
    syntax = pydicom.filereader.read_file_meta_info(CT.path).TransferSyntaxUID
    ae.add_requested_context(CTImageStorage, syntax)
    with associated(ae, service, pki) as association:
        assert association.send_c_store(CT.path).Status == 0


def request(transaction: str, *uids: str) -> Dataset:
    items = [dataset(ReferencedSOPClassUID=CTImageStorage, ReferencedSOPInstanceUID=uid) for uid in uids]
    return dataset(TransactionUID=transaction, ReferencedSOPSequence=items)


def told(reports: Reports, event: evt.Event) -> tuple[int, None]:
    reports.append((event.event_type, event.event_information))
    return 0, None


@contextmanager
def asking(service: Service, pki: Path, **keywords: Any) -> Iterator[Association]:
    """An association for storage commitment; what the node tells on it is heard once it is over."""
    ae = AE("SCU")
    ae.add_requested_context(StorageCommitmentPushModel)
    association = ae.associate("127.0.0.1", service.port(), ae_title="DIMSETLS",
                               tls_args=(client_context(pki), "localhost"), **keywords)
    assert association.is_established
    with _listening_to_nobody(association):
        yield association


def ask(association: Association, transaction: str, *uids: str) -> None:
    status, _ = association.send_n_action(request(transaction, *uids), 1, StorageCommitmentPushModel, INSTANCE)
    assert status.Status == 0


@contextmanager
def listening(pki: Path, port: int, reports: Reports) -> Iterator[None]:
    """pynetdicom as the AE SCU that is called to be told, over mutual TLS."""
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH, cafile=str(pki / "ca.pem"))
    context.load_cert_chain(pki / "server.pem", pki / "server.key")
    context.verify_mode = ssl.CERT_REQUIRED
    ae = AE("SCU")
    ae.add_supported_context(StorageCommitmentPushModel, scu_role=False, scp_role=True)
    handlers = [(evt.EVT_N_EVENT_REPORT, lambda event: told(reports, event))]
    server = ae.start_server(("127.0.0.1", port), block=False, ssl_context=context, evt_handlers=handlers)
    try:
        yield
    finally:
        server.shutdown()


def test_the_report_on_the_association_of_the_request(committing: tuple[Node, int], pki: Path) -> None:
    node, _ = committing
    reports: Reports = []
    handlers = [(evt.EVT_N_EVENT_REPORT, lambda event: told(reports, event))]
    with node.running() as service:
        fill(service, pki)
        with asking(service, pki, evt_handlers=handlers) as association:
            ask(association, "1.9.1", instance_uid(), UNKNOWN)
        eventually(lambda: bool(reports), "no report came")
        association.release()
        service.expect(r"told SCU of its storage commitment 1\.9\.1: 1 committed, 1 not")
    [(event, report)] = reports
    assert (event, report.TransactionUID, report.RetrieveAETitle) == (2, "1.9.1", "DIMSETLS")
    assert [item.ReferencedSOPInstanceUID for item in report.ReferencedSOPSequence] == [instance_uid()]
    [failed] = report.FailedSOPSequence
    assert (failed.ReferencedSOPInstanceUID, failed.FailureReason) == (UNKNOWN, FailureReason.NO_SUCH_OBJECT_INSTANCE)


def test_the_report_on_a_new_association(committing: tuple[Node, int], pki: Path) -> None:
    node, port = committing
    reports: Reports = []
    with node.running() as service, listening(pki, port, reports):
        fill(service, pki)
        with asking(service, pki) as association:  # which has no handler, so that a report there is refused
            ask(association, "1.9.2", instance_uid())
        association.release()
        eventually(lambda: bool(reports), "no report came")
        service.expect(r"told SCU of its storage commitment 1\.9\.2: 1 committed, 0 not")
    [(event, report)] = reports
    assert (event, report.TransactionUID) == (1, "1.9.2")
    assert "FailedSOPSequence" not in report


def test_kill_9_between_the_answer_and_the_report(committing: tuple[Node, int], pki: Path) -> None:
    node, port = committing
    is_asked, may_end = threading.Event(), threading.Event()

    def never_answered(event: evt.Event) -> tuple[int, None]:
        is_asked.set()
        may_end.wait(DEADLINE)
        return 0, None

    with node.running() as service:
        fill(service, pki)
        with asking(service, pki, evt_handlers=[(evt.EVT_N_EVENT_REPORT, never_answered)]) as association:
            ask(association, "1.9.3", instance_uid())
        assert is_asked.wait(DEADLINE)
        service.kill()
        assert service.process.returncode == -SIGKILL
        may_end.set()
        association.abort()
    reports: Reports = []
    with listening(pki, port, reports), node.running() as service:
        eventually(lambda: bool(reports), "no report came after the restart")
        service.expect(r"told SCU of its storage commitment 1\.9\.3: 1 committed, 0 not")
    assert [(event, report.TransactionUID) for event, report in reports] == [(1, "1.9.3")]


def test_a_peer_that_is_away_is_called_again(committing: tuple[Node, int], pki: Path) -> None:
    node, port = committing
    reports: Reports = []
    with node.running() as service:
        fill(service, pki)
        with asking(service, pki) as association:
            ask(association, "1.9.4", instance_uid())
        association.release()
        service.expect("SCU has not heard what became of its storage commitment, and is called again in 5 s")
        with listening(pki, port, reports):
            eventually(lambda: bool(reports), "no report came at the second try")
            service.expect(r"told SCU of its storage commitment 1\.9\.4")
    assert len(reports) == 1


def test_a_peer_that_a_reload_brings_is_told_at_once(committing: tuple[Node, int], pki: Path) -> None:
    node, port = committing
    scu = node.sections.pop("peer scu")
    reports: Reports = []
    with node.running() as service:
        fill(service, pki)
        with asking(service, pki) as association:
            ask(association, "1.9.5", instance_uid())
        association.release()
        service.expect("nobody knows how SCU is reached; give its .peer. section a host")
        node.sections["peer scu"] = scu
        node.write()
        with listening(pki, port, reports):
            service.process.send_signal(SIGHUP)
            eventually(lambda: bool(reports), "no report came after the reload")
            service.expect(r"told SCU of its storage commitment 1\.9\.5")


# Worklist -------------------------------------------------------------------------------------------------------------


@pytest.fixture
def worklist(node: Node) -> tuple[Node, Path]:
    directory = node.directory / "worklist"
    directory.mkdir()
    node.set("ae DIMSETLS", services="verification, worklist", worklist="today", storage=None)
    node.set("worklist today", directory="worklist")
    return node, directory


KEYS = ("-k", "PatientName", "-k", "ScheduledProcedureStepSequence[0].Modality=CT", "-k",
        "ScheduledProcedureStepSequence[0].ScheduledStationAETitle", "-k",
        "ScheduledProcedureStepSequence[0].ScheduledProcedureStepStartDate=20260301-")  # fmt: skip


def findscu(service: Service, pki: Path, out: Path, *options: object) -> list[Dataset]:
    """What DCMTK's findscu finds, in the order of its files."""
    out.mkdir()
    ended = dcmtk.run("findscu", *dcmtk.WAITS, "-aec", "DIMSETLS", *dcmtk.secured(pki), "-W", *options, "-X", "-od",
                      out, "127.0.0.1", service.port())
    assert ended.returncode == 0, ended.stdout
    return [pydicom.dcmread(path, force=True) for path in sorted(out.iterdir())]


def test_findscu_finds_what_is_scheduled(worklist: tuple[Node, Path], pki: Path, tmp_path: Path) -> None:
    node, directory = worklist
    write(directory / "1.wl", a_procedure(PatientName="Müller^Jörg", SpecificCharacterSet="ISO_IR 100"))
    write(directory / "2.wl", a_procedure(Modality="MR"))
    (directory / "3.wl").write_text("no worklist file")
    with node.running() as service:
        [found] = findscu(service, pki, tmp_path / "first", *KEYS)
        assert found.PatientName == "Müller^Jörg"
        [step] = found.ScheduledProcedureStepSequence
        assert (step.Modality, step.ScheduledStationAETitle) == ("CT", "CT1")
        write(directory / "2.wl", a_procedure(PatientName="Later^One"))
        names = [str(each.PatientName) for each in findscu(service, pki, tmp_path / "second", *KEYS)]
        assert names == ["Müller^Jörg", "Later^One"]
        assert len(service.expect(r"3\.wl is not on the worklist: expected a DICOM file")) == 1


def test_findscu_finds_what_dump2dcm_wrote(worklist: tuple[Node, Path], pki: Path, tmp_path: Path) -> None:
    node, directory = worklist
    (tmp_path / "wl.dump").write_text(
        "(0010,0010) PN [VIVALDI^ANTONIO]\n(0010,0020) LO [AV35674]\n(0020,000d) UI [1.2.276.0.7230010.3.2.101]\n"
        "(0040,0100) SQ\n(fffe,e000) -\n(0008,0060) CS [CT]\n(0040,0001) AE [AA32\\AA33]\n(0040,0002) DA [20260301]\n"
        "(0040,0003) TM [160700]\n(fffe,e00d) -\n(fffe,e0dd) -\n"
    )
    assert dcmtk.run("dump2dcm", tmp_path / "wl.dump", directory / "wklist1.wl").returncode == 0
    with node.running() as service:
        [found] = findscu(service, pki, tmp_path / "found", *KEYS)
        assert found.PatientName == "VIVALDI^ANTONIO"
        assert list(found.ScheduledProcedureStepSequence[0].ScheduledStationAETitle) == ["AA32", "AA33"]
        key = "ScheduledProcedureStepSequence[0].ScheduledStationAETitle=AA33"
        assert len(findscu(service, pki, tmp_path / "only", "-k", key)) == 1


def test_pynetdicom_finds_what_is_scheduled(worklist: tuple[Node, Path], pki: Path) -> None:
    node, directory = worklist
    for number in range(120):
        write(directory / f"{number:03}.wl", a_procedure(PatientID=f"P{number}"))
    ae = AE("SCU")
    ae.add_requested_context(ModalityWorklistInformationFind)
    with node.running() as service, associated(ae, service, pki) as association:
        question = a_question(PatientID="P1*", Modality="CT")
        answers = list(association.send_c_find(question, ModalityWorklistInformationFind))
        assert [status.Status for status, _ in answers] == [0xFF00] * 31 + [0]
        assert {match.PatientID[:2] for _, match in answers[:-1]} == {"P1"}


# Performed procedure steps -------------------------------------------------------------------------------------------


def test_pynetdicom_tells_what_it_performs(node: Node, pki: Path) -> None:
    directory = node.directory / "performed"
    directory.mkdir()
    node.set("ae DIMSETLS", services="procedure-steps", procedure_steps="performed", storage=None)
    node.set("procedure-steps performed", directory="performed")
    step, retrieve, uid = ModalityPerformedProcedureStep, ModalityPerformedProcedureStepRetrieve, "1.2.3.4"
    ae = AE("CT1")
    ae.add_requested_context(step)
    ae.add_requested_context(retrieve)
    with node.running() as service, associated(ae, service, pki) as association:
        status, _ = association.send_n_create(a_step(Modality=None), step, uid)
        assert (status.Status, status.ErrorComment) == (0x0120, "expected Modality")
        assert association.send_n_create(a_step(), step, uid)[0].Status == 0
        assert association.send_n_create(a_step(), step, uid)[0].Status == 0x0111
        assert association.send_n_set(the_end(), step, "9.9")[0].Status == 0x0112
        assert association.send_n_set(the_end(), step, uid)[0].Status == 0
        status, _ = association.send_n_set(the_end("DISCONTINUED"), step, uid)
        assert (status.Status, status.ErrorID) == (0x0110, 0xA710)
        status, found = association.send_n_get([0x00400252], retrieve, uid)
        assert (status.Status, found.PerformedProcedureStepStatus) == (0, "COMPLETED")
        service.expect(rf"CT1 says that performed procedure step {uid} is COMPLETED")
    content = json.loads((directory / f"{uid}.json").read_text(encoding="utf-8"))
    assert content["00400252"]["Value"] == ["COMPLETED"]
