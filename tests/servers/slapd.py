"""A real directory on loopback: OpenLDAP's slapd with TLS, password policy, groups and some odd users.

Every user's passcode is `NAME-secret` unless `PEOPLE` says otherwise.
"""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
from base64 import b64encode
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from signal import SIGCONT, SIGKILL, SIGSTOP, SIGTERM

from cryptography.hazmat.primitives.serialization import Encoding

from dimsetls.tls.authority import DevelopmentAuthority, DevelopmentCertificate

SUFFIX = "dc=example,dc=org"
PEOPLE_BASE, GROUP_BASE = f"ou=people,{SUFFIX}", f"ou=groups,{SUFFIX}"
SERVICE_DN, SERVICE_PASSCODE = f"cn=dimsetls,ou=services,{SUFFIX}", "service-secret"
DEADLINE = 30.0
SCHEMA, MODULES = Path("/etc/ldap/schema"), Path("/usr/lib/ldap")
MISSING = "slapd is not installed, which these tests need; run: make debian"


@dataclass(frozen=True)
class Person:
    """A user's entry. `extra` are further lines of LDIF; `rdn` its first step where that is not uid=NAME."""

    uid: str
    passcode: bytes | None
    extra: str = ""
    rdn: str = ""


def usual(uid: str, extra: str = "", rdn: str = "") -> Person:
    return Person(uid, f"{uid}-secret".encode(), extra, rdn)


PEOPLE = (
    usual("alice"),
    usual("bob"),
    Person("jürgen.müller", "pässwörd-€".encode()),
    Person("李小龍", "龍-密碼".encode()),
    Person("odd*(user)", b"odd-secret", rdn=r"uid=odd*(user)"),
    Person(r'back\slash, "a" + #1;<x>=y', b"dn-secret", rdn=r"uid=back\5cslash\2c \22a\22 \2b #1\3b\3cx\3e\3dy"),
    Person("{user}", b"braces-secret"),
    Person("latin1", b"p\xe4ss\x00w\xf6rd"),
    usual("locked", f"pwdPolicySubentry: cn=strict,ou=policies,{SUFFIX}\npwdAccountLockedTime: 000001010000Z"),
    usual("expired", f"pwdPolicySubentry: cn=aging,ou=policies,{SUFFIX}\npwdChangedTime: 20200101000000Z"),
    usual("reset", "pwdReset: TRUE"),
    usual("victim", f"pwdPolicySubentry: cn=strict,ou=policies,{SUFFIX}"),
    Person("nopass", None),
    usual("twin", rdn="cn=Twin One"),
    usual("twin", rdn="cn=Twin Two"),
    usual("two.names", "uid: another.name"),
)

POLICIES = {
    "default": "pwdMustChange: TRUE",
    "strict": "pwdLockout: TRUE\npwdMaxFailure: 3\npwdLockoutDuration: 3600",
    "aging": "pwdMaxAge: 86400\npwdGraceAuthNLimit: 0",
}

GROUPS = {
    f"cn=radiology,{GROUP_BASE}": ("alice", "jürgen.müller", "李小龍"),
    rf"cn=night shift\2c north,{GROUP_BASE}": ("alice",),
    f"cn=cardiology,{GROUP_BASE}": ("bob", "odd*(user)"),
    f"cn=administrators,ou=self-service,{SUFFIX}": ("bob",),
}


class Slapd:
    """A running slapd. `ldaps` and `ldap` (StartTLS) are its URLs, `trust_roots` the file with its authority.

    With `with_tls=False` it knows no TLS, and takes binds in clear. `trap` is a socket that referrals lead to.
    """

    def __init__(
        self,
        directory: Path,
        authority: DevelopmentAuthority,
        *,
        certificate: DevelopmentCertificate | None = None,
        with_tls: bool = True,
    ) -> None:
        program = shutil.which("slapd", path=f"{os.environ.get('PATH', '')}:/usr/sbin")
        assert program is not None, MISSING
        self.directory = directory
        self._with_tls = with_tls
        self.trust_roots = directory / "ca.pem"
        self.trust_roots.write_bytes(authority.own.certificate.public_bytes(Encoding.PEM))
        (certificate or authority.issue_server()).write(directory / "server.pem", directory / "server.key")
        self.trap = socket.create_server(("127.0.0.1", 0))
        self.trap.setblocking(False)
        # AppArmor confines the program by its path to the system's own database, and lets a copy be.
        self._program = shutil.copy(program, directory / "slapd")
        (directory / "db").mkdir()
        (directory / "slapd.conf").write_text(self._configuration())
        (directory / "entries.ldif").write_text(self._entries())
        self._run("-Tadd", "-q", "-b", SUFFIX, "-l", directory / "entries.ldif")
        self._process = self._start()

    @property
    def address(self) -> tuple[str, int]:
        """Where it answers in clear, for StartTLS."""
        return "127.0.0.1", self._ports[0]

    @property
    def ldap(self) -> str:
        return f"ldap://localhost:{self._ports[0]}"

    @property
    def ldaps(self) -> str:
        return f"ldaps://localhost:{self._ports[1]}"

    @contextmanager
    def frozen(self) -> Iterator[None]:
        """It takes connections, as the kernel does that, and answers nothing."""
        self._process.send_signal(SIGSTOP)
        try:
            yield
        finally:
            self._process.send_signal(SIGCONT)

    def stop(self) -> None:
        if self._process.poll() is None:
            self._process.send_signal(SIGCONT)
            self._process.send_signal(SIGTERM)
            try:
                self._process.wait(DEADLINE)
            except subprocess.TimeoutExpired:
                self._process.send_signal(SIGKILL)
                self._process.wait()
        self.trap.close()

    def _start(self) -> subprocess.Popen[bytes]:
        for _ in range(5):  # someone else may take a port between the choice and its use
            self._ports = _free_ports(2)
            urls = [f"ldap://127.0.0.1:{self._ports[0]}/", *([f"ldaps://127.0.0.1:{self._ports[1]}/"] * self._with_tls)]
            with (self.directory / "log").open("wb") as log:
                process = subprocess.Popen(
                    [self._program, "-d", "0", "-f", self.directory / "slapd.conf", "-h", " ".join(urls)],
                    stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True,
                )  # fmt: skip
            while process.poll() is None:
                with socket.socket() as probe:
                    if probe.connect_ex(("127.0.0.1", self._ports[self._with_tls])) == 0:
                        return process
                try:
                    process.wait(0.02)
                except subprocess.TimeoutExpired:
                    continue
        raise AssertionError(f"slapd did not start: {(self.directory / 'log').read_text()}")

    def _run(self, *words: object) -> None:
        command = [self._program, *map(str, words), "-f", str(self.directory / "slapd.conf")]
        ended = subprocess.run(command, capture_output=True, text=True, timeout=DEADLINE)
        assert ended.returncode == 0, ended.stderr

    def _configuration(self) -> str:
        here = self.directory
        tls = f"""
TLSCACertificateFile {here}/ca.pem
TLSCertificateFile {here}/server.pem
TLSCertificateKeyFile {here}/server.key
TLSProtocolMin 3.3
security simple_bind=128
"""
        return f"""
include {SCHEMA}/core.schema
include {SCHEMA}/cosine.schema
include {SCHEMA}/inetorgperson.schema
include {SCHEMA}/dyngroup.schema
modulepath {MODULES}
moduleload back_mdb
moduleload ppolicy
moduleload dynlist
pidfile {here}/slapd.pid
threads 4
disallow bind_anon
require authc
{tls if self._with_tls else ""}
database mdb
suffix "{SUFFIX}"
rootdn "cn=admin,{SUFFIX}"
directory {here}/db
maxsize 16777216
dbnosync
index objectClass,uid,member eq
access to attrs=userPassword by self =xw by anonymous auth by * none
access to dn.subtree="{GROUP_BASE}" by users read by * none
access to dn.base="{SUFFIX}" by users search by * none
access to * by dn.exact="{SERVICE_DN}" read by self read by * none

overlay ppolicy
ppolicy_default "cn=default,ou=policies,{SUFFIX}"
ppolicy_use_lockout
overlay dynlist
dynlist-attrset groupOfURLs memberURL member+memberOf@groupOfNames
"""

    def _entries(self) -> str:
        entries = [
            _entry(SUFFIX, "objectClass: dcObject\nobjectClass: organization\ndc: example\no: Example Hospital"),
            *(_entry(f"ou={unit},{SUFFIX}", f"objectClass: organizationalUnit\nou: {unit}")
              for unit in ("people", "groups", "services", "policies", "self-service")),
            _entry(SERVICE_DN, "objectClass: applicationProcess\nobjectClass: simpleSecurityObject\ncn: dimsetls",
                   userPassword=SERVICE_PASSCODE.encode()),
            _entry(f"ou=elsewhere,{SUFFIX}", "objectClass: referral\nobjectClass: extensibleObject\nou: elsewhere\n"
                   f"ref: ldap://127.0.0.1:{self.trap.getsockname()[1]}/ou=elsewhere,{SUFFIX}??sub"),
            *(_entry(f"cn={name},ou=policies,{SUFFIX}", f"objectClass: device\nobjectClass: pwdPolicy\ncn: {name}\n"
                     f"pwdAttribute: userPassword\n{lines}") for name, lines in POLICIES.items()),
        ]  # fmt: skip
        for person in PEOPLE:
            lines = "objectClass: inetOrgPerson\nsn: Person"
            entries.append(_entry(
                name_of(person), f"{lines}\n{person.extra}".rstrip(), uid=person.uid.encode(),
                cn=person.rdn.removeprefix("cn=").encode() if person.rdn.startswith("cn=") else person.uid.encode(),
                **({"userPassword": person.passcode} if person.passcode else {}),
            ))  # fmt: skip
        people = {person.uid: name_of(person) for person in PEOPLE}
        for group, members in GROUPS.items():
            entries.append(_entry(group, "objectClass: groupOfNames", *(_line("member", people[uid].encode())
                                                                        for uid in members)))
        return "\n".join(entries)


def name_of(person: Person) -> str:
    return f"{person.rdn or f'uid={person.uid}'},{PEOPLE_BASE}"


def _entry(name: str, *lines: str, **values: bytes) -> str:
    written = [_line(attribute, value) for attribute, value in values.items()]
    return "\n".join([_line("dn", name.encode()), *lines, *written, ""])


def _line(attribute: str, value: bytes) -> str:
    return f"{attribute}:: {b64encode(value).decode()}"


def _free_ports(count: int) -> list[int]:
    held = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [each.getsockname()[1] for each in held]
    for each in held:
        each.close()
    return ports
