"""The transport: whatever ends it is told once with its reason, and leaves nothing behind."""

from __future__ import annotations

import socket

import pytest
from twisted.internet.address import IPv4Address, IPv6Address, UNIXAddress
from twisted.internet.error import ConnectionDone
from twisted.python.failure import Failure

from dimsetls.association.acceptor import AcceptorFactory
from dimsetls.association.admission import ApplicationEntity
from dimsetls.association.events import AssociationEnded, AssociationStarted, ConnectionFailed
from dimsetls.services.verification import Verification
from dimsetls.testing import ClientConnectionCreator, Link, Peer, profile, tamper
from dimsetls.tls.conditions import BY_REASON
from dimsetls.tls.endpoints import DicomTLSClientEndpoint
from dimsetls.ul.writer import write_pdu

from .stage import Stage, echo, request

# Ends that nobody asked for ----------------------------------------------------------------------------------------


def test_what_ends_tls_reaches_the_association_as_provider_abort_with_its_reason(authority):
    def alter(peer: Peer) -> None:
        peer.end.on_the_way = tamper
        peer.send(echo())

    def disconnect(peer: Peer) -> None:
        peer.end.abortConnection()
        peer._link.pump()

    for end, name, reason in (
        (alter, "provider-aborted", 0x214), (Peer.cut, "provider-aborted", 0x401),
        (disconnect, "provider-aborted", 0x401), (Peer.close, "provider-aborted", 0x404),
    ):  # fmt: skip
        stage = Stage(tls=authority)
        end(stage.associated())
        ended = stage.told(AssociationEnded)
        assert (ended.outcome, ended.provider_reason) == (name, reason)
        row = BY_REASON[reason]
        assert ended.detail.startswith(f"{row.sentence} ({row.name}: ")
        assert stage.is_quiet


@pytest.mark.parametrize("end", [Peer.close, Peer.cut, lambda peer: peer.end.abortConnection()])
def test_a_plain_connection_that_is_lost_is_a_provider_abort_too(end):
    stage = Stage()
    end(stage.associated())
    stage.link.pump()
    ended = stage.told(AssociationEnded)
    assert (ended.outcome, ended.provider_reason) == ("provider-aborted", 0x102)
    assert stage.is_quiet


def test_after_a_failed_record_no_pdu_is_sent(authority):
    stage = Stage(tls=authority)
    peer = stage.associated()
    before = len(peer.received)
    peer.end.on_the_way = tamper
    assert peer.send(echo()) == []
    assert len(peer.received) == before
    assert peer.lost is not None


@pytest.mark.parametrize(("said", "name"), [
    (write_pdu(request()), "plaintext-dicom"),
    (b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n", "http"),
    (b"SSH-2.0-OpenSSH_9.2\r\n", "not-tls"),
])  # fmt: skip
def test_a_peer_that_speaks_no_tls_is_told_so_and_nothing_else_happens(authority, said, name):
    stage = Stage(tls=authority)
    peer = Peer.connect(stage.link)
    peer.dataReceived = lambda data: None  # an alert
    peer.send(said)
    assert stage.told(ConnectionFailed).fault.name == name
    assert stage.kinds == ["ConnectionFailed"]
    peer.close()
    assert stage.is_quiet


def test_a_peer_without_a_certificate_fails_before_there_is_an_association(authority):
    stage = Stage(tls=authority)
    creator = ClientConnectionCreator(profile("bcp195-rfc9325"), authority.trust_roots, None, server_name="localhost")
    peer = Peer.connect(stage.link, DicomTLSClientEndpoint(stage.link, creator))
    assert peer.lost is not None
    failed = stage.told(ConnectionFailed)
    assert failed.fault.name in ("no-client-certificate", "certificate-required")
    assert (failed.parties.peer, failed.parties.tls) == ("192.0.2.1:50000", None)
    assert stage.kinds == ["ConnectionFailed"]


@pytest.mark.parametrize("over_tls", [False, True])
def test_a_connection_that_is_closed_without_a_word_is_told_once(authority, over_tls):
    stage = Stage(tls=authority if over_tls else None)
    peer = stage.peer()
    peer.close()
    assert stage.kinds == ["ConnectionFailed"]
    assert stage.is_quiet


def test_the_session_has_the_facts_of_the_tls_connection(authority):
    stage = Stage(tls=authority)
    stage.associated()
    parties = stage.told(AssociationStarted).parties
    assert parties.tls is not None
    assert (parties.tls.version, parties.tls.alpn) == ("TLSv1.3", "dicom")
    assert "development client" in parties.certificate


# Addresses and sockets -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("address", "peer"), [
    (IPv4Address("TCP", "192.0.2.7", 1024), "192.0.2.7:1024"),
    (IPv6Address("TCP", "2001:db8::7", 1024), "[2001:db8::7]:1024"),
    (UNIXAddress(None), "unix"),
])  # fmt: skip
def test_the_peer_as_text(address, peer):
    stage = Stage()
    stage.link.client_address = address
    stage.associated()
    assert stage.told(AssociationStarted).parties.peer == peer


def test_the_socket_below_any_wrappers_gets_no_delay():
    """The one thing that a memory transport has not: a real socket, under a wrapper as TLS or PROXY put there."""
    factory = AcceptorFactory(ApplicationEntity("DIMSETLS", Verification()), clock=Link())
    listener, client = socket.create_server(("127.0.0.1", 0)), socket.socket()
    client.connect(listener.getsockname())
    accepted, _ = listener.accept()

    class Below:
        def getHandle(self) -> socket.socket:
            return accepted

    class Above(Below):
        transport = Below()

        def getHandle(self) -> None:
            return None

        def getPeer(self) -> IPv4Address:
            return IPv4Address("TCP", "127.0.0.1", 1)

        def registerProducer(self, producer: object, streaming: bool) -> None:
            pass

    with listener, client, accepted:
        protocol = factory.buildProtocol(None)
        protocol.makeConnection(Above())
        assert accepted.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
        protocol.dataReceived(b"")  # TCP_QUICKACK, which a socket forgets and so cannot be asked for
        protocol.connectionLost(Failure(ConnectionDone()))
