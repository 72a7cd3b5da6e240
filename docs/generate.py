"""Bring the parts of the reference pages that say what the code says up to date: `python docs/generate.py`.

A page holds such a part between `<!-- begin NAME -->` and `<!-- end NAME -->`; all else in it is written by hand.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from pathlib import Path

from dimsetls.node.conformance import markdown, statement
from dimsetls.node.explain import hexadecimal, in_order
from dimsetls.node.language import Option, SectionKind
from dimsetls.node.options import SECTIONS
from dimsetls.node.reading import load
from dimsetls.tls.policy import PROFILES, TLSPolicy, TLSVersion

DOCS = Path(__file__).parent
_PART = re.compile(r"(<!-- begin (\w+) -->\n).*?(<!-- end \2 -->\n)", re.DOTALL)


def options() -> Iterator[str]:
    """Every section and option of the INI file."""
    for kind in SECTIONS.values():
        yield from ("", f"## [{kind.kind}{_name(kind)}]", "", kind.doc, "")
        yield from ("| option | default | value | meaning |", "|---|---|---|---|")
        for option in kind.options:
            yield f"| `{option.name}` | {_default(option)} | {_cell(option.type.expected)} | {_cell(option.doc)} |"
    yield ""


def _name(kind: SectionKind) -> str:
    return "" if kind.named is None else " TITLE" if kind.kind == "ae" else " NAME"


def _default(option: Option) -> str:
    if option.default is None:
        return "must be given"
    return f"`{option.default}`" if option.default else "none"


def profiles() -> Iterator[str]:
    """Every TLS profile, as OpenSSL names what it consists of."""
    for policy in PROFILES.values():
        yield from ("", f"### {policy.name}", "", f"{policy.title}.", "", "| what | admitted, in order of preference |")
        yield "|---|---|"
        for what, names in _contents(policy):
            if names:
                yield f"| {what} | {names} |"
    yield ""


def _contents(policy: TLSPolicy) -> Iterator[tuple[str, str]]:
    versions = [version for version in TLSVersion if policy.minimum_version <= version <= policy.maximum_version]
    yield "versions", ", ".join(version.name.replace("_", " ", 1).replace("_", ".") for version in versions)
    yield "cipher suites of TLS 1.3", _list(policy.tls13_cipher_suites)
    yield "cipher suites of TLS 1.2", _list(policy.cipher_suites)
    yield "groups for the key exchange", _list(policy.groups)
    yield "signatures", _list(policy.signature_algorithms)
    yield "security level of OpenSSL", str(policy.security_level)
    yield "application protocol (ALPN)", f"`{policy.alpn.decode()}`"
    yield "certificate of the client", policy.client_certificate.value


def _list(names: tuple[str, ...]) -> str:
    return ", ".join(f"`{name}`" for name in names)


def reasons() -> Iterator[str]:
    """Every code of the A-P-ABORT indication."""
    yield from ("", "| code | name | class | meaning | cause | remedy |", "|---|---|---|---|---|---|")
    for row in in_order():
        texts = (f"{text[0].upper()}{text[1:]}." for text in map(_cell, (row.meaning, row.cause, row.remedy)))
        yield f"| {hexadecimal(row.reason)} | `{row.name}` | {row.fault_class.value} | {' | '.join(texts)} |"
    yield ""


def _cell(text: str) -> str:
    return text.replace("|", r"\|")


def conformance() -> Iterator[str]:
    """The conformance statement of the sample configuration, without its title and what another page has."""
    sample = load(DOCS.parent / "etc" / "dimsetls.ini")
    _, *lines = markdown(statement(sample)).splitlines()
    yield from lines[: lines.index("### C.2 Provider reasons") + 1]
    yield from ("", "As in [provider reasons](provider-reasons.md); a node prints them here.", "")


PARTS: dict[str, Callable[[], Iterator[str]]] = {
    "options": options, "profiles": profiles, "conformance": conformance, "reasons": reasons,
}


def current(page: str) -> str:
    """The text of a page with its generated parts as they should be."""
    return _PART.sub(lambda part: part[1] + "\n".join(PARTS[part[2]]()) + "\n" + part[3], page)


def main() -> None:
    """Write every page that is not current."""
    for path in sorted(DOCS.rglob("*.md")):
        page = path.read_text()
        if (wanted := current(page)) != page:
            path.write_text(wanted)


if __name__ == "__main__":
    main()
