"""Data sets and the peer's patience, and what becomes of operations when the association ends under them."""

from __future__ import annotations

from typing import Any

import pytest
from twisted.internet.defer import Deferred

from dimsetls.association.events import AssociationEnded
from dimsetls.association.requests import EchoRequest, StoreRequest
from dimsetls.association.stream import HIGH_WATER
from dimsetls.codes import CommandField
from dimsetls.dimse.command import DATA_SET_FOLLOWS, NO_DATA_SET, Element
from dimsetls.dimse.messages import CEchoRQ, CStoreRQ, Response
from dimsetls.errors import (
    AssociationAborted,
    AssociationError,
    AssociationReleased,
    LocalProtocolError,
    ProviderAborted,
    ServiceError,
)
from dimsetls.testing import Peer, tamper
from dimsetls.uids import VERIFICATION
from dimsetls.ul.pdus import Abort, AsynchronousOperationsWindow, ReleaseRP, ReleaseRQ

from .stage import (
    CT,
    INSTANCE,
    WINDOW_OF_TWO,
    Manual,
    Services,
    Stage,
    command,
    data_set,
    echo,
    open_fragment,
    statuses,
    store,
    store_command,
)

# Cancels and the window ----------------------------------------------------------------------------------------


def test_a_cancel_of_nothing_is_ignored():
    peer = Stage().associated()
    cancel = {Element.COMMAND_FIELD: CommandField.C_CANCEL_RQ, Element.MESSAGE_ID_BEING_RESPONDED_TO: 1,
              Element.COMMAND_DATA_SET_TYPE: NO_DATA_SET}  # fmt: skip
    assert peer.send(command(cancel)) == []
    assert statuses(peer.send(echo())) == [(1, 0)]
    with_data = command(cancel | {Element.COMMAND_DATA_SET_TYPE: DATA_SET_FOLLOWS}) + data_set(bytes(400_000), 1)
    assert peer.send(with_data) == []
    assert statuses(peer.send(echo())) == [(1, 0)]


def test_two_operations_are_answered_in_the_order_in_which_they_finish():
    services = Manual()
    peer = Stage(services, maximum_operations_invoked=2).associated(**WINDOW_OF_TWO)
    assert peer.send(echo(1), store(b"data", 2)) == []
    before = len(peer.received)
    services.finish[1].callback(0)
    services.finish[0].callback(0)
    peer._link.pump()
    assert statuses(peer.received[before:]) == [(2, 0), (1, 0)]
    assert peer.send(echo(3), echo(4)) == []  # there is room for two again


def test_a_window_of_0_has_no_bound():
    services = Manual()
    keywords = {"asynchronous_operations_window": AsynchronousOperationsWindow(0, 1)}
    peer = Stage(services, maximum_operations_invoked=0).associated(**keywords)
    assert peer.send(*(echo(number) for number in range(100))) == []
    assert len(services.requests) == 100


# The data set and the peer's patience ------------------------------------------------------------------------------


def test_a_handler_that_does_not_read_makes_the_peer_wait_and_not_the_memory_grow():
    services = Manual()
    stage = Stage(services)
    peer = stage.associated()
    server = peer.end.other
    assert peer.send(store(bytes(2 << 20))) == []
    assert not server.is_reading
    [request] = services.requests
    assert HIGH_WATER < request.data._octets_queued <= HIGH_WATER + 2 * 65536
    stage.link.advance(1.0)
    assert not server.is_reading
    before = len(peer.received)
    services.finish[0].callback(0)  # without having read
    stage.link.pump()
    assert server.is_reading
    assert statuses(peer.received[before:]) == [(1, 0)]
    assert statuses(peer.send(store(b"next", 2))) == []
    assert stage.services.requests[1].data._octets_queued == 4


def test_a_handler_that_reads_late_gets_all_of_it():
    gate: Deferred[None] = Deferred()
    read = []

    async def handle(request: StoreRequest) -> int:
        await gate
        async for piece in request.data:
            read.append(piece)
        return 0

    stage = Stage(Services(handle))
    peer = stage.associated()
    data = bytes(number % 251 for number in range(1 << 20))
    assert peer.send(store(data)) == []
    before = len(peer.received)
    gate.callback(None)
    stage.link.pump()
    assert b"".join(read) == data
    assert statuses(peer.received[before:]) == [(1, 0)]


def test_one_peer_that_waits_does_not_delay_another():
    services = Manual()
    stage = Stage(services)
    waiting, other = stage.associated(), stage.associated()
    waiting.send(store(bytes(2 << 20)))
    other.send(store(b"small"))
    before = len(other.received)
    services.finish[1].callback(0)
    stage.link.pump()
    assert statuses(other.received[before:]) == [(1, 0)]
    assert not waiting.end.other.is_reading


@pytest.mark.parametrize("fails_at", [0, 3])
def test_a_sink_that_raises_in_the_middle_is_answered_after_the_rest_has_passed(fails_at):
    written = []

    class Sink:
        def write(self, piece: bytes | memoryview) -> None:
            if len(written) == fails_at:
                raise ServiceError(0xA700, "store is full")
            written.append(bytes(piece))

    async def handle(request: StoreRequest) -> int:
        await request.data.copy_to(Sink())
        return 0

    stage = Stage(Services(handle))
    peer = stage.associated()
    assert statuses(peer.send(store(bytes(1 << 20)))) == [(1, 0xA700)]
    assert len(written) == fails_at
    assert peer.end.other.is_reading
    assert statuses(peer.send(store(b"", 2))) == [(2, 0)]


# The association ends under a handler ------------------------------------------------------------------------------


def abort(peer: Peer) -> None:
    peer.send(bytes(30_000), Abort(0, 0))


def abort_as_provider(peer: Peer) -> None:
    peer.send(bytes(30_000), Abort(2, 0))


def reset(peer: Peer) -> None:
    peer.end.abortConnection()
    peer._link.pump()


def break_record(peer: Peer) -> None:
    peer.end.on_the_way = tamper
    peer.send(bytes(64))


def say_nonsense(peer: Peer) -> None:
    peer.send(bytes(50_000), b"\xff" * 64)


def rest(peer: Peer) -> None:
    peer._link.pump([10.0] * 40)


ENDS = [
    (abort, AssociationAborted), (abort_as_provider, ProviderAborted), (Peer.cut, ProviderAborted),
    (Peer.close, ProviderAborted), (reset, ProviderAborted), (break_record, ProviderAborted),
    (say_nonsense, ProviderAborted), (rest, ProviderAborted),
]  # fmt: skip


@pytest.mark.parametrize(("end", "error"), ENDS)
@pytest.mark.parametrize("read", ["read", "copy_to", "async for"])
def test_a_handler_learns_where_it_reads_why_the_association_ended(authority, logged, end, error, read):
    raised: list[BaseException] = []
    taken: list[bytes] = []

    class Sink:
        def write(self, piece: bytes | memoryview) -> None:
            taken.append(bytes(piece))

    async def handle(request: StoreRequest) -> int:
        try:
            if read == "read":
                await request.data.read()
            elif read == "copy_to":
                await request.data.copy_to(Sink())
            else:
                async for piece in request.data:
                    taken.append(piece)
        except AssociationError as reason:
            raised.append(reason)
            raise
        return 0

    stage = Stage(Services(handle), tls=authority)
    peer, other = stage.associated(), stage.associated(calling="OTHER")
    peer.send(store_command(), open_fragment(50_000), bytes(20_000))
    end(peer)
    assert [type(each) for each in raised] == [error]
    assert read == "read" or sum(map(len, taken)) >= 20_000
    if end is not rest:
        assert statuses(other.send(store(b"other"))) == [(1, 0)]
        assert len(raised) == 1
    peer.close()
    ended = next(event for event in stage.events if isinstance(event, AssociationEnded))
    assert (ended.operations, ended.instances) == (0, 0)
    assert logged == []  # how an association ends is one event, not also a failed operation


def test_a_release_in_the_middle_of_an_operation_ends_it():
    raised: list[BaseException] = []

    async def handle(request: StoreRequest) -> int:
        try:
            await request.data.read()
        except AssociationReleased as reason:
            raised.append(reason)
        return 0

    stage = Stage(Services(handle))
    peer = stage.associated()
    peer.send(store_command())
    assert peer.send(ReleaseRQ()) == [ReleaseRP()]
    assert len(raised) == 1
    peer.close()
    assert stage.told(AssociationEnded).operations == 0
    assert stage.is_quiet


def test_an_operation_that_finishes_after_the_association_is_not_answered():
    services = Manual()
    stage = Stage(services)
    peer = stage.associated()
    peer.send(echo())
    peer.cut()
    services.finish[0].callback(0)
    assert stage.told(AssociationEnded).operations == 0
    assert stage.is_quiet


@pytest.mark.parametrize("where", ["before the data set", "in the middle", "at the end"])
def test_a_handler_may_abort(where):
    async def handle(request: StoreRequest | EchoRequest) -> int:
        if where == "in the middle":
            async for _ in request.data:
                break
        elif where == "at the end":
            await request.data.read()
        request.association.abort()
        return 0

    stage = Stage(Services(handle))
    peer = stage.associated()
    assert peer.send(store(bytes(400_000))) == [Abort(0, 0)]
    assert peer.send(echo()) == []
    peer.close()
    ended = stage.told(AssociationEnded)
    assert (ended.outcome, ended.detail) == ("aborted", "the association was aborted here")
    assert (ended.operations, ended.instances) == (0, 0)
    assert stage.is_quiet


def test_aborting_twice_says_nothing_more():
    async def handle(request: EchoRequest) -> int:
        request.association.abort()
        request.association.abort()
        return 0

    assert Stage(Services(handle)).associated().send(echo()) == [Abort(0, 0)]


# Requests of ours on the same association ------------------------------------------------------------------------


class Asking(Services):
    """Keeps the association of the first echo, to send requests on it."""

    def __init__(self) -> None:
        super().__init__(self._keep)

    async def _keep(self, request: EchoRequest) -> int:
        self.association, self.context = request.association, request.context
        return 0


def asking() -> tuple[Peer, Asking]:
    services = Asking()
    window = {"asynchronous_operations_window": AsynchronousOperationsWindow(1, 2)}
    peer = Stage(services, maximum_operations_performed=2).associated(**window)
    peer.send(echo())
    return peer, services


def test_a_response_reaches_who_asked_by_its_message_id():
    peer, asks = asking()
    answers: dict[int, Response] = {}
    for message_id in (1, 2):
        asked = asks.association.request(asks.context, CEchoRQ(message_id, VERIFICATION))
        asked.addCallback(lambda response, message_id=message_id: answers.setdefault(message_id, response))
    for message_id, status in ((2, 0x0122), (1, 0)):
        peer.send(command(Response(CommandField.C_ECHO_RSP, message_id, status).command()))
    assert {message_id: response.status for message_id, response in answers.items()} == {1: 0, 2: 0x0122}


def test_a_request_with_a_data_set_keeps_to_the_peers_maximum_length():
    peer, asks = asking()
    asks.association.request(asks.context, CStoreRQ(1, CT, INSTANCE), bytes(100_000))
    before = len(peer.received)
    peer._link.pump()
    values = [value for pdu in peer.received[before:] for value in pdu.values]
    assert max(len(value.fragment) for value in values) == 16384 - 6
    assert sum(len(value.fragment) for value in values if not value.is_command) == 100_000
    assert [value.is_last for value in values if not value.is_command] == [False] * 6 + [True]


def test_a_request_fails_when_the_association_ends():
    peer, asks = asking()
    failures: list[Any] = []
    asks.association.request(asks.context, CEchoRQ(1, VERIFICATION)).addErrback(failures.append)
    peer.send(Abort(0, 0))
    [failure] = failures
    assert failure.check(AssociationAborted)
    with pytest.raises(LocalProtocolError, match="the association is over"):
        asks.association.request(asks.context, CEchoRQ(2, VERIFICATION))


def test_a_message_id_is_used_once_at_a_time():
    _, asks = asking()
    taken = asks.association.new_message_id()
    asks.association.request(asks.context, CEchoRQ(taken, VERIFICATION))
    with pytest.raises(LocalProtocolError, match="is in use"):
        asks.association.request(asks.context, CEchoRQ(taken, VERIFICATION))
    asks.association._invoking._next_message_id = 0xFFFF
    assert [asks.association.new_message_id() for _ in range(3)] == [0xFFFF, 2, 3]
