"""How much one key has protected, and when that is enough (RFC 9325 §4.4, RFC 8446 §5.5). Pure.

A key of AES-GCM is good for 2^24.5 records in each direction, some 388 GB of full ones. pyOpenSSL cannot ask for
new keys, so a connection has to end before. Records are not counted, which would cost something for each: both
counts here are upper bounds, from sums that cost nothing.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

RECORDS_PER_KEY = {"GCM": int(2**24.5), "CCM": 2**23}
"""By a word in the cipher suite's name; for CCM from RFC 9147 §4.5.3. ChaCha20-Poly1305 outlives every connection."""

FULL_RECORD = 2**14
"""Most bytes of data in a record (RFC 8446 §5.1)."""

OVERHEAD = 5 + 1 + 16
"""Least bytes of a record that are not data: header, content type, tag. TLS 1.2 has eight more."""


class Wear(Enum):
    """What a key's use calls for; the value is the share of the limit from which on it does."""

    FRESH = 0.0
    WORN = 0.90
    """Tell the operator."""
    SPENT = 0.94
    """End between two operations. What is left is 23 GB of full records, more than any operation."""
    OVERDUE = 0.97
    """End at once."""


_WORN = Wear.WORN.value


@dataclass(slots=True)
class KeyUsage:
    """The use of a connection's two keys, ours and the peer's."""

    limit: int
    sent: int = 0
    """Records at most; so is `received`."""
    received: int = 0

    @classmethod
    def of(cls, cipher_suite: str) -> KeyUsage | None:
        """To count with; None where the cipher has no limit that a connection could reach."""
        limits = [limit for word, limit in RECORDS_PER_KEY.items() if word in cipher_suite]
        return cls(limits[0]) if limits else None

    def wrote(self, octets: int) -> None:
        """One call of the transport's write: full records, and one for the rest."""
        self.sent += octets // FULL_RECORD + 1

    def read(self, octets: int, data: int) -> None:
        """All bytes that came from the network so far, and those of them that are data sets.

        What is no data set is at most the overhead of its records, so they are no more than this.
        """
        self.received = max(octets - data, 0) // OVERHEAD

    @property
    def share(self) -> float:
        """Of the limit, in the direction that is nearer to it."""
        return max(self.sent, self.received) / self.limit

    @property
    def is_fresh(self) -> bool:
        """As nearly always, and it is asked for with every operation."""
        most = _WORN * self.limit
        return self.sent < most and self.received < most

    @property
    def wear(self) -> Wear:
        share = self.share
        return max((each for each in Wear if each.value <= share), key=lambda each: each.value)

    def __str__(self) -> str:
        return f"{self.sent} records sent and {self.received} received at most, of {self.limit} that a key may protect"
