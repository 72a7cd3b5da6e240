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
from . import flights, tickets
from .bindings import (
    CAN_RESTRICT_GROUPS,
    may_resume_without_key_exchange,
    restrict_groups,
    restrict_signature_algorithms,
    takes_early_data,
    was_resumed,
)
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


def key_name(creator: ServerConnectionCreator) -> bytes:
    """The name of the key that the creator makes tickets with, as a ticket shows it; empty if it makes none.

    OpenSSL tells it nowhere else. The stand-in shows no certificate, and its session ends here.
    """
    nobody = _stand_in(SSL.TLS_CLIENT_METHOD, creator.policy)
    server, client, again = creator.serverConnectionForTLS(None), _calling(nobody, None), _calling(nobody, None)
    server.set_verify(SSL.VERIFY_NONE)
    if not _meet(server, client) or (session := client.get_session()) is None:
        return b""
    again.set_session(session)
    _step(again)
    name = tickets.key_name(_written(again))
    assert isinstance(name, bytes)
    return name


def _judge_key(policy: TLSPolicy, material: KeyMaterial) -> None:
    if TLSVersion.TLS_1_2 not in _versions(policy):
        return
    whose = f"the key of certificate {name_of(material.certificate)}"
    if not _suites_for(material, policy):
        raise ConfigurationError(
            f"none of the cipher suites for TLS 1.2 ({', '.join(policy.cipher_suites)}) suits {whose}; expected one of "
            "its kind, or TLS 1.3 as the minimum version"
        )
    # In TLS 1.2 the groups limit the curves of certificates as well (RFC 8422 §5.1).
    if (curve := _own_curve(material)) and curve not in policy.groups:
        raise ConfigurationError(
            f"the groups ({', '.join(policy.groups)}) lack {curve}, the curve of {whose}, without which TLS 1.2 cannot "
            "use it; expected that group as well, or TLS 1.3 as the minimum version"
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

    answers = {version: ask(version) for version in _VERSIONS.values()}
    spoken = [answer.version for answer in answers.values() if answer.version]
    if differences := [*_compare("versions", _VERSIONS, map(str, _versions(policy)), spoken)]:
        yield from differences  # all else would be said of versions that are not there
        return
    differences = [*_server_by_first_words(ask, policy, material, answers[TLSVersion.TLS_1_2])]
    # Without a difference so far, a stand-in that keeps the policy gets to the end of its handshake.
    yield from differences or _server_in_full(creator, policy, name)


def _server_by_first_words(
    ask: Callable[..., Answer], policy: TLSPolicy, material: KeyMaterial, answer_12: Answer
) -> Iterator[str]:
    versions = _versions(policy)
    suites = {TLSVersion.TLS_1_2: _suites_for(material, policy), TLSVersion.TLS_1_3: policy.tls13_cipher_suites}
    for version in versions:
        found, primes = _chosen_suites(ask, version)
        yield from _compare(f"cipher suites of {version}", SUITES, suites[version], found, ordered=True)
        yield from (f"expected DHE of {_SMALLEST_PRIME} bits or more, found {prime}"
                    for prime in primes if prime < _SMALLEST_PRIME)
    yield from _server_groups(ask, policy, versions, material)
    yield from _server_signatures(ask, policy, versions, answer_12)
    if TLSVersion.TLS_1_2 in versions:
        yield from _server_extensions(answer_12)


def _chosen_suites(ask: Callable[..., Answer], version: TLSVersion) -> tuple[list[int], list[int]]:
    """Offer every suite, take away the one chosen, and again until none is: all that are left then are refused."""
    left, found, primes = list(flights.ALL_SUITES), list[int](), list[int]()
    # Newer versions of OpenSSL choose no DHE if finite fields are offered by name and none is shared (RFC 7919).
    groups = [group for group in flights.ALL_GROUPS if group not in flights.FINITE_FIELDS]
    while (answer := ask(version, suites=left, groups=groups)).suite in left:
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
        # In TLS 1.2 the client's groups limit the curves of certificates as well (RFC 8422 §5.1), so offer our own too.
        # A group that is liked less than that one goes unseen here; TLS 1.3 has shown it, as both have one list.
        others = [group for group in flights.ALL_GROUPS if group not in map(GROUPS.get, policy.groups)]
        own = [GROUPS[curve]] if (curve := _own_curve(material)) else []
        group = ask(TLSVersion.TLS_1_2, suites=elliptic, groups=[*others, *own]).group
        if group in others:
            yield f"expected no groups but {', '.join(policy.groups)}, found group {group} in TLS 1.2"


def _server_signatures(
    ask: Callable[..., Answer], policy: TLSPolicy, versions: Sequence[TLSVersion], answer_12: Answer
) -> Iterator[str]:
    allowed = [SIGNATURES.get(name) for name in policy.signature_algorithms]
    others = [each for each in flights.ALL_SIGNATURES if each not in allowed]
    for version in versions:
        share = _key_share(policy) if version is TLSVersion.TLS_1_3 else None
        if version is TLSVersion.TLS_1_3 and share is None:
            continue
        if ask(version, signature_algorithms=others, key_share=share).suite:
            yield f"expected no signature but by the policy, found one for a client of {version} that takes only others"
    if TLSVersion.TLS_1_2 in versions and policy.client_certificate is not ClientCertificate.NONE:
        # TLS 1.3 encrypts this list, and has no weak signatures that could be on it.
        requested = answer_12.requested_signature_algorithms
        if requested is None:
            yield "expected a client certificate to be asked for, found that it is not"
        else:
            yield from _compare("signature algorithms", SIGNATURES, policy.signature_algorithms, requested)


def _server_extensions(answer: Answer) -> Iterator[str]:
    if answer.compression:
        yield "expected no compression, found that it is agreed to"
    if answer.has_session_id or flights.SESSION_TICKET in answer.extensions:
        yield "expected no resumption, found that TLS 1.2 sessions are given an identifier or a ticket"
    if flights.EXTENDED_MASTER_SECRET not in answer.extensions:
        yield "expected extended_master_secret (RFC 9325 §3.5), found that it is left out"


def _server_in_full(creator: ServerConnectionCreator, policy: TLSPolicy, name: str | None) -> Iterator[str]:
    """What shows only at the end of a handshake: who comes in without a certificate, with a weak one, or once more."""
    rule = policy.client_certificate
    nobody = _stand_in(SSL.TLS_CLIENT_METHOD, policy)
    server = creator.serverConnectionForTLS(None)
    came_in = _meet(server, _calling(nobody, name))
    if came_in is (rule is ClientCertificate.REQUIRED):
        yield f"expected client certificates to be {rule.value}, found a client without one {_let_in(came_in)}"
    for version in _versions(policy):
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
        is_expected = version is TLSVersion.TLS_1_3 and creator.resumption is not None
        is_resumed = _meet(again, once_more) and was_resumed(once_more)
        if is_resumed and not is_expected:
            yield f"expected no resumption, found that a session of {version} is taken up again"
        elif is_expected and not is_resumed:
            yield f"expected a session of {version} to be taken up again, found that it is not"
        elif is_expected and may_resume_without_key_exchange(again):
            yield "expected a key exchange with each resumption (RFC 9325 §3.4), found that there need be none"
        elif is_expected and session is not None and takes_early_data(session):
            yield "expected no early data (RFC 8446 §8), found that it is taken"
        if version is TLSVersion.TLS_1_2 and client.renegotiate():
            _meet(server, client)
            if _NO_RENEGOTIATION not in server.evidence.alerts:
                yield "expected renegotiation to be refused, found that it is not"


# A client, known by its own first message -----------------------------------------------------------------------------


def _client(creator: ClientConnectionCreator, policy: TLSPolicy) -> Iterator[str]:
    connection, hello = _first_words(creator)
    versions = _versions(policy)
    if differences := [*_compare("versions", _VERSIONS, map(str, versions), hello.versions)]:
        yield from differences
        return
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
    suite = suites[-1]
    secured = {flights.RENEGOTIATION_INFO: b"\0", flights.EXTENDED_MASTER_SECRET: b""}
    for name, version in _OLD_VERSIONS.items():
        if not _refuses(creator, flights.server_hello(version=version, suite=suite, extensions=secured)):
            yield f"expected a server of {name} to be refused, found that it is not"
    if TLSVersion.TLS_1_2 in versions:
        if flights.EXTENDED_MASTER_SECRET not in hello.extensions:
            yield "expected extended_master_secret (RFC 9325 §3.5), found that it is not offered"
        del secured[flights.RENEGOTIATION_INFO]
        if not _refuses(creator, flights.server_hello(version=TLSVersion.TLS_1_2, suite=suite, extensions=secured)):
            yield "expected a server without secure renegotiation (RFC 9325 §3.5) to be refused, found that it is not"
    yield from _client_in_full(creator, policy)


def _first_words(creator: ClientConnectionCreator) -> tuple[ObservedConnection, flights.ClientHello]:
    connection = creator.clientConnectionForTLS(None)
    _step(connection)
    return connection, flights.read_client_hello(_written(connection))


def _refuses(creator: ClientConnectionCreator, hello: bytes) -> bool:
    connection, _ = _first_words(creator)
    connection.bio_write(hello)
    _step(connection)
    return flights.read_answer(_written(connection)).alert is not None


def _client_in_full(creator: ClientConnectionCreator, policy: TLSPolicy) -> Iterator[str]:
    if not policy.tls13_cipher_suites and not any("ECDSA" in suite for suite in policy.cipher_suites):
        return  # the stand-in has no key for them, and the security level is the same for all
    client = creator.clientConnectionForTLS(None)
    seen = _lenient(client)
    server = SSL.Connection(_stand_in(SSL.TLS_SERVER_METHOD, policy, _weak_chain()), None)
    server.set_accept_state()
    _meet(server, client)
    yield from _judge_level(policy, seen)


# What both have in common ---------------------------------------------------------------------------------------------


def _versions(policy: TLSPolicy) -> list[TLSVersion]:
    return [version for version in TLSVersion if policy.minimum_version <= version <= policy.maximum_version]


def _suites_for(material: KeyMaterial, policy: TLSPolicy) -> tuple[str, ...]:
    """The suites for TLS 1.2 that can be authenticated with the key; ECDSA stands for EdDSA too (RFC 8422 §5.10)."""
    kind = "-RSA-" if isinstance(material.private_key, rsa.RSAPrivateKey) else "-ECDSA-"
    return tuple(suite for suite in policy.cipher_suites if kind in suite)


def _own_curve(material: KeyMaterial) -> str:
    """The group of a key for ECDSA; empty for others."""
    key = material.private_key
    if not isinstance(key, ec.EllipticCurvePrivateKey):
        return ""
    return {"secp256r1": "P-256", "secp384r1": "P-384"}[key.curve.name]


def _key_share(policy: TLSPolicy) -> tuple[int, bytes] | None:
    """A public key, whose private one nobody needs, for the policy's first elliptic curve."""
    for group in policy.groups:
        if group == "X25519":
            return GROUPS[group], (9).to_bytes(32, "little")  # the base point
        if group in ("P-256", "P-384"):
            key = ec.derive_private_key(1, ec.SECP256R1() if group == "P-256" else ec.SECP384R1()).public_key()
            return GROUPS[group], key.public_bytes(Encoding.X962, PublicFormat.UncompressedPoint)
    return None


def _compare(
    what: str, codes: Mapping[str, int], expected: Iterable[str], found: Iterable[int], *, ordered: bool = False
) -> Iterator[str]:
    names = {code: name for name, code in codes.items()}
    wanted, got = list(expected), [names.get(code, f"{code:04X}H") for code in found]
    differences = []
    if extra := [name for name in got if name not in wanted]:
        differences.append(f"{', '.join(extra)} as well")
    if missing := [name for name in wanted if name not in got]:
        differences.append(f"no {', '.join(missing)}")
    if ordered and not differences and wanted != got:
        differences.append(f"them in the order {', '.join(got)}")
    if differences:
        yield f"expected the {what} of the profile, found {' and '.join(differences)}"


def _judge_level(policy: TLSPolicy, seen: Sequence[int]) -> Iterator[str]:
    """Security level 2 objects to RSA keys of 1024 bits, level 1 does not."""
    if policy.security_level >= 2 and Code.AUTHORITY_KEY_TOO_SMALL not in seen:
        yield f"expected security level {policy.security_level}, found that an RSA key of 1024 bits is good enough"


def _let_in(came_in: bool) -> str:
    return "let in" if came_in else "shut out"


def _step(connection: SSL.Connection) -> bool:
    """Go on as far as it goes; whether the handshake is complete."""
    try:
        connection.do_handshake()
    except SSL.Error:
        return False
    try:
        connection.recv(1)  # takes in what comes after: a ticket, or a wish to renegotiate
    except SSL.Error:
        pass
    return True


def _written(connection: SSL.Connection) -> bytes:
    try:
        return connection.bio_read(_WHOLE_FLIGHT)
    except SSL.WantReadError:
        return b""


def _meet(server: SSL.Connection, client: SSL.Connection) -> bool:
    """Carry bytes both ways until nothing moves; whether the server's handshake is complete."""
    while True:
        _step(client)
        if words := _written(client):
            server.bio_write(words)
        complete = _step(server)
        if not (answer := _written(server)):
            return complete
        client.bio_write(answer)


def _lenient(connection: SSL.Connection) -> list[int]:
    """Have the connection accept any certificate, and note what would have been found wrong with it."""
    seen: list[int] = []

    def note(_connection: SSL.Connection, _certificate: object, code: int, _depth: int, accepted: int) -> bool:
        if not accepted:
            seen.append(code)
        return True

    connection.set_verify(connection.get_verify_mode(), note)
    return seen


def _stand_in(method: int, policy: TLSPolicy, material: KeyMaterial | None = None) -> SSL.Context:
    """A peer that agrees to the policy, and minds no weakness of its own."""
    context = SSL.Context(method)
    context.set_min_proto_version(policy.minimum_version)
    context.set_max_proto_version(policy.maximum_version)
    context.set_cipher_list(b"ALL:@SECLEVEL=0")
    if policy.tls13_cipher_suites:
        context.set_tls13_ciphersuites(":".join(policy.tls13_cipher_suites).encode())
    restrict_groups(context, policy.groups)
    restrict_signature_algorithms(context, policy.signature_algorithms)
    if material is not None:
        context.use_certificate(material.certificate)
        context.add_extra_chain_cert(material.chain[1])
        context.use_privatekey(material.private_key)
    return context


def _calling(context: SSL.Context, name: str | None) -> SSL.Connection:
    connection = SSL.Connection(context, None)
    connection.set_connect_state()
    connection.set_alpn_protos([b"dicom"])
    if name is not None:
        connection.set_tlsext_host_name(name.encode("ascii"))
    return connection


@cache
def _weak_chain() -> KeyMaterial:
    """A sound certificate under an authority whose key is too small. Nobody trusts it, and its keys are not kept."""
    small = rsa.generate_private_key(65537, 1024)  # noqa: S505 - that is what it is for
    own = ed25519.Ed25519PrivateKey.generate()
    now, forever = datetime(2000, 1, 1, tzinfo=UTC), datetime(2999, 1, 1, tzinfo=UTC)
    authority, leaf = (
        x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)]) for name in ("weak authority", "stand-in")
    )
    keys = ((leaf, own.public_key(), False), (authority, small.public_key(), True))
    chain = tuple(
        x509.CertificateBuilder().subject_name(subject).issuer_name(authority).public_key(key)
        .serial_number(x509.random_serial_number()).not_valid_before(now).not_valid_after(forever)
        .add_extension(x509.BasicConstraints(ca=is_authority, path_length=None), critical=True)
        .sign(small, SHA256())
        for subject, key, is_authority in keys
    )
    return KeyMaterial(chain, own)
