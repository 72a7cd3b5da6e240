"""What pip installs is whole: from a wheel, and with `pip install -e`, `twistd dimsetls` and `dicomtls:` are found."""

from __future__ import annotations

import configparser
import json
import os
import shutil
import subprocess
import sys
import sysconfig
import tarfile
import venv
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

import dimsetls

ROOT = Path(__file__).parents[1]
VERSION = dimsetls.__version__
MINUTES = 5 * 60.0
SOURCES = ("setup.cfg", "pyproject.toml", "README.md", "LICENSE", "dimsetls", "twisted")

ASK = """
import json, sys
from importlib.metadata import version
from pathlib import Path
import dimsetls
from twisted.application.service import IServiceMaker
from twisted.internet.interfaces import IStreamClientEndpointStringParserWithReactor, IStreamServerEndpointStringParser
from twisted.plugin import getPlugins
print(json.dumps({
    "services": [maker.tapname for maker in getPlugins(IServiceMaker)],
    "servers": [parser.prefix for parser in getPlugins(IStreamServerEndpointStringParser)],
    "clients": [parser.prefix for parser in getPlugins(IStreamClientEndpointStringParserWithReactor)],
    "options": [maker.options.__name__ for maker in getPlugins(IServiceMaker) if maker.tapname == "dimsetls"],
    "version": version("dimsetls"),
    "where": str(Path(dimsetls.__file__).parents[1]),
    "typed": Path(dimsetls.__file__).with_name("py.typed").exists(),
}))
"""


def run(*command: object, cwd: Path) -> str:
    """The output of a program that must succeed."""
    words = list(map(str, command))
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    answer = subprocess.run(words, cwd=cwd, env=environment, capture_output=True, text=True, timeout=MINUTES,
                            check=False)
    assert answer.returncode == 0, f"{words} said:\n{answer.stdout}{answer.stderr}"
    return answer.stdout


@dataclass(frozen=True, slots=True)
class Environment:
    """A virtual environment with the dependencies of the one that runs, but without its dimsetls."""

    directory: Path

    def program(self, name: str) -> Path:
        return self.directory / "bin" / name

    def install(self, *what: object) -> None:
        pip = sys.executable, "-m", "pip", "--python", self.program("python"), "--disable-pip-version-check"
        run(*pip, "install", "--quiet", "--no-deps", *what, cwd=self.directory)

    def python(self, *arguments: object) -> str:
        """Run Python with nothing of the surroundings on its path."""
        return run(self.program("python"), "-I", *arguments, cwd=self.directory)

    def found(self) -> dict[str, Any]:
        answer: dict[str, Any] = json.loads(self.python("-c", ASK))
        return answer


@pytest.fixture
def environment(tmp_path: Path) -> Environment:
    made = Environment(tmp_path / "venv")
    venv.create(made.directory, with_pip=False, symlinks=True)
    (site_packages,) = made.directory.glob("lib/python*/site-packages")
    # A line of a .pth file is a path and nothing else: that of an editable install in there is not followed.
    (site_packages / "dependencies.pth").write_text(sysconfig.get_path("purelib") + "\n")
    return made


@pytest.fixture(scope="module")
def tree(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of what is packaged, as building leaves traces."""
    copy = tmp_path_factory.mktemp("tree")
    for name in SOURCES:
        if (ROOT / name).is_dir():
            shutil.copytree(ROOT / name, copy / name, ignore=shutil.ignore_patterns("__pycache__", "dropin.cache"))
        else:
            shutil.copy(ROOT / name, copy)
    return copy


@pytest.fixture(scope="module")
def built(tree: Path) -> Path:
    """The directory of a source distribution, and of a wheel that was built from that."""
    run(sys.executable, "-m", "build", cwd=tree)
    return tree / "dist"


@pytest.fixture(scope="module")
def wheel(built: Path) -> Path:
    (path,) = built.glob("*.whl")
    return path


def modules() -> set[str]:
    """Every module of the source tree, by its path."""
    return {str(path.relative_to(ROOT)) for name in ("dimsetls", "twisted") for path in (ROOT / name).rglob("*.py")}


def test_the_version_is_told_alike() -> None:
    setup = configparser.ConfigParser()
    setup.read(ROOT / "setup.cfg")
    assert setup["metadata"]["version"] == VERSION


def test_the_wheel_has_every_module(wheel: Path) -> None:
    assert wheel.name == f"dimsetls-{VERSION}-py3-none-any.whl"
    names = set(zipfile.ZipFile(wheel).namelist())
    packed = {name for name in names if ".dist-info/" not in name}
    assert packed == modules() | {"dimsetls/py.typed"}
    assert "twisted/plugins/__init__.py" not in names  # it would take the place of Twisted's own
    assert f"dimsetls-{VERSION}.dist-info/licenses/LICENSE" in names


def test_the_source_distribution_has_every_module(built: Path) -> None:
    with tarfile.open(built / f"dimsetls-{VERSION}.tar.gz") as archive:
        names = {name.partition("/")[2] for name in archive.getnames()}
    assert names >= modules() | {"dimsetls/py.typed", "setup.cfg", "pyproject.toml", "README.md", "LICENSE"}


def assert_complete(environment: Environment, where: Path) -> None:
    found = environment.found()
    assert found["services"].count("dimsetls") == 1
    assert found["options"] == ["Options"]  # so that the module behind the plugin can be imported
    assert found["servers"].count("dicomtls") == 1
    assert found["clients"].count("dicomtls") == 1
    assert (found["version"], found["typed"]) == (VERSION, True)
    assert Path(found["where"]) == where
    twistd = "-c", "from twisted.scripts.twistd import run; run()"
    assert "A DICOM node: associations over strict TLS." in " ".join(environment.python(*twistd, "--help").split())
    assert run(environment.program("dimsetls"), "--version", cwd=where) == f"dimsetls {VERSION}\n"
    run(environment.program("dimsetls"), "init", environment.directory / "node", cwd=environment.directory)
    checked = environment.python(*twistd, "dimsetls", "--check", "--config", "node/dimsetls.ini")
    assert "node/dimsetls.ini: no problems found" in checked


def test_a_wheel_is_found(environment: Environment, wheel: Path) -> None:
    environment.install(wheel)
    (site_packages,) = environment.directory.glob("lib/python*/site-packages")
    assert_complete(environment, site_packages)


def test_an_editable_install_is_found(environment: Environment, tree: Path) -> None:
    environment.install("--editable", tree)
    assert_complete(environment, tree)


def test_without_it_nothing_is_found(environment: Environment) -> None:
    """What the tests above find is not what is installed where they run."""
    answer = subprocess.run([environment.program("python"), "-I", "-c", "import twisted, dimsetls"],
                            cwd=environment.directory, capture_output=True, text=True, timeout=MINUTES, check=False)
    assert "No module named 'dimsetls'" in answer.stderr
