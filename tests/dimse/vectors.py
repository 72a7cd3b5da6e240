"""One message of each kind, as bytes typed by hand after the tables of PS3.7 §9.3 and §10.3, and what they say.

SOP class 1.2, SOP instance 1.2.3, Message ID 7 and medium priority throughout.
"""

from __future__ import annotations

from typing import Any, NamedTuple

from dimsetls.dimse.messages import (
    CCancelRQ,
    CEchoRQ,
    CEchoRSP,
    CFindRQ,
    CFindRSP,
    CGetRQ,
    CGetRSP,
    CMoveRQ,
    CMoveRSP,
    CStoreRQ,
    CStoreRSP,
)
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


class Vector(NamedTuple):
    """A message, whether a data set follows it, and its command set."""

    message: Any
    has_data_set: bool
    wire: bytes


def vector(message: Any, has_data_set: bool, hexadecimal: str) -> Vector:
    return Vector(message, has_data_set, bytes.fromhex(hexadecimal))


COMPOSITE = [
    vector(CEchoRQ(7, "1.2"), False, """
        0000 0000 04000000 2a000000
        0000 0200 04000000 312e3200
        0000 0001 02000000 3000
        0000 1001 02000000 0700
        0000 0008 02000000 0101
    """),
    vector(CEchoRSP(7, 0, "1.2"), False, """
        0000 0000 04000000 34000000
        0000 0200 04000000 312e3200
        0000 0001 02000000 3080
        0000 2001 02000000 0700
        0000 0008 02000000 0101
        0000 0009 02000000 0000
    """),
    vector(CStoreRQ(7, "1.2", "1.2.3", 0, "SCU", 0xFFFE), True, """
        0000 0000 04000000 58000000
        0000 0200 04000000 312e3200
        0000 0001 02000000 0100
        0000 1001 02000000 0700
        0000 0007 02000000 0000
        0000 0008 02000000 0100
        0000 0010 06000000 312e322e3300
        0000 3010 04000000 53435520
        0000 3110 02000000 feff
    """),
    vector(CStoreRSP(7, 0xA900, "1.2", (0x00080016, 0x7FE00010), "odd", None, "1.2.3"), False, """
        0000 0000 04000000 5e000000
        0000 0200 04000000 312e3200
        0000 0001 02000000 0180
        0000 2001 02000000 0700
        0000 0008 02000000 0101
        0000 0009 02000000 00a9
        0000 0109 08000000 08001600e07f1000
        0000 0209 04000000 6f646420
        0000 0010 06000000 312e322e3300
    """),
    vector(CFindRQ(7, "1.2"), True, """
        0000 0000 04000000 34000000
        0000 0200 04000000 312e3200
        0000 0001 02000000 2000
        0000 1001 02000000 0700
        0000 0007 02000000 0000
        0000 0008 02000000 0100
    """),
    vector(CFindRSP(7, 0xFF01, "1.2"), True, """
        0000 0000 04000000 34000000
        0000 0200 04000000 312e3200
        0000 0001 02000000 2080
        0000 2001 02000000 0700
        0000 0008 02000000 0100
        0000 0009 02000000 01ff
    """),
    vector(CGetRQ(7, "1.2"), True, """
        0000 0000 04000000 34000000
        0000 0200 04000000 312e3200
        0000 0001 02000000 1000
        0000 1001 02000000 0700
        0000 0007 02000000 0000
        0000 0008 02000000 0100
    """),
    vector(
        CGetRSP(7, 0xFF00, "1.2", number_of_remaining_suboperations=258, number_of_completed_suboperations=3,
                number_of_failed_suboperations=0, number_of_warning_suboperations=1), False, """
        0000 0000 04000000 5c000000
        0000 0200 04000000 312e3200
        0000 0001 02000000 1080
        0000 2001 02000000 0700
        0000 0008 02000000 0101
        0000 0009 02000000 00ff
        0000 2010 02000000 0201
        0000 2110 02000000 0300
        0000 2210 02000000 0000
        0000 2310 02000000 0100
    """),
    vector(CMoveRQ(7, "1.2", "STORE1"), True, """
        0000 0000 04000000 42000000
        0000 0200 04000000 312e3200
        0000 0001 02000000 2100
        0000 1001 02000000 0700
        0000 0006 06000000 53544f524531
        0000 0007 02000000 0000
        0000 0008 02000000 0100
    """),
    vector(
        CMoveRSP(7, 0xB000, "1.2", number_of_completed_suboperations=2, number_of_failed_suboperations=1,
                 number_of_warning_suboperations=0), True, """
        0000 0000 04000000 52000000
        0000 0200 04000000 312e3200
        0000 0001 02000000 2180
        0000 2001 02000000 0700
        0000 0008 02000000 0100
        0000 0009 02000000 00b0
        0000 2110 02000000 0200
        0000 2210 02000000 0100
        0000 2310 02000000 0000
    """),
    vector(CCancelRQ(7), False, """
        0000 0000 04000000 1e000000
        0000 0001 02000000 ff0f
        0000 2001 02000000 0700
        0000 0008 02000000 0101
    """),
]  # fmt: skip

NORMALIZED = [
    vector(NEventReportRQ(7, "1.2", "1.2.3", 2), True, """
        0000 0000 04000000 42000000
        0000 0200 04000000 312e3200
        0000 0001 02000000 0001
        0000 1001 02000000 0700
        0000 0008 02000000 0100
        0000 0010 06000000 312e322e3300
        0000 0210 02000000 0200
    """),
    vector(NEventReportRSP(7, 0, "1.2", affected_sop_instance_uid="1.2.3", event_type_id=2), False, """
        0000 0000 04000000 4c000000
        0000 0200 04000000 312e3200
        0000 0001 02000000 0081
        0000 2001 02000000 0700
        0000 0008 02000000 0101
        0000 0009 02000000 0000
        0000 0010 06000000 312e322e3300
        0000 0210 02000000 0200
    """),
    vector(NGetRQ(7, "1.2", "1.2.3", (0x00100010, 0x7FE00010)), False, """
        0000 0000 04000000 48000000
        0000 0300 04000000 312e3200
        0000 0001 02000000 1001
        0000 1001 02000000 0700
        0000 0008 02000000 0101
        0000 0110 06000000 312e322e3300
        0000 0510 08000000 10001000e07f1000
    """),
    vector(NGetRSP(7, 0, "1.2", affected_sop_instance_uid="1.2.3"), True, """
        0000 0000 04000000 42000000
        0000 0200 04000000 312e3200
        0000 0001 02000000 1081
        0000 2001 02000000 0700
        0000 0008 02000000 0100
        0000 0009 02000000 0000
        0000 0010 06000000 312e322e3300
    """),
    vector(NSetRQ(7, "1.2", "1.2.3"), True, """
        0000 0000 04000000 38000000
        0000 0300 04000000 312e3200
        0000 0001 02000000 2001
        0000 1001 02000000 0700
        0000 0008 02000000 0100
        0000 0110 06000000 312e322e3300
    """),
    vector(
        NSetRSP(7, 0x0107, "1.2", affected_sop_instance_uid="1.2.3",
                attribute_identifier_list=(0x00100010,)), False, """
        0000 0000 04000000 4e000000
        0000 0200 04000000 312e3200
        0000 0001 02000000 2081
        0000 2001 02000000 0700
        0000 0008 02000000 0101
        0000 0009 02000000 0701
        0000 0010 06000000 312e322e3300
        0000 0510 04000000 10001000
    """),
    vector(NActionRQ(7, "1.2", "1.2.3", 1), True, """
        0000 0000 04000000 42000000
        0000 0300 04000000 312e3200
        0000 0001 02000000 3001
        0000 1001 02000000 0700
        0000 0008 02000000 0100
        0000 0110 06000000 312e322e3300
        0000 0810 02000000 0100
    """),
    vector(
        NActionRSP(7, 0x0110, "1.2", error_comment="busy", error_id=4711, affected_sop_instance_uid="1.2.3",
                   action_type_id=1), False, """
        0000 0000 04000000 62000000
        0000 0200 04000000 312e3200
        0000 0001 02000000 3081
        0000 2001 02000000 0700
        0000 0008 02000000 0101
        0000 0009 02000000 1001
        0000 0209 04000000 62757379
        0000 0309 02000000 6712
        0000 0010 06000000 312e322e3300
        0000 0810 02000000 0100
    """),
    vector(NCreateRQ(7, "1.2"), True, """
        0000 0000 04000000 2a000000
        0000 0200 04000000 312e3200
        0000 0001 02000000 4001
        0000 1001 02000000 0700
        0000 0008 02000000 0100
    """),
    vector(NCreateRSP(7, 0, "1.2", affected_sop_instance_uid="1.2.3"), False, """
        0000 0000 04000000 42000000
        0000 0200 04000000 312e3200
        0000 0001 02000000 4081
        0000 2001 02000000 0700
        0000 0008 02000000 0101
        0000 0009 02000000 0000
        0000 0010 06000000 312e322e3300
    """),
    vector(NDeleteRQ(7, "1.2", "1.2.3"), False, """
        0000 0000 04000000 38000000
        0000 0300 04000000 312e3200
        0000 0001 02000000 5001
        0000 1001 02000000 0700
        0000 0008 02000000 0101
        0000 0110 06000000 312e322e3300
    """),
    vector(NDeleteRSP(7, 0x0112, "1.2", affected_sop_instance_uid="1.2.3"), False, """
        0000 0000 04000000 42000000
        0000 0200 04000000 312e3200
        0000 0001 02000000 5081
        0000 2001 02000000 0700
        0000 0008 02000000 0101
        0000 0009 02000000 1201
        0000 0010 06000000 312e322e3300
    """),
]  # fmt: skip

VECTORS = COMPOSITE + NORMALIZED
REQUESTS = [each for each in VECTORS if type(each.message).__name__.endswith("RQ") and each.message != CCancelRQ(7)]
RESPONSES = [each for each in VECTORS if type(each.message).__name__.endswith("RSP")]


def name(value: Any) -> str | None:
    """For the IDs of parametrized tests."""
    return value.message.name if isinstance(value, Vector) else None
