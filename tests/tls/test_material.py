from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import dsa, ec, ed25519, rsa
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    NoEncryption,
    PrivateFormat,
)
from cryptography.x509.oid import NameOID

from dimsetls.errors import ConfigurationError
from dimsetls.tls.authority import DevelopmentAuthority
from dimsetls.tls.material import KeyMaterial, TrustRoots
from dimsetls.tls.passphrase import Passphrase

YESTERDAY = datetime.now(UTC) - timedelta(days=1)


@pytest.fixture
def pki(tmp_path: Path, authority: Any) -> Callable[..., tuple[Path, Path]]:
    """Write certificate and key files; either content may be replaced."""
    def write(issued: Any = None, *, certificate: bytes | None = None, key: bytes | None = None) -> tuple[Path, Path]:
        issued = issued or authority.issue_server()
        certificate_path, key_path = tmp_path / "node.pem", tmp_path / "node.key"
        certificate_path.write_bytes(issued.certificate_pem if certificate is None else certificate)
        key_path.write_bytes(issued.private_key_pem if key is None else key)
        key_path.chmod(0o600)
        return certificate_path, key_path

    return write


def problems(load: Callable[..., object], *paths: Path) -> list[str]:
    with pytest.raises(ConfigurationError) as caught:
        load(*paths)
    return list(caught.value.problems)


def sha1_signed(certificate: x509.Certificate) -> bytes:
    """The certificate as if it were signed with SHA-1: the identifier of the algorithm is changed in both places."""
    sha256, sha1 = bytes.fromhex("2a864886f70d01010b"), bytes.fromhex("2a864886f70d010105")
    der = certificate.public_bytes(Encoding.DER)
    assert der.count(sha256) == 2
    return x509.load_der_x509_certificate(der.replace(sha256, sha1)).public_bytes(Encoding.PEM)


@pytest.mark.parametrize("make", [
    lambda: ec.generate_private_key(ec.SECP256R1()),
    lambda: ec.generate_private_key(ec.SECP384R1()),
    lambda: rsa.generate_private_key(65537, 2048),
    ed25519.Ed25519PrivateKey.generate,
])
def test_good_material_is_loaded(pki, authority, make):
    issued = authority.issue_server(private_key=make())
    material = KeyMaterial.load(*pki(issued))
    assert material.certificate == issued.certificate
    assert material.private_key.public_key() == issued.private_key.public_key()


def test_a_chain_is_loaded_in_its_order(pki, authority):
    issued = authority.issue_server()
    paths = pki(issued, certificate=issued.certificate_pem + authority.own.certificate_pem)
    assert KeyMaterial.load(*paths).chain == (issued.certificate, authority.own.certificate)


def test_one_file_may_hold_both(pki, authority):
    issued = authority.issue_server()
    _, both = pki(issued, key=issued.private_key_pem + issued.certificate_pem)
    assert KeyMaterial.load(both, both).certificate == issued.certificate


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o660, 0o644, 0o610])
def test_a_key_that_others_can_read_is_refused(pki, mode):
    certificate, key = pki()
    key.chmod(mode)
    [sentence] = problems(KeyMaterial.load, certificate, key)
    found, expected = f"(mode {mode:04o})", f"expected 0600 or 0400: chmod 600 {key}"
    assert sentence == f"key file {key} is open to group or others {found}; {expected}"


def test_missing_files_are_all_named(tmp_path):
    found = problems(KeyMaterial.load, tmp_path / "no.pem", tmp_path / "no.key")
    assert found == [
        f"certificate file {tmp_path / 'no.pem'} cannot be read: No such file or directory; expected a PEM file",
        f"key file {tmp_path / 'no.key'} cannot be read: No such file or directory; expected a private key in PEM",
    ]


def test_directories_are_no_files(tmp_path):
    assert [": Is a directory;" in each for each in problems(KeyMaterial.load, tmp_path, tmp_path)] == [True, True]


@pytest.mark.parametrize(("content", "kind"), [
    (b"", "nothing"),
    (b"hello\n", "no PEM"),
    (b"\x30\x82\x01\x00", "binary (DER or PKCS #12)"),
    (b"-----BEGIN CERTIFICATE-----\nAAAA\n-----BEGIN PRIVATE KEY-----\nAAAA\n", "damaged PEM"),
])
def test_files_that_hold_something_else(pki, content, kind):
    certificate, key = pki(certificate=content, key=content)
    assert problems(KeyMaterial.load, certificate, key) == [
        f"certificate file {certificate} holds {kind}; expected one or more certificates in PEM",
        f"key file {key} holds {kind}; expected a private key in PEM",
    ]


def test_files_put_in_each_other_s_place(pki, authority):
    issued = authority.issue_server()
    certificate, key = pki(certificate=issued.private_key_pem, key=issued.certificate_pem)
    assert problems(KeyMaterial.load, certificate, key) == [
        f"certificate file {certificate} holds a private key; expected one or more certificates in PEM",
        f"key file {key} holds a certificate; expected a private key in PEM",
    ]


def test_an_encrypted_key_is_refused_without_asking(pki, authority):
    issued = authority.issue_server()
    pem = issued.private_key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, BestAvailableEncryption(b"secret"))
    certificate, key = pki(issued, key=pem)
    [sentence] = problems(KeyMaterial.load, certificate, key)
    assert sentence.startswith(f"key file {key}: found that it is encrypted, expected its passphrase from ")


def test_a_key_of_another_kind_is_refused(pki):
    pem = dsa.generate_private_key(2048).private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    certificate, key = pki(key=pem)
    assert problems(KeyMaterial.load, certificate, key) == [
        f"key file {key} holds a key that TLS here does not use; expected RSA, ECDSA or Ed25519"
    ]


def test_a_key_of_another_certificate_is_refused(pki, authority):
    certificate, key = pki(key=authority.issue_server().private_key_pem)
    [sentence] = problems(KeyMaterial.load, certificate, key)
    assert sentence.startswith(f"key file {key} does not belong to ")
    assert str(certificate) in sentence


def test_a_chain_in_the_wrong_order_is_told_from_a_wrong_key(pki, authority):
    issued = authority.issue_server()
    certificate, key = pki(issued, certificate=authority.own.certificate_pem + issued.certificate_pem)
    [sentence] = problems(KeyMaterial.load, certificate, key)
    assert "expected the end entity's certificate first, then its issuers" in sentence


def test_certificates_out_of_date_are_refused(pki, authority):
    [sentence] = problems(KeyMaterial.load, *pki(authority.issue_server("CT", not_after=YESTERDAY)))
    assert f"expired on {YESTERDAY:%Y-%m-%d %H:%M} UTC" in sentence
    assert "CN=CT" in sentence
    tomorrow = datetime.now(UTC) + timedelta(days=1)
    [sentence] = problems(KeyMaterial.load, *pki(authority.issue_server(not_before=tomorrow)))
    assert f"is not valid before {tomorrow:%Y-%m-%d %H:%M} UTC" in sentence


@pytest.mark.parametrize(("make", "words"), [
    (lambda: rsa.generate_private_key(65537, 1024), "has an RSA key of 1024 bits; expected 2048 or more"),
    (lambda: ec.generate_private_key(ec.SECP224R1()), "key on curve secp224r1; expected secp256r1 or secp384r1"),
    (lambda: ec.generate_private_key(ec.SECP256K1()), "key on curve secp256k1; expected secp256r1 or secp384r1"),
    (lambda: ec.generate_private_key(ec.SECP521R1()), "key on curve secp521r1; expected secp256r1 or secp384r1"),
])
def test_weak_or_unusable_keys_are_refused(pki, authority, make, words):
    certificate, key = pki(authority.issue_server(private_key=make()))
    [sentence] = problems(KeyMaterial.load, certificate, key)
    assert words in sentence
    assert any(words in each for each in problems(TrustRoots.load, certificate))


def test_sha_1_is_refused(pki, tmp_path):
    """Signed by an RSA root, since the two identifiers of RSA have one length."""
    key = rsa.generate_private_key(65537, 2048)
    now = datetime.now(UTC)
    leaf, root = (x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)]) for name in ("leaf", "root"))
    good = (
        x509.CertificateBuilder().subject_name(leaf).issuer_name(root).public_key(key.public_key()).serial_number(1)
        .not_valid_before(now - timedelta(1)).not_valid_after(now + timedelta(1)).sign(key, SHA256())
    )
    pem = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    assert KeyMaterial.load(*pki(certificate=good.public_bytes(Encoding.PEM), key=pem)).certificate == good
    [sentence] = problems(KeyMaterial.load, *pki(certificate=sha1_signed(good), key=pem))
    assert sentence.endswith("is signed with SHA1; expected SHA-256 or better")


def test_all_problems_come_at_once(pki, authority):
    small = rsa.generate_private_key(65537, 1024)
    certificate, key = pki(
        authority.issue_server(private_key=small, not_after=YESTERDAY), key=authority.issue_server().private_key_pem
    )
    key.chmod(0o644)
    found = problems(KeyMaterial.load, certificate, key)
    assert [next(word for word in ("open to", "expired", "1024 bits", "belong") if word in each) for each in found] == [
        "open to", "expired", "1024 bits", "belong"
    ]


def test_several_trust_roots_are_loaded(tmp_path, authority, stranger):
    path = tmp_path / "roots.pem"
    path.write_bytes(authority.own.certificate_pem + b"# the old one\n" + stranger.own.certificate_pem)
    assert TrustRoots.load(path).certificates == (authority.own.certificate, stranger.own.certificate)


def test_an_outdated_root_is_let_pass_beside_a_good_one_and_refused_alone(tmp_path, authority):
    path = tmp_path / "roots.pem"
    old = authority.issue_server("old", not_after=YESTERDAY)
    path.write_bytes(old.certificate_pem + authority.own.certificate_pem)
    assert len(TrustRoots.load(path).certificates) == 2
    path.write_bytes(old.certificate_pem)
    [sentence] = problems(TrustRoots.load, path)
    assert sentence.startswith('trust root "CN=old,')


@pytest.mark.parametrize("content", [b"", b"hello"])
def test_a_file_without_roots_is_refused_once(tmp_path, content):
    path = tmp_path / "roots.pem"
    path.write_bytes(content)
    [sentence] = problems(TrustRoots.load, path)
    assert str(path) in sentence


def test_no_message_and_no_repr_shows_a_key(pki, authority):
    issued = authority.issue_server()
    body = issued.private_key_pem.splitlines()[1].decode()
    certificate, key = pki(issued, key=issued.private_key_pem[:60] + b"damaged" + issued.private_key_pem[60:])
    assert body[:20] not in "\n".join(problems(KeyMaterial.load, certificate, key))
    assert "PrivateKey" not in repr(KeyMaterial.load(*pki(issued)))


def encrypted(issued: Any, passphrase: bytes = b"open sesame") -> bytes:
    return issued.private_key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, BestAvailableEncryption(passphrase))


def test_an_encrypted_key_is_opened_with_its_passphrase(pki, authority):
    issued = authority.issue_server()
    material = KeyMaterial.load(*pki(issued, key=encrypted(issued)), lambda: b"open sesame")
    assert material.private_key.private_numbers() == issued.private_key.private_numbers()


def test_a_wrong_passphrase_is_one_sentence_without_it(pki, authority):
    issued = authority.issue_server()
    certificate, key = pki(issued, key=encrypted(issued))
    with pytest.raises(ConfigurationError) as caught:
        KeyMaterial.load(certificate, key, lambda: b"close sesame")
    assert caught.value.problems == (
        f"key file {key}: the passphrase does not open the key; expected the one it was encrypted with",
    )


def test_a_passphrase_that_cannot_be_read_is_a_problem_of_the_key_file(pki, authority, tmp_path):
    issued = authority.issue_server()
    certificate, key = pki(issued, key=encrypted(issued))
    with pytest.raises(ConfigurationError) as caught:
        KeyMaterial.load(certificate, key, Passphrase(tmp_path / "no"))
    [sentence] = caught.value.problems
    assert sentence.startswith(f"key file {key}: passphrase file {tmp_path / 'no'} cannot be read: ")


def test_a_key_that_is_not_encrypted_needs_no_passphrase(pki):
    def never() -> bytes:
        raise AssertionError("asked for a passphrase that nothing needs")

    assert KeyMaterial.load(*pki(), never).certificate is not None


def test_a_stray_certificate_in_the_chain_is_named(pki, authority, stranger):
    issued = authority.issue_server("CT")
    certificate, key = pki(issued, certificate=issued.certificate_pem + stranger.own.certificate_pem)
    [sentence] = problems(KeyMaterial.load, certificate, key)
    assert sentence.startswith(f"certificate 2 in {certificate} is ")
    assert "which did not issue the one before it" in sentence
    assert sentence.endswith(
        f'; expected its issuer, "{authority.own.certificate.subject.rfc4514_string()}", or nothing more'
    )


def test_a_gap_in_the_chain_is_named_where_it_is(pki):
    root = DevelopmentAuthority("root", path_length=1)
    middle = DevelopmentAuthority("middle", issuer=root)
    issued = middle.issue_server()
    whole = issued.certificate_pem + root.own.certificate_pem
    assert len(KeyMaterial.load(*pki(issued, certificate=whole)).chain) == 3
    leaf = issued.certificate.public_bytes(Encoding.PEM)
    [sentence] = problems(KeyMaterial.load, *pki(issued, certificate=leaf + root.own.certificate_pem))
    assert "certificate 2 in " in sentence
    assert "CN=middle" in sentence


def test_a_certificate_for_neither_end_of_tls_is_refused(pki, authority):
    certificate, key = pki(authority.issue_responder("responder"))
    [sentence] = problems(KeyMaterial.load, certificate, key)
    assert sentence.endswith("has the extended key usage OCSPSigning; expected clientAuth or serverAuth")


@pytest.mark.parametrize(("left", "words"), [
    (timedelta(days=29, hours=1), "in 29 days: renew it"),
    (timedelta(days=1, hours=1), "in 1 day: renew it"),
    (timedelta(hours=5), "within a day: renew it"),
    (timedelta(hours=-1), ": remove it, or renew it"),
])
def test_a_certificate_that_ends_soon_is_a_warning(authority, left, words):
    now = datetime(2030, 1, 1, tzinfo=UTC)
    issued = authority.issue_server("CT", not_after=now + left)
    for warnings, what in ((issued.material.warnings(now), "certificate"),
                           (TrustRoots((issued.certificate,)).warnings(now), "trust root")):
        [sentence] = warnings
        assert sentence.startswith(f'{what} "CN=CT,')
        assert f"{now + left:%Y-%m-%d %H:%M} UTC" in sentence
        assert sentence.endswith(words)


def test_a_certificate_with_more_than_thirty_days_left_is_none(authority):
    now = datetime(2030, 1, 1, tzinfo=UTC)
    issued = authority.issue_server(not_after=now + timedelta(days=30, seconds=1))
    assert issued.material.warnings(now) == TrustRoots((issued.certificate,)).warnings(now) == ()


def test_every_certificate_of_a_chain_is_looked_at(authority):
    now = datetime(2030, 1, 1, tzinfo=UTC)
    good = authority.issue_server("good", not_after=now + timedelta(days=99))
    ending = authority.issue_server("ending", not_after=now + timedelta(days=9))
    material = KeyMaterial((good.certificate, ending.certificate), good.private_key)
    assert ["CN=ending" in sentence for sentence in material.warnings(now)] == [True]
