"""SOP instances on their way out: what they are, and their data sets piece by piece, from wherever they come."""

from __future__ import annotations

import os
from collections.abc import AsyncIterable, AsyncIterator, Iterable
from dataclasses import dataclass, field
from io import BytesIO, FileIO
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, TypeAlias, cast

from ..errors import InstanceError
from ..uids import (
    DEFLATED_EXPLICIT_VR_LITTLE_ENDIAN,
    EXPLICIT_VR_BIG_ENDIAN,
    EXPLICIT_VR_LITTLE_ENDIAN,
    IMPLICIT_VR_LITTLE_ENDIAN,
    is_valid_uid,
)
from .datasets import encode
from .part10 import read_file_meta

if TYPE_CHECKING:
    from pydicom.dataset import Dataset, FileDataset

    Source: TypeAlias = str | os.PathLike[str] | bytes | memoryview | AsyncIterable[bytes] | BinaryIO | Dataset
    Sendable: TypeAlias = "Instance | str | os.PathLike[str] | bytes | BinaryIO | Dataset"

NATIVE = (EXPLICIT_VR_LITTLE_ENDIAN, IMPLICIT_VR_LITTLE_ENDIAN, DEFLATED_EXPLICIT_VR_LITTLE_ENDIAN)
"""What we convert to, the best first. Not Explicit VR Big Endian: pydicom does not swap the bytes of pixels."""

_PREFIX = 128


@dataclass(frozen=True, slots=True)
class Instance:
    """One SOP instance to send.

    `source` is a DICOM file by its path or open for reading (then at its data set), the data set itself as bytes or
    as an async iterator of bytes, or a pydicom Dataset. Paths are opened when it is sent. With `convert` pydicom
    converts it if the peer did not accept its transfer syntax.
    """

    sop_class_uid: str
    sop_instance_uid: str
    transfer_syntax: str
    source: Source = field(repr=False)
    convert: bool = False

    @classmethod
    def of(cls, what: Sendable, *, convert: bool = False) -> Instance:
        """What this is: a path, an open file, or the bytes, of a DICOM file; or a Dataset. Raises `InstanceError`."""
        if isinstance(what, Instance):
            return what
        if isinstance(what, str | os.PathLike):
            path = os.fspath(what)
            try:
                with FileIO(path) as file:
                    return cls(*read_meta(file, path), Path(path), convert)
            except OSError as error:
                raise InstanceError(f"{path} cannot be read: {error.strerror or error}") from error
        if isinstance(what, bytes):
            whole = BytesIO(what)
            meta = read_meta(whole, "the bytes to send")
            return cls(*meta, memoryview(what)[whole.tell() :], convert)
        if hasattr(what, "read"):
            opened = cast(BinaryIO, what)
            return cls(*read_meta(opened, str(getattr(opened, "name", "the open file"))), opened, convert)
        dataset = cast("Dataset", what)
        return cls(*_of_dataset(dataset), dataset, convert)

    def open(self) -> FileIO | None:
        """The file that is named, at the data set; None where the source is no name of one.

        Raises OSError, and `InstanceError` where it holds another instance by now.
        """
        if not isinstance(self.source, str | os.PathLike):
            return None
        file = FileIO(self.source)
        try:
            found = read_meta(file, os.fspath(self.source))
            if found != (self.sop_class_uid, self.sop_instance_uid, self.transfer_syntax):
                raise InstanceError(f"{os.fspath(self.source)} holds {found}, and no longer what it did")
            if hasattr(os, "posix_fadvise"):
                os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_SEQUENTIAL)
        except BaseException:
            file.close()
            raise
        return file

    async def pieces(self, size: int) -> AsyncIterator[bytes | memoryview]:
        """The data set, in pieces of any size; of about `size` bytes where that is ours to choose."""
        source = self.source
        if (file := self.open()) is not None:
            with file:
                while piece := file.read(size):
                    yield piece
        elif isinstance(source, bytes | memoryview):
            yield source
        elif hasattr(source, "__aiter__"):
            async for piece in cast("AsyncIterable[bytes]", source):
                yield piece
        elif hasattr(source, "read"):
            while piece := source.read(size):
                yield piece
        else:
            yield self._encoded(cast("Dataset", source))

    def _encoded(self, dataset: Dataset) -> bytes:
        try:
            return encode(dataset, self.transfer_syntax)
        except Exception as error:  # pydicom has no exception of its own for it
            raise InstanceError(f"{self.sop_instance_uid} cannot be encoded: {error}") from error

    def converted(self, transfer_syntax: str) -> Instance:
        """The same instance in another transfer syntax, whole in memory. It may take long, so call it in a thread.

        Raises `InstanceError`.
        """
        from pydicom.uid import UID

        if EXPLICIT_VR_BIG_ENDIAN in (self.transfer_syntax, transfer_syntax):
            raise InstanceError(f"{self.sop_instance_uid} cannot be converted: pydicom does not swap bytes of pixels")
        try:
            dataset = self._dataset()
            if UID(self.transfer_syntax).is_compressed and self.transfer_syntax != DEFLATED_EXPLICIT_VR_LITTLE_ENDIAN:
                dataset.decompress(generate_instance_uid=False)
            data = encode(dataset, transfer_syntax)
        except Exception as error:  # pydicom has no exception of its own, and its decoders have many
            sentence = f"{self.sop_instance_uid} cannot be converted from {self.transfer_syntax}: {error}"
            raise InstanceError(sentence) from error
        return Instance(self.sop_class_uid, self.sop_instance_uid, transfer_syntax, data)

    def _dataset(self) -> Dataset:
        from pydicom import dcmread

        if isinstance(self.source, str | os.PathLike):
            return dcmread(self.source)
        if isinstance(self.source, bytes | memoryview):
            return part10(self, bytes(self.source))
        if hasattr(self.source, "__aiter__"):
            raise InstanceError("it comes as a stream, which can be read once and not converted")
        if hasattr(self.source, "read"):
            return part10(self, self.source.read())
        return cast("Dataset", self.source)


def propose_for(instances: Iterable[Instance]) -> tuple[tuple[str, tuple[str, ...]], ...]:
    """Presentation contexts in which these can be sent, at most 128: one for each SOP class and transfer syntax.

    Implicit VR Little Endian is offered for each SOP class too, as PS3.5 §10.1 has it, while there is room.
    """
    wanted: dict[str, dict[str, None]] = {}
    for instance in instances:
        wanted.setdefault(instance.sop_class_uid, {})[instance.transfer_syntax] = None
        if instance.convert:
            wanted[instance.sop_class_uid][EXPLICIT_VR_LITTLE_ENDIAN] = None
    exact = [(uid, (syntax,)) for uid, syntaxes in wanted.items() for syntax in syntaxes]
    basic = [(uid, (IMPLICIT_VR_LITTLE_ENDIAN,)) for uid in wanted if IMPLICIT_VR_LITTLE_ENDIAN not in wanted[uid]]
    return tuple((exact + basic)[:128])


def read_meta(file: BinaryIO, name: str) -> tuple[str, str, str]:
    """SOP class, SOP instance and transfer syntax of a DICOM file, which is then at its data set (PS3.10 §7.1).

    Raises `InstanceError`.
    """
    meta = read_file_meta(file)
    if meta is None:
        raise InstanceError(f"{name} is no DICOM file, or damaged: expected DICM after 128 bytes, and less than 1 MiB "
                            "of file meta information (PS3.10 §7.1)")  # fmt: skip
    uids = meta.sop_class_uid, meta.sop_instance_uid, meta.transfer_syntax_uid
    if not all(map(is_valid_uid, uids)):
        tags = "(0002,0002)", "(0002,0003)", "(0002,0010)"
        found = ", ".join(f"{tag} {uid!r}" for tag, uid in zip(tags, uids, strict=True))
        raise InstanceError(f"{name} does not say what it is, expected UIDs in its file meta information: {found}")
    return uids


def part10(instance: Instance, data: bytes) -> FileDataset:
    """A data set as pydicom reads it from a file, lazily, with file meta information."""
    from pydicom import dcmread
    from pydicom.dataset import FileMetaDataset
    from pydicom.filebase import DicomBytesIO
    from pydicom.filewriter import write_file_meta_info
    from pydicom.uid import UID

    from ..uids import IMPLEMENTATION_CLASS_UID

    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID = UID(instance.sop_class_uid)
    meta.MediaStorageSOPInstanceUID = UID(instance.sop_instance_uid)
    meta.TransferSyntaxUID = UID(instance.transfer_syntax)
    meta.ImplementationClassUID = UID(IMPLEMENTATION_CLASS_UID)
    file = DicomBytesIO()
    file.write(bytes(_PREFIX) + b"DICM")
    write_file_meta_info(file, meta)
    file.write(data)
    file.seek(0)
    return dcmread(file)


def _of_dataset(dataset: Dataset) -> tuple[str, str, str]:
    uids = str(dataset.get("SOPClassUID", "")), str(dataset.get("SOPInstanceUID", ""))
    if not all(map(is_valid_uid, uids)):
        raise InstanceError(f"the data set does not say what it is: SOP class {uids[0]!r}, SOP instance {uids[1]!r}")
    meta = getattr(dataset, "file_meta", None)
    if meta is not None and is_valid_uid(str(meta.get("TransferSyntaxUID", ""))):
        return *uids, str(meta.TransferSyntaxUID)
    implicit, little = dataset.original_encoding
    if implicit and little:
        return *uids, IMPLICIT_VR_LITTLE_ENDIAN
    return *uids, EXPLICIT_VR_BIG_ENDIAN if little is False else EXPLICIT_VR_LITTLE_ENDIAN
