"""Queries and retrievals that we perform: streamed, cancelled, failed, and their sub-operations counted."""

from __future__ import annotations

from contextlib import asynccontextmanager
from typing import Any

import pytest
from pydicom import Dataset
from twisted.internet.defer import CancelledError, Deferred

from dimsetls.association.events import AssociationEnded
from dimsetls.association.instances import Instance
from dimsetls.association.requestor import as_scp, association, propose
from dimsetls.dimse.command import CommandSet, Element
from dimsetls.dimse.messages import CCancelRQ, CFindRQ, CMoveRQ, CStoreRQ
from dimsetls.errors import AssociationError, IdentityUnavailable, OperationFailed, ServiceError
from dimsetls.testing import Peer
from dimsetls.uids import EXPLICIT_VR_LITTLE_ENDIAN, IMPLICIT_VR_LITTLE_ENDIAN
from dimsetls.ul.pdus import Abort

from .pair import FIND, GET, MOVE, Pair, all_of, dataset, serving
from .stage import CT, MR, Services, Stage, command, context, data_set, responses, statuses

KEYS = dataset(QueryRetrieveLevel="STUDY", PatientName="")


def counting(most: int, closed: list[Any] | None = None) -> Any:
    """A handler that yields so many matches, and keeps how far it came and how it ended."""
    async def c_find(request: Any) -> Any:
        number = 0
        try:
            for number in range(most):
                yield dataset(PatientID=str(number))
        except BaseException as error:
            if closed is not None:
                closed.extend([number, type(error)])
            raise
        if closed is not None:
            closed.extend([number, None])

    return c_find


# C-FIND ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("number", [0, 1, 300])
def test_every_match_comes_in_order_and_then_success(number):
    pair = Pair(serving(c_find=counting(number)))
    matches = pair.association.find(FIND, KEYS)
    assert [match.PatientID for match in pair.run(all_of(matches))] == [str(each) for each in range(number)]
    assert matches.response.status == 0
    assert pair.stage.told
    assert pair.is_quiet
    ended = pair.stage.told(AssociationEnded)
    assert (ended.operations, ended.failures, ended.instances) == (1, 0, 0)


@pytest.mark.parametrize("transfer_syntax", [IMPLICIT_VR_LITTLE_ENDIAN, EXPLICIT_VR_LITTLE_ENDIAN])
def test_the_identifier_is_a_dataset_however_often_it_is_asked_for(transfer_syntax):
    seen = []

    async def c_find(request: Any) -> Any:
        seen.extend([await request.identifier(), await request.identifier(), request.sop_class_uid])
        yield KEYS

    pair = Pair(serving(c_find=c_find), contexts=[propose(FIND, transfer_syntax)])
    keys = dataset(PatientName="Müller", SpecificCharacterSet="ISO_IR 100", StudyDate="20200101-")
    assert pair.run(all_of(pair.association.find(FIND, keys))) == [KEYS]
    assert seen == [keys, keys, FIND]


def test_a_match_may_say_that_optional_keys_were_not_supported():
    async def c_find(request: Any) -> Any:
        yield 0xFF01, KEYS

    _, answer = asked(serving(c_find=c_find), CFindRQ(1, FIND))
    assert statuses_of(answer) == [0xFF01, 0]


def asked(services: Any, message: Any, data: bytes = b"", **keywords: Any) -> tuple[Peer, list[Any]]:
    """A scripted requestor on context 3, and what it is answered."""
    peer = Stage(services).associated(context(3, message.affected_sop_class_uid), **keywords)
    return peer, peer.send(command(message.command(), 3) + data_set(data))


def statuses_of(pdus: list[Any]) -> list[int]:
    return [response.status for response in responses(pdu for pdu in pdus if pdu.values[0].is_command)]


def test_pending_responses_have_an_identifier_and_the_final_one_none():
    _, answer = asked(serving(c_find=counting(2)), CFindRQ(7, FIND))
    kinds = [value.is_command for pdu in answer for value in pdu.values]
    assert kinds == [True, False, True, False, True]
    assert statuses_of(answer) == [0xFF00, 0xFF00, 0]


@pytest.mark.parametrize(("error", "status", "comment"), [
    (ServiceError(0xA900, "no such level", (0x00080052,)), 0xA900, "no such level"),
    (ServiceError(0xB001, "enough"), 0xB001, "enough"),
    (ValueError("secret"), 0xC000, ""), (CancelledError(), 0xC000, ""),
])  # fmt: skip
@pytest.mark.parametrize("after", [0, 2])
def test_a_query_that_fails_is_answered_so_after_what_was_found(error, status, comment, after):
    async def c_find(request: Any) -> Any:
        for _ in range(after):
            yield KEYS
        raise error

    _, answer = asked(serving(c_find=c_find), CFindRQ(1, FIND))
    assert statuses_of(answer) == [0xFF00] * after + [status]
    final = responses([answer[-1]])[0]
    assert (final.error_comment, final.offending_element) == (comment, getattr(error, "offending_elements", ()))


@pytest.mark.parametrize("yielded", [None, 5, "text", (0, Dataset()), (0xA700, Dataset()), dataset(Rows="x")])
def test_what_is_no_match_is_a_failure_of_the_handler(yielded, logged):
    async def c_find(request: Any) -> Any:
        yield yielded

    _, answer = asked(serving(c_find=c_find), CFindRQ(1, FIND))
    assert statuses_of(answer) == [0xC000]
    assert [event for event in logged if event.get("log_failure")]


def test_a_handler_that_is_no_generator_is_answered_a_failure(logged):
    async def c_find(request: Any) -> Any:
        return [KEYS]

    _, answer = asked(serving(c_find=c_find), CFindRQ(1, FIND))
    assert statuses_of(answer) == [0xC000]


@pytest.mark.parametrize("identifier", [b"garbage!", b"\xff" * 20, b"\x10\x00\x10\x00\xff\x00\x00\x00ab"])
def test_an_identifier_that_cannot_be_read_is_c000_and_no_traceback(identifier, logged):
    async def c_find(request: Any) -> Any:
        yield await request.identifier()

    implicit = context(3, FIND, IMPLICIT_VR_LITTLE_ENDIAN)
    peer = Stage(serving(c_find=c_find)).associated(implicit)
    answer = peer.send(command(CFindRQ(1, FIND).command(), 3) + data_set(identifier))
    assert statuses_of(answer) == [0xC000]
    assert responses(answer)[0].error_comment == "the data set cannot be read"
    assert not [event for event in logged if event.get("log_failure")]


def test_an_identifier_without_end_is_refused_and_not_kept(logged):
    async def c_find(request: Any) -> Any:
        yield await request.identifier()

    _, answer = asked(serving(c_find=c_find), CFindRQ(1, FIND), bytes(9 << 20))
    assert statuses_of(answer) == [0xA700]


def test_a_handler_that_yields_before_reading_waits_for_the_whole_request():
    peer = Stage(serving(c_find=counting(1))).associated(context(3, FIND))
    whole = data_set(bytes(100_000))
    assert peer.send(command(CFindRQ(1, FIND).command(), 3), whole[:50_000]) == []
    assert statuses_of(peer.send(whole[50_000:])) == [0xFF00, 0]


def test_matches_that_the_peer_does_not_take_are_not_asked_for():
    closed: list[Any] = []
    asked_for = []

    async def c_find(request: Any) -> Any:
        for number in range(100_000):
            asked_for.append(number)
            yield dataset(PatientID=str(number), PatientComments="x" * 1000)

    stage = Stage(serving(c_find=c_find))
    peer = stage.associated(context(3, FIND))
    peer.end.pauseProducing()
    peer.send(command(CFindRQ(1, FIND).command(), 3) + data_set(b""))
    stalled = len(asked_for)
    assert 0 < stalled < 400
    stage.link.advance(1.0)
    assert len(asked_for) == stalled
    peer.end.resumeProducing()
    peer.cut()
    assert len(asked_for) < 100_000
    assert stage.is_quiet
    assert closed == []


# C-CANCEL ----------------------------------------------------------------------------------------------------------


class Slow:
    """A query whose matches the test lets go one by one."""

    def __init__(self) -> None:
        self.gates: list[Deferred[None]] = []
        self.ended: list[Any] = []

    async def c_find(self, request: Any) -> Any:
        try:
            while True:
                self.gates.append(Deferred())
                await self.gates[-1]
                yield KEYS
        except BaseException as error:
            self.ended.append(type(error))
            raise


def test_a_cancel_stops_a_query_where_it_waits_and_is_answered_fe00():
    slow = Slow()
    pair = Pair(serving(c_find=slow.c_find))

    async def ask() -> Any:
        async with pair.association.find(FIND, KEYS) as matches:
            return await anext(matches), matches

    running = pair.start(ask())
    slow.gates[0].callback(None)
    pair.link.pump()
    match, matches = running.result
    assert (match, matches.response.status) == (KEYS, 0xFE00)
    assert slow.ended == [CancelledError]
    assert pair.is_quiet


def test_a_cancel_stops_a_query_between_two_matches():
    closed: list[Any] = []
    stage = Stage(serving(c_find=counting(100_000, closed)))
    peer = stage.associated(context(3, FIND))
    peer.end.pauseProducing()  # it yields, and waits for the peer
    peer.send(command(CFindRQ(1, FIND).command(), 3) + data_set(b""))
    before = len(peer.received)
    peer.send(command(CCancelRQ(1).command(), 3))
    peer.end.resumeProducing()
    stage.link.pump()
    assert closed[1] is GeneratorExit
    assert statuses_of(peer.received[before:])[-1] == 0xFE00
    assert statuses_of(peer.received[before:]).count(0xFE00) == 1


def test_a_cancel_that_comes_too_late_or_for_another_changes_nothing():
    peer, _ = asked(serving(c_find=counting(1)), CFindRQ(1, FIND))
    assert peer.send(command(CCancelRQ(1).command(), 3), command(CCancelRQ(9).command(), 3)) == []
    slow = Slow()
    peer, _ = asked(serving(c_find=slow.c_find), CFindRQ(1, FIND))
    assert peer.send(command(CCancelRQ(2).command(), 3)) == []
    assert slow.ended == []
    peer.cut()


def test_a_cancel_of_a_store_is_ignored():
    gate: Deferred[int] = Deferred()

    async def c_store(request: Any) -> int:
        return await gate

    peer = Stage(Services(c_store)).associated()
    peer.send(command(CStoreRQ(1, CT, "1.2.3").command(), 3) + data_set(b"data"), command(CCancelRQ(1).command(), 3))
    before = len(peer.received)
    gate.callback(0)
    peer._link.pump()
    assert statuses(peer.received[before:]) == [(1, 0)]


@pytest.mark.parametrize("end", [Peer.cut, Peer.close, lambda peer: peer.send(Abort(0, 0))])
def test_the_end_of_the_association_closes_the_handler(end, logged):
    slow = Slow()
    stage = Stage(serving(c_find=slow.c_find))
    peer = stage.associated(context(3, FIND))
    peer.send(command(CFindRQ(1, FIND).command(), 3) + data_set(b""))
    end(peer)
    peer.close()
    assert slow.ended == [CancelledError]
    assert stage.is_quiet
    assert not [event for event in logged if event.get("log_failure")]


def test_a_handler_that_goes_on_after_a_cancel_is_closed_all_the_same():
    async def c_find(request: Any) -> Any:
        while True:
            try:
                await Deferred()
            except CancelledError:
                yield KEYS

    peer, _ = asked(serving(c_find=c_find), CFindRQ(1, FIND))
    assert statuses_of(peer.send(command(CCancelRQ(1).command(), 3))) == [0xFE00]


# C-GET -------------------------------------------------------------------------------------------------------------


def instance(number: int, sop_class: str = CT, **keywords: Any) -> Instance:
    source = keywords.pop("source", b"data%04d" % number)
    return Instance(sop_class, f"1.2.3.{number}", keywords.pop("transfer_syntax", EXPLICIT_VR_LITTLE_ENDIAN), source,
                    **keywords)  # fmt: skip


def retrieving(*instances: Instance, **more: Any) -> Any:
    async def yielding(request: Any) -> Any:
        for each in instances:
            yield each

    return serving(c_get=yielding, c_move=yielding, **more)


class Getting:
    """A C-GET of these instances, with a handler that answers each with its status."""

    def __init__(self, *instances: Instance, status: Any = lambda uid: 0, **keywords: Any) -> None:
        self.stored: dict[str, bytes] = {}
        self._status = status
        self.pair = Pair(retrieving(*instances), role_selections=as_scp(CT, MR), **keywords)
        self.retrieval = self.pair.association.get(GET, KEYS, store=self.store)

    async def store(self, request: Any) -> int:
        self.stored[request.sop_instance_uid] = await request.data.read()
        return self._status(request.sop_instance_uid)

    def numbers(self, response: Any) -> tuple[Any, ...]:
        return tuple(getattr(response, f"number_of_{each}_suboperations")
                     for each in ("remaining", "completed", "failed", "warning"))  # fmt: skip


def test_the_instances_come_on_the_same_association_and_are_counted():
    getting = Getting(*map(instance, range(3)))

    async def follow() -> Any:
        return [getting.numbers(each) async for each in getting.retrieval]

    assert getting.pair.run(follow()) == [(2, 1, 0, 0), (1, 2, 0, 0)]
    assert getting.numbers(getting.retrieval.response) == (None, 3, 0, 0)
    assert getting.retrieval.response.status == 0
    assert getting.stored == {f"1.2.3.{number}": b"data%04d" % number for number in range(3)}
    assert getting.pair.is_quiet


def test_a_get_of_nothing_is_a_success():
    getting = Getting()
    retrieved = getting.pair.run(getting.retrieval)
    assert (retrieved.response.status, getting.numbers(retrieved.response)) == (0, (None, 0, 0, 0))


def test_failures_and_warnings_are_told_with_the_instances_that_failed():
    getting = Getting(*map(instance, range(4)), status=lambda uid: {"1.2.3.1": 0xA700, "1.2.3.2": 0xB000}.get(uid, 0))
    retrieved = getting.pair.run(getting.retrieval)
    assert (retrieved.response.status, getting.numbers(retrieved.response)) == (0xB000, (None, 2, 1, 1))
    assert retrieved.failed_sop_instance_uids == ("1.2.3.1",)


def test_where_all_fail_the_whole_has_failed():
    getting = Getting(*map(instance, range(2)), status=lambda uid: 0xA700)
    error = getting.pair.fails(getting.retrieval)
    assert isinstance(error, OperationFailed)
    assert (error.status, getting.numbers(error.response)) == (0xA702, (None, 0, 2, 0))
    assert getting.retrieval.failed_sop_instance_uids == ("1.2.3.0", "1.2.3.1")


@pytest.mark.parametrize("bad", [
    instance(1, "1.2.840.10008.5.1.4.1.1.128"), instance(1, transfer_syntax="1.2.840.10008.1.2.4.50"),
])  # fmt: skip
def test_what_no_context_takes_has_failed_and_the_rest_goes_on(bad, logged):
    getting = Getting(instance(0), bad, instance(2))
    retrieved = getting.pair.run(getting.retrieval)
    assert (retrieved.response.status, retrieved.failed_sop_instance_uids) == (0xB000, ("1.2.3.1",))
    assert sorted(getting.stored) == ["1.2.3.0", "1.2.3.2"]


def test_a_file_that_is_gone_has_failed(tmp_path, logged):
    getting = Getting(instance(0), instance(1, source=tmp_path / "gone"))
    assert getting.pair.run(getting.retrieval).failed_sop_instance_uids == ("1.2.3.1",)
    assert getting.pair.association.ended is None


def test_a_cancel_ends_a_get_with_what_remains():
    getting = Getting(*map(instance, range(50)))

    async def stop() -> Any:
        async with getting.retrieval as responses:
            async for _ in responses:
                break

    getting.pair.run(stop())
    response = getting.retrieval.response
    remaining, completed, failed, warning = getting.numbers(response)
    assert response.status == 0xFE00
    assert (remaining + completed, failed, warning) == (50, 0, 0)
    assert remaining > 0
    assert completed == len(getting.stored)
    assert getting.pair.is_quiet


def test_without_a_role_nothing_is_sent():
    pair = Pair(retrieving(instance(0)))
    assert pair.fails(pair.association.get(GET, KEYS)).status == 0xA702
    assert pair.is_quiet


def test_instances_go_to_the_services_where_no_handler_is_given():
    services = Services()
    pair = Pair(retrieving(instance(0)), role_selections=as_scp(CT), services=services)
    assert pair.run(pair.association.get(GET, KEYS)).response.status == 0
    assert services.data == [b"data0000"]


def test_as_many_sub_operations_run_at_once_as_the_window_allows():
    gates: list[Deferred[int]] = []

    async def store(request: Any) -> int:
        gates.append(Deferred())
        return await gates[-1]

    pair = Pair(retrieving(*map(instance, range(9))), performed=3, role_selections=as_scp(CT))
    running = pair.start(pair.association.get(GET, KEYS, store=store))
    assert len(gates) == 3
    while gates:
        gates.pop().callback(0)
        pair.link.pump()
        assert len(gates) <= 3
    response = running.result.response
    assert (response.status, response.number_of_completed_suboperations) == (0, 9)


def test_more_than_can_be_counted_is_a701():
    one = instance(0)
    pair = Pair(retrieving(*[one] * 65536), role_selections=as_scp(CT))
    assert pair.fails(pair.association.get(GET, KEYS)).status == 0xA701


# C-MOVE ------------------------------------------------------------------------------------------------------------


class Destination:
    """A third party to which is moved, on a link of its own that shares the clock."""

    def __init__(self, pair_link: Any, store: Any = None) -> None:
        self.stage = Stage(Services(store))
        self.link = self.stage.link
        self.contexts: Any = None
        self._near = pair_link

    def opener(self, request: Any) -> Any:
        if request.move_destination != "DIMSETLS":
            return None

        def open_destination(contexts: Any) -> Any:
            self.contexts = contexts
            return association(self.link, calling_ae_title="ARCHIVE", called_ae_title="DIMSETLS", contexts=contexts,
                               clock=self.link)  # fmt: skip

        return open_destination


class Moving:
    def __init__(self, *instances: Instance, store: Any = None, to: str = "DIMSETLS", **more: Any) -> None:
        self.destination = Destination(None, store)
        services = retrieving(*instances, move_destination=more.pop("opener", self.destination.opener))
        self.pair = Pair(services, **more)
        self.retrieval = self.pair.association.move(MOVE, KEYS, to)

    def pump(self) -> None:
        for _ in range(60):
            self.pair.link.pump()
            self.destination.link.pump()

    def run(self) -> Any:
        running = self.pair.start(self.retrieval)
        self.pump()
        return running


def test_the_instances_go_to_the_destination_with_who_asked_for_them():
    moving = Moving(*map(instance, range(3)), instance(3, MR))
    retrieved = moving.run().result
    assert (retrieved.response.status, retrieved.response.number_of_completed_suboperations) == (0, 4)
    services = moving.destination.stage.services
    assert services.data == [b"data%04d" % number for number in range(4)]
    messages = [request.message for request in services.requests]
    assert {(each.move_originator_ae_title, each.move_originator_message_id) for each in messages} == {("ME", 1)}
    assert moving.destination.contexts == (
        (CT, (EXPLICIT_VR_LITTLE_ENDIAN,)), (MR, (EXPLICIT_VR_LITTLE_ENDIAN,)),
        (CT, (IMPLICIT_VR_LITTLE_ENDIAN,)), (MR, (IMPLICIT_VR_LITTLE_ENDIAN,)),
    )  # fmt: skip
    assert moving.destination.stage.told(AssociationEnded).outcome == "released"
    assert moving.destination.stage.is_quiet


@pytest.mark.parametrize("instances", [[], [instance(0)]])
def test_a_destination_that_is_not_known_is_a801(instances):
    error = Moving(*instances, to="NOWHERE").run().error
    assert (error.status, error.comment) == (0xA801, "move destination NOWHERE is not known here")


def test_the_priority_of_the_request_is_that_of_its_sub_operations():
    moving = Moving(instance(0))
    moving.run()
    again = moving.pair.start(moving.pair.association.move(MOVE, KEYS, "DIMSETLS", priority=1))
    moving.pump()
    assert again.result.response.status == 0
    assert [request.message.priority for request in moving.destination.stage.services.requests] == [0, 1]


def test_a_destination_that_cannot_be_reached_fails_every_sub_operation(logged):
    moving = Moving(instance(0), instance(1))
    moving.destination.link.stop_listening()
    error = moving.run().error
    assert (error.status, error.comment) == (0xA702, "the move destination cannot be reached")
    assert error.response.number_of_failed_suboperations == 2
    assert moving.retrieval.failed_sop_instance_uids == ("1.2.3.0", "1.2.3.1")


def test_a_destination_for_which_we_have_no_identity_fails_every_sub_operation(logged):
    @asynccontextmanager
    async def unidentified(contexts: Any) -> Any:
        raise IdentityUnavailable("there is no Kerberos ticket for dicom/ws1")
        yield

    error = Moving(instance(0), opener=lambda request: unidentified).run().error
    assert (error.status, error.comment) == (0xA702, "the move destination cannot be reached")
    assert "no Kerberos ticket" in [event["sentence"] for event in logged if "sentence" in event][-1]


def test_a_destination_that_is_lost_in_the_middle_fails_the_rest(logged):
    async def store(request: Any) -> int:
        await request.data.read()
        if request.sop_instance_uid == "1.2.3.1":
            request.association.abort()
        return 0

    retrieved = (moving := Moving(*map(instance, range(4)), store=store)).run().result
    assert retrieved.response.status == 0xB000
    assert retrieved.failed_sop_instance_uids == ("1.2.3.1", "1.2.3.2", "1.2.3.3")
    assert (retrieved.response.number_of_completed_suboperations, moving.pair.association.ended) == (1, None)


def test_a_move_that_is_aborted_stops_and_releases_its_destination():
    gates: list[Deferred[int]] = []

    async def store(request: Any) -> int:
        gates.append(Deferred())
        return await gates[-1]

    moving = Moving(*map(instance, range(4)), store=store)
    running = moving.run()
    moving.pair.association.abort()
    moving.pump()
    assert isinstance(running.error, AssociationError)
    gates[0].callback(0)
    moving.pump()
    assert len(gates) == 1
    assert moving.destination.stage.is_quiet


def test_a_cancelled_move_tells_what_remains():
    gates: list[Deferred[int]] = []

    async def store(request: Any) -> int:
        gates.append(Deferred())
        return await gates[-1]

    moving = Moving(*map(instance, range(4)), store=store)
    moving.run()
    stopping = moving.pair.start(moving.retrieval.cancel())
    moving.pump()
    gates[0].callback(0)
    moving.pump()
    assert stopping.is_over
    response = moving.retrieval.response
    assert (response.status, response.number_of_remaining_suboperations) == (0xFE00, 3)
    assert response.number_of_completed_suboperations == 1
    assert moving.destination.stage.is_quiet


def test_a_move_without_a_usable_destination_title_is_refused_by_its_element():
    message: CommandSet = CMoveRQ(1, MOVE, "X").command() | {Element.MOVE_DESTINATION: "back\\slash"}
    peer = Stage(retrieving()).associated(context(3, MOVE))
    [response] = responses(peer.send(command(message, 3) + data_set(b"")))
    assert (response.status, response.offending_element) == (0xA801, (Element.MOVE_DESTINATION,))


def test_queries_of_both_kinds_at_once():
    slow = Slow()
    pair = Pair(serving(c_find=slow.c_find), invoked=2)
    first, second = pair.association.find(FIND, KEYS), pair.association.find(FIND, KEYS)
    running = pair.start(second.__anext__())
    slow.gates[1].callback(None)
    pair.link.pump()
    assert running.result == KEYS
    pair.run(first.cancel())
    pair.run(second.cancel())
    assert (first.response.status, second.response.status) == (0xFE00, 0xFE00)
    assert pair.is_quiet


