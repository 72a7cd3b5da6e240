"""A peer that accepts our association, or does not, and does everything wrong that there is.

Each wrong behaviour ends in its exception within the deadlines, with nothing stored that should not be, nothing
logged as an error of ours, and no connection or timer left.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import pytest

from dimsetls.association.instances import Instance
from dimsetls.association.protocol import Timeouts
from dimsetls.association.requestor import as_scp, propose
from dimsetls.codes import CommandField
from dimsetls.dimse.command import DATA_SET_FOLLOWS, NO_DATA_SET, CommandSet, Element, write_command
from dimsetls.dimse.messages import (
    CEchoRQ,
    CEchoRSP,
    CFindRSP,
    CGetRSP,
    CMoveRSP,
    CStoreRQ,
    CStoreRSP,
)
from dimsetls.dimse.normalized import NCreateRSP, NGetRSP
from dimsetls.errors import (
    AssociationAborted,
    AssociationRejected,
    AssociationReleased,
    OperationFailed,
    ProviderAborted,
)
from dimsetls.testing import Peer
from dimsetls.uids import IMPLICIT_VR_LITTLE_ENDIAN, VERIFICATION
from dimsetls.ul.pdus import (
    Abort,
    AssociateRJ,
    AsynchronousOperationsWindow,
    PresentationContextAC,
    ReleaseRP,
    ReleaseRQ,
    RoleSelection,
    UserIdentityAC,
)
from dimsetls.ul.writer import write_fragments, write_pdu

from .pair import FIND, GET, MOVE, STEP, Running, all_of, dataset
from .stage import CT, INSTANCE, PEER_INFORMATION, command, data_set
from .test_requestor import Call, accept

KEYS = dataset(QueryRetrieveLevel="STUDY")
DEADLINES = Timeouts(answer=10.0, response=20.0, idle=30.0, pdu=15.0, write=15.0, artim=10.0)
BOUND = 60
"""Seconds by the clock in which everything is over."""
CLASSES = (VERIFICATION, CT, FIND, GET, MOVE, STEP)
CONTEXT = {uid: 2 * number + 1 for number, uid in enumerate(CLASSES)}
WINDOW = AsynchronousOperationsWindow(2, 2)



@dataclass
class Wrong:
    """What the peer does, and what it ends in: the exception, the provider reason, and a part of its sentence."""

    does: Callable[[Any], Any]
    error: type[Exception] = ProviderAborted
    reason: int | None = None
    says: str = ""


def acceptor_says(*what: Any) -> Callable[[Call], Any]:
    return lambda call: call.peer.send(*what)


def answers(**changes: Any) -> Callable[[Call], Any]:
    """A-ASSOCIATE-AC with something changed."""
    return lambda call: call.peer.send(accept(call.request, **changes))


def alters(alter: Callable[[bytes], bytes]) -> Callable[[Call], Any]:
    """A good A-ASSOCIATE-AC whose bytes are altered."""
    return lambda call: call.peer.send(alter(write_pdu(accept(call.request))))


def user(**changes: Any) -> Any:
    return replace(PEER_INFORMATION, **changes)


def without_item(item: int) -> Callable[[bytes], bytes]:
    """The PDU without its first item of this type, or sub-item of the user information."""
    def cut(pdu: bytes) -> bytes:
        at, end, inside = 74, len(pdu), -1
        while at < end:
            kind, length = pdu[at], int.from_bytes(pdu[at + 2 : at + 4], "big")
            if kind == item:
                pdu = pdu[:at] + pdu[at + 4 + length :]
                if inside >= 0:
                    inner = int.from_bytes(pdu[inside + 2 : inside + 4], "big") - 4 - length
                    pdu = pdu[: inside + 2] + inner.to_bytes(2, "big") + pdu[inside + 4 :]
                return pdu[:2] + (len(pdu) - 6).to_bytes(4, "big") + pdu[6:]
            if kind == 0x50:
                inside, at = at, at + 4
            else:
                at += 4 + length
        raise AssertionError(item)

    return cut


ASSOCIATING: dict[str, Wrong] = {
    "says nothing": Wrong(lambda call: None, reason=0x436, says="no answer to A-ASSOCIATE-RQ within 10 s"),
    "closes": Wrong(lambda call: call.peer.close()),
    "cuts": Wrong(lambda call: call.peer.cut()),
    "resets": Wrong(lambda call: (call.peer.end.abortConnection(), call.link.pump())),
    "rejects with reserved values": Wrong(acceptor_says(AssociateRJ(9, 8, 7)), AssociationRejected, says="reserved"),
    "rejects with result 0": Wrong(acceptor_says(AssociateRJ(0, 1, 1)), AssociationRejected),
    "rejects at too great length": Wrong(acceptor_says(b"\x03\0\0\0\0\x05\0\1\1\1\0"), reason=6),
    "rejects half and stops": Wrong(acceptor_says(b"\x03\0\0\0\0\x04\0\1"), reason=0x436),
    "aborts as user": Wrong(acceptor_says(Abort(0, 0)), AssociationAborted),
    "aborts with a reserved source": Wrong(acceptor_says(Abort(1, 3)), ProviderAborted),
    "aborts with an unknown source": Wrong(acceptor_says(Abort(77, 99)), ProviderAborted),
    "releases": Wrong(acceptor_says(ReleaseRQ()), reason=2),
    "answers a release": Wrong(acceptor_says(ReleaseRP()), reason=2),
    "asks for an association itself": Wrong(lambda call: call.peer.send(call.request), reason=2),
    "sends data": Wrong(acceptor_says(command(CEchoRQ(1, VERIFICATION).command())), reason=2),
    "speaks HTTP": Wrong(acceptor_says(b"HTTP/1.1 400 Bad Request\r\n\r\n"), reason=1),
    "speaks TLS": Wrong(acceptor_says(bytes.fromhex("15 03 01 00 02 02 28"))),
    "sends an unknown PDU": Wrong(acceptor_says(b"\xff\0\0\0\0\0"), reason=1),
    "claims a PDU of 4 GiB": Wrong(acceptor_says(b"\x02\0\xff\xff\xff\xff"), reason=6),
    "trickles": Wrong(lambda call: call.peer.trickle(write_pdu(accept(call.request)), 1.0), reason=0x436),
    "stops in the middle": Wrong(lambda call: call.peer.send(write_pdu(accept(call.request))[:-5]), reason=0x436),
    "answers in another version": Wrong(alters(lambda pdu: pdu[:6] + b"\0\2" + pdu[8:]), reason=6),
    "answers without user information": Wrong(alters(without_item(0x50)), reason=6),
    "answers without maximum length": Wrong(alters(without_item(0x51)), reason=6),
    "answers without implementation": Wrong(alters(without_item(0x52)), reason=6),
    "answers without application context": Wrong(alters(without_item(0x10)), reason=6),
    "answers with another application context": Wrong(answers(application_context="1.2.3"), says="1.2.3"),
    "answers no presentation context": Wrong(answers(presentation_contexts=()), reason=6),
    "answers a context twice": Wrong(
        answers(presentation_contexts=(PresentationContextAC(1, 0, IMPLICIT_VR_LITTLE_ENDIAN),) * 2), reason=6),
    "answers a context that was not proposed": Wrong(
        answers(presentation_contexts=(PresentationContextAC(99, 0, IMPLICIT_VR_LITTLE_ENDIAN),)), says="never"),
    "answers an even context": Wrong(
        answers(presentation_contexts=(PresentationContextAC(2, 0, IMPLICIT_VR_LITTLE_ENDIAN),)), reason=6),
    "accepts another transfer syntax": Wrong(
        answers(presentation_contexts=(PresentationContextAC(1, 0, "1.2.840.10008.1.2.2"),)), says="never proposed"),
    "accepts what is no UID": Wrong(
        answers(presentation_contexts=(PresentationContextAC(1, 0, "../../etc"),)), reason=6),
    "has items that lie about their length": Wrong(alters(lambda pdu: pdu[:76] + b"\xff\xff" + pdu[78:]), reason=6),
    "has roles that contradict": Wrong(
        answers(user_information=user(role_selections=(RoleSelection(CT, True, True), RoleSelection(CT, True, False)))),
        reason=6),
    "has two identity answers": Wrong(alters(lambda pdu: _twice(pdu)), reason=6),
}  # fmt: skip


def _twice(pdu: bytes) -> bytes:
    """With two more sub-items 59H."""
    more = b"\x59\0\0\2\0\0" * 2
    at = pdu.index(b"\x50\0")
    inner = int.from_bytes(pdu[at + 2 : at + 4], "big") + len(more)
    pdu = pdu[: at + 2] + inner.to_bytes(2, "big") + pdu[at + 4 :] + more
    return pdu[:2] + (len(pdu) - 6).to_bytes(4, "big") + pdu[6:]


def finish(call: Call) -> None:
    """Let time pass, in the end of which the peer, too, has closed."""
    for _ in range(BOUND):
        call.link.advance(1.0)
    if call.peer.transport is not None and call.peer.lost is None:
        call.peer.close()


@pytest.mark.parametrize("name", ASSOCIATING)
def test_a_peer_that_misbehaves_as_it_answers_is_no_association(name, logged):
    wrong = ASSOCIATING[name]
    call = Call(contexts=[propose(uid) for uid in CLASSES], timeouts=DEADLINES)
    wrong.does(call)
    finish(call)
    check(call.error, wrong)
    assert call.is_quiet
    assert not [event for event in logged if event.get("log_failure")]


def check(error: Exception, wrong: Wrong) -> None:
    assert type(error) is wrong.error, repr(error)
    if wrong.reason is not None:
        assert getattr(error, "reason", None) == wrong.reason, error
    assert wrong.says in str(error)


# In the middle of operations -----------------------------------------------------------------------------------------


class Using:
    """An association with the scripted peer, and one operation under way on it."""

    def __init__(self, operation: str) -> None:
        roles = as_scp(CT)
        contexts = [propose(uid, IMPLICIT_VR_LITTLE_ENDIAN) for uid in CLASSES]
        self.call = Call(contexts=contexts, role_selections=roles, window=WINDOW, timeouts=DEADLINES)
        agreed = user(role_selections=roles, asynchronous_operations_window=WINDOW)
        self.association = self.call.accepted(user_information=agreed)
        self.peer: Peer = self.call.peer
        self.link = self.call.link
        self.stored: list[str] = []
        association = self.association
        endless = Instance(CT, INSTANCE, IMPLICIT_VR_LITTLE_ENDIAN, self._endless())
        self.running = Running({
            "echo": lambda: association.echo(),
            "store": lambda: association.store(Instance(CT, INSTANCE, IMPLICIT_VR_LITTLE_ENDIAN, b"data")),
            "storing": lambda: association.store(endless),
            "find": lambda: all_of(association.find(FIND, KEYS)),
            "get": lambda: association.get(GET, KEYS, store=self._store),
            "move": lambda: association.move(MOVE, KEYS, "SOMEONE"),
            "n_get": lambda: association.n_get(STEP, "1.2.3"),
            "n_create": lambda: association.n_create(STEP),
            "release": lambda: association.release(),
        }[operation]())  # fmt: skip
        if operation == "storing":
            self.peer.end.pauseProducing()  # or it would never come to rest
        self.link.pump()

    async def _endless(self) -> Any:
        while True:
            yield bytes(100_000)

    async def _store(self, request: Any) -> int:
        data = await request.data.read()
        self.stored.append(request.sop_instance_uid)
        assert data is not None
        return 0

    def say(self, response: Any, sop_class: str = VERIFICATION, data: bytes | None = None, **changes: Any) -> None:
        """A response, on the context of a SOP class, with elements changed or (None) left out."""
        elements: CommandSet = response.command(data is not None) if hasattr(response, "data_set") else response
        for name, value in changes.items():
            element = Element[name.upper()]
            if value is None:
                elements.pop(element, None)
            else:
                elements[element] = value
        context = CONTEXT[sop_class]
        self.peer.send(command(elements, context) + (data_set(data, context) if data is not None else b""))

    def give(self, instance: str = "1.2.3", sop_class: str = CT, message_id: int = 1, *, data: bytes = b"data",
             context: int | None = None) -> None:  # fmt: skip
        """A C-STORE-RQ of the peer's."""
        context = context or CONTEXT[CT]
        elements = CStoreRQ(message_id, sop_class, instance).command()
        self.peer.send(command(elements, context) + data_set(data, context))


def pending(**numbers: int) -> CGetRSP:
    return CGetRSP(1, 0xFF00, GET, number_of_remaining_suboperations=1, number_of_completed_suboperations=0,
                   number_of_failed_suboperations=0, number_of_warning_suboperations=0, **numbers)  # fmt: skip


def says(response: Any, *arguments: Any, **keywords: Any) -> Callable[[Using], Any]:
    return lambda using: using.say(response, *arguments, **keywords)


def sends(*what: Any) -> Callable[[Using], Any]:
    return lambda using: using.peer.send(*what)


def raw(data: bytes, context: int = 1, is_command: bool = True) -> bytes:
    return b"".join(write_fragments(context, is_command, data, 16384))


def flood(using: Using) -> None:
    """Matches without end, faster than any deadline, and no final response."""
    for _ in range(BOUND * 2):
        using.say(CFindRSP(1, 0xFF00, FIND), FIND, b"")
        using.link.advance(1.0)


def huge_identifier(using: Using) -> None:
    using.peer.send(command(CFindRSP(1, 0xFF00, FIND).command(), CONTEXT[FIND]))
    block = raw(bytes(16000), CONTEXT[FIND], False)
    not_last = block[:11] + b"\0" + block[12:]
    for _ in range(700):
        using.peer.send(not_last)


ECHO, STORED = CEchoRSP(1, 0, VERIFICATION), CStoreRSP(1, 0, CT, affected_sop_instance_uid=INSTANCE)
FOUND, GOT, MOVED = CFindRSP(1, 0xFF00, FIND), CGetRSP(1, 0, GET), CMoveRSP(1, 0, MOVE)
HAS = {"command_data_set_type": DATA_SET_FOLLOWS}
EMPTY = {"command_data_set_type": NO_DATA_SET}

USING: dict[str, tuple[str, Wrong]] = {
    # Nothing, or the end
    "never answers an echo": ("echo", Wrong(lambda using: None, reason=0x437, says="no response to C-ECHO-RQ")),
    "never answers a store": ("store", Wrong(lambda using: None, reason=0x437)),
    "never ends a query": ("find", Wrong(says(FOUND, FIND, b""), reason=0x437)),
    "never ends a get": ("get", Wrong(says(pending(), GET), reason=0x437)),
    "takes nothing of a store": ("storing", Wrong(lambda using: None, reason=0x435)),
    "closes": ("echo", Wrong(lambda using: using.peer.close())),
    "cuts": ("find", Wrong(lambda using: using.peer.cut())),
    "cuts while it is sent to": ("storing", Wrong(lambda using: using.peer.cut())),
    "aborts": ("echo", Wrong(sends(Abort(0, 0)), AssociationAborted)),
    "aborts with reserved values": ("echo", Wrong(sends(Abort(1, 200)))),
    "releases under an operation": ("echo", Wrong(sends(ReleaseRQ()), AssociationReleased)),
    "answers a release that nobody asked for": ("echo", Wrong(sends(ReleaseRP()), reason=2)),
    "accepts again": ("echo", Wrong(lambda using: using.peer.send(accept(using.call.request)), reason=2)),
    "rejects what it accepted": ("echo", Wrong(sends(AssociateRJ(1, 1, 1)), reason=2)),
    "asks for an association": ("echo", Wrong(
        lambda using: using.peer.send(using.call.request), reason=2)),
    # PDUs and fragments
    "sends an unknown PDU": ("echo", Wrong(sends(b"\x08\0\0\0\0\0"), reason=1)),
    "sends a PDU longer than we take": ("echo", Wrong(sends(b"\x04\0\x7f\0\0\0"), reason=6)),
    "sends a PDV that lies": ("echo", Wrong(sends(b"\x04\0\0\0\0\x08\0\0\xff\0\x01\x03xx"), reason=6)),
    "stops inside a PDU": ("echo", Wrong(sends(raw(bytes(100))[:30]))),
    "uses a context that was not accepted": ("echo", Wrong(sends(raw(write_command(ECHO.command()), 99)), reason=5)),
    "sends a data set alone": ("echo", Wrong(sends(raw(b"data", 1, False)), reason=5)),
    "sends a command inside a data set": ("find", Wrong(
        sends(command(FOUND.command(), CONTEXT[FIND]), command(FOUND.command(), CONTEXT[FIND])), reason=5)),
    "changes the context inside a message": ("find", Wrong(
        sends(command(FOUND.command(), CONTEXT[FIND]), data_set(b"", CONTEXT[CT])), reason=5)),
    "never ends a command": ("echo", Wrong(sends(*[raw(bytes(16000))[:11] + b"\1" + bytes(16000)] * 5), reason=6)),
    # Command sets
    "sends garbage for a command": ("echo", Wrong(sends(raw(b"\xde\xad\xbe\xef" * 8)), reason=6)),
    "sends an empty command": ("echo", Wrong(sends(raw(b"")), reason=6)),
    "sends elements out of order": ("echo", Wrong(
        sends(raw(bytes.fromhex("0000 2001 02000000 0100 0000 0001 02000000 3080"))), reason=6)),
    "leaves out the command field": ("echo", Wrong(says(ECHO, command_field=None), reason=6)),
    "leaves out the status": ("echo", Wrong(says(ECHO, status=None), reason=6)),
    "leaves out the message ID": ("echo", Wrong(says(ECHO, message_id_being_responded_to=None), reason=6)),
    "leaves out the data set type": ("echo", Wrong(says(ECHO, command_data_set_type=None), reason=6)),
    "answers with a field that PS3.7 has not": ("echo", Wrong(says(ECHO, command_field=0x8FFF), reason=6)),
    # Responses to something else
    "answers another message ID": ("echo", Wrong(says(ECHO, message_id_being_responded_to=2), reason=5)),
    "answers message ID 0": ("echo", Wrong(says(ECHO, message_id_being_responded_to=0), reason=5)),
    "answers on another context": ("echo", Wrong(says(ECHO, CT), reason=5, says="its request was on 1")),
    "answers for another service": ("echo", Wrong(says(replace(STORED), CT), reason=5)),
    "answers a store as an echo": ("store", Wrong(says(ECHO, CT), reason=5, says="C-ECHO-RSP came in answer")),
    "answers for another SOP class": ("store", Wrong(says(STORED, CT, affected_sop_class_uid="1.2.3"), reason=5)),
    "answers for another instance": ("store", Wrong(says(STORED, CT, affected_sop_instance_uid="1.9"), reason=5)),
    "answers twice": ("echo", Wrong(
        lambda using: (using.say(ECHO), using.say(ECHO)), reason=5, says="which is not outstanding")),
    "answers before it has all": ("storing", Wrong(
        lambda using: using.say(STORED, CT), reason=5, says="came before the request was complete")),
    "says pending for a store": ("store", Wrong(says(STORED, CT, status=0xFF00), reason=5, says="pending")),
    "says pending for an echo": ("echo", Wrong(says(ECHO, status=0xFF01), reason=5)),
    # Statuses
    "says cancel that nobody asked for": ("find", Wrong(says(CFindRSP(1, 0xFE00, FIND), FIND), OperationFailed)),
    "says cancel for a store": ("store", Wrong(says(STORED, CT, status=0xFE00), OperationFailed)),
    "says a status that does not exist": ("echo", Wrong(says(ECHO, status=0x4711), OperationFailed, says="4711H")),
    "fails with a comment that is too long": ("echo", Wrong(
        says(ECHO, status=0x0110, error_comment="x" * 5000), OperationFailed)),
    # Data sets of responses
    "finds without an identifier": ("find", Wrong(says(FOUND, FIND, b"", **EMPTY))),
    "finds what is no data set": ("find", Wrong(says(FOUND, FIND, b"\xff" * 33), reason=6, says="C-FIND-RSP")),
    "finds a data set that is cut short": ("find", Wrong(
        says(FOUND, FIND, bytes.fromhex("10001000 ff000000 41")), reason=6)),
    "finds in big endian": ("find", Wrong(says(FOUND, FIND, bytes.fromhex("00100010 00000002 4142")), reason=6)),
    "finds group 2": ("find", Wrong(says(FOUND, FIND, bytes.fromhex("02001000 02000000 3100")), reason=6)),
    "finds without end": ("find", Wrong(huge_identifier, reason=0, says="more than 8388608 bytes")),
    "gets attributes that are no data set": ("n_get", Wrong(
        says(NGetRSP(1, 0, STEP, affected_sop_instance_uid="1.2.3"), STEP, b"garbage!"), reason=6)),
    "gets no attributes": ("n_get", Wrong(
        says(NGetRSP(1, 0, STEP), STEP, b"", **EMPTY))),
    "creates without a name": ("n_create", Wrong(says(NCreateRSP(1, 0, STEP), STEP), reason=5)),
    "creates what is no UID": ("n_create", Wrong(
        says(NCreateRSP(1, 0, STEP, affected_sop_instance_uid="../x"), STEP), reason=5)),
    "fails a move with garbage for its list": ("move", Wrong(
        says(replace(MOVED, status=0xB000), MOVE, b"\xff" * 9), reason=6)),
    # Operations of its own
    "floods us with requests": ("get", Wrong(
        lambda using: using.peer.send(*(command(CStoreRQ(each, CT, f"1.{each}").command(), CONTEXT[CT])
                                        + data_set(b"", CONTEXT[CT])[:6] for each in (1, 2))))),
    "sends an instance without end": ("get", Wrong(
        lambda using: using.peer.send(command(CStoreRQ(1, CT, "1.2").command(), CONTEXT[CT])), reason=0x437)),
    # The release
    "does not answer a release": ("release", Wrong(lambda using: None, reason=0x436)),
    "answers a release with an abort": ("release", Wrong(sends(Abort(0, 0)), AssociationAborted)),
    "answers a release with a rejection": ("release", Wrong(sends(AssociateRJ(1, 1, 1)), reason=2)),
    "collides in release and stops": ("release", Wrong(sends(ReleaseRQ()), reason=0x436)),
    "collides in release twice": ("release", Wrong(sends(ReleaseRQ(), ReleaseRQ()), reason=2)),
    "answers a response in release": ("release", Wrong(sends(command(ECHO.command())), reason=5)),
    "closes in release": ("release", Wrong(lambda using: using.peer.close())),
}  # fmt: skip


def test_there_are_at_least_sixty_of_them() -> None:
    assert len(ASSOCIATING) + len(USING) >= 90


@pytest.mark.parametrize("name", USING)
def test_a_peer_that_misbehaves_in_an_operation_ends_in_its_exception(name, logged):
    operation, wrong = USING[name]
    using = Using(operation)
    wrong.does(using)
    finish(using.call)
    if name == "answers twice":
        assert using.running.result == 0
        check(using.association.ended, wrong)
    else:
        check(using.running.error, wrong)
    assert using.stored == []
    if using.association.ended is None:  # the answer was no more than a failure
        assert wrong.error is OperationFailed
        using.association.abort()
        using.peer.close()
    assert using.call.is_quiet
    assert not [event for event in logged if event.get("log_failure")]


# What is refused, and the association goes on ------------------------------------------------------------------------


@pytest.mark.parametrize(("instance", "status"), [
    ("../../etc/passwd", 0x0117), ("/etc/passwd", 0x0117), ("1.2.3/../4", 0x0117), ("1.2.3\\4", 0x0117),
    ("1..2", 0x0117), ("1.02", 0x0117), ("1." * 40 + "1", 0x0117), (".", 0x0117), ("..", 0x0117), ("", 0x0212),
    ("a.b.c", 0x0117),
])  # fmt: skip
def test_a_get_peer_with_path_like_uids_stores_nothing(instance, status):
    using = Using("get")
    using.peer.received.clear()
    elements = CStoreRQ(1, CT, instance or "1").command()
    if not instance:
        del elements[Element.AFFECTED_SOP_INSTANCE_UID]
    using.peer.send(command(elements, CONTEXT[CT]) + data_set(b"data", CONTEXT[CT]))
    assert _status(using.peer) == status
    assert using.stored == []
    using.say(GOT, GET)
    assert using.running.result.response.status == 0


def _status(peer: Peer) -> int:
    from .stage import responses

    [response] = responses(pdu for pdu in peer.received)
    return response.status


@pytest.mark.parametrize("give", [
    {"sop_class": "1.2.3"}, {"sop_class": VERIFICATION}, {"context": CONTEXT[VERIFICATION]}, {"context": CONTEXT[GET]},
])  # fmt: skip
def test_a_get_peer_stores_nothing_but_what_was_agreed_on(give):
    using = Using("get")
    using.peer.received.clear()
    using.give(**give)
    assert _status(using.peer) == 0x0122
    assert using.stored == []
    using.say(GOT, GET)
    assert using.running.result.response.status == 0


@pytest.mark.parametrize("operation", ["echo", "find", "move"])
def test_an_instance_that_nobody_asked_for_is_not_taken(operation):
    using = Using(operation)
    using.peer.received.clear()
    using.give()
    assert _status(using.peer) == 0x0122
    assert using.stored == []


def test_an_instance_after_the_get_is_over_is_not_taken():
    using = Using("get")
    using.give()
    using.say(GOT, GET)
    using.peer.received.clear()
    using.give("1.2.4", message_id=2)
    assert _status(using.peer) == 0x0122
    assert using.stored == ["1.2.3"]


@pytest.mark.parametrize("field", [CommandField.C_FIND_RQ, CommandField.C_MOVE_RQ, CommandField.N_DELETE_RQ, 0x4711])
def test_operations_for_which_there_is_no_role_are_refused(field):
    using = Using("echo")
    using.peer.received.clear()
    using.peer.send(command(CEchoRQ(1, VERIFICATION).command() | {Element.COMMAND_FIELD: field}))
    assert _status(using.peer) in (0x0122, 0x0211, 0x0212)
    using.say(ECHO)
    assert using.running.result == 0


def test_a_get_that_brings_instances_and_no_other_sign_of_life_lives():
    using = Using("get")
    for number in range(1, 6):
        using.link.pump([1.0] * 15)
        using.give(f"1.{number}", message_id=number)
    using.say(GOT, GET)
    assert using.running.result.response.status == 0
    assert len(using.stored) == 5


def test_matches_without_end_are_bounded_by_who_reads_them():
    """A peer may go on for as long as the caller asks for more; none of it is kept."""
    using = Using("echo")
    matches = using.association.find(FIND, KEYS)
    found = 0

    async def some() -> None:
        nonlocal found
        async for _ in matches:
            found += 1

    running = Running(some())
    for _ in range(500):
        using.say(CFindRSP(2, 0xFF00, FIND), FIND, b"")
    assert found == 500
    stopping = Running(matches.cancel())
    using.say(CFindRSP(2, 0xFE00, FIND), FIND)
    assert (stopping.result, running.is_over) == (None, True)


def test_responses_that_nobody_reads_while_another_operation_waits_are_bounded_too():
    using = Using("echo")
    using.association.find(FIND, KEYS)
    for _ in range(5000):
        using.say(CFindRSP(2, 0xFF00, FIND), FIND, bytes(16000))
        if using.association.ended is not None:
            break
    assert "that nobody reads" in str(using.association.ended)
    assert isinstance(using.running.error, ProviderAborted)


@pytest.mark.parametrize("lies", [
    {"asynchronous_operations_window": AsynchronousOperationsWindow(100, 100)},
    {"asynchronous_operations_window": AsynchronousOperationsWindow(0, 0)},
])  # fmt: skip
def test_a_window_wider_than_offered_is_as_wide_as_offered(lies):
    call = Call(window=WINDOW)
    association = call.accepted(user_information=user(**lies))
    assert association.window == 2
    call = Call()
    assert call.accepted(user_information=user(**lies)).window == 1


def test_what_was_not_asked_for_is_ignored():
    call = Call(contexts=[propose(VERIFICATION), propose(CT)])
    roles = (RoleSelection(CT, True, True),)
    information = user(role_selections=roles, user_identity_response=UserIdentityAC(b"hello"))
    association = call.accepted(user_information=information)
    assert not association.context(CT).requestor_is_scp
    assert association.standing is None


