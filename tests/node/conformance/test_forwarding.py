"""What the statement says of forwarding is what the [forward] sections say."""

from __future__ import annotations

import pytest

from dimsetls.node.conformance.chapters import statement
from dimsetls.node.conformance.text import markdown
from dimsetls.node.reading import load

from ...peers.running import Node


@pytest.fixture
def forwarding(node: Node) -> Node:
    node.set("storage archive", index="yes", forward="to-pacs")
    node.set("forward to-pacs", peers="pacs")
    node.set("peer pacs", ae_title="PACS", host="localhost", tls="secure")
    return node


def said(node: Node) -> str:
    return markdown(statement(load(node.write())))


def row(node: Node) -> list[str]:
    [found] = [line for line in said(node).splitlines() if line.startswith("| `to-pacs`")]
    return [cell.strip() for cell in found.strip("|").split("|")]


def test_a_rule_of_which_little_is_said(forwarding: Node) -> None:
    assert row(forwarding) == [
        "`to-pacs`", "everything", "all that the AE accepts", "`PACS`", "the AE that received it",
        "30 s to 3600 s, for 604800 s",
    ]  # fmt: skip


def test_all_that_its_section_says(forwarding: Node) -> None:
    forwarding.set("forward to-pacs", calling_ae_titles="CT1, CT2", called_ae_titles="DIMSETLS", modalities="CT",
                   sop_classes="1.2.840.10008.5.1.4.1.1.2, 1.2.3", ae_title="GATEWAY", convert="yes")  # fmt: skip
    assert row(forwarding)[1:5] == [
        "from `CT1` or `CT2`, to `DIMSETLS`, of modality `CT`",
        "CT Image Storage (`1.2.840.10008.5.1.4.1.1.2`), `1.2.3`", "`PACS`", "`GATEWAY`",
    ]  # fmt: skip
    assert "an uncompressed one if the rule says so" in said(forwarding)


def test_every_chapter_knows_of_it(forwarding: Node) -> None:
    text = said(forwarding)
    assert "Storage service as SCU" in text
    assert "to forward what comes to `DIMSETLS`" in text
    assert "for forwarding, " in text
    assert "to forward what is stored, as storage SCU" in text
    assert "C-STORE sends them on to `PACS`" in text
    forwarding.set("storage archive", forward=None)
    assert "Storage service as SCU" not in said(forwarding)


def test_a_rule_for_another_ae_is_not_told_of_this_one(forwarding: Node) -> None:
    forwarding.set("forward to-pacs", called_ae_titles="OTHER")
    assert "Storage service as SCU" not in said(forwarding)
