"""[credential NAME] and how a [peer] is called, as the file says it; and what does not go together there."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from dimsetls.errors import ConfigurationError
from dimsetls.identity.gate import Requirement
from dimsetls.identity.kerberos.tokens import Form
from dimsetls.node.init import init
from dimsetls.node.prepare import Prepared, prepare

from ..secrets import secret

PEER = """
[peer pacs]
ae-title = PACS
host = localhost
tls = secure
presents = us
"""


@pytest.fixture
def node(tmp_path: Path) -> Callable[..., Prepared]:
    """A node as `init` makes it, with more sections."""
    init(tmp_path / "node")
    path = tmp_path / "node" / "dimsetls.ini"
    before = path.read_text()

    def node(*more: str) -> Prepared:
        path.write_text("\n".join((before, *more)))
        return prepare(path)

    return node


@pytest.fixture
def problems(node: Callable[..., Prepared]) -> Callable[..., list[str]]:
    def problems(*more: str) -> list[str]:
        with pytest.raises(ConfigurationError) as caught:
            node(*more)
        return [problem.partition(": ")[2] for problem in caught.value.problems]

    return problems


def written(path: Path, content: str = "Tr0ub4dor&3", mode: int = 0o600) -> Path:
    path.write_text(secret(content, "what a credential points at"))
    path.chmod(mode)
    return path


def test_a_credential_and_how_its_peer_is_called(node: Callable[..., Prepared], tmp_path: Path) -> None:
    written(tmp_path / "node" / "pacs.pass")
    prepared = node(PEER, "connect-timeout = 5s\nanswer-timeout = 6s\nresponse-timeout = 7s\nidle-timeout = 0s\n"
                    "associations = 8\noperations = 9", "[credential us]\ntype = passcode\nuser = archive\n"
                    "passcode-file = pacs.pass\nanswer = prefer")  # fmt: skip
    [peer] = prepared.config.peers
    assert (peer.connect_timeout, peer.answer_timeout, peer.response_timeout, peer.idle_timeout) == (5, 6, 7, 0)
    assert (peer.associations, peer.operations) == (8, 9)
    assert peer.presents is prepared.config.credentials[0]
    assert (peer.presents.user, peer.presents.answer) == ("archive", Requirement.PREFER)
    assert peer.presents.passcode_file == str(tmp_path / "node" / "pacs.pass")
    assert list(prepared.presenters) == ["us"]


def test_what_is_not_set_has_its_default(node: Callable[..., Prepared]) -> None:
    prepared = node(PEER.replace("presents = us", ""), "[credential us]\ntype = username\nuser = archive")
    [peer], [credential] = prepared.config.peers, prepared.config.credentials
    assert (peer.presents, peer.connect_timeout, peer.answer_timeout, peer.response_timeout) == (None, 30, 30, 300)
    assert (peer.idle_timeout, peer.associations, peer.operations) == (10, 4, 1)
    assert (credential.answer, credential.form) == (Requirement.REQUIRE, Form.GSS)


@pytest.mark.parametrize(("text", "expected"), [
    ("type = username", ["user: found nothing, expected it, as type is username"]),
    ("type = username\nuser = a\npasscode-file = x",
     ["passcode-file: found besides type = username, expected only what goes with it: user"]),
    ("type = passcode\nuser = a", ["passcode-file: found nothing, expected one of passcode-file and variable"]),
    ("type = passcode\nuser = a\npasscode-file = x\nvariable = Y",
     ["passcode-file: found passcode-file and variable, expected one of passcode-file and variable"]),
    ("type = jwt", ["token-file: found nothing, expected one of token-file and variable"]),
    ("type = kerberos", ["service: found nothing, expected it, as type is kerberos"]),
    ("type = bearer\ntoken-file = x\nurl = https://a",
     ["url: found besides type = bearer, expected only what goes with it: token-file, variable"]),
    ("type = client-credentials\nclient-secret = x", [
        "url: found nothing, expected it, as type is client-credentials",
        "trust-roots: found nothing, expected it, as type is client-credentials",
        "client-id: found nothing, expected it, as type is client-credentials",
    ]),
    ("type = passcod\nuser = a\npasscode-file = x",
     ["type: found 'passcod', expected one of username, passcode, kerberos, saml, jwt, bearer, client-credentials; "
      "did you mean passcode?"]),
    ("type = passcode\nuser = a\nvariable = MY-VARIABLE",
     ["variable: found 'MY-VARIABLE', expected the name of an environment variable: letters, digits and underscores"]),
])  # fmt: skip
def test_what_does_not_go_together_in_a_credential(problems: Callable[..., list[str]], text: str,
                                                   expected: list[str]) -> None:  # fmt: skip
    assert [each for each in problems(f"[credential us]\n{text}")
            if "passphrase" not in each] == [f"[credential us] {each}" for each in expected]  # fmt: skip


def test_what_says_how_a_peer_is_called_needs_a_place(problems: Callable[..., list[str]]) -> None:
    found = problems("[peer pacs]\nae-title = PACS\npresents = us\nassociations = 3\nidle-timeout = 3s",
                     "[credential us]\ntype = username\nuser = archive")
    assert found == [f"[peer pacs] {option}: found without host, expected both: it says how the peer is reached"
                     for option in ("presents", "associations", "idle-timeout")]  # fmt: skip


@pytest.mark.parametrize(("text", "option", "expected"), [
    ("type = passcode\nuser = a\npasscode-file = missing", "passcode-file", "cannot be read"),
    ("type = passcode\nuser = a\npasscode-file = open", "passcode-file", "open to group or others (mode 0644)"),
    ("type = passcode\nuser = a\npasscode-file = credential:nix", "passcode-file", "$CREDENTIALS_DIRECTORY"),
    ("type = jwt\ntoken-file = missing", "token-file", "cannot be read"),
    ("type = bearer\ntoken-file = missing", "token-file", "cannot be read"),
    ("type = saml\nvariable = DIMSETLS_NIX", "variable", "found no environment variable DIMSETLS_NIX"),
    ("type = bearer\nvariable = DIMSETLS_NIX", "variable", "found no environment variable DIMSETLS_NIX"),
    ("type = kerberos\nservice = dicom", "service", "names no host"),
    ("type = kerberos\nservice = dicom/pacs\nclient-keytab = missing", "client-keytab", "missing"),
    ("type = client-credentials\nurl = https://a\ntrust-roots = missing\nclient-id = a\nclient-secret = open",
     "trust-roots", "cannot be read"),
])  # fmt: skip
def test_what_is_not_there_is_said_at_once(problems: Callable[..., list[str]], tmp_path: Path, text: str, option: str,
                                           expected: str, monkeypatch: pytest.MonkeyPatch) -> None:  # fmt: skip
    monkeypatch.delenv("CREDENTIALS_DIRECTORY", raising=False)
    written(tmp_path / "node" / "open", mode=0o644)
    found = problems(f"[credential us]\n{text}")
    assert found[0].startswith(f"[credential us] {option}: ")
    assert expected in found[0]
    assert "Tr0ub4dor" not in str(found)


def test_what_the_peer_shows_has_to_meet_its_rules(node: Callable[..., Prepared]) -> None:
    prepared = node(PEER.replace("presents = us", "certificates = dns:elsewhere.example"))
    assert [str(rule) for rule in prepared.peers["pacs"]._rules] == ["dns:elsewhere.example"]


def test_who_only_calls_needs_no_credential_but_that_of_the_peer(tmp_path: Path) -> None:
    init(tmp_path / "node")
    path = tmp_path / "node" / "dimsetls.ini"
    path.write_text(f"{path.read_text()}\n[credential us]\ntype = jwt\ntoken-file = {os.devnull}-missing\n")
    prepared: Any = prepare(path, to_serve=False)
    assert prepared.presenters == {}
