"""Senders on the same files: ``python -m benchmarks.sending``; DCMTK's storescu and `dimsetls store`, to one receiver.

The receiver is DCMTK's storescp, bit-preserving and with TCP_NODELAY, on a processor of its own. Each sender sends one
file, then all of them; the difference is reported, so that nobody's start counts.
"""

from __future__ import annotations

import os
import resource
import shutil
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from .client import CALLED_AE, MAXIMUM_LENGTH, Kind
from .measure import Row, Server, check_stored, free_port, make_files, make_keys, run_program
from .peers import PEERS, Site, dcmtk

ROUNDS = 5
ROW = Row("sending", "C-STORE send: 400 × 0.5 MB", Kind.STORE, count=400, size=524_288, storescu=True)


def storescu(port: int, keys: Path, files: list[str]) -> list[str]:
    return [dcmtk("storescu"), "--max-pdu", str(MAXIMUM_LENGTH), "--max-send-pdu", str(MAXIMUM_LENGTH), "--enable-tls",
            str(keys / "client.key"), str(keys / "client.pem"), "--add-cert-file", str(keys / "ca.pem"),
            "--call", CALLED_AE, "127.0.0.1", str(port), *files]


def dimsetls(port: int, keys: Path, files: list[str]) -> list[str]:
    program = Path(sys.executable).with_name("dimsetls")
    return [str(program), "store", f"localhost:{port}", *files, "--ae", CALLED_AE, "--cert", str(keys / "client.pem"),
            "--key", str(keys / "client.key"), "--ca", str(keys / "ca.pem")]


SENDERS: dict[str, Callable[[int, Path, list[str]], list[str]]] = {"storescu": storescu, "dimsetls": dimsetls}


def send(command: list[str], cpus: set[int]) -> tuple[float, float]:
    """Seconds that a sender took, and those of them that it used a processor."""
    before, began = resource.getrusage(resource.RUSAGE_CHILDREN), time.monotonic()
    run_program(command, {**os.environ, "TCP_NODELAY": "1"}, cpus)
    after, ended = resource.getrusage(resource.RUSAGE_CHILDREN), time.monotonic()
    return ended - began, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def run(sender: str, work: Path, files: list[str]) -> tuple[float, float]:
    """MB/s, and MB for each second of the sender's CPU."""
    folder, cpus = work / "run", sorted(os.sched_getaffinity(0))
    site = Site(free_port(), folder / "store", folder / "scratch", work / "keys", False)
    site.store.mkdir(parents=True)
    site.scratch.mkdir()
    try:
        with Server(PEERS["storescp+B"], site, {**os.environ, "TCP_NODELAY": "1"}, {cpus[-1]}):
            one, all_of_them = (
                send(SENDERS[sender](site.port, site.keys, part), {cpus[0]}) for part in (files[:1], files)
            )
        check_stored(site.store, ROW)
    finally:
        shutil.rmtree(folder)
    octets = (ROW.count - 1) * ROW.size / 1e6
    return octets / (all_of_them[0] - one[0]), octets / (all_of_them[1] - one[1])


def main() -> None:
    with tempfile.TemporaryDirectory(prefix="benchmarks-", dir="/dev/shm") as parent:
        work = Path(parent)
        make_keys(work / "keys")
        files = make_files(work / "send", ROW)
        rounds = [{sender: run(sender, work, files) for sender in SENDERS} for _ in range(ROUNDS)]
    print(f"{ROW.title}, medians of {ROUNDS} rounds; MB/s, MB for each second of CPU, and ratios within the round")
    for sender in SENDERS:
        rates, economies = zip(*(each[sender] for each in rounds), strict=True)
        ratios = [[each[sender][which] / each["storescu"][which] for each in rounds] for which in (0, 1)]
        rate, economy, *both = map(statistics.median, (rates, economies, *ratios))
        print(f"{sender:9} {rate:5.0f} MB/s ({both[0]:.2f})  {economy:5.0f} MB per CPU s ({both[1]:.2f})")


if __name__ == "__main__":
    main()
