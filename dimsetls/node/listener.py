"""One listener of a configuration: it binds, says where, takes a new configuration while it runs, and drains."""

from __future__ import annotations

from collections.abc import Hashable
from typing import Any

from twisted.application.service import Service
from twisted.internet import reactor
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IListeningPort, IReactorCore, IReactorTime
from twisted.logger import Logger
from twisted.python.failure import Failure

from ..association.acceptor import AcceptorFactory
from ..association.admission import ApplicationEntity
from ..association.protocol import Timeouts
from ..tls.endpoints import CurrentConnections, DicomTLSServerEndpoint
from .commons import Commons, own
from .config import Listener
from .places import AFTER_ABORT, StartFailed, announce, limits_of, place_of, start_failed
from .prepare import Prepared

log = Logger(namespace="dimsetls.node")


class ListenerService(Service):
    """One listener. What is configured for it may change while it runs, but not where it listens."""

    def __init__(
        self, listener: Listener, entities: list[ApplicationEntity], prepared: Prepared, commons: Commons | None = None
    ) -> None:
        self.listener = listener
        self._commons = commons or own(IReactorTime(reactor))
        self.retired = False
        """Whether the configuration has it no more: it only waits for its associations to end."""
        self.factory = AcceptorFactory(
            entities, count=self._commons.count(listener), changed=self._commons.changed, **self._bounds()
        )
        tls = listener.tls
        self._connections = CurrentConnections(prepared.connections[tls.name], tls.transport) if tls else None
        self._port: IListeningPort | None = None

    @property
    def place(self) -> Hashable:
        return place_of(self.listener)

    def configure(self, listener: Listener, entities: list[ApplicationEntity], prepared: Prepared) -> None:
        """From now on a new connection finds this configuration; those that exist keep theirs."""
        self.listener = listener
        self.factory.configure(entities, **self._bounds())
        if self._connections is not None and listener.tls is not None:
            self._connections.creator = prepared.connections[listener.tls.name]
            self._connections.transport = listener.tls.transport

    def privilegedStartService(self) -> None:
        """Bind before privileges are shed. What cannot bind ends the process with one sentence and exit status 1."""
        try:
            self.bind()
        except StartFailed as error:
            log.critical("{sentence}", sentence=str(error))
            raise

    def bind(self) -> None:
        """Take the place to listen on, if that is not done. Raises StartFailed."""
        if self._port is not None:
            return
        try:
            endpoint = self._commons.endpoint(self.listener)
        except LookupError as error:  # the rest of the string was judged before
            raise start_failed(self.listener, Failure(error)) from error
        if self._connections is not None:
            endpoint = DicomTLSServerEndpoint(endpoint, self._connections)
        failed: list[StartFailed] = []
        listening = endpoint.listen(self.factory)
        listening.addCallbacks(self._bound, lambda failure: failed.append(start_failed(self.listener, failure)))
        if failed:  # raised here and not in the errback, for a Deferred keeps even SystemExit to itself
            raise failed[0]

    def _bound(self, port: IListeningPort) -> None:
        self._port = port

    def retire(self) -> None:
        """Stop listening; associations that exist go on."""
        self.retired = True
        if self._port is not None:
            self._port.stopListening()
            self._port = None

    def startService(self) -> None:
        super().startService()
        IReactorCore(reactor).callWhenRunning(self._announce)

    def _announce(self) -> None:
        """Say where it listens: when stores are open and signals are heard, for who reads this line may go on."""
        if self._port is not None and not self._commons.is_worker:
            announce(self.listener, self._port)

    def _bounds(self) -> dict[str, Any]:
        """The limits and times of the listener as its factory takes them."""
        limits = self.listener.limits
        return {
            "limits": limits_of(self.listener, self._commons.share),
            "timeouts": Timeouts(
                limits.tls_handshake_timeout,
                limits.artim_timeout,
                limits.idle_timeout,
                limits.pdu_timeout,
                limits.write_timeout,
                response=limits.response_timeout,
            ),
            "associate_length": limits.associate_pdu_length,
        }

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
