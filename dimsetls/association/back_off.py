"""How long who failed is left alone."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class BackOff:
    """How long, in seconds, a peer that failed is left alone: twice as long after each failure, reset by success."""

    first: float = 1.0
    longest: float = 60.0

    def delay(self, failures: int) -> float:
        return float(min(self.longest, self.first * 2 ** min(failures - 1, 32)))
