"""`dimsetls completion`: what makes a shell complete our words. argcomplete reads them from the parser itself.

What an argument is, is said by its metavar: so a new option is completed without a word about it here.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from typing import Any

_HOW = {
    "bash": 'put  eval "$(dimsetls completion bash)"  into ~/.bashrc',
    "zsh": 'put  eval "$(dimsetls completion zsh)"  into ~/.zshrc, below compinit',
    "fish": "put  dimsetls completion fish | source  into ~/.config/fish/config.fish",
}


def add_completion(commands: Any) -> None:
    """The command line of `dimsetls completion`."""
    completion: argparse.ArgumentParser = commands.add_parser(
        "completion", help="print what makes a shell complete these commands",
        description="Print what makes a shell complete commands, options, names of peers and keywords of queries. "
                    f"To have it always: {'; '.join(_HOW.values())}.",
        epilog="Example: dimsetls completion bash",
    )
    completion.add_argument("shell", choices=tuple(_HOW), help="the shell")


def run_completion(parsed: argparse.Namespace) -> Iterator[str]:
    """What the shell is to read."""
    from argcomplete.shell_integration import shellcode

    yield shellcode(["dimsetls"], shell=parsed.shell).strip("\n")


def complete(parser: argparse.ArgumentParser) -> None:
    """Answer a shell that asks, which ends the process; return where none does."""
    from argcomplete import autocomplete
    from argcomplete.completers import BaseCompleter, DirectoriesCompleter, FilesCompleter

    class ByMetavar(BaseCompleter):
        def __call__(
            self, *, prefix: str, action: argparse.Action, parser: argparse.ArgumentParser,
            parsed_args: argparse.Namespace,
        ) -> list[str]:  # fmt: skip
            match action.metavar:
                case "FILE":
                    return list(FilesCompleter()(prefix))
                case "DIR":
                    return list(DirectoriesCompleter()(prefix))
                case "PEER":
                    return _peers(getattr(parsed_args, "config", None))
                case "KEY":
                    return _keywords()
                case "CODE":
                    from ..tls.conditions import CONDITIONS

                    return list(CONDITIONS)
                case _:
                    return []

    autocomplete(parser, always_complete_options="long", default_completer=ByMetavar())


def _peers(config: str | None) -> list[str]:
    """Names of peers that can be called, as the configuration lists them, right or wrong."""
    from pathlib import Path

    from ..errors import ConfigurationError
    from .arguments import default_config
    from .ini import parse

    try:
        sections, _ = parse(Path(config or default_config()).read_text(encoding="utf-8-sig"))
    except (ConfigurationError, OSError, UnicodeError):
        return []
    return [section.name for section in sections if section.kind == "peer" and "host" in section.entries]


def _keywords() -> list[str]:
    from ..services.models import ATTRIBUTES

    return [f"{keyword}=" for keyword in ATTRIBUTES]
