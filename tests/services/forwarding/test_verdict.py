from __future__ import annotations

import pytest

from dimsetls.errors import AssociationAborted, InstanceError, OperationFailed, ProviderAborted
from dimsetls.services.forwarding.verdict import Verdict, judge


@pytest.mark.parametrize(("status", "verdict"), [
    (0x0111, Verdict.DEAD), (0x0117, Verdict.DEAD), (0x0118, Verdict.DEAD), (0x0119, Verdict.DEAD),
    (0x0122, Verdict.DEAD), (0x0211, Verdict.DEAD), (0x0212, Verdict.DEAD),
    (0xA900, Verdict.DEAD), (0xA9FF, Verdict.DEAD),
    (0xA700, Verdict.BUSY), (0xA7FF, Verdict.BUSY), (0x0213, Verdict.BUSY),
    (0x0110, Verdict.REFUSED), (0x0124, Verdict.REFUSED), (0xC000, Verdict.REFUSED), (0xCFFF, Verdict.REFUSED),
    (0xFE00, Verdict.REFUSED), (0x1234, Verdict.REFUSED),
])  # fmt: skip
def test_failures_are_judged_by_whether_they_may_pass(status, verdict):
    assert judge(OperationFailed("failed", status, "", None)) is verdict


@pytest.mark.parametrize(("error", "verdict"), [
    (None, Verdict.SENT),
    (InstanceError("no context"), Verdict.DEAD),
    (FileNotFoundError(2, "gone"), Verdict.DEAD),
    (OSError(5, "Input/output error"), Verdict.LATER),
    (AssociationAborted("aborted"), Verdict.LATER),
    (ProviderAborted(0x102, "cut"), Verdict.LATER),
])
def test_what_says_nothing_of_the_instance_is_tried_again(error, verdict):
    assert judge(error) is verdict
