from __future__ import annotations

import pynetdicom.status
import pytest

from dimsetls.dimse.status import (
    MEANINGS,
    FailureReason,
    Service,
    Status,
    StatusClass,
    describe,
    meanings,
    status_class,
)


@pytest.mark.parametrize(("status", "expected"), [
    (0x0000, "success"),
    (0x0001, "warning"), (0x0107, "warning"), (0x0116, "warning"), (0xB000, "warning"), (0xBFFF, "warning"),
    (0xFE00, "cancel"),
    (0xFF00, "pending"), (0xFF01, "pending"),
    (0x0105, "failure"), (0x0110, "failure"), (0x0122, "failure"), (0x0211, "failure"), (0xA700, "failure"),
    (0xA7FF, "failure"), (0xA900, "failure"), (0xC000, "failure"), (0xCFFF, "failure"),
    (0x0002, "failure"), (0x9000, "failure"), (0xFF02, "failure"), (0xFFFF, "failure"),
])  # fmt: skip
def test_every_status_has_a_class_and_what_the_standard_does_not_know_is_a_failure(status, expected):
    assert status_class(status) is StatusClass(expected)


def test_the_statuses_with_a_name_are_sorted_into_the_classes_of_annex_c():
    warnings = {status for status in Status if status_class(status) is StatusClass.WARNING}
    assert {f"{status:04X}" for status in warnings} == {"0001", "0107", "0116", "B000", "B001", "B006", "B007"}
    others = {status for status in Status if status_class(status) is not StatusClass.FAILURE} - warnings
    assert {f"{status:04X}" for status in others} == {"0000", "FE00", "FF00", "FF01"}


def test_every_status_and_failure_reason_with_a_name_has_a_meaning():
    assert [status.name for status in Status if not meanings(status)] == []
    assert {reason for reason in FailureReason if not meanings(reason)} == {FailureReason.DUPLICATE_TRANSACTION_UID}


def test_a_range_is_of_one_class_and_overlaps_no_other_of_its_service_but_by_being_within_it():
    for row in MEANINGS:
        assert status_class(row.first) is status_class(row.last) is row.status_class
        assert row.extent in (0, 0xFF, 0xFFF)
        assert row.text.strip() == row.text != ""
        same = [other for other in MEANINGS if other is not row and other.service is row.service
                and other.first <= row.first <= other.last]  # fmt: skip
        assert all(other.extent > row.extent for other in same)


@pytest.mark.parametrize(("service", "table"), [
    (Service.STORAGE, "STORAGE"), (Service.FIND, "QR_FIND"), (Service.MOVE, "QR_MOVE"), (Service.GET, "QR_GET"),
    (Service.WORKLIST, "MODALITY_WORKLIST"), (Service.RELEVANT_PATIENT_INFORMATION, "RELEVANT_PATIENT"),
    (Service.SUBSTANCE_ADMINISTRATION, "SUBSTANCE_ADMINISTRATION"), (Service.PRINT, "PRINT_JOB_MANAGEMENT"),
    (Service.EVENT_LOGGING, "APPLICATION_EVENT_LOGGING"), (Service.MEDIA_CREATION, "MEDIA_CREATION_MANAGEMENT"),
    (Service.UNIFIED_PROCEDURE_STEP, "UNIFIED_PROCEDURE_STEP"), (Service.NON_PATIENT_OBJECT_STORAGE, "NON_PATIENT"),
    (Service.MACHINE_VERIFICATION, "RT_MACHINE_VERIFICATION"), (Service.STORAGE_MANAGEMENT, "STORAGE_MANAGEMENT"),
    (Service.PROCEDURE_STEP, ""),
])  # fmt: skip
def test_pynetdicom_has_the_same_codes_in_the_same_classes(service, table):
    theirs = getattr(pynetdicom.status, f"{table}_SERVICE_CLASS_STATUS" if table else "PROCEDURE_STEP_STATUS")
    ours = {code: status_class(code) for code in range(0x10000) if meanings(code, service)}
    assert ours == {code: StatusClass(kind.lower()) for code, (kind, _) in theirs.items()}


def test_the_meaning_to_a_service_goes_before_that_to_all_and_the_narrow_before_the_wide():
    assert [row.text for row in meanings(0x0110, Service.PROCEDURE_STEP)] == [
        "the performed procedure step may no longer be updated", "processing failure",
    ]  # fmt: skip
    assert [row.text for row in meanings(0xC307, Service.UNIFIED_PROCEDURE_STEP)] == [
        "no such UPS, or not managed here", "unable to process",
    ]  # fmt: skip
    assert meanings(0xA801, Service.GET) == ()


@pytest.mark.parametrize(("status", "service", "words"), [
    (0x0000, None, "0000H, success: success"),
    (0xA801, Service.MOVE, "A801H, failure: move destination unknown"),
    (0xA7FF, Service.STORAGE, "A7FFH, failure: out of resources"),
    (0xB000, None, "B000H, warning: data elements were coerced or sub-operations are complete, one or more failed"),
    (0xC307, None, "C307H, failure: no such UPS, or not managed here"),
    (0x0110, None, "0110H, failure: processing failure"),
    (0x0110, Service.PROCEDURE_STEP, "0110H, failure: the performed procedure step may no longer be updated"),
    (0xFE00, Service.FIND, "FE00H, cancel: cancelled"),
    (0x9ABC, None, "9ABCH, failure"),
    (0xB123, Service.STORAGE, "B123H, warning"),
])  # fmt: skip
def test_a_status_in_words(status, service, words):
    assert describe(status, service) == words
