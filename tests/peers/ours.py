"""Our node as an archive that holds every file that pydicom ships, and patients with names in every script."""

from __future__ import annotations

import subprocess
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import pydicom
from pydicom import Dataset

from dimsetls.association import Instance as Outgoing
from dimsetls.association import propose_for

from ..identity.loop import Loop
from . import dcmtk
from .archives import NODE, WITNESS, Archive, storescp
from .asking import Asker
from .instances import Instance, distinct
from .patients import Patient, patients
from .running import Node, Service, free_port
from .tunnel import tunnel

READER, KEEPER, MODEST = "READER", "KEEPER", "MODEST"
"""An AE that sends what NODE keeps, one that keeps what nobody asks for, and a destination for what is uncompressed."""


@dataclass(frozen=True)
class Ours:
    """A node that holds every file and patient, and where it sends them to."""

    service: Service
    pki: Path
    asker: Asker
    files: Sequence[Instance]
    patients: Sequence[Patient]
    kept: Path
    witness: Path
    modest: Path
    witness_port: int
    orthanc_port: int

    @cached_property
    def data_sets(self) -> dict[str, Dataset]:
        """By SOP Instance UID."""
        return {each.sop_instance_uid: pydicom.dcmread(each.path, stop_before_pixels=True) for each in self.files}

    def study(self, instance: Instance) -> str:
        return self.data_sets[instance.sop_instance_uid].get("StudyInstanceUID") or ""

    @cached_property
    def in_studies(self) -> list[Instance]:
        """What can be asked for by its study; the data set of SC_rgb_jpeg.dcm is in no transfer syntax that it says."""
        return [each for each in self.files if self.study(each) and each.name != "SC_rgb_jpeg.dcm"]

    def studies(self, instances: Sequence[Instance]) -> list[str]:
        return sorted({self.study(each) for each in instances})

    def empty(self) -> None:
        """Let the destinations of C-MOVE have nothing."""
        for path in (*self.witness.iterdir(), *self.modest.iterdir()):
            path.unlink()

    def run(self, name: str, *options: object, called: str = NODE) -> subprocess.CompletedProcess[str]:
        """One of DCMTK's programs; those that have no TLS of their own go through the tunnel."""
        secured = dcmtk.secured(self.pki) if name in ("findscu", "storescu") else ()
        with ExitStack() as stack:
            port = self.service.port()
            if not secured:
                port = stack.enter_context(tunnel(port, self.pki))
            words = *dcmtk.WAITS, *secured, "-aec", called, "127.0.0.1", port, *options
            return dcmtk.run(name, *words, env=dcmtk.SWIFT)

    def find(self, directory: Path, model: str, *queries: Dataset) -> list[list[Dataset]]:
        """What findscu gets for each query."""
        answers = []
        for query in queries:
            out = Path(tempfile.mkdtemp(dir=directory))
            asked = out.with_suffix(".dcm")
            query.save_as(asked, implicit_vr=False, little_endian=True)
            ended = self.run("findscu", model, "-X", "-od", out, asked)
            assert ended.returncode == 0, ended.stdout
            answers.append([pydicom.dcmread(path, force=True) for path in sorted(out.iterdir())])
        return answers


@contextmanager
def running(directory: Path, pki: Path) -> Iterator[Ours]:
    """The node while it runs, with all that it has in a directory."""
    for name in ("node", "kept", "witness", "modest", "patients", "files"):
        (directory / name).mkdir()
    node, kept = Node(directory / "node", pki), directory / "kept"
    witness, modest = directory / "witness", directory / "modest"
    port = free_port()
    with ExitStack() as stack:
        node.set("listener main", aes=f"{NODE}, {READER}, {KEEPER}")
        node.set("storage archive", index="yes", fsync="none")
        node.set(f"ae {NODE}", services="verification, storage, query, retrieve")
        node.set(f"ae {READER}", storage="archive", services="verification, query, retrieve")
        node.set(f"ae {KEEPER}", storage="kept")
        node.set("storage kept", directory=kept, layout="{SOPInstanceUID}.dcm", duplicates="replace", fsync="none")
        there = {
            WITNESS: stack.enter_context(storescp(witness, pki, "--accept-all")),
            MODEST: stack.enter_context(storescp(modest, pki)), "ORTHANC": port,
        }  # fmt: skip
        for title, at in there.items():
            node.set(f"peer {title.lower()}", ae_title=title, host="localhost", port=at, tls="secure")
        service = stack.enter_context(node.running())
        loop = Loop()
        stack.callback(loop.end)
        asker = Asker(loop, pki, Archive(NODE, service.port(), node.store))
        named = patients(directory / "patients")
        files = [*distinct(directory / "files"), *(each.instance for each in named)]
        asker.wait(store(asker, files))
        yield Ours(service, pki, asker, files, named, kept, witness, modest, there[WITNESS], port)


async def store(asker: Asker, instances: Sequence[Instance]) -> None:
    outgoing = [Outgoing.of(each.path) for each in instances]
    async with asker.association(contexts=propose_for(outgoing)) as opened:
        for instance in outgoing:
            await opened.store(instance)
