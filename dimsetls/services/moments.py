"""Dates, times and date-times of DICOM as spans of moments that sort as text (PS3.5 §6.2: DA, TM, DT).

A moment is written ``YYYYMMDD`` (DA), ``HHMMSS.FFFFFF`` (TM) or both in one (DT, in UTC if its offset is known). What
is less precise is the span of all moments in it.
"""

from __future__ import annotations

import re
from calendar import monthrange
from collections.abc import Callable, Mapping
from datetime import UTC, date, datetime, timedelta, timezone
from typing import Final, TypeAlias

Span: TypeAlias = tuple[str, str]
"""The first and the last moment of what a value stands for."""

# The forms with dots and colons are those of ACR-NEMA, which readers are to understand (PS3.5 §6.2).
_DATE: Final = re.compile(r"(\d{4})(?:(\d\d)(\d\d)|\.(\d\d)\.(\d\d))", re.ASCII)
_TIME: Final = re.compile(r"(\d\d)(?::?(\d\d)(?::?(\d\d)(?:\.(\d{1,6}))?)?)?", re.ASCII)
_OFFSET: Final = re.compile(r"([+-])(0\d|1[0-4])([0-5]\d)", re.ASCII)
_DATE_TIME: Final = re.compile(
    r"(\d{4})(?:(\d\d)(?:(\d\d)(\d\d(?:\d\d(?:\d\d(?:\.\d{1,6})?)?)?)?)?)?([+-](?:0\d|1[0-4])[0-5]\d)?", re.ASCII
)
_STAMP: Final = "%Y%m%d%H%M%S.%f"


def date_span(text: str) -> Span | None:
    """A date; None if it is none."""
    match = _DATE.fullmatch(text.strip())
    if match is None:
        return None
    year, month, day = (part for part in match.groups() if part)
    if not _is_day(int(year), int(month), int(day)):
        return None
    return (year + month + day,) * 2


def time_span(text: str) -> Span | None:
    """A time, with a leap second taken for the one before it; None if it is none."""
    match = _TIME.fullmatch(text.strip())
    if match is None:
        return None
    hours, minutes, seconds, fraction = match.groups()
    if int(hours) > 23 or int(minutes or 0) > 59 or int(seconds or 0) > 60:
        return None
    if seconds == "60":
        seconds = "59"
    return (
        f"{hours}{minutes or '00'}{seconds or '00'}.{(fraction or '').ljust(6, '0')}",
        f"{hours}{minutes or '59'}{seconds or '59'}.{(fraction or '').ljust(6, '9')}",
    )


def date_time_span(text: str) -> Span | None:
    """A date-time; None if it is none. One without an offset is taken as it is, as if it were UTC."""
    match = _DATE_TIME.fullmatch(text.strip())
    if match is None:
        return None
    year, month, day, clock, offset = match.groups()
    if not _is_day(int(year), int(month or 1), int(day or 1)):
        return None
    last_day = day or f"{monthrange(int(year), int(month or 12))[1]:02}"
    times = time_span(clock) if clock else ("000000.000000", "235959.999999")
    if times is None:
        return None
    span = year + (month or "01") + (day or "01") + times[0], year + (month or "12") + last_day + times[1]
    return (in_zone(span[0], offset, "+0000"), in_zone(span[1], offset, "+0000")) if offset else span


SPANS: Final[Mapping[str, Callable[[str], Span | None]]] = {"DA": date_span, "TM": time_span, "DT": date_time_span}
"""How values of each of these VRs are read."""


def offset(text: str) -> timezone | None:
    """(0008,0201) Timezone Offset From UTC; None if it is none."""
    match = _OFFSET.fullmatch(text.strip())
    if match is None:
        return None
    size = timedelta(hours=int(match[2]), minutes=int(match[3]))
    return timezone(-size if match[1] == "-" else size)


def in_zone(moment: str, here: str, there: str) -> str:
    """A moment (DT form) at one offset from UTC, as clocks at another show it."""
    zone, other = offset(here), offset(there)
    if zone is None or other is None:
        return moment
    try:
        shifted = datetime.strptime(moment, _STAMP).replace(tzinfo=zone).astimezone(UTC).astimezone(other)
    except (ValueError, OverflowError):  # in the first or last hours that a calendar has
        return moment
    return f"{shifted.year:04}{shifted:%m%d%H%M%S.%f}"


def next_days(day: str, days: int) -> str:
    """The date so many days later, or earlier; itself at the ends of the calendar."""
    try:
        return (date(int(day[:4]), int(day[4:6]), int(day[6:])) + timedelta(days)).strftime("%Y%m%d").zfill(8)
    except OverflowError:
        return day


def _is_day(year: int, month: int, day: int) -> bool:
    return year > 0 and 0 < month <= 12 and 0 < day <= monthrange(year, month)[1]
