"""The DICOM files that pydicom ships, and the bytes of a data set as they are in a file."""

from __future__ import annotations

import warnings
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from functools import cache
from io import BytesIO
from pathlib import Path

import pydicom
import pydicom.data
from pydicom.errors import InvalidDicomError

from dimsetls.uids import EXPLICIT_VR_BIG_ENDIAN, EXPLICIT_VR_LITTLE_ENDIAN, IMPLICIT_VR_LITTLE_ENDIAN

_LONG_VRS = (b"OB", b"UN")  # of group 0002, those whose length has four bytes (PS3.5 §7.1.2)


INDEX = "index.dat"
"""The file of dcmqrscp that is none."""

Kept = dict[str, tuple[str, bytes]]
"""SOP Instance UID to transfer syntax and data set."""


@dataclass(frozen=True, slots=True)
class Instance:
    """A file that names a SOP class and an instance of it."""

    path: Path
    sop_class_uid: str
    sop_instance_uid: str
    transfer_syntax_uid: str
    """As its file meta information has it, or where it has none, as the data set looks."""
    has_file_meta: bool
    data_set: bytes = field(repr=False)

    @property
    def name(self) -> str:
        return self.path.name


@cache
def shipped() -> tuple[Instance, ...]:
    """Every file that the installed pydicom brings along and that names a SOP class, in the order of their paths."""
    root = Path(pydicom.data.__file__).parent
    return tuple(instance for path in sorted(root.rglob("*")) if path.is_file() and (instance := _instance(path)))


def named(name: str) -> Instance:
    """The file of that name among them."""
    (instance,) = (each for each in shipped() if each.name == name)
    return instance


def distinct(directory: Path) -> list[Instance]:
    """All of them as Part 10 files in a directory, each with a SOP Instance UID of its own: several files share theirs.

    A UID is replaced by one of the same length, so that nothing else in the data set changes.
    """
    made: dict[str, Instance] = {}
    for number, instance in enumerate(shipped()):
        uid, data_set = instance.sop_instance_uid, instance.data_set
        if uid in made:
            uid = f"1.2.9{number:0{len(uid) - 5}d}"
            data_set = data_set.replace(instance.sop_instance_uid.encode(), uid.encode())
        path = directory / str(number) / instance.name
        path.parent.mkdir()
        made[uid] = replace(instance, path=path, sop_instance_uid=uid, has_file_meta=True, data_set=data_set)
        write_part10(made[uid])
    return list(made.values())


def write_part10(instance: Instance) -> None:
    """Write the file, with file meta information that says of the instance what we do."""
    meta = pydicom.dataset.FileMetaDataset()
    meta.MediaStorageSOPClassUID = pydicom.uid.UID(instance.sop_class_uid)
    meta.MediaStorageSOPInstanceUID = pydicom.uid.UID(instance.sop_instance_uid)
    meta.TransferSyntaxUID = pydicom.uid.UID(instance.transfer_syntax_uid)
    with instance.path.open("wb") as file:
        file.write(bytes(128) + b"DICM")
        pydicom.filewriter.write_file_meta_info(file, meta)
        file.write(instance.data_set)


def _instance(path: Path) -> Instance | None:
    try:
        ds = _read(path)
    except (InvalidDicomError, EOFError, ValueError, TypeError, KeyError):
        return None  # a text, an archive, a colour profile
    if "SOPClassUID" not in ds or "SOPInstanceUID" not in ds:
        return None
    meta = getattr(ds, "file_meta", {})
    match ds.original_encoding:
        case True, _:
            guess = IMPLICIT_VR_LITTLE_ENDIAN
        case _, False:
            guess = EXPLICIT_VR_BIG_ENDIAN
        case _:
            guess = EXPLICIT_VR_LITTLE_ENDIAN
    return Instance(
        path,
        ds.SOPClassUID,
        ds.SOPInstanceUID,
        meta.get("TransferSyntaxUID", guess),
        "TransferSyntaxUID" in meta,
        data_set_of(path),
    )


def _read(file: Path | BytesIO) -> pydicom.Dataset:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # some of these files are wrong in a way that pydicom mentions
        return pydicom.dcmread(file, force=True, stop_before_pixels=True)


def data_set_of(path: Path) -> bytes:
    return data_set_in(path.read_bytes())


def data_set_in(content: bytes) -> bytes:
    """What follows the file meta information, which is always in Explicit VR Little Endian (PS3.10 §7.1)."""
    at = 132 if content[128:132] == b"DICM" else 0
    while content[at : at + 2] == b"\x02\x00":
        if content[at + 4 : at + 6] in _LONG_VRS:
            at += 12 + int.from_bytes(content[at + 8 : at + 12], "little")
        else:
            at += 8 + int.from_bytes(content[at + 6 : at + 8], "little")
    return content[at:]


def in_directory(directory: Path) -> Kept:
    """What the Part 10 files in a directory hold."""
    return dict(held(path.read_bytes()) for path in directory.glob("[!.]*") if path.name != INDEX)


def held(content: bytes) -> tuple[str, tuple[str, bytes]]:
    """The SOP Instance UID of a Part 10 file, its transfer syntax and data set."""
    meta = _read(BytesIO(content)).file_meta
    return meta.MediaStorageSOPInstanceUID, (meta.TransferSyntaxUID, data_set_in(content))


def padded(instance: Instance) -> bytes:
    """The data set as it is sent: one of odd length, deflated or truncated, has one more byte (PS3.5 A.5)."""
    return instance.data_set + b"\0" * (len(instance.data_set) % 2)


def sent(instances: Iterable[Instance]) -> Kept:
    """What who receives them must have."""
    return {each.sop_instance_uid: (each.transfer_syntax_uid, padded(each)) for each in instances}


@cache
def patient_data() -> frozenset[str]:
    """Names and IDs of the patients in these files, where they are long enough to be found by accident nowhere."""
    found = set()
    for instance in shipped():
        ds = _read(instance.path)
        found |= {str(ds.get(keyword, "")) for keyword in ("PatientName", "PatientID", "PatientBirthDate")}
    return frozenset(value for value in found if len(value) >= 8)
