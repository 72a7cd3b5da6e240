"""Every way to present an identity, in every state, by every peer that can: what it gets, and what the log says.

The table is in `cases.py`. A sentence in it in place of a case says why there is none.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path

import pytest

from dimsetls.uids import BEARER_TOKEN
from dimsetls.ul.pdus import ExtendedNegotiation

from ...servers.kdc import shifted
from ..running import Node, Service
from .cases import ACCEPTED, CONDITIONS, TABLE, Case, Row
from .hospital import Hospital
from .peers import PEERS, Answer, Call, Shown, call

pytestmark = pytest.mark.peers


@pytest.fixture(scope="session")
def late(hospital: Hospital, pki: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """The same node an hour from now. It logs JSON, so that what that has besides is looked at too."""
    node = Node(tmp_path_factory.mktemp("late"), pki)
    hospital.configure(node)
    node.set("node", log_format="json")
    with node.running(env=shifted(hospital.environment, "+1h")) as service:
        hospital.take_away()
        yield service


def reason(row: Row, condition: str, peer: str) -> str | None:
    """Why there is no such test; None: there is."""
    case = row.cases[condition]
    return case if isinstance(case, str) else row.without.get(peer) or row.without.get(f"{peer} {condition}")


RUNS = [
    pytest.param(row, row.cases[condition], condition, peer, id=f"{name}-{condition}-{peer}")
    for name, row in TABLE.items() for condition in CONDITIONS for peer in PEERS if reason(row, condition, peer) is None
]  # fmt: skip


def test_the_table_has_no_holes() -> None:
    assert all(tuple(sorted(row.cases)) == tuple(sorted(CONDITIONS)) for row in TABLE.values())
    assert all(case for row in TABLE.values() for case in row.cases.values())
    assert len(RUNS) > 200
    assert {peer for row in TABLE.values() for peer in PEERS if not reason(row, "good", peer)} == {*PEERS}


def check(row: Row, shown: Shown, answer: Answer, case: Case) -> None:
    """What is on the wire."""
    assert not any(credential in answer.octets for credential in shown.secrets)
    if case.outcome is not ACCEPTED:
        assert answer.pdu == case.outcome
        assert len(answer.octets) == 10  # nothing but the three numbers
        return
    information = answer.accepted.user_information
    response = information.user_identity_response
    assert answer.status == 0x0000
    if shown.kind is None:
        assert response is None
    elif row.answer:
        assert response is not None
        assert response.server_response.startswith(row.answer)
    else:
        assert answer.octets.count(b"\x59\0\0\x02\0\0") == 1
    if shown.prove is not None:
        assert response is not None
        shown.prove(response.server_response)
    expected = [ExtendedNegotiation(BEARER_TOKEN, b"\x01\x00")] if shown.token is not None else []
    assert list(information.extended_negotiations) == expected
    assert {context.result for context in answer.accepted.presentation_contexts} == {0}


@pytest.mark.parametrize(("row", "case", "condition", "peer"), RUNS)
def test_presented(
    hospital: Hospital, service: Service, pki: Path, request: pytest.FixtureRequest, row: Row, case: Case,
    condition: str, peer: str,
) -> None:
    node = request.getfixturevalue("late") if case.late else service
    shown = case.show(hospital)
    calling = call(node, pki, case.called, "PRIVATE" if shown.kind == 254 else None)
    told = rf"(refused|started) {calling.calling} at "
    before = len(node.lines(told))
    if condition == "replayed":
        assert PEERS[peer](calling, shown).accepted
        before = len(node.expect(told, before + 1))
    with hospital.frozen() if condition == "hung" else nullcontext():
        answer = PEERS[peer](calling, shown)
    check(row, shown, answer, case)
    line = node.expect(told, before + 1)[before]
    assert re.search(case.log, line), line
    assert ("SECURITY ALERT" in line) == case.alert, line


def test_without_being_asked_there_is_no_answer(hospital: Hospital, service: Service, pki: Path) -> None:
    for name, row in TABLE.items():
        case = row.cases["good"]
        assert isinstance(case, Case)
        shown = replace(case.show(hospital), asks=False)
        who: Call = call(service, pki, case.called, "PRIVATE" if shown.kind == 254 else None)
        before = len(service.lines(rf"started {who.calling} at "))
        information = PEERS["raw"](who, shown).accepted.user_information
        service.expect(rf"started {who.calling} at ", before + 1)
        assert (name, information.user_identity_response, information.extended_negotiations) == (name, None, ())
