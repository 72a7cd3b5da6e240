"""The worklist over associations in memory."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from typing import Any

import pytest
from twisted.internet.defer import Deferred

from dimsetls.association.datasets import encode
from dimsetls.association.requestor import propose
from dimsetls.dimse.messages import CFindRQ
from dimsetls.dimse.status import Status
from dimsetls.services.worklist import Worklist
from dimsetls.uids import IMPLICIT_VR_LITTLE_ENDIAN, MODALITY_WORKLIST_FIND

from ...association.pair import Pair, all_of
from ...association.stage import Stage, command, context, data_set, responses
from .scheduled import a_procedure, a_question


class Source:
    """Steps as a database gives them; it says how many were asked for, and whether it was closed."""

    def __init__(self, *procedures: Any, waiting: Deferred[None] | None = None) -> None:
        self.requests: list[Any] = []
        self.asked = 0
        self.is_closed = False
        self._procedures = procedures
        self._waiting = waiting

    async def __call__(self, request: Any) -> AsyncGenerator[Any, None]:
        self.requests.append(request)
        try:
            for each in self._procedures:
                self.asked += 1
                yield each
            if self._waiting is not None:
                await self._waiting
        finally:
            self.is_closed = True


def associated(source: Source) -> Pair:
    return Pair(Worklist(source), contexts=[propose(MODALITY_WORKLIST_FIND)])


def test_what_matches_is_found() -> None:
    source = Source(a_procedure(PatientID="P1"), a_procedure(PatientID="P2"))
    pair = associated(source)
    matches = pair.association.find(MODALITY_WORKLIST_FIND, a_question(PatientID="P2", Modality="CT"))
    [found] = pair.run(all_of(matches))
    assert (found.PatientID, matches.response.status) == ("P2", Status.SUCCESS)
    assert source.is_closed
    [request] = source.requests
    assert request.association.parties.calling_ae_title == "ME"
    assert pair.is_quiet


@pytest.mark.parametrize(("with_private", "expected"), [(False, [0xFF00, 0]), (True, [0xFF01, 0])])
def test_an_optional_key_that_is_not_supported_is_ff01(with_private: bool, expected: list[int]) -> None:
    question = a_question(PatientID="")
    if with_private:
        question.add_new(0x00091001, "LO", "")
    assert [each.status for each in answers(Source(a_procedure()), question)] == expected


def answers(source: Source, question: Any) -> list[Any]:
    """What a scripted requestor is answered."""
    peer = Stage(Worklist(source)).associated(context(3, MODALITY_WORKLIST_FIND, IMPLICIT_VR_LITTLE_ENDIAN))
    request = command(CFindRQ(1, MODALITY_WORKLIST_FIND).command(), 3)
    sent = peer.send(request + data_set(encode(question, IMPLICIT_VR_LITTLE_ENDIAN)))
    return responses(pdu for pdu in sent if pdu.values[0].is_command)


def test_a_question_that_breaks_a_rule_is_a900_with_its_element() -> None:
    source = Source(a_procedure())
    [answer] = answers(source, a_question(ScheduledProcedureStepStartTime="noon"))
    assert (answer.status, answer.offending_element) == (0xA900, (0x00400003,))
    assert source.asked == 0


def test_a_source_that_fails_is_c000(logged: list[Any]) -> None:
    source = Source(a_procedure(), None)
    assert [each.status for each in answers(source, a_question())] == [0xFF00, 0xC000]
    assert [event for event in logged if event.get("log_failure")]
    assert source.is_closed


def test_a_cancel_closes_the_source() -> None:
    source = Source(a_procedure(), waiting=Deferred())
    pair = associated(source)
    matches = pair.association.find(MODALITY_WORKLIST_FIND, a_question(PatientID=""))
    asking = pair.start(all_of(matches))
    assert not asking.is_over
    pair.run(matches.cancel())
    assert matches.response.status == Status.CANCEL
    assert source.is_closed
    assert pair.is_quiet


def test_a_peer_that_does_not_read_is_not_waited_for_with_all_of_it() -> None:
    source = Source(*(a_procedure(RequestedProcedureDescription="x" * 60) for _ in range(3000)))
    pair = associated(source)
    peer = pair.link.ends[0]
    peer.pauseProducing()
    pair.association.find(MODALITY_WORKLIST_FIND, a_question(RequestedProcedureDescription="", PatientName=""))
    pair.link.pump()
    assert 0 < source.asked < 3000
    pair.association.abort()
    peer.resumeProducing()
    pair.link.pump()
    assert source.is_closed
