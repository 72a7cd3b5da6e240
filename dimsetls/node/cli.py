"""The command `dimsetls`: make a node, check one, call a peer, probe one.

Imports are inside the commands, so that help and usage answer at once.
"""

from __future__ import annotations

import argparse
import json
import os
import shlex
import sys
from collections.abc import Callable, Iterator, Sequence

from .. import __version__
from ..errors import ConfigurationError
from .arguments import ExitStatus, Parser, interface, port
from .client import COMMANDS, add_client, run_client
from .completion import add_completion, complete, run_completion
from .explain import add_explain, run_explain
from .identity.command import add_identity, run_identity
from .index import add_index, run_index
from .pki import add_pki, run_pki
from .probe import add_probe, run_probe
from .queue import add_queue, run_queue
from .serve import add_serve, run_serve
from .users import add_user, run_user


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; returns the exit status. Problems go to stderr, one sentence a line."""
    parsed = argparse.Namespace()
    try:
        parser = _parser()
        if "_ARGCOMPLETE" in os.environ:  # a shell asks what may come next
            complete(parser)
        parser.parse_args(arguments, parsed)
        outcome = _RUN[parsed.command](parsed)
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


def _parser() -> argparse.ArgumentParser:
    statuses = "".join(f"\n  {status.value:<4} {status.meaning}" for status in ExitStatus)
    parser = Parser(
        prog="dimsetls",
        description="DICOM associations over strict TLS: make a node and check its configuration, call a peer, send, "
                    "query and retrieve.",
        epilog=f"Example: dimsetls init var && dimsetls serve var\n\nExit status of every command:{statuses}",
    )
    parser.add_argument("--version", action="version", version=f"dimsetls {__version__}")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")

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

    add_serve(commands)
    add_client(commands)
    add_probe(commands)
    add_explain(commands)
    add_pki(commands)
    add_user(commands)
    add_identity(commands)
    add_index(commands)
    add_queue(commands)

    conformance = commands.add_parser(
        "conformance", help="print the DICOM conformance statement of a configuration",
        description="Print what a node with this configuration conforms to: services, association policies, statuses, "
                    "limits and security, in the order of PS3.2.",
        epilog="Example: dimsetls conformance --config var/dimsetls.ini --format html > conformance.html",
    )
    conformance.add_argument("--config", required=True, metavar="FILE", help="the INI file")
    conformance.add_argument("--format", choices=("md", "html"), default="md",
                             help="Markdown (the default), or one HTML page to read or print")
    add_completion(commands)
    return parser


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


_RUN: dict[str, Callable[[argparse.Namespace], int | Iterator[str]]] = {
    "init": _init, "check": _check, "serve": run_serve, **dict.fromkeys(COMMANDS, run_client), "probe": run_probe,
    "explain": run_explain, "pki": run_pki, "user": run_user, "identity": run_identity, "index": run_index,
    "queue": run_queue, "conformance": _conformance, "completion": run_completion,
}  # fmt: skip
