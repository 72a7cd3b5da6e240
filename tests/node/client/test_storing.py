import json
import os
import pty
import re
import subprocess
import threading

import pytest

from ...peers.instances import named
from ...peers.running import DEADLINE, free_port
from .archive import archive
from .calls import call, words
from .test_command import AE_IS

CT = named("CT_small.dcm")


def copies(directory, number):
    """So many instances that are alike but for their UID."""
    directory.mkdir(exist_ok=True)
    content, uid = CT.path.read_bytes(), CT.sop_instance_uid.encode()
    for each in range(number):
        (directory / f"{each:02}.dcm").write_bytes(content.replace(uid, str(10 ** (len(uid) - 1) + each).encode()))
    return directory


def test_several_associations_send_each_file_once(node, pki, tmp_path):
    with node.running() as service:
        study = copies(tmp_path / "study", 30)
        ended = call("store", pki, service.port(), study, *AE_IS, "--associations", 3, "--json")
        assert len(service.expect("released DIMSETLS", 3)) == 3
    report = json.loads(ended.stdout)
    assert (ended.returncode, report["stored"], report["failed"]) == (0, 30, [])
    assert len(node.stored()) == 30


def test_a_peer_that_rejects_is_asked_once_and_the_status_says_that_there_was_no_association(node, pki, tmp_path):
    with node.running() as service:
        ended = call("store", pki, service.port(), copies(tmp_path / "study", 3), "--ae", "NOBODY", "--associations", 2)
        assert len(service.lines("called AE title not recognized")) <= 2
    assert ended.returncode == 3
    (line,) = ended.stderr.splitlines()
    assert line.startswith("NOBODY at localhost:")
    assert line.endswith("reason 7); 3 files were not sent")
    assert ended.stdout.endswith(": 0 stored; 3 failed\n")


def test_nobody_there_is_no_association_either(pki):
    ended = call("store", pki, free_port(), CT.path, "--json")
    assert ended.returncode == 3
    (failed,) = json.loads(ended.stdout)["failed"]
    assert failed["sentence"].startswith("not sent: The peer could not be reached")


def test_a_peer_that_dies_in_the_middle_leaves_a_journal_to_go_on_from(node, pki, tmp_path):
    study, journal = copies(tmp_path / "study", 5), tmp_path / "journal"
    stored: list[str] = []

    def store(event):
        stored.append(event.request.AffectedSOPInstanceUID)
        if len(stored) == 3:
            event.assoc.abort()
        return 0x0000

    with archive(pki, store=store) as port:
        ended = call("store", pki, port, study, "--journal", journal, "--json")
    report = json.loads(ended.stdout)
    assert (ended.returncode, report["stored"], len(report["failed"])) == (1, 4, 1)
    assert "aborted the association" in report["failed"][0]["sentence"]
    assert stored[2] not in journal.read_text()
    with node.running() as service:
        report = json.loads(call("store", pki, service.port(), study, *AE_IS, "--journal", journal, "--json").stdout)
    assert (report["stored"], report["alreadyAcknowledged"]) == (1, 4)


@pytest.mark.parametrize(("status", "expected"), [(0xB000, 0), (0xB007, 0), (0xB006, 1)])
def test_a_warning_that_something_was_lost_is_no_success(status, expected, pki):
    with archive(pki, store=lambda event: status) as port:
        ended = call("store", pki, port, CT.path)
    assert ended.returncode == expected
    assert f"stored with a warning, {status:04X}H" in ended.stderr


def test_what_cannot_be_read_is_told_and_the_rest_is_sent(node, pki, tmp_path):
    study = copies(tmp_path / "study", 1)
    (study / "dangling.dcm").symlink_to("nowhere")
    os.mkfifo(study / "pipe")
    with node.running() as service:
        ended = call("store", pki, service.port(), study, study / "dangling.dcm", tmp_path / "*.none", *AE_IS)
    assert ended.returncode == 1
    assert f"{study}/dangling.dcm cannot be read: No such file or directory\n" in ended.stderr
    assert f"{tmp_path}/*.none is no file, no folder, and matches none\n" in ended.stderr
    assert "1 stored" in ended.stdout
    assert "2 failed" in ended.stdout


def test_on_a_terminal_there_is_a_bar(node, pki, tmp_path):
    ours, theirs = pty.openpty()
    seen = bytearray()

    def read():
        try:
            while piece := os.read(ours, 4096):
                seen.extend(piece)
        except OSError:
            pass  # the other end is closed

    with node.running() as service:
        command = words("store", pki, service.port(), copies(tmp_path / "study", 3), *AE_IS)
        reader = threading.Thread(target=read)
        reader.start()
        try:
            ended = subprocess.run(command, stdout=subprocess.PIPE, stderr=theirs, text=True, timeout=DEADLINE)
        finally:
            os.close(theirs)
            reader.join()
            os.close(ours)
    assert ended.returncode == 0
    assert re.search(rb"\r\[[#.]{24}\] +\d+%  \d/3 files", bytes(seen))
    assert bytes(seen).endswith(b"\r\x1b[K")
    assert b"stored" not in seen
