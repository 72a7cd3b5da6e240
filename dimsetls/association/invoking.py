"""The invoking DIMSE service user (PS3.7 §7.5): operations of ours, within the window, each until its last response."""

from __future__ import annotations

from collections import deque
from collections.abc import Awaitable, Callable
from functools import partial
from typing import TYPE_CHECKING

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IDelayedCall

from ..codes import ProviderReason
from ..dimse.assembly import DataSetSink
from ..dimse.command import write_command
from ..dimse.messages import CFindRQ, CGetRQ, CMoveRQ, RequestMessage, ResponseMessage
from ..dimse.reading import mismatch
from ..dimse.status import StatusClass, status_class
from ..errors import DimsetlsError, LocalProtocolError, RemoteProtocolError
from ..tls.faults import TransportFault
from ..ul.negotiation import AcceptedContext
from .datasets import LARGEST
from .outbox import DataSet, Outbox, Piece
from .requests import StoreRequest
from .running import start
from .stream import HIGH_WATER

if TYPE_CHECKING:
    from .performing import PerformingUser
    from .protocol import AssociationProtocol

StoreHandler = Callable[[StoreRequest], Awaitable[int]]

MOST_HELD = 8 * LARGEST
"""Bytes of responses that are kept for a caller who asks for something else instead of reading them."""
_RESPONSE = 512  # what one is reckoned with beyond its data set


class Invocation:
    """One operation of ours: what is to be sent, and its responses as they come."""

    __slots__ = ("_octets", "_responses", "_waiting", "context", "data", "deadline", "error", "is_final", "is_heard",
                 "is_sent", "is_started", "message", "moved", "pdus", "sent", "store")  # fmt: skip

    def __init__(
        self, context: AcceptedContext, message: RequestMessage, data: bytes | DataSet | None,
        store: StoreHandler | None, sent: Callable[[int], object] | None, moved: Callable[[], None],
    ) -> None:  # fmt: skip
        self.context = context
        self.message = message
        self.data = data
        self.store = store
        self.sent = sent or _nobody
        """Is told the octets of a data set that was not in memory, as they go out."""
        self.moved = moved
        """Called when a response was taken."""
        self.deadline: IDelayedCall | None = None
        self.pdus = 0
        """What had come from the peer when the deadline began."""
        self.error: Exception | None = None
        self.is_started = self.is_sent = self.is_final = False
        self.is_heard = True
        """Whether anyone is to read the responses."""
        self._responses: deque[tuple[ResponseMessage, bytes]] = deque()
        self._octets = 0
        self._waiting: list[Deferred[None]] = []

    @property
    def octets(self) -> int:
        """Of responses that wait for the caller."""
        return self._octets

    def receive(self, response: ResponseMessage, data: bytes) -> None:
        self.is_final = status_class(response.status) is not StatusClass.PENDING
        if self.is_heard:
            self._responses.append((response, data))
            self._octets += len(data) + _RESPONSE
        self._wake()

    def fail(self, error: Exception) -> None:
        if not self.is_final and self.error is None:
            self.error = error
            self._wake()

    async def next(self) -> tuple[ResponseMessage, bytes] | None:
        """The next response with its data set, None after the last; what ended the association is raised.

        Several may wait; each response goes to one of them.
        """
        while not self._responses:
            if self.error is not None:
                raise self.error
            if self.is_final:
                return None
            deferred: Deferred[None] = Deferred()
            self._waiting.append(deferred)
            await deferred
        response, data = self._responses.popleft()
        self._octets -= len(data) + _RESPONSE
        self.moved()
        self._wake()
        return response, data

    def finish(self) -> None:
        """No response will come: it was never asked for."""
        self.is_final = True
        self._wake()

    def ignore(self) -> None:
        """Nobody reads the responses any more."""
        self.is_heard = False
        self._responses.clear()
        self._octets = 0
        self.moved()

    def _wake(self) -> None:
        waiting, self._waiting = self._waiting, []
        for deferred in waiting:
            deferred.callback(None)


class InvokingUser:
    """Invokes operations on one association in the order in which they are asked for.

    What is beyond the window waits for its turn. `fail(error)` ends the association, `performing` says whether the peer
    waits for us, `settled()` is called when an operation is over.
    """

    def __init__(
        self,
        protocol: AssociationProtocol,
        outbox: Outbox,
        window: int,
        fail: Callable[[DimsetlsError], None],
        performing: PerformingUser,
        settled: Callable[[], None],
    ) -> None:
        self.window = window
        self._protocol = protocol
        self._outbox = outbox
        self._fail = fail
        self._performing = performing
        self._settled = settled
        self._invoked: dict[int, Invocation] = {}
        self._waiting: list[Invocation] = []
        self._active: dict[Invocation, None] = {}
        """Those that are started: never more than the window."""
        self._sending: dict[Deferred[None], None] = {}
        self._next_message_id = 1

    # For callers ---------------------------------------------------------------------------------------------------

    @property
    def outstanding(self) -> list[Invocation]:
        """Those that are started or wait for their turn."""
        return list(self._invoked.values())

    def new_message_id(self) -> int:
        """A Message ID that no outstanding request of ours has."""
        if len(self._invoked) >= 0xFFFF:
            raise LocalProtocolError("65535 operations are outstanding, and there are no more message IDs")
        while self._next_message_id in self._invoked:
            self._next_message_id = self._next_message_id % 0xFFFF + 1
        message_id, self._next_message_id = self._next_message_id, self._next_message_id % 0xFFFF + 1
        return message_id

    def invoke(
        self,
        context: AcceptedContext,
        message: RequestMessage,
        data: bytes | DataSet | None = None,
        store: StoreHandler | None = None,
        sent: Callable[[int], object] | None = None,
    ) -> Invocation:
        """Send a request as soon as it has its turn. `store` takes the instances of a C-GET."""
        if message.message_id in self._invoked:
            raise LocalProtocolError(f"message ID {message.message_id} is in use")
        invocation = Invocation(context, message, data, store, sent, self._pace)
        self._invoked[message.message_id] = invocation
        self._waiting.append(invocation)
        self._pace()
        self._advance()
        return invocation

    def withdraw(self, invocation: Invocation) -> bool:
        """Forget a request that has not been sent; whether it could be."""
        if invocation.is_started:
            return False
        self._forget(invocation)
        invocation.finish()
        return True

    def drop_waiting(self, error: DimsetlsError) -> None:
        """No further request goes out; those that wait for their turn fail."""
        while self._waiting:
            invocation = self._waiting.pop(0)
            del self._invoked[invocation.message.message_id]
            invocation.fail(error)

    def store_handler(self) -> StoreHandler | None:
        """Who takes the instances that come now: the caller of the first C-GET that is outstanding."""
        for invocation in self._active:
            if invocation.store is not None:
                return invocation.store
        return None

    # For the association -------------------------------------------------------------------------------------------

    def begin_response(self, context_id: int, response: ResponseMessage, has_data_set: bool) -> DataSetSink | None:
        """A response has begun to come. Raises `RemoteProtocolError` where it is none to what we asked."""
        message_id = response.message_id_being_responded_to
        invocation = self._invoked.get(message_id)
        if invocation is None or not invocation.is_started or invocation.is_final:
            raise _unexpected(f"a response came to message {message_id}, which is not outstanding")
        if context_id != invocation.context.context_id:
            expected = invocation.context.context_id
            raise _unexpected(f"a response came on presentation context {context_id}, its request was on {expected}")
        if sentence := mismatch(invocation.message, response):
            raise _unexpected(sentence)
        kind = status_class(response.status)
        if kind is StatusClass.PENDING and not isinstance(invocation.message, CFindRQ | CGetRQ | CMoveRQ):
            raise _unexpected(f"{response.name} has pending status {response.status:04X}H, which is not for it")
        if not invocation.is_sent and kind is not StatusClass.FAILURE:
            sentence = f"{response.name} with status {response.status:04X}H came before the request was complete"
            raise _unexpected(sentence)
        if has_data_set:
            return _Collector(lambda data: self._received(invocation, response, data))
        self._received(invocation, response, b"")
        return None

    def end(self, error: DimsetlsError) -> None:
        """The association is over."""
        invoked, self._invoked = self._invoked, {}
        self._waiting.clear()
        self._active.clear()
        for invocation in invoked.values():
            _cancel(invocation)
            invocation.fail(error)
            self._protocol.hold(invocation, False)
        for sending in list(self._sending):
            sending.cancel()

    # Out -----------------------------------------------------------------------------------------------------------

    def _advance(self) -> None:
        while self._waiting and (not self.window or len(self._active) < self.window):
            invocation = self._waiting.pop(0)
            invocation.is_started = True
            self._active[invocation] = None
            sending = start(self._send(invocation))
            if sending is not None:
                self._sending[sending] = None
                sending.addBoth(partial(_discard, self._sending, sending))

    async def _send(self, invocation: Invocation) -> None:
        context_id, message, data = invocation.context.context_id, invocation.message, invocation.data
        has_data = data is not None
        try:
            command = write_command(message.command(has_data))
            if data is None or isinstance(data, bytes):
                await self._outbox.send(context_id, command, data, is_paced=has_data)
            else:
                await self._outbox.stream(context_id, command, data, lambda: invocation.is_final, invocation.sent)
        except Exception as error:
            # Whatever the source of a data set raises. A message cannot be taken back: what has begun ends in an abort.
            if self._outbox.is_inside_message:
                invocation.fail(error)
                self._fail(LocalProtocolError(f"a data set came to an end before its time: {error}"))
            else:
                self._forget(invocation, error)
            return
        invocation.is_sent, invocation.data = True, None
        if invocation.is_final:
            self._forget(invocation)
        else:
            self._await_response(invocation)

    def _await_response(self, invocation: Invocation) -> None:
        invocation.pdus = self._protocol.pdus_received
        if invocation.deadline is not None and invocation.deadline.active():
            invocation.deadline.reset(self._protocol.timeouts.response)
        else:
            invocation.deadline = self._protocol.response_deadline(lambda: self._no_response(invocation))

    def _no_response(self, invocation: Invocation) -> None:
        is_held = self._protocol.is_held  # the silence is ours: nothing is read
        # The sub-operations of a C-GET come on this association; that one is under way is sign enough of life.
        is_retrieving = isinstance(invocation.message, CGetRQ)
        if is_held or (is_retrieving and (self._performing.busy or self._protocol.pdus_received != invocation.pdus)):
            self._await_response(invocation)
            return
        detail = f"no response to {invocation.message.name} within {self._protocol.timeouts.response:g} s"
        self._protocol.expire(TransportFault.named("response-timeout", detail=detail))

    # In ------------------------------------------------------------------------------------------------------------

    def _received(self, invocation: Invocation, response: ResponseMessage, data: bytes) -> None:
        is_last = status_class(response.status) is not StatusClass.PENDING
        if is_last and invocation.is_sent:
            self._forget(invocation)  # first: who takes the response may ask for the next operation at once
        invocation.receive(response, data)
        if not is_last:
            self._await_response(invocation)
            self._pace()
            if invocation.octets > MOST_HELD:
                sentence = f"the peer sent {invocation.octets} bytes of responses that nobody reads"
                raise RemoteProtocolError(sentence, ProviderReason.REASON_NOT_SPECIFIED)

    def _forget(self, invocation: Invocation, error: Exception | None = None) -> None:
        """The operation is over, or never was."""
        _cancel(invocation)
        self._invoked.pop(invocation.message.message_id, None)
        self._protocol.hold(invocation, False)
        if invocation.is_started:
            self._active.pop(invocation, None)
        else:
            self._waiting.remove(invocation)
        if error is not None:
            invocation.fail(error)
        self._settled()
        self._advance()

    def _pace(self) -> None:
        """Let the peer wait where its responses are not read; not while another operation waits for the peer."""
        for invocation in self._active:
            is_lagging = invocation.octets > HIGH_WATER and len(self._invoked) == 1
            self._protocol.hold(invocation, is_lagging)


class _Collector:
    """Takes the data set of a response, which is whole in memory, and no longer than such may be."""

    __slots__ = ("_data", "_finished")

    def __init__(self, finished: Callable[[bytes], None]) -> None:
        self._data = bytearray()
        self._finished = finished

    def write(self, piece: Piece) -> None:
        self._data += piece
        if len(self._data) > LARGEST:
            sentence = f"the data set of a response has more than {LARGEST} bytes"
            raise RemoteProtocolError(sentence, ProviderReason.REASON_NOT_SPECIFIED)

    def end(self) -> None:
        self._finished(bytes(self._data))


def _nobody(octets: int) -> None:
    """Who is told where nobody asked."""


def _discard(sending: dict[Deferred[None], None], which: Deferred[None], result: object) -> None:
    sending.pop(which, None)


def _cancel(invocation: Invocation) -> None:
    if invocation.deadline is not None and invocation.deadline.active():
        invocation.deadline.cancel()


def _unexpected(sentence: str) -> RemoteProtocolError:
    return RemoteProtocolError(sentence, ProviderReason.UNEXPECTED_PDU_PARAMETER)
