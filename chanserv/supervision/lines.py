"""What comes through a pipe, in lines, however long and however many."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

MAX_PRINTED: Final = 16 * 1024
"""Bytes of one line that a worker prints; what is longer is cut.  Any line that a
person reads is shorter."""

MAX_SAID: Final = 4 * 1024 * 1024
"""Bytes of one message between a worker and its supervisor: the status of a worker
with as many consumers as are told apart has some 100 KB."""

LINES_A_SECOND: Final = 1000
"""Lines that one worker may print or log in each second; those past it are counted and not
shown.  They are written by the process that serves connections, which a worker that
does so without end must not keep from that."""


class Lines:
    """
    Puts the pieces that a pipe gives together to lines.

    @ivar cut: how many lines were too long, and are not whole.
    """

    __slots__ = ("_begun", "_limit", "_skipping", "cut")

    def __init__(self, limit: int) -> None:
        """
        @param limit: bytes that are kept of a line.
        """
        self.cut = 0
        self._limit = limit
        self._begun = b""
        self._skipping = False

    def feed(self, data: bytes) -> Iterator[bytes]:
        """Give each line that is whole now, without its end; of one too long its start."""
        *whole, rest = data.split(b"\n")
        for line in whole:
            if not self._skipping:
                yield from self._line(self._begun + line)
            self._begun = b""
            self._skipping = False
        if self._skipping:
            return
        self._begun += rest
        if len(self._begun) > self._limit:
            yield from self._line(self._begun)
            self._begun = b""
            self._skipping = True

    def end(self) -> Iterator[bytes]:
        """Give what has come of a last line that has no end."""
        begun, self._begun = self._begun, b""
        if begun:
            yield from self._line(begun)

    def _line(self, line: bytes) -> Iterator[bytes]:
        if len(line) > self._limit:
            self.cut += 1
            line = line[: self._limit]
        yield line


class Allowance:
    """
    How many lines may still be shown in this second.

    @ivar withheld: how many were not, since the last that was.
    """

    __slots__ = ("_left", "_limit", "_until", "withheld")

    def __init__(self, limit: int = LINES_A_SECOND) -> None:
        self.withheld = 0
        self._limit = limit
        self._left = limit
        self._until = 0.0

    def take(self, now: float) -> bool:
        """Whether one more may be shown."""
        if now >= self._until:
            self._until = now + 1.0
            self._left = self._limit
        if self._left <= 0:
            self.withheld += 1
            return False
        self._left -= 1
        return True
