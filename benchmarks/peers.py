"""The SCPs that are compared: what each needs and how it is started. To add one, add it to PEERS."""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Callable
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

from dimsetls.identity.credentials import Secret
from dimsetls.identity.users import PasscodeHash

from . import sink
from .client import CALLED_AE, MAXIMUM_LENGTH, PASSCODE, USER
from .orthanc import orthanc
from .site import Site, first_line, missing, program
from .storescp import dcmtk as dcmtk
from .storescp import dcmtk_version, missing_dcmtk, storescp
from .terminators import haproxy, stunnel

INSTALL = "pip install -e '.[benchmarks]'"


@dataclass(frozen=True, slots=True)
class Peer:
    """One SCP; `missing` is a sentence where it cannot run here, else empty.

    `packages` are Debian's. `finds` says that it answers C-FIND, `inner` that a second
    program of it listens too. With `only_several` it does what comes on several associations at once, and no more.
    """

    name: str
    version: Callable[[], str]
    missing: Callable[[], str]
    command: Callable[[Site], list[str]]
    packages: tuple[str, ...] = ()
    finds: bool = False
    inner: bool = False
    only_several: bool = False


def pynetdicom(site: Site) -> list[str]:
    """pynetdicom_scp.py in the running environment."""
    script = Path(__file__).with_name("pynetdicom_scp.py")
    return [sys.executable, str(script), *map(str, (site.port, site.store, site.keys, MAXIMUM_LENGTH, site.matches))]


def twistd() -> Path:
    """twistd of the running environment."""
    return Path(sys.executable).with_name("twistd")


def missing_dimsetls() -> str:
    """twistd and the service must be there."""
    if not twistd().exists():
        return f"there is no twistd beside {sys.executable}: {INSTALL}"
    return "" if importlib.util.find_spec("dimsetls.node.service") else "this checkout has no dimsetls.node.service"


USERS = """\
[{user}]
passcode = {hash}
"""

INI = """\
[node]
workers = {workers}

[listener benchmark]
port = {port}
tls = benchmark
aes = {title}
limits = benchmark

[limits benchmark]
associations = 20000
associations-per-address = 20000
associations-per-calling-ae = 20000

[tls benchmark]
certificate = {keys}/server.pem
private-key = {keys}/server.key
trust-roots = {keys}/ca.pem
revocation-check = not checked - i understand the risk
resumption = {resumption}
transport = {transport}

[ae {title}]
services = {services}
storage = benchmark
maximum-length = {length}
{identity}

[storage benchmark]
directory = {store}
fsync = {fsync}
index = {index}
"""
IDENTITY = """\
identity = benchmark

[identity benchmark]
policy = require
passcode = users benchmark
# A passcode is hashed once, and then known; the other peers do not look at it.
remember-successes = 10m

[users benchmark]
file = users
"""


def dimsetls(
    site: Site, transport: str = "stream", fsync: str = "none", index: str = "no", workers: int = 1
) -> list[str]:
    """Ours, with the defaults of every option that the work does not fix. The other peers do not wait for the disk."""
    if site.matches:
        script = Path(__file__).with_name("dimsetls_find.py")
        return [sys.executable, str(script), *map(str, (site.port, site.keys, MAXIMUM_LENGTH, site.matches, transport))]
    users = site.scratch / "users"  # read where identities are checked
    users.write_text(USERS.format(user=USER, hash=PasscodeHash.make(Secret(PASSCODE.encode())).text))
    users.chmod(0o600)
    ini = site.scratch / "dimsetls.ini"
    ini.write_text(INI.format(
        port=site.port, title=CALLED_AE, keys=site.keys, store=site.store, length=MAXIMUM_LENGTH, transport=transport,
        services="verification, storage" + (", query" if index == "yes" else ""), fsync=fsync, index=index,
        workers=workers, identity=IDENTITY if site.identities else "", resumption="1h" if site.resumed else "no",
    ))
    return [str(twistd()), "--nodaemon", "--pidfile=", "dimsetls", "--config", str(ini)]


def missing_pynetdicom() -> str:
    """pynetdicom must be installed."""
    return "" if importlib.util.find_spec("pynetdicom") else f"pynetdicom is not installed: {INSTALL}"


PEERS = {peer.name: peer for peer in (
    Peer("storescp", dcmtk_version, missing_dcmtk, storescp, ("dcmtk",)),
    Peer("storescp+B", dcmtk_version, missing_dcmtk, lambda site: storescp(site, "--bit-preserving"), ("dcmtk",)),
    Peer("stunnel", lambda: f"{first_line(program('stunnel'), '-version')}, before storescp",
         lambda: missing_dcmtk() or missing(program("stunnel"), "the package stunnel4"), stunnel,
         ("dcmtk", "stunnel4"), inner=True),
    Peer("haproxy", lambda: f"{first_line(program('haproxy'), '-v')}, before storescp",
         lambda: missing_dcmtk() or missing(program("haproxy"), "the package haproxy"), haproxy,
         ("dcmtk", "haproxy"), inner=True),
    Peer("orthanc", lambda: first_line(program("Orthanc"), "--version"),
         lambda: missing(program("Orthanc"), "the package orthanc"), orthanc, ("orthanc",)),
    Peer("pynetdicom", lambda: version("pynetdicom"), missing_pynetdicom, pynetdicom, finds=True),
    Peer("dimsetls", lambda: version("dimsetls"), missing_dimsetls, dimsetls, finds=True),
    Peer("dimsetls-workers", lambda: f"{version('dimsetls')}, with two processes", missing_dimsetls,
         lambda site: dimsetls(site, workers=2), only_several=True),
    Peer("dimsetls-memory", lambda: f"{version('dimsetls')}, TLS by Twisted", missing_dimsetls,
         lambda site: dimsetls(site, "memory"), finds=True),
    Peer("ceiling", sink.version, sink.missing, sink.sink, ("gcc", "libc6-dev", "libssl-dev")),
)}
REFERENCE = "storescp"
"""The peer that ratios are taken to."""
QUERY_REFERENCE = "pynetdicom"
"""The same for C-FIND, which storescp does not answer."""
