"""What the statement says of associations that the node asks for is what its [peer] and [credential] sections say."""

from __future__ import annotations

import pytest

from dimsetls.node.conformance.calling import calling
from dimsetls.node.conformance.text import Document, markdown
from dimsetls.node.credentials import CREDENTIAL
from dimsetls.node.reading import load

from ...peers.running import Node


def row(node: Node) -> list[str]:
    """Of the table, the row of the peer PACS."""
    said = markdown(Document("Statement", (), (calling(load(node.write()).peers),)))
    [found] = [line for line in said.splitlines() if line.startswith("| `PACS`")]
    return [cell.strip() for cell in found.strip("|").split("|")]


@pytest.fixture
def called(node: Node) -> Node:
    node.set("peer pacs", ae_title="PACS", host="localhost", tls="secure")
    return node


def test_a_peer_of_which_little_is_said(called: Node) -> None:
    assert row(called)[1:5] == ["any for its name", "none", "4 from each AE", "1"]


def test_all_that_its_sections_say(called: Node) -> None:
    called.set("peer pacs", presents="us", certificates="dns:a.example, ip:192.0.2.1", associations=2, operations=8,
               response_timeout="7m")  # fmt: skip
    called.set("credential us", type="passcode", user="archive", passcode_file="x", answer="prefer")
    _, certificates, identity, associations, operations, deadlines = row(called)
    assert certificates == "`dns:a.example` or `ip:192.0.2.1`"
    assert identity == "user name and passcode (type 2), which it need not verify"
    assert (associations, operations) == ("2 from each AE", "8 are asked for")
    assert "response 420 s" in deadlines


def test_a_token_in_a_type_of_its_own(called: Node) -> None:
    called.set("peer pacs", presents="us", bearer_identity_type=254)
    called.set("credential us", type="bearer", token_file="x")
    assert row(called)[2] == "access token (user identity type 254), which it must verify"


def test_every_type_has_words(called: Node) -> None:
    options = {option.name: option.example for option in CREDENTIAL.options}
    needed = {"username": ["user"], "passcode": ["user", "passcode-file"], "kerberos": ["service"],
              "client-credentials": ["url", "trust-roots", "client-id", "client-secret"]}  # fmt: skip
    for type_ in ("username", "passcode", "kerberos", "saml", "jwt", "bearer", "client-credentials"):
        called.sections.pop("credential us", None)
        called.set("peer pacs", presents="us")
        called.set("credential us", type=type_, **{name: options[name] for name in needed.get(type_, ["token-file"])})
        assert row(called)[2].endswith("which it must verify")
