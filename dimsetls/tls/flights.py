"""The first flights of a TLS handshake, written and read by hand, as far as they are in the clear.

A stand-in that goes no further than its first message can offer anything ever registered, needs no keys, and is out
of reach of every setting of OpenSSL's. That is what a check of those settings needs, and whoever asks an old peer
(`node/probe`) for what OpenSSL no longer says. Nothing here encrypts.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

from .policy import TLSVersion

SUITES = {
    "TLS_AES_128_GCM_SHA256": 0x1301, "TLS_AES_256_GCM_SHA384": 0x1302, "TLS_CHACHA20_POLY1305_SHA256": 0x1303,
    "TLS_AES_128_CCM_SHA256": 0x1304,
    "ECDHE-ECDSA-AES128-GCM-SHA256": 0xC02B, "ECDHE-ECDSA-AES256-GCM-SHA384": 0xC02C,
    "ECDHE-RSA-AES128-GCM-SHA256": 0xC02F, "ECDHE-RSA-AES256-GCM-SHA384": 0xC030,
    "ECDHE-ECDSA-AES128-CCM": 0xC0AC, "ECDHE-ECDSA-AES256-CCM": 0xC0AD,
    "ECDHE-RSA-CHACHA20-POLY1305": 0xCCA8, "ECDHE-ECDSA-CHACHA20-POLY1305": 0xCCA9,
    "DHE-RSA-AES128-GCM-SHA256": 0x009E, "DHE-RSA-AES256-GCM-SHA384": 0x009F,
}  # fmt: skip
GROUPS = {"P-256": 23, "P-384": 24, "X25519": 29, "ffdhe2048": 256, "ffdhe3072": 257}
SIGNATURES = {
    "ecdsa_secp256r1_sha256": 0x0403, "ecdsa_secp384r1_sha384": 0x0503, "ed25519": 0x0807,
    "rsa_pss_rsae_sha256": 0x0804, "rsa_pss_rsae_sha384": 0x0805, "rsa_pss_rsae_sha512": 0x0806,
    "rsa_pss_pss_sha256": 0x0809, "rsa_pss_pss_sha384": 0x080A, "rsa_pss_pss_sha512": 0x080B,
    "rsa_pkcs1_sha256": 0x0401, "rsa_pkcs1_sha384": 0x0501, "rsa_pkcs1_sha512": 0x0601,
}  # fmt: skip
"""What the profiles name, by IANA's numbers."""

ALL_SUITES = (*range(0x0001, 0x00FF), *range(0x1301, 0x1308), *range(0xC001, 0xC100), *range(0xCC13, 0xCCAF))
"""Every code point that ever was a cipher suite, and some that were none; but no signalling values."""

FINITE_FIELDS = tuple(range(256, 261))
ALL_GROUPS = (*range(1, 42), *FINITE_FIELDS, 512, 513, 514, 4587, 4588, 4589)
"""Every named group: curves, finite fields, hybrids."""

ALL_SIGNATURES = (
    *(hash_ << 8 | signature for hash_ in range(6, 0, -1) for signature in (1, 2, 3)),  # RFC 5246 §7.4.1.4.1
    0x0804, 0x0805, 0x0806, 0x0807, 0x0808, 0x0809, 0x080A, 0x080B, 0x081A, 0x081B, 0x081C, 0x0904, 0x0905, 0x0906,
)

SERVER_NAME, SUPPORTED_GROUPS, POINT_FORMATS, SIGNATURE_ALGORITHMS, ALPN = 0, 10, 11, 13, 16
ENCRYPT_THEN_MAC, EXTENDED_MASTER_SECRET, SESSION_TICKET = 22, 23, 35
SUPPORTED_VERSIONS, KEY_SHARE, RENEGOTIATION_INFO = 43, 51, 0xFF01
"""Extensions, by IANA's numbers."""

EMPTY_RENEGOTIATION_SCSV = 0x00FF

_SSL_3_0, _TLS_1_0 = 0x0300, 0x0301
_CHANGE_CIPHER_SPEC, _ALERT, _HANDSHAKE, _APPLICATION_DATA = range(0x14, 0x18)
_CLIENT_HELLO, _SERVER_HELLO, _SERVER_KEY_EXCHANGE, _CERTIFICATE_REQUEST, _SERVER_HELLO_DONE = 1, 2, 12, 13, 14
_NAMED_CURVE, _FATAL = 3, 2
_DOWNGRADED = (b"DOWNGRD\x01", b"DOWNGRD\x00")
_FIRST_ELLIPTIC = 0xC001  # no suite below it has curves, and of those above only one that is in use has none
_DHE_CHACHA20 = 0xCCAA
_RANDOM = bytes(32)  # nobody ever finishes one of these handshakes


@dataclass(frozen=True, slots=True)
class ClientHello:
    """What a client offers, by code points (RFC 8446 §4.1.2)."""

    version: int
    suites: tuple[int, ...]
    compressions: bytes = b"\0"
    extensions: dict[int, bytes] = field(default_factory=dict)

    @property
    def versions(self) -> tuple[int, ...]:
        """Those listed, or else the highest of those it means."""
        listed = self.extensions.get(SUPPORTED_VERSIONS)
        return (self.version,) if listed is None else _numbers(listed[1:])

    @property
    def groups(self) -> tuple[int, ...]:
        return _numbers(self.extensions.get(SUPPORTED_GROUPS, b"\0\0")[2:])

    @property
    def signature_algorithms(self) -> tuple[int, ...]:
        return _numbers(self.extensions.get(SIGNATURE_ALGORITHMS, b"\0\0")[2:])


@dataclass(slots=True)
class Answer:
    """What a server answers in the clear: a ServerHello and, up to TLS 1.2, what comes with it; or an alert."""

    alert: int | None = None
    """The first fatal one."""
    version: int = 0
    """0 before the ServerHello."""
    suite: int = 0
    has_session_id: bool = False
    compression: int = 0
    extensions: dict[int, bytes] = field(default_factory=dict)
    is_downgraded: bool = False
    """The server marks that it could have spoken a newer version (RFC 8446 §4.1.3)."""
    group: int = 0
    """0 where there is none, or it is not told in the clear."""
    prime_bits: int = 0
    """Size of the finite field, with DHE up to TLS 1.2."""
    requested_signature_algorithms: tuple[int, ...] | None = None
    """Of the CertificateRequest, up to TLS 1.2; None if there was none."""
    is_complete: bool = False
    """The whole flight is there, up to ServerHelloDone; never in TLS 1.3."""


def client_hello(
    *,
    version: int,
    suites: Iterable[int] = ALL_SUITES,
    groups: Iterable[int] = ALL_GROUPS,
    signature_algorithms: Iterable[int] = ALL_SIGNATURES,
    key_share: tuple[int, bytes] | None = None,
    server_name: str | None = None,
    alpn: bytes = b"dicom",
    compressions: bytes | None = None,
    random: bytes = _RANDOM,
) -> bytes:
    """A ClientHello in its record that offers one version and, but for what is given, everything.

    Up to TLS 1.2 the version is the highest of those that are offered. In TLS 1.3 without a key share the server says
    which group it wants and so much more (HelloRetryRequest).
    """
    extensions = {
        SUPPORTED_GROUPS: _vector(2, _words(groups)),
        POINT_FORMATS: _vector(1, b"\0"),
        SIGNATURE_ALGORITHMS: _vector(2, _words(signature_algorithms)),
        ENCRYPT_THEN_MAC: b"",
        EXTENDED_MASTER_SECRET: b"",
        SESSION_TICKET: b"",
    }
    if alpn:
        extensions[ALPN] = _vector(2, _vector(1, alpn))
    if server_name is not None:
        extensions[SERVER_NAME] = _vector(2, b"\0" + _vector(2, server_name.encode("ascii")))
    if version >= TLSVersion.TLS_1_3:
        extensions[SUPPORTED_VERSIONS] = _vector(1, _words([version]))
        share = b"" if key_share is None else key_share[0].to_bytes(2, "big") + _vector(2, key_share[1])
        extensions[KEY_SHARE] = _vector(2, share)
    if compressions is None:
        compressions = b"\0" if version >= TLSVersion.TLS_1_3 else b"\1\0"
    body = b"".join((
        min(version, TLSVersion.TLS_1_2).to_bytes(2, "big"), random, _vector(1, b""),
        _vector(2, _words([*suites, EMPTY_RENEGOTIATION_SCSV])), _vector(1, compressions),
        _extended(extensions) if version > _SSL_3_0 else b"",  # extensions came with TLS
    ))  # fmt: skip
    return _record(_CLIENT_HELLO, body, min(version, _TLS_1_0))  # what every server can read (RFC 5246 Appendix E.1)


def server_hello(*, version: int, suite: int, extensions: dict[int, bytes]) -> bytes:
    """A ServerHello of TLS 1.2 or before in its record."""
    body = version.to_bytes(2, "big") + _RANDOM + _vector(1, b"") + suite.to_bytes(2, "big") + b"\0"
    return _record(_SERVER_HELLO, body + _extended(extensions))


def read_client_hello(data: bytes) -> ClientHello:
    """What a client of ours offers."""
    body = next(body for kind, body in _messages(data) if kind == _CLIENT_HELLO)
    reader = _Reader(body)
    version, _, _ = reader.number(2), reader.take(32), reader.vector(1)
    return ClientHello(version, _numbers(reader.vector(2)), reader.vector(1), _extensions(reader.vector(2)))


def read_answer(data: bytes) -> Answer:
    """What of a server's answer has come; ValueError if it is no TLS."""
    answer = Answer()
    for kind, body in _records(data):
        if kind == _ALERT and len(body) == 2 and body[0] == _FATAL and answer.alert is None:
            answer.alert = body[1]
    for kind, body in _messages(data):
        reader = _Reader(body)
        if kind == _SERVER_HELLO:
            if len(body) < 38 or len(body) < 38 + body[34]:
                raise ValueError(f"a ServerHello of {len(body)} bytes is too short")
            answer.version, random = reader.number(2), reader.take(32)
            answer.is_downgraded = random[24:] in _DOWNGRADED
            answer.has_session_id = bool(reader.vector(1))
            answer.suite, answer.compression = reader.number(2), reader.number(1)
            answer.extensions = _extensions(reader.vector(2) if reader.left else b"")
            answer.version = int.from_bytes(answer.extensions.get(SUPPORTED_VERSIONS, body[:2]), "big")
            answer.group = int.from_bytes(answer.extensions.get(KEY_SHARE, b"")[:2], "big")
        elif kind == _SERVER_KEY_EXCHANGE and answer.suite >= _FIRST_ELLIPTIC and answer.suite != _DHE_CHACHA20:
            answer.group = int.from_bytes(body[1:3], "big") if body[:1] == bytes((_NAMED_CURVE,)) else 0
        elif kind == _SERVER_KEY_EXCHANGE:
            answer.prime_bits = int.from_bytes(reader.vector(2), "big").bit_length()
        elif kind == _CERTIFICATE_REQUEST:
            reader.vector(1)
            answer.requested_signature_algorithms = _numbers(reader.vector(2))
        elif kind == _SERVER_HELLO_DONE:
            answer.is_complete = bool(answer.version)
    return answer


class _Reader:
    """Bytes that are read from front to back; what is not there reads as nothing."""

    def __init__(self, data: bytes) -> None:
        self.left = data

    def take(self, size: int) -> bytes:
        taken, self.left = self.left[:size], self.left[size:]
        return taken

    def number(self, size: int) -> int:
        return int.from_bytes(self.take(size), "big")

    def vector(self, size: int) -> bytes:
        """What follows its own length, a number of `size` bytes."""
        return self.take(self.number(size))


def _records(data: bytes) -> Iterator[tuple[int, bytes]]:
    """The whole records in the clear: all before the first that may be encrypted."""
    at = 0
    while len(data) - at >= 5:
        kind, length = data[at], int.from_bytes(data[at + 3 : at + 5], "big")
        if not _CHANGE_CIPHER_SPEC <= kind <= _APPLICATION_DATA or data[at + 1] != 3:
            raise ValueError(f"a TLS record cannot begin with {data[at : at + 3].hex(' ')}")
        if kind in (_CHANGE_CIPHER_SPEC, _APPLICATION_DATA) or len(data) - at - 5 < length:
            return
        yield kind, data[at + 5 : at + 5 + length]
        at += 5 + length


def _messages(data: bytes) -> Iterator[tuple[int, bytes]]:
    """The whole handshake messages; one may span records, and a record may hold several (RFC 5246 §6.2.1)."""
    stream = b"".join(body for kind, body in _records(data) if kind == _HANDSHAKE)
    at = 0
    while len(stream) - at >= 4:
        end = at + 4 + int.from_bytes(stream[at + 1 : at + 4], "big")
        if end > len(stream):
            return
        yield stream[at], stream[at + 4 : end]
        at = end


def _extensions(data: bytes) -> dict[int, bytes]:
    reader, found = _Reader(data), {}
    while reader.left:
        number = reader.number(2)
        found[number] = reader.vector(2)
    return found


def _extended(extensions: dict[int, bytes]) -> bytes:
    return _vector(2, b"".join(number.to_bytes(2, "big") + _vector(2, value) for number, value in extensions.items()))


def _record(kind: int, body: bytes, version: int = _TLS_1_0) -> bytes:
    return b"\x16" + version.to_bytes(2, "big") + _vector(2, kind.to_bytes(1, "big") + _vector(3, body))


def _vector(size: int, value: bytes) -> bytes:
    return len(value).to_bytes(size, "big") + value


def _words(values: Iterable[int]) -> bytes:
    return b"".join(value.to_bytes(2, "big") for value in values)


def _numbers(data: bytes) -> tuple[int, ...]:
    return tuple(int.from_bytes(data[at : at + 2], "big") for at in range(0, len(data), 2))
