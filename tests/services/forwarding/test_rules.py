from __future__ import annotations

import pytest

from dimsetls.services.forwarding.rules import Rule

from ..archives import CT, an_entry

CALLED = {"SendingApplicationEntityTitle": "CT1", "ReceivingApplicationEntityTitle": "DIMSETLS"}


@pytest.mark.parametrize(("conditions", "takes"), [
    ({}, True),
    ({"calling_ae_titles": ("CT1", "CT2")}, True),
    ({"calling_ae_titles": ("CT2",)}, False),
    ({"called_ae_titles": ("DIMSETLS",)}, True),
    ({"called_ae_titles": ("dimsetls",)}, False),
    ({"modalities": ("MR", "CT")}, True),
    ({"modalities": ("MR",)}, False),
    ({"sop_classes": (CT,)}, True),
    ({"sop_classes": ("1.2",)}, False),
    ({"modalities": ("CT",), "calling_ae_titles": ("CT2",)}, False),
])
def test_all_conditions_must_be_met_each_by_any_of_its_values(conditions, takes):
    assert Rule("r", ("p",), **conditions).takes(an_entry(**CALLED)) is takes


def test_an_instance_without_a_modality_meets_no_condition_on_it():
    assert not Rule("r", ("p",), modalities=("CT",)).takes(an_entry(Modality=""))
    assert Rule("r", ("p",)).takes(an_entry(Modality=""))
