"""What `prepare` makes of [tls] and [certificate]: told at the line that says it, and proved by handshakes."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.serialization import BestAvailableEncryption, Encoding, PrivateFormat

from dimsetls.errors import ConfigurationError
from dimsetls.node.prepare import Prepared, prepare, summary
from dimsetls.testing import DevelopmentAuthority, DevelopmentCertificate
from dimsetls.tls.bindings import was_resumed
from dimsetls.tls.contexts import ClientConnectionCreator
from dimsetls.tls.policy import BCP195_RFC9325, PROFILES, TLSPolicy, TLSVersion
from dimsetls.tls.revocation import UNCHECKED, Revocation

from ..peers.running import DEADLINE, Node
from ..tls.conftest import Link, RawClient

AUTHORITY, STRANGER = DevelopmentAuthority(), DevelopmentAuthority("stranger")
SERVER, CLIENT = AUTHORITY.issue_server(), AUTHORITY.issue_client()
RISK = "i understand the risk"


@pytest.fixture(autouse=True)
def no_site_file(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OPENSSL_CONF", raising=False)


@pytest.fixture
def site(node: Node) -> Node:
    """A node with certificates of AUTHORITY beside its configuration."""
    put(node, "ca.pem", AUTHORITY.own.certificate_pem)
    serve_with(node, SERVER)
    node.set("tls secure", profile="bcp195-rfc9325", certificate="server.pem", private_key="server.key",
             trust_roots="ca.pem")
    return node


def put(site: Node, name: str, content: bytes, mode: int = 0o600) -> Path:
    path = site.directory / name
    path.write_bytes(content)
    path.chmod(mode)
    return path


def serve_with(site: Node, issued: DevelopmentCertificate, name: str = "server") -> None:
    put(site, f"{name}.pem", issued.certificate_pem)
    put(site, f"{name}.key", issued.private_key_pem)


def prepared(site: Node) -> Prepared:
    return prepare(site.write())


def problems(site: Node) -> list[str]:
    """Every problem, its line number replaced by what that line says."""
    ini = site.write()
    with pytest.raises(ConfigurationError) as caught:
        prepare(ini)
    lines = ini.read_text().splitlines()
    split = [re.fullmatch(rf"{ini}:(\d+): (.*)", problem) for problem in caught.value.problems]
    return [f"{lines[int(found[1]) - 1].split(' = ')[0]} | {found[2]}" for found in split if found]


def shake(
    made: Prepared, *, client: DevelopmentCertificate = CLIENT, name: str = "localhost",
    policy: TLSPolicy = BCP195_RFC9325, revocation: Revocation = UNCHECKED,
) -> Link:
    """A handshake with what was prepared."""
    calling = ClientConnectionCreator(
        policy, AUTHORITY.trust_roots, client.material, server_name=name, revocation=revocation
    )
    return Link(made.connections["secure"], calling).pump()


def is_served(link: Link) -> bool:
    return link.server_user.session is not None and link.client_user.reason is None


# Profiles ------------------------------------------------------------------------------------------------------------


def test_a_profile_is_narrowed(site):
    site.set("tls secure", minimum_version="1.3", tls13_cipher_suites="TLS_AES_128_GCM_SHA256", groups="P-384")
    made = prepared(site)
    link = shake(made)
    assert (link.server_user.session.version, link.server_user.session.cipher_suite) == (
        "TLSv1.3", "TLS_AES_128_GCM_SHA256"
    )
    tls12 = BCP195_RFC9325.narrow(maximum_version=TLSVersion.TLS_1_2)
    assert shake(made, policy=tls12).server_user.fault.name == "protocol-version"
    assert shake(made, policy=BCP195_RFC9325.narrow(groups=["X25519"])).server_user.fault.name == "no-shared-group"


def test_what_would_widen_a_profile_is_told_once_where_it_stands(site):
    site.set("tls secure", cipher_suites="AES128-SHA", groups="X25519, P-521")
    site.set("peer other", ae_title="OTHER", host="localhost", tls="secure")
    assert [found.split(";")[0] for found in problems(site)] == [
        f"{option} | [tls secure] {option}: {what} is not in the TLS profile bcp195-rfc9325, which can be narrowed and "
        "not widened" for option, what in (("cipher-suites", "'AES128-SHA'"), ("groups", "'P-521'"))
    ]


def test_versions_that_leave_none(site):
    site.set("tls secure", minimum_version="1.3", maximum_version="1.2")
    (found,) = problems(site)
    assert found.startswith("minimum-version | [tls secure] minimum-version: TLS 1.3 as the least and TLS 1.2 as the ")
    site.set("tls secure", minimum_version=None, profile="tls13-only")
    (found,) = problems(site)
    assert found.startswith("maximum-version | [tls secure] maximum-version: TLS 1.3 as the least and TLS 1.2 as the ")


def test_a_legacy_profile_needs_the_second_switch(site):
    (legacy,) = (name for name, policy in PROFILES.items() if policy.is_legacy)
    site.set("tls secure", profile=legacy)
    (found,) = problems(site)
    assert found.startswith(f"profile | [tls secure] profile: found {legacy}, which admits what RFC 9325 advises")
    site.set("tls secure", legacy_profile="yes")
    assert [line.split(" | ")[0] for line in problems(site)] == ["profile", "legacy-profile"]
    site.set("tls secure", legacy_profile=RISK)
    assert is_served(shake(prepared(site)))


def test_what_a_profile_cannot_do_is_said_by_check(site):
    site.set("tls secure", profile="bcp195-rfc9325-modified")
    remarks = [line for line in summary(prepared(site)) if line.startswith("tls secure: PS3.15 B.13 ")]
    assert len(remarks) == len(PROFILES["bcp195-rfc9325-modified"].cannot)


# Passphrases ---------------------------------------------------------------------------------------------------------


@pytest.fixture
def encrypted(site: Node) -> Node:
    """The key of the node is encrypted with `right`."""
    form = Encoding.PEM, PrivateFormat.PKCS8, BestAvailableEncryption(b"right")
    put(site, "server.key", SERVER.private_key.private_bytes(*form))
    site.set("tls secure", private_key_passphrase="passphrase")
    return site


def test_a_passphrase_file_beside_the_configuration(encrypted):
    put(encrypted, "passphrase", b"right\n")
    assert is_served(shake(prepared(encrypted)))


def test_a_passphrase_from_systemd(encrypted, tmp_path, monkeypatch):
    put(encrypted, "dimsetls-key", b"right\n", 0o440)
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", str(tmp_path))
    encrypted.set("tls secure", private_key_passphrase="credential:dimsetls-key")
    assert is_served(shake(prepared(encrypted)))


def test_a_credential_without_systemd(encrypted, monkeypatch):
    monkeypatch.delenv("CREDENTIALS_DIRECTORY", raising=False)
    encrypted.set("tls secure", private_key_passphrase="credential:dimsetls-key")
    (found,) = problems(encrypted)
    assert found.startswith("private-key-passphrase | [tls secure] private-key-passphrase: passphrase "
                            "'credential:dimsetls-key' is to come from systemd, but $CREDENTIALS_DIRECTORY is not set")


@pytest.mark.parametrize(("content", "mode", "sentence"), [
    (b"wrongest\n", 0o600, "the passphrase does not open the key"),
    (b"right\n", 0o644, "is open to group or others (mode 0644); expected 0600"),
    (b"\n", 0o600, "begins with an empty line"),
    (None, 0, "cannot be read: No such file or directory"),
])
def test_a_passphrase_that_will_not_do(encrypted, content, mode, sentence):
    if content is not None:
        put(encrypted, "passphrase", content, mode)
    (found,) = problems(encrypted)
    assert found.startswith("private-key | [tls secure] private-key: key file ")
    assert sentence in found
    assert "wrongest" not in found


def test_an_encrypted_key_without_a_passphrase(encrypted):
    encrypted.set("tls secure", private_key_passphrase=None)
    (found,) = problems(encrypted)
    assert "found that it is encrypted, expected its passphrase from a file or a systemd credential" in found


# Names and ALPN ------------------------------------------------------------------------------------------------------


@pytest.fixture
def named(site: Node) -> Node:
    """A node with another certificate for pacs.example."""
    serve_with(site, AUTHORITY.issue_server("pacs", names=["pacs.example"]), "pacs")
    site.set("tls secure", named_certificates="pacs")
    site.set("certificate pacs", certificate="pacs.pem", private_key="pacs.key")
    return site


@pytest.mark.parametrize(("name", "subject"), [
    ("localhost", "CN=dimsetls development server"), ("127.0.0.1", "CN=dimsetls development server"),
    ("pacs.example", "CN=pacs"),
])
def test_the_certificate_is_chosen_by_name(named, name, subject):
    link = shake(prepared(named), name=name)
    assert is_served(link)
    assert link.client_user.session.peer.subject.split(",")[0] == subject


def test_strict_server_names(named):
    assert shake(prepared(named), name="ris.example").client_user.fault.name == "certificate-name-mismatch"
    named.set("tls secure", strict_server_names="yes")
    made = prepared(named)
    assert shake(made, name="ris.example").server_user.fault.alert == 112
    assert is_served(shake(made, name="pacs.example"))


def test_a_named_certificate_is_judged_at_its_own_section(named):
    serve_with(named, AUTHORITY.issue_server(), "other")
    named.set("certificate pacs", private_key="other.key")
    (found,) = problems(named)
    assert found.startswith("private-key | [certificate pacs] private-key: key file ")
    assert "does not belong to" in found


def test_a_named_certificate_that_would_never_be_chosen(named):
    serve_with(named, AUTHORITY.issue_server("again"), "pacs")
    (found,) = problems(named)
    assert 'certificate "CN=again,' in found
    assert "would never be chosen" in found


def test_resumption_is_off_unless_it_is_asked_for(site):
    site.set("peer other", ae_title="OTHER", host="localhost", tls="secure")
    assert prepared(site).connections["secure"].resumption is None
    site.set("tls secure", resumption="90m")
    made = prepared(site)
    resumed = []
    for _ in range(3):
        link = Link(made.connections["secure"], made.peers["other"]).pump()
        assert is_served(link)
        resumed.append(was_resumed(link.server.getHandle()))
    assert resumed == [False, True, True]


@pytest.mark.parametrize("value", ["yes", "30s", "25h", "1"])
def test_a_lifetime_of_sessions_that_is_none(site, value):
    site.set("tls secure", resumption=value)
    (found,) = problems(site)
    assert found == (f"resumption | [tls secure] resumption: found {value!r}, expected no, or a duration with its unit "
                     "(ms, s, m, h) from 1m to 24h, such as 500ms, 30s or 5m")


def test_resumption_without_tls_1_3(site):
    site.set("tls secure", resumption="1h", maximum_version="1.2")
    (found,) = problems(site)
    assert found.startswith("resumption | [tls secure] resumption: found 1h besides maximum-version = 1.2, expected")


@pytest.mark.parametrize(("required", "served"), [("no", True), ("yes", False)])
def test_require_alpn(site, required, served):
    site.set("tls secure", require_alpn=required)
    made = prepared(site)

    def without_alpn(context: Any) -> None:
        context.use_certificate(CLIENT.certificate)
        context.use_privatekey(CLIENT.private_key)

    link = Link(made.connections["secure"], RawClient(without_alpn)).pump()
    assert (link.server_user.session is not None) is served
    if not served:
        assert link.server_user.fault.name == "alpn-absent"
    assert is_served(shake(made))


# Revocation ----------------------------------------------------------------------------------------------------------


def pem(authority: DevelopmentAuthority, **dates: Any) -> bytes:
    return authority.crl(**dates).public_bytes(Encoding.PEM)


def test_a_revoked_client_is_refused_and_another_served(site):
    authority = DevelopmentAuthority("with revoked")
    good, bad = authority.issue_client("good"), authority.issue_client("bad")
    authority.revoke(bad)
    put(site, "ca.pem", AUTHORITY.own.certificate_pem + authority.own.certificate_pem)
    put(site, "ca.crl", pem(AUTHORITY))
    put(site, "other.crl", authority.crl().public_bytes(Encoding.DER))
    site.set("tls secure", revocation_check="chain", revocation_lists="ca.crl, other.crl")
    made = prepared(site)
    assert made.warnings == ()
    assert is_served(shake(made, client=good))
    assert is_served(shake(made))
    assert shake(made, client=bad).server_user.fault.name == "certificate-revoked"
    site.set("tls secure", revocation_check=f"not checked - {RISK}", revocation_lists=None)
    assert is_served(shake(prepared(site), client=bad))


@pytest.mark.parametrize(("content", "sentence"), [
    (pem(AUTHORITY, next_update=datetime.now(UTC) - timedelta(days=1)), "is stale since"),
    (pem(STRANGER), 'revocation list of "CN=stranger,'),
    (b"nonsense", "holds none; expected a certificate revocation list in PEM or DER"),
    (None, "cannot be read: No such file or directory"),
])
def test_a_revocation_list_that_will_not_do(site, content, sentence):
    if content is not None:
        put(site, "ca.crl", content)
    site.set("tls secure", revocation_check="leaf", revocation_lists="ca.crl")
    (found,) = problems(site)
    assert found.startswith("revocation-lists | [tls secure] revocation-lists: ")
    assert sentence in found


def test_a_check_without_lists_and_lists_without_a_check(site):
    site.set("tls secure", revocation_check="chain")
    (found,) = problems(site)
    assert found.startswith("revocation-check | [tls secure] revocation-check: found no revocation list for the check")
    put(site, "ca.crl", pem(AUTHORITY))
    site.set("tls secure", revocation_check=f"not checked - {RISK}", revocation_lists="ca.crl")
    (found,) = problems(site)
    assert found.startswith("revocation-lists | [tls secure] revocation-lists: found revocation lists (")


def test_an_authority_without_a_list_and_a_list_that_ends_soon_are_warnings(site):
    put(site, "ca.pem", AUTHORITY.own.certificate_pem + STRANGER.own.certificate_pem)
    put(site, "ca.crl", pem(AUTHORITY, next_update=datetime.now(UTC) + timedelta(hours=1)))
    site.set("tls secure", revocation_check="chain", revocation_lists="ca.crl")
    stale, missing = prepared(site).warnings
    assert "goes stale on " in stale
    assert missing.startswith('there is no revocation list of "CN=stranger,')


# Stapling ------------------------------------------------------------------------------------------------------------


def test_a_good_response_is_stapled(site):
    demanding = Revocation(require_stapled=True)
    assert not is_served(shake(prepared(site), revocation=demanding))
    put(site, "server.ocsp", AUTHORITY.ocsp_response(SERVER))
    site.set("tls secure", ocsp_response="server.ocsp")
    made = prepared(site)
    assert is_served(shake(made, revocation=demanding))
    assert len(made.staplings) == 1


def test_each_certificate_has_a_response_of_its_own(named):
    pacs = AUTHORITY.issue_server("pacs", names=["pacs.example"], must_staple=True)
    serve_with(named, pacs, "pacs")
    (found,) = problems(named)
    assert "demands a stapled OCSP response" in found
    put(named, "pacs.ocsp", AUTHORITY.ocsp_response(pacs))
    named.set("certificate pacs", ocsp_response="pacs.ocsp")
    made = prepared(named)
    demanding = Revocation(require_stapled=True)
    assert is_served(shake(made, name="pacs.example", revocation=demanding))
    assert not is_served(shake(made, revocation=demanding))


@pytest.mark.parametrize("content", [
    b"nonsense", b"", None,
    AUTHORITY.ocsp_response(AUTHORITY.issue_server()),
    AUTHORITY.ocsp_response(SERVER, next_update=datetime.now(UTC) - timedelta(minutes=1)),
    STRANGER.ocsp_response(SERVER),
], ids=["nonsense", "empty", "missing", "of another certificate", "stale", "of another authority"])
def test_a_response_that_a_client_would_refuse(site, content):
    if content is not None:
        put(site, "server.ocsp", content)
    site.set("tls secure", ocsp_response="server.ocsp")
    (found,) = problems(site)
    file = f"OCSP response file {site.directory}/server.ocsp"
    assert found.startswith(f"ocsp-response | [tls secure] ocsp-response: {file} cannot be used: ")


def test_a_responder_that_the_certificate_does_not_name(site):
    site.set("tls secure", ocsp_responder="certificate")
    (found,) = problems(site)
    assert found.startswith("ocsp-responder | [tls secure] ocsp-responder: the certificate ")
    assert "names no OCSP responder" in found


# All of it -----------------------------------------------------------------------------------------------------------


def test_what_expires_within_30_days_is_a_warning_of_check_too(named):
    soon = datetime.now(UTC) + timedelta(days=10, hours=1)
    old = DevelopmentAuthority("old", not_after=soon)
    put(named, "ca.pem", AUTHORITY.own.certificate_pem + old.own.certificate_pem)
    serve_with(named, AUTHORITY.issue_server(not_after=soon))
    serve_with(named, AUTHORITY.issue_server("pacs", names=["pacs.example"], not_after=soon), "pacs")
    made = prepared(named)
    assert [warning.split(",")[0] for warning in made.warnings] == [
        'certificate "CN=dimsetls development server', 'certificate "CN=pacs', 'trust root "CN=old',
    ]
    assert all(", in 10 days: renew it" in warning for warning in made.warnings)
    assert [f"warning: {warning}" for warning in made.warnings] == list(summary(made))[-3:]


def test_what_several_sections_have_in_common_is_warned_of_once(site):
    serve_with(site, AUTHORITY.issue_server(not_after=datetime.now(UTC) + timedelta(days=10, hours=1)))
    site.sections["tls other"] = dict(site.sections["tls secure"])
    site.set("listener second", port=0, tls="other", aes="DIMSETLS")
    (warning,) = prepared(site).warnings
    assert warning.startswith('certificate "CN=dimsetls development server')


def test_a_site_s_openssl_conf_that_weakens_the_profile_stops_check(site):
    weak = put(site, "weak.cnf", b"openssl_conf = all\n[all]\nssl_conf = modules\n[modules]\nsystem_default = every\n"
                                 b"[every]\nOptions = -ExtendedMasterSecret\n")
    command = [str(Path(sys.executable).with_name("dimsetls")), "check", str(site.write())]
    environment = {**os.environ, "OPENSSL_CONF": str(weak)}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=DEADLINE, check=False)
    assert (done.returncode, done.stdout) == (1, "")
    (found,) = done.stderr.splitlines()
    assert ("[tls secure] profile: OpenSSL does not keep the TLS profile bcp195-rfc9325: expected "
            "extended_master_secret (RFC 9325 §3.5), found that it is left out") in found
    assert found.endswith(f"; see what {weak} (OPENSSL_CONF) sets")


def test_all_problems_of_all_sections_come_in_one_run(named):
    named.set("tls secure", revocation_check="chain", private_key_passphrase="credential:")
    named.set("certificate pacs", private_key="missing.key")
    named.set("tls other", certificate="server.pem", private_key="server.key", trust_roots="none.pem",
              ocsp_response="none.ocsp", ocsp_responder="certificate")
    named.set("tls third", certificate="server.pem", private_key="server.key", trust_roots="ca.pem",
              revocation_check=f"not checked - {RISK}", minimum_version="1.3", cipher_suites="AES128-SHA")
    assert {found.split(" | ")[1].split(": ")[0] for found in problems(named)} == {
        "[tls secure] private-key-passphrase", "[tls secure] revocation-check", "[certificate pacs] private-key",
        "[tls other] trust-roots", "[tls other] ocsp-responder", "[tls third] cipher-suites",
    }
