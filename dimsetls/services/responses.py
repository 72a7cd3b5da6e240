"""What a C-FIND response carries for an entity that matches (PS3.4 C.4.1.1.3.2)."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import cache
from typing import Final

from pydicom.charset import convert_encodings
from pydicom.config import IGNORE
from pydicom.datadict import dictionary_VR, tag_for_keyword
from pydicom.dataelem import DataElement
from pydicom.dataset import Dataset

from .matching import Item, SequenceKey, Values
from .models import ATTRIBUTES, Query

UNICODE: Final = "ISO_IR 192"
# What an asker may be answered in when it asked in it. Of others a Python codec has more, or less, than the standard.
_PLAIN: Final = frozenset((
    UNICODE, "ISO_IR 100", "ISO_IR 101", "ISO_IR 109", "ISO_IR 110", "ISO_IR 144", "ISO_IR 127", "ISO_IR 126",
    "ISO_IR 138", "ISO_IR 148", "ISO_IR 166", "GB18030",
))  # fmt: skip


def response(query: Query, entity: Mapping[str, Values], retrieve_ae_title: str) -> Dataset:
    """The identifier of a pending response: the keys that were asked for, and what goes with all of them.

    It is in the character set of the request if that can express it, in Unicode otherwise. Of a sequence it has the
    items that match, and of each the attributes that were asked for, or all if none were.
    """
    data_set = Dataset()
    if character_set := character_set_for(query.character_set, _texts(entity[keyword] for keyword in query.keys)):
        data_set.SpecificCharacterSet = character_set
    data_set.QueryRetrieveLevel = query.level.value
    data_set.RetrieveAETitle = retrieve_ae_title
    data_set.InstanceAvailability = "ONLINE"
    for keyword, key in query.keys.items():
        attribute = ATTRIBUTES[keyword]
        if attribute.vr == "SQ":
            data_set.add_new(attribute.tag, "SQ", [_item(item, key) for item in _items(entity[keyword], key)])
        else:
            _add(data_set, attribute.tag, attribute.vr, entity[keyword])
    if query.timezone:
        data_set.TimezoneOffsetFromUTC = query.timezone
    return data_set


def _items(values: Values, key: object) -> list[Item]:
    items = [item for item in values if not isinstance(item, str)]
    return [item for item in items if key.matches_item(item)] if isinstance(key, SequenceKey) else items


def _item(item: Item, key: object) -> Dataset:
    data_set = Dataset()
    for keyword in key.keys if isinstance(key, SequenceKey) else item:
        tag = tag_for_keyword(keyword)
        assert tag is not None  # it came from one
        _add(data_set, tag, dictionary_VR(tag), item.get(keyword, ()))
    return data_set


def _add(data_set: Dataset, tag: int, vr: str, values: Values) -> None:
    texts: Sequence[object] = values
    try:
        if vr in ("US", "SS", "UL", "SL"):
            texts = [int(str(value)) for value in values]
        elif vr in ("FL", "FD"):
            texts = [float(str(value)) for value in values]
        value = None if not texts else texts[0] if len(texts) == 1 else list(texts)
        data_set[tag] = DataElement(tag, vr, value, validation_mode=IGNORE)
    except (ValueError, TypeError, OverflowError):  # a number that is none was stored
        data_set[tag] = DataElement(tag, vr, None)


def _texts(values: Iterator[Values] | Sequence[Values]) -> Iterator[str]:
    for several in values:
        for value in several:
            if isinstance(value, str):
                yield value
            else:
                yield from _texts(list(value.values()))


def character_set_for(asked: tuple[str, ...], texts: Iterable[str]) -> str:
    """Specific Character Set for texts: that of the question if it can express them, or Unicode; none for ASCII."""
    text = "".join(texts)
    own = asked[0] if len(asked) == 1 and asked[0] in _PLAIN else ""
    if text.isascii():
        return own
    try:
        text.encode(_codec(own) if own else "ascii")
        return own
    except UnicodeError:
        return UNICODE


@cache
def _codec(character_set: str) -> str:
    return convert_encodings([character_set])[0]
