"""What is sent again and again costs so much, counted in lines of Python: the same on every machine."""

from __future__ import annotations

import sys
from typing import Any

import pytest
from twisted.internet.defer import Deferred

from dimsetls.association.requestor import associate, propose
from dimsetls.dimse.messages import CFindRQ
from dimsetls.services.part10 import file_meta
from dimsetls.testing import DevelopmentAuthority
from dimsetls.tls import endpoints
from dimsetls.uids import EXPLICIT_VR_LITTLE_ENDIAN

from ..services.test_hot_path import PDU, lines_of
from .pair import FIND, dataset, serving
from .stage import CT, Stage, command, context, data_set

LINES_A_MATCH = 139
"""From what a handler yields, five plain elements, to the transport."""
LINES_A_PDU_FROM_A_FILE = 126
"""From the file over our TLS to the network, 128 KiB; a dozen are those of a network in memory."""

pytestmark = pytest.mark.skipif(sys.version_info[:2] != (3, 11), reason="what is a line differs from Python to Python")


def test_a_pending_response_costs_this_much():
    match = dataset(QueryRetrieveLevel="STUDY", StudyInstanceUID="1.2.3", PatientName="Doe^Jane", PatientID="7",
                    StudyDate="20260101")  # fmt: skip

    def cost(matches: int) -> int:
        async def c_find(request: Any) -> Any:
            for _ in range(matches):
                yield match

        peer = Stage(serving(c_find=c_find)).associated(context(1, FIND, EXPLICIT_VR_LITTLE_ENDIAN))
        protocol = peer.end.other._protocol
        asked = command(CFindRQ(1, FIND).command(True)) + data_set(b"\x10\0\x20\0LO\0\0", 1)
        return len(lines_of(lambda: protocol.dataReceived(asked)))

    cost(1)  # makes what is then known
    costs = [cost(matches) for matches in (10, 20, 30)]
    assert [costs[1] - costs[0], costs[2] - costs[1]] == [10 * LINES_A_MATCH] * 2


def test_a_pdu_from_a_file_costs_this_much(tmp_path, monkeypatch):
    monkeypatch.setattr(endpoints, "DEFAULT_TRANSPORT", endpoints.Transport.STREAM)
    authority = DevelopmentAuthority()

    def cost(pdus: int) -> int:
        path = tmp_path / str(pdus)
        path.write_bytes(file_meta(CT, "1.2.3", EXPLICIT_VR_LITTLE_ENDIAN, "", "") + bytes(pdus * (PDU - 12)))
        stage = Stage(tls=authority)
        opening = associate(stage.calling, calling_ae_title="ME", called_ae_title="DIMSETLS", contexts=[propose(CT)],
                            clock=stage.link)  # fmt: skip
        stage.link.pump()
        end = stage.link.ends[0]
        end.on_the_way = lambda data: b""  # the network takes all, and nobody answers
        executed = lines_of(lambda: Deferred.fromCoroutine(opening.result.store(path)).addErrback(lambda _: None))
        while end.is_writing:
            executed += lines_of(end.doWrite)  # no more than a PDU waits in the transport below
        end.abortConnection()
        stage.link.pump()
        return len(executed)

    cost(2)
    costs = [cost(pdus) for pdus in (2, 6, 10)]
    assert [costs[1] - costs[0], costs[2] - costs[1]] == [4 * LINES_A_PDU_FROM_A_FILE] * 2
