import argparse
import json
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from dimsetls import __version__
from dimsetls.node import cli
from dimsetls.node.arguments import ExitStatus
from dimsetls.node.cli import _parser, main

MORE = """
[listener second]
port = 0
tls = secure
aes = OTHER
[ae OTHER]
services = verification
peers = ct1
[ae UNUSED]
services = verification
peers = mr1
[peer ct1]
ae-title = CT1
[peer mr1]
ae-title = MR1
[storage old]
directory = store
[limits none-yet]
"""


def usage_error(capsys, *arguments):
    with pytest.raises(SystemExit) as caught:
        main(arguments)
    assert caught.value.code == 2
    return capsys.readouterr().err


def test_init_says_what_it_wrote_and_what_to_do_next(tmp_path, capsys):
    node = tmp_path / "my node"
    assert main(["init", str(node), "--port", "11112"]) == 0
    said = capsys.readouterr().out
    ini = str(node / "dimsetls.ini")
    assert f"Wrote {ini}, " in said
    assert f"  dimsetls check {shlex.quote(ini)}\n  twistd --nodaemon dimsetls --config {shlex.quote(ini)}\n" in said
    assert "refused" not in said
    assert "\nport = 11112\n" in (node / "dimsetls.ini").read_text()


def test_init_outside_loopback_says_that_its_certificates_will_not_do(tmp_path, capsys):
    assert main(["init", str(tmp_path), "--interface", "0.0.0.0"]) == 0
    assert "Development certificates are refused on 0.0.0.0" in capsys.readouterr().out
    assert main(["check", str(tmp_path / "dimsetls.ini")]) == 1


def test_init_twice(tmp_path, capsys):
    main(["init", str(tmp_path)])
    capsys.readouterr()
    assert main(["init", str(tmp_path)]) == 1
    said = capsys.readouterr()
    assert said.out == ""
    assert len(said.err.splitlines()) == 7


def test_check_tells_what_the_configuration_amounts_to(tmp_path, capsys):
    main(["init", str(tmp_path)])
    ini = tmp_path / "dimsetls.ini"
    with ini.open("a") as file:
        file.write(MORE)
    capsys.readouterr()
    assert main(["check", str(ini)]) == 0
    said = capsys.readouterr()
    assert said.err == ""
    lines = [line for line in said.out.splitlines() if "this pyOpenSSL cannot" not in line]
    assert lines[0] == f"{ini}: no problems found"
    assert lines[1] == "listener main: 127.0.0.1:2762, TLS secure, AE DIMSETLS, limits normal"
    assert lines[2] == "listener second: 127.0.0.1:0, TLS secure, AE OTHER, limits default"
    assert lines[3].startswith("tls secure: bcp195-rfc9325, client certificate required, certificate CN=")
    assert " until 20" in lines[3]
    assert lines[4:7] == [
        "ae DIMSETLS: verification, storage in archive, called by anyone",
        "ae OTHER: verification, called by ct1",
        "ae UNUSED: verification, called by mr1",
    ]
    layout = "{StudyInstanceUID}/{SeriesInstanceUID}/{SOPInstanceUID}.dcm"
    assert f"storage archive: {tmp_path}/store/{layout}" in lines
    assert lines[-1] == "not used by any listener: [ae UNUSED], [peer mr1], [storage old], [limits none-yet]"


def test_check_prints_one_problem_a_line(tmp_path, capsys):
    ini = tmp_path / "bad.ini"
    ini.write_text("[node]\nlog-levl = info\n[listener main]\n")
    assert main(["check", str(ini)]) == 1
    said = capsys.readouterr()
    assert said.out == ""
    assert [line.split(": ")[:2] for line in said.err.splitlines()] == [
        [f"{ini}:2", "[node] log-levl"], [f"{ini}:3", "[listener main] aes"], [f"{ini}:3", "[listener main] tls"],
    ]


@pytest.mark.parametrize("arguments", ["", "init", "check", "check a b", "init a --prot 1"])
def test_wrong_usage(capsys, arguments):
    assert usage_error(capsys, *arguments.split()).startswith("usage: dimsetls ")


@pytest.mark.parametrize(("option", "value", "sentence"), [
    ("--port", "x", "found 'x', expected a whole number from 0 to 65535"),
    ("--interface", "localhost", "found 'localhost', expected an IPv4 or IPv6 address such as 127.0.0.1 or ::1; "
                                 "did you mean 127.0.0.1?"),
])
def test_wrong_values_are_wrong_usage(tmp_path, capsys, option, value, sentence):
    assert sentence in usage_error(capsys, "init", str(tmp_path / "x"), option, value)
    assert not (tmp_path / "x").exists()


def parsers(parser, words=()):
    """Every parser there is, with the words that lead to it."""
    yield words, parser
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            for name, each in action.choices.items():
                yield from parsers(each, (*words, name))


PARSERS = dict(parsers(_parser()))


@pytest.mark.parametrize("words", PARSERS, ids=" ".join)
def test_each_help_has_one_example_and_it_is_one(words):
    said = PARSERS[words].format_help()
    (example,) = (line.removeprefix("Example: ") for line in said.splitlines() if "Example" in line)
    for command in example.partition(" > ")[0].split(" && "):
        program, *arguments = shlex.split(command)
        assert program == "dimsetls"
        parsed = _parser().parse_args(arguments)
        assert not words or parsed.command == words[0]


def test_the_exit_statuses_are_one_table_in_help_and_manual():
    page = (Path(__file__).parents[2] / "docs" / "how-to" / "command-line.md").read_text()
    said = PARSERS[()].format_help()
    for status in ExitStatus:
        assert f"\n  {status.value:<4} {status.meaning}\n" in said
        assert f"\n| {status.value} | {status.meaning} |\n" in page


def test_whatever_prints_prints_json_too():
    """But what runs a node, what is a document or a script, and what changes the users file and says so."""
    changing = {("user", each) for each in ("add", "passwd", "change", "del")}
    without = {("serve",), ("conformance",), ("completion",), *changing}
    for words, parser in PARSERS.items():
        is_group = any(isinstance(action, argparse._SubParsersAction) for action in parser._actions)
        has_json = any("--json" in action.option_strings for action in parser._actions)
        assert has_json == (not is_group and words not in without), words


def test_json_of_a_node_and_of_what_is_wrong_with_it(tmp_path, capsys):
    ini = str(tmp_path / "dimsetls.ini")
    assert main(["init", str(tmp_path), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["configuration"] == ini
    assert main(["check", ini, "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert (found["problems"], found["summary"][0]) == ([], f"{ini}: no problems found")
    (tmp_path / "store").rmdir()
    assert main(["check", ini, "--json"]) == 1
    said = capsys.readouterr()
    assert json.loads(said.out)["problems"] == said.err.splitlines()


def test_json_of_explanations(capsys):
    assert main(["explain", "1,1,7", "--json"]) == 0
    (found,) = json.loads(capsys.readouterr().out)
    assert found["name"] == "A-ASSOCIATE-RJ"
    assert main(["explain", "--json"]) == 0
    assert len(json.loads(capsys.readouterr().out)) > 100


def test_an_interruption_is_one_word(monkeypatch, capsys):
    def interrupt(parsed):
        raise KeyboardInterrupt

    monkeypatch.setitem(cli._OURS, "check", interrupt)
    assert main(["check", "x"]) == ExitStatus.INTERRUPTED
    assert capsys.readouterr().err == "interrupted\n"


def test_the_version(capsys):
    with pytest.raises(SystemExit) as caught:
        main(["--version"])
    assert caught.value.code == 0
    assert capsys.readouterr().out == f"dimsetls {__version__}\n"


def test_help_loads_neither_twisted_nor_pydicom():
    script = """
import sys
from dimsetls.node.cli import main
try:
    main(["--help"])
except SystemExit:
    sys.exit(bool({"twisted", "pydicom", "cryptography"} & set(sys.modules)))
"""
    subprocess.run([sys.executable, "-c", script], check=True, stdout=subprocess.DEVNULL)


def test_whoever_reads_may_stop_reading():
    program = "import sys; from dimsetls.node.cli import main; sys.exit(main(['explain']))"
    command = f'"{sys.executable}" -c "{program}" | head -n 1'
    done = subprocess.run(["sh", "-c", command], capture_output=True, text=True, check=True)
    assert done.stdout.count("\n") == 1
    assert done.stderr == ""
