"""A requestor in few words: one association after another, blocking, over whatever carries bytes."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Protocol

from OpenSSL import SSL

from ...dimse.command import MAXIMUM_LENGTH, read_command, write_command
from ...dimse.messages import CEchoRQ, CEchoRSP
from ...dimse.reading import read_response
from ...errors import AssociationRejected, LocalProtocolError, RemoteProtocolError
from ...uids import (
    APPLICATION_CONTEXT,
    EXPLICIT_VR_LITTLE_ENDIAN,
    IMPLEMENTATION_CLASS_UID,
    IMPLEMENTATION_VERSION_NAME,
    IMPLICIT_VR_LITTLE_ENDIAN,
    VERIFICATION,
)
from ...ul.buffer import LengthLimits, judge_length, judge_type
from ...ul.pdus import (
    PDU,
    Abort,
    AssociateAC,
    AssociateRJ,
    AssociateRQ,
    PDataTF,
    PresentationContextRQ,
    ReleaseRP,
    ReleaseRQ,
    UserIdentityRQ,
    UserInformation,
)
from ...ul.reader import read_pdu
from ...ul.writer import LARGEST_PDU_LENGTH, write_fragments, write_pdu
from .line import TLSLine
from .observations import Answer, AssociationSeen

IDENTITY = b"dimsetls-probe"
"""The user name of the dummy identity."""


class Channel(Protocol):
    """What an association needs below it: a Line, or TLS over one."""

    def send(self, data: bytes) -> None: ...

    def receive(self) -> bytes: ...


@dataclass(frozen=True, slots=True)
class Request:
    """An association to ask for, and what to do with it."""

    called: str
    calling: str
    sop_classes: tuple[str, ...] = (VERIFICATION,)
    echo: bool = False
    identity: bool = False
    damage: bool = False
    """End it with a damaged record in place of a release."""


def associate(channel: Channel, request: Request) -> AssociationSeen:
    """Ask for an association, use it as wished, and release it. TLS errors before the answer pass through."""
    association = _Association(channel, request)
    try:
        association.establish()
        if association.seen.answer is Answer.ACCEPTED:
            association.use()
    except (RemoteProtocolError, LocalProtocolError) as error:
        association.note(words=str(error))  # a local one, too, is of the peer's making: it leaves no room for data
    except (SSL.Error, OSError):
        if not association.seen.speaks_dicom:
            raise
    return association.seen


class _Association:
    def __init__(self, channel: Channel, request: Request) -> None:
        self.seen = AssociationSeen(
            request.called, request.calling, identity_answered=False if request.identity else None
        )
        self._channel, self._request = channel, request
        self._buffer = b""
        self._maximum_length = 0

    def note(self, **changes: object) -> None:
        self.seen = replace(self.seen, **changes)  # type: ignore[arg-type]

    def establish(self) -> None:
        self._channel.send(write_pdu(_associate_rq(self._request)))
        try:
            answer = self._read()
        except RemoteProtocolError as error:
            http = self._buffer.startswith(b"HTTP/")
            self.note(answer=Answer.HTTP if http else Answer.OTHER, words="" if http else str(error))
            return
        match answer:
            case AssociateAC():
                self._accepted(answer)
            case AssociateRJ():
                sentence = str(AssociationRejected(answer.result, answer.source, answer.reason))
                triple = (answer.result, answer.source, answer.reason)
                self.note(answer=Answer.REJECTED, words=sentence, rejection=triple)
            case Abort():
                words = f"aborted (source {answer.source}, reason {answer.reason})"
                self.note(answer=Answer.ABORTED, words=words)
            case None:
                self.note(words="the peer closed the connection")
            case _:
                self.note(answer=Answer.OTHER, words=f"the peer answered with {type(answer).__name__}")

    def _accepted(self, answer: AssociateAC) -> None:
        user = answer.user_information
        agreed = {each.context_id: each.transfer_syntax for each in answer.presentation_contexts if each.accepted}
        self._maximum_length = user.maximum_length
        self.note(
            answer=Answer.ACCEPTED,
            contexts={uid: agreed.get(2 * number + 1) for number, uid in enumerate(self._request.sop_classes)},
            implementation_class_uid=user.implementation_class_uid,
            implementation_version_name=user.implementation_version_name or "",
            maximum_length=user.maximum_length,
        )
        if self._request.identity:
            self.note(identity_answered=user.user_identity_response is not None)

    def use(self) -> None:
        contexts = self.seen.contexts or {}
        can_echo = contexts.get(VERIFICATION) is not None
        if self._request.echo and can_echo:
            for pdu in self._echo():
                self._channel.send(pdu)
            self.note(echo=self._echo_status())
        if self._request.damage and isinstance(self._channel, TLSLine):
            damaged = b"".join(self._echo()) if can_echo else write_pdu(ReleaseRQ())
            self.note(damaged_record=self._channel.send_damaged(damaged))
            return
        self._channel.send(write_pdu(ReleaseRQ()))
        self.note(released=isinstance(self._read(), ReleaseRP))

    def _echo(self) -> list[bytes]:
        command = write_command(CEchoRQ(1, VERIFICATION).command())
        context_id = 2 * self._request.sop_classes.index(VERIFICATION) + 1
        return write_fragments(context_id, True, command, self._maximum_length)

    def _echo_status(self) -> int | None:
        command = b""
        while isinstance(pdu := self._read(), PDataTF):
            for value in pdu.values:
                command += value.fragment
                if len(command) > MAXIMUM_LENGTH:
                    raise RemoteProtocolError(f"a command set is longer than {MAXIMUM_LENGTH} bytes")
                if value.is_last:
                    response = read_response(read_command(command))
                    return response.status if isinstance(response, CEchoRSP) else None
        return None

    def _read(self) -> PDU | None:
        """The next PDU, None where the peer closes the connection instead."""
        if not self._fill(1):
            return None
        judge_type(self._buffer[0])
        if not self._fill(6):
            return None
        length = int.from_bytes(self._buffer[2:6], "big")
        judge_length(self._buffer[0], length, LengthLimits())
        if not self._fill(6 + length):
            return None
        kind, body = self._buffer[0], self._buffer[6 : 6 + length]
        self._buffer = self._buffer[6 + length :]
        return read_pdu(kind, body)

    def _fill(self, size: int) -> bool:
        while len(self._buffer) < size:
            data = self._channel.receive()
            if not data:
                return False
            self._buffer += data
        return True


def _associate_rq(request: Request) -> AssociateRQ:
    syntaxes = (EXPLICIT_VR_LITTLE_ENDIAN, IMPLICIT_VR_LITTLE_ENDIAN)
    return AssociateRQ(
        request.called,
        request.calling,
        APPLICATION_CONTEXT,
        tuple(PresentationContextRQ(2 * n + 1, uid, syntaxes) for n, uid in enumerate(request.sop_classes)),
        UserInformation(
            LARGEST_PDU_LENGTH,
            IMPLEMENTATION_CLASS_UID,
            IMPLEMENTATION_VERSION_NAME,
            user_identity=UserIdentityRQ(1, True, IDENTITY) if request.identity else None,
        ),
    )
