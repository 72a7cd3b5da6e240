"""Who the user is: when it is asked, what is answered meanwhile and afterwards, and what is left of a credential."""

from __future__ import annotations

from dataclasses import replace

import pytest
from twisted.internet.defer import Deferred
from zope.interface import implementer

from dimsetls.association.admission import Refusal
from dimsetls.association.events import AssociationEnded, AssociationRefused, AssociationStarted
from dimsetls.association.limits import Limits
from dimsetls.errors import IdentityDenied, IdentityUnavailable
from dimsetls.identity.bearer import write_token
from dimsetls.identity.credentials import AccessToken, Credential, Method, Secret, UsernameAndPasscode, write_identity
from dimsetls.identity.gate import Gate, IdentityPolicy, Requirement
from dimsetls.identity.interfaces import IAuthenticator, Presenter, Verified
from dimsetls.testing import DevelopmentAuthority
from dimsetls.ul.pdus import Abort, AssociateAC, AssociateRJ, AssociateRQ, UserIdentityAC

from .stage import Services, Stage, echo, request, statuses

ALICE = UsernameAndPasscode("alice", Secret(b"alice-secret"))


@implementer(IAuthenticator)
class Directory:
    """Answers when the test lets it."""

    name = "directory test"
    methods = frozenset({Method.PASSCODE, Method.BEARER})
    cacheable = False

    def __init__(self) -> None:
        self.asked: list[tuple[Credential, Presenter]] = []
        self.secrets: list[bytes] = []
        self.answers: list[Deferred[Verified]] = []
        self.cancelled = 0

    async def verify(self, credential: Credential, presenter: Presenter) -> Verified:
        self.asked.append((credential, presenter))
        answer: Deferred[Verified] = Deferred(self._cancel)
        self.answers.append(answer)
        return await answer

    def _cancel(self, answer: object) -> None:
        self.cancelled += 1

    def close(self) -> None:
        pass


class Asked(Stage):
    """A stage whose AE asks a directory."""

    def __init__(self, **keywords: object) -> None:
        self.directory = Directory()
        policy = IdentityPolicy(
            Requirement.REQUIRE, {Method.PASSCODE: (self.directory,), Method.BEARER: (self.directory,)}
        )
        super().__init__(**keywords)  # type: ignore[arg-type]
        [entity] = self.factory.entities.values()
        self.factory.configure(
            replace(entity, gate=Gate(policy, self.link)), limits=self.factory.limits, timeouts=self.factory.timeouts
        )


class Mistaken(Services):
    """Cannot even say what it supports."""

    def support(self, abstract_syntax, common):
        raise ZeroDivisionError("a mistake of ours")


class Noting(Services):
    """Notes what it is asked for."""

    def __init__(self) -> None:
        super().__init__()
        self.asked: list[str] = []

    def support(self, abstract_syntax, common):
        self.asked.append(abstract_syntax)
        return super().support(abstract_syntax, common)


def asking(credential: UsernameAndPasscode = ALICE, response: bool = True) -> AssociateRQ:
    plain = request()
    return replace(
        plain, user_information=replace(plain.user_information, user_identity=write_identity(credential, response))
    )


def test_the_association_is_accepted_when_the_user_was_found_good_and_not_before():
    stage = Asked()
    peer = stage.peer()
    assert peer.send(asking()) == []
    assert stage.factory.count.total == 1  # its place is held
    stage.directory.answers[0].callback(Verified("alice", "hospital", frozenset({"radiology"})))
    [answer] = peer.send(b"")
    assert isinstance(answer, AssociateAC)
    assert answer.user_information.user_identity_response == UserIdentityAC(b"")
    principal = stage.told(AssociationStarted).parties.principal
    assert principal is not None
    assert (str(principal), principal.groups) == ("alice of hospital by passcode", {"radiology"})
    assert statuses(peer.send(echo())) == [(1, 0)]


def test_what_the_directory_is_told_of_the_presenter():
    stage = Asked(tls=DevelopmentAuthority())
    stage.peer().send(asking())
    [(_, presenter)] = stage.directory.asked
    assert (presenter.calling_ae_title, presenter.called_ae_title) == ("PEER", "DIMSETLS")
    assert presenter.address == "192.0.2.1"
    assert presenter.certificate is not None
    assert presenter.channel_binding is not None
    assert len(presenter.channel_binding) == 32


@pytest.mark.parametrize(("error", "answer"), [
    (IdentityDenied("wrong passcode"), AssociateRJ(1, 2, 1)),
    (IdentityUnavailable("the directory is down"), AssociateRJ(2, 3, 1)),
    (ValueError("alice-secret"), AssociateRJ(2, 3, 1)),
])  # fmt: skip
def test_who_is_not_found_good_is_rejected(error, answer):
    stage = Asked()
    peer = stage.peer()
    peer.send(asking())
    stage.directory.answers[0].errback(error)
    assert peer.send(b"") == [answer]
    refused = stage.told(AssociationRefused)
    assert "alice-secret" not in refused.sentence
    assert stage.factory.count.total == 0


def test_a_request_without_an_identity_is_rejected_where_one_is_required():
    stage = Asked()
    assert stage.peer().send(request()) == [AssociateRJ(1, 2, 1)]
    assert "a user identity is required, none came" in stage.told(AssociationRefused).sentence


@pytest.mark.parametrize("waits", [False, True])
def test_a_mistake_of_ours_after_the_identity_aborts(logged, waits):
    stage = Asked(services=Mistaken())
    peer = stage.peer()
    if waits:
        peer.send(asking())
        stage.directory.answers[0].callback(Verified("alice", "hospital"))
        peer.send(b"")
    else:
        [gate] = {entity.gate for entity in stage.factory.entities.values()}
        gate.policy = replace(gate.policy, requirement=Requirement.IGNORE)
        peer.send(asking())
    assert peer.received == [Abort(0, 0)]
    [failure] = [event["log_failure"] for event in logged if "log_failure" in event]
    assert failure.check(ZeroDivisionError)
    assert "alice-secret" not in failure.getTraceback()


def test_a_request_keeps_all_but_the_identity():
    services = Noting()
    stage = Asked(services=services)
    whole = replace(asking(), echoed=b"DIMSETLS        PEER            " + bytes(range(32)))
    peer = stage.peer()
    peer.send(whole)
    stage.directory.answers[0].callback(Verified("alice", "hospital"))
    [answer] = peer.send(b"")
    assert answer.echoed == whole.echoed
    assert answer.application_context == whole.application_context
    assert answer.protocol_version == whole.protocol_version
    assert services.asked == [each.abstract_syntax for each in whole.presentation_contexts]


def test_no_answer_in_time_is_no_answer():
    stage = Asked()
    peer = stage.peer()
    peer.send(asking())
    stage.link.advance(9.9)
    assert peer.received == []
    stage.link.advance(0.1)
    assert peer.received == [AssociateRJ(2, 3, 1)]
    assert stage.directory.cancelled == 1


def test_strangers_do_not_reach_the_directory():
    stage = Asked(admits=lambda caller: Refusal("a stranger"))
    assert stage.peer().send(asking()) == [AssociateRJ(1, 1, 3)]
    assert stage.directory.asked == []


def test_those_whose_identity_is_looked_at_count_as_associations():
    stage = Asked(limits=Limits(associations=1))
    stage.peer().send(asking())
    assert stage.peer().send(asking()) == [AssociateRJ(2, 3, 2)]
    assert len(stage.directory.asked) == 1


@pytest.mark.parametrize("leave", ["close", "cut", "abort"])
def test_the_check_is_given_up_when_the_peer_goes_away(leave):
    stage = Asked()
    peer = stage.peer()
    peer.send(asking())
    if leave == "abort":
        peer.send(Abort(0, 0))
    else:
        getattr(peer, leave)()
    stage.link.pump([0] * 3)
    assert stage.directory.cancelled == 1
    assert stage.factory.count.total == 0
    assert AssociationStarted not in map(type, stage.events)


def test_a_service_that_stops_meanwhile_accepts_nobody_any_more():
    stage = Asked()
    peer = stage.peer()
    peer.send(asking())
    drained = stage.factory.drain()
    assert peer.received == []
    stage.directory.answers[0].callback(Verified("alice", "hospital"))
    assert peer.send(b"") == [AssociateRJ(2, 3, 1)]
    peer.close()
    stage.link.pump([0] * 3)
    assert drained.called


def test_nothing_keeps_the_credential():
    stage = Asked()
    peer = stage.peer()
    plain = asking()
    both = replace(plain, user_information=replace(
        plain.user_information,
        extended_negotiations=(write_token(AccessToken(Secret(b"a.bearer.token")), True),),
    ))  # fmt: skip
    peer.send(both)
    [(passcode, _)] = stage.directory.asked
    stage.directory.answers[0].callback(Verified("alice", "hospital"))
    stage.directory.answers[1].callback(Verified("alice", "issuer", scopes=frozenset({"dicom.store"})))
    [answer] = peer.send(b"")
    [item] = answer.user_information.extended_negotiations
    assert item.service_class_application_information == b"\x01\x00"
    principal = stage.told(AssociationStarted).parties.principal
    assert principal is not None
    assert principal.scopes == {"dicom.store"}
    assert isinstance(passcode, UsernameAndPasscode)
    assert len(passcode.passcode) == 0
    # What handlers see of the peer's user information holds nothing of it.
    [association] = [each._association for each in stage.factory._acceptors]
    assert association is not None
    assert association.peer.user_identity is None
    assert association.peer.extended_negotiations == ()


def test_where_none_is_configured_an_identity_is_ignored_and_noted():
    stage = Stage()
    [answer] = stage.peer().send(asking())
    assert isinstance(answer, AssociateAC)
    assert answer.user_information.user_identity_response is None
    started = stage.told(AssociationStarted)
    assert (started.parties.principal, started.note) == (None, "a user identity came, and none is checked here")


def test_so_is_an_access_token():
    stage = Stage()
    plain, token = request(), write_token(AccessToken(Secret(b"a.bearer.token")), True)
    offered = replace(plain.user_information, extended_negotiations=(token,))
    [answer] = stage.peer().send(replace(plain, user_information=offered))
    assert isinstance(answer, AssociateAC)
    assert answer.user_information.extended_negotiations == ()
    started = stage.told(AssociationStarted)
    assert (started.parties.principal, started.note) == (None, "a user identity came, and none is checked here")


def test_the_end_is_told_with_the_user():
    stage = Asked()
    peer = stage.peer()
    peer.send(asking())
    stage.directory.answers[0].callback(Verified("alice", "hospital"))
    peer.send(Abort(0, 0))
    peer.close()
    stage.link.pump([0] * 3)
    principal = stage.told(AssociationEnded).parties.principal
    assert principal is not None
    assert principal.name == "alice"
