"""Storage Commitment as SCU: ask, and hear what became of it, on whichever association that is told."""

from __future__ import annotations

from collections.abc import Iterable
from typing import cast
from uuid import uuid4

from twisted.internet.defer import Deferred
from twisted.python.failure import Failure

from ...association.datasets import LARGEST
from ...association.operations import Operations
from ...association.requests import EventReportRequest
from ...association.stream import DataSetTooLong
from ...association.timers import Clock
from ...dimse.status import Status
from ...errors import ServiceError
from ...uids import STORAGE_COMMITMENT, STORAGE_COMMITMENT_INSTANCE
from ...ul.negotiation import Support
from ...ul.pdus import CommonExtendedNegotiation
from ..provider import ServiceProvider
from .references import Reference, Report, read_report, write_request


class CommitmentUser(ServiceProvider):
    """Asks peers for storage commitment and takes their reports.

    ::

        user = CommitmentUser()
        async with association(endpoint, …, contexts=[propose(STORAGE_COMMITMENT)], services=user) as opened:
            report = await user.commit(opened, [Reference(sop_class_uid, sop_instance_uid)])

    Many peers report on an association of their own: have the same object among the services of an AE that they call.
    """

    abstract_syntaxes = (STORAGE_COMMITMENT,)

    def __init__(self, clock: Clock | None = None) -> None:
        self._clock = clock
        self._waiting: dict[str, Deferred[Report]] = {}

    def support(self, abstract_syntax: str, common: CommonExtendedNegotiation | None) -> Support | None:
        """Who calls to report is the SCP, and asks for that role (PS3.4 J.3.3)."""
        supported = super().support(abstract_syntax, common)
        if supported is None or abstract_syntax != STORAGE_COMMITMENT:
            return supported
        return Support(supported.transfer_syntaxes, requestor_may_be_scu=False, requestor_may_be_scp=True)

    async def commit(
        self, association: Operations, references: Iterable[Reference], *, timeout: float = 600.0
    ) -> Report:
        """Ask for commitment and await the report, which may come after the association has ended.

        Raises `OperationFailed` where the peer refuses, what ended the association before it answered, and
        TimeoutError where it was asked and nothing is heard for so many seconds; `reported` is called if it is later.
        """
        transaction_uid = f"2.25.{uuid4().int}"
        context = association.context(STORAGE_COMMITMENT)
        data = write_request(transaction_uid, references, context.transfer_syntax)
        heard: Deferred[Report] = Deferred()
        self._waiting[transaction_uid] = heard  # first: a report may overtake the answer
        try:
            await association.n_action(STORAGE_COMMITMENT, STORAGE_COMMITMENT_INSTANCE, 1, data)

            def late(result: object, seconds: float) -> Failure:
                return Failure(TimeoutError(f"no report on storage commitment {transaction_uid} within {seconds:g} s"))

            return await heard.addTimeout(timeout, self._the_clock(), onTimeoutCancel=late)  # type: ignore[arg-type]
        finally:
            del self._waiting[transaction_uid]

    async def n_event_report(self, request: EventReportRequest) -> int:
        """Take a report, and hand it to whoever awaits it."""
        if request.sop_instance_uid != STORAGE_COMMITMENT_INSTANCE:
            raise ServiceError(Status.NO_SUCH_SOP_INSTANCE, f"expected SOP instance {STORAGE_COMMITMENT_INSTANCE}")
        if request.event_type_id not in (1, 2):
            raise ServiceError(Status.NO_SUCH_EVENT_TYPE, "expected event type 1 or 2")
        if request.data is None:
            raise ServiceError(Status.INVALID_ARGUMENT_VALUE, "expected event information, got no data set")
        try:
            data = await request.data.read(LARGEST)
        except DataSetTooLong as error:
            raise ServiceError(Status.RESOURCE_LIMITATION, f"the data set has more than {LARGEST} bytes") from error
        report = read_report(data, request.context.transfer_syntax)
        waiting = self._waiting.get(report.transaction_uid)
        if waiting is None or waiting.called:
            return await self.reported(report, request)
        waiting.callback(report)
        return Status.SUCCESS

    async def reported(self, report: Report, request: EventReportRequest) -> int:
        """A report that nobody awaits: derive and override it to hear those that come after a restart."""
        raise ServiceError(Status.INVALID_ARGUMENT_VALUE, "nothing is known of this Transaction UID", (0x0008_1195,))

    def _the_clock(self) -> Clock:
        if self._clock is None:
            from twisted.internet import reactor  # as late as possible: importing it chooses one for the process

            self._clock = cast(Clock, reactor)
        return self._clock
