"""A reactor that starts no process, and the process that it does not start."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import Any

from twisted.internet.error import ProcessDone, ProcessExitedAlready, ProcessTerminated
from twisted.internet.task import Clock
from twisted.python.failure import Failure

from chanserv.supervision.worker_process import DOWN, UP, WorkerProcess


@dataclass
class FakePipe:
    written: bytes = b""
    closed: bool = False

    def loseConnection(self) -> None:
        self.closed = True

    def write(self, data: bytes) -> None:
        self.written += data


@dataclass
class FakeProcess:
    """What a test sees of a process: it says, prints and ends as it is told to."""

    protocol: WorkerProcess
    pid: int
    command: tuple[str, ...]
    env: dict[str, str]
    child_fds: dict[int, Any]
    pipes: dict[int, FakePipe] = field(default_factory=lambda: {DOWN: FakePipe()})
    signals: list[str] = field(default_factory=list)
    ended: bool = False

    def told(self) -> list[Any]:
        """All that it was told after its orders."""
        lines = [json.loads(line) for line in self.pipes[DOWN].written.splitlines()]
        return [line["do"] for line in lines[1:]]

    def orders(self) -> dict[str, Any]:
        return json.loads(self.pipes[DOWN].written.splitlines()[0])

    def say(self, **message: Any) -> None:
        self.protocol.childDataReceived(UP, json.dumps(message).encode() + b"\n")

    def print(self, text: bytes, descriptor: int = 1) -> None:
        self.protocol.childDataReceived(descriptor, text)

    def start(self) -> None:
        """Load, and go if it is told to."""
        self.say(state="loaded")
        if self.told()[-1:] == ["go"]:
            self.say(state="running")

    def end(self, code: int = 0, signal: int | None = None) -> None:
        reason = ProcessTerminated(code or None, signal) if code or signal else ProcessDone(0)
        self.ended = True
        self.protocol.processExited(Failure(reason))
        for descriptor in (1, 2, UP):
            self.protocol.childConnectionLost(descriptor)
        self.protocol.processEnded(Failure(reason))

    # What the protocol calls

    def closeStdin(self) -> None:
        pass

    def signalProcess(self, name: str) -> None:
        if self.ended:
            raise ProcessExitedAlready
        self.signals.append(name)


class FakeReactor(Clock):
    """
    A clock that spawns L{FakeProcess}es.

    @ivar refusal: what is raised instead, if anything.
    """

    def __init__(self) -> None:
        super().__init__()
        self.processes: list[FakeProcess] = []
        self.refusal: OSError | None = None

    def callWhenRunning(self, function, *args) -> None:
        function(*args)

    def spawnProcess(self, protocol, executable, args, env, childFDs) -> None:
        if self.refusal is not None:
            raise self.refusal
        process = FakeProcess(protocol, 1000 + len(self.processes), tuple(args), env, childFDs)
        self.processes.append(process)
        protocol.makeConnection(process)

    def pass_time(self, seconds: float) -> None:
        for _ in range(int(seconds * 2)):
            self.advance(0.5)

    def alive(self) -> list[FakeProcess]:
        return [one for one in self.processes if not one.ended]
