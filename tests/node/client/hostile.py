"""An archive that does wrong: `python -m tests.node.client.hostile PKI HOW` says its port, and answers C-GET so.

It does not answer queries, so whoever comes has to guess what it sends.
"""

from __future__ import annotations

import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from twisted.internet import defer, endpoints, task

from dimsetls.association import AcceptorFactory, ApplicationEntity, Instance
from dimsetls.services import ServiceProvider
from dimsetls.services.known import storage_sop_classes
from dimsetls.services.models import PATIENT_ROOT
from dimsetls.ul.negotiation import Support

from ...peers.instances import data_set_of, named
from ...peers.running import Service

SEVERAL = 3
PATHS = ("../../outside", "/var/outside", "1.2/../../outside", "..", "NUL", "1.2.0003")


@contextmanager
def hostile(pki: Path, how: str) -> Iterator[tuple[Service, int]]:
    """One that runs, and its port."""
    root = Path(__file__).parents[3]
    service = Service([sys.executable, "-m", "tests.node.client.hostile", str(pki), how], cwd=root)
    try:
        yield service, int(service.expect(r"^port \d+$")[0].split()[1])
    finally:
        service.kill()


def _say(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


async def _endless() -> AsyncIterator[bytes]:
    while True:
        yield bytes(1 << 16)


async def _cut_off(association: Any) -> AsyncIterator[bytes]:
    yield bytes(1000)
    association.abort()


class Hostile(ServiceProvider):
    abstract_syntaxes = (PATIENT_ROOT.get,)

    def __init__(self, how: str) -> None:
        self._how = how

    def support(self, abstract_syntax: str, common: Any) -> Support | None:
        if abstract_syntax in storage_sop_classes():
            return Support(tuple(self.transfer_syntaxes), requestor_may_be_scu=False, requestor_may_be_scp=True)
        return super().support(abstract_syntax, common)

    async def c_get(self, request: Any) -> Any:
        _say("asked")
        ct = named("CT_small.dcm")
        kind, whole, data = ct.sop_class_uid, Instance.of(ct.path), data_set_of(ct.path)
        match self._how:
            case "paths":
                for uid in PATHS:
                    yield Instance(kind, uid, whole.transfer_syntax, data)
                yield whole
            case "several":
                for number in range(SEVERAL):
                    yield Instance(kind, f"1.2.{number}", whole.transfer_syntax, data)
            case "endless":
                yield whole
                yield Instance(kind, "1.2.3", whole.transfer_syntax, _endless())
            case "cut off":
                yield whole
                yield Instance(kind, "1.2.3", whole.transfer_syntax, _cut_off(request.association))
            case "other class":
                yield Instance("1.2.840.10008.5.1.4.1.1.30", "1.2.3", whole.transfer_syntax, data)
            case "silent":
                await defer.Deferred()


async def main(reactor: Any, pki: str, how: str) -> None:
    keys = f"certKey={pki}/server.pem:privateKey={pki}/server.key:trustRoots={pki}/ca.pem"
    endpoint = endpoints.serverFromString(reactor, f"dicomtls:0:interface=127.0.0.1:{keys}")
    port = await endpoint.listen(AcceptorFactory([ApplicationEntity("HOSTILE", Hostile(how))]))
    _say(f"port {port.getHost().port}")
    await defer.Deferred()


if __name__ == "__main__":
    task.react(main, sys.argv[1:])
