"""From the wire to the disk: an instance is there whole and answered, or it is not there."""

from __future__ import annotations

import resource
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from pydicom.filereader import read_file_meta_info
from twisted.internet.defer import Deferred

from dimsetls.association.events import AssociationEnded
from dimsetls.association.part10 import read_file_meta
from dimsetls.dimse.status import Status
from dimsetls.services import storage as storage_module
from dimsetls.services.filesystem import Durability, FileStore
from dimsetls.services.index import Index
from dimsetls.services.known import transfer_syntaxes
from dimsetls.services.layout import BY_SERIES, FLAT, Layout
from dimsetls.services.provider import Services
from dimsetls.services.storage import Storage, all_transfer_syntaxes
from dimsetls.services.verification import Verification
from dimsetls.testing import Peer, tamper
from dimsetls.uids import EXPLICIT_VR_LITTLE_ENDIAN, IMPLEMENTATION_CLASS_UID, IMPLICIT_VR_LITTLE_ENDIAN, VERIFICATION
from dimsetls.ul.pdus import Abort, ReleaseRQ

from ..association.stage import (
    CT,
    INSTANCE,
    Stage,
    context,
    data_set,
    echo,
    open_fragment,
    request,
    responses,
    statuses,
    store,
    store_command,
)

DATA = bytes(number % 251 for number in range(200_000))
PRIVATE = "1.2.826.0.1.3680043.8.498.1"


@pytest.fixture
def store_at(tmp_path: Path) -> Iterator[Callable[..., FileStore]]:
    """Opens a file store in the test's directory, flat and without fsync unless told otherwise."""
    opened = []

    def make(layout: str = FLAT, **options: Any) -> FileStore:
        file_store = FileStore(tmp_path / "store", layout=Layout(layout), **({"fsync": Durability.NONE} | options))
        file_store.open()
        opened.append(file_store)
        return file_store

    yield make
    for file_store in opened:
        file_store.close()


@pytest.fixture
def file_store(store_at: Callable[..., FileStore]) -> FileStore:
    return store_at()


def visible(file_store: FileStore) -> list[str]:
    return sorted(str(path.relative_to(file_store.root)) for path in file_store.root.rglob("*")
                  if path.is_file() and ".incoming" not in path.parts)  # fmt: skip


def incoming(file_store: FileStore) -> list[str]:
    return [path.name for path in Path(file_store._incoming).iterdir() if path.name != "lock"]


def data_set_of(path: Path) -> bytes:
    with path.open("rb") as file:
        meta = read_file_meta(file)
    assert meta is not None
    return path.read_bytes()[meta.data_set_offset :]


# What is stored ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("over_tls", [False, True])
def test_an_instance_is_stored_bit_for_bit_with_its_file_meta(file_store, authority, over_tls):
    stage = Stage(Storage(file_store), tls=authority if over_tls else None)
    assert statuses(stage.associated().send(store(DATA))) == [(1, 0)]
    assert visible(file_store) == [f"{INSTANCE}.dcm"]
    path = file_store.root / f"{INSTANCE}.dcm"
    assert data_set_of(path) == DATA
    meta = read_file_meta_info(path)
    assert (meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID) == (CT, INSTANCE)
    assert meta.TransferSyntaxUID == EXPLICIT_VR_LITTLE_ENDIAN
    assert (meta.ImplementationClassUID, meta.SendingApplicationEntityTitle) == (IMPLEMENTATION_CLASS_UID, "PEER")
    assert meta.ReceivingApplicationEntityTitle == "DIMSETLS"
    assert incoming(file_store) == []


def test_every_transfer_syntax_is_stored_as_it_comes(file_store):
    peer = Stage(Storage(file_store)).associated(
        *(context(2 * number + 1, CT, uid) for number, uid in enumerate(all_transfer_syntaxes()))
    )
    assert all(each.accepted for each in peer.received[0].presentation_contexts)
    for number, uid in enumerate(all_transfer_syntaxes()):
        data = b"bytes in " + uid.encode()
        assert statuses(peer.send(store(data, 1, 2 * number + 1, instance=f"1.2.{number}"))) == [(1, 0)]
        with (path := file_store.root / f"1.2.{number}.dcm").open("rb") as file:
            assert read_file_meta(file).transfer_syntax_uid == uid
        assert data_set_of(path) == data


def test_an_empty_data_set_is_an_instance_too(file_store):
    assert statuses(Stage(Storage(file_store)).associated().send(store(b""))) == [(1, 0)]
    assert data_set_of(file_store.root / f"{INSTANCE}.dcm") == b""


def test_many_instances_on_several_associations_interleaved(file_store):
    stage = Stage(Storage(file_store))
    peers = [stage.associated() for _ in range(3)]
    wires = [store(DATA, instance=f"1.2.{number}") for number in range(3)]
    for at in range(0, len(wires[0]), 10_000):
        for peer, wire in zip(peers, wires, strict=True):
            peer.send(wire[at : at + 10_000])
    assert [statuses(peer.received[1:]) for peer in peers] == [[(1, 0)]] * 3
    assert visible(file_store) == ["1.2.0.dcm", "1.2.1.dcm", "1.2.2.dcm"]
    assert all(data_set_of(file_store.root / name) == DATA for name in visible(file_store))


def test_a_layout_that_has_to_do_without_a_value_is_told_without_patient_data(store_at, logged):
    file_store = store_at(BY_SERIES)
    peer = Stage(Storage(file_store)).associated()
    assert statuses(peer.send(store(b"Doe^Jane, and no DICOM at all"))) == [(1, 0)]
    assert visible(file_store) == [f"unknown/unknown/{INSTANCE}.dcm"]
    [line] = [event for event in logged if event["log_namespace"] == "dimsetls.storage"]
    assert "the layout went without" in line["log_format"]
    assert "Doe" not in line["remark"]


# What is answered with a failure -------------------------------------------------------------------------------------


def test_the_second_of_two_different_instances_is_refused_and_the_first_stays(file_store):
    peer = Stage(Storage(file_store)).associated()
    assert statuses(peer.send(store(DATA, 1), store(DATA, 2), store(b"other", 3))) == [
        (1, 0), (2, 0), (3, Status.DUPLICATE_SOP_INSTANCE),
    ]  # fmt: skip
    assert data_set_of(file_store.root / f"{INSTANCE}.dcm") == DATA
    assert incoming(file_store) == []


@pytest.mark.parametrize("instance", ["../../etc/passwd", "1.2.03", "1..2", "1." + "2" * 63, "..", "/"])
def test_an_instance_uid_that_is_none_never_becomes_a_path(file_store, instance):
    peer = Stage(Storage(file_store)).associated()
    [response] = responses(peer.send(store(DATA, instance=instance)))
    assert response.status == Status.INVALID_SOP_INSTANCE
    assert visible(file_store) == incoming(file_store) == []
    assert statuses(peer.send(store(DATA, 2))) == [(2, 0)]


def test_a_disk_that_takes_no_more_is_a700_after_the_whole_data_set_and_leaves_nothing(file_store):
    peer = Stage(Storage(file_store)).associated()
    wire = store(DATA)
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, before[1]))
    try:
        assert peer.send(wire[:150_000]) == []
        assert incoming(file_store) == []
        assert statuses(peer.send(wire[150_000:])) == [(1, Status.OUT_OF_RESOURCES)]
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert visible(file_store) == []
    assert statuses(peer.send(store(DATA, 2))) == [(2, 0)]


def test_a_store_that_is_gone_is_a700(file_store):
    peer = Stage(Storage(file_store)).associated()
    Path(file_store._incoming, "lock").unlink()
    Path(file_store._incoming).rmdir()
    [response] = responses(peer.send(store(DATA)))
    assert response.status == Status.OUT_OF_RESOURCES
    assert str(file_store.root) not in response.error_comment


# What is not stored --------------------------------------------------------------------------------------------------


def abort(peer: Peer) -> None:
    peer.send(bytes(30_000), Abort(0, 0))


def reset(peer: Peer) -> None:
    peer.end.abortConnection()
    peer._link.pump()


def break_record(peer: Peer) -> None:
    peer.end.on_the_way = tamper
    peer.send(bytes(30_000), data_set(b""))


def release(peer: Peer) -> None:
    peer.send(bytes(30_000), ReleaseRQ())


def rest(peer: Peer) -> None:
    peer._link.pump([10.0] * 40)


@pytest.mark.parametrize("end", [abort, reset, break_record, release, rest, Peer.cut, Peer.close])
def test_an_association_that_ends_in_the_middle_leaves_nothing_and_hurts_no_other(file_store, authority, end):
    stage = Stage(Storage(file_store), tls=authority)
    other, peer = stage.associated(calling="OTHER"), stage.associated()
    wire = store(DATA, instance="1.2.9")
    other.send(wire[:100_000])
    peer.send(store(DATA), store_command(2, instance="1.2.5"), open_fragment(50_000), bytes(20_000))
    assert len(incoming(file_store)) == 2
    end(peer)
    if end is not rest:
        assert len(incoming(file_store)) == 1
        assert statuses(other.send(wire[100_000:])) == [(1, 0)]
    peer.close()
    assert incoming(file_store) == []
    assert visible(file_store) == [f"{INSTANCE}.dcm"] + (["1.2.9.dcm"] if end is not rest else [])
    ended = next(event for event in stage.events if isinstance(event, AssociationEnded)
                 and event.parties.calling_ae_title == "PEER")  # fmt: skip
    assert (ended.operations, ended.instances) == (1, 1)


# Durability ----------------------------------------------------------------------------------------------------------


class Threads:
    """Stands for the thread pool: the test says when a thread has done its work."""

    def __init__(self) -> None:
        self.work: list[tuple[Callable[[], Any], Deferred[Any]]] = []

    def defer(self, call: Callable[[], Any]) -> Deferred[Any]:
        deferred: Deferred[Any] = Deferred()
        self.work.append((call, deferred))
        return deferred

    def run(self) -> None:
        work, self.work = self.work, []
        for call, deferred in work:
            deferred.callback(call())


@pytest.fixture
def threads(monkeypatch: pytest.MonkeyPatch) -> Threads:
    threads = Threads()
    monkeypatch.setattr(storage_module, "deferToThread", threads.defer)
    return threads


def test_success_is_answered_only_when_a_thread_has_brought_the_instance_to_disk(store_at, threads):
    file_store = store_at(fsync=Durability.FULL)
    stage = Stage(Services(Storage(file_store), Verification()))
    peer, other = stage.associated(), stage.associated()
    assert peer.send(store(DATA)) == []
    assert visible(file_store) == []
    assert statuses(other.send(echo())) == [(1, 0)]  # nobody else waits for the disk
    threads.run()
    assert visible(file_store) == [f"{INSTANCE}.dcm"]
    before = len(peer.received)
    stage.link.pump()
    assert statuses(peer.received[before:]) == [(1, 0)]


def test_what_is_indexed_is_committed_in_a_thread_with_and_without_fsync(store_at, threads, tmp_path):
    file_store = store_at(index=Index(tmp_path / "index.db", durable=False))
    stage = Stage(Storage(file_store))
    peer = stage.associated()
    assert peer.send(store(DATA)) == []
    assert file_store.index.find(INSTANCE) is None
    threads.run()
    assert file_store.index.find(INSTANCE).path == f"{INSTANCE}.dcm"


def test_an_association_that_ends_while_a_thread_commits_leaves_a_whole_instance(store_at, threads):
    file_store = store_at(fsync=Durability.FULL)
    stage = Stage(Storage(file_store))
    peer = stage.associated()
    peer.send(store(DATA))
    peer.cut()
    assert len(incoming(file_store)) == 1
    threads.run()
    assert data_set_of(file_store.root / f"{INSTANCE}.dcm") == DATA
    assert incoming(file_store) == []
    assert stage.is_quiet
    assert stage.told(AssociationEnded).operations == 0


# What is supported ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("uid", "known", "unknown"), [
    (CT, True, True), (PRIVATE, False, True), ("1.2.840.10008.5.1.4.1.1.999", False, True),
    (VERIFICATION, False, False), ("1.2.840.10008.1.20.1", False, False), ("1.2.840.10008.1.3.10", False, False),
    ("1.2.840.10008.5.1.4.1.2.2.1", False, False), ("1.2.840.10008.5.1.4.31", False, False),
])  # fmt: skip
def test_what_can_be_stored(file_store, uid, known, unknown):
    assert (Storage(file_store).support(uid, None) is not None) is known
    assert (Storage(file_store, accept_unknown=True).support(uid, None) is not None) is unknown


def test_an_unknown_class_is_stored_if_that_is_wanted(file_store):
    peer = Stage(Storage(file_store, accept_unknown=True)).associated(context(3, PRIVATE))
    assert statuses(peer.send(store(DATA, sop_class=PRIVATE))) == [(1, 0)]
    assert data_set_of(file_store.root / f"{INSTANCE}.dcm") == DATA


def test_the_transfer_syntaxes_are_all_or_those_that_are_configured_in_that_order(file_store):
    assert Storage(file_store).support(CT, None).transfer_syntaxes == tuple(transfer_syntaxes().values())
    configured = (IMPLICIT_VR_LITTLE_ENDIAN, EXPLICIT_VR_LITTLE_ENDIAN)
    peer = Stage(Storage(file_store, transfer_syntaxes=configured)).peer()
    [answer] = peer.send(request(CT))
    assert answer.presentation_contexts[0].transfer_syntax == IMPLICIT_VR_LITTLE_ENDIAN


def test_storage_does_not_answer_verification_itself(file_store):
    [answer] = Stage(Storage(file_store)).peer().send(request(VERIFICATION, CT))
    assert [each.accepted for each in answer.presentation_contexts] == [False, True]
