"""Sessions that are taken up again, where that is switched on (RFC 8446 §2.2, RFC 9325 §3.4).

In TLS 1.3 alone, where each connection has a key exchange of its own all the same. In TLS 1.2 whoever gets at the key
of the tickets can read every connection that they were for, so there is none.

Certificates are not shown again, so a session is good for as long only as everything that was judged then: chain and
revocation lists. All else that could change the verdict, be it another list, root, rule or policy, comes with new
connection creators, whose keys open no ticket of before.
"""

from __future__ import annotations

import secrets
from collections import OrderedDict, deque
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from OpenSSL import SSL

from .bindings import was_resumed, withhold_tickets
from .evidence import ObservedConnection, Refusal
from .policy import TLSVersion
from .session import REMEMBERED_CERTIFICATES, PeerCertificate, shown_by

Now = Callable[[], datetime]

KEYS_LAST = 2
"""Lifetimes of a ticket that its key is used for: two days at most, where RFC 9325 §3.4 has a week. Then there is
another, and the former is gone with what it protects: who comes with a ticket of it makes a full handshake."""

_OFFERED = 4  # sessions kept for connections to come; a server sends two after a full handshake, else one
_CERTIFICATE_EXPIRED, _EXPIRED = 45, 10  # the alert, and OpenSSL's code that has it sent in a full handshake


def utc_now() -> datetime:
    """The time that certificates are compared with."""
    return datetime.now(UTC)


class Tickets:
    """What a server makes of tickets: whom it gives one, whose it takes, and when their key has served its time.

    OpenSSL makes the key, at random, with each context, and shows it to nobody; so it is changed by making the contexts
    anew, and no other process can have it. `lists_end` is when the first revocation list goes stale.
    """

    def __init__(self, lifetime: timedelta, lists_end: datetime, now: Now) -> None:
        self._lifetime = lifetime
        self._lists_end = lists_end
        self._now = now
        self._id = secrets.token_bytes(32)
        self._since = now()
        self._ends: OrderedDict[str, datetime] = OrderedDict()  # of verdicts, by the leaf's fingerprint

    @property
    def is_key_worn(self) -> bool:
        """Whether it is time for another; a clock that was set back does not make a key last longer."""
        return not timedelta(0) <= self._now() - self._since < KEYS_LAST * self._lifetime

    def prepare(self, context: SSL.Context) -> None:
        """Have the context give tickets; all contexts of one creator are for the same sessions."""
        self._since = self._now()
        context.set_timeout(int(self._lifetime.total_seconds()))
        context.set_session_id(self._id)

    def judged(self, connection: ObservedConnection, leaf: PeerCertificate) -> None:
        """The client's chain was found good in a full handshake: a ticket only if it will be for all of its life."""
        end = min(connection.evidence.chain_end, self._lists_end)
        self._ends.pop(leaf.sha256, None)
        self._ends[leaf.sha256] = end
        if len(self._ends) > REMEMBERED_CERTIFICATES:
            self._ends.popitem(last=False)
        if end < self._now() + self._lifetime:
            withhold_tickets(connection)

    def refusal(self, connection: ObservedConnection) -> int | None:
        """Judge the certificate that a ticket brings back, and whether there is to be another; an alert, or None.

        OpenSSL has taken the ticket by then, so that there is no way back to a full handshake.
        """
        if connection.get_protocol_version() == TLSVersion.TLS_1_2:
            withhold_tickets(connection)
        if not was_resumed(connection):
            return None
        leaf, now = shown_by(connection), self._now()
        if leaf is None:
            return None  # nor did it show any when it came first
        known = self._ends.get(leaf.sha256)
        end = known or min(leaf.not_after, self._lists_end)
        if end <= now:
            connection.evidence.refusals.append(Refusal(_EXPIRED, 0, leaf.subject))
            return _CERTIFICATE_EXPIRED
        if known is None or end < now + self._lifetime:
            withhold_tickets(connection)
        return None


@dataclass(frozen=True, slots=True)
class _Session:
    session: SSL.Session
    end: datetime
    chain_end: datetime


class Sessions:
    """What a client has been given by the one server that it calls, each good for one connection (RFC 8446 §C.4)."""

    def __init__(self, lifetime: timedelta, lists_end: datetime, now: Now) -> None:
        self._lifetime = lifetime
        self._lists_end = lists_end
        self._now = now
        self._kept: deque[_Session] = deque(maxlen=_OFFERED)

    def keep(self, connection: ObservedConnection) -> None:
        """The server gave a ticket, or other keys: keep the session, as long as its chain is good."""
        if connection.get_protocol_version() == TLSVersion.TLS_1_3 and (session := connection.get_session()):
            chain_end, now = connection.evidence.chain_end, self._now()
            self._kept.append(_Session(session, min(chain_end, self._lists_end, now + self._lifetime), chain_end))

    def offer(self, connection: ObservedConnection) -> None:
        """Offer the newest, if there is one that is good now. The server may decline: a full handshake follows."""
        while self._kept:
            kept = self._kept.pop()
            if self._now() < kept.end:
                connection.evidence.chain_end = kept.chain_end
                connection.set_session(kept.session)
                return
