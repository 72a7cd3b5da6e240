"""Query/Retrieve over associations in memory, on a real store with its index."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from pydicom import Dataset
from twisted.internet.defer import Deferred, execute
from twisted.internet.task import Clock

from dimsetls.association.datasets import encode
from dimsetls.association.instances import Instance
from dimsetls.association.requestor import as_scp, associate, association, propose
from dimsetls.dimse.messages import CFindRQ
from dimsetls.dimse.status import Status
from dimsetls.errors import InstanceError
from dimsetls.identity.activities import Activity
from dimsetls.identity.authorization import Authorization, Rule
from dimsetls.identity.sight import View
from dimsetls.services import query_retrieve
from dimsetls.services.archive import Archive
from dimsetls.services.filesystem import FileStore
from dimsetls.services.models import MODELS, PATIENT_ROOT, PATIENT_STUDY_ONLY, STUDY_ROOT
from dimsetls.services.provider import Services
from dimsetls.services.query_retrieve import QueryRetrieve
from dimsetls.services.storage import Storage
from dimsetls.uids import EXPLICIT_VR_LITTLE_ENDIAN, IMPLICIT_VR_LITTLE_ENDIAN
from dimsetls.ul.pdus import ExtendedNegotiation

from ..association.pair import Pair, all_of
from ..association.stage import CT, MR, Stage, command, context, data_set, responses
from .archives import an_archive, body, identifier, keep

FIND, MOVE, GET = STUDY_ROOT.find, STUDY_ROOT.move, STUDY_ROOT.get


class InThisThread(Archive):
    """Does its work where it is asked, for these associations have no reactor."""

    def run(self, call: Any) -> Deferred[Any]:
        return execute(call)


@pytest.fixture
def store(tmp_path: Path) -> Iterator[FileStore]:
    """Two studies of one patient, with three instances and one; of two names the first counts."""
    store = an_archive(tmp_path / "archive")
    for number in (1, 2, 3):
        keep(store, f"1.1.1.{number}", body("1.1", "Müller^Eva", number))
    keep(store, "1.2.1.1", body("1.2", "Doe^John"))
    yield store
    store.close()


@pytest.fixture
def archive(store: FileStore) -> Archive:
    assert store.index is not None
    return InThisThread(store.index, "DIMSETLS", Clock())


@pytest.fixture
def service(archive: Archive, store: FileStore) -> QueryRetrieve:
    return QueryRetrieve(archive, store.root)


def associated(service: Any, *sop_classes: str, **keywords: Any) -> Pair:
    return Pair(service, contexts=[propose(uid) for uid in (sop_classes or (FIND, MOVE, GET, CT))], **keywords)


def found(pair: Pair, keys: Dataset, sop_class: str = FIND) -> list[Dataset]:
    matches: list[Dataset] = pair.run(all_of(pair.association.find(sop_class, keys)))
    return matches


# C-FIND ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("model", [PATIENT_ROOT, PATIENT_STUDY_ONLY])
def test_patients_are_found(service: QueryRetrieve, model: Any) -> None:
    pair = associated(service, model.find)
    [match] = found(pair, identifier("PATIENT", PatientID="P1", NumberOfPatientRelatedStudies=None), model.find)
    assert (match.NumberOfPatientRelatedStudies, match.RetrieveAETitle) == (2, "DIMSETLS")
    assert pair.is_quiet


def test_studies_are_found_by_name_whatever_its_case_and_accents(service: QueryRetrieve) -> None:
    keys = identifier("STUDY", PatientName="MULLER*", StudyInstanceUID="", SpecificCharacterSet="ISO_IR 192")
    matches = found(associated(service), keys)
    assert [(match.StudyInstanceUID, match.PatientName) for match in matches] == [
        ("1.1", "Müller^Eva"), ("1.2", "Müller^Eva"),
    ]
    keys.PatientName = "MULLER*^A*"
    assert found(associated(service), keys) == []


def test_a_key_that_is_not_supported_is_ff01(service: QueryRetrieve) -> None:
    matches = (pair := associated(service)).association.find(FIND, identifier("STUDY", Modality="CT"))
    assert len(pair.run(all_of(matches))) == 2
    assert matches.response.status == 0
    assert statuses(service, identifier("STUDY", Modality="CT")) == [0xFF01, 0xFF01, 0]
    assert statuses(service, identifier("STUDY", StudyInstanceUID="")) == [0xFF00, 0xFF00, 0]


def statuses(service: QueryRetrieve, keys: Dataset) -> list[int]:
    return [each.status for each in answers(service, keys)]


def answers(service: QueryRetrieve, keys: Dataset) -> list[Any]:
    """What a scripted requestor is answered."""
    peer = Stage(service).associated(context(3, FIND, IMPLICIT_VR_LITTLE_ENDIAN))
    sent = peer.send(command(CFindRQ(1, FIND).command(), 3) + data_set(encode(keys, IMPLICIT_VR_LITTLE_ENDIAN)))
    return responses(pdu for pdu in sent if pdu.values[0].is_command)


@pytest.mark.parametrize(("keys", "element"), [
    (Dataset(), 0x00080052),
    (identifier("PATIENT"), 0x00080052),
    (identifier("SERIES", SeriesInstanceUID=""), 0x0020000D),
    (identifier("STUDY", StudyDate="20240101-2024"), 0x00080020),
])  # fmt: skip
def test_an_identifier_that_breaks_a_rule_is_a900_with_its_element(
    service: QueryRetrieve, keys: Dataset, element: int
) -> None:
    keys.PatientName = ""
    [response] = answers(service, keys)
    assert (response.status, response.offending_element) == (0xA900, (element,))
    assert response.error_comment.startswith("expected")


def test_an_archive_that_fails_is_c000(service: QueryRetrieve, store: FileStore, logged: list[Any]) -> None:
    store.close()
    assert statuses(service, identifier("STUDY", StudyInstanceUID="")) == [0xC000]
    assert [event for event in logged if event.get("log_failure")]


def test_a_cancel_closes_the_search(archive: Archive, store: FileStore) -> None:
    waiting: list[Deferred[Any]] = []

    class Slow(InThisThread):
        def run(self, call: Any) -> Deferred[Any]:
            waiting.append(Deferred())
            return waiting[-1]

    assert store.index is not None
    pair = associated(QueryRetrieve(Slow(store.index, "DIMSETLS", Clock()), store.root))
    matches = pair.association.find(FIND, identifier("STUDY", StudyInstanceUID=""))
    asking = pair.start(all_of(matches))
    pair.run(matches.cancel())
    assert matches.response.status == Status.CANCEL
    assert asking.is_over
    assert len(waiting) == 1
    assert pair.is_quiet


def test_what_was_negotiated_holds(service: QueryRetrieve) -> None:
    relational = identifier("SERIES", SeriesInstanceUID="", StudyInstanceUID="")
    strict = associated(service)
    assert strict.start(all_of(strict.association.find(FIND, relational))).error.status == 0xA900
    pair = associated(service, extended_negotiations=(ExtendedNegotiation(FIND, b"\1"),))
    assert len(found(pair, relational)) == 2


@pytest.mark.parametrize(("uid", "offered", "answered"), [
    (FIND, b"\1\1\1\1", b"\1\1\0\1"), (FIND, b"\0", b"\0"), (FIND, b"\1\1\1\1\1\1", b"\1\1\0\1\0\0"),
    (MOVE, b"\1\1", b"\1\0"), (GET, b"\1\1\1", b"\1\0\0"), (CT, b"\1", None),
])  # fmt: skip
def test_extended_negotiation(service: QueryRetrieve, uid: str, offered: bytes, answered: bytes | None) -> None:
    assert service.extended(ExtendedNegotiation(uid, offered)) == answered


# C-GET and C-MOVE --------------------------------------------------------------------------------------------------


async def kept(request: Any, into: dict[str, bytes]) -> int:
    into[request.sop_instance_uid] = await request.data.read()
    return 0


def test_instances_come_back_bit_for_bit(service: QueryRetrieve) -> None:
    pair = associated(service, role_selections=as_scp(CT))
    stored: dict[str, bytes] = {}
    keys = identifier("STUDY", StudyInstanceUID="1.1")
    retrieved = pair.run(pair.association.get(GET, keys, store=lambda request: kept(request, stored)))
    assert (retrieved.response.status, retrieved.response.number_of_completed_suboperations) == (0, 3)
    assert stored == {f"1.1.1.{number}": body("1.1", "Müller^Eva", number) for number in (1, 2, 3)}
    assert pair.is_quiet


def test_without_the_role_every_sub_operation_fails(service: QueryRetrieve, logged: list[Any]) -> None:
    pair = associated(service)
    error = pair.fails(pair.association.get(GET, identifier("STUDY", StudyInstanceUID="1.1")))
    assert (error.status, error.response.number_of_failed_suboperations) == (0xA702, 3)


def test_a_file_that_is_gone_fails_its_sub_operation_alone(
    service: QueryRetrieve, store: FileStore, logged: list[Any]
) -> None:
    (store.root / "1.1" / "1.1.1.2.dcm").unlink()
    pair = associated(service, role_selections=as_scp(CT))
    stored: dict[str, bytes] = {}
    keys = identifier("STUDY", StudyInstanceUID="1.1")
    retrieved = pair.run(pair.association.get(GET, keys, store=lambda request: kept(request, stored)))
    assert (retrieved.response.status, retrieved.failed_sop_instance_uids) == (0xB000, ("1.1.1.2",))
    assert set(stored) == {"1.1.1.1", "1.1.1.3"}


def test_nothing_that_matches_is_a_success(service: QueryRetrieve) -> None:
    pair = associated(service)
    retrieved = pair.run(pair.association.get(GET, identifier("STUDY", StudyInstanceUID="9.9")))
    assert (retrieved.response.status, retrieved.response.number_of_completed_suboperations) == (0, 0)


def test_a_retrieval_without_its_key_is_a900(service: QueryRetrieve) -> None:
    pair = associated(service)
    error = pair.fails(pair.association.get(GET, identifier("STUDY", PatientID="P1")))
    assert error.status == 0xA900


def test_more_than_can_be_counted_is_a701_and_not_fetched(
    service: QueryRetrieve, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(query_retrieve, "MOST", 2)
    pair = associated(service)
    error = pair.fails(pair.association.get(GET, identifier("STUDY", StudyInstanceUID="1.1")))
    assert (error.status, error.comment) == (0xA701, "3 instances match; 2 can be counted")


def test_a_move_sends_to_the_destination_that_is_known(archive: Archive, store: FileStore) -> None:
    there = Stage()

    def destination(ae_title: str) -> Any:
        def reach(contexts: Any) -> Any:
            return association(there.link, calling_ae_title="DIMSETLS", called_ae_title="DIMSETLS", contexts=contexts,
                               clock=there.link)  # fmt: skip

        return reach if ae_title == "THERE" else None

    pair = associated(QueryRetrieve(archive, store.root, destinations=destination))
    keys = identifier("STUDY", StudyInstanceUID=["1.1", "1.2"])
    moving = pair.start(pair.association.move(MOVE, keys, "THERE"))
    for _ in range(40):
        there.link.pump()
        pair.link.pump()
    assert moving.result.response.number_of_completed_suboperations == 4
    assert there.services.data == [body("1.1", "Müller^Eva", number) for number in (1, 2, 3)] + [body("1.2")]
    assert pair.fails(pair.association.move(MOVE, keys, "NOWHERE")).status == 0xA801


# What is offered, and to whom ---------------------------------------------------------------------------------------


def test_only_what_is_served_is_supported(archive: Archive, store: FileStore) -> None:
    finding = QueryRetrieve(archive, store.root, retrieve=False)
    sending = QueryRetrieve(archive, store.root, query=False)
    assert {uid for uid in (*MODELS, CT) if finding.support(uid, None)} == {model.find for model in MODELS.values()}
    assert {uid for uid in MODELS if sending.support(uid, None)} == {
        uid for model in MODELS.values() for uid in (model.move, model.get)
    }
    received = sending.support(CT, None)
    assert received is not None
    assert (received.requestor_may_be_scu, received.requestor_may_be_scp) == (False, True)
    assert sending.support("1.2.3", None) is None
    assert QueryRetrieve(archive, store.root, accept_unknown=True).support("1.2.3", None) is not None


@pytest.mark.parametrize("turned", [False, True])
def test_with_storage_a_requestor_has_both_roles(service: QueryRetrieve, store: FileStore, turned: bool) -> None:
    services = [Storage(store), service]
    pair = associated(Services(*services[:: -1 if turned else 1]), role_selections=as_scp(CT))
    contexts = {each.abstract_syntax: each for each in pair.association.contexts.values()}
    assert (contexts[CT].requestor_is_scu, contexts[CT].requestor_is_scp) == (True, True)
    stored: dict[str, bytes] = {}
    keys = identifier("STUDY", StudyInstanceUID="1.2")
    pair.run(pair.association.get(GET, keys, store=lambda request: kept(request, stored)))
    assert stored == {"1.2.1.1": body("1.2")}


@pytest.mark.parametrize(("roles", "results"), [((), [1, 0]), (as_scp(MR), [0, 0])])
def test_without_storage_a_storage_class_is_accepted_for_what_c_get_sends_alone(
    service: QueryRetrieve, roles: Any, results: list[int]
) -> None:
    pair = associated(service, MR, GET, role_selections=roles)
    assert [each.result for each in pair.association.answers] == results
    assert isinstance(pair.fails(pair.association.store(a_file(MR))), InstanceError)  # we are SCU in no context of it


def a_file(sop_class: str) -> Any:
    return Instance(sop_class, "1.2.3", EXPLICIT_VR_LITTLE_ENDIAN, b"")


def test_rules_say_who_may_query_and_who_retrieve(service: QueryRetrieve) -> None:
    rules = Authorization([Rule("readers", frozenset({Activity.QUERY}), unidentified=True)])
    stage = Stage(service, authorization=rules)
    opening = associate(stage.link, calling_ae_title="ME", called_ae_title="DIMSETLS",
                        contexts=[propose(FIND), propose(GET)], clock=stage.link)  # fmt: skip
    stage.link.pump()
    assert [each.abstract_syntax for each in opening.result.contexts.values()] == [FIND]


@pytest.mark.parametrize(("sees", "studies", "instances", "sent"), [
    (View(), 2, 3, 4), (View(modalities=frozenset({"CT"})), 2, 3, 4), (View(modalities=frozenset({"MR"})), 0, 0, 0),
    (View(stored_by=frozenset({"STORESCU"})), 2, 3, 4), (View(days=1), 0, 0, 0),
])  # fmt: skip
def test_rules_say_what_is_found_and_sent(
    service: QueryRetrieve, sees: View, studies: int, instances: int, sent: int
) -> None:
    rules = Authorization([
        Rule("see", frozenset({Activity.QUERY, Activity.RETRIEVE}), unidentified=True, sees=sees),
        Rule("see all", frozenset({Activity.QUERY, Activity.RETRIEVE}), users=frozenset({"somebody"})),
    ])
    pair = associated(service, authorization=rules, role_selections=as_scp(CT))
    matches = found(pair, identifier("STUDY", StudyInstanceUID="", NumberOfStudyRelatedInstances=""))
    assert len(matches) == studies
    assert [match.NumberOfStudyRelatedInstances for match in matches[:1]] == [instances][:studies]
    stored: dict[str, bytes] = {}
    keys = identifier("STUDY", StudyInstanceUID=["1.1", "1.2"])
    retrieved = pair.run(pair.association.get(GET, keys, store=lambda request: kept(request, stored)))
    assert (retrieved.response.status, retrieved.response.number_of_completed_suboperations) == (0, sent)
    assert len(stored) == sent
    assert pair.is_quiet


def test_ff01_says_nothing_of_what_is_not_seen(service: QueryRetrieve) -> None:
    rules = Authorization([
        Rule("see", frozenset({Activity.QUERY}), unidentified=True, sees=View(modalities=frozenset({"MR"})))
    ])
    pair = associated(service, FIND, authorization=rules)
    matches = pair.association.find(FIND, identifier("STUDY", Modality="CT"))
    assert pair.run(all_of(matches)) == []
    assert matches.response.status == 0
