from __future__ import annotations

import shlex

import pytest
from cryptography.hazmat.primitives.serialization import BestAvailableEncryption, NoEncryption, pkcs12

from dimsetls.node.cli import main
from dimsetls.tls.authority import DevelopmentAuthority
from dimsetls.tls.material import KeyMaterial, TrustRoots


@pytest.fixture(scope="module")
def authority():
    return DevelopmentAuthority()


@pytest.fixture
def p12(tmp_path, authority):
    def write(*, root=True, passphrase=None):
        issued = authority.issue_server()
        others = [authority.own.certificate] if root else []
        protection = BestAvailableEncryption(passphrase) if passphrase else NoEncryption()
        path = tmp_path / "node.p12"
        path.write_bytes(pkcs12.serialize_key_and_certificates(
            b"node", issued.private_key, issued.certificate, others, protection
        ))
        return path

    return write


def test_what_is_written_is_what_the_node_reads(p12, tmp_path, authority, capsys):
    pki = tmp_path / "var" / "pki"
    (tmp_path / "pass").write_bytes(b"open sesame\n")
    (tmp_path / "pass").chmod(0o600)
    file = p12(passphrase=b"open sesame")
    assert main(["pki", "import-p12", str(file), str(pki), "--passphrase-file", str(tmp_path / "pass")]) == 0
    assert capsys.readouterr().out == f"Wrote {pki / 'server.pem'}, {pki / 'server.key'}, {pki / 'ca.pem'}.\n"
    assert KeyMaterial.load(pki / "server.pem", pki / "server.key").certificate.issuer == (
        authority.own.certificate.subject
    )
    assert TrustRoots.load(pki / "ca.pem").certificates == (authority.own.certificate,)
    assert [(pki / name).stat().st_mode & 0o777 for name in ("server.pem", "server.key", "ca.pem")] == [
        0o644, 0o600, 0o644
    ]


def test_a_file_without_a_root_says_what_is_still_to_do(p12, tmp_path, capsys):
    file = p12(root=False)
    assert main(["pki", "import-p12", str(file), str(tmp_path / "pki")]) == 0
    said = capsys.readouterr().out
    assert f"{shlex.quote(str(file))} holds no root certificate: " in said
    assert not (tmp_path / "pki" / "ca.pem").exists()


@pytest.mark.parametrize("name", ["server.pem", "server.key", "ca.pem"])
def test_nothing_is_ever_overwritten(p12, tmp_path, capsys, name):
    pki = tmp_path / "pki"
    pki.mkdir()
    (pki / name).write_text("mine")
    assert main(["pki", "import-p12", str(p12()), str(pki)]) == 1
    assert capsys.readouterr().err == (
        f"{pki / name}: found it already there, expected to write it; move it away or choose another directory\n"
    )
    assert [each.name for each in pki.iterdir()] == [name]
    assert (pki / name).read_text() == "mine"


def test_a_passphrase_is_never_asked_for(p12, tmp_path, capsys):
    file = p12(passphrase=b"open sesame")
    assert main(["pki", "import-p12", str(file), str(tmp_path / "pki")]) == 1
    assert f"{file} cannot be opened: it needs a passphrase" in capsys.readouterr().err
    assert not (tmp_path / "pki").exists()


def test_a_directory_that_cannot_be_made_is_named(p12, tmp_path, capsys):
    (tmp_path / "pki").write_text("a file")
    assert main(["pki", "import-p12", str(p12()), str(tmp_path / "pki" / "deeper")]) == 1
    assert "found that it cannot be written" in capsys.readouterr().err
