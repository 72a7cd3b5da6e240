from __future__ import annotations

import pytest
from twisted.internet.task import Clock

from dimsetls.identity import cache as module
from dimsetls.identity.cache import Successes
from dimsetls.identity.credentials import (
    AccessToken,
    CertificateAlone,
    JSONWebToken,
    KerberosTicket,
    SAMLAssertion,
    Secret,
    Username,
    UsernameAndPasscode,
)
from dimsetls.identity.interfaces import Verified

from .stage import certificate, presenter

ALICE = Verified("alice", "hospital")
HERE = presenter()


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def successes(clock):
    return Successes(clock.seconds)


def passcode(name="alice", octets=b"sesame"):
    return UsernameAndPasscode(name, Secret(octets))


CREDENTIALS = [
    passcode(), passcode("bob"), passcode(octets=b"sesamE"), passcode("aliceses", b"ame"), Username("alice"),
    Username("alicesesame"), KerberosTicket(Secret(b"token")), SAMLAssertion(Secret(b"token")),
    JSONWebToken(Secret(b"token")), AccessToken(Secret(b"token")), AccessToken(Secret(b"token2")), CertificateAlone(),
]  # fmt: skip


def test_a_success_is_found_for_its_time(successes, clock):
    successes.keep("users", passcode(), HERE, ALICE, 5.0)
    clock.advance(4.9)
    assert successes.find("users", passcode(), HERE) is ALICE
    clock.advance(0.1)
    assert successes.find("users", passcode(), HERE) is None


def test_it_is_kept_no_longer_than_the_token_is_valid(successes, clock):
    token = AccessToken(Secret(b"token"))
    successes.keep("jwt", token, HERE, Verified("alice", "hospital", until=3.0), 5.0)
    clock.advance(2.9)
    assert successes.find("jwt", token, HERE) is not None
    clock.advance(0.1)
    assert successes.find("jwt", token, HERE) is None


@pytest.mark.parametrize("kept", range(len(CREDENTIALS)))
def test_each_credential_is_found_for_itself_alone(successes, kept):
    successes.keep("users", CREDENTIALS[kept], HERE, ALICE, 5.0)
    found = [number for number, each in enumerate(CREDENTIALS) if successes.find("users", each, HERE)]
    assert found == [kept]


def test_it_is_found_for_its_back_end_and_certificate_alone(successes):
    shown = presenter(shown=certificate())
    successes.keep("users", passcode(), shown, ALICE, 5.0)
    assert successes.find("users", passcode(), shown) is ALICE
    assert successes.find("users", passcode(), presenter("192.0.2.2", certificate())) is ALICE
    assert successes.find("ldap", passcode(), shown) is None
    assert successes.find("users", passcode(), HERE) is None
    assert successes.find("users", passcode(), presenter(shown=certificate(sha256="cc" * 32))) is None


def test_clear_forgets_everything(successes):
    successes.keep("users", passcode(), HERE, ALICE, 5.0)
    successes.clear()
    assert successes.find("users", passcode(), HERE) is None


def test_it_holds_so_many_and_then_drops_the_oldest(successes, monkeypatch):
    monkeypatch.setattr(module, "REMEMBERED", 2)
    for name in ("one", "two", "one", "three"):
        successes.keep("users", passcode(name), HERE, ALICE, 5.0)
    found = [name for name in ("one", "two", "three") if successes.find("users", passcode(name), HERE)]
    assert found == ["one", "three"]


def test_neither_secret_nor_name_is_in_what_it_holds(successes):
    successes.keep("users", passcode(), HERE, ALICE, 5.0)
    held = repr([[*successes._kept], vars(successes)["_key"]]).encode()
    assert b"sesame" not in held
    assert b"alice" not in held


def test_two_caches_have_keys_of_their_own(clock):
    kept = []
    for _ in range(2):
        successes = Successes(clock.seconds)
        successes.keep("users", passcode(), HERE, ALICE, 5.0)
        kept += successes._kept
    assert len({*kept}) == 2
