"""The house stands: imports point down only, nothing goes in circles, and the pure rooms load nothing heavy."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

import dimsetls
from dimsetls import errors

PACKAGE = Path(dimsetls.__file__).parent
LONGEST_FILE = 500

# Rooms by floor, top down: a room may import those on floors below, and its own modules. Rooms on one floor stand
# side by side and do not know each other.
FLOORS = [{"node"}, {"services"}, {"association"}, {"identity"}, {"tls"}, {"dimse"}, {"ul"}, {"ground"}]
FLOOR = {room: len(FLOORS) - number for number, rooms in enumerate(FLOORS) for room in rooms}
GROUND = {"codes", "errors", "exports", "uids", "__init__"}

MODULES = {
    ".".join(("dimsetls", *path.relative_to(PACKAGE).with_suffix("").parts)).removesuffix(".__init__"): path
    for path in sorted(PACKAGE.rglob("*.py"))
}


@dataclass(frozen=True)
class Import:
    importer: str
    imported: str
    line: int
    for_types_only: bool

    def __str__(self) -> str:
        return f"{self.importer}:{self.line} imports {self.imported}"


def room(module: str) -> str:
    """The room of a module; `testing` is the kit for embedders and has a rule of its own."""
    parts = module.split(".")
    if len(parts) == 1 or (len(parts) == 2 and parts[1] in GROUND):
        return "ground"
    if module == "dimsetls.testing":
        return "testing"
    return parts[1]


def imports(module: str) -> Iterator[Import]:
    """What the module imports of ours, inside functions too."""
    path = MODULES[module]
    tree = ast.parse(path.read_bytes())
    for_types: set[ast.AST] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.If) and ast.unparse(node.test) in ("TYPE_CHECKING", "typing.TYPE_CHECKING"):
            for statement in node.body:
                for_types.update(ast.walk(statement))
    package = module if path.name == "__init__.py" else module.rpartition(".")[0]
    for node in ast.walk(tree):
        found: list[str] = []
        if isinstance(node, ast.Import):
            found = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                above = package.split(".")[: len(package.split(".")) - node.level + 1]
                base = ".".join((*above, base)).rstrip(".")
            # `from package import name` means the module of that name where there is one.
            names = [f"{base}.{alias.name}" for alias in node.names]
            found = [name if name in MODULES else base for name in names]
        for name in found:
            if name in MODULES:
                yield Import(module, name, node.lineno, node in for_types)  # type: ignore[attr-defined]


IMPORTS = [found for module in MODULES for found in imports(module)]


def test_every_module_is_in_a_room() -> None:
    assert {room(module) for module in MODULES} <= {*FLOOR, "testing"}
    assert len(IMPORTS) > 30  # the search below is not empty


def test_imports_point_down_only() -> None:
    wrong = [
        str(found)
        for found in IMPORTS
        for above, below in [(room(found.importer), room(found.imported))]
        if "testing" not in (above, below) and above != below and FLOOR[above] <= FLOOR[below]
    ]
    assert wrong == []


def test_the_kit_for_embedders_is_imported_by_nobody_and_knows_nothing_above_association() -> None:
    assert [str(found) for found in IMPORTS if room(found.imported) == "testing"] == []
    known = {room(found.imported): str(found) for found in IMPORTS if room(found.importer) == "testing"}
    assert [text for below, text in known.items() if FLOOR[below] > FLOOR["association"]] == []


def reachable(start: str, graph: dict[str, set[str]]) -> set[str]:
    seen: set[str] = set()
    todo = [*graph[start]]
    while todo:
        module = todo.pop()
        if module not in seen:
            seen.add(module)
            todo += graph[module]
    return seen


def test_no_import_goes_in_a_circle() -> None:
    graph: dict[str, set[str]] = {module: set() for module in MODULES}
    for found in IMPORTS:
        if not found.for_types_only:
            graph[found.importer].add(found.imported)
    circles = {frozenset(m for m in reached if module in reachable(m, graph))
               for module in graph if module in (reached := reachable(module, graph))}  # fmt: skip
    assert [sorted(circle) for circle in circles] == []


@pytest.mark.parametrize("pure", ["ul", "dimse"])
def test_a_pure_room_loads_neither_twisted_nor_openssl_nor_pydicom(pure: str) -> None:
    modules = [module for module in MODULES if room(module) == pure]
    script = f"import sys, {', '.join(modules)}; print(*sys.modules)"
    command = [sys.executable, "-c", script]
    loaded = subprocess.run(command, capture_output=True, text=True, check=True, cwd=PACKAGE.parent).stdout.split()
    assert {f"dimsetls.{pure}", *modules} <= {*loaded}
    assert [name for name in loaded if name.startswith(("twisted", "OpenSSL", "pydicom"))] == []


@pytest.mark.parametrize("module", MODULES)
def test_a_file_can_be_read_in_one_sitting(module: str) -> None:
    assert len(MODULES[module].read_text().splitlines()) <= LONGEST_FILE


# Back ends -----------------------------------------------------------------------------------------------------------

BACK_ENDS = {path.parent.name for path in PACKAGE.glob("identity/*/__init__.py")} - {"http"}
"""Rooms within `identity`."""

PACKAGES = {"ldap3", "gssapi", "joserfc", "lxml", "signxml"}
NEEDED = {
    "users": set(),
    "ldap": {"ldap3"},
    "kerberos": {"gssapi"},
    "saml": {"lxml", "signxml"},
    "jwt": {"joserfc"},
    "introspection": set(),
    "certificate-identity": set(),
}
"""By kind of section, what its back end cannot do without."""


def back_end(module: str) -> str | None:
    parts = module.split(".")
    return parts[2] if parts[1:2] == ["identity"] and parts[2:3] and parts[2] in BACK_ENDS else None


def test_back_ends_stand_side_by_side_and_the_gate_knows_none_of_them() -> None:
    assert {"ldap", "kerberos", "oauth", "saml"} <= BACK_ENDS
    wrong = [
        str(found)
        for found in IMPORTS
        if room(found.importer) == "identity" and not found.importer.startswith("dimsetls.identity.http.")
        and back_end(found.imported) not in (None, back_end(found.importer))
    ]  # fmt: skip
    assert wrong == []


def loaded_by(script: str, *arguments: str) -> set[str]:
    """Which of PACKAGES a program has loaded at its end."""
    command = [sys.executable, "-c", f"{script}\nimport sys; print(*sys.modules)", *arguments]
    answer = subprocess.run(command, capture_output=True, text=True, cwd=PACKAGE.parent, check=False)
    assert answer.returncode == 0, answer.stderr
    return PACKAGES & {*answer.stdout.splitlines()[-1].split()}


@pytest.fixture
def ini(tmp_path: Path) -> Path:
    """A node without identities."""
    from dimsetls.node.cli import main

    assert main(["init", str(tmp_path / "var")]) == 0
    return tmp_path / "var/dimsetls.ini"


def test_a_node_without_identities_loads_nothing_for_them(ini: Path) -> None:
    entries = ("cli", "options", "program", "service")
    assert loaded_by(f"import {', '.join(f'dimsetls.node.{each}' for each in entries)}") == set()
    check = "from dimsetls.node.cli import main; import sys; assert main(['check', sys.argv[1]]) == 0"
    assert loaded_by(check, str(ini)) == set()


MAKE = """
import sys
from pathlib import Path
from dimsetls.errors import ConfigurationError
from dimsetls.node.identity.build import authenticator
from dimsetls.node.identity.sections import BackEnd
kind, directory = sys.argv[1], Path(sys.argv[2])
options = {
    "users": {"file": directory / "none"},
    "ldap": {"servers": ["ldaps://localhost"], "dn_template": "uid={user},dc=example"},
    "kerberos": {"keytab": directory / "dicom.keytab"},
    "saml": {"issuer": "i", "certificates": [], "audience": ["a"]},
    "jwt": {"issuer": "i", "audience": ["a"], "jwks_file": directory / "none"},
    "introspection": {"url": "https://localhost", "trust_roots": directory / "none", "issuer": "i", "audience": ["a"],
                      "client_id": "c"},
    "certificate-identity": {"certificates": [], "name_from": None},
}
try:
    authenticator(BackEnd(kind, "x", options[kind])).close()
except ConfigurationError as error:
    print(error)
"""

KEYTAB = bytes.fromhex(
    "0502" "00000046" "0002" "0004" "54455354" "0005" "6469636f6d" "0004" "70616373" "00000001" "00000000" "01"
    "0012" "0020"
) + bytes(range(32)) + bytes.fromhex("00000001")
"""A key for dicom/pacs@TEST."""


@pytest.mark.parametrize("kind", NEEDED)
def test_a_back_end_loads_what_it_needs_and_nothing_for_another(kind: str, tmp_path: Path) -> None:
    (tmp_path / "dicom.keytab").write_bytes(KEYTAB)
    (tmp_path / "dicom.keytab").chmod(0o600)
    assert loaded_by(MAKE, kind, str(tmp_path)) == NEEDED[kind]


def test_the_tree_of_exceptions_is_drawn_in_full() -> None:
    """Of every class in the package, by its source, so that nothing has to be imported that wants an extra."""
    bases = {
        node.name: [ast.unparse(base).rpartition(".")[2] for base in node.bases]
        for path in MODULES.values() for node in ast.walk(ast.parse(path.read_bytes()))
        if isinstance(node, ast.ClassDef)
    }

    def below(name: str, depth: int = 0) -> Iterator[tuple[int, str]]:
        yield depth, name
        for child in sorted(child for child, parents in bases.items() if name in parents):
            yield from below(child, depth + 1)

    drawn: list[tuple[int, str]] = []
    for line in (errors.__doc__ or "").splitlines():
        if found := re.match(r"    ((?:[│ ]   )*)(?:[├└]── )?([A-Z]\w+)(?: |$)", line):
            depth = len(found[1]) // 4 + ("──" in line)
            drawn.append((depth, found[2]))
    assert sorted(drawn) == sorted(below("DimsetlsError"))
