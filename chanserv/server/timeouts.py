"""
One timer for the time-outs of all connections.

Every connection has one deadline at a time: for its headers, its body, its
response, the next ping.  Deadlines move with almost every event, nearly always
later, and nearly none of them comes true.  So each connection stands in a slot
of coarse time, and moving its deadline later only writes an attribute: when
the slot comes up, whatever is not due yet moves on to its new slot.  One tick
of the clock serves all slots, so that ten thousand idle sockets cost a set
entry each, and no timers.
"""

from __future__ import annotations

import sys
from typing import Final, Protocol

from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.logger import Logger

NEVER: Final = float("inf")
"""The deadline of what may wait for ever."""

RESOLUTION: Final = 0.5
"""Seconds between two ticks.  A deadline comes true at most this much late,
which no time-out of seconds feels."""

_NO_SLOT: Final = sys.maxsize
"""The slot of what has none: after all others, so that any deadline is before it."""


class Timed(Protocol):
    """
    Something with one deadline.

    @ivar deadline: when, on the reactor's clock, in seconds.  Read it; change
        it with L{Timeouts.set}.
    @ivar slot: belongs to L{Timeouts}.
    """

    deadline: float
    slot: int

    def timed_out(self, now: float) -> None:
        """
        Its deadline has passed.  It has none now, until one is set again.
        """


class Timeouts:
    """
    The deadlines of many L{Timed} things.

    The timer runs only while there is something to wait for.
    """

    _log = Logger()

    def __init__(self, clock: IReactorTime) -> None:
        self._clock = clock
        self._slots: dict[int, set[Timed]] = {}
        self._tick: IDelayedCall | None = None
        self._last = 0

    def begin(self, thing: Timed) -> None:
        """Give C{thing} its attributes, with no deadline."""
        thing.deadline = NEVER
        thing.slot = _NO_SLOT

    def after(self, thing: Timed, delay: float) -> None:
        """Let C{thing} time out C{delay} seconds from now."""
        self.set(thing, self._clock.seconds() + delay)

    def set(self, thing: Timed, deadline: float) -> None:
        """Let C{thing} time out at C{deadline}, and at no other time."""
        thing.deadline = deadline
        if deadline < (thing.slot - 1) * RESOLUTION:
            self._displace(thing)
            self._place(thing, int(deadline / RESOLUTION) + 1)

    def end(self, thing: Timed) -> None:
        """Forget C{thing}: it never times out any more."""
        thing.deadline = NEVER
        if thing.slot != _NO_SLOT:
            self._displace(thing)

    def stop(self) -> None:
        """Forget everything."""
        for things in self._slots.values():
            for thing in things:
                thing.slot = _NO_SLOT
        self._slots.clear()
        if self._tick is not None:
            self._tick.cancel()
            self._tick = None

    def __len__(self) -> int:
        return sum(map(len, self._slots.values()))

    def _place(self, thing: Timed, slot: int) -> None:
        if self._tick is None:
            self._last = int(self._clock.seconds() / RESOLUTION)
            self._tick = self._clock.callLater(RESOLUTION, self._ticked)
        slot = max(slot, self._last + 1)
        thing.slot = slot
        things = self._slots.get(slot)
        if things is None:
            self._slots[slot] = {thing}
        else:
            things.add(thing)

    def _displace(self, thing: Timed) -> None:
        things = self._slots.get(thing.slot)
        if things is not None:
            things.discard(thing)
            if not things:
                del self._slots[thing.slot]
        thing.slot = _NO_SLOT

    def _ticked(self) -> None:
        self._tick = None
        now = self._clock.seconds()
        current = int(now / RESOLUTION)
        # After a long stop of the process there may be fewer slots than ticks.
        due = [
            thing
            for slot in sorted(slot for slot in self._slots if slot <= current)
            for thing in self._slots.pop(slot)
        ]
        self._last = current
        for thing in due:
            thing.slot = _NO_SLOT
        for thing in due:
            if thing.deadline <= now:
                self._time_out(thing, now)
            elif thing.deadline != NEVER and thing.slot == _NO_SLOT:
                self._place(thing, int(thing.deadline / RESOLUTION) + 1)
        if self._slots and self._tick is None:
            self._tick = self._clock.callLater(RESOLUTION, self._ticked)

    def _time_out(self, thing: Timed, now: float) -> None:
        thing.deadline = NEVER
        try:
            thing.timed_out(now)
        except Exception:
            self._log.failure("A time-out of {thing!r} failed", thing=thing)
