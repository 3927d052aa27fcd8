"""
The events of one connection, handed out in their order.

The next event goes to the layer when the one before has I{landed}: with
ordered events when its receipt says that its consumer has finished, else when
the layer has taken it.  What comes meanwhile is held, in bounded measure: the
queue says when its socket should be read no more, and when again.  The
disconnect event is the last, after all that was held.

Source: the ASGI 1 WebSocket message format on C{order}.
"""

from __future__ import annotations

from collections import deque
from enum import Enum

from chanserv.messages import SealedMessage

Event = tuple[str, SealedMessage]
"""A channel, and the message for it."""


class Intake(Enum):
    """Whether more events are wanted of a connection."""

    OPEN = "open"
    FULL = "full"
    """Too much is held: read no more until half of it is gone."""
    ENDED = "ended"
    """The last event is in."""


class EventQueue:
    """
    The queue of one connection.  Pure: it sends nothing, and knows no clock.

    @ivar intake: see L{Intake}.
    @ivar order: the C{order} of the next event.
    @ivar in_flight: how many events have been handed out and not landed.
    """

    __slots__ = (
        "_bytes",
        "_held",
        "_max_bytes",
        "_max_held",
        "_window",
        "in_flight",
        "intake",
        "order",
    )

    def __init__(self, window: int, max_held: int, max_bytes: int) -> None:
        """
        @param window: how many events may be in flight.
        @param max_held: how many may wait besides.
        @param max_bytes: how many bytes these may have.
        """
        self._window = window
        self._max_held = max_held
        self._max_bytes = max_bytes
        # Most sockets never hold anything, and a deque is half a kilobyte.
        self._held: deque[Event] | None = None
        self._bytes = 0
        self.in_flight = 0
        self.order = 0
        self.intake = Intake.OPEN

    def __len__(self) -> int:
        return len(self._held) if self._held else 0

    def offer(self, event: Event) -> bool:
        """
        Take in the next event, which has used up the present C{order}.

        @return: whether to send it now; it is in flight then.  Else it is held.
        """
        self.order += 1
        if not self._held and self.in_flight < self._window:
            self.in_flight += 1
            return True
        if self._held is None:
            self._held = deque()
        self._held.append(event)
        self._bytes += event[1].size
        if self.intake is Intake.OPEN and (
            len(self._held) >= self._max_held or self._bytes >= self._max_bytes
        ):
            self.intake = Intake.FULL
        return False

    def end(self, event: Event) -> bool:
        """Take in the last event; as L{offer}."""
        now = self.offer(event)
        self.intake = Intake.ENDED
        return now

    def landed(self) -> None:
        """One event in flight has arrived where it should, or is lost."""
        if self.in_flight:
            self.in_flight -= 1

    def next(self) -> Event | None:
        """
        Take the event to send now, if there is one that need not wait.

        It is in flight then.
        """
        if not self._held or self.in_flight >= self._window:
            return None
        event = self._held.popleft()
        self._bytes -= event[1].size
        self.in_flight += 1
        if (
            self.intake is Intake.FULL
            and len(self._held) <= self._max_held // 2
            and self._bytes <= self._max_bytes // 2
        ):
            self.intake = Intake.OPEN
        if not self._held:
            self._held = None
        return event

    def drop_held(self) -> int:
        """
        Drop all that is held, but for the last event.

        @return: how many that were.
        """
        if not self._held:
            return 0
        dropped = len(self._held)
        last = self._held.pop() if self.intake is Intake.ENDED else None
        self._held, self._bytes = None, 0
        if last is not None:
            self._held = deque([last])
            self._bytes = last[1].size
            return dropped - 1
        self.intake = Intake.OPEN
        return dropped

    def finished(self) -> bool:
        """Whether the last event has been handed out."""
        return self.intake is Intake.ENDED and not self._held
