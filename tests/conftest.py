"""What tests of several rooms share: the keys of a node, and nodes that use them."""

from __future__ import annotations

from pathlib import Path

import pytest

from dimsetls.node.init import init
from dimsetls.tls import endpoints

from .peers.running import Node


def pytest_addoption(parser: pytest.Parser) -> None:
    names = [each.value for each in endpoints.Transport]
    text = "which implementation carries TLS wherever a test does not say (default: as in the product)"
    parser.addoption("--tls-transport", choices=names, help=text)


def pytest_configure(config: pytest.Config) -> None:
    if chosen := config.getoption("--tls-transport"):
        endpoints.DEFAULT_TRANSPORT = endpoints.Transport(chosen)


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
