import json

import pytest

from dimsetls.node.cli import main

from .toys import Keys, accepting, listening, over_tls


@pytest.fixture(scope="module")
def keys(tmp_path_factory):
    return Keys(tmp_path_factory.mktemp("pki"))


@pytest.fixture(scope="module")
def good(keys):
    """The port of a peer that conforms."""
    with listening(over_tls(keys.context(alpn=("dicom",)), accepting(called="TOY"))) as port:
        yield port


def usage_error(capsys, *arguments):
    with pytest.raises(SystemExit) as caught:
        main(["probe", *arguments])
    assert caught.value.code == 2
    return capsys.readouterr().err


def credentials(keys):
    return ["--cert", keys.client[0], "--key", keys.client[1], "--ca", str(keys.ca)]


def test_a_conformant_peer(keys, good, capsys):
    assert main(["probe", f"127.0.0.1:{good}", "--ae", "TOY", *credentials(keys)]) == 0
    said = capsys.readouterr()
    assert said.err == ""
    assert said.out.startswith(f"127.0.0.1:{good} conforms to PS3.15 B.12")
    assert "\x1b" not in said.out, "this is no terminal"
    assert "C-ECHO                status 0000H" in said.out


def test_json(keys, good, capsys):
    assert main(["probe", f"127.0.0.1:{good}", "--ae", "TOY", "--calling-ae", "ME", *credentials(keys), "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["conclusion"] == "conformant"
    assert found["observations"]["client"]["association"]["calling"] == "ME"
    assert found["observations"]["connections"] <= 15


def test_a_peer_without_tls(capsys):
    with listening(accepting()) as port:
        assert main(["probe", f"127.0.0.1:{port}", "--timeout", "0.3"]) == 1
    assert "without TLS" in capsys.readouterr().out


def test_nobody_there(capsys):
    with listening(accepting()) as port:
        pass
    assert main(["probe", f"127.0.0.1:{port}"]) == 3
    assert "could not be reached" in capsys.readouterr().out


@pytest.mark.parametrize("peer", [
    "pacs.example", "pacs.example:", ":2762", "pacs.example:0", "pacs.example:65536", "pacs.example:dicom", "::1:2762",
    "[]:2762", "pacs..example:2762", "pacs.example:²",
])
def test_a_peer_is_host_and_port(peer, capsys):
    assert f"found {peer!r}, expected HOST:PORT such as" in usage_error(capsys, peer)


@pytest.mark.parametrize(("given", "understood"), [
    ("pacs.example:2762", ("pacs.example", 2762)),
    ("pacs.example.:2762", ("pacs.example", 2762)),
    ("[::1]:104", ("::1", 104)),
    ("röntgen.example:104", ("xn--rntgen-wxa.example", 104)),
])
def test_how_a_peer_is_written(given, understood):
    from dimsetls.node.arguments import Parser
    from dimsetls.node.probe.command import add_probe

    parser = Parser()
    add_probe(parser.add_subparsers())
    assert parser.parse_args(["probe", given]).peer == understood


@pytest.mark.parametrize("seconds", ["0", "-1", "601", "nan", "soon"])
def test_a_timeout_is_a_number_of_seconds(seconds, capsys):
    assert f"found {seconds!r}, expected a number of seconds, at most 600" in usage_error(
        capsys, "pacs.example:2762", f"--timeout={seconds}"
    )


def test_titles_are_checked(capsys):
    assert "expected an AE title" in usage_error(capsys, "pacs.example:2762", "--ae", "A TITLE THAT IS TOO LONG")
    assert "expected an AE title" in usage_error(capsys, "pacs.example:2762", "--calling-ae", "")


@pytest.mark.parametrize("option", ["--cert", "--key"])
def test_a_certificate_comes_with_its_key(option, capsys):
    assert "--cert and --key go together" in usage_error(capsys, "pacs.example:2762", option, "me.pem")


def test_files_that_cannot_be_used_are_wrong_usage(keys, tmp_path, capsys):
    said = usage_error(capsys, "pacs.example:2762", "--cert", keys.client[0], "--key", str(tmp_path / "none"))
    assert "none cannot be read" in said
    said = usage_error(capsys, "pacs.example:2762", "--ca", keys.client[1])
    assert "holds a private key" in said


def test_the_help_says_how_many_connections_and_which_exit_statuses(capsys):
    with pytest.raises(SystemExit):
        main(["probe", "--help"])
    said = " ".join(capsys.readouterr().out.split())
    assert "at most 15 connections" in said
    assert "0 conformant, 1 not conformant, 2 wrong usage, 3 unreachable or no DICOM" in said
