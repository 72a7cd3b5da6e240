"""`dimsetls pki import-p12`: the files that [tls] sections name, made from what an authority handed out."""

from __future__ import annotations

import argparse
import json
import os
import shlex
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import ConfigurationError

if TYPE_CHECKING:
    from ..tls.passphrase import Passphrase

_PUBLIC, _SECRET = 0o644, 0o600


def add_pki(commands: Any) -> None:
    """Add the command to argparse's sub-commands."""
    pki = commands.add_parser("pki", help="make key and certificate files of what an authority handed out",
                              description="Make key and certificate files of what an authority handed out.",
                              epilog="Example: dimsetls pki import-p12 node.p12 var/pki")
    kinds = pki.add_subparsers(dest="pki_command", required=True, metavar="COMMAND")
    p12 = kinds.add_parser(
        "import-p12", help="take a PKCS #12 file (.p12, .pfx) apart",
        description="Write DIR/server.pem, DIR/server.key (mode 0600, not encrypted) and, if FILE holds the root of "
                    "its authority, DIR/ca.pem. Never overwrites.",
        epilog="Example: dimsetls pki import-p12 node.p12 var/pki --passphrase-file node.pass",
    )
    p12.add_argument("file", metavar="FILE", help="the PKCS #12 file")
    p12.add_argument("directory", metavar="DIR", help="where to write; made if it is missing")
    p12.add_argument("--passphrase-file", metavar="FILE", help="a file, readable by its owner alone, whose first line "
                                                               "is the passphrase")
    p12.add_argument("--json", action="store_true", help="print one JSON object")


def run_pki(parsed: argparse.Namespace) -> Iterator[str]:
    """Do as the command line says; yields what to print."""
    from ..tls.passphrase import Passphrase

    passphrase = Passphrase(Path(parsed.passphrase_file)) if parsed.passphrase_file else None
    written = import_p12(parsed.file, Path(parsed.directory), passphrase)
    if parsed.json:
        yield json.dumps({"written": list(map(str, written))})
        return
    yield f"Wrote {', '.join(map(str, written))}."
    if len(written) == 2:
        yield (f"{shlex.quote(parsed.file)} holds no root certificate: get that of your authority, and name it as "
               "trust-roots.")


def import_p12(file: str | Path, directory: Path, passphrase: Passphrase | None = None) -> list[Path]:
    """Write server.pem, server.key and, if there is a root, ca.pem; returns what was written.

    Never overwrites. ConfigurationError, with nothing written, if FILE cannot be taken apart, for every file in the
    way, or if one cannot be written.
    """
    from ..tls import pkcs12

    contents = pkcs12.read(file, passphrase)
    plan = {directory / "server.pem": (contents.chain, _PUBLIC),
            directory / "server.key": (contents.private_key, _SECRET)}
    if contents.authorities:
        plan[directory / "ca.pem"] = (contents.authorities, _PUBLIC)
    if in_the_way := [path for path in plan if os.path.lexists(path)]:
        raise ConfigurationError(*(
            f"{path}: found it already there, expected to write it; move it away or choose another directory"
            for path in in_the_way
        ))
    written: list[Path] = []
    try:
        directory.mkdir(parents=True, exist_ok=True)
        for path, (content, mode) in plan.items():
            with open(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode), "wb") as out:
                written.append(path)
                out.write(content)
    except OSError as error:
        for path in written:
            with suppress(OSError):
                path.unlink()
        raise ConfigurationError(f"{error.filename or directory}: found that it cannot be written ({error.strerror}), "
                                 "expected a directory for keys and certificates") from None
    return written
