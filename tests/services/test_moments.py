from __future__ import annotations

import pytest

from dimsetls.services.moments import date_span, date_time_span, in_zone, next_days, offset, time_span


@pytest.mark.parametrize(("text", "span"), [
    ("20240229", ("20240229", "20240229")),
    (" 1997.04.24", ("19970424", "19970424")),
    ("20230229", None), ("20231301", None), ("2023", None), ("00000101", None), ("2023-1-1", None), ("", None),
    ("٢٠٢٤٠١٠١", None),
])
def test_dates(text, span):
    assert date_span(text) == span


@pytest.mark.parametrize(("text", "span"), [
    ("10", ("100000.000000", "105959.999999")),
    ("1030", ("103000.000000", "103059.999999")),
    ("10:30:15", ("103015.000000", "103015.999999")),
    ("103015.25 ", ("103015.250000", "103015.259999")),
    ("235960", ("235959.000000", "235959.999999")),
    ("24", None), ("1060", None), ("103061", None), ("1", None), ("1030.5", None), ("", None),
])
def test_times(text, span):
    assert time_span(text) == span


@pytest.mark.parametrize(("text", "span"), [
    ("2024", ("20240101000000.000000", "20241231235959.999999")),
    ("202402", ("20240201000000.000000", "20240229235959.999999")),
    ("2024022923", ("20240229230000.000000", "20240229235959.999999")),
    ("20240101003000+0100", ("20231231233000.000000", "20231231233000.999999")),
    ("2024-0500", ("20240101050000.000000", "20250101045959.999999")),
    ("20240230", None), ("2024-2025", None), ("", None), ("20240101+1500", None),
])
def test_date_times(text, span):
    assert date_time_span(text) == span


def test_offsets():
    assert offset("+0530").utcoffset(None).total_seconds() == 19800
    assert offset("-0100").utcoffset(None).total_seconds() == -3600
    assert offset("0100") is offset("+0160") is offset("") is None


def test_a_moment_in_another_zone_may_be_on_another_day():
    assert in_zone("20231231233000.000000", "+0000", "+0100") == "20240101003000.000000"
    assert in_zone("20231231233000.000000", "", "+0100") == "20231231233000.000000"
    assert in_zone("00010101000000.000000", "+0100", "-0100") == "00010101000000.000000"


def test_days_around():
    assert next_days("20240228", 2) == "20240301"
    assert next_days("00010101", -1) == "00010101"
