from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from twisted.internet.defer import Deferred
from twisted.internet.endpoints import TCP4ServerEndpoint
from twisted.internet.protocol import Factory, Protocol
from twisted.logger import capturedLogs, formatEvent

from dimsetls.errors import ConfigurationError
from dimsetls.identity.oauth.fetch import LONGEST_ANSWER, JSONResource, NotFetched, Shared
from dimsetls.tls.authority import DevelopmentAuthority
from dimsetls.tls.contexts import ServerConnectionCreator
from dimsetls.tls.endpoints import DicomTLSServerEndpoint
from dimsetls.tls.material import KeyMaterial, TrustRoots
from dimsetls.tls.policy import ClientCertificate, profile

from ...servers.oauth import AuthorizationServer
from ..loop import Loop

JSON = {"Content-Type": "application/json"}


@pytest.fixture
def resource(oauth: AuthorizationServer, loop: Loop) -> Callable[..., JSONResource]:
    """Make a JSONResource at the authorization server; whatever the test does not name is as it should be."""

    def make(path: str = "/jwks", *, url: str = "", trusts: TrustRoots | None = None, **more: Any) -> JSONResource:
        roots = trusts or oauth.authority.trust_roots
        return JSONResource(url or f"{oauth.issuer}{path}", roots, reactor=loop.reactor, **more)

    return make


def refused(loop: Loop, resource: JSONResource) -> str:
    error = loop.error(resource.get())
    assert isinstance(error, NotFetched)
    return str(error)


# What is fetched ------------------------------------------------------------------------------------------------------


def test_an_object_is_fetched(resource: Callable[..., JSONResource], loop: Loop) -> None:
    assert {key["alg"] for key in loop.wait(resource().get())["keys"]} == {"ES256", "RS256"}


def test_a_form_is_posted(resource: Callable[..., JSONResource], loop: Loop, oauth: AuthorizationServer) -> None:
    headers = {"Authorization": "Basic bW9kYWxpdHk6bW9kYWxpdHklM0FzZWNyZXQlMkIx"}
    assert loop.wait(resource("/token/introspection").post(b"token=unknown", headers)) == {"active": False}


def test_our_certificate_is_shown(
    resource: Callable[..., JSONResource], loop: Loop, oauth: AuthorizationServer
) -> None:
    material = KeyMaterial.load(*oauth.key_pair("node"))
    posting = resource("/token/introspection", key_material=material)
    assert loop.wait(posting.post(b"token=unknown&client_id=node+by+certificate", {})) == {"active": False}


def test_the_log_has_no_lines_about_machinery(resource: Callable[..., JSONResource], loop: Loop) -> None:
    with capturedLogs() as logged:
        loop.wait(resource().get())
    assert [formatEvent(event) for event in logged] == []


def test_nothing_is_left_open(resource: Callable[..., JSONResource], loop: Loop) -> None:
    before = set(loop.reactor.getReaders())
    loop.wait(resource().get())
    loop.reactor.runUntilCurrent()  # who was told to abort is told so in the next turn
    assert set(loop.reactor.getReaders()) == before


@pytest.mark.parametrize("kind", ["application/json; charset=utf-8", "application/jwk-set+json", "Application/JSON"])
def test_content_types_of_json(
    resource: Callable[..., JSONResource], loop: Loop, oauth: AuthorizationServer, kind: str
) -> None:
    oauth.fault("/jwks", status=200, headers={"Content-Type": kind}, body='{"a": 1}')
    assert loop.wait(resource().get()) == {"a": 1}


# What is not --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("answer", "why"), [
    ({"status": 503, "headers": JSON, "body": "{}"}, "answered with HTTP status 503; expected 200"),
    ({"status": 500, "body": "<html>"}, "answered with HTTP status 500; expected 200"),
    ({"status": 204}, "answered with HTTP status 204; expected 200"),
    ({"status": 400, "headers": JSON, "body": '{"error": "invalid_scope"}'},
     r"answered with HTTP status 400 \(invalid_scope\); expected 200"),
    ({"status": 400, "headers": JSON, "body": '{"error": "whatever-the-token-was"}'},
     "answered with HTTP status 400; expected 200"),
    ({"status": 200, "headers": {"Content-Type": "text/html"}, "body": "{}"},
     "answered with the content type 'text/html'; expected application/json"),
    ({"status": 200, "body": "{}"}, "answered with the content type ''"),
    ({"status": 200, "headers": JSON, "body": "{"}, "answered with what is not JSON"),
    ({"status": 200, "headers": JSON, "body": "[]"}, "JSON, but not an object"),
    ({"status": 200, "headers": JSON, "body": '{"keys":1,"keys":2}'}, "'keys' more than once"),
    ({"status": 200, "headers": JSON, "body": '{"a":"' + "x" * LONGEST_ANSWER + '"}'},
     f"answered with more than {LONGEST_ANSWER} bytes"),
])  # fmt: skip
def test_another_answer_is_refused(
    resource: Callable[..., JSONResource], loop: Loop, oauth: AuthorizationServer, answer: dict[str, Any], why: str
) -> None:
    oauth.fault("/jwks", **answer)
    with pytest.raises(NotFetched, match=f"^{oauth.issuer}/jwks .*{why}"):
        loop.wait(resource().get())


def test_no_redirect_is_followed(
    resource: Callable[..., JSONResource], loop: Loop, oauth: AuthorizationServer
) -> None:
    for status in (301, 302, 303, 307, 308):
        oauth.fault("/old", status=status, headers={"Location": f"{oauth.issuer}/jwks"})
        assert f"HTTP status {status}" in refused(loop, resource("/old"))
    assert oauth.counts() == {"/old": 5}


def test_another_authority_is_not_trusted(resource: Callable[..., JSONResource], loop: Loop) -> None:
    assert "not among our trust roots" in refused(loop, resource(trusts=DevelopmentAuthority().trust_roots))


def test_another_name_is_not_trusted(
    resource: Callable[..., JSONResource], loop: Loop, oauth: AuthorizationServer
) -> None:
    said = refused(loop, resource(url=f"https://127.0.0.1:{oauth.port}/jwks"))
    assert "expected 127.0.0.1, the certificate is for localhost" in said
    assert oauth.counts() == {}


def test_a_slow_answer_is_given_up(
    resource: Callable[..., JSONResource], loop: Loop, oauth: AuthorizationServer
) -> None:
    oauth.fault("/jwks", delay=60000)
    assert refused(loop, resource(deadline=0.2)) == f"{oauth.issuer}/jwks gave no whole answer within 0.2 s"


def test_a_server_that_hangs_is_given_up(
    resource: Callable[..., JSONResource], loop: Loop, oauth: AuthorizationServer
) -> None:
    with oauth.hung():
        assert "gave no whole answer within 0.2 s" in refused(loop, resource(deadline=0.2))


def test_nobody_is_there(resource: Callable[..., JSONResource], loop: Loop) -> None:
    assert refused(loop, resource(url="https://localhost:1/jwks")).startswith("https://localhost:1/jwks cannot be ")


class Canned(Protocol):
    """Answers the first bytes that come with some of its own, whatever these are, and then does as it was told."""

    answer, then = b"", "lose"

    def dataReceived(self, data: bytes) -> None:
        assert self.transport is not None
        self.transport.write(self.answer)
        if self.then == "lose":
            self.transport.loseConnection()
        elif self.then == "abort":
            self.transport.abortConnection()


HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n"


@pytest.mark.parametrize(("answer", "then", "why"), [
    (HEAD + b"Content-Length: 100\r\n\r\n{", "lose", "closed the connection before its answer was complete"),
    (HEAD + b"Content-Length: 100\r\n\r\n{", "wait", "no whole answer within"),
    (HEAD + b'\r\n{"cut', "lose", "not JSON"),
    (b"", "lose", "closed the connection before its answer was complete"),
    (b"", "abort", "the connection with https://localhost:[0-9]+/ failed: The connection was cut"),
    (b"SSH-2.0-server\r\n", "wait", "did not answer in HTTP: ParseError"),
    # Twisted's parser closes, or stumbles over the rest of the line, as the pieces are in which it comes.
    (HEAD + b"X: " + b"x" * 100000 + b"\r\n\r\n{}", "wait", "did not answer in HTTP: ValueError|closed the connection"),
])  # fmt: skip
def test_what_is_no_answer(loop: Loop, answer: bytes, then: str, why: str) -> None:
    authority = DevelopmentAuthority()
    policy = replace(profile("bcp195-rfc9325"), alpn=b"http/1.1", client_certificate=ClientCertificate.NONE)
    creator = ServerConnectionCreator(policy, authority.issue_server().material, authority.trust_roots)
    endpoint = DicomTLSServerEndpoint(TCP4ServerEndpoint(loop.reactor, 0, interface="127.0.0.1"), creator)
    told = type("Told", (Canned,), {"answer": answer, "then": then})
    port = loop.wait(endpoint.listen(Factory.forProtocol(told)))
    url = f"https://localhost:{port.getHost().port}/"
    try:
        with pytest.raises(NotFetched, match=why):
            loop.wait(JSONResource(url, authority.trust_roots, deadline=0.3, reactor=loop.reactor).get())
    finally:
        loop.wait(port.stopListening())


@pytest.mark.parametrize("url", [
    "http://localhost/jwks", "file:///etc/passwd", "ftp://localhost/", "https://", "https:///jwks", "localhost/jwks",
    "", "https://localhost:0/", "https://localhost:99999/", "https://local host/", "https://localhost/a b",
    "https://localhost/\n", "https://localhost/#part", "https://lücke.example/", "https://user@localhost/",
])  # fmt: skip
def test_only_https_is_asked(url: str) -> None:
    with pytest.raises(ConfigurationError, match="expected https://HOST/PATH"):
        JSONResource(url, TrustRoots(()))


def test_a_password_in_a_url_is_not_repeated() -> None:
    with pytest.raises(ConfigurationError) as caught:
        JSONResource("https://user:hunter2@localhost/", TrustRoots(()))
    assert "hunter2" not in str(caught.value)


# Shared calls -------------------------------------------------------------------------------------------------------


class Call:
    """A call that ends when the test says so."""

    def __init__(self) -> None:
        self.runs: list[Deferred[int]] = []
        self.shared = Shared(self._call)

    async def _call(self) -> int:
        self.runs.append(Deferred())
        return await self.runs[-1]


def outcomes(*deferreds: Deferred[Any]) -> list[Any]:
    found: list[Any] = []
    for deferred in deferreds:
        deferred.addBoth(found.append)
    return found


def test_who_asks_meanwhile_shares_the_call() -> None:
    call = Call()
    found = outcomes(*(call.shared.result() for _ in range(3)))
    assert (len(call.runs), found, call.shared.is_running) == (1, [], True)
    call.runs[0].callback(7)
    assert (found, call.shared.is_running) == ([7, 7, 7], False)
    assert outcomes(call.shared.result()) == []
    assert len(call.runs) == 2


def test_a_failure_is_told_to_all() -> None:
    call = Call()
    found = outcomes(call.shared.result(), call.shared.result())
    call.runs[0].errback(NotFetched("no"))
    assert [str(failure.value) for failure in found] == ["no", "no"]


def test_who_gives_up_gives_up_alone() -> None:
    call = Call()
    gone, stays = call.shared.result(), call.shared.result()
    found_gone, found = outcomes(gone), outcomes(stays)
    gone.cancel()
    assert found_gone[0].type.__name__ == "CancelledError"
    call.runs[0].callback(7)
    assert (found, len(found_gone)) == ([7], 1)


def test_a_call_that_is_done_at_once() -> None:
    async def call() -> int:
        return 7

    shared = Shared(call)
    assert outcomes(shared.result(), shared.result()) == [7, 7]
    assert not shared.is_running
