"""What a peer has acknowledged, in a file of SOP Instance UIDs, so that a later run can go on from there."""

from __future__ import annotations

import fcntl
import os
import stat
from pathlib import Path

from ...errors import ConfigurationError


class Journal:
    """The file, held alone until it is closed. Raises ConfigurationError where it cannot be used."""

    def __init__(self, path: str | Path) -> None:
        try:
            self._file = open(path, "a+b", buffering=0)  # noqa: SIM115 - closed by close()
        except OSError as error:
            raise ConfigurationError(f"journal {path} cannot be opened: {error.strerror}") from None
        if not stat.S_ISREG(os.fstat(self._file.fileno()).st_mode):
            self._file.close()
            raise ConfigurationError(f"journal {path} is no regular file, expected one, or a new name")
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            self._file.close()
            raise ConfigurationError(f"journal {path} is in use by another run, expected one that is not") from None
        self._file.seek(0)
        content = self._file.read()
        whole = content[: content.rfind(b"\n") + 1]
        os.ftruncate(self._file.fileno(), len(whole))  # a line that a crash cut off could be another UID
        self.acknowledged = set(whole.decode("ascii", "replace").split())

    def add(self, sop_instance_uid: str) -> None:
        """Note that it was acknowledged. Raises OSError."""
        self._file.write(f"{sop_instance_uid}\n".encode("ascii"))
        self.acknowledged.add(sop_instance_uid)

    def close(self) -> None:
        self._file.close()
