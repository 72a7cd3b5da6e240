import os
from datetime import UTC, datetime, timedelta

import pytest

from dimsetls.errors import ConfigurationError
from dimsetls.node.init import init
from dimsetls.node.prepare import prepare, summary
from dimsetls.tls.authority import DevelopmentAuthority, is_development_certificate
from dimsetls.tls.contexts import ServerConnectionCreator
from dimsetls.tls.policy import ClientCertificate

AUTHORITY = DevelopmentAuthority()


@pytest.fixture
def node(tmp_path):
    """The directory of a node as `init` makes it."""
    init(tmp_path)
    return tmp_path


def edit(node, *changes):
    ini = node / "dimsetls.ini"
    text = ini.read_text()
    for old, new in changes:
        assert text.count(old) == 1
        text = text.replace(old, new)
    ini.write_text(text)


def problems(node):
    with pytest.raises(ConfigurationError) as caught:
        prepare(node / "dimsetls.ini")
    return [problem.removeprefix(f"{node / 'dimsetls.ini'}:") for problem in caught.value.problems]


def line(node, start):
    lines = (node / "dimsetls.ini").read_text().splitlines()
    return next(number for number, line in enumerate(lines, 1) if line.startswith(start))


def test_what_init_writes_is_prepared(node):
    prepared = prepare(node / "dimsetls.ini")
    assert isinstance(prepared.connections["secure"], ServerConnectionCreator)
    assert prepared.connections["secure"].policy.client_certificate is ClientCertificate.REQUIRED
    assert is_development_certificate(prepared.key_material["secure"].certificate)
    assert prepared.config.listeners[0].tls.name == "secure"


def test_nothing_is_changed_by_it(node):
    before = sorted(node.rglob("*"))
    prepare(node / "dimsetls.ini")
    assert sorted(node.rglob("*")) == before


def test_without_client_certificates_no_roots_are_needed(node):
    edit(node, ("#client-certificate = required", "client-certificate = none"), ("trust-roots = pki/ca.pem", ""))
    assert prepare(node / "dimsetls.ini").connections["secure"].policy.client_certificate is ClientCertificate.NONE


def test_an_unreadable_certificate_and_key_and_root(node):
    for name in ("server.pem", "server.key", "ca.pem"):
        (node / "pki" / name).unlink()
    found = problems(node)
    assert [problem.split(" cannot be read")[0] for problem in found] == [
        f"{line(node, 'certificate')}: [tls secure] certificate: certificate file {node}/pki/server.pem",
        f"{line(node, 'private-key')}: [tls secure] private-key: key file {node}/pki/server.key",
        f"{line(node, 'trust-roots')}: [tls secure] trust-roots: certificate file {node}/pki/ca.pem",
    ]


def test_a_key_of_another_certificate(node):
    os.replace(node / "pki/client.key", node / "pki/server.key")
    (found,) = problems(node)
    assert found.startswith(f"{line(node, 'private-key')}: [tls secure] private-key: ")
    assert "does not belong to" in found


def test_a_key_that_others_may_read(node):
    (node / "pki/server.key").chmod(0o644)
    (found,) = problems(node)
    assert "[tls secure] private-key: " in found
    assert "0644" in found
    assert "chmod 600" in found


def test_an_expired_certificate(node):
    now = datetime.now(UTC)
    for name in ("server.pem", "server.key"):
        (node / "pki" / name).unlink()
    expired = AUTHORITY.issue_server(not_before=now - timedelta(days=9), not_after=now - timedelta(days=1))
    expired.write(node / "pki/server.pem", node / "pki/server.key")
    (found,) = problems(node)
    assert "[tls secure] certificate: " in found
    assert "expired on" in found


def test_no_message_shows_a_key(node):
    key = (node / "pki/server.key").read_text()
    (node / "pki/server.pem").write_text(key)
    (node / "pki/server.key").write_text(key.replace("A", "B"))
    told, secret = "".join(problems(node)), key.splitlines()[1]
    assert secret[:16] not in told
    assert secret.replace("A", "B")[:16] not in told


@pytest.mark.parametrize("where", ["interface = 0.0.0.0", "interface = 192.0.2.1", "interface = ::",
                                   "endpoint = systemd:domain=INET:index=0"])
def test_development_certificates_are_refused_outside_loopback(node, where):
    edit(node, ("\nport = 2762\n", "\n" if "endpoint" in where else "\nport = 2762\n"),
         ("interface = 127.0.0.1", where))
    found = problems(node)
    assert [problem.split(": found a development certificate in ")[0] for problem in found] == [
        f"{line(node, 'certificate')}: [tls secure] certificate",
        f"{line(node, 'trust-roots')}: [tls secure] trust-roots",
    ]
    assert all("development-certificates-outside-loopback = i understand the risk" in problem for problem in found)


@pytest.mark.parametrize("where", ["interface = 127.0.0.2", "interface = ::1"])
def test_development_certificates_serve_on_loopback(node, where):
    edit(node, ("interface = 127.0.0.1", where))
    assert prepare(node / "dimsetls.ini").connections


def test_the_risk_is_accepted_in_words(node):
    edit(node, ("interface = 127.0.0.1", "interface = 0.0.0.0"),
         ("#development-certificates-outside-loopback = refuse",
          "development-certificates-outside-loopback = i understand the risk"))
    assert prepare(node / "dimsetls.ini").connections


def test_a_store_that_is_not_there_and_one_that_is_a_file(node):
    (node / "store").rmdir()
    start = f"{line(node, 'directory')}: [storage archive] directory: "
    assert problems(node) == [f"{start}found no {node}/store, expected a directory that exists: mkdir -p {node}/store"]
    (node / "store").touch()
    assert problems(node) == [f"{start}found the file {node}/store, expected a directory"]


def test_a_store_that_is_not_writable(node, monkeypatch):
    monkeypatch.setattr(os, "access", lambda path, mode: False)  # root may write anywhere
    (found,) = problems(node)
    assert f"found {node}/store, where user id {os.geteuid()} may not write, expected a writable directory" in found


@pytest.mark.parametrize("endpoint", ["nonsense:1", "tcp:port=a:b", "unix", "haproxy:", "tcp:2762:colour=red"])
def test_an_endpoint_that_twisted_does_not_understand(node, endpoint):
    edit(node, ("\nport = 2762\n", "\n"), ("interface = 127.0.0.1", f"endpoint = {endpoint}"),
         ("#development-certificates-outside-loopback = refuse",
          "development-certificates-outside-loopback = i understand the risk"))
    (found,) = problems(node)
    start = f"{line(node, 'endpoint')}: [listener main] endpoint: found {endpoint!r}, "
    assert found.startswith(start + "expected a Twisted server endpoint string (")


@pytest.mark.parametrize("endpoint", ["unix:{}/socket", "haproxy:unix:{}/socket", "tcp6:2762"])
def test_an_endpoint_that_twisted_understands(node, endpoint):
    edit(node, ("\nport = 2762\n", "\n"), ("interface = 127.0.0.1", f"endpoint = {endpoint.format(node)}"),
         ("#development-certificates-outside-loopback = refuse",
          "development-certificates-outside-loopback = i understand the risk"))
    assert prepare(node / "dimsetls.ini").config.listeners[0].endpoint == endpoint.format(node)


def test_the_file_and_what_it_points_at_are_judged_in_one_run(node):
    (node / "pki/server.key").chmod(0o640)
    (node / "store").rmdir()
    edit(node, ("#idle-timeout = 300s", "idle-timeout = 300"), ("#log-level", "log-levle"),
         ("aes = DIMSETLS", "aes = DIM"), ("trust-roots = pki/ca.pem", "trust-roots = pki/server.key"))
    expected = ["[node] log-levle", "[listener main] aes", "[tls secure] private-key", "[tls secure] trust-roots",
                "[storage archive] directory", "[limits normal] idle-timeout"]
    assert [problem.split(": ")[1] for problem in problems(node)] == expected


PEER = "\n[peer ct1]\nae-title = CT1\nhost = {}\ntls = secure\n"


def test_a_peer_with_a_host_can_be_reached(node):
    ini = node / "dimsetls.ini"
    ini.write_text(ini.read_text() + PEER.format("localhost"))
    prepared = prepare(ini)
    assert prepared.peers["ct1"].server_name == "localhost"
    assert "peer ct1: CT1 is reached at localhost:2762, TLS secure" in summary(prepared)


def test_an_ae_title_is_reached_at_one_place(node):
    ini = node / "dimsetls.ini"
    ini.write_text(ini.read_text() + PEER.format("127.0.0.1") + PEER.format("localhost").replace("ct1", "ct2"))
    [problem] = problems(node)
    assert problem.endswith("[peer ct2] host: found a second place where CT1 is reached, expected one: [peer ct1] has "
                            "a host too")  # fmt: skip


def test_development_certificates_are_not_shown_to_peers_elsewhere(node):
    ini = node / "dimsetls.ini"
    ini.write_text(ini.read_text() + PEER.format("ct1.example"))
    found = problems(node)
    assert len(found) == 2
    assert all("for ct1.example ([peer ct1]), expected one of your own authority" in problem for problem in found)


CALLING = """
[tls calling]
certificate = pki/client.pem
private-key = pki/client.key
trust-roots = pki/ca.pem
revocation-check = not checked - i understand the risk
[peer PACS1]
ae-title = PACS
host = localhost
tls = calling
"""


def test_a_certificate_that_is_only_good_for_clients_will_do_to_call_peers(node):
    with (node / "dimsetls.ini").open("a") as file:
        file.write(CALLING)
    prepared = prepare(node / "dimsetls.ini")
    assert (set(prepared.connections), set(prepared.peers)) == ({"secure"}, {"PACS1"})
    assert any(each.startswith("tls calling: bcp195-rfc9325, ") for each in summary(prepared))
    edit(node, ("\ntls = secure", "\ntls = calling"))
    assert any("cannot serve a TLS server" in each for each in problems(node))


def test_who_only_calls_needs_no_listener_and_nothing_that_is_the_services_own(node):
    ini = node / "dimsetls.ini"
    ini.write_text(f"{CALLING}[ae ME]\nstorage = archive\n[storage archive]\ndirectory = gone\n")
    prepared = prepare(ini, to_serve=False)
    assert (prepared.connections, set(prepared.peers)) == ({}, {"PACS1"})
    assert any("found no [listener NAME] section" in each for each in problems(node))
