from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from OpenSSL import SSL
from OpenSSL._util import lib

from dimsetls.errors import ConfigurationError
from dimsetls.tls.bindings import CAN_RESTRICT_GROUPS, restrict_groups, restrict_signature_algorithms
from dimsetls.tls.contexts import ClientConnectionCreator, ServerConnectionCreator
from dimsetls.tls.evidence import ObservedConnection, record_event
from dimsetls.tls.policy import BCP195_RFC9325, PROFILES, ClientCertificate, TLSPolicy, TLSVersion
from dimsetls.tls.selfcheck import verify

ONLY_1_2 = BCP195_RFC9325.narrow(maximum_version=TLSVersion.TLS_1_2)
ONLY_1_3 = BCP195_RFC9325.narrow(minimum_version=TLSVersion.TLS_1_3)
DEMAND = SSL.VERIFY_PEER | SSL.VERIFY_FAIL_IF_NO_PEER_CERT
ALLOW_CLIENT_RENEGOTIATION = 1 << 8  # SSL_OP_ALLOW_CLIENT_RENEGOTIATION

KEYS: dict[str, Callable[[], Any]] = {
    "P-256": lambda: ec.generate_private_key(ec.SECP256R1()),
    "P-384": lambda: ec.generate_private_key(ec.SECP384R1()),
    "RSA-2048": lambda: rsa.generate_private_key(65537, 2048),
    "Ed25519": ed25519.Ed25519PrivateKey.generate,
}

AND_SO = "expected no signature but by the policy, found one for a client of TLS 1.2 that takes only others"
"""What follows from a signature algorithm too many, if a client has it."""

needs_groups = pytest.mark.skipif(not CAN_RESTRICT_GROUPS, reason="this pyOpenSSL cannot restrict groups")


def differences(creator: Any, policy: TLSPolicy | None = None) -> list[str]:
    """What is found, without what is round it."""
    with pytest.raises(ConfigurationError) as caught:
        verify(creator, policy)
    found = []
    for problem in caught.value.problems:
        beginning = "OpenSSL does not keep the TLS profile bcp195-rfc9325: "
        end = "; see what the system's openssl.cnf sets"
        assert problem.startswith(beginning)
        assert problem.endswith(end)
        found.append(problem.removeprefix(beginning).removesuffix(end))
    return found


@pytest.fixture(autouse=True)
def no_site_file(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OPENSSL_CONF", raising=False)


@pytest.fixture
def server(authority: Any) -> Callable[..., ServerConnectionCreator]:
    def make(policy: TLSPolicy, key: str = "P-256", **more: Any) -> ServerConnectionCreator:
        issued = authority.issue_server(private_key=KEYS[key]())
        return ServerConnectionCreator(policy, issued.material, authority.trust_roots, **more)

    return make


@pytest.fixture
def client(authority: Any) -> Callable[[TLSPolicy], ClientConnectionCreator]:
    return lambda policy: ClientConnectionCreator(policy, authority.trust_roots, server_name="localhost")


class Loose:
    """A server that keeps the policy but for what is done to it."""

    resumption = None

    def __init__(self, policy: TLSPolicy, issued: Any, *changes: Callable[[SSL.Context], object]) -> None:
        self.policy, self.served = policy, ((None, issued.material),)
        self._context = context = SSL.Context(SSL.TLS_SERVER_METHOD)
        context.set_info_callback(record_event)
        context.set_min_proto_version(policy.minimum_version)
        context.set_max_proto_version(policy.maximum_version)
        context.set_cipher_list(f"{':'.join(policy.cipher_suites) or 'ALL'}:@SECLEVEL=2".encode())
        context.set_tls13_ciphersuites(":".join(policy.tls13_cipher_suites).encode())
        context.set_options(SSL.OP_NO_COMPRESSION | SSL.OP_CIPHER_SERVER_PREFERENCE)
        restrict_groups(context, policy.groups)
        restrict_signature_algorithms(context, policy.signature_algorithms)
        context.set_verify(DEMAND, lambda *arguments: True)
        context.use_certificate(issued.certificate)
        context.use_privatekey(issued.private_key)
        for change in (self._no_resumption, *changes):
            change(context)

    @staticmethod
    def _no_resumption(context: SSL.Context) -> None:
        context.set_options(SSL.OP_NO_TICKET)
        context.set_session_cache_mode(SSL.SESS_CACHE_OFF)

    def serverConnectionForTLS(self, protocol: object) -> SSL.Connection:
        return ObservedConnection(self._context, is_server=True)


class WithResumption(Loose):
    @staticmethod
    def _no_resumption(context: SSL.Context) -> None:
        context.set_session_id(b"test")


@pytest.mark.parametrize("key", KEYS)
@pytest.mark.parametrize("policy", PROFILES.values(), ids=PROFILES)
def test_every_profile_is_kept_with_every_kind_of_key(server, policy, key):
    verify(server(policy, key))


@pytest.mark.parametrize("rule", ClientCertificate)
@pytest.mark.parametrize("policy", [ONLY_1_2, ONLY_1_3], ids=["1.2", "1.3"])
def test_narrowed_policies_are_kept_under_every_rule_for_client_certificates(server, policy, rule):
    verify(server(policy.with_client_certificate(rule)))


@pytest.mark.parametrize("group", BCP195_RFC9325.groups)
@pytest.mark.parametrize("policy", [ONLY_1_2, ONLY_1_3], ids=["1.2", "1.3"])
def test_one_group_is_enough(server, client, policy, group):
    verify(server(policy.narrow(groups=[group]), "RSA-2048"))
    verify(client(policy.narrow(groups=[group])))


@pytest.mark.parametrize("policy", PROFILES.values(), ids=PROFILES)
def test_every_profile_is_kept_by_clients(client, policy):
    verify(client(policy))


def test_the_strict_switches_do_not_disturb_the_check(server, authority):
    named = authority.issue_server(names=["*.hospital.example"], private_key=KEYS["RSA-2048"]())
    verify(server(BCP195_RFC9325, named=[named.material], strict_names=True, require_alpn=True))


def test_a_loose_server_that_was_not_changed_passes(authority):
    """So that each test below finds its own change and nothing else."""
    verify(Loose(BCP195_RFC9325, authority.issue_server()))


@pytest.mark.parametrize(("change", "expected"), [
    (lambda context: context.set_max_proto_version(SSL.TLS1_2_VERSION),
     "expected the versions of the profile, found no TLS 1.3"),
    (lambda context: context.set_min_proto_version(SSL.TLS1_3_VERSION),
     "expected the versions of the profile, found no TLS 1.2"),
    (lambda context: context.set_cipher_list(b"ECDHE-ECDSA-AES256-GCM-SHA384:ECDHE-ECDSA-AES128-GCM-SHA256:"
                                             b"ECDHE-ECDSA-CHACHA20-POLY1305:ECDHE-ECDSA-AES256-SHA"),
     "expected the cipher suites of TLS 1.2 of the profile, found C00AH as well"),
    (lambda context: context.set_cipher_list(b"ECDHE-ECDSA-AES256-GCM-SHA384:ECDHE-ECDSA-CHACHA20-POLY1305"),
     "expected the cipher suites of TLS 1.2 of the profile, found no ECDHE-ECDSA-AES128-GCM-SHA256"),
    (lambda context: context.set_tls13_ciphersuites(b"TLS_AES_128_GCM_SHA256:TLS_CHACHA20_POLY1305_SHA256:"
                                                    b"TLS_AES_256_GCM_SHA384"),
     "expected the cipher suites of TLS 1.3 of the profile, found them in the order TLS_AES_128_GCM_SHA256, "
     "TLS_CHACHA20_POLY1305_SHA256, TLS_AES_256_GCM_SHA384"),
    (lambda context: restrict_signature_algorithms(
        context, [*BCP195_RFC9325.signature_algorithms, "ecdsa_secp521r1_sha512"]),
     "expected the signature algorithms of the profile, found 0603H as well"),
    (lambda context: context.set_verify(SSL.VERIFY_NONE), "expected a client certificate to be asked for, found that "
                                                          "it is not"),
    (lambda context: context.set_verify(SSL.VERIFY_PEER, lambda *arguments: True),
     "expected client certificates to be required, found a client without one let in"),
    (lambda context: context.set_cipher_list(f"{':'.join(BCP195_RFC9325.cipher_suites)}:@SECLEVEL=1".encode()),
     "expected security level 2, found that an RSA key of 1024 bits is good enough"),
    (lambda context: context.set_options(ALLOW_CLIENT_RENEGOTIATION),
     "expected renegotiation to be refused, found that it is not"),
])
def test_a_loose_server_is_found_out(authority, change, expected):
    assert set(differences(Loose(BCP195_RFC9325, authority.issue_server(), change))) - {AND_SO} == {expected}


@needs_groups
@pytest.mark.parametrize(("policy", "expected"), [
    (ONLY_1_3, "expected the groups of the profile, found 001EH as well"),
    (ONLY_1_2, "expected no groups but X25519, P-256, P-384, found group 30 in TLS 1.2"),
])
def test_another_group_is_found_out(authority, policy, expected):
    for key, groups in (("RSA-2048", [*policy.groups, "X448"]), ("P-256", ["X448", *policy.groups])):
        issued = authority.issue_server(private_key=KEYS[key]())
        assert differences(Loose(policy, issued, lambda context, to=groups: restrict_groups(context, to))) == [expected]


def test_an_old_version_is_found_out(authority):
    def old(context: SSL.Context) -> None:
        context.set_cipher_list(b"ALL:@SECLEVEL=0")
        context.set_min_proto_version(SSL.TLS1_1_VERSION)
        assert lib.SSL_CTX_set1_sigalgs_list(context._context, b"ECDSA+SHA256:ECDSA+SHA1:RSA+SHA1") == 1

    found = differences(Loose(BCP195_RFC9325, authority.issue_server(), old))
    assert found == ["expected the versions of the profile, found TLS 1.1 as well"]


def test_a_signature_outside_the_policy_is_found_out(authority):
    """By the stand-in that takes no other, in either version."""
    policy = replace(BCP195_RFC9325, signature_algorithms=("ecdsa_secp384r1_sha384",))
    found = differences(Loose(BCP195_RFC9325, authority.issue_server()), policy)
    assert [f"a client of {version} that takes only others" in each
            for each, version in zip(found, TLSVersion, strict=False)] == [True, True]


@pytest.mark.parametrize(("policy", "expected"), [
    (ONLY_1_2, "found that TLS 1.2 sessions are given an identifier or a ticket"),
    (ONLY_1_3, "found that a session of TLS 1.3 is taken up again"),
], ids=["1.2", "1.3"])
def test_resumption_is_found_out(authority, policy, expected):
    [found] = differences(WithResumption(policy, authority.issue_server()))
    assert found == f"expected no resumption, {expected}"


def test_what_is_wrong_with_one_name_only_says_which(server, authority):
    named = authority.issue_server(names=["*.hospital.example"], private_key=KEYS["RSA-2048"]())
    wider = replace(BCP195_RFC9325, cipher_suites=(*BCP195_RFC9325.cipher_suites, "ECDHE-RSA-AES128-SHA256"))
    creator = server(wider, named=[named.material])
    assert differences(creator, BCP195_RFC9325) == [
        "expected the cipher suites of TLS 1.2 of the profile, found C027H as well (for server name "
        "any.hospital.example)"
    ]


def test_a_key_that_no_suite_suits_is_named(server):
    only_rsa = BCP195_RFC9325.narrow(cipher_suites=["ECDHE-RSA-AES256-GCM-SHA384"])
    with pytest.raises(ConfigurationError, match=r"none of the cipher suites for TLS 1\.2 .* suits the key of"):
        verify(server(only_rsa))
    verify(server(only_rsa, "RSA-2048"))


@needs_groups
def test_a_key_on_a_curve_outside_the_groups_is_named(server):
    """And not OpenSSL's configuration, which has no part in it."""
    groups = ["X25519", "P-384"]
    with pytest.raises(ConfigurationError, match=r"^the groups \(X25519, P-384\) lack P-256, the curve of the key of"):
        verify(server(BCP195_RFC9325.narrow(groups=groups)))
    verify(server(BCP195_RFC9325.narrow(groups=groups), "P-384"))
    verify(server(BCP195_RFC9325.narrow(groups=groups, minimum_version=TLSVersion.TLS_1_3)))


@pytest.mark.parametrize(("asked", "expected"), [
    ({"maximum_version": TLSVersion.TLS_1_2, "tls13_cipher_suites": ()},
     "expected the versions of the profile, found TLS 1.3 as well"),
    ({"cipher_suites": BCP195_RFC9325.cipher_suites[1:]},
     "expected the cipher suites of the profile, found ECDHE-ECDSA-AES256-GCM-SHA384 as well"),
    pytest.param({"groups": ("P-384", "P-256", "X25519")},
                 "expected the groups of the profile, found them in the order X25519, P-256, P-384",
                 marks=needs_groups),
    ({"signature_algorithms": BCP195_RFC9325.signature_algorithms[1:]},
     "expected the signature algorithms of the profile, found ecdsa_secp256r1_sha256 as well"),
    ({"alpn": b"dicom-next"}, "expected dicom-next to be offered by ALPN, found that it is not"),
])
def test_a_client_that_offers_something_else_is_found_out(client, asked, expected):
    assert expected in differences(client(BCP195_RFC9325), replace(BCP195_RFC9325, **asked))


class LooseClient(ClientConnectionCreator):
    """A client to whose context something was done after all."""

    change: Callable[[SSL.Context], object]

    def clientConnectionForTLS(self, protocol: object) -> ObservedConnection:
        if not self._context._used:
            type(self).change(self._context)
        return super().clientConnectionForTLS(None)


@pytest.mark.parametrize(("change", "expected"), [
    (lambda context: context.set_options(SSL.OP_LEGACY_SERVER_CONNECT),
     "expected a server without secure renegotiation (RFC 9325 §3.5) to be refused, found that it is not"),
    (lambda context: context.set_verify(SSL.VERIFY_NONE),
     "expected the server's certificate to be verified, found that it is not"),
    (lambda context: context.set_cipher_list(f"{':'.join(BCP195_RFC9325.cipher_suites)}:@SECLEVEL=1".encode()),
     "expected security level 2, found that an RSA key of 1024 bits is good enough"),
])
@pytest.mark.skipif(not hasattr(SSL, "OP_LEGACY_SERVER_CONNECT"), reason="this pyOpenSSL does not know the option")
def test_a_loose_client_is_found_out(authority, change, expected):
    class Changed(LooseClient):
        pass

    Changed.change = staticmethod(change)
    assert differences(Changed(BCP195_RFC9325, authority.trust_roots, server_name="localhost")) == [expected]


# A site's own file ---------------------------------------------------------------------------------------------------

SCRIPT = """
from dimsetls.errors import ConfigurationError
from dimsetls.tls.authority import DevelopmentAuthority
from dimsetls.tls.contexts import ClientConnectionCreator, ServerConnectionCreator
from dimsetls.tls.policy import BCP195_RFC9325
from dimsetls.tls.selfcheck import verify

authority = DevelopmentAuthority()
server = ServerConnectionCreator(BCP195_RFC9325, authority.issue_server().material, authority.trust_roots)
client = ClientConnectionCreator(BCP195_RFC9325, authority.trust_roots, server_name="localhost")
for creator in (server, client):
    try:
        verify(creator)
        print("kept")
    except ConfigurationError as error:
        print(*error.problems, sep=" | ")
"""


@pytest.fixture
def under(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], list[str]]:
    """What server and client find in a process of its own whose OPENSSL_CONF has these lines for every context."""
    def run(lines: str) -> list[str]:
        site = tmp_path / "site.cnf"
        site.write_text("openssl_conf = all\n[all]\nssl_conf = modules\n[modules]\nsystem_default = every\n"
                        f"[every]\n{lines}\n")
        monkeypatch.setenv("OPENSSL_CONF", str(site))
        done = subprocess.run([sys.executable, "-c", SCRIPT], capture_output=True, text=True, check=True)
        return [line.replace(str(site), "SITE") for line in done.stdout.splitlines()]

    return run


@pytest.mark.parametrize("lines", [
    "MinProtocol = TLSv1\nMaxProtocol = TLSv1.2\nCipherString = ALL:@SECLEVEL=0\nCiphersuites = TLS_AES_128_CCM_SHA256",
    "SignatureAlgorithms = RSA+SHA1:ECDSA+SHA1\nOptions = Compression,SessionTicket,ClientRenegotiation\n"
    "VerifyMode = Request\nNumTickets = 5",
    pytest.param("Groups = P-521:X448", marks=needs_groups),
])
def test_what_the_policy_sets_wins_over_the_site_s_file(under, lines):
    assert under(lines) == ["kept", "kept"]


@pytest.mark.parametrize(("lines", "server_finds", "client_finds"), [
    ("Protocol = -TLSv1.3", "expected the versions of the profile, found no TLS 1.3",
     "expected the versions of the profile, found no TLS 1.3"),
    ("ClientSignatureAlgorithms = ECDSA+SHA512",
     "expected the signature algorithms of the profile, found 0603H as well and no ecdsa_secp256r1_sha256, ", ""),
    ("Options = UnsafeLegacyServerConnect", "", "expected a server without secure renegotiation"),
    ("Options = -ExtendedMasterSecret", "expected extended_master_secret (RFC 9325 §3.5), found that it is left out",
     "expected extended_master_secret (RFC 9325 §3.5), found that it is not offered"),
])
def test_what_the_site_s_file_weakens_is_named(under, lines, server_finds, client_finds):
    for found, expected in zip(under(lines), (server_finds, client_finds), strict=True):
        if expected:
            assert found.startswith(f"OpenSSL does not keep the TLS profile bcp195-rfc9325: {expected}")
            assert found.endswith("; see what SITE (OPENSSL_CONF) sets")
        else:
            assert found == "kept"
