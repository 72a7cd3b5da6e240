"""The INI file becomes a `Config`; or every reason why it cannot be used, in one run."""

from __future__ import annotations

from operator import itemgetter
from pathlib import Path
from typing import Any

from ..errors import ConfigurationError
from ..tls.policy import nearest
from .config import (
    AE,
    TLS,
    Certificate,
    Config,
    Forward,
    Limits,
    Listener,
    Node,
    Peer,
    ProcedureSteps,
    Storage,
    Worklist,
    collide,
)
from .contradictions import contradictions
from .credentials import Credential
from .identity.options import BACK_ENDS
from .identity.sections import BackEnd, Identity, Rule
from .ini import Section, parse
from .language import Option, SectionKind
from .loops import loops
from .options import SECTIONS
from .values import PASSPHRASE, Misfit, Reference, split

_CLASSES: dict[str, type] = {
    "node": Node, "listener": Listener, "tls": TLS, "certificate": Certificate, "ae": AE, "identity": Identity,
    "rule": Rule, "peer": Peer, "credential": Credential, "storage": Storage, "forward": Forward,
    "worklist": Worklist, "procedure-steps": ProcedureSteps, "limits": Limits,
}
_BACK_ENDS = frozenset(kind.kind for kind in BACK_ENDS)


def load(path: str | Path) -> Config:
    """Read the file at `path`; nothing that it points at is opened.

    Raises ConfigurationError with every problem of the file, one sentence each, in the order of its lines.
    """
    reading = Reading(Path(path))
    config = reading.config()
    reading.raise_problems()
    return config


class Reading:
    """One run over one file: the objects made so far, where they came from, and all problems found.

    A file that is not `to_serve` needs no listener: it says how to call peers.
    """

    def __init__(self, path: Path, *, to_serve: bool = True) -> None:
        self.path = path
        self._to_serve = to_serve
        self._problems: list[tuple[int, str]] = []
        self._lines: dict[tuple[str, str, str], int] = {}
        # kind → name → object, or None where the section is there but cannot be used
        self._made: dict[str, dict[str, Any]] = {kind: {} for kind in SECTIONS}

    def problem(self, kind: str, name: str, option: str, sentence: str) -> None:
        """Add a problem with what [kind name] says, at the line that says it; without `option`, with all of it."""
        line = self._lines.get((kind, name, option)) or self._lines.get((kind, name, ""), 0)
        place = f"{Section(kind, name, line)} {option}".rstrip()
        self._add(line, f"{place}: {sentence}")

    def raise_problems(self) -> None:
        """Raise ConfigurationError if there are any."""
        if self._problems:
            raise ConfigurationError(*(sentence for _, sentence in sorted(self._problems, key=itemgetter(0))))

    def config(self) -> Config:
        """Everything that could be made of the file; complete and coherent if there are no problems."""
        sections = [section for section in self._sections() if self._is_known(section)]
        for kind in reversed(SECTIONS.values()):  # what is referred to comes first
            for section in sections:
                if section.kind == kind.kind:
                    self._make(kind, section)
        node = self._made["node"].get("") or _defaults("node")
        made = {kind: tuple(filter(None, objects.values())) for kind, objects in self._made.items()}
        self._judge_listeners(made["listener"])
        back_ends = tuple(back_end for kind in BACK_ENDS for back_end in made[kind.kind])
        config = Config(
            self.path, node, made["listener"], made["tls"], made["certificate"], made["ae"], made["identity"],
            made["rule"], back_ends, made["peer"], made["credential"], made["storage"], made["forward"],
            made["worklist"], made["procedure-steps"], made["limits"],
        )  # fmt: skip
        for storage, sentence in loops(config):
            self.problem("storage", storage, "forward", sentence)
        return config

    def _add(self, line: int, sentence: str) -> None:
        sentence = f"{self.path}:{line}: {sentence}" if line else f"{self.path}: {sentence}"
        # What the file or a certificate says must neither break the line nor drive the terminal.
        self._problems.append((line, "".join(c if c.isprintable() else ascii(c)[1:-1] for c in sentence)))

    def _sections(self) -> list[Section]:
        text = ""
        try:
            content = self.path.read_bytes()
            text = content.decode("utf-8-sig")
        except UnicodeDecodeError as error:
            line = content.count(b"\n", 0, error.start) + 1
            self._add(line, "found bytes that are not UTF-8, expected a text file in UTF-8")
        except (OSError, ValueError) as error:  # ValueError: a NUL in the path
            reason = getattr(error, "strerror", None) or str(error)
            self._add(0, f"found no readable file ({reason}), expected a configuration; dimsetls init DIR writes one")
        self.raise_problems()  # nothing was read, so nothing more can be wrong
        sections, mistakes = parse(text)
        for mistake in mistakes:
            self._add(*mistake)
        return sections

    def _is_known(self, section: Section) -> bool:
        """Whether kind and name of the section are good; registers where it stands."""
        kind = SECTIONS.get(section.kind)
        if kind is None:
            misfit = Misfit(section.kind, f"a kind of section: {', '.join(SECTIONS)}", nearest(section.kind, SECTIONS))
            self._add(section.line, f"[{section.kind[:40]}]: {misfit}")
            return False
        if kind.named is None and section.name:
            self._add(section.line, f"[{section.kind}]: {Misfit(section.name, f'[{section.kind}] without a name')}")
            return False
        if kind.named is not None:
            try:
                kind.named.parse(section.name)
            except ValueError as error:
                self._add(section.line, f"[{section.kind} NAME]: {error}")
                return False
        first = self._lines.setdefault((section.kind, section.name, ""), section.line)
        if first != section.line:
            self._add(section.line, f"{section}: found a second time, expected once (first in line {first})")
        else:
            for option, entry in section.entries.items():
                self._lines[section.kind, section.name, option] = entry.line
        self._made[section.kind].setdefault(section.name, None)
        return True

    def _make(self, kind: SectionKind, section: Section) -> None:
        known = [option.name for option in kind.options]
        for name, entry in section.entries.items():
            if name not in known:
                misfit = Misfit(name, f"an option of [{kind.kind}]: {', '.join(known)}", nearest(name, known))
                self._add(entry.line, f"{section} {name[:40]}: {misfit}")
        found = {option.name.replace("-", "_"): self._value(section, option) for option in kind.options}
        if kind.kind == "listener" and "tls" not in section.entries and not found["plain"]:
            self._add(section.line, f"{section} tls: found nothing, expected the name of a [tls] section, "
                      "such as tls = secure")
        if any(value is _UNUSABLE for value in found.values()):
            return
        if kind.kind == "listener" and found["limits"] is None:
            found["limits"] = _defaults("limits")
        made: Any
        if kind.kind in _BACK_ENDS:
            made = BackEnd(kind.kind, section.name, found)
        else:
            made = _CLASSES[kind.kind](**found) if kind.named is None else _CLASSES[kind.kind](section.name, **found)
        for option_name, sentence in contradictions(made, section):
            line = section.entries[option_name].line if option_name in section.entries else section.line
            self._add(line, f"{section} {option_name}: {sentence}")
        if self._made[kind.kind].get(section.name) is None:
            self._made[kind.kind][section.name] = made

    def _value(self, section: Section, option: Option) -> Any:
        """The value of an option; its default if what is given is wrong; _UNUSABLE if there is none."""
        entry = section.entries.get(option.name)
        if entry is None:
            if option.default is None:
                self._add(section.line, f"{section} {option.name}: found nothing, expected {option.type.expected}, "
                          f"such as {option.name} = {option.example}")
                return _UNUSABLE
            return _default(option)
        try:
            if not entry.text:
                raise Misfit("", option.type.expected)
            if isinstance(option.type, Reference):
                return self._referred(option.type, entry.text)
            value = option.type.parse(entry.text)
            return self._beside(option, value)
        except ValueError as error:
            problems: tuple[str, ...] = (str(error),)
        except ConfigurationError as error:
            problems = error.problems
        for problem in problems:
            self._add(entry.line, f"{section} {option.name}: {problem}")
        return _UNUSABLE if option.default is None else _default(option)

    def _beside(self, option: Option, value: Any) -> Any:
        """The value, its paths beginning at the directory of the file."""
        here = self.path.absolute().parent
        if isinstance(value, Path):
            return here / value
        if isinstance(value, tuple):
            return tuple(self._beside(option, item) for item in value)
        if option.type is PASSPHRASE and not value.startswith("credential:"):
            return str(here / value)
        return value

    def _referred(self, reference: Reference, text: str) -> Any:
        if text == reference.any_word:
            return None
        names = split(text) if reference.many else [text]
        if isinstance(reference.kind, tuple):
            there = {f"{kind} {name}": made for kind in reference.kind for name, made in self._made[kind].items()}
            names = [" ".join(name.split()) for name in names]
        else:
            there = self._made[reference.kind]
        for name in names:
            if name not in there:
                raise Misfit(name, reference.expected, nearest(name, there))
        objects = tuple(there[name] for name in names)
        if not all(objects):  # the section is there, and its own problems are already reported
            return _UNUSABLE
        return objects if reference.many else objects[0]

    def _judge_listeners(self, listeners: tuple[Listener, ...]) -> None:
        if self._to_serve and not self._made["listener"]:
            self._add(0, "found no [listener NAME] section, expected at least one")
        for number, listener in enumerate(listeners):
            for other in listeners[:number]:
                if collide(listener, other):
                    option = "port" if listener.endpoint is None else "endpoint"
                    self.problem("listener", listener.name, option, f"found {listener}, expected a place of its own, "
                                 f"as [listener {other.name}] takes {other}")


_UNUSABLE = object()
"""In place of a value that is missing or wrong and has no default."""


def _default(option: Option) -> Any:
    if not option.default:
        return None
    return None if isinstance(option.type, Reference) else option.type.parse(option.default)


def _defaults(kind: str) -> Any:
    """The object of a section that sets nothing."""
    found = {option.name.replace("-", "_"): _default(option) for option in SECTIONS[kind].options}
    return _CLASSES[kind](**found) if SECTIONS[kind].named is None else _CLASSES[kind]("default", **found)
