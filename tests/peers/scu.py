"""pynetdicom as a peer."""

from __future__ import annotations

import ssl
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from pynetdicom import AE
from pynetdicom.association import Association

from .held import listening_to_nobody as _listening_to_nobody
from .running import Service
from .sender import client_context


@contextmanager
def associated(
    ae: AE, service: Service, pki: Path, version: ssl.TLSVersion | None = None, **how: Any
) -> Iterator[Association]:
    """An association over mutual TLS, released at the end; `how` is for pynetdicom."""
    tls = client_context(pki, version), "localhost"
    association = ae.associate("127.0.0.1", service.port(), ae_title="DIMSETLS", tls_args=tls, max_pdu=0, **how)
    assert association.is_established
    with _listening_to_nobody(association):
        try:
            yield association
        finally:
            association.release()
