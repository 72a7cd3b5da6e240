from __future__ import annotations

import pytest

from dimsetls.dimse.status import Status, StatusClass, status_class


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
    assert {f"{status:04X}" for status in warnings} == {"0107", "0116", "B000", "B006", "B007"}
    others = {status for status in Status if status_class(status) is not StatusClass.FAILURE} - warnings
    assert {f"{status:04X}" for status in others} == {"0000", "FE00", "FF00", "FF01"}
