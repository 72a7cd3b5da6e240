"""Directories, and back ends that ask them."""

from __future__ import annotations

import socket
from contextlib import ExitStack

import pytest

from dimsetls.identity.credentials import Secret, UsernameAndPasscode
from dimsetls.identity.ldap.directory import LDAPDirectory
from dimsetls.tls.authority import DevelopmentAuthority

from ...servers.odd_directory import OddDirectory, server_context
from ...servers.slapd import GROUP_BASE, PEOPLE_BASE, SERVICE_DN, SERVICE_PASSCODE, Slapd
from ..stage import presenter
from .scene import LONG, PASSCODES, Stage


@pytest.fixture(scope="session")
def authority():
    return DevelopmentAuthority()


@pytest.fixture(scope="session")
def directory(authority, tmp_path_factory):
    slapd = Slapd(tmp_path_factory.mktemp("slapd"), authority)
    yield slapd
    slapd.stop()


@pytest.fixture(scope="session")
def spare(authority, tmp_path_factory):
    """A second server of the same directory."""
    slapd = Slapd(tmp_path_factory.mktemp("spare"), authority)
    yield slapd
    slapd.stop()


@pytest.fixture
def stage():
    return Stage()


@pytest.fixture
def steps():
    """What back ends told of their steps."""
    return []


@pytest.fixture
def passcode_file(tmp_path):
    path = tmp_path / "service.pass"
    path.touch(0o600)
    path.write_text(f"{SERVICE_PASSCODE}\n")
    return path


@pytest.fixture
def make(directory, stage, steps, passcode_file):
    """Makes a back end that searches, or with a template one that binds at once."""
    made = []

    def make(*servers, **options):
        options = {"trust_roots": directory.trust_roots, "group_base": GROUP_BASE, "timeout": LONG} | options
        if "dn_template" not in options:
            searching = {"search_base": PEOPLE_BASE, "service_dn": SERVICE_DN, "service_passcode": str(passcode_file)}
            options = searching | options
        back_end = LDAPDirectory(
            "ldap hospital", servers=servers or [directory.ldaps], reactor=stage, trace=steps.append, **options
        )
        made.append(back_end)
        return back_end

    yield make
    for back_end in made:
        back_end.close()


@pytest.fixture
def odd(authority, tmp_path):
    """Starts a directory that is not a good one."""
    with ExitStack() as stack:
        certificate, key = tmp_path / "odd.pem", tmp_path / "odd.key"
        authority.issue_server().write(certificate, key)

        def odd(answer, *, secure=True, **how):
            started = OddDirectory(answer, server_context(certificate, key) if secure else None, **how)
            stack.callback(started.stop)
            return started

        yield odd


@pytest.fixture
def check(stage):
    """The outcome for a user name and a passcode, the right one unless another is given."""
    def check(back_end, user, passcode=None):
        octets = PASSCODES.get(user, b"nothing") if passcode is None else passcode
        return stage.outcome(back_end.verify(UsernameAndPasscode(user, Secret(octets)), presenter()))

    return check


@pytest.fixture
def dead(directory):
    """A port on which nothing listens: one that is taken, and does not."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        yield f"ldaps://localhost:{taken.getsockname()[1]}"
