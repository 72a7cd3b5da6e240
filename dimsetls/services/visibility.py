"""What a user may see, as part of a query: SQL over what each instance says of where it comes from.

A study is seen by whoever sees an instance of it, and so is its patient; what is counted is what is seen. An instance
is judged by its own values, not by what the index has of its series and study, which came with their first instance:
or a second one would be seen as the first is. The values are kept once for all instances of a series that share them,
in the table `origin`, so that a judgement does not take longer where more is hidden.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import date
from typing import Final

from ..identity.sight import Sight, View
from .matching import fold_name
from .models import Level
from .moments import date_span, next_days

ORIGIN: Final = (
    "Modality", "InstitutionName", "IssuerOfPatientID", "ReferringPhysicianName", "StudyDate",
    "SendingApplicationEntityTitle",
)  # fmt: skip
"""Columns of the table; empty is unknown, and seen by nobody whose view has a condition on it."""

_EXISTS: Final = {
    Level.PATIENT: "study AS _t JOIN series AS _s ON _s.study = _t.id JOIN seen ON seen.series = _s.id "
                   "WHERE _t.patient = {row}.id",
    Level.STUDY: "series AS _s JOIN seen ON seen.series = _s.id WHERE _s.study = {row}.id",
    Level.SERIES: "seen WHERE seen.series = {row}.id",
    Level.IMAGE: "seen WHERE seen.id = {row}.origin",
}  # fmt: skip


def origin_of(values: Mapping[str, str]) -> dict[str, str]:
    """What an instance with these values, by keyword, is judged by."""
    found = {keyword: values.get(keyword, "") for keyword in ORIGIN}
    found["ReferringPhysicianName"] = _folded(found["ReferringPhysicianName"])
    span = date_span(found["StudyDate"])
    found["StudyDate"] = span[0] if span else ""  # what is no date sorts anywhere
    return found


class Seen:
    """A sight in SQL: `prefix`, with its `values`, begins each statement in which `of` is used. Raises nothing."""

    def __init__(self, sight: Sight, today: date | None = None) -> None:
        self.prefix = ""
        self.values: list[object] = []
        self._is_all = any(view.is_everything for view in sight)
        if not self._is_all:
            either = " OR ".join(self._condition(view, today or date.today()) for view in sight) or "0"
            # Not materialized, or each chunk of rows would take a look at all there is.
            self.prefix = f"WITH seen AS NOT MATERIALIZED (SELECT id, series FROM origin WHERE {either}) "  # noqa: S608

    def of(self, level: Level, row: str) -> str:
        """Whether any instance of a row is seen; empty where all are. `row` is the name of its table in the query."""
        return "" if self._is_all else f"EXISTS (SELECT 1 FROM {_EXISTS[level].format(row=row)})"  # noqa: S608

    def _condition(self, view: View, today: date) -> str:
        conditions = []
        for column, wanted in (
            ("Modality", view.modalities),
            ("InstitutionName", view.institutions),
            ("IssuerOfPatientID", view.patient_id_issuers),
            ("SendingApplicationEntityTitle", view.stored_by),
        ):
            if wanted is not None:
                conditions.append(f"{column} IN (SELECT value FROM json_each(?))")  # noqa: S608
                self.values.append(json.dumps([each for each in wanted if each]))
        if view.referring_physicians is not None:
            names = [name for each in view.referring_physicians if (name := _folded(each))]
            # A name has up to three component groups, any of which may be what is asked for (PS3.5 §6.2.1).
            conditions.append("EXISTS (SELECT 1 FROM json_each(?) "
                              "WHERE instr('=' || ReferringPhysicianName || '=', '=' || value || '='))")  # fmt: skip
            self.values.append(json.dumps(names))
        if view.days is not None:
            conditions.append("StudyDate >= ?")
            self.values.append(next_days(today.strftime("%Y%m%d"), -view.days))
        return f"({' AND '.join(conditions)})"


def _folded(name: str) -> str:
    return "=".join(fold_name(name))
