"""A directory of worklist files, as DCMTK's wlmscpfs has them: ``*.wl``, each a scheduled procedure."""

from __future__ import annotations

import os
import threading
from collections.abc import AsyncGenerator, Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Final

from pydicom.dataset import Dataset
from twisted.internet.threads import deferToThread
from twisted.logger import Logger

from ...association.datasets import UnreadableDataSet, decode
from ...association.part10 import read_file_meta
from ...association.requests import FindRequest
from ...dimse.status import Status
from ...errors import ServiceError
from ...uids import IMPLICIT_VR_LITTLE_ENDIAN

log = Logger(namespace="dimsetls.worklist")

_SUFFIX: Final = ".wl"
_CHUNK: Final = 50  # files that are looked at, and then matched, at once
_LARGEST: Final = 1 << 20


@dataclass(frozen=True, slots=True)
class _File:
    """What a file held when it had this stamp; None: nothing that can be used."""

    stamp: tuple[int, ...]
    scheduled: Dataset | None


class WorklistDirectory:
    """What the files of a directory schedule; calling it gives the `steps` of a `Worklist`.

    Each query looks at the directory. A file is read again when it has changed; one that cannot be used is left out,
    and named in the log once. Who writes files should write them under another name and rename them.
    """

    def __init__(self, directory: Path, *, run: Callable[[Callable[[], Any]], Any] = deferToThread) -> None:
        self._directory = directory
        self._run = run
        self._files: dict[str, _File] = {}
        self._lock = threading.Lock()  # around `_files`, as queries run in several threads

    async def __call__(self, request: FindRequest | None = None) -> AsyncGenerator[Dataset, None]:
        """Yield what is scheduled, in the order of the names; waits for the disk in a thread."""
        try:
            names: Sequence[str] = await self._run(self._names)
        except OSError as error:
            raise ServiceError(Status.UNABLE_TO_PROCESS, "the worklist cannot be read") from error
        for at in range(0, len(names), _CHUNK):
            chunk = names[at:at + _CHUNK]
            found: list[Dataset] = await self._run(partial(self._read_all, chunk))
            for scheduled in found:
                yield scheduled

    def _names(self) -> list[str]:
        names = sorted(name for name in os.listdir(self._directory)
                       if name.lower().endswith(_SUFFIX) and not name.startswith("."))  # fmt: skip
        with self._lock:
            for name in self._files.keys() - set(names):
                del self._files[name]
        return names

    def _read_all(self, names: Sequence[str]) -> list[Dataset]:
        with self._lock:
            found = [self._current(name) for name in names]
        return [scheduled for scheduled in found if scheduled is not None]

    def _current(self, name: str) -> Dataset | None:
        path, known = self._directory / name, self._files.get(name)
        stamp: tuple[int, ...] = ()
        try:
            status = path.stat()
            stamp = status.st_ino, status.st_mtime_ns, status.st_ctime_ns, status.st_size
            if known is not None and known.stamp == stamp:
                return known.scheduled
            scheduled, problem = _read(path, status.st_size)
        except FileNotFoundError:  # it was taken away meanwhile
            return None
        except OSError as error:
            scheduled, problem = None, f"expected a file that can be read, got {error.strerror}"
        if problem:
            log.warn("{path} is not on the worklist: {problem}", path=str(path), problem=problem)
        self._files[name] = _File(stamp, scheduled)
        return scheduled


def _read(path: Path, size: int) -> tuple[Dataset | None, str]:
    """What a file schedules, or what is wrong with it; without a word of what is in it. Raises OSError."""
    if size > _LARGEST:
        return None, f"expected at most {_LARGEST} bytes, got {size}"
    with open(path, "rb") as file:
        meta = read_file_meta(file)
        file.seek(meta.data_set_offset if meta else 0)
        data = file.read(_LARGEST)
    try:
        # One without file meta information is a bare data set in the default transfer syntax, as wlmscpfs takes it.
        scheduled = decode(data, (meta and meta.transfer_syntax_uid) or IMPLICIT_VR_LITTLE_ENDIAN)
        steps = scheduled.get("ScheduledProcedureStepSequence")
    except UnreadableDataSet:
        return None, "expected a DICOM file, got something else, or a part of one"
    if not steps:
        return None, "expected a Scheduled Procedure Step Sequence with a step, got none"
    return scheduled, ""
