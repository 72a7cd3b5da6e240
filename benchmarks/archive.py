"""The embedded archive: how fast it answers, and what its index costs the store.

``python -m benchmarks.archive --help``
"""

from __future__ import annotations

import argparse
import json
import os
import random
import shutil
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from datetime import date, timedelta
from functools import partial
from importlib.metadata import version
from itertools import product
from pathlib import Path
from typing import Any

from pydicom import Dataset

from dimsetls.association import association, propose
from dimsetls.services.index import Index, Tables
from dimsetls.services.records import Entry
from dimsetls.uids import EXPLICIT_VR_LITTLE_ENDIAN
from dimsetls.uids import STUDY_ROOT_FIND as FIND

from .__main__ import names_of
from .client import CALLED_AE, CT_IMAGE_STORAGE, IMPLEMENTATION, Kind
from .measure import Measurement, Row, RunError, Server, free_port, make_keys, measure
from .peers import Peer, Site, dimsetls, missing_dimsetls
from .report import BUSY, Spread, machine, number, spread

STUDIES_OF_A_DAY, STUDIES_OF_A_PATIENT, INSTANCES_OF_A_STUDY, INSTANCES_OF_A_SERIES = 3, 2, 100, 50
BATCH = 1000
SHOWN = ("PatientName", "PatientID", "StudyDate", "StudyDescription", "AccessionNumber", "StudyInstanceUID",
         "ModalitiesInStudy", "NumberOfStudyRelatedSeries", "NumberOfStudyRelatedInstances")  # fmt: skip
ROWS = (
    Row("one", "0.5 MB, 1 association", Kind.STORE, count=500, size=524_288),
    Row("several", "0.5 MB, 4 associations", Kind.STORE, associations=4, count=200, size=524_288),
    Row("tiny", "4 kB, 1 association", Kind.STORE, count=2000, size=4096),
)


# What is in the archive

def study_uid(study: int) -> str:
    """The Study Instance UID of a study, by its number."""
    return f"{IMPLEMENTATION}.{study}"


def study_values(study: int) -> dict[str, str]:
    """What its instances say of a study and its patient."""
    patient = study // STUDIES_OF_A_PATIENT
    return {
        "PatientID": f"P{patient:06}", "PatientName": f"NAME{patient:06}^GIVEN", "PatientBirthDate": "19700101",
        "PatientSex": "O", "StudyInstanceUID": study_uid(study), "StudyDate": f"{study_date(study):%Y%m%d}",
        "StudyTime": "101500", "StudyDescription": "HEAD", "AccessionNumber": f"A{study:08}", "StudyID": str(study),
        "ReferringPhysicianName": "DOE^JANE",
    }


def study_date(study: int) -> date:
    """When it was made."""
    return date(2020, 1, 1) + timedelta(days=study // STUDIES_OF_A_DAY)


def entries(count: int) -> Iterator[Entry]:
    """What the index has of so many instances, which are CT and PT series by turns."""
    for place in range(count):
        study, within = divmod(place, INSTANCES_OF_A_STUDY)
        series = within // INSTANCES_OF_A_SERIES
        uid = f"{study_uid(study)}.{series}.{within}"
        values = study_values(study) | {
            "SeriesInstanceUID": f"{study_uid(study)}.{series}", "Modality": "CT" if series == 0 else "PT",
            "SeriesNumber": str(series), "SOPInstanceUID": uid, "SOPClassUID": CT_IMAGE_STORAGE,
            "InstanceNumber": str(within),
        }
        yield Entry(values, EXPLICIT_VR_LITTLE_ENDIAN, f"{uid}.dcm", 524_288)


def fill(store: Path, studies: int) -> float:
    """Write the index of a store, as a rebuild does; the seconds that it took."""
    index = Index(store / ".index.db", durable=False)
    index.open()
    began, batch = time.monotonic(), list[Entry]()

    def put(tables: Tables) -> None:
        for each in batch:
            tables.put(each)

    for each in entries(studies * INSTANCES_OF_A_STUDY):
        batch.append(each)
        if len(batch) == BATCH:
            index.write(put)
            batch = []
    index.write(put)
    index.close()
    return time.monotonic() - began


# Queries

@dataclass(frozen=True, slots=True)
class Query:
    """A study-level C-FIND: its keys for the study of a number, and how many studies of `studies` they match."""

    name: str
    keys: Callable[[int], dict[str, str]]
    matches: Callable[[int, int], int]
    times: int = 200


def _together(study: int, studies: int, size: int) -> int:
    """How many studies are in its group, where so many make one; the last may have fewer."""
    return min(size, studies - study // size * size)


QUERIES = (
    Query("one StudyInstanceUID", lambda study: {"StudyInstanceUID": study_uid(study)}, lambda *_: 1),
    Query("an AccessionNumber", lambda study: {"AccessionNumber": f"A{study:08}"}, lambda *_: 1),
    Query("a PatientID", lambda study: {"PatientID": f"P{study // STUDIES_OF_A_PATIENT:06}"},
          lambda study, studies: _together(study, studies, STUDIES_OF_A_PATIENT)),
    Query("a StudyDate", lambda study: {"StudyDate": f"{study_date(study):%Y%m%d}"},
          lambda study, studies: _together(study, studies, STUDIES_OF_A_DAY)),
    Query("PatientName with a wildcard at the end", lambda study: {"PatientName": f"name{study // 20:05}*"},
          lambda study, studies: _together(study, studies, 10 * STUDIES_OF_A_PATIENT)),
    Query("StudyDate and ModalitiesInStudy",
          lambda study: {"StudyDate": f"{study_date(study):%Y%m%d}", "ModalitiesInStudy": "PT"},
          lambda study, studies: _together(study, studies, STUDIES_OF_A_DAY)),
    Query("what nobody has", lambda study: {"PatientID": f"NOBODY{study}"}, lambda *_: 0),
    Query("every study", lambda _: {}, lambda _, studies: studies, times=5),
)


@dataclass(frozen=True, slots=True)
class Answered:
    """One query, asked `times` times: milliseconds from the request until the last response was read and decoded."""

    query: str
    times: int
    matches: float
    """On average."""
    median: float
    slowest: float
    """Of 20 the slowest but one, that is the 95th percentile."""


def ask(port: int, keys: Path, studies: int) -> list[Answered]:
    """Ask the node on one association over mutual TLS, always for another study; once in the life of a process."""
    from twisted.internet import endpoints, task

    found: list[Answered] = []
    where = (f"dicomtls:host=localhost:port={port}:trustRoots={keys}/ca.pem:certKey={keys}/client.pem"
             f":privateKey={keys}/client.key")

    async def work(reactor: Any) -> None:
        endpoint = endpoints.clientFromString(reactor, where)
        async with association(
            endpoint, calling_ae_title="LOAD", called_ae_title=CALLED_AE, contexts=[propose(FIND)]
        ) as opened:
            found.extend([await _answered(opened, query, studies) for query in QUERIES])

    with suppress(SystemExit):  # react() says by it how it ended, and logs what went wrong
        task.react(work)
    if not found:
        raise RunError("the archive did not answer as expected")
    return found


async def _answered(opened: Any, query: Query, studies: int) -> Answered:
    choice, took, matches = random.Random(query.name), list[float](), list[int]()
    for turn in range(query.times + 1):
        study = choice.randrange(studies)
        identifier = Dataset()
        identifier.QueryRetrieveLevel = "STUDY"
        for keyword, value in {**dict.fromkeys(SHOWN, ""), **query.keys(study)}.items():
            setattr(identifier, keyword, value or None)
        began = time.perf_counter()
        count = len([match async for match in opened.find(FIND, identifier)])
        if turn:  # the first is to warm up
            took.append(1e3 * (time.perf_counter() - began))
            matches.append(count)
        if count != (expected := query.matches(study, studies)):
            raise RunError(f"expected {expected} studies by {query.name}, but {count} came")
    took.sort()
    return Answered(query.name, query.times, statistics.mean(matches), statistics.median(took),
                    took[int(0.95 * (len(took) - 1))])  # fmt: skip


# What the index costs

def peer(fsync: str, index: str) -> Peer:
    """Our node, which waits for the disk or does not, with an index or without."""
    name = f"fsync = {fsync}, index = {index}"
    return Peer(name, lambda: version("dimsetls"), missing_dimsetls, partial(dimsetls, fsync=fsync, index=index))


@dataclass(frozen=True, slots=True)
class Cost:
    """The store with an index and without: instances a second, processor time in ms an instance, ratio of rates."""

    row: str
    fsync: str
    without: Spread
    indexed: Spread
    ratio: Spread
    cpu_without: Spread
    cpu_indexed: Spread


def cost(row: Row, fsync: str, runs: Sequence[Measurement]) -> Cost:
    """From runs in which each round has one without an index and one with. Raises RunError if one failed."""
    for run in runs:
        if run.error:
            raise RunError(f"{run.peer}, {row.title}: {run.error}")
    both = [[run for run in runs if run.row == row.name and run.peer == peer(fsync, index).name]
            for index in ("no", "yes")]  # fmt: skip
    rates = [_spread(run.operations / run.seconds for run in each) for each in both]
    cpu = [_spread(1e3 * run.cpu / run.operations for run in each) for each in both]
    ratio = _spread(with_it.rate / without.rate for without, with_it in zip(*both, strict=True))
    return Cost(row.title, fsync, rates[0], rates[1], ratio, cpu[0], cpu[1])


def _spread(values: Any) -> Spread:
    found = spread(values)
    assert found is not None
    return found


# The command

def main(arguments: Sequence[str] | None = None) -> int:
    """Measure both and print them; 0 if every answer and every stored byte was right, else 1."""
    parser = argparse.ArgumentParser("python -m benchmarks.archive", description="The embedded archive by itself: "
                                     "study-level queries over TLS, and the store with an index and without.")
    add = parser.add_argument
    add("--instances", type=int, default=100_000, metavar="N", help="how many are in the archive (default 100000)")
    add("--rounds", type=int, default=5, metavar="N", help="how often each way of storing is measured (default 5)")
    names = [row.name for row in ROWS]
    add("--rows", type=names_of(names), default=names, metavar="A,B", help=f"of {', '.join(names)} (default all)")
    add("--quick", action="store_true", help="about a tenth of the work: to see that it runs, not to quote")
    add("--work", type=Path, default=Path("/var/tmp"), metavar="DIR",
        help="where to store: a disk, for waiting for it is measured too (default /var/tmp)")
    add("--json", type=Path, metavar="FILE", help="write everything measured to this file")
    options = parser.parse_args(arguments)
    studies = max(options.instances // (10 if options.quick else 1) // INSTANCES_OF_A_STUDY, 1)
    rows = [replace(row, count=row.count // 10) if options.quick else row for row in ROWS if row.name in options.rows]
    work = Path(tempfile.mkdtemp(prefix="benchmarks-", dir=options.work))
    runs: list[Measurement] = []
    try:
        make_keys(work / "keys")
        answers = queries(work, studies)
        for turn in range(1 if options.quick else options.rounds):
            for row, fsync in product(rows, ("none", "full")):
                for index in ("no", "yes") if turn % 2 == 0 else ("yes", "no"):
                    runs.append(run := measure(peer(fsync, index), row, turn, work))
                    print(f"{turn + 1} {row.name}, {run.peer}: {run.error or f'{run.rate:.4g} MB/s'}", file=sys.stderr)
        costs = [cost(row, fsync, runs) for row, fsync in product(rows, ("none", "full"))]
    except RunError as error:
        print(error, file=sys.stderr)
        return 1
    finally:
        shutil.rmtree(work)
    if options.json:
        options.json.write_text(json.dumps({
            "machine": machine(), "instances": studies * INSTANCES_OF_A_STUDY,
            "queries": [asdict(each) for each in answers], "store": [asdict(each) for each in costs],
            "runs": [asdict(run) for run in runs],
        }, indent=1))  # fmt: skip
    facts = machine() | {"dimsetls": version("dimsetls")}
    print(*tables(studies, answers, costs), "", *(f"- {name}: {value}" for name, value in facts.items()), sep="\n")
    if (busy := statistics.median(run.others for run in runs)) > BUSY:
        print(f"- expected a quiet machine, but other work took {busy:.2f} processors: repeat this on one")
    return 0


def queries(work: Path, studies: int) -> list[Answered]:
    """Fill an archive, start the node on it, and ask it."""
    site = Site(free_port(), work / "archive", work / "scratch", work / "keys", several=False)
    site.store.mkdir()
    site.scratch.mkdir()
    seconds = fill(site.store, studies)
    print(f"{studies * INSTANCES_OF_A_STUDY} instances indexed in {seconds:.1f} s", file=sys.stderr)
    with Server(peer("none", "yes"), site, dict(os.environ), {max(os.sched_getaffinity(0))}):
        return ask(site.port, site.keys, studies)


def tables(studies: int, answers: Sequence[Answered], costs: Sequence[Cost]) -> Iterator[str]:
    """Both tables in Markdown."""
    yield f"C-FIND at level STUDY, {studies} studies, {studies * INSTANCES_OF_A_STUDY} instances:\n"
    yield "| key | matches | median | 95 of 100 within |\n|---|---|---|---|"
    for each in answers:
        yield f"| {each.query} | {each.matches:.4g} | {number(each.median)} ms | {number(each.slowest)} ms |"
    yield "\nC-STORE with an index and without:\n"
    yield "| work | fsync | rate without | rate with | ratio | server CPU without | server CPU with |"
    yield "|---|---|---|---|---|---|---|"
    for way in costs:
        yield (f"| {way.row} | {way.fsync} | {way.without} /s | {way.indexed} /s | {way.ratio} | "
               f"{way.cpu_without} ms each | {way.cpu_indexed} ms each |")


if __name__ == "__main__":
    sys.exit(main())
