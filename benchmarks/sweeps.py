"""What is varied to see how cost grows, and what was found."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from .client import MAXIMUM_LENGTH, Kind
from .measure import Measurement, Row

PAIR = ("dimsetls", "storescp")
KIB, MIB = 1 << 10, 1 << 20


@dataclass(frozen=True, slots=True)
class Sweep:
    """One number that varies; `row` is the work with the number put in, of which each of `points` makes one."""

    name: str
    title: str
    axis: str
    object: str
    points: tuple[int, ...]
    is_size: bool = False
    rounds: int = 100

    def row(self, point: int) -> Row:
        """The work at one point."""
        title = f"{self.title}: {point}"
        match self.name:
            case "objects":
                return Row(self.name, title, Kind.STORE, count=point, size=16 * KIB)
            case "associations":
                return Row(self.name, title, Kind.STORE, associations=point, count=6400 // point, size=64 * KIB)
            case "sequence":
                return Row(self.name, title, Kind.ASSOCIATE, count=point)
            case "size":
                return Row(self.name, title, Kind.STORE, count=max(1, min(1000, 256 * MIB // point)), size=point)
        return Row(self.name, title, Kind.STORE, count=128, size=MIB, longest=min(point, MAXIMUM_LENGTH))


SWEEPS = (
    Sweep("objects", "instances of 16 KiB on one association", "instances", "instance",
          (100, 500, 2000, 7000, 20_000)),
    Sweep("associations", "6400 instances of 64 KiB on associations at once", "associations at once", "instance",
          (1, 2, 4, 8, 16, 32, 64)),
    Sweep("sequence", "associations one after the other", "associations in sequence", "association",
          (100, 300, 1000, 3000, 10_000), rounds=1),
    Sweep("size", "size of the instance", "size of the instance", "instance",
          (4 * KIB, 32 * KIB, 256 * KIB, 4 * MIB, 64 * MIB, 512 * MIB), is_size=True),
    Sweep("pdu", "length of the PDUs, instances of 1 MiB", "length of a PDU", "instance",
          tuple(KIB << power for power in range(2, 8)), is_size=True),
)


@dataclass(frozen=True, slots=True)
class Point:
    """What one object costs at one point, in each run: milliseconds of the server's processor, and of the clock."""

    sweep: str
    peer: str
    at: int
    cpu: tuple[float, ...]
    time: tuple[float, ...]


def points(runs: Sequence[tuple[int, Measurement]]) -> list[Point]:
    """The runs, by what varied."""
    found = []
    for sweep, peer, at in dict.fromkeys((run.row, run.peer, at) for at, run in runs if not run.error):
        mine = [run for where, run in runs if (run.row, run.peer, where) == (sweep, peer, at) and not run.error]
        found.append(Point(sweep, peer, at, tuple(round(1e3 * run.cpu / run.operations, 5) for run in mine),
                           tuple(round(1e3 * run.seconds / run.operations, 5) for run in mine)))
    return found


def read(file: Path) -> list[Point]:
    """What was measured before."""
    return [Point(**each) for each in json.loads(file.read_text())["points"]] if file.exists() else []


def text(sweep: Sweep, at: int) -> str:
    """A point as people write it."""
    if not sweep.is_size:
        return f"{at:,}".replace(",", " ")
    return f"{at // MIB} MiB" if at >= MIB else f"{at // KIB} KiB"
