"""How much is taken on, and that what was taken is given back."""

from __future__ import annotations

import pytest
from twisted.internet.address import IPv4Address

from dimsetls.association.admission import ApplicationEntity
from dimsetls.association.events import AssociationEnded, AssociationRefused, ConnectionFailed
from dimsetls.association.limits import Limits
from dimsetls.association.protocol import Timeouts
from dimsetls.testing import Peer
from dimsetls.ul.pdus import (
    Abort,
    AssociateAC,
    AssociateRJ,
    ReleaseRP,
    ReleaseRQ,
)

from .stage import Services, Stage, echo, request, statuses

# Limits --------------------------------------------------------------------------------------------------------

LIMIT_REACHED = AssociateRJ(2, 3, 2)


def associate(stage: Stage, host: str = "192.0.2.1", calling: str = "PEER") -> tuple[Peer, object]:
    stage.link.client_address = IPv4Address("TCP", host, 50000)
    peer = stage.peer()
    return peer, peer.send(request(calling=calling))[0]


@pytest.mark.parametrize(("limits", "others", "sentence"), [
    (Limits(associations=2), [("192.0.2.3", "C")], "2 associations exist, the limit is 2"),
    (Limits(per_address=2), [("192.0.2.1", "C")], "192.0.2.1 has 2 associations, the limit for one is 2"),
    (Limits(per_calling_ae_title=2), [("192.0.2.3", "A")],
     "A has 2 associations, the limit for one calling AE title is 2"),
])  # fmt: skip
def test_each_limit_refuses_one_more_and_only_what_it_is_about(limits, others, sentence):
    stage = Stage(limits=limits)
    for host, calling in (("192.0.2.1", "A"), ("192.0.2.1", "A")):
        assert isinstance(associate(stage, host, calling)[1], AssociateAC)
    for host, calling in others:
        assert associate(stage, host, calling)[1] == LIMIT_REACHED
    assert stage.told(AssociationRefused).sentence == sentence
    if limits.associations > 2:
        assert isinstance(associate(stage, "192.0.2.9", "Z")[1], AssociateAC)


def released(peer: Peer, stage: Stage) -> None:
    assert peer.send(ReleaseRQ()) == [ReleaseRP()]
    peer.close()


def aborted(peer: Peer, stage: Stage) -> None:
    peer.send(Abort(0, 0))


def cut(peer: Peer, stage: Stage) -> None:
    peer.cut()


def reset(peer: Peer, stage: Stage) -> None:
    peer.end.abortConnection()
    stage.link.pump()


def violated(peer: Peer, stage: Stage) -> None:
    assert peer.send(b"\xff") == [Abort(2, 1)]
    peer.close()


def expired(peer: Peer, stage: Stage) -> None:
    stage.link.advance(400)
    assert peer.received[-1] == Abort(0, 0)
    stage.link.advance(40)


def stopped(peer: Peer, stage: Stage) -> None:
    stage.factory.abort_all("enough")
    peer.close()


@pytest.mark.parametrize("over_tls", [False, True])
@pytest.mark.parametrize("end", [released, aborted, cut, reset, violated, expired, stopped])
def test_every_end_gives_the_place_back(authority, end, over_tls):
    stage = Stage(limits=Limits(associations=1), tls=authority if over_tls else None)
    peer, answer = associate(stage)
    assert isinstance(answer, AssociateAC)
    rejected, answer = associate(stage)
    assert answer == LIMIT_REACHED
    rejected.close()
    end(peer, stage)
    assert stage.is_quiet
    peer, answer = associate(stage)
    assert isinstance(answer, AssociateAC)
    assert stage.kinds == ["AssociationStarted", "AssociationRefused", "AssociationEnded", "AssociationStarted"]


def test_a_place_is_taken_until_the_connection_is_closed():
    stage = Stage(limits=Limits(associations=1))
    peer = stage.associated()
    peer.send(ReleaseRQ())
    assert associate(stage)[1] == LIMIT_REACHED
    peer.close()
    assert isinstance(associate(stage)[1], AssociateAC)


# Pending connections -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("over_tls", [False, True])
def test_a_good_association_gets_through_with_any_number_of_stuck_connections(authority, over_tls):
    stage = Stage(limits=Limits(pending=500), tls=authority if over_tls else None)
    stuck = [Peer.connect(stage.link) for _ in range(500)]  # over TLS too: they never begin the handshake
    assert len(stage.factory.pending) == 500
    peer = stage.associated()
    assert statuses(peer.send(echo())) == [(1, 0)]
    assert [each for each in stuck if each.lost] == [stuck[0]]  # the oldest made room
    assert stage.told(ConnectionFailed).fault.name == "pending-limit"


def test_who_has_an_association_is_no_longer_pending():
    stage = Stage(limits=Limits(pending=1))
    peers = [stage.associated() for _ in range(3)]
    stuck = stage.peer()
    assert stage.peer().lost is None
    assert stuck.lost is not None
    assert [statuses(peer.send(echo())) for peer in peers] == [[(1, 0)]] * 3


def test_the_oldest_of_those_that_are_still_pending_goes():
    stage = Stage(limits=Limits(pending=2))
    first, second = stage.peer(), stage.peer()
    first.send(request())
    third, fourth = stage.peer(), stage.peer()
    assert [peer.lost is None for peer in (first, second, third, fourth)] == [True, False, True, True]


# Draining ------------------------------------------------------------------------------------------------------


def test_draining_rejects_as_congestion_lets_run_what_runs_and_cuts_what_has_not_begun():
    stage = Stage()
    running, silent = stage.associated(), stage.peer()
    drained = stage.factory.drain()
    late = stage.peer()
    assert silent.lost is not None
    assert late.send(request()) == [AssociateRJ(2, 3, 1)]
    assert stage.told(AssociationRefused).sentence == "the service is shutting down"
    late.close()
    assert statuses(running.send(echo())) == [(1, 0)]
    assert not drained.called
    running.send(ReleaseRQ())
    assert not drained.called
    running.close()
    assert drained.called
    assert stage.is_quiet


def test_draining_without_connections_is_over_at_once():
    assert Stage().factory.drain().called


def test_aborting_all_ends_every_association_and_no_other():
    stage = Stage()
    peers = [stage.associated(), stage.associated()]
    silent = stage.peer()
    drained = stage.factory.drain()
    stage.factory.abort_all("the service stops")
    stage.link.pump()
    assert [peer.received[-1] for peer in peers] == [Abort(0, 0)] * 2
    assert silent.received == []
    for peer in peers:
        peer.close()
    ended = [event for event in stage.events if isinstance(event, AssociationEnded)]
    assert [(event.outcome, event.detail) for event in ended] == [("aborted", "the service stops")] * 2
    assert drained.called
    assert stage.is_quiet


# Another configuration ------------------------------------------------------------------------------------------


def test_a_new_configuration_holds_for_what_comes_and_leaves_what_runs():
    stage = Stage()
    running = stage.associated()
    renamed = ApplicationEntity("RENAMED", Services(), maximum_length=4096)
    stage.factory.configure(renamed, limits=Limits(associations=2), timeouts=Timeouts(idle=10.0))
    assert stage.peer().send(request()) == [AssociateRJ(1, 1, 7)]
    new = stage.associated(called="RENAMED")
    assert new.received[0].user_information.maximum_length == 4096
    assert stage.peer().send(request(called="RENAMED")) == [LIMIT_REACHED]  # the running one counts
    stage.link.pump([1.0] * 20)
    assert new.received[-1] == Abort(0, 0)
    assert statuses(running.send(echo())) == [(1, 0)]


def test_timeouts_are_those_of_the_factory():
    stage = Stage(timeouts=Timeouts(artim=1.0))
    peer = stage.peer()
    stage.link.advance(1.0)
    assert peer.lost is not None
