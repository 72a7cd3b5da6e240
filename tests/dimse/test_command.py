"""Command sets as bytes, typed by hand as the standard has them, and what they mean."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dimsetls.codes import CommandField, ProviderReason
from dimsetls.dimse.command import CommandSet, Element, Misshapen, read_command, write_command
from dimsetls.errors import LocalProtocolError, RemoteProtocolError

E = Element


def element(number: int, value: bytes, *, group: int = 0, length: int | None = None) -> bytes:
    """One element as it is framed, with a length of one's own choice."""
    claimed = len(value) if length is None else length
    return group.to_bytes(2, "little") + number.to_bytes(2, "little") + claimed.to_bytes(4, "little") + value


ECHO_RQ = bytes.fromhex(
    "0000 0000 04000000 38000000"                                              # 56 bytes follow
    "0000 0200 12000000 312e322e3834302e31303030382e312e31 00"                 # 1.2.840.10008.1.1, NUL
    "0000 0001 02000000 3000"
    "0000 1001 02000000 0100"
    "0000 0008 02000000 0101"
)  # fmt: skip
STORE_RQ = bytes.fromhex(
    "0000 0000 04000000 82000000"                                              # 130 bytes follow
    "0000 0200 1a000000 312e322e3834302e31303030382e352e312e342e312e312e37 00"  # 1.2.840.10008.5.1.4.1.1.7, NUL
    "0000 0001 02000000 0100"
    "0000 1001 02000000 0700"
    "0000 0007 02000000 0000"                                                  # medium
    "0000 0008 02000000 0100"                                                  # a data set follows
    "0000 0010 16000000 312e322e3834302e3131332e31392e31312e323531 00"         # 1.2.840.113.19.11.251, NUL
    "0000 3010 08000000 4d4f564553435520"                                      # MOVESCU, space
    "0000 3110 02000000 ffff"
)  # fmt: skip
GET_RSP = bytes.fromhex(
    "0000 0000 04000000 4a000000"
    "0000 0001 02000000 1080"
    "0000 2001 02000000 0100"
    "0000 0008 02000000 0101"
    "0000 0009 02000000 00a7"
    "0000 0109 08000000 0800 1800 1000 2000"                                   # (0008,0018) (0010,0020)
    "0000 0209 0a000000 6e6f2073706163652021"                                  # no space !
)  # fmt: skip
MEANINGS: list[tuple[bytes, CommandSet]] = [
    (ECHO_RQ, {E.AFFECTED_SOP_CLASS_UID: "1.2.840.10008.1.1", E.COMMAND_FIELD: CommandField.C_ECHO_RQ,
               E.MESSAGE_ID: 1, E.COMMAND_DATA_SET_TYPE: 0x0101}),
    (STORE_RQ, {E.AFFECTED_SOP_CLASS_UID: "1.2.840.10008.5.1.4.1.1.7", E.COMMAND_FIELD: CommandField.C_STORE_RQ,
                E.MESSAGE_ID: 7, E.PRIORITY: 0, E.COMMAND_DATA_SET_TYPE: 1,
                E.AFFECTED_SOP_INSTANCE_UID: "1.2.840.113.19.11.251", E.MOVE_ORIGINATOR_AE_TITLE: "MOVESCU",
                E.MOVE_ORIGINATOR_MESSAGE_ID: 0xFFFF}),
    (GET_RSP, {E.COMMAND_FIELD: CommandField.C_GET_RSP, E.MESSAGE_ID_BEING_RESPONDED_TO: 1,
               E.COMMAND_DATA_SET_TYPE: 0x0101, E.STATUS: 0xA700, E.OFFENDING_ELEMENT: (0x00080018, 0x00100020),
               E.ERROR_COMMENT: "no space !"}),
]  # fmt: skip


@pytest.mark.parametrize(("wire", "meaning"), MEANINGS)
def test_the_bytes_mean_this(wire, meaning):
    group_length = {E.COMMAND_GROUP_LENGTH: int.from_bytes(wire[8:12], "little")}
    assert read_command(wire) == meaning | group_length
    assert read_command(bytearray(wire)) == meaning | group_length


@pytest.mark.parametrize(("wire", "meaning"), MEANINGS)
def test_this_is_written_in_exactly_these_bytes(wire, meaning):
    assert write_command(meaning) == wire
    assert write_command(dict(reversed(meaning.items()))) == wire


@pytest.mark.parametrize(("wire", "meaning"), MEANINGS)
@pytest.mark.parametrize("start", [b"", element(0, bytes(4)), element(0, b"\xff\xff\xff\x7f")])
def test_a_missing_or_wrong_group_length_is_forgiven(wire, meaning, start):
    read = read_command(start + wire[12:])
    read.pop(E.COMMAND_GROUP_LENGTH, None)
    assert read == meaning


@pytest.mark.parametrize(("wire", "number", "sentence"), [
    (element(0, b"\0\0") + ECHO_RQ[12:], E.COMMAND_GROUP_LENGTH, "COMMAND_GROUP_LENGTH (0000,0000) has 2 bytes, not 4"),
    (element(0x0002, b"1.2"), E.AFFECTED_SOP_CLASS_UID, "AFFECTED_SOP_CLASS_UID (0000,0002) has 3 bytes, which is odd"),
    (element(0x0110, b"\1\0\0"), E.MESSAGE_ID, "MESSAGE_ID (0000,0110) has 3 bytes, not 2"),
    (element(0x0110, b"\1\0\0\0"), E.MESSAGE_ID, "MESSAGE_ID (0000,0110) has 4 bytes, not 2"),
    (element(0x0901, b"\1\0\2\0\3\0"), E.OFFENDING_ELEMENT, "OFFENDING_ELEMENT (0000,0901) has 6 bytes, not 4 a tag"),
])  # fmt: skip
def test_a_value_of_a_wrong_length_says_so_and_the_others_stand(wire, number, sentence):
    read = read_command(wire)
    assert read[number].sentence.startswith(sentence)
    assert {key: value for key, value in read.items() if key != number} == {
        key: value for key, value in read_command(ECHO_RQ).items() if number == 0 != key
    }


@pytest.mark.parametrize("wire", [ECHO_RQ, STORE_RQ, GET_RSP])
def test_a_command_set_that_ends_anywhere_but_after_an_element_is_refused(wire):
    ends, at = {0}, 0
    while at < len(wire):
        at += 8 + int.from_bytes(wire[at + 4 : at + 8], "little")
        ends.add(at)
    for length in range(len(wire)):
        if length in ends:
            read_command(wire[:length])
        else:
            with pytest.raises(RemoteProtocolError):
                read_command(wire[:length])


@pytest.mark.parametrize(("bad", "sentence"), [
    (element(0x0110, b"\1\0", length=4), r"\(0000,0110\) claims 4 of 2 bytes left"),
    (element(0x0110, b"\1\0", length=0xFFFFFFFF), r"claims 4294967295 of 2 bytes left"),
    (element(0x0110, b"\1\0", length=3), r"claims 3 of 2 bytes left"),
    (element(0x0110, b"\1\0", group=8), r"\(0008,0110\) is out of place"),
    (element(0x0110, b"\1\0") * 2, r"\(0000,0110\) is out of place"),
    (element(0x0110, b"\1\0") + element(0x0100, b"\1\0"), r"\(0000,0100\) is out of place"),
    (b"\0\0\0\1", "4 bytes are left in the command set"),
])  # fmt: skip
def test_lying_lengths_and_elements_out_of_place_are_refused_with_reason_6(bad, sentence):
    with pytest.raises(RemoteProtocolError, match=sentence) as raised:
        read_command(bad)
    assert raised.value.reason is ProviderReason.INVALID_PDU_PARAMETER_VALUE


@pytest.mark.parametrize("retired", [0x0001, 0x0010, 0x0200, 0x0300, 0x0400, 0x0850, 0x0860, 0x4000, 0x5010, 0x51B0])
def test_retired_and_unknown_elements_are_skipped_whatever_is_in_them(retired):
    for number in (retired, 0x7777):
        split = {0x0001: 12, 0x0010: 38}.get(number, len(ECHO_RQ))
        if 0x0100 < number < 0x0800:
            split = len(ECHO_RQ) - 10
        wire = ECHO_RQ[:split] + element(number, b"anything") + ECHO_RQ[split:]
        assert read_command(wire) == read_command(ECHO_RQ)


def test_an_empty_element_says_as_much_as_an_absent_one():
    assert read_command(element(0x0002, b"") + element(0x0110, b"")) == {}


@pytest.mark.parametrize("padded", [b"1.2.3\0", b"1.2.3 ", b" 1.2.3", b"1.2.3\0\0\0"])
def test_padding_of_either_kind_is_stripped(padded):
    assert read_command(element(0x0002, padded)) == {0x0002: "1.2.3"}


def test_text_is_padded_with_a_space_and_uids_with_nul():
    wire = write_command({E.AFFECTED_SOP_CLASS_UID: "1.2", E.ERROR_COMMENT: "odd"})
    assert wire[12:] == element(0x0002, b"1.2\0") + element(0x0902, b"odd ")


def test_what_is_not_ascii_is_replaced_and_cannot_break_a_response():
    assert write_command({E.ERROR_COMMENT: "für É"})[12:] == element(0x0902, b"f?r ? ")


@pytest.mark.parametrize("number", [-1, 0x10000])
def test_a_number_that_16_bits_cannot_hold_is_our_own_mistake(number):
    with pytest.raises(LocalProtocolError, match=rf"\(0000,1021\) has 16 bits, too few for {number}"):
        write_command({E.NUMBER_OF_COMPLETED_SUBOPERATIONS: number})


NUMBERS = [each for each in Element if each not in (0, 2, 3, 0x1000, 0x1001, 0x0600, 0x0902, 0x1030, 0x0901, 0x1005)]
COMMANDS = st.fixed_dictionaries({}, optional=(
    {each: st.integers(0, 0xFFFF) for each in NUMBERS}
    | {each: st.text("0123456789.", min_size=1, max_size=64) for each in (2, 3, 0x1000, 0x1001)}
    | {each: st.from_regex(r"[!-~]([ -~]{0,62}[!-~])?", fullmatch=True) for each in (0x0600, 0x0902, 0x1030)}
    | {each: st.lists(st.integers(0, 2**32 - 1), min_size=1, max_size=9).map(tuple) for each in (0x0901, 0x1005)}
))  # fmt: skip


@given(COMMANDS)
def test_whatever_is_written_is_read_again(command):
    wire = write_command(command)
    assert len(wire) % 2 == 0
    assert read_command(wire) == command | {E.COMMAND_GROUP_LENGTH: len(wire) - 12}


@given(st.binary(max_size=200) | st.tuples(st.integers(0, 135), st.binary(min_size=1, max_size=8)).map(
    lambda change: STORE_RQ[: change[0]] + change[1] + STORE_RQ[change[0] + len(change[1]) :]
))  # fmt: skip
def test_any_bytes_are_read_or_refused(wire):
    try:
        command = read_command(wire)
    except RemoteProtocolError:
        return
    assert all(isinstance(value, int | str | tuple | Misshapen) for value in command.values())
