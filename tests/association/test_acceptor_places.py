"""Places among the associations that another process counts: what is answered meanwhile, and if nothing is heard."""

from __future__ import annotations

from twisted.internet.defer import Deferred

from dimsetls.association.events import AssociationRefused
from dimsetls.association.limits import AssociationCount, Congested
from dimsetls.ul.pdus import AssociateAC, AssociateRJ

from .stage import Stage, request


class CountedElsewhere(AssociationCount):
    """Answers when the test lets it."""

    def __init__(self) -> None:
        super().__init__()
        self.asked: list[Deferred[str | None]] = []
        self.given_up = 0

    def take(self, limits, address, calling_ae_title):
        self.asked.append(Deferred(self._cancel))
        return self.asked[-1]

    def _cancel(self, asked):
        self.given_up += 1


def test_a_place_that_is_counted_elsewhere_is_waited_for():
    stage = Stage()
    stage.factory.count = count = CountedElsewhere()
    peer, other = stage.peer(), stage.peer()
    assert (peer.send(request()), other.send(request())) == ([], [])
    count.add("10.0.0.1", "PEER")  # as who counts does before it answers
    count.asked[0].callback(None)
    count.asked[1].callback("ten associations exist, the limit is ten")
    stage.link.pump()
    assert [type(pdu) for pdu in peer.received] == [AssociateAC]
    assert other.received == [AssociateRJ(2, 3, 2)]
    assert stage.told(AssociationRefused).sentence == "ten associations exist, the limit is ten"


def test_a_place_of_which_nothing_is_heard_is_none():
    stage = Stage()
    stage.factory.count = count = CountedElsewhere()
    peer = stage.peer()
    peer.send(request())
    count.asked[0].errback(Congested("nobody answers"))
    stage.link.pump()
    assert peer.received == [AssociateRJ(2, 3, 1)]
    assert stage.told(AssociationRefused).sentence == "nobody answers"


def test_a_place_is_no_longer_waited_for_when_the_peer_goes_away():
    stage = Stage()
    stage.factory.count = count = CountedElsewhere()
    peer = stage.peer()
    peer.send(request())
    peer.cut()
    stage.link.pump([0] * 3)
    assert count.given_up == 1
    assert stage.is_quiet


def test_a_service_that_stops_while_a_place_is_waited_for_accepts_nobody():
    stage = Stage()
    stage.factory.count = count = CountedElsewhere()
    peer = stage.peer()
    peer.send(request())
    stage.factory.drain()
    count.add("10.0.0.1", "PEER")
    count.asked[0].callback(None)
    stage.link.pump()
    assert peer.received == [AssociateRJ(2, 3, 1)]
