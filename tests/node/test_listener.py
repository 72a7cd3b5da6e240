"""A listener without TLS is asked for in words and says what it is; AE titles that are bound to certificates."""

from __future__ import annotations

import socket
from pathlib import Path

import pytest
from twisted.internet import reactor
from twisted.internet.interfaces import IReactorTime

from dimsetls.association.admission import ApplicationEntity
from dimsetls.association.protocol import Timeouts
from dimsetls.errors import ConfigurationError
from dimsetls.node.config import Listener
from dimsetls.node.entities import Entities
from dimsetls.node.listener import ListenerService
from dimsetls.node.prepare import Prepared, prepare, summary
from dimsetls.testing import DevelopmentAuthority
from dimsetls.tls.endpoints import Transport
from dimsetls.ul.pdus import Abort, AssociateRJ
from dimsetls.ul.reader import read_pdu

from ..peers.running import DEADLINE, Node, Service
from ..peers.sender import Rejected, Sender, client_context, connect

RISK = "i understand the risk"


@pytest.fixture
def plain(node: Node) -> Node:
    """A node that speaks DICOM in plain on another listener."""
    node.set("listener old", port=0, plain=RISK, aes="PLAIN")
    node.set("ae PLAIN", services="verification")
    return node


def address(service: Service, ae_title: str) -> tuple[str, int]:
    return "127.0.0.1", service.port(ae_title)


def answer(connection: socket.socket) -> bytes:
    """All that comes until the other side closes."""
    return b"".join(iter(lambda: connection.recv(4096), b""))


@pytest.mark.parametrize("transport", list(Transport))
def test_what_carries_tls_is_configured_and_follows_a_reload(node: Node, transport: Transport) -> None:
    """By what carries it TLS looks the same, so here is who knows."""
    def listened(name: Transport) -> tuple[Listener, list[ApplicationEntity], Prepared]:
        node.set("tls secure", transport=name)
        prepared = prepare(node.write())
        return prepared.config.listeners[0], [], prepared

    (other,) = {*Transport} - {transport}
    service = ListenerService(*listened(other))
    assert service._connections.transport is other
    service.configure(*listened(transport))
    assert service._connections.transport is transport


def test_deadlines_and_windows_are_those_of_the_configuration(node: Node) -> None:
    deadlines = {"tls_handshake": 1.0, "artim": 2.0, "idle": 3.0, "pdu": 4.0, "write": 5.0, "response": 6.0}
    node.set("limits normal", **{f"{name}_timeout": f"{value:g}s" for name, value in deadlines.items()})
    node.set("ae DIMSETLS", maximum_operations_invoked=7, maximum_operations_performed=8)
    prepared = prepare(node.write())
    (listener,) = prepared.config.listeners
    (entity,) = entities = Entities(IReactorTime(reactor)).of(listener, prepared)
    assert ListenerService(listener, entities, prepared).factory.timeouts == Timeouts(**deadlines)
    assert (entity.maximum_operations_invoked, entity.maximum_operations_performed) == (7, 8)


# Plain DICOM ---------------------------------------------------------------------------------------------------------


def test_a_plain_listener_says_so_at_each_start(plain: Node) -> None:
    for _ in range(2):
        with plain.running() as service:
            port = service.port("PLAIN")
            (line,) = service.expect(rf"#warn. 127\.0\.0\.1:{port} speaks plain DICOM, ")
            assert line.endswith("as [listener old] has it: who can see the network reads what is sent, and anyone may "
                                 "claim any AE title")
            service.expect(rf" listens on 127\.0\.0\.1:{port} as PLAIN with no TLS$")
            with Sender(socket.create_connection(("127.0.0.1", port), DEADLINE), called="PLAIN") as sender:
                assert sender.echo() == 0x0000
                sender.release()
            service.expect(r"\bstarted SENDER at \S+ to PLAIN \(no TLS, no certificate\)")


def test_a_listener_with_tls_does_not_say_so(node: Node) -> None:
    with node.running() as service:
        service.expect("to store, in another terminal: ")
    assert not service.lines("plain DICOM")


def test_tls_on_a_plain_port_is_named(plain: Node, pki: Path) -> None:
    with plain.running() as service:
        with pytest.raises(OSError):
            connect(address(service, "PLAIN"), client_context(pki))
        service.expect(r"refused 127\.0\.0\.1:\d+ \(no TLS, .*it looks like a TLS ClientHello on a port without TLS")


def test_http_on_a_plain_port_is_named(plain: Node) -> None:
    with plain.running() as service:
        with socket.create_connection(address(service, "PLAIN"), DEADLINE) as browser:
            browser.sendall(b"GET / HTTP/1.1\r\nHost: pacs.example\r\n\r\n")
            header = browser.recv(10, socket.MSG_WAITALL)
            assert isinstance(read_pdu(header[0], header[6:]), Abort)
        service.expect(r"refused 127\.0\.0\.1:\d+ \(no TLS, .*it looks like an HTTP request on a DICOM port")


@pytest.mark.parametrize(("sent", "name"), [
    (b"GET / HTTP/1.1\r\nHost: pacs.example\r\n\r\n", "http"),
    (bytes.fromhex("0100000000cd0001"), "plaintext-dicom"),
])
def test_what_is_not_tls_on_a_tls_port_is_named_and_never_answered_in_plain(
    node: Node, sent: bytes, name: str
) -> None:
    with node.running() as service, socket.create_connection(address(service, "DIMSETLS"), DEADLINE) as stranger:
        stranger.sendall(sent)
        service.expect(rf"no association with 127\.0\.0\.1:\d+: .* \({name}\b")
        try:
            said = answer(stranger)
        except ConnectionError:
            said = b""
        assert said[:1] in (b"", b"\x15")  # nothing, or a TLS alert


def problems(node: Node) -> list[str]:
    ini = node.write()
    with pytest.raises(ConfigurationError) as caught:
        prepare(ini)
    return [problem.split(": ", 1)[1] for problem in caught.value.problems]


@pytest.mark.parametrize("words", ["yes", "true", "I understand", "plain"])
def test_plain_is_asked_for_in_words(plain: Node, words: str) -> None:
    plain.set("listener old", plain=words)
    (found,) = [problem for problem in problems(plain) if problem.startswith("[listener old] plain: ")]
    assert f"found {words!r}, expected " in found
    assert RISK in found


def test_a_listener_without_a_word_about_tls_is_refused(plain: Node) -> None:
    plain.set("listener old", plain=None)
    assert problems(plain) == ["[listener old] tls: found nothing, expected the name of a [tls] section, such as "
                               "tls = secure"]


def test_the_port_of_dicom_over_tls_is_never_plain(plain: Node) -> None:
    plain.set("listener old", port=2762)
    assert problems(plain) == ["[listener old] port: found 2762 for a plain listener, expected another: 2762 is "
                               "registered for TLS"]


def test_plain_and_tls_are_one_or_the_other(plain: Node) -> None:
    plain.set("listener old", tls="secure")
    (found,) = problems(plain)
    assert found.startswith("[listener old] plain: found besides tls (line ")


def test_check_says_which_listener_is_plain(plain: Node) -> None:
    assert "listener old: 127.0.0.1:0, plain DICOM without TLS, AE PLAIN, limits default" in [
        *summary(prepare(plain.write()))
    ]


# AE titles bound to certificates -------------------------------------------------------------------------------------


@pytest.fixture
def clients(node: Node) -> dict[str, Path]:
    """Two clients of one authority, by the name in their certificates; the title CT1 is bound to the first."""
    authority = DevelopmentAuthority("hospital")
    own = node.directory / "own"
    own.mkdir()
    authority.issue_server().write(own / "server.pem", own / "server.key")
    found = {}
    for name in "ct1", "mr1":
        found[name] = node.directory / name
        found[name].mkdir()
        (found[name] / "ca.pem").write_bytes(authority.own.certificate_pem)
        issued = authority.issue_client(name, names=[f"{name}.hospital.example"])
        issued.write(found[name] / "client.pem", found[name] / "client.key")
    node.set("tls secure", certificate="own/server.pem", private_key="own/server.key", trust_roots="ct1/ca.pem")
    node.set("peer ct1", ae_title="CT1", certificates="dns:ct1.hospital.example")
    return found


@pytest.mark.parametrize("peers", [None, "ct1"])
def test_a_certificate_that_claims_the_title_of_another_is_a_security_alert(
    node: Node, clients: dict[str, Path], peers: str | None
) -> None:
    """Also where anyone may call."""
    node.set("ae DIMSETLS", peers=peers)
    with node.running() as service:

        def call(client: str, title: str) -> Sender:
            return Sender(connect(address(service, "DIMSETLS"), client_context(clients[client])), calling=title)

        with call("ct1", "CT1") as sender:
            assert sender.echo() == 0x0000
            sender.release()
        with pytest.raises(Rejected) as caught:
            call("mr1", "CT1")
        assert caught.value.pdu == AssociateRJ(1, 1, 3)
        (alert,) = service.expect("SECURITY ALERT")
        assert "dimsetls.association#error] [" in alert
        assert "SECURITY ALERT: refused CT1 at 127.0.0.1:" in alert
        assert "with A-ASSOCIATE-RJ (1,1,3): CT1 is bound to certificates by [peer ct1], but CN=mr1," in alert
        if peers is None:
            with call("mr1", "MR1") as sender:  # a title that nobody is bound to
                sender.release()
        else:
            with pytest.raises(Rejected):
                call("mr1", "MR1")
            service.expect(r"#warn. \[\w+\] refused MR1 ")
        service.stop()
    assert len(service.lines("SECURITY ALERT|#error")) == 1
    assert not [line for line in service.lines("SECURITY ALERT") if "#error" not in line]
