"""Queries as people write them, and matches as they read them."""

from __future__ import annotations

import json
import unicodedata
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from pydicom.datadict import dictionary_VR, keyword_for_tag, tag_for_keyword
from pydicom.dataelem import DataElement
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence as Items

from ...services.models import LEVELS, PATIENT_ROOT, STUDY_ROOT, UNIQUE_KEYS, Level, Model

MODELS = {"patient": PATIENT_ROOT, "study": STUDY_ROOT}

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


def model_of(name: str | None, level: Level) -> Model:
    """The information model that is meant: where none is named, one that has the level. Raises ValueError."""
    model = MODELS[name] if name is not None else PATIENT_ROOT if level is Level.PATIENT else STUDY_ROOT
    if level not in model.levels:
        raise ValueError(f"the model {name} has no level {level.value}, expected --model patient")
    return model


def identifier(level: Level, keys: Sequence[str]) -> Dataset:
    """The identifier of keys, each KEYWORD or KEYWORD=VALUE. Raises ValueError, one sentence for the first mistake."""
    dataset = _dataset(level, keys)
    for keyword in (UNIQUE_KEYS[level], *(() if any("=" not in key for key in keys) else USUAL[level])):
        if keyword not in dataset:
            dataset.add(_element(keyword, ""))
    return dataset


def retrieval(level: str | None, root: str | None, keys: Sequence[str]) -> tuple[Model, Dataset]:
    """What to retrieve: the model, and the identifier, which has unique keys alone (PS3.4 C.4.2.2.1).

    Where no level is named, it is that of the lowest key. Raises ValueError.
    """
    for keyword, _, value in (key.partition("=") for key in keys):
        if keyword not in UNIQUE_KEYS.values():
            allowed = ", ".join(UNIQUE_KEYS.values())
            raise ValueError(f"{keyword} cannot say what to retrieve, expected {allowed}, which dimsetls find shows")
        if not value:
            raise ValueError(f"{keyword} came without a value, expected KEYWORD=VALUE")
    given = [each for each in LEVELS if any(key.startswith(f"{UNIQUE_KEYS[each]}=") for key in keys)]
    wanted = Level(level) if level is not None else given[-1]
    model = model_of(root, wanted)
    for each in (*model.above(wanted), wanted):
        if each not in given:
            raise ValueError(f"{UNIQUE_KEYS[each]} is missing, without which nothing of level {wanted.value} is "
                             f"found in the model {model.name}")
    return model, _dataset(wanted, keys)


def _dataset(level: Level, keys: Sequence[str]) -> Dataset:
    dataset = Dataset()
    for key in keys:
        keyword, _, value = key.partition("=")
        element = _element(keyword, value)
        if element.tag in dataset:
            raise ValueError(f"{keyword} came twice, expected each key once: what is matched is shown too, and "
                             "values are separated by backslashes")
        dataset.add(element)
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
    widths = [max(map(_width, column)) for column in zip(keywords, *rows, strict=True)]
    for row in (list(keywords), *rows):
        cells = (text + " " * (width - _width(text)) for text, width in zip(row, widths, strict=True))
        yield "  ".join(cells).rstrip()


def dicom_json(matches: Iterable[Dataset]) -> str:
    """The matches as the DICOM JSON Model (PS3.18 Annex F)."""
    return json.dumps([match.to_json_dict(suppress_invalid_tags=True) for match in matches], ensure_ascii=False)


def _width(text: str) -> int:
    """Columns of a terminal: characters of East Asia take two each, and those that combine with another none."""
    return sum(0 if unicodedata.combining(each) else 2 if unicodedata.east_asian_width(each) in "WF" else 1
               for each in text)  # fmt: skip


def _text(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, Items):
        return f"{len(value)} items"
    several = not isinstance(value, str | bytes) and hasattr(value, "__iter__") and not hasattr(value, "family_name")
    text = "\\".join(map(str, value)) if several else str(value)
    shown = "".join(character if character.isprintable() else "?" for character in text)
    return shown if len(shown) <= _WIDEST else f"{shown[: _WIDEST - 1]}…"
