"""The plots are the same for the same figures, and the growth, memory and requestor parts do what they say, small."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from benchmarks import growth, idle, memory
from benchmarks.client import Kind
from benchmarks.growth import lines
from benchmarks.measure import Measurement, RunError, make_keys
from benchmarks.peers import PEERS
from benchmarks.report import write
from benchmarks.requesting import REQUESTORS, ask
from benchmarks.slow import slow_disk
from benchmarks.sweeps import PAIR, SWEEPS, Point, Sweep, points, read, text

FIGURES = [Point(sweep.name, peer, at, (1.0, 1.5, 2.0), (2.0, 3.0, 4.0))
           for sweep in SWEEPS for peer in PAIR for at in sweep.points]


def test_every_point_is_about_the_same_work_of_another_shape() -> None:
    for sweep in SWEEPS:
        rows = [sweep.row(at) for at in sweep.points]
        assert {row.kind for row in rows} == {Kind.ASSOCIATE if sweep.name == "sequence" else Kind.STORE}
        assert all(row.count >= 1 for row in rows)
    assert [SWEEPS[1].row(at).associations for at in (1, 64)] == [1, 64]
    assert SWEEPS[1].row(1).bytes == SWEEPS[1].row(64).bytes


def test_a_point_is_the_cost_of_one_object() -> None:
    good = Measurement("size", "storescp", 0, 1.0, operations=100, seconds=2.0, cpu=1.0)
    bad = Measurement("size", "storescp", 1, error="no")
    assert points([(4096, good), (4096, bad)]) == [Point("size", "storescp", 4096, (10.0,), (20.0,))]


def test_the_table_says_where_a_sweep_begins_and_ends() -> None:
    assert lines(FIGURES)[2] == (
        "| instance: instances, 100 … 20 000 | dimsetls | 1.50 … 1.50 ms | 3.00 … 3.00 ms |")
    assert text(SWEEPS[3], 4096) == "4 KiB"


@pytest.mark.parametrize("sweep", SWEEPS, ids=lambda sweep: sweep.name)
def test_a_plot_is_the_same_for_the_same_figures(sweep: Sweep, tmp_path: Path) -> None:
    from benchmarks.plots import draw

    mine = [each for each in FIGURES if each.sweep == sweep.name]
    for name in ("one.svg", "two.svg"):
        draw(sweep, mine, tmp_path / name)
    drawn = (tmp_path / "one.svg").read_text()
    assert drawn == (tmp_path / "two.svg").read_text()
    assert "dc:date" not in drawn
    for word in (*PAIR, sweep.axis, text(sweep, sweep.points[0])):
        assert word in drawn


def test_the_plots_in_docs_are_those_of_the_figures_beside_them() -> None:
    figures = read(growth.DOCS / "growth.json")
    for sweep in SWEEPS:
        assert {each.peer for each in figures if each.sweep == sweep.name} == set(PAIR)
        drawn = (growth.DOCS / f"growth-{sweep.name}.svg").read_text()
        assert all(f">{text(sweep, each.at)}<" in drawn for each in figures if each.sweep == sweep.name)


def test_a_part_is_put_between_its_marks_and_nothing_else_changes(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text("a\n<!-- measured: rows -->\nold\n<!-- end: rows -->\nz\n")
    write("rows", ["| new |"], page)
    assert page.read_text() == "a\n<!-- measured: rows -->\n\n| new |\n\n<!-- end: rows -->\nz\n"
    with pytest.raises(ValueError, match="measured: idle"):
        write("idle", ["x"], page)


def test_what_is_measured_quickly_does_not_go_to_docs(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        growth.main(["--quick"])
    assert "expected --to with --quick" in capsys.readouterr().err


@pytest.mark.peers
def test_growth_is_measured_and_what_was_measured_before_is_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(growth, "SWEEPS", (Sweep("sequence", "associations", "in sequence", "it", (2,)),))
    monkeypatch.setattr(growth, "PAIR", ("storescp",))
    kept = {"sweep": "pdu", "peer": "storescp", "at": 4096, "cpu": [1.0], "time": [1.0]}
    (tmp_path / "growth.json").write_text(json.dumps({"points": [kept]}))
    assert growth.main(["--rounds", "1", "--sweeps", "sequence", "--to", str(tmp_path)]) == 0
    found = json.loads((tmp_path / "growth.json").read_text())["points"]
    assert [(each["sweep"], each["at"]) for each in found] == [("pdu", 4096), ("sequence", 2)]
    assert (tmp_path / "growth-sequence.svg").exists()


@pytest.mark.peers
@pytest.mark.parametrize("requestor", REQUESTORS)
@pytest.mark.parametrize("kind", [Kind.ECHO, Kind.STORE])
def test_requestors_are_answered_by_a_peer_as_it_comes(kind: Kind, requestor: str, tmp_path: Path) -> None:
    make_keys(tmp_path / "keys")
    assert ask("storescp", kind, requestor, 0.2, tmp_path).rate > 0


@pytest.mark.peers
def test_memory_is_read_from_outside(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory, "ACTIVE", 2)
    for module in (memory, idle):
        monkeypatch.setattr(module, "SETTLED", 0.0)
    make_keys(tmp_path / "keys")
    place = memory.Place(PEERS["ceiling"], tmp_path, tmp_path / "keys")
    assert memory.in_the_middle(place, 1 << 20).endswith(" KiB")
    assert "descriptors" in memory.afterwards(place, 2)
    assert [path.name for path in tmp_path.iterdir()] == ["keys"]


def test_where_no_disk_can_be_slow_that_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("benchmarks.slow.LIMIT", tmp_path / "none")
    with pytest.raises(RunError, match="a slow disk needs root"), slow_disk(tmp_path, 1, 1):
        pass
