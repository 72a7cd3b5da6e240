from __future__ import annotations

import pytest
from twisted.internet.task import Clock

from dimsetls.identity import lockout as module
from dimsetls.identity.lockout import Kind, Lockout, LockoutPolicy, Subject

POLICY = LockoutPolicy(per_user=6, per_address=9, per_certificate=9, delay=1.0, lockout=100.0)
ALICE = Subject.user("alice")
ADDRESS = Subject(Kind.ADDRESS, "192.0.2.1")


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def lockout(clock):
    return Lockout(clock.seconds)


def fail(lockout, times, subject=ALICE, policy=POLICY):
    return [lockout.failed([subject], policy) for _ in range(times)][-1]


def waits(lockout, subject=ALICE, policy=POLICY):
    return lockout.refusal([subject], policy) is not None


@pytest.mark.parametrize(("limit", "pauses"), [
    (6, [0, 1, 2, 4, 8, 900, 900]),
    (10, [0, 0, 1, 2, 4, 8, 16, 32, 64, 900]),
    (3, [1, 2, 900]),
    (1, [900, 900]),
    (0, [0, 0, 0]),
])
def test_delays_begin_at_a_third_of_the_limit_and_double_at_the_most(limit, pauses):
    policy = LockoutPolicy(per_user=limit, delay=1.0, lockout=900.0)
    assert [policy.pause(Kind.USER, failures) for failures in range(1, len(pauses) + 1)] == pauses


@pytest.mark.parametrize(("limit", "delay", "lockout"), [(50, 1.0, 900.0), (1000, 1.0, 900.0), (12, 1.0, 6.0),
                                                         (9, 60.0, 5.0), (2, 1.0, 1.0), (50, 0.0, 900.0)])
def test_who_waits_out_every_delay_comes_to_the_lock_out_at_the_limit(clock, limit, delay, lockout):
    policy = LockoutPolicy(per_address=limit, delay=delay, lockout=lockout)
    guarded, locked = Lockout(clock.seconds), []
    for failures in range(1, limit + 1):
        assert not waits(guarded, ADDRESS, policy)
        locked = guarded.failed([ADDRESS], policy)
        pause = policy.pause(Kind.ADDRESS, failures)
        assert pause <= lockout
        if failures < limit:
            assert locked == []
            assert policy.pause(Kind.ADDRESS, failures - 1) <= pause < lockout
            clock.advance(pause)
    assert locked == [ADDRESS]
    assert waits(guarded, ADDRESS, policy)


def test_no_try_is_looked_at_until_the_delay_is_over(lockout, clock):
    fail(lockout, 1)
    assert not waits(lockout)
    fail(lockout, 2)
    assert lockout.refusal([ALICE], POLICY) == "user 'alice' failed 3 times, the next try is looked at in 2 s"
    clock.advance(1.9)
    assert waits(lockout)
    clock.advance(0.1)
    assert not waits(lockout)


def test_the_lock_out_is_reported_once_and_ends(lockout, clock):
    assert fail(lockout, 5) == []
    assert fail(lockout, 1) == [ALICE]
    assert fail(lockout, 1) == []
    clock.advance(99.9)
    assert waits(lockout)
    clock.advance(0.1)
    assert not waits(lockout)


def test_failures_are_forgotten_when_none_came_for_a_while(lockout, clock):
    fail(lockout, 5)
    clock.advance(100.1)
    fail(lockout, 1)
    assert not waits(lockout)


def test_success_forgets_those_of_the_user_alone(lockout):
    lockout.failed([ALICE, ADDRESS], POLICY)
    for _ in range(4):
        lockout.failed([ALICE, ADDRESS], POLICY)
    lockout.succeeded(ALICE)
    assert not waits(lockout, ALICE)
    assert waits(lockout, ADDRESS)
    lockout.succeeded(ALICE)  # nothing is kept of one who never failed


def test_one_user_does_not_pay_for_another(lockout):
    fail(lockout, 6)
    assert waits(lockout, ALICE)
    assert not waits(lockout, Subject.user("bob"))
    assert not waits(lockout, Subject(Kind.ADDRESS, "alice"))


def test_a_limit_of_0_counts_nothing(lockout):
    policy = LockoutPolicy(per_user=0)
    fail(lockout, 100, policy=policy)
    assert not waits(lockout, policy=policy)
    fail(lockout, 6)
    assert not waits(lockout, policy=policy)
    assert waits(lockout)


@pytest.mark.parametrize("typed", ["ALICE", "Alice", "\uff41lice", "ali\u0301ce", "al\u00edce", "alice "])
def test_ways_to_write_a_name_that_a_directory_takes_for_one_are_one(typed):
    assert Subject.user(typed) == ALICE


def test_names_of_others_stay_apart():
    assert len({Subject.user(name) for name in ("alice", "alicia", "al ice", "bob", "λ", "л")}) == 6


def test_no_more_is_remembered_than_there_is_room_for(lockout, monkeypatch):
    monkeypatch.setattr(module, "REMEMBERED", 3)
    fail(lockout, 6)
    for number in range(2):
        lockout.failed([Subject.user(f"user {number}")], POLICY)
    assert waits(lockout)
    fail(lockout, 1)  # it is the latest now
    for number in range(2, 4):
        lockout.failed([Subject.user(f"user {number}")], POLICY)
    assert waits(lockout)
    lockout.failed([Subject.user("user 4")], POLICY)
    assert not waits(lockout)
