"""What is started once for all programs of others."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from . import ours as archive


@pytest.fixture(scope="session")
def ours(tmp_path_factory: pytest.TempPathFactory, pki: Path) -> Iterator[archive.Ours]:
    with archive.running(tmp_path_factory.mktemp("ours"), pki) as running:
        yield running
