"""Whether a context does what its policy says, found out by handshakes in memory before a peer comes.

Every new context first does what OPENSSL_CONF, or the system's openssl.cnf, says. What we set ourselves afterwards
wins; but more can be set there than OpenSSL's interface, or pyOpenSSL's, can take back.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from functools import cache
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from cryptography.x509.oid import NameOID
from OpenSSL import SSL

from ..errors import ConfigurationError
from . import flights
from .bindings import CAN_RESTRICT_GROUPS, restrict_groups, restrict_signature_algorithms, was_resumed
from .contexts import ClientConnectionCreator, ServerConnectionCreator
from .evidence import Alert, ObservedConnection
from .flights import GROUPS, SIGNATURES, SUITES, Answer
from .judgement import Code
from .material import KeyMaterial, name_of
from .policy import ClientCertificate, TLSPolicy, TLSVersion

_OLD_VERSIONS = {"SSL 3.0": 0x0300, "TLS 1.0": 0x0301, "TLS 1.1": 0x0302}
_VERSIONS = _OLD_VERSIONS | {str(version): int(version) for version in TLSVersion}
_SMALLEST_PRIME = 2048  # bits (RFC 9325 §4.5)
_NO_RENEGOTIATION = Alert(sent=True, level=1, number=100)
_WHOLE_FLIGHT = 1 << 17  # bytes: more than the longest chain


def verify(creator: ServerConnectionCreator | ClientConnectionCreator, policy: TLSPolicy | None = None) -> None:
    """Raise ConfigurationError, a sentence for each difference, if the creator's connections do not keep the policy.

    Takes some tens of milliseconds. Run it once for each creator, before its first connection.
    """
    policy = policy or creator.policy
    found: list[str] = []
    if isinstance(creator, ClientConnectionCreator):
        found += _client(creator, policy)
    else:
        for name, material in creator.served:
            _judge_key(policy, material)
            of_one = _server(creator, policy, name, material)
            found += [f"{difference} (for server name {name})" if name else difference for difference in of_one]
    if found:
        place = os.environ.get("OPENSSL_CONF")
        where = f"{place} (OPENSSL_CONF)" if place else "the system's openssl.cnf"
        raise ConfigurationError(*(
            f"OpenSSL does not keep the TLS profile {policy.name}: {difference}; see what {where} sets"
            for difference in found
        ))


def _judge_key(policy: TLSPolicy, material: KeyMaterial) -> None:
    if TLSVersion.TLS_1_2 in _versions(policy) and not _suites_for(material, policy):
        raise ConfigurationError(
            f"none of the cipher suites for TLS 1.2 ({', '.join(policy.cipher_suites)}) suits the key of certificate "
            f"{name_of(material.certificate)}; expected one of its kind, or TLS 1.3 as the minimum version"
        )


# A server, asked by stand-ins that are known by their first message ---------------------------------------------------


def _server(
    creator: ServerConnectionCreator, policy: TLSPolicy, name: str | None, material: KeyMaterial
) -> Iterator[str]:
    def ask(version: int, **offer: Any) -> Answer:
        connection = creator.serverConnectionForTLS(None)
        connection.bio_write(flights.client_hello(version=version, server_name=name, **offer))
        _step(connection)
        return flights.read_answer(_written(connection))

    versions = _versions(policy)
    answers = {version: ask(version) for version in _VERSIONS.values()}
    spoken = [answer.version for answer in answers.values() if answer.version]
    if differences := [*_compare("versions", _VERSIONS, map(str, versions), spoken)]:
        yield from differences  # all else would be said of versions that are not there
        return
    suites = {TLSVersion.TLS_1_2: _suites_for(material, policy), TLSVersion.TLS_1_3: policy.tls13_cipher_suites}
    for version in versions:
        found, primes = _chosen_suites(ask, version)
        yield from _compare(f"cipher suites of {version}", SUITES, suites[version], found, ordered=True)
        yield from (f"expected DHE of {_SMALLEST_PRIME} bits or more, found {prime}"
                    for prime in primes if prime < _SMALLEST_PRIME)
    yield from _server_groups(ask, policy, versions, material)
    yield from _server_signatures(ask, policy, versions, answers[TLSVersion.TLS_1_2])
    if TLSVersion.TLS_1_2 in versions:
        yield from _server_extensions(answers[TLSVersion.TLS_1_2])
    yield from _server_in_full(creator, policy, versions, name)


def _chosen_suites(ask: Callable[..., Answer], version: TLSVersion) -> tuple[list[int], list[int]]:
    """Offer every suite, take away the one chosen, and again until none is: all that are left then are refused."""
    left, found, primes = list(flights.ALL_SUITES), list[int](), list[int]()
    while (answer := ask(version, suites=left)).suite in left:
        left.remove(answer.suite)
        found.append(answer.suite)
        if answer.prime_bits:
            primes.append(answer.prime_bits)
    return found, primes


def _server_groups(
    ask: Callable[..., Answer], policy: TLSPolicy, versions: Sequence[TLSVersion], material: KeyMaterial
) -> Iterator[str]:
    if not CAN_RESTRICT_GROUPS:  # the creator says so; security level 2 leaves no small ones
        return
    if TLSVersion.TLS_1_3 in versions:
        left, found = list(flights.ALL_GROUPS), list[int]()
        while (group := ask(TLSVersion.TLS_1_3, groups=left).group) in left:
            left.remove(group)
            found.append(group)
        yield from _compare("groups", GROUPS, policy.groups, found)
    elliptic = [SUITES[suite] for suite in policy.cipher_suites if suite.startswith("ECDHE-")]
    if TLSVersion.TLS_1_2 in versions and elliptic:
        # In TLS 1.2 the client's groups limit the curves of certificates as well (RFC 8422 §5.1): offer our own too.
        others = [group for group in flights.ALL_GROUPS if group not in map(GROUPS.get, policy.groups)]
        group = ask(TLSVersion.TLS_1_2, suites=elliptic, groups=[*others, *_own_curve(material)]).group
        if group in others:
            yield f"expected no groups but {', '.join(policy.groups)}, found group {group} in TLS 1.2"


def _server_signatures(
    ask: Callable[..., Answer], policy: TLSPolicy, versions: Sequence[TLSVersion], answer_12: Answer
) -> Iterator[str]:
    allowed = [SIGNATURES.get(name) for name in policy.signature_algorithms]
    others = [each for each in flights.ALL_SIGNATURES if each not in allowed]
    for version in versions:
        share = _key_share(policy.groups[0]) if version is TLSVersion.TLS_1_3 else None
        if ask(version, signature_algorithms=others, key_share=share).suite:
            yield f"expected no signature but by the policy, found one for a client of {version} that takes only others"
    if TLSVersion.TLS_1_2 in versions and policy.client_certificate is not ClientCertificate.NONE:
        # TLS 1.3 encrypts this list, and has no weak signatures that could be on it.
        requested = answer_12.requested_signature_algorithms or ()
        yield from _compare("signature algorithms", SIGNATURES, policy.signature_algorithms, requested)


def _server_extensions(answer: Answer) -> Iterator[str]:
    if answer.compression:
        yield "expected no compression, found that it is agreed to"
    if answer.has_session_id or flights.SESSION_TICKET in answer.extensions:
        yield "expected no resumption, found that TLS 1.2 sessions are given an identifier or a ticket"
    if flights.EXTENDED_MASTER_SECRET not in answer.extensions:
        yield "expected extended_master_secret (RFC 9325 §3.5), found that it is left out"


def _server_in_full(
    creator: ServerConnectionCreator, policy: TLSPolicy, versions: Sequence[TLSVersion], name: str | None
) -> Iterator[str]:
    """What shows only at the end of a handshake: who comes in without a certificate, with a weak one, or once more."""
    rule = policy.client_certificate
    nobody = _stand_in(SSL.TLS_CLIENT_METHOD, policy)
    server = creator.serverConnectionForTLS(None)
    came_in = _meet(server, _calling(nobody, name))
    if came_in is (rule is ClientCertificate.REQUIRED):
        yield f"expected client certificates to be {rule.value}, found a client without one {_let_in(came_in)}"
    for version in versions:
        somebody = _stand_in(SSL.TLS_CLIENT_METHOD, policy, _weak_chain())
        somebody.set_max_proto_version(version)
        server, client = creator.serverConnectionForTLS(None), _calling(somebody, name)
        seen = _lenient(server)
        if not _meet(server, client):
            yield f"expected a handshake of {version} in memory to succeed, found that it fails"
            continue
        if rule is not ClientCertificate.NONE:
            yield from _judge_level(policy, seen)
        again, once_more = creator.serverConnectionForTLS(None), _calling(somebody, name)
        _lenient(again)
        if (session := client.get_session()) is not None:
            once_more.set_session(session)
        if _meet(again, once_more) and was_resumed(once_more):
            yield f"expected no resumption, found that a session of {version} is taken up again"
        if version is TLSVersion.TLS_1_2 and client.renegotiate():
            _meet(server, client)
            if _NO_RENEGOTIATION not in server.evidence.alerts:
                yield "expected renegotiation to be refused, found that it is not"


# A client, known by its own first message -----------------------------------------------------------------------------


def _client(creator: ClientConnectionCreator, policy: TLSPolicy) -> Iterator[str]:
    connection, hello = _first_words(creator)
    versions = _versions(policy)
    yield from _compare("versions", _VERSIONS, map(str, versions), hello.versions)
    suites = [suite for suite in hello.suites if suite != flights.EMPTY_RENEGOTIATION_SCSV]
    expected = policy.tls13_cipher_suites + policy.cipher_suites
    yield from _compare("cipher suites", SUITES, expected, suites, ordered=True)
    if CAN_RESTRICT_GROUPS:  # the creator says so where it is not
        yield from _compare("groups", GROUPS, policy.groups, hello.groups, ordered=True)
    yield from _compare("signature algorithms", SIGNATURES, policy.signature_algorithms, hello.signature_algorithms)
    if any(hello.compressions):
        yield "expected no compression, found that it is offered"
    if flights.SESSION_TICKET in hello.extensions:
        yield "expected no resumption, found that a session ticket is asked for"
    if policy.alpn not in hello.extensions.get(flights.ALPN, b""):
        yield f"expected {policy.alpn.decode()} to be offered by ALPN, found that it is not"
    if not connection.get_verify_mode() & SSL.VERIFY_PEER:
        yield "expected the server's certificate to be verified, found that it is not"
    suite = SUITES[BCP195_SUITE]
    secured = {flights.RENEGOTIATION: b"\0", flights.EXTENDED_MASTER_SECRET: b""}
    for name, version in _OLD_VERSIONS.items():
        if not _refuses(creator, flights.server_hello(version=version, suite=suite, extensions=secured)):
            yield f"expected a server of {name} to be refused, found that it is not"
    if TLSVersion.TLS_1_2 in versions:
        if flights.EXTENDED_MASTER_SECRET not in hello.extensions:
            yield "expected extended_master_secret (RFC 9325 §3.5), found that it is not offered"
        del secured[flights.RENEGOTIATION]
        if not _refuses(creator, flights.server_hello(version=TLSVersion.TLS_1_2, suite=suites[-1], extensions=secured)):
            yield "expected a server without secure renegotiation (RFC 9325 §3.5) to be refused, found that it is not"
    yield from _client_in_full(creator, policy)
