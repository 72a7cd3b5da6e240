"""What bad input is answered, over an association, as bytes: the status that PS3.4 and PS3.7 name for it, with the
offending element and a comment; and an abort only where nobody could tell whom to answer what.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from twisted.internet.defer import Deferred, execute
from twisted.internet.task import Clock

from dimsetls.association.datasets import LARGEST
from dimsetls.codes import CommandField
from dimsetls.dimse.command import NO_DATA_SET, CommandSet, Element, write_command
from dimsetls.dimse.messages import CCancelRQ, CEchoRQ, CFindRQ, CGetRQ, CMoveRQ, CStoreRQ, Response
from dimsetls.dimse.normalized import NActionRQ, NCreateRQ, NDeleteRQ, NEventReportRQ, NGetRQ, NSetRQ
from dimsetls.services.archive import Archive
from dimsetls.services.models import PATIENT_ROOT, STUDY_ROOT
from dimsetls.services.provider import Services
from dimsetls.services.query_retrieve import QueryRetrieve
from dimsetls.services.storage import Storage
from dimsetls.services.verification import Verification
from dimsetls.uids import EXPLICIT_VR_LITTLE_ENDIAN, IMPLICIT_VR_LITTLE_ENDIAN, VERIFICATION
from dimsetls.ul.pdus import Abort, PDataTF
from dimsetls.ul.writer import write_fragments

from ..association.pair import COMMITMENT, serving
from ..association.stage import CT, MR, WINDOW_OF_TWO, Stage, context, data_set, echo, responses
from .archives import an_archive, body, explicit, keep

IMPLICIT, EXPLICIT = IMPLICIT_VR_LITTLE_ENDIAN, EXPLICIT_VR_LITTLE_ENDIAN
FIND, MOVE, GET = STUDY_ROOT.find, STUDY_ROOT.move, STUDY_ROOT.get

CLASS, REQUESTED_CLASS = Element.AFFECTED_SOP_CLASS_UID, Element.REQUESTED_SOP_CLASS_UID
INSTANCE, REQUESTED_INSTANCE = Element.AFFECTED_SOP_INSTANCE_UID, Element.REQUESTED_SOP_INSTANCE_UID
FIELD, MESSAGE_ID, TYPE = Element.COMMAND_FIELD, Element.MESSAGE_ID, Element.COMMAND_DATA_SET_TYPE
PRIORITY, DESTINATION = Element.PRIORITY, Element.MOVE_DESTINATION
EVENT, ACTION, TAGS = Element.EVENT_TYPE_ID, Element.ACTION_TYPE_ID, Element.ATTRIBUTE_IDENTIFIER_LIST
TITLE, NUMBER = Element.MOVE_ORIGINATOR_AE_TITLE, Element.MOVE_ORIGINATOR_MESSAGE_ID
LEVEL, SOP_CLASS, IMAGE, DATE, PROCEDURE = 0x00080052, 0x00080016, 0x00080018, 0x00080020, 0x00081032
NAME, PATIENT, WEIGHT, STUDY, SERIES, SERIES_NUMBER = (
    0x00100010, 0x00100020, 0x00101030, 0x0020000D, 0x0020000E, 0x00200011
)  # fmt: skip

OTHER_CLASS, NO_ROLE = "the SOP class is not that of the presentation context", "the role for this was not negotiated"

pytestmark = pytest.mark.filterwarnings("ignore:Invalid value for VR")  # pydicom's, of keys that are none


class InThisThread(Archive):
    def run(self, call: Any) -> Deferred[Any]:
        return execute(call)


@pytest.fixture
def archived(tmp_path: Path) -> Iterator[Services]:
    """Verification, storage, query and retrieve, over three instances."""
    store = an_archive(tmp_path / "archive")
    for number in (1, 2, 3):
        keep(store, f"1.1.1.{number}", body("1.1", "Eva", number))
    assert store.index is not None
    archive = InThisThread(store.index, "DIMSETLS", Clock())
    yield Services(Verification(), Storage(store), QueryRetrieve(archive, store.root))
    store.close()


@pytest.fixture(autouse=True)
def commits_in_this_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("dimsetls.services.storage.deferToThread", execute)


# Bytes ----------------------------------------------------------------------------------------------------------------


def element(tag: int, value: bytes) -> bytes:
    """In Implicit VR Little Endian, as command sets are."""
    return struct.pack("<HHI", tag >> 16, tag & 0xFFFF, len(value)) + value


def keys(*extra: tuple[int, bytes], level: bytes = b"STUDY ") -> bytes:
    """An identifier."""
    return b"".join(element(tag, value) for tag, value in sorted(((LEVEL, level), *extra)))


def but(message: Any, *without: int, **changed: Any) -> CommandSet:
    """The command set of a message, without some elements, and with others changed."""
    command = message.command() | {int(Element[name.upper()]): value for name, value in changed.items()}
    return {number: value for number, value in command.items() if number not in without}


def misshapen(message: Any, number: int, value: bytes) -> bytes:
    """Its command set with an element as these bytes."""
    octets = {each: write_command({each: content})[12 + 8:] for each, content in message.command().items()}
    octets[number] = value
    return b"".join(element(each, octets[each]) for each in sorted(octets))


def said(services: Any, uid: str, command: CommandSet | bytes, data: bytes | None, syntax: str = IMPLICIT) -> Any:
    """The only response to it, or the A-ABORT. After a response the association serves as before."""
    stage = Stage(services)
    peer = stage.associated(context(1, VERIFICATION), context(3, uid, syntax))
    octets = command if isinstance(command, bytes) else write_command(command)
    sent = peer.send(b"".join(write_fragments(3, True, octets, 16384)) + (data_set(data) if data is not None else b""))
    if isinstance(sent[0], Abort):
        [abort] = sent
        return abort
    [answer] = responses(pdu for pdu in sent if isinstance(pdu, PDataTF) and pdu.values[0].is_command)
    assert [each.status for each in responses(peer.send(echo(99)))] == [0]
    return answer


def assert_refused(answer: Any, status: int, offending: int | None, comment: str) -> None:
    assert isinstance(answer, Response), answer
    found = f"{answer.status:04X}", tuple(map(hex, answer.offending_element))
    assert found == (f"{status:04X}", () if offending is None else (hex(offending),))
    assert answer.error_comment.startswith(comment), answer.error_comment
    assert bool(comment) == bool(answer.error_comment)
    assert answer.message_id_being_responded_to == 1


# Command sets -------------------------------------------------------------------------------------------------------

ECHO, STORE, QUERY = CEchoRQ(1, VERIFICATION), CStoreRQ(1, CT, "1.1.1.9"), CFindRQ(1, FIND)
RETRIEVE, TO_NOBODY = CGetRQ(1, GET), CMoveRQ(1, MOVE, "NOWHERE")


@pytest.mark.parametrize(("uid", "command", "data", "status", "offending", "comment"), [
    # What is missing.
    (VERIFICATION, but(ECHO, CLASS), None, 0x0212, CLASS, "the command set lacks AFFECTED_SOP_CLASS_UID (0000,0002)"),
    (CT, but(STORE, CLASS), b"", 0x0212, CLASS, "the command set lacks"),
    (CT, but(STORE, INSTANCE), b"", 0x0212, INSTANCE, "the command set lacks AFFECTED_SOP_INSTANCE_UID (0000,1000)"),
    (CT, but(STORE, PRIORITY), b"", 0x0212, PRIORITY, "the command set lacks PRIORITY"),
    (FIND, but(QUERY, PRIORITY), keys(), 0x0212, PRIORITY, "the command set lacks PRIORITY"),
    (MOVE, but(TO_NOBODY, DESTINATION), keys(), 0x0212, DESTINATION, "the command set lacks MOVE_DESTINATION"),
    # What is there and is not what it should be.
    (VERIFICATION, but(ECHO, affected_sop_class_uid="1.02"), None, 0x0122, CLASS,
     "AFFECTED_SOP_CLASS_UID (0000,0002) is no"),
    (VERIFICATION, but(ECHO, affected_sop_class_uid=CT), None, 0x0122, CLASS, OTHER_CLASS),
    (CT, but(STORE, affected_sop_class_uid=MR), b"", 0x0122, CLASS, OTHER_CLASS),
    (FIND, but(QUERY, affected_sop_class_uid=PATIENT_ROOT.find), keys(), 0x0122, CLASS, OTHER_CLASS),
    (CT, but(STORE, affected_sop_instance_uid="1.02"), b"", 0x0117, INSTANCE,
     "AFFECTED_SOP_INSTANCE_UID (0000,1000) is no UID"),
    (CT, but(STORE, affected_sop_instance_uid="../../etc/passwd"), b"", 0x0117, INSTANCE, "AFFECTED_SOP_INSTANCE_UID"),
    (CT, but(STORE, move_originator_ae_title="A\\B"), b"", 0x0212, TITLE,
     "MOVE_ORIGINATOR_AE_TITLE (0000,1030) is no AE title"),
    (MOVE, but(TO_NOBODY, move_destination="A\\B"), keys(), 0xA801, DESTINATION,
     "MOVE_DESTINATION (0000,0600) is no AE title"),
    (MOVE, but(TO_NOBODY, move_destination="A" * 17), keys(), 0xA801, DESTINATION,
     "MOVE_DESTINATION (0000,0600) is no AE title"),
    (MOVE, but(TO_NOBODY), keys((STUDY, b"1.1\0")), 0xA801, DESTINATION, "move destination NOWHERE is not known here"),
    # Values of a length that their VR does not have.
    (CT, misshapen(STORE, PRIORITY, bytes(4)), b"", 0x0212, PRIORITY, "PRIORITY (0000,0700) has 4 bytes, not 2"),
    (CT, misshapen(STORE, CLASS, CT.encode()), b"", 0x0212, CLASS,
     "AFFECTED_SOP_CLASS_UID (0000,0002) has 25 bytes, which is odd"),
    (CT, misshapen(STORE, NUMBER, b"\1"), b"", 0x0212, NUMBER,
     "MOVE_ORIGINATOR_MESSAGE_ID (0000,1031) has 1 bytes, not 2"),
    (MOVE, misshapen(TO_NOBODY, DESTINATION, b"ABC"), keys(), 0x0212, DESTINATION,
     "MOVE_DESTINATION (0000,0600) has 3 bytes"),
    # Operations that are not for this.
    (FIND, but(QUERY, command_field=0x0999), keys(), 0x0211, FIELD, "operation 0999H is not known here"),
    (FIND, but(CStoreRQ(1, FIND, "1.2")), b"", 0x0122, FIELD, "this AE does not store"),
    (CT, but(CFindRQ(1, CT)), keys(), 0x0122, FIELD, "this AE does not query"),
    (CT, but(NActionRQ(1, CT, "1.2", 1)), None, 0x0122, FIELD, "this AE does not manage"),
    (CT, but(NEventReportRQ(1, CT, "1.2", 1)), None, 0x0122, CLASS, NO_ROLE),
    # Data sets that have to come.
    (CT, but(STORE, command_data_set_type=NO_DATA_SET), None, 0x0212, TYPE, "C-STORE-RQ came without a data set"),
    (FIND, but(QUERY, command_data_set_type=NO_DATA_SET), None, 0x0212, TYPE, "C-FIND-RQ came without a data set"),
    (GET, but(RETRIEVE, command_data_set_type=NO_DATA_SET), None, 0x0212, TYPE, "C-GET-RQ came without a data set"),
    (MOVE, but(TO_NOBODY, command_data_set_type=NO_DATA_SET), None, 0x0212, TYPE, "C-MOVE-RQ came without a data set"),
])  # fmt: skip
def test_a_command_set(
    archived: Services, uid: str, command: CommandSet | bytes, data: bytes | None, status: int, offending: int | None,
    comment: str,
) -> None:  # fmt: skip
    assert_refused(said(archived, uid, command, data), status, offending, comment)


@pytest.mark.parametrize(("uid", "command", "data"), [
    (VERIFICATION, but(ECHO, command_data_set_type=1), b"no use"),
    (VERIFICATION, but(ECHO, priority=7, move_destination="A\\B", affected_sop_instance_uid="x"), None),
    (VERIFICATION, misshapen(ECHO, PRIORITY, bytes(4)), None),
    (CT, but(STORE, priority=7), body(number=9)),
    (CT, misshapen(STORE, 0, b"\1\2"), body(number=9)),
])  # fmt: skip
def test_what_nothing_hangs_on_is_forgiven(
    archived: Services, uid: str, command: CommandSet | bytes, data: bytes | None
) -> None:
    assert said(archived, uid, command, data).status == 0


@pytest.mark.parametrize(("command", "reason"), [
    (but(QUERY, MESSAGE_ID), 6),
    (but(QUERY, FIELD), 6),
    (but(QUERY, TYPE), 6),
    (misshapen(QUERY, MESSAGE_ID, bytes(4)), 6),
    (misshapen(QUERY, TYPE, b"\1"), 6),
    (but(QUERY, command_field=0x8999), 6),
    (but(QUERY, command_field=CommandField.C_FIND_RSP), 6),
    (write_command(but(QUERY))[:-3], 6),
    (element(FIELD, b"\x20\0") + element(CLASS, b"1.2\0"), 6),
    (element(0x00080052, b"STUDY "), 6),
    (but(QUERY, command_data_set_type=NO_DATA_SET) | {MESSAGE_ID: 1, TYPE: NO_DATA_SET}, 5),
])  # fmt: skip
def test_an_abort_is_left_for_what_cannot_be_answered(
    archived: Services, command: CommandSet | bytes, reason: int
) -> None:
    """The last announces no data set, and sends one: it is answered first."""
    peer = Stage(archived).associated(context(3, FIND, IMPLICIT))
    octets = command if isinstance(command, bytes) else write_command(command)
    sent = peer.send(b"".join(write_fragments(3, True, octets, 16384)) + data_set(keys()))
    assert sent[-1] == Abort(2, reason)


def test_a_command_in_place_of_a_data_set_that_was_announced_is_an_abort(archived: Services) -> None:
    peer = Stage(archived).associated(context(3, FIND, IMPLICIT))
    octets = write_command(but(QUERY))
    assert peer.send(b"".join(write_fragments(3, True, octets, 16384)) * 2) == [Abort(2, 5)]


def test_a_message_id_that_is_in_use_is_0210() -> None:
    stage = Stage(serving(c_store=lambda request: Deferred()), maximum_operations_invoked=3)
    peer = stage.associated(context(1, VERIFICATION), context(3, CT, IMPLICIT), **WINDOW_OF_TWO)
    message = b"".join(write_fragments(3, True, write_command(but(STORE)), 16384)) + data_set(b"")
    assert peer.send(message) == []
    [answer] = responses(peer.send(message))
    assert_refused(answer, 0x0210, MESSAGE_ID, "the message ID is in use")


def test_a_cancel_of_nothing_is_ignored(archived: Services) -> None:
    peer = Stage(archived).associated(context(1, VERIFICATION), context(3, FIND, IMPLICIT))
    cancel = write_command(CCancelRQ(7).command())
    assert peer.send(b"".join(write_fragments(3, True, cancel, 16384))) == []
    assert [each.status for each in responses(peer.send(echo(2)))] == [0]


# Identifiers --------------------------------------------------------------------------------------------------------

NO_LEVEL = "expected a level of STUDY, SERIES, IMAGE"
ITEM = b"\xfe\xff\x00\xe0\0\0\0\0"
NOT_READ = "the data set cannot be read"


@pytest.mark.parametrize(("identifier", "status", "offending", "comment"), [
    (b"", 0xA900, LEVEL, NO_LEVEL),
    (element(STUDY, b""), 0xA900, LEVEL, NO_LEVEL),
    (keys(level=b""), 0xA900, LEVEL, NO_LEVEL),
    (keys(level=b"FRAME "), 0xA900, LEVEL, NO_LEVEL),
    (keys(level=b"study "), 0xA900, LEVEL, NO_LEVEL),
    (keys(level=b"PATIENT "), 0xA900, LEVEL, NO_LEVEL),
    (keys(level=b"STUDY\\SERIES"), 0xA900, LEVEL, NO_LEVEL),
    (keys((SERIES, b""), level=b"SERIES"), 0xA900, STUDY, "expected one value of StudyInstanceUID, no wild card"),
    (keys((STUDY, b"1.2\\1.3\0"), level=b"SERIES"), 0xA900, STUDY, "expected one value of StudyInstanceUID"),
    (keys((STUDY, b"1.2\0"), level=b"IMAGE "), 0xA900, SERIES, "expected one value of SeriesInstanceUID"),
    (keys((STUDY, b"1.2*")), 0xA900, STUDY, "expected UIDs without wild cards"),
    (keys((STUDY, b"1.02")), 0xA900, STUDY, "expected UIDs without wild cards"),
    (keys((DATE, b"2024010a")), 0xA900, DATE, "expected one DA or a range of two"),
    (keys((DATE, b"20240101-20240201-")), 0xA900, DATE, "expected one DA or a range of two"),
    (keys((DATE, b"20240101\\20240201 ")), 0xA900, DATE, "expected one DA or one range of them"),
    (keys((WEIGHT, b"heavy ")), 0xA900, WEIGHT, "expected numbers without wild cards or ranges"),
    (keys((STUDY, b"1.2\0"), (SERIES_NUMBER, b"1-9 "), level=b"SERIES"), 0xA900, SERIES_NUMBER, "expected numbers"),
    (keys((PROCEDURE, ITEM * 2)), 0xA900, PROCEDURE, "expected a sequence of one item"),
    (keys((PROCEDURE, b"garbage!")), 0xC000, PROCEDURE, NOT_READ),
    (keys() + b"\x10\x00\x10\x00\xff\0\0\0ab", 0xC000, NAME, NOT_READ),
    (element(NAME, b"A ") + element(LEVEL, b"STUDY "), 0xC000, LEVEL, NOT_READ),
    (keys() + keys(), 0xC000, LEVEL, NOT_READ),
    (keys() + b"abc", 0xC000, None, NOT_READ),
    (b"\xff" * 20, 0xC000, None, NOT_READ),
    (keys((NAME, b"A" * LARGEST)), 0xA700, None, f"the data set has more than {LARGEST} bytes"),
])  # fmt: skip
def test_an_identifier_of_a_query(
    archived: Services, identifier: bytes, status: int, offending: int | None, comment: str
) -> None:
    assert_refused(said(archived, FIND, but(QUERY), identifier), status, offending, comment)


LEVEL_IN_WORDS = explicit(0x0008, 0x0052, "CS", b"STUDY")


@pytest.mark.parametrize(("identifier", "status", "offending", "comment"), [
    (explicit(8, 0x52, "US", b"\1\0"), 0xA900, LEVEL, "expected VR CS, came US"),
    (explicit(8, 0x52, "CS", b"")[:4] + b"SQ" + bytes(6), 0xA900, LEVEL, "expected VR CS, came SQ"),
    (LEVEL_IN_WORDS + explicit(0x10, 0x10, "US", b"\1\0"), 0xA900, NAME, "expected VR PN, came US"),
    (LEVEL_IN_WORDS + explicit(0x20, 0xD, "OB", b"")[:6] + b"\0\0\4\0\0\0" b"1.2\0", 0xA900, STUDY,
     "expected VR UI, came OB"),
    (explicit(8, 0x20, "FD", bytes(8)) + LEVEL_IN_WORDS, 0xA900, DATE, "expected VR DA, came FD"),
    (explicit(8, 0x20, "LO", b"yesterday") + LEVEL_IN_WORDS, 0xA900, DATE, "expected one DA or a range of two"),
    (LEVEL_IN_WORDS + explicit(8, 0x1032, "LO", b"abc"), 0xA900, PROCEDURE, "expected a sequence of one item"),
    (explicit(8, 0x52, "zz", b"STUDY"), 0xC000, LEVEL, NOT_READ),
])  # fmt: skip
def test_an_identifier_with_vrs_that_are_not_those_of_its_keys(
    archived: Services, identifier: bytes, status: int, offending: int | None, comment: str
) -> None:
    assert_refused(said(archived, FIND, but(QUERY), identifier, EXPLICIT), status, offending, comment)


@pytest.mark.parametrize(("identifier", "syntax"), [
    (LEVEL_IN_WORDS + explicit(0x10, 0x10, "LO", b"NOBODY"), EXPLICIT),
    (explicit(8, 0x52, "CS", b"")[:4] + b"UN\0\0\6\0\0\0STUDY " + explicit(0x10, 0x10, "SH", b"NOBODY"), EXPLICIT),
    (element(0x00080005, b"FOO ") + keys((NAME, b"A\xff* ")), IMPLICIT),
    (element(0x00080005, b"ISO_IR 192") + keys((NAME, b"A\xff* ")), IMPLICIT),
])  # fmt: skip
@pytest.mark.filterwarnings("ignore")
def test_what_can_be_understood_all_the_same_is_answered(archived: Services, identifier: bytes, syntax: str) -> None:
    assert said(archived, FIND, but(QUERY), identifier, syntax).status == 0


@pytest.mark.parametrize(("identifier", "status", "offending", "comment"), [
    (b"", 0xA900, LEVEL, NO_LEVEL),
    (keys(), 0xA900, STUDY, "expected one or more UIDs of StudyInstanceUID, no wild card"),
    (keys((STUDY, b"1.*\0")), 0xA900, STUDY, "expected UIDs without wild cards"),
    (keys((STUDY, b"1.1\0"), (SERIES, b"1.1\0")), 0xA900, SERIES, "expected no key below the level STUDY"),
    (keys((SERIES, b"1.1\0"), level=b"SERIES"), 0xA900, STUDY, "expected one value of StudyInstanceUID"),
    (b"\xff" * 20, 0xC000, None, NOT_READ),
    (keys((NAME, b"A" * LARGEST)), 0xA700, None, "the data set has more than"),
])  # fmt: skip
@pytest.mark.parametrize("command", [but(RETRIEVE), but(TO_NOBODY, move_destination="SOMEONE")], ids=["get", "move"])
def test_an_identifier_of_a_retrieval(
    archived: Services, monkeypatch: pytest.MonkeyPatch, command: CommandSet, identifier: bytes, status: int,
    offending: int | None, comment: str,
) -> None:  # fmt: skip
    monkeypatch.setattr(QueryRetrieve, "move_destination", lambda self, request: pytest.fail)
    assert_refused(said(archived, str(command[CLASS]), command, identifier), status, offending, comment)


def test_one_patient_at_a_time_is_retrieved(archived: Services) -> None:
    identifier = keys((PATIENT, b"P1\\P2 "), level=b"PATIENT ")
    answer = said(archived, PATIENT_ROOT.get, but(CGetRQ(1, PATIENT_ROOT.get)), identifier)
    assert_refused(answer, 0xA900, PATIENT, "expected one value of PatientID, no wild card")


# Instances ----------------------------------------------------------------------------------------------------------


def instance(sop_class: bytes = CT.encode(), uid: bytes = b"1.1.1.9") -> bytes:
    return explicit(8, 0x16, "UI", sop_class) + explicit(8, 0x18, "UI", uid)


@pytest.mark.parametrize(("data", "status", "offending", "comment"), [
    (instance(), 0, None, ""),
    (instance(uid=b""), 0, None, ""),
    (instance(uid=b"1.1.1.8"), 0xA900, IMAGE, "SOPInstanceUID of the data set is not that of the command"),
    (instance(uid=b"1.1.1.90"), 0xA900, IMAGE, "SOPInstanceUID of the data set is not that of the command"),
    (instance(uid=b"1.1.1.9\xff"), 0xA900, IMAGE, "SOPInstanceUID of the data set is not that of the command"),
    (instance(sop_class=MR.encode()), 0xA900, SOP_CLASS, "SOPClassUID of the data set is not that of the command"),
])  # fmt: skip
@pytest.mark.parametrize("indexed", [True, False])
def test_a_data_set_of_another_instance(
    tmp_path: Path, data: bytes, status: int, offending: int | None, comment: str, indexed: bool
) -> None:
    store = an_archive(tmp_path / "store", layout="{SOPInstanceUID}.dcm")
    if not indexed:
        store.close()
        store.index = None
        store.open()
        status, offending, comment = 0, None, ""  # nothing is found by what the data set says of itself
    answer = said(Services(Verification(), Storage(store)), CT, but(STORE), data, EXPLICIT)
    assert_refused(answer, status, offending, comment)
    assert [path.name for path in store.root.glob("*.dcm")] == ([] if status else ["1.1.1.9.dcm"])
    assert not [path for path in store.root.glob(".incoming/*/*") if path.name not in ("lock", "notes")]
    store.close()


# Normalized operations ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("command", "data", "status", "offending", "comment"), [
    (but(NGetRQ(1, COMMITMENT, "1.2"), REQUESTED_CLASS), None, 0x0212, REQUESTED_CLASS,
     "the command set lacks REQUESTED_SOP_CLASS_UID"),
    (but(NGetRQ(1, COMMITMENT, "1.2"), REQUESTED_INSTANCE), None, 0x0212, REQUESTED_INSTANCE, "the command set lacks"),
    (but(NGetRQ(1, COMMITMENT, "1.02")), None, 0x0117, REQUESTED_INSTANCE,
     "REQUESTED_SOP_INSTANCE_UID (0000,1001) is no UID"),
    (but(NGetRQ(1, CT, "1.2")), None, 0x0122, REQUESTED_CLASS, OTHER_CLASS),
    (misshapen(NGetRQ(1, COMMITMENT, "1.2"), TAGS, bytes(6)), None, 0x0212, TAGS,
     "ATTRIBUTE_IDENTIFIER_LIST (0000,1005) has 6 bytes, not 4 a tag"),
    (but(NSetRQ(1, COMMITMENT, "1.2"), command_data_set_type=NO_DATA_SET), None, 0x0212, TYPE,
     "N-SET-RQ came without a data set"),
    (but(NSetRQ(1, COMMITMENT, "1.2")), b"\xff" * 20, 0x0110, None, NOT_READ),
    (but(NSetRQ(1, COMMITMENT, "1.2")), keys() + keys(), 0x0110, LEVEL, NOT_READ),
    (but(NSetRQ(1, COMMITMENT, "1.2")), keys((NAME, b"A" * LARGEST)), 0x0213, None, "the data set has more than"),
    (but(NActionRQ(1, COMMITMENT, "1.2", 1), ACTION), None, 0x0212, ACTION,
     "the command set lacks ACTION_TYPE_ID (0000,1008)"),
    (misshapen(NActionRQ(1, COMMITMENT, "1.2", 1), ACTION, bytes(4)), None, 0x0212, ACTION,
     "ACTION_TYPE_ID (0000,1008) has 4 bytes"),
    (but(NActionRQ(1, COMMITMENT, "1.2", 1), command_data_set_type=1), b"\xff" * 20, 0x0110, None, NOT_READ),
    (but(NCreateRQ(1, COMMITMENT, "1.02")), None, 0x0117, INSTANCE, "AFFECTED_SOP_INSTANCE_UID (0000,1000) is no UID"),
    (but(NCreateRQ(1, MR)), None, 0x0122, CLASS, OTHER_CLASS),
    (but(NDeleteRQ(1, COMMITMENT, "1.2"), REQUESTED_INSTANCE), None, 0x0212, REQUESTED_INSTANCE,
     "the command set lacks"),
    (but(NEventReportRQ(1, COMMITMENT, "1.2", 1), EVENT), None, 0x0212, EVENT,
     "the command set lacks EVENT_TYPE_ID (0000,1002)"),
    (but(NEventReportRQ(1, COMMITMENT, "1.2", 1)), None, 0x0122, CLASS, NO_ROLE),
])  # fmt: skip
def test_a_normalized_operation(
    command: CommandSet | bytes, data: bytes | None, status: int, offending: int | None, comment: str
) -> None:
    if data is not None and not isinstance(command, bytes):
        command = command | {TYPE: 1}

    async def read(request: Any) -> int:
        await request.dataset()
        return 0

    handlers = dict.fromkeys(("n_get", "n_set", "n_action", "n_create", "n_delete"), read)
    assert_refused(said(serving(**handlers), COMMITMENT, command, data), status, offending, comment)
