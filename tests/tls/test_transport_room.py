"""Both ways to take plain text out of OpenSSL are the same, byte for byte and end for end."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any

import OpenSSL
import pytest
from OpenSSL import SSL
from OpenSSL._util import ffi, lib

from dimsetls.testing import tamper
from dimsetls.tls import transport_drain
from dimsetls.tls.transport_room import IS_KNOWN, KNOWN, RECORD, BoundRoom, PublicRoom, Room, shrink

SIZE = 8 * RECORD


class Reader:
    """Fills a room from one end of a connection, as long as something comes."""

    def __init__(self, kind: type[PublicRoom], wire: Any) -> None:
        self.room, self.connection = kind(SIZE), wire.server.getHandle()
        self.fills: list[bytes] = []
        self.end: SSL.Error | None = None

    def read(self, octets: bytes) -> Reader:
        if octets:
            self.room.admit(self.connection, octets)
        self.end = None
        while self.end is None:
            count, self.end = self.room.fill(self.connection)
            self.fills.append(bytes(self.room.view[:count]))
        self.room.leave(self.connection)
        return self

    @property
    def outcome(self) -> tuple[list[bytes], type, tuple[Any, ...]]:
        return self.fills, type(self.end), self.end.args if self.end else ()


def words(*sizes: int) -> list[bytes]:
    chance = random.Random(7)
    return [chance.randbytes(size) for size in sizes]


def sent(wire: Any, *sizes: int) -> bytes:
    """What goes over the network when the client says words of these sizes."""
    for word in words(*sizes):
        wire.client_user.transport.write(word)
    said = b"".join(wire.client_end.sent)
    wire.client_end.sent.clear()
    return said


@pytest.fixture
def both(link, policy) -> Callable[..., Any]:
    """The outcome of the same deed for each kind of room; they must not differ."""

    def run(deed: Callable[[Any], bytes]) -> Any:
        outcomes = []
        for kind in (PublicRoom, BoundRoom):
            wire = link(policy).pump()
            outcomes.append(Reader(kind, wire).read(deed(wire)).outcome)
        assert outcomes[0] == outcomes[1]
        return outcomes[0]

    return run


@pytest.mark.parametrize("sizes", [
    (1,), (RECORD,), (RECORD + 1,), (1, 2, 3, 4), (6, 131066) * 3, (SIZE - RECORD + 1,), (SIZE - RECORD,), (SIZE,),
    tuple(range(0, 40_000, 997)), (1_000_000,),
])  # fmt: skip
def test_the_same_bytes_in_the_same_pieces(both, sizes):
    fills, end, _ = both(lambda wire: sent(wire, *sizes))
    assert b"".join(fills) == b"".join(words(*sizes))
    assert end is SSL.WantReadError


def test_half_a_record_waits_for_the_other_half(both):
    fills, end, _ = both(lambda wire: sent(wire, 5, RECORD)[:-1])
    assert (b"".join(fills), end) == (words(5)[0], SSL.WantReadError)


def test_the_other_half_may_come_later(link, policy):
    """What was lent is gone by then; what is large and what is small may follow each other."""
    outcomes = []
    for kind in (PublicRoom, BoundRoom):
        wire = link(policy).pump()
        reader, said = Reader(kind, wire), sent(wire, SIZE, 5, SIZE)
        for start, end in ((0, 50_000), (50_000, 50_007), (50_007, 50_008), (50_008, len(said))):
            reader.read(said[start:end])
        outcomes.append(reader.outcome)
        assert wire.server.getHandle().evidence.octets > len(said)
    assert outcomes[0] == outcomes[1]
    assert b"".join(outcomes[0][0]) == b"".join(words(SIZE, 5, SIZE))


@pytest.mark.skipif(not IS_KNOWN, reason="this pyOpenSSL is used in the public way alone")
def test_openssl_keeps_nothing_of_what_is_large(link, policy):
    """It reads from our own memory; copied, each read would leave a buffer of its size to each connection."""
    wire = link(policy).pump()
    server, room, said = wire.server.getHandle(), BoundRoom(SIZE), sent(wire, SIZE)
    room.admit(server, said)
    start = ffi.new("char **")
    assert lib.BIO_get_mem_data(server._into_ssl, start) == len(said)
    assert start[0] == ffi.from_buffer(said)
    assert room.fill(server)[0] == SIZE
    room.leave(server)
    assert lib.BIO_get_mem_data(server._into_ssl, start) == 0
    assert start[0] == ffi.NULL


def closing(wire: Any) -> bytes:
    said = sent(wire, 10)
    wire.client_user.transport.loseConnection()
    return said + b"".join(wire.client_end.sent)


def test_what_came_before_the_end_comes_with_it(both):
    assert both(closing) == (words(10), SSL.ZeroReturnError, ())


def test_a_broken_record_is_the_same_error(both):
    fills, end, arguments = both(lambda wire: sent(wire, 10) + tamper(sent(wire, 9)))
    assert (fills, end) == (words(10), SSL.Error)
    assert arguments


def test_a_lost_connection_is_the_same_error(both):
    def cut(wire: Any) -> bytes:
        said = sent(wire, 10)
        wire.server.getHandle().bio_write(said)
        wire.server.getHandle().bio_shutdown()
        return b""

    fills, end, _ = both(cut)
    assert (fills, end) == (words(10), SSL.SysCallError)


def test_nothing_that_waits_is_lost_when_buffers_shrink(link, policy):
    wire = link(policy).pump()
    server = wire.server.getHandle()
    before = server._into_ssl
    server.bio_write(sent(wire, 5, RECORD)[:-1])
    server.send(b"to be sent")
    shrink(server)
    assert server._into_ssl == before
    assert server.recv(5) == words(5)[0]
    wire.client.getHandle().bio_write(server.bio_read(RECORD))
    assert wire.client.getHandle().recv(RECORD) == b"to be sent"


def test_after_buffers_shrink_both_sides_go_on(link, policy):
    wire = link(policy).pump()
    for end in (wire.server, wire.client):
        before = end.getHandle()._into_ssl, end.getHandle()._from_ssl
        shrink(end.getHandle())
        after = end.getHandle()._into_ssl, end.getHandle()._from_ssl
        assert (before[0] != after[0], before[1] != after[1]) == (True, True)
    wire.client_user.transport.write(bytes(range(256)) * 1000)
    wire.server_user.transport.write(b"and back")
    wire.pump()
    assert (wire.server_user.received, wire.client_user.received) == (bytes(range(256)) * 1000, b"and back")


def test_the_bindings_are_used_where_they_are_known():
    """A new major version of pyOpenSSL is to be looked at; until then the public way will do."""
    is_known = int(OpenSSL.__version__.split(".")[0]) in KNOWN
    assert Room is (BoundRoom if is_known else PublicRoom)
    assert (transport_drain.write, transport_drain.take) == (
        (transport_drain.bound_write, transport_drain.bound_take) if is_known else
        (transport_drain.public_write, transport_drain.public_take)
    )  # fmt: skip
