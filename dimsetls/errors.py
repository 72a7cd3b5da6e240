"""The exceptions of dimsetls. The first sentence of each docstring is what it means to its reader.

::

    DimsetlsError
    ├── ConfigurationError          an operator's mistake: bad option, key, certificate, policy
    ├── LocalProtocolError          an embedder's mistake: a call the state does not permit
    ├── RemoteProtocolError         the peer broke PS3.8 or PS3.7; carries its wire reason
    │   └── ElementError            an element of a command set; says what to answer        (dimse/messages.py)
    │       ├── MissingElement      it is not there, and has to be
    │       └── InvalidElement      its value is none that it can have
    ├── AssociationError
    │   ├── AssociationRejected     the peer answered A-ASSOCIATE-RJ
    │   ├── AssociationAborted      A-ABORT from the peer's user
    │   ├── ProviderAborted         A-P-ABORT: protocol, transport or TLS ended the association
    │   ├── IdentityNotVerified     the peer accepted without verifying our identity, as we demand
    │   ├── AssociationPostponed    the peer failed a moment ago and is left alone for a while
    │   └── AssociationReleased     the association ended in order, before the operation did
    │       └── AssociationRetired  its keys have protected enough; open a new one
    ├── IdentityError               a user identity is not accepted
    │   ├── IdentityDenied          it is wrong, expired, revoked, replayed or malformed
    │   │   └── IdentityUnknown     this back end knows no such user or issuer; another one may
    │   └── IdentityUnavailable     nobody can tell: a back end is down, late or flooded
    ├── InstanceError               an instance cannot be sent, and nothing of it was
    ├── OperationFailed             the peer answered an operation of ours with a failure
    ├── ServiceError                a status that is to be answered instead of Success
    │   └── IdentifierError         the identifier of a query breaks a rule of its model    (services/matching.py)
    ├── DataSetTooLong              a data set has more bytes than who reads it takes       (association/stream.py)
    └── NoAssociation               a command calls a peer, and there is none               (node/client/running.py)
"""

from __future__ import annotations

from .codes import REJECT_REASONS, ProviderReason, RejectResult


class DimsetlsError(Exception):
    """Base of everything dimsetls raises on purpose."""


class ConfigurationError(DimsetlsError):
    """The configuration cannot be used; the message says what was found and what is expected.

    `problems` holds one sentence each; all of one run are reported together.
    """

    def __init__(self, *problems: str) -> None:
        super().__init__("\n".join(problems))
        self.problems = problems


class LocalProtocolError(DimsetlsError):
    """The call is not permitted in the present state of the association (empty cell of PS3.8 Table 9-10)."""


class RemoteProtocolError(DimsetlsError):
    """The peer sent something that PS3.8 or PS3.7 does not allow.

    `reason` is the provider reason that the A-ABORT carries (PS3.8 Table 9-26), fixed by the line that raises.
    """

    def __init__(self, sentence: str, reason: ProviderReason = ProviderReason.INVALID_PDU_PARAMETER_VALUE) -> None:
        super().__init__(sentence)
        self.reason = reason


class AssociationError(DimsetlsError):
    """The association does not exist, or no longer does."""


class AssociationRejected(AssociationError):
    """The peer rejected the association (A-ASSOCIATE-RJ, PS3.8 Table 9-21)."""

    def __init__(self, result: int, source: int, reason: int) -> None:
        self.result, self.source, self.reason = result, source, reason
        kinds = {int(RejectResult.REJECTED_PERMANENT): "permanent", int(RejectResult.REJECTED_TRANSIENT): "transient"}
        super().__init__(
            f"the peer rejected the association ({kinds.get(result, 'reserved result')}): "
            f"{REJECT_REASONS.get((source, reason), 'reserved reason')} "
            f"(result {result}, source {source}, reason {reason})"
        )


class AssociationAborted(AssociationError):
    """The peer's user aborted the association (A-ABORT, source service-user)."""


class ProviderAborted(AssociationError):
    """The association was ended by a provider (A-P-ABORT): protocol error, lost transport or failed TLS.

    `reason` is a value of PS3.8 Table 9-26 or, from 0x100 up, a local one of :mod:`dimsetls.tls.faults`;
    `detail` is one sentence for the operator.
    """

    def __init__(self, reason: int, detail: str) -> None:
        super().__init__(detail)
        self.reason = reason
        self.detail = detail


class IdentityNotVerified(AssociationError):
    """The peer accepted the association and did not verify our user identity, which was required; it was aborted."""


class AssociationPostponed(AssociationError):
    """The peer failed a moment ago and is left alone for now; the message says how long, and why it failed.

    `seconds` is how long.
    """

    def __init__(self, sentence: str, seconds: float) -> None:
        super().__init__(sentence)
        self.seconds = seconds


class AssociationReleased(AssociationError):
    """The association was released before the operation was complete."""


class AssociationRetired(AssociationReleased):
    """The association takes no further request, as its keys have protected enough (RFC 9325 §4.4): open a new one.

    `reason` is that of the condition `key-usage-limit` in :mod:`dimsetls.tls.conditions`.
    """

    def __init__(self, reason: int, detail: str) -> None:
        super().__init__(detail)
        self.reason = reason


class IdentityError(DimsetlsError):
    """The user identity is not accepted; the message is for the operator and never goes to the peer.

    It names the back end and the cause, and no secret.
    """


class IdentityDenied(IdentityError):
    """The identity was checked and refused: A-ASSOCIATE-RJ (1,2,1), nothing finer (PS3.7 D.3.3.7.3).

    `is_security_alert` marks what only an attack or a serious mistake explains.
    """

    def __init__(self, sentence: str, *, is_security_alert: bool = False) -> None:
        super().__init__(sentence)
        self.is_security_alert = is_security_alert


class IdentityUnknown(IdentityDenied):
    """This back end knows no such user, issuer or realm; the next one in order is asked."""


class IdentityUnavailable(IdentityError):
    """Nobody can tell whether the identity is good: A-ASSOCIATE-RJ (2,3,1), the peer may try again."""


class InstanceError(DimsetlsError):
    """The instance cannot be sent: it is no DICOM file, or the peer accepted no presentation context for it.

    Nothing of it went out, and the association goes on.
    """


class OperationFailed(DimsetlsError):
    """The peer answered an operation with a failure; the association goes on.

    `status` is what it answered and `comment` its Error Comment; `response` is the whole message.
    """

    def __init__(self, sentence: str, status: int, comment: str, response: object) -> None:
        super().__init__(sentence)
        self.status = status
        self.comment = comment
        self.response = response


class ServiceError(DimsetlsError):
    """Raised by a handler: answer `status` (PS3.7 Annex C, PS3.4) and, in Error Comment, `comment`.

    The comment goes to the peer, cut to 64 characters: no patient data, no secrets. `offending_elements` are the
    tags of what was wrong, `error_id` is a number of one's own for it (PS3.7 Annex C.4.3).
    """

    def __init__(
        self, status: int, comment: str = "", offending_elements: tuple[int, ...] = (), error_id: int | None = None
    ) -> None:
        super().__init__(comment or f"status {status:04X}H")
        self.status = status
        self.comment = comment
        self.offending_elements = offending_elements
        self.error_id = error_id
