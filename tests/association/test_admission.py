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


def test_of_several_things_that_are_wrong_the_first_is_told():
    wrong = {"application_context": "1.2.3", "called": "NOBODY", "calling": "BAD\\", "maximum_length": 7}
    assert what(request(**wrong), "bad") == "application context"
    del wrong["application_context"]
    assert what(request(**wrong), "bad") == "called AE title"
    del wrong["called"]
    assert what(request(**wrong), "bad") == "calling AE title"
    del wrong["calling"]
    assert what(request(**wrong), "bad") == "calling AE title"
    assert what(request(**wrong)) == "no reason"
    assert what(request()) == ""


def test_what_is_not_admitted_is_said_in_the_words_of_who_does_not_admit_it():
    rejection = judge(request(), Caller("PEER", "bad", None), {"DIMSETLS": OURS})
    assert rejection == Rejection("calling AE title", "nobody", False)


def test_every_rejection_is_a_row_of_the_table_in_the_standard():
    meanings = {what: REJECT_REASONS[source, reason] for what, (_, source, reason) in REJECT.items()}
    assert meanings == {
        "no reason": "no reason given",
        "application context": "application context name not supported",
        "calling AE title": "calling AE title not recognized",
        "called AE title": "called AE title not recognized",
        "user identity": "no reason given",
        "temporary congestion": "temporary congestion",
        "local limit exceeded": "local limit exceeded",
    }
    transient = [what for what, (result, *_) in REJECT.items() if result == 2]
    assert transient == ["temporary congestion", "local limit exceeded"]  # the same request may succeed later


@pytest.mark.parametrize(("title", "verdict"), [
    ("A", True), ("SIXTEEN LETTERS!", True), ("a b", True), ("", False), ("SEVENTEEN LETTERS", False),
    ("A\\B", False), ("A\tB", False), ("\x7f", False), ("É", False),
])  # fmt: skip
def test_what_an_ae_title_is(title, verdict):
    assert is_ae_title(title) is verdict
