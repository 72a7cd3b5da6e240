"""TLS over other roads than TCP on IPv4: UNIX sockets, a proxy in front, sockets from systemd, IPv6."""

from __future__ import annotations

import socket
import struct
from pathlib import Path

import pytest

from dimsetls.ul.pdus import AssociateRJ

from .running import DEADLINE, Node
from .sender import Rejected, Sender, client_context, connect, data_set, instance_uid

pytestmark = pytest.mark.peers

RISK = {"development_certificates_outside_loopback": "i understand the risk"}
PROXIED_V1 = b"PROXY TCP4 192.0.2.7 192.0.2.1 45678 2762\r\n"
PROXIED_V2 = (
    b"\r\n\r\n\0\r\nQUIT\n" + bytes((0x21, 0x11)) + struct.pack(">H", 12)
    + socket.inet_aton("192.0.2.7") + socket.inet_aton("192.0.2.1") + struct.pack(">HH", 45678, 2762)
)  # fmt: skip
PROXIED_V2_IPV6 = (
    b"\r\n\r\n\0\r\nQUIT\n" + bytes((0x21, 0x21)) + struct.pack(">H", 36)
    + socket.inet_pton(socket.AF_INET6, "2001:db8::7") + socket.inet_pton(socket.AF_INET6, "2001:db8::1")
    + struct.pack(">HH", 45678, 2762)
)  # fmt: skip


def use_endpoint(node: Node, endpoint: str) -> None:
    node.set("listener main", port=None, endpoint=endpoint)
    node.set("tls secure", **RISK)


def echo_and_store(address: tuple[str, int] | str, pki: Path, before_tls: bytes = b"") -> None:
    with Sender(connect(address, client_context(pki), before_tls=before_tls)) as sender:
        assert sender.echo() == 0x0000
        assert sender.store(instance_uid(1), data_set(instance_uid(1), 100_000)) == 0x0000
        sender.release()


def test_a_unix_socket(node: Node, pki: Path) -> None:
    path = node.directory / "s"
    use_endpoint(node, f"unix:{path}")
    with node.running() as service:
        echo_and_store(str(path), pki)
        service.expect(r"\breleased SENDER at unix to DIMSETLS")
        service.kill()
    assert path.exists()
    with node.running() as service:  # the socket that the dead one left is no obstacle
        echo_and_store(str(path), pki)
    assert len(node.stored()) == 1


@pytest.mark.parametrize(("header", "peer"), [
    (PROXIED_V1, r"192\.0\.2\.7:45678"),
    (PROXIED_V2, r"192\.0\.2\.7:45678"),
    (PROXIED_V2_IPV6, r"\[2001:db8:[0:]*:7\]:45678"),
], ids=["version 1", "version 2", "version 2 with IPv6"])  # fmt: skip
def test_a_proxy_in_front(node: Node, pki: Path, header: bytes, peer: str) -> None:
    use_endpoint(node, "haproxy:tcp:0:interface=127.0.0.1")
    with node.running() as service:
        echo_and_store(("127.0.0.1", service.port()), pki, header)
        service.expect(rf"\breleased SENDER at {peer} to DIMSETLS")


def test_the_address_of_a_peer_is_that_before_the_proxy(node: Node, pki: Path) -> None:
    use_endpoint(node, "haproxy:tcp:0:interface=127.0.0.1")
    node.set("ae DIMSETLS", peers="scanner")
    node.set("peer scanner", ae_title="SENDER", addresses="192.0.2.0/24")
    with node.running() as service:
        address = "127.0.0.1", service.port()
        echo_and_store(address, pki, PROXIED_V1)
        with pytest.raises(Rejected) as caught:
            echo_and_store(address, pki, PROXIED_V1.replace(b"192.0.2.7", b"198.51.100.7"))
        assert caught.value.pdu == AssociateRJ(1, 1, 3)
        service.expect(r"\brefused SENDER at 198\.51\.100\.7:45678\b")


def test_a_peer_that_comes_past_the_proxy_is_cut_off(node: Node, pki: Path) -> None:
    use_endpoint(node, "haproxy:tcp:0:interface=127.0.0.1")
    with node.running() as service:
        address = "127.0.0.1", service.port()
        with pytest.raises(OSError):
            echo_and_store(address, pki)
        echo_and_store(address, pki, PROXIED_V1)


def handed_over(listening: socket.socket) -> tuple[tuple[str, ...], dict[str, list[int]]]:
    """What systemd does: the socket is descriptor 3, and the process that is to have it is named by its ID."""
    script = 'exec 3<&"$0"; LISTEN_PID=$$ LISTEN_FDS=1 LISTEN_FDNAMES=dicom exec "$@"'
    return ("bash", "-c", script, str(listening.fileno())), {"pass_fds": [listening.fileno()]}


@pytest.mark.parametrize("which", ["index=0", "name=dicom"])
def test_a_socket_from_systemd(node: Node, pki: Path, which: str) -> None:
    use_endpoint(node, f"systemd:domain=INET:{which}")
    with socket.create_server(("127.0.0.1", 0)) as listening:
        prefix, how = handed_over(listening)
        with node.running(*prefix, **how) as service:
            assert service.port() == listening.getsockname()[1]
            echo_and_store(listening.getsockname(), pki)
            service.expect(r"\breleased SENDER at 127\.0\.0\.1:\d+ to DIMSETLS")


def test_who_connects_before_it_has_started_is_served(node: Node, pki: Path) -> None:
    """systemd starts the service because somebody connects."""
    use_endpoint(node, "systemd:domain=INET:index=0")
    with socket.create_server(("127.0.0.1", 0)) as listening:
        early = socket.create_connection(listening.getsockname(), DEADLINE)
        prefix, how = handed_over(listening)
        with node.running(*prefix, **how):
            sender = Sender(client_context(pki).wrap_socket(early, server_hostname="localhost"))
            assert sender.echo() == 0x0000
            sender.release()


def test_no_socket_from_systemd(node: Node) -> None:
    use_endpoint(node, "systemd:domain=INET:index=0")
    service = node.start()
    assert service.wait() == 1
    (line,) = service.lines("systemd:")
    assert "[listener main] cannot listen on systemd:domain=INET:index=0: systemd has handed over no such s" in line
    assert "Traceback" not in service.log


def test_ipv6(node: Node, pki: Path) -> None:
    node.set("listener main", interface="::1")
    with node.running() as service:
        service.expect(rf" listens on \[::1\]:{service.port()} as DIMSETLS\b")
        echo_and_store(("::1", service.port()), pki)
        service.expect(r"\breleased SENDER at \[::1\]:\d+ to DIMSETLS")
        assert not service.lines("in another terminal: echoscu")  # which knows no IPv6


def test_every_address_takes_ipv4_as_well(node: Node, pki: Path) -> None:
    node.set("listener main", interface="::")
    node.set("tls secure", **RISK)
    node.set("ae DIMSETLS", peers="here")
    node.set("peer here", ae_title="SENDER", addresses="127.0.0.0/8, ::1")
    with node.running() as service:
        for host in "127.0.0.1", "::1":
            echo_and_store((host, service.port()), pki)
        assert len(service.expect(r"\breleased SENDER at ", 2)) == 2
