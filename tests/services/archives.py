"""Data sets, indexes and queries for the tests of the archive."""

from __future__ import annotations

from pathlib import Path

from pydicom.dataset import Dataset

from dimsetls.identity.sight import EVERYTHING, Sight
from dimsetls.services.filesystem import Durability, FileStore, StoredInstance
from dimsetls.services.index import Index
from dimsetls.services.layout import Layout
from dimsetls.services.models import STUDY_ROOT, Model, Negotiated, read_query
from dimsetls.services.records import Entry
from dimsetls.services.responses import response
from dimsetls.services.search import Search
from dimsetls.uids import EXPLICIT_VR_LITTLE_ENDIAN

CT = "1.2.840.10008.5.1.4.1.1.2"


def an_entry(number: int = 1, **values: str) -> Entry:
    """The entry of instance `number`; what is not given is of one study of one patient."""
    found = {
        "PatientID": "P1", "PatientName": "Doe^John", "StudyInstanceUID": "1.1", "StudyDate": "20240131",
        "StudyTime": "101500", "AccessionNumber": "A1", "StudyID": "S1", "SeriesInstanceUID": "1.1.1", "Modality": "CT",
        "SeriesNumber": "1", "SOPClassUID": CT, "SOPInstanceUID": f"1.1.1.{number}", "InstanceNumber": str(number),
    }  # fmt: skip
    values = {keyword: value for keyword, value in {**found, **values}.items() if value}
    return Entry(values, EXPLICIT_VR_LITTLE_ENDIAN, f"a/{values['SOPInstanceUID']}.dcm", 1000 + number)


def an_index(path: Path, *entries: Entry) -> Index:
    index = Index(path / "index.db", durable=False)
    index.open()
    for entry in entries:
        index.write(lambda tables, entry=entry: tables.put(entry))
    return index


def identifier(level: str, **keys: object) -> Dataset:
    data_set = Dataset()
    data_set.QueryRetrieveLevel = level
    for keyword, value in keys.items():
        setattr(data_set, keyword, value)
    return data_set


def ask(
    index: Index, level: str, model: Model = STUDY_ROOT, negotiated: Negotiated = Negotiated(),  # noqa: B008
    sees: Sight = EVERYTHING, unknown_matches: bool = True, **keys: object,
) -> list[Dataset]:  # fmt: skip
    """All responses to a query."""
    query = read_query(model, identifier(level, **keys), negotiated)
    search = Search(index, query, sees=sees, unknown_matches=unknown_matches)
    return [response(query, entity, "ARCHIVE") for _, entity in search.entities(search.candidates())]


def an_archive(root: Path, *, layout: str = "{StudyInstanceUID}/{SOPInstanceUID}.dcm", **options) -> FileStore:
    root.mkdir(parents=True, exist_ok=True)
    options.setdefault("fsync", Durability.NONE)
    index = Index(root / ".index.db", durable=options["fsync"] is Durability.FULL)
    store = FileStore(root, layout=Layout(layout), index=index, **options)
    store.open()
    return store


def explicit(group: int, element: int, vr: str, value: bytes) -> bytes:
    value += (b"\0" if vr == "UI" else b" ") * (len(value) % 2)
    head = group.to_bytes(2, "little") + element.to_bytes(2, "little")
    return head + vr.encode() + len(value).to_bytes(2, "little") + value


def body(study: str = "1.1", name: str = "Doe^John", number: int = 1) -> bytes:
    return b"".join((
        explicit(0x0008, 0x0005, "CS", b"ISO_IR 192"), explicit(0x0008, 0x0060, "CS", b"CT"),
        explicit(0x0010, 0x0010, "PN", name.encode()), explicit(0x0010, 0x0020, "LO", b"P1"),
        explicit(0x0020, 0x000D, "UI", study.encode()), explicit(0x0020, 0x000E, "UI", f"{study}.1".encode()),
        explicit(0x0020, 0x0013, "IS", str(number).encode()), explicit(0x7FE0, 0x0010, "OB", b"")[:6] + bytes(6),
    ))  # fmt: skip


def keep(store: FileStore, uid: str = "1.1.1.1", data: bytes | None = None) -> StoredInstance:
    incoming = store.begin(CT, uid, EXPLICIT_VR_LITTLE_ENDIAN, "STORESCU", "ARCHIVE")
    incoming.write(body() if data is None else data)
    return incoming.commit()
