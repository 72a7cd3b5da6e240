"""A node that commits, in memory: an archive with instances, its promises, and the peers that it calls."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from twisted.internet.defer import Deferred, execute
from twisted.internet.task import Clock

from dimsetls.association.back_off import BackOff
from dimsetls.association.requestor import association, propose
from dimsetls.services.archive import Archive
from dimsetls.services.commitment import Commitment, CommitmentUser, Reference, Reports, Transactions, archived
from dimsetls.services.filesystem import FileStore
from dimsetls.services.provider import ServiceProvider
from dimsetls.uids import STORAGE_COMMITMENT

from ...association.pair import Pair
from ...association.stage import CT, Stage
from ..archives import an_archive, body, keep

KEPT = [Reference(CT, f"1.1.1.{number}") for number in (1, 2, 3)]
UNKNOWN = Reference(CT, "9.9.9")


class InThisThread(Archive):
    """Does its work where it is asked, for these associations have no reactor."""

    def run(self, call: Any) -> Deferred[Any]:
        return execute(call)


class Scene:
    """The node DIMSETLS with three instances. `there` is where it calls to report, `called` whom it called."""

    def __init__(self, directory: Path, **options: Any) -> None:
        self.store: FileStore = an_archive(directory / "archive")
        for number in (1, 2, 3):
            keep(self.store, f"1.1.1.{number}", body("1.1", number=number))
        self.path = directory / "promises.db"
        self.transactions = Transactions(self.path)
        self.transactions.open()
        self.clock = Clock()
        self.now = 1_000_000.0
        self.there: Stage | None = None
        self.called: list[str] = []
        self.reports = self.made(**options)

    def made(self, **options: Any) -> Reports:
        """What reports: as after a start of the process."""
        assert self.store.index is not None
        archive = InThisThread(self.store.index, "DIMSETLS", Clock())
        wishes = {"reach": self.reach, "back_off": BackOff(10.0, 100.0)} | options
        wishes.setdefault("judge", archived(archive, self.store))
        return Reports(self.transactions, wishes.pop("judge"), "DIMSETLS", run=archive.run, clock=self.clock,
                       now=lambda: self.now + self.clock.seconds(), **wishes)

    def reach(self, peer: str) -> Any:
        self.called.append(peer)
        if (there := self.there) is None:
            return None

        def opening(contexts: Any, *, role_selections: Any) -> Any:
            return association(there.calling, calling_ae_title="DIMSETLS", called_ae_title="DIMSETLS",
                               contexts=contexts, role_selections=role_selections, clock=there.link)

        return opening

    def pass_time(self, pair: Pair | None = None, seconds: float = 0.0) -> None:
        """Let the node do what it has to, and all links carry it."""
        self.clock.advance(seconds)
        for _ in range(6):
            for link in (pair and pair.link, self.there and self.there.link):
                if link:
                    link.pump()

    def asked(self, user: CommitmentUser | None = None) -> Pair:
        """An association on which peer ME may ask."""
        return Pair(Commitment(self.reports), contexts=[propose(STORAGE_COMMITMENT)], services=user)

    @property
    def pending(self) -> list[str]:
        return [promise.transaction_uid for promise in self.transactions.pending("DIMSETLS")]

    def close(self) -> None:
        self.reports.stop()
        self.transactions.close()
        self.store.close()


class Hearing(CommitmentUser):
    """Takes every report, awaited or not; `status` is what it answers."""

    def __init__(self, status: Callable[[], int] = lambda: 0) -> None:
        super().__init__(Clock())
        self.heard: list[Any] = []
        self._status = status

    async def reported(self, report: Any, request: Any) -> int:
        self.heard.append((report, request.event_type_id))
        return self._status()


class Nothing(ServiceProvider):
    """Answers C-ECHO alone."""
