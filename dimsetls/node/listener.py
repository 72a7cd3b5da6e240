"""One listener of a configuration: it binds, says where, takes a new configuration while it runs, and drains."""

from __future__ import annotations

import shlex
from collections.abc import Hashable
from pathlib import Path
from typing import Any

from twisted.application.service import Service
from twisted.internet import reactor
from twisted.internet.address import IPv4Address, IPv6Address
from twisted.internet.defer import Deferred
from twisted.internet.error import CannotListenError
from twisted.internet.interfaces import IListeningPort, IReactorCore, IReactorTime
from twisted.logger import Logger
from twisted.python.failure import Failure

from .. import __version__
from ..association.acceptor import AcceptorFactory
from ..association.admission import ApplicationEntity
from ..association.limits import Limits
from ..association.protocol import Timeouts
from ..tls.endpoints import CurrentConnections, DicomTLSServerEndpoint
from .commons import Commons, own
from .config import Listener, collide
from .prepare import Prepared

log = Logger(namespace="dimsetls.node")

AFTER_ABORT = 2.0
"""Seconds for peers to take our A-ABORT at the end of draining."""


class StartFailed(SystemExit, Exception):
    """The service cannot start: twistd ends with exit status 1 and no traceback.

    It is an Exception too, because that is what twistd catches to remove its PID file and to tell a daemon's parent.
    """

    def __init__(self, sentence: str) -> None:
        super().__init__(sentence)
        self.code = 1


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


def place_of(listener: Listener) -> Hashable:
    """What of a listener cannot change while it listens: where, and whether in plain.

    Several may be where the system chooses the port: these are told apart by name.
    """
    is_chosen = listener.endpoint is None and listener.port == 0
    return listener.transport, listener.tls is None, listener.name if is_chosen else None


def judge_move(listener: Listener, leaving: list[Listener]) -> None:
    """Raise StartFailed where a listener would need the place of one that has not left it yet."""
    for former in leaving:
        if collide(listener, former):
            raise StartFailed(
                f"[listener {listener.name}] cannot take {listener} while [listener {former.name}] listens on "
                f"{former}: restart the service to change interface, backlog or plain, or choose another port"
            )


def limits_of(listener: Listener, share: int = 1) -> Limits:
    """How much the listener takes on; of pending connections, one of so many processes."""
    limits = listener.limits
    return Limits(
        limits.associations,
        limits.associations_per_address,
        limits.associations_per_calling_ae,
        max(1, limits.pending_connections // share),
    )


def announce(listener: Listener, port: IListeningPort) -> None:
    """Say where it listens, and how to try it."""
    host: Any = port.getHost()
    is_tcp = isinstance(host, IPv4Address | IPv6Address)
    where = str(listener)
    if is_tcp:
        where = f"[{host.host}]:{host.port}" if ":" in host.host else f"{host.host}:{host.port}"
    tls = listener.tls
    log.info(
        "dimsetls {version} listens on {where} as {titles} with {protection}",
        version=__version__, where=where, titles=", ".join(ae.title for ae in listener.aes),
        protection=f"TLS profile {tls.profile.name}" if tls else "no TLS",
    )  # fmt: skip
    if tls is None:
        log.warn(
            "{where} speaks plain DICOM, as [listener {name}] has it: who can see the network reads what is sent, "
            "and anyone may claim any AE title",
            where=where, name=listener.name,
        )  # fmt: skip
    # DCMTK's programs speak IPv4 and send no PROXY header; on Linux :: takes IPv4 as well.
    address = {"0.0.0.0": "127.0.0.1", "::": "127.0.0.1"}.get(host.host, host.host) if is_tcp else ""  # noqa: S104
    if address and ":" not in address and not listener.transport.startswith("haproxy:"):
        options = shlex.join([*_dcmtk_options(listener), address, str(host.port)])
        log.info("to verify, in another terminal: echoscu {options}", options=options)
        log.info("to store, in another terminal: storescu {options} FILE", options=options)


def _dcmtk_options(listener: Listener) -> list[str]:
    """What DCMTK's programs need to reach this listener, ready to paste if `dimsetls init` made the keys."""
    words, tls = ["-aec", listener.aes[0].title], listener.tls
    if tls is not None:
        key, certificate = tls.certificate.with_name("client.key"), tls.certificate.with_name("client.pem")
        mine = key.exists() and certificate.exists()
        words += ["+tls", *([_short(key), _short(certificate)] if mine else ["YOUR.key", "YOUR.pem"])]
        words += ["+cf", _short(tls.trust_roots or tls.certificate)]
    return words


def start_failed(listener: Listener, failure: Failure) -> StartFailed:
    """Why a listener could not be bound, without the address in Twisted's own text, for it is said already."""
    return StartFailed(f"[listener {listener.name}] cannot listen on {listener}: {_why(failure)}")


def _why(failure: Failure) -> str:
    if failure.check(LookupError):
        return "systemd has handed over no such socket, see its socket unit"
    error = failure.value.socketError if isinstance(failure.value, CannotListenError) else failure.value
    return f"{getattr(error, 'strerror', None) or error}; free it, or choose another"


def _short(path: Path) -> str:
    """The path relative to where twistd was started, if it is below."""
    here = Path.cwd()
    return str(path.relative_to(here) if path.is_relative_to(here) else path)
