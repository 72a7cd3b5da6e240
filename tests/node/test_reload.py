"""SIGHUP: new connections find the new configuration, associations go on, and a bad one changes nothing."""

from __future__ import annotations

import os
import socket
import ssl
from pathlib import Path
from signal import SIGHUP

import pytest

from dimsetls.testing import DevelopmentAuthority, DevelopmentCertificate
from dimsetls.ul.pdus import AssociateRJ

from ..peers.running import DEADLINE, Node, Service, eventually
from ..peers.sender import Rejected, Sender, client_context, connect, data_set, instance_uid

RISK = "i understand the risk"


def reload(service: Service, node: Node) -> None:
    """Have the service take the configuration as it is now, and wait until it has."""
    before = len(service.lines("#info. reloaded "))
    node.write()
    os.kill(service.process.pid, SIGHUP)
    service.expect(rf"#info. reloaded {node.directory}/dimsetls.ini; it holds for new connections", before + 1)


def refused(service: Service, node: Node) -> list[str]:
    """The same with a configuration that cannot be used: what is said against it."""
    before, count = len(service.log.splitlines()), len(service.lines("the configuration of before stays in force"))
    node.write()
    os.kill(service.process.pid, SIGHUP)
    service.expect("the configuration of before stays in force", count + 1)
    said = [line for line in service.log.splitlines()[before:] if "#error" in line or "#critical" in line]
    return [line.split("#error] ")[-1] for line in said]


def sender(service: Service, pki: Path, called: str = "DIMSETLS") -> Sender:
    return Sender(connect(("127.0.0.1", service.port(called)), client_context(pki)), called=called)


def assert_serves(service: Service, pki: Path, called: str = "DIMSETLS") -> None:
    with sender(service, pki, called) as association:
        assert association.echo() == 0x0000
        association.release()


def write_keys(
    directory: Path, authority: DevelopmentAuthority, name: str, issued: DevelopmentCertificate
) -> None:
    """A certificate in the place of the one that may be there, as renewal does it."""
    for path, content in ((f"{name}.pem", issued.certificate_pem), (f"{name}.key", issued.private_key_pem)):
        (directory / path).write_bytes(content)
        (directory / path).chmod(0o600)
    (directory / "ca.pem").write_bytes(authority.own.certificate_pem)


def keys_of_client(directory: Path, authority: DevelopmentAuthority, server: DevelopmentAuthority) -> Path:
    """What a client has: a certificate of one authority, and trust in another."""
    directory.mkdir()
    write_keys(directory, server, "client", authority.issue_client())
    return directory


@pytest.fixture
def old() -> DevelopmentAuthority:
    return DevelopmentAuthority("old")


@pytest.fixture
def own(node: Node, old: DevelopmentAuthority) -> Node:
    """A node with a certificate of the old authority, in a directory of its own."""
    keys = node.directory / "keys"
    keys.mkdir()
    write_keys(keys, old, "server", old.issue_server("first"))
    node.set("tls secure", certificate="keys/server.pem", private_key="keys/server.key", trust_roots="keys/ca.pem")
    return node


def is_closed(port: int) -> bool:
    """Whether nobody listens there any more, which Twisted sees to soon after."""
    with socket.socket() as caller:
        caller.settimeout(DEADLINE)
        return caller.connect_ex(("127.0.0.1", port)) != 0


# What takes effect ---------------------------------------------------------------------------------------------------


def test_an_association_stays_up_and_a_store_under_way_goes_on(node: Node, pki: Path) -> None:
    (node.directory / "second").mkdir()
    uid, content = instance_uid(1), data_set(instance_uid(1), 100_000)
    with node.running() as service, sender(service, pki) as association:
        assert association.echo() == 0x0000
        association.begin_store(uid)
        association.data([content[:50_000]], last=False)
        node.set("listener main", aes="OTHER")
        node.set("ae OTHER", storage="second")
        node.set("storage second", directory="second")
        node.set("ae DIMSETLS", services="verification", storage=None)
        del node.sections["ae DIMSETLS"], node.sections["storage archive"]
        reload(service, node)
        association.data([content[50_000:]], last=True)
        assert association.status() == 0x0000
        assert association.echo() == 0x0000
        assert len(node.stored()) == 1
        with pytest.raises(Rejected) as caught:
            sender(service, pki)
        assert caught.value.pdu == AssociateRJ(1, 1, 7)
        with Sender(connect(("127.0.0.1", service.port()), client_context(pki)), called="OTHER") as other:
            assert other.store(uid, content) == 0x0000
            other.release()
        assert association.echo() == 0x0000
        association.release()
    assert len([path for path in (node.directory / "second").rglob("*.dcm") if ".incoming" not in path.parts]) == 1


def test_certificates_are_renewed_in_their_place(own: Node, old: DevelopmentAuthority, tmp_path: Path) -> None:
    client = keys_of_client(tmp_path / "client", old, old)

    def presented(service: Service) -> str:
        with connect(("127.0.0.1", service.port()), client_context(client)) as connection:
            subject = dict(field for (field,) in connection.getpeercert()["subject"])
        return subject["commonName"]

    with own.running() as service, sender(service, client) as association:
        assert presented(service) == "first"
        write_keys(own.directory / "keys", old, "server", old.issue_server("second"))
        assert presented(service) == "first"  # until it is told
        reload(service, own)
        assert presented(service) == "second"
        assert association.echo() == 0x0000
        association.release()


def test_an_authority_is_rolled_over(own: Node, old: DevelopmentAuthority, tmp_path: Path) -> None:
    new = DevelopmentAuthority("new")
    of_old = keys_of_client(tmp_path / "of-old", old, old)
    of_new = keys_of_client(tmp_path / "of-new", new, old)
    roots = own.directory / "keys/ca.pem"

    def assert_refused(service: Service, pki: Path) -> None:
        before = len(service.lines("no association with"))
        with pytest.raises((ssl.SSLError, ConnectionError, Rejected)):
            sender(service, pki)
        service.expect(r"no association with .*: sent alert 48 unknown_ca;", before + 1)

    with own.running() as service:
        assert_serves(service, of_old)
        assert_refused(service, of_new)
        roots.write_bytes(old.own.certificate_pem + new.own.certificate_pem)
        reload(service, own)
        assert_serves(service, of_old)
        assert_serves(service, of_new)
        roots.write_bytes(new.own.certificate_pem)
        reload(service, own)
        assert_refused(service, of_old)
        assert_serves(service, of_new)


def test_limits_and_rules_hold_for_new_associations(node: Node, pki: Path) -> None:
    node.set("limits normal", associations=1)
    with node.running() as service, sender(service, pki) as first:
        with pytest.raises(Rejected) as caught:
            sender(service, pki)
        assert caught.value.pdu == AssociateRJ(2, 3, 2)
        node.set("limits normal", associations=2)
        reload(service, node)
        with sender(service, pki) as second:
            with pytest.raises(Rejected):
                sender(service, pki)
            second.release()
        service.expect(r"\breleased SENDER")
        node.set("ae DIMSETLS", peers="someone")
        node.set("peer someone", ae_title="SOMEONE")
        reload(service, node)
        with pytest.raises(Rejected) as caught:
            sender(service, pki)
        assert caught.value.pdu == AssociateRJ(1, 1, 3)
        assert first.echo() == 0x0000
        first.release()


def test_listeners_come_move_and_go(node: Node, pki: Path) -> None:
    node.set("ae SECOND", services="verification")
    node.set("ae PLAIN", services="verification")
    with node.running() as service, sender(service, pki) as association:
        port = service.port()
        node.set("listener second", port=0, interface="127.0.0.2", tls="secure", aes="SECOND")
        node.set("listener plain", port=0, plain=RISK, aes="PLAIN")
        reload(service, node)
        (where,) = service.expect(r" listens on 127\.0\.0\.2:\d+ as SECOND with TLS profile bcp195-rfc9325$")
        second = int(where.split(" listens on 127.0.0.2:")[1].split()[0])
        with Sender(connect(("127.0.0.2", second), client_context(pki)), called="SECOND") as other:
            assert other.echo() == 0x0000
        plain = service.port("PLAIN")
        service.expect(rf"#warn. 127\.0\.0\.1:{plain} speaks plain DICOM, as \[listener plain\] has it")
        with Sender(socket.create_connection(("127.0.0.1", plain), DEADLINE), called="PLAIN") as other:
            assert other.echo() == 0x0000
        assert len(service.lines(" listens on .* as DIMSETLS")) == 1  # nothing happened to that one
        assert_serves(service, pki)

        del node.sections["listener plain"]
        node.set("listener main", interface="127.0.0.3")
        reload(service, node)
        (where,) = service.expect(r" listens on 127\.0\.0\.3:\d+ as DIMSETLS")
        moved = int(where.split(" listens on 127.0.0.3:")[1].split()[0])
        for gone in port, plain:
            eventually(lambda port=gone: is_closed(port), f"port {gone} was not closed")
        with Sender(connect(("127.0.0.3", moved), client_context(pki))) as other:
            assert other.echo() == 0x0000
        assert association.echo() == 0x0000  # of a listener that is no more
        association.release()


def test_listeners_on_ports_that_the_system_chooses_are_told_apart(node: Node, pki: Path) -> None:
    node.set("listener other", port=0, tls="secure", aes="OTHER")
    node.set("ae OTHER", services="verification")
    with node.running() as service:
        reload(service, node)
        assert_serves(service, pki, "DIMSETLS")
        assert_serves(service, pki, "OTHER")
        gone = service.port("OTHER")
        del node.sections["listener other"]
        reload(service, node)
        eventually(lambda: is_closed(gone), f"port {gone} was not closed")
        assert_serves(service, pki, "DIMSETLS")


# What does not -------------------------------------------------------------------------------------------------------


def test_a_bad_configuration_leaves_the_old_one_in_force_and_says_why(node: Node, pki: Path) -> None:
    with node.running() as service, sender(service, pki) as association:
        node.set("listener main", aes="NEW, NOBODY")
        node.set("ae NEW", services="verification")
        node.set("tls secure", private_key=pki / "client.key", minimum_version="1.1")
        problems = refused(service, node)
        assert [problem.split(": ")[:3] for problem in problems[:-1]] == [
            ["not reloaded", f"{node.directory}/dimsetls.ini:{number}", f"[{section}] {option}"]
            for number, section, option in (
                (line(node, "aes"), "listener main", "aes"),
                (line(node, "private-key"), "tls secure", "private-key"),
                (line(node, "minimum-version"), "tls secure", "minimum-version"),
            )
        ]
        assert association.echo() == 0x0000
        assert_serves(service, pki)
        association.release()


def line(node: Node, option: str) -> int:
    lines = (node.directory / "dimsetls.ini").read_text().splitlines()
    return next(number for number, text in enumerate(lines, 1) if text.startswith(f"{option} = "))


def test_no_configuration_at_all(node: Node, pki: Path) -> None:
    with node.running() as service:
        ini = node.directory / "dimsetls.ini"
        ini.rename(node.directory / "away")
        os.kill(service.process.pid, SIGHUP)
        service.expect("the configuration of before stays in force")
        (why,) = service.lines("not reloaded: ")
        assert "found no readable file (No such file or directory)" in why
        assert_serves(service, pki)


def test_a_port_in_use_leaves_the_old_configuration_in_force(node: Node, pki: Path) -> None:
    with node.running() as service, socket.create_server(("127.0.0.1", 0)) as taken:
        node.set("listener before", port=0, interface="127.0.0.2", tls="secure", aes="NEW")
        node.set("listener taken", port=taken.getsockname()[1], tls="secure", aes="NEW")
        node.set("listener main", aes="NEW")
        node.set("ae NEW", services="verification")
        why, _ = refused(service, node)
        assert why == (f"not reloaded: [listener taken] cannot listen on 127.0.0.1:{taken.getsockname()[1]}: "
                       "Address already in use; free it, or choose another")
        assert not service.lines(r" listens on .*\bNEW\b")
        assert_serves(service, pki)
        taken.close()
        reload(service, node)
        with Sender(connect(("127.0.0.1", service.port()), client_context(pki)), called="NEW") as association:
            assert association.echo() == 0x0000
            association.release()


@pytest.mark.parametrize("change", [{"backlog": 5}, {"interface": "0.0.0.0"}, {"tls": None, "plain": RISK}])
def test_what_a_port_in_use_cannot_become_needs_a_restart(node: Node, pki: Path, change: dict[str, object]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    node.set("listener main", port=port)
    node.set("tls secure", development_certificates_outside_loopback=RISK)
    with node.running() as service:
        node.set("listener main", **change)
        why, _ = refused(service, node)
        assert why == (
            f"not reloaded: [listener main] cannot take {change.get('interface', '127.0.0.1')}:{port} while [listener "
            f"main] listens on 127.0.0.1:{port}: restart the service to change interface, backlog or plain, or choose "
            "another port"
        )
        assert_serves(service, pki)


def test_twenty_reloads_leave_no_descriptor_behind(node: Node, pki: Path) -> None:
    with node.running() as service, sender(service, pki) as association:
        descriptors = Path(f"/proc/{service.process.pid}/fd")
        before = len(list(descriptors.iterdir()))
        node.set("ae MORE", services="verification")
        for _ in range(10):
            node.set("listener more", port=0, interface="127.0.0.2", tls="secure", aes="MORE")
            reload(service, node)
            del node.sections["listener more"]
            reload(service, node)
        eventually(lambda: len(list(descriptors.iterdir())) == before, f"there were not {before} descriptors again")
        assert association.echo() == 0x0000
        association.release()
