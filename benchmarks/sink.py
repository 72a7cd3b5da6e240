"""The ceiling, compiled where it is needed; see sink.c."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

from .client import MAXIMUM_LENGTH
from .site import Site, first_line

SOURCE = Path(__file__).with_name("sink.c")


def sink(site: Site) -> list[str]:
    """Compiled by cc into the scratch folder, about a second before the run."""
    compiled = site.scratch / "sink"
    subprocess.run(["cc", "-O2", "-pthread", "-o", str(compiled), str(SOURCE), "-lssl", "-lcrypto"], check=True)
    return [str(compiled), *map(str, (site.port, site.store, site.keys, MAXIMUM_LENGTH))]


def missing() -> str:
    """cc and the headers of OpenSSL must be there."""
    if shutil.which("cc") and Path("/usr/include/openssl/ssl.h").exists():
        return ""
    return "it is compiled here: python -m benchmarks --install, or the packages gcc and libssl-dev"


def version() -> str:
    """What it is linked with."""
    return f"in C, {first_line('openssl', 'version')}"
