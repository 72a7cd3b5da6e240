"""Sections become back ends and gates: all that is wrong is said at once, each at its line."""

from __future__ import annotations

import sys
from datetime import UTC, datetime

import pytest

from dimsetls.errors import ConfigurationError
from dimsetls.identity.credentials import Method
from dimsetls.identity.interfaces import IForeseeing, IRemembering
from dimsetls.node.identity.build import CLASSES
from dimsetls.node.identity.options import BACK_ENDS
from dimsetls.node.prepare import Prepared, prepare, summary

from ...peers.running import Node
from ...servers.oauth import AuthorizationServer
from ...servers.saml_idp import IdentityProvider
from ...servers.slapd import Slapd
from .conftest import directory_options


def prepared(node: Node) -> Prepared:
    return prepare(node.write())


def problems(node: Node) -> list[str]:
    """What stands against the configuration, with the lines that say it."""
    with pytest.raises(ConfigurationError) as caught:
        prepared(node)
    lines = (node.directory / "dimsetls.ini").read_text().splitlines()
    found = []
    for problem in caught.value.problems:
        number, _, sentence = problem.removeprefix(f"{node.directory}/dimsetls.ini:").partition(": ")
        found.append(f"{lines[int(number) - 1]} -> {sentence}")
    return found


def test_every_kind_of_section_has_a_class() -> None:
    assert {kind.kind for kind in BACK_ENDS} == {*CLASSES}


def test_every_back_end_says_at_its_line_what_is_wrong_with_its_files(node: Node, provider: IdentityProvider) -> None:
    node.set("users local", file="no-users")
    node.set("kerberos realm", keytab="no-keytab")
    node.set("saml idp", issuer=provider.issuer, certificates="no-idp.pem", audience=provider.audience)
    node.set("jwt login", issuer="https://login.example", audience="a", jwks_file="no-keys")
    node.set("ldap hospital", servers="ldaps://localhost", trust_roots="no-ca.pem", dn_template="uid={user},dc=example")
    found = problems(node)
    assert len(found) == 5
    expected = [
        ("file = no-users", "[users local] file: "),
        ("keytab = no-keytab", "[kerberos realm] keytab: "),
        ("certificates = no-idp.pem", "[saml idp] certificates: "),
        ("jwks-file = no-keys", "[jwt login] jwks-file: "),
        ("trust-roots = no-ca.pem", "[ldap hospital] trust-roots: "),
    ]
    for sentence, (line, start) in zip(found, expected, strict=True):
        assert sentence.startswith(f"{line} -> {start}"), found
        assert "No such file or directory" in sentence


def test_a_directory_without_an_account_that_searches_knows_no_names_alone(staff: Node, directory: Slapd) -> None:
    staff.set("ldap hospital", servers=directory.ldaps, trust_roots=directory.trust_roots,
              dn_template="uid={user},ou=people,dc=example,dc=org")
    staff.set("identity staff", username="ldap hospital", asserting_certificates="dns:gateway.example")
    assert problems(staff) == [
        "username = ldap hospital -> [identity staff] username: found [ldap hospital], which as it is configured "
        "cannot check this, expected another, or see [ldap hospital]"]
    del staff.sections["ldap hospital"]
    staff.set("ldap hospital", **directory_options(directory, staff))
    gateway = prepared(staff).identity.authenticators["ldap hospital"]
    assert gateway.methods == {Method.PASSCODE, Method.USERNAME}


def test_what_will_not_last_is_warned_of(staff: Node) -> None:
    soon = IdentityProvider(days=(-1, 20))
    staff.set("identity staff", saml="idp")
    staff.set("saml idp", issuer=soon.issuer, certificates=soon.write_certificate(staff.directory / "idp.pem"),
              audience=soon.audience)
    made = prepared(staff)
    (warning,) = made.warnings
    assert warning.startswith("[saml idp] pinned certificate ")
    assert f"warning: {warning}" in [*summary(made)]
    assert made.identity.warnings(datetime.now(UTC)) == (warning,)
    assert IForeseeing.providedBy(made.identity.authenticators["saml idp"])
    assert not IForeseeing.providedBy(made.identity.authenticators["users local"])


def test_a_deadline_that_comes_too_early_for_a_back_end_is_warned_of(staff: Node, directory: Slapd) -> None:
    servers = ", ".join(f"ldaps://ldap{number}.example" for number in range(4))
    staff.set("ldap hospital", **directory_options(directory, staff))
    staff.set("ldap hospital", servers=servers)
    staff.set("identity staff", passcode="users local, ldap hospital")
    (warning,) = prepared(staff).warnings
    assert warning == (
        "[ldap hospital] may need 12 s (4 servers with a timeout of 3 s), and [identity staff] gives it up after 10 s "
        "(deadline): what it would try last is never tried; shorten the one or lengthen the other"
    )
    staff.set("identity staff", deadline="13s")
    assert prepared(staff).warnings == ()


def test_requests_of_a_back_end_end_before_the_deadline(staff: Node, oauth: AuthorizationServer) -> None:
    staff.set("jwt login", issuer=oauth.issuer, audience="pacs", jwks_url=f"{oauth.issuer}/jwks",
              trust_roots=oauth.trust_roots)
    staff.set("identity staff", jwt="login", deadline="5s")
    (warning,) = prepared(staff).warnings
    assert warning.startswith("[jwt login] may need 5 s (request-deadline), and [identity staff] gives it up after 5 s")
    staff.set("jwt login", request_deadline="4s")
    assert prepared(staff).warnings == ()


def test_a_peer_that_sends_a_reserved_identity_type_is_used(staff: Node) -> None:
    staff.set("peer gateway", ae_title="GATEWAY", bearer_identity_type=254)
    assert not [line for line in summary(prepared(staff)) if "[peer gateway]" in line]
    staff.set("peer ct", ae_title="CT1")
    staff.set("ae DIMSETLS", peers="ct")
    assert "not used by any listener: [peer gateway]" in [*summary(prepared(staff))]


def test_memory_goes_to_the_back_end_of_the_same_section(node: Node, provider: IdentityProvider) -> None:
    certificate = provider.write_certificate(node.directory / "idp.pem")
    for name in ("one", "two"):
        node.set(f"saml {name}", issuer=provider.issuer, certificates=certificate, audience=provider.audience)
    before = prepared(node).identity
    node.set("saml three", issuer=provider.issuer, certificates=certificate, audience=provider.audience)
    del node.sections["saml two"]
    after = prepared(node).identity
    after.take_over(before)
    assert all(IRemembering.providedBy(each) for each in after.authenticators.values())
    used = {name: back_end._used for name, back_end in after.authenticators.items()}  # type: ignore[attr-defined]
    assert used["saml one"] is before.authenticators["saml one"]._used  # type: ignore[attr-defined]
    assert used["saml three"] not in [each._used for each in before.authenticators.values()]  # type: ignore[attr-defined]


def test_a_package_that_is_missing_is_told_of_the_section(
    node: Node, provider: IdentityProvider, monkeypatch: pytest.MonkeyPatch
) -> None:
    node.set("saml idp", issuer=provider.issuer, certificates="idp.pem", audience=provider.audience)
    monkeypatch.setitem(sys.modules, "dimsetls.identity.saml.signature", None)  # importing it fails
    assert problems(node) == [
        "[saml idp] -> [saml idp]: signxml and lxml, which check SAML assertions, are not installed; expected both: "
        "pip install 'dimsetls[saml]'"]
