"""Our node as an archive, asked by the programs of others over mutual TLS: what they find and get is what was stored.

findscu, storescu and Orthanc speak TLS themselves, getscu and movescu do not: for them `tunnel.py` does.
"""

from __future__ import annotations

import json
import re
from collections import defaultdict
from pathlib import Path
from signal import SIGHUP
from typing import Any
from urllib.request import Request, urlopen

import pytest
from pydicom import Dataset
from pynetdicom import AE, build_role, evt

from dimsetls.association import as_scp, propose
from dimsetls.association.requests import StoreRequest
from dimsetls.uids import (
    DEFLATED_EXPLICIT_VR_LITTLE_ENDIAN,
    EXPLICIT_VR_BIG_ENDIAN,
    EXPLICIT_VR_LITTLE_ENDIAN,
    IMPLICIT_VR_LITTLE_ENDIAN,
)

from .archives import WITNESS, Destinations, in_rest_api, orthanc
from .asking import FIND, GET, MOVE, STUDY_ROOT, keys
from .instances import Kept, in_directory, padded, sent
from .ours import MODEST, READER, Ours
from .patients import GB2312
from .scu import associated

pytestmark = pytest.mark.peers

UNCOMPRESSED = IMPLICIT_VR_LITTLE_ENDIAN, EXPLICIT_VR_LITTLE_ENDIAN, EXPLICIT_VR_BIG_ENDIAN
SYNTAXES = {
    "+xe": EXPLICIT_VR_LITTLE_ENDIAN, "+xd": DEFLATED_EXPLICIT_VR_LITTLE_ENDIAN, "+xy": "1.2.840.10008.1.2.4.50",
    "+xx": "1.2.840.10008.1.2.4.51", "+xs": "1.2.840.10008.1.2.4.70", "+xt": "1.2.840.10008.1.2.4.80",
    "+xv": "1.2.840.10008.1.2.4.90", "+xw": "1.2.840.10008.1.2.4.91", "+xr": "1.2.840.10008.1.2.5",
}  # fmt: skip
"""Options of getscu to the transfer syntax that they ask for first."""
FAILED = "a sub-operation failed: "


# DCMTK


def test_findscu_finds_each_level(ours: Ours, tmp_path: Path) -> None:
    entities = defaultdict[str, set[str]](set)
    for each in ours.in_studies:
        ds = ours.data_sets[each.sop_instance_uid]
        entities["PATIENT"].add(ds.get("PatientID") or "")
        entities["STUDY"].add(ds.StudyInstanceUID)
        entities[ds.StudyInstanceUID].add(ds.SeriesInstanceUID)
        entities[ds.SeriesInstanceUID].add(ds.SOPInstanceUID)
    most_series = max(sorted(entities["STUDY"]), key=lambda study: len(entities[study]))
    study, most_images = max(
        ((study, series) for study in sorted(entities["STUDY"]) for series in sorted(entities[study])),
        key=lambda pair: len(entities[pair[1]]),
    )
    assert min(len(entities[most_series]), len(entities[most_images])) >= 3
    [patients] = ours.find(tmp_path, "-P", keys("PATIENT", PatientID=""))
    assert {match.get("PatientID") or "" for match in patients} == entities["PATIENT"]
    studies, series, images = ours.find(
        tmp_path, "-S", keys("STUDY", StudyInstanceUID=""),
        keys("SERIES", StudyInstanceUID=most_series, SeriesInstanceUID=""),
        keys("IMAGE", StudyInstanceUID=study, SeriesInstanceUID=most_images, SOPInstanceUID=""),
    )  # fmt: skip
    assert {match.StudyInstanceUID for match in studies} == entities["STUDY"]
    assert {match.SeriesInstanceUID for match in series} == entities[most_series]
    assert {match.SOPInstanceUID for match in images} == entities[most_images]


def test_findscu_finds_names_in_every_script(ours: Ours, tmp_path: Path) -> None:
    asked = []
    for patient in ours.patients:
        for character_sets in {patient.character_sets, ("ISO_IR 192",)} - {GB2312}:
            asked += [(patient, named(character_sets, name)) for name in (patient.name, patient.pattern)]
    answers = ours.find(tmp_path, "-S", *(query for _, query in asked))
    for (patient, query), found in zip(asked, answers, strict=True):
        matches = {match.PatientID: match for match in found}
        match = matches[patient.patient_id]
        assert (match.StudyInstanceUID, match.PatientName) == (patient.study_instance_uid, patient.name)
        others = [each for each in ours.patients if each is not patient]
        if query.PatientName == patient.name and not any(each.name == patient.name for each in others):
            assert matches.keys() <= {patient.patient_id, ""}  # who has no name matches every one (PS3.4 C.2.2.1.2)


def named(character_sets: tuple[str, ...], name: str) -> Dataset:
    return keys("STUDY", SpecificCharacterSet=list(character_sets), PatientName=name, PatientID="NAMED*",
                StudyInstanceUID="")  # fmt: skip


def test_movescu_moves_every_file(ours: Ours) -> None:
    ours.empty()
    uids = "\\".join(ours.studies(ours.in_studies))
    ended = ours.run("movescu", "-S", "-aem", WITNESS, "-k", "QueryRetrieveLevel=STUDY", "-k",
                     f"StudyInstanceUID={uids}")  # fmt: skip
    assert ended.returncode == 0, ended.stdout
    assert in_directory(ours.witness) == sent(ours.in_studies)


def test_movescu_is_told_what_a_destination_does_not_take(ours: Ours) -> None:
    """storescp takes what is not compressed; what is stored in another transfer syntax needs a decoder, or fails."""
    uids = "\\".join(ours.studies(ours.in_studies))
    ours.empty()
    before = len(ours.service.lines(FAILED))
    ended = ours.run("movescu", "-S", "-v", "-aem", MODEST, "-k", "QueryRetrieveLevel=STUDY", "-k",
                     f"StudyInstanceUID={uids}")  # fmt: skip
    assert "SubOperationsCompleteOneOrMoreFailures" in ended.stdout
    arrived = in_directory(ours.modest)
    failed = [each for each in ours.in_studies if each.sop_instance_uid not in arrived]
    assert failed
    assert len(ours.service.expect(FAILED, before + len(failed))) == before + len(failed)
    for each in ours.in_studies:
        syntax, data_set = arrived.get(each.sop_instance_uid, ("", b""))
        if each.transfer_syntax_uid in UNCOMPRESSED:
            assert (syntax, data_set) == (each.transfer_syntax_uid, padded(each)), each.name
        else:
            assert each in failed or syntax in UNCOMPRESSED, each.name


@pytest.mark.parametrize(("option", "syntax"), SYNTAXES.items())
def test_getscu_gets_what_was_stored(ours: Ours, tmp_path: Path, option: str, syntax: str) -> None:
    """What is stored in another transfer syntax than getscu asks for is converted, where we can, or fails.

    getscu 3.6.7 does not read which sub-operations failed, and stumbles over that when it releases the association.
    """
    wanted = [each for each in ours.in_studies if each.transfer_syntax_uid == syntax]
    studies = ours.studies(wanted)
    uids = "\\".join(studies)
    ended = ours.run("getscu", "-S", "-v", "+B", option, "-od", tmp_path, "-k", "QueryRetrieveLevel=STUDY", "-k",
                     f"StudyInstanceUID={uids}", called=READER)  # fmt: skip
    got = in_directory(tmp_path)
    assert wanted
    for each in wanted:
        assert got[each.sop_instance_uid] == (syntax, padded(each)), each.name
    completed, failed = (int(re.findall(rf"{what} Suboperations +: (\d+)", ended.stdout)[-1])
                         for what in ("Completed", "Failed"))  # fmt: skip
    assert completed == len(got)
    assert completed + failed == len([each for each in ours.in_studies if ours.study(each) in studies])


def test_who_does_not_keep_takes_no_storage(ours: Ours) -> None:
    """The same storage classes that READER accepts from getscu it does not accept from storescu."""
    ended = ours.run("storescu", ours.files[-1].path, called=READER)
    assert ended.returncode != 0
    assert "No Acceptable Presentation Contexts" in ended.stdout


# pynetdicom


def test_pynetdicom_gets_and_moves_every_file(ours: Ours) -> None:
    got: Kept = {}

    def keep(event: evt.Event) -> int:
        got[event.request.AffectedSOPInstanceUID] = event.context.transfer_syntax, event.request.DataSet.getvalue()
        return 0

    ae = AE("PYNETDICOM")
    for model in (STUDY_ROOT[GET], STUDY_ROOT[MOVE]):
        ae.add_requested_context(model)
    pairs = sorted({(each.sop_class_uid, each.transfer_syntax_uid) for each in ours.in_studies})
    for sop_class, syntax in pairs:
        ae.add_requested_context(sop_class, syntax)
    query = keys("STUDY", StudyInstanceUID=ours.studies(ours.in_studies))
    roles = [build_role(sop_class, scp_role=True) for sop_class in sorted({sop_class for sop_class, _ in pairs})]
    ours.empty()
    with associated(ae, ours.service, ours.pki, ext_neg=roles, evt_handlers=[(evt.EVT_C_STORE, keep)]) as association:
        for send in (
            lambda: association.send_c_get(query, STUDY_ROOT[GET]),
            lambda: association.send_c_move(query, WITNESS, STUDY_ROOT[MOVE]),
        ):
            *_, (final, _) = send()
            numbers = final.NumberOfCompletedSuboperations, final.NumberOfFailedSuboperations
            assert (final.Status, *numbers) == (0, len(ours.in_studies), 0)
    assert got == in_directory(ours.witness) == sent(ours.in_studies)


# Orthanc


def test_orthanc_finds_and_retrieves_what_was_stored(ours: Ours, tmp_path: Path) -> None:
    to = Destinations(ours.service.port(), ours.service.port())
    with orthanc(tmp_path, ours.pki, to, ours.orthanc_port) as archive:
        assert rest(archive.http, "modalities/node/echo", {}) == {}
        for patient in ours.patients:
            query = {"Level": "Study", "Query": {"PatientName": patient.pattern, "PatientID": "NAMED*"}}
            identifier = rest(archive.http, "modalities/node/query", query)["ID"]
            answers = rest(archive.http, f"queries/{identifier}/answers?expand&simplify")
            assert patient.name in {answer["PatientName"] for answer in answers if answer["PatientID"]}
        everybody = {"Level": "Study", "Query": {"PatientID": "NAMED*"}}
        identifier = rest(archive.http, "modalities/node/query", everybody)["ID"]
        rest(archive.http, f"queries/{identifier}/retrieve", {"TargetAet": archive.ae_title})
        assert in_rest_api(archive.http).items() >= sent(each.instance for each in ours.patients).items()


def rest(port: int, path: str, body: Any = None) -> Any:
    data = None if body is None else json.dumps(body).encode()
    with urlopen(Request(f"http://127.0.0.1:{port}/{path}", data)) as answer:
        return json.load(answer)


# Reload


def test_a_reload_leaves_a_retrieval_alone(ours: Ours) -> None:
    wanted, arrived = ours.in_studies, 0
    pairs = sorted({(each.sop_class_uid, each.transfer_syntax_uid) for each in wanted})
    contexts = [propose(STUDY_ROOT[GET]), propose(STUDY_ROOT[FIND]), *(propose(*pair) for pair in pairs)]
    query = keys("STUDY", StudyInstanceUID=ours.studies(wanted))

    async def keep(request: StoreRequest) -> int:
        nonlocal arrived
        await request.data.read()
        arrived += 1
        if arrived == 10:
            ours.service.process.send_signal(SIGHUP)
            ours.service.expect("reloaded ")
        return 0

    async def retrieve() -> tuple[int, int]:
        roles = as_scp(*sorted({sop_class for sop_class, _ in pairs}))
        async with (
            ours.asker.association(contexts=contexts, role_selections=roles) as opened,
            opened.find(STUDY_ROOT[FIND], keys("STUDY", StudyInstanceUID="")) as matches,
        ):
            found = [await anext(matches)]  # the others wait
            result = await opened.get(STUDY_ROOT[GET], query, store=keep)
            found += [match async for match in matches]
        return result.response.number_of_completed_suboperations or 0, len(found)

    assert ours.asker.wait(retrieve()) == (len(wanted), len(ours.studies(wanted)))
    assert arrived == len(wanted)
    [found] = ours.asker.find(STUDY_ROOT, keys("STUDY", StudyInstanceUID=""))
    assert len(found) == len(ours.studies(wanted))
