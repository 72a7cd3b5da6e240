"""Reports: on the association of the request or on one of ours, again and again, after a restart, and not for ever."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest
from twisted.internet.defer import Deferred, succeed

from dimsetls.association.requestor import propose
from dimsetls.services.commitment import Commitment, Reference, Reports
from dimsetls.services.commitment.references import write_request
from dimsetls.uids import STORAGE_COMMITMENT
from dimsetls.uids import STORAGE_COMMITMENT_INSTANCE as INSTANCE

from ...association.pair import Pair
from ...association.stage import Stage
from .scene import KEPT, UNKNOWN, Hearing, Nothing, Scene


def ask(pair: Pair, *references: Reference, uid: str = "1.9") -> None:
    syntax = pair.association.context(STORAGE_COMMITMENT).transfer_syntax
    data = write_request(uid, references or KEPT, syntax)
    assert pair.run(pair.association.n_action(STORAGE_COMMITMENT, INSTANCE, 1, data))[0].status == 0


def test_the_report_comes_on_the_association_of_the_request(scene: Scene) -> None:
    user = Hearing()
    pair = scene.asked(user)
    ask(pair)
    assert user.heard == []  # the answer first
    scene.pass_time(pair)
    [(report, event)] = user.heard
    assert (report.committed, report.failed, event) == (tuple(KEPT), {}, 1)
    assert report.retrieve_ae_title == "DIMSETLS"
    assert scene.pending == scene.called == []
    assert pair.is_quiet


def test_what_is_not_kept_is_told_with_its_reason(scene: Scene) -> None:
    user = Hearing()
    pair = scene.asked(user)
    ask(pair, KEPT[0], UNKNOWN)
    scene.pass_time(pair)
    [(report, event)] = user.heard
    assert (report.committed, report.failed, event) == ((KEPT[0],), {UNKNOWN: 0x0112}, 2)


def test_the_report_comes_on_a_new_association_if_the_first_has_ended(scene: Scene) -> None:
    user = Hearing()
    scene.there = Stage(user)
    pair = scene.asked()
    ask(pair)
    pair.run(pair.association.release())
    scene.pass_time()
    assert [report.committed for report, _ in user.heard] == [tuple(KEPT)]
    assert (scene.called, scene.pending) == (["ME"], [])
    assert scene.there.is_quiet


def test_who_does_not_take_it_on_the_first_association_is_called(scene: Scene) -> None:
    user = Hearing()
    scene.there = Stage(user)
    pair = scene.asked()  # without services, so that a report is refused
    ask(pair)
    scene.pass_time(pair)
    assert [event for _, event in user.heard] == [1]
    assert scene.pending == []
    assert pair.is_quiet


def test_several_reports_go_on_one_association(scene: Scene) -> None:
    user = Hearing()
    scene.there = Stage(user)
    pair = scene.asked()
    for number in (1, 2, 3):
        ask(pair, KEPT[number - 1], uid=f"1.{number}")
    pair.run(pair.association.release())
    scene.pass_time()
    assert sorted(report.transaction_uid for report, _ in user.heard) == ["1.1", "1.2", "1.3"]
    assert len(scene.called) < 3


@pytest.mark.parametrize("there", [None, Nothing()], ids=["nobody knows where", "takes no reports"])
def test_a_peer_that_fails_is_called_again_later_each_time(
    scene: Scene, there: Nothing | None, logged: list[Any]
) -> None:
    scene.there = there and Stage(there)
    pair = scene.asked()
    ask(pair)
    pair.run(pair.association.release())
    scene.pass_time()
    calls = [len(scene.called)]
    for seconds in (9, 1, 19, 1, 39, 1, 79, 1, 99, 1):
        scene.pass_time(seconds=seconds)
        calls.append(len(scene.called))
    assert calls == [1, 1, 2, 2, 3, 3, 4, 4, 5, 5, 6]
    assert scene.pending == ["1.9"]
    user = Hearing()
    scene.there = Stage(user)
    scene.pass_time(seconds=100)
    assert (len(user.heard), scene.pending) == (1, [])
    assert [event["delay"] for event in logged if "is called again" in event["log_format"]] == [
        10, 20, 40, 80, 100, 100,
    ]


def test_a_report_that_is_refused_does_not_hold_up_the_next(scene: Scene) -> None:
    answers = [0x0110, 0, 0]
    user = Hearing(lambda: answers.pop(0))
    scene.there = Stage(user)
    pair = scene.asked()
    ask(pair, KEPT[0], uid="1.1")
    ask(pair, KEPT[1], uid="1.2")
    pair.run(pair.association.release())
    scene.reports.stop()
    scene.reports = scene.made()
    scene.reports.start()
    scene.pass_time()
    assert scene.pending == ["1.1"]
    scene.pass_time(seconds=10)
    assert scene.pending == []
    assert [report.transaction_uid for report, _ in user.heard] == ["1.1", "1.2", "1.1"]


def test_what_was_promised_is_reported_after_a_restart(scene: Scene) -> None:
    pair = scene.asked()
    ask(pair)
    scene.reports.stop()
    scene.pass_time(pair)
    assert scene.pending == ["1.9"]
    user = Hearing()
    scene.there = Stage(user)
    scene.reports = scene.made()
    scene.reports.start()
    scene.pass_time()
    assert [event for _, event in user.heard] == [1]
    assert scene.pending == []


def test_a_reload_calls_at_once(scene: Scene) -> None:
    pair = scene.asked()
    ask(pair)
    pair.run(pair.association.release())
    scene.pass_time()
    user = Hearing()
    scene.there = Stage(user)
    scene.reports.configure(scene.reach, 86400)
    scene.pass_time()
    assert (len(user.heard), scene.pending) == (1, [])


def test_a_promise_is_given_up_in_the_end_and_that_is_an_error(scene: Scene, logged: list[Any]) -> None:
    pair = scene.asked()
    ask(pair)
    pair.run(pair.association.release())
    scene.pass_time()
    scene.now += 86400
    scene.pass_time(seconds=100)
    assert scene.pending == []
    [gave_up] = [event for event in logged if "gave up" in event["log_format"]]
    assert (gave_up["log_level"].name, gave_up["peer"], gave_up["transaction"]) == ("error", "ME", "1.9")
    scene.pass_time(seconds=1000)
    assert len(scene.called) == 1


def test_a_judge_that_fails_loses_nothing(scene: Scene, logged: list[Any]) -> None:
    failing = [True]

    async def judge(references: Sequence[Reference]) -> list[int | None]:
        if failing:
            raise RuntimeError("the archive is away")
        return [None] * len(references)

    user = Hearing()
    scene.there = Stage(user)
    scene.reports = scene.made(judge=judge)
    pair = scene.asked()
    ask(pair, *KEPT)
    pair.run(pair.association.release())
    scene.pass_time()
    assert scene.pending == ["1.9"]
    assert [event for event in logged if event.get("log_failure")]
    failing.clear()
    scene.pass_time(seconds=10)
    assert (len(user.heard), scene.pending) == (1, [])


def test_references_are_judged_some_at_a_time(scene: Scene) -> None:
    chunks: list[int] = []

    async def judge(references: Sequence[Reference]) -> list[int | None]:
        chunks.append(len(references))
        return [None] * len(references)

    user = Hearing()
    scene.reports = scene.made(judge=judge)
    pair = scene.asked(user)
    ask(pair, *(Reference("1.2.3", f"1.2.3.{number}") for number in range(1200)))
    scene.pass_time(pair)
    assert chunks == [500, 500, 200]
    [(report, _)] = user.heard
    assert len(report.committed) == 1200


def test_nothing_happens_after_the_stop(scene: Scene) -> None:
    pair = scene.asked()
    ask(pair)
    pair.run(pair.association.release())
    scene.pass_time()
    scene.reports.stop()
    scene.pass_time(seconds=1000)
    assert len(scene.called) == 1
    assert scene.clock.getDelayedCalls() == []


def test_reports_may_serve_several_associations(scene: Scene) -> None:
    reports: Reports = scene.reports
    users = Hearing(), Hearing()
    pairs = [Pair(Commitment(reports), contexts=[propose(STORAGE_COMMITMENT)], services=user) for user in users]
    for number, pair in enumerate(pairs, 1):
        ask(pair, KEPT[number], uid=f"1.{number}")
    for pair in pairs:
        scene.pass_time(pair)
    assert [[report.transaction_uid for report, _ in user.heard] for user in users] == [["1.1"], ["1.2"]]


class Claimed:
    """Claims that are made among several processes."""

    def __init__(self, *elsewhere: int) -> None:
        self.ours: set[int] = set()
        self.elsewhere = set(elsewhere)

    def take(self, number: int) -> Deferred[bool]:
        if number not in self.elsewhere:
            self.ours.add(number)
        return succeed(number not in self.elsewhere)

    def give_back(self, number: int) -> None:
        self.ours.remove(number)


def test_what_another_process_reports_is_not_reported_twice(scene: Scene) -> None:
    user = Hearing()
    scene.there = Stage(user)
    pair = scene.asked()
    ask(pair)
    pair.run(pair.association.release())
    scene.reports.stop()
    scene.reports = scene.made(claims=(claims := Claimed(1)))
    scene.reports.start()
    scene.pass_time()
    assert (user.heard, scene.pending) == ([], ["1.9"])
    claims.elsewhere.clear()  # it could not, and says so
    scene.reports.call("ME")
    scene.pass_time()
    assert (len(user.heard), scene.pending, claims.ours) == (1, [], set())


def test_who_does_not_call_peers_hands_that_over(scene: Scene) -> None:
    handed: list[str] = []
    scene.reports = scene.made(hand_over=handed.append)
    pair = scene.asked()  # without services, so that a report is refused
    ask(pair)
    scene.pass_time(pair)
    assert (handed, scene.called, scene.pending) == (["ME"], [], ["1.9"])
    scene.reports.start()
    scene.pass_time()
    assert (handed, scene.called) == (["ME"], [])
