"""Files on their way to a peer, one association after another, and what became of each."""

from __future__ import annotations

import io
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from ...association.instances import Instance, propose_for
from ...association.requested import RequestedAssociation
from ...dimse.status import Status, describe
from ...errors import AssociationRetired, DimsetlsError
from .gathering import File, batches
from .journal import Journal
from .progress import Progress
from .target import Target

_FRUITLESS = 3
"""So many associations that end, one after the other, without one instance stored are enough."""


@dataclass(slots=True)
class Report:
    """What became of the files; the sentences are for people."""

    stored: int = 0
    size: int = 0
    already_acknowledged: int = 0
    passed_over: int = 0
    warnings: list[tuple[str, str]] = field(default_factory=list)
    failed: list[tuple[str, str]] = field(default_factory=list)


class Sending:
    """Sends files and keeps the `report`, which is true at every moment, a cancellation included."""

    def __init__(
        self, target: Target, report: Report, progress: Progress, journal: Journal | None, *, convert: bool
    ) -> None:
        self.report = report
        self._target = target
        self._progress = progress
        self._journal = journal
        self._convert = convert

    async def send(self, files: Sequence[File]) -> None:
        """Send them all; what fails is in the report. Raises OSError where the journal cannot be written."""
        waiting: deque[File] = deque()
        try:
            for batch in batches(files):
                waiting.extend(batch)
                await self._send_batch(waiting)
        finally:
            self._progress.clear()

    async def _send_batch(self, waiting: deque[File]) -> None:
        contexts = propose_for(file.instance for file in waiting)
        fruitless = 0
        while waiting:
            stored = self.report.stored
            try:
                async with await self._target.open(contexts) as association:
                    while waiting and association.ended is None:
                        await self._send_one(association, waiting[0])
                        waiting.popleft()
            except AssociationRetired:
                continue  # nothing of the present file was sent
            except DimsetlsError as error:
                self._give_up(waiting, error)
                return
            fruitless = 0 if self.report.stored > stored else fruitless + 1
            if waiting and fruitless == _FRUITLESS:
                assert association.ended is not None
                self._give_up(waiting, association.ended)

    async def _send_one(self, association: RequestedAssociation, file: File) -> None:
        try:
            with _Metered(file.path, self._progress.advance) as source:
                response = await association.store(Instance.of(source, convert=self._convert))
        except AssociationRetired:
            raise
        except (DimsetlsError, OSError) as error:
            self._failed(file.path, words(error))
            self._progress.finish(file.size, f"failed {file.path}")
            return
        self.report.stored += 1
        self.report.size += file.size
        if self._journal is not None:
            self._journal.add(file.instance.sop_instance_uid)  # a warning says that it was stored (PS3.4 B.2.3)
        if response.status != Status.SUCCESS:
            self.report.warnings.append((file.path, describe(response.status)))
            self._progress.note(f"{file.path}: stored with a warning, {describe(response.status)}")
        self._progress.finish(file.size, f"stored {file.path}")

    def _failed(self, path: str, sentence: str) -> None:
        self.report.failed.append((path, sentence))
        self._progress.note(f"{path}: {sentence}")

    def _give_up(self, waiting: deque[File], error: DimsetlsError) -> None:
        """What waits is not sent; where nothing does, it is the release that failed."""
        sentence = words(error)
        if not waiting:
            self._failed(str(self._target), f"all was answered, but the association did not end in order: {sentence}")
            return
        self._progress.note(f"{self._target}: {sentence}; {len(waiting)} files were not sent")
        self.report.failed += [(file.path, f"not sent: {sentence}") for file in waiting]
        waiting.clear()


class _Metered(io.FileIO):
    """A file that tells how much of it was read."""

    def __init__(self, path: str, meter: Callable[[int], None]) -> None:
        super().__init__(path)
        self._meter = meter

    def read(self, size: int | None = -1) -> bytes:
        data = super().read(size) or b""
        self._meter(len(data))
        return data


def words(error: Exception) -> str:
    """An exception in one sentence."""
    if isinstance(error, OSError):
        return f"{error.filename or 'a file'} cannot be read: {error.strerror or error}"
    return str(error) or type(error).__name__
