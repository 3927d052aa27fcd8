"""
When a worker tries again, and when it gives up.

Two things are tried again: a message whose consumer raised C{ConsumeLater},
and a send whose channel was full.  Everything here is pure; the current time
is an argument, in seconds of whatever clock the caller keeps.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from chanserv.errors import ChannelFull
from chanserv.messages import Send
from chanserv.names import mailbox_of
from chanserv.worker.origin import Origin

RETRIES_KEY: Final = "__retries__"
"""Where a message that was put off carries how often.  Channels 1 used the same
key, so workers of both kinds count on."""

MAX_POSTPONEMENTS: Final = 10
"""How often a message is put off before it is dropped, as in Channels 1; with
the waits below that is about eleven seconds."""

FIRST_POSTPONEMENT: Final = 0.05
"""Seconds before a message that was put off is handed out again: long enough for
whatever it waits for to be begun, short enough not to be noticed."""

LONGEST_POSTPONEMENT: Final = 2.0
"""Seconds that the doubled wait never passes: a client is waiting."""

SEND_PATIENCE: Final = 5.0
"""Seconds for which a send to a full channel is tried again.  A reader that has
made no room by then is gone, or as good as gone."""

FIRST_RESEND: Final = 0.02
"""Seconds before the first try again: an interface server that is merely busy has
emptied its mailbox by then."""

LONGEST_RESEND: Final = 0.5
"""Seconds that the doubled wait between tries never passes."""

MAX_HELD_SENDS: Final = 1000
"""How many sends may wait for their channels at once: ten channels' worth at
the default capacity, and at most 1 GB where each is as large as can be."""


def postponements(message: Mapping[str, object]) -> int:
    """How often C{message} has been put off, by this worker or by another."""
    count = message.get(RETRIES_KEY, 0)
    return count if isinstance(count, int) and count > 0 else 0


def postponement(count: int) -> float | None:
    """
    How long a message waits that has just been put off.

    @param count: how often that has happened, this time included.
    @return: seconds, or L{None} when it has been put off too often.
    """
    if count > MAX_POSTPONEMENTS:
        return None
    return min(FIRST_POSTPONEMENT * 2.0 ** (count - 1), LONGEST_POSTPONEMENT)


@dataclass(frozen=True, slots=True)
class HeldSend:
    """
    A send that waits for its channel to have room.

    @ivar origin: whose it is, for logs.
    @ivar deadline: when patience with it ends.
    """

    send: Send
    origin: Origin
    deadline: float


class _Line:
    """The sends that wait for one mailbox, in order, and when they are tried next."""

    __slots__ = ("due", "held", "wait")

    def __init__(self, now: float) -> None:
        self.held: deque[HeldSend] = deque()
        self.wait = FIRST_RESEND
        # None while a try is on its way.
        self.due: float | None = now + FIRST_RESEND


class HeldSends:
    """
    Sends whose channel was full, waiting to be tried again.

    Later sends to the same channel stand in line behind them, so that a
    channel's messages keep their order.  A full process-specific channel is a
    full mailbox, so everything for one mailbox stands in one line.

    @ivar count: how many wait, those on a try among them.
    """

    __slots__ = ("_lines", "count")

    def __init__(self) -> None:
        self._lines: dict[str, _Line] = {}
        self.count = 0

    def blocks(self, channel: str) -> bool:
        """Whether a send to C{channel} must stand in line: see L{hold}."""
        return mailbox_of(channel) in self._lines

    def hold(self, send: Send, origin: Origin, now: float) -> bool:
        """
        Keep a send for later: a full channel has refused it, or it must not
        overtake one that waits.

        @param origin: whose it is, for logs.
        @return: false where there is no place for it and it is to be dropped.
        """
        if self.count >= MAX_HELD_SENDS:
            return False
        mailbox = mailbox_of(send.channel)
        line = self._lines.get(mailbox)
        if line is None:
            line = self._lines[mailbox] = _Line(now)
        line.held.append(HeldSend(send, origin, now + SEND_PATIENCE))
        self.count += 1
        return True

    def next_due(self) -> float | None:
        """When to call L{take_due} next, or L{None} where nothing waits."""
        dues = [line.due for line in self._lines.values() if line.due is not None]
        return min(dues, default=None)

    def take_due(self, now: float) -> list[HeldSend]:
        """Tell what to try again now.  Say what became of it to L{tried}."""
        taken: list[HeldSend] = []
        for line in self._lines.values():
            if line.due is not None and line.due <= now:
                line.due = None
                taken.extend(line.held)
        return taken

    def tried(
        self, taken: Sequence[HeldSend], errors: Iterable[Exception | None], now: float
    ) -> list[tuple[HeldSend, Exception]]:
        """
        Note what became of a try.

        @param taken: what L{take_due} gave, all of it, in its order.
        @param errors: for each its error, or L{None} where it was sent.
        @return: what is to be dropped, each with the error that ended it.
        """
        dropped: list[tuple[HeldSend, Exception]] = []
        refused: dict[str, list[HeldSend]] = {}
        moved: set[str] = set()
        for held, error in zip(taken, errors, strict=True):
            mailbox = mailbox_of(held.send.channel)
            self._lines[mailbox].held.popleft()
            again = refused.setdefault(mailbox, [])
            if isinstance(error, ChannelFull) and now < held.deadline:
                again.append(held)
                continue
            self.count -= 1
            moved.add(mailbox)
            if error is not None:
                dropped.append((held, error))
        for mailbox, again in refused.items():
            self._line_up(mailbox, again, mailbox in moved, now)
        return dropped

    def clear(self) -> list[HeldSend]:
        """Forget everything, and return it."""
        everything = [held for line in self._lines.values() for held in line.held]
        self._lines.clear()
        self.count = 0
        return everything

    def _line_up(self, mailbox: str, again: list[HeldSend], moved: bool, now: float) -> None:
        """Put what was refused back at the head of its line."""
        line = self._lines[mailbox]
        line.held.extendleft(reversed(again))
        if not line.held:
            del self._lines[mailbox]
            return
        line.wait = FIRST_RESEND if moved else min(line.wait * 2, LONGEST_RESEND)
        line.due = now + line.wait
