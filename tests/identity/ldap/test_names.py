from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dimsetls.identity.ldap.names import escape_in_filter, escape_in_name, fill, name_below, parse_name

TYPED = st.text(st.characters(exclude_categories=["Cs"]))


@pytest.mark.parametrize(("typed", "escaped"), [
    ("alice", "alice"),
    ("*", r"\2a"),
    (")(uid=*", r"\29\28uid=\2a"),
    ("\\", r"\5c"),
    ("a\0b", r"a\00b"),
    ("jürgen", "jürgen"),
])
def test_what_is_typed_stands_for_itself_in_a_filter(typed, escaped):
    assert escape_in_filter(typed) == escaped


@pytest.mark.parametrize(("typed", "escaped"), [
    ("alice", "alice"),
    ("a,ou=admins", r"a\2cou\3dadmins"),
    ("a+b", r"a\2bb"),
    (' "<;>#\\\0', r"\20\22\3c\3b\3e\23\5c\00"),
])
def test_what_is_typed_stands_for_itself_in_a_name(typed, escaped):
    assert escape_in_name(typed) == escaped


@given(TYPED)
def test_a_name_made_of_anything_typed_has_the_steps_of_its_template(typed):
    name = fill("uid={user},ou=people,dc=org", escape_in_name, user=typed)
    assert parse_name(name) == ((("uid", typed),), (("ou", "people"),), (("dc", "org"),))


@given(TYPED)
def test_nothing_typed_adds_to_a_filter(typed):
    escaped = escape_in_filter(typed)
    assert not set(escaped) & set("*()\0")
    assert fill("(uid={user})", escape_in_filter, user=typed) == f"(uid={escaped})"


def test_a_value_that_looks_like_a_placeholder_is_not_filled():
    assert fill("(|(member={dn})(uid={user}){other})", str, dn="uid={user}", user="{dn}") == (
        "(|(member=uid={user})(uid={dn}){other})"
    )


@pytest.mark.parametrize(("text", "steps"), [
    ("cn=a", [[("cn", "a")]]),
    (" CN = a b , dc=org", [[("cn", "a b")], [("dc", "org")]]),
    ("cn=a+uid=1,dc=org", [[("cn", "a"), ("uid", "1")], [("dc", "org")]]),
    (r"cn=a\, b\2C c\ ,dc=org", [[("cn", "a, b, c ")], [("dc", "org")]]),
    (r"cn=J\C3\BCrgen", [[("cn", "Jürgen")]]),
    ("2.5.4.3=a=b,dc=", [[("2.5.4.3", "a=b")], [("dc", "")]]),
])
def test_names_are_taken_apart(text, steps):
    assert parse_name(text) == tuple(map(tuple, steps))


@pytest.mark.parametrize("text", [
    "", "alice", "cn=a,", "cn=a;dc=org", 'cn="a"', "cn=a\\", "=a", r"cn=\ff", "cn=a,,dc=b",
])
def test_what_is_no_name(text):
    with pytest.raises(ValueError):
        parse_name(text)


BASE = "ou=Groups,dc=example,dc=org"


@pytest.mark.parametrize(("text", "name"), [
    (f"cn=radiology,{BASE}", "radiology"),
    ("CN=Radiology, OU=groups,  DC=Example,DC=ORG", "Radiology"),
    (f"cn=ct,cn=radiology,{BASE}", "ct"),
    (r"cn=x\2cou=y," + BASE, "x,ou=y"),
    (BASE, None),
    ("cn=radiology,ou=self-service,dc=example,dc=org", None),
    (rf"cn=radiology\,{BASE}", None),
    (f"cn=radiology,x{BASE}", None),
    ("no name", None),
])
def test_the_groups_below_a_base(text, name):
    assert name_below(text, BASE) == name
