"""The judgement, from observations made by hand: no network."""

from dataclasses import replace
from datetime import timedelta

import pytest

from dimsetls.node.probe.examination import DISCOURAGED, FORBIDDEN, OLD
from dimsetls.node.probe.findings import Weight
from dimsetls.node.probe.hello import (
    CLASS_OF,
    DEFLATE,
    TLS_1_0,
    TLS_1_1,
    SuiteClass,
)
from dimsetls.node.probe.observations import Answer, Ending, Language, Observations, Reaction, SessionSeen
from dimsetls.node.probe.verdict import REQUIREMENTS, Conclusion, Status, Strength, judge
from dimsetls.tls.flights import ENCRYPT_THEN_MAC, RENEGOTIATION_INFO

from .sightings import (
    ACCEPTED,
    CERTIFICATE,
    DAMAGED,
    EXEMPLARY,
    FLIGHT_1_2,
    IN_1_2,
    IN_1_3,
    NOW,
    SAFE,
    TOOK,
    but,
    certified,
    everywhere,
    hello,
    refused,
    rejected,
)

RSA_AES_CBC, ECDHE_CBC, DHE_GCM, RSA_NULL, ANONYMOUS, RC4, TRIPLE_DES = 0x2F, 0xC013, 0x9F, 0x02, 0xC018, 0x05, 0x0A
LEFT = frozenset(FORBIDDEN)


def status(seen, number):
    (judgement,) = [each for each in judge(seen).judgements if each.requirement.number == number]
    return judgement.status


def findings(seen, weight):
    return [finding.sentence for finding in judge(seen).findings if finding.weight is weight]


def test_the_exemplary_peer_conforms_without_a_word():
    verdict = judge(EXEMPLARY)
    assert verdict.conclusion is Conclusion.CONFORMANT
    assert verdict.headline == "pacs.example:2762 conforms to PS3.15 B.12 as far as can be seen from outside."
    assert verdict.findings == ()
    unseen = {each.requirement.number for each in verdict.judgements if each.status is not Status.MET}
    assert unseen == {5, 8, 11, 16, 17}, "what a client does and what a document says is not to be seen"


def test_every_requirement_of_the_table_is_judged_once_in_order():
    numbers = [1, *range(3, 18)]
    assert [each.number for each in REQUIREMENTS] == numbers
    assert [each.requirement.number for each in judge(EXEMPLARY).judgements] == numbers
    assert [each.number for each in REQUIREMENTS if each.strength is not Strength.SHALL] == [4, 11, 12, 14]


FAULTS = {
    "TLS 1.1": (1, "TLS 1.1", but(old_versions={TLS_1_1: hello(*OLD, taken=RSA_AES_CBC, version=TLS_1_1)})),
    "a hole": (1, "TLS 1.0", but(old_versions={TLS_1_1: hello(*OLD, taken=RSA_AES_CBC, version=TLS_1_0)})),
    "no TLS 1.2": (3, "does not speak TLS 1.2", but(
        tls12=SessionSeen(refused(70)), forbidden=(), discouraged=(), dhe=None, ordinary=None, small_groups=None)),
    "downgrade": (6, "chose an older version", but(stranger=replace(IN_1_2, reaction=refused(40)),
                                                   client=replace(IN_1_2, association=ACCEPTED))),
    "early data": (1, "early data", but(client__early_data=16384)),
    "NULL": (9, "TLS_RSA_WITH_NULL_SHA", but(forbidden=(hello(*FORBIDDEN, taken=RSA_NULL),))),
    "anonymous": (9, "anonymous", but(forbidden=(hello(*FORBIDDEN, taken=ANONYMOUS),))),
    "RC4": (1, "RC4", but(forbidden=(hello(*FORBIDDEN, taken=RC4), hello(*LEFT - {SuiteClass.BROKEN})))),
    "small DHE": (1, "1024 bits", but(dhe=hello(SuiteClass.DHE, taken=DHE_GCM, dh_bits=1024))),
    "small group": (1, "sect163k1", but(small_groups=hello(SuiteClass.RECOMMENDED, taken=0xC02C, group="sect163k1"))),
    "no forward secrecy": (1, "no suite with forward secrecy", but(
        tls12=SessionSeen(refused(40)), ordinary=hello(SuiteClass.RECOMMENDED),
        discouraged=(hello(*DISCOURAGED, taken=RSA_AES_CBC), hello(SuiteClass.TRIPLE_DES, SuiteClass.CBC)))),
    "forward secrecy not preferred": (1, "without forward secrecy (§4.1: MUST prefer", but(
        client=replace(IN_1_2, association=ACCEPTED, flight=replace(FLIGHT_1_2, suite=RSA_AES_CBC, downgraded=False)),
        stranger=replace(IN_1_2, reaction=refused(40), flight=replace(FLIGHT_1_2, downgraded=False)))),
    "no renegotiation_info": (1, "renegotiation_info", but(
        tls12__flight=replace(FLIGHT_1_2, extensions=SAFE - {RENEGOTIATION_INFO}))),
    "no extensions at all": (1, "renegotiation_info and extended_master_secret", but(
        tls12__flight=replace(FLIGHT_1_2, extensions=frozenset()))),
    "another name": (1, "for pacs.example, but for other.example", but(
        stranger__name_matches=False, stranger__chain=(replace(CERTIFICATE, names=("other.example",)),))),
    "no name": (1, "no name at all", but(
        stranger__name_matches=False, stranger__chain=(replace(CERTIFICATE, names=()),))),
    "untrusted": (1, "unable to get local issuer", but(stranger__untrusted="unable to get local issuer certificate")),
    "expired": (1, "expired on 2026-05-03", certified(not_after=NOW - timedelta(days=1))),
    "not yet valid": (1, "not valid before 2026-05-05", certified(not_before=NOW + timedelta(days=1))),
    "small RSA": (1, "RSA of 1024 bits", certified(key="RSA", key_bits=1024)),
    "small EC": (1, "ECDSA of 192 bits", certified(key_bits=192)),
    "DSA": (1, "DSA of 2048 bits", certified(key="DSA", key_bits=2048)),
    "SHA-1": (1, "SHA1", certified(signature_hash="sha1")),
    "a client's certificate": (1, "extended key usage", certified(serves=False)),
    "revoked": (1, "staples says: revoked", but(stranger__staple="revoked")),
    "anybody's certificate": (10, "takes any", but(impostor=replace(IN_1_3, association=ACCEPTED))),
    "HTTP beside it": (13, "agreed to h2", but(other_protocols=replace(IN_1_3, alpn="h2"))),
}


@pytest.mark.parametrize(("number", "words", "seen"), FAULTS.values(), ids=FAULTS)
def test_what_is_forbidden_costs_conformance(number, words, seen):
    verdict = judge(seen)
    assert [words in sentence for sentence in findings(seen, Weight.FAULT)].count(True) == 1
    assert status(seen, number) is Status.NOT_MET
    assert verdict.conclusion is Conclusion.NOT_CONFORMANT
    assert f"requirement {number}." in verdict.headline
    assert all(finding.advice for finding in verdict.findings if finding.weight is Weight.FAULT)


WARNINGS = {
    "no TLS 1.3": (4, "does not speak TLS 1.3", everywhere(flight=replace(FLIGHT_1_2, downgraded=False))),
    "static RSA": (1, "static RSA", but(discouraged=(
        hello(*DISCOURAGED, taken=RSA_AES_CBC), hello(SuiteClass.TRIPLE_DES, SuiteClass.CBC)))),
    "3DES": (1, "3DES", but(discouraged=(hello(*DISCOURAGED, taken=TRIPLE_DES), hello(*DISCOURAGED[1:])))),
    "CBC": (1, "with CBC", but(discouraged=(hello(*DISCOURAGED, taken=ECDHE_CBC),))),
    "DHE": (1, "DHE (2048 bits)", but(dhe=hello(SuiteClass.DHE, taken=DHE_GCM, dh_bits=2048))),
    "other suites": (1, "none of the suites of §4.2", but(
        tls12=SessionSeen(refused(40)), ordinary=hello(SuiteClass.RECOMMENDED),
        discouraged=(hello(*DISCOURAGED, taken=ECDHE_CBC, extensions=SAFE | {ENCRYPT_THEN_MAC}),))),
    "no P-256": (1, "P-256", but(ordinary=hello(SuiteClass.RECOMMENDED))),
    "compression": (1, "compresses", but(ordinary=hello(SuiteClass.RECOMMENDED, taken=0xC02C, compression=DEFLATE))),
    "renegotiation": (1, "renegotiate", but(tls12__renegotiation=TOOK)),
    "soon": (1, "expires in 29 days", certified(not_after=NOW + timedelta(days=29, hours=1))),
    "strangers": (12, "asks for no client certificate", but(
        stranger=replace(IN_1_3, association=ACCEPTED, certificate_requested=False), impostor=None)),
    "strangers too": (12, "does without", but(stranger=replace(IN_1_3, association=ACCEPTED), impostor=None)),
    "other protocols": (1, "offers h2 and http/1.1 only", but(other_protocols=replace(IN_1_3, alpn=""))),
    "no ALPN": (1, "no notice of ALPN", but(other_protocols=replace(IN_1_3, alpn=""), client__alpn="")),
    "other names": (1, "a name it does not have", but(other_name=IN_1_3)),
}


@pytest.mark.parametrize(("number", "words", "seen"), WARNINGS.values(), ids=WARNINGS)
def test_what_is_advised_against_does_not(number, words, seen):
    verdict = judge(seen)
    (finding,) = verdict.findings
    assert words in finding.sentence
    assert (finding.weight, finding.requirement) == (Weight.WARNING, number)
    assert finding.advice
    assert verdict.conclusion is Conclusion.CONFORMANT
    (first, *_) = verdict.judgements
    assert ("1 warning, see what to do" in first.evidence) is (number == 1)


NOTES = {
    "nothing about revocation": ("how clients learn of a revocation", certified(crl_urls=())),
    "ALPN or nothing": ("no ALPN", but(ordinary=hello(SuiteClass.RECOMMENDED, alert=120))),
    "wrong title": ("does not know the AE title PACS", but(client__association=rejected(7))),
    "rejected": ("no association: reason 1", but(client__association=rejected(1))),
    "no verification": ("Verification SOP Class", but(client__association=replace(ACCEPTED, contexts={}))),
    "echo failed": ("status 0122H", but(client__association=replace(ACCEPTED, echo=0x0122))),
    "echo unanswered": ("no answer", but(client__association=replace(ACCEPTED, echo=None))),
    "any called title": ("any called AE title", but(nobody__association=ACCEPTED)),
    "any calling title": ("any calling AE title", but(unknown_caller__association=DAMAGED)),
    "our certificate": ("refused our client certificate (alert 48 unknown_ca)", but(
        client=replace(IN_1_3, reaction=refused(48), certificate_authorities=("CN=theirs",)))),
    "by address": ("one of its names", but(stranger=SessionSeen(refused(112)))),
    "no certificate of ours": ("none was given", but(client=None, has_certificate=False)),
}


@pytest.mark.parametrize(("words", "seen"), NOTES.values(), ids=NOTES)
def test_the_rest_is_noted(words, seen):
    verdict = judge(seen)
    (finding,) = verdict.findings
    assert words in finding.sentence
    assert finding.weight is Weight.NOTE
    assert verdict.conclusion is Conclusion.CONFORMANT


def test_the_authorities_that_the_peer_trusts_are_named():
    client = replace(IN_1_3, reaction=refused(48), certificate_authorities=("CN=theirs", "CN=others"))
    (finding,) = judge(but(client=client)).findings
    assert finding.advice.endswith("from an authority that it trusts: CN=theirs; CN=others.")


def test_a_root_may_be_signed_as_it_likes_but_not_be_out_of_date():
    root = replace(CERTIFICATE, subject="CN=authority", signature_hash="sha1")
    assert judge(but(stranger__chain=(CERTIFICATE, root))).findings == ()
    old = replace(root, not_after=NOW - timedelta(days=1))
    assert len(findings(but(stranger__chain=(CERTIFICATE, old)), Weight.FAULT)) == 1


def test_cbc_passes_with_encrypt_then_mac():
    extensions = SAFE | {ENCRYPT_THEN_MAC}
    assert judge(but(discouraged=(hello(*DISCOURAGED, taken=ECDHE_CBC, extensions=extensions),))).findings == ()


def test_another_port_is_no_fault():
    assert status(but(port=11112), 14) is Status.NOT_MET
    assert judge(but(port=11112)).conclusion is Conclusion.CONFORMANT


@pytest.mark.parametrize(("reaction", "expected"), [
    (Reaction(Ending.REFUSED, 20), Status.MET),
    (Reaction(Ending.CLOSED), Status.MET),
    (Reaction(Ending.SILENT), Status.NOT_MET),
    (None, Status.NOT_TESTED),
])
def test_what_becomes_of_a_damaged_record(reaction, expected):
    seen = but(identity__association=replace(DAMAGED, damaged_record=reaction))
    assert status(seen, 15) is expected
    assert (judge(seen).conclusion is Conclusion.CONFORMANT) is (expected is not Status.NOT_MET)


def test_what_was_not_asked_is_not_tested():
    seen = but(forbidden=(), discouraged=(), dhe=None, other_protocols=None, unknown_caller=None, identity=None)
    assert [status(seen, number) for number in (1, 9, 13, 15)] == [Status.NOT_TESTED] * 4
    assert judge(seen).conclusion is Conclusion.NOT_CONFORMANT
    assert judge(seen).headline.endswith("B.12: requirements 1 and 9 could not be tested.")


def test_a_class_beyond_the_last_connection_stays_unknown():
    """RC4 was taken, and there was no connection left to ask for NULL alone."""
    seen = but(forbidden=(hello(*FORBIDDEN, taken=RC4),))
    assert CLASS_OF[RC4] is SuiteClass.BROKEN
    assert status(seen, 9) is Status.NOT_TESTED


def test_a_peer_that_asks_for_no_certificate_may_be_so_configured():
    stranger = replace(IN_1_3, association=ACCEPTED, certificate_requested=False)
    seen = replace(everywhere(certificate_requested=False), stranger=stranger, impostor=None)
    assert status(seen, 10) is Status.UNSEEN
    assert judge(seen).conclusion is Conclusion.CONFORMANT


def test_tls_that_shares_nothing_with_us_is_not_conformant():
    nothing = SessionSeen(refused(40))
    seen = Observations("pacs.example", 2762, NOW, Language.TLS, 12, stranger=nothing, tls12=nothing,
                        old_versions={TLS_1_1: hello(*OLD)}, forbidden=(hello(*FORBIDDEN),))
    assert judge(seen).conclusion is Conclusion.NOT_CONFORMANT


def test_tls_that_fell_silent_is_not_conformant_either():
    silent = SessionSeen(Reaction(Ending.SILENT), first_bytes=b"\x16\x03\x03")
    seen = Observations("pacs.example", 2762, NOW, Language.TLS, 12, stranger=silent, tls12=silent)
    assert judge(seen).conclusion is Conclusion.NOT_CONFORMANT
    assert status(seen, 3) is Status.NOT_TESTED


def test_plain_dicom():
    verdict = judge(but(language=Language.DICOM))
    assert verdict.conclusion is Conclusion.NOT_CONFORMANT
    assert {each.requirement.number for each in verdict.judgements if each.status is Status.NOT_MET} == {1, 3, 7, 9}
    assert "without TLS" in verdict.headline


def association(answer):
    return {"client__association": replace(ACCEPTED, answer=answer, words="not a PDU")}


@pytest.mark.parametrize(("seen", "words"), [
    (but(trouble="Connection refused"), "could not be reached: Connection refused."),
    (but(language=Language.HTTP), "speaks HTTP without TLS"),
    (but(language=Language.OTHER), "neither TLS nor DICOM"),
    (but(language=Language.NOTHING), "answers neither"),
    (but(**association(Answer.HTTP)), "HTTP over TLS"),
    (but(**association(Answer.OTHER)), "not DICOM: not a PDU."),
    (but(**association(Answer.NOTHING)), "closed the connection"),
    (but(client__association=None, client__reaction=Reaction(Ending.SILENT)), "in time"),
    (but(client__association=None, client__reaction=Reaction(Ending.CLOSED), client__certificate_requested=False),
     "broke off"),
])
def test_no_dicom(seen, words):
    verdict = judge(seen)
    assert verdict.conclusion is Conclusion.NO_DICOM
    assert words in verdict.headline
    assert verdict.judgements == ()


def test_exit_statuses():
    assert [each.value for each in Conclusion] == [0, 1, 3]
