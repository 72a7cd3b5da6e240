"""Every DICOM file that pydicom ships goes to the service and is found there byte for byte, by senders of others."""

from __future__ import annotations

import ssl
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import pydicom
import pytest
from pynetdicom import AE, _config

from dimsetls.services.known import transfer_syntaxes
from dimsetls.uids import (
    DEFLATED_EXPLICIT_VR_LITTLE_ENDIAN,
    EXPLICIT_VR_BIG_ENDIAN,
    EXPLICIT_VR_LITTLE_ENDIAN,
    IMPLEMENTATION_CLASS_UID,
    IMPLICIT_VR_LITTLE_ENDIAN,
)

from . import dcmtk
from .instances import Instance, data_set_of, named, shipped, write_part10
from .running import Node, Service
from .scu import associated

pytestmark = pytest.mark.peers

TLS_VERSIONS = {"TLSv1.2": ssl.TLSVersion.TLSv1_2, "TLSv1.3": ssl.TLSVersion.TLSv1_3}
PROFILE = {"TLSv1.2": "--profile-bcp195-ex", "TLSv1.3": "--profile-bcp195"}
"""DCMTK's profile for a TLS version: the extended one ends at TLS 1.2."""

NOT_SENT_BY_STORESCU = {
    "MR_truncated.dcm": "its pixel data end before their length says: no DICOM file for storescu",
    "SC_rgb_jpeg.dcm": "an element in it has no VR, and storescu then reads its value as elements",
    "rtdose_rle.dcm": "its encapsulated pixel data have VR OW, and storescu finds no SOP class in such a file",
    "rtdose_rle_1frame.dcm": "the same",
    "rtplan_truncated.dcm": "its last element ends before its length says: no DICOM file for storescu",
}
"""Files that a sender cannot send, with the reason. Every other file must arrive."""

Stored = dict[str, tuple[str, bytes]]
"""SOP Instance UID to transfer syntax and data set."""


def stored(paths: Sequence[Path]) -> Stored:
    """What Part 10 files hold, by what their file meta information says."""
    metas = {path: pydicom.filereader.read_file_meta_info(path) for path in paths}
    return {
        meta.MediaStorageSOPInstanceUID: (meta.TransferSyntaxUID, data_set_of(path)) for path, meta in metas.items()
    }


def groups() -> list[list[Instance]]:
    """All files, so that no SOP Instance UID comes twice in a group: several files share theirs."""
    result: defaultdict[int, list[Instance]] = defaultdict(list)
    seen: defaultdict[str, int] = defaultdict(int)
    for instance in shipped():
        result[seen[instance.sop_instance_uid]].append(instance)
        seen[instance.sop_instance_uid] += 1
    return list(result.values())


def paths(instances: Sequence[Instance]) -> list[Path]:
    return [instance.path for instance in instances]


@pytest.fixture(scope="module")
def profiles(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A configuration file for storescu and storescp: see `dcmtk.association_profiles`."""
    path = tmp_path_factory.mktemp("dcmtk") / "profiles.cfg"
    path.write_text(dcmtk.association_profiles((each.sop_class_uid, each.transfer_syntax_uid) for each in shipped()))
    return path


@pytest.fixture(scope="module")
def witnessed(profiles: Path, tmp_path_factory: pytest.TempPathFactory) -> list[Stored]:
    """For each group, what storescu sends of it."""
    directory = tmp_path_factory.mktemp("storescp")
    options = "--no-halt", "--config-file", profiles, "Propose"
    accepting = "--config-file", profiles, "Accept"
    return [
        stored(dcmtk.sent(paths(group), directory / str(number), *options, accepting=accepting))
        for number, group in enumerate(groups())
    ]


def test_pydicom_ships_files_enough() -> None:
    assert len(shipped()) >= 150
    assert len({instance.transfer_syntax_uid for instance in shipped()}) >= 12
    assert len({instance.sop_class_uid for instance in shipped()}) >= 15
    assert set(NOT_SENT_BY_STORESCU) < {instance.name for instance in shipped()}


@pytest.mark.parametrize("version", TLS_VERSIONS)
def test_storescu_stores_every_file(
    node: Node, pki: Path, profiles: Path, witnessed: list[Stored], version: str
) -> None:
    node.set("storage archive", layout="{CallingAETitle}/{SOPInstanceUID}.dcm", fsync="none")
    with node.running() as service:
        for number, group in enumerate(groups()):
            options = PROFILE[version], "-aet", f"GROUP{number}", "--no-halt", "--config-file", profiles, "Propose"
            dcmtk.storescu(service, pki, paths(group), *options)
        service.expect(r"\breleased\b", len(groups()))
        assert len(service.lines(rf"\bstarted GROUP\d .*\b{version}\b")) == len(groups())
    for number, expected in enumerate(witnessed):
        found = stored([path for name, path in node.stored().items() if name.startswith(f"GROUP{number}/")])
        assert found == expected


def test_storescu_sends_every_file_but_those_it_cannot_read(witnessed: list[Stored]) -> None:
    missing = {
        instance.name for group, expected in zip(groups(), witnessed, strict=True) for instance in group
        if expected.get(instance.sop_instance_uid, ("", b""))[0] != instance.transfer_syntax_uid
    }
    assert missing == set(NOT_SENT_BY_STORESCU)


BY_ORDER_OF_STORESCP = [*dict.fromkeys((
    EXPLICIT_VR_LITTLE_ENDIAN, EXPLICIT_VR_BIG_ENDIAN, IMPLICIT_VR_LITTLE_ENDIAN, *transfer_syntaxes().values()
))]  # fmt: skip
"""So that both choose alike from a presentation context with several."""
UNCOMPRESSED = ("CT_small.dcm", "MR_small_bigendian.dcm", "rtplan.dcm", "reportsi.dcm", "image_dfl.dcm",
                "examples_palette.dcm", "waveform_ecg.dcm", "test-SR.dcm")
OPTIONS = {
    "--propose-uncompr": EXPLICIT_VR_LITTLE_ENDIAN,
    "--propose-little": EXPLICIT_VR_LITTLE_ENDIAN,
    "--propose-big": EXPLICIT_VR_BIG_ENDIAN,
    "--propose-implicit": IMPLICIT_VR_LITTLE_ENDIAN,
    "--propose-deflated": DEFLATED_EXPLICIT_VR_LITTLE_ENDIAN,
}
"""Options of storescu that make it encode a data set anew, with the transfer syntax that comes of it."""
COMPRESSED = {
    "--propose-lossless": "SC_rgb_jpeg_gdcm.dcm",
    "--propose-jpeg8": "SC_rgb_dcmtk_+eb+cr.dcm",
    "--propose-jpeg12": "JPGExtended.dcm",
    "--propose-j2k-lossless": "MR_small_jp2klossless.dcm",
    "--propose-j2k-lossy": "JPEG2000.dcm",
    "--propose-jls-lossless": "MR_small_jpeg_ls_lossless.dcm",
    "--propose-jls-lossy": "JPEGLSNearLossless_16.dcm",
    "--propose-rle": "MR_small_RLE.dcm",
}
"""Options that propose a compressed transfer syntax, with a file that is in it."""
VIDEO = {
    "--propose-mpeg2": "1.2.840.10008.1.2.4.100",
    "--propose-mpeg2-high": "1.2.840.10008.1.2.4.101",
    "--propose-mpeg4": "1.2.840.10008.1.2.4.102",
    "--propose-mpeg4-bd": "1.2.840.10008.1.2.4.103",
    "--propose-mpeg4-2-2d": "1.2.840.10008.1.2.4.104",
    "--propose-mpeg4-2-3d": "1.2.840.10008.1.2.4.105",
    "--propose-mpeg4-2-st": "1.2.840.10008.1.2.4.106",
    "--propose-hevc": "1.2.840.10008.1.2.4.107",
    "--propose-hevc10": "1.2.840.10008.1.2.4.108",
}
"""Options that propose a video transfer syntax; pydicom ships no such file, and storescu does not look into one."""


@pytest.fixture(scope="module")
def replacing(tmp_path_factory: pytest.TempPathFactory, pki: Path) -> Iterator[tuple[Node, Service]]:
    """One service for many senders; what comes last stays."""
    node = Node(tmp_path_factory.mktemp("replacing"), pki)
    node.set("storage archive", layout="{SOPInstanceUID}.dcm", duplicates="replace", fsync="none")
    node.set("ae DIMSETLS", transfer_syntaxes=", ".join(BY_ORDER_OF_STORESCP))
    with node.running() as service:
        yield node, service


def found_as_sent(replacing: tuple[Node, Service], files: Sequence[Path], directory: Path, *options: str) -> Stored:
    """Send files to the service and to the witness; what the two hold must not differ."""
    node, service = replacing
    answer = dcmtk.storescu(service, node.pki, files, *options)
    assert answer.returncode == 0, answer.stdout
    expected = stored(dcmtk.sent(files, directory / "sent", *options))
    assert len(expected) == len(files)
    assert stored([node.store / f"{uid}.dcm" for uid in expected]) == expected
    return expected


@pytest.mark.parametrize(("option", "syntax"), OPTIONS.items())
def test_storescu_encodes_anew(
    replacing: tuple[Node, Service], tmp_path: Path, option: str, syntax: str
) -> None:
    found = found_as_sent(replacing, paths([*map(named, UNCOMPRESSED)]), tmp_path, option)
    assert syntax in {each for each, _ in found.values()}


@pytest.mark.parametrize(("option", "name"), COMPRESSED.items())
def test_storescu_sends_compressed(replacing: tuple[Node, Service], tmp_path: Path, option: str, name: str) -> None:
    found = found_as_sent(replacing, [named(name).path], tmp_path, option)
    assert {each for each, _ in found.values()} == {named(name).transfer_syntax_uid}


@pytest.mark.parametrize(("option", "syntax"), VIDEO.items())
def test_storescu_sends_video(replacing: tuple[Node, Service], tmp_path: Path, option: str, syntax: str) -> None:
    ds = pydicom.dcmread(named("SC_rgb_jpeg_gdcm.dcm").path)
    ds.PixelData = pydicom.encaps.encapsulate([bytes(range(256)) * 400])
    ds.file_meta.TransferSyntaxUID = pydicom.uid.UID(syntax)
    ds.save_as(tmp_path / "video.dcm")
    found = found_as_sent(replacing, [tmp_path / "video.dcm"], tmp_path, option)
    assert {each for each, _ in found.values()} == {syntax}


@pytest.mark.parametrize("version", TLS_VERSIONS)
def test_pynetdicom_stores_every_file_exactly(
    replacing: tuple[Node, Service], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, version: str
) -> None:
    node, service = replacing
    monkeypatch.setattr(_config, "STORE_SEND_CHUNKED_DATASET", True)  # the bytes of the file, not decoded before
    ae = AE("PYNETDICOM")
    for sop_class, syntax in sorted({(each.sop_class_uid, each.transfer_syntax_uid) for each in shipped()}):
        ae.add_requested_context(sop_class, syntax)
    with associated(ae, service, node.pki, TLS_VERSIONS[version]) as association:
        for instance in shipped():
            path = part10(instance, tmp_path)
            status = association.send_c_store(path)
            assert status.get("Status") == 0x0000, instance.name
            # The command has the UID of the file meta information, which in some of these files is another.
            uid = pydicom.filereader.read_file_meta_info(path).MediaStorageSOPInstanceUID
            file = node.store / f"{uid}.dcm"
            assert data_set_of(file) == instance.data_set, instance.name
            assert_file_meta(file, instance, uid)
    (line, *_) = service.expect(rf"\bstarted PYNETDICOM .*\b{version}\b")
    association_id = line.split("[")[2].split("]")[0]
    assert f" {len(shipped())} instances" in service.expect(rf"\[{association_id}\] released")[0]


def part10(instance: Instance, directory: Path) -> Path:
    """The file, or where it lacks file meta information, one that has it before the same data set."""
    if instance.has_file_meta:
        return instance.path
    written = replace(instance, path=directory / instance.name)
    write_part10(written)
    return written.path


def assert_file_meta(file: Path, instance: Instance, sop_instance_uid: str) -> None:
    """PS3.10 Table 7.1-1."""
    content = file.read_bytes()
    assert content[:132] == bytes(128) + b"DICM"
    meta = pydicom.filereader.read_file_meta_info(file)
    assert meta.FileMetaInformationVersion == b"\0\1"
    assert 132 + 12 + meta.FileMetaInformationGroupLength + len(instance.data_set) == len(content)
    assert meta.MediaStorageSOPClassUID == instance.sop_class_uid
    assert meta.MediaStorageSOPInstanceUID == sop_instance_uid
    assert meta.TransferSyntaxUID == instance.transfer_syntax_uid
    assert meta.ImplementationClassUID == IMPLEMENTATION_CLASS_UID
    assert (meta.SendingApplicationEntityTitle, meta.ReceivingApplicationEntityTitle) == ("PYNETDICOM", "DIMSETLS")
