"""Action and event information of storage commitment, byte for byte."""

from __future__ import annotations

import tracemalloc

import pytest
from pydicom import Dataset
from pydicom.sequence import Sequence

from dimsetls.association.datasets import decode, encode
from dimsetls.errors import ServiceError
from dimsetls.services.commitment.references import (
    Reference,
    Report,
    read_report,
    read_request,
    write_report,
    write_request,
)
from dimsetls.uids import EXPLICIT_VR_BIG_ENDIAN, EXPLICIT_VR_LITTLE_ENDIAN, IMPLICIT_VR_LITTLE_ENDIAN

CT = "1.2.840.10008.5.1.4.1.1.2"
SYNTAXES = [IMPLICIT_VR_LITTLE_ENDIAN, EXPLICIT_VR_LITTLE_ENDIAN, EXPLICIT_VR_BIG_ENDIAN]
ONE, TWO = Reference(CT, "1.2.3"), Reference(CT, "1.2.34")

syntax = pytest.mark.parametrize("syntax", SYNTAXES)


def an_item(sop_class: str | None = CT, instance: str | None = "1.2.3") -> Dataset:
    item = Dataset()
    if sop_class is not None:
        item.ReferencedSOPClassUID = sop_class
    if instance is not None:
        item.ReferencedSOPInstanceUID = instance
    return item


def a_request(*items: Dataset, transaction: str | None = "1.9") -> Dataset:
    data_set = Dataset()
    if transaction is not None:
        data_set.TransactionUID = transaction
    data_set.ReferencedSOPSequence = Sequence(items)
    return data_set


@syntax
def test_what_pydicom_writes_is_read(syntax: str) -> None:
    data = encode(a_request(an_item(), an_item(instance="1.2.34")), syntax)
    assert read_request(data, syntax) == ("1.9", [ONE, TWO])


@syntax
def test_sequences_and_items_of_undefined_length_are_read(syntax: str) -> None:
    inner = an_item()
    inner.PurposeOfReferenceCodeSequence = [Dataset()]
    inner["PurposeOfReferenceCodeSequence"].is_undefined_length = True
    data_set = a_request(inner, an_item(instance="1.2.34"))
    for each in data_set.ReferencedSOPSequence:
        each.is_undefined_length_sequence_item = True
    data_set["ReferencedSOPSequence"].is_undefined_length = True
    assert read_request(encode(data_set, syntax), syntax) == ("1.9", [ONE, TWO])


@syntax
def test_a_request_comes_back(syntax: str) -> None:
    data = write_request("1.9", [ONE, TWO], syntax)
    assert read_request(data, syntax) == ("1.9", [ONE, TWO])
    assert decode(data, syntax) == a_request(an_item(), an_item(instance="1.2.34"))


@syntax
@pytest.mark.parametrize("report", [
    Report("1.9", (ONE, TWO), {}, "DIMSETLS"),
    Report("1.9", (ONE,), {TWO: 0x0112}, "ARCHIVE"),
    Report("1.9", (), {ONE: 0x0119, TWO: 0x0131}),
])  # fmt: skip
def test_a_report_comes_back_and_pydicom_reads_it(syntax: str, report: Report) -> None:
    data = write_report(report, syntax)
    assert read_report(data, syntax) == report
    data_set = decode(data, syntax)
    assert data_set.TransactionUID == "1.9"
    assert data_set.get("RetrieveAETitle", "") == report.retrieve_ae_title
    reasons = [item.FailureReason for item in data_set.get("FailedSOPSequence", [])]
    assert reasons == list(report.failed.values())
    assert ("ReferencedSOPSequence" in data_set) == bool(report.committed)
    assert report.event_type_id == (2 if report.failed else 1)


@pytest.mark.parametrize(("data_set", "element"), [
    (a_request(an_item(), transaction=None), 0x00081195),
    (a_request(an_item(), transaction=""), 0x00081195),
    (a_request(), 0x00081199),
    (a_request(an_item(), an_item(sop_class=None)), 0x00081150),
    (a_request(an_item(instance=None)), 0x00081155),
    (a_request(an_item(instance="")), 0x00081155),
])  # fmt: skip
def test_what_is_missing_is_named(data_set: Dataset, element: int) -> None:
    with pytest.raises(ServiceError) as caught:
        read_request(encode(data_set, IMPLICIT_VR_LITTLE_ENDIAN), IMPLICIT_VR_LITTLE_ENDIAN)
    assert (caught.value.status, caught.value.offending_elements) == (0x0115, (element,))
    assert caught.value.comment.startswith("expected")


@syntax
def test_bytes_that_are_no_request_are_refused_and_never_half_read(syntax: str) -> None:
    whole = encode(a_request(an_item(), an_item(instance="1.2.34")), syntax)
    for end in range(len(whole)):
        with pytest.raises(ServiceError):
            read_request(whole[:end], syntax)
    for at in range(len(whole)):
        broken = whole[:at] + b"\xff" + whole[at + 1:]
        assert outcome(broken, syntax) in (2, 0x0110, 0x0115)


def outcome(data: bytes, syntax: str) -> int:
    """How many references there are, or why they cannot be told."""
    try:
        return len(read_request(data, syntax)[1])
    except ServiceError as error:
        return error.status


def test_many_references_take_little_memory() -> None:
    data = write_request("1.9", (Reference(CT, f"1.2.3.{number}") for number in range(3000)), SYNTAXES[1])
    tracemalloc.start()
    try:
        _, references = read_request(data, SYNTAXES[1])
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert len(references) == 3000
    assert peak < 8 * len(data)
