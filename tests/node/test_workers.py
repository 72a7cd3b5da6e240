"""What several workers have in common, how they ask for it, and how a node with them starts or does not."""

from __future__ import annotations

import os
import re
import socket
import struct
from collections.abc import Iterator
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.task import Clock
from twisted.internet.testing import StringTransport
from twisted.python.failure import Failure

from dimsetls.association.limits import Congested, Limits
from dimsetls.errors import AssociationError, ConfigurationError, IdentityUnavailable
from dimsetls.identity.lockout import Kind, LockoutPolicy, Subject
from dimsetls.node.config import Config
from dimsetls.node.prepare import prepare
from dimsetls.node.reading import load
from dimsetls.node.workers.channel import DEADLINE, SOON, Channel, NoAnswer
from dimsetls.node.workers.fingerprint import fingerprint
from dimsetls.node.workers.pulse import BEAT, DEAD, SILENT, Pulse
from dimsetls.node.workers.remote import RemoteClaims, RemoteCount, RemoteLockout, RemoteMemory
from dimsetls.node.workers.shared import Shared

from ..peers.running import Node, Service


class Line:
    """A main process with what is shared, and the channels of workers to it; nothing moves until `carry`."""

    def __init__(self, limits: Limits | None = None) -> None:
        self.clock = Clock()
        self.shared = Shared(
            self.clock, lambda place: (limits or Limits()) if place == "here" else None, self._tell_all
        )
        self.lost: list[int] = []
        self.lockouts: list[RemoteLockout] = []
        self._ends: list[tuple[Channel, Channel]] = []

    def worker(self) -> Channel:
        """The channel of another worker, as the worker has it. They are numbered from 1."""
        number = len(self._ends) + 1
        main = Channel(self.clock, self.shared.hears(number), lambda: self.shared.release(number))
        hears: dict[str, Any] = {}
        worker = Channel(self.clock, hears, lambda: self.lost.append(number))
        self.lockouts.append(RemoteLockout(worker))
        hears["ask again"] = self.lockouts[-1].ask_again
        for end in main, worker:
            end.makeConnection(StringTransport())
        self._ends.append((main, worker))
        return worker

    def _tell_all(self, what: str) -> None:
        for main, _ in self._ends:
            main.tell(what)

    def carry(self) -> None:
        for _ in range(4):
            for main, worker in self._ends:
                for source, target in (worker, main), (main, worker):
                    said = source.transport.value()
                    source.transport.clear()
                    target.dataReceived(said)

    def hear(self, number: int) -> None:
        """Carry what one worker has said, and nothing else."""
        main, worker = self._ends[number - 1]
        main.dataReceived(worker.transport.value())
        worker.transport.clear()

    def die(self, number: int) -> None:
        self._ends[number - 1][0].connectionLost(Failure(ConnectionError()))


def result(deferred: Any) -> Any:
    """What a Deferred has fired with; what it failed with is raised."""
    found: list[Any] = []
    deferred.addBoth(found.append)
    [value] = found
    if isinstance(value, Failure):
        value.raiseException()
    return value


# The channel ----------------------------------------------------------------------------------------------------------


def test_what_nobody_answers_in_time_has_no_answer() -> None:
    line = Line()
    worker = line.worker()
    asked = worker.ask("may try", subjects=[], policy={})
    line.clock.advance(DEADLINE - 0.01)
    assert not asked.called
    line.clock.advance(0.01)
    with pytest.raises(NoAnswer, match="within 5 s"):
        result(asked)
    line.carry()  # it comes too late, and nobody is surprised
    assert line.lost == []


def test_who_asks_when_the_other_end_is_gone_has_no_answer() -> None:
    line = Line()
    worker = line.worker()
    before = worker.ask("may try", subjects=[], policy={})
    worker.connectionLost(Failure(ConnectionError()))
    for asked in before, worker.ask("may try", subjects=[], policy={}):
        with pytest.raises(NoAnswer, match="is gone"):
            result(asked)
    assert line.lost == [1]


@pytest.mark.parametrize("said", [
    struct.pack(">I", Channel.MAX_LENGTH + 1), b"\0\0\0\5nope!", b"\0\0\0\2{}",
    b'\0\0\0\x1a["tell", 0, "dance", {}]   ',
], ids=["too long", "no JSON", "no message", "unknown"])  # fmt: skip
def test_what_is_not_understood_breaks_the_channel(said: bytes, caplog: pytest.LogCaptureFixture) -> None:
    channel = Channel(Clock(), {}, lambda: None)
    transport = StringTransport()
    channel.makeConnection(transport)
    channel.dataReceived(said)
    assert transport.disconnecting


def test_what_is_not_understood_before_there_is_a_way_is_an_error() -> None:
    with pytest.raises(KeyError):
        Channel(Clock(), {}, lambda: None).dataReceived(b'\0\0\0\x18["tell", 0, "dance", {}]')


def test_what_is_said_before_there_is_a_way_is_sent_then() -> None:
    channel, transport = Channel(Clock(), {}, lambda: None), StringTransport()
    channel.tell("this")
    channel.makeConnection(transport)
    assert transport.value().endswith(b'["tell", 0, "this", {}]')


def test_a_note_goes_before_what_is_said_next_or_soon() -> None:
    clock = Clock()
    channel, transport = Channel(clock, {}, lambda: None), StringTransport()
    channel.makeConnection(transport)

    def said() -> list[str]:
        strings = re.findall(rb'\["tell", 0, "(\w+)", \{}]', transport.value())
        transport.clear()
        return [string.decode() for string in strings]

    channel.note("one")
    channel.note("two")
    assert said() == []
    channel.tell("three")
    assert said() == ["one", "two", "three"]
    channel.note("four")
    clock.advance(SOON)
    assert said() == ["four"]
    channel.note("five")
    channel.close()
    assert said() == ["five"]
    assert transport.disconnecting
    channel.note("six")
    channel.connectionLost(Failure(ConnectionError()))
    assert said() == []
    assert clock.getDelayedCalls() == []


# Associations ---------------------------------------------------------------------------------------------------------


def test_places_are_counted_over_all_and_come_back() -> None:
    line = Line(Limits(associations=2))
    counts = [RemoteCount(line.worker(), "here") for _ in range(2)]
    taken = [count.take(Limits(), "10.0.0.1", "A") for count in counts]
    line.carry()
    assert [result(each) for each in taken] == [None, None]
    refused = counts[0].take(Limits(), "10.0.0.2", "B")
    line.carry()
    assert result(refused) == "2 associations exist, the limit is 2"
    assert [count.total for count in counts] == [1, 1]
    counts[1].remove("10.0.0.1", "A")
    line.carry()
    again = counts[0].take(Limits(), "10.0.0.2", "B")
    line.carry()
    assert result(again) is None
    assert line.shared.associations == 2


def test_the_places_of_a_worker_that_dies_are_free_and_no_others() -> None:
    line = Line(Limits(associations=3))
    counts = [RemoteCount(line.worker(), "here") for _ in range(2)]
    for count in counts[0], counts[0], counts[1]:
        count.take(Limits(), "10.0.0.1", "A")
    line.carry()
    line.die(1)
    assert line.shared.associations == 1
    more = [counts[1].take(Limits(), "10.0.0.1", "A") for _ in range(3)]
    line.carry()
    assert [result(each) is None for each in more] == [True, True, False]


def test_a_place_that_is_granted_too_late_or_to_nobody_is_given_back() -> None:
    line = Line(Limits(associations=1))
    count = RemoteCount(line.worker(), "here")
    late = count.take(Limits(), "10.0.0.1", "A")
    line.clock.advance(DEADLINE)
    with pytest.raises(Congested, match="the main process was asked for a place"):
        result(late)
    left = count.take(Limits(), "10.0.0.1", "A")
    left.cancel()
    with pytest.raises(CancelledError):
        result(left)
    line.carry()
    assert (line.shared.associations, count.total) == (0, 0)


def test_giving_up_a_place_that_was_refused_takes_none_from_another() -> None:
    line = Line(Limits(associations=1))
    counts = [RemoteCount(line.worker(), "here") for _ in range(2)]
    first = counts[0].take(Limits(), "10.0.0.1", "A")
    line.carry()
    assert result(first) is None
    second = counts[1].take(Limits(), "10.0.0.1", "A")
    second.addErrback(lambda failure: failure.trap(CancelledError) and None)
    second.cancel()
    line.carry()
    assert line.shared.associations == 1


def test_where_nobody_listens_any_more_there_is_no_place() -> None:
    line = Line()
    taken = RemoteCount(line.worker(), "elsewhere").take(Limits(), "10.0.0.1", "A")
    line.carry()
    assert "nobody listens any more" in result(taken)


# Identities -----------------------------------------------------------------------------------------------------------


def test_failures_are_counted_over_all_workers() -> None:
    line, policy, anna = Line(), LockoutPolicy(per_user=2, delay=0.0), Subject(Kind.USER, "anna")
    for _ in range(2):
        line.worker()
    one, other = line.lockouts

    def refusal(lockout: RemoteLockout) -> Any:
        asked = lockout.refusal([anna], policy)
        line.carry()
        return result(asked)

    failed = [one.failed([anna], policy), other.failed([anna], policy)]
    line.carry()
    assert [result(each) for each in failed] == [[], [anna]]
    assert "user 'anna' failed 2 times" in refusal(one)
    other.succeeded(anna)
    line.carry()
    assert refusal(one) is None


def test_a_failure_counts_even_if_nobody_waits() -> None:
    line, policy, anna = Line(), LockoutPolicy(per_user=1), Subject(Kind.USER, "anna")
    for _ in range(2):
        line.worker()
    one, other = line.lockouts
    counted = one.failed([anna], policy)
    counted.addErrback(lambda failure: failure.trap(CancelledError) and None)
    counted.cancel()
    line.carry()
    refusal = other.refusal([anna], policy)
    line.carry()
    assert result(refusal)


def test_nobody_is_asked_about_while_nobody_has_to_wait_and_everybody_from_the_first_failure() -> None:
    line, policy = Line(), LockoutPolicy(per_user=2, delay=0.0, lockout=60.0)
    for _ in range(2):
        line.worker()
    one, other = line.lockouts
    anna, berta = (Subject(Kind.USER, name) for name in ("anna", "berta"))

    def has_to_ask(lockout: RemoteLockout, subject: Subject) -> bool:
        refusal = lockout.refusal([subject], policy)
        line.carry()
        return isinstance(refusal, Deferred)

    assert [has_to_ask(lockout, anna) for lockout in (one, other, one, other)] == [True, True, False, False]
    for _ in range(2):
        before = other.failed([anna], policy)
        assert has_to_ask(other, berta)  # as long as nobody knows what comes of it
        line.carry()
        assert before.called
    assert [has_to_ask(lockout, berta) for lockout in (one, other, one, other)] == [True] * 4
    line.clock.advance(60.0)
    assert [has_to_ask(lockout, anna) for lockout in (one, other, one, other)] == [True, True, False, False]


def test_a_worker_asks_again_before_it_gets_its_next_place() -> None:
    line, policy, anna = Line(), LockoutPolicy(per_user=1), Subject(Kind.USER, "anna")
    channels = [line.worker() for _ in range(2)]
    one, other = line.lockouts
    for lockout in one, other:
        lockout.refusal([anna], policy)
    line.carry()
    assert one.refusal([anna], policy) is None
    other.failed([anna], policy)
    line.hear(2)
    found: list[Any] = []
    place = RemoteCount(channels[0], "here").take(Limits(), "10.0.0.1", "A")
    place.addCallback(lambda _: found.append(one.refusal([anna], policy)))
    for _ in range(2):
        line.carry()
    assert "user 'anna' failed 1 times" in result(found[0])


def test_nobody_is_let_in_while_failures_cannot_be_asked_for() -> None:
    line = Line()
    lockout, memory = RemoteLockout(line.worker()), RemoteMemory(line.worker(), "idp")
    asked: list[Deferred[Any]] = [
        lockout.refusal([], LockoutPolicy()), lockout.failed([], LockoutPolicy()), memory.claim("a", "", 10.0, 0.0)
    ]  # fmt: skip
    line.clock.advance(DEADLINE)
    for each in asked:
        with pytest.raises(IdentityUnavailable, match="the main process was asked"):
            result(each)


def test_an_assertion_is_used_up_for_all_and_issuers_are_apart() -> None:
    line = Line()
    one, other, stranger = (RemoteMemory(line.worker(), issuer) for issuer in ("idp", "idp", "another"))
    asked = [memory.claim("a", fingerprint, 10.0, 0.0)
             for memory, fingerprint in ((one, "x"), (other, "y"), (stranger, "z"))]  # fmt: skip
    line.carry()
    assert [result(each) for each in asked] == [None, "x", None]


# Reports --------------------------------------------------------------------------------------------------------------


def test_a_report_is_made_by_one_worker_until_it_gives_it_back_or_dies(tmp_path: Path) -> None:
    line = Line()
    claims = [RemoteClaims(line.worker(), tmp_path / "promises") for _ in range(3)]

    def take(number: int) -> bool:
        taken = claims[number].take(7)
        line.carry()
        return taken if isinstance(taken, bool) else bool(result(taken))

    assert [take(0), take(1), take(0)] == [True, False, False]
    claims[1].give_back(7)  # which it has not
    line.carry()
    assert not take(1)
    claims[0].give_back(7)
    assert take(1)
    line.die(2)
    assert take(2)
    late = claims[0].take(8)
    line.clock.advance(DEADLINE)
    with pytest.raises(AssociationError, match="the main process was asked"):
        result(late)
    line.carry()
    taken = claims[2].take(8)
    line.carry()
    assert result(taken)


# The files that all must have read ------------------------------------------------------------------------------------


def config_of(node: Node) -> Config:
    return load(node.write())


def test_a_fingerprint_is_that_of_the_files_that_count_until_a_reload(node: Node, tmp_path: Path) -> None:
    keys, users = tmp_path / "keys", tmp_path / "users"
    keys.mkdir()
    for name in "server.pem", "server.key":
        (keys / name).write_bytes((node.pki / name).read_bytes())
    users.write_text("")
    node.set("tls secure", certificate=keys / "server.pem", private_key=keys / "server.key")
    node.set("users local", file=users)
    node.set("identity staff", passcode="users local")
    before = fingerprint(config_of(node))
    assert fingerprint(config_of(node)) == before
    users.write_text("[anna]\n")
    assert fingerprint(config_of(node)) == before  # it is looked at again while the node runs
    (keys / "server.key").write_text("another")
    changed = fingerprint(config_of(node))
    (keys / "server.key").unlink()
    missing = fingerprint(config_of(node))
    node.set("node", log_level="debug")
    assert len({before, changed, missing, fingerprint(config_of(node))}) == 4


@pytest.mark.parametrize(("said", "workers"), [("1", {1}), ("7", {7}), ("auto", {len(os.sched_getaffinity(0))})])
def test_how_many_there_are(node: Node, said: str, workers: set[int]) -> None:
    node.set("node", workers=said)
    assert {config_of(node).node.workers} == workers


@pytest.mark.parametrize("said", ["0", "65", "-1", "two", "AUTO"])
def test_how_many_there_cannot_be(node: Node, said: str) -> None:
    node.set("node", workers=said)
    with pytest.raises(ConfigurationError, match="expected auto, or a whole number from 1 to 64"):
        config_of(node)


def test_only_connections_that_can_be_passed_on_are_accepted_for_workers(node: Node) -> None:
    node.set("node", workers=2)
    node.set("tls secure", development_certificates_outside_loopback="i understand the risk")
    node.set("listener main", port=None, endpoint="stdio:")
    with pytest.raises(ConfigurationError, match=r"expected one that begins with tcp:, .* as there are 2 workers"):
        prepare(node.write())


# Start ----------------------------------------------------------------------------------------------------------------


@pytest.fixture
def taken() -> Iterator[int]:
    with closing(socket.create_server(("127.0.0.1", 0))) as server:
        yield server.getsockname()[1]


def failed(service: Service) -> str:
    """Why the service did not start; nothing may be left of it."""
    try:
        assert service.wait() == 1
        (line,) = service.expect("#critical")
        assert not service.lines("Traceback|listens on")
    finally:
        service.kill()
    return line


def test_a_port_in_use(node: Node, taken: int) -> None:
    node.set("node", workers=2)
    node.set("listener main", port=taken)
    assert f"[listener main] cannot listen on 127.0.0.1:{taken}: " in failed(node.start())


def test_a_store_that_a_worker_cannot_open(node: Node) -> None:
    node.set("node", workers=2)
    (node.store / ".incoming").write_text("not a directory")
    assert f"worker 1 cannot start: store {node.store}: expected a directory" in failed(node.start())


def test_a_worker_that_dies_at_its_start_again_and_again(node: Node, tmp_path: Path) -> None:
    """It dies before it can say why, as where a library is broken."""
    node.set("node", workers=2)
    code = "import os, sys\nif sys.orig_argv[2:3] == ['-c']: os._exit(7)\n"
    (tmp_path / "broken").mkdir()
    (tmp_path / "broken/sitecustomize.py").write_text(code)
    line = failed(node.start(env={**os.environ, "PYTHONPATH": str(tmp_path / "broken")}))
    assert "worker 1 ended with status 7 at its start, 3 times in a row" in line


# A worker that stands still -------------------------------------------------------------------------------------------


class Patient:
    """A worker that may be asked whether it is there, and what came of it."""

    def __init__(self) -> None:
        self.clock, self.events = Clock(), []  # type: ignore[var-annotated]
        self.pulse = Pulse(7, self.clock, *(partial(self.events.append, what) for what in ("ask", "changed", "dead")))
        self.pulse.start()

    def look(self, times: int = 1) -> list[str]:
        """So many looks; what came of them."""
        self.events.clear()
        for _ in range(times):
            self.clock.advance(BEAT)
        return list(self.events)


def test_a_worker_that_answers_is_asked_again_and_no_more() -> None:
    patient = Patient()
    for _ in range(3):
        patient.pulse.answered()
        assert patient.look() == ["ask"]
    assert not patient.pulse.is_silent


def test_a_worker_that_does_not_answer_is_passed_by_and_then_ended() -> None:
    patient = Patient()
    assert patient.look(SILENT - 1) == []
    assert not patient.pulse.is_silent
    assert patient.look() == ["changed"]
    assert patient.pulse.is_silent
    assert patient.look(DEAD - SILENT - 1) == []
    assert patient.look() == ["dead"]
    assert patient.clock.getDelayedCalls() == []


def test_a_worker_that_answers_again_is_as_before() -> None:
    patient = Patient()
    assert patient.look(DEAD - 1) == ["changed"]
    patient.pulse.answered()
    assert not patient.pulse.is_silent
    assert patient.events == ["changed"] * 2
    assert patient.look(SILENT) == ["ask"]
    assert not patient.pulse.is_silent
    assert patient.look() == ["changed"]
    patient.pulse.stop()
    assert patient.clock.getDelayedCalls() == []


def test_a_clock_that_jumps_is_one_look() -> None:
    patient = Patient()
    patient.events.clear()
    patient.clock.advance(0)
    patient.clock.rightNow += DEAD * BEAT  # the machine slept
    patient.clock.advance(0)
    assert patient.events == []
    assert not patient.pulse.is_silent
