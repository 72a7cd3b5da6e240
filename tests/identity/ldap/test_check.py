"""Who is let in, by real directories and by the answers of others."""

from __future__ import annotations

import pytest
from zope.interface.verify import verifyObject

from dimsetls.errors import IdentityDenied, IdentityUnknown
from dimsetls.identity.credentials import JSONWebToken, Method, Secret, Username
from dimsetls.identity.interfaces import IAuthenticator, Verified

from ...servers.odd_directory import ber, result
from ...servers.slapd import PEOPLE_BASE, SERVICE_DN, SUFFIX
from ..stage import presenter
from .scene import GOOD, PASSCODES, TEMPLATE, answering, denied, unavailable, verified


@pytest.mark.parametrize("scheme", ["ldaps", "ldap"])
@pytest.mark.parametrize("way", [{}, {"dn_template": TEMPLATE}], ids=["search", "template"])
def test_whose_passcode_is_right(make, check, directory, scheme, way):
    back_end = make(getattr(directory, scheme), **way)
    assert verifyObject(IAuthenticator, back_end)
    assert {user: check(back_end, user, PASSCODES[found.name]) for user, found in GOOD} == dict(GOOD)


@pytest.mark.parametrize("way", [{}, {"dn_template": TEMPLATE}], ids=["search", "template"])
def test_whose_passcode_is_wrong(make, check, way):
    back_end = make(**way)
    for passcode in (b"bob-secret", b"alice-secre", b"alice-secret\0", b"ALICE-SECRET", b"*", "é".encode()):
        denied(check(back_end, "alice", passcode), f"[ldap hospital] uid=alice,{PEOPLE_BASE}: the passcode is wrong")
    denied(check(back_end, "nopass"), "the entry has none")
    denied(check(back_end, "latin1"), "is not UTF-8")


def test_who_is_not_in_the_directory_may_be_in_another(make, check):
    found = check(make(), "nobody")
    assert type(found) is IdentityUnknown
    assert str(found) == f"[ldap hospital] there is no user 'nobody' below {PEOPLE_BASE}"
    # A directory does not say whether the name or the passcode is wrong, and this way asks nothing else.
    denied(check(make(dn_template=TEMPLATE), "nobody"), "does not exist")


INJECTED = ["*", "a*", "alice*", "alice)(uid=*", "alice)(|(uid=*", "*)(objectClass=*", "*))(|(uid=*", "alice\0", "\0",
            r"\2a", "alice,ou=people", f"alice,{PEOPLE_BASE}", "alice+cn=alice", "alice\\", "#616c696365", '"alice"',
            "{user}{user}", "{dn}"]  # fmt: skip


@pytest.mark.parametrize("user", INJECTED)
def test_a_user_name_is_nothing_but_a_name(make, check, user):
    assert type(check(make(), user, b"alice-secret")) is IdentityUnknown
    assert type(check(make(dn_template=TEMPLATE), user, b"alice-secret")) is IdentityDenied


def test_a_name_in_a_filter_for_groups_is_nothing_but_a_name(make, check):
    options = {"group_attribute": None, "group_filter": "(|(member={dn})(cn={user}))"}
    assert check(make(**options), "odd*(user)") == verified("odd*(user)", "cardiology")


@pytest.mark.parametrize(("user", "passcode"), [("alice", b""), ("", b"alice-secret"), ("", b"")])
@pytest.mark.parametrize("way", [{}, {"dn_template": TEMPLATE}], ids=["search", "template"])
def test_what_is_empty_is_refused_without_asking(make, check, steps, user, passcode, way):
    denied(check(make(**way), user, passcode), "is empty")
    assert steps == []


@pytest.mark.parametrize("way", [{}, {"dn_template": TEMPLATE}], ids=["search", "template"])
@pytest.mark.parametrize(("user", "words"), [
    ("locked", "the account is locked"),
    ("expired", "the passcode has expired"),
    ("reset", "the passcode was reset and must be changed first"),
])
def test_the_password_policy_refuses_a_right_passcode(make, check, user, words, way):
    denied(check(make(**way), user), f"[ldap hospital] uid={user},{PEOPLE_BASE}: {words}")


def test_the_directory_locks_an_account_after_wrong_passcodes(make, check):
    back_end = make()
    assert check(back_end, "victim") == verified("victim")
    for _ in range(3):
        denied(check(back_end, "victim", b"wrong"), "the passcode is wrong")
    denied(check(back_end, "victim"), "the account is locked")


def test_a_name_must_belong_to_one_entry_and_an_entry_to_one_name(make, check):
    denied(check(make(), "twin"), "'twin' belongs to", "cn=Twin One", "cn=Twin Two", "exactly one")
    unavailable(check(make(), "two.names"), "2 values of uid", "name-attribute")
    unavailable(check(make(name_attribute="employeeNumber"), "alice"), "0 values of employeeNumber")


def test_the_name_is_of_the_attribute_that_is_configured(make, check):
    back_end = make(search_filter="(&(objectClass=inetOrgPerson)(uid={user}))", name_attribute="sn", realm="EXAMPLE")
    assert check(back_end, "alice") == Verified("Person", "EXAMPLE", frozenset({"radiology", "night shift, north"}))


# Groups ---------------------------------------------------------------------------------------------------------------

BY_SEARCH = {"group_attribute": None, "group_filter": "(&(objectClass=groupOfNames)(member={dn}))"}


@pytest.mark.parametrize("way", [{}, {"dn_template": TEMPLATE}], ids=["search", "template"])
@pytest.mark.parametrize("options", [BY_SEARCH, BY_SEARCH | {"group_attribute": "memberOf"}], ids=["search", "both"])
def test_groups_are_found_by_their_members(make, check, options, way):
    assert check(make(**options, **way), "alice") == verified("alice", "radiology", "night shift, north")


def test_groups_count_below_one_place_only(make, check):
    assert check(make(group_base=SUFFIX), "bob") == verified("bob", "cardiology", "administrators")
    assert check(make(group_base=None), "bob") == verified("bob")


def test_a_group_can_be_required(make, check):
    back_end = make(required_group="Radiology")
    assert check(back_end, "alice") == verified("alice", "radiology", "night shift, north")
    denied(check(back_end, "bob"), "is not in the group Radiology")
    denied(check(make(required_group="administrators"), "bob"), "is not in the group administrators")


# A user name alone ----------------------------------------------------------------------------------------------------


def test_a_user_name_alone_is_looked_up_with_a_service_account(make, stage, steps):
    back_end = make(required_group="radiology")
    assert back_end.methods == {Method.USERNAME, Method.PASSCODE}
    found = stage.outcome(back_end.verify(Username("Alice"), presenter()))
    assert found == verified("alice", "radiology", "night shift, north")
    assert not [step for step in steps if "the bind of" in step]
    assert type(stage.outcome(back_end.verify(Username("a*"), presenter()))) is IdentityUnknown
    denied(stage.outcome(back_end.verify(Username("bob"), presenter())), "is not in the group")
    denied(stage.outcome(back_end.verify(Username(""), presenter())), "is empty")


def test_without_a_service_account_there_is_no_look_up(make, stage):
    back_end = make(dn_template=TEMPLATE)
    assert back_end.methods == {Method.PASSCODE}
    denied(stage.outcome(back_end.verify(Username("alice"), presenter())), "found a username, expected passcode")
    denied(stage.outcome(make().verify(JSONWebToken(Secret(b"a.b.c")), presenter())), "found a jwt")


# The operator's mistakes ----------------------------------------------------------------------------------------------


def test_a_service_account_that_cannot_bind_is_named_and_tried_once(
    make, check, steps, directory, spare, passcode_file
):
    passcode_file.write_text("wrong")
    found = check(make(directory.ldaps, spare.ldaps), "alice")
    unavailable(found, f"the service account {SERVICE_DN} cannot bind at {directory.ldaps}", "service-passcode")
    assert [step for step in steps if "is asked" in step] == [f"{directory.ldaps} is asked"]


def test_a_base_that_is_not_there(make, check):
    unavailable(check(make(search_base=f"ou=nowhere,{SUFFIX}"), "alice"), "noSuchObject (32)", "ou=nowhere")
    unavailable(check(make(**BY_SEARCH, group_base=f"ou=nowhere,{SUFFIX}"), "alice"), "noSuchObject (32)")


# Odd answers, and those of Active Directory ---------------------------------------------------------------------------

WINDOWS = "80090308: LdapErr: DSID-0C090446, comment: AcceptSecurityContext error, data {}, v4563"


@pytest.mark.parametrize(("code", "words"), [
    ("52e", "the passcode is wrong"),
    ("530", "may not log on at this time"),
    ("531", "may not log on from this computer"),
    ("532", "the passcode has expired"),
    ("533", "the account is disabled"),
    ("701", "the account has expired"),
    ("773", "must be changed first"),
    ("775", "the account is locked"),
    ("80090346", "error 80090346"),
])
def test_what_active_directory_says_in_its_text(make, check, odd, code, words):
    server = odd(result(0x61, 49, WINDOWS.format(code)))
    denied(check(make(server.url, dn_template=TEMPLATE), "alice"), words)


def test_a_user_that_active_directory_does_not_know(make, check, odd):
    for answer in (result(0x61, 49, WINDOWS.format("525")), result(0x61, 32)):
        assert type(check(make(odd(answer).url, dn_template=TEMPLATE), "alice")) is IdentityUnknown


@pytest.mark.parametrize(("code", "words"), [
    (19, "constraintViolation"), (48, "no passcode"), (50, "may not bind"), (53, "unwilling"),
])
def test_binds_that_are_refused_for_the_users_sake(make, check, odd, code, words):
    denied(check(make(odd(result(0x61, code)).url, dn_template=TEMPLATE), "alice"), words)


@pytest.mark.parametrize(("value", "words"), [
    (b"\x30\x03\x81\x01\x01", "is locked"),
    (b"\x30\x08\xa0\x03\x81\x01\x05\x81\x01\x02", "must be changed"),
    (b"\x30\x05\xa0\x03\x80\x01\x05", "may not read its own entry"),  # a warning: the bind itself is good
    (b"\x30\x00", "may not read its own entry"),
    (b"", "may not read its own entry"),
    (b"\x30\x03\x81", "may not read its own entry"),
])
def test_the_password_policy_control(make, check, odd, value, words):
    control = ber(0x30, ber(0x04, b"1.3.6.1.4.1.42.2.27.8.5.1") + ber(0x04, value))
    server = odd(answering(result(0x61, 0, controls=ber(0xA0, control)), result(0x65, 0)))
    assert words in str(check(make(server.url, dn_template=TEMPLATE), "alice"))
