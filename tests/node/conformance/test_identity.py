"""What the statement says of user identities is what the configuration says, and something else for another."""

from __future__ import annotations

from pathlib import Path

import pytest

from dimsetls.identity.activities import Activity
from dimsetls.node.conformance.identity import user_identity
from dimsetls.node.conformance.text import Document, markdown
from dimsetls.node.identity.options import BACK_ENDS as KINDS
from dimsetls.node.identity.options import IDENTITY, RULE
from dimsetls.node.language import SectionKind
from dimsetls.node.reading import load

from ...peers.running import Node

BACK_ENDS = {
    "users local": {"file": "users"},
    "ldap hospital": {"servers": "ldaps://localhost", "dn_template": "uid={user},dc=example"},
    "kerberos hospital": {"keytab": "dicom.keytab"},
    "saml hospital": {"issuer": "i", "certificates": "idp.pem", "audience": "a"},
    "jwt hospital": {"issuer": "i", "audience": "a", "jwks_file": "keys"},
    "introspection hospital": {"url": "https://localhost", "trust_roots": "ca.pem", "issuer": "i", "audience": "a",
                               "client_id": "c"},
    "certificate-identity hospital": {"certificates": "dns:x.example", "name_from": "subject:CN"},
}
METHODS = {
    "passcode": "users local, ldap hospital", "username": "users local", "kerberos": "hospital", "saml": "hospital",
    "jwt": "hospital", "bearer": "jwt hospital, introspection hospital", "certificate": "hospital",
}


@pytest.fixture
def full(node: Node) -> Node:
    """A node with a back end of each kind for each type, and a rule."""
    for section, options in BACK_ENDS.items():
        node.set(section, **options)
    node.set("identity staff", asserting_certificates="dns:gateway.example", **METHODS)
    node.set("rule readers", may="verification, query", users="alice")
    node.set("ae DIMSETLS", identity="staff", rules="readers")
    return node


def stated(node: Node) -> str:
    return markdown(Document("Statement", (), (user_identity(load(node.write())),)))


def test_nothing_is_claimed_where_nothing_is_checked(node: Node) -> None:
    said = stated(node)
    assert "No user identity is checked" in said
    assert "None of the profiles PS3.15 B.4 to B.7 is claimed" in said


def test_each_type_its_back_ends_in_order_and_its_answer(full: Node) -> None:
    said = stated(full)
    for start, back_ends, answer in (
        ("1 username", "`users local`", "zero length"),
        ("2 username and passcode", "`users local`, then `ldap hospital`", "zero length"),
        ("3 Kerberos", "`kerberos hospital`", "AP-REP, in the same form"),
        ("4 SAML", "`saml hospital`", "zero length"),
        ("5 JSON Web Token", "`jwt hospital`", "zero length"),
        ("bearer extension", "`jwt hospital`, then `introspection hospital`", "sub-item 56H with a result byte"),
        ("no sub-item: the certificate", "`certificate-identity hospital`", "none"),
    ):
        (row,) = (line for line in said.splitlines() if line.startswith(f"| {start}"))
        assert row.endswith(f" | {back_ends} | {answer} |"), row
    for profile in ("B.4", "B.5", "B.6", "B.7"):
        assert f"PS3.15 {profile})" in said


def test_a_profile_is_claimed_only_where_its_type_is_checked(full: Node) -> None:
    full.set("identity staff", kerberos=None)
    assert "PS3.15 B.6" not in stated(full)


# Every option of the policy and of a rule, and another value of it.
CHANGES = {
    "identity staff": {
        "policy": "prefer", "passcode": "ldap hospital", "username": "ldap hospital",
        "asserting-certificates": "dns:other.example", "kerberos": None, "saml": None, "jwt": None,
        "bearer": "jwt hospital", "certificate": None, "certificates": "issuer:CN=Hospital CA",
        "when-expired": "abort", "deadline": "3s", "remember-successes": "1m", "failures-per-user": 3,
        "failures-per-address": 4, "failures-per-certificate": 6, "lock-out-time": "1h", "username-length": 64,
        "passcode-length": 65, "kerberos-length": 4000, "saml-length": 4001, "jwt-length": 4002, "bearer-length": 4003,
    },
    "rule readers": {
        "may": "verification, retrieve", "sop-classes": "1.2.840.10008.1.1", "users": "bob", "groups": "night",
        "roles": "technician", "scopes": "dicom.store", "realms": "HOSPITAL", "certificates": "dns:ct1.example",
        "calling-ae-titles": "CT1", "sees-modalities": "CT", "sees-institutions": "North",
        "sees-patient-id-issuers": "HOSPITAL", "sees-referring-physicians": "{user}", "sees-stored-by": "CT1",
        "sees-days": 90,
    },
    "users local": {"realm": "HOSPITAL"},
    "ldap hospital": {
        "dn-template": "cn={user},dc=example", "name-attribute": "cn",
        "group-base": "ou=groups", "required-group": "dicom", "realm": "HOSPITAL",
    },
    "ldap searched": {"search-filter": "(cn={user})", "group-attribute": "isMemberOf",
                      "group-filter": "(member={dn})"},
    "kerberos hospital": {
        "service": "dicom/localhost@HOSPITAL", "realms": "HOSPITAL", "strip-realms": "HOSPITAL",
        "allow-service-principals": "yes", "channel-binding": "required", "forms": "gss",
    },
    "saml hospital": {
        "issuer": "other", "audience": "b", "recipient": "r", "confirmation": "holder-of-key", "clock-skew": "2m",
        "use": "as-long-as-valid", "maximum-lifetime": "2h", "name-attribute": "uid", "group-attributes": "g",
        "role-attributes": "r", "base64url": "yes", "response": "response",
    },
    "jwt hospital": {
        "issuer": "other", "audience": "b", "shared-secret": "secret", "algorithms": "ES512", "types": "JWT",
        "id-tokens": "yes", "require-claims": "jti", "require-binding": "yes", "leeway": "1s",
        "subject-claim": "oid", "group-claims": "g", "role-claims": "r", "scope-claims": "scp",
    },
    "jwt fetched": {"jwks-url": None, "keys-fresh": "1m", "keys-stale": "2h"},
    "introspection hospital": {
        "issuer": "other", "audience": "b", "client-id": "d", "client-secret": "secret", "certificate": "client.pem",
        "require-claims": "exp", "remember": "0s", "require-binding": "yes", "leeway": "1s",
        "subject-claim": "username", "group-claims": "g", "role-claims": "r", "scope-claims": "scp",
    },
    "certificate-identity hospital": {"certificates": "dns:y.example", "name-from": "email", "groups": "g",
                                      "roles": "r", "realm": "HOSPITAL"},
}  # fmt: skip
SILENT = {"failure-delay", "refusal-time", "unidentified"}
"""Two say when a refusal is answered, and no peer may rely on it. The third has a test of its own."""
OURS_ALONE = {
    "file", "servers", "trust-roots", "service-dn", "service-passcode", "timeout", "back-off", "threads", "waiting",
    "search-base", "keytab", "replay-cache", "saml certificates", "jwks-file", "url", "private-key",
    "private-key-passphrase", "requests", "request-deadline",
}
"""Where a back end is and how it is asked: nothing that a peer sees."""


def test_every_option_is_changed_here() -> None:
    assert {option.name for option in IDENTITY.options} == {*CHANGES["identity staff"]} | SILENT - {"unidentified"}
    assert {option.name for option in RULE.options} == {*CHANGES["rule readers"], "unidentified"}


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.kind)
def test_every_option_of_a_back_end_is_changed_here(kind: SectionKind) -> None:
    changed = {option for section, options in CHANGES.items() if section.split()[0] == kind.kind for option in options}
    told = {option.name for option in kind.options if not OURS_ALONE & {option.name, f"{kind.kind} {option.name}"}}
    assert changed == told


@pytest.mark.parametrize(("section", "option"), [(section, option) for section, options in CHANGES.items()
                                                 for option in options])
def test_another_value_makes_another_statement(full: Node, section: str, option: str) -> None:
    full.set("ldap searched", servers="ldaps://localhost", search_base="dc=example", group_base="ou=groups")
    full.set("jwt fetched", issuer="f", audience="a", jwks_url="https://localhost", jwks_file="keys")
    full.set("identity staff", passcode="users local, ldap hospital, ldap searched", jwt="hospital, fetched")
    before = stated(full)
    full.set(section, **{option.replace("-", "_"): CHANGES[section][option]})
    assert stated(full) != before


def test_who_a_rule_is_for(full: Node) -> None:
    assert "verified users; users `alice`" in stated(full)
    full.set("rule readers", users=None, unidentified="yes")
    assert "everyone, also without a user identity" in stated(full)


def test_every_activity_can_be_permitted(full: Node) -> None:
    full.set("rule readers", may=", ".join(activity.value for activity in Activity))
    said = stated(full)
    assert [activity.value for activity in Activity if f"`{activity.value}`" not in said] == []


def test_the_saml_response_is_stated(full: Node, tmp_path: Path) -> None:
    full.set("saml hospital", response="response")
    assert "| `saml hospital` | an unsigned SAML response with the status Success |" in stated(full)
    full.set("saml other", issuer="o", certificates="idp.pem", audience="a")
    full.set("identity staff", saml="hospital, other")
    assert "an unsigned SAML response with the status Success or zero length |" in stated(full)


def test_kerberos_forms_are_stated_byte_by_byte(full: Node) -> None:
    said = stated(full)
    for form in ("AP-REQ as RFC 4120 has it (first byte 6EH)", "GSS-API (60H", "SPNEGO (60H"):
        assert form in said
    full.set("kerberos hospital", channel_binding="required")
    assert "(first byte 6EH)" not in stated(full)
    full.set("kerberos hospital", channel_binding="none", forms="ap-req")
    assert "SPNEGO" not in stated(full)


def test_what_is_not_set_of_a_token_has_the_default_of_its_back_end(full: Node) -> None:
    said = stated(full)
    assert "| Algorithms | `ES256`, `ES384`, `PS256`, `PS384`, `RS256`, `RS384` |" in said
    assert "| Type (`typ`) | `at+jwt` |" in said
    assert "| Claims that must be there | `iss`, `aud`, `exp`, `sub`, `iat` |" in said
    full.set("jwt hospital", jwks_file=None, shared_secret="secret")
    assert "| Algorithms | `HS256` |" in stated(full)


def test_a_back_end_that_nobody_asks_is_not_stated(full: Node) -> None:
    assert "What saml hospital takes" in stated(full)
    full.set("identity staff", saml=None)
    assert "What saml hospital takes" not in stated(full)
    full.set("identity staff", policy="ignore")
    assert " takes" not in stated(full)


def test_a_reserved_identity_type_is_stated_of_peers_that_may_call_and_where_tokens_are_checked(full: Node) -> None:
    full.set("peer private", ae_title="PRIVATE", bearer_identity_type=254)
    assert "`PRIVATE`: 254" in stated(full)
    full.set("identity staff", bearer=None)
    assert "`PRIVATE`: 254" not in stated(full)
    full.set("identity staff", bearer="jwt hospital")
    full.set("peer ct", ae_title="CT1")
    full.set("ae DIMSETLS", peers="ct")
    assert "`PRIVATE`: 254" not in stated(full)
