"""Both sides of an association, ours: a requestor and an acceptor that talk to each other in memory."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

from pydicom import Dataset
from twisted.internet.defer import Deferred

from dimsetls.association.requested import RequestedAssociation
from dimsetls.association.requestor import associate, propose
from dimsetls.identity.authorization import Authorization
from dimsetls.services.provider import ServiceProvider
from dimsetls.uids import VERIFICATION
from dimsetls.ul.negotiation import Support
from dimsetls.ul.pdus import AsynchronousOperationsWindow, CommonExtendedNegotiation

from .stage import CT, MR, Stage

FIND = "1.2.840.10008.5.1.4.1.2.2.1"
MOVE = "1.2.840.10008.5.1.4.1.2.2.2"
GET = "1.2.840.10008.5.1.4.1.2.2.3"
STEP = "1.2.840.10008.3.1.2.3.3"
COMMITMENT = "1.2.840.10008.1.20.1"
PRINT = "1.2.840.10008.5.1.1.9"
ALL = (VERIFICATION, CT, MR, FIND, MOVE, GET, STEP, COMMITMENT, PRINT)


class Everything(ServiceProvider):
    """Serves all of these classes, in both roles."""

    abstract_syntaxes = ALL

    def support(self, abstract_syntax: str, common: CommonExtendedNegotiation | None) -> Support | None:
        found = super().support(abstract_syntax, common)
        return found and Support(found.transfer_syntaxes, True, True)


def serving(**handlers: Callable[[Any], Any]) -> Everything:
    """A service with these functions for handlers; each is given the request."""
    services = Everything()
    for name, handler in handlers.items():
        assert hasattr(services, name), name
        setattr(services, name, handler)
    return services


class Pair:
    """An association between our requestor ME and our acceptor DIMSETLS; keywords are those of `associate`."""

    def __init__(
        self, served: Any, *, invoked: int = 1, performed: int = 1, authorization: Authorization | None = None,
        **keywords: Any,
    ) -> None:  # fmt: skip
        self.stage = Stage(served, maximum_operations_invoked=invoked, maximum_operations_performed=performed,
                           authorization=authorization)  # fmt: skip
        self.link = self.stage.link
        window = None if (invoked, performed) == (1, 1) else AsynchronousOperationsWindow(invoked, performed)
        wishes = {"contexts": [propose(each) for each in ALL], "window": window, "clock": self.link} | keywords
        opening = associate(self.stage.calling, calling_ae_title="ME", called_ae_title="DIMSETLS", **wishes)
        self.link.pump()
        self.association: RequestedAssociation = opening.result

    def start(self, awaitable: Awaitable[Any]) -> Running:
        running = Running(awaitable)
        self.link.pump()
        return running

    def run(self, awaitable: Awaitable[Any]) -> Any:
        """What it returns; what it raises is raised."""
        return self.start(awaitable).result

    def fails(self, awaitable: Awaitable[Any]) -> Any:
        """What it raises."""
        return self.start(awaitable).error

    @property
    def is_quiet(self) -> bool:
        """Whether nothing is left once the association was released."""
        if self.association.ended is None:
            self.run(self.association.release())
        return self.stage.is_quiet


class Running:
    """A coroutine on its way."""

    def __init__(self, awaitable: Awaitable[Any]) -> None:
        self.results: list[Any] = []

        async def outcome() -> None:
            self.results.append(await awaitable)

        self.deferred = Deferred.fromCoroutine(outcome())
        self.failures: list[Any] = []
        self.deferred.addErrback(self.failures.append)

    @property
    def is_over(self) -> bool:
        return bool(self.results or self.failures)

    @property
    def result(self) -> Any:
        if self.failures:
            self.failures[0].raiseException()
        [result] = self.results
        return result

    @property
    def error(self) -> Any:
        assert not self.results, self.results
        [failure] = self.failures
        return failure.value


async def all_of(responses: Any) -> list[Any]:
    return [each async for each in responses]


def dataset(**values: Any) -> Dataset:
    """A Dataset with these attributes."""
    made = Dataset()
    for keyword, value in values.items():
        setattr(made, keyword, value)
    return made
