"""Fragments to messages (PS3.8 Annex E, PS3.7 §6.3): command sets are collected, data sets pass through."""

from __future__ import annotations

from collections.abc import Callable, Container
from typing import Protocol

from ..codes import ProviderReason
from ..errors import RemoteProtocolError
from .command import MAXIMUM_LENGTH, NO_DATA_SET, CommandSet, Element, read_command
from .messages import number

Piece = bytes | memoryview

_COMMAND_DATA_SET_TYPE = Element.COMMAND_DATA_SET_TYPE  # a member of an enumeration is slow to look up
_MIDDLE, _COMMAND = 0, 3  # message control headers: of a data set, not the last; of a command set, the last
_BETWEEN_MESSAGES = -1  # not 0: a peer may send 0, though no context can have it


class DataSetSink(Protocol):
    """Where the data set of one message goes, piece by piece. A piece is only valid during the call."""

    @property
    def write(self) -> Callable[[Piece], object]: ...

    def end(self) -> None: ...


class MessageAssembler:
    """Puts the PDVs of one direction together (a `FragmentReceiver` of the upper layer).

    `contexts` holds the accepted presentation context IDs. `begin_message(context_id, command, has_data_set)`
    is called once a command set is complete; where a data set follows it returns the sink for it.
    Fragments of different messages never interleave (PS3.8 Annex E.1), so one of each is enough.
    """

    __slots__ = ("_begin_message", "_command", "_context_id", "_contexts", "_is_last", "_sink", "octets")

    def __init__(
        self, contexts: Container[int], begin_message: Callable[[int, CommandSet, bool], DataSetSink | None]
    ) -> None:
        self._contexts = contexts
        self._begin_message = begin_message
        self._command = bytearray()
        self._context_id = _BETWEEN_MESSAGES  # or that of the message under way
        self._sink: DataSetSink | None = None  # set while a data set is due
        self._is_last = False
        self.octets = 0
        """Bytes of data sets received so far."""

    def take_whole(self, context_id: int, control: int, piece: memoryview) -> bool:
        """What most fragments are: the middle of a data set, or all of a command set."""
        if control == _MIDDLE and context_id == self._context_id and self._sink is not None:
            self.octets += len(piece)
            self._sink.write(piece)
            return True
        is_due = self._context_id == _BETWEEN_MESSAGES and context_id in self._contexts
        if control != _COMMAND or not is_due or len(piece) > MAXIMUM_LENGTH:
            return False
        self._take_command(context_id, bytes(piece))
        return True

    def begin_fragment(self, context_id: int, control: int, length: int) -> Callable[[Piece], object]:
        sink = self._sink
        if context_id != self._context_id:
            if self._context_id != _BETWEEN_MESSAGES or context_id not in self._contexts:
                raise self._misplaced(context_id)
            self._context_id = context_id
        if bool(control & 1) is (sink is not None):
            due = "data set" if sink else "command"
            sentence = f"a {'command' if sink else 'data set'} fragment came where a {due} fragment was due"
            raise RemoteProtocolError(sentence, ProviderReason.UNEXPECTED_PDU_PARAMETER)
        self._is_last = bool(control & 2)  # bits 2 to 7 are never checked (PS3.8 Annex E.2)
        if sink is not None:
            self.octets += length
            return sink.write
        if len(self._command) + length > MAXIMUM_LENGTH:
            raise RemoteProtocolError(f"a command set is longer than {MAXIMUM_LENGTH} bytes")
        return self._command.extend

    def end_fragment(self) -> None:
        if not self._is_last:
            return
        if sink := self._sink:
            self._sink, self._context_id = None, _BETWEEN_MESSAGES
            sink.end()
            return
        command, self._command = self._command, bytearray()
        self._take_command(self._context_id, command)

    def _take_command(self, context_id: int, data: bytes | bytearray) -> None:
        command = read_command(data)
        has_data_set = number(command, _COMMAND_DATA_SET_TYPE) != NO_DATA_SET
        self._context_id = context_id if has_data_set else _BETWEEN_MESSAGES
        self._sink = self._begin_message(context_id, command, has_data_set)

    def _misplaced(self, context_id: int) -> RemoteProtocolError:
        sentence = f"presentation context {context_id} was not accepted"
        if self._context_id != _BETWEEN_MESSAGES:
            sentence = f"presentation context {context_id} came inside a message on context {self._context_id}"
        return RemoteProtocolError(sentence, ProviderReason.UNEXPECTED_PDU_PARAMETER)
