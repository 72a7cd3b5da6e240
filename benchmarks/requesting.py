"""What a requestor gets of peers as they come, with Nagle's algorithm: ``python -m benchmarks requestor``.

Such a peer answers in two writes, and keeps the second back until the first is acknowledged, for which a plain client
takes its 40 ms. Ours asks for acknowledgement at once (TCP_QUICKACK). Both ask, wait for the answer, and ask again.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import asdict, dataclass
from itertools import product
from pathlib import Path
from typing import Any

from dimsetls.association import Instance, association, propose
from dimsetls.uids import EXPLICIT_VR_LITTLE_ENDIAN, VERIFICATION

from .client import CALLED_AE, CT_IMAGE_STORAGE, Did, Kind, Load, data_set, instance_uid
from .measure import Row, RunError, Server, check_stored, free_port, make_keys, run_client, run_program
from .peers import PEERS, Site
from .report import Spread, footnote, number, spread, write

SIZE = 4096
PEERS_ASKED = ("storescp", "orthanc")
KINDS = {Kind.ECHO: "C-ECHO", Kind.STORE: "C-STORE of 4 KiB"}
REQUESTORS: dict[str, Callable[[Load, set[int]], Did]] = {
    "plain": run_client,
    "dimsetls": lambda load, cpus: Did(**json.loads(run_program(
        [sys.executable, "-m", "benchmarks.requesting", json.dumps(asdict(load))], dict(os.environ), cpus))),
}


@dataclass(frozen=True, slots=True)
class Asked:
    """How many operations a second one requestor had of one peer."""

    peer: str
    kind: Kind
    requestor: str
    rate: float


def ours(load: Load) -> Did:
    """Our requestor, as a library; once in the life of a process."""
    from twisted.internet import endpoints, task

    found: list[Did] = []
    name = instance_uid(0, 0).encode()
    before, _, after = bytes(data_set(load.size, name.decode())).partition(name) if load.size else (b"", b"", b"")

    async def work(reactor: Any) -> None:
        where = (f"dicomtls:host=localhost:port={load.port}:trustRoots={load.keys}/ca.pem"
                 f":certKey={load.keys}/client.pem:privateKey={load.keys}/client.key")
        contexts = [propose(VERIFICATION), propose(CT_IMAGE_STORAGE, EXPLICIT_VR_LITTLE_ENDIAN)]
        async with association(endpoints.clientFromString(reactor, where), calling_ae_title="LOAD",
                               called_ae_title=CALLED_AE, contexts=contexts) as opened:  # fmt: skip
            def store(which: int) -> Awaitable[object]:
                uid = instance_uid(0, which)
                source = before + uid.encode() + after
                return opened.store(Instance(CT_IMAGE_STORAGE, uid, EXPLICIT_VR_LITTLE_ENDIAN, source))

            done, began, cpu = 0, time.monotonic(), time.process_time()
            while time.monotonic() - began < load.seconds:
                await (store(done) if load.kind is Kind.STORE else opened.echo())
                done += 1
            found.append(Did(time.monotonic() - began, done, time.process_time() - cpu))

    try:
        task.react(work)
    except SystemExit as ended:
        if ended.code:
            raise
    return found[0]


def ask(peer: str, kind: Kind, requestor: str, seconds: float, work: Path) -> Asked:
    """One run against a server of its own, with Nagle's algorithm, as it is by default."""
    folder, cpus = work / "run", sorted(os.sched_getaffinity(0))
    site = Site(free_port(), folder / "store", folder, work / "keys", several=False)
    site.store.mkdir(parents=True)
    environment = {name: value for name, value in os.environ.items() if name != "TCP_NODELAY"}
    load = Load(kind, site.port, str(site.keys), size=SIZE if kind is Kind.STORE else 0, seconds=seconds)
    try:
        with Server(PEERS[peer], site, environment, {cpus[-1]}):
            did = REQUESTORS[requestor](load, {cpus[0]})
        if kind is Kind.STORE:
            check_stored(site.store, Row("asked", "", kind, count=did.operations, size=SIZE))
    finally:
        shutil.rmtree(folder)
    return Asked(peer, kind, requestor, did.operations / did.seconds)


def table(asked: Sequence[Asked]) -> list[str]:
    """A Markdown table; the ratio is to the plain client."""
    lines = ["| to, with Nagle's algorithm | work | a plain client | dimsetls | ratio |", "|---|---|---|---|---|"]
    for peer, kind in product(PEERS_ASKED, KINDS):
        rates = [[each.rate for each in asked if (each.peer, each.kind, each.requestor) == (peer, kind, requestor)]
                 for requestor in REQUESTORS]  # fmt: skip
        plain, mine = map(spread, rates)
        ratio: Spread | None = spread(b / a for a, b in zip(*rates, strict=True))
        if ratio:
            lines.append(f"| {peer} | {KINDS[kind]} | {plain} /s | {mine} /s | {number(ratio.median)} |")
    return lines


def main(arguments: Sequence[str]) -> int:
    """Measure every pair in turns; 0 if all did their work."""
    parser = argparse.ArgumentParser("python -m benchmarks requestor", description="Requestors against peers' Nagle.")
    add = parser.add_argument
    add("--rounds", type=int, default=5, metavar="N", help="how often (default 5)")
    add("--seconds", type=float, default=2.0, metavar="S", help="how long each time (default 2)")
    add("--write", type=Path, metavar="FILE", help="put the table into this page as well")
    options = parser.parse_args(arguments)
    asked = []
    with tempfile.TemporaryDirectory(prefix="benchmarks-") as parent:
        work = Path(parent)
        make_keys(work / "keys")
        try:
            for _ in range(options.rounds):
                for peer, kind, requestor in product(PEERS_ASKED, KINDS, REQUESTORS):
                    asked.append(found := ask(peer, kind, requestor, options.seconds, work))
                    print(f"{peer}, {KINDS[kind]}, {requestor}: {number(found.rate)} /s", file=sys.stderr)
        except RunError as error:
            print(error, file=sys.stderr)
            return 1
    write("requestor", [*table(asked), "", footnote()], options.write)
    return 0


if __name__ == "__main__":
    request = json.loads(sys.argv[1])
    print(json.dumps(asdict(ours(Load(**{**request, "kind": Kind(request["kind"])})))))
