"""Storage Commitment, Push Model (PS3.4 Annex J): a peer asks whether instances are kept, and is told once it is known.

What is promised is written down before it is answered, so that every request is reported on, also after a crash.
"""

from .holdings import Judge, archived
from .provider import Commitment
from .references import Reference, Report
from .reporting import Claims, Reach, Reports
from .transactions import Transactions
from .user import CommitmentUser

__all__ = [
    "Claims",
    "Commitment",
    "CommitmentUser",
    "Judge",
    "Reach",
    "Reference",
    "Report",
    "Reports",
    "Transactions",
    "archived",
]
