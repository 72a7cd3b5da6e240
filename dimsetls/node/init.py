"""A node to begin with: a complete configuration, development certificates, and an empty store."""

from __future__ import annotations

import os
from collections.abc import Callable
from contextlib import suppress
from ipaddress import ip_address
from pathlib import Path

from ..errors import ConfigurationError
from ..tls.authority import LOOPBACK_NAMES, DevelopmentAuthority
from ..tls.revocation import CRLCheck
from .options import node_drafts, render
from .values import ADDRESS, PORT

_UNREVOKED = {"revocation-check": CRLCheck.WAIVED.value}  # an authority for development revokes nothing
_PUBLIC, _SECRET = 0o644, 0o600
_STORE = 0o700  # patient data: whoever else may read it is for the operator to say


def init(directory: str | Path, port: int = 2762, interface: str = "127.0.0.1") -> Path:
    """Write DIRECTORY/dimsetls.ini, pki/ and store/; returns the path of the INI file.

    Never overwrites: if a file is in the way, ConfigurationError names it and nothing is written. A store/ that is
    there stays as it is. What was written before a failure is taken back.
    """
    for option, kind, value in (("port", PORT, str(port)), ("interface", ADDRESS, interface)):
        try:
            kind.parse(value)
        except ValueError as error:
            raise ConfigurationError(f"{option}: {error}") from None

    root = Path(directory)
    ini, store = root / "dimsetls.ini", root / "store"
    files = [root / "pki" / f"{name}.{kind}" for name in ("ca", "server", "client") for kind in ("key", "pem")] + [ini]
    if in_the_way := [path for path in files if os.path.lexists(path)]:
        raise ConfigurationError(*(
            f"{path}: found it already there, expected to write it; move it away or choose another directory"
            for path in in_the_way
        ))

    authority = DevelopmentAuthority()
    own_name = () if ip_address(interface).is_unspecified or interface in LOOPBACK_NAMES else (interface,)
    contents: list[tuple[bytes, int]] = []
    for made in (authority.own, authority.issue_server(names=(*LOOPBACK_NAMES, *own_name)), authority.issue_client()):
        contents += [(made.private_key_pem, _SECRET), (made.certificate_pem, _PUBLIC)]
    # The INI file comes last, as its presence says that the rest is complete.
    contents.append((render(node_drafts(port, interface, "store", _UNREVOKED)).encode(), _PUBLIC))

    undo: list[Callable[[], None]] = []
    try:
        _make_directory(root / "pki", 0o755, undo)
        _make_directory(store, _STORE, undo)
        for path, (content, mode) in zip(files, contents, strict=True):
            _write(path, content, mode, undo)
    except OSError as error:
        for step in reversed(undo):
            with suppress(OSError):
                step()
        raise ConfigurationError(f"{error.filename or root}: found that it cannot be written ({error.strerror}), "
                                 "expected a place for a new node") from None
    return ini


def _make_directory(path: Path, mode: int, undo: list[Callable[[], None]]) -> None:
    """Make `path`, and its parents where they are missing."""
    if path.is_dir():
        return
    _make_directory(path.parent, 0o755, undo)
    path.mkdir(mode)
    undo.append(path.rmdir)


def _write(path: Path, content: bytes, mode: int, undo: list[Callable[[], None]]) -> None:
    with open(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode), "wb") as file:
        undo.append(path.unlink)
        file.write(content)
