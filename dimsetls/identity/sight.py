"""What of the stored instances a user may see: the conditions of the rules that let them query. All of it pure.

Each rule opens a view, and what any of them shows may be seen. Who looks in an archive for it is told by these values
alone; `services/visibility.py` makes a query of them.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, fields, replace
from typing import Final, TypeAlias

USER: Final = "{user}"
"""In a referring physician's name: the name of the user who asks."""

_WORDS: Final = {
    "modalities": "modality", "institutions": "institution", "patient_id_issuers": "issuer of patient ID",
    "referring_physicians": "referring physician", "stored_by": "stored by",
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class View:
    """The instances that meet every condition given, by what each says of itself; None: no condition.

    One that does not say what a condition is about does not meet it. Person names are compared as in queries,
    everything else letter by letter. `stored_by` is the calling AE title of the C-STORE.
    """

    modalities: frozenset[str] | None = None
    institutions: frozenset[str] | None = None
    patient_id_issuers: frozenset[str] | None = None
    referring_physicians: frozenset[str] | None = None
    stored_by: frozenset[str] | None = None
    days: int | None = None
    """Of studies whose date is today or up to so many days earlier; 0: of today. Later dates are in it."""

    @property
    def is_everything(self) -> bool:
        return self == View()

    @property
    def names_user(self) -> bool:
        """Whether it depends on who the user is."""
        return any(USER in name for name in self.referring_physicians or ())

    def for_user(self, name: str | None) -> View:
        """The view of one user; nobody is meant where a name is wanted and there is none."""
        if self.referring_physicians is None:
            return self
        names = (each.replace(USER, name or "") for each in self.referring_physicians if name or USER not in each)
        return replace(self, referring_physicians=frozenset(names))

    def __str__(self) -> str:
        return "everything" if self.is_everything else f"instances with {' and '.join(self._conditions())}"

    def _conditions(self) -> Iterator[str]:
        for field in fields(self):
            value = getattr(self, field.name)
            if isinstance(value, int):
                yield f"study date up to {value} days ago"
            elif value is not None:
                yield f"{_WORDS[field.name]} {' or '.join(sorted(value)) or 'nobody'}"


Sight: TypeAlias = tuple[View, ...]
"""What any of the views shows; none of them: nothing."""

UNRESTRICTED: Final = View()
EVERYTHING: Final[Sight] = (UNRESTRICTED,)
