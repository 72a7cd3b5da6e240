"""Modality Worklist as SCP: C-FIND over whatever tells which procedure steps are scheduled."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Callable
from typing import TYPE_CHECKING, TypeAlias

from pydicom.dataset import Dataset

from ...association.requests import FindRequest
from ...dimse.status import Status
from ...uids import MODALITY_WORKLIST_FIND
from ..provider import ServiceProvider
from .matching import read_question

if TYPE_CHECKING:
    from ...association.outcomes import Match

Steps: TypeAlias = Callable[[FindRequest], AsyncIterator[Dataset]]
"""What is scheduled, as Datasets with the attributes of PS3.4 Table K.6-1: a Scheduled Procedure Step Sequence, the
requested procedure and the patient. All of it will do, as the worklist picks what matches; the request is for those who
can ask a database for less. It is asked for the next one when the peer has taken what matched before."""


class Worklist(ServiceProvider):
    """Answers from `steps`, for example an async generator function or a `WorklistDirectory`.

    Every attribute of the dictionary can be a key. One that a step has no value for matches, unless `unknown_matches`
    is off. Rules that limit what is seen of instances limit what is scheduled alike, but for who stored it.
    """

    abstract_syntaxes = (MODALITY_WORKLIST_FIND,)

    def __init__(self, steps: Steps, *, unknown_matches: bool = True) -> None:
        self._steps = steps
        self._unknown_matches = unknown_matches

    async def c_find(self, request: FindRequest) -> AsyncGenerator[Match, None]:
        """Yield what matches, as fast as the peer takes it."""
        question = read_question(await request.identifier())
        status = Status.PENDING_WARNING if question.unsupported else Status.PENDING
        steps = self._steps(request)
        try:
            async for scheduled in steps:
                for answer in question.answers(scheduled, request.sees, self._unknown_matches):
                    yield status, answer
        finally:
            if hasattr(steps, "aclose"):
                await steps.aclose()
