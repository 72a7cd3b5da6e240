from __future__ import annotations

import argparse
import os

import pytest

from dimsetls.errors import ConfigurationError
from dimsetls.node.arguments import Parser, default_config, number, seconds, size


@pytest.fixture
def places(tmp_path, monkeypatch):
    """The directory where somebody is, and that of their own configuration; both are empty."""
    (tmp_path / "here").mkdir()
    (tmp_path / "own" / "dimsetls").mkdir(parents=True)
    monkeypatch.chdir(tmp_path / "here")
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "own"))
    monkeypatch.delenv("DIMSETLS_CONFIG", raising=False)
    return tmp_path / "here" / "dimsetls.ini", tmp_path / "own" / "dimsetls" / "dimsetls.ini"


def test_the_configuration_here_comes_before_ones_own_and_the_named_one_before_all(places, monkeypatch):
    here, own = places
    own.touch()
    assert default_config() == own
    here.touch()
    assert default_config().absolute() == here
    monkeypatch.setenv("DIMSETLS_CONFIG", "named.ini")
    assert str(default_config()) == "named.ini"


def test_without_one_it_is_said_where_it_could_be(places):
    with pytest.raises(ConfigurationError) as caught:
        default_config()
    sentence = str(caught.value)
    for place in ("expected dimsetls.ini, ", str(places[1]), "/etc/dimsetls/dimsetls.ini", "$DIMSETLS_CONFIG"):
        assert place in sentence


def test_the_configuration_of_somebody_else_is_not_read_by_chance(places, monkeypatch):
    here, _ = places
    here.touch()
    if os.geteuid() == 0:
        os.chown(here, 12345, -1)
    else:
        monkeypatch.setattr(os, "geteuid", lambda: 99999)
    with pytest.raises(ConfigurationError, match="expected a configuration of your own or of root"):
        default_config()


@pytest.mark.parametrize(("parse", "text", "value"), [
    (size, "500MiB", 500 << 20), (size, "1000", 1000), (number(1, 9), "9", 9), (seconds, "0.5", 0.5),
])
def test_values(parse, text, value):
    assert parse(text) == value


@pytest.mark.parametrize(("parse", "text"), [(size, "0"), (size, "5 MB"), (number(1, 9), "10"), (seconds, "0")])
def test_values_that_are_refused(parse, text):
    with pytest.raises(argparse.ArgumentTypeError, match=f"found '{text}', expected"):
        parse(text)


def test_an_example_can_be_pasted_from_a_narrow_terminal(monkeypatch, capsys):
    monkeypatch.setenv("COLUMNS", "40")
    example = "Example: dimsetls store pacs.example:2762 study/ --journal sent.txt"
    Parser(description="word " * 30, epilog=f"{example}\n\n  0    as it stands here, however long this line becomes"
           ).print_help()  # fmt: skip
    lines = capsys.readouterr().out.splitlines()
    assert example in lines
    assert "  0    as it stands here, however long this line becomes" in lines
    assert all(len(line) < 40 for line in lines if line.startswith("word"))
