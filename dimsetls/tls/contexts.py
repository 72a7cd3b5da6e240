"""A policy and key material become connection creators, as Twisted's TLS layer takes them.

Contexts are built here and not by twisted.internet.ssl.CertificateOptions, which reaches neither TLS 1.3
suites, renegotiation, groups nor a refusal by ALPN, and whose default suites include CBC and SHA-1.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from functools import lru_cache, partial
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
from .bindings import (
    choose_by_name,
    restrict_groups,
    restrict_signature_algorithms,
    set_info_callback,
    set_verify,
    use_finite_field_group,
    was_resumed,
)
from .evidence import (
    NOTED,
    UNREADABLE,
    ObservedConnection,
    Refusal,
    RefusedAfterHandshake,
    record_event,
    record_verdict,
)
from .judgement import Code, Objection, Role, misuses, weaknesses
from .material import KeyMaterial, TrustRoots, name_of
from .ocsp import must_staple, stapled_refusal
from .policy import BCP195_RFC9325, ClientCertificate, TLSPolicy
from .resumption import Now, Sessions, Tickets, utc_now
from .revocation import UNCHECKED, Revocation
from .rules import CertificateRule
from .session import REMEMBERED_CERTIFICATES, PeerCertificate

_VERIFY_CLIENT = {
    ClientCertificate.REQUIRED: SSL.VERIFY_PEER | SSL.VERIFY_FAIL_IF_NO_PEER_CERT,
    ClientCertificate.OPTIONAL: SSL.VERIFY_PEER,
    ClientCertificate.NONE: SSL.VERIFY_NONE,
}


_UNRECOGNIZED_NAME = 112


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
    """Makes the server's end of TLS connections; one context for each certificate.

    `stapled` tells where the OCSP response for a certificate of ours is to be asked for at each handshake; an empty
    one is not sent.

    The certificates of `named` are for clients that ask for one of their DNS names (RFC 6066 §3); everyone else gets
    `key_material`, save that with `strict_names` a name that no certificate has is refused. With `require_alpn`,
    so is a client that does not offer DICOM by ALPN. With `resumption`, so long a client may take its session up again.
    """

    def __init__(
        self,
        policy: TLSPolicy,
        key_material: KeyMaterial,
        trust_roots: TrustRoots,
        *,
        revocation: Revocation = UNCHECKED,
        stapled: Mapping[x509.Certificate, Callable[[], bytes]] | None = None,
        named: Sequence[KeyMaterial] = (),
        strict_names: bool = False,
        require_alpn: bool = False,
        resumption: timedelta | None = None,
        now: Now = utc_now,
    ) -> None:
        self.policy = policy
        self.resumption = resumption
        self._strict_names = strict_names
        self._connection = _ConnectionWithProtocol if require_alpn else ObservedConnection
        self._tickets = Tickets(resumption, revocation.end, now) if resumption is not None else None
        self._make = partial(self._make_context, trust_roots=trust_roots, revocation=revocation, stapled=stapled or {})
        served: list[tuple[str | None, KeyMaterial]] = [(None, key_material)]
        self._materials = dict.fromkeys(_dns_names(key_material), key_material)
        for material in named:
            new = [name for name in _dns_names(material) if name not in self._materials]
            if not new:
                raise ConfigurationError(
                    f"certificate {name_of(material.certificate)} would never be chosen, since it has no DNS name that "
                    "those before it have not; expected one of its own in subjectAltName"
                )
            self._materials |= dict.fromkeys(new, material)
            served.append((new[0].replace("*", "any"), material))
        self.served = tuple(served)
        """What is presented, each with a name to ask for it by."""
        self.rekeyed: Callable[[], object] = lambda: None
        """Called when the tickets have got another key."""
        self._make_contexts()

    def serverConnectionForTLS(self, protocol: TLSMemoryBIOProtocol | None) -> ObservedConnection:
        if self._tickets is not None and self._tickets.is_key_worn:
            self._make_contexts()
            self.rekeyed()
        return self._connection(self._context, is_server=True)

    def _make_contexts(self) -> None:
        """One for each certificate, with which comes another key for tickets."""
        made = [(material, *self._make(material)) for _, material in self.served]
        _, self._context, self.not_enforced = made[0]
        self._by_name = {
            name: next(context for material, context, _ in made if material is wanted)
            for name, wanted in self._materials.items()
        }
        choose_by_name(self._context, self._choose)

    def _make_context(
        self,
        key_material: KeyMaterial,
        *,
        trust_roots: TrustRoots,
        revocation: Revocation,
        stapled: Mapping[x509.Certificate, Callable[[], bytes]],
    ) -> tuple[SSL.Context, tuple[str, ...]]:
        context, not_enforced = _context(
            SSL.TLS_SERVER_METHOD, self.policy, trust_roots, revocation, with_tickets=self._tickets is not None
        )
        if self._tickets is not None:
            self._tickets.prepare(context)
        _identify(context, key_material, Role.SERVER)
        if response := stapled.get(key_material.certificate):
            context.set_ocsp_server_callback(lambda connection, data: response())
        elif must_staple(key_material.certificate):
            raise ConfigurationError(
                f"the certificate {name_of(key_material.certificate)} demands a stapled OCSP response (RFC 7633), so "
                "clients refuse it without; expected a response file, or the responder to ask"
            )
        context.set_options(SSL.OP_CIPHER_SERVER_PREFERENCE)
        if any(suite.startswith("DHE-") for suite in self.policy.cipher_suites):
            use_finite_field_group(context)
        set_verify(context, _VERIFY_CLIENT[self.policy.client_certificate], self._verdict)
        if self.policy.client_certificate is not ClientCertificate.NONE:
            for root in trust_roots.certificates:
                context.add_client_ca(root)
        context.set_alpn_select_callback(self._select_protocol)
        return context, not_enforced

    def _verdict(self, connection: SSL.Connection, certificate: bytes, found: int, depth: int) -> int:
        code = _verdict(Role.CLIENT, connection, certificate, found, depth)
        if self._tickets is not None and depth == 0 and not found and not code:
            assert isinstance(connection, ObservedConnection)
            self._tickets.judged(connection, PeerCertificate.of_der(connection.evidence.certificate))
        return code

    def _choose(self, connection: SSL.Connection) -> int | None:
        """Give the connection the certificate for the name that the client asks for; an alert if it must not go on."""
        assert isinstance(connection, ObservedConnection)
        if self._tickets is not None and (refusal := self._tickets.refusal(connection)) is not None:
            return refusal
        asked = connection.get_servername()
        if asked is None:
            return None
        name = asked.decode("ascii", "replace").casefold().rstrip(".")
        _, _, domain = name.partition(".")
        # RFC 9525 §6.3: a wildcard stands for the left-most label, and for the whole of it.
        context = self._by_name.get(name) or self._by_name.get(f"*.{domain}")
        if context is None:
            return _UNRECOGNIZED_NAME if self._strict_names else None
        if context is not self._context:
            connection.set_context(context)
        return None

    def _select_protocol(self, connection: SSL.Connection, offered: list[bytes]) -> bytes:
        """Called only if the client offers any protocol; one that offers none is another matter (RFC 9325 §3.8)."""
        if self.policy.alpn in offered:
            return self.policy.alpn
        raise NoApplicationProtocol(offered, self.policy.alpn)


class _ConnectionWithProtocol(ObservedConnection):
    """A connection whose handshake is good only if an application protocol was agreed.

    TLS has no alert for a client that offers none, and OpenSSL does not ask: the connection just ends.
    """

    def do_handshake(self) -> None:
        super().do_handshake()
        if not self.get_alpn_proto_negotiated():
            raise RefusedAfterHandshake("alpn-absent", "the client offers no application protocol; expected 'dicom'")


@implementer(IOpenSSLClientConnectionCreator)
class ClientConnectionCreator:
    """Makes the client's end of TLS connections to the one server it names.

    `server_name` is a DNS name or an IP address, to be found in the certificate's subjectAltName (RFC 9525). It has to
    meet one of `rules` as well, where there are any.
    """

    def __init__(
        self,
        policy: TLSPolicy,
        trust_roots: TrustRoots,
        key_material: KeyMaterial | None = None,
        *,
        server_name: str,
        revocation: Revocation = UNCHECKED,
        rules: Sequence[CertificateRule] = (),
        resumption: timedelta | None = None,
        now: Now = utc_now,
    ) -> None:
        self.policy = policy
        self.server_name = _server_name(server_name)
        self._rules = tuple(rules)
        self._context, self.not_enforced = _context(SSL.TLS_CLIENT_METHOD, policy, trust_roots, revocation)
        self._require_stapled = revocation.require_stapled
        if key_material is not None:
            _identify(self._context, key_material, Role.CLIENT)
        set_verify(self._context, SSL.VERIFY_PEER, self._verdict)
        self._context.set_alpn_protos([policy.alpn])
        self._context.set_ocsp_client_callback(self._judge_status)
        self._sessions = Sessions(resumption, revocation.end, now) if resumption is not None else None
        self._connection = _ResumingConnection if self._sessions is not None else ObservedConnection
        if self._sessions is not None:
            set_info_callback(self._context, NOTED | SSL.SSL_CB_EXIT, partial(_record_ticket, self._sessions))

    def clientConnectionForTLS(self, protocol: TLSMemoryBIOProtocol | None) -> ObservedConnection:
        connection = self._connection(self._context, is_server=False)
        if isinstance(self.server_name, str):
            connection.set_tlsext_host_name(self.server_name.encode("ascii"))  # RFC 6066 §3: no IP addresses
        connection.request_ocsp()
        if self._sessions is not None:
            self._sessions.offer(connection)
        return connection

    def _judge_status(self, connection: SSL.Connection, response: bytes, data: object) -> bool:
        """Called once the chain is verified, with an empty response if the server stapled none; False: alert 113."""
        assert isinstance(connection, ObservedConnection)
        if was_resumed(connection):
            return True  # the session began without one, and needed none, or it would not have been kept
        if response:
            connection.evidence.chain_end = datetime.min.replace(tzinfo=UTC)  # what is stapled is to be seen each time
        chain = connection.get_verified_chain(as_cryptography=True)
        assert chain is not None
        refusal = stapled_refusal(response, chain, datetime.now(UTC), required=self._require_stapled)
        connection.evidence.status_refusal = refusal
        return refusal is None

    def _verdict(self, connection: SSL.Connection, certificate: bytes, found: int, depth: int) -> int:
        """The verdict of :func:`_verdict` and, on the server's own certificate, on its name and by our rules."""
        code = _verdict(Role.SERVER, connection, certificate, found, depth)
        assert isinstance(connection, ObservedConnection)
        if depth > 0 or found or connection.evidence.unreadable:  # what OpenSSL refuses may not be readable either
            return code
        evidence, readable = connection.evidence, x509.load_der_x509_certificate(certificate)
        evidence.name_mismatch = self._name_mismatch(readable)
        evidence.rule_mismatch = self._rule_mismatch(readable)
        return code or (Code.NAME_MISMATCH if evidence.name_mismatch or evidence.rule_mismatch else 0)

    def _rule_mismatch(self, certificate: x509.Certificate) -> str:
        found = PeerCertificate.of(certificate)
        if not self._rules or any(rule.matches(found) for rule in self._rules):
            return ""
        return f"expected {' or '.join(map(str, self._rules))}, the certificate is {found.subject}"

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


def _verdict(role: Role, connection: SSL.Connection, certificate: bytes, found: int, depth: int) -> int:
    """OpenSSL's verdict on a certificate of a peer in that role; if it is good, ours."""
    assert isinstance(connection, ObservedConnection)
    if not record_verdict(connection, certificate, found, depth):
        return found
    try:
        der, subject, end, objections = _judged(certificate, None if depth else role)
    except UNREADABLE as error:
        connection.evidence.unreadable = f"the certificate cannot be read: {error}"
        return Code.UNSPECIFIED
    evidence = connection.evidence
    evidence.chain_end = min(evidence.chain_end, end)
    if not depth:
        evidence.certificate = der
    evidence.refusals += [Refusal(each.code, depth, subject, each.sentence) for each in objections]
    return objections[0].code if objections else 0


@lru_cache(REMEMBERED_CERTIFICATES)
def _judged(der: bytes, role: Role | None) -> tuple[bytes, str, datetime, tuple[Objection, ...]]:
    """A certificate, its subject, its end, and what we have against it, in a chain where `role` is None.

    None of it changes with time, which is OpenSSL's to judge, and a modality calls again and again: judged once, an
    association costs a tenth less.
    """
    certificate = x509.load_der_x509_certificate(der)
    subject = certificate.subject.rfc4514_string()
    if role is None:
        return der, subject, certificate.not_valid_after_utc, (*weaknesses(certificate, end_entity=False),)
    PeerCertificate.of(certificate)  # or we know not whom we admit
    # The curve of this key is OpenSSL's business, which has an alert for it.
    found = [each for each in weaknesses(certificate) if each.code != Code.WRONG_CURVE]
    return der, subject, certificate.not_valid_after_utc, (*found, *misuses(certificate, frozenset({role})))


class _ResumingConnection(ObservedConnection):
    """A client's connection that will be given tickets."""

    has_shaken_hands = False


def _record_ticket(sessions: Sessions, connection: SSL.Connection, where: int, value: int) -> None:
    """The info callback of a client that resumes: OpenSSL ends a handshake once, and once more for each ticket."""
    if where & NOTED:
        record_event(connection, where, value)
    if where == SSL.SSL_CB_CONNECT_EXIT and value == 1:
        assert isinstance(connection, _ResumingConnection)
        if connection.has_shaken_hands:
            sessions.keep(connection)
        connection.has_shaken_hands = True


def _context(
    method: int, policy: TLSPolicy, trust_roots: TrustRoots, revocation: Revocation, *, with_tickets: bool = False
) -> tuple[SSL.Context, tuple[str, ...]]:
    """What both ends have in common, and a sentence for each part of the policy that stays as OpenSSL has it."""
    context = SSL.Context(method)
    try:
        context.set_min_proto_version(policy.minimum_version)
        context.set_max_proto_version(policy.maximum_version)
        # OpenSSL wants a suite for TLS 1.2 even where the versions leave TLS 1.2 out.
        suites = ":".join(policy.cipher_suites or BCP195_RFC9325.cipher_suites)
        context.set_cipher_list(f"{suites}:@SECLEVEL={policy.security_level}".encode())
        context.set_tls13_ciphersuites(":".join(policy.tls13_cipher_suites).encode())
        # RFC 9325 §3.3, §3.4, §3.5: no compression, no resumption (by ticket or by cache), no renegotiation. A client
        # that resumes does so in TLS 1.3, where it needs no leave, and asks for no ticket in TLS 1.2.
        context.set_options(SSL.OP_NO_COMPRESSION | SSL.OP_NO_RENEGOTIATION)
        if not with_tickets:
            context.set_options(SSL.OP_NO_TICKET)
        context.set_session_cache_mode(SSL.SESS_CACHE_OFF)
        # An association may rest for minutes; it need not hold some 30 kB of read and write buffers all the while.
        context.set_mode(SSL.MODE_RELEASE_BUFFERS)
        store = context.get_cert_store()
        assert store is not None
        for root in trust_roots.certificates:
            store.add_cert(X509.from_cryptography(root))
        revocation.apply(store)
    except SSL.Error as error:
        raise ConfigurationError(f"OpenSSL cannot honour the TLS profile {policy.name}: {_reason(error)}") from None
    set_info_callback(context, NOTED, record_event)
    not_enforced = [*policy.cannot]
    for what, names, restrict in (
        ("groups", policy.groups, restrict_groups),
        ("signature algorithms", policy.signature_algorithms, restrict_signature_algorithms),
    ):
        if not restrict(context, names):
            not_enforced.append(f"{what}: this pyOpenSSL cannot restrict them, so OpenSSL's own list applies")
    return context, tuple(not_enforced)


def _identify(context: SSL.Context, key_material: KeyMaterial, role: Role) -> None:
    if objections := [*misuses(key_material.certificate, frozenset({role}))]:
        what = f"certificate {name_of(key_material.certificate)} cannot serve a TLS {role.value}: it"
        raise ConfigurationError(*(f"{what} {each.sentence}" for each in objections))
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


def _dns_names(key_material: KeyMaterial) -> Iterator[str]:
    return (name.casefold() for name in PeerCertificate.of(key_material.certificate).dns_names)


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
