"""The responses of operations that have several: C-FIND, C-GET and C-MOVE, until the last or until cancelled."""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol, TypeVar, cast

from twisted.internet.defer import CancelledError, Deferred
from twisted.python.failure import Failure

from ..dimse.messages import CFindRSP, RequestMessage, ResponseMessage, RetrieveResponse
from ..dimse.status import StatusClass, describe, status_class
from ..errors import LocalProtocolError, OperationFailed
from .invoking import Invocation

if TYPE_CHECKING:
    from pydicom.dataset import Dataset

_Self = TypeVar("_Self", bound="Responses")


class Invoker(Protocol):
    """What is needed of the association."""

    def decoded(self, invocation: Invocation, data: bytes) -> Dataset: ...

    async def cancel(self, invocation: Invocation) -> None: ...


class Responses:
    """Responses as they come. As a context manager the operation is cancelled at the end, if it is not over."""

    def __init__(self, invoker: Invoker, invocation: Invocation) -> None:
        self.response: ResponseMessage | None = None
        """The final response, once it has come."""
        self._invoker = invoker
        self._invocation = invocation
        self._is_cancelled = False

    async def _next(self) -> tuple[ResponseMessage, bytes]:
        """The next pending response; StopAsyncIteration after the final one, or `OperationFailed`."""
        received = await self._invocation.next()
        if received is None:
            raise StopAsyncIteration
        response, data = received
        if status_class(response.status) is StatusClass.PENDING:
            return response, data
        self.response = response
        self._finish(response, data)
        raise StopAsyncIteration

    def _finish(self, response: ResponseMessage, data: bytes) -> None:
        expected = (StatusClass.CANCEL,) if self._is_cancelled else ()
        raise_failure(self._invocation.message, response, expected)

    async def cancel(self) -> None:
        """Ask the peer to stop (C-CANCEL), and wait until it has; what still comes is let pass."""
        if self.response is not None or self._invocation.error is not None:
            return
        self._is_cancelled = True
        await self._invoker.cancel(self._invocation)
        if not self._invocation.is_started:
            return
        while True:
            try:
                await self._next()
            except StopAsyncIteration:
                return

    async def __aenter__(self: _Self) -> _Self:
        return self

    async def __aexit__(self, kind: type[BaseException] | None, error: object, traceback: object) -> None:
        if kind is None or not issubclass(kind, CancelledError):
            await self.cancel()
        elif self.response is None:  # who is cancelled does not wait for the peer
            self._invocation.ignore()
            Deferred.fromCoroutine(self._invoker.cancel(self._invocation)).addErrback(_let_pass)


class Matches(Responses):
    """The matches of a C-FIND, as Datasets. Those that are not read make the peer wait."""

    def __aiter__(self) -> Matches:
        return self

    async def __anext__(self) -> Dataset:
        _, data = await self._next()
        return self._invoker.decoded(self._invocation, data)

    @property
    def final(self) -> CFindRSP | None:
        return cast("CFindRSP | None", self.response)


@dataclass(frozen=True, slots=True)
class Retrieved:
    """The end of a C-GET or C-MOVE: the final response, and which instances failed."""

    response: RetrieveResponse
    failed_sop_instance_uids: tuple[str, ...] = ()


class Retrieval(Responses):
    """A C-GET or C-MOVE under way: await it for its end, or iterate over its pending responses first.

    Sub-operations that failed are in the result, with a warning; where all of them did it is `OperationFailed`.
    """

    def __init__(self, invoker: Invoker, invocation: Invocation) -> None:
        super().__init__(invoker, invocation)
        self.failed_sop_instance_uids: tuple[str, ...] = ()

    def __aiter__(self) -> Retrieval:
        return self

    async def __anext__(self) -> RetrieveResponse:
        response, _ = await self._next()
        return cast(RetrieveResponse, response)

    def __await__(self) -> Generator[Deferred[Any], Any, Retrieved]:
        return self._end().__await__()

    async def _end(self) -> Retrieved:
        async for _ in self:
            pass
        if self.response is None:
            raise LocalProtocolError("the operation was cancelled before it was sent")
        return Retrieved(cast(RetrieveResponse, self.response), self.failed_sop_instance_uids)

    def _finish(self, response: ResponseMessage, data: bytes) -> None:
        if data:
            listed = self._invoker.decoded(self._invocation, data).get("FailedSOPInstanceUIDList") or ()
            self.failed_sop_instance_uids = (str(listed),) if isinstance(listed, str) else tuple(map(str, listed))
        super()._finish(response, data)


def _let_pass(failure: Failure) -> None:
    """The association ended, which ends the operation too."""
    failure.trap(LocalProtocolError)


def raise_failure(request: RequestMessage, response: ResponseMessage, expected: tuple[StatusClass, ...] = ()) -> None:
    """Raise `OperationFailed` for a response that is neither success nor warning, nor of a class that is expected."""
    if status_class(response.status) in (StatusClass.SUCCESS, StatusClass.WARNING, *expected):
        return
    comment = response.error_comment
    elements = ", ".join(f"({tag >> 16:04X},{tag & 0xFFFF:04X})" for tag in response.offending_element)
    sentence = f"{request.name} was answered {describe(response.status)}"
    details = [f"the peer says {comment!r}" if comment else "", f"offending elements {elements}" if elements else ""]
    sentence = "; ".join(filter(None, (sentence, *details)))
    raise OperationFailed(sentence, response.status, comment, response)
