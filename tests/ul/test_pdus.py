from __future__ import annotations

from dataclasses import FrozenInstanceError

import pytest

from dimsetls.ul.pdus import PDV, AssociateAC, PresentationContextAC, UserIdentityAC

from .wire import ECHOED, FULL_AC, FULL_RQ, MEANINGS


def test_no_repr_shows_a_credential_or_a_fragment() -> None:
    shown = repr([*MEANINGS.values(), UserIdentityAC(b"ticket"), PDV(1, 3, b"patient")])
    for secret in ("radiology", "passcode", "ticket", "patient", "server_response", "fragment"):
        assert secret not in shown
    assert "MODALITY 1" in shown


def test_what_is_echoed_does_not_make_two_pdus_different() -> None:
    without = AssociateAC(FULL_AC.application_context, FULL_AC.presentation_contexts, FULL_AC.user_information)
    assert without == FULL_AC
    assert (without.echoed, FULL_AC.echoed) == (bytes(64), ECHOED)


@pytest.mark.parametrize(("result", "accepted"), [(0, True), (1, False), (4, False), (5, False)])
def test_only_result_0_accepts_a_context(result: int, accepted: bool) -> None:
    assert PresentationContextAC(1, result, "").accepted is accepted


def test_a_pdu_is_a_value() -> None:
    with pytest.raises(FrozenInstanceError):
        FULL_RQ.called_ae_title = "OTHER"  # type: ignore[misc]
    assert hash(FULL_RQ) == hash(MEANINGS["a-associate-rq-full"])
