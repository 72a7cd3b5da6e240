from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dimsetls.services.matching import (
    Glob,
    IdentifierError,
    SequenceKey,
    Universal,
    combined,
    fold_name,
    number,
    read_key,
)

TAG = 0x0010_0020


def matches(vr: str, key: str, *values: str) -> bool:
    return read_key(TAG, vr, key.split("\\")).matches(values)


@pytest.mark.parametrize("vr", ["LO", "PN", "DA", "UI", "IS", "UT"])
def test_a_key_of_zero_length_is_universal(vr):
    assert read_key(TAG, vr, []) == read_key(TAG, vr, [""]) == Universal()


@pytest.mark.parametrize("vr", ["AE", "CS", "LO", "LT", "PN", "SH", "ST", "UC", "UR", "UT"])
def test_a_star_alone_is_universal_where_wildcards_are(vr):
    assert read_key(TAG, vr, ["*"]) == read_key(TAG, vr, ["**"]) == Universal()


@pytest.mark.parametrize(("vr", "key", "value", "expected"), [
    ("LO", "ABC", "ABC", True),
    ("LO", "ABC", "abc", False),
    ("LO", "A*C", "ABBC", True),
    ("LO", "A*C", "AC", True),
    ("LO", "A?C", "AC", False),
    ("LO", "A?C", "A\nC", True),
    ("LO", "A*c", "ABC", False),
    ("LO", "A.C", "ABC", False),
    ("SH", "[A]*", "[A]1", True),
    ("CS", "CT\\MR", "MR", True),
    ("CS", "C*\\MR", "CR", True),
    ("CS", "CT\\MR", "US", False),
    ("LT", "a*b*", "ab", True),
    ("UI", "1.2.3", "1.2.3", True),
    ("UI", "1.2.3\\1.2.4", "1.2.4", True),
    ("UI", "1.2.3\\1.2.4", "1.2.5", False),
    ("AS", "045Y", "045Y", True),
    ("IS", "7", "+007", True),
    ("DS", "1.50", "15e-1", True),
    ("IS", "7", "garbage", False),
    ("US", "512", "512", True),
])
def test_single_values_lists_and_wildcards(vr, key, value, expected):
    assert matches(vr, key, value) is expected


def test_any_value_of_a_multi_valued_attribute_will_do():
    assert matches("CS", "PRIMARY", "ORIGINAL", "PRIMARY")
    assert not matches("CS", "PRIM", "ORIGINAL", "PRIMARY")


@pytest.mark.parametrize(("key", "value", "expected"), [
    ("DOE^JOHN", "Doe^John", True),
    ("doe^john^^^", "Doe^John", True),
    ("Doe^John", "Doe^John^^^ ", True),
    ("Doe", "Doe^John", False),
    ("Doe*", "DOE^JOHN", True),
    ("d?e^*", "Doe^John", True),
    ("Muller^Jurgen", "Müller^Jürgen", True),
    ("MÜLLER*", "Müller^Jürgen", True),
    ("STRASSE", "Straße", True),
    ("Иванов*", "ИВАНОВ^Пётр", True),
    ("ΧΡΙΣΤΟΣ", "χριστός", True),
    ("が", "か", False),  # voicing is no accent
    ("ヤマダ*", "ﾔﾏﾀﾞ^ﾀﾛｳ", True),  # half-width katakana
    ("홍?동", "홍길동", True),
    ("山田*", "Yamada^Tarou=山田^太郎=やまだ^たろう", True),
    ("yamada*=山*", "Yamada^Tarou=山田^太郎", True),
    ("yamada*=川*", "Yamada^Tarou=山田^太郎", False),
    ("=山田*", "Yamada^Tarou=山田^太郎", True),
    ("Yamada*==やまだ*", "Yamada^Tarou=山田^太郎", False),
    ("Tarou", "Yamada^Tarou=山田^太郎", False),
])
def test_person_names(key, value, expected):
    assert matches("PN", key, value) is expected


def test_folded_names_have_no_empty_end():
    assert fold_name("Doe ^ John ^^= ==") == ("doe^john",)
    assert fold_name("^^==") == ()
    assert fold_name("=A") == ("", "a")


@pytest.mark.parametrize(("vr", "key", "value", "expected"), [
    ("DA", "20240101", "20240101", True),
    ("DA", "20240101", "2024.01.01", True),
    ("DA", "20240101", "20240102", False),
    ("DA", "20240101-20240131", "20240131", True),
    ("DA", "20240101 - 20240131", "20240201", False),
    ("DA", "-20240131", "19000101", True),
    ("DA", "20240101-", "20231231", False),
    ("DA", "20240101-", "no date", False),
    ("DA", "20240131-20240101", "20240115", False),
    ("TM", "10", "1030", True),
    ("TM", "1030", "103015.5", True),
    ("TM", "103000-103014", "103015", False),
    ("TM", "1000-1800", "18:00:59.9", True),
    ("TM", "-0900", "090100", False),
    ("TM", "2200-", "235959.999999", True),
    ("DT", "202401-202402", "20240229120000", True),
    ("DT", "2024-0500", "20241231230000-0500", True),
    ("DT", "20240101120000+0100-20240101130000+0100", "20240101113000", True),
    ("DT", "20240101120000-0100-", "20240101123000+0000", False),
    ("DT", "-2023", "2024", False),
    ("DT", "2023-2024", "202406", True),
])
def test_ranges(vr, key, value, expected):
    assert matches(vr, key, value) is expected


def test_ranges_of_dates_and_times_combined():
    def key(vr: str, text: str) -> object:
        return read_key(TAG, vr, [text])

    both = combined(key("DA", "20060705-20060707"), key("TM", "1000-1800"))
    assert both.matches(["20060706030000"])
    assert not both.matches(["20060705090000"])
    assert not both.matches(["20060707180100"])
    open_end = combined(key("DA", "20060705-"), key("TM", "1000-"))
    assert open_end.matches(["20300101"])
    assert not open_end.matches(["20060705095959"])
    assert combined(key("DA", "20060705"), key("TM", "1000-1800")) is None
    assert combined(key("DA", "20060705-"), Universal()) is None


def test_some_item_of_a_sequence_matches_all_keys():
    key = SequenceKey({"CodeValue": read_key(TAG, "SH", ["C*"]), "CodingSchemeDesignator": read_key(TAG, "SH", ["DCM"]),
                       "CodeMeaning": Universal()})  # fmt: skip
    good = {"CodeValue": ["C1"], "CodingSchemeDesignator": ["DCM"]}
    assert key.matches([{"CodeValue": ["D1"]}, good])
    assert not key.matches([{"CodeValue": ["C1"], "CodingSchemeDesignator": ["SRT"]}, {"CodeValue": ["C2"]}])
    assert not key.matches([])
    assert [key.matches_item(item) for item in (good, {})] == [True, False]


@pytest.mark.parametrize(("vr", "key"), [
    ("UI", "1.2.*"), ("UI", "*"), ("UI", "1.02"), ("DA", "*"), ("DA", "2024"), ("DA", "20240101-2024"), ("DA", "-"),
    ("DA", "20240101\\20240102"), ("TM", "25"), ("TM", "1000-xx"), ("DT", "x"), ("DT", "2024-2025-2026"),
    ("IS", "1*"), ("IS", "1-5"), ("IS", "NaN"), ("DS", "Infinity"), ("DS", "1e999999"), ("AS", "45"), ("OB", "x"),
    ("UN", "x"), ("AT", "00100010"),
])
def test_what_is_no_key_names_its_element(vr, key):
    with pytest.raises(IdentifierError) as caught:
        matches(vr, key)
    assert caught.value.offending_elements == (TAG,)
    assert caught.value.status == 0xA900
    assert len(caught.value.comment) <= 64
    assert key not in caught.value.comment or len(key) == 1


def slow_match(pattern: str, text: str) -> bool:
    if not pattern:
        return not text
    if pattern[0] == "*":
        return any(slow_match(pattern[1:], text[at:]) for at in range(len(text) + 1))
    return bool(text) and pattern[0] in ("?", text[0]) and slow_match(pattern[1:], text[1:])


@given(st.text("ab*?", max_size=7), st.text("ab", max_size=7))
def test_wildcards_do_what_they_are_defined_to_do(pattern, text):
    assert Glob(pattern).matches(text) == slow_match(pattern, text)


def test_no_pattern_takes_long():
    assert not Glob("*a" * 500 + "b").matches("a" * 2000)


@given(st.text(max_size=30), st.sampled_from(["LO", "PN", "DA", "TM", "DT", "IS", "DS", "UI", "CS", "AS"]), st.text())
def test_no_text_of_a_peer_raises_anything_else(key, vr, value):
    try:
        matches(vr, key, value)
    except IdentifierError:
        pass


@given(st.integers(-(10**12), 10**12))
def test_a_number_is_itself_however_it_is_written(value):
    assert number(f" {value:+}") == number(f"{value}.0") == number(str(value)) == str(value)
