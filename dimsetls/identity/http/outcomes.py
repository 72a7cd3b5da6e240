"""What became of a credential, said to the side it came from: HTTP statuses and DIMSE outcomes, both ways. Pure."""

from __future__ import annotations

from base64 import b64decode, b64encode
from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum

from ...codes import RejectResult, RejectSource
from ...dimse.status import Status
from ...errors import IdentityDenied, IdentityError
from ...ul.pdus import AssociateRJ
from .mapping import HTTPPolicy, Reason, Refused

DENIED = AssociateRJ(RejectResult.REJECTED_PERMANENT, RejectSource.SERVICE_PROVIDER_ACSE, 1)
"""PS3.7 D.3.3.7.3; nothing finer is said."""
CONGESTED = AssociateRJ(RejectResult.REJECTED_TRANSIENT, RejectSource.SERVICE_PROVIDER_PRESENTATION, 1)
"""Nobody can tell whether the identity is good; the peer may try again."""


@dataclass(frozen=True, slots=True)
class HTTPAnswer:
    """A status and, for `Bearer`, the error code that goes with it (RFC 6750 §3.1)."""

    status: int
    error: str | None = None


INVALID_REQUEST = HTTPAnswer(400, "invalid_request")
INVALID_TOKEN = HTTPAnswer(401, "invalid_token")
UNAUTHORIZED = HTTPAnswer(401)
"""What came is of a kind that is not taken, which has no error code (RFC 6750 §3)."""

REFUSALS = {
    Reason.SEVERAL: INVALID_REQUEST,
    Reason.MALFORMED: INVALID_REQUEST,
    Reason.MALFORMED_BASIC: INVALID_REQUEST,
    Reason.NOT_A_B64TOKEN: INVALID_REQUEST,
    Reason.TOO_LONG: HTTPAnswer(431),
    Reason.SCHEME: UNAUTHORIZED,
    Reason.USER_NAME: UNAUTHORIZED,
    Reason.EMPTY_PASSWORD: UNAUTHORIZED,
    Reason.NEGOTIATE: UNAUTHORIZED,
    Reason.NOT_KERBEROS: UNAUTHORIZED,
    Reason.ANOTHER_SERVICE: UNAUTHORIZED,
    Reason.IN_QUERY: UNAUTHORIZED,
    Reason.IN_FORM: UNAUTHORIZED,
    Reason.OPAQUE: INVALID_TOKEN,
    Reason.DPOP: INVALID_TOKEN,
}
"""What answers an HTTP request whose credential does not map. The reasons that are not here stop the other way only."""


class Unanswered(Enum):
    """What an A-ASSOCIATE-AC without the positive response that was asked for means to the HTTP client.

    The value is the status; the peer checks no identities, or none of this kind (PS3.7 D.3.3.7).
    """

    CONTINUE = None
    BAD_GATEWAY = 502
    FORBIDDEN = 403


# To the HTTP client ---------------------------------------------------------------------------------------------------


def http_answer(refused: Refused | IdentityError) -> HTTPAnswer:
    """What answers a request whose credential does not map, or is not good."""
    if isinstance(refused, Refused):
        return REFUSALS[refused.reason]
    return INVALID_TOKEN if isinstance(refused, IdentityDenied) else HTTPAnswer(503)


def http_status_of_reject(reject: AssociateRJ, *, presented: bool = True, another_may_help: bool = True) -> int:
    """What answers a request for which the DIMSE peer rejected the association (PS3.8 Table 9-21).

    `presented`: an identity went with it, so that a rejection without a reason may be for it. `another_may_help`:
    there are credentials that this peer would take from this client.
    """
    if reject.result == RejectResult.REJECTED_TRANSIENT:
        return 503
    of_nobody_else = (reject.source, reject.reason) == (RejectSource.SERVICE_USER, 1) and presented
    if reject == DENIED or of_nobody_else:
        return 401 if another_may_help else 403
    return 502  # AE titles, application context, protocol version: the gateway's configuration, not the user


def http_status_of_operation(status: int) -> int | None:
    """What answers a request for which the DIMSE peer answered with a status; None: it is not about the user."""
    if status == Status.NOT_AUTHORIZED:
        return 403
    return 503 if status & 0xFF00 == Status.OUT_OF_RESOURCES else None


def challenges(answer: HTTPAnswer, realm: str, policy: HTTPPolicy) -> tuple[str, ...]:
    """The values of WWW-Authenticate that a 401 must have (RFC 9110 §15.5.2); none for any other status.

    Raises ValueError for a realm that is not printable ASCII without quotes.
    """
    if answer.status != 401:
        return ()
    if not (realm.isascii() and realm.isprintable()) or set(realm) & set('"\\'):
        raise ValueError(f"the realm {realm!r} has characters that a header cannot quote; expected printable ASCII")
    error = f', error="{answer.error}"' if answer.error else ""
    negotiate = ("Negotiate",) if policy.negotiate else ()
    return (f'Basic realm="{realm}", charset="UTF-8"', f'Bearer realm="{realm}"{error}', *negotiate)


def write_negotiate(server_response: bytes) -> str:
    """The value of WWW-Authenticate, beside a good status, that carries the server's side of type 3 (RFC 4559 §4.1)."""
    return f"Negotiate {b64encode(server_response).decode()}"


# To the DIMSE requestor -----------------------------------------------------------------------------------------------


def reject_of(refused: Refused | IdentityError) -> AssociateRJ:
    """What answers an association whose identity does not map, or is not good."""
    return DENIED if isinstance(refused, Refused | IdentityDenied) else CONGESTED


def reject_of_http(status: int | None) -> AssociateRJ | None:
    """What answers an association whose identity an HTTP server was asked about; None for a status: no answer in time.

    None: it says nothing against the identity.
    """
    if status in (400, 401, 403, 431):
        return DENIED
    return CONGESTED if status is None or status in (407, 429) or status >= 500 else None


def status_of_http(status: int) -> Status | None:
    """The status of an operation for which the HTTP server answered so; None: it is not about the user."""
    if status in (401, 403):
        return Status.NOT_AUTHORIZED
    return Status.OUT_OF_RESOURCES if status in (429, 503) else None


def read_negotiate(www_authenticate: Sequence[bytes]) -> bytes | None:
    """The server's side of type 3 in the values of WWW-Authenticate, for sub-item 59H; None: there is none."""
    for value in www_authenticate:
        scheme, _, token = value.strip(b" \t").partition(b" ")
        if scheme.lower() == b"negotiate" and token:
            try:
                return b64decode(token.strip(b" "), validate=True)
            except ValueError:
                return None
    return None
