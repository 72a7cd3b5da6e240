"""Our side as a requestor: what is presented to the peer, and what its answer is worth. All of it pure.

An acceptor that checks no identities accepts the association all the same (PS3.7 D.3.3.7), and some answer yes to
everything. So nothing but an answer of the right form counts, and a peer's proof where the credential asks for one.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from enum import Enum
from hmac import compare_digest

from ..errors import IdentityDenied, LocalProtocolError
from ..uids import APPLICATION_CONTEXT, BEARER_TOKEN
from ..ul.pdus import AssociateRQ, UserIdentityAC, UserIdentityRQ, UserInformation
from ..ul.writer import write_pdu
from .bearer import BearerResult, is_b64token, read_result, write_token
from .credentials import (
    AccessToken,
    CertificateAlone,
    Credential,
    KerberosTicket,
    Method,
    Requirement,
    Username,
    UsernameAndPasscode,
    write_identity,
)

VerifyResponse = Callable[[bytes], None]
"""Given the server response of sub-item 59H: raises IdentityDenied where it does not prove who the peer is."""


class Standing(Enum):
    """What the peer made of our identity, the best first; the value is the word for it in the log."""

    AUTHENTICATED = "authenticated"
    """It says that it verified what was presented."""
    UNAUTHENTICATED = "unauthenticated"
    """Nothing says so: it was not asked, or what it answered is worth nothing."""
    IGNORED = "ignored"
    """It was asked and did not answer: it checks no identities, or none of this kind."""


@dataclass(frozen=True, slots=True)
class Decision:
    """Whether the association goes on after its A-ASSOCIATE-AC, and why."""

    continues: bool
    standing: Standing
    sentence: str
    """For the log; empty where all is as it should be."""


@dataclass(frozen=True, slots=True)
class Presentation:
    """What a requestor presents, and what it expects of the answer.

    `identity` goes into sub-item 58H, `access_token` into the bearer extension; or, for a peer that is known to take
    it there, into 58H with the reserved User-Identity-Type `private_type`. REQUIRE aborts unless the peer says that it
    verified everything, so the positive response must be requested; PREFER goes on without. A Kerberos ticket needs
    `verify_response` with it, or anyone could answer. Raises ValueError where these do not go together.
    """

    identity: Credential | None = None
    access_token: AccessToken | None = None
    positive_response_requested: bool = True
    requirement: Requirement = Requirement.PREFER
    verify_response: VerifyResponse | None = field(default=None, repr=False)
    private_type: int | None = None

    def __post_init__(self) -> None:
        identity, token = self.identity, self.access_token
        if identity is None and token is None:
            raise ValueError("nothing is presented, expected a user identity, an access token or both")
        if identity is not None and identity.method in (Method.BEARER, Method.CERTIFICATE):
            raise ValueError(f"a user identity of 58H came as {identity.method.value}, expected one of types 1 to 5")
        if token is not None and not is_b64token(token.token.reveal()):
            raise ValueError("the access token has characters outside b64token (RFC 6750 §2.1)")
        if self.requirement is Requirement.IGNORE:
            raise ValueError("what the peer makes of our identity is to be ignored, expected require or prefer")
        if self.requirement is Requirement.REQUIRE and not self.positive_response_requested:
            raise ValueError("require came without a request for the positive response, and nothing else can tell")
        needs_proof = isinstance(identity, KerberosTicket) and self.positive_response_requested
        if needs_proof and self.verify_response is None:
            raise ValueError("a Kerberos ticket came with a request for an answer that nothing is there to verify")
        if self.private_type is not None:
            if token is None or identity is not None:
                raise ValueError("a private user identity type is for an access token alone")
            if not 6 <= self.private_type <= 255:
                raise ValueError(f"private user identity type {self.private_type} came, expected one from 6 to 255")

    def wipe(self) -> None:
        """Overwrite what is secret in it; it cannot be presented afterwards."""
        for credential in (self.identity, self.access_token):
            if credential is not None:
                credential.wipe()

    # What is sent ------------------------------------------------------------------------------------------------

    @property
    def abstract_syntaxes(self) -> tuple[str, ...]:
        """What is to be proposed as a presentation context for it: a 56H item belongs to one (PS3.7 D.3.3.5)."""
        return (BEARER_TOKEN,) if self.access_token is not None and self.private_type is None else ()

    def add_to(self, ours: UserInformation) -> UserInformation:
        """The user information of the A-ASSOCIATE-RQ with what is presented.

        Raises LocalProtocolError where it does not fit into the 65535 octets that all user information shares.
        """
        request, asks = ours, self.positive_response_requested
        if self.identity is not None:
            request = replace(request, user_identity=write_identity(self.identity, asks))
        if self.access_token is not None and self.private_type is not None:
            item = UserIdentityRQ(self.private_type, asks, self.access_token.token.reveal())
            request = replace(request, user_identity=item)
        elif self.access_token is not None:
            extended = (*request.extended_negotiations, write_token(self.access_token, asks))
            request = replace(request, extended_negotiations=extended)
        _write(ours)  # what is wrong without an identity is not told as if it were for it
        try:
            _write(request)
        except LocalProtocolError:
            presented = [each for each in (self.identity, self.access_token) if each is not None]
            sizes = ", ".join(f"{each.method.value} of {sum(map(len, _fields(each)))} octets" for each in presented)
            raise LocalProtocolError(
                f"what is to be presented ({sizes}) does not fit: all user information of an A-ASSOCIATE-RQ has "
                f"65535 octets; a smaller ticket, assertion or token is needed"
            ) from None
        return request

    # What comes back ---------------------------------------------------------------------------------------------

    def judge(self, answer: UserInformation) -> Decision:
        """What follows from the user information of the A-ASSOCIATE-AC."""
        try:
            found = [self._judge_identity(answer.user_identity_response), self._judge_token(answer)]
        except IdentityDenied as error:
            return Decision(False, Standing.UNAUTHENTICATED, str(error))
        standing = max((each for each, _ in found if each is not None), key=list(Standing).index)
        sentence = "; ".join(text for _, text in found if text)
        continues = standing is Standing.AUTHENTICATED or self.requirement is Requirement.PREFER
        return Decision(continues, standing, sentence)

    def _judge_identity(self, response: UserIdentityAC | None) -> tuple[Standing | None, str]:
        """Of sub-item 59H; no standing where nothing was presented in 58H. Raises IdentityDenied for a false proof."""
        credential = self.identity or (None if self.private_type is None else self.access_token)
        if credential is None or not self.positive_response_requested:
            deviates = "the peer sent a user identity response that was not asked for" if response else ""
            return (Standing.UNAUTHENTICATED if credential else None), deviates
        what = credential.method.value
        if response is None:
            return Standing.IGNORED, f"the peer gave no answer to the {what} identity, and so did not check it"
        octets = response.server_response
        if isinstance(credential, KerberosTicket):
            if _is_echo(octets, credential):
                raise IdentityDenied("the peer sent our Kerberos ticket back, expected the AP-REP that proves its own")
            assert self.verify_response is not None
            self.verify_response(octets)
        elif _is_echo(octets, credential):
            return Standing.UNAUTHENTICATED, f"the peer sent our {what} credential back, which proves no check of it"
        elif isinstance(credential, Username | UsernameAndPasscode) and octets:
            sentence = f"the peer answered to the {what} identity with {len(octets)} octets, PS3.7 D.3.3.7.2 has none"
            return Standing.AUTHENTICATED, sentence
        return Standing.AUTHENTICATED, ""

    def _judge_token(self, answer: UserInformation) -> tuple[Standing | None, str]:
        """Of the bearer extension; no standing where no token was presented by it."""
        result = read_result(answer.extended_negotiations)
        if not self.abstract_syntaxes or not self.positive_response_requested:
            deviates = "the peer answered about an access token, which was not asked for" if result is not None else ""
            return (Standing.UNAUTHENTICATED if self.abstract_syntaxes else None), deviates
        if result is None:
            return Standing.IGNORED, "the peer gave no answer to the access token, and so did not check it"
        if result is BearerResult.IGNORED:
            return Standing.IGNORED, "the peer knows access tokens, and ignored ours"
        return Standing.AUTHENTICATED, ""


def _write(information: UserInformation) -> None:
    write_pdu(AssociateRQ("-", "-", APPLICATION_CONTEXT, (), information))


def _fields(credential: Credential) -> tuple[bytes, ...]:
    """What of it goes over the wire."""
    match credential:
        case Username(name):
            return (name.encode(),)
        case UsernameAndPasscode(name, passcode):
            return name.encode(), passcode.reveal()
        case CertificateAlone():
            return ()
    return (credential.token.reveal(),)


def _is_echo(response: bytes, credential: Credential) -> bool:
    """Whether the response is a field that we sent; the time it takes tells nothing of where they differ."""
    return True in [compare_digest(response, sent) for sent in _fields(credential)]
