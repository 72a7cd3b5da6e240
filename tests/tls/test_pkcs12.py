from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import dsa
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    NoEncryption,
    load_pem_private_key,
    pkcs12,
)

from dimsetls.errors import ConfigurationError
from dimsetls.tls.authority import DevelopmentAuthority
from dimsetls.tls.pkcs12 import read


def made(
    path: Path, *, key: Any = None, certificate: Any = None, others: Any = (), passphrase: bytes | None = None
) -> Path:
    protection = BestAvailableEncryption(passphrase) if passphrase else NoEncryption()
    path.write_bytes(pkcs12.serialize_key_and_certificates(b"node", key, certificate, [*others], protection))
    return path


def problem(*arguments: Any) -> str:
    with pytest.raises(ConfigurationError) as caught:
        read(*arguments)
    [sentence] = caught.value.problems
    return sentence


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "node.p12"


def test_it_is_taken_apart_and_its_chain_put_in_order(path):
    root = DevelopmentAuthority("root", path_length=2)
    upper = DevelopmentAuthority("upper", issuer=root, path_length=1)
    lower = DevelopmentAuthority("lower", issuer=upper)
    issued = lower.issue_server()
    file = made(path, key=issued.private_key, certificate=issued.certificate, passphrase=b"open sesame",
                others=[root.own.certificate, upper.own.certificate, lower.own.certificate])
    contents = read(file, lambda: b"open sesame")
    chain = [issued.certificate, lower.own.certificate, upper.own.certificate]
    assert x509.load_pem_x509_certificates(contents.chain) == chain
    assert x509.load_pem_x509_certificates(contents.authorities) == [root.own.certificate]
    key = load_pem_private_key(contents.private_key, None)
    assert key.private_numbers() == issued.private_key.private_numbers()
    assert "PRIVATE" not in repr(contents)


def test_one_without_a_passphrase_and_without_a_root(path, authority):
    issued = authority.issue_server()
    contents = read(made(path, key=issued.private_key, certificate=issued.certificate))
    assert x509.load_pem_x509_certificates(contents.chain) == [issued.certificate]
    assert contents.authorities == b""


def test_a_stranger_s_certificate_is_not_made_part_of_the_chain(path, authority, stranger):
    issued, other = authority.issue_server(), stranger.issue_server()
    contents = read(made(path, key=issued.private_key, certificate=issued.certificate, others=[other.certificate]))
    assert x509.load_pem_x509_certificates(contents.chain) == [issued.certificate]


def test_a_wrong_passphrase_and_none_are_told_apart(path, authority):
    issued = authority.issue_server()
    made(path, key=issued.private_key, certificate=issued.certificate, passphrase=b"open sesame")
    assert problem(path, lambda: b"close sesame").startswith(
        f"{path} cannot be opened: the passphrase given is wrong, or the file is damaged; expected "
    )
    assert problem(path).startswith(f"{path} cannot be opened: it needs a passphrase, or the file is damaged; ")
    assert "sesame" not in problem(path, lambda: b"close sesame")


def test_files_that_hold_something_else(path, authority):
    assert "cannot be read: No such file or directory" in problem(path)
    path.write_bytes(authority.own.certificate_pem)
    assert problem(path) == f"{path} is no PKCS #12 file; expected one, often with the ending .p12 or .pfx"
    path.write_bytes(b"\x30\x03\x02\x01\x03")
    assert problem(path).startswith(f"{path} cannot be opened: ")


def test_one_that_lacks_its_half_is_refused(path, authority):
    issued = authority.issue_server()
    assert problem(made(path, key=issued.private_key)) == (
        f"{path} holds no certificate for its key; expected a private key with its certificate"
    )
    made(path, certificate=issued.certificate, others=[authority.own.certificate])
    assert problem(path) == f"{path} holds no private key; expected a private key with its certificate"


def test_a_key_of_another_kind_is_refused(path, authority):
    key = dsa.generate_private_key(2048)
    issued = authority.issue_server(private_key=key)
    sentence = problem(made(path, key=key, certificate=issued.certificate))
    assert sentence == f"{path} holds a key that TLS here does not use; expected RSA, ECDSA or Ed25519"
