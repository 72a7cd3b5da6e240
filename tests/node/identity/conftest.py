"""A node that checks identities, servers that it asks, and `dimsetls identity test` as an operator runs it."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from dimsetls.identity.credentials import Secret
from dimsetls.node.users import add
from dimsetls.tls.authority import DevelopmentAuthority

from ...peers.running import DEADLINE, Node
from ...servers.kdc import KDC
from ...servers.oauth import AuthorizationServer
from ...servers.saml_idp import IdentityProvider
from ...servers.slapd import SERVICE_PASSCODE, Slapd

DIMSETLS = str(Path(sys.executable).with_name("dimsetls"))

PASSCODE = "correct horse battery"
"""That of the users in `users`."""


@pytest.fixture(scope="session")
def directory(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Slapd]:
    slapd = Slapd(tmp_path_factory.mktemp("slapd"), DevelopmentAuthority())
    yield slapd
    slapd.stop()


@pytest.fixture(scope="session")
def kdc(tmp_path_factory: pytest.TempPathFactory) -> Iterator[KDC]:
    with KDC(tmp_path_factory.mktemp("kdc") / "kdc") as running:
        yield running


@pytest.fixture(scope="session")
def oauth(tmp_path_factory: pytest.TempPathFactory) -> Iterator[AuthorizationServer]:
    with AuthorizationServer(tmp_path_factory.mktemp("oauth")) as server:
        yield server


@pytest.fixture(scope="session")
def provider() -> IdentityProvider:
    return IdentityProvider()


@pytest.fixture(scope="session")
def users(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A users file: alice, in radiology; bob, who is disabled; carla, who has no passcode."""
    file = tmp_path_factory.mktemp("users") / "users"
    add(file, "alice", Secret(PASSCODE.encode()), ("radiology",), ("technician",))
    add(file, "bob", Secret(PASSCODE.encode()), disabled=True)
    add(file, "carla", None)
    return file


@pytest.fixture
def staff(node: Node, users: Path) -> Node:
    """A node with a policy `staff` that asks the users file."""
    node.set("ae DIMSETLS", identity="staff")
    node.set("identity staff", passcode="users local")
    node.set("users local", file=users)
    return node


def directory_options(directory: Slapd, node: Node) -> dict[str, object]:
    """Options of an [ldap] section that finds users of the directory."""
    passcode = node.directory / "ldap.pass"
    passcode.touch(0o600)
    passcode.write_text(SERVICE_PASSCODE)
    return {
        "servers": directory.ldaps, "trust_roots": directory.trust_roots, "search_base": "ou=people,dc=example,dc=org",
        "service_dn": "cn=dimsetls,ou=services,dc=example,dc=org", "service_passcode": passcode,
    }  # fmt: skip


Run = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def try_identity(node: Node) -> Run:
    """Run `dimsetls identity test` with the configuration of the node, as it is then."""

    def run(
        *words: object, stdin: str | bytes = b"", environment: dict[str, str] | None = None
    ) -> subprocess.CompletedProcess[str]:
        command = [DIMSETLS, "identity", "test", "--config", str(node.write()), *map(str, words)]
        octets = stdin.encode() if isinstance(stdin, str) else stdin
        done = subprocess.run(
            command, cwd=node.directory, input=octets, env=environment, capture_output=True, timeout=DEADLINE,
            check=False,
        )  # fmt: skip
        assert b"Traceback" not in done.stderr, done.stderr.decode()
        return subprocess.CompletedProcess(command, done.returncode, done.stdout.decode(), done.stderr.decode())

    return run
