import os
import stat
from ipaddress import ip_address

import pytest
from cryptography import x509

from dimsetls.errors import ConfigurationError
from dimsetls.node.init import init
from dimsetls.node.prepare import prepare
from dimsetls.node.reading import load
from dimsetls.tls.material import KeyMaterial

FILES = ["dimsetls.ini", *(f"pki/{name}.{kind}" for name in ("ca", "client", "server") for kind in ("key", "pem"))]


def written(directory):
    return sorted(str(path.relative_to(directory)) for path in directory.rglob("*") if path.is_file())


def alternative_names(path):
    certificate = x509.load_pem_x509_certificate(path.read_bytes())
    names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    return {str(name.value) for name in names}


def test_everything_is_written(tmp_path):
    directory = tmp_path / "a" / "b"
    assert init(directory) == directory / "dimsetls.ini"
    assert written(directory) == sorted(FILES)
    assert (directory / "store").is_dir()


def test_the_configuration_is_what_was_asked_for(tmp_path):
    config = load(init(tmp_path, port=11112, interface="::1"))
    (listener,), (ae,) = config.listeners, config.aes
    assert (listener.port, listener.interface) == (11112, "::1")
    assert (ae.title, ae.services, ae.peers) == ("DIMSETLS", ("verification", "storage"), None)
    assert config.storages[0].directory == tmp_path / "store"


def test_the_commented_file_sets_nothing_but_defaults(tmp_path):
    config = load(init(tmp_path))
    (tmp_path / "bare.ini").write_text(
        "[listener main]\ntls=secure\naes=DIMSETLS\n[ae DIMSETLS]\nstorage=archive\n"
        "[storage archive]\ndirectory=store\n"
        "[tls secure]\ncertificate=pki/server.pem\nprivate-key=pki/server.key\ntrust-roots=pki/ca.pem\n"
        "revocation-check=not checked - i understand the risk\n")
    bare = load(tmp_path / "bare.ini")
    assert (config.node, config.tls, config.peers) == (bare.node, bare.tls, bare.peers)
    for one, other, own in ((config.listeners[0], bare.listeners[0], {"tls", "aes", "limits"}),
                            (config.listeners[0].limits, bare.listeners[0].limits, {"name"}),
                            (config.aes[0], bare.aes[0], {"storage"}),
                            (config.storages[0], bare.storages[0], {"layout"})):
        assert all(getattr(one, name) == getattr(other, name) for name in {*one.__slots__} - own)


def test_it_can_be_served(tmp_path):
    assert prepare(init(tmp_path)).connections.keys() == {"secure"}


@pytest.mark.parametrize("umask", [0, 0o022])
def test_keys_are_for_the_owner_alone_and_so_is_the_store(tmp_path, umask):
    before = os.umask(umask)
    try:
        init(tmp_path)
    finally:
        os.umask(before)
    for name in FILES:
        assert stat.S_IMODE((tmp_path / name).stat().st_mode) == (0o600 if name.endswith(".key") else 0o644)
    assert stat.S_IMODE((tmp_path / "store").stat().st_mode) == 0o700


@pytest.mark.parametrize("name", ["client", "server"])
def test_certificates_and_keys_belong_together_and_come_from_one_authority(tmp_path, name):
    init(tmp_path)
    ca = x509.load_pem_x509_certificate((tmp_path / "pki/ca.pem").read_bytes())
    material = KeyMaterial.load(tmp_path / f"pki/{name}.pem", tmp_path / f"pki/{name}.key")
    material.certificate.verify_directly_issued_by(ca)
    lifetime = material.certificate.not_valid_after_utc - material.certificate.not_valid_before_utc
    assert lifetime.days == 90


def test_the_certificate_names_loopback_and_the_interface(tmp_path):
    init(tmp_path / "a")
    init(tmp_path / "b", interface="192.0.2.1")
    init(tmp_path / "c", interface="0.0.0.0")
    loopback = {"localhost", "127.0.0.1", "::1"}
    assert alternative_names(tmp_path / "a/pki/server.pem") == loopback
    assert alternative_names(tmp_path / "b/pki/server.pem") == {*loopback, str(ip_address("192.0.2.1"))}
    assert alternative_names(tmp_path / "c/pki/server.pem") == loopback


@pytest.mark.parametrize("name", FILES)
def test_nothing_is_overwritten_and_nothing_else_written(tmp_path, name):
    (tmp_path / name).parent.mkdir(exist_ok=True)
    (tmp_path / name).write_text("mine")
    with pytest.raises(ConfigurationError) as caught:
        init(tmp_path)
    assert caught.value.problems == (f"{tmp_path}/{name}: found it already there, expected to write it; "
                                     "move it away or choose another directory",)
    assert (tmp_path / name).read_text() == "mine"
    assert written(tmp_path) == [name]
    assert not (tmp_path / "store").exists()


def test_a_link_to_nowhere_is_in_the_way_too(tmp_path):
    (tmp_path / "dimsetls.ini").symlink_to(tmp_path / "nowhere")
    with pytest.raises(ConfigurationError, match="already there"):
        init(tmp_path)
    assert not (tmp_path / "nowhere").exists()


def test_a_second_time_every_file_is_named_and_none_changed(tmp_path):
    init(tmp_path)
    before = {name: (tmp_path / name).read_bytes() for name in FILES}
    with pytest.raises(ConfigurationError) as caught:
        init(tmp_path)
    assert len(caught.value.problems) == len(FILES)
    assert {name: (tmp_path / name).read_bytes() for name in FILES} == before


def test_a_store_that_is_there_is_kept(tmp_path):
    (tmp_path / "store").mkdir(0o750)
    (tmp_path / "store/1.dcm").write_text("image")
    init(tmp_path)
    assert (tmp_path / "store/1.dcm").read_text() == "image"
    assert stat.S_IMODE((tmp_path / "store").stat().st_mode) == 0o750


@pytest.mark.parametrize("obstacle", ["store", "pki"])
def test_what_was_written_before_a_failure_is_taken_back(tmp_path, obstacle):
    root = tmp_path / "node"
    root.mkdir()
    (root / obstacle).write_text("a file, not a directory")
    with pytest.raises(ConfigurationError) as caught:
        init(root)
    assert caught.value.problems == (f"{root}/{obstacle}: found that it cannot be written (File exists), "
                                     "expected a place for a new node",)
    assert [path.name for path in root.iterdir()] == [obstacle]


def test_a_failure_in_the_middle_takes_back_the_keys(tmp_path, monkeypatch):
    real = os.open

    def disk_full(path, *arguments):
        if str(path).endswith("server.pem"):
            raise OSError(28, "No space left on device", str(path))
        return real(path, *arguments)

    monkeypatch.setattr(os, "open", disk_full)
    with pytest.raises(ConfigurationError, match=r"server\.pem: found that it cannot be written \(No space left"):
        init(tmp_path / "node")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(("settings", "sentence"), [
    ({"port": 65536}, "port: found '65536', expected a whole number from 0 to 65535"),
    ({"interface": "example"}, "interface: found 'example', expected an IPv4 or IPv6 address such as 127.0.0.1 or ::1"),
])
def test_bad_settings_write_nothing(tmp_path, settings, sentence):
    with pytest.raises(ConfigurationError) as caught:
        init(tmp_path / "node", **settings)
    assert caught.value.problems == (sentence,)
    assert list(tmp_path.iterdir()) == []
