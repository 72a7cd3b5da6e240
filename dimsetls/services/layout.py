"""Where in a store an instance goes: a template that an operator writes, checked once, filled in for each instance.

What a peer sends becomes a path only here. A UID does if it is valid (PS3.5 §9.1: digits and dots, never a dot first),
an AE title with every other character than letters, digits, `_` and `-` encoded as %XX. So no value can hold a slash,
begin with a dot or be empty, and no peer can name a place outside the store.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Final

from ..errors import ConfigurationError
from ..uids import is_valid_uid
from .elements import SERIES_INSTANCE_UID, STUDY_INSTANCE_UID

BY_SERIES: Final = "{StudyInstanceUID}/{SeriesInstanceUID}/{SOPInstanceUID}.dcm"
FLAT: Final = "{SOPInstanceUID}.dcm"

UNKNOWN: Final = "unknown"
"""Stands for a value that is missing or cannot be part of a path."""

DATA_SET_TAGS: Final = {"StudyInstanceUID": STUDY_INSTANCE_UID, "SeriesInstanceUID": SERIES_INSTANCE_UID}
"""Placeholders whose values are in the data set only; the others are known before it comes."""

_PLACEHOLDER: Final = re.compile(r"\{([^{}]*)\}")
_NOT_IN_TITLES: Final = re.compile(rb"[^A-Za-z0-9_-]")
_LONGEST_COMPONENT: Final = 255  # bytes, NAME_MAX of every common file system


def _uid(value: str) -> str:
    return value if is_valid_uid(value) else UNKNOWN


def _ae_title(value: str) -> str:
    text = value.strip(" ").encode("ascii", "replace")
    return _NOT_IN_TITLES.sub(lambda character: b"%%%02X" % ord(character[0]), text).decode("ascii") or UNKNOWN


# How a value becomes (part of) a path component, and the most bytes it can then have.
_PLACEHOLDERS: Final[dict[str, tuple[Callable[[str], str], int]]] = {
    "StudyInstanceUID": (_uid, 64),
    "SeriesInstanceUID": (_uid, 64),
    "SOPInstanceUID": (_uid, 64),
    "SOPClassUID": (_uid, 64),
    "CallingAETitle": (_ae_title, 3 * 16),
    "CalledAETitle": (_ae_title, 3 * 16),
}


class Layout:
    """The path of an instance inside its store, by `template`.

    `needs` names the tags whose values must be taken from the data set. Raises ConfigurationError, one sentence for
    everything that is wrong with the template.
    """

    __slots__ = ("_fill", "needs", "template")

    def __init__(self, template: str = BY_SERIES) -> None:
        names = _PLACEHOLDER.findall(template)
        if problems := _problems(template, names):
            raise ConfigurationError(*(f"layout {template!r}: {problem}" for problem in problems))
        self.template = template
        self.needs = frozenset(DATA_SET_TAGS[name] for name in names if name in DATA_SET_TAGS)
        self._fill = {name: _PLACEHOLDERS[name][0] for name in names}

    def __eq__(self, other: object) -> bool:
        return self.template == other.template if isinstance(other, Layout) else NotImplemented

    def __hash__(self) -> int:
        return hash(self.template)

    def path(self, values: Mapping[str, str]) -> str:
        """The relative path for `values`, by placeholder name; what is missing or not valid becomes `unknown`."""
        return self.template.format_map({name: fill(values.get(name, "")) for name, fill in self._fill.items()})


def _problems(template: str, names: list[str]) -> list[str]:
    problems = [
        f"expected a placeholder of {', '.join(_PLACEHOLDERS)}, got {{{name}}}; the nearest is {{{_nearest(name)}}}"
        for name in names if name not in _PLACEHOLDERS
    ]
    literal = _PLACEHOLDER.sub("", template)
    if "{" in literal or "}" in literal:
        problems.append("expected every { and } to enclose a placeholder, got one alone; remove it")
    if not literal.isprintable():
        problems.append("expected printable characters, got a control character; remove it")
    if "SOPInstanceUID" not in names:
        problems.append("expected {SOPInstanceUID} in it, got a path that different instances share; add it")
    if template.startswith("/"):
        problems.append("expected a path relative to the store, got an absolute one; remove the leading /")
    for component in template.removeprefix("/").split("/"):
        if not component:
            problems.append("expected a name between slashes, got none; remove the extra /")
        elif component.startswith("."):
            problems.append(f"expected names that do not begin with a dot, got {component!r}; rename it")
        elif _longest(component) > _LONGEST_COMPONENT:
            problems.append(f"expected names of at most {_LONGEST_COMPONENT} bytes, got {component!r}, "
                            f"which can have {_longest(component)}; put a / between its parts")
        if _ambiguous(component):
            problems.append("expected {SOPInstanceUID} to be set apart from another placeholder by more than digits "
                            f"and dots, got {component!r}; put a / or - between them")
    return problems


def _nearest(name: str) -> str:
    from difflib import get_close_matches  # for who makes a mistake

    lower = {known.lower(): known for known in _PLACEHOLDERS}
    return lower[get_close_matches(name.lower(), lower, n=1, cutoff=0.0)[0]]


def _longest(component: str) -> int:
    literal = _PLACEHOLDER.sub("", component)
    return len(literal.encode()) + sum(_PLACEHOLDERS.get(n, (None, 0))[1] for n in _PLACEHOLDER.findall(component))


def _ambiguous(component: str) -> bool:
    """Whether two different SOP Instance UIDs could give the same name: 1.2 and 3.4 side by side are 1.23.4."""
    parts = _PLACEHOLDER.split(component)  # literal, name, literal, name, … literal
    return any(
        "SOPInstanceUID" in (parts[at - 1], parts[at + 1]) and not parts[at].strip("0123456789.")
        for at in range(2, len(parts) - 1, 2)
    )
