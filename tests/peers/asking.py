"""Our SCU as tests have it: associations with an archive of others, by a reactor that runs while a test waits."""

from __future__ import annotations

from collections.abc import Coroutine, Iterable
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from pydicom import Dataset
from twisted.internet.endpoints import HostnameEndpoint

from dimsetls.association import RequestedAssociation, Retrieved, as_scp, association, propose
from dimsetls.association.requests import StoreRequest
from dimsetls.tls.contexts import ClientConnectionCreator
from dimsetls.tls.endpoints import DicomTLSClientEndpoint
from dimsetls.tls.material import KeyMaterial, TrustRoots
from dimsetls.tls.policy import profile

from ..identity.loop import Loop
from .archives import Archive
from .instances import Instance, Kept

T = TypeVar("T")
FIND, MOVE, GET = "find", "move", "get"
PATIENT_ROOT = {FIND: "1.2.840.10008.5.1.4.1.2.1.1", MOVE: "1.2.840.10008.5.1.4.1.2.1.2",
                GET: "1.2.840.10008.5.1.4.1.2.1.3"}
STUDY_ROOT = {FIND: "1.2.840.10008.5.1.4.1.2.2.1", MOVE: "1.2.840.10008.5.1.4.1.2.2.2",
              GET: "1.2.840.10008.5.1.4.1.2.2.3"}

def keys(level: str, **values: Any) -> Dataset:
    """An identifier."""
    dataset = Dataset()
    dataset.QueryRetrieveLevel = level
    for keyword, value in values.items():
        setattr(dataset, keyword, value)
    return dataset


@dataclass(frozen=True)
class Asker:
    """Asks one archive as the AE OURS, with the client's certificate."""

    loop: Loop
    pki: Path
    archive: Archive

    def wait(self, awaited: Coroutine[Any, Any, T]) -> T:
        return self.loop.wait(awaited)

    def association(self, **wishes: Any) -> AbstractAsyncContextManager[RequestedAssociation]:
        creator = ClientConnectionCreator(
            profile("bcp195-rfc9325"), TrustRoots.load(self.pki / "ca.pem"),
            KeyMaterial.load(self.pki / "client.pem", self.pki / "client.key"), server_name="localhost",
        )  # fmt: skip
        endpoint = HostnameEndpoint(self.loop.reactor, b"127.0.0.1", self.archive.port)
        return association(DicomTLSClientEndpoint(endpoint, creator), calling_ae_title="OURS",
                           called_ae_title=self.archive.ae_title, clock=self.loop.reactor, **wishes)

    def find(self, root: dict[str, str], *queries: Dataset) -> list[list[Dataset]]:
        """The matches of each query, asked one after the other on one association."""

        async def ask() -> list[list[Dataset]]:
            async with self.association(contexts=[propose(root[FIND])]) as opened:
                return [[match async for match in opened.find(root[FIND], query)] for query in queries]

        return self.wait(ask())

    def move(self, destination: str, *queries: Dataset) -> list[Retrieved]:
        async def ask() -> list[Retrieved]:
            async with self.association(contexts=[propose(STUDY_ROOT[MOVE])]) as opened:
                return [await opened.move(STUDY_ROOT[MOVE], query, destination) for query in queries]

        return self.wait(ask())

    def get(self, expected: Iterable[Instance], *queries: Dataset) -> tuple[list[Retrieved], Kept]:
        """C-GET; the storage classes are proposed for us as SCP, each in the transfer syntaxes that are expected."""
        kept: Kept = {}

        async def keep(request: StoreRequest) -> int:
            kept[request.sop_instance_uid] = request.transfer_syntax, bytes(await request.data.read())
            return 0

        async def ask() -> list[Retrieved]:
            pairs = sorted({(each.sop_class_uid, each.transfer_syntax_uid) for each in expected})
            contexts = [propose(STUDY_ROOT[GET]), *(propose(*pair) for pair in pairs)]
            roles = as_scp(*sorted({sop_class for sop_class, _ in pairs}))
            async with self.association(contexts=contexts, role_selections=roles) as opened:
                return [await opened.get(STUDY_ROOT[GET], query, store=keep) for query in queries]

        return self.wait(ask()), kept
