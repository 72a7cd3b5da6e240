from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from twisted.logger import globalLogPublisher

from dimsetls.testing import DevelopmentAuthority


@pytest.fixture(scope="session")
def authority() -> DevelopmentAuthority:
    return DevelopmentAuthority()


@pytest.fixture
def logged() -> Iterator[list[dict[str, Any]]]:
    """What is logged while the test runs."""
    events: list[dict[str, Any]] = []
    globalLogPublisher.addObserver(events.append)
    yield events
    globalLogPublisher.removeObserver(events.append)
