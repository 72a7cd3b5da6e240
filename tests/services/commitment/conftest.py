from collections.abc import Iterator
from pathlib import Path

import pytest

from ..conftest import logged
from .scene import Scene

__all__ = ["logged"]


@pytest.fixture
def scene(tmp_path: Path) -> Iterator[Scene]:
    scene = Scene(tmp_path)
    yield scene
    scene.close()
