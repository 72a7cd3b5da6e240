"""What a crowd of connections leaves behind in memory, and when it goes back to the system."""

from __future__ import annotations

import gc
from collections.abc import Callable
from ctypes import CDLL

_CROWD = 500
"""Connections at once below which there is too little to give back, some 20 MB, to look for it."""


def _trimming() -> Callable[[int], object] | None:
    """malloc_trim of the C library, where it is glibc."""
    try:
        trim: Callable[[int], object] = CDLL(None).malloc_trim
    except (OSError, AttributeError):
        return None
    return trim


class Tide:
    """Has memory given back each time that a crowd is down to a quarter of what it was.

    By itself the C library keeps what lies below anything that is still in use: ten thousand associations left 410 MB.
    And Python looks for cycles among old objects only when there are a quarter more of them: of 80 MB that were left
    then, they were half.
    """

    def __init__(self, trim: Callable[[int], object] | None = None) -> None:
        self._trim = trim or _trimming()
        self._most = 0

    def stands_at(self, connections: int) -> None:
        """So many there are now."""
        if connections > self._most:
            self._most = connections
        elif self._most >= _CROWD and connections <= self._most // 4:
            self._most = connections
            gc.collect()
            if self._trim is not None:
                self._trim(0)
