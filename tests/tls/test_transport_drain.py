"""Records leave OpenSSL alike by pyOpenSSL's own call and by the binding; and one write takes a whole PDU."""

from __future__ import annotations

from typing import Any

import pytest
from OpenSSL import SSL
from OpenSSL._util import lib

from dimsetls.tls.transport_drain import MOST, bound_take, bound_write, public_take, public_write, write_whole
from dimsetls.tls.transport_room import RECORD


@pytest.fixture
def wire(link, policy) -> Any:
    return link(policy).pump()


@pytest.mark.parametrize("take", [public_take, bound_take])
@pytest.mark.parametrize("size", [1, RECORD, 8 * RECORD, 20 * RECORD])
def test_what_was_written_is_taken_piece_by_piece(wire, take, size):
    sender, receiver = wire.client.getHandle(), wire.server.getHandle()
    data, taken = bytes(range(256)) * (size // 256 + 1), []
    sent = 0
    while sent < size:  # a record or more at once, as the transport has it
        sent += sender.send(data[sent:size])
    while piece := take(sender):
        taken.append(len(piece))
        receiver.bio_write(bytes(piece))
    assert all(length == MOST for length in taken[:-1])
    received = b""
    while len(received) < size:
        received += receiver.recv(size)
    assert received == data[:size]
    assert not take(sender)


def test_only_a_connection_that_was_told_so_takes_more_than_a_record_at_once(wire):
    connection = wire.client.getHandle()
    lib.SSL_set_mode(connection._ssl, lib.SSL_MODE_ENABLE_PARTIAL_WRITE)  # as pyOpenSSL makes them
    assert connection.send(bytes(8 * RECORD)) == RECORD
    write_whole(connection)
    assert connection.send(bytes(8 * RECORD)) == 8 * RECORD


@pytest.mark.parametrize("size", [1, RECORD, 100])
def test_what_is_written_goes_out_in_the_same_pieces(link, policy, size):
    """As many bytes for each word, and MOST of them at once."""
    outcomes = []
    for put, get in ((public_write, public_take), (bound_write, bound_take)):
        wire = link(policy).pump()
        server, word = wire.server.getHandle(), bytes(range(256)) * (size // 256) + bytes(size % 256)
        assert get(server) == b""
        written = [put(server, memoryview(word)) for _ in range(MOST // RECORD + 1)]
        pieces = []
        while piece := bytes(get(server)):
            pieces.append(piece)
        client = wire.client.getHandle()
        client.bio_write(b"".join(pieces))
        heard = b"".join(client.recv(RECORD) for _ in written)
        assert heard == word * len(written)
        outcomes.append((written, [len(piece) for piece in pieces]))
    assert outcomes[0] == outcomes[1]


def test_a_connection_that_is_closed_takes_nothing_in_the_same_way(link, policy):
    ends = []
    for put in (public_write, bound_write):
        server = link(policy).pump().server.getHandle()
        server.shutdown()
        with pytest.raises(SSL.Error) as caught:
            put(server, memoryview(b"too late"))
        ends.append((type(caught.value), caught.value.args))
    assert ends[0] == ends[1]
