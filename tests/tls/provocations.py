"""Ways to make a TLS connection fail, one a row of the table of failures, for one version of TLS at a time.

Each deed takes a Bench and returns the Wire after it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256
from OpenSSL import SSL, crypto
from OpenSSL._util import lib
from twisted.internet.interfaces import IOpenSSLClientConnectionCreator, IOpenSSLServerConnectionCreator
from zope.interface import implementer

from dimsetls.tls.bindings import restrict_groups, restrict_signature_algorithms
from dimsetls.tls.contexts import ClientConnectionCreator, ServerConnectionCreator
from dimsetls.tls.evidence import ObservedConnection, record_event
from dimsetls.tls.faults import handshake_timeout
from dimsetls.tls.material import KeyMaterial, TrustRoots
from dimsetls.tls.policy import BCP195_RFC9325, TLSPolicy, TLSVersion
from dimsetls.tls.revocation import CertificateRevocationLists, CRLCheck, LoadedList, Revocation

from . import crafted
from .crafted import CLIENT_HELLO, SERVER_HELLO, alert, edit_extensions, edit_message, identify

V12, V13 = TLSVersion.TLS_1_2, TLSVersion.TLS_1_3
LONG_AGO = datetime.now(UTC) - timedelta(days=30)
SEND_FALLBACK_SCSV = 0x80


class Bench:
    """What a provocation needs: servers, clients and links for one TLS version, and two authorities."""

    def __init__(self, version: TLSVersion, link_between: Callable[[Any, Any], Any], authority: Any, stranger: Any):
        self.version, self.authority, self.stranger = version, authority, stranger
        self.policy = only(version)
        self._link_between = link_between

    def server(self, policy: TLSPolicy | None = None, **keywords: Any) -> ServerConnectionCreator:
        material = keywords.pop("material", None) or self.authority.issue_server().material
        roots = keywords.pop("trust_roots", self.authority.trust_roots)
        return ServerConnectionCreator(policy or self.policy, material, roots, **keywords)

    def client(self, policy: TLSPolicy | None = None, **keywords: Any) -> ClientConnectionCreator:
        keywords = {"server_name": "localhost", "key_material": self.authority.issue_client().material} | keywords
        return ClientConnectionCreator(policy or self.policy, self.authority.trust_roots, **keywords)

    def raw_server(self, configure: Callable[[SSL.Context], object]) -> RawPeer:
        return RawPeer(SSL.TLS_SERVER_METHOD, self.version, self.authority.issue_server(), configure)

    def raw_client(self, configure: Callable[[SSL.Context], object]) -> RawPeer:
        return RawPeer(SSL.TLS_CLIENT_METHOD, self.version, self.authority.issue_client(), configure)

    def link(self, server: Any = None, client: Any = None) -> Any:
        """The two connected; nothing has moved yet."""
        return self._link_between(server or self.server(), client or self.client())

    def established(self) -> Any:
        wire = self.link().pump()
        assert wire.server_user.session is not None
        assert wire.client_user.session is not None
        return wire

    def crafted(self, certificate: Any, key: Any, *chain: Any) -> Any:
        """A client with a crafted certificate, and no other, calls."""
        return self.link(client=self.crafted_client(certificate, key, *chain)).pump()

    def crafted_client(self, certificate: Any, key: Any, *chain: Any) -> RawPeer:
        method = SSL.TLS_CLIENT_METHOD
        return RawPeer(method, self.version, None, lambda context: identify(context, certificate, key, chain))


def only(version: TLSVersion) -> TLSPolicy:
    return replace(BCP195_RFC9325, minimum_version=version, maximum_version=version)


@implementer(IOpenSSLServerConnectionCreator, IOpenSSLClientConnectionCreator)
class RawPeer:
    """An end that follows no policy but the test's."""

    def __init__(
        self, method: int, version: TLSVersion, issued: Any, configure: Callable[[SSL.Context], object]
    ) -> None:
        self._context = SSL.Context(method)
        self._context.set_info_callback(record_event)
        self._context.set_min_proto_version(version)
        self._context.set_max_proto_version(version)
        if issued is not None:
            self._context.use_certificate(issued.certificate)
            self._context.use_privatekey(issued.private_key)
        configure(self._context)

    def serverConnectionForTLS(self, protocol: object) -> SSL.Connection:
        return ObservedConnection(self._context, is_server=True)

    def clientConnectionForTLS(self, protocol: object) -> SSL.Connection:
        return ObservedConnection(self._context, is_server=False)


# Deeds ---------------------------------------------------------------------------------------------------------------


def altered_record(bench: Bench) -> Any:
    wire = bench.established()
    wire.client_user.transport.write(b"P-DATA-TF")
    wire.client_end.sent[-1] = crafted.flipped(-1)(wire.client_end.sent[-1])
    return wire.pump()


def injected(content: str, *, in_handshake: bool = False) -> Callable[[Bench], Any]:
    """Bytes that somebody sends to the server in the client's place."""

    def inject(bench: Bench) -> Any:
        wire = bench.link() if in_handshake else bench.established()
        if in_handshake:
            wire.server.dataReceived(b"".join(wire.client_end.sent))
            wire.client_end.sent.clear()
        wire.server.dataReceived(bytes.fromhex(content))
        return wire.pump()

    return inject


def alert_to_client(number: int) -> Callable[[Bench], Any]:
    """Before the end of the handshake an alert is believed, whoever sends it."""

    def inject(bench: Bench) -> Any:
        wire = bench.link()
        wire.client.dataReceived(alert(number))
        return wire.pump()

    return inject


def alert_to_server(number: int) -> Callable[[Bench], Any]:
    return injected(alert(number).hex(), in_handshake=True)


def client_hello(edit: crafted.Body) -> Callable[[Bench], Any]:
    """The ClientHello arrives altered."""

    def alter(bench: Bench) -> Any:
        wire = bench.link()
        wire.client_end.sent[:] = [edit_message(b"".join(wire.client_end.sent), CLIENT_HELLO, edit)]
        return wire.pump()

    return alter


def server_flight(edit: crafted.Body, kind: int = SERVER_HELLO) -> Callable[[Bench], Any]:
    """A message of the server's first flight arrives altered."""

    def alter(bench: Bench) -> Any:
        wire = bench.link()
        wire.server.dataReceived(b"".join(wire.client_end.sent))
        wire.client_end.sent.clear()
        wire.server_end.sent[:] = [edit_message(b"".join(wire.server_end.sent), kind, edit)]
        return wire.pump()

    return alter


def downgrade(bench: Bench) -> Any:
    """Somebody takes TLS 1.3 out of the ClientHello of a client that speaks both."""
    wire = bench.link(bench.server(BCP195_RFC9325), bench.client(BCP195_RFC9325))
    hello = edit_extensions(crafted.without(crafted.SUPPORTED_VERSIONS), of_client=True)
    wire.client_end.sent[:] = [edit_message(b"".join(wire.client_end.sent), CLIENT_HELLO, hello)]
    return wire.pump()


def compression(hello: bytes) -> bytes:
    """A ServerHello that chooses a compression method nobody offered."""
    at = 35 + hello[34] + 2
    return hello[:at] + b"\x01" + hello[at + 1:]


def long_session_id(hello: bytes) -> bytes:
    return hello[:34] + b"\xff" + hello[35:]


def no_common_cipher(bench: Bench) -> Any:
    def configure(context: SSL.Context) -> None:
        context.set_cipher_list(b"AES128-GCM-SHA256")
        context.set_tls13_ciphersuites(b"TLS_AES_128_CCM_SHA256")

    return bench.link(client=bench.raw_client(configure)).pump()


def no_common_group(bench: Bench) -> Any:
    def configure(context: SSL.Context) -> None:
        assert restrict_groups(context, ["P-521"])

    return bench.link(client=bench.raw_client(configure)).pump()


def no_common_signature(bench: Bench) -> Any:
    def configure(context: SSL.Context) -> None:
        assert restrict_signature_algorithms(context, ["ed448"])

    return bench.link(client=bench.raw_client(configure)).pump()


def other_version(bench: Bench) -> Any:
    other = V12 if bench.version == V13 else V13
    return bench.link(client=bench.client(only(other))).pump()


def fallback(bench: Bench) -> Any:
    client = bench.raw_client(lambda context: context.set_mode(SEND_FALLBACK_SCSV))
    return bench.link(bench.server(BCP195_RFC9325), client).pump()


def bad_alpn_answer(bench: Bench) -> Any:
    """OpenSSL's own refusal of a protocol that a callback made up."""
    def configure(context: SSL.Context) -> None:
        context.set_alpn_select_callback(lambda connection, offered: b"")

    return bench.link(bench.raw_server(configure)).pump()


def renegotiating_client(bench: Bench) -> Any:
    wire = bench.link(client=bench.raw_client(lambda context: None)).pump()
    connection = wire.client.getHandle()
    assert connection.renegotiate()
    with pytest.raises(SSL.WantReadError):
        connection.do_handshake()
    wire.client_end.write(connection.bio_read(1 << 16))
    return wire.pump()


def unreadable_certificate(bench: Bench) -> Any:
    """X.509 version 6, which OpenSSL does not mind and cryptography does."""
    issued = bench.authority.issue_client()
    content = issued.certificate.tbs_certificate_bytes.replace(bytes.fromhex("a003020102"), bytes.fromhex("a003020105"))
    signature = bench.authority.own.private_key.sign(content, ec.ECDSA(SHA256()))
    body = content + bytes.fromhex("300a06082a8648ce3d040302") + bytes([0x03, len(signature) + 1, 0]) + signature
    loaded = crypto.load_certificate(crypto.FILETYPE_ASN1, b"\x30\x82" + len(body).to_bytes(2, "big") + body)

    def configure(context: SSL.Context) -> None:
        lib.SSL_CTX_use_certificate(context._context, loaded._x509)
        context.use_privatekey(issued.private_key)

    return bench.link(client=bench.raw_client(configure)).pump()


def crl(bench: Bench, **period: datetime) -> Revocation:
    lists = (LoadedList(bench.authority.crl(**period), Path("ca.crl")),)
    return Revocation(CRLCheck.LEAF, CertificateRevocationLists(lists))


def no_crl(bench: Bench) -> Revocation:
    return Revocation(CRLCheck.LEAF)


def judged_by(revocation: Callable[..., Revocation], **period: datetime) -> Callable[[Bench], Any]:
    """A server that looks its clients up in this list."""

    def call(bench: Bench) -> Any:
        return bench.link(bench.server(revocation=revocation(bench, **period))).pump()

    return call


def revoked(bench: Bench) -> Any:
    issued = bench.authority.issue_client()
    bench.authority.revoke(issued)
    return bench.link(bench.server(revocation=crl(bench)), bench.client(key_material=issued.material)).pump()


def stapled(response: Callable[[Bench, Any], bytes]) -> Callable[[Bench], Any]:
    """A server that staples this to its certificate."""

    def call(bench: Bench) -> Any:
        issued = bench.authority.issue_server()
        staple = {issued.certificate: lambda: response(bench, issued)}
        server = bench.server(material=issued.material, stapled=staple)
        return bench.link(server, bench.client(revocation=Revocation(require_stapled=True))).pump()

    return call


def strangers_response(bench: Bench, issued: Any) -> bytes:
    return bench.stranger.ocsp_response(issued)


def stale_response(bench: Bench, issued: Any) -> bytes:
    return bench.authority.ocsp_response(issued, this_update=LONG_AGO, next_update=LONG_AGO + timedelta(days=1))


def with_certificate(**wishes: Any) -> Callable[[Bench], Any]:
    def call(bench: Bench) -> Any:
        return bench.link(client=bench.client(key_material=bench.authority.issue_client(**wishes).material)).pump()

    return call


def weak_hash(bench: Bench) -> Any:
    root_key = crafted.rsa_key(2048)
    root, _ = crafted.issue(None, root_key, key=root_key, is_authority=True)
    certificate, key = crafted.issue(root, root_key)
    client = bench.crafted_client(crafted.claiming_sha1(certificate), key)
    return bench.link(bench.server(trust_roots=TrustRoots((root,))), client).pump()


def small_key(bench: Bench) -> Any:
    own = bench.authority.own
    return bench.crafted(*crafted.issue(own.certificate, own.private_key, key=crafted.rsa_key(1024)))


def wrong_curve(bench: Bench) -> Any:
    own = bench.authority.own
    key = ec.generate_private_key(ec.SECP521R1())
    return bench.crafted(*crafted.issue(own.certificate, own.private_key, key=key))


def issued_by_no_authority(bench: Bench) -> Any:
    """A client that plays the authority."""
    between = bench.authority.issue_client()
    certificate, key = crafted.issue(between.certificate, between.private_key)
    return bench.crafted(certificate, key, between.certificate)


def forged_certificate(bench: Bench) -> Any:
    issued = bench.authority.issue_client()
    return bench.crafted(crafted.forged(issued.certificate), issued.private_key)


def trusting_an_intermediate_only(bench: Bench) -> Any:
    below, below_key = crafted.intermediate(bench.authority)
    certificate, key = crafted.issue(below, below_key)
    client = bench.client(key_material=KeyMaterial((certificate,), key))
    return bench.link(bench.server(trust_roots=TrustRoots((below,))), client).pump()


def no_certificate(bench: Bench) -> Any:
    return bench.link(client=bench.client(key_material=None)).pump()


def called_for(name: str, **keywords: Any) -> Callable[[Bench], Any]:
    def call(bench: Bench) -> Any:
        return bench.link(bench.server(**keywords), bench.client(server_name=name)).pump()

    return call


def offering(*protocols: bytes, **keywords: Any) -> Callable[[Bench], Any]:
    """A client that offers these application protocols."""

    def call(bench: Bench) -> Any:
        client = bench.raw_client(lambda context: context.set_alpn_protos([*protocols]) if protocols else None)
        return bench.link(bench.server(**keywords), client).pump()

    return call


def cut(bench: Bench) -> Any:
    return bench.established().cut()


def cut_in_handshake(bench: Bench) -> Any:
    return bench.link().cut()


def closed(bench: Bench) -> Any:
    wire = bench.established()
    wire.client_user.transport.loseConnection()
    return wire.pump()


def first_words(content: bytes) -> Callable[[Bench], Any]:
    """A stranger calls the TLS port."""

    def call(bench: Bench) -> Any:
        wire = bench.link()
        wire.client_end.sent[:] = [content]
        return wire.pump()

    return call


def plaintext_answer(bench: Bench) -> Any:
    wire = bench.link()
    wire.client.dataReceived(bytes.fromhex("07000000000400000201"))  # A-ABORT
    return wire.pump()


def own_authority(bench: Bench) -> Any:
    return bench.crafted(bench.stranger.own.certificate, bench.stranger.own.private_key)


def strangers_client(bench: Bench) -> Any:
    return bench.link(client=bench.client(key_material=bench.stranger.issue_client().material)).pump()


def client_s_certificate_at_the_server(bench: Bench) -> Any:
    issued = bench.authority.issue_client()

    def configure(context: SSL.Context) -> None:
        context.use_certificate(issued.certificate)
        context.use_privatekey(issued.private_key)

    return bench.link(bench.raw_server(configure)).pump()


def handshake_deadline(begun: bool) -> Callable[[Bench], Any]:
    """The deadline passes before the handshake is complete."""

    def wait(bench: Bench) -> Any:
        wire = bench.link()
        if begun:
            wire.server.dataReceived(wire.client_end.sent.pop(0)[:100])
        wire.server_user.found = handshake_timeout(wire.server_user.evidence)
        return wire.cut()

    return wait
