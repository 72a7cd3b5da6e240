"""Which certificates are good enough, ours and the peer's, as it shows in real handshakes."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID
from OpenSSL import SSL
from twisted.internet.interfaces import IOpenSSLServerConnectionCreator
from zope.interface import implementer

from dimsetls.errors import ConfigurationError
from dimsetls.tls.authority import DevelopmentAuthority, DevelopmentCertificate
from dimsetls.tls.contexts import ClientConnectionCreator, ServerConnectionCreator
from dimsetls.tls.evidence import ObservedConnection, record_event
from dimsetls.tls.policy import BCP195_RFC9325
from dimsetls.tls.rules import CertificateRule

SIGNS = x509.KeyUsage(True, False, False, False, False, False, False, False, False)
ENCIPHERS = x509.KeyUsage(False, False, True, False, False, False, False, False, False)
CERTIFIES = x509.KeyUsage(False, False, False, False, False, True, True, False, False)
BOTH = x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH])
CLIENTS, SERVERS = (
    x509.ExtendedKeyUsage([usage]) for usage in (ExtendedKeyUsageOID.CLIENT_AUTH, ExtendedKeyUsageOID.SERVER_AUTH)
)


@pytest.fixture(scope="module")
def root() -> DevelopmentAuthority:
    """An authority that may have others under it."""
    return DevelopmentAuthority("root", path_length=1)


def issue(
    subject: str, key: Any, issuer: x509.Certificate, issuer_key: Any, *extensions: x509.ExtensionType
) -> x509.Certificate:
    now = datetime.now(UTC)
    builder = (
        x509.CertificateBuilder().subject_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, subject)]))
        .issuer_name(issuer.subject).public_key(key.public_key()).serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(1)).not_valid_after(now + timedelta(1))
    )
    for extension in extensions:
        builder = builder.add_extension(extension, critical=False)
    return builder.sign(issuer_key, None if isinstance(issuer_key, ed25519.Ed25519PrivateKey) else SHA256())


def under(root: DevelopmentAuthority, middle_key: Any, *extensions: x509.ExtensionType) -> DevelopmentCertificate:
    """A certificate for `localhost` with a good key, from an authority with that key, from the root."""
    ca = x509.BasicConstraints(ca=True, path_length=0)
    middle = issue("middle", middle_key, root.own.certificate, root.own.private_key, ca, CERTIFIES)
    key = ec.generate_private_key(ec.SECP256R1())
    names = x509.SubjectAlternativeName([x509.DNSName("localhost")])
    leaf = issue("leaf", key, middle, middle_key, names, *extensions)
    return DevelopmentCertificate(leaf, key, (middle,))


def directly(root: DevelopmentAuthority, key: Any, *extensions: x509.ExtensionType) -> DevelopmentCertificate:
    names = x509.SubjectAlternativeName([x509.DNSName("localhost")])
    return DevelopmentCertificate(
        issue("leaf", key, root.own.certificate, root.own.private_key, names, *extensions), key
    )


@implementer(IOpenSSLServerConnectionCreator)
class CarelessServer:
    """A server that presents what it is given."""

    def __init__(self, issued: DevelopmentCertificate) -> None:
        self._context = SSL.Context(SSL.TLS_SERVER_METHOD)
        self._context.set_info_callback(record_event)
        present(self._context, issued)

    def serverConnectionForTLS(self, protocol: object) -> SSL.Connection:
        return ObservedConnection(self._context, is_server=True)


def present(context: SSL.Context, issued: DevelopmentCertificate) -> None:
    context.set_cipher_list(b"ALL:@SECLEVEL=0")
    context.use_certificate(issued.certificate)
    context.use_privatekey(issued.private_key)
    for issuer in issued.issuers:
        context.add_extra_chain_cert(issuer)


@pytest.fixture
def against_server(link_between: Any, root: DevelopmentAuthority, policy: Any) -> Callable[..., Any]:
    """What our client says of a server with that certificate; and what the server hears."""
    def meet(issued: DevelopmentCertificate, *rules: str) -> Any:
        ours = ClientConnectionCreator(
            policy, root.trust_roots, server_name="localhost", rules=[CertificateRule.parse(rule) for rule in rules]
        )
        wire = link_between(CarelessServer(issued), ours).pump()
        return wire.client_user, wire.server_user

    return meet


@pytest.fixture
def against_client(link: Any, root: DevelopmentAuthority, policy: Any) -> Callable[..., Any]:
    """What our server says of a client with that certificate; and what the client hears."""
    def meet(issued: DevelopmentCertificate) -> Any:
        def careless(context: SSL.Context) -> None:
            present(context, issued)
            context.set_min_proto_version(policy.minimum_version)
            context.set_max_proto_version(policy.maximum_version)

        wire = link(server_trusts=root, raw_client=careless).pump()
        return wire.server_user, wire.client_user

    return meet


@pytest.fixture(params=["server", "client"])
def kind(request: pytest.FixtureRequest) -> str:
    """What the peer is."""
    return str(request.param)


@pytest.fixture
def against(kind: str, against_server: Any, against_client: Any) -> Any:
    return {"server": against_server, "client": against_client}[kind]


@pytest.mark.parametrize("key", [
    ec.generate_private_key(ec.SECP256R1()), ec.generate_private_key(ec.SECP384R1()),
    rsa.generate_private_key(65537, 2048), ed25519.Ed25519PrivateKey.generate(),
], ids=["P-256", "P-384", "RSA-2048", "Ed25519"])
def test_a_chain_of_good_keys_is_accepted(against, root, key):
    ours, theirs = against(under(root, key, SIGNS, BOTH))
    assert ours.session is not None
    assert theirs.session is not None


def test_a_chain_that_says_nothing_of_its_use_is_accepted(against, root):
    ours, _ = against(under(root, ec.generate_private_key(ec.SECP256R1())))
    assert ours.session is not None


@pytest.mark.parametrize(("key", "name", "alert", "cause"), [
    (rsa.generate_private_key(65537, 1024), "certificate-key-too-small", 42, ""),  # OpenSSL's own, at level 2
    (ec.generate_private_key(ec.SECP224R1()), "certificate-key-too-small", 42,
     "has a key on curve secp224r1; expected secp256r1 or secp384r1"),
    (ec.generate_private_key(ec.SECP521R1()), "certificate-unknown", 46,
     "has a key on curve secp521r1; expected secp256r1 or secp384r1"),
], ids=["RSA-1024", "P-224", "P-521"])
def test_an_authority_with_a_poor_key_is_refused_with_its_alert(against, root, key, name, alert, cause):
    ours, theirs = against(under(root, key, SIGNS, BOTH))
    assert (ours.fault.name, ours.fault.alert, theirs.fault.alert) == (name, alert, alert)
    assert cause in ours.fault.detail
    assert 'CN=middle' in ours.fault.detail


def test_a_small_key_of_the_peer_itself_is_refused(against, root):
    ours, theirs = against(directly(root, rsa.generate_private_key(65537, 1024), SIGNS, BOTH))
    assert (ours.fault.name, ours.fault.alert, theirs.fault.alert) == ("certificate-key-too-small", 42, 42)


@pytest.mark.parametrize("usage", [CLIENTS, SERVERS], ids=["for clients", "for servers"])
def test_a_certificate_must_be_meant_for_its_use(against, root, usage, kind):
    ours, theirs = against(directly(root, ec.generate_private_key(ec.SECP256R1()), SIGNS, usage))
    if usage is {"server": SERVERS, "client": CLIENTS}[kind]:
        assert ours.session is not None
    else:
        assert (ours.fault.name, ours.fault.alert, theirs.fault.alert) == ("unsupported-certificate", 43, 43)


def test_a_client_key_for_encryption_only_is_refused(against_client, root):
    ours, theirs = against_client(directly(root, rsa.generate_private_key(65537, 2048), ENCIPHERS, BOTH))
    assert (ours.fault.name, ours.fault.alert, theirs.fault.alert) == ("unsupported-certificate", 43, 43)


def test_an_rsa_server_key_for_encryption_only_is_refused_in_our_own_words(against_server, root):
    """OpenSSL lets it pass, for the RSA key exchange of old."""
    ours, theirs = against_server(directly(root, rsa.generate_private_key(65537, 2048), ENCIPHERS, BOTH))
    assert (ours.fault.name, theirs.fault.alert) == ("unsupported-certificate", 43)
    assert "has a key usage without digitalSignature; expected it, as the key signs the handshake" in ours.fault.detail


def test_a_certificate_that_was_seen_before_is_judged_as_the_first_time(against_server, root):
    """Judgements are kept."""
    issued = directly(root, rsa.generate_private_key(65537, 2048), ENCIPHERS, BOTH)
    first, second = (against_server(issued)[0].fault for _ in range(2))
    assert first == second
    assert "has a key usage without digitalSignature" in second.detail


def test_a_wrong_name_is_told_with_the_alert_for_bad_certificates(against_server, root):
    """A bare refusal by a callback would send internal_error, which sends the peer's operator the wrong way."""
    elsewhere = root.issue_server(names=["elsewhere.example"])
    ours, theirs = against_server(elsewhere)
    assert (ours.fault.name, ours.fault.alert, theirs.fault.alert) == ("certificate-name-mismatch", 42, 42)


@pytest.mark.parametrize("rule", ["dns:localhost and issuer:CN=other", "dns:pacs.example", f"spki:{'0' * 64}"])
def test_a_server_whose_certificate_no_rule_accepts_is_refused_like_one_of_a_wrong_name(against_server, root, rule):
    issued = root.issue_server(names=["localhost"])
    ours, theirs = against_server(issued, rule)
    assert (ours.fault.name, ours.fault.alert, theirs.fault.alert) == ("certificate-not-allowed", 42, 42)
    assert f"expected {rule}, the certificate is CN=" in ours.fault.detail
    ours, theirs = against_server(issued, rule, "dns:localhost")
    assert (ours.reason, ours.session.peer.dns_names) == (None, ("localhost",))
    name = against_server(root.issue_server(names=["elsewhere.example"]), rule)[0].fault.name
    assert name == "certificate-name-mismatch"


@pytest.mark.parametrize(("make", "issued_with", "role", "found", "expected"), [
    (lambda roots, own: ServerConnectionCreator(BCP195_RFC9325, own, roots), CLIENTS,
     "server", "clientAuth", "serverAuth"),
    (lambda roots, own: ClientConnectionCreator(BCP195_RFC9325, roots, own, server_name="localhost"), SERVERS,
     "client", "serverAuth", "clientAuth"),
])
def test_our_own_certificate_must_be_meant_for_its_use(root, make, issued_with, role, found, expected):
    material = directly(root, ec.generate_private_key(ec.SECP256R1()), issued_with).material
    with pytest.raises(ConfigurationError) as caught:
        make(root.trust_roots, material)
    assert caught.value.problems == (
        f'certificate "CN=leaf" cannot serve a TLS {role}: it has the extended key usage {found}; expected {expected}',
    )


def test_one_refusal_does_not_touch_the_next_connection(link_between, root, policy):
    ours = ClientConnectionCreator(policy, root.trust_roots, server_name="localhost")
    bad = link_between(CarelessServer(under(root, ec.generate_private_key(ec.SECP224R1()), SIGNS, BOTH)), ours).pump()
    good = link_between(CarelessServer(root.issue_server()), ours).pump()
    assert bad.client_user.session is None
    assert good.client_user.session is not None
