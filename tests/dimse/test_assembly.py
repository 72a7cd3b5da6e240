"""Fragments to messages: collected, passed through, or refused with the reason that the A-ABORT carries."""

from __future__ import annotations

from typing import Any

import pytest

from dimsetls.codes import ProviderReason
from dimsetls.dimse.assembly import MessageAssembler
from dimsetls.dimse.command import MAXIMUM_LENGTH, CommandSet, Element, write_command
from dimsetls.dimse.messages import CEchoRQ, CStoreRQ, MissingElement
from dimsetls.errors import RemoteProtocolError

ECHO = write_command(CEchoRQ(1, "1.2.840.10008.1.1").command())
STORE = write_command(CStoreRQ(2, "1.2.840.10008.5.1.4.1.1.2", "1.2.3").command())
COMMAND, LAST = 1, 2


class Messages:
    """An assembler, and what it makes of fragments."""

    def __init__(self, *contexts: int) -> None:
        self.assembler = MessageAssembler(set(contexts or (1, 3)), self._begin)
        self.begun: list[tuple[int, CommandSet, bool]] = []
        self.pieces: list[Any] = []
        self.ends = 0

    def _begin(self, context_id: int, command: CommandSet, has_data_set: bool) -> Any:
        self.begun.append((context_id, command, has_data_set))
        return self if has_data_set else None

    def write(self, piece: object) -> None:
        self.pieces.append(piece)

    def end(self) -> None:
        self.ends += 1

    def fragment(self, control: int, *pieces: bytes, context_id: int = 1) -> None:
        """One fragment, as the upper layer hands it over."""
        if len(pieces) == 1 and self.assembler.take_whole(context_id, control, memoryview(pieces[0])):
            return
        write = self.assembler.begin_fragment(context_id, control, sum(map(len, pieces)))
        for piece in pieces:
            write(piece)
        self.assembler.end_fragment()


def refused(messages: Messages, *fragment: Any, **keywords: Any) -> tuple[str, ProviderReason]:
    with pytest.raises(RemoteProtocolError) as raised:
        messages.fragment(*fragment, **keywords)
    return str(raised.value), raised.value.reason


def test_a_message_without_a_data_set_begins_when_its_command_is_complete():
    messages = Messages()
    messages.fragment(COMMAND | LAST, ECHO, context_id=3)
    [(context_id, command, has_data_set)] = messages.begun
    assert (context_id, command[Element.MESSAGE_ID], has_data_set) == (3, 1, False)
    assert (messages.pieces, messages.ends, messages.assembler.octets) == ([], 0, 0)


@pytest.mark.parametrize("size", [1, 2, 7, 1000])
def test_a_command_may_come_in_any_fragments_and_pieces(size):
    messages = Messages()
    parts = [ECHO[at : at + size] for at in range(0, len(ECHO), size)]
    for part in parts[:-1]:
        messages.fragment(COMMAND, part[:1], part[1:])
        assert messages.begun == []
    messages.fragment(COMMAND | LAST, parts[-1])
    assert len(messages.begun) == 1


def test_a_data_set_passes_through_untouched_and_uncopied():
    messages = Messages()
    messages.fragment(COMMAND | LAST, STORE)
    view = memoryview(b"second")
    messages.fragment(0, b"first", view)
    messages.fragment(0)
    assert messages.ends == 0
    messages.fragment(LAST, b"last")
    assert messages.pieces == [b"first", view, b"last"]
    assert messages.pieces[1] is view
    assert (messages.ends, messages.assembler.octets) == (1, 15)


def test_messages_follow_each_other_on_any_context():
    messages = Messages()
    for context_id in (1, 3, 3, 1):
        messages.fragment(COMMAND | LAST, STORE, context_id=context_id)
        messages.fragment(LAST, b"data", context_id=context_id)
        messages.fragment(COMMAND | LAST, ECHO, context_id=context_id)
    assert [context_id for context_id, _, _ in messages.begun] == [1, 1, 3, 3, 3, 3, 1, 1]
    assert messages.ends == 4


def test_bits_2_to_7_of_the_control_header_mean_nothing():
    messages = Messages()
    messages.fragment(0xFC | COMMAND | LAST, STORE)
    messages.fragment(0xFC, b"x")
    messages.fragment(0xFC | LAST, b"y")
    assert (messages.pieces, messages.ends) == ([b"x", b"y"], 1)


@pytest.mark.parametrize("context_id", [0, 2, 5, 255])
def test_a_context_that_was_not_accepted_is_refused_whatever_comes_on_it(context_id):
    for control in (0, COMMAND, COMMAND | LAST):
        sentence, reason = refused(Messages(), control, ECHO, context_id=context_id)
        assert sentence == f"presentation context {context_id} was not accepted"
        assert reason is ProviderReason.UNEXPECTED_PDU_PARAMETER


@pytest.mark.parametrize(("first", "then"), [
    ((COMMAND, ECHO[:10]), (COMMAND | LAST, ECHO[10:])),
    ((COMMAND | LAST, STORE), (LAST, b"data")),
    ((COMMAND | LAST, STORE), (COMMAND | LAST, ECHO)),
])  # fmt: skip
def test_a_message_stays_on_its_context(first, then):
    messages = Messages()
    messages.fragment(*first)
    sentence, reason = refused(messages, *then, context_id=3)
    assert sentence == "presentation context 3 came inside a message on context 1"
    assert reason is ProviderReason.UNEXPECTED_PDU_PARAMETER


def test_a_command_is_due_first_and_a_data_set_after_it():
    for messages, control, sentence in (
        (Messages(), 0, "a data set fragment came where a command fragment was due"),
        (Messages(), COMMAND, "a command fragment came where a data set fragment was due"),
    ):
        if control:
            messages.fragment(COMMAND | LAST, STORE)
        assert refused(messages, control, b"") == (sentence, ProviderReason.UNEXPECTED_PDU_PARAMETER)


def test_after_a_message_without_a_data_set_no_data_set_is_due():
    messages = Messages()
    messages.fragment(COMMAND | LAST, ECHO)
    assert "came where a command fragment was due" in refused(messages, LAST, b"data")[0]


def test_a_command_set_of_64_kib_is_the_longest_and_judged_before_it_is_taken():
    messages = Messages()
    padding = MAXIMUM_LENGTH - len(ECHO) - 8
    longest = ECHO + b"\0\0\0\x50" + padding.to_bytes(4, "little") + bytes(padding)
    messages.fragment(COMMAND, longest[:40000])
    messages.fragment(COMMAND | LAST, longest[40000:])
    assert len(messages.begun) == 1
    messages.fragment(COMMAND, longest[:40000])
    with pytest.raises(RemoteProtocolError, match="longer than 65536 bytes") as raised:
        messages.assembler.begin_fragment(1, COMMAND, MAXIMUM_LENGTH - 40000 + 1)
    assert raised.value.reason is ProviderReason.INVALID_PDU_PARAMETER_VALUE


def test_a_command_set_without_its_data_set_type_is_refused():
    command = CEchoRQ(1, "1.2.840.10008.1.1").command()
    del command[Element.COMMAND_DATA_SET_TYPE]
    messages = Messages()
    with pytest.raises(MissingElement, match="COMMAND_DATA_SET_TYPE"):
        messages.fragment(COMMAND | LAST, write_command(command))
    assert messages.begun == []


def test_an_empty_command_set_is_refused():
    with pytest.raises(MissingElement):
        Messages().fragment(COMMAND | LAST)
