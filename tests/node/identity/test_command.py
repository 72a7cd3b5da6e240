"""The words of `dimsetls identity test`, and what is wrong with them."""

from __future__ import annotations

import pytest

from dimsetls.node.cli import main

from ...peers.running import Node


def usage_error(capsys: pytest.CaptureFixture[str], *words: str) -> str:
    with pytest.raises(SystemExit) as caught:
        main(["identity", "test", "--config", "none.ini", *words])
    assert caught.value.code == 2
    said = capsys.readouterr()
    assert said.out == ""
    said_by, _, sentence = said.err.splitlines()[-1].partition(": ")
    assert said_by.startswith("dimsetls")
    return sentence.removeprefix("error: ")


@pytest.mark.parametrize(("words", "sentence"), [
    ("--type passcode", "--type passcode wants --user NAME"),
    ("--type username", "--type username wants --user NAME"),
    ("--type kerberos", "--type kerberos wants --file FILE"),
    ("--type saml --user alice", "--type saml wants --file FILE"),
    ("--type jwt", "--type jwt wants --file FILE"),
    ("--type bearer", "--type bearer wants --file FILE"),
    ("--type certificate --file x", "--type certificate wants --certificate FILE"),
    ("", "the following arguments are required: --type"),
])  # fmt: skip
def test_what_a_type_wants(capsys: pytest.CaptureFixture[str], words: str, sentence: str) -> None:
    assert usage_error(capsys, *words.split()) == sentence


def test_a_passcode_is_never_an_argument(capsys: pytest.CaptureFixture[str]) -> None:
    said = usage_error(capsys, "--type", "passcode", "--user", "alice", "--passcode", "secret")
    assert said.startswith("unrecognized: --passcode")
    assert "secret" not in said


def problem(capsys: pytest.CaptureFixture[str], node: Node, *words: str) -> str:
    """What stands against a trial that cannot be made."""
    assert main(["identity", "test", "--config", str(node.write()), *words]) == 1
    said = capsys.readouterr()
    assert said.out == ""
    return said.err.removesuffix("\n")


@pytest.mark.parametrize(("words", "sentence"), [
    ("--ae ELSEWHERE", "--ae: found 'ELSEWHERE', expected one of DIMSETLS"),
    ("--calling-ae longer-than-titles", "--calling-ae: found 'longer-than-titles', expected an AE title (PS3.5 §6.2)"),
    ("--certificate none.pem", "none.pem: found No such file or directory, expected a certificate in PEM"),
    ("--certificate dimsetls.ini", "dimsetls.ini: found no certificate in it, expected a certificate in PEM"),
])  # fmt: skip
def test_what_there_is_not(
    staff: Node, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, words: str, sentence: str
) -> None:
    monkeypatch.chdir(staff.directory)
    assert problem(capsys, staff, "--type", "username", "--user", "alice", *words.split()) == sentence


def test_a_credential_that_cannot_be_read(staff: Node, capsys: pytest.CaptureFixture[str]) -> None:
    assert problem(capsys, staff, "--type", "saml", "--file", "none.xml") == (
        "none.xml: found no readable file (No such file or directory), expected the credential")


def test_an_ae_that_looks_at_no_identity(node: Node, capsys: pytest.CaptureFixture[str]) -> None:
    assert problem(capsys, node, "--type", "username", "--user", "alice") == (
        f"{node.directory}/dimsetls.ini: [ae DIMSETLS] identity: found nothing, expected the name of an [identity] "
        "section; without one every user identity is ignored")


def test_a_configuration_that_cannot_be_used(staff: Node, capsys: pytest.CaptureFixture[str]) -> None:
    staff.set("users local", file="none")
    assert "[users local] file: " in problem(capsys, staff, "--type", "username", "--user", "alice")
