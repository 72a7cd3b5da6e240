"""The command line as a process of its own: a reactor runs once in the life of one."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from ...peers.running import DEADLINE

PROGRAM = [sys.executable, "-c", "from dimsetls.node.cli import main; raise SystemExit(main())"]


def words(command: str, pki: Path, port: int, *more: object) -> list[str]:
    """A command that calls a port of this machine as the client of `pki`."""
    keys = ["--cert", pki / "client.pem", "--key", pki / "client.key", "--ca", pki / "ca.pem"]
    return [str(each) for each in (*PROGRAM, command, f"localhost:{port}", "--timeout", 10, *more, *keys)]


def call(command: str, pki: Path, port: int, *more: object, stdin: str = "") -> subprocess.CompletedProcess[str]:
    """Run it to its end. Nothing of it may be a traceback."""
    ended = subprocess.run(
        words(command, pki, port, *more), input=stdin, capture_output=True, text=True, timeout=DEADLINE, check=False
    )
    assert "Traceback" not in ended.stderr
    return ended
