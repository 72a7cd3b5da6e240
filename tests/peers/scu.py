"""pynetdicom as a peer."""

from __future__ import annotations

import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from pynetdicom import AE
from pynetdicom.association import Association

from .running import DEADLINE, Service
from .sender import client_context


@contextmanager
def associated(ae: AE, service: Service, pki: Path, version: ssl.TLSVersion | None = None) -> Iterator[Association]:
    """An association over mutual TLS, released at the end."""
    tls = client_context(pki, version), "localhost"
    association = ae.associate("127.0.0.1", service.port(), ae_title="DIMSETLS", tls_args=tls, max_pdu=0)
    assert association.is_established
    with _listening_to_nobody(association):
        try:
            yield association
        finally:
            association.release()


@contextmanager
def _listening_to_nobody(association: Association) -> Iterator[None]:
    """Hold the thread that takes what a peer sends unasked.

    pynetdicom holds it for each request of its own, but not safely: now and then it takes the response, drops it, and
    the request waits until its timeout.
    """
    gate = _Gate()
    before, association._reactor_checkpoint = association._reactor_checkpoint, gate
    assert gate.reached.wait(DEADLINE)
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
