from __future__ import annotations

from pathlib import Path

import pytest

from dimsetls.node.cli import main
from dimsetls.node.stores import INDEX

from ..services.archives import an_archive, keep

INI = "[storage archive]\ndirectory = store\nindex = yes\n[storage plain]\ndirectory = store\n[listener main]\n" \
      "plain = i understand the risk\nport = 11112\naes = ME\n[ae ME]\nstorage = archive\n"


@pytest.fixture
def config(tmp_path: Path) -> Path:
    """A configuration whose store holds twelve instances and whose index was lost."""
    store = an_archive(tmp_path / "store")
    for number in range(1, 13):
        keep(store, f"1.1.1.{number}")
    store.close()
    for path in (tmp_path / "store").glob(".index.db*"):
        path.unlink()
    path = tmp_path / "node.ini"
    path.write_text(INI)
    return path


def test_what_is_missing_is_told_and_a_rebuild_brings_it_back(
    config: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    command = ["--config", str(config), "--storage", "archive"]
    assert main(["index", "verify", *command]) == 1
    said = capsys.readouterr().out.splitlines()
    assert len(said) == 13
    assert all("expected its instance 1.1.1." in line for line in said[:-1])
    assert said[-1] == "[storage archive] 12 rows and files compared, 12 problems found"
    assert main(["index", "rebuild", *command]) == 0
    said, progress = capsys.readouterr()
    assert said == "[storage archive] 12 indexed, no problems found\n"
    assert progress.splitlines()[-1] == "[storage archive] 12 of 12 (100 %)"
    assert 2 <= len(progress.splitlines()) <= 10
    assert main(["index", "verify", *command[:2]]) == 0
    assert capsys.readouterr().out == "[storage archive] 24 rows and files compared, no problems found\n"


def test_a_file_that_is_no_instance_is_told(config: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (config.parent / "store" / "notes.txt").write_text("mine")
    assert main(["index", "rebuild", "--config", str(config)]) == 1
    said = capsys.readouterr().out.splitlines()
    assert said[0].startswith("notes.txt: expected a Part 10 file")
    assert said[1] == "[storage archive] 12 indexed, 1 problem found"


def test_the_configuration_is_found_as_for_other_commands(
    config: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DIMSETLS_CONFIG", str(config))
    assert main(["index", "rebuild"]) == 0
    assert capsys.readouterr().out == "[storage archive] 12 indexed, no problems found\n"


@pytest.mark.parametrize(("name", "sentence"), [
    ("plain", "[storage plain] has no index, expected index = yes in it"),
    ("archiv", "found no [storage archiv], expected one; did you mean archive?"),
])  # fmt: skip
def test_a_store_without_an_index_is_refused(
    config: Path, capsys: pytest.CaptureFixture[str], name: str, sentence: str
) -> None:
    assert main(["index", "verify", "--config", str(config), "--storage", name]) == 1
    assert capsys.readouterr().err == f"{config}: {sentence}\n"


def test_an_index_that_is_no_database_is_told_and_made_anew(config: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (config.parent / "store" / INDEX).write_bytes(b"no database" * 100)
    assert main(["index", "verify", "--config", str(config)]) == 1
    assert "dimsetls index rebuild" in capsys.readouterr().err
    assert main(["index", "rebuild", "--config", str(config)]) == 0
