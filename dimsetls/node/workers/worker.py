"""One worker as the main process sees it: started, spoken to, given connections, and noticed when it dies."""

from __future__ import annotations

import os
import select
import socket
import subprocess
import sys
import time
from collections import deque
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final, cast

from twisted.internet import reactor
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorSocket, IReactorTime
from twisted.internet.protocol import Factory
from twisted.internet.threads import deferToThread
from twisted.logger import LogLevel, globalLogPublisher

from .channel import Channel
from .pulse import Pulse

START_WITHIN: Final = 60.0
"""Seconds from the start of the process until it is ready; a slow machine takes some."""
MOST_ON_THE_WAY: Final = 64
"""Connections that were passed to a worker and that it has not taken: one that stands still is given no more."""
_PROGRAM: Final = "import sys; sys.path.append(sys.argv.pop(1)); from dimsetls.node.workers.child import main; main()"
_PACKAGES: Final = str(Path(__file__).parents[3])
"""Where this very package is, whatever directory the main process was started in."""


class Worker:
    """A worker with this number, of `share` in all, that serves what is in the files if that has the fingerprint
    `in_force`. `hears` is what it may ask and tell besides what is heard here.

    `ready` is called when it serves, `loaded` when it has told of its connections, `ended` when it is gone. Raises
    OSError.
    """

    def __init__(
        self, number: int, share: int, config: Path, in_force: str, hears: Mapping[str, Callable[..., Any]],
        ready: Callable[[Worker], None], loaded: Callable[[], None], ended: Callable[[Worker], None],
    ) -> None:  # fmt: skip
        self.number = number
        self.in_force = in_force
        self.problems: list[str] = []
        """Why it could not start, as it said itself."""
        self.is_ready = self.is_gone = self.died_silently = False
        self._awaiting: list[Deferred[None]] = []
        self.reaped: Deferred[int]
        """Its exit status; set once it is gone."""
        self.keys: frozenset[bytes] = frozenset()
        """The names of the keys that it makes tickets with."""
        self._passed = self._connections = 0
        self._on_the_way: deque[int] = deque()
        self._ready, self._loaded, self._ended = ready, loaded, ended
        self.channel = Channel(
            IReactorTime(reactor),
            {
                **hears, "ready": self._is_up, "failed to start": self._failed, "load": self._load, "log": self._log,
                "keys": self._take_keys, "here": lambda: self._pulse.answered(),
            },
            self._lost,
        )
        self._pulse = Pulse(
            number, IReactorTime(reactor), lambda: self.channel.tell("are you there"), loaded, self.kill
        )
        ours, theirs = socket.socketpair()
        try:
            with theirs:
                # Not `-m`, and with -P: nothing of the directory it is started in is to be imported.
                self._process = subprocess.Popen(  # noqa: S603 - our own interpreter, and a path from our command line
                    [sys.executable, "-P", "-c", _PROGRAM, _PACKAGES, str(number), str(share), str(theirs.fileno()),
                     str(config), in_force],
                    stdin=subprocess.DEVNULL, pass_fds=[theirs.fileno()],
                    env={name: value for name, value in os.environ.items() if not name.startswith("LISTEN_")},
                )  # fmt: skip
        except OSError:
            ours.close()
            raise
        self.pid = self._process.pid
        self._socket: socket.socket | None = ours

    # From its start to its end -------------------------------------------------------------------------------------

    def attach(self) -> None:
        """From now on the reactor reads what it says."""
        assert self._socket is not None
        factory = Factory.forProtocol(lambda: self.channel)
        factory.noisy = False
        adopt = cast(Callable[[int, int, Any], object], IReactorSocket(reactor).adoptStreamConnection)
        with self._socket as ours:
            ours.setblocking(False)
            adopt(ours.fileno(), socket.AF_UNIX, factory)
        self._socket = None
        if self.is_ready:
            self._pulse.start()

    def listen_until(self, deadline: float) -> None:
        """Read what it says until it is ready or gone, before the reactor runs. The deadline is of time.monotonic()."""
        assert self._socket is not None
        while not self.is_ready and not self.problems:
            readable, _, _ = select.select([self._socket], [], [], max(0.0, deadline - time.monotonic()))
            try:
                said = self._socket.recv(1 << 16) if readable else b""
            except ConnectionError:
                said = b""
            if not said:
                self.died_silently = bool(readable)
                self._failed([] if readable else [f"it was not ready within {START_WITHIN:g} s"])
                break
            try:
                self.channel.dataReceived(said)
            except Exception:
                self._failed(["what it said was not understood"])

    def gone(self, seconds: float) -> Deferred[None]:
        """Fires when it is gone, and after so many seconds in any case."""
        gone: Deferred[None] = Deferred()
        if self.is_gone:
            gone.callback(None)
        else:
            self._awaiting.append(gone)
        return gone.addTimeout(seconds, IReactorTime(reactor), lambda result, timeout: None)

    def kill(self, why: str = "") -> None:
        """End it, whatever it does."""
        self.is_ready = False
        if why:
            self.problems.append(why)
        self._process.kill()

    def end(self) -> int:
        """End it before the reactor runs; its exit status."""
        self.kill()
        if self._socket is not None:
            self._socket.close()
        return self._process.wait()

    def _lost(self) -> None:
        self.is_gone, self.is_ready = True, False
        self._pulse.stop()
        self.kill()
        while self._on_the_way:
            os.close(self._on_the_way.popleft())
        self.reaped = deferToThread(self._process.wait)
        self._ended(self)
        for gone in self._awaiting:
            if not gone.called:
                gone.callback(None)

    def _is_up(self) -> None:
        self.is_ready = True
        if self._socket is None:
            self._pulse.start()
        self._ready(self)

    def _failed(self, problems: list[str]) -> None:
        self.problems = problems

    # Connections ---------------------------------------------------------------------------------------------------

    @property
    def load(self) -> int:
        """How many connections it has, with those that it has not told of yet."""
        return self._connections + len(self._on_the_way)

    @property
    def takes_more(self) -> bool:
        return self.is_ready and not self._pulse.is_silent and len(self._on_the_way) < MOST_ON_THE_WAY

    def give(self, connection: socket.socket, place: str) -> None:
        """Pass a connection on. Our own end of it is kept open until the worker says that it has the other."""
        descriptor = connection.detach()
        self._on_the_way.append(descriptor)
        self._passed += 1
        cast(Any, self.channel.transport).sendFileDescriptor(descriptor)
        self.channel.tell("connection", place=place)

    def _load(self, received: int, connections: int) -> None:
        self._connections = connections
        while len(self._on_the_way) > self._passed - received:
            os.close(self._on_the_way.popleft())
        self._loaded()

    def _take_keys(self, names: list[str]) -> None:
        self.keys = frozenset(map(bytes.fromhex, names))

    # What it logs --------------------------------------------------------------------------------------------------

    def _log(self, time: float, level: str, namespace: str, text: str, fields: dict[str, Any]) -> None:
        traceback = fields.get("traceback", "")
        globalLogPublisher({
            **fields,
            "worker": self.number,
            "log_time": time,
            "log_level": LogLevel.lookupByName(level),
            "log_namespace": namespace,
            "log_system": f"{namespace}#{level}, worker {self.number}",
            "log_format": "{log_text}\n{traceback}" if traceback else "{log_text}",
            "log_text": text,
        })  # fmt: skip
