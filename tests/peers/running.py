"""A node in a directory of its own, and its service as a process: what peers find at the other end."""

from __future__ import annotations

import os
import re
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from itertools import cycle
from pathlib import Path
from signal import SIGKILL, SIGTERM
from typing import Any

from dimsetls.tls import endpoints

from ..secrets import said
from .instances import patient_data

DEADLINE = 30.0
"""Seconds after which waiting counts as failure. Nothing takes so long in a run that passes."""

TWISTD = str(Path(sys.executable).with_name("twistd"))


class Service:
    """`twistd dimsetls` as a process, and all that it has printed."""

    def __init__(self, command: Sequence[str], **how: Any) -> None:
        self.process = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
            start_new_session=True, **how,
        )  # fmt: skip
        self._lines: list[str] = []
        self._ended = False
        self._news = threading.Condition()
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            said(line)
            with self._news:
                self._lines.append(line.rstrip("\n"))
                self._news.notify_all()
        with self._news:
            self._ended = True
            self._news.notify_all()

    @property
    def log(self) -> str:
        return "\n".join(self._lines)

    def lines(self, pattern: str) -> list[str]:
        """What of the log matches now."""
        return [line for line in list(self._lines) if re.search(pattern, line)]

    def expect(self, pattern: str, count: int = 1) -> list[str]:
        """The lines that match, as soon as there are `count` of them."""
        with self._news:
            self._news.wait_for(lambda: len(self.lines(pattern)) >= count or self._ended, DEADLINE)
        found = self.lines(pattern)
        assert len(found) >= count, f"expected {count} lines with {pattern!r}, found {len(found)} in:\n{self.log}"
        return found

    def port(self, ae_title: str = "DIMSETLS") -> int:
        """Where the listener of an AE is bound."""
        (line, *_) = self.expect(rf" listens on \S+:\d+ as .*\b{ae_title}\b")
        return int(line.split(" listens on ")[1].split()[0].rpartition(":")[2])

    def memory(self, field: str) -> int:
        """A figure of /proc/PID/status in bytes: VmRSS is what the process has in memory, VmHWM its peak."""
        (found,) = re.findall(rf"^{field}:\s+(\d+) kB$", Path(f"/proc/{self.process.pid}/status").read_text(), re.M)
        return int(found) * 1024

    def stop(self) -> int:
        """Ask it to stop with SIGTERM; the exit status."""
        self.process.terminate()
        return self.wait()

    def wait(self) -> int:
        """The exit status, once it has ended by itself."""
        try:
            status = self.process.wait(DEADLINE)
        except subprocess.TimeoutExpired:
            self.kill()
            raise AssertionError(f"the service did not end within {DEADLINE:g} s; its log:\n{self.log}") from None
        self._reader.join()
        return status

    def kill(self) -> None:
        """SIGKILL to it and what it has started: no chance to tidy up."""
        with suppress(ProcessLookupError):
            os.killpg(self.process.pid, SIGKILL)
        self.process.wait()
        self._reader.join()


class Node:
    """The configuration of a node: one listener on a free port of 127.0.0.1, one AE, one store, until `set` is called.

    `pki` is what `dimsetls init` wrote; it is shared, and nothing is ever written to it.
    """

    def __init__(self, directory: Path, pki: Path) -> None:
        self.directory = directory
        self.pki = pki
        self.store = directory / "store"
        self.store.mkdir()
        self.sections: dict[str, dict[str, str]] = {}
        self.set("node", drain_timeout="1s")  # a test that fails may leave associations behind
        self.set("listener main", port=0, tls="secure", aes="DIMSETLS", limits="normal")
        self.set("tls secure", certificate=pki / "server.pem", private_key=pki / "server.key")
        self.set("tls secure", trust_roots=pki / "ca.pem", revocation_check="not checked - i understand the risk")
        self.set("tls secure", transport=endpoints.DEFAULT_TRANSPORT)  # see tests/conftest.py
        self.set("ae DIMSETLS", storage="archive")
        self.set("storage archive", directory="store")
        self.set("limits normal")

    def set(self, section: str, **options: object) -> None:
        """Set options of a section, made if it is missing; None takes one away."""
        entries = self.sections.setdefault(section, {})
        for name, value in options.items():
            entries.pop(name.replace("_", "-"), None)
            if value is not None:
                entries[name.replace("_", "-")] = str(value)

    def write(self) -> Path:
        """The INI file, as it is now."""
        ini = self.directory / "dimsetls.ini"
        ini.write_text("\n".join(
            f"[{section}]\n" + "".join(f"{name} = {value}\n" for name, value in entries.items())
            for section, entries in self.sections.items()
        ))
        return ini

    def command(self, *options: str) -> list[str]:
        """What starts the service; `options` are of twistd."""
        return [TWISTD, *(options or ("--nodaemon", "--pidfile=")), "dimsetls", "--config", str(self.write())]

    def start(self, *prefix: str, **how: Any) -> Service:
        """Start the service and wait for nothing; `prefix` is a command that runs another."""
        return Service([*prefix, *self.command()], cwd=self.directory, **how)

    @contextmanager
    def running(self, *prefix: str, **how: Any) -> Iterator[Service]:
        """The service while it listens. It must end by SIGTERM if it has not ended before, and its log be in order."""
        service = self.start(*prefix, **how)
        try:
            service.expect(" listens on ", sum(section.startswith("listener ") for section in self.sections))
            yield service
            if service.process.poll() is None:
                assert service.stop() == -SIGTERM  # twistd ends itself by the signal that it was sent
        finally:
            service.kill()
            print(service.log)  # noqa: T201 - pytest shows it if the test fails
        assert not service.lines("Traceback|Unhandled|CRITICAL")
        self.assert_discreet(service.log)

    def assert_discreet(self, log: str) -> None:
        """No line of a private key, and nothing of the patients in the files that are sent."""
        keys = [line for key in self.pki.glob("*.key") for line in key.read_text().splitlines() if len(line) > 8]
        assert keys
        found = [secret for secret in (*keys, *patient_data()) if secret in log]
        assert not found, f"the log gives away {found}"

    def stored(self) -> dict[str, Path]:
        """What a user sees in the store: relative path to file."""
        return {
            str(path.relative_to(self.store)): path for path in sorted(self.store.rglob("*"))
            if path.is_file() and not any(part.startswith(".") for part in path.relative_to(self.store).parts)
        }

    def leftovers(self) -> list[Path]:
        """Incoming files that are not complete, of stores that live or died."""
        return [path for path in self.store.glob(".incoming/*/*") if path.name != "lock"]


def eventually(condition: Callable[[], bool], what: str) -> None:
    """Wait for something that nobody reports; `what` says what never came."""
    end = time.monotonic() + DEADLINE
    while not condition():
        assert time.monotonic() < end, f"{what} within {DEADLINE:g} s"
        time.sleep(0.01)


def free_port() -> int:
    """A port of 127.0.0.1 that nobody listens on now, and that the system gives to nobody who asks for any."""
    while True:
        with suppress(OSError), socket.create_server(("127.0.0.1", next(_ports))) as server:
            return int(server.getsockname()[1])


_GIVEN = int(Path("/proc/sys/net/ipv4/ip_local_port_range").read_text().split()[0])
"""The first port that the system gives to who asks for any."""

_ports = cycle(range(10_000 + os.getpid() % 10_000, _GIVEN) or [0])


def answers(port: int) -> bool:
    """Whether somebody listens on a port of 127.0.0.1."""
    try:
        socket.create_connection(("127.0.0.1", port), DEADLINE).close()
    except ConnectionRefusedError:
        return False
    return True


@contextmanager
def running(command: list[object], port: int, **how: Any) -> Iterator[Service]:
    """Somebody's server, from when its port answers."""
    service = Service(list(map(str, command)), **how)
    try:
        eventually(lambda: answers(port) or service.process.poll() is not None, f"port {port} answers")
        assert service.process.poll() is None, service.log
        yield service
    finally:
        service.kill()
        print(service.log)  # noqa: T201 - pytest shows it if the test fails
