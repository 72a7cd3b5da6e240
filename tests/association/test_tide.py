from __future__ import annotations

import gc
import weakref

from dimsetls.association.tide import Tide


def trims(*stands: int) -> list[int]:
    """At which of these stands memory was given back."""
    now, given_back = [0], []
    tide = Tide(lambda pad: given_back.append(now[0]))
    for now[0] in stands:
        tide.stands_at(now[0])
    return given_back


def test_memory_is_given_back_when_a_crowd_is_down_to_a_quarter_and_again_when_that_is():
    assert trims(*range(10_001), *range(10_000, -1, -1)) == [2500, 625, 156]


def test_few_connections_are_no_crowd():
    assert trims(*range(500), *range(499, -1, -1)) == []


def test_coming_and_going_costs_nothing():
    assert trims(*range(1000), *([900, 1000] * 100)) == []


def test_after_the_ebb_comes_another_flood():
    assert trims(1000, 250, 1000, 250) == [250, 250]


def test_without_a_word_it_is_the_c_library_that_is_told():
    tide = Tide()
    tide.stands_at(1000)
    tide.stands_at(0)
    tide.stands_at(0)


def test_what_refers_to_itself_is_gone_before_memory_is_given_back():
    class Left:
        def __init__(self) -> None:
            self.itself = self

    left: weakref.ref[Left] = weakref.ref(Left())
    were_there: list[bool] = []
    gc.disable()
    try:
        tide = Tide(lambda pad: were_there.append(left() is not None))
        tide.stands_at(1000)
        assert left() is not None
        tide.stands_at(250)
    finally:
        gc.enable()
    assert were_there == [False]
