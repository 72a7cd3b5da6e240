"""Associations that are kept for the next who wants the same: bounded in number, checked, and never shared."""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncIterable, AsyncIterator, Callable, Iterable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, cast

from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.interfaces import IDelayedCall
from twisted.logger import Logger

from ..codes import Priority
from ..errors import (
    AssociationError,
    AssociationPostponed,
    ConfigurationError,
    DimsetlsError,
    IdentityError,
    LocalProtocolError,
)
from ..uids import VERIFICATION
from ..ul.pdus import RoleSelection
from .back_off import BackOff
from .remote import Remote
from .requested import RequestedAssociation
from .requestor import propose
from .sending import Sending
from .timers import Clock

if TYPE_CHECKING:
    from .instances import Sendable
    from .interfaces import IServiceProvider

log = Logger(namespace="dimsetls.association")

CHECK_AFTER = 2.0
"""Seconds after which an association that stood idle is checked by a C-ECHO: a peer, or a firewall between, may have
forgotten it in silence. One that was lost with a sound is known to be lost."""
CHECK_DEADLINE = 5.0
"""Seconds for the answer to it."""
_BACK_OFF = BackOff()
_MOST_CONTEXTS = 126
"""Of the 128 that are possible, so that Verification and an access token find a place."""


class AssociationPool:
    """Associations with any number of peers, each used by one at a time and kept for who wants the same next.

    The same is: the same `Remote`, which is one peer and one identity, the same contexts, roles and services. There
    are never more than `associations` in all, nor more with one remote than it says; who wants another waits for a
    turn. None is handed out that has ended, or that is older than `lifetime`: certificates, revocation and identity
    are judged when an association begins. Each remote that fails is left alone for a while, see `BackOff`.

    ``async with AssociationPool() as pool:`` closes it at the end.
    """

    def __init__(
        self,
        *,
        associations: int = 32,
        lifetime: float = 600.0,
        back_off: BackOff = _BACK_OFF,
        clock: Clock | None = None,
    ) -> None:
        if clock is None:
            from twisted.internet import reactor

            clock = cast(Clock, reactor)
        self._most = associations
        self._lifetime = lifetime
        self._back_off = back_off
        self._clock = clock
        self._count: Counter[Remote] = Counter()
        """Those that are being opened, in use, idle or being released."""
        self._in_use: set[_Held] = set()
        self._idle: list[_Held] = []
        """The one that is idle for longest first."""
        self._ending: set[_Held] = set()
        self._waiting: list[_Waiting] = []
        self._failures: dict[Remote, _Failures] = {}
        self._sendings: set[Sending] = set()
        self._is_closed = False
        self._awaiting_quiet: list[Deferred[None]] = []

    # For users -----------------------------------------------------------------------------------------------------

    @asynccontextmanager
    async def association(
        self,
        remote: Remote,
        contexts: Iterable[tuple[str, tuple[str, ...]]] = (propose(VERIFICATION),),
        *,
        role_selections: tuple[RoleSelection, ...] = (),
        services: IServiceProvider | None = None,
    ) -> AsyncIterator[RequestedAssociation]:
        """An association for ``async with``: one that is kept, or a new one; a fit one is kept at the end.

        Verification is proposed besides `contexts`, to check the association before it is used again. An exception
        that leaves operations under way aborts it; without one they are completed.

        Raises as `Remote.open` does, and `AssociationPostponed` where the peer failed and is left alone for now.
        """
        proposed = tuple((abstract, tuple(transfer)) for abstract, transfer in contexts)
        held = await self._take(_Wishes(remote, proposed, role_selections, id(services), services))
        try:
            yield held.association
        except BaseException:
            self._give_back(held, is_broken=True)
            raise
        self._give_back(held)

    def store(
        self,
        remote: Remote,
        instances: Iterable[Sendable] | AsyncIterable[Sendable],
        *,
        associations: int = 1,
        convert: bool = False,
        priority: int = Priority.MEDIUM,
        attempts: int = 3,
        sent: Callable[[int], object] | None = None,
    ) -> Sending:
        """C-STORE of many instances over so many associations at once; iterate over what became of each.

        ``async with pool.store(remote, paths, associations=4) as sending: async for stored in sending: …``

        Each is whatever `Association.store` takes. They are taken from `instances` in order and a few ahead of their
        turn, sent in that order, and reported as they are answered: in the same order with one association and one
        operation at a time, save that what is no instance is reported as soon as it is looked at. Results that are not
        read make the sending wait, so memory stays flat. The contexts are those that the instances need; where 128 are
        too few, associations with others follow.

        What was under way on an association that ended is reported with the error and not sent again: the peer may
        have it. The rest goes on by another association. Iterating raises what prevented this, after so many
        `attempts` in a row that failed or brought nothing, or at once where the peer will not have us; what was not
        reported by then was not sent. `sent` is told the octets of data sets as they go out.
        """
        sending = Sending(
            partial(self.association, remote), instances, self._clock, self._sendings.discard,
            associations=associations, most_contexts=_MOST_CONTEXTS, convert=convert, priority=priority,
            attempts=attempts, sent=sent,
        )  # fmt: skip
        if self._is_closed:
            raise LocalProtocolError("the pool is closed")
        self._sendings.add(sending)
        return sending

    async def close(self) -> None:
        """Release every association, and wait until it is done; those in use when they are given back.

        Cancelled, it aborts them all.
        """
        self._is_closed = True
        error = LocalProtocolError("the pool is closed")
        for sending in list(self._sendings):
            sending.cancel(error)
        waiting, self._waiting = self._waiting, []
        for each in waiting:
            each.turn.errback(error)
        for held in list(self._idle):
            self._end(held)
        try:
            while self._count:
                quiet: Deferred[None] = Deferred()
                self._awaiting_quiet.append(quiet)
                await quiet
        except CancelledError:
            for held in [*self._in_use, *self._ending]:
                held.association.abort()
            raise

    async def __aenter__(self) -> AssociationPool:
        return self

    async def __aexit__(self, kind: type[BaseException] | None, error: object, traceback: object) -> None:
        await self.close()

    # Taking one ----------------------------------------------------------------------------------------------------

    async def _take(self, wishes: _Wishes) -> _Held:
        while True:
            held = await self._turn(wishes)
            if held is None:
                return await self._open(wishes)
            try:
                is_fit = await self._is_fit(held)
            except BaseException:  # who waited for it gave up
                self._give_back(held, is_broken=True)
                raise
            if is_fit:
                return held
            self._in_use.discard(held)
            self._end(held)

    async def _turn(self, wishes: _Wishes) -> _Held | None:
        """Wait for an idle association, or None: for the right to open one."""
        if self._is_closed:
            raise LocalProtocolError("the pool is closed")
        waiting = _Waiting(wishes, Deferred(lambda turn: self._waiting.remove(waiting)))
        self._waiting.append(waiting)
        self._serve()
        return await waiting.turn

    def _serve(self) -> None:
        """Give whoever waits what there is, in the order in which they came."""
        while dead := next((held for held in self._idle if held.association.ended is not None), None):
            self._end(dead)
        for waiting in tuple(self._waiting):
            if waiting not in self._waiting:
                continue  # who was served before it asked for more in the meantime
            wishes = waiting.wishes
            held = next((held for held in reversed(self._idle) if held.wishes == wishes), None)
            if held is not None:
                self._idle.remove(held)
                held.stop_waiting()
                self._in_use.add(held)
            elif self._is_full(wishes.remote):
                self._make_room(wishes.remote)
                continue
            else:
                self._count[wishes.remote] += 1
            self._waiting.remove(waiting)
            waiting.turn.callback(held)

    def _is_full(self, remote: Remote) -> bool:
        return self._count[remote] >= remote.associations or self._count.total() >= self._most

    def _make_room(self, remote: Remote) -> None:
        """Release the association that is idle for longest, of those that are in the way."""
        is_its_own = self._count[remote] >= remote.associations
        if any(held.wishes.remote is remote or not is_its_own for held in self._ending):
            return  # there will be room
        for held in self._idle:
            if held.wishes.remote is remote or not is_its_own:
                self._end(held)
                return

    async def _open(self, wishes: _Wishes) -> _Held:
        remote, contexts = wishes.remote, wishes.contexts
        if len(contexts) <= _MOST_CONTEXTS and all(abstract != VERIFICATION for abstract, _ in contexts):
            contexts += (propose(VERIFICATION),)
        former = self._failures.get(remote)
        try:
            self._judge(remote)
            association = await remote.open(
                contexts, role_selections=wishes.role_selections, services=wishes.services, clock=self._clock
            )
        except BaseException as error:
            if isinstance(error, AssociationError | IdentityError | ConfigurationError):
                self._failed(remote, former, error)
            self._forget(remote)
            raise
        self._failures.pop(remote, None)
        held = _Held(wishes, association, self._clock.seconds())
        self._in_use.add(held)
        return held

    async def _is_fit(self, held: _Held) -> bool:
        """Whether an association that stood idle can be used."""
        association, now = held.association, self._clock.seconds()
        try:
            association.check_usable()
            if now - held.begun >= self._lifetime:
                return False
            if now - held.idle_since < CHECK_AFTER:
                return True
            association.context(VERIFICATION)
        except DimsetlsError:  # it is over, or soon; or the peer has no Verification, and nothing can be said of it
            return False
        deadline = self._clock.callLater(CHECK_DEADLINE, association.abort)
        try:
            await association.echo()
        except DimsetlsError:
            pass  # a failure is an answer too
        finally:
            if deadline.active():
                deadline.cancel()
        return association.ended is None

    # Failures ------------------------------------------------------------------------------------------------------

    def _judge(self, remote: Remote) -> None:
        failures = self._failures.get(remote)
        if failures is not None and (seconds := failures.until - self._clock.seconds()) > 0:
            sentence = f"{remote} failed and is left alone for another {seconds:.1f} s: {failures.error}"
            raise AssociationPostponed(sentence, seconds) from failures.error

    def _failed(self, remote: Remote, former: _Failures | None, error: Exception) -> None:
        if isinstance(error, AssociationPostponed) or self._failures.get(remote) is not former:
            return  # of several that were tried at once, one failure counts
        now = self._clock.seconds()
        for other in [other for other, each in self._failures.items() if now > each.until + self._back_off.longest]:
            del self._failures[other]
        number = former.number + 1 if former is not None else 1
        delay = self._back_off.delay(number)
        self._failures[remote] = _Failures(number, now + delay, error)
        log.debug("{remote} is left alone for {delay:g} s: {sentence}", remote=str(remote), delay=delay,
                  sentence=str(error))  # fmt: skip

    # Giving it back ------------------------------------------------------------------------------------------------

    def _give_back(self, held: _Held, is_broken: bool = False) -> None:
        association, remote = held.association, held.wishes.remote
        self._in_use.discard(held)
        if is_broken and association.busy:
            association.abort()
        now = self._clock.seconds()
        is_kept = association.ended is None and not association.busy and not self._is_closed
        if not is_kept or now - held.begun >= self._lifetime:
            self._end(held)
            return
        held.idle_since = now
        held.idle_end = self._clock.callLater(remote.idle, self._end, held)
        self._idle.append(held)
        self._serve()

    def _end(self, held: _Held) -> None:
        """Release it, unless it is over; until then it counts."""
        held.stop_waiting()
        if held in self._idle:
            self._idle.remove(held)
        if held.association.ended is not None:
            self._forget(held.wishes.remote)
            return
        self._ending.add(held)
        Deferred.fromCoroutine(held.association.release()).addBoth(self._ended, held)

    def _ended(self, result: object, held: _Held) -> None:
        """It is over, by the peer's consent or in another way."""
        self._ending.discard(held)
        self._forget(held.wishes.remote)

    def _forget(self, remote: Remote) -> None:
        self._count[remote] -= 1
        if not self._count[remote]:
            del self._count[remote]
        self._serve()
        if not self._count:
            waiting, self._awaiting_quiet = self._awaiting_quiet, []
            for quiet in waiting:
                quiet.callback(None)


@dataclass(frozen=True, slots=True)
class _Wishes:
    """What an association is to be; no secret is in it, as a remote is compared by being the same object."""

    remote: Remote
    contexts: tuple[tuple[str, tuple[str, ...]], ...]
    role_selections: tuple[RoleSelection, ...]
    services_id: int
    services: IServiceProvider | None = field(compare=False, repr=False)


@dataclass(slots=True, eq=False)
class _Held:
    """An association of the pool; times are of its clock."""

    wishes: _Wishes
    association: RequestedAssociation
    begun: float
    idle_since: float = 0.0
    idle_end: IDelayedCall | None = None

    def stop_waiting(self) -> None:
        if self.idle_end is not None and self.idle_end.active():
            self.idle_end.cancel()
        self.idle_end = None


@dataclass(slots=True, eq=False)
class _Waiting:
    wishes: _Wishes
    turn: Deferred[_Held | None]


@dataclass(frozen=True, slots=True)
class _Failures:
    """How often a remote failed in a row, until when it is left alone, and why."""

    number: int
    until: float
    error: Exception
