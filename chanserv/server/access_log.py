"""
The access log, in the combined format of Apache's C{httpd}, with the id of the
request after it where requests have one.

Lines are kept for a moment and written together, since a write for each
request costs more than making its line.
"""

from __future__ import annotations

import json
import os
import re
import sys
import time
from typing import IO, Final

from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.logger import Logger

FLUSH_AFTER: Final = 0.5
"""Seconds that a line waits at most: short enough to watch by eye."""

FLUSH_AT: Final = 500
"""Lines that are written at once when so many wait."""

_MONTHS: Final = (
    "Jan",
    "Feb",
    "Mar",
    "Apr",
    "May",
    "Jun",
    "Jul",
    "Aug",
    "Sep",
    "Oct",
    "Nov",
    "Dec",
)
_UNSAFE: Final = re.compile(r'["\\]|[^\x20-\x7e]')


def quoted(value: bytes) -> str:
    """
    C{value} as it stands between quotes in a log line: nothing in it can end
    the quotes or the line, or move a terminal's cursor, and it is ASCII.
    """
    text = value.decode("latin-1")
    if _UNSAFE.search(text):
        text = _UNSAFE.sub(lambda match: f"\\x{ord(match[0]):02x}", text)
    return text


def combined_line(
    client: str,
    stamp: str,
    request_line: bytes,
    status: int,
    length: int | None,
    referer: bytes,
    agent: bytes,
    request_id: bytes = b"",
) -> str:
    """
    Write one line.

    @param client: the client's address, or C{-}.
    @param stamp: as L{log_stamp} makes it.
    @param request_line: method, target and version.
    @param length: bytes of the response's body, or L{None} where it has none.
    @param request_id: what the line ends with, in quotes; empty for nothing.
    """
    end = f' "{quoted(request_id)}"' if request_id else ""
    return (
        f'{client} - - [{stamp}] "{quoted(request_line)}" {status} '
        f'{"-" if length is None else length} "{quoted(referer)}" "{quoted(agent)}"{end}\n'
    )


def json_line(
    client: str,
    stamp: str,
    request_line: bytes,
    status: int,
    length: int | None,
    referer: bytes,
    agent: bytes,
    request_id: bytes = b"",
) -> str:
    """
    Write one line as an object, beginning with the keys that the lines of a JSON log have.

    Arguments are those of L{combined_line}, but for C{stamp}, which is as L{iso_stamp}
    makes it.
    """
    request = request_line.decode("latin-1")
    found: dict[str, object] = {
        "time": stamp,
        "level": "info",
        "logger": "chanserv.access",
        "message": f"{request} {status}",
        "client": client,
        "request": request,
        "status": status,
        "bytes": length,
    }
    for name, value in (("referer", referer), ("agent", agent), ("request_id", request_id)):
        if value not in (b"", b"-"):
            found[name] = value.decode("latin-1")
    return json.dumps(found) + "\n"


def iso_stamp(seconds: float) -> str:
    """A time in UTC as C{2000-10-10T13:55:36Z}."""
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(seconds))


def log_stamp(seconds: float) -> str:
    """A time in UTC as C{10/Oct/2000:13:55:36 +0000}, in any locale."""
    t = time.gmtime(seconds)
    return (
        f"{t.tm_mday:02d}/{_MONTHS[t.tm_mon - 1]}/{t.tm_year}:"
        f"{t.tm_hour:02d}:{t.tm_min:02d}:{t.tm_sec:02d} +0000"
    )


class AccessLog:
    """
    Writes the lines of an interface server to a file or a stream.
    """

    _log = Logger()

    def __init__(
        self, target: str | IO[str], clock: IReactorTime, *, as_json: bool = False
    ) -> None:
        """
        @param target: the path of a file, to which lines are added; C{"-"} for
            standard output; or an open text stream, which stays open.
        @param as_json: whether to write lines of JSON.
        @raise OSError: the file cannot be opened.
        """
        self._clock = clock
        self._line = json_line if as_json else combined_line
        self._stamp_of = iso_stamp if as_json else log_stamp
        self._path: str | None = None
        if isinstance(target, str) and target != "-":
            self._path = os.path.abspath(target)
            self._stream: IO[str] = _opened(target)
        else:
            self._stream = sys.stdout if isinstance(target, str) else target
        self._lines: list[str] = []
        self._flush_call: IDelayedCall | None = None
        self._stamp = ""
        self._stamped = -1
        self._failing = False

    def add(
        self,
        client: str,
        request_line: bytes,
        status: int,
        length: int | None,
        referer: bytes = b"-",
        agent: bytes = b"-",
        request_id: bytes = b"",
    ) -> None:
        """Log one response, now; arguments as with L{combined_line}."""
        now = int(self._clock.seconds())
        if now != self._stamped:
            self._stamped = now
            self._stamp = self._stamp_of(now)
        self._lines.append(
            self._line(
                client, self._stamp, request_line, status, length, referer, agent, request_id
            )
        )
        if self._flush_call is None:
            self._flush_call = self._clock.callLater(FLUSH_AFTER, self._flush_now)
        elif len(self._lines) >= FLUSH_AT:
            self.flush()

    def flush(self) -> None:
        """Write what waits."""
        if self._flush_call is not None:
            self._flush_call.cancel()
        self._flush_now()

    def reopen(self) -> None:
        """
        Open the file by its name again, after it was moved away.

        Where that cannot be, the log goes on with the file that it has.
        """
        self.flush()
        if self._path is None:
            return
        try:
            fresh = _opened(self._path)
        except OSError as error:
            self._log.warn(
                "The access log {path} cannot be opened again: {error}. It goes on in the "
                "file that it had",
                path=self._path,
                error=error,
            )
        else:
            self._stream.close()
            self._stream = fresh

    def close(self) -> None:
        """Write what waits, and close the file if this log has opened it."""
        self.flush()
        if self._path is not None:
            self._stream.close()

    def _flush_now(self) -> None:
        self._flush_call = None
        lines, self._lines = self._lines, []
        if not lines:
            return
        try:
            self._stream.write("".join(lines))
            self._stream.flush()
        except (OSError, ValueError) as error:
            if not self._failing:
                self._failing = True
                self._log.warn(
                    "The access log cannot be written, and its lines are lost: {error}. "
                    "Is the disk full?",
                    error=error,
                )
        else:
            self._failing = False


def _opened(path: str) -> IO[str]:
    return open(path, "a", encoding="utf-8", newline="\n")
