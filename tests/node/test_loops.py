from __future__ import annotations

from pathlib import Path

import pytest

from dimsetls.errors import ConfigurationError
from dimsetls.node.reading import load

HEAD = """\
[listener main]
port = 2762
tls = secure
aes = ONE, TWO
[tls secure]
certificate = server.pem
private-key = server.key
trust-roots = ca.pem
[ae ONE]
storage = one
[ae TWO]
storage = two
[storage one]
directory = one
index = yes
forward = there
[storage two]
directory = two
index = yes
forward = back
"""
THERE = "[forward there]\npeers = two\n"
BACK = "[forward back]\npeers = one\n"


def peers(host: str = "127.0.0.1", port: int = 2762) -> str:
    return "".join(f"[peer {name}]\nae-title = {name.upper()}\nhost = {host}\nport = {port}\ntls = secure\n"
                   for name in ("one", "two"))  # fmt: skip


def problems(path: Path, text: str) -> list[str]:
    (path / "node.ini").write_text(text)
    try:
        load(path / "node.ini")
    except ConfigurationError as error:
        return [problem.removeprefix(f"{path / 'node.ini'}:") for problem in error.problems]
    return []


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost"])
def test_a_way_back_is_told_once_for_each_rule_in_it(tmp_path: Path, host: str) -> None:
    assert problems(tmp_path, HEAD + THERE + BACK + peers(host)) == [
        "16: [storage one] forward: found there, which sends what it takes back to where it comes from "
        "(TWO → ONE → TWO), expected peers that are others than this node",
    ]  # fmt: skip


def test_a_store_that_forwards_to_itself(tmp_path: Path) -> None:
    text = HEAD.replace("storage = two", "storage = one").replace("forward = back\n", "") + THERE + peers()
    [problem] = problems(tmp_path, text)
    assert "[storage one] forward: found there" in problem
    assert "(TWO → TWO)" in problem


@pytest.mark.parametrize(("there", "back"), [
    ("modalities = CT", "modalities = MR"),
    ("sop-classes = 1.2.3", "sop-classes = 1.2.4"),
    ("", "calling-ae-titles = CT1"),  # what comes by the first rule comes from ONE
    ("ae-title = GATEWAY", "calling-ae-titles = ONE"),
    ("called-ae-titles = OTHER", ""),
])
def test_rules_that_exclude_each_other_are_no_loop(tmp_path: Path, there: str, back: str) -> None:
    assert problems(tmp_path, f"{HEAD}{THERE}{there}\n{BACK}{back}\n{peers()}") == []


@pytest.mark.parametrize(("there", "back"), [
    ("modalities = CT, MR", "modalities = MR, PT"),
    ("ae-title = GATEWAY", "calling-ae-titles = GATEWAY"),
    ("", "called-ae-titles = TWO"),
])
def test_rules_that_have_something_in_common_are(tmp_path: Path, there: str, back: str) -> None:
    assert len(problems(tmp_path, f"{HEAD}{THERE}{there}\n{BACK}{back}\n{peers()}")) == 1


@pytest.mark.parametrize("elsewhere", [
    peers("127.0.0.2"), peers(port=2763), peers("pacs.example"),
    peers().replace("ae-title = ONE", "ae-title = THREE"),
])
def test_peers_that_are_others_are_no_loop(tmp_path: Path, elsewhere: str) -> None:
    assert problems(tmp_path, HEAD + THERE + BACK + elsewhere) == []


def test_every_address_is_this_machine_too(tmp_path: Path) -> None:
    text = HEAD.replace("port = 2762\n", "port = 2762\ninterface = 0.0.0.0\n") + THERE + BACK + peers()
    assert len(problems(tmp_path, text)) == 1


@pytest.mark.parametrize(("old", "new", "problem"), [
    ("index = yes\nforward = there", "forward = there",
     "[storage one] forward: found without index = yes, expected both: the queue is in the file of the index"),
    ("host = pacs.example\nport = 2762\ntls = secure\n[peer two]", "[peer two]",
     "[forward back] peers: found one, which has no host, expected where it is reached: host in [peer one]"),
    ("peers = two", "peers = two\nfirst-delay = 10s\nlongest-delay = 1s",
     "[forward there] longest-delay: found 1 s, expected no less than the first delay of 10 s"),
    ("peers = two", "peers = two\nmodalities = ct",
     "[forward there] modalities: found 'ct', expected a modality such as CT: 1 to 16 capital letters, digits, spaces "
     "and underscores; did you mean CT?"),
    ("peers = two", "calling-ae-titles = CT1",
     "[forward there] peers: found nothing, expected names of [peer] sections, separated by commas, such as "
     "peers = ct1"),
])
def test_what_does_not_go_together(tmp_path: Path, old: str, new: str, problem: str) -> None:
    text = HEAD + THERE + BACK + peers("pacs.example")
    assert text.count(old) == 1
    assert [each.partition(": ")[2] for each in problems(tmp_path, text.replace(old, new))] == [problem]
