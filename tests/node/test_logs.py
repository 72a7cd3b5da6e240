"""The log as a program and as an operator reads it."""

from __future__ import annotations

import io
import json
import re
import sys
import warnings
from pathlib import Path
from typing import Any

import pytest
from pydicom import Dataset
from twisted.logger import LogEvent, Logger, LogLevel
from twisted.python.failure import Failure

from dimsetls.node.logs import json_line, log_observer
from dimsetls.uids import APPLICATION_CONTEXT, EXPLICIT_VR_LITTLE_ENDIAN, VERIFICATION
from dimsetls.ul.pdus import AssociateRQ, PresentationContextRQ, UserInformation
from dimsetls.ul.writer import write_pdu

from ..peers.running import Node, Service, eventually
from ..peers.sender import IMPLEMENTATION, Rejected, Sender, client_context, connect, data_set, instance_uid


def event(**fields: Any) -> LogEvent:
    """One event, as an observer gets it."""
    events: list[LogEvent] = []
    Logger(namespace="tests", observer=events.append).emit(fields.pop("level", LogLevel.info), **fields)
    return events[0]


def used(service: Service, pki: Path) -> None:
    """One association that stores an instance, and one that is refused."""
    with Sender(connect(("127.0.0.1", service.port()), client_context(pki))) as sender:
        assert sender.store(instance_uid(1), data_set(instance_uid(1), 1000)) == 0x0000
        sender.release()
    with pytest.raises(Rejected):
        Sender(connect(("127.0.0.1", service.port()), client_context(pki)), called="NOBODY")


# One line

def test_a_json_line_has_the_event_and_its_fields() -> None:
    line = json.loads(json_line(event(level=LogLevel.warn, format="{peer} sent {octets}", peer="1.2.3.4:5", octets=6)))
    assert re.fullmatch(r"20\d\d-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}\+00:00", line.pop("time"))
    assert line == {
        "level": "warn", "namespace": "tests", "message": "1.2.3.4:5 sent 6", "peer": "1.2.3.4:5", "octets": 6,
    }  # fmt: skip


def test_a_json_line_is_one_line_whatever_is_in_it() -> None:
    text = json_line(event(format="{what}", what="a\nb\r\N{LINE SEPARATOR}c\0"))
    assert text.splitlines() == [text.removesuffix("\n")]
    assert json.loads(text)["what"] == "a\nb\r\N{LINE SEPARATOR}c\0"


def test_a_json_line_takes_what_json_does_not_know() -> None:
    line = json.loads(json_line(event(format="{path}", path=Path("/store"))))
    assert (line["path"], line["message"]) == ("/store", "/store")


def test_a_json_line_of_a_failure_has_its_traceback() -> None:
    try:
        raise ValueError("no such thing")
    except ValueError:
        line = json.loads(json_line(event(format="it failed", log_failure=Failure())))
    assert line["message"] == "it failed"
    assert "ValueError: no such thing" in line["traceback"]


def test_an_event_of_the_former_log_system_is_a_line_too() -> None:
    from twisted.python.log import LogPublisher

    events: list[dict[str, Any]] = []
    publisher = LogPublisher()
    publisher.addObserver(events.append)
    publisher.msg("hello", system="somewhere")
    line = json.loads(json_line(events[0]))
    assert line["message"] == "hello"
    assert not {"system", "isError", "format", "why"} & set(line)


# Where the lines go

@pytest.mark.parametrize("told", [{"logger": "module.observer"}, {"syslog": True}])
def test_who_tells_twistd_how_to_log_is_obeyed(told: dict[str, Any]) -> None:
    assert log_observer("text", "info", told) is None


def test_what_pydicom_warns_of_is_not_logged() -> None:
    """A warning of it has the value in it that is wrong."""
    log_observer("text", "info", {})
    with warnings.catch_warnings(record=True) as caught:
        data_set = Dataset()
        data_set.PatientBirthDate = "1.4.1970"
        data_set.PatientID = "x" * 65
    assert caught == []


@pytest.mark.parametrize("told", [{"nodaemon": True}, {"logfile": "-"}])
def test_in_the_foreground_the_log_goes_to_stdout(told: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdout", out := io.StringIO())
    observer = log_observer("json", "info", told)
    assert observer is not None
    observer(event(format="hello"))
    assert json.loads(out.getvalue())["message"] == "hello"


@pytest.mark.parametrize(("told", "name"), [({"logfile": "other.log"}, "other.log"), ({}, "twistd.log")])
def test_a_log_file_is_appended_to(
    told: dict[str, Any], name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / name).write_text("before\n")
    observer = log_observer("text", "info", told)
    assert observer is not None
    observer(event(format="hello"))
    before, line = (tmp_path / name).read_text().splitlines()
    assert before == "before"
    assert line.endswith(" [tests#info] hello")


@pytest.mark.parametrize(("level", "seen"), [
    ("debug", "debug info warn error critical"), ("info", "info warn error critical"), ("warn", "warn error critical"),
    ("error", "error critical"), ("critical", "critical"),
])  # fmt: skip
def test_a_level_and_what_is_more_serious(level: str, seen: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdout", out := io.StringIO())
    observer = log_observer("json", level, {"nodaemon": True})
    assert observer is not None
    for each in LogLevel.iterconstants():
        observer(event(level=each, format="hello"))
    assert {json.loads(line)["level"] for line in out.getvalue().splitlines()} == set(seen.split())


# The log of a service

def test_every_line_is_json_and_one_id_goes_through_an_association(node: Node, pki: Path) -> None:
    node.set("node", log_format="json")
    with node.running() as service:
        used(service, pki)
        service.expect("NOBODY")
    lines = [json.loads(line) for line in service.log.splitlines()]
    assert all(line.keys() >= {"time", "level", "namespace", "message"} for line in lines)
    ours = [line for line in lines if "association" in line]
    started, ended, refused = ours
    assert started["association"] == ended["association"] != refused["association"]
    assert all(f"[{line['association']}]" in line["message"] for line in ours)
    assert all(line["namespace"] == "dimsetls.association" for line in ours)
    for line in started, ended:
        assert line["calling_ae_title"] == "SENDER"
        assert line["called_ae_title"] == "DIMSETLS"
        assert re.fullmatch(r"127\.0\.0\.1:\d+", line["peer"])
        assert "CN=dimsetls development client" in line["certificate"]
        assert line["protection"].startswith("TLSv1.3 TLS_")
    assert (started["contexts_accepted"], started["contexts_proposed"]) == (2, 2)
    assert started["implementation"] == "SENDER"
    counted = {name: ended[name] for name in ("outcome", "operations", "failures", "instances", "octets")}
    size = len(data_set(instance_uid(1), 1000))
    assert counted == {"outcome": "released", "operations": 1, "failures": 0, "instances": 1, "octets": size}
    assert 0 <= ended["seconds"] < 30
    assert (refused["level"], refused["result"], refused["source"], refused["reason"]) == ("warn", 1, 1, 7)


def test_text_has_a_line_for_the_start_and_the_end_of_an_association(node: Node, pki: Path) -> None:
    with node.running() as service:
        used(service, pki)
        (refused,) = service.expect("NOBODY")
        (started,) = service.expect(r"\bstarted SENDER at 127\.0\.0\.1:\d+ to DIMSETLS\b")
        (released,) = service.expect(r"\breleased SENDER at 127\.0\.0\.1:\d+ to DIMSETLS: 1 operations, 0 failed, 1 ")
    ids = [re.findall(r"\[([0-9a-f]{8})\]", line) for line in (started, released, refused)]
    assert ids[0] == ids[1] != ids[2]
    assert all(len(each) == 1 for each in ids)
    assert re.search(r"TLSv1\.3 TLS_\w+.*CN=dimsetls development client.*2 of 2 contexts.*SENDER", started)
    assert f"{len(data_set(instance_uid(1), 1000))} bytes in 0." in released
    assert "#warn]" in refused
    assert "A-ASSOCIATE-RJ (1,1,7)" in refused
    assert len(service.lines(r"dimsetls\.association#")) == 3


def test_the_level_filters_what_a_service_says(node: Node, pki: Path) -> None:
    log = node.directory / "log"
    node.set("node", log_level="warn")
    node.set("listener main", port=None, endpoint=f"unix:{node.directory}/s")
    service = Service(node.command("--nodaemon", "--pidfile=", f"--logfile={log}"), cwd=node.directory)
    try:
        # It does not say that it has started.
        eventually(lambda: serves(node), "the socket did not appear")
        with pytest.raises(Rejected):
            Sender(connect(f"{node.directory}/s", client_context(pki)), called="NOBODY")
        eventually(lambda: "NOBODY" in log.read_text(), "the refusal was not logged")
        service.stop()
    finally:
        service.kill()
    (line,) = log.read_text().splitlines()
    assert "#warn] " in line
    assert service.log == ""


def serves(node: Node) -> bool:
    try:
        Sender(connect(f"{node.directory}/s", client_context(node.pki))).release()
    except OSError:
        return False
    return True


@pytest.mark.parametrize("log_format", ["text", "json"])
def test_a_log_file_has_what_stdout_would_have(node: Node, pki: Path, log_format: str) -> None:
    node.set("node", log_format=log_format)
    log = node.directory / "log"
    service = Service(node.command("--nodaemon", "--pidfile=", f"--logfile={log}"), cwd=node.directory)
    try:
        eventually(lambda: log.exists() and " listens on " in log.read_text(), "it did not start to listen")
        port = int(re.findall(r" listens on 127\.0\.0\.1:(\d+)", log.read_text())[0])
        with Sender(connect(("127.0.0.1", port), client_context(pki))) as sender:
            assert sender.echo() == 0x0000
            sender.release()
        service.stop()
    finally:
        service.kill()
    assert service.log == ""
    text = log.read_text()
    assert [word in text for word in ("started SENDER", "released SENDER", "stopped")] == [True] * 3
    if log_format == "json":
        assert all(json.loads(line)["message"] for line in text.splitlines())
    node.assert_discreet(text)


def test_a_peer_cannot_forge_a_line(node: Node, pki: Path) -> None:
    request = write_pdu(AssociateRQ(
        "DIMSETLS", "FORGER", APPLICATION_CONTEXT,
        (PresentationContextRQ(1, VERIFICATION, (EXPLICIT_VR_LITTLE_ENDIAN,)),),
        UserInformation(16384, IMPLEMENTATION, "IMPLEMENTATION-N"),
    ))  # fmt: skip
    with node.running() as service:
        for old, new in (b"FORGER", b"A\n[x]\x1b"), (b"IMPLEMENTATION-N", b"A\n\r\x1b[2J released"):
            assert len(old) == len(new)
            with connect(("127.0.0.1", service.port()), client_context(pki)) as connection:
                connection.sendall(request.replace(old, new))
                assert connection.recv(6)
        assert len(service.expect(r"\\n", 2)) >= 2  # escaped
    for line in service.log.split("\n"):
        assert re.match(r"20\d\d-\d\d-\d\dT\S+ \[", line)
        assert line.isprintable()
