"""The statement says what the code does, all of it, and something else for another configuration."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from datetime import date
from html.parser import HTMLParser
from pathlib import Path

import pytest
from pydicom._uid_dict import UID_dictionary

import dimsetls
from dimsetls.codes import AbortSource, ProviderReason
from dimsetls.dimse.status import Status
from dimsetls.node.cli import main
from dimsetls.node.conformance.answers import ABORTS, CRITERIA, RESERVED, STATUSES
from dimsetls.node.conformance.chapters import statement
from dimsetls.node.conformance.offered import contexts, reached, services_of
from dimsetls.node.conformance.requirements import iana_name
from dimsetls.node.conformance.text import (
    Bullets,
    Document,
    Section,
    Table,
    code,
    good,
    html,
    markdown,
    see,
)
from dimsetls.node.init import init
from dimsetls.node.listener import ListenerService
from dimsetls.node.prepare import prepare
from dimsetls.node.reading import load
from dimsetls.node.service import NodeService
from dimsetls.services.models import MODELS
from dimsetls.tls.conditions import CONDITIONS, FaultClass
from dimsetls.tls.policy import PROFILES
from dimsetls.tls.revocation import CRLCheck

PACKAGE = Path(dimsetls.__file__).parent
STATEMENT = "node/conformance/"
TREES = {path.relative_to(PACKAGE).as_posix(): ast.parse(path.read_bytes()) for path in sorted(PACKAGE.rglob("*.py"))}


@pytest.fixture
def node(tmp_path: Path) -> Path:
    """The INI file of a node as `init` makes it."""
    init(tmp_path)
    return tmp_path / "dimsetls.ini"


def edit(ini: Path, *changes: tuple[str, str], more: str = "") -> None:
    text = ini.read_text()
    for old, new in changes:
        assert text.count(old) == 1, old
        text = text.replace(old, new)
    ini.write_text(text + more)


def stated(ini: Path) -> str:
    prepared = prepare(ini)
    return markdown(statement(prepared.config, prepared))


def section(text: str, title: str) -> str:
    """The section of that title, up to the next of its depth or above."""
    written = re.escape(title.replace("[", r"\[").replace("]", r"\]"))
    match = re.search(rf"^(#+) \S+ {written}$", text, re.MULTILINE)
    assert match, title
    rest = text[match.end():]
    end = re.search(rf"^#{{2,{len(match[1])}}} ", rest, re.MULTILINE)
    return rest[:end.start()] if end else rest


# What the code does -------------------------------------------------------------------------------------------------


def calls(name: str, *modules: str) -> Iterator[ast.Call]:
    """Calls of `name` in these modules, in all of them if none is named, in the order of the lines."""
    for module, tree in TREES.items():
        if (module in modules or not modules) and not module.startswith(STATEMENT):
            found = [each for each in ast.walk(tree) if isinstance(each, ast.Call) and ast.unparse(each.func) == name]
            yield from sorted(found, key=lambda each: each.lineno)


def members(enum: str) -> set[str]:
    """The members of an enumeration that code names, but for its own module and the statement's."""
    return {
        each.attr for module, tree in TREES.items() if not module.startswith(STATEMENT)
        for each in ast.walk(tree)
        if isinstance(each, ast.Attribute) and isinstance(each.value, ast.Name) and each.value.id == enum
    }


def test_every_rejection_is_stated_in_the_order_in_which_the_code_judges() -> None:
    judged = [
        ast.literal_eval(call.args[0])
        for module in ("association/admission.py", "association/acceptor.py") for call in calls("Rejection", module)
    ]
    assert [criterion.what for criterion in CRITERIA if criterion.what] == judged, "correct CRITERIA"


def test_nothing_else_makes_a_rejection() -> None:
    made = {module for module, tree in TREES.items() for each in ast.walk(tree)
            if isinstance(each, ast.Call) and ast.unparse(each.func) == "AssociateRJ"}
    assert made == {"association/acceptor.py", "identity/http/outcomes.py", "ul/actions.py", "ul/reader.py"}
    (by_provider,) = calls("AssociateRJ", "ul/actions.py")
    result, source, reason = (ast.unparse(argument) for argument in by_provider.args)
    assert (result, source, reason) == ("RejectResult.REJECTED_PERMANENT", "RejectSource.SERVICE_PROVIDER_ACSE", "2")
    assert CRITERIA[0].triple == (1, 2, 2)


def test_every_reason_of_an_abort_is_stated() -> None:
    named = members("ProviderReason") - {"REASON_NOT_SPECIFIED"}  # said of a peer that gives none, never sent
    assert {reason.name for reason in ABORTS} == named | {"INVALID_PDU_PARAMETER_VALUE"}


def test_an_abort_is_made_in_two_ways_only() -> None:
    made = [ast.unparse(call) for call in calls("Abort", "ul/actions.py")]
    assert made == [
        "Abort(AbortSource.SERVICE_USER, 0)",
        "Abort(AbortSource.SERVICE_PROVIDER, _why(occurrence).reason)",
        "Abort(AbortSource.SERVICE_PROVIDER, error.reason)",
    ]
    assert [*AbortSource] == [0, 2]
    others = {module for module, tree in TREES.items() for each in ast.walk(tree)
              if isinstance(each, ast.Call) and ast.unparse(each.func) == "Abort"}
    assert others == {"ul/actions.py", "ul/reader.py"}


def test_every_status_that_is_answered_is_stated_and_no_other() -> None:
    answered = {
        Status[each.attr]  # a code may have several names
        for module, tree in TREES.items()
        if module.startswith(("association/", "services/", "dimse/"))
        and module not in ("dimse/status.py", "services/forwarding/verdict.py")  # which judges what peers answer
        for each in ast.walk(tree)
        if isinstance(each, ast.Attribute) and isinstance(each.value, ast.Name) and each.value.id == "Status"
    }
    assert set(STATUSES) == answered, "correct STATUSES"


def test_conditions_that_nothing_reports_are_reserved_and_no_other() -> None:
    named = {
        each.value for module, tree in TREES.items()
        if module.startswith(("tls/", "association/", "identity/")) and module != "tls/conditions.py"
        for each in ast.walk(tree) if isinstance(each, ast.Constant) and isinstance(each.value, str)
    }
    by_alert = {row.name for row in CONDITIONS.values() if 0x200 <= row.reason < 0x400}
    unnamed = CONDITIONS.keys() - named
    assert {name for name in unnamed if CONDITIONS[name].reason >= 0x100} - by_alert <= RESERVED, "add to RESERVED"
    assert named & RESERVED == set(), "take out of RESERVED"
    assert CONDITIONS.keys() >= RESERVED


def test_every_condition_is_in_the_statement_and_integrity_is_marked(node: Path) -> None:
    reasons = section(stated(node), "Provider reasons")
    for row in CONDITIONS.values():
        number = f"{row.reason:X}H" if row.reason > max(ProviderReason) else str(row.reason)
        assert row.name in RESERVED or f"| {number} | `{row.name}` |" in reasons
        if row.fault_class is FaultClass.INTEGRITY:
            assert f"| {number} | `{row.name}` | **integrity** |" in reasons


def test_what_is_stated_of_services_is_what_the_node_offers(node: Path) -> None:
    more = "\n[ae ECHO]\nservices = verification\n[ae KEEP]\nservices = storage\nstorage = archive\n" \
           "unknown-sop-classes = accept\ntransfer-syntaxes = JPEG2000, 1.2.3.4\n" \
           "[ae FIND]\nservices = query\nstorage = archive\n[ae SEND]\nservices = retrieve\nstorage = archive\n" \
           "[ae ALL]\nservices = verification, storage, query, retrieve\nstorage = archive\n" \
           "[ae COMMIT]\nservices = commitment\nstorage = archive\n[ae LIST]\nservices = worklist\nworklist = w\n" \
           "[ae STEPS]\nservices = procedure-steps\nprocedure-steps = p\n" \
           "[worklist w]\ndirectory = .\n[procedure-steps p]\ndirectory = .\n"
    edit(node, ("aes = DIMSETLS", "aes = DIMSETLS, ECHO, KEEP, FIND, SEND, ALL, COMMIT, LIST, STEPS"),
         ("#index = no", "index = yes"), more=more)
    prepared = prepare(node)
    [listener] = [each for each in NodeService(prepared) if isinstance(each, ListenerService)]
    for ae in reached(prepared.config):
        offered = listener.factory.entities[ae.title].services
        mine = services_of(ae)
        for uid in (*UID_dictionary, "1.2.3.4.5"):
            assert mine.support(uid, None) == offered.support(uid, None)
        classes = [uid for uid, (_, kind, *_) in UID_dictionary.items() if kind in ("SOP Class", "Meta SOP Class")]
        supports = {uid: offered.support(uid, None) for uid in classes}
        assert {uid for uid, each in supports.items() if each and each.requestor_may_be_scu} == contexts(ae).keys()


def test_the_names_of_cipher_suites_are_the_registered_ones() -> None:
    assert iana_name("ECDHE-RSA-AES128-GCM-SHA256") == "TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256"
    assert iana_name("ECDHE-ECDSA-CHACHA20-POLY1305") == "TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256"
    assert iana_name("ECDHE-ECDSA-AES256-CCM") == "TLS_ECDHE_ECDSA_WITH_AES_256_CCM"
    assert iana_name("DHE-RSA-AES256-GCM-SHA384") == "TLS_DHE_RSA_WITH_AES_256_GCM_SHA384"
    every = {suite for policy in PROFILES.values() for suite in policy.cipher_suites + policy.tls13_cipher_suites}
    assert all(iana_name(suite).startswith("TLS_") for suite in every)


# Another configuration, another statement --------------------------------------------------------------------------

PEERS = "\n[peer ct1]\nae-title = CT1\naddresses = 10.1.2.0/24\ncertificates = dns:ct1.example\n" \
        "[peer mr1]\nae-title = MR1\n"


@pytest.mark.parametrize(("title", "old", "new", "gone", "there"), [
    ("[node]", "#log-format = text", "log-format = json", "`text` | default", "`json` | set"),
    ("Timers and limits", "#drain-timeout = 30s", "drain-timeout = 5m", "within 30 s", "within 300 s"),
    ("A-ABORT", "#drain-timeout = 30s", "drain-timeout = 5m", "within 30 s", "within 300 s"),
    ("TCP ports", "\nport = 2762", "\nport = 11112", "2762 (registered as dicom-tls)", "| 11112 |"),
    ("Requirements of PS3.15 B.12", "\nport = 2762", "\nport = 11112", "recommended | **met** |", "`127.0.0.1:11112`"),
    ("Network interfaces", "interface = 127.0.0.1", "interface = ::1", "| IPv4 |", "`[::1]:2762` | IPv6 |"),
    ("Network interfaces", "#backlog = 1024", "backlog = 77", "| 1024 |", "| 77 |"),
    ("TCP ports", "\nport = 2762\n", "\nendpoint = unix:/run/d.sock\n", "| 2762", "`unix:/run/d.sock`"),
    ("Mutual authentication: [tls secure]", "#client-certificate = required", "client-certificate = optional",
     "**required**", "**optional**"),
    ("Mutual authentication: [tls secure]", "#client-certificate = required", "client-certificate = none",
     "is accepted if", "**none**. A peer is not asked"),
    ("Requirements of PS3.15 B.12", "#client-certificate = required", "client-certificate = none",
     "a client certificate is required", "peers are not authenticated"),
    ("Overview", "#client-certificate = required", "client-certificate = none", "certificate required",
     "certificate none"),
    ("Key management: [tls secure]", "#development-certificates-outside-loopback = refuse",
     "development-certificates-outside-loopback = i understand the risk", "refused outside loopback",
     "accepted everywhere"),
    ("Application entity DIMSETLS", "#services = verification, storage", "services = storage", "| Verification |",
     None),
    ("Overview", "#services = verification, storage", "services = verification", "| Storage | 2", "| Storage | 0 |"),
    ("DIMSE statuses", "#services = verification, storage", "services = verification", "A700H", None),
    ("Information objects", "#services = verification, storage", "services = verification",
     "CT Image Storage", "No AE stores"),
    ("Transfer syntaxes", "#transfer-syntaxes = all", "transfer-syntaxes = RLELossless, 1.2.3", "JPEG",
     "| 1 | RLE Lossless | `1.2.840.10008.1.2.5` |  |\n| 2 | private | `1.2.3` |"),
    ("Application entity DIMSETLS", "#transfer-syntaxes = all", "transfer-syntaxes = RLELossless", "| 58, ", "| 1, "),
    ("Application entity DIMSETLS", "#unknown-sop-classes = refuse", "unknown-sop-classes = accept", None,
     "Any abstract syntax that is no known SOP class of another service"),
    ("Application entity DIMSETLS", "#maximum-length = 131066", "maximum-length = 16384", "131066", "16384 bytes"),
    ("Application entity DIMSETLS", "#maximum-operations-invoked = 1", "maximum-operations-invoked = 8",
     "one operation at a time", "up to 8 operations"),
    ("Application entity DIMSETLS", "#maximum-operations-performed = 1", "maximum-operations-performed = 9",
     "one operation at a time", "up to 9 performed by it"),
    ("Application entity DIMSETLS", "#peers = any", f"peers = mr1{PEERS}[ae SPARE]\nservices = verification",
     "anyone", "| Called by | `MR1` |"),
    ("Association level security", "#peers = any", f"peers = ct1, mr1{PEERS}[ae SPARE]\nservices = verification",
     "`DIMSETLS` | any | anywhere |", "`CT1` | `10.1.2.0/24` | `dns:ct1.example` |"),
    ("Store archive", "directory = store", "directory = other", "/store`", "/other`"),
    ("Store archive", "#layout = {StudyInstanceUID}/{SeriesInstanceUID}/{SOPInstanceUID}.dcm",
     "layout = {SOPInstanceUID}", "SeriesInstanceUID", "`{SOPInstanceUID}`"),
    ("Store archive", "#duplicates = identical", "duplicates = replace", "0111H", "the second replaces the first"),
    ("DIMSE statuses", "#duplicates = identical", "duplicates = keep", "0111H", None),
    ("Store archive", "#fsync = full", "fsync = none", "survives", "a loss of power may take it"),
    ("General association parameters", "#associations = 200", "associations = 7", "200 as acceptor", "7 as acceptor"),
    ("Timers and limits", "#associations = 200", "associations = 7", "| 200 |", "A-ASSOCIATE-RJ (2,3,2). | 7 |"),
    ("Timers and limits", "#associations-per-address = 50", "associations-per-address = 6",
     "one address | A-ASSOCIATE-RJ (2,3,2). | 50 |", "one address | A-ASSOCIATE-RJ (2,3,2). | 6 |"),
    ("Timers and limits", "#associations-per-calling-ae = 50", "associations-per-calling-ae = 5",
     "AE title | A-ASSOCIATE-RJ (2,3,2). | 50 |", "AE title | A-ASSOCIATE-RJ (2,3,2). | 5 |"),
    ("Timers and limits", "#pending-connections = 1000", "pending-connections = 9", "| 1 000 |", "| 9 |"),
    ("Timers and limits", "#associate-pdu-length = 256KiB", "associate-pdu-length = 4KiB", "262 144", "4 096"),
    ("Timers and limits", "#tls-handshake-timeout = 10s", "tls-handshake-timeout = 11s", "| 10 s |", "| 11 s |"),
    ("Timers and limits", "#artim-timeout = 30s", "artim-timeout = 31s", "| 30 s |", "| 31 s |"),
    ("Timers and limits", "#idle-timeout = 300s", "idle-timeout = 2h", "for the peer | A-ABORT (0,0). | 300 s |",
     "| 7200 s |"),
    ("Timers and limits", "#pdu-timeout = 60s", "pdu-timeout = 500ms", "ARTIM counts. | 60 s |", "| 0.5 s |"),
    ("Timers and limits", "#write-timeout = 60s", "write-timeout = 61s", "cut at once. | 60 s |", "| 61 s |"),
    ("Timers and limits", "#write-timeout = 60s", "response-timeout = 62s", "C-GET | A-ABORT (0,0). | 300 s |",
     "| 62 s |"),
])  # fmt: skip
def test_the_statement_follows_the_option(
    node: Path, title: str, old: str, new: str, gone: str | None, there: str | None
) -> None:
    before = section(stated(node), title)
    text = node.read_text()
    assert text.count(old) == 1, old
    text = text.replace(old, new)
    if "endpoint = " in new:
        text = text.replace("interface = 127.0.0.1\n", "")
    (node.parent / "other").mkdir()
    node.write_text(text)
    after = section(stated(node), title)
    assert before != after
    for text, other, words in ((before, after, gone), (after, before, there)):
        if words is not None:
            assert words in text
            assert words not in other


KEYS, WIRE, SHOWN = "Key management: [tls secure]", "Negotiation: [tls secure]", "Mutual authentication: [tls secure]"
REVOKED, B12 = "Revocation: [tls secure]", "Requirements of PS3.15 B.12"
OUTWARD = "External network requirements"
OTHER = "[certificate other]\ncertificate = pki/other.pem\nprivate-key = pki/other.key\n"


@pytest.mark.parametrize(("title", "options", "gone", "there"), [
    (WIRE, "minimum-version = 1.3", "Cipher suites of TLS 1.2", "| Versions | TLS 1.3;"),
    (WIRE, "maximum-version = 1.2", "Cipher suites of TLS 1.3", "| Narrowed by | `maximum-version`"),
    (B12, "minimum-version = 1.3", None, "this configuration admits TLS 1.3 only"),
    (B12, "maximum-version = 1.2", "the highest common version is taken", "TLS 1.3 is switched off"),
    (WIRE, "cipher-suites = ECDHE-ECDSA-AES256-GCM-SHA384", "TLS_ECDHE_RSA", "`cipher-suites`"),
    (WIRE, "tls13-cipher-suites = TLS_AES_256_GCM_SHA384", "TLS_AES_128_GCM_SHA256", "`tls13-cipher-suites`"),
    (WIRE, "groups = P-256", "X25519", "| Narrowed by | `groups` |"),
    (WIRE, "require-alpn = yes", "that offers none is accepted", "that offers none is refused as well"),
    (WIRE, "strict-server-names = yes", "one certificate for every name", "not in the certificate is refused"),
    (WIRE, "strict-server-names = yes\nnamed-certificates = other", "one certificate", "in none of them is refused"),
    (WIRE, "named-certificates = other", "there is one certificate", "`[tls secure]` or `[certificate other]` by"),
    (KEYS, "named-certificates = other", None, "| Private key of `[certificate other]` | PEM file `pki/other.key`"),
    (REVOKED, "named-certificates = other", None, "| Our certificate of `[certificate other]` | no OCSP"),
    (KEYS, "private-key-passphrase = pki/server.pass", "not encrypted", "its passphrase is in `pki/server.pass`"),
    (KEYS, "private-key-passphrase = credential:key", "not encrypted", "the systemd credential `key`"),
    (REVOKED, "ocsp-response = pki/server.ocsp", "no OCSP response", "from the file `pki/server.ocsp`"),
    (REVOKED, "ocsp-responder = certificate", "no OCSP response", "the responder that it names, asked by HTTP"),
    (REVOKED, "ocsp-responder = http://ocsp.example", "no OCSP response", "`http://ocsp.example`, asked by HTTP"),
    (OUTWARD, "ocsp-responder = http://ocsp.example", "opens no connection", "OCSP responders, by HTTP"),
    (OUTWARD, "ocsp-responder = certificate", "opens no connection", "the one that the certificate names"),
    ("Network interfaces", "ocsp-responder = http://ocsp.example", "Nothing is resolved",
     "the name of an OCSP responder"),
    (REVOKED, "revocation-check = chain\nrevocation-lists = ca.crl, sub.crl", "not checked", "`ca.crl`, `sub.crl`"),
    (REVOKED, "revocation-check = leaf\nrevocation-lists = pki/ca.crl", "not checked", "only the own certificate"),
    (SHOWN, "revocation-check = chain\nrevocation-lists = pki/ca.crl", None, "nor any authority in its chain"),
    (SHOWN, "revocation-check = leaf\nrevocation-lists = pki/ca.crl", None, "It is not revoked"),
    (B12, "revocation-check = chain\nrevocation-lists = pki/ca.crl", "**met in part**", "the whole chain of a peer"),
    (B12, "revocation-check = leaf\nrevocation-lists = pki/ca.crl", "is not checked", "only its own certificate"),
    (B12, "client-certificate = none", "is not checked", "so none is looked up"),
    (REVOKED, "client-certificate = none", "not checked", "there is none to check"),
])  # fmt: skip
def test_the_statement_follows_the_option_of_tls(
    node: Path, title: str, options: str, gone: str | None, there: str
) -> None:
    def said() -> str:
        return section(markdown(statement(load(node))), title)

    before = said()
    waived = f"revocation-check = {CRLCheck.WAIVED.value}\n"
    if "revocation-check" in options:
        edit(node, (waived, ""))
    edit(node, ("[tls secure]\n", f"[tls secure]\n{options}\n"), more=f"\n{OTHER}")
    after = said()
    assert there in after
    assert there not in before
    if gone is not None:
        assert gone in before
        assert gone not in after


def test_a_legacy_profile_is_not_b12_unless_it_is_narrowed_to_that(node: Path) -> None:
    edit(node, ("#profile = bcp195-rfc9325", "profile = legacy-bcp195-nd"),
         ("#legacy-profile = refuse", "legacy-profile = i understand the risk"))
    assert "**not met**: `TLS_DHE_RSA_WITH_AES_256_GCM_SHA384`" in section(stated(node), B12)
    edit(node, ("[tls secure]\n", "[tls secure]\nminimum-version = 1.3\n"))
    assert "not met" not in section(stated(node), B12)


@pytest.mark.parametrize(("profile", "there", "gone"), [
    ("bcp195-rfc9325", "Claimed: BCP 195", "in part"),
    ("tls13-only", "TLS 1.3 only", "Cipher suites of TLS 1.2"),
    ("bcp195-rfc9325-modified", "Claimed **in part**: Modified BCP 195", "Claimed: "),
])
def test_the_statement_follows_the_profile(node: Path, profile: str, there: str, gone: str) -> None:
    edit(node, ("#profile = bcp195-rfc9325", f"profile = {profile}"))
    transport = section(stated(node), "Secure transport connection: [tls secure]")
    assert there in transport
    assert gone not in transport
    for suite in PROFILES[profile].cipher_suites:
        assert f"`{iana_name(suite)}`" in transport


def test_a_listener_without_tls_is_said_everywhere(node: Path) -> None:
    edit(node, more="\n[listener old]\nport = 11104\nplain = i understand the risk\naes = DIMSETLS\n")
    text = stated(node)
    assert "- **none** on `old`" in section(text, "Secure transport")
    assert "**anyone, also without a certificate**" in section(text, "Application entity DIMSETLS")
    assert "Except on the listeners `old`, which are **not protected**" in section(text, "Security")
    assert "**DIMSE without TLS**" in section(text, "TCP ports")
    assert "\\[limits default\\]" in text  # in force although it is not in the file


def test_the_certificate_in_use_is_described(node: Path) -> None:
    keys = section(stated(node), "Key management: [tls secure]")
    assert "| Key | ECDSA, secp256r1 |" in keys
    assert "development, not for clinical use" in keys
    assert "Certificate in use" not in markdown(statement(load(node)))


def test_the_cover_names_the_very_configuration(node: Path) -> None:
    before, _, _ = stated(node).partition("## 1")
    edit(node, more="# a comment\n")
    after, _, _ = stated(node).partition("## 1")
    assert before != after
    assert "2026-05-04" in markdown(statement(load(node), printed=date(2026, 5, 4)))


# The two forms ------------------------------------------------------------------------------------------------------

NASTY = Document("<A & B>", (("name", code("a|`b` <i>")),), (
    Section("First | <b>", ("See " + see("Second") + " and " + see("Deeper") + ".",
                            Table(("one", "two"), ((code("x|y"), "p|q <script>"), (good("met & <fine>"), ""))))),
    Section("Second", (Bullets((code("line\nbreak\x1b[31m"),)), Section("Deeper", ("*text* _here_",)))),
))


def test_markdown_cannot_be_broken_by_what_is_in_it() -> None:
    text = markdown(NASTY)
    assert "| ``a\\|`b` <i>`` |" in text
    assert "| `x\\|y` | p\\|q \\<script\\> |" in text
    assert "See [2](#2-second) and [2.1](#21-deeper)." in text
    assert "\\*text\\* \\_here\\_" in text
    assert "\x1b" not in text
    assert "line\N{REPLACEMENT CHARACTER}break" in text


class Page(HTMLParser):
    """Counts what is open, and keeps ids, references and everything a browser would fetch."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.ids: list[str] = []
        self.targets: set[str] = set()
        self.fetched: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        if tag != "meta":
            self.open.append(tag)
        for name, value in attributes:
            if name == "id":
                self.ids.append(value or "")
            elif name == "href" and (value or "").startswith("#"):
                self.targets.add((value or "")[1:])
            elif name in ("src", "href"):
                self.fetched.append(value or "")

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


def test_the_page_is_whole_and_needs_nothing_else(node: Path) -> None:
    prepared = prepare(node)
    for document in (NASTY, statement(prepared.config, prepared)):
        text = html(document)
        page = Page(text)
        assert page.open == []
        assert page.fetched == []
        assert "url(" not in text
        assert "@import" not in text
        assert len(page.ids) == len(set(page.ids))
        assert page.targets <= {*page.ids}
    assert "<script" not in html(NASTY)
    assert '<strong class="good">met &amp; &lt;fine&gt;</strong>' in html(NASTY)


def test_every_row_is_as_long_as_its_heading_and_every_reference_leads_somewhere(node: Path) -> None:
    def tables(sections: tuple[object, ...]) -> Iterator[Table]:
        for block in sections:
            if isinstance(block, Table):
                yield block
            elif isinstance(block, Section):
                yield from tables(block.blocks)

    prepared = prepare(node)
    document = statement(prepared.config, prepared)
    found = list(tables(document.sections))
    assert len(found) > 20
    assert [table for table in found for row in table.rows if len(row) != len(table.columns)] == []


# The command -----------------------------------------------------------------------------------------------------


def test_the_command_prints_either_form(node: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["conformance", "--config", str(node)]) == 0
    assert capsys.readouterr().out.startswith("# DICOM conformance statement\n")
    assert main(["conformance", "--config", str(node), "--format", "html"]) == 0
    assert capsys.readouterr().out.startswith("<!DOCTYPE html>\n")


def test_a_configuration_that_cannot_be_served_has_no_statement(
    node: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    edit(node, ("aes = DIMSETLS", "aes = NOBODY"))
    assert main(["conformance", "--config", str(node)]) == 1
    said = capsys.readouterr()
    assert said.out == ""
    assert "NOBODY" in said.err


def test_statuses_are_written_as_the_standard_has_them(node: Path) -> None:
    answers = section(stated(node), "DIMSE statuses")
    assert f"| {Status.SOP_CLASS_NOT_SUPPORTED:04X}H | Failure | SOP class not supported |" in answers


def test_query_and_retrieve_are_stated_where_they_are_offered(node: Path) -> None:
    before = stated(node)
    assert "Query/Retrieve service as SCP" not in before
    assert "| no | no | none |" in next(line for line in before.splitlines() if "Query/Retrieve, FIND" in line)
    edit(
        node, ('\n#services = verification, storage', "\nservices = storage, query, retrieve"),
        ("#index = no", "index = yes"),
        more="\n[peer ct1]\nae-title = CT1\nhost = localhost\nport = 11112\ntls = secure\n",
    )  # fmt: skip
    after = stated(node)
    assert "`CT1` at `localhost:11112`" in section(after, "Query/Retrieve service as SCP")
    rows = section(after, "Application entity DIMSETLS")
    assert sum(uid in rows for uid in MODELS) == 9
    answers = section(after, "DIMSE statuses")
    assert all(f"| {status} |" in answers for status in ("A701H", "A900H", "B000H", "FE00H", "FF01H"))
    assert "0213H" not in answers
    assert "A701H" not in section(before, "DIMSE statuses")
