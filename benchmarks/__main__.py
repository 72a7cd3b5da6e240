"""The command line: which work, which peers, how often; see ``python -m benchmarks --help``."""

from __future__ import annotations

import argparse
import shutil
import signal
import sys
import tempfile
from collections.abc import Callable, Collection, Sequence
from dataclasses import replace
from pathlib import Path

from . import growth, idle, memory
from .client import Kind
from .measure import Measurement, Row, make_keys, measure, memory_folder
from .peers import PEERS, Peer
from .report import as_json, notes, table
from .site import install

SMALL, HUGE = 524_288, 200_000_000  # a CT image; a long multi-frame object

ROWS = (
    Row("small", "many small: 1000 × 0.5 MB", Kind.STORE, count=1000, size=SMALL),
    Row("huge", "few huge: 8 × 200 MB", Kind.STORE, count=8, size=HUGE),
    Row("several", "4 associations at once, 200 × 0.5 MB each", Kind.STORE, associations=4, count=200, size=SMALL),
    Row("associate", "associations, full handshake, 3 at once", Kind.ASSOCIATE, associations=3, seconds=3.0),
    Row("resumed", "associations, resumed, 3 at once", Kind.ASSOCIATE, associations=3, seconds=3.0, resumed=True),
    Row("echo", "C-ECHO on one association", Kind.ECHO, seconds=2.0),
    Row("find", "C-FIND, 10 000 pending responses; ratio to pynetdicom", Kind.FIND, count=10_000, seconds=2.0),
    Row("storescu", "storescu as it comes: 100 × 0.5 MB", Kind.STORE, count=100, size=SMALL, storescu=True, nagle=True),
    Row("storescu-nodelay", "storescu, TCP_NODELAY=1: 100 × 0.5 MB", Kind.STORE, count=100, size=SMALL, storescu=True),
)

SECTIONS: dict[str, Callable[[Sequence[str]], int]] = {
    "idle": idle.main, "growth": growth.main, "memory": memory.main,
}
"""What has a command line of its own, by the first word of ours."""
SENT_TO = ("storescp", "orthanc", "pynetdicom", "dimsetls")
"""Whom DCMTK's storescu sends to."""


def quick(row: Row) -> Row:
    """The same kind of work, about a fifth of it."""
    if row.kind is not Kind.STORE:
        return replace(row, seconds=1.0)
    count = row.count // 4 if row.size == HUGE else row.count // 5
    return replace(row, count=count, title=row.title.replace(f"{row.count} ×", f"{count} ×"))


def main(arguments: Sequence[str] | None = None) -> int:
    """Run what is asked for; 0 if every run did its work, 1 if one failed, 2 if none could be made."""
    given = sys.argv[1:] if arguments is None else arguments
    if given and (section := SECTIONS.get(given[0])):
        return section(given[1:])
    parser = argparse.ArgumentParser("python -m benchmarks", description="Our SCP and its peers on the same work.")
    names = [row.name for row in ROWS]
    add = parser.add_argument
    add("--rounds", type=int, default=5, metavar="N", help="how often every peer does every row (default 5)")
    add("--quick", action="store_true", help="about a fifth of the work: to see that it runs, not to quote")
    add("--peers", type=names_of(PEERS), default=[name for name in PEERS if name != "dimsetls-memory"], metavar="A,B",
        help=f"of {', '.join(PEERS)} (default all but the last but one)")
    add("--rows", type=names_of(names), default=names, metavar="A,B", help=f"of {', '.join(names)} (default all)")
    add("--work", type=Path, metavar="DIR", help="where to store (default: in memory if there is room)")
    add("--json", type=Path, metavar="FILE", help="write everything measured to this file")
    add("--install", action="store_true", help="let Debian install what the peers need, as root, and do nothing else")
    options = parser.parse_args(given)
    if options.install:
        lacking = [name for name in options.peers if PEERS[name].missing()]
        if packages := sorted({package for name in lacking for package in PEERS[name].packages}):
            install(packages)
        for name in options.peers:
            print(f"{name}: {PEERS[name].missing() or PEERS[name].version()}")
        return 0
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that the running server is stopped
    rows = [quick(row) if options.quick else row for row in ROWS if row.name in options.rows]

    peers = []
    for name in options.peers:
        if reason := PEERS[name].missing():
            print(f"{name} is left out: {reason}", file=sys.stderr)
        else:
            peers.append(PEERS[name])
    if not peers:
        return 2

    runs: list[Measurement] = []
    parent = options.work or memory_folder(max(row.bytes + row.margin for row in rows))
    work = Path(tempfile.mkdtemp(prefix="benchmarks-", dir=parent))
    try:
        make_keys(work / "keys")
        for number in range(options.rounds):
            for row in rows:
                # Neighbours in time are compared, and none is always the first.
                able = [peer for peer in peers if does(peer, row)]
                for peer in able if number % 2 == 0 else reversed(able):
                    runs.append(run := measure(peer, row, number, work))
                    outcome = run.error or f"{run.rate:.4g}, {run.cpu:.2f} s CPU, {run.peak_rss / 1e6:.0f} MB"
                    print(f"{number + 1}/{options.rounds} {row.name} {peer.name}: {outcome}", file=sys.stderr)
    finally:
        shutil.rmtree(work)
    if options.json:
        options.json.write_text(as_json(rows, peers, runs))
    print(table(rows, peers, runs), "", *notes(peers, runs), sep="\n")
    return 1 if any(run.error for run in runs) else 0


def does(peer: Peer, row: Row) -> bool:
    """Whether this work is anything to measure this peer by."""
    if row.kind is Kind.FIND:
        return peer.finds
    if row.storescu:
        return peer.name in SENT_TO
    return row.several or not peer.only_several


def names_of(known: Collection[str]) -> Callable[[str], list[str]]:
    """The type of an option that takes some of these names."""
    def names(text: str) -> list[str]:
        if unknown := [name for name in text.split(",") if name not in known]:
            raise argparse.ArgumentTypeError(f"expected some of {', '.join(known)}, but got {', '.join(unknown)}")
        return text.split(",")

    return names


if __name__ == "__main__":
    sys.exit(main())
