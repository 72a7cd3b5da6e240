"""What [storage] sections become: stores, their indexes, and the rules by which they forward."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from ..association.back_off import BackOff
from ..services.filesystem import FileStore
from ..services.forwarding.rules import Rule
from ..services.promises import Durability
from .config import Storage

if TYPE_CHECKING:
    from ..services.index import Index

INDEX: Final = ".index.db"
"""In the directory of the store, where it is hidden from whoever looks for instances."""


def store_of(section: Storage, *, in_turn: bool = False) -> FileStore:
    """The store, not opened; with an index if the section says so, which then has the queue of what is forwarded.

    `in_turn`: several processes write to it all the time.
    """
    store = FileStore(
        section.directory,
        layout=section.layout,
        duplicates=section.duplicates,
        fsync=section.fsync,
        index=index_of(section, in_turn=in_turn) if section.index else None,
    )
    if store.queue is not None:
        store.queue.rules = rules_of(section)
    return store


def index_of(section: Storage, *, in_turn: bool = False) -> Index:
    """The index of the store, not opened."""
    from ..services.index import Index  # SQLite and pydicom: who has no index does not load them

    return Index(section.directory / INDEX, durable=section.fsync is Durability.FULL, in_turn=in_turn)


def rules_of(section: Storage) -> tuple[Rule, ...]:
    """The rules of its [forward] sections, in their order."""
    return tuple(
        Rule(
            forward.name,
            tuple(peer.name for peer in forward.peers),
            forward.calling_ae_titles,
            forward.called_ae_titles,
            forward.modalities,
            forward.sop_classes,
            forward.ae_title,
            forward.convert,
            forward.attempts,
            BackOff(forward.first_delay, forward.longest_delay),
            forward.give_up_after,
        )
        for forward in section.forward or ()
    )
