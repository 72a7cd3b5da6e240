"""Several certificates by name (SNI), and the switch that requires ALPN."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from OpenSSL import SSL

from dimsetls.errors import ConfigurationError
from dimsetls.tls.contexts import ClientConnectionCreator, ServerConnectionCreator
from dimsetls.tls.policy import BCP195_RFC9325

DEFAULT, PACS, WILD = ["default.example", "192.0.2.1"], ["PACS.hospital.example"], ["*.hospital.example"]


@pytest.fixture
def ask(authority: Any, link_between: Any, policy: Any) -> Callable[..., Any]:
    """Call a server of three certificates by a name, or by none."""
    default, pacs, wild = (authority.issue_server(names[0], names=names) for names in (DEFAULT, PACS, WILD))

    def call(name: str | None, **switches: Any) -> Any:
        server = ServerConnectionCreator(
            BCP195_RFC9325, default.material, authority.trust_roots, named=[wild.material, pacs.material], **switches
        )
        client = ClientConnectionCreator(
            policy, authority.trust_roots, authority.issue_client().material, server_name=name or "192.0.2.1"
        )
        return link_between(server, client).pump()

    return call


def presented(wire: Any) -> str:
    return wire.client_user.session.peer.subject.split(",")[0]


@pytest.mark.parametrize(("name", "common_name"), [
    ("default.example", "CN=default.example"),
    ("pacs.hospital.example", "CN=PACS.hospital.example"),
    ("Pacs.Hospital.Example", "CN=PACS.hospital.example"),
    ("ris.hospital.example", "CN=*.hospital.example"),
    (None, "CN=default.example"),  # an IP address is never sent as a name
])
@pytest.mark.parametrize("strict", [False, True])
def test_the_certificate_is_chosen_by_name_the_exact_one_first(ask, name, common_name, strict):
    wire = ask(name, strict_names=strict)
    assert presented(wire) == common_name
    assert wire.server_user.session.peer is not None  # the client is asked for its own, whatever the name
    assert wire.server_user.session.alpn == "dicom"


@pytest.mark.parametrize("name", ["elsewhere.example", "hospital.example", "a.b.hospital.example"])
def test_an_unknown_name_gets_the_default_certificate(ask, name):
    """Whether that will do is for the client to say: it is not for that name."""
    assert ask(name).client_user.fault.name == "certificate-name-mismatch"


@pytest.mark.parametrize("name", ["elsewhere.example", "hospital.example", "a.b.hospital.example"])
def test_in_strict_mode_an_unknown_name_is_refused_with_alert_112(ask, name, capfd):
    wire = ask(name, strict_names=True)
    ours, theirs = wire.server_user.fault, wire.client_user.fault
    assert (ours.name, ours.alert) == ("server-name-unknown", 112)
    assert (theirs.name, theirs.alert) == ("peer-unrecognized-name", 112)
    assert wire.server_user.session is None
    assert capfd.readouterr() == ("", "")  # pyOpenSSL would print a traceback for every stranger


def test_strict_mode_works_with_one_certificate_alone(link_between, authority, policy):
    server = ServerConnectionCreator(
        BCP195_RFC9325, authority.issue_server().material, authority.trust_roots, strict_names=True
    )
    for name, good in (("localhost", True), ("127.0.0.1", True), ("elsewhere.example", False)):
        client = ClientConnectionCreator(
            policy, authority.trust_roots, authority.issue_client().material, server_name=name
        )
        assert (link_between(server, client).pump().server_user.session is not None) is good


def test_each_name_keeps_the_policy_of_the_default(ask, link_between, authority, stranger, policy):
    """The client's certificate is judged under a name as without one."""
    default, pacs = authority.issue_server(), authority.issue_server(names=PACS)
    server = ServerConnectionCreator(BCP195_RFC9325, default.material, authority.trust_roots, named=[pacs.material])
    client = ClientConnectionCreator(
        policy, authority.trust_roots, stranger.issue_client().material, server_name="pacs.hospital.example"
    )
    assert link_between(server, client).pump().server_user.fault.name == "unknown-ca"


@pytest.mark.parametrize("names", [["localhost"], ["LOCALHOST"], ["192.0.2.7"], []])
def test_a_certificate_that_would_never_be_chosen_is_a_configuration_error(authority, names):
    default, useless = authority.issue_server(), authority.issue_server(names=names)
    with pytest.raises(ConfigurationError, match="would never be chosen, since it has no DNS name that those before"):
        ServerConnectionCreator(BCP195_RFC9325, default.material, authority.trust_roots, named=[useless.material])


def test_what_is_served_can_be_asked_for_by_name(authority):
    default, wild = authority.issue_server().material, authority.issue_server(names=WILD).material
    server = ServerConnectionCreator(BCP195_RFC9325, default, authority.trust_roots, named=[wild])
    assert server.served == ((None, default), ("any.hospital.example", wild))


# ALPN ----------------------------------------------------------------------------------------------------------------


@pytest.fixture
def requiring(authority: Any) -> ServerConnectionCreator:
    return ServerConnectionCreator(
        BCP195_RFC9325, authority.issue_server().material, authority.trust_roots, require_alpn=True
    )


def test_required_alpn_that_is_offered_changes_nothing(link, link_between, requiring, policy):
    wire = link_between(requiring, link(policy).client_creator).pump()
    assert wire.server_user.session.alpn == "dicom"
    wire.client_user.transport.write(b"question")
    assert wire.pump().server_user.received == b"question"


def test_required_alpn_that_is_absent_ends_the_connection_before_the_association(
    link, link_between, authority, requiring, policy
):
    issued = authority.issue_client()

    def without_alpn(context: SSL.Context) -> None:
        context.use_certificate(issued.certificate)
        context.use_privatekey(issued.private_key)
        context.set_max_proto_version(policy.maximum_version)

    wire = link_between(requiring, link(raw_client=without_alpn).client_creator).pump()
    assert wire.server_user.session is None  # handshakeCompleted was never called
    fault = wire.server_user.fault
    assert (fault.reason, fault.name, fault.alert) == (0x410, "alpn-absent", None)
    assert "the client offers no application protocol; expected 'dicom'" in fault.detail
    assert wire.server_end.disconnecting
    # TLS 1.2 tells the client of its success first; either way it sees a connection cut without a word.
    assert wire.client_user.fault.name in ("truncated", "closed-unreleased", "closed-in-handshake")
