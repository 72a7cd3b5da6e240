"""One association over a channel in memory: what peers answer, and how they fail to."""

import pytest

from dimsetls.dimse.command import write_command
from dimsetls.dimse.messages import CEchoRQ, Response
from dimsetls.node.probe.caller import Request, associate
from dimsetls.node.probe.observations import Answer
from dimsetls.uids import EXPLICIT_VR_LITTLE_ENDIAN, IMPLICIT_VR_LITTLE_ENDIAN, VERIFICATION
from dimsetls.ul.pdus import (
    Abort,
    AssociateAC,
    AssociateRJ,
    PresentationContextAC,
    ReleaseRP,
    ReleaseRQ,
    UserIdentityAC,
    UserInformation,
)
from dimsetls.ul.reader import read_pdu
from dimsetls.ul.writer import write_fragments, write_pdu

REQUEST = Request("PACS", "PROBE", echo=True)


class Script:
    """Answers by rote: one item for each call of receive, an exception raised; then the end of the stream."""

    def __init__(self, *answers):
        self._answers = list(answers)
        self.sent = b""

    def send(self, data):
        self.sent += data

    def receive(self):
        answer = self._answers.pop(0) if self._answers else b""
        if isinstance(answer, Exception):
            raise answer
        return answer

    @property
    def pdus(self):
        """What the probe said."""
        data = self.sent
        while data:
            end = 6 + int.from_bytes(data[2:6], "big")
            yield read_pdu(data[0], data[6:end])
            data = data[end:]


def accept(result=0, maximum_length=16384, identity=None):
    user = UserInformation(maximum_length, "1.2.3", "TOY", user_identity_response=identity)
    context = PresentationContextAC(1, result, IMPLICIT_VR_LITTLE_ENDIAN)
    return write_pdu(AssociateAC("1.2.840.10008.3.1.1.1", (context,), user))


def echo(status=0, response=0x8030, piece=16384):
    command = write_command(Response(response, 1, status).command())
    return b"".join(write_fragments(1, True, command, piece))


RELEASED = write_pdu(ReleaseRP())


def test_an_association_as_it_should_be():
    script = Script(accept(), echo(), RELEASED)
    seen = associate(script, REQUEST)
    assert (seen.answer, seen.words, seen.echo, seen.released) == (Answer.ACCEPTED, "", 0, True)
    assert (seen.implementation_class_uid, seen.implementation_version_name) == ("1.2.3", "TOY")
    assert seen.contexts == {VERIFICATION: IMPLICIT_VR_LITTLE_ENDIAN}
    assert seen.identity_answered is None
    request, data, release = script.pdus
    assert (request.called_ae_title, request.calling_ae_title) == ("PACS", "PROBE")
    assert request.presentation_contexts[0].transfer_syntaxes == (EXPLICIT_VR_LITTLE_ENDIAN, IMPLICIT_VR_LITTLE_ENDIAN)
    assert data.values[0].fragment == write_command(CEchoRQ(1, VERIFICATION).command())
    assert release == ReleaseRQ()


def test_answers_come_in_any_pieces():
    whole = accept() + echo(piece=8) + RELEASED
    seen = associate(Script(*(whole[at : at + 1] for at in range(len(whole)))), REQUEST)
    assert (seen.echo, seen.released) == (0, True)


@pytest.mark.parametrize(("response", "answered"), [(None, False), (UserIdentityAC(b"ticket"), True)])
def test_a_user_identity_is_answered_or_not(response, answered):
    script = Script(accept(identity=response), RELEASED)
    assert associate(script, Request("PACS", "PROBE", identity=True)).identity_answered is answered
    identity = next(script.pdus).user_information.user_identity
    assert (identity.user_identity_type, identity.positive_response_requested) == (1, True)


def test_a_refused_context_is_not_used():
    script = Script(accept(result=3), RELEASED)
    seen = associate(script, REQUEST)
    assert (seen.contexts, seen.echo, seen.released) == ({VERIFICATION: None}, None, True)
    assert len([*script.pdus]) == 2


@pytest.mark.parametrize(("answer", "expected", "words"), [
    (write_pdu(AssociateRJ(1, 1, 7)), Answer.REJECTED, "called AE title not recognized"),
    (write_pdu(Abort(2, 1)), Answer.ABORTED, "aborted (source 2, reason 1)"),
    (b"", Answer.NOTHING, "closed the connection"),
    (b"\x02\0\0\0", Answer.NOTHING, "closed the connection"),
    (b"HTTP/1.1 400 Bad Request\r\n\r\n", Answer.HTTP, ""),
    (b"220 mail.example", Answer.OTHER, "PDU type 32H does not exist"),
    (b"\x02\0\xff\xff\xff\xff", Answer.OTHER, "claims 4294967295 bytes"),
    (RELEASED, Answer.OTHER, "ReleaseRP"),
])
def test_what_else_a_peer_may_answer(answer, expected, words):
    seen = associate(Script(answer), REQUEST)
    assert seen.answer is expected
    assert words in seen.words


@pytest.mark.parametrize(("answers", "words"), [
    ((echo(status=0x0122), RELEASED), ""),
    ((echo(response=0x8001), RELEASED), ""),
    ((RELEASED,), ""),
    ((b"",), ""),
    ((b"\x99",), "PDU type 99H"),
    ((b"\x04\0\xff\xff\xff\xff",), "claims"),
    ((echo()[:12] + b"\xff" * 80,), ""),
    ((TimeoutError(),), ""),
    ((ConnectionResetError(),), ""),
])
def test_what_goes_wrong_after_acceptance_is_no_end(answers, words):
    seen = associate(Script(accept(), *answers), REQUEST)
    assert seen.answer is Answer.ACCEPTED
    assert seen.echo in (None, 0x0122)
    assert words in seen.words


def test_a_command_without_end_is_cut_off():
    fragments = list(write_fragments(1, True, bytes(90000), 16384))[:-1]
    assert "longer than 65536" in associate(Script(accept(), *fragments), REQUEST).words


def test_a_peer_that_leaves_no_room_for_data():
    assert "leaves no room" in associate(Script(accept(maximum_length=7)), REQUEST).words


@pytest.mark.parametrize("error", [TimeoutError(), ConnectionResetError()])
def test_without_an_answer_the_error_is_for_the_caller(error):
    with pytest.raises(type(error)):
        associate(Script(error), REQUEST)
