"""Who is let in, and what is agreed."""

from __future__ import annotations

import pytest

from dimsetls.association.admission import ApplicationEntity, Caller, Refusal
from dimsetls.association.events import AssociationEnded, AssociationRefused, AssociationStarted
from dimsetls.codes import ContextResult
from dimsetls.services.provider import ServiceProvider
from dimsetls.testing import Peer, tls_endpoints
from dimsetls.uids import (
    EXPLICIT_VR_LITTLE_ENDIAN,
    IMPLEMENTATION_CLASS_UID,
    IMPLEMENTATION_VERSION_NAME,
    IMPLICIT_VR_LITTLE_ENDIAN,
    VERIFICATION,
)
from dimsetls.ul.negotiation import Support
from dimsetls.ul.pdus import (
    Abort,
    AssociateAC,
    AssociateRJ,
    AsynchronousOperationsWindow,
    CommonExtendedNegotiation,
    ExtendedNegotiation,
    RoleSelection,
)
from dimsetls.ul.reader import read_pdu
from dimsetls.ul.writer import LARGEST_PDU_LENGTH, write_pdu

from .stage import CT, MR, Services, Stage, context, echo, request, statuses, store

JPEG_LOSSLESS = "1.2.840.10008.1.2.4.70"
UNSUPPORTED = "1.2.840.10008.5.1.4.1.2.2.1"


def titled(calling: bytes, called: bytes = b"DIMSETLS", reserved: bytes = bytes(32)) -> bytes:
    """An A-ASSOCIATE-RQ whose AE title fields hold exactly these bytes, padded with spaces."""
    wire = write_pdu(request())
    return wire[:10] + called.ljust(16) + calling.ljust(16) + reserved + wire[74:]


# Who is let in ---------------------------------------------------------------------------------------------------


def test_a_request_for_an_ae_title_of_ours_is_accepted_and_told():
    stage = Stage()
    [answer] = stage.peer().send(request())
    assert isinstance(answer, AssociateAC)
    started = stage.told(AssociationStarted)
    assert (started.parties.calling_ae_title, started.parties.called_ae_title) == ("PEER", "DIMSETLS")
    assert (started.parties.peer, started.parties.tls) == ("192.0.2.1:50000", None)
    assert (started.contexts_accepted, started.contexts_proposed, started.implementation) == (2, 2, "A_PEER")


@pytest.mark.parametrize("called", ["OTHER", "dimsetls", ""])
def test_an_unknown_called_ae_title_is_rejected(called):
    stage = Stage()
    assert stage.peer().send(titled(b"PEER", called.encode())) == [AssociateRJ(1, 1, 7)]
    refused = stage.told(AssociationRefused)
    assert refused.sentence == f"{called!r} was called; AE titles here are DIMSETLS"
    assert (refused.result, refused.source, refused.reason) == (1, 1, 7)


def test_each_ae_title_of_a_listener_has_its_own_services():
    entities = [ApplicationEntity("STORE", Services()), ApplicationEntity("VERIFY", ServiceProvider())]
    stage = Stage(entities=entities)
    [store_answer] = stage.peer().send(request(CT, called="STORE"))
    [verify_answer] = stage.peer().send(request(CT, called="VERIFY"))
    assert store_answer.presentation_contexts[0].accepted
    assert not verify_answer.presentation_contexts[0].accepted


def test_a_caller_that_is_not_admitted_is_rejected():
    asked: list[Caller] = []

    def admits(caller: Caller) -> Refusal | None:
        asked.append(caller)
        return Refusal(f"{caller.calling_ae_title} is a stranger") if caller.calling_ae_title != "FRIEND" else None

    stage = Stage(admits=admits)
    assert stage.peer().send(request(calling="STRANGER")) == [AssociateRJ(1, 1, 3)]
    assert isinstance(stage.peer().send(request(calling="FRIEND"))[0], AssociateAC)
    assert asked == [Caller("STRANGER", "192.0.2.1", None), Caller("FRIEND", "192.0.2.1", None)]
    refused = stage.told(AssociationRefused)
    assert (refused.sentence, refused.is_security_alert) == ("STRANGER is a stranger", False)


def test_a_caller_comes_with_the_certificate_that_tls_verified(authority):
    asked: list[Caller] = []

    def admits(caller: Caller) -> Refusal | None:
        asked.append(caller)
        return Refusal("this certificate is for another", is_security_alert=True)

    stage = Stage(admits=admits, tls=authority)
    assert stage.peer().send(request()) == [AssociateRJ(1, 1, 3)]
    assert "development client" in asked[0].certificate.subject
    assert stage.told(AssociationRefused).is_security_alert


@pytest.mark.parametrize("title", [b"", b"BACK\\SLASH", b"NEW\nLINE", b"\x1b[31mRED", b"CAF\xc9", b"NUL\0"])
def test_a_calling_ae_title_that_is_none_is_rejected_whoever_is_admitted(title):
    stage = Stage()
    assert stage.peer().send(titled(title)) == [AssociateRJ(1, 1, 3)]
    assert stage.kinds == ["AssociationRefused"]


def test_a_wrong_application_context_is_rejected():
    stage = Stage()
    assert stage.peer().send(request(application_context="1.2.3")) == [AssociateRJ(1, 1, 2)]
    assert "application context 1.2.3 came" in stage.told(AssociationRefused).sentence


def test_a_wrong_application_context_is_rejected_before_a_stranger_learns_which_titles_exist():
    assert Stage().peer().send(request(application_context="1.2.3", called="OTHER")) == [AssociateRJ(1, 1, 2)]


def test_another_protocol_version_is_rejected_by_the_provider_and_told():
    stage = Stage()
    peer = stage.peer()
    assert peer.send(request(version=2)) == [AssociateRJ(1, 2, 2)]
    peer.close()
    refused = stage.told(AssociationRefused)
    assert refused.sentence == "protocol version not supported"
    assert (refused.result, refused.source, refused.reason) == (1, 2, 2)
    assert stage.kinds == ["AssociationRefused"]
    assert stage.is_quiet


def test_a_protocol_version_with_bit_0_set_is_ours_whatever_the_other_bits():
    assert isinstance(Stage().peer().send(request(version=0xFFFF))[0], AssociateAC)


@pytest.mark.parametrize("length", [1, 7])
def test_a_peer_whose_maximum_length_leaves_no_room_for_data_is_rejected(length):
    stage = Stage()
    assert stage.peer().send(request(maximum_length=length)) == [AssociateRJ(1, 1, 1)]
    assert f"P-DATA of {length} bytes" in stage.told(AssociationRefused).sentence


@pytest.mark.parametrize("length", [0, 8, 9])
def test_any_other_maximum_length_is_kept_to(length):
    stage = Stage()
    peer = stage.associated(maximum_length=length)
    answer = peer.send(echo(7))
    assert statuses(answer) == [(7, 0)]
    largest = max(len(write_pdu(pdu)) - 6 for pdu in answer)
    assert largest <= length if length else len(answer) == 1


def test_a_request_that_cannot_be_read_is_aborted_as_the_table_has_it_and_told():
    stage = Stage()
    peer = stage.peer()
    wire = bytearray(write_pdu(request()))
    wire[74 + 4 + 21 + 4] = 2  # the first context ID
    assert peer.send(bytes(wire)) == [Abort(0, 0)]
    peer.close()
    refused = stage.told(AssociationRefused)
    assert refused.sentence == "presentation context ID 2 is even; odd numbers 1 to 255 are allowed"
    assert (refused.result, refused.source, refused.reason) == (None, None, None)
    assert stage.is_quiet


def test_a_tls_client_hello_on_a_plain_listener_is_aborted_and_the_sentence_says_what_it_is(authority):
    stage = Stage()
    peer = Peer.connect(stage.link, tls_endpoints(stage.link, authority)[1])
    assert peer.lost is not None
    assert "it looks like a TLS ClientHello on a port without TLS" in stage.told(AssociationRefused).sentence


# What is agreed ------------------------------------------------------------------------------------------------


def test_the_64_bytes_of_the_request_come_back_as_they_were():
    peer = Stage().peer()
    reserved = bytes(range(32))
    [answer] = peer.send(titled(b"  PEER", b" DIMSETLS", reserved))
    assert answer.echoed == b" DIMSETLS".ljust(16) + b"  PEER".ljust(16) + reserved


def test_the_answer_says_who_we_are_and_what_we_take():
    [answer] = Stage().peer().send(request())
    user = answer.user_information
    assert user.implementation_class_uid == IMPLEMENTATION_CLASS_UID
    assert user.implementation_version_name == IMPLEMENTATION_VERSION_NAME
    assert user.maximum_length == LARGEST_PDU_LENGTH
    assert (user.asynchronous_operations_window, user.role_selections, user.extended_negotiations) == (None, (), ())


def test_the_maximum_length_is_that_of_the_ae_that_is_called_and_is_enforced():
    entities = [ApplicationEntity("LARGE", Services()), ApplicationEntity("SMALL", Services(), maximum_length=4096)]
    stage = Stage(entities=entities)
    peer = stage.associated(called="SMALL")
    assert peer.received[0].user_information.maximum_length == 4096
    assert peer.send(b"\x04\x00\x00\x00\x10\x01") == [Abort(2, 6)]  # 4097 bytes are claimed
    peer.close()
    assert stage.told(AssociationEnded).detail == "a P-DATA-TF claims 4097 bytes; we announced a maximum of 4096"


def test_a_request_longer_than_the_limit_is_refused_by_its_header_alone():
    stage = Stage(associate_length=4096)
    assert stage.peer().send(b"\x01\x00\x00\x00\x10\x01") == [Abort(0, 0)]


def test_no_acceptable_context_is_still_an_acceptance_with_results_3_and_4():
    [answer] = Stage().peer().send(request(UNSUPPORTED, context(3, CT, JPEG_LOSSLESS)))
    assert [each.result for each in answer.presentation_contexts] == [
        ContextResult.ABSTRACT_SYNTAX_NOT_SUPPORTED, ContextResult.TRANSFER_SYNTAXES_NOT_SUPPORTED,
    ]  # fmt: skip


def test_128_contexts_are_all_answered():
    proposed = [context(number, CT if number % 4 == 1 else UNSUPPORTED) for number in range(1, 256, 2)]
    stage = Stage()
    [answer] = stage.peer().send(request(*proposed))
    assert [each.context_id for each in answer.presentation_contexts] == list(range(1, 256, 2))
    assert [each.accepted for each in answer.presentation_contexts] == [True, False] * 64
    assert (stage.told(AssociationStarted).contexts_accepted, stage.told(AssociationStarted).contexts_proposed) == (
        64, 128,
    )  # fmt: skip


def test_of_the_transfer_syntaxes_that_both_know_our_order_decides():
    class Preferring(Services):
        transfer_syntaxes = (JPEG_LOSSLESS, EXPLICIT_VR_LITTLE_ENDIAN, IMPLICIT_VR_LITTLE_ENDIAN)

    [answer] = Stage(Preferring()).peer().send(request(
        context(1, CT, IMPLICIT_VR_LITTLE_ENDIAN, EXPLICIT_VR_LITTLE_ENDIAN, JPEG_LOSSLESS),
        context(3, CT, IMPLICIT_VR_LITTLE_ENDIAN, EXPLICIT_VR_LITTLE_ENDIAN),
        context(5, CT, IMPLICIT_VR_LITTLE_ENDIAN),
    ))  # fmt: skip
    assert [each.transfer_syntax for each in answer.presentation_contexts] == [
        JPEG_LOSSLESS, EXPLICIT_VR_LITTLE_ENDIAN, IMPLICIT_VR_LITTLE_ENDIAN,
    ]  # fmt: skip


@pytest.mark.parametrize(("offered", "allowed", "answered"), [
    ((True, True), (True, True), (True, True)),
    ((True, True), (True, False), (True, False)),
    ((False, True), (True, True), (False, True)),
    ((False, True), (True, False), (False, False)),
])  # fmt: skip
def test_a_role_is_never_more_than_offered_and_supported(offered, allowed, answered):
    class Roles(Services):
        def support(self, abstract_syntax, common):
            return Support(self.transfer_syntaxes, *allowed)

    [answer] = Stage(Roles()).peer().send(request(CT, role_selections=(RoleSelection(CT, *offered),)))
    assert answer.user_information.role_selections == (RoleSelection(CT, *answered),)


def test_a_requestor_without_the_scu_role_may_not_send_requests():
    class Roles(Services):
        def support(self, abstract_syntax, common):
            return Support(self.transfer_syntaxes, requestor_may_be_scp=True)

    stage = Stage(Roles())
    peer = stage.associated(VERIFICATION, CT, role_selections=(RoleSelection(CT, False, True),))
    assert statuses(peer.send(store(b"data"))) == [(1, 0x0122)]
    assert statuses(peer.send(echo(2))) == [(2, 0)]  # no role was selected for verification: SCU by default


@pytest.mark.parametrize(("offered", "maximum", "answered"), [
    (None, 4, None), ((1, 1), 4, (1, 1)), ((8, 8), 4, (4, 1)), ((2, 1), 4, (2, 1)), ((0, 0), 4, (4, 1)),
    ((8, 1), 1, (1, 1)), ((8, 8), 0, (0, 1)),
])  # fmt: skip
def test_the_asynchronous_operations_window_is_never_more_than_offered(offered, maximum, answered):
    window = AsynchronousOperationsWindow(*offered) if offered else None
    stage = Stage(maximum_operations_invoked=maximum)
    [answer] = stage.peer().send(request(asynchronous_operations_window=window))
    assert answer.user_information.asynchronous_operations_window == (
        AsynchronousOperationsWindow(*answered) if answered else None
    )


def test_extended_negotiation_reaches_the_application_and_its_answer_the_peer():
    came: list[object] = []

    class Extended(Services):
        def extended(self, item):
            came.append(item)
            return b"answer" if item.sop_class_uid == CT else None

    items = (ExtendedNegotiation(CT, b"\1\2\3"), ExtendedNegotiation(MR, b""))
    [answer] = Stage(Extended()).peer().send(request(CT, MR, extended_negotiations=items))
    assert came == list(items)
    assert answer.user_information.extended_negotiations == (ExtendedNegotiation(CT, b"answer"),)


def test_common_extended_negotiation_reaches_the_application_with_the_context_it_is_for():
    came = {}

    class Related(Services):
        def support(self, abstract_syntax, common):
            came[abstract_syntax] = common
            known = abstract_syntax in self.abstract_syntaxes
            known |= common is not None and CT in common.related_general_sop_class_uids
            return Support(self.transfer_syntaxes) if known else None

    common = CommonExtendedNegotiation("1.2.3.4", "1.2.840.10008.4.2", (CT,))
    [answer] = Stage(Related()).peer().send(request(CT, "1.2.3.4", "1.2.3.5", common_extended_negotiations=(common,)))
    assert came == {CT: None, "1.2.3.4": common, "1.2.3.5": None}
    assert [each.accepted for each in answer.presentation_contexts] == [True, True, False]
    assert answer.user_information.common_extended_negotiations == ()  # a request's only (PS3.7 D.3.3.6)


def test_the_answer_is_well_formed_on_the_wire():
    stage = Stage()
    peer = stage.peer()
    sent = []
    server = peer.end.other
    server.on_the_way = lambda data: sent.append(data) or data
    [answer] = peer.send(request())
    wire = b"".join(sent)
    assert wire[:10] == bytes((2, 0)) + (len(wire) - 6).to_bytes(4, "big") + bytes((0, 1, 0, 0))
    assert read_pdu(2, wire[6:]) == answer
