"""The command `dimsetls`: make a node, check one, probe a peer. Exit status: 0 fine, 1 a problem, 2 wrong usage.

Imports are inside the commands, so that help and usage answer at once.
"""

from __future__ import annotations

import argparse
import os
import shlex
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING

from .. import __version__
from ..errors import ConfigurationError
from .client import COMMANDS, add_client, run_client
from .explain import add_explain, run_explain
from .identity.command import add_identity, run_identity
from .index import add_index, run_index
from .pki import add_pki, run_pki
from .probe import add_probe, run_probe
from .users import add_user, run_user

if TYPE_CHECKING:
    from .values import ValueType


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; returns the exit status. Problems go to stderr, one sentence a line."""
    parsed = _parser().parse_args(arguments)
    try:
        if parsed.command == "init":
            _init(parsed.directory, parsed.port, parsed.interface)
        elif parsed.command == "probe":
            return run_probe(parsed)
        elif parsed.command in COMMANDS:
            status = run_client(parsed)
            sys.stdout.flush()
            return status
        elif parsed.command == "identity":
            return run_identity(parsed)
        elif parsed.command == "index":
            return run_index(parsed)
        elif parsed.command == "pki":
            for line in run_pki(parsed):
                print(line)
        elif parsed.command == "user":
            for line in run_user(parsed):
                print(line)
        elif parsed.command == "explain":
            for line in run_explain(parsed):
                print(line)
        elif parsed.command == "conformance":
            _conformance(parsed.config, parsed.format)
        else:
            _check(parsed.file)
        sys.stdout.flush()
    except ConfigurationError as error:
        for problem in error.problems:
            print(problem, file=sys.stderr)
        return 1
    except BrokenPipeError:  # whoever reads has read enough, as in `dimsetls explain | head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="dimsetls", description="DICOM associations over strict TLS: make a node, check its configuration.",
        epilog="Example: dimsetls init var && twistd --nodaemon dimsetls --config var/dimsetls.ini",
    )
    parser.add_argument("--version", action="version", version=f"dimsetls {__version__}")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")

    init = commands.add_parser(
        "init", help="write a configuration, development certificates and an empty store",
        description="Write DIR/dimsetls.ini, DIR/pki and DIR/store. Never overwrites.",
        epilog="Example: dimsetls init var --port 11112",
    )
    init.add_argument("directory", metavar="DIR", help="where to write; made if it is missing")
    init.add_argument("--port", type=_port, default=2762, metavar="N", help="TCP port (default 2762)")
    init.add_argument("--interface", type=_interface, default="127.0.0.1", metavar="A",
                      help="address to listen on (default 127.0.0.1)")

    check = commands.add_parser(
        "check", help="report everything that is wrong with a configuration",
        description="Load a configuration, its keys and certificates exactly as the service does, and report every "
                    "problem at once.",
        epilog="Example: dimsetls check var/dimsetls.ini",
    )
    check.add_argument("file", metavar="FILE", help="the INI file")

    add_probe(commands)
    add_client(commands)
    add_explain(commands)
    add_pki(commands)
    add_user(commands)
    add_identity(commands)
    add_index(commands)

    conformance = commands.add_parser(
        "conformance", help="print the DICOM conformance statement of a configuration",
        description="Print what a node with this configuration conforms to: services, association policies, statuses, "
                    "limits and security, in the order of PS3.2.",
        epilog="Example: dimsetls conformance --config var/dimsetls.ini --format html > conformance.html",
    )
    conformance.add_argument("--config", required=True, metavar="FILE", help="the INI file")
    conformance.add_argument("--format", choices=("md", "html"), default="md",
                             help="Markdown (the default), or one HTML page to read or print")
    return parser


def _port(text: str) -> object:
    """As the configuration reads it."""
    from .values import PORT

    return _read(PORT, text)


def _interface(text: str) -> object:
    from .values import ADDRESS

    return _read(ADDRESS, text)


def _read(kind: ValueType, text: str) -> object:
    try:
        return kind.parse(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from None


def _init(directory: str, port: int, interface: str) -> None:
    from ipaddress import ip_address

    from .init import init

    ini = init(directory, port, interface)
    path = shlex.quote(str(ini))
    pki = ini.parent / "pki"
    print(f"Wrote {ini}, development certificates (90 days, not for clinical use) in {pki} "
          f"and the store {ini.parent / 'store'}.")
    if not ip_address(interface).is_loopback:
        print(f"Development certificates are refused on {interface}: put your own into {pki}, "
              f"or see development-certificates-outside-loopback in {ini}.")
    print(f"Next:\n  dimsetls check {path}\n  twistd --nodaemon dimsetls --config {path}")


def _conformance(file: str, form: str) -> None:
    from datetime import date

    from .conformance import html, markdown, statement
    from .prepare import prepare

    prepared = prepare(file)
    document = statement(prepared.config, prepared, date.today())
    print(html(document) if form == "html" else markdown(document), end="")


def _check(file: str) -> None:
    from .prepare import prepare, summary

    for line in summary(prepare(file)):
        print(line)
