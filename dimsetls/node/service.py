"""A configuration file goes in, running services come out. `twistd dimsetls` finds `Options` and `makeService` here."""

from __future__ import annotations

import resource
import shlex
import sys
from pathlib import Path
from typing import Any

from twisted.application.service import IServiceCollection, MultiService, Service
from twisted.internet import reactor
from twisted.internet.address import IPv4Address, IPv6Address
from twisted.internet.defer import Deferred, DeferredList
from twisted.internet.endpoints import serverFromString
from twisted.internet.error import CannotListenError
from twisted.internet.interfaces import IListeningPort, IReactorTime
from twisted.logger import ILogObserver, Logger
from twisted.python import usage
from twisted.python.components import Componentized
from twisted.python.failure import Failure

from .. import __version__
from ..association.acceptor import AcceptorFactory
from ..association.admission import ApplicationEntity
from ..association.interfaces import IServiceProvider
from ..association.limits import Limits
from ..association.protocol import Timeouts
from ..errors import ConfigurationError
from ..services.filesystem import FileStore
from ..services.provider import Services
from ..services.storage import Storage
from ..services.verification import Verification
from ..tls.endpoints import DicomTLSServerEndpoint
from .config import AE, Listener, Peer
from .logs import log_observer
from .prepare import Prepared, prepare, summary

log = Logger(namespace="dimsetls.node")

AFTER_ABORT = 2.0
"""Seconds for peers to take our A-ABORT at the end of draining."""


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


class StartFailed(SystemExit, Exception):
    """The service cannot start: twistd ends with exit status 1 and no traceback.

    It is an Exception too, because that is what twistd catches to remove its PID file and to tell a daemon's parent.
    """

    def __init__(self, sentence: str) -> None:
        super().__init__(sentence)
        self.code = 1


class NodeService(MultiService):
    """All listeners and stores of one configuration. A listener that cannot bind makes the start fail."""

    def __init__(self, prepared: Prepared, twistd: dict[str, Any] | None = None) -> None:
        super().__init__()
        self._node = prepared.config.node
        self._twistd = twistd or {}
        used = {ae.storage for listener in prepared.config.listeners for ae in listener.aes if ae.storage is not None}
        self._stores = {
            storage: FileStore(
                storage.directory, layout=storage.layout, duplicates=storage.duplicates, fsync=storage.fsync
            )
            for storage in used
        }
        for listener in prepared.config.listeners:
            entities = [self._entity(ae, prepared.config.peers) for ae in listener.aes]
            ListenerService(listener, entities, prepared).setServiceParent(self)

    def _entity(self, ae: AE, peers: tuple[Peer, ...]) -> ApplicationEntity:
        providers: list[IServiceProvider] = []
        if "verification" in ae.services:
            providers.append(Verification())
        if "storage" in ae.services and ae.storage is not None:
            store = self._stores[ae.storage]
            providers.append(
                Storage(store, transfer_syntaxes=ae.transfer_syntaxes, accept_unknown=ae.unknown_sop_classes)
            )
        return ApplicationEntity(
            ae.title,
            Services(*providers),
            lambda caller: ae.refusal(caller, peers),
            ae.maximum_length,
            ae.maximum_operations_invoked,
        )

    def setServiceParent(self, parent: IServiceCollection) -> None:
        super().setServiceParent(parent)
        observer = log_observer(self._node.log_format, self._node.log_level, self._twistd)
        if observer is not None and isinstance(parent, Componentized):
            parent.setComponent(ILogObserver, observer)  # where twistd looks for the observer to start with

    def privilegedStartService(self) -> None:
        _raise_descriptor_limit()
        super().privilegedStartService()

    def startService(self) -> None:
        try:
            for store in self._stores.values():
                store.open()
        except ConfigurationError as error:
            log.critical("{sentence}", sentence=str(error))
            raise StartFailed(str(error)) from error
        super().startService()

    def stopService(self) -> Deferred[None]:
        """No further association; running ones may finish within the drain timeout and are then aborted."""
        return Deferred.fromCoroutine(self._stop())

    async def _stop(self) -> None:
        listeners = [service for service in self if isinstance(service, ListenerService)]
        timeout = self._node.drain_timeout
        if running := sum(listener.factory.count.total for listener in listeners):
            log.info("stopping; {running} associations have {timeout:g} s to finish", running=running, timeout=timeout)
        await DeferredList([listener.drain(timeout) for listener in listeners])
        await super().stopService()
        for store in self._stores.values():
            store.close()
        log.info("stopped")


class ListenerService(Service):
    """One listener: binds as the service starts, drains as it stops."""

    def __init__(self, listener: Listener, entities: list[ApplicationEntity], prepared: Prepared) -> None:
        self._listener = listener
        self._prepared = prepared
        self._port: IListeningPort | None = None
        limits = listener.limits
        self.factory = AcceptorFactory(
            entities,
            limits=Limits(
                limits.associations,
                limits.associations_per_address,
                limits.associations_per_calling_ae,
                limits.pending_connections,
            ),
            timeouts=Timeouts(
                limits.tls_handshake_timeout,
                limits.artim_timeout,
                limits.idle_timeout,
                limits.pdu_timeout,
                limits.write_timeout,
            ),
            associate_length=limits.associate_pdu_length,
        )

    def privilegedStartService(self) -> None:
        """Bind before privileges are shed. What cannot bind ends the process with one sentence and exit status 1."""
        creator = self._prepared.connections[self._listener.tls.name]
        endpoint = DicomTLSServerEndpoint(serverFromString(reactor, self._listener.transport), creator)
        failed: list[StartFailed] = []
        listening = endpoint.listen(self.factory)
        listening.addCallbacks(self._bound, lambda failure: failed.append(self._start_failed(failure)))
        if failed:  # raised here and not in the errback, for a Deferred keeps even SystemExit to itself
            raise failed[0]

    def _bound(self, port: IListeningPort) -> None:
        self._port = port

    def startService(self) -> None:
        """Say where it listens: not before the stores are open, for whoever reads this line may go on."""
        super().startService()
        assert self._port is not None, "the endpoints of Twisted bind at once"
        host = self._port.getHost()
        where = str(self._listener)
        if isinstance(host, IPv4Address | IPv6Address):
            where = f"[{host.host}]:{host.port}" if isinstance(host, IPv6Address) else f"{host.host}:{host.port}"
        titles = ", ".join(ae.title for ae in self._listener.aes)
        profile = self._listener.tls.profile.name
        log.info(
            "dimsetls {version} listens on {where} as {titles} with TLS profile {profile}",
            version=__version__, where=where, titles=titles, profile=profile,
        )  # fmt: skip
        if isinstance(host, IPv4Address | IPv6Address):
            options = self._dcmtk_options(host.host, host.port)
            log.info("to verify, in another terminal: echoscu {options}", options=options)
            log.info("to store, in another terminal: storescu {options} FILE", options=options)

    def _dcmtk_options(self, address: str, port: int) -> str:
        """What DCMTK's programs need to reach this listener, ready to paste if `dimsetls init` made the keys."""
        tls = self._listener.tls
        key, certificate = tls.certificate.with_name("client.key"), tls.certificate.with_name("client.pem")
        mine = key.exists() and certificate.exists()
        words = ["-aec", self._listener.aes[0].title]
        words += ["+tls", *([_short(key), _short(certificate)] if mine else ["YOUR.key", "YOUR.pem"])]
        words += ["+cf", _short(tls.trust_roots or tls.certificate)]
        words += [{"0.0.0.0": "127.0.0.1", "::": "::1"}.get(address, address), str(port)]  # noqa: S104
        return shlex.join(words)

    def _start_failed(self, failure: Failure) -> StartFailed:
        error = failure.value
        reason = error.socketError if isinstance(error, CannotListenError) else error
        sentence = (f"[listener {self._listener.name}] cannot listen on {self._listener}: "
                    f"{getattr(reason, 'strerror', None) or reason}; free it, or choose another")
        log.critical("{sentence}", sentence=sentence)
        return StartFailed(sentence)

    def drain(self, timeout: float) -> Deferred[None]:
        """Close the port and wait for associations; after `timeout` seconds abort what is left."""
        if self._port is not None:
            self._port.stopListening()
        clock = IReactorTime(reactor)
        drained = self.factory.drain()
        if drained.called:
            return drained
        stopping = clock.callLater(timeout, self.factory.abort_all, f"the service stops and waited for {timeout:g} s")
        giving_up = clock.callLater(timeout + AFTER_ABORT, drained.cancel)

        def cancel_calls(result: object) -> None:
            for call in (stopping, giving_up):
                if call.active():
                    call.cancel()

        return drained.addBoth(cancel_calls)


def _short(path: Path) -> str:
    """The path relative to where twistd was started, if it is below."""
    here = Path.cwd()
    return str(path.relative_to(here) if path.is_relative_to(here) else path)


def _raise_descriptor_limit() -> None:
    """As many descriptors as we may have: each association needs one or two, and systems often start with 1024."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != hard:
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
