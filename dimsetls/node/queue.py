"""`dimsetls queue`: what is to be forwarded, while the node runs or not."""

from __future__ import annotations

import argparse
import json
import sqlite3
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Final

from ..errors import ConfigurationError
from .arguments import DEFAULT_CONFIG, ExitStatus, default_config, number
from .index import chosen

if TYPE_CHECKING:
    from ..services.forwarding.queue import Hold, Item, Queue, Selection, Tally
    from .config import Storage

_STATES: Final = ("waiting", "dead", "sent")
_COMMANDS: Final = {
    "list": ("count what waits, is dead, and was sent",
             "Count, for each rule and peer, what waits and since when, what is dead, and what was sent. Exit status 1 "
             "says that there are dead letters.", "list"),
    "show": ("show instances with their last error",
             "Show instances, the oldest first: without --state those that wait and those that are dead.",
             "show --state dead"),
    "retry": ("try dead letters anew",
              "Try instances anew, as if for the first time, and call their peers at once: without --state all that "
              "are dead.", "retry --peer pacs"),
    "drop": ("forget instances, which are then not sent",
             "Forget instances: they stay stored and are not sent, unless they are stored again. Say which, by "
             "--state or by their UIDs.", "drop --rule to-pacs --state dead"),
}  # fmt: skip


def add_queue(commands: Any) -> None:
    """The command line of `dimsetls queue`."""
    parser: argparse.ArgumentParser = commands.add_parser(
        "queue", help="show and mend what is to be forwarded",
        description="Show and mend the queues of what is forwarded, while the node runs or not.",
        epilog="Example: dimsetls queue list --config var/dimsetls.ini",
    )
    actions = parser.add_subparsers(dest="action", required=True, metavar="ACTION")
    for name, (short, long, words) in _COMMANDS.items():
        action = actions.add_parser(
            name, help=short, description=long, epilog=f"Example: dimsetls queue {words} --config var/dimsetls.ini"
        )
        action.set_defaults(refuse=action.error)
        if name != "list":
            action.add_argument("uids", nargs="*", metavar="UID", help="the SOP Instance UIDs; without, all")
            action.add_argument("--state", choices=_STATES, help="only those in this state")
        action.add_argument("--config", metavar="FILE", help=f"the INI file ({DEFAULT_CONFIG})")
        action.add_argument("--storage", metavar="NAME", help="the [storage] section; without, all that have a queue")
        action.add_argument("--rule", metavar="NAME", help="only of this [forward] section, which may be gone")
        action.add_argument("--peer", metavar="NAME", help="only for this [peer] section, which may be gone")
        if name == "show":
            action.add_argument("--most", type=number(1, 10**6), default=100, metavar="N",
                                help="how many are shown of each storage (default 100)")
        action.add_argument("--json", action="store_true", help="print one JSON object")


def run_queue(parsed: argparse.Namespace) -> int:
    """Do it, and print what came of it. Raises ConfigurationError."""
    from .reading import load

    if parsed.action == "drop" and not parsed.uids and parsed.state is None:
        parsed.refuse("say what is to be forgotten: --state STATE or UIDs")
    config = load(parsed.config or default_config())
    do = {"list": _list, "show": _show, "retry": _change, "drop": _change}[parsed.action]
    reports = []
    for storage in chosen(config, parsed.storage):
        with _opened(storage) as queue:
            report, lines = do(parsed, storage, queue)
        reports.append({"name": storage.name, **report})
        if not parsed.json:
            sys.stdout.writelines(f"{line}\n" for line in lines)
    if parsed.json:
        sys.stdout.write(f"{json.dumps({'storages': reports})}\n")
    if parsed.action == "list":
        is_well = not any(each["dead"] for report in reports for each in report["queues"])
    else:  # whoever names instances means some that there are
        is_well = not parsed.uids or any(report.get("changed") or report.get("items") for report in reports)
    return ExitStatus.DONE if is_well else ExitStatus.FAILED


@contextmanager
def _opened(storage: Storage) -> Iterator[Queue]:
    from ..services.forwarding.queue import Queue
    from .stores import index_of

    index = index_of(storage)
    try:
        index.open()
        queue = Queue(index)
        queue.prepare()
        yield queue
    except sqlite3.Error as error:
        raise ConfigurationError(
            f"[storage {storage.name}] expected a queue that can be read and written, got {error}; correct the owner, "
            f"mode or file system of {index.path}"
        ) from error
    finally:
        index.close()


def _selection(parsed: argparse.Namespace, *states: str) -> Selection:
    from ..services.forwarding.queue import Selection, State

    meant = (parsed.state,) if parsed.state else states
    return Selection(parsed.rule, parsed.peer, tuple(map(State, meant)) or None, tuple(parsed.uids) or None)


# Each of these returns its part of the JSON object, and the lines in its place ----------------------------------------


def _list(parsed: argparse.Namespace, storage: Storage, queue: Queue) -> tuple[dict[str, Any], list[str]]:
    configured = {(forward.name, peer.name) for forward in storage.forward or () for peer in forward.peers}
    tallies = {(tally.rule, tally.peer): tally for tally in queue.tallies(with_sent=True)}
    shown = [which for which in sorted({*tallies, *configured})
             if parsed.rule in (None, which[0]) and parsed.peer in (None, which[1])]
    parts, lines, now = [], list[str](), time.time()
    for rule, peer in shown:
        tally, is_configured = tallies.get((rule, peer)), (rule, peer) in configured
        parts.append(_tally(rule, peer, tally, is_configured, now))
        lines.append(f"[storage {storage.name}] [forward {rule}] to [peer {peer}]: {_in_words(tally, now)}"
                     + ("" if is_configured else "; the configuration has this no more"))
    return {"queues": parts}, lines or [f"[storage {storage.name}] nothing is forwarded"]


def _tally(rule: str, peer: str, tally: Tally | None, is_configured: bool, now: float) -> dict[str, Any]:
    hold = _current(tally, now)
    return {
        "rule": rule, "peer": peer, "configured": is_configured, "waiting": tally.waiting if tally else 0,
        "dead": tally.dead if tally else 0, "sent": tally.sent if tally else 0,
        "oldestSeconds": round(now - tally.oldest) if tally and tally.oldest is not None else None,
        "leftAlone": None if hold is None else {
            "failures": hold.failures, "seconds": max(0, round(hold.due - now)), "error": hold.error,
        },
    }  # fmt: skip


def _in_words(tally: Tally | None, now: float) -> str:
    if tally is None:
        return "nothing yet"
    oldest = f" (the oldest for {_age(now - tally.oldest)})" if tally.oldest is not None else ""
    hold = _current(tally, now)
    alone = "" if hold is None else (f"; next try in {_age(hold.due - now)}, as the last "
                                     f"{f'{hold.failures} ' if hold.failures > 1 else ''}failed: {hold.error}")
    return f"{tally.waiting} waiting{oldest}, {tally.dead} dead, {tally.sent} sent{alone}"


def _current(tally: Tally | None, now: float) -> Hold | None:
    return tally.hold if tally is not None and tally.waiting else None


def _show(parsed: argparse.Namespace, storage: Storage, queue: Queue) -> tuple[dict[str, Any], list[str]]:
    items, now = queue.items(_selection(parsed, "waiting", "dead"), parsed.most), time.time()
    lines = []
    for item in items:
        when = f", next try in {_age(item.due - now)}" if item.state.value == "waiting" and item.attempts else ""
        tries = f"{item.attempts} {'try' if item.attempts == 1 else 'tries'}"
        lines.append(f"{item.sop_instance_uid} [forward {item.rule}] to [peer {item.peer}]: {item.state.value}, queued "
                     f"{_age(now - item.since)} ago, {tries}{when}{f': {item.error}' if item.error else ''}")
    return {"items": [_item(storage, item, now) for item in items]}, lines


def _item(storage: Storage, item: Item, now: float) -> dict[str, Any]:
    return {
        "sopInstanceUID": item.sop_instance_uid, "sopClassUID": item.sop_class_uid,
        "transferSyntaxUID": item.transfer_syntax_uid, "path": str(storage.directory / item.path), "rule": item.rule,
        "peer": item.peer, "calledAETitle": item.ae_title, "state": item.state.value, "attempts": item.attempts,
        "ageSeconds": round(now - item.since), "error": item.error,
        "nextTrySeconds": max(0, round(item.due - now)) if item.state.value == "waiting" else None,
    }  # fmt: skip


def _change(parsed: argparse.Namespace, storage: Storage, queue: Queue) -> tuple[dict[str, Any], list[str]]:
    is_retry = parsed.action == "retry"
    changed = queue.retry(_selection(parsed, "dead")) if is_retry else queue.drop(_selection(parsed))
    what = "to be tried anew" if is_retry else "forgotten"
    number = f"{changed or 'no'} instance{'' if changed == 1 else 's'}"
    return {"changed": changed}, [f"[storage {storage.name}] {number} {what}"]


def _age(seconds: float) -> str:
    """A time in its two largest units."""
    left, parts = max(0, round(seconds)), list[str]()
    for unit, length in (("d", 86400), ("h", 3600), ("min", 60), ("s", 1)):
        if left >= length or (unit == "s" and not parts):
            parts.append(f"{left // length} {unit}")
            left %= length
    return " ".join(parts[:2])
