"""A configuration file goes in, running services come out. `twistd dimsetls` finds `Options` and `makeService` here."""

from __future__ import annotations

import resource
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from signal import SIG_DFL, SIGHUP, SIGINT, SIGTERM, getsignal, signal
from typing import Any

from twisted.application.service import IServiceCollection, MultiService
from twisted.internet import reactor
from twisted.internet.defer import Deferred, DeferredList
from twisted.internet.interfaces import IReactorFromThreads, IReactorTime
from twisted.logger import ILogObserver, Logger
from twisted.python import usage
from twisted.python.components import Componentized
from twisted.web.client import Agent

from ..errors import ConfigurationError
from ..identity.credentials import Method
from .config import Listener, collide
from .entities import Entities
from .forwarding import Forwardings
from .listener import ListenerService, StartFailed, place_of
from .logs import log_observer
from .prepare import Prepared, prepare, summary

log = Logger(namespace="dimsetls.node")


class Options(usage.Options):
    """The command line of `twistd dimsetls`."""

    synopsis = "[options] --config FILE"
    longdesc = "Accept DICOM associations over TLS as FILE says. `dimsetls init DIR` writes a FILE to begin with."
    optParameters = [["config", "c", None, "The INI file."]]  # noqa: RUF012 - as Twisted has it
    optFlags = [["check", None, "Report everything that is wrong with FILE, and exit."]]  # noqa: RUF012

    prepared: Prepared

    def postOptions(self) -> None:
        if not self["config"]:
            raise usage.UsageError("--config FILE is missing; `dimsetls init DIR` writes one")
        try:
            self.prepared = prepare(self["config"])
        except ConfigurationError as error:
            _fail(*error.problems)
        if self["check"]:
            sys.stdout.writelines(f"{line}\n" for line in summary(self.prepared))
            raise SystemExit(0)


def makeService(options: Options) -> NodeService:
    """The service for a configuration that `Options` has prepared."""
    return NodeService(options.prepared, dict(options.parent or {}))


def _fail(*problems: str) -> None:
    sys.stderr.writelines(f"{problem}\n" for problem in problems)
    raise SystemExit(1)


class NodeService(MultiService):
    """All listeners and stores of one configuration. A listener that cannot bind makes the start fail.

    SIGHUP reads the configuration again, with its keys and certificates: new connections find the new one,
    established associations go on. What cannot be used leaves the old configuration in force.
    """

    def __init__(self, prepared: Prepared, twistd: dict[str, Any] | None = None) -> None:
        super().__init__()
        self._prepared = prepared
        self._twistd = twistd or {}
        self._entities = Entities(IReactorTime(reactor))
        for listener in prepared.config.listeners:
            ListenerService(listener, self._entities.of(listener, prepared), prepared).setServiceParent(self)
        self._forwardings = Forwardings(self._entities, IReactorFromThreads(reactor))
        self._forwardings.configure(prepared)
        self._forwardings.setServiceParent(self)

    def setServiceParent(self, parent: IServiceCollection) -> None:
        super().setServiceParent(parent)
        node = self._prepared.config.node
        observer = log_observer(node.log_format, node.log_level, self._twistd)
        if observer is not None and isinstance(parent, Componentized):
            parent.setComponent(ILogObserver, observer)  # where twistd looks for the observer to start with

    def privilegedStartService(self) -> None:
        _raise_descriptor_limit()
        super().privilegedStartService()

    def startService(self) -> None:
        try:
            self._entities.open_stores(self._prepared.config)
        except ConfigurationError as error:
            log.critical("{sentence}", sentence=str(error))
            raise StartFailed(str(error)) from error
        super().startService()
        self._entities.begin(self._prepared)
        self._watch(self._prepared)
        signal(SIGHUP, lambda number, frame: IReactorFromThreads(reactor).callFromThread(self.reload))

    def reload(self) -> bool:
        """Read the configuration again; whether it is in force now."""
        try:
            prepared = prepare(self._prepared.config.path)
            self._entities.open_stores(prepared.config)
            self._take(prepared)
        except ConfigurationError as error:
            for problem in error.problems:
                log.error("not reloaded: {problem}", problem=problem)
        except StartFailed as error:
            log.error("not reloaded: {problem}", problem=str(error))
        else:
            log.info("reloaded {path}; it holds for new connections", path=str(prepared.config.path))
            return True
        log.error("the configuration of before stays in force")
        return False

    def _take(self, prepared: Prepared) -> None:
        """Let listeners be what the configuration says, all of them or, if one cannot bind, none."""
        present = {service.place: service for service in self._listeners() if not service.retired}
        wanted = {place_of(listener): listener for listener in prepared.config.listeners}
        added = [
            ListenerService(listener, self._entities.of(listener, prepared), prepared)
            for place, listener in wanted.items()
            if place not in present
        ]
        leaving = [service.listener for place, service in present.items() if place not in wanted]
        try:
            for service in added:
                _judge_move(service.listener, leaving)
                service.bind()
        except StartFailed:
            for service in added:
                service.retire()
            raise
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
        if prepared.config.node != self._prepared.config.node:
            log.warn("[node] has changed: log-format and log-level take effect at the next start")
        self._prepared = prepared

    def _watch(self, prepared: Prepared) -> None:
        """Keep what must stay fresh so, and say what will not be for long."""
        for stapling in prepared.staplings:
            stapling.start(IReactorTime(reactor), Agent(reactor))
        for warning in prepared.warnings:
            log.warn("{warning}", warning=warning)

    def _listeners(self) -> list[ListenerService]:
        return [service for service in self if isinstance(service, ListenerService)]

    def _running(self) -> int:
        return sum(listener.factory.count.total for listener in self._listeners())

    def _told_again(self) -> None:
        log.info("is stopping already; {running} associations are left, SIGKILL would not wait for them",
                 running=self._running())  # fmt: skip

    def stopService(self) -> Deferred[None]:
        """No further association; running ones may finish within the drain timeout and are then aborted."""
        return Deferred.fromCoroutine(self._stop())

    async def _stop(self) -> None:
        with _signalled(self._told_again):
            await self._drain()
            await self._close()
        log.info("stopped")

    async def _drain(self) -> None:
        listeners, timeout = self._listeners(), self._prepared.config.node.drain_timeout
        if running := self._running():
            log.info("stopping; {running} associations have {timeout:g} s to finish", running=running, timeout=timeout)
        sending = Deferred.fromCoroutine(self._forwardings.drain(timeout))
        await DeferredList([*(listener.drain(timeout) for listener in listeners), sending])

    async def _close(self) -> None:
        for stapling in self._prepared.staplings:
            stapling.stop()
        self._prepared.identity.close()
        for presenter in self._prepared.presenters.values():
            presenter.close()
        await super().stopService()
        await self._entities.release()
        self._entities.close()


def _judge_move(listener: Listener, leaving: list[Listener]) -> None:
    """Raise StartFailed where a listener would need the place of one that has not left it yet."""
    for former in leaving:
        if collide(listener, former):
            raise StartFailed(
                f"[listener {listener.name}] cannot take {listener} while [listener {former.name}] listens on "
                f"{former}: restart the service to change interface, backlog or plain, or choose another port"
            )


@contextmanager
def _signalled(call: Callable[[], None]) -> Iterator[None]:
    """Meanwhile SIGTERM and SIGINT make this call: a reactor that is stopping takes a second one for an error.

    One that ends the process is left so: whoever runs the node wants that of it (`dimsetls serve`).
    """
    former = {number: getsignal(number) for number in (SIGTERM, SIGINT) if getsignal(number) is not SIG_DFL}
    for number in former:
        signal(number, lambda number, frame: IReactorFromThreads(reactor).callFromThread(call))
    try:
        yield
    finally:
        for number, handler in former.items():
            signal(number, handler or SIG_DFL)


def _raise_descriptor_limit() -> None:
    """As many descriptors as we may have: each association needs one or two, and systems often start with 1024."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != hard:
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
