"""What people read is true: examples run, commands exist, snippets parse, links lead somewhere, tables are current."""

from __future__ import annotations

import importlib.util
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from pydicom.data import get_testdata_file
from pydicom.uid import UID
from twisted.scripts.twistd import ServerOptions

from dimsetls.association.admission import REJECT
from dimsetls.codes import ProviderReason
from dimsetls.dimse.status import Status
from dimsetls.node.cli import _parser, main
from dimsetls.node.ini import parse
from dimsetls.node.init import init
from dimsetls.node.prepare import prepare
from dimsetls.node.program import Options
from dimsetls.node.reading import load
from dimsetls.tls.conditions import CONDITIONS
from dimsetls.tls.material import KeyMaterial, TrustRoots

from .peers import dcmtk
from .peers.running import Node, Service, answers, eventually, free_port

ROOT = Path(__file__).parents[1]
README = ROOT / "README.md"
DOCS = ROOT / "docs"
PAGES = [*sorted(ROOT.glob("*.md")), *sorted(DOCS.rglob("*.md"))]
CT = Path(str(get_testdata_file("CT_small.dcm")))

page = pytest.mark.parametrize("page", PAGES, ids=lambda path: str(path.relative_to(ROOT)))


@dataclass(frozen=True)
class Block:
    """One fenced block: its language, its text, and the comment in the line before, which names it for a test."""

    language: str
    text: str
    name: str


FENCED = re.compile(r"(?:^<!-- ([\w ]+) -->\n)?^```(\w+)\n(.*?)^```$", re.DOTALL | re.MULTILINE)


def blocks(path: Path, language: str) -> list[Block]:
    return [Block(kind, text, name) for name, kind, text in FENCED.findall(path.read_text()) if kind == language]


def block(path: Path, language: str, name: str) -> str:
    (found,) = (each.text for each in blocks(path, language) if each.name == name)
    return found


def prose(path: Path) -> str:
    return re.sub(r"^```.*?^```$", "", path.read_text(), flags=re.DOTALL | re.MULTILINE)


def commands(path: Path) -> Iterator[list[str]]:
    """Every command that a reader may paste, as words."""
    for each in [*blocks(path, "sh"), *blocks(path, "console")]:
        joined = each.text.replace("\\\n", " ")
        lines = [line for line in joined.splitlines() if each.language == "sh" or line.startswith("$ ")]
        for line in filter(str.strip, lines):
            yield shlex.split(line.removeprefix("$ "), comments=True)


def test_the_pages_are_there() -> None:
    assert len(PAGES) >= 14
    assert sum(1 for path in PAGES for _ in commands(path)) >= 40


def test_the_readme_is_short() -> None:
    assert len(README.read_text().splitlines()) <= 150


@page
def test_links_lead_somewhere(page: Path) -> None:
    broken = []
    for target in re.findall(r"\]\(([^)\s]+)\)", prose(page)):
        if target.startswith("https://"):
            continue
        name, _, anchor = target.partition("#")
        there = (page.parent / name) if name else page
        if not there.is_file() or (anchor and anchor not in anchors(there)):
            broken.append(target)
    assert broken == []


def anchors(path: Path) -> set[str]:
    """Headings as links name them."""
    headings = re.findall(r"^#+ (.*)$", prose(path), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@page
def test_ini_snippets_are_read(page: Path, tmp_path: Path) -> None:
    """A snippet is laid over a node with one listener, AE and store; what it refers to must be there or in it."""
    for snippet in blocks(page, "ini"):
        sections, mistakes = parse(snippet.text)
        assert mistakes == []
        node = {
            ("listener", "main"): {"port": "2762", "tls": "secure", "aes": "DIMSETLS"},
            ("tls", "secure"): {"certificate": "server.pem", "private-key": "server.key", "trust-roots": "ca.pem"},
            ("ae", "DIMSETLS"): {"storage": "archive"},
            ("storage", "archive"): {"directory": "store"},
        }
        for section in sections:
            options = node.setdefault((section.kind, section.name), {})
            if "endpoint" in section.entries:
                del options["port"]
            options.update({name: entry.text for name, entry in section.entries.items()})
        ini = tmp_path / "snippet.ini"
        ini.write_text("".join(
            f"[{kind} {name}]\n" + "".join(f"{option} = {value}\n" for option, value in options.items())
            for (kind, name), options in node.items()
        ))
        load(ini)


@page
def test_commands_exist(page: Path) -> None:
    targets = set(re.findall(r"^(\w+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    for words in commands(page):
        program, *rest = words
        if program == "make":
            assert rest[0] in targets
        elif program.endswith("twistd"):
            assert_twistd_takes(rest)
        elif Path(program).name == "dimsetls":
            _parser().parse_args(rest)
        for number, word in enumerate(rest):
            if Path(word).name == "twistd":
                assert_twistd_takes(rest[number + 1 :])
            elif Path(word).name == "dimsetls" and "/bin/" in word:
                _parser().parse_args(rest[number + 1 :])


def assert_twistd_takes(words: list[str]) -> None:
    taken = {"help"} | {option.rstrip("=") for option in ServerOptions().longOpt}
    for word in words:
        if word == "dimsetls":
            taken = {option.rstrip("=") for option in Options().longOpt}
        elif word.startswith("--"):
            assert word[2:].partition("=")[0] in taken


@page
def test_commands_in_running_text_exist(page: Path) -> None:
    known = _parser().format_help()
    for found in re.findall(r"`dimsetls ([a-z]+)", prose(page)):
        assert re.search(rf"^\s+{found}\b", known, re.MULTILINE), f"dimsetls {found} does not exist"


def test_generated_parts_are_current() -> None:
    specification = importlib.util.spec_from_file_location("generate", DOCS / "generate.py")
    assert specification is not None
    assert specification.loader is not None
    generate = importlib.util.module_from_spec(specification)
    specification.loader.exec_module(generate)
    stale = [str(path) for path in PAGES if generate.current(path.read_text()) != path.read_text()]
    assert stale == [], "run: python docs/generate.py"
    everything = "".join(path.read_text() for path in PAGES)
    assert [name for name in generate.PARTS if f"<!-- begin {name} -->" not in everything] == []


@page
def test_quoted_log_lines_say_what_the_code_says(page: Path) -> None:
    for sentence, name in re.findall(r"no association with \S+: (.*?) \(([a-z-]+):", page.read_text()):
        expected = re.escape(sentence).replace("…", ".*")
        assert re.fullmatch(expected, CONDITIONS[name].sentence), f"{page.name} quotes {name} as {sentence}"


def test_every_rejection_abort_and_status_is_explained() -> None:
    page = (DOCS / "reference" / "statuses.md").read_text()
    for result, source, reason in [*REJECT.values(), (1, 2, 2)]:
        assert f"({result},{source},{reason})" in page
    code = "".join(
        path.read_text() for room in ("ul", "dimse", "association", "services") for path in
        sorted((ROOT / "dimsetls" / room).glob("*.py")) if path.name != "status.py"
    )
    statuses = {Status[name] for name in re.findall(r"\bStatus\.([A-Z_]+)\b", code)}
    assert len(statuses) >= 8
    assert [f"{status:04X}H" for status in statuses if f"| {status:04X}H |" not in page] == []
    reasons = {ProviderReason[name] for name in re.findall(r"\bProviderReason\.([A-Z_]+)\b", code)}
    reasons |= {ProviderReason.INVALID_PDU_PARAMETER_VALUE}  # the one that need not be named
    reasons -= {ProviderReason.REASON_NOT_SPECIFIED}
    assert [reason.name for reason in reasons if f"(2,{int(reason)})" not in page] == []


def test_the_house_names_rooms_and_files_that_are_there() -> None:
    tree = (DOCS / "explanation" / "house.md").read_text()
    package = ROOT / "dimsetls"
    path: list[str] = []
    named = set()
    for indent, name in re.findall(r"^( +)([\w]+(?:/|\.py))", tree, re.MULTILINE):
        path = [*path[: len(indent) // 2 - 1], name]
        named.add("".join(path))
    assert len(named) > 40
    there = {str(file.relative_to(package)) for file in package.rglob("*.py")}
    assert {name for name in named if name.endswith(".py")} - there == set()
    rooms = {f"{file.parent.relative_to(package)}/" for file in package.rglob("*/__init__.py")}
    assert {name for name in named if name.endswith("/")} == rooms


def test_no_file_names_a_place_on_one_machine() -> None:
    listed = subprocess.run(["git", "ls-files", "-co", "--exclude-standard", "-z"], cwd=ROOT, capture_output=True)
    if listed.returncode:
        pytest.skip("not a git checkout")
    machine = re.compile(rb"(?<![\w.$}-])/(?:work|root|tmp|home)\b")
    named = []
    for name in filter(None, listed.stdout.decode().split("\0")):
        path = ROOT / name
        content = path.read_bytes() if path.is_file() else b""
        if b"\0" not in content and machine.search(content):
            named.append(name)
    assert named == []


# What runs ------------------------------------------------------------------------------------------------------------


def here(code: str, pki: Path, port: int) -> str:
    """An example with the keys and the port of this test."""
    assert "var/pki" in code
    assert "2762" in code
    return code.replace("var/pki", str(pki)).replace("2762", str(port))


def run_python(code: str, directory: Path, *arguments: object) -> Service:
    (directory / "example.py").write_text(code)
    return Service([sys.executable, "-u", "example.py", *map(str, arguments)], cwd=directory)


def store(port: int, pki: Path, *options: object) -> subprocess.CompletedProcess[str]:
    return dcmtk.run("storescu", *dcmtk.WAITS, *dcmtk.secured(pki), *options, "127.0.0.1", port, CT)


@pytest.mark.peers
def test_the_scp_in_15_lines(pki: Path, tmp_path: Path) -> None:
    code = block(README, "python", "scp")
    assert sum(bool(line.strip()) for line in code.splitlines()) <= 15
    port = free_port()
    scp = run_python(here(code, pki, port), tmp_path)
    try:
        eventually(lambda: answers(port), "the SCP listens")
        assert store(port, pki, "-aec", "PRINTER").returncode == 0
        assert scp.expect("sent")[0] == "STORESCU sent CT Image Storage"
    finally:
        scp.kill()


@pytest.mark.peers
def test_asking_another_node(node: Node, pki: Path, tmp_path: Path) -> None:
    with node.running() as service:
        scu = run_python(here(block(README, "python", "scu"), pki, service.port()), tmp_path)
        assert scu.wait() == 0
    assert re.fullmatch(r"TLSv1\.3 \S+ answered 0", scu.log)


@pytest.mark.peers
def test_the_program_of_the_page_on_embedding(pki: Path, tmp_path: Path) -> None:
    pieces = [each.text for each in blocks(DOCS / "how-to" / "embed.md", "python") if not each.name]
    port = free_port()
    program = run_python(here("\n\n".join(pieces), pki, port), tmp_path)
    uid = UID("1.3.6.1.4.1.5962.1.1.1.1.1.20040119072730.12322")
    try:
        eventually(lambda: answers(port), "the program listens")
        assert store(port, pki, "-aec", "CHECKSUMS").returncode == 0
        program.expect(rf"^{uid} [0-9a-f]{{64}}$")
        assert store(port, pki, "-aec", "FEW").returncode != 0
        program.expect("answered 0124H .*: not for this certificate")
        assert store(port, pki, "-aec", "ARCHIVE", "-aet", "ANOTHER").returncode != 0
        program.expect(r"refused ANOTHER .*\(1,1,3\): only STORESCU may call here")
        assert store(port, pki, "-aec", "ARCHIVE").returncode == 0
        program.expect(f"^stored {uid}$")
        program.expect("released STORESCU .* 1 instances", 2)
        assert [path.name for path in (tmp_path / "archive").glob("*.dcm")] == [f"{uid}.dcm"]
        program.stop()
    finally:
        program.kill()
    assert not program.lines("Traceback|Unhandled")


@pytest.mark.parametrize("name", ["in memory", "operations in memory", "many in memory"])
def test_the_tests_in_memory_of_the_page_on_embedding(name: str) -> None:
    names: dict[str, object] = {}
    exec(block(DOCS / "how-to" / "embed.md", "python", name), names)
    (test,) = (value for each, value in names.items() if each.startswith("test_"))
    assert callable(test)
    test()


def test_the_examples_of_the_page_on_handlers() -> None:
    names: dict[str, object] = {}
    for each in blocks(DOCS / "reference" / "handlers.md", "python"):
        exec(compile(each.text, "handlers.md", "exec"), names)


@pytest.mark.parametrize("endpoint", re.findall(r"`(dicomtls:[^`]*KEYS)`", (DOCS / "how-to" / "embed.md").read_text()))
def test_endpoint_strings_are_understood(endpoint: str, pki: Path) -> None:
    keys = f"certKey={pki}/server.pem:privateKey={pki}/server.key:trustRoots={pki}/ca.pem"
    script = ("import sys; from twisted.internet import endpoints, reactor; "
              "endpoints.serverFromString(reactor, sys.argv[1])")
    # What systemd hands over is numbered from 3, and named in the environment of the process with this number.
    command = f'export LISTEN_PID=$$ LISTEN_FDS=1 LISTEN_FDNAMES=dicom; exec "{sys.executable}" -c "$0" "$1"'
    subprocess.run(["sh", "-c", command, script, endpoint.replace("KEYS", keys)], check=True)


@pytest.mark.peers
def test_the_commands_for_dcmtk_and_what_the_log_says(node: Node, pki: Path, tmp_path: Path) -> None:
    tutorial = DOCS / "tutorials" / "first-secure-association.md"
    (tmp_path / "directory").mkdir()
    (tmp_path / "directory" / "ct.dcm").write_bytes(CT.read_bytes())
    with node.running() as service:
        places = {"FILE": CT, "ct.dcm": CT, "DIRECTORY": tmp_path / "directory", "2762": service.port()}
        ran = 0
        for path in (tutorial, README, DOCS / "how-to" / "peers.md"):
            for program, *words in commands(path):
                if program in ("echoscu", "storescu") and "+cf" in words:
                    words = [str(places.get(word, word)).replace("var/pki", str(pki)) for word in words]
                    ended = dcmtk.run(program, *words)
                    assert ended.returncode == ("+tla" in words), ended.stdout
                    ran += 1
        assert ran >= 8
        service.expect(" released ", ran - 1)
        log = masked(service.log.replace(str(pki), "var/pki"))
    quoted = [line for each in blocks(tutorial, "text") for line in each.text.splitlines()]
    quoted += [line for each in blocks(tutorial, "console") for line in each.text.splitlines()
               if "dimsetls.node#" in line]
    assert len(quoted) >= 6
    # An ellipsis stands for whatever there is.
    patterns = {line: re.escape(masked(line)).replace("…", ".*") + "$" for line in quoted}
    assert [line for line, pattern in patterns.items() if not re.search(pattern, log, re.MULTILINE)] == []


def masked(line: str) -> str:
    """A line of the log without what differs from run to run."""
    return re.sub(r"\d+(?:\.\d+)?", "0", re.sub(r"\[[0-9a-f]{8}\]", "[]", line))


@pytest.mark.peers
def test_the_example_for_pynetdicom(node: Node, pki: Path, tmp_path: Path) -> None:
    code = block(DOCS / "how-to" / "peers.md", "python", "pynetdicom")
    with node.running() as service:
        sender = run_python(here(code, pki, service.port()), tmp_path, CT)
        assert sender.wait() == 0, sender.log
    assert sender.log == "status 0000H"


def test_the_commands_for_keys_and_revocation(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Each in the order of the page, and each snippet laid over what those before it made of the node."""
    tutorial, how_to = DOCS / "tutorials" / "first-secure-association.md", DOCS / "how-to" / "keys-and-revocation.md"
    clone = tmp_path / "clone"
    ini = init(clone / "var")

    def run(script: str) -> None:
        command = f'"{sys.executable}" -c "from dimsetls.node.cli import main; raise SystemExit(main())"'
        script = script.replace(".venv/bin/dimsetls", command)
        ended = subprocess.run(["sh", "-ec", script], cwd=clone, capture_output=True, text=True)
        assert ended.returncode == 0, ended.stderr

    run(block(tutorial, "sh", "certificates"))
    run(next(each.text for each in blocks(tutorial, "sh") if each.text.startswith("rm var/pki")))
    ran = 0
    for name, language, text in FENCED.findall(how_to.read_text()):
        if language == "sh" and name:
            run(text)
            ran += 1
        if language == "ini" and "credential:" not in text and "ocsp-responder" not in text:
            before = ini.read_text()
            for section in text.strip().split("\n\n"):
                heading, *options = section.splitlines()
                for option in options if heading in before else ():
                    before = re.sub(rf"^{option.split(' = ')[0]} = .*\n", "", before, flags=re.MULTILINE)
                    before = before.replace(f"\n{heading}\n", f"\n{heading}\n{option}\n")
                before += f"\n{section}\n" if heading not in before else ""
            ini.write_text(before)
            assert main(["check", str(ini)]) == 0, capsys.readouterr().err
    assert ran >= 8
    (connections,) = prepare(ini).connections.values()
    assert [name for name, _ in connections.served] == [None, "archive.example.org"]
    assert (clone / "var" / "imported" / "ca.pem").read_bytes() == (tmp_path / "dicom-ca" / "ca.pem").read_bytes()


def test_certificates_of_ones_own(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    tutorial = DOCS / "tutorials" / "first-secure-association.md"
    clone = tmp_path / "clone"
    ini = init(clone / "var")
    ini.write_text(ini.read_text().replace("interface = 127.0.0.1", "interface = 0.0.0.0"))
    assert main(["check", str(ini)]) == 1
    place = next(each.text for each in blocks(tutorial, "sh") if each.text.startswith("rm var/pki"))
    script = block(tutorial, "sh", "certificates") + place
    said = subprocess.run(["sh", "-ec", script], cwd=clone, capture_output=True, text=True, check=True)
    assert "client.pem: OK" in said.stdout
    assert main(["check", str(ini)]) == 0
    said_by_check = masked("".join(capsys.readouterr()).replace(f"{clone}/", ""))
    quoted = [line for each in blocks(tutorial, "console") if "dimsetls check" in each.text.splitlines()[0]
              for line in each.text.splitlines()[1:]]
    assert len(quoted) >= 7
    assert [line for line in quoted if masked(line).replace("…/", "") not in said_by_check] == []
    for name in ("server", "client"):
        KeyMaterial.load(clone / f"var/pki/{name}.pem", clone / f"var/pki/{name}.key")
    assert len(TrustRoots.load(clone / "var/pki/ca.pem").certificates) == 1
