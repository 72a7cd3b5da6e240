"""What the tests of the directory back end say and expect. A test holds the clock, and makes by hand the calls that
threads want made: nothing waits."""

from __future__ import annotations

from twisted.internet.defer import Deferred
from twisted.internet.task import Clock

from dimsetls.errors import IdentityDenied, IdentityUnavailable
from dimsetls.identity.credentials import Secret, UsernameAndPasscode
from dimsetls.identity.interfaces import Verified

from ...servers.slapd import PEOPLE, PEOPLE_BASE
from ..stage import Calls, presenter

TEMPLATE = f"uid={{user}},{PEOPLE_BASE}"
PASSCODES = {person.uid: person.passcode for person in PEOPLE if person.passcode}
LONG = 60.0
"""Seconds that no test is ready to wait: what ends in time has not run out of it, but was made to end."""


class Stage(Calls, Clock):
    """A reactor for threads and for timers, both moved by the test."""

    def __init__(self):
        Calls.__init__(self)
        Clock.__init__(self)


def started(back_end, user="alice"):
    """A check under way."""
    passcode = Secret(PASSCODES[user])
    return Deferred.fromCoroutine(back_end.verify(UsernameAndPasscode(user, passcode), presenter()))


def told(stage, steps, words):
    """Go on until a step has these words."""
    while not any(words in step for step in steps):
        stage.call_one()


def verified(name, *groups):
    return Verified(name, "hospital", frozenset(groups))


def denied(outcome, *words):
    assert type(outcome) is IdentityDenied, outcome
    assert all(word in str(outcome) for word in words), outcome


def unavailable(outcome, *words):
    assert type(outcome) is IdentityUnavailable, outcome
    assert all(word in str(outcome) for word in words), outcome


def answering(*answers):
    """One answer after the other."""
    rest = iter(answers)
    return lambda message: next(rest)(message)


def asked(steps):
    return [step.removesuffix(" is asked") for step in steps if step.endswith(" is asked")]


GOOD = [
    ("alice", verified("alice", "radiology", "night shift, north")),
    ("bob", verified("bob", "cardiology")),  # not administrators, which are elsewhere
    ("jürgen.müller", verified("jürgen.müller", "radiology")),
    ("李小龍", verified("李小龍", "radiology")),
    ("odd*(user)", verified("odd*(user)", "cardiology")),
    (r'back\slash, "a" + #1;<x>=y', verified(r'back\slash, "a" + #1;<x>=y')),
    ("{user}", verified("{user}")),
    ("ALICE", verified("alice", "radiology", "night shift, north")),  # as the directory has it
]
