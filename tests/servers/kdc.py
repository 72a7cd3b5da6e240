"""A real MIT KDC on loopback with two realms that trust each other, and tokens of its users.

The realm is TEST.LOCAL with the users alice and bob, the services dicom/localhost and HTTP/localhost, whose keys are in
`service.keytab`, and dicom/other.invalid with a keytab of its own. carol is a user of OTHER.LOCAL.

Run as a program, with KRB5_CONFIG in the environment, it writes one token to standard output; see `Request`.
"""

from __future__ import annotations

import os
import select
import signal
import socket
import subprocess
import sys
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import astuple, dataclass
from pathlib import Path
from types import TracebackType
from typing import Literal

import gssapi

REALM = "TEST.LOCAL"
OTHER_REALM = "OTHER.LOCAL"
SERVICE = f"dicom/localhost@{REALM}"
WEB_SERVICE = f"HTTP/localhost@{REALM}"
OTHER_SERVICE = f"dicom/other.invalid@{REALM}"
USERS = {"alice": REALM, "bob": REALM, "carol": OTHER_REALM, "ct/modality": REALM}

Form = Literal["raw", "gss", "spnego"]
FORMS: tuple[Form, ...] = ("raw", "gss", "spnego")

_ENVIRONMENT = os.environ | {"PATH": os.environ.get("PATH", "") + ":/usr/sbin:/sbin"}
_AES = "aes256-cts-hmac-sha1-96:normal aes128-cts-hmac-sha256-128:normal"
_KRB5_CONF = """\
[libdefaults]
  default_realm = {realm}
  dns_lookup_kdc = false
  dns_lookup_realm = false
  dns_canonicalize_hostname = false
  rdns = false
  clockskew = 300
  forwardable = true
  udp_preference_limit = 1
[realms]
  {realm} = {{
    kdc = 127.0.0.1:{port}
  }}
  {other} = {{
    kdc = 127.0.0.1:{port}
  }}
[domain_realm]
  localhost = {realm}
"""
_KDC_CONF = """\
[kdcdefaults]
  kdc_listen = ""
  kdc_tcp_listen = 127.0.0.1:{port}
[realms]
  {realm} = {{
    database_name = {directory}/test/principal
    key_stash_file = {directory}/test/stash
    supported_enctypes = {aes}
  }}
  {other} = {{
    database_name = {directory}/other/principal
    key_stash_file = {directory}/other/stash
    supported_enctypes = {aes}
  }}
[logging]
  kdc = FILE:{directory}/kdc.log
"""
_PRINCIPALS = {
    REALM: """\
addprinc -pw alice-secret +requires_preauth alice
addprinc -pw bob-secret +requires_preauth bob
addprinc -randkey ct/modality
addprinc -randkey dicom/localhost
addprinc -randkey HTTP/localhost
addprinc -randkey dicom/other.invalid
addprinc -pw between krbtgt/TEST.LOCAL@OTHER.LOCAL
ktadd -k {directory}/service.keytab dicom/localhost HTTP/localhost
ktadd -k {directory}/other.keytab dicom/other.invalid
ktadd -k {directory}/client.keytab -norandkey alice bob ct/modality
""",
    OTHER_REALM: """\
addprinc -pw carol-secret carol
addprinc -pw between krbtgt/TEST.LOCAL@OTHER.LOCAL
ktadd -k {directory}/client.keytab -norandkey carol
""",
}


class KDC:
    """krb5kdc in a directory of its own, as a context manager. `environment` makes Kerberos programs use it."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.config = directory / "krb5.conf"
        self.service_keytab = directory / "service.keytab"
        self.other_keytab = directory / "other.keytab"
        self.client_keytab = directory / "client.keytab"
        self.environment = _ENVIRONMENT | {
            "KRB5_CONFIG": str(self.config),
            "KRB5_KDC_PROFILE": str(directory / "kdc.conf"),
            "KRB5CCNAME": f"FILE:{directory}/default.ccache",
        }

    def __enter__(self) -> KDC:
        self.directory.mkdir(parents=True, exist_ok=True)
        names = {"realm": REALM, "other": OTHER_REALM, "port": _free_port(), "directory": self.directory, "aes": _AES}
        self.config.write_text(_KRB5_CONF.format(**names))
        (self.directory / "kdc.conf").write_text(_KDC_CONF.format(**names))
        for realm, database in ((REALM, "test"), (OTHER_REALM, "other")):
            (self.directory / database).mkdir()
            self.run("kdb5_util", "-r", realm, "-P", "master", "create", "-s")
            self.administer(_PRINCIPALS[realm].format(**names), realm)
        # Without -n it leaves its parent only when its sockets are open.
        self.run("krb5kdc", "-r", REALM, "-r", OTHER_REALM, "-P", str(self.directory / "kdc.pid"))
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with suppress(ProcessLookupError):
            process = os.pidfd_open(int((self.directory / "kdc.pid").read_text()))
            ended = select.poll()
            ended.register(process, select.POLLIN)
            for request in (signal.SIGTERM, signal.SIGKILL):
                signal.pidfd_send_signal(process, request)
                if ended.poll(3000):
                    break
            os.close(process)

    def run(self, *command: str, text: str = "") -> str:
        """Run a program of Kerberos; what it prints."""
        try:
            done = subprocess.run(
                command, env=self.environment, input=text, capture_output=True, text=True, timeout=60, check=False
            )  # fmt: skip
        except FileNotFoundError:
            raise AssertionError(f"{command[0]} is missing: `make debian` installs what the tests need") from None
        assert done.returncode == 0, f"{' '.join(command)} failed: {done.stdout}{done.stderr}"
        return done.stdout

    def administer(self, commands: str, realm: str = REALM) -> None:
        """Commands for kadmin.local, one a line."""
        self.run("kadmin.local", "-r", realm, text=commands)

    def ticket_cache(self, user: str = "alice", *options: str) -> Path:
        """A fresh credential cache with a ticket-granting ticket; `options` are those of kinit."""
        cache = self.directory / f"{user.replace('/', '-')}.ccache"
        principal = f"{user}@{USERS[user]}"
        self.run("kinit", *options, "-k", "-t", str(self.client_keytab), "-c", f"FILE:{cache}", principal)
        return cache

    def token(self, request: Request, clock: str = "") -> bytes:
        """A token made by a program of its own, its clock shifted as libfaketime has it: `+6m`."""
        environment = shifted(self.environment, clock) if clock else self.environment
        command = [sys.executable, __file__, *astuple(request)]
        done = subprocess.run(command, env=environment, capture_output=True, timeout=60, check=False)
        assert done.returncode == 0, done.stderr.decode()
        return done.stdout

    def token_file(self, form: Form, user: str = "alice", service: str = SERVICE) -> Path:
        """A file for `storescu -kt`: a token of a user, good for one use."""
        path = self.directory / f"{form}.token"
        path.write_bytes(self.token(Request(form, service, str(self.ticket_cache(user)))))
        return path


@dataclass(frozen=True, slots=True)
class Request:
    """What token is wanted: form, service principal, credential cache, `mutual` or nothing."""

    form: Form
    service: str
    cache: str
    mutual: str = "mutual"

    def make(self, channel_binding: bytes | None = None) -> bytes:
        """The token, made here. KRB5_CONFIG must be in the environment."""
        spnego = gssapi.OID.from_int_seq("1.3.6.1.5.5.2")
        flags = [gssapi.RequirementFlag.integrity]
        if self.mutual:
            flags.append(gssapi.RequirementFlag.mutual_authentication)
        context = gssapi.SecurityContext(
            name=gssapi.Name(self.service, gssapi.NameType.kerberos_principal),
            creds=gssapi.Credentials(usage="initiate", store={"ccache": f"FILE:{self.cache}"}),
            mech=spnego if self.form == "spnego" else gssapi.MechType.kerberos,
            flags=flags,
            usage="initiate",
            channel_bindings=(
                gssapi.raw.ChannelBindings(application_data=b"tls-exporter:" + channel_binding)
                if channel_binding is not None
                else None
            ),
        )
        token = context.step() or b""
        return token[token.index(b"\x01\x00\x6e") + 2 :] if self.form == "raw" else token


def shifted(environment: Mapping[str, str], clock: str) -> dict[str, str]:
    """The environment with a time of day ahead or behind, as libfaketime has it: `+1h`; deadlines are as they were.

    The program `faketime` names a semaphore by its process and leaves it behind if what it starts is killed; the next
    with that number fails. The library by itself needs none.
    """
    (library,) = Path("/usr/lib").glob("*/faketime/libfaketime.so.1")
    return {**environment, "LD_PRELOAD": str(library), "FAKETIME": clock, "FAKETIME_DONT_FAKE_MONOTONIC": "1"}


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


if __name__ == "__main__":
    sys.stdout.buffer.write(Request(*sys.argv[1:]).make())  # type: ignore[arg-type]
