"""The services of a prepared configuration, from their start to their end, and through a reload."""

from __future__ import annotations

from contextlib import nullcontext
from signal import SIGHUP, signal
from typing import Any

from twisted.application.service import IServiceCollection, MultiService
from twisted.internet import reactor
from twisted.internet.defer import Deferred, DeferredList
from twisted.internet.interfaces import IReactorFromThreads, IReactorTime
from twisted.logger import Logger

from ..errors import ConfigurationError
from ..identity.credentials import Method
from .commons import Commons, own
from .config import Listener
from .entities import Entities
from .forwarding import Forwardings
from .listener import ListenerService
from .places import StartFailed, bind_all, place_of
from .prepare import Prepared, prepare
from .process import log_as, raise_descriptor_limit, signalled, tell_changes, tell_not_reloaded

log = Logger(namespace="dimsetls.node")


class NodeService(MultiService):
    """All listeners and stores of one configuration. A listener that cannot bind makes the start fail.

    SIGHUP reads the configuration again, with its keys and certificates: new connections find the new one,
    established associations go on. What cannot be used leaves the old configuration in force.

    A worker is one too, with `commons` that it shares with others; signals, files and words for all are not its matter.
    """

    def __init__(
        self, prepared: Prepared, twistd: dict[str, Any] | None = None, commons: Commons | None = None
    ) -> None:
        super().__init__()
        self._prepared = prepared
        self._twistd = twistd or {}
        self._commons = commons or own(IReactorTime(reactor))
        self._entities = Entities(IReactorTime(reactor), self._commons)
        for listener in prepared.config.listeners:
            self._listener(listener, prepared).setServiceParent(self)
        self._forwardings = Forwardings(self._entities, IReactorFromThreads(reactor), self._commons)
        self._forwardings.configure(prepared)
        self._forwardings.setServiceParent(self)

    def setServiceParent(self, parent: IServiceCollection) -> None:
        super().setServiceParent(parent)
        log_as(self._prepared.config.node, self._twistd, parent)

    def privilegedStartService(self) -> None:
        raise_descriptor_limit()
        super().privilegedStartService()

    def startService(self) -> None:
        try:
            self._entities.open_stores(self._prepared.config)
        except ConfigurationError as error:
            if not self._commons.is_worker:
                log.critical("{sentence}", sentence=str(error))
            raise StartFailed(str(error)) from error
        super().startService()
        self._entities.begin(self._prepared)
        self._watch(self._prepared)
        if not self._commons.is_worker:
            signal(SIGHUP, lambda number, frame: IReactorFromThreads(reactor).callFromThread(self.reload))

    def make_ready(self, prepared: Prepared) -> None:
        """Open what the configuration needs and is not open yet. Raises ConfigurationError."""
        self._entities.open_stores(prepared.config)

    def reload(self) -> bool:
        """Read the configuration again; whether it is in force now."""
        try:
            prepared = prepare(self._prepared.config.path)
            self.make_ready(prepared)
            self.take(prepared)
        except (ConfigurationError, StartFailed) as error:
            tell_not_reloaded(error)
            return False
        log.info("reloaded {path}; it holds for new connections", path=str(prepared.config.path))
        return True

    def _listener(self, listener: Listener, prepared: Prepared) -> ListenerService:
        return ListenerService(listener, self._entities.of(listener, prepared), prepared, self._commons)

    def take(self, prepared: Prepared) -> None:
        """Let listeners be what the configuration says, all of them or, if one cannot bind, none."""
        present = {service.place: service for service in self._listeners() if not service.retired}
        wanted = {place_of(listener): listener for listener in prepared.config.listeners}
        added = [
            self._listener(listener, prepared)
            for place, listener in wanted.items()
            if place not in present
        ]
        leaving = [service.listener for place, service in present.items() if place not in wanted]
        bind_all(added, leaving, ListenerService.retire)
        for stapling in prepared.staplings:
            for former in self._prepared.staplings:
                stapling.take_over(former)  # or nothing would be stapled until the first answer of the responder
        prepared.identity.take_over(self._prepared.identity)
        for place, service in present.items():
            if place in wanted:
                service.configure(wanted[place], self._entities.of(wanted[place], prepared), prepared)
            else:
                service.retire()
        for service in added:
            service.setServiceParent(self)
        for stapling in self._prepared.staplings:
            stapling.stop()
        self._forwardings.configure(prepared)
        self._entities.begin(prepared)
        self._entities.forget_successes()
        # Checks that began with the former back ends may end with them: each has its deadline.
        longest = max((identity.deadline for identity in self._prepared.config.identities), default=0.0)
        IReactorTime(reactor).callLater(len(Method) * longest + 1, self._prepared.identity.close)
        self._watch(prepared)
        if not self._commons.is_worker:
            tell_changes(self._prepared.config.node, prepared.config.node)
        self._prepared = prepared

    def _watch(self, prepared: Prepared) -> None:
        """Keep what must stay fresh so, and say what will not be for long."""
        if self._commons.is_worker:
            return
        prepared.keep_stapled(IReactorTime(reactor))
        for warning in prepared.warnings:
            log.warn("{warning}", warning=warning)

    def _listeners(self) -> list[ListenerService]:
        return [service for service in self if isinstance(service, ListenerService)]

    @property
    def connections(self) -> int:
        """How many there are, with and without an association."""
        return sum(listener.factory.connections for listener in self._listeners())

    def staple(self, certificate: str, response: bytes) -> None:
        """Staple what another process has fetched for a certificate. Raises StatusRefused."""
        for stapling in self._prepared.staplings:
            if stapling.certificate == certificate:
                stapling.accept(response)

    def queued(self) -> None:
        """Another process has queued something to be forwarded."""
        self._forwardings.wake()

    def report(self, ae_title: str, peer: str) -> None:
        """Another process could not report to a peer."""
        self._entities.report(ae_title, peer)

    def resume_reports(self) -> None:
        """Another process has ended, and left reports to be made."""
        self._entities.resume_reports()

    def _running(self) -> int:
        return sum(listener.factory.count.total for listener in self._listeners())

    def _told_again(self) -> None:
        log.info("is stopping already; {running} associations are left, SIGKILL would not wait for them",
                 running=self._running())  # fmt: skip

    def stopService(self) -> Deferred[None]:
        """No further association; running ones may finish within the drain timeout and are then aborted."""
        return Deferred.fromCoroutine(self._stop())

    async def _stop(self) -> None:
        with nullcontext() if self._commons.is_worker else signalled(self._told_again):
            await self._drain()
            await self._close()
        if not self._commons.is_worker:
            log.info("stopped")

    async def _drain(self) -> None:
        listeners, timeout = self._listeners(), self._prepared.config.node.drain_timeout
        if (running := self._running()) and not self._commons.is_worker:
            log.info("stopping; {running} associations have {timeout:g} s to finish", running=running, timeout=timeout)
        sending = Deferred.fromCoroutine(self._forwardings.drain(timeout))
        await DeferredList([*(listener.drain(timeout) for listener in listeners), sending])

    async def _close(self) -> None:
        self._prepared.close()
        await super().stopService()
        await self._entities.release()
        self._entities.close()
