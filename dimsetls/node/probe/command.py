"""The command `dimsetls probe`: its words, and its exit status."""

from __future__ import annotations

import argparse
import os
import sys
from typing import Any

from ...errors import ConfigurationError
from ..arguments import ae_title, host_and_port, seconds
from .observations import MOST_CONNECTIONS


def add_probe(commands: Any) -> None:
    """Add the command to argparse's sub-commands."""
    probe = commands.add_parser(
        "probe", help="examine a peer, and judge it by PS3.15 B.12",
        description="Examine a peer as a stranger and, with --cert, as a client: its TLS, its certificate, its "
                    f"associations. Opens at most {MOST_CONNECTIONS} connections, one after the other; one carries a "
                    "damaged record, which the peer may log as an attack. Exit status: 0 conformant, 1 not conformant, "
                    "2 wrong usage, 3 unreachable or no DICOM.",
        epilog="Example: dimsetls probe pacs.example:2762 --ae PACS --cert me.pem --key me.key --ca hospital-ca.pem",
    )
    probe.add_argument("peer", type=host_and_port, metavar="HOST:PORT",
                       help="whom to call; its certificate should name HOST")
    probe.add_argument("--ae", type=ae_title, default="ANY-SCP", metavar="TITLE", help="its title (default ANY-SCP)")
    probe.add_argument("--calling-ae", type=ae_title, default="DIMSETLS", metavar="TITLE",
                       help="ours (default DIMSETLS)")
    probe.add_argument("--cert", metavar="FILE", help="our certificate, in PEM; without it we come as a stranger only")
    probe.add_argument("--key", metavar="FILE", help="its private key, in PEM")
    probe.add_argument("--ca", metavar="FILE", help="authorities, in PEM; the peer's certificate must lead to one")
    probe.add_argument("--timeout", type=seconds, default=10.0, metavar="SECONDS",
                       help="the longest that one connection may take (default 10)")
    probe.add_argument("--json", action="store_true", help="print one JSON object")
    probe.set_defaults(refuse=probe.refuse)


def run_probe(parsed: argparse.Namespace) -> int:
    """Probe, judge, print; returns the exit status."""
    from ...tls.material import KeyMaterial, TrustRoots
    from .examination import Probe
    from .text import as_json, as_text
    from .verdict import judge

    if (parsed.cert is None) is not (parsed.key is None):
        parsed.refuse("--cert and --key go together")
    try:
        key_material = None if parsed.cert is None else KeyMaterial.load(parsed.cert, parsed.key)
        trust_roots = None if parsed.ca is None else TrustRoots.load(parsed.ca)
    except ConfigurationError as error:
        parsed.refuse("; ".join(error.problems))
    host, port = parsed.peer
    seen = Probe(
        host, port, called=parsed.ae, calling=parsed.calling_ae, timeout=parsed.timeout,
        key_material=key_material, trust_roots=trust_roots,
    ).run()  # fmt: skip
    verdict = judge(seen)
    colours = sys.stdout.isatty() and "NO_COLOR" not in os.environ
    lines = [as_json(seen, verdict)] if parsed.json else as_text(seen, verdict, colours=colours)
    sys.stdout.writelines(f"{line}\n" for line in lines)
    return verdict.conclusion.value
