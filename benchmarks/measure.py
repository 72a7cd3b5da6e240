"""One run: start a server, warm it up, let the load work, read the server's CPU and memory, check every stored byte."""

from __future__ import annotations

import contextlib
import json
import mmap
import os
import shutil
import signal
import socket
import struct
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from dimsetls.tls.authority import DevelopmentAuthority
from dimsetls.uids import EXPLICIT_VR_LITTLE_ENDIAN

from .client import (
    CALLED_AE,
    CT_IMAGE_STORAGE,
    IMPLEMENTATION,
    MAXIMUM_LENGTH,
    Did,
    Kind,
    Load,
    data_set,
    element,
    instance_uid,
)
from .peers import Peer
from .site import Site
from .storescp import dcmtk

PROJECT = Path(__file__).parent.parent
TIMEOUT = 600.0
"""Seconds after which a load has failed; a peer that hangs must not hang the benchmark."""
START_TIMEOUT = 60.0
TICK = os.sysconf("SC_CLK_TCK")
_CPU_CLOCK = 2  # CPUCLOCK_SCHED: with a process in the upper bits, its clock, in nanoseconds
SAMPLE = 0.02
"""Seconds between two looks at the server's memory and at the pace of storing."""
MEBIBYTE = 1 << 20
WARM_UP = 1_000_000
"""The number of the first instance that is sent to warm up."""


@dataclass(frozen=True, slots=True)
class Row:
    """One line of the table; the work is that of :class:`benchmarks.client.Load`."""

    name: str
    title: str
    kind: Kind
    associations: int = 1
    count: int = 0
    size: int = 0
    seconds: float = 0.0
    storescu: bool = False  # DCMTK's storescu sends, in place of our own client
    resumed: bool = False
    longest: int = MAXIMUM_LENGTH  # of a PDU that the client sends, in bytes
    nagle: bool = False  # DCMTK as it is out of the box, without TCP_NODELAY in its environment

    @property
    def several(self) -> bool:
        """Whether instances come on several associations at once, so that both ends may use every processor."""
        return self.kind is Kind.STORE and self.associations > 1

    @property
    def bytes(self) -> int:
        """What is stored in all."""
        return self.associations * self.count * self.size

    @property
    def margin(self) -> int:
        """Memory that both ends may need besides: their programs, and up to two copies of an instance each."""
        return 128 * MEBIBYTE + 4 * self.size


@dataclass(frozen=True, slots=True)
class Measurement:
    """What one run gave; with an `error` nothing else counts. `rate` is MB/s where bytes are stored, else 1/s."""

    row: str
    peer: str
    round: int
    rate: float = 0.0
    operations: int = 0
    seconds: float = 0.0
    cpu: float = 0.0  # seconds of the server, user and system
    peak_rss: int = 0  # bytes
    others: float = 0.0  # processors that were busy with something else meanwhile
    client_cpu: float = 0.0  # seconds of the client
    error: str = ""


class RunError(Exception):
    """The run gave no figure that may be used."""


# What every run shares

def make_keys(folder: Path) -> None:
    """A CA, a server and a client certificate, ECDSA P-256, as PEM files."""
    folder.mkdir()
    authority = DevelopmentAuthority()
    (folder / "ca.pem").write_bytes(authority.own.certificate_pem)
    authority.issue_server().write(folder / "server.pem", folder / "server.key")
    authority.issue_client().write(folder / "client.pem", folder / "client.key")


def make_files(folder: Path, row: Row) -> list[str]:
    """The row's instances as Part 10 files, for storescu to send."""
    folder.mkdir(exist_ok=True)
    files = [folder / f"{number:06}-{row.size}.dcm" for number in range(row.count)]
    for number, path in enumerate(files):
        if not path.exists():
            uid = instance_uid(0, number)
            uids = {0x0002: CT_IMAGE_STORAGE, 0x0003: uid, 0x0010: EXPLICIT_VR_LITTLE_ENDIAN, 0x0012: IMPLEMENTATION}
            meta = struct.pack("<HH2sHIH", 0x0002, 0x0001, b"OB", 0, 2, 0x0100)  # File Meta Information Version
            meta += b"".join(element(0x0002, tag, "UI", value.encode()) for tag, value in uids.items())
            length = element(0x0002, 0x0000, "UL", struct.pack("<I", len(meta)))
            path.write_bytes(bytes(128) + b"DICM" + length + meta + data_set(row.size, uid))
    return [str(path) for path in files]


def memory_folder(size: int) -> Path | None:
    """/dev/shm, so that no disk is measured, if `size` bytes and as many to be kept warm for them fit; else None."""
    folder = Path("/dev/shm")
    if not os.access(folder, os.W_OK):
        return None
    available = os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    return folder if min(shutil.disk_usage(folder).free, available) > 2 * size else None


# One server

class Server:
    """A peer's process, from its start in a session of its own until nothing of it is left."""

    def __init__(self, peer: Peer, site: Site, environment: dict[str, str], cpus: set[int]) -> None:
        self.log = site.scratch / "server.log"
        self.ports = [site.port, site.inner] if peer.inner else [site.port]
        with self.log.open("wb") as log:
            self.process = subprocess.Popen(
                peer.command(site), stdin=subprocess.DEVNULL, stdout=log, stderr=log, cwd=site.scratch, env=environment,
                start_new_session=True, preexec_fn=lambda: os.sched_setaffinity(0, cpus),
            )

    def __enter__(self) -> Server:
        deadline = time.monotonic() + START_TIMEOUT
        while not all(map(listening, self.ports)):
            if self.process.poll() is not None or time.monotonic() > deadline:
                self.stop()
                raise RunError(f"the server does not listen on {self.ports}{self.last_words()}")
            time.sleep(0.05)
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def stop(self) -> None:
        """SIGTERM, and SIGKILL for whatever does not heed it."""
        for number in (signal.SIGTERM, signal.SIGKILL):
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self.process.pid, number)
            with contextlib.suppress(subprocess.TimeoutExpired):
                self.process.wait(10)

    def last_words(self) -> str:
        """The end of the server's log, as the end of a sentence."""
        lines = self.log.read_text(errors="replace").split("\n")
        said = " | ".join(line for line in lines if line.strip())[-400:]
        return f"; its log ends: {said}" if said else ""

    def processes(self) -> list[int]:
        """The server and its children, also those that have ended and were not yet waited for."""
        return [self.process.pid, *children(self.process.pid)]

    def cpu(self) -> float:
        """User and system seconds used so far; those of children that have ended and were waited for, in ticks."""
        total = 0.0
        for pid in self.processes():
            with contextlib.suppress(OSError):
                fields = Path(f"/proc/{pid}/stat").read_text().rpartition(") ")[2].split()
                total += time.clock_gettime(~pid << 3 | _CPU_CLOCK) + sum(map(int, fields[13:15])) / TICK
        return total

    def resident(self, label: str) -> int:
        """Bytes of VmRSS (now) or VmHWM (the highest) over all processes; what they share counts in each."""
        total = 0
        for pid in self.processes():
            with contextlib.suppress(OSError):
                for line in Path(f"/proc/{pid}/status").read_text().splitlines():
                    if line.startswith(label):
                        total += int(line.split()[1]) * 1024
        return total

    def proportional(self) -> int:
        """Bytes resident over all processes; of what they share each has its part (Pss)."""
        total = 0
        for pid in self.processes():
            with contextlib.suppress(OSError):
                for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
                    if line.startswith("Pss:"):
                        total += int(line.split()[1]) * 1024
        return total


def children(pid: int) -> list[int]:
    """The processes that `pid` started, and theirs."""
    found = []
    for path in Path(f"/proc/{pid}/task").glob("*/children"):
        with contextlib.suppress(OSError):
            for child in map(int, path.read_text().split()):
                found += [child, *children(child)]
    return found


def listening(port: int) -> bool:
    """Whether somebody listens, seen from outside: a connection on trial would count as a failed handshake."""
    ends = f":{port:04X}"
    for table in ("/proc/net/tcp", "/proc/net/tcp6"):
        with contextlib.suppress(OSError):
            for line in Path(table).read_text().splitlines()[1:]:
                fields = line.split()
                if fields[1].endswith(ends) and fields[3] == "0A":
                    return True
    return False


def free_port() -> int:
    """A port of the loopback interface that nobody uses."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        return int(server.getsockname()[1])


@contextlib.contextmanager
def watch(server: Server, store: Path, row: Row) -> Iterator[list[int]]:
    """Record the server's peak memory, and keep fresh pages from being measured.

    On a virtual machine whose host takes back free memory, a page that the host must give anew costs several times one
    that was just in use, and which it is, is chance. So as much memory as will be stored is held, and given up at the
    pace of the store.
    """
    peak = [0]
    done = threading.Event()
    limit = os.sysconf("SC_AVPHYS_PAGES") * mmap.PAGESIZE // 2
    size = min(row.bytes + row.margin, limit) // MEBIBYTE * MEBIBYTE
    warm = mmap.mmap(-1, size, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    for start in range(0, size, MEBIBYTE):
        warm[start:start + MEBIBYTE] = b"\1" * MEBIBYTE
    before = used(store)
    released = 0

    def release() -> None:
        nonlocal released
        wanted = min(used(store) - before + row.margin, size) // MEBIBYTE * MEBIBYTE
        if wanted > released:
            warm.madvise(mmap.MADV_DONTNEED, released, wanted - released)
            released = wanted

    def look() -> None:
        while not done.wait(SAMPLE):
            peak[0] = max(peak[0], server.resident("VmRSS"))
            release()

    release()
    watcher = threading.Thread(target=look)
    watcher.start()
    try:
        yield peak
    finally:
        done.set()
        watcher.join()
        warm.close()
        peak[0] = max(peak[0], server.resident("VmHWM"))


def used(folder: Path) -> int:
    """Bytes in use on the file system of `folder`."""
    state = os.statvfs(folder)
    return (state.f_blocks - state.f_bfree) * state.f_frsize


def busy_elsewhere() -> float:
    """Seconds that the processors have been busy so far, or were taken by the host, but not for us and our senders."""
    user, nice, system, _, _, interrupts, soft, steal = map(int, Path("/proc/stat").read_text().split()[1:9])
    return (user + nice + system + interrupts + soft + steal) / TICK - sum(os.times()[:4])


# The load

def run_client(load: Load, cpus: set[int]) -> Did:
    """Run the client as a process."""
    answer = run_program([sys.executable, "-m", "benchmarks.client", json.dumps(asdict(load))], dict(os.environ), cpus)
    return Did(**json.loads(answer))


def run_storescu(load: Load, files: list[str], environment: dict[str, str], cpus: set[int]) -> Did:
    """Send files with DCMTK's storescu; its start, about 20 ms, is part of the time."""
    keys = Path(load.keys)
    command = [dcmtk("storescu"), "--enable-tls", str(keys / "client.key"), str(keys / "client.pem"),
               "--add-cert-file", str(keys / "ca.pem"), "--call", CALLED_AE, "127.0.0.1", str(load.port), *files]
    began, before = time.monotonic(), os.times()
    run_program(command, environment, cpus)
    ended, after = time.monotonic(), os.times()
    cpu = after.children_user + after.children_system - before.children_user - before.children_system
    return Did(ended - began, len(files), cpu)


def run_program(command: list[str], environment: dict[str, str], cpus: set[int]) -> str:
    """Run a sender to its end; what it printed."""
    try:
        answer = subprocess.run(command, capture_output=True, text=True, timeout=TIMEOUT, cwd=PROJECT, env=environment,
                                preexec_fn=lambda: os.sched_setaffinity(0, cpus), check=False)
    except subprocess.TimeoutExpired:
        raise RunError(f"the sender did not finish within {TIMEOUT:.0f} s") from None
    if answer.returncode:
        lines = answer.stderr.strip().splitlines() or [f"exit code {answer.returncode}"]
        raise RunError(f"the sender failed: {lines[-1]}")
    return answer.stdout


# What was stored

def instances(folder: Path) -> list[Path]:
    """The files in a store; what is hidden is the server's own, such as an index or a lock."""
    return [path for path in folder.rglob("*") if path.is_file()
            and not any(part.startswith(".") for part in path.relative_to(folder).parts)]


def check_stored(folder: Path, row: Row) -> None:
    """Compare count, size and every byte of the data sets with what was sent."""
    expected = {instance_uid(association, number).encode()
                for association in range(row.associations) for number in range(row.count)}
    sent = data_set(row.size, instance_uid(0, 0)) if expected else bytearray()
    uid_at = sent.find(instance_uid(0, 0).encode())
    for path in instances(folder):
        with path.open("rb") as file:
            head = file.read(144)
            if head[128:132] != b"DICM":
                raise RunError(f"expected DICOM files only, but the server left {path.name}")
            file.seek(int.from_bytes(head[140:144], "little"), os.SEEK_CUR)  # File Meta Information Group Length
            found = file.read()
        uid = found[uid_at:uid_at + len(instance_uid(0, 0))]
        if uid not in expected:
            raise RunError(f"{path.name} holds instance {uid!r}, which was not sent or is there twice")
        expected.remove(uid)
        sent[uid_at:uid_at + len(uid)] = uid
        if found != sent:
            raise RunError(f"{path.name}: expected the {len(sent)} bytes sent, but found {len(found)} that differ")
    if expected:
        raise RunError(f"{len(expected)} of the instances sent were not stored")


# A run

def measure(peer: Peer, row: Row, number: int, work: Path) -> Measurement:
    """One run of a row against a peer that is started for it alone, so that no run inherits another's memory."""
    folder = work / "run"
    shutil.rmtree(folder, ignore_errors=True)
    matches = row.count if row.kind is Kind.FIND else 0
    identities = row.kind is Kind.ASSOCIATE
    site = Site(free_port(), folder / "store", folder / "scratch", work / "keys", row.several, matches, identities,
                row.resumed, free_port())
    site.store.mkdir(parents=True)
    site.scratch.mkdir()
    try:
        return _measure(peer, row, number, site, make_files(work / "send", row) if row.storescu else [])
    except RunError as error:
        return Measurement(row.name, peer.name, number, error=str(error))
    finally:
        shutil.rmtree(folder)


def _measure(peer: Peer, row: Row, number: int, site: Site, files: list[str]) -> Measurement:
    cpus = sorted(os.sched_getaffinity(0))
    # One processor each, so that neither wanders; associations at once may use all.
    client_cpus, server_cpus = (set(cpus), set(cpus)) if site.several else ({cpus[0]}, {cpus[-1]})
    environment = {**os.environ, "TCP_NODELAY": "1"}  # read by DCMTK, whose own default is to wait (Nagle)
    if row.nagle:
        del environment["TCP_NODELAY"]
    load = Load(row.kind, site.port, str(site.keys), row.associations, row.count, row.size, row.seconds, row.resumed,
                row.longest)
    with Server(peer, site, environment, server_cpus) as server:
        try:
            if row.kind is Kind.STORE:  # under UIDs of their own, so that nothing comes twice
                warm_up = replace(load, count=min(row.count, 4), size=min(row.size, MEBIBYTE), first=WARM_UP)
            else:
                warm_up = replace(load, seconds=0.2)
            run_client(warm_up, client_cpus)
            for path in instances(site.store):
                path.unlink()
            with watch(server, site.store, row) as peak:
                cpu, busy, began = server.cpu(), busy_elsewhere(), time.monotonic()
                if row.storescu:
                    did = run_storescu(load, files, environment, client_cpus)
                else:
                    did = run_client(load, client_cpus)
                cpu = server.cpu() - cpu
                others = max(0.0, (busy_elsewhere() - busy - cpu) / (time.monotonic() - began))
        except RunError as error:
            raise RunError(f"{error}{server.last_words()}") from None
    if row.kind is Kind.STORE:
        check_stored(site.store, row)
    rate = (row.bytes / 1e6 if row.kind is Kind.STORE else did.operations) / did.seconds
    return Measurement(row.name, peer.name, number, rate, did.operations, did.seconds, cpu, peak[0],
                       round(others, 2), did.cpu)
