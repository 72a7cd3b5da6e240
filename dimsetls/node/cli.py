"""The command `dimsetls`: make a node, check one, call a peer, probe one.

A command loads what it needs and nothing of the others: its words when it is the one that was given, and what does it
when it is done.
"""

from __future__ import annotations

import argparse
import gc
import json
import os
import shlex
import sys
from collections.abc import Callable, Iterator, Sequence
from importlib import import_module
from typing import Any

from .. import __version__
from ..errors import ConfigurationError
from .arguments import ExitStatus, Parser, interface, port

_PLACES = {
    "serve": (".serve", "serve"), **dict.fromkeys(("echo", "store", "find", "get", "move"), (".client", "client")),
    "probe": (".probe", "probe"), "explain": (".explain", "explain"), "pki": (".pki", "pki"),
    "user": (".users", "user"), "identity": (".identity.command", "identity"), "index": (".index", "index"),
    "queue": (".queue", "queue"), "completion": (".completion", "completion"),
}  # fmt: skip
"""Where a command is that is not here, in the order of the help: in that module, as `add_` and `run_` of that name."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; returns the exit status. Problems go to stderr, one sentence a line."""
    # What is loaded stays. To look at it again every 700 objects took 12 % of the CPU of a `dimsetls store`.
    gc.set_threshold(10_000, 10, 10)
    parsed = argparse.Namespace()
    try:
        if "_ARGCOMPLETE" in os.environ:  # a shell asks what may come next
            from .completion import complete

            complete(_parser())
        given = sys.argv[1:] if arguments is None else arguments
        _parser(given[0] if given else None).parse_args(given, parsed)
        outcome = _run(parsed)
        if not isinstance(outcome, int):
            for line in outcome:
                print(line)
            outcome = ExitStatus.DONE
        sys.stdout.flush()
        return outcome
    except ConfigurationError as error:
        if getattr(parsed, "json", False):
            print(json.dumps({"problems": error.problems}))
        for problem in error.problems:
            print(problem, file=sys.stderr)
        return ExitStatus.FAILED
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        return ExitStatus.INTERRUPTED
    except BrokenPipeError:  # whoever reads has read enough, as in `dimsetls explain | head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return ExitStatus.FAILED


def _parser(given: str | None = None) -> argparse.ArgumentParser:
    """With the words of the command that is given alone; with those of all, where it is none of them."""
    statuses = "".join(f"\n  {status.value:<4} {status.meaning}" for status in ExitStatus)
    parser = Parser(
        prog="dimsetls",
        description="DICOM associations over strict TLS: make a node and check its configuration, call a peer, send, "
                    "query and retrieve.",
        epilog=f"Example: dimsetls init var && dimsetls serve var\n\nExit status of every command:{statuses}",
    )
    parser.add_argument("--version", action="version", version=f"dimsetls {__version__}")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    if given in _PLACES:
        _add(commands, *_PLACES[given])
        return parser

    init = commands.add_parser(
        "init", help="write a configuration, development certificates and an empty store",
        description="Write DIR/dimsetls.ini, DIR/pki and DIR/store. Never overwrites.",
        epilog="Example: dimsetls init var --port 11112",
    )
    init.add_argument("directory", metavar="DIR", help="where to write; made if it is missing")
    init.add_argument("--port", type=port, default=2762, metavar="N", help="TCP port (default 2762)")
    init.add_argument("--interface", type=interface, default="127.0.0.1", metavar="A",
                      help="address to listen on (default 127.0.0.1)")
    init.add_argument("--json", action="store_true", help="print one JSON object")

    check = commands.add_parser(
        "check", help="report everything that is wrong with a configuration",
        description="Load a configuration, its keys and certificates exactly as the service does, and report every "
                    "problem at once.",
        epilog="Example: dimsetls check var/dimsetls.ini",
    )
    check.add_argument("file", metavar="FILE", help="the INI file")
    check.add_argument("--json", action="store_true", help="print one JSON object")

    conformance = commands.add_parser(
        "conformance", help="print the DICOM conformance statement of a configuration",
        description="Print what a node with this configuration conforms to: services, association policies, statuses, "
                    "limits and security, in the order of PS3.2.",
        epilog="Example: dimsetls conformance --config var/dimsetls.ini --format html > conformance.html",
    )
    conformance.add_argument("--config", required=True, metavar="FILE", help="the INI file")
    conformance.add_argument("--format", choices=("md", "html"), default="md",
                             help="Markdown (the default), or one HTML page to read or print")
    if given not in _OURS:
        for place in dict.fromkeys(_PLACES.values()):
            _add(commands, *place)
    return parser


def _add(commands: Any, module: str, name: str) -> None:
    getattr(import_module(module, __package__), f"add_{name}")(commands)


def _run(parsed: argparse.Namespace) -> int | Iterator[str]:
    if parsed.command in _OURS:
        return _OURS[parsed.command](parsed)
    module, name = _PLACES[parsed.command]
    outcome: int | Iterator[str] = getattr(import_module(module, __package__), f"run_{name}")(parsed)
    return outcome


def _init(parsed: argparse.Namespace) -> Iterator[str]:
    from ipaddress import ip_address

    from .init import init

    ini = init(parsed.directory, parsed.port, parsed.interface)
    path = shlex.quote(str(ini))
    pki, store = ini.parent / "pki", ini.parent / "store"
    if parsed.json:
        yield json.dumps({"configuration": str(ini), "pki": str(pki), "store": str(store)})
        return
    yield f"Wrote {ini}, development certificates (90 days, not for clinical use) in {pki} and the store {store}."
    if not ip_address(parsed.interface).is_loopback:
        yield (f"Development certificates are refused on {parsed.interface}: put your own into {pki}, "
               f"or see development-certificates-outside-loopback in {ini}.")
    yield f"Next:\n  dimsetls check {path}\n  twistd --nodaemon dimsetls --config {path}"


def _conformance(parsed: argparse.Namespace) -> Iterator[str]:
    from datetime import date

    from .conformance import html, markdown, statement
    from .prepare import prepare

    prepared = prepare(parsed.config)
    document = statement(prepared.config, prepared, date.today())
    yield (html(document) if parsed.format == "html" else markdown(document)).removesuffix("\n")


def _check(parsed: argparse.Namespace) -> Iterator[str]:
    from .prepare import prepare, summary

    prepared = prepare(parsed.file)
    if parsed.json:
        yield json.dumps({"problems": [], "warnings": prepared.warnings, "summary": list(summary(prepared))})
    else:
        yield from summary(prepared)


_OURS: dict[str, Callable[[argparse.Namespace], Iterator[str]]] = {
    "init": _init, "check": _check, "conformance": _conformance,
}  # fmt: skip
