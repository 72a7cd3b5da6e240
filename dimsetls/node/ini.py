"""The syntax of the INI file: text in, sections with line numbers and every mistake out.

A dialect without surprises, read by hand because configparser stops at its first mistake and joins indented lines
in silence. A section is `[kind name]`, an option `name = value`. White space around either means nothing. A comment
begins with # or ; at the start of a line or after white space. A value that ends in a comma goes on in the next line.
Nothing is substituted: a value means what it says.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import NamedTuple

_COMMENT = re.compile(r"(?:^|\s)[#;].*")
_HEADER = re.compile(r"\[\s*([^\s\[\]]+)(?:\s+(\S.*?))?\s*\]")
_CONTROL = re.compile(r"[\x00-\x08\x0a-\x1f\x7f-\x9f]")


class Entry(NamedTuple):
    """The text of a value, and the line it is in."""

    text: str
    line: int


class Mistake(NamedTuple):
    """What is wrong with a line; `sentence` has found and expected."""

    line: int
    sentence: str


@dataclass(frozen=True, slots=True)
class Section:
    """One `[kind name]` as written, with its options."""

    kind: str
    name: str
    line: int
    entries: dict[str, Entry] = field(default_factory=dict)

    def __str__(self) -> str:
        return f"[{self.kind} {self.name}]" if self.name else f"[{self.kind}]"


def parse(text: str) -> tuple[list[Section], list[Mistake]]:
    """Read all of `text`; what cannot be read is left out of the sections and named in the mistakes.

    No line is shown in a mistake as it stands: it might be a key pasted into the wrong file.
    """
    sections: list[Section] = []
    mistakes: list[Mistake] = []
    current: Section | None = None
    orphan = True  # one sentence for all options before the first section
    unfinished = ""  # name of the option whose value ended in a comma

    for number, raw in enumerate(text.split("\n"), start=1):
        line = _COMMENT.sub("", raw.rstrip("\r")).strip()
        if not line:
            continue
        if _CONTROL.search(line):
            mistakes.append(Mistake(number, "found a control character, expected printable text"))
            continue
        if line.startswith("["):
            header = _HEADER.fullmatch(line)
            current, orphan, unfinished = None, False, ""
            if header is None:
                mistakes.append(Mistake(number, "found [ at the start of a line, expected [kind] or [kind name]"))
            else:
                current = Section(header[1].lower(), header[2] or "", number)
                sections.append(current)
            continue
        if unfinished and current is not None:
            entry = current.entries[unfinished]
            current.entries[unfinished] = Entry(f"{entry.text} {line}", entry.line)
            unfinished = unfinished if line.endswith(",") else ""
            continue
        name, equals, value = (part.strip() for part in line.partition("="))
        name = name.lower()
        if not equals or not name:
            mistakes.append(Mistake(number, "found a line that is neither, expected [section] or option = value"))
        elif current is None:
            if orphan:
                mistakes.append(Mistake(number, "found an option before the first section, expected [kind] above it"))
                orphan = False
        elif name in current.entries:
            again = f"found a second time, expected once (first in line {current.entries[name].line})"
            mistakes.append(Mistake(number, f"{current} {name[:40]}: {again}"))
        else:
            current.entries[name] = Entry(value, number)
            unfinished = name if value.endswith(",") else ""
    return sections, mistakes
