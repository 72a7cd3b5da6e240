"""A reactor for threads that the test runs by hand, a back end that records, and whoever presents a credential."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from datetime import UTC, datetime
from queue import Queue
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorFromThreads
from twisted.python.failure import Failure
from zope.interface import implementer

from dimsetls.identity.credentials import Credential, Method
from dimsetls.identity.interfaces import IAuthenticator, Presenter, Verified
from dimsetls.tls.session import PeerCertificate
from dimsetls.ul.pdus import UserIdentityRQ, UserInformation

PLAIN = UserInformation(16384, "1.2.3.99")


@implementer(IReactorFromThreads)
class Calls:
    """What threads want called in the reactor's thread: it happens while a test waits here, and at no other time."""

    def __init__(self) -> None:
        self._calls: Queue[Callable[[], object]] = Queue()

    def callFromThread(self, call: Callable[..., object], *arguments: Any, **keywords: Any) -> None:
        self._calls.put(lambda: call(*arguments, **keywords))

    def call_one(self) -> None:
        self._calls.get(timeout=10)()

    def outcome(self, awaited: Deferred[Any] | Coroutine[Any, Any, Any]) -> Any:
        """The result, or the exception, when it is there."""
        deferred = awaited if isinstance(awaited, Deferred) else Deferred.fromCoroutine(awaited)
        while (found := outcome(deferred)) is None:
            self.call_one()
        return found


def outcome(deferred: Deferred[Any]) -> Any:
    """The result or the exception of a Deferred, which is taken from it; None: it has none yet."""
    if not deferred.called:
        return None
    found: list[Any] = []
    deferred.addBoth(found.append)
    return found[0].value if isinstance(found[0], Failure) else found[0]


@implementer(IAuthenticator)
class BackEnd:
    """Answers with `answer`: by returning or raising it, or by waiting for it if it is a Deferred or a function."""

    def __init__(self, name: str, answer: object, *, cacheable: bool = False) -> None:
        self.name = name
        self.methods = frozenset(Method)
        self.cacheable = cacheable
        self.answer = answer
        self.asked: list[Credential] = []
        self.secrets: list[bytes] = []

    async def verify(self, credential: Credential, presenter: Presenter) -> Verified:
        self.asked.append(credential)
        secret = getattr(credential, "passcode", None) or getattr(credential, "token", None)
        self.secrets.append(secret.reveal() if secret else b"")
        answer = self.answer(credential) if callable(self.answer) else self.answer
        if isinstance(answer, Deferred):
            answer = await answer
        if isinstance(answer, Exception):
            raise answer
        assert isinstance(answer, Verified)
        return answer

    def close(self) -> None:
        """There is nothing to let go of."""


def certificate(name: str = "gateway.hospital.example", sha256: str = "aa" * 32) -> PeerCertificate:
    """What a peer's certificate says, with this DNS name."""
    term = datetime(2026, 1, 1, tzinfo=UTC)
    return PeerCertificate(f"CN={name}", "CN=CA", 1, (name,), (), (), term, term, sha256, "bb" * 32, b"")


def presenter(address: str = "192.0.2.1", shown: PeerCertificate | None = None) -> Presenter:
    return Presenter(address, "CALLING", "CALLED", shown)


def offered(kind: int, primary: bytes, secondary: bytes = b"", *, response: bool = False) -> UserInformation:
    """The user information of a request with sub-item 58H."""
    return UserInformation(16384, "1.2.3.99", user_identity=UserIdentityRQ(kind, response, primary, secondary))
