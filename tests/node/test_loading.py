"""What a process loads: the modules that its work needs, and none of the others."""

from __future__ import annotations

import subprocess
import sys

import pytest

from ..peers.instances import named
from .client.calls import PROGRAM, words

CT = named("CT_small.dcm")

HEAVY = {
    "pydicom", "sqlite3", "twisted.web", "ldap3", "gssapi", "joserfc", "lxml", "signxml", "argcomplete", "numpy",
    "multiprocessing",
}  # fmt: skip
"""Of others: a node loads these for an index, queries, a directory or a token, and a command for its own work."""

NOT_IN_A_NODE = {
    "dimsetls.identity.kerberos.krb5", "dimsetls.identity.ldap", "dimsetls.identity.oauth.fetch",
    "dimsetls.identity.saml.authenticator", "dimsetls.identity.users", "dimsetls.node.client", "dimsetls.node.cli",
    "dimsetls.node.commitments", "dimsetls.node.conformance", "dimsetls.node.probe", "dimsetls.node.workers",
    "dimsetls.services.archive", "dimsetls.services.commitment", "dimsetls.services.forwarding.queue",
    "dimsetls.services.forwarding.service", "dimsetls.services.index", "dimsetls.services.placing",
    "dimsetls.services.procedure_steps", "dimsetls.services.query_retrieve", "dimsetls.services.worklist",
    "dimsetls.tls.stapling",
}  # fmt: skip
NOT_IN_THE_MAIN_PROCESS = {
    "dimsetls.association.acceptor", "dimsetls.association.protocol", "dimsetls.dimse.messages",
    "dimsetls.node.entities", "dimsetls.node.listener", "dimsetls.node.service", "dimsetls.services.filesystem",
    "dimsetls.services.provider", "dimsetls.ul.provider",
}  # fmt: skip
"""Of several; only its workers have associations."""
NOT_IN_A_COMMAND = {
    "twisted.application", "twisted.scripts", "dimsetls.association.acceptor", "dimsetls.node.choices",
    "dimsetls.node.config", "dimsetls.node.explain", "dimsetls.node.identity", "dimsetls.node.options",
    "dimsetls.node.prepare", "dimsetls.node.probe", "dimsetls.node.service", "dimsetls.node.users",
    "dimsetls.services", "dimsetls.tls.authority", "dimsetls.tls.selfcheck",
}  # fmt: skip

TWISTD = """
import sys
del sys.argv[0]
from twisted.internet import reactor
told = lambda: print("loaded", *sys.modules, file=sys.__stderr__)
reactor.addSystemEventTrigger("after", "shutdown", told)
from twisted.scripts.twistd import run
run()
"""
COMMAND = """
import sys
from dimsetls.node.cli import main
try:
    status = main()
finally:
    print("loaded", *sys.modules, file=sys.stderr)
sys.exit(status)
"""


def loaded(line: str) -> set[str]:
    word, *modules = line.split()
    assert word == "loaded"
    assert "dimsetls" in modules
    return {*modules}


def run(command: list[str]) -> set[str]:
    ended = subprocess.run([sys.executable, "-c", COMMAND, *command[len(PROGRAM):]], capture_output=True, text=True,
                           check=True)  # fmt: skip
    return loaded(ended.stderr.splitlines()[-1])


def test_a_node_that_verifies_and_stores_and_those_who_call_it_load_nothing_else(node, pki):
    node.set("storage archive", index="no")
    with node.running(sys.executable, "-c", TWISTD) as service:
        echo = run(words("echo", pki, service.port(), "--ae", "DIMSETLS"))
        store = run(words("store", pki, service.port(), CT.path, "--ae", "DIMSETLS"))
        service.stop()
        (line,) = service.expect("^loaded ")
    assert len(node.stored()) == 1
    assert loaded(line) & (HEAVY | NOT_IN_A_NODE) == set()
    assert "dimsetls.services.storage" in loaded(line)
    for each in (echo, store):
        assert each & (HEAVY | NOT_IN_A_COMMAND) == set()
        assert "dimsetls.association.requestor" in each
    assert "dimsetls.node.client.storing" in store - echo


def test_a_node_with_an_archive_loads_what_that_needs_and_so_does_who_asks_it(node, pki):
    node.set("storage archive", index="yes")
    node.set("ae DIMSETLS", services="verification, storage, query")
    with node.running(sys.executable, "-c", TWISTD) as service:
        find = run(words("find", pki, service.port(), "PatientID=4711", "--ae", "DIMSETLS"))
        service.stop()
        (line,) = service.expect("^loaded ")
    assert {"pydicom", "sqlite3", "dimsetls.services.index"} <= loaded(line)
    assert "pydicom" in find


def test_the_main_process_of_several_has_no_dicom(node, pki):
    node.set("node", workers=2)
    with node.running(sys.executable, "-c", TWISTD) as service:
        run(words("echo", pki, service.port(), "--ae", "DIMSETLS"))
        service.stop()
        (line,) = service.expect("^loaded ")
    assert "dimsetls.node.workers.supervisor" in loaded(line)
    assert loaded(line) & (HEAVY | NOT_IN_A_NODE | NOT_IN_THE_MAIN_PROCESS) == {"dimsetls.node.workers"}


@pytest.mark.parametrize("command", ["echo", "store", "find", "get", "move"])
def test_help_loads_neither_twisted_nor_openssl_nor_another_command(command):
    found = run([*PROGRAM, command, "--help"])
    assert found & {"twisted", "OpenSSL", "cryptography", "difflib", "dimsetls.node.values"} == set()
    assert found & (HEAVY | NOT_IN_A_COMMAND) == set()
