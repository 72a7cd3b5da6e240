"""Where others plug in: what keeps performed procedure steps."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from pydicom.dataset import Dataset
from zope.interface import Interface


class IStepStore(Interface):
    """Where performed procedure steps are kept; `StepFiles` is one. What it has answered outlives the process."""

    def create(sop_instance_uid: str, attributes: Dataset) -> Awaitable[None]:
        """Keep a new step. Raises ServiceError (0111H) where there is one of that UID."""

    def read(sop_instance_uid: str) -> Awaitable[Dataset | None]:
        """The step as it is; None: there is none."""

    def change(sop_instance_uid: str, change: Callable[[Dataset], Dataset]) -> Awaitable[Dataset | None]:
        """Keep what `change` makes of the step, and return it; None: there is none.

        Nobody else changes the step meanwhile, and what `change` raises leaves it as it was.
        """
