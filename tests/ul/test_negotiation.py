"""What an acceptor answers to each context, role and window."""

from __future__ import annotations

from dataclasses import replace

import pytest

from dimsetls.codes import ContextResult
from dimsetls.errors import RemoteProtocolError
from dimsetls.ul.negotiation import (
    AcceptedContext,
    AcceptorPolicy,
    Agreement,
    Refused,
    Support,
    answer_request,
    read_answer,
)
from dimsetls.ul.pdus import (
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

from .wire import APPLICATION_CONTEXT, CT, ENHANCED_CT, EXPLICIT, IMPLICIT, STORAGE, VERIFICATION

JPEG, RLE = "1.2.840.10008.1.2.4.50", "1.2.840.10008.1.2.5"
NO = Refused("not for this requestor")
Supports = dict[str, Support | Refused | None]


def propose(*contexts: tuple[str, tuple[str, ...]], **offered: object) -> AssociateRQ:
    """A request with these (abstract syntax, transfer syntaxes), numbered 1, 3, 5 …"""
    proposed = tuple(PresentationContextRQ(2 * n + 1, uid, syntaxes) for n, (uid, syntaxes) in enumerate(contexts))
    information = replace(UserInformation(16384, "1.2.3"), **offered)  # type: ignore[arg-type]
    return AssociateRQ("DIMSETLS", "MODALITY", APPLICATION_CONTEXT, proposed, information)


def answer(request: AssociateRQ, supports: Supports) -> tuple[AssociateAC, Agreement]:
    return answer_request(request, AcceptorPolicy(lambda uid, common: supports.get(uid)))


@pytest.mark.parametrize(("support", "offered", "result", "transfer_syntax"), [
    (Support((EXPLICIT, IMPLICIT)), (IMPLICIT, EXPLICIT), ContextResult.ACCEPTANCE, EXPLICIT),
    (Support((EXPLICIT, IMPLICIT)), (IMPLICIT,), ContextResult.ACCEPTANCE, IMPLICIT),
    (Support((EXPLICIT,)), (IMPLICIT,), ContextResult.TRANSFER_SYNTAXES_NOT_SUPPORTED, IMPLICIT),
    (None, (IMPLICIT,), ContextResult.ABSTRACT_SYNTAX_NOT_SUPPORTED, IMPLICIT),
    (NO, (IMPLICIT, EXPLICIT), ContextResult.USER_REJECTION, IMPLICIT),
    (NO, ("1.2.3.4.5",), ContextResult.USER_REJECTION, "1.2.3.4.5"),
])  # fmt: skip
def test_each_context_has_a_result_of_table_9_18(
    support: Support | Refused | None, offered: tuple[str, ...], result: ContextResult, transfer_syntax: str
) -> None:
    ac, agreement = answer(propose((CT, offered)), {CT: support})
    assert ac.presentation_contexts == (PresentationContextAC(1, result, transfer_syntax),)
    accepted = {1: AcceptedContext(1, CT, transfer_syntax)}
    assert agreement.contexts == (accepted if result is ContextResult.ACCEPTANCE else {})


def test_a_refused_abstract_syntax_is_refused_in_each_of_its_contexts_and_in_no_other() -> None:
    request = propose((CT, (IMPLICIT,)), (VERIFICATION, (IMPLICIT,)), (CT, (EXPLICIT,)), (ENHANCED_CT, (IMPLICIT,)))
    ac, agreement = answer(request, {CT: NO, VERIFICATION: Support((IMPLICIT,))})
    assert [context.result for context in ac.presentation_contexts] == [1, 0, 1, 3]
    assert list(agreement.contexts) == [3]


@pytest.mark.parametrize(("support", "offered", "answered"), [
    (Support((IMPLICIT,)), (True, True), (True, False)),
    (Support((IMPLICIT,), requestor_may_be_scp=True), (True, True), (True, True)),
    (Support((IMPLICIT,), requestor_may_be_scp=True), (True, False), (True, False)),
    (Support((IMPLICIT,), requestor_may_be_scu=False, requestor_may_be_scp=True), (True, True), (False, True)),
])  # fmt: skip
def test_a_role_is_granted_where_it_is_offered_and_supported(
    support: Support, offered: tuple[bool, bool], answered: tuple[bool, bool]
) -> None:
    request = propose((CT, (IMPLICIT,)), role_selections=(RoleSelection(CT, *offered),))
    ac, agreement = answer(request, {CT: support})
    assert ac.user_information.role_selections == (RoleSelection(CT, *answered),)
    assert agreement.contexts[1] == AcceptedContext(1, CT, IMPLICIT, *answered)
    assert read_answer(request, ac).contexts == agreement.contexts


def test_without_role_selection_the_requestor_is_scu_and_none_is_answered() -> None:
    ac, agreement = answer(propose((CT, (IMPLICIT,))), {CT: Support((IMPLICIT,), requestor_may_be_scp=True)})
    assert ac.user_information.role_selections == ()
    assert (agreement.contexts[1].requestor_is_scu, agreement.contexts[1].requestor_is_scp) == (True, False)


@pytest.mark.parametrize(("offered", "result", "contexts"), [
    (None, ContextResult.USER_REJECTION, {}),
    ((True, False), ContextResult.USER_REJECTION, {}),
    ((False, False), ContextResult.USER_REJECTION, {}),
    ((False, True), ContextResult.ACCEPTANCE, {1: AcceptedContext(1, CT, IMPLICIT, False, True)}),
    ((True, True), ContextResult.ACCEPTANCE, {1: AcceptedContext(1, CT, IMPLICIT, False, True)}),
])  # fmt: skip
def test_a_context_that_leaves_the_requestor_no_role_is_rejected(
    offered: tuple[bool, bool] | None, result: ContextResult, contexts: dict[int, AcceptedContext]
) -> None:
    roles = (RoleSelection(CT, *offered),) if offered else ()
    request = propose((CT, (IMPLICIT,)), role_selections=roles)
    ac, agreement = answer(request, {CT: Support((IMPLICIT,), requestor_may_be_scu=False, requestor_may_be_scp=True)})
    assert ac.presentation_contexts == (PresentationContextAC(1, result, IMPLICIT),)
    assert agreement.contexts == contexts


@pytest.mark.parametrize(("offered", "role", "accepted"), [
    ((JPEG, EXPLICIT, IMPLICIT), (False, True), JPEG),  # as getscu does, who is asked for JPEG
    ((IMPLICIT, EXPLICIT, JPEG), (False, True), EXPLICIT),
    ((RLE, EXPLICIT, JPEG), (False, True), EXPLICIT),
    ((JPEG, EXPLICIT, IMPLICIT), (True, True), EXPLICIT),
    ((JPEG, EXPLICIT, IMPLICIT), None, EXPLICIT),
])  # fmt: skip
def test_who_receives_and_asks_for_a_compressed_transfer_syntax_first_gets_it(
    offered: tuple[str, ...], role: tuple[bool, bool] | None, accepted: str
) -> None:
    roles = (RoleSelection(CT, *role),) if role else ()
    support = Support((EXPLICIT, IMPLICIT, JPEG), requestor_may_be_scp=True)
    ac, _ = answer(propose((CT, offered), role_selections=roles), {CT: support})
    assert ac.presentation_contexts == (PresentationContextAC(1, ContextResult.ACCEPTANCE, accepted),)


@pytest.mark.parametrize("support", [None, NO], ids=["unknown", "refused"])
def test_no_role_is_answered_for_what_is_not_accepted(support: Refused | None) -> None:
    roles = (RoleSelection(CT, True, True), RoleSelection("1.2.3", True, True))
    ac, agreement = answer(propose((CT, (IMPLICIT,)), role_selections=roles), {CT: support})
    assert ac.user_information.role_selections == ()
    assert agreement.contexts == {}


def test_the_policy_is_asked_once_for_each_abstract_syntax_with_its_common_extended_negotiation() -> None:
    asked = []
    item = CommonExtendedNegotiation(ENHANCED_CT, STORAGE, (CT,))

    def support(uid: str, common: CommonExtendedNegotiation | None) -> Support | None:
        asked.append((uid, common))
        return None

    request = propose(
        (CT, (IMPLICIT,)), (ENHANCED_CT, (IMPLICIT,)), (CT, (EXPLICIT,)), common_extended_negotiations=(item,)
    )
    answer_request(request, AcceptorPolicy(support))
    assert asked == [(CT, None), (ENHANCED_CT, item)]


def test_extended_negotiation_is_answered_item_by_item() -> None:
    items = (ExtendedNegotiation(CT, b"\2\0"), ExtendedNegotiation(ENHANCED_CT, b"\1"))

    def extended(item: ExtendedNegotiation) -> bytes | None:
        return b"\0" if item.sop_class_uid == CT else None

    request = propose((CT, (IMPLICIT,)), extended_negotiations=items)
    ac, _ = answer_request(request, AcceptorPolicy(lambda uid, common: None, extended))
    assert ac.user_information.extended_negotiations == (ExtendedNegotiation(CT, b"\0"),)


@pytest.mark.parametrize(("offered", "ours", "agreed"), [
    (None, (8, 8), None), ((3, 3), (8, 8), (3, 3)), ((9, 9), (8, 4), (8, 4)), ((0, 0), (8, 4), (8, 4)),
])  # fmt: skip
def test_the_window_is_never_wider_than_offered(
    offered: tuple[int, int] | None, ours: tuple[int, int], agreed: tuple[int, int] | None
) -> None:
    window = AsynchronousOperationsWindow(*offered) if offered else None
    request = propose((CT, (IMPLICIT,)), asynchronous_operations_window=window)
    policy = AcceptorPolicy(lambda uid, common: None, maximum_operations_invoked=ours[0],
                            maximum_operations_performed=ours[1])  # fmt: skip
    ac, agreement = answer_request(request, policy)
    expected = AsynchronousOperationsWindow(*agreed) if agreed else None
    assert ac.user_information.asynchronous_operations_window == expected
    assert agreement.window == (expected or AsynchronousOperationsWindow(1, 1))


@pytest.mark.parametrize(("context", "told"), [
    (PresentationContextAC(5, 0, IMPLICIT), "context 5, never proposed"),
    (PresentationContextAC(1, 0, EXPLICIT), f"{EXPLICIT}, never proposed"),
])  # fmt: skip
def test_an_answer_to_what_was_not_proposed_is_the_peers_error(context: PresentationContextAC, told: str) -> None:
    request = propose((CT, (IMPLICIT,)))
    ac, _ = answer(request, {CT: Support((IMPLICIT,))})
    with pytest.raises(RemoteProtocolError, match=told):
        read_answer(request, replace(ac, presentation_contexts=(context,)))


def test_results_are_matched_by_id_and_roles_that_were_not_offered_are_ignored() -> None:
    request = propose((CT, (IMPLICIT,)), (ENHANCED_CT, (IMPLICIT,)), role_selections=(RoleSelection(CT, True, False),))
    ac, _ = answer(request, {CT: Support((IMPLICIT,)), ENHANCED_CT: NO})
    roles = (RoleSelection(CT, True, True), RoleSelection(ENHANCED_CT, False, True))
    ac = replace(ac, presentation_contexts=ac.presentation_contexts[::-1],
                 user_information=replace(ac.user_information, role_selections=roles))  # fmt: skip
    assert read_answer(request, ac).contexts == {1: AcceptedContext(1, CT, IMPLICIT, True, False)}
