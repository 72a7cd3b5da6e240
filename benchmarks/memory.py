"""What a server needs in memory while it receives: ``python -m benchmarks memory``.

All of it is read from outside, as the kernel has it: VmHWM is the most that was resident at any time, and Pss what is
resident where of what processes share each has its part.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import shutil
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import NamedTuple

from .client import Association, Instance, Kind, Load
from .idle import SETTLED, WARM, emptied, look, one_after_the_other
from .measure import Row, RunError, Server, check_stored, free_port, make_keys, run_client
from .peers import PEERS, Peer, Site, dimsetls
from .report import footnote, write
from .slow import slow_disk
from .tls import PeerError, client_context

MIB = 1 << 20
ACTIVE = 64
RATE = 100_000_000
"""Bytes in a second that the slow disk takes."""
PAIR = ("dimsetls", "storescp")


class Place(NamedTuple):
    """One server to be measured, and where its files go."""

    peer: Peer
    work: Path
    keys: Path
    several: bool = False


@contextlib.contextmanager
def serving(place: Place) -> Iterator[tuple[Server, Load, Path]]:
    """The server, what a load needs to know of it, and its store."""
    folder = Path(tempfile.mkdtemp(prefix="run-", dir=place.work))
    site = Site(free_port(), folder / "store", folder, place.keys, place.several, inner=free_port())
    site.store.mkdir()
    try:
        environment = {**os.environ, "TCP_NODELAY": "1"}
        with Server(place.peer, site, environment, os.sched_getaffinity(0)) as server:
            yield server, Load(Kind.STORE, site.port, str(site.keys)), site.store
    finally:
        shutil.rmtree(folder)


def while_receiving(place: Place, row: Row) -> str:
    """The most that was resident."""
    with serving(place) as (server, load, store):
        work = replace(load, associations=row.associations, count=row.count, size=row.size)
        run_client(work, os.sched_getaffinity(0))
        peak = server.resident("VmHWM")
        check_stored(store, row)
    return f"{peak / MIB:.1f} MiB"


def in_the_middle(place: Place, size: int) -> str:
    """What each association takes that has sent half of an instance."""
    with serving(place) as (server, load, _):
        context = client_context(Path(load.keys))
        instance = Instance(0, size, load.longest)
        first = Association(load, context)
        for number in range(ACTIVE):
            instance.store(first, number)
        first.release()
        time.sleep(SETTLED)
        before = server.proportional()
        associations = [Association(load, context) for _ in range(ACTIVE)]
        for number, each in enumerate(associations):
            instance.send(each, ACTIVE + number, slice(None, len(instance.pdus) // 2))
        time.sleep(SETTLED)
        grown = server.proportional() - before
        for each in associations:
            os.close(each.tls.detach())
    return f"{grown / ACTIVE / 1024:.0f} KiB"


def afterwards(place: Place, count: int) -> str:
    """What is left of associations that are over."""
    with serving(place) as (server, load, _):
        load = replace(load, kind=Kind.ECHO)
        one_after_the_other(load, WARM)
        before = look(server)
        one_after_the_other(load, count)
        emptied(server, before)
        left = look(server) - before
    return f"{left.resident / MIB:+.1f} MiB, {left.descriptors:+} descriptors, {left.threads:+} threads"


def questions(place: Callable[..., Place], quick: bool) -> Iterator[tuple[str, Callable[[], str]]]:
    """What is asked of a peer: a line of the table, and how it is answered."""
    great = MIB * (128 if quick else 1024)
    for size in (64 * MIB, great):
        row = Row("one", "", Kind.STORE, associations=1, count=1, size=size)
        yield f"peak while it receives one instance of {size // MIB} MiB", partial(while_receiving, place(), row)
    yield (f"each of {ACTIVE} associations in the middle of an instance",
           partial(in_the_middle, place(several=True), 8 * MIB))
    count = 1000 if quick else 10_000
    yield f"after {count} associations, one after the other", partial(afterwards, place(), count)


def onto_a_slow_disk(work: Path, keys: Path, quick: bool) -> str:
    """The peak of ours, which waits for the disk as it does by default."""
    size = 64_000_000 // (16 if quick else 1)
    row = Row("slow", "", Kind.STORE, associations=ACTIVE, count=1, size=size)
    peer = replace(PEERS["dimsetls"], command=partial(dimsetls, fsync="full"))
    with slow_disk(work, row.bytes + 512 * MIB, RATE) as disk:
        return while_receiving(Place(peer, disk, keys, several=True), row)


def main(arguments: Sequence[str]) -> int:
    """Measure ours and storescp; 0 if all of it could be done."""
    parser = argparse.ArgumentParser("python -m benchmarks memory", description="What a server needs in memory.")
    add = parser.add_argument
    add("--quick", action="store_true", help="smaller and fewer: to see that it runs")
    add("--work", type=Path, default=Path("/var/tmp"), metavar="DIR", help="a disk with 8 GB (default /var/tmp)")
    add("--write", type=Path, metavar="FILE", help="put the table into this page as well")
    options = parser.parse_args(arguments)
    work = Path(tempfile.mkdtemp(prefix="benchmarks-", dir=options.work))
    table: dict[str, list[str]] = {}
    failed = False

    def answer(question: str, asked: Callable[[], str]) -> None:
        nonlocal failed
        try:
            said = asked()
        except (RunError, PeerError, OSError) as error:
            said, failed = f"failed: {error}", True
        print(f"{question}: {said}", file=sys.stderr)
        table.setdefault(question, []).append(said)

    try:
        make_keys(work / "keys")
        for name in PAIR:
            place = partial(Place, PEERS[name], work, work / "keys")
            for question, asked in questions(place, options.quick):
                answer(question, asked)
        answer(f"peak of {ACTIVE} associations with {4 if options.quick else 64} MB each, onto a disk that takes "
               f"{RATE // 1_000_000} MB/s", partial(onto_a_slow_disk, work, work / "keys", options.quick))
    finally:
        shutil.rmtree(work)
    lines = [f"| | {' | '.join(PAIR)} |", "|---|---|---|"]
    lines += [f"| {question} | {' | '.join((*answers, '–')[:2])} |" for question, answers in table.items()]
    write("memory", [*lines, "", footnote()], options.write)
    return int(failed)
