"""The embedded archive, for whoever lives in the reactor thread: queries of the index as asynchronous iterators.

Every call that waits for the disk is made in a thread of the archive's own. An iterator fetches the next chunk when it
is asked for it, and no sooner: who does not read holds up nothing, and who stops early leaves nothing behind.
"""

from __future__ import annotations

from array import array
from collections.abc import AsyncIterator, Callable, Iterable
from typing import TypeVar

from pydicom.dataset import Dataset
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorFromThreads
from twisted.internet.threads import deferToThreadPool
from twisted.python.threadpool import ThreadPool

from ..identity.sight import EVERYTHING, Sight
from .index import Index, Stored
from .models import NOTHING_NEGOTIATED, Model, Negotiated, Query, read_query, read_retrieval
from .responses import response
from .search import CHUNK, Search

T = TypeVar("T")


class Archive:
    """Answers Query/Retrieve from an index that is open. `ae_title` is the one to retrieve from.

    With `unknown_matches`, which is the standard's rule, an entity matches a key that it has no value for
    (PS3.4 C.2.2.1.2). `sees` in the calls says which instances there are for who asks.
    """

    def __init__(
        self,
        index: Index,
        ae_title: str,
        reactor: IReactorFromThreads,
        *,
        threads: int = 2,
        unknown_matches: bool = True,
    ) -> None:
        self._index = index
        self._ae_title = ae_title
        self._reactor = reactor
        self._unknown_matches = unknown_matches
        self._pool = ThreadPool(0, threads, "dimsetls archive")

    def query(
        self,
        model: Model,
        identifier: Dataset,
        *,
        negotiated: Negotiated = NOTHING_NEGOTIATED,
        sees: Sight = EVERYTHING,
    ) -> Matches:
        """What C-FIND asks for. Raises IdentifierError at once; the iterator raises sqlite3.Error."""
        search = self._search(read_query(model, identifier, negotiated), sees)
        return Matches(self, search, self._ae_title)

    async def retrieve(
        self,
        model: Model,
        identifier: Dataset,
        *,
        negotiated: Negotiated = NOTHING_NEGOTIATED,
        sees: Sight = EVERYTHING,
    ) -> Selection:
        """The instances that C-MOVE or C-GET asks for. Raises IdentifierError and sqlite3.Error."""
        search = self._search(read_retrieval(model, identifier, negotiated), sees)
        return Selection(self, search, await self.run(lambda: _matching(search)))

    async def find(self, sop_instance_uids: Iterable[str]) -> dict[str, Stored]:
        """Those of the instances that are stored, by UID; for storage commitment. Raises sqlite3.Error."""
        uids = list(sop_instance_uids)
        return await self.run(lambda: self._index.find_all(uids))

    def run(self, call: Callable[[], T]) -> Deferred[T]:
        """Call in a thread of the archive."""
        if not self._pool.started:
            self._pool.start()
        return deferToThreadPool(self._reactor, self._pool, call)

    def close(self) -> None:
        """Let the threads end, which waits for what they are doing; the index is closed by whoever opened it."""
        if self._pool.started:
            self._pool.stop()

    def _search(self, query: Query, sees: Sight) -> Search:
        return Search(self._index, query, sees=sees, unknown_matches=self._unknown_matches)


class Matches(AsyncIterator[Dataset]):
    """The identifiers of the pending responses to one C-FIND.

    `has_unsupported_keys` says that each is to be sent with FF01H instead of FF00H (PS3.4 C.4.1.1.4).
    """

    def __init__(self, archive: Archive, search: Search, ae_title: str) -> None:
        self.has_unsupported_keys = bool(search.query.unsupported)
        self._archive = archive
        self._search = search
        self._ae_title = ae_title
        self._candidates: array[int] | None = None
        self._at = 0
        self._ready: list[Dataset] = []  # the next one is last
        self._is_closed = False

    def __aiter__(self) -> Matches:
        return self

    async def __anext__(self) -> Dataset:
        while not self._ready and not self._is_closed:
            self._ready = await self._archive.run(self._next_chunk)
        if self._is_closed or not self._ready:
            raise StopAsyncIteration
        return self._ready.pop()

    async def aclose(self) -> None:
        """Stop early: the peer has cancelled, or is gone."""
        self._is_closed = True
        self._ready, self._candidates = [], array("q")

    def _next_chunk(self) -> list[Dataset]:
        """The next responses, in reverse; in a thread. Closes when there are no more candidates."""
        if self._candidates is None:
            self._candidates = self._search.candidates()
        numbers = self._candidates[self._at:self._at + CHUNK]
        self._at += CHUNK
        if not numbers:
            self._is_closed = True
        found = self._search.entities(numbers)
        return [response(self._search.query, entity, self._ae_title) for _, entity in found][::-1]


class Selection(AsyncIterator[list[Stored]]):
    """The instances to send, in the order in which they were stored, a chunk at a time; `len` is their number."""

    def __init__(self, archive: Archive, search: Search, numbers: array[int]) -> None:
        self._archive = archive
        self._search = search
        self._numbers = numbers
        self._at = 0

    def __len__(self) -> int:
        return len(self._numbers)

    def __aiter__(self) -> Selection:
        return self

    async def __anext__(self) -> list[Stored]:
        """The next ones; a chunk that lacks some means that they were removed meanwhile."""
        numbers = self._numbers[self._at:self._at + CHUNK]
        if not numbers:
            raise StopAsyncIteration
        self._at += CHUNK
        return await self._archive.run(lambda: self._search.stored(numbers))


def _matching(search: Search) -> array[int]:
    candidates = search.candidates()
    chunks = (candidates[at:at + CHUNK] for at in range(0, len(candidates), CHUNK))
    return array("q", (number for chunk in chunks for number, _ in search.entities(chunk)))
