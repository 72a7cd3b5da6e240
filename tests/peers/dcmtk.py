"""DCMTK's programs: `echoscu` and `storescu` as peers, `storescp` as the witness of what `storescu` sends."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path

from .running import DEADLINE, Service

WAITS = ("-to", "10", "-ta", "10", "-td", "20")
"""Its own timeouts in seconds for connection, association and message; without these it may wait for ever."""


def find(name: str) -> str:
    """The path of a DCMTK program; pynetdicom's scripts of the same names are passed over."""
    for folder in os.get_exec_path():
        path = shutil.which(name, path=folder)
        if path and Path(path).read_bytes()[:2] != b"#!":
            return path
    raise AssertionError(f"DCMTK's {name} is not on the PATH: make debian, or install the package dcmtk")


def run(name: str, *arguments: object, env: Mapping[str, str] | None = None) -> subprocess.CompletedProcess[str]:
    """Run a program to its end; what it says is in `stdout`, errors among it."""
    return subprocess.run(
        [find(name), *map(str, arguments)], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        text=True, errors="replace", timeout=DEADLINE, env={**os.environ, **(env or {})}, check=False,
    )  # fmt: skip


def secured(pki: Path) -> tuple[object, ...]:
    """Mutual TLS with the client's certificate."""
    return "+tls", pki / "client.key", pki / "client.pem", "+cf", pki / "ca.pem"


def echoscu(
    service: Service, pki: Path, *options: object, called: str = "DIMSETLS", tls: Sequence[object] | None = None
) -> subprocess.CompletedProcess[str]:
    """One C-ECHO; `tls` in place of mutual TLS."""
    tls = secured(pki) if tls is None else tls
    return run("echoscu", *WAITS, "-aec", called, *tls, *options, "127.0.0.1", service.port(called))


def storescu(
    service: Service, pki: Path, files: Sequence[Path], *options: object, called: str = "DIMSETLS"
) -> subprocess.CompletedProcess[str]:
    """C-STORE of all `files` on one association."""
    return run("storescu", *WAITS, "-aec", called, *secured(pki), *options, "127.0.0.1", service.port(called), *files)


def sent(
    files: Sequence[Path], directory: Path, *options: object, accepting: Sequence[object] = ("--accept-all",)
) -> list[Path]:
    """What storescu sends for `files` with these options, as storescp keeps it when told to change nothing.

    storescu encodes data sets anew (lengths of sequences, group lengths), so the files themselves cannot tell.
    `accepting` are options of storescp that say what it accepts.
    """
    directory.mkdir()
    environment = {**os.environ, "TCP_NODELAY": "1"}  # with Nagle's algorithm these two need 40 ms for each C-STORE
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.settimeout(DEADLINE)
        port = server.getsockname()[1]
        scu = [find("storescu"), *WAITS, *options, "127.0.0.1", port, *files]
        scp = [find("storescp"), "--inetd", "--bit-preserving", *accepting, "--output-directory", directory]
        with subprocess.Popen(list(map(str, scu)), env=environment, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                              stderr=subprocess.STDOUT, text=True) as sending:
            try:
                connection, _ = server.accept()
                with connection:
                    subprocess.run(list(map(str, scp)), env=environment, timeout=DEADLINE, check=True,
                                   stdin=connection.fileno())
            except (TimeoutError, subprocess.SubprocessError) as error:
                sending.kill()
                raise AssertionError(f"{error}; storescu says: {sending.communicate()[0]}") from error
            sending.communicate(timeout=DEADLINE)
    return sorted(directory.iterdir())
