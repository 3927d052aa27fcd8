"""
Where events wait that found their channel full: pure bookkeeping.

Each channel has its own row, first in, first out.  A few from the front of
each row are tried at a time; those that are refused again go back to where
they stood.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Generic, TypeVar

LOT: Final = 50
"""Events of one channel that are tried at a time: half of what a channel holds
by default, so that trying in vain costs little."""

Item = TypeVar("Item")


@dataclass(frozen=True, slots=True)
class Parked(Generic[Item]):
    """
    One event that waits.

    @ivar item: what the caller wants back.
    @ivar size: its bytes.
    @ivar deadline: when it has waited long enough.
    """

    channel: str
    item: Item
    size: int
    deadline: float


class Parking(Generic[Item]):
    """
    The rows of all channels, bounded together.

    @ivar events: how many wait.
    @ivar bytes: how many bytes they have.
    """

    __slots__ = ("_max_bytes", "_max_events", "_patience", "_rows", "bytes", "events")

    def __init__(self, patience: float, max_events: int, max_bytes: int) -> None:
        """@param patience: seconds that an event may wait; 0 for none at all."""
        self._patience = patience
        self._max_events = max_events
        self._max_bytes = max_bytes
        self._rows: dict[str, deque[Parked[Item]]] = {}
        self.events = 0
        self.bytes = 0

    def __contains__(self, channel: str) -> bool:
        return channel in self._rows

    def __bool__(self) -> bool:
        return bool(self._rows)

    def park(self, channel: str, item: Item, size: int, now: float) -> bool:
        """
        Let C{item} wait at the end of its channel's row.

        @return: whether there is room for it.
        """
        if (
            not self._patience
            or self.events >= self._max_events
            or self.bytes + size > self._max_bytes
        ):
            return False
        entry = Parked(channel, item, size, now + self._patience)
        self._rows.setdefault(channel, deque()).append(entry)
        self.events += 1
        self.bytes += size
        return True

    def take_lot(self) -> list[Parked[Item]]:
        """
        Take those that are to be tried now.

        Their rows keep their place, so that nothing new overtakes them, and
        they still count.  Give them all back to L{settle}.
        """
        return [row.popleft() for row in self._rows.values() for _ in range(min(LOT, len(row)))]

    def settle(self, lot: Sequence[Parked[Item]], refused: Sequence[bool]) -> None:
        """
        Say what became of a lot.

        @param refused: for each, whether it is to go on waiting.
        """
        for entry, again in zip(reversed(lot), reversed(refused), strict=True):
            if again:
                self._rows.setdefault(entry.channel, deque()).appendleft(entry)
            else:
                self.events -= 1
                self.bytes -= entry.size
        self._rows = {channel: row for channel, row in self._rows.items() if row}

    def clear(self) -> None:
        """Drop all that waits and is not being tried."""
        for row in self._rows.values():
            self.events -= len(row)
            self.bytes -= sum(entry.size for entry in row)
        self._rows.clear()
