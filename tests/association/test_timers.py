from __future__ import annotations

from collections.abc import Hashable

from twisted.internet.task import Clock

from dimsetls.association.timers import LOOKS, PhaseTimer

TIMEOUT = 8.0
LOOK = TIMEOUT / LOOKS


class Watched:
    """A phase whose token the test sets, and when it expired."""

    def __init__(self) -> None:
        self.clock = Clock()
        self.token: Hashable | None = "phase"
        self.expired: list[float] = []
        self.timer = PhaseTimer(
            self.clock, TIMEOUT, lambda: self.token, lambda: self.expired.append(self.clock.seconds())
        )


def test_a_phase_that_is_watched_from_its_start_expires_on_time_and_once():
    watched = Watched()
    watched.timer.watch()
    watched.clock.pump([LOOK] * 40)
    assert watched.expired == [TIMEOUT]
    assert watched.clock.getDelayedCalls() == []


def test_a_new_token_is_a_new_phase_which_never_ends_early_and_at_most_one_look_late():
    watched = Watched()
    watched.timer.watch()
    watched.clock.pump([LOOK / 4] * 14)
    watched.token = "another"  # at 3.5 looks
    watched.clock.pump([LOOK / 4] * 80)
    [expired] = watched.expired
    assert TIMEOUT <= expired - 3.5 * LOOK <= TIMEOUT + LOOK


def test_changing_tokens_never_expire():
    watched = Watched()
    watched.timer.watch()
    for number in range(100):
        watched.token = number
        watched.clock.advance(LOOK)
    assert watched.expired == []
    watched.timer.cancel()


def test_no_phase_is_not_looked_at_until_watched_again():
    watched = Watched()
    watched.timer.watch()
    watched.token = None
    watched.clock.pump([LOOK] * 2)
    assert not watched.timer.watching
    assert watched.clock.getDelayedCalls() == []
    watched.token = "phase"
    watched.timer.watch()
    watched.clock.pump([LOOK] * 20)
    assert watched.expired == [TIMEOUT + LOOK * 2]


def test_watching_twice_looks_once_and_does_not_start_anew():
    watched = Watched()
    watched.timer.watch()
    watched.clock.pump([LOOK] * 5)
    watched.timer.watch()
    assert len(watched.clock.getDelayedCalls()) == 1
    watched.clock.pump([LOOK] * 20)
    assert watched.expired == [TIMEOUT]


def test_cancelled_it_leaves_nothing_and_may_be_cancelled_again():
    watched = Watched()
    watched.timer.cancel()
    watched.timer.watch()
    watched.timer.cancel()
    watched.timer.cancel()
    assert watched.clock.getDelayedCalls() == []
    assert not watched.timer.watching


def test_it_may_be_cancelled_by_what_it_calls():
    clock = Clock()
    timer = PhaseTimer(clock, TIMEOUT, lambda: 1, lambda: timer.cancel())
    timer.watch()
    clock.pump([LOOK] * 20)
    assert clock.getDelayedCalls() == []
