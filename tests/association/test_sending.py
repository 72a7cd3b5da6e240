"""Many instances over several associations: what is sent, in which contexts, and what is told of each."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from twisted.internet.defer import CancelledError, Deferred

from dimsetls.association import AssociationPool, Instance, Limits, Refusal, Remote, Sending, Stored
from dimsetls.association.events import AssociationEnded, AssociationRefused, AssociationStarted
from dimsetls.errors import (
    AssociationError,
    AssociationRejected,
    IdentityDenied,
    InstanceError,
    LocalProtocolError,
    OperationFailed,
    ProviderAborted,
)
from dimsetls.services.provider import ServiceProvider
from dimsetls.uids import EXPLICIT_VR_LITTLE_ENDIAN, IMPLICIT_VR_LITTLE_ENDIAN
from dimsetls.ul.negotiation import Support

from .pair import Running
from .stage import CT, INSTANCE, MR, Manual, Services, Stage
from .test_instances import written

JPEG = "1.2.840.10008.1.2.4.50"


def instance(number: int, sop_class: str = CT, syntax: str = EXPLICIT_VR_LITTLE_ENDIAN, source: Any = None) -> Instance:
    return Instance(sop_class, f"1.2.3.{number}", syntax, b"data" if source is None else source)


class Scene:
    """A pool that sends to a stage, and what came of it."""

    def __init__(self, services: Any = None, *, to: dict[str, Any] | None = None, **keywords: Any) -> None:
        self.stage = Stage(services or Services(), **keywords)
        self.link = self.stage.link
        self.pool = AssociationPool(clock=self.link)
        self.remote = Remote(self.link, **({"called_ae_title": "DIMSETLS", "calling_ae_title": "ME"} | (to or {})))
        self.results: list[Stored] = []
        self.sending: Sending

    def send(self, instances: Any, **keywords: Any) -> Running:
        """Send them and keep all results."""
        self.sending = self.pool.store(self.remote, instances, **keywords)

        async def read() -> None:
            async for result in self.sending:
                self.results.append(result)

        running = Running(read())
        self.link.pump()
        return running

    @property
    def stored(self) -> list[int]:
        """Which were, as they were reported."""
        return [result.number for result in self.results if result.error is None]

    @property
    def errors(self) -> dict[int, type[Exception]]:
        return {result.number: type(result.error) for result in self.results if result.error is not None}

    @property
    def begun(self) -> int:
        return self.stage.kinds.count("AssociationStarted")

    def close(self) -> None:
        assert Running(self.pool.close()).is_over or self.link.pump() is None
        self.link.pump()
        assert self.stage.is_quiet
        assert not self.pool._sendings


def test_all_are_stored_in_order_over_one_association() -> None:
    scene = Scene()
    assert scene.send([instance(number) for number in range(300)]).is_over
    assert scene.stored == list(range(300))
    assert [request.sop_instance_uid for request in scene.stage.services.requests] == [  # type: ignore[union-attr]
        f"1.2.3.{number}" for number in range(300)]  # fmt: skip
    assert scene.begun == 1
    assert {result.response.status for result in scene.results if result.response} == {0}
    scene.close()


def test_whatever_can_be_sent_is_sent(tmp_path: Path) -> None:
    path = written(EXPLICIT_VR_LITTLE_ENDIAN, tmp_path / "image")
    scene = Scene()
    assert scene.send(iter([path, str(path), path.read_bytes(), path.open("rb"), instance(4)])).is_over
    assert scene.stored == [0, 1, 2, 3, 4]
    assert scene.results[0].what is path
    assert scene.results[1].instance == Instance(CT, INSTANCE, EXPLICIT_VR_LITTLE_ENDIAN, path)
    assert len(set(scene.stage.services.data[:4])) == 1
    scene.close()


def test_several_associations_work_at_once_and_each_result_says_what_it_is_of() -> None:
    services = Manual()
    scene = Scene(services)
    running = scene.send([instance(number) for number in range(9)], associations=3)
    assert (scene.begun, len(services.finish)) == (3, 3)
    for _ in range(9):
        services.finish.pop().callback(0)  # the last first
        scene.link.pump()
    assert running.result is None
    assert sorted(scene.stored) == list(range(9))
    assert scene.stored[0] == 2
    scene.close()


def test_no_more_than_the_remote_may_have() -> None:
    services = Manual()
    scene = Scene(services, to={"associations": 2})
    running = scene.send([instance(number) for number in range(6)], associations=5)
    assert scene.begun == 2
    while services.finish:
        services.finish.pop().callback(0)
        scene.link.pump()
    assert (running.result, len(scene.stored), scene.begun) == (None, 6, 2)
    scene.close()


def test_the_window_is_used_where_it_was_agreed_on() -> None:
    services = Manual()
    scene = Scene(services, to={"operations": 4}, maximum_operations_invoked=3)
    running = scene.send([instance(number) for number in range(7)])
    assert (scene.begun, len(services.finish)) == (1, 3)
    while services.finish:
        services.finish.pop(0).callback(0)
        scene.link.pump()
    assert running.result is None
    assert [request.message.message_id for request in services.requests] == list(range(1, 8))  # type: ignore[union-attr]
    assert scene.stored == list(range(7))
    scene.close()


def test_what_is_sent_is_counted() -> None:
    scene, octets = Scene(), []
    scene.send([instance(0, source=b"x" * 200_000), instance(1)], sent=octets.append)
    assert sum(octets) == 200_004
    scene.close()


# What does not go -----------------------------------------------------------------------------------------------------


def test_what_fails_is_told_and_the_rest_goes_on(tmp_path: Path) -> None:
    async def some(request: Any) -> int:
        await request.data.read()
        return 0xA700 if request.sop_instance_uid == "1.2.3.1" else 0xB000

    gone = written(EXPLICIT_VR_LITTLE_ENDIAN, tmp_path / "image")
    instances = [instance(0), instance(1), tmp_path / "missing", b"no file", Instance.of(gone),
                 instance(5, syntax=JPEG), instance(6)]  # fmt: skip
    gone.unlink()
    scene = Scene(Services(some))
    assert scene.send(instances).is_over
    assert scene.errors == {1: OperationFailed, 2: InstanceError, 3: InstanceError, 4: FileNotFoundError,
                            5: InstanceError}  # fmt: skip
    assert scene.stored == [0, 6]
    assert all(result.response and result.response.status == 0xB000 for result in scene.results if not result.error)
    assert [result.number for result in scene.results if result.instance is None] == [2, 3]
    scene.close()


def test_a_source_that_fails_ends_the_sending_after_what_it_gave() -> None:
    def source() -> Any:
        yield instance(0)
        yield instance(1)
        raise RuntimeError("a folder that is gone")

    scene = Scene()
    assert isinstance(scene.send(source()).error, RuntimeError)
    assert scene.stored == [0, 1]
    scene.close()


# Contexts -------------------------------------------------------------------------------------------------------------


class Anything(ServiceProvider):
    """Takes every class in every transfer syntax."""

    def __init__(self) -> None:
        self.stored: list[str] = []

    def support(self, abstract_syntax: str, common: Any) -> Support:
        return Support((EXPLICIT_VR_LITTLE_ENDIAN, IMPLICIT_VR_LITTLE_ENDIAN, JPEG))

    async def c_store(self, request: Any) -> int:
        self.stored.append(request.sop_class_uid)
        return 0


def started(scene: Scene) -> list[AssociationStarted]:
    return [event for event in scene.stage.events if isinstance(event, AssociationStarted)]


def test_the_contexts_are_those_that_the_next_instances_need() -> None:
    scene = Scene(Anything())
    kinds = [(CT, EXPLICIT_VR_LITTLE_ENDIAN), (MR, JPEG), (CT, JPEG)]
    assert scene.send([instance(number, *kinds[number % 3]) for number in range(30)]).is_over
    assert scene.stored == list(range(30))
    assert [event.contexts_proposed for event in started(scene)] == [6]  # three, Implicit VR of two, Verification
    scene.close()


def test_more_kinds_than_one_association_can_have_take_several() -> None:
    scene = Scene(Anything())
    assert scene.send([instance(number, f"1.2.4.{number % 200}") for number in range(400)]).is_over
    assert scene.stored == list(range(400))
    assert all(event.contexts_proposed <= 128 for event in started(scene))
    assert 3 < scene.begun < 20
    scene.close()


def test_kinds_that_come_late_and_alternate_are_proposed_together() -> None:
    scene = Scene(Anything())
    kinds = [CT] * 100 + [MR] * 100 + [CT, MR] * 50
    assert scene.send([instance(number, kind) for number, kind in enumerate(kinds)]).is_over
    assert scene.stored == list(range(300))
    assert scene.begun == 2
    scene.close()


def test_what_is_to_be_converted_can_be() -> None:
    class Plain(Services):
        transfer_syntaxes = (EXPLICIT_VR_LITTLE_ENDIAN,)

    scene = Scene(Plain())
    scene.send([instance(0, syntax=JPEG)], convert=False)
    assert scene.errors == {0: InstanceError}
    scene.close()


# Flat memory ----------------------------------------------------------------------------------------------------------


def test_neither_instances_nor_results_heap_up() -> None:
    taken = []

    def source() -> Any:
        for number in range(10_000):
            taken.append(number)
            yield instance(number)

    scene = Scene()
    scene.sending = scene.pool.store(scene.remote, source())
    first = Running(scene.sending.__anext__())
    scene.link.pump()
    assert first.result.number == 0
    assert len(taken) < 200
    assert len(scene.stage.services.requests) < 100
    scene.sending.cancel(CancelledError())
    scene.link.pump()
    scene.close()


def test_a_source_that_waits_does_not_hold_an_association() -> None:
    arrivals: list[Deferred[Instance]] = [Deferred() for _ in range(3)]

    async def source() -> AsyncIterator[Instance]:
        for arrival in arrivals:
            yield await arrival

    scene = Scene()
    running = scene.send(source())
    for number, arrival in enumerate(arrivals):
        arrival.callback(instance(number))
        scene.link.pump()
        assert scene.stored == list(range(number + 1))
        scene.link.advance(11 if number else 1)  # its idle time is 10
    assert running.result is None
    assert (scene.begun, scene.stage.factory.count.total) == (2, 0)
    scene.close()


# Ends -----------------------------------------------------------------------------------------------------------------


def finish(scene: Scene, services: Manual, running: Running) -> None:
    """Let all operations end well, until nothing is left or a minute has passed."""
    for _ in range(60):
        while services.finish:
            services.finish.pop().callback(0)
            scene.link.pump()
        if running.is_over:
            return
        scene.link.advance(1)


def cut(scene: Scene) -> None:
    for end in scene.link.ends[1::2]:
        end.abortConnection()
    scene.link.pump()


def test_what_was_under_way_when_the_association_ended_is_told_and_the_rest_goes_by_another() -> None:
    services = Manual()
    scene = Scene(services)
    running = scene.send([instance(number) for number in range(4)])
    services.finish.pop().callback(0)
    scene.link.pump()
    cut(scene)
    assert (scene.stored, scene.errors, scene.begun) == ([0], {1: ProviderAborted}, 2)
    finish(scene, services, running)
    assert (scene.stored, scene.begun) == ([0, 2, 3], 2)
    scene.close()


def test_associations_that_bring_nothing_are_enough_after_some() -> None:
    class Aborting(Services):
        async def c_store(self, request: Any) -> int:
            request.association.abort()
            return 0

    scene = Scene(Aborting())
    error = scene.send([instance(number) for number in range(10)], attempts=3).error
    assert isinstance(error, AssociationError)
    assert scene.begun == 3
    assert sorted(scene.errors) == [0, 1, 2]
    scene.close()


def test_what_fails_now_and_then_goes_on() -> None:
    seen: list[str] = []

    class Moody(Services):
        async def c_store(self, request: Any) -> int:
            seen.append(request.association.parties.association)
            if len(set(seen)) % 2 or seen.count(seen[-1]) == 2:
                request.association.abort()
            return 0

    scene = Scene(Moody())
    assert scene.send([instance(number) for number in range(12)], attempts=2).result is None
    assert (scene.begun, scene.stored) == (8, [1, 4, 7, 10])
    scene.close()


def test_who_is_refused_leaves_it_to_who_may_be_let_in() -> None:
    calls: list[int] = []

    def admits(caller: Any) -> Refusal | None:
        calls.append(0)
        return Refusal("only one of you") if len(calls) == 1 else None

    scene = Scene(admits=admits)
    assert scene.send([instance(number) for number in range(12)], associations=2).result is None
    assert (scene.begun, scene.stored) == (1, list(range(12)))
    scene.close()


def test_an_association_that_brings_nothing_does_not_use_up_what_another_could_send() -> None:
    working: list[str] = []
    gate: Deferred[int] = Deferred()

    class Moody(Services):
        async def c_store(self, request: Any) -> int:
            working.append(request.association.parties.association)
            if working[0] == working[-1]:
                return await gate if not gate.called else 0
            request.association.abort()
            return 0

    scene = Scene(Moody())
    running = scene.send([instance(number) for number in range(20)], associations=2, attempts=3)
    assert (scene.begun, len(scene.errors)) == (4, 3)
    gate.callback(0)
    scene.link.pump()
    assert running.result is None
    assert len(scene.stored) == 17
    scene.close()


def test_a_peer_that_is_not_there_is_tried_with_back_off() -> None:
    scene = Scene()
    scene.link.stop_listening()
    running = scene.send([instance(number) for number in range(5)], associations=3, attempts=3)
    scene.link.advance(1)
    assert not running.is_over
    scene.link.advance(2)
    assert "nobody listens" in str(running.error)
    assert scene.results == []
    assert not scene.link.getDelayedCalls()
    scene.close()


def test_a_peer_that_comes_back_gets_the_rest() -> None:
    services = Manual()
    scene = Scene(services)
    running = scene.send([instance(number) for number in range(6)], associations=2)
    scene.link.stop_listening()
    cut(scene)
    assert scene.errors == {0: ProviderAborted, 1: ProviderAborted}
    scene.link.listen(scene.stage.factory)
    services.finish.clear()
    scene.link.advance(1)
    assert len(services.finish) == 2
    finish(scene, services, running)
    assert sorted(scene.stored) == [2, 3, 4, 5]
    scene.close()


def test_a_peer_that_will_not_have_us_is_not_tried_again() -> None:
    scene = Scene(to={"called_ae_title": "NOBODY"})
    assert isinstance(scene.send([instance(0)], associations=3).error, AssociationRejected)
    refused = [event for event in scene.stage.events if isinstance(event, AssociationRefused)]
    assert len(refused) == 3
    scene.close()


def test_what_cannot_be_presented_is_not_tried_again() -> None:
    class Denied:
        async def presentation(self) -> Any:
            raise IdentityDenied("no access token for us")

        def refused(self) -> None:
            raise AssertionError

    scene = Scene(to={"identity": Denied()})
    assert isinstance(scene.send([instance(0)]).error, IdentityDenied)
    scene.close()


def test_a_peer_that_takes_fewer_associations_gets_fewer() -> None:
    services = Manual()
    scene = Scene(services, limits=Limits(associations=2))
    running = scene.send([instance(number) for number in range(6)], associations=4)
    assert len(services.finish) == 2
    finish(scene, services, running)
    assert running.result is None
    assert sorted(scene.stored) == list(range(6))
    scene.close()


def test_who_leaves_early_breaks_it_off() -> None:
    scene = Scene()

    async def some() -> None:
        async with scene.pool.store(scene.remote, (instance(number) for number in range(1000))) as sending:
            async for result in sending:
                scene.results.append(result)
                if len(scene.results) == 5:
                    return

    running = Running(some())
    scene.link.pump()
    assert running.result is None
    assert len(scene.stage.services.requests) < 100
    scene.close()


def test_who_is_cancelled_breaks_it_off() -> None:
    services = Manual()
    scene = Scene(services)
    running = scene.send([instance(number) for number in range(5)], associations=2)
    running.deferred.cancel()
    scene.link.pump()
    assert isinstance(running.error, CancelledError)
    outcomes = [event.outcome for event in scene.stage.events if isinstance(event, AssociationEnded)]
    assert outcomes == ["aborted", "aborted"]
    scene.close()


def test_closing_the_pool_ends_it() -> None:
    services = Manual()
    scene = Scene(services)
    running = scene.send([instance(number) for number in range(5)])
    scene.close()
    assert isinstance(running.error, LocalProtocolError)
    with pytest.raises(LocalProtocolError, match="closed"):
        scene.pool.store(scene.remote, [])


def test_one_that_nobody_iterates_over_leaves_nothing() -> None:
    scene = Scene()

    async def none() -> None:
        async with scene.pool.store(scene.remote, [instance(0)]) as sending:
            assert scene.pool._sendings == {sending}

    assert Running(none()).is_over
    scene.close()


def test_nothing_to_send_needs_no_association() -> None:
    scene = Scene()
    assert scene.send([]).result is None
    assert scene.begun == 0
    scene.close()
