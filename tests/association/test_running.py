"""A coroutine is run on the spot, and driven by Twisted from where it waits."""

import gc
from contextvars import ContextVar

import pytest
from twisted.internet.defer import CancelledError, Deferred, succeed

from dimsetls.association.running import start

WHO = ContextVar("WHO", default="nobody")


async def waits_for(*deferreds):
    return [await each for each in deferreds]


def test_what_does_not_wait_returns_its_result_at_once():
    assert start(waits_for(succeed(1), succeed(2))) == [1, 2]


def test_what_it_raises_before_it_waits_is_raised():
    async def fails():
        raise LookupError("nothing")

    with pytest.raises(LookupError, match="nothing"):
        start(fails())


def test_what_waits_is_a_deferred_of_its_result():
    first, second = Deferred(), Deferred()
    running, results = start(waits_for(first, succeed(2), second)), []
    running.addCallback(results.append)
    first.callback(1)
    assert not results
    second.callback(3)
    assert results == [[1, 2, 3]]


@pytest.mark.parametrize("error", [LookupError("nothing"), SystemExit(3)])
def test_a_failure_is_raised_where_it_is_awaited(error):
    caught, waiting = [], Deferred()

    async def catches(awaited):
        try:
            await awaited
        except BaseException as found:
            caught.append(found)
            raise KeyError("another") from None

    failed = []
    start(catches(waiting)).addErrback(lambda failure: failed.append(failure.value))
    waiting.errback(error)
    assert caught == [error]
    assert isinstance(failed[0], KeyError)


def test_cancelling_it_cancels_what_it_waits_for():
    cancelled, failed = [], []
    running = start(waits_for(Deferred(cancelled.append)))
    running.addErrback(failed.append)
    running.cancel()
    assert len(cancelled) == 1
    assert failed[0].check(CancelledError)


def test_a_context_variable_that_it_sets_is_its_own_also_after_it_waited():
    seen, waiting = [], Deferred()

    async def sets():
        WHO.set("somebody")
        await waiting
        seen.append(WHO.get())

    start(sets())
    assert WHO.get() == "nobody"
    waiting.callback(None)
    assert seen == ["somebody"]


def test_what_is_forgotten_while_it_waits_is_closed():
    closed = []

    async def holds():
        try:
            await Deferred()
        finally:
            closed.append(True)

    start(holds())
    gc.collect()
    assert closed == [True]
