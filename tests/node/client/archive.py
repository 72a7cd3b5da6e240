"""An archive of pynetdicom that answers as it is told, over TLS that wants our certificate."""

from __future__ import annotations

import ssl
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from pynetdicom import AE, evt

from dimsetls.services.models import PATIENT_ROOT, STUDY_ROOT

from ...peers.instances import named


@contextmanager
def archive(
    pki: Path, *, find: Callable[[Any], Iterator[Any]] | None = None, store: Callable[[Any], int] | None = None,
    move: Callable[[Any], Iterator[Any]] | None = None,
) -> Iterator[int]:
    """The port of it while it runs; it takes CT images and queries of both models."""
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    tls.load_cert_chain(pki / "server.pem", pki / "server.key")
    tls.load_verify_locations(pki / "ca.pem")
    tls.verify_mode = ssl.CERT_REQUIRED
    ae = AE("ARCHIVE")
    of_models = (uid for model in (PATIENT_ROOT, STUDY_ROOT) for uid in (model.find, model.move))
    for uid in (named("CT_small.dcm").sop_class_uid, *of_models):
        ae.add_supported_context(uid)
    handlers: list[Any] = [(event, handler) for event, handler in (
        (evt.EVT_C_FIND, find), (evt.EVT_C_STORE, store), (evt.EVT_C_MOVE, move)) if handler is not None]
    server = ae.start_server(("127.0.0.1", 0), block=False, evt_handlers=handlers, ssl_context=tls)
    try:
        yield server.socket.getsockname()[1]
    finally:
        server.shutdown()
