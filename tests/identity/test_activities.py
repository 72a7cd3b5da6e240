from __future__ import annotations

import pytest

from dimsetls.codes import CommandField
from dimsetls.identity.activities import Activity, activities_of, activity_of
from dimsetls.services.known import UIDS, storage_sop_classes
from dimsetls.uids import BEARER_TOKEN

SOP_CLASSES = {uid: name for uid, (name, kind, *_) in UIDS.items() if kind in ("SOP Class", "Meta SOP Class")}
NOT_DIMSE = ("Media Storage Directory", "Real-Time Communication")
UNNAMED = {"1.2.840.10008.5.1.4.1.1.12.77", "1.2.840.10008.5.1.4.1.1.40"}
"""Retired before they were named, among the storage classes."""

DICOM = "1.2.840.10008."
QUERIED_AND_NORMALIZED = {DICOM + uid for uid in (
    "5.1.4.32", "5.1.4.34.4.2", "5.1.4.34.4.3", "5.1.4.34.6.2", "5.1.4.34.6.3", "5.1.4.34.6.5",
)}  # fmt: skip


def by_name(uid: str) -> set[str]:
    """What a SOP class is for, from its name in PS3.6."""
    name = SOP_CLASSES[uid]
    if uid in QUERIED_AND_NORMALIZED:
        return {"query", "normalized"}
    if name == "Verification SOP Class":
        return {"verification"}
    if name.endswith(("FIND", "Query", "Query SOP Class")):
        return {"query"}
    if name.endswith(("MOVE", "GET")):
        return {"retrieve"}
    if uid in storage_sop_classes() | UNNAMED:
        return {"store"}
    return {"normalized"}


@pytest.mark.parametrize("uid", [uid for uid, name in SOP_CLASSES.items() if not any(w in name for w in NOT_DIMSE)])
def test_every_sop_class_is_for_what_its_name_says(uid: str) -> None:
    assert {activity.value for activity in activities_of(uid, is_scu=True, is_scp=False)} == by_name(uid)


def test_the_names_above_tell_queries_and_retrievals() -> None:
    assert sum(by_name(uid) == {"query"} for uid in SOP_CLASSES) >= 19
    assert sum(by_name(uid) == {"retrieve"} for uid in SOP_CLASSES) >= 25


@pytest.mark.parametrize(("is_scu", "is_scp", "expected"), [
    (True, False, {"store"}), (False, True, {"retrieve"}), (True, True, {"store", "retrieve"}), (False, False, set()),
])  # fmt: skip
@pytest.mark.parametrize("uid", [DICOM + "5.1.4.1.1.2", DICOM + "5.1.1.27", "1.2.3.4"], ids=["ct", "print", "private"])
def test_storage_depends_on_the_role(uid: str, is_scu: bool, is_scp: bool, expected: set[str]) -> None:
    assert {activity.value for activity in activities_of(uid, is_scu=is_scu, is_scp=is_scp)} == expected


def test_a_context_of_the_bearer_extension_can_be_used_for_nothing() -> None:
    assert activities_of(BEARER_TOKEN, is_scu=True, is_scp=True) == frozenset()


@pytest.mark.parametrize(("operations", "activity"), [
    (("C_ECHO",), Activity.VERIFICATION),
    (("C_STORE",), Activity.STORE),
    (("C_FIND",), Activity.QUERY),
    (("C_MOVE", "C_GET"), Activity.RETRIEVE),
    (("N_EVENT_REPORT", "N_GET", "N_SET", "N_ACTION", "N_CREATE", "N_DELETE"), Activity.NORMALIZED),
])  # fmt: skip
def test_every_request_is_an_activity(operations: tuple[str, ...], activity: Activity) -> None:
    assert [activity_of(CommandField[f"{operation}_RQ"]) for operation in operations] == [activity] * len(operations)


def test_what_is_no_request_is_no_activity() -> None:
    requests = {field for field in CommandField if activity_of(field) is not None}
    assert requests == {field for field in CommandField if field.name.endswith("_RQ")} - {CommandField.C_CANCEL_RQ}
    assert activity_of(0x0999) is None
