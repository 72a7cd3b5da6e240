"""The types of value an option can have: from the text in the file to what the program works with.

Each type says in words what it expects, so that every refusal names both sides.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import timedelta
from ipaddress import IPv4Network, IPv6Network, ip_address, ip_network
from pathlib import Path
from typing import Any

from ..tls.policy import nearest
from ..uids import is_valid_uid


class Misfit(ValueError):
    """The text is not a value of the type; the message reads: found …, expected …; did you mean …?"""

    def __init__(self, found: str, expected: str, meant: str | None = None) -> None:
        super().__init__(f"found {quote(found)}, expected {expected}" + (f"; did you mean {meant}?" if meant else ""))


@dataclass(frozen=True, slots=True)
class ValueType:
    """What a value is, in words, and how its text is read; `parse` raises ValueError, most often a Misfit."""

    expected: str
    parse: Callable[[str], Any]


@dataclass(frozen=True, slots=True)
class Reference:
    """The value is the name of another section of `kind`, or a list of such names if `many`.

    Where several kinds are possible, the value says which, as the section's head does: `ldap hospital`.
    `any_word`, where there is one, stands for no restriction and is read as None.
    """

    kind: str | tuple[str, ...]
    many: bool = False
    any_word: str | None = None

    @property
    def expected(self) -> str:
        if isinstance(self.kind, tuple):
            kinds = " or ".join(f"[{kind}]" for kind in self.kind)
            return f"kinds and names of {kinds} sections, separated by commas"
        one, several = f"the name of a [{self.kind}] section", f"names of [{self.kind}] sections, separated by commas"
        what = several if self.many else one
        return f"{self.any_word}, or {what}" if self.any_word else what


def quote(found: str) -> str:
    """`found` as a message shows it: quoted, printable, short enough for one line."""
    if not found:
        return "nothing"
    return repr(found if len(found) <= 60 else found[:57] + "...")


def choice(words: Mapping[str, Any] | Iterable[str]) -> ValueType:
    """One of a few words; with a mapping, the word stands for another value."""
    meanings: Mapping[str, Any] = words if isinstance(words, Mapping) else {word: word for word in words}
    expected = " or ".join(meanings) if len(meanings) < 3 else "one of " + ", ".join(meanings)

    def parse(text: str) -> Any:
        if text not in meanings:
            raise Misfit(text, expected, nearest(text, meanings))
        return meanings[text]

    return ValueType(expected, parse)


def integer(low: int, high: int) -> ValueType:
    """A whole number in decimal digits."""
    expected = f"a whole number from {low} to {high}"

    def parse(text: str) -> int:
        if not re.fullmatch(r"[0-9]{1,12}", text) or not low <= int(text) <= high:
            raise Misfit(text, expected)
        return int(text)

    return ValueType(expected, parse)


MOST_WORKERS = 64


def _workers() -> ValueType:
    number = integer(1, MOST_WORKERS)

    def parse(text: str) -> int:
        if text == "auto":
            ours = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
            return min(ours, MOST_WORKERS)
        try:
            return int(number.parse(text))
        except Misfit:
            raise Misfit(text, expected) from None

    expected = f"auto, or {number.expected}"
    return ValueType(expected, parse)


WORKERS = _workers()
"""How many processes; `auto` is as many as there are processors for this one."""

_SECONDS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0}
_BYTES = {"B": 1, "KiB": 1 << 10, "MiB": 1 << 20, "GiB": 1 << 30}


def duration(low: str, high: str) -> ValueType:
    """A number with its unit, read as seconds."""
    expected = f"a duration with its unit (ms, s, m, h) from {low} to {high}, such as 500ms, 30s or 5m"

    def seconds(text: str) -> float:
        match = re.fullmatch(r"([0-9]{1,9}(?:\.[0-9]{1,6})?) ?(ms|s|m|h)", text)
        if not match:
            raise Misfit(text, expected, text + "s" if re.fullmatch("[0-9]{1,9}", text) else None)
        return float(match[1]) * _SECONDS[match[2]]

    def parse(text: str) -> float:
        value = seconds(text)
        if not seconds(low) <= value <= seconds(high):
            raise Misfit(text, expected)
        return value

    return ValueType(expected, parse)


def size(low: str, high: str) -> ValueType:
    """A number of bytes, with a binary unit or none."""
    expected = f"a size in bytes, or with its unit (KiB, MiB, GiB), from {low} to {high}"

    def number_of_bytes(text: str) -> int:
        match = re.fullmatch(r"([0-9]{1,12}) ?(B|KiB|MiB|GiB)?", text)
        if not match:
            decimal = re.fullmatch(r"([0-9]{1,12}) ?([kmg])i?b?", text, re.IGNORECASE)
            raise Misfit(text, expected, f"{decimal[1]}{decimal[2].upper()}iB" if decimal else None)
        return int(match[1]) * _BYTES[match[2] or "B"]

    def parse(text: str) -> int:
        value = number_of_bytes(text)
        if not number_of_bytes(low) <= value <= number_of_bytes(high):
            raise Misfit(text, expected)
        return value

    return ValueType(expected, parse)


def list_of(item: ValueType, what: str) -> ValueType:
    """Values of one type, separated by commas, each given once."""

    def parse(text: str) -> tuple[Any, ...]:
        return tuple(item.parse(part) for part in split(text))

    return ValueType(f"a list of {what}, separated by commas", parse)


_COMMA = re.compile(r',(?=(?:[^"]*"[^"]*")*[^"]*$)')


def split(text: str) -> list[str]:
    """The items of a list as written, none empty, none twice; a comma between double quotes belongs to its item."""
    items = [re.sub(r'^"([^"]*)"$', r"\1", part.strip()) for part in _COMMA.split(text)]
    for number, item in enumerate(items):
        if not item:
            raise Misfit("", "a list without empty places: one value between two commas")
        if item in items[:number]:
            raise ValueError(f"found {quote(item)} twice, expected each item of the list once")
    return items


def _ae_title(text: str) -> str:
    # PS3.5 §6.2, VR AE: 16 characters of the default repertoire, no backslash, no control characters;
    # leading and trailing spaces are not significant and never reach us.
    if not re.fullmatch(r"[ -\[\]-~]{1,16}", text):
        raise Misfit(text, AE_TITLE.expected)
    return text


def _name(text: str) -> str:
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}", text) or text in ("any", "all", "none"):
        raise Misfit(text, NAME.expected)
    return text


def _address(text: str) -> str:
    try:
        return str(ip_address(text))
    except ValueError:
        raise Misfit(text, ADDRESS.expected, {"localhost": "127.0.0.1", "*": "0.0.0.0"}.get(text)) from None  # noqa: S104 - named, not bound


def _host(text: str) -> str:
    label = "[A-Za-z0-9](?:[A-Za-z0-9-]{0,61}[A-Za-z0-9])?"
    if len(text) > 253 or not re.fullmatch(rf"{label}(?:\.{label})*", text):
        try:
            return str(ip_address(text))
        except ValueError:
            raise Misfit(text, HOST.expected) from None
    return text


def _network(text: str) -> IPv4Network | IPv6Network:
    try:
        return ip_network(text)
    except ValueError:
        pass
    try:
        meant = str(ip_network(text, strict=False))  # 10.1.2.3/16 has bits of a host
    except ValueError:
        meant = None
    raise Misfit(text, NETWORK.expected, meant)


def _endpoint(text: str) -> str:
    if text.removeprefix("haproxy:").partition(":")[0] in ("ssl", "tls", "dicomtls"):
        raise Misfit(text, ENDPOINT.expected)
    return text


def _responder(text: str) -> str:
    if text != "certificate" and not text.startswith("http://"):
        raise Misfit(text, OCSP_RESPONDER.expected)
    return text


def _resumption(text: str) -> timedelta:
    try:
        return timedelta(seconds=_LIFETIME.parse(text))
    except Misfit:
        raise Misfit(text, RESUMPTION.expected) from None


def _variable(text: str) -> str:
    if not re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]*", text):
        raise Misfit(text, VARIABLE.expected)
    return text


def _uid(text: str) -> str:
    if not is_valid_uid(text):
        raise Misfit(text, UID.expected)
    return text


def _modality(text: str) -> str:
    if not re.fullmatch(r"[A-Z0-9 _]{1,16}", text):
        raise Misfit(text, MODALITY.expected, text.upper() if re.fullmatch(r"[A-Za-z0-9]{1,16}", text) else None)
    return text


def _https(text: str) -> str:
    if not re.fullmatch(r"https://[!-~]+", text):
        is_plain = text.startswith("http://")
        raise Misfit(text, HTTPS_URL.expected, text.replace("http", "https", 1) if is_plain else None)
    return text


def _ldap(text: str) -> str:
    if not re.fullmatch(r"ldaps?://[!-~]+", text):
        raise Misfit(text, LDAP_URL.expected)
    return text


LDAP_URL = ValueType("a URL that begins with ldaps:// or ldap://", _ldap)
HTTPS_URL = ValueType("a URL that begins with https://", _https)
UID = ValueType("a UID such as 1.2.840.10008.5.1.4.1.1.2", _uid)
MODALITY = ValueType("a modality such as CT: 1 to 16 capital letters, digits, spaces and underscores", _modality)
AE_TITLE = ValueType("an AE title: 1 to 16 printable ASCII characters without a backslash", _ae_title)
NAME = ValueType("a name of letters, digits, dots, hyphens and underscores that is not any, all or none", _name)
PORT = integer(0, 65535)
ADDRESS = ValueType("an IPv4 or IPv6 address such as 127.0.0.1 or ::1", _address)
HOST = ValueType("a DNS name such as pacs.hospital.example, or an IPv4 or IPv6 address", _host)
NETWORK = ValueType("an address or network such as 10.1.2.3, 10.1.0.0/16 or fd00::/8", _network)
PATH = ValueType("a path, absolute or relative to the directory of this file", Path)
ENDPOINT = ValueType("a Twisted server endpoint string without TLS, such as systemd:domain=INET:index=0", _endpoint)
UNLESS_IN_WORDS = choice({"refuse": False, "i understand the risk": True})
VARIABLE = ValueType("the name of an environment variable: letters, digits and underscores", _variable)
YES_OR_NO = choice({"no": False, "yes": True})
WORD = ValueType("a word", str)
PASSPHRASE = ValueType("the path of a file, or credential:NAME", str)
OCSP_RESPONDER = ValueType("a URL that begins with http://, or certificate", _responder)
_LIFETIME = duration("1m", "24h")
RESUMPTION = ValueType(f"no, or {_LIFETIME.expected}", lambda text: None if text == "no" else _resumption(text))
