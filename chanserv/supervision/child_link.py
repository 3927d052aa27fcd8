"""
A worker process's side of the pipes to its supervisor.

Two threads do nothing else.  One reads, from the first moment on and until the
process ends: while a site is loaded no reactor runs, and in a worker that hangs it
does not come round.  So a worker whose supervisor is gone ends in any case.  The
other writes, so that nobody waits for a supervisor that does not read.
"""

from __future__ import annotations

import json
import os
import sys
import threading
import time
import traceback
from collections.abc import Callable, Mapping
from functools import partial
from queue import SimpleQueue
from typing import Any, Final

from twisted.logger import ILogObserver, LogEvent
from zope.interface import implementer

from chanserv.supervision.lines import MAX_SAID
from chanserv.supervision.places import KILL_AFTER
from chanserv.supervision.relay import plain

MAX_WAITING: Final = 10_000
"""Messages that wait for a supervisor to read them.  Past it log events and beats are
left out, and counted: its log is not worth the worker's memory."""

MAX_WAITING_BYTES: Final = 16 * 1024 * 1024
"""Bytes of such messages, likewise: one with a traceback may have a hundred thousand."""

READER: Final = "chanserv-down"
WRITER: Final = "chanserv-up"
"""The names of the two threads."""

FRAMES: Final = 12
"""Calls that are shown of each thread of a worker that hangs: the last ones say where."""

LAST_WORDS: Final = 2.0
"""Seconds that a process which ends waits until what it has said is read."""


class Gone(Exception):
    """The supervisor is gone, or what it says makes no sense."""


class ChildLink:
    """
    The two pipes.  Any thread may call any method.

    @ivar slot: the place of this worker.
    @ivar dropped: how many messages have been left out.
    """

    def __init__(self, down: int, up: int) -> None:
        """
        @param down: the descriptor on which it is told what to do.
        @param up: that on which it tells how it is.
        """
        self.slot = 0
        self.dropped = 0
        self._down = down
        self._up = up
        self._begun = b""
        self._waiting: SimpleQueue[bytes | None] = SimpleQueue()
        self._bytes = 0
        # One that a signal may come into, whose handler says something, too.
        self._lock = threading.RLock()
        self._told: Callable[[str], None] | None = None
        self._stop_timeout = 0.0
        # What the site starts has nothing to do with them.
        for descriptor in (down, up):
            os.set_inheritable(descriptor, False)

    def first(self) -> Mapping[str, Any]:
        """
        Wait for the first message.

        @raise Gone: there is none.
        """
        message = self._read()
        if message is None:
            raise Gone("the supervisor ended before it had said what to do")
        self.slot = int(message.get("slot", 0))
        return message

    def start(
        self,
        told: Callable[[str], None],
        stop_timeout: float,
        orphaned: Callable[[Callable[[], None], float], None] | None = None,
    ) -> None:
        """
        Start the two threads.

        @param told: called on one of them with what the supervisor says is to be
            done; C{drain} too when it is gone.
        @param stop_timeout: seconds that draining may take.
        @param orphaned: called on one of them when the supervisor is gone, with what
            drains and with how long that may take; L{end_alone} without it.
        """
        self._orphaned = orphaned or end_alone
        self._told = told
        self._stop_timeout = stop_timeout
        self._writer = threading.Thread(target=self._write_all, name=WRITER, daemon=True)
        self._writer.start()
        threading.Thread(target=self._read_all, name=READER, daemon=True).start()

    def say(self, message: Mapping[str, Any], *, needed: bool = True) -> None:
        """
        Tell the supervisor something.

        @param needed: whether it may not be left out.
        """
        line = json.dumps(message, separators=(",", ":"), default=str).encode()
        with self._lock:
            if len(line) >= MAX_SAID or not (needed or self.has_room):
                self.dropped += 1
                return
            self._bytes += len(line)
        self._waiting.put(line + b"\n")

    @property
    def has_room(self) -> bool:
        """Whether not too much waits for the supervisor to read it."""
        return self._waiting.qsize() < MAX_WAITING and self._bytes < MAX_WAITING_BYTES

    def end(self) -> None:
        """Wait until all is said, though not for long."""
        self._waiting.put(None)
        self._writer.join(LAST_WORDS)

    # The threads

    def _read(self) -> Mapping[str, Any] | None:
        """Wait for the next message; L{None} when there is none any more."""
        while b"\n" not in self._begun:
            try:
                data = os.read(self._down, 65536)
            except OSError:
                data = b""
            if not data:
                return None
            self._begun += data
        line, _, self._begun = self._begun.partition(b"\n")
        try:
            message = json.loads(line)
        except ValueError as error:
            raise Gone(f"the supervisor said what makes no sense: {line[:100]!r}") from error
        return message if isinstance(message, dict) else {}

    def _read_all(self) -> None:
        assert self._told is not None
        try:
            while (message := self._read()) is not None:
                what = message.get("do")
                if what == "show":
                    show_threads()
                elif isinstance(what, str):
                    self._told(what)
        except Gone:
            pass
        self._orphaned(partial(self._told, "drain"), self._stop_timeout)

    def _write_all(self) -> None:
        while (line := self._waiting.get()) is not None:
            with self._lock:
                self._bytes -= len(line) - 1
            if not self._write(line):
                break
        else:
            return
        # It is gone: what is left will not be heard.
        while self._waiting.get() is not None:
            pass

    def _write(self, line: bytes) -> bool:
        while line:
            try:
                line = line[os.write(self._up, line) :]
            except OSError:
                return False
        return True


@implementer(ILogObserver)
class Telling:
    """Tells the supervisor of each log event."""

    def __init__(self, link: ChildLink) -> None:
        self._link = link
        self._told = 0

    def _missing(self) -> dict[str, Any]:
        return {
            "time": time.time(),
            "level": "warn",
            "namespace": "chanserv.supervision",
            "text": f"{self._link.dropped - self._told} messages to the supervisor were left out, "
            f"which does not read them as fast as they come",
        }

    def __call__(self, event: LogEvent) -> None:
        """Tell of one."""
        dropped = self._link.dropped
        if dropped != self._told and self._link.has_room:
            self._link.say({"log": self._missing()})
            self._told = dropped
        self._link.say({"log": plain(event)}, needed=False)


def end_alone(drain: Callable[[], None], stop_timeout: float) -> None:
    """
    End this process without a supervisor.

    @param drain: begins it.
    @param stop_timeout: seconds that it may take.
    """
    # Whoever read what is printed is gone, and a consumer that prints should not fail
    # for that.
    nowhere = os.open(os.devnull, os.O_WRONLY)
    for descriptor in (1, 2):
        os.dup2(nowhere, descriptor)
    os.close(nowhere)
    drain()
    # Nobody is left who would end it if it hangs.
    time.sleep(stop_timeout + KILL_AFTER)
    os._exit(1)


def show_threads() -> None:
    """Print what each thread does, on standard error; but for the two of the link."""
    names = {one.ident: one.name for one in threading.enumerate()}
    text = ""
    for ident, frame in sys._current_frames().items():
        name = names.get(ident, "unknown to Python")
        if name not in (READER, WRITER):
            text += f"Thread {name}:\n{''.join(traceback.format_stack(frame, FRAMES))}"
    try:
        sys.stderr.write(text)
        sys.stderr.flush()
    except (OSError, ValueError, AttributeError):
        # Somebody has closed or replaced it.
        pass
