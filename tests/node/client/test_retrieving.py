import json
import signal
import subprocess

import pytest

from dimsetls.node.client.receiving import _place

from ...peers.instances import data_set_of, named
from ...peers.running import Node, free_port
from .archive import archive
from .calls import call, words
from .hostile import PATHS, SEVERAL, hostile
from .test_command import usage_error

AE_IS = ("--ae", "DIMSETLS")
CT, J2K = named("CT_small.dcm"), named("JPEG2000.dcm")
STUDIES = {CT: "1.3.6.1.4.1.5962.1.2.1.20040119072730.12322", J2K: "1.3.6.1.4.1.5962.1.2.8.20040826185059.5457"}


@pytest.fixture(scope="module")
def there(tmp_path_factory, pki):
    """A node with two instances of two studies, its port, and that of the AE `HERE`, where it can send."""
    there = Node(tmp_path_factory.mktemp("archive"), pki)
    here = free_port()
    there.set("storage archive", index="yes", fsync="none")
    there.set("ae DIMSETLS", services="verification, storage, query, retrieve")
    for title, port in (("HERE", here), ("NOBODY", free_port())):
        there.set(f"peer {title}", ae_title=title, host="localhost", port=port, tls="secure")
    with there.running() as service:
        assert call("store", pki, service.port(), CT.path, J2K.path, *AE_IS).returncode == 0
        yield service.port(), here


# get ------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("wanted", STUDIES, ids=lambda wanted: wanted.name)
def test_what_get_brings_is_what_was_stored_bit_for_bit_and_comes_once(wanted, there, pki, tmp_path):
    port, _ = there
    arguments = f"StudyInstanceUID={STUDIES[wanted]}", "--to", tmp_path / "new" / "got", *AE_IS
    ended = call("get", pki, port, *arguments)
    assert (ended.returncode, ended.stderr) == (0, f"1/1 received {wanted.sop_instance_uid}\n")
    assert ended.stdout.startswith(f"DIMSETLS at localhost:{port}: 1 received into {tmp_path}/new/got (")
    (file,) = (tmp_path / "new" / "got").iterdir()
    assert file.name == f"{wanted.sop_instance_uid}.dcm"
    assert data_set_of(file) == data_set_of(wanted.path)
    again = json.loads(call("get", pki, port, *arguments, "--json").stdout)
    assert (again["received"], again["alreadyThere"], again["completed"], again["problems"]) == (0, 1, 1, [])


def test_several_studies_and_one_instance_and_all_of_a_patient(there, pki, tmp_path):
    port, _ = there
    both = "\\".join(STUDIES.values())
    assert call("get", pki, port, f"StudyInstanceUID={both}", "--to", tmp_path / "both", *AE_IS).returncode == 0
    assert len(list((tmp_path / "both").iterdir())) == 2
    assert call("get", pki, port, "PatientID=1CT1", "--to", tmp_path / "one", *AE_IS).returncode == 0
    keys = (f"StudyInstanceUID={STUDIES[CT]}", "SeriesInstanceUID=1.3.6.1.4.1.5962.1.3.1.1.20040119072730.12322",
            f"SOPInstanceUID={CT.sop_instance_uid}")  # fmt: skip
    again = call("get", pki, port, *keys, "--to", tmp_path / "one", *AE_IS)
    assert again.returncode == 0
    assert again.stdout.endswith(": 0 received into " + str(tmp_path / "one") + "; 1 there before\n")


def test_another_file_of_that_name_stays_unless_it_is_to_be_replaced(there, pki, tmp_path):
    port, _ = there
    file = tmp_path / f"{CT.sop_instance_uid}.dcm"
    file.write_text("mine")
    arguments = f"StudyInstanceUID={STUDIES[CT]}", "--to", tmp_path, *AE_IS
    ended = call("get", pki, port, *arguments)
    assert (ended.returncode, file.read_text()) == (1, "mine")
    assert f"{file} is there and is another; --overwrite replaces it" in ended.stderr
    assert call("get", pki, port, *arguments, "--overwrite").returncode == 0
    assert data_set_of(file) == data_set_of(CT.path)
    assert list(tmp_path.iterdir()) == [file]


def test_nothing_that_matches_is_a_failure(there, pki, tmp_path):
    ended = call("get", pki, there[0], "StudyInstanceUID=1.2.3", "--to", tmp_path, *AE_IS)
    assert (ended.returncode, ended.stderr) == (1, "nothing matches, and nothing came\n")


def test_a_disk_that_takes_no_more_ends_it(there, pki, tmp_path):
    command = words("get", pki, there[0], f"StudyInstanceUID={STUDIES[CT]}", "--to", tmp_path, *AE_IS)
    limited = ["sh", "-c", 'ulimit -f 16; exec "$@"', "sh", *command]  # 8 KiB
    ended = subprocess.run(limited, capture_output=True, text=True, timeout=30)
    assert (ended.returncode, list(tmp_path.iterdir())) == (1, [])
    assert ended.stderr == f"{tmp_path} takes no more (File too large); nothing after it was received\n"


def test_where_nothing_can_be_written_nobody_is_called(pki, tmp_path):
    (tmp_path / "file").touch()
    ended = call("get", pki, free_port(), "PatientID=1", "--to", tmp_path / "file")
    assert ended.returncode == 1
    assert f"{tmp_path}/file: found that nothing can be written there (File exists)" in ended.stderr


def test_an_archive_cannot_say_where_a_file_goes(pki, tmp_path):
    with hostile(pki, "paths") as (_, port):
        ended = call("get", pki, port, "PatientID=1", "--to", tmp_path / "a" / "b", "--ae", "HOSTILE")
    assert ended.returncode == 1
    assert f"{len(PATHS)} instances were refused, as what came for their SOP Instance UID is no UID" in ended.stderr
    assert [file.name for file in tmp_path.rglob("*") if file.is_file()] == [f"{CT.sop_instance_uid}.dcm"]


@pytest.mark.parametrize(("how", "options", "received", "sentence"), [
    ("several", ("--max-files", SEVERAL - 1), SEVERAL - 1, "more than 2 instances came, which --max-files permits"),
    ("endless", ("--max-bytes", "1MiB"), 1, "more than 1048576 bytes came, which --max-bytes permits"),
    ("cut off", (), 1, "the peer aborted the association"),
    ("other class", (), 0, "name what is missing by --sop-class"),
    ("silent", ("--timeout", "1"), 0, "no response to C-GET-RQ within 1 s"),
])  # fmt: skip
def test_an_archive_that_does_wrong(how, options, received, sentence, pki, tmp_path):
    with hostile(pki, how) as (_, port):
        ended = call("get", pki, port, "PatientID=1", "--to", tmp_path, "--ae", "HOSTILE", *options)
    assert ended.returncode == 1
    assert sentence in ended.stderr
    assert f": {received} received into" in ended.stdout
    assert len(list(tmp_path.iterdir())) == received


def test_an_archive_that_does_not_answer_queries_brings_what_is_usual_and_what_is_named(pki, tmp_path):
    with hostile(pki, "several") as (_, port):
        ended = call("get", pki, port, "PatientID=1", "--to", tmp_path, "--ae", "HOSTILE")
        assert (ended.returncode, len(list(tmp_path.iterdir()))) == (0, SEVERAL)
    with hostile(pki, "other class") as (_, port):
        named = "--sop-class", "StandaloneModalityLUTStorage", "--sop-class", "1.2.840.10008.5.1.4.1.1.30"
        ended = call("get", pki, port, "PatientID=1", "--to", tmp_path, "--ae", "HOSTILE", *named)
        assert (ended.returncode, len(list(tmp_path.iterdir()))) == (0, SEVERAL + 1)


@pytest.mark.parametrize("signals", [[signal.SIGINT], [signal.SIGTERM], [signal.SIGINT, signal.SIGTERM]])
def test_interrupted_it_still_reports_and_leaves_nothing_hidden(signals, pki, tmp_path):
    with hostile(pki, "silent") as (service, port):
        command = words("get", pki, port, "PatientID=1", "--to", tmp_path, "--ae", "HOSTILE", "--json")
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        service.expect("^asked$")
        for each in signals:
            process.send_signal(each)
        said, complained = process.communicate(timeout=30)
    assert (process.returncode, complained, list(tmp_path.iterdir())) == (130, "", [])
    assert json.loads(said)["interrupted"] is True


def test_a_file_appears_without_hard_links_too_and_replaces_nothing(tmp_path, monkeypatch):
    def link(source, target):
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr("os.link", link)
    for name in ("one", "other"):
        (tmp_path / name).write_text(name)
    _place(str(tmp_path / "one"), tmp_path / "final")
    with pytest.raises(FileExistsError):
        _place(str(tmp_path / "other"), tmp_path / "final")
    assert (tmp_path / "final").read_text() == "one"


# move -----------------------------------------------------------------------------------------------------------------


def test_what_is_moved_arrives(there, pki, tmp_path):
    port, here = there
    destination = Node(tmp_path, pki)
    destination.set("listener main", port=here, aes="HERE")
    destination.sections["ae HERE"] = destination.sections.pop("ae DIMSETLS")
    arguments = f"StudyInstanceUID={STUDIES[J2K]}", "--destination", "HERE", *AE_IS
    with destination.running():
        ended = call("move", pki, port, *arguments)
        assert (ended.returncode, ended.stderr) == (0, "")
        assert ended.stdout.endswith(": 1 sent to HERE, 0 failed, 0 with a warning\n")
        (stored,) = destination.stored().values()
        assert data_set_of(stored) == data_set_of(J2K.path)
        found = json.loads(call("move", pki, port, *arguments, "--json").stdout)
    assert (found["status"], found["completed"], found["failed"], found["problems"]) == ("0000H", 1, 0, [])


def test_a_destination_that_changed_something_may_have_lost_it(there, pki, tmp_path):
    with archive(pki, store=lambda event: 0xB000) as witness:
        other = Node(tmp_path, pki)
        other.set("storage archive", index="yes", fsync="none")
        other.set("ae DIMSETLS", services="verification, storage, query, retrieve")
        other.set("peer WITNESS", ae_title="WITNESS", host="localhost", port=witness, tls="secure")
        with other.running() as service:
            assert call("store", pki, service.port(), CT.path, *AE_IS).returncode == 0
            ended = call("move", pki, service.port(), "PatientID=1CT1", "--destination", "WITNESS", *AE_IS)
    assert ended.returncode == 1
    assert "1 instances were stored with a warning: WITNESS may have left something out" in ended.stderr
    assert "0 sent to WITNESS, 0 failed, 1 with a warning" in ended.stdout


@pytest.mark.parametrize(("destination", "key", "sentence"), [
    ("ELSEWHERE", "PatientID=1CT1", "C-MOVE-RQ was answered A801H"),
    ("NOBODY", "PatientID=1CT1", "C-MOVE-RQ was answered A702H"),
    ("NOBODY", "PatientID=none", "nothing matches, and nothing was sent"),
])
def test_a_move_that_comes_to_nothing_is_a_failure(destination, key, sentence, there, pki):
    ended = call("move", pki, there[0], key, "--destination", destination, *AE_IS)
    assert ended.returncode == 1
    assert ended.stderr.startswith(sentence)


# Either ---------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("arguments", "sentence"), [
    (["SeriesInstanceUID=1.2"], "StudyInstanceUID is missing, without which nothing of level SERIES is found"),
    (["PatientID=1", "--model", "study", "--level", "patient"], "the model study has no level PATIENT"),
    (["PatientID=1", "--level", "series"], "StudyInstanceUID is missing"),
    (["PatientName=Doe"], "PatientName cannot say what to retrieve, expected PatientID, StudyInstanceUID, "),
    (["StudyInstanceUID"], "StudyInstanceUID came without a value"),
    (["StudyInstanceUID=1.2", "StudyInstanceUID=1.3"], "StudyInstanceUID came twice"),
])
def test_what_to_retrieve_has_to_be_said(arguments, sentence, pki, capsys):
    for command in (["get"], ["move", "--destination", "CT1"]):
        assert sentence in usage_error(capsys, *command, "localhost:2762", "--ca", str(pki / "ca.pem"), *arguments)


def test_options_of_get_that_are_wrong(pki, capsys):
    arguments = ["get", "localhost:2762", "--ca", str(pki / "ca.pem"), "PatientID=1"]
    assert "expected the keyword or UID of a storage" in usage_error(capsys, *arguments, "--sop-class", "Nonsense")
    assert "expected the keyword or UID of a transfer" in usage_error(capsys, *arguments, "--transfer-syntax", "JPEG")
    assert "expected a size in bytes" in usage_error(capsys, *arguments, "--max-bytes", "many")
    assert "expected a whole number from 1 to 65535" in usage_error(capsys, *arguments, "--max-files", "0")
