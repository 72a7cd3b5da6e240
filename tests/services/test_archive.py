from __future__ import annotations

import threading
from collections.abc import Iterator

import pytest
from twisted.internet import defer
from twisted.internet.interfaces import IReactorFromThreads
from zope.interface import implementer

from dimsetls.identity.sight import View
from dimsetls.services.archive import Archive
from dimsetls.services.index import Index
from dimsetls.services.matching import IdentifierError
from dimsetls.services.models import PATIENT_ROOT, STUDY_ROOT
from dimsetls.services.search import CHUNK

from .archives import an_entry, an_index, identifier


@implementer(IReactorFromThreads)
class Loop:
    """Runs in this thread what threads ask for, until a coroutine has ended."""

    def __init__(self) -> None:
        self._calls: list = []
        self._news = threading.Condition()

    def callFromThread(self, call, *arguments, **options) -> None:
        with self._news:
            self._calls.append((call, arguments, options))
            self._news.notify()

    def run(self, coroutine):
        results = []
        deferred = defer.ensureDeferred(coroutine)
        deferred.addBoth(results.append)
        while not results:
            with self._news:
                assert self._news.wait_for(lambda: self._calls, 10)
                calls, self._calls = self._calls, []
            for call, arguments, options in calls:
                call(*arguments, **options)
        if hasattr(results[0], "raiseException"):
            results[0].raiseException()
        return results[0]


@pytest.fixture
def loop() -> Loop:
    return Loop()


@pytest.fixture
def index(tmp_path) -> Iterator[Index]:
    index = an_index(tmp_path)

    def fill(tables):
        for number in range(2 * CHUNK + 50):
            tables.put(an_entry(number, StudyInstanceUID=f"1.{number}", SeriesInstanceUID=f"1.{number}.1"))

    index.write(fill)
    yield index
    index.close()


@pytest.fixture
def archive(index, loop) -> Iterator[Archive]:
    archive = Archive(index, "ARCHIVE", loop)
    yield archive
    archive.close()


async def uids(matches) -> list[str]:
    return [each.StudyInstanceUID async for each in matches]


def test_all_matches_come_in_order(archive, loop):
    matches = archive.query(STUDY_ROOT, identifier("STUDY", StudyInstanceUID="", PatientName="doe*"))
    assert not matches.has_unsupported_keys
    assert loop.run(uids(matches)) == [f"1.{number}" for number in range(2 * CHUNK + 50)]
    assert loop.run(uids(matches)) == []


def test_nothing_is_fetched_before_it_is_asked_for_nor_after_it_is_closed(archive, loop, monkeypatch):
    calls = []
    run = archive.run
    monkeypatch.setattr(archive, "run", lambda call: (calls.append(call), run(call))[1])
    matches = archive.query(STUDY_ROOT, identifier("STUDY", StudyInstanceUID=""))
    assert calls == []

    async def a_few() -> None:
        for _ in range(3):
            await anext(matches)
        await matches.aclose()
        with pytest.raises(StopAsyncIteration):
            await anext(matches)

    loop.run(a_few())
    assert len(calls) == 1


def test_closed_while_a_chunk_is_fetched(archive, loop):
    matches = archive.query(STUDY_ROOT, identifier("STUDY", StudyInstanceUID=""))
    waiting = defer.ensureDeferred(anext(matches, None))

    async def close():
        await matches.aclose()
        return await waiting

    assert loop.run(close()) is None


def test_a_chunk_without_a_match_is_not_the_end(archive, index, loop):
    last = f"1.{2 * CHUNK + 49}"
    index.write(lambda tables: tables.put(an_entry(9999, StudyInstanceUID=last, SeriesInstanceUID=f"{last}.1")))
    matches = archive.query(STUDY_ROOT, identifier("STUDY", StudyInstanceUID="", NumberOfStudyRelatedInstances="2"))
    assert loop.run(uids(matches)) == [last]


def test_a_bad_identifier_is_told_at_once(archive, loop):
    with pytest.raises(IdentifierError):
        archive.query(STUDY_ROOT, identifier("SERIES"))
    with pytest.raises(IdentifierError):
        loop.run(archive.retrieve(STUDY_ROOT, identifier("STUDY")))


def test_unsupported_keys_are_told(archive):
    assert archive.query(STUDY_ROOT, identifier("STUDY", Modality="CT")).has_unsupported_keys


def test_instances_to_send(archive, loop):
    async def retrieve(**options) -> tuple[int, list[str]]:
        selection = await archive.retrieve(PATIENT_ROOT, identifier("PATIENT", PatientID="P1"), **options)
        return len(selection), [stored.path for chunk in [c async for c in selection] for stored in chunk]

    count, paths = loop.run(retrieve())
    assert count == len(paths) == 2 * CHUNK + 50
    assert paths[:2] == ["a/1.1.1.0.dcm", "a/1.1.1.1.dcm"]


def test_only_what_is_seen_is_found_and_sent(archive, index, loop):
    one = an_entry(7, StudyInstanceUID="1.7", SeriesInstanceUID="1.7.1", Modality="MR")
    index.write(lambda tables: tables.put(one))
    sees = (View(modalities=frozenset({"MR"})),)
    matches = archive.query(STUDY_ROOT, identifier("STUDY", StudyInstanceUID=""), sees=sees)
    assert loop.run(uids(matches)) == ["1.7"]
    selection = loop.run(archive.retrieve(PATIENT_ROOT, identifier("PATIENT", PatientID="P1"), sees=sees))
    assert len(selection) == 1
    assert [stored.path for stored in loop.run(anext(selection))] == ["a/1.1.1.7.dcm"]
    selection = loop.run(archive.retrieve(STUDY_ROOT, identifier("STUDY", StudyInstanceUID="1.8"), sees=sees))
    assert len(selection) == 0


def test_instances_by_uid(archive, loop):
    assert set(loop.run(archive.find(["1.1.1.1", "9.9"]))) == {"1.1.1.1"}


def test_no_call_of_sqlite_is_made_in_the_thread_of_the_reactor(archive, loop, monkeypatch):
    here = threading.get_ident()
    reading = archive._index.reading
    seen = []
    monkeypatch.setattr(archive._index, "reading", lambda: (seen.append(threading.get_ident()), reading())[1])

    async def all_of_it() -> None:
        await uids(archive.query(STUDY_ROOT, identifier("STUDY", StudyInstanceUID="")))
        await archive.find(["1.2"])
        selection = await archive.retrieve(STUDY_ROOT, identifier("STUDY", StudyInstanceUID="1.7"))
        assert [len(chunk) async for chunk in selection] == [1]

    loop.run(all_of_it())
    assert len(seen) > 5
    assert here not in seen


