"""The pool: what it keeps, for whom, for how long, and what it never hands out."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from twisted.internet.defer import Deferred

from dimsetls.association import AssociationPool, BackOff, Limits, Remote, RequestedAssociation, Timeouts, propose
from dimsetls.association.events import AssociationEnded, AssociationStarted
from dimsetls.errors import (
    AssociationPostponed,
    AssociationRejected,
    IdentityUnavailable,
    LocalProtocolError,
    OperationFailed,
    ProviderAborted,
)
from dimsetls.identity.credentials import Secret, UsernameAndPasscode
from dimsetls.identity.presenting import Presentation
from dimsetls.testing import Peer
from dimsetls.uids import VERIFICATION

from ..secrets import secret
from .pair import FIND, Everything, Running, dataset, serving
from .stage import CT, Manual, Services, Stage

PASSCODE = secret(b"Tr0ub4dor&3", "a passcode of a pool")


class Pooled:
    """A pool, and a stage to which it calls."""

    def __init__(self, services: Any = None, *, pool: dict[str, Any] | None = None, **keywords: Any) -> None:
        self.stage = Stage(services or Services(), **keywords)
        self.link = self.stage.link
        self.pool = AssociationPool(clock=self.link, **(pool or {}))
        self.remote = self.remote_as()

    def remote_as(self, **keywords: Any) -> Remote:
        wishes = {"associations": 2, "called_ae_title": "DIMSETLS", "calling_ae_title": "ME"} | keywords
        return Remote(self.link, **wishes)

    def start(self, use: Callable[[RequestedAssociation], Any] | None = None, *contexts: str,
              remote: Remote | None = None) -> User:  # fmt: skip
        """Somebody who uses an association, until told to stop or as a function says."""
        user = User(self, use, contexts or (VERIFICATION, CT), remote or self.remote)
        self.link.pump()
        return user

    def echo(self, *contexts: str, remote: Remote | None = None) -> RequestedAssociation:
        """Use one for a C-ECHO; which it was."""
        user = self.start(lambda association: association.echo(), *contexts, remote=remote)
        assert user.running.result is None
        return user.association

    def close(self) -> None:
        Running(self.pool.close())
        self.link.pump()
        assert self.stage.is_quiet

    @property
    def begun(self) -> int:
        return self.stage.kinds.count("AssociationStarted")

    @property
    def ended(self) -> list[str]:
        return [event.outcome for event in self.stage.events if isinstance(event, AssociationEnded)]


class User:
    association: RequestedAssociation

    def __init__(self, pooled: Pooled, use: Any, contexts: tuple[str, ...], remote: Remote) -> None:
        self.enough: Deferred[None] = Deferred()

        async def run() -> None:
            async with pooled.pool.association(remote, [propose(each) for each in contexts]) as self.association:
                await (self.enough if use is None else use(self.association))

        self._pooled = pooled
        self.running = Running(run())

    @property
    def has_one(self) -> bool:
        return hasattr(self, "association")

    def stop(self) -> None:
        self.enough.callback(None)
        self._pooled.link.pump()


# What is kept ---------------------------------------------------------------------------------------------------------


def test_an_association_is_used_again_by_who_wants_the_same() -> None:
    pooled = Pooled()
    first, second = pooled.echo(), pooled.echo()
    assert (first is second, pooled.begun) == (True, 1)
    pooled.close()
    assert first.ended is not None


def test_each_is_used_by_one_at_a_time() -> None:
    pooled = Pooled()
    one, other = pooled.start(), pooled.start()
    assert one.association is not other.association
    one.stop()
    other.stop()
    assert pooled.echo() is other.association  # the one that was used last: the other may come to its idle end
    pooled.close()


def test_other_contexts_other_titles_and_other_identities_get_associations_of_their_own() -> None:
    pooled = Pooled(Everything())
    presents = [Presentation(UsernameAndPasscode("alice", Secret(PASSCODE))) for _ in range(2)]
    remotes = [pooled.remote, pooled.remote_as(), pooled.remote_as(calling_ae_title="YOU"),
               *(pooled.remote_as(identity=each) for each in presents)]  # fmt: skip
    found = [pooled.echo(remote=remote) for remote in remotes] + [pooled.echo(FIND)]
    again = [pooled.echo(remote=remote) for remote in remotes] + [pooled.echo(FIND)]
    assert [one is other for one, other in zip(found, again, strict=True)] == [True] * 6
    assert len({id(each) for each in found}) == 6
    assert PASSCODE.decode() not in repr(pooled.pool.__dict__)
    pooled.close()


def test_who_serves_the_peer_and_in_which_role_is_a_difference_too() -> None:
    pooled, services = Pooled(), [Services(), Services()]
    found = []

    async def use(**wishes: Any) -> None:
        async with pooled.pool.association(pooled.remote, **wishes) as association:
            found.append(association)

    for wishes in ({"services": services[0]}, {"services": services[1]}, {"services": services[0]}):
        Running(use(**wishes))
        pooled.link.pump()
    assert found[0] is found[2]
    assert found[0] is not found[1]
    pooled.close()


def test_after_its_idle_time_it_is_released() -> None:
    pooled = Pooled()
    pooled.echo()
    pooled.link.advance(9.9)
    assert pooled.ended == []
    pooled.link.advance(0.2)
    assert pooled.ended == ["released"]
    pooled.close()


def test_a_remote_may_want_nothing_to_be_kept() -> None:
    pooled = Pooled()
    pooled.echo(remote=pooled.remote_as(idle=0))
    assert pooled.ended == ["released"]
    pooled.close()


def test_one_that_is_too_old_is_not_used_again() -> None:
    pooled = Pooled(pool={"lifetime": 25})
    first = pooled.echo()
    for _ in range(3):
        pooled.link.advance(8)
        assert pooled.echo() is first
    pooled.link.advance(8)
    assert pooled.echo() is not first
    assert pooled.ended == ["released"]
    pooled.close()


def test_what_failed_does_not_hurt_an_association_that_is_at_rest() -> None:
    async def refuse(request: Any) -> int:
        return 0xA700

    pooled = Pooled(serving(c_store=refuse))
    user = pooled.start(lambda association: association.store(dataset(SOPClassUID=CT, SOPInstanceUID="1.2")))
    assert isinstance(user.running.error, OperationFailed)
    assert pooled.echo() is user.association
    pooled.close()


def test_who_leaves_an_operation_under_way_by_an_exception_aborts() -> None:
    services = Manual()
    pooled = Pooled(services)
    user = pooled.start(lambda association: association.echo())
    user.running.deferred.cancel()
    pooled.link.pump()
    assert pooled.ended == ["aborted"]
    again = pooled.start(lambda association: association.echo())
    assert again.association is not user.association
    services.finish[-1].callback(0)
    pooled.link.pump()
    pooled.close()


def test_operations_that_nobody_waits_for_are_completed() -> None:
    services = Manual()
    pooled = Pooled(services)
    answers: list[int] = []

    async def leave(association: RequestedAssociation) -> None:
        Deferred.fromCoroutine(association.echo()).addCallback(answers.append)

    pooled.start(leave)
    services.finish[0].callback(0)
    pooled.link.pump()
    assert (answers, pooled.ended) == ([0], ["released"])
    pooled.close()


# Health ---------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("end", ["cut", "abort"])
def test_one_that_ended_while_it_stood_idle_is_never_handed_out(end: str) -> None:
    pooled = Pooled()
    first = pooled.echo()
    if end == "cut":
        pooled.link.ends[1].abortConnection()
    else:
        first.abort()
    pooled.link.pump()
    second = pooled.echo()
    assert first is not second
    assert second.ended is None
    pooled.close()


def test_one_that_stood_idle_is_asked_whether_it_lives() -> None:
    pooled = Pooled()
    first = pooled.echo()
    pooled.link.advance(1.9)
    assert pooled.echo() is first
    assert len(pooled.stage.services.requests) == 2
    pooled.link.advance(2)
    assert pooled.echo() is first
    assert len(pooled.stage.services.requests) == 4  # one of them was to see
    pooled.close()


def test_one_that_does_not_answer_any_more_is_replaced() -> None:
    pooled = Pooled()
    first = pooled.echo()
    pooled.link.advance(3)
    for end in pooled.link.ends:
        end.on_the_way = lambda data: b""  # a firewall that forgot the connection
    user = pooled.start(lambda association: association.echo())
    assert not user.has_one
    pooled.link.advance(5)
    assert user.running.result is None
    assert user.association is not first
    assert isinstance(first.ended, Exception)
    pooled.link.advance(120)
    pooled.close()


def test_without_verification_nothing_can_be_said_of_it_and_it_is_replaced() -> None:
    class NoEcho(Services):
        def support(self, abstract_syntax: str, common: Any) -> Any:
            return None if abstract_syntax == VERIFICATION else super().support(abstract_syntax, common)

    pooled = Pooled(NoEcho())

    async def look(association: RequestedAssociation) -> None:
        assert association.context(CT)

    first = pooled.start(look, CT).association
    pooled.link.advance(1)
    assert pooled.start(look, CT).association is first
    pooled.link.advance(3)
    assert pooled.start(look, CT).association is not first
    assert pooled.ended == ["released"]
    pooled.close()


def test_who_gives_up_during_the_check_leaves_nothing() -> None:
    pooled = Pooled()
    pooled.echo()
    pooled.link.advance(3)
    for end in pooled.link.ends:
        end.on_the_way = lambda data: b""
    user = pooled.start()
    user.running.deferred.cancel()
    pooled.link.advance(120)
    pooled.close()


# How many -------------------------------------------------------------------------------------------------------------


def test_whoever_wants_more_than_there_may_be_waits_for_a_turn() -> None:
    pooled = Pooled()
    users = [pooled.start() for _ in range(4)]
    assert [user.has_one for user in users] == [True, True, False, False]
    users[1].stop()
    assert [user.has_one for user in users] == [True, True, True, False]
    assert users[2].association is users[1].association
    users[3].running.deferred.cancel()
    users[0].stop()
    users[2].stop()
    assert (pooled.begun, users[3].has_one) == (2, False)
    pooled.close()


def test_what_stands_idle_makes_room_for_others_once_it_is_released() -> None:
    pooled = Pooled(Everything(), pool={"associations": 3})
    one, two = pooled.remote, pooled.remote_as()
    users = [pooled.start(remote=one), pooled.start(remote=one)]
    for user in users:
        user.stop()
    pooled.echo(FIND, remote=one)  # a third of a remote that may have two
    assert (pooled.begun, pooled.ended) == (3, ["released"])
    holding = [pooled.start(remote=two), pooled.start(remote=two)]  # a fourth in all
    assert all(user.has_one for user in holding)
    assert (pooled.begun, pooled.ended) == (5, ["released"] * 2)
    assert pooled.stage.factory.count.total == 3
    for user in holding:
        user.stop()
    pooled.close()


def test_no_more_is_released_than_there_has_to_be_room_for() -> None:
    pooled = Pooled(Everything())
    users = [pooled.start(), pooled.start()]
    for user in users:
        user.stop()
    waiting = User(pooled, lambda association: association.echo(), (FIND,), pooled.remote)
    other = User(pooled, lambda association: association.echo(), (FIND,), pooled.remote_as())
    pooled.link.pump()
    assert (waiting.running.result, other.running.result, pooled.ended) == (None, None, ["released"])
    pooled.close()


def test_there_are_never_more_than_agreed_on_whatever_is_wanted() -> None:
    pooled = Pooled(Everything(), pool={"associations": 3}, limits=Limits(associations=3))
    remotes = [pooled.remote_as() for _ in range(3)]
    users = [pooled.start(None, (FIND, CT)[number % 2], remote=remotes[number % 3]) for number in range(12)]
    while pending := [user for user in users if user.has_one and not user.running.is_over]:
        assert pooled.stage.factory.count.total <= 3
        pending[-1].stop()
    assert all(user.running.result is None for user in users)
    pooled.close()


# Failures -------------------------------------------------------------------------------------------------------------


def test_a_peer_that_fails_is_left_alone_for_longer_and_longer() -> None:
    pooled = Pooled(pool={"back_off": BackOff(1, 5)})
    pooled.link.stop_listening()
    for delay in (1, 2, 4, 5, 5):
        assert "nobody listens" in str(pooled.start().running.error)
        for passed in (0, delay - 0.1):
            pooled.link.advance(passed)
            error = pooled.start().running.error
            assert isinstance(error, AssociationPostponed)
            assert error.seconds == pytest.approx(delay - passed)
            assert isinstance(error.__cause__, ProviderAborted)
        pooled.link.advance(0.1)
    pooled.link.listen(pooled.stage.factory)
    pooled.echo()
    pooled.link.stop_listening()
    pooled.link.advance(20)
    pooled.start()
    pooled.link.advance(1)
    assert not isinstance(pooled.start().running.error, AssociationPostponed)  # the first delay again
    pooled.close()


def test_of_several_that_fail_together_one_counts_and_others_are_not_concerned() -> None:
    pooled = Pooled(pool={"back_off": BackOff(1, 60)})
    wrong = pooled.remote_as(called_ae_title="NOBODY", associations=8)
    users = [pooled.start(remote=wrong) for _ in range(1)]
    silent = pooled.remote_as(called_ae_title="NOBODY", associations=8)
    several = [User(pooled, None, (CT,), silent) for _ in range(5)]
    pooled.link.pump()
    assert {type(user.running.error) for user in users + several} == {AssociationRejected}
    error = pooled.start(remote=silent).running.error
    assert (type(error), error.seconds) == (AssociationPostponed, 1)
    pooled.echo()
    pooled.close()


def test_a_failure_that_comes_late_does_not_count_back() -> None:
    pooled = Pooled()
    Peer.listen(pooled.link)  # which says nothing
    late = pooled.start()
    pooled.link.stop_listening()
    for delay in (1, 2, 4, 8, 16):
        assert "nobody listens" in str(pooled.start().running.error)
        pooled.link.advance(delay)
    assert "no answer" in str(late.running.error)
    assert "nobody listens" in str(pooled.start().running.error)
    assert pooled.start().running.error.seconds == 32
    pooled.link.advance(60)
    pooled.close()


def test_one_that_is_kept_is_handed_out_whatever_new_ones_suffer() -> None:
    pooled = Pooled()
    user = pooled.start()
    pooled.link.stop_listening()
    assert not isinstance(pooled.start().running.error, AssociationPostponed)
    user.stop()
    assert pooled.echo() is user.association
    pooled.close()


class Source:
    """An identity source that counts."""

    def __init__(self) -> None:
        self.made: list[Presentation] = []
        self.refusals = 0
        self.error: Exception | None = None

    async def presentation(self) -> Presentation:
        if self.error is not None:
            raise self.error
        self.made.append(Presentation(UsernameAndPasscode("alice", Secret(PASSCODE))))
        return self.made[-1]

    def refused(self) -> None:
        self.refusals += 1


def test_what_is_presented_is_made_anew_for_each_association_and_wiped() -> None:
    pooled, source = Pooled(), Source()
    remote = pooled.remote_as(identity=source, idle=0)
    pooled.echo(remote=remote)
    pooled.echo(remote=remote)
    assert [len(each.identity.passcode) for each in source.made] == [0, 0]  # type: ignore[union-attr]
    assert source.refusals == 0
    pooled.close()


def test_a_source_learns_that_the_peer_refuses_and_its_own_failures_count() -> None:
    pooled, source = Pooled(), Source()
    wrong = pooled.remote_as(identity=source, called_ae_title="NOBODY")
    assert isinstance(pooled.start(remote=wrong).running.error, AssociationRejected)
    assert source.refusals == 1
    source.error = IdentityUnavailable("the KDC is down")
    remote = pooled.remote_as(identity=source)
    assert pooled.start(remote=remote).running.error is source.error
    assert isinstance(pooled.start(remote=remote).running.error, AssociationPostponed)
    pooled.close()


def test_what_the_caller_did_wrong_is_nothing_against_the_peer() -> None:
    pooled = Pooled()
    error = pooled.start(None, *(f"1.2.{number}" for number in range(129))).running.error
    assert isinstance(error, LocalProtocolError)
    pooled.echo()
    pooled.close()


def test_who_gives_up_while_it_is_opened_leaves_nothing() -> None:
    pooled = Pooled()
    users = [User(pooled, None, (CT,), pooled.remote) for _ in range(3)]
    users[0].running.deferred.cancel()
    pooled.link.pump()
    assert [user.has_one for user in users] == [False, True, True]
    for user in users[1:]:
        user.stop()
    pooled.close()


# The end --------------------------------------------------------------------------------------------------------------


def test_closing_waits_for_those_in_use_and_lets_nobody_in() -> None:
    pooled = Pooled()
    users = [pooled.start() for _ in range(3)]
    pooled.echo(remote=pooled.remote_as())
    closing = Running(pooled.pool.close())
    pooled.link.pump()
    assert (closing.is_over, pooled.ended) == (False, ["released"])
    assert "closed" in str(users[2].running.error)
    assert "closed" in str(pooled.start().running.error)
    for user in users[:2]:
        user.stop()
    assert (closing.result, pooled.ended) == (None, ["released"] * 3)
    assert pooled.stage.is_quiet


def test_closing_that_is_cancelled_aborts() -> None:
    pooled = Pooled()
    user = pooled.start()
    closing = Running(pooled.pool.close())
    closing.deferred.cancel()
    pooled.link.pump()
    assert pooled.ended == ["aborted"]
    user.stop()
    assert pooled.stage.is_quiet


def test_a_peer_that_does_not_answer_the_release_holds_nothing_up_for_long() -> None:
    pooled = Pooled(timeouts=Timeouts(idle=10_000, pdu=10_000))
    pooled.echo()
    for end in pooled.link.ends:
        end.on_the_way = lambda data: b""
    closing = Running(pooled.pool.close())
    pooled.link.advance(31)
    assert closing.result is None


def test_the_window_that_a_remote_wants_is_asked_for() -> None:
    pooled = Pooled(maximum_operations_invoked=5)
    assert pooled.echo(remote=pooled.remote_as(operations=3)).window == 3
    assert pooled.echo().window == 1
    started = [event for event in pooled.stage.events if isinstance(event, AssociationStarted)]
    assert len(started) == 2
    pooled.close()
