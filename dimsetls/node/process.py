"""What a process does that is a node, or that supervises one: its log, its signals, its descriptors."""

from __future__ import annotations

import resource
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from signal import SIG_DFL, SIGINT, SIGTERM, getsignal, signal
from typing import Any

from twisted.application.service import IServiceCollection
from twisted.internet import reactor
from twisted.internet.interfaces import IReactorFromThreads
from twisted.logger import ILogObserver, Logger
from twisted.python.components import Componentized

from ..errors import ConfigurationError
from .config import Node
from .logs import log_observer
from .places import StartFailed

log = Logger(namespace="dimsetls.node")


def log_as(node: Node, twistd: dict[str, Any], application: IServiceCollection) -> None:
    """Let twistd log as the node is configured to."""
    observer = log_observer(node.log_format, node.log_level, twistd)
    if observer is not None and isinstance(application, Componentized):
        application.setComponent(ILogObserver, observer)  # where twistd looks for the observer to start with


def tell_changes(former: Node, node: Node) -> None:
    """Say what of the [node] section a reload cannot change."""
    if replace(former, drain_timeout=node.drain_timeout) != node:
        log.warn("[node] has changed: log-format, log-level and workers take effect at the next start")


def tell_not_reloaded(error: ConfigurationError | StartFailed) -> None:
    """Say why a new configuration was not taken, and what holds."""
    for problem in error.problems if isinstance(error, ConfigurationError) else (str(error),):
        log.error("not reloaded: {problem}", problem=problem)
    log.error("the configuration of before stays in force")


@contextmanager
def signalled(call: Callable[[], None]) -> Iterator[None]:
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


def raise_descriptor_limit() -> None:
    """As many descriptors as we may have: each association needs one or two, and systems often start with 1024."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != hard:
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
