"""What tests of several back ends share: a reactor that runs while a test waits, and servers that are slow to start."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from ..servers.oauth import AuthorizationServer
from .loop import Loop


@pytest.fixture(scope="session")
def loop() -> Iterator[Loop]:
    """A reactor of the tests' own; nothing happens in it but while a test waits."""
    running = Loop()
    yield running
    running.end()


@pytest.fixture(scope="session")
def authorization_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[AuthorizationServer]:
    with AuthorizationServer(tmp_path_factory.mktemp("oauth")) as server:
        yield server


@pytest.fixture
def oauth(authorization_server: AuthorizationServer) -> AuthorizationServer:
    """The authorization server, without faults and its counts at nothing."""
    authorization_server.heal()
    authorization_server.counts()
    return authorization_server
