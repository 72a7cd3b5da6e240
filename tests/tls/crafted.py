"""Handshakes altered on the way, and certificates that no authority should issue."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from datetime import UTC, datetime, timedelta
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from dimsetls.testing import DevelopmentAuthority

HANDSHAKE, ALERT = 0x16, 0x15
CLIENT_HELLO, SERVER_HELLO, CERTIFICATE, SERVER_KEY_EXCHANGE = 1, 2, 11, 12
PLAIN_MESSAGES = (CLIENT_HELLO, SERVER_HELLO, CERTIFICATE, SERVER_KEY_EXCHANGE, 13, 14)
SIGNATURE_ALGORITHMS, PRE_SHARED_KEY, SUPPORTED_VERSIONS, RENEGOTIATION_INFO = 13, 41, 43, 0xFF01
UNASSIGNED = 0x0A0B
"""A number that no extension has."""

Body = Callable[[bytes], bytes]
Extensions = dict[int, bytes]


def records(stream: bytes) -> list[bytes]:
    """The TLS records in a stream (RFC 8446 §5.1)."""
    found = []
    while stream:
        end = 5 + int.from_bytes(stream[3:5], "big")
        found.append(stream[:end])
        stream = stream[end:]
    return found


def record(kind: int, body: bytes, version: int = 0x0303) -> bytes:
    return bytes([kind]) + version.to_bytes(2, "big") + len(body).to_bytes(2, "big") + body


def alert(number: int, level: int = 2) -> bytes:
    """An alert as anybody on the way can send it, since nothing is protected before the end of the handshake."""
    return record(ALERT, bytes([level, number]))


def edit_message(stream: bytes, kind: int, edit: Body) -> bytes:
    """The stream with the body of one plain handshake message edited, and all lengths right again."""
    edited = []
    for each in records(stream):
        body, messages = each[5:], b""
        while each[0] == HANDSHAKE and len(body) >= 4 and body[0] in PLAIN_MESSAGES:
            end = 4 + int.from_bytes(body[1:4], "big")
            message = edit(body[4:end]) if body[0] == kind else body[4:end]
            messages += body[:1] + len(message).to_bytes(3, "big") + message
            body = body[end:]
        edited.append(record(each[0], messages + body, int.from_bytes(each[1:3], "big")))
    return b"".join(edited)


def edit_extensions(edit: Callable[[Extensions], Extensions], *, of_client: bool) -> Body:
    """For edit_message: a hello with other extensions."""

    def edited(hello: bytes) -> bytes:
        at = 35 + hello[34]  # behind version, random and session id
        if of_client:
            at += 2 + int.from_bytes(hello[at:at + 2], "big")
            at += 1 + hello[at]
        else:
            at += 3
        rest, found = hello[at + 2:], {}
        while rest:
            end = 4 + int.from_bytes(rest[2:4], "big")
            found[int.from_bytes(rest[:2], "big")] = rest[4:end]
            rest = rest[end:]
        block = b"".join(number.to_bytes(2, "big") + len(content).to_bytes(2, "big") + content
                         for number, content in edit(found).items())
        return hello[:at] + len(block).to_bytes(2, "big") + block

    return edited


def without(*numbers: int) -> Callable[[Extensions], Extensions]:
    return lambda extensions: {number: content for number, content in extensions.items() if number not in numbers}


def renumbered(old: int, new: int) -> Callable[[Extensions], Extensions]:
    return lambda extensions: {new if number == old else number: body for number, body in extensions.items()}


def flipped(at: int) -> Body:
    """One bit of a byte, counted from the end if negative."""
    return lambda body: body[:at] + bytes([body[at] ^ 1]) + (body[at + 1:] if at != -1 else b"")


# Certificates --------------------------------------------------------------------------------------------------------


def issue(
    issuer: x509.Certificate | None, issuer_key: Any, *, key: Any = None, is_authority: bool = False
) -> tuple[x509.Certificate, Any]:
    """A client's certificate, or an authority's; self-signed if nobody issues it."""
    key, now = key or ec.generate_private_key(ec.SECP256R1()), datetime.now(UTC)
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "authority" if is_authority else "client")])
    unsigned = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer.subject if issuer else subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.BasicConstraints(ca=is_authority, path_length=None), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
    )
    if not is_authority:
        unsigned = unsigned.add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.CLIENT_AUTH]), critical=False)
    return unsigned.sign(issuer_key, SHA256()), key


def forged(certificate: x509.Certificate) -> x509.Certificate:
    """The certificate with a signature that is not its issuer's."""
    der = bytearray(certificate.public_bytes(Encoding.DER))
    der[-1] ^= 1
    return x509.load_der_x509_certificate(bytes(der))


def claiming_sha1(certificate: x509.Certificate) -> x509.Certificate:
    """The certificate of an RSA authority, said to be signed with SHA-1."""
    with_sha256, with_sha1 = bytes.fromhex("2a864886f70d01010b"), bytes.fromhex("2a864886f70d010105")
    return x509.load_der_x509_certificate(certificate.public_bytes(Encoding.DER).replace(with_sha256, with_sha1))


def rsa_key(bits: int) -> Any:
    return rsa.generate_private_key(65537, bits)


def identify(context: Any, certificate: x509.Certificate, key: Any, chain: Iterable[x509.Certificate] = ()) -> None:
    """Have a context present a certificate, however bad."""
    context.set_cipher_list(b"DEFAULT:@SECLEVEL=0")
    context.use_certificate(certificate)
    for each in chain:
        context.add_extra_chain_cert(each)
    context.use_privatekey(key)


def intermediate(authority: DevelopmentAuthority) -> tuple[x509.Certificate, Any]:
    """An authority below `authority`, whose path length does not allow any."""
    return issue(authority.own.certificate, authority.own.private_key, is_authority=True)
