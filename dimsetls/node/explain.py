"""`dimsetls explain`: what a reason in a log or on the wire means, where it comes from, and what to do."""

from __future__ import annotations

import argparse
import json
import re
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import Any

from ..codes import REJECT_REASONS, AbortSource, RejectResult
from ..errors import ConfigurationError
from ..tls.conditions import BY_REASON, CONDITIONS, Condition
from ..tls.policy import nearest

EXPECTED = "expected a code such as 0x214, 214H or 532, a name such as record-mac, result, source and reason of an " \
           "A-ASSOCIATE-RJ such as 1,1,7, or source and reason of an A-ABORT such as 2,6"

_REJECTED = {
    (1, 1): ("the acceptor keeps it to itself", "see its log"),
    (1, 2): ("the requestor speaks for another application than DICOM", "report it to the requestor's maker"),
    (1, 3): ("the acceptor does not know the calling AE title, or not from this address or with this certificate",
             "enter title, address and certificate at the acceptor, or correct the title that the requestor uses"),
    (1, 7): ("the acceptor has no AE of this title, upper and lower case being different",
             "correct the called AE title at the requestor, or the port it calls"),
    (2, 1): ("the acceptor keeps it to itself; a user identity that is missing or not accepted is answered so",
             "see its log, and look at what the requestor presents"),
    (2, 2): ("the requestor speaks another version of the upper layer protocol", "report it to the requestor's maker"),
    (3, 1): ("the acceptor is overloaded or shuts down", "try again later"),
    (3, 2): ("the acceptor has as many associations as it admits, in all or of this requestor",
             "try again later, release associations that rest, or raise the limit at the acceptor"),
}
"""(source, reason) of an A-ASSOCIATE-RJ to cause and remedy."""


@dataclass(frozen=True, slots=True)
class Explanation:
    """What is said of one code."""

    code: str
    name: str
    kind: str
    meaning: str
    cause: str
    remedy: str

    @classmethod
    def of(cls, row: Condition) -> Explanation:
        return cls(hexadecimal(row.reason), row.name, row.fault_class.value, row.meaning, row.cause, row.remedy)

    def lines(self) -> Iterator[str]:
        yield f"{self.code}  {self.name}"
        for label, text in (("meaning", self.meaning), ("class", self.kind), ("cause", self.cause),
                            ("remedy", self.remedy)):  # fmt: skip
            yield f"  {label:8} {text}"


def explain(word: str) -> tuple[Explanation, ...]:
    """Everything that a code or name stands for, the most general first; ConfigurationError if that is nothing."""
    text = word.strip().strip("()").casefold().replace(" ", "")
    if re.fullmatch(r"\d+,\d+,\d+", text):
        found = _rejection(*map(int, text.split(",")))
    elif re.fullmatch(r"\d+,\d+", text):
        found = _abort(*map(int, text.split(",")))
    elif (reason := _number(text)) is not None:
        found = [Explanation.of(row) for row in in_order() if row.reason == reason]
    else:
        found = [Explanation.of(row) for row in in_order() if row.name == text.replace("_", "-")]
    if not found:
        raise ConfigurationError(f"nothing is known of {word!r}; {_advice(text)}{EXPECTED}")
    return tuple(found)


def overview() -> Iterator[str]:
    """One line for each code of the A-P-ABORT indication, and for each A-ASSOCIATE-RJ."""
    for each in everything():
        yield f"{each.code:>5}  {each.name:40} {each.kind:15} {each.meaning}"


def everything() -> Iterator[Explanation]:
    """The codes of the A-P-ABORT indication, then each A-ASSOCIATE-RJ."""
    yield from map(Explanation.of, in_order())
    for source, reason in REJECT_REASONS:
        for result in RejectResult:
            yield from _rejection(result, source, reason)


def in_order() -> list[Condition]:
    """The table of failures by code; of those that share one, the most general first."""
    return sorted(CONDITIONS.values(), key=lambda row: (row.reason, row is not BY_REASON[row.reason]))


def hexadecimal(reason: int) -> str:
    """A code as the documentation writes it: 214H."""
    return f"{reason:X}H"


def add_explain(commands: Any) -> None:
    """The command line of `dimsetls explain`."""
    parser: argparse.ArgumentParser = commands.add_parser(
        "explain", help="say what a reason in a log or on the wire means",
        description="Say what a provider reason, an A-ASSOCIATE-RJ or an A-ABORT means, where it comes from, and what "
                    "to do. Without CODE, list all.",
        epilog="Example: dimsetls explain 0x214",
    )
    parser.add_argument("code", metavar="CODE", nargs="?", help="0x214, 214H, 532, record-mac, 1,1,7 or 2,6")
    parser.add_argument("--json", action="store_true", help="print a JSON array of what is known")


def run_explain(parsed: argparse.Namespace) -> Iterator[str]:
    """The lines to print."""
    if parsed.json:
        yield json.dumps([asdict(each) for each in (explain(parsed.code) if parsed.code else everything())])
        return
    if parsed.code is None:
        yield from overview()
        return
    for number, each in enumerate(explain(parsed.code)):
        if number:
            yield ""
        yield from each.lines()


def _number(text: str) -> int | None:
    if match := re.fullmatch(r"0x([0-9a-f]+)|([0-9][0-9a-f]*)h", text):
        return int(match[1] or match[2], 16)
    return int(text) if re.fullmatch(r"\d+", text) else None


def _advice(text: str) -> str:
    if re.fullmatch(r"[0-9a-f]{1,3}", text) and (row := BY_REASON.get(int(text, 16))):
        return f"did you mean {hexadecimal(row.reason)}, {row.name}? "
    near = nearest(text, CONDITIONS)
    return f"did you mean {near}? " if near else ""


def _rejection(result: int, source: int, reason: int) -> list[Explanation]:
    kinds = {RejectResult.REJECTED_PERMANENT: "permanent", RejectResult.REJECTED_TRANSIENT: "transient"}
    if result not in kinds or (source, reason) not in _REJECTED:
        return []
    cause, remedy = _REJECTED[source, reason]
    meaning = f"The association was rejected: {REJECT_REASONS[source, reason]} (PS3.8 Table 9-21)"
    return [Explanation(f"{result},{source},{reason}", "A-ASSOCIATE-RJ", kinds[RejectResult(result)], meaning, cause,
                        remedy)]  # fmt: skip


def _abort(source: int, reason: int) -> list[Explanation]:
    if source == AbortSource.SERVICE_USER:
        return [Explanation(f"{source},{reason}", "A-ABORT", "user", "The other side's user aborted the association",
                            "it gave up, a deadline passed, or it was shut down", "see its log")]  # fmt: skip
    row = BY_REASON.get(reason)
    if source != AbortSource.SERVICE_PROVIDER or row is None or reason > 0xFF:
        return []
    return [Explanation(f"{source},{reason}", f"A-ABORT {row.name}", row.fault_class.value, row.meaning, row.cause,
                        row.remedy)]  # fmt: skip
