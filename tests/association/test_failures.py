"""PS3.15 B.12: when TLS fails, both users get an A-P-ABORT with its reason, and nothing else happens.

Acceptor and requestor are both ours; a network between them alters single records in the middle of a C-STORE.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import replace
from functools import partial
from itertools import accumulate
from pathlib import Path
from typing import Any

import pytest
from OpenSSL import SSL
from twisted.internet.defer import Deferred
from twisted.python.failure import Failure

from dimsetls.association import acceptor as acceptor_module
from dimsetls.association import requestor as requestor_module
from dimsetls.association.events import AssociationEnded, ConnectionFailed
from dimsetls.association.limits import Limits
from dimsetls.association.requestor import associate, propose
from dimsetls.dimse.messages import CEchoRQ, CStoreRQ
from dimsetls.errors import LocalProtocolError, ProviderAborted
from dimsetls.services.filesystem import Durability, FileStore
from dimsetls.services.layout import Layout
from dimsetls.services.provider import Services
from dimsetls.services.storage import Storage
from dimsetls.services.verification import Verification
from dimsetls.testing import DevelopmentAuthority, End, Peer, tls_endpoints
from dimsetls.tls.conditions import CONDITIONS
from dimsetls.tls.contexts import ClientConnectionCreator
from dimsetls.tls.endpoints import DicomTLSClientEndpoint
from dimsetls.tls.policy import BCP195_RFC9325, TLSPolicy, TLSVersion
from dimsetls.uids import VERIFICATION
from dimsetls.ul.pdus import AsynchronousOperationsWindow
from dimsetls.ul.provider import UpperLayerProvider
from dimsetls.ul.states import Action, Event, State

from .stage import (
    CT,
    INSTANCE,
    Stage,
    open_fragment,
    store_command,
)

V12, V13 = TLSVersion.TLS_1_2, TLSVersion.TLS_1_3
DATA = bytes(range(256)) * 1024


def only(version: TLSVersion) -> TLSPolicy:
    return replace(BCP195_RFC9325, minimum_version=version, maximum_version=version)


@pytest.fixture(params=[V12, V13], ids=["1.2", "1.3"])
def version(request: pytest.FixtureRequest) -> TLSVersion:
    return request.param


@pytest.fixture
def traced(monkeypatch: pytest.MonkeyPatch) -> dict[str, list[tuple[State, Event, Action, int]]]:
    """What each side's provider did: state, event, action, and the reason that came with the event."""
    traces: dict[str, list[tuple[State, Event, Action, int]]] = {"acceptor": [], "requestor": []}

    def trace(side: str, state: State, occurrence: Any, action: Action, next_state: State) -> None:
        traces[side].append((state, occurrence.event, action, occurrence.reason))

    for side, module in (("acceptor", acceptor_module), ("requestor", requestor_module)):
        monkeypatch.setattr(module, "UpperLayerProvider", partial(UpperLayerProvider, trace=partial(trace, side)))
    return traces


class Tap:
    """What one end sends, on its way: it is kept, and held back from when the test says so."""

    def __init__(self, end: End) -> None:
        self.sent, self.held, self.passes = b"", b"", 1 << 62
        self._end = end
        end.on_the_way = self

    def __call__(self, data: bytes) -> bytes:
        self.sent += data
        passed, kept = data[:self.passes], data[self.passes:]
        self.passes -= len(passed)
        self.held += kept
        return passed

    def hold(self, after: int = 0) -> None:
        """Let this many further bytes pass, and no more."""
        self.passes = after

    def records(self) -> list[bytes]:
        """The whole TLS records that are held back."""
        return records(self.held)

    def deliver(self, altered: Iterable[bytes]) -> None:
        self._end.other._arrived += b"".join(altered)
        self._end._link.pump()


def records(stream: bytes) -> list[bytes]:
    found = []
    while len(stream) >= 5 and len(stream) >= (end := 5 + int.from_bytes(stream[3:5], "big")):
        found.append(stream[:end])
        stream = stream[end:]
    return found


class Pair:
    """An acceptor with a store and a requestor, associated over TLS in one version, and a tap on each."""

    def __init__(self, tmp_path: Path, authority: DevelopmentAuthority, version: TLSVersion) -> None:
        self.store = FileStore(tmp_path / "store", layout=Layout("{SOPInstanceUID}.dcm"), fsync=Durability.NONE)
        self.store.open()
        self.stage = Stage(Services(Verification(), Storage(self.store)), maximum_operations_invoked=3)
        self.link = self.stage.link
        serving, calling = tls_endpoints(self.link, authority, only(version))
        serving.listen(self.stage.factory)
        opening = call(self.stage, calling)
        self.association = opening.result
        self.client, self.server = (Tap(end) for end in self.link.ends)
        self.outcome: Any = None

    def start(self, message: CEchoRQ | CStoreRQ, data: bytes | None = None) -> Deferred[Any]:
        """Begin an operation; what becomes of it is kept."""
        context = self.association.context(CT if data else VERIFICATION)
        running = self.association.request(context, message, data)
        running.addBoth(lambda outcome: setattr(self, "outcome", outcome))
        self.link.pump()
        return running

    @property
    def stored(self) -> list[Path]:
        """Every file in the store but its locks, hidden ones too."""
        return [path for path in self.store.root.rglob("*") if path.is_file() and path.name != "lock"]


def call(stage: Stage, endpoint: Any) -> Deferred[Any]:
    """Ask for an association; everything that follows from that has happened."""
    opening = associate(
        endpoint, calling_ae_title="PEER", called_ae_title="DIMSETLS",
        contexts=[propose(VERIFICATION), propose(CT)], window=AsynchronousOperationsWindow(3, 1), clock=stage.link,
    )  # fmt: skip
    stage.link.pump()
    return opening


def to_the_acceptor(pair: Pair) -> Tap:
    """A C-STORE of the requestor's is half on its way; what is held begins with a whole record."""
    tap = pair.client
    tap.hold(after=64 * 1024)
    pair.start(CStoreRQ(1, CT, INSTANCE), DATA)
    passed = len(tap.sent) - len(tap.held)
    boundary = next(end for end in accumulate(map(len, records(tap.sent))) if end >= passed)
    tap.deliver([tap.held[:boundary - passed]])
    tap.held = tap.held[boundary - passed:]
    return tap


def to_the_requestor(pair: Pair) -> Tap:
    """Answers of the acceptor's are on their way, while a C-STORE comes in."""
    pair.server.hold()
    pair.start(CEchoRQ(1, VERIFICATION))
    pair.start(CEchoRQ(2, VERIFICATION))
    pair.association._protocol.send_data([store_command(3), open_fragment(16000) + bytes(8000)])
    pair.link.pump()
    return pair.server


def flip(at: int) -> Callable[[bytes], bytes]:
    return lambda record: record[:at] + bytes([record[at] ^ 1]) + (record[at + 1:] if at != -1 else b"")


def shortened(record: bytes) -> bytes:
    """A record with its last byte cut off, and a length that says so."""
    return record[:3] + (len(record) - 6).to_bytes(2, "big") + record[5:-1]


# A record too short for its protection is an internal error to OpenSSL before version 4; to us it is not.
TOO_SHORT = 20 if SSL.OPENSSL_VERSION_NUMBER >= 0x40000000 else 80

# What the network does to the two records that it holds: name, how, and the alert in TLS 1.2 and in TLS 1.3.
DISTURBANCES: dict[str, tuple[Callable[[bytes, bytes], list[bytes]], int, int]] = {
    "data flipped": (lambda one, two: [flip(16)(one), two], 20, 20),
    "tag flipped": (lambda one, two: [flip(-1)(one), two], 20, 20),
    "type flipped": (lambda one, two: [flip(0)(one), two], 20, 10),
    # Eight bytes, since the tag's last one is by chance, in one run of 256, what the next record begins with.
    "truncated": (lambda one, two: [one[:-8], two], 20, 20),
    "shortened": (lambda one, two: [shortened(one), two], 20, 20),
    "replayed": (lambda one, two: [one, one], 20, 20),
    "reordered": (lambda one, two: [two, one], 20, 20),
    "dropped": (lambda one, two: [two], 20, 20),
    "forged data": (lambda one, two: [bytes.fromhex("17 03 03 00 20") + bytes(32)], 20, 20),
    "forged alert": (lambda one, two: [bytes.fromhex("15 03 03 00 02 02 28")], TOO_SHORT, 10),
    "forged close_notify": (lambda one, two: [bytes.fromhex("15 03 03 00 02 01 00")], TOO_SHORT, 10),
    "forged handshake": (lambda one, two: [bytes.fromhex("16 03 03 00 04 00 00 00 00")], TOO_SHORT, 10),
    "overlong": (lambda one, two: [bytes.fromhex("17 03 03 48 00") + bytes(0x4800)], 22, 22),
}


@pytest.mark.parametrize("direction", [to_the_acceptor, to_the_requestor])
@pytest.mark.parametrize("disturbance", DISTURBANCES)
def test_a_failed_integrity_check_is_a_provider_abort_on_both_sides(
    tmp_path, authority, version, traced, direction, disturbance
):
    pair = Pair(tmp_path, authority, version)
    tap = direction(pair)
    back = pair.server if tap is pair.client else pair.client
    one, two, *_ = tap.records()
    assert len(pair.stored) == 1  # the C-STORE is under way: a hidden file
    assert not pair.outcome
    tap.passes, before, sent = 1 << 62, len(back.sent), len(tap.sent)
    disturb, in_1_2, in_1_3 = DISTURBANCES[disturbance]
    tap.deliver(disturb(one, two))

    # The alert that TLS names is the last thing on the wire, and the only one: no PDU, no reason of ours.
    alert = in_1_2 if version is V12 else in_1_3
    [last] = records(back.sent[before:])
    assert (last[0], len(last)) == ((0x15, 5 + 8 + 2 + 16) if version is V12 else (0x17, 5 + 2 + 1 + 16))
    assert len(tap.sent) == sent

    # Each side's user has it from its own end.
    ours, theirs = ("acceptor", "requestor") if tap is pair.client else ("requestor", "acceptor")
    reasons = {ours: 0x214 if alert == TOO_SHORT else 0x200 + alert, theirs: 0x300 + alert}
    for side, reason in reasons.items():
        assert traced[side][-1] == (State.STA6, Event.TRANSPORT_CLOSED, Action.AA_4, reason)
    ended = pair.stage.told(AssociationEnded)
    assert (ended.outcome, ended.provider_reason) == ("provider-aborted", reasons["acceptor"])
    rows = [row for row in CONDITIONS.values() if row.reason == reasons["acceptor"]]
    assert any(ended.detail.startswith(f"{row.sentence} ({row.name}: ") for row in rows)
    assert isinstance(pair.association.ended, ProviderAborted)
    assert pair.association.ended.reason == reasons["requestor"]

    # What was under way failed with it, and is as if it had never been.
    assert isinstance(pair.outcome, Failure)
    assert pair.outcome.value is pair.association.ended
    assert ended.instances == 0
    assert pair.stored == []

    # The connection is dead, and whoever still uses it is told so.
    pair.association.abort()
    with pytest.raises(LocalProtocolError):
        pair.association.request(pair.association.context(VERIFICATION), CEchoRQ(9, VERIFICATION))
    pair.link.pump()
    assert (len(tap.sent), len(back.sent)) == (sent, before + len(last))
    assert pair.stage.is_quiet


@pytest.mark.parametrize("direction", [to_the_acceptor, to_the_requestor])
@pytest.mark.parametrize("inside", [False, True])
def test_a_cut_without_close_notify_is_a_truncation_on_both_sides(
    tmp_path, authority, version, traced, direction, inside
):
    """Between two records and inside one."""
    pair = Pair(tmp_path, authority, version)
    tap = direction(pair)
    if inside:
        tap.deliver([tap.records()[0][:-1]])
    sent = len(pair.client.sent), len(pair.server.sent)
    for end in pair.link.ends:
        end.loseConnection()
    pair.link.pump()
    for side in ("acceptor", "requestor"):
        assert traced[side][-1] == (State.STA6, Event.TRANSPORT_CLOSED, Action.AA_4, 0x401)
    assert pair.stage.told(AssociationEnded).provider_reason == 0x401
    assert pair.outcome.value.reason == 0x401
    assert pair.stored == []
    assert (len(pair.client.sent), len(pair.server.sent)) == sent
    assert pair.stage.is_quiet


def test_an_undisturbed_c_store_arrives(tmp_path, authority, version):
    """The tests above would pass with a store that never stores."""
    pair = Pair(tmp_path, authority, version)
    tap = to_the_acceptor(pair)
    tap.passes = 1 << 62
    tap.deliver([tap.held])
    assert pair.outcome.status == 0
    [file] = pair.stored
    assert file.read_bytes().endswith(DATA)


# Handshakes --------------------------------------------------------------------------------------------------------


class Call:
    """What may be wrong with a requestor's TLS; `DevelopmentAuthority` makes the certificates."""

    def __init__(self, authority: DevelopmentAuthority, version: TLSVersion) -> None:
        self.authority, self.stranger = authority, DevelopmentAuthority("stranger")
        self.trusts, self.issued = authority, authority.issue_client()
        self.name, self.policy = "localhost", only(version)

    def endpoint(self, stage: Stage) -> Any:
        material = self.issued.material if self.issued else None
        creator = ClientConnectionCreator(self.policy, self.trusts.trust_roots, material, server_name=self.name)
        return DicomTLSClientEndpoint(stage.link, creator)


def no_certificate(wrong: Call) -> None:
    wrong.issued = None


def unknown_authority(wrong: Call) -> None:
    wrong.issued = wrong.stranger.issue_client()


def ended_certificate(wrong: Call) -> None:
    wrong.issued = wrong.authority.issue_client(not_after=wrong.authority.own.certificate.not_valid_before_utc)


def other_name(wrong: Call) -> None:
    wrong.name = "elsewhere.example"


def other_trust(wrong: Call) -> None:
    wrong.trusts = wrong.stranger


def other_version(wrong: Call) -> None:
    wrong.policy = only(V13 if wrong.policy.minimum_version is V12 else V12)


@pytest.mark.parametrize(("wrong", "on_acceptor", "on_requestor"), [
    (no_certificate, {V12: "no-client-certificate", V13: "certificate-required"}, None),
    (unknown_authority, "unknown-ca", None),
    (ended_certificate, "certificate-expired", None),
    (other_name, "peer-bad-certificate", "certificate-name-mismatch"),
    (other_trust, "peer-unknown-ca", "unknown-ca"),
    (other_version, "protocol-version", None),
])  # fmt: skip
def test_a_failed_handshake_is_an_event_here_and_a_provider_abort_there(
    authority, version, traced, wrong, on_acceptor, on_requestor
):
    stage = Stage()
    serving, _ = tls_endpoints(stage.link, authority, only(version))
    serving.listen(stage.factory)
    caller = Call(authority, version)
    wrong(caller)
    opening = call(stage, caller.endpoint(stage))

    failed = stage.told(ConnectionFailed)
    name = on_acceptor[version] if isinstance(on_acceptor, dict) else on_acceptor
    assert (failed.fault.name, failed.parties.peer) == (name, "192.0.2.1:50000")
    assert failed.fault.sentence == CONDITIONS[name].sentence
    assert failed.fault.detail
    assert stage.kinds == ["ConnectionFailed"]
    assert traced["acceptor"] == []  # there never was an association

    failure = opening.result
    opening.addErrback(lambda _: None)
    assert isinstance(failure.value, ProviderAborted)
    if on_requestor is None:
        assert failure.value.reason == 0x300 + failed.fault.alert
    else:
        assert failure.value.reason == CONDITIONS[on_requestor].reason
    # In TLS 1.3 the requestor's handshake is complete when the acceptor refuses it (RFC 8446 §4.4.2.4).
    is_late = version is V13 and on_requestor is None and wrong is not other_version
    state = State.STA5 if is_late else State.STA4
    assert traced["requestor"][-1] == (state, Event.TRANSPORT_CLOSED, Action.AA_4, failure.value.reason)
    assert stage.is_quiet


def test_a_handshake_that_somebody_cuts_off_is_named_on_both_sides(authority, version, traced):
    stage = Stage()
    serving, calling = tls_endpoints(stage.link, authority, only(version))
    serving.listen(stage.factory)
    opening = associate(calling, calling_ae_title="PEER", called_ae_title="DIMSETLS", clock=stage.link)
    for end in stage.link.ends:
        end.loseConnection()
    stage.link.pump()
    assert stage.told(ConnectionFailed).fault.name == "closed-in-handshake"
    assert opening.result.value.reason == CONDITIONS["closed-in-handshake"].reason
    opening.addErrback(lambda _: None)
    assert stage.is_quiet


def test_a_requestor_that_calls_a_port_without_tls_is_told_so(authority):
    stage = Stage()
    _, calling = tls_endpoints(stage.link, authority)
    stage.link.listen(stage.factory)
    opening = call(stage, calling)
    assert opening.result.value.reason == CONDITIONS["plaintext-answer"].reason
    opening.addErrback(lambda _: None)


def test_a_requestor_that_nobody_answers_is_told_so(authority):
    stage = Stage()
    stage.link.stop_listening()
    opening = call(stage, stage.link)
    assert opening.result.value.reason == CONDITIONS["connect-failed"].reason
    opening.addErrback(lambda _: None)


def test_a_flood_of_handshakes_is_named_and_a_good_peer_gets_through(authority):
    stage = Stage(tls=authority, limits=Limits(pending=3))
    flood = [Peer.connect(stage.link) for _ in range(10)]
    good = stage.associated()
    for _ in range(10):
        flood.append(Peer.connect(stage.link))
    assert good.lost is None
    names = [event.fault.name for event in stage.events if isinstance(event, ConnectionFailed)]
    assert names == ["pending-limit"] * (len(flood) - 3)
    assert len(stage.factory.pending) == 3


# Without TLS -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("end", "how", "name"), [
    (0, "loseConnection", "connection-lost"),
    (0, "abortConnection", "connection-lost"),
    (1, "abortConnection", "aborted-locally"),
])  # fmt: skip
def test_the_end_of_a_plain_connection_is_named_too(end, how, name):
    stage = Stage()
    stage.associated()
    getattr(stage.link.ends[end], how)()
    stage.link.pump()
    assert stage.told(AssociationEnded).provider_reason == CONDITIONS[name].reason
