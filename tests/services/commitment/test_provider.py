"""Requests for storage commitment: what is promised, and what is refused with which status."""

from __future__ import annotations

from typing import Any

import pytest
from pydicom import Dataset

from dimsetls.association.datasets import encode
from dimsetls.dimse.messages import LONGEST_COMMENT
from dimsetls.services.commitment import CommitmentUser, Reference, provider
from dimsetls.services.commitment.references import write_request
from dimsetls.uids import STORAGE_COMMITMENT
from dimsetls.uids import STORAGE_COMMITMENT_INSTANCE as INSTANCE

from .scene import KEPT, Hearing, Scene


def request(pair: Any, *references: Reference, uid: str = "1.9") -> bytes:
    syntax = pair.association.context(STORAGE_COMMITMENT).transfer_syntax
    return write_request(uid, references or KEPT, syntax)


def test_a_request_is_written_down_before_it_is_answered(scene: Scene) -> None:
    pair = scene.asked()
    response, reply = pair.run(pair.association.n_action(STORAGE_COMMITMENT, INSTANCE, 1, request(pair)))
    assert (response.status, response.affected_sop_instance_uid, reply) == (0, INSTANCE, None)
    assert scene.pending == ["1.9"]
    assert scene.transactions.references(1) == KEPT


@pytest.mark.parametrize(("instance", "action", "status"), [
    ("1.2.840.10008.1.20.1.2", 1, 0x0112), (INSTANCE, 2, 0x0123), (INSTANCE, 0, 0x0123),
])  # fmt: skip
def test_what_is_asked_of_another_instance_or_by_another_action(
    scene: Scene, instance: str, action: int, status: int
) -> None:
    pair = scene.asked()
    error = pair.fails(pair.association.n_action(STORAGE_COMMITMENT, instance, action, request(pair)))
    assert error.status == status
    assert error.comment.startswith("expected")
    assert scene.pending == []
    assert pair.is_quiet


def test_a_request_without_its_attributes_is_0115h_and_names_them(scene: Scene) -> None:
    pair = scene.asked()
    error = pair.fails(pair.association.n_action(STORAGE_COMMITMENT, INSTANCE, 1, None))
    assert (error.status, error.comment) == (0x0115, "expected action information, got no data set")
    error = pair.fails(pair.association.n_action(STORAGE_COMMITMENT, INSTANCE, 1, Dataset()))
    assert (error.status, error.response.offending_element) == (0x0115, (0x00081195,))
    assert error.response.attribute_identifier_list == (0x00081195,)
    only_uid = Dataset()
    only_uid.TransactionUID = "1.9"
    error = pair.fails(pair.association.n_action(STORAGE_COMMITMENT, INSTANCE, 1, only_uid))
    assert (error.status, error.response.offending_element) == (0x0115, (0x00081199,))
    assert len(error.comment) <= LONGEST_COMMENT
    assert scene.pending == []


def test_bytes_that_are_no_data_set_are_0110h(scene: Scene) -> None:
    pair = scene.asked()
    error = pair.fails(pair.association.n_action(STORAGE_COMMITMENT, INSTANCE, 1, b"\xff" * 40))
    assert error.status == 0x0110


def test_a_request_that_is_too_long_is_0213h(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(provider, "LARGEST", 100)
    pair = scene.asked()
    error = pair.fails(pair.association.n_action(STORAGE_COMMITMENT, INSTANCE, 1, request(pair)))
    assert (error.status, scene.pending) == (0x0213, [])


def test_what_cannot_be_written_down_is_not_promised(scene: Scene, logged: list[Any]) -> None:
    pair = scene.asked()
    assert scene.transactions._connection is not None
    scene.transactions._connection.execute("PRAGMA query_only = 1")
    error = pair.fails(pair.association.n_action(STORAGE_COMMITMENT, INSTANCE, 1, request(pair)))
    assert (error.status, error.comment) == (0x0213, "the request cannot be kept")


def test_another_operation_is_not_served(scene: Scene) -> None:
    pair = scene.asked()
    error = pair.fails(pair.association.n_set(STORAGE_COMMITMENT, INSTANCE, encoded(pair)))
    assert error.status == 0x0122


def encoded(pair: Any) -> Dataset:
    data_set = Dataset()
    data_set.TransactionUID = "1.9"
    assert encode(data_set, pair.association.context(STORAGE_COMMITMENT).transfer_syntax)
    return data_set


def test_the_same_request_twice_is_reported_once(scene: Scene) -> None:
    user = Hearing()
    pair = scene.asked(user)
    for _ in range(2):
        assert pair.run(pair.association.n_action(STORAGE_COMMITMENT, INSTANCE, 1, request(pair)))[0].status == 0
    scene.pass_time(pair)
    assert [report.transaction_uid for report, _ in user.heard] == ["1.9"]


def test_another_request_with_the_uid_of_one_that_waits_is_0131h(scene: Scene) -> None:
    user = Hearing()
    pair = scene.asked(user)
    for references in (KEPT[:1], KEPT[1:]):
        pair.run(pair.association.n_action(STORAGE_COMMITMENT, INSTANCE, 1, request(pair, *references)))
    scene.pass_time(pair)
    (first, event), (second, other_event) = user.heard
    assert (first.committed, first.failed, event) == (tuple(KEPT[:1]), {}, 1)
    assert (second.committed, second.failed, other_event) == ((), dict.fromkeys(KEPT[1:], 0x0131), 2)


def test_only_the_scu_may_ask(scene: Scene) -> None:
    assert CommitmentUser().support(STORAGE_COMMITMENT, None) is not None
    pair = scene.asked()
    (context,) = pair.association.contexts.values()
    assert (context.requestor_is_scu, context.requestor_is_scp) == (True, False)
