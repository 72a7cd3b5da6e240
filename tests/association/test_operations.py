"""Operations of ours: what is sent and what comes of it, one after the other and several at once."""

from __future__ import annotations

from dataclasses import replace
from io import BytesIO
from pathlib import Path
from typing import Any

import pytest
from pydicom import Dataset, dcmwrite
from pydicom.dataset import FileMetaDataset
from twisted.internet.defer import CancelledError, Deferred

from dimsetls.association import operations as operations_module
from dimsetls.association.events import AssociationEnded
from dimsetls.association.instances import Instance
from dimsetls.association.protocol import Timeouts
from dimsetls.association.requestor import as_scp, propose
from dimsetls.dimse.messages import CStoreRSP
from dimsetls.dimse.normalized import NGetRSP
from dimsetls.errors import (
    AssociationAborted,
    AssociationError,
    InstanceError,
    LocalProtocolError,
    OperationFailed,
    ProviderAborted,
    ServiceError,
)
from dimsetls.uids import EXPLICIT_VR_LITTLE_ENDIAN, IMPLICIT_VR_LITTLE_ENDIAN, VERIFICATION
from dimsetls.ul.pdus import Abort, AsynchronousOperationsWindow, PDataTF, RoleSelection, UserInformation

from .pair import COMMITMENT, FIND, GET, PRINT, STEP, Pair, Running, all_of, dataset, serving
from .stage import CT, INSTANCE, MR, PEER_INFORMATION, Manual, Services, command
from .test_requestor import Call

KEYS = dataset(QueryRetrieveLevel="STUDY")


def image(transfer_syntax: str = EXPLICIT_VR_LITTLE_ENDIAN, **more: Any) -> Dataset:
    made = dataset(SOPClassUID=CT, SOPInstanceUID=INSTANCE, PatientName="Doe^Jane", BitsAllocated=8, **more)
    made.file_meta = FileMetaDataset()
    made.file_meta.TransferSyntaxUID = transfer_syntax
    return made


def file_of(made: Dataset, path: Path) -> Path:
    dcmwrite(path, made, enforce_file_format=True)
    return path


def after_meta(path: Path) -> bytes:
    """The data set of a DICOM file as it is there."""
    data = path.read_bytes()
    length = int.from_bytes(data[140:144], "little")
    return data[144 + length :]


# C-ECHO ------------------------------------------------------------------------------------------------------------


def test_an_echo_is_a_success_or_raises():
    pair = Pair(serving())
    assert pair.run(pair.association.echo()) == 0

    async def c_echo(request: Any) -> int:
        raise ServiceError(0x0122, "not here", (0x00000002,))

    failing = Pair(serving(c_echo=c_echo))
    error = failing.fails(failing.association.echo())
    assert isinstance(error, OperationFailed)
    assert (error.status, error.comment) == (0x0122, "not here")
    assert str(error) == ("C-ECHO-RQ was answered 0122H, failure: SOP class not supported; the peer says 'not here'; "
                          "offending elements (0000,0002)")  # fmt: skip
    assert failing.association.ended is None
    assert failing.is_quiet


# C-STORE -----------------------------------------------------------------------------------------------------------


async def _pieces(data: bytes) -> Any:
    for at in range(0, len(data), 7001):
        yield data[at : at + 7001]


@pytest.mark.parametrize("kind", ["path", "text", "file", "bytes", "instance", "stream", "data set"])
def test_whatever_holds_an_instance_can_be_sent_and_arrives_bit_for_bit(kind, tmp_path):
    path = file_of(image(PixelData=bytes(range(256)) * 1000), tmp_path / "image")
    data = after_meta(path)
    what: Any = {
        "path": path, "text": str(path), "file": path.open("rb"), "bytes": path.read_bytes(),
        "instance": Instance(CT, INSTANCE, EXPLICIT_VR_LITTLE_ENDIAN, data),
        "stream": Instance(CT, INSTANCE, EXPLICIT_VR_LITTLE_ENDIAN, _pieces(data)),
        "data set": image(PixelData=bytes(range(256)) * 1000),
    }[kind]  # fmt: skip
    services = Services()
    pair = Pair(services, contexts=[propose(CT)])
    response = pair.run(pair.association.store(what))
    assert response == CStoreRSP(1, 0, CT, affected_sop_instance_uid=INSTANCE)
    assert services.data == [data]
    assert pair.is_quiet


def test_a_warning_is_returned_and_a_failure_raised():
    statuses = iter([0xB000, 0xA700])

    async def c_store(request: Any) -> int:
        return next(statuses)

    pair = Pair(serving(c_store=c_store))
    assert pair.run(pair.association.store(image())).status == 0xB000
    assert pair.fails(pair.association.store(image())).status == 0xA700


def test_the_context_is_that_of_the_transfer_syntax():
    services = Services()
    contexts = [propose(CT, IMPLICIT_VR_LITTLE_ENDIAN), propose(MR), propose(CT, EXPLICIT_VR_LITTLE_ENDIAN)]
    pair = Pair(services, contexts=contexts)
    pair.run(pair.association.store(image()))
    pair.run(pair.association.store(image(IMPLICIT_VR_LITTLE_ENDIAN)))
    assert [request.context.context_id for request in services.requests] == [5, 1]


def test_a_transfer_syntax_that_was_not_accepted_is_an_error_unless_converted(monkeypatch):
    monkeypatch.setattr(operations_module, "deferToThread", lambda call, *rest: _fired(call(*rest)))
    services = Services()
    pair = Pair(services, contexts=[propose(CT, IMPLICIT_VR_LITTLE_ENDIAN)])
    error = pair.fails(pair.association.store(image()))
    assert isinstance(error, InstanceError)
    assert str(error) == (f"{INSTANCE} of SOP class {CT} is in transfer syntax {EXPLICIT_VR_LITTLE_ENDIAN}, DIMSETLS "
                          f"accepted {IMPLICIT_VR_LITTLE_ENDIAN}; to convert it, ask for convert")  # fmt: skip
    assert services.requests == []
    assert pair.run(pair.association.store(image(), convert=True)).status == 0
    assert services.data[0][:8] == b"\x08\x00\x16\x00\x1a\x00\x00\x00"  # implicit VR


def _fired(result: Any) -> Deferred[Any]:
    done: Deferred[Any] = Deferred()
    done.callback(result)
    return done


@pytest.mark.parametrize("what", [b"no file", b"\0" * 128 + b"DICM", "/nowhere/at/all", Dataset(), BytesIO(b"x" * 500)])
def test_what_is_no_instance_is_refused_before_anything_is_sent(what):
    pair = Pair(Services(), contexts=[propose(CT)])
    before = len(pair.stage.services.requests)
    assert isinstance(pair.fails(pair.association.store(what)), InstanceError)
    assert len(pair.stage.services.requests) == before
    assert pair.association.ended is None


def test_a_class_that_was_not_accepted_is_said():
    pair = Pair(Services(), contexts=[propose(VERIFICATION)])
    assert "accepted no presentation context for it" in str(pair.fails(pair.association.store(image())))


@pytest.mark.parametrize("length", [0, 1, 2, 130_000, 131_060, 131_061, 131_062, 262_120, 262_121])
@pytest.mark.parametrize("chunk", [1 << 20, 131_060, 4096])
def test_blocks_and_their_ends(length, chunk):
    data = bytes(number % 251 for number in range(length))

    async def pieces() -> Any:
        for at in range(0, length, chunk):
            yield data[at : at + chunk]

    services = Services()
    pair = Pair(services, contexts=[propose(CT)])
    pair.run(pair.association.store(Instance(CT, INSTANCE, EXPLICIT_VR_LITTLE_ENDIAN, pieces())))
    assert services.data == [data + b"\0" * (length & 1)]


def test_a_file_is_read_no_faster_than_the_peer_takes_it():
    read = []

    class File(BytesIO):
        def read(self, size: int | None = -1) -> bytes:
            read.append(size)
            return bytes(size or 0)

    services = Manual()
    pair = Pair(services, contexts=[propose(CT)])
    running = pair.start(pair.association.store(Instance(CT, INSTANCE, EXPLICIT_VR_LITTLE_ENDIAN, File())))
    assert 0 < len(read) < 10
    pair.link.advance(1.0)
    assert len(read) < 10
    pair.association.abort()
    assert isinstance(running.error, AssociationError)


@pytest.mark.parametrize("at", [0, 3])
def test_a_source_that_fails_fails_the_store_and_where_it_has_begun_the_association(at, logged):
    async def pieces() -> Any:
        for number in range(9):
            if number == at:
                raise OSError("the disk is gone")
            yield bytes(131060)

    services = Services()
    pair = Pair(services, contexts=[propose(CT), propose(VERIFICATION)])
    error = pair.fails(pair.association.store(Instance(CT, INSTANCE, EXPLICIT_VR_LITTLE_ENDIAN, pieces())))
    assert type(error) is OSError
    assert services.data == []
    if at:
        assert "a data set came to an end before its time" in str(pair.association.ended)
        assert pair.stage.told(AssociationEnded).outcome == "aborted"
    else:
        assert pair.run(pair.association.echo()) == 0


def test_an_early_refusal_ends_the_data_set_there():
    read = []

    async def pieces() -> Any:
        for number in range(1000):
            read.append(number)
            yield bytes(131060)

    call = Call(contexts=[propose(CT)])
    association = call.accepted()
    call.peer.end.pauseProducing()
    results = Running(association.store(Instance(CT, INSTANCE, EXPLICIT_VR_LITTLE_ENDIAN, pieces())))
    call.link.pump()
    call.peer.end.resumeProducing()
    call.peer.send(command(CStoreRSP(1, 0xA700, CT, affected_sop_instance_uid=INSTANCE).command()))
    assert results.error.status == 0xA700
    assert len(read) < 20
    last = call.peer.received[-1]
    assert isinstance(last, PDataTF)
    assert last.values[-1].is_last
    again = Running(association.store(Instance(CT, INSTANCE, EXPLICIT_VR_LITTLE_ENDIAN, b"")))
    call.peer.send(command(CStoreRSP(2, 0, CT).command()))
    assert again.result.status == 0


# Several at once ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("window", "at_once"), [(1, 1), (3, 3), (0, 6)])
def test_what_is_beyond_the_window_waits_its_turn(window, at_once):
    services = Manual()
    pair = Pair(services, invoked=window, contexts=[propose(CT)])
    running = [pair.start(pair.association.store(image())) for _ in range(6)]
    done = 0
    while done < 6:
        assert len(services.requests) == min(6, done + at_once)
        services.finish[done].callback(0)
        pair.link.pump()
        done += 1
    assert all(each.result.status == 0 for each in running)
    assert [request.message.message_id for request in services.requests] == [1, 2, 3, 4, 5, 6]
    assert pair.is_quiet


def test_responses_may_come_in_any_order():
    services = Manual()
    pair = Pair(services, invoked=3, contexts=[propose(CT)])
    running = [pair.start(pair.association.store(image())) for _ in range(3)]
    for number in (2, 0, 1):
        services.finish[number].callback(0xB000 + number)
        pair.link.pump()
        assert running[number].result.status == 0xB000 + number


def test_messages_are_not_mixed_however_large_and_many():
    services = Services()
    pair = Pair(services, invoked=8, contexts=[propose(CT), propose(VERIFICATION)])
    sent = [bytes([number]) * (200_000 * number) for number in range(6)]
    running = [pair.start(pair.association.store(Instance(CT, INSTANCE, EXPLICIT_VR_LITTLE_ENDIAN, data)))
               for data in sent]  # fmt: skip
    echo = pair.start(pair.association.echo())
    assert [each.result.status for each in running] == [0] * 6
    assert services.data == sent
    assert echo.result == 0


def test_one_that_waits_for_its_turn_can_be_cancelled_and_is_never_sent():
    gates: list[Deferred[int]] = []

    async def c_echo(request: Any) -> int:
        gates.append(Deferred())
        return await gates[-1]

    pair = Pair(serving(c_echo=c_echo))
    pair.start(pair.association.echo())
    matches = pair.association.find(FIND, KEYS)
    pair.run(matches.cancel())
    gates[0].callback(0)
    pair.link.pump()
    assert pair.stage.factory.count.total == 1
    assert pair.is_quiet


def test_a_caller_who_gives_up_leaves_the_association_usable():
    services = Manual()
    pair = Pair(services)
    running = pair.start(pair.association.echo())
    running.deferred.cancel()
    assert isinstance(running.error, CancelledError)
    services.finish[0].callback(0)
    again = pair.start(pair.association.echo())
    services.finish[1].callback(0)
    pair.link.pump()
    assert again.result == 0
    assert pair.is_quiet


def test_message_ids_wrap_and_skip_what_is_outstanding():
    services = Manual()
    pair = Pair(services, invoked=2, contexts=[propose(VERIFICATION)])
    pair.start(pair.association.echo())
    pair.association._invoking._next_message_id = 0xFFFF
    pair.start(pair.association.echo())
    services.finish[1].callback(0)
    pair.link.pump()
    pair.start(pair.association.echo())
    assert [request.message.message_id for request in services.requests] == [1, 0xFFFF, 2]


# Deadlines and ends ------------------------------------------------------------------------------------------------


def test_a_response_that_does_not_come_ends_the_association_in_time():
    call = Call(timeouts=Timeouts(response=20.0))
    results = Running(call.accepted().echo())
    call.link.pump([1.0] * 19)
    assert not results.is_over
    call.link.advance(1.5)
    assert (type(results.error), results.error.reason) == (ProviderAborted, 0x437)
    assert str(results.error).endswith("(response-timeout: no response to C-ECHO-RQ within 20 s)")
    assert call.peer.received[-1] == Abort(0, 0)
    call.peer.close()
    assert call.is_quiet


def test_each_pending_response_begins_the_deadline_anew():
    gates: list[Deferred[None]] = []

    async def c_find(request: Any) -> Any:
        while True:
            gates.append(Deferred())
            await gates[-1]
            yield KEYS

    pair = Pair(serving(c_find=c_find), timeouts=Timeouts(response=20.0))
    running = pair.start(all_of(pair.association.find(FIND, KEYS)))
    for _ in range(5):
        pair.link.pump([1.0] * 15)
        gates[-1].callback(None)
        pair.link.pump()
    assert not running.is_over
    pair.link.pump([1.0] * 21)
    assert running.error.reason == 0x437


def test_a_slow_reader_of_matches_makes_the_peer_wait_and_no_deadline_passes():
    yielded = []

    async def c_find(request: Any) -> Any:
        for number in range(5000):
            yielded.append(number)
            yield dataset(PatientComments="x" * 1000)

    pair = Pair(serving(c_find=c_find), timeouts=Timeouts(response=20.0, idle=30.0))
    matches = pair.association.find(FIND, KEYS)
    pair.link.pump()
    assert 100 < len(yielded) < 1500
    pair.link.pump([1.0] * 55)  # not so long that the acceptor gives up on output that nobody takes
    assert len(yielded) < 1500
    assert len(pair.run(all_of(matches))) == 5000
    assert pair.is_quiet


def test_a_slow_reader_does_not_keep_another_operation_from_its_answer():
    async def c_find(request: Any) -> Any:
        for _ in range(2000):
            yield dataset(PatientComments="x" * 1000)

    pair = Pair(serving(c_find=c_find))
    pair.association.find(FIND, KEYS)
    pair.link.pump()
    assert pair.run(pair.association.echo()) == 0


def test_an_operation_that_takes_long_is_not_idleness():
    services = Manual()
    pair = Pair(services, timeouts=Timeouts(idle=10.0, response=100.0))
    running = pair.start(pair.association.echo())
    pair.link.pump([1.0] * 90)
    services.finish[0].callback(0)
    pair.link.pump()
    assert running.result == 0


def test_the_end_of_the_association_is_the_end_of_every_operation():
    call = Call(window=AsynchronousOperationsWindow(2, 1), contexts=[propose(VERIFICATION), propose(FIND)])
    association = call.accepted(user_information=_with_window(2))
    results = [Running(association.echo()), Running(all_of(association.find(FIND, KEYS))), Running(association.echo())]
    call.link.pump()
    call.peer.send(Abort(0, 0))
    assert [type(each.error) for each in results] == [AssociationAborted] * 3
    assert call.is_quiet


def _with_window(number: int) -> UserInformation:
    return replace(PEER_INFORMATION, asynchronous_operations_window=AsynchronousOperationsWindow(number, number))


def test_a_release_waits_for_what_is_under_way_and_cancels_what_can_be():
    services = Manual()
    pair = Pair(services, invoked=2)
    echo = pair.start(pair.association.echo())
    releasing = pair.start(pair.association.release())
    assert not releasing.is_over
    services.finish[0].callback(0)
    pair.link.pump()
    assert (echo.result, releasing.result) == (0, None)
    assert pair.stage.is_quiet


def test_a_query_that_was_left_in_the_middle_is_cancelled_before_the_release():
    ended = []

    async def c_find(request: Any) -> Any:
        try:
            while True:
                yield KEYS
                await Deferred()
        finally:
            ended.append(True)

    pair = Pair(serving(c_find=c_find))

    async def use() -> Any:
        async with pair.association:
            return await anext(pair.association.find(FIND, KEYS))

    assert pair.run(use()) == KEYS
    assert ended == [True]
    assert pair.stage.told(AssociationEnded).outcome == "released"
    assert pair.stage.is_quiet


def test_cancelling_who_waits_for_a_query_tells_the_peer_and_waits_for_nothing():
    cancelled = []

    async def c_find(request: Any) -> Any:
        try:
            await Deferred()
        finally:
            cancelled.append(True)
        yield

    pair = Pair(serving(c_find=c_find))

    async def use() -> None:
        async with pair.association.find(FIND, KEYS) as matches:
            await anext(matches)

    running = pair.start(use())
    running.deferred.cancel()
    assert isinstance(running.error, CancelledError)
    pair.link.pump()
    assert cancelled == [True]
    assert pair.run(pair.association.echo()) == 0


def test_cancelling_a_release_aborts():
    call = Call()
    association = call.accepted()
    releasing = Running(association.release())
    call.link.pump()
    releasing.deferred.cancel()
    call.link.pump()
    assert isinstance(releasing.error, CancelledError)
    assert call.peer.received[-1] == Abort(0, 0)
    call.peer.close()
    assert call.is_quiet


def test_after_the_end_everything_is_refused():
    pair = Pair(serving())
    pair.association.abort()
    association = pair.association
    for call in (lambda: association.find(FIND, KEYS), lambda: association.get(GET, KEYS)):
        with pytest.raises(LocalProtocolError, match="the association is over"):
            call()
    for call in (association.echo(), association.store(image()), association.n_delete(STEP, "1.2")):
        assert isinstance(pair.fails(call), LocalProtocolError)


# DIMSE-N -----------------------------------------------------------------------------------------------------------


def test_each_normalized_service_from_end_to_end():
    seen: list[Any] = []

    def handler(status: int, answered: Dataset | None) -> Any:
        async def handle(request: Any) -> Any:
            seen.append((type(request.message).__name__, request.sop_class_uid, request.sop_instance_uid,
                         await request.dataset()))  # fmt: skip
            return status, answered

        return handle

    given, answered = dataset(PatientID="given"), dataset(PatientID="answered")
    handlers = {name: handler(0, answered) for name in ("n_get", "n_set", "n_action", "n_create")}
    pair = Pair(serving(**handlers, n_delete=handler(0, None)))
    call = pair.association
    assert pair.run(call.n_get(STEP, "1.2.3", [0x00100010])) == (NGetRSP(1, 0, STEP, affected_sop_instance_uid="1.2.3"),
                                                              answered)  # fmt: skip
    assert pair.run(call.n_set(STEP, "1.2.3", given))[1] == answered
    response, reply = pair.run(call.n_action(STEP, "1.2.3", 5, given))
    assert (response.action_type_id, reply) == (5, answered)
    assert pair.run(call.n_create(STEP, "1.2.3", given))[1] == answered
    assert pair.run(call.n_delete(STEP, "1.2.3")).status == 0
    assert seen == [("NGetRQ", STEP, "1.2.3", None), ("NSetRQ", STEP, "1.2.3", given),
                    ("NActionRQ", STEP, "1.2.3", given), ("NCreateRQ", STEP, "1.2.3", given),
                    ("NDeleteRQ", STEP, "1.2.3", None)]  # fmt: skip
    assert pair.is_quiet


def test_what_is_created_without_a_name_gets_one_which_both_know():
    made = []

    async def n_create(request: Any) -> int:
        made.append((request.sop_instance_uid, request.sop_instance_uid))
        return 0

    pair = Pair(serving(n_create=n_create))
    response, reply = pair.run(pair.association.n_create(STEP))
    assert made == [(response.affected_sop_instance_uid,) * 2]
    assert response.affected_sop_instance_uid.startswith("2.25.")
    assert reply is None


def test_a_notification_is_for_the_scp_to_send():
    seen = []

    async def n_event_report(request: Any) -> Any:
        seen.append((request.event_type_id, await request.dataset()))
        return 0, dataset(PatientID="reply")

    roles = (RoleSelection(COMMITMENT, False, True),)
    pair = Pair(serving(n_event_report=n_event_report), role_selections=roles)
    response, reply = pair.run(pair.association.n_event_report(COMMITMENT, "1.2.3", 1, KEYS))
    assert (response.event_type_id, reply, seen) == (1, dataset(PatientID="reply"), [(1, KEYS)])
    assert isinstance(pair.fails(pair.association.n_action(COMMITMENT, "1.2.3", 1)), LocalProtocolError)
    default = Pair(serving(n_event_report=n_event_report))
    error = default.fails(default.association.n_event_report(COMMITMENT, "1.2.3", 1))
    assert str(error) == (
        f"DIMSETLS accepted no presentation context for {COMMITMENT} (Storage Commitment Push Model SOP Class) "
        "with us as SCP"
    )


def test_a_handler_may_notify_on_the_association_of_its_request():
    seen = []

    async def n_action(request: Any) -> int:
        answered = await request.association.n_event_report(COMMITMENT, "1.2.3", 1, KEYS)
        seen.append(answered[0].status)
        return 0

    class Noting:
        async def perform(self, request: Any) -> int:
            seen.append(request.event_type_id)
            return 0

    pair = Pair(serving(n_action=n_action), services=Noting())
    assert pair.run(pair.association.n_action(COMMITMENT, "1.2.3", 1))[0].status == 0
    assert seen == [1, 0]


def test_a_meta_sop_class_is_the_context_of_the_classes_in_it_and_of_no_other():
    async def n_create(request: Any) -> int:
        return 0

    pair = Pair(serving(n_create=n_create))
    film_session = "1.2.840.10008.5.1.1.1"
    assert pair.run(pair.association.n_create(film_session, abstract_syntax=PRINT))[0].status == 0
    error = pair.fails(pair.association.n_create(STEP, abstract_syntax=PRINT))
    assert (error.status, error.comment) == (0x0122, "the SOP class is not that of the presentation context")


@pytest.mark.parametrize(("answered", "status"), [
    ((0x0110, None), 0x0110), (0x0112, 0x0112), ((0, None), 0x0110), ("x", 0x0110), ((0,), 0x0110), (None, 0x0110),
])  # fmt: skip
def test_what_a_handler_of_n_get_may_answer(answered, status, logged):
    async def n_get(request: Any) -> Any:
        return answered

    pair = Pair(serving(n_get=n_get))
    assert pair.fails(pair.association.n_get(STEP, "1.2.3")).status == status
    assert pair.is_quiet


def test_what_is_not_served_is_0122():
    pair = Pair(serving())
    call = pair.association
    for awaitable in (call.n_get(STEP, "1.2"), call.n_set(STEP, "1.2", KEYS), call.n_action(STEP, "1.2", 1),
                      call.n_create(STEP, "1.2"), call.n_delete(STEP, "1.2"), all_of(call.find(FIND, KEYS)),
                      call.get(GET, KEYS), call.store(image())):  # fmt: skip
        assert pair.fails(awaitable).status == 0x0122
    assert pair.is_quiet


def test_a_get_without_end_can_be_cancelled_and_its_instances_are_not_taken_after():
    taken = []

    async def store(request: Any) -> int:
        taken.append(request.sop_instance_uid)
        return 0

    async def c_get(request: Any) -> Any:
        for number in range(60_000):
            yield Instance(CT, f"1.2.{number}", EXPLICIT_VR_LITTLE_ENDIAN, b"data")

    pair = Pair(serving(c_get=c_get), role_selections=as_scp(CT))

    async def some() -> None:
        async with pair.association.get(GET, KEYS, store=store) as responses:
            async for _ in responses:
                if len(taken) >= 10:
                    return

    pair.run(some())
    assert 10 <= len(taken) < 100
    assert pair.is_quiet


