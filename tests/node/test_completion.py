from __future__ import annotations

import os
import shutil
import subprocess

import pytest

from dimsetls.node.cli import main

from .client.calls import PROGRAM

INI = """
[peer PACS1]
host = pacs.example
[peer PACS2]
host = pacs.example
[peer CALLS-US-ONLY]
ae-title = CT1
"""


def completions(line, directory, **environment):
    """What a shell is answered for a line that the user has begun."""
    answer = directory / "answer"
    answer.touch()
    subprocess.run(PROGRAM, check=True, cwd=directory, env=os.environ | {
        "_ARGCOMPLETE": "1", "_ARGCOMPLETE_IFS": "\n", "_ARGCOMPLETE_SUPPRESS_SPACE": "1", "COMP_LINE": line,
        "COMP_POINT": str(len(line)), "_ARGCOMPLETE_STDOUT_FILENAME": str(answer),
        "DIMSETLS_CONFIG": str(directory / "dimsetls.ini"), **environment,
    })  # fmt: skip
    found = answer.read_text().split("\n")
    answer.unlink()
    return set(found)


@pytest.fixture
def place(tmp_path):
    (tmp_path / "dimsetls.ini").write_text(INI)
    (tmp_path / "other.ini").write_text(INI.replace("PACS1", "ELSEWHERE"))
    (tmp_path / "study").mkdir()
    return tmp_path


@pytest.mark.parametrize(("line", "expected"), [
    ("dimsetls ser", {"serve"}),
    ("dimsetls echo P", {"PACS1", "PACS2"}),
    ("dimsetls echo --config other.ini E", {"ELSEWHERE"}),
    ("dimsetls echo --config nothing.ini P", {""}),
    ("dimsetls find PACS1 --lev", {"--level"}),
    ("dimsetls find PACS1 --level S", {"STUDY", "SERIES"}),
    ("dimsetls find PACS1 PatientN", {"PatientName="}),
    ("dimsetls get PACS1 StudyInstanceUID=1 --to ", {"study/"}),
    ("dimsetls check o", {"other.ini"}),
    ("dimsetls index rebuild --config d", {"dimsetls.ini"}),
    ("dimsetls echo PACS1 --ae D", {""}),
    ("dimsetls explain key-usage", {"key-usage-limit"}),
    ("dimsetls completion ", {"bash", "zsh", "fish"}),
])
def test_what_may_come_next(line, expected, place):
    found = completions(line, place)
    if not line.split()[-1].startswith("--lev"):
        found = {each for each in found if not each.startswith("--")} or {""}  # options may come next nearly always
    assert found == expected


@pytest.mark.parametrize(("shell", "check"), [
    ("bash", ["bash", "-c", 'eval "$(cat script)" && complete -p dimsetls']),
    ("zsh", ["zsh", "-f", "-c", 'autoload -Uz compinit; compinit -u -D; eval "$(cat script)"; '
                                '[[ -n ${_comps[dimsetls]} ]]']),
    ("fish", ["fish", "--no-config", "-c", "source script; complete -c dimsetls | string match -q '*dimsetls*'"]),
])
def test_each_shell_takes_its_script(shell, check, capsys, tmp_path):
    assert main(["completion", shell]) == 0
    (tmp_path / "script").write_text(capsys.readouterr().out)
    if shutil.which(shell) is None:
        pytest.skip(f"{shell} is not installed")
    ended = subprocess.run(check, cwd=tmp_path, capture_output=True, text=True)
    assert (ended.returncode, ended.stderr) == (0, "")
