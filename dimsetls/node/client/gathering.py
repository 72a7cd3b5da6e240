"""Which files are to be sent: what files, folders and patterns hold, and what of it is DICOM."""

from __future__ import annotations

import glob
import os
import stat
from collections import Counter
from collections.abc import Callable, Iterable, Sequence, Set
from dataclasses import dataclass, field
from functools import lru_cache
from io import FileIO

from ...association.instances import Instance, read_meta
from ...errors import InstanceError

_MEDIA_STORAGE_DIRECTORY = "1.2.840.10008.1.3.10"


@dataclass(frozen=True, slots=True)
class File:
    """A DICOM file, and what it says it is."""

    path: str
    size: int
    instance: Instance = field(repr=False)


@dataclass(slots=True)
class Gathered:
    """What was found. `passed_over` counts what lay in folders and is no instance."""

    files: list[File] = field(default_factory=list)
    problems: list[tuple[str, str]] = field(default_factory=list)
    """Path, and what is wrong with it."""
    passed_over: int = 0


def gather(places: Iterable[str], *, convert: bool = False) -> Gathered:
    """Look at every file that is named, lies in a folder that is named, or matches a pattern; each of them once."""
    found, seen, passed_over, walked = Gathered(), set[str](), set[str](), set[str]()
    real_folder = lru_cache(64)(os.path.realpath)  # which asks the system for each part, for all files of it the same

    def take(path: str, is_named: bool) -> None:
        if (real := _real(path, real_folder)) in seen:
            return
        try:
            status = os.stat(path)
            if not is_named and not stat.S_ISREG(status.st_mode):  # a pipe would be waited for
                passed_over.add(real)
                return
            with FileIO(path) as content:
                if not is_named and os.pread(content.fileno(), 132, 0)[128:] != b"DICM":
                    passed_over.add(real)
                    return
                seen.add(real)
                file = File(path, status.st_size, Instance(*read_meta(content, path), path, convert))
        except (InstanceError, OSError) as error:
            seen.add(real)
            found.problems.append((path, _words(path, error)))
            return
        if file.instance.sop_class_uid != _MEDIA_STORAGE_DIRECTORY:
            found.files.append(file)
        elif is_named:
            found.problems.append((path, f"{path} is a DICOMDIR, which is no instance to be stored"))
        else:
            seen.discard(real)
            passed_over.add(real)

    def refuse(error: OSError) -> None:
        found.problems.append((error.filename, _words(error.filename, error)))

    for place in places:
        matches = [place] if os.path.lexists(place) else sorted(glob.glob(place, recursive=True))
        if not matches:
            found.problems.append((place, f"{place} is no file, no folder, and matches none"))
        for match in matches:
            if not os.path.isdir(match):
                take(match, True)
                continue
            for folder, folders, names in os.walk(match, onerror=refuse, followlinks=True):
                if (real := os.path.realpath(folder)) in walked:
                    folders.clear()  # links can lead in a circle
                    continue
                walked.add(real)
                folders.sort()
                for name in sorted(names):
                    take(os.path.join(folder, name), False)
    found.passed_over = len(passed_over - seen)
    return found


def remaining(files: Sequence[File], acknowledged: Set[str]) -> list[File]:
    """Those that were not acknowledged. Where several files share a UID nobody knows which was: they all remain."""
    shared = Counter(file.instance.sop_instance_uid for file in files)
    uids = {uid for uid in acknowledged if shared[uid] == 1}
    return [file for file in files if file.instance.sop_instance_uid not in uids]


def _real(path: str, real_folder: Callable[[str], str]) -> str:
    """The file that is meant, whatever links lead there."""
    folder, name = os.path.split(path)
    if name in ("", os.curdir, os.pardir) or os.path.islink(path):
        return os.path.realpath(path)
    return os.path.join(real_folder(folder), name)


def _words(path: str, error: Exception) -> str:
    return f"{path} cannot be read: {error.strerror}" if isinstance(error, OSError) else str(error)
