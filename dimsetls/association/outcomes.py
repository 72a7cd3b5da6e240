"""What a handler answers with, by kind of operation."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeAlias

from .instances import Instance

if TYPE_CHECKING:
    from pydicom.dataset import Dataset

    from .requested import RequestedAssociation

    Match: TypeAlias = "Dataset | tuple[int, Dataset]"
    Association: TypeAlias = AbstractAsyncContextManager[RequestedAssociation]
    OpenDestination: TypeAlias = Callable[[Sequence[tuple[str, tuple[str, ...]]]], Association]
    NormalizedAnswer: TypeAlias = "int | tuple[int, Dataset | None]"
    Answer: TypeAlias = "NormalizedAnswer | AsyncIterator[Match] | AsyncIterator[Instance] | Move"


@dataclass(frozen=True, slots=True)
class Move:
    """What C-MOVE is to send, and how to reach its destination; None: it is not known.

    `open_destination` is given the presentation contexts in which the instances can be sent. It returns what
    `association` does: an association for ``async with``.
    """

    instances: AsyncIterator[Instance]
    open_destination: OpenDestination | None


@dataclass(slots=True)  # frozen, it takes four times as long to make, and one is made for each operation
class Outcome:
    """The end of an operation, as it is answered; `elements` are further ones of the response, by their names."""

    status: int
    comment: str = ""
    offending_elements: tuple[int, ...] = ()
    dataset: Dataset | None = None
    elements: Mapping[str, Any] | None = None

    @property
    def is_plain(self) -> bool:
        """Whether there is a status and no more."""
        return not (self.comment or self.offending_elements or self.elements or self.dataset is not None)
