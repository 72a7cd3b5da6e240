"""`dimsetls identity test`: each type against a real back end, what is told of each step, and what is not told."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from dimsetls.tls.authority import DevelopmentAuthority

from ...peers.running import Node
from ...servers.kdc import KDC, REALM, SERVICE
from ...servers.oauth import BOUND, ES256, MODALITY, OPAQUE, AuthorizationServer
from ...servers.saml_idp import IdentityProvider, holder_of_key
from ...servers.slapd import GROUP_BASE, Slapd
from .conftest import PASSCODE, Run, directory_options

DENIED = "the peer is answered A-ASSOCIATE-RJ (1,2,1) and learns nothing more"
UNAVAILABLE = "the peer is answered A-ASSOCIATE-RJ (2,3,1) and learns nothing more"
CT, MR = "1.2.840.10008.5.1.4.1.1.2", "1.2.840.10008.5.1.4.1.1.4"


def passcode(user: str) -> tuple[str, ...]:
    return "--type", "passcode", "--user", user, "--passcode-stdin"


def told(done: subprocess.CompletedProcess[str], status: int) -> list[str]:
    """The lines; nothing else is said."""
    assert (done.returncode, done.stderr) == (status, ""), (done.stdout, done.stderr)
    return done.stdout.splitlines()


# Each type ------------------------------------------------------------------------------------------------------------


def test_a_user_of_the_users_file(staff: Node, users: Path, try_identity: Run) -> None:
    done = try_identity(*passcode("alice"), stdin=f"{PASSCODE}\r\n")
    assert told(done, 0) == [
        "AE DIMSETLS: [identity staff], policy require",
        "passcode is checked by [users local]",
        f"  [users local] {users} has 3 users, 'alice' is one of them",
        "  [users local] groups are radiology, roles are technician",
        "accepted: alice of local by passcode",
        "  groups: radiology",
        "  roles: technician",
        "  until: no term",
        "the peer is answered sub-item 59H with 0 octets",
        "AE DIMSETLS has no rules: whoever is admitted may do everything",
    ]
    assert PASSCODE not in done.stdout


@pytest.mark.parametrize(("user", "reason"), [
    ("alice", "the passcode of 'alice' is wrong"), ("bob", "'bob' is disabled"), ("nobody", "has no user 'nobody'"),
])  # fmt: skip
def test_one_that_is_not_let_in(staff: Node, try_identity: Run, user: str, reason: str) -> None:
    done = try_identity(*passcode(user), stdin="a wrong passcode")
    assert told(done, 1)[-2:] == [f"refused: [users local] {reason}", DENIED]
    assert "a wrong passcode" not in done.stdout


@pytest.fixture
def hospital(staff: Node, directory: Slapd) -> Node:
    """The node, which asks a directory for users that are not in its file."""
    staff.set("ldap hospital", **directory_options(directory, staff))
    staff.set("ldap hospital", group_base=GROUP_BASE, group_filter="(member={dn})")
    staff.set("identity staff", passcode="users local, ldap hospital")
    return staff


def test_a_user_of_the_directory_who_is_not_in_the_users_file(hospital: Node, try_identity: Run) -> None:
    done = try_identity(*passcode("jürgen.müller"), stdin="pässwörd-€\n")
    lines = told(done, 0)
    assert lines[1] == "passcode is checked by [users local], then [ldap hospital]"
    assert lines[2].endswith("'jürgen.müller' is none of them")
    assert [line.split("] ")[0] for line in lines[3:11]] == ["  [ldap hospital"] * 8
    assert "accepted: jürgen.müller of hospital by passcode" in lines
    assert "  groups: radiology" in lines
    assert not {"pässwörd", "service-secret"} & {*re.findall(r"[\w-]+", done.stdout)}


def test_a_directory_that_does_not_answer(hospital: Node, directory: Slapd, try_identity: Run) -> None:
    hospital.set("ldap hospital", timeout="300ms")
    with directory.frozen():
        lines = told(try_identity(*passcode("jürgen.müller"), stdin="pässwörd-€"), 1)
    assert lines[-2].startswith("refused: [ldap hospital] ")
    assert lines[-1] == UNAVAILABLE


def test_a_name_alone_counts_from_a_certificate_that_may_assert_it(
    hospital: Node, pki: Path, try_identity: Run
) -> None:
    hospital.set("identity staff", username="ldap hospital", asserting_certificates="dns:localhost")
    alone = try_identity("--type", "username", "--user", "alice")
    assert told(alone, 1)[-2:] == [
        "refused: a peer without a certificate may not assert a user name here, by the configuration", DENIED]
    asserted = told(try_identity("--type", "username", "--user", "alice", "--certificate", pki / "client.pem"), 0)
    assert "accepted: alice of hospital by username" in asserted


def test_a_kerberos_ticket_and_that_it_is_used_up(node: Node, kdc: KDC, try_identity: Run) -> None:
    node.set("ae DIMSETLS", identity="staff")
    node.set("identity staff", kerberos="realm")
    node.set("kerberos realm", keytab=kdc.service_keytab, replay_cache="replays")
    token = kdc.token_file("gss")
    trial = ("--type", "kerberos", "--file", token)
    lines = told(try_identity(*trial, environment=kdc.environment), 0)
    assert [line for line in lines if f"it is good for {SERVICE}, of 'alice@{REALM}'" in line]
    assert f"accepted: alice@{REALM} of {REALM} by kerberos" in lines
    (answer,) = (line for line in lines if "sub-item 59H" in line)
    assert int(answer.split()[-2]) > 100  # the AP-REP
    again = told(try_identity(*trial, environment=kdc.environment), 1)
    assert "Request is a replay" in again[-2]
    assert again[-1] == DENIED


def test_a_token_that_must_be_bound_to_a_connection_cannot_be_tried_and_is_not_used_up(
    node: Node, kdc: KDC, try_identity: Run
) -> None:
    node.set("ae DIMSETLS", identity="staff")
    node.set("identity staff", kerberos="realm")
    node.set("kerberos realm", keytab=kdc.service_keytab, replay_cache="replays", channel_binding="required")
    trial = ("--type", "kerberos", "--file", kdc.token_file("gss"))
    assert told(try_identity(*trial, environment=kdc.environment), 1) == [
        "AE DIMSETLS: [identity staff], policy require",
        "kerberos is checked by [kerberos realm]",
        "not tried, and the token is not used up: [kerberos realm] has channel-binding = required, and there is no TLS "
        "connection here that a token could be bound to; open an association to try it",
    ]
    node.set("kerberos realm", channel_binding="optional")
    assert told(try_identity(*trial, environment=kdc.environment), 0)


def test_a_saml_assertion_for_the_holder_of_a_key(
    node: Node, provider: IdentityProvider, pki: Path, try_identity: Run
) -> None:
    certificate = pki / "client.pem"
    node.set("ae DIMSETLS", identity="staff")
    node.set("identity staff", saml="idp")
    node.set("saml idp", issuer=provider.issuer, certificates=provider.write_certificate(node.directory / "idp.pem"),
             audience=provider.audience, confirmation="holder-of-key")
    holder = x509.load_pem_x509_certificate(certificate.read_bytes()).public_bytes(Encoding.DER)
    assertion = provider.assertion(confirmations=[holder_of_key(holder)])
    (node.directory / "alice.xml").write_bytes(assertion)
    trial = ("--type", "saml", "--file", node.directory / "alice.xml")
    lines = told(try_identity(*trial, "--certificate", certificate), 0)
    assert f"accepted: alice of {provider.issuer} by saml" in lines
    assert "  roles: radiologist" in lines
    assert "the peer is answered sub-item 59H with 0 octets" in lines
    node.set("saml idp", response="response")
    (answer,) = (line for line in told(try_identity(*trial, "--certificate", certificate), 0) if "59H" in line)
    assert int(answer.split()[-2]) > 300
    other = told(try_identity(*trial), 1)
    assert "it is for the holder of another certificate than none" in other[-2]
    signature = re.search(rb"SignatureValue>([^<]+)<", assertion)
    assert signature is not None
    assert signature[1].decode()[:20] not in "".join([*lines, *other])


@pytest.fixture
def login(node: Node, oauth: AuthorizationServer) -> Node:
    """A node that takes JSON Web Tokens, and any access token of the bearer extension."""
    node.set("ae DIMSETLS", identity="staff")
    node.set("identity staff", jwt="login", bearer="jwt login, introspection login")
    node.set("jwt login", issuer=oauth.issuer, audience=ES256, jwks_url=f"{oauth.issuer}/jwks",
             trust_roots=oauth.trust_roots)
    node.set("introspection login", url=f"{oauth.issuer}/token/introspection", trust_roots=oauth.trust_roots,
             issuer=oauth.issuer, audience=OPAQUE, client_id=MODALITY.client_id, client_secret=oauth.secret)
    return node


@pytest.mark.parametrize("kind", ["jwt", "bearer"])
def test_a_json_web_token_on_a_line_of_its_own(
    login: Node, oauth: AuthorizationServer, try_identity: Run, kind: str
) -> None:
    token = oauth.token(ES256)["access_token"]
    done = try_identity("--type", kind, "--file", "-", stdin=f"{token}\n")
    lines = told(done, 0)
    assert [line for line in lines if line.startswith("  [jwt login] signature: good")]
    assert f"accepted: alice of {oauth.issuer} by {kind}" in lines
    assert "  scopes: dicom.query, dicom.store" in lines
    assert ("the peer is answered result 0 in sub-item 56H" in lines) is (kind == "bearer")
    assert ("the peer is answered sub-item 59H with 0 octets" in lines) is (kind == "jwt")
    assert not [part for part in token.split(".") if part in done.stdout]


def test_an_opaque_token_is_asked_for_where_it_comes_from(
    login: Node, oauth: AuthorizationServer, try_identity: Run
) -> None:
    token = oauth.token(OPAQUE)["access_token"]
    (login.directory / "token").write_text(token)
    trial = ("--type", "bearer", "--file", login.directory / "token")
    done = try_identity(*trial)
    lines = told(done, 0)
    assert lines[1] == "bearer is checked by [jwt login], then [introspection login]"
    assert f"  [introspection login] server: {oauth.issuer}/token/introspection says that the token is active" in lines
    oauth.revoke(token)
    revoked = try_identity(*trial)
    assert told(revoked, 1)[-1] == DENIED
    assert token not in done.stdout + revoked.stdout
    assert Path(oauth.secret).read_text().strip() not in done.stdout + revoked.stdout


def test_a_token_that_is_bound_to_a_certificate(login: Node, oauth: AuthorizationServer, try_identity: Run) -> None:
    token = oauth.token(ES256, client=BOUND)["access_token"]
    shown = {name: oauth.key_pair(name)[0] for name in ("modality", "other")}
    trial = ("--type", "jwt", "--file", "-")
    assert told(try_identity(*trial, "--certificate", shown["modality"], stdin=token), 0)
    for wrong in ([], ["--certificate", shown["other"]]):
        assert told(try_identity(*trial, *wrong, stdin=token), 1)[-1] == DENIED


def test_a_certificate_alone(node: Node, pki: Path, try_identity: Run) -> None:
    node.set("ae DIMSETLS", identity="devices")
    node.set("identity devices", certificate="ours")
    node.set("certificate-identity ours", certificates="dns:localhost", name_from="subject:CN", groups="modalities")
    trial = ("--type", "certificate", "--certificate")
    lines = told(try_identity(*trial, pki / "client.pem"), 0)
    assert [line for line in lines if line.startswith("accepted: dimsetls development client of ")]
    assert not [line for line in lines if "the peer is answered" in line]
    strange = node.directory / "strange.pem"
    strange.write_bytes(DevelopmentAuthority().issue_client("strange", names=["strange.example"]).certificate_pem)
    assert told(try_identity(*trial, strange), 1)[-1] == DENIED


# Policy and rules -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("policy", "status"), [("require", 1), ("prefer", 0)])
def test_what_is_not_configured(staff: Node, try_identity: Run, policy: str, status: int) -> None:
    staff.set("identity staff", policy=policy)
    lines = told(try_identity("--type", "jwt", "--file", "-", stdin="a.b.c"), status)
    assert lines[:2] == [f"AE DIMSETLS: [identity staff], policy {policy}",
                         "jwt is not configured: there is nobody to ask"]
    assert lines[2].startswith("accepted, without a user: " if status == 0 else "refused: a user identity is required")


def test_what_is_ignored(staff: Node, try_identity: Run) -> None:
    staff.set("identity staff", policy="ignore")
    lines = told(try_identity(*passcode("alice"), stdin="whatever"), 0)
    assert lines[1:3] == ["no identity is looked at",
                          "accepted, without a user: the user identity is ignored, as configured"]


def test_what_the_rules_permit_is_told_and_why_the_others_do_not(staff: Node, try_identity: Run) -> None:
    staff.set("ae DIMSETLS", rules="everyone, radiology, cardiology, ct1")
    staff.set("rule everyone", may="verification", unidentified="yes")
    staff.set("rule radiology", may="store", sop_classes=f"{CT}, {MR}", groups="radiology")
    staff.set("rule cardiology", may="store, query", groups="cardiology")
    staff.set("rule ct1", may="store", calling_ae_titles="CT1")
    expected = [
        "[rule everyone] permits verification",
        f"[rule radiology] permits store of {CT}, {MR}",
        "[rule cardiology] does not permit store: it asks for the group cardiology",
        "[rule cardiology] does not permit query: it asks for the group cardiology",
        "[rule ct1] does not permit store: it is not for the calling AE 'DIMSETLS'",
    ]
    assert told(try_identity(*passcode("alice"), stdin=PASSCODE), 0)[-5:] == expected
    from_ct1 = told(try_identity(*passcode("alice"), "--calling-ae", "CT1", stdin=PASSCODE), 0)
    assert from_ct1[-5:] == [*expected[:-1], "[rule ct1] permits store"]


def test_what_the_user_would_see_is_told(staff: Node, try_identity: Run) -> None:
    staff.set("storage archive", index="yes")
    staff.set("ae DIMSETLS", rules="own, radiology, technicians", services="storage, query, retrieve")
    staff.set("rule own", may="query", sees_referring_physicians="{user}", sees_days=7)
    staff.set("rule radiology", may="retrieve, store", groups="radiology", sees_modalities="MR, CT")
    staff.set("rule technicians", may="query", roles="technician")
    assert told(try_identity(*passcode("alice"), stdin=PASSCODE), 0)[-4:] == [
        "[rule own] permits query, and shows instances with referring physician alice and study date up to 7 days ago",
        "[rule radiology] permits retrieve, and shows instances with modality CT or MR",
        "[rule radiology] permits store",
        "[rule technicians] permits query, and shows everything",
    ]


def test_each_ae_has_a_policy_of_its_own(staff: Node, try_identity: Run) -> None:
    staff.set("listener main", aes="DIMSETLS, ARCHIVE", identity="open")
    staff.set("ae ARCHIVE", services="verification")
    staff.set("identity open", policy="ignore")
    (first, *_) = told(try_identity(*passcode("alice"), stdin=PASSCODE), 0)
    (other, *_) = told(try_identity(*passcode("alice"), "--ae", "ARCHIVE", stdin=PASSCODE), 0)
    assert first == "AE DIMSETLS: [identity staff], policy require"
    assert other == "AE ARCHIVE: [identity open], policy ignore"


def test_failures_lock_nobody_out(staff: Node, try_identity: Run) -> None:
    staff.set("identity staff", failures_per_user=1)
    assert told(try_identity(*passcode("alice"), stdin="wrong"), 1)
    assert told(try_identity(*passcode("alice"), stdin=PASSCODE), 0)
