from __future__ import annotations

import pytest

from dimsetls.association.limits import AssociationCount, Limits


def test_what_is_removed_can_be_added_again_and_nothing_is_kept_of_it():
    count, limits = AssociationCount(), Limits(associations=1)
    for number in range(1000):
        assert count.refusal(limits, f"192.0.2.{number}", f"AE{number}") is None
        count.add(f"192.0.2.{number}", f"AE{number}")
        assert count.refusal(limits, "192.0.2.1", "AE") is not None
        count.remove(f"192.0.2.{number}", f"AE{number}")
    assert count.total == 0
    assert not count._addresses
    assert not count._titles


@pytest.mark.parametrize(("limits", "sentence"), [
    (Limits(associations=0), "0 associations exist, the limit is 0"),
    (Limits(per_address=0), "192.0.2.1 has 0 associations, the limit for one is 0"),
    (Limits(per_calling_ae_title=0), "A has 0 associations, the limit for one calling AE title is 0"),
])  # fmt: skip
def test_asking_counts_nothing(limits, sentence):
    count = AssociationCount()
    assert count.refusal(limits, "192.0.2.1", "A") == sentence
    assert count.refusal(limits, "192.0.2.1", "A") == sentence
    assert not count._addresses
    assert not count._titles
