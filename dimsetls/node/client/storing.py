"""What `store` does and prints: files on their way to a peer, over several associations, and what became of each."""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace

from twisted.internet.defer import CancelledError

from ...association import AssociationPool, RequestedAssociation, Stored
from ...dimse.status import Status, describe
from ...errors import DimsetlsError
from ..arguments import ExitStatus
from .gathering import File, gather, remaining
from .journal import Journal
from .progress import Progress, size_text
from .running import run
from .target import Target


@dataclass(slots=True)
class Report:
    """What became of the files, true at every moment; the sentences are for people."""

    stored: int = 0
    size: int = 0
    already_acknowledged: int = 0
    passed_over: int = 0
    warnings: list[tuple[str, str]] = field(default_factory=list)
    failed: list[tuple[str, str]] = field(default_factory=list)
    is_interrupted: bool = False
    is_something_lost: bool = False
    is_without_association: bool = False
    """There never was one."""

    @property
    def status(self) -> ExitStatus:
        if self.is_interrupted:
            return ExitStatus.INTERRUPTED
        if self.is_without_association:
            return ExitStatus.NO_ASSOCIATION
        return ExitStatus.FAILED if self.failed or self.is_something_lost else ExitStatus.DONE


def store(parsed: argparse.Namespace, target: Target) -> int:
    """C-STORE of files, and the report of it."""
    journal = None if parsed.journal is None else Journal(parsed.journal)
    found = gather(parsed.places, convert=parsed.convert)
    for _, sentence in found.problems:
        sys.stderr.write(f"{sentence}\n")
    files = found.files if journal is None else remaining(found.files, journal.acknowledged)
    report = Report(passed_over=found.passed_over, failed=list(found.problems))
    report.already_acknowledged = len(found.files) - len(files)
    if not found.files and not found.problems:
        report.failed.append((" ".join(parsed.places), "there is no DICOM file"))
        sys.stderr.write("there is no DICOM file in what was named\n")
    progress = Progress(len(files), sum(file.size for file in files))
    begun = time.monotonic()
    if files:
        sending = _Sending(target, files, report, progress, journal)
        try:
            run(lambda: sending.send(parsed.associations))
        except CancelledError:
            report.is_interrupted = True
        except OSError as error:
            report.failed.append((parsed.journal, f"journal {parsed.journal} cannot be written: {error.strerror}"))
            sys.stderr.write(f"{report.failed[-1][1]}; nothing more was sent\n")
    if journal is not None:
        journal.close()
    (_print_json if parsed.json else _print_text)(target, report, time.monotonic() - begun)
    return report.status


class _Sending:
    """Sends files and keeps the `report`, whatever ends it."""

    def __init__(
        self, target: Target, files: Sequence[File], report: Report, progress: Progress, journal: Journal | None
    ) -> None:
        self._target = target
        self._waiting = dict(enumerate(files))
        self._report = report
        self._progress = progress
        self._journal = journal

    async def send(self, associations: int) -> None:
        """Send them all; what fails is in the report. Raises OSError where the journal cannot be written."""
        self._report.is_without_association = True
        remote = self._target.remote
        remote = replace(remote, associations=associations, opened=self._noticing(remote.opened))
        instances = [file.instance for file in self._waiting.values()]
        try:
            async with (
                AssociationPool(associations=associations) as pool,
                pool.store(remote, instances, associations=associations, sent=self._progress.advance) as sending,
            ):
                async for stored in sending:
                    self._take(self._waiting.pop(stored.number), stored)
        except DimsetlsError as error:
            self._progress.note(f"{self._target}: {words(error)}; {len(self._waiting)} files were not sent")
            self._report.failed += [(file.path, f"not sent: {words(error)}") for file in self._waiting.values()]
        finally:
            self._progress.clear()

    def _noticing(
        self, opened: Callable[[RequestedAssociation], object] | None
    ) -> Callable[[RequestedAssociation], object]:
        def notice(association: RequestedAssociation) -> None:
            self._report.is_without_association = False
            if opened is not None:
                opened(association)

        return notice

    def _take(self, file: File, stored: Stored) -> None:
        if stored.error is not None or stored.response is None:
            sentence = words(stored.error) if stored.error is not None else "it was not answered"
            self._report.failed.append((file.path, sentence))
            self._progress.note(f"{file.path}: {sentence}")
            self._progress.finish(file.size, f"failed {file.path}")
            return
        self._report.stored += 1
        self._report.size += file.size
        if self._journal is not None:
            self._journal.add(file.instance.sop_instance_uid)  # a warning says that it was stored (PS3.4 B.2.3)
        if (status := stored.response.status) != Status.SUCCESS:
            self._report.warnings.append((file.path, describe(status)))
            # The one warning that says that something is lost (PS3.4 Table B.2-1).
            self._report.is_something_lost |= status == Status.ELEMENTS_DISCARDED
            self._progress.note(f"{file.path}: stored with a warning, {describe(status)}")
        self._progress.finish(file.size, f"stored {file.path}")


def _print_json(target: Target, report: Report, seconds: float) -> None:
    failed, warned = ([{"path": path, "sentence": sentence} for path, sentence in each]
                      for each in (report.failed, report.warnings))  # fmt: skip
    sys.stdout.write(json.dumps({
        "peer": str(target), "stored": report.stored, "bytes": report.size, "seconds": round(seconds, 3),
        "alreadyAcknowledged": report.already_acknowledged, "passedOver": report.passed_over,
        "interrupted": report.is_interrupted, "warnings": warned, "failed": failed,
    }) + "\n")  # fmt: skip


def _print_text(target: Target, report: Report, seconds: float) -> None:
    rate = f" ({size_text(report.size)} in {seconds:.1f} s)" if report.stored else ""
    others = (
        (len(report.warnings), "with a warning"), (len(report.failed), "failed"),
        (report.already_acknowledged, "acknowledged before"), (report.passed_over, "passed over: no instance"),
    )  # fmt: skip
    counted = "".join(f"; {number} {what}" for number, what in others if number)
    interrupted = "; interrupted" if report.is_interrupted else ""
    sys.stdout.write(f"{target}: {report.stored} stored{rate}{counted}{interrupted}\n")


def words(error: Exception) -> str:
    """An exception in one sentence."""
    if isinstance(error, OSError):
        return f"{error.filename or 'a file'} cannot be read: {error.strerror or error}"
    return str(error) or type(error).__name__
