"""Who was verified, as the rest of the program sees it."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime

from .credentials import Method


@dataclass(frozen=True, slots=True)
class Principal:
    """A user whose identity was verified. Only the gate makes one: whoever holds it need not ask again.

    `methods` says how, in the order that they were checked; `back_ends` by whom. It holds no secret.
    """

    name: str
    realm: str
    methods: tuple[Method, ...]
    back_ends: tuple[str, ...]
    groups: frozenset[str]
    roles: frozenset[str]
    scopes: frozenset[str] | None
    """What an access token is limited to; None: no token limits it."""
    verified: datetime
    until: datetime | None
    """From when on the identity is not valid any more; None: without a term."""

    def is_valid_at(self, posix: float) -> bool:
        return self.until is None or datetime.fromtimestamp(posix, UTC) < self.until

    def __str__(self) -> str:
        """The name as log lines show it, with how it was verified."""
        return f"{self.name} of {self.realm} by {' and '.join(method.value for method in self.methods)}"
