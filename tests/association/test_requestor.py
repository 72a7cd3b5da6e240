"""The requestor's side: an association opened, used and released, and every way in which that fails."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from twisted.internet.defer import CancelledError, Deferred

from dimsetls.association.events import AssociationEnded
from dimsetls.association.protocol import Timeouts
from dimsetls.association.requestor import RequestedAssociation, associate, association, propose
from dimsetls.codes import CommandField
from dimsetls.dimse.messages import CStoreRQ, Response
from dimsetls.errors import (
    AssociationAborted,
    AssociationError,
    AssociationRejected,
    AssociationReleased,
    IdentityNotVerified,
    LocalProtocolError,
    ProviderAborted,
)
from dimsetls.identity.credentials import AccessToken, Secret, UsernameAndPasscode
from dimsetls.identity.gate import Requirement
from dimsetls.identity.presenting import Presentation, Standing
from dimsetls.testing import DevelopmentAuthority, Link, Peer, tls_endpoints
from dimsetls.uids import (
    BEARER_TOKEN,
    EXPLICIT_VR_LITTLE_ENDIAN,
    IMPLEMENTATION_CLASS_UID,
    IMPLICIT_VR_LITTLE_ENDIAN,
    VERIFICATION,
)
from dimsetls.ul.pdus import (
    Abort,
    AssociateAC,
    AssociateRJ,
    AssociateRQ,
    PresentationContextAC,
    PresentationContextRQ,
    ReleaseRP,
    ReleaseRQ,
    RoleSelection,
    UserIdentityAC,
)

from .stage import CT, INSTANCE, PEER_INFORMATION, Manual, Services, Stage, command, echo, statuses, store

ME = {"calling_ae_title": "ME", "called_ae_title": "PEER"}


def accept(rq: AssociateRQ, **changes: Any) -> AssociateAC:
    """The answer of an acceptor that takes every context as it is proposed first."""
    contexts = tuple(PresentationContextAC(each.context_id, 0, each.transfer_syntaxes[0])
                     for each in rq.presentation_contexts)  # fmt: skip
    return replace(AssociateAC(rq.application_context, contexts, PEER_INFORMATION), **changes)


class Call:
    """An association asked for, with a scripted acceptor at the other end."""

    def __init__(self, *, tls: DevelopmentAuthority | None = None, **keywords: Any) -> None:
        self.link = Link()
        serving, calling = tls_endpoints(self.link, tls) if tls else (self.link, self.link)
        self.peer = Peer.listen(self.link, serving)
        self.results: list[Any] = []
        self.deferred = associate(calling, clock=self.link, **(ME | keywords))
        self.deferred.addBoth(self.results.append)
        self.link.pump()

    @property
    def request(self) -> AssociateRQ:
        rq = self.peer.received[0]
        assert isinstance(rq, AssociateRQ)
        return rq

    def accepted(self, **changes: Any) -> RequestedAssociation:
        self.peer.send(accept(self.request, **changes))
        [association] = self.results
        assert isinstance(association, RequestedAssociation), association
        return association

    @property
    def error(self) -> Exception:
        """Why there is no association."""
        [failure] = self.results
        return failure.value

    @property
    def is_quiet(self) -> bool:
        return not (self.link.ends or self.link.getDelayedCalls())


def run(coroutine: Any) -> list[Any]:
    """Where the result of a coroutine, or its exception, appears."""
    results: list[Any] = []
    Deferred.fromCoroutine(coroutine).addBoth(lambda result: results.append(getattr(result, "value", result)))
    return results


# Asking ------------------------------------------------------------------------------------------------------------


def test_the_request_says_who_asks_for_what():
    roles = (RoleSelection(CT, True, True),)
    call = Call(contexts=[propose(VERIFICATION), propose(CT, IMPLICIT_VR_LITTLE_ENDIAN)], role_selections=roles)
    request = call.request
    assert (request.calling_ae_title, request.called_ae_title, request.protocol_version) == ("ME", "PEER", 1)
    assert request.presentation_contexts == (
        PresentationContextRQ(1, VERIFICATION, (EXPLICIT_VR_LITTLE_ENDIAN, IMPLICIT_VR_LITTLE_ENDIAN)),
        PresentationContextRQ(3, CT, (IMPLICIT_VR_LITTLE_ENDIAN,)),
    )
    assert request.user_information.implementation_class_uid == IMPLEMENTATION_CLASS_UID
    assert request.user_information.role_selections == roles


@pytest.mark.parametrize("number", [0, 129])
def test_there_are_1_to_128_contexts_in_a_request(number):
    with pytest.raises(LocalProtocolError, match=f"{number} contexts to propose"):
        associate(Link(), contexts=[propose(CT)] * number, clock=Link(), **ME)


def test_128_contexts_are_proposed():
    call = Call(contexts=[propose(CT)] * 128)
    assert [each.context_id for each in call.request.presentation_contexts] == list(range(1, 256, 2))


def test_an_accepted_association_has_what_was_agreed(authority):
    call = Call(tls=authority, contexts=[propose(VERIFICATION), propose(CT)])
    contexts = (PresentationContextAC(3, 0, IMPLICIT_VR_LITTLE_ENDIAN), PresentationContextAC(1, 3, ""))
    association = call.accepted(presentation_contexts=contexts)
    assert list(association.contexts) == [3]
    assert association.context(CT).transfer_syntax == IMPLICIT_VR_LITTLE_ENDIAN
    with pytest.raises(LocalProtocolError, match=r"PEER accepted no presentation context for 1\.2\.840\.10008\.1\.1"):
        association.context(VERIFICATION)
    assert association.peer == PEER_INFORMATION
    assert (association.parties.peer, association.parties.called_ae_title) == ("192.0.2.2:2762", "PEER")
    assert association.parties.tls is not None
    assert "development server" in association.parties.certificate


# Using and ending ----------------------------------------------------------------------------------------------------


def test_an_echo_gets_the_status_of_its_answer():
    call = Call()
    results = run(call.accepted().echo())
    call.link.pump()
    call.peer.send(command(Response(CommandField.C_ECHO_RSP, 1, 0).command()))
    assert results == [0]


@pytest.mark.parametrize("over_tls", [False, True])
def test_a_release_waits_for_its_answer_and_closes(authority, over_tls):
    call = Call(tls=authority if over_tls else None)
    association = call.accepted()
    results = run(association.release())
    call.link.pump()
    assert call.peer.received[-1] == ReleaseRQ()
    assert results == []
    call.peer.send(ReleaseRP())
    assert results == [None]
    assert isinstance(association.ended, AssociationReleased)
    call.peer.close()
    assert call.is_quiet


def test_a_release_that_collides_with_the_peers_is_answered_and_completed():
    call = Call()
    results = run(call.accepted().release())
    assert call.peer.send(ReleaseRQ()) == [ReleaseRQ(), ReleaseRP()]
    call.peer.send(ReleaseRP())
    assert results == [None]
    assert call.is_quiet


def test_a_release_without_an_answer_ends_in_time():
    call = Call(timeouts=Timeouts(answer=5.0))
    results = run(call.accepted().release())
    call.link.advance(4.9)
    assert results == []
    call.link.advance(0.1)
    assert [(type(error), error.reason) for error in results] == [(ProviderAborted, 0x436)]
    assert str(results[0]).endswith("(answer-timeout: no A-RELEASE-RP within 5 s)")
    assert call.peer.received[-1] == Abort(0, 0)
    call.peer.close()
    assert call.is_quiet


def test_a_second_release_is_a_mistake_of_the_caller_and_leaves_no_timer():
    call = Call()
    association = call.accepted()
    first, second = run(association.release()), run(association.release())
    call.link.pump()
    call.peer.send(ReleaseRP())
    assert first == [None]
    assert [type(error) for error in second] == [LocalProtocolError]
    late = run(association.release())
    assert [type(error) for error in late] == [LocalProtocolError]
    call.peer.close()
    assert call.is_quiet


def test_the_peer_may_release():
    call = Call()
    association = call.accepted()
    echo = run(association.echo())
    call.link.pump()
    assert call.peer.send(ReleaseRQ()) == [ReleaseRP()]
    assert isinstance(association.ended, AssociationReleased)
    assert [type(error) for error in echo] == [AssociationReleased]
    call.peer.close()
    assert call.is_quiet


def test_as_a_context_manager_it_is_released_at_the_end():
    call = Call()

    async def use(association: RequestedAssociation) -> None:
        async with association as entered:
            assert entered is association

    results = run(use(call.accepted()))
    call.link.pump()
    call.peer.send(ReleaseRP())
    assert results == [None]
    assert call.is_quiet


def test_as_a_context_manager_it_is_aborted_by_an_exception_which_goes_on():
    call = Call()

    async def use(association: RequestedAssociation) -> None:
        async with association:
            raise KeyError("of the caller")

    results = run(use(call.accepted()))
    call.link.pump()
    assert call.peer.received[-1] == Abort(0, 0)
    assert [type(error) for error in results] == [KeyError]


def test_as_a_context_manager_it_does_not_mind_an_association_that_is_over():
    call = Call()

    async def use(association: RequestedAssociation) -> None:
        async with association:
            association.abort()

    assert run(use(call.accepted())) == [None]


# What the peer asks of us --------------------------------------------------------------------------------------------


def test_where_a_role_was_negotiated_we_serve_the_peer():
    services = Services()
    roles = (RoleSelection(CT, True, True),)
    call = Call(contexts=[propose(VERIFICATION), propose(CT)], role_selections=roles, services=services)
    call.accepted(user_information=replace(PEER_INFORMATION, role_selections=roles))
    assert statuses(call.peer.send(store(b"data"))) == [(1, 0)]
    assert services.data == [b"data"]
    assert statuses(call.peer.send(echo(2))) == [(2, 0x0122)]  # no role for verification


def test_without_services_the_peer_is_refused():
    roles = (RoleSelection(CT, True, True),)
    call = Call(contexts=[propose(VERIFICATION), propose(CT)], role_selections=roles)
    call.accepted(user_information=replace(PEER_INFORMATION, role_selections=roles))
    assert statuses(call.peer.send(store(b"data"))) == [(1, 0x0122)]


# What fails --------------------------------------------------------------------------------------------------------


def test_a_rejection_says_all_three_and_closes():
    call = Call()
    call.peer.send(AssociateRJ(2, 3, 2))
    assert isinstance(call.error, AssociationRejected)
    assert (call.error.result, call.error.source, call.error.reason) == (2, 3, 2)
    assert "local limit exceeded" in str(call.error)
    assert call.is_quiet


@pytest.mark.parametrize(("said", "error"), [
    (Abort(0, 0), AssociationAborted), (Abort(2, 1), ProviderAborted), (ReleaseRQ(), ProviderAborted),
    (b"\xff", ProviderAborted), (b"HTTP/1.1 400 Bad Request\r\n\r\n", ProviderAborted),
])  # fmt: skip
def test_whatever_else_the_peer_says_is_no_association(said, error):
    call = Call()
    call.peer.send(said)
    assert type(call.error) is error
    call.peer.close()
    assert call.is_quiet


@pytest.mark.parametrize("contexts", [
    (PresentationContextAC(99, 0, IMPLICIT_VR_LITTLE_ENDIAN),), (PresentationContextAC(1, 0, "1.2.3"),),
])  # fmt: skip
def test_an_answer_to_what_was_never_proposed_is_aborted(contexts):
    call = Call()
    assert call.peer.send(accept(call.request, presentation_contexts=contexts)) == [Abort(0, 0)]
    assert isinstance(call.error, ProviderAborted)
    assert "never proposed" in str(call.error)
    call.peer.close()
    assert call.is_quiet


def test_a_peer_that_does_not_answer_is_aborted_in_time():
    call = Call(timeouts=Timeouts(answer=7.0))
    call.link.advance(6.9)
    assert call.results == []
    call.link.advance(0.1)
    assert (type(call.error), call.error.reason) == (ProviderAborted, 0x436)
    assert str(call.error).endswith("(answer-timeout: no answer to A-ASSOCIATE-RQ within 7 s)")
    assert call.peer.received[-1] == Abort(0, 0)
    call.peer.close()
    assert call.is_quiet


@pytest.mark.parametrize("end", [Peer.cut, Peer.close])
def test_a_connection_lost_before_the_answer(authority, end):
    for tls in (None, authority):
        call = Call(tls=tls)
        end(call.peer)
        assert isinstance(call.error, ProviderAborted)
        assert call.is_quiet


def test_nobody_listens():
    link, results = Link(), []
    associate(link, clock=link, **ME).addErrback(results.append)
    [failure] = results
    assert failure.check(ProviderAborted)
    assert failure.value.reason == 0x101
    assert link.getDelayedCalls() == []


@pytest.mark.parametrize(("server", "reason"), [("no TLS", 0x423), ("another authority", 0x230)])
def test_a_server_that_is_not_what_we_trust(authority, server, reason):
    link, results = Link(), []
    serving, _ = tls_endpoints(link, DevelopmentAuthority())
    Peer.listen(link, serving if server == "another authority" else None)
    if server == "no TLS":
        link.listen(Stage().factory)
    associate(tls_endpoints(link, authority)[1], clock=link, **ME).addErrback(results.append)
    link.pump()
    [failure] = results
    assert failure.check(ProviderAborted)
    assert failure.value.reason == reason


def test_a_server_that_never_finishes_the_handshake(authority):
    link, results = Link(), []
    Peer.listen(link).dataReceived = lambda data: None
    associate(tls_endpoints(link, authority)[1], clock=link, **ME).addErrback(results.append)
    link.advance(10.0)
    [failure] = results
    assert failure.value.reason == 0x431
    assert link.getDelayedCalls() == []


@pytest.mark.parametrize("over_tls", [False, True])
def test_it_may_be_cancelled_while_it_waits_for_the_answer(authority, over_tls):
    call = Call(tls=authority if over_tls else None)
    call.deferred.cancel()
    call.link.pump()
    assert isinstance(call.error, CancelledError)
    assert call.peer.received[-1] == Abort(0, 0)
    call.peer.close()
    assert call.is_quiet


def test_it_may_be_cancelled_in_the_handshake(authority):
    link, results = Link(), []
    Peer.listen(link).dataReceived = lambda data: None
    asked = associate(tls_endpoints(link, authority)[1], clock=link, **ME)
    asked.addErrback(results.append)
    asked.cancel()
    link.pump()
    assert [failure.type for failure in results] == [CancelledError]
    assert link.getDelayedCalls() == []


def test_it_may_be_cancelled_before_there_is_a_connection():
    connecting: list[Deferred[Any]] = []

    class Slow(Link):
        def connect(self, _: object) -> Deferred[Any]:
            connecting.append(Deferred())
            return connecting[0]

    link, results = Slow(), []
    asked = associate(link, clock=link, **ME)
    asked.addErrback(results.append)
    asked.cancel()
    assert [failure.type for failure in results] == [CancelledError]
    assert connecting[0].called
    assert link.getDelayedCalls() == []


def test_an_idle_association_of_ours_expires_too():
    call = Call()
    association = call.accepted()
    call.link.pump([10.0] * 40)
    assert isinstance(association.ended, AssociationError)
    assert call.peer.received[-1] == Abort(0, 0)


def test_after_the_end_nothing_can_be_asked():
    call = Call()
    association = call.accepted()
    call.peer.send(Abort(0, 0))
    with pytest.raises(LocalProtocolError, match="the association is over: the peer aborted"):
        association.request(association.context(VERIFICATION), CStoreRQ(1, CT, INSTANCE), b"")


# As a context manager from the start ---------------------------------------------------------------------------------


def test_an_association_for_the_length_of_a_with_statement():
    stage = Stage()
    echoed = []

    async def use() -> None:
        async with association(stage.link, clock=stage.link, **(ME | {"called_ae_title": "DIMSETLS"})) as opened:
            echoed.append(await opened.echo())

    results = run(use())
    stage.link.pump()
    assert (results, echoed) == ([None], [0])
    assert stage.told(AssociationEnded).outcome == "released"
    assert stage.is_quiet


def test_cancelling_whoever_uses_it_aborts():
    services = Manual()
    stage = Stage(services)

    async def use() -> None:
        async with association(stage.link, clock=stage.link, **(ME | {"called_ae_title": "DIMSETLS"})) as opened:
            await opened.echo()

    using = Deferred.fromCoroutine(use())
    failures: list[Any] = []
    using.addErrback(failures.append)
    stage.link.pump()
    using.cancel()
    stage.link.pump()
    assert failures[0].check(CancelledError)
    services.finish[0].callback(0)
    assert stage.told(AssociationEnded).outcome == "aborted"
    assert stage.is_quiet


def test_what_was_accepted_and_what_not_is_said():
    call = Call(contexts=[propose(VERIFICATION), propose(CT), propose(CT, IMPLICIT_VR_LITTLE_ENDIAN)])
    contexts = (PresentationContextAC(3, 4, ""), PresentationContextAC(1, 0, IMPLICIT_VR_LITTLE_ENDIAN))
    opened = call.accepted(presentation_contexts=contexts)
    assert [(each.context_id, each.abstract_syntax, each.result) for each in opened.answers] == [
        (1, VERIFICATION, 0), (3, CT, 4), (5, CT, None),
    ]  # fmt: skip


def test_a_peer_that_cannot_be_reached_in_time():
    connecting: list[Deferred[Any]] = []

    class Slow(Link):
        def connect(self, _: object) -> Deferred[Any]:
            connecting.append(Deferred())
            return connecting[0]

    link, results = Slow(), []
    associate(link, clock=link, timeouts=Timeouts(connect=5.0), **ME).addErrback(results.append)
    link.advance(4.9)
    assert results == []
    link.advance(0.1)
    [failure] = results
    assert (failure.type, failure.value.reason) == (ProviderAborted, 0x101)
    assert "no connection within 5 s" in str(failure.value)
    assert link.getDelayedCalls() == []


def test_what_does_not_fit_is_said_before_anything_is_connected():
    with pytest.raises(LocalProtocolError, match="17 characters"):
        associate(Link(), clock=Link(), calling_ae_title="A" * 17, called_ae_title="PEER")


# Our identity --------------------------------------------------------------------------------------------------------


PASSCODE = UsernameAndPasscode("alice", Secret(b"wonder"))


def test_an_identity_is_presented_and_what_the_peer_says_of_it_is_known():
    call = Call(identity=Presentation(PASSCODE))
    sent = call.request.user_information.user_identity
    assert sent is not None
    assert (sent.user_identity_type, sent.primary_field, sent.positive_response_requested) == (2, b"alice", True)
    answer = replace(PEER_INFORMATION, user_identity_response=UserIdentityAC())
    assert call.accepted(user_information=answer).standing is Standing.AUTHENTICATED


def test_an_identity_that_is_ignored_is_logged_and_goes_on(logged):
    opened = Call(identity=Presentation(PASSCODE)).accepted()
    assert opened.standing is Standing.IGNORED
    assert [event for event in logged if "gave no answer" in event.get("sentence", "")]


def test_an_identity_that_must_be_verified_and_is_not_ends_in_an_abort():
    call = Call(identity=Presentation(PASSCODE, requirement=Requirement.REQUIRE))
    assert call.peer.send(accept(call.request)) == [Abort(0, 0)]
    assert isinstance(call.error, IdentityNotVerified)
    assert "gave no answer to the passcode identity" in str(call.error)
    call.peer.close()
    assert call.is_quiet


def test_an_access_token_has_its_context():
    call = Call(identity=Presentation(access_token=AccessToken(Secret(b"abc.def"))))
    assert [each.abstract_syntax for each in call.request.presentation_contexts] == [VERIFICATION, BEARER_TOKEN]
    assert call.request.user_information.extended_negotiations
