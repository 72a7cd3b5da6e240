"""What becomes of an instance by how its C-STORE ended."""

from __future__ import annotations

from enum import Enum

from ...dimse.status import Status
from ...errors import InstanceError, OperationFailed


class Verdict(Enum):
    """What is to be done with one instance."""

    SENT = "sent"
    LATER = "later"      # try again: nobody answered, or it cannot be read just now
    REFUSED = "refused"  # try again, but not for ever: the peer answered a failure that may pass
    BUSY = "busy"        # try again, and leave the peer alone meanwhile: it has no room
    DEAD = "dead"        # another try would end the same way


_LASTING = frozenset((
    Status.DUPLICATE_SOP_INSTANCE, Status.INVALID_SOP_INSTANCE, Status.NO_SUCH_SOP_CLASS,
    Status.CLASS_INSTANCE_CONFLICT, Status.SOP_CLASS_NOT_SUPPORTED, Status.UNRECOGNIZED_OPERATION,
    Status.MISTYPED_ARGUMENT,
))  # fmt: skip


def judge(error: Exception | None) -> Verdict:
    """The verdict on a C-STORE; no error: the peer answered Success or a warning."""
    match error:
        case None:
            return Verdict.SENT
        case OperationFailed(status=status):
            return _judge_status(status)
        case InstanceError() | FileNotFoundError():  # no context for it, damaged, changed, or gone
            return Verdict.DEAD
        case _:
            return Verdict.LATER


def _judge_status(status: int) -> Verdict:
    """The verdict on a failure (PS3.4 Table B.2-1, PS3.7 Annex C)."""
    if status >> 8 == Status.OUT_OF_RESOURCES >> 8 or status == Status.RESOURCE_LIMITATION:
        return Verdict.BUSY
    if status >> 8 == Status.DATA_SET_DOES_NOT_MATCH_SOP_CLASS >> 8 or status in _LASTING:
        return Verdict.DEAD
    return Verdict.REFUSED
