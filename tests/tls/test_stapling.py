from __future__ import annotations

from base64 import b64decode
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import unquote

import pytest
from cryptography.x509 import ocsp
from twisted.internet.protocol import Factory, Protocol
from twisted.logger import capturedLogs, formatEvent
from twisted.web.client import Agent
from twisted.web.iweb import IAgentEndpointFactory
from twisted.web.resource import Resource
from twisted.web.server import NOT_DONE_YET, Site
from zope.interface import implementer

from dimsetls.errors import ConfigurationError
from dimsetls.testing import Link
from dimsetls.tls.authority import DevelopmentAuthority
from dimsetls.tls.ocsp import StatusRefused, request
from dimsetls.tls.stapling import FETCH_TIMEOUT, LONGEST_RESPONSE, Responder, Stapling

START = datetime.now(UTC).replace(microsecond=0)
HOUR, DAY = timedelta(hours=1), timedelta(days=1)
URL = "http://ocsp.example/ca"


class Answers(Resource):
    """An OCSP responder that answers as it is told; `asked` holds the requests so far."""

    isLeaf = True  # noqa: N815 - Twisted's name

    def __init__(self, answer: Callable[[Any], Any]) -> None:
        super().__init__()
        self.answer = answer
        self.asked: list[Any] = []

    def render_GET(self, request: Any) -> Any:
        assert request.path.startswith(b"/ca/")
        self.asked.append(ocsp.load_der_ocsp_request(b64decode(unquote(request.path.removeprefix(b"/ca/").decode()))))
        return self.answer(request)


@implementer(IAgentEndpointFactory)
class World:
    """An authority with a server's certificate, its responder at the other end of a network in memory, and a clock."""

    def __init__(self) -> None:
        self.link = Link()
        self.authority = DevelopmentAuthority()
        self.server = self.authority.issue_server(ocsp_url=URL)
        self.agent = Agent.usingEndpointFactory(self.link, self)
        self.responder = Answers(lambda request: self.response(6 * HOUR))
        self.link.listen(Site(self.responder, reactor=self.link))
        certificate, issuer = self.server.certificate, self.authority.own.certificate
        source = Responder(URL, request(certificate, issuer))
        self.stapling = Stapling(source, certificate, issuer, now=lambda: self.now)

    @property
    def now(self) -> datetime:
        return START + timedelta(seconds=self.link.seconds())

    def response(self, life: timedelta) -> bytes:
        return self.authority.ocsp_response(self.server, this_update=self.now, next_update=self.now + life)

    def endpointForURI(self, uri: Any) -> Link:
        assert (uri.host, uri.port) == (b"ocsp.example", 80)
        return self.link

    def start(self) -> None:
        self.stapling.start(self.link, self.agent)
        self.link.pump()

    def advance(self, time: timedelta) -> None:
        self.link.advance(time.total_seconds())
        self.link.pump()


@pytest.fixture
def world() -> World:
    return World()


@pytest.fixture
def logged() -> Iterator[Callable[[], list[str]]]:
    """What was logged since the last look."""
    with capturedLogs() as events:
        def look() -> list[str]:
            sentences = [str(formatEvent(event)) for event in events if event["log_namespace"] == "dimsetls.tls"]
            events.clear()
            return sentences

        yield look


def test_a_response_is_fetched_at_the_start_and_renewed_long_before_it_goes_stale(world, logged):
    assert world.stapling.current() == b""
    world.start()
    first = world.stapling.current()
    assert first
    assert world.responder.asked[0].serial_number == world.server.certificate.serial_number
    world.advance(2.9 * HOUR)
    assert world.stapling.current() == first
    world.advance(0.2 * HOUR)
    assert len(world.responder.asked) == 2
    assert world.stapling.current() not in (b"", first)
    assert logged() == []


def test_the_old_response_serves_until_its_end_and_each_change_is_said_once(world, logged):
    world.start()
    first = world.stapling.current()
    world.responder.answer = lambda request: request.setResponseCode(503) or b"busy"
    for _ in range(5):
        world.advance(HOUR)
        assert world.stapling.current() == first
    (sentence,) = logged()
    until = START + 6 * HOUR
    assert sentence.endswith(
        f": {URL} answered with HTTP status 503; expected 200; the old one serves until {until:%Y-%m-%d %H:%M} UTC"
    )
    for _ in range(3):
        world.advance(HOUR)
    assert world.stapling.current() == b""
    (sentence,) = logged()
    assert sentence.endswith("expected 200; nothing is stapled")
    world.responder.answer = lambda request: world.response(6 * HOUR)
    world.advance(HOUR)
    assert world.stapling.current() != b""
    assert logged() == []


def test_a_stale_response_is_not_stapled_even_between_two_attempts_to_renew_it(world):
    world.responder.answer = lambda request: world.response(timedelta(minutes=4))
    world.start()
    assert world.stapling.current()
    world.link.rightNow += 240.0  # time passes, and no call is due
    assert world.stapling.current() == b""


@pytest.mark.parametrize(("answer", "why"), [
    (lambda world: world.authority.ocsp_response(world.authority.issue_server()), "this one is for another"),
    (lambda world: DevelopmentAuthority().ocsp_response(world.server), "signed by neither"),
    (lambda world: world.response(-HOUR), "expected an OCSP response that is current"),
    (lambda world: b"<html>", "found what cannot be read as one"),
    (lambda world: bytes(LONGEST_RESPONSE + 1), f"is longer than {LONGEST_RESPONSE} bytes"),
], ids=["another's", "forged", "stale", "no response", "too long"])
def test_what_a_client_would_refuse_is_not_stapled(world, logged, answer, why):
    world.responder.answer = lambda request: answer(world)
    world.start()
    assert world.stapling.current() == b""
    (sentence,) = logged()
    assert sentence.startswith(f'no fresh OCSP response for "{world.server.certificate.subject.rfc4514_string()}": ')
    assert why in sentence
    assert sentence.endswith("; nothing is stapled")


def test_that_our_certificate_is_revoked_is_said_and_not_stapled(world, logged):
    world.authority.revoke(world.server)
    world.start()
    assert world.stapling.current() == b""
    assert "its authority revoked it on" in logged()[0]


def test_a_responder_that_never_ends_its_answer_is_given_up(world, logged):
    world.responder.answer = lambda request: request.write(b"\x30") or NOT_DONE_YET
    world.start()
    assert len(world.link.ends) == 2
    world.link.advance(FETCH_TIMEOUT)
    world.link.pump()
    assert world.link.ends == []  # the connection is closed
    assert logged() == [
        f'no fresh OCSP response for "{world.server.certificate.subject.rfc4514_string()}": {URL} did not answer in '
        f"full within {FETCH_TIMEOUT:g} s; nothing is stapled"
    ]


def test_an_endless_answer_is_cut_off(world, logged):
    def pour(request: Any) -> Any:
        request.write(bytes(LONGEST_RESPONSE + 1))
        return NOT_DONE_YET

    world.responder.answer = pour
    world.start()
    assert world.link.ends == []
    assert "is longer than" in logged()[0]


def test_a_responder_that_cannot_be_reached_or_speaks_no_http(world, logged):
    class Babble(Protocol):
        def connectionMade(self) -> None:
            self.transport.write(b"220 mail.example ESMTP\r\n")
            self.transport.loseConnection()

    world.link.stop_listening()
    world.start()
    assert f"{URL} cannot be reached: " in logged()[0]
    other = World()
    other.link.listen(Factory.forProtocol(Babble))
    other.start()
    assert f"{URL} did not answer in HTTP: " in logged()[0]


@pytest.mark.parametrize("when", ["waiting", "fetching"])
def test_when_stopped_nothing_is_fetched_and_nothing_said(world, logged, when):
    if when == "fetching":
        world.responder.answer = lambda request: NOT_DONE_YET
    world.start()
    world.stapling.stop()
    world.link.pump()
    world.advance(DAY)
    assert len(world.responder.asked) == 1
    assert bool(world.stapling.current()) is False  # the response of the start has gone stale since
    assert logged() == []


def test_stopped_before_it_started():
    World().stapling.stop()


def test_after_a_reload_the_response_goes_on_serving_until_the_first_fetch(world):
    def successor(server: Any, authority: DevelopmentAuthority) -> Stapling:
        made = Stapling.from_responder(server.material, authority.trust_roots, URL)
        made.take_over(world.stapling)
        return made

    assert successor(world.server, world.authority).current() == b""
    world.start()
    assert successor(world.server, world.authority).current() == world.stapling.current() != b""
    assert successor(world.authority.issue_server(), world.authority).current() == b""


# Files ---------------------------------------------------------------------------------------------------------------


def test_a_file_is_judged_at_once_and_read_again_when_something_renewed_it(world, tmp_path, logged):
    path = tmp_path / "server.ocsp"
    path.write_bytes(world.response(HOUR))
    stapling = Stapling.from_file(path, world.server.material, world.authority.trust_roots)
    assert stapling.current() == path.read_bytes()
    path.write_bytes(world.response(2 * HOUR))
    assert stapling.current() != path.read_bytes()
    stapling.start(world.link, world.agent)
    assert stapling.current() == path.read_bytes()
    path.write_bytes(b"half")
    world.advance(HOUR)
    assert stapling.current() not in (b"", b"half")
    assert len(logged()) == 1
    stapling.stop()


@pytest.mark.parametrize(("content", "why"), [
    (None, "cannot be read: No such file or directory"),
    (b"", "found what cannot be read as one"),
    (b"junk", "found what cannot be read as one"),
])
def test_a_file_that_cannot_be_used_is_a_configuration_error(world, tmp_path, content, why):
    path = tmp_path / "server.ocsp"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(ConfigurationError) as caught:
        Stapling.from_file(path, world.server.material, world.authority.trust_roots)
    (problem,) = caught.value.problems
    assert problem.startswith(f"OCSP response file {path} cannot be used: ")
    assert why in problem


def test_a_response_that_a_client_would_refuse_does_not_replace_a_good_one(world):
    world.stapling.accept(good := world.response(HOUR))
    with pytest.raises(StatusRefused):
        world.stapling.accept(world.response(-HOUR))
    assert world.stapling.current() == good


# Configuration -------------------------------------------------------------------------------------------------------


def test_where_to_ask_comes_from_the_certificate_or_the_configuration(world):
    roots = world.authority.trust_roots
    assert Stapling.from_responder(world.server.material, roots)._source.url == URL
    assert Stapling.from_responder(world.server.material, roots, "http://other:8080/")._source.url == "http://other:8080/"


def test_what_cannot_work_is_a_configuration_error(world, stranger):
    silent, roots = world.authority.issue_server().material, world.authority.trust_roots
    with pytest.raises(ConfigurationError, match="names no OCSP responder; expected one there, or its URL"):
        Stapling.from_responder(silent, roots)
    for url in ("https://ocsp.example/", "ocsp.example", "http://", "http://host:port/", "http://ö/"):
        with pytest.raises(ConfigurationError, match="expected a URL that begins with http://"):
            Stapling.from_responder(silent, roots, url)
    with pytest.raises(ConfigurationError, match="is not known, so no OCSP response for it can be checked"):
        Stapling.from_responder(silent, stranger.trust_roots, URL)


def test_the_issuer_may_stand_in_our_own_chain(world):
    issuing = DevelopmentAuthority("issuing", issuer=DevelopmentAuthority("root", path_length=1))
    server = issuing.issue_server()
    stapling = Stapling.from_responder(server.material, world.authority.trust_roots, URL)
    stapling.accept(good := issuing.ocsp_response(server))
    assert stapling.current() == good
