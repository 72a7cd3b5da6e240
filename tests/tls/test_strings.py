from __future__ import annotations

import socket
from pathlib import Path
from typing import Any

import pytest
from twisted.internet.endpoints import clientFromString, serverFromString
from twisted.internet.protocol import Factory
from twisted.internet.testing import MemoryReactorClock
from twisted.protocols.haproxy._wrapper import HAProxyWrappingFactory
from twisted.python.systemd import ListenFDs

from dimsetls.errors import ConfigurationError
from dimsetls.tls.endpoints import DicomTLSClientEndpoint, DicomTLSFactory, Transport
from dimsetls.tls.policy import ClientCertificate
from dimsetls.tls.strings import DicomTLSServerParser


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory, authority: Any) -> str:
    """The keywords of a node with good files; the folder's name is as awkward as a name can be."""
    folder = tmp_path_factory.mktemp("pki") / "a:b=c d"
    folder.mkdir()
    authority.own.write(folder / "ca.pem", folder / "ca.key")
    authority.issue_server().write(folder / "node.pem", folder / "node.key")
    quoted = str(folder).replace(":", "\\:").replace("=", "\\=")
    return f"certKey={quoted}/node.pem:privateKey={quoted}/node.key:trustRoots={quoted}/ca.pem"


def server(description: str) -> Any:
    return serverFromString(MemoryReactorClock(), description)


def listened(description: str) -> Any:
    """The reactor after the endpoint of that description was told to listen."""
    reactor = MemoryReactorClock()
    serverFromString(reactor, description).listen(Factory())
    return reactor


def test_a_port(files):
    [(port, factory, backlog, interface)] = listened(f"dicomtls:2762:{files}").tcpServers
    assert (port, backlog, interface) == (2762, 50, "")
    assert isinstance(factory, DicomTLSFactory)


def test_interface_and_backlog(files):
    [(_, _, backlog, interface)] = listened(f"dicomtls:2762:interface=127.0.0.1:backlog=7:{files}").tcpServers
    assert (backlog, interface) == (7, "127.0.0.1")


def test_an_address_of_ipv6(files):
    [(_, _, _, interface)] = listened(f"dicomtls:2762:interface=\\:\\:1:{files}").tcpServers
    assert interface == "::1"


def test_a_unix_socket_with_its_own_keyword(files, tmp_path):
    path = tmp_path / "a=b"
    reactor = listened(f"dicomtls:unix:{path.parent}/a\\=b:mode=600:{files}")
    [(address, factory, _, mode, _)] = reactor.unixServers
    assert (Path(address), mode) == (path, 0o600)
    assert isinstance(factory, DicomTLSFactory)


@pytest.mark.parametrize("description", ["dicomtls:haproxy:tcp:2762:{}", "haproxy:dicomtls:2762:{}"])
def test_the_proxy_protocol_is_always_outside(files, description):
    [(_, factory, _, _)] = listened(description.format(files)).tcpServers
    assert isinstance(factory, HAProxyWrappingFactory)
    assert isinstance(factory.wrappedFactory, DicomTLSFactory)


def test_systemd(files, monkeypatch):
    """The keywords domain and index are the inner endpoint's; the socket is the one systemd passed."""
    with socket.create_server(("127.0.0.1", 0)) as passed:
        monkeypatch.setattr("twisted.internet.endpoints._SystemdParser._sddaemon", ListenFDs([passed.fileno()], ("",)))
        [(number, family, factory)] = listened(f"dicomtls:systemd:domain=INET:index=0:{files}").adoptedPorts
        assert (number, family) == (passed.detach(), socket.AF_INET)
    assert isinstance(factory, DicomTLSFactory)


@pytest.mark.parametrize("rule", list(ClientCertificate))
def test_the_rule_for_client_certificates(files, rule):
    assert server(f"dicomtls:2762:clientCertificate={rule.value}:{files}")._creator.policy.client_certificate is rule
    assert server(f"dicomtls:2762:{files}")._creator.policy.client_certificate is ClientCertificate.REQUIRED


@pytest.mark.parametrize("transport", list(Transport))
def test_the_transport(files, transport):
    client = f"dicomtls:host=127.0.0.1:transport={transport.value}:{files}"
    for endpoint in (
        server(f"dicomtls:2762:transport={transport.value}:{files}"),
        server(f"dicomtls:haproxy:tcp:2762:transport={transport.value}:{files}"),
        clientFromString(MemoryReactorClock(), client),
    ):
        assert endpoint._transport is transport


def test_a_legacy_profile_takes_more_than_an_endpoint_string(files):
    with pytest.raises(ConfigurationError) as caught:
        server(f"dicomtls:2762:profile=legacy-bcp195-nd:{files}")
    assert caught.value.problems == (
        "the TLS profile legacy-bcp195-nd cannot be had by an endpoint string, as it is weaker than RFC 9325 "
        "recommends; expected bcp195-rfc9325, or a configuration file that accepts it in words",
    )


@pytest.mark.parametrize("description", ["dicomtls:2762:", "dicomtls:host=localhost:"])
def test_an_endpoint_whose_policy_does_not_hold_is_refused(files, monkeypatch, description):
    def refuse(creator: Any) -> None:
        raise ConfigurationError(f"{type(creator).__name__} does not keep {creator.policy.name}")

    monkeypatch.setattr("dimsetls.tls.strings.verify", refuse)
    with pytest.raises(ConfigurationError, match="ConnectionCreator does not keep bcp195-rfc9325"):
        server(f"{description}{files}") if "host" not in description else connected(f"{description}{files}")


def test_the_profile_can_be_named(files):
    assert server(f"dicomtls:2762:profile=bcp195-rfc9325:{files}")._creator.policy.name == "bcp195-rfc9325"


def test_certificate_and_key_in_one_file(tmp_path, authority):
    issued = authority.issue_server()
    issued.write(tmp_path / "node.pem", tmp_path / "both.pem")
    with open(tmp_path / "both.pem", "ab") as file:
        file.write(issued.certificate_pem)
    authority.own.write(tmp_path / "ca.pem", tmp_path / "ca.key")
    assert server(f"dicomtls:2762:certKey={tmp_path}/both.pem:trustRoots={tmp_path}/ca.pem")


def connected(description: str) -> Any:
    """What the endpoint of that description asks of the reactor, and the name it expects in the certificate."""
    reactor = MemoryReactorClock()
    endpoint = clientFromString(reactor, description)
    assert isinstance(endpoint, DicomTLSClientEndpoint)
    endpoint.connect(Factory())
    [(host, port, _, timeout, bind)] = reactor.tcpClients
    return host, port, timeout, bind, str(endpoint._creator.server_name)


@pytest.mark.parametrize("place", ["host=127.0.0.1", "host=127.0.0.1:port=2762", "127.0.0.1:2762", "127.0.0.1"])
def test_a_client(files, place):
    assert connected(f"dicomtls:{place}:{files}") == ("127.0.0.1", 2762, 30, None, "127.0.0.1")


def test_a_client_with_everything(files):
    description = f"dicomtls:host=127.0.0.1:port=104:serverName=pacs.example:timeout=2.5:bindAddress=127.0.0.2:{files}"
    assert connected(f"{description}:profile=bcp195-rfc9325") == (
        "127.0.0.1", 104, 2.5, ("127.0.0.2", 0), "pacs.example"
    )


def test_a_client_may_have_no_certificate(files):
    roots = next(part for part in files.split(":trustRoots=")[1:])
    assert clientFromString(MemoryReactorClock(), f"dicomtls:host=localhost:trustRoots={roots}")


@pytest.mark.parametrize(("description", "sentence"), [
    ("dicomtls:2762:certkey=x", "has no keyword 'certkey'; did you mean certKey?"),
    ("dicomtls:2762:interfce=::1", "has no place for ''; .*, and a colon in a value written as"),
    ("dicomtls:2762:interfce=x", "has no keyword 'interfce'; did you mean interface?"),
    ("dicomtls:2762:zzzzzz=1", "has no keyword 'zzzzzz'; expected one of profile, certKey, privateKey, trustRoots, "),
    ("dicomtls:2762:extra", "has no place for 'extra'; expected keyword=value of profile, "),
    ("dicomtls:2762", "lacks trustRoots; expected trustRoots=a PEM file"),
    ("dicomtls:2762:trustRoots=x", "lacks certKey; expected certKey=a PEM file"),
    ("dicomtls:2762:trustRoots=:certKey=x", "lacks trustRoots; "),
    ("dicomtls:", "says not where to listen; expected a port"),
    ("dicomtls:certKey=x", "says not where to listen; expected a port"),
    ("dicomtls:2762:backlog=many", "has backlog=many; expected a number"),
    ("dicomtls:tcp:2762:certkey=x", "cannot listen on 'tcp:2762:certkey=x': .*did you mean certKey\\? expected the "),
    ("dicomtls:tcp:2762:2763:2764:2765", "cannot listen on 'tcp:2762:2763:2764:2765': "),
    ("dicomtls:unix", "cannot listen on 'unix': "),
])
def test_a_server_string_with_a_mistake(description, sentence):
    with pytest.raises(ValueError, match=rf"\Adicomtls: {sentence}"):
        server(description)


def test_an_inner_endpoint_nobody_knows():
    with pytest.raises(ValueError, match="Unknown endpoint type: 'tpc'"):
        server("dicomtls:tpc:2762")


@pytest.mark.parametrize(("word", "meant"), [("clientCertificate=requird", "required"), ("transport=memry", "memory")])
def test_a_choice_that_is_none(files, word, meant):
    with pytest.raises(ValueError, match=f"has {word}; did you mean {meant}\\?"):
        server(f"dicomtls:2762:{word}:{files}")


@pytest.mark.parametrize(("description", "sentence"), [
    ("dicomtls:hots=pacs", "has no keyword 'hots'; did you mean host?"),
    ("dicomtls:port=2762", "lacks host; expected host=the server's name or address"),
    ("dicomtls:host=pacs", "lacks trustRoots; "),
    ("dicomtls:host=pacs:privateKey=x:trustRoots=y", "lacks certKey; "),
    ("dicomtls:host=pacs:port=dicom", "has port=dicom; expected a number"),
    ("dicomtls:host=pacs:timeout=soon", "has timeout=soon; expected a number"),
    ("dicomtls:pacs:2762:more", "has no place for 'more'; "),
])
def test_a_client_string_with_a_mistake(description, sentence):
    with pytest.raises(ValueError, match=rf"\Adicomtls: {sentence}"):
        clientFromString(MemoryReactorClock(), description)


def test_all_that_is_wrong_with_the_files_comes_at_once(tmp_path):
    with pytest.raises(ConfigurationError) as caught:
        server(f"dicomtls:2762:profile=b12:certKey={tmp_path}/a:privateKey={tmp_path}/b:trustRoots={tmp_path}/c")
    found = caught.value.problems
    assert len(found) == 4
    assert "there is no TLS profile 'b12'" in found[0]
    assert [str(tmp_path / name) in sentence for name, sentence in zip("cab", found[1:], strict=True)] == [True] * 3


def test_nesting_twice_keeps_what_is_quoted(files):
    """Each parser takes the string apart and puts it together again for the next."""
    [(_, _, _, interface)] = listened(f"haproxy:dicomtls:tcp6:2762:interface=\\:\\:1:{files}").tcpServers
    assert interface == "::1"
    assert DicomTLSServerParser.prefix == "dicomtls"
