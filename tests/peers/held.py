"""pynetdicom without its race: now and then it takes a response, drops it, and the request waits until its timeout."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager

from pynetdicom.association import Association


@contextmanager
def listening_to_nobody(association: Association) -> Iterator[None]:
    """Hold the thread that takes what a peer sends unasked. pynetdicom does so for each request, but not safely."""
    gate = _Gate()
    before, association._reactor_checkpoint = association._reactor_checkpoint, gate
    assert gate.reached.wait(30.0)
    try:
        yield
    finally:
        association._reactor_checkpoint = before
        gate.open()


class _Gate(threading.Event):
    """A threading.Event that nobody but `open` can set."""

    def __init__(self) -> None:
        super().__init__()
        self.reached = threading.Event()

    def wait(self, timeout: float | None = None) -> bool:
        self.reached.set()
        return super().wait(timeout)

    def set(self) -> None:
        pass

    def open(self) -> None:
        super().set()
