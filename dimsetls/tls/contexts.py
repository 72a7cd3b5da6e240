"""A policy and key material become connection creators, as Twisted's TLS layer takes them.

Contexts are built here and not by twisted.internet.ssl.CertificateOptions, which reaches neither TLS 1.3
suites, renegotiation, groups nor a refusal by ALPN, and whose default suites include CBC and SHA-1.
"""

from __future__ import annotations

from ipaddress import IPv4Address, IPv6Address, ip_address

from cryptography import x509
from OpenSSL import SSL
from OpenSSL.crypto import X509
from service_identity import CertificateError, VerificationError
from service_identity.cryptography import verify_certificate_hostname, verify_certificate_ip_address
from service_identity.hazmat import DNS_ID
from twisted.internet.interfaces import IOpenSSLClientConnectionCreator, IOpenSSLServerConnectionCreator
from twisted.protocols.tls import TLSMemoryBIOProtocol
from zope.interface import implementer

from ..errors import ConfigurationError
from .bindings import expect_name, restrict_groups, restrict_signature_algorithms
from .evidence import UNREADABLE, ObservedConnection, record_event, record_verdict
from .material import KeyMaterial, TrustRoots, name_of
from .policy import ClientCertificate, TLSPolicy
from .session import PeerCertificate

_VERIFY_CLIENT = {
    ClientCertificate.REQUIRED: SSL.VERIFY_PEER | SSL.VERIFY_FAIL_IF_NO_PEER_CERT,
    ClientCertificate.OPTIONAL: SSL.VERIFY_PEER,
    ClientCertificate.NONE: SSL.VERIFY_NONE,
}


class NoApplicationProtocol(SSL.Error):
    """The client offers application protocols, and DICOM is not among them (RFC 7301 §3.2: alert 120).

    Raising is the only way to that alert. Twisted looks for an error queue, a list of triples, in the arguments.
    """

    def __init__(self, offered: list[bytes], expected: bytes) -> None:
        names = ", ".join(repr(name.decode("ascii", "replace")) for name in offered)
        reason = f"no application protocol: expected {expected.decode()!r}, offered {names}"
        super().__init__([("dimsetls", "", reason)])


@implementer(IOpenSSLServerConnectionCreator)
class ServerConnectionCreator:
    """Makes the server's end of TLS connections; one context for all of them."""

    def __init__(self, policy: TLSPolicy, key_material: KeyMaterial, trust_roots: TrustRoots) -> None:
        self.policy = policy
        self._context, self.not_enforced = _context(SSL.TLS_SERVER_METHOD, policy, trust_roots)
        _identify(self._context, key_material)
        self._context.set_options(SSL.OP_CIPHER_SERVER_PREFERENCE)
        self._context.set_verify(_VERIFY_CLIENT[policy.client_certificate], _verify)
        if policy.client_certificate is not ClientCertificate.NONE:
            for root in trust_roots.certificates:
                self._context.add_client_ca(root)
        self._context.set_alpn_select_callback(self._select_protocol)

    def serverConnectionForTLS(self, protocol: TLSMemoryBIOProtocol | None) -> SSL.Connection:
        return ObservedConnection(self._context, is_server=True)

    def _select_protocol(self, connection: SSL.Connection, offered: list[bytes]) -> bytes:
        """Called only if the client offers any protocol; a client that offers none is welcome (RFC 9325 §3.8)."""
        if self.policy.alpn in offered:
            return self.policy.alpn
        raise NoApplicationProtocol(offered, self.policy.alpn)


@implementer(IOpenSSLClientConnectionCreator)
class ClientConnectionCreator:
    """Makes the client's end of TLS connections to the one server it names.

    `server_name` is a DNS name or an IP address, to be found in the certificate's subjectAltName (RFC 9525).
    """

    def __init__(
        self, policy: TLSPolicy, trust_roots: TrustRoots, key_material: KeyMaterial | None = None, *, server_name: str
    ) -> None:
        self.policy = policy
        self.server_name = _server_name(server_name)
        self._context, self.not_enforced = _context(SSL.TLS_CLIENT_METHOD, policy, trust_roots)
        if key_material is not None:
            _identify(self._context, key_material)
        self._context.set_verify(SSL.VERIFY_PEER, self._verify)
        self._context.set_alpn_protos([policy.alpn])
        # service-identity judges in _verify whether or not OpenSSL can be told the name as well.
        expect_name(self._context, self.server_name)

    def clientConnectionForTLS(self, protocol: TLSMemoryBIOProtocol | None) -> SSL.Connection:
        connection = ObservedConnection(self._context, is_server=False)
        if isinstance(self.server_name, str):
            connection.set_tlsext_host_name(self.server_name.encode("ascii"))  # RFC 6066 §3: no IP addresses
        return connection

    def _verify(self, connection: SSL.Connection, certificate: X509, code: int, depth: int, accepted: int) -> bool:
        """The verdict of :func:`_verify` and, on the server's own certificate, of service-identity on its name."""
        good = _verify(connection, certificate, code, depth, accepted)
        assert isinstance(connection, ObservedConnection)
        if depth > 0 or connection.evidence.unreadable:
            return good
        connection.evidence.name_mismatch = self._name_mismatch(certificate.to_cryptography())
        return good and not connection.evidence.name_mismatch

    def _name_mismatch(self, certificate: x509.Certificate) -> str:
        try:
            if isinstance(self.server_name, str):
                verify_certificate_hostname(certificate, self.server_name)
            else:
                verify_certificate_ip_address(certificate, str(self.server_name))
        except (VerificationError, CertificateError, *UNREADABLE):
            names = ", ".join(PeerCertificate.of(certificate).names) or "no name at all"
            return f"expected {self.server_name}, the certificate is for {names}"
        return ""


def _verify(connection: SSL.Connection, certificate: X509, code: int, depth: int, accepted: int) -> bool:
    """OpenSSL's verdict; and the peer's own certificate must be one that we can read, or we know not whom we admit."""
    good = record_verdict(connection, certificate, code, depth, accepted)
    if depth > 0:
        return good
    assert isinstance(connection, ObservedConnection)
    try:
        PeerCertificate.of(certificate.to_cryptography())
    except UNREADABLE as error:
        connection.evidence.unreadable = f"the certificate cannot be read: {error}"
    return good and not connection.evidence.unreadable


def _context(method: int, policy: TLSPolicy, trust_roots: TrustRoots) -> tuple[SSL.Context, tuple[str, ...]]:
    """What both ends have in common, and a sentence for each part of the policy that stays as OpenSSL has it."""
    context = SSL.Context(method)
    try:
        context.set_min_proto_version(policy.minimum_version)
        context.set_max_proto_version(policy.maximum_version)
        context.set_cipher_list(f"{':'.join(policy.cipher_suites)}:@SECLEVEL={policy.security_level}".encode())
        context.set_tls13_ciphersuites(":".join(policy.tls13_cipher_suites).encode())
        # RFC 9325 §3.3, §3.4, §3.5: no compression, no resumption (by ticket or by cache), no renegotiation.
        context.set_options(SSL.OP_NO_COMPRESSION | SSL.OP_NO_TICKET | SSL.OP_NO_RENEGOTIATION)
        context.set_session_cache_mode(SSL.SESS_CACHE_OFF)
        # An association may rest for minutes; it need not hold some 30 kB of read and write buffers all the while.
        context.set_mode(SSL.MODE_RELEASE_BUFFERS)
        store = context.get_cert_store()
        assert store is not None
        for root in trust_roots.certificates:
            store.add_cert(X509.from_cryptography(root))
    except SSL.Error as error:
        raise ConfigurationError(f"OpenSSL cannot honour the TLS profile {policy.name}: {_reason(error)}") from None
    context.set_info_callback(record_event)
    not_enforced = []
    for what, names, restrict in (
        ("groups", policy.groups, restrict_groups),
        ("signature algorithms", policy.signature_algorithms, restrict_signature_algorithms),
    ):
        if not restrict(context, names):
            not_enforced.append(f"{what}: this pyOpenSSL cannot restrict them, so OpenSSL's own list applies")
    return context, tuple(not_enforced)


def _identify(context: SSL.Context, key_material: KeyMaterial) -> None:
    try:
        context.use_certificate(key_material.certificate)
        for issuer in key_material.chain[1:]:
            context.add_extra_chain_cert(issuer)
        context.use_privatekey(key_material.private_key)
        context.check_privatekey()
    except SSL.Error as error:
        raise ConfigurationError(
            f"OpenSSL refuses the certificate {name_of(key_material.certificate)} or its key: {_reason(error)}"
        ) from None


def _reason(error: SSL.Error) -> str:
    return "; ".join(reason for _, _, reason in error.args[0]) if error.args and error.args[0] else "no reason given"


def _server_name(name: str) -> str | IPv4Address | IPv6Address:
    """An address, or a DNS name as A-labels without the final dot, as certificates and SNI have it."""
    try:
        return ip_address(name)
    except ValueError:
        pass
    try:
        labels = name.strip().rstrip(".").encode("idna").decode("ascii")
        DNS_ID(labels)
    except (ValueError, TypeError):
        raise ConfigurationError(f"server name {name!r} is no name; expected a DNS name or an IP address") from None
    return labels
