"""A disk that is slow, for real: a loop device whose writes the kernel holds to a rate (cgroup v1, blkio.throttle)."""

from __future__ import annotations

import contextlib
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

from .measure import RunError

LIMIT = Path("/sys/fs/cgroup/blkio/blkio.throttle.write_bps_device")


@contextlib.contextmanager
def slow_disk(parent: Path, size: int, rate: int) -> Iterator[Path]:
    """A file system of `size` bytes on one, which takes `rate` bytes a second. Raises RunError where it cannot be."""
    if os.geteuid() != 0 or not LIMIT.exists():
        raise RunError(f"a slow disk needs root and {LIMIT}")
    image, folder = parent / "disk", parent / "slow"
    folder.mkdir()
    with image.open("wb") as file:
        file.truncate(size)
    with contextlib.ExitStack() as undone:
        undone.callback(image.unlink)
        device = _run("losetup", "--find", "--show", str(image))
        undone.callback(_run, "losetup", "--detach", device)
        _run("mkfs.ext4", "-q", device)
        _run("mount", device, str(folder))
        undone.callback(_run, "umount", str(folder))
        number = os.stat(device).st_rdev
        limited = f"{os.major(number)}:{os.minor(number)}"
        LIMIT.write_text(f"{limited} {rate}")
        undone.callback(LIMIT.write_text, f"{limited} 0")
        yield folder


def _run(*command: str) -> str:
    answer = subprocess.run(command, capture_output=True, text=True, check=False)
    if answer.returncode:
        raise RunError(f"{command[0]} failed: {answer.stderr.strip()}")
    return answer.stdout.strip()
