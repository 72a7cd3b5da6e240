"""What is committed, and the reasons for what is not."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock

from dimsetls.dimse.status import FailureReason
from dimsetls.services.commitment import Reference, archived, holdings
from dimsetls.services.filesystem import Durability, FileStore

from ...association.stage import CT, MR
from ..archives import an_archive, keep
from .scene import InThisThread

ONE = Reference(CT, "1.1.1.1")


@pytest.fixture
def store(tmp_path: Path) -> Any:
    store = an_archive(tmp_path / "archive")
    keep(store)
    yield store
    store.close()


def judged(store: FileStore, *references: Reference, **options: Any) -> list[int | None]:
    assert store.index is not None
    judge = archived(InThisThread(store.index, "DIMSETLS", Clock()), store, **options)
    results: list[Any] = []
    Deferred.fromCoroutine(judge(references)).addCallback(results.extend)
    return results


def test_reasons(store: FileStore) -> None:
    references = [ONE, Reference(MR, "1.1.1.1"), Reference(CT, "9.9"), Reference("1.2.3", "9.9")]
    assert judged(store, *references) == [
        None, FailureReason.CLASS_INSTANCE_CONFLICT, FailureReason.NO_SUCH_OBJECT_INSTANCE,
        FailureReason.REFERENCED_SOP_CLASS_NOT_SUPPORTED,
    ]
    assert judged(store, references[-1], accept_unknown=True) == [FailureReason.NO_SUCH_OBJECT_INSTANCE]


def test_a_file_that_is_gone_or_cut_is_not_committed(store: FileStore) -> None:
    path = store.root / "1.1" / "1.1.1.1.dcm"
    with open(path, "ab") as file:
        file.write(b"\0")
    assert judged(store, ONE) == [FailureReason.PROCESSING_FAILURE]
    path.unlink()
    assert judged(store, ONE) == [FailureReason.NO_SUCH_OBJECT_INSTANCE]


def test_a_store_that_does_not_sync_is_synced(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    synced: list[Path] = []
    monkeypatch.setattr(holdings, "_sync", synced.append)
    for durability, expected in ((Durability.FULL, set()), (Durability.NONE, {"1.1.1.1.dcm", "1.1", "none"})):
        store = an_archive(tmp_path / durability.value, fsync=durability)
        keep(store)
        synced.clear()
        assert judged(store, ONE) == [None]
        assert {path.name for path in synced} == expected
        store.close()
