"""Asking for storage commitment, and hearing of it."""

from __future__ import annotations

from typing import Any

import pytest
from pydicom import Dataset

from dimsetls.association.requestor import propose
from dimsetls.services.commitment import CommitmentUser, Report
from dimsetls.uids import STORAGE_COMMITMENT
from dimsetls.uids import STORAGE_COMMITMENT_INSTANCE as INSTANCE
from dimsetls.ul.pdus import RoleSelection

from ...association.pair import Pair
from ...association.stage import Stage
from .scene import KEPT, UNKNOWN, Hearing, Scene


def test_commitment_is_asked_for_and_awaited_on_one_association(scene: Scene) -> None:
    user = CommitmentUser(scene.clock)
    pair = scene.asked(user)
    asking = pair.start(user.commit(pair.association, [*KEPT, UNKNOWN]))
    assert not asking.is_over
    scene.pass_time(pair)
    report: Report = asking.result
    assert (report.committed, report.failed, report.retrieve_ae_title) == (tuple(KEPT), {UNKNOWN: 0x0112}, "DIMSETLS")
    assert pair.is_quiet


def test_a_report_is_answered_before_who_heard_it_releases_the_association(scene: Scene) -> None:
    user = CommitmentUser(scene.clock)
    pair = scene.asked(user)

    async def ask() -> Report:
        async with pair.association as opened:
            return await user.commit(opened, KEPT)

    asking = pair.start(ask())
    scene.pass_time(pair)
    assert asking.result.committed == tuple(KEPT)
    assert scene.pending == []
    assert pair.is_quiet


def test_commitment_is_heard_of_on_another_association(scene: Scene) -> None:
    user = CommitmentUser(scene.clock)
    scene.there = Stage(user)
    pair = scene.asked(None)
    asking = pair.start(user.commit(pair.association, KEPT))
    pair.run(pair.association.release())
    scene.pass_time()
    assert asking.result.committed == tuple(KEPT)
    assert scene.pending == []


def test_a_refusal_is_raised(scene: Scene) -> None:
    user = CommitmentUser(scene.clock)
    pair = scene.asked(user)
    error = pair.fails(user.commit(pair.association, []))
    assert error.status == 0x0115


def test_nobody_waits_for_ever(scene: Scene) -> None:
    user = CommitmentUser(scene.clock)
    pair = scene.asked(None)
    asking = pair.start(user.commit(pair.association, KEPT, timeout=5))
    pair.run(pair.association.release())
    scene.pass_time(seconds=5)
    assert isinstance(asking.error, TimeoutError)
    assert "within 5 s" in str(asking.error)
    assert scene.pending != []


def told(user: CommitmentUser, instance: str, event: int, data: Any) -> Any:
    """What a user answers to a notification."""
    roles = (RoleSelection(STORAGE_COMMITMENT, False, True),)
    pair = Pair(user, contexts=[propose(STORAGE_COMMITMENT)], role_selections=roles)
    return pair.fails(pair.association.n_event_report(STORAGE_COMMITMENT, instance, event, data))


@pytest.mark.parametrize(("instance", "event", "data", "status"), [
    ("1.2.3", 1, None, 0x0112), (INSTANCE, 3, None, 0x0113), (INSTANCE, 1, None, 0x0115),
    (INSTANCE, 1, Dataset(), 0x0115),
])  # fmt: skip
def test_what_is_no_report_is_refused(instance: str, event: int, data: Any, status: int) -> None:
    assert told(CommitmentUser(), instance, event, data).status == status


def test_a_report_on_what_nobody_asked_is_refused_unless_somebody_wants_it() -> None:
    data_set = Dataset()
    data_set.TransactionUID = "1.9"
    error = told(CommitmentUser(), INSTANCE, 1, data_set)
    assert (error.status, error.response.offending_element) == (0x0115, (0x00081195,))
    user = Hearing()
    roles = (RoleSelection(STORAGE_COMMITMENT, False, True),)
    pair = Pair(user, contexts=[propose(STORAGE_COMMITMENT)], role_selections=roles)
    assert pair.run(pair.association.n_event_report(STORAGE_COMMITMENT, INSTANCE, 1, data_set))[0].status == 0
    assert [report.transaction_uid for report, _ in user.heard] == ["1.9"]
