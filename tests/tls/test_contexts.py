from __future__ import annotations

import gc
import weakref
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.hashes import SHA256
from OpenSSL import SSL, crypto
from OpenSSL._util import lib
from twisted.internet.interfaces import IOpenSSLClientConnectionCreator, IOpenSSLServerConnectionCreator
from zope.interface import implementer

from dimsetls.errors import ConfigurationError
from dimsetls.tls.contexts import ClientConnectionCreator, ServerConnectionCreator
from dimsetls.tls.evidence import ObservedConnection, record_event
from dimsetls.tls.material import KeyMaterial, name_of
from dimsetls.tls.policy import BCP195_RFC9325, ClientCertificate, TLSVersion
from dimsetls.tls.session import PeerCertificate

YESTERDAY = datetime.now(UTC) - timedelta(days=1)
TOMORROW = datetime.now(UTC) + timedelta(days=1)
WEAK_CIPHERS = b"ALL:@SECLEVEL=0"

KEYS: dict[str, Callable[[], Any]] = {
    "P-256": lambda: ec.generate_private_key(ec.SECP256R1()),
    "P-384": lambda: ec.generate_private_key(ec.SECP384R1()),
    "RSA-2048": lambda: rsa.generate_private_key(65537, 2048),
    "Ed25519": ed25519.Ed25519PrivateKey.generate,
}


def outcome(wire: Any) -> tuple[str, str]:
    """The names of the faults that server and client report."""
    return wire.server_user.fault.name, wire.client_user.fault.name


@implementer(IOpenSSLClientConnectionCreator)
class StandIn:
    """Hands out the one connection it was given."""

    def __init__(self, connection: SSL.Connection) -> None:
        self._connection = connection

    def clientConnectionForTLS(self, protocol: object) -> SSL.Connection:
        return self._connection


@implementer(IOpenSSLServerConnectionCreator)
class RawServer:
    """A server that follows no policy but the test's."""

    def __init__(self, configure: Callable[[SSL.Context], object]) -> None:
        self._context = SSL.Context(SSL.TLS_SERVER_METHOD)
        self._context.set_info_callback(record_event)
        configure(self._context)

    def serverConnectionForTLS(self, protocol: object) -> SSL.Connection:
        return ObservedConnection(self._context, is_server=True)


def binds(function: str) -> bool:
    return hasattr(lib, function)


def with_certificate(certificate: Any, *more: Callable[[SSL.Context], object]) -> Callable[[SSL.Context], object]:
    """The configuration of a raw client that presents a certificate."""
    def configure(context: SSL.Context) -> None:
        context.use_certificate(certificate.certificate)
        context.use_privatekey(certificate.private_key)
        for each in more:
            each(context)

    return configure


def test_both_sides_complete_the_handshake_and_talk(link, policy):
    wire = link(policy).pump()
    assert wire.server_user.session.version == wire.client_user.session.version
    assert wire.server_user.session.version == f"TLSv1.{policy.maximum_version - TLSVersion.TLS_1_2 + 2}"
    wire.client_user.transport.write(b"question")
    wire.server_user.transport.write(b"answer")
    wire.pump()
    assert (wire.server_user.received, wire.client_user.received) == (b"question", b"answer")


def test_tls_1_3_is_preferred(link):
    assert link().pump().server_user.session.version == "TLSv1.3"


@pytest.mark.parametrize("key", KEYS)
def test_every_kind_of_key_that_the_policy_admits_works_on_both_sides(link, policy, authority, key):
    server = authority.issue_server("server", private_key=KEYS[key]())
    client = authority.issue_client("client", private_key=KEYS[key]())
    wire = link(policy, server=server, client=client).pump()
    assert wire.server_user.session.peer == PeerCertificate.of(client.certificate)
    assert wire.client_user.session.peer == PeerCertificate.of(server.certificate)
    assert wire.server_user.session.cipher_suite in policy.cipher_suites + policy.tls13_cipher_suites


@pytest.mark.parametrize("version", [SSL.TLS1_VERSION, SSL.TLS1_1_VERSION])
def test_older_versions_are_refused(link, version):
    def old(context: SSL.Context) -> None:
        context.set_cipher_list(WEAK_CIPHERS)
        context.set_min_proto_version(version)
        context.set_max_proto_version(version)

    assert outcome(link(raw_client=old).pump()) == ("protocol-version", "peer-protocol-version")


@pytest.mark.parametrize("suite", [
    "AES256-GCM-SHA384",  # static RSA
    "DHE-RSA-AES256-GCM-SHA384",
    "ECDHE-RSA-AES256-SHA384",  # CBC
    "ECDHE-RSA-AES128-SHA",
    "ECDHE-ECDSA-AES256-CCM8",
    "ECDHE-ECDSA-NULL-SHA",
])
def test_other_suites_of_tls_1_2_are_refused(link, authority, suite):
    def weak(context: SSL.Context) -> None:
        context.set_cipher_list(f"{suite}:@SECLEVEL=0".encode())
        context.set_max_proto_version(SSL.TLS1_2_VERSION)

    server = authority.issue_server(private_key=KEYS["P-256" if "ECDSA" in suite else "RSA-2048"]())
    assert outcome(link(server=server, raw_client=weak).pump()) == ("no-shared-cipher", "peer-handshake-failure")


def test_other_suites_of_tls_1_3_are_refused(link):
    def weak(context: SSL.Context) -> None:
        context.set_tls13_ciphersuites(b"TLS_AES_128_CCM_SHA256")
        context.set_min_proto_version(SSL.TLS1_3_VERSION)

    assert outcome(link(raw_client=weak).pump()) == ("no-shared-cipher", "peer-handshake-failure")


def test_the_server_chooses_by_its_own_order(link, policy):
    """The client's list is turned round; what is chosen is still the server's first."""
    turned = replace(
        policy,
        cipher_suites=policy.cipher_suites[::-1],
        tls13_cipher_suites=policy.tls13_cipher_suites[::-1],
    )
    first = {policy.cipher_suites[0], policy.tls13_cipher_suites[0]}
    assert link(turned).pump().server_user.session.cipher_suite in first


@pytest.mark.skipif(not binds("SSL_CTX_set1_curves_list"), reason="this pyOpenSSL cannot restrict groups")
@pytest.mark.parametrize("group", ["P-521", "X448", "ffdhe2048", "X25519MLKEM768"])
def test_groups_outside_the_policy_are_refused_in_tls_1_3(link, group):
    policy = replace(BCP195_RFC9325, minimum_version=TLSVersion.TLS_1_3, groups=(group,))
    assert outcome(link(policy).pump()) == ("no-shared-group", "peer-handshake-failure")


@pytest.mark.parametrize("group", BCP195_RFC9325.groups)
def test_each_group_of_the_policy_works(link, policy, authority, group):
    """With RSA certificates: in TLS 1.2 the groups also limit the curves of certificates (RFC 8422 §5.1)."""
    server = authority.issue_server(private_key=KEYS["RSA-2048"]())
    client = authority.issue_client(private_key=KEYS["RSA-2048"]())
    wire = link(replace(policy, groups=(group,)), server=server, client=client).pump()
    assert wire.server_user.session is not None
    if binds("SSL_CTX_set1_curves_list") and hasattr(SSL.Connection, "get_group_name"):
        names = {"X25519": "x25519", "P-256": "secp256r1", "P-384": "secp384r1"}
        assert wire.server_user.session.group == names[group]


def test_what_cannot_be_enforced_is_said(authority):
    creator = ServerConnectionCreator(BCP195_RFC9325, authority.issue_server().material, authority.trust_roots)
    missing = [] if binds("SSL_CTX_set1_curves_list") else ["groups"]
    assert [sentence.split(":")[0] for sentence in creator.not_enforced] == missing


@pytest.mark.parametrize("part", ["groups", "signature_algorithms"])
def test_a_list_that_openssl_refuses_is_said_and_leaves_no_error_behind(authority, part):
    policy = replace(BCP195_RFC9325, **{part: ("ROT13",)})
    creator = ServerConnectionCreator(policy, authority.issue_server().material, authority.trust_roots)
    assert any(sentence.startswith(part.replace("_", " ")) for sentence in creator.not_enforced)
    assert lib.ERR_peek_error() == 0


def test_a_signature_the_policy_does_not_know_is_refused(link):
    def sha1(context: SSL.Context) -> None:
        context.set_cipher_list(WEAK_CIPHERS)
        context.set_max_proto_version(SSL.TLS1_2_VERSION)
        assert lib.SSL_CTX_set1_sigalgs_list(context._context, b"ECDSA+SHA1:RSA+SHA1") == 1

    assert link(raw_client=sha1).pump().server_user.fault.reason == 0x228


def test_a_missing_client_certificate_is_refused(link, policy):
    wire = link(policy, client=None).pump()
    if policy.maximum_version == TLSVersion.TLS_1_2:
        assert outcome(wire) == ("no-client-certificate", "peer-handshake-failure")
    else:
        assert outcome(wire) == ("certificate-required", "peer-certificate-required")
        assert wire.client_user.session is not None  # the client's own handshake was complete when it learnt


def test_a_client_certificate_can_be_optional(link, policy, stranger):
    relaxed = BCP195_RFC9325.with_client_certificate(ClientCertificate.OPTIONAL)
    assert link(policy, server_policy=relaxed, client=None).pump().server_user.session.peer is None
    assert link(policy, server_policy=relaxed).pump().server_user.session.peer is not None
    foreign = link(policy, server_policy=relaxed, client=stranger.issue_client()).pump()
    assert outcome(foreign) == ("unknown-ca", "peer-unknown-ca")


def test_a_client_certificate_need_not_be_asked_for(link, policy):
    relaxed = BCP195_RFC9325.with_client_certificate(ClientCertificate.NONE)
    assert link(policy, server_policy=relaxed).pump().server_user.session.peer is None


def test_the_server_names_the_authorities_it_trusts(link, policy, authority):
    wire = link(policy).pump()
    names = wire.client.getHandle().get_client_ca_list()
    assert [name.CN for name in names] == ["dimsetls development CA"]


@pytest.mark.parametrize(("wishes", "expected"), [
    ({"not_after": YESTERDAY}, ("certificate-expired", "peer-certificate-expired")),
    ({"not_before": TOMORROW}, ("certificate-not-yet-valid", "peer-bad-certificate")),
])
def test_certificates_out_of_date_are_refused_by_either_side(link, policy, authority, wishes, expected):
    assert outcome(link(policy, client=authority.issue_client(**wishes)).pump()) == expected
    assert outcome(link(policy, server=authority.issue_server(**wishes)).pump()) == expected[::-1]


def test_certificates_of_another_authority_are_refused_by_either_side(link, policy, stranger):
    assert outcome(link(policy, client=stranger.issue_client()).pump()) == ("unknown-ca", "peer-unknown-ca")
    assert outcome(link(policy, server=stranger.issue_server()).pump()) == ("peer-unknown-ca", "unknown-ca")


def test_a_certificate_for_clients_does_not_make_a_server(link, link_between, policy, authority):
    """Ours is refused at once, a server's of others in the handshake."""
    issued = authority.issue_client()
    with pytest.raises(ConfigurationError) as caught:
        link(policy, server=issued)
    assert caught.value.problems == (
        f"certificate {name_of(issued.certificate)} cannot serve a TLS server: it has the extended key usage "
        "clientAuth; expected serverAuth",
    )
    wire = link_between(RawServer(with_certificate(issued)), link(policy).client_creator).pump()
    assert wire.client_user.fault.name == "unsupported-certificate"


@pytest.mark.parametrize("name", ["localhost", "LOCALHOST", "localhost.", "127.0.0.1", "::1", "0:0:0:0:0:0:0:1"])
def test_the_server_is_known_by_any_of_its_names(link, policy, name):
    assert link(policy, name=name).pump().client_user.session is not None


@pytest.mark.parametrize("name", ["pacs.example", "192.0.2.9", "2001:db8::1", "sub.localhost"])
def test_a_server_of_another_name_is_refused(link, policy, authority, name):
    """The common name counts for nothing (RFC 9525 §2)."""
    wire = link(policy, server=authority.issue_server("pacs.example"), name=name).pump()
    assert outcome(wire) == ("peer-bad-certificate", "certificate-name-mismatch")
    assert "localhost" in wire.client_user.fault.detail
    assert wire.client_user.session is None


@pytest.mark.parametrize(("pattern", "name", "matches"), [
    ("*.pacs.example", "ct1.pacs.example", True),
    ("*.pacs.example", "pacs.example", False),
    ("*.pacs.example", "a.b.pacs.example", False),
])
def test_a_wildcard_stands_for_one_whole_label(link, policy, authority, pattern, name, matches):
    wire = link(policy, server=authority.issue_server(names=[pattern]), name=name).pump()
    assert (wire.client_user.session is not None) == matches


def test_a_server_certificate_without_any_name_is_refused(link, policy, authority):
    wire = link(policy, server=authority.issue_server(names=[])).pump()
    assert wire.client_user.fault.name == "certificate-name-mismatch"
    assert "no name at all" in wire.client_user.fault.detail


def unreadable(issued: Any, authority: Any) -> Any:
    """The certificate as of X.509 version 6, which OpenSSL does not mind and cryptography does."""
    content = issued.certificate.tbs_certificate_bytes.replace(bytes.fromhex("a003020102"), bytes.fromhex("a003020105"))
    signature = authority.own.private_key.sign(content, ec.ECDSA(SHA256()))
    algorithm = bytes.fromhex("300a06082a8648ce3d040302")
    body = content + algorithm + bytes([0x03, len(signature) + 1, 0]) + signature
    return crypto.load_certificate(crypto.FILETYPE_ASN1, b"\x30\x82" + len(body).to_bytes(2, "big") + body)


def test_a_certificate_that_cannot_be_read_is_refused(link, authority):
    """Nobody could say whom it admits."""
    issued = authority.issue_client()

    def configure(context: SSL.Context) -> None:
        lib.SSL_CTX_use_certificate(context._context, unreadable(issued, authority)._x509)
        context.use_privatekey(issued.private_key)

    fault = link(raw_client=configure).pump().server_user.fault
    assert (fault.reason, fault.name) == (0x250, "verification-refused")
    assert "the certificate cannot be read: 5 is not a valid X509 version" in fault.detail


def test_sni_carries_a_dns_name_and_never_an_address(link, policy):
    assert link(policy, name="localhost").pump().server_user.session.server_name == "localhost"
    assert link(policy, name="127.0.0.1").pump().server_user.session.server_name is None


@pytest.mark.parametrize("name", ["", "a..b", "pacs example", "pacs.example:2762", "x" * 64])
def test_a_server_name_that_is_none_is_a_configuration_error(authority, name):
    with pytest.raises(ConfigurationError, match="is no name; expected a DNS name or an IP address"):
        ClientConnectionCreator(BCP195_RFC9325, authority.trust_roots, server_name=name)


def test_alpn_dicom_is_selected(link, policy):
    wire = link(policy).pump()
    assert wire.server_user.session.alpn == wire.client_user.session.alpn == "dicom"


def test_alpn_dicom_is_selected_among_others(link, authority):
    several = with_certificate(authority.issue_client(), lambda context: context.set_alpn_protos([b"h2", b"dicom"]))
    assert link(raw_client=several).pump().server_user.session.alpn == "dicom"


def test_no_alpn_at_all_is_welcome(link, authority):
    assert link(raw_client=with_certificate(authority.issue_client())).pump().server_user.session.alpn is None


def test_alpn_without_dicom_is_refused_with_alert_120(link, policy):
    wire = link(replace(policy, alpn=b"h2")).pump()
    assert outcome(wire) == ("no-application-protocol", "peer-no-application-protocol")
    assert wire.server_user.fault.alert == wire.client_user.fault.alert == 120
    assert "expected 'dicom', offered 'h2'" in wire.server_user.fault.detail


def test_one_refusal_by_alpn_does_not_touch_the_next_connection(link, link_between, policy):
    refused = link(replace(policy, alpn=b"h2")).pump()
    assert refused.server_user.session is None
    assert link_between(refused.server_creator, link(policy).client_creator).pump().server_user.session is not None


@pytest.mark.parametrize("version", [SSL.TLS1_2_VERSION, SSL.TLS1_3_VERSION])
def test_sessions_are_never_resumed(link, link_between, authority, version):
    def remembering(context: SSL.Context) -> None:
        context.set_min_proto_version(version)
        context.set_max_proto_version(version)
        context.set_session_cache_mode(SSL.SESS_CACHE_CLIENT)

    first = link(raw_client=with_certificate(authority.issue_client(), remembering)).pump()
    session = first.client.getHandle().get_session()
    assert session is not None
    again = first.client_creator.clientConnectionForTLS(None)
    again.set_session(session)
    second = link_between(first.server_creator, StandIn(again)).pump()
    assert second.server_user.session is not None
    assert lib.SSL_session_reused(again._ssl) == 0


def test_renegotiation_is_refused_and_named(link, authority):
    only_1_2 = with_certificate(
        authority.issue_client(), lambda context: context.set_max_proto_version(SSL.TLS1_2_VERSION)
    )
    wire = link(raw_client=only_1_2).pump()
    connection = wire.client.getHandle()
    assert connection.renegotiate()
    with pytest.raises(SSL.WantReadError):
        connection.do_handshake()
    wire.client_end.write(connection.bio_read(1 << 16))
    wire.pump()
    assert wire.server_user.evidence.renegotiations == 1
    assert outcome(wire) == ("renegotiation", "peer-no-renegotiation")


def test_compression_tickets_and_renegotiation_are_off(authority):
    creator = ServerConnectionCreator(BCP195_RFC9325, authority.issue_server().material, authority.trust_roots)
    context = creator.serverConnectionForTLS(None).get_context()
    assert context.get_session_cache_mode() == SSL.SESS_CACHE_OFF
    for option in (SSL.OP_NO_COMPRESSION, SSL.OP_NO_TICKET, SSL.OP_NO_RENEGOTIATION, SSL.OP_CIPHER_SERVER_PREFERENCE):
        assert lib.SSL_CTX_get_options(context._context) & option


def test_a_key_that_openssl_refuses_is_a_configuration_error(authority):
    good, other = authority.issue_server(), authority.issue_server()
    mismatched = KeyMaterial((good.certificate,), other.private_key)
    with pytest.raises(ConfigurationError, match=r'OpenSSL refuses the certificate ".*" or its key: '):
        ServerConnectionCreator(BCP195_RFC9325, mismatched, authority.trust_roots)


def test_a_policy_that_openssl_does_not_know_is_a_configuration_error(authority):
    unknown = replace(BCP195_RFC9325, tls13_cipher_suites=("TLS_ROT13",))
    with pytest.raises(ConfigurationError, match="OpenSSL cannot honour the TLS profile bcp195-rfc9325: "):
        ServerConnectionCreator(unknown, authority.issue_server().material, authority.trust_roots)


def test_a_chain_is_sent_whole(link, link_between, policy, authority):
    server = authority.issue_server()
    material = KeyMaterial((server.certificate, authority.own.certificate), server.private_key)
    accepting = ServerConnectionCreator(BCP195_RFC9325, material, authority.trust_roots)
    wire = link_between(accepting, link(policy).client_creator).pump()
    chain = wire.client.getHandle().get_peer_cert_chain(as_cryptography=True)
    assert chain == [server.certificate, authority.own.certificate]


def test_a_connection_leaves_nothing_behind(link, policy, authority):
    """Ten thousand associations must give their memory back at once, not when the collector comes round."""
    gc.collect()
    gc.disable()
    try:
        wire = link(policy).pump()
        gone = [weakref.ref(wire.server.getHandle()), weakref.ref(wire.client.getHandle())]
        wire.client_user.transport.loseConnection()
        wire.pump()
        assert [reference() for reference in gone] == [None, None]
    finally:
        gc.enable()


def test_a_mistake_of_ours_in_a_verdict_refuses_and_is_raised(link, monkeypatch):
    def mistaken(*_: object) -> None:
        raise ZeroDivisionError("a mistake of ours")

    wire = link()
    monkeypatch.setattr("dimsetls.tls.contexts._judged", mistaken)
    with pytest.raises(ZeroDivisionError, match="a mistake of ours"):
        wire.pump()
    assert wire.server_user.session is None
