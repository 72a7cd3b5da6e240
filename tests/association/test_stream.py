"""One data set on its way from the association to a reader, with the readers of every kind."""

from __future__ import annotations

from collections.abc import Coroutine
from typing import Any

import pytest
from twisted.internet.defer import Deferred

from dimsetls.association.stream import HIGH_WATER, DataSetStream
from dimsetls.errors import AssociationAborted, AssociationError, ServiceError

GONE = AssociationAborted("the peer aborted the association")


class Source:
    """A stream, and whether its peer is made to wait."""

    def __init__(self) -> None:
        self.holds: list[bool] = []
        self.stream = DataSetStream(self.holds.append)


class Failing:
    """A sink that takes so many pieces, and no more."""

    def __init__(self, takes: int) -> None:
        self.taken: list[bytes] = []
        self._takes = takes

    def write(self, piece: bytes | memoryview) -> None:
        if len(self.taken) == self._takes:
            self._takes = 99  # it would take what comes after, which must not happen
            raise ServiceError(0xA700, "full")
        self.taken.append(bytes(piece))


def start(coroutine: Coroutine[Any, Any, Any]) -> Deferred[Any]:
    return Deferred.fromCoroutine(coroutine)


def result(deferred: Deferred[Any]) -> Any:
    """What a finished coroutine returned or raised."""
    results: list[Any] = []
    deferred.addBoth(results.append)
    assert results, "the reader still waits"
    return getattr(results[0], "value", results[0])


async def iterate(stream: DataSetStream, into: list[bytes]) -> None:
    async for piece in stream:
        into.append(piece)


def test_what_came_before_and_after_the_reader_is_read_in_order():
    source = Source()
    source.stream.write(b"one ")
    reading = start(source.stream.read())
    source.stream.write(memoryview(b"two "))
    source.stream.write(b"three")
    assert not reading.called
    source.stream.end()
    assert result(reading) == b"one two three"
    assert source.holds == []


def test_async_for_gets_each_piece_as_it_comes():
    source, pieces = Source(), []
    reading = start(iterate(source.stream, pieces))
    for number in range(3):
        source.stream.write(bytes((number,)))
        assert pieces[-1] == bytes((number,))
    source.stream.end()
    assert result(reading) is None
    assert pieces == [b"\0", b"\1", b"\2"]


def test_pieces_outlive_the_buffer_they_came_in():
    source = Source()
    buffer = bytearray(b"data")
    source.stream.write(memoryview(buffer))
    buffer[:] = b"gone"
    source.stream.end()
    assert result(start(source.stream.read())) == b"data"


def test_copy_to_hands_over_what_was_kept_and_then_every_piece_without_a_copy():
    source = Source()
    pieces: list[object] = []

    class Sink:
        write = staticmethod(pieces.append)

    source.stream.write(b"kept")
    copying = start(source.stream.copy_to(Sink()))
    view = memoryview(b"passed")
    source.stream.write(view)
    assert pieces[1] is view
    source.stream.end()
    assert result(copying) is None
    assert pieces == [b"kept", view]


def test_an_empty_data_set_is_no_pieces():
    for reading in (DataSetStream.read, lambda stream: stream.copy_to(Failing(0))):
        source = Source()
        waiting = start(reading(source.stream))
        source.stream.end()
        assert not result(waiting)


def test_the_peer_waits_above_high_water_and_goes_on_below():
    source = Source()
    piece = bytes(64 * 1024)
    for _ in range(HIGH_WATER // len(piece)):
        source.stream.write(piece)
    assert source.holds == []
    source.stream.write(b"x")
    source.stream.write(b"y")  # what was on its way
    assert source.holds == [True]
    pieces: list[bytes] = []
    start(iterate(source.stream, pieces))
    assert source.holds == [True, False]
    assert sum(map(len, pieces)) == HIGH_WATER + 2


def test_each_way_to_let_data_pass_lets_the_peer_go_on():
    for letting in (
        DataSetStream.discard,
        lambda stream: start(stream.copy_to(Failing(99))),
        lambda stream: start(stream.copy_to(Failing(0))).addErrback(lambda _: None),
    ):
        source = Source()
        source.stream.write(bytes(HIGH_WATER + 1))
        letting(source.stream)
        assert source.holds == [True, False]
        source.stream.write(bytes(HIGH_WATER + 1))
        source.stream.end()
        assert source.holds == [True, False]


@pytest.mark.parametrize("before", [0, 1, 2, 3])
def test_a_sink_that_raises_gets_nothing_more_and_the_rest_passes(before):
    source, sink = Source(), Failing(1)
    for number in range(before):
        source.stream.write(bytes((number,)))
    copying = start(source.stream.copy_to(sink))
    for number in range(before, 5):
        source.stream.write(bytes((number,)))
    assert isinstance(result(copying), ServiceError)  # at once, and not at the end of the data set
    source.stream.end()
    assert sink.taken == [b"\0"]


@pytest.mark.parametrize("read", [
    DataSetStream.read, lambda stream: stream.copy_to(Failing(9)), lambda stream: iterate(stream, []),
])  # fmt: skip
def test_a_reader_learns_that_the_association_ended(read):
    waiting, late = Source(), Source()
    reading = start(read(waiting.stream))
    for source in (waiting, late):
        source.stream.write(b"half")
        source.stream.fail(GONE)
    assert result(reading) is GONE
    assert result(start(read(late.stream))) is GONE


def test_an_end_of_the_association_after_the_data_set_takes_nothing_away():
    source = Source()
    source.stream.write(b"whole")
    source.stream.end()
    source.stream.fail(AssociationError("later"))
    assert result(start(source.stream.read())) == b"whole"


@pytest.mark.parametrize("is_whole", [False, True])
def test_the_end_of_the_association_lets_the_peer_close(is_whole):
    source = Source()
    source.stream.write(bytes(HIGH_WATER + 1))
    if is_whole:
        source.stream.end()
    assert source.holds == [True]
    source.stream.fail(GONE)
    assert source.holds == [True, False]


def test_a_sink_that_raised_is_the_reason_even_if_the_association_ends_after():
    source = Source()
    copying = start(source.stream.copy_to(Failing(0)))
    source.stream.write(b"x")
    source.stream.fail(GONE)
    assert isinstance(result(copying), ServiceError)


def test_waiting_for_the_end_takes_either_end():
    for end in (DataSetStream.end, lambda stream: stream.fail(GONE)):
        source = Source()
        waiting = start(source.stream.wait_until_ended())
        assert not waiting.called
        end(source.stream)
        assert waiting.called
        assert start(source.stream.wait_until_ended()).called
