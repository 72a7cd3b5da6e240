"""pynetdicom's application qrscp as a program, held so that no C-MOVE of it loses a response: see `held.py`."""

from __future__ import annotations

import threading
from typing import Any

from held import listening_to_nobody  # type: ignore[import-not-found]  # it lies beside this program
from pynetdicom.apps.qrscp.qrscp import main
from pynetdicom.association import Association

_send = Association.send_c_store


def send_c_store(association: Association, *args: Any, **keywords: Any) -> Any:
    if threading.current_thread() is association:  # C-GET: it is that thread itself which sends
        return _send(association, *args, **keywords)
    with listening_to_nobody(association):
        return _send(association, *args, **keywords)


if __name__ == "__main__":
    Association.send_c_store = send_c_store  # type: ignore[method-assign]
    main()
