"""Who is let in: the checks of an A-ASSOCIATE-RQ before anything is agreed on, cheapest first."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ..codes import RejectResult, RejectSource
from ..identity.authorization import Authorization, Permission
from ..identity.credentials import Method
from ..identity.gate import Gate
from ..tls.session import PeerCertificate
from ..uids import APPLICATION_CONTEXT, BEARER_TOKEN, EXPLICIT_VR_LITTLE_ENDIAN, IMPLICIT_VR_LITTLE_ENDIAN
from ..ul.negotiation import Refused, Support
from ..ul.pdus import AssociateRQ, CommonExtendedNegotiation, RoleSelection
from ..ul.writer import LARGEST_PDU_LENGTH

if TYPE_CHECKING:
    from .interfaces import IServiceProvider

REJECT = {
    "no reason": (RejectResult.REJECTED_PERMANENT, RejectSource.SERVICE_USER, 1),
    "application context": (RejectResult.REJECTED_PERMANENT, RejectSource.SERVICE_USER, 2),
    "calling AE title": (RejectResult.REJECTED_PERMANENT, RejectSource.SERVICE_USER, 3),
    "called AE title": (RejectResult.REJECTED_PERMANENT, RejectSource.SERVICE_USER, 7),
    "user identity": (RejectResult.REJECTED_PERMANENT, RejectSource.SERVICE_PROVIDER_ACSE, 1),
    "temporary congestion": (RejectResult.REJECTED_TRANSIENT, RejectSource.SERVICE_PROVIDER_PRESENTATION, 1),
    "local limit exceeded": (RejectResult.REJECTED_TRANSIENT, RejectSource.SERVICE_PROVIDER_PRESENTATION, 2),
}
"""What is wrong with a request to the (result, source, reason) of its A-ASSOCIATE-RJ (PS3.8 Table 9-21)."""


@dataclass(frozen=True, slots=True)
class Caller:
    """Who asks: the calling AE title is claimed, the address and the verified certificate are known."""

    calling_ae_title: str
    address: str
    certificate: PeerCertificate | None


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why a caller is not admitted. An alert is a certificate that claims an AE title of another's."""

    sentence: str
    is_security_alert: bool = False


Admits = Callable[[Caller], Refusal | None]


def admit_anyone(caller: Caller) -> Refusal | None:
    """For an application entity without a list of peers."""
    return None


@dataclass(frozen=True, slots=True)
class ApplicationEntity:
    """One AE of ours: its title, what it does, and whom it admits.

    `admits(caller)` says why a peer may not call (calling AE title not recognized), or None if it may. `gate`
    checks user identities; without one they are ignored, as PS3.7 D.3.3.7 has it for an acceptor that checks none.
    `authorization` says who may do what; without one whoever is admitted may do everything.
    """

    ae_title: str
    services: IServiceProvider
    admits: Admits = admit_anyone
    maximum_length: int = LARGEST_PDU_LENGTH
    maximum_operations_invoked: int = 1
    gate: Gate | None = None
    authorization: Authorization | None = None
    maximum_operations_performed: int = 1
    """Operations that the requestor may be asked to perform at once: of the C-STOREs of a C-GET, for example."""


@dataclass(frozen=True, slots=True)
class Rejection:
    """An A-ASSOCIATE-RJ to be sent, by its key in `REJECT`, and the sentence for the operator."""

    what: str
    sentence: str
    is_security_alert: bool = False


def judge(
    request: AssociateRQ, caller: Caller, entities: Mapping[str, ApplicationEntity]
) -> ApplicationEntity | Rejection:
    """The AE that takes the request, or why none does. Limits come after, and what costs something after those."""
    if request.application_context != APPLICATION_CONTEXT:
        sentence = f"application context {request.application_context} came, {APPLICATION_CONTEXT} is expected"
        return Rejection("application context", sentence)
    entity = entities.get(request.called_ae_title)
    if entity is None:
        ours = ", ".join(entities)
        return Rejection("called AE title", f"{request.called_ae_title!r} was called; AE titles here are {ours}")
    if not is_ae_title(caller.calling_ae_title):
        return Rejection("calling AE title", f"{caller.calling_ae_title!r} is not an AE title (PS3.5 §6.2)")
    if refusal := entity.admits(caller):
        return Rejection("calling AE title", refusal.sentence, refusal.is_security_alert)
    length = request.user_information.maximum_length
    if 0 < length < 8:
        return Rejection("no reason", f"the peer takes P-DATA of {length} bytes, which leaves no room for data")
    return entity


class Offer:
    """What one caller may have of what an AE supports; `note` says what is refused, for the log."""

    def __init__(self, entity: ApplicationEntity, permission: Permission, roles: Iterable[RoleSelection]) -> None:
        self._entity = entity
        self._permission = permission
        self._roles = {role.sop_class_uid: role for role in roles}
        self._refused: dict[str, str] = {}

    def support(self, abstract_syntax: str, common: CommonExtendedNegotiation | None) -> Support | Refused | None:
        """What is supported for the abstract syntax, as negotiation asks for it."""
        gate = self._entity.gate
        if abstract_syntax == BEARER_TOKEN and gate is not None and Method.BEARER in gate.policy.back_ends:
            return Support((IMPLICIT_VR_LITTLE_ENDIAN, EXPLICIT_VR_LITTLE_ENDIAN))  # it has no operations
        supported = self._entity.services.support(abstract_syntax, common)
        left = self._permission.restrict(supported, abstract_syntax, self._roles.get(abstract_syntax))
        if isinstance(left, Refused):
            self._refused[abstract_syntax] = left.sentence
        return left

    @property
    def note(self) -> str:
        if not self._refused:
            return ""
        first = next(iter(self._refused.values()))
        return f"{len(self._refused)} SOP classes are refused: {first}" if len(self._refused) > 1 else first


def is_ae_title(title: str) -> bool:
    """Whether this is an AE title: 1 to 16 characters of ISO 646 without backslash and control (PS3.5 §6.2)."""
    return 1 <= len(title) <= 16 and title.isascii() and title.isprintable() and "\\" not in title
