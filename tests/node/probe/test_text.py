import json
import re
from dataclasses import replace

from dimsetls.node.probe.hello import TLS_1_1, SuiteClass
from dimsetls.node.probe.observations import Language, Observations
from dimsetls.node.probe.text import WIDTH, as_json, as_text, describe
from dimsetls.node.probe.verdict import REQUIREMENTS, judge

from .sightings import ACCEPTED, CERTIFICATE, DAMAGED, EXEMPLARY, IN_1_3, NOW, but, hello, refused, rejected

ESCAPE = re.compile("\x1b\\[[0-9;]*m")
WEAK = but(
    old_versions={TLS_1_1: hello(*SuiteClass, taken=0x2F, version=TLS_1_1)},
    impostor=None,
    stranger=replace(IN_1_3, association=ACCEPTED, certificate_requested=False),
    unknown_caller__association=DAMAGED,
)


def text(seen, **wishes):
    return "\n".join(as_text(seen, judge(seen), **wishes))


def test_a_report_has_the_verdict_the_facts_the_requirements_and_what_to_do():
    report = text(WEAK)
    first, empty, seen, versions, *lines = report.splitlines()
    assert first == "pacs.example:2762 does not conform to PS3.15 B.12: requirement 1."
    assert (empty, seen) == ("", "Seen in 14 connections")
    accepted = "accepted: TLS 1.3, TLS 1.2, TLS 1.1; unknown: TLS 1.0, SSL 3.0; preferred: TLS 1.3"
    assert versions == f"  TLS versions          {accepted}"
    assert "   1  not met     shall        complies with BCP 195 (RFC 8996 and RFC 9325)" in lines
    fault = lines.index("  fault    It accepts TLS 1.1, which MUST NOT be negotiated (RFC 8996).")
    assert lines[fault + 1] == "           Let TLS 1.2 be the oldest version there."
    assert len(re.findall("^ {2,3}[0-9]+  ", report, re.MULTILINE)) == len(REQUIREMENTS)


def test_lines_fit_a_terminal():
    assert max(map(len, text(EXEMPLARY).splitlines())) <= WIDTH
    assert max(map(len, text(WEAK).splitlines())) <= WIDTH


def test_colours_are_asked_for_and_change_no_word():
    assert "\x1b" not in text(WEAK)
    assert ESCAPE.sub("", text(WEAK, colours=True)) == text(WEAK)
    assert "\x1b[31m" in text(WEAK, colours=True)
    assert "\x1b[31m" not in text(EXEMPLARY, colours=True)


def test_a_peer_cannot_write_on_the_terminal():
    evil = replace(CERTIFICATE, subject="CN=\x1b[2Jgood\x07", not_after=NOW)
    seen = but(stranger__chain=(evil,), client__association=replace(ACCEPTED, implementation_version_name="\x1b[0m\n"))
    report = text(seen)
    assert "good" in report
    assert all(line.isprintable() for line in report.splitlines())


def test_facts():
    facts = dict(describe(EXEMPLARY))
    suites = "TLS_AES_256_GCM_SHA384 (TLS 1.3); ECDHE-ECDSA-AES256-GCM-SHA384 (TLS 1.2)"
    assert facts["Cipher suites"].startswith(f"{suites}; refused: without encryption (NULL), ")
    assert facts["Groups"] == "P-256, X25519"
    assert facts["Application protocol"] == (
        "ALPN dicom selected; offered h2 and http/1.1 only: alert 120 no_application_protocol"
    )
    assert facts["Server name"] == "pacs.example sent; a name that does not exist: alert 112 unrecognized_name"
    assert facts["Revocation"] == "CRL http://ca.example/crl; stapled response: none"
    assert facts["Client certificate"] == (
        "demanded; none: alert 116 certificate_required; one made up: alert 48 unknown_ca; ours: accepted"
    )
    assert facts["Renegotiation"] == "alert 100 no_renegotiation"
    assert facts["Compression"] == "offered, not used"
    assert facts["Session tickets"] == "none; early data: none"
    assert facts["Association"] == "DIMSETLS to PACS: accepted"
    assert facts["Implementation"] == "PACS_1 1.2.3; maximum length 16384"
    assert facts["C-ECHO"] == "status 0000H"
    assert facts["SOP classes"] == "1 of 1 accepted"
    assert facts["Unknown called AE"] == "rejected: called AE title not recognized"
    assert facts["User identity"] == "not answered"
    assert facts["Damaged record"] == "alert 20 bad_record_mac"


def test_fewer_facts_where_less_was_seen():
    seen = but(client=replace(IN_1_3, reaction=refused(48), words="peer-unknown-ca"), impostor=None, ordinary=None)
    facts = dict(describe(seen))
    assert facts["Association"] == "none: peer-unknown-ca"
    assert "Compression" not in facts
    assert dict(describe(but(client__association=rejected(3))))["Association"] == "DIMSETLS to PACS: reason 3"


def test_nothing_but_a_headline_where_there_is_nobody():
    seen = Observations("pacs.example", 104, NOW, Language.NOTHING, 1, trouble="Connection refused")
    assert text(seen) == "pacs.example:104 could not be reached: Connection refused."


def test_plain_dicom_is_described_too():
    seen = Observations("pacs.example", 104, NOW, Language.DICOM, 2, plain=ACCEPTED)
    assert "  Association           DIMSETLS to PACS: accepted\n" in text(seen)


def test_json_has_everything():
    found = json.loads(as_json(WEAK, judge(WEAK)))
    assert (found["conclusion"], found["exit_status"]) == ("not-conformant", 1)
    assert [each["number"] for each in found["requirements"]] == [each.number for each in REQUIREMENTS]
    assert found["requirements"][0] | {"evidence": ""} == {
        "number": 1, "strength": "shall", "text": REQUIREMENTS[0].text, "status": "not met", "evidence": "",
    }  # fmt: skip
    assert found["findings"][0]["weight"] == "fault"
    assert found["facts"] == dict(describe(WEAK))
    observed = found["observations"]
    assert observed["when"] == NOW.isoformat()
    assert observed["client"]["reaction"] == {"ending": "completed", "alert": None}
    assert observed["old_versions"][str(TLS_1_1)]["flight"]["suite"] == 0x2F
    assert observed["client"]["chain"][0]["names"] == ["pacs.example"]
