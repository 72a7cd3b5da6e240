"""The log of the service: text or JSON lines, from one level up, where twistd was told to write."""

from __future__ import annotations

import json
import sys
import warnings
from collections.abc import Mapping
from datetime import UTC, datetime
from functools import lru_cache
from typing import IO, Any

from twisted.logger import (
    FileLogObserver,
    ILogObserver,
    LogEvent,
    LogLevel,
    formatEvent,
    formatEventAsClassicLogText,
    formatTime,
)
from zope.interface import implementer


def log_observer(log_format: str, log_level: str, twistd: Mapping[str, Any]) -> ILogObserver | None:
    """The observer for a node; None where `twistd` was told on its command line to log in a way of its own."""
    keep_discreet()
    if twistd.get("logger") or twistd.get("syslog"):
        return None
    file = _log_file(twistd)
    to_file = FileLogObserver(file, text_line if log_format == "text" else json_line)
    return _FromLevelUp(log_level, to_file)


@implementer(ILogObserver)
class _FromLevelUp:
    """Lets events of a level, and of what is more serious, pass; Twisted's observer asks several objects for each."""

    def __init__(self, level: str, observer: ILogObserver) -> None:
        least = LogLevel.lookupByName(level)
        self._shown = frozenset(each for each in LogLevel.iterconstants() if each >= least)
        self._observer = observer

    def __call__(self, event: LogEvent) -> None:
        if event.get("log_level") in self._shown:
            self._observer(event)


def keep_discreet() -> None:
    """Let pydicom say nothing: what is wrong with a value it says with the value, and Twisted logs warnings."""
    warnings.filterwarnings("ignore", module="pydicom")


def _log_file(twistd: Mapping[str, Any]) -> IO[str]:
    """Where twistd would write: --logfile, else stdout if it stays in the foreground, else twistd.log."""
    path = twistd.get("logfile") or ("-" if twistd.get("nodaemon") else "twistd.log")
    return sys.stdout if path == "-" else open(path, "a", encoding="utf-8")


def text_line(event: LogEvent) -> str | None:
    """One event as Twisted writes it in text."""
    if "log_failure" in event or (words := _sentence(event)) is None:
        return formatEventAsClassicLogText(event, lambda when: "-" if when is None else _second(int(when)))
    level, source = event.get("log_level"), event.get("log_system")
    if source is None:
        source = f"{event.get('log_namespace', '-')}#{level.name if level is not None else '-'}"
    return f"{_second(int(event['log_time']))} [{source}] {words}".replace("\n", "\n\t") + "\n" if words else None


def sentence(event: LogEvent) -> str:
    """The event in words."""
    return formatEvent(event) if (words := _sentence(event)) is None else words


def _sentence(event: LogEvent) -> str | None:
    """The event in words; None where Twisted has to find them, since there is a call in its format, or a mistake.

    Twisted, which is prepared for calls, takes 5 % of an association that does little for its two lines.
    """
    words = event.get("log_format", "")
    if not isinstance(words, str) or "()" in words or "log_flattened" in event:
        return None
    try:
        return words.format_map(event)
    except Exception:
        return None


@lru_cache(1)
def _second(when: int) -> str:
    """Made once a second and not once a line, which is 5 % of an association that does little."""
    return formatTime(when)


def json_line(event: LogEvent) -> str:
    """One event as one line: time, level, namespace, message, then its own fields."""
    level = event.get("log_level")
    line: dict[str, object] = {
        "time": datetime.fromtimestamp(event["log_time"], UTC).isoformat(timespec="milliseconds"),
        "level": level.name if level is not None else "info",
        "namespace": event.get("log_namespace", ""),
        "message": sentence(event),
    }
    if "log_failure" in event:
        line["traceback"] = event["log_failure"].getTraceback()
    own = {name: value for name, value in event.items() if not name.startswith("log_") and name not in LEGACY}
    return json.dumps(line | own, default=str) + "\n"


LEGACY = frozenset({"message", "time", "system", "isError", "format", "failure", "why", "logLevel"})
"""Fields that Twisted adds for its former log system."""
