"""Between the main process and one worker: questions, answers and notices, as JSON in strings of bounded length."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from itertools import count
from typing import Any, Final

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IDelayedCall, IFileDescriptorReceiver, IReactorTime
from twisted.logger import Logger
from twisted.protocols.basic import Int32StringReceiver
from twisted.python.failure import Failure
from zope.interface import implementer

log = Logger(namespace="dimsetls.node")

DEADLINE: Final = 5.0
"""Seconds for the main process to answer: where it takes longer, nobody is admitted."""


SOON: Final = 0.02
"""Seconds that a note may wait for something else to be said. Each time that the other process is woken costs both."""


class NoAnswer(Exception):
    """The other process did not answer in time, or is gone."""


@implementer(IFileDescriptorReceiver)
class Channel(Int32StringReceiver):
    """One end. `hears` has, by its name, what is called with the values of a question or notice; a question is
    answered with what that returns, or what a Deferred of it fires with. `lost` is called when the other end is gone,
    `descriptor` with each that it sends, before the notice about it.

    What is not understood breaks the channel: neither end goes on with half of what it should know.
    """

    MAX_LENGTH = 1 << 19

    def __init__(
        self, clock: IReactorTime, hears: Mapping[str, Callable[..., Any]], lost: Callable[[], None],
        descriptor: Callable[[int], None] | None = None,
    ) -> None:  # fmt: skip
        self._clock = clock
        self._hears = hears
        self._lost = lost
        self._descriptor = descriptor
        self._numbers = count(1)
        self._waiting: dict[int, tuple[Deferred[Any], float, float]] = {}
        """What was asked: who waits, how many seconds, and until when."""
        self._watch: IDelayedCall | None = None
        self._is_lost = False
        self._early: list[bytes] = []
        self._notes: list[bytes] = []
        self._due: IDelayedCall | None = None

    def connectionMade(self) -> None:
        """Send what was said before there was a way to."""
        early, self._early = self._early, []
        for string in early:
            self.sendString(string)

    def tell(self, what: str, **values: Any) -> None:
        """A notice; nothing comes of it where the other end is gone."""
        self._send("tell", 0, what, values)

    def note(self, what: str, **values: Any) -> None:
        """A notice that is for the record: it goes before what is said next, or soon."""
        self._notes.append(_string("tell", 0, what, values))
        if self._due is None:
            self._due = self._clock.callLater(SOON, self._say_notes)

    def close(self) -> None:
        """Say what is still to be said, and no more."""
        self._say_notes()
        if self.transport is not None:
            self.transport.loseConnection()

    def ask(self, what: str, seconds: float = DEADLINE, **values: Any) -> Deferred[Any]:
        """A question. Fails with NoAnswer, and with CancelledError for who cancels it."""
        number = next(self._numbers)
        answer: Deferred[Any] = Deferred(lambda _: self._forget(number))
        if self._is_lost:
            answer.errback(NoAnswer("the other process is gone"))
            return answer
        until = self._clock.seconds() + seconds
        self._waiting[number] = answer, seconds, until
        if self._watch is None or until < self._watch.getTime():
            self._look_at(until)
        self._send("ask", number, what, values)
        return answer

    def stringReceived(self, string: bytes) -> None:
        try:
            kind, number, what, values = json.loads(string)
            if kind == "tell":
                self._hears[what](**values)
            elif kind == "ask":
                result = self._hears[what](**values)
                if isinstance(result, Deferred):
                    result.addCallback(self._answer, number).addErrback(self._broken)
                else:
                    self._answer(result, number)
            elif waiting := self._waiting.pop(number, None):
                waiting[0].callback(values)
        except Exception:
            self._broken(Failure())

    def fileDescriptorReceived(self, descriptor: int) -> None:
        if self._descriptor is not None:
            self._descriptor(descriptor)

    def lengthLimitExceeded(self, length: int) -> None:
        self._broken(Failure(ValueError(f"{length} bytes came at once, {self.MAX_LENGTH} are expected at the most")))

    def connectionLost(self, reason: Failure | None = None) -> None:
        self._is_lost = True
        self._say_notes()
        if self._watch is not None and self._watch.active():
            self._watch.cancel()
        waiting, self._waiting = self._waiting, {}
        for answer, _, _ in waiting.values():
            answer.errback(NoAnswer("the other process is gone"))
        self._lost()

    def _look_at(self, when: float) -> None:
        """One call of the reactor for all that is waited for, since nearly all of it comes at once."""
        if self._watch is not None and self._watch.active():
            self._watch.cancel()
        self._watch = self._clock.callLater(max(0.0, when - self._clock.seconds()), self._look)

    def _look(self) -> None:
        self._watch = None
        now = self._clock.seconds()
        late = [(number, *each) for number, each in self._waiting.items() if each[2] <= now]
        for number, answer, seconds, _ in late:
            if self._waiting.pop(number, None):
                answer.errback(NoAnswer(f"the other process did not answer within {seconds:g} s"))
        if self._waiting and self._watch is None:
            self._look_at(min(until for _, _, until in self._waiting.values()))

    def _forget(self, number: int) -> None:
        self._waiting.pop(number, None)

    def _answer(self, result: Any, number: int) -> None:
        self._send("answer", number, "", result)

    def _send(self, kind: str, number: int, what: str, values: Any) -> None:
        if self._notes:
            self._say_notes()
        self._say(_string(kind, number, what, values))

    def _say_notes(self) -> None:
        notes, self._notes = self._notes, []
        if self._due is not None:
            if self._due.active():
                self._due.cancel()
            self._due = None
        for string in notes:
            self._say(string)

    def _say(self, string: bytes) -> None:
        if self.transport is None:
            self._early.append(string)
        elif not self._is_lost:
            self.sendString(string)

    def _broken(self, failure: Failure) -> None:
        log.failure("the channel between the main process and a worker is broken", failure)
        if self.transport is None:
            failure.raiseException()  # to who reads for it, as there is nothing that could be closed
        else:
            self.transport.loseConnection()


def _string(kind: str, number: int, what: str, values: Any) -> bytes:
    return json.dumps((kind, number, what, values)).encode()
