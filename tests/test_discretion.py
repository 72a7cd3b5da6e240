"""No credential of the whole test run stands in anything that was said in it. This comes after all other tests."""

from __future__ import annotations

import json
from base64 import b64encode, urlsafe_b64encode
from pathlib import Path
from urllib.parse import quote

import pytest
from twisted.logger import Logger

from dimsetls.errors import IdentityDenied
from dimsetls.identity.credentials import Secret
from dimsetls.ul.pdus import UserIdentityRQ

from .secrets import Evidence, gathering, known, said, secret

SHORT = "päss:wörd-€ 7"
LONG = "".join(f"{number:x}." for number in range(4000, 7000))


@pytest.fixture
def own(tmp_path: Path):
    with gathering(tmp_path) as evidence:
        yield evidence


@pytest.mark.parametrize("written", [
    lambda octets: octets.decode(),
    lambda octets: f"the passcode {octets.decode()!r} is wrong",
    repr,
    lambda octets: json.dumps({"passcode": octets.decode()}),
    lambda octets: octets.hex(),
    lambda octets: octets.hex().upper(),
    lambda octets: quote(octets),
    lambda octets: b64encode(octets).decode(),
    lambda octets: f"Basic {b64encode(b'alice:' + octets).decode()}",
    lambda octets: f"Basic {b64encode(b'bob:' + octets).decode()}",
    lambda octets: urlsafe_b64encode(b"\0" + octets).decode().rstrip("="),
    lambda octets: octets.decode().encode("unicode_escape").decode(),
])  # fmt: skip
@pytest.mark.parametrize("credential", [SHORT, LONG])
def test_it_is_found_however_it_is_written(own, written, credential):
    own.note(f"something\nelse {written(credential.encode())} and more")
    assert own.found({credential.encode(): "a passcode"})
    assert not own.found({credential.swapcase()[::-1].encode(): "another"})


def test_half_of_a_long_one_is_found(own):
    own.note(LONG[: len(LONG) // 2])
    assert own.found({LONG.encode(): "a token"})


def test_the_place_is_told_and_not_the_secret(own):
    own.note("first line")
    own.note(SHORT)
    (sentence, *_) = own.found({SHORT.encode(): "the passcode of alice"})
    assert sentence.startswith(f"{own.directory}/said:2 has the passcode of alice of 17 octets, as päss… of")
    assert SHORT not in sentence


def leak_into_the_log():
    Logger(namespace="dimsetls.test").info("refused", who="alice", shown=SHORT)


def leak_into_a_traceback():
    try:
        raise ValueError(SHORT)
    except ValueError:
        Logger(namespace="dimsetls.test").failure("something failed")


def leak_into_an_exception():
    IdentityDenied(f"{SHORT} is wrong")


def leak_into_output():
    said(SHORT)


def leak_into_a_repr(own):
    item = UserIdentityRQ(1, False, b"")
    object.__setattr__(item, "user_identity_type", SHORT)
    own.note_objects()


@pytest.mark.parametrize("leak", [
    leak_into_the_log, leak_into_a_traceback, leak_into_an_exception, leak_into_output, leak_into_a_repr,
])  # fmt: skip
def test_whatever_way_it_gets_out(own, evidence, monkeypatch, leak):
    monkeypatch.setattr(evidence, "note", lambda text: None)  # it is meant to be found here, and not below
    leak(*[own] if leak is leak_into_a_repr else [])
    assert own.found({SHORT.encode(): "a passcode"})


def test_what_is_a_secret_is_known_by_being_made_one(own):
    Secret(b"made just here, by this test")
    assert b"made just here, by this test" in known()
    secret("words", "too short to be told from others")
    assert b"words" not in known()


def test_no_credential_of_this_run_was_given_away(request: pytest.FixtureRequest, evidence: Evidence):
    evidence.note_objects()
    rooms = {item.path.parent.name for item in request.session.items}
    if {"identity"} <= rooms:  # or there is little to be looked for
        assert len(known()) > 100
    found = evidence.found(known())
    assert not found, "\n".join(found)
