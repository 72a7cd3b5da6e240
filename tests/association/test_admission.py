"""The order of the checks: what a stranger learns first is what it should learn least from."""

from __future__ import annotations

import pytest

from dimsetls.association.admission import REJECT, ApplicationEntity, Caller, Refusal, Rejection, is_ae_title, judge
from dimsetls.codes import REJECT_REASONS
from dimsetls.ul.pdus import AssociateRQ

from .stage import Services, request

OURS = ApplicationEntity("DIMSETLS", Services(), lambda caller: Refusal("nobody") if caller.address == "bad" else None)


def what(request: AssociateRQ, address: str = "good") -> str:
    """The kind of rejection, or nothing."""
    verdict = judge(request, Caller(request.calling_ae_title, address, None), {"DIMSETLS": OURS})
    return verdict.what if isinstance(verdict, Rejection) else ""


def test_a_good_request_gets_the_ae_that_it_calls():
    others = ApplicationEntity("OTHER", Services())
    entities = {"DIMSETLS": OURS, "OTHER": others}
    for entity in entities.values():
        asked = request(called=entity.ae_title)
        assert judge(asked, Caller(asked.calling_ae_title, "good", None), entities) is entity


def test_each_thing_that_is_wrong_is_reported_before_the_next():
    wrong = {"application_context": "1.2.3", "called": "NOBODY", "calling": "BAD\\", "maximum_length": 7}
    found = []
    for name in list(wrong):
        found.append(what(request(**wrong), "bad"))
        del wrong[name]
    found.insert(3, what(request(maximum_length=7), "bad"))
    assert found == [
        "application context", "called AE title", "calling AE title", "calling AE title", "calling AE title",
    ]  # fmt: skip
    assert what(request(maximum_length=7)) == "no reason"
    assert what(request()) == ""


def test_what_is_not_admitted_is_said_in_the_words_of_who_does_not_admit_it():
    rejection = judge(request(), Caller("PEER", "bad", None), {"DIMSETLS": OURS})
    assert rejection == Rejection("calling AE title", "nobody", False)


@pytest.mark.parametrize("what", REJECT)
def test_every_rejection_is_a_row_of_the_standards_table_that_means_the_same(what):
    _, source, reason = REJECT[what]
    words = {"no reason": "no reason given"}.get(what, what.replace("AE title", "AE title"))
    assert words.split(" name")[0] in REJECT_REASONS[source, reason]


@pytest.mark.parametrize(("title", "verdict"), [
    ("A", True), ("SIXTEEN LETTERS!", True), ("a b", True), ("", False), ("SEVENTEEN LETTERS", False),
    ("A\\B", False), ("A\tB", False), ("\x7f", False), ("É", False),
])  # fmt: skip
def test_what_an_ae_title_is(title, verdict):
    assert is_ae_title(title) is verdict
