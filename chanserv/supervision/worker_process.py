"""
One worker process, as its supervisor has hold of it.

Besides standard output and error it has two pipes.  Down one it is told what to
do, up the other it tells how it is; both carry lines of JSON, each an object::

    down, first     {"orders": ..., "slot": 1, "path": [...], "folder": "/srv/mysite"}
    down, later     {"do": "go"}        take messages
                    {"do": "finish"}    take no more, finish, end; there is time
                    {"do": "drain"}     the same, and soon
                    {"do": "wait"}      its SIGTERM was heard: go on until told to drain
                    {"do": "show"}      print what each thread does
    up              {"state": "loaded"} or "running"
                    {"beat": WorkerStatus.as_dict()}, each second and at its end
                    {"log": {"level": ..., "namespace": ..., "time": ..., "text": ...,
                             "fields": {...}}}
                    {"failed": "why it cannot start"}
                    {"asked": "drain"}  it got a SIGTERM of its own
                    {"roll": channel}   under which it stands on the roll of workers
                    {"changed": [path, time]}  a file of the site was changed then

The end of the pipe down means that the supervisor is gone.  A key that the other
side does not know is left out.
"""

from __future__ import annotations

import json
from collections import deque
from collections.abc import Callable, Mapping
from typing import Any, Final

from twisted.internet.error import ProcessDone, ProcessExitedAlready, ProcessTerminated
from twisted.internet.interfaces import IDelayedCall, IProcessTransport
from twisted.internet.protocol import ProcessProtocol
from twisted.python.failure import Failure

from chanserv.supervision.lines import MAX_PRINTED, MAX_SAID, Allowance, Lines

DOWN: Final = 3
"""The worker's descriptor of the pipe on which it is told what to do."""

UP: Final = 4
"""The worker's descriptor of the pipe on which it tells how it is."""

CHILD_FDS: Final[Mapping[int, str]] = {0: "w", 1: "r", 2: "r", DOWN: "w", UP: "r"}
"""All that a worker has of descriptors: no socket of its supervisor is among them."""

LAST_LINES: Final = 20
"""Lines of a worker's output that are kept, to be shown when it ends unexpectedly: a
traceback of some depth."""

LAST_WORDS: Final = 2.0
"""Seconds that are waited for the rest of what a worker printed which has ended: a
process that it started may hold its pipes open for ever."""


class WorkerProcess(ProcessProtocol):
    """
    The protocol of one worker's process.

    @ivar number: its own; that of a crew's member.
    @ivar slot: whose place it has.
    @ivar last_lines: what it printed last.
    @ivar release: the label of the code that it runs.
    @ivar roll: the channel under which it stands on the roll of workers, or empty.
    """

    transport: IProcessTransport | None

    def __init__(
        self,
        number: int,
        slot: int,
        said: Callable[[WorkerProcess, Mapping[str, Any]], None],
        printed: Callable[[WorkerProcess, str], None],
        ended: Callable[[WorkerProcess, str], None],
        reactor: Any,
    ) -> None:
        """
        @param said: called with each message that it says.
        @param printed: called with each line that it prints.
        @param ended: called once, with how, when it has; nothing else is later.
        """
        self.number = number
        self.slot = slot
        self.last_lines: deque[str] = deque(maxlen=LAST_LINES)
        self.roll = ""
        self.release = ""
        self._said = said
        self._printed = printed
        self._ended = ended
        self._reactor = reactor
        self._lines = {1: Lines(MAX_PRINTED), 2: Lines(MAX_PRINTED), UP: Lines(MAX_SAID)}
        self._allowance = Allowance()
        self._how: str | None = None
        self._waiting: IDelayedCall | None = None
        self._over = False

    @property
    def pid(self) -> int:
        """The id of its process; 0 when there is none."""
        pid: Any = None if self.transport is None else self.transport.pid
        return pid or 0

    def say(self, message: Mapping[str, Any]) -> None:
        """Tell it something; nothing if its pipe is gone."""
        pipes: Any = getattr(self.transport, "pipes", {})
        if DOWN in pipes:
            pipes[DOWN].write(json.dumps(message, separators=(",", ":")).encode() + b"\n")

    def kill(self) -> None:
        """End it at once."""
        try:
            if self.transport is not None:
                self.transport.signalProcess("KILL")
        except ProcessExitedAlready:
            pass

    # What Twisted calls

    def connectionMade(self) -> None:
        """It has been started; it reads nothing from its standard input."""
        assert self.transport is not None
        self.transport.closeStdin()

    def childDataReceived(self, childFD: int, data: bytes) -> None:
        """It has said or printed something."""
        for line in self._lines[childFD].feed(data):
            self._take(childFD, line)

    def childConnectionLost(self, childFD: int) -> None:
        """It has closed one of its ends."""
        if childFD in self._lines:
            for line in self._lines[childFD].end():
                self._take(childFD, line)

    def processExited(self, reason: Failure) -> None:
        """It has ended; what it said before may still be on its way."""
        self._how = how_it_ended(reason.value)
        self._waiting = self._reactor.callLater(LAST_WORDS, self._finish)

    def processEnded(self, reason: Failure) -> None:
        """It has ended, and all that it said is here."""
        self._how = how_it_ended(reason.value)
        self._finish()

    def _finish(self) -> None:
        if self._over:
            return
        self._over = True
        if self._waiting is not None and self._waiting.active():
            self._waiting.cancel()
        # Perhaps somebody else holds the other ends.
        pipes: Any = getattr(self.transport, "pipes", {})
        for pipe in list(pipes.values()):
            pipe.loseConnection()
        self.show_withheld()
        self._ended(self, self._how or "")

    def _take(self, childFD: int, line: bytes) -> None:
        if self._over:
            return
        if childFD != UP:
            self._print(line.decode("utf-8", "backslashreplace").rstrip())
            return
        try:
            message = json.loads(line)
        except ValueError:
            message = None
        if isinstance(message, dict):
            self._said(self, message)
        else:
            self._print(f"(said what makes no sense: {line[:100]!r})")

    def _print(self, line: str) -> None:
        if not line:
            return
        self.last_lines.append(line)
        if self.may_show():
            self._printed(self, line)

    def may_show(self) -> bool:
        """Whether one more line of it may be logged; else it is counted."""
        if not self._allowance.take(self._reactor.seconds()):
            return False
        self.show_withheld()
        return True

    def show_withheld(self) -> None:
        """Say how many lines have not been logged, if there are such."""
        withheld, self._allowance.withheld = self._allowance.withheld, 0
        if withheld:
            self._printed(self, f"({withheld} more lines, too fast to be shown)")


def how_it_ended(reason: BaseException | None) -> str:
    """Say how a process ended; empty where it ended in order."""
    if isinstance(reason, ProcessDone):
        return ""
    if isinstance(reason, ProcessTerminated):
        if reason.signal:
            return f"killed by signal {reason.signal}"
        return f"exit status {reason.exitCode}"
    return str(reason)
