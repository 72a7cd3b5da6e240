"""Data sets between their bytes and pydicom, for where people handle them; pydicom is loaded on first use."""

from __future__ import annotations

import zlib
from io import BytesIO
from typing import TYPE_CHECKING

from ..uids import DEFLATED_EXPLICIT_VR_LITTLE_ENDIAN, EXPLICIT_VR_BIG_ENDIAN, IMPLICIT_VR_LITTLE_ENDIAN
from .plain import encode_plain

if TYPE_CHECKING:
    from pydicom.dataset import Dataset

LARGEST = 1 << 23
"""Bytes of an identifier or attribute list that we take; a Failed SOP Instance UID List has up to 4 260 000."""


_UNDEFINED = 0xFFFF_FFFF
_ITEM = b"\xfe\xff\x00\xe0", b"\xff\xfe\xe0\x00"  # the tag (FFFE,E000) in either byte order
_LAST_OF_META = 0x0007_FFFF  # groups up to 0007H are not for data sets (PS3.5 §7.1)


class UnreadableDataSet(ValueError):
    """The bytes are no data set in this transfer syntax; `tags` has the element where that shows, if one is known."""

    def __init__(self, sentence: str, *tags: int) -> None:
        super().__init__(sentence)
        self.tags = tags


def decode(data: bytes, transfer_syntax: str) -> Dataset:
    """The data set in some bytes, every element of it looked at, so that nothing fails later.

    Raises `UnreadableDataSet`. For identifiers and attribute lists: an instance is decoded lazily, see `StoreRequest`.
    """
    from pydicom.dataelem import RawDataElement
    from pydicom.dataset import Dataset
    from pydicom.filereader import data_element_generator

    implicit, little = _encoding(transfer_syntax)
    try:
        if transfer_syntax == DEFLATED_EXPLICIT_VR_LITTLE_ENDIAN:
            data = _inflate(data)
        file, end, previous = BytesIO(data), 0, _LAST_OF_META
        elements = {}
        for element in data_element_generator(file, implicit, little):
            end = file.tell()
            if element.tag <= previous:
                raise UnreadableDataSet(f"{element.tag} is out of place", element.tag)
            if isinstance(element, RawDataElement) and _UNDEFINED != element.length > len(element.value or b""):
                raise UnreadableDataSet(f"the value of {element.tag} is cut short", element.tag)
            elements[element.tag], previous = element, element.tag
        if len(data) - end > 1:
            raise UnreadableDataSet(f"{len(data) - end} bytes at its end are no element")
        dataset = Dataset(dict(elements))
        for decoded in dataset.iterall():
            raw = elements.get(decoded.tag) if decoded.VR == "SQ" else None
            # pydicom takes an item to be there, whatever the tag says.
            if isinstance(raw, RawDataElement) and raw.value and raw.value[:4] not in _ITEM:
                raise UnreadableDataSet(f"the value of {decoded.tag} is no sequence", decoded.tag)
    except UnreadableDataSet:
        raise
    except Exception as error:  # whatever pydicom makes of bytes that are the peer's choice
        raise UnreadableDataSet(f"{type(error).__name__}: {error}") from error
    return dataset


def encode(dataset: Dataset, transfer_syntax: str) -> bytes:
    """A data set as it travels in a transfer syntax; what it holds of encapsulated pixel data is left as it is.

    Raises whatever pydicom does for a value that cannot be written.
    """
    implicit, little = _encoding(transfer_syntax)
    data = encode_plain(dataset, implicit) if little else None
    if data is None:
        data = _written(dataset, implicit, little)
    if transfer_syntax == DEFLATED_EXPLICIT_VR_LITTLE_ENDIAN:
        deflater = zlib.compressobj(wbits=-zlib.MAX_WBITS)
        data = deflater.compress(data) + deflater.flush()
    return data + b"\0" * (len(data) & 1)


def _written(dataset: Dataset, implicit: bool, little: bool) -> bytes:
    from pydicom.filebase import DicomBytesIO
    from pydicom.filewriter import write_dataset

    file = DicomBytesIO()
    file.is_implicit_VR, file.is_little_endian = implicit, little
    write_dataset(file, dataset)
    return file.getvalue()


def _encoding(transfer_syntax: str) -> tuple[bool, bool]:
    """Whether it is implicit VR, and little endian; all others are Explicit VR Little Endian (PS3.5 A.4)."""
    return transfer_syntax == IMPLICIT_VR_LITTLE_ENDIAN, transfer_syntax != EXPLICIT_VR_BIG_ENDIAN


def _inflate(data: bytes) -> bytes:
    inflater = zlib.decompressobj(-zlib.MAX_WBITS)
    plain = inflater.decompress(data, LARGEST)
    if not inflater.eof:
        raise UnreadableDataSet(f"its deflate stream is cut short, or holds more than {LARGEST} bytes")
    return plain
