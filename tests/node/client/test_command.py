import json
import os
import re
import shlex
import signal
import socket
import subprocess
from pathlib import Path

import pytest
from pydicom import Dataset

from dimsetls.node.cli import main
from dimsetls.node.client.querying import table

from ...peers import dcmtk
from ...peers.instances import named, shipped
from ...peers.running import Node, Service, eventually, free_port
from .archive import archive
from .calls import PROGRAM, call, words

AE_IS = ("--ae", "DIMSETLS")
CT, MR = named("CT_small.dcm"), named("MR_small.dcm")


@pytest.fixture
def port(node):
    with node.running() as service:
        yield service.port()


def usage_error(capsys, *arguments):
    with pytest.raises(SystemExit) as caught:
        main(arguments)
    assert caught.value.code == 2
    return capsys.readouterr().err


# echo -----------------------------------------------------------------------------------------------------------------


def test_echo(port, pki):
    ended = call("echo", pki, port, *AE_IS)
    assert (ended.returncode, ended.stderr) == (0, "")
    assert ended.stdout.startswith(f"DIMSETLS at localhost:{port} answered 0000H (TLSv1.3 ")


def test_echo_in_json(port, pki):
    found = json.loads(call("echo", pki, port, *AE_IS, "--json").stdout)
    assert (found["status"], found["certificate"].split(",")[0]) == ("0000H", "CN=dimsetls development server")


def test_a_rejection_is_one_sentence_and_a_failure(port, pki):
    ended = call("echo", pki, port, "--ae", "NOBODY")
    assert (ended.returncode, ended.stdout) == (3, "")
    assert ended.stderr == (f"NOBODY at localhost:{port}: the peer rejected the association (permanent): called AE "
                            "title not recognized (result 1, source 1, reason 7)\n")


def test_nobody_there(pki):
    ended = call("echo", pki, free_port(), "--json")
    assert ended.returncode == 3
    assert "could not be reached" in ended.stderr
    (problem,) = json.loads(ended.stdout)["problems"]
    assert ended.stderr.endswith(f": {problem}\n")
    assert "connect-failed" in ended.stderr


def test_a_peer_of_another_authority_is_not_spoken_to(node, port, pki, tmp_path):
    from dimsetls.node.init import init

    init(tmp_path / "other")
    ended = call("echo", tmp_path / "other" / "pki", port, *AE_IS)
    assert ended.returncode == 3
    assert "certificate" in ended.stderr


def test_who_does_not_check_the_identity_is_named(port, pki):
    ended = call("echo", pki, port, *AE_IS, "--user", "alice", "--passcode-stdin", stdin="tresor\n")
    assert ended.returncode == 0
    assert "did not verify the user identity (ignored)" in ended.stderr
    assert "tresor" not in ended.stdout + ended.stderr


@pytest.mark.parametrize(("options", "sentence"), [
    (["--cert", "a.pem"], "--cert and --key go together"),
    (["--passcode-stdin"], "--passcode-stdin goes with --user NAME"),
    (["--user", "a", "--kerberos", "dicom/b"], "not allowed with argument"),
    (["--timeout", "0"], "expected a number of seconds"),
    (["--token-file", "missing.jwt"], "missing.jwt: found no readable file"),
    (["--saml-file", "missing.xml"], "missing.xml: found no readable file"),
    (["--require-identity"], "--require-identity goes with an identity"),
    (["--kerberos", "dicom/b", "--bearer-file", "token"], "--bearer-file came with --kerberos"),
    (["--user", "a", "--token-file", "b"], "not allowed with argument"),
])
def test_wrong_usage(options, sentence, pki, capsys):
    assert sentence in usage_error(capsys, "echo", "localhost:2762", "--ca", str(pki / "ca.pem"), *options)


def test_what_is_no_option_is_not_repeated_with_what_follows_it(capsys):
    assert usage_error(capsys, "echo", "localhost:2762", "--passcode", "Never-2-be-seen").endswith(
        "unrecognized: --passcode\n")
    assert "Never" not in usage_error(capsys, "echo", "localhost:2762", "--passcode=Never-2-be-seen")


def test_without_authorities_nobody_is_called(capsys):
    assert "--ca" in usage_error(capsys, "echo", "localhost:2762")
    assert "nix.pem cannot be read" in usage_error(capsys, "echo", "localhost:2762", "--ca", "nix.pem")


def test_a_peer_of_the_configuration_is_called_by_its_name(port, pki, tmp_path):
    (tmp_path / "other").mkdir()
    other = Node(tmp_path / "other", pki)
    other.set("peer PACS1", ae_title="DIMSETLS", host="localhost", port=port, tls="secure")
    ini = other.write()
    ended = subprocess.run([*PROGRAM, "echo", "PACS1", "--config", ini], capture_output=True, text=True)
    assert (ended.returncode, ended.stderr) == (0, "")
    assert ended.stdout.startswith(f"DIMSETLS at localhost:{port} answered 0000H")
    ended = subprocess.run([*PROGRAM, "echo", "PACS2", "--config", ini], capture_output=True, text=True)
    assert ended.returncode == 2
    assert "has no [peer PACS2] with host; those it has: PACS1" in ended.stderr


def test_the_examples_of_the_page_run(port, pki, tmp_path):
    page = (Path(__file__).parents[3] / "docs" / "how-to" / "command-line.md").read_text()
    (tmp_path / "study").mkdir()
    (tmp_path / "study" / "ct.dcm").write_bytes(CT.path.read_bytes())
    examples = [each for each in re.findall(r"^```sh\ndimsetls (.*?)```$", page, re.DOTALL | re.MULTILINE)
                if "localhost:2762" in each]
    for each in examples:
        arguments = each.replace("\\\n", " ").replace("var/pki", str(pki)).replace("2762", str(port))
        ended = subprocess.run([*PROGRAM, *shlex.split(arguments)], cwd=tmp_path, capture_output=True, text=True)
        assert ended.returncode == 0, ended.stderr
    assert len(examples) == 2
    assert (tmp_path / "sent.txt").read_text() == f"{CT.sop_instance_uid}\n"


# store ----------------------------------------------------------------------------------------------------------------


def test_store_of_a_folder_a_pattern_and_a_file_and_nothing_twice(node, port, pki, tmp_path):
    folder = tmp_path / "study"
    (folder / "deep").mkdir(parents=True)
    (folder / "deep" / "ct.dcm").write_bytes(CT.path.read_bytes())
    (folder / "mr.dcm").write_bytes(MR.path.read_bytes())
    (folder / "notes.txt").write_text("no image")
    ended = call("store", pki, port, folder, folder / "*.dcm", folder / "mr.dcm", *AE_IS)
    assert ended.returncode == 0
    assert ended.stderr.splitlines() == [f"1/2 stored {folder}/mr.dcm", f"2/2 stored {folder}/deep/ct.dcm"]
    assert f"DIMSETLS at localhost:{port}: 2 stored (" in ended.stdout
    assert "; 1 passed over: no instance" in ended.stdout
    assert len(node.stored()) == 2


def test_the_journal_is_where_the_next_run_goes_on(node, port, pki, tmp_path):
    journal = tmp_path / "journal.txt"
    assert call("store", pki, port, CT.path, *AE_IS, "--journal", journal).returncode == 0
    assert journal.read_text() == f"{CT.sop_instance_uid}\n"
    ended = call("store", pki, port, CT.path, MR.path, *AE_IS, "--journal", journal, "--json")
    report = json.loads(ended.stdout)
    assert (ended.returncode, report["stored"], report["alreadyAcknowledged"], report["failed"]) == (0, 1, 1, [])
    assert journal.read_text() == f"{CT.sop_instance_uid}\n{MR.sop_instance_uid}\n"
    assert call("store", pki, free_port(), CT.path, MR.path, "--journal", journal).returncode == 0  # nothing to send


def test_what_fails_is_told_not_noted_and_the_rest_is_sent(pki, tmp_path):
    refused = tmp_path / "refused.dcm"
    data_set = CT.path.read_bytes().replace(CT.sop_instance_uid.encode(), b"9" + CT.sop_instance_uid.encode()[1:])
    refused.write_bytes(data_set)
    journal = tmp_path / "journal.txt"

    def store(event):
        return 0x0000 if event.request.AffectedSOPInstanceUID == CT.sop_instance_uid else 0xA700

    with archive(pki, store=store) as port:
        files = [refused, MR.path, CT.path, tmp_path / "gone.dcm"]
        ended = call("store", pki, port, *files, "--journal", journal, "--json")
    report = json.loads(ended.stdout)
    assert (ended.returncode, report["stored"], len(report["failed"])) == (1, 1, 3)
    sentences = {each["path"]: each["sentence"] for each in report["failed"]}
    assert "A700H" in sentences[str(refused)]
    assert "accepted no presentation context" in sentences[str(MR.path)]
    assert "is no file" in sentences[str(tmp_path / "gone.dcm")]
    assert journal.read_text() == f"{CT.sop_instance_uid}\n"


def test_a_warning_is_told_and_noted(pki, tmp_path):
    with archive(pki, store=lambda event: 0xB000) as port:
        ended = call("store", pki, port, CT.path, "--journal", tmp_path / "journal.txt")
    assert ended.returncode == 0
    assert "stored with a warning, B000H" in ended.stderr
    assert "1 with a warning" in ended.stdout
    assert (tmp_path / "journal.txt").read_text() == f"{CT.sop_instance_uid}\n"


def test_a_peer_that_aborts_is_called_again_and_at_last_no_more(pki, tmp_path):
    files = []
    for number in range(5):
        files.append(tmp_path / f"{number}.dcm")
        changed = b"%d" % number + CT.sop_instance_uid.encode()[1:]
        files[-1].write_bytes(CT.path.read_bytes().replace(CT.sop_instance_uid.encode(), changed))
    calls = []

    def store(event):
        calls.append(event.request.AffectedSOPInstanceUID)
        event.assoc.abort()
        return 0x0000

    with archive(pki, store=store) as port:
        ended = call("store", pki, port, *files, "--json")
    assert ended.returncode == 1
    assert len(calls) == 3
    report = json.loads(ended.stdout)
    assert (report["stored"], len(report["failed"])) == (0, 5)
    assert report["failed"][-1]["sentence"].startswith("not sent: ")


def test_nothing_to_send_is_a_failure(pki, tmp_path):
    ended = call("store", pki, free_port(), tmp_path)
    assert ended.returncode == 1
    assert "there is no DICOM file" in ended.stderr


def test_interrupted_it_still_reports(pki):
    with socket.create_server(("127.0.0.1", 0)) as silent:
        process = subprocess.Popen(
            words("store", pki, silent.getsockname()[1], CT.path, "--json"), stdout=subprocess.PIPE,
            stderr=subprocess.PIPE, text=True,
        )  # fmt: skip
        calling, _ = silent.accept()
        with calling:
            calling.recv(1)  # it speaks, so its reactor runs
            process.send_signal(signal.SIGINT)
            said, complained = process.communicate(timeout=30)
    assert process.returncode == 130
    assert json.loads(said)["interrupted"] is True
    assert "Traceback" not in complained


def test_a_journal_that_cannot_be_written_ends_it_and_it_still_reports(port, pki, tmp_path):
    command = words("store", pki, port, CT.path, MR.path, *AE_IS, "--journal", tmp_path / "journal.txt", "--json")
    limited = ["sh", "-c", 'ulimit -f 0; exec "$@"', "sh", *command]  # no file may grow
    ended = subprocess.run(limited, capture_output=True, text=True, timeout=30)
    assert ended.returncode == 1
    assert "cannot be written: File too large; nothing more was sent" in ended.stderr
    assert json.loads(ended.stdout)["stored"] == 1


@pytest.mark.peers
def test_store_to_dcmtk(pki, tmp_path):
    port = free_port()
    scp = Service([dcmtk.find("storescp"), "--accept-all", "+B", "-od", str(tmp_path), *map(str, (
        "+tls", pki / "server.key", pki / "server.pem", "+cf", pki / "ca.pem", port))])
    files = [each.path for each in shipped() if each.name in ("CT_small.dcm", "MR_small.dcm", "JPEG2000.dcm")]
    try:
        eventually(lambda: socket.socket().connect_ex(("127.0.0.1", port)) == 0, "storescp listens")
        ended = call("store", pki, port, *files)
        assert ended.returncode == 0, ended.stderr
    finally:
        scp.kill()
    assert len(list(tmp_path.iterdir())) == len(files) == 3


# find -----------------------------------------------------------------------------------------------------------------


def matching(*names):
    """Answers each query with these patients, and keeps what was asked."""
    asked = []

    def find(event):
        asked.append(event.identifier)
        for name in names:
            match = Dataset()
            match.SpecificCharacterSet = "ISO_IR 192"
            match.QueryRetrieveLevel = event.identifier.QueryRetrieveLevel
            match.PatientName, match.StudyInstanceUID = name, "1.2.3"
            yield 0xFF00, match

    return asked, find


def test_find_prints_a_table(pki):
    asked, find = matching("Müller^Änne", "Doe^\x07Jane")
    with archive(pki, find=find) as port:
        ended = call("find", pki, port, "PatientName=M*", "StudyDate")
    assert (ended.returncode, ended.stderr) == (0, "")
    assert [line.split() for line in ended.stdout.splitlines()] == [
        ["StudyDate", "PatientName", "StudyInstanceUID"], ["Müller^Änne", "1.2.3"], ["Doe^?Jane", "1.2.3"],
    ]
    assert (asked[0].QueryRetrieveLevel, asked[0].PatientName, asked[0].StudyDate) == ("STUDY", "M*", "")


def test_columns_are_as_wide_as_a_terminal_shows_them():
    match = Dataset()
    match.PatientName, match.StudyInstanceUID = "Yamada^Tarou=山田^太郎", "1.2.3"
    assert [*table([match], ["PatientName", "StudyInstanceUID"])] == [
        f"PatientName{' ' * 11}  StudyInstanceUID", "Yamada^Tarou=山田^太郎  1.2.3",
    ]


def test_find_in_json_and_in_the_patient_root(pki):
    asked, find = matching("Müller^Änne")
    with archive(pki, find=find) as port:
        ended = call("find", pki, port, "--model", "patient", "--level", "patient", "PatientName=Müller*", "--json")
    (match,) = json.loads(ended.stdout)
    assert match["00100010"]["Value"] == [{"Alphabetic": "Müller^Änne"}]
    assert (asked[0].QueryRetrieveLevel, str(asked[0].PatientName)) == ("PATIENT", "Müller*")


def test_a_query_that_the_peer_refuses(pki):
    def find(event):
        yield 0xA900, None

    with archive(pki, find=find) as port:
        ended = call("find", pki, port, "PatientID=1", "--json")
    assert ended.returncode == 1
    assert "A900H" in ended.stderr


@pytest.mark.parametrize(("keys", "sentence"), [
    (["PatientNumber=1"], "found 'PatientNumber', expected the keyword of an attribute"),
    (["PatientID=1", "PatientID"], "PatientID came twice"),
    (["Rows=many"], "expected a whole number"),
    (["RequestAttributesSequence=1"], "expected none for VR SQ"),
])
def test_keys_that_are_none(keys, sentence, pki, capsys):
    assert sentence in usage_error(capsys, "find", "localhost:2762", *keys, "--ca", str(pki / "ca.pem"))


def test_find_stops_at_its_limit_and_says_so(pki):
    _, find = matching(*(f"Doe^{number}" for number in range(5)))
    with archive(pki, find=find) as port:
        ended = call("find", pki, port, "PatientName", "--limit", 2)
    assert (ended.returncode, len(ended.stdout.splitlines())) == (1, 3)
    assert ended.stderr.endswith("has more than 2 matches, which --limit permits; these are the first\n")


def test_find_of_patients_is_in_the_model_that_has_them(pki, capsys):
    asked, find = matching("Doe")
    with archive(pki, find=find) as port:
        assert call("find", pki, port, "PatientName", "--level", "patient").returncode == 0
    assert asked[0].QueryRetrieveLevel == "PATIENT"
    arguments = "find", "localhost:2762", "PatientID", "--level", "patient", "--model", "study", "--ca"
    assert "the model study has no level PATIENT" in usage_error(capsys, *arguments, str(pki / "ca.pem"))


def test_a_peer_by_its_name_alone(port, pki, tmp_path):
    (tmp_path / "dimsetls.ini").write_text(f"""
[tls calling]
certificate = {pki}/client.pem
private-key = {pki}/client.key
trust-roots = {pki}/ca.pem
revocation-check = not checked - i understand the risk
[peer PACS1]
ae-title = DIMSETLS
host = localhost
port = {port}
tls = calling
""")

    def echo(name, directory):
        home, here = str(tmp_path / "home"), str(Path(__file__).parents[3])
        alone = {"PATH": os.environ["PATH"], "HOME": home, "PYTHONPATH": here}
        command = [*PROGRAM, "echo", name]
        return subprocess.run(command, cwd=directory, env=alone, capture_output=True, text=True)

    ended = echo("PACS1", tmp_path)
    assert (ended.returncode, ended.stderr) == (0, "")
    assert ended.stdout.startswith(f"DIMSETLS at localhost:{port} answered 0000H")
    assert echo("localhost", tmp_path).stderr.endswith("those it has: PACS1; others are called by HOST:PORT\n")
    (tmp_path / "elsewhere").mkdir()
    ended = echo("PACS1", tmp_path / "elsewhere")
    assert ended.returncode == 2
    assert f"{tmp_path}/home/.config/dimsetls/dimsetls.ini" in ended.stderr
    assert ended.stderr.endswith("without one a peer is called by HOST:PORT\n")
