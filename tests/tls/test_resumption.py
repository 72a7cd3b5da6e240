"""A session is taken up again where that is on, and where a full handshake would end as well; else there is one."""

from __future__ import annotations

import gc
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from OpenSSL import SSL
from OpenSSL._util import lib

from dimsetls.errors import ConfigurationError
from dimsetls.tls.authority import DevelopmentAuthority
from dimsetls.tls.bindings import takes_early_data, was_resumed
from dimsetls.tls.contexts import ClientConnectionCreator, ServerConnectionCreator
from dimsetls.tls.policy import BCP195_RFC9325, TLS13_ONLY, ClientCertificate, TLSVersion
from dimsetls.tls.revocation import CertificateRevocationLists, CRLCheck, LoadedList, Revocation
from dimsetls.tls.selfcheck import _meet, key_name, verify

HOUR = timedelta(hours=1)
ONLY_1_2 = BCP195_RFC9325.narrow(maximum_version=TLSVersion.TLS_1_2)


class Site:
    """A server and a client with resumption, and a clock that the test turns; a call is a handshake and its end."""

    def __init__(self, link_between: Any, authority: DevelopmentAuthority) -> None:
        self._link_between, self.authority = link_between, authority
        self.now = datetime.now(UTC)
        self.issued, self.issued_to_client = authority.issue_server(), authority.issue_client()
        self.server, self.client = self.serving(), self.calling()
        self._wires: list[Any] = []  # collected before it is closed, a connection makes its session a bad one

    def clock(self) -> datetime:
        return self.now

    def serving(self, policy: Any = BCP195_RFC9325, resumption: Any = HOUR, **keywords: Any) -> ServerConnectionCreator:
        return ServerConnectionCreator(
            policy, self.issued.material, self.authority.trust_roots, resumption=resumption, now=self.clock, **keywords
        )

    def calling(
        self, policy: Any = BCP195_RFC9325, resumption: Any = HOUR, issued: Any = None, **keywords: Any
    ) -> ClientConnectionCreator:
        material = (issued or self.issued_to_client).material
        return ClientConnectionCreator(
            policy, self.authority.trust_roots, material, resumption=resumption, now=self.clock,
            **({"server_name": "localhost"} | keywords),
        )

    def call(self, client: Any = None, server: Any = None) -> Any:
        self._wires.append(self._link_between(server or self.server, client or self.client).pump())
        return self._wires[-1]

    def is_resumed(self, client: Any = None, server: Any = None) -> bool:
        """Of one more call, which must get through."""
        wire = self.call(client, server)
        assert wire.server_user.session is not None
        assert wire.client_user.session is not None
        resumed = was_resumed(wire.client.getHandle())
        assert was_resumed(wire.server.getHandle()) is resumed
        return resumed


@pytest.fixture
def site(link_between, authority) -> Site:
    return Site(link_between, authority)


def test_it_is_off_by_default(site):
    server = ServerConnectionCreator(BCP195_RFC9325, site.issued.material, site.authority.trust_roots)
    client = ClientConnectionCreator(
        BCP195_RFC9325, site.authority.trust_roots, site.issued_to_client.material, server_name="localhost"
    )
    for _ in range(2):
        assert not site.is_resumed(site.client, server)
        assert not site.is_resumed(client, site.server)


def test_a_session_is_taken_up_again_and_again_with_what_was_known_of_the_peer(site):
    first = site.call()
    for _ in range(5):
        wire = site.call()
        assert was_resumed(wire.server.getHandle())
        for user, before in ((wire.server_user, first.server_user), (wire.client_user, first.client_user)):
            assert user.session.peer == before.session.peer
            assert user.session.peer is not None
            assert (user.session.alpn, user.session.server_name) == ("dicom", "localhost")
            assert user.session.channel_binding != before.session.channel_binding
            assert user.session.group == before.session.group


def test_it_carries_bytes_both_ways(site):
    site.call()
    wire = site.call()
    wire.client_user.transport.write(b"there")
    wire.server_user.transport.write(b"and back")
    wire.pump()
    assert (wire.server_user.received, wire.client_user.received) == (b"there", b"and back")


def test_each_session_is_offered_once(site):
    """RFC 8446 §C.4; the second time there is a new one, so take away what comes."""
    sessions = site.client._sessions._kept
    site.call()
    offered = set()
    while sessions:
        newest = sessions[-1].session
        assert newest not in offered
        offered.add(newest)
        waiting = list(sessions)[:-1]
        site.call()
        sessions.clear()
        sessions.extend(waiting)
    assert len(offered) == 2  # what a server sends after a full handshake


def test_another_key_is_told_of_once_it_is_there(site):
    told = []
    site.server.rekeyed = lambda: told.append(key_name(site.server))
    first = key_name(site.server)
    site.call()
    site.now += 2 * HOUR - timedelta(seconds=1)
    site.call()
    assert told == []
    site.now += timedelta(seconds=1)
    site.call()
    site.call()
    assert len(told) == 1
    assert told[0] == key_name(site.server) != first


def test_there_is_no_early_data(site):
    site.call()
    assert not takes_early_data(site.client._sessions._kept[-1].session)


@pytest.mark.parametrize("rule", [ClientCertificate.OPTIONAL, ClientCertificate.NONE])
def test_a_client_that_showed_no_certificate_shows_none_again(site, rule):
    server = site.serving(BCP195_RFC9325.with_client_certificate(rule))
    client = ClientConnectionCreator(
        BCP195_RFC9325, site.authority.trust_roots, server_name="localhost", resumption=HOUR, now=site.clock
    )
    assert not site.is_resumed(client, server)
    wire = site.call(client, server)
    assert was_resumed(wire.server.getHandle())
    assert wire.server_user.session.peer is None


# TLS 1.2 -------------------------------------------------------------------------------------------------------


def remembering(site: Site) -> Callable[..., tuple[bool, Any]]:
    """Calls as a client that offers any session it is told to, tickets and all."""
    context = SSL.Context(SSL.TLS_CLIENT_METHOD)
    context.use_certificate(site.issued_to_client.certificate)
    context.use_privatekey(site.issued_to_client.private_key)

    def meet(session: Any = None, without: int = SSL.OP_NO_TLSv1_2) -> tuple[bool, Any]:
        client = SSL.Connection(context, None)
        lib.SSL_set_options(client._ssl, without)
        client.set_connect_state()
        if session is not None:
            client.set_session(session)
        assert _meet(site.server.serverConnectionForTLS(None), client)
        client.shutdown()  # or OpenSSL would take the session for a bad one
        return was_resumed(client), client.get_session()

    return meet


def test_in_1_2_there_is_none(site):
    assert not site.is_resumed(site.calling(ONLY_1_2))
    meet = remembering(site)
    _, session = meet(without=SSL.OP_NO_TLSv1_3)
    assert meet(session, SSL.OP_NO_TLSv1_3)[0] is False


def test_in_1_3_any_client_can(site):
    meet = remembering(site)
    _, session = meet()
    assert meet(session)[0] is True


def test_a_session_of_1_3_is_none_of_1_2(site):
    meet = remembering(site)
    _, session = meet()
    assert meet(session, SSL.OP_NO_TLSv1_3)[0] is False


# Whose sessions, and for how long ------------------------------------------------------------------------------


def test_another_listener_does_not_take_it(site):
    site.call()
    assert not site.is_resumed(server=site.serving())  # the same keys, roots and policy
    assert site.is_resumed(server=site.server) is False  # it was good once, and is used up


def test_it_is_bound_to_the_profile(site):
    site.call()
    assert not site.is_resumed(server=site.serving(TLS13_ONLY))


def test_another_name_is_judged_as_in_any_handshake(site):
    """RFC 8446 §4.2.11: the server's part. What a client may offer where, is for the client (§4.6.1)."""
    other = site.authority.issue_server(names=["other.example"])
    server = site.serving(named=[other.material], strict_names=True)
    client = site.calling()
    first = site.call(client, server)
    client.server_name = "other.example"
    wire = site.call(client, server)
    assert was_resumed(wire.server.getHandle())
    assert wire.server_user.session.server_name == "other.example"
    client.server_name = "unknown.example"
    fault = site.call(client, server).server_user.fault
    assert (first.server_user.session.server_name, fault.name, fault.alert) == ("localhost", "server-name-unknown", 112)


def test_sessions_of_all_names_of_a_listener_are_taken_up_again(site):
    server = site.serving(named=[site.authority.issue_server(names=["other.example"]).material])
    for name in ("localhost", "other.example"):
        client = site.calling(server_name=name)
        assert [site.is_resumed(client, server) for _ in range(3)] == [False, True, True]


def test_it_ends_with_its_lifetime(site):
    server = site.serving(resumption=timedelta(minutes=1))
    context = server.serverConnectionForTLS(None).get_context()
    assert context.get_timeout() == 60  # OpenSSL looks at its own clock
    client = site.calling(resumption=timedelta(minutes=1))
    site.call(client)
    site.now += timedelta(minutes=1)
    assert not site.is_resumed(client)


def test_its_key_is_changed_and_what_the_former_protected_is_a_full_handshake(site):
    meet = remembering(site)
    _, session = meet()
    site.now += 2 * HOUR - timedelta(seconds=1)
    assert meet(session)[0] is True
    site.now += timedelta(seconds=1)
    resumed, session = meet(session)
    assert resumed is False
    assert meet(session)[0] is True


def test_a_clock_that_is_set_back_changes_the_key_too(site):
    meet = remembering(site)
    _, session = meet()
    site.now -= timedelta(days=1)
    assert meet(session)[0] is False


def test_a_handshake_goes_on_though_its_context_was_replaced(site):
    server = site.serving(named=[site.authority.issue_server(names=["other.example"]).material])
    client = site.calling(server_name="other.example").clientConnectionForTLS(None)
    connection = server.serverConnectionForTLS(None)
    with pytest.raises(SSL.WantReadError):
        client.do_handshake()
    connection.bio_write(client.bio_read(1 << 16))
    with pytest.raises(SSL.WantReadError):
        connection.do_handshake()
    del server
    gc.collect()
    client.bio_write(connection.bio_read(1 << 16))
    client.do_handshake()
    connection.bio_write(client.bio_read(1 << 16))
    connection.do_handshake()
    assert connection.evidence.handshake_completed


# What was judged is judged again -------------------------------------------------------------------------------


def test_a_certificate_that_ends_before_the_ticket_would_gets_none(site):
    """So that what would be refused in a full handshake makes one."""
    ending = site.authority.issue_client(not_after=site.now + timedelta(minutes=59))
    client = site.calling(issued=ending)
    assert [site.is_resumed(client) for _ in range(3)] == [False, False, False]
    lasting = site.authority.issue_client(not_after=site.now + timedelta(minutes=61))
    client = site.calling(issued=lasting)
    assert [site.is_resumed(client) for _ in range(3)] == [False, True, True]


def test_near_its_end_a_session_is_not_prolonged(site):
    lasting = site.authority.issue_client(not_after=site.now + timedelta(minutes=90))
    client = site.calling(issued=lasting)
    assert [site.is_resumed(client) for _ in range(2)] == [False, True]
    site.now += timedelta(minutes=31)
    assert len(client._sessions._kept) == 2
    assert [site.is_resumed(client) for _ in range(4)] == [True, True, False, False]


def test_an_expired_certificate_is_refused_as_in_a_full_handshake(site):
    """OpenSSL has another clock here, by which the ticket is good; else it would not have got so far."""
    lasting = site.authority.issue_client(not_after=site.now + timedelta(minutes=61))
    client = site.calling(issued=lasting)
    site.call(client)
    kept = list(client._sessions._kept)
    site.now += timedelta(minutes=62)
    client._sessions._kept.append(type(kept[0])(kept[0].session, site.now + HOUR, site.now + HOUR))
    wire = site.call(client)
    assert wire.server_user.session is None
    fault = wire.server_user.fault
    assert (fault.name, fault.alert) == ("certificate-expired", 45)
    assert wire.client_user.fault.name == "peer-certificate-expired"




def test_a_revoked_certificate_is_found_out_once_the_list_is_loaded(site):
    """By a full handshake, as a reload makes other keys; so the alert is the one that it always is."""
    authority = DevelopmentAuthority()
    site.authority, site.issued, site.issued_to_client = authority, authority.issue_server(), authority.issue_client()
    client, before = site.calling(), site.serving(revocation=revocation(authority))
    assert [site.is_resumed(client, before) for _ in range(2)] == [False, True]
    authority.revoke(site.issued_to_client)
    wire = site.call(client, site.serving(revocation=revocation(authority)))
    fault = wire.server_user.fault
    assert (fault.name, fault.alert) == ("certificate-revoked", 44)


@pytest.mark.parametrize(("minutes", "resumed"), [(59, False), (61, True)])
def test_no_session_outlives_a_revocation_list(site, minutes, resumed):
    end = site.now + timedelta(minutes=minutes)
    server = site.serving(revocation=revocation(site.authority, end))
    assert [site.is_resumed(site.client, server) for _ in range(2)] == [False, resumed]
    client = site.calling(revocation=revocation(site.authority, end))
    assert [site.is_resumed(client) for _ in range(2)] == [False, True]
    site.now = end
    assert not client._sessions._kept[-1].end > end


def test_a_client_does_not_offer_what_a_revoked_server_gave(site):
    authority = DevelopmentAuthority()
    site.authority, site.issued, site.issued_to_client = authority, authority.issue_server(), authority.issue_client()
    server, client = site.serving(), site.calling(revocation=revocation(authority))
    assert [site.is_resumed(client, server) for _ in range(2)] == [False, True]
    authority.revoke(site.issued)
    again = site.calling(revocation=revocation(authority))  # as a reload makes it
    assert site.call(again, server).client_user.fault.name == "certificate-revoked"


def test_a_server_whose_status_is_stapled_shows_it_each_time(site):
    response = site.authority.ocsp_response(site.issued)
    server = site.serving(stapled={site.issued.certificate: lambda: response})
    assert [site.is_resumed(site.client, server) for _ in range(2)] == [False, False]


# What is promised is found out before a peer comes -------------------------------------------------------------


@pytest.mark.parametrize("policy", [BCP195_RFC9325, ONLY_1_2, TLS13_ONLY], ids=["both", "1.2", "1.3"])
def test_the_check_at_the_start_takes_a_session_up_again(site, policy):
    verify(site.serving(policy))
    verify(site.calling(policy))


def test_the_check_at_the_start_misses_resumption_where_it_does_not_work(site):
    server = site.serving()
    server._context.set_options(SSL.OP_NO_TICKET)
    with pytest.raises(ConfigurationError, match=r"expected a session of TLS 1\.3 to be taken up again, found that it"):
        verify(server)


def test_the_check_at_the_start_wants_a_key_exchange_each_time(site):
    server = site.serving()
    server._context.set_options(1 << 10)  # SSL_OP_ALLOW_NO_DHE_KEX
    with pytest.raises(ConfigurationError, match="expected a key exchange with each resumption"):
        verify(server)


def revocation(authority: DevelopmentAuthority, end: datetime | None = None) -> Revocation:
    loaded = LoadedList(authority.crl(next_update=end), Path("ca.crl"))
    return Revocation(CRLCheck.CHAIN, CertificateRevocationLists((loaded,)))
