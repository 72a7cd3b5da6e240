"""`dimsetls queue` on a store with a queue, while no node runs; with one see tests/peers/test_forwarding.py."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from dimsetls.node import queue as command
from dimsetls.node.cli import main
from dimsetls.services.forwarding.queue import Queue
from dimsetls.services.forwarding.rules import Rule
from dimsetls.services.forwarding.verdict import Verdict

from ..services.archives import an_archive, body, keep

INI = """\
[listener main]
plain = i understand the risk
port = 11112
aes = ME
[ae ME]
storage = archive
[storage archive]
directory = store
index = yes
forward = to-pacs
[storage plain]
directory = store
[forward to-pacs]
peers = pacs, backup
[peer pacs]
ae-title = PACS
host = pacs.example
tls = secure
[peer backup]
ae-title = BACKUP
host = backup.example
tls = secure
[tls secure]
certificate = server.pem
private-key = server.key
trust-roots = ca.pem
"""
RULE = Rule("to-pacs", ("pacs",))
NOW = 1_000_000.0


@pytest.fixture
def config(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """Two instances wait for PACS, one is dead and one was sent; and one waits for what the configuration has not."""
    store = an_archive(tmp_path / "store")
    store.queue = queue = Queue(store.index, lambda: NOW)
    queue.rules = (RULE,)
    for number in range(1, 5):
        keep(store, f"1.1.1.{number}", body(number=number))
    first, second, third, _ = queue.pick(RULE, "pacs", 10)[0]
    queue.settle(RULE, [
        (first, Verdict.DEAD, "PACS answered 0122H"), (second, Verdict.SENT, ""), (third, Verdict.LATER, "it was cut"),
    ])  # fmt: skip
    queue.hold(RULE, "pacs", "connection refused")
    queue.rules = (Rule("old", ("gone",)),)
    keep(store, "1.1.1.9")
    store.close()
    path = tmp_path / "node.ini"
    path.write_text(INI)
    monkeypatch.setattr(command, "time", SimpleNamespace(time=lambda: NOW + 20))
    return str(path)


def asked(capsys: pytest.CaptureFixture[str], config: str, *words: str, status: int = 0) -> Any:
    assert main(["queue", *words, "--config", config, "--json"]) == status
    [storage] = json.loads(capsys.readouterr().out)["storages"]
    assert storage.pop("name") == "archive"
    return storage


def test_list_counts_and_says_what_stands_in_the_way(config: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["queue", "list", "--config", config]) == 1
    assert capsys.readouterr().out.splitlines() == [
        "[storage archive] [forward old] to [peer gone]: 1 waiting (the oldest for 20 s), 0 dead, 0 sent; the "
        "configuration has this no more",
        "[storage archive] [forward to-pacs] to [peer backup]: nothing yet",
        "[storage archive] [forward to-pacs] to [peer pacs]: 2 waiting (the oldest for 20 s), 1 dead, 1 sent; next try "
        "in 10 s, as the last failed: connection refused",
    ]
    assert asked(capsys, config, "list", "--peer", "pacs", status=1) == {"queues": [{
        "rule": "to-pacs", "peer": "pacs", "configured": True, "waiting": 2, "dead": 1, "sent": 1, "oldestSeconds": 20,
        "leftAlone": {"failures": 1, "seconds": 10, "error": "connection refused"},
    }]}  # fmt: skip
    assert asked(capsys, config, "list", "--rule", "old")["queues"][0]["configured"] is False
    assert asked(capsys, config, "list", "--rule", "none")["queues"] == []


def test_show_tells_of_each(config: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["queue", "show", "--config", config, "--rule", "to-pacs"]) == 0
    assert capsys.readouterr().out.splitlines() == [
        "1.1.1.1 [forward to-pacs] to [peer pacs]: dead, queued 20 s ago, 1 try: PACS answered 0122H",
        "1.1.1.3 [forward to-pacs] to [peer pacs]: waiting, queued 20 s ago, 1 try, next try in 10 s: it was cut",
        "1.1.1.4 [forward to-pacs] to [peer pacs]: waiting, queued 20 s ago, 0 tries",
    ]
    [item] = asked(capsys, config, "show", "--state", "dead")["items"]
    assert item == {
        "sopInstanceUID": "1.1.1.1", "sopClassUID": "1.2.840.10008.5.1.4.1.1.2", "calledAETitle": "ARCHIVE",
        "transferSyntaxUID": "1.2.840.10008.1.2.1", "path": str(Path(config).parent / "store/1.1/1.1.1.1.dcm"),
        "rule": "to-pacs", "peer": "pacs", "state": "dead", "attempts": 1, "ageSeconds": 20, "nextTrySeconds": None,
        "error": "PACS answered 0122H",
    }  # fmt: skip
    assert len(asked(capsys, config, "show", "--most", "2")["items"]) == 2
    assert asked(capsys, config, "show", "1.1.1.77", status=1) == {"items": []}


def test_retry_and_drop_change_what_is_meant(config: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["queue", "retry", "--config", config]) == 0
    assert capsys.readouterr().out == "[storage archive] 1 instance to be tried anew\n"
    assert asked(capsys, config, "list", "--peer", "pacs")["queues"][0] | {"oldestSeconds": 0} == {
        "rule": "to-pacs", "peer": "pacs", "configured": True, "waiting": 3, "dead": 0, "sent": 1, "oldestSeconds": 0,
        "leftAlone": None,
    }  # fmt: skip
    assert asked(capsys, config, "retry") == {"changed": 0}
    assert asked(capsys, config, "retry", "1.1.1.4", "--state", "sent", status=1) == {"changed": 0}
    assert asked(capsys, config, "drop", "1.1.1.4") == {"changed": 1}
    assert asked(capsys, config, "drop", "--rule", "old", "--state", "waiting") == {"changed": 1}
    assert main(["queue", "drop", "--config", config, "--state", "dead"]) == 0
    assert capsys.readouterr().out == "[storage archive] no instances forgotten\n"
    assert [each["rule"] for each in asked(capsys, config, "list")["queues"]] == ["to-pacs", "to-pacs"]


def test_drop_wants_to_hear_what(config: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        main(["queue", "drop", "--config", config, "--rule", "to-pacs"])
    assert caught.value.code == 2
    assert "say what is to be forgotten: --state STATE or UIDs" in capsys.readouterr().err


def test_a_store_without_a_queue_and_one_that_cannot_be_read(config: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["queue", "list", "--config", config, "--storage", "plain"]) == 1
    assert "[storage plain] has no index" in capsys.readouterr().err
    (Path(config).parent / "store/.index.db").write_bytes(b"no database" * 1000)
    assert main(["queue", "list", "--config", config]) == 1
    assert "dimsetls index rebuild" in capsys.readouterr().err


@pytest.mark.parametrize(("seconds", "text"), [
    (-3, "0 s"), (0, "0 s"), (59.6, "1 min"), (61, "1 min 1 s"), (3600, "1 h"), (7325, "2 h 2 min"),
    (90_000, "1 d 1 h"),
])
def test_ages(seconds: float, text: str) -> None:
    assert command._age(seconds) == text
