"""What is queued goes out over associations in memory, whatever the peer does."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from twisted.internet.defer import Deferred, execute
from twisted.logger import formatEvent

from dimsetls.association.admission import ApplicationEntity
from dimsetls.association.back_off import BackOff
from dimsetls.association.limits import Limits
from dimsetls.association.pool import AssociationPool
from dimsetls.association.remote import Remote
from dimsetls.association.requests import StoreRequest
from dimsetls.dimse.status import Status
from dimsetls.errors import ConfigurationError, ServiceError
from dimsetls.services.filesystem import FileStore
from dimsetls.services.forwarding.queue import Queue, Selection, State
from dimsetls.services.forwarding.rules import Rule
from dimsetls.services.forwarding.sender import LOOK_EVERY, Sender
from dimsetls.services.provider import ServiceProvider
from dimsetls.services.storage import all_transfer_syntaxes
from dimsetls.uids import IMPLICIT_VR_LITTLE_ENDIAN

from ...association.stage import CT, Manual, Services, Stage
from ..archives import an_archive, body, keep

RULE = Rule("r", ("pacs",), back_off=BackOff(10.0, 60.0), attempts=2, give_up_after=10_000.0)


class Scene:
    """A store whose queue is sent to a stage."""

    def __init__(self, store: FileStore, services: Any = None, *, rule: Rule = RULE, **keywords: Any) -> None:
        self.stage = Stage(services if services is not None else Received(), **keywords)
        self.link = self.stage.link
        self.link.advance(1_000_000)
        assert store.index is not None
        self.store = store
        self.queue = store.queue = Queue(store.index, self.link.seconds)
        self.queue.rules = (rule,)
        self.pool = AssociationPool(clock=self.link, back_off=BackOff(0.0, 0.0))
        self.remotes: dict[str, Remote | None] = {}
        self.sender = self.a_sender(rule)
        self.queue.news = self.sender.wake

    def a_sender(self, rule: Rule, peer: str = "pacs", remote: Callable[[str], Remote | None] | None = None) -> Sender:
        return Sender(rule, peer, self.queue, self.store.root, remote or self.remote, self.pool, execute, self.link)

    def remote(self, title: str) -> Remote | None:
        return self.remotes.setdefault(title, Remote(self.link, "DIMSETLS", title, associations=1))

    def keep(self, *numbers: int) -> None:
        for number in numbers:
            keep(self.store, f"1.1.1.{number}", body(number=number))

    def start(self) -> Scene:
        self.sender.start()
        self.link.pump()
        return self

    def advance(self, seconds: float) -> None:
        """Let time pass, a second at a time."""
        for _ in range(round(seconds)):
            self.link.advance(1)

    @property
    def states(self) -> str:
        """A letter for each instance."""
        return "".join(item.state.value[0] for item in self.queue.items(Selection(), 1000))

    @property
    def errors(self) -> list[str]:
        return [item.error for item in self.queue.items(Selection(), 1000)]

    def close(self) -> None:
        stopping = Deferred.fromCoroutine(self.sender.stop())
        self.link.pump()
        assert stopping.called
        assert stopping.result is None
        closing = Deferred.fromCoroutine(self.pool.close())
        self.link.pump()
        assert closing.called
        assert self.stage.is_quiet


class Received(ServiceProvider):
    """Takes what `answer` says it takes, by SOP Instance UID; keeps the data sets."""

    abstract_syntaxes = (CT,)
    transfer_syntaxes = tuple(all_transfer_syntaxes())

    def __init__(self, answer: Callable[[str], int] = lambda uid: 0) -> None:
        self.data: list[tuple[str, bytes]] = []
        self.answer = answer

    async def c_store(self, request: StoreRequest) -> int:
        data = await request.data.read()
        status = self.answer(request.sop_instance_uid)
        if status == 0 or status >> 12 == 0xB:
            self.data.append((request.sop_instance_uid, data))
            return status
        raise ServiceError(status, "no")

    @property
    def uids(self) -> list[str]:
        return [uid for uid, _ in self.data]


@pytest.fixture
def store(tmp_path: Path) -> Iterator[FileStore]:
    store = an_archive(tmp_path / "store")
    yield store
    store.close()


def told(logged: list[Any]) -> list[str]:
    return [formatEvent(event) for event in logged if event["log_namespace"] == "dimsetls.forwarding"]


# In order ------------------------------------------------------------------------------------------------------------


def test_what_is_stored_goes_on_bit_for_bit_over_one_association(store: FileStore, logged: list[Any]) -> None:
    scene = Scene(store)
    scene.keep(1, 2, 3)
    scene.start()
    assert scene.stage.services.data == [(f"1.1.1.{number}", body(number=number)) for number in (1, 2, 3)]
    assert scene.states == "sss"
    assert scene.sender.sent == 3
    assert scene.stage.kinds.count("AssociationStarted") == 1
    assert told(logged) == ["[forward r] 3 instances sent to DIMSETLS in 0.0 s"]
    scene.close()


def test_what_comes_later_is_sent_when_it_comes_on_the_association_that_there_is(store: FileStore) -> None:
    scene = Scene(store).start()
    assert scene.stage.kinds == []
    for number in (1, 2):
        scene.keep(number)
        scene.link.pump()
        assert scene.states == "s" * number
    assert scene.stage.kinds.count("AssociationStarted") == 1
    scene.close()


def test_what_another_process_queued_is_found_without_being_told(store: FileStore) -> None:
    scene = Scene(store).start()
    scene.queue.news = lambda: None
    scene.keep(1)
    scene.link.pump()
    assert scene.states == "w"
    scene.advance(LOOK_EVERY)
    assert scene.states == "s"
    scene.close()


def test_many_more_than_are_in_memory_at_once(store: FileStore) -> None:
    scene = Scene(store)
    scene.keep(*range(1, 431))
    scene.start()
    assert scene.stage.services.uids == [f"1.1.1.{number}" for number in range(1, 431)]
    assert scene.states == "s" * 430
    scene.close()


def test_each_is_sent_by_the_ae_that_it_came_to_or_by_the_one_of_the_rule(store: FileStore) -> None:
    scene = Scene(store)
    scene.keep(1)
    scene.start()
    assert list(scene.remotes) == ["ARCHIVE"]
    scene.sender.rule = replace(RULE, ae_title="GATEWAY")
    scene.keep(2)
    scene.link.pump()
    assert list(scene.remotes) == ["ARCHIVE", "GATEWAY"]
    assert {each.parties.calling_ae_title for each in scene.stage.events if hasattr(each, "contexts_accepted")} == {
        "ARCHIVE", "GATEWAY",
    }  # fmt: skip
    scene.close()


def test_a_window_is_used_and_so_are_several_associations(store: FileStore) -> None:
    scene = Scene(store, Manual(), maximum_operations_invoked=3)
    scene.remotes["ARCHIVE"] = Remote(scene.link, "DIMSETLS", "ARCHIVE", operations=3, associations=2)
    scene.keep(*range(1, 9))
    scene.start()
    assert len(scene.stage.services.finish) == 6
    for finish in scene.stage.services.finish:  # which grows
        finish.callback(0)
        scene.link.pump()
    assert scene.states == "s" * 8
    scene.close()


# Failures ------------------------------------------------------------------------------------------------------------


def test_a_warning_is_a_success(store: FileStore) -> None:
    scene = Scene(store, Received(lambda uid: 0xB006))
    scene.keep(1)
    scene.start()
    assert scene.states == "s"
    scene.close()


def test_a_peer_that_is_down_is_called_ever_more_seldom_and_gets_all_when_it_is_back(
    store: FileStore, logged: list[Any]
) -> None:
    scene = Scene(store)
    scene.link.stop_listening()
    scene.keep(*range(1, 6))
    scene.start()
    for seconds in (10, 20, 40, 60, 60):
        before = len(told(logged))
        scene.advance(seconds - 1)
        assert len(told(logged)) == before
        scene.advance(1)
    assert [line.split(":")[0] for line in told(logged)] == [
        f"[forward r] nothing is sent to DIMSETLS for {seconds} s, failure {number} in a row"
        for number, seconds in enumerate((10, 20, 40, 60, 60, 60), 1)
    ]
    assert scene.states == "wwwww"
    scene.link.listen(scene.stage.factory)
    scene.advance(60)
    assert scene.states == "sssss"
    assert scene.queue.tallies(with_sent=True)[0].hold is None
    scene.close()


@pytest.mark.parametrize("keywords", [
    {"limits": Limits(associations=0)},
    {"entities": ApplicationEntity("SOMEBODY", Services())},
])
def test_rejections_are_tried_again_permanent_ones_too(store: FileStore, keywords: Any) -> None:
    """Whoever set the peer up wrong will set it right, and until then nothing is to be lost."""
    scene = Scene(store, **keywords)
    scene.keep(1)
    scene.start()
    scene.advance(10)
    hold = scene.queue.tallies()[0].hold
    assert (scene.states, hold.failures) == ("w", 2)
    assert "rejected the association" in hold.error
    scene.close()


def test_a_failure_that_may_pass_is_tried_again_and_then_a_dead_letter(store: FileStore, logged: list[Any]) -> None:
    scene = Scene(store, Received(lambda uid: 0xC001 if uid == "1.1.1.2" else 0))
    scene.keep(1, 2, 3)
    scene.start()
    assert scene.states == "sws"
    scene.advance(15)
    assert scene.states == "sds"
    first, second = (line for line in told(logged) if "not taken" in line)
    what = "[forward r] 1.1.1.2, which came to ARCHIVE, is"
    assert first.startswith(f"{what} tried again in 10 s: DIMSETLS has not taken it: ")
    assert second.startswith(f"{what} given up, see dimsetls queue: DIMSETLS has not taken it: ")
    assert "C001H" in first
    scene.close()


@pytest.mark.parametrize("status", [0x0122, 0xA901])
def test_a_failure_that_lasts_is_a_dead_letter_at_once(store: FileStore, status: int) -> None:
    scene = Scene(store, Received(lambda uid: status))
    scene.keep(1)
    scene.start()
    assert scene.states == "d"
    assert f"{status:04X}H" in scene.errors[0]
    assert scene.queue.retry(Selection(states=(State.DEAD,))) == 1
    scene.stage.services.answer = lambda uid: 0
    scene.advance(LOOK_EVERY)
    assert scene.states == "s"
    scene.close()


def test_a_peer_without_room_is_left_alone_and_what_it_refused_comes_after_the_rest(store: FileStore) -> None:
    asked: list[str] = []

    def answer(uid: str) -> int:
        asked.append(uid)
        return 0xA700 if len(asked) == 1 else 0

    scene = Scene(store, Received(answer))
    scene.keep(*range(1, 201))
    scene.start()
    before = len(asked)
    assert 1 < before < 100
    scene.advance(9)
    assert len(asked) == before
    scene.advance(5)
    assert scene.states == "s" * 200
    assert asked[-1] == "1.1.1.1"
    scene.close()


def test_an_abort_in_the_middle_stops_nothing(store: FileStore) -> None:
    scene = Scene(store)
    answered: list[str] = []

    def answer(uid: str) -> int:
        answered.append(uid)
        if uid == "1.1.1.2":  # whenever it comes
            scene.stage.factory.abort_all("it cannot stand this one")
        return 0

    scene.stage.services.answer = answer
    scene.keep(1, 2, 3, 4)
    scene.start()
    scene.advance(40)
    assert scene.states == "swss"
    assert answered.count("1.1.1.2") > 1
    assert "abort" in scene.errors[1]
    scene.close()


def test_a_context_that_is_refused_is_a_dead_letter_that_names_both_sides(store: FileStore) -> None:
    class Implicit(Received):
        transfer_syntaxes = (IMPLICIT_VR_LITTLE_ENDIAN,)

    scene = Scene(store, Implicit())
    scene.keep(1)
    scene.start()
    assert scene.states == "d"
    assert "is in transfer syntax 1.2.840.10008.1.2.1, DIMSETLS accepted 1.2.840.10008.1.2" in scene.errors[0]
    assert scene.stage.services.data == []
    scene.close()


def test_a_sop_class_that_is_refused_is_a_dead_letter(store: FileStore) -> None:
    class Nothing(Received):
        abstract_syntaxes = ()

    scene = Scene(store, Nothing())
    scene.keep(1)
    scene.start()
    assert scene.states == "d"
    assert "DIMSETLS accepted no presentation context for it" in scene.errors[0]
    scene.close()


def test_a_file_that_is_gone_is_a_dead_letter(store: FileStore) -> None:
    scene = Scene(store)
    scene.keep(1, 2)
    (store.root / "1.1/1.1.1.1.dcm").unlink()
    scene.start()
    assert scene.states == "ds"
    assert "No such file" in scene.errors[0]
    scene.close()


def test_a_peer_that_is_not_known_any_more_keeps_its_instances(store: FileStore) -> None:
    scene = Scene(store)
    scene.sender.remote = lambda title: None
    scene.keep(1)
    scene.start()
    assert scene.states == "w"
    assert scene.queue.tallies()[0].hold.error == "the configuration does not say how it is reached"
    scene.sender.remote = scene.remote
    scene.advance(15)
    assert scene.states == "s"
    scene.close()


def test_what_is_presented_to_the_peer_and_cannot_be_used_keeps_its_instances(store: FileStore) -> None:
    def remote(title: str) -> Remote:
        raise ConfigurationError("[credential us] found no token")

    scene = Scene(store)
    scene.sender.remote = remote
    scene.keep(1)
    scene.start()
    assert (scene.states, scene.queue.tallies()[0].hold.error) == ("w", "[credential us] found no token")
    scene.close()


def test_a_dead_peer_does_not_hold_up_another(store: FileStore) -> None:
    rule = replace(RULE, peers=("pacs", "dead"))
    scene = Scene(store, rule=rule)
    nobody = Remote(Silent(), "NOBODY", "ME")
    other = scene.a_sender(rule, "dead", lambda title: nobody)
    other.start()
    scene.keep(1, 2, 3)
    other.wake()
    scene.start()
    assert [(tally.peer, tally.waiting, tally.sent) for tally in scene.queue.tallies(with_sent=True)] == [
        ("dead", 3, 0), ("pacs", 0, 3),
    ]  # fmt: skip
    stopping = Deferred.fromCoroutine(other.stop())
    assert not stopping.called
    stopping.cancel()
    assert stopping.called
    scene.close()


class Silent:
    """An endpoint that never connects."""

    def connect(self, factory: Any) -> Deferred[Any]:
        return Deferred()


def test_a_queue_that_cannot_be_read_is_told_and_read_again(
    store: FileStore, logged: list[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    scene = Scene(store)
    scene.keep(1)
    with monkeypatch.context() as patched:
        def fail(*arguments: object) -> None:
            raise sqlite3.OperationalError("disk I/O error")

        patched.setattr(scene.queue, "pick", fail)
        scene.start()
    assert "expected a queue that can be read and written, got disk I/O error" in told(logged)[0]
    scene.advance(LOOK_EVERY)
    assert scene.states == "s"
    scene.close()


def test_what_cannot_be_written_down_is_sent_again(store: FileStore, logged: list[Any]) -> None:
    scene = Scene(store)
    scene.keep(1, 2)
    settle, calls = scene.queue.settle, []

    def fail_once(*arguments: Any) -> Any:
        calls.append(arguments)
        if len(calls) == 1:
            raise sqlite3.OperationalError("database or disk is full")
        return settle(*arguments)

    scene.queue.settle = fail_once
    scene.start()
    assert "got database or disk is full" in told(logged)[0]
    scene.advance(LOOK_EVERY)
    assert scene.states == "ss"
    assert scene.stage.services.uids.count("1.1.1.1") == 2
    scene.close()


# The end -------------------------------------------------------------------------------------------------------------


def test_stopping_waits_for_what_is_at_hand_and_takes_no_more(store: FileStore) -> None:
    scene = Scene(store, Manual())
    scene.keep(*range(1, 301))
    scene.start()
    stopping = Deferred.fromCoroutine(scene.sender.stop())
    for finish in scene.stage.services.finish:  # which grows
        assert not stopping.called
        finish.callback(0)
        scene.link.pump()
    assert stopping.called
    sent = scene.states.count("s")
    assert 1 <= sent < 100
    assert scene.states.count("w") == 300 - sent
    scene.close()


def test_stopping_at_once_breaks_off_and_what_was_not_answered_waits(store: FileStore) -> None:
    scene = Scene(store, Manual())
    scene.keep(1, 2, 3)
    scene.start()
    scene.stage.services.finish[0].callback(Status.SUCCESS)
    scene.link.pump()
    stopping = Deferred.fromCoroutine(scene.sender.stop())
    stopping.cancel()
    scene.link.pump()
    assert stopping.called
    assert scene.states == "sww"
    scene.close()
