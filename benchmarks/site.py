"""Where one server is to run, and how Debian's programs are found."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Site:
    """Where one server is to run: its ports, its folders, and whether associations come several at once.

    `inner` is a port for what runs behind it. With `matches` it answers C-FIND, with so many of them; with `identities`
    it checks the user where it can; `resumed` says whether sessions of TLS are taken up again. `keys` holds ca.pem,
    server.pem, server.key, client.pem and client.key; `scratch` is for the server's own files.
    """

    port: int
    store: Path
    scratch: Path
    keys: Path
    several: bool
    matches: int = 0
    identities: bool = False
    resumed: bool = False
    inner: int = 0


def program(name: str) -> str:
    """The path of a program, or empty."""
    return shutil.which(name) or shutil.which(name, path="/usr/sbin") or ""


def missing(found: str, package: str) -> str:
    """A sentence that says what to install, if a program was not found."""
    return "" if found else f"expected a program that is not on the PATH: python -m benchmarks --install, or {package}"


def first_line(*command: str) -> str:
    """What a program says of its version."""
    answer = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False)
    return next((line.strip("$ ") for line in answer.stdout.splitlines() if any(map(str.isdigit, line))), "")


def install(packages: Sequence[str]) -> None:
    """Let Debian install them; the daemons among them are not started, as each run starts its own."""
    command = ["apt-get", "install", "--yes", "--no-install-recommends", *packages]
    if os.geteuid() != 0 or not shutil.which("apt-get"):
        print(f"to install the peers run, as root: {' '.join(command)}", file=sys.stderr)
        return
    policy = Path("/usr/sbin/policy-rc.d")
    if ours := not policy.exists():
        policy.write_text("#!/bin/sh\nexit 101\n")
        policy.chmod(0o755)
    environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    try:
        for each in (["apt-get", "update", "--quiet"], command):
            subprocess.run(each, stdout=sys.stderr, env=environment, check=False)
    finally:
        if ours:
            policy.unlink()
