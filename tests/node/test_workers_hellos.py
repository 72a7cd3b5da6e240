"""Connections that wait in the main process for their ClientHello: not for long, not many, and nothing is lost."""

from __future__ import annotations

import select
import socket
from collections.abc import Iterator
from typing import Any

import pytest
from twisted.internet.testing import MemoryReactorClock

from dimsetls.node.workers import hellos
from dimsetls.node.workers.hellos import MOST, WITHIN, Hellos

from ..tls.test_tickets import NAME, hello, offer

HELLO = hello((43, b"\2\3\4"), offer(NAME + bytes(200)))
V1 = b"PROXY TCP4 192.0.2.7 192.0.2.1 4711 2762\r\n"
V2 = b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0c" + bytes(12)


class House:
    """Takes connections over TCP, and keeps what is given on."""

    def __init__(self, reactor: MemoryReactorClock) -> None:
        self.reactor = reactor
        self.given: list[tuple[socket.socket, str, bytes]] = []
        self.hellos = Hellos(lambda *values: self.given.append(values))
        self._server = socket.create_server(("127.0.0.1", 0))
        self._open: list[socket.socket] = [self._server]

    def client(self, *pieces: bytes, place: str = "here", is_proxied: bool = False) -> socket.socket:
        """One more that has said this much before it is taken."""
        client = socket.create_connection(self._server.getsockname())
        accepted, _ = self._server.accept()
        self._open += [client, accepted]
        accepted.setblocking(False)
        for piece in pieces:
            self.say(client, accepted, piece)
        self.hellos.take(accepted, place, is_proxied=is_proxied)
        self.accepted = accepted
        return client

    def say(self, client: socket.socket, accepted: socket.socket, words: bytes) -> None:
        """Say it, and see it arrive."""
        had = self.there(accepted)
        client.sendall(words)
        while self.there(accepted) < had + len(words):
            pass

    def there(self, accepted: socket.socket) -> int:
        try:
            return len(accepted.recv(1 << 16, socket.MSG_PEEK))
        except BlockingIOError:
            return 0

    def more(self, client: socket.socket, words: bytes) -> None:
        """Say more, of which the reactor tells."""
        (reader,) = self.reactor.getReaders()
        self.say(client, self.accepted, words)
        reader.doRead()  # type: ignore[attr-defined]

    @property
    def low_water(self) -> int:
        return self.accepted.getsockopt(socket.SOL_SOCKET, socket.SO_RCVLOWAT)

    def close(self) -> None:
        for each in self._open:
            each.close()


@pytest.fixture
def house(monkeypatch: pytest.MonkeyPatch) -> Iterator[House]:
    reactor: Any = MemoryReactorClock()
    monkeypatch.setattr(hellos, "reactor", reactor)
    house = House(reactor)
    yield house
    assert reactor.getReaders() == []
    assert reactor.getDelayedCalls() == []
    house.close()


@pytest.mark.parametrize(("words", "is_proxied", "key"), [
    (HELLO, False, NAME), (V1 + HELLO, True, NAME), (V2 + HELLO, True, NAME),
    (hello(), False, b""), (b"\1\0\0\0\0\xce", False, b""), (V1 + HELLO, False, b""), (V1 + b"\1", True, b""),
    (HELLO, True, b""), (V2[:14] + b"\xff\xff" + HELLO, True, b""),
], ids=["ticket", "PROXY 1", "PROXY 2", "none", "plain", "unexpected", "plain behind", "no header", "long"])
def test_who_has_said_enough_goes_on_unread(house: House, words: bytes, is_proxied: bool, key: bytes) -> None:
    house.client(words, is_proxied=is_proxied)
    assert [(place, found) for _, place, found in house.given] == [("here", key)]
    connection = house.given[0][0]
    assert connection.recv(1 << 16) == words
    assert house.low_water == 1


@pytest.mark.parametrize("cut", [0, 1, 4, 5, 60, len(HELLO) - 1])
def test_the_rest_is_awaited_and_no_piece_wakes_anybody(house: House, cut: int) -> None:
    client = house.client(*filter(None, [HELLO[:cut]]))
    assert house.given == []
    assert house.low_water == (1 if cut == 0 else 5 if cut < 5 else len(HELLO))
    house.more(client, HELLO[cut:])
    assert [(place, found) for _, place, found in house.given] == [("here", NAME)]
    assert house.low_water == 1


@pytest.mark.parametrize("header", [V1, V2])
def test_a_header_may_come_by_itself(house: House, header: bytes) -> None:
    client = house.client(header[:9], is_proxied=True)
    house.more(client, header[9:])
    house.more(client, HELLO)
    assert [found for _, _, found in house.given] == [NAME]


def test_who_says_nothing_goes_on_when_the_time_is_over(house: House) -> None:
    house.client()
    house.client(HELLO[:50])
    house.reactor.advance(WITHIN - 0.01)
    assert house.given == []
    house.reactor.advance(0.01)
    assert [found for _, _, found in house.given] == [b"", b""]
    assert house.low_water == 1


def test_who_says_no_more_goes_on(house: House) -> None:
    """The reactor tells of an end as well, where there is nothing more to read."""
    for words in HELLO[:50], b"":
        client = house.client(*filter(None, [words]))
        client.shutdown(socket.SHUT_WR)
        (reader,) = house.reactor.getReaders()
        while select.select([house.accepted], [], [], 1) == ([], [], []):
            pass
        reader.doRead()  # type: ignore[attr-defined]
    assert [found for _, _, found in house.given] == [b"", b""]


def test_only_so_many_are_awaited(house: House) -> None:
    for _ in range(MOST):
        house.client()
    assert house.given == []
    house.client()
    assert [found for _, _, found in house.given] == [b""]
    house.client(HELLO)
    assert [found for _, _, found in house.given] == [b"", NAME]
    house.reactor.advance(WITHIN)
    assert len(house.given) == MOST + 2


def test_who_waits_where_nobody_listens_any_more_is_closed(house: House) -> None:
    gone = house.client(place="gone")
    house.client(place="here")
    house.hellos.close("gone")
    assert gone.recv(1) == b""
    house.reactor.advance(WITHIN)
    assert [place for _, place, _ in house.given] == ["here"]
