"""The data set of one message, from the socket to whoever wants it, with nothing held that need not be."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Protocol

from twisted.internet.defer import Deferred

from ..errors import DimsetlsError

Piece = bytes | memoryview


class Sink(Protocol):
    """Where a data set is copied to: a file, or anything else with `write`."""

    def write(self, piece: Piece, /) -> object: ...


class DataSetTooLong(DimsetlsError):
    """A data set is longer than who reads it takes."""


HIGH_WATER = 256 * 1024
"""Bytes kept for a reader that lags, before the peer has to wait."""


def _let_pass(piece: Piece) -> None:
    """For a data set that nobody wants, or no longer."""


class DataSetStream:
    """A data set as it arrives, to be read once: by `copy_to`, by `async for`, by `read`, or not at all.

    What is not read at once is held, up to 256 KiB; then the peer waits. If the association ends before the
    data set, reading raises its `AssociationError`. `hold(waiting)` makes the peer wait, or go on.
    """

    __slots__ = ("_error", "_hold", "_octets_queued", "_queue", "_waiting", "ended", "write")

    def __init__(self, hold: Callable[[bool], None]) -> None:
        self._hold = hold
        self._queue: deque[bytes] = deque()
        self._octets_queued = 0
        self._error: Exception | None = None
        self._waiting: list[Deferred[None]] = []
        self.write: Callable[[Piece], object] = self._keep
        """Takes the next piece from the association."""
        self.ended = False
        """Whether all of the data set, or all that will ever come, has come."""

    # For the association -----------------------------------------------------------------------------------

    def end(self) -> None:
        """The last piece was written."""
        self.ended = True
        self.write = _let_pass
        self._wake()

    def fail(self, error: DimsetlsError) -> None:
        """The association ended; whether this data set was complete or not, nothing more will come."""
        self._hold(False)  # however late the reader is, the peer's close must be seen
        if not self.ended:
            self._error = self._error or error
            self.end()

    async def wait_until_ended(self) -> None:
        while not self.ended:
            await self._wait()

    # For the reader ----------------------------------------------------------------------------------------

    async def copy_to(self, sink: Sink) -> None:
        """Hand every piece to `sink.write` as it arrives: the fast way, without a copy.

        A piece is only valid during the call. If `write` raises, the rest of the data set is let pass and the
        exception is raised here.
        """

        def forward(piece: Piece) -> None:
            try:
                sink.write(piece)
            except Exception as error:
                self._error = error
                self.write = _let_pass
                self._wake()

        while self._queue and self._error is None:
            forward(self._take())
        if not self.ended and self._error is None:
            self.write = forward
            while not self.ended and self._error is None:
                await self._wait()
        if self._error is not None:
            self.discard()
            raise self._error

    def __aiter__(self) -> DataSetStream:
        return self

    async def __anext__(self) -> bytes:
        while not self._queue:
            if self._error is not None:
                raise self._error
            if self.ended:
                raise StopAsyncIteration
            await self._wait()
        return self._take()

    async def read(self, most: int | None = None) -> bytes:
        """The whole data set; it is as large in memory as the instance is.

        Of one with more than `most` bytes the rest is let pass, and `DataSetTooLong` raised.
        """
        pieces, octets = [], 0
        async for piece in self:
            pieces.append(piece)
            octets += len(piece)
            if most is not None and octets > most:
                self.discard()
                raise DataSetTooLong(f"the data set has more than {most} bytes")
        return b"".join(pieces)

    def discard(self) -> None:
        """Let the data set, and what is still to come of it, pass."""
        self.write = _let_pass
        while self._queue:
            self._take()

    def _keep(self, piece: Piece) -> None:
        before, self._octets_queued = self._octets_queued, self._octets_queued + len(piece)
        self._queue.append(bytes(piece))
        if before <= HIGH_WATER < self._octets_queued:
            self._hold(True)
        self._wake()

    def _take(self) -> bytes:
        piece = self._queue.popleft()
        before, self._octets_queued = self._octets_queued, self._octets_queued - len(piece)
        if self._octets_queued <= HIGH_WATER < before:
            self._hold(False)
        return piece

    def _wake(self) -> None:
        waiting, self._waiting = self._waiting, []
        for deferred in waiting:
            deferred.callback(None)

    async def _wait(self) -> None:
        deferred: Deferred[None] = Deferred()
        self._waiting.append(deferred)
        await deferred


NO_DATA_SET = DataSetStream(lambda waiting: None)
"""Of every message without one: it has ended, and nothing changes it any more."""
NO_DATA_SET.end()
