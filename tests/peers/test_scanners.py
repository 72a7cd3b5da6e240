"""testssl.sh and sslyze against our service: what they call weak is an error, unless scanner-findings.ini says why."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from collections.abc import Iterator
from configparser import ConfigParser
from dataclasses import dataclass
from pathlib import Path

import pytest

from ..node.probe.toys import Keys
from .running import Node, Service

pytestmark = pytest.mark.peers

PATIENCE = 300
"""Seconds for one scan; on a machine with little else to do testssl.sh takes half a minute, sslyze two seconds."""

HARMLESS = {"OK", "INFO", "DEBUG"}
"""testssl.sh's severities that are none. WARN is among the others: there a check could not be made."""

HERE = Path(__file__).parent


def served(*pairs: tuple[str, str]) -> pytest.MarkDecorator:
    """Scan services with these kinds of key and these rules for client certificates."""
    return pytest.mark.parametrize("target", pairs, ids="-".join, indirect=True)


@dataclass(frozen=True)
class Target:
    """A service to scan, the kind of its key, and the keys of a client that it lets in."""

    service: Service
    key: str
    pki: Path

    @property
    def address(self) -> str:
        return f"localhost:{self.service.port()}"


@pytest.fixture(scope="module")
def target(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, pki: Path) -> Iterator[Target]:
    key, client_certificate = request.param
    directory = tmp_path_factory.mktemp(key)
    if key == "RSA":
        (directory / "pki").mkdir()
        pki = Keys(directory / "pki").directory
    node = Node(directory, pki)
    node.set("tls secure", client_certificate=client_certificate)
    with node.running() as service:
        yield Target(service, key, pki)


def listed() -> ConfigParser:
    """The one file of findings that are none."""
    parser = ConfigParser(interpolation=None)
    parser.optionxform = str  # type: ignore[method-assign,assignment]
    parser.read_string((HERE / "scanner-findings.ini").read_text("utf-8"))
    return parser


def accepted(scanner: str, key: str) -> dict[str, str]:
    """Finding to reason."""
    all_of_them = listed()
    sections = [section for section in (scanner, f"{scanner}, {key}") if all_of_them.has_section(section)]
    return {finding: reason for section in sections for finding, reason in all_of_them.items(section)}


def compare(found: dict[str, str], scanner: str, key: str) -> None:
    """What was found is what is accepted, no more and no less."""
    reasons = accepted(scanner, key)
    assert all(reasons.values())
    assert {finding: found[finding] for finding in found.keys() - reasons.keys()} == {}
    assert reasons.keys() - found.keys() == set(), "accepted, but found no more: take it off scanner-findings.ini"


def run(command: list[object]) -> str:
    ran = subprocess.run(
        [*map(str, command)], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
        errors="replace", timeout=PATIENCE, check=False,
    )  # fmt: skip
    return ran.stdout


# It has no certificate to show. Where one is required, it depends on timing whether its openssl comes through.
@served(("ECDSA", "optional"), ("RSA", "optional"))
def test_testssl(target: Target, tmp_path: Path) -> None:
    testssl = shutil.which("testssl") or shutil.which("testssl.sh")
    assert testssl is not None, "testssl.sh is not on the PATH: make debian, or install the package testssl.sh"
    # Its own connections fail now and then on a busy machine; a check that was not made is made again.
    rows: list[dict[str, str]] = []
    for attempt in range(3):
        rows = scanned(testssl, target, tmp_path / f"report-{attempt}.json")
        if not any("check failed" in row["finding"] for row in rows):
            break
    found = {row["id"]: f"{row['severity']}: {row['finding']}" for row in rows if row["severity"] not in HARMLESS}
    compare(found, "testssl.sh", target.key)


def scanned(testssl: str, target: Target, report: Path) -> list[dict[str, str]]:
    """What one run of testssl.sh found; it has looked at everything that we ask of it."""
    sections = "--protocols", "--std", "--fs", "--server-preference", "--server-defaults", "--vulnerable"
    output = run([
        testssl, *sections, "--fast", "--ip", "127.0.0.1", "--nodns", "none", "--add-ca", target.pki / "ca.pem",
        "--connect-timeout", 5, "--openssl-timeout", 5, "--warnings", "off", "--quiet", "--color", 0,
        "--jsonfile", report, target.address,
    ])  # fmt: skip
    assert report.exists(), output
    rows: list[dict[str, str]] = json.loads(report.read_text())
    severities = {row["id"]: row["severity"] for row in rows}
    # It has looked at each of these, and not given up on the way.
    for check in "TLS1_2", "TLS1_3", "cipherlist_STRONG", "PFS", "cipher_order", "cert_keySize", "LUCKY13":
        assert check in severities, output
    return rows


@served(("ECDSA", "required"), ("RSA", "optional"))
@pytest.mark.parametrize("configuration", ["modern", "intermediate"])
def test_sslyze(target: Target, configuration: str) -> None:
    compare(sslyze(target, configuration), f"sslyze {configuration}", target.key)


def test_sslyze_finds_nothing_in_tls13_only(node: Node, pki: Path) -> None:
    """As scanner-findings.ini says of what it finds in the default."""
    node.set("tls secure", profile="tls13-only")
    with node.running() as service:
        assert sslyze(Target(service, "ECDSA", pki), "modern") == {}


def test_every_section_is_for_a_scan() -> None:
    scanners = "testssl.sh", "sslyze modern", "sslyze intermediate"
    assert set(listed().sections()) <= {f"{scanner}{key}" for scanner in scanners for key in ("", ", ECDSA", ", RSA")}


def sslyze(target: Target, configuration: str) -> dict[str, str]:
    """What it finds that is not in a configuration of Mozilla's."""
    program = shutil.which("sslyze", path=HERE.parents[1] / ".venv-scan" / "bin") or shutil.which("sslyze")
    assert program is not None, "sslyze is in neither .venv-scan nor the PATH: make scanners, or install it with pipx"
    output = run([
        program, "--mozilla_config", configuration, "--certinfo_ca_file", target.pki / "ca.pem",
        "--cert", target.pki / "client.pem", "--key", target.pki / "client.key", target.address,
    ])  # fmt: skip
    _, _, verdict = output.partition("COMPLIANCE AGAINST TLS CONFIGURATION")
    found = dict(re.findall(r"^ +\* (\w+): (.+)$", verdict, re.MULTILINE))
    # ERROR would be that it could not see everything.
    assert re.search(rf"localhost:\d+: {'FAILED' if found else 'OK'} - ", verdict), output
    return found
