from __future__ import annotations

import errno
import gc
import os
import resource
import shutil
import signal
import stat
import subprocess
import sys
import tempfile
import threading
import traceback
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pydicom
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydicom.data import get_testdata_file

from dimsetls.association.part10 import read_file_meta
from dimsetls.errors import ConfigurationError, LocalProtocolError, ServiceError
from dimsetls.services import filesystem
from dimsetls.services.filesystem import Duplicates, Durability, FileStore, IncomingFile, Outcome, StoredInstance
from dimsetls.services.layout import BY_SERIES, FLAT, Layout
from dimsetls.uids import EXPLICIT_VR_LITTLE_ENDIAN, IMPLICIT_VR_LITTLE_ENDIAN, is_valid_uid

CT = "1.2.840.10008.5.1.4.1.1.2"


def explicit(group: int, element: int, vr: str, value: bytes) -> bytes:
    head = group.to_bytes(2, "little") + element.to_bytes(2, "little")
    return head + vr.encode() + len(value).to_bytes(2, "little") + value


def data_set(study: bytes = b"1.2.3\0", series: bytes = b"1.2.3.4\0", name: bytes = b"Doe ") -> bytes:
    return (explicit(0x0010, 0x0010, "PN", name) + explicit(0x0020, 0x000D, "UI", study)
            + explicit(0x0020, 0x000E, "UI", series))


def open_store(root: Path, layout: str = BY_SERIES, **options) -> FileStore:
    store = FileStore(root, layout=Layout(layout), **options)
    store.open()
    return store


@pytest.fixture
def store(tmp_path: Path) -> Iterator[FileStore]:
    store = open_store(tmp_path / "store")
    yield store
    store.close()


def begin(store: FileStore, instance: str = "1.2.3.4.5", syntax: str = EXPLICIT_VR_LITTLE_ENDIAN) -> IncomingFile:
    return store.begin(CT, instance, syntax, "STORESCU", "DIMSETLS")


def keep(store: FileStore, instance: str = "1.2.3.4.5", data: bytes | None = None) -> StoredInstance:
    incoming = begin(store, instance)
    incoming.write(data_set() if data is None else data)
    return incoming.commit()


def visible(root: Path) -> list[str]:
    """What a person looking into the store sees: everything but hidden names."""
    return sorted(
        str(path.relative_to(root)) for path in root.rglob("*")
        if path.is_file() and not any(part.startswith(".") for part in path.relative_to(root).parts)
    )


def temporaries(root: Path) -> list[str]:
    return sorted(path.name for path in (root / ".incoming").rglob("*") if path.is_file() and path.name != "lock")


def status_of(call: Callable[[], object]) -> int:
    with pytest.raises(ServiceError) as caught:
        call()
    assert len(caught.value.comment) <= 64
    assert "/" not in caught.value.comment
    return caught.value.status


@pytest.fixture
def no_hard_links(monkeypatch: pytest.MonkeyPatch) -> None:
    """A file system such as FAT, which only root could mount."""

    def link(*_args: object, **_options: object) -> None:
        raise OSError(errno.EPERM, os.strerror(errno.EPERM))

    monkeypatch.setattr(os, "link", link)


# --- what is stored ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("piece_size", [1000, 7, 1 << 20])
@pytest.mark.parametrize("name", ["CT_small.dcm", "MR_small_implicit.dcm", "JPEG2000.dcm", "image_dfl.dcm",
                                  "ExplVR_BigEnd.dcm"])
def test_a_real_instance_comes_back_bit_for_bit(tmp_path, name, piece_size):
    path = get_testdata_file(name, download=False)
    truth = pydicom.dcmread(path)
    with open(path, "rb") as file:
        meta = read_file_meta(file)
        file.seek(meta.data_set_offset)
        body = file.read()
    store = open_store(tmp_path)
    incoming = store.begin(truth.SOPClassUID, truth.SOPInstanceUID, meta.transfer_syntax_uid, "STORESCU", "DIMSETLS")
    for at in range(0, len(body), piece_size):
        incoming.write(memoryview(body)[at:at + piece_size])
    stored = incoming.commit()
    assert stored.outcome is Outcome.STORED
    assert stored.remark == ""
    assert stored.path == tmp_path / truth.StudyInstanceUID / truth.SeriesInstanceUID / f"{truth.SOPInstanceUID}.dcm"
    written = stored.path.read_bytes()
    assert written.endswith(body)
    assert stored.size == len(written)
    back = pydicom.dcmread(stored.path)
    assert back == truth
    assert back.preamble == bytes(128)
    assert len(written) == len(body) + back.file_meta.FileMetaInformationGroupLength + 144
    assert back.file_meta.TransferSyntaxUID == truth.file_meta.TransferSyntaxUID
    assert back.file_meta.SendingApplicationEntityTitle == "STORESCU"
    assert temporaries(tmp_path) == []
    store.close()


def test_flat_layout_reads_nothing_of_the_data_set(tmp_path):
    store = open_store(tmp_path, FLAT)
    stored = keep(store, data=b"\xff" * 99)
    assert stored.path == tmp_path / "1.2.3.4.5.dcm"
    assert stored.remark == ""


def test_a_data_set_that_cannot_be_read_is_stored_and_remarked(store):
    data = b"\0" * 20
    stored = keep(store, data=data)
    assert stored.path == store.root / "unknown/unknown/1.2.3.4.5.dcm"
    assert stored.path.read_bytes().endswith(data)
    assert "expected a VR" in stored.remark


def test_an_empty_data_set_is_an_instance_too(store):
    assert begin(store).commit().path == store.root / "unknown/unknown/1.2.3.4.5.dcm"


def test_files_and_directories_are_not_for_the_world(tmp_path):
    before = os.umask(0)
    try:
        store = open_store(tmp_path / "new" / "store")
        stored = keep(store)
    finally:
        os.umask(before)
    assert stat.S_IMODE(stored.path.stat().st_mode) == 0o640
    for directory in (stored.path.parent, stored.path.parent.parent, store.root):
        assert stat.S_IMODE(directory.stat().st_mode) == 0o750
    assert stat.S_IMODE((store.root / ".incoming").stat().st_mode) == 0o700


def test_the_umask_is_respected(store):
    before = os.umask(0o077)
    try:
        stored = keep(store)
    finally:
        os.umask(before)
    assert stat.S_IMODE(stored.path.stat().st_mode) == 0o600


def test_nothing_is_visible_before_commit_and_nothing_at_all_after_discard(store):
    incoming = begin(store)
    incoming.write(data_set())
    assert visible(store.root) == []
    assert temporaries(store.root) == ["0"]
    incoming.discard()
    incoming.discard()
    assert visible(store.root) == temporaries(store.root) == []
    with pytest.raises(LocalProtocolError):
        incoming.commit()
    assert status_of(lambda: incoming.write(b"late")) == 0xA700


def test_discard_after_commit_leaves_the_instance(store):
    incoming = begin(store)
    stored = incoming.commit()
    incoming.discard()
    assert stored.path.exists()
    with pytest.raises(LocalProtocolError):
        incoming.commit()


def test_discard_during_commit_leaves_the_file_to_the_commit(store, monkeypatch):
    """An association may be lost while its worker thread waits for the disk."""
    incoming = begin(store)
    fsync = os.fsync

    def meanwhile(fd: int) -> None:
        incoming.discard()
        fsync(fd)

    monkeypatch.setattr(os, "fsync", meanwhile)
    assert incoming.commit().path.exists()
    assert temporaries(store.root) == []


def test_no_descriptor_is_left_open_and_nothing_needs_the_garbage_collector(store):
    before = os.listdir("/proc/self/fd")
    gc.collect()
    gc.disable()
    try:
        for number in range(20):
            keep(store, f"1.{number}")
            begin(store, f"2.{number}").discard()
        assert gc.collect() == 0
    finally:
        gc.enable()
    assert os.listdir("/proc/self/fd") == before


def test_short_writes_are_completed(store, monkeypatch):
    write = os.write
    monkeypatch.setattr(os, "write", lambda fd, piece: write(fd, bytes(piece[:7])))
    stored = keep(store)
    assert stored.path.read_bytes().endswith(data_set())
    assert pydicom.dcmread(stored.path).PatientName == "Doe"


# --- hostile names ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("uid", ["", "..", "1.2/../../3", "1.02", "1.2.", "1." * 32 + "1", "1.2\0", "١.٢"])
def test_what_is_no_uid_is_refused_before_a_file_is_made(store, uid):
    assert status_of(lambda: begin(store, uid)) == 0x0117
    assert status_of(lambda: store.begin(uid, "1.2.3", EXPLICIT_VR_LITTLE_ENDIAN, "A", "B")) == 0x0122
    assert temporaries(store.root) == []


ugly = st.text("./\\%01289aA \0\n\u00e9\udcff-~", max_size=20)


@settings(max_examples=40, deadline=None)
@given(instance=st.one_of(ugly, st.just("1.2.3")), titles=st.tuples(ugly, ugly), uids=st.tuples(ugly, ugly))
def test_nothing_a_peer_sends_leaves_the_root(instance, titles, uids):
    with tempfile.TemporaryDirectory() as outside:
        root = Path(outside) / "a" / "store"
        store = open_store(root, "{CallingAETitle}/{CalledAETitle}/" + BY_SERIES, fsync=Durability.NONE)
        study, series = (uid.encode("utf-8", "surrogateescape") for uid in uids)
        if not is_valid_uid(instance):
            assert status_of(lambda: store.begin(CT, instance, EXPLICIT_VR_LITTLE_ENDIAN, *titles)) == 0x0117
            return
        incoming = store.begin(CT, instance, EXPLICIT_VR_LITTLE_ENDIAN, *titles)
        incoming.write(data_set(study, series))
        stored = incoming.commit()
        store.close()
        assert len(stored.path.relative_to(root).parts) == 5
        assert stored.path.resolve() == (root / visible(root)[0]).resolve()
        assert [path for path in Path(outside).rglob("*") if path.is_file() and root not in path.parents] == []


# --- duplicates -------------------------------------------------------------------------------------------------------

OTHER = data_set(name=b"Roe ")


@pytest.fixture(params=["hard links", "no hard links"])
def either_way(request: pytest.FixtureRequest) -> None:
    if request.param == "no hard links":
        request.getfixturevalue("no_hard_links")


@pytest.mark.usefixtures("either_way")
@pytest.mark.parametrize("durability", Durability)
@pytest.mark.parametrize(("policy", "second", "answer"), [
    (Duplicates.IDENTICAL, data_set(), Outcome.ALREADY_PRESENT),
    (Duplicates.IDENTICAL, OTHER, 0x0111),
    (Duplicates.IDENTICAL, data_set() + b"\0", 0x0111),
    (Duplicates.KEEP, data_set(), Outcome.ALREADY_PRESENT),
    (Duplicates.KEEP, OTHER, Outcome.ALREADY_PRESENT),
    (Duplicates.REFUSE, data_set(), 0x0111),
    (Duplicates.REPLACE, data_set(), Outcome.REPLACED),
    (Duplicates.REPLACE, OTHER, Outcome.REPLACED),
])
def test_a_second_copy_follows_the_policy(tmp_path, policy, second, answer, durability):
    store = open_store(tmp_path, duplicates=policy, fsync=durability)
    first = keep(store)
    incoming = begin(store)
    incoming.write(second)
    if isinstance(answer, Outcome):
        again = incoming.commit()
        assert (again.outcome, again.path) == (answer, first.path)
    else:
        assert status_of(incoming.commit) == answer
    assert visible(tmp_path) == ["1.2.3/1.2.3.4/1.2.3.4.5.dcm"]
    assert first.path.read_bytes().endswith(second if policy is Duplicates.REPLACE else data_set())
    assert temporaries(tmp_path) == []


def test_identical_looks_at_data_set_and_transfer_syntax_and_not_at_who_sent_it(store):
    keep(store)
    other_sender = store.begin(CT, "1.2.3.4.5", EXPLICIT_VR_LITTLE_ENDIAN, "A_LONGER_TITLE", "X")
    other_sender.write(data_set())
    assert other_sender.commit().outcome is Outcome.ALREADY_PRESENT
    unknown = [begin(store, "1.9", syntax) for syntax in (EXPLICIT_VR_LITTLE_ENDIAN, IMPLICIT_VR_LITTLE_ENDIAN)]
    assert unknown[0].commit().path.parent == store.root / "unknown/unknown"
    assert status_of(unknown[1].commit) == 0x0111


def test_large_data_sets_are_compared_to_the_last_byte(tmp_path):
    store = open_store(tmp_path, FLAT)
    data = os.urandom(700_001)
    keep(store, data=data)
    assert keep(store, data=data).outcome is Outcome.ALREADY_PRESENT
    assert status_of(lambda: keep(store, data=data[:-1] + bytes([data[-1] ^ 1]))) == 0x0111


@pytest.mark.parametrize("policy", [Duplicates.IDENTICAL, Duplicates.KEEP, Duplicates.REPLACE])
def test_success_is_never_answered_for_a_place_that_is_taken_by_no_file(tmp_path, policy):
    store = open_store(tmp_path, FLAT, duplicates=policy)
    (tmp_path / "1.2.3.4.5.dcm").mkdir()
    assert status_of(lambda: keep(store)) == 0xA700
    assert temporaries(tmp_path) == []


def test_a_file_that_is_no_part_10_file_is_not_identical(tmp_path):
    store = open_store(tmp_path, FLAT)
    (tmp_path / "1.2.3.4.5.dcm").write_bytes(data_set())
    assert status_of(lambda: keep(store)) == 0x0111


@pytest.mark.usefixtures("either_way")
@pytest.mark.parametrize("policy", Duplicates)
def test_of_many_at_once_exactly_one_wins(tmp_path, policy):
    store = open_store(tmp_path, duplicates=policy, fsync=Durability.NONE)
    count = 8
    start = threading.Barrier(count)

    def commit(incoming: IncomingFile) -> Outcome | int:
        start.wait()
        try:
            return incoming.commit().outcome
        except ServiceError as refused:
            return refused.status

    for number in range(12):
        bodies = [data_set(name=b"%4d" % sender) for sender in range(count)]
        files = [begin(store, f"1.{number}") for _ in range(count)]
        for incoming, body in zip(files, bodies, strict=True):
            incoming.write(body)
        with ThreadPoolExecutor(count) as pool:
            outcomes = list(pool.map(commit, files))
        assert outcomes.count(Outcome.STORED) == 1
        others = [outcome for outcome in outcomes if outcome is not Outcome.STORED]
        assert set(others) == {
            {Duplicates.REPLACE: Outcome.REPLACED, Duplicates.KEEP: Outcome.ALREADY_PRESENT}.get(policy, 0x0111)
        }
        kept = (tmp_path / f"1.2.3/1.2.3.4/1.{number}.dcm").read_bytes()
        if policy is not Duplicates.REPLACE:
            assert kept.endswith(bodies[outcomes.index(Outcome.STORED)])
        assert kept.endswith(tuple(bodies))
    assert temporaries(tmp_path) == []


# --- what success promises --------------------------------------------------------------------------------------------


@pytest.fixture
def events(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What reaches the disk and when: the names of what is synced, and `link`."""
    seen: list[str] = []
    fsync, link = os.fsync, os.link

    def spy_fsync(fd: int) -> None:
        fsync(fd)
        seen.append(os.path.basename(os.readlink(f"/proc/self/fd/{fd}")))

    def spy_link(source: str, target: str) -> None:
        link(source, target)
        seen.append("link")

    monkeypatch.setattr(os, "fsync", spy_fsync)
    monkeypatch.setattr(os, "link", spy_link)
    return seen


def test_full_syncs_the_file_before_and_every_new_directory_after_it_appears(tmp_path, events):
    store = open_store(tmp_path / "a" / "store")
    assert events == ["link", "store", "a", tmp_path.name]
    events.clear()
    keep(store, "1.1")
    assert events == ["0", "link", "1.2.3.4", "1.2.3", "store"]
    events.clear()
    keep(store, "1.2")
    assert events == ["1", "link", "1.2.3.4"]
    events.clear()
    keep(store, "1.1")  # already there: but perhaps not yet on disk
    assert events == ["2", "1.1.dcm", "1.2.3.4"]


def test_a_directory_that_was_removed_and_made_again_is_synced_again(store, events):
    keep(store)
    shutil.rmtree(store.root / "1.2.3")
    events.clear()
    keep(store)
    assert events == ["1", "link", "1.2.3.4", "1.2.3", "store"]


def test_remembering_what_is_synced_is_bounded(store, events, monkeypatch):
    monkeypatch.setattr(filesystem, "_MOST_SETTLED", 2)
    for series in (b"1.1 ", b"1.2 ", b"1.1 "):
        events.clear()
        keep(store, f"9{len(visible(store.root))}", data_set(series=series))
        assert events[-3:] == [series.decode().strip(), "1.2.3", "store"]


def test_none_syncs_nothing(tmp_path, events):
    store = open_store(tmp_path, fsync=Durability.NONE)
    keep(store)
    assert set(events) == {"link"}


@pytest.mark.parametrize("stage", ["fsync", "link", "close"])
def test_a_failing_disk_is_answered_a700_and_leaves_no_temporary(store, monkeypatch, stage):
    incoming = begin(store)
    incoming.write(data_set())
    close = os.close

    def fail(fd: int | str, *_more: object) -> None:
        if stage == "close":
            close(fd)
        raise OSError(errno.EIO, "the disk is gone", "/secret/path")

    monkeypatch.setattr(os, stage, fail)
    with pytest.raises(ServiceError) as caught:
        incoming.commit()
    monkeypatch.undo()
    assert caught.value.status == 0xA700
    assert caught.value.comment == "store cannot keep the instance"
    assert "/secret/path" in str(caught.value.__cause__)
    assert visible(store.root) == temporaries(store.root) == []


# --- a full or unwritable disk ----------------------------------------------------------------------------------------

ROOM = 256 << 10


@pytest.fixture(params=["tmpfs", "limit"])
def small(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """Room for 256 KiB in tmp_path: a file system of that size, where we may mount one, and the kernel's own limit."""
    if request.param == "tmpfs":
        mount = shutil.which("mount")
        command = [mount or "mount", "-t", "tmpfs", "-o", f"size={ROOM}", "tmpfs", str(tmp_path)]
        if mount is None or subprocess.run(command, capture_output=True, check=False).returncode:
            pytest.skip("may not mount a tmpfs here; the same is tested with RLIMIT_FSIZE")
        yield "store is full"
        subprocess.run(["umount", "--lazy", str(tmp_path)], check=True)
    else:
        soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
        resource.setrlimit(resource.RLIMIT_FSIZE, (ROOM, hard))
        yield "store cannot keep the instance"
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


@pytest.mark.parametrize("piece_size", [10_000, 2])
def test_a_full_disk_is_a700_and_the_store_lives_on(tmp_path, small, piece_size):
    store = open_store(tmp_path)
    incoming = begin(store)
    incoming.write(data_set())

    def write_on() -> None:
        while True:
            incoming.write(bytes(piece_size))  # 10 000 fit in part at last and are written short, 2 do not

    with pytest.raises(ServiceError) as caught:
        write_on()
    assert (caught.value.status, caught.value.comment) == (0xA700, small)
    assert isinstance(caught.value.__cause__, OSError)
    assert visible(tmp_path) == temporaries(tmp_path) == []  # its room is free at once
    with pytest.raises(LocalProtocolError):
        incoming.commit()
    stored = keep(store, "1.9", data_set() + bytes(ROOM - 100_000))
    assert stored.outcome is Outcome.STORED
    store.close()


def unprivileged(function: Callable[[], None]) -> None:
    """Run `function` in a child that is not root, whoever runs the tests; its failure is ours."""
    child = os.fork()
    if child == 0:
        try:
            if os.geteuid() == 0:
                os.setgroups([])
                os.setgid(65534)
                os.setuid(65534)
            function()
        except BaseException:
            traceback.print_exc()
            os._exit(1)
        os._exit(0)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


@pytest.fixture
def public() -> Iterator[Path]:
    """A directory that everyone may look into: pytest's own are closed to others."""
    directory = Path(tempfile.mkdtemp())
    directory.chmod(0o555)
    yield directory
    directory.chmod(0o755)
    shutil.rmtree(directory)


def test_a_root_that_cannot_be_made_is_a_configuration_error(public):
    def attempt() -> None:
        with pytest.raises(ConfigurationError, match=r"expected a directory .* got Permission denied"):
            open_store(public / "store")

    unprivileged(attempt)


def test_a_root_in_which_files_cannot_appear_is_a_configuration_error(public):
    public.chmod(0o755)
    (public / ".incoming").mkdir()
    (public / ".incoming").chmod(0o777)
    public.chmod(0o555)

    def attempt() -> None:
        with pytest.raises(ConfigurationError, match=r"expected a directory .* got Permission denied"):
            open_store(public)

    unprivileged(attempt)
    assert [path.name for path in (public / ".incoming").iterdir()] == ["lock"]


def test_a_root_that_is_a_file_is_a_configuration_error(tmp_path):
    (tmp_path / "store").write_bytes(b"")
    for root in (tmp_path / "store", tmp_path / "store" / "below"):
        with pytest.raises(ConfigurationError) as caught:
            open_store(root)
        assert f"store {root}: expected a directory" in str(caught.value)
        assert "\n" not in str(caught.value)


def test_incoming_on_another_file_system_is_a_configuration_error(tmp_path):
    (tmp_path / ".incoming").symlink_to("/proc")
    with pytest.raises(ConfigurationError, match=r"expected \.incoming on the file system of the store"):
        open_store(tmp_path)


def test_a_store_that_vanishes_is_a700_until_it_is_back(tmp_path):
    store = open_store(tmp_path / "store")
    incoming = begin(store)
    incoming.write(data_set())
    (tmp_path / "store").rename(tmp_path / "away")
    assert status_of(lambda: begin(store)) == 0xA700
    assert status_of(incoming.commit) == 0xA700
    assert not (tmp_path / "store").exists()  # a mount point must not be filled while nothing is mounted on it
    (tmp_path / "away").rename(tmp_path / "store")
    assert keep(store).path.exists()


def test_a_dangling_link_in_the_way_is_a700(store):
    (store.root / "1.2.3").symlink_to("nowhere")
    assert status_of(lambda: keep(store)) == 0xA700
    assert temporaries(store.root) == []


# --- opening, closing, sweeping ---------------------------------------------------------------------------------------


def test_only_an_open_store_begins(tmp_path):
    store = FileStore(tmp_path, layout=Layout())
    with pytest.raises(LocalProtocolError):
        begin(store)
    store.open()
    incoming = begin(store)
    store.close()
    store.close()
    assert status_of(incoming.commit) == 0xA700
    with pytest.raises(LocalProtocolError):
        begin(store)
    assert [path.name for path in (tmp_path / ".incoming").iterdir()] == ["lock"]
    assert visible(tmp_path) == []


def test_opening_leaves_nothing_visible(store):
    assert [path.name for path in store.root.iterdir()] == [".incoming"]


def test_two_live_stores_on_one_root_leave_each_other_alone(tmp_path):
    one = open_store(tmp_path)
    first = begin(one, "1.1")
    other = open_store(tmp_path)
    second = begin(other, "1.2")
    open_store(tmp_path).close()
    for incoming in (first, second):
        incoming.write(data_set())
        assert incoming.commit().outcome is Outcome.STORED
    one.close()
    assert keep(other, "1.3").outcome is Outcome.STORED
    assert len(visible(tmp_path)) == 3


VICTIM = """
import sys
from dimsetls.services.filesystem import FileStore
from dimsetls.services.layout import Layout

store = FileStore(sys.argv[1], layout=Layout("{SOPInstanceUID}"))
store.open()
incoming = store.begin("1.2.3", "1.2.3.4", "1.2.840.10008.1.2", "A", "B")
incoming.write(bytes(100_000))
print("writing", flush=True)
sys.stdin.read()
"""


def test_kill_9_leaves_nothing_visible_and_the_next_open_sweeps(tmp_path):
    victim = subprocess.Popen(
        [sys.executable, "-c", VICTIM, str(tmp_path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
        cwd=Path(__file__).parents[2],
    )
    assert victim.stdin is not None
    assert victim.stdout is not None
    with victim.stdin, victim.stdout:
        assert victim.stdout.readline() == b"writing\n"
        open_store(tmp_path).close()
        assert temporaries(tmp_path) == ["0"]  # it lives: its file is not ours to sweep
        victim.send_signal(signal.SIGKILL)
        victim.wait()
    assert visible(tmp_path) == []
    assert temporaries(tmp_path) == ["0"]
    half_made = tmp_path / ".incoming" / "half-made"  # killed before its lock was there
    half_made.mkdir()
    (tmp_path / ".probe").touch()
    store = open_store(tmp_path)
    assert temporaries(tmp_path) == []
    assert not half_made.exists()
    assert len(list((tmp_path / ".incoming").iterdir())) == 2
    assert [path.name for path in tmp_path.iterdir()] == [".incoming"]
    store.close()
