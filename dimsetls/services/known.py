"""SOP classes and transfer syntaxes by the dictionary of pydicom, in the order in which we prefer them."""

from __future__ import annotations

from functools import cache
from importlib.machinery import PathFinder
from importlib.util import find_spec, module_from_spec
from typing import Any

from ..uids import EXPLICIT_VR_LITTLE_ENDIAN, IMPLICIT_VR_LITTLE_ENDIAN, VERIFICATION


def _dictionary() -> dict[str, tuple[str, str, str, str, str]]:
    """The dictionary of UIDs alone: with the rest of pydicom a node that only stores would be 5 MiB larger."""
    package = find_spec("pydicom")
    found = PathFinder.find_spec("pydicom._uid_dict", package.submodule_search_locations if package else None)
    if found is None or found.loader is None:
        raise ModuleNotFoundError("found no pydicom with a dictionary of UIDs; pip install dimsetls brings one")
    module: Any = module_from_spec(found)
    found.loader.exec_module(module)
    return dict(module.UID_dictionary)


UIDS = _dictionary() | {
    "1.2.840.10008.1.2.4.110": ("JPEG XL Lossless", "Transfer Syntax", "", "", "JPEGXLLossless"),
    "1.2.840.10008.1.2.4.111": ("JPEG XL JPEG Recompression", "Transfer Syntax", "", "", "JPEGXLJPEGRecompression"),
    "1.2.840.10008.1.2.4.112": ("JPEG XL", "Transfer Syntax", "", "", "JPEGXL"),
    "1.2.840.10008.1.2.8.1": (
        "Deflated Image Frame Compression", "Transfer Syntax", "", "", "DeflatedImageFrameCompression",
    ),
}  # fmt: skip
"""UID to (name, kind, information, "Retired" or nothing, keyword): pydicom's, and what is newer than its release.

pynetdicom adds the same to pydicom's own dictionary when it is imported; here they are the same with and without it.
"""

_MEDIA_AND_COMMITMENT = "1.2.840.10008.1."  # Media Storage Directory, Storage Commitment: named alike, not C-STORE
_NOT_FOR_FILES = ("1.2.840.10008.1.2.6.", "1.2.840.10008.1.2.7.")  # MIME and XML; real-time video


@cache
def storage_sop_classes() -> frozenset[str]:
    """Every SOP class that C-STORE can carry, retired ones included (PS3.4 Annex B)."""
    return frozenset(
        uid
        for uid, (name, kind, *_) in UIDS.items()
        if kind == "SOP Class" and "Storage" in name and not uid.startswith(_MEDIA_AND_COMMITMENT)
    )


@cache
def other_sop_classes() -> frozenset[str]:
    """Every SOP class of another service: an unknown class that is none of these may be one of storage."""
    known = frozenset(uid for uid, (_, kind, *_) in UIDS.items() if kind in ("SOP Class", "Meta SOP Class"))
    return known - storage_sop_classes()


def is_stored(abstract_syntax: str, accept_unknown: bool = False) -> bool:
    """Whether C-STORE can carry it; with `accept_unknown` also what is known to be nothing else."""
    if abstract_syntax in storage_sop_classes():
        return True
    return accept_unknown and abstract_syntax != VERIFICATION and abstract_syntax not in other_sop_classes()


@cache
def transfer_syntaxes() -> dict[str, str]:
    """Keyword to UID of every transfer syntax in which a data set can be stored, the preferred one first.

    Preferred are those that a sender reaches without compressing, then the lossless, then the rest: choosing a
    lossy one could make a sender degrade its image for us.
    """

    def rank(keyword: str, uid: str) -> int:
        if uid in (EXPLICIT_VR_LITTLE_ENDIAN, IMPLICIT_VR_LITTLE_ENDIAN):
            return 0 if uid == EXPLICIT_VR_LITTLE_ENDIAN else 1
        return 2 if keyword.endswith("Endian") else 3 if "Lossless" in keyword and "Near" not in keyword else 4

    known = {
        keyword: uid
        for uid, (_, kind, _, _, keyword) in UIDS.items()
        if kind == "Transfer Syntax" and not uid.startswith(_NOT_FOR_FILES)
    }
    return dict(sorted(known.items(), key=lambda pair: rank(*pair)))
