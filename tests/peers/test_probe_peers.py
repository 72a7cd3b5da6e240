"""`dimsetls probe` against our own service, DCMTK's, Orthanc's and pynetdicom's: what it says of each."""

from __future__ import annotations

import json
import shutil
import ssl
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from pynetdicom import AE
from pynetdicom.sop_class import Verification

from ..node.probe.toys import Keys
from . import dcmtk
from .running import DEADLINE, Node, Service, free_port, running

pytestmark = pytest.mark.peers

DIMSETLS = str(Path(sys.executable).with_name("dimsetls"))


@dataclass(frozen=True)
class Report:
    """What the command said, and its exit status."""

    status: int
    found: dict[str, Any]

    @property
    def faults(self) -> list[str]:
        return self._sentences("fault")

    @property
    def warnings(self) -> list[str]:
        return self._sentences("warning")

    def _sentences(self, weight: str) -> list[str]:
        return [finding["sentence"] for finding in self.found["findings"] if finding["weight"] == weight]

    def requirement(self, number: int) -> str:
        (status,) = [each["status"] for each in self.found["requirements"] if each["number"] == number]
        return str(status)

    def fact(self, label: str) -> str:
        return str(self.found["facts"][label])


def probe(host: str, port: int, *options: object, **wishes: object) -> Report:
    """Run the command as a user does."""
    command = [DIMSETLS, "probe", f"{host}:{port}", "--json", "--timeout", "5", *map(str, options)]
    for name, value in wishes.items():
        command += [f"--{name.replace('_', '-')}", str(value)]
    ran = subprocess.run(command, capture_output=True, text=True, timeout=DEADLINE * 3, check=False)
    assert ran.stderr == ""
    found = json.loads(ran.stdout)
    assert found["exit_status"] == ran.returncode
    assert found["observations"]["connections"] <= 15
    return Report(ran.returncode, found)


@pytest.fixture(scope="module")
def keys(tmp_path_factory: pytest.TempPathFactory) -> Keys:
    """With an RSA key for the server: DCMTK's profiles up to 3.6.7 have no suites for ECDSA."""
    return Keys(tmp_path_factory.mktemp("keys"))


def credentials(keys: Keys) -> dict[str, object]:
    return {"cert": keys.client[0], "key": keys.client[1], "ca": keys.ca}


def development(pki: Path) -> dict[str, object]:
    """What `dimsetls init` made for a client."""
    return {"cert": pki / "client.pem", "key": pki / "client.key", "ca": pki / "ca.pem"}


@contextmanager
def storescp(directory: Path, *options: object) -> Iterator[int]:
    """DCMTK's storescp; gives its port."""
    port = free_port()
    with running([dcmtk.find("storescp"), "--debug", *options, "--output-directory", directory, port], port):
        yield port


def secured(keys: Keys) -> tuple[object, ...]:
    certificate, key = keys.server
    return "+tls", key, certificate, "+cf", keys.ca


# Our own

@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory, pki: Path) -> Iterator[Service]:
    with Node(tmp_path_factory.mktemp("probed"), pki).running() as service:
        yield service


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost"])
def test_our_own_service_conforms(service: Service, pki: Path, host: str) -> None:
    report = probe(host, service.port(), ae="DIMSETLS", **development(pki))
    assert report.status == 0, report.found["headline"]
    assert report.faults == []
    met = [number for number in (1, 3, 4, 6, 7, 9, 10, 12, 13, 15) if report.requirement(number) == "met"]
    assert met == [1, 3, 4, 6, 7, 9, 10, 12, 13, 15]
    assert "refused: TLS 1.1, TLS 1.0, SSL 3.0" in report.fact("TLS versions")
    assert "demanded" in report.fact("Client certificate")
    assert "one made up: alert 48 unknown_ca" in report.fact("Client certificate")
    assert report.fact("C-ECHO") == "status 0000H"
    assert report.fact("Unknown called AE") == "rejected: called AE title not recognized"
    assert report.fact("Damaged record") == "alert 20 bad_record_mac"
    (authority,) = report.found["observations"]["client"]["certificate_authorities"]
    assert authority.startswith("CN=dimsetls development CA")


def test_our_own_service_to_a_stranger(service: Service, pki: Path) -> None:
    report = probe("127.0.0.1", service.port(), ae="DIMSETLS", ca=pki / "ca.pem")
    assert report.status == 0
    assert report.requirement(15) == "not tested"
    assert "its DICOM was not seen" in report.found["headline"]


def test_our_own_service_takes_it_without_complaint(node: Node, pki: Path) -> None:
    """Whatever the probe tries is refused in words; nothing in it is unforeseen. `running` looks for tracebacks."""
    with node.running() as service:
        probe("127.0.0.1", service.port(), ae="DIMSETLS", **development(pki))
        assert dcmtk.echoscu(service, pki).returncode == 0
        assert not service.lines("unclassified")


# DCMTK

@pytest.mark.parametrize(("profile", "status"), [("+py", 0), ("+pz", 0), ("+px", 1), ("+pa", 1), ("+pn", 1)])
def test_dcmtk_profiles(keys: Keys, tmp_path: Path, profile: str, status: int) -> None:
    with storescp(tmp_path, *secured(keys), profile) as port:
        report = probe("127.0.0.1", port, ae="STORESCP", **credentials(keys))
    assert report.status == status, report.found["headline"]
    faults, warnings = " ".join(report.faults), " ".join(report.warnings)
    assert ("TLS 1.1" in faults) is (profile in ("+px", "+pa"))
    assert ("without encryption (NULL): TLS_RSA_WITH_NULL_SHA" in faults) is (profile == "+pn")
    assert ("no suite with forward secrecy" in faults) is (profile in ("+pa", "+pn"))
    assert ("does not speak TLS 1.3" in warnings) is (profile in ("+pz", "+pa", "+pn"))
    assert ("finite-field DHE (2048 bits)" in warnings) is (profile in ("+py", "+px", "+pz"))
    assert report.requirement(10) == "met", "client certificates are required by default"
    assert report.requirement(15) == "met"
    assert report.fact("C-ECHO") == "status 0000H"
    assert "OFFIS_DCMTK" in report.fact("Implementation")
    assert report.fact("Unknown called AE") == "accepted"


def test_dcmtk_with_a_certificate_that_its_profile_has_no_suites_for(pki: Path, tmp_path: Path) -> None:
    """An ECDSA certificate, and RSA suites: TLS 1.3 works, and TLS 1.2 with nobody."""
    options = "+tls", pki / "server.key", pki / "server.pem", "+cf", pki / "ca.pem", "+py"
    with storescp(tmp_path, *options) as port:
        report = probe("127.0.0.1", port, **development(pki))
    assert (report.status, report.requirement(3)) == (1, "not met")
    assert report.fact("C-ECHO") == "status 0000H"


@pytest.mark.parametrize(("option", "words"), [("-vc", "does without"), ("-ic", "asks for no client certificate")])
def test_dcmtk_that_lets_strangers_in(keys: Keys, tmp_path: Path, option: str, words: str) -> None:
    with storescp(tmp_path, *secured(keys), option) as port:
        report = probe("127.0.0.1", port, ca=keys.ca)
    assert any(words in warning for warning in report.warnings)
    assert report.status == 0
    assert report.fact("C-ECHO") == "status 0000H"


def test_dcmtk_without_tls(tmp_path: Path) -> None:
    with storescp(tmp_path) as port:
        report = probe("127.0.0.1", port)
    assert report.status == 1
    assert "DICOM without TLS" in report.found["headline"]
    assert "OFFIS_DCMTK" in report.fact("Implementation")


# Orthanc

def test_orthanc(keys: Keys, tmp_path: Path) -> None:
    port = free_port()
    certificate, key = keys.server
    configuration = tmp_path / "orthanc.json"
    configuration.write_text(json.dumps({
        "StorageDirectory": str(tmp_path), "IndexDirectory": str(tmp_path), "HttpServerEnabled": False, "Plugins": [],
        "DicomPort": port, "DicomAet": "ORTHANC", "DicomCheckCalledAet": True,
        "DicomTlsEnabled": True, "DicomTlsCertificate": certificate, "DicomTlsPrivateKey": key,
        "DicomTlsTrustedCertificates": str(keys.ca), "DicomTlsRemoteCertificateRequired": True,
    }))  # fmt: skip
    orthanc = shutil.which("Orthanc") or shutil.which("Orthanc", path="/usr/sbin")
    assert orthanc is not None, "Orthanc is not on the PATH: make debian, or install the package orthanc"
    with running([orthanc, configuration], port):
        report = probe("127.0.0.1", port, ae="ORTHANC", **credentials(keys))
    assert report.requirement(3) == "met"
    assert report.requirement(10) == "met"
    assert report.requirement(15) == "met"
    assert report.fact("C-ECHO") == "status 0000H"
    assert report.fact("Unknown called AE") == "rejected: called AE title not recognized"
    assert report.fact("Unknown calling AE") == "accepted"
    # Orthanc 1.10 leaves versions and suites to DCMTK's oldest profile.
    assert report.status == 1
    assert report.faults == ["It accepts TLS 1.1 and TLS 1.0, which MUST NOT be negotiated (RFC 8996)."]


# pynetdicom

def test_pynetdicom(keys: Keys) -> None:
    entity = AE("PYNETDICOM")
    entity.add_supported_context(Verification)
    entity.require_called_aet = True
    server = entity.start_server(
        ("127.0.0.1", 0), block=False, ssl_context=keys.context(ciphers="DEFAULT", demand=ssl.CERT_REQUIRED)
    )
    try:
        report = probe("127.0.0.1", server.socket.getsockname()[1], ae="PYNETDICOM", **credentials(keys))
    finally:
        server.shutdown()
    assert report.status == 0, report.found["headline"]
    assert report.requirement(15) == "met"
    assert report.fact("C-ECHO") == "status 0000H"
    assert "PYNETDICOM" in report.fact("Implementation")
    assert report.fact("SOP classes").startswith("1 of ")
    assert report.fact("Unknown called AE") == "rejected: called AE title not recognized"
    assert any("no notice of ALPN" in warning for warning in report.warnings)
