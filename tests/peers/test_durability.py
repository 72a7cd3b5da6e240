"""Success means that the instance is there, whole; and nothing that is not whole is ever seen."""

from __future__ import annotations

import resource
import signal
import subprocess
import threading
from contextlib import suppress
from pathlib import Path
from tempfile import gettempdir

import pytest

from . import dcmtk
from .instances import data_set_of, named
from .running import Node, eventually
from .sender import Sender, client_context, connect, data_set, instance_uid

pytestmark = pytest.mark.peers

FLAT = "{SOPInstanceUID}.dcm"


def sender(port: int, pki: Path, calling: str = "SENDER") -> Sender:
    return Sender(connect(("127.0.0.1", port), client_context(pki)), calling=calling)


class Storing(threading.Thread):
    """Stores instances of one size on an association of its own until that breaks; `acknowledged` are their UIDs."""

    def __init__(self, port: int, pki: Path, number: int) -> None:
        super().__init__(daemon=True)
        self.acknowledged: list[str] = []
        self._sender = sender(port, pki, f"SENDER{number}")
        self._first = number * 1_000_000 + 1
        self.start()

    def run(self) -> None:
        with suppress(AssertionError, OSError), self._sender:
            for number in range(self._first, self._first + 100_000):
                uid = instance_uid(number)
                assert self._sender.store(uid, data_set(uid, 40_000)) == 0x0000
                self.acknowledged.append(uid)


def all_is_there(node: Node, storing: list[Storing]) -> set[str]:
    """What was acknowledged is visible, and what is visible is whole; gives what was acknowledged."""
    acknowledged = {uid for each in storing for uid in each.acknowledged}
    visible = {name.removesuffix(".dcm"): path for name, path in node.stored().items()}
    assert acknowledged <= set(visible)
    assert len(visible) <= len(acknowledged) + len(storing)  # each may have lost its last answer
    for uid, path in visible.items():
        assert data_set_of(path) == data_set(uid, 40_000)
    return acknowledged


@pytest.mark.parametrize("fsync", ["full", "none"])
def test_kill_9_in_the_middle_of_stores(node: Node, pki: Path, fsync: str) -> None:
    node.set("storage archive", layout=FLAT, fsync=fsync)
    with node.running() as service:
        half = sender(service.port(), pki)
        half.begin_store(instance_uid(1))
        half.data([data_set(instance_uid(1), 400_000)], last=False)
        eventually(lambda: any(path.stat().st_size > 100_000 for path in node.leftovers()), "no data came to the disk")
        storing = [Storing(service.port(), pki, number) for number in (1, 2, 3)]
        eventually(lambda: all(len(each.acknowledged) >= 20 for each in storing), "not enough was stored")
        service.kill()
        assert service.process.returncode == -signal.SIGKILL
    for each in storing:
        each.join()
    acknowledged = all_is_there(node, storing)
    left = node.leftovers()
    assert left
    with node.running() as service:
        assert node.leftovers() == []
        assert len(list(node.store.glob(".incoming/*/"))) == 1  # that of the process that runs
        again = sender(service.port(), pki)
        uid = next(iter(acknowledged))
        assert again.store(uid, data_set(uid, 40_000)) == 0x0000
        assert again.store(instance_uid(1), data_set(instance_uid(1), 400_000)) == 0x0000
        again.release()
    assert data_set_of(node.store / f"{instance_uid(1)}.dcm") == data_set(instance_uid(1), 400_000)
    assert list(node.store.glob(".incoming/*/")) == []


@pytest.mark.parametrize("end", ["abort", "cut"])
def test_an_association_that_ends_in_the_middle_leaves_nothing(node: Node, pki: Path, end: str) -> None:
    with node.running() as service:
        half = sender(service.port(), pki)
        half.begin_store(instance_uid(1))
        half.data([data_set(instance_uid(1), 400_000)], last=False)
        eventually(lambda: any(path.stat().st_size > 100_000 for path in node.leftovers()), "no data came to the disk")
        half.abort() if end == "abort" else half.cut()
        (line,) = service.expect(r"\b(aborted|provider-aborted) SENDER\b")
        assert " 0 instances," in line
        eventually(lambda: not node.leftovers(), "the incomplete instance did not go")
        assert dcmtk.storescu(service, pki, [named("CT_small.dcm").path]).returncode == 0
    assert len(node.stored()) == 1


def small_disk(size: int) -> tuple[str, ...]:
    """What runs a command with a file system of `size` bytes at its directory `store`, seen by that command alone."""
    script = 'mount -t tmpfs -o size="$0" none store && exec "$@"'
    prefix = ["unshare", "--mount", "sh", "-c", script, str(size)]
    for unshare in prefix, [prefix[0], "--user", "--map-root-user", *prefix[1:]]:
        made = subprocess.run([*unshare, "true"], cwd=gettempdir(), capture_output=True, check=False, text=True)
        if "store" in made.stderr:  # it may mount, and there is no such place here
            return tuple(unshare)
    pytest.fail("a full disk needs a file system of its own: run as root, or allow user namespaces")


def test_a_full_disk(node: Node, pki: Path) -> None:
    node.set("storage archive", layout=FLAT)
    with node.running(*small_disk(4 << 20)) as service:
        store = Path(f"/proc/{service.process.pid}/root{node.store}")  # as the service sees it
        peer = sender(service.port(), pki)
        contents = {uid: data_set(uid, 1_500_000) for uid in map(instance_uid, range(1, 6))}
        statuses = {uid: peer.store(uid, content) for uid, content in contents.items()}
        assert list(statuses.values()) == [0x0000, 0x0000, 0xA700, 0xA700, 0xA700]
        assert {path.stem for path in store.glob("*.dcm")} == {uid for uid, status in statuses.items() if not status}
        (line, *_) = service.expect(r"answered A700H to message 3 of SENDER", 1)
        assert "No space left on device" in line
        answer = dcmtk.storescu(service, pki, [named("examples_overlay.dcm").path] * 5, "-v", "--invent-instance")
        assert "Received Store Response (Refused: OutOfResources)" in answer.stdout
        assert answer.returncode != 0
        first, second, *others = contents
        (store / f"{first}.dcm").unlink()
        assert peer.store(others[0], contents[others[0]]) == 0x0000
        peer.release()
        assert data_set_of(store / f"{second}.dcm") == contents[second]
        assert data_set_of(store / f"{others[0]}.dcm") == contents[others[0]]
        assert not [path for path in store.glob(".incoming/*/*") if path.name != "lock"]
        service.expect(r"\breleased SENDER\b.*\b6 operations, 3 failed, 3 instances")


def test_a_store_that_goes_away(node: Node, pki: Path) -> None:
    """Unmounted, or removed by somebody: refuse rather than fill the disk below."""
    with node.running() as service:
        peer = sender(service.port(), pki)
        assert peer.store(instance_uid(1), data_set(instance_uid(1))) == 0x0000
        node.store.rename(node.directory / "elsewhere")
        assert peer.store(instance_uid(2), data_set(instance_uid(2))) == 0xA700
        assert peer.echo() == 0x0000
        (node.directory / "elsewhere").rename(node.store)
        assert peer.store(instance_uid(2), data_set(instance_uid(2))) == 0x0000
        peer.release()
    assert len(node.stored()) == 2


def test_files_that_may_not_grow(node: Node, pki: Path) -> None:
    """A limit of the process in place of a full disk: the peer hears the same, and the service lives on."""
    with node.running() as service:
        peer = sender(service.port(), pki)
        _, hard = resource.prlimit(service.process.pid, resource.RLIMIT_FSIZE)
        resource.prlimit(service.process.pid, resource.RLIMIT_FSIZE, (100_000, hard))
        assert peer.store(instance_uid(1), data_set(instance_uid(1), 200_000)) == 0xA700
        resource.prlimit(service.process.pid, resource.RLIMIT_FSIZE, (hard, hard))
        assert peer.store(instance_uid(1), data_set(instance_uid(1), 200_000)) == 0x0000
        peer.release()
    (path,) = node.stored().values()
    assert data_set_of(path) == data_set(instance_uid(1), 200_000)
