"""The points where others plug in (zope interfaces, as Twisted's users expect)."""

from __future__ import annotations

from collections.abc import Awaitable
from typing import TYPE_CHECKING

from zope.interface import Interface

from ..ul.negotiation import Support
from ..ul.pdus import CommonExtendedNegotiation, ExtendedNegotiation
from .events import Event
from .requests import Request

if TYPE_CHECKING:
    from .outcomes import Answer


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

    def perform(request: Request) -> Awaitable[Answer]:
        """Do what the request asks; the result is what to answer, by the kind of request.

        C-ECHO and C-STORE: the status. C-FIND: an async iterator of Datasets, or of (pending status, Dataset). C-GET:
        an async iterator of `Instance`. C-MOVE: a `Move`. DIMSE-N: the status, or (status, Dataset or None).
        `ServiceError` answers its status, any other exception is logged and answers a failure.
        """


class IAssociationObserver(Interface):
    """Whoever wants to know what becomes of associations: the log, an audit trail, metrics."""

    def observe(event: Event) -> None:
        """Called in the reactor thread for each event; it must not block. What it raises is logged and forgotten."""
