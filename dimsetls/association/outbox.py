"""What one side of an association sends: whole messages, one after the other (PS3.8 Annex E.1)."""

from __future__ import annotations

import os
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from io import FileIO
from typing import TYPE_CHECKING, Protocol

from twisted.internet.defer import Deferred

from ..ul.writer import LARGEST_PDU_LENGTH, write_fragments
from .frames import lent

if TYPE_CHECKING:
    from .protocol import AssociationProtocol

Piece = bytes | memoryview


class DataSet(Protocol):
    """A data set that is not in memory: in a file, or piece by piece from anywhere."""

    def open(self) -> FileIO | None:
        """The file that it is in, at its first byte, and up to the end; None where it is in none."""

    def pieces(self, size: int) -> AsyncIterator[Piece]:
        """The data set, in pieces of any size; of about `size` bytes where that is ours to choose."""


class Outbox:
    """Sends messages in the order in which they are given, whichever task gives them. Fragments never mix."""

    def __init__(self, protocol: AssociationProtocol, maximum_length: int) -> None:
        self._protocol = protocol
        self._maximum_length = maximum_length
        self._is_taken = False
        self._waiting: list[Deferred[None]] = []
        self.is_inside_message = False
        """Whether a message has begun and not ended; if its data set fails, the association cannot go on."""

    async def send(
        self, context_id: int, command: bytes, data: bytes | None = None, *, is_paced: bool = False
    ) -> None:
        """Send a message that is whole in memory. One that is paced waits until the peer takes it.

        Raises `LocalProtocolError` where the association is over.
        """
        if not self._is_taken and not (is_paced and self._protocol.is_stalled):  # there is nobody to wait for
            self._send(context_id, command, data, is_paced)
            return
        await self._turn()
        try:
            if is_paced:
                await self._protocol.output()
            self._send(context_id, command, data, is_paced)
        finally:
            self._next()

    def _send(self, context_id: int, command: bytes, data: bytes | None, is_paced: bool) -> None:
        pdus = write_fragments(context_id, True, command, self._maximum_length)
        if data is not None:
            pdus += write_fragments(context_id, False, data, self._maximum_length)
        self._protocol.send_data(pdus, is_paced=is_paced)

    async def stream(
        self, context_id: int, command: bytes, data: DataSet, is_answered: Callable[[], bool],
        sent: Callable[[int], object],
    ) -> None:  # fmt: skip
        """Send a message whose data set comes from elsewhere, no faster than the peer takes it; `sent` is told octets.

        What the peer refuses before it has all of it is ended there (PS3.7 §9.3.1.3). Raises what the source raises.
        """
        await self._turn()
        try:
            pdus = write_fragments(context_id, True, command, self._maximum_length)
            if (file := data.open()) is None:
                await self._relay(context_id, pdus, data, is_answered, sent)
            else:
                with file:
                    await self._copy(context_id, pdus, file, is_answered, sent)
        finally:
            self._next()

    # Turns. Not by DeferredLock, which makes a Deferred also where nobody else sends. -------------------------------

    async def _turn(self) -> None:
        """Wait until no other message is being sent."""
        if self._is_taken:
            waiting: Deferred[None] = Deferred(self._waiting.remove)
            self._waiting.append(waiting)
            await waiting
        self._is_taken = True

    def _next(self) -> None:
        if self._waiting:
            self._waiting.pop(0).callback(None)
        else:
            self._is_taken = False

    # A data set ----------------------------------------------------------------------------------------------------

    async def _copy(
        self, context_id: int, pdus: list[bytes], file: FileIO, is_answered: Callable[[], bool],
        sent: Callable[[int], object],
    ) -> None:  # fmt: skip
        """A data set from its file. It is read here: a piece is a copy from the page cache, which the kernel fills."""
        protocol, left = self._protocol, os.fstat(file.fileno()).st_size - file.tell()
        with lent(context_id, self._size, left) as frames:
            frames.put(b"".join(pdus))
            while not frames.is_last:
                if protocol.is_stalled:
                    await protocol.output()
                octets = frames.read(file, is_answered())
                protocol.send_lent(frames.take())
                self.is_inside_message = not frames.is_last
                sent(octets)

    async def _relay(
        self, context_id: int, pdus: list[bytes], data: DataSet, is_answered: Callable[[], bool],
        sent: Callable[[int], object],
    ) -> None:  # fmt: skip
        pieces = data.pieces(self._size)
        blocks = _blocks(pieces, self._size)
        try:
            async for block, is_last in blocks:
                await self._protocol.output()
                is_last = is_last or is_answered()
                pdus += write_fragments(context_id, False, block, self._maximum_length, is_last=is_last)
                self._protocol.send_data(pdus, is_paced=True)
                pdus, self.is_inside_message = [], not is_last
                sent(len(block))
                if is_last:
                    break
        finally:
            await blocks.aclose()
            if isinstance(pieces, AsyncGenerator):
                await pieces.aclose()

    @property
    def _size(self) -> int:
        """Octets of data in one PDU; an even number of them."""
        return (min(self._maximum_length or LARGEST_PDU_LENGTH, LARGEST_PDU_LENGTH) - 6) & ~1


async def _blocks(pieces: AsyncIterator[Piece], size: int) -> AsyncGenerator[tuple[Piece, bool], None]:
    """The pieces cut anew: blocks of `size` bytes and whether it is the last, which may be shorter and is even."""
    held: Piece = b""
    async for piece in pieces:
        if len(held) == size:
            yield held, False
            held = b""
        rest = memoryview(b"".join((held, piece)) if held else piece)
        while len(rest) > size:
            yield rest[:size], False
            rest = rest[size:]
        held = rest
    yield (b"".join((held, b"\0")) if len(held) & 1 else held), True
