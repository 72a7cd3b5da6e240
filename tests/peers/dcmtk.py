"""DCMTK's programs: `echoscu` and `storescu` as peers, `storescp` as the witness of what `storescu` sends."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from .running import DEADLINE, Service

WAITS = ("-to", "10", "-ta", "10", "-td", "20")
"""Its own timeouts in seconds for connection, association and message; without these it may wait for ever."""


SWIFT = {**os.environ, "TCP_NODELAY": "1"}
"""The environment of a program that is not to use Nagle's algorithm, with which it needs 40 ms for each C-STORE."""


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


def association_profiles(pairs: Iterable[tuple[str, str]]) -> str:
    """A configuration for pairs of SOP class and transfer syntax.

    Profile Propose has a presentation context for each of them, profile Accept all of them for a SOP class, where the
    requestor may have either role.
    """
    def key(uid: str) -> str:  # names of sections have no dots
        return "T" + uid.replace(".", "x")

    pairs = sorted(set(pairs))
    classes = sorted({sop_class for sop_class, _ in pairs})
    sections = {syntax: [syntax] for _, syntax in pairs}
    for sop_class, syntax in pairs:
        sections.setdefault(sop_class, []).append(syntax)
    lines = ["[[TransferSyntaxes]]"]
    for name, syntaxes in sections.items():
        lines += [f"[{key(name)}]", *(f"TransferSyntax{n} = {syntax}" for n, syntax in enumerate(syntaxes, 1))]
    lines += ["[[PresentationContexts]]"]
    for name, contexts in ("Each", pairs), ("All", [(each, each) for each in classes]):
        lines += [f"[{name}]", *(f"PresentationContext{n} = {a}\\{key(b)}" for n, (a, b) in enumerate(contexts, 1))]
    lines += ["[[SCPSCURoleSelection]]", "[Both]", *(f"Role{n} = {a}\\both" for n, a in enumerate(classes, 1))]
    lines += ["[[Profiles]]", "[Propose]", "PresentationContexts = Each",
              "[Accept]", "PresentationContexts = All", "SCPSCURoleSelection = Both", ""]
    return "\n".join(lines)


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
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.settimeout(DEADLINE)
        port = server.getsockname()[1]
        scu = [find("storescu"), *WAITS, *options, "127.0.0.1", port, *files]
        scp = [find("storescp"), "--inetd", "--bit-preserving", *accepting, "--output-directory", directory]
        with subprocess.Popen(list(map(str, scu)), env=SWIFT, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                              stderr=subprocess.STDOUT, text=True) as sending:
            try:
                connection, _ = server.accept()
                with connection:
                    subprocess.run(list(map(str, scp)), env=SWIFT, timeout=DEADLINE, check=True,
                                   stdin=connection.fileno())
            except (TimeoutError, subprocess.SubprocessError) as error:
                sending.kill()
                raise AssertionError(f"{error}; storescu says: {sending.communicate()[0]}") from error
            sending.communicate(timeout=DEADLINE)
    return sorted(directory.iterdir())
