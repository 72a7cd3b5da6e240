"""A query put to the index: SQL finds candidates, `matching` judges each, and what is left becomes responses.

SQL has no say in what matches. Its conditions leave out only what surely does not, and are there so that indexes are
used. First the candidates' row numbers are fetched, all at once and eight bytes each; then rows, a chunk at a time, as
fast as they are asked for. So a peer that takes its time, or never ends, holds no cursor and no transaction.
"""

from __future__ import annotations

import json
from array import array
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final, TypeAlias

from ..identity.sight import EVERYTHING, Sight
from .index import NAME_GROUPS, STORED_COLUMNS, TABLES, Index, Stored
from .matching import NUMBER_VRS, Exactly, Key, PersonName, Range, Universal, Values, Wildcard, combined
from .models import ATTRIBUTES, LEVELS, PAIRS, UNIQUE_KEYS, Attribute, Level, Query
from .moments import date_span, in_zone, next_days, time_span
from .records import split
from .visibility import Seen

Entity: TypeAlias = Mapping[str, Values]
"""A patient, study, series or instance with the attributes of those above it, by keyword; empty is unknown."""

CHUNK: Final = 100
"""Candidates whose rows are fetched, and judged, at once."""

_PARENTS: Final = {
    Level.IMAGE: "JOIN series ON series.id = instance.series",
    Level.SERIES: "JOIN study ON study.id = series.study",
    Level.STUDY: "JOIN patient ON patient.id = study.patient",
}
_OF_STUDY: Final = "FROM series AS s JOIN instance AS i ON i.series = s.id WHERE s.study = study.id{i}"
_SOP_CLASSES: Final = f"SELECT DISTINCT i.SOPClassUID {_OF_STUDY} ORDER BY 1"
_OF_PATIENT: Final = "FROM study AS t JOIN series AS s ON s.study = t.id"
# In braces stands what leaves out the studies, series and instances that are not seen.
_COMPUTED: Final = {
    "NumberOfPatientRelatedStudies": "SELECT count(*) FROM study AS t WHERE t.patient = patient.id{t}",
    "NumberOfPatientRelatedSeries": f"SELECT count(*) {_OF_PATIENT} WHERE t.patient = patient.id{{s}}",
    "NumberOfPatientRelatedInstances":
        f"SELECT count(*) {_OF_PATIENT} JOIN instance AS i ON i.series = s.id WHERE t.patient = patient.id{{i}}",
    "NumberOfStudyRelatedSeries": "SELECT count(*) FROM series AS s WHERE s.study = study.id{s}",
    "NumberOfStudyRelatedInstances": f"SELECT count(*) {_OF_STUDY}",
    "NumberOfSeriesRelatedInstances": "SELECT count(*) FROM instance AS i WHERE i.series = series.id{i}",
    "ModalitiesInStudy": r"""SELECT coalesce(group_concat(Modality, '\'), '') FROM
        (SELECT DISTINCT Modality FROM series AS s WHERE s.study = study.id{s} AND Modality <> '' ORDER BY Modality)""",
    "SOPClassesInStudy": rf"SELECT coalesce(group_concat(SOPClassUID, '\'), '') FROM ({_SOP_CLASSES})",  # noqa: S608
    "AvailableTransferSyntaxUID": "SELECT instance.TransferSyntaxUID",
}  # fmt: skip
_SETS: Final = {
    "ModalitiesInStudy": ("FROM series AS s", "s.Modality"),
    "SOPClassesInStudy": ("FROM series AS s JOIN instance AS i ON i.series = s.id", "i.SOPClassUID"),
}
_BEYOND: Final = "\U0010ffff"  # sorts after whatever may follow a prefix


class Search:
    """One query. `sees` says what may be found and counted; `unknown_matches` is PS3.4 C.2.2.1.2.

    By that clause an entity without a value for a key matches, whatever is asked for: its value is unknown.
    """

    def __init__(
        self, index: Index, query: Query, *, sees: Sight = EVERYTHING, unknown_matches: bool = True
    ) -> None:
        self.query = query
        self._index = index
        self._seen = Seen(sees)
        self._unknown_matches = unknown_matches
        self._unique = {UNIQUE_KEYS[level] for level in query.model.levels}
        self._keys = {keyword: key for keyword, key in query.keys.items() if not isinstance(key, Universal)}
        self._pairs = self._combined_pairs()
        self._columns = self._needed()

    def candidates(self) -> array[int]:
        """The row numbers of what may match, in the order in which it was stored."""
        with self._index.reading() as tables:
            rows = tables.execute(*self.statement())
            return array("q", sorted(number for (number,) in rows))

    def statement(self) -> tuple[str, list[object]]:
        """The SQL that finds the candidates, and its values."""
        level = self.query.level
        conditions, values = [], []
        highest = LEVELS.index(level if level is Level.PATIENT else Level.STUDY)
        for keyword, key in self._keys.items():
            unknown = self._unknown_matches and keyword not in self._unique
            if keyword in _SETS:
                condition = _set_condition(keyword, key, unknown, is_alone=len(self._keys) == 1)
            else:
                condition = _condition(ATTRIBUTES[keyword], key, unknown, bool(self.query.timezone))
            if condition is not None:
                conditions.append(condition[0])
                values += condition[1]
                highest = min(highest, LEVELS.index(ATTRIBUTES[keyword].level))
        if level is not Level.PATIENT:
            conditions.append("study.StudyInstanceUID <> ''")  # hangs nowhere: its data set was not readable
        if seen := self._seen.of(level, TABLES[level]):
            conditions.append(seen)
        joins = [_PARENTS[each] for each in reversed(LEVELS[highest + 1: LEVELS.index(level) + 1])]
        where = f"WHERE {' AND '.join(conditions)}" if conditions else ""
        statement = f"SELECT {TABLES[level]}.id FROM {TABLES[level]} {' '.join(joins)} {where}"  # noqa: S608
        return self._seen.prefix + statement, [*self._seen.values, *values]

    def entities(self, numbers: Sequence[int]) -> Iterator[tuple[int, dict[str, Values]]]:
        """Those of the candidates that match, with the values that the query needs."""
        for number, *texts in self._rows(numbers, ", ".join(self._columns.values())):
            entity = {keyword: split(keyword, str(text)) for keyword, text in zip(self._columns, texts, strict=True)}
            if self.query.timezone:
                _adjust(entity, self.query.timezone)
            if self._matches(entity):
                yield number, entity

    def stored(self, numbers: Sequence[int]) -> list[Stored]:
        """The instances of a query for them, to be sent; those removed meanwhile are left out."""
        return [Stored(*row[1:]) for row in self._rows(numbers, STORED_COLUMNS)]

    def _rows(self, numbers: Sequence[int], columns: str) -> list[tuple[Any, ...]]:
        level = self.query.level
        joins = " ".join(_PARENTS[each] for each in reversed(LEVELS[1: LEVELS.index(level) + 1]))
        table = TABLES[level]
        with self._index.reading() as tables:
            return tables.execute(
                f"{self._seen.prefix}SELECT {table}.id, {columns} FROM {table} {joins} "  # noqa: S608
                f"WHERE {table}.id IN (SELECT value FROM json_each(?)) ORDER BY {table}.id",
                (*self._seen.values, json.dumps(list(numbers))),
            ).fetchall()

    def _matches(self, entity: Entity) -> bool:
        for keyword, key in self._keys.items():
            if keyword in self._pairs:
                continue
            values = entity[keyword]
            if not (key.matches(values) if values else self._unknown_matches and keyword not in self._unique):
                return False
        return all(self._matches_pair(entity, date, *both) for date, both in self._pairs.items() if both)

    def _matches_pair(self, entity: Entity, date: str, time: str, key: Range) -> bool:
        dates = [span for value in entity[date] if (span := date_span(str(value)))]
        if not entity[date]:
            return self._unknown_matches
        first, last = next((span for value in entity[time] if (span := time_span(str(value)))), ("", "~"))
        return any(key.includes((start + first, stop + last)) for start, stop in dates)

    def _combined_pairs(self) -> dict[str, tuple[str, Range] | None]:
        """Dates that are asked for together with their times, and those times, whose key is part of the date's."""
        pairs: dict[str, tuple[str, Range] | None] = {}
        for date, time in PAIRS if self.query.combined_date_time else ():
            both = combined(self._keys.get(date, Universal()), self._keys.get(time, Universal()))
            if both is not None:
                pairs[date], pairs[time] = (time, both), None
        return pairs

    def _needed(self) -> dict[str, str]:
        """Keyword to column, or expression, of what responses and keys need."""
        wanted = dict.fromkeys(self.query.keys)
        if self.query.timezone:
            wanted |= {each: None for pair in PAIRS if wanted.keys() & pair for each in pair
                       if ATTRIBUTES[each].level in LEVELS[: LEVELS.index(self.query.level) + 1]}  # fmt: skip
            if self.query.level is not Level.PATIENT:
                wanted["TimezoneOffsetFromUTC"] = None
        return {keyword: self._expression(ATTRIBUTES[keyword])
                for keyword in wanted or (UNIQUE_KEYS[self.query.level],)}  # fmt: skip

    def _expression(self, attribute: Attribute) -> str:
        if not attribute.computed:
            return _column(attribute)
        rows = {"t": Level.STUDY, "s": Level.SERIES, "i": Level.IMAGE}
        left_out = {row: f" AND {seen}" if (seen := self._seen.of(level, row)) else "" for row, level in rows.items()}
        return f"({_COMPUTED[attribute.keyword].format(**left_out)})"


def _column(attribute: Attribute) -> str:
    return f"{TABLES[attribute.level]}.{attribute.keyword}"


def _condition(attribute: Attribute, key: Key, unknown: bool, adjust: bool) -> tuple[str, list[object]] | None:
    """SQL that is true for whatever the key matches, and its values; None where there is none that helps."""
    if attribute.keyword == "PatientName" and isinstance(key, PersonName):
        return _name_condition(key, unknown)
    if attribute.computed or not attribute.is_single:
        return None
    column = _column(attribute)
    if not (isinstance(key, Range) and key.vr == "DA"):
        return _text_condition(column, key, unknown)
    bounds = (key.first and (">=", next_days(key.first, -1) if adjust else key.first),
              key.last and ("<=", next_days(key.last, 1) if adjust else key.last))  # fmt: skip
    present = [bound for bound in bounds if bound]
    condition = " AND ".join(f"{column} {operator} ?" for operator, _ in present)
    return _or_unknown(column, f"({condition})", unknown), [value for _, value in present]


def _set_condition(keyword: str, key: Key, unknown: bool, is_alone: bool) -> tuple[str, list[object]] | None:
    """Of what is below a study. Alone it is where to begin; else it is looked at for what other conditions leave."""
    tables, column = _SETS[keyword]
    found = _text_condition(column, key, unknown)
    if found is None:
        return None
    if is_alone:
        return f"study.id IN (SELECT s.study {tables} WHERE {found[0]})", found[1]
    return f"EXISTS (SELECT 1 {tables} WHERE s.study = study.id AND {found[0]})", found[1]


def _text_condition(column: str, key: Key, unknown: bool) -> tuple[str, list[object]] | None:
    if isinstance(key, Exactly) and key.vr not in NUMBER_VRS:
        if len(key.wanted) == 1:
            return _or_unknown(column, f"{column} = ?", unknown), [*key.wanted]
        wanted = json.dumps([*key.wanted])
        return _or_unknown(column, f"{column} IN (SELECT value FROM json_each(?))", unknown), [wanted]  # noqa: S608
    if isinstance(key, Wildcard):
        found = [_glob(column, pattern) for pattern in key.patterns]
        either = " OR ".join(condition for condition, _ in found)
        return _or_unknown(column, f"({either})", unknown), [value for _, values in found for value in values]
    return None


def _name_condition(key: PersonName, unknown: bool) -> tuple[str, list[object]]:
    names: list[str] = []
    values: list[object] = []
    for groups in key.names:
        one_anywhere = len(groups) == 1
        places = [(column, groups[0]) for column in NAME_GROUPS] if one_anywhere else zip(NAME_GROUPS, groups)  # noqa: B905
        found = [_glob(f"patient.{column}", group) for column, group in places if group]
        names.append(f"({(' OR ' if one_anywhere else ' AND ').join(condition for condition, _ in found) or '1'})")
        values += [value for _, each in found for value in each]
    if unknown:
        # The plus signs keep SQLite from using the indexes of the others, which are empty for almost everybody.
        first, *others = (f"patient.{column} = ''" for column in NAME_GROUPS)
        names.append(f"({' AND +'.join((first, *others))})")
    return f"({' OR '.join(names)})", values


def _glob(column: str, pattern: str) -> tuple[str, list[object]]:
    """A condition for a pattern, with the range of what begins as it does, which an index can serve."""
    star, mark = pattern.find("*"), pattern.find("?")
    ends = [at for at in (star, mark) if at >= 0]
    if not ends:
        return f"{column} = ?", [pattern]
    glob = f"{column} GLOB ?"
    text = pattern.replace("[", "[[]")
    prefix = pattern[: min(ends)]
    if not prefix:
        return glob, [text]
    return f"({column} >= ? AND {column} < ? AND {glob})", [prefix, prefix + _BEYOND, text]


def _or_unknown(column: str, condition: str, unknown: bool) -> str:
    return f"({condition} OR {column} = '')" if unknown else condition


def _adjust(entity: dict[str, Values], zone: str) -> None:
    """Put dates and times into a zone, where the zone that they are in is known (PS3.4 C.2.2.2)."""
    here = str((*entity.get("TimezoneOffsetFromUTC", ()), "")[0])
    for date, time in PAIRS:
        if entity.get(date) and entity.get(time):
            day, clock = date_span(str(entity[date][0])), time_span(str(entity[time][0]))
            if day and clock:
                moment = in_zone(day[0] + clock[0], here, zone)
                precision = len(str(entity[time][0]).replace(":", ""))
                entity[date], entity[time] = (moment[:8],), (moment[8:][:precision],)
