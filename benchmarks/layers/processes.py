"""The processes that talk to each other, and what they are told: a line of JSON each way."""

from __future__ import annotations

import json
import select
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import IO, Any, Final

PATIENCE: Final = 60.0
"""Seconds after which a process that has not answered is taken for broken."""


class DidNotAnswer(Exception):
    """A process ended, gave an error, or took longer than L{PATIENCE}."""


class Process:
    """
    One process.

    @ivar name: what errors call it.
    """

    def __init__(self, name: str, command: Sequence[str]) -> None:
        self.name = name
        self._child = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            cwd=Path(__file__).resolve().parent.parent.parent,
        )

    def tell(self, order: str, *arguments: object) -> None:
        """Have it do something; L{answer} tells what came of it."""
        self._pipe(self._child.stdin).write(json.dumps([order, *arguments]).encode() + b"\n")
        self._pipe(self._child.stdin).flush()

    def answer(self) -> Any:
        """
        What came of the order before.

        @raise DidNotAnswer: nothing, or an error.
        """
        pipe = self._pipe(self._child.stdout)
        end = time.monotonic() + PATIENCE
        line = b""
        while not line.endswith(b"\n"):
            if not select.select([pipe], [], [], max(0.0, end - time.monotonic()))[0]:
                raise DidNotAnswer(f"{self.name} has said nothing for {PATIENCE:.0f} s")
            part = pipe.readline()
            if not part:
                raise DidNotAnswer(f"{self.name} has ended")
            line += part
        answer, error = json.loads(line)
        if error is not None:
            raise DidNotAnswer(f"{self.name}: {error}")
        return answer

    def ask(self, order: str, *arguments: object) -> Any:
        """Tell, and wait for the answer."""
        self.tell(order, *arguments)
        return self.answer()

    def end(self) -> None:
        """Let it go: its input has ended, and so does it."""
        self._pipe(self._child.stdin).close()
        try:
            self._child.wait(10)
        except subprocess.TimeoutExpired:
            sys.stderr.write(f"{self.name} did not end when it was asked to\n")
            self._child.kill()
            self._child.wait()
        self._pipe(self._child.stdout).close()

    def _pipe(self, pipe: IO[bytes] | None) -> IO[bytes]:
        assert pipe is not None
        return pipe


def ask_all(processes: Sequence[Process], order: str, *arguments: object) -> list[Any]:
    """Tell all, and then wait for each."""
    for process in processes:
        process.tell(order, *arguments)
    return [process.answer() for process in processes]


@contextmanager
def started(count: int, command: Sequence[str]) -> Iterator[list[Process]]:
    """So many processes, which end with the block."""
    with ExitStack() as stack:
        processes = []
        for number in range(count):
            process = Process(f"process {number}", command)
            stack.callback(process.end)
            processes.append(process)
        ask_all(processes, "hello")
        yield processes
