"""A question to a worklist, read; whether a scheduled step matches it; and what is answered (PS3.4 K.4.1, K.6.1)."""

from __future__ import annotations

import struct
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from typing import Final

from pydicom.config import IGNORE
from pydicom.datadict import dictionary_has_tag, dictionary_VR, keyword_for_tag, tag_for_keyword
from pydicom.dataelem import DataElement
from pydicom.dataset import Dataset

from ...identity.sight import Sight, View
from ..matching import IdentifierError, Key, SequenceKey, Universal, Values, combined, fold_name, read_key
from ..models import texts_of
from ..moments import date_span, next_days, time_span
from ..responses import UNICODE, character_set_for

_STEPS: Final = "ScheduledProcedureStepSequence"
_DATE, _TIME = "ScheduledProcedureStepStartDate", "ScheduledProcedureStepStartTime"
# Not keys: they say how the identifier is meant (PS3.4 K.4.1.1.3).
_CONTROL: Final = frozenset((0x0008_0005, 0x0008_0201))
_TEXT_VRS: Final = frozenset(
    ("AE", "AS", "CS", "DA", "DS", "DT", "IS", "LO", "LT", "PN", "SH", "ST", "TM", "UC", "UI", "UR", "UT")
)


@dataclass(frozen=True, slots=True)
class Question:
    """The identifier of a C-FIND with its keys by keyword; those of a sequence are in a `SequenceKey`.

    `unsupported` are tags that nobody knows, so that nothing matches or returns them: responses are FF01H (PS3.4
    K.4.1.1.4).
    """

    identifier: Dataset
    keys: Mapping[str, Key]
    unsupported: tuple[int, ...]

    def answers(self, scheduled: Dataset, sees: Sight, unknown_matches: bool = True) -> Iterator[Dataset]:
        """A response for each Scheduled Procedure Step of `scheduled` that matches and may be seen.

        There is one step in a response (PS3.4 Table K.6-1). With `unknown_matches` what has no value matches each key,
        so that a step without a station is on the list of all of them.
        """
        for step in scheduled.get(_STEPS) or ():
            entry = scheduled
            if len(scheduled[_STEPS].value) > 1:
                entry = Dataset(dict(scheduled.items()))  # or both would be one
                entry[_STEPS] = DataElement(tag_for_keyword(_STEPS) or 0, "SQ", [step])
            if _fits(self.keys, entry, unknown_matches) and any(_shows(view, entry, step) for view in sees):
                yield self._answer(entry)

    def _answer(self, entry: Dataset) -> Dataset:
        answer = _chosen(self.identifier, self.keys, entry)
        texts = list(_texts(answer))
        asked = texts_of(self.identifier, 0x0008_0005)
        character_set: str | Sequence[str] = character_set_for(asked, texts)
        if character_set == UNICODE and asked != (UNICODE,):
            # Whoever scheduled it knows what its devices can show, and many of them cannot show Unicode.
            character_set = list(texts_of(entry, 0x0008_0005)) or UNICODE
        if character_set:
            answer.SpecificCharacterSet = character_set
        return answer


def read_question(identifier: Dataset) -> Question:
    """Read the identifier of a C-FIND request. Raises IdentifierError."""
    unsupported: list[int] = []
    return Question(identifier, _read(identifier, unsupported), tuple(unsupported))


def _read(identifier: Dataset, unsupported: list[int]) -> dict[str, Key]:
    keys: dict[str, Key] = {}
    for tag in sorted(map(int, identifier.keys())):
        keyword = keyword_for_tag(tag)
        if tag in _CONTROL or tag & 0xFFFF == 0:
            continue
        if not keyword or not dictionary_has_tag(tag):
            unsupported.append(tag)
        elif dictionary_VR(tag) == "SQ":
            items = _items(identifier, tag)
            if len(items) > 1:
                raise IdentifierError("expected a sequence of one item (PS3.4 C.2.2.2.6)", tag)
            inner = _read(items[0], unsupported) if items else {}
            keys[keyword] = SequenceKey(inner) if inner else Universal()
        else:
            keys[keyword] = read_key(tag, identifier[tag].VR, texts_of(identifier, tag))
    return keys


def _items(data_set: Dataset, tag: int) -> Sequence[Dataset]:
    try:
        element = data_set[tag]
    except (ValueError, TypeError, LookupError, NotImplementedError, struct.error, AttributeError, OSError) as error:
        raise IdentifierError("expected a sequence", tag) from error
    if element.VR != "SQ":
        raise IdentifierError("expected a sequence", tag)
    return list(element.value or ())


# Matching ----------------------------------------------------------------------------------------------------------


def _fits(keys: Mapping[str, Key], entry: Dataset, unknown_matches: bool) -> bool:
    # A range of dates and one of times are one from moment to moment (PS3.4 Table K.6-1, remark on the time).
    both = combined(keys[_DATE], keys[_TIME]) if _DATE in keys and _TIME in keys else None
    if both is not None and (span := _span(entry)) is not None:
        if not both.includes(span):
            return False
        keys = {keyword: key for keyword, key in keys.items() if keyword not in (_DATE, _TIME)}
    for keyword, key in keys.items():
        if isinstance(key, Universal):
            continue
        if isinstance(key, SequenceKey):
            items = _items_of(entry, keyword)
            if not any(_fits(key.keys, item, unknown_matches) for item in items) and (items or not unknown_matches):
                return False
        else:
            values = _values(entry, keyword)
            if not key.matches(values) and (values or not unknown_matches):
                return False
    return True


def _span(entry: Dataset) -> tuple[str, str] | None:
    """The moments that the start of a step may be; None where no date is known."""
    days = [span for text in _values(entry, _DATE) if (span := date_span(str(text)))]
    times = [span for text in _values(entry, _TIME) if (span := time_span(str(text)))] or [("", "~")]
    return (days[0][0] + times[0][0], days[0][1] + times[0][1]) if days else None


def _values(entry: Dataset, keyword: str) -> Values:
    tag = tag_for_keyword(keyword)
    assert tag is not None  # it came from one
    return texts_of(entry, tag)


def _items_of(entry: Dataset, keyword: str) -> Sequence[Dataset]:
    return list(entry.get(keyword) or ())


def _shows(view: View, entry: Dataset, step: Dataset) -> bool:
    """Whether a user's view of what is stored takes in what is scheduled. Nobody has stored it, whoever will."""
    conditions = (
        (view.modalities, _values(step, "Modality")),
        (view.institutions, _values(entry, "InstitutionName")),
        (view.patient_id_issuers, _values(entry, "IssuerOfPatientID")),
    )
    if any(wanted is not None and not wanted & set(map(str, found)) for wanted, found in conditions):
        return False
    if view.referring_physicians is not None:
        wanted = {fold_name(name) for name in view.referring_physicians} - {()}
        groups = [fold_name(str(name)) for name in _values(entry, "ReferringPhysicianName")]
        if not any(names in wanted or any((group,) in wanted for group in names) for names in groups):
            return False
    span = _span(step)
    first = next_days(f"{date.today():%Y%m%d}", -view.days) if view.days is not None else ""
    return view.days is None or (span is not None and span[0][:8] >= first)


# Answering ---------------------------------------------------------------------------------------------------------


def _chosen(identifier: Dataset, keys: Mapping[str, Key], entry: Dataset) -> Dataset:
    """What was asked for: of a sequence the items that match, and of each what was asked for, or all of it."""
    answer = Dataset()
    for keyword, key in keys.items():
        tag = tag_for_keyword(keyword)
        assert tag is not None  # it came from one
        if dictionary_VR(tag) == "SQ":
            items = _items_of(entry, keyword)
            if isinstance(key, SequenceKey):
                inner = identifier[tag].value[0]
                items = [_chosen(inner, key.keys, item) for item in items if _fits(key.keys, item, True)]
            else:
                items = [_copy(item) for item in items]
            answer[tag] = DataElement(tag, "SQ", items)
        else:
            answer[tag] = _element(entry[tag]) if tag in entry else DataElement(tag, identifier[tag].VR, None)
    return answer


def _copy(item: Dataset) -> Dataset:
    copied = Dataset()
    for element in item:
        if element.VR == "SQ":
            copied[element.tag] = DataElement(element.tag, "SQ", [_copy(each) for each in element.value])
        elif element.tag not in _CONTROL:
            copied[element.tag] = _element(element)
    return copied


def _element(element: DataElement) -> DataElement:
    """The element without the character set that it came in, so that it is written in that of the answer."""
    if element.VR not in _TEXT_VRS or element.is_empty:
        return DataElement(element.tag, element.VR, element.value, validation_mode=IGNORE)
    values = list(element.value) if element.VM > 1 else [element.value]
    texts = [str(value) for value in values]
    return DataElement(element.tag, element.VR, texts if len(texts) > 1 else texts[0], validation_mode=IGNORE)


def _texts(data_set: Dataset) -> Iterator[str]:
    for element in data_set:
        if element.VR == "SQ":
            for item in element.value:
                yield from _texts(item)
        elif element.VR in _TEXT_VRS and not element.is_empty:
            yield str(element.value)
