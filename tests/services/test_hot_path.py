"""What a received byte costs, counted in lines of Python: a count that is the same on every machine.

A line more for each TLS record, or for each PDU, is a decision; so these numbers are exact. (On a TCP socket it is one
line more for each piece, for TCP_QUICKACK.)
"""

from __future__ import annotations

import linecache
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import FrameType
from typing import Any

import pytest

import dimsetls
from dimsetls import uids
from dimsetls.association.protocol import AssociationProtocol
from dimsetls.services.filesystem import Durability, FileStore
from dimsetls.services.layout import BY_SERIES, FLAT, Layout
from dimsetls.services.storage import Storage
from dimsetls.services.verification import Verification
from dimsetls.testing import DevelopmentAuthority, Peer
from dimsetls.tls import endpoints
from dimsetls.ul.writer import LARGEST_PDU_LENGTH

from ..association.stage import Stage, data_set, echo, open_fragment, store, store_command

RECORD = 16384
"""Bytes of a full TLS record."""
PDU = LARGEST_PDU_LENGTH + 6
"""Bytes of a P-DATA-TF of the length that we announce: eight such records."""
LINES_TO_THE_DISK = 10
LINES_A_RECORD = 15
LINES_A_PDU = 174
LINES_TWO_PDUS_OVER_TLS = 126
"""From the network to the disk, where our own TLS hands on as one piece what one read of a socket brought."""
LINES_A_PDU_OVER_TLS = 25
"""Of them, for each of the two, those that are not the TLS layer's: that has some for each record."""
LINES_A_C_ECHO = 221
"""From the request to its response, without TLS."""
LINES_A_C_ECHO_OVER_TLS = 294
"""From what the network brought to what it takes, with our own TLS."""
LINES_A_SMALL_C_STORE = {FLAT: 480, BY_SERIES: 567}
"""The same for an instance of one PDU, by layout: the file, its name and the response among them."""
SERIES = b"\x20\x00\x0d\x00UI\x06\x001.2.3\0" b"\x20\x00\x0e\x00UI\x08\x001.2.3.4\0" b"\x20\x00\x13\x00IS\x02\x001 "
"""The start of a data set: all that any layout needs."""
PACKAGE = str(Path(dimsetls.__file__).parent)

pytestmark = pytest.mark.skipif(sys.version_info[:2] != (3, 11), reason="what is a line differs from Python to Python")


def lines_of(call: Callable[[], object], *, without: str = "") -> list[str]:
    """The lines of this package that a call executes, each as often as it does; or those outside one of its folders."""
    executed: list[str] = []
    left_out = f"{PACKAGE}/{without}/"

    def trace(frame: FrameType, event: str, argument: Any) -> Any:
        if not frame.f_code.co_filename.startswith(PACKAGE) or frame.f_code.co_filename.startswith(left_out):
            return None
        if event == "line":
            executed.append(linecache.getline(frame.f_code.co_filename, frame.f_lineno).strip())
        return trace

    before = sys.gettrace()
    sys.settrace(trace)
    try:
        call()
    finally:
        sys.settrace(before)
    return executed


@pytest.fixture(params=[FLAT, BY_SERIES])
def storing(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Callable[[Any], Peer]]:
    """Makes a peer that is in the middle of a C-STORE to a file store, at the start of a PDU; with or without TLS."""
    store = FileStore(tmp_path / "store", layout=Layout(request.param), fsync=Durability.NONE)
    store.open()
    peers = []

    def make(tls: DevelopmentAuthority | None) -> Peer:
        peer = Stage(Storage(store), tls=tls).associated()
        peers.append(peer)
        peer.send(store_command(), open_fragment(len(SERIES)), SERIES)
        return peer

    yield make
    for peer in peers:
        peer.cut()
    store.close()


@pytest.fixture
def protocol(storing: Callable[[Any], Peer]) -> AssociationProtocol:
    """The acceptor's, without TLS."""
    protocol = storing(None).end.other._protocol
    assert isinstance(protocol, AssociationProtocol)
    return protocol


def pdu() -> list[bytes]:
    """One P-DATA-TF in the eight pieces in which TLS delivers it."""
    wire = open_fragment(PDU - 12) + bytes(PDU - 12)
    return [wire[at : at + RECORD] for at in range(0, PDU, RECORD)]


def on_the_network(peer: Peer, said: bytes) -> bytes:
    """What a peer says as TLS has it; the network holds it back."""
    held: list[bytes] = []
    peer.end.on_the_way = lambda data: held.append(data) or b""
    peer.transport.write(said)
    while peer.end.writable:
        peer.end.flush()
    return b"".join(held)


def test_a_tls_record_inside_a_fragment_costs_this_much(protocol):
    first, *others, _ = pdu()
    protocol.dataReceived(first)
    for record in others:
        executed = lines_of(lambda record=record: protocol.dataReceived(record))
        assert "os.write(" in executed[LINES_TO_THE_DISK - 1]
        assert len(executed) == LINES_A_RECORD, executed


def test_a_pdu_of_eight_tls_records_costs_this_much(protocol):
    costs = [sum(len(lines_of(lambda record=record: protocol.dataReceived(record))) for record in pdu())
             for _ in range(4)]  # fmt: skip
    assert costs[1:] == [LINES_A_PDU] * 3  # the first also ends the fragment before it


def test_a_c_echo_costs_this_much():
    peer = Stage(Verification()).associated()
    protocol = peer.end.other._protocol
    requests = [echo(number) for number in range(4)]
    costs = [len(lines_of(lambda request=request: protocol.dataReceived(request))) for request in requests]
    assert costs[1:] == [LINES_A_C_ECHO] * 3  # the first also makes what is then known


def test_a_c_echo_over_tls_costs_this_much(monkeypatch):
    monkeypatch.setattr(endpoints, "DEFAULT_TRANSPORT", endpoints.Transport.STREAM)
    peer = Stage(Verification(), tls=DevelopmentAuthority()).associated()
    receiver, costs = peer.end.other._protocol, []
    for number in range(4):
        record = on_the_network(peer, echo(number))
        costs.append(len(lines_of(lambda record=record: receiver.dataReceived(record))))
    assert costs[1:] == [LINES_A_C_ECHO_OVER_TLS] * 3


def test_a_small_c_store_costs_this_much(storing, request):
    peer = storing(None)
    peer.send(data_set(b""))  # the end of the one that was under way
    protocol = peer.end.other._protocol
    uids._has_components.cache_clear()  # of what other tests had looked at
    messages = [store(SERIES, instance=f"1.2.3.{number}") for number in range(4)]
    costs = [len(lines_of(lambda message=message: protocol.dataReceived(message))) for message in messages]
    assert costs[1:] == [LINES_A_SMALL_C_STORE[request.node.callspec.params["storing"]]] * 3


@pytest.mark.parametrize(("without", "lines"), [("", LINES_TWO_PDUS_OVER_TLS), ("tls", 2 * LINES_A_PDU_OVER_TLS)])
def test_two_pdus_over_tls_cost_this_much(storing, monkeypatch, without, lines):
    monkeypatch.setattr(endpoints, "DEFAULT_TRANSPORT", endpoints.Transport.STREAM)
    peer = storing(DevelopmentAuthority())
    receiver, costs = peer.end.other._protocol, []
    for _ in range(4):
        records = on_the_network(peer, b"".join(pdu()) * 2)
        costs.append(len(lines_of(lambda records=records: receiver.dataReceived(records), without=without)))
    assert costs[1:] == [lines] * 3
