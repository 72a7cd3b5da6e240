"""What a user may see: at every level, in every count, and in nothing else."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import date
from pathlib import Path

import pytest

from dimsetls.identity.sight import EVERYTHING, View
from dimsetls.services.index import Index
from dimsetls.services.models import PATIENT_ROOT, Level, Negotiated
from dimsetls.services.upkeep import rebuild, verify
from dimsetls.services.visibility import Seen, origin_of

from .archives import CT, an_archive, an_entry, an_index, ask, body, explicit, keep

MR = "1.2.840.10008.5.1.4.1.1.4"
TODAY = date(2024, 3, 1)


def sees(**conditions: object) -> View:
    return View(**{name: value if isinstance(value, int) else frozenset(value) for name, value in conditions.items()})


@pytest.fixture
def index(tmp_path: Path) -> Iterator[Index]:
    """Ann has a study with two CT and one MR of North, and one of CT of South; Bob has one that says little."""
    ann = {"PatientID": "A", "PatientName": "Ann", "IssuerOfPatientID": "REGION"}
    north = ann | {"InstitutionName": "North", "ReferringPhysicianName": "Smith^Jane=鈴木^花子"}
    mr = {"SeriesInstanceUID": "1.1.2", "Modality": "MR", "SOPClassUID": MR}
    south = ann | {"StudyInstanceUID": "1.2", "SeriesInstanceUID": "1.2.1", "InstitutionName": "South",
                   "StudyDate": "20240101", "ReferringPhysicianName": "Jones"}  # fmt: skip
    bob = {"PatientID": "B", "PatientName": "Bob", "StudyInstanceUID": "2.1", "SeriesInstanceUID": "2.1.1",
           "StudyDate": "", "Modality": "", "SOPClassUID": MR}  # fmt: skip
    index = an_index(
        tmp_path,
        an_entry(1, **north, SendingApplicationEntityTitle="CT1"),
        an_entry(2, **north, SendingApplicationEntityTitle="CT2"),
        an_entry(3, **north, **mr), an_entry(4, **south), an_entry(5, **bob),
    )  # fmt: skip
    yield index
    index.close()


def found(index: Index, level: str, *views: View, **keys: object) -> list[str]:
    """The unique keys at a level of all that is found."""
    keyword = {"PATIENT": "PatientID", "STUDY": "StudyInstanceUID", "SERIES": "SeriesInstanceUID",
               "IMAGE": "SOPInstanceUID"}[level]  # fmt: skip
    matches = ask(index, level, PATIENT_ROOT, Negotiated(relational=True), sees=views, **{keyword: "", **keys})
    return [match[keyword].value for match in matches]


ALL = {"PATIENT": ["A", "B"], "STUDY": ["1.1", "1.2", "2.1"], "SERIES": ["1.1.1", "1.1.2", "1.2.1", "2.1.1"],
       "IMAGE": ["1.1.1.1", "1.1.1.2", "1.1.1.3", "1.1.1.4", "1.1.1.5"]}  # fmt: skip


@pytest.mark.parametrize(("views", "studies", "instances"), [
    ([View()], "1.1 1.2 2.1", "12345"),
    ([], "", ""),
    ([sees(modalities=["CT"])], "1.1 1.2", "124"),
    ([sees(modalities=["MR", "XA"])], "1.1", "3"),
    ([sees(modalities=["ct"])], "", ""),
    ([sees(modalities=["C%"])], "", ""),
    ([sees(modalities=[""])], "", ""),
    ([sees(modalities=[])], "", ""),
    ([sees(institutions=["North"])], "1.1", "123"),
    ([sees(institutions=["North", "South"])], "1.1 1.2", "1234"),
    ([sees(patient_id_issuers=["REGION"])], "1.1 1.2", "1234"),
    ([sees(stored_by=["CT2"])], "1.1", "2"),
    ([sees(referring_physicians=["smith^jane"])], "1.1", "123"),
    ([sees(referring_physicians=["鈴木^花子"])], "1.1", "123"),
    ([sees(referring_physicians=["SMITH^JANE=鈴木^花子", "nobody"])], "1.1", "123"),
    ([sees(referring_physicians=["smith"])], "", ""),
    ([sees(referring_physicians=["*"])], "", ""),
    ([sees(referring_physicians=[""])], "", ""),
    ([sees(referring_physicians=["="])], "", ""),
    ([sees(modalities=["CT"], institutions=["North"])], "1.1", "12"),
    ([sees(modalities=["MR"], stored_by=["CT1"])], "", ""),
    ([sees(modalities=["MR"]), sees(institutions=["South"])], "1.1 1.2", "34"),
    ([sees(modalities=["MR"]), View()], "1.1 1.2 2.1", "12345"),
])  # fmt: skip
def test_what_is_seen(index: Index, views: list[View], studies: str, instances: str) -> None:
    assert found(index, "STUDY", *views) == studies.split()
    assert found(index, "IMAGE", *views) == [f"1.1.1.{number}" for number in instances]


@pytest.mark.parametrize(("view", "seen"), [
    (View(), ALL),
    (sees(stored_by=["CT1"]), {"PATIENT": ["A"], "STUDY": ["1.1"], "SERIES": ["1.1.1"], "IMAGE": ["1.1.1.1"]}),
    (sees(institutions=["South"]), {"PATIENT": ["A"], "STUDY": ["1.2"], "SERIES": ["1.2.1"], "IMAGE": ["1.1.1.4"]}),
    (sees(modalities=["US"]), {"PATIENT": [], "STUDY": [], "SERIES": [], "IMAGE": []}),
])  # fmt: skip
def test_at_every_level_as_at_that_of_instances(index: Index, view: View, seen: dict[str, list[str]]) -> None:
    assert {level: found(index, level, view) for level in ALL} == seen


@pytest.mark.parametrize(("days", "today", "studies"), [
    (0, date(2024, 1, 31), {"20240131"}),
    (0, date(2024, 2, 1), set()),
    (29, date(2024, 1, 31), {"20240131"}),
    (30, date(2024, 1, 31), {"20240131", "20240101"}),
    (30, date(2024, 3, 1), {"20240131"}),
    (30, date(2024, 3, 2), set()),
    (0, date(2020, 1, 1), {"20240131", "20240101"}),
    (36500, date(2024, 3, 1), {"20240131", "20240101"}),
])  # fmt: skip
def test_what_is_older_or_has_no_date_is_not_seen(index: Index, days: int, today: date, studies: set[str]) -> None:
    seen = Seen((sees(days=days),), today)
    with index.reading() as tables:
        dates = tables.execute(f"{seen.prefix}SELECT StudyDate FROM origin JOIN seen USING (id)", seen.values)
        assert {text for text, in dates} == studies


@pytest.mark.parametrize(("written", "kept"), [
    ("20240131", "20240131"), ("2024.01.31", "20240131"), ("2024", ""), ("tomorrow", ""), ("99999999", ""), ("", ""),
])
def test_what_is_no_date_is_unknown(written: str, kept: str) -> None:
    assert origin_of({"StudyDate": written})["StudyDate"] == kept


def test_only_what_is_seen_is_counted(index: Index) -> None:
    of_patient = ("NumberOfPatientRelatedStudies", "NumberOfPatientRelatedSeries", "NumberOfPatientRelatedInstances")
    of_study = ("NumberOfStudyRelatedSeries", "NumberOfStudyRelatedInstances", "ModalitiesInStudy", "SOPClassesInStudy")

    def counted(level: str, keywords: tuple[str, ...], *views: View, **keys: str) -> list[list[object]]:
        asked = dict.fromkeys(keywords, "") | keys
        return [[match[keyword].value for keyword in keywords]
                for match in ask(index, level, PATIENT_ROOT, Negotiated(relational=True), sees=views, **asked)]

    assert counted("PATIENT", of_patient, View(), PatientID="A") == [[2, 3, 4]]
    assert counted("PATIENT", of_patient, sees(modalities=["CT"]), PatientID="A") == [[2, 2, 3]]
    assert counted("PATIENT", of_patient, sees(stored_by=["CT1"]), PatientID="A") == [[1, 1, 1]]
    assert counted("STUDY", of_study, View(), StudyInstanceUID="1.1") == [[2, 3, ["CT", "MR"], [CT, MR]]]
    assert counted("STUDY", of_study, sees(modalities=["MR"]), StudyInstanceUID="1.1") == [[1, 1, "MR", MR]]
    assert counted("STUDY", of_study, sees(stored_by=["CT1"]), StudyInstanceUID="1.1") == [[1, 1, "CT", CT]]
    series = "NumberOfSeriesRelatedInstances",
    assert counted("SERIES", series, sees(stored_by=["CT2"]), SeriesInstanceUID="1.1.1") == [[1]]


@pytest.mark.parametrize(("keys", "with_all", "with_mr"), [
    ({"ModalitiesInStudy": "CT"}, ["1.1", "1.2", "2.1"], []),
    ({"ModalitiesInStudy": "MR"}, ["1.1", "2.1"], ["1.1"]),
    ({"SOPClassesInStudy": CT}, ["1.1", "1.2"], []),
    ({"SOPClassesInStudy": CT, "PatientID": "A"}, ["1.1", "1.2"], []),
    ({"NumberOfStudyRelatedInstances": "3"}, ["1.1"], []),
    ({"NumberOfStudyRelatedInstances": "1"}, ["1.2", "2.1"], ["1.1"]),
])  # fmt: skip
def test_nothing_matches_by_what_is_not_seen(
    index: Index, keys: dict[str, str], with_all: list[str], with_mr: list[str]
) -> None:
    assert found(index, "STUDY", View(), **keys) == with_all
    assert found(index, "STUDY", sees(modalities=["MR"]), **keys) == with_mr


def test_an_instance_is_judged_by_itself_and_not_by_the_first_of_its_series(tmp_path: Path) -> None:
    index = an_index(tmp_path, an_entry(1, InstitutionName="North"), an_entry(2, InstitutionName="South"),
                     an_entry(3, InstitutionName=""))  # fmt: skip
    north, south = sees(institutions=["North"]), sees(institutions=["South"])
    [series] = ask(index, "SERIES", StudyInstanceUID="1.1", InstitutionName="")
    assert series.InstitutionName == "North"
    assert found(index, "IMAGE", north) == ["1.1.1.1"]
    assert found(index, "IMAGE", south) == ["1.1.1.2"]
    index.remove("1.1.1.2")
    assert found(index, "STUDY", south) == []
    index.remove("1.1.1.1")
    assert found(index, "STUDY", north) == []
    assert found(index, "STUDY", *EVERYTHING) == ["1.1"]
    index.remove("1.1.1.3")
    with index.reading() as tables:
        assert tables.execute("SELECT count(*) FROM origin").fetchone() == (0,)
    index.close()


def test_one_whose_last_instance_came_anew_is_judged_by_that(index: Index) -> None:
    index.write(lambda tables: tables.put(an_entry(5, PatientID="B", StudyInstanceUID="2.1",
                                                   SeriesInstanceUID="2.1.1", InstitutionName="North")))  # fmt: skip
    assert found(index, "STUDY", sees(institutions=["North"])) == ["1.1", "2.1"]
    assert found(index, "PATIENT", sees(modalities=["CT"])) == ["A", "B"]


def test_who_stored_an_instance_is_known_from_its_file_too(tmp_path: Path) -> None:
    store = an_archive(tmp_path / "store")
    keep(store, "1.1.1.1", body() + explicit(0x7FE0, 0x0010, "OW", b"")[:6])
    mine, others = sees(stored_by=["STORESCU"]), sees(stored_by=["OTHER"])
    assert store.index is not None
    assert (found(store.index, "STUDY", mine), found(store.index, "STUDY", others)) == (["1.1"], [])
    assert [step.problem for step in verify(store.root, store.index) if step.problem] == []
    store.index.write(lambda tables: tables.execute("UPDATE origin SET SendingApplicationEntityTitle = 'OTHER'"))
    [problem] = [step.problem for step in verify(store.root, store.index) if step.problem]
    assert problem.endswith("got other values of SendingApplicationEntityTitle")
    store.close()
    index = Index(store.root / ".index.db")
    assert not [step.problem for step in rebuild(store.root, index) if step.problem]
    index.open()
    assert (found(index, "STUDY", mine), found(index, "STUDY", others)) == (["1.1"], [])
    index.close()


@pytest.mark.parametrize("level", list(Level))
def test_judging_takes_no_longer_where_more_is_hidden(index: Index, level: Level) -> None:
    """Every table is entered by a key: what is hidden is not looked through."""
    seen = Seen((sees(modalities=["US"], days=3),), TODAY)
    table = {Level.IMAGE: "instance"}.get(level, level.value.lower())
    with index.reading() as tables:
        plan = tables.execute(
            f"EXPLAIN QUERY PLAN {seen.prefix}SELECT id FROM {table} WHERE {table}.id = 1 AND {seen.of(level, table)}",
            seen.values,
        ).fetchall()
    steps = [step for *_, step in plan if " json_each " not in step]
    assert steps
    assert all(step.startswith(("SEARCH", "CORRELATED", "LIST", "SCALAR")) for step in steps), steps
