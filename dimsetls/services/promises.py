"""What a store promises: what Success means, and what becomes of a duplicate."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import Final

NOTES: Final = "notes"
"""Among the incoming files of a store: the paths of those that may have appeared and not be indexed, one a line."""


class Duplicates(Enum):
    """What happens to an instance whose place is taken."""

    IDENTICAL = "identical"  # keep the first; Success if the data sets are the same, else 0111
    REPLACE = "replace"      # the last one wins
    KEEP = "keep"            # keep the first; Success whatever the second holds
    REFUSE = "refuse"        # keep the first; 0111


class Durability(Enum):
    """What Success promises: that the instance outlives a power failure, or only the end of this process."""

    FULL = "full"  # the file, and every directory created or changed for it, is on disk
    NONE = "none"  # it is in the page cache


class Outcome(Enum):
    """What a commit did."""

    STORED = "stored"
    REPLACED = "replaced"
    ALREADY_PRESENT = "already present"


@dataclass(frozen=True, slots=True)
class StoredInstance:
    """A committed instance: `size` in bytes is that of the received file `name` with its meta information.

    `remark` is empty, or one sentence for the log on why the layout had to do without the data set's UIDs.
    """

    name: str
    size: int
    outcome: Outcome
    remark: str = ""

    @property
    def path(self) -> Path:
        return Path(self.name)
