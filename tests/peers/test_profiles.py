"""DCMTK's TLS profiles, each as client and as server, with certificates good and bad: outcome and sentence on our side.

Its `+py` is PS3.15 B.10, `+px` B.9, `+pz` B.11 and without TLS 1.3; `+pa` (B.3) and `+pn` are retired and share
nothing with us. For `+py` and `+px` TLS 1.2 is asked for as well, by an OpenSSL configuration.
"""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.serialization import Encoding

from dimsetls.testing import DevelopmentAuthority
from dimsetls.tls.conditions import CONDITIONS

from ..node.probe.toys import Keys, rsa_key
from . import dcmtk
from .instances import named
from .running import DEADLINE, Node, Service, free_port, running

pytestmark = pytest.mark.peers

GOOD_PROFILES = [
    ("+py", "1.3"), ("+py", "1.2"), ("+px", "1.3"), ("+px", "1.2"), ("+pz", "1.2"),
]  # fmt: skip
RETIRED_PROFILES = ["+pa", "+pn"]
PROTECTION = {"1.3": r"TLSv1\.3 TLS_AES_256_GCM_SHA384", "1.2": r"TLSv1\.2 ECDHE-RSA-AES\d+-GCM-SHA\d+"}
DHE = "+pa", "+cs", "TLS_DHE_RSA_WITH_AES_256_GCM_SHA384"
"""Beside what the retired profile has, a suite of B.10 that RFC 9325 advises against: all that one may share."""
LEGACY = "legacy-bcp195-nd"
COMPLAINT = r"#(warn|error|critical)\]"
REQUESTOR = Path(__file__).with_name("requestor.py")


class Certificates(Keys):
    """A server's and a client's certificate of each kind, all with RSA: DCMTK's profiles want it below TLS 1.3."""

    def __init__(self, directory: Path) -> None:
        super().__init__(directory)
        key = rsa_key(2048)
        now = datetime.now(UTC)
        ended = {"not_before": now - timedelta(days=9), "not_after": now - timedelta(days=1)}
        self.crl = directory / "ca.crl"
        stranger = DevelopmentAuthority("stranger")
        self.stranger_ca = directory / "stranger.pem"
        self.stranger_ca.write_bytes(stranger.own.certificate_pem)
        self.servers, self.clients = {"good": self.server}, {"good": self.client}
        for role, into in ("server", self.servers), ("client", self.clients):
            for kind, authority, wishes in (
                ("expired", self.authority, ended), ("wrong-ca", stranger, {}), ("revoked", self.authority, {}),
                ("wrong-name", self.authority, {"names": ["pacs.example"]}),
            ):
                issue = authority.issue_server if role == "server" else authority.issue_client
                made = issue(private_key=key, **wishes)
                into[kind] = self.write(f"{role}-{kind}", made)
                if kind == "revoked":
                    self.authority.revoke(made)
        self.crl.write_bytes(self.authority.crl().public_bytes(Encoding.PEM))

    def secured(self, own: tuple[str, str]) -> tuple[object, ...]:
        """Options of a DCMTK program that has this certificate."""
        return "+tls", own[1], own[0], "+cf", self.ca


@pytest.fixture(scope="module")
def keys(tmp_path_factory: pytest.TempPathFactory) -> Certificates:
    return Certificates(tmp_path_factory.mktemp("certificates"))


@pytest.fixture(scope="module")
def limits(tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[str, str]]:
    """TLS version to an environment in which a program with the system's OpenSSL goes no higher."""
    openssl = tmp_path_factory.mktemp("openssl") / "openssl.cnf"
    openssl.write_text("openssl_conf = a\n[a]\nssl_conf = b\n[b]\nsystem_default = c\n[c]\nMaxProtocol = TLSv1.2\n")
    return {"1.2": {"OPENSSL_CONF": str(openssl)}, "1.3": {}}


def make_node(directory: Path, keys: Certificates, **tls: object) -> Node:
    """A node that looks its clients up in the authority's revocation list."""
    node = Node(directory, keys.directory)
    node.set("tls secure", revocation_check="chain", revocation_lists=keys.crl)
    node.set("tls secure", **tls)
    return node


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory, keys: Certificates) -> Iterator[Service]:
    with make_node(tmp_path_factory.mktemp("node"), keys).running() as service:
        yield service


def call(
    service: Service, *options: object, program: str = "echoscu", files: tuple[Path, ...] = (),
    env: dict[str, str] | None = None,
) -> subprocess.CompletedProcess[str]:
    address = "-aec", "DIMSETLS", *options, "127.0.0.1", service.port(), *files
    return dcmtk.run(program, *dcmtk.WAITS, *address, env=env)


def turned_away(service: Service, condition: str, *options: object, env: dict[str, str] | None = None) -> None:
    """echoscu fails with these options, and the log has the condition's sentence and no other complaint."""
    before = len(service.lines(COMPLAINT))
    assert call(service, *options, env=env).returncode != 0
    line = service.expect(COMPLAINT, before + 1)[before]
    assert " no association with 127.0.0.1:" in line
    assert f": {CONDITIONS[condition].sentence} ({condition}:" in line
    assert len(service.lines(COMPLAINT)) == before + 1


# DCMTK as client

@pytest.mark.parametrize(("profile", "version"), GOOD_PROFILES)
def test_a_client_is_served(
    service: Service, keys: Certificates, limits: dict[str, dict[str, str]], profile: str, version: str
) -> None:
    before = len(service.lines(rf"\bstarted\b.*{PROTECTION[version]}"))
    tls = *keys.secured(keys.client), profile
    echoed = call(service, *tls, env=limits[version])
    assert echoed.returncode == 0, echoed.stdout
    stored = call(service, *tls, program="storescu", files=(named("CT_small.dcm").path,), env=limits[version])
    assert stored.returncode == 0, stored.stdout
    service.expect(rf"\bstarted\b.*{PROTECTION[version]}", before + 2)


@pytest.mark.parametrize(("kind", "condition"), [
    ("expired", "certificate-expired"), ("wrong-ca", "unknown-ca"), ("revoked", "certificate-revoked"),
])  # fmt: skip
@pytest.mark.parametrize(("profile", "version"), GOOD_PROFILES)
def test_a_client_with_a_bad_certificate(
    service: Service, keys: Certificates, limits: dict[str, dict[str, str]], profile: str, version: str, kind: str,
    condition: str,
) -> None:
    turned_away(service, condition, *keys.secured(keys.clients[kind]), profile, env=limits[version])


@pytest.mark.parametrize("profile", RETIRED_PROFILES)
def test_a_client_with_a_retired_profile(service: Service, keys: Certificates, profile: str) -> None:
    turned_away(service, "no-shared-cipher", *keys.secured(keys.client), profile)


@pytest.mark.parametrize(("profile", "version"), GOOD_PROFILES)
def test_a_client_that_does_not_know_our_authority(
    service: Service, keys: Certificates, limits: dict[str, dict[str, str]], profile: str, version: str
) -> None:
    certificate, key = keys.client
    tls = "+tls", key, certificate, "+cf", keys.stranger_ca, profile
    turned_away(service, "peer-unknown-ca", *tls, env=limits[version])


@pytest.mark.parametrize(("profile", "version"), GOOD_PROFILES)
def test_a_client_that_knows_our_certificate_is_revoked(
    tmp_path: Path, keys: Certificates, limits: dict[str, dict[str, str]], profile: str, version: str
) -> None:
    certificate, key = keys.servers["revoked"]
    with make_node(tmp_path, keys, certificate=certificate, private_key=key).running() as service:
        tls = *keys.secured(keys.client), "+crl", keys.crl, profile
        turned_away(service, "peer-certificate-revoked", *tls, env=limits[version])


def test_our_own_certificate_is_expired(tmp_path: Path, keys: Certificates) -> None:
    """No client ever sees it."""
    certificate, key = keys.servers["expired"]
    service = make_node(tmp_path, keys, certificate=certificate, private_key=key).start()
    try:
        assert service.wait() != 0
    finally:
        service.kill()
    assert re.search(r"server-expired\.pem.*\bexpired\b", service.log)


def test_a_client_with_dhe_alone(tmp_path: Path, service: Service, keys: Certificates) -> None:
    tls = *keys.secured(keys.client), *DHE
    turned_away(service, "no-shared-cipher", *tls)
    words = "i understand the risk"
    with make_node(tmp_path, keys, profile=LEGACY, legacy_profile=words).running() as lenient:
        answer = call(lenient, *tls)
        assert answer.returncode == 0, answer.stdout
        lenient.expect(r"\bstarted\b.*TLSv1\.2 DHE-RSA-AES256-GCM-SHA384")
        for profile in RETIRED_PROFILES:
            turned_away(lenient, "no-shared-cipher", *keys.secured(keys.client), profile)


# DCMTK as server

@contextmanager
def storescp(directory: Path, env: dict[str, str], *options: object) -> Iterator[int]:
    """DCMTK's storescp; gives its port."""
    port = free_port()
    command = ["env", *(f"{name}={value}" for name, value in env.items()), dcmtk.find("storescp"), *options]
    with running([*command, "--output-directory", directory, port], port):
        yield port


def request(
    keys: Certificates, port: int, own: tuple[str, str], *, profile: str = "bcp195-rfc9325", check: bool = True
) -> str:
    """What our requestor says of one association with C-ECHO."""
    crl = [keys.crl] if check else []
    ran = subprocess.run(
        [sys.executable, str(REQUESTOR), "127.0.0.1", str(port), profile, keys.ca, *own, *crl],
        stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=DEADLINE, check=False,
    )  # fmt: skip
    assert ran.stderr == ""
    return ran.stdout.strip()


def says(condition: str) -> str:
    """How it begins; what was seen follows."""
    row = CONDITIONS[condition]
    return f"{row.reason:#05x} {row.sentence} ({row.name}: "


@pytest.mark.parametrize(("profile", "version"), GOOD_PROFILES)
def test_a_server(
    tmp_path: Path, keys: Certificates, limits: dict[str, dict[str, str]], profile: str, version: str
) -> None:
    """Good both ways; and our certificates, which it judges: in TLS 1.3 its refusal comes after our handshake."""
    tls = *keys.secured(keys.server), "+crl", keys.crl, profile
    with storescp(tmp_path, limits[version], *tls) as port:
        assert re.fullmatch(rf"0000 {PROTECTION[version]}", request(keys, port, keys.client))
        for kind, condition in ("wrong-ca", "peer-unknown-ca"), ("revoked", "peer-certificate-revoked"):
            assert request(keys, port, keys.clients[kind]).startswith(says(condition))


def test_our_requestors_certificate_is_expired(keys: Certificates) -> None:
    """It does not even call."""
    said = request(keys, free_port(), keys.clients["expired"])
    assert re.search(r"client-expired\.pem.*\bexpired\b", said)


@pytest.mark.parametrize(("kind", "condition"), [
    ("expired", "certificate-expired"), ("wrong-ca", "unknown-ca"), ("revoked", "certificate-revoked"),
    ("wrong-name", "certificate-name-mismatch"),
])  # fmt: skip
@pytest.mark.parametrize(("profile", "version"), GOOD_PROFILES)
def test_a_server_with_a_bad_certificate(
    tmp_path: Path, keys: Certificates, limits: dict[str, dict[str, str]], profile: str, version: str, kind: str,
    condition: str,
) -> None:
    with storescp(tmp_path, limits[version], *keys.secured(keys.servers[kind]), profile) as port:
        assert request(keys, port, keys.client).startswith(says(condition))


def test_a_server_whose_revocation_nobody_asks_about(tmp_path: Path, keys: Certificates) -> None:
    """That the list is what makes the difference."""
    with storescp(tmp_path, {}, *keys.secured(keys.servers["revoked"])) as port:
        assert request(keys, port, keys.client, check=False).startswith("0000 ")


@pytest.mark.parametrize("profile", RETIRED_PROFILES)
def test_a_server_with_a_retired_profile(tmp_path: Path, keys: Certificates, profile: str) -> None:
    with storescp(tmp_path, {}, *keys.secured(keys.server), profile) as port:
        for ours in "bcp195-rfc9325", LEGACY:
            assert request(keys, port, keys.client, profile=ours).startswith(says("peer-handshake-failure"))


def test_a_server_with_dhe_alone(tmp_path: Path, keys: Certificates) -> None:
    with storescp(tmp_path, {}, *keys.secured(keys.server), *DHE) as port:
        assert request(keys, port, keys.client).startswith(says("peer-handshake-failure"))
        assert request(keys, port, keys.client, profile=LEGACY) == "0000 TLSv1.2 DHE-RSA-AES256-GCM-SHA384"
