"""Each program in examples/ does what its first line says, with real connections."""

from __future__ import annotations

import re
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from hashlib import sha256
from io import BytesIO
from pathlib import Path
from zipfile import ZipFile

import pytest
from pydicom import dcmread
from pydicom.data import get_testdata_file

from .peers import dcmtk
from .peers.running import Node, Service
from .secrets import secret

DIMSETLS = Path(sys.executable).with_name("dimsetls")
EXAMPLES = Path(__file__).parents[1] / "examples"
CT = Path(str(get_testdata_file("CT_small.dcm")))
JPEG = Path(str(get_testdata_file("JPGExtended.dcm")))
UID = dcmread(CT).SOPInstanceUID
CT_CLASS = "1.2.840.10008.5.1.4.1.1.2"

pytestmark = pytest.mark.peers


def listen(pki: Path) -> str:
    keys = f"certKey={pki}/server.pem:privateKey={pki}/server.key:trustRoots={pki}/ca.pem"
    return f"dicomtls:0:interface=127.0.0.1:{keys}"


def call(pki: Path, port: int) -> str:
    keys = f"trustRoots={pki}/ca.pem:certKey={pki}/client.pem:privateKey={pki}/client.key"
    return f"dicomtls:host=localhost:port={port}:{keys}"


def start(name: str, *arguments: object) -> Service:
    return Service([sys.executable, "-u", str(EXAMPLES / f"{name}.py"), *map(str, arguments)])


def run(name: str, *arguments: object) -> str:
    """What a program prints that ends by itself, and well."""
    program = start(name, *arguments)
    assert program.wait() == 0, program.log
    return program.log


@contextmanager
def running(name: str, *arguments: object) -> Iterator[tuple[Service, int]]:
    """A program that listens, and its port."""
    program = start(name, *arguments)
    try:
        (line,) = program.expect(r"^listens on port \d+$")
        yield program, int(line.rpartition(" ")[2])
    finally:
        program.kill()
    assert not program.lines("Traceback|Unhandled"), program.log


def send(port: int, pki: Path, *options: object, title: str = "EXAMPLE") -> subprocess.CompletedProcess[str]:
    secured = dcmtk.secured(pki)
    return dcmtk.run("storescu", *dcmtk.WAITS, *secured, "-aec", title, *options, "127.0.0.1", port, CT)


def pixels(file: Path | BytesIO) -> str:
    return sha256(dcmread(file).PixelData).hexdigest()


def test_the_scp_keeps_what_it_is_sent(pki: Path, tmp_path: Path) -> None:
    with running("store_scp", listen(pki), tmp_path) as (program, port):
        assert send(port, pki).returncode == 0
        program.expect(f"^STORESCU stored {UID}$")
    (file,) = tmp_path.rglob("*.dcm")
    assert pixels(file) == pixels(CT)


def test_the_scu_sends_files(pki: Path, tmp_path: Path) -> None:
    with running("store_scp", listen(pki), tmp_path) as (_, port):
        said = run("store_scu", call(pki, port), "EXAMPLE", CT, JPEG)
    assert said.splitlines() == [f"{CT}: stored", f"{JPEG}: stored"]
    assert len(list(tmp_path.rglob("*.dcm"))) == 2


def test_a_patients_studies_are_found_and_fetched(node: Node, pki: Path, tmp_path: Path) -> None:
    node.set("ae DIMSETLS", services="verification, storage, query, retrieve")
    node.set("storage archive", index="yes")
    with node.running() as service:
        port = service.port()
        run("store_scu", call(pki, port), "DIMSETLS", CT)
        said = run("query_and_get", call(pki, port), "DIMSETLS", "1CT1", tmp_path / "fetched")
    assert said == "CompressedSamples^CT1 20040119: 1 instances"
    assert pixels(tmp_path / "fetched" / f"{UID}.dcm") == pixels(CT)


def test_a_proxy_passes_on_what_comes_and_what_is_answered(pki: Path, tmp_path: Path) -> None:
    with (
        running("store_scp", listen(pki), tmp_path) as (archive, behind),
        running("proxy", listen(pki), call(pki, behind), "EXAMPLE") as (program, port),
    ):
        assert send(port, pki, title="PROXY").returncode == 0
        program.expect(f"^{UID} went on to EXAMPLE$")
        archive.kill()
        assert "(Refused: OutOfResources)" in send(port, pki, "-v", title="PROXY").stdout
    (file,) = tmp_path.rglob("*.dcm")
    assert pixels(file) == pixels(CT)


def test_a_private_sop_class_answers(pki: Path) -> None:
    with running("private_sop_class", "serve", listen(pki)) as (_, port):
        assert re.fullmatch(r"it has run for \d+\.\d s", run("private_sop_class", "ask", call(pki, port)))


def test_a_passcode_is_good_once(pki: Path) -> None:
    passcode = secret("Once-4-all-and-gone", "the passcode of an example")
    keys = "--cert", pki / "client.pem", "--key", pki / "client.key", "--ca", pki / "ca.pem"
    with running("authenticator", listen(pki), f"ada={passcode}") as (program, port):
        for user, status in (("bob", 3), ("ada", 0), ("ada", 3)):
            echo = [DIMSETLS, "echo", f"localhost:{port}", "--ae", "EXAMPLE", *keys, "--user", user, "--passcode-stdin"]
            ended = subprocess.run([*map(str, echo)], input=passcode, text=True, capture_output=True, check=False)
            assert ended.returncode == status, ended.stderr
        assert program.lines("^hello") == ["hello, ada of help desk by passcode"]


def test_a_zip_archive_is_a_store(pki: Path, tmp_path: Path) -> None:
    path = tmp_path / "kept.zip"
    with running("zip_store", listen(pki), path) as (_, port):
        assert send(port, pki).returncode == 0
    with ZipFile(path) as archive:
        assert archive.namelist() == [f"{UID}.dcm"]
        assert pixels(BytesIO(archive.read(f"{UID}.dcm"))) == pixels(CT)


def test_an_archive_is_asked_what_it_keeps(node: Node, pki: Path) -> None:
    node.set("ae DIMSETLS", services="verification, storage, commitment")
    node.set("storage archive", index="yes")
    with node.running() as service:
        port = service.port()
        run("store_scu", call(pki, port), "DIMSETLS", CT)
        assert run("commitment", call(pki, port), "DIMSETLS", CT_CLASS, UID) == f"{UID} is kept by DIMSETLS"
        assert run("commitment", call(pki, port), "DIMSETLS", CT_CLASS, "1.2.3") == "1.2.3 is not: 0112H"
    assert not service.lines("could not report"), service.log


def test_a_worklist_is_told_from_a_table(pki: Path, tmp_path: Path) -> None:
    with sqlite3.connect(tmp_path / "scheduled.db") as database:
        database.execute("CREATE TABLE scheduled (patient_id, name, station, modality, day, time)")
        database.execute("INSERT INTO scheduled VALUES ('P1', 'Müller^Eva', 'CT1', 'CT', '20260301', '0900')")
        database.execute("INSERT INTO scheduled VALUES ('P2', 'Doe^John', 'MR1', 'MR', '20260301', '0930')")
    database.close()
    keys = "-k", "PatientID", "-k", "ScheduledProcedureStepSequence[0].Modality=MR"
    with running("worklist", listen(pki), tmp_path / "scheduled.db", tmp_path / "steps") as (_, port):
        options = *dcmtk.WAITS, "-W", *dcmtk.secured(pki), "-aec", "EXAMPLE", *keys
        ended = dcmtk.run("findscu", *options, "127.0.0.1", port)
        assert ended.returncode == 0
        assert "[P2]" in ended.stdout
        assert "[P1]" not in ended.stdout
