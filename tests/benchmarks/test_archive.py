"""The benchmark of the archive does what it says, once and small: it counts every answer itself."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks.archive import QUERIES, Query, entries, fill
from dimsetls.services.index import Index

PROJECT = Path(__file__).parents[2]


def test_the_archive_has_what_the_queries_expect(tmp_path: Path) -> None:
    fill(tmp_path, 41)
    index = Index(tmp_path / ".index.db")
    index.open()
    assert index.count() == 4100
    index.close()
    assert len({entry.sop_instance_uid for entry in entries(4100)}) == 4100


@pytest.mark.parametrize("query", QUERIES, ids=lambda query: query.name)
def test_a_query_is_expected_to_match_the_studies_that_have_its_keys(query: Query) -> None:
    studies, last = 41, 40
    exact = {keyword: value for keyword, value in query.keys(last).items() if keyword != "ModalitiesInStudy"}
    found = {
        entry.values["StudyInstanceUID"] for entry in entries(100 * studies)
        if all(_matches(entry.values[keyword], value) for keyword, value in exact.items())
    }  # fmt: skip
    assert len(found) == query.matches(last, studies)


def _matches(value: str, key: str) -> bool:
    return value.lower().startswith(key[:-1].lower()) if key.endswith("*") else value == key


@pytest.mark.peers
def test_the_command_writes_tables_and_json(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "benchmarks.archive", "--instances", "3000", "--quick", "--rows", "tiny"]
    ended = subprocess.run([*command, "--work", str(tmp_path), "--json", str(tmp_path / "result.json")],
                           cwd=PROJECT, text=True, capture_output=True, check=False)  # fmt: skip
    assert ended.returncode == 0, ended.stderr
    assert "3 studies, 300 instances" in ended.stdout
    assert "| 4 kB, 1 association | full |" in ended.stdout
    result = json.loads((tmp_path / "result.json").read_text())
    assert [each["query"] for each in result["queries"]] == [query.name for query in QUERIES]
    assert {(run["peer"], run["operations"], run["error"]) for run in result["runs"]} == {
        (f"fsync = {fsync}, index = {index}", 200, "") for fsync in ("none", "full") for index in ("no", "yes")
    }
    assert [path.name for path in tmp_path.iterdir()] == ["result.json"]
