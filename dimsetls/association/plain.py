"""Data sets of a few plain elements, as most matches of a query are, to bytes: those that pydicom makes of them.

Whatever is not as plain, down to a character that its character set does not have, is left to pydicom, so that there is
one place that knows what becomes of it.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator, MutableSequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pydicom.dataset import Dataset

_CHARACTER_SET = 0x0008_0005
_CODECS = {None: "latin-1", "": "latin-1", "ISO_IR 6": "latin-1", "ISO_IR 100": "latin-1", "ISO_IR 192": "utf-8"}
"""By Specific Character Set; pydicom takes the default repertoire for Latin-1."""
_NUMBERS = {"US": "<H", "SS": "<h", "UL": "<L", "SL": "<l"}
_TEXTS = frozenset(("LO", "LT", "PN", "SH", "ST"))  # in the character set of the data set
_WORDS = frozenset(("AE", "AS", "CS", "DA", "DS", "DT", "IS", "TM", "UI"))  # in the default repertoire
_VRS = {vr: vr.encode() for vr in (*_NUMBERS, *_TEXTS, *_WORDS)}
_EXPLICIT = struct.Struct("<HH2sH").pack
_IMPLICIT = struct.Struct("<HHL").pack


class _NotPlain(Exception):
    """The data set has something that is left to pydicom."""


def encode_plain(dataset: Dataset, is_implicit: bool) -> bytes | None:
    """A data set in Implicit or Explicit VR Little Endian; None where it is left to pydicom."""
    try:
        return b"".join(_elements(dataset, is_implicit))
    except (_NotPlain, UnicodeEncodeError, struct.error):
        return None


def _elements(dataset: Dataset, is_implicit: bool) -> Iterator[bytes]:
    codec = "latin-1"
    for tag, element in sorted([(int(tag), element) for tag, element in dataset.items()]):
        vr, value = element.VR or "", element.value
        group, number = tag >> 16, tag & 0xFFFF
        is_known = vr in _VRS and not getattr(element, "is_undefined_length", True)  # a RawDataElement does not say
        if not is_known or not number or tag < _CHARACTER_SET:
            raise _NotPlain
        if tag == _CHARACTER_SET:
            if not isinstance(value, str | None) or value not in _CODECS:
                raise _NotPlain
            codec = _CODECS[value]
        if vr in _NUMBERS:
            data = _number(_NUMBERS[vr], value)
        else:
            text = value if type(value) is str else _text(vr, value)
            data = text.encode(codec if vr in _TEXTS else "latin-1")
            if len(data) & 1:
                data += b"\0" if vr == "UI" else b" "
        if is_implicit:
            yield _IMPLICIT(group, number, len(data)) + data
        else:
            yield _EXPLICIT(group, number, _VRS[vr], len(data)) + data  # what is too long is an error of struct's


def _number(form: str, value: object) -> bytes:
    if value is None or value == "":
        return b""
    if not isinstance(value, int):
        raise _NotPlain
    return struct.pack(form, value)


def _text(vr: str, value: object) -> str:
    """The text of a value that is no plain str, in the types that pydicom has for it."""
    if isinstance(value, str):
        return value
    if value is None:
        return ""
    if isinstance(value, MutableSequence):
        return "\\".join([_text(vr, each) for each in value])
    if vr == "PN" and getattr(value, "original_string", b"") is None:  # it was given as text, and never encoded
        names: Any = value
        return "=".join(names.components).rstrip("=")
    if vr in ("IS", "DS") and isinstance(value, int | float):
        return str(getattr(value, "original_string", value))
    raise _NotPlain
