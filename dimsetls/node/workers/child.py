"""A worker: a node whose connections, counts and orders come from the main process. It ends when that does."""

from __future__ import annotations

import os
import socket
import sys
from collections.abc import Callable
from signal import SIG_IGN, SIGHUP, SIGINT, SIGTERM, signal
from typing import Any, Final, cast

from twisted.internet import reactor
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorCore, IReactorFromThreads, IReactorSocket, IReactorTime
from twisted.internet.protocol import Factory
from twisted.logger import ILogObserver, LogEvent, Logger, LogLevel, globalLogBeginner
from zope.interface import implementer

from ...errors import ConfigurationError
from ...tls.ocsp import StatusRefused
from ...tls.selfcheck import key_name
from ..commons import Commons
from ..config import Listener
from ..logs import LEGACY, keep_discreet, sentence
from ..places import StartFailed
from ..prepare import Prepared, prepare
from ..service import NodeService
from .channel import Channel
from .fingerprint import fingerprint
from .passed import Passed, name_of
from .remote import RemoteClaims, RemoteCount, RemoteLockout, RemoteMemory

log = Logger(namespace="dimsetls.node")

MOST_PROBLEMS: Final = 50
LONGEST_LINE: Final = 8_000
LONGEST_FIELD: Final = 2_000
"""Characters of a line of the log, and of a field of it, that are passed on: what the channel takes is bounded."""


def main() -> None:
    """What the main process starts, see `workers.worker`."""
    for number in (SIGINT, SIGTERM, SIGHUP):
        signal(number, SIG_IGN)  # a terminal and systemd send these to all processes; the main one says what to do
    worker, share, descriptor, path, in_force = sys.argv[1:6]
    Worker(int(worker), int(share), path, in_force).run(int(descriptor))


@implementer(ILogObserver)
class _Lines:
    """Has the main process write what is logged here."""

    def __init__(self, channel: Channel) -> None:
        self.level = LogLevel.info
        self._channel = channel

    def __call__(self, event: LogEvent) -> None:
        level = event.get("log_level", LogLevel.info)
        if level < self.level:
            return
        fields = {name: value for name, value in event.items() if name[:4] != "log_" and name not in LEGACY}
        if "log_failure" in event:
            fields["traceback"] = event["log_failure"].getTraceback()
        say = self._channel.note if level <= LogLevel.info else self._channel.tell
        say(
            "log", time=event["log_time"], level=level.name, namespace=event.get("log_namespace", ""),
            text=sentence(event)[:LONGEST_LINE], fields=_bounded(fields),
        )  # fmt: skip


def _bounded(fields: dict[str, object]) -> dict[str, object]:
    """The fields as text where they are not numbers, and cut where they are long."""
    return {
        name: value if value is None or isinstance(value, bool | int | float) else str(value)[:LONGEST_FIELD]
        for name, value in fields.items()
    }


class Worker:
    """One worker from its start to its end. `in_force` is the fingerprint of the configuration that it must find."""

    def __init__(self, number: int, share: int, path: str, in_force: str) -> None:
        self._path = path
        self._in_force = in_force
        self._passed = Passed()
        self._service: NodeService | None = None
        self._next: Prepared | None = None
        self._is_leaving = False
        self._told = (0, 0)
        hears: dict[str, Callable[..., Any]] = {
            "connection": self._connection, "prepare": self._prepare, "take": self._take, "forget": self._forget,
            "staple": self._staple, "queued": self._queued, "report": self._report, "resume": self._resume,
            "drain": self._drain, "leave": self._leave, "are you there": lambda: self.channel.tell("here"),
        }  # fmt: skip
        self.channel = Channel(IReactorTime(reactor), hears, self._ended, self._passed.descriptor)
        lockout = RemoteLockout(self.channel)
        hears["ask again"] = lockout.ask_again
        self._commons = Commons(
            lockout,
            self._passed.endpoint,
            self._count,
            share=share,
            is_worker=True,
            calls=number == 1,
            claims=lambda file: RemoteClaims(self.channel, file),
            hand_over=lambda ae_title, peer: self.channel.tell("report", ae_title=ae_title, peer=peer),
            queued=lambda: IReactorFromThreads(reactor).callFromThread(self.channel.tell, "queued"),
            changed=self._changed,
        )  # fmt: skip

    def run(self, descriptor: int) -> None:
        """Serve until the main process is gone or says that it is enough."""
        factory = Factory.forProtocol(lambda: self.channel)
        factory.noisy = False
        adopt = cast(Callable[[int, int, Any], object], IReactorSocket(reactor).adoptStreamConnection)
        os.set_blocking(descriptor, False)
        adopt(descriptor, socket.AF_UNIX, factory)
        os.close(descriptor)
        IReactorCore(reactor).callWhenRunning(self._start)
        IReactorCore(reactor).run(installSignalHandlers=False)  # type: ignore[call-arg]

    def _start(self) -> None:
        keep_discreet()
        lines = _Lines(self.channel)
        globalLogBeginner.beginLoggingTo([lines])
        try:
            prepared, read = self._read()
            if read != self._in_force:
                raise ConfigurationError(
                    f"it found other files in or behind {self._path} than those in force, expected the same: reload to "
                    "take them, or bring the former back"
                )
            lines.level = LogLevel.lookupByName(prepared.config.node.log_level)
            self._service = service = NodeService(prepared, commons=self._commons)
            service.privilegedStartService()
            service.startService()
            self._tell_keys(prepared)
        except ConfigurationError as error:
            self._cannot_start(*error.problems)
        except StartFailed as error:
            self._cannot_start(str(error))
        except Exception:
            log.failure("a worker cannot start")
            self._cannot_start("the lines before say why")
        else:
            self.channel.tell("ready")

    def _cannot_start(self, *problems: str) -> None:
        self.channel.tell("failed to start", problems=problems[:MOST_PROBLEMS])
        self._leave()

    def _read(self) -> tuple[Prepared, str]:
        """The configuration as it is in the files now. Raises ConfigurationError."""
        prepared = prepare(self._path)
        prepared.identity.share(lambda issuer: RemoteMemory(self.channel, issuer))
        return prepared, fingerprint(prepared.config)

    def _count(self, listener: Listener) -> RemoteCount:
        return RemoteCount(self.channel, name_of(listener))

    # Connections ---------------------------------------------------------------------------------------------------

    def _connection(self, place: str) -> None:
        self._passed.connection(place)
        self._changed()

    def _changed(self) -> None:
        """Tell how many connections there are, and how many came in all."""
        assert self._service is not None
        told, self._told = self._told, (self._passed.received, self._service.connections)
        (_, before), (received, connections) = told, self._told
        if told != self._told:
            # The main process has counted what it passed on, but knows only from us what has ended.
            say = self.channel.tell if connections < before else self.channel.note
            say("load", received=received, connections=connections)

    # A new configuration -------------------------------------------------------------------------------------------

    def _prepare(self) -> dict[str, object]:
        assert self._service is not None
        self._forget()
        try:
            prepared, read = self._read()
            self._next = prepared
            self._service.make_ready(prepared)
        except ConfigurationError as error:
            self._forget()
            return {"problems": error.problems[:MOST_PROBLEMS]}
        return {"fingerprint": read}

    def _take(self) -> None:
        assert self._service is not None
        assert self._next is not None
        prepared, self._next = self._next, None
        self._service.take(prepared)
        self._tell_keys(prepared)

    def _tell_keys(self, prepared: Prepared) -> None:
        """Tell the names of the keys of our tickets, which no other worker can open; and again when they change."""
        creators = [each for each in prepared.connections.values() if each.resumption is not None]
        for creator in creators:
            creator.rekeyed = lambda: IReactorTime(reactor).callLater(0, self._tell_keys, prepared)
        self.channel.tell("keys", names=[key_name(creator).hex() for creator in creators])

    def _forget(self) -> None:
        if self._next is not None:
            self._next.close()
            self._next = None

    # Orders --------------------------------------------------------------------------------------------------------

    def _staple(self, certificate: str, response: str) -> None:
        assert self._service is not None
        try:
            self._service.staple(certificate, bytes.fromhex(response))
        except StatusRefused:
            pass  # it was good a moment ago; nothing is stapled until the next comes

    def _queued(self) -> None:
        if self._service is not None:
            self._service.queued()

    def _report(self, ae_title: str, peer: str) -> None:
        if self._service is not None:
            self._service.report(ae_title, peer)

    def _resume(self) -> None:
        if self._service is not None:
            self._service.resume_reports()

    def _drain(self) -> Deferred[None]:
        assert self._service is not None
        return self._service.stopService()

    def _leave(self) -> None:
        """All is done. What was told before goes out first."""
        self._is_leaving = True
        self.channel.close()

    def _ended(self) -> None:
        if not self._is_leaving:
            # Nobody counts, and nobody hears what is logged: what runs ends as it does where a process is killed.
            os._exit(1)
        IReactorCore(reactor).stop()
