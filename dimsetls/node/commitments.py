"""Storage commitment of a node's application entities: what is promised, and whom to tell; it outlives a reload."""

from __future__ import annotations

from functools import partial
from typing import Final

from twisted.internet.interfaces import IReactorTime

from ..services.archive import Archive
from ..services.commitment import Commitment, Reports, Transactions, archived
from ..services.commitment.reporting import Opening, Reach
from ..services.filesystem import FileStore
from .commons import Commons
from .config import AE, Config, Storage
from .destinations import Destinations

PROMISES: Final = ".commitments.db"
"""In the directory of the store, where it is hidden from whoever looks for instances."""


class Commitments:
    """The reports of each application entity on each store, and the promises that they keep."""

    def __init__(self, reactor: IReactorTime, commons: Commons) -> None:
        self._reactor = reactor
        self._commons = commons
        self._transactions: dict[Storage, Transactions] = {}
        self._open: set[Storage] = set()
        self._reports: dict[tuple[Storage, str], Reports] = {}
        self._begun: set[Reports] = set()

    def provider(self, ae: AE, section: Storage, store: FileStore, archive: Archive) -> Commitment:
        """The service of an application entity; it serves once all is open."""
        if (section, ae.title) not in self._reports:
            judge = archived(archive, store, accept_unknown=ae.unknown_sop_classes)
            transactions = self._transactions.setdefault(section, Transactions(section.directory / PROMISES))
            self._reports[section, ae.title] = Reports(
                transactions, judge, ae.title, run=archive.run, clock=self._reactor,
                claims=self._commons.claims(transactions.path),
                hand_over=None if self._commons.calls else partial(self._commons.hand_over, ae.title),
            )  # fmt: skip
        return Commitment(self._reports[section, ae.title])

    def open(self, config: Config) -> None:
        """Open what is promised by the application entities of the configuration. Raises ConfigurationError."""
        for section in {ae.storage for ae in _committing(config) if ae.storage is not None} - self._open:
            self._transactions.setdefault(section, Transactions(section.directory / PROMISES)).open()
            self._open.add(section)

    def configure(self, destinations: Destinations) -> None:
        """Report as this configuration says, from now on; what was promised before a start, too."""
        for ae in _committing(destinations.prepared.config):
            if ae.storage is None or (reports := self._reports.get((ae.storage, ae.title))) is None:
                continue
            reports.configure(_reach(destinations, ae.title), ae.commitment_timeout)
            if reports not in self._begun:
                self._begun.add(reports)
                reports.start()

    def report(self, ae_title: str, peer: str) -> None:
        """Call the peer, for another process."""
        for reports in self._begun:
            if reports.ae_title == ae_title:
                reports.call(peer)

    def resume(self) -> None:
        """Look for what another process has left."""
        for reports in self._begun:
            reports.start()

    def stop(self) -> None:
        """Report nothing more."""
        for reports in self._reports.values():
            reports.stop()

    def close(self) -> None:
        """Let go of the files."""
        for transactions in self._transactions.values():
            transactions.close()


def _committing(config: Config) -> list[AE]:
    return [ae for listener in config.listeners for ae in listener.aes if "commitment" in ae.services]


def _reach(destinations: Destinations, calling_ae_title: str) -> Reach:
    def reach(ae_title: str) -> Opening | None:
        remote = destinations.titled(ae_title, calling_ae_title)
        return None if remote is None else partial(destinations.pool.association, remote)

    return reach
