"""The DICOM files that pydicom ships, and the bytes of a data set as they are in a file."""

from __future__ import annotations

import warnings
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

import pydicom
import pydicom.data
from pydicom.errors import InvalidDicomError

from dimsetls.uids import EXPLICIT_VR_BIG_ENDIAN, EXPLICIT_VR_LITTLE_ENDIAN, IMPLICIT_VR_LITTLE_ENDIAN

_LONG_VRS = (b"OB", b"UN")  # of group 0002, those whose length has four bytes (PS3.5 §7.1.2)


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


def _read(path: Path) -> pydicom.Dataset:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # some of these files are wrong in a way that pydicom mentions
        return pydicom.dcmread(path, force=True, stop_before_pixels=True)


def data_set_of(path: Path) -> bytes:
    """What follows the file meta information, which is always in Explicit VR Little Endian (PS3.10 §7.1)."""
    content = path.read_bytes()
    at = 132 if content[128:132] == b"DICM" else 0
    while content[at : at + 2] == b"\x02\x00":
        if content[at + 4 : at + 6] in _LONG_VRS:
            at += 12 + int.from_bytes(content[at + 8 : at + 12], "little")
        else:
            at += 8 + int.from_bytes(content[at + 6 : at + 8], "little")
    return content[at:]


@cache
def patient_data() -> frozenset[str]:
    """Names and IDs of the patients in these files, where they are long enough to be found by accident nowhere."""
    found = set()
    for instance in shipped():
        ds = _read(instance.path)
        found |= {str(ds.get(keyword, "")) for keyword in ("PatientName", "PatientID", "PatientBirthDate")}
    return frozenset(value for value in found if len(value) >= 8)
