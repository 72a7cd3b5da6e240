"""The queue on disk: what is in it after stores, tries, kills and rebuilds."""

from __future__ import annotations

import os
import signal
import sqlite3
from collections.abc import Iterator
from pathlib import Path

import pytest
from twisted.internet.task import Clock

from dimsetls.association.back_off import BackOff
from dimsetls.errors import ServiceError
from dimsetls.services.filesystem import Duplicates, Durability, FileStore, Outcome
from dimsetls.services.forwarding.queue import Hold, Item, Queue, Selection, State, Tally
from dimsetls.services.forwarding.rules import Rule
from dimsetls.services.forwarding.verdict import Verdict
from dimsetls.services.index import Index, Tables
from dimsetls.services.layout import Layout
from dimsetls.services.upkeep import rebuild
from dimsetls.uids import EXPLICIT_VR_LITTLE_ENDIAN

from ..archives import CT, an_archive, an_entry, body, keep

RULE = Rule("r", ("pacs",), back_off=BackOff(10.0, 60.0), attempts=3, give_up_after=1000.0)


@pytest.fixture
def clock() -> Clock:
    clock = Clock()
    clock.advance(1_000_000)
    return clock


@pytest.fixture
def queue(tmp_path: Path, clock: Clock) -> Iterator[Queue]:
    index = Index(tmp_path / "index.db", durable=False)
    index.open()
    queue = Queue(index, clock.seconds)
    queue.prepare()
    queue.rules = (RULE,)
    yield queue
    index.close()


def put(queue: Queue, *numbers: int, is_new: bool = True, **values: str) -> None:
    def add(tables: Tables) -> None:
        for number in numbers:
            queue.add(tables, an_entry(number, **values), is_new=is_new)

    queue._index.write(add)


def picked(queue: Queue, rule: Rule = RULE, peer: str = "pacs", most: int = 100) -> list[Item]:
    return queue.pick(rule, peer, most)[0]


def uids(items: list[Item]) -> list[str]:
    return [item.sop_instance_uid for item in items]


def everything(queue: Queue) -> list[Item]:
    return queue.items(Selection(), 1000)


# What is queued ------------------------------------------------------------------------------------------------------


def test_what_is_stored_waits_for_each_peer_of_the_rules_that_take_it(queue: Queue, clock: Clock) -> None:
    queue.rules = (
        Rule("ct", ("pacs", "backup"), modalities=("CT",)), Rule("all", ("pacs", "cloud")),
        Rule("no", ("x",), modalities=()),
    )  # fmt: skip
    put(queue, 1, ReceivingApplicationEntityTitle="ME")
    put(queue, 2, Modality="MR")
    assert [(item.sop_instance_uid, item.rule, item.peer) for item in everything(queue)] == [
        ("1.1.1.1", "ct", "pacs"), ("1.1.1.1", "ct", "backup"), ("1.1.1.1", "all", "cloud"),
        ("1.1.1.2", "all", "pacs"), ("1.1.1.2", "all", "cloud"),
    ]  # fmt: skip
    assert everything(queue)[0] == Item(
        1, 1, "ct", "pacs", CT, "1.1.1.1", EXPLICIT_VR_LITTLE_ENDIAN, "a/1.1.1.1.dcm", "ME", State.WAITING, 0, 0,
        clock.seconds(), clock.seconds(), "",
    )  # fmt: skip


def test_news_are_told_once_what_was_queued_can_be_found(queue: Queue) -> None:
    told = []
    queue.news = lambda: told.append(len(everything(queue)))
    put(queue, 1)
    queue.rules = ()
    put(queue, 2)
    assert told == [1]


def test_what_was_sent_is_sent_again_only_if_it_was_replaced(queue: Queue) -> None:
    put(queue, 1)
    queue.settle(RULE, [(picked(queue)[0], Verdict.SENT, "")])
    put(queue, 1, is_new=False)
    assert picked(queue) == []
    put(queue, 1)
    [item] = picked(queue)
    assert (item.version, item.attempts) == (2, 0)


def test_what_is_heard_of_a_version_that_was_replaced_or_dropped_does_not_count(queue: Queue) -> None:
    put(queue, 1, 2)
    before = picked(queue)
    put(queue, 1)
    assert queue.drop(Selection(sop_instance_uids=("1.1.1.2",))) == 1
    put(queue, 2)
    assert queue.settle(RULE, [(item, Verdict.SENT, "") for item in before]) == []
    assert uids(picked(queue)) == ["1.1.1.1", "1.1.1.2"]


# Stores of a real directory ------------------------------------------------------------------------------------------


def a_store(root: Path, **options: object) -> FileStore:
    root.mkdir(exist_ok=True)
    options.setdefault("fsync", Durability.NONE)
    store = an_archive(root, **options)
    assert store.queue is not None
    store.queue.rules = (RULE,)
    return store


def waiting(store: FileStore) -> list[tuple[str, int, str]]:
    assert store.queue is not None
    return [(item.sop_instance_uid, item.version, item.path) for item in everything(store.queue)]


def test_success_means_stored_indexed_and_queued(tmp_path: Path) -> None:
    store = a_store(tmp_path)
    assert keep(store).outcome is Outcome.STORED
    [item] = everything(store.queue)
    assert (item.path, item.ae_title, item.sop_class_uid) == ("1.1/1.1.1.1.dcm", "ARCHIVE", CT)
    store.close()


@pytest.mark.parametrize(("duplicates", "data", "after"), [
    (Duplicates.IDENTICAL, body(), [("1.1.1.1", 1, "1.1/1.1.1.1.dcm")]),
    (Duplicates.KEEP, body("1.2"), [("1.1.1.1", 1, "1.1/1.1.1.1.dcm")]),
    (Duplicates.REPLACE, body(name="New"), [("1.1.1.1", 2, "1.1/1.1.1.1.dcm")]),
    (Duplicates.REPLACE, body("1.2"), [("1.1.1.1", 2, "1.2/1.1.1.1.dcm")]),
])
def test_a_duplicate_goes_on_if_it_is_another(
    tmp_path: Path, duplicates: Duplicates, data: bytes, after: object
) -> None:
    store = a_store(tmp_path, duplicates=duplicates)
    keep(store)
    keep(store, data=data)
    assert waiting(store) == after
    store.close()


def test_a_duplicate_that_is_refused_is_not_queued_and_one_that_never_was_is(tmp_path: Path) -> None:
    store = a_store(tmp_path)
    store.queue.rules = ()
    keep(store)
    store.queue.rules = (RULE,)
    with pytest.raises(ServiceError):
        keep(store, data=body("1.2"))
    assert waiting(store) == []
    keep(store)
    assert waiting(store) == [("1.1.1.1", 1, "1.1/1.1.1.1.dcm")]
    store.close()


def test_a_queue_that_takes_nothing_is_a_refusal_and_nothing_is_stored(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = a_store(tmp_path)

    def fail(*arguments: object, **options: object) -> None:
        error = sqlite3.OperationalError("database or disk is full")
        error.sqlite_errorcode = sqlite3.SQLITE_FULL
        raise error

    monkeypatch.setattr(Queue, "add", fail)
    with pytest.raises(ServiceError) as caught:
        keep(store)
    assert caught.value.status == 0xA700
    assert store.index.count() == 0
    assert not list(tmp_path.rglob("*.dcm"))
    store.close()


@pytest.mark.parametrize("step", [(Queue, "add"), (Index, "write"), (FileStore, "appear"), (Tables, "put")])
@pytest.mark.parametrize("duplicates", [Duplicates.IDENTICAL, Duplicates.REPLACE])
def test_killed_while_storing_what_is_there_is_queued(
    tmp_path: Path, step: tuple[type, str], duplicates: Duplicates
) -> None:
    child = os.fork()
    if not child:
        store = a_store(tmp_path, duplicates=duplicates, fsync=Durability.FULL)
        keep(store)
        store.queue.settle(RULE, [(item, Verdict.SENT, "") for item in picked(store.queue)])
        call = getattr(*step)

        def last(*arguments: object, **options: object) -> None:
            call(*arguments, **options)
            os.kill(os.getpid(), signal.SIGKILL)

        setattr(*step, last)
        try:
            keep(store, "1.1.1.1" if duplicates is Duplicates.REPLACE else "1.1.1.2", body(name="New"))
        finally:
            os._exit(0)
    _, status = os.waitpid(child, 0)
    layout = Layout("{StudyInstanceUID}/{SOPInstanceUID}.dcm")
    store = FileStore(tmp_path, layout=layout, duplicates=duplicates, index=Index(tmp_path / ".index.db"))
    store.queue.rules = (RULE,)
    store.open()
    states = {item.sop_instance_uid: item.state for item in everything(store.queue)}
    if duplicates is Duplicates.IDENTICAL:
        assert os.WIFSIGNALED(status)
        assert (tmp_path / "1.1/1.1.1.2.dcm").is_file()
        assert states == {"1.1.1.1": State.SENT, "1.1.1.2": State.WAITING}
    else:
        is_new = b"New" in (tmp_path / "1.1/1.1.1.1.dcm").read_bytes()
        assert states == {"1.1.1.1": State.WAITING if is_new else State.SENT}
    store.close()


def test_an_index_made_anew_keeps_the_queue(tmp_path: Path) -> None:
    store = a_store(tmp_path)
    for number in (1, 2, 3):
        keep(store, f"1.1.1.{number}")
    first, second, _ = picked(store.queue)
    store.queue.settle(RULE, [(first, Verdict.SENT, ""), (second, Verdict.DEAD, "no")])
    store.queue.hold(RULE, "pacs", "down")
    before, tallies = everything(store.queue), store.queue.tallies(with_sent=True)
    store.close()
    assert [step.problem for step in rebuild(tmp_path, Index(tmp_path / ".index.db")) if step.problem] == []
    store = a_store(tmp_path)
    assert (everything(store.queue), store.queue.tallies(with_sent=True)) == (before, tallies)
    assert store.index.count() == 3
    store.close()


# What is to be sent --------------------------------------------------------------------------------------------------


def test_the_oldest_are_picked_first_a_few_at_once_and_of_one_ae_of_ours(queue: Queue, clock: Clock) -> None:
    for number, ae in enumerate(("ONE", "ONE", "TWO", "ONE"), 1):
        put(queue, number, ReceivingApplicationEntityTitle=ae)
        clock.advance(1)
    assert uids(picked(queue)) == ["1.1.1.1", "1.1.1.2", "1.1.1.4"]
    assert uids(picked(queue, most=1)) == ["1.1.1.1"]
    queue.settle(RULE, [(item, Verdict.SENT, "") for item in picked(queue)])
    assert uids(picked(queue)) == ["1.1.1.3"]
    assert queue.pick(RULE, "another", 1) == queue.pick(Rule("another", ("pacs",)), "pacs", 1) == ([], None)


def test_tries_are_further_and_further_apart_up_to_a_bound(queue: Queue, clock: Clock) -> None:
    put(queue, 1)
    waits = []
    for _ in range(5):
        [item] = picked(queue)
        [left] = queue.settle(RULE, [(item, Verdict.LATER, "the connection was cut")])
        assert (left.state, left.error) == (State.WAITING, "the connection was cut")
        items, wait = queue.pick(RULE, "pacs", 1)
        assert items == []
        waits.append(wait)
        clock.advance(wait)
    assert waits == [10, 20, 40, 60, 60]
    assert picked(queue)[0].attempts == 5


def test_refusals_end_as_a_dead_letter_after_so_many(queue: Queue, clock: Clock) -> None:
    put(queue, 1)
    states = []
    for verdict in (Verdict.REFUSED, Verdict.LATER, Verdict.BUSY, Verdict.REFUSED, Verdict.REFUSED):
        clock.advance(60)
        [left] = queue.settle(RULE, [(picked(queue)[0], verdict, "C000H")])
        states.append(left.state)
    assert states == [State.WAITING] * 4 + [State.DEAD]
    clock.advance(1000)
    assert queue.pick(RULE, "pacs", 1) == ([], None)


def test_what_would_end_the_same_way_is_dead_at_once(queue: Queue) -> None:
    put(queue, 1)
    [left] = queue.settle(RULE, [(picked(queue)[0], Verdict.DEAD, "0122H")])
    assert (left.state, left.error, left.attempts) == (State.DEAD, "0122H", 1)


def test_what_waited_too_long_is_given_up(queue: Queue, clock: Clock) -> None:
    put(queue, 1)
    clock.advance(1000)
    [left] = queue.settle(RULE, [(picked(queue)[0], Verdict.LATER, "cut")])
    assert left.state is State.DEAD


def test_a_peer_that_fails_is_left_alone_and_its_instances_are_not_touched(queue: Queue, clock: Clock) -> None:
    put(queue, 1, 2)
    waits = []
    for failures in range(1, 5):
        held = queue.hold(RULE, "pacs", "refused")
        assert held == Hold(failures, clock.seconds() + RULE.back_off.delay(failures), "refused")
        items, wait = queue.pick(RULE, "pacs", 5)
        assert items == []
        waits.append(wait)
        clock.advance(wait)
    assert waits == [10, 20, 40, 60]
    assert [item.attempts for item in picked(queue)] == [0, 0]
    assert uids(picked(queue, peer="other")) == []
    queue.release(RULE, "pacs")
    assert queue.hold(RULE, "pacs", "again").failures == 1


def test_a_peer_that_is_down_for_too_long_leaves_dead_letters_but_for_what_is_new(queue: Queue, clock: Clock) -> None:
    put(queue, *range(1, 2101))
    clock.advance(999)
    put(queue, 3000)
    clock.advance(1)
    queue.hold(RULE, "pacs", "connection refused")
    hold = Hold(1, clock.seconds() + 10, "connection refused")
    assert queue.tallies() == [Tally("r", "pacs", 1, 2100, 0, clock.seconds() - 1, hold)]
    dead = queue.items(Selection(states=(State.DEAD,)), 1)
    assert dead[0].error == "gave up after 1000 s: connection refused"


def test_a_clock_that_was_set_back_makes_nothing_wait_for_ever(queue: Queue, clock: Clock) -> None:
    put(queue, 1)
    queue.hold(RULE, "pacs", "down")
    clock.rightNow -= 500_000
    assert queue.pick(RULE, "pacs", 1) == ([], 0.0)
    assert uids(picked(queue)) == ["1.1.1.1"]


# What operators do ---------------------------------------------------------------------------------------------------


def test_numbers_by_rule_and_peer(queue: Queue, clock: Clock) -> None:
    queue.rules = (RULE, Rule("b", ("x",)))
    begun = clock.seconds()
    put(queue, 1)
    clock.advance(5)
    put(queue, 2, 3, 4)
    first, second, third, _ = picked(queue)
    queue.settle(RULE, [(first, Verdict.SENT, ""), (second, Verdict.DEAD, "no"), (third, Verdict.LATER, "")])
    assert queue.tallies() == [Tally("b", "x", 4, 0, 0, begun, None), Tally("r", "pacs", 2, 1, 0, begun + 5, None)]
    assert [tally.sent for tally in queue.tallies(with_sent=True)] == [0, 1]


def test_dead_letters_are_tried_anew_as_if_for_the_first_time(queue: Queue, clock: Clock) -> None:
    put(queue, 1, 2)
    queue.settle(RULE, [(item, Verdict.DEAD, "no") for item in picked(queue)])
    queue.hold(RULE, "pacs", "down")
    clock.advance(5000)
    assert queue.retry(Selection(rule="other")) == 0
    assert queue.retry(Selection(states=(State.DEAD,), sop_instance_uids=("1.1.1.2",))) == 1
    [item] = picked(queue)
    assert (item.sop_instance_uid, item.attempts, item.refusals, item.error) == ("1.1.1.2", 0, 0, "")
    assert item.since == clock.seconds()
    [left] = queue.settle(RULE, [(item, Verdict.LATER, "cut")])
    assert left.state is State.WAITING


def test_many_are_changed_a_part_at_a_time(queue: Queue) -> None:
    put(queue, *range(1, 2101))
    calls = []
    write = queue._index.write
    queue._index.write = lambda job: (calls.append(job), write(job))[1]
    assert queue.retry(Selection(states=(State.WAITING,))) == 2100
    assert len(calls) == 4
    assert queue.drop(Selection(peer="pacs")) == 2100
    assert everything(queue) == []


def test_what_is_sent_is_not_looked_at_to_find_what_waits(queue: Queue) -> None:
    with queue._index.reading() as tables:
        for statement in (
            "SELECT * FROM forward WHERE state = 'waiting' AND rule = 'r' AND peer = 'p' AND due <= 1 "
            "ORDER BY due, id LIMIT 9",
            "SELECT min(due) FROM forward WHERE state = 'waiting' AND rule = 'r' AND peer = 'p'",
            "SELECT rule, peer, count(*), min(since) FROM forward WHERE state = 'waiting' GROUP BY rule, peer",
            "SELECT rule, peer, count(*), 0 FROM forward WHERE state = 'dead' GROUP BY rule, peer",
        ):
            plan = " ".join(row[3] for row in tables.execute(f"EXPLAIN QUERY PLAN {statement}"))
            assert "USING INDEX forward_" in plan or "USING COVERING INDEX forward_" in plan, (statement, plan)
            assert "TEMP B-TREE" not in plan
