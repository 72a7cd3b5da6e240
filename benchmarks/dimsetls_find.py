"""A query SCP on dimsetls as a library, which answers each C-FIND with the same match, so many times.

dimsetls_find.py PORT KEYS MAXIMUM_LENGTH MATCHES TRANSPORT
"""

from __future__ import annotations

import sys
from collections.abc import AsyncGenerator
from typing import Any

from pydicom import Dataset
from twisted.internet import defer, task
from twisted.internet.endpoints import serverFromString

from dimsetls.association import AcceptorFactory, ApplicationEntity, FindRequest
from dimsetls.services import ServiceProvider
from dimsetls.uids import STUDY_ROOT_FIND


class Matches(ServiceProvider):
    """The match is made for each query, and encoded for each response."""

    abstract_syntaxes = (STUDY_ROOT_FIND,)

    def __init__(self, matches: int) -> None:
        self._matches = matches

    async def c_find(self, request: FindRequest) -> AsyncGenerator[Dataset, None]:
        match = Dataset()
        match.QueryRetrieveLevel, match.StudyInstanceUID = "STUDY", "1.2.3.4.5"
        match.PatientName, match.PatientID, match.StudyDate = "LOAD^BENCHMARK", "BENCHMARK", "20260101"
        for _ in range(self._matches):
            yield match


async def main(reactor: Any, port: str, keys: str, maximum_length: str, matches: str, transport: str) -> None:
    entity = ApplicationEntity("BENCHMARK", Matches(int(matches)), maximum_length=int(maximum_length))
    files = f"certKey={keys}/server.pem:privateKey={keys}/server.key:trustRoots={keys}/ca.pem"
    endpoint = serverFromString(reactor, f"dicomtls:{port}:interface=127.0.0.1:transport={transport}:{files}")
    await endpoint.listen(AcceptorFactory(entity))
    await defer.Deferred()


if __name__ == "__main__":
    task.react(main, sys.argv[1:])
