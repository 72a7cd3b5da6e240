"""TLS between a protocol and the transport below it, as Twisted's own layer has it, with less to do for each byte.

OpenSSL stays in memory, so what is true of one transport is true of all: TCP, UNIX sockets, a PROXY header, a test's.
"""
# ruff: noqa: N802 - most names here are Twisted's

from __future__ import annotations

import socket
from collections.abc import Callable, Iterable
from contextlib import suppress
from typing import Any

from OpenSSL import SSL
from OpenSSL.crypto import X509
from twisted.internet.error import ConnectionLost
from twisted.internet.interfaces import (
    IConsumer,
    IHandshakeListener,
    INegotiated,
    IProtocol,
    IPullProducer,
    ISystemHandle,
    ITransport,
)
from twisted.internet.main import CONNECTION_DONE, CONNECTION_LOST
from twisted.internet.protocol import connectionDone
from twisted.internet.tcp import Connection
from twisted.protocols.policies import ProtocolWrapper, WrappingFactory
from twisted.python.failure import Failure
from zope.interface import Interface, implementer

from .evidence import evidence_of
from .transport_drain import MOST, take, write, write_whole
from .transport_room import IS_KNOWN, NOTHING_MORE, RECORD, PublicRoom, Room, shrink
from .usage import OVERHEAD

# Read of a socket at once: two PDUs of the length that we announce, as they are on the wire, and the record of a
# command set before them. Half as much costs 8 % more CPU for an instance of 0.5 MB, 4 % for one of 50; it has to do
# where OpenSSL keeps a copy for each connection.
_READ = (17 if IS_KNOWN else 8) * (RECORD + OVERHEAD)
_ROOM = 19 * RECORD  # with the rest of a record that was begun before, and space to look for one more
_STEP = 8 * RECORD   # encrypted at once: a PDU that we send; with what each record has besides, less than MOST
_BURST = 5 * _STEP   # bytes that are sent at once, before others have their turn
_FULL = 2**16        # of output that the network did not take yet; Twisted's own limit

_rooms: list[PublicRoom] = []  # lent from read to read; as many as were ever in use at once


class ITakesViews(Interface):
    """A protocol that takes memoryviews in dataReceived, and is done with them when it returns."""


@implementer(IPullProducer)
class _Output:
    """The way to the network.

    The first write after something came goes there at once, and not in the reactor's next turn: it is an answer that
    somebody waits for. What is written behind it is gathered by the transport below, unless it follows more than a
    record: data in bulk goes at once too, and only now and then in the reactor's next turn, so that others have theirs.
    While the transport below has something, this is its producer, so as to hear when all is gone.
    """

    __slots__ = ("_below", "_is_paused", "_is_streaming", "_producer", "_queued", "_socket", "allowance", "is_held")

    def __init__(self, below: Any) -> None:
        self._below = below
        handle = below.getHandle() if isinstance(below, Connection) else None
        self._socket = handle if isinstance(handle, socket.socket) else None
        self._queued = 0
        self._producer: Any = None
        self._is_streaming = True
        self._is_paused = False
        self.allowance = _BURST
        """Bytes that may go at once, until something comes; a short write takes all of it."""
        self.is_held = False
        """Whether what the producer writes has to wait for the handshake."""

    def write(self, lent: bytes | memoryview) -> None:
        allowance, size = self.allowance, len(lent)
        self.allowance = allowance - size if size > RECORD else 0
        if allowance > 0 and not self._queued and self._socket is not None:
            try:
                sent = self._socket.send(lent)
            except OSError:  # no room; or it is broken, which the transport below will find and tell
                sent = 0
            if sent == size:
                return
            lent = lent[sent:]
        data = bytes(lent)
        if IConsumer.providedBy(self._below):
            if not self._queued:
                self._below.registerProducer(self, False)
            self._queued += len(data)
        self._below.write(data)
        if self._queued > _FULL:
            self._pause()

    # The producer above -------------------------------------------------------------------------------------------

    @property
    def has_producer(self) -> bool:
        return self._producer is not None

    def register(self, producer: Any, streaming: bool) -> None:
        if self._producer is not None:
            raise RuntimeError(f"cannot register producer {producer}: {self._producer} was never unregistered")
        self._producer, self._is_streaming = producer, streaming
        if not streaming:
            self._socket = None  # so that after each write we hear when it is gone, and can ask for the next
            producer.resumeProducing()

    def unregister(self) -> None:
        self._producer = None
        self._is_paused = False

    def hold(self) -> None:
        self.is_held = True
        self._pause()

    def release(self) -> None:
        self.is_held = False
        if not self._queued:
            self._resume()

    def _pause(self) -> None:
        if self._producer is not None and self._is_streaming:
            self._is_paused = True
            self._producer.pauseProducing()

    def _resume(self) -> None:
        if self._producer is not None and not self.is_held and (self._is_paused or not self._is_streaming):
            self._is_paused = False
            self._producer.resumeProducing()

    # For the transport below --------------------------------------------------------------------------------------

    def resumeProducing(self) -> None:
        """All is gone; or we were registered a moment ago."""
        if self._queued:
            self._queued, self.allowance = 0, _BURST
            self._below.unregisterProducer()  # or it could not be closed
            self._resume()

    def stopProducing(self) -> None:
        """The connection is lost."""
        self._socket = None
        producer, self._producer = self._producer, None
        if producer is not None:
            producer.stopProducing()


@implementer(INegotiated, ISystemHandle, ITransport)
class TLSTransport(ProtocolWrapper):
    """TLS for one protocol.

    Reasons for connectionLost are those of Twisted's TLS: OpenSSL's error where there is one; ConnectionLost where the
    peer, or the network, ended the connection without a close_notify; ConnectionDone where there was one. Besides, it
    is ConnectionAborted after abortConnection.
    """

    transport: Any  # whatever carries bytes, and can be asked to stop

    def __init__(
        self,
        factory: WrappingFactory[Any],
        protocol: IProtocol,
        connect: Callable[[TLSTransport], SSL.Connection],
    ) -> None:
        super().__init__(factory, protocol)
        self._connect = connect
        self._connection: Any = None  # of SSL, while there is one
        self._takes_views = ITakesViews.providedBy(protocol)
        self.wrappedProtocol: Any
        self._pending: list[bytes] = []  # written before the handshake is complete
        self._is_up = False
        self._is_over = False  # TLS is: nothing is read or written any more
        self._reason: Failure | None = None

    # The transport below ------------------------------------------------------------------------------------------

    def makeConnection(self, transport: ITransport) -> None:
        if isinstance(transport, Connection):
            transport.bufferSize = _READ
        self._connection = self._connect(self)
        write_whole(self._connection)
        self._output = _Output(transport)
        super().makeConnection(transport)  # type: ignore[no-untyped-call]
        evidence = evidence_of(self)
        if evidence is None or not evidence.is_server:  # which has nothing to say before it is spoken to
            self._shake_hands()

    def dataReceived(self, data: bytes) -> None:
        if self._is_over:
            return
        self._output.allowance = _BURST
        if self._is_up:
            self._receive(data)
        else:
            self._connection.bio_write(data)
            self._shake_hands()
            if self._is_up:
                self._receive()
                if not self._is_over:
                    self._flush()  # our last words of the handshake, if they did not go with others
        if self._pending and self._is_up and not self._is_over:
            self._write_pending()

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        if not self._is_over:
            self._connection.bio_shutdown()
            self._receive()
            self._is_over = True
        if self._reason is not None:
            reason, self._reason = self._reason, None
        elif isinstance(reason.value, ConnectionLost) and self._connection.get_shutdown() & SSL.RECEIVED_SHUTDOWN:
            reason = Failure(CONNECTION_DONE)  # the peer had said its last word, and did not wait for ours
        self.connected = False
        self._output.stopProducing()
        super().connectionLost(reason)  # type: ignore[no-untyped-call]
        self._connection = None  # its callbacks refer to those who refer to us

    # TLS ----------------------------------------------------------------------------------------------------------

    def _shake_hands(self) -> None:
        if self._is_over:  # since the protocol above, or OpenSSL's callbacks, had their say
            return
        try:
            self._connection.do_handshake()
        except SSL.Error as error:
            if isinstance(error, SSL.WantReadError):
                self._flush()
            elif not self._is_over:
                self._fail(error)
        else:
            self._is_up = True
            if IHandshakeListener.providedBy(self.wrappedProtocol):
                self.wrappedProtocol.handshakeCompleted()
            self._write_pending()

    def _receive(self, data: bytes = b"") -> None:
        """Hand on what came, all of it in one piece as far as there is room; then see how it ends."""
        room, connection = _rooms.pop() if _rooms else Room(_ROOM), self._connection
        end: SSL.Error | None = None
        try:
            if data:
                room.admit(connection, data)
            while end is None and not self._is_over:
                octets, end = room.fill(connection)
                if octets:
                    piece = room.view[:octets]
                    self.wrappedProtocol.dataReceived(piece if self._takes_views else bytes(piece))
        finally:
            room.leave(connection)
            _rooms.append(room)
        if self._is_over:
            return
        if end is NOTHING_MORE or isinstance(end, SSL.WantReadError):
            if not octets:  # it was something else that came, and OpenSSL may have answered
                self._flush()
        elif isinstance(end, SSL.ZeroReturnError):
            self._shut_down()
            self._end()
        elif end is not None:
            self._fail(end)

    def _encrypt(self, data: bytes | memoryview) -> None:
        connection, view, size, sent = self._connection, memoryview(data), len(data), 0
        try:
            while sent < size:
                step = min(sent + _STEP, size)
                while sent < step:
                    sent += write(connection, view[sent:step])
                self._flush()  # in one piece, with what each record has besides its data
        except SSL.WantReadError:  # the peer wants other keys first
            self._pending.append(bytes(view[sent:]))
            self._output.hold()
        except SSL.Error as error:
            self._fail(error)

    def _flush(self) -> None:
        """Send what OpenSSL wants sent."""
        while data := take(self._connection):
            self._output.write(data)
            if len(data) < MOST:
                return

    def _fail(self, error: SSL.Error) -> None:
        told = CONNECTION_LOST if _is_end_of_file(error) else error.with_traceback(None)
        self._reason = self._reason or Failure(told)
        self._end()

    def _end(self) -> None:
        """TLS is over; the connection goes behind the alert that says why."""
        self._is_over = True
        self._flush()
        self.transport.loseConnection()

    def _shut_down(self) -> None:
        """Say close_notify, once; the connection is closed when the peer has said it."""
        if not self._connection.get_shutdown() & SSL.SENT_SHUTDOWN:
            with suppress(SSL.Error):  # in the middle of a renegotiation
                self._connection.shutdown()
            self._flush()

    # The protocol above -------------------------------------------------------------------------------------------

    def write(self, data: bytes | memoryview) -> None:
        """What a memoryview shows may change when this returns."""
        if self._is_over or not data or (self.disconnecting and not self._output.has_producer):
            return
        if self._is_up and not self._pending:
            self._encrypt(data)
        else:
            self._pending.append(bytes(data))
            self._output.hold()

    def writeSequence(self, data: Iterable[bytes]) -> None:
        self.write(b"".join(data))

    def _write_pending(self) -> None:
        waiting, self._pending = self._pending, []
        if waiting:
            self._encrypt(b"".join(waiting))
        if not self._pending:
            self._output.release()
            self._shut_down_if_all_is_said()

    def loseConnection(self) -> None:
        if self.disconnecting or not self.connected:
            return
        if not self._is_up and not self._pending:
            self.abortConnection()  # nothing was said, and there is no close_notify before the end of the handshake
            return
        self.disconnecting = True
        self._shut_down_if_all_is_said()

    def _shut_down_if_all_is_said(self) -> None:
        if self.disconnecting and not self._pending and not self._output.has_producer:
            self._shut_down()

    def abortConnection(self) -> None:
        self._is_over = self.disconnecting = True
        self.transport.abortConnection()

    def failVerification(self, reason: Failure) -> None:
        """Give `reason` to connectionLost; the name is Twisted's, whose own connection creators call it."""
        self._reason = reason
        self.abortConnection()

    def registerProducer(self, producer: Any, streaming: bool) -> None:
        if self._is_over:
            producer.stopProducing()
        else:
            self._output.register(producer, streaming)

    def unregisterProducer(self) -> None:
        self._output.unregister()
        self._shut_down_if_all_is_said()

    def rest(self) -> None:
        """Keep no more memory than a connection needs that rests; nothing is lost where it does not."""
        if not self._is_over:
            shrink(self._connection)

    def getHandle(self) -> SSL.Connection | None:
        """The TLS connection; None once it is lost."""
        connection: SSL.Connection | None = self._connection
        return connection

    def getPeerCertificate(self) -> X509 | None:
        certificate: X509 | None = self._connection.get_peer_certificate()
        return certificate

    @property
    def negotiatedProtocol(self) -> bytes | None:
        return self._connection.get_alpn_proto_negotiated() or None if self._connection is not None else None


def _is_end_of_file(error: SSL.Error) -> bool:
    """OpenSSL's ways to say that TCP ended before TLS: an error of the system, an empty queue, words."""
    if isinstance(error, SSL.SysCallError):
        return True
    queue = error.args[0] if error.args else []
    return not queue or str(queue[-1][-1]).casefold().startswith("unexpected eof")
