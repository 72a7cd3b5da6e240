"""What associations cost that do nothing, and what remains of those that are over: ``python -m benchmarks idle``.

A crowd is opened over mutual TLS and then rests, with all limits and timers of the node on. Memory is that of the
server's process, read from outside. The crowd's end keeps nothing but sockets: what TLS needs is only needed to speak.
"""

from __future__ import annotations

import argparse
import contextlib
import gc
import os
import resource
import shutil
import statistics
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from .client import Association, Kind, Load
from .measure import RunError, Server, busy_elsewhere, free_port, make_keys
from .peers import PEERS, Site
from .report import footnote, number, write
from .tls import PeerError, client_context

OURS = [name for name in PEERS if name.startswith("dimsetls")]
SETTLED = 2.0
"""Seconds in which nothing comes, so that what is to be given back is given back."""
CLOSED = 120.0
"""Seconds in which connections that were cut are to be closed."""
WARM = 200
"""Associations before the first look: by then every module is loaded, and every cache has its entries."""
BETWEEN = 0.005
"""Seconds between two C-ECHOs: as a peer asks that is alone, not as one that loads the server."""


@dataclass(frozen=True, slots=True)
class Look:
    """The server's process at one moment; `resident` is in bytes."""

    resident: int
    descriptors: int
    threads: int

    def __sub__(self, other: Look) -> Look:
        return Look(self.resident - other.resident, self.descriptors - other.descriptors, self.threads - other.threads)


def look(server: Server) -> Look:
    """Once it has settled."""
    time.sleep(SETTLED)
    process = Path(f"/proc/{server.process.pid}")
    return Look(server.resident("VmRSS"), *(len(os.listdir(process / each)) for each in ("fd", "task")))


def emptied(server: Server, before: Look) -> None:
    """Wait until the server has closed what it had open besides; what does not close is to be seen."""
    until = time.monotonic() + CLOSED
    while len(os.listdir(f"/proc/{server.process.pid}/fd")) > before.descriptors and time.monotonic() < until:
        time.sleep(0.1)


@contextlib.contextmanager
def crowd(load: Load, size: int) -> Iterator[None]:
    """Open `size` associations, and cut them at the end."""
    # On X25519, as clients choose where they may: keys on P-256 take 2 KB more.
    context, sockets = client_context(Path(load.keys), "X25519"), list[int]()
    try:
        for _ in range(size):
            sockets.append(Association(load, context).tls.detach())
        yield
    finally:
        for each in sockets:
            os.close(each)


def echoes(load: Load, seconds: float) -> list[float]:
    """Seconds that each C-ECHO took, one after the other with pauses on one association."""
    association, taken = Association(load, client_context(Path(load.keys))), list[float]()
    until = time.monotonic() + seconds
    gc.disable()  # what is measured is the server
    while time.monotonic() < until:
        began = time.perf_counter()
        association.echo()
        taken.append(time.perf_counter() - began)
        time.sleep(BETWEEN)
    gc.enable()
    association.release()
    return taken


def one_after_the_other(load: Load, count: int) -> None:
    """Associations from handshake to release."""
    context = client_context(Path(load.keys))
    for _ in range(count):
        association = Association(load, context)
        association.echo()
        association.release()


def measure(server: Server, load: Load, size: int, seconds: float) -> Iterator[str]:
    """A sentence for each thing measured."""
    one_after_the_other(load, WARM)
    before = look(server)
    yield f"before: {before.resident / 1e6:.1f} MB, {before.descriptors} descriptors, {before.threads} threads"
    with crowd(load, size):
        grown = look(server) - before
        yield f"{size} idle associations: {grown.resident / size / 1024:.1f} KiB each"
        cpu, busy, began = server.cpu(), busy_elsewhere(), time.monotonic()
        time.sleep(seconds)
        passed = time.monotonic() - began
        others = (busy_elsewhere() - busy) / passed
        yield f"CPU meanwhile: {(server.cpu() - cpu) / passed:.2%} of a processor (others took {others:.2f})"
        taken = sorted(echoes(load, seconds))
        p99 = taken[len(taken) * 99 // 100]
        yield (f"C-ECHO meanwhile: median {number(statistics.median(taken) * 1e3)} ms, p99 {number(p99 * 1e3)} ms of "
               f"{len(taken)}")
    emptied(server, before)
    after = look(server) - before
    yield (f"when they are gone: {after.resident / 1e6:+.1f} MB, {after.descriptors:+} descriptors, "
           f"{after.threads:+} threads")
    before = look(server)
    one_after_the_other(load, size)
    after = look(server) - before
    yield (f"after {size} more, one after the other: {after.resident / 1e6:+.1f} MB, {after.descriptors:+} "
           f"descriptors, {after.threads:+} threads")


def main(arguments: Sequence[str]) -> int:
    """Measure ours, by each of its transports; 0 if it could be done."""
    parser = argparse.ArgumentParser("python -m benchmarks idle", description="What associations cost that do nothing.")
    add = parser.add_argument
    add("--associations", type=int, default=10_000, metavar="N", help="how many there are (default 10000)")
    add("--seconds", type=float, default=20.0, metavar="S", help="how long each is watched (default 20)")
    add("--peers", default=OURS[:1], type=lambda text: text.split(","), metavar="A,B",
        help=f"of {', '.join(OURS)} (default {OURS[0]})")
    add("--write", type=Path, metavar="FILE", help="put what is said into this page as well")
    options = parser.parse_args(arguments)
    descriptors = options.associations + 200
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    if most < descriptors:
        print(f"{options.associations} associations need {descriptors} descriptors, but this process may have {most}",
              file=sys.stderr)
        return 2
    resource.setrlimit(resource.RLIMIT_NOFILE, (descriptors, most))  # the server inherits it
    said, cpus = list[str](), sorted(os.sched_getaffinity(0))
    os.sched_setaffinity(0, {cpus[0]})  # the client; the server has another processor to itself
    try:
        for name in options.peers:
            for sentence in watched(name, options.associations, options.seconds, {cpus[-1]}):
                print(f"{name}: {sentence}", file=sys.stderr, flush=True)
                said.append(f"- {name}: {sentence}")
    except (RunError, OSError) as error:
        print(f"{name}: failed: {error}", file=sys.stderr)
        return 1
    finally:
        os.sched_setaffinity(0, cpus)
    write("idle", [*said, "", footnote()], options.write)
    return 0


def watched(name: str, size: int, seconds: float, cpus: set[int]) -> Iterator[str]:
    """Start a peer, and say what a crowd costs it."""
    work = Path(tempfile.mkdtemp(prefix="benchmarks-"))
    try:
        make_keys(work / "keys")
        site = Site(free_port(), work / "store", work, work / "keys", several=True)
        site.store.mkdir()
        with Server(PEERS[name], site, dict(os.environ), cpus) as server:
            try:
                yield from measure(server, Load(Kind.ECHO, site.port, str(site.keys)), size, seconds)
            except (RunError, PeerError, OSError) as error:
                raise RunError(f"{error}{server.last_words()}") from None
    finally:
        shutil.rmtree(work)
