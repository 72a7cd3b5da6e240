"""What happens to a complete message: the service classes of PS3.4, and the class to derive one's own from."""

from ..dimse.status import Status
from .archive import Archive
from .filesystem import Duplicates, Durability, FileStore
from .index import Index
from .known import storage_sop_classes
from .layout import Layout
from .provider import ServiceProvider, Services
from .storage import Storage
from .verification import Verification

__all__ = [
    "Archive",
    "Duplicates",
    "Durability",
    "FileStore",
    "Index",
    "Layout",
    "ServiceProvider",
    "Services",
    "Status",
    "Storage",
    "Verification",
    "storage_sop_classes",
]
