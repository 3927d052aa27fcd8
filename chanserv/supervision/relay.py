"""
Log events of a worker process, in the log of its supervisor.

They travel as plain values: when, how bad, where from, the text as a person reads
it, and those of the event's fields that are plain themselves.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, Final

from twisted.logger import ILogObserver, LogEvent, LogLevel, formatEvent, globalLogPublisher

MAX_TEXT: Final = 64 * 1024
"""Characters of one event's text or traceback; what is longer is cut.  A traceback of
the greatest depth that Python allows has some more."""

MAX_FIELDS: Final = 50
"""Fields of one event that are carried along: far more than any of ours has."""

_SCALARS: Final = (str, int, float, bool)


def plain(event: LogEvent) -> dict[str, Any]:
    """C{event} in values that JSON carries."""
    level = event.get("log_level")
    found: dict[str, Any] = {
        "time": event.get("log_time"),
        "level": level.name if level is not None else "info",
        "namespace": str(event.get("log_namespace", "")),
        "text": formatEvent(event)[:MAX_TEXT],
    }
    failure = event.get("log_failure")
    if failure is not None:
        found["traceback"] = failure.getTraceback()[:MAX_TEXT]
    fields = {
        name: value[:MAX_TEXT] if isinstance(value, str) else value
        for name, value in event.items()
        if not name.startswith("log_") and isinstance(value, _SCALARS)
        if not isinstance(value, float) or math.isfinite(value)
    }
    found["fields"] = dict(list(fields.items())[:MAX_FIELDS])
    return found


def relay(
    found: Mapping[str, Any],
    worker: int,
    release: str,
    publish: ILogObserver = globalLogPublisher,
) -> None:
    """
    Log what L{plain} made of an event in another process.

    @param worker: the slot of the process.
    @param publish: where it is logged.
    """
    fields = found.get("fields") or {}
    event: LogEvent = {name: value for name, value in fields.items() if name[:4] != "log_"}
    text = str(found.get("text", ""))
    traceback = found.get("traceback")
    event.update(
        log_time=float(found["time"]),
        log_level=LogLevel.lookupByName(found.get("level", "info")),
        log_namespace=str(found.get("namespace", "")),
        log_format="[worker {worker}] {text}",
        worker=worker,
        release=release,
        text=text if traceback is None else f"{text}\n{traceback}",
    )
    if traceback is not None:
        event["traceback"] = traceback
    publish(event)
