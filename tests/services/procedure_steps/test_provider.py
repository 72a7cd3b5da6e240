"""N-CREATE, N-SET and N-GET of performed procedure steps over associations in memory."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from twisted.internet.defer import execute

from dimsetls.association.requestor import propose
from dimsetls.services.procedure_steps import Change, ProcedureSteps, StepFiles
from dimsetls.uids import PROCEDURE_STEP, PROCEDURE_STEP_RETRIEVE

from ...association.pair import Pair, dataset
from .performed import a_step, the_end

STEP, RETRIEVE = PROCEDURE_STEP, PROCEDURE_STEP_RETRIEVE
UID = "1.2.3.4"


class Observed:
    """An AE that keeps procedure steps, and what its observer was told."""

    def __init__(self, path: Path) -> None:
        self.told: list[tuple[str, str]] = []
        self.error: Exception | None = None
        store = StepFiles(path, run=execute)
        store.open()
        self.path = path
        self.pair = Pair(ProcedureSteps(store, self.observe), contexts=[propose(STEP), propose(RETRIEVE)])
        self.call = self.pair.association

    async def observe(self, change: Change) -> None:
        assert (self.path / f"{change.sop_instance_uid}.json").exists()
        assert change.association.parties.calling_ae_title == "ME"
        self.told.append((change.sop_instance_uid, change.status))
        if self.error:
            raise self.error


@pytest.fixture
def node(tmp_path: Path) -> Observed:
    return Observed(tmp_path)


def test_a_step_from_its_beginning_to_its_end(node: Observed) -> None:
    response, _ = node.pair.run(node.call.n_create(STEP, UID, a_step()))
    assert (response.status, response.affected_sop_instance_uid) == (0, UID)
    for changes in (dataset(PerformedProcedureStepDescription="Thorax"), the_end()):
        assert node.pair.run(node.call.n_set(STEP, UID, changes))[0].status == 0
    assert node.told == [(UID, "IN PROGRESS"), (UID, "IN PROGRESS"), (UID, "COMPLETED")]
    error = node.pair.fails(node.call.n_set(STEP, UID, the_end("DISCONTINUED")))
    assert (error.status, error.response.error_id) == (0x0110, 0xA710)
    assert error.comment == "Performed Procedure Step Object may no longer be updated"
    assert len(node.told) == 3
    assert node.pair.is_quiet


def test_a_uid_is_made_where_none_is_given(node: Observed) -> None:
    response, _ = node.pair.run(node.call.n_create(STEP, None, a_step()))
    assert response.affected_sop_instance_uid.startswith("2.25.")
    assert node.told == [(response.affected_sop_instance_uid, "IN PROGRESS")]


def test_refusals_name_the_attributes(node: Observed) -> None:
    error = node.pair.fails(node.call.n_create(STEP, UID, a_step(Modality=None)))
    assert (error.status, error.response.offending_element) == (0x0120, (0x00080060,))
    assert (error.response.attribute_identifier_list, error.comment) == ((0x00080060,), "expected Modality")
    error = node.pair.fails(node.call.n_create(STEP, UID))
    assert (error.status, len(error.response.attribute_identifier_list)) == (0x0120, 22)
    error = node.pair.fails(node.call.n_create(STEP, UID, a_step(PerformedProcedureStepStatus="COMPLETED")))
    assert (error.status, error.response.offending_element) == (0x0106, (0x00400252,))
    assert node.told == []


def test_there_is_one_of_a_uid_and_it_is_a_uid(node: Observed) -> None:
    node.pair.run(node.call.n_create(STEP, UID, a_step()))
    assert node.pair.fails(node.call.n_create(STEP, UID, a_step())).status == 0x0111
    assert node.pair.fails(node.call.n_create(STEP, "../1", a_step())).status == 0x0117


@pytest.mark.parametrize(("uid", "status"), [("9.9", 0x0112), ("../../etc/passwd", 0x0117)])
def test_an_instance_that_is_not_there_is_0112h(node: Observed, uid: str, status: int) -> None:
    assert node.pair.fails(node.call.n_set(STEP, uid, the_end())).status == status
    assert node.pair.fails(node.call.n_get(RETRIEVE, uid)).status == status


def test_a_step_can_be_retrieved(node: Observed) -> None:
    node.pair.run(node.call.n_create(STEP, UID, a_step(PatientName="Müller^Jörg", SpecificCharacterSet="ISO_IR 100")))
    response, step = node.pair.run(node.call.n_get(RETRIEVE, UID))
    assert response.status == 0
    del step.SpecificCharacterSet
    assert step == a_step(PatientName="Müller^Jörg")
    response, step = node.pair.run(node.call.n_get(RETRIEVE, UID, (0x00100010, 0x00400252)))
    assert (response.status, step.PatientName, step.PerformedProcedureStepStatus) == (0, "Müller^Jörg", "IN PROGRESS")
    assert {element.keyword for element in step} == {
        "SpecificCharacterSet", "PatientName", "PerformedProcedureStepStatus",
    }
    response, step = node.pair.run(node.call.n_get(RETRIEVE, UID, (0x00100020, 0x00104000)))
    assert (response.status, step.PatientID) == (0x0001, "P1")


def test_each_class_has_its_operations(node: Observed) -> None:
    node.pair.run(node.call.n_create(STEP, UID, a_step()))
    assert node.pair.fails(node.call.n_get(STEP, UID)).status == 0x0211
    assert node.pair.fails(node.call.n_create(RETRIEVE, "1.2", a_step())).status == 0x0211
    assert node.pair.fails(node.call.n_set(RETRIEVE, UID, the_end())).status == 0x0211
    assert node.pair.fails(node.call.n_delete(STEP, UID)).status == 0x0122


def test_an_observer_that_fails_takes_nothing_back(node: Observed, logged: list[Any]) -> None:
    node.error = RuntimeError("the information system is away")
    assert node.pair.run(node.call.n_create(STEP, UID, a_step()))[0].status == 0
    assert [event for event in logged if event.get("log_failure")]
    assert node.pair.run(node.call.n_get(RETRIEVE, UID))[0].status == 0
