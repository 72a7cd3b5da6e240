"""One line each for start, refusal and end, one id through all of them, and nothing in them that forges or betrays."""

from __future__ import annotations

import io
import json
from typing import Any

import pytest
from twisted.logger import LogLevel, eventAsText, formatEvent, jsonFileLogObserver

from dimsetls.association.admission import Refusal
from dimsetls.association.events import (
    AssociationEnded,
    AssociationLog,
    AssociationRefused,
    AssociationStarted,
    ConnectionFailed,
    Parties,
    printable,
)
from dimsetls.association.requests import StoreRequest
from dimsetls.errors import ServiceError
from dimsetls.testing import Peer
from dimsetls.tls.faults import TransportFault
from dimsetls.ul.pdus import Abort, AssociateAC, ReleaseRQ

from .stage import Services, Stage, context, data_set, echo, request, statuses, store, store_command
from .test_acceptor import titled

NAME, UID = b"Doe^Jane", b"1.2.826.0.1.3680043.8.498.77"
EVIL = "EVIL\n\x1b[31mAE"


def lines(logged: list[dict[str, Any]]) -> list[str]:
    return [formatEvent(event) for event in logged if event["log_namespace"] == "dimsetls.association"]


def logging_stage(**keywords: Any) -> Stage:
    return Stage(observers=[AssociationLog()], **keywords)


def test_an_association_is_two_lines_with_one_id(authority, logged):
    stage = logging_stage(tls=authority)
    peer = stage.associated()
    peer.send(echo(), store(b"1234567890", 2), ReleaseRQ())
    stage.link.advance(2.5)
    peer.close()
    started, ended = lines(logged)
    identity = started[1:9]
    assert set(identity) <= set("0123456789abcdef")
    assert started == (
        f"[{identity}] started PEER at 192.0.2.1:50000 to DIMSETLS (TLSv1.3 TLS_AES_256_GCM_SHA384, CN=dimsetls "
        "development client,O=dimsetls DEVELOPMENT - not for clinical use), 2 of 2 contexts, peer is A_PEER"
    )
    assert ended == (
        f"[{identity}] released PEER at 192.0.2.1:50000 to DIMSETLS: "
        "2 operations, 0 failed, 1 instances, 10 bytes in 2.5 s"
    )
    assert [event["log_level"] for event in logged] == [LogLevel.info] * 2


def test_a_refused_association_is_one_line(logged):
    stage = logging_stage()
    peer = stage.peer()
    peer.send(request(called="OTHER"))
    peer.close()
    [line] = lines(logged)
    assert line[10:] == (
        " refused PEER at 192.0.2.1:50000 to OTHER (no TLS, no certificate) with A-ASSOCIATE-RJ (1,1,7): "
        "'OTHER' was called; AE titles here are DIMSETLS"
    )
    assert logged[0]["log_level"] is LogLevel.warn


def test_a_refusal_that_is_an_alert_stands_out(logged):
    stage = logging_stage(admits=lambda caller: Refusal("the title is another's", is_security_alert=True))
    stage.peer().send(request())
    [line] = lines(logged)
    assert line[10:].startswith(" SECURITY ALERT: refused PEER at 192.0.2.1:50000")
    assert logged[0]["log_level"] is LogLevel.error


def test_a_connection_that_fails_is_one_line_with_what_was_seen(authority, logged):
    stage = logging_stage(tls=authority)
    peer = Peer.connect(stage.link)
    peer.dataReceived = lambda data: None
    peer.send(b"GET / HTTP/1.1\r\n\r\n")
    peer.close()
    [line] = lines(logged)
    assert " no association with 192.0.2.1:50000: The peer speaks HTTP on a port for DICOM over TLS" in line
    assert "(http: " in line
    assert "first bytes 47 45 54 20" in line


@pytest.mark.parametrize(("end", "outcome"), [
    (lambda peer: peer.send(Abort(0, 0)), "aborted PEER"),
    (lambda peer: peer.send(b"\xff"), "provider-aborted PEER"),
    (Peer.cut, "provider-aborted PEER"),
    (lambda peer: peer._link.pump([40.0] * 10), "expired PEER"),
])  # fmt: skip
def test_an_end_out_of_order_is_a_warning_that_says_why(logged, end, outcome):
    stage = logging_stage()
    peer = stage.associated()
    end(peer)
    peer.close()
    started, ended = lines(logged)
    assert started[:10] == ended[:10]
    assert ended[11:].startswith(outcome)
    assert len(ended.split(" s; ", 1)[1]) > 20
    assert logged[-1]["log_level"] is LogLevel.warn


def test_a_failed_operation_makes_the_end_a_warning(logged):
    async def refuse(request: StoreRequest) -> int:
        raise ServiceError(0xA700, "full")

    peer = logging_stage(services=Services(refuse)).associated()
    peer.send(store(b""), ReleaseRQ())
    peer.close()
    _, refusal, ended = lines(logged)
    assert refusal.endswith("answered A700H to message 1 of PEER: full")
    assert "1 operations, 1 failed, 0 instances" in ended
    assert logged[-1]["log_level"] is LogLevel.warn


def test_what_the_peer_chooses_is_escaped_in_line_and_fields(logged):
    stage = logging_stage()
    stage.peer().send(titled(EVIL.encode(), b"X\r\nY\\"))
    [line] = lines(logged)
    assert line.isascii()
    assert line.isprintable()
    assert "EVIL\\n\\x1b[31mAE at 192.0.2.1:50000" in line
    assert logged[0]["calling_ae_title"] == "EVIL\\n\\x1b[31mAE"
    assert logged[0]["called_ae_title"] == "X\\r\\nY\\\\"
    assert "\n" not in eventAsText(logged[0])


def test_an_implementation_name_is_escaped_too(logged):
    stage = logging_stage()
    stage.peer().send(request(implementation_version_name="E\nVIL\x7f"))
    [line] = lines(logged)
    assert line.endswith("peer is E\\nVIL\\x7f")


def test_braces_of_the_peer_are_text_and_no_format(logged):
    stage = logging_stage()
    stage.peer().send(titled(b"{association}"))
    assert lines(logged)[0][10:].startswith(" started {association} at 192.0.2.1:50000")


def test_every_field_can_be_written_as_json(authority, logged):
    stage = logging_stage(tls=authority)
    peer = stage.associated()
    peer.close()
    Peer.connect(stage.link).cut()
    out = io.StringIO()
    for event in logged:
        jsonFileLogObserver(out, "")(event)
    records = [json.loads(line) for line in out.getvalue().splitlines()]
    assert [record["association"] == records[0]["association"] for record in records] == [True, True, False]
    ended = records[1]
    assert (ended["outcome"], ended["octets"], ended["provider_reason"]) == ("provider-aborted", 0, 0x404)
    assert records[2]["fault"] == "closed-in-handshake"


def test_no_patient_data_and_no_instance_is_in_any_line_or_field(logged):
    async def careless(request: StoreRequest) -> int:
        if request.message.message_id == 1:
            raise ServiceError(0xC000, "cannot understand")
        await request.data.read()
        return 0

    data = b"\x10\x00\x10\x00\x08\x00\x00\x00" + NAME + b"\x10\x00\x20\x00\x1c\x00\x00\x00" + UID
    peer = logging_stage(services=Services(careless)).associated()
    for number in (1, 2):
        assert len(statuses(peer.send(store(data, number, instance=UID.decode())))) == 1
    peer.send(store_command(3, instance=UID.decode()), data_set(data)[:-1])
    peer.cut()
    everything = repr(logged).encode() + b"".join(line.encode() for line in lines(logged))
    assert NAME not in everything
    assert UID not in everything


class Failing:
    def observe(self, event: object) -> None:
        raise ValueError("the disk of the audit trail is full")


def test_a_failing_observer_is_logged_and_hinders_nobody(logged):
    stage = Stage()
    stage.factory._observers.insert(0, Failing())
    peer = stage.associated()
    assert statuses(peer.send(echo())) == [(1, 0)]
    peer.close()
    assert stage.kinds == ["AssociationStarted", "AssociationEnded"]
    failures = [event for event in logged if "log_failure" in event]
    assert [formatEvent(event).startswith("observer <") for event in failures] == [True, True]
    assert all(event["log_failure"].check(ValueError) for event in failures)
    assert stage.is_quiet


def test_all_of_one_connection_is_told_under_one_id_and_of_another_under_another():
    stage = Stage()
    first, second = stage.peer(), stage.peer()
    for peer in (first, second):
        assert isinstance(peer.send(request())[0], AssociateAC)
    for peer in (second, first):
        peer.close()
    ids = [event.parties.association for event in stage.events]
    assert ids == [ids[0], ids[1], ids[1], ids[0]]
    assert ids[0] != ids[1]


PARTIES = Parties("0badcafe", "192.0.2.1:1", "A", "B")


@pytest.mark.parametrize("event", [
    ConnectionFailed(PARTIES, TransportFault.named("truncated", detail="a \x1b detail")),
    AssociationRefused(PARTIES, "why \x1b not"), AssociationRefused(PARTIES, "why \x1b not", 1, 1, 1),
    AssociationStarted(PARTIES, 1, 2, "some \x1b system"),
    AssociationEnded(PARTIES, "released", "", None, 1, 0, 1, 2, 0.1234),
    AssociationEnded(PARTIES, "provider-aborted", "some \x1b thing", 0x401, 1, 0, 1, 2, 0.1234),
])  # fmt: skip
def test_every_event_is_a_printable_line_without_holes(logged, event):
    AssociationLog().observe(event)
    [line] = lines(logged)
    assert line.startswith("[0badcafe] ")
    assert line.isprintable()
    assert "{" not in line
    assert "Unable to format" not in line


@pytest.mark.parametrize(("text", "escaped"), [
    ("plain", "plain"), ("", ""), ("tab\t", "tab\\t"), ("É", "\\xc9"), ("\u202e", "\\u202e"), ("a\\b", "a\\b"),
    ("RFC 9325 §4.4", "RFC 9325 §4.4"), ("§É§\n", "§\\xc9§\\n"),
])  # fmt: skip
def test_printable(text, escaped):
    assert printable(text) == escaped


def test_a_context_is_counted_whether_or_not_it_was_accepted():
    stage = Stage()
    stage.peer().send(request(context(1, "1.2.3"), context(3, "1.2.4")))
    started = stage.told(AssociationStarted)
    assert (started.contexts_accepted, started.contexts_proposed) == (0, 2)
