"""An acceptor on a link with whatever observes it, peers that play against it, and what they say."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable
from dataclasses import replace
from typing import Any, TypeVar

from twisted.internet.defer import Deferred

from dimsetls.association.acceptor import AcceptorFactory
from dimsetls.association.admission import ApplicationEntity
from dimsetls.association.events import Event
from dimsetls.association.requests import EchoRequest, Request, StoreRequest
from dimsetls.dimse.command import CommandSet, read_command, write_command
from dimsetls.dimse.messages import CEchoRQ, CStoreRQ, Response, read_message
from dimsetls.dimse.status import Status
from dimsetls.services.provider import ServiceProvider
from dimsetls.testing import DevelopmentAuthority, Link, Peer, tls_endpoints
from dimsetls.uids import APPLICATION_CONTEXT, EXPLICIT_VR_LITTLE_ENDIAN, IMPLICIT_VR_LITTLE_ENDIAN, VERIFICATION
from dimsetls.ul.pdus import (
    PDU,
    AssociateAC,
    AssociateRQ,
    AsynchronousOperationsWindow,
    PDataTF,
    PresentationContextRQ,
    UserInformation,
)
from dimsetls.ul.writer import write_fragments

CT = "1.2.840.10008.5.1.4.1.1.2"
MR = "1.2.840.10008.5.1.4.1.1.4"
INSTANCE = "1.2.3.4"
WINDOW_OF_TWO = {"asynchronous_operations_window": AsynchronousOperationsWindow(2, 1)}
PEER_INFORMATION = UserInformation(16384, "1.2.3.99", "A_PEER")

_T = TypeVar("_T")


class Services(ServiceProvider):
    """Serves verification, CT and MR with whatever coroutine a test gives; without one, reads all and is content."""

    abstract_syntaxes = (CT, MR)

    def __init__(self, handler: Callable[[Any], Awaitable[Any]] | None = None) -> None:
        self.requests: list[Request] = []
        self.data: list[bytes] = []
        self._handler = handler

    async def perform(self, request: Request) -> int:
        self.requests.append(request)
        return await super().perform(request)

    async def c_echo(self, request: EchoRequest) -> int:
        return await self._handler(request) if self._handler else Status.SUCCESS

    async def c_store(self, request: StoreRequest) -> int:
        if self._handler:
            return await self._handler(request)
        self.data.append(await request.data.read())
        return Status.SUCCESS


class Manual(Services):
    """Operations that the test finishes, in the order of its choice."""

    def __init__(self) -> None:
        self.finish: list[Deferred[Any]] = []
        super().__init__(self._wait)

    async def _wait(self, request: Request) -> Any:
        self.finish.append(Deferred())
        return await self.finish[-1]


class Stage:
    """A link, an acceptor that listens on it as DIMSETLS, and the events it told.

    Keywords are those of `ApplicationEntity` and `AcceptorFactory`.
    """

    def __init__(
        self, services: Any = None, *, tls: DevelopmentAuthority | None = None, entities: Any = None, **keywords: Any
    ) -> None:
        self.link = Link()
        self.events: list[Event] = []
        self.services = services if services is not None else Services()
        factory_keywords = {
            name: keywords.pop(name) for name in ("limits", "timeouts", "observers", "associate_length")
            if name in keywords
        }
        self.factory = AcceptorFactory(
            entities or ApplicationEntity("DIMSETLS", self.services, **keywords),
            **({"observers": [self], "clock": self.link} | factory_keywords),
        )
        self.calling: Any = self.link
        if tls:
            serving, self.calling = tls_endpoints(self.link, tls)
            serving.listen(self.factory)
        else:
            self.link.listen(self.factory)

    def observe(self, event: Event) -> None:
        self.events.append(event)

    def peer(self) -> Peer:
        """A peer that has a connection, with TLS on top if the stage has TLS."""
        return Peer.connect(self.link, self.calling)

    def associated(self, *contexts: str | PresentationContextRQ, **keywords: Any) -> Peer:
        """A peer that has an association, for verification (context 1) and CT (3) unless told otherwise."""
        peer = self.peer()
        [answer] = peer.send(request(*contexts, **keywords))
        assert isinstance(answer, AssociateAC)
        return peer

    def told(self, kind: type[_T]) -> _T:
        """The only event of this kind."""
        [event] = [event for event in self.events if isinstance(event, kind)]
        return event

    @property
    def kinds(self) -> list[str]:
        return [type(event).__name__ for event in self.events]

    @property
    def is_quiet(self) -> bool:
        """Whether nothing is left of anyone: no connection, no timer, no association counted."""
        return not (self.link.ends or self.link.getDelayedCalls() or self.factory.count.total or self.factory.pending)


def context(number: int, abstract_syntax: str, *transfer_syntaxes: str) -> PresentationContextRQ:
    syntaxes = transfer_syntaxes or (EXPLICIT_VR_LITTLE_ENDIAN, IMPLICIT_VR_LITTLE_ENDIAN)
    return PresentationContextRQ(number, abstract_syntax, syntaxes)


def request(
    *contexts: str | PresentationContextRQ,
    called: str = "DIMSETLS",
    calling: str = "PEER",
    application_context: str = APPLICATION_CONTEXT,
    version: int = 1,
    **user_information: Any,
) -> AssociateRQ:
    """An A-ASSOCIATE-RQ; abstract syntaxes get the context IDs 1, 3, 5 …"""
    proposed = tuple(
        context(2 * number + 1, each) if isinstance(each, str) else each
        for number, each in enumerate(contexts or (VERIFICATION, CT))
    )
    user = replace(PEER_INFORMATION, **user_information)
    return AssociateRQ(called, calling, application_context, proposed, user, version)


def command(elements: CommandSet, context_id: int = 1, length: int = 16384) -> bytes:
    """A command set as P-DATA-TF PDUs."""
    return b"".join(write_fragments(context_id, True, write_command(elements), length))


def data_set(data: bytes, context_id: int = 3, length: int = 16384) -> bytes:
    """A data set as P-DATA-TF PDUs."""
    return b"".join(write_fragments(context_id, False, data, length))


def echo(message_id: int = 1, context_id: int = 1) -> bytes:
    """A C-ECHO-RQ."""
    return command(CEchoRQ(message_id, VERIFICATION).command(), context_id)


def store(data: bytes, message_id: int = 1, context_id: int = 3, **command: str) -> bytes:
    """A C-STORE-RQ with its data set."""
    return store_command(message_id, context_id, **command) + data_set(data, context_id)


def store_command(message_id: int = 1, context_id: int = 3, instance: str = INSTANCE, sop_class: str = CT) -> bytes:
    return command(CStoreRQ(message_id, sop_class, instance).command(), context_id)


def open_fragment(length: int, context_id: int = 3) -> bytes:
    """The header of a P-DATA-TF with one data set PDV of `length` bytes, which are still to be sent; not the last."""
    return bytes((4, 0)) + (length + 6).to_bytes(4, "big") + (length + 2).to_bytes(4, "big") + bytes((context_id, 0))


def responses(pdus: Iterable[PDU]) -> list[Response]:
    """The responses in what a peer received; nothing else may be in it."""
    found, command_set = [], b""
    for pdu in pdus:
        assert isinstance(pdu, PDataTF), pdu
        for value in pdu.values:
            assert value.is_command
            command_set += value.fragment
            if value.is_last:
                found.append(read_message(Response, read_command(command_set)))
                command_set = b""
    return found


def statuses(pdus: Iterable[PDU]) -> list[tuple[int, int]]:
    """(message ID being responded to, status) of each response."""
    return [(response.message_id_being_responded_to, response.status) for response in responses(pdus)]
