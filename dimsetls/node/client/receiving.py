"""What a C-GET brings, as files: each appears whole under its SOP Instance UID, or not at all, and within bounds."""

from __future__ import annotations

import errno
import os
import tempfile
from itertools import count
from pathlib import Path
from types import TracebackType
from typing import BinaryIO

from ...association.requests import StoreRequest
from ...association.stream import Piece
from ...dimse.status import Status
from ...errors import ConfigurationError, ServiceError
from ...services.part10 import file_meta, same_data_set
from .progress import Progress

_MODE = 0o640  # patient data: the group may read, the world may not; the umask takes more away
_NO_HARD_LINKS = (errno.EPERM, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS, errno.EMLINK)


class Receiving:
    """Takes instances into a directory, which is made where it is missing; a context manager.

    What is there already is left as it is: the same instance is taken as received before, another is refused, unless
    `overwrite` is given. What a peer sends becomes a path only as a valid UID (PS3.5 §9.1: digits and dots), for
    requests with any other are refused before they come here. Where a bound is passed, or the disk takes no more, the
    association is aborted, and `stopped` says why: a C-CANCEL would leave it to the peer when to end.
    """

    def __init__(
        self, directory: Path, progress: Progress, *, most_files: int, most_bytes: int, overwrite: bool = False
    ) -> None:
        self.received = self.size = self.already = 0
        self.failed: list[tuple[str, str]] = []
        """SOP Instance UID, and why it is not there."""
        self.stopped = ""
        self._directory = directory
        self._progress = progress
        self._most_files, self._most_bytes = most_files, most_bytes
        self._taken = 0
        self._overwrite = overwrite
        self._numbers = count()

    def __enter__(self) -> Receiving:
        try:
            self._directory.mkdir(parents=True, exist_ok=True)
            self._hidden = tempfile.TemporaryDirectory(prefix=".dimsetls-get-", dir=self._directory)
        except OSError as error:
            raise ConfigurationError(
                f"{self._directory}: found that nothing can be written there ({error.strerror}), expected a directory "
                "for what comes"
            ) from None
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._hidden.cleanup()

    async def store(self, request: StoreRequest) -> int:
        """Take one instance; for `Association.get`."""
        uid, parties = request.sop_instance_uid, request.association.parties
        begun = self._taken
        if self.stopped or self.received + self.already + len(self.failed) >= self._most_files:
            raise self._stop(request, f"more than {self._most_files} instances came, which --max-files permits")
        path = f"{self._hidden.name}/{next(self._numbers)}"
        try:
            with open(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, _MODE), "wb") as file:
                bounded = _Bounded(file, self, request)
                bounded.write(file_meta(
                    request.sop_class_uid, uid, request.transfer_syntax, parties.called_ae_title,
                    parties.calling_ae_title,
                ))  # fmt: skip
                await request.data.copy_to(bounded)
            self._appear(path, uid)
        except OSError as error:
            sentence = f"{self._directory} takes no more ({error.strerror or error}); nothing after it was received"
            raise self._stop(request, sentence) from error
        finally:
            if os.path.lexists(path):
                os.unlink(path)
        self._progress.finish(self._taken - begun, f"received {uid}")
        return Status.SUCCESS

    def take(self, size: int, request: StoreRequest) -> None:
        """Count what comes. Raises ServiceError where it is too much."""
        self._taken += size
        if self._taken > self._most_bytes:
            raise self._stop(request, f"more than {self._most_bytes} bytes came, which --max-bytes permits")
        self._progress.advance(size)

    def _stop(self, request: StoreRequest, sentence: str) -> ServiceError:
        self.stopped = self.stopped or sentence
        request.association.abort()
        return ServiceError(Status.OUT_OF_RESOURCES, "no more is taken")

    def _appear(self, path: str, uid: str) -> None:
        """Give a complete file its name. Raises ServiceError where another instance has it."""
        final = self._directory / f"{uid}.dcm"
        size = os.path.getsize(path)
        if self._overwrite:
            os.replace(path, final)
        else:
            try:
                _place(path, final)
            except FileExistsError:
                if final.is_file() and same_data_set(path, str(final)):
                    self.already += 1
                    return
                sentence = f"{final} is there and is another; --overwrite replaces it"
                self.failed.append((uid, sentence))
                raise ServiceError(Status.DUPLICATE_SOP_INSTANCE, "another instance has this UID") from None
        self.received += 1
        self.size += size


class _Bounded:
    """A file that is told how much may come."""

    def __init__(self, file: BinaryIO, receiving: Receiving, request: StoreRequest) -> None:
        self._file, self._receiving, self._request = file, receiving, request

    def write(self, piece: Piece) -> None:
        self._receiving.take(len(piece), self._request)
        self._file.write(piece)


def _place(path: str, final: Path) -> None:
    """Raises FileExistsError, atomically where the file system has hard links."""
    try:
        os.link(path, final)
    except OSError as error:
        if error.errno not in _NO_HARD_LINKS:
            raise
        if os.path.lexists(final):
            raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), str(final)) from None
        os.rename(path, final)
