import configparser
import subprocess
import sys
from pathlib import Path

import pytest

from dimsetls.node import ini
from dimsetls.node.credentials import CREDENTIAL
from dimsetls.node.options import PEER, SECTIONS, TLS, Draft, render, sample
from dimsetls.node.reading import load
from dimsetls.node.values import Reference

ROOT = Path(__file__).parents[2]
WITH_A_PASSCODE = ("type", "answer", "user", "passcode-file")
"""The options of a [credential] of the type that the sample shows; there are others for other types."""
EVERY_OPTION = [(kind, option) for kind in SECTIONS.values() for option in kind.options]


def test_the_sample_file_is_current():
    written = subprocess.run([sys.executable, "-m", "dimsetls.node.options"], cwd=ROOT, capture_output=True, check=True)
    assert (ROOT / "etc" / "dimsetls.ini").read_bytes() == written.stdout, \
        "run: python -m dimsetls.node.options > etc/dimsetls.ini"


def test_the_sample_shows_every_option_of_every_section():
    lines = sample().splitlines()
    names = [option.name for _, option in EVERY_OPTION]
    for name in names:
        assert sum(line.lstrip("#").startswith(f"{name} = ") for line in lines) == names.count(name)


@pytest.mark.parametrize(("kind", "option"), EVERY_OPTION, ids=lambda each: getattr(each, "kind", None) or each.name)
def test_defaults_and_examples_are_values_of_their_type(kind, option):
    for text in filter(None, (option.default, option.example)):
        if not isinstance(option.type, Reference):
            option.type.parse(text)
    assert option.default or option.example, "the sample would show nothing"


def test_a_section_refers_only_to_kinds_that_come_after_it():
    kinds = list(SECTIONS)
    for kind, option in EVERY_OPTION:
        if isinstance(option.type, Reference):
            referred = (option.type.kind,) if isinstance(option.type.kind, str) else option.type.kind
            assert all(kinds.index(each) > kinds.index(kind.kind) for each in referred)


def test_options_in_force_defaults_and_commented_sections():
    text = render([Draft(TLS, "x", {"certificate": "a.pem"}), Draft(PEER, "y", {"ae-title": "Y"}, commented=True)])
    assert "\n[tls x]\n" in text
    assert "\ncertificate = a.pem\n" in text
    assert "\n#private-key = pki/server.key\n" in text
    assert "\n#client-certificate = required\n" in text
    assert "\n#[peer y]\n" in text
    assert "\n#ae-title = Y\n" in text
    assert max(map(len, text.splitlines())) <= 120


def test_the_sample_with_every_comment_taken_off_is_read_but_for_the_endpoint_that_stands_in_for_the_port(tmp_path):
    others = tuple(f"{option.name} =" for option in CREDENTIAL.options if option.name not in WITH_A_PASSCODE)
    kind, lines = "", []
    for line in sample().splitlines():
        bare = line[1:] if line.startswith("#") and line[1:2] not in (" ", "") else line
        kind = bare[1:].split()[0] if bare.startswith("[") else kind
        left_out = ("endpoint", "ocsp-responder", "forward =", *(others if kind == "credential" else ()))
        lines += [bare] if not bare.startswith(left_out) else []
    text = "\n".join(lines)
    path = tmp_path / "all.ini"
    path.write_text(text)
    config = load(path)
    assert config.peers[0].ae_title == "CT1"
    sections, _ = ini.parse(text)
    assert sum(len(section.entries) for section in sections) == len(EVERY_OPTION) - 4 - len(others)


def test_the_unit_serves_the_sample():
    unit = configparser.ConfigParser(interpolation=None, strict=False)
    unit.optionxform = str
    unit.read(ROOT / "etc" / "dimsetls.service")
    service = unit["Service"]
    config = load(ROOT / "etc" / "dimsetls.ini")
    assert "twistd --nodaemon --pidfile= dimsetls --config /etc/dimsetls/dimsetls.ini" in service["ExecStart"]
    assert service["ReadWritePaths"].split() == [str(storage.directory) for storage in config.storages]
    assert int(service["TimeoutStopSec"].removesuffix("s")) > config.node.drain_timeout
    assert int(service["LimitNOFILE"]) > 2 * (config.limits[0].associations + config.limits[0].pending_connections)
