"""PS3.8 Table 9-10, the state transition table of the upper layer, as data. Nothing else."""

from __future__ import annotations

from enum import Enum, IntEnum
from typing import NamedTuple


class State(IntEnum):
    """PS3.8 Tables 9-1 to 9-5."""

    STA1 = 1
    """Idle."""
    STA2 = 2
    """Transport connection open, awaiting A-ASSOCIATE-RQ."""
    STA3 = 3
    """Awaiting local A-ASSOCIATE response."""
    STA4 = 4
    """Awaiting transport connection opening to complete."""
    STA5 = 5
    """Awaiting A-ASSOCIATE-AC or A-ASSOCIATE-RJ."""
    STA6 = 6
    """Association established and ready for data transfer."""
    STA7 = 7
    """Awaiting A-RELEASE-RP."""
    STA8 = 8
    """Awaiting local A-RELEASE response."""
    STA9 = 9
    """Release collision, requestor side: awaiting local A-RELEASE response."""
    STA10 = 10
    """Release collision, acceptor side: awaiting A-RELEASE-RP."""
    STA11 = 11
    """Release collision, requestor side: awaiting A-RELEASE-RP."""
    STA12 = 12
    """Release collision, acceptor side: awaiting local A-RELEASE response."""
    STA13 = 13
    """Awaiting transport connection close; the association no longer exists."""


class Event(IntEnum):
    """The rows of PS3.8 Table 9-10, numbered in their order."""

    ASSOCIATE_REQUEST = 1
    TRANSPORT_CONFIRMATION = 2
    ASSOCIATE_AC_PDU = 3
    ASSOCIATE_RJ_PDU = 4
    TRANSPORT_INDICATION = 5
    ASSOCIATE_RQ_PDU = 6
    ASSOCIATE_RESPONSE_ACCEPT = 7
    ASSOCIATE_RESPONSE_REJECT = 8
    P_DATA_REQUEST = 9
    P_DATA_TF_PDU = 10
    RELEASE_REQUEST = 11
    RELEASE_RQ_PDU = 12
    RELEASE_RP_PDU = 13
    RELEASE_RESPONSE = 14
    ABORT_REQUEST = 15
    ABORT_PDU = 16
    TRANSPORT_CLOSED = 17
    ARTIM_EXPIRED = 18
    INVALID_PDU = 19


class Action(Enum):
    """PS3.8 Tables 9-6 to 9-9; what each does is in :mod:`dimsetls.ul.actions`."""

    __hash__ = object.__hash__  # Python's own looks at the name, at each event

    AE_1 = "AE-1"
    AE_2 = "AE-2"
    AE_3 = "AE-3"
    AE_4 = "AE-4"
    AE_5 = "AE-5"
    AE_6 = "AE-6"
    AE_7 = "AE-7"
    AE_8 = "AE-8"
    DT_1 = "DT-1"
    DT_2 = "DT-2"
    AR_1 = "AR-1"
    AR_2 = "AR-2"
    AR_3 = "AR-3"
    AR_4 = "AR-4"
    AR_5 = "AR-5"
    AR_6 = "AR-6"
    AR_7 = "AR-7"
    AR_8 = "AR-8"
    AR_9 = "AR-9"
    AR_10 = "AR-10"
    AA_1 = "AA-1"
    AA_2 = "AA-2"
    AA_3 = "AA-3"
    AA_4 = "AA-4"
    AA_5 = "AA-5"
    AA_6 = "AA-6"
    AA_7 = "AA-7"
    AA_8 = "AA-8"


class Transition(NamedTuple):
    """One cell: the action and the states it may lead to (two for AE-6 and AR-8)."""

    action: Action
    next_states: tuple[State, ...]


# One row an event, one column a state (Sta1 … Sta13); "." is an empty cell, "AA-1>13" is AA-1, next Sta13.
_TABLE = """
 1  AE-1>4 .         .       .      .       .       .       .        .       .        .       .       .
 2  .      .         .       AE-2>5 .       .       .       .        .       .        .       .       .
 3  .      AA-1>13   AA-8>13 .      AE-3>6  AA-8>13 AA-8>13 AA-8>13  AA-8>13 AA-8>13  AA-8>13 AA-8>13 AA-6>13
 4  .      AA-1>13   AA-8>13 .      AE-4>1  AA-8>13 AA-8>13 AA-8>13  AA-8>13 AA-8>13  AA-8>13 AA-8>13 AA-6>13
 5  AE-5>2 .         .       .      .       .       .       .        .       .        .       .       .
 6  .      AE-6>3/13 AA-8>13 .      AA-8>13 AA-8>13 AA-8>13 AA-8>13  AA-8>13 AA-8>13  AA-8>13 AA-8>13 AA-7>13
 7  .      .         AE-7>6  .      .       .       .       .        .       .        .       .       .
 8  .      .         AE-8>13 .      .       .       .       .        .       .        .       .       .
 9  .      .         .       .      .       DT-1>6  .       AR-7>8   .       .        .       .       .
10  .      AA-1>13   AA-8>13 .      AA-8>13 DT-2>6  AR-6>7  AA-8>13  AA-8>13 AA-8>13  AA-8>13 AA-8>13 AA-6>13
11  .      .         .       .      .       AR-1>7  .       .        .       .        .       .       .
12  .      AA-1>13   AA-8>13 .      AA-8>13 AR-2>8  AR-8>9/10 AA-8>13 AA-8>13 AA-8>13 AA-8>13 AA-8>13 AA-6>13
13  .      AA-1>13   AA-8>13 .      AA-8>13 AA-8>13 AR-3>1  AA-8>13  AA-8>13 AR-10>12 AR-3>1  AA-8>13 AA-6>13
14  .      .         .       .      .       .       .       AR-4>13  AR-9>11 .        .       AR-4>13 .
15  .      .         AA-1>13 AA-2>1 AA-1>13 AA-1>13 AA-1>13 AA-1>13  AA-1>13 AA-1>13  AA-1>13 AA-1>13 .
16  .      AA-2>1    AA-3>1  .      AA-3>1  AA-3>1  AA-3>1  AA-3>1   AA-3>1  AA-3>1   AA-3>1  AA-3>1  AA-2>1
17  .      AA-5>1    AA-4>1  AA-4>1 AA-4>1  AA-4>1  AA-4>1  AA-4>1   AA-4>1  AA-4>1   AA-4>1  AA-4>1  AR-5>1
18  .      AA-2>1    .       .      .       .       .       .        .       .        .       .       AA-2>1
19  .      AA-1>13   AA-8>13 .      AA-8>13 AA-8>13 AA-8>13 AA-8>13  AA-8>13 AA-8>13  AA-8>13 AA-8>13 AA-7>13
"""


def _cell(text: str) -> Transition:
    action, _, states = text.partition(">")
    return Transition(Action(action), tuple(State(int(number)) for number in states.split("/")))


TRANSITIONS: dict[tuple[Event, State], Transition] = {
    (Event(int(number)), State(column)): _cell(cell)
    for number, *cells in map(str.split, _TABLE.strip().splitlines())
    for column, cell in enumerate(cells, start=1)
    if cell != "."
}
"""(event, state) to its cell; a missing key is an empty cell, which a correct provider and user never reach."""
