"""Queries as people write them, and matches as they read them."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from pydicom.datadict import dictionary_VR, keyword_for_tag, tag_for_keyword
from pydicom.dataelem import DataElement
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence as Items

from ...services.models import UNIQUE_KEYS, Level

FIND = {"patient": "1.2.840.10008.5.1.4.1.2.1.1", "study": "1.2.840.10008.5.1.4.1.2.2.1"}
"""Patient Root and Study Root Query/Retrieve Information Model - FIND (PS3.4 C.6)."""
MOVE = {"patient": "1.2.840.10008.5.1.4.1.2.1.2", "study": "1.2.840.10008.5.1.4.1.2.2.2"}

USUAL = {
    Level.PATIENT: ("PatientID", "PatientName", "PatientBirthDate", "PatientSex"),
    Level.STUDY: ("StudyDate", "PatientID", "PatientName", "AccessionNumber", "StudyDescription"),
    Level.SERIES: ("SeriesNumber", "Modality", "SeriesDescription"),
    Level.IMAGE: ("InstanceNumber", "SOPClassUID"),
}
"""What is asked for where nobody says."""

_WIDEST = 64
_INTEGERS = ("US", "SS", "UL", "SL", "UV", "SV")
_NOT_TYPED = ("SQ", "OB", "OD", "OF", "OL", "OV", "OW", "UN", "AT", "FL", "FD")


def identifier(level: Level, keys: Sequence[str], *, to_retrieve: bool = False) -> Dataset:
    """The identifier of keys, each KEYWORD or KEYWORD=VALUE. Raises ValueError, one sentence for the first mistake."""
    dataset = Dataset()
    for key in keys:
        keyword, _, value = key.partition("=")
        element = _element(keyword, value)
        if element.tag in dataset:
            raise ValueError(f"{keyword} came twice, expected each key once; values are separated by backslashes")
        if to_retrieve and not value:
            raise ValueError(f"{keyword} came without a value, expected KEYWORD=VALUE")
        dataset.add(element)
    if to_retrieve and UNIQUE_KEYS[level] not in dataset:
        raise ValueError(f"{UNIQUE_KEYS[level]} is missing, which says what to retrieve at level {level.value}")
    asked = [] if to_retrieve else [UNIQUE_KEYS[level], *(() if any("=" not in key for key in keys) else USUAL[level])]
    for keyword in asked:
        if keyword not in dataset:
            dataset.add(_element(keyword, ""))
    dataset.QueryRetrieveLevel = level.value
    if not all(key.isascii() for key in keys):
        dataset.SpecificCharacterSet = "ISO_IR 192"
    return dataset


def _element(keyword: str, value: str) -> DataElement:
    from pydicom import config

    tag = tag_for_keyword(keyword)
    if tag is None or tag >> 16 <= 0x0007:
        raise ValueError(f"found {keyword!r}, expected the keyword of an attribute such as PatientID (PS3.6)")
    vr = dictionary_VR(tag).split(" ")[0]
    if value and vr in _NOT_TYPED:
        raise ValueError(f"{keyword} came with a value, expected none for VR {vr}")
    values: Any = value.split("\\") if "\\" in value else value
    if vr == "SQ":
        values = Items()
    elif vr in _INTEGERS:
        try:
            values = [int(each) for each in value.split("\\")] if value else None
        except ValueError:
            raise ValueError(f"{keyword} came as {value!r}, expected a whole number") from None
    try:  # wildcards, ranges and lists of UIDs are in a query what they are not in an instance
        return DataElement(tag, vr, values, validation_mode=config.IGNORE)
    except (ValueError, TypeError, OverflowError) as error:
        raise ValueError(f"{keyword} came as {value!r}, which is no value of VR {vr}: {error}") from None


def columns(query: Dataset) -> list[str]:
    """What the table shows: all that was asked for, in the order of tags, the long UIDs last."""
    keywords = {keyword_for_tag(element.tag) for element in query} - {"QueryRetrieveLevel", "SpecificCharacterSet"}
    ordered = [keyword for element in query if (keyword := keyword_for_tag(element.tag)) in keywords]
    return sorted(ordered, key=lambda keyword: keyword.endswith("InstanceUID"))


def table(matches: Sequence[Dataset], keywords: Sequence[str]) -> Iterator[str]:
    """Lines of a table, its heading first; nothing that a peer sends moves the cursor."""
    rows = [[_text(match.get(keyword)) for keyword in keywords] for match in matches]
    widths = [max(map(len, column)) for column in zip(keywords, *rows, strict=True)]
    for row in (list(keywords), *rows):
        yield "  ".join(text.ljust(width) for text, width in zip(row, widths, strict=True)).rstrip()


def dicom_json(matches: Iterable[Dataset]) -> str:
    """The matches as the DICOM JSON Model (PS3.18 Annex F)."""
    return json.dumps([match.to_json_dict(suppress_invalid_tags=True) for match in matches], ensure_ascii=False)


def _text(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, Items):
        return f"{len(value)} items"
    several = not isinstance(value, str | bytes) and hasattr(value, "__iter__") and not hasattr(value, "family_name")
    text = "\\".join(map(str, value)) if several else str(value)
    shown = "".join(character if character.isprintable() else "?" for character in text)
    return shown if len(shown) <= _WIDEST else f"{shown[: _WIDEST - 1]}…"
