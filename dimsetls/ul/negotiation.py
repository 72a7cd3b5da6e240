"""What an association agrees on (PS3.8 §7.1.1, PS3.7 D.3): pure functions from an offer to an answer."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

from ..codes import ContextResult
from ..errors import RemoteProtocolError
from ..uids import (
    EXPLICIT_VR_BIG_ENDIAN,
    EXPLICIT_VR_LITTLE_ENDIAN,
    IMPLEMENTATION_CLASS_UID,
    IMPLEMENTATION_VERSION_NAME,
    IMPLICIT_VR_LITTLE_ENDIAN,
)
from .pdus import (
    AssociateAC,
    AssociateRQ,
    AsynchronousOperationsWindow,
    CommonExtendedNegotiation,
    ExtendedNegotiation,
    PresentationContextAC,
    PresentationContextRQ,
    RoleSelection,
    UserInformation,
)
from .writer import LARGEST_PDU_LENGTH

_UNCOMPRESSED = frozenset((IMPLICIT_VR_LITTLE_ENDIAN, EXPLICIT_VR_LITTLE_ENDIAN, EXPLICIT_VR_BIG_ENDIAN))


@dataclass(frozen=True, slots=True)
class AcceptedContext:
    """A presentation context that both sides agreed on, with the roles in force (PS3.7 D.3.3.4)."""

    context_id: int
    abstract_syntax: str
    transfer_syntax: str
    requestor_is_scu: bool = True
    requestor_is_scp: bool = False


@dataclass(frozen=True, slots=True)
class Support:
    """What an acceptor does for one abstract syntax: transfer syntaxes by preference, and the requestor's roles."""

    transfer_syntaxes: tuple[str, ...]
    requestor_may_be_scu: bool = True
    requestor_may_be_scp: bool = False


@dataclass(frozen=True, slots=True)
class Refused:
    """The acceptor refuses an abstract syntax to this requestor, whatever it does for others: result 1."""

    sentence: str
    """Why, for the operator; the requestor learns the result alone."""


@dataclass(frozen=True, slots=True)
class AcceptorPolicy:
    """What an acceptor agrees to.

    `support(abstract_syntax, common)` is None where the abstract syntax is not supported, and `Refused` where it is
    not for this requestor; `common` is the 57H item for it, if one came. `extended(item)` is the information to
    answer, or None for no answer.
    """

    support: Callable[[str, CommonExtendedNegotiation | None], Support | Refused | None]
    extended: Callable[[ExtendedNegotiation], bytes | None] = lambda item: None
    maximum_length: int = LARGEST_PDU_LENGTH
    maximum_operations_invoked: int = 1
    maximum_operations_performed: int = 1


@dataclass(frozen=True, slots=True)
class Agreement:
    """An association as agreed: usable contexts by ID, and how many operations the requestor may have outstanding."""

    contexts: dict[int, AcceptedContext]
    window: AsynchronousOperationsWindow
    peer: UserInformation


def answer_request(request: AssociateRQ, policy: AcceptorPolicy) -> tuple[AssociateAC, Agreement]:
    """The A-ASSOCIATE-AC for a request, and what it agrees on.

    No acceptable context is still an AC, its results say why (PS3.8 Table 9-18).
    """
    offered = request.user_information
    common = {item.sop_class_uid: item for item in offered.common_extended_negotiations}
    supports: dict[str, Support | Refused | None] = {}
    for context in request.presentation_contexts:
        uid = context.abstract_syntax
        if uid not in supports:
            supports[uid] = policy.support(uid, common.get(uid))
    proposed = request.presentation_contexts
    roles = {
        role.sop_class_uid: _answer_role(role, supports.get(role.sop_class_uid)) for role in offered.role_selections
    }
    results = tuple(
        _answer_context(context, supports[context.abstract_syntax], roles.get(context.abstract_syntax))
        for context in proposed
    )
    window = _answer_window(offered.asynchronous_operations_window, policy)
    extended = []
    for item in offered.extended_negotiations:
        information = policy.extended(item)
        if information is not None:
            extended.append(ExtendedNegotiation(item.sop_class_uid, information))
    answer = AssociateAC(
        request.application_context,
        results,
        UserInformation(
            policy.maximum_length,
            IMPLEMENTATION_CLASS_UID,
            IMPLEMENTATION_VERSION_NAME,
            window,
            tuple(role for role in roles.values() if role),
            tuple(extended),
        ),
        echoed=request.echoed,
    )
    contexts = _agreed(proposed, results, roles)
    return answer, Agreement(contexts, window or AsynchronousOperationsWindow(), offered)


def read_answer(request: AssociateRQ, answer: AssociateAC) -> Agreement:
    """What a received A-ASSOCIATE-AC agrees on; results may come in any order and are matched by ID.

    An answer to a context that was not offered, or with a transfer syntax that was not, is the peer's error.
    """
    offered = {context.context_id: context for context in request.presentation_contexts}
    for result in answer.presentation_contexts:
        context = offered.get(result.context_id)
        if context is None:
            raise RemoteProtocolError(f"the answer is about presentation context {result.context_id}, never proposed")
        if result.accepted and result.transfer_syntax not in context.transfer_syntaxes:
            sentence = f"context {result.context_id} was accepted with {result.transfer_syntax}, never proposed"
            raise RemoteProtocolError(sentence)
    user, ours = answer.user_information, request.user_information
    # A role that was not offered is ignored if it comes back (PS3.7 D.3.3.4.2).
    proposed = {role.sop_class_uid: role for role in ours.role_selections}
    roles = {
        mine.sop_class_uid: RoleSelection(
            mine.sop_class_uid, role.scu_role and mine.scu_role, role.scp_role and mine.scp_role
        )
        for role in user.role_selections
        if (mine := proposed.get(role.sop_class_uid))
    }
    window = user.asynchronous_operations_window if ours.asynchronous_operations_window else None
    contexts = _agreed(request.presentation_contexts, answer.presentation_contexts, roles)
    return Agreement(contexts, window or AsynchronousOperationsWindow(), user)


def _answer_context(
    context: PresentationContextRQ, support: Support | Refused | None, role: RoleSelection | None
) -> PresentationContextAC:
    result, transfer_syntax = ContextResult.ABSTRACT_SYNTAX_NOT_SUPPORTED, context.transfer_syntaxes[0]
    if isinstance(support, Refused):
        result = ContextResult.USER_REJECTION  # whatever its transfer syntaxes: more is not the requestor's to know
    elif support:
        common = _transfer_syntax(context.transfer_syntaxes, support, is_receiver=bool(role and not role.scu_role))
        has_role = (role.scu_role or role.scp_role) if role else support.requestor_may_be_scu  # PS3.7 D.3.3.4
        if common is None:
            result = ContextResult.TRANSFER_SYNTAXES_NOT_SUPPORTED
        else:
            result = ContextResult.ACCEPTANCE if has_role else ContextResult.USER_REJECTION
            transfer_syntax = common
    return PresentationContextAC(context.context_id, result, transfer_syntax)


def _transfer_syntax(offered: tuple[str, ...], support: Support, *, is_receiver: bool) -> str | None:
    """The first of ours, unless who is to receive what we send would rather have it compressed.

    That one offers an uncompressed transfer syntax with it, as all do, but what is stored compressed would need a
    decoder to be sent in it.
    """
    first = offered[0]
    if is_receiver and first not in _UNCOMPRESSED and first in support.transfer_syntaxes:
        return first
    among = frozenset(offered)
    return next((uid for uid in support.transfer_syntaxes if uid in among), None)


def _answer_role(role: RoleSelection, support: Support | Refused | None) -> RoleSelection | None:
    if not isinstance(support, Support):
        return None
    scu = role.scu_role and support.requestor_may_be_scu
    return RoleSelection(role.sop_class_uid, scu, role.scp_role and support.requestor_may_be_scp)


def _answer_window(
    offered: AsynchronousOperationsWindow | None, policy: AcceptorPolicy
) -> AsynchronousOperationsWindow | None:
    """Never more than offered, where 0 offers any number; absent in the request, absent in the answer (D.3.3.3)."""
    if offered is None:
        return None
    invoked, performed = policy.maximum_operations_invoked, policy.maximum_operations_performed
    return AsynchronousOperationsWindow(
        min(offered.maximum_number_operations_invoked or invoked, invoked),
        min(offered.maximum_number_operations_performed or performed, performed),
    )


def _agreed(
    proposed: Iterable[PresentationContextRQ],
    results: Iterable[PresentationContextAC],
    roles: dict[str, RoleSelection] | dict[str, RoleSelection | None],
) -> dict[int, AcceptedContext]:
    abstract = {context.context_id: context.abstract_syntax for context in proposed}
    contexts = {}
    for result in results:
        if result.accepted:
            uid = abstract[result.context_id]
            role = roles.get(uid)
            scu, scp = (role.scu_role, role.scp_role) if role else (True, False)
            contexts[result.context_id] = AcceptedContext(result.context_id, uid, result.transfer_syntax, scu, scp)
    return contexts
