"""Records leave OpenSSL alike by pyOpenSSL's own call and by the binding; and one write takes a whole PDU."""

from __future__ import annotations

from typing import Any

import pytest
from OpenSSL._util import lib

from dimsetls.tls.transport_drain import MOST, bound_take, public_take, write_whole
from dimsetls.tls.transport_room import RECORD


@pytest.fixture
def wire(link, policy) -> Any:
    return link(policy).pump()


@pytest.mark.parametrize("take", [public_take, bound_take])
@pytest.mark.parametrize("size", [1, RECORD, 8 * RECORD, 20 * RECORD])
def test_what_was_written_is_taken_piece_by_piece(wire, take, size):
    sender, receiver = wire.client.getHandle(), wire.server.getHandle()
    data, taken = bytes(range(256)) * (size // 256 + 1), []
    assert sender.send(data[:size]) == size
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
