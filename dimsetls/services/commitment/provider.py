"""Storage Commitment as SCP: requests are judged by their form, written down, and answered (PS3.4 J.3.2)."""

from __future__ import annotations

import sqlite3

from ...association.datasets import LARGEST
from ...association.requests import ActionRequest
from ...association.stream import DataSetTooLong
from ...dimse.status import Status
from ...errors import ServiceError
from ...uids import STORAGE_COMMITMENT, STORAGE_COMMITMENT_INSTANCE
from ..provider import ServiceProvider
from .references import read_request
from .reporting import Reports

_REQUEST = 1  # Request Storage Commitment, the only action there is (PS3.4 Table J.3-1)


class Commitment(ServiceProvider):
    """Takes requests for storage commitment; `reports` keeps them and tells the peers what became of them."""

    abstract_syntaxes = (STORAGE_COMMITMENT,)

    def __init__(self, reports: Reports) -> None:
        self._reports = reports

    async def n_action(self, request: ActionRequest) -> int:
        """Success means that a report will come, for better or worse (PS3.4 J.3.2.2)."""
        if request.sop_instance_uid != STORAGE_COMMITMENT_INSTANCE:
            raise ServiceError(Status.NO_SUCH_SOP_INSTANCE, f"expected SOP instance {STORAGE_COMMITMENT_INSTANCE}")
        if request.action_type_id != _REQUEST:
            raise ServiceError(Status.NO_SUCH_ACTION_TYPE, f"expected action type {_REQUEST}")
        if request.data is None:
            raise ServiceError(Status.INVALID_ARGUMENT_VALUE, "expected action information, got no data set")
        try:
            data = await request.data.read(LARGEST)
        except DataSetTooLong as error:
            raise ServiceError(Status.RESOURCE_LIMITATION, f"the data set has more than {LARGEST} bytes") from error
        try:
            syntax = request.context.transfer_syntax
            await self._reports.promise(request.association, lambda: read_request(data, syntax))
        except sqlite3.Error as error:
            raise ServiceError(Status.RESOURCE_LIMITATION, "the request cannot be kept") from error
        return Status.SUCCESS
