"""One hospital for all of these tests, and a node that asks its servers."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from ..running import Node, Service
from .hospital import Hospital
from .hospital import hospital as opened
from .peers import end_loop


@pytest.fixture(scope="session")
def hospital(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Hospital]:
    with opened(tmp_path_factory.mktemp("hospital")) as hospital:
        yield hospital
    end_loop()


@pytest.fixture(scope="session")
def service(hospital: Hospital, pki: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    node = Node(tmp_path_factory.mktemp("node"), pki)
    hospital.configure(node)
    with node.running(env=hospital.environment) as service:
        hospital.take_away()
        yield service
