"""JSON over HTTPS from a server that the configuration names: one request, one connection, one whole answer or none."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from dataclasses import replace
from typing import Any, Generic, TypeVar, cast
from urllib.parse import urlsplit

from OpenSSL import SSL
from twisted.internet.defer import CancelledError, Deferred, succeed
from twisted.internet.endpoints import HostnameEndpoint
from twisted.internet.error import ConnectError, ConnectionClosed, ConnectionDone, ConnectionLost, DNSLookupError
from twisted.internet.interfaces import (
    IConsumer,
    IOpenSSLClientConnectionCreator,
    IProtocol,
    IProtocolFactory,
    IReactorTime,
    IStreamClientEndpoint,
)
from twisted.internet.protocol import Factory, Protocol, connectionDone
from twisted.protocols.tls import TLSMemoryBIOProtocol
from twisted.python.failure import Failure
from twisted.web.client import (
    URI,
    Agent,
    RequestGenerationFailed,
    RequestTransmissionFailed,
    ResponseDone,
    ResponseFailed,
)
from twisted.web.http import OK, PotentialDataLoss
from twisted.web.http_headers import Headers
from twisted.web.iweb import IAgentEndpointFactory, IBodyProducer, IResponse
from zope.interface import implementer

from ...errors import ConfigurationError
from ...tls.contexts import ClientConnectionCreator
from ...tls.endpoints import DicomTLSClientEndpoint
from ...tls.evidence import FATAL, Evidence, ObservedConnection
from ...tls.faults import classify
from ...tls.material import KeyMaterial, TrustRoots
from ...tls.policy import BCP195_RFC9325
from ..jsontext import UnreadableJSON, read_object

LONGEST_ANSWER = 256 * 1024
"""Bytes; a set of a dozen RSA keys with their certificates has some thirty thousand."""

_POLICY = replace(BCP195_RFC9325, name="https", title="HTTPS", alpn=b"http/1.1")
_TYPES = ("application/json", "application/jwk-set+json")
_OAUTH_ERRORS = frozenset((
    "access_denied", "invalid_client", "invalid_grant", "invalid_request", "invalid_scope", "invalid_target",
    "invalid_token", "server_error", "temporarily_unavailable", "unauthorized_client", "unsupported_grant_type",
    "unsupported_token_type",
))  # fmt: skip
"""RFC 6749 §5.2, RFC 6750 §3.1, RFC 7009 §2.2.1, RFC 8707 §2; of any other word we know not what is in it."""

T = TypeVar("T")


class NotFetched(Exception):
    """No usable answer was had; the message is a sentence for the operator, without what was sent."""

    def __init__(self, sentence: str, status: int | None = None, code: str = "") -> None:
        super().__init__(sentence)
        self.status, self.code = status, code
        """The HTTP status and the error code of OAuth, where there was an answer that is not 200."""


class JSONResource:
    """A place on the web that answers with a JSON object.

    The server's certificate must lead to the trust roots and be for the host in the URL, by the profile that holds
    for DICOM too. No redirect is followed, no cookie is kept, no proxy is asked. `key_material` is shown to a server
    that asks for it. Raises ConfigurationError for a URL that is not https.
    """

    def __init__(
        self,
        url: str,
        trust_roots: TrustRoots,
        key_material: KeyMaterial | None = None,
        *,
        deadline: float = 5.0,
        reactor: IReactorTime | None = None,
    ) -> None:
        self.url = url
        self._host, self._port = _place(url)
        self._creator = ClientConnectionCreator(_POLICY, trust_roots, key_material, server_name=self._host)
        self._deadline = deadline
        self._reactor = reactor

    async def get(self) -> dict[str, Any]:
        """Raises NotFetched."""
        return await self._ask(b"GET", {}, None)

    async def post(self, form: bytes, headers: dict[str, str]) -> dict[str, Any]:
        """Send a form, already encoded. Raises NotFetched."""
        return await self._ask(b"POST", {"Content-Type": "application/x-www-form-urlencoded", **headers}, form)

    async def _ask(self, method: bytes, headers: dict[str, str], body: bytes | None) -> dict[str, Any]:
        def too_late(result: object, timeout: float) -> tuple[IResponse, bytes]:
            raise NotFetched(f"{self.url} gave no whole answer within {timeout:g} s")

        reactor = self._reactor or _installed_reactor()
        endpoint = HostnameEndpoint(reactor, self._host, self._port)
        connection = _Connection(endpoint, self._creator)
        exchange = Deferred.fromCoroutine(self._exchange(reactor, connection, method, headers, body))
        try:
            response, answer = await exchange.addTimeout(self._deadline, reactor, too_late)
        except (ResponseFailed, RequestGenerationFailed, RequestTransmissionFailed) as error:
            raise self._broken(error.reasons, connection.evidence) from None
        except (ConnectError, ConnectionClosed, DNSLookupError, OSError) as error:
            raise NotFetched(f"{self.url} cannot be reached: {str(error).rstrip('.')}") from None
        finally:
            connection.cut()
        return self._judge(response, answer)

    async def _exchange(
        self, reactor: IReactorTime, connection: _Connection, method: bytes, headers: dict[str, str], body: bytes | None
    ) -> tuple[IResponse, bytes]:
        agent = Agent.usingEndpointFactory(reactor, connection)
        sent = Headers({"Accept": [_TYPES[0]], "User-Agent": ["dimsetls"], **{n: [v] for n, v in headers.items()}})
        form = _Form(body) if body is not None else None
        response: IResponse = await agent.request(method, self.url.encode("ascii"), sent, form)
        collected = _Body(connection.cut)
        response.deliverBody(collected)
        answer = await collected.whole
        if answer is None:
            raise NotFetched(f"{self.url} answered with more than {LONGEST_ANSWER} bytes")
        return response, answer

    def _broken(self, reasons: list[Failure], evidence: Evidence | None) -> Exception:
        """What ended the request before its answer was complete."""
        cause = reasons[0]
        if cause.check(CancelledError):
            return CancelledError()
        is_tls = cause.check(SSL.Error) or (evidence is not None and (
            not evidence.handshake_completed or any(alert.level == FATAL for alert in evidence.alerts)
        ))  # fmt: skip
        if is_tls:
            fault = classify(cause, evidence)
            detail = fault.detail or fault.name
            return NotFetched(f"the connection with {self.url} failed: {fault.sentence.rstrip('.')} ({detail})")
        if cause.check(ConnectionDone, ConnectionLost):
            return NotFetched(f"{self.url} closed the connection before its answer was complete")
        return NotFetched(f"{self.url} did not answer in HTTP: {cause.type.__name__ if cause.type else 'nothing'}")

    def _judge(self, response: IResponse, answer: bytes) -> dict[str, Any]:
        if response.code != OK:
            code = _error_code(answer)
            said = f"{response.code} ({code})" if code else f"{response.code}"
            sentence = f"{self.url} answered with HTTP status {said}; expected {int(OK)}"
            raise NotFetched(sentence, response.code, code)
        kind = (response.headers.getRawHeaders("Content-Type") or [""])[0].partition(";")[0].strip().lower()
        if kind not in _TYPES:
            raise NotFetched(f"{self.url} answered with the content type {kind[:60]!r}; expected {_TYPES[0]}")
        try:
            return read_object(answer)
        except UnreadableJSON as error:
            raise NotFetched(f"{self.url} answered with what is {error}; expected one JSON object") from None


class Shared(Generic[T]):
    """One call for all who want its result while it runs. It runs to its end, even if they have all gone meanwhile."""

    def __init__(self, call: Callable[[], Coroutine[Any, Any, T]]) -> None:
        self._call = call
        self._waiting: list[Deferred[T]] = []
        self._running: Deferred[T] | None = None

    @property
    def is_running(self) -> bool:
        return self._running is not None

    def result(self) -> Deferred[T]:
        """Of the call that runs, or of a new one. Who cancels it gives up alone."""
        waiter: Deferred[T] = Deferred()
        self._waiting.append(waiter)
        if self._running is None:
            running = Deferred.fromCoroutine(self._call())
            self._running = running  # before it tells, which may be at once
            running.addBoth(self._tell)
        return waiter

    def cancel(self) -> None:
        if self._running is not None:
            self._running.cancel()

    def _tell(self, result: T | Failure) -> None:
        waiting, self._waiting, self._running = self._waiting, [], None
        for waiter in waiting:
            waiter.callback(result)  # a Failure goes to the errbacks


@implementer(IAgentEndpointFactory, IStreamClientEndpoint, IOpenSSLClientConnectionCreator)
class _Connection:
    """The connection of one request: what TLS showed on it, and a way to cut it that needs no help from the server.

    Nothing is kept open for a next request: a server may close such a connection while a request is on its way, and
    nobody knows then whether it was heard.
    """

    evidence: Evidence | None = None

    def __init__(self, endpoint: IStreamClientEndpoint, creator: ClientConnectionCreator) -> None:
        self._endpoint = DicomTLSClientEndpoint(endpoint, self)
        self._creator = creator
        self._protocol: IProtocol | None = None

    def endpointForURI(self, uri: URI) -> IStreamClientEndpoint:  # noqa: N802 - Twisted's name
        return self

    def connect(self, factory: IProtocolFactory) -> Deferred[IProtocol]:
        cast(Factory, factory).noisy = False  # or each request is two lines of the log that say nothing
        return self._endpoint.connect(factory).addCallback(self._keep)

    def clientConnectionForTLS(self, protocol: TLSMemoryBIOProtocol | None) -> ObservedConnection:
        connection = self._creator.clientConnectionForTLS(protocol)
        self.evidence = connection.evidence
        return connection

    def cut(self) -> None:
        transport = getattr(self._protocol, "transport", None)
        if transport is not None:
            transport.abortConnection()

    def _keep(self, protocol: IProtocol) -> IProtocol:
        self._protocol = protocol
        return protocol


@implementer(IBodyProducer)
class _Form:
    """A body that is written at once: it is small."""

    def __init__(self, octets: bytes) -> None:
        self._octets = octets
        self.length = len(octets)

    def startProducing(self, consumer: IConsumer) -> Deferred[None]:  # noqa: N802 - here and below, Twisted's names
        consumer.write(self._octets)
        return succeed(None)

    def pauseProducing(self) -> None:
        """There is nothing left to pause."""

    resumeProducing = stopProducing = pauseProducing


class _Body(Protocol):
    """Collects the body of an answer; `whole` is None for one that is too long."""

    def __init__(self, cut: Callable[[], None]) -> None:
        self.whole: Deferred[bytes | None] = Deferred(lambda deferred: cut())
        self._cut = cut
        self._collected = bytearray()

    def dataReceived(self, data: bytes) -> None:
        self._collected += data
        if len(self._collected) > LONGEST_ANSWER and not self.whole.called:
            self.whole.callback(None)
            self._cut()

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        if self.whole.called:
            return
        if reason.check(ResponseDone, PotentialDataLoss):  # without a length an object still ends with its brace
            self.whole.callback(bytes(self._collected))
        else:
            self.whole.errback(reason)


def _place(url: str) -> tuple[str, int]:
    """Host and port of a URL that may be asked. Raises ConfigurationError."""
    try:
        parts = urlsplit(url)
        good = (url.isascii() and url.isprintable() and " " not in url and parts.scheme == "https"
                and parts.username is None and not parts.fragment and parts.port != 0)
        host, port = parts.hostname, parts.port or 443
    except ValueError:
        good, host, port = False, None, 0
    if not good or not host:
        shown = "a URL with a user name in it" if "@" in url else repr(url[:200])  # a password may stand beside it
        raise ConfigurationError(f"found {shown}; expected https://HOST/PATH, in ASCII, without user name or fragment")
    return host, port


def _error_code(answer: bytes) -> str:
    """What an authorization server says is wrong (RFC 6749 §5.2), if it says so in a word that we know."""
    try:
        code = read_object(answer).get("error")
    except UnreadableJSON:
        return ""
    return code if isinstance(code, str) and code in _OAUTH_ERRORS else ""


def _installed_reactor() -> IReactorTime:
    from twisted.internet import reactor  # as late as possible: importing it chooses one for the process

    return reactor
