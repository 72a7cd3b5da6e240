"""Whether two processes have read the same: a hash over the INI file and the files that it names."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import fields, is_dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any, Final

from ..config import Config

READ_ANEW: Final = frozenset({
    "ocsp_response", "file", "jwks_file", "keytab", "client_keytab", "credential_cache", "replay_cache",
    "token_file", "passcode_file",
})  # fmt: skip
"""Files that are looked at again while a node runs: these may change without a reload."""


def fingerprint(config: Config) -> str:
    """The same in two processes if all was the same that counts until the next reload."""
    digest = sha256()
    for path in dict.fromkeys((config.path, *_paths(config))):
        try:
            content = path.read_bytes() if path.is_file() else b""
        except OSError as error:
            content = f"unreadable: {error.errno}".encode()
        for part in (bytes(path), content):
            digest.update(sha256(part).digest())
    return digest.hexdigest()


def _paths(value: Any) -> Iterator[Path]:
    """Every path in a value, without those that are read anew."""
    match value:
        case Path():
            yield value
        case Mapping():
            for name, each in value.items():
                if name not in READ_ANEW:
                    yield from _paths(each)
        case tuple() | list():
            for each in value:
                yield from _paths(each)
        case _ if is_dataclass(value) and not isinstance(value, type):
            yield from _paths({field.name: getattr(value, field.name, None) for field in fields(value)})
