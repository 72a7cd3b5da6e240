"""A node that calls: what its [credential] sections present to a node that asks real servers who that is."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from pydicom import Dataset, dcmread
from pynetdicom import AE
from pynetdicom.sop_class import (  # type: ignore[attr-defined]  # made when it is imported
    StudyRootQueryRetrieveInformationModelMove,
)

from ...secrets import said
from ...servers.kdc import REALM, SERVICE
from ...servers.oauth import ES256, MODALITY
from ..instances import named
from ..running import DEADLINE, Node, Service
from ..sender import client_context
from .hospital import ANNA, Hospital

pytestmark = pytest.mark.peers

ECHO = [sys.executable, "-c", "from dimsetls.node.cli import main; raise SystemExit(main())", "echo", "main", "--config"]


def kept(directory: Path, name: str, content: bytes | str) -> Path:
    """A file that its owner alone may read."""
    path = directory / name
    path.touch(0o600)
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return path


@pytest.fixture
def calling(hospital: Hospital, service: Service, pki: Path, tmp_path: Path) -> Node:
    """A node with MAIN for a peer."""
    node = Node(tmp_path, pki)
    node.set("tls calling", certificate=pki / "client.pem", private_key=pki / "client.key",
             trust_roots=pki / "ca.pem", revocation_check="not checked - i understand the risk")
    node.set("peer main", ae_title="MAIN", host="localhost", port=service.port("MAIN"), tls="calling", presents="us")
    return node


def present(node: Node, environment: Mapping[str, str], **options: Any) -> subprocess.CompletedProcess[str]:
    """`dimsetls echo main` with this [credential]."""
    node.sections.pop("credential us", None)
    node.set("credential us", **options)
    ended = subprocess.run([*ECHO, node.write()], env=dict(environment), capture_output=True, text=True,
                           timeout=DEADLINE, check=False)  # fmt: skip
    said(ended.stdout + ended.stderr)
    return ended


def told(service: Service, before: int) -> str:
    """What the node that was called says of the next association."""
    return service.expect(r"(refused|started) DIMSETLS at ", before + 1)[before]


def count(service: Service) -> int:
    return len(service.lines(r"(refused|started) DIMSETLS at "))


@pytest.mark.parametrize(("user", "options"), [
    ("anna", {"type": "username", "user": "anna"}),
    ("anna", {"type": "passcode", "user": "anna", "passcode_file": "anna.pass"}),
    ("anna", {"type": "passcode", "user": "anna", "variable": "ANNA"}),
    ("alice", {"type": "kerberos", "service": SERVICE, "credential_cache": "alice.ccache"}),
    ("alice", {"type": "kerberos", "service": SERVICE, "credential_cache": "alice.ccache", "form": "ap-req"}),
    ("alice", {"type": "kerberos", "service": SERVICE, "credential_cache": "alice.ccache", "form": "spnego"}),
    ("alice", {"type": "saml", "token_file": "assertion"}),
    ("alice", {"type": "jwt", "token_file": "token"}),
    ("alice", {"type": "bearer", "token_file": "token"}),
    ("modality", {"type": "client-credentials", "resource": ES256}),
])  # fmt: skip
def test_what_is_presented_is_verified(
    hospital: Hospital, service: Service, calling: Node, user: str, options: dict[str, Any]
) -> None:
    kept(calling.directory, "anna.pass", ANNA)
    kept(calling.directory, "token", hospital.token())
    kept(calling.directory, "assertion", hospital.assertion())
    kept(calling.directory, "secret", MODALITY.secret)
    kept(calling.directory, "alice.ccache", (hospital.kdc.directory / "alice.ccache").read_bytes())
    if options["type"] == "client-credentials":
        options |= {"url": f"{hospital.oauth.issuer}/token", "trust_roots": hospital.oauth.trust_roots,
                    "client_id": MODALITY.client_id, "client_secret": "secret"}  # fmt: skip
    before = count(service)
    ended = present(calling, hospital.environment | {"ANNA": ANNA}, **options)
    assert (ended.returncode, ended.stderr) == (0, "")
    line = told(service, before)
    assert re.search(rf"started .*, for {user}\b", line), line


@pytest.mark.parametrize(("ae_title", "answer", "status"), [("OPEN", "require", False), ("OPEN", "prefer", True)])
def test_a_peer_that_does_not_check_it_is_enough_only_where_that_is_said(
    service: Service, calling: Node, ae_title: str, answer: str, status: bool
) -> None:
    calling.set("peer main", ae_title=ae_title)
    ended = present(calling, {}, type="passcode", user="anna", answer=answer,
                    passcode_file=kept(calling.directory, "anna.pass", ANNA))  # fmt: skip
    assert (ended.returncode == 0) is status
    assert "did not" in ended.stderr


@pytest.mark.parametrize(("user", "options"), [
    ("anna", ["--user", "anna", "--passcode-stdin"]),
    ("alice", ["--token-file", "token"]),
    ("alice", ["--saml-file", "assertion"]),
    ("alice", ["--bearer-file", "token"]),
    ("alice", ["--token-file", "token", "--bearer-file", "token"]),
    ("alice", ["--kerberos", SERVICE]),
])  # fmt: skip
def test_what_the_command_line_says_is_presented_too(
    hospital: Hospital, service: Service, pki: Path, tmp_path: Path, user: str, options: list[str]
) -> None:
    kept(tmp_path, "token", hospital.token())
    kept(tmp_path, "assertion", hospital.assertion())
    cache = hospital.kdc.directory / "alice.ccache"
    before = count(service)
    keys = ["--cert", pki / "client.pem", "--key", pki / "client.key", "--ca", pki / "ca.pem", "--ae", "MAIN"]
    ended = subprocess.run(
        [*ECHO[:3], "echo", f"localhost:{service.port('MAIN')}", *keys, "--require-identity", *options], input=ANNA,
        env=hospital.environment | {"KRB5CCNAME": f"FILE:{cache}"}, cwd=tmp_path, capture_output=True, text=True,
        timeout=DEADLINE, check=False,
    )  # fmt: skip
    said(ended.stdout + ended.stderr)
    assert (ended.returncode, ended.stderr) == (0, "")
    line = told(service, before)
    assert re.search(rf"started .*, for {user}\b", line), line


def test_a_wrong_passcode_is_refused_and_not_told(service: Service, calling: Node) -> None:
    before = count(service)
    ended = present(calling, {}, type="passcode", user="anna",
                    passcode_file=kept(calling.directory, "anna.pass", "anna's passcode?"))  # fmt: skip
    assert ended.returncode != 0
    assert "rejected" in ended.stderr
    assert "refused" in told(service, before)


def test_a_peer_whose_certificate_meets_no_rule_learns_nothing(service: Service, calling: Node) -> None:
    before = count(service)
    calling.set("peer main", certificates="dns:localhost and subject:CN=somebody else")
    ended = present(calling, {}, type="passcode", user="anna",
                    passcode_file=kept(calling.directory, "anna.pass", ANNA))  # fmt: skip
    assert ended.returncode != 0
    assert "certificate-not-allowed" in ended.stderr
    assert "expected dns:localhost and subject:CN=somebody else" in ended.stderr
    assert count(service) == before


def test_a_move_destination_that_wants_a_passcode_gets_it(
    hospital: Hospital, service: Service, calling: Node, pki: Path
) -> None:
    calling.set("storage archive", index="yes", fsync="none")
    calling.set("ae DIMSETLS", services="verification, storage, query, retrieve")
    calling.set("credential us", type="passcode", user="anna",
                passcode_file=kept(calling.directory, "anna.pass", ANNA))  # fmt: skip
    calling.set("credential wrong", type="passcode", user="anna",
                passcode_file=kept(calling.directory, "wrong.pass", "anna's passcode?"))  # fmt: skip
    calling.set("peer other", ae_title="OTHER", host="localhost", port=service.port("OTHER"), tls="calling",
                presents="wrong")  # fmt: skip
    instance = named("MR_small.dcm")  # not what the other tests store here: pynetdicom encodes it anew
    ae = AE("MOVER")
    ae.add_requested_context(StudyRootQueryRetrieveInformationModelMove)
    ae.add_requested_context(instance.sop_class_uid, instance.transfer_syntax_uid)
    keys = Dataset()
    keys.QueryRetrieveLevel, keys.StudyInstanceUID = "STUDY", dcmread(instance.path).StudyInstanceUID
    before = count(service)
    with calling.running() as archive:
        association = ae.associate("127.0.0.1", archive.port(), ae_title="DIMSETLS",
                                   tls_args=(client_context(pki), "localhost"))  # fmt: skip
        assert association.is_established
        assert association.send_c_store(instance.path).Status == 0
        for _ in range(2):
            (*_, (final, _)) = association.send_c_move(keys, "MAIN", StudyRootQueryRetrieveInformationModelMove)
            assert (final.Status, final.NumberOfCompletedSuboperations) == (0, 1)
        assert "for anna" in told(service, before)
        (*_, (final, _)) = association.send_c_move(keys, "OTHER", StudyRootQueryRetrieveInformationModelMove)
        assert (final.Status, final.NumberOfFailedSuboperations) == (0xA702, 1)
        archive.expect("no association with the move destination OTHER, or no longer: the peer rejected")
        association.release()
    service.expect("released DIMSETLS at .* to MAIN: 1 operations", 2)  # each has its own association
    service.expect("refused DIMSETLS at .* to OTHER ")
    assert ANNA not in archive.log
    assert REALM not in archive.log
