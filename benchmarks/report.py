"""The figures as a table that is Markdown and reads well in a terminal, and as JSON."""

from __future__ import annotations

import json
import os
import platform
import statistics
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path

from .client import MAXIMUM_LENGTH, Kind
from .measure import Measurement, Row
from .peers import QUERY_REFERENCE, REFERENCE, Peer
from .tls import SUITE, VERSION

BUSY = 0.1
"""Processors used by others in the median run, from which on the figures deserve a warning."""


@dataclass(frozen=True, slots=True)
class Spread:
    """The median of some figures and their range; as text with three significant digits."""

    median: float
    lowest: float
    highest: float

    def __str__(self) -> str:
        return f"{number(self.median)} ({number(self.lowest)}–{number(self.highest)})"


@dataclass(frozen=True, slots=True)
class Summary:
    """What one peer did on one row.

    `ratio` is that of the rates, taken within each round. `cpu` is the server's, `client_cpu` the client's: s/GB where
    bytes are stored, else ms for each operation. `peak_rss` is in bytes.
    """

    row: str
    peer: str
    failed: int
    rate: Spread | None
    ratio: Spread | None
    cpu: Spread | None
    client_cpu: Spread | None
    peak_rss: int


def summarise(row: Row, peer: str, runs: Sequence[Measurement]) -> Summary:
    """The summary of a peer's runs of this row among all `runs`."""
    mine = [run for run in runs if (run.row, run.peer) == (row.name, peer)]
    good = [run for run in mine if not run.error]
    other = QUERY_REFERENCE if row.kind is Kind.FIND else REFERENCE
    reference = {run.round: run.rate for run in runs if (run.row, run.peer) == (row.name, other) and not run.error}

    def each(run: Measurement, seconds: float) -> float:
        return seconds / (row.bytes / 1e9 if row.bytes else run.operations / 1e3)

    return Summary(
        row.name, peer, len(mine) - len(good),
        rate=spread(run.rate for run in good),
        ratio=spread(run.rate / reference[run.round] for run in good if run.round in reference),
        cpu=spread(each(run, run.cpu) for run in good),
        client_cpu=spread(each(run, run.client_cpu) for run in good),
        peak_rss=max((run.peak_rss for run in good), default=0),
    )


def spread(values: Iterable[float]) -> Spread | None:
    """None where there are no values."""
    figures = sorted(values)
    return Spread(statistics.median(figures), figures[0], figures[-1]) if figures else None


def number(value: float) -> str:
    """Three significant digits, and whole numbers from 100 on."""
    return f"{value:.0f}" if value >= 100 else f"{value:#.3g}"


def table(rows: Sequence[Row], peers: Sequence[Peer], runs: Sequence[Measurement]) -> str:
    """The Markdown table: a line for each row and peer, medians with their range."""
    lines = [["work", "peer", "rate", f"ratio to {REFERENCE}", "server CPU", "client CPU", "peak RSS"]]
    for row in rows:
        did = {run.peer for run in runs if run.row == row.name}
        for index, peer in enumerate(peer for peer in peers if peer.name in did):
            figures = summarise(row, peer.name, runs)
            lines.append([row.title if index == 0 else "", peer.name, *_cells(row, figures)])
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    lines.insert(1, ["-" * width for width in widths])
    return "\n".join("| " + " | ".join(map(str.ljust, line, widths)) + " |" for line in lines)


def _cells(row: Row, figures: Summary) -> list[str]:
    if figures.rate is None:
        return ["failed", "", "", "", ""]
    rate, cpu = ("MB/s", "s/GB") if row.kind is Kind.STORE else ("/s", "ms each")
    client = number(figures.client_cpu.median) if figures.client_cpu else ""
    memory = f"{figures.peak_rss / 1e6:.0f} MB"
    return [f"{figures.rate} {rate}", str(figures.ratio or ""), f"{figures.cpu} {cpu}", client, memory]


def notes(peers: Sequence[Peer], runs: Sequence[Measurement]) -> list[str]:
    """What a reader must know beside the table: versions, machine, failures, and whether the machine was quiet."""
    lines = [f"- {peer.name}: {peer.version()}" for peer in peers]
    lines += [f"- {name}: {value}" for name, value in machine().items()]
    lines += [f"- failed: {run.peer}, {run.row}, round {run.round + 1}: {run.error}" for run in runs if run.error]
    busy = statistics.median(run.others for run in runs)
    if busy > BUSY:
        lines.append(f"- expected a quiet machine, but other work took {busy:.2f} processors: repeat this on one")
    return lines


def machine() -> dict[str, str]:
    """What the figures depend on besides the peers."""
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    models = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return {
        "processors": f"{len(os.sched_getaffinity(0))} × {models[0] if models else platform.machine()}",
        "system": f"{platform.system()} {platform.release()}",
        "Python": platform.python_version(),
        "client": VERSION,
        "suite": f"TLS 1.3, {SUITE}, ECDSA P-256, mutual",
        "maximum length": f"{MAXIMUM_LENGTH} bytes",
        "date": f"{datetime.now(UTC):%Y-%m-%d %H:%M} UTC",
    }


def footnote() -> str:
    """The same in a line, for tables beside the great one."""
    facts = machine()
    return f"({facts['processors']}, {facts['system']}, Python {facts['Python']}, {facts['date']})"


def as_json(rows: Sequence[Row], peers: Sequence[Peer], runs: Sequence[Measurement]) -> str:
    """Everything, for other programs: the machine, the work, every run, and the figures of the table."""
    return json.dumps({
        "machine": machine(),
        "peers": {peer.name: peer.version() for peer in peers},
        "reference": REFERENCE,
        "rows": [asdict(row) for row in rows],
        "runs": [asdict(run) for run in runs],
        "summary": [asdict(summarise(row, peer.name, runs)) for row in rows for peer in peers],
    }, indent=1)


def write(name: str, lines: Sequence[str], page: Path | None) -> None:
    """Print a part of the report, and put it between its two marks in a page, if there is one."""
    print(*lines, sep="\n")
    if page is None:
        return
    begin, end = f"<!-- measured: {name} -->\n", f"<!-- end: {name} -->"
    before, found, rest = page.read_text().partition(begin)
    _, closed, after = rest.partition(end)
    if not found or not closed:
        raise ValueError(f"expected {begin.strip()} and {end} in {page}")
    page.write_text("".join((before, begin, "\n", "\n".join(lines), "\n\n", end, after)))
