"""A document as data, and its two forms: Markdown, and one HTML page that needs nothing but itself."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from html import escape
from string import Template

_Form = Callable[[str], str]
_CODE, _GOOD, _FAIR, _POOR, _REFERENCE = "cgfpr"
_MARK = re.compile("\x0e(.)(.*?)\x0f", re.DOTALL)
_MARKDOWN_SIGNS = re.compile(r"([\\`*_\[\]<>|#])")


@dataclass(frozen=True, slots=True)
class Table:
    """Rows under headings, every row as long as `columns`."""

    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]


@dataclass(frozen=True, slots=True)
class Bullets:
    """A list without an order."""

    items: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Contents:
    """Where the table of contents is to stand."""


@dataclass(frozen=True, slots=True)
class Section:
    """A part of the document: paragraphs, lists, tables and further sections. `is_annex` counts by letters."""

    title: str
    blocks: tuple[str | Bullets | Table | Contents | Section, ...]
    is_annex: bool = False


@dataclass(frozen=True, slots=True)
class Document:
    """All of it; `cover` says what it is about, in pairs."""

    title: str
    cover: tuple[tuple[str, str], ...]
    sections: tuple[Section, ...]


def code(text: object) -> str:
    """Something as it is written elsewhere: a value, a name, a UID. What comes from outside must be in it."""
    return _mark(_CODE, "".join(each if each.isprintable() else "\N{REPLACEMENT CHARACTER}" for each in str(text)))


def codes(texts: Iterable[object], separator: str = ", ") -> str:
    return separator.join(map(code, texts))


def good(text: str) -> str:
    return _mark(_GOOD, text)


def fair(text: str) -> str:
    return _mark(_FAIR, text)


def poor(text: str) -> str:
    return _mark(_POOR, text)


def see(title: str) -> str:
    """A reference to the section with this title."""
    return _mark(_REFERENCE, title)


def facts(rows: Iterable[tuple[str, str]], columns: tuple[str, str] = ("What", "How it is")) -> Table:
    """A table of pairs."""
    return Table(columns, tuple(rows))


def table(columns: str, rows: Iterable[tuple[str, ...]]) -> Table:
    """A table whose headings are separated by ` | `."""
    return Table(tuple(columns.split(" | ")), tuple(rows))


def _mark(kind: str, text: str) -> str:
    return f"\x0e{kind}{text}\x0f"


@dataclass(frozen=True, slots=True)
class _Place:
    """A section with its number, its depth from 1, and the name of its anchor, which is GitHub's."""

    section: Section
    number: str
    depth: int

    @property
    def heading(self) -> str:
        return f"{self.number} {_plain(self.section.title)}"

    @property
    def name(self) -> str:
        """As a reference to it is written."""
        return f"annex {self.number}" if self.number[0].isalpha() else self.number

    @property
    def anchor(self) -> str:
        return re.sub(r"[^\w\- ]", "", self.heading.casefold()).replace(" ", "-")


class _Places:
    """Where every section of a document stands; titles are the keys, so each is there once."""

    def __init__(self, document: Document) -> None:
        self.all = list(self._number(document.sections, "", 1))
        self.listed = [place for place in self.all if place.depth < 3]
        self.by_title = {place.section.title: place for place in self.all}
        assert len(self.by_title) == len(self.all), "two sections have one title"

    def _number(self, sections: Iterable[Section], prefix: str, depth: int) -> Iterator[_Place]:
        chapters = annexes = 0
        for section in sections:
            annexes, chapters = (annexes + 1, chapters) if section.is_annex else (annexes, chapters + 1)
            number = prefix + (chr(ord("A") - 1 + annexes) if section.is_annex else str(chapters))
            yield _Place(section, number, depth)
            yield from self._number((each for each in section.blocks if isinstance(each, Section)), f"{number}.",
                                    depth + 1)


def markdown(document: Document) -> str:
    """The document in GitHub's Markdown."""
    places = _Places(document)

    def text(marked: str) -> str:
        return _render(marked, _markdown_plain, {
            _CODE: _markdown_code, _GOOD: _bold, _FAIR: _bold, _POOR: _bold,
            _REFERENCE: lambda title: f"[{places.by_title[title].name}](#{places.by_title[title].anchor})",
        })

    def rows(what: Table) -> Iterator[str]:
        yield f"| {' | '.join(map(text, what.columns))} |"
        yield f"|{'---|' * len(what.columns)}"
        yield from (f"| {' | '.join(map(text, row))} |" for row in what.rows)

    def section(place: _Place) -> Iterator[str]:
        yield from ("", f"{'#' * (place.depth + 1)} {_markdown_plain(place.heading)}")
        for block in place.section.blocks:
            match block:
                case str():
                    yield from ("", text(block))
                case Bullets(items):
                    yield from ("", *(f"- {text(item)}" for item in items))
                case Table():
                    yield from ("", *rows(block))
                case Contents():
                    yield ""
                    yield from (f"{'  ' * (each.depth - 1)}- [{_markdown_plain(each.heading)}](#{each.anchor})"
                                for each in places.listed)
                case Section():
                    pass  # comes at its own place

    lines = [f"# {_markdown_plain(document.title)}", "", *rows(facts(document.cover, ("This statement", "")))]
    for place in places.all:
        lines += section(place)
    return "\n".join(lines) + "\n"


def html(document: Document) -> str:
    """The document as one page to be read, printed and filed: no script, nothing to fetch."""
    places = _Places(document)

    def text(marked: str) -> str:
        return _render(marked, escape, {
            _CODE: lambda each: f"<code>{escape(each)}</code>",
            _GOOD: lambda each: f'<strong class="good">{escape(each)}</strong>',
            _FAIR: lambda each: f'<strong class="fair">{escape(each)}</strong>',
            _POOR: lambda each: f'<strong class="poor">{escape(each)}</strong>',
            _REFERENCE: lambda title: f'<a href="#{places.by_title[title].anchor}">{places.by_title[title].name}</a>',
        })

    def cells(row: Iterable[str], tag: str) -> str:
        return f"<tr>{''.join(f'<{tag}>{text(cell)}</{tag}>' for cell in row)}</tr>"

    def entry(place: _Place) -> str:
        return (f'<li class="depth{place.depth}"><a href="#{place.anchor}"><span class="number">{place.number}</span> '
                f"{escape(_plain(place.section.title))}</a></li>")

    def section(place: _Place) -> Iterator[str]:
        level = min(place.depth + 1, 6)
        title = f'<span class="number">{place.number}</span> {escape(_plain(place.section.title))}'
        yield f'<h{level} id="{place.anchor}">{title}</h{level}>'
        for block in place.section.blocks:
            match block:
                case str():
                    yield f"<p>{text(block)}</p>"
                case Bullets(items):
                    yield f"<ul>{''.join(f'<li>{text(item)}</li>' for item in items)}</ul>"
                case Table(columns, rows):
                    yield f'<table class="of{len(columns)}"><thead>{cells(columns, "th")}</thead><tbody>'
                    yield from (cells(row, "td") for row in rows)
                    yield "</tbody></table>"
                case Contents():
                    yield f"<nav><ul>{''.join(map(entry, places.listed))}</ul></nav>"
                case Section():
                    pass  # comes at its own place

    return _PAGE.substitute(
        title=escape(document.title),
        cover="\n".join(f"<dt>{text(name)}</dt><dd>{text(value)}</dd>" for name, value in document.cover),
        body="\n".join(line for place in places.all for line in section(place)),
    )


def _render(marked: str, plain: _Form, kinds: dict[str, _Form]) -> str:
    """Each marked part by the function of its kind, all between by `plain`."""
    parts = _MARK.split(marked)
    done = [plain(parts[0])]
    for kind, inner, after in zip(parts[1::3], parts[2::3], parts[3::3], strict=True):
        done += [kinds[kind](inner), plain(after)]
    return "".join(done)


def _plain(marked: str) -> str:
    return _MARK.sub(lambda mark: mark[2], marked)


def _bold(text: str) -> str:
    return f"**{_markdown_plain(text)}**"


def _markdown_plain(text: str) -> str:
    return _MARKDOWN_SIGNS.sub(r"\\\1", text)


def _markdown_code(text: str) -> str:
    """A pipe would end the cell; a backtick the code, unless the fence is longer."""
    fence = "`" * (1 + max((len(run) for run in re.findall("`+", text)), default=0))
    space = " " if text[:1] == "`" or text[-1:] == "`" else ""
    return f"{fence}{space}{text}{space}{fence}".replace("|", r"\|")


_PAGE = Template("""\
<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>$title</title>
<style>
:root { --ink: #1b2733; --soft: #5a6b7b; --line: #d5dde5; --tint: #f4f7fa; --accent: #0b5c8a; }
* { box-sizing: border-box; }
html { scroll-behavior: smooth; }
body { margin: 0 auto; max-width: 66rem; padding: 2.5rem 2rem 5rem; color: var(--ink); background: #fff;
  font: 16px/1.55 system-ui, "Segoe UI", "Helvetica Neue", Arial, sans-serif; }
header { border-top: 6px solid var(--accent); padding-top: 1.5rem; }
h1 { font-size: 2.1rem; line-height: 1.2; margin: 0 0 1.25rem; letter-spacing: -0.01em; }
h2 { font-size: 1.55rem; margin: 3.5rem 0 1rem; padding-bottom: .35rem; border-bottom: 2px solid var(--accent); }
h3 { font-size: 1.2rem; margin: 2.2rem 0 .6rem; }
h4, h5 { font-size: 1.02rem; margin: 1.8rem 0 .5rem; }
h2, h3, h4, h5 { line-height: 1.3; break-after: avoid; scroll-margin-top: 1rem; }
.number { color: var(--accent); margin-right: .35em; font-variant-numeric: tabular-nums; }
p { margin: .6rem 0; max-width: 48rem; }
ul { margin: .6rem 0; padding-left: 1.3rem; max-width: 48rem; }
a { color: var(--accent); text-decoration-thickness: 1px; text-underline-offset: 2px; }
code { font: .86em/1.4 ui-monospace, "Cascadia Mono", Menlo, Consolas, "DejaVu Sans Mono", monospace;
  background: #eaf0f5; border-radius: 3px; padding: .1em .3em; overflow-wrap: anywhere; }
dl { display: grid; grid-template-columns: max-content 1fr; gap: .35rem 1.5rem; margin: 0;
  background: var(--tint); border: 1px solid var(--line); border-radius: 6px; padding: 1.1rem 1.3rem; }
dt { color: var(--soft); } dd { margin: 0; }
nav ul { list-style: none; margin: 0; padding: 0; columns: 2; column-gap: 3rem; max-width: none; }
nav li { break-inside: avoid; } nav a { text-decoration: none; } nav a:hover { text-decoration: underline; }
nav .depth1 { font-weight: 600; margin-top: .5rem; break-after: avoid; }
nav .depth2 { padding-left: 1.2rem; font-size: .93em; }
table { width: 100%; border-collapse: collapse; margin: 1rem 0 1.4rem; font-size: .9rem; line-height: 1.45; }
th, td { text-align: left; vertical-align: top; padding: .45rem .7rem; border-bottom: 1px solid var(--line); }
thead th { background: var(--accent); color: #fff; font-weight: 600; border: 0; }
tbody tr:nth-child(even) { background: var(--tint); }
td:first-child { font-weight: 500; }
.of2 td:first-child { width: 32%; }
td code { background: none; padding: 0; overflow-wrap: break-word; }
.good, .fair, .poor { font-weight: 600; white-space: nowrap; }
.good { color: #17703c; } .fair { color: #8a5a00; } .poor { color: #b3261e; }
@media (max-width: 44rem) { body { padding: 1rem; } nav ul { columns: 1; } dl { grid-template-columns: 1fr; }
  table { display: block; overflow-x: auto; } }
@page { size: A4; margin: 18mm 16mm 20mm; @bottom-right { content: counter(page) " / " counter(pages);
  font: 8pt system-ui, sans-serif; color: #5a6b7b; } }
@media print { body { max-width: none; padding: 0; font-size: 9.5pt; } h1 { font-size: 20pt; }
  h2 { font-size: 14pt; margin-top: 22pt; } h3 { font-size: 11.5pt; } h4, h5 { font-size: 10pt; }
  table { font-size: 8pt; } thead { display: table-header-group; } tr, li, nav { break-inside: avoid; }
  p:has(+ table) { break-after: avoid; }
  a { color: inherit; text-decoration: none; } p, ul { max-width: none; orphans: 3; widows: 3; }
  * { print-color-adjust: exact; -webkit-print-color-adjust: exact; } }
</style>
</head>
<body>
<header>
<h1>$title</h1>
<dl>
$cover
</dl>
</header>
<main>
$body
</main>
</body>
</html>
""")
