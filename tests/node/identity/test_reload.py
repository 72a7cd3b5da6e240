"""SIGHUP: who is let in and what may be done changes for new associations; what must be remembered is."""

from __future__ import annotations

from pathlib import Path

import pytest

from dimsetls.identity.credentials import Credential, SAMLAssertion, Secret, UsernameAndPasscode, write_identity
from dimsetls.node.users import change
from dimsetls.ul.pdus import AssociateRJ

from ...peers.running import Node, Service, eventually
from ...peers.sender import ECHO, STORE, Rejected, Sender, client_context, connect
from ...servers.saml_idp import IdentityProvider
from ..test_reload import refused, reload
from .conftest import PASSCODE

DENIED = AssociateRJ(1, 2, 1)


def alice(passcode: str = PASSCODE) -> Credential:
    return UsernameAndPasscode("alice", Secret(passcode.encode()))


def enter(service: Service, pki: Path, credential: Credential | None) -> Sender:
    """An association of who presents that."""
    identity = write_identity(credential, False) if credential is not None else None
    return Sender(connect(("127.0.0.1", service.port()), client_context(pki)), identity=identity)


def assert_admitted(service: Service, pki: Path, credential: Credential | None) -> None:
    with enter(service, pki, credential) as association:
        assert association.echo() == 0x0000
        association.release()


def assert_denied(service: Service, pki: Path, credential: Credential | None) -> None:
    with pytest.raises(Rejected) as caught:
        enter(service, pki, credential)
    assert caught.value.pdu == DENIED


def test_a_policy_comes_changes_and_goes(node: Node, users: Path, pki: Path) -> None:
    with node.running() as service:
        assert_admitted(service, pki, None)
        node.set("ae DIMSETLS", identity="staff")
        node.set("identity staff", passcode="users local")
        node.set("users local", file=users)
        reload(service, node)
        assert_denied(service, pki, None)
        assert_denied(service, pki, alice("wrong"))
        with enter(service, pki, alice()) as association:
            service.expect("alice of local by passcode")
            node.set("identity staff", policy="prefer")
            reload(service, node)
            assert_admitted(service, pki, None)
            assert_denied(service, pki, alice("wrong"))
            node.set("ae DIMSETLS", identity=None)
            reload(service, node)
            assert_admitted(service, pki, alice("wrong"))
            assert association.echo() == 0x0000
            association.release()


def test_rules_hold_for_new_associations(staff: Node, pki: Path) -> None:
    staff.set("ae DIMSETLS", rules="radiology")
    staff.set("rule radiology", may="verification, store", groups="radiology")
    with staff.running() as service, enter(service, pki, alice()) as before:
        assert before.accepted == {ECHO, STORE}
        staff.set("rule radiology", may="store")
        reload(service, staff)
        with enter(service, pki, alice()) as after:
            assert after.accepted == {STORE}
            after.release()
        assert before.echo() == 0x0000
        before.release()


def test_what_cannot_be_used_leaves_the_gates_of_before(staff: Node, pki: Path) -> None:
    with staff.running() as service:
        staff.set("users local", file="none")
        (problem, *_) = refused(service, staff)
        assert "[users local] file: " in problem
        assert_admitted(service, pki, alice())
        assert_denied(service, pki, None)


def test_an_assertion_that_was_used_up_stays_so(node: Node, provider: IdentityProvider, pki: Path) -> None:
    node.set("ae DIMSETLS", identity="staff")
    node.set("identity staff", saml="idp")
    node.set("saml idp", issuer=provider.issuer, audience=provider.audience,
             certificates=provider.write_certificate(node.directory / "idp.pem"))

    def assertion(octets: bytes) -> SAMLAssertion:
        return SAMLAssertion(Secret(octets))

    first, second = provider.assertion(), provider.assertion()
    with node.running() as service:
        assert_admitted(service, pki, assertion(first))
        node.set("identity staff", policy="prefer")
        for _ in range(2):
            reload(service, node)
            assert_denied(service, pki, assertion(first))
        assert_admitted(service, pki, assertion(second))
        assert_denied(service, pki, assertion(second))


def test_who_is_locked_out_stays_so_and_no_success_is_remembered(staff: Node, users: Path, pki: Path) -> None:
    own = staff.directory / "users"
    own.touch(0o600)
    own.write_bytes(users.read_bytes())
    staff.set("users local", file=own)
    staff.set("identity staff", remember_successes="10m", failures_per_user=1)
    with staff.running() as service:
        assert_admitted(service, pki, alice())
        change(own, "alice", passcode=Secret(b"Another-passc0de"))
        assert_admitted(service, pki, alice())  # as it is remembered
        reload(service, staff)
        assert_denied(service, pki, alice())
        service.expect("SECURITY ALERT: .*alice.* is locked out")
        reload(service, staff)
        assert_denied(service, pki, alice("Another-passc0de"))


def test_the_threads_of_former_back_ends_end(staff: Node, pki: Path) -> None:
    staff.set("identity staff", deadline="1s")
    with staff.running() as service:
        threads = Path(f"/proc/{service.process.pid}/task")
        before = len(list(threads.iterdir()))
        assert_admitted(service, pki, alice())
        assert len(list(threads.iterdir())) > before
        staff.set("identity staff", deadline="100ms")
        reload(service, staff)
        eventually(lambda: len(list(threads.iterdir())) == before, f"there were not {before} threads again")
