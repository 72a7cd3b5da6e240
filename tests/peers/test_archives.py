"""Our SCU against archives that others wrote, over mutual TLS: what is found, got and moved is what was stored.

Orthanc speaks TLS itself, as SCP and towards the destinations of C-MOVE. dcmqrscp and pynetdicom's qrscp do not: for
them `tunnel.py` does, in both directions.
"""

from __future__ import annotations

import json
import re
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import pydicom
import pytest
from pydicom import Dataset

from dimsetls.association import Instance as Outgoing
from dimsetls.association import Timeouts, propose_for
from dimsetls.association.instances import NATIVE, part10
from dimsetls.errors import DimsetlsError, ProviderAborted

from ..identity.loop import Loop
from ..node.client.calls import call
from .archives import ARCHIVES, NODE, WITNESS, Archive, Destinations, in_rest_api, storescp
from .asking import PATIENT_ROOT, STUDY_ROOT, Asker, keys
from .instances import Instance, Kept, distinct, in_directory, padded, sent
from .patients import GB2312, NAMES, Patient, patients
from .running import Node

pytestmark = pytest.mark.peers

PALETTES = dict.fromkeys(
    ("fall.dcm", "hotiron.dcm", "hotmetalblue.dcm", "pet.dcm", "pet20step.dcm", "spring.dcm", "summer.dcm",
     "winter.dcm"), "accepted no presentation context|C000H",
)  # fmt: skip
"""Color Palette Storage is about no patient, and not for an archive of patients."""
NO_PATIENT_NO_STUDY = dict.fromkeys(("JPEGLSNearLossless_08.dcm", "JPEGLSNearLossless_16.dcm",
                                     "SC_rgb_jls_lossy_line.dcm", "SC_rgb_jls_lossy_sample.dcm"), "A700H")  # fmt: skip
NO_PATIENT = ("GDCMJ2K_TextGBR.dcm", "ExplVR_BigEnd.dcm", "ExplVR_BigEndNoMeta.dcm", "ExplVR_LitEndNoMeta.dcm")
TRUNCATED = dict.fromkeys(("MR_truncated.dcm", "rtplan_truncated.dcm"), "C000H")
"""Their last element ends before its length says."""
OTHER_WORDS = dict.fromkeys(("rtdose_rle.dcm", "rtdose_rle_1frame.dcm"), "C000H")
"""Encapsulated pixel data with VR OW in a data set of otherwise implicit VR."""

REFUSED = {
    "orthanc": PALETTES | NO_PATIENT_NO_STUDY | OTHER_WORDS,
    "dcmqrscp": PALETTES | TRUNCATED | OTHER_WORDS | {"SC_rgb_jpeg.dcm": "C000H"},  # an element in it has no VR
    "qrscp": PALETTES | {"SC_rgb_jpeg.dcm": "A700H"},
}  # fmt: skip
"""What an archive does not take, and how it says so. Everything else must be found in it."""
SILENT = {"orthanc": ("MR_truncated.dcm", "rtplan_truncated.dcm", "SC_rgb_jpeg.dcm")}
"""What it never answers: its parser gives up within the data set, and it waits for more of it."""
NOT_INDEXED = {"qrscp": (*NO_PATIENT, *NO_PATIENT_NO_STUDY)}
"""What it takes and never finds again."""

IR_13, IR_87, IR_149 = "ISO 2022 IR 13", "ISO 2022 IR 87", "ISO 2022 IR 149"
UNREADABLE = {
    "orthanc": {IR_13},  # it takes the second character set of the two for more of the first
    "qrscp": {patient_set[-1] if not patient_set[0] else patient_set[0] for patient_set in NAMES} - {"ISO_IR 100"},
}  # fmt: skip
"""Terms of character sets that an archive does not answer in readable form; qrscp knows Latin 1 alone."""
UNFOUND = {
    "orthanc": {(IR_13, "utf-8", "name"), (IR_13, "utf-8", "pattern")},
    "dcmqrscp": {(IR_149, "own", "pattern"), *(  # the GNU library cannot convert ISO-2022-JP, so it compares bytes
        (term, *how) for term in (IR_13, IR_87) for how in (("own", "pattern"), ("utf-8", "name"), ("utf-8", "pattern"))
    )},
    "qrscp": {("ISO 2022 IR 58", "utf-8", "name")},  # pydicom leaves escape sequences in what it decodes
}  # fmt: skip
"""Names that are not matched: the term of their character set, that of the query, and whether by a wild card."""


@dataclass(frozen=True)
class Filled:
    """An archive with all that it took."""

    name: str
    asker: Asker
    stored: Sequence[Instance]
    refused: dict[str, str]
    silent: Sequence[Instance]
    patients: Sequence[Patient]

    @cached_property
    def data_sets(self) -> dict[str, Dataset]:
        """What can be found of all that, by SOP Instance UID."""
        indexed = (each for each in self.stored if each.name not in NOT_INDEXED.get(self.name, ()))
        return {each.sop_instance_uid: pydicom.dcmread(each.path, stop_before_pixels=True) for each in indexed}

    @property
    def in_studies(self) -> list[Instance]:
        """What can be asked for by its study."""
        return [each for each in self.stored if self._study(each)]

    def _study(self, instance: Instance) -> str:
        return self.data_sets.get(instance.sop_instance_uid, Dataset()).get("StudyInstanceUID") or ""

    def studies_of(self, instances: Sequence[Instance]) -> list[Dataset]:
        """Identifiers for all studies of instances, as few as the archive can do with."""
        studies = sorted({self._study(each) for each in instances})
        lists = [studies] if self.asker.archive.knows_lists else studies
        return [keys("STUDY", StudyInstanceUID=each) for each in lists]

    @cached_property
    def got(self) -> Kept:
        """All that can be asked for, by C-GET."""
        wanted, got = self.in_studies, Kept()
        syntaxes = sorted({each.transfer_syntax_uid for each in wanted})
        parts = [[each for each in wanted if each.transfer_syntax_uid == syntax] for syntax in syntaxes]
        for part in [wanted] if self.asker.archive.knows_contexts else parts:
            results, kept = self.asker.get(part, *self.studies_of(part))
            if self.asker.archive.knows_contexts:
                assert {each.response.status for each in results} == {0}
            got |= {each.sop_instance_uid: kept[each.sop_instance_uid] for each in part}
        return got


@pytest.fixture(scope="module")
def loop() -> Iterator[Loop]:
    loop = Loop()
    yield loop
    loop.end()


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> tuple[list[Instance], list[Patient]]:
    return distinct(tmp_path_factory.mktemp("files")), patients(tmp_path_factory.mktemp("patients"))


@pytest.fixture(scope="module")
def node(tmp_path_factory: pytest.TempPathFactory, pki: Path) -> Iterator[tuple[Path, int]]:
    """Our node as a move destination: its store and its port."""
    node = Node(tmp_path_factory.mktemp("node"), pki)
    node.set("storage archive", layout="{CallingAETitle}/{SOPInstanceUID}.dcm", fsync="none")
    with node.running() as service:
        yield node.store, service.port()


@pytest.fixture(scope="module")
def witness(tmp_path_factory: pytest.TempPathFactory, pki: Path) -> Iterator[tuple[Path, int]]:
    """DCMTK's storescp as another."""
    directory = tmp_path_factory.mktemp("witness")
    with storescp(directory, pki, "--accept-all") as port:
        yield directory, port


@pytest.fixture(scope="module", params=ARCHIVES)
def filled(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, pki: Path, loop: Loop,
    files: tuple[list[Instance], list[Patient]], node: tuple[Path, int], witness: tuple[Path, int],
) -> Iterator[Filled]:  # fmt: skip
    name: str = request.param
    instances, named = files
    everything = [*instances, *(each.instance for each in named)]
    silent = [each for each in everything if each.name in SILENT.get(name, ())]
    spoken = [each for each in everything if each not in silent]
    with ARCHIVES[name](tmp_path_factory.mktemp(name), pki, Destinations(node[1], witness[1])) as archive:
        asker = Asker(loop, pki, archive)
        refused = asker.wait(store(asker, spoken))
        stored = [each for each in spoken if each.sop_instance_uid not in refused]
        yield Filled(name, asker, stored, {each.name: refused[each.sop_instance_uid] for each in spoken
                                           if each.sop_instance_uid in refused}, silent, named)  # fmt: skip


async def store(asker: Asker, instances: Sequence[Instance]) -> dict[str, str]:
    """Store them on one association; what was said of those that were not taken, by SOP Instance UID."""
    refused = {}
    outgoing = [Outgoing.of(each.path) for each in instances]
    async with asker.association(contexts=propose_for(outgoing)) as opened:
        for instance in outgoing:
            try:
                await opened.store(instance)
            except DimsetlsError as error:
                refused[instance.sop_instance_uid] = str(error)
    return refused


def test_it_answers_over_tls(filled: Filled) -> None:
    async def echo() -> tuple[int, str]:
        async with filled.asker.association() as opened:
            return await opened.echo(), opened.parties.protection

    assert filled.asker.wait(echo()) == (0, "TLSv1.3 TLS_AES_256_GCM_SHA384")


def test_every_file_is_stored_or_refused_in_words(filled: Filled) -> None:
    expected = REFUSED[filled.name]
    assert filled.refused.keys() == expected.keys()
    for name, sentence in filled.refused.items():
        assert re.search(expected[name], sentence), name
    assert len(filled.stored) >= 170
    for instance in filled.silent:
        error = filled.asker.loop.error(store_within(0.2, filled.asker, Outgoing.of(instance.path)))
        assert isinstance(error, ProviderAborted)
        assert "within 0.2 s" in str(error)


async def store_within(seconds: float, asker: Asker, instance: Outgoing) -> None:
    async with asker.association(contexts=propose_for([instance]), timeouts=Timeouts(response=seconds)) as opened:
        await opened.store(instance)


def test_each_level_is_found(filled: Filled) -> None:
    asker, entities = filled.asker, defaultdict[str, set[str]](set)
    for ds in filled.data_sets.values():
        entities["PATIENT"].add(ds.get("PatientID") or "")
        if not ds.get("StudyInstanceUID"):
            continue
        entities["STUDY"].add(ds.StudyInstanceUID)
        entities[ds.StudyInstanceUID].add(ds.SeriesInstanceUID)
        entities[ds.SeriesInstanceUID].add(ds.SOPInstanceUID)
    [found] = asker.find(PATIENT_ROOT, keys("PATIENT", PatientID=""))
    assert {match.get("PatientID") or "" for match in found} == entities["PATIENT"]
    [found] = asker.find(STUDY_ROOT, keys("STUDY", StudyInstanceUID=""))
    studies = entities["STUDY"]
    assert {match.StudyInstanceUID for match in found} - {""} == studies
    queries = [keys("SERIES", StudyInstanceUID=uid, SeriesInstanceUID="") for uid in sorted(studies)[::3]]
    pairs = []
    for query, found in zip(queries, asker.find(STUDY_ROOT, *queries), strict=True):
        assert {match.SeriesInstanceUID for match in found} == entities[query.StudyInstanceUID]
        pairs += [(query.StudyInstanceUID, uid) for uid in sorted(entities[query.StudyInstanceUID])]
    queries = [keys("IMAGE", StudyInstanceUID=a, SeriesInstanceUID=b, SOPInstanceUID="") for a, b in pairs]
    for query, found in zip(queries, asker.find(STUDY_ROOT, *queries), strict=True):
        assert {match.SOPInstanceUID for match in found} == entities[query.SeriesInstanceUID]


def test_what_is_found_says_what_was_stored(filled: Filled) -> None:
    query = keys("STUDY", PatientID="NAMED-*", PatientName="", StudyDate="20260101-", AccessionNumber="",
                 SpecificCharacterSet="ISO_IR 192", StudyInstanceUID="")  # fmt: skip
    [found] = filled.asker.find(STUDY_ROOT, query)
    matches = {match.PatientID: match for match in found}
    assert len(found) == len(matches) == len(filled.patients)
    unreadable = set()
    for patient in filled.patients:
        match = matches[patient.patient_id]
        assert match.StudyInstanceUID == patient.study_instance_uid
        assert (match.StudyDate, match.AccessionNumber) == ("20260102", str(int(patient.patient_id[-2:])))
        if match.PatientName != patient.name:
            unreadable.add(patient.term)
    assert unreadable == UNREADABLE.get(filled.name, set())


def test_names_are_found_in_every_script(filled: Filled) -> None:
    asked, queries = [], []
    for patient in filled.patients:
        for own, character_sets in (("own", patient.character_sets), ("utf-8", ("ISO_IR 192",))):
            if (patient.character_sets, own) == (GB2312, "own"):
                continue
            for how, name in (("name", patient.name), ("pattern", patient.pattern)):
                asked.append((patient, own, how))
                queries.append(keys("STUDY", SpecificCharacterSet=list(character_sets), PatientName=name,
                                    PatientID="", StudyInstanceUID=""))  # fmt: skip
    answers = filled.asker.find(STUDY_ROOT, *queries)
    unfound = {
        (patient.term, own, how) for (patient, own, how), found in zip(asked, answers, strict=True)
        if patient.patient_id not in {match.PatientID for match in found}
    }
    assert unfound == UNFOUND[filled.name]


def test_what_is_got_is_what_was_stored(filled: Filled) -> None:
    assert len(filled.got) >= 160
    for instance in filled.in_studies:
        syntax, data_set = filled.got[instance.sop_instance_uid]
        assert syntax == instance.transfer_syntax_uid, instance.name
        assert same(instance, data_set), instance.name


def test_it_holds_what_was_stored(filled: Filled) -> None:
    """dcmqrscp keeps every byte. The others encode data sets anew, Orthanc once more for those that it sends."""
    archive = filled.asker.archive
    kept = in_rest_api(archive.http) if archive.http else in_directory(archive.directory)
    for instance in filled.in_studies:
        syntax, data_set = kept[instance.sop_instance_uid]
        assert syntax == instance.transfer_syntax_uid, instance.name
        assert same(instance, data_set), instance.name
        if filled.name == "dcmqrscp":
            assert data_set == padded(instance), instance.name
        if filled.name == "qrscp":
            assert data_set == filled.got[instance.sop_instance_uid][1], instance.name


def test_what_is_moved_arrives_alike_at_our_node_and_at_another(
    filled: Filled, node: tuple[Path, int], witness: tuple[Path, int]
) -> None:
    queries = filled.studies_of(filled.in_studies)
    results = filled.asker.move(NODE, *queries)
    failed = {uid for result in results for uid in result.failed_sop_instance_uids}
    arrived = in_directory(node[0] / filled.asker.archive.ae_title)
    assert arrived.keys() == {each.sop_instance_uid for each in filled.in_studies} - failed
    assert sum(result.response.number_of_completed_suboperations or 0 for result in results) == len(arrived)
    for instance in filled.in_studies:
        uid = instance.sop_instance_uid
        if filled.asker.archive.knows_contexts:
            assert arrived[uid] == filled.got[uid], instance.name
        else:
            assert (uid in failed) <= (instance.transfer_syntax_uid not in NATIVE), instance.name
    for path in witness[0].iterdir():
        path.unlink()
    filled.asker.move(WITNESS, *queries[:5])  # where lists are known there is one, and it is about everything
    moved = in_directory(witness[0])
    assert len(moved) >= 5
    assert moved == {uid: arrived[uid] for uid in moved}


def test_the_command_line_does_the_same(filled: Filled, node: tuple[Path, int], pki: Path, tmp_path: Path) -> None:
    archive, patient = filled.asker.archive, filled.patients[0]

    def run(command: str, *words: object) -> Any:
        ended = call(command, pki, archive.port, *words, "--ae", archive.ae_title, "--json")
        assert ended.returncode == 0, ended.stderr
        return json.loads(ended.stdout)

    study = f"StudyInstanceUID={patient.study_instance_uid}"
    assert run("echo")["status"] == "0000H"
    assert run("store", patient.instance.path)["stored"] == 1
    [match] = run("find", "PatientName=Buc^Jér*", "PatientID=NAMED*", "StudyInstanceUID")
    assert match["0020000D"]["Value"] == [patient.study_instance_uid]
    run("get", study, "--to", tmp_path)
    assert in_directory(tmp_path).keys() == {patient.instance.sop_instance_uid}
    arrived = node[0] / archive.ae_title / f"{patient.instance.sop_instance_uid}.dcm"
    arrived.unlink(missing_ok=True)
    run("move", study, "--destination", NODE)
    stored = pydicom.dcmread(patient.instance.path)
    assert pydicom.dcmread(arrived) == pydicom.dcmread(tmp_path / arrived.name) == stored


def test_storescp_keeps_every_byte_of_what_we_send(
    loop: Loop, files: tuple[list[Instance], list[Patient]], tmp_path: Path, pki: Path
) -> None:
    """DCMTK's storescp speaks TLS itself, and does not look at what it keeps; but palettes it does not know."""
    images = [each for each in files[0] if each.name not in PALETTES]
    with storescp(tmp_path, pki, "--accept-all") as port:
        asker = Asker(loop, pki, Archive(WITNESS, port, tmp_path))
        assert asker.wait(store(asker, images)) == {}
    assert in_directory(tmp_path) == sent(images)


def same(instance: Instance, data_set: bytes) -> bool:
    """Whether a data set is that of the instance, as it was or encoded anew: see `_bare`."""
    outgoing = Outgoing(instance.sop_class_uid, instance.sop_instance_uid, instance.transfer_syntax_uid, b"")
    return data_set == instance.data_set or (
        _bare(part10(outgoing, data_set)) == _bare(part10(outgoing, instance.data_set))
    )


def _bare(ds: Dataset) -> Dataset:
    """Without group lengths and padding; encapsulated pixel data have VR OB, as they must (PS3.5 A.4)."""
    for element in ds:
        if element.tag.element == 0 or element.tag == 0xFFFCFFFC:
            del ds[element.tag]
        elif element.VR == "SQ":
            for item in element.value:
                _bare(item)
        elif element.keyword == "PixelData":
            element.VR = "OB"
    return ds
