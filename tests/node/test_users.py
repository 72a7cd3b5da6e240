from __future__ import annotations

import fcntl
import io
import json
import os
import pty
import re
import shlex
import subprocess
import sys
import termios
import threading
from pathlib import Path

import pytest

from dimsetls.errors import ConfigurationError
from dimsetls.identity import users as users_file
from dimsetls.identity.credentials import Secret
from dimsetls.identity.users import Cost, read
from dimsetls.node import users as module
from dimsetls.node.cli import main
from dimsetls.node.users import add, change, delete

WORD = "correct horse"


@pytest.fixture
def file(tmp_path):
    return tmp_path / "users"


@pytest.fixture
def run(file, capsys, monkeypatch):
    """Run `dimsetls user` on the file; its exit status, and what it said."""

    def run_(*arguments, stdin=WORD, place=True):
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(stdin.encode())))
        where = ["--file", str(file)] if place else []
        status = main(["user", *arguments, *where])
        said = capsys.readouterr()
        assert (said.out == "") is (status != 0)
        assert (said.err == "") is (status == 0)
        return status, said.out + said.err

    return run_


def users(file):
    return read(file)[1].by_name


def is_passcode(file, name, passcode):
    return read(file)[1].admit(name, Secret(passcode.encode()))


def usage_error(capsys, *arguments):
    with pytest.raises(SystemExit) as caught:
        main(["user", *arguments])
    assert caught.value.code == 2
    return capsys.readouterr().err


# Commands -------------------------------------------------------------------------------------------------------------


def test_the_life_of_a_user(run, file):
    added = run("add", "alice", "--group", "radiology", "--group", "night shift", "--role", "tech", "--passcode-stdin")
    assert added == (0, f"Added alice to {file}.\n")
    assert file.stat().st_mode & 0o777 == 0o600
    alice = users(file)["alice"]
    assert (alice.groups, alice.roles, alice.disabled) == (("radiology", "night shift"), ("tech",), False)
    assert alice.passcode.cost == Cost()
    assert is_passcode(file, "alice", WORD)
    assert WORD not in file.read_text()

    assert run("passwd", "alice", "--passcode-stdin", stdin="battery staple\n") == (
        0, f"alice in {file} has another passcode.\n"
    )
    assert is_passcode(file, "alice", "battery staple")
    assert users(file)["alice"].groups == alice.groups

    assert run("change", "alice", "--disable", "--group", "surgery", "--no-roles") == (
        0, f"{file} now has:\nalice  disabled  groups: surgery\n"
    )
    assert run("change", "alice", "--enable")[1].endswith("alice  enabled   groups: surgery\n")
    assert is_passcode(file, "alice", "battery staple")

    assert run("del", "alice") == (0, f"Deleted alice from {file}.\n")
    assert users(file) == {}
    assert run("list") == (0, f"{file} has no users.\n")


def test_the_list(run, file):
    add(file, "alice", Secret(b"x"), ("radiology", "night"), ("tech",))
    add(file, "bo", None, disabled=True)
    assert run("list") == (0, "alice  enabled   groups: radiology, night  roles: tech\nbo     disabled  no passcode\n")
    said = run("list", "--json")[1]
    assert json.loads(said) == [
        {"name": "alice", "groups": ["radiology", "night"], "roles": ["tech"], "disabled": False, "has_passcode": True},
        {"name": "bo", "groups": [], "roles": [], "disabled": True, "has_passcode": False},
    ]
    assert "scrypt" not in said


def test_a_user_without_a_passcode(run, file):
    assert run("add", "gateway", "--no-passcode", "--disable")[0] == 0
    assert users(file)["gateway"].passcode is None
    assert users(file)["gateway"].disabled


def test_a_name_is_composed_and_printable(run, file):
    assert run("add", "u\u0308", "--no-passcode") == (0, f"Added ü to {file}.\n")
    assert run("add", "a\u202eb", "--no-passcode") == (
        1, "'a\\u202eb' cannot be a user name: the user name has control, format or unassigned characters, or spaces "
           "around it\n"
    )
    assert run("del", "\udcff") == (1, "'\\udcff' cannot be a user name: the user name is not UTF-8\n")


@pytest.mark.parametrize("arguments", [("passwd", "alcie", "--passcode-stdin"), ("change", "alcie", "--disable"),
                                       ("del", "alcie")])
def test_a_user_who_is_not_there(run, file, arguments):
    add(file, "alice", None)
    before = file.read_bytes()
    assert run(*arguments) == (1, f"{file} has no user 'alcie'; did you mean alice?\n")
    assert file.read_bytes() == before


@pytest.mark.parametrize("name", ["alice", "Alice"])
def test_a_user_who_is_there_already_is_refused_before_a_passcode_is_asked_for(run, file, name, monkeypatch):
    add(file, "alice", None)
    monkeypatch.setattr(module, "getpass", lambda prompt: pytest.fail("asked"))
    assert run("add", name) == (1, f"{file} has a user 'alice' already, expected a name that differs from all others "
                                   "in more than letter case\n")


@pytest.mark.parametrize("arguments", ["list", "del alice", "passwd alice", "change alice --enable"])
def test_a_file_that_is_not_there(run, file, arguments):
    assert run(*arguments.split()) == (1, f"{file} cannot be read: No such file or directory; expected a file of "
                                          "users, such as `dimsetls user add` makes\n")
    assert not file.exists()


@pytest.mark.parametrize("arguments", [("list",), ("add", "bob", "--no-passcode"), ("del", "alice")])
def test_a_file_that_others_may_read_is_not_touched(run, file, arguments):
    add(file, "alice", None)
    file.chmod(0o644)
    before = file.read_bytes()
    assert run(*arguments) == (1, f"{file} is open to group or others (mode 0644); expected 0600 or 0400: chmod 600 "
                                  f"{file}\n")
    assert file.read_bytes() == before


def test_a_directory_that_is_not_there(run, file):
    assert run("add", "alice", "--no-passcode", "--file", str(file / "deeper"), place=False) == (
        1, f"{file / 'deeper'} cannot be written: No such file or directory; expected a directory where this user may "
           "write\n"
    )


def test_nothing_to_change(run, file):
    add(file, "alice", None)
    assert run("change", "alice") == (1, "found nothing to change of alice, expected --group, --no-groups, --role, "
                                         "--no-roles, --disable or --enable\n")


@pytest.mark.parametrize("option", ["--group", "--role"])
def test_groups_and_roles_are_printable_names(run, file, option):
    assert run("add", "alice", "--no-passcode", option, "a\nb") == (
        1, "--group and --role: found 'a\\nb', expected printable names, separated by commas, each once\n"
    )
    assert not file.exists()


@pytest.mark.parametrize("arguments", [
    "", "add", "add alice", "list", "list --file f --config c", "del --file f", "add a --file f --enable",
    "change a --file f --disable --enable", "add a --file f --no-passcode --passcode-stdin", "passwd a secret --file f",
    "passwd a --passcode secret --file f", "change a --file f --group g --no-groups",
])
def test_wrong_usage(capsys, arguments):
    assert usage_error(capsys, *arguments.split()).startswith("usage: dimsetls ")


@pytest.mark.parametrize("command", ["add", "passwd", "change", "del", "list"])
def test_each_help_has_one_example(capsys, command):
    with pytest.raises(SystemExit) as caught:
        main(["user", command, "--help"])
    assert caught.value.code == 0
    assert " ".join(capsys.readouterr().out.split()).count(f"Example: dimsetls user {command} ") == 1


# Where the file is ----------------------------------------------------------------------------------------------------


CONFIGURED = "[users local]\nfile = users\n"


@pytest.mark.parametrize(("text", "options"), [
    (CONFIGURED, ()), (CONFIGURED, ("--section", "local")),
    (CONFIGURED + "[users other]\nfile = elsewhere\n", ("--section", "local")),
    (CONFIGURED + "[users unfinished]\n", ()),
])
def test_the_configuration_says_where_the_file_is(run, file, tmp_path, monkeypatch, text, options):
    (tmp_path / "node.ini").write_text(text)
    monkeypatch.chdir(tmp_path)
    assert run("add", "alice", "--no-passcode", "--config", "node.ini", *options, place=False)[0] == 0
    assert [*users(file)] == ["alice"]


@pytest.mark.parametrize(("text", "options", "sentence"), [
    ("[node]\n", (), "found no [users NAME] with a file, expected one; or name the file by --file"),
    (CONFIGURED, ("--section", "x"), "found [users local], expected [users x]; or name the file by --file"),
    (CONFIGURED + "[users other]\nfile = x\n", (),
     "found [users local], [users other], expected one of them, by --section; or name the file by --file"),
])
def test_a_configuration_that_does_not_say(run, tmp_path, text, options, sentence):
    ini = tmp_path / "node.ini"
    ini.write_text(text)
    assert run("list", "--config", str(ini), *options, place=False) == (1, f"{ini}: {sentence}\n")


def test_a_configuration_that_cannot_be_read(run, tmp_path):
    ini = tmp_path / "node.ini"
    assert run("list", "--config", str(ini), place=False) == (
        1, f"{ini} cannot be read: No such file or directory; expected a configuration of dimsetls\n"
    )
    ini.write_bytes(b"\xff")
    assert "it is not text in UTF-8" in run("list", "--config", str(ini), place=False)[1]


# Passcodes ------------------------------------------------------------------------------------------------------------


WEAK = "; --weak-passcode takes it nevertheless\n"


@pytest.mark.parametrize(("passcode", "sentence"), [
    ("", "found nothing as the passcode, expected 1 to 1024 bytes\n"),
    ("\n", "found nothing as the passcode, expected 1 to 1024 bytes\n"),
    ("x" * 1025, "found more than 1024 bytes as the passcode, expected 1 to 1024 bytes\n"),
    ("x" * 3000, "found more than 1024 bytes as the passcode, expected 1 to 1024 bytes\n"),
    ("1234567\n", "found less than 8 characters as the passcode, expected at least 8 characters that are not the user "
                  "name" + WEAK),
    ("ÜÜÜÜ", "found less than 8 characters as the passcode, expected at least 8 characters that are not the user name"
             + WEAK),
    ("ALICE.Example", "found the user name as the passcode, expected at least 8 characters that are not the user name"
                      + WEAK),
    ("one two three\nfour", "found several lines in standard input, expected the passcode alone in one\n"),
])
def test_a_passcode_that_will_not_do(run, file, passcode, sentence):
    assert run("add", "alice.example", "--passcode-stdin", stdin=passcode) == (1, sentence)
    assert not file.exists()


@pytest.mark.parametrize(("passcode", "kept"), [
    ("8=octets", "8=octets"), ("x" * 1024 + "\r\n", "x" * 1024), ("ends in space \n", "ends in space "),
])
def test_a_passcode_that_will_do(run, file, passcode, kept):
    assert run("add", "alice", "--passcode-stdin", stdin=passcode)[0] == 0
    assert is_passcode(file, "alice", kept)


def test_a_weak_passcode_is_taken_in_words(run, file):
    assert run("add", "alice", "--passcode-stdin", "--weak-passcode", stdin="alice")[0] == 0
    assert is_passcode(file, "alice", "alice")


@pytest.mark.parametrize(("answers", "sentence"), [
    ([WORD, WORD + "x"], "found two different passcodes, expected the same twice; nothing was changed\n"),
    ([EOFError()], "there is no terminal to ask for the passcode, expected one, or --passcode-stdin\n"),
    ([KeyboardInterrupt()], "interrupted: nothing was changed\n"),
    (["\udcff"], "found a passcode that the terminal does not send in UTF-8, expected UTF-8, or --passcode-stdin\n"),
])
def test_what_can_go_wrong_at_a_terminal(run, file, monkeypatch, answers, sentence):
    def answer(prompt):
        found = answers.pop(0) if answers else WORD
        if isinstance(found, BaseException):
            raise found
        return found

    monkeypatch.setattr(module, "getpass", answer)
    assert run("add", "alice") == (1, sentence)
    assert not file.exists()


def in_terminal(*arguments, typed=()):
    """Run the command at a terminal of its own, and type when it asks; its exit status, and all that could be seen."""
    ours, theirs = pty.openpty()

    def own():
        os.setsid()
        fcntl.ioctl(0, termios.TIOCSCTTY, 0)

    program = "import sys; from dimsetls.node.cli import main; sys.exit(main(sys.argv[1:]))"
    running = subprocess.Popen([sys.executable, "-c", program, "user", *arguments], stdin=theirs, stdout=theirs,
                               stderr=theirs, preexec_fn=own)
    os.close(theirs)
    seen, answers = b"", list(typed)
    while True:
        try:
            chunk = os.read(ours, 1024)
        except OSError:  # the other side is closed
            break
        seen += chunk
        if answers and seen.endswith(b": "):
            os.write(ours, answers.pop(0).encode() + b"\n")
    os.close(ours)
    return running.wait(), seen.decode().replace("\r\n", "\n")


def test_a_terminal_is_asked_twice_and_shows_nothing(file):
    status, seen = in_terminal("add", "alice", "--file", str(file), typed=[WORD, WORD])
    assert (status, seen) == (0, f"Passcode of alice: \nOnce more: \nAdded alice to {file}.\n")
    assert is_passcode(file, "alice", WORD)


def test_a_passcode_is_not_read_from_a_terminal_that_would_show_it(file):
    status, seen = in_terminal("add", "alice", "--passcode-stdin", "--file", str(file))
    assert (status, seen) == (1, "--passcode-stdin at a terminal would show the passcode; leave the option out to be "
                                 "asked for it, or pipe it in\n")


def test_without_a_terminal_nobody_is_asked(file):
    program = "import sys; from dimsetls.node.cli import main; sys.exit(main(sys.argv[1:]))"
    ended = subprocess.run([sys.executable, "-c", program, "user", "add", "alice", "--file", str(file)], text=True,
                           capture_output=True, input=f"{WORD}\n{WORD}\n", start_new_session=True)
    assert (ended.returncode, ended.stdout) == (1, "")
    assert ended.stderr == "there is no terminal to ask for the passcode, expected one, or --passcode-stdin\n"


# The file -------------------------------------------------------------------------------------------------------------


BY_HAND = """\
; the staff

# the boss
[alice]
groups=radiology
# on leave until May
disabled = no

# the night
[bob]
roles = technician

"""


@pytest.fixture
def by_hand(file):
    file.write_text(BY_HAND)
    file.chmod(0o600)
    return file


def test_what_people_wrote_stays_but_for_what_is_changed(by_hand):
    change(by_hand, "alice", disabled=True)
    assert by_hand.read_text() == BY_HAND.replace(
        "groups=radiology\n# on leave until May\ndisabled = no",
        "# on leave until May\ngroups = radiology\ndisabled = yes",
    )
    delete(by_hand, "alice")
    assert by_hand.read_text() == "; the staff\n\n# the boss\n# the night\n[bob]\nroles = technician\n\n"
    add(by_hand, "carol", None)
    assert by_hand.read_text().endswith("[bob]\nroles = technician\n\n[carol]\n")
    delete(by_hand, "bob")
    assert [*users(by_hand)] == ["carol"]


def test_a_link_stays_one(by_hand, tmp_path):
    link = tmp_path / "link"
    link.symlink_to("users")
    add(link, "carol", None)
    assert link.is_symlink()
    assert "carol" in users(by_hand)


def test_the_mode_stays_and_nothing_is_left_behind(by_hand):
    by_hand.chmod(0o400)
    add(by_hand, "carol", None)
    assert by_hand.stat().st_mode & 0o777 == 0o400
    assert [each.name for each in by_hand.parent.iterdir()] == ["users"]


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files away")
def test_the_owner_stays(by_hand):
    os.chown(by_hand, 4711, -1)
    add(by_hand, "carol", None)
    assert by_hand.stat().st_uid == 4711


def test_the_file_is_whole_if_writing_fails(by_hand, monkeypatch):
    def full(descriptor):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(module.os, "fsync", full)
    with pytest.raises(ConfigurationError, match="cannot be written: No space left on device"):
        add(by_hand, "carol", None)
    assert by_hand.read_text() == BY_HAND
    assert [each.name for each in by_hand.parent.iterdir()] == ["users"]


def test_many_at_once_lose_nobody(by_hand):
    threads = [threading.Thread(target=add, args=(by_hand, f"user{number}", None)) for number in range(20)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(users(by_hand)) == 22


def test_who_changes_users_keeps_others_out_from_reading_to_writing(by_hand, monkeypatch):
    def kept_out(real):
        def call(*arguments):
            descriptor = os.open(by_hand.parent, os.O_RDONLY)
            with pytest.raises(BlockingIOError):
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            os.close(descriptor)
            tried.append(real)
            return real(*arguments)

        return call

    tried = []
    for place, name in ((module, "_replace"), (users_file, "read")):
        monkeypatch.setattr(place, name, kept_out(getattr(place, name)))
    add(by_hand, "carol", None)
    assert len(tried) == 2


# The page -------------------------------------------------------------------------------------------------------------


PAGE = (Path(__file__).parents[2] / "docs" / "how-to" / "identity-users-file.md").read_text()


def test_the_commands_of_the_page_work(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(module, "getpass", lambda prompt: WORD)
    Path("var").mkdir()
    [commands] = re.findall(r"<!-- life -->\n```sh\n(.*?)```", PAGE, re.DOTALL)
    for command in commands.splitlines():
        assert main(shlex.split(command)[1:]) == 0, command
    assert "alice  enabled   groups: surgery\n" in capsys.readouterr().out
    assert users(Path("var/users")) == {}


def test_the_file_of_the_page_is_read():
    [text] = re.findall(r"```text\n(.*?)```", PAGE, re.DOTALL)
    found = users_file.parse(text, "page")
    assert [*found.by_name] == ["alice", "gateway:reports"]
    assert found.admit("alice", Secret(WORD.encode()))
    assert text.startswith(module._HEADING)
