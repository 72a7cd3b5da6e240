"""The points where others plug in (zope interfaces, as Twisted's users expect)."""

from __future__ import annotations

from collections.abc import Awaitable

from zope.interface import Interface

from ..ul.negotiation import Support
from ..ul.pdus import CommonExtendedNegotiation, ExtendedNegotiation
from .events import Event
from .requests import Request


class IServiceProvider(Interface):
    """What an application entity does for its peers.

    `dimsetls.services.ServiceProvider` is the class to derive from; this is what it promises.
    """

    def support(abstract_syntax: str, common: CommonExtendedNegotiation | None) -> Support | None:
        """What is supported for this abstract syntax; None: nothing, the context is refused with result 3.

        `common` is the 57H item that came for it, naming its service class and related general SOP classes.
        """

    def extended(item: ExtendedNegotiation) -> bytes | None:
        """The service class application information to answer to a 56H item; None: no answer."""

    def perform(request: Request) -> Awaitable[int]:
        """Do what the request asks; the result is the status to answer.

        `ServiceError` answers its status, any other exception is logged and answers 0110H, processing failure.
        """


class IAssociationObserver(Interface):
    """Whoever wants to know what becomes of associations: the log, an audit trail, metrics."""

    def observe(event: Event) -> None:
        """Called in the reactor thread for each event; it must not block. What it raises is logged and forgotten."""
