"""The OCSP response that a server sends with its certificate (RFC 6066 §8), kept fresh.

A context is fixed once it is used, and the response is not: each handshake looks it up here. It comes from a file
that something else renews, or over HTTP from the responder, and is judged as a client would before anyone sees it.
"""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Protocol as Shape
from urllib.parse import quote, urlsplit

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from twisted.internet import protocol
from twisted.internet.defer import CancelledError, Deferred, succeed
from twisted.internet.error import ConnectError, ConnectionClosed
from twisted.internet.interfaces import IReactorTime
from twisted.internet.task import deferLater
from twisted.logger import Logger
from twisted.python.failure import Failure
from twisted.web.client import RequestGenerationFailed, RequestTransmissionFailed, ResponseDone, ResponseFailed
from twisted.web.http import OK, PotentialDataLoss
from twisted.web.http_headers import Headers
from twisted.web.iweb import IAgent, IResponse

from ..errors import ConfigurationError
from .material import KeyMaterial, TrustRoots, name_of
from .ocsp import StatusRefused, issuer_of, judge, request, responder_url

log = Logger(namespace="dimsetls.tls")

LONGEST_RESPONSE = 64 * 1024
"""Bytes; one that carries a responder's chain of RSA certificates has some five thousand."""

FETCH_TIMEOUT = 15.0
"""Seconds from the first lookup of the responder's address to the last byte of its answer."""

SOONEST, LATEST = timedelta(minutes=5), timedelta(hours=12)
"""Between two attempts to renew lies half of the time that the present response is still good for, within these."""


class NotFetched(Exception):
    """No response was had from its source; the message says why."""


class Source(Shape):
    """Where responses come from."""

    async def fetch(self, clock: IReactorTime, agent: IAgent) -> bytes:
        """The present one as DER; NotFetched if there is none to be had."""


@dataclass(frozen=True, slots=True)
class ResponseFile:
    """A file with one response as DER, which something else renews."""

    path: Path

    async def fetch(self, clock: IReactorTime, agent: IAgent) -> bytes:
        return self.read()

    def read(self) -> bytes:
        try:
            with open(self.path, "rb") as file:
                return file.read(LONGEST_RESPONSE)
        except OSError as error:
            raise NotFetched(f"{self.path} cannot be read: {error.strerror}") from None


@dataclass(frozen=True, slots=True)
class Responder:
    """An OCSP responder, asked by HTTP GET (RFC 6960 A.1); its answer is signed, so it needs no TLS."""

    url: str
    asked: bytes

    async def fetch(self, clock: IReactorTime, agent: IAgent) -> bytes:
        def too_late(result: object, timeout: float) -> bytes:
            raise NotFetched(f"{self.url} did not answer in full within {timeout:g} s")

        try:
            return await Deferred.fromCoroutine(self._get(agent)).addTimeout(FETCH_TIMEOUT, clock, too_late)
        except (ResponseFailed, RequestGenerationFailed, RequestTransmissionFailed) as error:
            reasons = "; ".join(reason.getErrorMessage() for reason in error.reasons)
            raise NotFetched(f"{self.url} did not answer in HTTP: {reasons}") from None
        except (ConnectError, ConnectionClosed, OSError) as error:
            raise NotFetched(f"{self.url} cannot be reached: {error}") from None

    async def _get(self, agent: IAgent) -> bytes:
        url = f"{self.url.rstrip('/')}/{quote(b64encode(self.asked), safe='')}"
        headers = Headers({"Accept": ["application/ocsp-response"], "User-Agent": ["dimsetls"]})
        response: IResponse = await agent.request(b"GET", url.encode("ascii"), headers, None)
        body = _Body()
        response.deliverBody(body)
        answer = await body.whole
        if response.code != OK:
            raise NotFetched(f"{self.url} answered with HTTP status {response.code}; expected {int(OK)}")
        return answer


class Stapling:
    """What a server staples to one certificate. `current` is what its contexts ask; `start` keeps it fresh."""

    def __init__(
        self,
        source: Source,
        certificate: x509.Certificate,
        issuer: x509.Certificate,
        *,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self._source, self._certificate, self._issuer, self._now = source, certificate, issuer, now
        self._response, self._until = b"", now()
        self._trouble = ""
        self._stopped = True
        self._renewals: Deferred[None] = succeed(None)
        self.accepted: Callable[[bytes], None] = lambda response: None
        """Called with each response that is stapled from then on."""

    @classmethod
    def from_file(cls, path: str | Path, key_material: KeyMaterial, trust_roots: TrustRoots) -> Stapling:
        """Staple what the file holds, which must be good now; ConfigurationError if not."""
        file, issuer = ResponseFile(Path(path)), _issuer(key_material, trust_roots)
        stapling = cls(file, key_material.certificate, issuer)
        try:
            stapling.accept(file.read())
        except (NotFetched, StatusRefused) as error:
            raise ConfigurationError(f"OCSP response file {path} cannot be used: {error}") from None
        return stapling

    @classmethod
    def from_responder(
        cls, key_material: KeyMaterial, trust_roots: TrustRoots, url: str | None = None
    ) -> Stapling:
        """Staple what the responder says, at `url` or where the certificate has it; nothing is asked before `start`."""
        certificate, issuer = key_material.certificate, _issuer(key_material, trust_roots)
        place = url or responder_url(certificate)
        if place is None:
            raise ConfigurationError(
                f"the certificate {name_of(certificate)} names no OCSP responder; expected one there, or its URL in "
                "the configuration"
            )
        if not _is_http(place):
            raise ConfigurationError(f"the OCSP responder is at {place!r}; expected a URL that begins with http://")
        return cls(Responder(place, request(certificate, issuer)), certificate, issuer)

    @property
    def certificate(self) -> str:
        """The SHA-256 of the certificate that the responses are about, in hexadecimal."""
        return self._certificate.fingerprint(hashes.SHA256()).hex()

    def current(self) -> bytes:
        """The response as DER, empty if there is none that is good now."""
        return self._response if self._now() < self._until else b""

    def accept(self, response: bytes) -> None:
        """Staple this response from now on; StatusRefused, and the one before stays, if a client would refuse it."""
        self._until = judge(response, self._certificate, self._issuer, self._now())
        self._response = response
        self.accepted(response)

    def take_over(self, previous: Stapling) -> None:
        """Begin with what served the same certificate before, so that a reload leaves no gap until the first fetch."""
        if previous._certificate == self._certificate and not self.current() and (response := previous.current()):
            try:
                self.accept(response)
            except StatusRefused:
                pass  # it was of another issuer, or ends just now: the first fetch will say what is wrong

    def start(self, clock: IReactorTime, agent: IAgent) -> None:
        """Fetch a response now, and again before each goes stale."""
        self._stopped = False
        self._renewals = Deferred.fromCoroutine(self._renew(clock, agent))
        self._renewals.addErrback(self._ended)

    def stop(self) -> None:
        """Fetch no more; the present response stays for as long as it is good."""
        self._stopped = True
        self._renewals.cancel()

    async def _renew(self, clock: IReactorTime, agent: IAgent) -> None:
        while True:
            try:
                self.accept(await self._source.fetch(clock, agent))
                self._trouble = ""
            except (NotFetched, StatusRefused) as error:
                if self._stopped:  # which is what broke the fetch off
                    return
                self._say(str(error))
            wait = min(max(SOONEST, (self._until - self._now()) / 2), LATEST)
            await deferLater(clock, wait.total_seconds())

    def _ended(self, failure: Failure) -> None:
        if not failure.check(CancelledError):
            log.failure("the OCSP response for {certificate} is renewed no more", failure,
                        certificate=name_of(self._certificate))

    def _say(self, cause: str) -> None:
        """One sentence when renewal begins to fail, and one when the old response has gone stale over it."""
        kept = f"the old one serves until {self._until:%Y-%m-%d %H:%M} UTC" if self.current() else "nothing is stapled"
        if kept != self._trouble:
            self._trouble = kept
            log.warn("no fresh OCSP response for {certificate}: {cause}; {kept}",
                     certificate=name_of(self._certificate), cause=cause, kept=kept)


class _Body(protocol.Protocol):
    """Collects the body of an answer, up to what a response may have."""

    def __init__(self) -> None:
        self.whole: Deferred[bytes] = Deferred(lambda deferred: self._drop())
        self._collected = bytearray()

    def dataReceived(self, data: bytes) -> None:
        self._collected += data
        if len(self._collected) > LONGEST_RESPONSE and not self.whole.called:
            self.whole.errback(NotFetched(f"the responder's answer is longer than {LONGEST_RESPONSE} bytes"))
            self._drop()

    def connectionLost(self, reason: Failure = protocol.connectionDone) -> None:
        if self.whole.called:
            return
        if reason.check(ResponseDone, PotentialDataLoss):
            self.whole.callback(bytes(self._collected))
        else:
            self.whole.errback(reason)

    def _drop(self) -> None:
        assert self.transport is not None
        self.transport.loseConnection()


def _is_http(url: str) -> bool:
    try:
        parts = urlsplit(url)
        return url.isascii() and parts.scheme == "http" and bool(parts.hostname) and parts.port != 0
    except ValueError:
        return False


def _issuer(key_material: KeyMaterial, trust_roots: TrustRoots) -> x509.Certificate:
    certificate = key_material.certificate
    issuer = issuer_of(certificate, (*key_material.chain[1:], *trust_roots.certificates))
    if issuer is None:
        raise ConfigurationError(
            f"the issuer of {name_of(certificate)} is not known, so no OCSP response for it can be checked; expected "
            "its certificate behind ours in the same file, or among the trust roots"
        )
    return issuer
