"""The benchmark does what it says, once and small: asserted is what was stored, never how fast."""

import json
from dataclasses import replace
from pathlib import Path

import pytest

from benchmarks.__main__ import main
from benchmarks.client import Kind, data_set, instance_uid
from benchmarks.measure import Measurement, Row, RunError, check_stored, instances, make_files, make_keys, measure
from benchmarks.peers import PEERS
from benchmarks.report import Spread, summarise, table

ROW = Row("few", "3 small instances", Kind.STORE, count=3, size=50_000)


@pytest.mark.peers
@pytest.mark.parametrize("row", [
    ROW,
    replace(ROW, associations=2),
    replace(ROW, storescu=True),
    Row("associate", "associations", Kind.ASSOCIATE, associations=2, seconds=0.1),
    Row("echo", "C-ECHO", Kind.ECHO, seconds=0.1),
], ids=["store", "several", "storescu", "associate", "echo"])
def test_storescp_does_every_kind_of_work(row: Row, tmp_path: Path) -> None:
    assert PEERS["storescp"].missing() == ""
    make_keys(tmp_path / "keys")
    run = measure(PEERS["storescp"], row, 0, tmp_path)
    assert run.error == ""
    assert run.operations == row.associations * row.count or (row.seconds and run.operations > 0)
    assert run.peak_rss > 0
    assert not (tmp_path / "run").exists()


@pytest.mark.peers
@pytest.mark.parametrize(("peer", "row"), [
    ("stunnel", ROW), ("haproxy", ROW), ("orthanc", ROW), ("ceiling", ROW),
    ("dimsetls-workers", replace(ROW, associations=2)),
    ("ceiling", Row("resumed", "associations", Kind.ASSOCIATE, count=2, resumed=True)),
], ids=["stunnel", "haproxy", "orthanc", "ceiling", "dimsetls-workers", "ceiling-resumed"])
def test_every_peer_stores_what_was_sent(peer: str, row: Row, tmp_path: Path) -> None:
    assert PEERS[peer].missing() == ""
    make_keys(tmp_path / "keys")
    run = measure(PEERS[peer], row, 0, tmp_path)
    assert run.error == ""
    assert run.operations == row.associations * row.count
    assert run.cpu > 0 < run.client_cpu


@pytest.mark.peers
def test_the_command_writes_a_table_and_json(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["--quick", "--rounds", "1", "--peers", "storescp", "--rows", "storescu-nodelay"]
    assert main([*arguments, "--work", str(tmp_path), "--json", str(tmp_path / "result.json")]) == 0
    assert "| storescp |" in capsys.readouterr().out
    result = json.loads((tmp_path / "result.json").read_text())
    (run,) = result["runs"]
    assert (run["peer"], run["row"], run["operations"], run["error"]) == ("storescp", "storescu-nodelay", 20, "")
    assert result["summary"][0]["ratio"] == {"median": 1.0, "lowest": 1.0, "highest": 1.0}
    assert [path.name for path in tmp_path.iterdir()] == ["result.json"]


def test_what_is_not_installed_is_named(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setenv("PATH", "/nowhere")
    monkeypatch.setattr("os.geteuid", lambda: 1000)
    assert main(["--install", "--peers", "storescp"]) == 0
    out, err = capsys.readouterr()
    assert "apt-get install" in err
    assert "dcmtk" in err
    assert "the package dcmtk" in out


@pytest.mark.peers
def test_a_server_that_does_not_start_is_a_failed_run_that_says_why(tmp_path: Path) -> None:
    peer = replace(PEERS["storescp"], command=lambda site: ["sh", "-c", "echo no such key; exit 1"])
    make_keys(tmp_path / "keys")
    assert measure(peer, ROW, 0, tmp_path).error.endswith("its log ends: no such key")


@pytest.mark.peers
@pytest.mark.parametrize("peer", ["pynetdicom", "dimsetls"])
def test_finders_give_every_match(peer: str, tmp_path: Path) -> None:
    make_keys(tmp_path / "keys")
    run = measure(PEERS[peer], Row("find", "C-FIND", Kind.FIND, count=3, seconds=0.1), 0, tmp_path)
    assert run.error == ""
    assert run.operations % 3 == 0 < run.operations


@pytest.mark.peers
def test_ours_checks_the_user_of_each_association(tmp_path: Path) -> None:
    make_keys(tmp_path / "keys")
    run = measure(PEERS["dimsetls"], Row("associate", "associations", Kind.ASSOCIATE, seconds=0.1), 0, tmp_path)
    assert run.error == ""


def test_what_was_sent_passes_the_check(tmp_path: Path) -> None:
    assert len(make_files(tmp_path, ROW)) == 3
    check_stored(tmp_path, ROW)


def flip(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)


def test_what_is_hidden_in_a_store_is_left_alone(tmp_path: Path) -> None:
    files = make_files(tmp_path, ROW)
    for name in (".index.db", ".own/lock"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(b"")
    assert sorted(map(str, instances(tmp_path))) == files
    check_stored(tmp_path, ROW)


@pytest.mark.parametrize(("spoil", "sentence"), [
    (flip, "differ"),
    (lambda path: path.write_bytes(path.read_bytes()[:-2]), "differ"),
    (lambda path: path.unlink(), "1 of the instances sent"),
    (lambda path: path.with_suffix(".copy").write_bytes(path.read_bytes()), "is there twice"),
    (lambda path: path.with_suffix(".log").write_bytes(b"note"), "DICOM files only"),
])
def test_any_difference_in_what_was_stored_fails_the_run(spoil, sentence: str, tmp_path: Path) -> None:
    spoil(Path(make_files(tmp_path, ROW)[1]))
    with pytest.raises(RunError, match=sentence):
        check_stored(tmp_path, ROW)


def test_instances_differ_in_their_uid_only() -> None:
    first, second = (data_set(50_000, instance_uid(0, number)) for number in (0, 1))
    assert len(first) == len(second) == 50_000
    assert [(a, b) for a, b in zip(first, second, strict=True) if a != b] == [(ord("0"), ord("1"))]


def test_ratios_are_taken_within_a_round() -> None:
    rates = {"storescp": (100.0, 200.0, 400.0), "other": (150.0, 100.0, 400.0)}
    runs = [Measurement("few", peer, number, rate, 3, 1.0, 0.5, 10_000_000)
            for peer, peer_rates in rates.items() for number, rate in enumerate(peer_rates)]
    assert summarise(ROW, "other", runs).ratio == Spread(1.0, 0.5, 1.5)


def test_a_failed_run_counts_as_failed_and_not_as_slow() -> None:
    good = Measurement("few", "storescp", 0, 100.0, 3, 1.0, 0.5, 10_000_000)
    bad = Measurement("few", "storescp", 1, error="no")
    summary = summarise(ROW, "storescp", [good, bad])
    assert (summary.failed, summary.rate) == (1, Spread(100.0, 100.0, 100.0))
    assert "failed" in table([ROW], [PEERS["storescp"]], [bad])
