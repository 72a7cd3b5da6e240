import pytest
from hypothesis import given
from hypothesis import strategies as st

from dimsetls.node.ini import parse


def read(text):
    sections, mistakes = parse(text)
    assert mistakes == []
    return {str(section): {name: entry.text for name, entry in section.entries.items()} for section in sections}


def test_sections_and_options():
    assert read("[node]\nlog-level=debug\n\n[ae MY  AE]\n  storage = a = b  \n") == {
        "[node]": {"log-level": "debug"}, "[ae MY  AE]": {"storage": "a = b"},
    }


def test_kinds_and_options_may_be_in_capitals_names_are_as_written():
    assert read("[LISTENER Main]\nPort = ABC") == {"[listener Main]": {"port": "ABC"}}


def test_a_comment_begins_a_line_or_follows_white_space():
    text = "# one\n; two\n[node] # three\n  # four\na = b#c;d\te ; five\nf = g\t#six"
    assert read(text) == {"[node]": {"a": "b#c;d\te", "f": "g"}}


def test_a_list_that_ends_in_a_comma_goes_on_in_the_next_line():
    assert read("[node]\na = b,\n # between\n\n  c,  # and\nd\ne = f") == {"[node]": {"a": "b, c, d", "e": "f"}}


def test_a_section_ends_a_list():
    assert read("[node]\na = b,\n[tls x]\nc = d") == {"[node]": {"a": "b,"}, "[tls x]": {"c": "d"}}


def test_indentation_means_nothing():
    assert read("[node]\na = b\n    c = d") == {"[node]": {"a": "b", "c": "d"}}


def test_lines_of_windows_and_a_percent_sign():
    assert read("[node]\r\na = %(b)s %\r\n") == {"[node]": {"a": "%(b)s %"}}


def test_lines_are_counted_from_one():
    (section,), _ = parse("\n[node]\n\na = b,\nc")
    assert (section.line, section.entries["a"].line) == (2, 4)


@pytest.mark.parametrize(("text", "line", "sentence"), [
    ("[node]\nport 2762", 2, "found a line that is neither, expected [section] or option = value"),
    ("[node]\n= 2762", 2, "found a line that is neither, expected [section] or option = value"),
    ("[node", 1, "found [ at the start of a line, expected [kind] or [kind name]"),
    ("[]", 1, "found [ at the start of a line, expected [kind] or [kind name]"),
    ("[node] x", 1, "found [ at the start of a line, expected [kind] or [kind name]"),
    ("\na = b\nc = d\n[node]", 2, "found an option before the first section, expected [kind] above it"),
    ("[node]\na = b\x00", 2, "found a control character, expected printable text"),
    ("[tls x]\na = b\n\nA = c", 4, "[tls x] a: found a second time, expected once (first in line 2)"),
])
def test_mistakes(text, line, sentence):
    _, mistakes = parse(text)
    assert mistakes == [(line, sentence)]


def test_every_mistake_is_found_and_what_is_good_is_kept():
    sections, mistakes = parse("[oops\nx = y\n[node]\nnothing\na = b\na = c\n")
    assert [mistake.line for mistake in mistakes] == [1, 4, 6]
    assert {name: entry.text for name, entry in sections[0].entries.items()} == {"a": "b"}


def test_a_key_pasted_into_the_file_is_not_shown():
    secret = "MHcCAQEEIFPvx0kI0dW6ZtG8kK9z3r2aJj1m"
    _, mistakes = parse(f"[tls x]\n-----BEGIN EC PRIVATE KEY-----\n{secret}\n-----END EC PRIVATE KEY-----")
    assert len(mistakes) == 3
    assert secret not in str(mistakes)


@given(st.text(st.sampled_from("[]=#;, \n\r\tabé\x00\x0c\u2028")))
def test_any_text_can_be_read(text):
    sections, mistakes = parse(text)
    lines = text.count("\n") + 1
    assert all(1 <= mistake.line <= lines for mistake in mistakes)
    assert all(1 <= entry.line <= lines for section in sections for entry in section.entries.values())
