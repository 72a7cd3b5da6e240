from __future__ import annotations

from pathlib import PurePosixPath

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dimsetls.errors import ConfigurationError
from dimsetls.services.elements import SERIES_INSTANCE_UID, STUDY_INSTANCE_UID
from dimsetls.services.layout import BY_SERIES, FLAT, Layout

VALUES = {
    "StudyInstanceUID": "1.2.3",
    "SeriesInstanceUID": "1.2.3.4",
    "SOPInstanceUID": "1.2.3.4.5",
    "SOPClassUID": "1.2.840.10008.5.1.4.1.1.2",
    "CallingAETitle": "STORE_SCU-1",
    "CalledAETitle": "DIMSE TLS",
}


@pytest.mark.parametrize(("template", "needs", "path"), [
    (BY_SERIES, {STUDY_INSTANCE_UID, SERIES_INSTANCE_UID}, "1.2.3/1.2.3.4/1.2.3.4.5.dcm"),
    (FLAT, set(), "1.2.3.4.5.dcm"),
    ("{StudyInstanceUID}/{SOPInstanceUID}", {STUDY_INSTANCE_UID}, "1.2.3/1.2.3.4.5"),
    ("{CallingAETitle}/to-{CalledAETitle}/{SOPClassUID}/{SOPInstanceUID}", set(),
     "STORE_SCU-1/to-DIMSE%20TLS/1.2.840.10008.5.1.4.1.1.2/1.2.3.4.5"),
    ("bilder é/{CallingAETitle}-{SOPInstanceUID}", set(), "bilder é/STORE_SCU-1-1.2.3.4.5"),
    ("{SOPInstanceUID}/image.dcm", set(), "1.2.3.4.5/image.dcm"),
])
def test_a_template_is_filled_in(template, needs, path):
    layout = Layout(template)
    assert layout.needs == needs
    assert layout.path(VALUES) == path


def test_the_default_is_by_series():
    assert Layout().template == BY_SERIES


def test_layouts_of_one_template_are_one():
    assert Layout(FLAT) == Layout(FLAT) != Layout()
    assert len({Layout(FLAT), Layout(FLAT), Layout()}) == 2
    assert Layout(FLAT) != FLAT


@pytest.mark.parametrize("value", ["", ".", "..", "../../etc", "/etc", "1.2/3", "01.2", "1..2", "1." * 40, "1.2\n"])
def test_what_is_no_uid_becomes_unknown(value):
    assert Layout().path(VALUES | {"StudyInstanceUID": value}) == "unknown/1.2.3.4/1.2.3.4.5.dcm"


def test_what_is_missing_becomes_unknown():
    assert Layout().path({"SOPInstanceUID": "1.2"}) == "unknown/unknown/1.2.dcm"


@pytest.mark.parametrize(("title", "component"), [
    ("", "unknown"), ("   ", "unknown"), (".", "%2E"), ("..", "%2E%2E"), ("a/b", "a%2Fb"), ("A%2F", "A%252F"),
    (" PADDED ", "PADDED"), ("Ä\0", "%3F%00"), ("\udcff", "%3F"),
])
def test_an_ae_title_is_encoded(title, component):
    layout = Layout("{CallingAETitle}/{SOPInstanceUID}")
    assert layout.path(VALUES | {"CallingAETitle": title}) == f"{component}/1.2.3.4.5"


@given(st.dictionaries(st.sampled_from(sorted(VALUES)), st.text("./%\\{}0189aA \0é\udcff-")))
def test_no_value_leaves_the_store(values):
    path = PurePosixPath(Layout("{CallingAETitle}/{CalledAETitle}/{SOPClassUID}/" + BY_SERIES).path(values))
    assert len(path.parts) == 6
    assert not path.is_absolute()
    assert not any(part.startswith(".") or "/" in part or "\0" in part for part in path.parts)


@pytest.mark.parametrize(("template", "problem"), [
    ("{StudyUID}/{SOPInstanceUID}", "got {StudyUID}; the nearest is {StudyInstanceUID}"),
    ("{callingaetitle}/{SOPInstanceUID}", "got {callingaetitle}; the nearest is {CallingAETitle}"),
    ("{}/{SOPInstanceUID}", "got {}; the nearest is {"),
    ("{SOPInstanceUID!r}", "got {SOPInstanceUID!r}; the nearest is {SOPInstanceUID}"),
    ("{SOPInstanceUID:>90}", "got {SOPInstanceUID:>90}; the nearest is {SOPInstanceUID}"),
    ("{StudyInstanceUID}.dcm", "expected {SOPInstanceUID} in it"),
    ("", "expected {SOPInstanceUID} in it"),
    ("/{SOPInstanceUID}", "expected a path relative to the store, got an absolute one"),
    ("a//{SOPInstanceUID}", "expected a name between slashes, got none"),
    ("{SOPInstanceUID}/", "expected a name between slashes, got none"),
    ("../{SOPInstanceUID}", "expected names that do not begin with a dot, got '..'"),
    ("./{SOPInstanceUID}", "expected names that do not begin with a dot, got '.'"),
    (".{SOPInstanceUID}", "expected names that do not begin with a dot, got '.{SOPInstanceUID}'"),
    ("a\0/{SOPInstanceUID}", "got a control character"),
    ("{SOPInstanceUID}}", "expected every { and } to enclose a placeholder"),
    ("{{SOPInstanceUID}}", "expected every { and } to enclose a placeholder"),
    ("{SOPInstanceUID}-{StudyInstanceUID}-{SeriesInstanceUID}-{SOPClassUID}", "expected names of at most 255 bytes"),
    ("{StudyInstanceUID}{SOPInstanceUID}", "expected {SOPInstanceUID} to be set apart from another placeholder"),
    ("{SOPInstanceUID}.1.{StudyInstanceUID}", "expected {SOPInstanceUID} to be set apart from another placeholder"),
])
def test_a_wrong_template_is_refused_in_one_sentence(template, problem):
    with pytest.raises(ConfigurationError) as caught:
        Layout(template)
    assert any(problem in sentence for sentence in caught.value.problems)
    assert all(sentence.startswith(f"layout {template!r}: expected ") for sentence in caught.value.problems)
    assert not any("\n" in sentence for sentence in caught.value.problems)


def test_every_problem_is_reported_at_once():
    with pytest.raises(ConfigurationError) as caught:
        Layout("/{Study}//.x")
    assert len(caught.value.problems) == 5
