"""What `get` and `move` do and print."""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Callable, Coroutine
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from twisted.internet.defer import CancelledError

from ...association import as_scp, propose
from ...association.responses import Retrieval
from ...association.retrieving import MOST
from ...dimse.messages import RetrieveResponse
from ...dimse.status import describe
from ...errors import AssociationError, DimsetlsError, LocalProtocolError, OperationFailed
from ..arguments import ExitStatus
from . import querying
from .foresight import contexts_for, listed, sop_class, transfer_syntax, usual
from .progress import Progress, size_text
from .receiving import Receiving
from .running import NoAssociation, calling, run
from .target import Target

if TYPE_CHECKING:
    from pydicom.dataset import Dataset

    from ...services.models import Model


@dataclass(slots=True)
class Retrieved:
    """How a retrieval stands, true at every moment; the sentences are for people."""

    response: RetrieveResponse | None = None
    """The last one."""
    failed_uids: tuple[str, ...] = ()
    problems: list[str] = field(default_factory=list)
    is_interrupted: bool = False

    async def follow(self, retrieval: Retrieval, progress: Progress | None = None) -> None:
        """To its end. Raises as it does, and AssociationError where it has none."""
        number = 0
        try:
            async for response in retrieval:
                self.response, number = response, number + 1
                if number > 2 * MOST:
                    raise AssociationError(f"the peer sent {number} pending responses, for {MOST} instances at most")
                if progress is not None and response.number_of_remaining_suboperations is not None:
                    progress.reach(self.done, self.done + response.number_of_remaining_suboperations)
        finally:
            if isinstance(retrieval.response, RetrieveResponse):
                self.response = retrieval.response
            # What a peer calls a UID need not be one, and is printed.
            self.failed_uids = tuple(
                "".join(each if each.isprintable() else "?" for each in uid)
                for uid in retrieval.failed_sop_instance_uids
            )

    def attempt(self, operation: Callable[[], Coroutine[Any, Any, None]]) -> None:
        """Run it to its end; what prevents that is a problem. Raises `NoAssociation`."""
        try:
            run(operation)
        except NoAssociation:
            raise
        except CancelledError:
            self.is_interrupted = True
        except DimsetlsError as error:
            self.problems.insert(0, str(error))

    @property
    def numbers(self) -> dict[str, int]:
        """Sub-operations as the peer counts them."""
        last = self.response
        return {
            "completed": (last and last.number_of_completed_suboperations) or 0,
            "failed": (last and last.number_of_failed_suboperations) or 0,
            "warning": (last and last.number_of_warning_suboperations) or 0,
        }

    @property
    def done(self) -> int:
        return sum(self.numbers.values())

    @property
    def status(self) -> str | None:
        return None if self.response is None else f"{self.response.status:04X}H"

    def tell(self, as_json: bool, report: dict[str, object], text: str) -> int:
        """Print the report, and the problems; returns the exit status."""
        sys.stderr.writelines(f"{problem}\n" for problem in self.problems)
        if as_json:
            report |= {"failedSOPInstanceUIDs": self.failed_uids, "interrupted": self.is_interrupted,
                       "problems": self.problems}  # fmt: skip
            sys.stdout.write(f"{json.dumps(report)}\n")
        else:
            sys.stdout.write(f"{text}{'; interrupted' if self.is_interrupted else ''}\n")
        if self.is_interrupted:
            return ExitStatus.INTERRUPTED
        return ExitStatus.FAILED if self.problems else ExitStatus.DONE


def get(parsed: argparse.Namespace, target: Target) -> int:
    """One C-GET; what comes is in files."""
    model, query = _what(parsed)
    try:
        kinds = [(sop_class(name), "") for name in parsed.sop_class]
        syntaxes = [transfer_syntax(name) for name in parsed.transfer_syntax]
    except ValueError as error:
        parsed.refuse(str(error))
    retrieved, progress = Retrieved(), Progress()
    begun = time.monotonic()
    with Receiving(
        Path(parsed.to), progress, most_files=parsed.max_files, most_bytes=parsed.max_bytes, overwrite=parsed.overwrite
    ) as receiving:
        getting = _Getting(target, model, query, kinds, syntaxes, receiving, retrieved, progress)
        retrieved.attempt(getting.get)
        progress.clear()
    _judge(retrieved, receiving, getting)
    numbers, seconds = retrieved.numbers, time.monotonic() - begun
    report: dict[str, object] = {
        "peer": str(target), "directory": parsed.to, "status": retrieved.status, "received": receiving.received,
        "bytes": receiving.size, "seconds": round(seconds, 3), "alreadyThere": receiving.already, **numbers,
    }  # fmt: skip
    text = f"{target}: {receiving.received} received into {parsed.to}"
    if receiving.received:
        text += f" ({size_text(receiving.size)} in {seconds:.1f} s)"
    if receiving.already:
        text += f"; {receiving.already} there before"
    return retrieved.tell(parsed.json, report, text)


class _Getting:
    """The two associations of `get`: one asks what there is, the other brings it."""

    def __init__(
        self, target: Target, model: Model, query: Dataset, kinds: list[tuple[str, str]], syntaxes: list[str],
        receiving: Receiving, retrieved: Retrieved, progress: Progress,
    ) -> None:  # fmt: skip
        self.expected: int | None = None
        """Instances that the peer listed."""
        self.refused = 0
        """Those that we answered with a failure, for whatever reason."""
        self.is_guess = False
        """Whether the peer did not say what to expect."""
        self._target, self._model, self._query = target, model, query
        self._named, self._syntaxes = kinds, syntaxes
        self._receiving, self._retrieved, self._progress = receiving, retrieved, progress

    async def get(self) -> None:
        kinds = self._named or await self._listed()
        if not kinds:
            return
        proposed = contexts_for(kinds, self._syntaxes)
        roles = as_scp(*dict.fromkeys(uid for uid, _ in proposed))
        contexts = (propose(self._model.get), *proposed)
        async with calling(self._target, contexts, roles) as association:
            try:
                retrieval = association.get(self._model.get, self._query, store=self._receiving.store)
                async with retrieval:
                    await self._retrieved.follow(retrieval)
            finally:
                self.refused = association.failures

    async def _listed(self) -> list[tuple[str, str]]:
        try:
            async with calling(self._target, [propose(self._model.find)]) as association:
                kinds = await listed(association, self._model, self._query)
        except (OperationFailed, LocalProtocolError):  # no query, and we do without
            kinds = None
        if kinds is None:
            self.is_guess = True
            return usual()
        self.expected = kinds.total()
        self._progress.expect(self.expected)
        return list(kinds)


def _judge(retrieved: Retrieved, receiving: Receiving, getting: _Getting) -> None:
    """Whatever is not as it should be becomes a problem: what was asked for and is not there is never passed over."""
    problems, numbers = retrieved.problems, retrieved.numbers
    there = receiving.received + receiving.already
    if receiving.stopped:
        problems[:] = [receiving.stopped]  # the rest follows from it
        return
    problems += [sentence for _, sentence in receiving.failed]
    if (unnamed := getting.refused - len(receiving.failed)) > 0:
        problems.append(f"{unnamed} instances were refused, as what came for their SOP Instance UID is no UID")
    ours = {uid for uid, _ in receiving.failed}
    problems += [f"{uid} failed, as the peer says" for uid in retrieved.failed_uids if uid not in ours]
    if retrieved.failed_uids and getting.is_guess:
        problems.append("the peer did not tell by C-FIND of which SOP classes its instances are, so the usual ones "
                        "were proposed; name what is missing by --sop-class, and by --transfer-syntax")
    if problems or retrieved.is_interrupted:
        return
    if numbers["failed"]:
        problems.append(f"{numbers['failed']} instances failed, as the peer says, which does not say which; it "
                        "answered " + describe(retrieved.response.status if retrieved.response else 0))  # fmt: skip
    elif numbers["completed"] + numbers["warning"] > there:
        problems.append(f"the peer says that it sent {numbers['completed'] + numbers['warning']} instances, {there} "
                        "came")
    elif getting.expected and getting.expected > there:
        problems.append(f"the peer listed {getting.expected} instances, {there} came")
    elif not there:
        problems.append("nothing matches, and nothing came")


def move(parsed: argparse.Namespace, target: Target) -> int:
    """One C-MOVE."""
    model, query = _what(parsed)
    retrieved, progress = Retrieved(), Progress()

    async def operation() -> None:
        async with (
            calling(target, [propose(model.move)]) as association,
            association.move(model.move, query, parsed.destination) as retrieval,
        ):
            await retrieved.follow(retrieval, progress)

    retrieved.attempt(operation)
    progress.clear()
    numbers, response = retrieved.numbers, retrieved.response
    retrieved.problems += [f"{uid} failed" for uid in retrieved.failed_uids]
    if numbers["failed"] and not retrieved.failed_uids:
        retrieved.problems.append(f"{numbers['failed']} instances failed; the peer does not say which")
    if numbers["warning"]:
        retrieved.problems.append(f"{numbers['warning']} instances were stored with a warning: {parsed.destination} "
                                  "may have left something out, and only its log says what")  # fmt: skip
    if not (retrieved.done or retrieved.problems or retrieved.is_interrupted):
        retrieved.problems.append("nothing matches, and nothing was sent")
    report = {"peer": str(target), "destination": parsed.destination, "status": retrieved.status, **numbers}
    words = f"; {describe(response.status)}" if response is not None and response.status else ""
    text = (f"{target}: {numbers['completed']} sent to {parsed.destination}, {numbers['failed']} failed, "
            f"{numbers['warning']} with a warning{words}")
    return retrieved.tell(parsed.json, report, text)


def _what(parsed: argparse.Namespace) -> tuple[Model, Dataset]:
    try:
        return querying.retrieval(parsed.level, parsed.model, parsed.keys)
    except ValueError as error:
        parsed.refuse(str(error))
        raise AssertionError from error  # argparse has ended the process
