"""What an option and a section of the INI file are, before there is any: the words `options` is written in."""

from __future__ import annotations

from dataclasses import dataclass

from .values import Reference, ValueType


@dataclass(frozen=True, slots=True)
class Option:
    """One option. `default` is written as in the file; None: it must be given; empty: it may be left out."""

    name: str
    type: ValueType | Reference
    default: str | None
    doc: str
    example: str = ""


@dataclass(frozen=True, slots=True)
class SectionKind:
    """One kind of section; `named` is the type of NAME, or None where there is one such section without a name."""

    kind: str
    named: ValueType | None
    doc: str
    options: tuple[Option, ...]
