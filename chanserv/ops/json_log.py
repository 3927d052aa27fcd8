"""
The log as lines of JSON, for programs that collect logs.

Each event is one object on one line.  What all of them have comes first: C{time},
C{level}, C{logger}, C{message}; then the event's own fields by their names, such as
C{worker}, C{release}, C{consumer}, C{channel} and C{request_id}; last, of an exception,
C{traceback}.
"""

from __future__ import annotations

import json
import math
import signal
import sys
from collections.abc import Callable
from datetime import UTC, datetime
from typing import IO, Any, Final

from twisted.logger import FileLogObserver, LogEvent, formatEvent
from twisted.python.logfile import LogFile

from chanserv.errors import ConfigurationError

MAX_TEXT: Final = 64 * 1024
"""Characters of one value; what is longer is cut.  Collectors commonly drop lines that
are much longer, and then nothing is left at all."""

MAX_FIELDS: Final = 50
"""Fields of one event besides the common ones; ours have fewer than ten."""

MAX_BITS: Final = 64
"""Bits of a number from which on it is written as text."""

_LOGGERS: Final = {"log_legacy": "twisted"}
"""What Twisted logs in its older way is of no place that it names."""

_FIRST: Final = ("time", "level", "logger", "message")

_NOT_FIELDS: Final = frozenset(
    {
        *_FIRST,
        # What the message was made of already: of relayed and printed lines, and of
        # Twisted's older way to log.
        "text",
        "traceback",
        "failure",
        "format",
        "isError",
        "system",
        "why",
    }
)


def json_line(event: LogEvent) -> str:
    """
    Write one event, whatever is in it.

    @return: a line, with its end.
    """
    message, traceback = formatEvent(event), _traceback(event)
    level, namespace = event.get("log_level"), str(event.get("log_namespace", ""))
    found: dict[str, Any] = {
        "time": iso_time(event.get("log_time")),
        "level": level.name if level is not None else "info",
        "logger": _LOGGERS.get(namespace, namespace),
        "message": message.removesuffix(f"\n{traceback}")[:MAX_TEXT],
    }
    for name, value in event.items():
        if name[:4] != "log_" and name not in _NOT_FIELDS and len(found) < MAX_FIELDS:
            found[name] = _plain(value)
    if traceback:
        found["traceback"] = traceback[:MAX_TEXT]
    # ASCII alone: so a client's bytes cannot move the cursor of a terminal.
    return json.dumps(found) + "\n"


def iso_time(seconds: Any) -> str:
    """A time in UTC, such as C{2026-05-01T12:00:00.125Z}; that of now for what is none."""
    try:
        moment = datetime.fromtimestamp(seconds, UTC)
    except (TypeError, ValueError, OverflowError, OSError):
        moment = datetime.now(UTC)
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def json_observer(out: IO[Any]) -> FileLogObserver:
    """What writes each event to C{out}, a file or one of Twisted's L{LogFile}s."""
    return FileLogObserver(out, json_line)


def log_as_json(runner: Any) -> FileLogObserver | None:
    """
    Have C{twistd} or C{twist} write its log as JSON, where it would have written it
    as text.

    @param runner: the options of C{twistd} or C{twist}, before it begins to log.
    @return: for C{twistd}, what its application is to log with.
    @raise ConfigurationError: C{twistd} was told to log in a way that has no lines, or
        its file cannot be opened.
    """
    if "fileLogObserverFactory" in runner:
        runner["fileLogObserverFactory"] = json_observer
        return None
    for option in ("logger", "syslog"):
        if runner.get(option):
            raise ConfigurationError(
                f"--log-format=json and twistd's --{option} contradict each other: leave one of "
                f"them out"
            )
    try:
        return json_observer(_log_of(runner))
    except OSError as error:
        raise ConfigurationError(
            f"the log {error.filename} cannot be opened: {error.strerror}; give twistd a --logfile "
            f"in a directory that this user may write to"
        ) from error


def _log_of(runner: Any) -> Any:
    """What C{twistd} would log to: its file, which it rotates, or standard output."""
    name = runner.get("logfile")
    if name == "-" and not runner.get("nodaemon"):
        raise ConfigurationError(
            "twistd's --logfile=- would be lost, since a daemon has no standard output: give a "
            "file, or keep twistd in the foreground with -n"
        )
    if name == "-" or (not name and runner.get("nodaemon")):
        return sys.stdout
    log: Any = LogFile.fromFullPath(name or "twistd.log")  # type: ignore[no-untyped-call]
    _rotate_on_signal(log.rotate)
    return log


def _rotate_on_signal(rotate: Callable[[], object]) -> None:
    """Rotate on C{SIGUSR1}, as C{twistd} does, unless somebody else heeds it."""
    if signal.getsignal(signal.SIGUSR1) in (None, signal.SIG_DFL):

        def asked(number: int, frame: object) -> None:
            from twisted.internet import reactor

            plain_reactor: Any = reactor
            plain_reactor.callFromThread(rotate)

        signal.signal(signal.SIGUSR1, asked)


def _traceback(event: LogEvent) -> str:
    failure = event.get("log_failure")
    if failure is None:
        # Of an event that came from another process.
        found = event.get("traceback")
        return found if isinstance(found, str) else ""
    try:
        return str(failure.getTraceback())
    except Exception as error:
        return f"{failure!r}, whose traceback cannot be shown: {error!r}"


def _plain(value: Any) -> Any:
    """C{value} as JSON has it; as text, where it has no such thing."""
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, int):
        # Python writes none of some thousand digits, and other programs read fewer.
        return value if value.bit_length() < MAX_BITS else hex(value)[:MAX_TEXT]
    if isinstance(value, float):
        return value if math.isfinite(value) else str(value)
    if isinstance(value, bytes):
        value = value.decode("utf-8", "backslashreplace")
    if not isinstance(value, str):
        try:
            value = str(value)
        except Exception:
            value = f"<{type(value).__name__}, which cannot be shown>"
    return value[:MAX_TEXT]
