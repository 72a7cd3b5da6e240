"""Forwarding between real processes over TLS: nothing that was acknowledged is lost, whoever is down or killed."""

from __future__ import annotations

import json
import os
import resource
import signal
import threading
from contextlib import redirect_stdout, suppress
from io import StringIO
from pathlib import Path
from typing import Any

import pytest

from dimsetls.node.cli import main
from dimsetls.services.forwarding.sender import BATCH
from dimsetls.uids import IMPLICIT_VR_LITTLE_ENDIAN

from . import dcmtk
from .instances import data_set_of, named
from .running import Node, Service, eventually, free_port, running
from .sender import Sender, client_context, connect, data_set, instance_uid

pytestmark = pytest.mark.peers

FLAT = "{SOPInstanceUID}.dcm"
FAST = {"first_delay": "100ms", "longest_delay": "200ms"}


@pytest.fixture
def port() -> int:
    """Where the destination is, if it is there."""
    return free_port()


@pytest.fixture
def front(node: Node, port: int) -> Node:
    """A node that forwards all to PACS."""
    node.set("storage archive", layout=FLAT, index="yes", forward="to-pacs")
    node.set("forward to-pacs", peers="pacs", **FAST)
    node.set("peer pacs", ae_title="PACS", host="localhost", port=port, tls="secure")
    return node


@pytest.fixture
def pacs(tmp_path: Path, pki: Path, port: int) -> Node:
    """The node behind."""
    (tmp_path / "pacs").mkdir()
    node = Node(tmp_path / "pacs", pki)
    node.set("listener main", port=port, aes="PACS")
    node.sections["ae PACS"] = node.sections.pop("ae DIMSETLS")
    node.set("storage archive", layout=FLAT)
    return node


def sender(service: Service, pki: Path, calling: str = "SENDER") -> Sender:
    return Sender(connect(("127.0.0.1", service.port()), client_context(pki)), calling=calling)


def store(service: Service, pki: Path, *numbers: int, size: int = 0) -> None:
    with sender(service, pki) as peer:
        for number in numbers:
            assert peer.store(instance_uid(number), data_set(instance_uid(number), size)) == 0x0000
        peer.release()


def names(*numbers: int) -> set[str]:
    return {f"{instance_uid(number)}.dcm" for number in numbers}


def queue(node: Node, action: str, *words: str) -> Any:
    """What `dimsetls queue` says as JSON, of the one storage, and its exit status."""
    with redirect_stdout(StringIO()) as said:
        status = main(["queue", action, "--config", str(node.directory / "dimsetls.ini"), "--json", *words])
    return json.loads(said.getvalue())["storages"][0] | {"status": status}


def counts(node: Node) -> tuple[int, int, int]:
    """What waits, is dead, and was sent."""
    [found] = queue(node, "list")["queues"]
    return found["waiting"], found["dead"], found["sent"]


# An outage, and a restart ---------------------------------------------------------------------------------------------


def test_what_comes_while_the_peer_is_down_waits_over_a_restart_and_is_sent_when_it_is_up(
    front: Node, pacs: Node, pki: Path, tmp_path: Path
) -> None:
    with front.running() as service:
        store(service, pki, 1, 2, 3, size=100_000)
        service.expect(r"#warn. \[forward to-pacs\] nothing is sent to PACS at localhost:\d+ for 0\.2 s, failure \d+ ")
        assert counts(front) == (3, 0, 0)
        assert set(queue(front, "list")["queues"][0]["leftAlone"]) == {"failures", "seconds", "error"}
    with front.running() as service:
        store(service, pki, 4)
        with pacs.running():
            eventually(lambda: set(pacs.stored()) == names(1, 2, 3, 4), "all came to the peer")
            store(service, pki, 5)
            eventually(lambda: set(pacs.stored()) == names(1, 2, 3, 4, 5), "what came later came to the peer")
            service.expect(r"\[forward to-pacs\] \d+ instances sent to PACS at localhost:\d+ in ", 2)
            eventually(lambda: counts(front) == (0, 0, 5), "all was written down")
    for number in range(1, 6):
        uid = instance_uid(number)
        assert data_set_of(pacs.store / f"{uid}.dcm") == data_set(uid, 100_000 if number < 4 else 0)


def test_only_what_meets_the_conditions_goes_and_each_rule_to_its_peers(
    front: Node, pacs: Node, pki: Path, port: int
) -> None:
    front.set("storage archive", forward="to-pacs, nowhere")
    front.set("forward to-pacs", calling_ae_titles="CT1", ae_title="GATEWAY")
    front.set("forward nowhere", peers="pacs", modalities="MR")
    with pacs.running() as behind, front.running() as service:
        with sender(service, pki, "CT1") as peer:
            assert peer.store(instance_uid(1), data_set(instance_uid(1))) == 0x0000
        with sender(service, pki, "CT2") as peer:
            assert peer.store(instance_uid(2), data_set(instance_uid(2))) == 0x0000
        assert dcmtk.storescu(service, pki, [named("MR_small.dcm").path]).returncode == 0
        eventually(lambda: len(pacs.stored()) == 2, "two came to the peer")
        eventually(
            lambda: {(each["rule"], each["sent"]) for each in queue(front, "list")["queues"]}
            == {("to-pacs", 1), ("nowhere", 1)}, "both were written down",
        )  # fmt: skip
        behind.expect(r"\bGATEWAY\b")
        behind.expect(r"\bDIMSETLS\b")
    assert names(1) < set(pacs.stored())


def test_a_reload_brings_other_rules_and_names_what_those_before_left(front: Node, pacs: Node, pki: Path) -> None:
    with front.running() as service:
        store(service, pki, 1, 2)
        front.set("storage archive", forward=None)
        del front.sections["forward to-pacs"]
        front.write()
        os.kill(service.process.pid, signal.SIGHUP)
        service.expect(r"2 instances in \S+ are kept for \[forward to-pacs\] to \[peer pacs\], which the configuration")
        store(service, pki, 3)
        [left] = queue(front, "list")["queues"]
        assert (left["waiting"], left["configured"]) == (2, False)
        front.set("storage archive", forward="to-pacs")
        front.set("forward to-pacs", peers="pacs", **FAST)
        front.write()
        with pacs.running():
            os.kill(service.process.pid, signal.SIGHUP)
            eventually(lambda: set(pacs.stored()) == names(1, 2), "what had waited came to the peer")
            store(service, pki, 4)
            eventually(lambda: set(pacs.stored()) == names(1, 2, 4), "what came later came to the peer")


# Dead letters ---------------------------------------------------------------------------------------------------------


def test_what_the_peer_does_not_take_is_a_dead_letter_until_it_does(front: Node, pacs: Node, pki: Path) -> None:
    pacs.set("ae PACS", transfer_syntaxes="ImplicitVRLittleEndian")
    with front.running() as service:
        with pacs.running():
            store(service, pki, 1, 2)
            service.expect(r"\.1, which came to DIMSETLS, is given up, see dimsetls queue: PACS at .* has not taken it")
            eventually(lambda: counts(front) == (0, 2, 0), "both are dead letters")
            assert queue(front, "list")["status"] == 1
            shown = queue(front, "show", "--state", "dead")["items"]
            assert [item["sopInstanceUID"] for item in shown] == [instance_uid(1), instance_uid(2)]
            assert f"PACS accepted {IMPLICIT_VR_LITTLE_ENDIAN}" in shown[0]["error"]
            assert queue(front, "drop", instance_uid(2))["changed"] == 1
            assert pacs.stored() == {}
        pacs.set("ae PACS", transfer_syntaxes="all")
        with pacs.running():
            assert queue(front, "retry")["changed"] == 1
            eventually(lambda: set(pacs.stored()) == names(1), "it came to the peer")
            eventually(lambda: counts(front) == (0, 0, 1), "it was written down")
            assert queue(front, "list")["status"] == 0


def test_what_the_peer_does_not_take_is_converted_if_that_is_wanted(front: Node, pacs: Node, pki: Path) -> None:
    pacs.set("ae PACS", transfer_syntaxes="ImplicitVRLittleEndian")
    front.set("forward to-pacs", convert="yes")
    with front.running() as service, pacs.running():
        assert dcmtk.storescu(service, pki, [named("CT_small.dcm").path], "-xe").returncode == 0
        eventually(lambda: len(pacs.stored()) == 1, "it came to the peer")
    assert len(front.stored()) == 1


def test_a_full_peer_is_left_alone_until_it_has_room(front: Node, pacs: Node, pki: Path) -> None:
    with front.running() as service, pacs.running() as behind:
        _, hard = resource.prlimit(behind.process.pid, resource.RLIMIT_FSIZE)
        resource.prlimit(behind.process.pid, resource.RLIMIT_FSIZE, (100_000, hard))
        store(service, pki, 1, 2, size=200_000)
        service.expect(r"nothing is sent to PACS at localhost:\d+ for .*: it has no room")
        assert counts(front) == (2, 0, 0)
        resource.prlimit(behind.process.pid, resource.RLIMIT_FSIZE, (hard, hard))
        eventually(lambda: set(pacs.stored()) == names(1, 2), "both came to the peer")


def test_dcmtk_as_the_archive_behind(front: Node, pki: Path, port: int, tmp_path: Path) -> None:
    taken = tmp_path / "taken"
    taken.mkdir()
    command = [dcmtk.find("storescp"), "--aetitle", "PACS", "+tls", pki / "server.key", pki / "server.pem",
               "+cf", pki / "ca.pem", "--bit-preserving", "--output-directory", taken, port]  # fmt: skip
    files = [named(name).path for name in ("CT_small.dcm", "MR_small.dcm")]
    with front.running() as service:
        assert dcmtk.storescu(service, pki, files).returncode == 0
        with running(command, port):
            eventually(lambda: counts(front)[2] == 2, "both were sent")
    assert sorted(map(data_set_of, taken.iterdir())) == sorted(map(data_set_of, front.stored().values()))


# Kill -9 --------------------------------------------------------------------------------------------------------------

EACH, SENDERS, SIZE = 250, 4, 20_000


class Storing(threading.Thread):
    """Stores instances on an association of its own until that breaks; `acknowledged` are their UIDs."""

    def __init__(self, service: Service, pki: Path, numbers: range) -> None:
        super().__init__(daemon=True)
        self.acknowledged: list[str] = []
        self._sender = sender(service, pki, f"SENDER{numbers.start}")
        self._numbers = numbers
        self.start()

    def run(self) -> None:
        with suppress(AssertionError, OSError), self._sender:
            for number in self._numbers:
                uid = instance_uid(number)
                assert self._sender.store(uid, data_set(uid, SIZE)) == 0x0000
                self.acknowledged.append(uid)


def test_kill_9_in_the_middle_of_1000_stores_with_forward_rules_on(front: Node, pacs: Node, pki: Path) -> None:
    """After the restart every acknowledged instance is on disk, indexed and forwarded; nothing else is to be seen."""
    front.set("peer pacs", associations=2, operations=4)
    pacs.set("ae PACS", maximum_operations_invoked=4)
    with pacs.running() as behind:
        with front.running() as service:
            half = sender(service, pki)
            half.begin_store(instance_uid(1))
            half.data([data_set(instance_uid(1), 400_000)], last=False)
            storing = [Storing(service, pki, range(10_000 * n, 10_000 * n + 9_000)) for n in range(1, SENDERS + 1)]
            eventually(lambda: all(len(each.acknowledged) >= EACH // 2 for each in storing), "half of it was stored")
            eventually(lambda: len(pacs.stored()) >= 50, "some was forwarded")
            service.kill()
            assert service.process.returncode == -signal.SIGKILL
        for each in storing:
            each.join()
        acknowledged = {uid for each in storing for uid in each.acknowledged}
        visible = {name.removesuffix(".dcm"): path for name, path in front.stored().items()}
        assert acknowledged <= set(visible)
        assert instance_uid(1) not in visible
        assert len(visible) <= len(acknowledged) + SENDERS  # each may have lost its last answer
        for uid, path in visible.items():
            assert data_set_of(path) == data_set(uid, SIZE)
        with front.running() as service:
            eventually(lambda: len(pacs.stored()) >= len(visible), "all came to the peer")
            eventually(lambda: counts(front) == (0, 0, len(visible)), "all was written down")
            numbers = [range(10_000 * n, 10_000 * n + max(EACH, len(each.acknowledged) + 1))
                       for n, each in enumerate(storing, 1)]  # fmt: skip
            again = [Storing(service, pki, each) for each in numbers]
            total = sum(map(len, numbers))
            for each in again:
                each.join()
            assert sum(len(each.acknowledged) for each in again) == total >= EACH * SENDERS
            eventually(lambda: counts(front) == (0, 0, total), "the rest was forwarded as well")
        everything = {f"{uid}.dcm" for each in again for uid in each.acknowledged}
        assert set(front.stored()) == set(pacs.stored()) == everything
        assert main(["index", "verify", "--config", str(front.directory / "dimsetls.ini")]) == 0
        for name, path in pacs.stored().items():
            assert data_set_of(path) == data_set(name.removesuffix(".dcm"), SIZE)

        def came() -> int:
            return sum(int(line.split(" instances")[0].split()[-1]) for line in behind.lines(r" \d+ instances"))

        eventually(lambda: came() >= total, "the peer said how many came")
        # Sent twice is what was under way at the kill, or answered and not written down yet: a part of one batch.
        assert came() - total < BATCH < len(visible) // 2
