from __future__ import annotations

import pytest

from dimsetls.errors import ConfigurationError
from dimsetls.tls.passphrase import Passphrase


@pytest.fixture
def written(tmp_path):
    def write(content: bytes, mode: int = 0o600):
        path = tmp_path / "key.pass"
        path.write_bytes(content)
        path.chmod(mode)
        return path

    return write


def problem(passphrase):
    with pytest.raises(ConfigurationError) as caught:
        passphrase()
    [sentence] = caught.value.problems
    return sentence


@pytest.mark.parametrize("content", [b"open sesame", b"open sesame\n", b"open sesame\r\n", b"open sesame\nand more\n"])
def test_it_is_the_first_line(written, content):
    assert Passphrase(written(content))() == b"open sesame"


def test_spaces_belong_to_it(written):
    assert Passphrase(written(b" open sesame \n"))() == b" open sesame "


@pytest.mark.parametrize("content", [b"", b"\n", b"\nopen sesame\n"])
def test_an_empty_one_is_refused(written, content):
    path = written(content)
    assert problem(Passphrase(path)) == f"passphrase file {path} begins with an empty line; expected a passphrase"


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o644])
def test_a_file_that_others_can_read_is_refused(written, mode):
    path = written(b"open sesame", mode)
    found = problem(Passphrase(path))
    assert found == (f"passphrase file {path} is open to group or others (mode {mode:04o}); expected 0600 or 0400: "
                     f"chmod 600 {path}")
    assert "sesame" not in found


def test_a_missing_file_is_named(tmp_path):
    assert f"passphrase file {tmp_path / 'no'} cannot be read: No such file" in problem(Passphrase(tmp_path / "no"))


def test_it_is_read_anew_each_time_and_never_kept(written):
    passphrase = Passphrase(written(b"first"))
    assert passphrase() == b"first"
    written(b"second")
    assert passphrase() == b"second"
    assert "second" not in repr(passphrase)


def test_a_path_is_parsed_as_one(tmp_path):
    assert Passphrase.parse(str(tmp_path / "key.pass"), {}) == Passphrase(tmp_path / "key.pass")


def test_a_credential_comes_from_the_directory_of_systemd_whatever_its_mode(written):
    path = written(b"open sesame\n", 0o440)  # systemd guards it by an access control list
    passphrase = Passphrase.parse("credential:key.pass", {"CREDENTIALS_DIRECTORY": str(path.parent)})
    assert passphrase() == b"open sesame"


def test_a_credential_without_systemd_says_what_the_unit_lacks():
    with pytest.raises(ConfigurationError) as caught:
        Passphrase.parse("credential:tls", {})
    assert caught.value.problems == (
        "passphrase 'credential:tls' is to come from systemd, but $CREDENTIALS_DIRECTORY is not set; expected "
        "LoadCredential=tls:FILE or LoadCredentialEncrypted=tls:FILE in the unit",
    )


@pytest.mark.parametrize("name", ["", ".", "..", "../etc/passwd"])
def test_a_credential_is_a_name_and_no_path(name):
    with pytest.raises(ConfigurationError, match="names no credential"):
        Passphrase.parse(f"credential:{name}", {"CREDENTIALS_DIRECTORY": "/run"})
