"""A data set in a file becomes the same PDUs as one in memory, whatever its length and the peer's maximum."""

from __future__ import annotations

from collections.abc import Callable
from io import FileIO
from pathlib import Path

import pytest

from dimsetls.association.frames import Frames, lent
from dimsetls.ul.pdus import PDataTF
from dimsetls.ul.reader import read_pdu

COMMAND = b"\x04\0\0\0\0\4\1\3" + b"\0\0" * 30


@pytest.fixture
def file_of(tmp_path: Path) -> Callable[[bytes], FileIO]:
    def make(data: bytes) -> FileIO:
        (tmp_path / "data").write_bytes(data)
        return FileIO(tmp_path / "data")

    return make


def writes_of(frames: Frames, file: FileIO) -> list[bytes]:
    writes = []
    while not frames.is_last:
        frames.read(file, False)
        writes.append(bytes(frames.take()))
    return writes


def fragments_in(pdus: bytes) -> list[tuple[int, bool, bytes]]:
    """Of each PDU in these bytes the context, whether it is the last, and the data."""
    found, at = [], 0
    while at < len(pdus):
        end = at + 6 + int.from_bytes(pdus[at + 2 : at + 6], "big")
        pdu = read_pdu(pdus[at], pdus[at + 6 : end])
        assert isinstance(pdu, PDataTF)
        [value] = pdu.values
        assert not value.is_command
        found.append((value.context_id, value.is_last, value.fragment))
        at = end
    return found


@pytest.mark.parametrize("size", [2, 250, 16378, 131060])
@pytest.mark.parametrize("length", [0, 1, 2, 251, 16378, 130_977, 130_978, 131_060, 131_061, 262_121, 400_000])
def test_the_data_set_is_in_the_fragments_and_the_last_is_marked(file_of, size, length):
    if size == 2:
        length = min(length, 300)
    data = bytes(number % 251 for number in range(length))
    with file_of(data) as file, lent(5, size, length) as frames:
        frames.put(COMMAND)
        first, *others = writes_of(frames, file)
    assert first.startswith(COMMAND)
    writes = [first[len(COMMAND) :], *others]
    fragments = [fragment for each in writes for fragment in fragments_in(each)]
    assert b"".join(data for _, _, data in fragments) == data + b"\0" * (length & 1)
    assert [is_last for _, is_last, _ in fragments] == [False] * (len(fragments) - 1) + [True]
    assert {context for context, _, _ in fragments} == {5}
    assert all(len(data) <= size for _, _, data in fragments)
    assert all(len(data) for _, _, data in fragments) or not length
    assert all(len(each) <= 131_072 for each in (first, *others))


def test_what_fits_one_write_goes_in_one(file_of):
    with file_of(bytes(100_000)) as file, lent(1, 16378, 100_000) as frames:
        assert [len(fragments_in(each)) for each in writes_of(frames, file)] == [7]


def test_what_is_cut_ends_with_the_next_pdu(file_of):
    with file_of(bytes(300_000)) as file, lent(1, 16378, 300_000) as frames:
        frames.read(file, False)
        frames.take()
        assert frames.read(file, True) == 16378
        assert [is_last for _, is_last, _ in fragments_in(bytes(frames.take()))] == [True]


def test_a_file_that_is_shorter_than_it_was_is_an_error(file_of):
    with file_of(bytes(100)) as file, lent(1, 16378, 101) as frames, pytest.raises(EOFError):
        frames.read(file, False)


def test_what_is_sent_one_after_the_other_is_sent_from_the_same_memory(file_of):
    seen = []
    for _ in range(2):
        with file_of(bytes(10)) as file, lent(1, 16378, 10) as frames:
            frames.read(file, False)
            seen.append(frames.take().obj)
    assert seen[0] is seen[1]
