"""Where the passphrase of an encrypted key is found. Nobody is ever asked for one: a service has no keyboard."""

from __future__ import annotations

import os
import stat
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from ..errors import ConfigurationError

_CREDENTIAL = "credential:"


@dataclass(frozen=True, slots=True)
class Passphrase:
    """A passphrase in the first line of a file; called, it reads the file anew and returns the passphrase.

    ConfigurationError if that cannot be, or if others than its owner may read the file.
    """

    path: Path
    is_credential: bool = False
    """systemd gave the file to this service alone, by means that its mode does not show."""

    @classmethod
    def parse(cls, text: str, environment: Mapping[str, str] = os.environ) -> Passphrase:
        """`credential:NAME` for one that systemd passes on (LoadCredential=NAME:…), else the path of a file."""
        if not text.startswith(_CREDENTIAL):
            return cls(Path(text))
        name = text.removeprefix(_CREDENTIAL)
        if not name or name in (".", "..") or "/" in name:
            raise ConfigurationError(f"passphrase {text!r} names no credential; expected credential:NAME")
        directory = environment.get("CREDENTIALS_DIRECTORY")
        if not directory:
            raise ConfigurationError(
                f"passphrase {text!r} is to come from systemd, but $CREDENTIALS_DIRECTORY is not set; expected "
                f"LoadCredential={name}:FILE or LoadCredentialEncrypted={name}:FILE in the unit"
            )
        return cls(Path(directory, name), is_credential=True)

    def __call__(self) -> bytes:
        lines = self.content().splitlines()
        if not lines or not lines[0]:
            raise ConfigurationError(f"passphrase file {self.path} begins with an empty line; expected a passphrase")
        return lines[0]

    def content(self) -> bytes:
        """All of the file, for secrets that have several lines. Raises as the call does."""
        try:
            with open(self.path, "rb") as file:
                mode = stat.S_IMODE(os.fstat(file.fileno()).st_mode)
                content = file.read()
        except OSError as error:
            raise ConfigurationError(
                f"passphrase file {self.path} cannot be read: {error.strerror}; expected a passphrase in its first line"
            ) from None
        if mode & 0o077 and not self.is_credential:
            raise ConfigurationError(
                f"passphrase file {self.path} is open to group or others (mode {mode:04o}); expected 0600 or 0400: "
                f"chmod 600 {self.path}"
            )
        return content
