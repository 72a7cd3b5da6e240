"""Where listeners are, how much they take on, and what is said of them; the main process of several knows no more."""

from __future__ import annotations

import shlex
from collections.abc import Callable, Hashable, Sequence
from pathlib import Path
from typing import Any, Protocol, TypeVar

from twisted.internet.address import IPv4Address, IPv6Address
from twisted.internet.error import CannotListenError
from twisted.internet.interfaces import IListeningPort
from twisted.logger import Logger
from twisted.python.failure import Failure

from .. import __version__
from ..association.limits import Limits
from .config import Listener, collide

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


def place_of(listener: Listener) -> Hashable:
    """What of a listener cannot change while it listens: where, and whether in plain.

    Several may be where the system chooses the port: these are told apart by name.
    """
    is_chosen = listener.endpoint is None and listener.port == 0
    return listener.transport, listener.tls is None, listener.name if is_chosen else None


def _judge_move(listener: Listener, leaving: list[Listener]) -> None:
    """Raise StartFailed where a listener would need the place of one that has not left it yet."""
    for former in leaving:
        if collide(listener, former):
            raise StartFailed(
                f"[listener {listener.name}] cannot take {listener} while [listener {former.name}] listens on "
                f"{former}: restart the service to change interface, backlog or plain, or choose another port"
            )


class _Binds(Protocol):
    listener: Listener

    def bind(self) -> object: ...


_B = TypeVar("_B", bound=_Binds)


def bind_all(added: Sequence[_B], leaving: list[Listener], undo: Callable[[_B], object]) -> None:
    """Bind all of them beside those that leave. Raises StartFailed; then all of it is undone."""
    try:
        for each in added:
            _judge_move(each.listener, leaving)
            each.bind()
    except StartFailed:
        for each in added:
            undo(each)
        raise


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
