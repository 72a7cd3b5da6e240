"""The sections about identities: what stands against them, and what they mean to a gate."""

from __future__ import annotations

import pytest

from dimsetls.errors import ConfigurationError
from dimsetls.identity.credentials import Caps, Method
from dimsetls.identity.lockout import LockoutPolicy
from dimsetls.identity.sight import View
from dimsetls.node.identity.sections import Identity
from dimsetls.node.reading import load

from ...peers.running import Node


def identity(node: Node) -> Identity:
    (found,) = load(node.write()).identities
    return found


def problems(node: Node) -> list[str]:
    """What stands against the file, without the name of the file and the line."""
    with pytest.raises(ConfigurationError) as caught:
        load(node.write())
    return [problem.removeprefix(f"{node.directory}/dimsetls.ini:").partition(": ")[2]
            for problem in caught.value.problems]


def test_what_is_not_set_has_the_default_of_the_gate(staff: Node) -> None:
    found = identity(staff)
    assert found.caps == Caps()
    assert found.lockout == LockoutPolicy()
    assert {method: [str(each) for each in back_ends] for method, back_ends in found.back_ends.items()} == {
        Method.PASSCODE: ["users local"]}


def test_options_and_the_fields_of_the_policies_that_they_set(staff: Node) -> None:
    limits = {f"{method.value}_length": 100 + number for number, method in enumerate(Method)
              if method is not Method.CERTIFICATE}
    staff.set("identity staff", **limits, failures_per_user=1, failures_per_address=2, failures_per_certificate=3,
              failure_delay="4s", lock_out_time="5s")
    found = identity(staff)
    assert {name: getattr(found.caps, name.removesuffix("_length")) for name in limits} == limits
    assert found.lockout == LockoutPolicy(1, 2, 3, 4.0, 5.0)


def test_back_ends_are_asked_in_the_order_of_the_option_whatever_their_kind(staff: Node) -> None:
    staff.set("ldap one", servers="ldaps://one.example", dn_template="uid={user},dc=example")
    staff.set("ldap two", servers="ldaps://two.example", dn_template="uid={user},dc=example")
    staff.set("identity staff", passcode="ldap two, users local, ldap one")
    assert [str(each) for each in identity(staff).back_ends[Method.PASSCODE]] == ["ldap two", "users local", "ldap one"]


@pytest.mark.parametrize(("options", "problem"), [
    ({"passcode": None}, "policy: found require and nobody to ask, expected one of username, passcode, kerberos, "
     "saml, jwt, bearer, certificate, or policy = ignore"),
    ({"username": "users local"}, "username: found without asserting-certificates, expected both: a name alone proves "
     "nothing, so somebody must be trusted to assert it"),
    ({"passcode": "users other"}, "passcode: found 'users other', expected kinds and names of [users] or [ldap] "
     "sections, separated by commas; did you mean users local?"),
    ({"passcode": "kerberos realm"}, "passcode: found 'kerberos realm', expected kinds and names of [users] or [ldap]"),
    ({"passcode": "local"}, "passcode: found 'local', expected kinds and names of [users] or [ldap] sections, "
     "separated by commas; did you mean users local?"),
    ({"policy": "requires"}, "policy: found 'requires', expected one of require, prefer, ignore; did you mean"),
])  # fmt: skip
def test_what_does_not_go_together(staff: Node, options: dict[str, object], problem: str) -> None:
    staff.set("identity staff", **options)
    (found,) = problems(staff)
    assert found.startswith(f"[identity staff] {problem}"), found


def test_a_policy_that_ignores_needs_nobody_to_ask(staff: Node) -> None:
    staff.set("identity staff", policy="ignore", passcode=None)
    assert identity(staff).back_ends == {}


def test_a_rule_for_the_unidentified_asks_for_nothing_that_only_a_user_has(node: Node) -> None:
    node.set("rule open", may="verification", unidentified="yes", groups="radiology", calling_ae_titles="CT1")
    assert problems(node) == [
        "[rule open] groups: found besides unidentified = yes, expected one or the other: a user has these"]


def test_what_a_rule_lets_one_see(node: Node) -> None:
    node.set("rule some", may="query", groups="referring", sees_modalities="CT, MR", sees_days=30,
             sees_institutions='"North, House 2"', sees_referring_physicians="{user}", sees_stored_by="CT1",
             sees_patient_id_issuers="HOSPITAL")  # fmt: skip
    node.set("rule whole", may="query")
    views = {rule.name: rule.view for rule in load(node.write()).rules}
    assert views == {"whole": View(), "some": View(
        frozenset({"CT", "MR"}), frozenset({"North, House 2"}), frozenset({"HOSPITAL"}), frozenset({"{user}"}),
        frozenset({"CT1"}), 30,
    )}  # fmt: skip


def test_what_could_never_be_seen_is_a_mistake(node: Node) -> None:
    node.set("rule some", may="query", sees_modalities="ct", sees_referring_physicians="{usr}, Doe^{user}")
    assert problems(node) == [
        "[rule some] sees-modalities: found 'ct', expected a modality such as CT: 1 to 16 capital letters, digits, "
        "spaces and underscores; did you mean CT?",
        "[rule some] sees-referring-physicians: found {usr}, expected names, or {user} for that of the user who asks",
    ]


def test_what_nobody_queries_cannot_be_restricted(node: Node) -> None:
    node.set("rule some", may="store", sees_modalities="CT", unidentified="yes", sees_referring_physicians="{user}")
    assert problems(node) == [
        "[rule some] sees-modalities: found without query and retrieve, expected one of them in may: it limits what "
        "they find",
        "[rule some] sees-referring-physicians: found {user} besides unidentified = yes, expected one or the other",
        "[rule some] sees-referring-physicians: found without query and retrieve, expected one of them in may: it "
        "limits what they find",
    ]
