"""
A terminal: lines to show, keys to hear, and its own state to be put back.

The sequences written are those that every terminal of the last decades obeys (ECMA-48,
and xterm's second screen), so that no library of terminals is needed.
"""

from __future__ import annotations

import contextlib
import errno
import os
import re
import select
import termios
from collections.abc import Callable, Iterable, Sequence
from typing import Any, Final

from chanserv.ops.top.page import Line
from chanserv.ops.top.view import Style

_ENTER: Final = "\x1b[?1049h\x1b[?25l\x1b[2J"
"""Go to the second screen, hide the cursor, and clear."""

_LEAVE: Final = "\x1b[m\x1b[?25h\x1b[?1049l"

_HOME: Final = "\x1b[H"
_END_OF_LINE: Final = "\x1b[m\x1b[K"
_END_OF_SCREEN: Final = "\x1b[J"

_MARKS: Final = {Style.TITLE: "1", Style.HEADER: "7"}
"""How styles are shown where there are no colours."""

_COLOURS: Final = {
    **_MARKS,
    Style.GOOD: "32",
    Style.WARN: "33",
    Style.BAD: "1;31",
    Style.FAINT: "2",
}

_KEY: Final = re.compile(rb"\x1b\[[0-9;]*[A-Za-z~]|\x1bO[A-Z]|[\x00-\xff]", re.DOTALL)

_NAMED: Final = {
    b"\x1b[A": "up",
    b"\x1bOA": "up",
    b"\x1b[B": "down",
    b"\x1bOB": "down",
    b"\x1b[5~": "page up",
    b"\x1b[6~": "page down",
}

DEFAULT_SIZE: Final = (80, 24)
"""Columns and lines of a terminal that does not say."""

READ_AT_ONCE: Final = 1024
"""Bytes of keys: more than anybody types between two looks."""


def keys_in(typed: bytes) -> list[str]:
    """
    The keys that a terminal has sent: characters of ASCII, and names of some others;
    those without either are left out.
    """
    keys = []
    for key in _KEY.findall(typed):
        if key in _NAMED:
            keys.append(_NAMED[key])
        elif len(key) == 1 and 0x20 <= key[0] < 0x7F:
            keys.append(key.decode("ascii"))
    return keys


def painted(lines: Iterable[Line], colour: bool) -> str:
    """What shows C{lines} from the first line of the screen on, and nothing below."""
    codes = _COLOURS if colour else _MARKS

    def painted_line(line: Line) -> str:
        return "".join(
            f"\x1b[{codes[style]}m{text}\x1b[m" if style in codes else text for text, style in line
        )

    return _HOME + "\r\n".join(painted_line(line) + _END_OF_LINE for line in lines) + _END_OF_SCREEN


class Terminal:
    """
    The terminal that this process was started from.

    It is a reader of the reactor while it is entered.
    """

    def __init__(
        self,
        reactor: Any,
        pressed: Callable[[str], object],
        gone: Callable[[], object],
        *,
        keys: int | None = 0,
        screen: int = 1,
        colour: bool = True,
    ) -> None:
        """
        @param pressed: called with each key; see L{keys_in}.
        @param gone: called when there is nobody left who could press one.
        @param keys: the file descriptor to read from; L{None} for no keys.
        @param screen: the one to write to.
        """
        self._reactor = reactor
        self._pressed = pressed
        self._gone = gone
        self._keys = keys
        self._screen = screen
        self._colour = colour
        self._before: list[Any] | None = None
        self._entered = False

    @property
    def size(self) -> tuple[int, int]:
        """Columns and lines."""
        with contextlib.suppress(OSError):
            size = os.get_terminal_size(self._screen)
            if size.columns and size.lines:
                return size.columns, size.lines
        return DEFAULT_SIZE

    def enter(self) -> None:
        """Take the screen, and hear keys one by one."""
        if self._entered:
            return
        self._entered = True
        if self._keys is not None:
            self._before = termios.tcgetattr(self._keys)
            termios.tcsetattr(self._keys, termios.TCSANOW, _by_keys(self._before))
            self._reactor.addReader(self)
        self._write(_ENTER)

    def leave(self) -> None:
        """Put everything back as it was found.  May be called often, and at any time."""
        if not self._entered:
            return
        self._entered = False
        if self._keys is not None:
            self._reactor.removeReader(self)
        # It may be gone.
        with contextlib.suppress(OSError):
            self._write(_LEAVE)
        before, self._before = self._before, None
        if self._keys is not None and before is not None:
            with contextlib.suppress(termios.error):
                termios.tcsetattr(self._keys, termios.TCSANOW, before)

    def show(self, lines: Sequence[Line]) -> None:
        """Show a page."""
        if self._entered:
            self._write(painted(lines, self._colour))

    def _write(self, text: str) -> None:
        data = text.encode("utf-8", "replace")
        while data:
            try:
                data = data[os.write(self._screen, data) :]
            except OSError as error:
                # Somebody who shares the terminal has made it non-blocking.
                if error.errno != errno.EAGAIN:
                    raise
                select.select([], [self._screen], [])

    # What the reactor asks of a reader

    def fileno(self) -> int:
        """See L{twisted.internet.interfaces.IFileDescriptor}."""
        return -1 if self._keys is None else self._keys

    def logPrefix(self) -> str:
        """See L{twisted.internet.interfaces.ILoggingContext}."""
        return "terminal"

    def doRead(self) -> None:
        """See L{twisted.internet.interfaces.IReadDescriptor}."""
        assert self._keys is not None
        try:
            typed = os.read(self._keys, READ_AT_ONCE)
        except OSError as error:
            if error.errno == errno.EAGAIN:
                return
            typed = b""
        if not typed:
            self._reactor.removeReader(self)
            self._gone()
            return
        for key in keys_in(typed):
            self._pressed(key)

    def connectionLost(self, reason: object) -> None:
        """See L{twisted.internet.interfaces.IFileDescriptor}: the reactor ends."""


def _by_keys(before: list[Any]) -> list[Any]:
    """Attributes of a terminal that gives each key at once, and does not show it."""
    after = [*before[:6], list(before[6])]
    after[3] &= ~(termios.ECHO | termios.ICANON)
    # Ctrl-S would hold up the process with its output.
    after[0] &= ~termios.IXON
    after[6][termios.VMIN], after[6][termios.VTIME] = 1, 0
    return after
