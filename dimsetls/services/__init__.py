"""What happens to a complete message: the service classes of PS3.4, and the class to derive one's own from."""

from typing import TYPE_CHECKING

from ..dimse.status import Status
from ..exports import exports

if TYPE_CHECKING:
    from .archive import Archive
    from .commitment import Commitment, CommitmentUser
    from .filesystem import Duplicates, Durability, FileStore
    from .index import Index
    from .known import storage_sop_classes
    from .layout import Layout
    from .procedure_steps import ProcedureSteps, StepFiles
    from .provider import ServiceProvider, Services
    from .storage import Storage
    from .verification import Verification
    from .worklist import Worklist, WorklistDirectory
else:
    __getattr__ = exports(__name__, {
        "archive": "Archive",
        "commitment": "Commitment CommitmentUser",
        "filesystem": "Duplicates Durability FileStore",
        "index": "Index",
        "known": "storage_sop_classes",
        "layout": "Layout",
        "procedure_steps": "ProcedureSteps StepFiles",
        "provider": "ServiceProvider Services",
        "storage": "Storage",
        "verification": "Verification",
        "worklist": "Worklist WorklistDirectory",
    })

__all__ = [
    "Archive",
    "Commitment",
    "CommitmentUser",
    "Duplicates",
    "Durability",
    "FileStore",
    "Index",
    "Layout",
    "ProcedureSteps",
    "ServiceProvider",
    "Services",
    "Status",
    "StepFiles",
    "Storage",
    "Verification",
    "Worklist",
    "WorklistDirectory",
    "storage_sop_classes",
]
