"""DIMSE-N; which bytes these messages are is in `vectors`."""

from __future__ import annotations

import pytest

from dimsetls.dimse.command import write_command
from dimsetls.dimse.messages import DataSet
from dimsetls.dimse.normalized import (
    NActionRQ,
    NActionRSP,
    NCreateRQ,
    NCreateRSP,
    NDeleteRQ,
    NDeleteRSP,
    NEventReportRQ,
    NEventReportRSP,
    NGetRQ,
    NGetRSP,
    NSetRQ,
    NSetRSP,
)
from dimsetls.dimse.status import Status

from .vectors import NORMALIZED, name


@pytest.mark.parametrize("vector", NORMALIZED, ids=name)
def test_a_message_is_exactly_these_bytes(vector):
    assert write_command(vector.message.command(vector.has_data_set)) == vector.wire


AFFECTED = {0x0002, 0x0100, 0x0110, 0x0800}
REQUESTED = {0x0003, 0x0100, 0x0110, 0x0800, 0x1001}
RESPONSE = {0x0002, 0x0100, 0x0120, 0x0800, 0x0900, 0x0901, 0x0902, 0x0903, 0x1000, 0x1005}
WHOLE = (1, 0x0105, "1.2", (1,), "c", 1, "1.3", (1,))


@pytest.mark.parametrize(("message", "elements"), [
    (NEventReportRQ(1, "1.2", "1.3", 1), AFFECTED | {0x1000, 0x1002}),
    (NEventReportRSP(*WHOLE, 1), RESPONSE | {0x1002}),
    (NGetRQ(1, "1.2", "1.3"), REQUESTED),
    (NGetRQ(1, "1.2", "1.3", (1,)), REQUESTED | {0x1005}),
    (NGetRSP(*WHOLE), RESPONSE),
    (NSetRQ(1, "1.2", "1.3"), REQUESTED),
    (NSetRSP(*WHOLE), RESPONSE),
    (NActionRQ(1, "1.2", "1.3", 1), REQUESTED | {0x1008}),
    (NActionRSP(*WHOLE, 1), RESPONSE | {0x1008}),
    (NCreateRQ(1, "1.2"), AFFECTED),
    (NCreateRQ(1, "1.2", "1.3"), AFFECTED | {0x1000}),
    (NCreateRSP(*WHOLE), RESPONSE),
    (NDeleteRQ(1, "1.2", "1.3"), REQUESTED),
    (NDeleteRSP(*WHOLE), RESPONSE),
])  # fmt: skip
def test_a_message_has_exactly_the_elements_of_its_table(message, elements):
    """PS3.7 Tables 10.3-1 to 10.3-12."""
    assert set(message.command()) == elements


N, A, R = DataSet.NONE, DataSet.ALLOWED, DataSet.REQUIRED


@pytest.mark.parametrize(("message", "rule"), [
    (NEventReportRQ(1, "1.2", "1.3", 1), A), (NGetRQ(1, "1.2", "1.3"), N), (NSetRQ(1, "1.2", "1.3"), R),
    (NActionRQ(1, "1.2", "1.3", 1), A), (NCreateRQ(1, "1.2"), A), (NDeleteRQ(1, "1.2", "1.3"), N),
    *((kind(1, status), A) for kind in (NEventReportRSP, NSetRSP, NActionRSP, NCreateRSP) for status in (0, 0x0106)),
    (NGetRSP(1, 0), R), (NGetRSP(1, 0x0107), A), (NGetRSP(1, 0x0112), N),
    (NDeleteRSP(1, 0), N), (NDeleteRSP(1, 0x0112), N),
])  # fmt: skip
def test_the_message_and_its_status_say_whether_a_data_set_follows(message, rule):
    assert message.data_set is rule


@pytest.mark.parametrize(("request_", "response"), [
    (NEventReportRQ(9, "1.2", "1.3", 5),
     NEventReportRSP(9, 0, "1.2", affected_sop_instance_uid="1.3", event_type_id=5)),
    (NGetRQ(9, "1.2", "1.3", (1,)), NGetRSP(9, 0, "1.2", affected_sop_instance_uid="1.3")),
    (NSetRQ(9, "1.2", "1.3"), NSetRSP(9, 0, "1.2", affected_sop_instance_uid="1.3")),
    (NActionRQ(9, "1.2", "1.3", 5), NActionRSP(9, 0, "1.2", affected_sop_instance_uid="1.3", action_type_id=5)),
    (NCreateRQ(9, "1.2", "1.3"), NCreateRSP(9, 0, "1.2", affected_sop_instance_uid="1.3")),
    (NDeleteRQ(9, "1.2", "1.3"), NDeleteRSP(9, 0, "1.2", affected_sop_instance_uid="1.3")),
])  # fmt: skip
def test_a_response_takes_from_its_request_what_is_equal_in_both(request_, response):
    """What was requested is affected (PS3.7 §10.1)."""
    assert request_.RESPONSE.to(request_) == response


def test_the_scp_names_the_instance_that_it_creates():
    assert NCreateRSP.to(NCreateRQ(9, "1.2"), affected_sop_instance_uid="1.2.9") == NCreateRSP(
        9, 0, "1.2", affected_sop_instance_uid="1.2.9"
    )
    failed = NCreateRSP.to(NCreateRQ(9, "1.2"), Status.MISSING_ATTRIBUTE, attribute_identifier_list=(0x00400241,))
    assert failed == NCreateRSP(9, 0x0120, "1.2", attribute_identifier_list=(0x00400241,))
