"""The command line: which work, which peers, how often; see ``python -m benchmarks --help``."""

from __future__ import annotations

import argparse
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable, Collection, Sequence
from dataclasses import replace
from pathlib import Path

from . import growth, idle, memory, requesting
from .client import Kind
from .measure import PROJECT, Measurement, Row, make_keys, measure, memory_folder
from .peers import PEERS, Peer
from .report import as_json, notes, table, write
from .site import install

SMALL, HUGE = 524_288, 200_000_000  # a CT image; a long multi-frame object

ROWS = (
    Row("small", "many small: 1000 × 0.5 MB", Kind.STORE, count=1000, size=SMALL),
    Row("huge", "few huge: 8 × 200 MB", Kind.STORE, count=8, size=HUGE),
    Row("several", "4 associations at once, 200 × 0.5 MB each", Kind.STORE, associations=4, count=200, size=SMALL),
    Row("associate", "associations, full handshake, 3 at once", Kind.ASSOCIATE, associations=3, seconds=2.0),
    Row("resumed", "associations, resumed, 3 at once", Kind.ASSOCIATE, associations=3, seconds=2.0, resumed=True),
    Row("echo", "C-ECHO on one association", Kind.ECHO, seconds=2.0),
    Row("find", "C-FIND, 10 000 pending responses; ratio to pynetdicom", Kind.FIND, count=10_000, seconds=2.0),
    Row("storescu", "storescu as it comes: 100 × 0.5 MB", Kind.STORE, count=100, size=SMALL, storescu=True, nagle=True),
    Row("storescu-nodelay", "storescu, TCP_NODELAY=1: 100 × 0.5 MB", Kind.STORE, count=100, size=SMALL, storescu=True),
)

PARTS: dict[str, Callable[[Sequence[str]], int]] = {
    "requestor": requesting.main, "idle": idle.main, "memory": memory.main, "growth": growth.main,
}
"""What has a command line of its own, by the first word of ours."""
MORE = ("requestor", "send")
"""What is measured after the rows, with tables of its own."""
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
    if given[:1] == ["all"]:
        return all_parts(given[1:])
    if given and (part := PARTS.get(given[0])):
        return part(given[1:])
    parser = argparse.ArgumentParser(
        "python -m benchmarks", description="Our SCP and its peers on the same work.",
        epilog=f"Other parts, each with a --help of its own: python -m benchmarks {' | '.join(PARTS)}; "
               "python -m benchmarks all [--quick] [--write FILE] does this and all of them.")  # fmt: skip
    names = [*(row.name for row in ROWS), *MORE]
    add = parser.add_argument
    add("--rounds", type=int, default=5, metavar="N", help="how often every peer does every row (default 5)")
    add("--quick", action="store_true", help="about a fifth of the work: to see that it runs, not to quote")
    add("--peers", type=names_of(PEERS), default=[name for name in PEERS if name != "dimsetls-memory"], metavar="A,B",
        help=f"of {', '.join(PEERS)} (default all but dimsetls-memory)")
    add("--rows", type=names_of(names), default=names, metavar="A,B", help=f"of {', '.join(names)} (default all)")
    add("--work", type=Path, metavar="DIR", help="where to store (default: in memory if there is room)")
    add("--json", type=Path, metavar="FILE", help="write everything measured to this file")
    add("--write", type=Path, metavar="FILE", help="put the tables into this page as well")
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

    runs = measure_all(rows, peers, options.rounds, options.work)
    if options.json:
        options.json.write_text(as_json(rows, peers, runs))
    failed = any(run.error for run in runs)
    if rows:
        write("rows", [table(rows, peers, runs), "", *notes(peers, runs)], options.write)
    if "requestor" in options.rows:
        wanted = ["--rounds", str(options.rounds), *(["--seconds", "1"] if options.quick else [])]
        failed |= bool(requesting.main([*wanted, *(["--write", str(options.write)] if options.write else [])]))
    if "send" in options.rows:
        failed |= not sending(options.write)
    return int(failed)


def measure_all(rows: Sequence[Row], peers: Sequence[Peer], rounds: int, folder: Path | None) -> list[Measurement]:
    """Every row by every peer that does it, round after round."""
    runs: list[Measurement] = []
    parent = folder or memory_folder(max((row.bytes + row.margin for row in rows), default=0))
    work = Path(tempfile.mkdtemp(prefix="benchmarks-", dir=parent))
    try:
        make_keys(work / "keys")
        for turn in range(rounds):
            for row in rows:
                # Neighbours in time are compared, and none is always the first.
                able = [peer for peer in peers if does(peer, row)]
                for peer in able if turn % 2 == 0 else reversed(able):
                    runs.append(run := measure(peer, row, turn, work))
                    outcome = run.error or f"{run.rate:.4g}, {run.cpu:.2f} s CPU, {run.peak_rss / 1e6:.0f} MB"
                    print(f"{turn + 1}/{rounds} {row.name} {peer.name}: {outcome}", file=sys.stderr)
    finally:
        shutil.rmtree(work)
    return runs


def sending(page: Path | None) -> bool:
    """What `python -m benchmarks.sending` says; whether it could."""
    command = [sys.executable, "-m", "benchmarks.sending"]
    answer = subprocess.run(command, stdout=subprocess.PIPE, text=True, cwd=PROJECT, check=False)
    write("send", ["```text", *answer.stdout.splitlines(), "```"], page)
    return answer.returncode == 0


def all_parts(arguments: Sequence[str]) -> int:
    """Everything that there is, one part after the other."""
    parser = argparse.ArgumentParser("python -m benchmarks all", description="Every part, with its defaults.")
    parser.add_argument("--quick", action="store_true", help="less of each: to see that it runs, not to quote")
    parser.add_argument("--write", type=Path, metavar="FILE", help="put tables into this page, plots beside it")
    options = parser.parse_args(arguments)
    common = ["--write", str(options.write)] if options.write else []
    quick = ["--quick"] if options.quick else []
    with tempfile.TemporaryDirectory() as nowhere:
        plots = (options.write.parent if options.write else Path(nowhere)) / "benchmarks"
        return max(
            main([*common, *quick, *(["--rounds", "1"] if options.quick else [])]),
            idle.main([*common, *(["--associations", "500", "--seconds", "2"] if options.quick else [])]),
            memory.main([*common, *quick]),
            growth.main([*common, *quick, "--to", str(plots)]),
        )


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
