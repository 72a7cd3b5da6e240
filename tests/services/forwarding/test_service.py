"""The senders of one store: those that are wanted, in one process, until the end."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from twisted.internet.defer import Deferred, execute
from twisted.logger import formatEvent

from dimsetls.association.remote import Remote
from dimsetls.services.filesystem import FileStore
from dimsetls.services.forwarding.queue import Queue, Selection
from dimsetls.services.forwarding.rules import Rule
from dimsetls.services.forwarding.sender import LOOK_EVERY
from dimsetls.services.forwarding.service import RELEASE_WITHIN, Forwarding

from ...association.stage import Manual, Services, Stage
from ..archives import an_archive, body, keep

RULE = Rule("r", ("pacs",))


class InThisThread(Forwarding):
    """Does its work where it is asked, for a link has no threads."""

    def _run(self, call: Any) -> Deferred[Any]:
        return execute(call)


class Scene:
    """A store, a stage that is PACS, and any number of processes that would forward from one to the other."""

    def __init__(self, root: Path, services: Any = None) -> None:
        self.stage = Stage(services or Services())
        self.link: Any = self.stage.link
        self.link.callFromThread = lambda call: call()
        self.store = an_archive(root)
        self.remotes = {"pacs": Remote(self.link, "DIMSETLS", "ME", associations=1)}

    def process(self, *rules: Rule) -> Forwarding:
        """One more, that has started."""
        queue = Queue(self.store.index, self.link.seconds)
        made = InThisThread(self.store.root, queue, self.link)
        made.configure(rules, self.reach)
        made.startService()
        self.link.pump()
        return made

    def reach(self, rule: Rule, peer: str, title: str) -> Remote | None:
        return self.remotes.get(peer)

    def keep(self, *numbers: int, rules: tuple[Rule, ...] = (RULE,)) -> None:
        self.store.queue.rules = rules
        self.store.queue._now = self.link.seconds
        for number in numbers:
            keep(self.store, f"1.1.1.{number}", body(number=number))

    def end(self, forwarding: Forwarding, timeout: float = 30.0) -> Deferred[None]:
        """The process ends; the Deferred fires when it has."""
        draining = Deferred.fromCoroutine(forwarding.drain(timeout))
        self.link.pump()
        return draining.addCallback(lambda ignored: forwarding.stopService())

    @property
    def states(self) -> str:
        return "".join(item.state.value[0] for item in self.store.queue.items(Selection(), 1000))


@pytest.fixture
def scene(tmp_path: Path) -> Iterator[Callable[..., Scene]]:
    stores: list[FileStore] = []

    def make(services: Any = None) -> Scene:
        made = Scene(tmp_path / "store", services)
        stores.append(made.store)
        return made

    yield make
    for store in stores:
        store.close()


def told(logged: list[Any]) -> list[str]:
    return [formatEvent(event) for event in logged if event["log_namespace"] == "dimsetls.forwarding"]


def test_what_waits_is_sent_from_the_start_and_counted(scene: Callable[..., Scene]) -> None:
    here = scene()
    here.keep(1, 2)
    forwarding = here.process(RULE)
    assert here.states == "ss"
    assert forwarding.sent == {("r", "pacs"): 2}
    assert forwarding.tallies().result == []
    assert here.end(forwarding).called
    assert here.stage.is_quiet


def test_only_one_process_sends_and_another_takes_over(scene: Callable[..., Scene], logged: list[Any]) -> None:
    here = scene()
    first, second = here.process(RULE), here.process(RULE)
    here.keep(1)
    here.link.advance(3 * LOOK_EVERY)
    assert here.states == "s"
    assert (first.sent, second.sent) == ({("r", "pacs"): 1}, {})
    assert [line for line in told(logged) if "another process" in line] == [
        f"another process forwards what is stored in {here.store.root}; this one will when that ends"
    ]
    assert here.end(first).called
    here.keep(2)
    assert here.states == "sw"
    here.link.advance(LOOK_EVERY)
    assert here.states == "ss"
    assert here.end(second).called
    assert here.stage.is_quiet


def test_a_process_that_waits_for_its_turn_can_end(scene: Callable[..., Scene]) -> None:
    here = scene()
    first, second = here.process(RULE), here.process(RULE)
    assert here.end(second).called
    assert here.end(first).called
    assert here.stage.is_quiet


def test_without_rules_nobody_else_is_kept_from_sending(scene: Callable[..., Scene]) -> None:
    here = scene()
    first, second = here.process(), here.process(RULE)
    here.keep(1)
    here.link.advance(LOOK_EVERY)
    assert second.sent == {("r", "pacs"): 1}
    assert here.end(first).called
    assert here.end(second).called


def test_rules_that_come_go_and_change(scene: Callable[..., Scene], logged: list[Any]) -> None:
    here = scene()
    here.keep(1, 2, rules=(RULE, Rule("gone", ("elsewhere",))))
    forwarding = here.process()
    assert told(logged) == [
        f"2 instances in {here.store.root} are kept for [forward {rule}] to [peer {peer}], which the configuration has "
        "no more: bring it back, or see dimsetls queue drop" for rule, peer in (("gone", "elsewhere"), ("r", "pacs"))
    ]
    forwarding.configure((RULE,), here.reach)
    here.link.pump()
    assert here.states.count("s") == 2
    assert [line for line in told(logged) if "kept for" in line][2:] == [told(logged)[0]]
    here.remotes["pacs"] = other = Remote(here.link, "DIMSETLS", "OTHER", associations=1)
    forwarding.configure((Rule("r", ("pacs",), ae_title="OTHER"),), here.reach)
    here.keep(3)
    here.link.advance(LOOK_EVERY)
    assert other in forwarding._pool._count
    forwarding.configure((), here.reach)
    here.keep(4)
    here.link.advance(LOOK_EVERY)
    assert here.states.count("s") == 3
    assert here.end(forwarding).called


def test_at_the_end_what_is_at_hand_is_completed(scene: Callable[..., Scene]) -> None:
    here = scene(Manual())
    here.keep(1)
    forwarding = here.process(RULE)
    ending = here.end(forwarding)
    assert not ending.called
    here.stage.services.finish[0].callback(0)
    here.link.pump()
    assert ending.called
    assert here.states == "s"
    assert here.stage.is_quiet


def test_at_the_end_what_takes_too_long_is_broken_off_and_waits(scene: Callable[..., Scene]) -> None:
    here = scene(Manual())
    here.keep(1)
    forwarding = here.process(RULE)
    ending = here.end(forwarding, 5.0)
    here.link.advance(4)
    assert not ending.called
    here.link.advance(1)
    assert ending.called
    assert here.states == "w"
    assert here.stage.is_quiet


def test_a_peer_that_does_not_let_go_does_not_hold_up_the_end(scene: Callable[..., Scene]) -> None:
    here = scene()
    here.keep(1)
    forwarding = here.process(RULE)
    assert here.states == "s"
    here.stage.link.ends[1].pauseProducing()
    ending = here.end(forwarding)
    assert not ending.called
    here.link.advance(RELEASE_WITHIN)
    assert ending.called


def test_a_queue_that_cannot_be_read_is_told_at_the_start(scene: Callable[..., Scene], logged: list[Any]) -> None:
    here = scene()
    queue = Queue(here.store.index, here.link.seconds)

    def fail(**options: object) -> None:
        raise sqlite3.OperationalError("disk I/O error")

    queue.tallies = fail
    forwarding = InThisThread(here.store.root, queue, here.link)
    forwarding.startService()
    assert told(logged) == [f"{here.store.root}: expected a queue that can be read, got disk I/O error"]
    assert here.end(forwarding).called
