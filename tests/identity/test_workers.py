"""Real threads; what they want called in the reactor's thread waits until the test calls it."""

from __future__ import annotations

import threading

import pytest
from twisted.internet.defer import CancelledError, Deferred

from dimsetls.errors import IdentityDenied, IdentityUnavailable
from dimsetls.identity.workers import Slots, Workers

from .stage import Calls, outcome


@pytest.fixture
def reactor():
    return Calls()


class Held:
    """A call that runs until it is let go."""

    def __init__(self):
        self.begun = threading.Event()
        self.go = threading.Event()
        self.aborted = 0

    def __call__(self):
        self.begun.set()
        assert self.go.wait(10)
        return "done"

    def abort(self):
        self.aborted += 1
        self.go.set()


@pytest.fixture
def made(reactor):
    """Makes workers, and lets their threads end."""
    all_made = []

    def make(**keywords):
        workers = Workers("ldap hospital", reactor, **keywords)
        all_made.append(workers)
        return workers

    yield make
    for workers in all_made:
        workers.close()


def test_the_call_is_made_in_another_thread_and_its_result_arrives_in_that_of_the_reactor(reactor, made):
    threads = []
    done = made().run(lambda: threads.append(threading.current_thread()) or "result")
    done.addBoth(lambda result: threads.append(threading.current_thread()) or result)
    assert reactor.outcome(done) == "result"
    assert threads[0] is not threads[1] is threading.current_thread()


def test_what_the_call_raises_arrives(reactor, made):
    def call():
        raise IdentityDenied("wrong")

    found = reactor.outcome(made().run(call))
    assert isinstance(found, IdentityDenied)
    assert str(found) == "wrong"


def test_no_more_than_threads_run_and_no_more_than_waiting_wait(reactor, made):
    workers = made(threads=1, waiting=1)
    running, waiting = Held(), Held()
    first, second = workers.run(running), workers.run(waiting)
    assert running.begun.wait(10)
    assert not waiting.begun.is_set()
    with pytest.raises(IdentityUnavailable, match=r"^\[ldap hospital\] has 2 checks under way"):
        workers.run(lambda: None)
    running.go.set()
    waiting.go.set()
    assert reactor.outcome(first) == reactor.outcome(second) == "done"
    assert reactor.outcome(workers.run(lambda: "again")) == "again"


def test_cancelling_aborts_the_call_and_the_place_is_free_when_it_has_returned(reactor, made):
    workers = made(threads=1, waiting=0)
    held = Held()
    held.abort = lambda: None  # it does not help
    checking = workers.run(held, held.abort)
    assert held.begun.wait(10)
    checking.cancel()
    assert isinstance(outcome(checking), CancelledError)
    with pytest.raises(IdentityUnavailable):
        workers.run(lambda: None)
    held.go.set()
    reactor.call_one()
    assert reactor.outcome(workers.run(lambda: "again")) == "again"


def test_what_is_cancelled_while_it_waits_is_never_begun(reactor, made):
    workers = made(threads=1, waiting=2)
    running, waiting = Held(), Held()
    first, second, third = workers.run(running), workers.run(waiting, waiting.abort), workers.run(lambda: "third")
    assert running.begun.wait(10)
    second.cancel()
    assert isinstance(outcome(second), CancelledError)
    assert waiting.aborted == 1
    running.go.set()
    assert reactor.outcome(first) == "done"
    assert reactor.outcome(third) == "third"
    assert not waiting.begun.is_set()


def test_cancelling_what_is_done_aborts_nothing(reactor, made):
    held = Held()
    held.go.set()
    checking = made().run(held, held.abort)
    assert reactor.outcome(checking) == "done"
    checking.cancel()
    assert held.aborted == 0


def test_close_aborts_what_runs_and_gives_up_what_waits(reactor, made):
    workers = made(threads=1, waiting=1)
    running, waiting = Held(), Held()
    first, second = workers.run(running, running.abort), workers.run(waiting)
    assert running.begun.wait(10)
    workers.close()
    assert running.aborted == 1
    assert reactor.outcome(first) == "done"
    found = reactor.outcome(second)
    assert isinstance(found, IdentityUnavailable)
    assert str(found).startswith("[ldap hospital] was closed")
    assert not waiting.begun.is_set()


def test_after_close_nothing_is_begun(made):
    workers = made()
    workers.close()
    workers.close()
    with pytest.raises(IdentityUnavailable, match="was closed"):
        workers.run(lambda: None)


def test_close_does_not_wait_for_a_call_that_hangs_and_neither_does_the_process(reactor, made):
    workers = made(threads=1)
    threads = []
    held = Held()
    checking: Deferred[str] = workers.run(lambda: threads.append(threading.current_thread()) or held())
    assert held.begun.wait(10)
    workers.close()  # would wait for ever, as nothing lets the call go
    assert outcome(checking) is None
    assert threads[0].daemon
    held.go.set()
    assert reactor.outcome(checking) == "done"
    threads[0].join(10)
    assert not threads[0].is_alive()


def test_one_pool_that_hangs_does_not_hold_up_another(reactor, made):
    held = Held()
    hanging = made(threads=1).run(held, held.abort)
    assert held.begun.wait(10)
    assert reactor.outcome(made(threads=1).run(lambda: "served")) == "served"
    assert outcome(hanging) is None


def test_slots_are_taken_and_given_back():
    slots = Slots("jwt hospital", 1)
    slots.take()
    with pytest.raises(IdentityUnavailable, match=r"\[jwt hospital\] has 1 checks under way"):
        slots.take()
    slots.give_back()
    slots.take()
