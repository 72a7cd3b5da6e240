"""The users file and its back end: real files, real scrypt at a low cost, real threads."""

from __future__ import annotations

import hashlib
import os
import threading

import pytest
from twisted.internet.defer import CancelledError, Deferred
from twisted.logger import globalLogPublisher

from dimsetls.errors import ConfigurationError, IdentityDenied, IdentityUnavailable, IdentityUnknown
from dimsetls.identity import users as module
from dimsetls.identity.credentials import JSONWebToken, Method, Secret, Username, UsernameAndPasscode
from dimsetls.identity.interfaces import Verified
from dimsetls.identity.users import Cost, PasscodeHash, User, UsersFile, names, parse, read

from .stage import Calls, outcome, presenter

CHEAP = Cost(10)
WORD = b"open sesame"
MADE = PasscodeHash.make(Secret(WORD), CHEAP)
ALICE = User("alice", MADE, ("radiology", "night shift"), ("technician",))
USERS = [ALICE, User("bob", PasscodeHash.make(Secret(b"other"), CHEAP), disabled=True), User("carol")]


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "users"
    write(path)
    return path


def write(path, users=USERS):
    """As an editor does, or `dimsetls user`: the file is replaced."""
    new = path.with_suffix(".new")
    new.touch(0o600)
    new.write_text("\n\n".join("\n".join(user.lines) for user in users) + "\n")
    new.replace(path)


@pytest.fixture
def reactor():
    return Calls()


@pytest.fixture
def back_end(file, reactor):
    made = UsersFile(name="users local", file=file, reactor=reactor)
    yield made
    made.close()


@pytest.fixture
def logged():
    events = []
    globalLogPublisher.addObserver(events.append)
    yield lambda: [each["log_format"].format_map(each) for each in events if "log_format" in each]
    globalLogPublisher.removeObserver(events.append)


def passcode(name="alice", octets=WORD):
    return UsernameAndPasscode(name, Secret(octets))


def asked(reactor, back_end, credential):
    return reactor.outcome(back_end.verify(credential, presenter()))


def problems(text):
    with pytest.raises(ConfigurationError) as caught:
        parse(text, "users")
    return caught.value.problems


# Passcodes ------------------------------------------------------------------------------------------------------------


def test_a_hash_is_what_scrypt_says_it_is():
    kept = PasscodeHash.make(Secret(WORD), CHEAP)
    assert kept.digest == hashlib.scrypt(WORD, salt=kept.salt, n=1024, r=8, p=1, dklen=32)
    assert kept.is_of(Secret(WORD))
    assert not kept.is_of(Secret(b"open sesamE"))
    assert kept.salt != PasscodeHash.make(Secret(WORD), CHEAP).salt


def test_a_hash_is_written_and_read():
    assert PasscodeHash.parse(MADE.text) == MADE
    assert MADE.text.startswith("$scrypt$ln=10,r=8,p=1$")


def test_hashes_of_other_programs_are_read():
    """Of the word `password`, as Python's passlib writes it."""
    text = "$scrypt$ln=16,r=8,p=1$aM15713r3Xsvxbi31lqr1Q$nFNh2CVHVjNldFVKDHDlm4CbdRSCdEBsjjJxD+iCs5E"
    assert PasscodeHash.parse(text).is_of(Secret(b"password"))


def test_by_default_a_guess_takes_32_mib():
    assert PasscodeHash.make(Secret(WORD)).cost == Cost(15, 8, 1)
    assert Cost().memory == 32 << 20


@pytest.mark.parametrize("text", [
    "", "hunter2", "$2b$12$abc", "$scrypt$ln=10,r=8,p=1$c2FsdA", MADE.text + "x", MADE.text[:-3], MADE.text + "\n",
    MADE.text.replace("ln=10", "ln=9"), MADE.text.replace("ln=10", "ln=17"), MADE.text.replace("ln=10", "ln=99"),
    MADE.text.replace("r=8", "r=7"), MADE.text.replace("r=8", "r=33"), MADE.text.replace("p=1", "p=0"),
    MADE.text.replace("p=1", "p=17"), MADE.text.replace("ln=10,r=8", "ln=16,r=9"),
    f"$scrypt$ln=10,r=8,p=1$c2FsdA${MADE.text[-43:]}", f"$scrypt$ln=10,r=8,p=1$a${MADE.text[-43:]}",
])
def test_what_is_no_such_hash_or_takes_too_little_or_too_much_is_refused(text):
    with pytest.raises(ValueError) as caught:
        PasscodeHash.parse(text)
    assert "hunter2" not in str(caught.value)
    assert MADE.text[-43:] not in str(caught.value)


def test_a_passcode_in_utf_8_is_composed_and_other_octets_are_taken_as_they_are():
    kept = PasscodeHash.make(Secret("grün".encode()), CHEAP)
    assert kept.is_of(Secret("gru\u0308n".encode()))
    assert not kept.is_of(Secret("grün".encode("latin-1")))
    assert PasscodeHash.make(Secret("grün".encode("latin-1")), CHEAP).is_of(Secret("grün".encode("latin-1")))


def test_no_text_of_a_user_shows_the_hash():
    shown = f"{ALICE} {ALICE!r} {MADE} {MADE!r} {[MADE]}"
    assert "alice" in shown
    for part in (MADE.text[-43:], MADE.digest.hex(), repr(MADE.digest), repr(MADE.salt)):
        assert part not in shown


# The file -------------------------------------------------------------------------------------------------------------


def test_users_are_written_and_read(file):
    text, found = read(file)
    assert [*found.by_name.values()] == USERS
    assert text.startswith("[alice]\npasscode = $scrypt$ln=10,")
    assert text.endswith("groups = radiology, night shift\nroles = technician\n\n"
                         f"[bob]\npasscode = {USERS[1].passcode.text}\ndisabled = yes\n\n[carol]\n")


def test_what_people_write_is_read():
    text = f"""\
; a comment
  # another\r
[ alice ]\r
\tgroups=radiology ,night shift
disabled = no
[bob: "the" #1 = [x]]
[u\u0308]
passcode={MADE.text}
"""
    found = parse(text, "users").by_name
    assert [*found] == ["alice", 'bob: "the" #1 = [x]', "ü"]
    assert found["alice"] == User("alice", None, ("radiology", "night shift"))
    assert found["ü"].passcode == MADE
    assert parse("", "users").by_name == {}


@pytest.mark.parametrize(("text", "sentence"), [
    ("groups = x", "found a line that is neither, expected [user name], and below it option = value"),
    ("[alice\n", "found a line that is neither, expected"),
    ("[alice] # the boss", "found a line that is neither, expected"),
    ("[]", "found a [ ] whose name cannot be used, the username field has 0 octets, expected 1 to 255"),
    ("[a\x01b]", "found a [ ] whose name cannot be used, the user name has control, format or unassigned"),
    (f"[{'a' * 256}]", "found a [ ] whose name cannot be used, the username field has 256 octets"),
    ("[bob]\n[bob]", "found [bob] although there is [bob], expected each user once"),
    ("[bob]\n[Bob]", "found [Bob] although there is [bob], expected each user once, and names that differ in more"),
    ("[bob]\ngroup = x", "found the option 'group', did you mean groups? (expected one of passcode, groups, roles, "),
    ("[bob]\nroles = a\nroles = b", "found roles a second time, expected once"),
    ("[bob]\npasscode = hunter2", "found a passcode that is not such a hash, expected $scrypt$ln=…,r=…,p=…$salt$hash; "
                                  "`dimsetls user passwd` makes one"),
    ("[bob]\npasscode =", "found a passcode that is not such a hash"),
    ("[bob]\ndisabled = true", "found disabled = 'true', expected yes or no"),
    ("[bob]\ngroups = a,,b", "found 'a,,b', expected printable names, separated by commas, each once"),
    ("[bob]\nroles = a, a", "found 'a, a', expected printable names"),
    ("[bob]\nroles = a\u202e", "found 'a\\u202e', expected printable names"),
])
def test_a_mistake_is_named_with_its_line(text, sentence):
    [problem] = problems(text)
    assert problem.startswith(f"users:{len(text.strip().splitlines())}: {sentence}")
    assert "hunter2" not in problem


def test_all_mistakes_are_told_at_once():
    found = problems("x\n[alice]\nx\n[\0]\nroles = ,\n[bob]\ndisabled = 1\n")
    assert [each.split(":")[1] for each in found] == ["1", "3", "4", "5", "7"]


@pytest.mark.parametrize(("text", "found"), [("", ()), ("a", ("a",)), (" a b , c", ("a b", "c"))])
def test_names_are_separated_by_commas(text, found):
    assert names(text) == found


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o660, 0o610])
def test_a_file_that_others_may_read_is_refused(file, mode):
    file.chmod(mode)
    with pytest.raises(ConfigurationError) as caught:
        read(file)
    assert str(caught.value) == (
        f"{file} is open to group or others (mode 0{mode:o}); expected 0600 or 0400: chmod 600 {file}"
    )


def test_a_file_that_is_not_there_or_not_text_is_refused(file, tmp_path):
    with pytest.raises(ConfigurationError, match="cannot be read: No such file or directory; expected a file of users"):
        read(tmp_path / "none")
    file.write_bytes(b"\xff")
    with pytest.raises(ConfigurationError, match="is not text in UTF-8"):
        read(file)


# The same time for everyone -------------------------------------------------------------------------------------------


@pytest.fixture
def work(monkeypatch):
    """The parameters of every scrypt that is computed."""
    done = []
    scrypt = hashlib.scrypt

    def watched(passcode, **parameters):
        done.append((parameters["n"], parameters["r"], parameters["p"]))
        return scrypt(passcode, **parameters)

    monkeypatch.setattr(module.hashlib, "scrypt", watched)
    return done


@pytest.mark.parametrize("name", ["alice", "bob", "carol", "nobody"])
@pytest.mark.parametrize("octets", [WORD, b"wrong"])
def test_every_user_and_nobody_take_the_same_work(back_end, reactor, work, name, octets):
    asked(reactor, back_end, passcode(name, octets))
    assert work == [(1024, 8, 1)]


@pytest.mark.parametrize("name", ["alice", "bob", "dave", "nobody"])
def test_with_two_costs_in_the_file_everyone_takes_both(work, name):
    dave = User("dave", PasscodeHash.make(Secret(WORD), Cost(11)))
    found = parse("\n".join(line for user in (*USERS, dave) for line in user.lines), "users")
    work.clear()
    assert found.admit(name, Secret(WORD)) == (name in ("alice", "dave"))
    assert sorted(work) == [(1024, 8, 1), (2048, 8, 1)]


def test_a_file_without_passcodes_takes_the_work_of_a_new_one(work):
    assert not parse("", "users").admit("nobody", Secret(WORD))
    assert work == [(1 << 15, 8, 1)]


def test_nobody_is_admitted_even_if_the_hash_that_stands_in_should_fit(monkeypatch):
    monkeypatch.setattr(module.PasscodeHash, "is_of", lambda kept, passcode: True)
    found = parse("\n".join(ALICE.lines), "users")
    assert found.admit("alice", Secret(WORD))
    assert not found.admit("nobody", Secret(WORD))


# The back end ---------------------------------------------------------------------------------------------------------


def test_a_user_is_verified_with_groups_and_roles(back_end, reactor):
    expected = Verified("alice", "local", frozenset({"radiology", "night shift"}), frozenset({"technician"}))
    assert asked(reactor, back_end, passcode()) == expected
    assert asked(reactor, back_end, Username("alice")) == expected
    assert (back_end.cacheable, back_end.methods) == (True, {Method.USERNAME, Method.PASSCODE})


@pytest.mark.parametrize(("credential", "kind", "sentence"), [
    (passcode(octets=b"wrong"), IdentityDenied, "[users local] the passcode of 'alice' is wrong"),
    (passcode(octets=b""), IdentityDenied, "[users local] the passcode of 'alice' is wrong"),
    (passcode("bob", b"other"), IdentityDenied, "[users local] 'bob' is disabled"),
    (passcode("bob", b"wrong"), IdentityDenied, "[users local] 'bob' is disabled"),
    (Username("bob"), IdentityDenied, "[users local] 'bob' is disabled"),
    (passcode("carol"), IdentityDenied, "[users local] 'carol' has no passcode here, the name can only be asserted by "
                                        "a certificate"),
    (passcode("nobody"), IdentityUnknown, "[users local] has no user 'nobody'"),
    (passcode("Alice"), IdentityUnknown, "[users local] has no user 'Alice'"),
    (Username("nobody"), IdentityUnknown, "[users local] has no user 'nobody'"),
    (JSONWebToken(Secret(WORD)), IdentityDenied, "[users local] got jwt, expected a user name"),
])
def test_each_refusal_says_why(back_end, reactor, credential, kind, sentence):
    found = asked(reactor, back_end, credential)
    assert type(found) is kind
    assert str(found) == sentence
    assert "sesame" not in f"{found!r} {found.args}"


def test_the_realm_can_be_given(file, reactor):
    back_end = UsersFile(name="users local", file=file, realm="hospital", reactor=reactor)
    assert asked(reactor, back_end, Username("alice")).realm == "hospital"
    back_end.close()


def test_a_name_without_a_passcode_can_be_asserted(back_end, reactor):
    assert asked(reactor, back_end, Username("carol")).name == "carol"


def test_the_reactor_never_computes_and_never_reads(back_end, reactor, file, monkeypatch):
    threads = []

    def watched(real):
        return lambda *a, **k: threads.append(threading.current_thread()) or real(*a, **k)

    for place, function in ((module, "read"), (module, "_state"), (module.hashlib, "scrypt")):
        monkeypatch.setattr(place, function, watched(getattr(place, function)))
    write(file)
    asked(reactor, back_end, passcode())
    assert len(threads) == 3
    assert threading.current_thread() not in threads


def test_when_many_ask_at_once_some_are_told_to_come_again(file, reactor, monkeypatch):
    go = threading.Event()
    monkeypatch.setattr(module.hashlib, "scrypt", lambda *a, **k: go.wait(10) and b"")
    back_end = UsersFile(name="users local", file=file, threads=1, waiting=1, reactor=reactor)
    running = [Deferred.fromCoroutine(back_end.verify(passcode(), presenter())) for _ in range(3)]
    found = outcome(running[2])
    assert isinstance(found, IdentityUnavailable)
    running[1].cancel()
    assert isinstance(outcome(running[1]), CancelledError)
    go.set()
    assert isinstance(reactor.outcome(running[0]), IdentityDenied)
    back_end.close()


def test_what_was_wiped_while_it_waited_is_not_good(back_end, reactor):
    credential = passcode()
    credential.wipe()
    assert isinstance(asked(reactor, back_end, credential), IdentityDenied)


def test_the_steps_of_a_check_can_be_traced_without_the_passcode(file, reactor):
    said = []
    back_end = UsersFile(name="users local", file=file, reactor=reactor, trace=said.append)
    asked(reactor, back_end, passcode())
    asked(reactor, back_end, passcode("nobody"))
    back_end.close()
    assert said == [
        f"{file} has 3 users, 'alice' is one of them",
        "groups are radiology, night shift, roles are technician",
        f"{file} has 3 users, 'nobody' is none of them",
    ]


def test_a_file_that_cannot_be_used_is_reported_at_once_for_its_option(file, tmp_path):
    file.write_text("[alice]\nx\n[bob]\ny\n")
    with pytest.raises(ConfigurationError) as caught:
        UsersFile(name="users local", file=file)
    assert [each.split(": found")[0] for each in caught.value.problems] == [f"file: {file}:2", f"file: {file}:4"]
    with pytest.raises(ConfigurationError, match=r"^file: .* cannot be read: "):
        UsersFile(name="users local", file=tmp_path / "none")


# While it runs --------------------------------------------------------------------------------------------------------


def test_a_change_holds_from_the_next_check_on(back_end, reactor, file, logged):
    assert asked(reactor, back_end, passcode()).name == "alice"
    write(file, [User("alice", MADE, disabled=True), User("dave", MADE)])
    assert str(asked(reactor, back_end, passcode())) == "[users local] 'alice' is disabled"
    assert asked(reactor, back_end, passcode("dave")).groups == frozenset()
    assert logged() == [f"[users local] read {file} again: 2 users"]


def test_a_file_is_not_read_again_while_it_is_the_same(back_end, reactor, monkeypatch):
    monkeypatch.setattr(module, "read", lambda path: pytest.fail("it is the same"))
    for _ in range(2):
        assert asked(reactor, back_end, passcode()).name == "alice"


def change_text(file):
    file.write_text("[alice]\nx\n")


@pytest.mark.parametrize(("spoil", "problem"), [
    (change_text, "{file}:2: found a line that is neither, expected [user name], and below it option = value"),
    (lambda file: file.chmod(0o644),
     "{file} is open to group or others (mode 0644); expected 0600 or 0400: chmod 600 {file}"),
    (os.unlink, "{file} cannot be read: No such file or directory; expected a file of users, such as "
                "`dimsetls user add` makes"),
])
def test_a_file_that_cannot_be_used_any_more_changes_nothing_and_is_logged_once(
    back_end, reactor, file, logged, spoil, problem
):
    spoil(file)
    for _ in range(2):
        assert asked(reactor, back_end, passcode()).name == "alice"
    assert logged() == [f"[users local] {problem.format(file=file)}; the users stay as they were read before"]
    write(file, [User("dave", MADE)])
    assert isinstance(asked(reactor, back_end, passcode()), IdentityUnknown)
    assert logged()[1:] == [f"[users local] read {file} again: 1 users"]
    spoil(file)
    asked(reactor, back_end, passcode())
    assert len(logged()) == 3
