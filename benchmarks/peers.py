"""The SCPs that are compared: what each needs and how it is started. To add one, add it to PEERS."""

from __future__ import annotations

import importlib.util
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

from dimsetls.identity.credentials import Secret
from dimsetls.identity.users import PasscodeHash

from .client import CALLED_AE, MAXIMUM_LENGTH, PASSCODE, USER

INSTALL = "pip install -e '.[test]'"


@dataclass(frozen=True, slots=True)
class Site:
    """Where one server is to run: its port, its folders, and whether associations come several at once.

    With `matches` it answers C-FIND, with so many of them; with `identities` it checks the user where it can; `resumed`
    says whether sessions of TLS are taken up again. `keys` holds ca.pem, server.pem, server.key, client.pem and
    client.key; `scratch` is for the server's own files.
    """

    port: int
    store: Path
    scratch: Path
    keys: Path
    several: bool
    matches: int = 0
    identities: bool = False
    resumed: bool = False


@dataclass(frozen=True, slots=True)
class Peer:
    """One SCP; `missing` is a sentence where it cannot run here, else empty. `finds` says that it answers C-FIND."""

    name: str
    version: Callable[[], str]
    missing: Callable[[], str]
    command: Callable[[Site], list[str]]
    finds: bool = False


def dcmtk(name: str) -> str:
    """The path of a DCMTK program, or empty; pynetdicom's Python scripts of the same names are passed over."""
    for folder in os.get_exec_path():
        path = shutil.which(name, path=folder)
        if path and Path(path).read_bytes()[:2] != b"#!":
            return path
    return ""


def missing_dcmtk() -> str:
    """Install DCMTK where that is possible, else say what to do."""
    if dcmtk("storescp"):
        return ""
    if os.geteuid() == 0 and shutil.which("apt-get"):
        command = ["apt-get", "install", "--yes", "--no-install-recommends", "dcmtk"]
        subprocess.run(command, stdout=sys.stderr, check=False)
    return "" if dcmtk("storescp") else "DCMTK's storescp is not on the PATH: install the package dcmtk"


def dcmtk_version() -> str:
    """As the program prints it, for example "dcmtk: storescp v3.6.7 2022-04-22"."""
    answer = subprocess.run([dcmtk("storescp"), "--version"], capture_output=True, text=True, check=True)
    return answer.stdout.splitlines()[0].strip("$ ")


def storescp(site: Site, *options: str) -> list[str]:
    """DCMTK's storescp; like the other peers it takes every storage class and several associations at once."""
    return [dcmtk("storescp"), "--quiet", "--max-pdu", str(MAXIMUM_LENGTH), *(["--fork"] if site.several else []),
            *options, "--enable-tls", str(site.keys / "server.key"), str(site.keys / "server.pem"),
            "--add-cert-file", str(site.keys / "ca.pem"), "--output-directory", str(site.store), str(site.port)]


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


def dimsetls(site: Site, transport: str = "stream", fsync: str = "none", index: str = "no") -> list[str]:
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
        identity=IDENTITY if site.identities else "", resumption="1h" if site.resumed else "no",
    ))
    return [str(twistd()), "--nodaemon", "--pidfile=", "dimsetls", "--config", str(ini)]


def missing_pynetdicom() -> str:
    """pynetdicom must be installed."""
    return "" if importlib.util.find_spec("pynetdicom") else f"pynetdicom is not installed: {INSTALL}"


PEERS = {peer.name: peer for peer in (
    Peer("storescp", dcmtk_version, missing_dcmtk, storescp),
    Peer("storescp+B", dcmtk_version, missing_dcmtk, lambda site: storescp(site, "--bit-preserving")),
    Peer("pynetdicom", lambda: version("pynetdicom"), missing_pynetdicom, pynetdicom, finds=True),
    Peer("dimsetls", lambda: version("dimsetls"), missing_dimsetls, dimsetls, finds=True),
    Peer("dimsetls-memory", lambda: version("dimsetls"), missing_dimsetls, lambda site: dimsetls(site, "memory"),
         finds=True),
)}
REFERENCE = "storescp"
"""The peer that ratios are taken to."""
QUERY_REFERENCE = "pynetdicom"
"""The same for C-FIND, which storescp does not answer."""
