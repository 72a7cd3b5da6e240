"""Performed procedure steps in a directory: each a file of DICOM JSON (PS3.18 Annex F), whole or as it was before."""

from __future__ import annotations

import fcntl
import json
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, Final

from pydicom.dataset import Dataset
from twisted.internet.threads import deferToThread
from zope.interface import implementer

from ...dimse.status import Status
from ...errors import ConfigurationError, ServiceError
from ...uids import PROCEDURE_STEP, is_valid_uid
from .interfaces import IStepStore

_FILE_MODE: Final = 0o640
_SUFFIX: Final = ".json"
_TEMPORARY: Final = ".new"  # under the lock, so there is one at most


@implementer(IStepStore)
class StepFiles:
    """Keeps each step in `directory` as ``<SOP Instance UID>.json``, in UTF-8; several processes may share it.

    What is answered is on disk. Other programs may read files at any time, and remove them.
    """

    def __init__(self, directory: Path, *, run: Callable[[Callable[[], Any]], Any] = deferToThread) -> None:
        self._directory = directory
        self._run = run

    def open(self) -> None:
        """Make the directory where it is missing, and prove that files can be kept there. Raises ConfigurationError."""
        try:
            self._directory.mkdir(0o750, parents=True, exist_ok=True)
            with self._locked():
                (self._directory / _TEMPORARY).unlink(missing_ok=True)
        except OSError as error:
            raise ConfigurationError(
                f"procedure steps {self._directory}: expected a directory in which this process can create and lock "
                f"files, got {error.strerror}; correct its path, owner or mode"
            ) from error

    async def create(self, sop_instance_uid: str, attributes: Dataset) -> None:
        await self._run(lambda: self._create(sop_instance_uid, attributes))

    async def read(self, sop_instance_uid: str) -> Dataset | None:
        step: Dataset | None = await self._run(lambda: self._read(sop_instance_uid))
        return step

    async def change(self, sop_instance_uid: str, change: Callable[[Dataset], Dataset]) -> Dataset | None:
        step: Dataset | None = await self._run(lambda: self._change(sop_instance_uid, change))
        return step

    # In threads ------------------------------------------------------------------------------------------------------

    def _create(self, uid: str, attributes: Dataset) -> None:
        text = _written(uid, attributes)
        with _kept(), self._locked():
            if self._path(uid).exists():
                raise ServiceError(Status.DUPLICATE_SOP_INSTANCE, "there is a performed procedure step of this UID")
            self._write(uid, text)

    def _read(self, uid: str) -> Dataset | None:
        with _kept():
            try:
                text = self._path(uid).read_text(encoding="utf-8")
            except FileNotFoundError:
                return None
        step = Dataset.from_json(text)
        for keyword in ("SOPClassUID", "SOPInstanceUID"):
            with suppress(AttributeError):
                delattr(step, keyword)
        return step

    def _change(self, uid: str, change: Callable[[Dataset], Dataset]) -> Dataset | None:
        with _kept(), self._locked():
            before = self._read(uid)
            if before is None:
                return None
            after = change(before)
            self._write(uid, _written(uid, after))
            return after

    def _write(self, uid: str, text: str) -> None:
        temporary = self._directory / _TEMPORARY
        fd = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, _FILE_MODE)
        with os.fdopen(fd, "w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        os.rename(temporary, self._path(uid))
        directory = os.open(self._directory, os.O_RDONLY | os.O_CLOEXEC)
        try:
            os.fsync(directory)
        finally:
            os.close(directory)

    def _path(self, uid: str) -> Path:
        if not is_valid_uid(uid):  # one that is valid is safe in a path
            raise ServiceError(Status.INVALID_SOP_INSTANCE, "expected a UID")
        return self._directory / f"{uid}{_SUFFIX}"

    @contextmanager
    def _locked(self) -> Iterator[None]:
        fd = os.open(self._directory / ".lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(fd, fcntl.LOCK_EX)
            yield
        finally:
            os.close(fd)


def _written(uid: str, attributes: Dataset) -> str:
    step = Dataset(dict(attributes.items()))
    step.SOPClassUID, step.SOPInstanceUID = PROCEDURE_STEP, uid
    try:
        content = step.to_json_dict()
    except Exception as error:  # whatever pydicom makes of values that are the peer's choice
        raise ServiceError(Status.INVALID_ATTRIBUTE_VALUE, "a value cannot be kept") from error
    content.pop("00080005", None)
    text = json.dumps(content, ensure_ascii=False)
    if not text.isascii():
        content["00080005"] = {"vr": "CS", "Value": ["ISO_IR 192"]}  # the only one that JSON has (PS3.18 F.2.2)
    return json.dumps(dict(sorted(content.items())), ensure_ascii=False, indent=1)


@contextmanager
def _kept() -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise ServiceError(Status.RESOURCE_LIMITATION, "the performed procedure step cannot be kept") from error
