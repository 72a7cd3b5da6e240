"""Archives that others wrote, each behind mutual TLS: Orthanc has it, dcmqrscp and qrscp get it from a tunnel."""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from urllib.request import urlopen

from dimsetls.services.models import MODELS
from dimsetls.uids import EXPLICIT_VR_LITTLE_ENDIAN, IMPLICIT_VR_LITTLE_ENDIAN, VERIFICATION

from . import dcmtk
from .instances import Kept, held, shipped
from .running import answers, eventually, free_port, running
from .tunnel import entrance, tunnel

NODE, WITNESS = "DIMSETLS", "STORESCP"
"""The move destinations that an archive knows: a node of ours, and DCMTK's storescp."""


@dataclass(frozen=True, slots=True)
class Archive:
    """One that runs: its AE title, where it is reached over TLS, and where it keeps its files."""

    ae_title: str
    port: int
    directory: Path
    http: int = 0
    """The port of Orthanc's REST API."""
    knows_lists: bool = True
    """Whether it understands a list of UIDs in a C-GET or C-MOVE."""
    knows_contexts: bool = True
    """Whether it sends an instance in the context with its transfer syntax, and not in the first for its SOP class."""


@dataclass(frozen=True, slots=True)
class Destinations:
    """The ports of the move destinations, which all want TLS."""

    node: int
    witness: int


@contextmanager
def orthanc(directory: Path, pki: Path, to: Destinations, port: int = 0) -> Iterator[Archive]:
    """Orthanc with TLS of its own in both directions, and its REST API on loopback."""
    port, http = port or free_port(), free_port()
    modality = {"Host": "localhost", "UseDicomTls": True}
    configuration = directory / "orthanc.json"
    configuration.write_text(json.dumps({
        "StorageDirectory": str(directory / "storage"), "IndexDirectory": str(directory / "storage"), "Plugins": [],
        "HttpPort": http, "RemoteAccessAllowed": False, "AuthenticationEnabled": False, "OverwriteInstances": True,
        "DicomAet": "ORTHANC", "DicomPort": port, "DicomCheckCalledAet": True, "SyncStorageArea": False,
        "DefaultEncoding": "Utf8",
        "DicomTlsEnabled": True, "DicomTlsCertificate": str(pki / "server.pem"),
        "DicomTlsPrivateKey": str(pki / "server.key"), "DicomTlsTrustedCertificates": str(pki / "ca.pem"),
        "DicomTlsRemoteCertificateRequired": True,
        "DicomAlwaysAllowFind": True, "DicomAlwaysAllowGet": True, "DicomAlwaysAllowMove": True,
        "DicomModalities": {
            "node": {"AET": NODE, "Port": to.node, **modality},
            "witness": {"AET": WITNESS, "Port": to.witness, **modality},
        },
    }))  # fmt: skip
    program = shutil.which("Orthanc") or shutil.which("Orthanc", path="/usr/sbin")
    assert program is not None, "Orthanc is not on the PATH: make debian, or install the package orthanc"
    with running([program, configuration], port, env=dcmtk.SWIFT):
        eventually(lambda: answers(http), f"port {http} answers")
        yield Archive("ORTHANC", port, directory / "storage", http)


def in_rest_api(port: int) -> Kept:
    """What Orthanc holds, as its REST API gives it."""
    at = f"http://127.0.0.1:{port}/instances"
    with urlopen(at) as answer:
        identifiers = json.load(answer)
    kept = Kept()
    for identifier in identifiers:
        with urlopen(f"{at}/{identifier}/file") as answer:
            uid, what = held(answer.read())
        kept[uid] = what
    return kept


@contextmanager
def dcmqrscp(directory: Path, pki: Path, to: Destinations) -> Iterator[Archive]:
    """DCMTK's archive, which has no TLS in either direction."""
    port = free_port()
    storage = directory / "storage"
    storage.mkdir()
    configuration = directory / "dcmqrscp.cfg"
    with tunnel(to.node, pki) as node, tunnel(to.witness, pki) as witness, entrance(port, pki) as entered:
        configuration.write_text(f"""\
NetworkTCPPort = {port}
MaxPDUSize = 131072
MaxAssociations = 16
HostTable BEGIN
node = ({NODE}, localhost, {node})
witness = ({WITNESS}, localhost, {witness})
HostTable END
VendorTable BEGIN
VendorTable END
AETable BEGIN
DCMQRSCP {storage} RW (500, 1024mb) ANY
AETable END
""")
        profiles = directory / "profiles.cfg"
        profiles.write_text(dcmtk.association_profiles(_contexts()))
        options = "--config", configuration, "--bit-preserving", "--assoc-config-file", profiles, "Accept", "Propose"
        with running([dcmtk.find("dcmqrscp"), *options], port, env=dcmtk.SWIFT):
            yield Archive("DCMQRSCP", entered, storage, knows_contexts=False)


def _contexts() -> Iterator[tuple[str, str]]:
    """What dcmqrscp has to be told: SOP classes and transfer syntaxes of all that it takes and does."""
    yield VERIFICATION, IMPLICIT_VR_LITTLE_ENDIAN
    syntaxes = EXPLICIT_VR_LITTLE_ENDIAN, IMPLICIT_VR_LITTLE_ENDIAN
    yield from ((model, syntax) for model in MODELS for syntax in syntaxes)
    yield from ((each.sop_class_uid, each.transfer_syntax_uid) for each in shipped())


@contextmanager
def qrscp(directory: Path, pki: Path, to: Destinations) -> Iterator[Archive]:
    """pynetdicom's application, which has no TLS either."""
    port = free_port()
    storage = directory / "storage"
    configuration = directory / "qrscp.ini"
    with tunnel(to.node, pki) as node, tunnel(to.witness, pki) as witness, entrance(port, pki) as entered:
        configuration.write_text(f"""\
[DEFAULT]
ae_title: QRSCP
port: {port}
max_pdu: 0
acse_timeout: 30
dimse_timeout: 30
network_timeout: 30
bind_address: 127.0.0.1
instance_location: {storage}
database_location: {directory / "instances.sqlite"}
log_identifier: False
[{NODE}]
address: 127.0.0.1
port: {node}
[{WITNESS}]
address: 127.0.0.1
port: {witness}
""")
        program = Path(__file__).with_name("qrscp.py")
        with running([sys.executable, "-W", "ignore", program, "--config", configuration], port):
            yield Archive("QRSCP", entered, storage, knows_lists=False)


@contextmanager
def storescp(directory: Path, pki: Path, *options: object) -> Iterator[int]:
    """The port of a storescp, which keeps what comes, byte for byte, and has TLS of its own."""
    port = free_port()
    secured = "+tls", pki / "server.key", pki / "server.pem", "+cf", pki / "ca.pem"
    scp = dcmtk.find("storescp"), *options, "--bit-preserving", "--output-directory", directory, *secured, port
    with running(list(scp), port, env=dcmtk.SWIFT):
        yield port


ARCHIVES: dict[str, Callable[[Path, Path, Destinations], AbstractContextManager[Archive]]] = {
    "orthanc": orthanc, "dcmqrscp": dcmqrscp, "qrscp": qrscp,
}
