"""What tests of several rooms share: the keys of a node, nodes that use them, and what all of them said."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from dimsetls.node.init import init
from dimsetls.tls import endpoints

from .peers.running import Node
from .secrets import Evidence, gathering, said


def pytest_addoption(parser: pytest.Parser) -> None:
    names = [each.value for each in endpoints.Transport]
    text = "which implementation carries TLS wherever a test does not say (default: as in the product)"
    parser.addoption("--tls-transport", choices=names, help=text)


def pytest_configure(config: pytest.Config) -> None:
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:  # as in the background of a shell, and children inherit it
        signal.signal(signal.SIGINT, signal.default_int_handler)
    if chosen := config.getoption("--tls-transport"):
        endpoints.DEFAULT_TRANSPORT = endpoints.Transport(chosen)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Whether a credential was given away is asked when all is said."""
    items.sort(key=lambda item: item.path.name == "test_discretion.py")


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    """What a test printed is said too."""
    for _, content in report.sections:
        said(content)


@pytest.fixture(scope="session", autouse=True)
def evidence(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Evidence]:
    """What is said from the first test on; see `tests/secrets.py`."""
    with gathering(tmp_path_factory.mktemp("said")) as evidence:
        yield evidence


@pytest.fixture(scope="session")
def pki(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The keys and certificates that `dimsetls init` makes."""
    directory = tmp_path_factory.mktemp("pki")
    init(directory)
    return directory / "pki"


@pytest.fixture
def node(tmp_path: Path, pki: Path) -> Node:
    """A node with the default configuration on a free port."""
    return Node(tmp_path, pki)
