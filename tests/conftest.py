"""What tests of several rooms share: the keys of a node, and nodes that use them."""

from __future__ import annotations

from pathlib import Path

import pytest

from dimsetls.node.init import init

from .peers.running import Node


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
