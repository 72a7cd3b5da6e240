"""The main process of a node with several workers: it listens, starts them anew, and has what there is one of."""

from __future__ import annotations

import socket
import time
from collections.abc import Callable
from functools import partial
from signal import SIGHUP, signal
from typing import Any, Final

from twisted.application.service import IServiceCollection, MultiService
from twisted.internet import reactor
from twisted.internet.defer import Deferred, DeferredList
from twisted.internet.interfaces import IDelayedCall, IReactorCore, IReactorFromThreads, IReactorTime
from twisted.logger import Logger

from ...association.back_off import BackOff
from ...association.limits import Limits
from ...errors import ConfigurationError
from ..config import Listener
from ..places import AFTER_ABORT, StartFailed, bind_all, limits_of
from ..prepare import Prepared, prepare
from ..process import log_as, raise_descriptor_limit, signalled, tell_changes, tell_not_reloaded
from .channel import NoAnswer
from .door import Door
from .fingerprint import fingerprint
from .hellos import Hellos
from .passed import name_of
from .shared import Shared
from .worker import START_WITHIN, Worker

log = Logger(namespace="dimsetls.node")

BACK_OFF: Final = BackOff(0.5, 60.0)
STEADY: Final = 60.0
"""Seconds after which the death of a worker does not count with those before it."""
STARTS: Final = 3
"""Times that a worker is started before the start fails, where it dies and does not say why."""
FAVOUR: Final = 2
"""Connections that the worker whose ticket a client has may have more than the least busy, or so many:"""
FAVOURED: Final = 4
"""one for each four. A ticket saves a fraction of a millisecond, once; a processor that is shared costs all day."""
AFTER_DRAIN: Final = 20.0
"""Seconds for a drained worker to release what it has called and close its stores; then it is killed."""


class Supervisor(MultiService):
    """Listeners and workers of one configuration. Workers that cannot start make the start fail.

    SIGHUP reads the configuration again: the main process judges it first, then each worker reads it; all take it into
    force, or none. A worker that dies is started anew, and must find the files as they were when they were taken.
    """

    def __init__(self, prepared: Prepared, twistd: dict[str, Any]) -> None:
        super().__init__()
        self._prepared = prepared
        self._twistd = twistd
        self._fingerprint = fingerprint(prepared.config)
        self._share = prepared.config.node.workers
        self._hellos = Hellos(self._give)
        self._doors = {door.name: door for door in map(self._door, prepared.config.listeners)}
        self._shared = Shared(IReactorTime(reactor), self._limits, self._tell_all)
        self._workers: dict[int, Worker] = {}
        self._born: dict[int, float] = {}
        self._failures: dict[int, int] = {}
        self._again: dict[int, IDelayedCall] = {}
        """The starts of those that have ended."""
        self._turn = 0
        self._is_stopping = self._is_reloading = self._is_wanted_again = False

    def setServiceParent(self, parent: IServiceCollection) -> None:
        super().setServiceParent(parent)
        log_as(self._prepared.config.node, self._twistd, parent)

    # Start ---------------------------------------------------------------------------------------------------------

    def privilegedStartService(self) -> None:
        """Bind before privileges are shed; workers are started after, and never have them."""
        raise_descriptor_limit()
        for door in self._doors.values():
            try:
                door.bind()
            except StartFailed as error:
                log.critical("{sentence}", sentence=str(error))
                raise
        super().privilegedStartService()

    def startService(self) -> None:
        try:
            self._start_all()
        except StartFailed as error:
            log.critical("{sentence}", sentence=str(error))
            for worker in self._workers.values():
                worker.end()
            raise
        super().startService()
        for worker in self._workers.values():
            worker.attach()
        self._watch(self._prepared)
        signal(SIGHUP, lambda number, frame: IReactorFromThreads(reactor).callFromThread(self.reload))
        IReactorCore(reactor).callWhenRunning(self._open)

    def _start_all(self) -> None:
        """Start the first, which makes what is missing in the stores, then the others at once. Raises StartFailed."""
        for numbers in ([1], range(2, self._share + 1)):
            for number in numbers:
                self._workers[number] = self._spawn(number)
            for number in numbers:
                self._await(number)

    def _await(self, number: int) -> None:
        for attempt in range(STARTS):
            worker = self._workers[number]
            worker.listen_until(time.monotonic() + START_WITHIN)
            if worker.is_ready:
                return
            status = worker.end()
            said = "; ".join(worker.problems)
            if not worker.died_silently or attempt == STARTS - 1:
                how = "cannot start" if said else f"ended with status {status} at its start, {STARTS} times in a row"
                raise StartFailed(f"worker {number} {how}" + (f": {said}" if said else ""))
            log.error("worker {number} ended with status {status} at its start, and is started again",
                      number=number, status=status)  # fmt: skip
            self._workers[number] = self._spawn(number)

    def _spawn(self, number: int) -> Worker:
        self._born[number] = IReactorTime(reactor).seconds()
        hears: dict[str, Callable[..., Any]] = {
            **self._shared.hears(number), "queued": self._queued, "report": self._report,
        }  # fmt: skip
        try:
            return Worker(
                number, self._share, self._prepared.config.path, self._fingerprint, hears, self._ready, self._admit,
                self._ended,
            )  # fmt: skip
        except OSError as error:
            raise StartFailed(f"worker {number} cannot be started: {error.strerror} ({error.filename})") from error

    def _open(self) -> None:
        for door in self._doors.values():
            door.announce()
        log.info("{share} workers serve", share=self._share)
        self._admit()

    # Connections ---------------------------------------------------------------------------------------------------

    def _door(self, listener: Listener) -> Door:
        return Door(listener, self._give, self._hellos)

    def _give(self, connection: socket.socket, place: str, key: bytes) -> None:
        """To the worker with the fewest, in turn where several have as few: associations last long, so none may
        gather them. One that made the client's ticket, with this key, may have a few more."""
        workers = [worker for worker in self._workers.values() if worker.is_ready]
        able = [worker for worker in workers if worker.takes_more] or workers
        self._turn += 1
        if able:  # or the last of them has just died
            chosen = min(able, key=lambda worker: (worker.load, (worker.number - self._turn) % self._share))
            most = chosen.load + max(FAVOUR, chosen.load // FAVOURED)
            chosen = next((each for each in able if key in each.keys and each.load <= most), chosen)
            chosen.give(connection, place)
        else:
            connection.close()
        self._admit()

    def _admit(self) -> None:
        """Accept as long as there is a worker to take what comes."""
        is_able = not self._is_stopping and any(worker.takes_more for worker in self._workers.values())
        for door in self._doors.values():
            if is_able:
                door.open()
            else:
                door.shut()

    def _limits(self, place: str) -> Limits | None:
        door = self._doors.get(place)
        return None if door is None or self._is_stopping else limits_of(door.listener)

    # Workers -------------------------------------------------------------------------------------------------------

    def _ready(self, worker: Worker) -> None:
        if worker.in_force != self._fingerprint:
            worker.kill("the configuration was reloaded while it started")
            self._admit()
            return
        self._staple_all(worker)
        self._admit()

    def _ended(self, worker: Worker) -> None:
        lost = self._shared.held_by(worker.number)
        self._shared.release(worker.number)
        self._admit()
        if self._is_stopping:
            return
        now, number = IReactorTime(reactor).seconds(), worker.number
        is_steady = now - self._born[number] >= STEADY
        self._failures[number] = failures = 1 if is_steady else self._failures.get(number, 0) + 1
        delay = BACK_OFF.delay(failures)

        def tell(status: int) -> None:
            how = f"ended by signal {-status}" if status < 0 else f"ended with status {status}"
            if worker.problems:
                how = f"cannot serve: {'; '.join(worker.problems)}"
            log.critical(
                "worker {number} {how}; {lost} associations ended with it, and it is started again in {delay:g} s",
                number=number, how=how, lost=lost, delay=delay,
            )  # fmt: skip

        worker.reaped.addCallback(tell)
        self._again[number] = IReactorTime(reactor).callLater(delay, self._restart, number)
        if number != 1:  # what it has promised to report is reported by the first, which looks for it when it starts
            self._workers[1].channel.tell("resume")

    def _restart(self, number: int) -> None:
        del self._again[number]
        if self._is_stopping:
            return
        try:
            worker = self._workers[number] = self._spawn(number)
        except StartFailed as error:
            log.critical("{sentence}", sentence=str(error))
            self._failures[number] += 1
            delay = BACK_OFF.delay(self._failures[number])
            self._again[number] = IReactorTime(reactor).callLater(delay, self._restart, number)
            return
        worker.attach()
        IReactorTime(reactor).callLater(START_WITHIN, self._judge_start, worker)

    def _judge_start(self, worker: Worker) -> None:
        if not worker.is_ready and not worker.is_gone:
            worker.kill(f"it was not ready within {START_WITHIN:g} s")

    @property
    def _able(self) -> list[Worker]:
        return [worker for worker in self._workers.values() if worker.is_ready]

    def _tell_all(self, what: str) -> None:
        for worker in self._workers.values():
            worker.channel.tell(what)

    def _queued(self) -> None:
        self._workers[1].channel.tell("queued")

    def _report(self, ae_title: str, peer: str) -> None:
        self._workers[1].channel.tell("report", ae_title=ae_title, peer=peer)

    # What stays fresh ----------------------------------------------------------------------------------------------

    def _watch(self, prepared: Prepared) -> None:
        for stapling in prepared.staplings:
            stapling.accepted = partial(self._staple, stapling.certificate)
        prepared.keep_stapled(IReactorTime(reactor))
        for warning in prepared.warnings:
            log.warn("{warning}", warning=warning)

    def _staple(self, certificate: str, response: bytes) -> None:
        for worker in self._able:
            worker.channel.tell("staple", certificate=certificate, response=response.hex())

    def _staple_all(self, worker: Worker) -> None:
        for stapling in self._prepared.staplings:
            if response := stapling.current():
                worker.channel.tell("staple", certificate=stapling.certificate, response=response.hex())

    # A new configuration -------------------------------------------------------------------------------------------

    def reload(self) -> None:
        """Read the configuration again, and have all workers take it, or none."""
        if self._is_reloading:
            self._is_wanted_again = True
        elif not self._is_stopping:
            self._is_reloading = True
            Deferred.fromCoroutine(self._reload()).addErrback(self._not_reloaded)

    def _not_reloaded(self, failure: Any) -> None:
        log.failure("the reload was broken off", failure)

    async def _reload(self) -> None:
        try:
            prepared, read = self._read()
            doors = self._new_doors(prepared)
            try:
                await self._prepare_all(read)
            except BaseException:
                for door in doors:
                    door.close()
                prepared.close()
                raise
            self._take(prepared, read, doors)
        except (ConfigurationError, StartFailed) as error:
            tell_not_reloaded(error)
        else:
            log.info("reloaded {path}; it holds for new connections", path=str(prepared.config.path))
        finally:
            self._is_reloading = False
        if self._is_wanted_again:
            self._is_wanted_again = False
            self.reload()

    def _read(self) -> tuple[Prepared, str]:
        prepared = prepare(self._prepared.config.path)
        return prepared, fingerprint(prepared.config)

    def _new_doors(self, prepared: Prepared) -> list[Door]:
        """Bind what is not bound yet. Raises StartFailed; then nothing is."""
        wanted = {name_of(listener): listener for listener in prepared.config.listeners}
        leaving = [door.listener for name, door in self._doors.items() if name not in wanted]
        made = [self._door(listener) for name, listener in wanted.items() if name not in self._doors]
        bind_all(made, leaving, Door.close)
        return made

    async def _prepare_all(self, read: str) -> None:
        """Have every worker read what we have read. Raises ConfigurationError; then none of them goes on with it."""
        asked = self._able
        try:
            for worker in asked:  # one after the other: the first makes what is missing in stores
                answer = await worker.channel.ask("prepare", START_WITHIN)
                if "problems" in answer:
                    raise ConfigurationError(*(f"worker {worker.number}: {each}" for each in answer["problems"]))
                if answer["fingerprint"] != read:
                    raise ConfigurationError(
                        f"worker {worker.number} found other files than the main process: they were changed meanwhile, "
                        "reload once they are complete"
                    )
            if self._is_stopping:
                raise ConfigurationError("the service is stopping")
        except (ConfigurationError, NoAnswer) as error:
            for worker in asked:
                worker.channel.tell("forget")
            if isinstance(error, NoAnswer):
                raise ConfigurationError(f"a worker could not be asked: {error}") from error
            raise

    def _take(self, prepared: Prepared, read: str, doors: list[Door]) -> None:
        former, self._prepared, self._fingerprint = self._prepared, prepared, read
        wanted = {name_of(listener): listener for listener in prepared.config.listeners}
        for name in self._doors.keys() - wanted.keys():
            self._doors.pop(name).close()
        for worker in self._workers.values():
            if worker.is_ready:
                worker.channel.tell("take")
        self._doors |= {door.name: door for door in doors}
        for name, door in self._doors.items():
            door.listener = wanted[name]
        for door in doors:
            door.announce()
        for stapling in prepared.staplings:
            for before in former.staplings:
                stapling.take_over(before)
        former.close()
        self._watch(prepared)
        for worker in self._able:
            self._staple_all(worker)
        tell_changes(former.config.node, prepared.config.node)
        for call in self._again.values():
            call.reset(0)  # those that did not serve the former may serve this
        self._admit()

    # Stop ----------------------------------------------------------------------------------------------------------

    def _told_again(self) -> None:
        log.info("is stopping already; {running} associations are left, SIGKILL would not wait for them",
                 running=self._shared.associations)  # fmt: skip

    def stopService(self) -> Deferred[None]:
        """No further association; running ones may finish within the drain timeout and are then aborted."""
        return Deferred.fromCoroutine(self._stop())

    async def _stop(self) -> None:
        self._is_stopping = True
        with signalled(self._told_again):
            await self._drain()
            self._prepared.close()
            await super().stopService()
        log.info("stopped")

    async def _drain(self) -> None:
        timeout = self._prepared.config.node.drain_timeout
        for door in self._doors.values():
            door.close()
        if running := self._shared.associations:
            log.info("stopping; {running} associations have {timeout:g} s to finish", running=running, timeout=timeout)
        within = timeout + AFTER_ABORT + AFTER_DRAIN
        await DeferredList([Deferred.fromCoroutine(self._end(worker, within)) for worker in self._workers.values()])

    async def _end(self, worker: Worker, within: float) -> None:
        if worker.is_ready:
            try:
                await worker.channel.ask("drain", within)
                worker.channel.tell("leave")
                await worker.gone(AFTER_DRAIN)
            except NoAnswer:
                if not worker.is_gone:
                    log.critical("worker {number} did not end within {within:g} s, and is killed",
                                 number=worker.number, within=within)  # fmt: skip
        if not worker.is_gone:
            worker.kill()
            await worker.gone(AFTER_DRAIN)
        if worker.is_gone:
            await worker.reaped
