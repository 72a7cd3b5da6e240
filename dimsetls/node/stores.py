"""What [storage] sections become: stores, and their indexes."""

from __future__ import annotations

from typing import Final

from ..services.filesystem import Durability, FileStore
from ..services.index import Index
from .config import Storage

INDEX: Final = ".index.db"
"""In the directory of the store, where it is hidden from whoever looks for instances."""


def store_of(section: Storage) -> FileStore:
    """The store, not opened; with an index if the section says so."""
    return FileStore(
        section.directory,
        layout=section.layout,
        duplicates=section.duplicates,
        fsync=section.fsync,
        index=index_of(section) if section.index else None,
    )


def index_of(section: Storage) -> Index:
    """The index of the store, not opened."""
    return Index(section.directory / INDEX, durable=section.fsync is Durability.FULL)
