"""What an identity may see, over the wire: two users of a users file and a caller without, by C-FIND, C-GET and C-MOVE.

The programs are pynetdicom, which presents users, and DCMTK's findscu and movescu, which present none.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pydicom
import pytest
from pynetdicom import AE, build_role, evt
from pynetdicom.pdu_primitives import UserIdentityNegotiation
from pynetdicom.sop_class import (  # type: ignore[attr-defined]  # made when it is imported
    CTImageStorage,
    MRImageStorage,
    PatientRootQueryRetrieveInformationModelFind,
    StudyRootQueryRetrieveInformationModelFind,
    StudyRootQueryRetrieveInformationModelGet,
    StudyRootQueryRetrieveInformationModelMove,
)

from dimsetls.identity.credentials import Secret
from dimsetls.identity.users import Cost, PasscodeHash, User
from dimsetls.uids import EXPLICIT_VR_LITTLE_ENDIAN

from ..secrets import secret
from .instances import named
from .running import Node, Service, free_port
from .sender import client_context
from .test_query_retrieve import command, destination

pytestmark = pytest.mark.peers

PATIENTS, FIND = PatientRootQueryRetrieveInformationModelFind, StudyRootQueryRetrieveInformationModelFind
GET, MOVE = StudyRootQueryRetrieveInformationModelGet, StudyRootQueryRetrieveInformationModelMove
WORD = secret("passcode of the north 7", "a passcode")
NORTH, SOUTH, OLD, NAMELESS = "1.2.9.1.1.1", "1.2.9.1.2.1", "1.2.9.2.1.1", "1.2.9.3.1.1"
"""Instances: CT of North and MR of South in one study; CT of North of long ago, and CT that says nothing of itself."""


@dataclass(frozen=True, slots=True)
class Archived:
    service: Service
    pki: Path
    port: int
    """Where the move destination is to listen."""


def instances(directory: Path) -> Iterator[tuple[Path, str]]:
    """The files, and who sends each."""
    today = pydicom.valuerep.DA.today().strftime("%Y%m%d")  # type: ignore[no-untyped-call]
    for uid, name, sender, values in (
        (NORTH, "CT_small.dcm", "CT-NORTH", {"InstitutionName": "Klinik Nord, Haus 2", "StudyDate": today}),
        (SOUTH, "MR_small.dcm", "MR-SOUTH", {"InstitutionName": "South", "StudyDate": today}),
        (OLD, "CT_small.dcm", "CT-NORTH", {"InstitutionName": "Klinik Nord, Haus 2", "StudyDate": "20010101"}),
        (NAMELESS, "CT_small.dcm", "CT-OTHER", {}),
    ):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            ds = pydicom.dcmread(named(name).path)
            for keyword in ("InstitutionName", "StudyDate", "ReferringPhysicianName"):
                ds.pop(keyword, None)
            for keyword, value in values.items():
                setattr(ds, keyword, value)
            if uid == SOUTH:
                ds.ReferringPhysicianName = "Bert^Dr"
            ds.SOPInstanceUID = ds.file_meta.MediaStorageSOPInstanceUID = uid
            ds.StudyInstanceUID, ds.SeriesInstanceUID = uid[:7], uid[:9]
            ds.PatientID = f"SEEN-{uid[:7]}"
            ds.save_as(directory / f"{uid}.dcm", enforce_file_format=True)
        yield directory / f"{uid}.dcm", sender


def calling(archived: Archived, user: str | None, title: str = "SCU", take: Any = None) -> Any:
    """An association of pynetdicom's, for any of the operations."""
    ae = AE(title)
    for uid in (PATIENTS, FIND, GET, MOVE):
        ae.add_requested_context(uid)
    for uid in (CTImageStorage, MRImageStorage):
        ae.add_requested_context(uid, EXPLICIT_VR_LITTLE_ENDIAN)
    offered: list[Any] = [build_role(uid, scu_role=True, scp_role=True) for uid in (CTImageStorage, MRImageStorage)]
    if user:
        identity = UserIdentityNegotiation()
        identity.user_identity_type = 2
        identity.primary_field, identity.secondary_field = user.encode(), WORD.encode()
        offered.append(identity)
    association = ae.associate(
        "127.0.0.1", archived.service.port(), ae_title="DIMSETLS", tls_args=(client_context(archived.pki), "localhost"),
        ext_neg=offered, evt_handlers=[(evt.EVT_C_STORE, take)] if take else None,
    )  # fmt: skip
    assert association.is_established
    return association


@pytest.fixture(scope="module")
def archived(tmp_path_factory: pytest.TempPathFactory, pki: Path) -> Iterator[Archived]:
    directory = tmp_path_factory.mktemp("sight")
    node, port = Node(directory, pki), free_port()
    users = directory / "users"
    users.touch(0o600)
    made = [User(name, PasscodeHash.make(Secret(WORD.encode()), Cost(ln=10)), groups)
            for name, groups in (("anna", ("north",)), ("bert^dr", ()))]  # fmt: skip
    users.write_text("\n".join(line for user in made for line in user.lines) + "\n")
    node.set("users staff", file="users")
    node.set("identity staff", policy="prefer", passcode="users staff", refusal_time="0s")
    node.set("storage archive", index="yes", fsync="none")
    node.set("ae DIMSETLS", services="verification, storage, query, retrieve", identity="staff",
             rules="sending, north, referring, guests")
    node.set("rule sending", may="store", unidentified="yes")
    node.set("rule north", may="query, retrieve", groups="north", sees_institutions='"Klinik Nord, Haus 2"',
             sees_days=3650)
    node.set("rule referring", may="query, retrieve", sees_referring_physicians="{user}")
    node.set("rule guests", may="query, retrieve", unidentified="yes", sees_stored_by="CT-OTHER")
    node.set("peer here", ae_title="HERE", host="localhost", port=port, tls="secure")
    with node.running() as service:
        archived = Archived(service, pki, port)
        for path, sender in instances(directory):
            association = calling(archived, None, sender)
            assert association.send_c_store(path).Status == 0
            association.release()
        yield archived


def keys(level: str, **values: str) -> pydicom.Dataset:
    made = pydicom.Dataset()
    made.QueryRetrieveLevel = level
    for keyword, value in values.items():
        setattr(made, keyword, value)
    return made


SEEN = {"anna": {NORTH, NAMELESS}, "bert^dr": {SOUTH, NAMELESS}, None: {NAMELESS}}
"""Whoever presents nobody is a guest, and everyone sees what guests see."""


@pytest.mark.parametrize("user", SEEN)
def test_every_operation_at_every_level_regards_what_the_user_sees(
    archived: Archived, tmp_path: Path, user: str | None
) -> None:
    got: list[str] = []

    def take(event: evt.Event) -> int:
        got.append(str(event.request.AffectedSOPInstanceUID))
        return 0

    association = calling(archived, user, take=take)
    studies = sorted({uid[:7] for uid in SEEN[user]})

    def found(model: str, query: pydicom.Dataset) -> list[pydicom.Dataset]:
        *matches, (final, _) = association.send_c_find(query, model)
        assert final.Status == 0
        assert {status.Status for status, _ in matches} <= {0xFF00}
        return [match for _, match in matches]

    matches = found(PATIENTS, keys("PATIENT", PatientID="SEEN*", NumberOfPatientRelatedInstances=""))
    assert sorted(match.PatientID for match in matches) == [f"SEEN-{uid}" for uid in studies]
    assert {match.NumberOfPatientRelatedInstances for match in matches} == {1}
    matches = found(FIND, keys("STUDY", StudyInstanceUID="", NumberOfStudyRelatedInstances="", ModalitiesInStudy=""))
    assert sorted(match.StudyInstanceUID for match in matches) == studies
    assert {match.NumberOfStudyRelatedInstances for match in matches} == {1}
    both = {match.StudyInstanceUID: match.ModalitiesInStudy for match in matches}
    assert both.get("1.2.9.1") == {"anna": "CT", "bert^dr": "MR"}.get(user or "")
    for study in ("1.2.9.1", "1.2.9.2", "1.2.9.3"):
        seen = sorted(uid for uid in SEEN[user] if uid[:7] == study)
        series = found(FIND, keys("SERIES", StudyInstanceUID=study, SeriesInstanceUID=""))
        assert sorted(match.SeriesInstanceUID for match in series) == [uid[:9] for uid in seen]
        for uid in (NORTH, SOUTH, OLD, NAMELESS):
            if uid[:7] == study:
                image = keys("IMAGE", StudyInstanceUID=study, SeriesInstanceUID=uid[:9], SOPInstanceUID="")
                assert [match.SOPInstanceUID for match in found(FIND, image)] == [each for each in seen if each == uid]

    everything = keys("STUDY", StudyInstanceUID="1.2.9.1\\1.2.9.2\\1.2.9.3")
    *_, (final, _) = association.send_c_get(everything, GET)
    assert (final.Status, final.NumberOfCompletedSuboperations) == (0, len(SEEN[user]))
    assert set(got) == SEEN[user]
    with destination(archived.pki, tmp_path / "moved", archived.port, "+xa"):
        *_, (final, _) = association.send_c_move(everything, "HERE", MOVE)
    assert (final.Status, final.NumberOfCompletedSuboperations) == (0, len(SEEN[user]))
    moved = [pydicom.dcmread(path).SOPInstanceUID for path in (tmp_path / "moved").iterdir()]
    assert set(moved) == SEEN[user]
    hidden = keys("STUDY", StudyInstanceUID="1.2.9.2")  # of long ago, which nobody sees
    *_, (final, _) = association.send_c_move(hidden, "HERE", MOVE)
    assert (final.Status, final.NumberOfCompletedSuboperations) == (0, 0)
    association.release()


def test_dcmtk_which_presents_nobody_is_a_guest(archived: Archived, tmp_path: Path) -> None:
    status, said = command("findscu", archived.service, archived.pki, "-S", "-k", "QueryRetrieveLevel=STUDY", "-k",
                           "StudyInstanceUID", "-k", "NumberOfStudyRelatedInstances")
    assert status == 0
    assert [said.count(f"[1.2.9.{number}") for number in (1, 2, 3)] == [0, 0, 1]
    with destination(archived.pki, tmp_path / "moved", archived.port, "+xa"):
        status, said = command("movescu", archived.service, archived.pki, "-S", "-aem", "HERE", "-k",
                               "QueryRetrieveLevel=STUDY", "-k", "StudyInstanceUID=1.2.9.1\\1.2.9.2\\1.2.9.3")
        assert status == 0, said
    assert [pydicom.dcmread(path).SOPInstanceUID for path in (tmp_path / "moved").iterdir()] == [NAMELESS]
