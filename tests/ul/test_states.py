"""PS3.8 Table 9-10 typed a second time, column by column, and compared cell by cell."""

from __future__ import annotations

import pytest

from dimsetls.ul.states import TRANSITIONS, Action, Event, State

# Each column of the table, as "event action next state"; events that are not named are empty cells.
COLUMNS = {
    1: "1 AE-1 4, 5 AE-5 2",
    2: """3 AA-1 13, 4 AA-1 13, 6 AE-6 3|13, 10 AA-1 13, 12 AA-1 13, 13 AA-1 13, 16 AA-2 1, 17 AA-5 1, 18 AA-2 1,
          19 AA-1 13""",
    3: """3 AA-8 13, 4 AA-8 13, 6 AA-8 13, 7 AE-7 6, 8 AE-8 13, 10 AA-8 13, 12 AA-8 13, 13 AA-8 13, 15 AA-1 13,
          16 AA-3 1, 17 AA-4 1, 19 AA-8 13""",
    4: "2 AE-2 5, 15 AA-2 1, 17 AA-4 1",
    5: """3 AE-3 6, 4 AE-4 1, 6 AA-8 13, 10 AA-8 13, 12 AA-8 13, 13 AA-8 13, 15 AA-1 13, 16 AA-3 1, 17 AA-4 1,
          19 AA-8 13""",
    6: """3 AA-8 13, 4 AA-8 13, 6 AA-8 13, 9 DT-1 6, 10 DT-2 6, 11 AR-1 7, 12 AR-2 8, 13 AA-8 13, 15 AA-1 13,
          16 AA-3 1, 17 AA-4 1, 19 AA-8 13""",
    7: """3 AA-8 13, 4 AA-8 13, 6 AA-8 13, 10 AR-6 7, 12 AR-8 9|10, 13 AR-3 1, 15 AA-1 13, 16 AA-3 1, 17 AA-4 1,
          19 AA-8 13""",
    8: """3 AA-8 13, 4 AA-8 13, 6 AA-8 13, 9 AR-7 8, 10 AA-8 13, 12 AA-8 13, 13 AA-8 13, 14 AR-4 13, 15 AA-1 13,
          16 AA-3 1, 17 AA-4 1, 19 AA-8 13""",
    9: """3 AA-8 13, 4 AA-8 13, 6 AA-8 13, 10 AA-8 13, 12 AA-8 13, 13 AA-8 13, 14 AR-9 11, 15 AA-1 13, 16 AA-3 1,
          17 AA-4 1, 19 AA-8 13""",
    10: """3 AA-8 13, 4 AA-8 13, 6 AA-8 13, 10 AA-8 13, 12 AA-8 13, 13 AR-10 12, 15 AA-1 13, 16 AA-3 1, 17 AA-4 1,
           19 AA-8 13""",
    11: """3 AA-8 13, 4 AA-8 13, 6 AA-8 13, 10 AA-8 13, 12 AA-8 13, 13 AR-3 1, 15 AA-1 13, 16 AA-3 1, 17 AA-4 1,
           19 AA-8 13""",
    12: """3 AA-8 13, 4 AA-8 13, 6 AA-8 13, 10 AA-8 13, 12 AA-8 13, 13 AA-8 13, 14 AR-4 13, 15 AA-1 13, 16 AA-3 1,
           17 AA-4 1, 19 AA-8 13""",
    13: """3 AA-6 13, 4 AA-6 13, 6 AA-7 13, 10 AA-6 13, 12 AA-6 13, 13 AA-6 13, 16 AA-2 1, 17 AR-5 1, 18 AA-2 1,
           19 AA-7 13""",
}

# PS3.8 Tables 9-6 to 9-9 give most actions one next state, whatever the row and column.
NEXT_STATES = {
    "AE-1": "4", "AE-2": "5", "AE-3": "6", "AE-4": "1", "AE-5": "2", "AE-6": "3|13", "AE-7": "6", "AE-8": "13",
    "DT-1": "6", "DT-2": "6", "AR-1": "7", "AR-2": "8", "AR-3": "1", "AR-4": "13", "AR-5": "1", "AR-6": "7",
    "AR-7": "8", "AR-8": "9|10", "AR-9": "11", "AR-10": "12", "AA-1": "13", "AA-2": "1", "AA-3": "1", "AA-4": "1",
    "AA-5": "1", "AA-6": "13", "AA-7": "13", "AA-8": "13",
}  # fmt: skip

CELLS = {
    (int(event), column): (action, states)
    for column, cells in COLUMNS.items()
    for event, action, states in (cell.split() for cell in cells.split(","))
}


@pytest.mark.parametrize("state", State)
@pytest.mark.parametrize("event", Event)
def test_each_cell_is_that_of_table_9_10(event: Event, state: State) -> None:
    transition = TRANSITIONS.get((event, state))
    found = transition and (transition.action.value, "|".join(str(int(s)) for s in transition.next_states))
    assert found == CELLS.get((event, state))


def test_the_table_has_123_cells_of_247() -> None:
    assert (len(Event), len(State), len(TRANSITIONS), len(CELLS)) == (19, 13, 123, 123)
    assert TRANSITIONS.keys() == CELLS.keys()  # enumerations equal their numbers


def test_each_action_leads_where_its_definition_says() -> None:
    assert {action.value for action in Action} == NEXT_STATES.keys()
    assert dict(CELLS.values()) == NEXT_STATES
    assert {(action, states) for action, states in CELLS.values()} == set(NEXT_STATES.items())
