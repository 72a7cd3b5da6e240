"""Whether cost grows with the work and no faster: ``python -m benchmarks growth``, ours and storescp in turns.

Each sweep varies one number and keeps what else there is to do. What is drawn is the cost of one object, which is flat
where cost grows linearly; only against the size of an instance it rises with it.
"""

from __future__ import annotations

import argparse
import json
import shutil
import statistics
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path

from .measure import PROJECT, Measurement, make_keys, measure, memory_folder
from .peers import PEERS
from .report import machine, number, write
from .sweeps import PAIR, SWEEPS, Point, Sweep, points, read, text

DOCS = PROJECT / "docs" / "benchmarks"


def lines(figures: Sequence[Point]) -> list[str]:
    """A Markdown table: what an object costs where there is least and where there is most."""
    out = ["| cost of one against | peer | server CPU, from … to | time, from … to |", "|---|---|---|---|"]
    for sweep in SWEEPS:
        for peer in PAIR:
            mine = [each for each in figures if (each.sweep, each.peer) == (sweep.name, peer)]
            if mine:
                first, last = min(mine, key=lambda each: each.at), max(mine, key=lambda each: each.at)
                cpu, time = (f"{number(statistics.median(a))} … {number(statistics.median(b))} ms"
                             for a, b in ((first.cpu, last.cpu), (first.time, last.time)))
                span = f"{text(sweep, first.at)} … {text(sweep, last.at)}"
                out.append(f"| {sweep.object}: {sweep.axis}, {span} | {peer} | {cpu} | {time} |")
    return out


def main(arguments: Sequence[str]) -> int:
    """Measure and draw; 0 if every run did its work."""
    parser = argparse.ArgumentParser("python -m benchmarks growth", description="Cost of one object as work grows.")
    names = [sweep.name for sweep in SWEEPS]
    add = parser.add_argument
    add("--rounds", type=int, default=3, metavar="N", help="how often each point is measured (default 3)")
    add("--quick", action="store_true", help="the lower points, once: to see that it runs")
    add("--sweeps", default=names, type=lambda words: words.split(","), metavar="A,B", help=f"of {', '.join(names)}")
    add("--to", type=Path, default=DOCS, metavar="DIR", help="where figures and plots are written (default docs/)")
    add("--write", type=Path, metavar="FILE", help="put the table into this page as well")
    add("--draw", action="store_true", help="measure nothing, draw what is there once more")
    options = parser.parse_args(arguments)
    if options.quick and options.to == DOCS:
        parser.error("expected --to with --quick: such figures are not for docs/")
    file = options.to / "growth.json"
    failed = 0
    if not options.draw:
        sweeps = [sweep for sweep in SWEEPS if sweep.name in options.sweeps]
        if options.quick:
            sweeps = [replace(sweep, points=sweep.points[:3], rounds=1) for sweep in sweeps]
        runs = sweep_all(sweeps, options.rounds)
        failed = sum(bool(run.error) for _, run in runs)
        options.to.mkdir(parents=True, exist_ok=True)
        kept = [each for each in read(file) if each.sweep not in options.sweeps]
        figures = [asdict(each) for each in (*kept, *points(runs))]
        file.write_text(json.dumps({"machine": machine(), "unit": "ms", "points": figures}, indent=1) + "\n")
    figures = read(file)
    write("growth", lines(figures), options.write)
    from .plots import draw  # matplotlib is an extra, and everything else is measured without it

    for sweep in SWEEPS:
        if mine := [each for each in figures if each.sweep == sweep.name]:
            draw(sweep, mine, options.to / f"growth-{sweep.name}.svg")
    return 1 if failed else 0


def sweep_all(sweeps: Sequence[Sweep], rounds: int) -> list[tuple[int, Measurement]]:
    """Every point of every sweep, both peers one right after the other, by turns the first."""
    runs = []
    every = [(sweep, at, sweep.row(at)) for sweep in sweeps for at in sweep.points]
    most = max(row.bytes + row.margin for *_, row in every)
    work = Path(tempfile.mkdtemp(prefix="benchmarks-", dir=memory_folder(most)))
    try:
        make_keys(work / "keys")
        for turn in range(rounds):
            for sweep, at, row in every:
                if turn >= sweep.rounds:
                    continue
                for name in PAIR if turn % 2 == 0 else PAIR[::-1]:
                    runs.append((at, run := measure(PEERS[name], row, turn, work)))
                    said = run.error or f"{1e3 * run.cpu / run.operations:.4g} ms"
                    print(f"{turn + 1} {row.title}, {name}: {said}", file=sys.stderr)
    finally:
        shutil.rmtree(work)
    return runs
