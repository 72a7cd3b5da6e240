from __future__ import annotations

import pytest
from pydicom.dataset import Dataset

from dimsetls.services.index import Index
from dimsetls.services.models import PATIENT_ROOT, STUDY_ROOT, Model, Negotiated, read_query
from dimsetls.services.search import CHUNK, Search

from .archives import an_entry, an_index, ask, identifier

pytestmark = pytest.mark.filterwarnings("ignore:Invalid value for VR CS")  # pydicom of a key with a wild card

@pytest.fixture
def index(tmp_path):
    """Three patients; John has a CT and an MR study, of two and one series."""
    index = an_index(
        tmp_path,
        an_entry(1), an_entry(2), an_entry(3, SeriesInstanceUID="1.1.2", Modality="SR", SeriesNumber="2"),
        an_entry(4, StudyInstanceUID="1.2", SeriesInstanceUID="1.2.1", Modality="MR", StudyDate="20240229",
                 StudyTime="2330", AccessionNumber="A2", StudyDescription="Knee [left]", StudyID="S2",
                 TimezoneOffsetFromUTC="+0000"),
        an_entry(5, PatientID="P2", PatientName="Müller^Jürgen", StudyInstanceUID="2.1", SeriesInstanceUID="2.1.1",
                 StudyDate="", AccessionNumber="B1", ImageType="ORIGINAL\\PRIMARY", StudyTime="", StudyID="S3"),
        an_entry(6, PatientID="P3", PatientName="Yamada^Tarou=山田^太郎=やまだ^たろう", StudyInstanceUID="3.1",
                 SeriesInstanceUID="3.1.1", StudyDate="20230101", StudyTime="090000", AccessionNumber="C1",
                 RequestAttributesSequence='[{"RequestedProcedureID": ["R1"], "ScheduledProcedureStepID": ["S1"]}]'),
    )  # fmt: skip
    yield index
    index.close()


def studies(index: Index, **keys) -> list[str]:
    return [each.StudyInstanceUID for each in ask(index, "STUDY", **{"StudyInstanceUID": "", **keys})]


@pytest.mark.parametrize(("keys", "found"), [
    ({}, ["1.1", "1.2", "2.1", "3.1"]),
    ({"StudyInstanceUID": "1.2"}, ["1.2"]),
    ({"StudyInstanceUID": ["1.2", "3.1", "9"]}, ["1.2", "3.1"]),
    ({"PatientID": "P1"}, ["1.1", "1.2"]),
    ({"PatientID": "p1"}, []),
    ({"PatientID": "P?", "AccessionNumber": "A*"}, ["1.1", "1.2"]),
    ({"PatientName": "DOE*"}, ["1.1", "1.2"]),
    ({"PatientName": "*gen"}, ["2.1"]),
    ({"PatientName": "muller^jurgen"}, ["2.1"]),
    ({"PatientName": "山田*"}, ["3.1"]),
    ({"PatientName": "yamada*=山田*"}, ["3.1"]),
    ({"PatientName": "yamada*=川*"}, []),
    ({"PatientName": "Doe^John\\Yamada*"}, ["1.1", "1.2", "3.1"]),
    ({"ModalitiesInStudy": "SR"}, ["1.1"]),
    ({"ModalitiesInStudy": ["SR", "MR"]}, ["1.1", "1.2"]),
    ({"ModalitiesInStudy": "?R"}, ["1.1", "1.2"]),
    ({"SOPClassesInStudy": "1.2.840.10008.5.1.4.1.1.2"}, ["1.1", "1.2", "2.1", "3.1"]),
    ({"SOPClassesInStudy": "1.2.3"}, []),
    ({"StudyDescription": "*[[]*"}, ["1.1", "2.1", "3.1"]),  # a bracket is a bracket, not the beginning of a set
    ({"StudyDescription": "Knee [*"}, ["1.1", "1.2", "2.1", "3.1"]),
    ({"NumberOfStudyRelatedInstances": "3"}, ["1.1"]),
])
def test_studies(index, keys, found):
    assert studies(index, **keys) == found


@pytest.mark.parametrize(("keys", "strictly", "too"), [
    ({"StudyDate": "20240131"}, ["1.1"], ["2.1"]),
    ({"StudyDate": "20240101-20241231"}, ["1.1", "1.2"], ["2.1"]),
    ({"StudyDate": "-20231231"}, ["3.1"], ["2.1"]),
    ({"StudyTime": "0900-1015"}, ["1.1", "3.1"], ["2.1"]),
    ({"StudyDescription": "Knee [*"}, ["1.2"], ["1.1", "2.1", "3.1"]),
])
def test_what_is_unknown_matches_unless_told_otherwise(index, keys, strictly, too):
    """PS3.4 C.2.2.1.2."""
    assert studies(index, **keys) == sorted(strictly + too)
    known = ask(index, "STUDY", unknown_matches=False, StudyInstanceUID="", **keys)
    assert [each.StudyInstanceUID for each in known] == strictly


def test_an_unknown_unique_key_matches_nothing(tmp_path):
    index = an_index(tmp_path, an_entry(PatientID=""))
    assert ask(index, "PATIENT", PATIENT_ROOT, PatientID="P1") == []
    assert len(ask(index, "STUDY", PatientID="P1")) == 1  # there it is a required key like others
    index.close()


def test_patients_series_and_instances(index):
    patients = ask(index, "PATIENT", PATIENT_ROOT, PatientID="", PatientName="*", NumberOfPatientRelatedStudies="",
                   NumberOfPatientRelatedSeries="", NumberOfPatientRelatedInstances="")  # fmt: skip
    assert [(each.PatientID, each.NumberOfPatientRelatedStudies, each.NumberOfPatientRelatedSeries,
             each.NumberOfPatientRelatedInstances) for each in patients] == [
        ("P1", 2, 3, 4), ("P2", 1, 1, 1), ("P3", 1, 1, 1)]  # fmt: skip
    series = ask(index, "SERIES", StudyInstanceUID="1.1", SeriesInstanceUID="", Modality="",
                 NumberOfSeriesRelatedInstances="")  # fmt: skip
    assert [(each.SeriesInstanceUID, each.Modality, each.NumberOfSeriesRelatedInstances) for each in series] == [
        ("1.1.1", "CT", 2), ("1.1.2", "SR", 1)]  # fmt: skip
    instances = ask(index, "IMAGE", StudyInstanceUID="1.1", SeriesInstanceUID="1.1.1", InstanceNumber="02",
                    AvailableTransferSyntaxUID="")  # fmt: skip
    assert [(each.InstanceNumber, each.AvailableTransferSyntaxUID) for each in instances] == [
        (2, "1.2.840.10008.1.2.1")]  # fmt: skip
    assert ask(index, "SERIES", PATIENT_ROOT, PatientID="P2", StudyInstanceUID="1.1", SeriesInstanceUID="") == []


def test_relational_queries(index):
    found = ask(index, "IMAGE", negotiated=Negotiated(relational=True), PatientName="doe*", SOPInstanceUID="")
    assert [each.SOPInstanceUID for each in found] == [f"1.1.1.{number}" for number in (1, 2, 3, 4)]


def test_multi_valued_attributes(index):
    def ask_for(kind: str) -> list[Dataset]:
        return ask(index, "IMAGE", unknown_matches=False, StudyInstanceUID="2.1", SeriesInstanceUID="2.1.1",
                   ImageType=kind)  # fmt: skip

    assert [list(each.ImageType) for each in ask_for("PRIM*")] == [["ORIGINAL", "PRIMARY"]]
    assert ask_for("DERIVED") == []


def test_sequences(index):
    def ask_for(procedure: str) -> list[Dataset]:
        item = Dataset()
        item.RequestedProcedureID = procedure
        return ask(index, "SERIES", unknown_matches=False, StudyInstanceUID="3.1", RequestAttributesSequence=[item])

    assert ask_for("R2") == []
    (found,) = ask_for("R*")[0].RequestAttributesSequence
    assert found.RequestedProcedureID == "R1"
    assert "ScheduledProcedureStepID" not in found


def test_dates_and_times_combined(index):
    keys = {"StudyDate": "20240131-20240229", "StudyTime": "1600-2359", "StudyInstanceUID": "",
            "unknown_matches": False}  # fmt: skip
    assert [each.StudyInstanceUID for each in ask(index, "STUDY", **keys)] == ["1.2"]
    keys["StudyTime"] = "1000-2200"
    assert [each.StudyInstanceUID for each in ask(index, "STUDY", **keys)] == ["1.1"]
    combined = ask(index, "STUDY", negotiated=Negotiated(combined_date_time=True), **keys)
    assert [each.StudyInstanceUID for each in combined] == ["1.1"]
    keys["StudyTime"] = "1100-2340"
    assert ask(index, "STUDY", negotiated=Negotiated(combined_date_time=True), **keys)[0].StudyInstanceUID == "1.2"


def test_time_zones(index):
    """23:30 in UTC on 29 February is 00:30 of 1 March an hour further east."""
    keys = {"StudyDate": "20240301", "StudyTime": "0030", "StudyInstanceUID": "", "TimezoneOffsetFromUTC": "+0100"}
    agreed = Negotiated(timezone_adjustment=True)
    assert ask(index, "STUDY", unknown_matches=False, **keys) == []
    (found,) = ask(index, "STUDY", unknown_matches=False, negotiated=agreed, **keys)
    assert (found.StudyDate, found.StudyTime, found.TimezoneOffsetFromUTC) == ("20240301", "0030", "+0100")
    keys["StudyTime"] = ""
    (found,) = ask(index, "STUDY", unknown_matches=False, negotiated=agreed, **keys)
    assert found.StudyInstanceUID == "1.2"


def test_what_hangs_nowhere_is_not_found(tmp_path):
    index = an_index(tmp_path, an_entry(StudyInstanceUID=""))
    assert ask(index, "STUDY", StudyInstanceUID="") == []
    assert ask(index, "IMAGE", negotiated=Negotiated(relational=True), SOPInstanceUID="") == []
    assert index.find("1.1.1.1") is not None
    index.close()


def test_what_is_removed_while_a_query_runs_is_left_out(index):
    search = Search(index, read_query(STUDY_ROOT, identifier("STUDY", StudyInstanceUID="")))
    candidates = search.candidates()
    index.remove("1.1.1.4")
    assert [entity["StudyInstanceUID"][0] for _, entity in search.entities(candidates)] == ["1.1", "2.1", "3.1"]


# --- that indexes are used --------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def large(tmp_path_factory):
    """4000 studies of 2000 patients, 20 000 instances."""
    index = an_index(tmp_path_factory.mktemp("large"))

    def fill(tables):
        for number in range(20_000):
            study = number // 5
            patient = study // 2
            tables.put(an_entry(
                number, PatientID=f"P{patient}", PatientName=f"Name{patient}^X", StudyInstanceUID=f"1.{study}",
                SeriesInstanceUID=f"1.{study}.{number % 2}", AccessionNumber=f"A{study}", StudyID=f"S{study}",
                StudyDate=f"20{study % 25:02}{study % 12 + 1:02}{study % 28 + 1:02}",
            ))  # fmt: skip

    index.write(fill)
    assert index.count() == 20_000
    yield index
    index.close()


def plan(index: Index, statement: str, values: list[object]) -> list[str]:
    with index.reading() as tables:
        return [row[3] for row in tables.execute(f"EXPLAIN QUERY PLAN {statement}", values)]


@pytest.mark.parametrize(("model", "level", "keys", "found"), [
    (STUDY_ROOT, "STUDY", {"PatientID": "P77"}, 2),
    (STUDY_ROOT, "STUDY", {"PatientName": "name77^x"}, 2),
    (STUDY_ROOT, "STUDY", {"PatientName": "NAME77*"}, 22),
    (STUDY_ROOT, "STUDY", {"StudyDate": "20070101-20070131"}, 13),
    (STUDY_ROOT, "STUDY", {"StudyDate": "20070808", "ModalitiesInStudy": "CT"}, 2),
    (STUDY_ROOT, "STUDY", {"AccessionNumber": "A77"}, 1),
    (STUDY_ROOT, "STUDY", {"AccessionNumber": "A777*"}, 1),
    (STUDY_ROOT, "STUDY", {"StudyInstanceUID": ["1.1", "1.2", "1.3"]}, 3),
    (PATIENT_ROOT, "PATIENT", {"PatientName": "Name77*"}, 11),
    (PATIENT_ROOT, "STUDY", {"PatientID": "P77"}, 2),
    (STUDY_ROOT, "SERIES", {"StudyInstanceUID": "1.77"}, 2),
    (STUDY_ROOT, "IMAGE", {"StudyInstanceUID": "1.77", "SeriesInstanceUID": "1.77.1"}, 3),
    (STUDY_ROOT, "IMAGE", {"StudyInstanceUID": "1.77", "SeriesInstanceUID": "1.77.1",
                           "SOPInstanceUID": "1.1.1.385"}, 1),
])
def test_indexes_serve_the_usual_queries(large, model: Model, level, keys, found):
    search = Search(large, read_query(model, identifier(level, **keys)))
    steps = plan(large, *search.statement())
    assert [step for step in steps if step.startswith("SCAN") and "json_each" not in step] == []
    candidates = search.candidates()
    assert len(list(search.entities(candidates))) == found
    assert len(candidates) < 30


def test_rows_are_fetched_by_their_number_and_counts_by_index(large):
    keys = {"NumberOfStudyRelatedInstances": "", "ModalitiesInStudy": "", "NumberOfPatientRelatedInstances": ""}
    search = Search(large, read_query(STUDY_ROOT, identifier("STUDY", **keys)))
    candidates = search.candidates()
    assert len(candidates) == 4000
    seen = []
    with large.reading() as tables:
        tables._connection.set_trace_callback(seen.append)
    entities = list(search.entities(candidates[:CHUNK]))
    with large.reading() as tables:
        tables._connection.set_trace_callback(None)
    assert len(entities) == CHUNK
    assert [step for step in plan(large, seen[0], []) if step.startswith("SCAN") and "json_each" not in step
            and "subquery" not in step.lower()] == []  # fmt: skip


def test_pairs_of_instances_and_series_are_found_by_index(large):
    statement = "SELECT 1 FROM instance WHERE SOPInstanceUID = ?"
    assert "USING COVERING INDEX" in plan(large, statement, ["1.2"])[0]
