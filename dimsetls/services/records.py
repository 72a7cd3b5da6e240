"""What the index holds of an instance: its values, decoded. The bytes were picked by `ElementReader`."""

from __future__ import annotations

import json
import os
import re
import struct
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, Final

from pydicom.charset import convert_encodings, decode_bytes
from pydicom.dataset import Dataset
from pydicom.valuerep import TEXT_VR_DELIMS
from pydicom.values import convert_SQ

from ..association.part10 import read_file_meta
from ..uids import EXPLICIT_VR_BIG_ENDIAN, IMPLICIT_VR_LITTLE_ENDIAN
from .elements import ElementReader
from .matching import SINGLE_VALUE_VRS, Item, Values, without_escapes
from .models import ATTRIBUTES
from .moments import date_span

LONGEST_INDEXED: Final = 2048
"""Bytes of the longest value that is indexed: what has more is as good as unknown."""

TAGS: Final = {attribute.tag: attribute for attribute in ATTRIBUTES.values() if not attribute.computed}
SEQUENCES: Final = frozenset(tag for tag, attribute in TAGS.items() if attribute.vr == "SQ")
WANTED: Final = frozenset((*TAGS, 0x0008_0005))
"""What is to be picked from a data set."""

_SPECIFIC_CHARACTER_SET: Final = 0x0008_0005
_TEXT_VRS: Final = frozenset(("LO", "LT", "PN", "SH", "ST", "UC", "UT"))  # those that (0008,0005) is about
_NUMBERS: Final = {"US": "H", "SS": "h", "UL": "I", "SL": "i", "FL": "f", "FD": "d"}
_READ_AT_ONCE: Final = 1 << 16


@dataclass(frozen=True, slots=True)
class Entry:
    """One instance as the index holds it: `values` by keyword as `split` reads them, `path` relative to the store."""

    values: Mapping[str, str]
    transfer_syntax_uid: str
    path: str
    size: int

    @property
    def sop_instance_uid(self) -> str:
        return self.values["SOPInstanceUID"]


def reader(transfer_syntax_uid: str, also: Iterable[int] = ()) -> ElementReader:
    """What picks the values of the index, and those of some other tags, as a data set goes by."""
    return ElementReader(transfer_syntax_uid, WANTED.union(also), SEQUENCES, LONGEST_INDEXED)


def entry(
    raw: Mapping[int, bytes], transfer_syntax_uid: str, sop_class_uid: str, sop_instance_uid: str, path: str, size: int,
    sending_ae_title: str = "", receiving_ae_title: str = "",
) -> Entry:  # fmt: skip
    """Decode what was picked. The UIDs of the instance are those by which it is stored, whatever its data set says."""
    character_set = raw.get(_SPECIFIC_CHARACTER_SET, b"")
    is_implicit = transfer_syntax_uid == IMPLICIT_VR_LITTLE_ENDIAN
    is_little = transfer_syntax_uid != EXPLICIT_VR_BIG_ENDIAN
    values = {}
    for tag, value in raw.items():
        attribute = TAGS.get(tag)
        if attribute is not None and (text := _decode(attribute.vr, value, character_set, is_implicit, is_little)):
            values[attribute.keyword] = text
    values["SOPClassUID"], values["SOPInstanceUID"] = sop_class_uid, sop_instance_uid
    if sending_ae_title:
        values["SendingApplicationEntityTitle"] = sending_ae_title
    if receiving_ae_title:
        values["ReceivingApplicationEntityTitle"] = receiving_ae_title
    return Entry(values, transfer_syntax_uid, path, size)


def read_entry(root: Path, path: str) -> Entry | None:
    """The entry of a stored file; None if it is not a Part 10 file with the UIDs of an instance. Raises OSError."""
    with open(root / path, "rb") as file:
        meta = read_file_meta(file)
        if meta is None or not (meta.transfer_syntax_uid and meta.sop_class_uid and meta.sop_instance_uid):
            return None
        elements = reader(meta.transfer_syntax_uid)
        while not elements.done and (block := file.read(_READ_AT_ONCE)):
            elements.feed(block)
        size = os.fstat(file.fileno()).st_size
    return entry(elements.values, meta.transfer_syntax_uid, meta.sop_class_uid, meta.sop_instance_uid, path, size,
                 meta.sending_ae_title, meta.receiving_ae_title)  # fmt: skip


def split(keyword: str, text: str) -> Values:
    """The values of an attribute from how an entry holds them; none if it is empty."""
    if not text:
        return ()
    attribute = ATTRIBUTES[keyword]
    if attribute.vr == "SQ":
        items: list[Item] = json.loads(text)
        return items
    return (text,) if attribute.is_single else text.split("\\")


# The values of a patient, study and series come again with each instance, so most are decoded once.
@lru_cache(maxsize=4096)
def _decode(vr: str, value: bytes, character_set: bytes, is_implicit: bool, is_little: bool) -> str:
    if vr == "SQ":
        return _decode_sequence(value, character_set, is_implicit, is_little)
    if vr in _NUMBERS:
        form = ("<" if is_little else ">") + _NUMBERS[vr]
        whole = value[: len(value) // struct.calcsize(form) * struct.calcsize(form)]
        return "\\".join(str(number) for (number,) in struct.iter_unpack(form, whole))
    if vr in _TEXT_VRS:
        text = without_escapes(decode_bytes(value, _encodings(character_set), TEXT_VR_DELIMS))
    else:
        text = value.decode("ascii", "replace")
    text = text.replace("\0", "")
    if vr in SINGLE_VALUE_VRS:
        return text.rstrip(" ")
    if vr == "DA" and (span := date_span(text)) is not None:
        return span[0]
    joined = "\\".join(part.strip(" ").rstrip("=" if vr == "PN" else " ") for part in text.split("\\"))
    return joined if joined.strip("\\") else ""


_CODE_STRING = re.compile(r"[A-Z0-9 _]{0,16}\Z")


@lru_cache(maxsize=64)
def _encodings(character_set: bytes) -> list[str]:
    names = [name.strip() for name in character_set.decode("ascii", "replace").rstrip("\0 ").split("\\")]
    # What is no code string is no character set, and Python's codecs stumble over it.
    return convert_encodings([name if _CODE_STRING.match(name) else "" for name in names])


def _decode_sequence(value: bytes, character_set: bytes, is_implicit: bool, is_little: bool) -> str:
    try:
        items = convert_SQ(value, is_implicit, is_little, _encodings(character_set))
        found = [_item(item) for item in items]
    except (ValueError, TypeError, LookupError, AttributeError, NotImplementedError, OSError, OverflowError,
            RecursionError, struct.error):  # fmt: skip
        return ""  # what pydicom cannot read is unknown
    return json.dumps(found, ensure_ascii=False) if any(found) else ""


def _item(item: Dataset) -> dict[str, Any]:
    """The plain attributes of an item by keyword; a sequence in it is left out."""
    found: dict[str, list[str]] = {}
    for element in item:
        if element.keyword and element.VR not in ("SQ", "OB", "OW", "UN") and not element.is_empty:
            values = element.value if element.VM > 1 else [element.value]
            found[element.keyword] = [without_escapes(str(value)).strip("\0 ") for value in values]
    return found
