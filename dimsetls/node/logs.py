"""The log of the service: text or JSON lines, from one level up, where twistd was told to write."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import IO, Any

from twisted.logger import (
    FileLogObserver,
    FilteringLogObserver,
    ILogObserver,
    LogEvent,
    LogLevel,
    LogLevelFilterPredicate,
    formatEvent,
    textFileLogObserver,
)


def log_observer(log_format: str, log_level: str, twistd: Mapping[str, Any]) -> ILogObserver | None:
    """The observer for a node; None where `twistd` was told on its command line to log in a way of its own."""
    if twistd.get("logger") or twistd.get("syslog"):
        return None
    file = _log_file(twistd)
    to_file = textFileLogObserver(file) if log_format == "text" else FileLogObserver(file, json_line)
    return FilteringLogObserver(to_file, [LogLevelFilterPredicate(LogLevel.lookupByName(log_level))])


def _log_file(twistd: Mapping[str, Any]) -> IO[str]:
    """Where twistd would write: --logfile, else stdout if it stays in the foreground, else twistd.log."""
    path = twistd.get("logfile") or ("-" if twistd.get("nodaemon") else "twistd.log")
    return sys.stdout if path == "-" else open(path, "a", encoding="utf-8")


def json_line(event: LogEvent) -> str:
    """One event as one line: time, level, namespace, message, then its own fields."""
    level = event.get("log_level")
    line: dict[str, object] = {
        "time": datetime.fromtimestamp(event["log_time"], UTC).isoformat(timespec="milliseconds"),
        "level": level.name if level is not None else "info",
        "namespace": event.get("log_namespace", ""),
        "message": formatEvent(event),
    }
    if "log_failure" in event:
        line["traceback"] = event["log_failure"].getTraceback()
    own = {name: value for name, value in event.items() if not name.startswith("log_") and name not in _LEGACY}
    return json.dumps(line | own, default=str) + "\n"


_LEGACY = frozenset({"message", "time", "system", "isError", "format", "failure", "why", "logLevel"})
"""Fields that Twisted adds for its former log system."""
