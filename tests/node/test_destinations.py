"""Peers as the node calls them: where, as whom, for how long, and always by the same object."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from twisted.internet import reactor
from twisted.internet.interfaces import IReactorTime
from twisted.internet.task import Clock

from dimsetls.association import AssociationPool
from dimsetls.association.remote import Remote
from dimsetls.errors import ConfigurationError
from dimsetls.node.destinations import Destinations, remote_of
from dimsetls.node.init import init
from dimsetls.node.prepare import Prepared, prepare
from dimsetls.node.presenting import Presents

PEERS = """
[peer pacs]
ae-title = PACS
host = localhost
port = 11112
tls = secure
presents = us
connect-timeout = 5s
answer-timeout = 6s
response-timeout = 7s
idle-timeout = 8m
associations = 2
operations = 3
bearer-identity-type = 254

[peer v6]
ae-title = V6
host = ::1
tls = secure
presents = token
bearer-identity-type = 254

[peer ct1]
ae-title = CT1

[credential us]
type = username
user = archive

[credential token]
type = bearer
variable = DIMSETLS_TEST_TOKEN
"""


@pytest.fixture
def read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Prepared]:
    init(tmp_path / "node")
    monkeypatch.setenv("DIMSETLS_TEST_TOKEN", "abc")
    with open(tmp_path / "node" / "dimsetls.ini", "a") as ini:
        ini.write(PEERS)
    return lambda **how: prepare(tmp_path / "node" / "dimsetls.ini", **how)


def test_all_that_the_section_says_is_in_the_remote(read: Callable[..., Prepared]) -> None:
    destinations = Destinations(read(), AssociationPool(clock=Clock()), IReactorTime(reactor))
    remote = destinations.titled("PACS", "ARCHIVE")
    assert remote is not None
    assert (str(remote), remote.calling_ae_title) == ("PACS at localhost:11112", "ARCHIVE")
    waits = remote.timeouts
    assert (waits.tls_handshake, waits.connect, waits.answer, waits.response) == (5, 5, 6, 7)
    assert (remote.idle, remote.associations, remote.operations) == (480, 2, 3)
    assert waits.idle > remote.idle
    assert isinstance(remote.identity, Presents)
    assert remote.identity.private_type is None  # which is for tokens
    other = destinations.titled("V6", "ARCHIVE")
    assert other is not None
    assert isinstance(other.identity, Presents)
    assert (str(other), other.identity.private_type) == ("V6 at [::1]:2762", 254)


def test_one_peer_is_one_object_for_each_ae_of_ours(read: Callable[..., Prepared]) -> None:
    prepared = read()
    destinations = Destinations(prepared, AssociationPool(clock=Clock()), IReactorTime(reactor))
    [pacs, *_] = prepared.config.peers
    assert destinations.remote(pacs, "A") is destinations.titled("PACS", "A")
    assert destinations.remote(pacs, "A") is not destinations.remote(pacs, "B")


def test_the_association_of_a_move_is_released_when_it_is_over(read: Callable[..., Prepared]) -> None:
    opened: list[Remote] = []
    pool = AssociationPool(clock=Clock())
    pool.association = lambda remote, contexts: opened.append(remote)  # type: ignore[method-assign, assignment]
    destinations = Destinations(read(), pool, IReactorTime(reactor))
    for _ in range(2):
        reach = destinations.for_moves("A")("PACS")
        assert reach is not None
        reach([])
    first, second = opened
    assert first is second  # so that all that are open at once are counted
    assert (first.idle, first.endpoint) == (0.0, destinations.titled("PACS", "A").endpoint)  # type: ignore[union-attr]


def test_who_has_no_place_or_no_section_is_not_known(read: Callable[..., Prepared]) -> None:
    prepared = read()
    destinations = Destinations(prepared, AssociationPool(clock=Clock()), IReactorTime(reactor))
    moves = destinations.for_moves("ARCHIVE")
    assert [moves("CT1"), moves("NOBODY"), destinations.remote(prepared.config.peers[2], "A")] == [None] * 3
    assert moves("PACS") is not None


def test_who_only_calls_learns_what_is_wrong_with_the_credential_of_the_peer_it_calls(
    read: Callable[..., Prepared], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("DIMSETLS_TEST_TOKEN")
    prepared = read(to_serve=False)
    pacs, v6, _ = prepared.config.peers
    assert remote_of(prepared, pacs, "A", IReactorTime(reactor)) is not None
    with pytest.raises(ConfigurationError, match=r"\[credential token\] variable: found no environment variable"):
        remote_of(prepared, v6, "A", IReactorTime(reactor))
