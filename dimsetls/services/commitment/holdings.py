"""Whether instances are kept: by the index, and by the disk itself."""

from __future__ import annotations

import os
from collections.abc import Awaitable, Callable, Mapping, Sequence
from pathlib import Path
from typing import TypeAlias

from ...dimse.status import FailureReason
from ..archive import Archive
from ..filesystem import FileStore
from ..index import Stored
from ..known import is_stored
from .references import Reference

Judge: TypeAlias = Callable[[Sequence[Reference]], Awaitable[Sequence[int | None]]]
"""Of each reference the Failure Reason (PS3.3 C.14.1.1), or None: responsibility for it is taken."""


def archived(archive: Archive, store: FileStore, *, accept_unknown: bool = False) -> Judge:
    """Commits to what is in the index of the store, if its file is there as it was stored.

    A store that does not sync what it takes has it synced now: what is committed outlives a loss of power.
    """

    async def judge(references: Sequence[Reference]) -> Sequence[int | None]:
        stored = await archive.find(reference.sop_instance_uid for reference in references)
        return await archive.run(lambda: _judged(store, stored, references, accept_unknown))

    return judge


def _judged(
    store: FileStore, stored: Mapping[str, Stored], references: Sequence[Reference], accept_unknown: bool
) -> list[int | None]:
    directories: set[Path] = set()
    reasons = [_reason(store, stored.get(each.sop_instance_uid), each, accept_unknown, directories)
               for each in references]  # fmt: skip
    for directory in directories:
        _sync(directory)
    return reasons


def _reason(
    store: FileStore, stored: Stored | None, reference: Reference, accept_unknown: bool, directories: set[Path]
) -> int | None:
    if stored is None:
        is_known = is_stored(reference.sop_class_uid, accept_unknown)
        return (FailureReason.NO_SUCH_OBJECT_INSTANCE if is_known
                else FailureReason.REFERENCED_SOP_CLASS_NOT_SUPPORTED)  # fmt: skip
    if stored.sop_class_uid != reference.sop_class_uid:
        return FailureReason.CLASS_INSTANCE_CONFLICT
    path = store.root / stored.path
    try:
        if path.stat().st_size != stored.size:
            return FailureReason.PROCESSING_FAILURE
        if not store.durable:
            _sync(path)
            directories.update(each for each in path.parents if each.is_relative_to(store.root))
    except FileNotFoundError:
        return FailureReason.NO_SUCH_OBJECT_INSTANCE
    except OSError:
        return FailureReason.PROCESSING_FAILURE
    return None


def _sync(path: Path) -> None:
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)
