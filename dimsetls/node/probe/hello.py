"""The first words of TLS to an old peer, which OpenSSL no longer says, and what there is to say of its answer.

The words are those of `tls/flights.py`: a ClientHello that offers anything ever registered; the answer to it, up to
TLS 1.2, is in the clear. The caller hangs up after it.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from enum import Enum

from ...tls import flights

SSL_3_0, TLS_1_0, TLS_1_1, TLS_1_2, TLS_1_3 = range(0x0300, 0x0305)
VERSIONS = {SSL_3_0: "SSL 3.0", TLS_1_0: "TLS 1.0", TLS_1_1: "TLS 1.1", TLS_1_2: "TLS 1.2", TLS_1_3: "TLS 1.3"}
"""Protocol versions as on the wire."""

NULL_COMPRESSION, DEFLATE = 0, 1

LARGEST_FLIGHT = 64 * 1024
"""Bytes of an answer that are looked at; a long chain of certificates has some ten thousand."""


class SuiteClass(Enum):
    """What is to be said of a cipher suite, worst first (RFC 9325 §4.1, §4.2)."""

    NULL = "without encryption (NULL)"
    ANONYMOUS = "without authentication (anonymous key exchange)"
    BROKEN = "with broken ciphers (RC4, DES, export)"
    TRIPLE_DES = "with 3DES"
    STATIC = "without forward secrecy (static RSA or ECDH)"
    CBC = "with CBC"
    DHE = "with finite-field DHE"
    RECOMMENDED = "with ECDHE and AEAD"


SUITES: dict[SuiteClass, dict[int, str]] = {
    SuiteClass.NULL: {
        0x0001: "RSA_WITH_NULL_MD5", 0x0002: "RSA_WITH_NULL_SHA", 0x003B: "RSA_WITH_NULL_SHA256",
        0xC006: "ECDHE_ECDSA_WITH_NULL_SHA", 0xC010: "ECDHE_RSA_WITH_NULL_SHA",
    },
    SuiteClass.ANONYMOUS: {
        0x0018: "DH_anon_WITH_RC4_128_MD5", 0x001B: "DH_anon_WITH_3DES_EDE_CBC_SHA",
        0x0034: "DH_anon_WITH_AES_128_CBC_SHA", 0x003A: "DH_anon_WITH_AES_256_CBC_SHA",
        0x00A6: "DH_anon_WITH_AES_128_GCM_SHA256", 0x00A7: "DH_anon_WITH_AES_256_GCM_SHA384",
        0xC015: "ECDH_anon_WITH_NULL_SHA", 0xC016: "ECDH_anon_WITH_RC4_128_SHA",
        0xC017: "ECDH_anon_WITH_3DES_EDE_CBC_SHA", 0xC018: "ECDH_anon_WITH_AES_128_CBC_SHA",
        0xC019: "ECDH_anon_WITH_AES_256_CBC_SHA",
    },
    SuiteClass.BROKEN: {
        0x0003: "RSA_EXPORT_WITH_RC4_40_MD5", 0x0006: "RSA_EXPORT_WITH_RC2_CBC_40_MD5",
        0x0008: "RSA_EXPORT_WITH_DES40_CBC_SHA", 0x0014: "DHE_RSA_EXPORT_WITH_DES40_CBC_SHA",
        0x0009: "RSA_WITH_DES_CBC_SHA", 0x0015: "DHE_RSA_WITH_DES_CBC_SHA",
        0x0004: "RSA_WITH_RC4_128_MD5", 0x0005: "RSA_WITH_RC4_128_SHA",
        0xC007: "ECDHE_ECDSA_WITH_RC4_128_SHA", 0xC011: "ECDHE_RSA_WITH_RC4_128_SHA",
    },
    SuiteClass.TRIPLE_DES: {
        0x000A: "RSA_WITH_3DES_EDE_CBC_SHA", 0x0016: "DHE_RSA_WITH_3DES_EDE_CBC_SHA",
        0xC008: "ECDHE_ECDSA_WITH_3DES_EDE_CBC_SHA", 0xC012: "ECDHE_RSA_WITH_3DES_EDE_CBC_SHA",
    },
    SuiteClass.STATIC: {
        0x002F: "RSA_WITH_AES_128_CBC_SHA", 0x0035: "RSA_WITH_AES_256_CBC_SHA",
        0x003C: "RSA_WITH_AES_128_CBC_SHA256", 0x003D: "RSA_WITH_AES_256_CBC_SHA256",
        0x009C: "RSA_WITH_AES_128_GCM_SHA256", 0x009D: "RSA_WITH_AES_256_GCM_SHA384",
        0x0041: "RSA_WITH_CAMELLIA_128_CBC_SHA", 0x0084: "RSA_WITH_CAMELLIA_256_CBC_SHA",
        0xC004: "ECDH_ECDSA_WITH_AES_128_CBC_SHA", 0xC005: "ECDH_ECDSA_WITH_AES_256_CBC_SHA",
        0xC00E: "ECDH_RSA_WITH_AES_128_CBC_SHA", 0xC00F: "ECDH_RSA_WITH_AES_256_CBC_SHA",
        0xC02D: "ECDH_ECDSA_WITH_AES_128_GCM_SHA256", 0xC031: "ECDH_RSA_WITH_AES_128_GCM_SHA256",
    },
    SuiteClass.CBC: {
        0xC009: "ECDHE_ECDSA_WITH_AES_128_CBC_SHA", 0xC00A: "ECDHE_ECDSA_WITH_AES_256_CBC_SHA",
        0xC013: "ECDHE_RSA_WITH_AES_128_CBC_SHA", 0xC014: "ECDHE_RSA_WITH_AES_256_CBC_SHA",
        0xC023: "ECDHE_ECDSA_WITH_AES_128_CBC_SHA256", 0xC024: "ECDHE_ECDSA_WITH_AES_256_CBC_SHA384",
        0xC027: "ECDHE_RSA_WITH_AES_128_CBC_SHA256", 0xC028: "ECDHE_RSA_WITH_AES_256_CBC_SHA384",
    },
    SuiteClass.DHE: {
        0x009E: "DHE_RSA_WITH_AES_128_GCM_SHA256", 0x009F: "DHE_RSA_WITH_AES_256_GCM_SHA384",
        0xCCAA: "DHE_RSA_WITH_CHACHA20_POLY1305_SHA256",
        0x0033: "DHE_RSA_WITH_AES_128_CBC_SHA", 0x0039: "DHE_RSA_WITH_AES_256_CBC_SHA",
        0x0067: "DHE_RSA_WITH_AES_128_CBC_SHA256", 0x006B: "DHE_RSA_WITH_AES_256_CBC_SHA256",
    },
    SuiteClass.RECOMMENDED: {
        0xC02C: "ECDHE_ECDSA_WITH_AES_256_GCM_SHA384", 0xC030: "ECDHE_RSA_WITH_AES_256_GCM_SHA384",
        0xC02B: "ECDHE_ECDSA_WITH_AES_128_GCM_SHA256", 0xC02F: "ECDHE_RSA_WITH_AES_128_GCM_SHA256",
        0xCCA9: "ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256", 0xCCA8: "ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256",
    },
}  # fmt: skip
"""Code point to IANA's name without the prefix TLS_, for every suite that we offer by hand."""

CLASS_OF = {suite: kind for kind, suites in SUITES.items() for suite in suites}

GROUPS = {
    1: "sect163k1", 2: "sect163r1", 3: "sect163r2", 4: "sect193r1", 5: "sect193r2", 15: "secp160k1", 16: "secp160r1",
    17: "secp160r2", 18: "secp192k1", 19: "secp192r1", 20: "secp224k1", 21: "secp224r1", 22: "secp256k1",
    23: "P-256", 24: "P-384", 25: "P-521", 29: "X25519", 30: "X448",
    256: "ffdhe2048", 257: "ffdhe3072", 258: "ffdhe4096", 4587: "SecP256r1MLKEM768", 4588: "X25519MLKEM768",
}  # fmt: skip
P_256, P_384, X25519 = 23, 24, 29
SMALL_GROUPS = (15, 16, 17, 18, 19, 1, 2, 3, 4, 5)
"""Groups of less than 224 bits, which MUST NOT be used (RFC 9325 §4.5)."""

_SIGNATURE_ALGORITHMS = (0x0403, 0x0503, 0x0603, 0x0804, 0x0805, 0x0806, 0x0401, 0x0501, 0x0601, 0x0203, 0x0201)

FAREWELL = b"\x15\x03\x03\x00\x02\x02\x5a"
"""user_canceled: how to leave a handshake that was never meant to be completed (RFC 8446 §6.1)."""


@dataclass(frozen=True, slots=True)
class ServerFlight:
    """What the server's answer to a ClientHello says in the clear."""

    version: int
    suite: int
    compression: int
    extensions: frozenset[int]
    downgraded: bool = False
    """The server marks that it could have spoken a newer version (RFC 8446 §4.1.3)."""
    group: str = ""
    """The key exchange group; empty where it cannot be seen."""
    dh_bits: int = 0
    """Size of the finite-field group, with DHE up to TLS 1.2."""
    certificate_requested: bool = False
    """Up to TLS 1.2; in TLS 1.3 it is encrypted."""
    complete: bool = False
    """The whole flight is there, up to ServerHelloDone; never in TLS 1.3."""


def client_hello(
    random: bytes,
    suites: Iterable[int],
    *,
    version: int = TLS_1_2,
    groups: Iterable[int] = (X25519, P_256, P_384),
    server_name: str | None = None,
    alpn: bytes = b"",
    compressions: Iterable[int] = (NULL_COMPRESSION,),
) -> bytes:
    """A ClientHello in its record, `version` being the highest offered (RFC 5246 §7.4.1.2); `random` has 32 bytes."""
    return flights.client_hello(
        version=version, suites=suites, groups=groups, signature_algorithms=_SIGNATURE_ALGORITHMS,
        server_name=server_name, alpn=alpn, compressions=bytes(compressions), random=random,
    )  # fmt: skip


def read_flight(data: bytes) -> ServerFlight | None:
    """What can be read of a server's answer so far, None before its ServerHello; ValueError if it is no TLS."""
    answer = flights.read_answer(data)
    if not answer.version:
        return None
    exchange = suite_name(answer.suite)
    return ServerFlight(
        version=answer.version,
        suite=answer.suite,
        compression=answer.compression,
        extensions=frozenset(answer.extensions),
        downgraded=answer.is_downgraded,
        group=GROUPS.get(answer.group, f"group {answer.group}") if answer.group else "",
        dh_bits=answer.prime_bits if exchange.startswith("TLS_DH") else 0,
        certificate_requested=answer.requested_signature_algorithms is not None,
        complete=answer.is_complete,
    )


def read_alert(data: bytes) -> int | None:
    """The number of the first fatal alert in the clear, if there is one; ValueError if the bytes are no TLS."""
    return flights.read_answer(data).alert


def suite_name(suite: int) -> str:
    """As IANA has it, for a suite that we offer by hand."""
    kind = CLASS_OF.get(suite)
    return f"TLS_{SUITES[kind][suite]}" if kind is not None else f"{suite:04X}H"


def version_name(version: int) -> str:
    return VERSIONS.get(version, f"TLS version {version:04X}H")
