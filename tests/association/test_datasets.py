"""Data sets to bytes and back, in every transfer syntax that an identifier can have."""

from __future__ import annotations

import warnings

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydicom import Dataset

from dimsetls.association.datasets import LARGEST, UnreadableDataSet, decode, encode
from dimsetls.uids import (
    DEFLATED_EXPLICIT_VR_LITTLE_ENDIAN,
    EXPLICIT_VR_BIG_ENDIAN,
    EXPLICIT_VR_LITTLE_ENDIAN,
    IMPLICIT_VR_LITTLE_ENDIAN,
)

from .pair import dataset

SYNTAXES = (
    IMPLICIT_VR_LITTLE_ENDIAN, EXPLICIT_VR_LITTLE_ENDIAN, EXPLICIT_VR_BIG_ENDIAN, DEFLATED_EXPLICIT_VR_LITTLE_ENDIAN,
)  # fmt: skip
KEYS = dataset(SpecificCharacterSet="ISO_IR 192", PatientName="Müller^Jürgen", StudyInstanceUID="", Rows=512,
               OtherPatientIDsSequence=[dataset(PatientID="x"), Dataset()])  # fmt: skip


@pytest.mark.parametrize("transfer_syntax", SYNTAXES)
def test_a_data_set_comes_back_as_it_was(transfer_syntax):
    data = encode(KEYS, transfer_syntax)
    assert len(data) % 2 == 0
    assert decode(data, transfer_syntax) == KEYS
    assert decode(encode(Dataset(), transfer_syntax), transfer_syntax) == Dataset()


@pytest.mark.parametrize("transfer_syntax", SYNTAXES)
def test_one_transfer_syntax_becomes_another(transfer_syntax):
    for other in SYNTAXES:
        assert decode(encode(decode(encode(KEYS, transfer_syntax), transfer_syntax), other), other) == KEYS


def test_a_data_set_that_is_cut_short_is_no_data_set():
    data = encode(KEYS, IMPLICIT_VR_LITTLE_ENDIAN)
    ends = 0
    for length in range(len(data)):
        try:
            found = decode(data[:length], IMPLICIT_VR_LITTLE_ENDIAN)
        except UnreadableDataSet:
            continue
        ends += 1
        assert all(found[tag] == KEYS[tag] for tag in found.keys())  # noqa: SIM118 - a Dataset iterates over elements
    assert ends <= 2 * len(KEYS) + 1  # between two elements, and with one byte of padding after one


@pytest.mark.parametrize(("data", "says"), [
    (bytes(64), r"\(0000,0000\) is out of place"),
    (bytes.fromhex("02001000 02000000 3100"), r"\(0002,0010\) is out of place"),
    (bytes.fromhex("10002000 02000000 3100 10001000 02000000 4100"), r"\(0010,0010\) is out of place"),
    (bytes.fromhex("10001000 02000000 4100 10001000 02000000 4100"), "out of place"),
    (bytes.fromhex("10001000 ff000000 41"), "cut short"), (b"1234567", "7 bytes at its end"),
])  # fmt: skip
def test_what_is_wrong_is_said(data, says):
    with pytest.raises(UnreadableDataSet, match=says):
        decode(data, IMPLICIT_VR_LITTLE_ENDIAN)


def test_a_deflate_bomb_is_not_inflated():
    bomb = encode(dataset(PatientComments="x" * (LARGEST + 10)), DEFLATED_EXPLICIT_VR_LITTLE_ENDIAN)
    assert len(bomb) < 20_000
    with pytest.raises(UnreadableDataSet, match=f"more than {LARGEST} bytes"):
        decode(bomb, DEFLATED_EXPLICIT_VR_LITTLE_ENDIAN)


@settings(max_examples=300, deadline=None)
@given(st.binary(max_size=80), st.sampled_from(SYNTAXES))
def test_any_bytes_are_a_data_set_or_none(data, transfer_syntax):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            decode(data, transfer_syntax)
        except UnreadableDataSet:
            pass
