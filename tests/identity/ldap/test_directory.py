"""Several servers, time, secrets, the configuration, and the page for operators."""

from __future__ import annotations

import inspect
import re
import subprocess
import threading
import traceback
from pathlib import Path

import pytest
from twisted.internet.defer import CancelledError

from dimsetls.errors import ConfigurationError
from dimsetls.identity import ldap
from dimsetls.identity.credentials import Method
from dimsetls.identity.gate import Gate, IdentityPolicy, Requirement
from dimsetls.identity.ldap.directory import LDAPDirectory

from ...servers.odd_directory import result
from ...servers.slapd import GROUP_BASE, PEOPLE_BASE, SERVICE_DN, SERVICE_PASSCODE, SUFFIX
from ..stage import BackEnd, offered, outcome, presenter
from .scene import GOOD, LONG, PASSCODES, TEMPLATE, answering, asked, denied, started, told, unavailable, verified


def test_a_dead_server_is_passed_over_and_asked_last_for_a_while(make, check, steps, stage, directory, dead):
    back_end = make(dead, directory.ldaps, back_off=30.0)
    for _ in range(2):
        assert check(back_end, "alice") == GOOD[0][1]
    assert asked(steps) == [dead, directory.ldaps, directory.ldaps]
    assert [step for step in steps if "cannot be reached" in step and "refused" in step]
    stage.advance(30)
    assert check(back_end, "alice") == GOOD[0][1]
    assert asked(steps)[3:] == [dead, directory.ldaps]


def test_a_name_without_address_is_a_dead_server(make, check, directory):
    assert check(make("ldaps://nowhere.invalid", directory.ldaps), "alice") == GOOD[0][1]


def test_a_refusal_is_not_taken_to_another_server(make, check, steps, directory, spare):
    denied(check(make(directory.ldaps, spare.ldaps), "alice", b"wrong"), "the passcode is wrong")
    assert asked(steps) == [directory.ldaps]


@pytest.mark.parametrize("scheme", ["ldaps", "ldap"])
def test_a_hung_server_is_left_in_time_and_its_thread_with_it(make, check, steps, stage, directory, spare, scheme):
    back_end = make(getattr(spare, scheme), directory.ldaps, threads=1)
    with spare.frozen():
        running = started(back_end)
        told(stage, steps, "is asked")
        stage.advance(LONG)
        # The one thread is free at once, or there would be no outcome before LONG is really over.
        assert stage.outcome(running) == GOOD[0][1]
        assert check(back_end, "alice") == GOOD[0][1]
        assert asked(steps) == [getattr(spare, scheme), directory.ldaps, directory.ldaps]


def test_a_server_that_hangs_between_its_answers(make, stage, steps, directory, odd):
    silent = odd(answering(result(0x61, 0), lambda message: b""))
    back_end = make(silent.url, directory.ldaps, threads=1)
    running = started(back_end)
    told(stage, steps, "is bound")
    stage.advance(LONG)
    assert stage.outcome(running) == GOOD[0][1]
    assert asked(steps) == [silent.url, directory.ldaps]


@pytest.mark.parametrize("secure", [True, False], ids=["ldaps", "StartTLS"])
def test_a_server_that_drips_is_left_in_time(make, stage, steps, directory, odd, secure):
    """Each octet comes well within the time for one read."""
    dripping = odd(lambda message: b"\x30\x82\x40\x00", secure=secure, pace=0.02)
    back_end = make(dripping.url, directory.ldaps, threads=1)
    running = started(back_end)
    told(stage, steps, "the connection has" if secure else "is asked")
    stage.advance(LONG)
    assert stage.outcome(running) == GOOD[0][1]
    assert asked(steps) == [dripping.url, directory.ldaps]


def test_when_every_server_hangs_nobody_is_let_in_and_others_are_served(make, stage, steps, directory, spare):
    back_end = make(directory.ldaps, spare.ldaps)
    others = BackEnd("users local", verified("carol"))
    policy = IdentityPolicy(
        Requirement.REQUIRE, {Method.PASSCODE: (back_end,), Method.JWT: (others,)}, deadline=10.0
    )
    gate = Gate(policy, stage)
    with directory.frozen(), spare.frozen():
        hanging = [gate.check(offered(2, user.encode(), PASSCODES[user]), presenter()) for user in ("alice", "bob")]
        told(stage, steps, "is asked")
        served = outcome(gate.check(offered(5, b"a.b.c"), presenter()))
        assert served.principal.name == "carol"
        assert [outcome(check) for check in hanging] == [None, None]
        stage.advance(10)
        for check in hanging:
            unavailable(stage.outcome(check), "within 10 s")


def test_every_server_that_failed_is_named(make, stage, steps, dead, spare):
    back_end = make(dead, spare.ldaps)
    with spare.frozen():
        running = started(back_end)
        told(stage, steps, f"{spare.ldaps} is asked")
        stage.advance(LONG)
        unavailable(stage.outcome(running), f"{dead} cannot be reached", f"{spare.ldaps} gave no answer within 60 s")


def test_the_first_server_that_answers_again_is_asked_first(make, stage, steps, directory, spare):
    back_end = make(directory.ldaps, spare.ldaps, timeout=5.0, back_off=LONG)

    def ask(*hung):
        steps.clear()
        running = started(back_end)
        for number, _ in enumerate(hung, start=1):
            while len(asked(steps)) < number:
                stage.call_one()
            stage.advance(5)
        return stage.outcome(running), asked(steps)

    with directory.frozen():
        with spare.frozen():
            refused, _ = ask(directory, spare)
            unavailable(refused, directory.ldaps, spare.ldaps)
        assert ask(directory) == (GOOD[0][1], [directory.ldaps, spare.ldaps])
        assert ask() == (GOOD[0][1], [spare.ldaps])


def test_a_server_is_not_blamed_for_the_want_of_a_thread(make, check, stage, steps, directory, spare):
    back_end = make(directory.ldaps, spare.ldaps, threads=1)
    go = threading.Event()
    occupied = back_end._workers.run(lambda: go.wait(30))
    running = started(back_end)
    stage.advance(LONG)
    stage.advance(LONG)
    unavailable(outcome(running), f"{directory.ldaps} was not asked, as no thread was free", f"{spare.ldaps} was not")
    running = started(back_end)
    stage.advance(LONG)
    go.set()
    assert stage.outcome(occupied)
    assert stage.outcome(running) == check(back_end, "alice") == GOOD[0][1]
    assert asked(steps) == [spare.ldaps, directory.ldaps]


def test_what_the_peer_does_not_wait_for_gives_its_thread_back(make, check, stage, steps, spare):
    back_end = make(spare.ldaps, threads=1, waiting=0)
    with spare.frozen():
        running = started(back_end)
        told(stage, steps, "is asked")
        running.cancel()
        assert isinstance(outcome(running), CancelledError)
        unavailable(check(back_end, "alice"), "1 checks under way")
        stage.call_one()  # within 30 s, not LONG: the thread says that it has ended
        assert outcome(started(back_end)) is None


def test_closing_gives_up_what_runs(make, stage, steps, spare):
    back_end = make(spare.ldaps)
    with spare.frozen():
        running = started(back_end)
        told(stage, steps, "is asked")
        back_end.close()
        unavailable(stage.outcome(running), "no directory server could tell")


def test_a_passcode_is_checked_on_a_connection_of_its_own(make, check, steps):
    back_end = make()
    for _ in range(2):
        check(back_end, "alice")
    assert len([step for step in steps if "the connection has TLSv1.3" in step]) == 4


# Secrets --------------------------------------------------------------------------------------------------------------


def test_nothing_shows_a_secret(make, check, steps, odd, directory):
    server = odd(result(0x61, 49, "echo: alice-secret"))
    back_ends = [make(), make(dn_template=TEMPLATE), make(server.url, dn_template=TEMPLATE)]
    seen = []
    for back_end in back_ends:
        for user, passcode in [*PASSCODES.items(), ("alice", b"wr\xf6ng-secret"), ("nobody", b"no-secret")]:
            found = check(back_end, user, passcode)
            seen.append(repr(found))
            if isinstance(found, Exception):
                seen += traceback.format_exception(found)
                assert found.__context__ is None or found.__suppress_context__
                files = [frame.f_code.co_filename for frame, _ in traceback.walk_tb(found.__traceback__)]
                assert not [file for file in files if "ldap_" in file]  # those of the thread
        seen += [repr(back_end), repr(vars(back_end))]
    text = "\n".join(seen + steps)
    assert "alice" in text
    assert "secret" not in text.replace("<secret>", "").replace("_secret", "")
    shown = [passcode for passcode in PASSCODES.values() if passcode.decode("latin-1") in text or str(passcode) in text]
    assert shown == [passcode for passcode in PASSCODES.values() if passcode.decode(errors="replace") in text] == []


# What can be judged without a directory -------------------------------------------------------------------------------

MISTAKES = [
    ({"servers": []}, "servers: found none"),
    ({"servers": ["http://ldap.example.org"]}, "servers: directory server 'http://ldap.example.org'"),
    ({"servers": ["ldap.example.org"]}, "expected ldaps://HOST"),
    ({"servers": ["ldaps://ldap.example.org:0"]}, "expected ldaps://HOST"),
    ({"servers": ["ldaps://ldap.example.org:65536"]}, "expected ldaps://HOST"),
    ({"servers": ["ldaps://admin@ldap.example.org"]}, "expected ldaps://HOST"),
    ({"servers": ["ldaps://ldap.example.org/dc=org"]}, "expected ldaps://HOST"),
    ({"trust_roots": "nowhere.pem"}, "trust-roots: certificate file nowhere.pem cannot be read"),
    ({"service_passcode": "nowhere.pass"}, "service-passcode: passphrase file nowhere.pass cannot be read"),
    ({"service_passcode": None}, "service-dn, service-passcode: found one without the other"),
    ({"service_dn": None}, "service-dn: found none"),
    ({"service_dn": "dimsetls"}, "service-dn: found 'dimsetls'"),
    ({"search_base": "example.org"}, "search-base: found 'example.org'"),
    ({"search_base": None}, "search-base, dn-template: found neither"),
    ({"dn_template": TEMPLATE}, "search-base, dn-template: found both"),
    ({"dn_template": TEMPLATE, "search_base": None}, "service-dn: found 'cn=dimsetls"),
    ({"dn_template": f"uid=%s,{PEOPLE_BASE}"}, "expected {user} in it"),
    ({"dn_template": "{user}@example.org"}, "dn-template: found '{user}@example.org', expected a distinguished name"),
    ({"search_filter": "(uid=alice)"}, "search-filter: found '(uid=alice)', expected a search filter with {user}"),
    ({"search_filter": "uid={user}"}, "search-filter: found"),
    ({"search_filter": "(&(uid={user})"}, "search-filter: found"),
    ({"group_filter": "(member={dn"}, "group-filter: found '(member={dn', expected a search filter with {dn} or"),
    ({"group_filter": "(member={dn})", "group_base": None}, "group-filter: found '(member={dn})' without group-base"),
    ({"required_group": "radiology", "group_base": None}, "required-group: found 'radiology' without group-base"),
    ({"group_base": "groups"}, "group-base: found 'groups'"),
    ({"name_attribute": ""}, "name-attribute: found ''"),
    ({"name_attribute": "uid,cn"}, "name-attribute: found 'uid,cn'"),
    ({"group_attribute": "member of"}, "group-attribute: found 'member of'"),
]


@pytest.fixture
def options(directory, passcode_file):
    return {
        "servers": ["ldaps://ldap1.example.org", "ldap://[::1]:1389/"], "trust_roots": directory.trust_roots,
        "search_base": PEOPLE_BASE, "service_dn": SERVICE_DN, "service_passcode": str(passcode_file),
        "group_base": GROUP_BASE,
    }  # fmt: skip


@pytest.mark.parametrize(("wrong", "sentence"), MISTAKES, ids=[sentence for _, sentence in MISTAKES])
def test_mistakes_in_the_configuration(options, stage, wrong, sentence):
    LDAPDirectory("ldap hospital", **options, reactor=stage)
    with pytest.raises(ConfigurationError) as raised:
        LDAPDirectory("ldap hospital", **options | wrong, reactor=stage)
    assert [problem for problem in raised.value.problems if sentence in problem]


def test_all_mistakes_are_reported_at_once(options, stage, passcode_file):
    passcode_file.chmod(0o644)
    wrong = {"servers": ["ldap1", "ldap2"], "trust_roots": passcode_file, "search_filter": "uid", "name_attribute": "?"}
    with pytest.raises(ConfigurationError) as raised:
        LDAPDirectory("ldap hospital", **options | wrong, reactor=stage)
    assert [problem.partition(":")[0] for problem in raised.value.problems] == [
        "search-filter", "name-attribute", "servers", "servers", "trust-roots", "service-passcode",
    ]  # fmt: skip


def test_the_passcode_of_the_service_may_come_from_systemd(make, check, passcode_file, monkeypatch):
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", str(passcode_file.parent))
    assert check(make(service_passcode="credential:service.pass"), "alice") == GOOD[0][1]


# The page for operators -----------------------------------------------------------------------------------------------

PAGE = (Path(__file__).parents[3] / "docs" / "how-to" / "identity-ldap.md").read_text()


def test_the_page_has_every_option_and_no_other():
    table = PAGE.partition("## Options")[2].partition("\n## ")[0]
    heads = "".join(re.findall(r"^\| (`[^|]*) \|", table, re.MULTILINE))
    named = set(re.findall(r"`([^`]*)`", heads))
    taken = set(inspect.signature(LDAPDirectory).parameters) - {"name", "trace", "reactor"}
    assert named == {each.replace("_", "-") for each in taken}


def test_the_examples_of_the_page_are_taken(stage, directory, passcode_file):
    examples = re.findall(r"\[ldap hospital\]\n(.*?)(?:\n\n|```)", PAGE, re.DOTALL)
    assert len(examples) == 4
    for example in examples:
        lines = [line.split(" = ", 1) for line in example.strip().split("\n")]
        options = {option.replace("-", "_"): value for option, value in lines}
        options |= {"servers": options["servers"].split(", "), "trust_roots": directory.trust_roots}
        options |= {"service_passcode": str(passcode_file)} if "service_passcode" in options else {}
        LDAPDirectory("ldap hospital", **options, reactor=stage)


def test_the_commands_of_the_page(directory, tmp_path):
    commands = re.search(r"^<!-- look -->\n```sh\n(.*?)^```", PAGE, re.DOTALL | re.MULTILINE)[1]
    (tmp_path / "ldap.pass").write_text(SERVICE_PASSCODE)
    url = directory.ldaps.replace("localhost", "127.0.0.1")  # the tools put the machine's name in place of localhost
    for there, here in [("var/pki/ca.pem", directory.trust_roots), ("ldaps://ldap1.hospital.example", url),
                        ("dc=hospital,dc=example", SUFFIX), ("var/", f"{tmp_path}/")]:  # fmt: skip
        commands = commands.replace(there, str(here))
    said = subprocess.run(["sh", "-ec", commands], capture_output=True, text=True, check=True).stdout
    assert f"memberOf: cn=radiology,{GROUP_BASE}" in said
    assert f"dn:uid=alice,{PEOPLE_BASE}" in said


def test_the_sentences_of_the_page_are_those_of_the_code():
    code = "".join(path.read_text() for path in Path(ldap.__file__).parent.glob("*.py"))
    plain = re.sub(r'"\s*f?"|\{[^{}\n]*\}', "", code)
    for cell in re.findall(r"^\| (`.*?) \|", PAGE.partition("## What each refusal means")[2], re.MULTILINE):
        for sentence in re.findall(r"`([^`]*)`", cell):
            words = re.split(r"…|[02] values|noSuchObject|referral |\(\d+\)", sentence)
            assert [each for each in words if each.strip(" ;:") not in plain] == []
