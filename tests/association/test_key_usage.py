"""RFC 9325 §4.4: an association ends in order before the keys of its TLS connection have protected too much."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from twisted.internet.defer import Deferred
from twisted.python.failure import Failure

from dimsetls.association import acceptor as acceptor_module
from dimsetls.association.events import AssociationEnded
from dimsetls.association.requestor import associate
from dimsetls.dimse.messages import CEchoRQ
from dimsetls.errors import AssociationRetired, ProviderAborted
from dimsetls.testing import DevelopmentAuthority, Peer, tls_endpoints
from dimsetls.tls import usage
from dimsetls.tls.conditions import CONDITIONS
from dimsetls.tls.policy import BCP195_RFC9325, TLSPolicy, TLSVersion
from dimsetls.uids import VERIFICATION
from dimsetls.ul.pdus import Abort, PDataTF

from .stage import WINDOW_OF_TWO, Manual, Stage, echo, request, responses

V12, V13 = TLSVersion.TLS_1_2, TLSVersion.TLS_1_3


def only(version: TLSVersion) -> TLSPolicy:
    return replace(BCP195_RFC9325, minimum_version=version, maximum_version=version)


@pytest.fixture(params=[V12, V13], ids=["1.2", "1.3"])
def version(request: pytest.FixtureRequest) -> TLSVersion:
    return request.param


@pytest.fixture
def short_lived_keys(monkeypatch: pytest.MonkeyPatch) -> int:
    """RFC 9325 §4.4 with a limit that a test reaches."""
    monkeypatch.setitem(usage.RECORDS_PER_KEY, "GCM", 2000)
    return 2000


def test_an_acceptor_warns_and_then_ends_between_two_operations(authority, version, short_lived_keys, logged):
    stage = Stage()
    serving, calling = tls_endpoints(stage.link, authority, only(version))
    serving.listen(stage.factory)
    peer = Peer.connect(stage.link, calling)
    peer.send(request())
    peer.received.clear()
    answers = 0
    while peer.lost is None:
        came = peer.send(echo(answers % 65535 + 1))
        answers += bool(responses(each for each in came if not isinstance(each, Abort)))
        if Abort(0, 0) in came:
            peer.close()
    assert peer.received[-1] == Abort(0, 0)
    assert isinstance(peer.received[-2], PDataTF)  # the last operation was answered
    assert answers < short_lived_keys
    warnings = [event for event in logged if "will soon have to end" in event.get("log_format", "")]
    assert len(warnings) == 1
    ended = stage.told(AssociationEnded)
    assert (ended.outcome, ended.provider_reason, ended.operations) == ("expired", 0x443, answers)
    assert ended.detail.startswith(CONDITIONS["key-usage-limit"].sentence)
    assert f"of {short_lived_keys} that a key may protect" in ended.detail
    assert stage.is_quiet


def test_an_acceptor_does_not_end_in_the_middle_of_an_operation(authority, short_lived_keys):
    services = Manual()
    stage = Stage(services, maximum_operations_invoked=2)
    serving, calling = tls_endpoints(stage.link, authority)
    serving.listen(stage.factory)
    peer = Peer.connect(stage.link, calling)
    peer.send(request(**WINDOW_OF_TWO), echo(1), echo(2))
    [acceptor] = stage.factory._acceptors
    acceptor._protocol._key_usage.sent = int(0.95 * short_lived_keys)
    peer.received.clear()
    for finished in services.finish:
        assert Abort(0, 0) not in peer.received
        finished.callback(0)
        stage.link.pump()
    assert [type(pdu) for pdu in peer.received] == [PDataTF, PDataTF, Abort]


@pytest.fixture
def requestors_keys(short_lived_keys: int, monkeypatch: pytest.MonkeyPatch) -> int:
    """The same limit, with an acceptor that leaves the counting to the requestor."""
    class Unlimited(acceptor_module.AssociationProtocol):
        key_usage = None

    monkeypatch.setattr(acceptor_module, "AssociationProtocol", Unlimited)
    return short_lived_keys


def served(authority: DevelopmentAuthority, version: TLSVersion, services: Any = None) -> tuple[Stage, Any]:
    """A stage, and an association of our requestor's with it."""
    stage = Stage(services)
    serving, calling = tls_endpoints(stage.link, authority, only(version))
    serving.listen(stage.factory)
    opening = associate(calling, calling_ae_title="PEER", called_ae_title="DIMSETLS", clock=stage.link)
    stage.link.pump()
    return stage, opening.result


def ask(association: Any, number: int) -> Any:
    return association.request(association.context(VERIFICATION), CEchoRQ(number % 65535 + 1, VERIFICATION))


def test_a_requestor_releases_before_the_limit_and_says_why_it_takes_no_more(
    authority, version, requestors_keys, logged
):
    stage, association = served(authority, version)
    done = iter(range(requestors_keys))

    def until_refused() -> None:
        for number in done:
            running = ask(association, number)
            stage.link.pump()
            assert running.result.status == 0

    with pytest.raises(AssociationRetired) as refused:
        until_refused()
    assert refused.value.reason == CONDITIONS["key-usage-limit"].reason
    assert f"of {requestors_keys} that a key may protect" in str(refused.value)
    stage.link.pump()
    assert isinstance(association.ended, AssociationRetired)
    ended = stage.told(AssociationEnded)
    assert (ended.outcome, ended.operations) == ("released", next(done) - 1)
    assert ended.operations > 0
    with pytest.raises(AssociationRetired):
        ask(association, 1)
    assert Deferred.fromCoroutine(association.release()).called  # it is already
    assert [event for event in logged if "will soon have to end" in event.get("log_format", "")]
    assert stage.is_quiet


def test_a_requestor_lets_what_runs_finish_before_it_releases(authority, version, requestors_keys):
    services = Manual()
    stage, association = served(authority, version, services)
    slow = ask(association, 1)
    stage.link.pump()
    association._protocol._key_usage.sent = int(0.95 * requestors_keys)
    with pytest.raises(AssociationRetired):
        ask(association, 2)
    stage.link.pump()
    assert association.ended is None
    services.finish[0].callback(0)
    stage.link.pump()
    assert slow.result.status == 0
    assert isinstance(association.ended, AssociationRetired)
    assert stage.told(AssociationEnded).outcome == "released"


def test_keys_that_are_overdue_end_an_operation_too(authority, version, requestors_keys):
    stage, association = served(authority, version, Manual())
    slow = ask(association, 1)
    stage.link.pump()
    association._protocol._key_usage.sent = requestors_keys
    failed: list[Failure] = []
    slow.addErrback(failed.append)
    with pytest.raises(AssociationRetired):
        ask(association, 2)
    assert failed[0].value is association.ended
    assert (type(association.ended), association.ended.reason) == (ProviderAborted, 0x443)
    stage.link.pump()
    assert stage.told(AssociationEnded).outcome == "aborted"


def test_a_context_manager_releases_an_association_whose_keys_are_spent(authority, version, requestors_keys):
    stage, association = served(authority, version)

    async def until_refused() -> None:
        async with association:
            while True:
                await association.echo()

    running = Deferred.fromCoroutine(until_refused())
    refused: list[Failure] = []
    running.addErrback(refused.append)
    stage.link.pump()
    assert isinstance(refused[0].value, AssociationRetired)
    assert stage.told(AssociationEnded).outcome == "released"
    assert stage.is_quiet


def test_a_cipher_without_a_limit_is_never_ended(authority, short_lived_keys):
    chacha = replace(only(V13), tls13_cipher_suites=("TLS_CHACHA20_POLY1305_SHA256",))
    stage = Stage()
    serving, calling = tls_endpoints(stage.link, authority, chacha)
    serving.listen(stage.factory)
    peer = Peer.connect(stage.link, calling)
    peer.send(request())
    peer.send(b"".join(echo(number) for number in range(1, short_lived_keys)))
    assert peer.lost is None
    assert len(stage.services.requests) == short_lived_keys - 1
